//! What a supervisor and its machine's `vivarium-exchange` tell each other, over two sockets that the latter is started with.
//!
//! Over its standard input go frames both ways: the lengths of a JSON document and of bytes that belong to it, as two little-endian
//! 32-bit numbers, then both. Over its standard output the process asks for descriptors, a byte each ([`WANTS_CONNECTION`],
//! [`WANTS_DEVICE`]), and gets a byte back: [`GRANTED`] with one attached, or [`REFUSED`] without.
//!
//! The process speaks with the guest. What it says is bounded here as if the guest said it itself.

use crate::wire::Failure;
use machine::exchange::{ClipboardFormat, ClipboardPolicy, ExchangeFolder, MAX_CLIPBOARD, Monitor, Transfer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The program's name.
pub const PROGRAM: &str = "vivarium-exchange";

/// Asks for a connection to the machine's SPICE server.
pub const WANTS_CONNECTION: u8 = b'c';
/// Asks for the device that it was told to attach.
pub const WANTS_DEVICE: u8 = b'u';
/// Has the descriptor attached that was asked for.
pub const GRANTED: u8 = b'+';
/// There is none.
pub const REFUSED: u8 = b'-';

/// Longest JSON document of a frame.
const MAX_JSON: usize = 64 << 10;
/// Most bytes beside it.
const MAX_BYTES: usize = MAX_CLIPBOARD;

/// What the process is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "snake_case")]
pub enum Tell {
    /// The first: what it is for.
    Begin {
        /// Which way the clipboard goes.
        policy: ClipboardPolicy,
        /// The folder that the guest reads.
        folder: Option<ExchangeFolder>,
        /// Whether devices may come.
        usb: bool,
    },
    /// The clipboard's policy is another.
    Policy {
        /// Which.
        policy: ClipboardPolicy,
    },
    /// Takes back what the guest was given to paste.
    ClearClipboard,
    /// Something that is answered.
    Ask {
        /// Comes back with the answer.
        number: u64,
        /// What.
        ask: Ask,
    },
}

/// Something that the process is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Ask {
    /// What the guest has copied; the answer brings bytes.
    Clipboard {
        /// As what.
        format: ClipboardFormat,
    },
    /// Gives the guest the frame's bytes to paste.
    SetClipboard {
        /// What they are.
        format: ClipboardFormat,
    },
    /// Sends a file.
    SendFile {
        /// The number of the transfer.
        id: u64,
        /// Where the process finds it.
        path: PathBuf,
    },
    /// Gives up on a file.
    CancelFile {
        /// The number of the transfer.
        id: u64,
    },
    /// Attaches the device that it gets when it asks for one.
    AttachUsb {
        /// What the device is called.
        id: String,
    },
    /// Gives a device back.
    DetachUsb {
        /// What the device is called.
        id: String,
    },
    /// Arranges the guest's screens.
    Monitors {
        /// How.
        monitors: Vec<Monitor>,
    },
}

/// What the process tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub enum Told {
    /// The machine's SPICE server has taken it.
    Ready,
    /// What it was asked is done, or not; some answers bring bytes.
    Answer {
        /// Which question.
        number: u64,
        /// Why not.
        failure: Option<Failure>,
    },
    /// An agent in the guest has come or gone.
    Agent {
        /// Whether it is there.
        present: bool,
    },
    /// Something was copied in the guest.
    Offered {
        /// What it can be had as.
        formats: Vec<ClipboardFormat>,
    },
    /// How far a file is.
    Transfer {
        /// Which, and how far.
        transfer: Transfer,
    },
    /// A device is gone that nobody took back.
    UsbLost {
        /// Which.
        id: String,
        /// Why.
        reason: String,
    },
    /// The connection to the machine has ended; the process ends, too.
    Closed {
        /// Why.
        reason: Option<String>,
    },
}

/// Reads a frame. `None` where the other side has ended between two.
///
/// # Errors
/// Where it ends within one, says more than may be said, or makes no sense.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut head = [0; 8];
    let mut got = 0;
    while got < head.len() {
        match stream.read(head.get_mut(got..).unwrap_or_default()).await? {
            0 if got == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => got += more,
        }
    }
    let [a, b, c, d, e, f, g, h] = head;
    let lengths = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])].map(|length| length as usize);
    if lengths[0] > MAX_JSON || lengths[1] > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {} and {} bytes is too long", lengths[0], lengths[1])));
    }
    let json = take(stream, lengths[0]).await?;
    let bytes = take(stream, lengths[1]).await?;
    Ok(Some((serde_json::from_slice(&json)?, bytes)))
}

/// So many bytes, without room for what does not come.
async fn take(stream: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Writes a frame.
///
/// # Errors
/// What the system says; `InvalidInput` where it would be longer than is read.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize, bytes: &[u8]) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    if json.len() > MAX_JSON || bytes.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let head = [length(json.len()), length(bytes.len())].concat();
    stream.write_all(&[head, json].concat()).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_whole() {
        let ask = Tell::Ask { number: 7, ask: Ask::SetClipboard { format: ClipboardFormat::Png } };
        let mut wire = Vec::new();
        write(&mut wire, &ask, &[1, 2, 3]).await.unwrap();
        write(&mut wire, &Told::Ready, &[]).await.unwrap();
        let mut stream = &wire[..];
        assert_eq!(read::<Tell>(&mut stream).await.unwrap(), Some((ask, vec![1, 2, 3])));
        assert_eq!(read::<Told>(&mut stream).await.unwrap(), Some((Told::Ready, Vec::new())));
        assert_eq!(read::<Told>(&mut stream).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_too_long_or_cut_off_is_refused() {
        let long = [u32::MAX.to_le_bytes(), [0; 4]].concat();
        assert_eq!(read::<Told>(&mut &long[..]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let many = [[0; 4], u32::MAX.to_le_bytes()].concat();
        assert_eq!(read::<Told>(&mut &many[..]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut wire = Vec::new();
        write(&mut wire, &Told::Ready, &[0; 100]).await.unwrap();
        for end in 1..wire.len() {
            assert!(read::<Told>(&mut &wire[..end]).await.is_err(), "{end}");
        }
        assert!(write(&mut Vec::new(), &Told::Ready, &vec![0; MAX_BYTES + 1]).await.is_err());
    }
}
