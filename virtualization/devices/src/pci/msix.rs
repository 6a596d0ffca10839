//! MSI-X (PCI 3.0, 6.8.2): the table in which the guest says which message each interrupt of a function is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hv::{Event, Interrupts, MessageInterrupt, MsiMessage};
use serde::{Deserialize, Serialize};

use super::configuration::Capability;

/// Bytes of an entry of the table: address, data, vector control.
const ENTRY: usize = 16;
/// Vector control: masked.
const MASKED: u32 = 1 << 0;
/// The high byte of message control: the whole function is masked; MSI-X is in use.
const FUNCTION_MASKED: u8 = 1 << 6;
const ENABLED: u8 = 1 << 7;

/// A number that stands for no interrupt (Virtio 1.2, 4.1.4.3, `VIRTIO_MSI_NO_VECTOR`).
pub const NO_VECTOR: u16 = 0xffff;

struct Entry {
    words: [u32; 4],
    pending: bool,
    interrupt: Arc<dyn MessageInterrupt>,
}

impl Entry {
    fn message(&self) -> MsiMessage {
        let [low, high, data, _] = self.words;
        MsiMessage { address: u64::from(high) << 32 | u64::from(low), data }
    }
}

struct Table {
    entries: Vec<Entry>,
    control: u8,
}

impl Table {
    fn is_masked(&self, entry: &Entry) -> bool {
        self.control & (ENABLED | FUNCTION_MASKED) != ENABLED || entry.words[3] & MASKED != 0
    }

    /// Tells the hypervisor what an entry's message is now, and sends what has waited for that.
    fn update(&mut self, index: usize) {
        let Some(entry) = self.entries.get(index) else { return };
        if self.is_masked(entry) {
            // Other processes trigger interrupts too, and know nothing of this table.
            entry.interrupt.mask();
            return;
        }
        if let Err(error) = entry.interrupt.set_message(entry.message()) {
            tracing::warn!(%error, "an interrupt of the guest could not be routed");
        } else if let Some(entry) = self.entries.get_mut(index)
            && std::mem::take(&mut entry.pending)
        {
            entry.interrupt.interrupt().trigger();
        }
    }
}

/// A table, to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    control: u8,
    /// Address, data and vector control of each entry, and whether it waits.
    entries: Vec<([u32; 4], bool)>,
}

/// The table of a function.
pub struct Msix {
    table: Mutex<Table>,
}

impl std::fmt::Debug for Msix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Msix")
    }
}

impl Msix {
    /// A table with so many entries.
    ///
    /// # Errors
    /// Where there are no interrupts left.
    pub fn new(count: u16, interrupts: &dyn Interrupts) -> hv::Result<Arc<Self>> {
        let entry = || Ok(Entry { words: [0, 0, 0, MASKED], pending: false, interrupt: interrupts.message()? });
        let entries = (0..count).map(|_| entry()).collect::<hv::Result<_>>()?;
        Ok(Arc::new(Self { table: Mutex::new(Table { entries, control: 0 }) }))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The capability, with table and pending bits at these offsets of the first base address.
    pub fn capability(&self, table: u32, pending: u32) -> Capability {
        let last = u16::try_from(self.lock().entries.len().saturating_sub(1)).unwrap_or(u16::MAX);
        let body = [&last.to_le_bytes()[..], &table.to_le_bytes(), &pending.to_le_bytes()].concat();
        Capability { id: 0x11, body, writable: vec![0, FUNCTION_MASKED | ENABLED] }
    }

    /// The guest wrote the high byte of message control.
    pub fn set_control(&self, control: u8) {
        let mut table = self.lock();
        if table.control != control {
            table.control = control;
            (0..table.entries.len()).for_each(|index| table.update(index));
        }
    }

    /// A read of the table.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let table = self.lock();
        let bytes = table.entries.iter().flat_map(|entry| entry.words).flat_map(u32::to_le_bytes);
        let mut bytes = bytes.skip(usize::try_from(offset).unwrap_or(usize::MAX));
        data.fill_with(|| bytes.next().unwrap_or(0));
    }

