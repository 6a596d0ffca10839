//! A guest's driver.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confinement::{Confinement, Thread};
use devices::EventLoop;
use devices::pci::PciFunction;
use devices::virtio::{VirtioDevice, VirtioPci};
use hv::GuestMemory;
use hv::fake::FakeVm;
use serde_json::Value;
use vm_memory::{Bytes, GuestAddress};

/// Where the device is, in memory space.
pub const BASE: u64 = 0xc000_0000;
/// Bytes of the guest's memory.
pub const MEMORY: u64 = 4 << 20;
/// Where a queue's parts are, one queue after the other.
const QUEUES: u64 = 0x1_0000;
const QUEUE_SPACE: u64 = 0x1_0000;
const AVAILABLE: u64 = 0x8000;
const USED: u64 = 0xc000;
/// Where buffers are.
pub const BUFFERS: u64 = 0x10_0000;

/// Threads are confined as a machine's are, so that every test also shows that they may do what they have to.
pub fn confined() -> Confinement {
    Confinement::new().unwrap()
}

/// A loop for devices.
pub fn events() -> Arc<EventLoop> {
    Arc::new(EventLoop::new("test", Thread::Events, &confined()).unwrap())
}

/// Descriptor flags.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// A descriptor: address, length, flags, next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Descriptor(pub u64, pub u32, pub u16, pub u16);

impl Descriptor {
    pub fn bytes(self) -> [u8; 16] {
        let Self(address, length, flags, next) = self;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        bytes
    }
}

/// The driver of one device.
pub struct Driver {
    pub vm: Arc<FakeVm>,
    pub function: VirtioPci,
    pub memory: GuestMemory,
    /// How much each queue has been given, and its size.
    queues: Vec<(u16, u16)>,
}

impl Driver {
    /// A device that nobody has set up.
    pub fn of(device: Box<dyn VirtioDevice>) -> Self {
        let memory = hv::allocate(&[(0, MEMORY)]).unwrap();
        let vm = Arc::new(FakeVm::default());
        let function = VirtioPci::new(device, BASE as u32, vm.clone(), memory.clone()).unwrap();
        function.write_configuration(4, &[6, 0]);
        Self { vm, function, memory, queues: Vec::new() }
    }

    /// A device that is set up with these features of its own, and all its queues.
    pub fn ready(device: Box<dyn VirtioDevice>, features: u64) -> Self {
        let sizes = device.queue_sizes();
        Self::of(device).on_vcpu(move |driver| driver.set_up(features, &sizes))
    }

    /// Does something on a thread that is confined as a vCPU's is: what it may do, all of a driver's accesses to registers have to do with.
    pub fn on_vcpu(mut self, what: impl FnOnce(&mut Self) + Send + 'static) -> Self {
        let (sender, driver) = std::sync::mpsc::channel();
        let what = move || {
            what(&mut self);
            drop(sender.send(self));
        };
        confined().spawn(Thread::Vcpu, "vcpu".to_owned(), what).unwrap();
        driver.recv().unwrap()
    }

    pub fn set_up(&mut self, features: u64, sizes: &[u16]) {
        self.write(0x14, &[0]);
        self.write(0x14, &[3]);
        let features = features | 1 << 32;
        for (select, half) in [(0_u32, features as u32), (1, (features >> 32) as u32)] {
            self.write(0x08, &select.to_le_bytes());
            self.write(0x0c, &half.to_le_bytes());
        }
        self.write(0x14, &[11]);
        assert_eq!(self.status(), 11, "the device takes the features");
        self.queues.clear();
        for (number, size) in (0_u16..).zip(sizes) {
            let start = QUEUES + u64::from(number) * QUEUE_SPACE;
            let zeros = vec![0; QUEUE_SPACE as usize];
            self.memory.write_slice(&zeros, GuestAddress(start)).unwrap();
            self.write(0x16, &number.to_le_bytes());
            self.write(0x18, &size.to_le_bytes());
            self.write(0x1a, &(number + 1).to_le_bytes());
            self.write(0x20, &start.to_le_bytes());
            self.write(0x28, &(start + AVAILABLE).to_le_bytes());
            self.write(0x30, &(start + USED).to_le_bytes());
            self.write(0x1c, &1_u16.to_le_bytes());
            self.queues.push((0, *size));
        }
        self.write(0x14, &[15]);
    }

    /// The device as it is kept, in what it is written as.
    pub fn save(&self) -> Value {
        serde_json::to_value(self.function.save().unwrap()).unwrap()
    }

    /// Goes on with this device, which becomes what that one was; the memory is the same.
    pub fn restore(&mut self, device: Box<dyn VirtioDevice>, saved: Value) -> io::Result<()> {
        let vm = Arc::new(FakeVm::default());
        let function = VirtioPci::new(device, BASE as u32, vm.clone(), self.memory.clone()).unwrap();
        function.pause();
        function.restore(&serde_json::from_value(saved).map_err(io::Error::other)?)?;
        (self.vm, self.function) = (vm, function);
        Ok(())
    }

