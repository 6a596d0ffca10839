//! Tests that passed without looking: told by nextest's report, because a passing test's output is not shown.
//!
//! A test that cannot do its work prints a line that begins with `skipped: ` where `cargo xtask setup` or `cargo xtask guests` would change
//! that, and with `not possible here: ` where it is the computer that does not allow it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Whether a test was skipped for want of something that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Skipped,
    NotPossible,
}

/// Reads the report of the last run, says what was skipped, and fails for that where `CI` or `VIVARIUM_REQUIRE_GUESTS` is set.
pub fn tell(report: &Path) -> Result<()> {
    let text = std::fs::read_to_string(report).with_context(|| format!("Could not read the report of the tests {}", report.display()))?;
    let found = find(&text);
    for (kind, test, reason) in &found {
        let word = if *kind == Kind::Skipped { "skipped" } else { "not possible here" };
        println!("{word}: {test}: {reason}");
    }
    let set = |name: &str| std::env::var(name).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    let skipped = found.iter().filter(|(kind, ..)| *kind == Kind::Skipped).count();
    if skipped > 0 && (set("CI") || set("VIVARIUM_REQUIRE_GUESTS")) {
        bail!("Nothing may be skipped here, and {skipped} times something was; `cargo xtask setup` installs what is missing");
    }
    Ok(())
}

/// What is told in a report in JUnit's form: the test and the reason.
fn find(report: &str) -> BTreeSet<(Kind, String, String)> {
    let mut test = String::new();
    let mut found = BTreeSet::new();
    for line in report.lines() {
        if let Some(case) = line.trim_start().strip_prefix("<testcase ") {
            let attribute = |name: &str| case.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
            test = [attribute("classname"), attribute("name")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        }
        let text = ["<system-out>", "<system-err>"].iter().find_map(|tag| line.trim_start().strip_prefix(tag)).unwrap_or(line);
        for (kind, words) in [(Kind::Skipped, "skipped: "), (Kind::NotPossible, "not possible here: ")] {
            if let Some(reason) = text.strip_prefix(words) {
                let reason = reason.split("</system-").next().unwrap_or_default();
                found.insert((kind, test.clone(), reason.replace("&apos;", "'").replace("&quot;", "\"")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_found_with_its_test() {
        let report = "<testsuite name=\"library::changes\">\n\
            \x20       <testcase name=\"one\" classname=\"library::changes\" time=\"0.1\">\n\
            \x20           <system-out>\nrunning 1 test\ntest one ... ok\n</system-out>\n\
            \x20           <system-err>skipped: qemu-img is not installed\n</system-err>\n\
            \x20       </testcase>\n\
            \x20       <testcase name=\"two\" classname=\"library::changes\">\n\
            \x20           <system-err>a line of it\nnot possible here: root may read everything</system-err>\n\
            \x20       </testcase>\n\
            \x20       <testcase name=\"three\" classname=\"viv\"><system-err>nothing was skipped: all ran</system-err></testcase>\n";
        let skipped = (Kind::Skipped, "library::changes one".to_owned(), "qemu-img is not installed".to_owned());
        let impossible = (Kind::NotPossible, "library::changes two".to_owned(), "root may read everything".to_owned());
        assert_eq!(find(report).into_iter().collect::<Vec<_>>(), [skipped, impossible]);
    }
}
