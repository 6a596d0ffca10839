//! `viv media`.

use crate::complete::machines;
use crate::context::{Context, absolute};
use crate::error::{Failure, Kind, Result};
use crate::output::Cell;
use clap::Subcommand;
use library::{DriveInfo, Machine};
use machine::ErrorKind;
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Show and change what is in a machine's removable drives
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv media list Debian
  viv media insert Debian debian-13-netinst.iso     where there is one removable drive only
  viv media insert Debian 1 drivers.iso             a drive by its number or identifier
  viv media eject Debian

A running machine notices at once. Media stay where they are, and stay inserted over restarts.")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the removable drives and what is in them
    #[command(visible_alias = "ls")]
    List {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
    },
    /// Put an image into a removable drive, in place of what is there
    #[command(allow_missing_positional = true)]
    Insert {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// The drive: its number or identifier; may be left out where there is one only
        drive: Option<String>,
        /// The image
        file: PathBuf,
        /// Let the guest write to it
        #[arg(long)]
        read_write: bool,
    },
    /// Take the medium out of a removable drive
    Eject {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
        /// The drive: its number or identifier; may be left out where there is one only
        drive: Option<String>,
        /// Even where the guest has locked the tray
        #[arg(long, short)]
        force: bool,
    },
}

/// A removable drive in JSON.
#[derive(Debug, Serialize)]
struct Removable {
    /// Its place among all drives, counted from 0.
    index: usize,
    id: String,
    #[serde(rename = "type")]
    image_type: String,
    interface: String,
    read_only: bool,
    medium: Option<PathBuf>,
}

pub async fn run(context: &Context, args: &Args) -> Result {
    match &args.verb {
        Verb::List { machine } => list(context, &context.find(machine)?).await,
        Verb::Insert { machine, drive, file, read_write } => {
            insert(context, &context.find(machine)?, drive.as_deref(), file, !read_write).await
        }
        Verb::Eject { machine, drive, force } => eject(context, &context.find(machine)?, drive.as_deref(), *force).await,
    }
}

async fn list(context: &Context, machine: &Machine) -> Result {
    let drives = removable(context, machine).await?;
    let output = &context.output;
    output.answer(&drives, |output| {
        if drives.is_empty() {
            output.note(format_args!("\"{}\" has no removable drive.", machine.name));
            return Ok(());
        }
        output.table(
            &["DRIVE", "TYPE", "INTERFACE", "MEDIUM", "ID"],
            drives.iter().map(|drive| {
                let medium = match &drive.medium {
                    Some(path) if drive.read_only => format!("{} (read-only)", path.display()),
                    Some(path) => path.display().to_string(),
                    None => "empty".to_owned(),
                };
                vec![
                    Cell::new(drive.index),
                    Cell::new(&drive.image_type),
                    Cell::new(&drive.interface),
                    Cell::new(medium),
                    Cell::new(&drive.id),
                ]
            }),
        )
    })
}

/// The removable drives. What is in them is asked of a running machine: its guest can eject, too.
async fn removable(context: &Context, machine: &Machine) -> Result<Vec<Removable>> {
    let running = match context.library.client(machine).await? {
        Some(client) => Some(client.status().await?.drives),
        None => None,
    };
    let drives = context.library.drives(machine)?;
    let numbered = drives.into_iter().enumerate().filter(|(_, drive)| drive.removable);
    Ok(numbered
        .map(|(index, drive)| {
            let now = running.as_ref().and_then(|drives| drives.iter().find(|running| running.id == drive.id));
            let (medium, read_only) = now.map_or((drive.path, drive.read_only), |now| (now.medium.clone(), now.read_only));
            Removable { index, id: drive.id, image_type: drive.image_type, interface: drive.interface, read_only, medium }
        })
        .collect())
}

async fn insert(context: &Context, machine: &Machine, drive: Option<&str>, file: &Path, read_only: bool) -> Result {
    let drive = choose(&context.library.drives(machine)?, machine, drive)?;
    let file = absolute(file);
    context.library.insert(machine, &drive, &file, read_only).await?;
    context.output.done(
        &json!({ "name": machine.name, "drive": drive, "medium": file, "read_only": read_only }),
        format!("Inserted {} into \"{}\"", file.display(), machine.name),
    )
}

async fn eject(context: &Context, machine: &Machine, drive: Option<&str>, force: bool) -> Result {
    let drive = choose(&context.library.drives(machine)?, machine, drive)?;
    context.library.eject(machine, &drive, force).await?;
    context
        .output
        .done(&json!({ "name": machine.name, "drive": drive, "medium": null }), format!("Ejected the medium of \"{}\"", machine.name))
}

/// The drive that is meant: the one that was named, or the only removable one.
fn choose(drives: &[DriveInfo], machine: &Machine, named: Option<&str>) -> Result<String> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let removable: Vec<(usize, &DriveInfo)> = drives.iter().enumerate().filter(|(_, drive)| drive.removable).collect();
    match removable.as_slice() {
        [(_, drive)] => Ok(drive.id.clone()),
        [] => Err(Failure::new(ErrorKind::NotFound, format!("\"{}\" has no removable drive", machine.name))
            .with_hint(format!("`viv drive add {} --cd` adds one, while the machine does not run", shell_words::quote(&machine.name)))),
        several => {
            let named: Vec<String> =
                several.iter().map(|(index, drive)| format!("{index} ({} on {})", drive.image_type, drive.interface)).collect();
            Err(Failure::new(Kind::Ambiguous, format!("\"{}\" has {} removable drives", machine.name, several.len()))
                .with_hint(format!("Name one: {}", named.join(", "))))
        }
    }
}