    pub fn write(&self, offset: u64, data: &[u8]) {
        assert!(self.function.write(BASE + offset, data));
    }

    pub fn read<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut data = [0; N];
        assert!(self.function.read(BASE + offset, &mut data));
        data
    }

    /// Whether the function's registers are at [`BASE`].
    pub fn answers(&self) -> bool {
        self.function.read(BASE, &mut [0])
    }

    pub fn status(&self) -> u8 {
        self.read::<1>(0x14)[0]
    }

    pub fn put_descriptor(&self, queue: u16, index: u16, descriptor: Descriptor) {
        let place = QUEUES + u64::from(queue) * QUEUE_SPACE + u64::from(index) * 16;
        self.memory.write_slice(&descriptor.bytes(), GuestAddress(place)).unwrap();
    }

    /// Makes the chain that begins at this descriptor available.
    pub fn offer(&mut self, queue: u16, head: u16) {
        self.offer_all(queue, [head]);
    }

    /// Makes chains available, of which the device hears at once.
    pub fn offer_all(&mut self, queue: u16, heads: impl IntoIterator<Item = u16>) {
        let (mut offered, size) = self.queues[usize::from(queue)];
        let available = QUEUES + u64::from(queue) * QUEUE_SPACE + AVAILABLE;
        for head in heads {
            self.memory.write_obj(head, GuestAddress(available + 4 + u64::from(offered % size) * 2)).unwrap();
            offered = offered.wrapping_add(1);
        }
        self.queues[usize::from(queue)].0 = offered;
        self.set_available(queue, offered);
        self.ring(queue);
    }

    pub fn set_available(&self, queue: u16, index: u16) {
        let available = QUEUES + u64::from(queue) * QUEUE_SPACE + AVAILABLE;
        self.memory.write_obj(index, GuestAddress(available + 2)).unwrap();
    }

    pub fn ring(&self, queue: u16) {
        assert!(self.vm.ring(BASE + 0x3000 + u64::from(queue) * 4));
    }

    /// How many chains the device has used.
    pub fn used(&self, queue: u16) -> u16 {
        self.memory.read_obj(GuestAddress(QUEUES + u64::from(queue) * QUEUE_SPACE + USED + 2)).unwrap()
    }

    /// Whether the device has used everything.
    pub fn has_used_all(&self, queue: u16) -> bool {
        self.used(queue) == self.queues[usize::from(queue)].0
    }

    /// Waits until the device has used everything; returns how many bytes it wrote to the last chain.
    pub fn wait(&self, queue: u16) -> u32 {
        let (offered, size) = self.queues[usize::from(queue)];
        self.until("the device uses what it was given", |driver| driver.has_used_all(queue));
        self.used_element(queue, offered.wrapping_sub(1) % size).1
    }

    /// The head of the chain, and how many bytes the device wrote to it.
    pub fn used_element(&self, queue: u16, index: u16) -> (u32, u32) {
        let place = QUEUES + u64::from(queue) * QUEUE_SPACE + USED + 4 + u64::from(index) * 8;
        (self.memory.read_obj(GuestAddress(place)).unwrap(), self.memory.read_obj(GuestAddress(place + 4)).unwrap())
    }

    pub fn wait_for_needs_reset(&self) {
        self.until("the device asks for a reset", |driver| driver.status() & 64 != 0);
    }

    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !holds(self) {
            assert!(Instant::now() < until, "not in time: {what}");
            std::thread::yield_now();
        }
    }

    /// Gives the device a chain of these parts, one after the other from [`BUFFERS`] on: bytes for it, and room for its answer.
    pub fn request(&mut self, queue: u16, parts: &[Part]) -> Vec<Vec<u8>> {
        let mut place = BUFFERS;
        let mut answers = Vec::new();
        for (index, part) in (0_u16..).zip(parts) {
            let (length, flags) = match part {
                Part::Give(bytes) => {
                    self.memory.write_slice(bytes, GuestAddress(place)).unwrap();
                    (bytes.len(), 0)
                }
                Part::Room(length) => {
                    answers.push((place, *length));
                    (*length, WRITE)
                }
            };
            let more = if usize::from(index) + 1 < parts.len() { NEXT } else { 0 };
            self.put_descriptor(queue, index, Descriptor(place, u32::try_from(length).unwrap(), flags | more, index + 1));
            place += length as u64;
        }
        self.offer(queue, 0);
        self.wait(queue);
        let read = |(place, length): &(u64, usize)| {
            let mut bytes = vec![0; *length];
            self.memory.read_slice(&mut bytes, GuestAddress(*place)).unwrap();
            bytes
        };
        answers.iter().map(read).collect()
    }
}

/// A part of a chain.
pub enum Part {
    Give(Vec<u8>),
    Room(usize),
}

/// A file of this many bytes.
pub fn file(bytes: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes).unwrap();
    file
}
