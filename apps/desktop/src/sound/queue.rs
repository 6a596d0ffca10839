//! Sound that has come and is still to be played, or recorded. Both clocks run by themselves, so the queue is short, and where one is faster
//! what is oldest is left out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pulseaudio::PlaybackSource;

/// A queue of whole frames. Clones are one.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    bytes: VecDeque<u8>,
    frame: usize,
    most: usize,
    waits: Option<Waker>,
}

impl Queue {
    /// An empty one: at most so many bytes, in frames of so many.
    pub fn new(frame: usize, most: usize) -> Self {
        let frame = frame.max(1);
        let most = (most / frame).max(1) * frame;
        Self(Arc::new(Mutex::new(Inner { bytes: VecDeque::with_capacity(most), frame, most, waits: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts whole frames behind the others.
    pub fn push(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        let whole = bytes.len() / inner.frame * inner.frame;
        let newest = &bytes[whole.saturating_sub(inner.most)..whole];
        let over = (inner.bytes.len() + newest.len()).saturating_sub(inner.most);
        inner.bytes.drain(..over);
        inner.bytes.extend(newest);
        let waits = inner.waits.take();
        drop(inner);
        if let Some(waker) = waits {
            waker.wake();
        }
    }

    /// Takes whole frames, at most as many as fit; how many bytes.
    pub fn take(&self, into: &mut [u8]) -> usize {
        self.lock().take(into)
    }

    /// Leaves everything out.
    pub fn clear(&self) {
        self.lock().bytes.clear();
    }
}

impl Inner {
    fn take(&mut self, into: &mut [u8]) -> usize {
        let count = self.bytes.len().min(into.len()) / self.frame * self.frame;
        for (to, from) in into.iter_mut().zip(self.bytes.drain(..count)) {
            *to = from;
        }
        count
    }
}

impl PlaybackSource for Queue {
    /// Nothing would be the end of the stream: it waits instead, and the server plays silence meanwhile.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<usize> {
        let mut inner = self.lock();
        match inner.take(buf) {
            0 => {
                inner.waits = Some(cx.waker().clone());
                Poll::Pending
            }
            count => Poll::Ready(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_is_left_out_and_frames_stay_whole() {
        let queue = Queue::new(4, 11);
        queue.push(&[1, 1, 1, 1, 2, 2, 2, 2, 9]);
        queue.push(&[3, 3, 3, 3]);
        let mut bytes = [0; 7];
        assert_eq!((queue.take(&mut bytes), &bytes[..4]), (4, &[2, 2, 2, 2][..]), "the oldest is gone");
        assert_eq!((queue.take(&mut bytes), &bytes[..4]), (4, &[3, 3, 3, 3][..]));
        assert_eq!(queue.take(&mut bytes), 0);
        queue.push(&[5; 400]);
        assert_eq!(queue.take(&mut [0; 400]), 8);
    }

    #[test]
    fn an_empty_queue_is_no_end() {
        let queue = Queue::new(1, 8);
        let mut source = queue.clone();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut source).poll_read(&mut cx, &mut [0; 4]), Poll::Pending);
        queue.push(&[7]);
        let mut bytes = [0; 4];
        assert_eq!((Pin::new(&mut source).poll_read(&mut cx, &mut bytes), bytes[0]), (Poll::Ready(1), 7));
    }
}
