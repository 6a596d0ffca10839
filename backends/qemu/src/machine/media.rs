//! Changing media while the machine runs.
//!
//! The supervisor opens the file and hands QEMU the descriptor; QEMU never learns the path. A new node is made before the old one goes, so
//! a file that cannot be used leaves the old medium where it is.

use super::record::DriveState;
use super::run::{Run, refused};
use super::{Shared, images};
use crate::command_line::Image;
use machine::{Drive, DriveKind, Error, ErrorKind, Event, Medium, Result};
use qmp::commands;
use serde_json::json;
use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Makes node names of inserted media differ.
static MEDIA: AtomicU32 = AtomicU32::new(1);

/// How long a guest may take to open a tray that it has locked, when it is asked.
const OPENING: Duration = Duration::from_secs(3);

/// The drive that is asked for, with the device that takes its media.
fn removable<'d>(drives: &'d [Drive], state: Option<&DriveState>, id: &str) -> Result<(&'d Drive, String)> {
    let drive = drives.iter().find(|drive| drive.id == id).ok_or_else(|| not_found(drives, id))?;
    match state.and_then(|state| state.device.clone()) {
        Some(device) if drive.removable => Ok((drive, device)),
        _ => Err(Error::new(ErrorKind::Unsupported, format!("The medium of drive {id} cannot be changed"))
            .with_hint("only CD drives and external drives have media; stop the machine to change a disk")),
    }
}

fn not_found(drives: &[Drive], id: &str) -> Error {
    let ids: Vec<&str> = drives.iter().map(|drive| drive.id.as_str()).collect();
    let hint = if ids.is_empty() { "it has none".to_owned() } else { format!("its drives are {}", ids.join(", ")) };
    Error::new(ErrorKind::NotFound, format!("The machine has no drive {id}")).with_hint(hint)
}

/// Puts a medium in.
///
/// # Errors
/// Where the file cannot be used or QEMU refuses; the old medium is then still there.
pub async fn insert(shared: &Shared, run: &Run, drives: &[Drive], id: &str, medium: Medium) -> Result<()> {
    let state = run.record().drives.get(id).cloned();
    let (drive, device) = removable(drives, state.as_ref(), id)?;
    let read_only = medium.read_only || drive.read_only || drive.kind == DriveKind::Cd;
    let image = images::external_image(&medium.path, drive.kind == DriveKind::Cd, None)?;
    let layer = image.layers.first().ok_or_else(|| Error::new(ErrorKind::File, "The image has no file"))?;
    let file = OpenOptions::new()
        .read(true)
        .write(!read_only)
        .open(&layer.path)
        .map_err(|error| Error::new(ErrorKind::File, format!("Cannot open the medium {}", medium.path.display())).with_source(error))?;
    let shown = images::shown(&medium.path);
    let add = commands::AddFd { opaque: Some(shown.display().to_string()), ..commands::AddFd::default() };
    let added = run.qmp.execute_with_fd(add, file.as_fd()).await.map_err(|error| refused("hand the medium to QEMU", error))?;
    let node = format!("medium{}", MEDIA.fetch_add(1, Ordering::Relaxed));
    let changed = exchange(run, &device, &node, &image, read_only, added.fdset_id, state.as_ref()).await;
    if let Err(error) = changed {
        let _ = run.qmp.execute(commands::BlockdevDel::new(&node)).await;
        let _ = run.qmp.execute(commands::RemoveFd::new(added.fdset_id)).await;
        return Err(error);
    }
    {
        let mut record = run.record();
        if let Some(state) = record.drives.get_mut(id) {
            state.medium = Some(Medium { path: shown, read_only });
            state.fdset = Some(added.fdset_id);
        }
    }
    run.save_record();
    shared.events.send(Event::MediumChanged { drive: id.into(), inserted: true });
    Ok(())
}

