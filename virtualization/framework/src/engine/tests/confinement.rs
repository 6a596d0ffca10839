//! Threads of a machine are confined, and nobody else's.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;

use super::super::virtiofsd;
use super::*;

/// Names of this process's threads that are a machine's, and whether each is filtered. Of several with one name all have to be.
fn threads() -> BTreeMap<String, bool> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // One may have ended meanwhile.
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let name = field("Name:");
        if name.starts_with("vm-") || name.starts_with("vcpu-") {
            let is_filtered = field("Seccomp:") == "2" && field("NoNewPrivs:") == "1";
            threads.entry(name).and_modify(|all| *all &= is_filtered).or_insert(is_filtered);
        }
    }
    threads
}

/// A machine with one of everything that has a thread.
fn everything(configuration: &mut VirtualMachineConfiguration, disk: &tempfile::NamedTempFile) {
    let serial = || SerialAttachment::file_handles(None, None);
    configuration.storage_devices = vec![VirtioBlockDevice::new(DiskImage::open(disk.path(), Access::ReadWrite).unwrap()).into()];
    configuration.serial_ports = vec![VirtioConsoleSerialPort { attachment: serial() }.into(), Uart16550::new(serial()).into()];
    configuration.network_devices =
        vec![VirtioNetworkDevice::new(FileHandleNetworkAttachment::new(UnixDatagram::pair().unwrap().0)).into()];
    configuration.entropy_devices = vec![EntropyDevice::Virtio];
    configuration.memory_balloon_devices = vec![MemoryBalloonDevice::Virtio];
    configuration.socket_devices = vec![SocketDevice::Virtio];
    match virtiofsd::program() {
        Ok(_) => configuration.directory_sharing_devices = vec![VirtioFileSystemDevice::new("tmp", SharedDirectory::new("/tmp")).into()],
        Err(error) => eprintln!("skipped: shared directories: {error}"),
    }
}

const CONFINED: [&str; 8] = ["vm-control", "vm-events", "vm-console", "vm-block-0", "vm-block-2", "vcpu-0", "vcpu-1", "vcpu-2"];

#[test]
fn every_thread_of_a_machine_is_confined_unless_somebody_does_not_want_it() {
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(MIB).unwrap();
    let Setup { hypervisor, machine, mut events, kernel: _kernel } = machine_with(|configuration| everything(configuration, &disk));
    assert!(machine.confinement().system_calls, "the tests need a kernel with seccomp");
    machine.start().wait().unwrap();
    let check = || {
        let threads = threads();
        assert!(CONFINED.iter().all(|name| threads.get(*name) == Some(&true)), "{threads:?}");
        assert!(threads.iter().all(|(name, is_filtered)| *is_filtered == (name != "vm-outside")), "{threads:?}");
    };
    check();
    // A reboot opens everything again.
    hypervisor.then(port_write(layout::RESET_PORT, layout::RESET_VALUE));
    let (_, event) = states_until_event(&mut events);
    assert!(matches!(event, Event::GuestRebooted), "{event:?}");
    check();
    machine.stop().wait().unwrap();
    machine.start().wait().unwrap();
    check();
    // The program's own threads, such as this one, are as they were.
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(own.contains("Seccomp:\t0\n") && own.contains("NoNewPrivs:\t0\n"), "{own}");
    drop(machine);

    let Setup { machine, kernel: _kernel, .. } = machine_with(|configuration| {
        everything(configuration, &disk);
        *configuration = configuration.clone().without_confinement();
    });
    assert_eq!(machine.confinement(), ConfinementStatus::default());
    machine.start().wait().unwrap();
    let threads = threads();
    assert!(CONFINED.iter().all(|name| threads.get(*name) == Some(&false)), "{threads:?}");
}
