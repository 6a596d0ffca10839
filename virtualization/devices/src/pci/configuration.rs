//! A function's configuration space (PCI 3.0, 6.1): 256 bytes, of which the guest may write some.

use super::bus::PciFunction;

const SIZE: usize = 0x100;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BASE_ADDRESS: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const FIRST_CAPABILITY: u8 = 0x40;

/// Command: answer to memory accesses; be a bus master; no interrupt pins.
const MEMORY: u8 = 1 << 1;
const BUS_MASTER: u8 = 1 << 2;
const NO_PINS: u8 = 1 << 2;
/// Status: there is a list of capabilities.
const HAS_CAPABILITIES: u8 = 1 << 4;

/// What a function is.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The maker.
    pub vendor: u16,
    /// The device.
    pub device: u16,
    /// Base class and subclass (PCI Code and ID Assignment).
    pub class: u16,
    /// Revision.
    pub revision: u8,
    /// What the maker of the card calls it.
    pub subsystem: u16,
}

/// A capability: its number, and what comes after its header. The guest may write the bits that are set in `writable`.
#[derive(Debug, Clone)]
pub struct Capability {
    /// Its number.
    pub id: u8,
    /// Its bytes, without number and link.
    pub body: Vec<u8>,
    /// Which bits of them may be written; missing bytes may not.
    pub writable: Vec<u8>,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Nothing that anyone need know.
    Nothing,
    /// The function's memory may be elsewhere now, or nowhere.
    Mapping,
}

/// Configuration space with at most one base address, of memory below 4 GiB.
#[derive(Debug)]
pub struct Configuration {
    bytes: [u8; SIZE],
    writable: [u8; SIZE],
    size: u32,
    next: u8,
}

impl Configuration {
    /// The space of a function without memory.
    pub fn new(identity: Identity) -> Self {
        let mut space = Self { bytes: [0; SIZE], writable: [0; SIZE], size: 0, next: FIRST_CAPABILITY };
        space.put(0x00, &identity.vendor.to_le_bytes());
        space.put(0x02, &identity.device.to_le_bytes());
        space.put(0x08, &[identity.revision, 0]);
        space.put(0x0a, &identity.class.to_le_bytes());
        space.put(0x2c, &identity.vendor.to_le_bytes());
        space.put(0x2e, &identity.subsystem.to_le_bytes());
        space.writable[COMMAND] = MEMORY | BUS_MASTER;
        space.writable[COMMAND + 1] = NO_PINS;
        // Interrupt line: the guest's own note.
        space.writable[0x3c] = 0xff;
        space
    }

    /// With so many bytes of memory, a power of two and at least 16, at first at this address.
    #[must_use]
    pub fn with_memory(mut self, address: u32, size: u32) -> Self {
        self.size = size;
        self.put(BASE_ADDRESS, &address.to_le_bytes());
        let writable = !(size - 1) & !0xf;
        self.writable[BASE_ADDRESS..BASE_ADDRESS + 4].copy_from_slice(&writable.to_le_bytes());
        self
    }

    /// Adds a capability and returns where it is.
    ///
    /// # Panics
    /// Where there is no room; what a device has is decided here, not by a guest.
    pub fn add(&mut self, capability: &Capability) -> usize {
        let start = usize::from(self.next);
        let mut link = CAPABILITIES;
        while self.bytes[link] != 0 {
            link = usize::from(self.bytes[link]) + 1;
        }
        self.bytes[link] = self.next;
        self.bytes[STATUS] |= HAS_CAPABILITIES;
        self.bytes[start] = capability.id;
        self.put(start + 2, &capability.body);
        self.writable[start + 2..start + 2 + capability.writable.len()].copy_from_slice(&capability.writable);
        self.next = u8::try_from((start + 2 + capability.body.len()).next_multiple_of(4)).expect("capabilities fit");
        start
    }

