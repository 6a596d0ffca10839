//! The table of what was measured.

use std::fmt;

/// What is aimed at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// At most so much of what the other has.
    RatioAtMost(f64),
    /// Nothing: it is only told.
    Told,
}

impl Aim {
    fn is_met(self, ours: f64, theirs: Option<f64>) -> bool {
        match self {
            // What is counted may lack one at the ends.
            Self::AtLeast(least) => ours >= least * 0.99,
            Self::AtMost(most) => ours <= most,
            Self::RatioAtMost(most) => theirs.is_some_and(|theirs| ours <= theirs * most),
            Self::Told => true,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::RatioAtMost(most) => write!(f, "ratio ≤ {most}"),
            Self::Told => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Row {
    what: String,
    ours: f64,
    theirs: Option<f64>,
    aim: Aim,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a row.
    pub fn add(&mut self, what: impl Into<String>, ours: f64, theirs: Option<f64>, aim: Aim) {
        self.0.push(Row { what: what.into(), ours, theirs, aim });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | ours | remote-viewer | ratio | aim | |")?;
        writeln!(f, "|---|---:|---:|---:|---|---|")?;
        for Row { what, ours, theirs, aim } in &self.0 {
            let verdict = if aim.is_met(*ours, *theirs) { "" } else { "missed" };
            let (theirs, ratio) = match theirs {
                Some(theirs) => (format!("{theirs:.2}"), format!("{:.2}", ours / theirs)),
                None => Default::default(),
            };
            writeln!(f, "| {what} | {ours:.2} | {theirs} | {ratio} | {aim} | {verdict} |")?;
        }
        Ok(())
    }
}

/// The middle one of some measurements.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The page that shows the table.
pub fn page(table: &Table, turns: u32, computer: &str) -> String {
    format!(
        "# The desktop app against remote-viewer

Made by `cargo xtask bench display --turns {turns} --write`, on {computer}.

Both show the same guest: Debian's kernel with a program that repaints the screen sixty times a second, emulated by QEMU with two virtual
processors and a virtio graphics card. A repaint changes a pixel in every 32 of a row, and says that all of the screen has changed: whoever
compares pictures finds the same. Ours is a machine as `viv create` makes it, but for a PS/2 keyboard (a USB one is asked for its keys at
intervals), in the app's own window; remote-viewer shows a QEMU with the same command line, over SPICE on a Unix socket, with compression and
video streams off. They take turns, and a number is the
median of its side's turns. The X server has no screen (Xvfb), and everything is drawn in software; with a graphics card the app costs less.
Everything shares this computer: the emulated guest, the X server, and whoever looks. \"Missed\" marks where we do not get what is aimed at.

- **Updates** are repaints of the guest that could be seen in the window: the guest's middle has another colour in each, and a client of the X
  server, which is told of damage, counts how often the window's middle changes. Every window is as large as the guest's screen, pixel for
  pixel. Where the guest itself gets to fewer repaints, a row says so: no viewer can show more.
- **Processor time** is that of the viewer, of QEMU's threads but those that run the guest's instructions, and for ours of the supervisor, for
  each update that was shown.
- **From a key** begins when a key is pressed by the X server, and ends when the window's middle has changed: viewer, QEMU, guest (which draws
  {middle} by {middle} pixels for each key), and all the way back.
- **At rest** is with the window open and nothing happening, over twenty seconds. Memory is what is resident, with the libraries that others share.
- **The first frame** is counted from the start of the process until its window shows something.

{table}",
        middle = 256
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_says_so() {
        let mut table = Table::default();
        table.add("updates", 59.9, Some(30.0), Aim::AtLeast(60.0));
        table.add("updates", 40.0, Some(30.0), Aim::AtLeast(60.0));
        table.add("time", 1.0, Some(4.0), Aim::RatioAtMost(0.5));
        table.add("memory", 61.0, None, Aim::AtMost(60.0));
        let rows = "| updates | 59.90 | 30.00 | 2.00 | ≥ 60 |  |
| updates | 40.00 | 30.00 | 1.33 | ≥ 60 | missed |
| time | 1.00 | 4.00 | 0.25 | ratio ≤ 0.5 |  |
| memory | 61.00 |  |  | ≤ 60 | missed |";
        let page = page(&table, 3, "a computer");
        assert!(page.contains(rows), "{page}");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
    }
}
