//! Where the parts of a command line put what they find.

use std::path::{Path, PathBuf};

use bundle::qemu::{Configuration, Drive, DriveInterface, ImageType};
use bundle::{Architecture, Problem, tables};

use super::request::Request;
use super::result::{Access, Argument, CommandLine, Descriptor, FileAccess, HelperKind, Source, Subject, own_descriptor};
use crate::facts::{Accelerator, BusKind, Emulator, Host};

/// Descriptors start here: clear of standard streams and of what a launcher keeps for itself.
const FIRST_FD: i32 = 20;

/// Files that can be handed over: the kernel's limit for one message, less what is not a file.
const MAX_FILES: usize = 200;

/// Under this number a helper gets its end of a pair.
pub(super) const HELPER_FD: i32 = 3;

/// A command line in the making.
pub(super) struct Builder<'a> {
    pub request: Request<'a>,
    pub out: CommandLine,
    problems: Vec<Problem>,
    next_fd: i32,
    next_set: u32,
    /// Bus name of USB, once a controller is there.
    pub usb_bus: Option<String>,
    /// Bus name of virtio-serial ports, once a controller is there.
    virtio_serial: Option<String>,
    /// The PCI bus for devices of ours, where it is not the first one.
    pci_bus: Option<&'static str>,
    /// Devices on virtio-mmio so far.
    virtio_mmio: usize,
    /// Whether SPICE runs.
    pub spice: bool,
    /// Further properties of `-machine`, `name=value`.
    pub machine_properties: Vec<String>,
}

impl<'a> Builder<'a> {
    pub fn new(mut request: Request<'a>) -> Self {
        // The guest's own firmware and kernel are not read outside its confinement. So where the machine brings them, a board that is not
        // even accepted with empty ones says nothing.
        if has_boot_files(request.configuration) && request.board.is_some_and(|board| board.refusal.is_some() && board.boot.is_none()) {
            request.board = None;
        }
        let out = CommandLine {
            program: request.emulator.identity.path.clone(),
            working_directory: request.paths.runtime.clone(),
            ..CommandLine::default()
        };
        Self {
            request,
            out,
            problems: Vec::new(),
            next_fd: FIRST_FD,
            next_set: 1,
            usb_bus: None,
            virtio_serial: None,
            // The first buses of Sun's boards have room for the bridges only.
            pci_bus: (request.configuration.system.architecture == Architecture::Sparc64).then_some("pciB"),
            virtio_mmio: 0,
            spice: false,
            machine_properties: Vec::new(),
        }
    }

    /// The result, or all problems when one is fatal.
    pub fn finish(mut self) -> Result<CommandLine, Vec<Problem>> {
        let files = self.out.descriptors.iter().filter(|descriptor| matches!(descriptor.source, Source::File { .. })).count();
        if files > MAX_FILES {
            let message = format!("the machine consists of {files} files, and QEMU can be given {MAX_FILES}");
            self.report(Problem::fatal("Drive", message).with_hint("convert images that are built on others: `viv drive convert`"));
        }
        if self.problems.iter().any(Problem::is_fatal) {
            return Err(self.problems);
        }
        self.out.arguments.sort_by_key(|argument| argument.subject);
        self.out.warnings = self.problems;
        Ok(self.out)
    }

