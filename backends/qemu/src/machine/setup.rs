//! From a bundle to a command line: facts, images, plan.

use super::files::Files;
use super::images;
use crate::command_line::{self, CommandLine, Descriptor, Options, Paths, Request};
use crate::facts::accelerator::{self, Wish};
use crate::facts::{self, Board, Decision, Emulator, Host};
use bundle::qemu::{Configuration, DirectoryShareMode};
use bundle::registry::Entry;
use bundle::{Level, Problem};
use machine::{Error, ErrorKind, HandedFile, Result, Warning, WarningKind};
use std::borrow::Cow;
use std::path::PathBuf;
use uuid::Uuid;

/// Everything that a machine needs to know before it can be planned.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// Its configuration.
    pub configuration: Configuration,
    /// What this computer knows about it: inserted media, the shared folder.
    pub entry: Entry,
    /// Where the sockets of this run are, and what QEMU may write besides the bundle.
    pub runtime: PathBuf,
    /// Where logs go.
    pub logs: PathBuf,
    /// Where the overlays of a disposable run go; removed at its end.
    pub scratch: PathBuf,
    /// What was found out about the installed QEMU.
    pub cache: PathBuf,
    /// Where QEMU is looked for before the `PATH`.
    pub directories: Vec<PathBuf>,
    /// Whether QEMU may connect to the host's sound server by itself.
    pub sound_by_host: bool,
}

/// A machine that could be launched.
#[derive(Debug)]
pub struct Plan {
    /// The command line.
    pub command_line: CommandLine,
    /// What executes the guest.
    pub accelerator: Decision,
    /// The files that it hands over.
    pub files: Files,
    /// Media that were to be in a drive and cannot be, and the like.
    pub warnings: Vec<Warning>,
}

