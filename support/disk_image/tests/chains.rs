//! What an image is built on is followed inside its directory only.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use disk_image::{Chain, ChainError, Format, MAXIMUM_LAYERS, RefusalReason};
use tempfile::TempDir;

fn create(path: &Path, format: &str, backing: Option<(&str, Option<&str>)>) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", format, "-u"]);
    if let Some((name, format)) = backing {
        command.args(["-b", name]);
        if let Some(format) = format {
            command.args(["-F", format]);
        }
    }
    let done = command.arg(path).arg("1M").output().context("qemu-img is needed")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Takes the format of the file below out of a header: qemu-img no longer makes such.
fn forget_backing_format(path: &Path) -> Result<()> {
    let mut image = fs::read(path)?;
    let at = image.windows(4).position(|window| window == [0xe2, 0x79, 0x2a, 0xca]).context("No backing format")?;
    image[at..at + 4].copy_from_slice(&[1, 2, 3, 4]);
    fs::write(path, image)?;
    Ok(())
}

fn refused(image: &Path, root: &Path) -> ChainError {
    Chain::resolve(image, Format::Qcow2, root).unwrap_err()
}

/// A bundle with room beside it.
fn bundle() -> Result<(TempDir, std::path::PathBuf)> {
    let outer = tempfile::tempdir()?;
    let root = outer.path().join("bundle");
    fs::create_dir_all(root.join("Data"))?;
    Ok((outer, root))
}

fn own_path(part: disk_image::Part<'_>) -> Option<String> {
    part.path.to_str().map(str::to_owned)
}

#[test]
fn layers_inside_are_followed_with_their_formats() -> Result<()> {
    let (_outer, root) = bundle()?;
    let data = root.join("Data");
    create(&data.join("base"), "vmdk", None)?;
    create(&data.join("middle"), "qcow2", Some(("../Data/base", Some("vmdk"))))?;
    forget_backing_format(&data.join("middle"))?;
    create(&data.join("top"), "qcow2", Some(("middle", Some("qcow2"))))?;

    let chain = Chain::resolve(&data.join("top"), Format::Qcow2, &root)?;
    let layers: Vec<_> = chain.layers().map(|layer| (layer.path.file_name().unwrap().to_str().unwrap().to_owned(), layer.format)).collect();
    let wanted = [("top", Format::Qcow2), ("middle", Format::Qcow2), ("base", Format::Vmdk)];
    assert_eq!(layers, wanted.map(|(name, format)| (name.to_owned(), format)));
    let graph = chain.graph(&mut own_path).unwrap();
    assert_eq!(graph["backing"]["backing"]["driver"], "vmdk");
    assert!(graph["backing"]["backing"]["backing"].is_null());
    Ok(())
}

#[test]
fn image_that_says_raw_is_believed() -> Result<()> {
    let (_outer, root) = bundle()?;
    create(&root.join("evil"), "qcow2", Some(("/etc/passwd", Some("raw"))))?;
    create(&root.join("top"), "qcow2", Some(("evil", Some("raw"))))?;
    let chain = Chain::resolve(&root.join("top"), Format::Qcow2, &root)?;
    assert_eq!(chain.layers().count(), 2);
    // The same file as a guest's raw disk: nothing is followed.
    assert_eq!(Chain::resolve(&root.join("evil"), Format::Raw, &root)?.layers().count(), 1);
    Ok(())
}

#[test]
fn files_outside_are_refused_by_every_way_there() -> Result<()> {
    let (outer, root) = bundle()?;
    create(&outer.path().join("secret"), "qcow2", None)?;
    let absolute = outer.path().join("secret").display().to_string();
    symlink("../secret", root.join("link"))?;
    symlink("..", root.join("folder"))?;
    for name in ["../secret", &absolute, "link", "folder/secret", "Data/../../secret", "/etc/passwd"] {
        let image = root.join("top");
        let _ = fs::remove_file(&image);
        create(&image, "qcow2", Some((name, Some("qcow2"))))?;
        let error = refused(&image, &root);
        assert!(matches!(error.refused[0].reason, RefusalReason::Outside(_)), "{name}: {error}");
        let message = error.to_string();
        assert!(message.contains(name) && message.contains("qemu-img convert"), "{message}");
    }
    assert!(matches!(refused(&root.join("link"), &root).refused[0].reason, RefusalReason::Outside(_)));
    Ok(())
}

#[test]
fn addresses_are_not_names() -> Result<()> {
    let (_outer, root) = bundle()?;
    for name in ["nbd://localhost:1/x", "https://example.org/x", "json:{\"driver\":\"null-co\"}", "file:base", "C:\\base.vmdk"] {
        let image = root.join("top");
        let _ = fs::remove_file(&image);
        create(&image, "qcow2", Some((name, Some("raw"))))?;
        assert!(matches!(refused(&image, &root).refused[0].reason, RefusalReason::NotAName), "{name}");
    }
    Ok(())
}

#[test]
fn cycles_and_depth_end() -> Result<()> {
    let (_outer, root) = bundle()?;
    create(&root.join("one"), "qcow2", Some(("two", Some("qcow2"))))?;
    create(&root.join("two"), "qcow2", Some(("one", Some("qcow2"))))?;
    assert!(matches!(refused(&root.join("one"), &root).refused[0].reason, RefusalReason::Cycle));

    create(&root.join("layer-0"), "qcow2", None)?;
    for number in 1..=MAXIMUM_LAYERS {
        create(&root.join(format!("layer-{number}")), "qcow2", Some((&format!("layer-{}", number - 1), Some("qcow2"))))?;
    }
    let deepest = root.join(format!("layer-{}", MAXIMUM_LAYERS - 1));
    assert_eq!(Chain::resolve(&deepest, Format::Qcow2, &root)?.layers().count(), MAXIMUM_LAYERS);
    let deeper = root.join(format!("layer-{MAXIMUM_LAYERS}"));
    assert!(matches!(refused(&deeper, &root).refused[0].reason, RefusalReason::TooDeep));
    Ok(())
}

