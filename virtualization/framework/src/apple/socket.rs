//! Sockets between guest and host.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use block2::RcBlock;
use objc2::rc::Retained;
use objc2::runtime::{NSObject, NSObjectProtocol, ProtocolObject};
use objc2::{AnyThread, DefinedClass, define_class, msg_send};
use objc2_foundation::NSError;
use objc2_virtualization::{VZVirtioSocketConnection, VZVirtioSocketDevice, VZVirtioSocketListener, VZVirtioSocketListenerDelegate};

use super::control::Machine;
use super::devices::Place;
use super::error::because;
use super::queue::Carried;

/// A connection that is there.
pub struct Connected {
    /// The host's end.
    pub socket: OwnedFd,
    /// The host's port.
    pub host_port: u32,
    /// The guest's port.
    pub guest_port: u32,
}

/// Told of a connection to a port; whether it is taken.
type Accept = Box<dyn Fn(Connected) -> bool + Send>;

/// The host's side of a socket device.
pub struct SocketPorts {
    place: Place,
    /// The framework does not keep delegates.
    listeners: Mutex<BTreeMap<u32, Carried<Retained<Listener>>>>,
}

impl fmt::Debug for SocketPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketPorts")
    }
}

/// A socket of our own; the framework closes its own with the connection's object.
fn socket(connection: &VZVirtioSocketConnection) -> io::Result<OwnedFd> {
    // SAFETY: this is the machine's queue.
    let descriptor = unsafe { connection.fileDescriptor() };
    if descriptor < 0 {
        return Err(io::ErrorKind::NotConnected.into());
    }
    // SAFETY: it is open for as long as the connection's object is borrowed.
    unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()
}

fn connected(connection: &VZVirtioSocketConnection, is_incoming: bool) -> io::Result<Connected> {
    let socket = socket(connection)?;
    // SAFETY: this is the machine's queue.
    let (source, destination) = unsafe { (connection.sourcePort(), connection.destinationPort()) };
    let (host_port, guest_port) = if is_incoming { (destination, source) } else { (source, destination) };
    Ok(Connected { socket, host_port, guest_port })
}

define_class!(
    // SAFETY: `NSObject` wants nothing of its subclasses, and there is no `Drop`.
    #[unsafe(super(NSObject))]
    #[name = "VirtualizationCrateSocketListener"]
    #[ivars = Accept]
    struct Listener;

    // SAFETY: it is an object.
    unsafe impl NSObjectProtocol for Listener {}

    // SAFETY: the method has the type of the protocol.
    unsafe impl VZVirtioSocketListenerDelegate for Listener {
        #[unsafe(method(listener:shouldAcceptNewConnection:fromSocketDevice:))]
        fn accept(
            &self,
            _listener: &VZVirtioSocketListener,
            connection: &VZVirtioSocketConnection,
            _device: &VZVirtioSocketDevice,
        ) -> bool {
            connected(connection, true).is_ok_and(|connected| (self.ivars())(connected))
        }
    }
);

impl Listener {
    fn new(accept: Accept) -> Retained<Self> {
        let this = Self::alloc().set_ivars(accept);
        // SAFETY: `init` of `NSObject`.
        unsafe { msg_send![super(this), init] }
    }
}

impl SocketPorts {
    /// Those of a device.
    pub fn new(place: Place) -> Self {
        Self { place, listeners: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Carried<Retained<Listener>>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn later(&self, act: impl FnOnce(&VZVirtioSocketDevice) + Send + 'static) {
        let (machine, index) = &self.place;
        let index = *index;
        machine.later(move |machine: &Machine| {
            // SAFETY: this is the machine's queue; the place is one of the configuration.
            let device = unsafe { machine.object.socketDevices() }.objectAtIndex(index);
            if let Ok(device) = device.downcast::<VZVirtioSocketDevice>() {
                act(&device);
            }
        });
    }

    /// Listens at a port; false where somebody does already.
    pub fn listen(&self, port: u32, accept: Accept) -> bool {
        let mut listeners = self.lock();
        if listeners.contains_key(&port) {
            return false;
        }
        let delegate = Listener::new(accept);
        listeners.insert(port, Carried::new(delegate.clone()));
        let delegate = Carried::new(delegate);
        self.later(move |device| {
            let delegate = delegate.into_inner();
            // SAFETY: this is the machine's queue; the delegate is kept until nobody listens any longer.
            unsafe {
                let listener = VZVirtioSocketListener::new();
                listener.setDelegate(Some(ProtocolObject::from_ref(&*delegate)));
                device.setSocketListener_forPort(&listener, port);
            }
        });
        true
    }

    /// Nobody listens there any longer.
    pub fn stop_listening(&self, port: u32) {
        let Some(delegate) = self.lock().remove(&port) else { return };
        self.later(move |device| {
            // SAFETY: this is the machine's queue.
            unsafe { device.removeSocketListenerForPort(port) };
            drop(delegate);
        });
    }

    /// Connects to a port of the guest.
    pub fn connect(&self, port: u32, done: impl FnOnce(io::Result<Connected>) + Send + 'static) {
        self.later(move |device| {
            let done = Cell::new(Some(done));
            let handler = RcBlock::new(move |connection: *mut VZVirtioSocketConnection, error: *mut NSError| {
                // SAFETY: the framework lends either of them, or gives none.
                let (connection, error) = unsafe { (connection.as_ref(), error.as_ref()) };
                let result = match (connection, error) {
                    (Some(connection), _) => connected(connection, false),
                    (None, Some(error)) => Err(io::Error::other(because("The framework refused", error))),
                    (None, None) => Err(io::ErrorKind::ConnectionRefused.into()),
                };
                if let Some(done) = done.take() {
                    done(result);
                }
            });
            // SAFETY: this is the machine's queue, on which the handler is called too; it is copied by whoever keeps it.
            unsafe { device.connectToPort_completionHandler(port, &handler) };
        });
    }
}
