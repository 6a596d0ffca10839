//! QEMU machines, versions 0 to 2.

use bundle::legacy::migrate;
use bundle::qemu::{Configuration, DirectoryShareMode, DriveInterface, ImageType, NetworkMode, Protocol, ScalingFilter, UsbBusSupport};
use bundle::{Architecture, Level, Origin, Problem};
use serde_json::{Value, json};

use super::{dictionary, migrated};

#[test]
fn version_0_with_the_oldest_keys() {
    insta::assert_snapshot!(migrated("v0-oldest.plist"));
}

#[test]
fn version_1_with_everything_left_to_repairs() {
    insta::assert_snapshot!(migrated("v1-repairs.plist"));
}

#[test]
fn version_2_with_every_key() {
    insta::assert_snapshot!(migrated("v2-every-key.plist"));
}

#[test]
fn version_2_with_a_console_only() {
    insta::assert_snapshot!(migrated("v2-console.plist"));
}

#[test]
fn version_2_with_everything_wrong() {
    insta::assert_snapshot!(migrated("v2-wrong.plist"));
}

/// Migrates a configuration of which only these sections matter.
fn from(json: &Value) -> (Configuration, Vec<Problem>) {
    let (configuration, problems, _) = migrate(&dictionary(json), "name").unwrap();
    (configuration.as_qemu().unwrap().clone(), problems)
}

/// The same for a PC, with nothing to complain about.
fn clean(mut json: Value) -> Configuration {
    let system = json.as_object_mut().unwrap().entry("System").or_insert(json!({}));
    system.as_object_mut().unwrap().entry("Architecture").or_insert("x86_64".into());
    let (configuration, problems) = from(&json);
    assert_eq!(problems, [], "{json}");
    configuration
}

#[test]
fn an_absent_target_is_the_legacy_default() {
    let target = |architecture: &str| from(&json!({"System": {"Architecture": architecture, "Target": ""}})).0.system.target;
    for (architecture, expected) in [
        ("alpha", "clipper"),
        ("arm", "virt"),
        ("aarch64", "virt"),
        ("avr", "mega"),
        ("i386", "q35"),
        ("x86_64", "q35"),
        ("m68k", "mcf5208evb"),
        ("microblaze", "petalogix-s3adsp1800"),
        ("microblazeel", "petalogix-s3adsp1800"),
        ("mips", "malta"),
        ("mips64el", "malta"),
        ("or1k", "or1k-sim"),
        ("ppc", "g3beige"),
        ("ppc64", "pseries"),
        ("riscv32", "spike"),
        ("riscv64", "spike"),
        ("rx", "gdbsim-r5f562n7"),
        ("s390x", "s390-ccw-virtio"),
        ("sparc", "SS-5"),
        ("sparc64", "sun4u"),
        ("tricore", "tricore_testboard"),
        ("xtensa", "sim"),
        // Gone, like their architecture or from it.
        ("hppa", "B160L"),
        ("sh4", "none"),
        ("sh4eb", "none"),
        ("cris", "q35"),
        ("nios2", "q35"),
    ] {
        assert_eq!(target(architecture), expected, "{architecture}");
    }
}

#[test]
fn machines_that_are_gone_are_replaced_and_reported() {
    for (architecture, target, expected) in [
        ("x86_64", "pc-i440fx-2.0", "pc"),
        ("x86_64", "pc-q35-2.3", "q35"),
        ("x86_64", "xenfv", "q35"),
        ("aarch64", "virt-2.5", "virt"),
        ("aarch64", "akita", "virt"),
        ("ppc64", "pseries-2.12-sxxm", "pseries"),
        ("sh4", "shix", "none"),
    ] {
        let (configuration, problems) = from(&json!({"System": {"Architecture": architecture, "Target": target}}));
        assert_eq!(configuration.system.target, expected);
        assert!(problems.iter().any(|problem| problem.key_path == "System.Target" && problem.level == Level::Fixed), "{target}");
    }
    assert_eq!(clean(json!({"System": {"Target": "pc-i440fx-9.0"}})).system.target, "pc-i440fx-9.0");
}

