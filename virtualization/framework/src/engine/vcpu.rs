//! vCPU threads: run, stand still, end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use confinement::{Confinement, Thread};
use hv::{DebugExit, Event, Exit, Kicker, SavedState, Vcpu};

use super::bus::MachineBus;
use super::control::Message;

/// What all vCPUs of a board are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Stand,
    Run,
    End,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<Standing>,
    changed: Condvar,
}

#[derive(Debug)]
struct Standing {
    mode: Mode,
    /// vCPUs that stand still or have ended.
    standing: usize,
    /// Those that stand still, by number. Each is its thread's again before it runs or ends.
    vcpus: BTreeMap<usize, Box<dyn Vcpu>>,
    kickers: Vec<Kicker>,
    /// Somebody debugs them.
    held: Option<Held>,
}

/// What a debugger has vCPUs do.
#[derive(Debug)]
struct Held {
    /// Those that run nevertheless.
    released: BTreeSet<usize>,
    /// What happened to those that ran, and how that is told.
    stops: Vec<(usize, DebugExit)>,
    told: Event,
}

impl Standing {
    fn may_run(&self, index: usize) -> bool {
        self.mode == Mode::Run && self.held.as_ref().is_none_or(|held| held.released.contains(&index))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to run for; `None`, and the vCPU has ended, where there never will be.
    fn stand(&self, index: usize, vcpu: Box<dyn Vcpu>) -> Option<Box<dyn Vcpu>> {
        let mut state = self.lock();
        if state.may_run(index) {
            return Some(vcpu);
        }
        state.standing += 1;
        state.vcpus.insert(index, vcpu);
        self.changed.notify_all();
        let waits = |state: &mut Standing| state.mode != Mode::End && !state.may_run(index);
        let mut state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        state.standing -= 1;
        // It ends on this thread, if it does.
        let vcpu = state.vcpus.remove(&index);
        vcpu.filter(|_| state.mode == Mode::Run)
    }

    /// A vCPU stopped for a debugger: all of them do. False where there is none any longer.
    fn stopped(&self, index: usize, why: DebugExit) -> bool {
        let mut state = self.lock();
        let Some(held) = &mut state.held else { return false };
        held.released.clear();
        held.stops.push((index, why));
        held.told.signal();
        let kickers = state.kickers.clone();
        drop(state);
        kickers.iter().for_each(Kicker::kick);
        true
    }
}

/// The vCPUs of a board, as a debugger has them.
#[derive(Debug, Clone)]
pub struct DebugPort {
    shared: Arc<Shared>,
    count: usize,
}

impl DebugPort {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Makes them stand still for as long as they are debugged; what happens to those that are released is told by the event.
    pub fn attach(&self, told: Event) {
        self.shared.lock().held = Some(Held { released: BTreeSet::new(), stops: Vec::new(), told });
        self.stop();
    }

    /// Makes them stand still; they do when this returns.
    pub fn stop(&self) {
        let mut state = self.shared.lock();
        if let Some(held) = &mut state.held {
            held.released.clear();
        }
        let kickers = state.kickers.clone();
        drop(state);
        kickers.iter().for_each(Kicker::kick);
        let waits = |state: &mut Standing| state.mode != Mode::End && state.standing < self.count;
        let _state = self.shared.changed.wait_while(self.shared.lock(), waits).unwrap_or_else(PoisonError::into_inner);
    }

    /// Lets these run, as far as the machine does.
    pub fn release(&self, which: BTreeSet<usize>) {
        if let Some(held) = &mut self.shared.lock().held {
            held.released = which;
        }
        self.shared.changed.notify_all();
    }

    /// What happened since this was last asked; `None` where the board is about to go.
    pub fn stops(&self) -> Option<Vec<(usize, DebugExit)>> {
        let mut state = self.shared.lock();
        let held = state.held.as_mut().map(|held| std::mem::take(&mut held.stops));
        held.filter(|_| state.mode != Mode::End)
    }

    /// Does something with one that stands still.
    pub fn with<T>(&self, index: usize, act: impl FnOnce(&mut dyn Vcpu) -> T) -> Option<T> {
        self.shared.lock().vcpus.get_mut(&index).map(|vcpu| act(&mut **vcpu))
    }

