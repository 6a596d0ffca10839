//! Completions, which know the person's machines: the shell's script asks `viv` for what fits.

use std::ffi::{OsStr, OsString};
use std::io::{Error, ErrorKind, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Shells, Zsh};
use library::Library;
use supervisor_api::Places;

use crate::cli::Cli;

/// What a shell's script sets when it asks: the shell's name.
const VARIABLE: &str = "VIV_COMPLETE";

const SHELLS: Shells<'static> = Shells(&[&QuotingBash, &Elvish, &Fish, &Powershell, &Zsh]);

/// Answers a shell that asks, and ends the program; returns where none does.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).shells(SHELLS).complete();
}

/// The script that makes a shell ask.
///
/// # Errors
/// For a shell that is not known.
pub fn script(shell: &str) -> std::io::Result<Vec<u8>> {
    let completer = SHELLS.completer(shell).ok_or_else(|| Error::new(ErrorKind::Unsupported, format!("Not a known shell: {shell}")))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "viv", "viv", "viv", &mut script)?;
    Ok(script)
}

/// The names of the person's machines.
pub fn machines() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        // Who completes a word is in no place to read about what is wrong.
        let machines = Places::from_environment().ok().and_then(|places| Library::open(places).ok()).map(|library| library.machines());
        machines.into_iter().flatten().map(|machine| CompletionCandidate::new(machine.name)).collect()
    })
}

/// bash takes words as they are to be typed, which other shells see to themselves: a blank needs a backslash. What was begun with a
/// quotation mark gets one, too, because bash does not tell.
struct QuotingBash;

/// Between the words for bash.
const SEPARATOR: char = '\x0b';

impl EnvCompleter for QuotingBash {
    fn name(&self) -> &'static str {
        Bash.name()
    }

    fn is(&self, name: &str) -> bool {
        Bash.is(name)
    }

    fn write_registration(&self, var: &str, name: &str, bin: &str, completer: &str, buf: &mut dyn Write) -> std::io::Result<()> {
        Bash.write_registration(var, name, bin, completer, buf)
    }

    fn write_complete(
        &self,
        cmd: &mut Command,
        args: Vec<OsString>,
        current_dir: Option<&Path>,
        buf: &mut dyn Write,
    ) -> std::io::Result<()> {
        let mut words = Vec::new();
        Bash.write_complete(cmd, args.iter().map(|word| unquoted(word)).collect(), current_dir, &mut words)?;
        let quoted: Vec<String> = String::from_utf8_lossy(&words).split(SEPARATOR).map(quoted).collect();
        buf.write_all(quoted.join(&SEPARATOR.to_string()).as_bytes())
    }
}

/// A word as it is meant, from one that may not be finished.
fn unquoted(word: &OsStr) -> OsString {
    let Some(text) = word.to_str() else { return word.to_owned() };
    match shell_words::split(text) {
        Ok(words) if words.len() == 1 => words.concat().into(),
        _ => text.trim_start_matches(['"', '\'']).into(),
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || !c.is_ascii() || "-_./:=@%+,~".contains(c);
    word.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_bash_are_quoted_and_its_own_understood() {
        assert_eq!(quoted("Debian 2"), "Debian\\ 2");
        assert_eq!(quoted("Bob's $HOME"), "Bob\\'s\\ \\$HOME");
        for typed in ["Debian\\ 2", "\"Debian 2", "'Debian 2'", "Debian 2"] {
            assert_eq!(unquoted(OsStr::new(typed)), "Debian 2", "{typed}");
        }
        assert_eq!(unquoted(OsStr::new("")), "");
    }
}