#[test]
fn repairs_go_by_the_machine() {
    let repaired = |architecture: &str, target: &str| clean(json!({"System": {"Architecture": architecture, "Target": target}}));
    let q35 = repaired("x86_64", "q35");
    assert!(!q35.qemu.uefi_boot && q35.qemu.rng_device && q35.qemu.ps2_controller && q35.qemu.hypervisor && q35.qemu.rtc_local_time);
    assert_eq!((q35.displays[0].hardware.as_str(), q35.input.usb_bus_support), ("qxl-vga", UsbBusSupport::Usb2));
    let virt = repaired("aarch64", "virt-9.0");
    assert!(virt.qemu.uefi_boot && virt.qemu.rng_device && !virt.qemu.ps2_controller && virt.qemu.hypervisor);
    assert_eq!((virt.displays[0].hardware.as_str(), virt.input.usb_bus_support), ("virtio-ramfb", UsbBusSupport::Usb3));
    let mac = repaired("ppc", "mac99");
    assert!(!mac.qemu.uefi_boot && !mac.qemu.rng_device && !mac.qemu.ps2_controller && !mac.qemu.hypervisor);
    assert_eq!((mac.displays[0].hardware.as_str(), mac.input.usb_bus_support), ("VGA", UsbBusSupport::Usb2));
    // `virtex` starts with `virt`, and UTM asked for nothing more in two places.
    let virtex = repaired("ppc", "virtex-ml507");
    assert!(virtex.qemu.uefi_boot && virtex.qemu.rng_device);
    assert_eq!((virtex.displays[0].hardware.as_str(), virtex.input.usb_bus_support), ("VGA", UsbBusSupport::Usb2));
}

#[test]
fn cpu_flags_are_sorted_by_their_sign() {
    let system = clean(json!({"System": {"CPU": "Haswell", "CPUFlags": ["+avx", "-hle", "rtm", "", "-"]}})).system;
    assert_eq!(system.cpu, "Haswell");
    assert_eq!((system.cpu_flags_add, system.cpu_flags_remove), (vec!["avx".to_owned(), "rtm".to_owned()], vec!["hle".to_owned()]));
}

#[test]
fn arguments_were_one_text_once() {
    let arguments = |json: Value| clean(json!({"System": {"AddArgs": json}})).qemu.additional_arguments;
    assert_eq!(arguments(json!("-device foo")), ["-device foo"]);
    assert_eq!(arguments(json!(["-device", "foo"])), ["-device", "foo"]);
    assert_eq!(arguments(json!("")), [""; 0]);
}

#[test]
fn the_network_mode_decides_whether_there_is_a_card() {
    let mode = |networking: Value| clean(json!({"Networking": networking})).networks.first().map(|network| network.mode);
    for (name, expected) in [
        ("none", None),
        ("emulated", Some(NetworkMode::Emulated)),
        ("shared", Some(NetworkMode::Shared)),
        ("host", Some(NetworkMode::Host)),
        ("bridged", Some(NetworkMode::Bridged)),
    ] {
        assert_eq!(mode(json!({"NetworkMode": name})), expected);
    }
    assert_eq!(mode(json!({})), None);
    assert_eq!(mode(json!({"NetworkEnabled": true})), Some(NetworkMode::Emulated));
    assert_eq!(mode(json!({"NetworkEnabled": false, "NetworkMode": "shared"})), None);
    let network = clean(json!({"Networking": {"NetworkEnabled": true}})).networks.remove(0);
    assert_eq!((network.hardware.as_str(), network.mac_address.len()), ("rtl8139", 17));
}

#[test]
fn port_forwards_keep_the_port_of_the_host() {
    let forwards = [
        json!({"Protocol": "udp", "HostAddress": "127.0.0.1", "HostPort": 2222, "GuestAddress": "10.0.2.15", "GuestPort": 22}),
        json!({"HostPort": 8080, "GuestPort": 80}),
        json!({"GuestPort": 443}),
        json!({"HostPort": 1}),
    ];
    let (configuration, problems) =
        from(&json!({"System": {"Architecture": "x86_64"}, "Networking": {"NetworkMode": "emulated", "PortForward": forwards}}));
    let forwards = &configuration.networks[0].port_forwards;
    let ports: Vec<_> = forwards.iter().map(|forward| (forward.protocol, forward.host_port, forward.guest_port)).collect();
    assert_eq!(ports, [(Protocol::Udp, 2222, 22), (Protocol::Tcp, 8080, 80), (Protocol::Tcp, 443, 443)]);
    assert_eq!(forwards[0].host_address.as_deref(), Some("127.0.0.1"));
    assert_eq!(forwards[0].guest_address.as_deref(), Some("10.0.2.15"));
    let paths: Vec<&str> = problems.iter().map(|problem| problem.key_path.as_str()).collect();
    assert_eq!(paths, ["Networking.PortForward[2].HostPort", "Networking.PortForward[3].GuestPort"]);
}

