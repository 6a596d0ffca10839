//! What tests and benchmarks run inside a guest: it talks to the host over vsock, and measures disks and networks. `cargo xtask` builds it
//! without shared libraries.

mod disk;
mod network;

use std::io::{Read, Write};

use anyhow::{Context, bail};
use socket2::{Domain, SockAddr, Socket, Type};

/// The host (`VMADDR_CID_HOST`), and any address of this machine (`VMADDR_CID_ANY`).
const HOST: u32 = 2;
const ANY: u32 = u32::MAX;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["connect", port] => connect(port),
        ["listen", port] => listen(port),
        ["disk", path] => disk::measure(path),
        ["network"] => network::measure(),
        _ => bail!("guest_probe connect|listen PORT, disk PATH, or network"),
    }
}

fn socket(port: &str) -> anyhow::Result<(Socket, u32)> {
    let port = port.parse().context("The port is not a number")?;
    Ok((Socket::new(Domain::VSOCK, Type::STREAM, None).context("There is no vsock here")?, port))
}

fn connect(port: &str) -> anyhow::Result<()> {
    let (mut socket, port) = socket(port)?;
    socket.connect(&SockAddr::vsock(HOST, port)).context("Could not connect to the host")?;
    socket.write_all(b"hello from the guest")?;
    let mut received = Vec::new();
    socket.read_to_end(&mut received)?;
    println!("received {}", received.len());
    Ok(())
}

fn listen(port: &str) -> anyhow::Result<()> {
    let (socket, port) = socket(port)?;
    socket.bind(&SockAddr::vsock(ANY, port)).context("Could not take the port")?;
    socket.listen(1)?;
    println!("listening at {port}");
    let (mut connection, _) = socket.accept()?;
    let mut buffer = [0; 4096];
    loop {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        connection.write_all(&buffer[..count])?;
    }
}
