//! Machines that are saved and restored, on a hypervisor that does what the test says.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boot::layout;
use hv::fake::{FakeHypervisor, Step};

use super::tests::kernel;
use crate::*;

struct Setup {
    hypervisor: FakeHypervisor,
    configuration: VirtualMachineConfiguration,
    folder: tempfile::TempDir,
    screen: fs::File,
    _keyboard: fs::File,
    _kernel: tempfile::NamedTempFile,
}

impl Setup {
    fn new() -> Self {
        let kernel = kernel();
        let (screen, output) = rustix::pipe::pipe().unwrap();
        let (input, keyboard) = rustix::pipe::pipe().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk.raw");
        fs::write(&disk, vec![0; 1 << 20]).unwrap();
        let mut configuration = VirtualMachineConfiguration::new();
        configuration.cpu_count = 2;
        configuration.memory_size = 32 * MIB;
        configuration.boot_loader = Some(LinuxBootLoader::new(kernel.path()).into());
        configuration.serial_ports = vec![Uart16550::new(SerialAttachment::file_handles(Some(input), Some(output))).into()];
        configuration.storage_devices = vec![VirtioBlockDevice::new(DiskImage::open(disk, Access::ReadWrite).unwrap()).into()];
        configuration.entropy_devices = vec![EntropyDevice::Virtio];
        configuration.memory_balloon_devices = vec![MemoryBalloonDevice::Virtio];
        configuration.socket_devices = vec![SocketDevice::Virtio];
        configuration.validate().unwrap();
        let hypervisor = FakeHypervisor::new();
        Self { hypervisor, configuration, folder, screen: screen.into(), _keyboard: keyboard.into(), _kernel: kernel }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn machine(&self) -> VirtualMachine {
        VirtualMachine::with_hypervisor(self.configuration.clone(), Arc::new(self.hypervisor.clone())).unwrap()
    }

    /// A machine that is paused, with numbers in it that are to be found again.
    fn paused(&mut self) -> VirtualMachine {
        let machine = self.machine();
        machine.start().wait().unwrap();
        // The scratch register, then a character, so that it is known when both are done.
        for (port, value) in [(layout::UART + 7, 0x5a), (layout::UART, b'!')] {
            self.hypervisor.then(Step::PortWrite(port, vec![value]));
        }
        let mut said = [0];
        self.screen.read_exact(&mut said).unwrap();
        machine.pause().wait().unwrap();
        let mut counters = self.hypervisor.counters();
        counters.machine = 7;
        counters.vcpus = [(0, 100), (1, 101)].into();
        machine
    }

    fn saved(&mut self) -> PathBuf {
        self.paused().save_machine_state_to(self.state()).wait().unwrap();
        self.state()
    }
}

/// Everything that an error says, its causes after it.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

fn refusal(machine: &VirtualMachine, path: &Path) -> String {
    let error = machine.restore_machine_state_from(path).wait().unwrap_err();
    assert_eq!((error.kind(), machine.state()), (ErrorKind::Restore, State::Stopped));
    told(&error)
}

#[test]
fn a_guest_goes_on_where_it_was_saved() {
    let mut setup = Setup::new();
    let machine = setup.paused();
    let events = machine.events();
    machine.save_machine_state_to(setup.state()).wait().unwrap();
    assert_eq!(machine.state(), State::Paused);
    let kept = setup.hypervisor.counters().clone();
    machine.resume().wait().unwrap();
    drop(machine);
    let states = events.filter_map(|event| if let Event::StateChanged(state) = event { Some(state) } else { None });
    assert_eq!(states.map(State::as_str).collect::<Vec<_>>().join(" "), "saving paused resuming running");

    // Any number of times, and what the guest says comes out of the other machine.
    for _ in 0..2 {
        let machine = setup.machine();
        let events = machine.events();
        machine.restore_machine_state_from(setup.state()).wait().unwrap();
        assert_eq!(machine.state(), State::Paused);
        assert_eq!(*setup.hypervisor.counters(), kept);
        machine.resume().wait().unwrap();
        setup.hypervisor.then(Step::PortWrite(layout::UART, vec![b'?']));
        let mut said = [0];
        setup.screen.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"?");
        machine.stop().wait().unwrap();
        drop(machine);
        let states = events.filter_map(|event| if let Event::StateChanged(state) = event { Some(state) } else { None });
        assert_eq!(states.map(State::as_str).collect::<Vec<_>>().join(" "), "restoring paused resuming running stopping stopped");
    }
}

