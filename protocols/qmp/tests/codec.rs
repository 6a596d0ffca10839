//! The codec, whatever comes in whatever pieces.

use proptest::{collection::vec, prelude::*};
use qmp::codec::{DecodeError, Decoder, Envelope, decode_line};

const MESSAGES: &[&[u8]] = &[
    b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \"major\": 10}}, \"capabilities\": [\"oob\"]}}\r\n",
    b"{\"return\": {\"text\": \"\xc3\xa9\\n\"}, \"id\": 1}\r\n",
    b"{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}\r\n",
    b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"d\"}, \"id\": \"x\"}\n",
    b"\r\n",
    b"garbage\n",
    b"{\"return\": \"\xff\"}\n",
    b"{}\n",
];

fn summary(messages: Vec<Result<Envelope, DecodeError>>) -> Vec<Result<Envelope, String>> {
    messages.into_iter().map(|message| message.map_err(|error| error.to_string())).collect()
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => (0..MESSAGES.len()).prop_map(|at| MESSAGES[at].to_vec()),
        1 => vec(any::<u8>(), 0..300),
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn pieces_do_not_matter(bytes in stream(), cuts in vec(1_usize..64, 0..40), limit in 0_usize..400, delimited: bool) {
        let new = || if delimited { Decoder::delimited(limit) } else { Decoder::new(limit) };
        let mut whole = new();
        let at_once = summary(whole.push(&bytes));
        let mut pieces = new();
        let mut piecewise = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            piecewise.extend(summary(pieces.push(piece)));
            rest = after;
        }
        for byte in rest {
            piecewise.extend(summary(pieces.push(&[*byte])));
        }
        prop_assert_eq!(at_once, piecewise);
        prop_assert_eq!(whole.unfinished(), pieces.unfinished());
    }

    #[test]
    fn nothing_panics(bytes in vec(any::<u8>(), 0..2000)) {
        let _ = decode_line(&bytes);
        let _ = Decoder::new(100).push(&bytes);
        let _ = Decoder::delimited(100).push(&bytes);
    }

    #[test]
    fn what_is_said_is_understood(id: u64, text: String, seconds: i64) {
        let line = serde_json::json!({"return": {"text": text}, "id": id}).to_string();
        let expected = Envelope::Return { id: Some(id.into()), value: serde_json::json!({"text": text}) };
        prop_assert_eq!(decode_line(line.as_bytes()).unwrap(), expected);
        let line = serde_json::json!({"event": text, "timestamp": {"seconds": seconds}}).to_string();
        match decode_line(line.as_bytes()).unwrap() {
            Envelope::Event(event) => {
                prop_assert_eq!(event.name, text);
                prop_assert_eq!((event.timestamp.seconds, event.timestamp.microseconds), (seconds, -1));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn a_line_as_long_as_the_limit_passes_and_one_longer_is_the_last() {
    let line = b"{\"return\": {}}";
    let mut decoder = Decoder::new(line.len());
    assert_eq!(decoder.push(line).len(), 0);
    assert!(matches!(decoder.push(b"\n")[..], [Ok(Envelope::Return { .. })]));
    let messages = decoder.push(b"{\"return\": {} }\n{\"return\": {}}\n");
    assert!(matches!(messages[..], [Err(DecodeError::TooLong { limit: 14, .. })]));
    assert!(decoder.push(b"{\"return\": {}}\n").is_empty());
    assert_eq!(decoder.unfinished(), None);
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{{\"return\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(decode_line(nested(100).as_bytes()).is_ok());
    assert!(matches!(decode_line(nested(1_000_000).as_bytes()), Err(DecodeError::NotJson { .. })));
}

#[test]
fn errors_show_what_came_but_not_all_of_it() {
    let shown = decode_line("\u{1b}[2Jé".repeat(1000).as_bytes()).unwrap_err().to_string();
    assert!(shown.len() < 400 && shown.contains("[2Jé") && !shown.contains('\u{1b}'), "{shown}");
    let shown = decode_line(b"ab\x80cd").unwrap_err().to_string();
    assert_eq!(shown, "A line from the peer is not UTF-8 at byte 2: `ab\u{fffd}cd`");
}

#[test]
fn half_a_message_is_a_message_as_far_as_it_goes() {
    for (line, class, description) in [
        ("{\"error\": {}}", "", ""),
        ("{\"error\": {\"class\": 1, \"desc\": [1]}}", "", ""),
        ("{\"error\": {\"class\": \"KVMMissingCap\"}}", "KVMMissingCap", ""),
    ] {
        match decode_line(line.as_bytes()).unwrap() {
            Envelope::Error { id: None, class: read, description: text } => {
                assert_eq!((read.as_str(), text.as_str()), (class, description));
            }
            other => panic!("{other:?}"),
        }
    }
    for line in ["{\"error\": 1}", "{\"event\": 1}", "{}", "[]", "null", "1"] {
        assert!(matches!(decode_line(line.as_bytes()), Err(DecodeError::NotAMessage { .. })), "{line}");
    }
}
