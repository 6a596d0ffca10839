//! The console (Virtio 1.2, 5.3): one port, or several with names.
//!
//! It has a thread of its own. Whoever reads a port may keep the guest waiting for a moment, before what comes is lost ([`Output`]); the
//! thread waits for nobody, so that it can always be made to stand still.

mod attachments;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use attachments::{Attachment, Attachments};
use confinement::{Confinement, Thread};
use hv::Event;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::buffers::Buffers;
use super::queue::{ActiveQueue, Failure};
use super::{Activation, Kind, VirtioDevice, parse};
use crate::serial::{Output, PATIENCE};
use crate::{EventLoop, Handler, Interest, Registration, Watches};

const QUEUE_SIZE: u16 = 64;
/// Several ports (5.3.3).
const MULTIPORT: u64 = 1 << 1;
/// Queues for control messages, to the guest and from it.
const CONTROL_RECEIVE: u16 = 2;
const CONTROL_TRANSMIT: u16 = 3;
/// Tokens of the ports' inputs come after those of the queues, which are their numbers.
const FIRST_INPUT: u32 = 1 << 16;
/// And those of the ports' outputs after these.
const FIRST_OUTPUT: u32 = 1 << 20;
/// The token of new attachments.
const ATTACHED: u32 = 1 << 24;
/// Bytes that are moved at once.
const CHUNK: usize = 4096;
/// Bytes that a port's guest writes before others have their turn.
const TURN: usize = 64 << 10;

/// Control messages (5.3.6.2).
mod control {
    pub const DEVICE_READY: u16 = 0;
    pub const PORT_ADD: u16 = 1;
    pub const PORT_READY: u16 = 3;
    pub const CONSOLE_PORT: u16 = 4;
    pub const PORT_OPEN: u16 = 6;
    pub const PORT_NAME: u16 = 7;
}

/// A port.
#[derive(Debug, Clone)]
pub struct Port {
    /// Its number.
    pub number: u32,
    /// By what name programs in the guest find it.
    pub name: Option<String>,
    /// Whether it is a console rather than a channel for programs.
    pub is_console: bool,
}

/// Told when a program in the guest opens or closes a port: its number, and which of the two.
pub type Opened = Box<dyn Fn(u32, bool) + Send + Sync>;

/// Ports as they are while no driver is there.
struct Ports {
    ports: Vec<PortState>,
    /// Whether there are control messages.
    is_multiport: bool,
    opened: Opened,
}

struct PortState {
    port: Port,
    input: Option<Arc<File>>,
    output: Output,
    is_open: bool,
    is_watched: bool,
    has_ended: bool,
    /// Bytes of the guest's next chain that have been written.
    written: usize,
    /// There is no room for the rest, and until when that is waited for.
    until: Option<Instant>,
}

impl PortState {
    fn new(port: Port, attachments: &Attachments, is_open: bool) -> Self {
        let Attachment { input, output } = attachments.of(port.number);
        let output = Output::new(output);
        Self { port, input, output, is_open, is_watched: false, has_ended: false, written: 0, until: None }
    }

    /// Waits no longer for whoever reads what the guest writes.
    fn stop_waiting(&mut self, index: usize, watches: &mut Watches) {
        if self.until.take().is_some() {
            watches.remove(output_token(index));
        }
    }
}

/// Control messages that wait for room in the guest.
type Messages = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// The device.
pub struct Console {
    ports: Arc<Mutex<Ports>>,
    attachments: Arc<Attachments>,
    attached: Event,
    events: EventLoop,
    running: Option<Registration>,
    messages: Messages,
    /// More than the highest number of a port.
    count: u32,
    is_multiport: bool,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Console({} ports)", self.count)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Console {
    /// A console with one port, which is always open.
    ///
    /// # Errors
    /// Where there are no threads or descriptors left.
    pub fn single(attachment: Attachment, confinement: &Confinement) -> io::Result<Self> {
        let port = Port { number: 0, name: None, is_console: true };
        Self::new(vec![port], Arc::new(Attachments::new([(0, attachment)])), 1, false, Box::new(|_, _| {}), confinement)
    }

