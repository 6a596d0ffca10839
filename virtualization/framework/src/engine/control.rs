//! The control thread: the only one that changes a machine.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use confinement::{Confinement, Status, Thread};
use devices::nbd::NbdEvent;
use devices::virtio::balloon::BalloonTarget;
use hv::Hypervisor;

use super::board::{Board, Origin};
use super::bus::GuestAction;
use super::debugger::Debugger;
use super::outside::Outside;
use super::resources::Resources;
use super::saved;
use super::surroundings::Surroundings;
use crate::balloon::VirtioMemoryBalloonDevice;
use crate::completion::{Completer, Completion};
use crate::configuration::VirtualMachineConfiguration;
use crate::console::ConsoleHandle;
use crate::directory_sharing::DirectorySharingHandle;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventStream, Events};
use crate::lifecycle::{Lifecycle, Observation};
use crate::network::NetworkHandle;
use crate::socket::VirtioSocketDevice;
use crate::state::State;
use crate::task::Task;

/// How long the end of a guest waits for programs of the host to read what it has sent them.
const DRAIN: Duration = Duration::from_secs(2);

/// What reaches the control thread.
pub enum Message {
    /// Somebody asks for something.
    Ask(Task, Completer<()>),
    /// The guest did something to the machine.
    Guest {
        /// Which board it ran on.
        board: u64,
        /// What it did.
        action: GuestAction,
    },
    /// A vCPU cannot go on.
    Failed {
        /// Which board it is of.
        board: u64,
        /// Why.
        why: String,
    },
    /// What a network card was connected to has gone.
    NetworkGone {
        /// Which board the card is of.
        board: u64,
        /// Which of the configuration's cards it is.
        device: usize,
        /// Why.
        error: Error,
    },
    /// Something happened to the server behind a disk.
    Storage {
        /// Which board the disk is of.
        board: u64,
        /// Which of the configuration's storage devices it is.
        device: usize,
        /// What.
        event: NbdEvent,
    },
    /// What serves a shared directory has gone.
    SharingGone {
        /// Which board the device is of.
        board: u64,
        /// Which of the configuration's directory sharing devices it is.
        device: usize,
        /// Why.
        error: std::io::Error,
    },
    /// Nobody holds the machine any longer.
    End,
}

/// What others may know of the machine.
struct Published {
    state: Mutex<State>,
    events: Events,
}

impl Published {
    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the state is this one now, if it is another one.
    fn set_state(&self, state: State) {
        let mut known = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *known, state) != state {
            drop(known);
            self.events.send(&Event::StateChanged(state));
        }
    }
}

/// The machine, as its handles hold it.
pub struct Control {
    published: Arc<Published>,
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
    resources: Resources,
    memory_size: u64,
    _debugger: Option<Debugger>,
    confinement: Status,
}

impl Control {
    /// A machine on this computer's hypervisor.
    pub fn new(configuration: VirtualMachineConfiguration) -> Result<Self> {
        Self::with_hypervisor(configuration, super::hypervisor()?)
    }

    /// A machine and its thread.
    pub fn with_hypervisor(configuration: VirtualMachineConfiguration, hypervisor: Arc<dyn Hypervisor>) -> Result<Self> {
        let published = Arc::new(Published { state: Mutex::new(State::Stopped), events: Events::default() });
        let confinement = if configuration.is_confined() { Confinement::new() } else { Ok(Confinement::off()) };
        let confinement = confinement.map_err(failed("Could not set up the confinement of the machine's threads"))?;
        let status = confinement.status();
        let (resources, memory_size) = (Resources::new(&configuration, &confinement)?, configuration.memory_size);
        let debugged = || resources.debugged.clone();
        let debugger = configuration.debug_stub.as_ref().map(|stub| Debugger::new(stub, debugged(), &confinement)).transpose()?;
        let surroundings = Surroundings { hypervisor, outside: Outside::new()?, confinement: confinement.clone() };
        let (messages, inbox) = channel();
        let machine = Machine {
            configuration,
            resources: resources.clone(),
            surroundings,
            published: Arc::clone(&published),
            messages: messages.clone(),
            life: Lifecycle::default(),
            board: None,
            boards: 0,
        };
        let thread = confinement.spawn_without_files(Thread::Control, "vm-control".to_owned(), move || machine.run(&inbox));
        let thread = thread.map_err(failed("Could not start the machine's control thread"))?;
        Ok(Self { published, messages, thread: Some(thread), resources, memory_size, confinement: status, _debugger: debugger })
    }