#[test]
fn a_machine_that_was_restored_can_be_saved() {
    let mut setup = Setup::new();
    let first = setup.saved();
    let machine = setup.machine();
    machine.restore_machine_state_from(&first).wait().unwrap();
    let second = setup.folder.path().join("second");
    machine.save_machine_state_to(&second).wait().unwrap();
    // Over the file that it runs from.
    machine.save_machine_state_to(&first).wait().unwrap();
    machine.resume().wait().unwrap();
    drop(machine);
    let [first, second] = [first, second].map(|path| fs::read(path).unwrap());
    assert!(first == second, "the same machine, the same state");
}

#[test]
fn what_is_saved_and_restored_at_the_wrong_time_is_an_error() {
    let mut setup = Setup::new();
    let state = setup.saved();
    let machine = setup.machine();
    assert_eq!(machine.save_machine_state_to(&state).wait().unwrap_err().kind(), ErrorKind::InvalidState);
    machine.start().wait().unwrap();
    for completion in [machine.save_machine_state_to(&state), machine.restore_machine_state_from(&state)] {
        assert_eq!(completion.wait().unwrap_err().kind(), ErrorKind::InvalidState);
    }
    assert_eq!(machine.state(), State::Running);
}

#[test]
fn a_state_that_cannot_be_written_leaves_the_machine_paused_and_what_was_there() {
    let mut setup = Setup::new();
    let machine = setup.paused();
    for path in [setup.folder.path().join("no/such/folder"), setup.folder.path().to_owned(), PathBuf::from("/proc/state")] {
        let error = machine.save_machine_state_to(&path).wait().unwrap_err();
        assert_eq!((error.kind(), machine.state()), (ErrorKind::Save, State::Paused));
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    machine.resume().wait().unwrap();
    let names = fs::read_dir(setup.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["disk.raw"]);
}

#[test]
fn another_configuration_is_refused_with_what_differs() {
    let mut setup = Setup::new();
    let state = setup.saved();
    let said = SavedMachineState::open(&state).unwrap();
    assert_eq!((said.memory_size(), said.configuration()["cpu_count"].as_str()), (32 * MIB, "2"));
    setup.configuration.cpu_count = 3;
    setup.configuration.socket_devices.clear();
    setup.configuration.entropy_devices.push(EntropyDevice::Virtio);
    let Platform::Generic(platform) = &mut setup.configuration.platform;
    platform.machine_identifier = MachineIdentifier::random();
    let text = refusal(&setup.machine(), &state);
    for part in
        ["cpu_count was 2 and is 3", "entropy_devices[1] is Virtio and was not there", "socket_devices[0] was Virtio and is not there"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(text.contains("platform.machine_identifier was ") && !text.contains("memory_size"), "{text}");
}

#[test]
fn another_disk_and_another_processor_are_refused() {
    let mut setup = Setup::new();
    let state = setup.saved();
    setup.hypervisor.set_processor("another one");
    let text = refusal(&setup.machine(), &state);
    assert!(text.contains("saved on another processor"), "{text}");
    setup.hypervisor.set_processor("");
    let path = setup.folder.path().join("other.raw");
    fs::write(&path, vec![0; 2 << 20]).unwrap();
    setup.configuration.storage_devices = vec![VirtioBlockDevice::new(DiskImage::open(path, Access::ReadWrite).unwrap()).into()];
    let text = refusal(&setup.machine(), &state);
    assert!(text.contains("Block") && text.contains("2048 sectors") && text.contains("4096"), "{text}");
}

#[test]
fn what_is_no_state_any_longer_is_refused() {
    let mut setup = Setup::new();
    let state = setup.saved();
    let whole = fs::read(&state).unwrap();
    let machine = setup.machine();
    let other = setup.folder.path().join("other");
    let mut flipped = whole.clone();
    flipped[900] ^= 4;
    let mut newer = whole.clone();
    newer[8] += 1;
    for (bytes, reason) in [
        (&b"a text"[..], "no saved state"),
        (&whole[..whole.len() - 1], "not all there"),
        (&whole[..100], "not all there"),
        (&flipped, "is damaged"),
        (&newer, "version 2"),
    ] {
        fs::write(&other, bytes).unwrap();
        let text = refusal(&machine, &other);
        assert!(text.contains(reason) && text.contains("other"), "{reason} is not in {text}");
    }
    assert!(refusal(&machine, &setup.folder.path().join("nothing")).contains("cannot be read"));
    // The machine can still be used.
    machine.restore_machine_state_from(&state).wait().unwrap();
}

#[test]
fn a_device_in_the_way_is_named() {
    let mut setup = Setup::new();
    let state = setup.saved();
    let share = VirtioFileSystemDevice::new("home", SharedDirectory::new("/"));
    setup.configuration.directory_sharing_devices = vec![share.into()];
    let error = setup.machine().restore_machine_state_from(&state).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(told(&error).contains("directory_sharing_devices[0]"), "{}", told(&error));
}
