//! QEMU machines of UTM before 4.0: everything but drives and networks.

use plist::Dictionary;
use uuid::Uuid;

use super::drives::drives;
use super::identity::Identity;
use super::networks::network;
use super::reader::{Reader, unknown};
use crate::problem::{Findings, Level, printable};
use crate::qemu::{
    Configuration, DirectoryShareMode, Display, Input, Qemu, ScalingFilter, Serial, SerialMode, SerialTarget, Sharing, Sound, System,
    UsbBusSupport,
};
use crate::tables::{cpu_is_known, known_or_default_machine};
use crate::{Architecture, Information, Terminal};

/// Brings the configuration into the present form.
pub(super) fn migrate(root: &Dictionary, fallback_name: &str, identity: Identity, findings: &mut Findings) -> Configuration {
    Reader::read(root, findings, |root| {
        // `ConfigurationVersion` and `Backend` have been looked at; nothing ever read `Printing`.
        root.obsolete(&["ConfigurationVersion", "Backend", "Printing"]);
        let Core { system, mut qemu, uuid, machine } = root.section("System", read_system);
        let (sharing, usb) = root.section("Sharing", |reader| read_sharing(reader, &machine));
        let legacy_input = root.section("Input", |reader| {
            reader.obsolete(&["TouchscreenMode", "DirectInput"]);
            reader.dropped("InputInvertScroll", "the direction of scrolling is no longer set per machine");
            reader.boolean("InputLegacy").unwrap_or(false)
        });
        let (displays, serials) = root.section("Display", |reader| read_display(reader, &machine, &sharing));
        qemu.debug_log = root.section("Debug", |reader| {
            reader.dropped("IgnoreAllConfiguration", "there is no way any more to run QEMU with the additional arguments alone");
            reader.boolean("DebugLog").unwrap_or(false)
        });
        Configuration {
            information: root
                .section("Info", |reader| read_information(reader, fallback_name, uuid.unwrap_or_else(|| identity.uuid("machine")))),
            system,
            qemu,
            input: Input {
                usb_bus_support: if legacy_input { UsbBusSupport::Disabled } else { usb.bus },
                usb_sharing: true,
                maximum_usb_share: usb.redirections,
                ..Input::default()
            },
            sharing: Sharing {
                directory_share_mode: if sharing.directory { DirectoryShareMode::WebDav } else { DirectoryShareMode::None },
                directory_share_read_only: sharing.read_only,
                clipboard_sharing: sharing.clipboard,
                ..Sharing::default()
            },
            displays,
            drives: drives(root, identity),
            networks: root.section("Networking", |reader| network(reader, identity)).into_iter().collect(),
            serials,
            sounds: root.section("Sound", read_sound).into_iter().collect(),
            ..Configuration::default()
        }
    })
}

/// What `System` holds, which went into several sections.
struct Core {
    system: System,
    qemu: Qemu,
    uuid: Option<Uuid>,
    /// The machine that the legacy file means. Repairs go by it, even when it no longer exists.
    machine: Machine,
}

/// A legacy machine name, and UTM's questions about it.
struct Machine(String);

impl Machine {
    fn is_pc(&self) -> bool {
        self.0.starts_with("pc") || self.0.starts_with("q35")
    }

    fn is_virt(&self) -> bool {
        self.0 == "virt" || self.0.starts_with("virt-")
    }
}

