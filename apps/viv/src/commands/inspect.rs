//! `viv inspect`.

use crate::context::{Context, absolute, has_extension};
use crate::error::{Failure, Kind, Result};
use crate::facts::Facts;
use crate::output::{Output, count};
use bundle::{Bundle, Configuration, OpenError, Origin, Problem, ReadError, key_path};
use machine::ErrorKind;
use plist::Value;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A property list that is larger than this is none: UTM's are a few KiB.
const MAX_BYTES: u64 = 16 << 20;

/// Print what a bundle or a bare config.plist says, and everything that is wrong with it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv inspect Windows.utm
  viv inspect ~/Downloads/config.plist
  viv inspect Debian --json

Only reads. Each problem has a level: ignored (kept as it is), fixed (replaced by a value that works), fatal (the configuration is refused, \
or the machine cannot start). Exits with 1 where the configuration cannot be read.")]
pub struct Args {
    /// A .utm bundle, a config.plist file, or a machine's name
    #[arg(value_name = "PATH|MACHINE")]
    subject: String,
}

/// What is printed. Stable: fields are added, never renamed or removed.
#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    readable: bool,
    /// Whether nothing in the configuration itself keeps the machine from starting.
    startable: bool,
    #[serde(flatten)]
    facts: Option<Facts>,
    problems: Vec<Problem>,
    configuration: Option<serde_json::Value>,
}

pub fn run(args: &Args, output: Output) -> Result {
    let path = find(&args.subject, output)?;
    let report = report(&path)?;
    output.answer(&report, |output| print(output, &report))?;
    if report.readable { Ok(()) } else { Err(Failure::new(Kind::Answered, "The configuration cannot be read")) }
}

/// The file or bundle that is meant: what is there under that path, otherwise a machine of the library.
fn find(subject: &str, output: Output) -> Result<PathBuf> {
    let path = Path::new(subject);
    let is_machine = || Context::open(output)?.find(subject).map(|machine| machine.path);
    if path.exists() {
        // A folder that happens to have a machine's name is not meant.
        let looks_meant = path.is_file() || has_extension(path, bundle::BUNDLE_EXTENSION) || path.join(bundle::CONFIGURATION_FILE).exists();
        return if looks_meant { Ok(absolute(path)) } else { is_machine().or_else(|_| Ok(absolute(path))) };
    }
    is_machine().map_err(|failure| {
        if subject.contains('/') || has_extension(path, bundle::BUNDLE_EXTENSION) || has_extension(path, "plist") {
            Failure::new(ErrorKind::NotFound, format!("There is no such file or bundle: {subject}"))
        } else {
            failure
        }
    })
}

fn report(path: &Path) -> Result<Report> {
    if path.is_dir() {
        match Bundle::open(path) {
            Ok(bundle) => {
                let files = bundle.check_files();
                Ok(Report::read(path, &bundle.configuration, bundle.origin(), bundle.problems, files))
            }
            Err(OpenError::Refused { source, .. }) => Ok(Report::refused(path, source)),
            Err(error @ (OpenError::NotABundle(_) | OpenError::NoConfiguration(_))) => {
                Err(Failure::new(ErrorKind::Configuration, error.to_string()).with_hint("A bundle is a folder with a config.plist in it"))
            }
            Err(error) => Err(Failure::new(ErrorKind::File, format!("Cannot inspect {}", path.display())).with_source(&error)),
        }
    } else {
        let failed = |error: &std::io::Error| Failure::io(format!("Cannot read {}", path.display()), error);
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(|error| failed(&error))?;
        let fallback = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        match Configuration::read(&bytes, &fallback) {
            Ok(loaded) => Ok(Report::read(path, &loaded.configuration, loaded.origin, loaded.problems, Vec::new())),
            Err(error) => Ok(Report::refused(path, error)),
        }
    }
}

impl Report {
    fn refused(path: &Path, error: ReadError) -> Self {
        Self { path: path.to_path_buf(), readable: false, startable: false, facts: None, problems: error.problems, configuration: None }
    }

    fn read(path: &Path, configuration: &Configuration, origin: Origin, mut problems: Vec<Problem>, files: Vec<Problem>) -> Self {
        problems.extend(configuration.validate());
        problems.extend(files);
        Self {
            path: path.to_path_buf(),
            readable: true,
            startable: !problems.iter().any(Problem::is_fatal),
            facts: Some(Facts::new(configuration, origin)),
            problems,
            configuration: Some(key_path::to_json(&Value::Dictionary(configuration.to_dictionary()))),
        }
    }
}

fn print(output: &Output, report: &Report) -> Result {
    if let Some(facts) = &report.facts {
        output.facts(facts.lines())?;
    } else {
        output.line(format!("The configuration cannot be read: {}", report.path.display()))?;
    }
    if report.problems.is_empty() {
        return output.line("\nNo problems.");
    }
    output.line(format!("\n{}:", count(report.problems.len(), "problem")))?;
    for problem in &report.problems {
        let key = if problem.key_path.is_empty() { "(whole file)" } else { &problem.key_path };
        output.line(format!("  {:<8} {key}: {}", problem.level.to_string(), problem.message))?;
        if let Some(hint) = &problem.hint {
            output.line(format!("           {hint}"))?;
        }
    }
    Ok(())
}
