//! The first step: which system, and whether it is virtualized or emulated.

use bundle::tables;
use library::Os;
use supervisor_api::wire::FindingLevel;

use super::Wizard;
use crate::{Message, Text, texts};

/// A system to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemCard {
    /// Which.
    pub os: Os,
    /// What it is called.
    pub title: Text,
    /// What it is for; where it cannot be chosen, why not.
    pub help: Message,
    /// Whether it can be chosen.
    pub offered: bool,
}

/// The systems to choose from, in order. All are shown; what cannot be chosen says why.
pub fn systems(is_mac: bool) -> [SystemCard; 4] {
    let card = |os, title, help: Text| SystemCard { os, title, help: help.into(), offered: true };
    let mac = if is_mac { texts::SYSTEM_MACOS_HELP } else { texts::SYSTEM_MACOS_REFUSED };
    [
        card(Os::Linux, texts::SYSTEM_LINUX, texts::SYSTEM_LINUX_HELP),
        card(Os::Windows, texts::SYSTEM_WINDOWS, texts::SYSTEM_WINDOWS_HELP),
        SystemCard { offered: is_mac, ..card(Os::MacOs, texts::SYSTEM_MACOS, mac) },
        card(Os::Other, texts::SYSTEM_OTHER, texts::SYSTEM_OTHER_HELP),
    ]
}

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By this computer's processor.
    Virtualized,
    /// In software.
    Emulated,
}

impl Wizard {
    /// Whether the guest can be virtualized, with a sentence for below the switch.
    ///
    /// # Errors
    /// Why it cannot, and what would help.
    pub fn virtualize(&self) -> Result<Message, Message> {
        let architecture = self.architecture();
        let name = tables::label(architecture);
        if !tables::hypervisor_is_possible(architecture, self.host.architecture) {
            return Err(texts::VIRTUALIZE_FOREIGN.with([&name]));
        }
        match &self.kvm {
            None => Ok(texts::VIRTUALIZE_ASKING.into()),
            Some(finding) if finding.level == FindingLevel::Good => Ok(texts::VIRTUALIZE_HELP.with([&name])),
            Some(finding) => {
                let fix = finding.fix.as_ref().map(|fix| format!(": {fix}")).unwrap_or_default();
                Err(texts::VIRTUALIZE_NOT_HERE.with([&format!("{}{fix}", finding.message)]))
            }
        }
    }

    /// Whether the guest can be emulated.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn emulate(&self) -> Result<(), Message> {
        if self.choices.os == Os::MacOs { Err(texts::EMULATE_NATIVE_ONLY.into()) } else { Ok(()) }
    }

    /// How it will be executed, as things are.
    pub fn how(&self) -> How {
        let wanted = self.choices.virtualize.unwrap_or(true);
        if wanted && self.virtualize().is_ok() { How::Virtualized } else { How::Emulated }
    }
}
