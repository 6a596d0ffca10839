//! What is asked and told over the window.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use library::{Machine, check_name_text};
use view_model::Command;

use super::HomeScreen;
use crate::DialogKind;
use crate::words::say;

/// The most of a log that is shown: its end.
const LONGEST: u64 = 256 << 10;

/// What is asked, and of which machine.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// Whether a command is meant.
    Sure(Command, Machine),
    /// The name that a command needs.
    Name(Command, Machine),
    /// Nothing: something is told.
    Told,
    /// Whether to quit although something goes on.
    Quit,
}

impl HomeScreen {
    pub(super) fn connect_dialogs(&self) {
        let model = self.model();
        model.on_dismiss_dialog(self.with(|screen| screen.close_dialog()));
        model.on_accept(self.with(|screen| screen.accepted()));
        model.on_name_edited(self.with_value(|screen, name: slint::SharedString| screen.judge(&name)));
    }

    fn show(&self, asked: Asked, kind: DialogKind, title: &str, help: &str) {
        let model = self.model();
        model.set_dialog_title(title.into());
        model.set_dialog_help(help.into());
        model.set_dialog_wrong("".into());
        model.set_dialog_text("".into());
        model.set_dialog_danger(false);
        model.set_dialog(kind);
        *self.asked.borrow_mut() = Some(asked);
    }

    pub(crate) fn close_dialog(&self) {
        self.model().set_dialog(DialogKind::None);
        self.asked.take();
        self.window().invoke_focus_list();
    }

    /// Asks whether a command is meant that would lose something.
    pub(crate) fn ask(&self, command: Command, machine: &Machine) -> bool {
        let Some(question) = command.question(&machine.name) else { return false };
        self.show(Asked::Sure(command, machine.clone()), DialogKind::Question, &say(question.title), &say(question.help));
        let label = say(command.label());
        self.model().set_dialog_accept(label.trim_end_matches('…').into());
        self.model().set_dialog_danger(true);
        true
    }

    /// Asks for a name.
    pub(crate) fn ask_name(&self, command: Command, machine: &Machine) {
        let label = say(command.label());
        let label = label.trim_end_matches('…');
        self.show(Asked::Name(command, machine.clone()), DialogKind::Name, &format!("{label} \"{}\"", machine.name), "");
        let model = self.model();
        model.set_dialog_accept(label.into());
        let name = if command == Command::Clone { self.home.borrow().free_name(&machine.name) } else { machine.name.clone() };
        model.set_dialog_name(name.into());
    }

    /// Says what is wrong with a name while it is typed.
    fn judge(&self, name: &str) {
        let asked = self.asked.borrow();
        let Some(Asked::Name(command, machine)) = asked.as_ref() else { return };
        let wrong = if *command == Command::Rename && name == machine.name {
            String::new()
        } else if let Err(error) = check_name_text(name) {
            error.to_string()
        } else if self.home.borrow().has_name(name) {
            self.model().invoke_name_taken(name.into()).into()
        } else {
            String::new()
        };
        self.model().set_dialog_wrong(wrong.into());
    }

    fn accepted(&self) {
        let name = self.model().get_dialog_name().to_string();
        let wrong = !self.model().get_dialog_wrong().is_empty();
        let asked = self.asked.borrow().clone();
        match asked {
            Some(Asked::Name(..)) if wrong || name.is_empty() => {}
            Some(Asked::Name(command, machine)) => {
                self.close_dialog();
                self.name_given(command, &machine, name);
            }
            Some(Asked::Sure(command, machine)) => {
                self.close_dialog();
                self.perform(command, &machine);
            }
            Some(Asked::Told) => self.close_dialog(),
            Some(Asked::Quit) => {
                self.close_dialog();
                crate::commands::quit();
            }
            None => {}
        }
    }

    /// Asks before work is interrupted.
    pub(crate) fn ask_quit(&self) {
        let model = self.model();
        let texts = (model.invoke_quit_title(), model.invoke_quit_help());
        self.show(Asked::Quit, DialogKind::Question, &texts.0, &texts.1);
        model.set_dialog_accept(say(Command::Quit.label()));
        model.set_dialog_danger(true);
    }

    /// Shows what a machine and its backend have said.
    pub(crate) fn show_log(&self, machine: &Machine) {
        let folder = self.engine().library().places().logs_of(&machine.id);
        let (this, name, last) = (self.this.clone(), machine.name.clone(), self.last_words());
        self.engine().ask(async move { tokio::task::spawn_blocking(move || logs(&folder)).await.unwrap_or_default() }, move |mut text| {
            let Some(screen) = this.upgrade() else { return };
            if text.is_empty() {
                text = last.join("\n");
            }
            let help = if text.is_empty() { screen.model().invoke_no_log() } else { Default::default() };
            screen.show(Asked::Told, DialogKind::Log, &name, &help);
            screen.model().set_dialog_text(text.into());
        });
    }

    /// Says what this program is, and whose work is in it.
    pub(crate) fn show_about(&self) {
        let help = self.model().invoke_about();
        self.show(Asked::Told, DialogKind::About, &format!("Vivarium {}", env!("CARGO_PKG_VERSION")), &help);
        let licences = [include_str!("../../licences.txt"), include_str!("../../fonts/Inter-OFL.txt")];
        self.model().set_dialog_text(licences.join("\n\n").into());
    }
}

/// The logs of a folder, one after the other, the backend's first; of long ones the end.
fn logs(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "log")).collect();
    paths.sort_by_key(|path| (!path.ends_with("backend.log"), !path.ends_with("supervisor.log"), path.clone()));
    let mut text = String::new();
    for path in paths {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Ok(log) = end_of(&path)
            && !log.trim().is_empty()
        {
            text.push_str(&format!("── {name}\n{}\n\n", log.trim_end()));
        }
    }
    text
}

fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    // What a guest prints may steer a terminal; here it is text.
    Ok(String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_told_in_order_and_from_their_end() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("serial-0.log"), "boot\u{1b}[2J\n").unwrap();
        std::fs::write(folder.path().join("backend.log"), "x".repeat(1 << 20) + "no KVM\n").unwrap();
        std::fs::write(folder.path().join("empty.log"), "").unwrap();
        let text = logs(folder.path());
        assert!(text.starts_with("── backend\nx") && text.contains("no KVM\n\n── serial-0\nboot[2J"), "{}", text.len());
        assert!(text.len() < 300_000 && !text.contains("empty"));
        assert_eq!(logs(Path::new("/nowhere")), "");
    }
}
