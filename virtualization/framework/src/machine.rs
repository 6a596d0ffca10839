//! The machine object.

use std::sync::Arc;

use crate::balloon::VirtioMemoryBalloonDevice;
use crate::completion::Completion;
use crate::configuration::VirtualMachineConfiguration;
use crate::console::ConsoleHandle;
use crate::engine::{self, Control};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventStream;
use crate::lifecycle::Operation;
use crate::network::NetworkHandle;
use crate::socket::VirtioSocketDevice;
use crate::state::State;

/// How a machine is to start. Apple: `VZVirtualMachineStartOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartOptions {
    /// Start macOS's recovery instead of macOS. Only a Mac can. Apple: `VZMacOSVirtualMachineStartOptions.startUpFromMacOSRecovery`.
    pub start_up_from_macos_recovery: bool,
}

/// A virtual machine. Clones are handles of the same one; it ends with the last of them. Apple: `VZVirtualMachine`.
///
/// Every operation begins when it is called, in the order of the calls. The state has changed before a [`Completion`] ends.
#[derive(Debug, Clone)]
pub struct VirtualMachine {
    control: Arc<Control>,
}

impl VirtualMachine {
    /// A machine with this configuration, not yet running.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] with every problem, [`ErrorKind::NotSupported`] for what this engine does not have, and
    /// [`ErrorKind::Host`] where this computer cannot run machines.
    pub fn new(configuration: VirtualMachineConfiguration) -> Result<Self> {
        configuration.validate()?;
        engine::require_supported(&configuration)?;
        Self::with_hypervisor(configuration, engine::hypervisor()?)
    }

    pub(crate) fn with_hypervisor(configuration: VirtualMachineConfiguration, hypervisor: Arc<dyn hv::Hypervisor>) -> Result<Self> {
        Ok(Self { control: Arc::new(Control::new(configuration, hypervisor)?) })
    }

    /// Whether this computer can run machines, and if not, why. Apple: `isSupported`.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] with what there is to do.
    pub fn is_supported() -> Result<()> {
        engine::hypervisor().map(drop)
    }

    /// The state.
    pub fn state(&self) -> State {
        self.control.state()
    }

    /// The machine's consoles, as they are in its configuration.
    pub fn console_devices(&self) -> Vec<ConsoleHandle> {
        self.control.console_devices()
    }

    /// The machine's memory balloons, as they are in its configuration.
    pub fn memory_balloon_devices(&self) -> Vec<VirtioMemoryBalloonDevice> {
        self.control.memory_balloon_devices()
    }

    /// The machine's network cards, as they are in its configuration.
    pub fn network_devices(&self) -> Vec<NetworkHandle> {
        self.control.network_devices()
    }

    /// The machine's socket devices, as they are in its configuration.
    pub fn socket_devices(&self) -> Vec<VirtioSocketDevice> {
        self.control.socket_devices()
    }

    /// What happens from now on.
    pub fn events(&self) -> EventStream {
        self.control.events()
    }

    /// Whether [`Self::start`] is possible now.
    pub fn can_start(&self) -> bool {
        Operation::Start.is_allowed_in(self.state())
    }

    /// Whether [`Self::request_stop`] is possible now.
    pub fn can_request_stop(&self) -> bool {
        Operation::RequestStop.is_allowed_in(self.state())
    }

    /// Whether [`Self::stop`] is possible now.
    pub fn can_stop(&self) -> bool {
        Operation::Stop.is_allowed_in(self.state())
    }

    /// Whether [`Self::pause`] is possible now.
    pub fn can_pause(&self) -> bool {
        Operation::Pause.is_allowed_in(self.state())
    }

    /// Whether [`Self::resume`] is possible now.
    pub fn can_resume(&self) -> bool {
        Operation::Resume.is_allowed_in(self.state())
    }

    /// Starts the guest.
    ///
    /// # Errors
    /// Why it cannot start; the machine is then [`State::Stopped`].
    pub fn start(&self) -> Completion<()> {
        self.start_with(&StartOptions::default())
    }

    /// Starts the guest in a particular way.
    ///
    /// # Errors
    /// As [`Self::start`]; [`ErrorKind::NotSupported`] for an option that this engine does not have.
    pub fn start_with(&self, options: &StartOptions) -> Completion<()> {
        if options.start_up_from_macos_recovery {
            return Completion::ended(Err(Error::new(ErrorKind::NotSupported, "Only a Mac can start macOS's recovery")));
        }
        self.control.ask(Operation::Start)
    }

    /// Asks the guest to power off, as its power button would. The completion says that the guest was asked; what it does is its own
    /// affair, and [`crate::Event::GuestStopped`] tells.
    pub fn request_stop(&self) -> Completion<()> {
        self.control.ask(Operation::RequestStop)
    }

    /// Ends the guest without asking it, as if its plug were pulled.
    pub fn stop(&self) -> Completion<()> {
        self.control.ask(Operation::Stop)
    }

    /// Makes the guest stand still.
    pub fn pause(&self) -> Completion<()> {
        self.control.ask(Operation::Pause)
    }

    /// Lets the guest go on.
    pub fn resume(&self) -> Completion<()> {
        self.control.ask(Operation::Resume)
    }
}
