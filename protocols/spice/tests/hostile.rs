//! Sessions with servers that do not keep to the protocol, or keep to it and mean ill: an end that is told, and nothing that grows.

use machine::exchange::{ClipboardFormat, ClipboardPolicy};
use spice::{Client, Error, Events, News, Options};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The public half of an RSA key of 1024 bits, as the server's first answer has it (DER, SubjectPublicKeyInfo).
const KEY: &[u8; 162] = include_bytes!("key.der");

/// The server's end of a connection.
struct Peer(UnixStream);

impl Peer {
    /// Takes a channel as a server does that wants no ticket: messages have the short header.
    fn link(&mut self) {
        let mut head = [0; 16];
        self.0.read_exact(&mut head).unwrap();
        assert_eq!(&head[..4], b"REDQ");
        let mut rest = vec![0; u32::from_le_bytes(head[12..].try_into().unwrap()) as usize];
        self.0.read_exact(&mut rest).unwrap();
        let mut answer = b"REDQ".to_vec();
        answer.extend([2_u32, 2, 182, 0].iter().flat_map(|number| number.to_le_bytes()));
        answer.extend(KEY);
        // One word of capabilities for all channels, at byte 178: the short header.
        answer.extend([1_u32, 0, 178, 1 << 3].iter().flat_map(|number| number.to_le_bytes()));
        self.0.write_all(&answer).unwrap();
        self.0.read_exact(&mut [0; 128]).unwrap();
        self.0.write_all(&[0; 4]).unwrap();
    }

    /// Whether the other side still listens.
    fn message(&mut self, kind: u16, data: &[u8]) -> bool {
        let size = u32::try_from(data.len()).unwrap();
        let whole = [&kind.to_le_bytes()[..], &size.to_le_bytes(), data].concat();
        self.0.write_all(&whole).is_ok()
    }

    /// Begins a session with an agent.
    fn begin(&mut self) {
        self.link();
        let init = [7_u32, 1, 3, 2, 1, 10, 0, 0];
        assert!(self.message(103, &words(&init)));
        // What the agent can: give clipboards when asked, of several selections.
        assert!(self.agent(6, &words(&[0, 1 << 5 | 1 << 6])));
    }

    /// Something that the agent says, cut as the server cuts it.
    fn agent(&mut self, kind: u32, data: &[u8]) -> bool {
        self.agent_of_size(kind, u32::try_from(data.len()).unwrap(), data)
    }

    /// The same, with a size of one's own.
    fn agent_of_size(&mut self, kind: u32, size: u32, data: &[u8]) -> bool {
        let head = [words(&[1, kind, 0, 0]), words(&[size])].concat();
        [head, data.to_vec()].concat().chunks(2048).all(|piece| self.message(109, piece))
    }

