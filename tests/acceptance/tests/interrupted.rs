//! `viv` ends in the middle of what takes long: killed, or for want of room. Nothing that is half made is ever seen, nothing of what it was
//! made from is lost, and the next command clears up and works.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use acceptance::{Home, Mount, PATIENCE, Ran, emulator, eventually, lives, qemu_img};
use rustix::process::{Pid, Signal, kill_process};

/// Large enough that copying it takes a while, small enough that packing it does not take long.
const DISK: u64 = 16 << 20;

/// A moment in the making of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// What is made has a place, hidden.
    Begun,
    /// A part of its data is written.
    Writing,
    /// Its disk is complete, and not all else.
    DiskWritten,
    /// It has its name.
    Named,
}

/// What the names in a folder are, in two heaps: to be seen, and hidden.
fn names(folder: &Path) -> (Vec<String>, Vec<String>) {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (mut hidden, mut seen): (Vec<_>, Vec<_>) = all.partition(|name| name.starts_with('.'));
    hidden.retain(|name| name != ".state");
    seen.sort();
    (seen, hidden)
}

/// Every file below a folder, or a file itself, with the bytes that it takes on disk.
fn files(path: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(data) = fs::symlink_metadata(path) else { return Vec::new() };
    if !data.is_dir() {
        return vec![(path.to_owned(), data.blocks() * 512)];
    }
    fs::read_dir(path).into_iter().flatten().flatten().flat_map(|entry| files(&entry.path())).collect()
}

/// All that a folder holds, to see whether it is still the same.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(folder).into_iter().map(|(path, _)| (path.clone(), fs::read(path).unwrap())).collect()
}

/// What takes long.
struct Work<'h> {
    home: &'h Home,
    arguments: Vec<String>,
    /// Where the result appears, in a folder of its own or among the machines.
    result: PathBuf,
}

impl<'h> Work<'h> {
    fn new(home: &'h Home, arguments: &[&str], result: PathBuf) -> Self {
        Self { home, arguments: ["--json"].iter().chain(arguments).map(|&word| word.to_owned()).collect(), result }
    }

    fn folder(&self) -> &Path {
        self.result.parent().unwrap()
    }

    fn has_come(&self, moment: Moment) -> bool {
        if moment == Moment::Named {
            return self.result.symlink_metadata().is_ok();
        }
        let (_, hidden) = names(self.folder());
        hidden.iter().map(|name| self.folder().join(name)).any(|part| match moment {
            Moment::Begun => true,
            // The configuration is the last that is written.
            Moment::Writing => files(&part).iter().any(|(_, bytes)| *bytes >= 1 << 20) && !part.join("config.plist").exists(),
            _ => files(&part.join("Data")).iter().any(|(file, _)| file.parent() == Some(&part.join("Data"))),
        })
    }

    /// Starts it and stops it at the moment, where it stays. It may be too quick to be caught: then it has done its work, which is undone.
    fn caught(&self, moment: Moment) -> Caught {
        for _ in 0..100 {
            let mut child = self.home.command(&self.arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let ended = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                if self.has_come(moment) {
                    break None;
                }
                std::thread::yield_now();
            };
            if ended.is_none() {
                let caught = Caught::new(child);
                let passed = moment != Moment::Named && self.has_come(Moment::Named);
                if caught.is_stopped() && self.has_come(moment) && !passed {
                    return caught;
                }
                child = caught.goes_on();
            }
            let ran: Ran = child.wait_with_output().unwrap().into();
            assert_eq!(ran.code, 0, "{:?}: {ran:?}", self.arguments);
            self.undo();
        }
        panic!("{:?} was never caught at {moment:?}", self.arguments);
    }

    /// Takes the result away.
    fn undo(&self) {
        if self.result.is_dir() { fs::remove_dir_all(&self.result).unwrap() } else { fs::remove_file(&self.result).unwrap() }
    }
}

/// A `viv` that was stopped with all that it has started.
struct Caught {
    child: Child,
    /// What it has started.
    helpers: Vec<u32>,
}

impl Caught {
    fn new(child: Child) -> Self {
        let mut caught = Self { child, helpers: Vec::new() };
        stop(caught.child.id());
        while let Some(helper) = caught.unknown_helper() {
            stop(helper);
            caught.helpers.push(helper);
        }
        caught
    }

