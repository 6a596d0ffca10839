//! What the installed QEMU can make a new machine of.
//!
//! Nothing is known here about which device goes where: a bare machine is given each device in turn, and what [`command_line::build`] has no
//! complaint about is offered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bundle::qemu::{Configuration, Display, Drive, DriveInterface, ImageType, Network, Sound};
use bundle::{Architecture, Problem, tables};
use machine::{BootNeed, Catalog, Error, ErrorKind, Named, Offer, Result, UefiOffer};

use crate::command_line::{self, Image, Options, Paths, Request};
use crate::facts::{self, Board, Decision, Emulator, Host};
use crate::firmware::{self, Need};
use crate::machine::missing;

/// What is asked about.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The guest's architecture.
    pub architecture: Architecture,
    /// The machine type.
    pub target: &'a str,
    /// The processor model, where it is not the usual one.
    pub cpu: Option<&'a str>,
    /// The memory that it is to have, in MiB.
    pub memory: u64,
    /// Where QEMU is looked for before the `PATH`.
    pub directories: &'a [PathBuf],
    /// Where answers of QEMU are kept.
    pub cache: &'a Path,
}

/// What a machine type offers.
///
/// # Errors
/// [`ErrorKind::Missing`] where QEMU is not installed; [`ErrorKind::Configuration`] for a machine type or processor that the installed QEMU
/// does not have or refuses whatever is given with it.
pub async fn offer(question: &Question<'_>) -> Result<Offer> {
    let emulator = emulator(question.architecture, question.directories, question.cache).await?;
    let mut configuration = Configuration::default();
    configuration.system.architecture = question.architecture;
    question.target.clone_into(&mut configuration.system.target);
    configuration.system.memory_size = question.memory;
    if let Some(cpu) = question.cpu {
        cpu.clone_into(&mut configuration.system.cpu);
    }
    // With what is switched on, a board without USB and one that can have it are told apart.
    configuration.input.usb_bus_support = bundle::qemu::UsbBusSupport::Usb2;
    let accelerator = Decision::tcg("nothing is run");
    let probe = command_line::probe(&configuration, &emulator, &accelerator);
    let host = Host::gather(question.directories);
    if emulator.machine(question.target).is_none() || question.cpu.is_some_and(|cpu| !emulator.has_cpu(cpu)) {
        // Before it is tried: the nearest names are worth more than QEMU's refusal.
        let bench = Bench { emulator: &emulator, board: None, host: &host, accelerator: &accelerator };
        return Err(refusal(&bench.complaints(&configuration, "System")));
    }
    let board = Board::find(&emulator, probe, Some(question.cache)).await.map_err(|error| missing(&error))?;
    let bench = Bench { emulator: &emulator, board: Some(&board), host: &host, accelerator: &accelerator };
    if board.boot.is_none() && board.refusal.is_some() {
        return Err(refusal(&bench.complaints(&configuration, "System")));
    }
    Ok(bench.offer(&configuration))
}

/// The machine types and processors of an architecture.
///
/// # Errors
/// [`ErrorKind::Missing`] where QEMU is not installed.
pub async fn catalog(architecture: Architecture, directories: &[PathBuf], cache: &Path) -> Result<Catalog> {
    let emulator = emulator(architecture, directories, cache).await?;
    let machines = emulator.machines.iter().map(|(name, machine)| Named {
        name: name.clone(),
        description: Some(machine.description.clone()).filter(|text| !text.is_empty()),
        deprecated: machine.deprecated,
        ..Named::default()
    });
    let cpus = emulator.cpus.iter().map(|(name, cpu)| Named { name: name.clone(), deprecated: cpu.deprecated, ..Named::default() });
    Ok(Catalog { machines: machines.collect(), cpus: cpus.collect() })
}

async fn emulator(architecture: Architecture, directories: &[PathBuf], cache: &Path) -> Result<Emulator> {
    let program = facts::find(architecture, directories).map_err(|error| missing(&error))?;
    Emulator::find(&program, Some(cache)).await.map_err(|error| missing(&error))
}

fn refusal(problems: &[Problem]) -> Error {
    let said = |problem: &Problem| format!("{}: {}", problem.key_path, problem.message);
    let fatal: Vec<&Problem> = problems.iter().filter(|problem| problem.is_fatal()).collect();
    let error = Error::new(ErrorKind::Configuration, "Such a machine cannot be made with the installed QEMU")
        .with_source(fatal.iter().copied().map(said).collect::<Vec<_>>().join("; "));
    match fatal.iter().find_map(|problem| problem.hint.clone()) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Where bare machines get a device each.
struct Bench<'a> {
    emulator: &'a Emulator,
    board: Option<&'a Board>,
    host: &'a Host,
    accelerator: &'a Decision,
}

