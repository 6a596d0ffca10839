//! Every machine that the installed QEMUs have, with default devices, a disk and a CD, is accepted: QEMU reaches its prelaunch state.
//!
//! Quick by default: of versioned machines only the newest of each family. `VIVARIUM_ALL_MACHINES=1` tries all of them.

#![allow(unsafe_code)] // `pre_exec`, to give QEMU its descriptors under their numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use backend_qemu::command_line::{self, Access, CommandLine, Image, Options, Paths, Preparation, Request, Source};
use backend_qemu::facts::{self, Board, Decision, Emulator, Host};
use backend_qemu::firmware::Catalogue;
use bundle::qemu::{
    Configuration, DirectoryShareMode, Drive, DriveInterface, ImageType, PortForward, Protocol, Serial, SerialMode, SerialTarget,
};
use bundle::{Architecture, FileName, tables};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;

/// Machines that QEMU itself refuses, with the words that it refuses them with.
///
/// All of them want firmware that nobody may distribute, or a kernel: there is nothing to default to.
const REFUSALS: &[(&str, &str, &str)] = &[
    ("arm", "canon-a1100", "canon-a1100-rom1.bin"),
    ("arm", "sx1", "Kernel or Flash image must be specified"),
    ("arm", "sx1-v1", "Kernel or Flash image must be specified"),
    ("aarch64", "canon-a1100", "canon-a1100-rom1.bin"),
    ("aarch64", "sx1", "Kernel or Flash image must be specified"),
    ("aarch64", "sx1-v1", "Kernel or Flash image must be specified"),
    ("m68k", "an5206", "Kernel image must be specified"),
    ("m68k", "mcf5208evb", "Kernel image must be specified"),
    ("m68k", "q800", "MacROM.bin"),
    ("mips64el", "boston", "-kernel or -bios"),
    ("mips64el", "loongson3-virt", "Could not load MIPS bios"),
    ("riscv64", "microchip-icicle-kit", "hss.bin"),
    ("sparc", "leon3_generic", "u-boot.bin"),
    ("sparc64", "niagara", "Unable to load a firmware"),
];

/// Architectures whose `none` is all there is, and `none` itself: a machine without anything, which no disk or screen fits into.
fn is_no_machine(target: &str) -> bool {
    target == "none"
}

#[tokio::test]
async fn default_machines_are_accepted() -> anyhow::Result<()> {
    let all = std::env::var_os("VIVARIUM_ALL_MACHINES").is_some();
    let only = std::env::var("VIVARIUM_ARCHITECTURE").ok();
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("facts");
    let permits = Arc::new(Semaphore::new(2));
    let mut tasks = Vec::new();
    for &architecture in Architecture::ALL.iter().filter(|architecture| only.as_deref().is_none_or(|only| only == architecture.as_str())) {
        let program = match facts::find(architecture, &[]) {
            Ok(program) => program,
            Err(error) => {
                eprintln!("skipped: {architecture}: {error}");
                continue;
            }
        };
        let emulator = Arc::new(Emulator::find(&program, Some(&cache)).await?);
        for target in targets(architecture, &emulator, all) {
            let (emulator, permits, cache) = (emulator.clone(), permits.clone(), cache.clone());
            tasks.push(tokio::spawn(async move {
                let _permit = permits.acquire().await;
                let result = accepted(architecture, target, &emulator, &cache).await;
                (architecture, target, result)
            }));
        }
    }
    let mut failures = Vec::new();
    let mut count = 0;
    for task in tasks {
        let (architecture, target, result) = task.await?;
        count += 1;
        let known = REFUSALS.iter().find(|(a, t, _)| *a == architecture.as_str() && *t == target);
        match (result, known) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => failures.push(format!("{architecture} {target}: is accepted, though it is listed as refused")),
            (Err(error), Some((_, _, words))) if format!("{error:#}").contains(words) => {
                eprintln!("refused {architecture} {target}: {words}");
            }
            (Err(error), _) => failures.push(format!("{architecture} {target}: {error:#}")),
        }
    }
    eprintln!("{count} machines tried, {} not accepted", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

/// Where an image is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Inside,
    Outside,
}

