//! `cargo xtask check`: what a change must pass before anything else looks at it. Every step runs, also after one has failed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::setup::target;
use crate::{codegen, fuzz, process, tidy};

const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

/// Runs the subcommand.
pub fn run() -> Result<()> {
    let root = process::root();
    let cargo = |arguments: &[&str]| process::run(Command::new("cargo").args(arguments).current_dir(&root));
    let mut failed: Vec<&str> = Vec::new();
    let mut step = |name: &'static str, run: &dyn Fn() -> Result<()>| {
        println!("== {name}");
        let began = Instant::now();
        match run() {
            Ok(()) => println!("== {name}: fine ({:.0} s)\n", began.elapsed().as_secs_f32()),
            Err(error) => {
                println!("error: {error:#}");
                println!("== {name}: FAILED\n");
                failed.push(name);
            }
        }
    };

    step("format", &|| cargo(&["fmt", "--all", "--check"]).and_then(|()| cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])));
    step("tidy", &tidy::run);
    step("generated code", &|| {
        if which::which("qemu-system-x86_64").is_err() {
            println!("Not compared: there is no QEMU here; cargo xtask setup installs it");
            return Ok(());
        }
        codegen::run("qmp", true)
    });
    step("clippy", &|| cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    step("clippy for macOS", &|| for_macos(&cargo));
    step("fuzz targets", &fuzz::lint);
    step("documentation", &|| {
        let mut command = Command::new("cargo");
        command.args(["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").current_dir(&root);
        process::run(&mut command)
    });
    step("licences, bans and sources", &|| cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"]));
    step("advisories", &|| advisories(&root));

    if !failed.is_empty() {
        bail!("These checks failed: {}", failed.join(", "));
    }
    println!("Everything is fine.");
    Ok(())
}

/// What has an engine for Macs is checked against the types of Apple's framework; that needs no Mac.
fn for_macos(cargo: &dyn Fn(&[&str]) -> Result<()>) -> Result<()> {
    if !target::is_there(target::MACOS) {
        bail!("The standard library for {} is not installed; cargo xtask setup does it, where there is rustup", target::MACOS);
    }
    cargo(&["clippy", "--locked", "--target", target::MACOS, "--package", "virtualization", "--", "-D", "warnings"])
}

/// The database of advisories is fetched with git; where it cannot be reached, the check says so and goes on.
fn advisories(root: &Path) -> Result<()> {
    if !is_reachable(Duration::from_secs(20)) {
        println!("Not checked: {ADVISORIES} cannot be reached from here");
        return Ok(());
    }
    process::run(Command::new("cargo").args(["deny", "--locked", "check", "advisories"]).current_dir(root))
}

fn is_reachable(patience: Duration) -> bool {
    let mut git = Command::new("git");
    git.args(["ls-remote", "--exit-code", ADVISORIES, "HEAD"]).env("GIT_TERMINAL_PROMPT", "0");
    let Ok(mut child) = git.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let until = Instant::now() + patience;
    // There is no wait with a time limit in the standard library.
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}
