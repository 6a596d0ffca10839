//! Images are changed completely or not at all.

use std::fs::{self, File};
use std::future::Future;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use anyhow::{Context, Result, ensure};
use disk_image::copy::{CopyError, copy};
use disk_image::{Backing, Chain, Convert, Create, Format, Preallocation, QemuImg, QemuImgError, Repair, SaveError, create_raw};
use sandbox::Requirement;

const MIB: u64 = 1 << 20;

fn chain(path: &Path, format: Format) -> Result<Chain> {
    Ok(Chain::resolve(path, format, path.parent().context("No folder")?)?)
}

fn to(format: Format) -> Convert {
    Convert { format, compress: false, replace: false }
}

/// A raw image with data at its start, in its middle and at its end.
fn sample(folder: &Path, size: u64) -> Result<PathBuf> {
    let path = folder.join("sample.img");
    create_raw(&path, size)?;
    let file = File::options().write(true).open(&path)?;
    let data: Vec<u8> = (0..MIB).map(|number| (number % 251) as u8 + 1).collect();
    for offset in [0, size / 2, size - MIB] {
        file.write_all_at(&data, offset)?;
    }
    Ok(path)
}

fn qemu_img() -> Result<QemuImg> {
    QemuImg::find(Requirement::BestEffort).context("qemu-img is needed, and `cargo build --package sandbox`")
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().display().to_string())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn content_survives_a_tour_through_all_formats() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let qemu_img = qemu_img()?;
    let original = sample(folder.path(), 24 * MIB)?;
    let original = chain(&original, Format::Raw)?;
    let mut last = original.clone();
    for format in [Format::Qcow2, Format::Vmdk, Format::Vdi, Format::Vhdx, Format::Vpc, Format::Qed, Format::Parallels, Format::Raw] {
        let target = folder.path().join(format!("tour.{}", format.extension()));
        let mut heard = Vec::new();
        qemu_img.convert(&last, &target, to(format), |fraction| heard.push(fraction)).await?;
        assert!(heard.is_sorted() && heard.first() <= Some(&0.6) && heard.last() == Some(&1.0), "{heard:?}");
        last = chain(&target, format)?;
        assert_eq!(last.virtual_size(), 24 * MIB, "{format}");
        assert!(qemu_img.compare(&original, &last, |_| ()).await?);
    }
    assert!(!names(folder.path())?.iter().any(|name| name.starts_with('.')));
    Ok(())
}

#[tokio::test]
async fn dropping_a_conversion_leaves_nothing_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = sample(folder.path(), 600 * MIB)?;
    // Much data, so that it does not end at once.
    let file = File::options().write(true).open(&source)?;
    let noise: Vec<u8> = (0..8 * MIB).map(|number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    for step in 0..40 {
        file.write_all_at(&noise, step * 8 * MIB)?;
    }
    let source = chain(&source, Format::Raw)?;
    let qemu_img = qemu_img()?;
    let target = folder.path().join("target.qcow2");
    let begun = AtomicBool::new(false);
    {
        let convert = Convert { compress: true, ..to(Format::Qcow2) };
        let mut work = pin!(qemu_img.convert(&source, &target, convert, |fraction| begun.store(fraction > 0.0, Ordering::Relaxed)));
        let ended = std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if begun.load(Ordering::Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        assert!(ended.await.is_none(), "It ended before it could be cancelled");
        assert!(names(folder.path())?.iter().any(|name| name.starts_with('.')));
    }
    assert_eq!(names(folder.path())?, ["sample.img"]);
    Ok(())
}

#[tokio::test]
async fn existing_files_are_kept_unless_they_shall_be_replaced() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = chain(&sample(folder.path(), 4 * MIB)?, Format::Raw)?;
    let target = folder.path().join("target.qcow2");
    fs::write(&target, "precious")?;
    let qemu_img = qemu_img()?;
    let error = qemu_img.convert(&source, &target, to(Format::Qcow2), |_| ()).await.unwrap_err();
    assert!(matches!(error, QemuImgError::Save(SaveError::Exists(_))), "{error}");
    assert_eq!(fs::read(&target)?, b"precious");

    qemu_img.convert(&source, &target, Convert { replace: true, ..to(Format::Qcow2) }, |_| ()).await?;
    assert_eq!(chain(&target, Format::Qcow2)?.virtual_size(), 4 * MIB);

    assert!(matches!(create_raw(&target, 1), Err(SaveError::Exists(_))));
    Ok(())
}

