//! `cargo xtask tidy`: the rules of this repository that no other tool checks: which layer may depend on which, and what every file and
//! manifest has.

mod files;
mod layers;
mod manifests;

use anyhow::{Result, bail};

use crate::process;

/// Runs the subcommand: reports every problem.
pub fn run() -> Result<()> {
    let root = process::root();
    let mut problems = layers::check(&root)?;
    problems.extend(manifests::check(&root)?);
    let (found, warnings) = files::check(&root)?;
    problems.extend(found);
    for warning in warnings {
        println!("warning: {warning}");
    }
    for problem in &problems {
        println!("problem: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} problems, each on a line above", problems.len());
    }
    Ok(())
}
