//! What a new supervisor needs to know to take over a machine whose supervisor died.

use machine::{Accelerator, CommandLine, Medium, Sandbox, StartOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Format of the record; another one is not read.
const VERSION: u32 = 1;

/// A running QEMU, as its supervisor knew it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The process.
    pub process: sandbox::Identity,
    /// Where QMP is.
    pub qmp: PathBuf,
    /// The sockets and logs of the consoles, in order.
    pub consoles: Vec<Port>,
    /// What each drive is called over QMP.
    pub drives: BTreeMap<String, DriveState>,
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DriveState {
    /// The device, where there is one that media can be put into.
    pub device: Option<String>,
    /// The medium.
    pub medium: Option<Medium>,
    /// The descriptor set that the medium came through, where it came after the start.
    pub fdset: Option<i64>,
}

impl Record {
    /// A record of this version.
    #[expect(clippy::too_many_arguments, reason = "one place makes it")]
    pub fn new(
        process: sandbox::Identity,
        qmp: PathBuf,
        consoles: Vec<Port>,
        drives: BTreeMap<String, DriveState>,
        started_at: u64,
        options: StartOptions,
        accelerator: Accelerator,
        sandbox: Sandbox,
        command_line: CommandLine,
    ) -> Self {
        Self { version: VERSION, process, qmp, consoles, drives, started_at, options, accelerator, sandbox, command_line }
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where it is missing or not of this version.
    pub fn read(path: &Path) -> io::Result<Self> {
        let record: Self = serde_json::from_slice(&std::fs::read(path)?)?;
        if record.version != VERSION {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its version is {}, not {VERSION}", record.version)));
        }
        Ok(record)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        std::fs::rename(&temporary, path)
    }
}
