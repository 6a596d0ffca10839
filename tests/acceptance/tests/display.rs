//! Displays as a viewer has them: seen, touched, resized, by several at once, whoever dies meanwhile.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use acceptance::guests::Guests;
use acceptance::{Guest, Home, PATIENCE, emulator, eventually};
use machine::display::{Head, Playing, Shown, Size, SizeRequest, SoundEvent, Surface, Update, Viewer};
use qemu_display::Display;

fn socket(guest: &Guest<'_>) -> PathBuf {
    let status = guest.status();
    status["display_socket"].as_str().unwrap_or_else(|| panic!("no display_socket in {status:#}")).into()
}

async fn connect(guest: &Guest<'_>) -> Display {
    Display::connect(UnixStream::connect(socket(guest)).unwrap()).await.unwrap()
}

/// The next update that satisfies, within a test's patience.
async fn until(head: &mut Head, what: &str, satisfies: impl Fn(&Update) -> bool) -> Update {
    let waiting = async {
        loop {
            let update = head.frames.next().await.unwrap_or_else(|| panic!("the display ends before: {what}"));
            if satisfies(&update) {
                return update;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

async fn picture(head: &mut Head) -> Arc<Surface> {
    until(head, "a picture", |update| update.shown.surface().is_some()).await.shown.surface().unwrap().clone()
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn the_menu_of_grub_is_seen_and_keys_move_its_selection() {
    let Some(iso) = Guests::medium("grub_rescue_iso") else { return };
    if emulator("x86_64").is_none() {
        return;
    }
    let iso = iso.display().to_string();
    let home = Home::new();
    let arguments = ["--arch", "x86_64", "--firmware", "bios", "--iso", &iso, "--no-disk", "--network", "none", "--memory", "512MiB"];
    let guest = home.create("Grub", arguments);
    guest.start();
    // A frame around entries, one of which is highlighted: rows that are lit from side to side.
    eventually("GRUB shows its menu", PATIENCE, || (guest.picture().rules(0.9) >= 8).then_some(()));
    run(async {
        let display = connect(&guest).await;
        let mut head = display.open(0).await.unwrap();
        let surface = picture(&mut head).await;
        if !surface.is_shared() {
            acceptance::not_possible_here("the installed QEMU shares no memory with viewers: pictures come as bytes");
        }
        head.control.refreshed().await.unwrap();

        // Nothing moves while it is paused: what a viewer sees, what it photographs and what QEMU photographs is one picture.
        guest.viv("pause", &[]);
        let rgb = surface.to_rgb().unwrap();
        let api = guest.home.runtime().join(socket(&guest).parent().unwrap().file_name().unwrap()).join("api.sock");
        let file = home.path().join("qemu.png");
        std::fs::write(&file, supervisor_api::Client::new(api).screenshot(0).await.unwrap()).unwrap();
        let of_qemu = acceptance::Picture::read(&file);
        assert_eq!(of_qemu.rgb(), rgb);
        assert_eq!(guest.picture(), of_qemu);
        guest.viv("resume", &[]);

        // Which part of the screen changes is said, and nothing else changes.
        while head.frames.take().is_some() {}
        let before = surface.to_rgb().unwrap();
        guest.viv("key", &["down"]);
        let size = surface.size();
        let mut damage = vec![false; size.width as usize * size.height as usize];
        let moved = loop {
            let update = until(&mut head, "the selection moves", |update| !update.damage.is_empty()).await;
            for rect in update.damage.rects() {
                for row in rect.y..rect.bottom() {
                    let start = row as usize * size.width as usize;
                    damage[start + rect.x as usize..start + rect.right() as usize].fill(true);
                }
            }
            let after = update.shown.surface().unwrap().to_rgb().unwrap();
            let changed: Vec<usize> = (0..damage.len()).filter(|at| before[at * 3..at * 3 + 3] != after[at * 3..at * 3 + 3]).collect();
            // Two highlighted rows of text.
            if changed.len() > 2000 && changed.iter().all(|at| damage[*at]) {
                break changed.len();
            }
        };
        assert!(moved < damage.len() / 2, "the whole screen changed: {moved} pixels");
    });
    assert_eq!(home.refused(&["key", "Grub", "ctrl-nonsense"], 2)["kind"], "usage");
    assert_eq!(home.refused(&["key", "Grub", "a", "--display", "7"], 3)["kind"], "not_found");
    assert_eq!(home.refused(&["type", "Grub", "naïve"], 2)["kind"], "usage");
    guest.viv("stop", &["--kill"]);
    assert_eq!(home.refused(&["key", "Grub", "a"], 4)["kind"], "wrong_state");
}

#[test]
fn several_viewers_two_heads_and_whoever_dies_meanwhile() {
    let Some(about) = Guests::find("x86_64") else { return };
    let home = Home::new();
    let guest = home.create("Guest", about.arguments("q35", ""));
    home.ok(&["config", "set", "Guest", "Display[0].Hardware", "virtio-vga", "Display[+].Hardware", "virtio-gpu-pci"]);
    guest.start();
    guest.up();
    run(async {
        let (one, other) = (connect(&guest).await, connect(&guest).await);
        let heads = one.heads().await.unwrap();
        assert_eq!((heads.len(), &heads), (2, &other.heads().await.unwrap()));
        let (mut first, mut second) = (one.open(0).await.unwrap(), other.open(0).await.unwrap());
        let mut elsewhere = other.open(1).await.unwrap();
        let (picture_of_first, _, _) = (picture(&mut first).await, picture(&mut second).await, picture(&mut elsewhere).await);
        assert!(picture_of_first.to_rgb().unwrap().iter().any(|part| *part > 32), "the console of the guest is on its first head");

        // The guest makes its screen as large as is asked for, where that fits into what it began with.
        let size = Size::new(800, 600).unwrap();
        assert_ne!(picture_of_first.size(), size);
        first.control.request_size(SizeRequest::pixels(size)).await.unwrap();
        let is_so_large = |update: &Update| update.replaced && update.shown.surface().is_some_and(|surface| surface.size() == size);
        until(&mut first, "the first viewer sees the new size", is_so_large).await;
        until(&mut second, "so does the second", is_so_large).await;

        // The terminal on the screen echoes what is typed while somebody has it open.
        guest.run("cat </dev/tty1 >/dev/null & true");
        // One viewer is killed in the middle of what it does, another goes without having greeted.
        let mut typing = home.command(["type", "Guest", &"x".repeat(5000)]).spawn().unwrap();
        until(&mut second, "what is typed appears", |update| !update.damage.is_empty()).await;
        typing.kill().unwrap();
        typing.wait().unwrap();
        drop(UnixStream::connect(socket(&guest)).unwrap());
        drop((first, one));
        assert!(guest.picture().lit() > 0);
        assert_eq!(other.heads().await.unwrap().len(), 2);

        // The supervisor dies: pictures come all the same, and the next one serves viewers again.
        let supervisor = rustix::process::Pid::from_raw(i32::try_from(guest.pid("supervisor_pid")).unwrap()).unwrap();
        rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
        other.closed().await;
        guest.run("echo over and over >/dev/tty1");
        until(&mut second, "the guest writes to its screen", |update| !update.damage.is_empty()).await;
        let again = connect(&guest).await;
        let mut head = again.open(0).await.unwrap();
        picture(&mut head).await;

        // QEMU ends, and another begins.
        guest.viv("stop", &["--force"]);
        while head.frames.next().await.is_some() {}
        again.closed().await;
        guest.start();
        let fresh = connect(&guest).await;
        let mut head = fresh.open(0).await.unwrap();
        assert!(!matches!(until(&mut head, "a picture", |_| true).await.shown, Shown::Unreadable(_)));
    });
    // The mouse reaches the guest, at the place that was meant: of 32767 parts of the screen, so many.
    guest.up();
    guest.run(
        "tablet=$(grep -l Tablet /sys/class/input/event*/device/name | cut -d/ -f5); \
         (dd if=/dev/input/$tablet of=/tmp/tablet bs=24 count=64 2>/dev/null &) ; test -n \"$tablet\"",
    );
    assert_eq!(home.refused(&["click", "Guest", "5000", "5000"], 3)["kind"], "not_found");
    let width = guest.picture().width;
    guest.viv("click", &[&(width / 2).to_string(), "0", "--button", "right"]);
    // Each event has eight numbers of 16 bits for the time, then its type, its code and its value.
    let felt = eventually("the guest has felt the mouse", PATIENCE, || {
        let text = guest.run("hexdump -v -e '12/2 \"%u \" \"\\n\"' /tmp/tablet");
        let numbers = |line: &str| -> Vec<u32> { line.split_whitespace().skip(8).filter_map(|number| number.parse().ok()).collect() };
        let events: Vec<Vec<u32>> = text.lines().map(numbers).collect();
        // The right button is the key 273.
        events.iter().any(|event| event.starts_with(&[1, 273, 1])).then_some(events)
    });
    let x = felt.iter().find(|event| event.starts_with(&[3, 0])).map(|event| event[2]);
    assert!(x.is_some_and(|x| x.abs_diff(32767 / 2) < 100), "{felt:?}");

    // The keyboard too: it switches itself off.
    guest.viv("key", &["ctrl-alt-delete"]);
    assert_eq!(guest.ending()["reason"], "guest_shutdown");
}

/// Waits until something other than silence is heard.
async fn is_a_tone(sound: &mut Playing) {
    let heard = async {
        let mut format = None;
        loop {
            match sound.next().await.expect("the sound goes on") {
                SoundEvent::Begins(_, init) => format = Some(init),
                SoundEvent::Data(_, data) if data.iter().any(|byte| *byte != data[0]) => return format,
                _ => {}
            }
        }
    };
    let format = tokio::time::timeout(PATIENCE, heard).await.expect("a tone").expect("a format before the sound");
    assert!(format.frequency >= 8000 && format.channels > 0, "{format:?}");
}

#[test]
fn what_a_guest_plays_is_heard_by_one_viewer_after_the_other() {
    let Some(about) = Guests::find("x86_64") else { return };
    let home = Home::new();
    let guest = home.create("Guest", about.arguments("q35", ""));
    home.ok(&["config", "set", "Guest", "Sound[0].Hardware", "pcspk"]);
    guest.start();
    guest.up();
    run(async {
        let display = connect(&guest).await;
        let mut sound = display.play().await.unwrap();
        // The PC's speaker follows the third timer: a square wave of 1000 Hz, switched on by the two lowest bits of port 97.
        guest.run(
            "port() { printf \"$2\" | dd of=/dev/port bs=1 seek=$1 conv=notrunc 2>/dev/null; }; \
             port 67 '\\266' && port 66 '\\251' && port 66 '\\004' && port 97 '\\003'",
        );
        is_a_tone(&mut sound).await;
        // QEMU plays for one at a time.
        let other = connect(&guest).await;
        assert!(matches!(other.play().await, Err(qemu_display::Error::Refused { .. })));
        drop((sound, display));
        let begun = async {
            loop {
                match other.play().await {
                    Ok(sound) => return sound,
                    // It learns in its own time that the first has gone.
                    Err(qemu_display::Error::Refused { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let mut sound = tokio::time::timeout(PATIENCE, begun).await.expect("the second viewer's turn");
        is_a_tone(&mut sound).await;
    });
    guest.viv("stop", &["--force"]);
}
