//! Runs a machine from flags: for tests, benchmarks, and whoever wants to see how it is done.
//!
//! ```console
//! $ cargo run -p virtualization --example vmrun -- --kernel /boot/vmlinuz --initrd initrd.gz --command-line console=ttyS0
//! ```
//!
//! The serial port is on standard input and output. It exits with 0 when the guest has powered off or was saved, with 1 when something
//! failed. With `--save FILE` it saves the guest when it is told to end (SIGTERM, or Ctrl-C); with `--restore FILE` and otherwise the same
//! flags it goes on from there.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;

use anyhow::Context;
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use virtualization::{
    Access, DirectoryShare, DiskImage, EntropyDevice, Event, GdbDebugStub, GenericPlatform, LinuxBootLoader, MIB, MacAddress,
    MachineIdentifier, NatNetworkAttachment, NbdAttachment, NetworkAttachment, SerialAttachment, SharedDirectory, SocketDevice,
    StorageAttachment, TapNetworkAttachment, Uart16550, VirtioBlockDevice, VirtioFileSystemDevice, VirtioNetworkDevice, VirtualMachine,
    VirtualMachineConfiguration,
};

/// Run a virtual machine
#[derive(Parser)]
#[command(name = "vmrun")]
struct Arguments {
    /// The kernel: a bzImage or an ELF file
    #[arg(long)]
    kernel: PathBuf,
    /// The initial RAM disk
    #[arg(long)]
    initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, default_value = "console=ttyS0")]
    command_line: String,
    /// vCPUs
    #[arg(long, default_value_t = 1)]
    cpus: usize,
    /// Memory in MiB
    #[arg(long, default_value_t = 512)]
    memory: u64,
    /// Disks: PATH, or PATH,ro for one that the guest may only read; .qcow2 is qcow2, nbd://… and nbd+unix://… are exports of servers,
    /// everything else is raw
    #[arg(long = "disk")]
    disks: Vec<String>,
    /// A network card with the host's network behind it, by passt
    #[arg(long)]
    net: bool,
    /// A network card at a tap interface of the host
    #[arg(long = "tap")]
    taps: Vec<String>,
    /// PORT:PATH: connections of the guest to the host's vsock port go to the Unix socket PATH
    #[arg(long = "vsock")]
    sockets: Vec<String>,
    /// TAG=PATH, or TAG=PATH,ro for one that the guest may only read: a directory that the guest mounts by `mount -t virtiofs TAG /mnt`;
    /// TAG/NAME=PATH for one that is a directory of what the guest mounts
    #[arg(long = "share")]
    shares: Vec<String>,
    /// A source of random numbers
    #[arg(long)]
    rng: bool,
    /// A Unix socket at which GDB can debug the guest: target remote PATH
    #[arg(long)]
    gdb: Option<PathBuf>,
    /// Let the machine's threads do all that this program may, for debugging
    #[arg(long)]
    without_confinement: bool,
    /// End when the guest reboots
    #[arg(long)]
    no_reboot: bool,
    /// When told to end (SIGTERM, SIGINT), save the guest to this file first
    #[arg(long)]
    save: Option<PathBuf>,
    /// Go on with the guest that was saved to this file
    #[arg(long)]
    restore: Option<PathBuf>,
}

