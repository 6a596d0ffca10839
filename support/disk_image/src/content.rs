//! Whether a file may be the disk or disc that somebody says it is.
//!
//! Raw images have no header, so any file could be one. What surely is something else, or nothing, is worth a question before it is copied
//! and booted.

use std::fs::File;
use std::io;

use crate::format::{Format, probe, read_up_to};

/// Why a file does not look like what it is used as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// Its size is not a whole number of sectors of 512 bytes.
    #[error("its size, {0} bytes, is not a multiple of 512")]
    OddSize(u64),
    /// Its beginning is text.
    #[error("it is a text")]
    Text,
    /// It begins like something else.
    #[error("it is {0}")]
    Other(&'static str),
    /// It is compressed, and might be an image once it is unpacked.
    #[error("it is compressed with {0}")]
    Compressed(&'static str),
    /// It has none of the file systems and boot records of optical discs.
    #[error("it has neither the file system of a disc (ISO 9660, UDF, HFS) nor a boot record")]
    NoDisc,
}

/// What speaks against `file` being the image of a hard disk.
///
/// # Errors
/// When the file cannot be read.
pub fn doubt_as_disk(file: &File) -> io::Result<Option<Doubt>> {
    if probe(file)? != Format::Raw {
        return Ok(None);
    }
    let mut start = [0; 4096];
    let got = read_up_to(file, &mut start, 0)?;
    let start = start.get(..got).unwrap_or_default();
    let length = file.metadata()?.len();
    Ok(if length == 0 {
        Some(Doubt::Empty)
    } else if let Some(doubt) = something_else(start) {
        Some(doubt)
    } else if !length.is_multiple_of(512) {
        Some(Doubt::OddSize(length))
    } else {
        None
    })
}

/// What speaks against `file` being the image of a CD or DVD.
///
/// # Errors
/// When the file cannot be read.
pub fn doubt_as_disc(file: &File) -> io::Result<Option<Doubt>> {
    if probe(file)? != Format::Raw {
        return Ok(None);
    }
    let mut start = [0; 2048];
    let got = read_up_to(file, &mut start, 0)?;
    let start = start.get(..got).unwrap_or_default();
    Ok(if file.metadata()?.len() == 0 {
        Some(Doubt::Empty)
    } else if has_boot_record(start) || has_volume_descriptor(file)? {
        None
    } else if let Some(doubt) = something_else(start) {
        Some(doubt)
    } else {
        Some(Doubt::NoDisc)
    })
}

/// Boot records and partition maps that discs have, and HFS, which old Macs start from: each at its place.
fn has_boot_record(start: &[u8]) -> bool {
    const PLACES: &[(usize, &[u8])] = &[
        // A PC's boot record, which hybrid discs have; GPT.
        (510, b"\x55\xaa"),
        (512, b"EFI PART"),
        // Apple: driver descriptor, partition map, HFS and HFS Plus.
        (0, b"ER"),
        (512, b"PM"),
        (1024, b"BD"),
        (1024, b"H+"),
        (1024, b"HX"),
        // Sun's disk label, SGI's volume header.
        (508, b"\xda\xbe"),
        (0, b"\x0b\xe5\xa9\x41"),
    ];
    PLACES.iter().any(|(offset, magic)| start.get(*offset..).is_some_and(|rest| rest.starts_with(magic)))
}

/// The identifiers of ECMA-119 and ECMA-167 (UDF) in the sectors from the 16th on, and that of High Sierra.
fn has_volume_descriptor(file: &File) -> io::Result<bool> {
    for sector in 16..32 {
        let mut descriptor = [0; 14];
        read_up_to(file, &mut descriptor, sector * 2048)?;
        let identifier = descriptor.get(1..6).unwrap_or_default();
        let known: &[&[u8]] = &[b"CD001", b"BEA01", b"NSR02", b"NSR03"];
        if known.contains(&identifier) || descriptor.get(9..14) == Some(b"CDROM") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a file is that begins like this, where no disk does.
fn something_else(start: &[u8]) -> Option<Doubt> {
    const KNOWN: &[(&[u8], Doubt)] = &[
        (b"\x1f\x8b\x08", Doubt::Compressed("gzip")),
        (b"\xfd7zXZ\0", Doubt::Compressed("xz")),
        (b"\x28\xb5\x2f\xfd", Doubt::Compressed("zstd")),
        (b"BZh", Doubt::Compressed("bzip2")),
        (b"\x04\x22\x4d\x18", Doubt::Compressed("lz4")),
        (b"PK\x03\x04", Doubt::Compressed("zip")),
        (b"7z\xbc\xaf\x27\x1c", Doubt::Compressed("7z")),
        (b"Rar!\x1a\x07", Doubt::Compressed("rar")),
        (b"\x7fELF", Doubt::Other("a program or a kernel")),
        (b"\x89PNG\r\n", Doubt::Other("a picture")),
        (b"\xff\xd8\xff", Doubt::Other("a picture")),
        (b"%PDF-", Doubt::Other("a PDF")),
        (
            b"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0",
            Doubt::Other("a copy of raw CD sectors, which has to be converted to .iso first"),
        ),
    ];
    let known = KNOWN.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, doubt)| doubt.clone());
    known.or_else(|| is_text(start).then_some(Doubt::Text))
}

/// Whether it is nothing but printable characters and line ends.
fn is_text(start: &[u8]) -> bool {
    // A character of several bytes may be cut off at the end.
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(start.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.is_empty() && valid.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn file(pieces: &[(u64, &[u8])], length: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        pieces.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
        file
    }

    #[test]
    fn an_empty_disk_and_a_formatted_one_are_disks() {
        assert_eq!(doubt_as_disk(&file(&[], 1 << 20)).unwrap(), None);
        assert_eq!(doubt_as_disk(&file(&[(510, b"\x55\xaa")], 1 << 20)).unwrap(), None);
        // A file system's own text does not make it one.
        assert_eq!(doubt_as_disk(&file(&[(3, b"MSDOS5.0")], 1 << 20)).unwrap(), None);
        assert_eq!(doubt_as_disk(&file(&[(0, b"QFI\xfb\0\0\0\x03")], 600)).unwrap(), None);
    }

    #[test]
    fn what_is_no_disk_is_doubted_with_the_reason() {
        for (content, length, doubt) in [
            (&b""[..], 0, Doubt::Empty),
            (b"\0", 1000, Doubt::OddSize(1000)),
            (b"root:x:0:0::/root:/bin/sh\n", 26, Doubt::Text),
            ("über\n".as_bytes(), 6, Doubt::Text),
            (b"\x1f\x8b\x08", 4096, Doubt::Compressed("gzip")),
            (b"\x7fELF", 4096, Doubt::Other("a program or a kernel")),
        ] {
            assert_eq!(doubt_as_disk(&file(&[(0, content)], length)).unwrap(), Some(doubt));
        }
        // A text is one whatever its size.
        assert_eq!(doubt_as_disk(&file(&[(0, &[b'a'; 1024])], 1024)).unwrap(), Some(Doubt::Text));
    }

    #[test]
    fn discs_of_every_kind_are_discs() {
        for (offset, magic) in [
            (32769, &b"CD001"[..]),
            (32769, b"BEA01"),
            (34817, b"NSR02"),
            (32777, b"CDROM"),
            (510, b"\x55\xaa"),
            (0, b"ER"),
            (1024, b"BD"),
            (0, b"QFI\xfb\0\0\0\x03"),
        ] {
            assert_eq!(doubt_as_disc(&file(&[(offset, magic)], 1 << 20)).unwrap(), None, "{magic:?}");
        }
    }

    #[test]
    fn what_is_no_disc_is_doubted_with_the_reason() {
        for (content, length, doubt) in [
            (&b""[..], 0, Doubt::Empty),
            (b"\0", 1 << 20, Doubt::NoDisc),
            (b"root:x:0:0::/root:/bin/sh\n", 26, Doubt::Text),
            (b"PK\x03\x04", 4096, Doubt::Compressed("zip")),
        ] {
            assert_eq!(doubt_as_disc(&file(&[(0, content)], length)).unwrap(), Some(doubt));
        }
    }
}
