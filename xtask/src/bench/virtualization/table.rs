//! The table of what was measured.

use std::fmt;

/// What is aimed at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// At most so much of what the other has.
    RatioAtMost(f64),
    /// At least so much of it.
    RatioAtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Aim {
    fn is_met(self, ours: f64, theirs: f64) -> bool {
        match self {
            Self::RatioAtMost(most) => ours <= theirs * most,
            Self::RatioAtLeast(least) => ours >= theirs * least,
            Self::AtMost(most) => ours <= most,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtMost(most) => write!(f, "ratio ≤ {most}"),
            Self::RatioAtLeast(least) => write!(f, "ratio ≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

/// What Firecracker has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Other {
    /// It is not measured.
    No,
    /// There is none.
    NotInstalled,
    /// So much.
    Is(f64),
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => Ok(()),
            Self::NotInstalled => f.write_str("not installed"),
            Self::Is(value) => write!(f, "{value:.1}"),
        }
    }
}

#[derive(Debug)]
struct Row {
    what: String,
    ours: f64,
    theirs: f64,
    other: Other,
    aim: Aim,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a row.
    pub fn add(&mut self, what: &str, ours: f64, theirs: f64, aim: Aim) {
        self.add_beside(what, ours, theirs, Other::No, aim);
    }

    /// Adds the rows of another one.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Adds a row with Firecracker.
    pub fn add_beside(&mut self, what: &str, ours: f64, theirs: f64, other: Other, aim: Aim) {
        self.0.push(Row { what: what.to_owned(), ours, theirs, other, aim });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | ours | QEMU microvm | Firecracker | ratio | aim | |")?;
        writeln!(f, "|---|---:|---:|---:|---:|---|---|")?;
        for Row { what, ours, theirs, other, aim } in &self.0 {
            let verdict = if aim.is_met(*ours, *theirs) { "" } else { "missed" };
            let ratio = if *theirs == 0.0 { "-".to_owned() } else { format!("{:.2}", ours / theirs) };
            writeln!(f, "| {what} | {ours:.1} | {theirs:.1} | {other} | {ratio} | {aim} | {verdict} |")?;
        }
        Ok(())
    }
}

/// The middle one of some measurements.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The page that shows the table, out of what was said while it was made.
pub fn page(said: &str, place: &str, rounds: u32) -> String {
    let rows: Vec<&str> = said.lines().filter(|line| line.starts_with('|')).collect();
    format!(
        "# The virtualization framework against QEMU's microvm

Made by `cargo xtask bench virtualization --boots {rounds} --write`, {place}.

Both run the same kernel (Debian's, as an ELF file), initial RAM disk and disks, in the same run, in turn, with one vCPU and 256 MiB; a
number is the median of its side's measurements. On an emulated computer everything takes long, and what else the host does shows; only
ratios (ours by QEMU's) mean something. \"Missed\" marks where we do not get what is aimed at. QEMU's microvm has
`rtc=on,pit=off,pic=off`.

- **Boots** end when the first process says something on the serial port. Firecracker, where there is one in `PATH` or named by
  `--firecracker PATH`, boots the same kernel and initial RAM disk, without devices. That column was never run by us: no copy of it can be
  had where this is made.
- **Restores** begin with the exec of a process that goes on with a guest that an earlier one has saved, and end with the guest's first
  character. What they are beside is not QEMU, but that same guest booted, by ours, to its first words.
- **Memory** beyond the guest's is the proportional set size (private pages, and of shared ones its part) of every mapping of the process but
  that of the guest's memory, by `/proc/PID/smaps`, while the guest idles. QEMU's guest memory is in a memfd there, to be told apart.
- **Wake-ups** are voluntary context switches of the process's threads that are no vCPUs, over ten seconds.
- **Disks** are files in memory, both cached, so that a flush costs what the path to it costs. QEMU has PCI, io_uring and an I/O thread.
- **Networks** are one TCP connection, its other end on the host: through passt's stream socket (with a maximum transmission unit of 65520
  bytes on both sides; where the passt there has vhost-user, both are measured with that, and the row says so), and through a tap interface,
  served by the process itself (no vhost).

The host allows huge pages for shared memory (`shmem_enabled`: `advise`).

{}
",
        rows.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_says_so() {
        let mut table = Table::default();
        table.add("time", 1.0, 2.0, Aim::RatioAtMost(0.8));
        table.add("requests", 1.0, 2.0, Aim::RatioAtLeast(1.0));
        table.add_beside("memory", 7.0, 0.0, Other::NotInstalled, Aim::AtMost(6.0));
        let shown = format!("round 0\n{table}");
        let page = page(&shown, "here", 3);
        let rows = "| time | 1.0 | 2.0 |  | 0.50 | ratio ≤ 0.8 |  |
| requests | 1.0 | 2.0 |  | 0.50 | ratio ≥ 1 | missed |
| memory | 7.0 | 0.0 | not installed | - | ≤ 6 | missed |";
        assert!(page.contains(rows), "{page}");
        assert!(!page.contains("round 0"));
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
    }
}
