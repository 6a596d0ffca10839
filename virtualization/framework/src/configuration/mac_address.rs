//! MAC addresses.

use std::fmt;
use std::str::FromStr;

/// The address of a network card (IEEE 802, EUI-48). Apple: `VZMACAddress`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// From its six bytes, in the order in which they are sent.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// A random address of one station, administered locally.
    ///
    /// # Panics
    /// Where the operating system has no random numbers, which Linux always has.
    pub fn random_locally_administered() -> Self {
        let mut bytes = [0; 6];
        getrandom::fill(&mut bytes).expect("the operating system has random numbers");
        bytes[0] = bytes[0] & 0xfc | 0x02;
        Self(bytes)
    }

    /// Its six bytes.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// Whether it is the address of every station.
    pub fn is_broadcast(self) -> bool {
        self.0 == [0xff; 6]
    }

    /// Whether it is the address of several stations.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 0x01 != 0
    }

    /// Whether it is the address of one station.
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast()
    }

    /// Whether it was chosen by whoever runs the network.
    pub const fn is_locally_administered(self) -> bool {
        self.0[0] & 0x02 != 0
    }

    /// Whether it was given by the maker.
    pub const fn is_universally_administered(self) -> bool {
        !self.is_locally_administered()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacAddress({self})")
    }
}

/// The text is not six pairs of hexadecimal digits with colons between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Not a MAC address such as 52:54:00:12:34:56: {0}")]
pub struct ParseMacAddressError(String);

impl FromStr for MacAddress {
    type Err = ParseMacAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let value = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
            *byte = value.ok_or_else(|| ParseMacAddressError(text.to_owned()))?;
        }
        if pairs.next().is_some() { Err(ParseMacAddressError(text.to_owned())) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_says_whose_it_is() {
        let broadcast: MacAddress = "FF:ff:ff:ff:ff:ff".parse().unwrap();
        assert!(broadcast.is_broadcast() && broadcast.is_multicast() && !broadcast.is_unicast());
        let random = MacAddress::random_locally_administered();
        assert!(random.is_unicast() && random.is_locally_administered());
        assert!("00:1b:63:00:00:01".parse::<MacAddress>().unwrap().is_universally_administered());
        for text in ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:5", "52:54:00:12:34:+5", "52-54-00-12-34-56"] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(bytes: [u8; 6]) {
            let address = MacAddress::new(bytes);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<MacAddress>();
        }
    }
}
