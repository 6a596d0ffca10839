//! `cargo xtask setup`: installs what building, running and testing need, after saying what and why.
//!
//! It works for real on Debian 12 and 13 and on Ubuntu. Elsewhere it says which programs are missing. When everything is there it is quick,
//! so that the other tasks can call it first.

mod debian;
mod packages;
mod system;
pub mod target;
mod tools;

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;

use packages::Group;
use system::System;

/// What `cargo xtask setup` can be told.
#[derive(Args, Clone, Copy, Default)]
pub struct Options {
    /// Install without asking
    #[arg(long)]
    pub yes: bool,
    /// Only say what is missing; exits with 1 when something is
    #[arg(long)]
    pub check: bool,
    /// Also what the benchmarks compare with (libvirt, remote-viewer)
    #[arg(long)]
    pub bench: bool,
}

/// Runs the subcommand.
pub fn run(options: Options) -> Result<()> {
    let system = System::read()?;
    let groups: Vec<&Group> = packages::GROUPS.iter().filter(|group| options.bench || !group.bench).collect();
    if !system.has_apt() {
        return elsewhere(&system, &groups);
    }

    let plan = debian::plan(&system, &groups)?;
    let tools = tools::missing();
    let lacks_macos = !target::is_there(target::MACOS);
    if plan.is_empty() && tools.is_empty() && !lacks_macos {
        println!("Everything is installed.");
        hints();
        return Ok(());
    }
    println!("Missing on {}:\n", system.name);
    plan.describe();
    for tool in &tools {
        println!("  {} {} (cargo install), {}", tool.package, tool.version, tool.reason);
    }
    if lacks_macos {
        println!("  the standard library for {} (rustup), to check what is for Macs", target::MACOS);
    }
    println!();
    if options.check {
        bail!("Something is missing; cargo xtask setup installs it");
    }
    if !options.yes && !confirmed()? {
        bail!("Nothing was installed");
    }
    plan.install()?;
    // A package may have brought one.
    tools::missing().iter().try_for_each(|tool| tool.install())?;
    if lacks_macos {
        target::install(target::MACOS)?;
    }

    let left = debian::plan(&system, &groups)?;
    if !left.is_empty() || !tools::missing().is_empty() || !target::is_there(target::MACOS) {
        left.describe();
        bail!("Something is still missing after the installation");
    }
    println!("Everything is installed.");
    hints();
    Ok(())
}

fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("Nobody can be asked here; add --yes to install these");
    }
    print!("Install them? [Y/n] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes"))
}

/// A system whose packages we do not know: names the programs.
fn elsewhere(system: &System, groups: &[&Group]) -> Result<()> {
    let mut missing = false;
    for group in groups {
        let absent: Vec<&str> = group.programs.iter().copied().filter(|program| which::which(program).is_err()).collect();
        if !absent.is_empty() {
            missing = true;
            println!("  {} ({})", absent.join(", "), group.reason);
        }
    }
    for tool in tools::missing() {
        missing = true;
        println!("  {} {}, {}: {}", tool.package, tool.version, tool.reason, tool.command_line());
    }
    if !target::is_there(target::MACOS) {
        missing = true;
        println!("  the standard library for {}, to check what is for Macs: {}", target::MACOS, target::command_line(target::MACOS));
    }
    if missing {
        bail!("Programs are missing; setup knows only Debian and Ubuntu, so install them with the package manager of {}", system.name);
    }
    println!("Everything is installed.");
    hints();
    Ok(())
}

/// What no package can do.
fn hints() {
    let kvm = Path::new("/dev/kvm");
    if kvm.exists() && std::fs::File::options().read(true).write(true).open(kvm).is_err() {
        println!("Machines will be slow: /dev/kvm is there but you may not open it. As root: adduser $USER kvm, then log in again.");
    }
}
