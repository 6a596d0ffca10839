//! The network cards of a machine, as the host's programs use them.

use std::sync::Arc;

use crate::configuration::NetworkAttachment;
use crate::engine::Connection;
use crate::error::Result;

/// A network card of a machine. Apple: `VZNetworkDevice`.
#[derive(Debug, Clone)]
pub struct NetworkHandle {
    connection: Arc<Connection>,
}

impl NetworkHandle {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// What it is connected to; `None` also where that has gone ([`crate::Event::NetworkDisconnected`]).
    pub fn attachment(&self) -> Option<NetworkAttachment> {
        self.connection.attachment()
    }

    /// Connects it to something else, or to nothing. This is possible at any time: the guest sees its cable unplugged and plugged in again.
    /// The maximum transmission unit stays that of the attachment with which the guest began. Apple: setting `attachment`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfiguration`] for an attachment that cannot be, [`crate::ErrorKind::Network`] where the host refuses it;
    /// the card is then connected as before.
    pub fn set_attachment(&self, attachment: Option<NetworkAttachment>) -> Result<()> {
        self.connection.set_attachment(attachment)
    }
}
