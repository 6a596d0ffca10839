//! What may be touched on one queue only.

use std::sync::Arc;

use dispatch2::{DispatchQueue, DispatchRetained};

/// Lets something go to another thread.
pub struct Carried<T>(T);

// SAFETY: whoever carries something promises that it is used by one thread at a time, or on its queue only.
unsafe impl<T> Send for Carried<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Carried<T> {}

impl<T> Carried<T> {
    /// Something to be used elsewhere, and no longer here.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// It, where it is used.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// It, to be kept where it is used.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Something that belongs to a serial queue. It ends there, too.
pub struct OnQueue<T: 'static> {
    queue: DispatchRetained<DispatchQueue>,
    value: Option<Carried<T>>,
}

impl<T: 'static> OnQueue<T> {
    /// Something that nobody else has, from now on this queue's.
    pub fn new(queue: DispatchRetained<DispatchQueue>, value: T) -> Arc<Self> {
        Arc::new(Self { queue, value: Some(Carried::new(value)) })
    }

    /// Does something with it on its queue, after everything that was asked before.
    pub fn later(self: &Arc<Self>, act: impl FnOnce(&T) + Send + 'static) {
        let this = Arc::clone(self);
        self.queue.exec_async(move || {
            if let Some(value) = &this.value {
                act(value.get());
            }
        });
    }

    /// The same, with something that may not be used by two threads at a time.
    pub fn later_with<U: 'static>(self: &Arc<Self>, with: U, act: impl FnOnce(&T, U) + Send + 'static) {
        let with = Carried::new(with);
        self.later(move |value| act(value, with.into_inner()));
    }

    /// Something else that belongs to the same queue.
    pub fn beside<U: 'static>(&self, value: U) -> Arc<OnQueue<U>> {
        OnQueue::new(self.queue.clone(), value)
    }

    /// It, for whoever knows what may be done with it elsewhere.
    pub fn elsewhere(&self) -> Option<&T> {
        self.value.as_ref().map(Carried::get)
    }
}

impl<T> Drop for OnQueue<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.queue.exec_async(move || drop(value));
        }
    }
}
