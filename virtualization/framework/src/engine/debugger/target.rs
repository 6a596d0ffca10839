//! The guest, as gdbstub wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use gdbstub::common::{Signal, Tid};
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking, MultiThreadSchedulerLockingOps,
    MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint, SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use gdbstub_arch::x86::X86_64_SSE;
use gdbstub_arch::x86::reg::X86_64CoreRegs;
use hv::vm_memory::{Bytes, GuestAddress};
use hv::{DebugExit, Debugging, Event, HARDWARE_BREAKPOINTS, HardwareBreakpoint, Registers, Vcpu, Watch};

use super::Debuggee;

/// `int3`.
const BREAKPOINT: u8 = 0xcc;
/// Bytes of the smallest page.
const PAGE: u64 = 4096;

/// A guest that is debugged.
pub struct Debugged {
    guest: Debuggee,
    told: Event,
    descriptor: OwnedFd,
    /// By guest-virtual address: the guest-physical one, and the byte that was there.
    software: BTreeMap<u64, (u64, u8)>,
    hardware: Vec<HardwareBreakpoint>,
    /// What is to become of each vCPU at the next resume: whether it makes a step. Those that are not named go on, unless they are locked.
    actions: BTreeMap<usize, bool>,
    is_locked: bool,
    /// Those that are let run.
    released: BTreeSet<usize>,
}

/// What became of vCPUs that were let run.
pub enum Stop {
    /// Nothing yet.
    None,
    /// One has stopped, and all others with it.
    Some(MultiThreadStopReason<u64>),
    /// The guest is gone.
    Gone,
}

/// Threads are numbered from 1.
fn thread(index: usize) -> Tid {
    Tid::MIN.saturating_add(index)
}

fn index(thread: Tid) -> usize {
    thread.get() - 1
}

impl Debugged {
    /// Makes the guest stand still.
    pub fn attach(guest: Debuggee, told: Event, descriptor: OwnedFd) -> Self {
        guest.vcpus.attach(told.clone());
        let (software, hardware, actions, released) = (BTreeMap::new(), Vec::new(), BTreeMap::new(), BTreeSet::new());
        Self { guest, told, descriptor, software, hardware, actions, is_locked: false, released }
    }

    /// What to wait with while it runs: news of the guest, and what the debugger says.
    pub fn waits(&self) -> (&Event, &OwnedFd) {
        (&self.told, &self.descriptor)
    }

    /// What has happened to those that were let run.
    pub fn stop(&mut self) -> Result<Stop, String> {
        self.told.take();
        let Some(stops) = self.guest.vcpus.stops() else { return Ok(Stop::Gone) };
        // Those that came second stand where they would stop again.
        let Some((index, why)) = stops.into_iter().next() else { return Ok(Stop::None) };
        self.guest.vcpus.stop();
        let tid = thread(index);
        let reason = match why {
            DebugExit::Software(address) if self.software.contains_key(&address) => MultiThreadStopReason::SwBreak(tid),
            DebugExit::Software(_) => {
                // The guest has its own, in programs that are debugged in it and in its kernel.
                let debugging = Debugging { returns_breakpoint: true, ..self.debugging(index) };
                self.with(index, |vcpu| vcpu.debug(&debugging))?;
                self.guest.vcpus.release(self.released.clone());
                return Ok(Stop::None);
            }
            DebugExit::Hardware(number) => match self.hardware.get(number) {
                Some(HardwareBreakpoint { address, watch: Watch::Write(_) }) => {
                    MultiThreadStopReason::Watch { tid, kind: WatchKind::Write, addr: *address }
                }
                Some(HardwareBreakpoint { address, watch: Watch::Access(_) }) => {
                    MultiThreadStopReason::Watch { tid, kind: WatchKind::ReadWrite, addr: *address }
                }
                Some(_) | None => MultiThreadStopReason::HwBreak(tid),
            },
            DebugExit::Step => MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGTRAP },
        };
        Ok(Stop::Some(reason))
    }

    /// Makes them stand still; the thread to be shown.
    pub fn interrupt(&mut self) -> Tid {
        self.guest.vcpus.stop();
        Tid::MIN
    }

    fn debugging(&self, index: usize) -> Debugging {
        Debugging {
            software_breakpoints: true,
            hardware_breakpoints: self.hardware.clone(),
            steps: self.actions.get(&index).copied().unwrap_or(false),
            returns_breakpoint: false,
        }
    }

    fn with<T>(&self, index: usize, act: impl FnOnce(&mut dyn Vcpu) -> hv::Result<T>) -> Result<T, String> {
        let done = self.guest.vcpus.with(index, act).ok_or_else(|| format!("vCPU {index} has ended"))?;
        done.map_err(|error| error.to_string())
    }

    fn translate(&self, index: usize, address: u64) -> Option<u64> {
        self.with(index, |vcpu| vcpu.translate(address)).ok().flatten()
    }

    /// Carries something out page by page, with guest-physical addresses; how many bytes could be.
    fn by_page(&self, index: usize, start: u64, length: usize, mut act: impl FnMut(u64, std::ops::Range<usize>) -> bool) -> usize {
        let mut done = 0;
        while done < length {
            let Some(address) = start.checked_add(done as u64) else { break };
            let Some(physical) = self.translate(index, address) else { break };
            // Less than a page.
            let count = (length - done).min((PAGE - address % PAGE) as usize);
            if !act(physical, done..done + count) {
                break;
            }
            done += count;
        }
        done
    }
}

