//! An event loop without a display, and what a person does in a window: looks for a label, presses, types.

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use desktop::engine::Engine;
use i_slint_backend_testing::{AccessibleRole, ElementHandle, ElementQuery, ElementRoot, TestingBackend, TestingBackendOptions};
use library::Library;
use slint::ComponentHandle;
use supervisor_api::Places;

/// Runs a test in an event loop; its windows are drawn by the software renderer.
pub fn run<F: Future<Output = ()> + 'static>(test: impl FnOnce(Engine, PathBuf) -> F) {
    let options = TestingBackendOptions { mock_time: false, threading: true, renderer_name: Some("software".into()) };
    slint::platform::set_platform(Box::new(TestingBackend::new(options))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let places = Places { machines: place("machines"), state: place("state"), cache: place("cache"), runtime: place("run") };
    std::fs::create_dir(&places.machines).unwrap();
    let engine = Engine::start(Library::open(places).unwrap().without_supervisor()).unwrap();
    let body = test(engine, folder.path().to_path_buf());
    slint::spawn_local(async move {
        body.await;
        slint::quit_event_loop().unwrap();
    })
    .unwrap();
    slint::run_event_loop_until_quit().unwrap();
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} has not happened");
        turn().await;
    }
}

/// Lets the event loop turn.
async fn turn() {
    let (tell, told) = tokio::sync::oneshot::channel();
    slint::Timer::single_shot(Duration::from_millis(5), move || {
        let _ = tell.send(());
    });
    told.await.unwrap();
    // What is shown only under a condition is made when a picture is drawn, or here.
    i_slint_backend_testing::mock_elapsed_time(Duration::ZERO);
}

/// What has a label and a role.
pub fn find(window: &(impl ElementRoot + ComponentHandle), label: &str, role: AccessibleRole) -> Option<ElementHandle> {
    ElementHandle::find_by_accessible_label(window, label).find(|found| found.accessible_role() == Some(role))
}

/// Presses what has a label, when it is there and can be pressed.
pub async fn press(window: &(impl ElementRoot + ComponentHandle), label: &str, role: AccessibleRole) {
    until(label, || find(window, label, role).is_some_and(|found| found.accessible_enabled() != Some(false))).await;
    find(window, label, role).unwrap().invoke_accessible_default_action();
    turn().await;
}

/// Types into the field that has a label.
pub async fn write(window: &(impl ElementRoot + ComponentHandle), label: &str, text: &str) {
    until(label, || find(window, label, AccessibleRole::TextInput).is_some()).await;
    find(window, label, AccessibleRole::TextInput).unwrap().set_accessible_value(text);
    turn().await;
}

/// What the field shows that has a label.
pub fn shown(window: &(impl ElementRoot + ComponentHandle), label: &str) -> String {
    find(window, label, AccessibleRole::TextInput).and_then(|field| field.accessible_value()).unwrap_or_default().into()
}

/// Whether a text is to be read somewhere in the window.
pub fn says(window: &(impl ElementRoot + ComponentHandle), words: &str) -> bool {
    let all = ElementQuery::from_root(window).match_descendants().find_all();
    all.iter().filter_map(ElementHandle::accessible_label).any(|label| label.contains(words))
}