    /// A child of it or of its helpers.
    fn unknown_helper(&self) -> Option<u32> {
        let mut processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        processes.find(|process| {
            let parent = stat(&format!("/proc/{process}/stat")).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
            let ours = |process: &u32| *process == self.child.id() || self.helpers.contains(process);
            parent.as_ref().is_some_and(ours) && !self.helpers.contains(process)
        })
    }

    /// Whether it was stopped before it came to its end.
    fn is_stopped(&self) -> bool {
        threads(self.child.id()).contains(&"T".to_owned())
    }

    fn goes_on(self) -> Child {
        self.helpers.iter().for_each(|helper| signal(*helper, Signal::CONT));
        signal(self.child.id(), Signal::CONT);
        self.child
    }

    /// Kills it, which takes what writes for it along; what only looks at something for it may come to its end.
    fn kill(mut self) {
        let writers = self.helpers.iter().filter(|helper| comm(**helper) == "qemu-img").copied().collect::<Vec<_>>();
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
        eventually("nobody writes for what was killed", PATIENCE, || (!writers.iter().any(|writer| lives(*writer))).then_some(()));
        self.helpers.iter().for_each(|helper| signal(*helper, Signal::CONT));
        eventually("nobody works for what was killed", PATIENCE, || (!self.helpers.iter().any(|helper| lives(*helper))).then_some(()));
    }
}

fn comm(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned()
}

/// The fields of a `stat` of proc(5) from the state on.
fn stat(path: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// The states of a process's threads.
fn threads(process: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| stat(thread.path().join("stat").to_str()?)?.into_iter().next()).collect()
}

/// Signals a process, which may be gone by now.
fn signal(process: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), signal);
}

/// Stops a process and waits until none of its threads does anything.
fn stop(process: u32) {
    signal(process, Signal::STOP);
    let still = || threads(process).iter().all(|state| ["T", "Z", "X"].contains(&state.as_str()));
    eventually("it stands still", PATIENCE, || still().then_some(()));
}

/// A machine, what it was made from, and it exported.
struct Things {
    image: PathBuf,
    packed: PathBuf,
    outside: PathBuf,
}

impl Things {
    fn new(home: &Home) -> Self {
        let [packed, outside] = ["packed", "outside"].map(|name| home.path().join(name));
        let things = Self { image: home.path().join("disk.img"), packed, outside };
        let mut noise = fs::File::open("/dev/urandom").unwrap().take(DISK);
        io::copy(&mut noise, &mut fs::File::create(&things.image).unwrap()).unwrap();
        home.create("Base", ["--arch", "x86_64", "--firmware", "bios", "--network", "none", "--disk", things.image.to_str().unwrap()]);
        fs::create_dir(&things.packed).unwrap();
        fs::create_dir_all(&things.outside).unwrap();
        let packed = things.packed.to_str().unwrap();
        home.ok(&["export", "Base", packed]);
        home.ok(&["export", "Base", packed, "--zip"]);
        things
    }

    /// Everything that is copied, and the moments at which it can be caught.
    fn works<'h>(&self, home: &'h Home) -> Vec<(Work<'h>, &'static [Moment])> {
        const MACHINE: [&str; 4] = ["--arch", "x86_64", "--network", "none"];
        const ALL: &[Moment] = &[Moment::Begun, Moment::Writing, Moment::DiskWritten, Moment::Named];
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let (image, outside) = (path(&self.image), path(&self.outside));
        let (folder, zip) = (path(&self.packed.join("Base.utm")), path(&self.packed.join("Base.utm.zip")));
        let made = |arguments: &[&str]| Work::new(home, arguments, home.bundle("Made"));
        vec![
            (made(&[&["create", "Made", "--disk", &image][..], &MACHINE].concat()), ALL),
            (made(&["clone", "Base", "Made"]), ALL),
            (made(&["import", &folder, "--name", "Made"]), ALL),
            // Packing takes long: not to the end again and again.
            (made(&["import", &zip, "--name", "Made"]), &ALL[..2]),
            (made(&[&["import", &image, "--name", "Made"][..], &MACHINE].concat()), ALL),
            (Work::new(home, &["export", "Base", &outside], self.outside.join("Base.utm")), ALL),
            (Work::new(home, &["export", "Base", &outside, "--zip"], self.outside.join("Base.utm.zip")), &ALL[..2]),
        ]
    }

    /// All that is copied from, to see whether it is still the same.
    fn content(&self, home: &Home) -> BTreeMap<PathBuf, Vec<u8>> {
        [&home.bundle("Base"), &self.packed, &self.image].into_iter().flat_map(|path| content(path)).collect()
    }

    /// What was made has all that it was made of.
    fn check(&self, home: &Home, result: &Path) {
        if result == home.bundle("Made") {
            return self.is_whole(home, "Made");
        }
        home.ok(&["import", result.to_str().unwrap(), "--name", "Again"]);
        self.is_whole(home, "Again");
        fs::remove_dir_all(home.bundle("Again")).unwrap();
    }

    fn is_whole(&self, home: &Home, name: &str) {
        home.ok(&["inspect", name]);
        qemu_img(&["compare", self.image.to_str().unwrap(), home.image(name).to_str().unwrap()]);
    }
}

