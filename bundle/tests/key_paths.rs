//! Keys as people name and change them.

mod support;

use bundle::Configuration;
use bundle::key_path::{self, Change, KeyError, edit, format_value, keys, set, unset};
use support::{APPLE, QEMU, lines, put, qemu, read};

fn configuration() -> Configuration {
    Configuration::read(QEMU.as_bytes(), "").unwrap().configuration
}

fn get(configuration: &Configuration, path: &str) -> String {
    match key_path::get(configuration, path) {
        Ok(value) => format_value(&value),
        Err(error) => format!("! {error}"),
    }
}

fn change(path: &str, text: &str) -> String {
    let mut configuration = configuration();
    match set(&mut configuration, path, text) {
        Ok(_) => get(&configuration, path),
        Err(error) => {
            assert_eq!(configuration.to_dictionary(), qemu(), "nothing was changed");
            format!("! {error}")
        }
    }
}

#[test]
fn values_are_found() {
    let configuration = configuration();
    assert_eq!(get(&configuration, "System.MemorySize"), "4096");
    assert_eq!(get(&configuration, "system.memorysize"), "4096");
    assert_eq!(get(&configuration, "Drive[0].ReadOnly"), "false");
    assert_eq!(get(&configuration, "Drive[5F2A6A3E-5E3B-4D57-9E8E-1E0A52D0A002].ReadOnly"), "true");
    assert_eq!(get(&configuration, "Network[02:00:5e:10:00:01].PortForward[0].HostPort"), "2222");
    assert_eq!(get(&configuration, "System.CPUFlagsAdd"), r#"["vmx"]"#);
    assert_eq!(get(&configuration, "Backend"), "QEMU");
    assert_eq!(get(&configuration, "QEMU.MachinePropertyOverride"), "! `QEMU.MachinePropertyOverride` is not set");
    assert_eq!(
        get(&configuration, "Information"),
        r#"{"Icon":"linux","IconCustom":false,"Name":"Test machine","Notes":"First line\nsecond & <last>","UUID":"6E1C0F2B-0A0B-4A59-8B3E-3E7A3F0C9D11"}"#
    );
}

#[test]
fn values_are_set_by_the_kind_of_their_key() {
    assert_eq!(change("System.MemorySize", "4GiB"), "4096");
    assert_eq!(change("System.MemorySize", "1.5 g"), "1536");
    assert_eq!(change("System.MemorySize", "512"), "512");
    assert_eq!(change("QEMU.UEFIBoot", "off"), "false");
    assert_eq!(change("Drive[0].Interface", "nvme"), "NVMe");
    assert_eq!(change("System.CPUFlagsAdd", "avx, -sse".replace('-', "").as_str()), r#"["avx","sse"]"#);
    assert_eq!(change("QEMU.AdditionalArguments", "-device 'usb-tablet,id=a b'"), r#"["-device","usb-tablet,id=a b"]"#);
    assert_eq!(change("QEMU.AdditionalArguments", r#"["-a,b"]"#), r#"["-a,b"]"#);
    assert_eq!(change("Network[0].PortForward[0].HostPort", "8022"), "8022");
    assert_eq!(
        change("Sharing", r#"{"ClipboardSharing": false}"#),
        r#"{"ClipboardSharing":false,"DirectoryShareMode":"VirtFS","DirectoryShareReadOnly":false}"#
    );
    assert_eq!(change("Sound", "[]"), "[]");
    assert_eq!(change("Sound", r#"[{"Hardware": "sb16"}]"#), r#"[{"Hardware":"sb16"}]"#);
    assert_eq!(change("Information.Name", ""), "");
}

#[test]
fn every_value_can_be_set_to_what_it_is() {
    for text in [QEMU, APPLE] {
        let original = Configuration::read(text.as_bytes(), "").unwrap().configuration;
        let mut configuration = original.clone();
        for (path, value) in key_path::entries(&original) {
            match set(&mut configuration, &path, &format_value(&value)) {
                Ok(problems) => assert_eq!(lines(&problems), Vec::<String>::new()),
                Err(KeyError::Constant(_)) => assert!(path == "Backend" || path == "ConfigurationVersion", "{path}"),
                Err(error) => panic!("{path}: {error}"),
            }
        }
        assert_eq!(configuration, original);
    }
}

#[test]
fn known_values_follow_the_architecture() {
    let known = |path: &str| key_path::known_values(&configuration(), path).unwrap_or_default();
    assert!(known("System.Target").contains(&"q35") && known("Display[0].Hardware").contains(&"virtio-vga"));
    assert_eq!(known("QEMU.UEFIBoot"), ["true", "false"]);
    assert_eq!(known("drive[+].imagetype"), bundle::qemu::ImageType::NAMES);
    assert!(known("Information.Name").is_empty() && known("Nothing").is_empty());
    let noticed = set(&mut configuration(), "Display[0].Hardware", "virtio-vgaa").unwrap();
    assert_eq!(noticed[0].hint.as_deref(), Some("did you mean `virtio-vga`?"));
}

#[test]
fn what_is_wrong_is_said() {
    let wrong = [
        ("System.MemorySize", "lots"),
        ("System.MemorySize", "4XB"),
        ("System.MemorySize", "99999999999999999999"),
        ("System.MemorySize", "1.0001GiB"),
        ("System.MemorySize", "0"),
        ("System.CPUCount", "-1"),
        ("QEMU.UEFIBoot", "maybe"),
        ("Drive[0].Interface", "VirtI0"),
        ("Drive[0].Interface", "floppy disk"),
        ("Drive[0].ImageName", "../x"),
        ("Drive[7].ReadOnly", "true"),
        ("Drive[1].Identifier", "5F2A6A3E-5E3B-4D57-9E8E-1E0A52D0A001"),
        ("Network[0].PortForward[0].HostPort", "70000"),
        ("System.Memory", "1"),
        ("MemorySize", "1"),
        ("Sytem.MemorySize", "1"),
        ("System..MemorySize", "1"),
        ("Drive[0.ReadOnly", "true"),
        ("System[0]", "x"),
        ("System.Target", "q36"),
        ("System.CPU", "Pentium-9"),
        ("System.Architecture", "aarch65"),
        ("Information.UUID", "x"),
        ("Backend", "Apple"),
        ("ConfigurationVersion", "3"),
        ("Sound", "AC97"),
        ("Sound", r#"[{"Hardwear": "sb16"}]"#),
        ("QEMU.AdditionalArguments", "'open"),
        ("Information.Name", "a\u{1b}b"),
    ];
    let said: Vec<String> = wrong.iter().map(|(path, text)| format!("{path} = {text:?}\n    {}", change(path, text))).collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn keys_that_depend_on_each_other_change_together() {
    let mut configuration = configuration();
    let set = |path: &str, text: &str| Change::Set { path: path.to_owned(), text: text.to_owned() };
    assert!(matches!(edit(&mut configuration, &[set("System.Architecture", "s390x")]), Err(KeyError::Refused(_))));
    let changes = [set("System.Architecture", "s390x"), set("System.Target", "s390-ccw-virtio"), set("QEMU.UEFIBoot", "false")];
    let noticed = edit(&mut configuration, &changes).unwrap();
    let about: Vec<&str> = noticed.iter().map(|problem| problem.key_path.as_str()).collect();
    assert_eq!(about, ["Display[0].Hardware", "Sound[0].Hardware"], "devices that s390x does not have");
    assert_eq!(get(&configuration, "System.Target"), "s390-ccw-virtio");
}

#[test]
fn elements_are_added_and_removed() {
    let mut configuration = configuration();
    set(&mut configuration, "Network[+]", "").unwrap();
    assert_eq!(get(&configuration, "Network[1].Mode"), "Emulated");
    set(&mut configuration, "Network[+]", r#"{"Mode": "bridged", "BridgeInterface": "br0"}"#).unwrap();
    assert_eq!(get(&configuration, "Network[Bridged].BridgeInterface"), "br0");
    set(&mut configuration, "System.CPUFlagsAdd[+]", "avx").unwrap();
    assert_eq!(get(&configuration, "System.CPUFlagsAdd"), r#"["vmx","avx"]"#);
    set(&mut configuration, "QEMU.AdditionalArguments[+]", "-a, b").unwrap();
    assert_eq!(get(&configuration, "QEMU.AdditionalArguments[2]"), "-a, b");
    let set = |path: &str, text: &str| Change::Set { path: path.to_owned(), text: text.to_owned() };
    edit(
        &mut configuration,
        &[set("Drive[+].ImageType", "CD"), set("Drive[+].Interface", "USB"), set("Serial[0].Terminal.FontSize", "14")],
    )
    .unwrap();
    assert_eq!((get(&configuration, "Drive[2].ImageType"), get(&configuration, "Drive[2].Interface")), ("CD".to_owned(), "USB".to_owned()));
    unset(&mut configuration, "Drive[1]").unwrap();
    unset(&mut configuration, "Drive[0]").unwrap();
    assert_eq!(configuration.as_qemu().unwrap().drives.len(), 1);
    unset(&mut configuration, "Network").unwrap();
    assert_eq!(get(&configuration, "Network"), "[]");
    set_new_section(&mut configuration);
}

fn set_new_section(configuration: &mut Configuration) {
    unset(configuration, "Serial[0].Terminal").unwrap();
    assert!(get(configuration, "Serial[0].Terminal").starts_with('!'));
    set(configuration, "Serial[0].Terminal.FontSize", "20").unwrap();
    assert_eq!(get(configuration, "Serial[0].Terminal.Font"), "Menlo");
}

#[test]
fn unset_gives_back_what_a_fresh_configuration_has() {
    let mut configuration = configuration();
    for (path, fresh) in [("System.MemorySize", "512"), ("QEMU.UEFIBoot", "false"), ("System.CPUFlagsAdd", "[]")] {
        unset(&mut configuration, path).unwrap();
        assert_eq!(get(&configuration, path), fresh);
    }
    unset(&mut configuration, "Information.Notes").unwrap();
    assert!(get(&configuration, "Information.Notes").starts_with('!'));
    assert!(matches!(unset(&mut configuration, "Information.Notes"), Err(KeyError::NotSet(_))));
    let before = get(&configuration, "Network[0].MacAddress");
    unset(&mut configuration, "Network[0].MacAddress").unwrap();
    assert_ne!(get(&configuration, "Network[0].MacAddress"), before);
    assert!(matches!(unset(&mut configuration, "Backend"), Err(KeyError::Constant(_))));
}

#[test]
fn unknown_keys_can_be_looked_at_and_removed_but_not_made() {
    let mut root = qemu();
    put(&mut root, "System.Future", Some(plist::Value::Integer(7.into())));
    let mut configuration = read(&root).unwrap().configuration;
    assert_eq!(get(&configuration, "System.Future"), "7");
    assert!(set(&mut configuration, "System.Future", "8").is_err());
    unset(&mut configuration, "System.Future").unwrap();
    assert!(get(&configuration, "System.Future").starts_with('!'));
}

#[test]
fn what_was_wrong_before_does_not_stand_in_the_way() {
    let mut root = qemu();
    put(&mut root, "Network.0.MacAddress", Some(plist::Value::String("REPLACEME".to_owned())));
    put(&mut root, "Drive.1.Identifier", Some(plist::Value::String("a b".to_owned())));
    let mut configuration = read(&root).unwrap().configuration;
    set(&mut configuration, "System.MemorySize", "1GiB").unwrap();
    unset(&mut configuration, "Drive[0]").unwrap();
    unset(&mut configuration, "Network[0].MacAddress").unwrap();
    assert_eq!(lines(&configuration.validate()).len(), 1);
}

#[test]
fn all_keys_are_described() {
    let apple = Configuration::read(APPLE.as_bytes(), "").unwrap().configuration;
    let table: Vec<String> = [configuration(), apple]
        .iter()
        .flat_map(|configuration| keys(configuration.schema()))
        .map(|key| {
            let required = if key.required { ", required" } else { "" };
            // An Apple guest has the architecture of the host that runs this.
            let default = key.default.filter(|_| key.path != "System.Architecture");
            let default = default.map(|value| format!(" = {value}")).unwrap_or_default();
            let allowed = key
                .allowed
                .filter(|allowed| allowed.len() < 12 && key.kind == "choice")
                .map(|allowed| format!(" [{}]", allowed.join(" ")))
                .unwrap_or_default();
            format!("{} ({}{required}){default}{allowed}: {}", key.path, key.kind, key.description)
        })
        .collect();
    insta::assert_snapshot!(table.join("\n"));
}
