//! What a stranger could have put into a folder.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use beneath::{Access, FileError, Folder};
use tempfile::TempDir;

struct Place {
    _outer: TempDir,
    path: PathBuf,
    folder: Folder,
}

/// A folder beside a file that must stay as it is.
fn place() -> Place {
    let outer = tempfile::tempdir().unwrap();
    fs::write(outer.path().join("precious"), "precious").unwrap();
    let path = outer.path().join("a.utm");
    fs::create_dir_all(path.join("Data")).unwrap();
    let folder = Folder::open(&path).unwrap();
    Place { _outer: outer, path, folder }
}

fn text(mut file: fs::File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn only_what_lies_inside_is_opened() {
    let place = place();
    let data = place.path.join("Data");
    fs::write(data.join("disk"), "disk").unwrap();
    symlink("disk", data.join("inside")).unwrap();
    symlink("../../precious", data.join("outside")).unwrap();
    symlink(place.path.join("Data/disk"), data.join("absolute")).unwrap();
    symlink("nothing", data.join("dangling")).unwrap();
    symlink("../..", data.join("up")).unwrap();
    fs::create_dir(data.join("folder")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, data.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let open = |name: &str| place.folder.file(&Path::new("Data").join(name), Access::ReadWrite);
    assert_eq!(text(open("disk").unwrap()), "disk");
    assert_eq!(text(open("inside").unwrap()), "disk");
    for name in ["outside", "absolute", "up/precious", "../../precious"] {
        assert!(matches!(open(name), Err(FileError::Escapes(_))), "{name}");
    }
    assert!(matches!(open("dangling"), Err(FileError::Dangling(_))));
    assert!(matches!(open("folder"), Err(FileError::NotAFile(_))));
    // It would wait for a writer if it were opened.
    assert!(matches!(open("pipe"), Err(FileError::NotAFile(_))));
    assert!(open("missing").unwrap_err().is_not_found());
    assert!(place.folder.has_file(Path::new("Data/inside")).unwrap());
    assert!(!place.folder.has_file(Path::new("Data/missing")).unwrap());
}

#[test]
fn it_stays_the_same_folder_and_the_same_file_whatever_happens_to_their_names() {
    let place = place();
    fs::write(place.path.join("Data/disk"), "disk").unwrap();
    let file = place.folder.file(Path::new("Data/disk"), Access::Read).unwrap();
    // Somebody puts a link in place of the file, and one in place of the folder.
    fs::remove_file(place.path.join("Data/disk")).unwrap();
    symlink("../../precious", place.path.join("Data/disk")).unwrap();
    fs::rename(&place.path, place.path.with_extension("moved")).unwrap();
    symlink("/", &place.path).unwrap();
    let mut again = beneath::reopen(&file, Access::ReadWrite).unwrap();
    again.write_all(b"mine").unwrap();
    assert_eq!(text(file), "mine");
    assert!(matches!(place.folder.file(Path::new("Data/disk"), Access::Read), Err(FileError::Escapes(_))));
}

#[test]
fn a_file_is_made_whole_and_never_in_place_of_another() {
    let place = place();
    let data = place.folder.folder("Data").unwrap();
    let mut made = data.create("variables", |file| file.write_all(b"variables")).unwrap();
    made.write_all(b"!").unwrap();
    assert_eq!(fs::read(place.path.join("Data/variables")).unwrap(), b"variables!");
    assert_eq!(made.metadata().unwrap().nlink(), 1);
    symlink("../../precious", place.path.join("Data/link")).unwrap();
    symlink("../../egg", place.path.join("Data/dangling")).unwrap();
    for name in ["variables", "link", "dangling"] {
        let refused = data.create(name, |file| file.write_all(b"other")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists, "{name}");
    }
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    assert_eq!(data.create("new", |_| Err(full())).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read_dir(place.path.join("Data")).unwrap().count(), 3, "nothing unfinished is left");
    let outside = place.path.parent().unwrap();
    assert!(!outside.join("egg").exists());
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
}

#[test]
fn a_folder_is_made_but_not_behind_a_link() {
    let place = place();
    fs::remove_dir(place.path.join("Data")).unwrap();
    place.folder.folder("Data").unwrap().create("a", |_| Ok(())).unwrap();
    assert!(place.path.join("Data/a").is_file());
    fs::remove_dir_all(place.path.join("Data")).unwrap();
    symlink("..", place.path.join("Data")).unwrap();
    assert!(matches!(place.folder.folder("Data"), Err(FileError::Escapes(_))));
}

#[test]
fn what_is_replaced_is_the_name_and_not_what_it_leads_to() {
    let place = place();
    let (inside, folder) = (&place.path, &place.folder);
    let before = fs::read_dir(inside).unwrap().count();
    symlink("../precious", inside.join("log")).unwrap();
    assert!(folder.replace("log", |_| Err(io::Error::other("full"))).is_err());
    assert!(inside.join("log").is_symlink());
    for text in ["first", "second"] {
        folder.replace("log", |file| file.write_all(text.as_bytes())).unwrap();
        assert_eq!(fs::read_to_string(inside.join("log")).unwrap(), text);
    }
    fs::create_dir(inside.join("folder")).unwrap();
    assert!(folder.replace("folder", |_| Ok(())).is_err());
    assert_eq!(fs::read_dir(inside).unwrap().count(), before + 2);
    assert_eq!(fs::read_to_string(inside.join("../precious")).unwrap(), "precious");
}
