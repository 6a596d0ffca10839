//! Displays of running machines as a viewer: looking at them once, and using keyboard and mouse.

use crate::context::Context;
use crate::error::{Failure, Result};
use keymap::Key;
use library::Machine;
use machine::ErrorKind;
use machine::display::{Control, Frames, Head, Input, Surface};
use std::sync::Arc;
use std::time::Duration;
use supervisor_api::{Client, ClientError};

/// How long the first picture may take.
const FIRST: Duration = Duration::from_secs(2);
/// Devices that are looked at now and then are looked at more often than this.
const QUIET: Duration = Duration::from_millis(50);
/// How many changes are waited for, where there is no quiet.
const MOST_CHANGES: usize = 8;

/// How a keyboard is used.
#[derive(Debug, clap::Args)]
pub struct Keyboard {
    /// Which display the keyboard belongs to, counted from 0
    #[arg(long, short, value_name = "N", default_value_t = 0)]
    pub display: usize,
    /// Milliseconds after each key that goes down or up
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    delay: u64,
}

impl Keyboard {
    /// What is waited after each key.
    pub const fn pause(&self) -> Duration {
        Duration::from_millis(self.delay)
    }
}

/// A client of a running machine's supervisor.
///
/// # Errors
/// One that says what could not be done, where it does not run.
pub async fn client(context: &Context, machine: &Machine, what: &str) -> Result<Client> {
    context.library.client(machine).await?.ok_or_else(|| {
        Failure::new(ErrorKind::WrongState, format!("Cannot {what} \"{}\": it is not running", machine.name))
            .with_hint(format!("`viv start {}` starts it", shell_words::quote(&machine.name)))
    })
}

/// A head of a running machine.
///
/// # Errors
/// Where it does not run, has no such head, or no display that viewers can use.
pub async fn open(context: &Context, machine: &Machine, head: usize, what: &str) -> Result<Head> {
    let viewer = client(context, machine, what).await?.viewer().await.map_err(|error| match error {
        ClientError::Absent { .. } => {
            Failure::new(ErrorKind::Unsupported, format!("Cannot {what} \"{}\": it has no display that can be used", machine.name))
                .with_hint("It needs a display in its configuration, and QEMU's D-Bus display: `viv doctor` says whether that is there")
        }
        other => other.into(),
    })?;
    viewer.open(head).await.map_err(|error| failure(&error))
}

/// A machine's error as this program tells it.
pub fn failure(error: &machine::Error) -> Failure {
    supervisor_api::wire::Failure::from(error).into()
}

/// A PNG file of what a head shows; `None` where a viewer sees nothing.
pub async fn picture(client: &Client, head: usize) -> Option<Vec<u8>> {
    let mut head = client.viewer().await.ok()?.open(head).await.ok()?;
    tokio::time::timeout(FIRST, first(&mut head.frames)).await.ok()??;
    head.control.refreshed().await.ok()?;
    for _ in 0..MOST_CHANGES {
        match tokio::time::timeout(QUIET, head.frames.next()).await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(_) => break,
        }
    }
    png(head.frames.shown().surface()?).inspect_err(|error| tracing::info!(%error, "The display cannot be read")).ok()
}

async fn first(frames: &mut Frames) -> Option<Arc<Surface>> {
    loop {
        if let Some(surface) = frames.next().await?.shown.surface() {
            return Some(surface.clone());
        }
    }
}

fn png(surface: &Surface) -> std::io::Result<Vec<u8>> {
    let rgb = surface.to_rgb()?;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, surface.size().width, surface.size().height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&rgb)).map_err(std::io::Error::other)?;
    Ok(file)
}

/// Presses keys in this order and releases them in the opposite one, with a pause after each. What has gone down goes up again, whatever
/// fails meanwhile.
pub async fn press(control: &dyn Control, keys: &[Key], pause: Duration) -> Result {
    let mut outcome = Ok(());
    let mut down = Vec::new();
    for key in keys {
        outcome = control.send(Input::Key { key: *key, down: true }).await;
        if outcome.is_err() {
            break;
        }
        down.push(*key);
        tokio::time::sleep(pause).await;
    }
    for key in down.into_iter().rev() {
        // What was pressed may have ended the machine. One that is still there releases what its viewers leave pressed.
        if let Err(error) = control.send(Input::Key { key, down: false }).await {
            tracing::info!(%error, "A key is not released");
        }
        tokio::time::sleep(pause).await;
    }
    outcome.map_err(|error| failure(&error))
}
