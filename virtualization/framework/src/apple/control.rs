//! The machine, as its handles hold it.

use std::cell::Cell;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use block2::RcBlock;
use dispatch2::DispatchQueue;
use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2::{AnyThread, available};
use objc2_foundation::{NSError, NSKeyValueObservingOptions, NSObjectNSKeyValueObserverRegistration, NSString};
use objc2_virtualization::{
    VZMacOSVirtualMachineStartOptions, VZVirtioConsoleDevice, VZVirtualMachine, VZVirtualMachineConfiguration, VZVirtualMachineState,
};

use super::configuration::{self, Delegates};
use super::delegate::{Delegate, Published, state};
use super::devices::{Balloon, Connection, Console, Sharing};
use super::error::{failed, result, url};
use super::queue::OnQueue;
use super::socket::SocketPorts;
use super::{require_apple_silicon, require_host};
use crate::balloon::VirtioMemoryBalloonDevice;
use crate::completion::{Completer, Completion};
use crate::configuration::{ConsoleDevice, DirectorySharingDevice, NetworkDevice, VirtualMachineConfiguration};
use crate::console::ConsoleHandle;
use crate::directory_sharing::DirectorySharingHandle;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventStream;
use crate::lifecycle::Operation;
use crate::network::NetworkHandle;
use crate::socket::VirtioSocketDevice;
use crate::state::State;
use crate::task::Task;

/// The property that is observed.
const STATE: &str = "state";

/// What belongs to the machine's queue.
pub struct Machine {
    pub object: Retained<VZVirtualMachine>,
    configuration: Retained<VZVirtualMachineConfiguration>,
    published: Arc<Published>,
    delegate: Retained<Delegate>,
    /// Those of consoles and of disks' servers: the framework does not keep them.
    consoles: Delegates,
    _storage: Delegates,
}

/// The machine.
pub struct Control {
    machine: Arc<OnQueue<Machine>>,
    published: Arc<Published>,
    memory_size: u64,
    consoles: Vec<Arc<Console>>,
    networks: Vec<Arc<Connection>>,
    shares: Vec<Arc<Sharing>>,
    balloons: Vec<Arc<Balloon>>,
    sockets: Vec<Arc<SocketPorts>>,
    /// What attachments have of the host.
    _configuration: VirtualMachineConfiguration,
}

impl Control {
    /// A machine on a queue of its own.
    pub fn new(ours: VirtualMachineConfiguration) -> Result<Self> {
        require_host()?;
        let published = Published::new();
        let (configuration, storage) = configuration::machine(&ours, &published)?;
        let queue = DispatchQueue::new("virtualization.machine", None);
        // SAFETY: the configuration is valid, and the queue is a serial one.
        let object = unsafe { VZVirtualMachine::initWithConfiguration_queue(VZVirtualMachine::alloc(), &configuration, &queue) };
        let delegate = Delegate::new(Arc::clone(&published), 0);
        let consoles = (0..ours.console_devices.len()).map(|index| Delegate::new(Arc::clone(&published), index)).collect();
        let machine = Machine { object, configuration, published: Arc::clone(&published), delegate, consoles, _storage: storage };
        let machine = OnQueue::new(queue, machine);
        // Before anything else is asked of the machine.
        machine.later(Machine::observe);

        let on = |index: usize| (Arc::clone(&machine), index);
        let consoles = ours.console_devices.iter().enumerate();
        let consoles = consoles.map(|(index, ConsoleDevice::Virtio(console))| Arc::new(Console::new(on(index), console))).collect();
        let networks = ours.network_devices.iter().enumerate();
        let networks = networks.map(|(index, NetworkDevice::Virtio(card))| Arc::new(Connection::new(on(index), card))).collect();
        let shares = ours.directory_sharing_devices.iter().enumerate();
        let shares =
            shares.map(|(index, DirectorySharingDevice::VirtioFileSystem(device))| Arc::new(Sharing::new(on(index), device))).collect();
        let balloons = (0..ours.memory_balloon_devices.len()).map(|index| Arc::new(Balloon::new(on(index), ours.memory_size))).collect();
        let sockets = (0..ours.socket_devices.len()).map(|index| Arc::new(SocketPorts::new(on(index)))).collect();
        Ok(Self { machine, published, memory_size: ours.memory_size, consoles, networks, shares, balloons, sockets, _configuration: ours })
    }

    /// The state.
    pub fn state(&self) -> State {
        self.published.state()
    }

    /// Events from now on.
    pub fn events(&self) -> EventStream {
        self.published.subscribe()
    }

    /// The consoles.
    pub fn console_devices(&self) -> Vec<ConsoleHandle> {
        self.consoles.iter().map(|console| ConsoleHandle::new(Arc::clone(console))).collect()
    }

    /// The shared directories.
    pub fn directory_sharing_devices(&self) -> Vec<DirectorySharingHandle> {
        self.shares.iter().map(|sharing| DirectorySharingHandle::new(Arc::clone(sharing))).collect()
    }

    /// The memory balloons.
    pub fn memory_balloon_devices(&self) -> Vec<VirtioMemoryBalloonDevice> {
        self.balloons.iter().map(|balloon| VirtioMemoryBalloonDevice::new(Arc::clone(balloon), self.memory_size)).collect()
    }

    /// The network cards.
    pub fn network_devices(&self) -> Vec<NetworkHandle> {
        self.networks.iter().map(|connection| NetworkHandle::new(Arc::clone(connection))).collect()
    }

    /// The socket devices.
    pub fn socket_devices(&self) -> Vec<VirtioSocketDevice> {
        self.sockets.iter().map(|ports| VirtioSocketDevice::new(Arc::clone(ports))).collect()
    }

