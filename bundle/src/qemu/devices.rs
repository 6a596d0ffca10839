//! The arrays of a QEMU configuration: displays, drives, networks, serial ports, sound.

use plist::{Dictionary, Value};
use uuid::Uuid;

use crate::file_name::FileName;
use crate::information::{Terminal, random_identifier, random_mac_address};
use crate::problem::{Findings, Level};
use crate::schema::{Kind, Section, choice, section};

choice! {
    /// How a picture is scaled.
    ScalingFilter {
        Linear = "Linear",
        Nearest = "Nearest",
    }
}

section! {
    /// A graphics card.
    Display {
        hardware: String = "virtio-vga".to_owned(), "Hardware" required, "QEMU display device";
        vga_ram_mib: Option<u64> = None, "VgaRamMib" optional as Kind::Mebibytes, "Video memory of VGA-like cards, in MiB";
        dynamic_resolution: bool = true, "DynamicResolution" required, "Whether the guest's screen follows the window";
        upscaling_filter: ScalingFilter = ScalingFilter::Nearest, "UpscalingFilter" required, "How a picture is enlarged";
        downscaling_filter: ScalingFilter = ScalingFilter::Linear, "DownscalingFilter" required, "How a picture is reduced";
        native_resolution: bool = false, "NativeResolution" required, "Whether one pixel of the guest is one physical pixel";
    }
}

choice! {
    /// What an image is used as.
    ImageType {
        None = "None",
        Disk = "Disk",
        Cd = "CD",
        Bios = "BIOS",
        LinuxKernel = "LinuxKernel",
        LinuxInitrd = "LinuxInitrd",
        LinuxDtb = "LinuxDTB",
    }
}

choice! {
    /// How a disk or CD is attached.
    DriveInterface {
        None = "None",
        Ide = "IDE",
        Scsi = "SCSI",
        Sd = "SD",
        Mtd = "MTD",
        Floppy = "Floppy",
        PFlash = "PFlash",
        VirtIo = "VirtIO",
        Nvme = "NVMe",
        Usb = "USB",
    }
}