#[test]
fn missing_odd_and_unknown_files_are_named() -> Result<()> {
    let (_outer, root) = bundle()?;
    let top = root.join("top");
    create(&top, "qcow2", Some(("gone", Some("raw"))))?;
    let error = refused(&top, &root);
    assert!(matches!(error.refused[0].reason, RefusalReason::Open(_)));
    assert!(error.to_string().contains("gone"), "{error}");

    fs::remove_file(&top)?;
    create(&top, "qcow2", Some(("Data", Some("raw"))))?;
    assert!(matches!(refused(&top, &root).refused[0].reason, RefusalReason::NotAFile));

    fs::remove_file(&top)?;
    create(&top, "qcow2", Some(("pipe", Some("raw"))))?;
    assert!(Command::new("mkfifo").arg(root.join("pipe")).status()?.success());
    assert!(matches!(refused(&top, &root).refused[0].reason, RefusalReason::NotAFile));

    fs::write(root.join("base"), [0; 512])?;
    fs::remove_file(&top)?;
    create(&top, "qcow2", Some(("base", Some("raw"))))?;
    let image = fs::read(&top)?;
    let at = image.windows(4).position(|window| window == [0xe2, 0x79, 0x2a, 0xca]).context("No backing format")?;
    let mut image = image;
    image[at + 8..at + 11].copy_from_slice(b"nbd");
    fs::write(&top, image)?;
    assert!(matches!(refused(&top, &root).refused[0].reason, RefusalReason::Format(_)));
    Ok(())
}

#[test]
fn every_refused_extent_is_named() -> Result<()> {
    let (outer, root) = bundle()?;
    fs::write(outer.path().join("one"), [0; 512])?;
    fs::write(root.join("two"), [0; 512])?;
    fs::write(
        root.join("disk.vmdk"),
        "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 1 FLAT \"../one\" 0\nRW 1 FLAT \"two\" 0\nRW 1 FLAT \"/etc/passwd\" 0\n",
    )?;
    let error = Chain::resolve(&root.join("disk.vmdk"), Format::Vmdk, &root).unwrap_err();
    let names: Vec<_> = error.refused.iter().map(|refusal| refusal.file.as_str()).collect();
    assert_eq!(names, ["../one", "/etc/passwd"]);
    Ok(())
}

#[test]
fn what_was_looked_at_stays_open_whatever_takes_its_name() -> Result<()> {
    let (outer, root) = bundle()?;
    create(&root.join("base"), "qcow2", None)?;
    create(&root.join("top"), "qcow2", Some(("base", Some("qcow2"))))?;
    fs::write(outer.path().join("precious"), "precious")?;
    let chain = Chain::resolve(&root.join("top"), None, &root)?;
    let before = fs::read(root.join("base"))?;
    for name in ["top", "base"] {
        fs::remove_file(root.join(name))?;
        symlink("../precious", root.join(name))?;
    }
    let mut kept = Vec::new();
    chain.layers().last().context("a layer")?.file.try_clone()?.read_to_end(&mut kept)?;
    assert!(kept == before, "it is another file now");
    assert!(matches!(refused(&root.join("top"), &root).refused[0].reason, RefusalReason::Outside(_)));
    Ok(())
}

#[test]
fn an_external_data_file_is_part_of_its_image() -> Result<()> {
    let (_outer, root) = bundle()?;
    let options = "data_file=data.raw,data_file_raw=on";
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-o", options, "top", "1M"])
        .current_dir(&root)
        .status()
        .context("qemu-img is needed")?;
    ensure!(made.success());
    let chain = Chain::resolve(&root.join("top"), None, &root)?;
    let data = chain.top().data.as_ref().context("a data file")?;
    assert_eq!(data.path, root.canonicalize()?.join("data.raw"));
    assert_eq!(data.file.metadata()?.len(), 1 << 20);
    assert_eq!(chain.graph(&mut own_path).context("a graph")?["data-file"]["filename"], data.path.to_str().unwrap());
    Ok(())
}

#[test]
fn an_image_that_was_chosen_alone_brings_no_other() -> Result<()> {
    let (outer, root) = bundle()?;
    let alone = |name: &str| {
        let path = root.join(name);
        Chain::alone(fs::File::open(&path).unwrap(), &path, None)
    };
    create(&root.join("plain"), "qcow2", None)?;
    assert_eq!(alone("plain")?.virtual_size(), 1 << 20);
    fs::write(outer.path().join("base"), [0; 512])?;
    create(&root.join("above"), "qcow2", Some(("../base", Some("raw"))))?;
    fs::write(root.join("disk.vmdk"), "# Disk DescriptorFile\nparentCID=ffffffff\nRW 1 FLAT \"plain\" 0\n")?;
    for (name, other) in [("above", "../base"), ("disk.vmdk", "plain")] {
        let error = alone(name).unwrap_err();
        assert!(matches!(error.refused[0].reason, RefusalReason::NotChosen), "{error}");
        assert!(error.to_string().contains(other) && error.to_string().contains("qemu-img convert"), "{error}");
    }
    Ok(())
}
