//! What tests run inside a guest: talks to the host over vsock. `cargo xtask test --tier kvm` builds it without shared libraries.

use std::io::{Read, Write};

use anyhow::{Context, bail};
use socket2::{Domain, SockAddr, Socket, Type};

/// The host (`VMADDR_CID_HOST`), and any address of this machine (`VMADDR_CID_ANY`).
const HOST: u32 = 2;
const ANY: u32 = u32::MAX;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, port] = &arguments[..] else { bail!("guest_probe connect|listen PORT") };
    let port: u32 = port.parse().context("The port is not a number")?;
    let mut socket = Socket::new(Domain::VSOCK, Type::STREAM, None).context("There is no vsock here")?;
    match verb.as_str() {
        "connect" => {
            socket.connect(&SockAddr::vsock(HOST, port)).context("Could not connect to the host")?;
            socket.write_all(b"hello from the guest")?;
            let mut received = Vec::new();
            socket.read_to_end(&mut received)?;
            println!("received {}", received.len());
        }
        "listen" => {
            socket.bind(&SockAddr::vsock(ANY, port)).context("Could not take the port")?;
            socket.listen(1)?;
            println!("listening at {port}");
            let (mut connection, _) = socket.accept()?;
            let mut buffer = [0; 4096];
            loop {
                let count = connection.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                connection.write_all(&buffer[..count])?;
            }
        }
        other => bail!("There is no {other}"),
    }
    Ok(())
}
