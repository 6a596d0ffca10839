//! A hypervisor without a computer: vCPUs do what a test says, interrupts are counted, doorbells are rung by hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::json;

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
    /// Panics, as a device may that has a bug.
    Panic,
}

/// The hypervisor; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct FakeHypervisor {
    steps: Arc<(Mutex<VecDeque<Step>>, Condvar)>,
    /// How many machines were made.
    machines: Arc<Mutex<usize>>,
    refuses: Arc<Mutex<bool>>,
    debugging: Arc<Mutex<BTreeMap<u8, Debugging>>>,
    processor: Arc<Mutex<String>>,
    counters: Arc<Mutex<Counters>>,
}

/// A guest's state: what has to be kept for it to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// The machine's.
    pub machine: u64,
    /// The vCPUs', by number.
    pub vcpus: BTreeMap<u8, u64>,
}

fn number(state: &SavedState, part: &'static str) -> Result<u64> {
    u64::deserialize(state).map_err(|source| Error::ForeignState { part, source })
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

    /// From now on, the processor's name.
    pub fn set_processor(&self, name: &str) {
        name.clone_into(&mut lock(&self.processor));
    }

    /// The latest machine's state, to be looked at and changed.
    pub fn counters(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counters)
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
        *lock(&self.counters) = Counters::default();
        Ok(Arc::new(FakeVm { hypervisor: self.clone(), ..FakeVm::default() }))
    }

    fn maximum_vcpus(&self) -> usize {
        64
    }

    fn has_nesting(&self) -> bool {
        false
    }

    fn processor(&self) -> SavedState {
        json!(*lock(&self.processor))
    }

    fn check_processor(&self, saved: &SavedState) -> Result<()> {
        let saved = String::deserialize(saved).map_err(|source| Error::ForeignState { part: "the processor", source })?;
        let name = lock(&self.processor);
        if *name == saved { Ok(()) } else { Err(Error::OtherProcessor(format!("{saved}, and this one is {name}"))) }
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
        self.hypervisor.counters().vcpus.insert(topology.index, 0);
        let (registers, debugging) =
            (Registers { instruction: topology.index.into(), ..Registers::default() }, Arc::clone(&self.hypervisor.debugging));
        Ok(Box::new(FakeVcpu { topology, hypervisor: self.hypervisor.clone(), kicked: Arc::default(), registers, debugging }))
    }

    fn save(&self) -> Result<SavedState> {
        Ok(json!(self.hypervisor.counters().machine))
    }

    fn restore(&self, state: &SavedState) -> Result<()> {
        self.hypervisor.counters().machine = number(state, "the machine")?;
        Ok(())
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

    fn mask(&self) {}

    fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }
}

#[derive(Debug)]
struct FakeVcpu {
    topology: Topology,
    hypervisor: FakeHypervisor,
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

    fn save(&mut self) -> Result<SavedState> {
        Ok(json!(self.hypervisor.counters().vcpus.get(&self.topology.index)))
    }

    fn restore(&mut self, state: &SavedState) -> Result<()> {
        let count = number(state, "a vCPU")?;
        self.hypervisor.counters().vcpus.insert(self.topology.index, count);
        Ok(())
    }

    fn kicker(&mut self) -> Kicker {
        let (steps, kicked) = (Arc::clone(&self.hypervisor.steps), Arc::clone(&self.kicked));
        Kicker::new(move || {
            // With the lock that the vCPU waits with, so that no kick falls between its look and its sleep.
            let _steps = lock(&steps.0);
            *lock(&kicked) = true;
            steps.1.notify_all();
        })
    }

    fn run(&mut self, bus: &dyn Bus) -> Exit {
        let mut steps = lock(&self.hypervisor.steps.0);
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
                    Step::Panic => panic!("as the test wants"),
                };
            }
            steps = self.hypervisor.steps.1.wait(steps).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
