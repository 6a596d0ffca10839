//! What a computer and its guest exchange beside pictures and sound: the clipboard, files, USB devices, a folder, where screens stand.
//!
//! [`Exchange`] is what a frontend has of it; the supervisor's client implements it (`Client::exchange`). All of it goes through an agent in
//! the guest or a device of the machine, so what works is told by [`ExchangeCapabilities`] (what the machine is made with) and
//! [`ExchangeStatus::agent`] (whether an agent answers now).
//!
//! **The clipboard** of a person's desktop is reached by the frontend, never by the supervisor. When something is copied in the guest,
//! [`ExchangeEvent::Offered`] names the formats; [`Exchange::clipboard`] fetches one. When something is copied on the desktop,
//! [`Exchange::set_clipboard`] gives it to the guest. [`ClipboardPolicy`] says which of the two may happen; what it does not allow fails with
//! [`crate::ErrorKind::Unsupported`], and the guest is never asked nor told.
//!
//! An agent tells of what is copied while somebody listens. A frontend that shows a machine therefore keeps [`Exchange::events`] open.
//!
//! Everything that comes from the guest is bounded and may still be nonsense: text is UTF-8, a picture is what the guest says it is.

use crate::Result;
use async_trait::async_trait;
use futures::Stream;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::pin::Pin;
use utoipa::ToSchema;

/// Most bytes of one clipboard content, either way.
pub const MAX_CLIPBOARD: usize = 32 << 20;
/// Most screens of a [`Monitor`] layout.
pub const MAX_MONITORS: usize = 16;

/// What a machine is made with; what it lacks fails with [`crate::ErrorKind::Unsupported`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ExchangeCapabilities {
    /// A port for the guest's agent: clipboard, files, where screens stand.
    #[serde(default)]
    pub agent: bool,
    /// How many USB devices of this computer it can have at once.
    #[serde(default)]
    pub usb: u32,
    /// A port for a folder over WebDAV.
    #[serde(default)]
    pub folder: bool,
}

impl ExchangeCapabilities {
    /// Whether there is anything at all.
    pub const fn any(self) -> bool {
        self.agent || self.usb > 0 || self.folder
    }
}

/// Which way the clipboard goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClipboardPolicy {
    /// Neither way.
    #[default]
    Off,
    /// What is copied on the desktop can be pasted in the guest.
    ToGuest,
    /// What is copied in the guest can be pasted on the desktop.
    ToHost,
    /// Both ways.
    Both,
}

impl ClipboardPolicy {
    /// Whether the guest may have what is copied on the desktop.
    pub const fn to_guest(self) -> bool {
        matches!(self, Self::ToGuest | Self::Both)
    }

    /// Whether the desktop may have what is copied in the guest.
    pub const fn to_host(self) -> bool {
        matches!(self, Self::ToHost | Self::Both)
    }

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::ToGuest => "to-guest",
            Self::ToHost => "to-host",
            Self::Both => "both",
        }
    }
}

/// A format of what is on a clipboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClipboardFormat {
    /// Text in UTF-8, lines ended by a line feed alone.
    Text,
    /// A picture as a PNG file.
    Png,
    /// A picture as a BMP file.
    Bmp,
    /// A picture as a TIFF file.
    Tiff,
    /// A picture as a JPEG file.
    Jpeg,
}

impl ClipboardFormat {
    /// All of them, the preferred first.
    pub const ALL: [Self; 5] = [Self::Text, Self::Png, Self::Bmp, Self::Tiff, Self::Jpeg];

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Png => "image/png",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// The format of a media type, whatever its parameters say.
    pub fn of_media_type(text: &str) -> Option<Self> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|format| essence.eq_ignore_ascii_case(format.media_type()))
    }
}

/// A USB device of this computer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsbDevice {
    /// Where it is plugged in, as the kernel names it (`1-2.4`); the same as long as it stays there.
    pub id: String,
    /// Who made it, as a number (`idVendor`).
    pub vendor: u16,
    /// Which of its devices it is, as a number (`idProduct`).
    pub product: u16,
    /// What it is, for people, as far as it says so itself.
    pub name: String,
    /// Its serial number, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Whether this machine has it now.
    pub attached: bool,
    /// Why a guest cannot have it, where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A folder that the guest reads over WebDAV.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExchangeFolder {
    /// The folder, absolute.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Whether the guest may only read.
    #[serde(default)]
    pub read_only: bool,
}

/// Where a screen stands, in pixels of one plane that all screens share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Monitor {
    /// Which head of the machine it is, from 0.
    pub display: u32,
    /// Its left edge.
    pub x: u32,
    /// Its upper edge.
    pub y: u32,
    /// Its width; 0 switches it off.
    pub width: u32,
    /// Its height; 0 switches it off.
    pub height: u32,
}

