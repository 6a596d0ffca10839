//! What a guest with a desktop and SPICE's agent exchanges with this computer: the clipboard, files, a folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use acceptance::{Guest, Home, PATIENCE, eventually, kill, lives};

/// The process that speaks with the guest's agent, while there is one.
fn process(guest: &Guest<'_>) -> Option<u32> {
    let supervisor = guest.pid("supervisor_pid").to_string();
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        let child = name.contains("(vivarium-exch") && rest.split(' ').nth(1) == Some(&supervisor);
        (child && lives(pid)).then_some(pid)
    })
}

/// Gives the guest something to paste, once its agent answers.
fn paste(guest: &Guest<'_>, kind: &str, data: &[u8]) {
    eventually("the guest's agent answers", PATIENCE, || {
        let mut command = guest.home.command(["clipboard", "set", &guest.name, "--type", kind]);
        let mut viv = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let _ = viv.stdin.take().unwrap().write_all(data);
        viv.wait().unwrap().success().then_some(())
    });
}

/// Waits until this is what the guest would paste: its agent hears of it on its own time.
fn pastes(guest: &Guest<'_>, text: &str) {
    let read = || guest.try_run("xclip -o -selection clipboard 2>/dev/null") == (0, text.to_owned());
    eventually("the guest can paste it", PATIENCE, || read().then_some(()));
}

#[test]
fn text_and_pictures_go_both_ways_and_only_where_the_policy_lets_them() {
    let home = Home::new();
    let Some(guest) = home.desktop() else { return };
    guest.up_with_desktop();
    assert_eq!(process(&guest), None, "nothing needs it yet");

    paste(&guest, "text", "from here, ü\n".as_bytes());
    pastes(&guest, "from here, ü");
    let picture: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    paste(&guest, "png", &picture);
    let taken = || guest.try_run("xclip -o -selection clipboard -t image/png >/tmp/picture 2>/dev/null").0 == 0;
    eventually("the guest can paste the picture", PATIENCE, || taken().then_some(()));
    assert_eq!(guest.run("wc -c </tmp/picture; tail -c 3 /tmp/picture | od -An -tu1 | xargs"), "200000\n201 202 203");

    guest.run("printf 'from there' | xclip -i -selection clipboard");
    assert_eq!(home.ok(&["clipboard", "get", "Desktop", "--wait", "60"]), "from there");
    guest.run("xclip -i -selection clipboard -t image/png /tmp/picture");
    let mut get = home.command(["clipboard", "get", "Desktop", "--type", "png", "--wait", "60"]);
    assert_eq!(get.output().unwrap().stdout, picture);

    // Nothing gets out, and what got out before cannot be asked for again.
    home.ok(&["clipboard", "policy", "Desktop", "to-guest"]);
    guest.run("printf 'a secret' | xclip -i -selection clipboard");
    assert_eq!(home.refused(&["clipboard", "get", "Desktop"], 1)["kind"], "unsupported");
    paste(&guest, "text", b"still from here");
    pastes(&guest, "still from here");
    home.ok(&["clipboard", "policy", "Desktop", "to-host"]);
    assert_eq!(home.refused(&["clipboard", "set", "Desktop", "no"], 1)["kind"], "unsupported");
    assert_eq!(home.refused(&["clipboard", "get", "Desktop"], 3)["kind"], "not_found", "what was copied meanwhile stays there");

    // It dies; the machine does not, and whoever needs it next has another.
    let before = process(&guest).expect("a process");
    kill(before);
    home.ok(&["clipboard", "policy", "Desktop", "to-guest"]);
    paste(&guest, "text", b"after it died");
    pastes(&guest, "after it died");
    assert!(process(&guest).is_some_and(|pid| pid != before));
    let process = process(&guest).unwrap();
    guest.viv("stop", &["--force"]);
    assert!(!lives(process), "it ends with its machine");
    // What was decided is decided for the next time.
    home.ok(&["start", "Desktop", "--wait"]);
    assert_eq!(home.json(&["clipboard", "policy", "Desktop"])["policy"], "to-guest");
    guest.viv("stop", &["--force"]);
}

#[test]
fn files_arrive_and_a_folder_is_read_and_nothing_beside_it() {
    let home = Home::new();
    let Some(guest) = home.desktop() else { return };
    let folder = |name: &str| {
        let folder = home.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("hello.txt"), name).unwrap();
        folder
    };
    let (first, second) = (folder("first"), folder("second"));
    fs::write(home.path().join("secret"), "secret").unwrap();
    symlink(home.path().join("secret"), first.join("link")).unwrap();
    let shared = |folder: &std::path::Path| folder.display().to_string();
    home.ok(&["share", "Desktop", &shared(&first), "--mode", "webdav", "--read-only"]);
    home.ok(&["config", "set", "Desktop", "Input.UsbSharing", "true"]);
    guest.up_with_desktop();

    let read = |name: &str| guest.try_run(&format!("wget -q -O - http://127.0.0.1:9843/{name}"));
    eventually("the folder is there", PATIENCE, || (read("hello.txt") == (0, "first".into())).then_some(()));
    let pid = process(&guest).expect("the folder needs a process");
    assert_ne!(read("link").0, 0, "a link leads nowhere");
    assert_ne!(read("../secret").0, 0);
    // The connection has to stay until there is an answer.
    let put = "{ printf 'PUT /new HTTP/1.0\\r\\nContent-Length: 2\\r\\n\\r\\nhi'; sleep 3; } | nc 127.0.0.1 9843 | head -1";
    let said = guest.run(put);
    assert!(said.starts_with("HTTP/1") && !said.contains(" 20") && !first.join("new").exists(), "{said}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])), "{status}");

    let file = home.path().join("a file.bin");
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 253) as u8).collect();
    fs::write(&file, &content).unwrap();
    let sent = eventually("the guest's agent answers", PATIENCE, || {
        let sent = home.viv(&["--json", "send", "Desktop", &shared(&file)]);
        (sent.code == 0).then_some(sent.stdout)
    });
    assert!(sent.contains("a file.bin") && sent.contains("3000000"), "{sent}");
    let sum = String::from_utf8(std::process::Command::new("md5sum").arg(&file).output().unwrap().stdout).unwrap();
    assert_eq!(guest.run("md5sum <'/root/Downloads/a file.bin' | cut -c -32"), sum[..32]);
    assert_eq!(home.refused(&["send", "Desktop", "/nonexistent"], 1)["kind"], "file");

    // Another folder at once, which may be written, too.
    home.ok(&["share", "Desktop", &shared(&second)]);
    eventually("the other folder is there", PATIENCE, || (read("hello.txt") == (0, "second".into())).then_some(()));
    assert_eq!(home.refused(&["usb", "attach", "Desktop", "9-9"], 3)["kind"], "not_found");
    guest.viv("stop", &["--force"]);
}
