//! A tap interface of the host (Linux: Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h).
//!
//! Why unsafe: its settings are ioctls, which no library that is used here has.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};

use super::packets::{self, Packets};
use super::wire::{Frames, HEADER_SIZE, Offloads, one_by_one};

const SET_INTERFACE: Opcode = opcode::write::<i32>(b'T', 202);
const GET_INTERFACE: Opcode = opcode::read::<u32>(b'T', 210);
const SET_OFFLOADS: Opcode = opcode::write::<u32>(b'T', 208);
const SET_HEADER_SIZE: Opcode = opcode::write::<i32>(b'T', 216);
const SET_QUEUE: Opcode = opcode::write::<i32>(b'T', 217);

/// Flags of an interface.
const TAP: u16 = 0x0002;
const NO_PACKET_INFORMATION: u16 = 0x1000;
const HEADERS: u16 = 0x4000;
const SEVERAL_QUEUES: u16 = 0x0100;
/// Of a queue.
const ATTACH: u16 = 0x0200;
const DETACH: u16 = 0x0400;

/// What the host may leave to us.
const CHECKSUM: usize = 1;
const TCP4: usize = 2;
const TCP6: usize = 4;

/// `struct ifreq`: a name and flags.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

impl Request {
    fn new(name: &str, flags: u16) -> io::Result<Self> {
        let mut request = Self { name: [0; 16], flags, rest: [0; 22] };
        // The last byte is zero.
        let place = request.name.get_mut(..name.len()).filter(|_| name.len() < 16).ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(name.as_bytes());
        Ok(request)
    }
}

/// A queue of an interface.
#[derive(Debug)]
pub struct Tap {
    descriptor: OwnedFd,
    has_several: bool,
    is_enabled: bool,
}

impl Tap {
    /// The interface of this name, with so many queues. One that does not exist is made, by whoever may, and goes when the last of its queues
    /// does.
    ///
    /// # Errors
    /// Where it is no tap, belongs to somebody else, or is in use.
    pub fn open(name: &str, queues: u16) -> io::Result<Vec<Self>> {
        let has_several = queues > 1;
        let flags = TAP | NO_PACKET_INFORMATION | HEADERS | if has_several { SEVERAL_QUEUES } else { 0 };
        let open = |_| {
            let access = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let descriptor = rustix::fs::open("/dev/net/tun", access, Mode::empty())?;
            let request = Request::new(name, flags)?;
            // SAFETY: the kernel reads a `struct ifreq`, which the request is laid out as.
            unsafe { ioctl(&descriptor, Setter::<SET_INTERFACE, Request>::new(request))? };
            Self::new(descriptor, has_several)
        };
        (0..queues).map(open).collect()
    }

    /// A descriptor of an interface that somebody else opened, who need not have chosen headers.
    ///
    /// # Errors
    /// `InvalidInput` where it is none of a tap, or of one without headers (`IFF_VNET_HDR`) or with packet information.
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let mut request = Request::new("", 0)?;
        // SAFETY: the kernel writes a `struct ifreq`.
        unsafe { ioctl(&descriptor, Updater::<GET_INTERFACE, Request>::new(&mut request)) }
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is not one of a tap interface"))?;
        if request.flags & (TAP | NO_PACKET_INFORMATION | HEADERS) != TAP | NO_PACKET_INFORMATION | HEADERS {
            let why = "the descriptor is not one of a tap interface with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Self::new(descriptor, request.flags & SEVERAL_QUEUES != 0)
    }

    fn new(descriptor: OwnedFd, has_several: bool) -> io::Result<Self> {
        // SAFETY: the kernel reads a number.
        unsafe { ioctl(&descriptor, Setter::<SET_HEADER_SIZE, i32>::new(HEADER_SIZE as i32))? };
        let mut tap = Self { descriptor, has_several, is_enabled: true };
        tap.set_offloads(Offloads::default())?;
        Ok(tap)
    }
}

impl Frames for Tap {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn receive(&mut self, packet: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.descriptor, &mut *packet) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn send(&mut self, packets: &Packets<'_>) -> io::Result<usize> {
        one_by_one(packets, |parts| match packets::write(&self.descriptor, parts) {
            // The guest's header made no sense, the interface is down, or the host is short of memory: frames get lost.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::IO | Errno::NOMEM)) => Ok(()),
            other => other.map(drop),
        })
    }

    fn has_offloads(&self) -> bool {
        true
    }

    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        let Offloads { checksum, tcp4, tcp6 } = offloads;
        let pick = |is_wanted: bool, flag: usize| if is_wanted && checksum { flag } else { 0 };
        let flags = pick(true, CHECKSUM) | pick(tcp4, TCP4) | pick(tcp6, TCP6);
        // SAFETY: the kernel takes the number itself.
        unsafe { ioctl(&self.descriptor, IntegerSetter::<SET_OFFLOADS>::new_usize(flags))? };
        Ok(())
    }

    fn set_enabled(&mut self, enabled: bool) -> io::Result<()> {
        if !self.has_several || self.is_enabled == enabled {
            return Ok(());
        }
        let request = Request::new("", if enabled { ATTACH } else { DETACH })?;
        // SAFETY: the kernel reads a `struct ifreq`.
        unsafe { ioctl(&self.descriptor, Setter::<SET_QUEUE, Request>::new(request))? };
        self.is_enabled = enabled;
        Ok(())
    }
}
