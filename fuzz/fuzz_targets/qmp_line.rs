//! What QEMU and a guest's agent send, in pieces of any size: decoding never panics and does not depend on where the pieces were cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qmp::codec::Decoder;

const MAX_LINE: usize = 4096;

fuzz_target!(|input: (u8, bool, Vec<u8>)| {
    let (piece, agent, bytes) = input;
    let new = || if agent { Decoder::delimited(MAX_LINE) } else { Decoder::new(MAX_LINE) };
    let mut whole = new();
    let at_once = whole.push(&bytes);
    let mut decoder = new();
    let in_pieces: Vec<_> = bytes.chunks(usize::from(piece).max(1)).flat_map(|chunk| decoder.push(chunk)).collect();
    assert_eq!(at_once.len(), in_pieces.len());
    assert_eq!(format!("{at_once:?}"), format!("{in_pieces:?}"));
});
