//! What a guest leaves to its card, done here where nobody else does it: checksums (RFC 1071), and TCP cut into segments.
//!
//! It happens where a machine began with an attachment that does this and was given one that does not.

use std::io;

use super::wire::{HEADER_SIZE, plain};

/// The header's flag: there is a checksum to be computed. And its types of packets to be cut (Virtio 1.2, 5.1.6).
const NEEDS_CHECKSUM: u8 = 1;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const CONGESTION: u8 = 0x80;

/// Flags of TCP that only the first segment has (CWR), and that only the last one has (FIN, PSH).
const FIRST_ONLY: u8 = 0x80;
const LAST_ONLY: u8 = 0x09;

/// The least data of a segment: what the smallest maximum segment size that Linux knows (48) leaves beside all of TCP's options.
const SIZE_MINIMUM: usize = 8;
/// Tags of a frame, and bytes of extension headers of IPv6, before TCP's header at most.
const TAGS_MAXIMUM: usize = 2;
const EXTENSIONS_MAXIMUM: usize = 256;

/// What a guest may leave to its card: what it and the card have agreed on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Left {
    pub checksum: bool,
    pub tcp4: bool,
    pub tcp6: bool,
}

/// Does what the header of a packet asks for, and sends what becomes of it: one packet or several, with headers that ask for nothing. One
/// that asks for what makes no sense, or was not agreed on, is lost.
///
/// # Errors
/// What `send` says. Where it takes the first of several and no more, the others are lost, as they may be on any wire.
pub(super) fn carry_out(packet: &mut [u8], left: Left, mut send: impl FnMut(&mut [u8]) -> io::Result<()>) -> io::Result<()> {
    let Some((&[flags, kind, _, _, size_low, size_high, start_low, start_high, offset_low, offset_high, ..], _)) =
        packet.split_first_chunk::<HEADER_SIZE>()
    else {
        return Ok(());
    };
    let (needs_checksum, kind) = (flags & NEEDS_CHECKSUM != 0, kind & !CONGESTION);
    let is_agreed = match (needs_checksum, kind) {
        (false, 0) => true,
        (true, 0) => left.checksum,
        (true, TCP4) => left.checksum && left.tcp4,
        (true, TCP6) => left.checksum && left.tcp6,
        _ => false,
    };
    if !is_agreed {
        return Ok(());
    }
    let frame = plain(packet)?;
    if !needs_checksum {
        return send(packet);
    }
    let size = usize::from(u16::from_le_bytes([size_low, size_high]));
    let start = usize::from(u16::from_le_bytes([start_low, start_high]));
    let place = start + usize::from(u16::from_le_bytes([offset_low, offset_high]));
    if kind == 0 {
        return if add_checksum(frame, start, place).is_some() { send(packet) } else { Ok(()) };
    }
    let Some(segments) = Segments::of(frame, start, size, kind == TCP6) else { return Ok(()) };
    let mut packet = Vec::new();
    for index in 0..segments.count {
        packet.clear();
        packet.resize(HEADER_SIZE, 0);
        plain(&mut packet)?;
        if segments.write(index, &mut packet).is_none() {
            return Ok(());
        }
        match send(&mut packet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && index > 0 => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// The sum of 16-bit words, to be folded.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum()
}

fn folded(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Gives the frame a checksum over everything from `start` on, at `place`, where the sum of the pseudo header is already.
fn add_checksum(frame: &mut [u8], start: usize, place: usize) -> Option<()> {
    let checksum = match folded(sum(frame.get(start..)?)) {
        // For UDP nothing but zeros means that there is no checksum.
        [0, 0] => [0xff, 0xff],
        other => other,
    };
    frame.get_mut(place..place + 2)?.copy_from_slice(&checksum);
    Some(())
}

/// Where the network layer's header is: after the Ethernet header and its tags.
fn network_layer(frame: &[u8]) -> Option<usize> {
    let is_tag = |place: &usize| matches!(frame.get(*place..*place + 2), Some([0x81, 0x00] | [0x88, 0xa8]));
    let tags = (0..TAGS_MAXIMUM).map(|tag| 12 + 4 * tag).take_while(is_tag).count();
    Some(12 + 4 * tags + 2).filter(|place| *place <= frame.len())
}

/// A frame of TCP that is cut: where its headers are, and how much data each segment has.
struct Segments<'a> {
    headers: &'a [u8],
    data: &'a [u8],
    network: usize,
    tcp: usize,
    size: usize,
    count: usize,
    first: u32,
    is_version_6: bool,
}

impl<'a> Segments<'a> {
    /// Those of a frame whose TCP header is at `tcp`; `None` where its headers say something else.
    fn of(frame: &'a [u8], tcp: usize, size: usize, is_version_6: bool) -> Option<Self> {
        let network = network_layer(frame)?;
        let before = tcp.checked_sub(network)?;
        let is_right = match (frame.get(network)?, is_version_6) {
            (first, true) => first >> 4 == 6 && (40..=40 + EXTENSIONS_MAXIMUM).contains(&before),
            (first, false) => first >> 4 == 4 && before >= 20 && before == usize::from(first & 0xf) * 4,
        };
        let header = usize::from(frame.get(tcp + 12)? >> 4) * 4;
        let (headers, data) = frame.split_at_checked(tcp + header)?;
        if !is_right || header < 20 || size < SIZE_MINIMUM {
            return None;
        }
        let first = u32::from_be_bytes(headers.get(tcp + 4..tcp + 8)?.try_into().ok()?);
        let count = data.len().div_ceil(size).max(1);
        Some(Self { headers, data, network, tcp, size, count, first, is_version_6 })
    }

    /// Adds the frame of this segment to a packet.
    fn write(&self, index: usize, packet: &mut Vec<u8>) -> Option<()> {
        let Self { headers, data, network, tcp, size, count, first, is_version_6 } = *self;
        let (start, before) = (index * size, packet.len());
        packet.extend(headers);
        packet.extend(data.get(start..data.len().min(start + size))?);
        let frame = packet.get_mut(before..)?;
        // A frame is shorter than 2^17.
        frame[tcp + 4..tcp + 8].copy_from_slice(&first.wrapping_add(start as u32).to_be_bytes());
        if index > 0 {
            frame[tcp + 13] &= !FIRST_ONLY;
        }
        if index + 1 < count {
            frame[tcp + 13] &= !LAST_ONLY;
        }
        let addresses = if is_version_6 {
            let length = u16::try_from(frame.len() - network - 40).ok()?;
            frame[network + 4..network + 6].copy_from_slice(&length.to_be_bytes());
            network + 8..network + 40
        } else {
            let length = u16::try_from(frame.len() - network).ok()?;
            frame[network + 2..network + 4].copy_from_slice(&length.to_be_bytes());
            let number = u16::from_be_bytes([frame[network + 4], frame[network + 5]]).wrapping_add(index as u16);
            frame[network + 4..network + 6].copy_from_slice(&number.to_be_bytes());
            frame[network + 10..network + 12].fill(0);
            let checksum = folded(sum(frame.get(network..tcp)?));
            frame[network + 10..network + 12].copy_from_slice(&checksum);
            network + 12..network + 20
        };
        frame[tcp + 16..tcp + 18].fill(0);
        // The pseudo header: addresses, protocol, length.
        let pseudo = sum(frame.get(addresses)?) + 6 + (frame.len() - tcp) as u64;
        let checksum = folded(pseudo + sum(&frame[tcp..]));
        frame[tcp + 16..tcp + 18].copy_from_slice(&checksum);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: u8, size: u16, start: u16, offset: u16) -> Vec<u8> {
        let words = [60, size, start, offset, 1].into_iter().flat_map(u16::to_le_bytes);
        [NEEDS_CHECKSUM, kind].into_iter().chain(words).collect()
    }

    const ALL: Left = Left { checksum: true, tcp4: true, tcp6: true };

    fn sent(packet: &[u8]) -> Vec<Vec<u8>> {
        sent_of(packet, ALL)
    }

    fn sent_of(packet: &[u8], left: Left) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        carry_out(&mut packet.to_vec(), left, |packet| {
            assert_eq!(packet[..HEADER_SIZE], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            frames.push(packet[HEADER_SIZE..].to_vec());
            Ok(())
        })
        .unwrap();
        frames
    }

    /// A frame of TCP with this much data after a tag, and where its headers are.
    fn tcp(is_version_6: bool, data: usize) -> (Vec<u8>, usize, usize) {
        let mut frame = vec![2; 12];
        frame.extend([0x81, 0, 0, 5]);
        if is_version_6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 6, 64]);
            frame.extend([0xfd; 32]);
        } else {
            frame.extend([8, 0, 0x45, 0, 0, 0, 0xff, 0xff, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
        }
        let start = frame.len();
        frame.extend([1, 2, 3, 4, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 0x50, 0x99, 1, 0, 7, 7, 0, 0]);
        frame.extend((0..data).map(|index| index as u8));
        (frame, 18, start)
    }

    #[test]
    fn tcp_is_cut_and_every_segment_is_whole() {
        for is_version_6 in [false, true] {
            let (frame, network, start) = tcp(is_version_6, 2500);
            let kind = if is_version_6 { TCP6 } else { TCP4 };
            let frames = sent(&[header(kind, 1000, start as u16, 16), frame.clone()].concat());
            assert_eq!(frames.len(), 3);
            let mut data: Vec<u8> = Vec::new();
            for (index, part) in frames.iter().enumerate() {
                let length = if is_version_6 {
                    40 + usize::from(part[network + 5]) + usize::from(part[network + 4]) * 256
                } else {
                    usize::from(u16::from_be_bytes([part[network + 2], part[network + 3]]))
                };
                assert_eq!(length, part.len() - network);
                if !is_version_6 {
                    assert_eq!(folded(sum(&part[network..network + 20])), [0, 0]);
                    assert_eq!(u16::from_be_bytes([part[network + 4], part[network + 5]]), 0xffff_u16.wrapping_add(index as u16));
                }
                let addresses = if is_version_6 { &part[network + 8..network + 40] } else { &part[network + 12..network + 20] };
                assert_eq!(folded(sum(addresses) + 6 + (part.len() - start) as u64 + sum(&part[start..])), [0, 0]);
                let number = u32::from_be_bytes(part[start + 4..start + 8].try_into().unwrap());
                assert_eq!(number, 0xffff_fffe_u32.wrapping_add(data.len() as u32));
                assert_eq!(part[start + 13], [0x90, 0x10, 0x19][index]);
                data.extend(&part[start + 20..]);
            }
            assert_eq!(data, frame[start + 20..]);
        }
    }

    #[test]
    fn a_checksum_is_over_what_the_header_says() {
        let frame = [&[0; 34][..], &[0x12, 0x34, 0x00, 0x35, 0, 10, 0xab, 0xcd, 1, 2]].concat();
        let frames = sent(&[header(0, 0, 34, 6), frame].concat());
        let expected = folded(0x1234 + 0x35 + 10 + 0xabcd + 0x102);
        assert_eq!(frames[0][40..42], expected);
    }

    #[test]
    fn what_is_taken_in_part_is_lost_in_part() {
        let (frame, _, start) = tcp(false, 3000);
        let mut packet = [header(TCP4, 1000, start as u16, 16), frame].concat();
        let full = || Err(io::ErrorKind::WouldBlock.into());
        let mut taken = 0;
        carry_out(&mut packet.clone(), ALL, |_| {
            if taken == 0 {
                taken += 1;
                Ok(())
            } else {
                full()
            }
        })
        .unwrap();
        assert_eq!(carry_out(&mut packet, ALL, |_| full()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_was_not_agreed_on_is_lost() {
        for (kind, is_version_6) in [(TCP4, false), (TCP6, true)] {
            let (frame, _, start) = tcp(is_version_6, 100);
            let packet = [header(kind, 1000, start as u16, 16), frame].concat();
            assert_eq!(sent(&packet).len(), 1);
            for left in [Left::default(), Left { checksum: true, ..Left::default() }, Left { checksum: false, ..ALL }] {
                assert_eq!(sent_of(&packet, left).len(), 0, "{left:?}");
            }
        }
        let packet = [header(0, 0, 34, 6), vec![0; 60]].concat();
        assert_eq!([sent(&packet).len(), sent_of(&packet, Left::default()).len()], [1, 0]);
        // Neither is a kind without a checksum, or one that is not known.
        for (flags, kind) in [(0, TCP4), (NEEDS_CHECKSUM, 3), (NEEDS_CHECKSUM, 5)] {
            let mut packet = packet.clone();
            (packet[0], packet[1]) = (flags, kind);
            assert_eq!(sent(&packet).len(), 0);
        }
    }

    /// Bytes of all frames that become of a packet of this frame.
    fn bytes(kind: u8, size: u16, start: usize, frame: &[u8]) -> usize {
        sent(&[header(kind, size, start as u16, 16), frame.to_vec()].concat()).iter().map(Vec::len).sum()
    }

    #[test]
    fn a_packet_does_not_become_a_thousand_times_as_much() {
        for is_version_6 in [false, true] {
            let kind = if is_version_6 { TCP6 } else { TCP4 };
            // A TCP header far away from where the network layer's ends, or small segments.
            let (frame, _, start) = tcp(is_version_6, 60_000);
            let far = 30_000;
            let mut moved = frame.clone();
            moved[far + 12] = 0x50;
            assert_eq!(bytes(kind, 1000, far, &moved), 0);
            assert_eq!(bytes(kind, 1, start, &frame), 0);
            assert!((60_000..20 * 60_000).contains(&bytes(kind, SIZE_MINIMUM as u16, start, &frame)));
            // Tags without end.
            let tagged = [&frame[..12], &[0x81, 0, 0, 5].repeat(10_000), &frame[12..10_000]].concat();
            assert_eq!(bytes(kind, 8, start + 40_000, &tagged), 0);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_guest_says_breaks_it(mut packet in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..6_u8, start in 0..80_u8) {
            if let [flags, place, _, _, _, zero, low, high, ..] = &mut packet[..] {
                (*flags, *place, *zero, *low, *high) = (NEEDS_CHECKSUM, kind, 0, start, 0);
            }
            sent(&packet);
        }
    }
}
