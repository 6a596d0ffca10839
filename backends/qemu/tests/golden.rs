//! Whole command lines, one file each. A change of these is a change of what guests see: read the diff.

mod synthetic;

use bundle::Architecture;
use bundle::qemu::{
    DirectoryShareMode, Display, DriveInterface, ImageType, NetworkMode, PortForward, Protocol, Serial, SerialMode, SerialTarget, Sound,
    UsbBusSupport,
};
use insta::assert_snapshot;
use synthetic::{Case, board, q35};

use backend_qemu::command_line::Layer;
use backend_qemu::facts::{BusKind, Decision};

const DISK: &str = "B5B5B5B5-0000-4000-8000-000000000001";
const CD: &str = "C0C0C0C0-0000-4000-8000-000000000002";

fn pc() -> Case {
    let mut case = Case::new(Architecture::X86_64, "q35");
    case.board = Some(q35());
    case.configuration.system.memory_size = 4096;
    case
}

fn bare() -> Case {
    let mut case = pc();
    case.configuration.displays.clear();
    case.configuration.networks.clear();
    case.configuration.sounds.clear();
    case.configuration.serials.clear();
    case.configuration.qemu.uefi_boot = false;
    case.configuration.sharing.clipboard_sharing = false;
    case.configuration.sharing.directory_share_mode = DirectoryShareMode::None;
    case
}

#[test]
fn example_a_pc_with_a_cd_inserted() {
    let mut case = pc();
    case.external(CD, ImageType::Cd, DriveInterface::Ide, Some("/home/me/Downloads/install, final.iso"));
    case.drive(DISK, ImageType::Disk, DriveInterface::Ide, "qcow2");
    case.configuration.input.usb_sharing = true;
    assert_snapshot!(case.text());
}

#[test]
fn example_b_arm_linux_virtualised() {
    let mut case = Case::new(Architecture::Aarch64, "virt");
    case.host.architecture = Some(Architecture::Aarch64);
    case.host.render_node = Some("/dev/dri/renderD128".into());
    case.accelerator = Decision::kvm("it works");
    case.configuration.qemu.hypervisor = true;
    case.configuration.sharing.directory_share_mode = DirectoryShareMode::VirtFs;
    case.shared_directory = Some("/home/me/Shared".into());
    case.display("virtio-gpu-gl-pci");
    case.external(CD, ImageType::Cd, DriveInterface::Usb, None);
    case.drive(DISK, ImageType::Disk, DriveInterface::VirtIo, "qcow2");
    assert_snapshot!(case.text());
}

#[test]
fn sound_by_the_host() {
    let mut case = bare();
    case.configuration.sounds = pc().configuration.sounds;
    // Without a display nobody would hear it, which is said.
    let Ok(silent) = case.build() else { panic!("{}", case.text()) };
    assert!(silent.warnings.iter().any(|problem| problem.key_path == "Sound"), "{:?}", silent.warnings);
    assert!(!silent.makes.unix_connecting && silent.argv().iter().any(|word| word == "none,id=audio0"));
    case.sound_by_host = true;
    assert_snapshot!(case.text());
}

#[test]
fn headless_with_nothing() {
    assert_snapshot!(bare().text());
}

#[test]
fn network_shared_with_forwards() {
    let mut case = bare();
    case.configuration.networks = pc().configuration.networks;
    case.network().mode = NetworkMode::Shared;
    let forward = PortForward { protocol: Protocol::Tcp, host_port: 2222, guest_port: 22, ..PortForward::default() };
    let udp = PortForward {
        protocol: Protocol::Udp,
        host_address: Some("0.0.0.0".into()),
        host_port: 5353,
        guest_port: 5353,
        ..PortForward::default()
    };
    case.network().port_forwards = vec![forward, udp];
    assert_snapshot!(case.text());
}

#[test]
fn network_emulated_with_settings() {
    let mut case = bare();
    case.configuration.networks = pc().configuration.networks;
    let network = case.network();
    network.mode = NetworkMode::Emulated;
    network.isolate_from_host = true;
    network.vlan_guest_address = Some("10.1.0.0/24".into());
    network.vlan_dns_search_domain = Some("example.org, example.net".into());
    network.port_forwards = vec![PortForward {
        protocol: Protocol::Tcp,
        host_port: 8080,
        guest_port: 80,
        guest_address: Some("10.1.0.5".into()),
        ..PortForward::default()
    }];
    assert_snapshot!(case.text());
}

#[test]
fn network_host_and_bridged() {
    let mut case = bare();
    let mut networks = pc().configuration.networks;
    networks.push(networks[0].clone());
    networks[0].mode = NetworkMode::Host;
    networks[0].host_net_uuid = Some(case.configuration.information.uuid);
    networks[1].mode = NetworkMode::Bridged;
    networks[1].mac_address = "02:00:00:00:00:01".into();
    networks[1].bridge_interface = Some("br7".into());
    case.configuration.networks = networks;
    assert_snapshot!(case.text());
}

