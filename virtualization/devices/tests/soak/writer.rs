//! The writer: a guest's driver that keeps several queues busy.

use devices::virtio::{Block, Disk};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::{BUFFERS, Descriptor, Driver, NEXT, WRITE, confined};
use crate::record::{Content, Line, Record, Wish};
use crate::seen::bytes;
use crate::{BLOCK, BLOCKS};

pub const QUEUES: u16 = 2;
/// Requests under way in a queue.
const SLOTS: u16 = 8;
/// Blocks of a request at most.
const MOST: u32 = 16;
/// Guest memory of a slot.
const ROOM: u64 = (MOST as u64 + 1) * BLOCK as u64;
/// Sectors of a block.
const SECTORS: u64 = BLOCK as u64 / 512;
const FLUSH_FEATURE: u64 = 1 << 9;

/// Numbers that look random (the splitmix64 generator).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What is under way in a slot.
#[derive(Clone, Copy)]
struct Asked {
    number: u64,
    wish: Wish,
}

/// The writer.
pub struct Writer {
    driver: Driver,
    record: Record,
    random: Random,
    slots: Vec<Option<Asked>>,
    used: Vec<u16>,
    asked: u32,
}

impl Writer {
    pub fn new(disk: Disk, record: Record, seed: u64) -> Self {
        let driver = Driver::ready(Box::new(Block::new(disk, &confined()).unwrap()), FLUSH_FEATURE);
        let slots = vec![None; usize::from(QUEUES * SLOTS)];
        Self { driver, record, random: Random(seed), slots, used: vec![0; usize::from(QUEUES)], asked: 0 }
    }

    /// Writes until somebody ends it.
    pub fn run(&mut self) {
        loop {
            for slot in 0..self.slots.len() {
                if self.slots[slot].is_none() {
                    self.ask(slot);
                }
            }
            for queue in 0..QUEUES {
                self.hear(queue);
            }
            std::thread::yield_now();
        }
    }

    fn ask(&mut self, slot: usize) {
        let number = self.record.number(self.asked);
        let kind = self.random.below(100);
        let count = if self.random.below(3) > 0 { 1 } else { 1 + self.random.below(u64::from(MOST)) as u32 };
        let block = self.random.below(u64::from(BLOCKS - count)) as u32;
        let content = match kind {
            0..70 => Content::Write(number),
            70..80 => Content::Zeros,
            _ => Content::Anything,
        };
        let wish = if kind < 85 { Wish::Change { content, block, count } } else { Wish::Flush };
        // A guest does not ask for two things at once of the same place.
        let overlaps = |asked: &Asked| matches!(asked.wish, Wish::Change { block: other, count: many, .. } if block < other + many && other < block + count);
        if wish != Wish::Flush && self.slots.iter().flatten().any(overlaps) {
            return;
        }
        self.asked += 1;
        let may_unmap = self.random.below(2) as u32;
        self.record.add(Line::Asked(number, wish));
        self.slots[slot] = Some(Asked { number, wish });
        self.offer(slot, number, wish, may_unmap);
    }

    fn offer(&mut self, slot: usize, number: u64, wish: Wish, may_unmap: u32) {
        let place = BUFFERS + slot as u64 * ROOM;
        let (queue, first) = (slot as u16 / SLOTS, slot as u16 % SLOTS * 3);
        let (kind, sector, data) = match wish {
            Wish::Flush => (4_u32, 0, Vec::new()),
            Wish::Change { content: Content::Write(_), block, count } => {
                (1, u64::from(block) * SECTORS, (block..block + count).flat_map(|block| bytes(number, block)).collect())
            }
            Wish::Change { content, block, count } => {
                let (kind, flags) = if content == Content::Zeros { (13, may_unmap) } else { (11, 0) };
                let (sector, count) = (u64::from(block) * SECTORS, count * SECTORS as u32);
                (kind, 0, [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat())
            }
        };
        let header = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes(), &[0xff]].concat();
        let (answer, room) = (place + 16, place + BLOCK as u64);
        self.driver.memory.write_slice(&header, GuestAddress(place)).unwrap();
        self.driver.memory.write_slice(&data, GuestAddress(room)).unwrap();
        let answer_at = if data.is_empty() { first + 1 } else { first + 2 };
        self.driver.put_descriptor(queue, first, Descriptor(place, 16, NEXT, first + 1));
        if !data.is_empty() {
            self.driver.put_descriptor(queue, first + 1, Descriptor(room, data.len() as u32, NEXT, first + 2));
        }
        self.driver.put_descriptor(queue, answer_at, Descriptor(answer, 1, WRITE, 0));
        self.driver.offer(queue, first);
    }

    fn hear(&mut self, queue: u16) {
        let used = self.driver.used(queue);
        while self.used[usize::from(queue)] != used {
            let index = self.used[usize::from(queue)] % 256;
            self.used[usize::from(queue)] = self.used[usize::from(queue)].wrapping_add(1);
            let (head, _) = self.driver.used_element(queue, index);
            let slot = usize::from(queue * SLOTS) + head as usize / 3;
            let asked = self.slots[slot].take().expect("something was answered that was not asked");
            let status: u8 = self.driver.memory.read_obj(GuestAddress(BUFFERS + slot as u64 * ROOM + 16)).unwrap();
            assert_eq!(status, 0, "{:?} failed", asked.wish);
            self.record.add(Line::Answered(asked.number));
        }
    }
}

/// All that is on a disk, read as a guest does.
pub fn read(disk: Disk) -> Vec<u8> {
    let mut driver = Driver::ready(Box::new(Block::new(disk, &confined()).unwrap()), FLUSH_FEATURE);
    let (length, mut all) = (1_usize << 20, Vec::new());
    let room = BUFFERS + BLOCK as u64;
    for start in (0..BLOCKS as usize * BLOCK).step_by(length) {
        let header = [&[0; 8][..], &(start as u64 / 512).to_le_bytes(), &[0xff]].concat();
        driver.memory.write_slice(&header, GuestAddress(BUFFERS)).unwrap();
        driver.put_descriptor(0, 0, Descriptor(BUFFERS, 16, NEXT, 1));
        driver.put_descriptor(0, 1, Descriptor(room, length as u32, NEXT | WRITE, 2));
        driver.put_descriptor(0, 2, Descriptor(BUFFERS + 16, 1, WRITE, 0));
        driver.offer(0, 0);
        driver.wait(0);
        assert_eq!(driver.memory.read_obj::<u8>(GuestAddress(BUFFERS + 16)).unwrap(), 0, "the disk can be read");
        let place = all.len();
        all.resize(place + length, 0);
        driver.memory.read_slice(&mut all[place..], GuestAddress(room)).unwrap();
    }
    all
}
