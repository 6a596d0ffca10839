//! The desktop app on an X server, with a real guest.

use acceptance::guests::Guests;
use acceptance::{Home, PATIENCE, Screen, emulator, eventually};

#[test]
fn a_window_shows_grubs_menu_and_its_keys_move_the_selection() {
    let Some(iso) = Guests::medium("grub_rescue_iso") else { return };
    let Some(screen) = Screen::new() else { return };
    if emulator("x86_64").is_none() {
        return;
    }
    let iso = iso.display().to_string();
    let home = Home::new();
    let arguments = ["--arch", "x86_64", "--firmware", "bios", "--iso", &iso, "--no-disk", "--network", "none", "--memory", "512MiB"];
    let guest = home.create("Grub", arguments);
    guest.start();
    eventually("GRUB shows its menu", PATIENCE, || (guest.picture().rules(0.9) >= 8).then_some(()));
    // It boots the first entry after a while where nobody is there.
    guest.viv("key", &["up"]);
    let seen = |what: &str, is: &dyn Fn((usize, usize)) -> bool| {
        eventually(what, PATIENCE, || screen.picture().grubs_selection().filter(|selection| is(*selection)))
    };

    let app = screen.open(&home, "Grub");
    let first = seen("the window shows the menu", &|_| true);
    app.key("Down");
    let second = seen("a key moves the selection", &|(row, _)| row > first.0);
    app.key("Up");
    seen("and another one back", &|(row, _)| row == first.0);
    app.key("Down");
    seen("and down again", &|(row, _)| row == second.0);

    // The picture follows the window, and keys arrive as before.
    app.resize(640, 520);
    let small = seen("the picture becomes smaller with its window", &|(_, length)| length < 640 && length * 2 < first.1 * 3);
    assert!(small.1 < second.1, "{small:?} {second:?}");
    app.resize(1024, 814);
    seen("and larger again", &|selection| selection == second);

    // Whoever ends the app ends no machine: the next shows it as it is.
    let process = guest.pid("backend_pid");
    acceptance::kill(app.pid());
    drop(app);
    assert_eq!(guest.state(), "running");
    let app = screen.open(&home, "Grub");
    seen("a new app shows the machine again", &|selection| selection == second);
    assert_eq!((guest.state().as_str(), guest.pid("backend_pid")), ("running", process));
    app.key("Up");
    seen("its keys arrive, too", &|(row, _)| row == first.0);
    guest.viv("stop", &["--force"]);
}

#[test]
fn a_serial_port_is_a_terminal_that_comes_back_with_its_machine() {
    let Some(kernel) = Guests::find("x86_64") else { return };
    let Some(screen) = Screen::new() else { return };
    let home = Home::new();
    let mut arguments = kernel.arguments("q35", "");
    arguments.extend(["--no-display", "--no-disk", "--network", "none"].map(str::to_owned));
    let guest = home.create("Demo", arguments);
    guest.start();
    guest.up();

    // A machine without a display is shown by its serial port, with what was said before.
    let app = screen.open(&home, "Demo");
    let shown = || screen.picture().colours();
    eventually("the window shows what was said", PATIENCE, || (shown() > 30).then_some(()));
    let types = |line: &str| {
        screen.xdotool(&["type", "--delay", "30", line]);
        app.key("Return");
    };
    let before = screen.picture();
    types("echo typed-$((6 * 7))");
    guest.hears("typed-42");
    eventually("the window shows the answer", PATIENCE, || (screen.picture() != before).then_some(()));

    // A serial line has no size: another window is none of the guest's business.
    let size = guest.run("stty size");
    let before = screen.picture();
    app.resize(1100, 700);
    eventually("the window is larger", PATIENCE, || (screen.picture() != before).then_some(()));
    types("echo \"size $(stty size) end\"");
    guest.hears(&format!("size {size} end"));

    // It stops, and runs again: the window goes with it.
    guest.viv("stop", &["--force"]);
    let stopped = screen.picture();
    eventually("the window says so", PATIENCE, || (screen.picture() != stopped || shown() > 30).then_some(()));
    guest.start();
    guest.up();
    eventually("the guest hears the window again", PATIENCE, || {
        types("echo again-$((7 * 8))");
        guest.try_hears("again-56").then_some(())
    });
    guest.viv("stop", &["--force"]);
}
