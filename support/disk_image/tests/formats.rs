//! Images that qemu-img makes are recognized and understood; hostile ones do no harm.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use disk_image::{Format, Header, HeaderError, header, parse, probe};
use proptest::prelude::*;

fn qemu_img(arguments: &[&str], path: &Path, after: &[&str]) -> Result<()> {
    let mut command = Command::new("qemu-img");
    // It makes a data file where it stands.
    command.args(arguments).arg(path).args(after).current_dir(path.parent().context("a folder")?);
    let done = command.output().context("qemu-img is needed")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn look(path: &Path) -> Result<(Format, Header)> {
    let file = File::open(path)?;
    let format = probe(&file)?;
    let found = header(&file, format)?;
    // Small enough to be read as a whole: both ways say the same.
    if file.metadata()?.len() < 64 << 20 {
        assert_eq!(parse(&fs::read(path)?, format)?, found);
    }
    Ok((format, found))
}

#[test]
fn every_format_is_recognized_with_its_size() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("image");
    // A size that the geometry of Virtual PC cannot express exactly.
    let size = 41_943_040u64 + 3 * 65_536;
    let size_text = size.to_string();
    let cases: &[(Format, &[&str])] = &[
        (Format::Raw, &["-f", "raw"]),
        (Format::Qcow2, &["-f", "qcow2"]),
        (Format::Qcow2, &["-f", "qcow2", "-o", "compat=0.10"]),
        (Format::Qcow2, &["-f", "qcow2", "-o", "cluster_size=512"]),
        (Format::Qcow2, &["-f", "qcow2", "-o", "cluster_size=2M,extended_l2=on,compression_type=zstd"]),
        (Format::Qcow, &["-f", "qcow"]),
        (Format::Qed, &["-f", "qed"]),
        (Format::Vdi, &["-f", "vdi"]),
        (Format::Vdi, &["-f", "vdi", "-o", "static=on"]),
        (Format::Vhdx, &["-f", "vhdx"]),
        (Format::Vhdx, &["-f", "vhdx", "-o", "subformat=fixed"]),
        (Format::Vpc, &["-f", "vpc", "-o", "force_size=on"]),
        (Format::Vpc, &["-f", "vpc", "-o", "subformat=fixed,force_size=on"]),
        (Format::Vmdk, &["-f", "vmdk"]),
        (Format::Vmdk, &["-f", "vmdk", "-o", "subformat=streamOptimized"]),
        (Format::Vmdk, &["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"]),
        (Format::Parallels, &["-f", "parallels"]),
    ];
    for (format, options) in cases {
        let _ = fs::remove_file(&path);
        qemu_img(&[&["create", "-q"], *options].concat(), &path, &[&size_text])?;
        let (found, header) = look(&path).with_context(|| format!("{options:?}"))?;
        assert_eq!(found, *format, "{options:?}");
        assert_eq!(header.virtual_size, size, "{options:?}");
        assert_eq!((header.backing_file, header.encrypted, header.dirty), (None, false, false), "{options:?}");
    }
    Ok(())
}

#[test]
fn size_of_vpc_follows_its_geometry() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("image.vhd");
    qemu_img(&["create", "-q", "-f", "vpc"], &path, &["40000000"])?;
    let said = Command::new("qemu-img").args(["info", "--output=json", "-f", "vpc"]).arg(&path).output()?;
    let said: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    assert_eq!(Some(look(&path)?.1.virtual_size), said["virtual-size"].as_u64());
    Ok(())
}

#[test]
fn names_of_other_files_are_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    qemu_img(&["create", "-q", "-f", "raw"], &at("base"), &["1M"])?;
    for format in ["qcow2", "qcow", "qed"] {
        qemu_img(&["create", "-q", "-f", format, "-b", "base", "-F", "raw"], &at("top"), &[])?;
        let header = look(&at("top"))?.1;
        assert_eq!(header.backing_file.as_deref(), Some("base"), "{format}");
        assert_eq!(header.backing_format.as_deref(), if format == "qcow" { None } else { Some("raw") });
        assert_eq!(header.virtual_size, 1 << 20);
    }

    qemu_img(&["create", "-q", "-f", "qcow2", "-o", "data_file=data.raw,data_file_raw=on"], &at("split"), &["1M"])?;
    assert_eq!(look(&at("split"))?.1.data_file.as_deref(), Some("data.raw"));

    qemu_img(&["create", "-q", "-f", "vmdk"], &at("parent.vmdk"), &["1M"])?;
    qemu_img(&["create", "-q", "-f", "vmdk", "-b", "parent.vmdk", "-F", "vmdk"], &at("child.vmdk"), &[])?;
    assert_eq!(look(&at("child.vmdk"))?.1.backing_file.as_deref(), Some("parent.vmdk"));

    qemu_img(&["create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentFlat"], &at("pieces.vmdk"), &["3G"])?;
    let pieces = look(&at("pieces.vmdk"))?.1;
    assert_eq!(pieces.extents, ["pieces-f001.vmdk", "pieces-f002.vmdk"]);
    assert_eq!(pieces.virtual_size, 3 << 30);
    Ok(())
}

#[test]
fn discs_are_recognized() -> Result<()> {
    let mut file = tempfile::tempfile()?;
    file.set_len(1 << 20)?;
    assert_eq!(probe(&file)?, Format::Raw);
    file.seek(SeekFrom::Start(16 * 2048))?;
    file.write_all(b"\x01CD001\x01")?;
    assert_eq!(probe(&file)?, Format::Iso);
    assert_eq!(Format::Iso.driver(), "raw");
    Ok(())
}