    /// The state.
    pub fn state(&self) -> State {
        self.published.state()
    }

    /// How the machine's threads are confined.
    pub fn confinement(&self) -> Status {
        self.confinement
    }

    /// Events from now on.
    pub fn events(&self) -> EventStream {
        self.published.events.subscribe()
    }

    /// The consoles.
    pub fn console_devices(&self) -> Vec<ConsoleHandle> {
        self.resources.consoles.iter().map(|console| ConsoleHandle::new(Arc::clone(console))).collect()
    }

    /// The shared directories.
    pub fn directory_sharing_devices(&self) -> Vec<DirectorySharingHandle> {
        self.resources.shares.iter().map(|sharing| DirectorySharingHandle::new(Arc::clone(sharing))).collect()
    }

    /// The memory balloons.
    pub fn memory_balloon_devices(&self) -> Vec<VirtioMemoryBalloonDevice> {
        let device = |target: &Arc<BalloonTarget>| VirtioMemoryBalloonDevice::new(Arc::clone(target), self.memory_size);
        self.resources.balloons.iter().map(device).collect()
    }

    /// The network cards.
    pub fn network_devices(&self) -> Vec<NetworkHandle> {
        self.resources.networks.iter().map(|connection| NetworkHandle::new(Arc::clone(connection))).collect()
    }

    /// The socket devices.
    pub fn socket_devices(&self) -> Vec<VirtioSocketDevice> {
        self.resources.sockets.iter().map(|ports| VirtioSocketDevice::new(Arc::clone(ports))).collect()
    }

    /// Asks for an operation.
    pub fn ask(&self, task: Task) -> Completion<()> {
        let (completer, completion) = Completion::new();
        // What is not received is dropped, and so cancelled.
        let _ = self.messages.send(Message::Ask(task, completer));
        completion
    }
}

fn failed(attempt: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::because(ErrorKind::Host, attempt, error)
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Control({})", self.state())
    }
}

/// The machine, as its thread has it.
struct Machine {
    configuration: VirtualMachineConfiguration,
    resources: Resources,
    surroundings: Surroundings,
    published: Arc<Published>,
    messages: Sender<Message>,
    life: Lifecycle,
    board: Option<Board>,
    boards: u64,
}

impl Machine {
    fn run(mut self, inbox: &Receiver<Message>) {
        for message in inbox {
            match message {
                Message::Ask(task, completer) => {
                    let result = self.carry_out(&task);
                    completer.end(result);
                }
                Message::Guest { board, action } if self.is_current(board) => self.guest_did(action),
                Message::Failed { board, why } if self.is_current(board) => self.fail(Error::new(ErrorKind::Internal, why)),
                Message::NetworkGone { board, device, error } if self.is_current(board) => {
                    if let Some(connection) = self.resources.networks.get(device) {
                        connection.clear();
                    }
                    self.published.events.send(&Event::NetworkDisconnected { device, error: Arc::new(error) });
                }
                Message::Storage { board, device, event } if self.is_current(board) => {
                    self.published.events.send(&match event {
                        NbdEvent::Connected => Event::StorageConnected { device },
                        NbdEvent::Failed(error) => {
                            let error = Error::because(ErrorKind::Network, "The server behind a disk was lost", error);
                            Event::StorageDisconnected { device, error: Arc::new(error) }
                        }
                    });
                }
                Message::SharingGone { board, device, error } if self.is_current(board) => {
                    let error = Error::because(ErrorKind::Host, "The program that serves a shared directory has failed", error);
                    self.published.events.send(&Event::DirectorySharingFailed { device, error: Arc::new(error) });
                }
                // From a board that is gone.
                Message::Guest { .. }
                | Message::Failed { .. }
                | Message::NetworkGone { .. }
                | Message::Storage { .. }
                | Message::SharingGone { .. } => {}
                Message::End => {
                    self.end_board(Duration::ZERO);
                    return;
                }
            }
        }
    }

