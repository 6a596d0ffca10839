//! What qemu-img answers in JSON.

use serde::{Deserialize, Serialize};

/// What a check found. Numbers that were not counted are 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct CheckReport {
    /// Faults that damage data.
    pub corruptions: u64,
    /// Clusters that nothing uses: wasted room, no damage.
    pub leaks: u64,
    /// What could not be checked.
    pub check_errors: u64,
    /// Faults that were repaired.
    pub corruptions_fixed: u64,
    /// Leaks that were repaired.
    pub leaks_fixed: u64,
    /// Clusters of the disk.
    pub total_clusters: u64,
    /// Clusters that take room.
    pub allocated_clusters: u64,
}

impl CheckReport {
    /// Whether no data is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.corruptions == 0 && self.check_errors == 0
    }
}

/// What qemu-img says about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Info {
    /// Its driver.
    pub format: String,
    /// Bytes of the disk that a guest sees.
    pub virtual_size: u64,
    /// Bytes that it takes here.
    #[serde(default)]
    pub actual_size: u64,
    /// Whether its content is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Whether it was not closed properly.
    #[serde(default)]
    pub dirty_flag: bool,
    /// Its snapshots.
    #[serde(default)]
    pub snapshots: Vec<Snapshot>,
}

/// A snapshot inside an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    /// Its number.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Bytes of a machine's state that it holds.
    #[serde(default)]
    pub vm_state_size: u64,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub date_sec: u64,
}
