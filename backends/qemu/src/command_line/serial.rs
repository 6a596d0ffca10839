//! Serial ports.
//!
//! A port of mode `Terminal` is a socket that anybody may open and leave; what the guest says meanwhile is in a log, which QEMU writes
//! through a descriptor. Of a pseudo-terminal, QEMU itself says where it is once it has made it.

use bundle::Problem;
use bundle::qemu::{Serial, SerialMode, SerialTarget};

use super::builder::{Builder, escaped, printable};
use super::result::{Access, Awaited, PortDevice, SerialSocket, Subject, descriptor_set};
use crate::facts::BusKind;

/// What makes pseudo-terminals, and where they are then.
const PTY_MULTIPLEXER: &str = "/dev/ptmx";
const PTY_FOLDER: &str = "/dev/pts";

/// More ports than this no machine has on its own.
const MAX_AUTOMATIC: usize = 4;

pub(super) fn add(b: &mut Builder<'_>) {
    let mut automatic = 0;
    for (index, serial) in b.configuration().serials.iter().enumerate() {
        let key = format!("Serial[{index}]");
        if serial.target == SerialTarget::Auto {
            automatic += 1;
            if automatic > MAX_AUTOMATIC {
                let problem =
                    Problem::fatal(format!("{key}.Target"), format!("a machine has at most {MAX_AUTOMATIC} serial ports of its own"));
                b.report(problem.with_hint("use the target Manual with a device"));
                continue;
            }
        }
        if chardev(b, index, serial, &key) {
            target(b, index, serial, &key);
        }
    }
}

fn chardev(b: &mut Builder<'_>, index: usize, serial: &Serial, key: &str) -> bool {
    let id = format!("term{index}");
    let value = match serial.mode {
        SerialMode::Terminal => {
            let (fd, path) = b.listening(&format!("serial{index}.sock"));
            let log = b.request.paths.logs.join(format!("serial{index}.log"));
            let set = b.handed_over(Subject::Serial, &log, Access::Append, &format!("log of serial port {index}"));
            let name = descriptor_set(set);
            b.out.sockets.serials.push(SerialSocket { serial: index, path, log });
            format!("socket,id={id},fd={fd},server=on,wait=off,logfile={name},logappend=on")
        }
        SerialMode::TcpClient | SerialMode::TcpServer => {
            let port = serial.tcp_port.unwrap_or(1234);
            let Some(port) = u16::try_from(port).ok().filter(|port| *port > 0) else {
                b.fatal(format!("{key}.TcpPort"), format!("{port} is not a port"));
                return false;
            };
            b.out.makes.internet = true;
            if serial.mode == SerialMode::TcpClient {
                let host = serial.tcp_host_address.as_deref().map(str::trim).unwrap_or_default();
                if host.is_empty() {
                    let problem =
                        Problem::fatal(format!("{key}.TcpHostAddress"), "a serial port that connects to a server needs its address");
                    b.report(problem.with_hint("set the address of the server"));
                    return false;
                }
                let message = format!("the port is connected once something listens on port {port} of {}", printable(host));
                b.note(format!("{key}.TcpHostAddress"), message);
                format!("socket,id={id},port={port},host={},server=off{}", escaped(host), again(b))
            } else {
                let anybody = serial.remote_connection_allowed == Some(true);
                if anybody {
                    b.note(
                        format!("{key}.RemoteConnectionAllowed"),
                        format!("other computers can connect to port {port}, without a password"),
                    );
                }
                let host = if anybody { "0.0.0.0" } else { "127.0.0.1" };
                // With `wait=on` QEMU would not even say over QMP that it waits.
                if serial.wait_for_connection == Some(true) {
                    let message = format!("the guest runs only when something has connected to port {port}");
                    b.note(format!("{key}.WaitForConnection"), message);
                    b.out.awaited.push(Awaited { chardev: id.clone(), port });
                }
                format!("socket,id={id},port={port},host={host},server=on,wait=off")
            }
        }
        SerialMode::Ptty => {
            b.file(PTY_MULTIPLEXER, Access::ReadWrite);
            b.file(PTY_FOLDER, Access::ReadWrite);
            b.out.makes.pseudo_terminals = true;
            b.out.pseudo_terminals.push(PortDevice { serial: index, chardev: id.clone() });
            format!("pty,id={id}")
        }
    };
    b.option(Subject::Serial, "-chardev", value);
    true
}

/// How a client tries again. Without it QEMU would wait for the server before it does anything else, minutes for one that does not answer, and
/// end where there is none.
fn again(b: &Builder<'_>) -> &'static str {
    // The first is newer, the second gone one day.
    let known = [("reconnect-ms", ",reconnect-ms=1000"), ("reconnect", ",reconnect=1")];
    known.into_iter().find(|(parameter, _)| b.emulator().has_parameter("chardev", parameter)).map_or("", |(_, text)| text)
}

fn target(b: &mut Builder<'_>, index: usize, serial: &Serial, key: &str) {
    let id = format!("term{index}");
    match serial.target {
        SerialTarget::Auto => b.option(Subject::Serial, "-serial", format!("chardev:{id}")),
        SerialTarget::Monitor => b.option(Subject::Serial, "-mon", format!("chardev={id},mode=readline")),
        SerialTarget::Gdb => b.option(Subject::Serial, "-gdb", format!("chardev:{id}")),
        SerialTarget::Manual => manual(b, index, serial, key),
    }
}

fn manual(b: &mut Builder<'_>, index: usize, serial: &Serial, key: &str) {
    let key = format!("{key}.Hardware");
    let Some(hardware) = serial.hardware.as_deref().filter(|hardware| !hardware.is_empty()) else {
        return b.report(Problem::fatal(key, "a serial port with the target Manual needs a device").with_hint("pci-serial, for instance"));
    };
    if !b.exists(&key, hardware) {
        return;
    }
    // A controller is no port: its first port is meant.
    let (device, subject) = if hardware.starts_with("virtio-serial") || hardware == "virtserialport" || hardware == "virtconsole" {
        let device = if hardware.starts_with("virtio-serial") { "virtconsole" } else { hardware };
        match b.virtio_serial(Subject::Serial) {
            Some(bus) => (format!("{device},bus={bus}"), Subject::Serial),
            None => {
                let target = b.target();
                return b.fatal(key, format!("the machine {target} has no bus for virtio"));
            }
        }
    } else {
        if let Err(kind) = b.fits(hardware) {
            let target = b.target();
            return b.fatal(key, format!("the machine {target} has no {} bus for {}", kind.name(), printable(hardware)));
        }
        match (b.emulator().bus_of(hardware), b.usb_bus.clone()) {
            (Some(BusKind::Usb), Some(bus)) => (format!("{hardware},bus={bus}"), Subject::Usb),
            _ => (hardware.to_owned(), Subject::Serial),
        }
    };
    let property = if hardware.ends_with("-2x") || hardware.ends_with("-4x") { "chardev1" } else { "chardev" };
    b.device(subject, format!("{device},{property}=term{index}"));
}
