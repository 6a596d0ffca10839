//! `viv drive`.

use crate::complete::machines;
use crate::context::{Context, absolute};
use crate::error::{Failure, Result};
use crate::output::{Cell, bytes};
use crate::progress;
use crate::size::Size;
use bundle::qemu::DriveInterface;
use clap::{Subcommand, ValueEnum};
use library::{BootFileKind, CheckReport, DiskFormat, DiskSpec, DriveInfo, DriveSpec, ImageFate, Machine, RemovableKind};
use machine::ErrorKind;
use serde_json::{Value, json};
use std::path::PathBuf;

/// List, add, remove, resize, convert and check a machine's drives
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv drive list Debian
  viv drive add Debian --size 100GiB
  viv drive add Debian --cd
  viv drive resize Debian 0 128GiB
  viv drive convert Debian 0 --format qcow2     also gives back what the guest has discarded
  viv drive check Debian 0 --repair
  viv drive remove Debian 2

A drive is named by its number, by its identifier, or by the beginning of that. The machine must not run.")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the drives, in the order in which they are tried for booting
    #[command(visible_alias = "ls")]
    List {
        /// The machine: name, UUID, beginning of either, or path
        #[arg(add = machines())]
        machine: String,
    },
    Add(Box<Add>),
    /// Remove a drive, and move its image to the trash
    #[command(visible_alias = "rm")]
    Remove {
        #[command(flatten)]
        which: Which,
        /// Delete the image for good: nothing can bring it back
        #[arg(long)]
        permanently: bool,
    },
    /// Make a disk larger; the guest then still has to enlarge its partitions
    Resize {
        #[command(flatten)]
        which: Which,
        /// The new size, such as 128GiB
        size: Size,
    },
    /// Rewrite a disk in a format; the copy is compared with the original before it takes its place
    Convert {
        #[command(flatten)]
        which: Which,
        /// The format
        #[arg(long, short, value_enum, default_value_t = Format::Qcow2)]
        format: Format,
        /// Compress it (qcow2 only): smaller, and slower to read
        #[arg(long)]
        compress: bool,
    },
    /// Look for errors in a disk image's bookkeeping
    Check {
        #[command(flatten)]
        which: Which,
        /// Repair what can be repaired, on a copy that then takes its place
        #[arg(long)]
        repair: bool,
    },
}

/// A drive of a machine.
#[derive(Debug, clap::Args)]
struct Which {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// The drive: its number, its identifier, or the beginning of that
    drive: String,
}

/// Add a drive: a new disk, a copy of an image, an empty removable drive, or a file to boot with
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("what").required(true).multiple(true).args(["size", "image", "cd", "floppy", "removable", "kernel", "initrd", "dtb", "bios"])),
    after_help = "\
Examples:
  viv drive add Debian --size 100GiB
  viv drive add Debian --image old-disk.vmdk
  viv drive add Debian --cd --medium tools.iso
  viv drive add Debian --size 1TiB --interface nvme"
)]
struct Add {
    /// The machine: name, UUID, beginning of either, or path
    #[arg(add = machines())]
    machine: String,
    /// The size of a new disk; with --image, the size to enlarge the copy to
    #[arg(long, short)]
    size: Option<Size>,
    /// A disk image to copy into the bundle
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// A CD or DVD drive
    #[arg(long, conflicts_with_all = ["size", "image", "floppy", "removable"])]
    cd: bool,
    /// A floppy drive
    #[arg(long, conflicts_with_all = ["size", "image", "removable"])]
    floppy: bool,
    /// A disk whose image stays outside the bundle
    #[arg(long, conflicts_with_all = ["size", "image"])]
    removable: bool,
    /// What is in the removable drive at first
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "image"])]
    medium: Option<PathBuf>,
    /// A Linux kernel to boot directly
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "image", "cd", "floppy", "removable", "interface", "format"])]
    kernel: Option<PathBuf>,
    /// An initial RAM disk for the kernel
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "image", "cd", "floppy", "removable", "interface", "format"])]
    initrd: Option<PathBuf>,
    /// A device tree for the kernel
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "image", "cd", "floppy", "removable", "interface", "format"])]
    dtb: Option<PathBuf>,
    /// A firmware image
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "image", "cd", "floppy", "removable", "interface", "format"])]
    bios: Option<PathBuf>,
    /// How it is attached; otherwise chosen for the machine
    #[arg(long, short, value_parser = parse_interface)]
    interface: Option<DriveInterface>,
    /// The format of a disk; otherwise chosen for the backend
    #[arg(long, short, value_enum)]
    format: Option<Format>,
    /// Keep the guest from writing to it
    #[arg(long)]
    read_only: bool,
}

