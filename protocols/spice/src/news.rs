//! What a session tells, coalesced: a server that floods makes nothing grow, and nobody who does not listen holds up the session.
//!
//! Of everything that has a state (agent, clipboard, a file's progress, a device) only the newest is kept. Of streams (sound, ports) as much is
//! kept as fits; then sound loses its oldest, and a port is refused more until its owner has read.

use machine::exchange::{ClipboardFormat, Transfer};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most bytes of sound that wait to be heard: three seconds of the usual 48 kHz, two channels, 16 bits.
pub const MAX_SOUND: usize = 576_000;
/// Most bytes of ports that wait to be read, of all of them together.
pub const MAX_PORT_DATA: usize = 1 << 20;
/// Most ports that are told of.
pub const MAX_PORTS: usize = 64;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The server has taken this client.
    Connected,
    /// An agent in the guest has come or gone.
    Agent {
        /// Whether it is there.
        present: bool,
    },
    /// Something was copied in the guest; nothing any more where there are no formats.
    Offered {
        /// What it can be had as.
        formats: Vec<ClipboardFormat>,
    },
    /// How far a file is.
    Transfer(Transfer),
    /// A device that was attached is gone.
    UsbLost {
        /// Which one.
        id: String,
        /// What the layer below said.
        reason: String,
    },
    /// A port of the machine was opened or closed by the guest.
    Port {
        /// Its name.
        name: String,
        /// Whether the guest has it open.
        opened: bool,
    },
    /// The guest wrote to a port.
    PortData {
        /// The port's name.
        name: String,
        /// What it wrote.
        data: Vec<u8>,
    },
    /// The guest plays.
    Sound(Sound),
    /// The guest listens to the microphone, or does no longer.
    Listening(Option<SoundFormat>),
    /// The session has ended. The last.
    Closed {
        /// Why, where nobody here asked for it.
        reason: Option<String>,
    },
}

/// How samples lie in memory: 16 bits, signed, little-endian, interleaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoundFormat {
    /// Channels.
    pub channels: u32,
    /// Samples of a channel in a second.
    pub rate: u32,
}

/// What the guest plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// It begins.
    Start(SoundFormat),
    /// Samples.
    Data(Vec<u8>),
    /// It ends.
    Stop,
}

#[derive(Debug, Default)]
struct State {
    connected: bool,
    agent: Option<bool>,
    offered: Option<Vec<ClipboardFormat>>,
    transfers: BTreeMap<u64, Transfer>,
    usb: BTreeMap<String, String>,
    ports: BTreeMap<String, bool>,
    port_data: VecDeque<(String, Vec<u8>)>,
    port_bytes: usize,
    sound: VecDeque<Sound>,
    sound_bytes: usize,
    listening: Option<Option<SoundFormat>>,
    closed: Option<Option<String>>,
    finished: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

/// The end that tells.
#[derive(Debug, Clone, Default)]
pub struct Teller(Arc<Shared>);

/// The end that listens.
#[derive(Debug)]
pub struct Events(Arc<Shared>);

/// Nothing has happened yet.
pub fn news() -> (Teller, Events) {
    let teller = Teller::default();
    let events = Events(teller.0.clone());
    (teller, events)
}

impl Teller {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn connected(&self) {
        self.change(|state| state.connected = true);
    }

    pub fn agent(&self, present: bool) {
        self.change(|state| state.agent = Some(present));
    }

    pub fn offered(&self, formats: Vec<ClipboardFormat>) {
        self.change(|state| state.offered = Some(formats));
    }

    pub fn transfer(&self, transfer: Transfer) {
        self.change(|state| {
            state.transfers.insert(transfer.id, transfer);
        });
    }

    pub fn usb_lost(&self, id: String, reason: String) {
        self.change(|state| {
            state.usb.insert(id, reason);
        });
    }

    pub fn port(&self, name: &str, opened: bool) {
        self.change(|state| {
            if state.ports.len() < MAX_PORTS || state.ports.contains_key(name) {
                state.ports.insert(name.to_owned(), opened);
            }
        });
    }

    /// Whether there was room for it.
    pub fn port_data(&self, name: &str, data: &[u8]) -> bool {
        let mut state = self.lock();
        if state.port_bytes + data.len() > MAX_PORT_DATA {
            return false;
        }
        state.port_bytes += data.len();
        match state.port_data.back_mut() {
            Some((last, waiting)) if last == name => waiting.extend_from_slice(data),
            _ => state.port_data.push_back((name.to_owned(), data.to_vec())),
        }
        drop(state);
        self.0.wake.notify_one();
        true
    }

