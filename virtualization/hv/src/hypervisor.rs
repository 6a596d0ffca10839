//! The contract between a machine and a hypervisor.
//!
//! A machine calls in this order: [`Hypervisor::create_vm`] with the memory; [`Vm::create_vcpu`] for each vCPU, 0 first; then each vCPU's
//! [`Vcpu::enter_at`] (only vCPU 0; the others wait for the guest to start them) and [`Vcpu::run`] in a loop on a thread of its own.
//!
//! A machine that is restored calls, instead of [`Vcpu::enter_at`]: [`Hypervisor::check_processor`] before anything, [`Vcpu::restore`] for
//! each vCPU, then [`Vm::restore`], both before any of its devices interrupts the guest.

use std::fmt;
use std::sync::Arc;

use crate::{DebugExit, Debugging, Event, GuestMemory, Registers, Result};

/// What a hypervisor knows of a part of a machine, to be kept in a file: in words that only the same kind of hypervisor understands.
pub type SavedState = serde_json::Value;

/// A way to make virtual machines.
pub trait Hypervisor: fmt::Debug + Send + Sync {
    /// A machine with this memory, interrupt controllers and no vCPU.
    fn create_vm(&self, memory: &GuestMemory) -> Result<Arc<dyn Vm>>;

    /// The most vCPUs that a machine can have.
    fn maximum_vcpus(&self) -> usize;

    /// Whether guests can run virtual machines themselves.
    fn has_nesting(&self) -> bool;

    /// What guests can know of this computer's processor.
    fn processor(&self) -> SavedState;

    /// Whether a guest that ran on that processor can go on here.
    ///
    /// # Errors
    /// [`crate::Error::OtherProcessor`] with what differs, [`crate::Error::ForeignState`] where it makes no sense.
    fn check_processor(&self, saved: &SavedState) -> Result<()>;
}

/// How many vCPUs there are, and which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// This vCPU, from 0. It is also its local APIC's number.
    pub index: u8,
    /// All of them; each is a core of one package.
    pub count: u8,
    /// Whether they can run virtual machines themselves.
    pub is_nested: bool,
}

/// Where a vCPU begins, in 64-bit mode with the first memory mapped as it is (Linux: Documentation/arch/x86/boot.rst, "64-bit Boot
/// Protocol").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The first instruction.
    pub instruction: u64,
    /// The boot parameters (RSI).
    pub parameters: u64,
    /// The top-level page table (CR3).
    pub page_table: u64,
    /// The table of segment descriptors: null, 64-bit code at 0x10, data at 0x18.
    pub segments: u64,
}

/// A virtual machine.
pub trait Vm: Interrupts + Doorbells {
    /// Another vCPU, as it is after power-on, with the host's processor model.
    fn create_vcpu(&self, topology: Topology) -> Result<Box<dyn Vcpu>>;

    /// The state of interrupt controllers and clock, while all vCPUs stand still.
    fn save(&self) -> Result<SavedState>;

    /// Interrupt controllers are as they were, and the clock is as much later as it is now.
    fn restore(&self, state: &SavedState) -> Result<()>;
}

/// How devices interrupt the guest.
pub trait Interrupts: fmt::Debug + Send + Sync {
    /// The interrupt of an input of the I/O APIC; edge-triggered.
    fn line(&self, input: u32) -> Result<Interrupt>;

    /// A message-signalled interrupt, which does nothing before it has been given a message.
    fn message(&self) -> Result<Arc<dyn MessageInterrupt>>;
}

/// An interrupt: whoever signals the event interrupts the guest.
#[derive(Debug, Clone)]
pub struct Interrupt(Event);

impl Interrupt {
    /// The interrupt behind this event.
    pub fn new(event: Event) -> Self {
        Self(event)
    }

    /// Interrupts the guest.
    pub fn trigger(&self) {
        self.0.signal();
    }