async fn exchange(
    run: &Run,
    device: &str,
    node: &str,
    image: &Image,
    read_only: bool,
    fdset: i64,
    state: Option<&DriveState>,
) -> Result<()> {
    let (driver, block_device) = image.layers.first().map_or(("raw", false), |layer| (layer.driver.as_str(), layer.block_device));
    let mut format = json!({
        "driver": driver, "node-name": node, "read-only": read_only,
        "file": {
            "driver": if block_device { "host_device" } else { "file" }, "filename": format!("/dev/fdset/{fdset}"),
            "read-only": read_only, "aio": "threads",
        },
    });
    if let Some(members) = format.as_object_mut() {
        if matches!(driver, "qcow2" | "qcow" | "qed" | "vmdk") {
            members.insert("backing".into(), serde_json::Value::Null);
        }
        if !read_only {
            members.insert("discard".into(), json!("unmap"));
            members.insert("detect-zeroes".into(), json!("unmap"));
        }
    }
    run.execute("open the medium", commands::BlockdevAdd(format)).await?;
    remove(run, device, true, state).await?;
    run.execute("put the medium into the drive", commands::BlockdevInsertMedium::new(device, node)).await?;
    let close = commands::BlockdevCloseTray { id: Some(device.into()), ..commands::BlockdevCloseTray::default() };
    run.execute("close the drive's tray", close).await.map(drop)
}

/// Opens the tray and takes out what is in it.
async fn remove(run: &Run, device: &str, force: bool, state: Option<&DriveState>) -> Result<()> {
    let old = node_of(run, device).await?;
    let open = commands::BlockdevOpenTray { id: Some(device.into()), force: Some(force), ..commands::BlockdevOpenTray::default() };
    let locked = |error: Error| if force { error } else { error.with_hint("the guest has locked it; unmount it there, or use --force") };
    run.execute("open the drive's tray", open).await.map_err(locked)?;
    // A guest that has locked the tray is only asked to open it, and may do so a moment later.
    let until = Instant::now() + OPENING;
    loop {
        match run.execute("take the medium out of the drive", commands::BlockdevRemoveMedium::new(device)).await {
            Ok(_) => break,
            Err(error) if force || Instant::now() >= until => return Err(locked(error)),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    if let Some(old) = old {
        // What stays open is only a descriptor; the medium has changed all the same.
        if let Err(error) = run.qmp.execute(commands::BlockdevDel::new(&old)).await {
            tracing::debug!(%error, node = old, "An old medium's node stays");
        } else if let Some(fdset) = state.and_then(|state| state.fdset) {
            let _ = run.qmp.execute(commands::RemoveFd::new(fdset)).await;
        }
    }
    Ok(())
}

/// The node that is in a device now.
async fn node_of(run: &Run, device: &str) -> Result<Option<String>> {
    let blocks = run.execute("see what is in the drive", commands::QueryBlock::default()).await?;
    let is_device = |qdev: &str| qdev == device || qdev.rsplit('/').any(|part| part == device);
    let block = blocks.into_iter().find(|block| block.qdev.as_deref().is_some_and(is_device));
    Ok(block.and_then(|block| block.inserted).and_then(|inserted| inserted.node_name))
}

/// Takes a medium out.
///
/// # Errors
/// Where QEMU refuses, for instance because the guest has locked the tray.
pub async fn eject(shared: &Shared, run: &Run, drives: &[Drive], id: &str, force: bool) -> Result<()> {
    let state = run.record().drives.get(id).cloned();
    let (_, device) = removable(drives, state.as_ref(), id)?;
    remove(run, &device, force, state.as_ref()).await?;
    let close = commands::BlockdevCloseTray { id: Some(device), ..commands::BlockdevCloseTray::default() };
    let _ = run.qmp.execute(close).await;
    {
        let mut record = run.record();
        if let Some(state) = record.drives.get_mut(id) {
            state.medium = None;
            state.fdset = None;
        }
    }
    run.save_record();
    shared.events.send(Event::MediumChanged { drive: id.into(), inserted: false });
    Ok(())
}