#[test]
fn small_files_are_raw_or_cut_short() -> Result<()> {
    let mut file = tempfile::tempfile()?;
    assert_eq!(probe(&file)?, Format::Raw);
    file.write_all(b"QFI\xfb\0\0\0\x03")?;
    assert_eq!(probe(&file)?, Format::Qcow2);
    assert!(matches!(header(&file, Format::Qcow2), Err(HeaderError::Truncated(Format::Qcow2))));
    Ok(())
}

#[test]
fn guest_cannot_pass_a_word_at_its_end_for_a_disk_format() -> Result<()> {
    let mut file = tempfile::tempfile()?;
    file.set_len(1 << 20)?;
    file.seek(SeekFrom::Start((1 << 20) - 512))?;
    file.write_all(b"conectix")?;
    assert_eq!(probe(&file)?, Format::Raw);
    Ok(())
}

/// Numbers that are edges of fields.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::from(u32::MAX)), Just(u64::MAX), Just(u64::MAX / 512), Just(i64::MAX as u64), any::<u64>()]
}

/// A start that each format accepts, so that the fields behind it are reached.
fn magic() -> impl Strategy<Value = (Format, usize, Vec<u8>)> {
    prop_oneof![
        Just((Format::Qcow2, 0, b"QFI\xfb\0\0\0\x03".to_vec())),
        Just((Format::Qcow2, 0, b"QFI\xfb\0\0\0\x02".to_vec())),
        Just((Format::Qcow, 0, b"QFI\xfb\0\0\0\x01".to_vec())),
        Just((Format::Vmdk, 0, b"KDMV".to_vec())),
        Just((Format::Vmdk, 0, b"COWD".to_vec())),
        Just((Format::Vmdk, 0, b"# Disk DescriptorFile\nRW 99999999999999999999 FLAT \"x\"\nRW 1 ZERO\n".to_vec())),
        Just((Format::Vdi, 0x40, vec![0x7f, 0x10, 0xda, 0xbe])),
        Just((Format::Vhdx, 0, b"vhdxfile".to_vec())),
        Just((Format::Vpc, 0, b"conectix".to_vec())),
        Just((Format::Qed, 0, b"QED\0".to_vec())),
        Just((Format::Parallels, 0, b"WithouFreSpacExt".to_vec())),
        Just((Format::Dmg, 0, b"koly".to_vec())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_headers_never_panic(
        (format, at, magic) in magic(),
        mut bytes in proptest::collection::vec(any::<u8>(), 0..2048),
        edges in proptest::collection::vec((0usize..256, edge(), any::<bool>()), 0..12),
    ) {
        for (offset, value, big) in edges {
            let field = if big { value.to_be_bytes() } else { value.to_le_bytes() };
            if let Some(place) = bytes.get_mut(offset..offset + 8) {
                place.copy_from_slice(&field);
            }
        }
        if let Some(place) = bytes.get_mut(at..at + magic.len()) {
            place.copy_from_slice(&magic);
        }
        for format in Format::ALL.iter().copied().chain([format]) {
            if let Ok(header) = parse(&bytes, format) {
                prop_assert!(i64::try_from(header.virtual_size).is_ok());
            }
        }
    }

    #[test]
    fn damaged_tables_of_vhdx_never_panic(damage in proptest::collection::vec((0usize..2, 0usize..192, edge()), 1..6)) {
        let (mut image, metadata) = vhdx().clone();
        for (table, offset, value) in damage {
            // Both copies of the region table; then the metadata table and its items.
            for start in [[192 << 10, 256 << 10], [metadata, metadata + (64 << 10)]][table] {
                image[start + offset..start + offset + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        let _ = parse(&image, Format::Vhdx);
    }

    #[test]
    fn damaged_real_headers_never_panic(which in 0usize..4, damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (format, image) = &real()[which];
        let mut image = image.clone();
        for (place, value) in damage {
            // Headers, and the tables that they point to.
            let place = place.index(image.len());
            image[place] = value;
        }
        let _ = parse(&image, *format);
    }
}

/// The part of a real vhdx image that holds its tables, and where its metadata is.
fn vhdx() -> &'static (Vec<u8>, usize) {
    static REAL: std::sync::OnceLock<(Vec<u8>, usize)> = std::sync::OnceLock::new();
    REAL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        qemu_img(&["create", "-q", "-f", "vhdx"], &path, &["1M"]).unwrap();
        let mut image = fs::read(&path).unwrap();
        let metadata = image.windows(8).position(|window| window == b"metadata").unwrap();
        image.truncate(metadata + (65 << 10));
        (image, metadata)
    })
}

/// Headers of real images, short enough to be damaged thousands of times.
fn real() -> &'static [(Format, Vec<u8>)] {
    static REAL: std::sync::OnceLock<Vec<(Format, Vec<u8>)>> = std::sync::OnceLock::new();
    REAL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let made: [(Format, &[&str]); 4] = [
            (Format::Qcow2, &["-u", "-b", "base", "-F", "raw"]),
            (Format::Vmdk, &[]),
            (Format::Vpc, &[]),
            (Format::Qed, &["-u", "-b", "base", "-F", "raw"]),
        ];
        made.into_iter()
            .map(|(format, options)| {
                qemu_img(&[&["create", "-q", "-f", format.driver()], options].concat(), &path, &["1M"]).unwrap();
                let mut image = fs::read(&path).unwrap();
                image.truncate(12 << 10);
                (format, image)
            })
            .collect()
    })
}
