//! A virtual machine of KVM's.
//!
//! Why unsafe: KVM is told where in this process the guest's memory is, and `kvm-ioctls` wants events of a type that is made of numbers.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::sync::Arc;

use kvm_bindings::{CpuId, kvm_userspace_memory_region};
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};
use vmm_sys_util::eventfd::EventFd;

use super::interrupts::Routes;
use super::vcpu::KvmVcpu;
use super::{kick, refused, state};
use crate::{Doorbells, Error, Event, GuestMemory, Interrupt, Interrupts, MessageInterrupt, Result, SavedState, Topology, Vcpu, Vm};

/// Three pages below 4 GiB that Intel's processors without unrestricted guest mode need; and one for an identity map.
const TASK_STATE: usize = 0xfffb_d000;
const IDENTITY_MAP: u64 = 0xfffb_c000;

/// Lends an event as `kvm-ioctls` wants it.
pub fn with_event<T>(event: &Event, use_it: impl FnOnce(&EventFd) -> T) -> T {
    // SAFETY: the descriptor is open for as long as `event` is borrowed, and is not closed at the end.
    let lent = ManuallyDrop::new(unsafe { EventFd::from_raw_fd(event.as_fd().as_raw_fd()) });
    use_it(&lent)
}

/// The machine.
#[derive(Debug)]
pub struct KvmVm {
    fd: Arc<VmFd>,
    routes: Arc<Routes>,
    cpuid: CpuId,
    registers: Arc<[u32]>,
    /// Kept for as long as KVM knows its addresses.
    memory: GuestMemory,
}

impl KvmVm {
    /// A machine with this memory.
    pub fn new(kvm: &kvm_ioctls::Kvm, cpuid: CpuId, registers: Arc<[u32]>, memory: &GuestMemory) -> Result<Self> {
        kick::prepare()?;
        let fd = kvm.create_vm().map_err(refused("create a virtual machine"))?;
        fd.set_identity_map_address(IDENTITY_MAP).map_err(refused("place the identity map"))?;
        fd.set_tss_address(TASK_STATE).map_err(refused("place the task state"))?;
        fd.create_irq_chip().map_err(refused("create the interrupt controllers"))?;
        for (slot, region) in (0..).zip(memory.iter()) {
            let host = region.get_host_address(MemoryRegionAddress(0));
            let host = host.map_err(|error| Error::Memory { size: region.len(), source: std::io::Error::other(error.to_string()) })?;
            let place = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: host.addr() as u64,
            };
            // SAFETY: the range is all of a mapping of `memory`, a clone of which this machine and each of its vCPUs keep until their descriptors are closed.
            unsafe { fd.set_user_memory_region(place) }.map_err(refused("give the machine its memory"))?;
        }
        let fd = Arc::new(fd);
        Ok(Self { routes: Arc::new(Routes::new(Arc::clone(&fd))?), fd, cpuid, registers, memory: memory.clone() })
    }
}

impl Vm for KvmVm {
    fn create_vcpu(&self, topology: Topology) -> Result<Box<dyn Vcpu>> {
        let fd = self.fd.create_vcpu(topology.index.into()).map_err(refused("create a vCPU"))?;
        Ok(Box::new(KvmVcpu::new(fd, &self.cpuid, Arc::clone(&self.registers), topology, self.memory.clone())?))
    }

    fn save(&self) -> Result<SavedState> {
        state::save_vm(&self.fd)
    }

    fn restore(&self, state: &SavedState) -> Result<()> {
        state::restore_vm(&self.fd, state)
    }
}

impl Interrupts for KvmVm {
    fn line(&self, input: u32) -> Result<Interrupt> {
        self.routes.line(input)
    }

    fn message(&self) -> Result<Arc<dyn MessageInterrupt>> {
        Routes::message(&self.routes)
    }
}

impl Doorbells for KvmVm {
    fn attach(&self, address: u64, event: &Event) -> Result<()> {
        let place = IoEventAddress::Mmio(address);
        with_event(event, |event| self.fd.register_ioevent(event, &place, NoDatamatch)).map_err(refused("attach a doorbell"))
    }

    fn detach(&self, address: u64, event: &Event) -> Result<()> {
        let place = IoEventAddress::Mmio(address);
        with_event(event, |event| self.fd.unregister_ioevent(event, &place, NoDatamatch)).map_err(refused("detach a doorbell"))
    }
}
