//! The other end of a connection, played by a test.

#![allow(dead_code, reason = "each test uses some of it")]

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use qmp::{Client, Options};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::UnixStream,
};

pub struct Peer {
    pub stream: BufReader<UnixStream>,
}

impl Peer {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub async fn send(&mut self, message: Value) {
        self.bytes(format!("{message}\r\n").as_bytes()).await;
    }

    pub async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.expect("write");
    }

    pub async fn request(&mut self) -> Value {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.expect("read");
        serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&line)))
    }

    pub async fn answer(&mut self, request: &Value, value: Value) {
        self.send(json!({"return": value, "id": request["id"]})).await;
    }

    pub async fn greet(&mut self, capabilities: Value) {
        self.send(json!({"QMP": {
            "version": {"qemu": {"major": 99, "minor": 1, "micro": 2}, "package": "", "new": true},
            "capabilities": capabilities, "new": []
        }}))
        .await;
        let request = self.request().await;
        assert_eq!(request["execute"], "qmp_capabilities");
        self.answer(&request, json!({})).await;
    }

    pub async fn read_byte(&mut self) -> u8 {
        self.stream.read_u8().await.expect("read")
    }

    /// One read with the descriptors that came with it.
    pub async fn receive(&mut self) -> (Vec<u8>, Vec<OwnedFd>) {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let stream = self.stream.get_ref();
        stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let mut bytes = vec![0; 65536];
                let received = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
                bytes.truncate(received.bytes);
                let descriptors = control
                    .drain()
                    .filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                        _ => None,
                    })
                    .flatten()
                    .collect();
                Ok((bytes, descriptors))
            })
            .await
            .expect("recvmsg")
    }
}

pub async fn connected_with(options: Options, capabilities: Value) -> (Client, Peer) {
    let (ours, theirs) = UnixStream::pair().expect("socket pair");
    let mut peer = Peer::new(theirs);
    let (client, ()) = tokio::join!(Client::from_stream_with(ours, options), peer.greet(capabilities));
    (client.expect("negotiation"), peer)
}

pub async fn connected() -> (Client, Peer) {
    connected_with(Options::default(), json!(["oob", "later"])).await
}

/// Enough for whatever must come; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A real QEMU without a machine, its monitor on standard input.
pub struct Qemu {
    child: Child,
}

impl Qemu {
    pub async fn start(program: &str, arguments: &[&str]) -> (Self, Client) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("socket pair");
        let child = Command::new(program)
            .args(["-nodefaults", "-no-user-config", "-S", "-display", "none"])
            .args(["-chardev", "socket,id=monitor,fd=0", "-mon", "chardev=monitor,mode=control"])
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("start QEMU");
        let qemu = Self { child };
        ours.set_nonblocking(true).expect("nonblocking");
        let client = Client::from_stream(UnixStream::from_std(ours).expect("stream")).await.expect("negotiation");
        (qemu, client)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
