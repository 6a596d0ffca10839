//! `viv type`.

use crate::complete::machines;
use crate::context::Context;
use crate::display::{self, Keyboard};
use crate::error::{Failure, Kind, Result};
use keymap::{Key, text};
use serde_json::json;
use std::io::Read;

/// The longest text, in bytes: typing it takes an hour.
const LONGEST: usize = 64 << 10;

/// Type text on a machine's keyboard
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The text is typed as on a United States keyboard; a guest with another layout sees other characters. For ends of lines, pipe the text in, \
or press enter with `viv key`.

Examples:
  viv type Debian 'root'
  viv type Debian --enter 'apt update'
  cat script.sh | viv type Debian -")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// The text; `-` is standard input
    #[arg(allow_hyphen_values = true)]
    text: String,
    /// Press enter at the end
    #[arg(long, short)]
    enter: bool,
    #[command(flatten)]
    keyboard: Keyboard,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let mut typed = if args.text == "-" { standard_input()? } else { args.text.clone() };
    if args.enter {
        typed.push('\n');
    }
    if typed.len() > LONGEST {
        return Err(
            Failure::new(Kind::Usage, format!("The text is longer than {} KiB", LONGEST >> 10)).with_hint("Share a folder: `viv share`")
        );
    }
    let strokes = text::strokes(&typed).map_err(|character| {
        Failure::new(Kind::Usage, format!("A United States keyboard has no {character:?}")).with_hint("Nothing was typed")
    })?;
    let machine = context.find(&args.machine)?;
    let head = display::open(context, &machine, args.keyboard.display, "type on").await?;
    let shift = Key::named("shift");
    for stroke in &strokes {
        let keys: Vec<Key> = shift.filter(|_| stroke.shift).into_iter().chain([stroke.key]).collect();
        display::press(&*head.control, &keys, args.keyboard.pause()).await?;
    }
    let answer = json!({ "name": machine.name, "display": args.keyboard.display, "typed": strokes.len() });
    context.output.done(&answer, format!("Typed {} characters", strokes.len()))
}

fn standard_input() -> Result<String> {
    let failed = |error: std::io::Error| Failure::io("Cannot read the text from standard input".to_owned(), &error);
    let mut typed = String::new();
    // One more than is taken, so that too much is noticed.
    std::io::stdin().lock().take(LONGEST as u64 + 1).read_to_string(&mut typed).map_err(failed)?;
    Ok(typed)
}
