//! The generation ID (Microsoft, "Virtual Machine Generation ID"): a number that is another one after a guest was restored, so that one that
//! is restored twice does not draw the same random numbers twice. Linux mixes it into its random numbers (drivers/virt/vmgenid.c).

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::layout;
use crate::linux::Result;

/// Gives the guest a new one. One that runs has to be interrupted afterwards, by [`layout::GENERATION_INPUT`].
///
/// # Errors
/// Where memory is too small.
pub fn write(random: [u8; 16], memory: &impl GuestMemoryBackend) -> Result<()> {
    Ok(memory.write_slice(&random, GuestAddress(layout::GENERATION))?)
}
