//! Serial ports whose other end is not ours: pseudo-terminals, and TCP ports that something connects to.

use super::run::Run;
use crate::command_line::{Awaited, PortDevice};
use machine::{PseudoTerminal, Result};
use qmp::commands;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often QEMU is asked whether somebody has connected; it has no event for that. It is asked only while the guest is held back.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Where QEMU made the pseudo-terminals.
///
/// # Errors
/// What QEMU says.
pub async fn pseudo_terminals(run: &Run, ports: &[PortDevice]) -> Result<Vec<PseudoTerminal>> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let devices = devices(run).await?;
    let terminals = ports.iter().filter_map(|port| {
        let path = devices.get(&port.chardev)?.strip_prefix("pty:")?;
        Some(PseudoTerminal { label: format!("Serial port {}", port.serial + 1), path: path.into() })
    });
    Ok(terminals.collect())
}

/// Waits until something has connected to each of the ports, however long that takes.
///
/// # Errors
/// What QEMU says; among others that it has ended.
pub async fn connected(run: &Run, ports: &[Awaited], progress: &(dyn Fn(&str) + Send + Sync)) -> Result<()> {
    let mut told = None;
    while !ports.is_empty() {
        let devices = devices(run).await?;
        let waits = |port: &&Awaited| devices.get(&port.chardev).is_none_or(|name| name.starts_with("disconnected:"));
        let Some(port) = ports.iter().find(waits) else { break };
        if told != Some(port.port) {
            progress(&format!("Waiting for a connection to port {}", port.port));
            told = Some(port.port);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// What the character devices are connected to, by their names.
async fn devices(run: &Run) -> Result<BTreeMap<String, String>> {
    let devices = run.execute("ask about the serial ports", commands::QueryChardev::default()).await?;
    Ok(devices.into_iter().map(|device| (device.label, device.filename)).collect())
}
