//! Devices, as a real driver uses them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use virtualization::{
    Access, DiskImage, EntropyDevice, ErrorKind, Event, FileHandleNetworkAttachment, MIB, MemoryBalloonDevice, NatNetworkAttachment,
    SerialAttachment, SocketDevice, TapNetworkAttachment, VirtioBlockDevice, VirtioConsoleDevice, VirtioConsolePort, VirtioNetworkDevice,
};

use crate::guest::{Guest, skip};

fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (reader.into(), writer.into())
}

fn qemu_img(arguments: &[&str], path: &Path) {
    let done = Command::new("qemu-img").args(arguments).arg(path).output().expect("qemu-img, which cargo xtask setup installs");
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn disks_hold_what_was_written_across_a_power_off() {
    let Some(mut guest) = Guest::prepare() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (raw, qcow2) = (folder.path().join("disk.raw"), folder.path().join("disk.qcow2"));
    std::fs::write(&raw, vec![0; 16 << 20]).unwrap();
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", "size=16M"], &qcow2);
    let disk = |path: &Path, access| VirtioBlockDevice::new(DiskImage::open(path, access).unwrap());
    guest.configuration.storage_devices =
        vec![disk(&raw, Access::ReadWrite).identifier("first").into(), disk(&qcow2, Access::ReadWrite).into()];
    guest.configuration.entropy_devices = vec![EntropyDevice::Virtio];
    guest.start("quiet");
    guest.run("echo serial $(cat /sys/block/vda/serial)", "serial first");
    guest.run("dd if=/dev/urandom of=/dev/vda bs=1M count=16 conv=fsync; echo written $?", "written 0");
    guest.run("dd if=/dev/vda of=/dev/vdb bs=1M conv=fsync; echo copied $?", "copied 0");
    let sum = guest.run("md5sum /dev/vda", "  /dev/vda");
    // Who has it open to write has it alone, also where the same configuration is started twice.
    for storage in [vec![disk(&raw, Access::ReadOnly).into()], guest.configuration.storage_devices.clone()] {
        let mut other = guest.configuration.clone();
        other.storage_devices = storage;
        let error = guest.start_another(other).unwrap_err();
        assert!(error.to_string().contains("locked by another process"), "{error}");
    }
    guest.power_off();

    drop(guest);
    let Some(mut guest) = Guest::prepare() else { return };
    guest.configuration.storage_devices = vec![disk(&raw, Access::ReadOnly).into(), disk(&qcow2, Access::ReadWrite).into()];
    guest.start("quiet");
    guest.run("md5sum /dev/vda", &sum);
    guest.run("md5sum /dev/vdb", &sum.replace("vda", "vdb"));
    guest.run("dd if=/dev/zero of=/dev/vda count=1 conv=fsync; echo denied $?", "denied 1");
    guest.run("blkdiscard -o 1048576 -l 1048576 /dev/vdb; echo discarded $?", "discarded 0");
    guest.power_off();
    drop(guest);
    qemu_img(&["check", "-q"], &qcow2);
}

#[test]
fn a_guest_reaches_the_host_through_the_network() {
    let Some(mut guest) = Guest::prepare() else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        // All of it: what is left unread at the end becomes a reset.
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        let page = "served by the host\n".repeat(5000);
        write!(connection, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len()).unwrap();
    });
    guest.configuration.network_devices = vec![VirtioNetworkDevice::new(NatNetworkAttachment::new()).into()];
    guest.start_only("quiet vivarium.net");
    guest.wait_for("vivarium network eth0 10.0.2.15/24");
    guest.wait_for("vivarium guest ready");
    guest.run(&format!("wget -q -O - http://10.0.2.2:{port}/ | grep -c 'served by the host'"), "5000");
    serving.join().unwrap();

    // The cable is unplugged and plugged in again, elsewhere.
    let card = guest.machine().network_devices().remove(0);
    card.set_attachment(None).unwrap();
    guest.run("until grep -q 0 /sys/class/net/eth0/carrier; do sleep 0.1; done; echo cable $((1 + 1))", "cable 2");
    let (here, there) = std::os::unix::net::UnixDatagram::pair().unwrap();
    card.set_attachment(Some(FileHandleNetworkAttachment::new(here).into())).unwrap();
    guest.run("until grep -q 1 /sys/class/net/eth0/carrier; do sleep 0.1; done; echo cable $((2 + 1))", "cable 3");
    guest.type_line("ping -c 1 -W 1 10.0.2.77 >/dev/null");
    let mut frame = [0; 2000];
    loop {
        let length = there.recv(&mut frame).unwrap();
        // An ARP request for that address.
        if frame[12..14] == [8, 6] && frame[..length].windows(4).any(|bytes| bytes == [10, 0, 2, 77]) {
            break;
        }
    }
    guest.power_off();
}

/// The other side is this computer, which is the emulated Linux where there is no KVM: its tap interface is there for whoever is root.
#[test]
fn a_tap_carries_what_is_cut_and_summed_by_the_host() {
    let Some(mut guest) = Guest::prepare() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("not possible here: only root may make a tap interface");
        return;
    }
    let interface = "vivtest0";
    let attachment = TapNetworkAttachment::interface(interface);
    guest.configuration.cpu_count = 2;
    guest.configuration.network_devices = vec![VirtioNetworkDevice::new(attachment).queue_pairs(2).into()];
    guest.start("quiet");
    for arguments in [&["addr", "add", "198.51.100.1/24", "dev", interface][..], &["link", "set", interface, "up"]] {
        let done = Command::new("ip").args(arguments).output().expect("the program ip");
        assert!(done.status.success(), "{done:?}");
    }
    let server = TcpListener::bind("198.51.100.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let mut sum = 0_u64;
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).unwrap();
        bytes.iter().for_each(|byte| sum += u64::from(*byte));
        (bytes.len(), sum)
    });
    guest.run("ip link set eth0 up; ip addr add 198.51.100.2/24 dev eth0; echo up $?", "up 0");
    guest.run("ls -d /sys/class/net/eth0/queues/rx-* | wc -l | sed 's/^/queues /'", "queues 2");
    guest.run(&format!("yes | head -c 4000000 | nc 198.51.100.1 {port}; echo sent $((20 + 3))"), "sent 23");
    assert_eq!(serving.join().unwrap(), (4_000_000, 2_000_000 * (u64::from(b'y') + u64::from(b'\n'))));
    guest.power_off();
}