    fn put(&mut self, start: usize, bytes: &[u8]) {
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// A read by the guest.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        match self.bytes.get(offset..offset.saturating_add(data.len())) {
            Some(bytes) => data.copy_from_slice(bytes),
            None => data.fill(0xff),
        }
    }

    /// A write by the guest.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> Written {
        let before = self.memory();
        for (place, new) in (offset..SIZE).zip(data) {
            let mask = self.writable[place];
            self.bytes[place] = self.bytes[place] & !mask | new & mask;
        }
        if self.memory() == before { Written::Nothing } else { Written::Mapping }
    }

    /// All of it, as it is now.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes what the guest may write as it was in these bytes; `false`, with nothing changed, where they are another function's.
    pub fn restore(&mut self, saved: &[u8]) -> bool {
        let same = |((ours, mask), saved): ((&u8, &u8), &u8)| (ours ^ saved) & !mask == 0;
        if saved.len() != SIZE || !self.bytes.iter().zip(&self.writable).zip(saved).all(same) {
            return false;
        }
        self.bytes.copy_from_slice(saved);
        true
    }

    /// Where the function's memory is, if it answers to accesses.
    pub fn memory(&self) -> Option<u64> {
        let base = u32::from_le_bytes(self.bytes[BASE_ADDRESS..BASE_ADDRESS + 4].try_into().unwrap_or_default());
        // All ones is how the guest asks for the size.
        let is_address = self.size > 0 && base & !0xf != self.writable_base();
        (is_address && self.bytes[COMMAND] & MEMORY != 0).then_some(u64::from(base & !0xf))
    }

    fn writable_base(&self) -> u32 {
        !(self.size - 1) & !0xf
    }

    /// The place of an address in the function's memory.
    pub fn offset_of(&self, address: u64, length: usize) -> Option<u64> {
        let offset = address.checked_sub(self.memory()?)?;
        (offset.checked_add(length as u64)? <= u64::from(self.size)).then_some(offset)
    }
}

/// The host bridge: there so that guests find a bus at all.
#[derive(Debug)]
pub struct HostBridge(Configuration);

impl HostBridge {
    /// The bridge, which calls itself this.
    pub fn new(identity: Identity) -> Self {
        Self(Configuration::new(identity))
    }
}

impl PciFunction for HostBridge {
    fn read_configuration(&self, offset: usize, data: &mut [u8]) {
        self.0.read(offset, data);
    }

    fn write_configuration(&self, _offset: usize, _data: &[u8]) {}

    fn read(&self, _address: u64, _data: &mut [u8]) -> bool {
        false
    }

    fn write(&self, _address: u64, _data: &[u8]) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Configuration {
        let identity = Identity { vendor: 0x1af4, device: 0x1042, class: 0x0180, revision: 1, subsystem: 0x1042 };
        let mut space = Configuration::new(identity).with_memory(0xc000_0000, 0x8000);
        let first = Capability { id: 9, body: vec![1, 2, 3], writable: vec![0xff] };
        assert_eq!(space.add(&first), 0x40);
        assert_eq!(space.add(&Capability { id: 0x11, ..first }), 0x48);
        space
    }

    fn read<const N: usize>(space: &Configuration, offset: usize) -> [u8; N] {
        let mut data = [0; N];
        space.read(offset, &mut data);
        data
    }

    #[test]
    fn a_guest_finds_size_and_capabilities() {
        let mut space = space();
        assert_eq!(space.memory(), None);
        space.write(COMMAND, &[0xff, 0xff]);
        assert_eq!(read(&space, COMMAND), [MEMORY | BUS_MASTER, NO_PINS]);
        assert_eq!(space.memory(), Some(0xc000_0000));
        assert_eq!(space.write(BASE_ADDRESS, &[0xff; 4]), Written::Mapping);
        assert_eq!(u32::from_le_bytes(read(&space, BASE_ADDRESS)), 0xffff_8000);
        assert_eq!(space.memory(), None);
        space.write(BASE_ADDRESS, &0xd000_1234_u32.to_le_bytes());
        assert_eq!(space.memory(), Some(0xd000_0000));
        assert_eq!(space.offset_of(0xd000_7ffc, 4), Some(0x7ffc));
        assert_eq!(space.offset_of(0xd000_7ffd, 4), None);
        assert_eq!((read(&space, CAPABILITIES), read(&space, 0x40), read(&space, 0x48)), ([0x40], [9, 0x48], [0x11, 0]));
    }

    #[test]
    fn what_is_restored_is_the_same_function() {
        let mut written = space();
        written.write(COMMAND, &[MEMORY]);
        written.write(BASE_ADDRESS, &0xd000_0000_u32.to_le_bytes());
        let mut other = space();
        assert!(other.restore(written.bytes()));
        assert_eq!(other.memory(), Some(0xd000_0000));
        let identity = Identity { vendor: 0x1af4, device: 0x1041, class: 0x0200, revision: 1, subsystem: 0x1041 };
        let mut network = Configuration::new(identity).with_memory(0xc000_0000, 0x8000);
        assert!(!network.restore(written.bytes()) && !network.restore(&[]));
        assert_eq!(network.memory(), None);
    }

    #[test]
    fn only_what_may_be_written_is() {
        let mut space = space();
        space.write(0x40, &[0xff; 6]);
        assert_eq!(read(&space, 0x40), [9, 0x48, 0xff, 2, 3]);
        space.write(0, &[0; 4]);
        assert_eq!(read(&space, 0), [0xf4, 0x1a, 0x42, 0x10]);
        assert_eq!(space.write(0xfe, &[1; 4]), Written::Nothing);
        assert_eq!(read::<4>(&space, 0xfe), [0xff; 4]);
    }
}
