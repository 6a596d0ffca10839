//! Kernels that were unpacked: what takes a guest seconds takes the host less, and only once.
//!
//! An unpacked kernel is kept in the user's cache folder, under a name made of the image's identity (device, inode, size, times). What cannot
//! be unpacked or kept is no failure: the guest then unpacks the image itself.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::outside::Outside;

/// Unpacked kernels that are kept; each has some 60 MiB.
const KEPT: usize = 4;

/// The kernel inside this image, unpacked; `None` where it is to be loaded as it is.
pub fn unpacked(image: &mut File, outside: &Outside) -> Option<File> {
    let kept = unpack(image, &folder()?, outside);
    kept.inspect_err(|error| tracing::warn!(%error, "the kernel is left to the guest to unpack")).ok().flatten()
}

fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(cache.join("virtualization/kernels"))
}

/// Unpacks on the calling thread; files are opened and written outside.
fn unpack(image: &mut File, folder: &Path, outside: &Outside) -> io::Result<Option<File>> {
    let place = folder.join(name(image)?);
    let kept = place.clone();
    if let Ok(kept) = outside.run(|| File::open(kept)).map_err(io::Error::other)? {
        return Ok(Some(kept));
    }
    let Some(kernel) = boot::payload(image).map_err(io::Error::other)? else { return Ok(None) };
    let folder = folder.to_owned();
    outside.run(move || keep(&kernel, &folder, &place)).map_err(io::Error::other)?.map(Some)
}

/// Writes an unpacked kernel to its place in the folder, and opens it.
fn keep(kernel: &[u8], folder: &Path, place: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    // Whoever else unpacks the same kernel just now writes another file, and one of the two stays.
    let unfinished = folder.join(format!(".{}.{:?}", std::process::id(), std::thread::current().id()));
    let written = File::create(&unfinished)
        .and_then(|mut file| file.write_all(kernel).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, place));
    if let Err(error) = written {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    remove_oldest(folder);
    File::open(place)
}

fn name(image: &File) -> io::Result<String> {
    let metadata = image.metadata()?;
    let mut hasher = DefaultHasher::new();
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec())
        .hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

fn remove_oldest(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let age = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut kernels: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    kernels.sort_by_key(age);
    for old in kernels.iter().rev().skip(KEPT) {
        // It is in use, or somebody else was faster.
        let _ = fs::remove_file(old);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A bzImage with a gzip-compressed payload.
    fn image(folder: &Path, number: u8) -> File {
        let kernel = [b"\x7fELF".as_slice(), &[number; 100]].concat();
        // RFC 1951, 3.2.4: one stored block; RFC 1952: header, then checksum and size.
        let length = u16::try_from(kernel.len()).unwrap();
        let mut crc = !0_u32;
        for byte in &kernel {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            }
        }
        let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1];
        packed.extend(length.to_le_bytes().into_iter().chain((!length).to_le_bytes()));
        packed.extend(&kernel);
        packed.extend((!crc).to_le_bytes().into_iter().chain(u32::from(length).to_le_bytes()));
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(packed.len() as u32 + 4).to_le_bytes());
        image.extend(packed);
        image.extend(u32::from(length).to_le_bytes());
        let path = folder.join(format!("vmlinuz-{number}"));
        fs::write(&path, image).unwrap();
        File::open(path).unwrap()
    }

    #[test]
    fn a_kernel_is_unpacked_once_and_few_are_kept() {
        let outside = Outside::new().unwrap();
        let (images, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for number in 0..6 {
            let mut kept = Vec::new();
            unpack(&mut image(images.path(), number), cache.path(), &outside).unwrap().unwrap().read_to_end(&mut kept).unwrap();
            assert_eq!(kept, [b"\x7fELF".as_slice(), &[number; 100]].concat());
        }
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), KEPT);
        // What is kept is used, also where the image could no longer be unpacked.
        let mut last = File::open(images.path().join("vmlinuz-5")).unwrap();
        let before = fs::metadata(cache.path().join(name(&last).unwrap())).unwrap().modified().unwrap();
        unpack(&mut last, cache.path(), &outside).unwrap().unwrap();
        assert_eq!(fs::metadata(cache.path().join(name(&last).unwrap())).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn what_cannot_be_unpacked_is_left_to_the_guest() {
        let outside = Outside::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut other = tempfile::tempfile().unwrap();
        other.write_all(b"\x7fELF").unwrap();
        assert!(unpack(&mut other, folder.path(), &outside).unwrap().is_none());
        assert!(unpack(&mut image(folder.path(), 0), Path::new("/proc/nowhere"), &outside).is_err());
    }
}
