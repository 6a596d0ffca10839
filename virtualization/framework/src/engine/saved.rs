//! Saving a board, and opening what was saved.

use std::path::Path;

use super::board::{Board, BoardState};
use super::surroundings::Surroundings;
use crate::configuration::VirtualMachineConfiguration;
use crate::error::{Error, ErrorKind, Result};
use crate::saved_state::{self, Parts, SavedMachineState};

/// Refuses machines with devices that cannot be saved.
pub fn require_support(configuration: &VirtualMachineConfiguration) -> Result<()> {
    let message = "The machine has devices that cannot be saved and restored";
    configuration.validate_save_restore_support().map_err(|error| Error::because(ErrorKind::NotSupported, message, error))
}

/// Writes the state of a board that stands still.
pub fn save(path: &Path, configuration: &VirtualMachineConfiguration, surroundings: &Surroundings, board: &Board) -> Result<()> {
    let machine = serde_json::to_value(board.save()?)
        .map_err(|error| Error::because(ErrorKind::Internal, "Could not describe the machine's state", error))?;
    let parts = Parts { configuration: &configuration.seen_by_guest(), processor: &surroundings.hypervisor.processor(), machine: &machine };
    saved_state::write(path, &parts, board.memory(), &surroundings.outside)
}

/// Opens a state that a machine with this configuration can be restored from, on this hypervisor.
pub fn open(
    path: &Path,
    configuration: &VirtualMachineConfiguration,
    surroundings: &Surroundings,
) -> Result<(SavedMachineState, BoardState)> {
    let saved = SavedMachineState::open_outside(path, &surroundings.outside)?;
    saved.require_configuration(&configuration.seen_by_guest())?;
    surroundings.hypervisor.check_processor(&saved.processor()?).map_err(|error| saved.refuse(error))?;
    let state = saved.machine()?;
    Ok((saved, state))
}
