//! The configuration of a machine in the object model of Apple's Virtualization framework (`Backend` = `Apple`, version 4).

use plist::{Dictionary, Value};

use crate::architecture::Architecture;
use crate::fields::Data;
use crate::file_name::FileName;
use crate::information::{Information, StoredDirectory, Terminal, random_identifier, random_mac_address};
use crate::problem::{Findings, Level};
use crate::schema::{Kind, choice, section};

section! {
    /// A machine in the object model of Apple's Virtualization framework.
    Configuration {
        information: Information = Information::default(), "Information" required, "Name, icon and identity";
        system: System = System::default(), "System" required, "Processors, memory and what boots";
        virtualization: Virtualization = Virtualization::default(), "Virtualization" required, "Small devices";
        displays: Vec<Display> = Vec::new(), "Display" required, "Screens";
        drives: Vec<Drive> = Vec::new(), "Drive" required, "Drives";
        networks: Vec<Network> = vec![Network::default()], "Network" required, "Network cards";
        serials: Vec<Serial> = Vec::new(), "Serial" required, "Serial ports";
        shared_directories: Option<Vec<StoredDirectory>> = None, "SharedDirectory" optional, "Shared folders as early builds stored them";
    }
}

section! {
    /// Processors, memory and what boots.
    System {
        architecture: Architecture = host_architecture(), "Architecture" required, "Architecture of the guest, which is that of the host";
        cpu_count: u32 = 0, "CPUCount" required, "Number of vCPUs; 0 chooses";
        memory_size: u64 = 4096, "MemorySize" required as Kind::Mebibytes, "Memory of the guest, in MiB";
        boot: Boot = Boot::default(), "Boot" required, "What boots";
        mac_platform: Option<MacPlatform> = None, "MacPlatform" optional, "Identity of the Mac that a macOS guest sees";
        generic_platform: Option<GenericPlatform> = None, "GenericPlatform" optional, "Identity of the machine that other guests see";
    }
}

/// The architecture of this computer: the only one that this backend runs.
const fn host_architecture() -> Architecture {
    if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 }
}

choice! {
    /// The kind of guest.
    OperatingSystem {
        None = "None",
        Linux = "Linux",
        MacOs = "macOS",
    }
}

section! {
    /// What boots.
    Boot {
        operating_system: OperatingSystem = OperatingSystem::None, "OperatingSystem" required, "Kind of guest";
        uefi_boot: bool = false, "UEFIBoot" optional(false), "Whether the guest boots with UEFI firmware";
        linux_kernel_path: Option<FileName> = None, "LinuxKernelPath" optional, "Kernel in `Data/`";
        linux_command_line: Option<String> = None, "LinuxCommandLine" optional, "Command line of the kernel";
        linux_initial_ramdisk_path: Option<FileName> = None, "LinuxInitialRamdiskPath" optional, "Initial RAM disk in `Data/`";
        efi_variable_storage_path: Option<FileName> = None, "EfiVariableStoragePath" optional, "UEFI variables in `Data/`";
    }
}

section! {
    /// Identity of the Mac that a macOS guest sees.
    MacPlatform {
        hardware_model: Data = Data::default(), "HardwareModel" required, "Hardware model, opaque";
        machine_identifier: Data = Data::default(), "MachineIdentifier" required, "Identity of the machine, opaque";
        auxiliary_storage_path: Option<FileName> = None, "AuxiliaryStoragePath" optional, "NVRAM in `Data/`";
    }
}

section! {
    /// Identity of the machine that guests other than macOS see.
    GenericPlatform {
        machine_identifier: Option<Data> = None, "machineIdentifier" optional, "Identity of the machine, opaque";
    }
}

choice! {
    /// The keyboard of the guest.
    Keyboard {
        Disabled = "Disabled",
        Generic = "Generic",
        Mac = "Mac",
    }
}

choice! {
    /// The pointing device of the guest.
    Pointer {
        Disabled = "Disabled",
        Mouse = "Mouse",
        Trackpad = "Trackpad",
    }
}

