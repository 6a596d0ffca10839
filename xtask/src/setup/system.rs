//! Which distribution this is, from `/etc/os-release`.

use std::collections::HashMap;

use anyhow::{Context, Result};

/// The distribution.
pub struct System {
    /// Its name as it calls itself.
    pub name: String,
    /// `ID`, as in `debian`.
    pub id: String,
    /// `VERSION_CODENAME`, as in `bookworm`.
    pub codename: String,
}

impl System {
    /// Reads `/etc/os-release`.
    pub fn read() -> Result<Self> {
        let text = std::fs::read_to_string("/etc/os-release")
            .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
            .context("Could not find out which distribution this is: there is no /etc/os-release")?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let fields: HashMap<&str, &str> =
            text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name, value.trim_matches(['"', '\'']))).collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or_default().to_owned();
        Self { name: field("PRETTY_NAME"), id: field("ID"), codename: field("VERSION_CODENAME") }
    }

    /// Whether the names of packages in this project are those of this distribution.
    pub fn has_apt(&self) -> bool {
        matches!(self.id.as_str(), "debian" | "ubuntu")
    }

    /// The suite that QEMU comes from, where the distribution's own is too old.
    pub fn qemu_suite(&self) -> Option<&'static str> {
        (self.id == "debian" && self.codename == "bookworm").then_some("bookworm-backports")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_os_release() {
        let debian = System::parse("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n");
        assert_eq!((debian.id.as_str(), debian.qemu_suite()), ("debian", Some("bookworm-backports")));
        let ubuntu = System::parse("ID=ubuntu\nVERSION_CODENAME=noble\n");
        assert!(ubuntu.has_apt() && ubuntu.qemu_suite().is_none());
        assert!(!System::parse("ID=fedora\n").has_apt());
    }
}