/// The format of an image in a bundle.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Grows with what the guest writes
    Qcow2,
    /// The guest's bytes as they are, in a sparse file
    Raw,
}

impl From<Format> for DiskFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Qcow2 => Self::Qcow2,
            Format::Raw => Self::Raw,
        }
    }
}

/// An interface in any case.
fn parse_interface(text: &str) -> Result<DriveInterface, String> {
    let found = DriveInterface::ALL.iter().find(|interface| interface.as_str().eq_ignore_ascii_case(text));
    found.copied().ok_or_else(|| format!("it is one of {}", DriveInterface::NAMES.join(", ")))
}

pub async fn run(context: &Context, args: Args) -> Result {
    match args.verb {
        Verb::List { machine } => list(context, &context.find(&machine)?),
        Verb::Add(add) => self::add(context, &add).await,
        Verb::Remove { which, permanently } => {
            let (machine, drive) = (context.find(&which.machine)?, &which.drive);
            let fate = if permanently { ImageFate::Delete } else { ImageFate::Trash };
            context.library.drive_remove(&machine, drive, fate).await?;
            done(context, &machine, &json!({ "removed": drive }), "Removed the drive from", "")
        }
        Verb::Resize { which, size } => {
            let (machine, drive, library) = (context.find(&which.machine)?, &which.drive, &context.library);
            progress::run(&context.output, async |job| library.drive_resize(&machine, drive, size.0, job).await).await?;
            let more = format!(": it has {} now. The guest still has to enlarge its partitions", bytes(size.0));
            done(context, &machine, &json!({ "drive": drive, "virtual_size": size.0 }), "Resized the disk of", &more)
        }
        Verb::Convert { which, format, compress } => {
            let (machine, drive, library) = (context.find(&which.machine)?, &which.drive, &context.library);
            let format = DiskFormat::from(format);
            progress::run(&context.output, async |job| library.drive_convert(&machine, drive, format, compress, job).await).await?;
            done(context, &machine, &json!({ "drive": drive }), "Converted the disk of", "")
        }
        Verb::Check { which, repair } => check(context, &which, repair).await,
    }
}

fn done(context: &Context, machine: &Machine, facts: &Value, sentence: &str, more: &str) -> Result {
    let mut answer = json!({ "name": machine.name });
    if let (Value::Object(answer), Value::Object(facts)) = (&mut answer, facts) {
        answer.extend(facts.clone());
    }
    context.output.done(&answer, format!("{sentence} \"{}\"{more}", machine.name))
}

fn to_json(index: usize, drive: &DriveInfo) -> Value {
    json!({
        "index": index, "id": drive.id, "type": drive.image_type, "interface": drive.interface, "removable": drive.removable,
        "read_only": drive.read_only, "path": drive.path, "format": drive.format, "virtual_size": drive.virtual_size,
        "allocated": drive.allocated,
    })
}

