//! Making a machine, step by step.
//!
//! ```text
//! operating system ─► installer ─► hardware ─► storage ─► sharing ─► summary ─► [`Order`]
//! ```
//!
//! [`Wizard`] holds what a person has chosen, and nothing else: whatever was left alone is shown as what `library` would choose
//! ([`library::CreateSpec::plan`]), so that the summary is what is made. Every step can be gone back to; one can be left for the next when it
//! has no problem.

mod hardware;
mod order;
mod step;
mod system;

pub use hardware::{Limits, limits};
pub use order::{Line, Order};
pub use step::{Step, StepProblem};
pub use system::{How, SystemCard, systems};

use std::path::PathBuf;

use bundle::{Architecture, tables};
use library::{BackendChoice, CreateSpec, DiskSpec, Host, Os, Plan};
use machine::Offer;
use supervisor_api::wire::{Finding, FindingLevel};

/// What the machine is installed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installer {
    /// An image of a CD or DVD.
    Iso(PathBuf),
    /// A Linux kernel, with what belongs to it.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// Its initial RAM disk.
        initrd: Option<PathBuf>,
        /// Its command line.
        append: String,
    },
    /// Nothing: its disk has a system, or somebody inserts a medium later.
    Nothing,
}

/// A disk of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// A new one of this size in bytes.
    New(u64),
    /// A copy of an image.
    Copy(PathBuf),
}

/// The folder that the machine shares with its guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// What a person has chosen. `None` leaves it to the library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// The system that it is for.
    pub os: Os,
    /// The guest's architecture.
    pub architecture: Option<Architecture>,
    /// QEMU's machine type.
    pub machine: Option<String>,
    /// Firmware of its own, which some machine types do not start without: the ROM of a Macintosh.
    pub rom: Option<PathBuf>,
    /// Whether this computer's processor runs the guest.
    pub virtualize: Option<bool>,
    /// What it is installed from; `None` where nobody has said so yet.
    pub installer: Option<Installer>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Cores.
    pub cores: Option<u32>,
    /// Whether it has a screen.
    pub display: Option<bool>,
    /// Further images of CDs, such as one with drivers.
    pub more_isos: Vec<PathBuf>,
    /// Its disks; `None` for one of the usual size.
    pub disks: Option<Vec<Disk>>,
    /// What it shares.
    pub share: Option<Share>,
    /// Its name.
    pub name: String,
    /// Whether it is started at once.
    pub start: bool,
    /// Whether its settings are opened at once.
    pub open_settings: bool,
    /// Files are taken for what a person says they are.
    pub unchecked: bool,
}

/// Making a machine, step by step.
#[derive(Debug, Clone)]
pub struct Wizard {
    host: Host,
    /// What was found out about hardware virtualization; `None` while nobody has answered.
    kvm: Option<Finding>,
    offer: Option<Offer>,
    choices: Choices,
    /// A name that the library has refused, and why.
    refused_name: Option<(String, String)>,
    step: Step,
}

impl Wizard {
    /// A wizard at its first step.
    pub fn new(host: Host) -> Self {
        let choices = Choices { start: true, ..Choices::default() };
        Self { host, kvm: None, offer: None, choices, refused_name: None, step: Step::System }
    }

    /// A wizard for an image that was dropped on the home window: the installer is chosen already.
    pub fn for_iso(host: Host, iso: PathBuf) -> Self {
        let mut wizard = Self::new(host);
        wizard.choices.installer = Some(Installer::Iso(iso));
        wizard
    }

