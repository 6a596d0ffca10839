//! Debian and Ubuntu: what is installed (by dpkg), what would be, and how.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::packages::Group;
use super::system::System;
use crate::process;
use crate::sources::{self, Source};

/// What there is to do.
pub struct Plan {
    /// The suite that QEMU comes from, where it is not the system's own.
    suite: Option<&'static str>,
    /// A source to add for it: where, and what the file says.
    source: Option<(PathBuf, String)>,
    /// Packages by reason.
    wanted: Vec<Wanted>,
    /// Packages that are left out where the distribution does not have them.
    optional: BTreeSet<&'static str>,
}

/// The reason, whether they come from the suite for QEMU, and the packages.
type Wanted = (&'static str, bool, Vec<&'static str>);

/// Leaves out optional packages that this release does not have, so that they are not missing for ever.
fn leave_out_unknown(wanted: &mut Vec<Wanted>, optional: &BTreeSet<&'static str>) -> Result<()> {
    let missing: Vec<&str> = wanted.iter().flat_map(|(_, _, missing)| missing).copied().filter(|name| optional.contains(name)).collect();
    let unknown = unknown_to_apt(&missing)?;
    for (_, _, missing) in wanted.iter_mut() {
        missing.retain(|name| !unknown.contains(*name));
    }
    wanted.retain(|(_, _, missing)| !missing.is_empty());
    Ok(())
}

/// Compares what is wanted with what is installed.
pub fn plan(system: &System, groups: &[&'static Group]) -> Result<Plan> {
    let names = groups.iter().flat_map(|group| group.packages.iter().chain(group.optional)).copied();
    let installed = installed(names)?;
    let suite = system.qemu_suite();
    let is_there =
        |group: &Group, name: &str| installed.get(name).is_some_and(|version| !group.qemu || suite.is_none() || version.contains("~bpo12"));

    let mut wanted: Vec<_> = groups
        .iter()
        .map(|group| {
            let missing = group.packages.iter().chain(group.optional).copied().filter(|name| !is_there(group, name)).collect::<Vec<_>>();
            (group.reason, group.qemu, missing)
        })
        .filter(|(_, _, missing)| !missing.is_empty())
        .collect();

    let optional = groups.iter().flat_map(|group| group.optional.iter().copied()).collect();
    let source = match suite {
        Some(suite) if wanted.iter().any(|(_, qemu, _)| *qemu) => missing_source(suite, &system.codename, &sources::system())?,
        _ => None,
    };
    // A source that is yet to be added may have what no other has.
    if source.is_none() {
        leave_out_unknown(&mut wanted, &optional)?;
    }
    Ok(Plan { suite, source, wanted, optional })
}

impl Plan {
    /// Whether everything is installed.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Says what would be installed and why.
    pub fn describe(&self) {
        if let Some((path, _)) = &self.source {
            println!("  the source {}, because this release's QEMU is too old", path.display());
        }
        for (reason, qemu, packages) in &self.wanted {
            let from = self.suite.filter(|_| *qemu).map(|suite| format!(", from {suite}")).unwrap_or_default();
            println!("  {} ({reason}{from})", packages.join(" "));
        }
    }

    /// Installs everything.
    pub fn install(&self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        if let Some((path, text)) = &self.source {
            write_as_root(path, text)?;
        }
        run(as_root("apt-get")?.args(APT).arg("update"))?;
        // On a new machine only now is it known what there is.
        let mut wanted = self.wanted.clone();
        leave_out_unknown(&mut wanted, &self.optional)?;
        let packages = |qemu: bool| wanted.iter().filter(move |group| group.1 == qemu).flat_map(|group| &group.2);
        if packages(true).next().is_some() {
            let mut command = as_root("apt-get")?;
            command.args(APT).args(["install", "--yes", "--no-install-recommends"]);
            command.args(self.suite.iter().flat_map(|suite| ["--target-release", suite]));
            run(command.args(packages(true)))?;
        }
        if packages(false).next().is_some() {
            run(as_root("apt-get")?.args(APT).args(["install", "--yes", "--no-install-recommends"]).args(packages(false)))?;
        }
        Ok(())
    }
}

/// Another apt may be at work, an unattended upgrade for instance: wait for it. Keep changed configuration files without asking.
const APT: &[&str] = &[
    "-q",
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "DPkg::Lock::Timeout=300",
    "-o",
    "DPkg::Options::=--force-confdef",
    "-o",
    "DPkg::Options::=--force-confold",
];

/// Installed packages and their versions, of those named.
fn installed<'a>(names: impl Iterator<Item = &'a str>) -> Result<HashMap<String, String>> {
    // It fails when it does not know one of the names, and still prints the others.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package}\t${db:Status-Status}\t${Version}\n"])
        .args(names)
        .stderr(Stdio::null())
        .output()
        .context("Could not start dpkg-query")?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let (name, status, version) = (fields.next()?, fields.next()?, fields.next()?);
            (status == "installed").then(|| (name.to_owned(), version.to_owned()))
        })
        .collect())
}

