//! Guests that mean no good: nothing panics, nothing hangs, and what is wrong is said.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use devices::virtio::balloon::Balloon;
use devices::virtio::console::{Attachment, Attachments, Console, Port};
use devices::virtio::network::{Frames, Link, Packets};
use devices::virtio::socket::{Socket, SocketPorts};
use devices::virtio::{Block, Disk, Entropy, Network, VirtioDevice};
use hv::Event;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use crate::block::{disk, header};
use crate::driver::{BUFFERS, Descriptor, Driver, INDIRECT, MEMORY, NEXT, Part, WRITE, confined, events, file};
use crate::file_system;

/// An end of a link at which there is always another frame.
pub struct Plenty {
    is_ready: Event,
    has_offloads: bool,
}

impl Plenty {
    pub fn wire(has_offloads: bool) -> Vec<Box<dyn Frames>> {
        let is_ready = Event::new().unwrap();
        is_ready.signal();
        vec![Box::new(Self { is_ready, has_offloads })]
    }
}

impl Frames for Plenty {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.is_ready.as_fd()
    }

    fn receive(&mut self, packet: &mut [u8]) -> io::Result<usize> {
        packet[..300].fill(0);
        Ok(300)
    }

    fn send(&mut self, packets: &Packets<'_>) -> io::Result<usize> {
        Ok(packets.len())
    }

    fn has_offloads(&self) -> bool {
        self.has_offloads
    }
}

