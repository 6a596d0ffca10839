//! Boards that are not PCs: what is soldered to them, what they lack, and what they do not start without.

mod synthetic;

use std::path::PathBuf;

use backend_qemu::facts::{self, Board, BootFile, BusKind, Emulator, Probe};
use bundle::qemu::{DriveInterface, ImageType, Network};
use bundle::{Architecture, Problem};
use synthetic::{Case, board};

/// A board with slots for virtio-mmio, and no PCI.
fn microvm() -> Case {
    let mut case = Case::new(Architecture::X86_64, "microvm");
    case.board = Some(board(&[("virtio-mmio-bus.0", BusKind::VirtioMmio), ("virtio-mmio-bus.1", BusKind::VirtioMmio)]));
    case.configuration.displays.clear();
    case.configuration.sounds.clear();
    case.configuration.qemu.rng_device = true;
    case.network().hardware = "virtio-net-device".into();
    case
}

/// A board of ARM with everything soldered to it.
fn evaluation_board() -> Case {
    let mut case = Case::new(Architecture::Arm, "vexpress-a9");
    case.board =
        Some(Board { network_card: Some("lan9118".to_owned()), screens: vec!["pl111".to_owned()], ..board(&[("sd-bus", BusKind::Sd)]) });
    case
}

fn arguments(case: &Case) -> Vec<String> {
    case.build().unwrap_or_else(|problems| panic!("{problems:?}")).argv()
}

fn warnings(case: &Case) -> Vec<Problem> {
    let problems = case.build().map_or_else(|problems| problems, |line| line.warnings);
    problems.into_iter().filter(|problem| !problem.key_path.starts_with("Input.") && !problem.key_path.starts_with("Sound")).collect()
}

fn options<'a>(arguments: &'a [String], option: &str) -> Vec<&'a str> {
    arguments.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
}

#[test]
fn virtio_goes_over_mmio_where_there_is_no_pci() {
    let mut case = microvm();
    case.drive("disk", ImageType::Disk, DriveInterface::VirtIo, "raw");
    let arguments = arguments(&case);
    let devices = options(&arguments, "-device");
    assert!(devices[0].starts_with("virtio-net-device,") && devices[1].starts_with("virtio-blk-device,"), "{devices:?}");
    // Network card and disk have taken both slots.
    assert_eq!(devices.len(), 2, "{devices:?}");
    let warnings = warnings(&case);
    assert!(warnings.iter().any(|problem| problem.key_path == "QEMU.RNGDevice"), "{warnings:?}");
}

#[test]
fn more_virtio_drives_than_slots_are_refused_before_the_start() {
    let mut case = microvm();
    for name in ["one", "two"] {
        case.drive(name, ImageType::Disk, DriveInterface::VirtIo, "raw");
    }
    let problems = case.build().unwrap_err();
    assert!(problems.iter().any(|problem| problem.is_fatal() && problem.key_path == "Drive[1].Interface"), "{problems:?}");
}

#[test]
fn what_is_soldered_to_a_board_is_used_without_a_device() {
    let mut case = evaluation_board();
    case.display("pl111");
    case.network().hardware = "lan9118".into();
    case.network().mac_address = "02:00:00:00:00:07".into();
    let arguments = arguments(&case);
    assert_eq!(options(&arguments, "-net"), ["nic,macaddr=02:00:00:00:00:07,netdev=net0"]);
    assert!(!arguments.iter().any(|word| word.starts_with("pl111")), "{arguments:?}");
    assert_eq!(warnings(&case), []);
}

#[test]
fn what_has_no_place_gives_way_to_what_is_soldered_or_is_left_out() {
    let mut case = evaluation_board();
    case.display("VGA");
    case.configuration.networks = vec![Network { hardware: "e1000".into(), ..case.configuration.networks[0].clone() }];
    let said = |case: &Case| warnings(case).iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n");
    assert!(said(&case).contains("its own screen, pl111,") && said(&case).contains("its own lan9118 is connected"), "{}", said(&case));
    assert_eq!(options(&arguments(&case), "-net").len(), 1);

    case.board = Some(board(&[]));
    assert!(
        said(&case).contains("no PCI bus for VGA; left out") && said(&case).contains("no PCI bus for e1000; left out"),
        "{}",
        said(&case)
    );
    let arguments = arguments(&case);
    assert!(options(&arguments, "-net").is_empty() && options(&arguments, "-netdev").is_empty(), "{arguments:?}");
}

