//! What an NBD server says: whatever it is, the client neither panics nor hangs nor takes all memory.
#![no_main]

use std::io::{self, Read, Write};

use devices::nbd::protocol::Session;
use libfuzzer_sys::fuzz_target;

struct Said<'a>(&'a [u8]);

impl Read for Said<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Said<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    // One half of the inputs gets past the greeting for nothing.
    let greeting = b"NBDMAGICIHAVEOPT\0\x03";
    let said = match input.split_first() {
        Some((0..128, rest)) => [greeting, rest].concat(),
        _ => input.to_vec(),
    };
    let Ok(mut session) = Session::begin(Said(&said), "disk") else { return };
    let mut bytes = [0; 4096];
    for round in 0..8 {
        let answers = [session.read(round * 512, &mut bytes), session.write(0, &bytes), session.flush(), session.discard(0, 1 << 40)];
        if answers.iter().any(Result::is_err) {
            break;
        }
    }
    let _ = session.write_zeroes(0, 1 << 22, true);
    session.end();
});
