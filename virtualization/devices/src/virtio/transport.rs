//! Virtio over PCI (Virtio 1.2, 4.1): what every device has in common.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hv::{Event, GuestMemory, Vm};
use virtio_queue::{Queue, QueueT};

use super::queue::{ActiveQueue, Failure, Position, QueueInterrupt};
use super::{Activation, Kind, VirtioDevice, feature};
use crate::pci::{Capability, Configuration, Identity, Msix, NO_VECTOR, PciFunction, Written};

mod saved;

pub use saved::{SavedQueue, SavedVirtioPci};

/// Bytes of a function's memory, and what is where in it.
const MEMORY_SIZE: u32 = 0x8000;
const COMMON: u64 = 0x0000;
const COMMON_SIZE: u32 = 0x40;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const DEVICE_SIZE: u32 = 0x1000;
const NOTIFY: u64 = 0x3000;
const NOTIFY_SIZE: u32 = 0x1000;
const TABLE: u64 = 0x4000;
const PENDING: u64 = 0x5000;
const PENDING_END: u64 = 0x6000;
/// Bytes from one queue's doorbell to the next's.
const DOORBELL: u64 = 4;

/// Device status (Virtio 1.2, 2.1).
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;

/// Vendor of virtio devices, and the first device number of version 1.
const VENDOR: u16 = 0x1af4;
const FIRST_DEVICE: u16 = 0x1040;
const VENDOR_CAPABILITY: u8 = 0x09;

/// Base class and subclass, as guests sort devices by.
fn class(kind: Kind) -> u16 {
    match kind {
        Kind::Network => 0x0200,
        Kind::Block | Kind::FileSystem => 0x0180,
        Kind::Console => 0x0780,
        Kind::Entropy | Kind::Balloon | Kind::Socket => 0x00ff,
    }
}

/// A virtio device in a slot of the PCI bus.
pub struct VirtioPci {
    state: Mutex<State>,
    msix: Arc<Msix>,
    doorbells: Vec<Event>,
    vm: Arc<dyn Vm>,
    memory: GuestMemory,
    /// Where the capability for access by configuration space is.
    window: usize,
    /// Where that of MSI-X is.
    interrupts: usize,
}

struct State {
    configuration: Configuration,
    device: Box<dyn VirtioDevice>,
    queues: Vec<QueueSetup>,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    status: u8,
    queue_select: u16,
    needs_reset: Arc<AtomicBool>,
    configuration_vector: Arc<AtomicU16>,
    /// Where doorbells are attached.
    mapped: Option<u64>,
}

struct QueueSetup {
    queue: Queue,
    vector: u16,
    enabled: bool,
    /// How far the device has served it, once it is active.
    position: Arc<Position>,
}

impl QueueSetup {
    fn new(size: u16) -> Option<Self> {
        let queue = Queue::new(size).ok()?;
        Some(Self { position: Position::of(&queue), queue, vector: NO_VECTOR, enabled: false })
    }
}

impl std::fmt::Debug for VirtioPci {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VirtioPci({:?})", self.lock().device.kind())
    }
}

/// A capability that says where a part of the device is (4.1.4).
fn part(kind: u8, offset: u64, size: u32, more: &[u8]) -> Capability {
    let length = u8::try_from(16 + more.len()).unwrap_or(u8::MAX);
    // The offsets are below MEMORY_SIZE.
    let body = [&[length, kind, 0, 0, 0, 0][..], &(offset as u32).to_le_bytes(), &size.to_le_bytes(), more].concat();
    Capability { id: VENDOR_CAPABILITY, body, writable: Vec::new() }
}

