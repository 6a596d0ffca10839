//! What a guest says of its memory (Virtio 1.2, 5.5.6.4).

use super::super::buffers::Buffers;

/// Statistics of a guest's memory, as its driver gives them; what it does not give is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes that were swapped in, since the guest began.
    pub swapped_in: Option<u64>,
    /// Bytes that were swapped out.
    pub swapped_out: Option<u64>,
    /// Page faults that had to wait for a disk.
    pub major_faults: Option<u64>,
    /// Page faults that had not.
    pub minor_faults: Option<u64>,
    /// Bytes that are used for nothing.
    pub free: Option<u64>,
    /// Bytes that the guest has.
    pub total: Option<u64>,
    /// Bytes that programs could still have without swapping.
    pub available: Option<u64>,
    /// Bytes of caches that could be given up.
    pub caches: Option<u64>,
    /// Huge pages that were given to programs.
    pub huge_pages: Option<u64>,
    /// Huge pages that could not be given.
    pub huge_page_failures: Option<u64>,
}

/// A driver has one entry of each kind; this is where somebody who has more stops being read.
const ENTRIES_MAXIMUM: usize = 64;

impl Statistics {
    /// Those of a chain: entries of a number (two bytes) and a value (eight). Numbers that are not known are left out.
    pub(super) fn read(mut buffers: Buffers<'_>) -> Self {
        let mut all = Self::default();
        for _ in 0..ENTRIES_MAXIMUM {
            let (Some(number), Some(value)) = (buffers.read::<2>(), buffers.read::<8>()) else { break };
            let place = match u16::from_le_bytes(number) {
                0 => &mut all.swapped_in,
                1 => &mut all.swapped_out,
                2 => &mut all.major_faults,
                3 => &mut all.minor_faults,
                4 => &mut all.free,
                5 => &mut all.total,
                6 => &mut all.available,
                7 => &mut all.caches,
                8 => &mut all.huge_pages,
                9 => &mut all.huge_page_failures,
                _ => continue,
            };
            *place = Some(u64::from_le_bytes(value));
        }
        all
    }
}
