//! What a machine shares with the desktop that its window is on: the clipboard, files, sound.

use std::fs;

use acceptance::guests::Guests;
use acceptance::{Guest, Home, PATIENCE, Screen, Speakers, eventually};

/// What can be pasted in the guest.
fn pasted_in(guest: &Guest<'_>) -> String {
    guest.try_run("xclip -o -selection clipboard 2>/dev/null").1
}

#[test]
fn what_is_copied_goes_both_ways_while_a_person_is_there_and_files_are_dropped() {
    let home = Home::new();
    let Some(screen) = Screen::new() else { return };
    let Some(guest) = home.desktop() else { return };
    guest.up_with_desktop();
    screen.copy("from the desktop, ü");
    let app = screen.open(&home, "Desktop");
    eventually("the guest can paste what was copied here", PATIENCE, || (pasted_in(&guest) == "from the desktop, ü").then_some(()));

    guest.run("printf 'from the guest' | xclip -i -selection clipboard");
    eventually("the desktop can paste what was copied there", PATIENCE, || (screen.pasted() == "from the guest").then_some(()));

    // A guest that nobody looks at changes nothing here, and hears of nothing.
    app.unfocus();
    guest.run("printf 'a secret' | xclip -i -selection clipboard");
    screen.copy("copied elsewhere");
    guest.run("sleep 2");
    assert_eq!((screen.pasted().as_str(), pasted_in(&guest).as_str()), ("copied elsewhere", "a secret"));
    app.focus();
    eventually("it hears of it when a person turns to it", PATIENCE, || (pasted_in(&guest) == "copied elsewhere").then_some(()));
    assert_eq!(screen.pasted(), "copied elsewhere");

    // Only one way from now on.
    home.ok(&["clipboard", "policy", "Desktop", "to-guest"]);
    guest.run("printf 'stays there' | xclip -i -selection clipboard; sleep 2");
    assert_eq!(screen.pasted(), "copied elsewhere");

    let file = home.path().join("dropped.txt");
    fs::write(&file, "dropped on the window").unwrap();
    app.drop_file(&file);
    let arrived = || guest.try_run("cat /root/Downloads/dropped.txt").1 == "dropped on the window";
    eventually("the file is in the guest", PATIENCE, || arrived().then_some(()));
    guest.viv("stop", &["--force"]);
}

#[test]
fn what_a_guest_plays_is_heard_where_its_window_is() {
    let Some(about) = Guests::find("x86_64") else { return };
    let Some(screen) = Screen::new() else { return };
    let home = Home::new();
    let speakers = Speakers::new(&home);
    let guest = home.create("Guest", about.arguments("q35", ""));
    home.ok(&["config", "set", "Guest", "Sound[0].Hardware", "pcspk"]);
    guest.start();
    guest.up();
    let _app = screen.open_with_sound(&home, "Guest", &speakers);
    // The PC's speaker follows the third timer: a square wave of 1000 Hz, switched on by the two lowest bits of port 97.
    guest.run(
        "port() { printf \"$2\" | dd of=/dev/port bs=1 seek=$1 conv=notrunc 2>/dev/null; }; \
         port 67 '\\266' && port 66 '\\251' && port 66 '\\004' && port 97 '\\003'",
    );
    let heard = eventually("the tone is heard", PATIENCE, || Some(speakers.played()).filter(|played| played.loud > 50_000));
    let spec = heard.spec.unwrap();
    assert!(spec.sample_rate >= 8000 && spec.channels > 0 && !heard.waits, "{heard:?}");
    // It is switched off: nothing more is sent.
    guest.run("printf '\\000' | dd of=/dev/port bs=1 seek=97 conv=notrunc 2>/dev/null");
    eventually("the stream waits, or is silent", PATIENCE, || {
        let before = speakers.played();
        guest.run("sleep 1");
        let after = speakers.played();
        (after.waits || after.loud == before.loud).then_some(())
    });
    guest.viv("stop", &["--force"]);
}
