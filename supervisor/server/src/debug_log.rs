//! The log of a run in the bundle (`Data/debug.log`), where the configuration asks for one (`QEMU.DebugLog`): what the machine was started
//! with, and what QEMU said. It is for who is given the bundle; here, `viv logs` shows the same and more.

use crate::logs;
use beneath::Folder;
use bundle::{Bundle, DATA_FOLDER, DEBUG_LOG_FILE};
use machine::CommandLine;
use std::io::{self, Write};
use std::path::Path;

/// How much of QEMU's log is taken, in bytes: its end.
const LIMIT: u64 = 1 << 20;

/// Leaves the log of a run that has ended in place of that of the run before, where the bundle asks for one. `log` is QEMU's.
///
/// # Errors
/// A bundle that cannot be read or written.
pub fn leave(bundle: &Path, command: &CommandLine, log: &Path) -> io::Result<()> {
    let opened = Bundle::open(bundle).map_err(io::Error::other)?;
    if !opened.configuration.as_qemu().is_some_and(|configuration| configuration.qemu.debug_log) {
        return Ok(());
    }
    let data = Folder::open(bundle)?.folder(DATA_FOLDER).map_err(io::Error::other)?;
    data.replace(DEBUG_LOG_FILE, |file| {
        writeln!(file, "{}", command.shell)?;
        file.write_all(&logs::tail(log, LIMIT))
    })
}
