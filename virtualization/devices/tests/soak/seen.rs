//! What may be on a disk, by what was written to it.

use crate::record::{Content, Record, Wish};
use crate::{BLOCK, BLOCKS};

/// What each block held when it was last looked at.
pub struct Seen(Vec<Content>);

/// The bytes of a block that the write with this number wrote: its number and place, over and over.
pub fn bytes(number: u64, block: u32) -> Vec<u8> {
    let part = [number.to_le_bytes(), (u64::from(block) << 32 | 0x5eed).to_le_bytes()].concat();
    part.repeat(BLOCK / part.len())
}

impl Seen {
    /// A new disk.
    pub fn nothing() -> Self {
        Self(vec![Content::Zeros; BLOCKS as usize])
    }

    /// Compares what is found with what may be there: what lasted, or anything that was asked for after it.
    pub fn compare(&mut self, record: &Record, found: &[u8]) -> Result<(), String> {
        let mut possible: Vec<Vec<Content>> = self.0.iter().map(|content| vec![*content]).collect();
        for (wish, lasts) in record.changes() {
            let Wish::Change { content, block, count } = wish else { continue };
            for place in block..block + count {
                let possible = &mut possible[place as usize];
                // The writer asks for one thing at a time of a block.
                if lasts {
                    possible.clear();
                }
                possible.push(content);
            }
        }
        for ((block, possible), found) in (0..).zip(possible).zip(found.chunks_exact(BLOCK)) {
            let number = u64::from_le_bytes(found[..8].try_into().unwrap_or_default());
            let is_zeros = found.iter().all(|byte| *byte == 0);
            let fits = |content: &Content| match content {
                Content::Write(number) => found == bytes(*number, block),
                Content::Zeros => is_zeros,
                Content::Anything => true,
            };
            // What was discarded reads as something, and stays that.
            let fitting = possible.iter().rev().find(|content| fits(content));
            let Some(fitting) = fitting else {
                let what = if is_zeros { "zeros".to_owned() } else { format!("bytes that begin with those of write {number:#x}") };
                return Err(format!("block {block} holds {what}, and may hold only {possible:x?}"));
            };
            self.0[block as usize] = match fitting {
                Content::Anything if is_zeros => Content::Zeros,
                other => *other,
            };
        }
        Ok(())
    }
}

#[test]
fn what_lasted_must_be_there_and_what_came_after_it_may() {
    use crate::record::Line;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let mut record = Record::create(&path, 0);
    let change = |number| Line::Asked(number, Wish::Change { content: Content::Write(number), block: 1, count: 1 });
    for line in [change(1), Line::Answered(1), Line::Asked(2, Wish::Flush), Line::Answered(2), change(3)] {
        record.add(line);
    }
    let record = Record::read(&path, 0);
    let disk = |block: Vec<u8>| {
        let mut disk = vec![0; BLOCKS as usize * BLOCK];
        disk[BLOCK..2 * BLOCK].copy_from_slice(&block);
        disk
    };
    for (found, fits) in [
        (disk(bytes(1, 1)), true),
        (disk(bytes(3, 1)), true),
        (disk(vec![0; BLOCK]), false),
        (disk(bytes(1, 2)), false),
        (disk([&bytes(1, 1)[..512], &bytes(3, 1)[512..]].concat()), false),
    ] {
        assert_eq!(Seen::nothing().compare(&record, &found).is_ok(), fits);
    }
}
