//! Virtio devices and guests that mean no good: whatever is written to registers, queues and memory, a device neither panics nor hangs, and
//! can be reset. So can one of shared directories, whatever its server says.
#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use confinement::{Confinement, Thread};
use devices::EventLoop;
use devices::pci::PciFunction;
use devices::virtio::balloon::Balloon;
use devices::virtio::console::{Console, Port};
use devices::virtio::file_system::{Server, Start};
use devices::virtio::network::Link;
use devices::virtio::socket::{Socket, SocketPorts};
use devices::virtio::{Block, Disk, Entropy, FileSystem, Network, VirtioDevice, VirtioPci};
use hv::fake::FakeVm;
use hv::vm_memory::{Bytes, GuestAddress};
use libfuzzer_sys::fuzz_target;

const BASE: u64 = 0xc000_0000;
const MEMORY: u64 = 1 << 20;
const DISK: u64 = 64 << 10;

/// A server of shared directories that has said everything beforehand.
struct Said(#[expect(dead_code, reason = "it is connected for as long as it is there")] UnixStream);

impl Server for Said {
    fn end(self: Box<Self>) -> Option<String> {
        None
    }
}

/// Starts servers that say so many of the answers that an honest one gives until it serves two queues, and then something else.
fn servers(honest: u8, other: &[u8]) -> Start {
    let known = [(1_u32, 1_u64 << 32 | 1 << 30 | 1 << 29 | 1 << 28), (15, 1 << 3)];
    let done = [2, 5, 8, 10, 9, 13, 12, 8, 10, 9, 13, 12, 18, 18].map(|request| (request, 0));
    let answers = known.into_iter().chain(done).take(honest.into());
    let mut said: Vec<u8> = answers
        .flat_map(|(request, value)| [&request.to_le_bytes()[..], &[5, 0, 0, 0, 8, 0, 0, 0], &value.to_le_bytes()].concat())
        .collect();
    said.extend(other);
    Box::new(move || {
        let (here, mut there) = UnixStream::pair()?;
        // It is less than there is room for.
        there.write_all(&said)?;
        if !said.is_empty() {
            there.shutdown(Shutdown::Write)?;
        }
        Ok((here.into(), Box::new(Said(there))))
    })
}

fn device(kind: u8, input: &mut &[u8]) -> Option<Box<dyn VirtioDevice>> {
    let confinement = Confinement::off();
    let events = || EventLoop::new("fuzz", Thread::Events, &confinement).ok().map(Arc::new);
    Some(match kind % 7 {
        0 => {
            let file = tempfile::tempfile().ok()?;
            file.set_len(DISK).ok()?;
            Box::new(Block::new(Disk::raw(file, false).ok()?, &confinement).ok()?)
        }
        1 => Box::new(Entropy::new(events()?)),
        2 => {
            let link = Link::new(vec![Box::new(OwnedFd::from(UnixDatagram::pair().ok()?.0))], Box::new(|_| {})).ok()?;
            Box::new(Network::new(Arc::new(link), [2, 0, 0, 0, 0, 1], 1500, 2, events()?, &confinement).ok()?)
        }
        3 => Box::new(Balloon::new(Arc::default(), events()?)),
        4 => {
            let ports = SocketPorts::new().ok()?;
            ports.listen(1, Box::new(|_| true));
            Box::new(Socket::new(ports, events()?))
        }
        5 => {
            let [honest, length, rest @ ..] = *input else { return None };
            let (other, rest) = rest.split_at_checked(usize::from(length % 64))?;
            *input = rest;
            let (patience, gone) = (Duration::from_millis(20), Arc::new(|_| ()));
            Box::new(FileSystem::new("fuzz", servers(honest % 32, other), patience, gone, events()?).ok()?)
        }
        _ => {
            let port = Port { number: 1, name: Some("fuzz".to_owned()), is_console: false };
            Box::new(Console::multiple(vec![port], Arc::default(), 2, Box::new(|_, _| {}), &confinement).ok()?)
        }
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, mut input)) = input.split_first() else { return };
    let Some(device) = device(*kind, &mut input) else { return };
    let queues = device.queue_sizes();
    let features = device.features() | 1 << 32 | 1 << 28;
    let memory = hv::allocate(&[(0, MEMORY)]).expect("memory");
    let vm = Arc::new(FakeVm::default());
    let function = VirtioPci::new(device, BASE as u32, vm.clone(), memory.clone()).expect("a device");
    let write = |offset: u64, data: &[u8]| function.write(BASE + offset, data);
    function.write_configuration(4, &[6]);

    // A driver that begins as one should, or nothing of what follows would reach the queues.
    write(0x14, &[3]);
    for (select, half) in [(0_u32, features as u32), (1, (features >> 32) as u32)] {
        write(0x08, &select.to_le_bytes());
        write(0x0c, &half.to_le_bytes());
    }
    write(0x14, &[11]);
    for (number, _) in (0_u16..).zip(&queues) {
        let start = 0x1000 + u64::from(number) * 0x1000;
        write(0x16, &number.to_le_bytes());
        write(0x18, &16_u16.to_le_bytes());
        for (place, offset) in [(0x20, 0), (0x28, 0x400), (0x30, 0x800)] {
            write(place, &(start + offset).to_le_bytes());
        }
        write(0x1c, &1_u16.to_le_bytes());
    }
    write(0x14, &[15]);

    // Then writes wherever the input says.
    for step in input.chunks_exact(12) {
        let [action, size, place_low, place_high, value @ ..] = step else { continue };
        let place = u64::from(u16::from_le_bytes([*place_low, *place_high]));
        let data = &value[..1 << (size % 4)];
        match action % 4 {
            0 | 1 => {
                let _ = memory.write_slice(data, GuestAddress(place));
            }
            2 => {
                vm.ring(BASE + 0x3000 + place % 16 * 4);
            }
            _ => {
                write(place % 0x8000, data);
            }
        }
    }
    for queue in 0..queues.len() as u64 {
        vm.ring(BASE + 0x3000 + queue * 4);
    }
    write(0x14, &[0]);
    let mut status = [0];
    function.read(BASE + 0x14, &mut status);
    assert_eq!(status, [0]);
});
