//! Everything that is printed: tables and sentences for people, JSON for programs.
//!
//! Answers go to standard output, everything else (progress, notes, errors) to standard error. A reader that goes away (`viv list | head`)
//! ends the command quietly.

use crate::error::{Failure, Kind, Result};
use comfy_table::{Attribute, ContentArrangement, Table, presets};
use jiff::{Timestamp, tz::TimeZone};
use machine::{ErrorKind, State};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

pub use comfy_table::Color;

/// Blanks between columns.
const GAP: u16 = 2;
/// A column of prose that is narrower than this cannot be read.
const NARROWEST: usize = 24;
/// A longer word is broken by the terminal wherever it stands. One of this length is a UUID.
const LONGEST_WORD: usize = 36;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
    /// No progress, no notes.
    pub quiet: bool,
    color: bool,
    color_errors: bool,
}

impl Output {
    /// As the command line and the environment want it.
    pub fn new(json: bool, quiet: bool) -> Self {
        let wanted =
            std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { json, quiet, color: wanted && io::stdout().is_terminal(), color_errors: wanted && io::stderr().is_terminal() }
    }

    /// Prints a line of the answer.
    pub fn line(&self, text: impl AsRef<str>) -> Result {
        self.bytes(format!("{}\n", printable(text.as_ref())).as_bytes())
    }