/// Kills `viv` at a moment, and looks at what is left before and after the next command.
fn killed(home: &Home, work: &Work<'_>, moment: Moment) {
    let after = format!("after {:?} was killed at {moment:?}", work.arguments);
    work.caught(moment).kill();
    assert_eq!(work.result.exists(), moment == Moment::Named, "{after}");

    let list = home.json(&["list"]);
    let listed: Vec<_> = list.as_array().unwrap().iter().map(|machine| machine["name"].as_str().unwrap()).collect();
    let expected: &[&str] = if home.bundle("Made").exists() { &["Base", "Made"] } else { &["Base"] };
    assert_eq!(listed, expected, "{after}");
    for folder in [&home.machines(), work.folder()] {
        assert!(names(folder).1.is_empty(), "{after}: {:?}", names(folder));
    }
}

#[test]
fn a_killed_viv_leaves_nothing_half_made() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    let things = Things::new(&home);
    let before = things.content(&home);
    for (work, moments) in things.works(&home) {
        for moment in moments {
            killed(&home, &work, *moment);
            if *moment == Moment::Named {
                things.check(&home, &work.result);
                work.undo();
            }
        }
        assert!(things.content(&home) == before, "what {:?} copies has changed", work.arguments);
        home.ok(&work.arguments.iter().map(String::as_str).collect::<Vec<_>>());
        things.check(&home, &work.result);
        work.undo();
    }
    let empty = Work::new(&home, &["create", "Made", "--arch", "x86_64", "--disk", "64GiB"], home.bundle("Made"));
    for moment in [Moment::Begun, Moment::DiskWritten] {
        killed(&home, &empty, moment);
    }
}

#[test]
fn a_disk_that_fills_up_meanwhile_leaves_nothing_half_made() {
    if emulator("x86_64").is_none() {
        return;
    }
    let home = Home::new();
    // An archive is unpacked only where it leaves 256 MiB.
    let Some(_machines) = Mount::tmpfs(&home.machines(), "400m") else { return };
    let Some(_outside) = Mount::tmpfs(&home.path().join("outside"), "100m") else { return };
    let things = Things::new(&home);
    let before = things.content(&home);
    for (work, _) in things.works(&home) {
        let what = format!("{:?}", work.arguments);
        let caught = work.caught(Moment::Writing);
        let there = names(work.folder()).0;
        let filler = work.folder().join(".filler");
        let full = io::copy(&mut io::repeat(1), &mut fs::File::create(&filler).unwrap()).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let ran: Ran = caught.goes_on().wait_with_output().unwrap().into();
        assert_eq!(ran.code, 1, "{what}: {ran:?}");
        let failure = ran.failure();
        assert_eq!(failure["kind"], "no_space", "{what}: {failure:#}");
        assert!(failure["message"].as_str().is_some_and(|message| message.contains('/')) && failure["hint"].is_string(), "{failure:#}");
        // It has cleared up itself: nothing but what fills the disk is hidden there.
        assert_eq!(names(work.folder()), (there, vec![".filler".to_owned()]), "{what}");
        fs::remove_file(filler).unwrap();
        assert!(things.content(&home) == before, "what {what} copies has changed");
        home.ok(&work.arguments.iter().map(String::as_str).collect::<Vec<_>>());
        things.check(&home, &work.result);
        work.undo();
    }
}
