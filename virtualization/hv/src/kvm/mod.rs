//! Linux's hypervisor (Documentation/virt/kvm/api.rst).

mod cpuid;
mod debug;
mod interrupts;
mod kick;
mod processor;
mod state;
mod vcpu;
mod vm;

use std::io;
use std::path::Path;
use std::sync::Arc;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Cap;
use serde::Deserialize;

use self::processor::Processor;
use crate::{Error, GuestMemory, Hypervisor, Result, SavedState, Vm};

/// KVM, opened.
#[derive(Debug)]
pub struct Kvm {
    kvm: kvm_ioctls::Kvm,
    cpuid: CpuId,
    /// Registers that are part of a vCPU's state.
    registers: Arc<[u32]>,
}

/// Without these no guest of ours runs. All are older than Linux 4.
const NEEDED: &[(Cap, &str)] = &[
    (Cap::Irqchip, "interrupt controllers in the kernel (KVM_CAP_IRQCHIP)"),
    (Cap::UserMemory, "memory from user space (KVM_CAP_USER_MEMORY)"),
    (Cap::Ioeventfd, "doorbells (KVM_CAP_IOEVENTFD)"),
    (Cap::Irqfd, "interrupts by event (KVM_CAP_IRQFD)"),
    (Cap::IrqRouting, "routes for interrupts (KVM_CAP_IRQ_ROUTING)"),
    (Cap::SetTssAddr, "a place for its task state (KVM_CAP_SET_TSS_ADDR)"),
    (Cap::ExtCpuid, "processor models (KVM_CAP_EXT_CPUID)"),
    (Cap::ImmediateExit, "a way to stop a vCPU at once (KVM_CAP_IMMEDIATE_EXIT)"),
];

impl Kvm {
    /// Opens `/dev/kvm` and looks whether it can run ordinary guests.
    ///
    /// # Errors
    /// Why there is no KVM to be used, and what to do about it.
    pub fn open() -> Result<Self> {
        let kvm = kvm_ioctls::Kvm::new().map_err(|error| match error.errno() {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => Error::NoKvm,
            libc::EACCES | libc::EPERM => Error::NoPermission,
            _ => refused("open /dev/kvm")(error),
        })?;
        let loaded = |module: &str| Path::new("/sys/module").join(module).exists();
        if loaded("kvm_pvm") && !loaded("kvm_intel") && !loaded("kvm_amd") {
            return Err(Error::Unfit("hardware virtualization below it: KVM-PVM runs only kernels made for it"));
        }
        if let Some((_, missing)) = NEEDED.iter().find(|(capability, _)| !kvm.check_extension(*capability)) {
            return Err(Error::Unfit(missing));
        }
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refused("describe the processor"))?;
        let registers = kvm.get_msr_index_list().map_err(refused("list the processor's registers"))?;
        Ok(Self { kvm, cpuid, registers: state::registers(registers.as_slice()) })
    }
}

impl Hypervisor for Kvm {
    fn create_vm(&self, memory: &GuestMemory) -> Result<Arc<dyn Vm>> {
        Ok(Arc::new(vm::KvmVm::new(&self.kvm, self.cpuid.clone(), Arc::clone(&self.registers), memory)?))
    }

    fn maximum_vcpus(&self) -> usize {
        self.kvm.get_max_vcpus()
    }

    fn has_nesting(&self) -> bool {
        cpuid::has_nesting(&self.cpuid)
    }

    fn processor(&self) -> SavedState {
        serde_json::json!(Processor::of(self.cpuid.as_slice()))
    }

    fn check_processor(&self, saved: &SavedState) -> Result<()> {
        let saved = Processor::deserialize(saved).map_err(|source| Error::ForeignState { part: "the processor", source })?;
        Processor::of(self.cpuid.as_slice()).require_all_of(&saved).map_err(Error::OtherProcessor)
    }
}

/// What the kernel refused, in words.
fn refused(attempt: &'static str) -> impl Fn(vmm_sys_util::errno::Error) -> Error {
    move |error| Error::Refused { attempt, source: io::Error::from_raw_os_error(error.errno()) }
}
