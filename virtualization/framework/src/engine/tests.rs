//! Machines on a hypervisor that does what the test says.

use std::io::Write;
use std::sync::Arc;

use boot::layout;
use hv::Exit;
use hv::fake::{FakeHypervisor, Step};

use crate::*;

mod confinement;
mod nbd;

/// The smallest file that is an ELF kernel: one segment at 1 MiB, a `hlt`.
pub fn kernel() -> tempfile::NamedTempFile {
    kernel_with(&[0xf4])
}

/// An ELF kernel of these bytes at 1 MiB.
fn kernel_with(segment: &[u8]) -> tempfile::NamedTempFile {
    let mut elf = vec![0_u8; 64 + 56];
    elf[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
    elf[24..32].copy_from_slice(&0x10_0000_u64.to_le_bytes());
    elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
    elf[52..58].copy_from_slice(&[64, 0, 56, 0, 1, 0]);
    let header = &mut elf[64..];
    header[0] = 1;
    let length = segment.len() as u64;
    for (place, value) in [(8, 120_u64), (24, 0x10_0000), (32, length), (40, length)] {
        header[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    elf.extend(segment);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&elf).unwrap();
    file
}

struct Setup {
    hypervisor: FakeHypervisor,
    machine: VirtualMachine,
    events: EventStream,
    kernel: tempfile::NamedTempFile,
}

fn machine() -> Setup {
    machine_with(|_| ())
}

fn machine_with(change: impl FnOnce(&mut VirtualMachineConfiguration)) -> Setup {
    let kernel = kernel();
    let mut configuration = VirtualMachineConfiguration::new();
    configuration.cpu_count = 3;
    configuration.memory_size = 32 * MIB;
    configuration.boot_loader = Some(LinuxBootLoader::new(kernel.path()).into());
    change(&mut configuration);
    configuration.validate().unwrap();
    let hypervisor = FakeHypervisor::new();
    let machine = VirtualMachine::with_hypervisor(configuration, Arc::new(hypervisor.clone())).unwrap();
    let events = machine.events();
    Setup { hypervisor, machine, events, kernel }
}

/// Events up to the first that is not of the state, and the states before it.
fn states_until_event(events: &mut EventStream) -> (Vec<State>, Event) {
    let mut states = Vec::new();
    loop {
        match events.next().unwrap() {
            Event::StateChanged(state) => states.push(state),
            event => return (states, event),
        }
    }
}

fn port_write(port: u16, value: u8) -> Step {
    Step::PortWrite(port, vec![value])
}

fn power_off() -> Step {
    port_write(layout::SLEEP_PORT, layout::SLEEP_ENABLE | layout::SLEEP_TYPE_OFF << 2)
}

#[test]
fn a_machine_goes_through_its_states() {
    let Setup { machine, events, kernel: _kernel, .. } = machine();
    assert!(machine.can_start() && !machine.can_stop() && !machine.can_pause() && !machine.can_resume());
    machine.start().wait().unwrap();
    assert!(machine.can_pause() && machine.can_stop() && machine.can_request_stop() && !machine.can_start());
    machine.pause().wait().unwrap();
    assert!(machine.can_resume() && machine.can_stop() && !machine.can_pause());
    machine.resume().wait().unwrap();
    machine.stop().wait().unwrap();
    assert_eq!(machine.state(), State::Stopped);
    drop(machine);
    let states = events.filter_map(|event| if let Event::StateChanged(state) = event { Some(state) } else { None });
    let expected = "starting running pausing paused resuming running stopping stopped";
    assert_eq!(states.map(State::as_str).collect::<Vec<_>>().join(" "), expected);
}

#[test]
fn what_is_called_at_the_wrong_time_is_an_error() {
    let Setup { machine, kernel: _kernel, .. } = machine();
    for completion in [machine.stop(), machine.pause(), machine.resume(), machine.request_stop()] {
        assert_eq!(completion.wait().unwrap_err().kind(), ErrorKind::InvalidState);
    }
    machine.start().wait().unwrap();
    let error = machine.start().wait().unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidState, "A machine that is running cannot be started"));
    assert_eq!(machine.state(), State::Running);
    let recovery = StartOptions { start_up_from_macos_recovery: true };
    assert_eq!(machine.start_with(&recovery).wait().unwrap_err().kind(), ErrorKind::NotSupported);
}

#[test]
fn a_guest_that_powers_off_has_stopped_and_can_start_again() {
    let Setup { hypervisor, machine, mut events, kernel: _kernel, .. } = machine();
    for _ in 0..2 {
        machine.start().wait().unwrap();
        hypervisor.then(power_off());
        let (states, event) = states_until_event(&mut events);
        assert_eq!(states, [State::Starting, State::Running, State::Stopped]);
        assert!(matches!(event, Event::GuestStopped));
        assert_eq!(machine.state(), State::Stopped);
    }
}