#[tokio::test]
async fn layers_are_made_flattened_and_moved() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let qemu_img = qemu_img()?;
    let base = sample(folder.path(), 8 * MIB)?;
    let top = folder.path().join("top.qcow2");
    let backing = Backing { file: "sample.img".into(), format: Format::Raw };
    let create = Create { format: Format::Qcow2, size: None, backing: Some(backing), preallocation: Preallocation::Off };
    qemu_img.create(&top, &create).await?;
    let layered = chain(&top, Format::Qcow2)?;
    assert_eq!((layered.layers().count(), layered.virtual_size()), (2, 8 * MIB));
    assert!(qemu_img.compare(&layered, &chain(&base, Format::Raw)?, |_| ()).await?);

    let flat = folder.path().join("flat.qcow2");
    qemu_img.convert(&layered, &flat, to(Format::Qcow2), |_| ()).await?;
    assert_eq!(chain(&flat, Format::Qcow2)?.layers().count(), 1);

    qemu_img.rebase(&layered, None, |_| ()).await?;
    let alone = chain(&top, Format::Qcow2)?;
    assert_eq!(alone.layers().count(), 1);
    assert!(qemu_img.compare(&alone, &chain(&base, Format::Raw)?, |_| ()).await?);
    Ok(())
}

#[tokio::test]
async fn sizes_change_and_shrinking_must_be_meant() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let qemu_img = qemu_img()?;
    let path = folder.path().join("disk.qcow2");
    let create = Create { format: Format::Qcow2, size: Some(8 * MIB), backing: None, preallocation: Preallocation::Metadata };
    qemu_img.create(&path, &create).await?;
    qemu_img.resize(&chain(&path, Format::Qcow2)?, 16 * MIB, false).await?;
    let image = chain(&path, Format::Qcow2)?;
    assert_eq!(image.virtual_size(), 16 * MIB);
    let error = qemu_img.resize(&image, 4 * MIB, false).await.unwrap_err().to_string();
    assert!(error.contains("shrink its file systems first"), "{error}");
    qemu_img.resize(&image, 4 * MIB, true).await?;
    assert_eq!(qemu_img.info(&image).await?.virtual_size, 4 * MIB);
    Ok(())
}

#[tokio::test]
async fn faults_are_found_and_leaks_repaired() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let qemu_img = qemu_img()?;
    let path = folder.path().join("disk.qcow2");
    qemu_img.convert(&chain(&sample(folder.path(), 8 * MIB)?, Format::Raw)?, &path, to(Format::Qcow2), |_| ()).await?;
    let image = chain(&path, Format::Qcow2)?;
    let sound = qemu_img.check(&image, None).await?;
    assert!(sound.is_sound() && sound.leaks == 0 && sound.allocated_clusters > 0);

    // The first entry of the L1 table: what it pointed to is lost, and now leaks.
    let file = File::options().read(true).write(true).open(&path)?;
    let mut table = [0; 8];
    file.read_exact_at(&mut table, 40)?;
    file.write_all_at(&[0; 8], u64::from_be_bytes(table))?;
    let found = qemu_img.check(&image, None).await?;
    assert!(found.leaks > 0, "{found:?}");
    let repaired = qemu_img.check(&image, Some(Repair::Leaks)).await?;
    assert!(repaired.leaks_fixed > 0 && repaired.leaks == 0, "{repaired:?}");

    let raw = qemu_img.check(&chain(&folder.path().join("sample.img"), Format::Raw)?, None).await.unwrap_err();
    assert!(raw.to_string().contains("does not support checks"), "{raw}");
    Ok(())
}

