//! `viv clipboard`.

use crate::complete::machines;
use crate::context::Context;
use crate::display;
use crate::error::{Failure, Result};
use clap::{Subcommand, ValueEnum};
use futures::StreamExt;
use machine::ErrorKind;
use machine::exchange::{ClipboardFormat, ClipboardPolicy, Exchange, ExchangeEvent, MAX_CLIPBOARD};
use serde_json::json;
use std::io::{IsTerminal, Read};
use std::sync::Arc;
use std::time::Duration;

/// Copy and paste between this terminal and a machine's desktop
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv clipboard set Debian \"some text\"      the guest can paste it
  viv clipboard set Debian < letter.txt
  viv clipboard set Debian -t png < picture.png
  viv clipboard get Debian --wait 60        what is copied in the guest within a minute
  viv clipboard policy Debian to-guest      nothing that the guest copies gets out

The guest needs a SPICE agent (spice-vdagent, or the SPICE guest tools for Windows) and somebody logged in to its desktop. An agent tells of \
what is copied while it is listened to: `get` without --wait sees what was copied while the app shows the machine, or within a minute after \
an earlier command.")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print what the guest has copied
    Get {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// As what
        #[arg(long = "type", short = 't', value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Wait so many seconds for something to be copied
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
    },
    /// Give the guest something to paste, until it copies something itself
    Set {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// The text [default: standard input]
        text: Option<String>,
        /// What it is
        #[arg(long = "type", short = 't', value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Take back what the guest was given to paste
    Clear {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
    },
    /// Show or say which way the clipboard goes
    Policy {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// Which way
        #[arg(value_enum)]
        policy: Option<Policy>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Png,
    Bmp,
    Tiff,
    Jpeg,
}

impl From<Format> for ClipboardFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Png => Self::Png,
            Format::Bmp => Self::Bmp,
            Format::Tiff => Self::Tiff,
            Format::Jpeg => Self::Jpeg,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Policy {
    /// Neither way
    Off,
    /// What is copied here can be pasted in the guest
    ToGuest,
    /// What is copied in the guest can be pasted here
    ToHost,
    /// Both ways
    Both,
}

impl From<Policy> for ClipboardPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Off => Self::Off,
            Policy::ToGuest => Self::ToGuest,
            Policy::ToHost => Self::ToHost,
            Policy::Both => Self::Both,
        }
    }
}

pub async fn run(context: &Context, args: Args) -> Result {
    match args.verb {
        Verb::Get { machine, format, wait } => get(context, &machine, format.into(), wait).await,
        Verb::Set { machine, text, format } => set(context, &machine, text, format.into()).await,
        Verb::Clear { machine } => {
            let found = context.find(&machine)?;
            let exchange = display::client(context, &found, "change the clipboard of").await?.exchange();
            exchange.clear_clipboard().await.map_err(|error| display::failure(&error))?;
            context.output.done(&json!({ "name": found.name }), format!("\"{}\" has nothing of yours to paste", found.name))
        }
        Verb::Policy { machine, policy } => show_policy(context, &machine, policy.map(Into::into)).await,
    }
}

async fn get(context: &Context, machine: &str, format: ClipboardFormat, wait: Option<u64>) -> Result {
    let machine = context.find(machine)?;
    let exchange = display::client(context, &machine, "read the clipboard of").await?.exchange();
    if let Some(seconds) = wait {
        let patience = Duration::from_secs(seconds);
        match tokio::time::timeout(patience, offered(&exchange, format)).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                let message = format!("Nothing of that kind was copied in \"{}\" within {seconds} s", machine.name);
                return Err(Failure::new(ErrorKind::Timeout, message));
            }
        }
    }
    let data = exchange.clipboard(format).await.map_err(|error| display::failure(&error))?;
    if format != ClipboardFormat::Text && std::io::stdout().is_terminal() {
        return Err(Failure::new(crate::error::Kind::Usage, "A picture would only confuse the terminal")
            .with_hint("Write it to a file, or pipe it on"));
    }
    if context.output.json {
        let text = String::from_utf8(data).map_err(|_| Failure::new(crate::error::Kind::Usage, "A picture is no JSON"))?;
        return context.output.json(&json!({ "name": machine.name, "text": text }));
    }
    if std::io::stdout().is_terminal() {
        // What a guest says must not steer the terminal.
        return context.output.line(crate::output::printable(&String::from_utf8_lossy(&data)));
    }
    context.output.bytes(&data)
}

/// Returns when the guest offers something of this kind.
async fn offered(exchange: &Arc<dyn Exchange>, format: ClipboardFormat) -> Result {
    let mut events = exchange.events().await.map_err(|error| display::failure(&error))?;
    while let Some(event) = events.next().await {
        let formats = match event {
            ExchangeEvent::Status { status } => status.offered,
            ExchangeEvent::Offered { formats } => formats,
            _ => continue,
        };
        if formats.contains(&format) {
            return Ok(());
        }
    }
    Err(Failure::new(ErrorKind::WrongState, "The machine has ended"))
}

async fn set(context: &Context, machine: &str, text: Option<String>, format: ClipboardFormat) -> Result {
    let machine = context.find(machine)?;
    let data = match text {
        Some(text) => text.into_bytes(),
        None => {
            let mut data = Vec::new();
            let read = std::io::stdin().take(MAX_CLIPBOARD as u64 + 1).read_to_end(&mut data);
            read.map_err(|error| Failure::io("Cannot read standard input", &error))?;
            data
        }
    };
    let exchange = display::client(context, &machine, "change the clipboard of").await?.exchange();
    let length = data.len();
    exchange.set_clipboard(format, data).await.map_err(|error| display::failure(&error))?;
    context.output.done(&json!({ "name": machine.name, "bytes": length }), format!("\"{}\" can paste it", machine.name))
}

async fn show_policy(context: &Context, machine: &str, policy: Option<ClipboardPolicy>) -> Result {
    let machine = context.find(machine)?;
    let exchange = display::client(context, &machine, "look at the clipboard of").await?.exchange();
    if let Some(policy) = policy {
        exchange.set_clipboard_policy(policy).await.map_err(|error| display::failure(&error))?;
    }
    let policy = exchange.status().await.map_err(|error| display::failure(&error))?.policy;
    let sentence = match policy {
        ClipboardPolicy::Off => "Nothing is copied between you and",
        ClipboardPolicy::ToGuest => "What you copy can be pasted, and nothing gets out of",
        ClipboardPolicy::ToHost => "What is copied there can be pasted here, and nothing gets into",
        ClipboardPolicy::Both => "What is copied on either side can be pasted on the other of",
    };
    let answer = json!({ "name": machine.name, "policy": policy.name() });
    context.output.answer(&answer, |output| output.line(format!("{sentence} \"{}\" ({})", machine.name, policy.name())))
}
