//! Sizes as people read them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
