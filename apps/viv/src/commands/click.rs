//! `viv click`.

use crate::complete::machines;
use crate::context::Context;
use crate::display::{self, failure};
use crate::error::{Failure, Result};
use clap::ValueEnum;
use machine::ErrorKind;
use machine::display::{Button, Input};
use serde_json::json;
use std::time::Duration;

/// How long a button is held, and the pause between two clicks.
const HELD: Duration = Duration::from_millis(30);

/// Click on a machine's display
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The place is counted in pixels of the display from its upper left corner, as on a picture that `viv screenshot` takes.

Examples:
  viv click Debian 640 400
  viv click Windows 30 700 --button right
  viv click Debian 100 100 --count 2")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// Pixels from the left
    x: u32,
    /// Pixels from above
    y: u32,
    /// The button
    #[arg(long, short, value_enum, default_value_t)]
    button: Which,
    /// How often; 0 only moves the pointer there
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=10))]
    count: u8,
    /// Which display, counted from 0
    #[arg(long, short, value_name = "N", default_value_t = 0)]
    display: usize,
}

/// A button of the mouse.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Which {
    /// The left one
    #[default]
    Left,
    /// The middle one
    Middle,
    /// The right one
    Right,
    /// A notch of the wheel, up
    WheelUp,
    /// A notch of the wheel, down
    WheelDown,
}

impl From<Which> for Button {
    fn from(which: Which) -> Self {
        match which {
            Which::Left => Self::Left,
            Which::Middle => Self::Middle,
            Which::Right => Self::Right,
            Which::WheelUp => Self::WheelUp,
            Which::WheelDown => Self::WheelDown,
        }
    }
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let head = display::open(context, &machine, args.display, "click on").await?;
    if let Some(size) = head.info.size.filter(|size| args.x >= size.width || args.y >= size.height) {
        let message = format!("The display has {} x {} pixels, and no pixel {}, {}", size.width, size.height, args.x, args.y);
        return Err(Failure::new(ErrorKind::NotFound, message));
    }
    if !head.control.takes_positions().await.map_err(|error| failure(&error))? {
        let message = "The machine's mouse only moves; it cannot be put at a place";
        return Err(Failure::new(ErrorKind::Unsupported, message)
            .with_hint("A USB tablet can: it needs USB in the configuration, and a guest that has started far enough to use it"));
    }
    let send = async |input| head.control.send(input).await.map_err(|error| failure(&error));
    send(Input::Position { x: args.x, y: args.y }).await?;
    for _ in 0..args.count {
        for down in [true, false] {
            send(Input::Button { button: args.button.into(), down }).await?;
            tokio::time::sleep(HELD).await;
        }
    }
    let answer = json!({ "name": machine.name, "display": args.display, "x": args.x, "y": args.y, "count": args.count });
    context.output.done(&answer, format!("Clicked at {}, {}", args.x, args.y))
}