    /// A console with these ports and their attachments, and room for `count` of them.
    ///
    /// # Errors
    /// As [`Self::single`].
    pub fn multiple(
        ports: Vec<Port>,
        attachments: Arc<Attachments>,
        count: u32,
        opened: Opened,
        confinement: &Confinement,
    ) -> io::Result<Self> {
        Self::new(ports, attachments, count, true, opened, confinement)
    }

    fn new(
        ports: Vec<Port>,
        attachments: Arc<Attachments>,
        count: u32,
        is_multiport: bool,
        opened: Opened,
        confinement: &Confinement,
    ) -> io::Result<Self> {
        let attached = Event::new()?;
        attachments.tell(attached.clone());
        let ports = ports.into_iter().map(|port| PortState::new(port, &attachments, !is_multiport)).collect();
        let ports = Ports { ports, is_multiport, opened };
        let ports = Arc::new(Mutex::new(ports));
        let (events, messages) = (EventLoop::new("vm-console", Thread::Console, confinement)?, Messages::default());
        Ok(Self { ports, attachments, attached, events, running: None, messages, count, is_multiport })
    }
}

/// The queues of a port, to the guest and from it (5.3.2): the control queues are between those of ports 0 and 1.
fn queues_of(port: u32) -> Option<(u16, u16)> {
    let first = u16::try_from(if port == 0 { 0 } else { port.checked_mul(2)?.checked_add(2)? }).ok()?;
    Some((first, first.checked_add(1)?))
}

impl VirtioDevice for Console {
    fn kind(&self) -> Kind {
        Kind::Console
    }

    fn features(&self) -> u64 {
        if self.is_multiport { MULTIPORT } else { 0 }
    }

    fn queue_sizes(&self) -> Vec<u16> {
        let queues = if self.is_multiport { (self.count as usize + 1) * 2 } else { 2 };
        vec![QUEUE_SIZE; queues]
    }

    fn configuration(&self) -> Vec<u8> {
        // Columns and rows are not known; then the number of ports, and no emergency writes.
        [0, self.count, 0].into_iter().flat_map(u32::to_le_bytes).collect()
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        let Activation { queues, failure, features } = activation;
        let is_controlled = features & MULTIPORT != 0;
        let (ports, attachments, attached) = (Arc::clone(&self.ports), Arc::clone(&self.attachments), self.attached.clone());
        let messages = Arc::clone(&self.messages);
        let server = Server { ports, attachments, attached, queues, failure, is_controlled, messages };
        self.running = Some(self.events.add(server, Server::begin)?);
        Ok(())
    }

    fn reset(&mut self) {
        self.running = None;
        lock(&self.messages).clear();
        let mut ports = lock(&self.ports);
        let is_multiport = ports.is_multiport;
        for state in &mut ports.ports {
            (state.is_open, state.is_watched, state.written, state.until) = (!is_multiport, false, 0, None);
        }
    }

    fn save(&mut self) -> io::Result<Value> {
        let ports: Vec<(bool, usize)> = lock(&self.ports).ports.iter().map(|state| (state.is_open, state.written)).collect();
        Ok(json!((ports, &*lock(&self.messages))))
    }

    fn restore(&mut self, state: &Value) -> io::Result<()> {
        let (ports, messages): (Vec<(bool, usize)>, VecDeque<Vec<u8>>) = parse(state)?;
        for (state, saved) in lock(&self.ports).ports.iter_mut().zip(ports) {
            (state.is_open, state.written) = saved;
        }
        *lock(&self.messages) = messages;
        Ok(())
    }

    fn pause(&self) {
        self.events.pause();
    }

    fn resume(&self) {
        self.events.resume();
    }
}

struct Server {
    ports: Arc<Mutex<Ports>>,
    attachments: Arc<Attachments>,
    attached: Event,
    queues: Vec<(u16, ActiveQueue)>,
    failure: Failure,
    is_controlled: bool,
    messages: Messages,
}

/// Messages that may wait; a guest that causes more and reads none is not answered any longer.
const MESSAGES_MAXIMUM: usize = 1024;

