//! How many MiB a second go through a connection by TCP.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How long something is sent.
const TRIED: Duration = Duration::from_millis(1500);
/// Bytes sent at once.
const CHUNK: usize = 64 << 10;
const MIB: f64 = 1_048_576.0;

/// For each line of standard input, `send HOST:PORT` or `receive HOST:PORT`, says how many MiB a second there were. The other end takes
/// whatever comes after an `s` and then ends the connection, and sends something for a time after an `r`.
pub fn measure() -> anyhow::Result<()> {
    println!("network is ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        let (verb, address) = line.split_once(' ').context("There is no address")?;
        let mut connection = TcpStream::connect(address).with_context(|| format!("Could not connect to {address}"))?;
        let (began, mut chunk, mut count) = (Instant::now(), vec![0; CHUNK], 0);
        match verb {
            "send" => {
                connection.write_all(b"s")?;
                while began.elapsed() < TRIED {
                    count += connection.write(&chunk)?;
                }
                connection.shutdown(Shutdown::Write)?;
                // The other end has everything.
                connection.read_to_end(&mut Vec::new())?;
            }
            "receive" => {
                connection.write_all(b"r")?;
                while let received @ 1.. = connection.read(&mut chunk)? {
                    count += received;
                }
            }
            other => bail!("There is no {other}"),
        }
        println!("network {verb} is {:.2}", count as f64 / MIB / began.elapsed().as_secs_f64());
    }
    Ok(())
}
