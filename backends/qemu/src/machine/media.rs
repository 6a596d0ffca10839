//! Changing media while the machine runs.
//!
//! The supervisor opens the file and hands QEMU the descriptor; QEMU never learns the path. The new medium's node is made before the old
//! medium goes, and the old one's is kept until the new medium is in: a file that cannot be used leaves the old medium where it is, and one that
//! turns out so late is replaced by the old one. What the record says afterwards is what QEMU says is in the drive.

use super::images::external_image;
use super::record::DriveState;
use super::run::{Run, refused};
use crate::command_line::{Image, can_have_backing, descriptor_set};
use beneath::Access;
use machine::{Drive, DriveKind, Error, ErrorKind, Event, EventSender, Medium, Result};
use qmp::commands;
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a guest may take to open a tray that it has locked, when it is asked.
const OPENING: Duration = Duration::from_secs(3);

/// The drive that is asked for, with the device that takes its media.
fn removable<'d>(drives: &'d [Drive], state: Option<&DriveState>, id: &str) -> Result<(&'d Drive, String)> {
    let drive = drives.iter().find(|drive| drive.id == id).ok_or_else(|| not_found(drives, id))?;
    match state.and_then(|state| state.device.clone()) {
        Some(device) if drive.removable => Ok((drive, device)),
        _ => Err(Error::new(ErrorKind::Unsupported, format!("The medium of drive {id} cannot be changed"))
            .with_hint("only CDs and floppy disks are changed while a machine runs; stop it to change a disk, or a stick")),
    }
}

fn not_found(drives: &[Drive], id: &str) -> Error {
    let ids: Vec<&str> = drives.iter().map(|drive| drive.id.as_str()).collect();
    let hint = if ids.is_empty() { "it has none".to_owned() } else { format!("its drives are {}", ids.join(", ")) };
    Error::new(ErrorKind::NotFound, format!("The machine has no drive {id}")).with_hint(hint)
}

/// Puts a medium in, and tells its format. Nothing is kept of what is written in a disposable run, so the guest cannot write to it then.
///
/// # Errors
/// Where the file cannot be used or QEMU refuses. The old medium is then still there, unless QEMU would not take it back either.
pub async fn insert(events: &EventSender, run: &Run, drives: &[Drive], id: &str, medium: Medium) -> Result<String> {
    let (state, disposable) = {
        let record = run.record();
        (record.drives.get(id).cloned(), record.options.disposable)
    };
    let (drive, device) = removable(drives, state.as_ref(), id)?;
    let read_only = medium.read_only || drive.read_only || drive.kind == DriveKind::Cd || disposable;
    let (image, path, file) = external_image(&medium.path, drive.kind == DriveKind::Cd, None)?;
    let file = beneath::reopen(&file, if read_only { Access::Read } else { Access::ReadWrite })
        .map_err(|error| Error::new(ErrorKind::File, format!("Cannot open the medium {}", medium.path.display())).with_source(error))?;
    let add = commands::AddFd { opaque: Some(format!("medium of drive {id}")), ..commands::AddFd::default() };
    let added = run.qmp.execute_with_fd(add, file.as_fd()).await.map_err(|error| refused("hand the medium to QEMU", error))?;
    // The number is in use as long as the node is, also when a new supervisor counts anew.
    let node = format!("medium-{}", added.fdset_id);
    let add = commands::BlockdevAdd(graph(&image, &node, read_only, added.fdset_id));
    if let Err(error) = run.execute(&format!("open the medium {}", path.display()), add).await {
        let _ = run.qmp.execute(commands::RemoveFd::new(added.fdset_id)).await;
        return Err(error);
    }
    let changed = exchange(run, &device, &node).await;
    let new = DriveState { device: Some(device), medium: Some(Medium { path, read_only }), nodes: vec![node], sets: vec![added.fdset_id] };
    settle(events, run, id, new, changed.is_ok()).await;
    changed.map(|()| driver(&image).to_owned())
}

fn driver(image: &Image) -> &str {
    image.layers.first().map_or("raw", |layer| layer.driver.as_str())
}

/// The nodes of a medium.
fn graph(image: &Image, node: &str, read_only: bool, fdset: i64) -> Value {
    let (driver, block_device) = (driver(image), image.layers.first().is_some_and(|layer| layer.block_device));
    let mut format = json!({
        "driver": driver, "node-name": node, "read-only": read_only,
        "file": {
            "driver": if block_device { "host_device" } else { "file" }, "filename": descriptor_set(fdset),
            "read-only": read_only, "aio": "threads",
        },
    });
    if let Some(members) = format.as_object_mut() {
        if can_have_backing(driver) {
            members.insert("backing".into(), Value::Null);
        }
        if !read_only {
            members.insert("discard".into(), json!("unmap"));
            members.insert("detect-zeroes".into(), json!("unmap"));
        }
    }
    format
}

