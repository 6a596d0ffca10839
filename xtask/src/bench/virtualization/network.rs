//! How much goes through one TCP connection between guest and host, each way: through passt, and through a tap interface.
//! Both sides' guests run, and are asked in turn.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::peer::{Guest, Machine, Network, Peer};
use super::table::{Aim, Table, median};
use crate::process;

/// How often each side is asked.
const ROUNDS: usize = 5;
/// How long the host sends.
const SENDS: Duration = Duration::from_millis(1500);
/// What passt shows the host's own address as.
const HOST_BY_PASST: &str = "10.0.2.2";
/// The maximum transmission unit of passt's network, in bytes; QEMU's guest is told, as ours is.
pub const MTU_OF_PASST: &str = "65520";

/// A tap interface of each side with a network of its own, for documentation (RFC 5737); removed at the end.
struct Tap {
    name: String,
    network: &'static str,
}

impl Tap {
    fn new(peer: Peer) -> Result<Self> {
        let (name, network) = match peer {
            Peer::Ours => ("vivbench0", "198.51.100"),
            Peer::Microvm => ("vivbench1", "203.0.113"),
        };
        let tap = Self { name: name.to_owned(), network };
        let address = format!("{network}.1/24");
        for words in [&["tuntap", "add", name, "mode", "tap"][..], &["addr", "add", &address, "dev", name], &["link", "set", name, "up"]] {
            process::quiet(Command::new("ip").args(words))?;
        }
        Ok(tap)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = process::quiet(Command::new("ip").args(["link", "del", &self.name]));
    }
}

/// Whether the passt there is serves queues over vhost-user; the framework then has it do that.
fn has_vhost_user() -> bool {
    let said = Command::new("passt").arg("--help").stdin(Stdio::null()).output();
    let has = |text: &[u8]| String::from_utf8_lossy(text).contains("--vhost-user");
    said.is_ok_and(|output| has(&output.stdout) || has(&output.stderr))
}

/// The socket of a passt that ends with its first client, set up as the framework does.
fn passt(is_vhost_user: bool) -> Result<PathBuf> {
    let socket = std::env::temp_dir().join(format!("vivarium-bench-{}.passt", std::process::id()));
    let mut command = Command::new("passt");
    command.args(["--quiet", "--one-off", "--mtu", MTU_OF_PASST, "--tcp-ports", "none", "--udp-ports", "none"]);
    command.args(["--address", "10.0.2.15", "--netmask", "24", "--gateway", HOST_BY_PASST, "--dns-forward", "10.0.2.3"]);
    if is_vhost_user {
        command.arg("--vhost-user");
    }
    // It goes on in the background when the socket is there.
    let status = command.arg("--socket").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.context("Could not start passt")?;
    if !status.success() {
        bail!("passt failed ({status})");
    }
    Ok(socket)
}

/// The host's side of connections to this address; returns where it listens.
fn serve(address: &str) -> Result<String> {
    let listener = TcpListener::bind((address, 0)).with_context(|| format!("Could not listen at {address}"))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            // Whoever measures notices what fails.
            std::thread::spawn(move || drop(answer(connection)));
        }
    });
    Ok(port.to_string())
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    connection.read_exact(&mut chunk[..1])?;
    if chunk[0] == b's' {
        while connection.read(&mut chunk)? > 0 {}
        return Ok(());
    }
    let began = Instant::now();
    while began.elapsed() < SENDS {
        connection.write_all(&chunk)?;
    }
    Ok(())
}

/// Adds what guests measure, in MiB a second.
pub fn measure(prepared: &Path, table: &mut Table) -> Result<()> {
    let (mut guests, mut ways) = (Vec::new(), [Vec::new(), Vec::new()]);
    let local = serve("127.0.0.1")?;
    let is_vhost_user = has_vhost_user();
    let by_passt = if is_vhost_user { "passt by vhost-user" } else { "passt" };
    for (peer, ways) in Peer::ALL.into_iter().zip(&mut ways) {
        ways.push((by_passt, format!("{HOST_BY_PASST}:{local}")));
        let tap = Tap::new(peer).inspect_err(|error| eprintln!("no tap, which only root may make, is measured: {error:#}")).ok();
        let mut run = String::new();
        if let Some(Tap { network, .. }) = &tap {
            run = format!("ip link set eth1 up; ip addr add {network}.2/24 dev eth1; ");
            ways.push(("tap", format!("{network}.1:{}", serve(&format!("{network}.1"))?)));
        }
        let passt = if peer == Peer::Microvm { passt(is_vhost_user)? } else { PathBuf::new() };
        let words = format!("console=ttyS0 quiet vivarium.net vivarium.run=\"{run}guest_probe network\"");
        let network = Some(Network { passt, is_vhost_user, tap: tap.as_ref().map(|tap| tap.name.clone()) });
        let machine = Machine { words: &words, network, ..Machine::default() };
        let mut guest = Guest::start(&mut machine.command(peer, prepared))?;
        guest.wait_for("network is ready")?;
        // The guest ends before its interface.
        guests.push((guest, tap));
    }
    let [ours, theirs] = ways;
    for ((backend, ours), (_, theirs)) in ours.into_iter().zip(theirs) {
        for (verb, direction) in [("receive", "host to guest"), ("send", "guest to host")] {
            let mut rates = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for ((guest, _), (address, rates)) in guests.iter_mut().zip([&ours, &theirs].into_iter().zip(&mut rates)) {
                    rates.push(guest.ask("network", &format!("{verb} {address}"))?);
                }
            }
            eprintln!("{backend}, {direction}: {rates:.1?}");
            let [ours, theirs] = rates.map(median);
            table.add(&format!("{backend}: {direction}, one TCP connection, MiB per s"), ours, theirs, Aim::RatioAtLeast(1.0));
        }
    }
    Ok(())
}
