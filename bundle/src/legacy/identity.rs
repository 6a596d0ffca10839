//! Identities for what has none in a legacy file.
//!
//! A machine is migrated each time it is opened, until it is first saved. Random identities would differ each time: the registry would forget
//! inserted media, and the guest would find itself in a new computer at every start. So they follow from the file and the machine's name.

use std::fmt::{self, Write};

use plist::Dictionary;
use uuid::{Builder, Uuid};

/// Where identities follow from: a FNV-1a hash of the legacy file and the machine's name.
#[derive(Clone, Copy)]
pub(crate) struct Identity(u128);

impl Identity {
    pub fn new(root: &Dictionary, name: &str) -> Self {
        let mut identity = Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        // Writing here cannot fail, and a value that cannot be formatted would be one reason less to tell two files apart.
        let _ = write!(identity, "{name:?} {root:?}");
        identity
    }

    /// The UUID of `what`, as random as the file.
    pub fn uuid(self, what: impl fmt::Display) -> Uuid {
        let mut identity = self;
        let _ = write!(identity, " {what}");
        // A few rounds more, so that the last characters reach all bytes.
        let _ = identity.write_str("................");
        Builder::from_random_bytes(identity.0.to_be_bytes()).into_uuid()
    }

    /// The UUID of `what` as drives are identified.
    pub fn identifier(self, what: impl fmt::Display) -> String {
        self.uuid(what).hyphenated().to_string().to_uppercase()
    }

    /// The MAC address of `what`: unicast and locally administered, in capitals.
    pub fn mac_address(self, what: impl fmt::Display) -> String {
        let [.., a, b, c, d, e, f] = self.uuid(what).into_bytes();
        let first = (a & 0xfc) | 0x02;
        format!("{first:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{f:02X}")
    }
}

impl Write for Identity {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use plist::Value;

    use super::*;

    #[test]
    fn identities_follow_from_file_and_name() {
        let root = |memory: i64| Dictionary::from_iter([("Memory", Value::from(memory))]);
        let identity = Identity::new(&root(512), "A");
        assert_eq!(identity.uuid("x"), Identity::new(&root(512), "A").uuid("x"));
        assert_eq!(identity.uuid("x").get_version_num(), 4);
        for other in [identity.uuid("y"), Identity::new(&root(512), "B").uuid("x"), Identity::new(&root(513), "A").uuid("x")] {
            assert_ne!(identity.uuid("x"), other);
        }
        assert_ne!(identity.mac_address("0"), identity.mac_address("1"));
        assert!(identity.mac_address("0").starts_with(|digit: char| digit.is_ascii_hexdigit()));
        assert_eq!(u8::from_str_radix(&identity.mac_address("0")[..2], 16).unwrap() & 3, 2);
    }
}
