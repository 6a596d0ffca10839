//! `viv console`.

use crate::complete::machines;
use crate::console::{Attachment, Ended, Escape, Options};
use crate::context::Context;
use crate::error::{Failure, Kind, Result};
use library::Machine;
use machine::{ErrorKind, Event, State};
use std::io::{self, IsTerminal};
use std::time::Duration;
use supervisor_api::wire::StreamItem;

/// How often, and how long apart, a successor for a supervisor that died is looked for.
const SUCCESSION_TRIES: u32 = 20;
const SUCCESSION_PAUSE: Duration = Duration::from_millis(100);

/// Attach the terminal to a machine's serial console
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv console Debian                                      Ctrl-] leaves it; the machine runs on
  viv console Debian --port 1 --escape ctrl-a
  viv console Debian --until 'login:' --timeout 120       waits for the guest
  echo uname -r | viv console Debian --until '# '         types a line and waits for the answer

The recent output is shown first. Where standard input is not a terminal, it goes to the port as it is, and the port's output to standard \
output until the machine ends. --until looks at what the guest prints after the last of the input was sent; without input, the recent \
output counts, too.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// Which serial port, counted from 0; otherwise the first that a terminal can be attached to
    #[arg(long, short, value_name = "N")]
    port: Option<usize>,
    /// The key that detaches: ^], ctrl-a, a character, or none
    #[arg(long, short, value_name = "KEY", default_value = "^]")]
    escape: Escape,
    /// Return when the guest has printed this
    #[arg(long, value_name = "TEXT")]
    until: Option<String>,
    /// Return after so many seconds; with --until, fail
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let options = Options {
        escape: args.escape,
        until: args.until.as_ref().map(|text| text.clone().into_bytes()),
        timeout: args.timeout.map(Duration::from_secs),
    };
    attach(context, &machine, args.port, &options).await
}

/// Attaches to a console of a running machine.
pub(super) async fn attach(context: &Context, machine: &Machine, port: Option<usize>, options: &Options) -> Result {
    let name = &machine.name;
    let (index, mut supervisor) = choose(context, machine, port).await?;
    let socket = context.library.places().runtime_of(&machine.id).console_socket(index);
    let interactive = io::stdin().is_terminal();
    if interactive {
        context.output.note(format_args!("Attached to \"{name}\". {}", leave(options.escape)));
    }
    let mut attachment = Attachment::new(options)?;
    let ended = loop {
        let ended = attachment.run(&socket).await?;
        if ended == Ended::Closed
            && let Some(successor) = successor(context, machine, supervisor).await
        {
            supervisor = successor;
            continue;
        }
        break ended;
    };
    // The terminal takes whole lines again.
    drop(attachment);
    match ended {
        Ended::Seen => Ok(()),
        Ended::Detached => {
            context.output.note(format_args!("\nDetached; \"{name}\" runs on."));
            Ok(())
        }
        Ended::Closed if options.until.is_none() => {
            if interactive {
                context.output.note(format_args!("\nThe console was closed: \"{name}\" has ended."));
            }
            Ok(())
        }
        Ended::TimedOut if options.until.is_none() => Ok(()),
        Ended::Closed => Err(missing(options, ErrorKind::Backend, &format!("The console of \"{name}\" was closed"))),
        Ended::TimedOut => {
            Err(missing(options, ErrorKind::Timeout, &format!("\"{name}\" was given {} s", options.timeout.unwrap_or_default().as_secs())))
        }
        Ended::Signal(signal) => Err(Failure::new(Kind::Signal(signal), "Detached by a signal")),
    }
}

/// Which console is meant, and which process serves it.
async fn choose(context: &Context, machine: &Machine, port: Option<usize>) -> Result<(usize, Option<u32>)> {
    let name = &machine.name;
    let quoted = shell_words::quote(name);
    let Some(client) = context.library.client(machine).await? else {
        return Err(Failure::new(ErrorKind::WrongState, format!("Cannot attach to \"{name}\": it is not running"))
            .with_hint(format!("`viv start {quoted} --console` starts it and attaches")));
    };
    let mut status = client.status().await?;
    if status.state == State::Starting {
        // Its ports are there when it runs.
        let mut events = client.events().await?;
        while let Some(item) = events.next().await? {
            let started = match item {
                StreamItem::Status(status) => status.state != State::Starting,
                StreamItem::Event(Event::StateChanged { to, .. }) => to != State::Starting,
                StreamItem::Event(_) => false,
            };
            if started {
                break;
            }
        }
        status = client.status().await?;
    }
    let known: Vec<String> = status.consoles.iter().map(|console| format!("{} ({})", console.index, console.label)).collect();
    let found = status.consoles.iter().find(|console| port.is_none_or(|port| port == console.index));
    match (found, port) {
        (Some(console), _) => Ok((console.index, status.supervisor_pid)),
        (None, Some(port)) if !known.is_empty() => Err(Failure::new(ErrorKind::NotFound, format!("\"{name}\" has no console {port}"))
            .with_hint(format!("There is {}", known.join(", ")))),
        (None, _) => Err(Failure::new(ErrorKind::NotFound, format!("\"{name}\" has no serial port that a terminal can be attached to"))
            .with_hint(format!("`viv config set {quoted} 'Serial[+].Mode' Terminal` adds one, while the machine does not run"))),
    }
}

/// The supervisor that took the machine over, where the one that served the console died and the guest runs on.
async fn successor(context: &Context, machine: &Machine, before: Option<u32>) -> Option<Option<u32>> {
    for _ in 0..SUCCESSION_TRIES {
        match context.library.client(machine).await {
            Ok(Some(client)) => {
                let now = client.status().await.ok()?.supervisor_pid;
                return (now != before).then_some(now);
            }
            Ok(None) => return None,
            // The kernel closes a dead supervisor's connections and gives back its locks one after the other: it may not quite be dead yet.
            Err(_) => tokio::time::sleep(SUCCESSION_PAUSE).await,
        }
    }
    None
}

fn missing(options: &Options, kind: ErrorKind, what: &str) -> Failure {
    let text = String::from_utf8_lossy(options.until.as_deref().unwrap_or_default()).into_owned();
    Failure::new(kind, format!("{what}, and \"{text}\" was not seen"))
}

fn leave(escape: Escape) -> String {
    if escape.is_none() { "No key detaches; end this command from elsewhere.".to_owned() } else { format!("{escape} leaves it.") }
}
