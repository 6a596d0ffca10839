//! `viv key`.

use crate::complete::machines;
use crate::context::Context;
use crate::display::{self, Keyboard};
use crate::error::{Failure, Kind, Result};
use serde_json::json;

/// Press keys on a machine's keyboard
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys are places on the keyboard, named as on a United States one: a, 1, f5, enter, esc, tab, space, backspace, delete, up, pageup, home, \
ctrl, shift, alt, altgr, super, menu, print, minus, comma, kp5, …; what they write is for the guest to say. Keys with - or + between \
them are held together.

Examples:
  viv key Debian ctrl-alt-delete
  viv key Debian down down enter
  viv key Windows super-r")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// Keys, or keys that are held together, one after the other
    #[arg(required = true, value_name = "KEYS")]
    keys: Vec<String>,
    #[command(flatten)]
    keyboard: Keyboard,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let chords = args.keys.iter().map(|text| keymap::chord(text)).collect::<Result<Vec<_>, _>>();
    let chords = chords.map_err(|error| Failure::new(Kind::Usage, error.to_string()).with_hint("`viv help key` names them"))?;
    let machine = context.find(&args.machine)?;
    let head = display::open(context, &machine, args.keyboard.display, "press keys of").await?;
    for chord in &chords {
        display::press(&*head.control, chord, args.keyboard.pause()).await?;
    }
    let answer = json!({ "name": machine.name, "display": args.keyboard.display, "pressed": args.keys });
    context.output.done(&answer, format!("Pressed {}", args.keys.join(", ")))
}
