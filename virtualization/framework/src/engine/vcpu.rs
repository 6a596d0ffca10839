//! vCPU threads: run, stand still, end.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hv::{Exit, Kicker, Vcpu};

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
    kickers: Vec<Kicker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to run for; false where there never will be.
    fn stand(&self) -> bool {
        let mut state = self.lock();
        if state.mode == Mode::Run {
            return true;
        }
        state.standing += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.mode == Mode::Stand).unwrap_or_else(PoisonError::into_inner);
        state.standing -= 1;
        state.mode == Mode::Run
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
    pub fn new(vcpus: Vec<Box<dyn Vcpu>>, bus: &Arc<MachineBus>) -> io::Result<Self> {
        let state = Standing { mode: Mode::Stand, standing: 0, kickers: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let mut all = Self { shared, threads: Vec::new() };
        for (index, vcpu) in vcpus.into_iter().enumerate() {
            let (shared, bus) = (Arc::clone(&all.shared), Arc::clone(bus));
            all.threads.push(std::thread::Builder::new().name(format!("vcpu-{index}")).spawn(move || run(index, vcpu, &shared, &bus))?);
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

    fn turn_to(&self, mode: Mode) {
        let kickers = {
            let mut state = self.shared.lock();
            state.mode = mode;
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
    while shared.stand() {
        let why = loop {
            match vcpu.run(bus) {
                Exit::Continue => {}
                Exit::Kicked => break None,
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