/// Whoever can write to an image while it is worked on could let it name any other file.
#[tokio::test]
async fn names_that_came_into_an_image_after_it_was_checked_lead_nowhere() -> Result<()> {
    if sandbox::support().landlock_abi.is_none() {
        eprintln!("not possible here: this kernel has no Landlock");
        return Ok(());
    }
    let outside = tempfile::tempdir()?;
    let secret = sample(outside.path(), 4 * MIB)?;
    let folder = tempfile::tempdir()?;
    let qemu_img = qemu_img()?;

    let extent = folder.path().join("disk-flat.vmdk");
    fs::rename(sample(folder.path(), 4 * MIB)?, &extent)?;
    let disk = folder.path().join("disk.vmdk");
    let describe = |extent: &str| {
        let head = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n";
        fs::write(&disk, format!("{head}RW 8192 FLAT \"{extent}\" 0\nddb.adapterType = \"ide\"\n"))
    };
    describe("disk-flat.vmdk")?;
    let image = chain(&disk, Format::Vmdk)?;
    let target = folder.path().join("disk.raw");
    qemu_img.convert(&image, &target, to(Format::Raw), |_| ()).await?;
    assert_eq!(fs::read(&target)?, fs::read(&secret)?, "the same sample");
    fs::remove_file(&target)?;

    describe(secret.to_str().context("UTF-8")?)?;
    let before = names(folder.path())?;
    let error = qemu_img.convert(&image, &target, to(Format::Raw), |_| ()).await.unwrap_err().to_string();
    assert!(error.contains("sample.img") && error.contains("Permission denied"), "{error}");
    assert!(qemu_img.check(&image, None).await.is_err());
    assert_eq!(names(folder.path())?, before);

    // Here qemu-img follows the name in the header.
    let create = |name: PathBuf| Create {
        backing: Some(Backing { file: name, format: Format::Raw }),
        ..Create { format: Format::Qcow2, size: Some(4 * MIB), backing: None, preallocation: Preallocation::Off }
    };
    let (top, other) = (folder.path().join("top.qcow2"), folder.path().join("other.qcow2"));
    qemu_img.create(&top, &create("disk-flat.vmdk".into())).await?;
    qemu_img.create(&other, &create(secret.clone())).await?;
    let image = chain(&top, Format::Qcow2)?;
    fs::write(&top, fs::read(&other)?)?;
    let error = qemu_img.rebase(&image, None, |_| ()).await.unwrap_err().to_string();
    assert!(error.contains("sample.img") && error.contains("Permission denied"), "{error}");
    Ok(())
}

#[tokio::test]
async fn images_keep_who_may_read_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let qemu_img = qemu_img()?;
    let (raw, made) = (sample(folder.path(), MIB)?, folder.path().join("made.qcow2"));
    qemu_img.convert(&chain(&raw, Format::Raw)?, &made, to(Format::Qcow2), |_| ()).await?;
    assert_eq!(fs::metadata(&made)?.mode(), fs::metadata(&raw)?.mode());
    Ok(())
}

#[tokio::test]
async fn messages_name_the_file_and_not_its_descriptor() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("disk.qcow2");
    let qemu_img = qemu_img()?;
    let create = Create { format: Format::Qcow2, size: Some(MIB), backing: None, preallocation: Preallocation::Off };
    qemu_img.create(&path, &create).await?;
    let image = chain(&path, Format::Qcow2)?;
    File::options().write(true).open(&path)?.write_all_at(b"broken", 0)?;
    let error = qemu_img.info(&image).await.unwrap_err().to_string();
    assert!(error.contains("disk.qcow2") && !error.contains("/proc/"), "{error}");
    Ok(())
}

