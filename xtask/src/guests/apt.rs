//! Fetches Debian packages of any architecture with apt, under a configuration of its own: the system's list of architectures, its sources
//! and its installed packages stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, sources};

/// apt for one suite and one architecture.
pub struct Apt {
    configuration: PathBuf,
    architecture: &'static str,
}

/// A package and the version that would be fetched.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

impl Apt {
    /// Sets up a private apt in a folder and fetches the list of packages.
    pub fn new(home: &Path, suite: &str, architecture: &'static str) -> Result<Self> {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(home.join(folder)).with_context(|| format!("Could not create {}", home.display()))?;
        }
        fs::write(home.join("state/status"), "")?;
        fs::write(home.join("sources.list"), source_list(suite, architecture))?;
        let configuration = home.join("apt.conf");
        fs::write(&configuration, configure(home, architecture)?)?;
        let apt = Self { configuration, architecture };
        process::quiet(apt.command("apt-get").args(["-q", "update", "--error-on=any"]))
            .with_context(|| format!("Could not fetch Debian's list of packages for {architecture}"))?;
        Ok(apt)
    }

    /// The concrete kernel package that a package such as `linux-image-amd64` stands for, then those that it is divided into since Debian 14.
    pub fn kernel(&self, name: &str) -> Result<Vec<Package>> {
        let needed = self.dependencies(name)?;
        let concrete = needed
            .iter()
            .find(|needed| needed.starts_with("linux-image-"))
            .with_context(|| format!("The package {name} depends on no kernel: {}", needed.join(", ")))?;
        let parts = self.dependencies(concrete)?;
        let parts = parts.iter().filter(|part| part.starts_with("linux-binary-") || part.starts_with("linux-modules-"));
        std::iter::once(concrete).chain(parts).map(|name| self.candidate(name)).collect()
    }

    /// These packages and all that they need, without what they only recommend.
    pub fn closure(&self, names: &[&str]) -> Result<Vec<Package>> {
        let planned =
            process::text(self.command("apt-get").args(["--simulate", "--yes", "--no-install-recommends", "install"]).args(names))?;
        // Inst NAME (VERSION ORIGIN [ARCHITECTURE])
        let package = |line: &str| {
            let mut words = line.strip_prefix("Inst ")?.split_whitespace();
            let name = words.next()?.split(':').next()?.to_owned();
            Some(Package { name, version: words.next()?.strip_prefix('(')?.to_owned() })
        };
        Ok(planned.lines().filter_map(package).collect())
    }

    /// Names of the packages that a package depends on, alternatives too.
    fn dependencies(&self, name: &str) -> Result<Vec<String>> {
        let stanza = self.show(name)?;
        let depends = field(&stanza, "Depends").unwrap_or_default();
        Ok(depends.split([',', '|']).filter_map(|dependency| dependency.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// The version of a package that would be fetched.
    pub fn candidate(&self, name: &str) -> Result<Package> {
        let stanza = self.show(name)?;
        let version = field(&stanza, "Version").with_context(|| format!("The package {name} has no version"))?;
        Ok(Package { name: name.to_owned(), version: version.to_owned() })
    }

    /// Fetches packages and unpacks them into one tree, without running anything of theirs.
    pub fn unpack(&self, packages: &[Package], work: &Path, tree: &Path) -> Result<()> {
        let archives = work.join("archives");
        fs::create_dir_all(&archives)?;
        fs::create_dir_all(tree)?;
        let names = packages.iter().map(|package| format!("{}:{}={}", package.name, self.architecture, package.version));
        process::quiet(self.command("apt-get").args(["-q", "download"]).args(names).current_dir(&archives))?;
        for archive in fs::read_dir(&archives)? {
            process::quiet(Command::new("dpkg-deb").arg("-x").arg(archive?.path()).arg(tree))?;
        }
        Ok(())
    }

    fn show(&self, name: &str) -> Result<String> {
        process::text(self.command("apt-cache").args(["--no-all-versions", "show"]).arg(format!("{name}:{}", self.architecture)))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.configuration).env("LC_ALL", "C");
        command
    }
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The mirror that the system uses for Debian, or the general one.
fn source_list(suite: &str, architecture: &str) -> String {
    let uri = sources::system()
        .into_iter()
        .map(|source| source.uri)
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
        .unwrap_or_else(|| "http://deb.debian.org/debian".to_owned());
    format!("deb [arch={architecture} signed-by={KEYRING}] {uri} {suite} main\n")
}

/// Everything of its own but the way to the network, which is the system's. Lists are verified by their signatures, but may be past their
/// date: those of a suite that is not released expire within days, and a mirror that is behind still has a kernel to test with.
fn configure(home: &Path, architecture: &str) -> Result<String> {
    let home = home.to_str().context("The path of the guests is not UTF-8; set VIVARIUM_GUESTS to another folder")?;
    let network =
        process::text(Command::new("apt-config").arg("dump")).context("apt is missing; the guests are made of Debian's packages")?;
    let network = network
        .lines()
        .filter(|line| {
            line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets") && !line.starts_with("Acquire::Languages")
        })
        .collect::<Vec<_>>()
        .join("\n");
    Ok(format!(
        r#"{network}
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{home}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{home}/state";
Dir::State::status "{home}/state/status";
Dir::Cache "{home}/cache";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
"#
    ))
}
