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
const SEND_TRIM: u16 = 1 << 5;
const SEND_WRITE_ZEROES: u16 = 1 << 6;

/// Requests.
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const ZERO: u16 = 6;
/// Of a write of zeros: the room is to be kept.
const NO_HOLE: u16 = 1 << 1;
/// The most bytes of a request where the server says nothing else.
const PAYLOAD_MAXIMUM: u32 = 32 << 20;
/// The most bytes of a request that only names a range.
const RANGE_MAXIMUM: u64 = 1 << 30;

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
}

/// An export in use.
#[derive(Debug)]
pub struct Session<S> {
    stream: S,
    export: Export,
    requests: u64,
}

/// What came of a request: the server's own error is one that leaves the connection as it is.
pub type Answer = io::Result<Result<(), io::Error>>;

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

impl<S: Read + Write> Session<S> {
    /// Asks a server for the export of this name.
    ///
    /// # Errors
    /// Where it has none, or is no such server.
    pub fn begin(mut stream: S, name: &str) -> io::Result<Self> {
        let length = u32::try_from(name.len()).ok().filter(|length| *length as usize <= NAME_MAXIMUM);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the export's name is too long"))?;
        if read_u64(&mut stream)? != SERVER_MAGIC {
            return Err(invalid("this is not an NBD server"));
        }
        if read_u64(&mut stream)? != OPTION_MAGIC {
            return Err(invalid("the server speaks only the old style of NBD"));
        }
        let theirs = read_u16(&mut stream)?;
        if theirs & FIXED_NEWSTYLE == 0 {
            return Err(invalid("the server speaks only the old style of NBD"));
        }
        let flags = FIXED_NEWSTYLE | theirs & NO_ZEROES;
        stream.write_all(&u32::from(flags).to_be_bytes())?;

        let information = [&length.to_be_bytes()[..], name.as_bytes(), &1_u16.to_be_bytes(), &INFO_BLOCK_SIZE.to_be_bytes()].concat();
        option(&mut stream, GO, &information)?;
        let export = match go(&mut stream)? {
            Some(export) => export,
            // A server from before 2017.
            None => {
                option(&mut stream, EXPORT_NAME, name.as_bytes())?;
                let (size, theirs) = (read_u64(&mut stream)?, read_u16(&mut stream)?);
                if flags & NO_ZEROES == 0 {
                    io::copy(&mut (&mut stream).take(ZEROES), &mut io::sink())?;
                }
                Export { size, block: 1, payload: PAYLOAD_MAXIMUM, flags: theirs }
            }
        };
        Ok(Self { stream, export, requests: 0 })
    }

    /// What the server said.
    pub fn export(&self) -> Export {
        self.export
    }

    /// The connection.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Reads from this place on.
    ///
    /// # Errors
    /// Where the connection can no longer be used.
    pub fn read(&mut self, mut place: u64, bytes: &mut [u8]) -> Answer {
        for part in bytes.chunks_mut(self.export.payload as usize) {
            // No larger than the payload.
            let length = part.len() as u32;
            if let Err(error) = self.ask(READ, 0, place, length, &[])? {
                return Ok(Err(error));
            }
            self.stream.read_exact(part)?;
            place = place.saturating_add(u64::from(length));
        }
        Ok(Ok(()))
    }

    /// Writes from this place on.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write(&mut self, mut place: u64, bytes: &[u8]) -> Answer {
        for part in bytes.chunks(self.export.payload as usize) {
            let length = part.len() as u32;
            if let Err(error) = self.ask(WRITE, 0, place, length, part)? {
                return Ok(Err(error));
            }
            place = place.saturating_add(u64::from(length));
        }
        Ok(Ok(()))
    }

    /// What was written is on the medium.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn flush(&mut self) -> Answer {
        if self.export.flags & SEND_FLUSH == 0 { Ok(Ok(())) } else { self.ask(FLUSH, 0, 0, 0, &[]) }
    }

    /// What is there is no longer needed. A server that cannot do anything about it keeps it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn discard(&mut self, place: u64, length: u64) -> Answer {
        if self.export.flags & SEND_TRIM == 0 { Ok(Ok(())) } else { self.ranges(TRIM, 0, place, length) }
    }

    /// There are zeros from now on. Whether they may be holes is said by `may_be_holes`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write_zeroes(&mut self, mut place: u64, mut length: u64, may_be_holes: bool) -> Answer {
        if self.export.flags & SEND_WRITE_ZEROES != 0 {
            return self.ranges(ZERO, if may_be_holes { 0 } else { NO_HOLE }, place, length);
        }
        let zeros = vec![0; length.min(1 << 20) as usize];
        while length > 0 {
            let part = length.min(zeros.len() as u64);
            if let Err(error) = self.write(place, &zeros[..part as usize])? {
                return Ok(Err(error));
            }
            (place, length) = (place.saturating_add(part), length - part);
        }
        Ok(Ok(()))
    }

    /// Says goodbye; nothing is answered.
    pub fn end(&mut self) {
        let _ = self.request(DISCONNECT, 0, 0, 0);
    }

    fn ranges(&mut self, kind: u16, flags: u16, mut place: u64, mut length: u64) -> Answer {
        while length > 0 {
            let part = length.min(RANGE_MAXIMUM);
            if let Err(error) = self.ask(kind, flags, place, part as u32, &[])? {
                return Ok(Err(error));
            }
            (place, length) = (place.saturating_add(part), length - part);
        }
        Ok(Ok(()))
    }

    fn request(&mut self, kind: u16, flags: u16, place: u64, length: u32) -> io::Result<()> {
        self.requests = self.requests.wrapping_add(1);
        let (magic, numbers) = (REQUEST_MAGIC.to_be_bytes(), [self.requests.to_be_bytes(), place.to_be_bytes()].concat());
        let request = [&magic[..], &flags.to_be_bytes(), &kind.to_be_bytes(), &numbers, &length.to_be_bytes()].concat();
        self.stream.write_all(&request)
    }

    fn ask(&mut self, kind: u16, flags: u16, place: u64, length: u32, payload: &[u8]) -> Answer {
        self.request(kind, flags, place, length)?;
        self.stream.write_all(payload)?;
        self.stream.flush()?;
        if read_u32(&mut self.stream)? != REPLY_MAGIC {
            return Err(invalid("the server's reply is none"));
        }
        let (error, number) = (read_u32(&mut self.stream)?, read_u64(&mut self.stream)?);
        if number != self.requests {
            return Err(invalid("the server replied to something else"));
        }
        // Its numbers are Linux's.
        Ok(i32::try_from(error).map_or_else(
            |_| Err(invalid("an unknown error")),
            |error| {
                if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
            },
        ))
    }
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