/// What came of reading a port's input.
enum Received {
    /// The guest has some more.
    Some,
    /// There is none now.
    Nothing,
    /// The port takes none now, or there will never be any again.
    NoRoom,
}

impl Server {
    fn begin(&mut self, watches: &mut Watches) -> io::Result<()> {
        if !self.is_controlled {
            // A driver that knows one port only has that one open.
            lock(&self.ports).ports.iter_mut().filter(|state| state.port.number == 0).for_each(|state| state.is_open = true);
        }
        self.queues.iter().try_for_each(|(number, queue)| watches.add((*number).into(), queue.doorbell(), Interest::Read))?;
        watches.add(ATTACHED, &self.attached, Interest::Read)?;
        self.watch_inputs(watches)
    }

    /// Takes over new attachments.
    fn attach(&self, watches: &mut Watches) {
        self.attached.take();
        for number in self.attachments.take_changed() {
            let mut ports = lock(&self.ports);
            let Some(index) = ports.ports.iter().position(|state| state.port.number == number) else { continue };
            let state = &mut ports.ports[index];
            if std::mem::take(&mut state.is_watched) {
                watches.remove(input_token(index));
            }
            state.stop_waiting(index, watches);
            let Attachment { input, output } = self.attachments.of(number);
            (state.input, state.output, state.has_ended) = (input, Output::new(output), false);
            // What had no room in the one before.
            if let Some((_, queue)) = queues_of(number).and_then(|(_, transmit)| self.queues.iter().find(|(other, _)| *other == transmit)) {
                queue.doorbell().signal();
            }
        }
    }

    fn queue(&mut self, number: u16) -> Option<&mut ActiveQueue> {
        self.queues.iter_mut().find(|(other, _)| *other == number).map(|(_, queue)| queue)
    }

    fn say(&mut self, port: u32, event: u16, value: u16, more: &[u8]) {
        let mut messages = lock(&self.messages);
        if messages.len() < MESSAGES_MAXIMUM {
            messages.push_back([&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes(), more].concat());
        }
    }

    /// What the guest says about ports.
    fn take_control(&mut self) -> Result<(), virtio_queue::Error> {
        let mut said = Vec::new();
        if let Some(queue) = self.queue(CONTROL_TRANSMIT) {
            let memory = queue.memory().clone();
            queue.serve(|chain| {
                said.extend(Buffers::of(chain, &memory).and_then(|mut buffers| buffers.read::<8>()));
                Some(0)
            })?;
        }
        for message in said {
            let [a, b, c, d, event_low, event_high, value_low, value_high] = message;
            let (event, value) = (u16::from_le_bytes([event_low, event_high]), u16::from_le_bytes([value_low, value_high]));
            self.controlled(u32::from_le_bytes([a, b, c, d]), event, value);
        }
        self.give_control()
    }

    fn controlled(&mut self, number: u32, event: u16, value: u16) {
        let shared = Arc::clone(&self.ports);
        let mut ports = lock(&shared);
        if event == control::DEVICE_READY && value == 1 {
            ports.ports.iter().for_each(|state| self.say(state.port.number, control::PORT_ADD, 1, b""));
            return;
        }
        let Some(index) = ports.ports.iter().position(|state| state.port.number == number) else { return };
        let state = &mut ports.ports[index];
        match event {
            control::PORT_READY if value == 1 => {
                if state.port.is_console {
                    self.say(number, control::CONSOLE_PORT, 1, b"");
                }
                if let Some(name) = &state.port.name {
                    self.say(number, control::PORT_NAME, 1, name.as_bytes());
                }
                self.say(number, control::PORT_OPEN, 1, b"");
            }
            control::PORT_OPEN => {
                let is_open = value != 0;
                if std::mem::replace(&mut state.is_open, is_open) != is_open {
                    (ports.opened)(number, is_open);
                }
            }
            _ => {}
        }
    }

    fn give_control(&mut self) -> Result<(), virtio_queue::Error> {
        let shared = Arc::clone(&self.messages);
        let mut messages = lock(&shared);
        if let Some(queue) = self.queue(CONTROL_RECEIVE) {
            let memory = queue.memory().clone();
            queue.serve(|chain| {
                let message = messages.pop_front()?;
                let mut buffers = Buffers::of(chain, &memory).unwrap_or_default();
                // Messages are short.
                Some(buffers.write(&message).map_or(0, |()| message.len() as u32))
            })?;
        }
        Ok(())
    }

