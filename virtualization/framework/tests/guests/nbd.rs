//! Disks of NBD servers, as a real guest uses them while the server goes and comes back.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use virtualization::{Event, NbdAttachment, VirtioBlockDevice};

use crate::guest::Guest;

const PATIENCE: Duration = Duration::from_secs(60);

/// `qemu-nbd`, killed with this.
struct Server(Child);

impl Server {
    fn start(image: &Path, socket: &Path) -> Self {
        // What a server that was killed has left.
        let _ = std::fs::remove_file(socket);
        let mut server = Command::new("qemu-nbd");
        server.args(["--format=raw", "--persistent", "--shared=4", "--discard=unmap", "--export-name=disk", "--socket"]);
        let server = Self(server.arg(socket).arg(image).stdin(Stdio::null()).spawn().expect("qemu-nbd, which cargo xtask setup installs"));
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(socket).is_err() {
            assert!(Instant::now() < until, "the server does not listen");
            std::thread::yield_now();
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_disk_of_a_server_survives_the_server_s_death() {
    let Some(mut guest) = Guest::prepare() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (image, socket) = (folder.path().join("disk.raw"), folder.path().join("socket"));
    std::fs::write(&image, vec![0; 8 << 20]).unwrap();
    let server = Server::start(&image, &socket);
    let export = NbdAttachment::new(format!("nbd+unix:///disk?socket={}", socket.display())).timeout(PATIENCE);
    guest.configuration.cpu_count = 2;
    guest.configuration.storage_devices = vec![VirtioBlockDevice::new(export).into()];
    guest.start("quiet");
    assert!(matches!(guest.event(), Event::StorageConnected { device: 0 }));
    guest.run("cat /sys/block/vda/size | sed 's/^/sectors /'", "sectors 16384");
    guest.run("dd if=/dev/urandom of=/data bs=1M count=8; echo made $?", "made 0");
    // Several at once, in any order.
    let writers = "for i in 0 2 4; do dd if=/data of=/dev/vda bs=1M skip=$i seek=$i count=2 conv=notrunc,fsync && echo done & done; wait";
    guest.type_line(&format!("({writers}) | wc -l | sed 's/^/writers /'"));
    guest.wait_for("writers 3");

    drop(server);
    guest.type_line("dd if=/data of=/dev/vda bs=1M skip=6 seek=6 count=2 conv=notrunc,fsync; echo later $?");
    let server = Server::start(&image, &socket);
    guest.wait_for("later 0");
    assert!(matches!(guest.event(), Event::StorageConnected { device: 0 }));
    guest.run("echo 3 >/proc/sys/vm/drop_caches; cat /dev/vda | cmp - /data; echo same $?", "same 0");
    let sum = guest.run("md5sum /data", "  /data");
    guest.run("blkdiscard -o 1048576 -l 1048576 /dev/vda; echo discarded $?", "discarded 0");
    guest.run("dd if=/data of=/dev/vda bs=1M skip=1 seek=1 count=1 conv=notrunc,fsync; echo again $?", "again 0");
    guest.power_off();
    drop(server);
    let there = Command::new("md5sum").arg(&image).output().unwrap();
    let there = String::from_utf8(there.stdout).unwrap();
    assert!(sum.contains(there.split_whitespace().next().unwrap()), "{there}");
}
