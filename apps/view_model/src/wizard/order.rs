//! The last step: everything in a list, and what is asked of the library.

use bundle::{Configuration, tables};
use library::{CreateSpec, DriveSpec, Os, ShareChange};

use super::{How, Installer, StepProblem, Wizard};
use crate::{Message, Text, bytes, mebibytes, texts};

/// What is asked of the library, in this order: create, share, open the settings or start.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// For [`library::Library::create`].
    pub create: CreateSpec,
    /// For [`library::Library::share`], with the machine that was made.
    pub share: Option<ShareChange>,
    /// Whether its settings are opened then.
    pub open_settings: bool,
    /// Whether it is started then. Not before its settings are closed.
    pub start: bool,
}

/// A line of the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub label: Text,
    /// How it will be.
    pub value: Message,
}

impl Wizard {
    /// What is asked of the library.
    ///
    /// # Errors
    /// Everything that is wrong; warnings are not.
    pub fn order(&self) -> Result<Order, Vec<StepProblem>> {
        let mut problems = self.problems();
        problems.retain(|problem| !problem.is_warning);
        if !problems.is_empty() {
            return Err(problems);
        }
        let choices = self.choices();
        let share = choices.share.as_ref().map(|share| ShareChange {
            folder: Some(Some(share.folder.clone())),
            mode: None,
            read_only: Some(share.read_only),
        });
        Ok(Order { create: self.spec(), share, open_settings: choices.open_settings, start: choices.start && !choices.open_settings })
    }

    /// What will be made, in a list.
    pub fn summary(&self) -> Vec<Line> {
        let line = |label: Text, value: Message| Line { label, value };
        let choices = self.choices();
        let Some(plan) = self.plan() else { return Vec::new() };
        let configuration = &plan.configuration;
        let os = match choices.os {
            Os::Linux => texts::SYSTEM_LINUX,
            Os::Windows => texts::SYSTEM_WINDOWS,
            Os::MacOs => texts::SYSTEM_MACOS,
            Os::Other => texts::SYSTEM_OTHER,
        };
        let architecture = tables::label(configuration.architecture());
        let how = match self.how() {
            How::Virtualized => texts::SUMMARY_VIRTUALIZED.with([&architecture]),
            How::Emulated => texts::SUMMARY_EMULATED.with([&architecture]),
        };
        let mut lines = vec![line(texts::SUMMARY_NAME, Message::said(configuration.name())), line(texts::SUMMARY_SYSTEM, os.into())];
        lines.push(line(texts::SUMMARY_PROCESSOR, how));
        let (memory, cores) = match configuration {
            Configuration::Qemu(qemu) => (qemu.system.memory_size, qemu.system.cpu_count),
            Configuration::Apple(apple) => (apple.system.memory_size, apple.system.cpu_count),
        };
        let cores = match cores {
            0 => texts::CORES_AUTOMATIC.into(),
            1 => texts::CORES_ONE.into(),
            cores => texts::CORES.with([&cores]),
        };
        lines.push(line(texts::FACT_MEMORY, texts::CORES_BY.with([&mebibytes(memory), &cores])));
        if let Configuration::Qemu(qemu) = configuration {
            lines.push(line(texts::SUMMARY_MACHINE, Message::said(qemu.system.target.clone())));
            let firmware = match (qemu.qemu.uefi_boot, qemu.qemu.tpm_device) {
                (true, true) => texts::SUMMARY_UEFI_TPM,
                (true, false) => texts::SUMMARY_UEFI,
                (false, _) => texts::SUMMARY_BIOS,
            };
            lines.push(line(texts::SUMMARY_FIRMWARE, firmware.into()));
            let display = qemu.displays.first().map_or(texts::SUMMARY_NOT_SHARED.into(), |display| Message::said(display.hardware.clone()));
            lines.push(line(texts::SUMMARY_DISPLAY, display));
        }
        let installer = match &choices.installer {
            Some(Installer::Iso(file) | Installer::Kernel { kernel: file, .. }) => Message::said(file.display().to_string()),
            Some(Installer::Nothing) | None => texts::SUMMARY_NO_INSTALLER.into(),
        };
        lines.push(line(texts::SUMMARY_INSTALLER, installer));
        lines.extend(choices.more_isos.iter().map(|iso| line(texts::FACT_CD, Message::said(iso.display().to_string()))));
        let disks: Vec<Line> = plan.drives.iter().filter_map(disk).map(|value| line(texts::FACT_DISK, value)).collect();
        if disks.is_empty() {
            lines.push(line(texts::FACT_DISK, texts::SUMMARY_NO_DISK.into()));
        }
        lines.extend(disks);
        let share = choices.share.as_ref().map_or(texts::SUMMARY_NOT_SHARED.into(), |share| {
            let folder = share.folder.display();
            if share.read_only { texts::SHARED_READ_ONLY.with([&folder]) } else { Message::said(folder.to_string()) }
        });
        lines.push(line(texts::FACT_SHARED_FOLDER, share));
        lines
    }
}

fn disk(drive: &DriveSpec) -> Option<Message> {
    match drive {
        DriveSpec::Disk(disk) => match (&disk.source, disk.size) {
            (Some(source), _) => Some(texts::SUMMARY_DISK_COPY.with([&source.display()])),
            (None, Some(size)) => Some(texts::SUMMARY_DISK_NEW.with([&bytes(size)])),
            (None, None) => None,
        },
        DriveSpec::Removable { .. } | DriveSpec::BootFile { .. } => None,
    }
}
