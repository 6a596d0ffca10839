//! The suite that every backend passes.
//!
//! A backend's test implements [`Harness`] and calls [`run`]. The guest must, within the harness's patience, react to a power-off request
//! and answer on its first console. Cases say what failed by returning an error, so that one run names every broken promise.

use crate::display::{Head, Input, Surface};
use crate::{EndReason, Ending, ErrorKind, Event, EventStream, Medium, StartOptions, State, StopMethod, VirtualMachine};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a backend brings to the suite.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A fresh machine, stopped.
    async fn machine(&self) -> Arc<dyn VirtualMachine>;
    /// Waits until the running machine's guest reacts to a power-off request. Returns at once where it always does.
    async fn guest_is_up(&self, machine: &dyn VirtualMachine);
    /// A raw image that can be inserted into a removable drive.
    fn medium(&self) -> PathBuf;
    /// Bytes to type on the first console, and bytes that must then appear.
    fn console_exchange(&self) -> (Vec<u8>, Vec<u8>);
    /// How long anything may take.
    fn patience(&self) -> Duration;
}

/// What a case says.
pub type Outcome = Result<(), String>;
type Case = fn(Arc<dyn VirtualMachine>, &dyn Harness) -> BoxFuture<'_, Outcome>;

/// The cases, by name.
const CASES: &[(&str, Case)] = &[
    ("a stopped machine refuses what needs a running one", |m, h| Box::pin(refusals(m, h))),
    ("start runs the guest, a forced stop ends it", |m, h| Box::pin(start_and_force(m, h))),
    ("a power-off request ends a guest that heeds it", |m, h| Box::pin(request(m, h))),
    ("kill ends it", |m, h| Box::pin(kill(m, h))),
    ("an ended machine can be started again", |m, h| Box::pin(again(m, h))),
    ("two starts at once: one wins", |m, h| Box::pin(two_starts(m, h))),
    ("pause and resume", |m, h| Box::pin(pause_resume(m, h))),
    ("start paused", |m, h| Box::pin(start_paused(m, h))),
    ("reset keeps it running and is told", |m, h| Box::pin(reset(m, h))),
    ("the console carries both directions", |m, h| Box::pin(console(m, h))),
    ("a screenshot is a PNG file", |m, h| Box::pin(screenshot(m, h))),
    ("viewers see the same picture, and their input is taken", |m, h| Box::pin(viewers(m, h))),
    ("the end of the machine ends what viewers see", |m, h| Box::pin(viewers_end(m, h))),
    ("media go in and out", |m, h| Box::pin(media(m, h))),
    ("what does not exist is not found", |m, h| Box::pin(not_found(m, h))),
];

/// Runs every case and panics with the list of those that failed.
///
/// # Panics
/// Where a case fails; it is a test.
pub async fn run(harness: &dyn Harness) {
    let mut failures = Vec::new();
    for (name, case) in CASES {
        let machine = harness.machine().await;
        let outcome = tokio::time::timeout(harness.patience(), case(machine.clone(), harness)).await;
        if let Err(problem) = outcome.unwrap_or_else(|_| Err("it takes too long".into())) {
            failures.push(format!("{name}: {problem}"));
        }
        if machine.state().is_live() {
            let _ = machine.stop(StopMethod::Kill).await;
        }
    }
    assert!(failures.is_empty(), "broken promises:\n  {}", failures.join("\n  "));
}

fn expect(condition: bool, message: impl Into<String>) -> Outcome {
    if condition { Ok(()) } else { Err(message.into()) }
}

fn done<T>(what: &str, result: crate::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {}", error.chain()))
}

fn refused<T>(what: &str, result: crate::Result<T>, kind: ErrorKind) -> Outcome {
    match result {
        Ok(_) => Err(format!("{what} succeeded")),
        Err(error) => expect(error.kind() == kind, format!("{what}: {:?}, expected {kind:?}: {}", error.kind(), error.chain())),
    }
}

fn is(machine: &dyn VirtualMachine, state: State) -> Outcome {
    let now = machine.state();
    expect(now == state, format!("it is {now}, expected {state}"))
}

/// The ending, and every state that was seen on the way.
async fn ending(events: &mut EventStream) -> Result<(Ending, Vec<State>), String> {
    let mut states = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Event::StateChanged { to, .. } => states.push(to),
            Event::Ended { ending } => return Ok((ending, states)),
            _ => {}
        }
    }
    Err("the events end without an ending".into())
}

