//! The list of machines, and which one a person means.

mod home;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use home::{Home, run};
use library::{Activity, Condition, Error, ErrorKind, FindError};

#[test]
fn broken_machines_are_listed_with_what_is_wrong() {
    let home = Home::new();
    run(home.machine("Good"));
    for (name, content) in [
        ("Empty.utm", None),
        ("Text.utm", Some("not a plist")),
        ("Odd.utm", Some("<plist><dict><key>Backend</key><string>Xen</string></dict></plist>")),
    ] {
        let path = home.machines().join(name);
        fs::create_dir(&path).unwrap();
        if let Some(content) = content {
            fs::write(path.join("config.plist"), content).unwrap();
        }
    }
    fs::create_dir(home.machines().join(".hidden.utm")).unwrap();
    fs::write(home.machines().join("file.utm"), "").unwrap();
    let machines = home.library.machines();
    let names: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
    assert_eq!(names, ["Empty", "Good", "Odd", "Text"]);
    for machine in machines.iter().filter(|machine| machine.name != "Good") {
        assert!(matches!(&machine.condition, Condition::Broken(problems) if !problems.is_empty()), "{machine:?}");
        assert_eq!(machine.usable().unwrap_err().kind(), ErrorKind::Invalid);
        assert!(!machine.id.is_empty());
    }
}

#[test]
fn what_was_found_is_the_same_from_the_cache_and_changes_with_the_file() {
    let home = Home::new();
    let made = run(home.machine("A"));
    let text = fs::read_to_string(made.machine.path.join("config.plist")).unwrap();
    fs::create_dir(home.machines().join("B.utm")).unwrap();
    fs::write(
        home.machines().join("B.utm/config.plist"),
        text.replace("<string>q35</string>", "<string>nonsense</string>").replace("<string>virt</string>", "<string>nonsense</string>"),
    )
    .unwrap();
    let first = home.library.machines();
    assert!(home.library.places().cache.join("machines.json").is_file());
    assert_eq!(first, home.library.machines());
    // In place, of the same length, and with the old time: only the time of the inode's change tells.
    let file = made.machine.path.join("config.plist");
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    let changed = text.replace("<string>A</string>", "<string>Z</string>");
    assert_ne!(changed, text);
    fs::write(&file, changed).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    assert!(home.library.machines().iter().any(|machine| machine.name == "Z"));
    fs::write(home.library.places().cache.join("machines.json"), "{").unwrap();
    assert_eq!(home.library.machines().len(), 2);
}

#[test]
fn a_bundle_that_went_away_stays_listed_and_comes_back() {
    let home = Home::new();
    let made = run(home.machine("Travelling"));
    let disk = home.elsewhere("disk");
    let moved = run(home.library.move_to(&made.machine, &disk, &library::Job::silent())).unwrap();
    assert!(moved.registered && moved.summary().is_some());
    fs::rename(&disk, home.folder.path().join("gone")).unwrap();
    let listed = home.library.machines().remove(0);
    assert_eq!((listed.name.as_str(), listed.uuid, listed.path.as_path()), ("Travelling", made.machine.uuid, moved.path.as_path()));
    assert!(matches!(listed.condition, Condition::Unavailable { .. }));
    assert_eq!(listed.usable().unwrap_err().kind(), ErrorKind::NotFound);
    fs::rename(home.folder.path().join("gone"), &disk).unwrap();
    assert_eq!(home.library.machines(), vec![moved.clone()]);
    home.library.unregister(&moved).unwrap();
    assert!(home.library.machines().is_empty() && moved.path.is_dir());
}

#[test]
fn a_registered_duplicate_is_reported_not_changed() {
    let home = Home::new();
    let made = run(home.machine("Twin"));
    let outside = home.elsewhere("outside");
    let copy = run(home.library.export(&made.machine, &outside, library::ExportFormat::Folder, false, &library::Job::silent())).unwrap();
    let before = fs::read(copy.join("config.plist")).unwrap();
    let registered = home.library.register(&copy).unwrap();
    assert_eq!(registered.machine.duplicate_of.as_deref(), Some(made.machine.path.as_path()));
    assert!(registered.notes.iter().any(|note| note.contains("UUID")), "{:?}", registered.notes);
    assert_eq!(fs::read(copy.join("config.plist")).unwrap(), before);
    let ambiguous = home.library.find("Twin").unwrap_err();
    assert!(matches!(&ambiguous, FindError::Ambiguous { candidates, .. } if candidates.len() == 2));
    assert_eq!(Error::from(ambiguous).kind(), ErrorKind::Ambiguous);
    assert_eq!(home.library.find(copy.to_str().unwrap()).unwrap().path, copy);
    // Registering again changes nothing.
    home.library.register(&copy).unwrap();
    assert_eq!(home.library.machines().len(), 2);
}