    pub fn sound(&self, sound: Sound) {
        self.change(|state| match sound {
            Sound::Data(data) => {
                let data = data.get(data.len().saturating_sub(MAX_SOUND)..).unwrap_or_default();
                state.sound_bytes += data.len();
                match state.sound.back_mut() {
                    Some(Sound::Data(waiting)) => waiting.extend_from_slice(data),
                    _ => state.sound.push_back(Sound::Data(data.to_vec())),
                }
                state.forget_old_sound();
            }
            // Starts and stops without sound between them are none.
            other => {
                if !matches!(state.sound.back(), Some(Sound::Data(_)) | None) {
                    state.sound.pop_back();
                }
                state.sound.push_back(other);
                while state.sound.len() > 64 {
                    if let Some(Sound::Data(old)) = state.sound.pop_front() {
                        state.sound_bytes -= old.len();
                    }
                }
            }
        });
    }

    pub fn listening(&self, format: Option<SoundFormat>) {
        self.change(|state| state.listening = Some(format));
    }

    /// The first reason counts.
    pub fn closed(&self, reason: Option<String>) {
        self.change(|state| {
            state.closed.get_or_insert(reason);
        });
    }
}

impl State {
    fn forget_old_sound(&mut self) {
        while self.sound_bytes > MAX_SOUND {
            let over = self.sound_bytes - MAX_SOUND;
            let Some(Sound::Data(oldest)) = self.sound.iter_mut().find(|sound| matches!(sound, Sound::Data(data) if !data.is_empty()))
            else {
                return;
            };
            // Whole samples of up to two channels.
            let gone = oldest.len().min(over.next_multiple_of(4));
            oldest.drain(..gone);
            self.sound_bytes -= gone;
        }
    }

    fn next(&mut self) -> Option<News> {
        if std::mem::take(&mut self.connected) {
            return Some(News::Connected);
        }
        if let Some(present) = self.agent.take() {
            return Some(News::Agent { present });
        }
        if let Some(formats) = self.offered.take() {
            return Some(News::Offered { formats });
        }
        if let Some((_, transfer)) = self.transfers.pop_first() {
            return Some(News::Transfer(transfer));
        }
        if let Some((id, reason)) = self.usb.pop_first() {
            return Some(News::UsbLost { id, reason });
        }
        if let Some((name, opened)) = self.ports.pop_first() {
            return Some(News::Port { name, opened });
        }
        if let Some((name, data)) = self.port_data.pop_front() {
            self.port_bytes -= data.len();
            return Some(News::PortData { name, data });
        }
        if let Some(sound) = self.sound.pop_front() {
            if let Sound::Data(data) = &sound {
                self.sound_bytes -= data.len();
            }
            return Some(News::Sound(sound));
        }
        if let Some(format) = self.listening.take() {
            return Some(News::Listening(format));
        }
        if !self.finished
            && let Some(reason) = self.closed.take()
        {
            self.finished = true;
            return Some(News::Closed { reason });
        }
        None
    }
}

impl Events {
    /// What has happened; waits until something has. `None` after [`News::Closed`]. Safe to cancel.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            {
                let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(news) = state.next() {
                    return Some(news);
                }
                if state.finished {
                    return None;
                }
            }
            self.0.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_is_bounded_and_the_newest_is_told() {
        let (teller, mut events) = news();
        for round in 0..10_000_u64 {
            teller.agent(round % 2 == 0);
            teller.offered(vec![ClipboardFormat::Text]);
            teller.sound(Sound::Start(SoundFormat { channels: 2, rate: 48_000 }));
            teller.sound(Sound::Data(vec![0; 4000]));
            teller.port(&round.to_string(), true);
            teller.port_data("port", &[0; 1000]);
        }
        assert!(!teller.port_data("port", &[0; MAX_PORT_DATA]));
        teller.closed(Some("first".into()));
        teller.closed(Some("second".into()));
        let mut told = Vec::new();
        while let Some(news) = events.next().await {
            told.push(news);
        }
        assert_eq!(told.first(), Some(&News::Agent { present: false }));
        assert_eq!(told.last(), Some(&News::Closed { reason: Some("first".into()) }));
        assert_eq!(told.iter().filter(|news| matches!(news, News::Port { .. })).count(), MAX_PORTS);
        let heard: usize = told.iter().map(|news| if let News::Sound(Sound::Data(data)) = news { data.len() } else { 0 }).sum();
        assert!(heard > 0 && heard <= MAX_SOUND, "{heard}");
        let read: usize = told.iter().map(|news| if let News::PortData { data, .. } = news { data.len() } else { 0 }).sum();
        assert!(read > 0 && read <= MAX_PORT_DATA, "{read}");
    }

    #[test]
    fn sound_without_room_loses_its_beginning() {
        let (teller, events) = news();
        teller.sound(Sound::Data(vec![1; MAX_SOUND]));
        teller.sound(Sound::Data(vec![2; 4]));
        let mut state = events.0.state.lock().unwrap();
        let Some(News::Sound(Sound::Data(data))) = state.next() else { panic!("no sound") };
        assert_eq!((data.len(), data.last()), (MAX_SOUND, Some(&2)));
        assert_eq!(state.sound_bytes, 0);
    }
}
