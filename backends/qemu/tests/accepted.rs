//! Every machine that the installed QEMUs have, with default devices, a disk and a CD, is accepted: QEMU reaches its prelaunch state.
//!
//! Quick by default: of versioned machines only the newest of each family. `VIVARIUM_ALL_MACHINES=1` tries all of them.

#![allow(unsafe_code)] // `pre_exec`, to give QEMU its descriptors under their numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use backend_qemu::command_line::{self, Access, CommandLine, Image, Options, Paths, Place, Preparation, Request, Source};
use backend_qemu::facts::{self, Board, Decision, Emulator, Host};
use backend_qemu::firmware::Catalogue;
use bundle::qemu::{Configuration, Drive, DriveInterface, ImageType};
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
                eprintln!("skipped {architecture}: {error}");
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
                eprintln!("refused {architecture} {target}: {words}")
            }
            (Err(error), _) => failures.push(format!("{architecture} {target}: {error:#}")),
        }
    }
    eprintln!("{count} machines tried, {} not accepted", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
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
        images.insert(identifier.to_owned(), Image::single(paths.data.join(&name), "raw", Place::Bundle));
    }
    let host = Host { threads: 2, cores: 1, memory: 8192, firmware: Catalogue::read(), ..Host::default() };
    let accelerator = Decision::tcg("a test");
    let board = Board::find(emulator, command_line::probe(&configuration, emulator, &accelerator), Some(cache)).await?;
    let line = build(&mut configuration, |configuration| {
        command_line::build(&Request {
            configuration,
            emulator,
            board: Some(&board),
            host: &host,
            accelerator: &accelerator,
            paths: &paths,
            images: &images,
            shared_directory: None,
            options: Options::default(),
        })
    })?;
    reaches_prelaunch(&line).await.with_context(|| line.shell_quoted())
}

/// Builds, giving up what the machine cannot have: drives on other buses or none, UEFI whose firmware is not installed.
fn build(
    configuration: &mut Configuration,
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
        if fatal.iter().all(|problem| problem.key_path == "QEMU.UEFIBoot") && configuration.qemu.uefi_boot {
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
        if let Preparation::Variables { template, path } = preparation {
            std::fs::copy(template, path)?;
        }
    }
    let mut descriptors: Vec<(OwnedFd, i32)> = Vec::new();
    for descriptor in &line.descriptors {
        let source: OwnedFd = match &descriptor.source {
            Source::Listen { path } => UnixListener::bind(path)?.into(),
            Source::File { path, access: Access::Append, .. } => std::fs::File::options().append(true).create(true).open(path)?.into(),
            Source::File { path, access, .. } => std::fs::File::options().read(true).write(*access == Access::ReadWrite).open(path)?.into(),
            other => bail!("{other:?} is not expected of a default machine"),
        };
        descriptors.push((source, descriptor.fd));
    }
    // Above every number that is asked for, so that none is overwritten before it is moved.
    let mut above = Vec::new();
    for (source, number) in descriptors {
        above.push((rustix::io::fcntl_dupfd_cloexec(&source, 200)?, number));
    }
    let numbers: Vec<(i32, i32)> = above.iter().map(|(source, number)| (source.as_raw_fd(), *number)).collect();
    let mut command = tokio::process::Command::new(&line.program);
    command.args(line.argv()).current_dir(&line.working_directory).kill_on_drop(true);
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
    let mut child = command.spawn()?;
    drop(above);
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
