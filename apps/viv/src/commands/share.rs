//! `viv share`.

use crate::complete::machines;
use crate::context::Context;
use crate::display;
use crate::error::Result;
use crate::output::Cell;
use bundle::qemu::DirectoryShareMode;
use library::{Machine, ShareChange, SharedFolder};
use machine::exchange::ExchangeFolder;
use serde::Serialize;
use std::path::PathBuf;

/// Show and change the folder that a machine shares with its guest
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv share Debian                        what it shares
  viv share Debian ~/Projects             share a folder
  viv share Debian ~/Music --read-only    … that the guest may only read
  viv share Debian --none                 share nothing any more

The guest mounts it, where it is Linux, with
  mount -t 9p -o trans=virtio,version=9p2000.L share /mnt

The guest gets into that folder and nowhere else; links in it lead nowhere outside. The machine must not run while this changes. A folder \
that is shared over WebDAV can be changed at any time; the guest needs spice-webdavd, and finds it at http://localhost:9843/.")]
pub struct Args {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// The folder to share, in place of the one that was
    folder: Option<PathBuf>,
    /// Share nothing any more
    #[arg(long, conflicts_with = "folder")]
    none: bool,
    /// Let the guest only read
    #[arg(long)]
    read_only: bool,
    /// Let the guest write, too, where it only read before
    #[arg(long, conflicts_with = "read_only")]
    read_write: bool,
    /// How it reaches the guest [default: as before, a file system where it did not at all]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mode {
    /// A file system (9p) that the guest mounts
    Virtfs,
    /// WebDAV, which the guest's spice-webdavd serves at http://localhost:9843/
    Webdav,
}

/// The shared folder in JSON.
#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    folder: Option<PathBuf>,
    /// `VirtFS`, `WebDAV` or `None`.
    mode: &'static str,
    read_only: bool,
    /// What the guest mounts.
    tag: Option<&'static str>,
}

impl Answer {
    fn new(machine: &Machine, shared: SharedFolder) -> Self {
        let tag = (shared.mode == DirectoryShareMode::VirtFs).then_some(shared.tag);
        Self { name: machine.name.clone(), folder: shared.folder, mode: shared.mode.as_str(), read_only: shared.read_only, tag }
    }

    /// How the guest gets it.
    fn how(&self) -> String {
        match self.tag {
            Some(tag) => format!("in the guest: mount -t 9p -o trans=virtio,version=9p2000.L {tag} /mnt"),
            None if self.mode == DirectoryShareMode::WebDav.as_str() => {
                "in the guest: http://localhost:9843/, where spice-webdavd runs".to_owned()
            }
            None => "not at all, until --mode says how".to_owned(),
        }
    }
}

pub async fn run(context: &Context, args: &Args) -> Result {
    let machine = context.find(&args.machine)?;
    let change = ShareChange {
        folder: if args.none { Some(None) } else { args.folder.clone().map(Some) },
        mode: args.mode.map(|mode| match mode {
            Mode::Virtfs => DirectoryShareMode::VirtFs,
            Mode::Webdav => DirectoryShareMode::WebDav,
        }),
        read_only: (args.read_only || args.read_write).then_some(args.read_only),
    };
    let output = &context.output;
    if change == ShareChange::default() {
        let answer = Answer::new(&machine, context.library.shared_folder(&machine)?);
        return output.answer(&answer, |output| {
            let access = if answer.read_only { "reads" } else { "reads and writes" };
            let folder = answer.folder.as_ref().map_or_else(|| Cell::new("none"), |folder| Cell::new(folder.display()));
            output.facts([
                ("Folder", Some(folder)),
                ("The guest", Some(Cell::new(access))),
                ("Mode", Some(Cell::new(answer.mode))),
                ("How", answer.folder.is_some().then(|| Cell::new(answer.how()))),
            ])
        });
    }
    let shared = context.library.share(&machine, change)?;
    if shared.mode == DirectoryShareMode::WebDav
        && let Some(client) = context.library.client(&machine).await?
    {
        let folder = shared.folder.clone().map(|path| ExchangeFolder { path, read_only: shared.read_only });
        client.exchange().share_folder(folder).await.map_err(|error| display::failure(&error))?;
    }
    let answer = Answer::new(&machine, shared);
    let sentence = match &answer.folder {
        Some(folder) if answer.read_only => format!("\"{}\" shares {}, to be read only; {}", answer.name, folder.display(), answer.how()),
        Some(folder) => format!("\"{}\" shares {}; {}", answer.name, folder.display(), answer.how()),
        None => format!("\"{}\" shares no folder", answer.name),
    };
    output.done(&answer, sentence)
}