    /// A write of the table: 4 or 8 bytes at a multiple of that.
    pub fn write(&self, offset: u64, data: &[u8]) {
        let Ok(offset) = usize::try_from(offset) else { return };
        if !matches!(data.len(), 4 | 8) || !offset.is_multiple_of(data.len()) {
            return;
        }
        let (index, first) = (offset / ENTRY, offset % ENTRY / 4);
        let mut table = self.lock();
        let Some(entry) = table.entries.get_mut(index) else { return };
        for (word, bytes) in entry.words[first..].iter_mut().zip(data.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        table.update(index);
    }

    /// A read of the pending bits.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        let table = self.lock();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, byte) in data.iter_mut().enumerate() {
            let first = offset.saturating_add(place).saturating_mul(8);
            let bits = table.entries.iter().skip(first).take(8).enumerate();
            *byte = bits.fold(0, |bits, (bit, entry)| bits | u8::from(entry.pending) << bit);
        }
    }

    /// The table as it is.
    pub fn save(&self) -> MsixState {
        let table = self.lock();
        MsixState { control: table.control, entries: table.entries.iter().map(|entry| (entry.words, entry.pending)).collect() }
    }

    /// The table as it was; `false`, with nothing changed, where that was one of another size.
    pub fn restore(&self, state: &MsixState) -> bool {
        let mut table = self.lock();
        if state.entries.len() != table.entries.len() {
            return false;
        }
        table.control = state.control;
        for (entry, (words, pending)) in table.entries.iter_mut().zip(&state.entries) {
            (entry.words, entry.pending) = (*words, *pending);
        }
        (0..table.entries.len()).for_each(|index| table.update(index));
        true
    }

    /// As after power-on.
    pub fn reset(&self) {
        let mut table = self.lock();
        table.control = 0;
        for entry in &mut table.entries {
            (entry.words, entry.pending) = ([0, 0, 0, MASKED], false);
            entry.interrupt.mask();
            let _ = entry.interrupt.interrupt().event().take();
        }
    }

    /// The event of an entry, for another process to interrupt the guest by.
    pub fn event(&self, vector: u16) -> Option<Event> {
        self.lock().entries.get(usize::from(vector)).map(|entry| entry.interrupt.interrupt().event().clone())
    }

    /// Interrupts the guest by an entry; one that is masked is sent when it is no longer.
    pub fn trigger(&self, vector: u16) {
        let mut table = self.lock();
        let Some(entry) = table.entries.get(usize::from(vector)) else { return };
        if !table.is_masked(entry) {
            entry.interrupt.interrupt().trigger();
        } else if table.control & ENABLED != 0
            && let Some(entry) = table.entries.get_mut(usize::from(vector))
        {
            entry.pending = true;
        }
    }
}

/// One interrupt of a function.
#[derive(Debug, Clone)]
pub struct Vector {
    table: Arc<Msix>,
    number: u16,
}

impl Vector {
    /// The interrupt of this entry.
    pub fn new(table: &Arc<Msix>, number: u16) -> Self {
        Self { table: Arc::clone(table), number }
    }

    /// Interrupts the guest.
    pub fn trigger(&self) {
        self.table.trigger(self.number);
    }
}

#[cfg(test)]
mod tests {
    use hv::fake::FakeVm;

    use super::*;

    fn fired(msix: &Msix, index: usize) -> bool {
        msix.lock().entries[index].interrupt.interrupt().event().take()
    }

    #[test]
    fn what_is_masked_waits() {
        let msix = Msix::new(2, &FakeVm::default()).unwrap();
        msix.trigger(1);
        msix.set_control(ENABLED);
        assert!(!fired(&msix, 1), "an interrupt from before MSI-X was in use");
        msix.trigger(1);
        assert!(!fired(&msix, 1));
        let mut pending = [0];
        msix.read_pending(0, &mut pending);
        assert_eq!(pending, [2]);
        msix.write(16, &0xfee0_0000_u64.to_le_bytes());
        msix.write(24, &[0x31, 0, 0, 0, 0, 0, 0, 0]);
        assert!(fired(&msix, 1));
        msix.set_control(ENABLED | FUNCTION_MASKED);
        msix.trigger(1);
        assert!(!fired(&msix, 1));
        msix.set_control(ENABLED);
        assert!(fired(&msix, 1));
        msix.trigger(NO_VECTOR);
        // Who has only the event interrupts the guest by the same entry.
        msix.event(1).unwrap().signal();
        assert!(fired(&msix, 1));
        assert!(msix.event(2).is_none());
    }

    #[test]
    fn a_table_is_restored_with_what_waits() {
        let msix = Msix::new(2, &FakeVm::default()).unwrap();
        msix.write(16, &0xfee0_0000_u64.to_le_bytes());
        msix.set_control(ENABLED);
        msix.trigger(1);
        let state = serde_json::from_value(serde_json::json!(msix.save())).unwrap();
        let other = Msix::new(2, &FakeVm::default()).unwrap();
        assert!(other.restore(&state) && !fired(&other, 1));
        assert_eq!(other.save(), state);
        other.write(28, &[0; 4]);
        assert!(fired(&other, 1));
        assert!(!Msix::new(3, &FakeVm::default()).unwrap().restore(&state));
    }

    #[test]
    fn no_access_panics() {
        let msix = Msix::new(3, &FakeVm::default()).unwrap();
        for offset in [0, 1, 4, 44, 45, 48, 1 << 40, u64::MAX] {
            for length in [1, 2, 4, 8] {
                msix.write(offset, &[0xff; 8][..length]);
                msix.read(offset, &mut [0; 8][..length]);
                msix.read_pending(offset, &mut [0; 8][..length]);
            }
        }
    }
}
