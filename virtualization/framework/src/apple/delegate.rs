//! What the framework tells, made events of.

use std::sync::{Arc, Mutex, PoisonError};

use objc2::rc::Retained;
use objc2::runtime::{AnyObject, NSObject, NSObjectProtocol};
use objc2::{AnyThread, DefinedClass, define_class, msg_send};
use objc2_foundation::{NSDictionary, NSError, NSString};
use objc2_virtualization::{
    VZNetworkBlockDeviceStorageDeviceAttachment, VZNetworkBlockDeviceStorageDeviceAttachmentDelegate, VZNetworkDevice,
    VZVirtioConsoleDevice, VZVirtioConsoleDeviceDelegate, VZVirtioConsolePort, VZVirtualMachine, VZVirtualMachineDelegate,
    VZVirtualMachineState,
};

use super::error::because;
use crate::event::{Event, EventStream, Events};
use crate::state::State;

/// What others may know of the machine.
pub struct Published {
    state: Mutex<State>,
    events: Events,
}

impl Published {
    /// Of a machine that is stopped.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Stopped), events: Events::default() })
    }

    /// The state.
    pub fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the state is this one now, if it is another one.
    pub fn set_state(&self, state: State) {
        let before = std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), state);
        if before != state {
            self.events.send(&Event::StateChanged(state));
        }
    }

    /// Events from now on.
    pub fn subscribe(&self) -> EventStream {
        self.events.subscribe()
    }

    fn send(&self, event: &Event) {
        self.events.send(event);
    }
}

/// The state, in our words. One that a newer macOS has is none of a machine that runs.
pub fn state(state: VZVirtualMachineState) -> State {
    match state {
        VZVirtualMachineState::Stopped => State::Stopped,
        VZVirtualMachineState::Running => State::Running,
        VZVirtualMachineState::Paused => State::Paused,
        VZVirtualMachineState::Starting => State::Starting,
        VZVirtualMachineState::Pausing => State::Pausing,
        VZVirtualMachineState::Resuming => State::Resuming,
        VZVirtualMachineState::Stopping => State::Stopping,
        VZVirtualMachineState::Saving => State::Saving,
        VZVirtualMachineState::Restoring => State::Restoring,
        _ => State::Error,
    }
}

/// What a delegate has of its own.
pub struct Told {
    published: Arc<Published>,
    /// Which device, for a delegate of one.
    device: usize,
}

define_class!(
    // SAFETY: `NSObject` wants nothing of its subclasses, and there is no `Drop`.
    #[unsafe(super(NSObject))]
    #[name = "VirtualizationCrateDelegate"]
    #[ivars = Told]
    pub struct Delegate;

    // SAFETY: it is an object.
    unsafe impl NSObjectProtocol for Delegate {}

    // SAFETY: the methods have the types of the protocol.
    unsafe impl VZVirtualMachineDelegate for Delegate {
        #[unsafe(method(guestDidStopVirtualMachine:))]
        fn guest_did_stop(&self, machine: &VZVirtualMachine) {
            self.observe(machine);
            self.ivars().published.send(&Event::GuestStopped);
        }

        #[unsafe(method(virtualMachine:didStopWithError:))]
        fn did_stop_with_error(&self, machine: &VZVirtualMachine, error: &NSError) {
            self.observe(machine);
            let error = Arc::new(because("The machine cannot go on", error));
            self.ivars().published.send(&Event::StoppedWithError(error));
        }

        #[unsafe(method(virtualMachine:networkDevice:attachmentWasDisconnectedWithError:))]
        fn network_disconnected(&self, machine: &VZVirtualMachine, card: &VZNetworkDevice, error: &NSError) {
            // SAFETY: delegates are called on the machine's queue.
            let device = unsafe { machine.networkDevices() }.indexOfObject(card);
            let error = Arc::new(because("A network card's attachment has gone", error));
            self.ivars().published.send(&Event::NetworkDisconnected { device, error });
        }
    }

    // SAFETY: the methods have the types of the protocol.
    unsafe impl VZVirtioConsoleDeviceDelegate for Delegate {
        #[unsafe(method(consoleDevice:didOpenPort:))]
        fn port_opened(&self, console: &VZVirtioConsoleDevice, port: &VZVirtioConsolePort) {
            self.port(console, port, true);
        }

        #[unsafe(method(consoleDevice:didClosePort:))]
        fn port_closed(&self, console: &VZVirtioConsoleDevice, port: &VZVirtioConsolePort) {
            self.port(console, port, false);
        }
    }

    // SAFETY: the methods have the types of the protocol.
    unsafe impl VZNetworkBlockDeviceStorageDeviceAttachmentDelegate for Delegate {
        #[unsafe(method(attachmentWasConnected:))]
        fn storage_connected(&self, _attachment: &VZNetworkBlockDeviceStorageDeviceAttachment) {
            self.ivars().published.send(&Event::StorageConnected { device: self.ivars().device });
        }

        #[unsafe(method(attachment:didEncounterError:))]
        fn storage_failed(&self, _attachment: &VZNetworkBlockDeviceStorageDeviceAttachment, error: &NSError) {
            let error = Arc::new(because("The server behind a disk was lost", error));
            self.ivars().published.send(&Event::StorageDisconnected { device: self.ivars().device, error });
        }
    }

    impl Delegate {
        /// The machine's state is another one: called on its queue, where it changes.
        #[unsafe(method(observeValueForKeyPath:ofObject:change:context:))]
        fn state_changed(
            &self,
            _path: Option<&NSString>,
            object: Option<&AnyObject>,
            _change: Option<&NSDictionary<NSString, AnyObject>>,
            _context: *mut std::ffi::c_void,
        ) {
            if let Some(machine) = object.and_then(|object| object.downcast_ref::<VZVirtualMachine>()) {
                self.observe(machine);
            }
        }
    }
);

impl Delegate {
    /// A delegate that makes these events; `device` is the place of the device that it is of, if it is of one.
    pub fn new(published: Arc<Published>, device: usize) -> Retained<Self> {
        let this = Self::alloc().set_ivars(Told { published, device });
        // SAFETY: `init` of `NSObject`.
        unsafe { msg_send![super(this), init] }
    }

    fn observe(&self, machine: &VZVirtualMachine) {
        // SAFETY: delegates and observers are called on the machine's queue.
        self.ivars().published.set_state(state(unsafe { machine.state() }));
    }

    fn port(&self, console: &VZVirtioConsoleDevice, port: &VZVirtioConsolePort, is_open: bool) {
        // SAFETY: delegates are called on the machine's queue.
        let ports = unsafe { console.ports() };
        // SAFETY: as above.
        let numbers = 0..unsafe { ports.maximumPortCount() };
        // SAFETY: as above; a number below the most is one.
        let is_it =
            |number: &u32| unsafe { ports.objectAtIndexedSubscript(*number as usize) }.is_some_and(|other| std::ptr::eq(&*other, port));
        let Some(port) = numbers.into_iter().find(is_it) else { return };
        let device = self.ivars().device;
        self.ivars().published.send(&if is_open {
            Event::ConsolePortOpened { device, port }
        } else {
            Event::ConsolePortClosed { device, port }
        });
    }
}