#[test]
fn a_guest_that_should_be_isolated_is_not_bridged() {
    let mut case = bare();
    case.configuration.networks = pc().configuration.networks;
    case.network().mode = NetworkMode::Bridged;
    case.network().isolate_from_host = true;
    assert_snapshot!(case.text());
}

#[test]
fn arguments_that_run_code_or_unconfine_are_refused() {
    let mut case = bare();
    // After an option that takes a value, `-append` is that value and no option.
    let arguments = ["-plugin ./evil.so", "--sandbox=off", "-name", "-append", "-plugin", "evil.so"];
    case.configuration.qemu.additional_arguments = arguments.map(str::to_owned).into();
    assert_snapshot!(case.text());
}

#[test]
fn what_is_shown_says_what_each_program_finds_open() {
    let mut case = bare();
    case.configuration.networks = pc().configuration.networks;
    case.network().mode = NetworkMode::Shared;
    case.configuration.qemu.tpm_device = true;
    case.drive(DISK, ImageType::Disk, DriveInterface::VirtIo, "qcow2");
    assert_snapshot!(case.build().unwrap().shell());
}

#[test]
fn serial_ports_of_every_mode() {
    let mut case = bare();
    let serial = |mode, target| Serial { mode, target, ..Serial::default() };
    case.serial(serial(SerialMode::Terminal, SerialTarget::Auto));
    case.serial(Serial {
        tcp_port: Some(4555),
        remote_connection_allowed: Some(true),
        wait_for_connection: Some(true),
        ..serial(SerialMode::TcpServer, SerialTarget::Gdb)
    });
    case.serial(Serial { tcp_host_address: Some("server.example".into()), ..serial(SerialMode::TcpClient, SerialTarget::Monitor) });
    case.serial(Serial { hardware: Some("pci-serial-2x".into()), ..serial(SerialMode::Ptty, SerialTarget::Manual) });
    case.serial(Serial { hardware: Some("virtio-serial-pci".into()), ..serial(SerialMode::Terminal, SerialTarget::Manual) });
    assert_snapshot!(case.text());
}

#[test]
fn drives_of_every_interface() {
    let mut case = bare();
    for (n, interface) in [
        DriveInterface::Ide,
        DriveInterface::Ide,
        DriveInterface::Scsi,
        DriveInterface::VirtIo,
        DriveInterface::Nvme,
        DriveInterface::Usb,
        DriveInterface::Floppy,
        DriveInterface::Floppy,
        DriveInterface::None,
    ]
    .into_iter()
    .enumerate()
    {
        case.drive(&format!("A{n}A{n}A{n}A{n}-0000-4000-8000-00000000000{n}"), ImageType::Disk, interface, "raw");
    }
    case.drive(CD, ImageType::Cd, DriveInterface::Scsi, "raw");
    case.external("empty-cd", ImageType::Cd, DriveInterface::Ide, None);
    case.external("empty-stick", ImageType::Disk, DriveInterface::Usb, None);
    assert_snapshot!(case.text());
}

#[test]
fn a_chain_is_opened_explicitly() {
    let mut case = bare();
    case.drive(DISK, ImageType::Disk, DriveInterface::VirtIo, "qcow2");
    if let Some(image) = case.images.get_mut(DISK) {
        let layer = |name: &str, driver: &str| Layer::file(format!("/machine.utm/Data/{name}"), driver);
        let split = Layer { data_file: Some("/machine.utm/Data/middle.raw".into()), ..layer("middle.qcow2", "qcow2") };
        image.layers.extend([split, layer("base.img", "raw")]);
    }
    assert_snapshot!(case.text());
}

#[test]
fn windows_with_tpm_and_secure_boot_disposable() {
    let mut case = pc();
    case.configuration.qemu.tpm_device = true;
    case.configuration.qemu.rtc_local_time = true;
    case.configuration.qemu.balloon_device = true;
    case.drive(DISK, ImageType::Disk, DriveInterface::Nvme, "qcow2");
    case.options.disposable = true;
    assert_snapshot!(case.text());
}

#[test]
fn tpm_on_arm() {
    let mut case = Case::new(Architecture::Aarch64, "virt");
    case.configuration.qemu.tpm_device = true;
    assert_snapshot!(case.text());
}