impl Drop for Debugged {
    fn drop(&mut self) {
        self.guest.vcpus.stop();
        for (physical, byte) in self.software.values() {
            // It was written there before.
            let _ = self.guest.memory.write_obj(*byte, GuestAddress(*physical));
        }
        for index in 0..self.guest.vcpus.count() {
            // One that has ended needs nothing any longer.
            let _ = self.with(index, |vcpu| vcpu.debug(&Debugging::default()));
        }
        self.guest.vcpus.detach();
    }
}

impl Target for Debugged {
    type Arch = X86_64_SSE;
    type Error = String;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Debugged {
    fn read_registers(&mut self, registers: &mut X86_64CoreRegs, tid: Tid) -> TargetResult<(), Self> {
        let vcpu = self.with(index(tid), |vcpu| vcpu.registers()).map_err(TargetError::Fatal)?;
        registers.regs = vcpu.general;
        // The upper half of the flags has none.
        (registers.rip, registers.eflags) = (vcpu.instruction, vcpu.flags as u32);
        let s = &mut registers.segments;
        [s.cs, s.ss, s.ds, s.es, s.fs, s.gs] = vcpu.segments.map(u32::from);
        let f = &mut registers.fpu;
        [f.fctrl, f.fstat, f.ftag] = vcpu.x87_words.map(u32::from);
        (registers.st, registers.xmm, registers.mxcsr) = (vcpu.x87, vcpu.xmm, vcpu.sse);
        Ok(())
    }

    fn write_registers(&mut self, registers: &X86_64CoreRegs, tid: Tid) -> TargetResult<(), Self> {
        let X86_64CoreRegs { regs, eflags, rip, fpu, st, xmm, mxcsr, .. } = registers.clone();
        // These words have 16 bits.
        let x87_words = [fpu.fctrl as u16, fpu.fstat as u16, fpu.ftag as u16];
        let registers =
            Registers { general: regs, instruction: rip, flags: eflags.into(), segments: [0; 6], x87: st, x87_words, xmm, sse: mxcsr };
        self.with(index(tid), |vcpu| vcpu.set_registers(&registers)).map_err(TargetError::Fatal)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let length = data.len();
        let read = self.by_page(index(tid), start, length, |physical, range| {
            data.get_mut(range).is_some_and(|part| self.guest.memory.read_slice(part, GuestAddress(physical)).is_ok())
        });
        // What is read is what the guest has there.
        for (address, (_, byte)) in self.software.range(start..) {
            let Some(place) = usize::try_from(address - start).ok().filter(|place| *place < read) else { break };
            data[place] = *byte;
        }
        if read == 0 && length > 0 { Err(TargetError::NonFatal) } else { Ok(read) }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let written = self.by_page(index(tid), start, data.len(), |physical, range| {
            data.get(range).is_some_and(|part| self.guest.memory.write_slice(part, GuestAddress(physical)).is_ok())
        });
        // Breakpoints stay.
        for (address, (physical, byte)) in self.software.range_mut(start..) {
            let Some(place) = usize::try_from(*address - start).ok().filter(|place| *place < written) else { break };
            *byte = data[place];
            let _ = self.guest.memory.write_obj(BREAKPOINT, GuestAddress(*physical));
        }
        if written == data.len() { Ok(()) } else { Err(TargetError::NonFatal) }
    }

    fn list_active_threads(&mut self, register: &mut dyn FnMut(Tid)) -> Result<(), Self::Error> {
        (0..self.guest.vcpus.count()).for_each(|index| register(thread(index)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl ThreadExtraInfo for Debugged {
    fn thread_extra_info(&self, tid: Tid, room: &mut [u8]) -> Result<usize, Self::Error> {
        let name = format!("vCPU {}", index(tid));
        let count = name.len().min(room.len());
        room[..count].copy_from_slice(&name.as_bytes()[..count]);
        Ok(count)
    }
}

impl MultiThreadResume for Debugged {
    fn resume(&mut self) -> Result<(), Self::Error> {
        let all = 0..self.guest.vcpus.count();
        self.released = all.filter(|index| !self.is_locked || self.actions.contains_key(index)).collect();
        for index in &self.released {
            let debugging = self.debugging(*index);
            self.with(*index, |vcpu| vcpu.debug(&debugging))?;
        }
        self.guest.vcpus.release(self.released.clone());
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Self::Error> {
        self.actions.clear();
        self.is_locked = false;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Self::Error> {
        self.actions.insert(index(tid), false);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for Debugged {
    fn set_resume_action_step(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), Self::Error> {
        self.actions.insert(index(tid), true);
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for Debugged {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Self::Error> {
        self.is_locked = true;
        Ok(())
    }
}

impl Breakpoints for Debugged {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Debugged {
    fn add_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        if self.software.contains_key(&address) {
            return Ok(true);
        }
        // As the first vCPU sees it that sees anything there: kernels are in the same place for all of them.
        let physical = (0..self.guest.vcpus.count()).find_map(|index| self.translate(index, address));
        let Some(physical) = physical else { return Ok(false) };
        let place = GuestAddress(physical);
        let memory = &self.guest.memory;
        let Ok(byte) = memory.read_obj::<u8>(place) else { return Ok(false) };
        let is_there = memory.write_obj(BREAKPOINT, place).is_ok();
        if is_there {
            self.software.insert(address, (physical, byte));
        }
        Ok(is_there)
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        let Some((physical, byte)) = self.software.remove(&address) else { return Ok(false) };
        Ok(self.guest.memory.write_obj(byte, GuestAddress(physical)).is_ok())
    }
}

impl Debugged {
    fn add(&mut self, breakpoint: HardwareBreakpoint) -> bool {
        let has_room = self.hardware.len() < HARDWARE_BREAKPOINTS;
        if has_room {
            self.hardware.push(breakpoint);
        }
        has_room
    }

    fn remove(&mut self, breakpoint: HardwareBreakpoint) -> bool {
        let place = self.hardware.iter().position(|other| *other == breakpoint);
        place.map(|place| self.hardware.remove(place)).is_some()
    }
}

impl HwBreakpoint for Debugged {
    fn add_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.add(HardwareBreakpoint { address, watch: Watch::Execute }))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.remove(HardwareBreakpoint { address, watch: Watch::Execute }))
    }
}

/// What the processor can watch; reads alone it cannot.
fn watch(address: u64, length: u64, kind: WatchKind) -> Option<HardwareBreakpoint> {
    let fits = matches!(length, 1 | 2 | 4 | 8) && address.is_multiple_of(length);
    let length = u8::try_from(length).ok().filter(|_| fits)?;
    let watch = if kind == WatchKind::Write { Watch::Write(length) } else { Watch::Access(length) };
    Some(HardwareBreakpoint { address, watch })
}

impl HwWatchpoint for Debugged {
    fn add_hw_watchpoint(&mut self, address: u64, length: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(watch(address, length, kind).is_some_and(|breakpoint| self.add(breakpoint)))
    }

    fn remove_hw_watchpoint(&mut self, address: u64, length: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        Ok(watch(address, length, kind).is_some_and(|breakpoint| self.remove(breakpoint)))
    }
}
