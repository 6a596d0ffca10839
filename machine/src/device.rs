//! What can be seen and changed of a machine while it runs: drives, consoles, displays.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use utoipa::ToSchema;

/// What a drive is to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriveKind {
    /// A hard disk.
    Disk,
    /// A CD or DVD drive.
    Cd,
    /// A floppy drive.
    Floppy,
    /// Flash, an SD card, a ROM: anything else that has an image.
    Other,
}

/// A drive of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drive {
    /// Its identifier in the configuration.
    pub id: String,
    /// What it is to the guest.
    pub kind: DriveKind,
    /// How it is attached (`VirtIO`, `IDE`, …), for people.
    pub interface: String,
    /// Whether its medium can be changed while the machine runs.
    pub removable: bool,
    /// Whether the guest cannot write to it.
    pub read_only: bool,
    /// What is in it.
    #[schema(value_type = Option<String>)]
    pub medium: Option<PathBuf>,
}

/// A medium to insert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Medium {
    /// The image file, absolute.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Whether the guest may only read it. CDs are always read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// A serial port that a terminal can be attached to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Console {
    /// Its place among the machine's serial ports.
    pub index: usize,
    /// What it is, for people.
    pub label: String,
}

/// A serial port that is a terminal of the host, for programs that want one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PseudoTerminal {
    /// What it is, for people.
    pub label: String,
    /// The terminal's device, as long as the machine runs.
    #[schema(value_type = String)]
    pub path: PathBuf,
}

/// Both directions of a console, as bytes.
pub trait ConsoleStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ConsoleStream for T {}

/// A display head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Display {
    /// Its place among the machine's displays.
    pub index: usize,
    /// The device that drives it.
    pub device: String,
}

/// A picture of a display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screenshot {
    /// The picture, as a PNG file.
    pub png: Vec<u8>,
}
