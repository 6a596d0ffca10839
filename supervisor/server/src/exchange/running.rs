//! The process while it runs: what it is told and asked, what it tells, and the descriptors that it gets.

use super::{Service, Started};
use machine::{Error, ErrorKind, Result, VirtualMachine};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use supervisor_api::helper::{self, Ask, GRANTED, REFUSED, Tell, Told, WANTS_CONNECTION, WANTS_DEVICE};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};

/// How long the process may take to reach the machine.
const COMING: Duration = Duration::from_secs(20);
/// How long it may take to answer; a guest's part in that is bounded there.
const ANSWERING: Duration = Duration::from_secs(30);
/// How long it may take to go when it is told nothing more.
const GOING: Duration = Duration::from_secs(3);
/// Connections that one process may use: more than a machine has channels.
const MAX_CONNECTIONS: usize = 256;

type Answer = Result<Vec<u8>>;

/// The process.
pub struct Running {
    /// When it was started.
    pub began: Instant,
    writing: tokio::sync::Mutex<Option<OwnedWriteHalf>>,
    asked: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
    /// What it gets when it asks for a device.
    device: Mutex<Option<OwnedFd>>,
    /// Nobody here needs it any more.
    dismissed: AtomicBool,
    phase: watch::Sender<Phase>,
    process: Option<Arc<sandbox::Process>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Coming,
    Ready,
    Ended(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Backend, format!("Cannot {what} the process that exchanges things with the guest")).with_source(error)
}