async fn refusals(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    is(&*machine, State::Stopped)?;
    refused("stop", machine.stop(StopMethod::Force).await, ErrorKind::WrongState)?;
    refused("request", machine.stop(StopMethod::Request).await, ErrorKind::WrongState)?;
    refused("pause", machine.pause().await, ErrorKind::WrongState)?;
    refused("resume", machine.resume().await, ErrorKind::WrongState)?;
    refused("reset", machine.reset().await, ErrorKind::WrongState)?;
    refused("screenshot", machine.screenshot(0).await, ErrorKind::WrongState)?;
    is(&*machine, State::Stopped)
}

async fn start_and_force(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    let mut events = machine.events();
    done("start", machine.start(StartOptions::default()).await)?;
    is(&*machine, State::Running)?;
    refused("a second start", machine.start(StartOptions::default()).await, ErrorKind::WrongState)?;
    done("stop", machine.stop(StopMethod::Force).await)?;
    is(&*machine, State::Stopped)?;
    let (ending, states) = ending(&mut events).await?;
    expect(ending.reason == EndReason::Forced, format!("{ending:?}"))?;
    expect(states == [State::Starting, State::Running, State::Stopping, State::Stopped], format!("states on the way: {states:?}"))
}

async fn request(machine: Arc<dyn VirtualMachine>, harness: &dyn Harness) -> Outcome {
    let mut events = machine.events();
    done("start", machine.start(StartOptions::default()).await)?;
    harness.guest_is_up(&*machine).await;
    done("request", machine.stop(StopMethod::Request).await)?;
    let (ending, _) = ending(&mut events).await?;
    expect(ending.reason == EndReason::GuestShutdown, format!("{ending:?}"))?;
    is(&*machine, State::Stopped)
}

async fn kill(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    let mut events = machine.events();
    done("start", machine.start(StartOptions::default()).await)?;
    done("kill", machine.stop(StopMethod::Kill).await)?;
    is(&*machine, State::Stopped)?;
    let (ending, _) = ending(&mut events).await?;
    expect(ending.reason == EndReason::Killed, format!("{ending:?}"))
}

async fn again(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    for _ in 0..2 {
        done("start", machine.start(StartOptions::default()).await)?;
        done("stop", machine.stop(StopMethod::Force).await)?;
    }
    is(&*machine, State::Stopped)
}

async fn two_starts(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    let (one, two) = futures::join!(machine.start(StartOptions::default()), machine.start(StartOptions::default()));
    let (winner, loser) = if one.is_ok() { (one, two) } else { (two, one) };
    done("the winner", winner)?;
    refused("the loser", loser, ErrorKind::WrongState)?;
    is(&*machine, State::Running)
}

async fn pause_resume(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    done("start", machine.start(StartOptions::default()).await)?;
    done("pause", machine.pause().await)?;
    is(&*machine, State::Paused)?;
    refused("a second pause", machine.pause().await, ErrorKind::WrongState)?;
    done("resume", machine.resume().await)?;
    is(&*machine, State::Running)?;
    done("pause", machine.pause().await)?;
    done("stop while paused", machine.stop(StopMethod::Force).await)?;
    is(&*machine, State::Stopped)
}

async fn start_paused(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    done("start", machine.start(StartOptions { paused: true, ..StartOptions::default() }).await)?;
    is(&*machine, State::Paused)?;
    done("resume", machine.resume().await)?;
    is(&*machine, State::Running)
}

async fn reset(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    done("start", machine.start(StartOptions::default()).await)?;
    let mut events = machine.events();
    done("reset", machine.reset().await)?;
    while let Some(event) = events.next().await {
        match event {
            Event::GuestReset { by_guest } => {
                expect(!by_guest, "the reset is put on the guest")?;
                return is(&*machine, State::Running);
            }
            Event::Ended { ending } => return Err(format!("it ended: {ending}")),
            _ => {}
        }
    }
    Err("no event tells of the reset".into())
}