    pub fn configuration(&self) -> &'a Configuration {
        self.request.configuration
    }

    pub fn emulator(&self) -> &'a Emulator {
        self.request.emulator
    }

    pub fn host(&self) -> &'a Host {
        self.request.host
    }

    pub fn architecture(&self) -> Architecture {
        self.configuration().system.architecture
    }

    pub fn target(&self) -> &'a str {
        &self.configuration().system.target
    }

    /// The name of the machine type without aliases: `pc-q35-10.0` for `q35`.
    pub fn full_target(&self) -> &'a str {
        self.emulator().full_name(self.target())
    }

    pub fn capabilities(&self) -> tables::Capabilities {
        tables::capabilities(self.architecture(), self.target())
    }

    pub fn kvm(&self) -> bool {
        self.request.accelerator.accelerator == Accelerator::Kvm
    }

    /// Whether the machine brings firmware or a kernel.
    pub fn has_boot_files(&self) -> bool {
        has_boot_files(self.configuration())
    }

    /// `virt` and its versions, of whatever architecture.
    pub fn is_virt(&self) -> bool {
        is_virt(self.target())
    }

    /// A PC of the `pc`, `q35` or `isapc` families.
    pub fn is_pc(&self) -> bool {
        is_pc(self.architecture(), self.target())
    }

    /// Whether the machine type has this property.
    pub fn machine_has(&self, property: &str) -> bool {
        self.emulator().machine(self.target()).is_some_and(|machine| machine.properties.contains(property))
    }

    // Findings.

    pub fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports with the nearest names as advice.
    pub fn problem(&mut self, problem: Problem, nearest: &[String]) {
        let problem = match nearest {
            [] => problem,
            names => problem.with_hint(format!("did you mean {}?", names.join(", "))),
        };
        self.report(problem);
    }

    pub fn fatal(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.report(Problem::fatal(key, message));
    }

    pub fn fixed(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.report(Problem::fixed(key, message));
    }

    pub fn note(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.report(Problem::ignored(key, message));
    }

    // Arguments.

    pub fn flag(&mut self, subject: Subject, option: &str) {
        self.out.arguments.push(Argument { subject, words: vec![option.to_owned()] });
    }

    pub fn option(&mut self, subject: Subject, option: &str, value: impl Into<String>) {
        self.out.arguments.push(Argument { subject, words: vec![option.to_owned(), value.into()] });
    }

    /// `-device`, with the PCI bus where QEMU would choose one that is full.
    pub fn device(&mut self, subject: Subject, value: impl Into<String>) {
        let mut value: String = value.into();
        let kind = self.emulator().bus_of(value.split(',').next().unwrap_or_default());
        if let Some(bus) = self.pci_bus.filter(|_| kind == Some(BusKind::Pci)) {
            value.push_str(&format!(",bus={bus}"));
        }
        self.virtio_mmio += usize::from(kind == Some(BusKind::VirtioMmio));
        self.option(subject, "-device", value);
    }

    // Files and descriptors.

    pub fn file(&mut self, path: impl AsRef<Path>, access: Access) {
        let file = FileAccess { path: path.as_ref().to_owned(), access };
        if !self.out.files.contains(&file) {
            self.out.files.push(file);
        }
    }

    fn descriptor(&mut self, source: Source) -> i32 {
        let fd = self.next_fd;
        self.next_fd = self.next_fd.saturating_add(1);
        self.out.descriptors.push(Descriptor { fd, source });
        fd
    }

    /// Number of the descriptor set of a file that QEMU gets as a descriptor.
    pub fn handed_over(&mut self, subject: Subject, path: &Path, access: Access, what: &str) -> u32 {
        let set = self.next_set;
        self.next_set = self.next_set.saturating_add(1);
        let fd = self.descriptor(Source::File { set: Some(set), path: path.to_owned(), access });
        self.option(subject, "-add-fd", format!("fd={fd},set={set},opaque={}", escaped(what)));
        set
    }

    /// The name of a file that QEMU gets as a descriptor and opens once more, because it knows descriptor sets in its block layer only.
    /// What it may open is that very file, whatever comes to have its path.
    pub fn opened_again(&mut self, path: &Path) -> String {
        let fd = self.descriptor(Source::File { set: None, path: path.to_owned(), access: Access::Read });
        let name = own_descriptor(fd);
        self.file(&name, Access::Read);
        name
    }

    /// A listening socket in the runtime directory: descriptor and path.
    pub fn listening(&mut self, name: &str) -> (i32, PathBuf) {
        let path = self.request.paths.runtime.join(name);
        (self.descriptor(Source::Listen { path: path.clone() }), path)
    }

    /// One end of a pair with a helper.
    pub fn link(&mut self, helper: HelperKind) -> i32 {
        self.descriptor(Source::Link { helper })
    }

    /// A tap from the bridge helper.
    pub fn tap(&mut self, network: usize, bridge: String) -> i32 {
        self.descriptor(Source::Tap { network, bridge })
    }

    // Devices and buses.

    /// Whether the machine has a bus of this kind, on its board or from a controller that was added. Without facts it is believed to. Of
    /// virtio-mmio, each device takes a bus, and the question is whether one is left.
    pub fn has_bus(&self, kind: BusKind) -> bool {
        let added = match kind {
            BusKind::Usb => self.usb_bus.is_some(),
            BusKind::VirtioSerial => self.virtio_serial.is_some(),
            _ => false,
        };
        added
            || match self.request.board {
                Some(board) if kind == BusKind::VirtioMmio => board.of_kind(kind).count() > self.virtio_mmio,
                Some(board) => board.has(kind),
                None => self.believed(kind),
            }
    }

    /// What the name of a machine says about its buses; only used where nobody looked.
    fn believed(&self, kind: BusKind) -> bool {
        let (architecture, target) = (self.architecture(), self.target());
        match kind {
            BusKind::Ccw => architecture == Architecture::S390x,
            BusKind::Pci => {
                !matches!(target, "isapc" | "microvm" | "q800") && !matches!(architecture, Architecture::M68k | Architecture::Sparc)
            }
            BusKind::VirtioMmio => target == "microvm" || self.is_virt(),
            BusKind::Usb | BusKind::VirtioSerial => false,
            _ => true,
        }
    }

    /// Name of the first bus of a kind on the board.
    pub fn bus_name(&self, kind: BusKind) -> Option<String> {
        self.request.board.and_then(|board| board.of_kind(kind).next()).map(|bus| bus.name.clone())
    }

    /// Whether the device can be plugged into this machine, by the kind of its bus.
    pub fn fits(&self, device: &str) -> Result<(), BusKind> {
        match self.emulator().bus_of(device) {
            // Devices of the system bus are refused where the board does not expect them; which board that is nobody tells.
            Some(kind @ BusKind::System) if device == "eTSEC" && self.target() != "ppce500" => Err(kind),
            None | Some(BusKind::System | BusKind::Hda) => Ok(()),
            Some(kind) if self.has_bus(kind) => Ok(()),
            Some(kind) => Err(kind),
        }
    }

    /// Whether the emulator has the device; says so under `key` where it does not.
    pub fn exists(&mut self, key: &str, device: &str) -> bool {
        if self.emulator().has_device(device) {
            return true;
        }
        let kinds: Vec<BusKind> = Vec::new();
        let nearest = self.emulator().nearest_devices(device, &kinds);
        let message = format!("the installed QEMU has no device {}", printable(device));
        self.problem(Problem::fatal(key, message), &nearest);
        false
    }

    /// The device for a virtio function (`blk`, `net`, ...) on this machine's transport.
    pub fn virtio(&self, function: &str) -> Option<String> {
        let transports: &[(BusKind, &str)] = if self.architecture() == Architecture::S390x {
            &[(BusKind::Ccw, "ccw"), (BusKind::Pci, "pci")]
        } else {
            &[(BusKind::Pci, "pci"), (BusKind::Ccw, "ccw"), (BusKind::VirtioMmio, "device")]
        };
        transports
            .iter()
            .filter(|(kind, _)| self.has_bus(*kind))
            .map(|(_, suffix)| format!("virtio-{function}-{suffix}"))
            .find(|device| self.emulator().has_device(device))
    }

    /// The bus for virtio-serial ports; the controller is added at the first call.
    pub fn virtio_serial(&mut self, subject: Subject) -> Option<String> {
        if self.virtio_serial.is_none() {
            let controller = self.virtio("serial")?;
            self.device(subject, format!("{controller},id=virtio-serial"));
            self.virtio_serial = Some("virtio-serial.0".to_owned());
        }
        self.virtio_serial.clone()
    }
}

/// Whether the machine brings firmware or a kernel.
fn has_boot_files(configuration: &Configuration) -> bool {
    let boots =
        |drive: &Drive| matches!(drive.image_type, ImageType::Bios | ImageType::LinuxKernel) || drive.interface == DriveInterface::PFlash;
    configuration.drives.iter().any(|drive| boots(drive) && drive.image_name.is_some())
}

/// `virt` and its versions, of whatever architecture.
pub(super) fn is_virt(target: &str) -> bool {
    target == "virt" || target.starts_with("virt-")
}

/// A PC of the `pc`, `q35` or `isapc` families.
pub(super) fn is_pc(architecture: Architecture, target: &str) -> bool {
    matches!(architecture, Architecture::X86_64 | Architecture::I386) && (target.starts_with("pc") || target == "q35" || target == "isapc")
}

/// A value of an option in which a comma would end it.
pub(super) fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// A path as a value; QEMU takes bytes, and bundle paths of ours are UTF-8 (other bytes are replaced, and the file is then not found).
pub(super) fn escaped_path(path: &Path) -> String {
    escaped(&path.to_string_lossy())
}

/// Text from a bundle, fit for a message.
pub(super) fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if shown.is_empty() {
        shown.push_str("\"\"");
    }
    shown
}
