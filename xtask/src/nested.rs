//! `cargo xtask nested`: runs a program where there is KVM, also on a computer that has none.
//!
//! QEMU's emulation knows AMD's virtualization, so a Linux that it emulates has a `/dev/kvm` that works: slowly, but with everything that
//! the processor does. The program sees this computer's files as they are; what it writes is gone afterwards. Times mean nothing but in
//! relation to each other.

mod host;
mod tests_on_kvm;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;

pub use tests_on_kvm::{build, build_of, has_kvm, probe, test};

/// What `cargo xtask nested` can be told.
#[derive(Args)]
pub struct Options {
    /// Virtual processors of the emulated Linux
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Its memory in MiB
    #[arg(long, default_value_t = 3072)]
    memory: u32,
    /// Seconds until it is killed
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs the subcommand.
pub fn run(options: &Options) -> Result<()> {
    Nested { cpus: options.cpus, memory: options.memory, patience: Duration::from_secs(options.timeout) }
        .run(&options.command, &[])
        .map(drop)
}

/// A Linux with KVM, emulated.
pub struct Nested {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// How long it may take.
    pub patience: Duration,
}

/// The line with which the emulated Linux says how the program ended.
const ENDED: &str = "nested: ended with ";

/// A processor with AMD's virtualization, without what QEMU cannot emulate of it.
const CPU: &str = "EPYC,+svm,-fxsr-opt,-misalignsse,-osvw,-topoext,-nrip-save,-xsavec";

impl Nested {
    /// Runs a program in it, in the present folder, as root, with these variables; its output is shown and returned.
    pub fn run(&self, command: &[OsString], variables: &[(&str, &Path)]) -> Result<String> {
        match self.end_of(command, variables)? {
            (0, said) => Ok(said),
            (code, _) => bail!("The program failed in the emulated Linux (exit status {code})"),
        }
    }

    /// The same; however the program ends, its exit status is returned, too.
    pub fn end_of(&self, command: &[OsString], variables: &[(&str, &Path)]) -> Result<(i32, String)> {
        let host = host::assemble()?;
        let shared = Shared::new()?;
        let script = script(command, variables)?;
        std::fs::write(shared.0.join("job"), script).context("Could not hand the program to the emulated Linux")?;

        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]);
        qemu.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU]);
        qemu.args(["-smp", &self.cpus.to_string(), "-m", &self.memory.to_string()]);
        qemu.arg("-kernel").arg(&host.kernel).arg("-initrd").arg(&host.initrd).args(["-append", "console=ttyS0 loglevel=1 panic=-1"]);
        // Files of several file systems would otherwise share inode numbers.
        qemu.args(["-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"]);
        qemu.arg("-virtfs").arg(format!("local,path={},mount_tag=job,security_model=none,readonly=on", shared.0.display()));
        let mut child = qemu
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("Could not start qemu-system-x86_64; cargo xtask setup installs it")?;
        let output = child.stdout.take().context("QEMU has no output")?;
        let reader = std::thread::spawn(move || show(BufReader::new(output)));

        let until = Instant::now() + self.patience;
        while child.try_wait()?.is_none() {
            if Instant::now() >= until {
                child.kill()?;
                child.wait()?;
                bail!("The emulated Linux was not done after {} s", self.patience.as_secs());
            }
            // There is no wait with a time limit in the standard library.
            std::thread::sleep(Duration::from_millis(50));
        }
        match reader.join().ok() {
            Some((Some(code), said)) => Ok((code, said)),
            _ => bail!("The emulated Linux did not get to run the program"),
        }
    }
}

/// Shows what the program says and finds how it ended. What firmware and kernel say before it is left out.
fn show(mut output: impl BufRead) -> (Option<i32>, String) {
    let (mut line, mut ended, mut said) = (Vec::new(), None, String::new());
    while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&line);
        match text.trim_end().strip_prefix(ENDED) {
            Some(code) => ended = code.parse().ok(),
            None if ended.is_none() => {
                let text = text.replace('\r', "");
                let _ = std::io::stdout().write_all(text.as_bytes());
                said += &text;
            }
            None => {}
        }
        line.clear();
    }
    (ended, said)
}

/// What the emulated Linux executes.
fn script(command: &[OsString], variables: &[(&str, &Path)]) -> Result<String> {
    let folder = std::env::current_dir().context("There is no present folder")?;
    let mut script = format!("cd {}\n", quoted(folder.to_str().context("The present folder's name is not UTF-8")?));
    for (name, value) in variables {
        script += &format!("export {name}={}\n", quoted(value.to_str().context("A path is not UTF-8")?));
    }
    for word in command {
        script += &quoted(word.to_str().context("The command is not UTF-8")?);
        script.push(' ');
    }
    Ok(script + "</dev/null\n")
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A folder that the emulated Linux sees, removed at the end.
struct Shared(PathBuf);

impl Shared {
    fn new() -> Result<Self> {
        let made = process::text(Command::new("mktemp").args(["--directory", "--tmpdir", "nested.XXXXXX"]))?;
        Ok(Self(PathBuf::from(made.trim_end())))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_and_not_shown() {
        let shown = show("one\r\ntwo\r\nnested: ended with 3\r\nreboot: Power down\r\n".as_bytes());
        assert_eq!(shown, (Some(3), "one\ntwo\n".to_owned()));
        assert_eq!(show("one\n".as_bytes()).0, None);
    }

    #[test]
    fn words_reach_the_program_as_they_are() {
        let said = script(&["echo".into(), "it's $HOME".into()], &[("A", Path::new("/b c"))]).unwrap();
        assert!(said.ends_with("export A='/b c'\n'echo' 'it'\\''s $HOME' </dev/null\n"), "{said}");
    }
}
