//! Carries out what is asked for in the home window: every [`Command`] that it has, as work of the library's.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use library::{Deletion, Error, ErrorKind, ExportFormat, ImportOptions, Library, Machine, Made, Progress, ShareChange};
use slint::ComponentHandle as _;
use view_model::{Command, Message};

use crate::display::orders;
use crate::home::HomeScreen;
use crate::portal::{self, Question};
use crate::words::say;

/// How long a guest may take to shut down before a person is told that it does not.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether this window has a command. The others belong to a machine's own window.
pub const fn is_here(command: Command) -> bool {
    !matches!(command, Command::FullScreen | Command::Capture | Command::SendKeys)
}

/// Whether a command is asked of one machine.
pub const fn is_of_machine(command: Command) -> bool {
    !matches!(command, Command::NewMachine | Command::Import | Command::Search | Command::CloseWindow | Command::Preferences | Command::About | Command::Quit)
        // Which drive is meant says the page of the machine.
        && !matches!(command, Command::Insert | Command::Eject)
}

/// Ends the app. Machines run on.
pub fn quit() {
    if let Err(error) = slint::quit_event_loop() {
        tracing::error!("There is no event loop to end: {error}");
    }
}

impl HomeScreen {
    /// Does what a command says, to the selected machine where it is of one; asks first where something would be lost.
    pub(crate) fn run(&self, command: Command) {
        match command {
            Command::Search => self.window().invoke_focus_search(),
            Command::CloseWindow | Command::Quit if self.is_busy() => self.ask_quit(),
            Command::Quit => quit(),
            Command::CloseWindow => drop(self.window().hide()),
            Command::About => self.show_about(),
            Command::Import => self.choose_import(),
            Command::NewMachine => self.make(None),
            Command::Preferences => self.shown(command, None, self.windows().open_preferences()),
            _ => self.run_with(command, ""),
        }
    }

    /// The same, with the drive, or the serial port, that is meant.
    pub(crate) fn run_with(&self, command: Command, drive: &str) {
        let Some(machine) = self.selected_for(command) else { return };
        match command {
            Command::Rename | Command::Clone => self.ask_name(command, &machine),
            Command::Insert => self.choose_medium(machine, drive),
            Command::Eject => self.eject(&machine, drive.to_owned()),
            Command::Share => self.choose_share(machine),
            Command::Move | Command::Export => self.choose_folder(command, machine),
            Command::ShowLog => self.show_log(&machine),
            Command::ShowFiles => self.show_files(&machine),
            Command::Screenshot => self.screenshot(&machine),
            Command::OpenDisplay => self.shown(command, Some(&machine.path), self.windows().open_display(&machine.path)),
            Command::OpenConsole => {
                let port = drive.parse().unwrap_or_else(|_| self.first_port());
                self.shown(command, Some(&machine.path), self.windows().open_port(&machine.path, port));
            }
            Command::Settings => self.shown(command, Some(&machine.path), self.windows().open_settings(&machine.path, || {})),
            _ if self.ask(command, &machine) => {}
            _ => self.perform(command, &machine),
        }
    }

    /// Carries out a command that needs no further word.
    pub(crate) fn perform(&self, command: Command, machine: &Machine) {
        let (library, of, path) = (self.engine().library().clone(), machine.clone(), machine.path.clone());
        let title = command
            .work(&machine.name)
            .unwrap_or_else(|| Message::said(format!("{}: \"{}\"", say(command.label()).trim_end_matches('…'), machine.name)));
        self.begin(
            title,
            Some(&machine.path),
            false,
            |job| async move {
                let heard = move |what: &str| job.tell(Progress { what: what.to_owned(), done: 0, total: None });
                match command {
                    Command::Delete => library.delete(&of, Deletion::Trash).await,
                    Command::Unregister => blocking(move || library.unregister(&of)).await,
                    _ => orders::run(&library, &of, command, PATIENCE, heard).await.unwrap_or(Ok(())),
                }
            },
            move |screen, ()| {
                // Whoever starts a machine wants to see it.
                if matches!(command, Command::Start | Command::StartDisposable) {
                    screen.show_machine(&path);
                }
                Vec::new()
            },
        );
    }

    /// Shows a machine's first display, or its first serial port where it has none.
    pub(crate) fn show_machine(&self, path: &Path) {
        let (this, of) = (self.weak(), path.to_path_buf());
        self.windows().open_machine(path, move |error| {
            if let Some(screen) = this.upgrade() {
                screen.shown(Command::OpenDisplay, Some(&of), Err(error));
            }
        });
    }