#[test]
fn sound_cards_have_their_present_names() {
    let sound = |sound: Value| clean(json!({"Sound": sound})).sounds.first().map(|sound| sound.hardware.clone());
    assert_eq!(sound(json!({})), None);
    assert_eq!(sound(json!({"SoundEnabled": false, "SoundCard": "hda"})), None);
    assert_eq!(sound(json!({"SoundEnabled": true})).as_deref(), Some("AC97"));
    assert_eq!(sound(json!({"SoundEnabled": true, "SoundCard": "ac97"})).as_deref(), Some("AC97"));
    assert_eq!(sound(json!({"SoundEnabled": true, "SoundCard": "hda"})).as_deref(), Some("intel-hda"));
    assert_eq!(sound(json!({"SoundEnabled": true, "SoundCard": "es1370"})).as_deref(), Some("es1370"));
    let json = json!({"System": {"Architecture": "i386"}, "Sound": {"SoundEnabled": true, "SoundCard": "pcspk"}});
    let (configuration, problems) = from(&json);
    assert!(configuration.sounds.is_empty());
    assert_eq!(problems[0].key_path, "Sound.SoundCard");
}

#[test]
fn usb_and_sharing() {
    let legacy = clean(json!({"Input": {"InputLegacy": true}, "Sharing": {"Usb3Support": true, "UsbRedirectMax": 7}}));
    assert_eq!((legacy.input.usb_bus_support, legacy.input.maximum_usb_share), (UsbBusSupport::Disabled, 7));
    let usb3 = clean(json!({"Sharing": {"Usb3Support": true, "DirectorySharing": true, "DirectoryReadOnly": true}}));
    assert_eq!((usb3.input.usb_bus_support, usb3.input.usb_sharing, usb3.input.maximum_usb_share), (UsbBusSupport::Usb3, true, 3));
    assert_eq!(usb3.sharing.directory_share_mode, DirectoryShareMode::WebDav);
    assert!(usb3.sharing.directory_share_read_only && !usb3.sharing.clipboard_sharing);
    // A guest with an agent resizes its screen.
    assert!(usb3.displays[0].dynamic_resolution);
    assert!(clean(json!({"Sharing": {"ClipboardSharing": true}})).displays[0].dynamic_resolution);
    assert!(!clean(json!({})).displays[0].dynamic_resolution);
    assert!(!clean(json!({"Sharing": {"ClipboardSharing": true}, "Display": {"DisplayFitScreen": false}})).displays[0].dynamic_resolution);
}

#[test]
fn scaling_filters() {
    let display = |display: Value| clean(json!({"Display": display})).displays.remove(0);
    let usual = display(json!({}));
    assert_eq!((usual.upscaling_filter, usual.downscaling_filter), (ScalingFilter::Linear, ScalingFilter::Linear));
    let near = display(json!({"DisplayUpscaler": "nearest", "DisplayDownscaler": "nearest", "DisplayRetina": true}));
    assert_eq!((near.upscaling_filter, near.downscaling_filter), (ScalingFilter::Nearest, ScalingFilter::Nearest));
    assert!(near.native_resolution);
}

#[test]
fn drive_types_and_interfaces() {
    let drive = |drive: Value| clean(json!({"Drives": [drive]})).drives.remove(0);
    for (image_type, expected) in [
        ("none", ImageType::None),
        ("disk", ImageType::Disk),
        ("cd", ImageType::Cd),
        ("bios", ImageType::Bios),
        ("kernel", ImageType::LinuxKernel),
        ("initrd", ImageType::LinuxInitrd),
        ("dtb", ImageType::LinuxDtb),
    ] {
        let drive = drive(json!({"DriveName": "drive7", "ImagePath": "a.img", "ImageType": image_type, "InterfaceType": "ide"}));
        assert_eq!(drive.image_type, expected);
        let attached = matches!(expected, ImageType::Disk | ImageType::Cd);
        assert_eq!(drive.interface, if attached { DriveInterface::Ide } else { DriveInterface::None });
        assert_eq!((drive.identifier.as_str(), drive.interface_version, drive.read_only), ("7", 0, false));
    }
    for (interface, expected) in [
        ("ide", DriveInterface::Ide),
        ("scsi", DriveInterface::Scsi),
        ("sd", DriveInterface::Sd),
        ("mtd", DriveInterface::Mtd),
        ("floppy", DriveInterface::Floppy),
        ("pflash", DriveInterface::PFlash),
        ("virtio", DriveInterface::VirtIo),
        ("nvme", DriveInterface::Nvme),
        ("usb", DriveInterface::Usb),
    ] {
        let drive = drive(json!({"DriveName": "hd", "ImagePath": "a.img", "ImageType": "disk", "InterfaceType": interface}));
        assert_eq!((drive.interface, drive.identifier.as_str()), (expected, "hd"));
    }
    let removable = drive(json!({"DriveName": "drive", "ImageType": "cd", "InterfaceType": "ide", "Removable": true}));
    assert!(removable.read_only && removable.is_external());
    assert_eq!(removable.identifier.len(), 36);
    let oldest =
        |cdrom: bool| drive(json!({"DriveName": "drive0", "ImagePath": "a.iso", "InterfaceType": "ide", "Cdrom": cdrom})).image_type;
    assert_eq!((oldest(true), oldest(false)), (ImageType::Cd, ImageType::Disk));
}

