//! The platform: what kind of computer the guest sees.

use std::fmt;

use super::Problems;
use crate::engine;

/// The platform of a machine. Apple: `VZPlatformConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Platform {
    /// A computer for any operating system of the host's architecture.
    Generic(GenericPlatform),
    /// A Mac, for macOS guests. On a Mac with Apple silicon only. Apple: `VZMacPlatformConfiguration`.
    #[cfg(target_os = "macos")]
    Mac(engine::mac::MacPlatform),
}

impl Default for Platform {
    fn default() -> Self {
        Self::Generic(GenericPlatform::default())
    }
}

impl From<GenericPlatform> for Platform {
    fn from(platform: GenericPlatform) -> Self {
        Self::Generic(platform)
    }
}

/// A computer for any operating system of the host's architecture. Apple: `VZGenericPlatformConfiguration`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenericPlatform {
    /// What tells this machine from others; by default a new one each time, so keep it with the machine's disks.
    pub machine_identifier: MachineIdentifier,
    /// Whether the guest can run virtual machines itself; by default it cannot. Such a guest cannot be saved on KVM.
    pub nested_virtualization_enabled: bool,
}

impl GenericPlatform {
    /// Whether this computer's guests can run virtual machines themselves: on KVM, whether its module was loaded with `nested=1` on a processor
    /// that can.
    pub fn is_nested_virtualization_supported() -> bool {
        engine::has_nesting()
    }

    pub(super) fn validate(&self, problems: &mut Problems<'_>) {
        let mut nested = problems.field("nested_virtualization_enabled");
        nested.require(!self.nested_virtualization_enabled || Self::is_nested_virtualization_supported(), || {
            "This computer's guests cannot run virtual machines (on Linux: kvm_intel or kvm_amd loaded with nested=1)".to_owned()
        });
    }
}

/// What tells one machine from another, for guests and for saved states: opaque bytes, to be kept with the machine. On KVM they are a UUID
/// (RFC 9562), which the guest finds as its system's UUID in SMBIOS tables; Apple's are others. Apple: `VZGenericMachineIdentifier`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MachineIdentifier(Vec<u8>);

impl MachineIdentifier {
    /// A new random one (on KVM a UUID of version 4).
    ///
    /// # Panics
    /// Where the operating system has no random numbers, which it always has.
    pub fn random() -> Self {
        Self(engine::new_machine_identifier())
    }

    /// From the bytes that [`Self::data_representation`] gave; `None` where they are none of this engine's.
    pub fn from_data_representation(data: &[u8]) -> Option<Self> {
        engine::is_machine_identifier(data).then(|| Self(data.to_vec()))
    }

    /// The bytes to keep with the machine.
    pub fn data_representation(&self) -> &[u8] {
        &self.0
    }
}

impl Default for MachineIdentifier {
    fn default() -> Self {
        Self::random()
    }
}

impl fmt::Display for MachineIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if self.0.len() == 16 && matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MachineIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineIdentifier({self})")
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_kept_as_bytes() {
        let identifier = MachineIdentifier::random();
        assert_ne!(identifier, MachineIdentifier::random());
        assert_eq!(MachineIdentifier::from_data_representation(identifier.data_representation()), Some(identifier.clone()));
        assert_eq!(MachineIdentifier::from_data_representation(&[0; 15]), None);
        let text = identifier.to_string();
        assert_eq!((text.len(), &text[14..15]), (36, "4"));
    }
}
