//! Machines for Apple's Virtualization framework, versions 1 to 3.

use bundle::apple::{Configuration, Keyboard, OperatingSystem, Pointer, SerialMode};
use bundle::legacy::migrate;
use serde_json::{Value, json};

use super::{dictionary, migrated};

#[test]
fn version_1_with_the_required_keys() {
    insta::assert_snapshot!(migrated("apple-1.plist"));
}

#[test]
fn version_2_with_linux_on_a_console() {
    insta::assert_snapshot!(migrated("apple-2-linux.plist"));
}

#[test]
fn version_3_with_macos() {
    insta::assert_snapshot!(migrated("apple-3-macos.plist"));
}

#[test]
fn everything_wrong() {
    insta::assert_snapshot!(migrated("apple-3-wrong.plist"));
}

fn from(mut json: Value) -> Configuration {
    let root = json.as_object_mut().unwrap();
    root.insert("version".to_owned(), 3.into());
    root.insert("isAppleVirtualization".to_owned(), true.into());
    let (configuration, _, _) = migrate(&dictionary(&json), "name").unwrap();
    configuration.as_apple().unwrap().clone()
}

#[test]
fn a_console_goes_before_a_serial_port() {
    let mode = |json: Value| from(json).serials.first().map(|serial| serial.mode);
    assert_eq!(mode(json!({"isConsoleDisplay": true, "isSerialEnabled": true})), Some(SerialMode::Terminal));
    assert_eq!(mode(json!({"isConsoleDisplay": false, "isSerialEnabled": true})), Some(SerialMode::Ptty));
    assert_eq!(mode(json!({"isConsoleDisplay": false, "isSerialEnabled": false})), None);
}

#[test]
fn memory_is_in_bytes() {
    assert_eq!(from(json!({"memorySize": 2_147_483_648_u64})).system.memory_size, 2048);
    assert_eq!(from(json!({})).system.memory_size, 4096);
}

#[test]
fn input_devices() {
    let virtualization = from(json!({"isKeyboardEnabled": true, "isPointingEnabled": true})).virtualization;
    assert_eq!((virtualization.keyboard, virtualization.pointer), (Keyboard::Generic, Pointer::Mouse));
    let virtualization = from(json!({})).virtualization;
    assert_eq!((virtualization.keyboard, virtualization.pointer), (Keyboard::Disabled, Pointer::Disabled));
}

#[test]
fn linux_gets_an_identity_and_macos_keeps_its_own() {
    let linux = from(json!({"bootLoader": {"operatingSystem": "Linux"}})).system;
    assert!(linux.generic_platform.is_some() && linux.mac_platform.is_none());
    let platform = json!({"hardwareModel": null, "machineIdentifier": null, "auxiliaryStoragePath": "AuxiliaryStorage"});
    let mac = from(json!({"bootLoader": {"operatingSystem": "macOS"}, "macPlatform": platform})).system;
    assert_eq!(mac.boot.operating_system, OperatingSystem::MacOs);
    assert_eq!(mac.mac_platform.unwrap().hardware_model.0, [1, 2, 3]);
    assert!(mac.generic_platform.is_none());
}

#[test]
fn drives_inside_and_outside() {
    let images = [
        json!({"sizeMib": 10240, "isReadOnly": false, "isExternal": false, "imagePath": "disk.img"}),
        json!({"sizeMib": 0, "isReadOnly": true, "isExternal": true, "imageBookmark": null}),
        json!({"isReadOnly": false, "isExternal": false, "imagePath": "/etc/passwd"}),
    ];
    let drives = from(json!({"diskImages": images})).drives;
    assert_eq!(drives[0].image_name.as_ref().map(ToString::to_string).as_deref(), Some("disk.img"));
    assert!(drives[1].is_external() && drives[1].read_only && drives[1].bookmark.is_some());
    assert_eq!((drives[2].is_external(), drives[2].invalid_image_name()), (false, Some("/etc/passwd")));
}

#[test]
fn a_custom_icon_stays_custom() {
    let information = from(json!({"name": "Mac", "icon": "me.png", "iconCustom": true})).information;
    assert_eq!((information.name.as_str(), information.icon.as_deref(), information.icon_custom), ("Mac", Some("me.png"), true));
}
