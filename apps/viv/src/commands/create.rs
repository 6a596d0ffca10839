//! `viv create`, and what it shares with `viv import`: what a machine shall be.

use crate::context::{Context, absolute};
use crate::describe;
use crate::error::{Failure, Kind, Result};
use crate::output::Cell;
use crate::progress;
use crate::size::Size;
use bundle::Architecture;
use bundle::qemu::{PortForward, Protocol};
use clap::ValueEnum;
use library::{CreateSpec, DiskSpec, Firmware, NetworkSpec, Os};
use machine::{ErrorKind, Named};
use std::path::PathBuf;
use std::str::FromStr;

/// Make a machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv create Debian --iso debian-13-netinst.iso
  viv create Windows --os windows --memory 8GiB --disk 128GiB --iso Win11.iso --iso virtio-win.iso
  viv create Router --arch aarch64 --memory 512MiB --disk 4GiB --no-display
  viv create Kernel --kernel bzImage --initrd initrd.img --append console=ttyS0 --no-disk
  viv create Server --forward 2222:22 --disk existing.vmdk
  viv create Mac --arch m68k --machine q800 --os other --bios MacROM.bin
  viv create --arch riscv64 --machine help

What is left out is chosen for the architecture, the system and this computer: UEFI where the machine can have it, paravirtual devices \
where the guest has drivers for them, memory and processors from what there is here. `viv config` changes everything later.")]
pub struct Args {
    /// Its name; otherwise made from the system
    name: Option<String>,
    /// A disk: the size of a new one, or an image to copy into the bundle; may be given several times
    #[arg(long, value_name = "SIZE|FILE", value_parser = Disk::from_str)]
    disk: Vec<Disk>,
    /// No disk
    #[arg(long, conflicts_with = "disk")]
    no_disk: bool,
    /// A CD image, which stays where it is; may be given several times, and the first boots
    #[arg(long, value_name = "FILE")]
    iso: Vec<PathBuf>,
    /// A Linux kernel to boot directly
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The kernel's initial RAM disk
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's device tree
    #[arg(long, value_name = "FILE", requires = "kernel")]
    dtb: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    append: Option<String>,
    /// Firmware of your own in place of the machine's: a Macintosh's ROM, U-Boot, …
    #[arg(long, value_name = "FILE")]
    bios: Option<PathBuf>,
    #[command(flatten)]
    hardware: Hardware,
}

/// What a machine is made of, disks aside.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Hardware")]
pub struct Hardware {
    /// The guest's architecture: x86_64, aarch64, riscv64, …; otherwise this computer's
    #[arg(long, short, value_parser = parse_architecture)]
    arch: Option<Architecture>,
    /// QEMU's machine type: q35, virt, …; `help` lists those of the architecture
    #[arg(long, short = 'M', value_name = "TYPE")]
    machine: Option<String>,
    /// The system that it is for
    #[arg(long, value_enum, default_value_t = System::Linux)]
    os: System,
    /// Memory, such as 4GiB
    #[arg(long, short)]
    memory: Option<Size>,
    /// Number of processors
    #[arg(long, short, value_name = "N")]
    cpus: Option<u32>,
    /// QEMU's processor model; `help` lists those of the architecture
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
    /// What it starts with
    #[arg(long, value_enum)]
    firmware: Option<Boot>,
    /// Network: user (NAT), bridged or bridged=INTERFACE, host, none
    #[arg(long, value_parser = parse_network)]
    network: Option<NetworkSpec>,
    #[arg(long, value_name = "PORTS", value_parser = parse_forward, help = "Lead a port of this computer to the guest: [udp:][ADDRESS:]PORT:GUESTPORT")]
    forward: Vec<PortForward>,
    /// A TPM 2.0, and with it Secure Boot
    #[arg(long, conflicts_with = "no_tpm")]
    tpm: bool,
    /// No TPM, even for Windows
    #[arg(long)]
    no_tpm: bool,
    /// No screen
    #[arg(long)]
    no_display: bool,
    /// No sound
    #[arg(long)]
    no_sound: bool,
    /// What runs it
    #[arg(long, value_enum, default_value_t = Backend::Qemu)]
    backend: Backend,
    /// Free text
    #[arg(long)]
    notes: Option<String>,
    /// Take files as disks and CDs that do not look like any
    #[arg(long)]
    force: bool,
}

