//! Saved states that somebody has tampered with: a file is refused or read, and a device whose state makes no sense is refused or works,
//! without a panic or a hang.
#![no_main]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use confinement::{Confinement, Thread};
use devices::EventLoop;
use devices::pci::PciFunction;
use devices::virtio::balloon::Balloon;
use devices::virtio::console::{Console, Port};
use devices::virtio::network::Link;
use devices::virtio::socket::{Socket, SocketPorts};
use devices::virtio::{Block, Disk, Entropy, Network, VirtioDevice, VirtioPci};
use hv::fake::FakeVm;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const BASE: u64 = 0xc000_0000;
const MEMORY: u64 = 1 << 20;

fn device(kind: u8, events: &Arc<EventLoop>) -> Option<Box<dyn VirtioDevice>> {
    Some(match kind % 6 {
        0 => {
            let file = tempfile::tempfile().ok()?;
            file.set_len(64 << 10).ok()?;
            Box::new(Block::new(Disk::raw(file, false).ok()?, &Confinement::off()).ok()?)
        }
        1 => Box::new(Entropy::new(Arc::clone(events))),
        2 => Box::new(Balloon::new(Arc::default(), Arc::clone(events))),
        3 => Box::new(Socket::new(SocketPorts::new().ok()?, Arc::clone(events))),
        4 => {
            let link = Link::new(vec![Box::new(OwnedFd::from(UnixDatagram::pair().ok()?.0))], Box::new(|_| {})).ok()?;
            Box::new(Network::new(Arc::new(link), [2, 0, 0, 0, 0, 1], 1500, 2, Arc::clone(events), &Confinement::off()).ok()?)
        }
        _ => {
            let port = Port { number: 1, name: None, is_console: false };
            Box::new(Console::multiple(vec![port], Arc::default(), 2, Box::new(|_, _| {}), &Confinement::off()).ok()?)
        }
    })
}

fn function(kind: u8, events: &Arc<EventLoop>) -> Option<VirtioPci> {
    let memory = hv::allocate(&[(0, MEMORY)]).ok()?;
    let function = VirtioPci::new(device(kind, events)?, BASE as u32, Arc::new(FakeVm::default()), memory).ok()?;
    function.pause();
    Some(function)
}

/// All numbers and truth values in a state.
fn leaves<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(|element| leaves(element, found)),
        Value::Object(fields) => fields.values_mut().for_each(|field| leaves(field, found)),
        leaf => found.push(leaf),
    }
}

fn restore(kind: u8, input: &[u8]) -> Option<()> {
    let events = Arc::new(EventLoop::new("fuzz", Thread::Events, &Confinement::off()).ok()?);
    events.pause();
    // A device in use, with all queues, so that what is changed below reaches them.
    let mut saved = serde_json::to_value(function(kind, &events)?.save().ok()?).ok()?;
    saved["status"] = 15.into();
    saved["driver_features"] = (1_u64 << 32).into();
    saved["configuration"][4] = 6.into();
    for (place, queue) in (1_u64..).zip(saved["queues"].as_array_mut()?) {
        queue["enabled"] = true.into();
        for (part, offset) in [("descriptors", 0), ("available", 0x1000), ("used", 0x2000)] {
            queue[part] = (place * 0x4000 + offset).into();
        }
    }
    let mut places = Vec::new();
    leaves(&mut saved, &mut places);
    for change in input.chunks_exact(10) {
        let (place, value) = change.split_at(2);
        let place = usize::from(u16::from_le_bytes(place.try_into().ok()?)) % places.len();
        let value = u64::from_le_bytes(value.try_into().ok()?);
        *places[place] = if places[place].is_boolean() { (value & 1 == 1).into() } else { value.into() };
    }
    let restored = function(kind, &events)?;
    if let Ok(saved) = serde_json::from_value(saved)
        && restored.restore(&saved).is_ok()
    {
        events.resume();
        restored.resume();
        restored.write(BASE + 0x14, &[0]);
    }
    Some(())
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else { return };
    if kind % 7 == 6 {
        let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
        if std::io::Write::write_all(&mut file, input).is_ok() {
            let _ = virtualization::SavedMachineState::open(file.path());
        }
    } else {
        let _ = restore(*kind % 7, input);
    }
});
