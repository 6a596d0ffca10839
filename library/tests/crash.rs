//! What is left when a process is killed in the middle, when the disk is full, and what the trash does: in processes of their own.

mod home;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use home::{Home, has_qemu_img, limited_process, names, open, process, run, variable};
use library::{Cancel, CreateSpec, Deletion, DiskFormat, DiskSpec, DriveSpec, ErrorKind, ExportFormat, ImportOptions, Job, Library};

/// Does in a process of its own what `DO` says; without it, nothing.
#[test]
fn in_a_process() {
    let (Some(what), Some(folder)) = (variable("DO"), variable("HOME_FOLDER")) else { return };
    let library = open(&folder);
    let what = what.to_str().unwrap().to_owned();
    let heard = AtomicUsize::new(0);
    let stop = variable("STOP");
    let data = folder.join("machines/Base.utm/Data");
    let job = Job::new(
        move |progress| {
            let there = match stop.as_deref().and_then(Path::to_str) {
                None => false,
                Some("published") => visible(&data).len() > 1,
                // In the middle: something has been written.
                Some(_) => progress.done > 0,
            };
            if there && heard.fetch_add(1, Ordering::SeqCst) == 0 {
                println!("in the middle");
                std::io::stdout().flush().unwrap();
                loop {
                    std::thread::park();
                }
            }
        },
        Cancel::new(),
    );
    let outcome = run(act(&library, &what, &folder, &job));
    println!("outcome: {}", outcome.map_or_else(|error| format!("{:?}: {}", error.kind(), error.chain()), |()| "done".to_owned()));
}

async fn act(library: &Library, what: &str, folder: &Path, job: &Job) -> library::Result<()> {
    let base = || library.find("Base").unwrap();
    let image = DiskSpec { source: Some(folder.join("big.img")), format: Some(DiskFormat::Raw), ..DiskSpec::default() };
    match what {
        "create" => {
            let spec = CreateSpec { name: Some("Made".into()), disks: Some(vec![image]), ..CreateSpec::default() };
            library.create(spec, job).await.map(drop)
        }
        "clone" => library.clone_machine(&base(), None, job).await.map(drop),
        "export" => library.export(&base(), &folder.join("outside"), ExportFormat::Folder, false, job).await.map(drop),
        "zip" => library.export(&base(), &folder.join("outside"), ExportFormat::Zip, false, job).await.map(drop),
        "import" => library.import(&folder.join("packed/Base.utm.zip"), ImportOptions::default(), job).await.map(drop),
        "drive" => library.drive_add(&base(), DriveSpec::Disk(image), job).await.map(drop),
        "convert" => library.drive_convert(&base(), "0", DiskFormat::Qcow2, false, job).await,
        "edit" => library.edit(&base(), |configuration| {
            configuration.information_mut().notes = Some("x".repeat(200_000));
            Ok(())
        }),
        "trash" => library.delete(&base(), Deletion::Trash).await,
        "trash drive" => library.drive_remove(&base(), "0", library::ImageFate::Trash).await,
        other => panic!("{other}"),
    }
}

/// A machine, an archive of it and an image that takes several steps to copy.
fn prepared() -> Home {
    let home = Home::new();
    let machine = run(home.machine("Base")).machine;
    // Large enough that copying it takes more than one step, also where the kernel does it.
    let disk = home.library.drives(&machine).unwrap().remove(0).path.unwrap();
    fs::write(disk, vec![9; 40 << 20]).unwrap();
    run(home.library.export(&machine, &home.elsewhere("packed"), ExportFormat::Zip, false, &Job::silent())).unwrap();
    fs::write(home.folder.path().join("big.img"), vec![3; 40 << 20]).unwrap();
    home.elsewhere("outside");
    home
}

fn visible(folder: &Path) -> Vec<String> {
    names(folder).into_iter().filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn a_killed_process_leaves_nothing_in_sight_and_the_next_clears_up() {
    let home = prepared();
    let outside = home.elsewhere("outside");
    let listed = home.library.machines();
    for what in ["create", "clone", "export", "zip", "import", "drive"] {
        let variables: [(&str, &Path); 3] = [("DO", what.as_ref()), ("HOME_FOLDER", home.folder.path()), ("STOP", "1".as_ref())];
        let mut child = process("in_a_process", &variables);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("in the middle")), "{what} never came to the middle");
        // While its maker lives, nobody clears it away.
        let parts = |folder: &Path| names(folder).into_iter().filter(|name| name.contains(".part-")).count();
        let being_made = parts(&home.machines()) + parts(&outside);
        open(home.folder.path());
        assert_eq!(parts(&home.machines()) + parts(&outside), being_made, "{what}");
        assert_eq!(being_made, usize::from(what != "drive"), "{what}");
        assert_eq!(visible(&home.machines()), ["Base.utm"], "{what}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(visible(&home.machines()), ["Base.utm"], "{what}");
        assert!(visible(&outside).is_empty(), "{what}");
        let again = open(home.folder.path());
        assert_eq!(home.entries(), ["Base.utm"], "{what}");
        assert!(names(&outside).is_empty(), "{what}: {:?}", names(&outside));
        assert_eq!(again.machines(), listed, "{what}");
    }
    // What a drive's making left is not named by any machine; the next change of a drive clears it away.
    let base = home.library.find("Base").unwrap();
    let small = DiskSpec { format: Some(DiskFormat::Raw), ..DiskSpec::of_size(1 << 20) };
    run(home.library.drive_add(&base, DriveSpec::Disk(small), &Job::silent())).unwrap();
    assert_eq!(names(&base.path.join("Data")).len(), 2);
}