fn read_system(reader: &mut Reader<'_>) -> Core {
    let named = reader.filled("Architecture");
    let architecture = match named.as_deref().map(str::parse::<Architecture>) {
        Some(Ok(architecture)) => architecture,
        Some(Err(_)) => {
            let message = unknown(named.as_deref().unwrap_or_default(), "QEMU does not have it any more, and x86_64 stands in");
            reader.fixed("Architecture", message);
            Architecture::X86_64
        }
        None => {
            reader.fixed("Architecture", "architecture is missing; x86_64 stands in");
            Architecture::X86_64
        }
    };

    let default_target = default_target(named.as_deref().unwrap_or(architecture.as_str()));
    let machine = Machine(reader.filled("Target").unwrap_or_else(|| default_target.to_owned()));
    let target = known_or_default_machine(architecture, &machine.0);
    if target != machine.0 {
        reader.fixed("Target", unknown(&machine.0, &format!("`{target}` stands in")));
    }

    let mut cpu = reader.filled("CPU").unwrap_or_else(|| "default".to_owned());
    if !cpu_is_known(architecture, &cpu) {
        reader.fixed("CPU", unknown(&cpu, "`default` stands in"));
        cpu = "default".to_owned();
    }
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for flag in reader.texts("CPUFlags") {
        let (list, name) = match flag.strip_prefix('-') {
            Some(name) => (&mut remove, name),
            None => (&mut add, flag.strip_prefix('+').unwrap_or(&flag)),
        };
        if !name.is_empty() {
            list.push(name.to_owned());
        }
    }

    reader.obsolete(&["BootDevice"]);
    let starts_virt = machine.0.starts_with("virt");
    let on_mac = matches!(architecture, Architecture::Aarch64 | Architecture::X86_64);
    let system = System {
        architecture,
        target: target.to_owned(),
        cpu,
        cpu_flags_add: add,
        cpu_flags_remove: remove,
        cpu_count: reader.small("CPUCount").unwrap_or(0),
        force_multicore: reader.boolean("ForceMulticore").unwrap_or(false),
        memory_size: reader.unsigned("Memory").unwrap_or(512),
        jit_cache_size: reader.unsigned("JITCacheSize").unwrap_or(0),
        ..System::default()
    };
    let qemu = Qemu {
        uefi_boot: reader.boolean("BootUefi").unwrap_or(starts_virt),
        rng_device: reader.boolean("RngEnabled").unwrap_or(starts_virt || machine.is_pc()),
        hypervisor: reader.boolean("UseHypervisor").unwrap_or(on_mac),
        rtc_local_time: reader.boolean("RTCUseLocalTime").unwrap_or(true),
        ps2_controller: reader.boolean("ForcePS2Controller").unwrap_or(machine.is_pc()),
        machine_property_override: reader.filled("MachineProperties"),
        additional_arguments: reader.text_or_texts("AddArgs"),
        ..Qemu::default()
    };
    let uuid = reader.filled("SystemUUID").and_then(|text| {
        let uuid = Uuid::try_parse(&text).ok();
        if uuid.is_none() {
            reader.fixed("SystemUUID", format!("`{}` is not a UUID; another one stands in", printable(&text)));
        }
        uuid
    });
    Core { system, qemu, uuid, machine }
}

/// The machine of a legacy configuration that names none.
fn default_target(architecture: &str) -> &'static str {
    match architecture {
        "alpha" => "clipper",
        "arm" | "aarch64" => "virt",
        "avr" => "mega",
        "cris" => "axis-dev88",
        "hppa" => "hppa",
        "i386" | "x86_64" => "q35",
        "m68k" => "mcf5208evb",
        "microblaze" | "microblazeel" => "petalogix-s3adsp1800",
        "mips" | "mipsel" | "mips64" | "mips64el" => "malta",
        "nios2" => "10m50-ghrd",
        "or1k" => "or1k-sim",
        "ppc" => "g3beige",
        "ppc64" => "pseries",
        "riscv32" | "riscv64" => "spike",
        "rx" => "gdbsim-r5f562n7",
        "s390x" => "s390-ccw-virtio",
        "sh4" | "sh4eb" => "shix",
        "sparc" => "SS-5",
        "sparc64" => "sun4u",
        "tricore" => "tricore_testboard",
        "xtensa" | "xtensaeb" => "sim",
        _ => "",
    }
}

/// What `Sharing` says about the guest's agents.
struct Shared {
    clipboard: bool,
    directory: bool,
    read_only: bool,
}

/// What `Sharing` says about USB.
struct Usb {
    bus: UsbBusSupport,
    redirections: u32,
}

