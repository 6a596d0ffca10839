//! `viv import`.

use crate::commands::create::Hardware;
use crate::context::{Context, absolute};
use crate::describe;
use crate::error::Result;
use crate::progress;
use library::ImportOptions;
use std::path::PathBuf;

/// Take in a machine that was made elsewhere, or make one around a disk or CD image
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv import Windows.utm                               a bundle that UTM made
  viv import Windows.utm.zip
  viv import --link /media/ada/disk/Debian.utm         lists it where it is, without a copy
  viv import server.vmdk --name Server --memory 2GiB   a machine around a disk: raw, qcow2, vmdk, vdi, vhdx
  viv import alpine.iso                                a machine with an installer

The file is left as it is. A UUID that another machine has is replaced in the copy. The options under Hardware are for images; a bundle \
brings its own.")]
pub struct Args {
    /// A .utm folder, a .utm.zip file, a disk image or a CD image
    file: PathBuf,
    /// The machine's name; otherwise its own, or the file's
    #[arg(long, short)]
    name: Option<String>,
    /// Leave a bundle where it is, and only list it
    #[arg(long, visible_alias = "register", conflicts_with_all = ["name", "keep_format"])]
    link: bool,
    /// Keep a disk image's format instead of making it qcow2
    #[arg(long)]
    keep_format: bool,
    #[command(flatten)]
    hardware: Hardware,
}

pub async fn run(context: &Context, args: Args) -> Result {
    if args.hardware.asks_for_names() {
        return args.hardware.list(context).await;
    }
    let source = absolute(&args.file);
    let options = ImportOptions { name: args.name, link: args.link, keep_format: args.keep_format, machine: args.hardware.spec()? };
    let (library, verb) = (&context.library, if args.link { "Listed" } else { "Imported" });
    let made = progress::run(&context.output, async |job| library.import(&source, options, job).await).await?;
    describe::made(&context.output, &made, verb)
}