#[test]
fn a_balloon_takes_memory_and_gives_it_back() {
    let Some(mut guest) = Guest::prepare() else { return };
    guest.configuration.memory_balloon_devices = vec![MemoryBalloonDevice::Virtio];
    guest.start("quiet");
    let balloon = guest.machine().memory_balloon_devices().remove(0);
    let free = r#"until free -m | awk '/Mem:/ {exit !($4 CONDITION)}'; do sleep 0.1; done; echo 'memory' LABEL"#;
    for (mib, condition, label) in [(512, "> 300", "there"), (300, "< 260", "taken"), (512, "> 300", "back")] {
        balloon.set_target_virtual_machine_memory_size(mib * MIB);
        guest.run(&free.replace("CONDITION", condition).replace("LABEL", label), &format!("memory {label}"));
    }
    assert_eq!(balloon.target_virtual_machine_memory_size(), 512 * MIB);
    let statistics = balloon.statistics().wait().unwrap();
    let (free, total) = (statistics.free.unwrap(), statistics.total.unwrap());
    assert!((400 * MIB..512 * MIB).contains(&total) && free < total, "{statistics:?}");
    guest.power_off();
}

#[test]
fn consoles_and_named_ports_carry_what_is_written() {
    let Some(mut guest) = Guest::prepare() else { return };
    let ((mut heard, output), (input, mut host)) = (pipe(), pipe());
    let port = VirtioConsolePort {
        name: Some("org.example.test".to_owned()),
        is_console: false,
        attachment: Some(SerialAttachment::file_handles(Some(input.into()), Some(output.into()))),
    };
    guest.configuration.console_devices = vec![VirtioConsoleDevice { ports: [(1, port)].into(), maximum_port_count: None }.into()];
    guest.start("quiet");
    guest.run("cat /sys/class/virtio-ports/vport*/name", "org.example.test");
    guest.type_line("exec 3<>/dev/vport0p1; echo to the host >&3");
    assert!(matches!(guest.event(), Event::ConsolePortOpened { device: 0, port: 1 }));
    let mut said = [0; 12];
    heard.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"to the host\n");
    host.write_all(b"to the guest\n").unwrap();
    guest.run("read line <&3; echo heard $line", "heard to the guest");
    // Another attachment, while it is open.
    let ((mut heard, output), (input, mut host)) = (pipe(), pipe());
    let port = guest.machine().console_devices()[0].port(1).unwrap();
    port.set_attachment(Some(SerialAttachment::file_handles(Some(input.into()), Some(output.into())))).unwrap();
    host.write_all(b"to the guest again\n").unwrap();
    guest.run("read line <&3; echo heard $line; echo to the host >&3", "heard to the guest again");
    heard.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"to the host\n");
    guest.type_line("exec 3>&-");
    assert!(matches!(guest.event(), Event::ConsolePortClosed { device: 0, port: 1 }));
    guest.power_off();
}

#[test]
fn programs_of_guest_and_host_connect_by_sockets() {
    let Some(mut guest) = Guest::prepare() else { return };
    let Some(probe) = std::env::var_os("VIVARIUM_GUEST_PROBE") else {
        skip("skipped", "cargo xtask test builds the program for this and says in VIVARIUM_GUEST_PROBE where it is");
        return;
    };
    // It gets into the guest on a disk.
    let mut program = std::fs::read(probe).unwrap();
    program.resize(program.len().next_multiple_of(512), 0);
    let mut image = tempfile::NamedTempFile::new().unwrap();
    image.write_all(&program).unwrap();
    guest.configuration.storage_devices = vec![VirtioBlockDevice::new(DiskImage::open(image.path(), Access::ReadOnly).unwrap()).into()];
    guest.configuration.socket_devices = vec![SocketDevice::Virtio];
    guest.start("quiet");
    guest.run("cat /dev/vda > /run/probe; chmod +x /run/probe; echo there $?", "there 0");

    let sockets = guest.machine().socket_devices().remove(0);
    let mut listener = sockets.listen(5000).unwrap();
    assert_eq!(sockets.listen(5000).unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(sockets.connect(6000).wait().unwrap_err().kind(), ErrorKind::Network);
    guest.type_line("/run/probe connect 5000");
    let connection = listener.next().unwrap();
    assert_eq!(connection.destination_port(), 5000);
    let mut said = [0; 20];
    connection.stream().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello from the guest");
    connection.stream().write_all(&vec![b'x'; 1 << 20]).unwrap();
    drop(connection);
    guest.wait_for("received 1048576");

    guest.run("/run/probe listen 6000 &", "listening at 6000");
    let connection = sockets.connect(6000).wait().unwrap();
    let sent: Vec<u8> = (0..1_u32 << 20).map(|index| (index % 251) as u8).collect();
    let mut writer = connection.stream().try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut echoed = Vec::new();
    connection.stream().read_to_end(&mut echoed).unwrap();
    writing.join().unwrap();
    assert!(echoed == sent, "{} of {} bytes came back, or not the same ones", echoed.len(), sent.len());
    guest.power_off();
}
