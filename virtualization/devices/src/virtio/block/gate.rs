//! Who works with an image at the same time: any number of queues, or one that changes where things are.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A gate that queues pass while they have requests under way.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    /// How many want to be alone.
    wanting: usize,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes in; waits while somebody is, or wants to be, alone.
    pub fn enter(&self) {
        let mut state = self.lock();
        while state.wanting > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.inside += 1;
    }

    /// Goes out.
    pub fn leave(&self) {
        let mut state = self.lock();
        state.inside -= 1;
        // Nobody else waits for this, and the call costs.
        if state.wanting > 0 {
            self.left.notify_all();
        }
    }

    /// Whether somebody waits until all have left.
    pub fn is_wanted(&self) -> bool {
        self.lock().wanting > 0
    }

    /// Does something while nobody is inside. Whoever calls it is not inside either.
    pub fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        state.wanting += 1;
        while state.inside > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // The lock is held meanwhile: two of them wait for each other.
        let result = work();
        state.wanting -= 1;
        drop(state);
        self.left.notify_all();
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn who_is_alone_is_alone() {
        let (gate, inside) = (Gate::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        gate.enter();
                        inside.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        gate.leave();
                        gate.alone(|| assert_eq!(inside.load(Ordering::SeqCst), 0));
                    }
                });
            }
        });
        assert!(!gate.is_wanted());
    }
}