#[test]
fn ide_on_an_old_pc_has_two_units_when_it_needs_them() {
    let mut case = Case::new(Architecture::X86_64, "pc");
    case.board = Some(board(&[
        ("pci.0", BusKind::Pci),
        ("isa.0", BusKind::Isa),
        ("ide.0", BusKind::Ide),
        ("ide.1", BusKind::Ide),
        ("floppy-bus.0", BusKind::Floppy),
        ("usb-bus.0", BusKind::Usb),
    ]));
    case.configuration.qemu.uefi_boot = false;
    for n in 0..3 {
        case.drive(&format!("disk{n}"), ImageType::Disk, DriveInterface::Ide, "raw");
    }
    case.drive("floppy", ImageType::Disk, DriveInterface::Floppy, "raw");
    assert_snapshot!(case.text());
}

#[test]
fn quadra() {
    let mut case = Case::new(Architecture::M68k, "q800");
    case.board = Some(board(&[("scsi.0", BusKind::Scsi), ("nubus.0", BusKind::Nubus)]));
    case.drive("rom", ImageType::Bios, DriveInterface::None, "raw");
    case.drive(DISK, ImageType::Disk, DriveInterface::Scsi, "raw");
    assert_snapshot!(case.text());
}

#[test]
fn power_mac() {
    let mut case = Case::new(Architecture::Ppc, "mac99");
    case.board = Some(board(&[("pci.0", BusKind::Pci), ("ide.0", BusKind::Ide), ("ide.1", BusKind::Ide), ("usb-bus.0", BusKind::Usb)]));
    case.display("VGA").vga_ram_mib = Some(32);
    case.external(CD, ImageType::Cd, DriveInterface::Ide, Some("/home/me/mac.iso"));
    case.drive(DISK, ImageType::Disk, DriveInterface::Ide, "raw");
    case.configuration.qemu.additional_arguments = vec!["-prom-env".into(), "\"boot-device=cd:,\\\\:tbxi\"".into()];
    assert_snapshot!(case.text());
}

#[test]
fn mainframe() {
    let mut case = Case::new(Architecture::S390x, "s390-ccw-virtio");
    case.board = Some(board(&[("virtual-css", BusKind::Ccw), ("pci.0", BusKind::Pci)]));
    case.display("virtio-gpu-ccw");
    case.configuration.networks = pc().configuration.networks;
    case.network().hardware = "virtio-net-ccw".into();
    case.configuration.qemu.rng_device = true;
    case.drive(DISK, ImageType::Disk, DriveInterface::VirtIo, "qcow2");
    assert_snapshot!(case.text());
}

#[test]
fn risc_v() {
    let mut case = Case::new(Architecture::Riscv64, "virt");
    case.drive(DISK, ImageType::Disk, DriveInterface::VirtIo, "qcow2");
    assert_snapshot!(case.text());
}

#[test]
fn sparc_station() {
    let mut case = Case::new(Architecture::Sparc, "SS-5");
    case.board = Some(board(&[("scsi.0", BusKind::Scsi), ("floppy-bus.0", BusKind::Floppy)]));
    case.external(CD, ImageType::Cd, DriveInterface::Scsi, Some("/home/me/solaris.iso"));
    case.drive(DISK, ImageType::Disk, DriveInterface::Scsi, "raw");
    assert_snapshot!(case.text());
}

#[test]
fn a_kernel_of_its_own() {
    let mut case = bare();
    case.drive("kernel", ImageType::LinuxKernel, DriveInterface::None, "raw");
    case.drive("initrd", ImageType::LinuxInitrd, DriveInterface::None, "raw");
    case.configuration.qemu.uefi_boot = true;
    case.configuration.qemu.additional_arguments = vec!["-append".into(), "console=ttyS0 quiet".into()];
    assert_snapshot!(case.text());
}

#[test]
fn a_virtualised_pc_on_the_same_processor() {
    let mut case = pc();
    case.accelerator = Decision::kvm("it works");
    case.configuration.qemu.hypervisor = true;
    case.configuration.system.cpu_flags_add = vec!["ignored-with-default".into()];
    case.configuration.input.usb_bus_support = UsbBusSupport::Disabled;
    assert_snapshot!(case.text());
}

#[test]
fn everything_wrong_is_said_at_once() {
    let mut case = Case::new(Architecture::X86_64, "q36");
    case.configuration.system.cpu = "Skylark-Client".into();
    case.configuration.system.memory_size = 0;
    case.configuration.displays = vec![Display { hardware: "virtio-vgaa".into(), ..Display::default() }];
    case.configuration.sounds = vec![Sound { hardware: "AC79".into(), ..Sound::default() }];
    case.configuration.networks = pc().configuration.networks;
    case.network().hardware = "e1001".into();
    case.network().port_forwards =
        vec![PortForward { host_port: 0, guest_port: 99999, host_address: Some("here".into()), ..PortForward::default() }];
    case.drive("a b", ImageType::Disk, DriveInterface::VirtIo, "raw");
    case.drive("strange", ImageType::Disk, DriveInterface::VirtIo, "dmg");
    case.drive("tape", ImageType::Disk, DriveInterface::Sd, "raw");
    assert_snapshot!(case.text());
}
