//! Ports of the machine that end here: `-chardev spiceport`.

use crate::client::Reply;
use crate::news::{MAX_PORT_DATA, MAX_PORTS, Teller};
use crate::{Error, ffi};
use spice::glib::prelude::*;
use spice::prelude::*;
use spice_client_glib as spice;
use std::cell::RefCell;
use std::rc::Rc;

/// Longest name of a port that is told.
const MAX_NAME: usize = 256;

/// The ports.
pub struct Ports {
    ports: RefCell<Vec<spice::PortChannel>>,
    teller: Teller,
}

fn name(port: &spice::PortChannel) -> Option<String> {
    port.property::<Option<String>>("port-name").filter(|name| name.len() <= MAX_NAME)
}

impl Ports {
    pub const fn new(teller: Teller) -> Self {
        Self { ports: RefCell::new(Vec::new()), teller }
    }

    /// Whether it is wanted.
    pub fn watch(self: Rc<Self>, port: &spice::PortChannel) -> bool {
        if self.ports.borrow().len() >= MAX_PORTS {
            return false;
        }
        let ours = Rc::downgrade(&self);
        // Its name is known once it says whether it is open.
        port.connect_notify_local(Some("port-opened"), move |port, _| {
            if let (Some(ports), Some(name)) = (ours.upgrade(), name(port)) {
                ports.teller.port(&name, port.property("port-opened"));
            }
        });
        let (ours, channel) = (Rc::downgrade(&self), port.downgrade());
        ffi::on_bytes(port, "port-data", MAX_PORT_DATA, move |data| {
            let (Some(ports), Some(channel)) = (ours.upgrade(), channel.upgrade()) else { return };
            let Some(name) = name(&channel) else { return };
            if !ports.teller.port_data(&name, data) {
                // The protocol cannot be told to wait. A port with a gap in it is worse than one that is closed.
                tracing::warn!(name, "Nobody reads what the guest writes to a port; it is closed");
                ports.teller.port(&name, false);
                ChannelExt::disconnect(&channel, spice::ChannelEvent::None);
            }
        });
        self.ports.borrow_mut().push(port.clone());
        true
    }

    pub fn write(&self, wanted: &str, data: Vec<u8>, reply: Reply<()>) {
        let found = self.ports.borrow().iter().find(|port| name(port).as_deref() == Some(wanted)).cloned();
        match found {
            Some(port) => ffi::write_port(&port, data, move |written| {
                let said = |error: spice::glib::Error| Error::Refused { what: "write to the port", said: error.message().to_owned() };
                drop(reply.send(written.map_err(said)));
            }),
            None => drop(reply.send(Err(Error::NotFound { what: "port", name: wanted.to_owned() }))),
        }
    }
}