    /// Reads and forgets, until the other side has enough.
    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        while matches!(self.0.read(&mut buffer), Ok(1..)) {}
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A session whose connections end at the other side of the channel.
fn session(options: Options) -> (Client, Events, Receiver<Peer>) {
    let (sender, peers) = channel();
    let sender = Mutex::new(sender);
    let connector = move || {
        let (ours, theirs) = UnixStream::pair()?;
        theirs.set_read_timeout(Some(PATIENCE))?;
        theirs.set_write_timeout(Some(PATIENCE))?;
        let _ = sender.lock().unwrap().send(Peer(theirs));
        Ok(ours.into())
    };
    let (client, events) = spice::connect(connector, options).unwrap();
    (client, events, peers)
}

fn both_ways() -> Options {
    Options { policy: ClipboardPolicy::Both, displays: true, sound: true, ports: true, ..Options::default() }
}

async fn until<T>(events: &mut Events, what: &str, mut seen: impl FnMut(&News) -> Option<T>) -> T {
    let waiting = async {
        loop {
            let news = events.next().await.unwrap_or_else(|| panic!("it ended before: {what}"));
            if let Some(found) = seen(&news) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"))
}

async fn ends(mut events: Events) {
    until(&mut events, "the end", |news| matches!(news, News::Closed { .. }).then_some(())).await;
    assert_eq!(events.next().await, None);
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_server_that_is_none_is_told_as_the_end() {
    let link = |size: u32, rest: Vec<u8>| [b"REDQ".to_vec(), words(&[2, 2, size]), rest].concat();
    let answers = [
        Vec::new(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0xff; 100_000],
        link(u32::MAX, Vec::new()),
        link(0, Vec::new()),
        // Capabilities that begin past the end, and more of them than there is room for.
        link(178, [words(&[0]), KEY.to_vec(), words(&[1, 1, u32::MAX])].concat()),
        link(178, [words(&[0]), KEY.to_vec(), words(&[u32::MAX, u32::MAX, 178])].concat()),
        // An error, and a key that is none.
        link(178, [words(&[7]), vec![0; 162], words(&[0, 0, 178])].concat()),
        link(178, [words(&[0]), vec![0; 162], words(&[0, 0, 178])].concat()),
    ];
    for answer in answers {
        run(async {
            let (_client, events, peers) = session(both_ways());
            let mut peer = peers.recv_timeout(PATIENCE).unwrap();
            let _ = peer.0.write_all(&answer);
            let _ = peer.0.shutdown(std::net::Shutdown::Write);
            ends(events).await;
        });
    }
}

#[test]
fn a_session_ends_when_nobody_holds_it_though_the_server_says_nothing() {
    run(async {
        let (client, events, peers) = session(both_ways());
        let _silent = peers.recv_timeout(PATIENCE).unwrap();
        drop(client);
        ends(events).await;
    });
}

#[test]
fn an_agent_that_floods_offers_what_it_offered_last() {
    run(async {
        let (client, mut events, peers) = session(both_ways());
        let mut peer = peers.recv_timeout(PATIENCE).unwrap();
        let flood = std::thread::spawn(move || {
            peer.begin();
            // Kinds that there are, that there are not, and many more than there can be.
            let many: Vec<u32> = (0..4000).collect();
            for round in 0..2000_u32 {
                let kinds = if round % 2 == 0 { many.as_slice() } else { &[99, 2, 2, u32::MAX] };
                assert!(peer.agent(7, &[vec![0; 4], words(kinds)].concat()));
                assert!(peer.agent(9, &[0; 4]));
                // Another selection than the clipboard is none of ours.
                assert!(peer.agent(7, &[vec![200, 0, 0, 0], words(&[1])].concat()));
            }
            assert!(peer.agent(7, &[vec![0; 4], words(&[1])].concat()));
            peer
        });
        until(&mut events, "the agent", |news| (*news == News::Agent { present: true }).then_some(())).await;
        let last = vec![ClipboardFormat::Text];
        until(&mut events, "the last offer", |news| matches!(news, News::Offered { formats } if *formats == last).then_some(())).await;
        let mut peer = flood.join().unwrap();

        // It gives what it was not asked for, and ends its text in the middle of a character.
        let asked = tokio::spawn({
            let client = client.clone();
            async move { client.clipboard(ClipboardFormat::Text).await }
        });
        let given = tokio::task::spawn_blocking(move || {
            assert!(peer.agent(4, &[vec![0; 4], words(&[2]), b"no picture".to_vec()].concat()));
            // Asked for by now, or not yet: until it has been, this is one more that nobody wants.
            while peer.agent(4, &[vec![0; 4], words(&[1]), b"text\xc3".to_vec()].concat()) {
                std::thread::yield_now();
            }
        });
        let text = tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap();
        assert_eq!(text, "text\u{fffd}".as_bytes());
        drop(client);
        given.await.unwrap();
        ends(events).await;
    });
}

#[test]
fn what_the_policy_does_not_allow_is_neither_asked_nor_told() {
    run(async {
        let (client, mut events, peers) = session(Options { policy: ClipboardPolicy::Off, ..both_ways() });
        let mut peer = peers.recv_timeout(PATIENCE).unwrap();
        let serving = std::thread::spawn(move || {
            peer.begin();
            assert!(peer.agent(7, &[vec![0; 4], words(&[1])].concat()));
            // It wants to paste what nobody gave it.
            assert!(peer.agent(8, &[vec![0; 4], words(&[1])].concat()));
            peer
        });
        until(&mut events, "the agent", |news| (*news == News::Agent { present: true }).then_some(())).await;
        assert!(matches!(client.set_clipboard(ClipboardFormat::Text, b"secret".to_vec()).await, Err(Error::Policy)));
        assert!(matches!(client.clipboard(ClipboardFormat::Text).await, Err(Error::Policy)));
        client.set_policy(ClipboardPolicy::ToHost).await.unwrap();
        // What was offered before the policy allowed it stays there.
        assert!(matches!(client.clipboard(ClipboardFormat::Text).await, Err(Error::NotOffered)));
        let mut peer = serving.join().unwrap();
        drop(client);
        let mut heard = Vec::new();
        let _ = peer.0.read_to_end(&mut heard);
        assert!(!heard.windows(6).any(|bytes| bytes == b"secret"));
        while let Some(news) = events.next().await {
            assert!(!matches!(news, News::Offered { ref formats } if !formats.is_empty()), "{news:?}");
        }
    });
}

type Attack = Box<dyn FnOnce(&mut Peer) + Send>;

/// Messages that make no sense.
fn attacks() -> Vec<(&'static str, Attack)> {
    let agent = |kind: u32, size: u32| -> Attack {
        Box::new(move |peer: &mut Peer| {
            peer.begin();
            peer.agent_of_size(kind, size, &[0; 64]);
        })
    };
    let raw = |kind: u16, data: Vec<u8>| -> Attack {
        Box::new(move |peer: &mut Peer| {
            peer.begin();
            peer.message(kind, &data);
        })
    };
    let cut_off: Attack = Box::new(|peer: &mut Peer| {
        peer.begin();
        let _ = peer.0.write_all(&[&109_u16.to_le_bytes()[..], &u32::MAX.to_le_bytes(), &[1; 50]].concat());
    });
    let nonsense: Attack = Box::new(|peer: &mut Peer| {
        peer.link();
        peer.message(103, &words(&[u32::MAX; 8]));
    });
    vec![
        ("a clipboard larger than what comes", agent(4, 1 << 30)),
        ("capabilities without content", agent(6, 0)),
        ("half an offer", agent(7, 1)),
        ("half a question", agent(8, 3)),
        ("a clipboard of nothing", agent(4, 0)),
        ("a message of no kind", agent(u32::MAX, 64)),
        ("more channels than are said", raw(104, words(&[u32::MAX]))),
        ("channels of no kind", raw(104, [words(&[3]), vec![200, 0, 2, 250, 1, 0]].concat())),
        ("a beginning without content", raw(103, Vec::new())),
        ("channels without content", raw(104, Vec::new())),
        ("a message of the protocol of no kind", raw(u16::MAX, vec![0; 100])),
        ("too many tokens", raw(110, vec![0xff; 4])),
        ("a message that is cut off", cut_off),
        ("a beginning that makes no sense", nonsense),
    ]
}

/// What the library (0.42) dies of: it reads parts of messages that are not there, and makes room for as many bytes as it is told.
const DEADLY: [&str; 4] = ["capabilities without content", "half an offer", "a clipboard of nothing", "a message that is cut off"];
/// Names an attack to the process that is to be attacked.
const ATTACK: &str = "SPICE_TEST_ATTACK";

/// A process each, as in real life: the library is C, and whether it survives everything is not for this crate to promise.
#[test]
fn messages_that_make_no_sense_end_the_session_at_worst() {
    if let Ok(name) = std::env::var(ATTACK) {
        let (_, attack) = attacks().into_iter().find(|(known, _)| *known == name).unwrap();
        return run(async {
            let (_client, events, peers) = session(both_ways());
            let mut peer = peers.recv_timeout(PATIENCE).unwrap();
            let serving = std::thread::spawn(move || {
                attack(&mut peer);
                let _ = peer.0.shutdown(std::net::Shutdown::Write);
                peer.drain();
            });
            ends(events).await;
            serving.join().unwrap();
        });
    }
    for (name, _) in attacks() {
        let mut attacked = std::process::Command::new(std::env::current_exe().unwrap());
        attacked.args(["--exact", "messages_that_make_no_sense_end_the_session_at_worst", "--nocapture"]).env(ATTACK, name);
        let output = attacked.output().unwrap();
        let died = std::os::unix::process::ExitStatusExt::signal(&output.status).is_some();
        assert!(output.status.success() || (died && DEADLY.contains(&name)), "{name}: {output:?}");
    }
}

#[test]
fn displays_and_sounds_that_cannot_be_are_not_shown() {
    run(async {
        let (client, mut events, peers) = session(both_ways());
        let mut main = peers.recv_timeout(PATIENCE).unwrap();
        let serving = std::thread::spawn(move || {
            main.begin();
            // A display, a cursor, playback and a port.
            assert!(main.message(104, &[words(&[3]), vec![2, 0, 5, 0, 4, 0]].concat()));
            let mut channels: Vec<Peer> = (0..3).map(|_| peers.recv_timeout(PATIENCE).unwrap()).collect();
            channels.iter_mut().for_each(Peer::link);
            for channel in &mut channels {
                for (width, height) in [(0, 0), (u32::MAX, u32::MAX), (100_000, 1), (1, 100_000)] {
                    // A surface (number, width, height, format, flags), which on other channels is something else.
                    channel.message(314, &words(&[0, width, height, 32, 1]));
                }
                // Sound in a format that there is not, then samples.
                channel.message(103, &words(&[u32::MAX, u32::MAX, u32::MAX, 0]));
                channel.message(101, &vec![1; 100_000]);
            }
            let ending = channels.into_iter().chain([main]);
            ending.for_each(|channel| drop(channel.0.shutdown(std::net::Shutdown::Both)));
        });
        let viewer = client.viewer();
        // Whatever is said of heads, none is of a size that cannot be.
        while let Ok(heads) = viewer.heads().await {
            assert!(heads.iter().filter_map(|head| head.size).all(|size| size.width <= 16_384 && size.height <= 16_384));
            tokio::task::yield_now().await;
        }
        serving.join().unwrap();
        while let Some(news) = events.next().await {
            assert!(!matches!(news, News::Sound(spice::Sound::Start(_))), "{news:?}");
        }
    });
}