fn list(context: &Context, machine: &Machine) -> Result {
    let drives = context.library.drives(machine)?;
    let described: Vec<Value> = drives.iter().enumerate().map(|(index, drive)| to_json(index, drive)).collect();
    context.output.answer(&described, |output| {
        if drives.is_empty() {
            output.note(format_args!("\"{}\" has no drives.", machine.name));
            return Ok(());
        }
        output.table(
            &["DRIVE", "TYPE", "INTERFACE", "FORMAT", "SIZE", "ON DISK", "IMAGE", "ID"],
            drives.iter().enumerate().map(|(index, drive)| {
                let size = |size: Option<u64>| Cell::new(size.map_or_else(|| "-".to_owned(), bytes));
                let image = match (&drive.path, drive.removable) {
                    (Some(path), true) => path.display().to_string(),
                    // In the bundle, where its name says enough.
                    (Some(path), false) => path.file_name().map_or_else(|| "-".into(), |name| name.to_string_lossy().into_owned()),
                    (None, true) => "empty".to_owned(),
                    (None, false) => "-".to_owned(),
                };
                let read_only = if drive.read_only { " (read-only)" } else { "" };
                vec![
                    Cell::new(index),
                    Cell::new(&drive.image_type),
                    Cell::new(&drive.interface),
                    Cell::new(drive.format.as_deref().unwrap_or("-")),
                    size(drive.virtual_size),
                    size(drive.allocated),
                    Cell::new(format!("{image}{read_only}")),
                    Cell::new(&drive.id),
                ]
            }),
        )
    })
}

async fn add(context: &Context, args: &Add) -> Result {
    let machine = context.find(&args.machine)?;
    let library = &context.library;
    let spec = args.spec();
    let id = progress::run(&context.output, async |job| library.drive_add(&machine, spec, job).await).await?;
    done(context, &machine, &json!({ "drive": id }), "Added a drive to", &format!(": {id}"))
}

impl Add {
    fn spec(&self) -> DriveSpec {
        let boot_file = |kind, source: &PathBuf| DriveSpec::BootFile { kind, source: absolute(source) };
        match (&self.kernel, &self.initrd, &self.dtb, &self.bios) {
            (Some(file), ..) => return boot_file(BootFileKind::Kernel, file),
            (_, Some(file), ..) => return boot_file(BootFileKind::Initrd, file),
            (_, _, Some(file), _) => return boot_file(BootFileKind::Dtb, file),
            (.., Some(file)) => return boot_file(BootFileKind::Bios, file),
            _ => {}
        }
        let kind = match (self.cd, self.floppy, self.removable) {
            (true, ..) => RemovableKind::Cd,
            (_, true, _) => RemovableKind::Floppy,
            (.., true) => RemovableKind::Disk,
            _ => {
                return DriveSpec::Disk(DiskSpec {
                    size: self.size.map(|size| size.0),
                    source: self.image.as_deref().map(absolute),
                    format: self.format.map(DiskFormat::from),
                    interface: self.interface,
                    read_only: self.read_only,
                });
            }
        };
        DriveSpec::Removable { kind, medium: self.medium.as_deref().map(absolute), interface: self.interface }
    }
}

async fn check(context: &Context, which: &Which, repair: bool) -> Result {
    let (machine, drive, library) = (context.find(&which.machine)?, &which.drive, &context.library);
    let report: CheckReport = progress::run(&context.output, async |job| library.drive_check(&machine, drive, repair, job).await).await?;
    let (corruptions, leaks, repaired) = (report.corruptions, report.leaks, report.repaired);
    let clean = report.is_clean();
    let said = match (report.checkable, clean) {
        (false, _) => "Nothing to check: the image has no bookkeeping".to_owned(),
        (true, true) if repaired > 0 => {
            let kept = report.original.as_ref().map(|path| {
                format!("\nThe image as it was is kept, to be deleted once the guest has found its files in order: {}", path.display())
            });
            format!("Repaired {repaired} errors; no errors are left{}", kept.unwrap_or_default())
        }
        (true, true) => "No errors".to_owned(),
        (true, false) => format!("{corruptions} errors that endanger data, {leaks} clusters of wasted space"),
    };
    let answer = json!({
        "name": machine.name, "drive": drive, "checkable": report.checkable, "clean": clean,
        "corruptions": corruptions, "leaks": leaks, "repaired": repaired,
        "original": report.original,
    });
    context.output.answer(&answer, |output| output.line(said))?;
    if corruptions == 0 {
        return Ok(());
    }
    let failure = Failure::new(ErrorKind::File, format!("The image of drive {drive} of \"{}\" has errors", machine.name));
    Err(if repair {
        failure.with_hint("Restore it from a backup")
    } else {
        failure.with_hint("Copy the image first, then repair it with --repair")
    })
}
