//! Reading: what is understood, what is refused, and that every finding names its key.

mod support;

use bundle::{Configuration, DATA_FOLDER, FileName, Level, Origin};
use plist::{Dictionary, Value};
use support::{APPLE, QEMU, lines, put, qemu, read};

fn string(text: &str) -> Option<Value> {
    Some(Value::String(text.to_owned()))
}

/// The findings of a configuration that is refused.
fn refused(root: &Dictionary) -> Vec<String> {
    lines(&read(root).unwrap_err().problems)
}

#[test]
fn what_utm_writes_is_read_without_findings() {
    for text in [QEMU, APPLE] {
        let loaded = Configuration::read(text.as_bytes(), "").unwrap();
        assert_eq!(lines(&loaded.problems), Vec::<String>::new());
        assert_eq!(lines(&loaded.configuration.validate()), Vec::<String>::new());
        assert_eq!(loaded.origin, Origin::V4);
        assert_eq!(loaded.configuration.to_dictionary(), loaded.raw);
    }
}

#[test]
fn binary_property_lists_are_read() {
    assert_eq!(read(&qemu()).unwrap().configuration, Configuration::read(QEMU.as_bytes(), "").unwrap().configuration);
}

#[test]
fn every_problem_is_reported_with_its_key_path() {
    let mut root = qemu();
    put(&mut root, "System.CPUCount", string("four"));
    put(&mut root, "System.MemorySize", Some(Value::Real(4096.0)));
    put(&mut root, "System.JITCacheSize", Some(Value::Integer((-1).into())));
    put(&mut root, "System.CPUFlagsAdd", Some(Value::Array(vec![Value::Boolean(true)])));
    put(&mut root, "QEMU.UEFIBoot", Some(Value::Integer(1.into())));
    put(&mut root, "Sharing", None);
    put(&mut root, "Drive.1.Interface", string("virtio"));
    put(&mut root, "Network.0.PortForward.0.HostPort", Some(Value::Integer((1_u64 << 40).into())));
    put(&mut root, "Serial.0.Terminal", string("big"));
    insta::assert_snapshot!(refused(&root).join("\n"));
}

#[test]
fn numbers_that_only_fit_unsigned_are_refused() {
    let mut root = qemu();
    put(&mut root, "System.MemorySize", Some(Value::Integer(u64::MAX.into())));
    assert_eq!(refused(&root), [format!("fatal System.MemorySize: {} is more than the largest value, {}", u64::MAX, i64::MAX)]);
}

#[test]
fn versions_other_than_4_are_refused() {
    let mut root = qemu();
    put(&mut root, "ConfigurationVersion", Some(Value::Integer(5.into())));
    assert!(refused(&root)[0].contains("newer version"));
    put(&mut root, "ConfigurationVersion", Some(Value::Integer(3.into())));
    assert!(refused(&root)[0].contains("too old"));
    put(&mut root, "ConfigurationVersion", Some(Value::Integer((-4).into())));
    assert!(refused(&root)[0].contains("too old"));
    put(&mut root, "ConfigurationVersion", None);
    assert!(refused(&root)[0].starts_with("fatal ConfigurationVersion"));
}

#[test]
fn machines_of_another_qemu_release_are_kept_and_reported() {
    let target = |architecture: &str, target: &str| {
        let mut root = qemu();
        put(&mut root, "System.Architecture", string(architecture));
        put(&mut root, "System.Target", string(target));
        read(&root)
    };
    for (architecture, name) in [
        ("x86_64", "pc-q35-11.2"),
        ("i386", "pc-i440fx-2.3"),
        ("aarch64", "virt-11.0"),
        ("ppc64", "pseries-10.1"),
        ("s390x", "s390-ccw-virtio-10.1"),
    ] {
        let loaded = target(architecture, name).unwrap();
        assert_eq!(loaded.configuration.as_qemu().unwrap().system.target, name);
        assert_eq!(loaded.problems.len(), 1, "{name}");
        assert_eq!((loaded.problems[0].level, loaded.problems[0].key_path.as_str()), (Level::Ignored, "System.Target"));
    }
    for (architecture, name) in
        [("x86_64", "virt-11.0"), ("x86_64", "pc-q35"), ("x86_64", "q36"), ("aarch64", "virt-"), ("avr", "mega,accel=kvm")]
    {
        assert_eq!(target(architecture, name).unwrap_err().problems[0].key_path, "System.Target", "{name}");
    }
}

#[test]
fn unknown_processor_models_become_the_default() {
    let mut root = qemu();
    put(&mut root, "System.CPU", string("Pentium-9"));
    let loaded = read(&root).unwrap();
    assert_eq!(loaded.configuration.as_qemu().unwrap().system.cpu, "default");
    assert_eq!((loaded.problems[0].level, loaded.problems[0].key_path.as_str()), (Level::Fixed, "System.CPU"));
}

#[test]
fn absent_optional_keys_mean_what_utm_says() {
    let mut root = qemu();
    for path in ["QEMU.TSO", "Drive.0.InterfaceVersion", "Drive.0.ReadOnly", "Drive.1.ReadOnly", "Serial.0.Terminal.ForegroundColor"] {
        put(&mut root, path, None);
    }
    let loaded = read(&root).unwrap();
    let configuration = loaded.configuration.as_qemu().unwrap();
    assert!(!configuration.qemu.tso);
    assert_eq!(configuration.drives[0].interface_version, 0);
    assert_eq!((configuration.drives[0].read_only, configuration.drives[1].read_only), (false, true));
    assert!(configuration.drives[1].is_external());
    assert_eq!(configuration.serials[0].terminal.as_ref().unwrap().foreground_color, None);
}