impl VirtioPci {
    /// The device, with its memory at this address, below 4 GiB, a multiple of [`Self::MEMORY_SIZE`].
    ///
    /// # Errors
    /// Where there are no descriptors or interrupts left.
    pub fn new(device: Box<dyn VirtioDevice>, address: u32, vm: Arc<dyn Vm>, memory: GuestMemory) -> hv::Result<Self> {
        let kind = device.kind();
        let queues: Vec<QueueSetup> = device.queue_sizes().into_iter().filter_map(QueueSetup::new).collect();
        // One for each queue and one for changes of the configuration; there are far fewer than 65 535 queues.
        let msix = Msix::new(queues.len() as u16 + 1, &*vm)?;
        let event = |_: &QueueSetup| Event::new().map_err(|source| hv::Error::Refused { attempt: "make a doorbell", source });
        let doorbells = queues.iter().map(event).collect::<hv::Result<Vec<_>>>()?;

        let number = FIRST_DEVICE + kind as u16;
        let identity = Identity { vendor: VENDOR, device: number, class: class(kind), revision: 1, subsystem: number };
        let mut configuration = Configuration::new(identity).with_memory(address, MEMORY_SIZE);
        let interrupts = configuration.add(&msix.capability(TABLE as u32, PENDING as u32));
        configuration.add(&part(1, COMMON, COMMON_SIZE, &[]));
        configuration.add(&part(2, NOTIFY, NOTIFY_SIZE, &(DOORBELL as u32).to_le_bytes()));
        configuration.add(&part(3, ISR, 1, &[]));
        configuration.add(&part(4, DEVICE, DEVICE_SIZE, &[]));
        let mut window = part(5, 0, 0, &[0; 4]);
        // Base address, offset and length are the guest's to choose.
        window.writable = vec![0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let window = configuration.add(&window);

        let state = State {
            configuration,
            device,
            queues,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            status: 0,
            queue_select: 0,
            needs_reset: Arc::default(),
            configuration_vector: Arc::new(AtomicU16::new(NO_VECTOR)),
            mapped: None,
        };
        Ok(Self { state: Mutex::new(state), msix, doorbells, vm, memory, window, interrupts })
    }

    /// Makes the device's own threads stand still.
    pub fn pause(&self) {
        self.lock().device.pause();
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.lock().device.resume();
    }

    /// Bytes of a device's memory.
    pub const MEMORY_SIZE: u32 = MEMORY_SIZE;

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches the doorbells where the guest has put the device's memory.
    fn remap(&self, state: &mut State) {
        let now = state.configuration.memory();
        if state.mapped == now {
            return;
        }
        for (base, attach) in [(state.mapped, false), (now, true)] {
            let Some(base) = base else { continue };
            for (event, number) in self.doorbells.iter().zip(0..) {
                let address = base + NOTIFY + number * DOORBELL;
                let done = if attach { self.vm.attach(address, event) } else { self.vm.detach(address, event) };
                // Writes that do not become events come to `write`, only slower.
                if let Err(error) = done {
                    tracing::warn!(%error, "a doorbell could not be moved");
                }
            }
        }
        state.mapped = now;
    }

    fn read_memory(&self, offset: u64, data: &mut [u8]) {
        match offset {
            COMMON..ISR => read_from(&self.lock().common(), offset, data),
            // Interrupts are messages, which have no status to read.
            ISR..DEVICE => data.fill(0),
            DEVICE..NOTIFY => {
                let state = self.lock();
                read_from(&state.device.configuration(), offset - DEVICE, data);
                state.device.configuration_was_read(offset - DEVICE, data.len());
            }
            NOTIFY..TABLE => data.fill(0),
            TABLE..PENDING => self.msix.read(offset - TABLE, data),
            PENDING..PENDING_END => self.msix.read_pending(offset - PENDING, data),
            _ => data.fill(0),
        }
    }

    fn write_memory(&self, offset: u64, data: &[u8]) {
        match offset {
            COMMON..ISR => self.write_common(offset, data),
            DEVICE..NOTIFY => self.lock().device.write_configuration(offset - DEVICE, data),
            NOTIFY..TABLE => {
                let number = usize::try_from((offset - NOTIFY) / DOORBELL).unwrap_or(usize::MAX);
                if let Some(doorbell) = self.doorbells.get(number) {
                    doorbell.signal();
                }
            }
            TABLE..PENDING => self.msix.write(offset - TABLE, data),
            _ => {}
        }
    }

    /// A write of a register of the common configuration (4.1.4.3). Each is written with its own width, 64-bit ones also by halves.
    fn write_common(&self, offset: u64, data: &[u8]) {
        let mut bytes = [0; 8];
        let Some(place) = bytes.get_mut(..data.len()) else { return };
        place.copy_from_slice(data);
        let value = u64::from_le_bytes(bytes);
        // What does not fit into a register's width is not looked at.
        let (low, half, byte) = (value as u32, value as u16, value as u8);
        let mut state = self.lock();
        let state = &mut *state;
        let vectors = self.doorbells.len() + 1;
        let known_vector = if usize::from(half) < vectors { half } else { NO_VECTOR };
        match offset {
            0x00 => state.device_feature_select = low,
            0x08 => state.driver_feature_select = low,
            0x0c if state.status & FEATURES_OK == 0 => state.set_driver_features(low),
            0x10 => state.configuration_vector.store(known_vector, Ordering::SeqCst),
            0x14 => self.set_status(state, byte),
            0x16 => state.queue_select = half,
            _ => {
                let Some(setup) = state.queues.get_mut(usize::from(state.queue_select)) else { return };
                // A queue in use stays as it is.
                if setup.enabled {
                    return;
                }
                let high_half = Some((value >> 32) as u32).filter(|_| data.len() == 8);
                match offset {
                    0x18 => setup.queue.set_size(half),
                    0x1a => setup.vector = known_vector,
                    0x1c if half == 1 => setup.enabled = true,
                    0x20 => setup.queue.set_desc_table_address(Some(low), high_half),
                    0x24 => setup.queue.set_desc_table_address(None, Some(low)),
                    0x28 => setup.queue.set_avail_ring_address(Some(low), high_half),
                    0x2c => setup.queue.set_avail_ring_address(None, Some(low)),
                    0x30 => setup.queue.set_used_ring_address(Some(low), high_half),
                    0x34 => setup.queue.set_used_ring_address(None, Some(low)),
                    _ => {}
                }
            }
        }
    }

    fn set_status(&self, state: &mut State, status: u8) {
        if status == 0 {
            self.reset(state);
            return;
        }
        let before = state.status;
        // Bits are only ever added; whether the device needs a reset is the device's to say.
        state.status |= status & !NEEDS_RESET;
        if status & FEATURES_OK != 0 && before & FEATURES_OK == 0 {
            let features = state.driver_features;
            if features & !state.features() != 0 || features & feature::VERSION_1 == 0 {
                state.status &= !FEATURES_OK;
            }
        }
        if status & DRIVER_OK != 0 && before & DRIVER_OK == 0 && state.status & FEATURES_OK != 0 {
            let (kind, failure) = (state.device.kind(), self.failure(state));
            if let Err(error) = self.activate(state, &failure) {
                failure.fail(&format!("{kind:?}"), &error);
            }
        }
    }

    fn failure(&self, state: &State) -> Failure {
        Failure {
            needs_reset: Arc::clone(&state.needs_reset),
            msix: Arc::clone(&self.msix),
            vector: Arc::clone(&state.configuration_vector),
        }
    }

    fn activate(&self, state: &mut State, failure: &Failure) -> io::Result<()> {
        let unfit = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let features = state.driver_features;
        let mut queues = Vec::new();
        for ((number, setup), doorbell) in (0..).zip(&mut state.queues).zip(&self.doorbells) {
            if !setup.enabled {
                continue;
            }
            setup.queue.set_event_idx(features & feature::EVENT_IDX != 0);
            setup.queue.set_ready(true);
            if !setup.queue.is_valid(&self.memory) {
                return Err(unfit("a queue is not in memory"));
            }
            let queue = Queue::try_from(setup.queue.state()).map_err(|_| unfit("a queue is not set up right"))?;
            setup.position = Position::of(&queue);
            let position = Arc::clone(&setup.position);
            let interrupt = QueueInterrupt { msix: Arc::clone(&self.msix), vector: setup.vector };
            let (memory, doorbell) = (self.memory.clone(), doorbell.clone());
            queues.push((number, ActiveQueue { queue, memory, doorbell, interrupt, given_back: false, position }));
        }
        state.device.activate(Activation { features, queues, failure: failure.clone() })
    }

    fn reset(&self, state: &mut State) {
        if state.status != 0 {
            state.device.reset();
        }
        state.status = 0;
        state.needs_reset.store(false, Ordering::SeqCst);
        state.configuration_vector.store(NO_VECTOR, Ordering::SeqCst);
        (state.device_feature_select, state.driver_feature_select, state.driver_features, state.queue_select) = (0, 0, 0, 0);
        for setup in &mut state.queues {
            setup.queue.reset();
            (setup.vector, setup.enabled, setup.position) = (NO_VECTOR, false, Position::of(&setup.queue));
        }
        // A doorbell that was rung for the driver before.
        for doorbell in &self.doorbells {
            let _ = doorbell.take();
        }
    }

    /// Where the access by configuration space goes (4.1.4.9), if it is one.
    fn windowed(&self, offset: usize, length: usize) -> Option<u64> {
        if offset < self.window + 16 || offset + length > self.window + 20 {
            return None;
        }
        let mut fields = [0; 12];
        self.lock().configuration.read(self.window + 4, &mut fields);
        let word = |place: usize| u32::from_le_bytes(fields[place..place + 4].try_into().unwrap_or_default());
        let (start, size) = (u64::from(word(4)), word(8));
        let fits = fields[0] == 0 && size as usize == length && start + u64::from(size) <= u64::from(MEMORY_SIZE);
        fits.then_some(start)
    }
}

impl State {
    fn features(&self) -> u64 {
        self.device.features() | self.device.common_features() | feature::VERSION_1
    }

