//! Whatever a bundle says, building gives a command line or problems: it never panics, and what it gives hangs together.

mod synthetic;

use std::collections::BTreeSet;

use backend_qemu::command_line::{Image, Options, Source};
use backend_qemu::facts::{BusKind, Decision};
use bundle::Architecture;
use bundle::qemu::{
    DirectoryShareMode, Display, Drive, DriveInterface, ImageType, Network, NetworkMode, PortForward, Protocol, Serial, SerialMode,
    SerialTarget, Sound, UsbBusSupport,
};
use bundle::{FileName, tables};
use proptest::prelude::*;
use proptest::sample::select;
use synthetic::{Case, board, q35};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9.:/, -]{0,24}", any::<String>()]
}

fn optional_text() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        3 => Just(None),
        1 => select(vec!["10.0.2.15", "10.1.0.0/24", "fd00::/64", "0.0.0.0", "::1", "br0", "example.org"]).prop_map(|text| Some(text.to_owned())),
        1 => text().prop_map(Some),
    ]
}

fn hardware(list: &'static [&'static str]) -> BoxedStrategy<String> {
    if list.is_empty() {
        return text().boxed();
    }
    prop_oneof![9 => select(list).prop_map(str::to_owned), 1 => text()].boxed()
}

prop_compose! {
    fn drive()(
        image_type in select(ImageType::ALL),
        interface in select(DriveInterface::ALL),
        interface_version in 0u32..3,
        identifier in prop_oneof![5 => "[A-F0-9]{8}-[A-F0-9]{4}", 1 => text()],
        name in prop_oneof![1 => Just(None), 2 => Just("disk.img".parse::<FileName>().ok())],
        read_only in any::<bool>(),
        medium in any::<bool>(),
        driver in select(vec!["raw", "qcow2", "nonsense"]),
    ) -> (Drive, Option<Image>) {
        let image = medium.then(|| Image::single("/images/a, b.img", driver));
        (Drive { image_type, interface, interface_version, identifier, image_name: name, read_only, ..Drive::default() }, image)
    }
}

prop_compose! {
    fn forward()(
        protocol in select(Protocol::ALL), host_address in optional_text(), guest_address in optional_text(),
        host_port in prop_oneof![Just(8080), any::<u32>()], guest_port in prop_oneof![Just(80), any::<u32>()],
    ) -> PortForward {
        PortForward { protocol, host_address, guest_address, host_port, guest_port, ..PortForward::default() }
    }
}

prop_compose! {
    fn network(list: &'static [&'static str])(
        mode in select(NetworkMode::ALL), hardware in hardware(list), isolate_from_host in any::<bool>(),
        mac in prop_oneof![5 => Just("02:00:00:00:00:01".to_owned()), 1 => text()],
        port_forwards in prop::collection::vec(forward(), 0..3),
        bridge_interface in optional_text(), vlan_guest_address in optional_text(), vlan_dns_search_domain in optional_text(),
    ) -> Network {
        Network {
            mode, hardware, isolate_from_host, mac_address: mac, port_forwards, bridge_interface, vlan_guest_address,
            vlan_dns_search_domain, ..Network::default()
        }
    }
}

prop_compose! {
    fn serial(list: &'static [&'static str])(
        mode in select(SerialMode::ALL), target in select(SerialTarget::ALL), hardware in prop::option::of(hardware(list)),
        tcp_port in prop::option::of(any::<u32>()), tcp_host_address in optional_text(),
    ) -> Serial {
        Serial { mode, target, hardware, tcp_port, tcp_host_address, ..Serial::default() }
    }
}

