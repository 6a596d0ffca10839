//! `viv doctor`.

use crate::error::{Failure, Kind, Result};
use crate::output::{Mark, Output, count};
use rustix::fs::{Access, access};
use std::env;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use supervisor_api::launch;
use supervisor_api::wire::{Finding, FindingLevel};
use supervisor_api::{Places, PlacesError};

/// Check that everything is here that machines need, and say how to cure what is not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv doctor

Changes nothing. Exits with 1 where something keeps machines from running.")]
pub struct Args {}

pub async fn run(_: &Args, output: Output) -> Result {
    let mut findings = own();
    match launch::doctor().await {
        Ok(more) => findings.extend(more),
        Err(error) => findings.push(Finding {
            subject: "supervisor".to_owned(),
            level: FindingLevel::Error,
            message: machine::chain(&error),
            fix: Some("install vivarium-supervisor beside viv, or set VIVARIUM_SUPERVISOR to its path".to_owned()),
        }),
    }
    let of = |level: FindingLevel| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (of(FindingLevel::Error), of(FindingLevel::Warning));
    output.answer(&findings, |output| {
        for finding in &findings {
            print(output, finding)?;
        }
        output.line(match (errors, warnings) {
            (0, 0) => "\nEverything is as it should be.".to_owned(),
            (0, _) => format!("\nMachines can run. {} above.", count(warnings, "warning")),
            _ => format!("\nMachines cannot run before {} above {} cured.", count(errors, "error"), if errors == 1 { "is" } else { "are" }),
        })
    })?;
    if errors == 0 { Ok(()) } else { Err(Failure::new(Kind::Answered, "Something that machines need is missing")) }
}

fn print(output: &Output, finding: &Finding) -> Result {
    let (mark, color) = match finding.level {
        FindingLevel::Good => ("good   ", Mark::Green),
        FindingLevel::Warning => ("warning", Mark::Yellow),
        FindingLevel::Error => ("error  ", Mark::Red),
    };
    output.marked(mark, color, format_args!("  {}: {}", finding.subject, finding.message))?;
    match &finding.fix {
        Some(fix) => output.line(format!("         fix: {fix}")),
        None => Ok(()),
    }
}

/// What concerns this program: where things are kept, and whether they can be.
fn own() -> Vec<Finding> {
    let places = match Places::from_environment() {
        Ok(places) => places,
        Err(error) => {
            let fix = match &error {
                PlacesError::NoHome => "export VIVARIUM_HOME=/path/to/machines",
                _ => "set it to a path that begins with /",
            };
            return vec![finding("places", FindingLevel::Error, error.to_string(), Some(fix.to_owned()))];
        }
    };
    let folder = |subject: &str, path: &Path| match obstacle(path) {
        None => finding(subject, FindingLevel::Good, path.display().to_string(), None),
        Some((at, why)) => {
            let fix = format!(
                "chown \"$USER\" {0} && chmod u+rwx {0}, or set VIVARIUM_HOME to another folder",
                shell_words::quote(&at.to_string_lossy())
            );
            finding(subject, FindingLevel::Error, format!("{why}: {}", at.display()), Some(fix))
        }
    };
    let mut findings = vec![folder("machines", &places.machines), folder("state", &places.state), folder("cache", &places.cache)];
    findings.push(runtime(&places));
    findings.push(trash(&places.machines));
    findings
}

fn finding(subject: &str, level: FindingLevel, message: String, fix: Option<String>) -> Finding {
    Finding { subject: subject.to_owned(), level, message, fix }
}

/// What keeps us from writing into a folder, or from making it: where, and why.
fn obstacle(path: &Path) -> Option<(PathBuf, &'static str)> {
    let nearest = path.ancestors().find(|ancestor| ancestor.exists())?;
    if !nearest.is_dir() {
        return Some((nearest.to_path_buf(), "is in the way"));
    }
    match access(nearest, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => None,
        Err(rustix::io::Errno::ROFS) => Some((nearest.to_path_buf(), "the file system is read-only")),
        Err(_) => Some((nearest.to_path_buf(), "cannot be written to")),
    }
}

fn runtime(places: &Places) -> Finding {
    const SUBJECT: &str = "sockets";
    let path = &places.runtime;
    let uid = rustix::process::getuid().as_raw();
    if let Some((at, why)) = obstacle(path) {
        let quoted = shell_words::quote(&at.to_string_lossy()).into_owned();
        let fix = format!("chown \"$USER\" {quoted} && chmod u+rwx {quoted}, or set XDG_STATE_HOME to another folder");
        return finding(SUBJECT, FindingLevel::Error, format!("{why}: {}", at.display()), Some(fix));
    }
    if let Ok(data) = std::fs::metadata(path)
        && (data.uid() != uid || data.permissions().mode() & 0o077 != 0)
    {
        let message = format!("belongs to somebody else or is open to others: {}", path.display());
        return finding(SUBJECT, FindingLevel::Error, message, Some(format!("chmod 700 {}", shell_words::quote(&path.to_string_lossy()))));
    }
    if !path.starts_with(&places.state) {
        let message = format!(
            "in {}, which a clean-up of /tmp may remove: {} has a long path, or a file system without sockets",
            path.display(),
            places.state.display()
        );
        return finding(SUBJECT, FindingLevel::Warning, message, Some("export XDG_STATE_HOME=/a/short/path".to_owned()));
    }
    finding(SUBJECT, FindingLevel::Good, path.display().to_string(), None)
}

/// Whether what is deleted can go to the trash: the home folder's, or that at the top of the machines' file system.
fn trash(machines: &Path) -> Finding {
    const SUBJECT: &str = "trash";
    let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = data.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"))).map(|data| data.join("Trash"));
    let device = |path: &Path| path.ancestors().find_map(|ancestor| std::fs::metadata(ancestor).ok()).map(|data| data.dev());
    match home {
        Some(home) if device(&home) == device(machines) => match obstacle(&home) {
            None => finding(SUBJECT, FindingLevel::Good, home.display().to_string(), None),
            Some((at, why)) => {
                let fix = format!("chown \"$USER\" {}, or delete with --permanently", shell_words::quote(&at.to_string_lossy()));
                finding(SUBJECT, FindingLevel::Warning, format!("{why}: {}", at.display()), Some(fix))
            }
        },
        _ => {
            let uid = rustix::process::getuid().as_raw();
            let top = machines.ancestors().filter(|ancestor| device(ancestor) == device(machines)).last().unwrap_or(machines);
            let own = top.join(format!(".Trash-{uid}"));
            match obstacle(&own) {
                None => finding(SUBJECT, FindingLevel::Good, own.display().to_string(), None),
                Some((at, why)) => {
                    let quoted = shell_words::quote(&own.to_string_lossy()).into_owned();
                    let fix = format!("sudo install -d -m 700 -o \"$USER\" {quoted}, or delete with --permanently");
                    finding(
                        SUBJECT,
                        FindingLevel::Warning,
                        format!("machines are on a file system without one, and {} {why}", at.display()),
                        Some(fix),
                    )
                }
            }
        }
    }
}
