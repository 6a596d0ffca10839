//! What client and server say to each other. Nothing that a server says is trusted.

use std::io::{self, Read, Write};

/// How the two begin.
const SERVER_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// Flags of the handshake, the same for both sides.
const FIXED_NEWSTYLE: u16 = 1 << 0;
const NO_ZEROES: u16 = 1 << 1;
/// Zeros after an export's description, where they were not left out.
const ZEROES: u64 = 124;

/// Options.
const EXPORT_NAME: u32 = 1;
const GO: u32 = 7;
/// Replies to them.
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const ACK: u32 = 1;
const INFO: u32 = 3;
const ERROR: u32 = 1 << 31;
const UNSUPPORTED: u32 = ERROR | 1;
/// Pieces of information.
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;
/// The longest answer to an option, and how many there may be.
const ANSWER_MAXIMUM: u32 = 64 << 10;
const ANSWERS_MAXIMUM: usize = 64;
/// The longest name of an export.
pub const NAME_MAXIMUM: usize = 4096;

/// Flags of an export.
const READ_ONLY: u16 = 1 << 1;
const SEND_FLUSH: u16 = 1 << 2;
const SEND_FUA: u16 = 1 << 3;
const SEND_TRIM: u16 = 1 << 5;
const SEND_WRITE_ZEROES: u16 = 1 << 6;

/// Requests.
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// Bytes of a request without its data, and of a reply.
const REQUEST: usize = 28;
const REPLY: usize = 16;
/// Errors of servers: `EPERM`, `EIO`, `ENOMEM`, `EINVAL`, `ENOSPC`, `EOVERFLOW`, `EOPNOTSUPP`; and `ESHUTDOWN`.
const ERRORS: [i32; 7] = [1, 5, 12, INVALID, 28, 75, 95];
const INVALID: i32 = 22;
const SHUT_DOWN: u32 = 108;
/// Of every change: it is answered when it lasts.
const FORCE_UNIT_ACCESS: u16 = 1 << 0;
/// Of a write of zeros: the room is to be kept.
const NO_HOLE: u16 = 1 << 1;
/// The most bytes of a request where the server says nothing else.
const PAYLOAD_MAXIMUM: u32 = 32 << 20;

/// What a server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Read so many bytes.
    Read,
    /// Write the data that follows.
    Write,
    /// End; it is not answered.
    Disconnect,
    /// Make lasting what was written.
    Flush,
    /// What is there is no longer needed.
    Discard,
    /// Make a range zeros, which may be holes or not.
    Zero {
        /// Whether they may.
        may_be_holes: bool,
    },
}

/// What a server says of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// Its bytes.
    pub size: u64,
    /// Requests begin at and have multiples of so many bytes.
    pub block: u32,
    payload: u32,
    flags: u16,
}

impl Export {
    /// Whether nothing can be written.
    pub fn is_read_only(&self) -> bool {
        self.flags & READ_ONLY != 0
    }

    /// The most bytes of a request's data that the server takes.
    pub fn payload(&self) -> u32 {
        self.payload
    }

    /// Whether the server carries this out.
    pub fn can(&self, command: Command) -> bool {
        let flag = match command {
            Command::Read | Command::Write | Command::Disconnect => return true,
            Command::Flush => SEND_FLUSH,
            Command::Discard => SEND_TRIM,
            Command::Zero { .. } => SEND_WRITE_ZEROES,
        };
        self.flags & flag != 0
    }

    /// A request with this number, without its data. A server that is not told when to make writes last is told to do so with each, if it can.
    pub fn request(&self, command: Command, number: u64, place: u64, length: u32) -> [u8; REQUEST] {
        let (kind, mut flags) = match command {
            Command::Read => (0_u16, 0_u16),
            Command::Write => (1, 0),
            Command::Disconnect => (2, 0),
            Command::Flush => (3, 0),
            Command::Discard => (4, 0),
            Command::Zero { may_be_holes } => (6, if may_be_holes { 0 } else { NO_HOLE }),
        };
        let is_change = matches!(command, Command::Write | Command::Discard | Command::Zero { .. });
        if is_change && self.flags & (SEND_FLUSH | SEND_FUA) == SEND_FUA {
            flags |= FORCE_UNIT_ACCESS;
        }
        let mut bytes = [0; REQUEST];
        bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes[4..6].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&kind.to_be_bytes());
        bytes[8..16].copy_from_slice(&number.to_be_bytes());
        bytes[16..24].copy_from_slice(&place.to_be_bytes());
        bytes[24..].copy_from_slice(&length.to_be_bytes());
        bytes
    }
}

