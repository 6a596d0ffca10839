//! The machine object.

use std::path::Path;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use confinement::Status as ConfinementStatus;

use crate::balloon::VirtioMemoryBalloonDevice;
use crate::completion::Completion;
use crate::configuration::VirtualMachineConfiguration;
use crate::console::ConsoleHandle;
use crate::directory_sharing::DirectorySharingHandle;
use crate::engine::{self, Control};
use crate::error::Result;
use crate::event::EventStream;
use crate::lifecycle::Operation;
use crate::network::NetworkHandle;
use crate::socket::VirtioSocketDevice;
use crate::state::State;
use crate::task::Task;

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
    /// [`crate::ErrorKind::InvalidConfiguration`] with every problem, [`crate::ErrorKind::NotSupported`] on a Mac for what Apple's framework does
    /// not have, and [`crate::ErrorKind::Host`] where this computer cannot run machines.
    pub fn new(configuration: VirtualMachineConfiguration) -> Result<Self> {
        configuration.validate()?;
        #[cfg(target_os = "macos")]
        engine::require_supported(&configuration)?;
        Ok(Self { control: Arc::new(Control::new(configuration)?) })
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn with_hypervisor(configuration: VirtualMachineConfiguration, hypervisor: Arc<dyn hv::Hypervisor>) -> Result<Self> {
        Ok(Self { control: Arc::new(Control::with_hypervisor(configuration, hypervisor)?) })
    }

    /// Whether this computer can run machines, and if not, why. Apple: `isSupported`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Host`] with what there is to do.
    pub fn is_supported() -> Result<()> {
        engine::require_host()
    }

    #[cfg(target_os = "macos")]
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// The state.
    pub fn state(&self) -> State {
        self.control.state()
    }

    /// How far the machine's threads are confined: what the kernel has of it, and nothing after
    /// [`VirtualMachineConfiguration::without_confinement`]. Not on a Mac, where machines run in a process of their own.
    #[cfg(target_os = "linux")]
    pub fn confinement(&self) -> ConfinementStatus {
        self.control.confinement()
    }

    /// The machine's consoles, as they are in its configuration.
    pub fn console_devices(&self) -> Vec<ConsoleHandle> {
        self.control.console_devices()
    }

    /// The machine's shared directories, as they are in its configuration.
    pub fn directory_sharing_devices(&self) -> Vec<DirectorySharingHandle> {
        self.control.directory_sharing_devices()
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
    /// As [`Self::start`]; [`crate::ErrorKind::NotSupported`] for an option that this engine does not have.
    pub fn start_with(&self, options: &StartOptions) -> Completion<()> {
        match engine::require_start(options) {
            Ok(()) => self.control.ask(Task::Start(options.clone())),
            Err(error) => Completion::ended(Err(error)),
        }
    }

    /// Asks the guest to power off, as its power button would. The completion says that the guest was asked; what it does is its own
    /// affair, and [`crate::Event::GuestStopped`] tells.
    pub fn request_stop(&self) -> Completion<()> {
        self.control.ask(Task::RequestStop)
    }

    /// Ends the guest without asking it, as if its plug were pulled.
    pub fn stop(&self) -> Completion<()> {
        self.control.ask(Task::Stop)
    }

    /// Saves the guest, which must be paused, to a file, in place of what has this path; it stays paused. Disks are not part of the state:
    /// what the guest has written to them is on them, and if the guest goes on, or another one uses them, the state is of no use any
    /// longer. The file holds the guest's memory, and so whatever is secret there; only its owner can read it. Apple:
    /// `saveMachineStateTo`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Save`] where the file could not be written; there is then none, or the one that was there before.
    /// [`crate::ErrorKind::NotSupported`] for devices that cannot be saved
    /// ([`VirtualMachineConfiguration::validate_save_restore_support`]).
    pub fn save_machine_state_to(&self, path: impl AsRef<Path>) -> Completion<()> {
        self.control.ask(Task::Save(path.as_ref().to_owned()))
    }

    /// Brings a saved guest back, paused, in a machine that is stopped and has the same configuration, apart from where its disks and other
    /// attachments are on the host. The guest's memory is read from the file as it is used, so the file must not be changed (it may be
    /// removed, or saved over) as long as the machine runs; it can be restored any number of times. Connections that the guest had are
    /// gone, and its clock is right. Apple: `restoreMachineStateFrom`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Restore`] with the reason: the file is no state, is damaged or not all there, or is of another version, configuration
    /// or processor. The machine is then [`State::Stopped`].
    pub fn restore_machine_state_from(&self, path: impl AsRef<Path>) -> Completion<()> {
        self.control.ask(Task::Restore(path.as_ref().to_owned()))
    }

    /// Makes the guest stand still.
    pub fn pause(&self) -> Completion<()> {
        self.control.ask(Task::Pause)
    }

    /// Lets the guest go on.
    pub fn resume(&self) -> Completion<()> {
        self.control.ask(Task::Resume)
    }
}
