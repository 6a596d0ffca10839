//! The platform: what kind of computer the guest sees.

use std::fmt;

/// The platform of a machine. Apple: `VZPlatformConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Platform {
    /// A computer for any operating system of the host's architecture.
    Generic(GenericPlatform),
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
}

/// What tells one machine from another, for guests and for saved states: a UUID (RFC 9562), shown to the guest where firmware tables have a
/// place for it. Apple: `VZGenericMachineIdentifier`, whose representation is another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MachineIdentifier([u8; 16]);

impl MachineIdentifier {
    /// A new random one (UUID version 4).
    ///
    /// # Panics
    /// Where the operating system has no random numbers, which Linux always has.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// From the bytes that [`Self::data_representation`] gave; `None` where they are not 16.
    pub fn from_data_representation(data: &[u8]) -> Option<Self> {
        data.try_into().ok().map(Self)
    }

    /// The bytes to keep with the machine.
    pub fn data_representation(&self) -> [u8; 16] {
        self.0
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
            if matches!(index, 4 | 6 | 8 | 10) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_kept_as_bytes() {
        let identifier = MachineIdentifier::random();
        assert_ne!(identifier, MachineIdentifier::random());
        assert_eq!(MachineIdentifier::from_data_representation(&identifier.data_representation()), Some(identifier));
        assert_eq!(MachineIdentifier::from_data_representation(&[0; 15]), None);
        let text = identifier.to_string();
        assert_eq!((text.len(), &text[14..15]), (36, "4"));
    }
}