/// Of these packages, those that apt has heard of lists for but has no version of.
fn unknown_to_apt(names: &[&str]) -> Result<BTreeSet<String>> {
    if names.is_empty() || !has_lists() {
        return Ok(BTreeSet::new());
    }
    let said = process::text(Command::new("apt-cache").env("LC_ALL", "C").arg("policy").args(names))?;
    let mut known = BTreeSet::new();
    let mut package = "";
    for line in said.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = name;
        } else if line.trim_start().starts_with("Candidate:") && !line.contains("(none)") {
            known.insert(package);
        }
    }
    Ok(names.iter().filter(|name| !known.contains(*name)).map(|&name| name.to_owned()).collect())
}

/// Whether apt's lists have been fetched; on a new machine they have not.
fn has_lists() -> bool {
    fs::read_dir("/var/lib/apt/lists")
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages")))
}

/// The source to add for a suite that has none: beside the existing Debian source, and like it.
fn missing_source(suite: &str, base: &str, known: &[Source]) -> Result<Option<(PathBuf, String)>> {
    if sources::with_suite(known, suite).is_some() {
        return Ok(None);
    }
    let Some(like) = sources::with_suite(known, base) else {
        bail!("No apt source has the suite {base}, so there is no telling where {suite} would come from; add a source for it");
    };
    let folder = Path::new("/etc/apt/sources.list.d");
    if like.deb822 {
        let signed = like.signed_by.as_ref().map(|key| format!("Signed-By:{}{key}\n", if key.starts_with('\n') { "" } else { " " }));
        let text = format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n{}", like.uri, signed.unwrap_or_default());
        Ok(Some((folder.join(format!("{suite}.sources")), text)))
    } else {
        let signed = like.signed_by.as_ref().map(|key| format!("[signed-by={key}] ")).unwrap_or_default();
        Ok(Some((folder.join(format!("{suite}.list")), format!("deb {signed}{} {suite} main\n", like.uri))))
    }
}

/// A command as root: as it is when we are root, with sudo otherwise.
fn as_root(program: &str) -> Result<Command> {
    let mut command = if process::text(Command::new("id").arg("-u"))?.trim() == "0" {
        let mut command = Command::new("env");
        command.arg("DEBIAN_FRONTEND=noninteractive");
        command
    } else if which::which("sudo").is_ok() {
        let mut command = Command::new("sudo");
        command.args(["env", "DEBIAN_FRONTEND=noninteractive"]);
        command
    } else {
        bail!("Installing packages needs root: run cargo xtask setup as root, or install sudo");
    };
    command.arg(program);
    Ok(command)
}

fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", process::display(command));
    process::run(command.stdin(Stdio::null()))
}

fn write_as_root(path: &Path, text: &str) -> Result<()> {
    let mut command = as_root("sh")?;
    command.args(["-c", r#"umask 022 && printf %s "$1" > "$0""#]).arg(path).arg(text);
    println!("$ write {}", path.display());
    process::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(file: &str, text: &str) -> Vec<Source> {
        sources::parse(Path::new(file), text)
    }

    #[test]
    fn adds_a_source_like_the_existing_one() {
        let list = source("/etc/apt/sources.list", "deb [signed-by=/k.gpg] http://mirror/debian bookworm main contrib\n");
        let (path, text) = missing_source("bookworm-backports", "bookworm", &list).unwrap().unwrap();
        assert_eq!(path, Path::new("/etc/apt/sources.list.d/bookworm-backports.list"));
        assert_eq!(text, "deb [signed-by=/k.gpg] http://mirror/debian bookworm-backports main\n");

        let stanza = "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n";
        let deb822 = source("debian.sources", stanza);
        let (path, text) = missing_source("bookworm-backports", "bookworm", &deb822).unwrap().unwrap();
        assert_eq!(path, Path::new("/etc/apt/sources.list.d/bookworm-backports.sources"));
        assert_eq!(text, "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm-backports\nComponents: main\nSigned-By: /k.gpg\n");
        assert_eq!(source("x.sources", &text)[0].signed_by.as_deref(), Some("/k.gpg"));
    }

    #[test]
    fn adds_nothing_beside_a_source_that_is_there() {
        let known = source("a.list", "deb http://m/debian bookworm main\ndeb http://m/debian bookworm-backports main\n");
        assert!(missing_source("bookworm-backports", "bookworm", &known).unwrap().is_none());
        assert!(missing_source("bookworm-backports", "bookworm", &[]).is_err());
    }

    #[test]
    fn knows_what_dpkg_has() {
        if which::which("dpkg-query").is_ok() {
            let found = installed(["dpkg", "no-such-package-as-this"].into_iter()).unwrap();
            assert!(found.contains_key("dpkg") && found.len() == 1);
        }
    }
}