section! {
    /// A drive, or a file that the machine is booted with.
    Drive, prepare = read_only_if_external {
        image_name: Option<FileName> = None, "ImageName" optional, "File in `Data/`; without one the drive takes media from outside";
        image_type: ImageType = ImageType::None, "ImageType" required, "What the image is used as";
        interface: DriveInterface = DriveInterface::None, "Interface" required, "How it is attached; only for `Disk` and `CD`";
        interface_version: u32 = 1, "InterfaceVersion" optional(0), "Generation of the device layout: 0 for old machines, 1 for new ones";
        identifier: String = random_identifier(), "Identifier" required, "What names the drive, to QEMU and in the registry";
        read_only: bool = false, "ReadOnly" optional(false), "Whether the guest may not write";
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

    /// Whether its medium can be changed while the machine runs: it is external, and to the guest a drive that takes media. A disk, on a stick
    /// too, is one with its medium; it is another one after the next start.
    pub fn has_changeable_medium(&self) -> bool {
        let takes_media = match self.interface {
            DriveInterface::Ide | DriveInterface::Scsi | DriveInterface::Usb => self.image_type == ImageType::Cd,
            DriveInterface::Floppy => matches!(self.image_type, ImageType::Cd | ImageType::Disk),
            _ => false,
        };
        takes_media && self.is_external()
    }
}

/// An absent `ReadOnly` means true for external drives, false otherwise.
pub(crate) fn read_only_if_external(drive: &mut Dictionary, _: &mut Findings) {
    if !drive.contains_key("ReadOnly") {
        let external = !drive.contains_key("ImageName");
        drive.insert("ReadOnly".to_owned(), Value::Boolean(external));
    }
}

choice! {
    /// What a network card is connected to.
    NetworkMode {
        Emulated = "Emulated",
        Shared = "Shared",
        Host = "Host",
        Bridged = "Bridged",
    }
}

section! {
    /// A network card.
    Network {
        mode: NetworkMode = NetworkMode::Emulated, "Mode" required, "What the card is connected to";
        hardware: String = "e1000".to_owned(), "Hardware" required, "QEMU network device";
        mac_address: String = random_mac_address(), "MacAddress" required, "MAC address";
        isolate_from_host: bool = false, "IsolateFromHost" required, "Whether the guest cannot reach the host";
        port_forwards: Vec<PortForward> = Vec::new(), "PortForward" required, "Ports of the host that lead to the guest, in mode `Emulated`";
        bridge_interface: Option<String> = None, "BridgeInterface" optional, "Interface of the host to bridge to";
        vlan_guest_address: Option<String> = None, "VlanGuestAddress" optional, "IPv4 network of the guest, `address/prefix`";
        vlan_guest_address_ipv6: Option<String> = None, "VlanGuestAddressIPv6" optional, "IPv6 network of the guest, `address/prefix`";
        vlan_host_address: Option<String> = None, "VlanHostAddress" optional, "IPv4 address of the host in that network";
        vlan_host_address_ipv6: Option<String> = None, "VlanHostAddressIPv6" optional, "IPv6 address of the host in that network";
        vlan_dhcp_start_address: Option<String> = None, "VlanDhcpStartAddress" optional, "First address that DHCP hands out";
        vlan_dhcp_end_address: Option<String> = None, "VlanDhcpEndAddress" optional, "Last address that DHCP hands out";
        vlan_dhcp_domain: Option<String> = None, "VlanDhcpDomain" optional, "Domain name that DHCP hands out";
        vlan_dns_server_address: Option<String> = None, "VlanDnsServerAddress" optional, "IPv4 address at which the guest finds DNS";
        vlan_dns_server_address_ipv6: Option<String> = None, "VlanDnsServerAddressIPv6" optional, "IPv6 address at which the guest finds DNS";
        vlan_dns_search_domain: Option<String> = None, "VlanDnsSearchDomain" optional, "Domain in which short names are looked up";
        host_net_uuid: Option<Uuid> = None, "HostNetUuid" optional, "Which host-only network to join";
    }
}

choice! {
    /// The protocol of a forwarded port.
    Protocol {
        Tcp = "TCP",
        Udp = "UDP",
    }
}

section! {
    /// A port of the host that leads to the guest. Ports are checked by validation, not by reading, as UTM does.
    PortForward, prepare = from_camel_case {
        protocol: Protocol = Protocol::Tcp, "Protocol" required, "Protocol";
        host_address: Option<String> = None, "HostAddress" optional, "Address of the host to listen on; none or empty means all";
        host_port: u32 = 0, "HostPort" required, "Port of the host";
        guest_address: Option<String> = None, "GuestAddress" optional, "Address of the guest; none or empty means the first that DHCP hands out";
        guest_port: u32 = 0, "GuestPort" required, "Port of the guest";
    }
}

/// UTM before 4.4 wrote these keys with a small first letter.
fn from_camel_case(forward: &mut Dictionary, findings: &mut Findings) {
    let present = [PortForward::SCHEMA.key("Protocol"), PortForward::SCHEMA.key("HostPort"), PortForward::SCHEMA.key("GuestPort")];
    if present.into_iter().flatten().all(|key| forward.contains_key(key.name)) {
        return;
    }
    let mut renamed = false;
    for key in PortForward::SCHEMA.keys {
        let old = key.name[..1].to_ascii_lowercase() + &key.name[1..];
        if !forward.contains_key(key.name)
            && let Some(value) = forward.remove(&old)
        {
            forward.insert(key.name.to_owned(), value);
            renamed = true;
        }
    }
    if renamed {
        findings.report(Level::Fixed, "keys are written as UTM before 4.4 did", None);
    }
}

choice! {
    /// Where a serial port leads to.
    SerialMode {
        Terminal = "Terminal",
        TcpClient = "TcpClient",
        TcpServer = "TcpServer",
        Ptty = "Ptty",
    }
}

choice! {
    /// What uses a serial port.
    SerialTarget {
        Auto = "Auto",
        Manual = "Manual",
        Gdb = "GDB",
        Monitor = "Monitor",
    }
}

section! {
    /// A serial port.
    Serial {
        mode: SerialMode = SerialMode::Terminal, "Mode" required, "Where it leads to";
        target: SerialTarget = SerialTarget::Auto, "Target" required, "What uses it: the machine, a device, the debugger stub or QEMU's monitor";
        hardware: Option<String> = None, "Hardware" optional, "QEMU serial device, for target `Manual`";
        terminal: Option<Terminal> = Some(Terminal::default()), "Terminal" optional, "Look of the terminal, in mode `Terminal`";
        tcp_host_address: Option<String> = None, "TcpHostAddress" optional, "Server to connect to, in mode `TcpClient`";
        tcp_port: Option<u32> = None, "TcpPort" optional, "TCP port to connect to or listen on";
        wait_for_connection: Option<bool> = None, "WaitForConnection" optional, "Whether the machine waits for a client before it boots, in mode `TcpServer`";
        remote_connection_allowed: Option<bool> = None, "RemoteConnectionAllowed" optional, "Whether other computers may connect, in mode `TcpServer`";
    }
}

section! {
    /// A sound card.
    Sound {
        hardware: String = "AC97".to_owned(), "Hardware" required, "QEMU sound device";
    }
}
