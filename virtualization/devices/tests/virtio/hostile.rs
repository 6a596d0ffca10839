//! Guests that mean no good: nothing panics, nothing hangs, and what is wrong is said.

use devices::virtio::{Entropy, VirtioDevice};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use crate::block::{disk, header};
use crate::driver::{BUFFERS, Descriptor, Driver, INDIRECT, MEMORY, NEXT, Part, WRITE, events, file};

fn entropy() -> Box<dyn VirtioDevice> {
    Box::new(Entropy::new(events()))
}

#[test]
fn chains_that_make_no_sense_are_given_back() {
    let chains: [&[Descriptor]; 8] = [
        // Outside memory, at its end, around the end of everything.
        &[Descriptor(MEMORY, 16, WRITE, 0)],
        &[Descriptor(MEMORY - 8, 16, WRITE, 0)],
        &[Descriptor(u64::MAX - 4, 16, WRITE, 0)],
        &[Descriptor(BUFFERS, u32::MAX, WRITE, 0)],
        // A chain that bites its tail, and one that leads nowhere.
        &[Descriptor(BUFFERS, 1, NEXT | WRITE, 0)],
        &[Descriptor(BUFFERS, 1, NEXT | WRITE, 0xffff)],
        // An indirect table that is none.
        &[Descriptor(BUFFERS, 5, INDIRECT, 0)],
        &[Descriptor(MEMORY - 16, 64, INDIRECT, 0)],
    ];
    for device in 0..2 {
        let mut driver = if device == 0 { Driver::ready(entropy(), 0) } else { disk(&file(65_536), false) };
        for chain in chains {
            for (index, descriptor) in (0..).zip(chain) {
                driver.put_descriptor(0, index, *descriptor);
            }
            driver.offer(0, 0);
            driver.wait(0);
        }
        // And it still works.
        assert_eq!(driver.status() & 64, 0);
        let answers = driver.request(0, &[Part::Give(header(8, 0)), Part::Room(21)]);
        assert_eq!(answers[0].len(), 21);
    }
}

#[test]
fn an_index_that_runs_ahead_needs_a_reset() {
    for device in 0..2 {
        let driver = if device == 0 { Driver::ready(entropy(), 0) } else { disk(&file(65_536), false) };
        driver.set_available(0, 5000);
        driver.ring(0);
        driver.wait_for_needs_reset();
    }
}

#[test]
fn a_request_in_an_indirect_table_is_carried_out() {
    let mut driver = disk(&file(65_536), false);
    driver.memory.write_slice(&header(0, 0), GuestAddress(BUFFERS)).unwrap();
    let table = BUFFERS + 0x1000;
    let parts =
        [Descriptor(BUFFERS, 16, NEXT, 1), Descriptor(BUFFERS + 16, 512, NEXT | WRITE, 2), Descriptor(BUFFERS + 16 + 512, 1, WRITE, 0)];
    let bytes: Vec<u8> = parts.into_iter().flat_map(Descriptor::bytes).collect();
    driver.memory.write_slice(&bytes, GuestAddress(table)).unwrap();
    driver.put_descriptor(0, 0, Descriptor(table, 48, INDIRECT, 0));
    driver.offer(0, 0);
    assert_eq!(driver.wait(0), 513);
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let address = prop_oneof![Just(BUFFERS), Just(MEMORY - 100), Just(0), any::<u64>()];
    let length = prop_oneof![Just(16_u32), Just(1), Just(512), 0..5000_u32, any::<u32>()];
    (address, length, 0..8_u16, 0..6_u16).prop_map(|(address, length, flags, next)| Descriptor(address, length, flags, next))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_chain_breaks_a_device(
        is_disk: bool,
        chains in proptest::collection::vec((proptest::collection::vec(descriptor(), 6), 0..8_u16), 1..8),
        kind in 0..14_u32,
        sector in prop_oneof![0..200_u64, any::<u64>()],
    ) {
        let mut driver = if is_disk { disk(&file(65_536), false) } else { Driver::ready(entropy(), 0) };
        driver.memory.write_slice(&header(kind, sector), GuestAddress(BUFFERS)).unwrap();
        for (chain, head) in chains {
            for (index, descriptor) in (0..).zip(chain) {
                driver.put_descriptor(0, index, descriptor);
            }
            driver.offer(0, head);
            driver.wait(0);
        }
        driver.write(0x14, &[0]);
        prop_assert_eq!(driver.status(), 0);
    }

    #[test]
    fn no_access_to_registers_breaks_a_device(
        accesses in proptest::collection::vec((0..0x8000_u64, 0..4_usize, any::<u64>(), any::<bool>()), 0..200),
    ) {
        use devices::pci::PciFunction;
        let driver = Driver::of(entropy());
        for (offset, width, value, is_configuration) in accesses {
            let data = &value.to_le_bytes()[..1 << width];
            let mut read = [0; 8];
            let place = usize::try_from(offset).unwrap() % (256 - 8);
            if is_configuration {
                driver.function.write_configuration(place, data);
                driver.function.read_configuration(place, &mut read[..1 << width]);
            } else {
                let address = crate::driver::BASE + offset;
                driver.function.write(address, data);
                driver.function.read(address, &mut read[..1 << width]);
            }
        }
    }
}
