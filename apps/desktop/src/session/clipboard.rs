//! Which way what was copied goes, and when.
//!
//! What is copied here goes to the guest when a person turns to one of the machine's windows. What is copied in the guest comes here while one
//! of them has the keyboard, or when it has it next: a guest that nobody looks at changes nobody's clipboard.

use std::sync::Arc;

use machine::exchange::{ClipboardFormat, ClipboardPolicy, Exchange, ExchangeEvent};

use super::desk::{Content, Desk};

/// The clipboard of a machine.
pub struct Clipboard {
    desk: Desk,
    exchange: Arc<dyn Exchange>,
    policy: ClipboardPolicy,
    agent: bool,
    /// What both have, by its digest: it is neither sent nor taken again.
    known: Option<u64>,
    /// What the guest has copied and nobody has taken.
    waits: Option<ClipboardFormat>,
}

impl Clipboard {
    /// For a machine of which nothing has been heard.
    pub fn new(desk: Desk, exchange: Arc<dyn Exchange>) -> Self {
        Self { desk, exchange, policy: ClipboardPolicy::Off, agent: false, known: None, waits: None }
    }

    /// Something happened to the machine.
    pub async fn happened(&mut self, event: &ExchangeEvent, has_keyboard: bool) {
        match event {
            ExchangeEvent::Status { status } => {
                (self.policy, self.agent) = (status.policy, status.agent);
                self.waits = preferred(&status.offered);
            }
            ExchangeEvent::Agent { present } => {
                // Another agent knows nothing of what the one before was given.
                (self.agent, self.known) = (*present, None);
            }
            ExchangeEvent::Policy { policy } => self.policy = *policy,
            ExchangeEvent::Offered { formats } => {
                self.waits = preferred(formats);
                if has_keyboard {
                    self.take().await;
                }
                return;
            }
            ExchangeEvent::Transfer { .. } | ExchangeEvent::Usb { .. } | ExchangeEvent::Failed { .. } => return,
        }
        if has_keyboard {
            self.turned_to().await;
        }
    }

    /// One of its windows has the keyboard now.
    pub async fn turned_to(&mut self) {
        if !self.give().await {
            self.take().await;
        }
    }

    /// Gives the guest what was copied here since; whether there was anything.
    async fn give(&mut self) -> bool {
        if !self.agent || !self.policy.to_guest() {
            return false;
        }
        let Some(content) = self.desk.read().await else { return false };
        let digest = content.digest();
        if self.known == Some(digest) {
            return false;
        }
        let Some((format, data)) = content.into_data() else { return false };
        match self.exchange.set_clipboard(format, data).await {
            Ok(()) => (self.known, self.waits) = (Some(digest), None),
            Err(error) => tracing::debug!(%error, "the guest does not take what was copied"),
        }
        true
    }

    /// Takes what the guest has copied, where nobody has yet.
    async fn take(&mut self) {
        if !self.policy.to_host() {
            return;
        }
        let Some(format) = self.waits.take() else { return };
        let content = match self.exchange.clipboard(format).await {
            Ok(data) => Content::from_data(format, data),
            Err(error) => {
                tracing::debug!(%error, "the guest does not give what it has copied");
                return;
            }
        };
        if let Some(content) = content {
            self.known = Some(content.digest());
            self.desk.write(content).await;
        }
    }
}

/// What is taken of what a guest offers.
fn preferred(formats: &[ClipboardFormat]) -> Option<ClipboardFormat> {
    [ClipboardFormat::Text, ClipboardFormat::Png].into_iter().find(|format| formats.contains(format))
}
