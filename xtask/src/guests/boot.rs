//! `cargo xtask guests --boot`: starts each guest with plain QEMU, without acceleration, to see that it gets to its prompt, can be typed
//! at, draws its display, and switches off when asked.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::manifest::{Entry, Manifest};
use super::table::Guest;
use crate::monitor::Qmp;
use crate::process;
use crate::serial::Serial;

/// Starts every chosen guest from each of its kernels and images; goes on after a failure, and fails at the end.
pub fn all(manifest: &Manifest, cache: &Path, guests: &[&Guest]) -> Result<()> {
    let reports = cache.join("boot");
    fs::create_dir_all(&reports)?;
    let mut failed = 0;
    for guest in guests {
        let entry = manifest.find(guest.name).with_context(|| format!("The guest {} is not assembled", guest.name))?;
        for start in starts(entry, cache) {
            let began = Instant::now();
            let report = reports.join(format!("{}-{}", entry.name, start.title.replace(' ', "-")));
            match once(entry, &start, &report) {
                Ok(ready) => println!(
                    "{:<10} {:<20} ready after {:.0} s, off after {:.0} s",
                    entry.name,
                    start.title,
                    ready.as_secs_f32(),
                    began.elapsed().as_secs_f32()
                ),
                Err(error) => {
                    failed += 1;
                    println!("{:<10} {:<20} FAILED: {error:#}", entry.name, start.title);
                }
            }
        }
    }
    println!("Serial logs and screenshots are in {}", reports.display());
    if failed > 0 {
        bail!("{failed} starts failed");
    }
    Ok(())
}

/// One way to start a guest.
struct Start {
    title: String,
    arguments: Vec<String>,
}

fn starts(entry: &Entry, cache: &Path) -> Vec<Start> {
    let file = |path: &PathBuf| cache.join(path).display().to_string();
    let code = |path: &str| ["-drive".to_owned(), format!("if=pflash,unit=0,format=raw,readonly=on,file={path}")];
    let mut starts = Vec::new();
    for machine in &entry.machines {
        let mut arguments = vec!["-machine".to_owned(), machine.clone()];
        arguments.extend(["-kernel".to_owned(), file(&entry.kernel), "-initrd".to_owned(), file(&entry.initrd)]);
        arguments.extend(["-append".to_owned(), entry.append.clone()]);
        arguments.extend(entry.dtb.iter().flat_map(|dtb| ["-dtb".to_owned(), file(dtb)]));
        let unpacks = entry.firmware.iter().filter(|firmware| firmware.unpacks_kernel);
        arguments.extend(unpacks.flat_map(|firmware| code(&file(&firmware.code))));
        arguments.extend(display(machine).iter().map(|&word| word.to_owned()));
        starts.push(Start { title: machine.clone(), arguments });
    }
    let machine = entry.machines.first().cloned().unwrap_or_default();
    let own = entry.firmware.as_ref().map(|firmware| file(&firmware.code));
    let firmware = match entry.architecture.as_str() {
        "x86_64" => Some("/usr/share/OVMF/OVMF_CODE_4M.fd"),
        "aarch64" => Some("/usr/share/AAVMF/AAVMF_CODE.fd"),
        "arm" => Some("/usr/share/AAVMF/AAVMF32_CODE.fd"),
        _ => own.as_deref(),
    };
    let mut image = |title: &str, firmware: Option<&str>, drive: String| {
        let mut arguments = vec!["-machine".to_owned(), machine.clone(), "-drive".to_owned(), drive];
        arguments.extend(firmware.iter().flat_map(|path| code(path)));
        arguments.extend(display(&machine).iter().map(|&word| word.to_owned()));
        starts.push(Start { title: title.to_owned(), arguments });
    };
    if let Some(disk) = entry.images.get("uefi_disk") {
        image("uefi disk", firmware, format!("if=virtio,format=raw,snapshot=on,file={}", file(disk)));
    }
    if let Some(iso) = entry.images.get("iso") {
        image("uefi cd", firmware, format!("media=cdrom,format=raw,readonly=on,file={}", file(iso)));
        image("bios cd", None, format!("media=cdrom,format=raw,readonly=on,file={}", file(iso)));
        image("bios disk", None, format!("if=virtio,format=raw,snapshot=on,file={}", file(iso)));
    }
    starts
}

/// A display for the machine, so that the banner has somewhere to be.
fn display(machine: &str) -> &'static [&'static str] {
    match machine {
        "q35" | "pc" | "malta" | "pseries" => &["-device", "VGA"],
        "virt" => &["-device", "virtio-gpu-pci"],
        "microvm" => &["-device", "virtio-gpu-device"],
        "s390-ccw-virtio" => &["-device", "virtio-gpu-ccw"],
        _ => &[],
    }
}

/// Starts the guest and switches it off; returns how long it took to be ready.
fn once(entry: &Entry, start: &Start, report: &Path) -> Result<Duration> {
    let socket = report.with_extension("qmp");
    let _ = fs::remove_file(&socket);
    let began = Instant::now();
    let mut machine = Running::new(entry, start, &socket, &report.with_extension("log"))?;
    machine.serial.wait_for(&entry.ready)?;
    let ready = began.elapsed();
    machine.serial.wait_for(&entry.prompt)?;
    machine.type_line("echo $((6 * 7))-answers")?;
    machine.serial.wait_for("42-answers")?;

    let mut qmp = Qmp::connect(&socket)?;
    if start.arguments.iter().any(|argument| argument == "-device") {
        qmp.execute("screendump", &json!({"filename": report.with_extension("png"), "format": "png"}))?;
    }
    if entry.power_button {
        qmp.execute("system_powerdown", &json!({}))?;
        machine.serial.wait_for(&entry.going_down)?;
    } else if entry.powers_off {
        machine.type_line("/etc/vivarium/going-down")?;
        machine.serial.wait_for(&entry.going_down)?;
    } else {
        qmp.execute("quit", &json!({}))?;
    }
    machine.wait_for_end()?;
    let _ = fs::remove_file(&socket);
    Ok(ready)
}

struct Running {
    child: Child,
    input: ChildStdin,
    serial: Serial,
}

impl Running {
    fn new(entry: &Entry, start: &Start, socket: &Path, log: &Path) -> Result<Self> {
        let mut command = Command::new(format!("qemu-system-{}", entry.architecture));
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-accel", "tcg", "-display", "none", "-serial", "stdio"]);
        command.arg("-m").arg(entry.memory_mib.to_string());
        command.args(entry.cpu.iter().flat_map(|cpu| ["-cpu", cpu]));
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.args(&start.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut log = fs::File::create(log).with_context(|| format!("Could not create the log {}", log.display()))?;
        writeln!(log, "{}", process::display(&command))?;
        let mut child = command.spawn().with_context(|| format!("Could not start {}", process::display(&command)))?;
        let input = child.stdin.take().context("No standard input")?;
        let stdout = child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>);
        let stderr = child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>);
        Ok(Self { child, input, serial: Serial::listen(stdout.into_iter().chain(stderr).collect(), log) })
    }

    fn wait_for_end(&mut self) -> Result<()> {
        self.serial.wait_for_end()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("QEMU failed ({status})");
        }
        Ok(())
    }

    fn type_line(&mut self, line: &str) -> Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).context("Could not type on the serial console")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or something failed; either way nothing of it stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
