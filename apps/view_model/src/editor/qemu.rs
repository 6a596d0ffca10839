//! The settings of machines that QEMU runs.

use super::field::fields;

fields! { "qemu";
    Information {
        "Information": "Information", "What the machine is called, and what you want to remember about it";
        "Information.Name" @Saved: "Name", "What the list and the window show";
        "Information.Notes" (LongText) @Saved: "Notes", "Free text, for you";
        "Information.Icon" (Icon) @Saved: "Icon", "The picture in the list";
        "Information.IconCustom" @Saved: "Icon from a file", "Use a picture in the bundle instead of a built-in icon";
        "Information.UUID" (Fixed): "Identity", "What the guest sees as the computer's serial identity";
    }
    System {
        "System": "System", "Board, processor and memory";
        "System.Architecture": "Architecture", "Changing it resets the machine type and devices";
        "System.Target": "Machine type", "The board; changing it resets the devices";
        "System.MemorySize": "Memory", "What the guest has; this computer has that much less while it runs";
        "System.CPU": "Processor model", "Which processor the guest sees; default suits the machine and this computer";
        "System.CPUCount" (Range 0 4096): "Cores", "How many the guest sees; 0 chooses";
        "System.ForceMulticore": "Emulate on several cores", "Faster where it works; some guests are not made for it";
        "System.CPUFlagsAdd": "Features to switch on", "Processor features beside those of the model";
        "System.CPUFlagsRemove": "Features to switch off", "Processor features of the model that the guest shall not see";
        "System.JITCacheSize": "Translation buffer", "Memory for emulated code; 0 is a quarter of the guest's memory";
    }
    Qemu {
        "QEMU": "QEMU", "Firmware, accelerator and small devices";
        "QEMU.Hypervisor": "Virtualize", "Run on this computer's processor where it can; much faster than emulation";
        "QEMU.UEFIBoot": "UEFI", "Start with modern firmware; systems installed without it do not start any more";
        "QEMU.TPMDevice": "TPM 2.0", "A security chip, which Windows 11 asks for";
        "QEMU.RNGDevice": "Random numbers", "Let the guest have good random numbers from this computer";
        "QEMU.BalloonDevice": "Memory balloon", "Let the guest give back memory that it does not need";
        "QEMU.RTCLocalTime": "Clock in local time", "Windows expects it; others expect universal time";
        "QEMU.PS2Controller": "PS/2 keyboard and mouse", "For systems that know no USB";
        "QEMU.TSO": "Order memory as x86 does", "For translated x86 programs on ARM computers that can do it";
        "QEMU.DebugLog": "Debug log", "Write what QEMU says to a file in the bundle";
        "QEMU.MachinePropertyOverride": "Machine properties", "Properties of QEMU's -machine instead of the usual ones";
        "QEMU.AdditionalArguments": "Additional arguments", "Given to QEMU after all others, as a shell would read them";
    }
    Input {
        "Input": "Input", "USB";
        "Input.UsbBusSupport": "USB", "Which controller the guest sees";
        "Input.UsbSharing": "Share USB devices", "Let devices of this computer be connected to the guest";
        "Input.MaximumUsbShare" (Range 0 64): "Devices at a time", "How many can be connected at once";
    }
    Sharing {
        "Sharing": "Sharing", "Clipboard and shared folder";
        "Sharing.ClipboardSharing": "Share clipboard", "Copy on one side, paste on the other; the guest needs its agent";
        "Sharing.DirectoryShareMode": "Shared folder", "How it reaches the guest: VirtFS as a file system of Linux, WebDAV over the guest's agent";
        "Sharing.DirectoryShareReadOnly": "Read-only", "The guest cannot change what is in the folder";
    }
    Display {
        "Display": "Displays", "Graphics cards; a machine without any has a serial console only";
        "Display[].Hardware": "Graphics card", "What the guest sees; those with gl draw 3D on this computer";
        "Display[].VgaRamMib": "Video memory", "Of VGA cards: more allows larger pictures";
        "Display[].DynamicResolution" @Saved: "Follow the window", "The guest's screen becomes as large as the window; it needs a driver or agent";
        "Display[].NativeResolution" @Saved: "Use every pixel", "A pixel of the guest is one of the screen, however dense that is";
        "Display[].UpscalingFilter" @Saved: "When enlarged", "Linear is smooth, Nearest is sharp";
        "Display[].DownscalingFilter" @Saved: "When reduced", "Linear is smooth, Nearest is sharp";
    }
    Drive {
        "Drive": "Drives", "In the order in which they are tried for starting";
        "Drive[].ImageType": "Kind", "What the image is used as";
        "Drive[].Interface": "Connection", "How it is attached; the guest needs a driver for it";
        "Drive[].ReadOnly": "Read-only", "The guest cannot write to it";
        "Drive[].ImageName": "Image", "File in the bundle; a drive without one takes media from outside";
        "Drive[].InterfaceVersion" (Range 0 1): "Layout", "Where the guest finds it: 0 as in old machines, 1 as in new ones";
        "Drive[].Identifier" (Fixed): "Identity", "What names the drive";
    }
    Network {
        "Network": "Networks", "Network cards; a machine without any is alone";
        "Network[].Mode": "Connection", "Emulated and Shared reach what this computer reaches, Bridged is in its network, Host stays inside";
        "Network[].Hardware": "Network card", "What the guest sees; the guest needs a driver for it";
        "Network[].MacAddress" (Random): "MAC address", "Two machines in one network must not have the same";
        "Network[].BridgeInterface" (Interface): "Bridge", "Interface of this computer, in mode Bridged";
        "Network[].IsolateFromHost": "Keep away from this computer", "The guest cannot reach this computer itself";
        "Network[].HostNetUuid": "Private network", "Machines with the same one reach each other, in mode Host";
        "Network[].PortForward": "Forwarded ports", "Ports of this computer that lead to the guest, in mode Emulated";
        "Network[].PortForward[].Protocol": "Protocol", "TCP for most, UDP for some";
        "Network[].PortForward[].HostAddress": "Listen on", "127.0.0.1 is this computer only; empty is everybody in the network";
        "Network[].PortForward[].HostPort" (Range 1 65535): "Port here", "From 1 to 65535; below 1024 needs rights";
        "Network[].PortForward[].GuestAddress": "Guest's address", "Empty is the one that the guest is given";
        "Network[].PortForward[].GuestPort" (Range 1 65535): "Port of the guest", "From 1 to 65535; ssh is 22";
        "Network[].VlanGuestAddress": "Guest's network", "IPv4 with prefix, such as 10.0.2.0/24";
        "Network[].VlanGuestAddressIPv6": "Guest's IPv6 network", "With prefix, such as fd00::/64";
        "Network[].VlanHostAddress": "This computer's address", "IPv4, in the guest's network";
        "Network[].VlanHostAddressIPv6": "This computer's IPv6 address", "In the guest's IPv6 network";
        "Network[].VlanDhcpStartAddress": "First address given", "By DHCP, in the guest's network";
        "Network[].VlanDhcpEndAddress": "Last address given", "By DHCP, in the guest's network";
        "Network[].VlanDhcpDomain": "Domain", "That DHCP tells the guest";
        "Network[].VlanDnsServerAddress": "Name server", "IPv4 address at which the guest asks for names";
        "Network[].VlanDnsServerAddressIPv6": "IPv6 name server", "IPv6 address at which the guest asks for names";
        "Network[].VlanDnsSearchDomain": "Search domain", "Where short names are looked up";
    }
    Serial {
        "Serial": "Serial ports", "For consoles, debuggers and old devices";
        "Serial[].Mode": "Leads to", "A terminal window, a terminal device of this computer, or a TCP connection";
        "Serial[].Target": "Used by", "The machine's own port, a device, a debugger or QEMU's monitor";
        "Serial[].Hardware": "Device", "What the guest sees, where it is not the machine's own port";
        "Serial[].TcpHostAddress": "Server", "To connect to, in mode TcpClient";
        "Serial[].TcpPort" (Range 1 65535): "TCP port", "To connect to or listen on";
        "Serial[].WaitForConnection": "Wait for a client", "The machine starts when somebody has connected";
        "Serial[].RemoteConnectionAllowed": "Allow other computers", "Anybody in the network may connect";
        "Serial[].Terminal" @Saved: "Terminal", "How its window looks";
        "Serial[].Terminal.Theme" @Saved: "Theme", "A named look, instead of the colours";
        "Serial[].Terminal.ForegroundColor" (Color) @Saved: "Text colour", "As #rrggbb";
        "Serial[].Terminal.BackgroundColor" (Color) @Saved: "Background", "As #rrggbb";
        "Serial[].Terminal.Font" @Saved: "Font", "A monospaced one";
        "Serial[].Terminal.FontSize" (Range 1 144) @Saved: "Font size", "In points";
        "Serial[].Terminal.ResizeCommand" @Saved: "Resize command", "Typed when the window changes size, with $COLS and $ROWS";
        "Serial[].Terminal.CursorBlink" @Saved: "Blinking cursor", "Easier to find, for some";
    }
    Sound {
        "Sound": "Sound", "Sound cards";
        "Sound[].Hardware": "Sound card", "What the guest sees; the guest needs a driver for it";
    }
}