    /// Nobody debugs them any longer.
    pub fn detach(&self) {
        self.shared.lock().held = None;
        self.shared.changed.notify_all();
    }
}

/// The vCPUs of a board. They stand still at first, and end when this is dropped.
#[derive(Debug)]
pub struct Vcpus {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Vcpus {
    /// Threads for these vCPUs.
    pub fn new(vcpus: Vec<Box<dyn Vcpu>>, bus: &Arc<MachineBus>, confinement: &Confinement) -> io::Result<Self> {
        let state = Standing { mode: Mode::Stand, standing: 0, vcpus: BTreeMap::new(), kickers: Vec::new(), held: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let mut all = Self { shared, threads: Vec::new() };
        for (index, vcpu) in vcpus.into_iter().enumerate() {
            let (shared, bus) = (Arc::clone(&all.shared), Arc::clone(bus));
            let thread = confinement.spawn(Thread::Vcpu, format!("vcpu-{index}"), move || run(index, vcpu, &shared, &bus));
            all.threads.push(thread?);
        }
        all.wait_until_standing();
        Ok(all)
    }

    /// Lets them run.
    pub fn resume(&self) {
        self.shared.lock().mode = Mode::Run;
        self.shared.changed.notify_all();
    }

    /// Makes them stand still; they do when this returns.
    pub fn pause(&self) {
        self.turn_to(Mode::Stand);
        self.wait_until_standing();
    }

    /// The same, for a debugger.
    pub fn debug_port(&self) -> DebugPort {
        DebugPort { shared: Arc::clone(&self.shared), count: self.threads.len() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Their states, by number, of those that stand still.
    pub fn save(&self) -> hv::Result<Vec<SavedState>> {
        self.shared.lock().vcpus.values_mut().map(|vcpu| vcpu.save()).collect()
    }

    fn turn_to(&self, mode: Mode) {
        let kickers = {
            let mut state = self.shared.lock();
            state.mode = mode;
            if let Some(held) = state.held.as_ref().filter(|_| mode == Mode::End) {
                held.told.signal();
            }
            state.kickers.clone()
        };
        self.shared.changed.notify_all();
        kickers.iter().for_each(Kicker::kick);
    }

    fn wait_until_standing(&self) {
        let (state, count) = (self.shared.lock(), self.threads.len());
        let _state = self.shared.changed.wait_while(state, |state| state.standing < count).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        self.turn_to(Mode::End);
        for thread in self.threads.drain(..) {
            // One that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

fn run(index: usize, mut vcpu: Box<dyn Vcpu>, shared: &Shared, bus: &MachineBus) {
    shared.lock().kickers.push(vcpu.kicker());
    while let Some(running) = shared.stand(index, vcpu) {
        vcpu = running;
        let why = loop {
            // Devices are called from here, and one that panics is not to make everybody wait for this vCPU.
            let Ok(exit) = catch_unwind(AssertUnwindSafe(|| vcpu.run(bus))) else {
                break Some(format!("vCPU {index} panicked, which is a bug in a device or in the engine"));
            };
            match exit {
                Exit::Continue => {}
                Exit::Kicked => break None,
                Exit::Debug(why) if shared.stopped(index, why) => break None,
                Exit::Debug(_) => {}
                Exit::Shutdown => break Some(format!("vCPU {index} had a triple fault")),
                Exit::Failed(why) => break Some(format!("vCPU {index} failed: {why}")),
            }
        };
        if let Some(why) = why {
            tell(&bus.control, bus.board, why);
            // It stands still until the machine has been told to end.
            let mut state = shared.lock();
            state.standing += 1;
            shared.changed.notify_all();
            let _state = shared.changed.wait_while(state, |state| state.mode != Mode::End).unwrap_or_else(PoisonError::into_inner);
            return;
        }
    }
}

fn tell(control: &Sender<Message>, board: u64, why: String) {
    // Without the control thread the board is about to go.
    let _ = control.send(Message::Failed { board, why });
}