/// Reads a reply, without the data that follows it: the number of the request, and what the server says of it.
///
/// # Errors
/// Where this is no reply.
pub fn reply(stream: &mut impl Read) -> io::Result<(u64, io::Result<()>)> {
    let bytes = read::<REPLY>(stream)?;
    let mut bytes = &bytes[..];
    if read_u32(&mut bytes)? != REPLY_MAGIC {
        return Err(invalid("the server's reply is none"));
    }
    let (error, number) = (read_u32(&mut bytes)?, read_u64(&mut bytes)?);
    match error {
        0 => Ok((number, Ok(()))),
        SHUT_DOWN => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server is about to end")),
        // Its numbers are Linux's. What is none of those that there are means EINVAL.
        error => {
            Ok((number, Err(io::Error::from_raw_os_error(ERRORS.into_iter().find(|known| *known as u32 == error).unwrap_or(INVALID)))))
        }
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn read<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_u16(stream: &mut impl Read) -> io::Result<u16> {
    read(stream).map(u16::from_be_bytes)
}

fn read_u32(stream: &mut impl Read) -> io::Result<u32> {
    read(stream).map(u32::from_be_bytes)
}

fn read_u64(stream: &mut impl Read) -> io::Result<u64> {
    read(stream).map(u64::from_be_bytes)
}

/// Asks a server for the export of this name.
///
/// # Errors
/// Where it has none, or is no such server.
pub fn begin(stream: &mut (impl Read + Write), name: &str) -> io::Result<Export> {
    let length = u32::try_from(name.len()).ok().filter(|length| *length as usize <= NAME_MAXIMUM);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the export's name is too long"))?;
    if read_u64(stream)? != SERVER_MAGIC {
        return Err(invalid("this is not an NBD server"));
    }
    if read_u64(stream)? != OPTION_MAGIC {
        return Err(invalid("the server speaks only the old style of NBD"));
    }
    let theirs = read_u16(stream)?;
    if theirs & FIXED_NEWSTYLE == 0 {
        return Err(invalid("the server speaks only the old style of NBD"));
    }
    let flags = FIXED_NEWSTYLE | theirs & NO_ZEROES;
    stream.write_all(&u32::from(flags).to_be_bytes())?;

    let information = [&length.to_be_bytes()[..], name.as_bytes(), &1_u16.to_be_bytes(), &INFO_BLOCK_SIZE.to_be_bytes()].concat();
    option(stream, GO, &information)?;
    if let Some(export) = go(stream)? {
        return Ok(export);
    }
    // A server from before 2017.
    option(stream, EXPORT_NAME, name.as_bytes())?;
    let (size, theirs) = (read_u64(stream)?, read_u16(stream)?);
    if flags & NO_ZEROES == 0 {
        io::copy(&mut Read::by_ref(stream).take(ZEROES), &mut io::sink())?;
    }
    Ok(Export { size, block: 1, payload: PAYLOAD_MAXIMUM, flags: theirs })
}

fn option(stream: &mut impl Write, option: u32, data: &[u8]) -> io::Result<()> {
    // No longer than a name and some.
    let length = data.len() as u32;
    stream.write_all(&[&OPTION_MAGIC.to_be_bytes()[..], &option.to_be_bytes(), &length.to_be_bytes(), data].concat())?;
    stream.flush()
}

/// The answers to the option that begins; `None` where the server does not know it.
fn go(stream: &mut impl Read) -> io::Result<Option<Export>> {
    let (mut described, mut block, mut payload) = (None, 1, PAYLOAD_MAXIMUM);
    for _ in 0..ANSWERS_MAXIMUM {
        if (read_u64(stream)?, read_u32(stream)?) != (OPTION_REPLY_MAGIC, GO) {
            return Err(invalid("the server answered something else"));
        }
        let (kind, length) = (read_u32(stream)?, read_u32(stream)?);
        if length > ANSWER_MAXIMUM {
            return Err(invalid("the server's answer is too long"));
        }
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data)?;
        match kind {
            ACK => {
                let (size, flags) = described.ok_or_else(|| invalid("the server does not say how large the export is"))?;
                return Ok(Some(Export { size, block, payload, flags }));
            }
            UNSUPPORTED => return Ok(None),
            INFO => {
                let mut data = &data[..];
                match read_u16(&mut data)? {
                    INFO_EXPORT => described = Some((read_u64(&mut data)?, read_u16(&mut data)?)),
                    INFO_BLOCK_SIZE => {
                        let (least, _preferred, most) = (read_u32(&mut data)?, read_u32(&mut data)?, read_u32(&mut data)?);
                        if !least.is_power_of_two() || least > 64 << 10 || most < least {
                            return Err(invalid("the server's block sizes make no sense"));
                        }
                        block = least;
                        payload = most.min(PAYLOAD_MAXIMUM) / least * least;
                    }
                    _ => {}
                }
            }
            refused if refused & ERROR != 0 => return Err(refusal(refused, &data)),
            _ => {}
        }
    }
    Err(invalid("the server does not stop answering"))
}

fn refusal(kind: u32, said: &[u8]) -> io::Error {
    let what = match kind & !ERROR {
        2 => "the server does not allow it",
        5 => "the server wants TLS, which is not supported",
        6 => "the server has no such export",
        7 => "the server is about to end",
        8 => "the server wants to be asked for its block sizes",
        _ => "the server refuses",
    };
    let said = String::from_utf8_lossy(said.get(..said.len().min(500)).unwrap_or_default());
    io::Error::new(io::ErrorKind::ConnectionRefused, if said.is_empty() { what.to_owned() } else { format!("{what}: {said}") })
}
