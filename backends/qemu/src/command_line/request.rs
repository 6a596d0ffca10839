//! What a command line is built from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bundle::qemu::Configuration;
use uuid::Uuid;

use crate::facts::{Board, Decision, Emulator, Host};

/// Everything that decides a command line. [`super::build`] looks at nothing else: no file, no environment, no clock.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The machine.
    pub configuration: &'a Configuration,
    /// The installed QEMU.
    pub emulator: &'a Emulator,
    /// The machine type as it turned out; `None` believes the configuration.
    pub board: Option<&'a Board>,
    /// The computer.
    pub host: &'a Host,
    /// What executes the guest.
    pub accelerator: &'a Decision,
    /// Where things are.
    pub paths: &'a Paths,
    /// Images by `Drive[].Identifier`: those of the bundle, and the media that are inserted in external drives. An external drive without
    /// an entry is empty.
    pub images: &'a BTreeMap<String, Image>,
    /// The folder that is shared, if one was chosen.
    pub shared_directory: Option<&'a std::path::Path>,
    /// Whether QEMU may connect to the host's sound server by itself, which leaves its sandbox incomplete.
    pub sound_by_host: bool,
    /// What changes when the machine is copied and stays otherwise. Where there is none, QEMU makes one up for this run.
    pub generation: Option<Uuid>,
    /// How it is started this time.
    pub options: Options,
}

/// How a machine is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Nothing that the guest writes is kept.
    pub disposable: bool,
    /// State follows by migration: QEMU waits for `migrate-incoming`.
    pub incoming: bool,
}

/// Directories and files of the machine; all absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// `Data/` of the bundle.
    pub data: PathBuf,
    /// Where sockets of this run are; working directory of QEMU, so that socket names stay short.
    pub runtime: PathBuf,
    /// Where overlays of a disposable run are. Apart from `runtime`, which is usually in memory.
    pub scratch: PathBuf,
    /// Where logs of the guest's serial ports go.
    pub logs: PathBuf,
}

/// An image as it is to be opened: formats known, chain resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The image itself, then what backs it, one after the other.
    pub layers: Vec<Layer>,
    /// Size that the guest sees, in bytes, where it is known.
    pub virtual_size: Option<u64>,
    /// Whether it was inserted so that the guest cannot write to it, whatever the drive allows.
    pub read_only: bool,
}

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Absolute path. QEMU never gets it: the supervisor opens the file and hands over a descriptor.
    pub path: PathBuf,
    /// QEMU's block driver for its format: `raw`, `qcow2`, `vmdk`, ...
    pub driver: String,
    /// The file that holds its data instead of itself (qcow2).
    pub data_file: Option<PathBuf>,
    /// Whether it is a block device rather than a file.
    pub block_device: bool,
}

impl Layer {
    /// A file that holds its own data.
    pub fn file(path: impl Into<PathBuf>, driver: impl Into<String>) -> Self {
        Self { path: path.into(), driver: driver.into(), data_file: None, block_device: false }
    }
}

impl Image {
    /// An image of one file without backing.
    pub fn single(path: impl Into<PathBuf>, driver: impl Into<String>) -> Self {
        Self { layers: vec![Layer::file(path, driver)], virtual_size: None, read_only: false }
    }
}
