//! The source of random numbers.

use devices::virtio::Entropy;

use crate::driver::{Driver, Part, events};

#[test]
fn numbers_are_as_many_as_asked_for_and_random() {
    let mut driver = Driver::ready(Box::new(Entropy::new(events())), 0);
    let first = driver.request(0, &[Part::Room(32), Part::Room(3)]);
    let second = driver.request(0, &[Part::Room(32), Part::Room(3)]);
    assert_eq!((first[0].len(), first[1].len()), (32, 3));
    assert_ne!(first[0], second[0]);
    // Something that cannot be written to gets nothing, and is given back.
    driver.request(0, &[Part::Give(vec![1; 8])]);
    assert_eq!(driver.wait(0), 0);
}
