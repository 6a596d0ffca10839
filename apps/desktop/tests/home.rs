//! The home window without a display, by the labels that a screen reader hears, over a real library in a temporary folder.
//!
//! One test: Slint's testing backend has one event loop per process.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use desktop::engine::Engine;
use desktop::home::HomeScreen;
use desktop::windows::Windows;
use desktop::{HomeModel, HomeWindow};
use i_slint_backend_testing::{ElementHandle, init_integration_test_with_system_time};
use library::{CreateSpec, Job, Library};
use slint::{ComponentHandle as _, Global as _, Model as _, SharedString};
use supervisor_api::Places;

/// However loaded the computer is, nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn library(folder: &Path) -> Library {
    let place = |name: &str| folder.join(name);
    let places = Places { machines: place("machines"), state: place("state"), cache: place("cache"), runtime: place("run") };
    Library::open(places).unwrap().without_supervisor()
}

fn shows(window: &HomeWindow, label: &str) -> bool {
    ElementHandle::find_by_accessible_label(window, label).next().is_some()
}

fn press(window: &HomeWindow, label: &str) {
    let found = ElementHandle::find_by_accessible_label(window, label).next();
    found.unwrap_or_else(|| panic!("nothing is called {label:?}")).invoke_accessible_default_action();
}

fn types(window: &HomeWindow, label: &str, text: &str) {
    let found = ElementHandle::find_by_accessible_label(window, label).next();
    found.unwrap_or_else(|| panic!("nothing is called {label:?}")).set_accessible_value(text);
}

fn names(window: &HomeWindow) -> Vec<SharedString> {
    HomeModel::get(window).get_machines().iter().map(|line| line.name).collect()
}

/// Lets the event loop go on until something is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "{what} has not come");
        let (wake, woken) = tokio::sync::oneshot::channel();
        slint::Timer::single_shot(Duration::from_millis(5), move || wake.send(()).unwrap_or_default());
        woken.await.unwrap();
    }
}

#[test]
fn a_library_is_seen_searched_and_changed() {
    init_integration_test_with_system_time();
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let engine = Engine::start(library).unwrap();
    let screen = HomeScreen::open(&engine, &Windows::new(&engine)).unwrap();
    screen.window().show().unwrap();
    let done = Rc::new(Cell::new(false));
    let ended = done.clone();
    slint::spawn_local(async move {
        walk(&engine, screen.window(), folder.path()).await;
        ended.set(true);
        slint::quit_event_loop().unwrap();
    })
    .unwrap();
    slint::run_event_loop().unwrap();
    assert!(done.get());
}

async fn walk(engine: &Engine, window: &HomeWindow, folder: &Path) {
    // Nothing is there yet: three ways in.
    until("the empty state", || HomeModel::get(window).get_empty()).await;
    assert!(shows(window, "No machines yet") && shows(window, "Import…"));
    assert!(shows(window, "Drop a bundle, a disk image or an ISO here"));

    // Machines come by themselves.
    for name in ["Server", "Desktop"] {
        let (library, name) = (engine.library().clone(), name.to_owned());
        let made = engine
            .spawn(async move { library.create(CreateSpec { name: Some(name), ..CreateSpec::default() }, &Job::silent()).await.map(drop) });
        made.await.unwrap().unwrap();
    }
    until("both machines", || names(window).len() == 2).await;
    assert_eq!(names(window), ["Desktop", "Server"]);
    until("the first machine's page", || shows(window, "Start Server") || shows(window, "Start Desktop")).await;
    press(window, "Server");
    until("the server's page", || HomeModel::get(window).get_name() == "Server").await;
    until("its facts", || HomeModel::get(window).get_facts().iter().any(|fact| fact.label == "Memory")).await;

    // A search hides, and its selection stays.
    types(window, "Search machines", "desk");
    until("fewer lines", || names(window) == ["Desktop"]).await;
    assert_eq!(HomeModel::get(window).get_name(), "Server");
    types(window, "Search machines", "nothing like it");
    until("no match", || HomeModel::get(window).get_no_match()).await;
    press(window, "Clear search");
    until("all lines", || names(window).len() == 2).await;

    // Another name, which is judged while it is typed.
    let model = HomeModel::get(window);
    model.invoke_run(desktop::words::number(view_model::Command::Rename));
    until("the dialog", || model.get_dialog_open()).await;
    for wrong in ["Web\u{7}server", "Desktop"] {
        model.set_dialog_name(wrong.into());
        model.invoke_name_edited(wrong.into());
        assert!(!model.get_dialog_wrong().is_empty(), "{wrong:?}");
    }
    model.set_dialog_name("Web server".into());
    model.invoke_name_edited("Web server".into());
    assert!(model.get_dialog_wrong().is_empty(), "{}", model.get_dialog_wrong());
    model.invoke_accept();
    until("the new name", || names(window) == ["Desktop", "Web server"]).await;
    until("its page", || model.get_name() == "Web server").await;

    // A copy has a name of its own, and is selected.
    model.invoke_run(desktop::words::number(view_model::Command::Clone));
    assert_eq!(model.get_dialog_name(), "Web server 2");
    model.invoke_accept();
    until("the copy", || names(window) == ["Desktop", "Web server", "Web server 2"]).await;
    until("the copy's page", || model.get_name() == "Web server 2").await;

    // What fails stays until somebody has read it: meanwhile something else has taken the copy's name.
    model.invoke_run(desktop::words::number(view_model::Command::Clone));
    model.set_dialog_name("Mail".into());
    model.invoke_name_edited("Mail".into());
    std::fs::write(folder.join("machines/Mail.utm"), "no machine").unwrap();
    model.invoke_accept();
    until("the failure", || model.get_works().iter().any(|work| work.failed)).await;
    press(window, "Dismiss Cloning \"Web server 2\"");
    until("that it is gone", || model.get_works().row_count() == 0).await;
    assert_eq!(model.get_name(), "Web server 2");

    // Throwing away asks first.
    model.invoke_run(desktop::words::number(view_model::Command::Delete));
    assert!(model.get_dialog_open() && model.get_dialog_title().contains("Web server 2"));
    model.invoke_dismiss_dialog();
    assert!(!model.get_dialog_open() && folder.join("machines/Web server 2.utm").exists());

    // What cannot be read says so, and what to do.
    std::fs::write(folder.join("machines/Web server 2.utm/config.plist"), "nonsense").unwrap();
    until("that it is broken", || model.get_broken()).await;
    assert!(shows(window, "Move to trash…") && shows(window, "Show in file manager"));
}
