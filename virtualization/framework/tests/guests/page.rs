//! A server of the host's that guests reach.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// What its page says.
pub const SAYS: &str = "served";

/// Serves one page to one request after the other, and returns the port of 127.0.0.1 where it does.
pub fn serve() -> u16 {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let answer = |mut connection: TcpStream| -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte)?;
            request.extend(byte);
        }
        write!(connection, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{SAYS}", SAYS.len())
    };
    std::thread::spawn(move || server.incoming().flatten().for_each(|connection| drop(answer(connection))));
    port
}
