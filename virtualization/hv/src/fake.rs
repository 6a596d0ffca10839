//! A hypervisor without a computer: vCPUs do what a test says, interrupts are counted, doorbells are rung by hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::hypervisor::*;
use crate::{Debugging, Error, Event, GuestMemory, Registers, Result};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a fake vCPU does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Writes these bytes to memory space.
    Write(u64, Vec<u8>),
    /// Writes these bytes to port space.
    PortWrite(u16, Vec<u8>),
    /// Leaves the guest for this reason.
    Exit(Exit),
}

/// The hypervisor; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct FakeHypervisor {
    steps: Arc<(Mutex<VecDeque<Step>>, Condvar)>,
    /// How many machines were made.
    machines: Arc<Mutex<usize>>,
    refuses: Arc<Mutex<bool>>,
    debugging: Arc<Mutex<BTreeMap<u8, Debugging>>>,
}

impl FakeHypervisor {
    /// One whose guests do nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes vCPU 0 do this when it has done everything before.
    pub fn then(&self, step: Step) {
        lock(&self.steps.0).push_back(step);
        self.steps.1.notify_all();
    }

    /// From now on, whether no more machines can be made.
    pub fn refuse(&self, refuse: bool) {
        *lock(&self.refuses) = refuse;
    }

    /// How each vCPU is debugged, by number.
    pub fn debugging(&self) -> BTreeMap<u8, Debugging> {
        lock(&self.debugging).clone()
    }

    /// How many machines were made.
    pub fn machines(&self) -> usize {
        *lock(&self.machines)
    }
}

impl Hypervisor for FakeHypervisor {
    fn create_vm(&self, _memory: &GuestMemory) -> Result<Arc<dyn Vm>> {
        if *lock(&self.refuses) {
            return Err(Error::NoPermission);
        }
        *lock(&self.machines) += 1;
        Ok(Arc::new(FakeVm { hypervisor: self.clone(), ..FakeVm::default() }))
    }

    fn maximum_vcpus(&self) -> usize {
        64
    }

    fn has_nesting(&self) -> bool {
        false
    }
}

/// A machine; also the interrupts and doorbells of device tests.
#[derive(Debug, Default)]
pub struct FakeVm {
    hypervisor: FakeHypervisor,
    doorbells: Mutex<BTreeMap<u64, Event>>,
}

impl FakeVm {
    /// Rings the doorbell at this address, as the guest would; `false` where there is none.
    pub fn ring(&self, address: u64) -> bool {
        lock(&self.doorbells).get(&address).inspect(|event| event.signal()).is_some()
    }
}

impl Vm for FakeVm {
    fn create_vcpu(&self, topology: Topology) -> Result<Box<dyn Vcpu>> {
        let (registers, debugging) =
            (Registers { instruction: topology.index.into(), ..Registers::default() }, Arc::clone(&self.hypervisor.debugging));
        Ok(Box::new(FakeVcpu { topology, steps: Arc::clone(&self.hypervisor.steps), kicked: Arc::default(), registers, debugging }))
    }
}

impl Interrupts for FakeVm {
    fn line(&self, _input: u32) -> Result<Interrupt> {
        Ok(Interrupt::new(event()?))
    }

    fn message(&self) -> Result<Arc<dyn MessageInterrupt>> {
        Ok(Arc::new(FakeMessage { interrupt: Interrupt::new(event()?), message: Mutex::default() }))
    }
}

impl Doorbells for FakeVm {
    fn attach(&self, address: u64, event: &Event) -> Result<()> {
        lock(&self.doorbells).insert(address, event.clone());
        Ok(())
    }

    fn detach(&self, address: u64, _event: &Event) -> Result<()> {
        lock(&self.doorbells).remove(&address);
        Ok(())
    }
}

fn event() -> Result<Event> {
    Event::new().map_err(|source| Error::Refused { attempt: "make an event", source })
}

#[derive(Debug)]
struct FakeMessage {
    interrupt: Interrupt,
    message: Mutex<MsiMessage>,
}

impl MessageInterrupt for FakeMessage {
    fn set_message(&self, message: MsiMessage) -> Result<()> {
        *lock(&self.message) = message;
        Ok(())
    }

    fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }
}

#[derive(Debug)]
struct FakeVcpu {
    topology: Topology,
    steps: Arc<(Mutex<VecDeque<Step>>, Condvar)>,
    kicked: Arc<Mutex<bool>>,
    registers: Registers,
    debugging: Arc<Mutex<BTreeMap<u8, Debugging>>>,
}

impl Vcpu for FakeVcpu {
    fn enter_at(&mut self, _entry: &Entry) -> Result<()> {
        Ok(())
    }

    fn registers(&mut self) -> Result<Registers> {
        Ok(self.registers.clone())
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<()> {
        self.registers = registers.clone();
        Ok(())
    }

    fn debug(&mut self, debugging: &Debugging) -> Result<()> {
        lock(&self.debugging).insert(self.topology.index, debugging.clone());
        Ok(())
    }

    /// Addresses are what they are, in the lower half.
    fn translate(&mut self, address: u64) -> Result<Option<u64>> {
        Ok(Some(address).filter(|address| address >> 63 == 0))
    }

    fn kicker(&mut self) -> Kicker {
        let (steps, kicked) = (Arc::clone(&self.steps), Arc::clone(&self.kicked));
        Kicker::new(move || {
            // With the lock that the vCPU waits with, so that no kick falls between its look and its sleep.
            let _steps = lock(&steps.0);
            *lock(&kicked) = true;
            steps.1.notify_all();
        })
    }

    fn run(&mut self, bus: &dyn Bus) -> Exit {
        let mut steps = lock(&self.steps.0);
        loop {
            if std::mem::take(&mut *lock(&self.kicked)) {
                return Exit::Kicked;
            }
            let next = if self.topology.index == 0 { steps.pop_front() } else { None };
            if let Some(step) = next {
                drop(steps);
                return match step {
                    Step::Write(address, data) => {
                        bus.write(address, &data);
                        Exit::Continue
                    }
                    Step::PortWrite(port, data) => {
                        bus.port_write(port, &data);
                        Exit::Continue
                    }
                    Step::Exit(exit) => exit,
                };
            }
            steps = self.steps.1.wait(steps).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