/// A PC with firmware, TPM, drives of all kinds from inside and outside, and every kind of port, kept or thrown away.
#[tokio::test]
async fn a_machine_with_everything_is_accepted() -> anyhow::Result<()> {
    let Ok(program) = facts::find(Architecture::X86_64, &[]) else {
        eprintln!("skipped: qemu-system-x86_64 is not installed");
        return Ok(());
    };
    let host = Host { architecture: None, audio: Vec::new(), ..Host::gather(&[]) };
    if host.swtpm.is_none() || host.firmware.entries.is_empty() {
        eprintln!("skipped: swtpm or ovmf is not installed");
        return Ok(());
    }
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("facts");
    let emulator = Emulator::find(&program, Some(&cache)).await?;
    for disposable in [false, true] {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        // Commas and blanks where people have them.
        let paths = Paths { data: root.join("a, b.utm"), runtime: root.into(), scratch: root.join("scratch"), logs: root.into() };
        std::fs::create_dir(&paths.data)?;
        std::fs::create_dir(&paths.scratch)?;
        let mut configuration = tables::default_configuration(Architecture::X86_64, "q35", None);
        configuration.qemu.tpm_device = true;
        configuration.qemu.balloon_device = true;
        configuration.input.usb_sharing = true;
        configuration.sharing.directory_share_mode = DirectoryShareMode::VirtFs;
        configuration.networks[0].port_forwards =
            vec![PortForward { protocol: Protocol::Tcp, host_port: 42022, guest_port: 22, ..PortForward::default() }];
        let serial = Serial { mode: SerialMode::Terminal, target: SerialTarget::Auto, ..Serial::default() };
        let hardware = |hardware: &str| Serial { target: SerialTarget::Manual, hardware: Some(hardware.to_owned()), ..serial.clone() };
        configuration.serials = vec![serial.clone(), hardware("pci-serial-2x"), hardware("virtio-serial-pci"), hardware("usb-serial")];
        let mut images = BTreeMap::new();
        let mut add = |identifier: &str, image_type, interface, place: Option<Place>| -> anyhow::Result<()> {
            let name = format!("{identifier}.img");
            let inside = place == Some(Place::Inside);
            if place.is_some() {
                let path = if inside { paths.data.join(&name) } else { root.join(&name) };
                std::fs::File::create(&path)?.set_len(16 << 20)?;
                let image = Image { virtual_size: Some(16 << 20), ..Image::single(path, "raw") };
                images.insert(identifier.to_owned(), image);
            }
            configuration.drives.push(Drive {
                image_name: if inside { Some(name.parse::<FileName>()?) } else { None },
                image_type,
                interface,
                identifier: identifier.to_owned(),
                ..Drive::default()
            });
            Ok(())
        };
        add("01234567-89AB-4CDE-8F01-23456789ABCD", ImageType::Disk, DriveInterface::Nvme, Some(Place::Inside))?;
        add("virtio", ImageType::Disk, DriveInterface::VirtIo, Some(Place::Inside))?;
        add("outside", ImageType::Disk, DriveInterface::Usb, Some(Place::Outside))?;
        add("stick", ImageType::Disk, DriveInterface::Usb, None)?;
        add("iso", ImageType::Cd, DriveInterface::Ide, Some(Place::Outside))?;
        add("tray", ImageType::Cd, DriveInterface::Usb, None)?;
        add("scsi", ImageType::Cd, DriveInterface::Scsi, Some(Place::Inside))?;
        add("floppy", ImageType::Disk, DriveInterface::Floppy, None)?;
        let accelerator = Decision::tcg("a test");
        let board = Board::find(&emulator, command_line::probe(&configuration, &emulator, &accelerator), Some(&cache)).await?;
        let request = Request {
            configuration: &configuration,
            emulator: &emulator,
            board: Some(&board),
            host: &host,
            accelerator: &accelerator,
            paths: &paths,
            images: &images,
            shared_directory: Some(root),
            sound_by_host: false,
            generation: None,
            options: Options { disposable, incoming: false },
        };
        let line = command_line::build(&request).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        reaches_prelaunch(&line).await.with_context(|| line.shell_quoted())?;
    }
    Ok(())
}

