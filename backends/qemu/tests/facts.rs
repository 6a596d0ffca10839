//! Facts of whatever emulators are installed.

use std::time::Instant;

use backend_qemu::facts::accelerator::{self, Wish};
use backend_qemu::facts::{self, Accelerator, Board, BusKind, Emulator, Host, KvmDevice, Probe};
use bundle::Architecture;

#[tokio::test]
async fn an_installed_emulator_is_understood_and_remembered() -> anyhow::Result<()> {
    let Ok(program) = facts::find(Architecture::X86_64, &[]) else {
        eprintln!("skipped: qemu-system-x86_64 is not installed");
        return Ok(());
    };
    let cache = tempfile::tempdir()?;
    let started = Instant::now();
    let emulator = Emulator::find(&program, Some(cache.path())).await?;
    let asked = started.elapsed();
    assert_eq!(emulator.target, "x86_64");
    assert!(emulator.machine("q35").is_some_and(|machine| machine.alias_of.is_some() && machine.cpus_max > 1));
    assert!(emulator.has_device("e1000") && emulator.bus_of("e1000") == Some(BusKind::Pci));
    assert_eq!(emulator.bus_of("usb-kbd"), Some(BusKind::Usb));
    assert_eq!(emulator.bus_of("virtio-blk-device"), Some(BusKind::VirtioMmio));
    assert!(emulator.netdevs.contains("user") && emulator.displays.contains("none") && emulator.audio.contains("none"));
    assert!(emulator.cpus.contains_key("max") && emulator.has_property("VGA", "vgamem_mb"));

    let started = Instant::now();
    let again = Emulator::find(&program, Some(cache.path())).await?;
    eprintln!("asked in {asked:?}, recalled in {:?}", started.elapsed());
    assert_eq!(emulator, again);

    let probe = Probe { machine: "q35".into(), cpu: None, memory: Some(64), cpus: None };
    let board = Board::find(&emulator, probe.clone(), Some(cache.path())).await?;
    assert_eq!(board.refusal, None);
    assert!(board.memory_instead.is_none() && board.has(BusKind::Pci) && board.of_kind(BusKind::Ide).count() == 6, "{board:?}");
    assert_eq!(board, Board::find(&emulator, probe, Some(cache.path())).await?);

    let refused = Board::find(&emulator, Probe { machine: "q35,nonsense=1".into(), cpu: None, memory: None, cpus: None }, None).await?;
    assert!(refused.refusal.is_some_and(|text| text.contains("nonsense")));
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_no_emulator_is_an_error_that_says_so() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir()?;
    let program = directory.path().join("qemu-system-x86_64");
    for (script, expected) in [
        ("echo I am broken >&2; exit 3", "I am broken"),
        ("echo '{}'; exit 1", "ended"),
        ("echo nonsense", "understood"),
        ("exec tr '\\0' x </dev/zero", "without end"),
    ] {
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
        let error = Emulator::find(&program, Some(directory.path())).await.expect_err("a broken emulator was believed");
        assert!(error.to_string().contains(expected), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_hypervisor_is_only_promised_after_it_ran() -> anyhow::Result<()> {
    let Ok(program) = facts::find(Architecture::X86_64, &[]) else {
        eprintln!("skipped: qemu-system-x86_64 is not installed");
        return Ok(());
    };
    let cache = tempfile::tempdir()?;
    let emulator = Emulator::find(&program, None).await?;
    let host = Host::gather(&[]);
    let wish = Wish { hypervisor: true, architecture: Architecture::X86_64, machine: "q35", cpu: "default" };
    let decision = accelerator::decide(&emulator, &host, &wish, Some(cache.path())).await;
    eprintln!("{decision:?}");
    assert!(!decision.why.is_empty());
    assert_eq!(decision, accelerator::decide(&emulator, &host, &wish, Some(cache.path())).await);

    // What speaks against it without a trial.
    let denied = Host { architecture: Some(Architecture::X86_64), kvm: KvmDevice::Denied, ..Host::default() };
    let decision = accelerator::decide(&emulator, &denied, &wish, None).await;
    assert!(decision.accelerator == Accelerator::Tcg && decision.why.contains("group kvm"), "{decision:?}");
    let foreign = Wish { architecture: Architecture::S390x, ..wish };
    assert_eq!(accelerator::decide(&emulator, &denied, &foreign, None).await.accelerator, Accelerator::Tcg);
    Ok(())
}