async fn console(machine: Arc<dyn VirtualMachine>, harness: &dyn Harness) -> Outcome {
    done("start", machine.start(StartOptions::default()).await)?;
    let mut console = done("open", machine.open_console(0).await)?;
    harness.guest_is_up(&*machine).await;
    let (input, expected) = harness.console_exchange();
    console.write_all(&input).await.map_err(|error| format!("writing to the console: {error}"))?;
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(expected.len()).any(|window| window == expected) {
        let length = console.read(&mut buffer).await.map_err(|error| format!("reading from the console: {error}"))?;
        expect(length > 0, "the console closed")?;
        seen.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
    Ok(())
}

async fn screenshot(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    if !machine.capabilities().screenshot {
        return Ok(());
    }
    done("start", machine.start(StartOptions::default()).await)?;
    let picture = done("screenshot", machine.screenshot(0).await)?;
    expect(picture.png.starts_with(b"\x89PNG\r\n\x1a\n"), "it is no PNG file")
}

async fn viewers(machine: Arc<dyn VirtualMachine>, harness: &dyn Harness) -> Outcome {
    if !machine.capabilities().viewers {
        return refused("a viewer", machine.viewer().await.map(drop), ErrorKind::Unsupported);
    }
    refused("a viewer before the start", machine.viewer().await.map(drop), ErrorKind::WrongState)?;
    done("start", machine.start(StartOptions::default()).await)?;
    let (one, other) = (done("a viewer", machine.viewer().await)?, done("a second viewer", machine.viewer().await)?);
    let heads = done("the heads", one.heads().await)?;
    expect(heads.len() == machine.displays().len(), format!("{heads:?}"))?;
    refused("no such head", one.open(99).await.map(drop), ErrorKind::NotFound)?;
    harness.guest_is_up(&*machine).await;
    let mut first = done("open", one.open(0).await)?;
    let mut second = done("open by the second viewer", other.open(0).await)?;
    let (picture, same) = (picture(&mut first).await?, picture(&mut second).await?);
    expect(picture.size() == same.size(), "the two viewers see pictures of two sizes")?;
    done("read the picture", picture.to_rgb().map_err(|error| crate::Error::new(ErrorKind::Backend, error.to_string())))?;
    let key = keymap::Key::named("shift").ok_or("there is no shift key")?;
    for down in [true, false] {
        done("a key", first.control.send(Input::Key { key, down }).await)?;
    }
    done("the lights", second.control.leds().await)?;
    done("a refresh", second.control.refreshed().await)?;
    // One that goes away in the middle is nothing to the other.
    drop((first, one));
    done("a key of the second viewer", second.control.send(Input::Key { key, down: true }).await)?;
    done("a key of the second viewer", second.control.send(Input::Key { key, down: false }).await)
}

/// The next picture of a head that is not off.
async fn picture(head: &mut Head) -> Result<Arc<Surface>, String> {
    while let Some(update) = head.frames.next().await {
        if let Some(surface) = update.shown.surface() {
            return Ok(surface.clone());
        }
    }
    Err("the frames end without a picture".into())
}

async fn viewers_end(machine: Arc<dyn VirtualMachine>, _: &dyn Harness) -> Outcome {
    if !machine.capabilities().viewers {
        return Ok(());
    }
    for _ in 0..2 {
        done("start", machine.start(StartOptions::default()).await)?;
        let viewer = done("a viewer", machine.viewer().await)?;
        let mut head = done("open", viewer.open(0).await)?;
        done("stop", machine.stop(StopMethod::Force).await)?;
        while head.frames.next().await.is_some() {}
        expect(viewer.heads().await.is_err(), "a viewer of a machine that has ended still answers")?;
    }
    Ok(())
}

async fn media(machine: Arc<dyn VirtualMachine>, harness: &dyn Harness) -> Outcome {
    if !machine.capabilities().media {
        return Ok(());
    }
    done("start", machine.start(StartOptions::default()).await)?;
    let drive = machine.drives().into_iter().find(|drive| drive.removable).ok_or("there is no removable drive")?;
    let medium = |machine: &dyn VirtualMachine| {
        machine.drives().into_iter().find(|candidate| candidate.id == drive.id).and_then(|drive| drive.medium)
    };
    let path = harness.medium();
    for _ in 0..2 {
        let format = done("insert", machine.insert(&drive.id, Medium { path: path.clone(), read_only: true }).await)?;
        expect(format == "raw", "the medium is raw")?;
        expect(medium(&*machine).as_ref() == Some(&path), "the medium is not there")?;
    }
    done("eject", machine.eject(&drive.id, true).await)?;
    expect(medium(&*machine).is_none(), "the medium is still there")?;
    if let Some(disk) = machine.drives().into_iter().find(|drive| !drive.removable) {
        refused("ejecting a disk", machine.eject(&disk.id, true).await, ErrorKind::Unsupported)?;
    }
    Ok(())
}

async fn not_found(machine: Arc<dyn VirtualMachine>, harness: &dyn Harness) -> Outcome {
    done("start", machine.start(StartOptions::default()).await)?;
    let medium = Medium { path: harness.medium(), read_only: true };
    refused("insert", machine.insert("no-such-drive", medium).await, ErrorKind::NotFound)?;
    refused("eject", machine.eject("no-such-drive", true).await, ErrorKind::NotFound)?;
    refused("console", machine.open_console(99).await, ErrorKind::NotFound)?;
    if machine.capabilities().screenshot {
        refused("screenshot", machine.screenshot(99).await, ErrorKind::NotFound)?;
    }
    Ok(())
}
