//! Files made to hurt: each is refused quickly, with bounded memory and stack.

mod support;

use bundle::{Configuration, ReadError};
use plist::{Dictionary, Value};
use support::{QEMU, put, qemu, read};

fn refused(bytes: &[u8]) -> ReadError {
    let error = Configuration::read(bytes, "x").unwrap_err();
    assert!(error.fatal().next().is_some());
    assert!(error.problems.len() < 300);
    error
}

/// A binary property list of the given objects; the first is the root, all sizes are four bytes.
fn binary(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"bplist00".to_vec();
    let mut offsets = Vec::new();
    for object in objects {
        offsets.push(bytes.len() as u32);
        bytes.extend_from_slice(object);
    }
    let table = bytes.len() as u64;
    for offset in &offsets {
        bytes.extend_from_slice(&offset.to_be_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 4, 4]);
    for number in [objects.len() as u64, 0, table] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn array(references: &[u32]) -> Vec<u8> {
    let mut object = vec![0xaf, 0x12];
    object.extend_from_slice(&(references.len() as u32).to_be_bytes());
    references.iter().for_each(|reference| object.extend_from_slice(&reference.to_be_bytes()));
    object
}

fn string(length: usize) -> Vec<u8> {
    let mut object = vec![0x5f, 0x12];
    object.extend_from_slice(&(length as u32).to_be_bytes());
    object.resize(6 + length, b'a');
    object
}

#[test]
fn what_is_no_property_list() {
    for bytes in
        [&b""[..], b"\0", b"{}", b"<", b"<plist>", b"<plist><dict>", b"<plist><string>x</string></plist>", b"bplist00", b"\xff\xfe<\0"]
    {
        refused(bytes);
    }
    refused(&[b' '; 17 << 20]);
    refused(&QEMU.as_bytes()[..QEMU.len() / 2]);
}

#[test]
fn deep_nesting() {
    let deep = format!("<plist>{}", "<array>".repeat(500_000));
    assert!(refused(deep.as_bytes()).to_string().contains("deeper"));
    let deep = format!("<plist><dict>{}", "<key>a</key><dict>".repeat(200_000));
    assert!(refused(deep.as_bytes()).to_string().contains("deeper"));
    let objects: Vec<Vec<u8>> = (1..10_000).map(|next| array(&[next])).chain([string(1)]).collect();
    assert!(refused(&binary(&objects)).to_string().contains("deeper"));
}

#[test]
fn many_values() {
    let many = format!("<plist><array>{}</array></plist>", "<true/>".repeat(1_000_000));
    assert!(refused(many.as_bytes()).to_string().contains("more than"));
}

#[test]
fn binary_that_refers_to_itself() {
    refused(&binary(&[array(&[0])]));
    refused(&binary(&[array(&[1]), array(&[0])]));
}

#[test]
fn binary_that_multiplies() {
    // Each level holds the next ten times: 10^20 values from a few hundred bytes.
    let objects: Vec<Vec<u8>> = (1..20).map(|next| array(&[next; 10])).chain([string(1)]).collect();
    assert!(refused(&binary(&objects)).to_string().contains("more than"));
    // One long string, a hundred thousand times.
    assert!(refused(&binary(&[array(&[1; 90_000]), string(1 << 20)])).to_string().contains("more than"));
}

#[test]
fn binary_with_false_sizes() {
    let mut huge = binary(&[array(&[1]), string(8)]);
    let at = huge.windows(2).position(|window| window == [0x5f, 0x12]).unwrap();
    huge[at + 2..at + 6].copy_from_slice(&[0xff; 4]);
    refused(&huge);
    let mut plain = Vec::new();
    plist::to_writer_binary(&mut plain, &qemu()).unwrap();
    let trailer = plain.len() - 32;
    for position in trailer..plain.len() {
        let mut changed = plain.clone();
        changed[position] = 0xff;
        let _ = Configuration::read(&changed, "x");
    }
    for length in 0..plain.len() {
        let _ = Configuration::read(&plain[..length], "x");
    }
}

#[test]
fn entities_are_not_expanded() {
    let bomb = r#"<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>"#;
    let with_name = QEMU.replace("Test machine", "&b;&c;");
    let start = with_name.find("<plist").unwrap();
    match Configuration::read(format!("{bomb}{}", &with_name[start..]).as_bytes(), "x") {
        Ok(loaded) => assert_eq!(loaded.configuration.name(), ""),
        Err(error) => assert!(!error.to_string().contains("root:")),
    }
}

#[test]
fn text_that_the_parser_would_leave_out() {
    assert!(refused(QEMU.replace("Test machine", "<![CDATA[Test]]>").as_bytes()).to_string().contains("CDATA"));
}

#[test]
fn characters_that_could_not_be_written_again() {
    for (path, text) in [("Information.Name", "a\0b"), ("QEMU.Unknown", "a\u{1b}[2J")] {
        let mut root = qemu();
        put(&mut root, path, Some(Value::String(text.to_owned())));
        assert_eq!(read(&root).unwrap_err().problems[0].key_path, path);
    }
}

#[test]
fn complaints_are_bounded() {
    let mut root = qemu();
    put(&mut root, "Drive", Some(Value::Array(vec![Value::Dictionary(Dictionary::new()); 5_000])));
    let error = read(&root).unwrap_err();
    assert!(error.problems.len() < 300);
    assert!(error.problems.last().unwrap().message.contains("more problems"));
}