#[test]
fn port_forwards_of_old_releases_are_read() {
    let mut root = qemu();
    let mut forward = Dictionary::new();
    forward.insert("protocol".to_owned(), Value::String("UDP".to_owned()));
    forward.insert("hostPort".to_owned(), Value::Integer(5353.into()));
    forward.insert("guestPort".to_owned(), Value::Integer(53.into()));
    put(&mut root, "Network.0.PortForward", Some(Value::Array(vec![Value::Dictionary(forward)])));
    let loaded = read(&root).unwrap();
    let forward = &loaded.configuration.as_qemu().unwrap().networks[0].port_forwards[0];
    assert_eq!((forward.host_port, forward.guest_port), (5353, 53));
    assert!(forward.extra.is_empty());
}

#[test]
fn keyboard_and_pointer_may_be_booleans() {
    let mut root: Dictionary = plist::from_bytes(APPLE.as_bytes()).unwrap();
    for (key, value) in [("Keyboard", true), ("Pointer", true), ("Trackpad", true)] {
        put(&mut root, &format!("Virtualization.{key}"), Some(Value::Boolean(value)));
    }
    let virtualization = &read(&root).unwrap().configuration.as_apple().unwrap().virtualization.clone();
    assert_eq!((virtualization.keyboard, virtualization.pointer), (bundle::apple::Keyboard::Generic, bundle::apple::Pointer::Trackpad));
    assert!(virtualization.extra.is_empty());
}

#[test]
fn a_path_as_image_name_keeps_the_machine_from_starting_but_not_from_being_listed() {
    for name in ["../../etc/passwd", "/etc/passwd", "..", ".", "", "a/b", "a\nb", &"x".repeat(256)] {
        let mut root = qemu();
        put(&mut root, "Drive.0.ImageName", string(name));
        let loaded = read(&root).unwrap();
        assert_eq!((loaded.problems[0].level, loaded.problems[0].key_path.as_str()), (Level::Ignored, "Drive[0].ImageName"));
        let drive = &loaded.configuration.as_qemu().unwrap().drives[0];
        assert_eq!((drive.image_name.as_ref(), drive.invalid_image_name()), (None, Some(name)));
        assert!(!drive.is_external());
        assert!(loaded.configuration.validate().iter().any(|problem| problem.is_fatal() && problem.key_path == "Drive[0].ImageName"));
        assert_eq!(loaded.configuration.to_dictionary(), root, "the name survives in {DATA_FOLDER}");
    }
    assert!(FileName::new("Windows 11 (ARM) – disk.qcow2").is_ok());
}

#[test]
fn a_custom_icon_needs_a_file() {
    let mut root = qemu();
    put(&mut root, "Information.IconCustom", Some(Value::Boolean(true)));
    put(&mut root, "Information.Icon", None);
    assert!(refused(&root)[0].starts_with("fatal Information.Icon"));
}

#[test]
fn validation_finds_what_does_not_run() {
    let mut root = qemu();
    put(&mut root, "System.MemorySize", Some(Value::Integer(0.into())));
    put(&mut root, "System.CPUCount", Some(Value::Integer(100_000.into())));
    put(&mut root, "System.CPUFlagsAdd", Some(Value::Array(vec![Value::String("vmx,-svm".to_owned())])));
    put(&mut root, "Drive.0.ImageType", string("BIOS"));
    put(&mut root, "Drive.1.ImageName", string("disk.qcow2"));
    put(&mut root, "Drive.1.Interface", string("None"));
    put(&mut root, "Drive.1.Identifier", string("5F2A6A3E-5E3B-4D57-9E8E-1E0A52D0A001"));
    put(&mut root, "Network.0.MacAddress", string("01:00:5E:10:00:01"));
    put(&mut root, "Network.0.PortForward.0.GuestPort", Some(Value::Integer(65536.into())));
    put(&mut root, "Network.0.PortForward.0.HostAddress", string("localhost"));
    let network = root.get("Network").and_then(Value::as_array).unwrap()[0].clone();
    root.get_mut("Network").and_then(Value::as_array_mut).unwrap().push(network);
    put(&mut root, "Network.1.PortForward.0.HostAddress", None);
    put(&mut root, "Serial.0.Target", string("Manual"));
    put(&mut root, "Serial.0.Terminal.ForegroundColor", string("white"));
    insta::assert_snapshot!(lines(&read(&root).unwrap().configuration.validate()).join("\n"));
}

#[test]
fn identifiers_must_be_fit_for_qemu() {
    for identifier in ["", "a b", "a,readonly=on", "größe", "a/b"] {
        let mut root = qemu();
        put(&mut root, "Drive.0.Identifier", string(identifier));
        let problems = read(&root).unwrap().configuration.validate();
        assert!(problems.iter().any(|problem| problem.is_fatal() && problem.key_path == "Drive[0].Identifier"), "{identifier}");
    }
}