#[test]
fn a_reboot_is_a_new_computer_in_the_same_machine() {
    let Setup { hypervisor, machine, mut events, kernel: _kernel, .. } = machine();
    machine.start().wait().unwrap();
    hypervisor.then(port_write(layout::RESET_PORT, layout::RESET_VALUE));
    assert!(matches!(states_until_event(&mut events).1, Event::GuestRebooted));
    assert_eq!((machine.state(), hypervisor.machines()), (State::Running, 2));
    hypervisor.then(power_off());
    assert!(matches!(states_until_event(&mut events), (states, Event::GuestStopped) if states == [State::Stopped]));
}

#[test]
fn a_panic_is_told_and_the_guest_goes_on() {
    let Setup { hypervisor, machine, mut events, kernel: _kernel, .. } = machine();
    machine.start().wait().unwrap();
    hypervisor.then(port_write(layout::PANIC_PORT, 1));
    assert!(matches!(states_until_event(&mut events).1, Event::GuestPanicked));
    assert_eq!(machine.state(), State::Running);
}

#[test]
fn what_the_guest_cannot_survive_is_an_error() {
    for exit in [Exit::Shutdown, Exit::Failed("the processor is on fire".to_owned())] {
        let Setup { hypervisor, machine, mut events, kernel: _kernel, .. } = machine();
        machine.start().wait().unwrap();
        hypervisor.then(Step::Exit(exit));
        let (states, event) = states_until_event(&mut events);
        assert_eq!(states, [State::Starting, State::Running, State::Error]);
        let Event::StoppedWithError(error) = event else { panic!("{event:?}") };
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(["vCPU 0 had a triple fault", "vCPU 0 failed: the processor is on fire"].contains(&error.to_string().as_str()), "{error}");
        machine.start().wait().unwrap();
        assert_eq!(machine.state(), State::Running);
    }
}

#[test]
fn a_device_that_panics_is_an_error() {
    let Setup { hypervisor, machine, mut events, kernel: _kernel, .. } = machine();
    machine.start().wait().unwrap();
    hypervisor.then(Step::Panic);
    let (_, event) = states_until_event(&mut events);
    let Event::StoppedWithError(error) = event else { panic!("{event:?}") };
    assert!(error.to_string().contains("vCPU 0 panicked"), "{error}");
    assert_eq!(machine.state(), State::Error);
    machine.start().wait().unwrap();
    machine.pause().wait().unwrap();
}

#[test]
fn what_the_host_refuses_is_said_and_nothing_is_left() {
    let Setup { hypervisor, machine, kernel, .. } = machine();
    hypervisor.refuse(true);
    let error = machine.start().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Host);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("group kvm"), "{source}");
    assert_eq!(machine.state(), State::Stopped);
    hypervisor.refuse(false);

    kernel.as_file().set_len(3).unwrap();
    let error = machine.start().wait().unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("not a Linux kernel"));
}

#[test]
fn the_end_of_the_last_handle_ends_everything() {
    let Setup { machine, events, kernel: _kernel, .. } = machine();
    let other = machine.clone();
    machine.start().wait().unwrap();
    drop(machine);
    assert_eq!(other.state(), State::Running);
    let stopping = other.pause();
    drop(other);
    stopping.wait().unwrap();
    assert!(events.last().is_some());
}

#[test]
fn an_invalid_configuration_says_why() {
    let error = VirtualMachine::new(VirtualMachineConfiguration::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
    assert_eq!(error.problems()[0].path, "boot_loader");
}

#[test]
fn a_card_is_connected_to_something_else_and_told_of_when_that_goes() {
    let Setup { machine, mut events, kernel: _kernel, .. } = machine_with(|configuration| {
        let (here, there) = std::os::unix::net::UnixDatagram::pair().unwrap();
        std::mem::forget(there);
        configuration.network_devices = vec![VirtioNetworkDevice::new(FileHandleNetworkAttachment::new(here)).into()];
    });
    machine.start().wait().unwrap();
    let card = machine.network_devices().remove(0);
    assert!(matches!(card.attachment(), Some(NetworkAttachment::FileHandle(_))));
    // What cannot be changes nothing.
    let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
    let error = card.set_attachment(Some(FileHandleNetworkAttachment::new(here).into())).unwrap_err();
    assert_eq!((error.kind(), error.problems()[0].path.as_str()), (ErrorKind::InvalidConfiguration, "attachment.socket"));
    let (not_a_tap, _other) = rustix::pipe::pipe().unwrap();
    let error = card.set_attachment(Some(TapNetworkAttachment::descriptors([not_a_tap]).into())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(card.attachment().is_some());
    card.set_attachment(None).unwrap();
    assert!(card.attachment().is_none());
    // It stays so when the machine starts anew.
    machine.stop().wait().unwrap();
    machine.start().wait().unwrap();
    assert!(card.attachment().is_none());
    drop((card, machine));
    assert!(events.all(|event| matches!(event, Event::StateChanged(_))));
}