#[tokio::test]
async fn missing_program_says_what_to_install() -> Result<()> {
    let program = qemu_img()?.at("/nonexistent/qemu-img".into());
    let folder = tempfile::tempdir()?;
    let create = Create { format: Format::Raw, size: Some(1), backing: None, preallocation: Preallocation::Off };
    let error = program.create(&folder.path().join("x"), &create).await.unwrap_err();
    assert!(matches!(error, QemuImgError::Start(_)) && error.to_string().contains("check that the program is installed"), "{error}");
    assert!(names(folder.path())?.is_empty());
    Ok(())
}

#[test]
fn copies_keep_content_and_holes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = sample(folder.path(), 64 * MIB)?;
    let target = folder.path().join("copy.img");
    let mut heard = Vec::new();
    copy(&source, &target, &mut |done, all| heard.push((done, all)), &AtomicBool::new(false))?;
    assert_eq!(fs::read(&source)?, fs::read(&target)?);
    assert!(fs::metadata(&target)?.blocks() * 512 < 8 * MIB, "The copy is not sparse");
    assert!(heard.is_sorted() && heard.last() == Some(&(64 * MIB, 64 * MIB)));

    let again = copy(&source, &target, &mut |_, _| (), &AtomicBool::new(false));
    assert!(matches!(again, Err(CopyError::Write(SaveError::Exists(_)))));
    Ok(())
}

#[test]
fn cancelled_copies_leave_nothing_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = sample(folder.path(), 64 * MIB)?;
    // Where the file system shares blocks there is nothing to cancel: look at another one.
    let other = tempfile::tempdir_in("/dev/shm")?;
    let cancel = AtomicBool::new(false);
    let done = copy(&source, &other.path().join("copy.img"), &mut |done, _| cancel.store(done > 0, Ordering::Relaxed), &cancel);
    assert!(matches!(done, Err(CopyError::Cancelled)), "{done:?}");
    assert!(names(other.path())?.is_empty());
    Ok(())
}

/// Runs one ignored test of this program where `/mnt` is an empty file system of 8 MiB.
#[test]
fn full_disks_are_told_apart() -> Result<()> {
    let script = "mount -t tmpfs -o size=8m none /mnt && exec \"$0\" on_a_full_disk --exact --ignored --nocapture";
    let inside = |script: &str| {
        let program = std::env::current_exe()?;
        anyhow::Ok(Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(program).output()?)
    };
    if !inside("true")?.status.success() {
        eprintln!("not possible here: this system lets nobody make a user namespace");
        return Ok(());
    }
    let done = inside(script)?;
    ensure!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    Ok(())
}

#[tokio::test]
#[ignore = "it needs the small file system that full_disks_are_told_apart makes"]
async fn on_a_full_disk() -> Result<()> {
    let small = Path::new("/mnt");
    ensure!(rustix::fs::statvfs(small)?.f_blocks < 1 << 16, "This is not the small file system");
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("sample.img");
    fs::write(&source, vec![7; 32 << 20])?;

    let done = qemu_img()?.convert(&chain(&source, Format::Raw)?, &small.join("disk.qcow2"), to(Format::Qcow2), |_| ()).await;
    let Err(QemuImgError::Save(SaveError::NoSpace { needed, available, .. })) = done else { panic!("{done:?}") };
    assert!((32 * MIB..40 * MIB).contains(&needed) && available <= 8 * MIB, "{needed} {available}");
    assert!(names(small)?.is_empty());

    let done = copy(&source, &small.join("copy.img"), &mut |_, _| (), &AtomicBool::new(false));
    let Err(CopyError::Write(SaveError::NoSpace { needed, .. })) = done else { panic!("{done:?}") };
    assert_eq!(needed, 32 * MIB);
    assert!(names(small)?.is_empty());

    let full = Create { format: Format::Raw, size: Some(32 * MIB), backing: None, preallocation: Preallocation::Full };
    let done = qemu_img()?.create(&small.join("full.img"), &full).await;
    assert!(matches!(done, Err(QemuImgError::Save(SaveError::NoSpace { .. }))), "{done:?}");
    assert!(names(small)?.is_empty());
    Ok(())
}
