//! Terminals without a display, over a supervisor without a machine: what is said is seen, what is typed is heard.

#[path = "../forms/loops.rs"]
#[allow(dead_code, reason = "the forms use the rest")]
mod loops;
mod supervisor;

use std::path::Path;
use std::rc::Rc;

use desktop::engine::Engine;
use desktop::terminal::TerminalScreen;
use desktop::windows::Windows;
use desktop::{TerminalWindow, Tokens};
use i_slint_backend_testing::AccessibleRole::{Button, ListItem};
use library::{CreateSpec, Job, Machine};
use loops::{find, press, run, says, until};
use slint::platform::{Key, WindowEvent};
use slint::{ComponentHandle as _, Global as _, LogicalSize, Model as _, SharedString};
use supervisor::Supervisor;

async fn machine(engine: &Engine) -> Machine {
    let library = engine.library().clone();
    let spec = CreateSpec { name: Some("Server".into()), ..CreateSpec::default() };
    engine.spawn(async move { library.create(spec, &Job::silent()).await }).await.unwrap().unwrap().machine
}

/// Opens the terminal of the first port.
fn open(windows: &Rc<Windows>, machine: &Path) -> Rc<TerminalScreen> {
    windows.open_port(machine, 0).unwrap();
    let screen = windows.machines().terminal(machine, 0).unwrap();
    screen.window().window().set_size(LogicalSize::new(864.0, 558.0));
    screen.window().window().dispatch_event(WindowEvent::WindowActiveChanged(true));
    screen
}

fn types(window: &TerminalWindow, keys: &[SharedString]) {
    for key in keys {
        window.window().dispatch_event(WindowEvent::KeyPressed { text: key.clone() });
    }
    for key in keys.iter().rev() {
        window.window().dispatch_event(WindowEvent::KeyReleased { text: key.clone() });
    }
}

fn line(window: &TerminalWindow, text: &str) {
    for letter in text.chars() {
        types(window, &[letter.into()]);
    }
    types(window, &[Key::Return.into()]);
}

fn shows(screen: &TerminalScreen, text: &str) -> bool {
    screen.text().iter().any(|row| row.contains(text))
}

#[test]
fn a_guest_is_talked_with_and_comes_back() {
    run(|engine, _folder| async move {
        let machine = machine(&engine).await;
        let guest = Supervisor::start(&engine, &machine);
        let windows = Windows::new(&engine);
        let screen = open(&windows, &machine.path);
        let window = screen.window();
        until("what was said before", || shows(&screen, supervisor::SAID)).await;
        until("nothing is over it", || !window.get_said()).await;
        assert!(window.get_name().starts_with("Server"), "{}", window.get_name());
        assert!(says(window, "Terminal of Server"), "a screen reader finds it");

        line(window, "uname");
        until("the answer", || shows(&screen, "answer to uname")).await;
        types(window, &[Key::UpArrow.into()]);
        until("a key without a letter", || guest.heard().ends_with(b"\x1b[A")).await;
        types(window, &[Key::Control.into(), "c".into()]);
        until("Ctrl and C", || guest.heard().ends_with(b"\x03")).await;

        // The guest's own wishes.
        guest.say(b"\x1b]0;root@guest\x07\x1b[?1h");
        until("the title", || window.get_subject() == "root@guest").await;
        types(window, &[Key::UpArrow.into()]);
        until("another way to say it", || guest.heard().ends_with(b"\x1bOA")).await;

        // It ends, and what it said last stays.
        guest.end();
        until("that it stopped", || window.get_said() && window.get_said_title() == "Stopped").await;
        assert!(find(window, "Start", Button).is_some() && shows(&screen, "answer to uname"));
        let guest = Supervisor::start(&engine, &machine);
        until("the next run", || !window.get_said()).await;
        until("only that", || shows(&screen, supervisor::SAID) && !shows(&screen, "answer to uname")).await;
        line(window, "again");
        until("the next answer", || shows(&screen, "answer to again")).await;

        // Another supervisor takes over, and nothing of it is to be seen.
        guest.succeed();
        until("the connection is another", || !shows(&screen, "answer to again") && shows(&screen, supervisor::SAID)).await;
        line(window, "and again");
        until("its answer", || shows(&screen, "answer to and again")).await;
    });
}

#[test]
fn text_is_copied_pasted_and_scrolled() {
    run(|engine, _folder| async move {
        let machine = machine(&engine).await;
        let guest = Supervisor::start(&engine, &machine);
        let windows = Windows::new(&engine);
        let screen = open(&windows, &machine.path);
        let window = screen.window();
        until("what was said before", || shows(&screen, supervisor::SAID) && !window.get_said()).await;

        // What the window has, it can be given.
        let menu = window.get_view_menu();
        let order = |text: &str| menu.iter().find(|line| line.text == text).unwrap_or_else(|| panic!("no {text:?}")).order;
        window.invoke_ordered(order("Select all"));
        assert!(window.get_can_copy());
        press(window, "Copy", Button).await;
        assert!(window.invoke_get_clipboard().contains(supervisor::SAID));
        window.invoke_put_clipboard("one\ntwo".into());
        press(window, "Paste", Button).await;
        until("it is typed", || guest.heard().ends_with(b"one\rtwo")).await;
        guest.say(b"\x1b[?2004h");
        guest.say(b"ready");
        until("ready", || shows(&screen, "ready")).await;
        types(window, &[Key::Control.into(), Key::Shift.into(), "V".into()]);
        until("it is told from what is typed", || guest.heard().ends_with(b"\x1b[200~one\rtwo\x1b[201~")).await;

        // What a guest would put into the clipboard does not get there.
        guest.say(b"\x1b]52;c;aGVsbG8=\x07seen");
        until("it was read", || shows(&screen, "seen")).await;
        assert_eq!(window.invoke_get_clipboard(), "one\ntwo");

        // More than fits is above.
        for number in 0..200 {
            guest.say(format!("\r\nrow {number}").as_bytes());
        }
        until("the last row", || shows(&screen, "row 199")).await;
        assert!(window.get_seen_part() < 0.5);
        types(window, &[Key::Shift.into(), Key::Home.into()]);
        until("the first", || shows(&screen, supervisor::SAID) && !shows(&screen, "row 199")).await;
        types(window, &["x".into()]);
        until("where is typed", || shows(&screen, "row 199")).await;

        // Another size, other letters, other colours.
        let rows = screen.text().len();
        window.window().set_size(LogicalSize::new(864.0, 300.0));
        until("fewer rows", || screen.text().len() < rows).await;
        let fewer = screen.text().len();
        window.invoke_ordered(order("Larger text"));
        until("larger ones", || screen.text().len() < fewer).await;
        window.invoke_ordered(order("Type the window's size"));
        let told = format!("stty rows {} cols ", screen.text().len());
        until("the guest is told", || String::from_utf8_lossy(&guest.heard()).contains(&told)).await;
        let corner = |window: &TerminalWindow| window.window().take_snapshot().unwrap().as_slice().last().map(|pixel| pixel.r);
        Tokens::get(window).set_appearance("dark".into());
        until("dark", || corner(window).is_some_and(|red| red < 40)).await;
        Tokens::get(window).set_appearance("light".into());
        until("light", || corner(window).is_some_and(|red| red > 220)).await;

        // The keyboard gets out, too.
        types(window, &[Key::Control.into(), Key::Tab.into()]);
        until("the toolbar has the keyboard", || !window.get_has_keys()).await;
        assert!(find(window, "Server", ListItem).is_none());
    });
}
