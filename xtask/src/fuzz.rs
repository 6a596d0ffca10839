//! `cargo xtask fuzz`: runs the fuzz targets in `fuzz/` for a while.
//!
//! The folder has cargo-fuzz's layout, and where there is a nightly toolchain `cargo fuzz run TARGET` works in it. This task needs neither:
//! coverage instrumentation is stable in rustc, and in safe code the sanitizers that are not would find little more.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;

/// What `cargo xtask fuzz` can be told.
#[derive(Args)]
pub struct Options {
    /// Targets to run, one after the other (all when none is named)
    targets: Vec<String>,
    /// How long each one runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// The instrumentation that libFuzzer follows, and what `fuzz_target!` looks for.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// Files that a target starts from, beside what it has found before.
fn seeds(target: &str) -> &'static [&'static str] {
    match target {
        "config_plist" | "legacy" => &["bundle/tests/legacy/fixtures"],
        _ => &[],
    }
}

/// Runs the subcommand.
pub fn run(options: &Options) -> Result<()> {
    let root = process::root();
    let known = targets(&root)?;
    if let Some(unknown) = options.targets.iter().find(|target| !known.contains(*target)) {
        bail!("There is no fuzz target {unknown}; there are {}", known.join(", "));
    }
    let chosen = if options.targets.is_empty() { &known } else { &options.targets };

    let host = host()?;
    let mut build = Command::new("cargo");
    // With a target named, the flags are not for procedural macros.
    build.args(["build", "--locked", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &host]);
    build.args(chosen.iter().flat_map(|target| ["--bin", target]));
    process::run(build.env("RUSTFLAGS", FLAGS).current_dir(&root))?;

    let mut failed = Vec::new();
    for target in chosen {
        println!("== {target}, {} s", options.seconds);
        let program = root.join("fuzz/target").join(&host).join("release").join(target);
        if fuzz(&root, target, &program, options.seconds).is_err() {
            failed.push(target.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("Findings in {}: the inputs are in fuzz/artifacts; give one to the program of its target to see it again", failed.join(", "));
    }
    println!("No findings in {}.", chosen.join(", "));
    Ok(())
}

fn fuzz(root: &Path, target: &str, program: &Path, seconds: u32) -> Result<()> {
    let (corpus, artifacts) = (root.join("fuzz/corpus").join(target), root.join("fuzz/artifacts").join(target));
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("Could not create {}", folder.display()))?;
    }
    let mut command = Command::new(program);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-print_final_stats=1", "-verbosity=0", "-timeout=10", "-rss_limit_mb=2048"]).arg(corpus);
    command.args(seeds(target).iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()));
    process::run(&mut command)
}

/// Checks the targets without linking them, so without building libFuzzer, and shares what the workspace has built.
pub fn lint() -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["clippy", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target", "--", "-D", "warnings"]);
    process::run(command.env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libfuzzer.a").current_dir(process::root()))
}

/// The names of the files in `fuzz_targets`.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("Could not read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| PathBuf::from(entry.file_name()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn host() -> Result<String> {
    let said = process::text(Command::new("rustc").arg("-vV"))?;
    said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc does not say for which host it is")
}
