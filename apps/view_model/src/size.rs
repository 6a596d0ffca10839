//! Sizes as people read and write them.

use crate::{Message, texts};

/// A number of bytes: `512 MiB`, `1.5 GiB`. One digit after the point, and none where it would be 0.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    // In tenths, rounded down: a disk is never said to hold more than it does.
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, _) if whole >= 100 => format!("{whole} {name}"),
        (whole, tenth) => format!("{whole}.{tenth} {name}"),
    }
}

/// A number of MiB.
pub fn mebibytes(mib: u64) -> String {
    bytes(mib.saturating_mul(1 << 20))
}

/// A number of bytes as a person types it: `64 GiB`, `64g`, `1.5 TiB`, `512MB`. The letters K, M, G, T and `KiB` to `TiB` are powers of 1024,
/// `KB` to `TB` powers of 1000.
///
/// # Errors
/// What to write instead. A number without a unit is refused: people mean different things by it.
pub fn read_bytes(text: &str) -> Result<u64, Message> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let wrong = || texts::SIZE_WRONG.with([&text]);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" if number.is_empty() => return Err(texts::SIZE_EMPTY.into()),
        "" => return Err(texts::SIZE_UNIT.with([&text, &text])),
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let number = number.replace(',', ".");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let power = u32::try_from(fraction.len()).ok().filter(|length| *length <= 9).ok_or_else(wrong)?;
    if whole.is_empty() && fraction.is_empty() {
        return Err(wrong());
    }
    let (whole, fraction) = (digits(whole).ok_or_else(wrong)?, digits(fraction).ok_or_else(wrong)?);
    let bytes = u128::from(whole) * u128::from(scale) + u128::from(fraction) * u128::from(scale) / 10_u128.pow(power);
    u64::try_from(bytes).ok().filter(|bytes| *bytes <= i64::MAX.unsigned_abs()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("64 GiB", 64 << 30), ("64g", 64 << 30), (" 1,5 GiB ", 3 << 29), ("512MB", 512_000_000), (".5K", 512)] {
            assert_eq!(read_bytes(text), Ok(bytes), "{text}");
        }
        for (text, said) in [
            ("", "Write"),
            ("64", "64 GiB"),
            ("GiB", "not a size"),
            ("1.2.3G", "not a size"),
            ("-4G", "not a size"),
            ("99999999999T", "not a size"),
        ] {
            assert!(read_bytes(text).unwrap_err().to_string().contains(said), "{text}: {}", read_bytes(text).unwrap_err());
        }
    }

    proptest! {
        /// What is shown can be typed back, as far as it was shown.
        #[test]
        fn what_is_shown_is_understood(size in (1_u64 << 10)..(1 << 50)) {
            let read = read_bytes(&bytes(size)).unwrap_or_default();
            prop_assert!(size >> 50 > 0 || (read <= size && size - read <= size / 10), "{} {}", bytes(size), read);
        }

        #[test]
        fn whatever_is_typed_is_answered(text in "[0-9., kKmMgGtTbBi€]{0,30}") {
            let _ = read_bytes(&text);
        }
    }

    #[test]
    fn sizes_read_as_people_say_them() {
        assert_eq!(mebibytes(4096), "4 GiB");
        assert_eq!(mebibytes(1536), "1.5 GiB");
        assert_eq!(mebibytes(512), "512 MiB");
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes((64 << 30) - 1), "63.9 GiB");
        assert_eq!(bytes(u64::MAX), "16383 PiB");
    }
}
