//! Carries out what a machine's window asks for. All of it runs in the engine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use library::{Library, Machine, ShareChange, StopPlan};
use machine::{StartOptions, StopMethod};
use view_model::{Command, Failure};

/// How long a guest may take to shut down before a person is told that it does not.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that is done to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A command that needs no more words.
    Command(Command),
    /// Asks the guest to power off, and does not wait until it has.
    PressPowerButton,
    /// Puts a medium into a drive.
    Insert(String, PathBuf),
    /// Takes it out.
    Eject(String),
    /// Shares a folder, or none.
    Share(Option<PathBuf>),
}

/// Does it.
///
/// # Errors
/// Why not, and what to do.
pub async fn carry_out(library: Library, path: PathBuf, deed: Deed) -> Result<(), Failure> {
    let at = library.clone();
    let looked = tokio::task::spawn_blocking(move || at.machine_at(&path)).await;
    let Ok(machine) = looked else { return Ok(()) };
    let done = match machine {
        Ok(machine) => act(&library, &machine, deed).await,
        Err(error) => Err(error),
    };
    done.map_err(|error| Failure::from(&error))
}

async fn act(library: &Library, machine: &Machine, deed: Deed) -> library::Result<()> {
    match deed {
        Deed::Command(command) => {
            let heard = |what: &str| tracing::debug!(what, "working");
            run(library, machine, command, PATIENCE, heard).await.unwrap_or_else(|| {
                tracing::error!(?command, "no window of a machine does that");
                Ok(())
            })
        }
        Deed::PressPowerButton => {
            let Some(client) = library.client(machine).await? else { return Ok(()) };
            let said = |error: supervisor_api::ClientError| library::Error::new(library::ErrorKind::Supervisor, error.to_string());
            client.stop(StopMethod::Request).await.map_err(said)
        }
        Deed::Insert(drive, medium) => library.insert(machine, &drive, &medium, false).await,
        Deed::Eject(drive) => library.eject(machine, &drive, false).await,
        Deed::Share(folder) => {
            let (library, machine) = (library.clone(), machine.clone());
            let shared = tokio::task::spawn_blocking(move || {
                library.share(&machine, ShareChange { folder: Some(folder), ..ShareChange::default() }).map(drop)
            });
            shared.await.unwrap_or(Ok(()))
        }
    }
}

/// Starts, halts or ends a machine, as a command says; a guest that is asked to end has `patience` to do so. `None` where it says something else.
pub async fn run(
    library: &Library,
    machine: &Machine,
    command: Command,
    patience: Duration,
    heard: impl FnMut(&str),
) -> Option<library::Result<()>> {
    Some(match command {
        Command::Start => library.start(machine, StartOptions::default(), heard).await,
        Command::StartDisposable => library.start(machine, StartOptions { disposable: true, ..StartOptions::default() }, heard).await,
        Command::Pause => library.pause(machine).await,
        Command::Resume => library.resume(machine).await,
        Command::ShutDown => library.stop(machine, StopPlan::request(patience), heard).await.map(drop),
        Command::ForceStop => library.stop(machine, StopPlan::force(), heard).await.map(drop),
        Command::Restart => library.restart(machine, StopPlan::request(patience), None, heard).await,
        Command::Reset => library.reset(machine).await,
        _ => return None,
    })
}

/// Where a screenshot of a machine is put: beside a person's other pictures, with the time in its name.
pub fn screenshot_path(name: &str, now: &str) -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let pictures = std::env::var_os("XDG_PICTURES_DIR").map_or_else(|| home.join("Pictures"), PathBuf::from);
    let folder = if pictures.is_dir() { pictures } else { home };
    let name: String = name.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    Some(free_path(&folder, &format!("{name} {now}")))
}

/// A name that no file has.
fn free_path(folder: &Path, stem: &str) -> PathBuf {
    let names = std::iter::once(format!("{stem}.png")).chain((2_u32..).map(|number| format!("{stem} {number}.png")));
    let mut paths = names.map(|name| folder.join(name));
    paths.find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| folder.join("screenshot.png"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screenshot_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let first = free_path(folder.path(), "Debian 2026-11-22");
        assert_eq!(first.file_name().unwrap(), "Debian 2026-11-22.png");
        std::fs::write(&first, "").unwrap();
        assert_eq!(free_path(folder.path(), "Debian 2026-11-22").file_name().unwrap(), "Debian 2026-11-22 2.png");
    }
}
