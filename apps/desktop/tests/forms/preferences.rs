//! The preferences.

use std::cell::RefCell;
use std::rc::Rc;

use desktop::prefer::Preferred;
use desktop::preferences::PreferencesScreen;
use i_slint_backend_testing::AccessibleRole::{Combobox, Switch};
use view_model::preferences::{APPEARANCE, CAPTURE_FOCUS, RELEASE};

use crate::loops::{find, press, run, says, until, write};

#[test]
fn what_is_preferred_is_told_and_kept() {
    run(|engine, folder| async move {
        let (preferred, wrong) = Preferred::read(&engine);
        assert!(wrong.is_empty());
        let told: Rc<RefCell<Vec<String>>> = Rc::default();
        let hear = told.clone();
        preferred.follow(move |now| {
            hear.borrow_mut().push(now.word(APPEARANCE));
            true
        });
        let screen = PreferencesScreen::open(&engine, &preferred).unwrap();
        let window = screen.window();
        until("the page", || find(window, "Appearance", Combobox).is_some()).await;
        find(window, "Appearance", Combobox).unwrap().invoke_accessible_increment_action();
        press(window, "Capture whenever the window is in front", Switch).await;
        write(window, "Release keys", "ctrl-nonsense").await;
        until("the refusal", || says(window, "nonsense")).await;
        assert_eq!(preferred.now().word(RELEASE), "ctrl-alt");
        write(window, "Release keys", "rightctrl").await;
        assert_eq!(told.borrow().first().map(String::as_str), Some("system"));
        assert_eq!(told.borrow().last().map(String::as_str), Some("light"));
        let file = folder.join("state/preferences.json");
        until("the file", || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("rightctrl"))).await;
        let (again, _) = Preferred::read(&engine);
        assert_eq!((again.now().word(APPEARANCE), again.now().is_on(CAPTURE_FOCUS)), ("light".into(), true));
    });
}