/// A disk as it is written on the command line.
#[derive(Debug, Clone)]
enum Disk {
    Size(Size),
    File(PathBuf),
}

impl FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(size) => Ok(Self::Size(size)),
            Err(_)
                if text.contains(['/', '.']) && !text.starts_with(|first: char| first.is_ascii_digit()) || PathBuf::from(text).exists() =>
            {
                Ok(Self::File(text.into()))
            }
            Err(said) => Err(format!("{said}; nor is there such a file")),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum System {
    /// Linux and everything else with virtio drivers
    Linux,
    /// Windows 10 or later
    Windows,
    /// macOS
    Macos,
    /// Anything else: devices that every system has drivers for
    Other,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Boot {
    /// UEFI
    Uefi,
    /// What QEMU gives the machine unasked: SeaBIOS on PCs, Open Firmware on ppc and sparc, OpenSBI on riscv, …; not every machine has some
    Bios,
    /// Only with --kernel: nothing else to boot from. What QEMU itself starts a kernel with stays: a PC's BIOS, OpenSBI
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Backend {
    /// QEMU
    Qemu,
    /// Vivarium's own
    Native,
}

fn parse_architecture(text: &str) -> Result<Architecture, String> {
    let lower = text.to_ascii_lowercase();
    // As Debian, Go and Rust call them.
    let name = match lower.as_str() {
        "amd64" | "x64" | "x86-64" => "x86_64",
        "arm64" | "armv8" => "aarch64",
        "armhf" | "armv7" => "arm",
        "x86" | "i686" | "i586" => "i386",
        "ppc64el" | "ppc64le" => "ppc64",
        other => other,
    };
    name.parse().map_err(|unknown: bundle::UnknownChoice| unknown.hint())
}

fn parse_network(text: &str) -> Result<NetworkSpec, String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("user", "") => Ok(NetworkSpec::User),
        ("host", "") => Ok(NetworkSpec::Host),
        ("none", "") => Ok(NetworkSpec::None),
        ("bridged", "") => Ok(NetworkSpec::Bridged("br0".to_owned())),
        ("bridged", interface) => Ok(NetworkSpec::Bridged(interface.to_owned())),
        _ => Err("it is one of user, bridged, bridged=INTERFACE, host, none".to_owned()),
    }
}

fn parse_forward(text: &str) -> Result<PortForward, String> {
    let wanted =
        || "write PORT:GUESTPORT, such as 2222:22; with udp: in front for UDP, and an address of this computer before the port".to_owned();
    let (protocol, rest) = match text.split_once(':') {
        Some((name, rest)) if name.eq_ignore_ascii_case("udp") => (Protocol::Udp, rest),
        Some((name, rest)) if name.eq_ignore_ascii_case("tcp") => (Protocol::Tcp, rest),
        _ => (Protocol::Tcp, text),
    };
    let (rest, guest) = rest.rsplit_once(':').ok_or_else(wanted)?;
    let (address, host) = match rest.rsplit_once(':') {
        Some((address, host)) => (Some(address.trim_matches(['[', ']']).to_owned()), host),
        // Others on the network may only come in where the person says so.
        None => (Some("127.0.0.1".to_owned()), rest),
    };
    let port = |text: &str| {
        text.parse::<u16>().ok().filter(|port| *port > 0).map(u32::from).ok_or_else(|| format!("`{text}` is not a port; {}", wanted()))
    };
    Ok(PortForward { protocol, host_address: address, host_port: port(host)?, guest_port: port(guest)?, ..PortForward::default() })
}

impl Hardware {
    /// Whether only the names of machine types or processors are asked for, as QEMU itself is asked for them.
    pub fn asks_for_names(&self) -> bool {
        [&self.machine, &self.cpu].into_iter().flatten().any(|name| name == "help")
    }

    /// Prints the machine types, or the processor models.
    pub async fn list(&self, context: &Context) -> Result {
        let catalog = context.library.catalog(self.arch).await?;
        let names = if self.machine.as_deref() == Some("help") { catalog.machines } else { catalog.cpus };
        let row = |named: &Named| {
            let marks = [(named.usual, "usual"), (named.deprecated, "deprecated")];
            let marks: Vec<&str> = marks.into_iter().filter(|(set, _)| *set).map(|(_, mark)| mark).collect();
            vec![Cell::new(&named.name), Cell::new(marks.join(", ")), Cell::new(named.description.as_deref().unwrap_or_default())]
        };
        context.output.answer(&names, |output| output.table(&["NAME", "", "WHAT IT IS"], names.iter().map(row)))
    }