    /// From the guest to the host: as much as there is room for now. A chain for which there is too little stays where it is.
    fn transmit(&mut self, index: usize, watches: &mut Watches) -> Result<(), virtio_queue::Error> {
        let shared = Arc::clone(&self.ports);
        let mut ports = lock(&shared);
        let Some(state) = ports.ports.get_mut(index) else { return Ok(()) };
        let Some(queue) = queues_of(state.port.number).and_then(|(_, number)| self.queue(number)) else { return Ok(()) };
        let memory = queue.memory().clone();
        let (mut left, mut is_full) = (TURN, false);
        queue.serve(|chain| {
            let mut bytes = [0; CHUNK];
            let mut skipped = 0;
            for part in Buffers::of(chain, &memory).unwrap_or_default().take_readable() {
                let skip = (state.written - skipped).min(part.len());
                skipped += skip;
                let Ok(mut rest) = part.offset(skip) else { continue };
                while !rest.is_empty() {
                    let count = rest.copy_to(&mut bytes[..CHUNK.min(left)]);
                    let taken = state.output.take(&bytes[..count]);
                    (state.written, skipped, left) = (state.written + taken, skipped + taken, left - taken);
                    is_full = taken < count;
                    if is_full || left == 0 {
                        return None;
                    }
                    let Ok(more) = rest.offset(taken) else { break };
                    rest = more;
                }
            }
            state.written = 0;
            Some(0)
        })?;
        if !is_full {
            state.stop_waiting(index, watches);
        } else if let Some(until) = &mut state.until {
            // Whoever reads a little is waited for again.
            if left < TURN {
                *until = Instant::now() + PATIENCE;
            }
        } else {
            let is_watched = state.output.file().is_some_and(|file| watches.add(output_token(index), file, Interest::Write).is_ok());
            if is_watched {
                state.until = Some(Instant::now() + PATIENCE);
            } else {
                state.output.give_up();
            }
        }
        if left == 0 || is_full && state.until.is_none() {
            // There is more, when others have had their turn.
            queue.doorbell().signal();
        }
        Ok(())
    }

    /// From the host to the guest.
    fn receive(&mut self, index: usize) -> Result<Received, virtio_queue::Error> {
        let shared = Arc::clone(&self.ports);
        let mut ports = lock(&shared);
        let Some(state) = ports.ports.get_mut(index).filter(|state| state.is_open && !state.has_ended) else {
            return Ok(Received::NoRoom);
        };
        let Some(input) = state.input.clone() else { return Ok(Received::Nothing) };
        let Some(queue) = queues_of(state.port.number).and_then(|(number, _)| self.queue(number)) else {
            return Ok(Received::NoRoom);
        };
        // Descriptors of a person's terminal are seldom ones that do not wait.
        if !is_readable(&input) {
            return Ok(Received::Nothing);
        }
        let memory = queue.memory().clone();
        let mut received = Received::NoRoom;
        queue.serve(|chain| {
            if !matches!(received, Received::NoRoom) {
                return None;
            }
            received = Received::Nothing;
            let mut buffers = Buffers::of(chain, &memory).unwrap_or_default();
            let mut bytes = [0; CHUNK];
            let room = buffers.writable_length().min(CHUNK);
            match rustix::io::read(&input, &mut bytes[..room]) {
                Ok(0) if room > 0 => {
                    state.has_ended = true;
                    received = Received::NoRoom;
                    None
                }
                Ok(count) => {
                    received = Received::Some;
                    Some(buffers.write(&bytes[..count]).map_or(0, |()| count as u32))
                }
                Err(Errno::AGAIN | Errno::INTR) => None,
                Err(error) => {
                    tracing::warn!(%error, "a console's input cannot be read any longer");
                    state.has_ended = true;
                    received = Received::NoRoom;
                    None
                }
            }
        })?;
        Ok(received)
    }