fn case() -> impl Strategy<Value = Case> {
    select(Architecture::ALL).prop_flat_map(|architecture| {
        let machine = (
            prop_oneof![9 => select(tables::machines(architecture)).prop_map(str::to_owned), 1 => text()],
            prop_oneof![Just("default".to_owned()), text()],
            any::<(u32, u64, u64, [bool; 8])>(),
            prop::collection::vec(text(), 0..3),
            optional_text(),
        );
        let devices = (
            prop::collection::vec(drive(), 0..6),
            prop::collection::vec(network(tables::network_devices(architecture)), 0..3),
            prop::collection::vec(serial(tables::serial_devices(architecture)), 0..6),
            prop::collection::vec((hardware(tables::display_devices(architecture)), prop::option::of(any::<u64>())), 0..3),
            prop::collection::vec(hardware(tables::sound_devices(architecture)), 0..3),
        );
        let rest = (select(UsbBusSupport::ALL), any::<u32>(), select(DirectoryShareMode::ALL), 0..3, any::<[bool; 6]>());
        (Just(architecture), machine, devices, rest).prop_map(|(architecture, machine, devices, rest)| {
            let (target, cpu, (cpu_count, memory_size, jit_cache_size, flags), words, overridden) = machine;
            let (drives, networks, serials, displays, sounds) = devices;
            let (usb, share, folder, boards, host) = rest;
            let mut case = Case::new(architecture, "none");
            let configuration = &mut case.configuration;
            configuration.system.target = target;
            configuration.system.cpu = cpu;
            configuration.system.cpu_count = cpu_count % 100;
            configuration.system.memory_size = memory_size;
            configuration.system.jit_cache_size = jit_cache_size;
            let qemu = &mut configuration.qemu;
            [
                qemu.uefi_boot,
                qemu.rng_device,
                qemu.balloon_device,
                qemu.tpm_device,
                qemu.hypervisor,
                qemu.rtc_local_time,
                qemu.ps2_controller,
                _,
            ] = flags;
            configuration.qemu.additional_arguments = words;
            configuration.qemu.machine_property_override = overridden;
            configuration.input.usb_bus_support = usb;
            configuration.input.usb_sharing = flags[7];
            configuration.input.maximum_usb_share = share % 70;
            configuration.sharing.directory_share_mode = folder;
            configuration.networks = networks;
            configuration.serials = serials;
            configuration.displays =
                displays.into_iter().map(|(hardware, vga_ram_mib)| Display { hardware, vga_ram_mib, ..Display::default() }).collect();
            configuration.sounds = sounds.into_iter().map(|hardware| Sound { hardware, ..Sound::default() }).collect();
            for (drive, image) in drives {
                if let Some(image) = image {
                    case.images.insert(drive.identifier.clone(), image);
                }
                case.configuration.drives.push(drive);
            }
            case.board = match boards {
                0 => None,
                1 => Some(q35()),
                _ => Some(board(&[("virtio-mmio-bus.0", BusKind::VirtioMmio), ("sd-bus", BusKind::Sd)])),
            };
            let [kvm, passt, swtpm, bridge, audio, disposable] = host;
            if kvm {
                case.accelerator = Decision::kvm("");
            }
            case.host.passt = case.host.passt.filter(|_| passt);
            case.host.swtpm = case.host.swtpm.filter(|_| swtpm);
            case.host.bridge_helper = case.host.bridge_helper.filter(|_| bridge);
            case.host.audio.retain(|_| audio);
            case.sound_by_host = passt;
            case.options = Options { disposable, incoming: kvm };
            case.shared_directory = Some("/home/me".into());
            case
        })
    })
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#?}\n{:?}", self.configuration, self.images)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn building_gives_a_command_line_or_problems(case in case()) {
        match case.build() {
            Err(problems) => prop_assert!(problems.iter().any(bundle::Problem::is_fatal)),
            Ok(line) => {
                prop_assert!(line.warnings.iter().all(|problem| !problem.is_fatal()));
                let numbers: BTreeSet<i32> = line.descriptors.iter().map(|descriptor| descriptor.fd).collect();
                prop_assert_eq!(numbers.len(), line.descriptors.len());
                let argv = line.argv();
                for descriptor in &line.descriptors {
                    let fd = format!("fd={}", descriptor.fd);
                    let string = format!("addr.str={}", descriptor.fd);
                    let path = format!("/proc/self/fd/{}", descriptor.fd);
                    let is_it = |part: &str| part == fd || part == string || part == path;
                    prop_assert!(argv.iter().any(|word| word.split(',').any(is_it)), "{} is not used", fd);
                    // What is handed over is never named.
                    if let Source::File { path, .. } = &descriptor.source {
                        let path = path.to_string_lossy();
                        prop_assert!(!line.files.iter().any(|file| file.path.to_string_lossy() == path));
                        prop_assert!(!argv.iter().any(|word| word.contains(path.as_ref())));
                    }
                }
                // Node names are unique and short enough for QEMU.
                let mut names = BTreeSet::new();
                for pair in argv.windows(2).filter(|pair| pair[0] == "-blockdev" && pair[1].starts_with('{')) {
                    let node: serde_json::Value = serde_json::from_str(&pair[1]).map_err(|error| TestCaseError::fail(error.to_string()))?;
                    let name = node["node-name"].as_str().unwrap_or_default().to_owned();
                    prop_assert!(name.len() <= 31 && names.insert(name.clone()), "{}", name);
                    prop_assert!(node["driver"] != "qcow2" || node.get("backing").is_some());
                }
            }
        }
    }
}
