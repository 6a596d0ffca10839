//! `viv send`.

use crate::complete::machines;
use crate::context::{Context, absolute};
use crate::display;
use crate::error::{Failure, Result};
use crate::progress;
use futures::StreamExt;
use machine::ErrorKind;
use machine::exchange::{Exchange, ExchangeEvent, ExchangeEvents, Transfer};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// Send files into a machine, where its agent puts them: usually into the downloads
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv send Debian report.pdf
  viv send Debian *.jpg

The guest needs a SPICE agent (spice-vdagent, or the SPICE guest tools for Windows) and somebody logged in to its desktop. For whole folders \
`viv share` is the better way.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// The files
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub async fn run(context: &Context, args: Args) -> Result {
    let machine = context.find(&args.machine)?;
    let exchange = display::client(context, &machine, "send files to").await?.exchange();
    let mut events = exchange.events().await.map_err(|error| display::failure(&error))?;
    // How things stood before the first of them was on its way.
    let _ = events.next().await;
    let spinner = progress::spinner(&context.output);
    let mut sent = Vec::new();
    for file in &args.files {
        let transfer = send(&exchange, &mut events, absolute(file), |transfer| {
            let percent = transfer.sent.saturating_mul(100).checked_div(transfer.total).unwrap_or(100);
            spinner.set_message(format!("{}: {percent} %", crate::output::printable(&transfer.name)));
        });
        sent.push(transfer.await?);
    }
    spinner.finish_and_clear();
    let bytes: u64 = sent.iter().map(|transfer| transfer.total).sum();
    let names: Vec<&str> = sent.iter().map(|transfer| transfer.name.as_str()).collect();
    let what = if let [name] = names.as_slice() { (*name).to_owned() } else { crate::output::count(names.len(), "file") };
    context.output.done(&json!({ "name": machine.name, "files": names, "bytes": bytes }), format!("\"{}\" has {what}", machine.name))
}

/// Sends a file and waits until the guest has it.
async fn send(
    exchange: &Arc<dyn Exchange>,
    events: &mut ExchangeEvents,
    file: PathBuf,
    mut progress: impl FnMut(&Transfer),
) -> Result<Transfer> {
    let shown = file.display().to_string();
    let begun = exchange.send_file(file).await.map_err(|error| display::failure(&error))?;
    progress(&begun);
    while let Some(event) = events.next().await {
        match event {
            ExchangeEvent::Transfer { transfer } if transfer.id == begun.id => {
                progress(&transfer);
                match transfer.error {
                    Some(why) => return Err(failed(&shown, &why)),
                    None if transfer.done => return Ok(transfer),
                    None => {}
                }
            }
            // Events were lost; one that is no longer on its way has come to an end that nobody saw.
            ExchangeEvent::Status { status } if !status.transfers.iter().any(|transfer| transfer.id == begun.id) => {
                return Err(failed(&shown, "too much happened at once to tell how it ended"));
            }
            _ => {}
        }
    }
    Err(failed(&shown, "the machine has ended"))
}

fn failed(file: &str, why: &str) -> Failure {
    let mut failure = Failure::new(ErrorKind::Backend, format!("The guest did not take {file}"));
    failure.details = Some(why.to_owned());
    failure
}
