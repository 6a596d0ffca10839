//! The tests that need KVM: run here where there is one, and in the emulated Linux elsewhere.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use super::Nested;
use crate::{guests, process};

/// The package and the test in it.
const PACKAGE: &str = "virtualization";
const TEST: &str = "guests";
/// The program that the tests run inside a guest.
const PROBE: &str = "guest_probe";
/// The program that the tests run machines in other processes with.
const VMRUN: &str = "vmrun";
/// How long all of them may take in the emulated Linux.
const PATIENCE: Duration = Duration::from_secs(2400);

/// How many tests that fail in the emulated Linux are run once more; where it is more of them, something is broken.
const ONCE_MORE: usize = 3;

/// Runs those whose names contain one of these; all where there are none.
pub fn test(names: &[String]) -> Result<()> {
    guests::assemble(&["x86_64".to_owned()])?;
    let program = build(&["test", "--no-run", "--test", TEST], &[], TEST)?;
    let probe = probe()?;
    let vmrun = build(&["build", "--example", VMRUN], &[], VMRUN)?;
    let folder = guests::folder()?;
    // Programs of people's own, such as a virtiofsd that cargo installed, are nowhere else.
    let mut programs = std::env::var_os("PATH").context("There is no PATH")?;
    programs.push(":/usr/sbin:/sbin");
    let variables = [
        ("VIVARIUM_GUESTS", folder.as_path()),
        ("VIVARIUM_GUEST_PROBE", probe.as_path()),
        ("VIVARIUM_VMRUN", vmrun.as_path()),
        ("VIVARIUM_REQUIRE_GUESTS", Path::new("1")),
        ("PATH", Path::new(&programs)),
    ];
    // A guest keeps a processor busy; several at once only make each other late.
    let mut arguments = vec![program.into_os_string(), "--test-threads=1".into()];
    if !names.is_empty() {
        arguments.push("--nocapture".into());
        arguments.extend(names.iter().map(Into::into));
    }
    if has_kvm() {
        println!("== guests on KVM");
        return process::run(Command::new(&arguments[0]).args(&arguments[1..]).envs(variables));
    }
    println!("== guests on the KVM of an emulated Linux, which takes some minutes");
    let emulated = Nested { cpus: 2, memory: 3072, patience: PATIENCE };
    let (code, said) = emulated.end_of(&arguments, &variables)?;
    if code == 0 {
        return Ok(());
    }
    let failed = failures(&said);
    if failed.is_empty() || failed.len() > ONCE_MORE {
        bail!("The tests failed in the emulated Linux (exit status {code})");
    }
    // The emulated processor has lost an interrupt of a guest's before, and made a triple fault of it, where the same guest ran hundreds of
    // times. What fails for a reason of its own fails again.
    println!("== once more, by themselves: {}", failed.join(", "));
    let again = arguments.iter().take(1).cloned().chain(["--test-threads=1", "--nocapture", "--exact"].map(Into::into));
    let again: Vec<OsString> = again.chain(failed.iter().map(Into::into)).collect();
    emulated.run(&again, &variables)?;
    println!("warning: failed on the emulated KVM at first, and then did not: {}", failed.join(", "));
    Ok(())
}

/// The tests that failed, by what their program said last.
fn failures(said: &str) -> Vec<String> {
    let last = said.rsplit_once("failures:\n").map_or("", |(_, last)| last);
    last.lines().map_while(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// Builds the program that runs in guests, which have no libraries.
pub fn probe() -> Result<PathBuf> {
    build(&["rustc", "--example", PROBE], &["-C", "target-feature=+crt-static", "-C", "strip=symbols"], PROBE)
}

/// Whether there is a KVM that runs ordinary guests and may be used.
pub fn has_kvm() -> bool {
    let hardware = ["kvm_intel", "kvm_amd"].iter().any(|module| Path::new("/sys/module").join(module).exists());
    hardware && OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Builds something of the package and returns where it is.
pub fn build(what: &[&str], flags: &[&str], name: &str) -> Result<PathBuf> {
    build_of(PACKAGE, what, flags, name)
}

/// Builds something of a package and returns where it is.
pub fn build_of(package: &str, what: &[&str], flags: &[&str], name: &str) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(what).args(["--locked", "--quiet", "--message-format=json", "--package", package]);
    if !flags.is_empty() {
        cargo.arg("--").args(flags);
    }
    let output = cargo.current_dir(process::root()).stderr(Stdio::inherit()).output().context("Could not start cargo")?;
    let built = Message::parse_stream(&*output.stdout).filter_map(Result::ok).find_map(|message| match message {
        Message::CompilerArtifact(artifact) if artifact.target.name == name => artifact.executable,
        _ => None,
    });
    Ok(built.with_context(|| format!("{name} of {package} could not be built"))?.into_std_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_what_the_last_list_names() {
        let said = "test a ... FAILED\ntest b ... ok\n\nfailures:\n\n---- m::a stdout ----\nfailures:\n    of the guest\n\nfailures:\n    m::a\n    c\n\ntest result: FAILED.\n";
        assert_eq!(failures(said), ["m::a", "c"]);
        assert!(failures("test result: ok.\n").is_empty());
    }
}
