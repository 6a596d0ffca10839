//! What the page of a machine says about it: measured, never made up. What is not known is not said.

use bundle::{Configuration, qemu};
use library::{DriveInfo, Machine, SharedFolder};
use supervisor_api::wire::Status;

use crate::{Command, Message, bytes, mebibytes, texts};

/// What is known of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Details<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Its configuration, where it could be read.
    pub configuration: Option<&'a Configuration>,
    /// What its supervisor says, or what is left of its last run.
    pub status: Option<&'a Status>,
    /// Its drives.
    pub drives: &'a [DriveInfo],
    /// What it shares.
    pub share: Option<&'a SharedFolder>,
    /// Now, in seconds since 1970.
    pub now: u64,
}

/// A line of the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// What it is about.
    pub label: Message,
    /// How it is.
    pub value: Message,
    /// More about it, for whoever points at it.
    pub more: Option<String>,
    /// How full it is: so many of so many bytes.
    pub meter: Option<(u64, u64)>,
    /// What can be done about it, and with which drive.
    pub action: Option<(Command, String)>,
}

impl Fact {
    fn new(label: impl Into<Message>, value: impl Into<Message>) -> Self {
        Self { label: label.into(), value: value.into(), more: None, meter: None, action: None }
    }
}

/// What the page of a machine says, in order.
pub fn facts(details: &Details<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    processor_and_memory(details, &mut facts);
    for drive in details.drives {
        facts.push(drive_fact(drive));
    }
    if let Some(Configuration::Qemu(configuration)) = details.configuration {
        facts.extend(configuration.networks.iter().map(network));
    }
    if let Some((share, folder)) = details.share.and_then(|share| share.folder.as_ref().map(|folder| (share, folder))) {
        let folder = folder.display();
        let value = if share.read_only { texts::SHARED_READ_ONLY.with([&folder]) } else { Message::said(folder.to_string()) };
        facts.push(Fact { action: Some((Command::Share, String::new())), ..Fact::new(texts::FACT_SHARED_FOLDER, value) });
    }
    facts.extend(details.status.into_iter().flat_map(ports));
    run(details, &mut facts);
    facts.push(Fact {
        action: Some((Command::ShowFiles, String::new())),
        ..Fact::new(texts::FACT_PATH, Message::said(details.machine.path.display().to_string()))
    });
    facts
}

fn processor_and_memory(details: &Details<'_>, facts: &mut Vec<Fact>) {
    let Some(summary) = details.machine.summary() else { return };
    let cores: Message = match summary.cpu_count {
        0 => texts::CORES_AUTOMATIC.into(),
        1 => texts::CORES_ONE.into(),
        count => texts::CORES.with([&count]),
    };
    let accelerator = details.status.and_then(|status| status.accelerator.as_ref());
    let value = match accelerator {
        Some(accelerator) => texts::CORES_BY.with([&cores, &accelerator.name.to_uppercase()]),
        None => cores,
    };
    facts.push(Fact { more: accelerator.map(|accelerator| accelerator.why.clone()), ..Fact::new(texts::FACT_PROCESSOR, value) });
    facts.push(Fact::new(texts::FACT_MEMORY, Message::said(mebibytes(summary.memory_mib))));
}

fn drive_fact(drive: &DriveInfo) -> Fact {
    let label = match drive.image_type.as_str() {
        "CD" => texts::FACT_CD,
        "Disk" => texts::FACT_DISK,
        "BIOS" => texts::FACT_FIRMWARE,
        "LinuxKernel" => texts::FACT_KERNEL,
        "LinuxInitrd" => texts::FACT_INITRD,
        _ => texts::FACT_DRIVE,
    };
    let file = drive.path.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    if drive.removable {
        let (value, command) = match file {
            Some(file) => (Message::said(file), Command::Eject),
            None => (texts::DRIVE_EMPTY.into(), Command::Insert),
        };
        return Fact { action: Some((command, drive.id.clone())), ..Fact::new(label, value) };
    }
    if drive.image_type != "Disk" {
        // Nothing of it fills up.
        return Fact::new(label, Message::said(file.unwrap_or_else(|| drive.interface.clone())));
    }
    let (value, meter) = match (drive.allocated, drive.virtual_size) {
        // A disk that is full can take more than it shows: qcow2 has tables of its own.
        (Some(used), Some(size)) => (texts::DISK_USED.with([&bytes(used), &bytes(size)]), Some((used.min(size), size))),
        (None, Some(size)) => (Message::said(bytes(size)), None),
        _ => (Message::said(file.clone().unwrap_or_else(|| drive.interface.clone())), None),
    };
    Fact { more: file, meter, ..Fact::new(label, value) }
}

