//! What makes a configuration that could be read unfit to run, or to be read by UTM.

use std::collections::HashMap;
use std::net::IpAddr;

use plist::Value;

use crate::architecture::Architecture;
use crate::configuration::Configuration;
use crate::file_name::FileName;
use crate::information::{Information, Terminal};
use crate::nearest::closest;
use crate::problem::{Level, Problem, printable};
use crate::schema::{Kind, walk};
use crate::{apple, qemu, tables};

/// The most vCPUs that any QEMU machine has.
const MAX_CPUS: u32 = 4096;
/// 16 TiB.
const MAX_MEMORY_MIB: u64 = 16 << 20;
/// The largest buffer for translated code that QEMU takes.
const MAX_JIT_CACHE_MIB: u64 = 2048;
/// The most USB redirection channels that UTM offers.
const MAX_USB_SHARE: u32 = 64;
/// Machines have at most this many built-in serial ports.
const MAX_AUTOMATIC_SERIALS: usize = 4;
/// The longest drive identifier.
const MAX_IDENTIFIER: usize = 128;
/// Files that are made when they are missing.
const MADE_WHEN_MISSING: [&str; 2] = ["EfiVariableStoragePath", "AuxiliaryStoragePath"];

impl Configuration {
    /// Everything that decoding accepts but that does not work, or that UTM would not write. Only what the configuration itself says counts: files are
    /// [`crate::Bundle::check_files`]'s, devices and accelerators the backend's business.
    pub fn validate(&self) -> Vec<Problem> {
        let mut report = Report { problems: Vec::new() };
        report.information(self.information());
        self.validate_file_names(&mut report);
        match self {
            Self::Qemu(configuration) => report.qemu(configuration),
            Self::Apple(configuration) => report.apple(configuration),
        }
        report.problems
    }

    /// The key paths and names of the files in `Data/` that must be there.
    pub fn referenced_files(&self) -> Vec<(String, FileName)> {
        let mut files = Vec::new();
        walk(self.schema(), &self.to_dictionary(), "", &mut |path, key, value| {
            if matches!(key.kind, Kind::FileName)
                && !MADE_WHEN_MISSING.contains(&key.name)
                && let Some(name) = value.as_string().and_then(|name| FileName::new(name).ok())
            {
                files.push((path.to_owned(), name));
            }
        });
        let information = self.information();
        if information.icon_custom
            && let Some(name) = information.icon.as_deref().and_then(|icon| FileName::new(icon).ok())
        {
            files.push(("Information.Icon".to_owned(), name));
        }
        files
    }

    /// Decoding leaves such names in `extra`, from where they are written back.
    fn validate_file_names(&self, report: &mut Report) {
        walk(self.schema(), &self.to_dictionary(), "", &mut |path, key, value| {
            if let (Kind::FileName, Value::String(name)) = (key.kind, value)
                && let Err(error) = FileName::new(name)
            {
                report.fatal(path, error.to_string());
            }
        });
    }
}

struct Report {
    problems: Vec<Problem>,
}

