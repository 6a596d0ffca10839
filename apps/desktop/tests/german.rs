//! The windows in German: every string has words, and the home window shows them.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use desktop::HomeWindow;
use desktop::engine::Engine;
use desktop::home::HomeScreen;
use desktop::windows::Windows;
use i_slint_backend_testing::{ElementHandle, init_integration_test_with_system_time};
use library::Library;
use supervisor_api::Places;
use view_model::{Language, catalog, speak};

/// A string literal at the beginning, and what follows it.
fn literal(source: &str) -> Option<(String, &str)> {
    let inner = source.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.find(|character| {
        let is_end = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        is_end
    })?;
    Some((inner[..end].replace("\\\"", "\"").replace("\\\\", "\\"), &inner[end + 1..]))
}

/// What is to be translated in a file: each string, and its plural.
fn strings(source: &str) -> Vec<(String, Option<String>)> {
    let found = source.split("@tr(").skip(1).map(|rest| {
        let (mut words, mut rest) = literal(rest).unwrap_or_else(|| panic!("no string in @tr({}", &rest[..rest.len().min(60)]));
        if let Some(after_context) = rest.trim_start().strip_prefix("=>") {
            (words, rest) = literal(after_context).expect("a string after a context");
        }
        let plural = rest.trim_start().strip_prefix('|').and_then(literal).map(|(plural, _)| plural);
        (words, plural)
    });
    found.collect()
}

/// The places for values in a string.
fn places(words: &str) -> Vec<&str> {
    let mut places: Vec<&str> = words.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
    places.sort_unstable();
    places
}

#[test]
fn every_string_of_the_windows_has_german_words_with_the_same_places() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let german = catalog::read(&std::fs::read_to_string(package.join("lang/de/LC_MESSAGES/desktop.po")).unwrap());
    let mut used = Vec::new();
    for file in
        std::fs::read_dir(package.join("ui")).unwrap().flatten().filter(|file| file.path().extension().is_some_and(|end| end == "slint"))
    {
        for (words, plural) in strings(&std::fs::read_to_string(file.path()).unwrap()) {
            let entry = german.iter().find(|entry| entry.original == words && entry.plural == plural);
            let entry = entry.unwrap_or_else(|| panic!("no German for {words:?} of {}", file.path().display()));
            assert_eq!(entry.translations.len(), plural.as_ref().map_or(1, |_| 2), "{words}");
            for translation in &entry.translations {
                assert_eq!(places(translation), places(&words), "{words}: {translation}");
                assert!(!translation.is_empty(), "{words}");
            }
            used.push(words);
        }
    }
    assert!(used.len() > 100, "strings are found");
    let unused: Vec<_> = german.iter().map(|entry| &entry.original).filter(|words| !used.contains(words)).collect();
    assert!(unused.is_empty(), "no window says {unused:?} any more");
}

async fn shows(window: &HomeWindow, label: &str) {
    let began = Instant::now();
    while ElementHandle::find_by_accessible_label(window, label).next().is_none() {
        assert!(began.elapsed() < Duration::from_secs(30), "{label} is not shown");
        let (wake, woken) = tokio::sync::oneshot::channel();
        slint::Timer::single_shot(Duration::from_millis(5), move || wake.send(()).unwrap_or_default());
        woken.await.unwrap();
    }
}

#[test]
fn the_home_window_speaks_german() {
    speak(Language::German);
    init_integration_test_with_system_time();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let places = Places { machines: place("machines"), state: place("state"), cache: place("cache"), runtime: place("run") };
    let engine = Engine::start(Library::open(places).unwrap().without_supervisor()).unwrap();
    let screen = HomeScreen::open(&engine, &Windows::new(&engine)).unwrap();
    slint::ComponentHandle::show(screen.window()).unwrap();
    let done = Rc::new(Cell::new(false));
    let ended = done.clone();
    slint::spawn_local(async move {
        // Of view_model, of the windows, and with a command's name.
        shows(screen.window(), "Noch keine Maschinen").await;
        shows(screen.window(), "Legen Sie ein Bundle, ein Datenträgerabbild oder eine ISO hier ab").await;
        shows(screen.window(), "Maschinen suchen").await;
        shows(screen.window(), "Importieren …").await;
        ended.set(true);
        slint::quit_event_loop().unwrap();
    })
    .unwrap();
    slint::run_event_loop().unwrap();
    assert!(done.get());
}
