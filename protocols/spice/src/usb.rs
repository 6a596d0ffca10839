//! USB devices of this computer that the guest has. They come as open descriptors: this process needs no right to open any.

use crate::client::Reply;
use crate::news::Teller;
use crate::{Error, Result};
use spice_client_glib as spice;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

/// A device that the guest has, or is getting. libusb uses the descriptor without owning it.
struct Attached {
    device: spice::UsbDevice,
    descriptor: OwnedFd,
}

type Devices = Rc<RefCell<BTreeMap<String, Attached>>>;

/// The devices.
pub struct Usb {
    manager: Result<spice::UsbDeviceManager, String>,
    devices: Devices,
}

impl Usb {
    pub fn new(session: &spice::Session, teller: Teller) -> Self {
        let manager = spice::UsbDeviceManager::get(session).map_err(|error| error.message().to_owned());
        let devices = Devices::default();
        match &manager {
            Ok(manager) => {
                manager.set_auto_connect(false);
                let ours = Rc::downgrade(&devices);
                manager.connect_device_error(move |_, device, error| {
                    let Some(devices) = ours.upgrade() else { return };
                    let lost = devices.borrow().iter().find(|(_, attached)| attached.device == *device).map(|(id, _)| id.clone());
                    if let Some(id) = lost {
                        devices.borrow_mut().remove(&id);
                        teller.usb_lost(id, error.message().to_owned());
                    }
                });
            }
            Err(said) => tracing::warn!("USB devices cannot be passed on: {said}"),
        }
        Self { manager, devices }
    }

    /// Whether there is any point in opening channels for devices.
    pub const fn works(&self) -> bool {
        self.manager.is_ok()
    }

    pub fn attach(&self, id: String, descriptor: OwnedFd, reply: Reply<()>) {
        let refused = |said: String| Error::Refused { what: "attach the USB device", said };
        let prepared = self.manager.as_ref().map_err(|why| Error::Unsupported { what: "Attaching a USB device", why: why.clone() });
        let prepared = prepared.and_then(|manager| {
            if self.devices.borrow().contains_key(&id) {
                return Err(refused("the machine has it already".into()));
            }
            if manager.free_channels() < 1 {
                return Err(refused("all of the machine's ports for them are taken, or it has none".into()));
            }
            let device = manager.allocate_device_for_file_descriptor(descriptor.as_raw_fd());
            let device = device.map_err(|error| refused(error.message().to_owned()))?;
            let device = device.ok_or_else(|| refused("libusb does not take it".into()))?;
            manager.can_redirect_device(&device).map_err(|error| refused(error.message().to_owned()))?;
            Ok((manager, device))
        });
        let (manager, device) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return drop(reply.send(Err(error))),
        };
        self.devices.borrow_mut().insert(id.clone(), Attached { device: device.clone(), descriptor });
        let devices = self.devices.clone();
        manager.connect_device_async(&device, None::<&spice::gio::Cancellable>, move |connected| {
            if connected.is_err() {
                devices.borrow_mut().remove(&id);
            }
            drop(reply.send(connected.map_err(|error| refused(error.message().to_owned()))));
        });
    }

    pub fn detach(&self, id: &str, reply: Reply<()>) {
        let removed = self.devices.borrow_mut().remove(id);
        let (Some(Attached { device, descriptor }), Ok(manager)) = (removed, &self.manager) else {
            return drop(reply.send(Err(Error::NotFound { what: "attached USB device", name: id.to_owned() })));
        };
        manager.disconnect_device_async(&device, None::<&spice::gio::Cancellable>, move |disconnected| {
            // Only now nobody uses it any more.
            drop(descriptor);
            let said = |error: spice::glib::Error| Error::Refused { what: "detach the USB device", said: error.message().to_owned() };
            drop(reply.send(disconnected.map_err(said)));
        });
    }
}