impl Report {
    fn push(&mut self, level: Level, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(level, path, message));
    }

    fn fatal(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Level::Fatal, path, message);
    }

    fn ignored(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Level::Ignored, path, message);
    }

    fn information(&mut self, information: &Information) {
        if information.name.trim().is_empty() {
            self.ignored("Information.Name", "the machine has no name");
        }
        if information.icon_custom
            && let Some(icon) = &information.icon
            && let Err(error) = FileName::new(icon)
        {
            self.ignored("Information.Icon", error.to_string());
        }
    }

    fn processors_and_memory(&mut self, cpu_count: u32, memory_size: u64) {
        if cpu_count > MAX_CPUS {
            self.fatal("System.CPUCount", format!("{cpu_count} vCPUs are more than the limit of {MAX_CPUS}"));
        }
        if memory_size == 0 {
            self.fatal("System.MemorySize", "the machine has no memory");
        } else if memory_size > MAX_MEMORY_MIB {
            self.fatal("System.MemorySize", format!("{memory_size} MiB are more than the limit of {MAX_MEMORY_MIB} MiB"));
        }
    }

    fn qemu(&mut self, configuration: &qemu::Configuration) {
        let system = &configuration.system;
        self.processors_and_memory(system.cpu_count, system.memory_size);
        if system.jit_cache_size > MAX_JIT_CACHE_MIB {
            self.ignored("System.JITCacheSize", format!("QEMU uses at most {MAX_JIT_CACHE_MIB} MiB"));
        }
        for (key, flags) in [("CPUFlagsAdd", &system.cpu_flags_add), ("CPUFlagsRemove", &system.cpu_flags_remove)] {
            for (index, flag) in flags.iter().enumerate() {
                if flag.is_empty() || flag.contains(|c: char| c == ',' || c.is_whitespace()) {
                    self.fatal(format!("System.{key}[{index}]"), format!("`{}` is not one processor feature", printable(flag)));
                }
            }
        }
        if configuration.qemu.uefi_boot && tables::uefi_firmware(system.architecture).is_none() {
            self.fatal("QEMU.UEFIBoot", format!("there is no UEFI firmware for {}", system.architecture));
        }
        if configuration.input.maximum_usb_share > MAX_USB_SHARE {
            self.ignored("Input.MaximumUsbShare", format!("at most {MAX_USB_SHARE} devices can be passed on"));
        }
        for (index, display) in configuration.displays.iter().enumerate() {
            self.device(format!("Display[{index}].Hardware"), &display.hardware, tables::display_devices(system.architecture));
        }
        for (index, sound) in configuration.sounds.iter().enumerate() {
            self.device(format!("Sound[{index}].Hardware"), &sound.hardware, tables::sound_devices(system.architecture));
        }
        self.qemu_drives(&configuration.drives);
        self.qemu_networks(&configuration.networks, system.architecture);
        self.qemu_serials(&configuration.serials, system.architecture);
    }

    /// `known` is what UTM offers; other devices of the installed QEMU work as well.
    fn device(&mut self, path: String, hardware: &str, known: &[&str]) {
        if hardware.is_empty() || hardware.contains(char::is_whitespace) {
            self.fatal(path, format!("`{}` is not a QEMU device", printable(hardware)));
        } else if !known.contains(&hardware) {
            let message = format!("`{}` is not a device that UTM offers for this architecture", printable(hardware));
            let hint = match closest(hardware, known.iter()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "the installed QEMU may have it".to_owned(),
            };
            self.problems.push(Problem::ignored(path, message).with_hint(hint));
        }
    }

    fn qemu_drives(&mut self, drives: &[qemu::Drive]) {
        self.identifiers(drives.iter().map(|drive| drive.identifier.as_str()));
        self.writers(drives.iter().map(|drive| (drive.image_name.as_ref(), drive.read_only)));
        for (index, drive) in drives.iter().enumerate() {
            let path = format!("Drive[{index}]");
            let attached = matches!(drive.image_type, qemu::ImageType::Disk | qemu::ImageType::Cd);
            match (attached, drive.interface) {
                (true, qemu::DriveInterface::None) => {
                    self.ignored(format!("{path}.Interface"), format!("a {} without an interface is not attached", drive.image_type));
                }
                (false, interface) if interface != qemu::DriveInterface::None => {
                    let message = format!("has no effect on a drive of type {}; UTM writes `None`", drive.image_type);
                    self.ignored(format!("{path}.Interface"), message);
                }
                _ => {}
            }
            if drive.image_type != qemu::ImageType::None && !attached && drive.is_external() {
                self.ignored(format!("{path}.ImageName"), format!("a drive of type {} needs a file", drive.image_type));
            }
        }
        for single in [qemu::ImageType::Bios, qemu::ImageType::LinuxKernel, qemu::ImageType::LinuxInitrd, qemu::ImageType::LinuxDtb] {
            for (index, _) in drives.iter().enumerate().filter(|(_, drive)| drive.image_type == single).skip(1) {
                self.ignored(format!("Drive[{index}].ImageType"), format!("there is more than one drive of type {single}"));
            }
        }
    }

    /// Identifiers become parts of QEMU ids and keys of the registry.
    fn identifiers<'a>(&mut self, identifiers: impl Iterator<Item = &'a str>) {
        let mut seen = HashMap::new();
        for (index, identifier) in identifiers.enumerate() {
            let path = format!("Drive[{index}].Identifier");
            let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if identifier.is_empty() || identifier.len() > MAX_IDENTIFIER || !identifier.chars().all(usable) {
                let message = format!("`{}` is not an identifier", printable(identifier));
                let hint = format!("use 1 to {MAX_IDENTIFIER} letters, digits, `.`, `_` and `-`, or unset the key for a new one");
                self.problems.push(Problem::fatal(path, message).with_hint(hint));
            } else if let Some(first) = seen.insert(identifier, index) {
                let message = format!("`{identifier}` is also the identifier of Drive[{first}]");
                self.problems.push(Problem::fatal(path, message).with_hint("unset the key for a new one"));
            }
        }
    }

    /// An image has one writer.
    fn writers<'a>(&mut self, images: impl Iterator<Item = (Option<&'a FileName>, bool)>) {
        let mut seen: HashMap<&FileName, (usize, bool)> = HashMap::new();
        for (index, (name, read_only)) in images.enumerate() {
            let Some(name) = name else { continue };
            match seen.get_mut(name) {
                None => {
                    seen.insert(name, (index, read_only));
                }
                Some((first, others_read_only)) => {
                    if !read_only || !*others_read_only {
                        let message = format!("Drive[{first}] has the same file, and only readers may share one");
                        self.fatal(format!("Drive[{index}].ImageName"), message);
                    }
                    *others_read_only &= read_only;
                }
            }
        }
    }

    fn mac_addresses<'a>(&mut self, addresses: impl Iterator<Item = &'a str>) {
        let mut seen = HashMap::new();
        for (index, text) in addresses.enumerate() {
            let path = format!("Network[{index}].MacAddress");
            let Some(address) = parse_mac_address(text) else {
                let message = format!("`{}` is not a MAC address", printable(text));
                let hint = "write XX:XX:XX:XX:XX:XX in hexadecimal digits, or unset the key for a random one";
                self.problems.push(Problem::fatal(path, message).with_hint(hint));
                continue;
            };
            if address[0] & 1 == 1 {
                self.ignored(path.clone(), format!("`{text}` is a multicast address"));
            }
            if let Some(first) = seen.insert(address, index) {
                let message = format!("`{text}` is also the address of Network[{first}]");
                self.problems.push(Problem::ignored(path, message).with_hint("unset the key for a random one"));
            }
        }
    }

    fn qemu_networks(&mut self, networks: &[qemu::Network], architecture: Architecture) {
        self.mac_addresses(networks.iter().map(|network| network.mac_address.as_str()));
        // Several machines or cards may not listen on the same port, and an address of the host overlaps with none given.
        let mut listening: Vec<(String, &qemu::PortForward)> = Vec::new();
        for (index, network) in networks.iter().enumerate() {
            self.device(format!("Network[{index}].Hardware"), &network.hardware, tables::network_devices(architecture));
            for (number, forward) in network.port_forwards.iter().enumerate() {
                let path = format!("Network[{index}].PortForward[{number}]");
                self.port(format!("{path}.HostPort"), forward.host_port);
                self.port(format!("{path}.GuestPort"), forward.guest_port);
                for (key, address) in [("HostAddress", &forward.host_address), ("GuestAddress", &forward.guest_address)] {
                    if let Some(address) = address.as_deref().filter(|address| !address.is_empty())
                        && address.parse::<IpAddr>().is_err()
                    {
                        self.fatal(format!("{path}.{key}"), format!("`{}` is not an IP address", printable(address)));
                    }
                }
                let clash = listening.iter().find(|(_, other)| {
                    let any = |address: &Option<String>| address.as_deref().is_none_or(|text| text.is_empty() || text == "0.0.0.0");
                    other.protocol == forward.protocol
                        && other.host_port == forward.host_port
                        && (any(&other.host_address) || any(&forward.host_address) || other.host_address == forward.host_address)
                });
                match clash {
                    Some((first, _)) => {
                        let message = format!("{} port {} is also forwarded by {first}", forward.protocol, forward.host_port);
                        self.fatal(format!("{path}.HostPort"), message);
                    }
                    None => listening.push((path, forward)),
                }
            }
        }
    }

    fn port(&mut self, path: String, port: u32) {
        if !(1..=65535).contains(&port) {
            self.fatal(path, format!("{port} is not a port, which are 1 to 65535"));
        }
    }

    fn qemu_serials(&mut self, serials: &[qemu::Serial], architecture: Architecture) {
        let mut automatic = 0;
        for (index, serial) in serials.iter().enumerate() {
            let path = format!("Serial[{index}]");
            match serial.target {
                qemu::SerialTarget::Auto => {
                    automatic += 1;
                    if automatic == MAX_AUTOMATIC_SERIALS + 1 {
                        let message = format!("machines have at most {MAX_AUTOMATIC_SERIALS} built-in serial ports");
                        self.ignored(format!("{path}.Target"), message);
                    }
                }
                qemu::SerialTarget::Manual => match &serial.hardware {
                    Some(hardware) => self.device(format!("{path}.Hardware"), hardware, tables::serial_devices(architecture)),
                    None => self.fatal(format!("{path}.Hardware"), "target `Manual` needs a device"),
                },
                qemu::SerialTarget::Gdb | qemu::SerialTarget::Monitor => {}
            }
            if let (qemu::SerialMode::TcpClient | qemu::SerialMode::TcpServer, Some(port)) = (serial.mode, serial.tcp_port) {
                self.port(format!("{path}.TcpPort"), port);
            }
            self.terminal(&path, serial.terminal.as_ref());
        }
    }

    fn terminal(&mut self, path: &str, terminal: Option<&Terminal>) {
        let Some(terminal) = terminal else { return };
        for (key, color) in [("ForegroundColor", &terminal.foreground_color), ("BackgroundColor", &terminal.background_color)] {
            if let Some(color) = color
                && !is_color(color)
            {
                self.ignored(format!("{path}.Terminal.{key}"), format!("`{}` is not a colour; write #rrggbb", printable(color)));
            }
        }
        if terminal.font_size == 0 {
            self.ignored(format!("{path}.Terminal.FontSize"), "letters of size 0 cannot be read");
        }
    }

    fn apple(&mut self, configuration: &apple::Configuration) {
        let system = &configuration.system;
        self.processors_and_memory(system.cpu_count, system.memory_size);
        match system.boot.operating_system {
            apple::OperatingSystem::Linux if !system.boot.uefi_boot && system.boot.linux_kernel_path.is_none() => {
                self.fatal("System.Boot.LinuxKernelPath", "Linux without UEFI needs a kernel");
            }
            apple::OperatingSystem::MacOs if system.mac_platform.is_none() => {
                self.fatal("System.MacPlatform", "macOS needs the identity of its Mac");
            }
            _ => {}
        }
        self.identifiers(configuration.drives.iter().map(|drive| drive.identifier.as_str()));
        self.writers(configuration.drives.iter().map(|drive| (drive.image_name.as_ref(), drive.read_only)));
        self.mac_addresses(configuration.networks.iter().map(|network| network.mac_address.as_str()));
        for (index, display) in configuration.displays.iter().enumerate() {
            if display.width_pixels == 0 || display.height_pixels == 0 {
                self.fatal(format!("Display[{index}]"), "a screen needs a width and a height");
            }
        }
        for (index, serial) in configuration.serials.iter().enumerate() {
            self.terminal(&format!("Serial[{index}]"), serial.terminal.as_ref());
        }
    }
}

/// The six bytes of `XX:XX:XX:XX:XX:XX`.
fn parse_mac_address(text: &str) -> Option<[u8; 6]> {
    let mut address = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut address {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(address)
}

fn is_color(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
