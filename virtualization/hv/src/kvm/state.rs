//! The state of vCPUs, interrupt controllers and clocks, taken from KVM and given back.
//!
//! Clocks go on as if the guest had stood still in a machine that runs: time-stamp counters and KVM's clock are as much later as the host's
//! clock is since they were saved. So a guest's time is right again whichever of the two it reads, and timers that have come due fire.
//!
//! Why unsafe: the kernel reads as much of an XSAVE area as the processor model says, which the caller has to have made room for.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kvm_bindings::{
    CpuId, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_clock_data,
    kvm_cpuid_entry2, kvm_debugregs, kvm_irqchip, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events,
    kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{KvmNestedStateBuffer, VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use super::refused;
use crate::{Error, Result, SavedState};

/// Registers that are written in an order of their own: the time-stamp counter before its deadline (Intel SDM, volume 3, 11.5.4.1).
const TIME_STAMP_COUNTER: u32 = 0x10;
const DEADLINE: u32 = 0x6e0;
/// Memory types (Intel SDM, volume 3, 12.11), which KVM keeps and does not list.
const MEMORY_TYPES: [u32; 28] = [
    0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f, 0x250, 0x258, 0x259,
    0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x2ff,
];
/// Registers of Hyper-V, which is not offered; some of them count by themselves.
const HYPER_V: std::ops::Range<u32> = 0x4000_0000..0x4000_0200;

/// The registers that are part of a vCPU's state: those that KVM lists, and a few more.
pub fn registers(listed: &[u32]) -> Arc<[u32]> {
    let all: BTreeSet<u32> = listed.iter().copied().chain(MEMORY_TYPES).filter(|index| !HYPER_V.contains(index)).collect();
    all.into_iter().collect()
}

/// A vCPU.
#[derive(Serialize, Deserialize)]
struct VcpuState {
    model: Vec<kvm_cpuid_entry2>,
    general: kvm_regs,
    special: kvm_sregs,
    extended: kvm_xsave,
    extended_control: kvm_xcrs,
    debug: kvm_debugregs,
    interrupts: kvm_lapic_state,
    /// Model-specific registers: number and value.
    registers: Vec<(u32, u64)>,
    events: kvm_vcpu_events,
    running: kvm_mp_state,
    /// A guest of the guest's.
    nested: Option<KvmNestedStateBuffer>,
    /// Ticks of the time-stamp counter in a millisecond, where KVM knows them.
    frequency: Option<u32>,
    /// When the counter was read: nanoseconds of the host's clock.
    saved_at: u64,
}

/// Interrupt controllers and KVM's clock.
#[derive(Serialize, Deserialize)]
struct VmState {
    controllers: Vec<kvm_irqchip>,
    /// Nanoseconds of the guest's clock.
    clock: u64,
    /// When it was read: nanoseconds of the host's clock.
    saved_at: u64,
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    // Not rustix's clock: that looks for the kernel's functions the first time it is asked, which a confined thread cannot.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Nanoseconds since then; none where the host's clock has been set back.
fn since(then: u64) -> u64 {
    now().saturating_sub(then)
}

/// A counter of this frequency in kHz, so many nanoseconds later.
fn later(counter: u64, nanoseconds: u64, frequency: u32) -> u64 {
    let ticks = u128::from(nanoseconds) * u128::from(frequency) / 1_000_000;
    // Counters wrap around.
    counter.wrapping_add(ticks as u64)
}

/// The state of a vCPU that is not in the guest.
pub fn save_vcpu(fd: &VcpuFd, registers: &[u32]) -> Result<SavedState> {
    let because = refused("read a vCPU's state");
    let mut nested = KvmNestedStateBuffer::empty();
    // A kernel without nested guests refuses, and then there is none.
    let has_nested = matches!(fd.nested_state(&mut nested), Ok(Some(_)));
    let model = fd.get_cpuid2(KVM_MAX_CPUID_ENTRIES).map_err(&because)?;
    let state = VcpuState {
        // Before all others: it takes up what a halted vCPU was sent (KVM_GET_MP_STATE).
        running: fd.get_mp_state().map_err(&because)?,
        model: model.as_slice().to_vec(),
        general: fd.get_regs().map_err(&because)?,
        special: fd.get_sregs().map_err(&because)?,
        extended: fd.get_xsave().map_err(&because)?,
        extended_control: fd.get_xcrs().map_err(&because)?,
        debug: fd.get_debug_regs().map_err(&because)?,
        interrupts: fd.get_lapic().map_err(&because)?,
        registers: read_registers(fd, registers).map_err(&because)?,
        events: fd.get_vcpu_events().map_err(&because)?,
        nested: has_nested.then_some(nested),
        frequency: fd.get_tsc_khz().ok(),
        saved_at: now(),
    };
    to_value(&state, "a vCPU")
}

/// Makes a vCPU what that one was.
pub fn restore_vcpu(fd: &VcpuFd, state: &SavedState) -> Result<()> {
    let state = VcpuState::deserialize(state).map_err(foreign("a vCPU"))?;
    let because = refused("set a vCPU's state");
    let model = CpuId::from_entries(&state.model).map_err(|_| Error::OtherProcessor("its model has too many parts".to_owned()))?;
    fd.set_cpuid2(&model).map_err(&because)?;
    let frequency = frequency(fd, state.frequency)?;
    fd.set_mp_state(state.running).map_err(&because)?;
    fd.set_sregs(&state.special).map_err(&because)?;
    fd.set_regs(&state.general).map_err(&because)?;
    // SAFETY: an area of this size holds everything that the model can have: what would be larger is not offered to processes that do
    // not ask for it (arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM)).
    unsafe { fd.set_xsave(&state.extended) }.map_err(&because)?;
    fd.set_xcrs(&state.extended_control).map_err(&because)?;
    fd.set_debug_regs(&state.debug).map_err(&because)?;
    // Before the registers: a deadline is forgotten where the timer has no such mode.
    fd.set_lapic(&state.interrupts).map_err(&because)?;
    let mut registers = state.registers;
    for (index, value) in &mut registers {
        match (*index, frequency) {
            (TIME_STAMP_COUNTER, Some(frequency)) => *value = later(*value, since(state.saved_at), frequency),
            // At once: where the host's own counter is not stable, KVM does not know before the guest runs how far this one is, and would
            // have it wait for as long as it had run. Who is called early looks at the time, and sets another deadline.
            (DEADLINE, _) => *value = (*value).min(1),
            _ => {}
        }
    }
    registers.sort_by_key(|(index, _)| match *index {
        TIME_STAMP_COUNTER => 0,
        DEADLINE => 2,
        _ => 1,
    });
    write_registers(fd, &registers)?;
    if let Some(nested) = &state.nested {
        fd.set_nested_state(nested).map_err(&because)?;
    }
    fd.set_vcpu_events(&state.events).map_err(&because)?;
    // Tells the guest that it stood still, so that it does not take that for a hang. One without KVM's clock cannot be told.
    let _ = fd.kvmclock_ctrl();
    Ok(())
}

/// Makes the counter as fast as it was, and returns how fast that is.
fn frequency(fd: &VcpuFd, saved: Option<u32>) -> Result<Option<u32>> {
    let (Some(saved), Ok(here)) = (saved, fd.get_tsc_khz()) else { return Ok(None) };
    if saved != here && fd.set_tsc_khz(saved).is_err() {
        return Err(Error::OtherProcessor(format!("its time-stamp counter ran at {saved} kHz, and this one's runs at {here} kHz")));
    }
    Ok(Some(saved))
}

fn entries(registers: &[(u32, u64)]) -> Vec<kvm_msr_entry> {
    registers.iter().map(|(index, data)| kvm_msr_entry { index: *index, reserved: 0, data: *data }).collect()
}

fn list(entries: &[kvm_msr_entry]) -> Result<Msrs, vmm_sys_util::errno::Error> {
    Msrs::from_entries(entries).map_err(|_| vmm_sys_util::errno::Error::new(libc::E2BIG))
}

/// The registers that there are, with their values. The kernel stops at the first that this processor does not have.
fn read_registers(fd: &VcpuFd, registers: &[u32]) -> Result<Vec<(u32, u64)>, vmm_sys_util::errno::Error> {
    let mut read = Vec::new();
    let mut left = registers;
    while !left.is_empty() {
        let wanted: Vec<(u32, u64)> = left.iter().map(|index| (*index, 0)).collect();
        let mut msrs = list(&entries(&wanted))?;
        let count = fd.get_msrs(&mut msrs)?;
        read.extend(msrs.as_slice().iter().take(count).map(|entry| (entry.index, entry.data)));
        left = left.get(count + 1..).unwrap_or_default();
    }
    Ok(read)
}

/// Sets registers. One that cannot be set must have that value anyway.
fn write_registers(fd: &VcpuFd, registers: &[(u32, u64)]) -> Result<()> {
    let because = refused("set a vCPU's registers");
    let mut left = registers;
    while !left.is_empty() {
        let count = fd.set_msrs(&list(&entries(left)).map_err(&because)?).map_err(&because)?;
        if let Some((index, value)) = left.get(count)
            && read_registers(fd, &[*index]).map_err(&because)? != [(*index, *value)]
        {
            return Err(Error::OtherProcessor(format!("its register {index:#x} was {value:#x}, which this one's cannot be")));
        }
        left = left.get(count + 1..).unwrap_or_default();
    }
    Ok(())
}

const CONTROLLERS: [u32; 3] = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];

/// The state of interrupt controllers and clock.
pub fn save_vm(fd: &VmFd) -> Result<SavedState> {
    let mut controllers = Vec::new();
    for chip_id in CONTROLLERS {
        let mut controller = kvm_irqchip { chip_id, ..Default::default() };
        fd.get_irqchip(&mut controller).map_err(refused("read the interrupt controllers' state"))?;
        controllers.push(controller);
    }
    let clock = fd.get_clock().map_err(refused("read the machine's clock"))?.clock;
    to_value(&VmState { controllers, clock, saved_at: now() }, "the interrupt controllers")
}

/// Makes interrupt controllers and clock what those were.
pub fn restore_vm(fd: &VmFd, state: &SavedState) -> Result<()> {
    let state = VmState::deserialize(state).map_err(foreign("the interrupt controllers"))?;
    for controller in &state.controllers {
        fd.set_irqchip(controller).map_err(refused("set the interrupt controllers' state"))?;
    }
    let clock = kvm_clock_data { clock: state.clock.saturating_add(since(state.saved_at)), ..Default::default() };
    fd.set_clock(&clock).map_err(refused("set the machine's clock"))
}

fn foreign(part: &'static str) -> impl Fn(serde_json::Error) -> Error {
    move |source| Error::ForeignState { part, source }
}

fn to_value(state: &impl Serialize, part: &'static str) -> Result<SavedState> {
    serde_json::to_value(state).map_err(foreign(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_on_as_time_does() {
        assert_eq!(later(1000, 1_000_000_000, 3_000_000), 3_000_001_000);
        assert_eq!(later(u64::MAX, 1_000_000, 1), 0);
        // Ten years at 5 GHz are no overflow.
        assert!(later(0, 315_360_000_000_000_000, 5_000_000) > 1 << 60);
        assert_eq!(since(u64::MAX), 0);
        assert!(since(0) > 1_600_000_000_000_000_000);
    }

    #[test]
    fn what_is_listed_twice_is_read_once_and_hyper_v_never() {
        let all = registers(&[0x10, 0x2ff, 0x4000_0020, 0xc000_0080]);
        assert_eq!(all.iter().filter(|index| **index == 0x2ff).count(), 1);
        assert!(!all.contains(&0x4000_0020) && all.contains(&0xc000_0080));
    }

    #[test]
    fn a_state_of_nothing_is_refused() {
        for value in [serde_json::json!(null), serde_json::json!({}), serde_json::json!({ "controllers": [[1, 2]], "clock": -1 })] {
            assert!(VcpuState::deserialize(&value).is_err() && VmState::deserialize(&value).is_err());
        }
    }
}