    /// What a person has chosen.
    pub const fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Chooses. What another choice has made impossible is forgotten. Returns whether [`Self::spec`] now is about another machine type or other
    /// memory, for which [`library::Library::offered`] has to be asked anew.
    pub fn choose(&mut self, change: impl FnOnce(&mut Choices)) -> bool {
        let before = self.choices.clone();
        change(&mut self.choices);
        let (os, architecture) = (self.choices.os, self.architecture());
        if before.os != os && !matches!(os, Os::Linux | Os::Other) && matches!(self.choices.installer, Some(Installer::Kernel { .. })) {
            self.choices.installer = None;
        }
        let is_other = before.os != os || before.architecture != self.choices.architecture;
        if is_other {
            if before.machine == self.choices.machine
                && self.choices.machine.as_deref().is_some_and(|machine| !tables::machine_is_known(architecture, machine))
            {
                self.choices.machine = None;
            }
            if self.choices.virtualize == Some(true) && self.virtualize().is_err() {
                self.choices.virtualize = None;
            }
        }
        let other_type = is_other || before.machine != self.choices.machine;
        if other_type {
            self.offer = None;
        }
        let other_memory = before.memory_mib != self.choices.memory_mib;
        if let (true, Some(offer), Some(memory)) = (other_memory, &mut self.offer, self.choices.memory_mib) {
            // Whether the board takes so much is yet to be found out. What else it offers stays.
            offer.memory_mib = memory;
        }
        other_type || other_memory
    }

    /// What the machine type offers, when that is known.
    pub const fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref()
    }

    /// Takes in what the machine type offers.
    pub fn set_offer(&mut self, offer: Option<Offer>) {
        self.offer = offer;
    }

    /// What [`library::Library::check_name`] has said of a name; `None` where it is free.
    pub fn set_name_checked(&mut self, name: &str, refused: Option<&library::Error>) {
        let hint = |error: &library::Error| error.hint().map(|hint| format!(". {hint}")).unwrap_or_default();
        self.refused_name = refused.map(|error| (name.to_owned(), format!("{error}{}", hint(error))));
    }

    /// What was found out about this computer: [`supervisor_api::launch::doctor`].
    pub fn set_findings(&mut self, findings: &[Finding]) {
        let missing = Finding { subject: "kvm".to_owned(), level: FindingLevel::Good, message: String::new(), fix: None };
        self.kvm = Some(findings.iter().find(|finding| finding.subject == "kvm").cloned().unwrap_or(missing));
    }

    /// The computer.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The guest's architecture.
    pub fn architecture(&self) -> Architecture {
        self.choices.architecture.or(self.host.architecture).unwrap_or(Architecture::X86_64)
    }

    /// What the library is asked to create.
    pub fn spec(&self) -> CreateSpec {
        let choices = &self.choices;
        let (mut isos, mut kernel, mut initrd, mut append) = (Vec::new(), None, None, None);
        match &choices.installer {
            Some(Installer::Iso(iso)) => isos.push(iso.clone()),
            Some(Installer::Kernel { kernel: file, initrd: ram_disk, append: words }) => {
                (kernel, initrd) = (Some(file.clone()), ram_disk.clone());
                append = Some(words.trim().to_owned()).filter(|words| !words.is_empty());
            }
            Some(Installer::Nothing) | None => {}
        }
        isos.extend_from_slice(&choices.more_isos);
        let disk = |disk: &Disk| match disk {
            Disk::New(size) => DiskSpec::of_size(*size),
            Disk::Copy(source) => DiskSpec { source: Some(source.clone()), ..DiskSpec::default() },
        };
        let disks = choices.disks.as_ref().map(|disks| disks.iter().map(disk).collect());
        CreateSpec {
            name: Some(choices.name.trim().to_owned()).filter(|name| !name.is_empty()),
            architecture: choices.architecture,
            machine: choices.machine.clone(),
            os: choices.os,
            backend: if choices.os == Os::MacOs { BackendChoice::Native } else { BackendChoice::Qemu },
            bios: choices.rom.clone(),
            virtualize: choices.virtualize,
            memory_mib: choices.memory_mib,
            cpus: choices.cores,
            disks,
            isos,
            kernel,
            initrd,
            append,
            display: choices.display,
            unchecked: choices.unchecked,
            ..CreateSpec::default()
        }
    }

    /// What the library would make now: what every field shows that nobody has touched. `None` where an image cannot be looked at, which the
    /// problems of its step say.
    pub fn plan(&self) -> Option<Plan> {
        self.spec().plan(self.offer.as_ref()).ok()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
