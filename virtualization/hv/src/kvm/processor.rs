//! What guests can know of a processor, so that one that was saved goes on only where it finds it again (Intel SDM, CPUID; AMD APM volume
//! 3, appendix E).

use std::collections::BTreeMap;

use kvm_bindings::kvm_cpuid_entry2;
use serde::{Deserialize, Serialize};

/// Leaves of features, one bit each: leaf, subleaf, and which of EAX, EBX, ECX and EDX. (Those of leaf 0xd say what XSAVE keeps.)
const FEATURES: &[(u32, u32, &[usize])] = &[
    (0x1, 0, &[2, 3]),
    (0x7, 0, &[1, 2, 3]),
    (0x7, 1, &[0, 3]),
    (0xd, 0, &[0, 3]),
    (0xd, 1, &[0]),
    (0x4000_0001, 0, &[0]),
    (0x8000_0001, 0, &[2, 3]),
    (0x8000_0007, 0, &[3]),
    (0x8000_0008, 0, &[1]),
];

/// Bits of leaf 1 that follow what the guest does: OSXSAVE.
const CHANGING: (u32, usize, u32) = (0x1, 2, 1 << 27);

/// A processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processor {
    vendor: String,
    family: u32,
    model: u32,
    /// Bits by leaf, subleaf and register.
    features: BTreeMap<String, u32>,
}

impl Processor {
    /// The processor that these leaves describe.
    pub fn of(leaves: &[kvm_cpuid_entry2]) -> Self {
        let registers = |leaf: u32, subleaf: u32| {
            let entry = leaves.iter().find(|entry| (entry.function, entry.index) == (leaf, subleaf));
            entry.map_or([0; 4], |entry| [entry.eax, entry.ebx, entry.ecx, entry.edx])
        };
        let [_, b, c, d] = registers(0, 0);
        let vendor: Vec<u8> = [b, d, c].into_iter().flat_map(u32::to_le_bytes).collect();
        let [signature, ..] = registers(1, 0);
        let (family, extended) = (signature >> 8 & 0xf, signature >> 20 & 0xff);
        let mut features = BTreeMap::new();
        for (leaf, subleaf, places) in FEATURES {
            for place in *places {
                let mut bits = registers(*leaf, *subleaf)[*place];
                if (*leaf, *place) == (CHANGING.0, CHANGING.1) {
                    bits &= !CHANGING.2;
                }
                features.insert(format!("{leaf:#x}.{subleaf} {}", ["EAX", "EBX", "ECX", "EDX"][*place]), bits);
            }
        }
        Self {
            vendor: String::from_utf8_lossy(&vendor).into_owned(),
            family: if family == 0xf { family + extended } else { family },
            model: signature >> 4 & 0xf | signature >> 12 & 0xf0,
            features,
        }
    }

    /// Whether this one has everything that the other one has; if not, what differs.
    pub fn require_all_of(&self, other: &Self) -> Result<(), String> {
        let named = |one: &Self| format!("{}, family {}, model {}", one.vendor, one.family, one.model);
        if (&self.vendor, self.family, self.model) != (&other.vendor, other.family, other.model) {
            return Err(format!("it was {}, and this one is {}", named(other), named(self)));
        }
        let missing = other.features.iter().filter_map(|(place, bits)| {
            let missing = bits & !self.features.get(place).copied().unwrap_or(0);
            (missing != 0).then(|| format!("{place} bits {missing:#x}"))
        });
        let missing: Vec<String> = missing.collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("it had features that this one lacks (CPUID {})", missing.join(", "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(ecx: u32) -> Vec<kvm_cpuid_entry2> {
        // "AuthenticAMD", family 0x19, model 0x21.
        let vendor = kvm_cpuid_entry2 { ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163, ..Default::default() };
        let features = kvm_cpuid_entry2 { function: 1, eax: 0x00a2_0f10, ebx: 0x0300_0800, ecx, ..Default::default() };
        vec![vendor, features]
    }

    #[test]
    fn a_guest_goes_on_where_nothing_is_missing() {
        let one = Processor::of(&leaves(0b111));
        assert_eq!((one.vendor.as_str(), one.family, one.model), ("AuthenticAMD", 0x19, 0x21));
        let kept: Processor = serde_json::from_value(serde_json::json!(one)).unwrap();
        assert_eq!(kept, one);
        assert_eq!(Processor::of(&leaves(0b1111)).require_all_of(&kept), Ok(()));
        // Whether the guest has switched XSAVE on is no feature.
        assert_eq!(one.require_all_of(&Processor::of(&leaves(0b111 | CHANGING.2))), Ok(()));
        let error = Processor::of(&leaves(0b001)).require_all_of(&kept).unwrap_err();
        assert!(error.contains("0x1.0 ECX bits 0x6"), "{error}");
        let mut other = leaves(0b111);
        other[0].ebx = 0;
        let error = Processor::of(&other).require_all_of(&kept).unwrap_err();
        assert!(error.contains("AuthenticAMD, family 25, model 33"), "{error}");
    }
}