impl Bench<'_> {
    fn offer(&self, bare: &Configuration) -> Offer {
        let (architecture, target) = (bare.system.architecture, bare.system.target.as_str());
        let board = self.board.cloned().unwrap_or_default();
        let fitting = |own: &[String], list: &[&str], fits: &dyn Fn(&str) -> bool| {
            let others = list.iter().map(|name| (*name).to_owned()).filter(|name| !own.contains(name) && fits(name));
            own.iter().cloned().chain(others).collect::<Vec<String>>()
        };
        let display = |hardware: &str| {
            let displays = vec![Display { hardware: hardware.to_owned(), ..Display::default() }];
            self.fits(&Configuration { displays, ..bare.clone() }, "Display[")
        };
        let network = |hardware: &str| {
            let networks = vec![Network { hardware: hardware.to_owned(), ..Network::default() }];
            self.fits(&Configuration { networks, ..bare.clone() }, "Network[0].Hardware")
        };
        let sound = |hardware: &str| {
            let sounds = vec![Sound { hardware: hardware.to_owned(), ..Sound::default() }];
            self.fits(&Configuration { sounds, ..bare.clone() }, "Sound[")
        };
        let interfaces = |image_type| {
            let fitting = DriveInterface::ALL.iter().filter(|interface| self.takes_drive(bare, image_type, **interface));
            fitting.map(|interface| interface.as_str().to_owned()).collect::<Vec<String>>()
        };
        let mut with_rng = bare.clone();
        with_rng.qemu.rng_device = true;
        let machine = self.emulator.machine(target);
        Offer {
            disks: interfaces(ImageType::Disk),
            cds: interfaces(ImageType::Cd),
            displays: fitting(&board.screens, tables::display_devices(architecture), &display),
            networks: fitting(board.network_card.as_slice(), tables::network_devices(architecture), &network),
            sounds: fitting(&[], tables::sound_devices(architecture), &sound),
            own_display: board.screens.first().cloned(),
            own_network: board.network_card.clone(),
            usb: self.fits(bare, "Input.UsbBusSupport") && tables::capabilities(architecture, target).usb,
            virtio: self.fits(&with_rng, "QEMU.RNGDevice"),
            serial: board.serial,
            memory_mib: match board.memory_instead {
                None => bare.system.memory_size,
                Some(0) => board.memory.div_ceil(1 << 20).max(1),
                Some(less) => less,
            },
            cpus: u32::try_from(board.cpus).unwrap_or(1),
            cpus_max: machine.map_or(1, |machine| u32::try_from(machine.cpus_max).unwrap_or(u32::MAX)),
            uefi: command_line::has_place_for_uefi(self.emulator, architecture, target).then(|| {
                let need = Need { architecture, machine: self.emulator.full_name(target), secure_boot: false, smm: false };
                UefiOffer { installed: self.host.firmware.choose(&need).is_ok(), package: firmware::package(architecture).to_owned() }
            }),
            firmware: board.firmware,
            needs: board.boot.map(|boot| BootNeed {
                firmware: boot.bios,
                kernel: boot.kernel,
                said: board.refusal.clone().unwrap_or_default(),
            }),
        }
    }

    fn takes_drive(&self, bare: &Configuration, image_type: ImageType, interface: DriveInterface) -> bool {
        // Not attached at all, or not to what a system is installed on.
        if matches!(interface, DriveInterface::None | DriveInterface::Mtd | DriveInterface::PFlash | DriveInterface::Floppy) {
            return false;
        }
        let drive = Drive { image_type, interface, identifier: DRIVE.to_owned(), ..Drive::default() };
        self.fits(&Configuration { drives: vec![drive], ..bare.clone() }, "Drive[")
    }

    /// Whether nothing is said about the keys that begin with `key`.
    fn fits(&self, configuration: &Configuration, key: &str) -> bool {
        self.complaints(configuration, key).is_empty()
    }

    fn complaints(&self, configuration: &Configuration, key: &str) -> Vec<Problem> {
        // Nothing is opened: the image only has to have a size that every kind of drive takes.
        let image = Image { virtual_size: Some(1 << 30), ..Image::single("/disk", "raw") };
        let images = BTreeMap::from([(DRIVE.to_owned(), image)]);
        let request = Request {
            configuration,
            emulator: self.emulator,
            board: self.board,
            host: self.host,
            accelerator: self.accelerator,
            paths: &Paths::default(),
            images: &images,
            shared_directory: None,
            sound_by_host: false,
            generation: None,
            options: Options::default(),
        };
        let problems = command_line::build(&request).map_or_else(|problems| problems, |line| line.warnings);
        problems.into_iter().filter(|problem| problem.key_path.starts_with(key)).collect()
    }
}

/// Identifier of the one drive of a bare machine.
const DRIVE: &str = "drive";
