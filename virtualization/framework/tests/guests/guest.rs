//! A test guest: started, read, typed to.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use virtualization::{Event, LinuxBootLoader, MIB, SerialAttachment, Uart16550, VirtualMachine, VirtualMachineConfiguration};

/// How long anything may take: an emulated KVM on a busy computer is slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// Says that a test does nothing, and why.
///
/// # Panics
/// Where nothing may be left out: `cargo xtask test` has everything.
pub fn skip(kind: &str, reason: &str) {
    let is_strict = std::env::var("VIVARIUM_REQUIRE_GUESTS").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    assert!(!is_strict, "nothing may be skipped here, and {reason}");
    eprintln!("{kind}: {reason}");
}

/// A guest, first as it is to be, then as it runs.
pub struct Guest {
    folder: PathBuf,
    /// Whether the host unpacks its kernel.
    pub unpacked_by_host: bool,
    /// What it is to be, without a boot loader and a serial port.
    pub configuration: VirtualMachineConfiguration,
    running: Option<Running>,
}

struct Running {
    machine: VirtualMachine,
    events: Receiver<Event>,
    keyboard: File,
    lines: Receiver<String>,
}

impl Guest {
    /// A guest with one vCPU, or a reason to leave the test out, said aloud.
    pub fn prepare() -> Option<Self> {
        if let Err(error) = VirtualMachine::is_supported() {
            let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            skip("not possible here", &format!("{error} ({why}); cargo xtask test runs this in an emulated Linux that has KVM"));
            return None;
        }
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = variable("VIVARIUM_GUESTS").unwrap_or_else(|| variable("HOME").unwrap_or_default().join(".cache/vivarium-guests"));
        let folder = folder.join("x86_64");
        if !folder.join("kernel").is_file() {
            skip("skipped", &format!("there is no test guest in {}; cargo xtask guests x86_64 assembles it", folder.display()));
            return None;
        }
        let mut configuration = VirtualMachineConfiguration::new();
        configuration.cpu_count = 1;
        configuration.memory_size = 512 * MIB;
        Some(Self { folder, unpacked_by_host: true, configuration, running: None })
    }

    /// Starts it with these words on the kernel's command line, and waits until its shell is there.
    pub fn start(&mut self, words: &str) {
        self.start_only(words);
        self.wait_for("vivarium guest ready");
    }

    /// Starts it.
    pub fn start_only(&mut self, words: &str) {
        let machine = self.make(words);
        machine.start().wait().unwrap();
    }

    /// Ends the machine, and goes on in another one where it was saved.
    pub fn restore(&mut self, path: &Path) {
        self.running = None;
        let machine = self.make("");
        machine.restore_machine_state_from(path).wait().unwrap();
        machine.resume().wait().unwrap();
    }

    /// A machine, with somebody who reads its screen.
    fn make(&mut self, words: &str) -> VirtualMachine {
        let (input, keyboard) = rustix::pipe::pipe().unwrap();
        let (screen, output) = rustix::pipe::pipe().unwrap();
        let mut configuration = self.configuration.clone();
        let loader = LinuxBootLoader::new(self.folder.join("kernel")).initial_ramdisk(self.folder.join("initrd.gz"));
        let loader = loader.unpacked_by_host(self.unpacked_by_host);
        configuration.boot_loader = Some(loader.command_line(format!("console=ttyS0 {words}")).into());
        configuration.serial_ports = vec![Uart16550::new(SerialAttachment::file_handles(Some(input), Some(output))).into()];
        let machine = VirtualMachine::new(configuration).unwrap();
        assert!(machine.confinement().system_calls, "a guest runs as it does by default");
        let (happened, events) = channel();
        let stream = machine.events().filter(|event| !matches!(event, Event::StateChanged(_)));
        std::thread::spawn(move || stream.for_each(|event| drop(happened.send(event))));

        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut screen = BufReader::new(File::from(screen));
            let mut line = Vec::new();
            while screen.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                println!("guest: {text}");
                if sender.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        self.running = Some(Running { machine: machine.clone(), events, keyboard: keyboard.into(), lines });
        machine
    }

    /// Where the kernel and the initial RAM disk are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tries to start a machine beside it, with the same guest.
    pub fn start_another(&self, mut configuration: VirtualMachineConfiguration) -> virtualization::Result<()> {
        configuration.boot_loader = Some(LinuxBootLoader::new(self.folder.join("kernel")).into());
        VirtualMachine::new(configuration)?.start().wait()
    }

    /// Types a command and waits for a line that it says.
    pub fn run(&mut self, command: &str, answer: &str) -> String {
        self.type_line(command);
        self.wait_for(answer)
    }

    /// Switches it off.
    pub fn power_off(&mut self) {
        self.type_line("poweroff -f");
        assert!(matches!(self.event(), Event::GuestStopped));
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("it was started")
    }

    /// The machine.
    pub fn machine(&mut self) -> &VirtualMachine {
        &self.running().machine
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        self.running().keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Reads until there is a line with this text, and returns it. What is typed is echoed, so the text is to be another one.
    pub fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.running().lines.recv_timeout(left);
            let line = line.unwrap_or_else(|error| panic!("the guest never said {text:?}: {error}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// What happens to the machine next, apart from its state.
    pub fn event(&mut self) -> Event {
        self.running().events.recv_timeout(PATIENCE).expect("an event in time")
    }
}
