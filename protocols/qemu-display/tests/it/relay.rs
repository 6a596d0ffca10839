//! Several viewers of one display.

use super::server::{BGRX, MAP, map, memory, objects, relayed, tell, viewer};
use keymap::Key;
use machine::ErrorKind;
use machine::display::{Input, Viewer};
use qemu_display::{ClipboardEvent, Selection};
use std::io::Write;
use std::os::unix::net::UnixStream;
use zbus::Variant;

#[tokio::test]
async fn each_viewer_has_its_own_pictures_and_all_have_the_same_machine() {
    let (mut server, relay) = relayed(objects()).await;
    let (one, other) = (viewer(&relay).await, viewer(&relay).await);
    assert_eq!(one.heads().await.unwrap(), other.heads().await.unwrap());
    let mut first = one.open(0).await.unwrap();
    let its_listener = server.listeners.recv().await.unwrap();
    let mut second = other.open(0).await.unwrap();
    let listener = server.listeners.recv().await.unwrap();
    let file = memory(4096, 1);
    for listener in [&its_listener, &listener] {
        tell(listener, MAP, "ScanoutMap", &map(&file, 0, 32, 32, 128, BGRX)).await.unwrap();
    }
    assert!(first.frames.next().await.unwrap().replaced && second.frames.next().await.unwrap().replaced);
    for (head, name) in [(&first, "a"), (&second, "b")] {
        let key = Key::named(name).unwrap();
        head.control.send(Input::Key { key, down: true }).await.unwrap();
        let (method, message) = server.calls.recv().await.unwrap();
        assert_eq!((method.as_str(), message.body().deserialize::<u32>().unwrap()), ("Press", key.qnum().into()));
    }
    let refused = second.control.send(Input::Position { x: 1, y: 1 }).await.unwrap_err();
    assert_eq!((refused.kind(), refused.to_string().contains("not absolute")), (ErrorKind::Unsupported, true));
    assert!(second.control.takes_positions().await.unwrap());

    // One goes away in the middle, with its key pressed.
    drop((one, first));
    its_listener.closed().await;
    let (method, message) = server.calls.recv().await.unwrap();
    let released = Key::named("a").unwrap().qnum().into();
    assert_eq!((method.as_str(), message.body().deserialize::<u32>().unwrap()), ("Release", released));
    tell(&listener, MAP, "UpdateMap", &(0i32, 0i32, 4i32, 4i32)).await.unwrap();
    assert!(!second.frames.next().await.unwrap().damage.is_empty());
    assert_eq!(other.heads().await.unwrap().len(), 2);

    // Then the machine.
    server.main.clone().close().await.unwrap();
    other.closed().await;
    assert!(relay.is_closed());
}

#[tokio::test]
async fn signals_reach_every_viewer() {
    let (server, relay) = relayed(objects()).await;
    let (one, other) = (viewer(&relay).await, viewer(&relay).await);
    // Both are served by now.
    let (mut first, mut second) = (one.changes(), other.changes());
    assert!(one.heads().await.is_ok() && other.heads().await.is_ok());
    let changed = std::collections::HashMap::from([("IsAbsolute", Variant::from(false))]);
    let body = ("org.qemu.Display1.Mouse", changed, Vec::<&str>::new());
    let properties = "org.freedesktop.DBus.Properties";
    server.main.emit_signal(None::<&str>, "/org/qemu/Display1/Console_2", properties, "PropertiesChanged", &body).await.unwrap();
    first.changed().await.unwrap();
    second.changed().await.unwrap();
}

#[tokio::test]
async fn the_clipboard_belongs_to_who_registered() {
    let (mut server, relay) = relayed(objects()).await;
    let (one, _other) = (viewer(&relay).await, viewer(&relay).await);
    let ask = async || {
        let call = (0u32, vec!["text/plain"]);
        let clipboard = "org.qemu.Display1.Clipboard";
        server.main.call_method(None::<&str>, "/org/qemu/Display1/Clipboard", Some(clipboard), "Request", &call).await
    };
    assert!(ask().await.is_err());
    let mut clipboard = one.clipboard().await.unwrap();
    let owner = async {
        let Some(ClipboardEvent::Request { reply, .. }) = clipboard.next().await else { panic!("no request") };
        reply.send(("text/plain".into(), b"relayed".to_vec())).unwrap();
    };
    let (reply, ()) = tokio::join!(ask(), owner);
    assert_eq!(reply.unwrap().body().deserialize::<(String, Vec<u8>)>().unwrap().1, b"relayed");
    assert_eq!(server.calls.recv().await.unwrap().0, "Register");
    clipboard.release(Selection::Clipboard).await.unwrap();
    assert_eq!(server.calls.recv().await.unwrap().0, "Release");
    // Its owner goes without a word.
    drop((clipboard, one));
    assert_eq!(server.calls.recv().await.unwrap().0, "Unregister");
    assert!(
        server
            .main
            .call_method(None::<&str>, "/org/qemu/Display1/Clipboard", Some("org.qemu.Display1.Clipboard"), "Release", &0u32)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_viewer_that_says_nonsense_is_nothing_to_the_others() {
    let (_server, relay) = relayed(objects()).await;
    let good = viewer(&relay).await;
    let mut kept = Vec::new();
    for said in [&b"\0AUTH EXTERNAL zz\r\n"[..], &[0xff; 4096], b"\0"] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        relay.serve(theirs);
        ours.write_all(said).unwrap();
        kept.push(ours);
    }
    // One calls what there is not.
    let odd = viewer(&relay).await;
    assert!(odd.open(7).await.is_err());
    assert!(good.heads().await.is_ok());
}
