//! The frontend's side of vhost-user (QEMU's docs/interop/vhost-user.rst): hands queues over to another process.
//!
//! Only what that takes, and by hand: every wait here has an end, also where the other side says nothing, and goes on after the signals that
//! vCPU threads are kicked by. What the other side says is not trusted.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hv::{Event, GuestMemory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::feature;
use super::queue::{ActiveQueue, Position};

/// How long the other side may take to be got to know, and again to be given the queues.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Requests.
const GET_FEATURES: u32 = 1;
const SET_FEATURES: u32 = 2;
const SET_OWNER: u32 = 3;
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_BASE: u32 = 10;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const GET_PROTOCOL_FEATURES: u32 = 15;
const SET_PROTOCOL_FEATURES: u32 = 16;
const SET_VRING_ENABLE: u32 = 18;

/// Bytes of a header: request, flags, size of what follows.
const HEADER: usize = 12;
/// Flags of a header: the version; it is an answer; an answer is wanted.
const VERSION: u32 = 1;
const IS_REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// The feature bit that says that there are features of the protocol.
const PROTOCOL_FEATURES: u64 = 1 << 30;
/// The protocol feature by which every request can be answered.
const REPLY_ACK: u64 = 1 << 3;
/// Descriptors of one message; the protocol allows no more regions of memory than this without further features.
const DESCRIPTORS: usize = 8;

/// A queue, as a backend is told of it.
#[derive(Debug)]
pub struct Ring {
    number: u32,
    size: u16,
    /// Descriptors, what is used, what is available: the guest's addresses.
    places: [u64; 3],
    kick: Event,
    call: Event,
    position: Arc<Position>,
}

impl Ring {
    /// A queue with its number. Whoever has the queue leaves it alone while it is served elsewhere.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn of(number: u16, queue: &ActiveQueue) -> io::Result<Self> {
        let ring = &queue.queue;
        let places = [ring.desc_table(), ring.used_ring(), ring.avail_ring()];
        let (kick, call, position) = (queue.doorbell().clone(), queue.call()?, Arc::clone(&queue.position));
        position.set(ring);
        Ok(Self { number: number.into(), size: ring.size(), places, kick, call, position })
    }

    /// There may be something to do.
    pub fn kick(&self) {
        self.kick.signal();
    }

    /// How far it was served, as the guest was told: a backend that serves chains in their order has taken no more.
    pub fn find_position(&self, memory: &GuestMemory) {
        let [_, used, _] = self.places;
        // A ring that is in use is in memory.
        let index = used.checked_add(2).and_then(|place| memory.read_obj::<u16>(GuestAddress(place)).ok()).map_or(0, u16::from_le);
        self.position.set_to(index, index);
    }
}

/// A connection to a backend.
#[derive(Debug)]
pub struct Frontend {
    socket: OwnedFd,
    features: u64,
    patience: Duration,
    /// When patience with what is being done ends.
    until: Instant,
}

fn nonsense(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn word(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(place..place + 4)?.try_into().ok()?))
}

