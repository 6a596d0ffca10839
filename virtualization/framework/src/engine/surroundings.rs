//! What a machine is put together with.

use std::sync::Arc;

use confinement::Confinement;
use hv::Hypervisor;

use super::outside::Outside;

/// The hypervisor, the way to files and programs, and what threads are to give up.
#[derive(Debug)]
pub struct Surroundings {
    /// Makes virtual machines.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Opens files and starts programs.
    pub outside: Outside,
    /// Starts threads.
    pub confinement: Confinement,
}

impl Surroundings {
    /// The same, where it is told which of the threads that are started panicked.
    pub fn telling(&self, panicked: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let (hypervisor, outside) = (Arc::clone(&self.hypervisor), self.outside.clone());
        Self { hypervisor, outside, confinement: self.confinement.telling(panicked) }
    }
}
