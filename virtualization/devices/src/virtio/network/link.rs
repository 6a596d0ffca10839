//! The cable between a card and what it is connected to: either end can be replaced.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hv::Event;

use super::super::feature;
use super::super::queue::Failure;
use super::backend::Backend;
use super::wire::{Frames, Offloads, Unplugged};

/// An end of a link, as several pairs of queues share it.
pub(super) type Wire = Arc<Mutex<Box<dyn Frames>>>;

/// Told when what a card is connected to has gone, and why.
pub type Gone = Box<dyn Fn(io::Error) + Send + Sync>;

/// The link.
pub struct Link {
    state: Mutex<State>,
    gone: Gone,
}

struct State {
    wires: Vec<Wire>,
    is_up: bool,
    /// The guest was saved, with another cable: it sees none until it has looked once, so that it asks again who is there.
    is_hidden: bool,
    driver: Option<Driver>,
}

/// What there is while the guest has a driver for the card.
struct Driver {
    /// Tells each pair of queues that something is different.
    changed: Vec<Event>,
    /// Pairs that it uses.
    enabled: usize,
    offloads: Offloads,
    device: Failure,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wires(ends: Vec<Box<dyn Frames>>) -> io::Result<(Vec<Wire>, bool)> {
    let is_up = !ends.is_empty();
    let ends = if is_up { ends } else { vec![Box::new(Unplugged::new()?) as Box<dyn Frames>] };
    Ok((ends.into_iter().map(|end| Arc::new(Mutex::new(end))).collect(), is_up))
}

impl State {
    /// Tells what is there what the driver wants of it.
    fn set_up(&self) -> io::Result<()> {
        let Some(driver) = &self.driver else { return Ok(()) };
        for (index, wire) in self.wires.iter().enumerate() {
            let mut wire = lock(wire);
            wire.set_offloads(driver.offloads)?;
            wire.set_enabled(index < driver.enabled)?;
        }
        Ok(())
    }

    fn tell(&self, is_status: bool) {
        let Some(driver) = &self.driver else { return };
        driver.changed.iter().for_each(Event::signal);
        if is_status {
            driver.device.configuration_changed();
        }
    }
}

impl Link {
    /// A link to these: one for each pair of queues, or one for all of them; none at all is a cable that is not plugged in. `gone` is called
    /// when one of them fails; the cable is then no longer plugged in.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn new(ends: Vec<Box<dyn Frames>>, gone: Gone) -> io::Result<Self> {
        let (wires, is_up) = wires(ends)?;
        Ok(Self { state: Mutex::new(State { wires, is_up, is_hidden: false, driver: None }), gone })
    }

    /// Connects the card to these instead, also while the guest runs.
    ///
    /// # Errors
    /// What they say about what the guest's driver wants; the link is then as it was.
    pub fn replace(&self, ends: Vec<Box<dyn Frames>>) -> io::Result<()> {
        let (wires, is_up) = wires(ends)?;
        let mut state = lock(&self.state);
        let before = std::mem::replace(&mut state.wires, wires);
        if let Err(error) = state.set_up() {
            state.wires = before;
            return Err(error);
        }
        state.is_up = is_up;
        state.tell(true);
        Ok(())
    }

    /// Whether something is at the other end.
    pub fn is_up(&self) -> bool {
        lock(&self.state).is_up
    }

    /// Whether what is there does more than plain frames.
    pub(super) fn has_offloads(&self) -> bool {
        lock(&self.state).wires.iter().all(|wire| lock(wire).has_offloads())
    }

    /// Features of queues that are there whoever serves them.
    pub(super) fn common_features(&self) -> u64 {
        let of = |wire: &Wire| lock(wire).backend().map(|backend| backend.common_features());
        lock(&self.state).wires.iter().filter_map(of).fold(feature::EVENT_IDX | feature::INDIRECT_DESC, |all, these| all & these)
    }

