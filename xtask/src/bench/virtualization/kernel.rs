//! The kernel as an ELF file, which neither side has to unpack.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process;

/// Where a bzImage says how long its setup is, and where the packed kernel begins and how long it is (the kernel's x86 boot protocol).
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// Unpacks a bzImage that is packed with xz, as Debian's are.
pub fn unpack(image: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(image).with_context(|| format!("Could not read {}", image.display()))?;
    let word = |place: usize| bytes.get(place..place + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) as usize);
    let payload = bytes.get(SETUP_SECTORS).zip(word(PAYLOAD_OFFSET)).zip(word(PAYLOAD_LENGTH)).and_then(|((sectors, offset), length)| {
        let start = (usize::from(*sectors) + 1) * 512 + offset;
        bytes.get(start..start + length)
    });
    let Some(payload) = payload.filter(|payload| payload.starts_with(b"\xfd7zXZ")) else {
        bail!("{} is not a kernel that is packed with xz", image.display());
    };
    let packed = to.with_extension("xz");
    fs::write(&packed, payload).context("Could not write the packed kernel")?;
    // After the stream there are bytes that are not xz's.
    let mut xz = Command::new("xz");
    xz.args(["--decompress", "--stdout", "--single-stream"]).stdin(Stdio::from(File::open(&packed)?));
    process::run(xz.stdout(File::create(to).context("Could not write the kernel")?))
}