impl Frontend {
    /// Finds out whether the backend at the other end of this stream socket can do what is needed: features of version 1, and these.
    ///
    /// # Errors
    /// Where it cannot, is not done within `patience`, or says what makes no sense.
    pub fn new(socket: OwnedFd, required: u64, patience: Duration) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let mut frontend = Self { socket, features: 0, patience, until: Instant::now() + patience };
        frontend.send(SET_OWNER, 0, &[], &[])?;
        let (features, required) = (frontend.ask(GET_FEATURES, &[])?, PROTOCOL_FEATURES | feature::VERSION_1 | required);
        if features & required != required {
            return Err(nonsense(format!("it lacks features that are needed (it has {features:#x})")));
        }
        let protocol = frontend.ask(GET_PROTOCOL_FEATURES, &[])?;
        if protocol & REPLY_ACK == 0 {
            return Err(nonsense("it does not confirm what it is told"));
        }
        frontend.send(SET_PROTOCOL_FEATURES, 0, &REPLY_ACK.to_le_bytes(), &[])?;
        frontend.features = features;
        Ok(frontend)
    }

    /// The features that the backend has.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// The connection; the backend says nothing on it unasked.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Lets the backend serve these queues, from where they are, in this memory.
    ///
    /// # Errors
    /// As [`Self::new`], and where the backend refuses something.
    pub fn start(&mut self, features: u64, memory: &GuestMemory, rings: &[Ring]) -> io::Result<()> {
        self.until = Instant::now() + self.patience;
        self.tell(SET_FEATURES, &(features | PROTOCOL_FEATURES).to_le_bytes(), &[])?;
        self.share(memory)?;
        for ring in rings {
            let state = |value: u32| [ring.number.to_le_bytes(), value.to_le_bytes()].concat();
            self.tell(SET_VRING_NUM, &state(ring.size.into()), &[])?;
            self.tell(SET_VRING_BASE, &state(ring.position.get().0.into()), &[])?;
            // Number, flags, and the addresses of the parts; the last is that of a log, which there is none of.
            let mut addresses = state(0);
            for address in ring.places.into_iter().chain([0]) {
                addresses.extend(address.to_le_bytes());
            }
            self.tell(SET_VRING_ADDR, &addresses, &[])?;
            let event = u64::from(ring.number).to_le_bytes();
            self.tell(SET_VRING_CALL, &event, &[ring.call.as_fd()])?;
            self.tell(SET_VRING_KICK, &event, &[ring.kick.as_fd()])?;
        }
        for ring in rings {
            self.tell(SET_VRING_ENABLE, &[ring.number.to_le_bytes(), 1_u32.to_le_bytes()].concat(), &[])?;
        }
        Ok(())
    }

    /// Lets the backend serve them no longer, and finds out how far it has come. Whatever goes wrong, each has a position afterwards.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn stop(&mut self, memory: &GuestMemory, rings: &[Ring]) -> io::Result<()> {
        self.until = Instant::now() + self.patience;
        let stopped = rings.iter().try_for_each(|ring| {
            let state = [ring.number.to_le_bytes(), 0_u32.to_le_bytes()].concat();
            // It stops by being asked. What it answers is what the guest can see as well, where chains are served in their order.
            self.ask(GET_VRING_BASE, &state).map(drop)
        });
        rings.iter().for_each(|ring| ring.find_position(memory));
        stopped
    }

    /// Lets the backend have the guest's memory. Addresses that are said to be those of this process are the guest's: they serve to find
    /// queues by, and this process's are not the backend's business.
    fn share(&self, memory: &GuestMemory) -> io::Result<()> {
        let mut table = vec![0; 8];
        let mut descriptors = Vec::new();
        for region in memory.iter() {
            let place = region.file_offset().ok_or_else(|| nonsense("the guest's memory is not in a file"))?;
            let GuestAddress(start) = region.start_addr();
            for field in [start, region.len(), start, place.start()] {
                table.extend(field.to_le_bytes());
            }
            descriptors.push(place.file().as_fd());
        }
        if descriptors.len() > DESCRIPTORS {
            return Err(nonsense("the guest's memory has too many parts"));
        }
        // At most DESCRIPTORS.
        table[..4].copy_from_slice(&(descriptors.len() as u32).to_le_bytes());
        self.tell(SET_MEM_TABLE, &table, &descriptors)
    }

    /// Tells the backend something and waits until it has done it.
    fn tell(&self, request: u32, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(request, NEED_REPLY, body, descriptors)?;
        match self.answer(request)? {
            0 => Ok(()),
            _ => Err(io::Error::other(format!("it refused request {request} of vhost-user"))),
        }
    }

    /// Asks for a number.
    fn ask(&self, request: u32, body: &[u8]) -> io::Result<u64> {
        self.send(request, 0, body, &[])?;
        self.answer(request)
    }

    fn send(&self, request: u32, flags: u32, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let size = u32::try_from(body.len()).map_err(|_| nonsense("a message is too long"))?;
        let message = [&request.to_le_bytes()[..], &(VERSION | flags).to_le_bytes(), &size.to_le_bytes(), body].concat();
        let mut sent = 0;
        while sent < message.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // They go with the first byte.
            if sent == 0 && !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            match sendmsg(&self.socket, &[IoSlice::new(&message[sent..])], &mut control, SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The answer to a request: all that are asked for are numbers of 64 bits.
    fn answer(&self, request: u32) -> io::Result<u64> {
        let mut message = [0; HEADER + 8];
        let mut received = 0;
        while received < message.len() {
            match recv(&self.socket, &mut message[received..], RecvFlags::empty()) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, count)) => received += count,
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // What is no answer may be shorter than one; there is no waiting for the rest of it.
            if received >= HEADER {
                let [what, flags, size] = [0, 4, 8].map(|place| word(&message, place).unwrap_or_default());
                if what != request || flags & !NEED_REPLY != VERSION | IS_REPLY || size != 8 {
                    return Err(nonsense(format!("it answered request {request} of vhost-user with something else")));
                }
            }
        }
        let (low, high) = (word(&message, HEADER).unwrap_or_default(), word(&message, HEADER + 4).unwrap_or_default());
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    fn wait(&self, what: PollFlags) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer for {} s", self.patience.as_secs())));
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.socket, what)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