    /// As the library wants it.
    pub fn spec(&self) -> Result<CreateSpec> {
        let memory_mib = match self.memory {
            Some(Size(bytes)) if bytes < 1 << 20 => {
                return Err(Failure::new(Kind::Usage, "A machine needs at least 1 MiB of memory").with_hint("Write --memory 4GiB"));
            }
            memory => memory.map(|size| size.0 >> 20),
        };
        if matches!(self.backend, Backend::Native) {
            let message =
                "Vivarium's own virtualization framework comes with a later version; there is nothing yet that runs such a machine";
            return Err(Failure::new(ErrorKind::Unsupported, message).with_hint("Leave --backend out: QEMU runs it"));
        }
        Ok(CreateSpec {
            architecture: self.arch,
            machine: self.machine.clone(),
            os: match self.os {
                System::Linux => Os::Linux,
                System::Windows => Os::Windows,
                System::Macos => Os::MacOs,
                System::Other => Os::Other,
            },
            cpu: self.cpu.clone(),
            memory_mib,
            cpus: self.cpus,
            firmware: self.firmware.map(|firmware| match firmware {
                Boot::Uefi => Firmware::Uefi,
                Boot::Bios => Firmware::Bios,
                Boot::None => Firmware::None,
            }),
            tpm: if self.tpm { Some(true) } else { self.no_tpm.then_some(false) },
            network: self.network.clone(),
            port_forwards: self.forward.clone(),
            display: self.no_display.then_some(false),
            sound: self.no_sound.then_some(false),
            notes: self.notes.clone(),
            unchecked: self.force,
            ..CreateSpec::default()
        })
    }
}

pub async fn run(context: &Context, args: Args) -> Result {
    if args.hardware.asks_for_names() {
        return args.hardware.list(context).await;
    }
    let disks = args.disk.iter().map(|disk| match disk {
        Disk::Size(Size(bytes)) => DiskSpec::of_size(*bytes),
        Disk::File(path) => DiskSpec { source: Some(absolute(path)), ..DiskSpec::default() },
    });
    let disks: Vec<DiskSpec> = disks.collect();
    let file = |path: &Option<PathBuf>| path.as_deref().map(absolute);
    let spec = CreateSpec {
        name: args.name,
        disks: (!disks.is_empty() || args.no_disk).then_some(disks),
        isos: args.iso.iter().map(|path| absolute(path)).collect(),
        kernel: file(&args.kernel),
        initrd: file(&args.initrd),
        dtb: file(&args.dtb),
        append: args.append,
        bios: file(&args.bios),
        ..args.hardware.spec()?
    };
    let library = &context.library;
    let made = progress::run(&context.output, async |job| library.create(spec, job).await).await?;
    describe::made(&context.output, &made, "Created")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_listen_on_this_computer_only_unless_told_otherwise() {
        let forward = parse_forward("2222:22").unwrap();
        assert_eq!((forward.host_address.as_deref(), forward.host_port, forward.guest_port), (Some("127.0.0.1"), 2222, 22));
        let forward = parse_forward("udp:0.0.0.0:53:53").unwrap();
        assert_eq!((forward.protocol, forward.host_address.as_deref()), (Protocol::Udp, Some("0.0.0.0")));
        assert_eq!(parse_forward("[::1]:80:8080").unwrap().host_address.as_deref(), Some("::1"));
        for text in ["", "22", "a:b", "0:22", "70000:1"] {
            parse_forward(text).unwrap_err();
        }
    }

    #[test]
    fn disks_are_sizes_or_files() {
        assert!(matches!("64GiB".parse(), Ok(Disk::Size(Size(size))) if size == 64 << 30));
        assert!(matches!("disks/old.vmdk".parse(), Ok(Disk::File(_))));
        assert!("64".parse::<Disk>().unwrap_err().contains("needs a unit"));
    }

    #[test]
    fn architectures_go_by_several_names() {
        assert_eq!(parse_architecture("arm64"), Ok(Architecture::Aarch64));
        assert!(parse_architecture("riscv46").unwrap_err().contains("riscv64"));
    }
}
