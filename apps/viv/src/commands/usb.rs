//! `viv usb`.

use crate::complete::machines;
use crate::context::Context;
use crate::display;
use crate::error::Result;
use crate::output::{Cell, printable};
use clap::Subcommand;
use serde_json::json;

/// Give USB devices of this computer to a machine, and take them back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv usb list Debian
  viv usb attach Debian 1-2.4          by its place
  viv usb attach Debian 0781:5567      or by its numbers
  viv usb detach Debian 1-2.4

This computer does without an attached device until it is detached or the machine ends. What you may not open yourself you cannot attach; \
the message says which rule of udev changes that.")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List this computer's devices, and which of them the machine has
    #[command(visible_alias = "ls")]
    List {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
    },
    /// Give a device to the machine
    Attach {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// The device: its place (1-2.4), or its numbers (0781:5567)
        device: String,
    },
    /// Take a device back
    Detach {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// The device: its place (1-2.4)
        device: String,
    },
}

pub async fn run(context: &Context, args: &Args) -> Result {
    match &args.verb {
        Verb::List { machine } => list(context, machine).await,
        Verb::Attach { machine, device } => change(context, machine, device, true).await,
        Verb::Detach { machine, device } => change(context, machine, device, false).await,
    }
}

async fn list(context: &Context, machine: &str) -> Result {
    let machine = context.find(machine)?;
    let exchange = display::client(context, &machine, "list the USB devices of").await?.exchange();
    let devices = exchange.usb_devices().await.map_err(|error| display::failure(&error))?;
    context.output.answer(&devices, |output| {
        if devices.is_empty() {
            output.note("This computer has no USB device.");
            return Ok(());
        }
        output.table(
            &["DEVICE", "NUMBERS", "NAME", "STATE"],
            devices.iter().map(|device| {
                let state = match &device.refused {
                    _ if device.attached => format!("with \"{}\"", machine.name),
                    Some(why) => why.clone(),
                    None => "here".to_owned(),
                };
                let numbers = format!("{:04x}:{:04x}", device.vendor, device.product);
                vec![Cell::new(&device.id), Cell::new(numbers), Cell::new(printable(&device.name)), Cell::new(state)]
            }),
        )
    })
}

async fn change(context: &Context, machine: &str, device: &str, attach: bool) -> Result {
    let machine = context.find(machine)?;
    let exchange = display::client(context, &machine, "change the USB devices of").await?.exchange();
    let changed = if attach { exchange.attach_usb(device).await } else { exchange.detach_usb(device).await };
    changed.map_err(|error| display::failure(&error))?;
    let sentence = if attach {
        format!("\"{}\" has the USB device {device}", machine.name)
    } else {
        format!("The USB device {device} is back with this computer")
    };
    context.output.done(&json!({ "name": machine.name, "device": device, "attached": attach }), sentence)
}