#[test]
fn a_board_gets_the_memory_and_processors_that_it_takes() {
    let mut case = evaluation_board();
    case.configuration.system.memory_size = 512;
    case.configuration.system.cpu_count = 1;
    case.board = Some(Board { memory_instead: Some(256), refuses_cpus: true, cpus: 4, ..board(&[]) });
    let words = arguments(&case);
    assert_eq!(options(&words, "-m"), ["256M"]);
    assert!(options(&words, "-smp").is_empty(), "{words:?}");
    let keys: Vec<String> = warnings(&case).into_iter().map(|problem| problem.key_path).collect();
    assert!(keys.iter().any(|key| key == "System.MemorySize") && keys.iter().any(|key| key == "System.CPUCount"), "{keys:?}");

    // A board with less than can be configured is as it was meant.
    case.configuration.system.memory_size = 1;
    case.configuration.system.cpu_count = 0;
    case.board = Some(Board { memory_instead: Some(0), memory: 16 << 10, ..board(&[]) });
    assert!(options(&arguments(&case), "-m").is_empty());
    assert!(!warnings(&case).iter().any(|problem| problem.key_path == "System.MemorySize"));
}

#[test]
fn a_board_that_needs_firmware_says_so_until_it_has_some() {
    let mut case = Case::new(Architecture::M68k, "q800");
    let boot = Some(BootFile { bios: true, kernel: false });
    let refused = || Board { refusal: Some("could not load MacROM".to_owned()), boot, ..board(&[("scsi.0", BusKind::Scsi)]) };
    case.board = Some(refused());
    let problems = case.build().unwrap_err();
    let problem = problems.iter().find(|problem| problem.is_fatal()).unwrap();
    assert!(problem.message.contains("could not load MacROM") && problem.hint.as_deref().unwrap().contains("-bios"), "{problem}");

    case.drive("rom", ImageType::Bios, DriveInterface::None, "raw");
    // What was found out with an empty file in its place still holds.
    case.drive("disk", ImageType::Disk, DriveInterface::Ide, "raw");
    let problems = case.build().unwrap_err();
    let fatal: Vec<&str> = problems.iter().filter(|problem| problem.is_fatal()).map(|problem| problem.key_path.as_str()).collect();
    assert_eq!(fatal, ["Drive[1].Interface"]);
}

/// A board of an installed emulator; `None`, and a word about it, where that is not installed.
async fn installed(architecture: Architecture, target: &str, memory: u64, cpus: u64) -> anyhow::Result<Option<Board>> {
    let Ok(program) = facts::find(architecture, &[]) else {
        eprintln!("skipped: no emulator for {architecture}");
        return Ok(None);
    };
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("facts");
    let emulator = Emulator::find(&program, Some(&cache)).await?;
    if emulator.machine(target).is_none() {
        eprintln!("skipped: no machine {target}");
        return Ok(None);
    }
    let probe = Probe { machine: target.to_owned(), cpu: None, memory: Some(memory), cpus: Some(cpus) };
    Board::find(&emulator, probe, None).await.map(Some).map_err(Into::into)
}

#[tokio::test]
async fn soldered_devices_are_found() -> anyhow::Result<()> {
    if let Some(board) = installed(Architecture::Arm, "vexpress-a9", 256, 1).await? {
        assert_eq!((board.network_card.as_deref(), board.screens.first().map(String::as_str)), (Some("lan9118"), Some("pl111")));
        assert!(board.serial && board.firmware.is_none() && board.has(BusKind::VirtioMmio) && board.has(BusKind::Sd), "{board:?}");
    }
    // Its slots are left empty where there are no default devices.
    if let Some(board) = installed(Architecture::Arm, "ast2600-evb", 1024, 2).await? {
        assert!(!board.has(BusKind::Sd), "{board:?}");
    }
    if let Some(board) = installed(Architecture::X86_64, "q35", 256, 2).await? {
        // A network card that QEMU plugs into a slot is not soldered.
        assert_eq!((board.network_card.as_deref(), board.screens.len(), board.serial), (None, 0, true));
        assert_eq!(board.firmware.as_deref(), Some("bios-256k.bin"));
    }
    Ok(())
}

#[tokio::test]
async fn limits_of_boards_are_found() -> anyhow::Result<()> {
    if let Some(board) = installed(Architecture::Sparc, "SS-5", 512, 1).await? {
        assert_eq!((board.memory_instead, board.refusal), (Some(256), None));
    }
    if let Some(board) = installed(Architecture::Arm, "raspi2b", 512, 1).await? {
        assert_eq!((board.memory_instead, board.memory >> 20), (Some(0), 1024));
        assert!(board.refuses_cpus && board.cpus == 4);
    }
    Ok(())
}

#[tokio::test]
async fn a_board_without_its_firmware_is_known_all_the_same() -> anyhow::Result<()> {
    if let Some(board) = installed(Architecture::M68k, "q800", 128, 1).await? {
        assert!(board.refusal.as_deref().is_some_and(|said| said.contains("MacROM")), "{board:?}");
        assert!(board.boot.is_some_and(|boot| boot.bios) && board.has(BusKind::Scsi));
        assert!(board.screens.iter().any(|screen| screen == "nubus-macfb") && board.network_card.as_deref() == Some("dp8393x"));
    }
    if let Some(board) = installed(Architecture::M68k, "an5206", 128, 1).await? {
        assert_eq!(board.boot, Some(BootFile { bios: false, kernel: true }));
    }
    Ok(())
}
