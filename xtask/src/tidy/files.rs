//! Rules about source files: how long they are, how they begin, what never stays in them.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process;

/// Lines after which a file is mentioned.
const LONG: usize = 600;
/// Lines that no file may pass, but for generated ones and tests.
const TOO_LONG: usize = 800;

/// What is only ever there for a while. In two halves, so that this file passes.
const UNFINISHED: &[(&str, &str)] = &[("todo", "!("), ("unimplemented", "!("), ("dbg", "!("), ("FIX", "ME")];

/// Checks every Rust file that git knows or would add; returns problems and warnings.
pub fn check(root: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let listed =
        process::text(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]).current_dir(root))?;
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for path in listed.lines() {
        // A file that was removed and not yet committed is still listed.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            judge(path, &text, &mut problems, &mut warnings);
        }
    }
    Ok((problems, warnings))
}

fn judge(path: &str, text: &str, problems: &mut Vec<String>, warnings: &mut Vec<String>) {
    let within = |folder: &str| path.split('/').any(|part| part == folder);
    let lines = text.lines().count();
    if !within("generated") && !within("tests") && !path.ends_with("/tests.rs") {
        if lines > TOO_LONG {
            problems.push(format!("The file has {lines} lines; split it before it passes {TOO_LONG}: {path}"));
        } else if lines > LONG {
            warnings.push(format!("The file has {lines} lines; files seldom pass {LONG}: {path}"));
        }
    }
    if within("src") && !within("generated") && !text.starts_with("//!") {
        problems.push(format!("The file does not begin with //! and what it is for: {path}"));
    }
    for (number, line) in text.lines().enumerate() {
        for (one, other) in UNFINISHED {
            if line.contains(&format!("{one}{other}")) {
                problems.push(format!("{one}{other} is left in line {}: {path}", number + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(path: &str, text: &str) -> (usize, usize) {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        judge(path, text, &mut problems, &mut warnings);
        (problems.len(), warnings.len())
    }

    #[test]
    fn says_what_is_wrong_with_a_file() {
        let long = |lines: usize| format!("//! x\n{}", "\n".repeat(lines));
        assert_eq!(judged("a/src/x.rs", "//! x\n"), (0, 0));
        assert_eq!(judged("a/src/x.rs", "fn x() {}\n"), (1, 0));
        assert_eq!(judged("a/tests/x.rs", "fn x() {}\n"), (0, 0));
        assert_eq!(judged("a/src/x.rs", &long(700)), (0, 1));
        assert_eq!(judged("a/src/x.rs", &long(900)), (1, 0));
        assert_eq!(judged("a/src/generated/x.rs", &long(900)), (0, 0));
        assert_eq!(judged("a/src/x.rs", &format!("//! x\nfn x() {{ {}{}) }}\n", "todo", "!(")), (1, 0));
    }
}