fn asynchronous(stream: StdStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

impl Running {
    /// Takes charge of a process that was started.
    pub fn begin(service: Arc<Service>, machine: Arc<dyn VirtualMachine>, started: Started) -> Result<Arc<Self>> {
        let (reading, writing) = asynchronous(started.control).map_err(|error| failed("reach", error))?.into_split();
        let connections = asynchronous(started.connections).map_err(|error| failed("reach", error))?;
        let running = Arc::new(Self {
            began: Instant::now(),
            writing: tokio::sync::Mutex::new(Some(writing)),
            asked: Mutex::default(),
            next: AtomicU64::new(1),
            device: Mutex::default(),
            dismissed: AtomicBool::new(false),
            phase: watch::Sender::new(Phase::Coming),
            process: started.process,
        });
        tokio::spawn(hand_over(running.clone(), machine, connections));
        tokio::spawn(listen(running.clone(), service, reading));
        Ok(running)
    }

    pub fn has_ended(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Ended(_))
    }

    /// Returns when the machine has taken it.
    pub async fn ready(&self) -> Result<()> {
        let mut phase = self.phase.subscribe();
        let came = tokio::time::timeout(COMING, phase.wait_for(|phase| *phase != Phase::Coming)).await;
        let came = came.map(|phase| phase.map(|phase| phase.clone()));
        let why = match came {
            Ok(Ok(Phase::Ready | Phase::Coming)) => return Ok(()),
            Ok(Ok(Phase::Ended(why))) => Error::new(ErrorKind::Backend, format!("The guest cannot be reached: {why}")),
            _ => Error::new(ErrorKind::Timeout, format!("The guest could not be reached within {} s", COMING.as_secs())),
        };
        self.end().await;
        Err(why)
    }

    pub async fn tell(&self, message: &Tell, bytes: &[u8]) -> Result<()> {
        let mut writing = self.writing.lock().await;
        let gone = || failed("tell something to", io::ErrorKind::BrokenPipe.into());
        let stream = writing.as_mut().ok_or_else(gone)?;
        // A frame that is cut off would make nonsense of what follows: on failure, and when whoever waits goes away, there is none.
        let mut whole = Vec::new();
        helper::write(&mut whole, message, bytes).await.map_err(|error| failed("tell something to", error))?;
        let written = tokio::time::timeout(ANSWERING, stream.write_all(&whole)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                *writing = None;
                Err(failed("tell something to", error))
            }
            Err(_) => {
                *writing = None;
                Err(failed("tell something to", io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Asks, and waits for the answer. Goes on to its end when whoever asked goes away.
    pub async fn ask(self: &Arc<Self>, ask: Ask, bytes: &[u8]) -> Answer {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.asked).insert(number, sender);
        let (running, bytes) = (self.clone(), bytes.to_vec());
        let asked = tokio::spawn(async move {
            running.tell(&Tell::Ask { number, ask }, &bytes).await?;
            let gone = |_| failed("ask", io::ErrorKind::BrokenPipe.into());
            let late = |_| Error::new(ErrorKind::Timeout, format!("The guest did not answer within {} s", ANSWERING.as_secs()));
            tokio::time::timeout(ANSWERING, answer).await.map_err(late)?.map_err(gone)?
        });
        let outcome = asked.await.unwrap_or_else(|error| Err(failed("ask", io::Error::other(error))));
        lock(&self.asked).remove(&number);
        outcome
    }

    /// The device for its next question.
    pub fn grant(&self, device: OwnedFd) {
        *lock(&self.device) = Some(device);
    }

    /// No device any more.
    pub fn revoke(&self) {
        *lock(&self.device) = None;
    }

    /// Tells it that it is needed no more, and waits until it has gone.
    pub async fn end(&self) {
        self.dismissed.store(true, Ordering::Release);
        // It ends when there is nothing more to hear.
        if let Some(writing) = self.writing.lock().await.take() {
            drop(writing);
        }
        let mut phase = self.phase.subscribe();
        let over = |phase: &Phase| matches!(phase, Phase::Ended(_));
        if tokio::time::timeout(GOING, phase.wait_for(over)).await.is_err() {
            self.kill();
            let _ = tokio::time::timeout(GOING, phase.wait_for(over)).await;
        }
    }

    fn kill(&self) {
        if let Some(process) = &self.process {
            let _ = process.signal(sandbox::Signal::KILL);
        }
    }
}

/// Hears what it says, to its end.
async fn listen(running: Arc<Running>, service: Arc<Service>, mut reading: OwnedReadHalf) {
    let mut reason = "its process ended".to_owned();
    loop {
        match helper::read::<Told>(&mut reading).await {
            Ok(Some((Told::Ready, _))) => {
                running.phase.send_if_modified(|phase| std::mem::replace(phase, Phase::Ready) == Phase::Coming);
            }
            Ok(Some((Told::Answer { number, failure }, bytes))) => {
                let answer = failure.map_or(Ok(bytes), |failure| Err(failure.into()));
                if let Some(asked) = lock(&running.asked).remove(&number) {
                    let _ = asked.send(answer);
                }
            }
            Ok(Some((Told::Closed { reason: Some(why) }, _))) => reason = why,
            Ok(Some((told, _))) => service.hear(told),
            Ok(None) => break,
            Err(error) => {
                reason = format!("what it says makes no sense ({error})");
                running.kill();
                break;
            }
        }
    }
    drop(reading);
    let exit = match &running.process {
        Some(process) => gone(process).await,
        None => None,
    };
    if let Some(sandbox::Exit::Signal(signal)) = exit {
        reason = format!("its process was ended by signal {signal}");
    }
    lock(&running.asked).clear();
    let dismissed = running.dismissed.load(Ordering::Acquire);
    running.phase.send_replace(Phase::Ended(reason.clone()));
    service.over(&running, (!dismissed).then_some(reason)).await;
}

/// How the process ended, once it has; one that stays though it says nothing more is killed.
async fn gone(process: &Arc<sandbox::Process>) -> Option<sandbox::Exit> {
    let process = process.clone();
    let waited = tokio::task::spawn_blocking(move || {
        if let Some(exit) = process.wait(Some(GOING)).ok()? {
            return Some(exit);
        }
        let _ = process.signal(sandbox::Signal::KILL);
        process.wait(Some(GOING)).ok()?
    });
    waited.await.ok()?
}

/// Hands over what it asks for, to its end.
async fn hand_over(running: Arc<Running>, machine: Arc<dyn VirtualMachine>, mut stream: UnixStream) {
    let mut connections = 0;
    let mut wanted = [0];
    while let Ok(1) = stream.read(&mut wanted).await {
        let descriptor = match wanted[0] {
            WANTS_CONNECTION if connections < MAX_CONNECTIONS => {
                connections += 1;
                connection(&*machine).await
            }
            WANTS_DEVICE => lock(&running.device).take(),
            _ => None,
        };
        if answer(&stream, descriptor).await.is_err() {
            return;
        }
    }
}

async fn connection(machine: &dyn VirtualMachine) -> Option<OwnedFd> {
    let (ours, theirs) = StdStream::pair().ok()?;
    match machine.attach_exchange(theirs.into()).await {
        Ok(()) => Some(ours.into()),
        Err(error) => {
            tracing::warn!("The guest cannot be reached: {}", error.chain());
            None
        }
    }
}

async fn answer(stream: &UnixStream, descriptor: Option<OwnedFd>) -> io::Result<()> {
    let byte = [if descriptor.is_some() { GRANTED } else { REFUSED }];
    stream
        .async_io(Interest::WRITABLE, || {
            let borrowed: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !borrowed.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            Ok(rustix::net::sendmsg(stream, &[IoSlice::new(&byte)], &mut control, SendFlags::NOSIGNAL)?)
        })
        .await
        .map(drop)
}
