//! The table of what was measured.

use std::fmt;

/// Which of two numbers is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The lower one.
    Less,
    /// The higher one.
    More,
}

#[derive(Debug)]
struct Row {
    what: String,
    ours: f64,
    theirs: f64,
    better: Better,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a row.
    pub fn add(&mut self, what: &str, ours: f64, theirs: f64, better: Better) {
        self.0.push(Row { what: what.to_owned(), ours, theirs, better });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | ours | QEMU microvm | ratio | |")?;
        writeln!(f, "|---|---:|---:|---:|---|")?;
        for Row { what, ours, theirs, better } in &self.0 {
            let is_worse = if *better == Better::Less { ours > theirs } else { ours < theirs };
            let verdict = if is_worse { "worse" } else { "" };
            let ratio = if *theirs == 0.0 { "-".to_owned() } else { format!("{:.2}", ours / theirs) };
            writeln!(f, "| {what} | {ours:.1} | {theirs:.1} | {ratio} | {verdict} |")?;
        }
        Ok(())
    }
}

/// The page that shows the table, out of what was said while it was made.
pub fn page(said: &str, place: &str, rounds: u32) -> String {
    let rows: Vec<&str> = said.lines().filter(|line| line.starts_with('|')).collect();
    format!(
        "# The virtualization framework against QEMU's microvm

Made by `cargo xtask bench virtualization --boots {rounds} --write`, {place}.

Both run the same kernel (Debian's, as an ELF file), initial RAM disk and disks, in the same run, in turn, with one vCPU and 256 MiB; the
best of each side's runs counts. On an emulated computer everything takes long, and what else the host does shows; only ratios mean
something. QEMU's microvm has `rtc=on,pit=off,pic=off`, and for its disks PCI, io_uring and an I/O thread. Disks are files in memory, both
cached, so that a flush costs what the path to it costs. The host allows huge pages for shared memory (`shmem_enabled`: `advise`). Memory
beyond the guest's is what the kernel counts as anonymous and file pages of the process, give or take some pages a thread.

\"Worse\" marks where we lose.

{}
",
        rows.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worse_says_so() {
        let mut table = Table::default();
        table.add("time", 1.0, 2.0, Better::Less);
        table.add("requests", 1.0, 2.0, Better::More);
        let shown = format!("round 0\n{table}");
        let page = page(&shown, "here", 3);
        assert!(page.contains("| time | 1.0 | 2.0 | 0.50 |  |\n| requests | 1.0 | 2.0 | 0.50 | worse |"), "{page}");
        assert!(!page.contains("round 0"));
    }
}
