//! A guest that is debugged, by GDB itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use virtualization::GdbDebugStub;

use crate::guest::{Guest, skip};

/// How long GDB may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// GDB, and what it says.
struct Gdb {
    program: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    commands: u32,
}

impl Gdb {
    fn start() -> Option<Self> {
        let mut gdb = Command::new("gdb");
        gdb.args(["--quiet", "--nx", "--nh"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut program = match gdb.spawn() {
            Ok(program) => program,
            Err(error) => {
                skip("skipped", &format!("GDB could not be started ({error}); cargo xtask setup installs it"));
                return None;
            }
        };
        let input = program.stdin.take().unwrap();
        let output: Box<dyn Read + Send> = Box::new(program.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                println!("gdb: {line}");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Some(Self { program, input, lines, commands: 0 })
    }

    fn send(&mut self, command: &str) {
        self.commands += 1;
        writeln!(self.input, "{command}\necho \\ndone {}\\n", self.commands).unwrap();
    }

    /// What it says until it has done what it was told last.
    fn said(&mut self) -> String {
        let (mut said, end) = (String::new(), format!("done {}", self.commands));
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("GDB is not done ({error}): {said}"));
            if line.ends_with(&end) {
                return said;
            }
            said += &line;
            said.push('\n');
        }
    }

    fn run(&mut self, command: &str) -> String {
        self.send(command);
        self.said()
    }

    fn expect(&mut self, command: &str, answer: &str) {
        let said = self.run(command);
        assert!(said.contains(answer), "{command}: {answer} is not in {said}");
    }
}

impl Drop for Gdb {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn gdb_stops_steps_and_looks_at_a_guest() {
    let Some(mut guest) = Guest::prepare() else { return };
    let Some(mut gdb) = Gdb::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gdb");
    guest.configuration.cpu_count = 2;
    guest.configuration.debug_stub = Some(GdbDebugStub::unix(&socket));
    guest.start("quiet nokaslr");
    // Where opening a file begins, and which version of Linux it is, as the guest's kernel has it.
    let symbol = |guest: &mut Guest, name: &str| {
        let line = guest.run(&format!(r#"awk '$3 == "{name}" {{print "at", "0x" $1}}' /proc/kallsyms"#), "at 0x");
        line[line.find("0x").unwrap()..].trim().to_owned()
    };
    let open = symbol(&mut guest, "do_sys_openat2");
    let banner = symbol(&mut guest, "linux_banner");

    gdb.run("set pagination off");
    gdb.run("set confirm off");
    gdb.run("set architecture i386:x86-64");
    gdb.expect(&format!("target remote {}", socket.display()), "Remote debugging");
    gdb.expect("info threads", "vCPU 1");
    gdb.expect(&format!("x/s {banner}"), "Linux version");

    // With a byte of its own in the guest's memory, and without. QEMU's emulation of AMD's virtualization does not stop at the former, so it is
    // left to the tests with a fake where the processor is one of a virtual machine.
    let is_virtual = std::fs::read_to_string("/proc/cpuinfo").unwrap().contains(" hypervisor ");
    let commands = if is_virtual { &["hbreak"][..] } else { &["hbreak", "break"] };
    for (number, command) in (1..).zip(commands) {
        gdb.expect(&format!("{command} *{open}"), &format!("reakpoint {number} at"));
        gdb.send("continue");
        guest.type_line("cat /proc/version > /dev/null; echo read $((40 + 2))");
        let said = gdb.said();
        assert!(said.contains(&format!("Breakpoint {number}")), "{said}");
        gdb.expect("p/x (long)$pc", &open);
        // The breakpoint is not part of what is seen.
        let bytes = gdb.run(&format!("x/4xb {open}"));
        assert!(!bytes.contains("0xcc"), "{bytes}");
        gdb.expect(&format!("stepi\np (long)$pc > {open} && (long)$pc < {open} + 16"), "= 1");
        gdb.run(&format!("delete {number}"));
        gdb.send("detach");
        guest.wait_for("read 42");
        gdb.said();
        if number < commands.len() {
            gdb.expect(&format!("target remote {}", socket.display()), "Remote debugging");
        }
    }
    // It runs as if nobody had been there.
    guest.run("echo alive $((6 * 7))", "alive 42");
    guest.power_off();
}
