//! [`machine::exchange`] over a supervisor's API.

use crate::client::{Client, ClientError, encode};
use crate::wire::{FolderRequest, PolicyRequest, SendRequest};
use async_trait::async_trait;
use hyper::Method;
use machine::exchange::{
    ClipboardFormat, ClipboardPolicy, Exchange, ExchangeEvents, ExchangeFolder, ExchangeStatus, Monitor, Transfer, UsbDevice,
};
use machine::{Error, ErrorKind, Result};
use std::path::PathBuf;

/// The exchange with the guest of one supervisor's machine.
pub struct Exchanges(pub Client);

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(failure) => failure.into(),
            ClientError::Timeout(_) => Self::new(ErrorKind::Timeout, error.to_string()),
            ClientError::Absent { .. } => Self::new(ErrorKind::WrongState, error.to_string()),
            ClientError::Protocol(_) => Self::new(ErrorKind::Backend, error.to_string()),
        }
    }
}

#[async_trait]
impl Exchange for Exchanges {
    async fn status(&self) -> Result<ExchangeStatus> {
        Ok(self.0.json(Method::GET, "/v1/exchange", None::<&()>).await?)
    }

    async fn events(&self) -> Result<ExchangeEvents> {
        let lines = self.0.lines("/v1/exchange/events").await?;
        Ok(Box::pin(futures::stream::unfold(lines, |mut lines| async move {
            // What cannot be understood ends it, as the supervisor's end does.
            let event = lines.next().await.ok().flatten()?;
            Some((event, lines))
        })))
    }

    async fn set_clipboard_policy(&self, policy: ClipboardPolicy) -> Result<()> {
        self.0.send(Method::PUT, "/v1/exchange/clipboard/policy", Some(&PolicyRequest { policy })).await?;
        Ok(())
    }

    async fn clipboard(&self, format: ClipboardFormat) -> Result<Vec<u8>> {
        let target = format!("/v1/exchange/clipboard?format={}", name(format));
        Ok(self.0.send(Method::GET, &target, None::<&()>).await?.into())
    }

    async fn set_clipboard(&self, format: ClipboardFormat, data: Vec<u8>) -> Result<()> {
        self.0.send_bytes(Method::PUT, "/v1/exchange/clipboard", Some((format.media_type(), data.into()))).await?;
        Ok(())
    }

    async fn clear_clipboard(&self) -> Result<()> {
        self.0.send(Method::DELETE, "/v1/exchange/clipboard", None::<&()>).await?;
        Ok(())
    }

    async fn send_file(&self, path: PathBuf) -> Result<Transfer> {
        Ok(self.0.json(Method::POST, "/v1/exchange/files", Some(&SendRequest { path })).await?)
    }

    async fn cancel_file(&self, id: u64) -> Result<()> {
        self.0.send(Method::DELETE, &format!("/v1/exchange/files/{id}"), None::<&()>).await?;
        Ok(())
    }

    async fn usb_devices(&self) -> Result<Vec<UsbDevice>> {
        Ok(self.0.json(Method::GET, "/v1/exchange/usb", None::<&()>).await?)
    }

    async fn attach_usb(&self, id: &str) -> Result<()> {
        self.0.send(Method::PUT, &format!("/v1/exchange/usb/{}", encode(id)), None::<&()>).await?;
        Ok(())
    }

    async fn detach_usb(&self, id: &str) -> Result<()> {
        self.0.send(Method::DELETE, &format!("/v1/exchange/usb/{}", encode(id)), None::<&()>).await?;
        Ok(())
    }

    async fn share_folder(&self, folder: Option<ExchangeFolder>) -> Result<()> {
        self.0.send(Method::PUT, "/v1/exchange/folder", Some(&FolderRequest { folder })).await?;
        Ok(())
    }

    async fn arrange_monitors(&self, monitors: &[Monitor]) -> Result<()> {
        self.0.send(Method::PUT, "/v1/exchange/monitors", Some(&monitors)).await?;
        Ok(())
    }
}

/// A format's name, as in JSON.
fn name(format: ClipboardFormat) -> String {
    serde_json::to_value(format).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
