//! A vCPU of KVM's.
//!
//! Why unsafe: the size of one port access is in a part of the page shared with the kernel that `kvm-ioctls` does not hand out.
#![allow(unsafe_code)]

use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN, Msrs, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_run,
    kvm_segment,
};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::kick::Flag;
use super::{cpuid, debug, refused, state};
use crate::{Bus, Debugging, Entry, Exit, GuestMemory, Kicker, Registers, Result, SavedState, Topology, Vcpu};

/// Bits of control registers (Intel SDM, volume 3, 2.5).
const CR0_PROTECTED: u64 = 1 << 0;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const EFER_LONG_MODE_ENABLE: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;

/// Memory is cached unless a page says otherwise (Intel SDM, volume 3, 12.11.2.1).
const MSR_MTRR_DEFAULT_TYPE: kvm_msr_entry = msr(0x2ff, 1 << 11 | 6);
/// Fast string operations, as firmware leaves it.
const MSR_MISC_ENABLE: kvm_msr_entry = msr(0x1a0, 1);

const fn msr(index: u32, data: u64) -> kvm_msr_entry {
    kvm_msr_entry { index, reserved: 0, data }
}

/// The vCPU. The order of the fields is the order of their end: the flag goes before the mapping that it points into.
#[derive(Debug)]
pub struct KvmVcpu {
    flag: Flag,
    fd: VcpuFd,
    registers: Arc<[u32]>,
    /// Kept for as long as the vCPU can run in it.
    _memory: GuestMemory,
}

impl KvmVcpu {
    /// The vCPU as it is after power-on.
    pub fn new(fd: VcpuFd, host: &CpuId, registers: Arc<[u32]>, topology: Topology, memory: GuestMemory) -> Result<Self> {
        let model = cpuid::model(host, topology);
        fd.set_cpuid2(&model).map_err(refused("give a vCPU its processor model"))?;
        for one in [MSR_MTRR_DEFAULT_TYPE, MSR_MISC_ENABLE] {
            if let Ok(msrs) = Msrs::from_entries(&[one]) {
                // AMD's processors have no MISC_ENABLE, and a kernel does without either.
                let _ = fd.set_msrs(&msrs);
            }
        }
        Ok(Self { flag: Flag::default(), fd, registers, _memory: memory })
    }

    /// Bytes of one access of the port exit that just happened: the guest's string instructions hand over several at once.
    fn port_access_size(run: *const kvm_run) -> usize {
        // SAFETY: the page is mapped for as long as the vCPU exists, and the exit that was just taken filled this part.
        usize::from(unsafe { (*run).__bindgen_anon_1.io.size }).max(1)
    }
}

fn segment(selector: u16, kind: u8) -> kvm_segment {
    let is_code = kind == CODE;
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: kind,
        present: 1,
        dpl: 0,
        db: u8::from(!is_code),
        s: 1,
        l: u8::from(is_code),
        g: 1,
        avl: 0,
        unusable: 0,
        padding: 0,
    }
}

/// Types of segments: code, to be executed and read; data, to be read and written; both accessed.
const CODE: u8 = 11;
const DATA: u8 = 3;

impl Vcpu for KvmVcpu {
    fn enter_at(&mut self, entry: &Entry) -> Result<()> {
        let mut special = self.fd.get_sregs().map_err(refused("read a vCPU's registers"))?;
        special.cs = segment(0x10, CODE);
        let data = segment(0x18, DATA);
        (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data);
        special.gdt.base = entry.segments;
        special.gdt.limit = 4 * 8 - 1;
        special.cr3 = entry.page_table;
        special.cr4 |= CR4_PHYSICAL_ADDRESS_EXTENSION;
        special.cr0 |= CR0_PROTECTED | CR0_EXTENSION_TYPE | CR0_PAGING;
        special.efer |= EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE;
        self.fd.set_sregs(&special).map_err(refused("set a vCPU's segments"))?;

        let registers = kvm_regs { rip: entry.instruction, rsi: entry.parameters, rflags: 2, ..Default::default() };
        self.fd.set_regs(&registers).map_err(refused("set a vCPU's registers"))?;
        let floating = kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..Default::default() };
        self.fd.set_fpu(&floating).map_err(refused("set a vCPU's floating-point registers"))?;
        Ok(())
    }

    fn registers(&mut self) -> Result<Registers> {
        debug::registers(&self.fd)
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<()> {
        debug::set_registers(&self.fd, registers)
    }

    fn debug(&mut self, debugging: &Debugging) -> Result<()> {
        debug::set(&self.fd, debugging)
    }

    fn translate(&mut self, address: u64) -> Result<Option<u64>> {
        debug::translate(&self.fd, address)
    }

    fn save(&mut self) -> Result<SavedState> {
        state::save_vcpu(&self.fd, &self.registers)
    }

    fn restore(&mut self, state: &SavedState) -> Result<()> {
        state::restore_vcpu(&self.fd, state)
    }

    fn kicker(&mut self) -> Kicker {
        self.flag.kicker(&mut self.fd)
    }

    fn run(&mut self, bus: &dyn Bus) -> Exit {
        let run: *const kvm_run = self.fd.get_kvm_run();
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                return if self.flag.take() { Exit::Kicked } else { Exit::Continue };
            }
            Err(error) => return Exit::Failed(format!("the kernel could not run the vCPU: {error}")),
        };
        match exit {
            VcpuExit::MmioRead(address, data) => {
                data.fill(0xff);
                bus.read(address, data);
                Exit::Continue
            }
            VcpuExit::MmioWrite(address, data) => {
                bus.write(address, data);
                Exit::Continue
            }
            VcpuExit::IoIn(port, data) => {
                data.fill(0xff);
                data.chunks_mut(Self::port_access_size(run)).for_each(|access| bus.port_read(port, access));
                Exit::Continue
            }
            VcpuExit::IoOut(port, data) => {
                data.chunks(Self::port_access_size(run)).for_each(|access| bus.port_write(port, access));
                Exit::Continue
            }
            VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt => Exit::Continue,
            VcpuExit::Debug(why) => Exit::Debug(debug::exit(&why)),
            VcpuExit::Shutdown => Exit::Shutdown,
            VcpuExit::SystemEvent(kind, _) => match kind {
                KVM_SYSTEM_EVENT_SHUTDOWN => Exit::Failed("the kernel switched the machine off".to_owned()),
                KVM_SYSTEM_EVENT_RESET => Exit::Failed("the kernel reset the machine".to_owned()),
                KVM_SYSTEM_EVENT_CRASH => Exit::Failed("the guest told the kernel that it crashed".to_owned()),
                other => Exit::Failed(format!("an unknown event {other} of the machine")),
            },
            VcpuExit::FailEntry(reason, cpu) => {
                Exit::Failed(format!("the processor {cpu} refused to enter the guest (reason {reason:#x})"))
            }
            VcpuExit::InternalError => Exit::Failed("KVM could not emulate an instruction of the guest".to_owned()),
            other => Exit::Failed(format!("KVM left the guest for a reason that is not expected: {other:?}")),
        }
    }
}
