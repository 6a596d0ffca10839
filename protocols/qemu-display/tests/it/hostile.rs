//! A display that has been taken over: whatever it says, the client neither falls over nor grows.

use super::server::{BGRX, LISTENER, MAP, map, memory, objects, serve, tell};
use machine::display::{MAX_SIDE, Rect, Shown, Viewer};
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use zbus::{Fd, Variant};

#[tokio::test]
async fn absurd_pictures_are_refused_and_the_last_good_one_stays() {
    let (mut server, display) = serve(objects()).await;
    let mut head = display.open(0).await.unwrap();
    let listener = server.listeners.recv().await.unwrap();
    let file = memory(64 * 64 * 4, 1);
    tell(&listener, MAP, "ScanoutMap", &map(&file, 0, 64, 64, 256, BGRX)).await.unwrap();
    head.frames.next().await.unwrap();

    let maps = [
        (0, 0, 64, 256, BGRX),
        (0, 64, 0, 256, BGRX),
        (0, u32::MAX, u32::MAX, u32::MAX, BGRX),
        (0, MAX_SIDE + 1, 1, u32::MAX, BGRX),
        (0, 64, 64, 255, BGRX),
        (0, 64, 64, 0, BGRX),
        (0, 64, 64, u32::MAX, BGRX),
        (0, 64, 65, 256, BGRX),
        (1, 64, 64, 256, BGRX),
        (u32::MAX, 64, 64, 256, BGRX),
        (0, 64, 64, 256, 0),
        (0, 64, 64, 256, u32::MAX),
    ];
    for (offset, width, height, stride, format) in maps {
        let told = tell(&listener, MAP, "ScanoutMap", &map(&file, offset, width, height, stride, format)).await;
        assert!(told.is_err(), "{offset} {width} x {height}, {stride}, {format:#x}");
    }
    // What is no memory could keep a reader waiting for ever.
    let (pipe, _other) = std::io::pipe().unwrap();
    assert!(tell(&listener, MAP, "ScanoutMap", &(Fd::from(&pipe), 0u32, 1u32, 1u32, 4u32, BGRX)).await.is_err());
    for (width, height, stride, length) in [(4u32, 4u32, 16u32, 63usize), (0, 4, 16, 64), (4, 4, 15, 64), (9000, 9000, 36000, 64)] {
        assert!(tell(&listener, LISTENER, "Scanout", &(width, height, stride, BGRX, vec![0u8; length])).await.is_err());
    }
    assert!(tell(&listener, LISTENER, "Update", &(0i32, 0i32, -1i32, 4i32, 16u32, BGRX, vec![0u8; 64])).await.is_err());
    // Bodies of other types, and methods that are none.
    assert!(tell(&listener, MAP, "ScanoutMap", &"memory").await.is_err());
    assert!(tell(&listener, LISTENER, "Scanout", &(1u32, 1u32)).await.is_err());
    assert!(tell(&listener, LISTENER, "Explode", &()).await.is_err());
    assert!(tell(&listener, "org.example.Other", "Scanout", &()).await.is_err());
    assert!(head.frames.take().is_none(), "nothing of all that was shown");

    // Damage outside of the picture is no damage; on its edge, only what is inside.
    for (x, y, width, height) in [(64, 0, 1, 1), (0, 0, -5, 5), (i32::MIN, i32::MIN, 1, 1), (i32::MAX, 0, i32::MAX, 1)] {
        tell(&listener, MAP, "UpdateMap", &(x, y, width, height)).await.unwrap();
    }
    tell(&listener, MAP, "UpdateMap", &(60i32, -4i32, i32::MAX, 8i32)).await.unwrap();
    assert_eq!(head.frames.take().unwrap().damage.rects(), [Rect { x: 60, y: 0, width: 4, height: 4 }]);
}

#[tokio::test]
async fn a_map_that_shrinks_is_an_error_and_not_the_end() {
    let (mut server, display) = serve(objects()).await;
    let mut head = display.open(0).await.unwrap();
    let listener = server.listeners.recv().await.unwrap();
    let file = memory(1 << 20, 1);
    tell(&listener, MAP, "ScanoutMap", &map(&file, 0, 512, 512, 2048, BGRX)).await.unwrap();
    let update = head.frames.next().await.unwrap();
    file.set_len(0).unwrap();
    let error = update.shown.surface().unwrap().to_rgb().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    tell(&listener, MAP, "UpdateMap", &(0i32, 0i32, 512i32, 512i32)).await.unwrap();
    assert!(head.frames.next().await.is_some());
}