fn read_sharing(reader: &mut Reader<'_>, machine: &Machine) -> (Shared, Usb) {
    let elsewhere = "the shared folder belongs to the host now; choose it again";
    reader.dropped("DirectoryName", elsewhere);
    reader.dropped("DirectoryBookmark", elsewhere);
    let shared = Shared {
        clipboard: reader.boolean("ClipboardSharing").unwrap_or(false),
        directory: reader.boolean("DirectorySharing").unwrap_or(false),
        read_only: reader.boolean("DirectoryReadOnly").unwrap_or(false),
    };
    let usb3 = reader.boolean("Usb3Support").unwrap_or(machine.is_virt());
    let usb = Usb {
        bus: if usb3 { UsbBusSupport::Usb3 } else { UsbBusSupport::Usb2 },
        redirections: reader.small("UsbRedirectMax").unwrap_or(3),
    };
    (shared, usb)
}

fn read_display(reader: &mut Reader<'_>, machine: &Machine, sharing: &Shared) -> (Vec<Display>, Vec<Serial>) {
    let card = if machine.is_pc() {
        "qxl-vga"
    } else if machine.is_virt() {
        "virtio-ramfb"
    } else {
        "VGA"
    };
    let display = Display {
        hardware: reader.filled("DisplayCard").unwrap_or_else(|| card.to_owned()),
        dynamic_resolution: reader.boolean("DisplayFitScreen").unwrap_or(sharing.clipboard || sharing.directory),
        upscaling_filter: scaling_filter(reader, "DisplayUpscaler"),
        downscaling_filter: scaling_filter(reader, "DisplayDownscaler"),
        native_resolution: reader.boolean("DisplayRetina").unwrap_or(false),
        ..Display::default()
    };
    // The theme was a name for colours that are stored as well.
    reader.obsolete(&["ConsoleTheme"]);
    let terminal = Terminal {
        theme: None,
        foreground_color: Some(reader.filled("ConsoleTextColor").unwrap_or_else(|| "#ffffff".to_owned())),
        background_color: Some(reader.filled("ConsoleBackgroundColor").unwrap_or_else(|| "#000000".to_owned())),
        font: reader.filled("ConsoleFont").unwrap_or_else(|| "Menlo-Regular".to_owned()),
        font_size: reader.small("ConsoleFontSize").filter(|size| *size > 0).unwrap_or(12),
        resize_command: reader.filled("ConsoleResizeCommand"),
        cursor_blink: reader.boolean("ConsoleBlink").unwrap_or(false),
        ..Terminal::default()
    };
    if reader.boolean("ConsoleOnly").unwrap_or(false) {
        let serial = Serial { mode: SerialMode::Terminal, target: SerialTarget::Auto, terminal: Some(terminal), ..Serial::default() };
        (Vec::new(), vec![serial])
    } else {
        (vec![display], Vec::new())
    }
}

fn scaling_filter(reader: &mut Reader<'_>, key: &'static str) -> ScalingFilter {
    match reader.filled(key).as_deref() {
        None | Some("linear") => ScalingFilter::Linear,
        Some("nearest") => ScalingFilter::Nearest,
        Some(other) => {
            reader.fixed(key, unknown(other, "`linear` stands in"));
            ScalingFilter::Linear
        }
    }
}

fn read_sound(reader: &mut Reader<'_>) -> Option<Sound> {
    let enabled = reader.boolean("SoundEnabled").unwrap_or(false);
    let card = reader.filled("SoundCard").unwrap_or_else(|| "AC97".to_owned());
    let hardware = match card.as_str() {
        "pcspk" => {
            if enabled {
                reader.report("SoundCard", Level::Fixed, "the PC speaker cannot be a sound card; there is no sound", None);
            }
            return None;
        }
        "hda" => "intel-hda".to_owned(),
        "ac97" => "AC97".to_owned(),
        _ => card,
    };
    enabled.then(|| Sound { hardware, ..Sound::default() })
}

fn read_information(reader: &mut Reader<'_>, name: &str, uuid: Uuid) -> Information {
    let icon = reader.filled("Icon");
    let mut custom = reader.boolean("IconCustom").unwrap_or(false);
    if custom && icon.is_none() {
        reader.fixed("IconCustom", "the custom icon has no name; the machine has no icon");
        custom = false;
    }
    Information { name: name.to_owned(), icon_custom: custom, icon, notes: reader.filled("Notes"), uuid, ..Information::default() }
}
