//! Arguments that a person added.
//!
//! UTM splits every stored string at blanks outside double quotes and takes the quotes off a piece that is wholly quoted; nothing is
//! substituted. One exception here: the string after `-append` is the kernel's command line and stays whole, as whoever wrote it meant.

use bundle::Problem;
use bundle::qemu::Configuration;

use super::builder::{Builder, printable};
use super::result::{Argument, Subject};

/// Options that are never taken from a bundle: with the first a stranger's machine code would run in QEMU, and the others change how QEMU
/// confines itself, the last by the words of a file.
const REFUSED: [&str; 3] = ["plugin", "sandbox", "readconfig"];

/// More is not a command line that a person wrote.
const MAX_WORDS: usize = 1024;

/// The words of `QEMU.AdditionalArguments`.
pub(super) fn words(configuration: &Configuration) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for text in &configuration.qemu.additional_arguments {
        if words.last().is_some_and(|word| word == "-append") {
            words.push(unquoted(text.trim()).to_owned());
        } else {
            words.extend(split(text));
        }
    }
    words
}

/// Whether the additional arguments say no more than what the guest's kernel is told, which is no business of QEMU's.
pub(crate) fn only_for_the_kernel(configuration: &Configuration) -> bool {
    words(configuration).chunks(2).all(|pair| matches!(pair, [option, _] if option == "-append"))
}

pub(super) fn add(b: &mut Builder<'_>) {
    let words = words(b.configuration());
    if words.is_empty() {
        return;
    }
    if words.len() > MAX_WORDS || words.iter().any(|word| word.contains('\0')) {
        return b.fatal("QEMU.AdditionalArguments", format!("more than {MAX_WORDS} words, or a NUL character among them"));
    }
    // Wherever they are: which word is the value of another option, only QEMU knows.
    for (word, option) in words.iter().filter_map(|word| Some((word, refused(word)?))) {
        let why = if option == "plugin" { "would run machine code in QEMU" } else { "could change how QEMU is confined" };
        let problem = Problem::fatal("QEMU.AdditionalArguments", format!("{} {why}; it is refused", printable(word)));
        b.report(problem.with_hint(format!("remove -{option} and its value from the additional arguments")));
    }
    // A kernel's command line is what the configuration has no other place for, and nothing to be told about.
    let is_append = |index: usize| words.get(index).is_some_and(|word| word == "-append");
    let foreign = (0..words.len()).filter(|&index| !is_append(index) && !index.checked_sub(1).is_some_and(is_append)).count();
    if foreign > 0 {
        let problem = Problem::ignored("QEMU.AdditionalArguments", format!("{foreign} further words are passed to QEMU as they are"));
        b.report(
            problem.with_hint("QEMU may not open files that they name; a drive without an interface can be used by the name of its node"),
        );
    }
    b.out.arguments.extend(words.into_iter().map(|word| Argument { subject: Subject::User, words: vec![word] }));
}

/// The refused option that a word is, with one dash or two, joined to its value or not.
fn refused(word: &str) -> Option<&'static str> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    REFUSED.into_iter().find(|option| *option == name)
}

fn split(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut quoted = false;
    for c in text.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        if c.is_whitespace() && !quoted {
            if !piece.is_empty() {
                pieces.push(std::mem::take(&mut piece));
            }
        } else {
            piece.push(c);
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces.iter().map(|piece| unquoted(piece).to_owned()).collect()
}

fn unquoted(piece: &str) -> &str {
    piece.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(arguments: &[&str]) -> Vec<String> {
        let mut configuration = Configuration::default();
        configuration.qemu.additional_arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        words(&configuration)
    }

    #[test]
    fn arguments_are_split_as_utm_splits_them() {
        assert_eq!(words_of(&["-boot  menu=on", "-fw_cfg"]), ["-boot", "menu=on", "-fw_cfg"]);
        assert_eq!(words_of(&["-name \"two words\""]), ["-name", "two words"]);
        assert_eq!(words_of(&["x=\"a b\",y"]), ["x=\"a b\",y"]);
        assert_eq!(words_of(&["\""]), ["\""]);
    }

    #[test]
    fn what_runs_code_or_unconfines_is_refused() {
        for word in ["-plugin", "--plugin", "-plugin=/tmp/a.so", "--sandbox=off", "-sandbox", "-readconfig"] {
            assert!(refused(word).is_some(), "{word}");
        }
        for word in ["plugin", "---plugin", "-plugins", "-device", "-", "", "sandbox=on", "-name=sandbox"] {
            assert_eq!(refused(word), None, "{word}");
        }
    }

    #[test]
    fn what_is_only_for_the_kernel_is_told_from_the_rest() {
        for (arguments, only) in [
            (&["-append", "root=/dev/vda -device x"][..], true),
            (&[], true),
            (&["-append"], false),
            (&["-name", "-append", "-device x"], false),
            (&["-append quiet -S"], false),
            (&["-append", "quiet", "-append", "quiet"], true),
        ] {
            let mut configuration = Configuration::default();
            configuration.qemu.additional_arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
            assert_eq!(only_for_the_kernel(&configuration), only, "{arguments:?}");
        }
    }

    #[test]
    fn a_kernel_command_line_stays_whole() {
        assert_eq!(words_of(&["-append", "root=/dev/vda quiet"]), ["-append", "root=/dev/vda quiet"]);
        assert_eq!(words_of(&["-append", "\"root=/dev/vda quiet\""]), ["-append", "root=/dev/vda quiet"]);
        assert_eq!(words_of(&["-append \"root=/dev/vda quiet\"", "-S"]), ["-append", "root=/dev/vda quiet", "-S"]);
    }
}
