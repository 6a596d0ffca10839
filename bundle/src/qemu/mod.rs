//! The configuration of a machine that QEMU runs (`Backend` = `QEMU`, version 4).

mod devices;

use crate::architecture::Architecture;
use crate::information::Information;
use crate::schema::{Kind, choice, section};

pub(crate) use devices::read_only_if_external;
pub use devices::{
    Display, Drive, DriveInterface, ImageType, Network, NetworkMode, PortForward, Protocol, ScalingFilter, Serial, SerialMode,
    SerialTarget, Sound,
};

section! {
    /// A machine that QEMU runs.
    Configuration {
        information: Information = Information::default(), "Information" required, "Name, icon and identity";
        system: System = System::default(), "System" required, "Board, processors and memory";
        qemu: Qemu = Qemu::default(), "QEMU" required, "Firmware, accelerator and small devices";
        input: Input = Input::default(), "Input" required, "USB";
        sharing: Sharing = Sharing::default(), "Sharing" required, "Clipboard and shared folder";
        displays: Vec<Display> = Vec::new(), "Display" required, "Graphics cards; none makes a machine without a screen";
        drives: Vec<Drive> = Vec::new(), "Drive" required, "Drives, in the order in which they are tried for booting";
        networks: Vec<Network> = Vec::new(), "Network" required, "Network cards";
        serials: Vec<Serial> = Vec::new(), "Serial" required, "Serial ports";
        sounds: Vec<Sound> = Vec::new(), "Sound" required, "Sound cards";
    }
}

section! {
    /// Board, processors and memory.
    System {
        architecture: Architecture = Architecture::X86_64, "Architecture" required, "Architecture of the guest's processors";
        target: String = "q35".to_owned(), "Target" required, "QEMU machine, such as `q35` or `virt`";
        cpu: String = "default".to_owned(), "CPU" required, "QEMU processor model, or `default`";
        cpu_flags_add: Vec<String> = Vec::new(), "CPUFlagsAdd" required, "Processor features to switch on";
        cpu_flags_remove: Vec<String> = Vec::new(), "CPUFlagsRemove" required, "Processor features to switch off";
        cpu_count: u32 = 0, "CPUCount" required, "Number of vCPUs; 0 chooses";
        force_multicore: bool = false, "ForceMulticore" required, "Whether emulation uses several threads even where that is unsafe";
        memory_size: u64 = 512, "MemorySize" required as Kind::Mebibytes, "Memory of the guest, in MiB";
        jit_cache_size: u64 = 0, "JITCacheSize" required as Kind::Mebibytes, "Buffer for translated code, in MiB; 0 is a quarter of the memory";
    }
}

section! {
    /// Firmware, accelerator and small devices.
    Qemu {
        debug_log: bool = false, "DebugLog" required, "Whether each run leaves a log in `Data/debug.log`";
        uefi_boot: bool = false, "UEFIBoot" required, "Whether the machine boots with UEFI firmware";
        rng_device: bool = false, "RNGDevice" required, "Whether the guest gets random numbers from the host";
        balloon_device: bool = false, "BalloonDevice" required, "Whether the guest has a memory balloon";
        tpm_device: bool = false, "TPMDevice" required, "Whether the guest has a TPM 2.0";
        hypervisor: bool = false, "Hypervisor" required, "Whether to use hardware virtualization where the architectures match";
        tso: bool = false, "TSO" optional(false), "Whether an ARM host orders stores as x86 does";
        rtc_local_time: bool = false, "RTCLocalTime" required, "Whether the guest's clock shows local time";
        ps2_controller: bool = false, "PS2Controller" required, "Whether keyboard and mouse are PS/2 rather than USB";
        machine_property_override: Option<String> = None, "MachinePropertyOverride" optional, "Properties of `-machine` that replace the usual ones";
        additional_arguments: Vec<String> = Vec::new(), "AdditionalArguments" required as Kind::Arguments, "Further arguments for QEMU";
    }
}

choice! {
    /// The USB controller.
    UsbBusSupport {
        Disabled = "Disabled",
        Usb2 = "2.0",
        Usb3 = "3.0",
    }
}

section! {
    /// USB.
    Input {
        usb_bus_support: UsbBusSupport = UsbBusSupport::Usb2, "UsbBusSupport" required, "USB controller";
        usb_sharing: bool = false, "UsbSharing" required, "Whether USB devices of the host may be passed on";
        maximum_usb_share: u32 = 3, "MaximumUsbShare" required, "How many USB devices may be passed on at a time";
    }
}

choice! {
    /// How a folder of the host reaches the guest.
    DirectoryShareMode {
        None = "None",
        WebDav = "WebDAV",
        VirtFs = "VirtFS",
    }
}

section! {
    /// Clipboard and shared folder. The folder itself belongs to the host and is in the registry.
    Sharing {
        directory_share_mode: DirectoryShareMode = DirectoryShareMode::None, "DirectoryShareMode" required, "How a folder is shared";
        directory_share_read_only: bool = false, "DirectoryShareReadOnly" required, "Whether the guest may not write to the folder";
        clipboard_sharing: bool = false, "ClipboardSharing" required, "Whether host and guest share the clipboard";
    }
}