    fn set_driver_features(&mut self, value: u32) {
        match self.driver_feature_select {
            0 => self.driver_features = self.driver_features & !0xffff_ffff | u64::from(value),
            1 => self.driver_features = self.driver_features & 0xffff_ffff | u64::from(value) << 32,
            _ => {}
        }
    }

    /// The common configuration, as it is read.
    fn common(&self) -> [u8; COMMON_SIZE as usize] {
        let word = |features: u64, select: u32| match select {
            0 => features as u32,
            1 => (features >> 32) as u32,
            _ => 0,
        };
        let mut registers = [0; COMMON_SIZE as usize];
        let mut put = |place: usize, bytes: &[u8]| registers[place..place + bytes.len()].copy_from_slice(bytes);
        put(0x00, &self.device_feature_select.to_le_bytes());
        put(0x04, &word(self.features(), self.device_feature_select).to_le_bytes());
        put(0x08, &self.driver_feature_select.to_le_bytes());
        put(0x0c, &word(self.driver_features, self.driver_feature_select).to_le_bytes());
        put(0x10, &self.configuration_vector.load(Ordering::SeqCst).to_le_bytes());
        put(0x12, &(self.queues.len() as u16).to_le_bytes());
        let needs_reset = if self.needs_reset.load(Ordering::SeqCst) { NEEDS_RESET } else { 0 };
        put(0x14, &[self.status | needs_reset]);
        put(0x16, &self.queue_select.to_le_bytes());
        if let Some(setup) = self.queues.get(usize::from(self.queue_select)) {
            put(0x18, &setup.queue.size().to_le_bytes());
            put(0x1a, &setup.vector.to_le_bytes());
            put(0x1c, &u16::from(setup.enabled).to_le_bytes());
            put(0x1e, &self.queue_select.to_le_bytes());
            put(0x20, &setup.queue.desc_table().to_le_bytes());
            put(0x28, &setup.queue.avail_ring().to_le_bytes());
            put(0x30, &setup.queue.used_ring().to_le_bytes());
        }
        registers
    }
}

/// Bytes of a register file; beyond its end zeros.
fn read_from(registers: &[u8], offset: u64, data: &mut [u8]) {
    let mut bytes = registers.iter().copied().skip(usize::try_from(offset).unwrap_or(usize::MAX));
    data.fill_with(|| bytes.next().unwrap_or(0));
}

impl PciFunction for VirtioPci {
    fn read_configuration(&self, offset: usize, data: &mut [u8]) {
        match self.windowed(offset, data.len()) {
            Some(place) => self.read_memory(place, data),
            None => self.lock().configuration.read(offset, data),
        }
    }

    fn write_configuration(&self, offset: usize, data: &[u8]) {
        if let Some(place) = self.windowed(offset, data.len()) {
            self.write_memory(place, data);
            return;
        }
        let mut state = self.lock();
        if state.configuration.write(offset, data) == Written::Mapping {
            self.remap(&mut state);
        }
        let mut control = [0];
        state.configuration.read(self.interrupts + 3, &mut control);
        self.msix.set_control(control[0]);
    }

    fn read(&self, address: u64, data: &mut [u8]) -> bool {
        let offset = self.lock().configuration.offset_of(address, data.len());
        offset.inspect(|offset| self.read_memory(*offset, data)).is_some()
    }

    fn write(&self, address: u64, data: &[u8]) -> bool {
        let offset = self.lock().configuration.offset_of(address, data.len());
        offset.inspect(|offset| self.write_memory(*offset, data)).is_some()
    }
}

impl Drop for VirtioPci {
    fn drop(&mut self) {
        self.lock().device.reset();
    }
}