#[test]
fn machines_are_found_by_name_uuid_path_and_beginning() {
    let home = Home::new();
    let debian = run(home.machine("Debian")).machine;
    run(home.machine("Debian 13"));
    let arch = run(home.machine("Arch")).machine;
    let find = |query: &str| home.library.find(query).map(|machine| machine.name);
    assert_eq!(find("Debian").unwrap(), "Debian");
    assert_eq!(find("debian").unwrap(), "Debian");
    assert_eq!(find("Debian 1").unwrap(), "Debian 13");
    assert_eq!(find("ar").unwrap(), "Arch");
    assert!(matches!(find("deb"), Err(FindError::Ambiguous { .. })));
    let uuid = arch.uuid.unwrap().to_string();
    assert_eq!(find(&uuid).unwrap(), "Arch");
    assert_eq!(find(&uuid.to_uppercase()).unwrap(), "Arch");
    assert_eq!(find(&uuid[..10].to_uppercase()).unwrap(), "Arch");
    assert_eq!(find(debian.path.to_str().unwrap()).unwrap(), "Debian");
    let Err(FindError::NotFound { suggestions, .. }) = find("Debain") else { panic!() };
    assert_eq!(suggestions[0], "Debian");
    assert!(matches!(find(""), Err(FindError::NotFound { .. })));
}

#[test]
fn accents_are_the_same_however_they_are_written() {
    let (composed, decomposed) = ("Caf\u{e9} 7", "Cafe\u{301} 7");
    for (made, asked) in [(composed, decomposed), (decomposed, composed)] {
        let home = Home::new();
        let machine = run(home.machine(made)).machine;
        let find = |query: &str| home.library.find(query).map(|found| found.path);
        assert_eq!(find(asked).unwrap(), machine.path);
        assert_eq!(find(&asked.to_lowercase()).unwrap(), machine.path);
        assert_eq!(find(asked.trim_end_matches(" 7")).unwrap(), machine.path);
        // Nobody could tell the two apart.
        let other = run(home.machine("Bar")).machine;
        assert_eq!(home.library.rename(&other, asked).unwrap_err().kind(), ErrorKind::Exists);
    }
}

#[test]
fn a_held_lock_shows_as_busy() {
    let home = Home::new();
    let made = run(home.machine("Held"));
    assert_eq!(made.machine.activity, Activity::Stopped);
    let _lock = bundle::Bundle::lock(&made.machine.path).unwrap();
    assert_eq!(home.library.machines()[0].activity, Activity::Busy);
    let refused = home.library.rename(&made.machine, "Other").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongState);
    assert!(refused.hint().is_some());
}

#[test]
fn a_folder_that_cannot_be_read_is_unavailable() {
    if rustix::process::getuid().is_root() {
        eprintln!("not possible here: root may read everything");
        return;
    }
    let home = Home::new();
    let made = run(home.machine("Closed"));
    fs::set_permissions(&made.machine.path, fs::Permissions::from_mode(0o000)).unwrap();
    let listed = home.library.machines().remove(0);
    fs::set_permissions(&made.machine.path, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(listed.condition, Condition::Unavailable { .. }), "{listed:?}");
}

#[test]
fn ten_thousand_bundles_are_all_listed() {
    let home = Home::in_memory();
    let made = run(home.machine("Original"));
    let text = fs::read_to_string(made.machine.path.join("config.plist")).unwrap();
    let uuid = made.machine.uuid.unwrap().to_string().to_uppercase();
    for number in 0..10_000 {
        let path = home.machines().join(format!("M{number:05}.utm"));
        fs::create_dir(&path).unwrap();
        let text =
            text.replace(">Original<", &format!(">M{number:05}<")).replace(&uuid, &format!("{number:08X}-0000-4000-8000-000000000000"));
        fs::write(path.join("config.plist"), text).unwrap();
    }
    let cold = home.library.machines();
    let started = std::time::Instant::now();
    let warm = home.library.machines();
    eprintln!("10,001 bundles listed in {:?} with a warm cache (unoptimised)", started.elapsed());
    assert_eq!(cold.len(), 10_001);
    assert_eq!(cold, warm);
    assert!(warm.iter().all(|machine| machine.summary().is_some() && machine.duplicate_of.is_none()));
    assert_eq!(warm[4711].name, "M04711");
}
