//! Guests that are saved and go on, in other machines and in other processes.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use virtualization::{
    Access, DiskImage, ErrorKind, MIB, MemoryBalloonDevice, NatNetworkAttachment, SocketDevice, State, VirtioBlockDevice,
    VirtioNetworkDevice,
};

use crate::guest::{Guest, skip};
use crate::page;
use crate::vmrun::{self, PATIENCE, Vmrun};

/// How often a guest is saved and restored.
const ROUNDS: usize = 50;
/// Seconds that a guest's clock may be off, most of which is what a line takes from the guest to here.
const CLOCK: u64 = 5;

/// What a guest does all the time: a chain of numbers, each made from all before it; what time it is; and beside that, data that goes
/// through memory and a disk.
const WORK: &str = r#"dd if=/dev/urandom of=/blob bs=64k count=16 2>/dev/null; md5sum /blob > /sum
{ while md5sum -c -s /sum && dd if=/blob of=/dev/vda bs=64k conv=fsync 2>/dev/null && echo 3 > /proc/sys/vm/drop_caches \
 && head -c 1048576 /dev/vda | cmp -s - /blob; do :; done; echo work bro''ken; } &
n=0; s=1; while :; do n=$((n + 1)); s=$(((s * 31 + n) % 1000003)); echo "step $n $s"; [ $((n % 8)) = 0 ] && echo "clock $(date +%s)"; done
"#;

/// Everything that a guest has said, in whatever process.
#[derive(Clone, Default)]
struct Said {
    unfinished: String,
    steps: u64,
    sum: u64,
    is_ready: bool,
    /// How often it told the time, and how many seconds it was off the last time.
    clocks: u64,
    clock: u64,
}

impl Said {
    /// Adds what a process says next; false where that was all.
    fn hear(&mut self, running: &mut Vmrun) -> bool {
        running.read().map(|bytes| self.add(&bytes)).is_some()
    }

    /// Has the guest saved, and adds everything that it still says. Returns how long after the process's start it said something first.
    fn hear_all(&mut self, mut running: Vmrun) -> Duration {
        running.save();
        while self.hear(&mut running) {}
        running.end()
    }

    fn add(&mut self, bytes: &[u8]) {
        self.unfinished += &String::from_utf8_lossy(bytes);
        while let Some((line, rest)) = self.unfinished.split_once('\n') {
            let (line, rest) = (line.trim_end().to_owned(), rest.to_owned());
            self.unfinished = rest;
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            // Not what is typed, which is echoed.
            ["step", number, sum] if !number.contains('$') => {
                self.steps += 1;
                self.sum = (self.sum * 31 + self.steps) % 1_000_003;
                assert_eq!((number, sum), (&*self.steps.to_string(), &*self.sum.to_string()), "in {line:?}");
            }
            ["clock", seconds] => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                self.clocks += 1;
                self.clock = now.abs_diff(seconds.parse().unwrap());
            }
            _ => {
                println!("guest: {line}");
                assert!(!line.contains("work broken") && !line.contains("BUG"), "{line}");
                self.is_ready |= line.contains("vivarium guest ready");
            }
        }
    }
}

#[test]
fn a_guest_that_works_is_saved_and_restored_in_new_processes() {
    let (Some(guest), Some(program)) = (Guest::prepare(), vmrun::program()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (disk, state, first) = (folder.path().join("disk.qcow2"), folder.path().join("state"), folder.path().join("first"));
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("4M").status().unwrap();
    assert!(made.success());
    let [kernel, initrd] = ["kernel", "initrd.gz"].map(|name| guest.folder().join(name).display().to_string());
    let (disk, state) = (disk.display().to_string(), state.display().to_string());
    let machine = |memory: &'static str| {
        ["--kernel", &kernel, "--initrd", &initrd, "--disk", &disk, "--rng", "--cpus", "2", "--memory", memory, "--save", &state].to_vec()
    };
    let same = [machine("192"), vec!["--restore", &state]].concat();

    let mut said = Said { sum: 1, ..Said::default() };
    let mut running = Vmrun::start(&program, &[machine("192"), vec!["--command-line", "console=ttyS0 quiet loglevel=1"]].concat());
    while !said.is_ready {
        assert!(said.hear(&mut running), "it ended");
    }
    let cold = running.started.elapsed();
    running.enter(WORK);
    while said.clocks == 0 {
        assert!(said.hear(&mut running), "it ended");
    }
    said.hear_all(running);
    fs::hard_link(&state, &first).unwrap();
    let after_first = said.clone();

    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut running = Vmrun::start(&program, &same);
        let enough = said.steps + 4;
        while said.steps < enough {
            assert!(said.hear(&mut running), "it ended");
        }
        times.push(said.hear_all(running));
    }
    times.sort();
    let [shortest, middle, longest] = [0, ROUNDS / 2, ROUNDS - 1].map(|place| times[place].as_millis());
    println!("first output {shortest}, {middle}, {longest} ms after a restore; a shell {} ms after a start", cold.as_millis());

    // What ran from it did not change it, and the time that has passed since has passed for the guest, too. Its disk has gone on without
    // it, so that nothing more is asked of that.
    let mut again = after_first;
    let arguments: Vec<&str> = same.iter().map(|argument| if *argument == state { first.to_str().unwrap() } else { argument }).collect();
    let mut running = Vmrun::start(&program, &arguments);
    // What it tells first is what it asked for when it was saved, and then what its clock's latest tick was, until there is another one.
    let enough = again.clocks + 2;
    while again.clocks < enough || again.clock > CLOCK {
        assert!(again.hear(&mut running), "it ended");
        assert!(running.started.elapsed() < PATIENCE, "the guest's clock is still off by {} s", again.clock);
    }
    drop(running);

    let other = [machine("256"), vec!["--restore", &state]].concat();
    let refused = Command::new(&program).args(other).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("memory_size was 201326592 and is 268435456"), "{text}");
    let checked = Command::new("qemu-img").args(["check", "-q", &disk]).status().unwrap();
    assert!(checked.success());
}

