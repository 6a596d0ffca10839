//! What is said to somebody who does not know the command yet.

use crate::home::{Home, Ran};
use std::process::Stdio;

#[test]
fn without_arguments_a_short_overview_is_printed() {
    let ran = Home::new().viv(&[]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("viv create") && ran.stderr.contains("viv help"), "{ran:?}");
    assert!(ran.stderr.lines().count() < 20, "{ran:?}");
    assert_eq!(ran.stdout, "");
}

#[test]
fn help_names_exit_codes_and_every_verb() {
    let help = Home::new().ok(&["help"]);
    for word in ["Exit codes:", "VIVARIUM_HOME", "create", "console", "doctor", "api-spec", "completions"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    assert!(!help.contains("  man "), "{help}");
}

#[test]
fn every_verb_has_examples_in_its_help() {
    let home = Home::new();
    for verb in [
        "list",
        "create",
        "import",
        "export",
        "inspect",
        "config",
        "drive",
        "clone",
        "rename",
        "move",
        "delete",
        "unregister",
        "start",
        "stop",
        "pause",
        "resume",
        "restart",
        "reset",
        "status",
        "console",
        "screenshot",
        "media",
        "share",
        "send",
        "clipboard",
        "usb",
        "command",
        "logs",
        "events",
        "doctor",
        "api-spec",
        "completions",
    ] {
        let help = home.ok(&["help", verb]);
        assert!(help.contains("Examples:") && help.contains(&format!("viv {verb}")), "{verb}: {help}");
    }
}

#[test]
fn a_misspelt_verb_is_answered_with_the_right_one() {
    let ran = Home::new().viv(&["strat", "x"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("'start'"), "{ran:?}");
    let ran = Home::new().viv(&["list", "--jsno"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("'--json'"), "{ran:?}");
}

#[test]
fn completions_come_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.ok(&["completions", shell]);
        assert!(script.contains("VIV_COMPLETE"), "{shell}");
    }
}

/// What a shell is answered that asks for what comes after these words.
fn completed(home: &Home, shell: &str, words: &[&str]) -> String {
    let mut command = home.command();
    command.env("VIV_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string()).env("_CLAP_IFS", "\u{b}");
    Ran::from(command.arg("--").args(words).output().unwrap()).stdout
}

#[test]
fn machines_are_completed_by_name() {
    let home = Home::new();
    for name in ["Debian", "Debian 2", "Windows"] {
        home.ok(&["create", name, "--no-disk"]);
    }
    assert_eq!(completed(&home, "bash", &["viv", "start", "Deb"]), "Debian\u{b}Debian\\ 2");
    assert_eq!(completed(&home, "bash", &["viv", "config", "get", "Debian\\ "]), "Debian\\ 2");
    for shell in ["zsh", "fish"] {
        let answer = completed(&home, shell, &["viv", "stop", "W"]);
        assert_eq!(answer.trim(), "Windows", "{shell}");
    }
    assert!(completed(&home, "bash", &["viv", "scr"]).contains("screenshot"));
    assert!(completed(&home, "bash", &["viv", "create", "--firmware", ""]).contains("uefi"));
}

#[test]
fn man_pages_are_written() {
    let home = Home::new();
    home.ok(&["man", "man1"]);
    let page = std::fs::read_to_string(home.path().join("man1/viv.1")).unwrap();
    assert!(page.contains("Exit codes"), "{page}");
    assert!(home.path().join("man1/viv-start.1").exists());
    assert!(home.path().join("man1/viv-config-set.1").exists());
}

#[test]
fn the_api_is_described_in_json() {
    let spec = Home::new().ok(&["api-spec"]);
    serde_json::from_str::<serde_json::Value>(&spec).unwrap();
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    for arguments in [["help", "list"], ["config", "keys"], ["completions", "bash"]] {
        let mut child = home.command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn doctor_names_the_missing_supervisor_and_the_cure() {
    let home = Home::new();
    let ran = home.viv(&["doctor"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("vivarium-supervisor") && ran.stdout.contains("fix:"), "{ran:?}");
    let ran = home.viv(&["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(
        findings.as_array().unwrap().iter().any(|finding| finding["subject"] == "machines" && finding["level"] == "good"),
        "{findings}"
    );
    assert_eq!(ran.stderr, "");
}

#[test]
fn doctor_says_where_a_folder_cannot_be_written() {
    let home = Home::new();
    std::fs::write(home.machines(), "a file").unwrap();
    let ran = home.viv(&["doctor"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("is in the way"), "{ran:?}");
}

#[test]
fn a_command_line_that_makes_no_sense_is_answered_in_json_where_json_is_wanted() {
    let ran = Home::new().viv(&["lisst", "--json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "usage");
    assert!(error["error"]["message"].as_str().unwrap().contains("lisst"), "{error}");
    assert!(error["error"]["hint"].as_str().unwrap().contains("'list'"), "{error}");
}