/// The same each time, as a guest that was saved expects: this program runs one machine.
const IDENTIFIER: [u8; 16] = *b"vmrun\0\0\x40\x80vmrun\0\0";

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmrun: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn configuration(arguments: &Arguments) -> anyhow::Result<VirtualMachineConfiguration> {
    let mut loader = LinuxBootLoader::new(&arguments.kernel).command_line(&arguments.command_line);
    if let Some(initrd) = &arguments.initrd {
        loader = loader.initial_ramdisk(initrd);
    }
    let input = std::io::stdin().as_fd().try_clone_to_owned().context("Could not take standard input")?;
    let output = std::io::stdout().as_fd().try_clone_to_owned().context("Could not take standard output")?;

    let mut configuration = VirtualMachineConfiguration::new();
    let machine_identifier = MachineIdentifier::from_data_representation(&IDENTIFIER).context("The identifier is none")?;
    configuration.platform = GenericPlatform { machine_identifier, ..GenericPlatform::default() }.into();
    configuration.cpu_count = arguments.cpus;
    configuration.memory_size = arguments.memory.saturating_mul(MIB);
    configuration.boot_loader = Some(loader.into());
    configuration.serial_ports = vec![Uart16550::new(SerialAttachment::file_handles(Some(input), Some(output))).into()];
    for disk in &arguments.disks {
        let (path, access) = disk.strip_suffix(",ro").map_or((disk.as_str(), Access::ReadWrite), |path| (path, Access::ReadOnly));
        let attachment: StorageAttachment =
            if path.contains("://") { NbdAttachment::new(path).access(access).into() } else { DiskImage::open(path, access)?.into() };
        configuration.storage_devices.push(VirtioBlockDevice::new(attachment).into());
    }
    let nat = arguments.net.then(|| NetworkAttachment::from(NatNetworkAttachment::new()));
    let taps = arguments.taps.iter().map(|name| TapNetworkAttachment::interface(name).into());
    for (last, attachment) in (b'n'..).zip(nat.into_iter().chain(taps)) {
        // The same each time, too.
        let address = MacAddress::new([0x02, b'v', b'm', b'r', b'u', last]);
        configuration.network_devices.push(VirtioNetworkDevice::new(attachment).mac_address(address).into());
    }
    if !arguments.sockets.is_empty() {
        configuration.socket_devices.push(SocketDevice::Virtio);
    }
    configuration.debug_stub = arguments.gdb.as_ref().map(GdbDebugStub::unix);
    let mut several: BTreeMap<&str, BTreeMap<String, SharedDirectory>> = BTreeMap::new();
    for share in &arguments.shares {
        let (tag, path) = share.split_once('=').context("A share is TAG=PATH or TAG/NAME=PATH")?;
        let directory = path.strip_suffix(",ro").map_or_else(|| SharedDirectory::new(path), SharedDirectory::read_only);
        match tag.split_once('/') {
            Some((tag, name)) => {
                let known = several.entry(tag).or_default().insert(name.to_owned(), directory);
                anyhow::ensure!(known.is_none(), "Two shares are {tag}/{name}");
            }
            None => configuration.directory_sharing_devices.push(VirtioFileSystemDevice::new(tag, directory).into()),
        }
    }
    for (tag, directories) in several {
        configuration.directory_sharing_devices.push(VirtioFileSystemDevice::new(tag, DirectoryShare::Multiple(directories)).into());
    }
    if arguments.rng {
        configuration.entropy_devices.push(EntropyDevice::Virtio);
    }
    Ok(if arguments.without_confinement { configuration.without_confinement() } else { configuration })
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let machine = VirtualMachine::new(configuration(arguments)?)?;
    for socket in &arguments.sockets {
        forward(&machine, socket)?;
    }
    let (sender, happenings) = channel();
    let (events, told) = (machine.events(), sender.clone());
    std::thread::spawn(move || events.for_each(|event| drop(told.send(Happening::Event(event)))));
    if arguments.save.is_some() {
        let mut signals = Signals::new([SIGTERM, SIGINT]).context("Could not wait for signals")?;
        std::thread::spawn(move || signals.forever().for_each(|_| drop(sender.send(Happening::ToldToEnd))));
    }
    match &arguments.restore {
        Some(path) => {
            machine.restore_machine_state_from(path).wait()?;
            machine.resume().wait()?;
        }
        None => machine.start().wait()?,
    }
    for happening in happenings {
        let said = match (happening, &arguments.save) {
            (Happening::ToldToEnd, Some(path)) => {
                machine.pause().wait()?;
                machine.save_machine_state_to(path).wait()?;
                return say("the guest was saved");
            }
            (Happening::Event(Event::GuestStopped), _) => {
                return say("the guest powered off");
            }
            (Happening::Event(Event::StoppedWithError(error)), _) => anyhow::bail!("The machine stopped: {error}"),
            (Happening::Event(Event::GuestRebooted), _) if arguments.no_reboot => {
                return say("the guest rebooted");
            }
            (Happening::Event(Event::GuestRebooted), _) => "the guest rebooted",
            (Happening::Event(Event::GuestPanicked), _) => "the guest panicked",
            (Happening::Event(Event::DirectorySharingFailed { error, .. }), _) => {
                let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                say(&format!("{error}: {why}"))?;
                continue;
            }
            _ => continue,
        };
        say(said)?;
    }
    Ok(())
}

/// What there is to react to.
enum Happening {
    Event(Event),
    ToldToEnd,
}

/// Hands connections to a port of the host over to whoever listens at a path.
fn forward(machine: &VirtualMachine, socket: &str) -> anyhow::Result<()> {
    let (port, path) = socket.split_once(':').context("A socket is PORT:PATH")?;
    let port = port.parse().context("The port of a socket is not a number")?;
    let device = machine.socket_devices().into_iter().next().context("The machine has no socket device")?;
    let listener = device.listen(port)?;
    let path = PathBuf::from(path);
    std::thread::spawn(move || {
        for connection in listener {
            match UnixStream::connect(&path).and_then(|program| join(connection.stream(), &program)) {
                Ok(()) => {}
                Err(error) => eprintln!("vmrun: port {port}: {error}: {}", path.display()),
            }
        }
    });
    Ok(())
}

/// Copies both ways until each side has ended.
fn join(one: &UnixStream, other: &UnixStream) -> std::io::Result<()> {
    for (from, to) in [(one, other), (other, one)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || {
            // What ends early ends for both.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

fn say(what: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "vmrun: {what}").context("Could not write to standard error")
}
