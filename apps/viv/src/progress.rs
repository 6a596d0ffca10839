//! How far a long operation is, on standard error where that is a terminal, and Ctrl-C, which ends it cleanly.

use crate::error::{Failure, Kind, Result};
use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use library::{Cancel, Job, Progress};
use machine::ErrorKind;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// Runs a long operation with a progress bar. The first Ctrl-C (or SIGTERM, or SIGHUP) asks it to undo what it began; the second kills.
pub async fn run<T>(output: &Output, operation: impl AsyncFnOnce(&Job) -> library::Result<T>) -> Result<T> {
    let bar = bar(output);
    let cancel = Cancel::new();
    let caught = Arc::new(AtomicI32::new(0));
    let listener = tokio::spawn(cancel_on_signal(cancel.clone(), Arc::clone(&caught), bar.clone()));
    let job = Job::new(reporter(bar.clone()), cancel);
    let result = operation(&job).await;
    listener.abort();
    bar.finish_and_clear();
    result.map_err(|error| {
        let failure = Failure::from(error);
        match (failure.kind, caught.load(Ordering::SeqCst)) {
            (Kind::Machine(ErrorKind::Cancelled), signal @ 1..) => Failure { kind: Kind::Signal(signal), ..failure },
            _ => failure,
        }
    })
}

/// A spinner for what has no measure; its message is what is going on.
pub fn spinner(output: &Output) -> ProgressBar {
    let bar = bar(output);
    bar.enable_steady_tick(TICK);
    bar
}

fn bar(output: &Output) -> ProgressBar {
    if output.quiet || output.json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style(false));
    bar
}

fn style(measured: bool) -> ProgressStyle {
    let template = if measured {
        "{msg}  {bar:24} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left"
    } else {
        "{spinner} {msg}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

fn reporter(bar: ProgressBar) -> impl Fn(Progress) + Send + Sync + 'static {
    let last = Mutex::new(None::<(String, bool)>);
    move |progress| {
        let measured = progress.total.is_some();
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (progress.what, measured);
        if last.as_ref() != Some(&now) {
            bar.set_style(style(measured));
            bar.reset();
            bar.set_message(now.0.clone());
            *last = Some(now);
        }
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
        bar.tick();
    }
}

async fn cancel_on_signal(cancel: Cancel, caught: Arc<AtomicI32>, bar: ProgressBar) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else { return };
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        }
        .as_raw_value()
    };
    let first = next().await;
    caught.store(first, Ordering::SeqCst);
    cancel.cancel();
    bar.suspend(|| eprintln!("Cancelling, and undoing what was begun. Ctrl-C again ends at once."));
    let second = next().await;
    bar.finish_and_clear();
    std::process::exit(128 + second);
}
