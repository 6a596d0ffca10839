//! What a new supervisor needs to know to take over a machine whose supervisor died.

use machine::{Accelerator, CommandLine, Medium, PseudoTerminal, Sandbox, StartOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Format of the record; another one is not read.
const VERSION: u32 = 3;

/// A running QEMU, as its supervisor knew it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The process.
    pub process: sandbox::Identity,
    /// Where QMP is.
    pub qmp: PathBuf,
    /// The sockets and logs of the consoles, in order.
    pub consoles: Vec<Port>,
    /// The serial ports that are pseudo-terminals.
    #[serde(default)]
    pub pseudo_terminals: Vec<PseudoTerminal>,
    /// What each drive is called over QMP.
    pub drives: BTreeMap<String, DriveState>,
    /// The files behind the descriptor sets that it was started with, to say which one a message of QEMU is about.
    pub files: BTreeMap<u32, PathBuf>,
    /// When it was started, in seconds since 1970.
    pub started_at: u64,
    /// How it was started.
    pub options: StartOptions,
    /// What executes the guest.
    pub accelerator: Accelerator,
    /// How QEMU is confined.
    pub sandbox: Sandbox,
    /// The command line.
    pub command_line: CommandLine,
    /// The configuration that it was started with, as an XML property list: that in the bundle may no longer be readable.
    pub configuration: String,
}

/// A serial port that is a socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Port {
    /// Its place among the configuration's serial ports.
    pub serial: usize,
    /// The socket.
    pub socket: PathBuf,
    /// What the guest said.
    pub log: PathBuf,
}

/// A drive over QMP, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveState {
    /// The device, where there is one that media can be put into.
    pub device: Option<String>,
    /// The medium.
    pub medium: Option<Medium>,
    /// The block nodes, each before those that it refers to.
    pub nodes: Vec<String>,
    /// The descriptor sets of the files.
    pub sets: Vec<i64>,
}

/// A record as it is written.
#[derive(Serialize, Deserialize)]
struct Versioned<R> {
    version: u32,
    #[serde(flatten)]
    record: R,
}

impl Record {
    /// Reads it.
    ///
    /// # Errors
    /// Where it is missing or not of this version.
    pub fn read(path: &Path) -> io::Result<Self> {
        // The version first: what else there is depends on it.
        let Versioned { version, record } = serde_json::from_slice::<Versioned<serde_json::Value>>(&std::fs::read(path)?)?;
        if version != VERSION {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its version is {version}, not {VERSION}")));
        }
        Ok(serde_json::from_value(record)?)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&Versioned { version: VERSION, record: self })?)?;
        std::fs::rename(&temporary, path)
    }
}
