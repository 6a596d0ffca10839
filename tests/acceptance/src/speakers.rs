//! A sound server as PipeWire and PulseAudio are, whose loudspeakers are a test: it knows as much of the protocol as playing needs.

use std::io::{Cursor, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use pulseaudio::protocol::{self, Command, SampleSpec};

use crate::Home;

/// Bytes that are asked for at a time.
const ASKED: u32 = 16 << 10;

/// What was played.
#[derive(Debug, Clone, Default)]
pub struct Played {
    /// How it is written.
    pub spec: Option<SampleSpec>,
    /// Bytes that were not silence.
    pub loud: usize,
    /// Whether it waits.
    pub waits: bool,
}

/// The server. It ends with the test.
#[derive(Debug)]
pub struct Speakers {
    socket: PathBuf,
    played: Arc<Mutex<Played>>,
}

impl Speakers {
    /// Starts one beside a home.
    ///
    /// # Panics
    /// Where it cannot be listened to.
    pub fn new(home: &Home) -> Self {
        let socket = home.path().join("sound.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let played = Arc::<Mutex<Played>>::default();
        let heard = played.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = heard.clone();
                std::thread::spawn(move || {
                    if let Err(error) = serve(stream, &heard) {
                        eprintln!("the sound server's client: {error:#}");
                    }
                });
            }
        });
        Self { socket, played }
    }

    /// What a program has in its environment to find it.
    pub fn variable(&self) -> (&'static str, String) {
        ("PULSE_SERVER", format!("unix:{}", self.socket.display()))
    }

    /// What was played so far.
    pub fn played(&self) -> Played {
        lock(&self.played).clone()
    }
}

fn lock(played: &Mutex<Played>) -> std::sync::MutexGuard<'_, Played> {
    played.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: UnixStream, played: &Mutex<Played>) -> Result<()> {
    let mut version = protocol::MAX_VERSION;
    loop {
        let Ok(descriptor) = protocol::read_descriptor(&mut stream) else { return Ok(()) };
        let mut payload = vec![0; usize::try_from(descriptor.length)?];
        stream.read_exact(&mut payload)?;
        if descriptor.channel != u32::MAX {
            lock(played).loud += payload.iter().filter(|byte| !matches!(byte, 0 | 0xff)).count();
            let more = Command::Request(protocol::Request { channel: descriptor.channel, length: descriptor.length });
            protocol::write_command_message(&mut stream, u32::MAX, &more, version)?;
            continue;
        }
        let (number, command) = Command::read_tag_prefixed(&mut Cursor::new(payload), version)?;
        match command {
            Command::Auth(asked) => {
                version = version.min(asked.version);
                let reply = protocol::AuthReply { version, ..Default::default() };
                protocol::write_reply_message(&mut stream, number, &reply, version)?;
            }
            Command::SetClientName(_) => {
                protocol::write_reply_message(&mut stream, number, &protocol::SetClientNameReply { client_id: 1 }, version)?;
            }
            Command::GetServerInfo => protocol::write_reply_message(&mut stream, number, &protocol::ServerInfo::default(), version)?,
            Command::CreatePlaybackStream(asked) => {
                lock(played).spec = Some(asked.sample_spec);
                let reply = protocol::CreatePlaybackStreamReply {
                    channel: 0,
                    sample_spec: asked.sample_spec,
                    channel_map: asked.channel_map,
                    buffer_attr: asked.buffer_attr,
                    requested_bytes: ASKED,
                    sink_name: Some(c"speakers".to_owned()),
                    ..Default::default()
                };
                protocol::write_reply_message(&mut stream, number, &reply, version)?;
            }
            Command::CorkPlaybackStream(asked) => {
                lock(played).waits = asked.cork;
                protocol::write_ack_message(&mut stream, number)?;
            }
            _ => protocol::write_ack_message(&mut stream, number)?,
        }
    }
}
