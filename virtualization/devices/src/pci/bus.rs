//! The bus: which function an access is for.

use std::sync::{Arc, Mutex, PoisonError};

/// Slots of the bus; the first is the host bridge's.
const SLOTS: usize = 32;
/// Bytes of configuration space of a function, as memory.
const FUNCTION_SIZE: u64 = 0x1000;
/// Bytes of configuration space of a function, by ports.
const CONVENTIONAL_SIZE: usize = 0x100;

/// Ports of the older way to configuration space (PCI 3.0, 3.2.2.3.2).
const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// A function: a device as the bus sees it. Called on vCPU threads.
pub trait PciFunction: Send + Sync {
    /// A read of configuration space; `offset` and `data` are within its 256 bytes.
    fn read_configuration(&self, offset: usize, data: &mut [u8]);
    /// A write of configuration space.
    fn write_configuration(&self, offset: usize, data: &[u8]);
    /// A read of memory, if the address is one of the function's.
    fn read(&self, address: u64, data: &mut [u8]) -> bool;
    /// A write of memory, if the address is one of the function's.
    fn write(&self, address: u64, data: &[u8]) -> bool;
}

/// Where a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

/// The bus. Its functions do not change.
pub struct PciBus {
    functions: Vec<Arc<dyn PciFunction>>,
    address: Mutex<u32>,
}

impl PciBus {
    /// A bus with a host bridge.
    pub fn new(host_bridge: Arc<dyn PciFunction>) -> Self {
        Self { functions: vec![host_bridge], address: Mutex::new(0) }
    }

    /// Puts a function into the next slot; `None` where there is none left.
    pub fn add(&mut self, function: Arc<dyn PciFunction>) -> Option<Slot> {
        if self.functions.len() == SLOTS {
            return None;
        }
        self.functions.push(function);
        Some(Slot(self.functions.len() - 1))
    }

    /// What the guest last wrote to the address port.
    pub fn address(&self) -> u32 {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is this again.
    pub fn set_address(&self, address: u32) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// A read of configuration space as memory; `offset` is from its start.
    pub fn read_configuration(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((function, register)) = self.at(offset) {
            if register + data.len() <= CONVENTIONAL_SIZE {
                function.read_configuration(register, data);
            } else {
                // There are no extended capabilities.
                data.fill(0);
            }
        }
    }

    /// A write of configuration space as memory.
    pub fn write_configuration(&self, offset: u64, data: &[u8]) {
        if let Some((function, register)) = self.at(offset).filter(|(_, register)| register + data.len() <= CONVENTIONAL_SIZE) {
            function.write_configuration(register, data);
        }
    }

    /// A read of a port; false where the port is none of the bus's.
    pub fn port_read(&self, port: u16, data: &mut [u8]) -> bool {
        let Some(byte) = port.checked_sub(DATA_PORT).filter(|byte| usize::from(*byte) + data.len() <= 4) else {
            if port == ADDRESS_PORT && data.len() == 4 {
                data.copy_from_slice(&self.address().to_le_bytes());
                return true;
            }
            return false;
        };
        match self.selected() {
            Some(start) => self.read_configuration(start + u64::from(byte), data),
            None => data.fill(0xff),
        }
        true
    }

    /// A write of a port; false where the port is none of the bus's.
    pub fn port_write(&self, port: u16, data: &[u8]) -> bool {
        if let (ADDRESS_PORT, Ok(bytes)) = (port, data.try_into()) {
            self.set_address(u32::from_le_bytes(bytes));
            return true;
        }
        let Some(byte) = port.checked_sub(DATA_PORT).filter(|byte| usize::from(*byte) + data.len() <= 4) else { return false };
        if let Some(start) = self.selected() {
            self.write_configuration(start + u64::from(byte), data);
        }
        true
    }

    /// A read of memory in the bus's window.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        let _ = self.functions.iter().any(|function| function.read(address, data));
    }

    /// A write of memory in the bus's window.
    pub fn write(&self, address: u64, data: &[u8]) {
        let _ = self.functions.iter().any(|function| function.write(address, data));
    }

    /// The function and register of an offset from the start of configuration space.
    fn at(&self, offset: u64) -> Option<(&dyn PciFunction, usize)> {
        let (function, register) = (offset / FUNCTION_SIZE, offset % FUNCTION_SIZE);
        // The low three bits are the function's number in its slot.
        let slot = (function.is_multiple_of(8)).then_some(usize::try_from(function / 8).ok()?)?;
        Some((&**self.functions.get(slot)?, usize::try_from(register).ok()?))
    }

    /// Where in configuration space the address port points to.
    fn selected(&self) -> Option<u64> {
        let address = self.address();
        let (bus, function, register) = (address >> 16 & 0xff, address >> 8 & 0xff, address & 0xfc);
        (address & ENABLE != 0 && bus == 0).then_some(u64::from(function) * FUNCTION_SIZE + u64::from(register))
    }
}

impl std::fmt::Debug for PciBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PciBus({} functions)", self.functions.len())
    }
}
