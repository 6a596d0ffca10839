//! Whatever a configuration holds, saving and reading it again gives the same, unknown keys included.

mod support;

use bundle::qemu::{
    self, DirectoryShareMode, Display, Drive, DriveInterface, ImageType, Network, PortForward, Protocol, Serial, SerialMode, Sound,
};
use bundle::{Configuration, FileName};
use plist::{Dictionary, Value};
use proptest::prelude::*;
use support::{put, qemu, read};

fn text() -> impl Strategy<Value = String> {
    // Everything that XML can hold.
    prop_oneof!["[ -~]{0,20}", "[\\t\\n\\r -\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{1ffff}]{0,12}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(|number| Value::Integer(number.into())),
        any::<u64>().prop_map(|number| Value::Integer(number.into())),
        (-1e9..1e9_f64).prop_map(Value::Real),
        text().prop_map(Value::String),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Data),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((text(), inner), 0..4).prop_map(|entries| Value::Dictionary(entries.into_iter().collect())),
        ]
    })
}

fn extra() -> impl Strategy<Value = Dictionary> {
    proptest::collection::vec(("X[a-zA-Z]{0,8}", value()), 0..3).prop_map(|entries| entries.into_iter().collect())
}

fn file_name() -> impl Strategy<Value = Option<FileName>> {
    proptest::option::of("[a-zA-Z0-9 äß._-]{1,30}").prop_map(|name| name.and_then(|name| FileName::new(&name).ok()))
}

fn drive() -> impl Strategy<Value = Drive> {
    let choices = (proptest::sample::select(ImageType::ALL), proptest::sample::select(DriveInterface::ALL));
    (file_name(), choices, any::<u32>(), text(), any::<bool>(), extra()).prop_map(
        |(image_name, (image_type, interface), interface_version, identifier, read_only, extra)| Drive {
            image_name,
            image_type,
            interface,
            interface_version,
            identifier,
            read_only,
            extra,
        },
    )
}

fn forward() -> impl Strategy<Value = PortForward> {
    (proptest::sample::select(Protocol::ALL), proptest::option::of(text()), any::<u32>(), any::<u32>(), extra()).prop_map(
        |(protocol, host_address, host_port, guest_port, extra)| PortForward {
            protocol,
            host_address,
            host_port,
            guest_address: None,
            guest_port,
            extra,
        },
    )
}

fn configuration() -> impl Strategy<Value = qemu::Configuration> {
    let devices = (
        proptest::collection::vec(drive(), 0..4),
        proptest::collection::vec(forward(), 0..3),
        proptest::collection::vec(text(), 0..3),
        proptest::sample::select(SerialMode::ALL),
    );
    let system = (any::<u32>(), 0..=i64::MAX as u64, proptest::sample::select(DirectoryShareMode::ALL), any::<bool>());
    (text(), proptest::option::of(text()), devices, system, extra(), extra(), extra()).prop_map(
        |(
            name,
            notes,
            (drives, port_forwards, arguments, mode),
            (cpu_count, memory_size, share, flag),
            root,
            system_extra,
            display_extra,
        )| {
            let mut configuration = qemu::Configuration { drives, extra: root, ..Default::default() };
            configuration.information.name = name;
            configuration.information.notes = notes;
            configuration.system.cpu_count = cpu_count;
            configuration.system.memory_size = memory_size;
            configuration.system.extra = system_extra;
            configuration.sharing.directory_share_mode = share;
            configuration.qemu.additional_arguments = arguments;
            configuration.qemu.uefi_boot = flag;
            configuration.displays = vec![Display { extra: display_extra, ..Default::default() }];
            configuration.networks = vec![Network { port_forwards, ..Default::default() }];
            configuration.serials = vec![Serial { mode, ..Default::default() }];
            configuration.sounds = vec![Sound::default()];
            configuration
        },
    )
}

proptest! {
    #[test]
    fn saved_and_read_again(configuration in configuration()) {
        let configuration = Configuration::Qemu(configuration);
        let loaded = Configuration::read(&configuration.to_xml().unwrap(), "").unwrap();
        prop_assert_eq!(&loaded.configuration, &configuration);
        prop_assert_eq!(loaded.raw, configuration.to_dictionary());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Configuration::read(&bytes, "x");
        let mut binary = b"bplist00".to_vec();
        binary.extend_from_slice(&bytes);
        let _ = Configuration::read(&binary, "x");
    }

    #[test]
    fn damaged_files_do_not_panic(position in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut binary = Vec::new();
        plist::to_writer_binary(&mut binary, &qemu()).unwrap();
        for mut bytes in [binary, support::QEMU.as_bytes().to_vec(), support::APPLE.as_bytes().to_vec()] {
            let position = position.index(bytes.len());
            bytes[position] = byte;
            if let Ok(loaded) = Configuration::read(&bytes, "x") {
                loaded.configuration.validate();
            }
        }
    }
}

#[test]
fn unknown_keys_survive_everywhere() {
    let mut root = qemu();
    let unknown: Dictionary =
        [("Nested".to_owned(), Value::Array(vec![Value::Real(0.5), Value::Data(vec![1, 2, 3])]))].into_iter().collect();
    for place in [
        "",
        "Information.",
        "System.",
        "QEMU.",
        "Input.",
        "Sharing.",
        "Display.0.",
        "Drive.1.",
        "Network.0.",
        "Network.0.PortForward.0.",
        "Serial.0.",
        "Serial.0.Terminal.",
        "Sound.0.",
    ] {
        put(&mut root, &format!("{place}FutureKey"), Some(Value::Dictionary(unknown.clone())));
    }
    let loaded = read(&root).unwrap();
    assert_eq!(loaded.configuration.to_dictionary(), root);
    let again = Configuration::read(&loaded.configuration.to_xml().unwrap(), "").unwrap();
    assert_eq!(again.raw, root);
}