/// Takes out what is in a drive and puts `node` in; where that fails, the old one back.
async fn exchange(run: &Run, device: &str, node: &str) -> Result<()> {
    let old = node_of(run, device).await?;
    take_out(run, device, true).await?;
    let inserted = run.execute("put the medium into the drive", commands::BlockdevInsertMedium::new(device, node)).await;
    if inserted.is_err()
        && let Some(old) = old
        && let Err(error) = run.qmp.execute(commands::BlockdevInsertMedium::new(device, &old)).await
    {
        tracing::warn!(%error, "The old medium cannot be put back");
    }
    close(run, device).await;
    inserted.map(drop)
}

/// Opens the tray and takes out what is in it. Where it stays in, the tray is closed again.
async fn take_out(run: &Run, device: &str, force: bool) -> Result<()> {
    let open = commands::BlockdevOpenTray { id: Some(device.into()), force: Some(force), ..commands::BlockdevOpenTray::default() };
    let locked = |error: Error| if force { error } else { error.with_hint("the guest has locked it; unmount it there, or use --force") };
    run.execute("open the drive's tray", open).await.map_err(locked)?;
    // A guest that has locked the tray is only asked to open it, and may do so a moment later.
    let until = Instant::now() + OPENING;
    loop {
        match run.execute("take the medium out of the drive", commands::BlockdevRemoveMedium::new(device)).await {
            Ok(_) => return Ok(()),
            Err(error) if force || Instant::now() >= until => {
                close(run, device).await;
                return Err(locked(error));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Closes the tray. The guest can do that too, and what is in it is in it.
async fn close(run: &Run, device: &str) {
    let close = commands::BlockdevCloseTray { id: Some(device.into()), ..commands::BlockdevCloseTray::default() };
    if let Err(error) = run.qmp.execute(close).await {
        tracing::warn!(%error, device, "The tray stays open");
    }
}

/// Records what is in a drive now, after a change to `new` that came about or did not, tells of it, and lets go of what is not.
async fn settle(events: &EventSender, run: &Run, id: &str, new: DriveState, changed: bool) {
    let Some(old) = run.record().drives.get(id).cloned() else { return };
    let device = old.device.clone().unwrap_or_default();
    let empty = DriveState { device: old.device.clone(), medium: None, nodes: Vec::new(), sets: Vec::new() };
    let now = match node_of(run, &device).await {
        Ok(Some(node)) if new.nodes.first() == Some(&node) => new.clone(),
        Ok(Some(node)) if old.nodes.first() == Some(&node) => old.clone(),
        Ok(_) => empty,
        // It says nothing any more: what it did last has to do.
        Err(_) if changed => new.clone(),
        Err(_) => old.clone(),
    };
    for gone in [&new, &old].into_iter().filter(|state| state.nodes != now.nodes) {
        discard(run, gone).await;
    }
    if now == old {
        return;
    }
    let inserted = now.medium.is_some();
    run.record().drives.insert(id.to_owned(), now);
    run.save_record();
    events.send(Event::MediumChanged { drive: id.into(), inserted });
}

/// Lets go of the nodes of a medium that is in no drive, and of its file.
async fn discard(run: &Run, state: &DriveState) {
    for node in &state.nodes {
        // What stays open is only a descriptor; the medium has changed all the same.
        if let Err(error) = run.qmp.execute(commands::BlockdevDel::new(node)).await {
            tracing::debug!(%error, node, "The node of an old medium stays");
            return;
        }
    }
    for set in &state.sets {
        let _ = run.qmp.execute(commands::RemoveFd::new(*set)).await;
    }
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
/// Where QEMU refuses, for instance because the guest has locked the tray. The medium is then still there.
pub async fn eject(events: &EventSender, run: &Run, drives: &[Drive], id: &str, force: bool) -> Result<()> {
    let state = run.record().drives.get(id).cloned();
    let (_, device) = removable(drives, state.as_ref(), id)?;
    let taken = take_out(run, &device, force).await;
    if taken.is_ok() {
        close(run, &device).await;
    }
    let empty = DriveState { device: Some(device), medium: None, nodes: Vec::new(), sets: Vec::new() };
    settle(events, run, id, empty, taken.is_ok()).await;
    taken
}