    /// Waits for input where a port can take it.
    fn watch_inputs(&mut self, watches: &mut Watches) -> io::Result<()> {
        let mut ports = lock(&self.ports);
        for (index, state) in ports.ports.iter_mut().enumerate() {
            let Some(input) = state.input.as_ref().filter(|_| state.is_open && !state.has_ended) else { continue };
            if !state.is_watched {
                match watches.add(input_token(index), input, Interest::Read) {
                    Ok(()) => state.is_watched = true,
                    // A file is always ready: it is read when the guest has room.
                    Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn unwatch(&self, index: usize, watches: &mut Watches) {
        if let Some(state) = lock(&self.ports).ports.get_mut(index)
            && std::mem::take(&mut state.is_watched)
        {
            watches.remove(input_token(index));
        }
    }

    /// Serves nothing any longer.
    fn stop(&self, watches: &mut Watches) {
        self.queues.iter().map(|(number, _)| (*number).into()).chain([ATTACHED]).for_each(|token| watches.remove(token));
        for (index, state) in lock(&self.ports).ports.iter_mut().enumerate() {
            state.stop_waiting(index, watches);
            if std::mem::take(&mut state.is_watched) {
                watches.remove(input_token(index));
            }
        }
    }

    fn port_of_queue(&self, queue: u32) -> Option<usize> {
        let is_its = |state: &PortState| {
            queues_of(state.port.number).is_some_and(|(receive, transmit)| [u32::from(receive), u32::from(transmit)].contains(&queue))
        };
        lock(&self.ports).ports.iter().position(is_its)
    }

    fn serve(&mut self, token: u32, watches: &mut Watches) -> Result<(), virtio_queue::Error> {
        if token == ATTACHED {
            self.attach(watches);
        } else if let Some(index) = token.checked_sub(FIRST_OUTPUT) {
            return self.transmit(index as usize, watches);
        } else if let Some(index) = token.checked_sub(FIRST_INPUT) {
            let index = index as usize;
            if matches!(self.receive(index)?, Received::NoRoom) {
                // Until the guest has room, or for good.
                self.unwatch(index, watches);
            }
            return Ok(());
        }
        if let Some((_, queue)) = self.queues.iter().find(|(number, _)| u32::from(*number) == token) {
            queue.doorbell().take();
        }
        match self.port_of_queue(token) {
            _ if token == ATTACHED => {}
            _ if self.is_controlled && token == u32::from(CONTROL_TRANSMIT) => self.take_control()?,
            _ if self.is_controlled && token == u32::from(CONTROL_RECEIVE) => self.give_control()?,
            Some(index) if token % 2 == 1 => return self.transmit(index, watches),
            Some(_) | None => {}
        }
        let count = lock(&self.ports).ports.len();
        for index in 0..count {
            for _ in 0..QUEUE_SIZE {
                if !matches!(self.receive(index)?, Received::Some) {
                    break;
                }
            }
        }
        self.watch_inputs(watches).map_err(|_| virtio_queue::Error::QueueNotReady)
    }
}

fn is_readable(file: &File) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&now)).is_ok_and(|count| count > 0)
}

fn input_token(index: usize) -> u32 {
    // A console has far fewer ports than there are tokens.
    FIRST_INPUT + index as u32
}

fn output_token(index: usize) -> u32 {
    FIRST_OUTPUT + index as u32
}

impl Handler for Server {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        if let Err(error) = self.serve(token, watches) {
            self.stop(watches);
            self.failure.fail("console", &error);
        }
    }

    fn until(&self) -> Option<Instant> {
        lock(&self.ports).ports.iter().filter_map(|state| state.until).min()
    }

    fn overdue(&mut self, watches: &mut Watches) {
        let now = Instant::now();
        let count = lock(&self.ports).ports.len();
        for index in 0..count {
            if let Some(state) = lock(&self.ports).ports.get_mut(index).filter(|state| state.until.is_some_and(|until| until <= now)) {
                state.output.give_up();
            } else {
                continue;
            }
            if let Err(error) = self.transmit(index, watches) {
                self.stop(watches);
                self.failure.fail("console", &error);
                return;
            }
        }
    }
}