/// The machines that both the tables and this emulator have.
fn targets(architecture: Architecture, emulator: &Emulator, all: bool) -> Vec<&'static str> {
    let mut families = BTreeSet::new();
    let mut targets: Vec<&'static str> = tables::machines(architecture).to_vec();
    // The newest of a family first, so that it is the one that stays.
    targets.sort_by_key(|target| std::cmp::Reverse(version(target)));
    targets.retain(|target| {
        emulator.machine(target).is_some()
            && !is_no_machine(target)
            && (all || version(target).is_none() || families.insert(tables::machine_family(target)))
    });
    targets
}

fn version(target: &str) -> Option<(u32, u32)> {
    let (major, minor) = target.rsplit_once('-')?.1.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

async fn accepted(architecture: Architecture, target: &str, emulator: &Emulator, cache: &Path) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let paths = Paths {
        data: directory.path().join("Data"),
        runtime: directory.path().into(),
        scratch: directory.path().into(),
        logs: directory.path().into(),
    };
    std::fs::create_dir(&paths.data)?;
    let mut configuration = tables::default_configuration(architecture, target, None);
    let mut images = BTreeMap::new();
    for (identifier, image_type) in [("disk", ImageType::Disk), ("cd", ImageType::Cd)] {
        let name = format!("{identifier}.img");
        std::fs::File::create(paths.data.join(&name))?.set_len(64 << 20)?;
        configuration.drives.push(Drive {
            image_name: Some(name.parse::<FileName>()?),
            image_type,
            interface: tables::default_drive_interface(architecture, target, image_type),
            identifier: identifier.to_owned(),
            ..Drive::default()
        });
        images.insert(identifier.to_owned(), Image::single(paths.data.join(&name), "raw"));
    }
    let host = Host { threads: 2, cores: 1, memory: 8192, firmware: Catalogue::read(), ..Host::default() };
    let accelerator = Decision::tcg("a test");
    let board = Board::find(emulator, command_line::probe(&configuration, emulator, &accelerator), Some(cache)).await?;
    let has_firmware = host.firmware.entries.iter().any(|firmware| firmware.is_for(architecture, emulator.full_name(target)));
    let line = build(&mut configuration, has_firmware, |configuration| {
        command_line::build(&Request {
            configuration,
            emulator,
            board: Some(&board),
            host: &host,
            accelerator: &accelerator,
            paths: &paths,
            images: &images,
            shared_directory: None,
            sound_by_host: false,
            generation: None,
            options: Options::default(),
        })
    })?;
    reaches_prelaunch(&line).await.with_context(|| line.shell_quoted())
}

/// Builds, giving up what the machine cannot have: drives on other buses or none, UEFI where no firmware
/// for the machine is installed.
fn build(
    configuration: &mut Configuration,
    has_firmware: bool,
    build: impl Fn(&Configuration) -> Result<CommandLine, Vec<bundle::Problem>>,
) -> anyhow::Result<CommandLine> {
    let mut others: Vec<DriveInterface> =
        vec![DriveInterface::Sd, DriveInterface::Usb, DriveInterface::Ide, DriveInterface::Scsi, DriveInterface::VirtIo];
    loop {
        let problems = match build(configuration) {
            Ok(line) => return Ok(line),
            Err(problems) => problems,
        };
        let fatal: Vec<_> = problems.iter().filter(|problem| problem.is_fatal()).collect();
        let described = fatal.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if fatal.iter().all(|problem| problem.key_path == "QEMU.UEFIBoot") && configuration.qemu.uefi_boot && !has_firmware {
            configuration.qemu.uefi_boot = false;
        } else if fatal.iter().all(|problem| problem.key_path.starts_with("Drive[")) && !configuration.drives.is_empty() {
            match others.pop() {
                Some(interface) => configuration.drives.iter_mut().for_each(|drive| drive.interface = interface),
                None => configuration.drives.clear(),
            }
            // A card slot holds one card, and no CD.
            if others.is_empty() {
                configuration.drives.truncate(1);
            }
        } else {
            bail!("{described}");
        }
    }
}

