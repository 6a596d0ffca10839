//! The record that a writer keeps: in a file, so that it is there when the writer is not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// What the write with this number wrote.
    Write(u64),
    /// Zeros.
    Zeros,
    /// It was discarded.
    Anything,
}

/// What a writer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Change { content: Content, block: u32, count: u32 },
    Flush,
}

/// A line of the record: what was asked for with this number, or that it was answered without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Asked(u64, Wish),
    Answered(u64),
}

const WORDS: usize = 4;

/// How many lines are in a record.
pub fn lines(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len() / (WORDS as u64 * 8))
}

/// The lines of one writer.
pub struct Record {
    file: Option<File>,
    lines: Vec<Line>,
    kill: u32,
}

impl Record {
    /// An empty one.
    pub fn create(path: &Path, kill: u32) -> Self {
        Self { file: Some(File::create(path).unwrap()), lines: Vec::new(), kill }
    }

    /// A number for the next thing asked for, different from those of all other writers.
    pub fn number(&self, of_writer: u32) -> u64 {
        u64::from(self.kill) << 32 | u64::from(of_writer)
    }

    /// Adds a line, which is there whatever happens next.
    pub fn add(&mut self, line: Line) {
        let [kind, number, block, count] = match line {
            Line::Answered(number) => [0, number, 0, 0],
            Line::Asked(number, Wish::Flush) => [1, number, 0, 0],
            Line::Asked(number, Wish::Change { content, block, count }) => {
                let kind = match content {
                    Content::Write(_) => 2,
                    Content::Zeros => 3,
                    Content::Anything => 4,
                };
                [kind, number, u64::from(block), u64::from(count)]
            }
        };
        let bytes: Vec<u8> = [kind, number, block, count].into_iter().flat_map(u64::to_le_bytes).collect();
        self.file.as_mut().unwrap().write_all(&bytes).unwrap();
    }

    /// What the writer of this kill left; nothing if it did not get to it.
    pub fn read(path: &Path, kill: u32) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        let words = |line: &[u8]| -> [u64; WORDS] {
            std::array::from_fn(|word| u64::from_le_bytes(line[word * 8..word * 8 + 8].try_into().unwrap()))
        };
        let lines = bytes.chunks_exact(WORDS * 8).map(words).filter(|[_, number, ..]| number >> 32 == u64::from(kill));
        let line = |[kind, number, block, count]: [u64; WORDS]| {
            let change = |content| Line::Asked(number, Wish::Change { content, block: block as u32, count: count as u32 });
            match kind {
                0 => Line::Answered(number),
                1 => Line::Asked(number, Wish::Flush),
                2 => change(Content::Write(number)),
                3 => change(Content::Zeros),
                _ => change(Content::Anything),
            }
        };
        Self { file: None, lines: lines.map(line).collect(), kill }
    }

    /// The changes that were asked for, in order, and which of them had been answered when a flush was asked for that was answered.
    pub fn changes(&self) -> Vec<(Wish, bool)> {
        let mut asked: BTreeMap<u64, (usize, Wish)> = BTreeMap::new();
        let mut changes: Vec<(Wish, bool)> = Vec::new();
        let (mut answered, mut flushes) = (Vec::new(), BTreeMap::new());
        for line in &self.lines {
            match *line {
                Line::Asked(number, Wish::Flush) => {
                    flushes.insert(number, answered.len());
                }
                Line::Asked(number, wish) => {
                    asked.insert(number, (changes.len(), wish));
                    changes.push((wish, false));
                }
                Line::Answered(number) => match (flushes.get(&number), asked.get(&number)) {
                    (Some(count), _) => answered[..*count].iter().for_each(|place: &usize| changes[*place].1 = true),
                    (None, Some((place, _))) => answered.push(*place),
                    (None, None) => panic!("something was answered that nobody asked for"),
                },
            }
        }
        changes
    }

    /// How many changes had to last.
    pub fn durable(&self) -> u64 {
        self.changes().iter().filter(|(_, lasts)| *lasts).count() as u64
    }
}

#[test]
fn what_was_answered_before_a_flush_lasts_when_that_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let mut record = Record::create(&path, 3);
    let number = |of_writer: u64| 3 << 32 | of_writer;
    let change = |of_writer| Wish::Change { content: Content::Write(number(of_writer)), block: 7, count: 2 };
    let lines = [
        Line::Asked(number(1), change(1)),
        Line::Asked(number(2), change(2)),
        Line::Answered(number(1)),
        Line::Asked(number(3), Wish::Flush),
        Line::Answered(number(2)),
        Line::Answered(number(3)),
        Line::Asked(number(4), Wish::Flush),
    ];
    lines.into_iter().for_each(|line| record.add(line));
    let read = Record::read(&path, 3);
    assert_eq!(read.lines, lines);
    assert_eq!(read.changes(), [(change(1), true), (change(2), false)]);
    assert!(Record::read(&path, 4).lines.is_empty(), "it is of another writer");
}
