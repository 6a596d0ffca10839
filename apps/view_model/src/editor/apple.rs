//! The settings of machines in the object model of Apple's Virtualization framework.

use super::field::fields;

fields! { "apple";
    Information {
        "Information": "Information", "What the machine is called, and what you want to remember about it";
        "Information.Name" @Saved: "Name", "What the list and the window show";
        "Information.Notes" (LongText) @Saved: "Notes", "Free text, for you";
        "Information.Icon" (Icon) @Saved: "Icon", "The picture in the list";
        "Information.IconCustom" @Saved: "Icon from a file", "Use a picture in the bundle instead of a built-in icon";
        "Information.UUID" (Fixed): "Identity", "What names the machine";
    }
    System {
        "System": "System", "Processor and memory";
        "System.Architecture" (Fixed): "Architecture", "That of this computer";
        "System.CPUCount" (Range 0 4096): "Cores", "How many the guest sees; 0 chooses";
        "System.MemorySize": "Memory", "What the guest has; this computer has that much less while it runs";
        "System.MacPlatform": "Mac", "Which Mac a guest of macOS sees";
        "System.MacPlatform.HardwareModel" (Fixed): "Model", "Chosen when macOS was installed";
        "System.MacPlatform.MachineIdentifier" (Fixed): "Identity", "Made when macOS was installed";
        "System.MacPlatform.AuxiliaryStoragePath" (Fixed): "NVRAM", "File in the bundle";
        "System.GenericPlatform": "Computer", "Which computer other guests see";
        "System.GenericPlatform.machineIdentifier" (Fixed): "Identity", "Made when the machine was";
    }
    Boot {
        "System.Boot": "Boot", "What starts";
        "System.Boot.OperatingSystem": "Operating system", "Decides what the guest is given to start";
        "System.Boot.UEFIBoot": "UEFI", "Start from a disk with its boot loader instead of a kernel";
        "System.Boot.LinuxKernelPath": "Kernel", "File in the bundle";
        "System.Boot.LinuxInitialRamdiskPath": "Initial RAM disk", "File in the bundle";
        "System.Boot.LinuxCommandLine": "Command line", "Given to the kernel";
        "System.Boot.EfiVariableStoragePath" (Fixed): "UEFI variables", "File in the bundle";
    }
    Virtualization {
        "Virtualization": "Virtualization", "Small devices";
        "Virtualization.Audio": "Sound", "Speakers and microphone";
        "Virtualization.Balloon": "Memory balloon", "Let the guest give back memory that it does not need";
        "Virtualization.Entropy": "Random numbers", "Let the guest have good random numbers from this computer";
        "Virtualization.Keyboard": "Keyboard", "Mac has the keys that only macOS knows";
        "Virtualization.Pointer": "Pointer", "Trackpad has the gestures of macOS";
        "Virtualization.Rosetta": "Rosetta", "Run x86-64 programs in a Linux guest on Apple silicon";
    }
    Sharing {
        "Virtualization.ClipboardSharing": "Share clipboard", "Copy on one side, paste on the other; the guest needs its agent";
        "SharedDirectory": "Shared folders of early versions", "Kept as they are; choose folders on the machine's page";
        "SharedDirectory[].Bookmark" (Fixed): "Folder", "As macOS remembered it";
        "SharedDirectory[].ReadOnly": "Read-only", "The guest cannot change what is in the folder";
    }
    Display {
        "Display": "Displays", "Screens; a machine without any has a serial console only";
        "Display[].WidthPixels" (Range 1 16384): "Width", "In pixels, at first";
        "Display[].HeightPixels" (Range 1 16384): "Height", "In pixels, at first";
        "Display[].PixelsPerInch" (Range 1 1000): "Density", "226 and more count as high resolution";
        "Display[].DynamicResolution" @Saved: "Follow the window", "The guest's screen becomes as large as the window";
    }
    Drive {
        "Drive": "Drives", "In the order in which they are tried for starting";
        "Drive[].ReadOnly": "Read-only", "The guest cannot write to it";
        "Drive[].Nvme": "NVMe", "Attach it as NVMe instead of VirtIO";
        "Drive[].ImageName": "Image", "File in the bundle; a drive without one takes media from outside";
        "Drive[].Identifier" (Fixed): "Identity", "What names the drive";
        "Drive[].Bookmark" (Fixed): "Medium", "As macOS remembered it";
    }
    Network {
        "Network": "Networks", "Network cards; a machine without any is alone";
        "Network[].Mode": "Connection", "Shared reaches what this computer reaches, Bridged is in its network";
        "Network[].MacAddress" (Random): "MAC address", "Two machines in one network must not have the same";
        "Network[].BridgeInterface" (Interface): "Bridge", "Interface of this computer, in mode Bridged";
    }
    Serial {
        "Serial": "Serial ports", "For consoles";
        "Serial[].Mode": "Leads to", "A terminal window, or a terminal device of this computer";
        "Serial[].Terminal" @Saved: "Terminal", "How its window looks";
        "Serial[].Terminal.Theme" @Saved: "Theme", "A named look, instead of the colours";
        "Serial[].Terminal.ForegroundColor" (Color) @Saved: "Text colour", "As #rrggbb";
        "Serial[].Terminal.BackgroundColor" (Color) @Saved: "Background", "As #rrggbb";
        "Serial[].Terminal.Font" @Saved: "Font", "A monospaced one";
        "Serial[].Terminal.FontSize" (Range 1 144) @Saved: "Font size", "In points";
        "Serial[].Terminal.ResizeCommand" @Saved: "Resize command", "Typed when the window changes size, with $COLS and $ROWS";
        "Serial[].Terminal.CursorBlink" @Saved: "Blinking cursor", "Easier to find, for some";
    }
}
