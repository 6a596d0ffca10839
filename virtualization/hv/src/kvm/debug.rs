//! Debugging by KVM (Documentation/virt/kvm/api.rst: KVM_SET_GUEST_DEBUG, KVM_TRANSLATE).

use kvm_bindings::{
    KVM_GUESTDBG_BLOCKIRQ, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_BP, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP,
    KVM_GUESTDBG_USE_SW_BP, kvm_debug_exit_arch, kvm_guest_debug, kvm_regs,
};
use kvm_ioctls::VcpuFd;

use super::refused;
use crate::{DebugExit, Debugging, HARDWARE_BREAKPOINTS, Registers, Result, Watch};

/// The vector of a breakpoint (Intel SDM, volume 3, 6.15).
const BREAKPOINT: u32 = 3;
/// The bit of DR6 for a single step (Intel SDM, volume 3, 18.2.3).
const STEPPED: u64 = 1 << 14;
/// Bits of DR7 (18.2.4): exact, and one that is always set; a breakpoint for every task.
const EXACT: u64 = 1 << 9 | 1 << 10;
const GLOBAL: u64 = 1 << 1;

/// The registers.
pub fn registers(fd: &VcpuFd) -> Result<Registers> {
    let attempt = "read a vCPU's registers";
    let (general, special) = (fd.get_regs().map_err(refused(attempt))?, fd.get_sregs().map_err(refused(attempt))?);
    let floating = fd.get_fpu().map_err(refused(attempt))?;
    let g = general;
    Ok(Registers {
        general: [g.rax, g.rbx, g.rcx, g.rdx, g.rsi, g.rdi, g.rbp, g.rsp, g.r8, g.r9, g.r10, g.r11, g.r12, g.r13, g.r14, g.r15],
        instruction: g.rip,
        flags: g.rflags,
        segments: [special.cs, special.ss, special.ds, special.es, special.fs, special.gs].map(|segment| segment.selector),
        x87: floating.fpr.map(|register| std::array::from_fn(|byte| register[byte])),
        x87_words: [floating.fcw, floating.fsw, floating.ftwx.into()],
        xmm: floating.xmm.map(u128::from_le_bytes),
        sse: floating.mxcsr,
    })
}

/// Sets all of them but the segments.
pub fn set_registers(fd: &VcpuFd, registers: &Registers) -> Result<()> {
    let attempt = "set a vCPU's registers";
    let [rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15] = registers.general;
    let (rip, rflags) = (registers.instruction, registers.flags);
    let general = kvm_regs { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags };
    fd.set_regs(&general).map_err(refused(attempt))?;
    let mut floating = fd.get_fpu().map_err(refused(attempt))?;
    for (place, register) in floating.fpr.iter_mut().zip(&registers.x87) {
        place[..register.len()].copy_from_slice(register);
    }
    let [control, status, tags] = registers.x87_words;
    // The tag word has eight bits.
    (floating.fcw, floating.fsw, floating.ftwx) = (control, status, tags as u8);
    (floating.xmm, floating.mxcsr) = (registers.xmm.map(u128::to_le_bytes), registers.sse);
    fd.set_fpu(&floating).map_err(refused(attempt))
}

/// Debugs the vCPU so from now on.
pub fn set(fd: &VcpuFd, debugging: &Debugging) -> Result<()> {
    let mut wanted = kvm_guest_debug::default();
    let mut add = |is_wanted: bool, flags: u32| wanted.control |= if is_wanted { KVM_GUESTDBG_ENABLE | flags } else { 0 };
    add(debugging.software_breakpoints, KVM_GUESTDBG_USE_SW_BP);
    add(!debugging.hardware_breakpoints.is_empty(), KVM_GUESTDBG_USE_HW_BP);
    add(debugging.steps, KVM_GUESTDBG_SINGLESTEP);
    add(debugging.returns_breakpoint, KVM_GUESTDBG_INJECT_BP);
    let mut control = EXACT;
    for (index, breakpoint) in debugging.hardware_breakpoints.iter().enumerate().take(HARDWARE_BREAKPOINTS) {
        let (kind, length) = match breakpoint.watch {
            Watch::Execute => (0, 1),
            Watch::Write(length) => (1, length),
            Watch::Access(length) => (3, length),
        };
        // One byte is 0, two are 1, four are 3, eight are 2.
        let length = match length {
            8 => 2,
            other => u64::from(other.saturating_sub(1)) & 3,
        };
        control |= GLOBAL << (2 * index) | (kind | length << 2) << (16 + 4 * index);
        wanted.arch.debugreg[index] = breakpoint.address;
    }
    wanted.arch.debugreg[7] = control;
    if debugging.steps {
        // Interrupts would take every step somewhere else. Kernels before 5.17 do not know this.
        let without = kvm_guest_debug { control: wanted.control | KVM_GUESTDBG_BLOCKIRQ, ..wanted };
        if fd.set_guest_debug(&without).is_ok() {
            return Ok(());
        }
    }
    fd.set_guest_debug(&wanted).map_err(refused("debug a vCPU"))
}

/// Why it left the guest.
pub fn exit(exit: &kvm_debug_exit_arch) -> DebugExit {
    let hit = exit.dr6 & ((1 << HARDWARE_BREAKPOINTS) - 1);
    if exit.exception == BREAKPOINT {
        DebugExit::Software(exit.pc)
    } else if hit != 0 && exit.dr6 & STEPPED == 0 {
        DebugExit::Hardware(hit.trailing_zeros() as usize)
    } else {
        DebugExit::Step
    }
}

/// The guest-physical address of a guest-virtual one, as the vCPU sees it now.
pub fn translate(fd: &VcpuFd, address: u64) -> Result<Option<u64>> {
    let found = fd.translate_gva(address).map_err(refused("translate an address of the guest"))?;
    Ok((found.valid != 0).then_some(found.physical_address))
}
