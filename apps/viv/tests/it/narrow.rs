//! What is printed in a terminal of few columns.

use crate::home::Home;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read;

/// What `viv` prints in a terminal with so many columns, without colours.
fn printed(home: &Home, columns: u16, arguments: &[&str]) -> String {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let path = ptsname(&screen, Vec::new()).unwrap();
    let tty = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    tcsetwinsize(&tty, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut child = home.command().args(arguments).env("NO_COLOR", "1").stdout(tty).spawn().unwrap();
    // Reading fails when nobody holds the other side any more.
    let mut seen = Vec::new();
    let _ = File::from(screen).read_to_end(&mut seen);
    assert!(child.wait().unwrap().success());
    String::from_utf8(seen).unwrap().replace("\r\n", "\n")
}

#[test]
fn tables_and_facts_fit_into_forty_columns() {
    let home = Home::new();
    for name in ["Debian", "Fedora"] {
        home.ok(&["create", name, "--arch", "x86_64", "--memory", "512MiB", "--cpus", "2", "--disk", "16MiB"]);
    }
    let machine = |name: &str| format!("NAME: {name}\nSTATE: stopped\nARCHITECTURE: x86_64\nCPUS: 2\nMEMORY: 512 MiB\nBACKEND: qemu\n");
    assert_eq!(printed(&home, 40, &["list"]), format!("{}\n{}", machine("Debian"), machine("Fedora")));
    assert!(printed(&home, 80, &["list"]).starts_with("NAME    STATE    ARCHITECTURE"));

    home.ok(&["config", "set", "Debian", "Information.Notes", "Where everything is tried first that could break another one"]);
    let uuid = home.json(&["status", "Debian"])["uuid"].as_str().unwrap().to_owned();
    for arguments in [["list", "--long"].as_slice(), &["status", "Debian"], &["drive", "list", "Debian"], &["config", "get", "Debian"]] {
        let text = printed(&home, 40, arguments);
        for line in text.lines() {
            // Only what cannot be broken is longer.
            assert!(line.chars().count() <= 40 || line.split_whitespace().count() == 1, "{arguments:?}: {line}\n{text}");
        }
        assert!(text.to_lowercase().contains(&uuid) || arguments[0] == "drive", "{text}");
    }
}
