//! What `validate` finds.

use std::os::unix::net::{UnixDatagram, UnixStream};

use super::*;

fn file(bytes: usize) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(bytes as u64).unwrap();
    file
}

fn valid(kernel: &tempfile::NamedTempFile) -> VirtualMachineConfiguration {
    let mut configuration = VirtualMachineConfiguration::new();
    configuration.memory_size = 64 * MIB;
    configuration.boot_loader = Some(LinuxBootLoader::new(kernel.path()).into());
    configuration
}

fn places(configuration: &VirtualMachineConfiguration) -> Vec<String> {
    let problems = configuration.validate().err();
    problems.iter().flat_map(|error| error.problems()).map(|problem| problem.path.clone()).collect()
}

#[test]
fn a_kernel_is_all_that_a_machine_needs() {
    assert_eq!(valid(&file(1)).validate(), Ok(()));
    assert_eq!(places(&VirtualMachineConfiguration::new()), ["boot_loader"]);
}

#[test]
fn what_cannot_be_saved_is_named_with_its_place() {
    let mut configuration = valid(&file(1));
    configuration.socket_devices = vec![SocketDevice::Virtio];
    assert_eq!(configuration.validate_save_restore_support(), Ok(()));
    let share = VirtioFileSystemDevice::new("home", SharedDirectory::new("/"));
    configuration.directory_sharing_devices = vec![share.clone().into(), share.into()];
    let error = configuration.validate_save_restore_support().unwrap_err();
    let places: Vec<&str> = error.problems().iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(places, ["directory_sharing_devices[0]", "directory_sharing_devices[1]"]);
}

#[test]
fn everything_wrong_is_found_at_once() {
    let image = file(1000);
    let mut configuration = VirtualMachineConfiguration::new();
    configuration.cpu_count = 65;
    configuration.memory_size = 33 * MIB + 1;
    let loader = LinuxBootLoader::new("/nowhere/vmlinuz").initial_ramdisk("/").command_line("x".repeat(COMMAND_LINE_MAXIMUM + 1));
    configuration.boot_loader = Some(loader.into());
    let disk = DiskImage::open(image.path(), Access::ReadOnly).unwrap();
    configuration.storage_devices = vec![VirtioBlockDevice::new(disk).identifier("a serial number that is too long").into()];
    let (here, _there) = UnixStream::pair().unwrap();
    let broadcast = MacAddress::new([0xff; 6]);
    let attachment = FileHandleNetworkAttachment::new(here).maximum_transmission_unit(1499);
    configuration.network_devices = vec![VirtioNetworkDevice::new(attachment).mac_address(broadcast).into()];
    configuration.memory_balloon_devices = vec![MemoryBalloonDevice::Virtio; 2];
    configuration.socket_devices = vec![SocketDevice::Virtio; 2];
    configuration.console_devices = vec![VirtioConsoleDevice::default().into()];
    let share = DirectoryShare::Multiple([("a/b".to_owned(), SharedDirectory::new("/nowhere"))].into());
    configuration.directory_sharing_devices = vec![VirtioFileSystemDevice::new("", share).into()];
    assert_eq!(
        places(&configuration),
        [
            "cpu_count",
            "memory_size",
            "boot_loader.kernel",
            "boot_loader.initial_ramdisk",
            "boot_loader.command_line",
            "storage_devices[0].identifier",
            "storage_devices[0].attachment",
            "network_devices[0].mac_address",
            "network_devices[0].attachment.maximum_transmission_unit",
            "network_devices[0].attachment.socket",
            "console_devices[0].maximum_port_count",
            "directory_sharing_devices[0].tag",
            "directory_sharing_devices[0].share[a/b]",
            "directory_sharing_devices[0].share[a/b]",
            "memory_balloon_devices",
            "socket_devices",
        ]
    );
}

#[test]
fn a_kernel_must_be_a_file_with_something_in_it() {
    let empty = file(0);
    for kernel in [empty.path(), std::path::Path::new("/")] {
        let mut configuration = valid(&file(1));
        configuration.boot_loader = Some(LinuxBootLoader::new(kernel).into());
        assert_eq!(places(&configuration), ["boot_loader.kernel"], "{}", kernel.display());
    }
}

#[test]
fn a_disk_that_shrank_since_it_was_opened_is_found() {
    let (kernel, image) = (file(1), file(1024));
    let mut configuration = valid(&kernel);
    configuration.storage_devices = vec![VirtioBlockDevice::new(DiskImage::open(image.path(), Access::ReadWrite).unwrap()).into()];
    assert_eq!(places(&configuration), [""; 0]);
    image.as_file().set_len(0).unwrap();
    assert_eq!(places(&configuration), ["storage_devices[0].attachment"]);
}

