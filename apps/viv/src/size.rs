//! Sizes as people write them.

use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    /// `64GiB`, `64G`, `1.5 TiB`, `512MB`. K, M, G, T and KiB, MiB, GiB, TiB are powers of 1024; KB, MB, GB, TB are powers of 1000. A number
    /// without a unit is refused, because people mean different things by it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" => return Err(format!("a size needs a unit: {text}MiB or {text}GiB")),
            "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            other => return Err(format!("`{other}` is not a unit; use B, KiB, MiB, GiB or TiB")),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits =
            |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>().map_err(|_| format!("`{number}` is not a number")) };
        if whole.is_empty() && fraction.is_empty() {
            return Err("a size begins with a number, such as 64GiB".to_owned());
        }
        if fraction.len() > 9 {
            return Err(format!("`{number}` has too many digits"));
        }
        let below = u128::from(digits(fraction)?) * u128::from(scale) / 10u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let bytes = u128::from(digits(whole)?) * u128::from(scale) + below;
        u64::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes <= i64::MAX.unsigned_abs())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        for (text, bytes) in [
            ("64GiB", 64 << 30),
            ("64g", 64 << 30),
            ("1.5 MiB", 3 << 19),
            ("512MB", 512_000_000),
            ("2T", 2 << 40),
            ("100 B", 100),
            (".5K", 512),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for (text, reason) in [
            ("4096", "needs a unit"),
            ("GiB", "begins with a number"),
            ("1.2.3G", "not a number"),
            ("12parsec", "not a unit"),
            ("99999999999999T", "too large"),
            ("-4G", "not a unit"),
        ] {
            let said = text.parse::<Size>().unwrap_err();
            assert!(said.contains(reason), "{text}: {said}");
        }
    }
}