fn network(network: &qemu::Network) -> Fact {
    let value = match (network.mode, &network.bridge_interface) {
        (qemu::NetworkMode::Bridged, Some(interface)) => texts::NETWORK_BRIDGED.with([interface]),
        (qemu::NetworkMode::Bridged, None) => Message::said(network.mode.as_str()),
        (qemu::NetworkMode::Host, _) => texts::NETWORK_HOST.into(),
        (qemu::NetworkMode::Emulated | qemu::NetworkMode::Shared, _) => match network.port_forwards.first() {
            Some(forward) => texts::FORWARDED.with([&forward.protocol, &forward.host_port, &forward.guest_port]),
            None => texts::NETWORK_NAT.into(),
        },
    };
    let forwards = network.port_forwards.iter().skip(1);
    let more: Vec<String> =
        forwards.map(|forward| texts::FORWARDED.with([&forward.protocol, &forward.host_port, &forward.guest_port]).to_string()).collect();
    Fact { more: (!more.is_empty()).then(|| more.join("\n")), ..Fact::new(texts::FACT_NETWORK, value) }
}

/// The serial ports that have terminals; the action names the port by its number.
fn ports(status: &Status) -> impl Iterator<Item = Fact> {
    let live = status.state.is_live();
    status.consoles.iter().map(move |port| {
        let action = live.then(|| (Command::OpenConsole, port.index.to_string()));
        Fact { action, ..Fact::new(texts::WINDOW_SERIAL.with([&(port.index + 1)]), texts::FACT_SERIAL_TERMINAL) }
    })
}

/// How long it runs, or how it ended.
fn run(details: &Details<'_>, facts: &mut Vec<Fact>) {
    let Some(status) = details.status else { return };
    if status.state.is_live() {
        if let Some(since) = status.started_at.and_then(|started| details.now.checked_sub(started)) {
            facts.push(Fact::new(texts::FACT_RUNS_SINCE, duration(since)));
        }
        if let Some(sandbox) = status.sandbox.as_ref().filter(|sandbox| !sandbox.complete) {
            let first = sandbox.missing.first().cloned().unwrap_or_default();
            let more = Some(sandbox.missing.join("\n"));
            facts.push(Fact { more, ..Fact::new(texts::FACT_SANDBOX, texts::SANDBOX_INCOMPLETE.with([&first])) });
        }
    } else if let Some(last) = &status.last_run {
        let more = (!last.ending.log.is_empty()).then(|| last.ending.log.join("\n"));
        let action = last.ending.reason.is_failure().then(|| (Command::ShowLog, String::new()));
        facts.push(Fact { more, action, ..Fact::new(texts::FACT_LAST_RUN, Message::said(last.ending.message.clone())) });
    }
}

fn duration(seconds: u64) -> Message {
    match seconds {
        0..60 => texts::MOMENTS.into(),
        60..3600 => texts::MINUTES.with([&(seconds / 60)]),
        3600..172_800 => texts::HOURS.with([&(seconds / 3600)]),
        _ => texts::DAYS.with([&(seconds / 86_400)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(removable: bool) -> DriveInfo {
        DriveInfo {
            id: "d".into(),
            image_type: if removable { "CD" } else { "Disk" }.into(),
            interface: "VirtIO".into(),
            removable,
            read_only: removable,
            path: None,
            format: None,
            virtual_size: None,
            allocated: None,
        }
    }

    #[test]
    fn a_disk_says_how_full_it_is_where_that_is_known() {
        let known = DriveInfo { allocated: Some(11 << 30), virtual_size: Some(64 << 30), ..drive(false) };
        let fact = drive_fact(&known);
        assert_eq!((fact.value.to_string().as_str(), fact.meter), ("11 GiB of 64 GiB", Some((11 << 30, 64 << 30))));
        assert_eq!((drive_fact(&drive(false)).value.to_string().as_str(), drive_fact(&drive(false)).meter), ("VirtIO", None));
    }

    #[test]
    fn a_kernel_is_no_disk_that_is_full() {
        let path = Some("/machines/Demo.utm/Data/vmlinuz".into());
        let kernel = DriveInfo { image_type: "LinuxKernel".into(), path, allocated: Some(8), virtual_size: Some(8), ..drive(false) };
        assert_eq!(drive_fact(&kernel), Fact::new(texts::FACT_KERNEL, Message::said("vmlinuz")));
    }

    #[test]
    fn a_cd_is_ejected_or_inserted() {
        let full = DriveInfo { path: Some("/home/me/debian-13.iso".into()), ..drive(true) };
        assert_eq!(drive_fact(&full).value.to_string(), "debian-13.iso");
        assert_eq!(drive_fact(&full).action, Some((Command::Eject, "d".into())));
        assert_eq!(drive_fact(&drive(true)).action, Some((Command::Insert, "d".into())));
    }

    #[test]
    fn times_are_as_exact_as_people_want_them() {
        let said = |seconds| duration(seconds).to_string();
        assert_eq!([said(5), said(125), said(7300), said(200_000)], ["Less than a minute", "2 min", "2 h", "2 d"]);
    }
}