#[test]
fn a_conversion_that_is_killed_before_it_is_saved_leaves_no_image_behind() {
    if !has_qemu_img() {
        return;
    }
    let home = prepared();
    let base = home.library.find("Base").unwrap();
    let data = base.path.join("Data");
    let before = home.library.drives(&base).unwrap();
    let variables: [(&str, &Path); 3] = [("DO", "convert".as_ref()), ("HOME_FOLDER", home.folder.path()), ("STOP", "published".as_ref())];
    let mut child = process("in_a_process", &variables);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("in the middle")), "the new image never appeared");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(visible(&data).len(), 2);
    assert_eq!(home.library.drives(&base).unwrap(), before);
    run(home.library.drive_convert(&base, "0", DiskFormat::Qcow2, false, &Job::silent())).unwrap();
    assert_eq!(names(&data).len(), 1);
    assert_eq!(home.library.drives(&base).unwrap()[0].format.as_deref(), Some("qcow2"));
}

fn outcome(mut child: std::process::Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    let at = text.find("outcome: ").unwrap_or_else(|| panic!("{text}"));
    text[at + "outcome: ".len()..].lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    let home = prepared();
    let outside = home.elsewhere("outside");
    let before = fs::read(home.machines().join("Base.utm/config.plist")).unwrap();
    for what in ["create", "clone", "export", "zip", "import", "drive", "edit"] {
        // Packed, the export is small.
        let blocks = if what == "zip" { 40 } else { 200 };
        let variables: [(&str, &Path); 2] = [("DO", what.as_ref()), ("HOME_FOLDER", home.folder.path())];
        let said = outcome(limited_process(blocks, "in_a_process", &variables));
        assert!(said.starts_with(&format!("{:?}", ErrorKind::NoSpace)), "{what}: {said}");
        assert_eq!(home.entries(), ["Base.utm"], "{what}");
        assert!(names(&outside).is_empty(), "{what}");
        assert_eq!(names(&home.machines().join("Base.utm/Data")).len(), 1, "{what}");
        assert_eq!(fs::read(home.machines().join("Base.utm/config.plist")).unwrap(), before, "{what}");
    }
}

#[test]
fn the_trash_takes_machines_and_images_and_gives_them_back() {
    let home = prepared();
    let data = home.elsewhere("data");
    // The trash of one's home takes what is on the same file system.
    let variables = |what: &'static str| -> [(&str, &Path); 4] {
        [("DO", what.as_ref()), ("HOME_FOLDER", home.folder.path()), ("XDG_DATA_HOME", &data), ("HOME", home.folder.path())]
    };
    let before = home.library.find("Base").unwrap();
    let said = outcome(process("in_a_process", &variables("trash drive")));
    assert_eq!(said, "done");
    assert!(home.library.drives(&before).unwrap().is_empty());
    assert_eq!(names(&data.join("Trash/files")).len(), 1);
    assert_eq!(outcome(process("in_a_process", &variables("trash"))), "done");
    assert!(home.library.machines().is_empty());
    fs::rename(data.join("Trash/files/Base.utm"), home.machines().join("Base.utm")).unwrap();
    assert_eq!(home.library.find("Base").unwrap().uuid, before.uuid);
}

#[test]
fn without_a_trash_nothing_is_removed() {
    let home = prepared();
    let file = home.folder.path().join("file");
    fs::write(&file, "").unwrap();
    for what in ["trash", "trash drive"] {
        // No folder can be made below a file.
        let variables: [(&str, &Path); 4] =
            [("DO", what.as_ref()), ("HOME_FOLDER", home.folder.path()), ("XDG_DATA_HOME", &file), ("HOME", &file)];
        let said = outcome(process("in_a_process", &variables));
        assert!(said.starts_with(&format!("{:?}", ErrorKind::Unsupported)), "{what}: {said}");
        let base = home.library.find("Base").unwrap();
        assert_eq!(home.library.drives(&base).unwrap().len(), 1);
        assert!(home.library.drives(&base).unwrap()[0].path.as_ref().unwrap().is_file());
    }
}
