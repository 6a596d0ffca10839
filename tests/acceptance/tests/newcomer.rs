//! The walk of somebody who is here for the first time: a machine is made in the wizard, changed, started, typed into, photographed, forced
//! off, cloned and thrown away. All of it by the names that a screen reader says, so that nothing depends on sight.

use acceptance::Role::{Button, Item, Radio, Switch, Tab};
use acceptance::guests::Guests;
use acceptance::{Guest, Home, PATIENCE, Screen, Tree, emulator, eventually};

#[test]
fn a_machine_is_made_used_cloned_and_thrown_away_by_ear() {
    let Some(iso) = Guests::medium("grub_rescue_iso") else { return };
    let Some(screen) = Screen::new() else { return };
    let home = Home::new();
    let Some(tree) = Tree::new(&home, &screen) else { return };
    if emulator("x86_64").is_none() {
        return;
    }
    let mut app = screen.open_home(&home, &tree);

    // Nothing is there yet. The wizard makes a machine from an ISO.
    tree.press("New machine…", Button);
    app.turn_to("New machine");
    tree.press("Something else", Radio);
    tree.press("Continue", Button);
    tree.press("ISO image", Radio);
    tree.write(&app, "ISO image", &iso.display().to_string());
    tree.press("Continue", Button);
    tree.write(&app, "Memory", "512 MiB");
    tree.press("Continue", Button);
    tree.write(&app, "Size of disk 1", "1 GiB");
    tree.press("Continue", Button);
    tree.press("Continue", Button);
    tree.write(&app, "Name", "Rescue");
    tree.press("Start it at once", Switch);
    assert_eq!(tree.nameless(), [""; 0], "in the list or the wizard");
    tree.press("Create", Button);
    eventually("the machine is there", PATIENCE, || home.bundle("Rescue").join("config.plist").exists().then_some(()));
    let guest = Guest::existing(&home, "Rescue");
    // The switch is on where nobody touches it.
    assert_eq!(guest.state(), "stopped");

    // A setting is changed: this medium does not start with UEFI.
    app.turn_to("Vivarium");
    tree.press("Settings", Button);
    app.turn_to("Rescue settings");
    tree.press("QEMU", Tab);
    tree.press("UEFI", Switch);
    assert_eq!(tree.nameless(), [""; 0], "in the settings");
    tree.press("Save", Button);
    let uefi = || home.json(&["config", "get", "Rescue", "QEMU.UEFIBoot"]).to_string();
    eventually("the setting is saved", PATIENCE, || uefi().contains("false").then_some(()));

    // It is started, and its window opens: GRUB's menu, in which keys move the selection.
    app.turn_to("Vivarium");
    tree.press("Start Rescue", Button);
    app.turn_to("Rescue");
    guest.becomes("running");
    let selection = |what: &str, is: &dyn Fn(usize) -> bool| {
        eventually(what, PATIENCE, || screen.picture().grubs_selection().map(|(row, _)| row).filter(|row| is(*row)))
    };
    eventually("GRUB shows its menu", PATIENCE, || (guest.picture().rules(0.9) >= 8).then_some(()));
    // It boots the first entry after a while where nobody is there.
    app.key("Up");
    let first = selection("the window shows the menu", &|_| true);
    app.key("Down");
    selection("a key moves the selection", &|row| row > first);

    // A picture of it is put beside the person's others.
    tree.press("Take screenshot", Button);
    let is_picture = |name: &str| name.starts_with("Rescue") && name.ends_with(".png");
    let picture = eventually("a picture is there", PATIENCE, || {
        let names = std::fs::read_dir(home.path()).unwrap().flatten().map(|file| file.file_name().to_string_lossy().into_owned());
        names
            .into_iter()
            .find(|name| is_picture(name))
            .filter(|name| std::fs::metadata(home.path().join(name)).is_ok_and(|file| file.len() > 0))
    });
    assert!(acceptance::Picture::read(&home.path().join(picture)).grubs_selection().is_some());
    assert_eq!(tree.nameless(), [""; 0], "in the machine's window");

    // Forced off, after a question.
    tree.press("Power", Button);
    tree.press("Force off…", Item);
    tree.press("Force off", Button);
    guest.becomes("stopped");

    // A copy is made, and thrown away.
    app.turn_to("Vivarium");
    tree.shows("Start Rescue", Button);
    app.key("ctrl+shift+d");
    tree.holds("Name", "Rescue 2");
    assert_eq!(tree.nameless(), [""; 0], "in the list with a dialog");
    tree.press("Clone", Button);
    tree.shows("Rescue 2", Item);
    tree.press("Rescue 2", Item);
    tree.shows("Start Rescue 2", Button);
    app.key("Delete");
    tree.press("Move to trash", Button);
    eventually("the copy is gone", PATIENCE, || (!home.bundle("Rescue 2").exists()).then_some(()));
    let machines = home.json(&["list"]);
    assert_eq!(machines.as_array().map(Vec::len), Some(1), "{machines}");
}
