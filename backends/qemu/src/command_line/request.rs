//! What a command line is built from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bundle::qemu::Configuration;

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
}

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Absolute path.
    pub path: PathBuf,
    /// QEMU's block driver for its format: `raw`, `qcow2`, `vmdk`, ...
    pub driver: String,
    /// Whether QEMU may have the path (a file of the bundle) or only a descriptor.
    pub place: Place,
    /// Whether it is a block device rather than a file.
    pub block_device: bool,
}

/// Where a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the bundle: QEMU opens it by path.
    Bundle,
    /// Elsewhere: the supervisor opens it and QEMU gets a descriptor.
    External,
}

impl Image {
    /// An image of one file without backing.
    pub fn single(path: impl Into<PathBuf>, driver: impl Into<String>, place: Place) -> Self {
        Self { layers: vec![Layer { path: path.into(), driver: driver.into(), place, block_device: false }], virtual_size: None }
    }
}
