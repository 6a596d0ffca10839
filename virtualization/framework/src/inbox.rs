//! What waits to be read, by a task of any executor or by a thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

struct Held<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
    ended: bool,
}

/// Items in order, for one reader.
pub struct Inbox<T> {
    held: Mutex<Held<T>>,
    changed: Condvar,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { held: Mutex::new(Held { items: VecDeque::new(), waker: None, ended: false }), changed: Condvar::new() }
    }
}

impl<T> Inbox<T> {
    fn lock(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Held<T>)) {
        let mut held = self.lock();
        change(&mut held);
        let waker = held.waker.take();
        drop(held);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Adds an item; where there are `most` of them the oldest is lost.
    pub fn put(&self, item: T, most: usize) {
        self.change(|held| {
            if held.items.len() >= most {
                held.items.pop_front();
            }
            held.items.push_back(item);
        });
    }

    /// Adds an item unless there are `most` of them; whether it did.
    pub fn offer(&self, item: T, most: usize) -> bool {
        let mut is_taken = false;
        self.change(|held| {
            is_taken = held.items.len() < most && !held.ended;
            if is_taken {
                held.items.push_back(item);
            }
        });
        is_taken
    }

    /// Nothing more will come.
    pub fn end(&self) {
        self.change(|held| held.ended = true);
    }

    /// The next item, for a task.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut held = self.lock();
        match held.items.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None if held.ended => Poll::Ready(None),
            None => {
                held.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next item, for a thread, which waits for it.
    pub fn wait(&self) -> Option<T> {
        let mut held = self.lock();
        loop {
            if let Some(item) = held.items.pop_front() {
                return Some(item);
            }
            if held.ended {
                return None;
            }
            held = self.changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