#[test]
fn a_file_that_is_written_to_is_one_disks() {
    let (kernel, image) = (file(1), file(1024));
    let mut configuration = valid(&kernel);
    let disk = |access| VirtioBlockDevice::new(DiskImage::open(image.path(), access).unwrap()).into();
    configuration.storage_devices = vec![disk(Access::ReadOnly), disk(Access::ReadOnly)];
    assert_eq!(places(&configuration), [""; 0]);
    for (first, second) in [(Access::ReadOnly, Access::ReadWrite), (Access::ReadWrite, Access::ReadOnly)] {
        configuration.storage_devices = vec![disk(first), disk(second)];
        assert_eq!(places(&configuration), ["storage_devices[1].attachment"]);
    }
}

#[test]
fn a_network_socket_must_be_a_connected_one_for_datagrams() {
    let kernel = file(1);
    let (here, _there) = UnixDatagram::pair().unwrap();
    let sockets = [(here, true), (UnixDatagram::unbound().unwrap(), false)];
    for (socket, is_fine) in sockets {
        let mut configuration = valid(&kernel);
        configuration.network_devices = vec![VirtioNetworkDevice::new(FileHandleNetworkAttachment::new(socket)).into()];
        assert_eq!(configuration.validate().is_ok(), is_fine);
    }
}

#[test]
fn what_must_differ_is_compared() {
    let kernel = file(1);
    let mut configuration = valid(&kernel);
    let card = || VirtioNetworkDevice::new(NatNetworkAttachment::new()).mac_address(MacAddress::new([2, 0, 0, 0, 0, 1]));
    configuration.network_devices = vec![card().into(), card().into()];
    let share = || VirtioFileSystemDevice::new("home", SharedDirectory::new("/"));
    configuration.directory_sharing_devices = vec![share().into(), share().into()];
    let uart = || Uart16550::new(SerialAttachment::default());
    configuration.serial_ports = vec![uart().into(), uart().into()];
    assert_eq!(places(&configuration), ["serial_ports[1]", "network_devices[1].mac_address", "directory_sharing_devices[1].tag"]);
}

#[test]
fn the_bus_has_room_for_so_many_devices() {
    let kernel = file(1);
    let mut configuration = valid(&kernel);
    configuration.entropy_devices = vec![EntropyDevice::Virtio; PCI_SLOTS];
    assert_eq!(configuration.validate(), Ok(()));
    configuration.memory_balloon_devices = vec![MemoryBalloonDevice::Virtio];
    assert_eq!(places(&configuration), ["devices"]);
}

#[test]
fn tags_and_names_are_checked_and_names_made_fit() {
    assert_eq!(VirtioFileSystemDevice::validate_tag(VirtioFileSystemDevice::MACOS_GUEST_AUTOMOUNT_TAG), Ok(()));
    for tag in ["", "a\0b", &"x".repeat(TAG_MAXIMUM + 1)] {
        assert!(VirtioFileSystemDevice::validate_tag(tag).is_err(), "{tag}");
    }
    let long = "ä".repeat(200);
    for (name, canonical) in [("docs", "docs"), ("a/b\0c", "a_b_c"), ("..", "__"), (&long, &"ä".repeat(127))] {
        assert_eq!(DirectoryShare::canonicalized_name(name).as_deref(), Some(canonical));
        assert_eq!(DirectoryShare::validate_name(canonical), Ok(()));
        assert_eq!(DirectoryShare::validate_name(name).is_ok(), name == canonical);
    }
    assert_eq!(DirectoryShare::canonicalized_name(""), None);
}

#[test]
fn virtual_machines_in_the_guest_need_a_host_that_has_them() {
    let kernel = file(1);
    let mut configuration = valid(&kernel);
    configuration.platform = GenericPlatform { nested_virtualization_enabled: true, ..GenericPlatform::default() }.into();
    let expected =
        if GenericPlatform::is_nested_virtualization_supported() { &[][..] } else { &["platform.nested_virtualization_enabled"] };
    assert_eq!(places(&configuration), expected);
}

#[test]
fn a_tap_and_its_queues_are_checked() {
    let kernel = file(1);
    let mut configuration = valid(&kernel);
    let card = |name: &str| VirtioNetworkDevice::new(TapNetworkAttachment::interface(name).maximum_transmission_unit(9000));
    configuration.network_devices = vec![card("tap0").queue_pairs(4).into()];
    assert_eq!(configuration.validate(), Ok(()));
    let none = VirtioNetworkDevice::new(TapNetworkAttachment::descriptors([]));
    configuration.network_devices = vec![card("a/b").queue_pairs(0).into(), card("sixteen letters!").queue_pairs(17).into(), none.into()];
    assert_eq!(
        places(&configuration),
        [
            "network_devices[0].queue_pairs",
            "network_devices[0].attachment.interface",
            "network_devices[1].queue_pairs",
            "network_devices[1].attachment.interface",
            "network_devices[2].attachment.descriptors",
        ]
    );
}