    fn is_current(&self, number: u64) -> bool {
        self.board.as_ref().is_some_and(|board| board.number == number)
    }

    fn publish(&self) {
        self.published.set_state(self.life.state());
    }

    fn carry_out(&mut self, task: &Task) -> Result<()> {
        let operation = task.operation();
        if !self.life.begin(operation) {
            let (state, done) = (self.life.state(), operation.participle());
            return Err(Error::new(ErrorKind::InvalidState, format!("A machine that is {state} cannot be {done}")));
        }
        self.publish();
        let result = self.perform(task);
        self.life.finish(result.is_ok());
        if self.life.state() == State::Error {
            self.end_board(Duration::ZERO);
        }
        self.publish();
        result
    }

    fn perform(&mut self, task: &Task) -> Result<()> {
        match (task, &self.board) {
            (Task::Start(_), _) => {
                let board = self.build(&Origin::Boot)?;
                self.board.insert(board).resume();
                Ok(())
            }
            (Task::RequestStop, Some(board)) => {
                board.press_power_button();
                Ok(())
            }
            (Task::Stop, _) => {
                self.end_board(Duration::ZERO);
                Ok(())
            }
            (Task::Pause, Some(board)) => {
                board.pause();
                Ok(())
            }
            (Task::Resume, Some(board)) => {
                board.resume();
                Ok(())
            }
            (Task::Save(path), Some(board)) => {
                saved::require_support(&self.configuration)?;
                saved::save(path, &self.configuration, &self.surroundings, board)
            }
            (Task::Restore(path), _) => {
                saved::require_support(&self.configuration)?;
                let (saved, state) = saved::open(path, &self.configuration, &self.surroundings)?;
                self.board = Some(self.build(&Origin::Saved(&saved, &state))?);
                Ok(())
            }
            (Task::RequestStop | Task::Pause | Task::Resume | Task::Save(_), None) => {
                Err(Error::new(ErrorKind::Internal, "The machine runs and has no computer"))
            }
        }
    }

    fn build(&mut self, origin: &Origin<'_>) -> Result<Board> {
        self.boards += 1;
        Board::new(self.boards, &self.configuration, &self.resources, &self.surroundings, self.messages.clone(), origin)
    }

    /// Takes the computer away; programs of the host may take so long to read what the guest has sent them.
    fn end_board(&mut self, patience: Duration) {
        self.board = None;
        self.resources.sockets.iter().for_each(|ports| ports.finish(patience));
    }

    fn guest_did(&mut self, action: GuestAction) {
        match action {
            GuestAction::PowerOff => {
                self.end_board(DRAIN);
                if self.life.observe(Observation::GuestStopped) {
                    self.publish();
                    self.published.events.send(&Event::GuestStopped);
                }
            }
            GuestAction::Reset => self.reboot(),
            GuestAction::Panic => self.published.events.send(&Event::GuestPanicked),
            GuestAction::Port { device, port, is_open: true } => self.published.events.send(&Event::ConsolePortOpened { device, port }),
            GuestAction::Port { device, port, is_open: false } => self.published.events.send(&Event::ConsolePortClosed { device, port }),
        }
    }

    /// Builds the computer anew, as it was when it started.
    fn reboot(&mut self) {
        self.end_board(DRAIN);
        match self.build(&Origin::Boot) {
            Ok(board) => {
                if self.life.state() == State::Running {
                    board.resume();
                }
                self.board = Some(board);
                self.published.events.send(&Event::GuestRebooted);
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) {
        self.end_board(Duration::ZERO);
        if self.life.observe(Observation::Failed) {
            self.publish();
            self.published.events.send(&Event::StoppedWithError(Arc::new(error)));
        }
    }
}
