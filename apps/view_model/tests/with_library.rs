//! Wizard, home and editor over a real library in a temporary folder: what a person does there, and what is on disk then.

use std::time::Duration;

use library::{Host, Job, Library, LibraryEvent, Os, Watch};
use machine::State;
use supervisor_api::Places;
use view_model::editor::{Editor, Save};
use view_model::home::{Change, Home, Mark};
use view_model::wizard::{Installer, Share, Step, Wizard};
use view_model::{Command, Refusal};

fn library(folder: &std::path::Path) -> Library {
    let place = |name: &str| folder.join(name);
    let places = Places { machines: place("machines"), state: place("state"), cache: place("cache"), runtime: place("run") };
    Library::open(places).unwrap().without_supervisor()
}

/// Hears events until the home window has so many lines.
async fn hear_until(home: &mut Home, watch: &mut Watch, done: impl Fn(&Home) -> bool) {
    while !done(home) {
        let event = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("no event came").unwrap();
        home.heard(event);
    }
}

#[tokio::test]
async fn a_machine_is_made_found_changed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let mut watch = library.watch().unwrap();
    let mut home = Home::new(library.machines());
    assert!(home.empty().unwrap().commands.contains(&Command::NewMachine));

    // The wizard makes what its summary says.
    let mut wizard = Wizard::new(Host::now());
    let projects = folder.path().join("Projects");
    std::fs::create_dir(&projects).unwrap();
    wizard.choose(|choices| {
        choices.os = Os::Linux;
        choices.installer = Some(Installer::Nothing);
        choices.memory_mib = Some(512);
        choices.disks = Some(Vec::new());
        choices.name = "Server".into();
        choices.share = Some(Share { folder: projects.clone(), read_only: true });
    });
    assert!(wizard.go_to(Step::Summary), "{:?}", wizard.problems());
    let summary: Vec<String> = wizard.summary().iter().map(|line| format!("{}: {}", line.label, line.value)).collect();
    let order = wizard.order().unwrap();
    let made = library.create(order.create, &Job::silent()).await.unwrap();
    let shared = library.share(&made.machine, order.share.unwrap()).unwrap();
    assert!(summary.contains(&"Name: Server".to_owned()) && made.machine.name == "Server");
    assert!(summary.iter().any(|line| line.starts_with("Memory: 512 MiB")), "{summary:?}");
    assert!(shared.read_only && shared.folder.unwrap().ends_with("Projects"));

    // The home window hears of it.
    hear_until(&mut home, &mut watch, |home| home.len() == 1).await;
    home.step(1);
    assert_eq!(home.selected().unwrap().mark(), Mark::State(State::Stopped));
    assert_eq!((home.available(Command::Start), home.available(Command::Pause)), (Ok(()), Err(Refusal::NotRunning)));

    // The editor changes it, its name too; the selection goes along.
    let machine = home.selected().unwrap().machine().clone();
    let mut editor = Editor::new(library.configuration(&machine).unwrap().configuration, Host::now());
    editor.set("System.MemorySize", "1 GiB");
    editor.set("Information.Name", "Web server");
    assert_eq!(editor.save(false), Ok(Save::Now));
    library.edit(&machine, |on_disk| editor.store(on_disk, false)).unwrap();
    editor.saved();
    hear_until(&mut home, &mut watch, |home| home.selected().is_some_and(|entry| entry.machine().name == "Web server")).await;
    hear_until(&mut home, &mut watch, |home| home.len() == 1).await;
    let machine = home.selected().unwrap().machine().clone();
    assert_eq!(machine.summary().unwrap().memory_mib, 1024);

    // Somebody else changes it while it is open here: nobody's change is lost unasked.
    library
        .edit(&machine, |on_disk| {
            on_disk.information_mut().notes = Some("theirs".into());
            Ok(())
        })
        .unwrap();
    editor.set("System.CPUCount", "2");
    let refused = library.edit(&machine, |on_disk| editor.store(on_disk, false)).unwrap_err();
    assert_eq!(refused.kind(), library::ErrorKind::WrongState);
    editor.revert(library.configuration(&machine).unwrap().configuration);
    assert_eq!(editor.text("Information.Notes"), "theirs");

    // What cannot be read keeps its place, says why, and can be thrown away.
    std::fs::write(machine.path.join("config.plist"), b"nonsense").unwrap();
    hear_until(&mut home, &mut watch, |home| home.entry(0).is_some_and(|entry| entry.mark() == Mark::Broken)).await;
    let failure = home.entry(0).unwrap().failure().unwrap();
    assert!(!failure.problems.is_empty() && failure.cures.contains(&Command::Delete));
    assert_eq!(home.available(Command::Delete), Ok(()));
    library.delete(home.entry(0).unwrap().machine(), library::Deletion::Permanent).await.unwrap();
    hear_until(&mut home, &mut watch, Home::is_empty).await;
    assert!(home.selected().is_none());
}

#[tokio::test]
async fn what_the_library_would_refuse_never_comes_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let mut wizard = Wizard::new(Host::now());
    wizard.choose(|choices| choices.installer = Some(Installer::Iso(folder.path().join("missing.iso"))));
    let problems = wizard.order().unwrap_err();
    let refused = library.create(wizard.spec(), &Job::silent()).await.unwrap_err();
    let ours: Vec<String> = problems.iter().map(|problem| problem.message.to_string()).collect();
    let theirs: Vec<&str> = refused.problems().iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn an_event_for_a_machine_that_is_gone_is_no_news() {
    let mut home = Home::default();
    let gone = LibraryEvent::StateChanged { path: "/gone.utm".into(), state: State::Running };
    assert_eq!(home.heard(gone), Vec::<Change>::new());
}