/// A device, features of it, and those of its queues in which every chain is given back at once.
struct Subject(Box<dyn VirtioDevice>, u64, &'static [u16]);

fn console(is_multiport: bool) -> Console {
    let open = |path| Some(Arc::new(File::options().read(true).write(true).open(path).unwrap()));
    let attachment = || Attachment { input: open("/dev/zero"), output: open("/dev/null") };
    if !is_multiport {
        return Console::single(attachment(), &confined()).unwrap();
    }
    let port = |number| Port { number, name: Some(format!("port{number}")), is_console: number == 0 };
    let attachments = Arc::new(Attachments::new((0..2).map(|number| (number, attachment()))));
    Console::multiple((0..2).map(port).collect(), attachments, 2, Box::new(|_, _| {}), &confined()).unwrap()
}

fn network(pairs: u16) -> Network {
    let link = Arc::new(Link::new(Plenty::wire(true), Box::new(|_| {})).unwrap());
    let network = Network::new(link.clone(), [2, 0, 0, 0, 0, 7], 1500, pairs, events(), &confined()).unwrap();
    // What the guest was offered is done by the card from now on.
    link.replace(Plenty::wire(false)).unwrap();
    network
}

fn socket() -> Socket {
    let ports = SocketPorts::new().unwrap();
    ports.listen(0, Box::new(|_| true));
    Socket::new(ports, events())
}

/// How many subjects there are, and which of them take memory.
const SUBJECTS: usize = 9;
const BALLOONS: [usize; 2] = [6, 7];

fn subject(number: usize) -> Subject {
    let balloon = || Box::new(Balloon::new(Arc::default(), events()));
    match number {
        0 => Subject(Box::new(Entropy::new(events())), 0, &[0]),
        1 => Subject(Box::new(Block::new(Disk::raw(file(65_536), false).unwrap(), &confined()).unwrap()), 0, &[0]),
        2 => Subject(Box::new(console(false)), 0, &[1]),
        3 => Subject(Box::new(console(true)), 1 << 1, &[3, 1, 5]),
        4 => Subject(Box::new(network(1)), 1 << 0 | 1 << 11 | 1 << 12 | 1 << 15, &[1]),
        5 => Subject(Box::new(network(2)), 1 << 0 | 1 << 17 | 1 << 22, &[1, 3, 4]),
        6 => Subject(balloon(), 0, &[0, 1, 2]),
        7 => Subject(balloon(), 1 << 1 | 1 << 5, &[0, 1, 3]),
        _ => Subject(Box::new(socket()), 0, &[1]),
    }
}

#[test]
fn chains_that_make_no_sense_are_given_back() {
    let chains: [&[Descriptor]; 9] = [
        // Outside memory, at its end, around the end of everything.
        &[Descriptor(MEMORY, 16, WRITE, 0)],
        &[Descriptor(MEMORY - 8, 16, WRITE, 0)],
        &[Descriptor(u64::MAX - 4, 16, WRITE, 0)],
        &[Descriptor(u64::MAX - 4, 4, WRITE, 0)],
        &[Descriptor(BUFFERS, u32::MAX, WRITE, 0)],
        // A chain that bites its tail, and one that leads nowhere.
        &[Descriptor(BUFFERS, 1, NEXT | WRITE, 0)],
        &[Descriptor(BUFFERS, 1, NEXT | WRITE, 0xffff)],
        // An indirect table that is none.
        &[Descriptor(BUFFERS, 5, INDIRECT, 0)],
        &[Descriptor(MEMORY - 16, 64, INDIRECT, 0)],
    ];
    for number in 0..SUBJECTS {
        let Subject(device, features, answered) = subject(number);
        let mut driver = Driver::ready(device, features);
        for (queue, chain) in answered.iter().flat_map(|queue| chains.map(|chain| (*queue, chain))) {
            for (index, descriptor) in (0..).zip(chain) {
                driver.put_descriptor(queue, index, *descriptor);
            }
            driver.offer(queue, 0);
            driver.wait(queue);
        }
        // And it still works.
        assert_eq!(driver.status() & 64, 0, "{number}");
        let answers = driver.request(answered[0], &[Part::Give(header(8, 0)), Part::Room(21)]);
        assert_eq!(answers[0].len(), 21);
    }
}

#[test]
fn an_index_that_runs_ahead_needs_a_reset() {
    for number in 0..SUBJECTS {
        let Subject(device, features, answered) = subject(number);
        for queue in answered {
            let Subject(device, ..) = subject(number);
            let driver = Driver::ready(device, features);
            driver.set_available(*queue, 5000);
            driver.ring(*queue);
            driver.wait_for_needs_reset();
        }
        drop(device);
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

#[test]
fn a_table_of_more_descriptors_than_any_queue_has_is_given_back() {
    let mut driver = disk(&file(65_536), false);
    let table = BUFFERS + 0x1000;
    for (count, is_right) in [(500_u16, true), (1024, true), (1025, false), (65_535, false)] {
        let data = |index| Descriptor(BUFFERS + 512, 1, NEXT | WRITE, index + 2);
        let header = std::iter::once(Descriptor(BUFFERS, 16, NEXT, 1));
        let last = std::iter::once(Descriptor(BUFFERS + 512, 1, WRITE, 0));
        let bytes: Vec<u8> = header.chain((0..count - 2).map(data)).chain(last).flat_map(Descriptor::bytes).collect();
        driver.memory.write_slice(&bytes, GuestAddress(table)).unwrap();
        driver.put_descriptor(0, 0, Descriptor(table, u32::try_from(bytes.len()).unwrap(), INDIRECT, 0));
        driver.offer(0, 0);
        // As many bytes as no sector has, which is answered by an error.
        assert_eq!(driver.wait(0), u32::from(is_right), "{count}");
    }
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let address = prop_oneof![Just(BUFFERS), Just(MEMORY - 100), Just(0), (0..3_u64).prop_map(|less| u64::MAX - less), any::<u64>()];
    let length = prop_oneof![Just(16_u32), Just(1), Just(512), 0..5000_u32, any::<u32>()];
    (address, length, 0..8_u16, 0..6_u16).prop_map(|(address, length, flags, next)| Descriptor(address, length, flags, next))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40 * SUBJECTS as u32, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn no_chain_breaks_a_device(
        number in 0..SUBJECTS,
        chains in proptest::collection::vec((0..6_usize, proptest::collection::vec(descriptor(), 6), 0..8_u16), 1..12),
        kind in 0..14_u32,
        sector in prop_oneof![0..200_u64, any::<u64>()],
        more in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let Subject(device, features, answered) = subject(number);
        let sizes = device.queue_sizes();
        let mut driver = Driver::ready(device, features);
        driver.memory.write_slice(&[header(kind, sector), more].concat(), GuestAddress(BUFFERS)).unwrap();
        for (queue, chain, head) in chains {
            let queue = (queue % sizes.len()) as u16;
            for (index, descriptor) in (0..).zip(chain) {
                driver.put_descriptor(queue, index, descriptor);
            }
            driver.offer(queue, head);
            if answered.contains(&queue) {
                driver.until("the chain is given back", |driver| driver.has_used_all(queue) || driver.status() & 64 != 0);
            }
        }
        // Who gives the memory of queues away has none.
        prop_assert!(driver.status() & 64 == 0 || BALLOONS.contains(&number));
        // At any point it can be begun anew, and works.
        driver.set_up(features, &sizes);
        driver.request(answered[0], &[Part::Give(header(8, 0)), Part::Room(21)]);
        prop_assert_eq!(driver.status(), 15);
    }

    #[test]
    fn no_access_to_registers_breaks_a_device(
        number in 0..=SUBJECTS,
        is_set_up: bool,
        accesses in proptest::collection::vec((0..0x8000_u64, 0..4_usize, any::<u64>(), any::<bool>()), 0..200),
    ) {
        use devices::pci::PciFunction;
        let Subject(device, features, _) = if number < SUBJECTS { subject(number) } else { Subject(file_system::agreeable(), 0, &[]) };
        let driver = if is_set_up { Driver::ready(device, features) } else { Driver::of(device) };
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