    /// Opens the wizard, for an ISO or a disk image where there is one.
    pub(crate) fn make(&self, preset: Option<PathBuf>) {
        let this = self.weak();
        let opened = self.windows().open_wizard(preset, move |made| {
            let Some(screen) = this.upgrade() else { return };
            let machine = made.made.machine;
            screen.select(&machine.path);
            if made.open_settings {
                let (this, path, start) = (this.clone(), machine.path.clone(), made.start);
                let opened = screen.windows().open_settings(&path, move || {
                    if let Some(screen) = this.upgrade().filter(|_| start) {
                        screen.perform(Command::Start, &machine);
                    }
                });
                screen.shown(Command::Settings, Some(&path), opened);
            } else if made.start {
                screen.perform(Command::Start, &machine);
            }
        });
        self.shown(Command::NewMachine, None, opened);
    }

    /// Says why a window could not be opened.
    fn shown(&self, command: Command, machine: Option<&Path>, opened: Result<(), slint::PlatformError>) {
        if let Err(error) = opened {
            let error = Error::new(ErrorKind::Io, "The window cannot be opened").with_source(error);
            self.failed(command.label().into(), machine, &error);
        }
    }

    /// Gives a machine, or its copy, a name.
    pub(crate) fn name_given(&self, command: Command, machine: &Machine, name: String) {
        let (library, of) = (self.engine().library().clone(), machine.clone());
        let title = command.work(&machine.name).unwrap_or_else(|| Message::said(format!("\"{}\" → \"{name}\"", machine.name)));
        if command == Command::Clone {
            let cloning = |job| async move { library.clone_machine(&of, Some(&name), &job).await };
            self.begin(title, Some(&machine.path), true, cloning, Self::made);
        } else {
            let renaming = |_| blocking(move || library.rename(&of, &name));
            self.begin(title, Some(&machine.path), false, renaming, |screen, renamed: &Machine| {
                screen.select(&renamed.path);
                Vec::new()
            });
        }
    }

    /// Makes a machine of a bundle, a disk image or an ISO.
    pub(crate) fn import(&self, path: &Path) {
        let (library, from) = (self.engine().library().clone(), path.to_path_buf());
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let title = Command::Import.work(&name).unwrap_or_else(|| Message::said(name));
        self.begin(title, None, true, |job| async move { library.import(&from, ImportOptions::default(), &job).await }, Self::made);
    }

    /// A machine was made: it is what a person wants to see.
    fn made(&self, made: &Made) -> Vec<String> {
        self.select(&made.machine.path);
        made.notes.clone()
    }

    fn eject(&self, machine: &Machine, drive: String) {
        let (library, of) = (self.engine().library().clone(), machine.clone());
        let title = Message::said(format!("{}: \"{}\"", say(Command::Eject.label()), machine.name));
        self.begin(title, Some(&machine.path), false, |_| async move { library.eject(&of, &drive, false).await }, |_, ()| Vec::new());
    }

    fn screenshot(&self, machine: &Machine) {
        let (library, of) = (self.engine().library().clone(), machine.clone());
        let title = Message::said(format!("{}: \"{}\"", say(Command::Screenshot.label()), machine.name));
        let taking = |_| async move { screenshot(&library, &of).await };
        self.begin(title, Some(&machine.path), false, taking, |_, path: &PathBuf| vec![path.display().to_string()]);
    }

    fn show_files(&self, machine: &Machine) {
        let path = machine.path.clone();
        let title = Message::said(say(Command::ShowFiles.label()));
        let showing = |_| blocking(move || open_folder(path.parent().unwrap_or(&path)));
        self.begin(title, None, false, showing, |_, ()| Vec::new());
    }

    fn choose_import(&self) {
        let question = Question { title: say(Command::Import.label()).to_string(), folder: false, kinds: None };
        self.choose_path(question, |screen, path| screen.import(&path));
    }

    fn choose_medium(&self, machine: Machine, drive: &str) {
        let Some(drive) = Some(drive.to_owned()).filter(|drive| !drive.is_empty()).or_else(|| self.removable_drive()) else { return };
        let kinds = Some(("ISO".to_owned(), ["iso", "img", "raw", "qcow2"].map(str::to_owned).to_vec()));
        let question = Question { title: say(Command::Insert.label()).to_string(), folder: false, kinds };
        self.choose_path(question, move |screen, path| {
            let (library, of) = (screen.engine().library().clone(), machine.clone());
            let title = Message::said(format!("{}: \"{}\"", say(Command::Insert.label()).trim_end_matches('…'), machine.name));
            let inserting = |_| async move { library.insert(&of, &drive, &path, false).await };
            screen.begin(title, Some(&machine.path), false, inserting, |_, ()| Vec::new());
        });
    }

