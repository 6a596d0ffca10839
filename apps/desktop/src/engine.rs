//! The thread where everything asynchronous runs.
//!
//! The event loop never waits: a window gives work to [`Engine::ask`] and is answered in the event loop, some time later, where it may touch
//! what is drawn.

use std::future::Future;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use library::Library;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The library, and the runtime that its work is done in.
#[derive(Debug, Clone)]
pub struct Engine {
    runtime: Arc<Runtime>,
    library: Library,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system has no threads left.
    pub fn start(library: Library) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("engine").enable_all().build();
        Ok(Self { runtime: Arc::new(runtime.context("Cannot start the asynchronous runtime")?), library })
    }

    /// The library.
    pub const fn library(&self) -> &Library {
        &self.library
    }

    /// Does something there.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// Does something there that takes its thread for a while: reading folders, for example.
    pub fn spawn_blocking<T: Send + 'static>(&self, work: impl FnOnce(&Library) -> T + Send + 'static) -> JoinHandle<T> {
        let library = self.library.clone();
        self.runtime.spawn_blocking(move || work(&library))
    }

    /// Does something there, and tells the event loop what came of it. Must be called in the event loop's thread.
    pub fn ask<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static, answer: impl FnOnce(T) + 'static) {
        let task = self.spawn(work);
        let answered = slint::spawn_local(async move {
            match task.await {
                Ok(result) => answer(result),
                Err(error) => tracing::error!("Work was given up: {error}"),
            }
        });
        if let Err(error) = answered {
            tracing::error!("Nobody waits for an answer any more: {error}");
        }
    }

    /// Looks at something there that takes its thread for a while, and tells the event loop what was seen. Must be called in the event loop's
    /// thread.
    pub fn look<T: Send + 'static>(&self, work: impl FnOnce(&Library) -> T + Send + 'static, answer: impl FnOnce(T) + 'static) {
        let library = self.library.clone();
        self.ask(async move { tokio::task::spawn_blocking(move || work(&library)).await }, |seen| match seen {
            Ok(seen) => answer(seen),
            Err(error) => tracing::error!("A look was given up: {error}"),
        });
    }
}