#[tokio::test]
async fn a_flood_takes_no_room() {
    let (mut server, display) = serve(objects()).await;
    let mut head = display.open(0).await.unwrap();
    let listener = server.listeners.recv().await.unwrap();
    let file = memory(1024 * 1024 * 4, 1);
    tell(&listener, MAP, "ScanoutMap", &map(&file, 0, 1024, 1024, 4096, BGRX)).await.unwrap();
    head.frames.next().await.unwrap();
    // Nobody looks meanwhile, and nobody waits for an answer.
    let before = resident();
    for step in 0..20_000i32 {
        let message = zbus::Message::method_call("/org/qemu/Display1/Listener", "UpdateMap").interface(MAP);
        let message = message.with_flags(zbus::message::Flags::NO_REPLY_EXPECTED);
        listener.send(&message.build(&(step % 1000, (step * 7) % 1000, 5i32, 5i32)).unwrap()).await.unwrap();
    }
    // Pictures and descriptors, again and again: the last ones count.
    for _ in 0..300 {
        tell(&listener, MAP, "ScanoutMap", &map(&file, 0, 1024, 1024, 4096, BGRX)).await.unwrap();
        tell(&listener, LISTENER, "Scanout", &(64u32, 64u32, 256u32, BGRX, vec![0u8; 16384])).await.unwrap();
    }
    let update = head.frames.next().await.unwrap();
    assert_eq!(update.damage.rects().len(), 1);
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 20, "it has grown by {grown} bytes");
    assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() < 200, "descriptors are left open");
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn what_objects_say_of_themselves_is_cut_to_size() {
    let mut objects = objects();
    let console = objects.get_mut(&super::server::path("/org/qemu/Display1/Console_2")).unwrap();
    let properties = console.get_mut("org.qemu.Display1.Console").unwrap();
    properties.insert("Label", Variant::from("é\u{7}\n".repeat(100_000)));
    properties.insert("Head", Variant::from("not a number"));
    properties.insert("Width", Variant::from(u32::MAX));
    let nothing = HashMap::from([("org.qemu.Display1.Console", HashMap::new())]);
    objects.insert(super::server::path("/org/qemu/Display1/Console_99999999999"), nothing);
    let (_server, display) = serve(objects).await;
    let heads = display.heads().await.unwrap();
    assert_eq!(heads.len(), 2);
    assert!(heads[0].label.starts_with('é') && heads[0].label.len() <= 256 && !heads[0].label.contains('\n'));
    assert_eq!((heads[0].head, heads[0].size), (0, None));
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let (mut server, display) = serve(objects()).await;
    let mut head = display.open(0).await.unwrap();
    let listener = server.listeners.recv().await.unwrap();
    tell(&listener, LISTENER, "ScanoutDMABUF", &()).await.unwrap_err();
    assert!(matches!(head.frames.next().await.unwrap().shown, Shown::Unreadable(_)));
    drop(listener);
    assert!(head.frames.next().await.is_none());
    assert!(display.heads().await.is_ok(), "the other connection goes on");

    for said in [&b""[..], b"OK\r\n", b"REJECTED\r\n", b"ERROR\r\n", &[0; 4096], &[0xff; 4096]] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(said).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(qemu_display::Display::connect(ours).await.is_err(), "{said:?}");
    }
}

/// Greets as a display does, then says something else.
async fn greeted_then(said: &[u8]) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let said = said.to_vec();
    let peer = std::thread::spawn(move || {
        let mut line = Vec::new();
        let mut byte = [0];
        let mut greeted = 0;
        while theirs.read(&mut byte).unwrap_or(0) == 1 {
            line.push(byte[0]);
            if !line.ends_with(b"\r\n") {
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if text.contains("NEGOTIATE_UNIX_FD") {
                let _ = theirs.write_all(b"AGREE_UNIX_FD\r\n");
            } else if text.contains("AUTH") {
                let _ = theirs.write_all(b"OK 1234deadbeef1234deadbeef1234dead\r\n");
            }
            greeted += usize::from(text.contains("BEGIN"));
            if greeted > 0 {
                break;
            }
        }
        let _ = theirs.write_all(&said);
    });
    if let Ok(display) = qemu_display::Display::connect(ours).await {
        assert!(display.heads().await.is_err());
        display.closed().await;
    }
    peer.join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Bytes that are no messages, or messages whose lengths lie.
    #[test]
    fn bytes_that_are_no_messages_end_it(mut said in proptest::collection::vec(any::<u8>(), 16..400), like_one in any::<bool>(), length in any::<u32>()) {
        if like_one {
            said[..4].copy_from_slice(&[b'l', 2, 0, 1]);
            said[4..8].copy_from_slice(&length.to_le_bytes());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(greeted_then(&said));
    }
}
