//! What a client sees of a display that behaves.

use super::server::{BGRX, LISTENER, MAP, map, memory, objects, serve, tell};
use keymap::Key;
use machine::ErrorKind;
use machine::display::{Button, Input, Recorder, Rect, Shown, Size, SizeRequest, SoundEvent, Viewer};
use qemu_display::{ClipboardEvent, Selection};
use std::io::{Read, Write};
use zbus::Variant;

#[tokio::test]
async fn heads_are_the_graphic_consoles_in_their_order() {
    let (_server, display) = serve(objects()).await;
    let heads = display.heads().await.unwrap();
    let found: Vec<(usize, &str, u32)> = heads.iter().map(|head| (head.index, head.label.as_str(), head.head)).collect();
    assert_eq!(found, [(0, "first", 0), (1, "second", 1)]);
    assert_eq!((heads[0].size, heads[0].device.as_str()), (Size::new(640, 480), "pci/0000/02.0"));
    assert_eq!(display.consoles().await.unwrap().len(), 3);
    assert_eq!(display.open(2).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn shared_pictures_are_seen_and_their_changes_too() {
    let (mut server, display) = serve(objects()).await;
    let mut head = display.open(1).await.unwrap();
    assert_eq!(head.info.label, "second");
    let listener = server.listeners.recv().await.unwrap();
    let reply = tell(&listener, "org.freedesktop.DBus.Properties", "GetAll", &LISTENER).await.unwrap();
    let properties: std::collections::HashMap<String, zbus::OwnedVariant> = reply.body().deserialize().unwrap();
    assert_eq!(Vec::<String>::try_from(properties["Interfaces"].clone()).unwrap(), [MAP]);

    // A window into something larger.
    let file = memory(4096 + 64 * 100, 5);
    tell(&listener, MAP, "ScanoutMap", &map(&file, 4096, 10, 100, 64, BGRX)).await.unwrap();
    let update = head.frames.next().await.unwrap();
    let surface = update.shown.surface().unwrap().clone();
    assert!(update.replaced && surface.is_shared() && surface.size() == Size::new(10, 100).unwrap());
    assert_eq!(surface.to_rgb().unwrap(), vec![5; 3000]);

    std::os::unix::fs::FileExt::write_all_at(&file, &[9; 4], 4096 + 64 * 2 + 4).unwrap();
    tell(&listener, MAP, "UpdateMap", &(1i32, 2i32, 1i32, 1i32)).await.unwrap();
    let update = head.frames.next().await.unwrap();
    assert_eq!((update.replaced, update.damage.rects()), (false, &[Rect { x: 1, y: 2, width: 1, height: 1 }][..]));
    let mut pixel = [0; 4];
    surface.read(update.damage.rects()[0], &mut pixel, 4).unwrap();
    assert_eq!(pixel, [9; 4]);

    tell(&listener, LISTENER, "Disable", &()).await.unwrap();
    assert!(matches!(head.frames.next().await.unwrap().shown, Shown::Off));
    drop(listener);
    assert!(head.frames.next().await.is_none(), "the end is told");
}

#[tokio::test]
async fn pictures_in_bytes_pointers_and_their_places() {
    let (mut server, display) = serve(objects()).await;
    let mut head = display.open(0).await.unwrap();
    let listener = server.listeners.recv().await.unwrap();
    let pixels = |value: u8, count: usize| vec![value; count * 4];
    tell(&listener, LISTENER, "Scanout", &(4u32, 4u32, 16u32, BGRX, pixels(1, 16))).await.unwrap();
    tell(&listener, LISTENER, "Update", &(3i32, 3i32, 2i32, 2i32, 8u32, BGRX, pixels(2, 4))).await.unwrap();
    tell(&listener, LISTENER, "MouseSet", &(5i32, 6i32, 1i32)).await.unwrap();
    tell(&listener, LISTENER, "CursorDefine", &(2i32, 2i32, 1i32, 0i32, pixels(3, 4))).await.unwrap();
    let update = head.frames.next().await.unwrap();
    let rgb = update.shown.surface().unwrap().to_rgb().unwrap();
    assert_eq!((rgb[0], rgb[3 * 15]), (1, 2));
    assert_eq!(update.pointer.map(|pointer| (pointer.x, pointer.y, pointer.visible)), Some((5, 6, true)));
    assert_eq!(update.cursor.unwrap().bgra, pixels(3, 4));
}

#[tokio::test]
async fn input_and_sizes_go_back() {
    let (mut server, display) = serve(objects()).await;
    let head = display.open(0).await.unwrap();
    let key = Key::named("delete").unwrap();
    head.control.send(Input::Key { key, down: true }).await.unwrap();
    head.control.send(Input::Button { button: Button::Right, down: false }).await.unwrap();
    head.control.send(Input::Motion { x: -3, y: 4 }).await.unwrap();
    head.control.request_size(SizeRequest::pixels(Size::new(800, 600).unwrap())).await.unwrap();
    let mut next = async || server.calls.recv().await.unwrap();
    let (method, message) = next().await;
    assert_eq!((method.as_str(), message.body().deserialize::<u32>().unwrap()), ("Press", 0xd3));
    assert_eq!(message.header().path().unwrap().as_str(), "/org/qemu/Display1/Console_2");
    let (method, message) = next().await;
    assert_eq!((method.as_str(), message.body().deserialize::<u32>().unwrap()), ("Release", 2));
    assert_eq!(next().await.1.body().deserialize::<(i32, i32)>().unwrap(), (-3, 4));
    let (method, message) = next().await;
    let size: (u16, u16, i32, i32, u32, u32) = message.body().deserialize().unwrap();
    assert_eq!((method.as_str(), size), ("SetUIInfo", (0, 0, 0, 0, 800, 600)));
    assert!(head.control.takes_positions().await.unwrap());
    assert!(head.control.leds().await.unwrap().caps);
    let refused = head.control.send(Input::Position { x: 1, y: 1 }).await.unwrap_err();
    assert_eq!((refused.kind(), refused.to_string().contains("not absolute")), (ErrorKind::Unsupported, true));
}

#[tokio::test]
async fn sound_goes_both_ways() {
    struct Sine(tokio::sync::mpsc::UnboundedSender<SoundEvent>);
    impl Recorder for Sine {
        fn event(&mut self, event: SoundEvent) {
            self.0.send(event).unwrap();
        }
        fn read(&mut self, _: u64, size: usize) -> Vec<u8> {
            vec![1; size.min(10)]
        }
    }
    const OUT: &str = "org.qemu.Display1.AudioOutListener";
    let (mut server, display) = serve(objects()).await;
    let mut out = display.play().await.unwrap();
    let listener = server.listeners.recv().await.unwrap();
    let init = (1u64, 16u8, true, false, 44_100u32, 2u8, 4u32, 176_400u32, false);
    tell(&listener, OUT, "Init", &init).await.unwrap();
    tell(&listener, OUT, "Write", &(1u64, vec![1u8, 2, 3, 4])).await.unwrap();
    assert!(matches!(out.next().await, Some(SoundEvent::Begins(1, format)) if format.frequency == 44_100 && format.channels == 2));
    assert_eq!(out.next().await, Some(SoundEvent::Data(1, vec![1, 2, 3, 4])));

    let (heard, mut events) = tokio::sync::mpsc::unbounded_channel();
    let _recording = display.record(Sine(heard)).await.unwrap();
    let listener = server.listeners.recv().await.unwrap();
    tell(&listener, "org.qemu.Display1.AudioInListener", "SetEnabled", &(1u64, true)).await.unwrap();
    assert_eq!(events.recv().await, Some(SoundEvent::Enabled(1, true)));
    let reply = tell(&listener, "org.qemu.Display1.AudioInListener", "Read", &(1u64, u64::MAX)).await.unwrap();
    assert_eq!(reply.body().deserialize::<Vec<u8>>().unwrap(), [1; 10]);
}

#[tokio::test]
async fn the_clipboard_is_shared() {
    const CLIPBOARD: &str = "org.qemu.Display1.Clipboard";
    let (mut server, display) = serve(objects()).await;
    let tell = async |method: &'static str, body: &(u32, Vec<&str>)| {
        server.main.call_method(None::<&str>, "/org/qemu/Display1/Clipboard", Some(CLIPBOARD), method, body).await
    };
    assert!(tell("Request", &(0, vec!["text/plain"])).await.is_err(), "nobody takes part yet");
    let mut clipboard = display.clipboard().await.unwrap();
    assert_eq!(server.calls.recv().await.unwrap().0, "Register");
    let owner = tokio::spawn(async move {
        let Some(ClipboardEvent::Request { selection: Selection::Clipboard, types, reply }) = clipboard.next().await else {
            panic!("no request");
        };
        reply.send((types[0].clone(), b"hello".to_vec())).unwrap();
        clipboard
    });
    let reply = tell("Request", &(0, vec!["text/plain"])).await.unwrap();
    assert_eq!(reply.body().deserialize::<(String, Vec<u8>)>().unwrap(), ("text/plain".into(), b"hello".to_vec()));
    let mut clipboard = owner.await.unwrap();
    assert!(tell("Request", &(9, vec![])).await.is_err(), "there is no such selection");
    clipboard.grab(Selection::Primary, 3, &["text/plain"]).await.unwrap();
    let (method, message) = server.calls.recv().await.unwrap();
    assert_eq!((method.as_str(), message.body().deserialize().unwrap()), ("Grab", (1u32, 3u32, vec!["text/plain".to_owned()])));
    server.main.clone().close().await.unwrap();
    assert!(clipboard.next().await.is_none());
}

#[tokio::test]
async fn character_devices_are_taken_over() {
    let (mut server, display) = serve(objects()).await;
    let ports = display.chardevs().await.unwrap();
    assert_eq!(ports.iter().map(|port| (port.name(), port.is_opened())).collect::<Vec<_>>(), [("org.qemu.console.serial.0", true)]);
    let mut stream = ports[0].open().await.unwrap();
    let (method, message) = server.calls.recv().await.unwrap();
    assert_eq!(method, "Register");
    let socket: zbus::OwnedFd = message.body().deserialize().unwrap();
    let mut theirs = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(socket));
    theirs.write_all(b"login:").unwrap();
    let mut said = [0; 6];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"login:");
}

#[tokio::test]
async fn changes_are_told_and_so_is_the_end() {
    let (server, display) = serve(objects()).await;
    let mut changes = display.changes();
    let changed = std::collections::HashMap::from([("IsAbsolute", Variant::from(false))]);
    let body = ("org.qemu.Display1.Mouse", changed, Vec::<&str>::new());
    let properties = "org.freedesktop.DBus.Properties";
    server.main.emit_signal(None::<&str>, "/org/qemu/Display1/Console_2", properties, "PropertiesChanged", &body).await.unwrap();
    changes.changed().await.unwrap();
    server.main.clone().close().await.unwrap();
    display.closed().await;
    assert!(changes.changed().await.is_err());
}
