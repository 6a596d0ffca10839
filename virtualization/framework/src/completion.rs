//! The end of an operation, awaited by any executor or by a thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{Error, ErrorKind, Result};

/// The end of an operation that is already under way. Dropping it lets the operation go on.
#[must_use = "the operation may fail"]
pub struct Completion<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<Outcome<T>>,
    ended: Condvar,
}

enum Outcome<T> {
    Pending(Option<Waker>),
    Ended(Result<T>),
    Taken,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Outcome<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the first end counts.
    fn end(&self, result: Result<T>) {
        let mut state = self.lock();
        if let Outcome::Pending(waker) = &mut *state {
            let waker = waker.take();
            *state = Outcome::Ended(result);
            drop(state);
            self.ended.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "The machine is gone, and the operation with it")
}

/// Who ends the operation; dropped without that, the operation was cancelled.
pub(crate) struct Completer<T>(Arc<Shared<T>>);

impl<T> Completer<T> {
    pub fn end(self, result: Result<T>) {
        self.0.end(result);
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        self.0.end(Err(cancelled()));
    }
}

impl<T> Completion<T> {
    pub(crate) fn new() -> (Completer<T>, Self) {
        let shared = Arc::new(Shared { state: Mutex::new(Outcome::Pending(None)), ended: Condvar::new() });
        (Completer(Arc::clone(&shared)), Self { shared })
    }

    pub(crate) fn ended(result: Result<T>) -> Self {
        let (completer, completion) = Self::new();
        completer.end(result);
        completion
    }

    /// Waits for the end on this thread.
    ///
    /// # Errors
    /// What the operation ended with.
    pub fn wait(self) -> Result<T> {
        let mut state = self.shared.lock();
        loop {
            match std::mem::replace(&mut *state, Outcome::Taken) {
                Outcome::Ended(result) => return result,
                Outcome::Taken => return Err(cancelled()),
                pending @ Outcome::Pending(_) => {
                    *state = pending;
                    state = self.shared.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl<T> Future for Completion<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        match std::mem::replace(&mut *state, Outcome::Taken) {
            Outcome::Ended(result) => Poll::Ready(result),
            Outcome::Taken => Poll::Ready(Err(cancelled())),
            Outcome::Pending(_) => {
                *state = Outcome::Pending(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reaches_a_thread_and_a_task() {
        let (completer, completion) = Completion::new();
        let waiting = std::thread::spawn(move || completion.wait().unwrap());
        completer.end(Ok(7));
        assert_eq!(waiting.join().unwrap(), 7);

        let (completer, completion) = Completion::new();
        let ending = std::thread::spawn(move || completer.end(Ok(8)));
        assert_eq!(futures::executor::block_on(completion).unwrap(), 8);
        ending.join().unwrap();
    }

    #[test]
    fn an_operation_that_nobody_ends_was_cancelled() {
        let (completer, completion) = Completion::<()>::new();
        drop(completer);
        assert_eq!(completion.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
