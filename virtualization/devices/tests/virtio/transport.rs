//! What all devices have in common.

use devices::pci::PciFunction;
use devices::virtio::Entropy;

use crate::driver::{BASE, Driver, Part, events};

fn entropy() -> Box<Entropy> {
    Box::new(Entropy::new(events()))
}

#[test]
fn only_offered_features_of_version_1_are_taken() {
    for (features, is_taken) in [(1_u64 << 32, true), (0, false), (1 << 32 | 1 << 7, false), (1 << 32 | 1 << 28, true)] {
        let driver = Driver::of(entropy());
        driver.write(0x14, &[3]);
        for (select, half) in [(0_u32, features as u32), (1, (features >> 32) as u32)] {
            driver.write(0x08, &select.to_le_bytes());
            driver.write(0x0c, &half.to_le_bytes());
        }
        driver.write(0x14, &[11]);
        assert_eq!(driver.status() & 8 != 0, is_taken, "{features:#x}");
    }
}

#[test]
fn a_reset_at_any_point_is_the_beginning() {
    let mut driver = Driver::ready(entropy(), 0);
    for _ in 0..3 {
        assert_eq!(driver.request(0, &[Part::Room(16)]).len(), 1);
        driver.write(0x14, &[0]);
        assert_eq!(driver.status(), 0);
        driver.write(0x16, &0_u16.to_le_bytes());
        assert_eq!(driver.read::<2>(0x1c), [0, 0]);
        driver.ring(0);
        driver.set_up(0, &[64]);
    }
}

#[test]
fn a_queue_outside_memory_needs_a_reset() {
    let driver = Driver::of(entropy());
    driver.write(0x14, &[3]);
    driver.write(0x08, &1_u32.to_le_bytes());
    driver.write(0x0c, &1_u32.to_le_bytes());
    driver.write(0x14, &[11]);
    for place in [0x20, 0x28, 0x30] {
        driver.write(place, &0xffff_ffff_ffff_f000_u64.to_le_bytes());
    }
    driver.write(0x1c, &1_u16.to_le_bytes());
    driver.write(0x14, &[15]);
    assert_eq!(driver.status(), 15 | 64);
    driver.write(0x14, &[0]);
    assert_eq!(driver.status(), 0);
}

#[test]
fn registers_are_reached_by_configuration_space_too() {
    let driver = Driver::of(entropy());
    // The last capability is the window; its fields are base address, offset and length.
    let mut pointer = [0];
    driver.function.read_configuration(0x34, &mut pointer);
    loop {
        let mut header = [0; 4];
        driver.function.read_configuration(pointer[0].into(), &mut header);
        if header[0] == 9 && header[3] == 5 {
            break;
        }
        pointer[0] = header[1];
    }
    let window = usize::from(pointer[0]);
    driver.function.write_configuration(window + 8, &0x12_u32.to_le_bytes());
    driver.function.write_configuration(window + 12, &2_u32.to_le_bytes());
    let mut queues = [0; 2];
    driver.function.read_configuration(window + 16, &mut queues);
    assert_eq!(queues, [1, 0]);
    driver.function.write_configuration(window + 8, &u32::MAX.to_le_bytes());
    driver.function.read_configuration(window + 16, &mut queues);
}

#[test]
fn doorbells_move_with_the_device() {
    let driver = Driver::of(entropy());
    assert!(driver.vm.ring(BASE + 0x3000));
    driver.function.write_configuration(0x10, &0xd000_0000_u32.to_le_bytes());
    assert!(!driver.vm.ring(BASE + 0x3000));
    assert!(driver.vm.ring(0xd000_3000));
    driver.function.write_configuration(4, &[0, 0]);
    assert!(!driver.vm.ring(0xd000_3000));
    assert!(!driver.function.read(0xd000_0000, &mut [0; 4]));
}
