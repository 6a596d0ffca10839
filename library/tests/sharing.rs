//! Shared folders: which ones a guest may get into, and when that can change.

mod home;

use std::path::PathBuf;

use bundle::qemu::DirectoryShareMode;
use bundle::{Architecture, Bundle, Configuration};
use home::{Home, run};
use library::{BackendChoice, CreateSpec, ErrorKind, Job, Machine, ShareChange};

fn machine(home: &Home, spec: CreateSpec) -> Machine {
    let spec = CreateSpec { name: Some("M".to_owned()), disks: Some(Vec::new()), ..spec };
    run(home.library.create(spec, &Job::silent())).unwrap().machine
}

fn linux(home: &Home) -> Machine {
    machine(home, CreateSpec { architecture: Some(Architecture::X86_64), ..CreateSpec::default() })
}

fn folder(path: impl Into<PathBuf>) -> ShareChange {
    ShareChange { folder: Some(Some(path.into())), ..ShareChange::default() }
}

#[test]
fn a_folder_is_shared_and_taken_back() {
    let home = Home::new();
    let machine = linux(&home);
    assert_eq!(home.library.shared_folder(&machine).unwrap().folder, None);
    let outside = home.elsewhere("outside").canonicalize().unwrap();
    let link = home.folder.path().join("link");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let shared = home.library.share(&machine, ShareChange { read_only: Some(true), ..folder(link) }).unwrap();
    assert_eq!((shared.folder.as_ref(), shared.mode, shared.read_only), (Some(&outside), DirectoryShareMode::VirtFs, true));
    // Another folder changes nothing else.
    let other = home.elsewhere("other").canonicalize().unwrap();
    let shared = home.library.share(&machine, folder(&other)).unwrap();
    assert_eq!((shared.folder, shared.read_only), (Some(other), true));
    let none = ShareChange { folder: Some(None), ..ShareChange::default() };
    assert_eq!(home.library.share(&machine, none).unwrap().folder, None);
}

#[test]
fn a_machine_that_shares_in_no_way_gets_one() {
    let home = Home::new();
    let machine = linux(&home);
    let set = |mode| {
        let change = |configuration: &mut Configuration| {
            let Configuration::Qemu(qemu) = configuration else { panic!() };
            qemu.sharing.directory_share_mode = mode;
            Ok(())
        };
        home.library.edit(&machine, change).unwrap();
    };
    set(DirectoryShareMode::None);
    let outside = home.elsewhere("outside");
    assert_eq!(home.library.share(&machine, folder(&outside)).unwrap().mode, DirectoryShareMode::VirtFs);
    set(DirectoryShareMode::WebDav);
    assert_eq!(home.library.share(&machine, folder(&outside)).unwrap().mode, DirectoryShareMode::WebDav);
    let virtfs = ShareChange { mode: Some(DirectoryShareMode::VirtFs), ..ShareChange::default() };
    let shared = home.library.share(&machine, virtfs).unwrap();
    assert!(shared.mode == DirectoryShareMode::VirtFs && shared.folder.is_some());
}

#[test]
fn only_a_folder_over_webdav_changes_while_the_machine_is_in_use() {
    let home = Home::new();
    let machine = linux(&home);
    let outside = home.elsewhere("outside");
    let held = Bundle::lock(&machine.path).unwrap();
    let refused = home.library.share(&machine, folder(&outside)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongState);
    assert_eq!(home.library.shared_folder(&machine).unwrap().folder, None);
    drop(held);
    let webdav = ShareChange { mode: Some(DirectoryShareMode::WebDav), ..ShareChange::default() };
    home.library.share(&machine, webdav).unwrap();
    let _held = Bundle::lock(&machine.path).unwrap();
    assert!(home.library.share(&machine, folder(&outside)).unwrap().folder.is_some());
    let read_only = ShareChange { read_only: Some(true), ..folder(&outside) };
    assert_eq!(home.library.share(&machine, read_only).unwrap_err().kind(), ErrorKind::WrongState);
}

#[test]
fn nothing_is_shared_through_which_a_guest_would_reach_machines() {
    let home = Home::new();
    let machine = linux(&home);
    let places = home.library.places();
    for path in [home.folder.path().to_owned(), places.machines.clone(), machine.path.join("Data"), places.state.clone(), "/".into()] {
        let refused = home.library.share(&machine, folder(&path)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{}", path.display());
        assert!(refused.hint().is_some(), "{}", path.display());
    }
    // A bundle that is registered where it lies, too.
    let elsewhere = home.elsewhere("elsewhere");
    let moved = run(home.library.move_to(&machine, &elsewhere, &Job::silent())).unwrap();
    assert_eq!(home.library.share(&moved, folder(&elsewhere)).unwrap_err().kind(), ErrorKind::Invalid);
    for path in ["/proc/self", "/dev/shm", "/sys"] {
        assert_eq!(home.library.share(&moved, folder(path)).unwrap_err().kind(), ErrorKind::Invalid, "{path}");
    }
    let file = home.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(home.library.share(&moved, folder(file)).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(home.library.share(&moved, folder("/nowhere")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(home.library.shared_folder(&moved).unwrap().folder, None);
}

#[test]
fn machines_without_a_way_to_share_say_so() {
    let home = Home::new();
    let sparc = machine(&home, CreateSpec { architecture: Some(Architecture::Sparc), ..CreateSpec::default() });
    assert_eq!(home.library.shared_folder(&sparc).unwrap_err().kind(), ErrorKind::Unsupported);
    let home = Home::new();
    let apple = machine(&home, CreateSpec { backend: BackendChoice::Native, ..CreateSpec::default() });
    let refused = home.library.share(&apple, folder(home.elsewhere("outside"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}
