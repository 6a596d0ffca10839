//! Whatever a legacy file holds, reading it does not panic, and what comes out is a configuration of version 4 that is read as it was written.

use bundle::legacy::{migrate, view_state};
use bundle::{Configuration, Level};
use plist::{Dictionary, Integer, Value};
use proptest::prelude::*;

/// Keys that mean something somewhere.
const KEYS: &[&str] = &[
    "ConfigurationVersion",
    "System",
    "Display",
    "Input",
    "Networking",
    "Sound",
    "Sharing",
    "Drives",
    "Debug",
    "Info",
    "Printing",
    "Backend",
    "Architecture",
    "Target",
    "CPU",
    "CPUFlags",
    "Memory",
    "CPUCount",
    "BootUefi",
    "RngEnabled",
    "JITCacheSize",
    "AddArgs",
    "SystemUUID",
    "UseHypervisor",
    "ConsoleOnly",
    "DisplayCard",
    "ConsoleFontSize",
    "DisplayUpscaler",
    "NetworkMode",
    "NetworkEnabled",
    "NetworkCardMAC",
    "PortForward",
    "Protocol",
    "HostPort",
    "GuestPort",
    "SoundEnabled",
    "SoundCard",
    "UsbRedirectMax",
    "DriveName",
    "ImagePath",
    "ImageType",
    "InterfaceType",
    "Removable",
    "Icon",
    "IconCustom",
    "version",
    "isAppleVirtualization",
    "name",
    "memorySize",
    "bootLoader",
    "macPlatform",
    "networkDevices",
    "displays",
    "diskImages",
    "operatingSystem",
    "linuxKernelPath",
    "hardwareModel",
    "imagePath",
    "isConsoleDisplay",
    "DisplayScale",
    "RemovableDrives",
    "RemovableDrivesPath",
    "SharedDirectory",
];

/// Texts that mean something somewhere.
const TEXTS: &[&str] = &[
    "",
    "x86_64",
    "aarch64",
    "cris",
    "q35",
    "virt",
    "pc-i440fx-2.0",
    "shix",
    "default",
    "+avx",
    "-",
    "linear",
    "emulated",
    "none",
    "tcp",
    "pcspk",
    "disk",
    "cd",
    "ide",
    "drive",
    "drive0",
    "../up",
    "efi_vars.fd",
    "a.img",
    "Linux",
    "macOS",
    "Shared",
    "Unknown",
    "\u{0}",
    "\u{1f}é\n",
];

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![4 => proptest::sample::select(TEXTS).prop_map(str::to_owned), 1 => any::<String>()]
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![20 => proptest::sample::select(KEYS).prop_map(str::to_owned), 1 => any::<String>()]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => any_text().prop_map(Value::String),
        2 => any::<bool>().prop_map(Value::Boolean),
        2 => (0_i64..5).prop_map(|number| Value::Integer(Integer::from(number))),
        1 => any::<i64>().prop_map(|number| Value::Integer(Integer::from(number))),
        1 => any::<u64>().prop_map(|number| Value::Integer(Integer::from(number))),
        1 => any::<f64>().prop_map(Value::Real),
        1 => proptest::collection::vec(any::<u8>(), 0..4).prop_map(Value::Data),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            2 => any_dictionary(inner).prop_map(Value::Dictionary),
        ]
    })
}

fn any_dictionary(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Dictionary> {
    proptest::collection::vec((any_key(), value), 0..12).prop_map(|entries| entries.into_iter().collect())
}

/// A dictionary that is mostly taken for a legacy configuration.
fn any_legacy() -> impl Strategy<Value = Dictionary> {
    (any_dictionary(any_value()), any_dictionary(any_value()), any::<bool>(), 0_u64..5).prop_map(|(mut root, system, apple, version)| {
        if apple {
            root.insert("isAppleVirtualization".to_owned(), Value::Boolean(true));
            root.insert("version".to_owned(), Value::Integer(version.into()));
        } else {
            root.insert("System".to_owned(), Value::Dictionary(system));
            root.remove("isAppleVirtualization");
            root.remove("ConfigurationVersion");
        }
        root
    })
}

proptest! {
    #[test]
    fn migration_is_the_same_each_time(root in any_legacy()) {
        prop_assert_eq!(migrate(&root, "Name"), migrate(&root, "Name"));
    }

    #[test]
    fn migration_never_panics(root in any_dictionary(any_value()), name in any::<String>()) {
        let _ = migrate(&root, &name);
        let _ = view_state(&root);
    }

    #[test]
    fn what_is_migrated_is_read_as_it_was_written(root in any_legacy()) {
        if let Ok((configuration, problems, _)) = migrate(&root, "Name") {
            prop_assert!(problems.iter().all(|problem| problem.level != Level::Fatal));
            // Control characters cannot be written; the reader of files refuses them before anything is migrated.
            if let Ok(xml) = configuration.to_xml() {
                let read = Configuration::read(&xml, "other");
                prop_assert!(read.is_ok(), "{:?}", read.err());
                prop_assert_eq!(read.unwrap().configuration, configuration);
            }
        }
    }
}
