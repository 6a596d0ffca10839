//! Debuggers that speak to machines on a fake hypervisor.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use hv::fake::{FakeHypervisor, Step};
use hv::{DebugExit, Exit, Watch};

use super::tests::kernel;
use crate::*;

/// A debugger.
struct Debugger(UnixStream);

impl Debugger {
    fn connect(path: &std::path::Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        Self(stream)
    }

    fn send(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        self.0.write_all(format!("${packet}#{sum:02x}").as_bytes()).unwrap();
    }

    fn receive(&mut self) -> String {
        let mut packet = Vec::new();
        let mut byte = [0];
        loop {
            self.0.read_exact(&mut byte).unwrap();
            match byte[0] {
                b'+' if packet.is_empty() => {}
                b'#' => break,
                other => packet.push(other),
            }
        }
        self.0.read_exact(&mut [0; 2]).unwrap();
        // Who has said goodbye need not hear this.
        let _ = self.0.write_all(b"+");
        // What is repeated is said once, with how often it comes again.
        let (mut said, mut bytes) = (Vec::new(), packet.into_iter().skip(1));
        while let Some(byte) = bytes.next() {
            match (byte, said.last().copied()) {
                (b'*', Some(last)) => said.extend(std::iter::repeat_n(last, usize::from(bytes.next().unwrap() - 29))),
                _ => said.push(byte),
            }
        }
        String::from_utf8(said).unwrap()
    }

    fn ask(&mut self, packet: &str) -> String {
        self.send(packet);
        self.receive()
    }
}

struct Setup {
    hypervisor: FakeHypervisor,
    machine: VirtualMachine,
    folder: tempfile::TempDir,
    _kernel: tempfile::NamedTempFile,
}

fn machine() -> Setup {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    let mut configuration = VirtualMachineConfiguration::new();
    configuration.cpu_count = 2;
    configuration.memory_size = 32 * MIB;
    configuration.boot_loader = Some(LinuxBootLoader::new(kernel.path()).into());
    configuration.debug_stub = Some(GdbDebugStub::unix(folder.path().join("gdb")));
    configuration.validate().unwrap();
    let hypervisor = FakeHypervisor::new();
    let machine = VirtualMachine::with_hypervisor(configuration, Arc::new(hypervisor.clone())).unwrap();
    Setup { hypervisor, machine, folder, _kernel: kernel }
}

#[test]
fn a_debugger_sees_and_changes_the_guest() {
    let Setup { hypervisor, machine, folder, _kernel } = machine();
    machine.start().wait().unwrap();
    let mut debugger = Debugger::connect(&folder.path().join("gdb"));
    assert_eq!(debugger.ask("?"), "T05thread:01;");
    assert_eq!(debugger.ask("qfThreadInfo"), "m01,02");
    // The second vCPU's instruction pointer is register 16.
    assert_eq!(debugger.ask("Hg2"), "OK");
    let registers = debugger.ask("g");
    assert_eq!(&registers[16 * 16..17 * 16], "0100000000000000");
    let changed = format!("{}{}{}", &registers[..256], "efbe000000000000", &registers[272..]);
    assert_eq!(debugger.ask(&format!("G{changed}")), "OK");
    assert_eq!(debugger.ask("g"), changed);

    // The kernel is one `hlt` at 1 MiB; what is not memory cannot be read.
    assert_eq!(debugger.ask("m100000,1"), "f4");
    assert_eq!(debugger.ask("M100100,2:1234"), "OK");
    assert_eq!(debugger.ask("m100100,2"), "1234");
    for nowhere in ["m4000000,4", "mffffffff80000000,4", "M4000000,1:00"] {
        assert!(debugger.ask(nowhere).starts_with('E'), "{nowhere}");
    }

    // A breakpoint is there, and is not seen.
    assert_eq!(debugger.ask("Z0,100100,1"), "OK");
    assert_eq!(debugger.ask("m1000ff,3"), "001234");
    for (address, answer) in [("200000", "OK"), ("200008", "OK"), ("200010", "OK"), ("200018", "OK"), ("200020", "E16")] {
        assert_eq!(debugger.ask(&format!("Z2,{address},8")), answer);
    }
    assert_eq!(debugger.ask("z2,200018,8"), "OK");
    assert_eq!(debugger.ask("Z1,100200,1"), "OK");
    debugger.send("vCont;c");
    hypervisor.then(Step::Exit(Exit::Debug(DebugExit::Software(0x10_0100))));
    assert_eq!(debugger.receive(), "T05thread:01;swbreak:;");
    let debugging = hypervisor.debugging();
    assert!(debugging[&0].software_breakpoints && !debugging[&0].steps);
    let watches: Vec<Watch> = debugging[&1].hardware_breakpoints.iter().map(|breakpoint| breakpoint.watch).collect();
    assert_eq!(watches, [Watch::Write(8), Watch::Write(8), Watch::Write(8), Watch::Execute]);

    debugger.send("vCont;s:1;c");
    // One of the guest's own is given back to it, unseen.
    hypervisor.then(Step::Exit(Exit::Debug(DebugExit::Software(0x10_0300))));
    hypervisor.then(Step::Exit(Exit::Debug(DebugExit::Step)));
    assert_eq!(debugger.receive(), "T05thread:01;");
    assert!(hypervisor.debugging()[&0].steps && !hypervisor.debugging()[&1].steps);
    for (exit, answer) in [(1, "T05thread:01;watch:200008;"), (3, "T05thread:01;hwbreak:;")] {
        debugger.send("vCont;c");
        hypervisor.then(Step::Exit(Exit::Debug(DebugExit::Hardware(exit))));
        assert_eq!(debugger.receive(), answer);
    }

    // Ctrl-C.
    debugger.send("vCont;c");
    debugger.0.write_all(b"\x03").unwrap();
    assert_eq!(debugger.receive(), "T02thread:01;");

    // Afterwards nothing is left of it.
    assert_eq!(debugger.ask("D"), "OK");
    let mut debugger = Debugger::connect(&folder.path().join("gdb"));
    assert_eq!(debugger.ask("m100100,2"), "1234");
    assert!(hypervisor.debugging().values().all(|debugging| *debugging == hv::Debugging::default()));
}

#[test]
fn a_machine_that_is_debugged_pauses_stops_and_ends() {
    let Setup { machine, folder, hypervisor, _kernel } = machine();
    let path = folder.path().join("gdb");
    // Without a guest there is nothing to debug.
    let mut nothing = Vec::new();
    UnixStream::connect(&path).unwrap().read_to_end(&mut nothing).unwrap();
    assert!(nothing.is_empty());
    machine.start().wait().unwrap();
    let mut debugger = Debugger::connect(&path);
    debugger.ask("?");
    machine.pause().wait().unwrap();
    debugger.send("vCont;c");
    hypervisor.then(Step::Exit(Exit::Debug(DebugExit::Step)));
    machine.resume().wait().unwrap();
    assert_eq!(debugger.receive(), "T05thread:01;");
    // While it stands still for the debugger.
    machine.stop().wait().unwrap();
    assert_eq!(debugger.0.read(&mut [0]).unwrap(), 0);

    machine.start().wait().unwrap();
    let mut debugger = Debugger::connect(&path);
    debugger.ask("?");
    debugger.send("vCont;c");
    drop(machine);
    assert!(!path.exists());
}
