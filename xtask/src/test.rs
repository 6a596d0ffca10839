//! `cargo xtask test`: runs the tests, by tier. Everything they need is installed and assembled first.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::{guests, nested, process, setup, skipped};

/// What `cargo xtask test` can be told.
#[derive(Args)]
pub struct Options {
    /// Which tests
    #[arg(long, value_enum, default_value_t = Tier::All)]
    tier: Tier,
    /// Only those of the framework's guest tests whose names contain one of these, with what their guests say
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// All but real guests: no virtual machine runs
    Quick,
    /// Only guests of the virtualization framework, on KVM or in an emulated Linux that has it
    Kvm,
    /// Everything, real guests too
    All,
}

/// The package of the tests with real guests.
const ACCEPTANCE: &str = "acceptance";

/// Runs the subcommand.
pub fn run(options: &Options) -> Result<()> {
    setup::run(setup::Options { yes: options.yes, ..setup::Options::default() })?;
    let root = process::root();
    let has_acceptance = root.join("tests/acceptance/Cargo.toml").is_file();
    let cargo = || {
        let mut command = Command::new("cargo");
        command.current_dir(&root);
        command
    };

    if options.tier == Tier::Kvm {
        return nested::test(&options.names);
    }
    ensure!(options.names.is_empty(), "Only --tier kvm knows tests by name; for others there is cargo nextest run NAME");
    if options.tier == Tier::All && has_acceptance {
        guests::assemble(&[]).context("The tests with real guests need them; --tier quick does without")?;
    }
    // Tests start these programs, and a package's tests do not build another package's programs.
    process::run(cargo().args(["build", "--locked", "--workspace", "--bins"]))?;

    // Examples in documentation first, so that nextest's summary is what the run ends with.
    let examples = process::run(cargo().args(["test", "--locked", "--workspace", "--doc", "--quiet"]));
    let mut nextest = cargo();
    nextest.args(["nextest", "run", "--locked", "--workspace"]);
    // Those that need KVM run by themselves, where there is one.
    nextest.args(["--filterset", "not binary_id(virtualization::guests)"]);
    if options.tier == Tier::Quick && has_acceptance {
        nextest.args(["--exclude", ACCEPTANCE]);
    }
    let report = report(&root);
    if report.exists() {
        std::fs::remove_file(&report).with_context(|| format!("Could not remove the last report {}", report.display()))?;
    }
    let tests = process::run(nextest.env("VIVARIUM_GUESTS", guests::folder()?));
    let told = skipped::tell(&report);
    let on_kvm = if options.tier == Tier::All { nested::test(&[]) } else { Ok(()) };
    tests.and(examples).and(told).and(on_kvm)
}

/// Where nextest reports, as `.config/nextest.toml` says: in its store, which stays in the workspace also where cargo builds elsewhere.
fn report(root: &Path) -> PathBuf {
    root.join("target/nextest/default/junit.xml")
}