    /// The event, to be handed to another process or to the kernel.
    pub fn event(&self) -> &Event {
        &self.0
    }
}

/// The address and data of a message-signalled interrupt (PCI 3.0, 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsiMessage {
    /// Where the device writes.
    pub address: u64,
    /// What it writes.
    pub data: u32,
}

/// A message-signalled interrupt, masked at first. It is given back when it is dropped.
pub trait MessageInterrupt: fmt::Debug + Send + Sync {
    /// From now on it is this message, and not masked; what has happened while it was is sent.
    fn set_message(&self, message: MsiMessage) -> Result<()>;

    /// What happens from now on waits for the next [`Self::set_message`].
    fn mask(&self);

    /// Sends the message.
    fn interrupt(&self) -> &Interrupt;
}

/// How the guest calls devices without anyone waiting: writes to an address that become events.
pub trait Doorbells: fmt::Debug + Send + Sync {
    /// From now on a write of two bytes to this address signals the event instead of leaving the guest.
    fn attach(&self, address: u64, event: &Event) -> Result<()>;

    /// No longer.
    fn detach(&self, address: u64, event: &Event) -> Result<()>;
}

/// What is outside memory: devices, by address. Called on the vCPU's thread. Where nobody is, reads give all ones and writes are lost.
pub trait Bus: Send + Sync {
    /// A read of 1, 2, 4 or 8 bytes of memory space.
    fn read(&self, address: u64, data: &mut [u8]);
    /// A write of 1, 2, 4 or 8 bytes of memory space.
    fn write(&self, address: u64, data: &[u8]);
    /// A read of 1, 2 or 4 bytes of port space.
    fn port_read(&self, port: u16, data: &mut [u8]);
    /// A write of 1, 2 or 4 bytes of port space.
    fn port_write(&self, port: u16, data: &[u8]);
}

/// Why a vCPU is no longer in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The bus was asked, or nothing of interest happened: run it again.
    Continue,
    /// It was kicked.
    Kicked,
    /// It is debugged, and this happened.
    Debug(DebugExit),
    /// The guest can execute nothing more: on x86 a triple fault.
    Shutdown,
    /// The hypervisor cannot go on, and why.
    Failed(String),
}

/// A virtual processor; used by one thread at a time.
pub trait Vcpu: fmt::Debug + Send {
    /// Makes it begin there.
    fn enter_at(&mut self, entry: &Entry) -> Result<()>;

    /// What programs see of it; only when it is out of the guest.
    fn registers(&mut self) -> Result<Registers>;

    /// Sets them.
    fn set_registers(&mut self, registers: &Registers) -> Result<()>;

    /// Debugs it so from now on. That a breakpoint is returned to the guest counts for the next [`Vcpu::run`] only.
    fn debug(&mut self, debugging: &Debugging) -> Result<()>;

    /// The guest-physical address of a guest-virtual one, `None` where the guest has nothing there.
    fn translate(&mut self, address: u64) -> Result<Option<u64>>;

    /// Everything that the guest left in it; only when it has been kicked out of the guest, or has never run.
    fn save(&mut self) -> Result<SavedState>;

    /// It is as that one was, and its clock as much later as it is now.
    fn restore(&mut self, state: &SavedState) -> Result<()>;

    /// Takes it out of the guest from another thread; made on the thread that calls [`Vcpu::run`].
    fn kicker(&mut self) -> Kicker;

    /// Lets the guest run until there is something to do.
    fn run(&mut self, bus: &dyn Bus) -> Exit;
}

/// Takes a vCPU out of the guest. If the vCPU is outside, its next [`Vcpu::run`] returns at once; several kicks before that are one.
#[derive(Clone)]
pub struct Kicker(Arc<dyn Fn() + Send + Sync>);

impl Kicker {
    /// A kicker that does this.
    pub fn new(kick: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(kick))
    }

    /// Kicks.
    pub fn kick(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Kicker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kicker")
    }
}