/// A file on its way into the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transfer {
    /// Which one.
    pub id: u64,
    /// The file's name.
    pub name: String,
    /// Bytes that the guest has.
    pub sent: u64,
    /// Bytes that there are.
    pub total: u64,
    /// Whether it has come to its end.
    pub done: bool,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ExchangeStatus {
    /// What the machine is made with.
    pub capabilities: ExchangeCapabilities,
    /// Whether the process that does all this runs now; it is started when something needs it.
    pub running: bool,
    /// Whether an agent in the guest answers.
    pub agent: bool,
    /// Which way the clipboard goes.
    pub policy: ClipboardPolicy,
    /// What the guest has copied, as far as the policy lets us know.
    pub offered: Vec<ClipboardFormat>,
    /// The folder that the guest reads over WebDAV.
    pub folder: Option<ExchangeFolder>,
    /// Files on their way.
    pub transfers: Vec<Transfer>,
    /// The USB devices that the machine has.
    pub usb: Vec<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ExchangeEvent {
    /// How things stand: the first item of every stream, and again after events were lost because the receiver was slow.
    Status {
        /// How.
        status: ExchangeStatus,
    },
    /// An agent in the guest has come or gone.
    Agent {
        /// Whether it is there.
        present: bool,
    },
    /// Something was copied in the guest, or its clipboard was emptied.
    Offered {
        /// The formats that can be fetched; none where it was emptied.
        formats: Vec<ClipboardFormat>,
    },
    /// The policy was changed.
    Policy {
        /// What it is now.
        policy: ClipboardPolicy,
    },
    /// A file has come further, arrived, or failed.
    Transfer {
        /// How far.
        transfer: Transfer,
    },
    /// A USB device was attached to the machine, or is no longer.
    Usb {
        /// Which one.
        id: String,
        /// Whether the machine has it.
        attached: bool,
        /// Why it went, where nobody here asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The process that does all this failed. The machine runs on, attached devices are back with this computer, and the process is started
    /// anew when something needs it.
    Failed {
        /// One sentence for a person.
        message: String,
    },
}

/// Events from the moment of subscription.
pub type ExchangeEvents = Pin<Box<dyn Stream<Item = ExchangeEvent> + Send>>;

/// What a frontend has of the exchange with a guest. Cheap to call: the process behind it is started by the first call that needs it, and
/// ended when nothing does.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// How things stand. Starts nothing.
    ///
    /// # Errors
    /// Where the supervisor is gone.
    async fn status(&self) -> Result<ExchangeStatus>;

    /// The events from now on, beginning with [`ExchangeEvent::Status`]. As long as it is open the guest's agent is listened to.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the machine has nothing to exchange with.
    async fn events(&self) -> Result<ExchangeEvents>;

    /// Says which way the clipboard goes; remembered over the machine's end.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the machine has no port for an agent.
    async fn set_clipboard_policy(&self, policy: ClipboardPolicy) -> Result<()>;

    /// What the guest has copied, in a format that it offers.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where it offers none such; [`crate::ErrorKind::Timeout`] where it offers and does not give;
    /// [`crate::ErrorKind::Unsupported`] where the policy does not allow it.
    async fn clipboard(&self, format: ClipboardFormat) -> Result<Vec<u8>>;

    /// Gives the guest something to paste, until it copies something itself. At most [`MAX_CLIPBOARD`] bytes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the policy does not allow it; [`crate::ErrorKind::NotFound`] where there is no agent.
    async fn set_clipboard(&self, format: ClipboardFormat, data: Vec<u8>) -> Result<()>;

    /// Takes back what was given.
    ///
    /// # Errors
    /// Where the supervisor is gone.
    async fn clear_clipboard(&self) -> Result<()>;

    /// Sends a file (absolute path) into the guest, where its agent puts it. Returns when it is on its way; how far it is comes as events.
    ///
    /// # Errors
    /// [`crate::ErrorKind::File`] where it cannot be read; [`crate::ErrorKind::NotFound`] where there is no agent.
    async fn send_file(&self, path: PathBuf) -> Result<Transfer>;

    /// Gives up on a file that is on its way.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where none such is on its way.
    async fn cancel_file(&self, id: u64) -> Result<()>;

    /// The USB devices of this computer.
    ///
    /// # Errors
    /// Where they cannot be listed.
    async fn usb_devices(&self) -> Result<Vec<UsbDevice>>;

    /// Gives a device to the guest; this computer does without it meanwhile.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where there is no such device; [`crate::ErrorKind::File`] where it may not be opened;
    /// [`crate::ErrorKind::Unsupported`] where a guest cannot have it, or the machine has no port left.
    async fn attach_usb(&self, id: &str) -> Result<()>;

    /// Takes a device back.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where the machine does not have it.
    async fn detach_usb(&self, id: &str) -> Result<()>;

    /// Lets the guest into another folder, or into none, over WebDAV.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the machine has no port for it; [`crate::ErrorKind::File`] where the folder cannot be opened.
    async fn share_folder(&self, folder: Option<ExchangeFolder>) -> Result<()>;

    /// Asks the guest's agent to arrange its screens so. Whether it does shows in the frames.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where there is no agent.
    async fn arrange_monitors(&self, monitors: &[Monitor]) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_their_media_types() {
        for format in ClipboardFormat::ALL {
            assert_eq!(ClipboardFormat::of_media_type(format.media_type()), Some(format));
        }
        assert_eq!(ClipboardFormat::of_media_type("Text/Plain; charset=utf-8"), Some(ClipboardFormat::Text));
        assert_eq!(ClipboardFormat::of_media_type("text/html"), None);
    }

    #[test]
    fn policies_are_what_their_names_say() {
        for policy in [ClipboardPolicy::Off, ClipboardPolicy::ToGuest, ClipboardPolicy::ToHost, ClipboardPolicy::Both] {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.name());
        }
        assert!(!ClipboardPolicy::ToGuest.to_host() && !ClipboardPolicy::ToHost.to_guest());
    }
}