    fn choose_share(&self, machine: Machine) {
        let question = Question { title: say(Command::Share.label()).to_string(), folder: true, kinds: None };
        self.choose_path(question, move |screen, path| {
            let (library, of) = (screen.engine().library().clone(), machine.clone());
            let title = Message::said(format!("{}: \"{}\"", say(Command::Share.label()).trim_end_matches('…'), machine.name));
            let change = ShareChange { folder: Some(Some(path)), ..ShareChange::default() };
            let sharing = |_| blocking(move || library.share(&of, change).map(drop));
            screen.begin(title, Some(&machine.path), false, sharing, |_, ()| Vec::new());
        });
    }

    fn choose_folder(&self, command: Command, machine: Machine) {
        let question = Question { title: say(command.label()).to_string(), folder: true, kinds: None };
        self.choose_path(question, move |screen, folder| {
            let (library, of) = (screen.engine().library().clone(), machine.clone());
            let title = command.work(&machine.name).unwrap_or_else(|| Message::said(machine.name.clone()));
            if command == Command::Move {
                let moving = |job| async move { library.move_to(&of, &folder, &job).await };
                screen.begin(title, Some(&machine.path), true, moving, |screen, moved: &Machine| {
                    screen.select(&moved.path);
                    Vec::new()
                });
            } else {
                let destination = folder.join(of.path.file_name().unwrap_or_default());
                let exporting = |job| async move { library.export(&of, &destination, ExportFormat::Folder, false, &job).await };
                screen.begin(title, Some(&machine.path), true, exporting, |_, path: &PathBuf| vec![path.display().to_string()]);
            }
        });
    }

    /// Asks for a file or folder, then goes on with it.
    fn choose_path(&self, question: Question, chosen: impl FnOnce(&Self, PathBuf) + 'static) {
        let (this, title) = (self.weak(), question.title.clone());
        self.engine().ask(portal::choose(question), move |answer| {
            let Some(screen) = this.upgrade() else { return };
            match answer {
                Ok(Some(path)) => chosen(&screen, path),
                Ok(None) => {}
                Err(error) => {
                    let error = Error::new(ErrorKind::Unsupported, format!("{error:#}")).with_hint(screen.no_dialog_hint());
                    screen.failed(Message::said(title.trim_end_matches('…')), None, &error);
                }
            }
        });
    }
}

/// Does something that waits for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> library::Result<T> + Send + 'static) -> library::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::new(ErrorKind::Io, format!("It was given up: {error}"))))
}

/// Opens a folder in the desktop's file manager.
fn open_folder(folder: &Path) -> library::Result<()> {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let failed = |error| {
        Error::io(format!("Cannot show {}", folder.display()), error)
            .with_hint(format!("Install {program} (package xdg-utils), or open the folder yourself"))
    };
    let mut child =
        Process::new(program).arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(failed)?;
    // Some file managers stay in front of whoever called them.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// Saves what a machine shows beside a person's other pictures.
async fn screenshot(library: &Library, machine: &Machine) -> library::Result<PathBuf> {
    let not_running = || Error::new(ErrorKind::WrongState, format!("\"{}\" is not running", machine.name));
    let client = library.client(machine).await?.ok_or_else(not_running)?;
    let png = client
        .screenshot(0)
        .await
        .map_err(|error| Error::new(ErrorKind::Supervisor, format!("\"{}\" cannot be photographed", machine.name)).with_source(error))?;
    let name = machine.name.replace(['/', '\0'], "-");
    blocking(move || {
        let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
        let pictures = home.join("Pictures");
        let folder = if pictures.is_dir() { pictures } else { home };
        write_new(&folder, &name, &png)
    })
    .await
}

/// Writes a picture under a name that no file has.
fn write_new(folder: &Path, name: &str, png: &[u8]) -> library::Result<PathBuf> {
    let names = std::iter::once(format!("{name}.png")).chain((2_u32..).map(|number| format!("{name} {number}.png")));
    for path in names.map(|name| folder.join(name)) {
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                return std::io::Write::write_all(&mut file, png)
                    .map(|()| path.clone())
                    .map_err(|error| Error::io(format!("Cannot write {}", path.display()), error));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io(format!("Cannot make {}", path.display()), error)),
        }
    }
    Err(Error::new(ErrorKind::Exists, "Every name is taken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screenshot_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name(write_new(folder.path(), "Debian", b"1").unwrap()), "Debian.png");
        assert_eq!(name(write_new(folder.path(), "Debian", b"2").unwrap()), "Debian 2.png");
        assert_eq!(std::fs::read(folder.path().join("Debian.png")).unwrap(), b"1");
        assert!(write_new(Path::new("/nowhere"), "x", b"").is_err());
    }
}