impl Setup {
    /// Plans the machine. `record` allows writing down the formats of images that are seen for the first time; only who holds the
    /// bundle's lock may. `progress` hears of what takes long.
    ///
    /// # Errors
    /// Every problem of the configuration at once; a missing emulator; images that cannot be used.
    pub async fn plan(&self, options: Options, record: bool, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<Plan> {
        let (configuration, left_out) = self.with_trusted_arguments();
        let configuration = &*configuration;
        let invalid: Vec<Problem> = bundle::Configuration::Qemu(configuration.clone()).validate();
        if invalid.iter().any(Problem::is_fatal) {
            return Err(refusal(&invalid));
        }
        let architecture = configuration.system.architecture;
        let program = facts::find(architecture, &self.directories).map_err(|error| missing(&error))?;
        progress("Asking QEMU what it can do");
        let emulator = Emulator::find(&program, Some(&self.cache)).await.map_err(|error| missing(&error))?;
        let host = Host::gather(&self.directories);
        let wish = Wish {
            hypervisor: configuration.qemu.hypervisor,
            architecture,
            machine: &command_line::machine_argument(configuration),
            cpu: &configuration.system.cpu,
        };
        progress("Trying the accelerator");
        let accelerator = accelerator::decide(&emulator, &host, &wish, Some(&self.cache)).await;
        let probe = command_line::probe(configuration, &emulator, &accelerator);
        let board = Board::find(&emulator, probe, Some(&self.cache)).await.map_err(|error| missing(&error))?;
        let resolved = images::resolve(self, record, options.disposable)?;
        let paths =
            Paths { data: self.bundle.join("Data"), runtime: self.runtime.clone(), scratch: self.scratch.clone(), logs: self.logs.clone() };
        let (shared, unshared) = self.shared_directory();
        let (generation, ungenerated) = match command_line::has_generation(configuration, &emulator) {
            true => self.generation(record, options.disposable),
            false => (None, None),
        };
        let request = Request {
            configuration,
            emulator: &emulator,
            board: Some(&board),
            host: &host,
            accelerator: &accelerator,
            paths: &paths,
            images: &resolved.images,
            shared_directory: shared.as_deref(),
            sound_by_host: self.sound_by_host,
            generation,
            options,
        };
        let command_line = command_line::build(&request).map_err(|problems| refusal(&problems))?;
        let warnings = resolved.warnings.into_iter().chain(unshared).chain(left_out).chain(ungenerated).collect();
        Ok(Plan { command_line, accelerator, files: resolved.files, warnings })
    }

    /// The configuration without additional arguments that came with the bundle and that nobody here has looked at, and what a person should
    /// know then: they could open a way for the guest that its configuration does not show.
    fn with_trusted_arguments(&self) -> (Cow<'_, Configuration>, Option<Warning>) {
        let arguments = &self.configuration.qemu.additional_arguments;
        if *arguments == self.entry.trusted_arguments || command_line::only_for_the_kernel(&self.configuration) {
            return (Cow::Borrowed(&self.configuration), None);
        }
        let shown: String = arguments.join(" ").chars().take(300).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let mut without = self.configuration.clone();
        without.qemu.additional_arguments.clear();
        let why = "The additional arguments are left out, because they came with the bundle and nobody here has confirmed them";
        (Cow::Owned(without), Some(WarningKind::Arguments.says(format!("{why} (`viv config trust` does): {shown}"))))
    }

    /// The machine's generation, or why this run gets one of its own. A disposable run always does: what it changes is thrown away, so the next
    /// run goes back to before it, and no two runs may be taken for one that went on.
    fn generation(&self, record: bool, disposable: bool) -> (Option<Uuid>, Option<Warning>) {
        if disposable {
            return (None, None);
        }
        let why = match bundle::generation(&self.bundle) {
            Ok(None) if !record => return (None, None),
            Ok(None) => match bundle::begin_generation(&self.bundle) {
                Ok(generation) => return (Some(generation), None),
                Err(error) => error.to_string(),
            },
            Ok(generation) => return (generation, None),
            Err(error) => error.to_string(),
        };
        let message = format!("The machine's generation cannot be kept, and the guest takes itself for a copy at each start: {why}");
        (None, Some(WarningKind::Generation.says(message)))
    }

    /// The shared folder without links, so that QEMU opens what was looked at, or why the guest does not get it. It may have gone since it was
    /// chosen, and the bundle may have been moved into it.
    fn shared_directory(&self) -> (Option<PathBuf>, Option<Warning>) {
        let mode = self.configuration.sharing.directory_share_mode;
        let Some(folder) = self.entry.shared_directories.first().filter(|_| mode == DirectoryShareMode::VirtFs) else {
            return (None, None);
        };
        let ours = [&self.bundle, &self.runtime, &self.logs, &self.scratch, &self.cache];
        let why = match folder.path.canonicalize() {
            Err(error) => error.to_string(),
            Ok(path) if !path.is_dir() => "it is no folder".to_owned(),
            Ok(path) if ours.iter().any(|ours| ours.starts_with(&path) || path.starts_with(ours)) => {
                "the guest would reach machines through it".to_owned()
            }
            Ok(path) => return (Some(path), None),
        };
        let message = format!("The shared folder is left out: {why}: {}", folder.path.display());
        (None, Some(WarningKind::SharedFolder.says(message)))
    }
}

/// The command line of a plan, for showing.
pub fn shown(plan: &Plan) -> machine::CommandLine {
    let command = &plan.command_line;
    let warning = |problem: &Problem| {
        let kind = if problem.key_path == command_line::HYPERVISOR { WarningKind::Accelerator } else { WarningKind::Configuration };
        kind.says(format!("{}: {}", problem.key_path, problem.message))
    };
    let mut warnings: Vec<Warning> = command.warnings.iter().map(warning).collect();
    warnings.extend(plan.warnings.iter().cloned());
    let handed = |descriptor: &Descriptor| {
        let (name, path) = descriptor.file()?;
        Some(HandedFile { descriptor: descriptor.fd, name, path: path.to_owned() })
    };
    machine::CommandLine {
        program: command.program.display().to_string(),
        arguments: command.argv(),
        shell: command.shell(),
        files: command.descriptors.iter().filter_map(handed).collect(),
        warnings,
    }
}

pub(crate) fn missing(error: &facts::Error) -> Error {
    let kind = match error {
        facts::Error::NotInstalled { .. } | facts::Error::Unsuitable { .. } => ErrorKind::Missing,
        facts::Error::Silent { .. } => ErrorKind::Timeout,
        _ => ErrorKind::Backend,
    };
    let source = std::error::Error::source(error).map(ToString::to_string);
    let refused = Error::new(kind, error.to_string());
    match source {
        Some(source) => refused.with_source(source),
        None => refused,
    }
}

/// One error for all problems: the fatal ones with their key paths, and their advice. [`ErrorKind::Missing`] where installing packages
/// solves all of them.
pub fn refusal(problems: &[Problem]) -> Error {
    let fatal: Vec<&Problem> = problems.iter().filter(|problem| problem.level == Level::Fatal).collect();
    let lines: Vec<String> = fatal.iter().map(|problem| format!("{}: {}", problem.key_path, problem.message)).collect();
    let hints: Vec<&str> = fatal.iter().filter_map(|problem| problem.hint.as_deref()).collect();
    let installable = hints.len() == fatal.len() && hints.iter().all(|hint| hint.starts_with(command_line::INSTALL));
    let error = if installable {
        Error::new(ErrorKind::Missing, "The machine needs something that is not installed")
    } else {
        Error::new(ErrorKind::Configuration, "The machine cannot be started as it is configured")
    };
    let error = error.with_source(lines.join("; "));
    if hints.is_empty() { error } else { error.with_hint(hints.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bundle::registry::HostFile;
    use std::path::Path;

    fn setup_in(root: &Path) -> Setup {
        let at = |name: &str| root.join(name);
        Setup {
            bundle: at("M.utm"),
            configuration: Configuration::default(),
            entry: Entry::default(),
            runtime: at("run"),
            logs: at("logs"),
            scratch: at("scratch"),
            cache: at("cache"),
            directories: Vec::new(),
            sound_by_host: false,
        }
    }

    #[test]
    fn arguments_that_nobody_confirmed_are_left_out() {
        let mut setup = setup_in(Path::new("/nowhere"));
        let mut with = |arguments: &[&str], trusted: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
            setup.configuration.qemu.additional_arguments = owned(arguments);
            setup.entry.trusted_arguments = owned(trusted);
            let (configuration, warning) = setup.with_trusted_arguments();
            (configuration.qemu.additional_arguments.len(), warning)
        };
        assert_eq!(with(&["-device", "edu"], &["-device", "edu"]), (2, None));
        assert_eq!(with(&["-append", "quiet"], &[]), (2, None));
        for trusted in [&[][..], &["-device"], &["-device", "edu", "-S"]] {
            let (used, warning) = with(&["-device", "edu\u{1b}"], trusted);
            assert_eq!(used, 0);
            assert!(
                warning.is_some_and(|warning| warning.kind == WarningKind::Arguments && warning.message.ends_with("-device edu\u{fffd}"))
            );
        }
    }

    #[test]
    fn a_folder_is_left_out_where_it_is_gone_or_holds_the_machine() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        std::fs::create_dir_all(at("shared/M.utm")).unwrap();
        std::fs::create_dir(at("alone")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        let mut setup = Setup { bundle: at("shared/M.utm"), ..setup_in(&root) };
        setup.configuration.sharing.directory_share_mode = DirectoryShareMode::VirtFs;
        assert_eq!(setup.shared_directory(), (None, None));
        for (name, why) in
            [("gone", "No such file"), ("file", "no folder"), ("shared", "reach machines"), ("shared/M.utm", "reach machines")]
        {
            setup.entry.shared_directories = vec![HostFile::new(at(name), false)];
            let (shared, warning) = setup.shared_directory();
            assert!(shared.is_none() && warning.as_ref().is_some_and(|warning| warning.message.contains(why)), "{name}: {warning:?}");
        }
        setup.entry.shared_directories = vec![HostFile::new(at("alone"), false)];
        assert_eq!(setup.shared_directory(), (Some(at("alone")), None));
    }
}
