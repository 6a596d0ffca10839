//! The settings.

use desktop::editor::EditorScreen;
use desktop::engine::Engine;
use i_slint_backend_testing::AccessibleRole::{Button, Switch, Tab};
use library::{CreateSpec, Job, Machine};
use slint::ComponentHandle as _;

use crate::loops::{find, press, run, says, shown, until, write};

pub async fn machine(engine: &Engine) -> Machine {
    let spec = CreateSpec { name: Some("Debian 13".into()), disks: Some(Vec::new()), memory_mib: Some(1024), ..CreateSpec::default() };
    let library = engine.library().clone();
    engine.spawn(async move { library.create(spec, &Job::silent()).await }).await.unwrap().unwrap().machine
}

#[test]
fn a_setting_is_changed_and_saved() {
    run(|engine, _folder| async move {
        let machine = machine(&engine).await;
        let screen = EditorScreen::open(&engine, &machine.path).unwrap();
        let window = screen.window();
        press(window, "System", Tab).await;
        until("memory", || shown(window, "Memory") == "1 GiB").await;
        assert!(!window.get_can_save(), "nothing has changed");
        write(window, "Memory", "many").await;
        until("the refusal", || says(window, "`many` is not a size")).await;
        assert!(!window.get_can_save() && says(window, "Memory: "), "at the control and below the page");
        write(window, "Memory", "1.5 GiB").await;
        press(window, "QEMU", Tab).await;
        press(window, "Clock in local time", Switch).await;
        press(window, "Save", Button).await;
        until("saving", || !window.window().is_visible()).await;
        let library = engine.library();
        let stored = library.configuration(&library.machine_at(&machine.path).unwrap()).unwrap().configuration;
        let qemu = stored.as_qemu().unwrap();
        assert_eq!((qemu.system.memory_size, qemu.qemu.rtc_local_time), (1536, true));
    });
}

#[test]
fn leaving_with_changes_asks_once() {
    run(|engine, _folder| async move {
        let machine = machine(&engine).await;
        let screen = EditorScreen::open(&engine, &machine.path).unwrap();
        let window = screen.window();
        write(window, "Name", "Web server").await;
        until("the change", || window.get_can_save()).await;
        press(window, "Cancel", Button).await;
        until("the question", || says(window, "Save the changes to \"Debian 13\"?")).await;
        press(window, "Keep editing", Button).await;
        until("no question", || !says(window, "Save the changes")).await;
        assert!(window.window().is_visible() && shown(window, "Name") == "Web server");
        press(window, "Cancel", Button).await;
        press(window, "Discard", Button).await;
        until("closing", || !window.window().is_visible()).await;
        assert_eq!(engine.library().machine_at(&machine.path).unwrap().name, "Debian 13");
    });
}

#[test]
fn devices_come_and_go_and_other_programs_are_noticed() {
    run(|engine, _folder| async move {
        let machine = machine(&engine).await;
        let screen = EditorScreen::open(&engine, &machine.path).unwrap();
        let window = screen.window();
        // Only what is inside the window is found.
        window.window().set_size(slint::LogicalSize::new(1280.0, 2400.0));
        press(window, "Add: Network", Button).await;
        until("the card", || window.get_heading().starts_with("Network")).await;
        press(window, "Forward a port", Button).await;
        until("the port", || shown(window, "Port here") == "2222").await;
        write(window, "Port here", "70000").await;
        until("no such port", || !window.get_can_save()).await;
        write(window, "Port here", "8022").await;
        until("a port", || window.get_can_save()).await;
        press(window, "Remove this device", Button).await;
        until("it is gone", || !window.get_can_save()).await;

        // Somebody else changes it meanwhile.
        press(window, "Information", Tab).await;
        write(window, "Notes", "mine").await;
        let edited = engine.library().edit(&machine, |on_disk| {
            on_disk.information_mut().notes = Some("theirs".into());
            Ok(())
        });
        edited.unwrap();
        press(window, "Save", Button).await;
        press(window, "Revert", Button).await;
        until("theirs", || shown(window, "Notes") == "theirs").await;
        assert!(find(window, "Save", Button).unwrap().accessible_enabled() == Some(false));
    });
}
