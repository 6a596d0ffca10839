//! Drives the built programs as a person would, with real guests.
//!
//! - [`Home`]: a person's folders, `viv` in them, and an end for everything that was started there.
//! - [`Guest`]: a machine of such a home, up to what its guest says and is told.
//! - [`Screen`]: an X server of a test's own, with the desktop app on it; [`Tree`] is what a screen reader sees there.
//! - [`Speakers`]: a sound server of a test's own.
//! - [`guests`]: the test guests that `cargo xtask guests` has assembled.
//!
//! Where QEMU or the guests are missing a test says so and does nothing, unless `CI` or `VIVARIUM_REQUIRE_GUESTS` is set: then it fails.

mod drag;
mod fake;
mod guest;
pub mod guests;
mod home;
mod mount;
mod picture;
mod screen;
mod speakers;
mod tree;

pub use guest::{Guest, PATIENCE};
pub use home::{Home, Ran, programs};
pub use mount::Mount;
pub use picture::Picture;
pub use screen::{App, Screen};
pub use speakers::{Played, Speakers};
pub use tree::{Role, Tree};

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Whether what a test needs must be there.
fn strict() -> bool {
    let set = |name: &str| std::env::var(name).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    set("CI") || set("VIVARIUM_REQUIRE_GUESTS")
}

/// Says that a test does nothing, and why.
///
/// # Panics
/// Where nothing may be left out.
pub fn skip(reason: &str) {
    assert!(!strict(), "nothing may be skipped here, and {reason}");
    eprintln!("skipped: {reason}");
}

/// Says that a test does nothing because the computer itself does not allow it, which no setup would change.
pub fn not_possible_here(reason: &str) {
    eprintln!("not possible here: {reason}");
}

/// A program on the `PATH`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The emulator of an architecture, or a reason to skip.
pub fn emulator(architecture: &str) -> Option<PathBuf> {
    let name = format!("qemu-system-{architecture}");
    let found = program(&name);
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Runs qemu-img, which must succeed.
///
/// # Panics
/// Where it does not.
pub fn qemu_img(arguments: &[&str]) {
    let done = Command::new("qemu-img").args(arguments).output().unwrap();
    assert!(done.status.success(), "qemu-img {arguments:?}: {done:?}");
}

/// Looks again and again until there is something to see.
///
/// # Panics
/// Where there is nothing within `patience`.
pub fn eventually<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "within {} s not: {what}", patience.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process lives (zombies do not).
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Kills a process of this test's own and waits until it is gone.
///
/// # Panics
/// Where it cannot be killed.
pub fn kill(pid: u32) {
    let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process number");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    eventually("the killed process ends", Duration::from_secs(30), || (!lives(pid)).then_some(()));
}
