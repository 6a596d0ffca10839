//! A client of one supervisor: HTTP over its Unix socket, a connection per request.

use crate::exchange::Exchanges;
use crate::places::DISPLAY_SOCKET;
use crate::wire::{CommandLine, Failure, InsertRequest, Status, StopRequest, StreamItem};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use machine::StopMethod;
use machine::display::Viewer;
use machine::exchange::Exchange;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;

/// Longest answer that is read into memory: a screenshot of a large display fits.
const MAX_BODY: usize = 256 << 20;
/// Longest line of the event stream.
const MAX_LINE: usize = 1 << 20;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: there is no supervisor.
    #[error("The machine has no supervisor (no answer on {path})")]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The supervisor refused, and says why.
    #[error("{0}")]
    Refused(Failure),
    /// The connection broke or the answer makes no sense.
    #[error("The supervisor's answer cannot be used: {0}")]
    Protocol(String),
    /// The supervisor does not answer.
    #[error("The supervisor did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// A client of one supervisor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client for the supervisor that serves this socket. Does not connect yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), timeout: Duration::from_secs(60) }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Everything there is to know now.
    ///
    /// # Errors
    /// [`ClientError::Absent`] where there is no supervisor.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.json(Method::GET, "/v1/status", None::<&()>).await
    }

    /// Stops the machine. With [`StopMethod::Request`] returns when the guest has been asked.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stop(&self, method: StopMethod) -> Result<(), ClientError> {
        self.send(Method::POST, "/v1/stop", Some(&StopRequest { method })).await.map(drop)
    }

    /// Halts the vCPUs.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn pause(&self) -> Result<(), ClientError> {
        self.send(Method::POST, "/v1/pause", None::<&()>).await.map(drop)
    }

    /// Lets the vCPUs go on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn resume(&self) -> Result<(), ClientError> {
        self.send(Method::POST, "/v1/resume", None::<&()>).await.map(drop)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reset(&self) -> Result<(), ClientError> {
        self.send(Method::POST, "/v1/reset", None::<&()>).await.map(drop)
    }

    /// A picture of a display, as a PNG file.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn screenshot(&self, display: usize) -> Result<Bytes, ClientError> {
        self.send(Method::GET, &format!("/v1/displays/{display}/screenshot"), None::<&()>).await
    }

    /// Connects to the displays as a viewer. Frames come straight from the backend.
    ///
    /// # Errors
    /// [`ClientError::Absent`] where viewers cannot connect: the machine does not run, or has no display that can be watched.
    pub async fn viewer(&self) -> Result<Arc<dyn Viewer>, ClientError> {
        let path = self.socket.with_file_name(DISPLAY_SOCKET);
        let absent = |source| ClientError::Absent { path: path.clone(), source };
        let stream = UnixStream::connect(&path).await.map_err(absent)?.into_std().map_err(absent)?;
        let display = qemu_display::Display::connect(stream).await;
        Ok(Arc::new(display.map_err(|error| ClientError::Refused(Failure::from(&machine::Error::from(error))))?))
    }

    /// Puts a medium into a removable drive.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn insert(&self, drive: &str, path: PathBuf, read_only: bool) -> Result<(), ClientError> {
        let target = format!("/v1/drives/{}/medium", encode(drive));
        self.send(Method::PUT, &target, Some(&InsertRequest { path, read_only })).await.map(drop)
    }

    /// Takes the medium out of a removable drive.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn eject(&self, drive: &str, force: bool) -> Result<(), ClientError> {
        let target = format!("/v1/drives/{}/medium?force={force}", encode(drive));
        self.send(Method::DELETE, &target, None::<&()>).await.map(drop)
    }

    /// The command line that runs it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn command_line(&self) -> Result<CommandLine, ClientError> {
        self.json(Method::GET, "/v1/command", None::<&()>).await
    }

    /// The status now and every event from now on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self) -> Result<Events, ClientError> {
        Ok(Events(self.lines("/v1/events").await?))
    }

    /// What is exchanged with the guest: clipboard, files, USB devices, a folder.
    pub fn exchange(&self) -> Arc<dyn Exchange> {
        Arc::new(Exchanges(self.clone()))
    }

    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let bytes = self.send(method, target, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Protocol(error.to_string()))
    }

    pub(crate) async fn send(&self, method: Method, target: &str, body: Option<&impl Serialize>) -> Result<Bytes, ClientError> {
        let json = body.map(serde_json::to_vec).transpose().map_err(|error| ClientError::Protocol(error.to_string()))?;
        self.send_bytes(method, target, json.map(|json| ("application/json", json.into()))).await
    }

    pub(crate) async fn send_bytes(&self, method: Method, target: &str, body: Option<(&'static str, Bytes)>) -> Result<Bytes, ClientError> {
        let answer = async { collect(self.request(method, target, body).await?.into_body()).await };
        tokio::time::timeout(self.timeout, answer).await.map_err(|_| ClientError::Timeout(self.timeout))?
    }

    /// A stream of lines of JSON.
    pub(crate) async fn lines(&self, target: &str) -> Result<Lines, ClientError> {
        let response = self.request(Method::GET, target, None).await?;
        Ok(Lines { body: response.into_body(), buffer: BytesMut::new() })
    }

    /// Sends a request; an answer that is not a success becomes an error.
    async fn request(&self, method: Method, target: &str, body: Option<(&'static str, Bytes)>) -> Result<Response<Incoming>, ClientError> {
        let protocol = |error: &dyn std::fmt::Display| ClientError::Protocol(error.to_string());
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| ClientError::Absent { path: self.socket.clone(), source })?;
        // A supervisor that dies between accepting and answering is as absent as one that was never there.
        let gone = |error: hyper::Error| {
            if error.is_parse() || error.is_user() {
                protocol(&error)
            } else {
                ClientError::Absent { path: self.socket.clone(), source: io::Error::new(io::ErrorKind::ConnectionAborted, error) }
            }
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
        // Ends by itself when the answer has been read or dropped.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(target).header("host", "vivarium");
        let payload = match body {
            Some((kind, body)) => {
                request = request.header("content-type", kind);
                body
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(payload)).map_err(|error| protocol(&error))?;
        let response = tokio::time::timeout(self.timeout, sender.send_request(request))
            .await
            .map_err(|_| ClientError::Timeout(self.timeout))?
            .map_err(gone)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status: StatusCode = response.status();
        let bytes = collect(response.into_body()).await?;
        Err(match serde_json::from_slice::<Failure>(&bytes) {
            Ok(failure) => ClientError::Refused(failure),
            Err(_) => ClientError::Protocol(format!("status {status}")),
        })
    }
}

async fn collect(body: Incoming) -> Result<Bytes, ClientError> {
    let collected = Limited::new(body, MAX_BODY).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| ClientError::Protocol(error.to_string()))
}

/// Percent-encodes a path segment.
pub(crate) fn encode(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The event stream: the status first, then events, until the supervisor ends.
#[derive(Debug)]
pub struct Events(Lines);

impl Events {
    /// The next item; `None` when the supervisor has ended.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] where a line cannot be understood.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, ClientError> {
        self.0.next().await
    }
}

/// Lines of JSON, as long as the supervisor sends any.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let item = serde_json::from_slice(&line).map_err(|error| ClientError::Protocol(error.to_string()))?;
                return Ok(Some(item));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(ClientError::Protocol("an event is too long".into()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                // A supervisor that is killed closes the connection in the middle of the body: the stream has ended all the same.
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn segments_are_encoded() {
        assert_eq!(super::encode("a b/c%"), "a%20b%2Fc%25");
    }
}