    /// Asks for an operation.
    pub fn ask(&self, task: Task) -> Completion<()> {
        let (completer, completion) = Completion::new();
        self.machine.later(move |machine| machine.perform(&task, completer));
        completion
    }

    /// What is on the machine's queue.
    pub fn machine(&self) -> &Arc<OnQueue<Machine>> {
        &self.machine
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Control({})", self.state())
    }
}

/// A handler that ends an operation: called once, on the machine's queue.
fn handler(machine: &Machine, attempt: &'static str, completer: Completer<()>) -> RcBlock<dyn Fn(*mut NSError)> {
    let (object, published) = (machine.object.clone(), Arc::clone(&machine.published));
    let completer = Cell::new(Some(completer));
    RcBlock::new(move |error: *mut NSError| {
        // SAFETY: the framework lends an error, or gives none.
        let result = unsafe { result(attempt, error) };
        // The state has changed before the operation ends.
        // SAFETY: this is the machine's queue.
        published.set_state(state(unsafe { object.state() }));
        if let Some(completer) = completer.take() {
            completer.end(result);
        }
    })
}

impl Machine {
    /// Lets events be made of what happens.
    fn observe(&self) {
        let key = NSString::from_str(STATE);
        // SAFETY: this is the machine's queue. The observer and delegate are kept by `self`, which takes the observer out before it ends;
        // the observer has the method for it, and no context is needed.
        unsafe {
            self.object.setDelegate(Some(ProtocolObject::from_ref(&*self.delegate)));
            self.object.addObserver_forKeyPath_options_context(&self.delegate, &key, NSKeyValueObservingOptions::empty(), ptr::null_mut());
        }
        // SAFETY: as above.
        let consoles = unsafe { self.object.consoleDevices() };
        for (console, delegate) in consoles.iter().zip(&self.consoles) {
            if let Ok(console) = console.downcast::<VZVirtioConsoleDevice>() {
                // SAFETY: as above; the delegate is kept by `self`.
                unsafe { console.setDelegate(Some(ProtocolObject::from_ref(&**delegate))) };
            }
        }
    }

    fn perform(&self, task: &Task, completer: Completer<()>) {
        if let Err(error) = self.require(task) {
            completer.end(Err(error));
            return;
        }
        let object = &self.object;
        // SAFETY: this is the machine's queue, on which the handlers are called too, and the state allows the operation. Handlers are copied
        // by whoever keeps them.
        unsafe {
            match task {
                Task::Start(options) if options.start_up_from_macos_recovery => {
                    let theirs = VZMacOSVirtualMachineStartOptions::new();
                    theirs.setStartUpFromMacOSRecovery(true);
                    object.startWithOptions_completionHandler(&theirs, &handler(self, "Could not start the machine's recovery", completer));
                }
                Task::Start(_) => object.startWithCompletionHandler(&handler(self, "Could not start the machine", completer)),
                Task::Stop => object.stopWithCompletionHandler(&handler(self, "Could not stop the machine", completer)),
                Task::Pause => object.pauseWithCompletionHandler(&handler(self, "Could not pause the machine", completer)),
                Task::Resume => object.resumeWithCompletionHandler(&handler(self, "Could not resume the machine", completer)),
                Task::RequestStop => completer.end(object.requestStopWithError().map_err(failed("Could not ask the guest to stop"))),
                Task::Save(path) => match url(path) {
                    Ok(url) => {
                        object.saveMachineStateToURL_completionHandler(&url, &handler(self, "Could not save the machine", completer));
                    }
                    Err(error) => completer.end(Err(error)),
                },
                Task::Restore(path) => match url(path) {
                    Ok(url) => {
                        object
                            .restoreMachineStateFromURL_completionHandler(&url, &handler(self, "Could not restore the machine", completer));
                    }
                    Err(error) => completer.end(Err(error)),
                },
            }
        }
    }

    /// Refuses what cannot be done now: much of it would be an exception.
    fn require(&self, task: &Task) -> Result<()> {
        let object = &self.object;
        let operation = task.operation();
        // SAFETY: this is the machine's queue.
        let (is_allowed, now) = unsafe {
            let now = object.state();
            let is_allowed = match operation {
                Operation::Start => object.canStart(),
                Operation::RequestStop => object.canRequestStop(),
                Operation::Stop => object.canStop(),
                Operation::Pause => object.canPause(),
                Operation::Resume => object.canResume(),
                Operation::Save => now == VZVirtualMachineState::Paused,
                Operation::Restore => now == VZVirtualMachineState::Stopped,
            };
            (is_allowed, now)
        };
        if !is_allowed {
            let (now, done) = (state(now), operation.participle());
            return Err(Error::new(ErrorKind::InvalidState, format!("A machine that is {now} cannot be {done}")));
        }
        match task {
            Task::Start(options) if options.start_up_from_macos_recovery => require_apple_silicon("macOS's recovery"),
            Task::Save(_) | Task::Restore(_) => {
                require_apple_silicon("Saving and restoring")?;
                if !available!(macos = 14.0) {
                    return Err(Error::new(ErrorKind::NotSupported, "Saving and restoring needs macOS 14 or later"));
                }
                // SAFETY: the method is there.
                unsafe { self.configuration.validateSaveRestoreSupportWithError() }
                    .map_err(failed("Something in the machine's configuration cannot be saved"))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: this is the machine's queue, and the observer was added there before anything else was done.
        unsafe {
            self.object.removeObserver_forKeyPath(&self.delegate, &NSString::from_str(STATE));
            self.object.setDelegate(None);
        }
    }
}