    /// Prints bytes as they are.
    #[allow(clippy::unused_self, reason = "one way to print")]
    pub fn bytes(&self, bytes: &[u8]) -> Result {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| unprintable(&error))
    }

    /// Prints a value as indented JSON.
    pub fn json(&self, value: &impl Serialize) -> Result {
        self.line(to_json(serde_json::to_string_pretty(value))?)
    }

    /// Prints a value as one line of JSON: an item of a stream.
    pub fn json_line(&self, value: &impl Serialize) -> Result {
        self.line(to_json(serde_json::to_string(value))?)
    }

    /// Prints the value as JSON, or what `text` prints.
    pub fn answer(&self, value: &impl Serialize, text: impl FnOnce(&Self) -> Result) -> Result {
        if self.json { self.json(value) } else { text(self) }
    }

    /// Prints a sentence on what was done; JSON in its place where that is wanted.
    pub fn done(&self, value: &impl Serialize, sentence: impl AsRef<str>) -> Result {
        self.answer(value, |output| if output.quiet { Ok(()) } else { output.line(sentence) })
    }

    /// Prints rows in columns, with a header. Where the terminal has not enough of them, the last column is wrapped; where that does not help,
    /// each row becomes a paragraph, with a line for each of its cells.
    pub fn table(&self, header: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> Result {
        let header: Vec<Cell> = header.iter().map(|name| Cell::new(name).attribute(Attribute::Bold)).collect();
        let rows: Vec<Vec<Cell>> = std::iter::once(header.clone()).chain(rows).collect();
        let width = match Layout::of(&rows, terminal_width()) {
            Layout::Columns { room } => return self.columns(rows, room),
            Layout::Lines { width } => width,
        };
        for (index, row) in rows.into_iter().skip(1).enumerate() {
            if index > 0 {
                self.line("")?;
            }
            self.lines(header.iter().cloned().zip(row), width)?;
        }
        Ok(())
    }

    /// Prints facts: a name and a value a line. Facts without a value are left out.
    pub fn facts<N: Display>(&self, facts: impl IntoIterator<Item = (N, Option<Cell>)>) -> Result {
        let row = |(name, value): (N, Option<Cell>)| {
            let name = name.to_string();
            let name = if name.is_empty() { name } else { name + ":" };
            value.map(|value| vec![Cell::new(name).attribute(Attribute::Dim), value])
        };
        let rows: Vec<Vec<Cell>> = facts.into_iter().filter_map(row).collect();
        match Layout::of(&rows, terminal_width()) {
            Layout::Columns { room } => self.columns(rows, room),
            Layout::Lines { width } => {
                let pairs = rows.into_iter().filter_map(|row| <[Cell; 2]>::try_from(row).ok());
                self.lines(pairs.map(|[name, value]| (name, value)), width)
            }
        }
    }

    /// Prints names and values, a line each. What is longer than a line goes on in the next, indented.
    fn lines(&self, facts: impl IntoIterator<Item = (Cell, Cell)>, width: usize) -> Result {
        for (name, value) in facts.into_iter().filter(|(_, value)| !value.text.is_empty()) {
            let name = if name.text.is_empty() || name.text.ends_with(':') { name.text } else { name.text + ":" };
            self.line(wrapped(&format!("{name} {}", value.text), width, "  "))?;
        }
        Ok(())
    }

    fn columns(&self, rows: Vec<Vec<Cell>>, room: Option<usize>) -> Result {
        let last = rows.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        for row in rows {
            let wrap = |(index, cell): (usize, Cell)| match room.filter(|_| index == last) {
                Some(room) => Cell { text: wrapped(&cell.text, room, ""), ..cell },
                None => cell,
            };
            table.add_row(row.into_iter().enumerate().map(wrap).map(|cell| self.dress(cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        self.bytes(format!("{}\n", table.trim_fmt()).as_bytes())
    }

    /// The cell as the table wants it, with its colours where those are wanted.
    fn dress(&self, cell: Cell) -> comfy_table::Cell {
        let dressed = comfy_table::Cell::new(cell.text);
        if !self.color {
            return dressed;
        }
        let dressed = match cell.color {
            Some(color) => dressed.fg(color),
            None => dressed,
        };
        match cell.attribute {
            Some(attribute) => dressed.add_attribute(attribute),
            None => dressed,
        }
    }

    /// Prints a line that begins with a coloured word.
    pub fn marked(&self, mark: &str, color: Mark, text: impl Display) -> Result {
        let mark = if self.color { color.paint(mark) } else { mark.to_owned() };
        self.bytes(format!("{mark}{}\n", printable(&text.to_string())).as_bytes())
    }

    /// Says something on standard error that is not part of the answer.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Warns on standard error.
    pub fn warning(&self, text: impl Display) {
        self.say_marked("warning", Mark::Yellow, text);
    }

    /// Prints why the command failed.
    pub fn failure(&self, failure: &Failure) {
        match failure.kind {
            Kind::Silent | Kind::Answered => {}
            _ if self.json => self.say(serde_json::json!({ "error": failure })),
            _ => {
                self.say_marked("error", Mark::Red, failure.sentence());
                for problem in &failure.problems {
                    self.say(format_args!("  {}: {problem}", problem.level));
                }
                if let Some(hint) = &failure.hint {
                    self.say_marked("hint", Mark::Cyan, hint);
                }
            }
        }
    }

    /// Says something on standard error, whatever was asked for.
    pub fn say(&self, text: impl Display) {
        self.complain(&printable(&text.to_string()));
    }

    fn say_marked(&self, mark: &str, color: Mark, text: impl Display) {
        let mark = if self.color_errors { color.paint(mark) } else { mark.to_owned() };
        self.complain(&format!("{mark}: {}", printable(&text.to_string())));
    }

    #[allow(clippy::unused_self, reason = "one way to print")]
    fn complain(&self, line: &str) {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// A word's colour.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "colours")]
pub enum Mark {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

impl Mark {
    fn paint(self, text: &str) -> String {
        format!("\x1b[1;{}m{text}\x1b[0m", self as u8)
    }
}

/// A cell of a table. Its text may come from anywhere: what a terminal would take for a command is left out.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    color: Option<Color>,
    attribute: Option<Attribute>,
}

impl Cell {
    /// A cell with a text.
    pub fn new(text: impl Display) -> Self {
        Self { text: printable(&text.to_string()).into_owned(), color: None, attribute: None }
    }

    /// In a colour, where colours are wanted.
    #[must_use]
    pub fn color(self, color: Color) -> Self {
        Self { color: Some(color), ..self }
    }

    fn attribute(self, attribute: Attribute) -> Self {
        Self { attribute: Some(attribute), ..self }
    }
}

impl From<State> for Cell {
    fn from(state: State) -> Self {
        let cell = Self::new(state);
        match state {
            State::Running => cell.color(Color::Green),
            State::Error => cell.color(Color::Red),
            State::Stopped => cell,
            _ => cell.color(Color::Yellow),
        }
    }
}

/// Text without control characters: names, notes and messages come from bundles, images and guests, and must not command the terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(harmful) { text.replace(harmful, "\u{fffd}").into() } else { text.into() }
}

fn to_json(text: serde_json::Result<String>) -> Result<String> {
    text.map_err(|error| Failure::new(ErrorKind::File, "Cannot write the answer as JSON").with_source(&error))
}

fn unprintable(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Kind::Silent, "Nobody reads the answer"),
        _ => Failure::io("Cannot write to standard output", error),
    }
}

/// How rows are arranged.
#[derive(Debug, PartialEq, Eq)]
enum Layout {
    /// Side by side; the last column is wrapped to `room` characters, where it has to be.
    Columns { room: Option<usize> },
    /// One below the other: there are too few columns for them.
    Lines { width: usize },
}

impl Layout {
    fn of(rows: &[Vec<Cell>], width: Option<usize>) -> Self {
        let Some(width) = width else { return Self::Columns { room: None } };
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let last = columns.saturating_sub(1);
        let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column)).map(|cell| cell.text.as_str());
        let longest = |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
        let before: usize = (0..last).map(|column| longest(&mut cells(column)) + usize::from(GAP)).sum();
        if before + longest(&mut cells(last).flat_map(str::lines)) <= width {
            return Self::Columns { room: None };
        }
        let word = longest(&mut cells(last).flat_map(str::split_whitespace));
        match width.checked_sub(before).filter(|room| *room >= word.clamp(NARROWEST, LONGEST_WORD)) {
            Some(room) => Self::Columns { room: Some(room) },
            None => Self::Lines { width },
        }
    }
}

/// The text with line breaks between words, so that lines have `width` characters at most; `indent` begins all but the first. A word is never
/// broken: a path or UUID in two pieces could not be copied. Better that the terminal breaks the line.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut wrapped = String::new();
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            wrapped.push('\n');
            wrapped.push_str(indent);
        }
        let mut used = if index > 0 { indent.len() } else { 0 };
        let begin = used;
        for word in line.split(' ') {
            let length = word.chars().count();
            if used > begin && used + 1 + length > width {
                wrapped.push('\n');
                wrapped.push_str(indent);
                used = indent.len();
            } else if used > begin {
                wrapped.push(' ');
                used += 1;
            }
            wrapped.push_str(word);
            used += length;
        }
    }
    wrapped
}

