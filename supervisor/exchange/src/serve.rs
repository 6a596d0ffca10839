//! Does as the supervisor says, and tells it what the guest does.

use crate::descriptors::Descriptors;
use anyhow::{Context, Result, bail};
use machine::ErrorKind;
use spice::{Client, News};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use supervisor_api::helper::{self, Ask, Tell, Told};
use supervisor_api::wire::Failure;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// How long a guest may take to give what it offers.
const GIVING: Duration = Duration::from_secs(10);
/// Messages that may wait for the supervisor to read.
const BACKLOG: usize = 16;

type Message = (Told, Vec<u8>);

/// Serves until either side has enough.
///
/// # Errors
/// Where the supervisor says what makes no sense.
pub async fn serve(control: UnixStream, descriptors: Descriptors) -> Result<()> {
    control.set_nonblocking(true)?;
    let (mut reading, writing) = tokio::net::UnixStream::from_std(control)?.into_split();
    let Some((first, _)) = helper::read::<Tell>(&mut reading).await.context("Cannot read what the supervisor says")? else { return Ok(()) };
    let Tell::Begin { policy, folder, usb } = first else { bail!("The supervisor begins with {first:?}") };
    let options = spice::Options { policy, folder, usb, ..spice::Options::default() };
    let connections = descriptors.clone();
    let (client, mut events) = spice::connect(move || connections.connection(), options)?;
    let (telling, told) = mpsc::channel(BACKLOG);
    let mut writer = tokio::spawn(write(writing, told));
    let (obeying, mut orders) = mpsc::channel(BACKLOG);
    tokio::spawn(read(reading, obeying));
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some((order, bytes)) => obey(order, bytes, &client, &descriptors, &telling).await,
                // The supervisor is gone, or needs this no more.
                None => return Ok(()),
            },
            news = events.next() => {
                let last = matches!(news, Some(News::Closed { .. }) | None);
                if let Some(message) = news.and_then(translate)
                    && telling.send((message, Vec::new())).await.is_err()
                {
                    return Ok(());
                }
                if last {
                    drop(telling);
                    // What was said last is still to be read.
                    let _ = tokio::time::timeout(Duration::from_secs(1), &mut writer).await;
                    return Ok(());
                }
            }
        }
    }
}

async fn read(mut stream: OwnedReadHalf, orders: mpsc::Sender<(Tell, Vec<u8>)>) {
    loop {
        match helper::read(&mut stream).await {
            Ok(Some(order)) => {
                if orders.send(order).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "What the supervisor says makes no sense"),
        }
    }
}

async fn write(mut stream: OwnedWriteHalf, mut told: mpsc::Receiver<Message>) {
    while let Some((message, bytes)) = told.recv().await {
        if helper::write(&mut stream, &message, &bytes).await.is_err() {
            return;
        }
    }
}

fn translate(news: News) -> Option<Told> {
    Some(match news {
        News::Connected => Told::Ready,
        News::Agent { present } => Told::Agent { present },
        News::Offered { formats } => Told::Offered { formats },
        News::Transfer(transfer) => Told::Transfer { transfer },
        News::UsbLost { id, reason } => Told::UsbLost { id, reason },
        News::Closed { reason } => Told::Closed { reason },
        // This process is for none of them.
        News::Port { .. } | News::PortData { .. } | News::Sound(_) | News::Listening(_) => return None,
    })
}

async fn obey(order: Tell, bytes: Vec<u8>, client: &Client, descriptors: &Descriptors, telling: &mpsc::Sender<Message>) {
    match order {
        Tell::Begin { .. } => tracing::error!("The supervisor begins again"),
        // A session that has ended says so itself.
        Tell::Policy { policy } => drop(client.set_policy(policy).await),
        Tell::ClearClipboard => drop(client.clear_clipboard().await),
        Tell::Ask { number, ask } => {
            let (client, descriptors, telling) = (client.clone(), descriptors.clone(), telling.clone());
            tokio::spawn(async move {
                let (failure, bytes) = match answer(ask, bytes, &client, &descriptors).await {
                    Ok(bytes) => (None, bytes),
                    Err(error) => (Some(Failure::from(&error)), Vec::new()),
                };
                let _ = telling.send((Told::Answer { number, failure }, bytes)).await;
            });
        }
    }
}

async fn answer(ask: Ask, bytes: Vec<u8>, client: &Client, descriptors: &Descriptors) -> machine::Result<Vec<u8>> {
    match ask {
        Ask::Clipboard { format } => {
            let given = tokio::time::timeout(GIVING, client.clipboard(format)).await;
            return Ok(given.map_err(|_| {
                machine::Error::new(ErrorKind::Timeout, format!("The guest did not give what it has copied within {} s", GIVING.as_secs()))
            })??);
        }
        Ask::SetClipboard { format } => client.set_clipboard(format, bytes).await?,
        Ask::SendFile { id, path } => client.send_file(id, path).await?,
        Ask::CancelFile { id } => client.cancel_file(id).await?,
        Ask::AttachUsb { id } => {
            let failed =
                |error: std::io::Error| machine::Error::new(ErrorKind::Backend, "Cannot take over the USB device").with_source(error);
            let descriptors = descriptors.clone();
            let device = tokio::task::spawn_blocking(move || descriptors.device()).await;
            let device = device.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(failed)?;
            client.attach_usb(&id, device).await?;
        }
        Ask::DetachUsb { id } => client.detach_usb(&id).await?,
        Ask::Monitors { monitors } => client.arrange_monitors(&monitors).await?,
    }
    Ok(Vec::new())
}
