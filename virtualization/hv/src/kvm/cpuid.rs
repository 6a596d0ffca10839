//! The processor model: the host's, with the machine's own topology (Intel SDM, CPUID; AMD APM volume 3, appendix E).

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

use crate::Topology;

/// CPUID 1, ECX: Intel's virtualization, and more.
const VMX: u32 = 1 << 5;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// CPUID 0x8000_0001, ECX: AMD's virtualization, which leaf 0x8000_000a describes.
const SVM: u32 = 1 << 2;
/// CPUID 1, EDX: the package has room for several processors.
const SEVERAL: u32 = 1 << 28;

/// What this vCPU says about itself: all vCPUs are cores of one package, each with one thread.
pub fn model(host: &CpuId, topology: Topology) -> CpuId {
    let mut model = host.clone();
    for entry in model.as_mut_slice() {
        adapt(entry, topology);
    }
    model
}

/// Whether a processor can run virtual machines.
pub fn has_nesting(host: &CpuId) -> bool {
    host.as_slice().iter().any(|entry| match entry.function {
        0x1 => entry.ecx & VMX != 0,
        0x8000_0001 => entry.ecx & SVM != 0,
        _ => false,
    })
}

fn adapt(entry: &mut kvm_cpuid_entry2, Topology { index, count, is_nested }: Topology) {
    let (index, count) = (u32::from(index), u32::from(count.max(1)));
    // Bits of an APIC number that tell cores apart.
    let core_bits = count.next_power_of_two().trailing_zeros();
    match (entry.function, entry.index) {
        (0x1, _) => {
            entry.ecx |= TSC_DEADLINE | HYPERVISOR;
            entry.ecx &= !if is_nested { 0 } else { VMX };
            entry.ebx = entry.ebx & 0x0000_ffff | index << 24 | count << 16;
            entry.edx = if count > 1 { entry.edx | SEVERAL } else { entry.edx & !SEVERAL };
        }
        // Which caches are shared by whom: the first two levels by nobody, the others by all.
        (0x4, _) => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level > 2 { (1 << core_bits) - 1 } else { 0 };
            entry.eax = entry.eax & 0x3fff | ((1 << core_bits) - 1) << 26 | sharing << 14;
        }
        // Topology: threads (1), then cores (2).
        (0xb | 0x1f, level) => {
            let (shift, processors, kind) = match level {
                0 => (0, 1, 1),
                1 => (core_bits, count, 2),
                _ => (0, 0, 0),
            };
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (shift, processors, kind << 8 | level, index);
        }
        (0x8000_0001, _) if !is_nested => entry.ecx &= !SVM,
        (0x8000_000a, _) if !is_nested => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        (0x8000_0008, _) => entry.ecx = entry.ecx & !0xf0ff | core_bits << 12 | (count - 1),
        (0x8000_001d, _) => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level > 2 { count - 1 } else { 0 };
            entry.eax = entry.eax & !(0xfff << 14) | sharing << 14;
        }
        (0x8000_001e, _) => (entry.eax, entry.ebx, entry.ecx) = (index, index, 0),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(function: u32, level: u32, ebx: u32, topology: Topology) -> kvm_cpuid_entry2 {
        let mut entry = kvm_cpuid_entry2 { function, index: level, ebx, ..Default::default() };
        adapt(&mut entry, topology);
        entry
    }

    #[test]
    fn every_vcpu_is_a_core_of_one_package() {
        let third = Topology { index: 2, count: 6, is_nested: false };
        assert_eq!(adapted(1, 0, 0xaa00_1234, third).ebx, 2 << 24 | 6 << 16 | 0x1234);
        let cores = adapted(0xb, 1, 0, third);
        assert_eq!((cores.eax, cores.ebx, cores.ecx, cores.edx), (3, 6, 2 << 8 | 1, 2));
        assert_eq!(adapted(0xb, 0, 0, third).ebx, 1);
        assert_eq!(adapted(0x8000_0008, 0, 0, third).ecx, 3 << 12 | 5);
        let alone = Topology { index: 0, count: 1, is_nested: false };
        assert_eq!(adapted(1, 0, 0, alone).edx & SEVERAL, 0);
    }

    #[test]
    fn a_guest_has_virtual_machines_of_its_own_only_where_it_is_to() {
        for is_nested in [false, true] {
            let topology = Topology { index: 0, count: 1, is_nested };
            let all = [(0x1, VMX), (0x8000_0001, SVM), (0x8000_000a, 0)].map(|(function, ecx)| {
                let mut entry = kvm_cpuid_entry2 { function, ecx, eax: 1, ..Default::default() };
                adapt(&mut entry, topology);
                entry
            });
            assert_eq!(has_nesting(&CpuId::from_entries(&all).unwrap()), is_nested);
            assert_eq!(all[2].eax, u32::from(is_nested));
        }
    }
}