async fn reaches_prelaunch(line: &CommandLine) -> anyhow::Result<()> {
    for preparation in &line.preparations {
        match preparation {
            Preparation::Variables { template, path } => {
                std::fs::copy(template, path)?;
            }
            Preparation::Overlay { path, virtual_size, backing, .. } => {
                // All raw here, so the file has the size of the disk.
                let size = virtual_size.map_or_else(|| Ok(std::fs::metadata(backing)?.len()), anyhow::Ok)?.to_string();
                let status = std::process::Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(path).arg(size).status()?;
                anyhow::ensure!(status.success(), "qemu-img failed");
            }
            Preparation::Copy { to: path, .. } | Preparation::Empty { path } => {
                std::fs::File::create(path)?;
            }
        }
    }
    let mut helpers = Vec::new();
    let mut descriptors: Vec<(OwnedFd, i32)> = Vec::new();
    for descriptor in &line.descriptors {
        let source: OwnedFd = match &descriptor.source {
            Source::Listen { path } => UnixListener::bind(path)?.into(),
            Source::File { path, access: Access::Append, .. } => std::fs::File::options().append(true).create(true).open(path)?.into(),
            Source::File { path, access, .. } => std::fs::File::options().read(true).write(*access == Access::ReadWrite).open(path)?.into(),
            Source::Link { helper } => {
                let helper = line.helpers.iter().find(|other| other.kind == *helper).context("a link without its helper")?;
                let (ours, theirs) = UnixStream::pair()?;
                let number = helper.link.context("a helper without its link")?;
                let mut handed: Vec<(OwnedFd, i32)> = vec![(theirs.into(), number)];
                for descriptor in &helper.descriptors {
                    let Source::File { path, .. } = &descriptor.source else { bail!("a helper gets files") };
                    handed.push((std::fs::File::options().read(true).write(true).open(path)?.into(), descriptor.fd));
                }
                helpers.push(start(&helper.program, &helper.arguments, &helper.working_directory, handed)?);
                ours.into()
            }
            Source::Tap { .. } => bail!("a tap needs a bridge"),
        };
        descriptors.push((source, descriptor.fd));
    }
    let mut child = start(&line.program, &line.argv(), &line.working_directory, descriptors)?;
    let mut stderr = child.stderr.take().context("stderr")?;
    let status = tokio::time::timeout(Duration::from_secs(60), status(&line.sockets.qmp)).await;
    match status {
        Ok(Ok(status)) if status == "prelaunch" => {
            tokio::time::timeout(Duration::from_secs(30), child.wait()).await.context("QEMU does not end")??;
            Ok(())
        }
        other => {
            let other = match other {
                Ok(Ok(status)) => format!("QEMU is in the state {status}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "QEMU is silent".to_owned(),
            };
            let _ = child.start_kill();
            let mut text = String::new();
            let _ = tokio::time::timeout(Duration::from_secs(5), stderr.read_to_string(&mut text)).await;
            bail!("{other}: {}", text.trim())
        }
    }
}

/// Starts a program with descriptors under their numbers.
fn start(
    program: &Path,
    arguments: &[String],
    directory: &Path,
    descriptors: Vec<(OwnedFd, i32)>,
) -> anyhow::Result<tokio::process::Child> {
    // Above every number that is asked for, so that none is overwritten before it is moved.
    let mut above = Vec::new();
    for (source, number) in descriptors {
        above.push((rustix::io::fcntl_dupfd_cloexec(&source, 200)?, number));
    }
    let numbers: Vec<(i32, i32)> = above.iter().map(|(source, number)| (source.as_raw_fd(), *number)).collect();
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).current_dir(directory).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: between fork and exec only `dup2` is called, which is async-signal-safe; the descriptors are open until after `spawn`.
    unsafe {
        command.pre_exec(move || {
            for (source, number) in &numbers {
                if libc::dup2(*source, *number) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Ok(command.spawn()?)
}

/// The state that QEMU is in; it is ended then.
async fn status(socket: &Path) -> anyhow::Result<String> {
    let mut stream = BufReader::new(tokio::net::UnixStream::connect(socket).await?);
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-status\"}\n{\"execute\":\"quit\"}\n").await?;
    let mut status = None;
    // To the end: a monitor whose client left forgets the commands that it has not carried out.
    loop {
        let mut text = String::new();
        // However it ends: QEMU may leave without having read everything, which resets the connection.
        if !matches!(stream.read_line(&mut text).await, Ok(1..)) {
            return status.context("QEMU ended");
        }
        let message: serde_json::Value = serde_json::from_str(&text)?;
        if let Some(found) = message.pointer("/return/status").and_then(serde_json::Value::as_str) {
            status = Some(found.to_owned());
        }
    }
}