/// The width of the terminal on standard output.
fn terminal_width() -> Option<usize> {
    rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col.into()).filter(|columns| *columns > 0)
}

/// A number of bytes in the largest unit that keeps it readable: `64 GiB`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    while unit + 1 < UNITS.len() && count >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let scale = 1u64 << (10 * unit);
    let name = UNITS.get(unit).copied().unwrap_or("B");
    // Tenths, rounded, in whole numbers: no float has to hold 64 bits.
    let tenths = u128::from(count) * 10 / u128::from(scale);
    if tenths.is_multiple_of(10) || tenths >= 1000 {
        format!("{} {name}", tenths / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

/// A length of time: `3 h 20 min`, `45 s`.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// A moment with how long ago it was: `2026-11-21 09:48:58 (3 min ago)`.
pub fn moment(seconds: u64) -> String {
    let ago = u64::try_from(Timestamp::now().as_second()).unwrap_or(0).saturating_sub(seconds);
    match i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        Some(at) => format!("{} ({} ago)", at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S"), duration(ago)),
        None => seconds.to_string(),
    }
}

/// The local date and time, fit for a file name.
pub fn now_for_file_name() -> String {
    Timestamp::now().to_zoned(TimeZone::system()).strftime("%Y-%m-%d-%H%M%S").to_string()
}

/// The local time of day.
pub fn now() -> String {
    Timestamp::now().to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// A count with its noun.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(64 << 30), "64 GiB");
        assert_eq!(bytes(3 << 19), "1.5 MiB");
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn what_would_command_a_terminal_is_left_out() {
        assert_eq!(printable("a\x1b]0;title\x07b\tc\n"), "a\u{fffd}]0;title\u{fffd}b\tc\n");
    }

    #[test]
    fn rows_that_are_too_wide_are_wrapped_or_stacked() {
        let rows = |last: &str| vec![vec![Cell::new("NAME"), Cell::new("NOTES")], vec![Cell::new("Debian"), Cell::new(last)]];
        let prose = rows("a machine for trying what nobody has tried before");
        assert_eq!(Layout::of(&prose, None), Layout::Columns { room: None });
        assert_eq!(Layout::of(&prose, Some(80)), Layout::Columns { room: None });
        assert_eq!(Layout::of(&prose, Some(40)), Layout::Columns { room: Some(32) });
        assert_eq!(Layout::of(&prose, Some(30)), Layout::Lines { width: 30 });
        // A UUID stays whole where it can.
        let uuid = rows("8ca234b5-1d6f-4a4e-9e38-6a4b9c0d1e2f");
        assert_eq!(Layout::of(&uuid, Some(44)), Layout::Columns { room: None });
        assert_eq!(Layout::of(&uuid, Some(40)), Layout::Lines { width: 40 });
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("name: a b c", 8, "  "), "name: a\n  b c");
        assert_eq!(wrapped("path: /a/very/long/one and", 10, "  "), "path:\n  /a/very/long/one\n  and");
        assert_eq!(wrapped("one\ntwo three", 6, " "), "one\n two\n three");
        assert_eq!(wrapped("", 6, " "), "");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(12_000), "3 h 20 min");
    }
}