    /// Processes at the other end serve no queues until [`Self::resume`].
    pub(super) fn pause(&self) {
        for wire in self.wires() {
            let paused = lock(&wire).backend().map_or(Ok(()), Backend::pause);
            if let Err(error) = paused {
                // It is unplugged when it does not go on either.
                tracing::warn!(%error, "what a network card is connected to does not stand still");
            }
        }
    }

    /// They serve them again.
    pub(super) fn resume(&self) {
        for wire in self.wires() {
            let resumed = lock(&wire).backend().map_or(Ok(()), Backend::resume);
            if let Err(error) = resumed {
                self.lose(&wire, error);
            }
        }
    }

    fn wires(&self) -> Vec<Wire> {
        lock(&self.state).wires.clone()
    }

    /// A driver is there, for so many pairs of queues: an event for each, which says that there is something else to do.
    pub(super) fn begin(&self, pairs: usize, offloads: Offloads, device: Failure) -> io::Result<Vec<Event>> {
        let changed = (0..pairs).map(|_| Event::new()).collect::<io::Result<Vec<_>>>()?;
        let mut state = lock(&self.state);
        // Others are used when the driver says so (5.1.6.5.5).
        state.driver = Some(Driver { changed: changed.clone(), enabled: 1, offloads, device });
        state.set_up()?;
        Ok(changed)
    }

    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        (state.driver, state.is_hidden) = (None, false);
    }

    /// The driver, which is there now, is one that was saved when it used so many pairs.
    pub(super) fn go_on(&self, pairs: usize) {
        self.enable(pairs);
        let mut state = lock(&self.state);
        state.is_hidden = state.is_up;
        state.tell(true);
    }

    /// Pairs that the driver uses.
    pub(super) fn enabled(&self) -> usize {
        lock(&self.state).driver.as_ref().map_or(1, |driver| driver.enabled)
    }

    /// Whether the guest sees that something is at the other end.
    pub(super) fn is_seen(&self) -> bool {
        let state = lock(&self.state);
        state.is_up && !state.is_hidden
    }

    /// The guest has looked.
    pub(super) fn was_looked_at(&self) {
        let mut state = lock(&self.state);
        if std::mem::take(&mut state.is_hidden) {
            state.tell(true);
        }
    }

    /// The driver uses so many pairs from now on; false where it has not so many.
    pub(super) fn enable(&self, pairs: usize) -> bool {
        let mut state = lock(&self.state);
        let Some(driver) = state.driver.as_mut().filter(|driver| (1..=driver.changed.len()).contains(&pairs)) else { return false };
        driver.enabled = pairs;
        if let Err(error) = state.set_up() {
            tracing::warn!(%error, "a network attachment could not be told how many queues the guest uses");
            return false;
        }
        state.tell(false);
        true
    }

    /// What a pair of queues sends to, and whether it receives from it.
    pub(super) fn wire(&self, pair: usize) -> Option<(Wire, bool)> {
        let state = lock(&self.state);
        let is_enabled = state.driver.as_ref().is_some_and(|driver| pair < driver.enabled);
        match state.wires.get(pair) {
            Some(wire) => Some((Arc::clone(wire), is_enabled)),
            None => state.wires.first().map(|wire| (Arc::clone(wire), false)),
        }
    }

    /// What is at the other end has failed.
    pub(super) fn lose(&self, lost: &Wire, error: io::Error) {
        let mut state = lock(&self.state);
        // It may have been replaced meanwhile.
        if !state.wires.iter().any(|wire| Arc::ptr_eq(wire, lost)) {
            return;
        }
        match wires(Vec::new()) {
            Ok((none, is_up)) => (state.wires, state.is_up) = (none, is_up),
            Err(error) => {
                tracing::error!(%error, "a network attachment could not be taken away");
                state.wires.clear();
            }
        }
        state.tell(true);
        drop(state);
        (self.gone)(error);
    }
}
