//! The interpreter that an ELF program names: the dynamic loader, which the kernel must be allowed to execute.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Program headers that are looked at, at most; programs have about a dozen.
const HEADERS: u16 = 128;
/// `PT_INTERP`, ELF specification, program header types.
const INTERPRETER: u32 = 3;
/// The longest path that the kernel takes.
const PATH_LIMIT: u64 = 4096;

/// The interpreter of `program`; `None` for a static program and for what is not ELF of this computer's byte order.
///
/// # Errors
///
/// When the program cannot be opened or read.
pub fn of(program: &Path) -> io::Result<Option<PathBuf>> {
    let file = File::open(program)?;
    Ok(named(&file))
}

fn named(file: &File) -> Option<PathBuf> {
    let ident: [u8; 16] = read(file, 0)?;
    let [0x7f, b'E', b'L', b'F', class, data, ..] = ident else { return None };
    if data != if cfg!(target_endian = "little") { 1 } else { 2 } {
        return None;
    }
    // Offsets in the file header and in a program header, ELF-32 and ELF-64.
    let wide = class == 2;
    let (table, entry_size, count) = if wide {
        (u64::from_ne_bytes(read(file, 32)?), u16::from_ne_bytes(read(file, 54)?), u16::from_ne_bytes(read(file, 56)?))
    } else {
        (u64::from(u32::from_ne_bytes(read(file, 28)?)), u16::from_ne_bytes(read(file, 42)?), u16::from_ne_bytes(read(file, 44)?))
    };
    for index in 0..count.min(HEADERS) {
        let header = table.checked_add(u64::from(index).checked_mul(u64::from(entry_size))?)?;
        if u32::from_ne_bytes(read(file, header)?) != INTERPRETER {
            continue;
        }
        let (offset, size) = if wide {
            (u64::from_ne_bytes(read(file, header.checked_add(8)?)?), u64::from_ne_bytes(read(file, header.checked_add(32)?)?))
        } else {
            (
                u64::from(u32::from_ne_bytes(read(file, header.checked_add(4)?)?)),
                u64::from(u32::from_ne_bytes(read(file, header.checked_add(16)?)?)),
            )
        };
        if size > PATH_LIMIT {
            return None;
        }
        let mut path = vec![0; usize::try_from(size).ok()?];
        file.read_exact_at(&mut path, offset).ok()?;
        path.truncate(path.iter().position(|byte| *byte == 0)?);
        return Some(std::ffi::OsString::from_vec(path).into());
    }
    None
}

fn read<const N: usize>(file: &File, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn own_test_program_names_its_loader() {
        let found = of(&std::env::current_exe().unwrap()).unwrap();
        if cfg!(target_env = "gnu") {
            assert!(found.unwrap().exists());
        }
    }

    #[test]
    fn other_files_have_none() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(of(file.path()).unwrap(), None);
        file.write_all(b"#!/bin/sh\n").unwrap();
        assert_eq!(of(file.path()).unwrap(), None);
        file.as_file_mut().set_len(0).unwrap();
        file.write_all(b"\x7fELF\x02\x01").unwrap();
        file.write_all(&[0xff; 4000]).unwrap();
        assert_eq!(of(file.path()).unwrap(), None);
    }
}