#[test]
fn drive_names_are_repaired_together() {
    let identifiers = |names: &[Value]| {
        let drives: Vec<Value> = names.iter().map(|name| json!({"DriveName": name, "ImagePath": "a.img"})).collect();
        let (configuration, problems) = from(&json!({"System": {"Architecture": "x86_64"}, "Drives": drives}));
        let identifiers: Vec<String> = configuration.drives.into_iter().map(|drive| drive.identifier).collect();
        (identifiers, problems.len())
    };
    assert_eq!(identifiers(&[json!("hd"), json!("driveX")]), (vec!["hd".to_owned(), "X".to_owned()], 0));
    for bad in [json!(""), json!("0hd"), json!("a b"), json!("a,b"), json!("é")] {
        assert_eq!(identifiers(&[json!("hd"), bad]), (vec!["0".to_owned(), "1".to_owned()], 1));
    }
    let (clash, problems) = identifiers(&[json!("driveA"), json!("A")]);
    assert_eq!((clash[0].as_str(), clash[1].len(), problems), ("A", 36, 1));
}

#[test]
fn uefi_variables_are_no_drive() {
    let drives = [
        json!({"DriveName": "drive0", "ImagePath": "efi_vars.fd", "ImageType": "bios"}),
        json!({"DriveName": "drive1", "ImagePath": "a.img"}),
    ];
    let drives = clean(json!({"Drives": drives})).drives;
    assert_eq!(drives.len(), 1);
    assert_eq!(drives[0].identifier, "1");
}

#[test]
fn an_image_outside_the_bundle_is_no_image() {
    let json = json!({"System": {"Architecture": "x86_64"}, "Drives": [{"DriveName": "drive0", "ImagePath": "../../secret", "ImageType": "disk"}]});
    let (configuration, problems) = from(&json);
    assert_eq!(configuration.drives[0].image_name, None);
    assert_eq!(configuration.drives[0].invalid_image_name(), Some("../../secret"));
    assert_eq!(problems[0].key_path, "Drives[0].ImagePath");
}

#[test]
fn what_is_not_legacy_is_refused() {
    let refused = |json: Value| {
        let problems = migrate(&dictionary(&json), "name").unwrap_err();
        assert!(problems.iter().any(Problem::is_fatal));
        problems[0].key_path.clone()
    };
    assert_eq!(refused(json!({})), "");
    assert_eq!(refused(json!({"Hello": "World"})), "");
    assert_eq!(refused(json!({"System": {}, "ConfigurationVersion": 3})), "ConfigurationVersion");
    assert_eq!(refused(json!({"System": {}, "ConfigurationVersion": -1})), "ConfigurationVersion");
    assert_eq!(refused(json!({"System": {}, "ConfigurationVersion": "2"})), "ConfigurationVersion");
    assert_eq!(refused(json!({"isAppleVirtualization": true})), "version");
    assert_eq!(refused(json!({"isAppleVirtualization": true, "version": 4})), "version");
}

#[test]
fn the_origin_tells_the_version() {
    let origin = |json: Value| migrate(&dictionary(&json), "name").unwrap().2;
    assert_eq!(origin(json!({"System": {}})), Origin::LegacyQemu { version: 0 });
    assert_eq!(origin(json!({"System": {}, "ConfigurationVersion": 2})), Origin::LegacyQemu { version: 2 });
    assert_eq!(origin(json!({"version": 3, "isAppleVirtualization": true})), Origin::LegacyApple { version: 3 });
    // A QEMU configuration may say that it is not Apple's.
    assert_eq!(origin(json!({"System": {}, "isAppleVirtualization": false, "version": 1})), Origin::LegacyQemu { version: 0 });
}

#[test]
fn names_and_identity() {
    let system = json!({"Architecture": "i386", "SystemUUID": "6e1c0f2b-0a0b-4a59-8b3e-3e7a3f0c9d11"});
    let configuration = clean(json!({"System": system, "Info": {"Icon": "me.png", "IconCustom": true, "Notes": "Hello"}}));
    let information = configuration.information;
    assert_eq!((information.name.as_str(), information.icon.as_deref(), information.icon_custom), ("name", Some("me.png"), true));
    assert_eq!(information.notes.as_deref(), Some("Hello"));
    assert_eq!(information.uuid.to_string(), "6e1c0f2b-0a0b-4a59-8b3e-3e7a3f0c9d11");
    assert_eq!(configuration.system.architecture, Architecture::I386);
}
