//! Packets of the socket device (Virtio 1.2, 5.10.6).

/// Bytes of a header.
pub const HEADER_SIZE: usize = 44;
/// The host.
pub const HOST: u64 = 2;
/// Streams, the one type of socket that there is here.
pub const STREAM: u16 = 1;

/// What a packet is for.
pub mod operation {
    /// A connection is asked for.
    pub const REQUEST: u16 = 1;
    /// It is accepted.
    pub const RESPONSE: u16 = 2;
    /// There is none, or no longer.
    pub const RESET: u16 = 3;
    /// No more is received or sent.
    pub const SHUTDOWN: u16 = 4;
    /// Data.
    pub const DATA: u16 = 5;
    /// How much room there is.
    pub const CREDIT_UPDATE: u16 = 6;
    /// How much room is there?
    pub const CREDIT_REQUEST: u16 = 7;
}

/// Flags of a shutdown: its sender receives no more, sends no more.
pub const NO_RECEIVE: u32 = 1;
/// See [`NO_RECEIVE`].
pub const NO_SEND: u32 = 2;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Who sends it, and from which port.
    pub source: (u64, u32),
    /// Who is to have it, and at which port.
    pub destination: (u64, u32),
    /// Bytes of data that follow.
    pub length: u32,
    /// The type of socket.
    pub kind: u16,
    /// What it is for.
    pub operation: u16,
    /// More about that.
    pub flags: u32,
    /// Bytes of room that the sender has for the connection altogether.
    pub room: u32,
    /// Bytes that it has taken out of there so far, modulo 2^32.
    pub forwarded: u32,
}

impl Header {
    /// From its bytes.
    pub fn from_bytes(bytes: [u8; HEADER_SIZE]) -> Self {
        let word = |place: usize| u32::from_le_bytes(std::array::from_fn(|byte| bytes[place + byte]));
        let long = |place: usize| u64::from(word(place + 4)) << 32 | u64::from(word(place));
        // The halves of a word.
        let (kind, operation) = (word(28) as u16, (word(28) >> 16) as u16);
        Self {
            source: (long(0), word(16)),
            destination: (long(8), word(20)),
            length: word(24),
            kind,
            operation,
            flags: word(32),
            room: word(36),
            forwarded: word(40),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        [
            &self.source.0.to_le_bytes()[..],
            &self.destination.0.to_le_bytes(),
            &self.source.1.to_le_bytes(),
            &self.destination.1.to_le_bytes(),
            &self.length.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &self.operation.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.room.to_le_bytes(),
            &self.forwarded.to_le_bytes(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = Header {
            source: (3, 1025),
            destination: (HOST, 0x0102_0304),
            length: 7,
            kind: STREAM,
            operation: operation::DATA,
            flags: NO_SEND,
            room: 1 << 18,
            forwarded: u32::MAX,
        };
        assert_eq!(Header::from_bytes(header.bytes().try_into().unwrap()), header);
    }
}