section! {
    /// Small devices.
    Virtualization, prepare = from_booleans {
        audio: bool = false, "Audio" required, "Whether the guest has sound";
        balloon: bool = true, "Balloon" required, "Whether the guest has a memory balloon";
        entropy: bool = true, "Entropy" required, "Whether the guest gets random numbers from the host";
        keyboard: Keyboard = Keyboard::Disabled, "Keyboard" required, "Keyboard";
        pointer: Pointer = Pointer::Disabled, "Pointer" required, "Pointing device";
        rosetta: Option<bool> = None, "Rosetta" optional, "Whether a Linux guest may run x86-64 programs with Rosetta";
        clipboard_sharing: bool = false, "ClipboardSharing" optional(false), "Whether host and guest share the clipboard";
    }
}

/// Early builds stored the keyboard and the pointer as booleans, with `Trackpad` beside them.
fn from_booleans(virtualization: &mut Dictionary, findings: &mut Findings) {
    let mut changed = false;
    if let Some(keyboard) = virtualization.get("Keyboard").and_then(Value::as_boolean) {
        let keyboard = if keyboard { Keyboard::Generic } else { Keyboard::Disabled };
        virtualization.insert("Keyboard".to_owned(), Value::String(keyboard.as_str().to_owned()));
        changed = true;
    }
    if let Some(pointer) = virtualization.get("Pointer").and_then(Value::as_boolean) {
        let trackpad = virtualization.get("Trackpad").and_then(Value::as_boolean).unwrap_or(false);
        let pointer = match (pointer, trackpad) {
            (false, _) => Pointer::Disabled,
            (true, false) => Pointer::Mouse,
            (true, true) => Pointer::Trackpad,
        };
        virtualization.insert("Pointer".to_owned(), Value::String(pointer.as_str().to_owned()));
        virtualization.remove("Trackpad");
        changed = true;
    }
    if changed {
        findings.report(Level::Fixed, "keyboard and pointer are booleans, as early builds of UTM wrote them", None);
    }
}

section! {
    /// A screen.
    Display {
        width_pixels: u32 = 1920, "WidthPixels" required, "Width in pixels";
        height_pixels: u32 = 1200, "HeightPixels" required, "Height in pixels";
        pixels_per_inch: u32 = 80, "PixelsPerInch" required, "Density; 226 and more count as high resolution";
        dynamic_resolution: bool = true, "DynamicResolution" optional(true), "Whether the guest's screen follows the window";
    }
}

section! {
    /// A drive.
    Drive, prepare = crate::qemu::read_only_if_external {
        image_name: Option<FileName> = None, "ImageName" optional, "File in `Data/`; without one the drive takes media from outside";
        read_only: bool = false, "ReadOnly" optional(false), "Whether the guest may not write";
        nvme: bool = false, "Nvme" optional(false), "Whether the drive is NVMe rather than VirtIO";
        identifier: String = random_identifier(), "Identifier" required, "What names the drive in the registry";
        bookmark: Option<Data> = None, "Bookmark" optional, "macOS bookmark of external media, as early builds stored it";
    }
}

impl Drive {
    /// The text of `ImageName` where it is not a plain file name, so that the drive has no [`Drive::image_name`].
    pub fn invalid_image_name(&self) -> Option<&str> {
        self.extra.get("ImageName").and_then(Value::as_string)
    }

    /// Whether its media come from outside the bundle.
    pub fn is_external(&self) -> bool {
        self.image_name.is_none() && !self.extra.contains_key("ImageName")
    }
}

choice! {
    /// What a network card is connected to.
    NetworkMode {
        Shared = "Shared",
        Bridged = "Bridged",
    }
}

section! {
    /// A network card.
    Network {
        mode: NetworkMode = NetworkMode::Shared, "Mode" required, "What the card is connected to";
        mac_address: String = random_mac_address().to_lowercase(), "MacAddress" required, "MAC address";
        bridge_interface: Option<String> = None, "BridgeInterface" optional, "Interface of the host to bridge to";
    }
}

choice! {
    /// Where a serial port leads to.
    SerialMode {
        Terminal = "Terminal",
        Ptty = "Ptty",
    }
}

section! {
    /// A serial port.
    Serial {
        mode: SerialMode = SerialMode::Terminal, "Mode" required, "Where it leads to";
        terminal: Option<Terminal> = Some(Terminal::default()), "Terminal" optional, "Look of the terminal, in mode `Terminal`";
    }
}