#[test]
fn connections_end_and_new_ones_are_made_when_a_guest_is_restored() {
    let Some(mut guest) = Guest::prepare() else { return };
    let Some(probe) = std::env::var_os("VIVARIUM_GUEST_PROBE") else {
        skip("skipped", "cargo xtask test builds the program for this and says in VIVARIUM_GUEST_PROBE where it is");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (image, state) = (folder.path().join("probe"), folder.path().join("state"));
    let mut program = fs::read(probe).unwrap();
    program.resize(program.len().next_multiple_of(512), 0);
    fs::write(&image, &program).unwrap();
    let fetch = format!("wget -q -O - http://10.0.2.2:{}/; echo", page::serve());
    guest.configuration.memory_size = 256 * MIB;
    guest.configuration.storage_devices = vec![VirtioBlockDevice::new(DiskImage::open(&image, Access::ReadOnly).unwrap()).into()];
    guest.configuration.network_devices = vec![VirtioNetworkDevice::new(NatNetworkAttachment::new()).into()];
    guest.configuration.memory_balloon_devices = vec![MemoryBalloonDevice::Virtio];
    guest.configuration.socket_devices = vec![SocketDevice::Virtio];
    guest.start_only("quiet vivarium.net");
    guest.wait_for("vivarium network eth0 10.0.2.15/24");
    guest.wait_for("vivarium guest ready");
    guest.run(&fetch, "served");
    guest.run("cat /dev/vda > /run/probe; chmod +x /run/probe; echo there $?", "there 0");
    let mut listener = guest.machine().socket_devices().remove(0).listen(5000).unwrap();
    guest.type_line("/run/probe connect 5000; echo ended $?");
    let connection = listener.next().unwrap();
    // What the guest sends on a connection that is gone is answered by an end that looks orderly; so it has sent what it sends.
    let mut greeting = [0; 20];
    connection.stream().read_exact(&mut greeting).unwrap();
    let balloon = guest.machine().memory_balloon_devices().remove(0);
    balloon.set_target_virtual_machine_memory_size(200 * MIB);
    guest.machine().pause().wait().unwrap();
    guest.machine().save_machine_state_to(&state).wait().unwrap();

    guest.restore(&state);
    drop(connection);
    // The program in the guest waited for data, and is told that there is nobody left to send any.
    guest.wait_for("ended 1");
    // Restored once more it would not draw the same random numbers.
    guest.run("until dmesg | grep -q 'virtual machine fork'; do sleep 0.1; done; echo reseeded $?", "reseeded 0");
    assert_eq!(guest.machine().memory_balloon_devices()[0].target_virtual_machine_memory_size(), 200 * MIB);
    guest.run("until [ $(cat /sys/class/net/eth0/carrier_down_count) -gt 0 ]; do sleep 0.1; done; echo link lost", "link lost");
    guest.run("until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do sleep 0.1; done; echo link $?", "link 0");
    guest.run(&fetch, "served");
    let mut listener = guest.machine().socket_devices().remove(0).listen(5000).unwrap();
    guest.type_line("/run/probe connect 5000");
    let connection = listener.next().unwrap();
    connection.stream().read_exact(&mut greeting).unwrap();
    drop(connection);
    guest.wait_for("received 0");
    guest.power_off();
}

/// A file system with little room, where this may be made.
struct Small(PathBuf);

impl Small {
    fn new(folder: &Path) -> Option<Self> {
        let place = folder.join("small");
        fs::create_dir(&place).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "small"]).arg(&place).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(place))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_guest_paused_and_nothing_half_made() {
    let Some(mut guest) = Guest::prepare() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::new(folder.path()) else {
        eprintln!("not possible here: only root makes a file system with little room; the emulated Linux of cargo xtask test has it");
        return;
    };
    guest.configuration.memory_size = 192 * MIB;
    guest.start("quiet");
    guest.machine().pause().wait().unwrap();
    let error = guest.machine().save_machine_state_to(small.0.join("state")).wait().unwrap_err();
    assert_eq!((error.kind(), guest.machine().state()), (ErrorKind::Save, State::Paused));
    assert!(error.to_string().contains("there is no room left"), "{error}");
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0);
    assert!(File::create(small.0.join("other")).unwrap().write_all(&[0; 3 << 20]).is_ok(), "the room is there again");
    guest.machine().resume().wait().unwrap();
    guest.run("echo alive $((6 * 7))", "alive 42");
    guest.power_off();
}
