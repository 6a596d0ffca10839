//! The wizard.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use desktop::wizard::{Made, WizardScreen};
use i_slint_backend_testing::AccessibleRole::{Button, RadioButton, Switch};
use slint::{ComponentHandle as _, LogicalSize};

use crate::loops::{find, press, run, says, shown, until, write};

/// The image of a CD, as far as anybody looks.
fn iso(folder: &Path) -> PathBuf {
    let mut disc = vec![0; 40 << 10];
    disc[32769..32774].copy_from_slice(b"CD001");
    let file = folder.join("Debian 13.iso");
    std::fs::write(&file, disc).unwrap();
    file
}

#[test]
fn a_machine_is_made_from_an_iso() {
    run(|engine, folder| async move {
        let made: Rc<RefCell<Option<Made>>> = Rc::default();
        let told = made.clone();
        let screen = WizardScreen::open(&engine, None, move |made| *told.borrow_mut() = Some(made)).unwrap();
        let window = screen.window();
        press(window, "Linux", RadioButton).await;
        press(window, "Continue", Button).await;

        // Nothing to install from yet, and then something that is not there: said, and no way on.
        until("the installer", || window.get_step() == 1).await;
        assert!(says(window, "Choose what to install from") && !window.get_can_continue());
        press(window, "ISO image", RadioButton).await;
        write(window, "ISO image", "/nowhere/debian.iso").await;
        until("the refusal", || says(window, "/nowhere/debian.iso")).await;
        assert!(!window.get_can_continue() && find(window, "Continue", Button).unwrap().accessible_enabled() == Some(false));
        write(window, "ISO image", &iso(&folder).display().to_string()).await;
        press(window, "Continue", Button).await;

        // Sizes as people write them; what makes no sense is refused at the control, in words.
        until("hardware", || window.get_step() == 2).await;
        write(window, "Memory", "lots").await;
        until("the refusal", || says(window, "\"lots\" is not a size")).await;
        assert!(!window.get_can_continue());
        write(window, "Memory", "64").await;
        until("the unit", || says(window, "64 GiB")).await;
        write(window, "Memory", "0,5 gb").await;
        press(window, "Continue", Button).await;

        until("storage", || window.get_step() == 3).await;
        until("the usual disk", || shown(window, "Size of disk 1") == "64 GiB").await;
        write(window, "Size of disk 1", "1 MB").await;
        until("too small", || says(window, "Choose a size from")).await;
        write(window, "Size of disk 1", "20g").await;
        until("a size", || window.get_can_continue()).await;
        // Making one takes programs that need not be built for this test.
        press(window, "Remove disk 1", Button).await;
        until("no disk", || find(window, "Remove disk 1", Button).is_none()).await;
        press(window, "Continue", Button).await;

        until("sharing", || window.get_step() == 4).await;
        press(window, "Share a folder", Switch).await;
        write(window, "Folder", &folder.display().to_string()).await;
        press(window, "Continue", Button).await;

        until("the summary", || window.get_step() == 5).await;
        until("the share", || says(window, &folder.display().to_string())).await;
        write(window, "Name", "Web\u{7}server").await;
        until("no such name", || says(window, "control characters")).await;
        write(window, "Name", "Web server").await;
        press(window, "Start it at once", Switch).await;
        press(window, "Create", Button).await;
        until("the machine", || made.borrow().is_some()).await;
        let made = made.borrow_mut().take().unwrap();
        assert_eq!((made.made.machine.name.as_str(), made.start, made.open_settings), ("Web server", false, false));
        let on_disk = engine.library().machine_at(&made.made.machine.path).unwrap();
        assert_eq!(on_disk.summary().unwrap().memory_mib, 476, "0.5 GB are 476 MiB");
        let drives = engine.library().drives(&on_disk).unwrap();
        assert_eq!((drives.len(), drives[0].path.as_deref()), (1, Some(iso(&folder).as_path())));
        assert!(!window.window().is_visible());
    });
}

#[test]
fn a_name_that_is_taken_is_told_while_it_is_typed() {
    run(|engine, folder| async move {
        std::fs::create_dir_all(folder.join("machines/Debian.utm")).unwrap();
        let screen = WizardScreen::open(&engine, Some(iso(&folder)), |_| {}).unwrap();
        let window = screen.window();
        for step in 0..5 {
            until("the step", || window.get_step() == step).await;
            press(window, "Continue", Button).await;
        }
        write(window, "Name", "Debian").await;
        until("the refusal", || says(window, "There is already a machine")).await;
        assert!(!window.get_can_continue());
        // Back keeps what was chosen.
        press(window, "Back", Button).await;
        until("sharing", || window.get_step() == 4).await;
        press(window, "Continue", Button).await;
        until("the name", || shown(window, "Name") == "Debian").await;
    });
}

#[test]
fn every_control_is_inside_a_narrow_window() {
    run(|engine, folder| async move {
        let screen = WizardScreen::open(&engine, Some(iso(&folder)), |_| {}).unwrap();
        let window = screen.window();
        window.window().set_size(LogicalSize::new(360.0, 640.0));
        for step in 0..6 {
            until("the step", || window.get_step() == step).await;
            until("the button", || window.get_can_continue()).await;
            for label in ["Memory", "Cores", "Size of disk 1", "Name", "Virtualize", "Continue", "Cancel"] {
                for found in i_slint_backend_testing::ElementHandle::find_by_accessible_label(window, label) {
                    let (left, width) = (found.absolute_position().x, found.size().width);
                    assert!(left >= 0.0 && left + width <= 360.0, "{label} at {left}, {width} wide");
                }
            }
            if step < 5 {
                press(window, "Continue", Button).await;
            }
        }
    });
}
