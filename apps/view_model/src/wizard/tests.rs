//! The wizard as a person walks through it, and whichever way they go.

use std::io::Write;

use proptest::prelude::*;

use super::*;

fn host() -> Host {
    Host {
        architecture: CreateSpec::default().plan(None).map(|plan| plan.configuration.architecture()).ok(),
        memory_mib: 24 << 10,
        free_memory_mib: Some(14_541),
        cores: 8,
        is_mac: false,
    }
}

/// The image of a CD, as far as anybody looks.
fn iso() -> tempfile::NamedTempFile {
    let mut disc = vec![0; 40 << 10];
    disc[32769..32774].copy_from_slice(b"CD001");
    let mut file = tempfile::Builder::new().suffix(".iso").tempfile().unwrap();
    file.write_all(&disc).unwrap();
    file
}

fn good() -> Finding {
    Finding { subject: "kvm".into(), level: FindingLevel::Good, message: "works".into(), fix: None }
}

fn value(wizard: &Wizard, label: crate::Text) -> String {
    wizard.summary().into_iter().find(|line| line.label == label).unwrap().value.to_string()
}

#[test]
fn linux_from_an_iso_needs_one_choice() {
    let iso = iso();
    let mut wizard = Wizard::new(host());
    wizard.set_findings(&[good()]);
    assert!(wizard.advance(), "Linux is chosen already");
    assert_eq!((wizard.step(), wizard.advance()), (Step::Installer, false), "nothing to install from yet");
    wizard.choose(|choices| choices.installer = Some(Installer::Iso(iso.path().into())));
    for step in [Step::Hardware, Step::Storage, Step::Sharing, Step::Summary] {
        assert!(wizard.advance());
        assert_eq!(wizard.step(), step);
    }
    let order = wizard.order().unwrap();
    assert_eq!(order.create, CreateSpec { isos: vec![iso.path().into()], ..CreateSpec::default() }, "the rest is the library's to choose");
    assert!(order.start && order.share.is_none());
    assert_eq!(value(&wizard, crate::texts::FACT_DISK), "64 GiB, new");
    assert!(value(&wizard, crate::texts::SUMMARY_PROCESSOR).ends_with(", virtualized"));
}

#[test]
fn an_image_that_was_dropped_is_chosen_already() {
    let iso = iso();
    let mut wizard = Wizard::for_iso(host(), iso.path().into());
    assert!(wizard.go_to(Step::Summary));
    wizard.choose(|choices| choices.installer = Some(Installer::Iso("/nowhere.iso".into())));
    let problems = wizard.order().unwrap_err();
    assert_eq!((problems[0].step, problems[0].field.as_str()), (Step::Installer, "iso"));
    wizard.go_to(Step::System);
    assert!(!wizard.go_to(Step::Summary) && wizard.can_go_to(Step::Installer));
}

#[test]
fn a_file_that_is_no_disc_can_be_taken_for_one() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[b'x'; 100_000]).unwrap();
    let mut wizard = Wizard::for_iso(host(), file.path().into());
    let problem = wizard.order().unwrap_err().remove(0);
    assert_eq!((problem.step, problem.hint.as_deref(), problem.is_doubt), (Step::Installer, None, true));
    assert!(!problem.message.to_string().contains("--"), "no option of a command line: {}", problem.message);
    wizard.choose(|choices| choices.unchecked = true);
    assert!(wizard.order().is_ok());
}

#[test]
fn what_cannot_be_offered_says_why() {
    let cards = systems(false);
    let mac = cards.iter().find(|card| card.os == Os::MacOs).unwrap();
    assert!(!mac.offered && mac.help.to_string().contains("Mac"));
    assert!(systems(true).iter().all(|card| card.offered));

    let mut wizard = Wizard::new(host());
    assert!(wizard.virtualize().is_ok(), "nobody has answered yet");
    let fix = "switch virtualization on in the computer's firmware setup";
    wizard.set_findings(&[Finding {
        level: FindingLevel::Warning,
        message: "There is no /dev/kvm".into(),
        fix: Some(fix.into()),
        ..good()
    }]);
    assert_eq!(wizard.virtualize().unwrap_err().to_string(), format!("There is no /dev/kvm: {fix}"));
    assert_eq!(wizard.how(), How::Emulated);
    wizard.set_findings(&[good()]);
    wizard.choose(|choices| choices.architecture = Some(Architecture::M68k));
    assert!(wizard.virtualize().unwrap_err().to_string().contains("m68k"));
    wizard.choose(|choices| choices.os = Os::MacOs);
    assert!(wizard.order().is_err(), "not on this computer");
}

#[test]
fn limits_come_from_the_computer() {
    let mut wizard = Wizard::new(host());
    assert_eq!(wizard.memory_help().to_string(), "128 MiB to 23 GiB; 14.2 GiB are free now");
    wizard.choose(|choices| (choices.memory_mib, choices.installer) = (Some(64 << 10), Some(Installer::Nothing)));
    wizard.go_to(Step::Hardware);
    let said = wizard.problems_here()[0].message.to_string();
    assert_eq!(said, "64 GiB is more than this computer has (24 GiB). The machine could not start");
    assert!(!wizard.can_continue());
    wizard.choose(|choices| (choices.memory_mib, choices.cores) = (Some(4096), Some(64)));
    assert!(wizard.problems_here()[0].is_warning && wizard.can_continue(), "slower, but somebody may want it");
    let small = limits(&Host { memory_mib: 1000, ..host() }, Os::Windows, true);
    assert!(small.memory_least <= small.memory_most);
}

#[test]
fn a_share_and_a_name_reach_the_library() {
    let mut wizard = Wizard::new(host());
    let share = Share { folder: "/home/me/Projects".into(), read_only: true };
    wizard.choose(|choices| {
        choices.installer = Some(Installer::Nothing);
        choices.share = Some(share);
        choices.name = "  Server ".into();
        choices.disks = Some(vec![Disk::New(20 << 30), Disk::New(1 << 40)]);
        choices.open_settings = true;
    });
    let order = wizard.order().unwrap();
    assert_eq!((order.create.name.as_deref(), order.start), (Some("Server"), false));
    assert_eq!(order.share.unwrap().read_only, Some(true));
    assert_eq!(value(&wizard, crate::texts::FACT_SHARED_FOLDER), "/home/me/Projects (read-only)");
    let disks: Vec<String> =
        wizard.summary().into_iter().filter(|line| line.label == crate::texts::FACT_DISK).map(|line| line.value.to_string()).collect();
    assert_eq!(disks, ["20 GiB, new", "1 TiB, new"]);
}

#[test]
fn windows_gets_its_drivers_on_a_second_cd() {
    let (iso, drivers) = (iso(), iso());
    let mut wizard = Wizard::for_iso(host(), iso.path().into());
    wizard.choose(|choices| (choices.os, choices.more_isos) = (Os::Windows, vec![drivers.path().into()]));
    assert_eq!(wizard.order().unwrap().create.isos, [iso.path(), drivers.path()]);
    if host().architecture == Some(Architecture::X86_64) {
        assert_eq!(value(&wizard, crate::texts::SUMMARY_FIRMWARE), "UEFI with Secure Boot and TPM");
    }
}

#[test]
fn a_macintosh_asks_for_its_rom() {
    let mut wizard = Wizard::new(host());
    wizard.choose(|choices| {
        (choices.os, choices.architecture, choices.machine) = (Os::Other, Some(Architecture::M68k), Some("q800".into()));
        choices.installer = Some(Installer::Nothing);
    });
    let needs = machine::BootNeed { firmware: true, kernel: false, said: "could not load MacROM.bin".into() };
    wizard.set_offer(Some(Offer { needs: Some(needs), cpus_max: 1, memory_mib: 512, disks: vec!["SCSI".into()], ..Offer::default() }));
    let problems = wizard.order().unwrap_err();
    assert_eq!((problems[0].step, problems[0].field.as_str()), (Step::Hardware, "machine"));
    assert!(problems[0].message.to_string().contains("MacROM.bin") && problems[0].hint.is_none(), "no option of a command line");
    let rom = iso();
    wizard.choose(|choices| choices.rom = Some(rom.path().into()));
    assert_eq!(wizard.order().unwrap().create.bios.as_deref(), Some(rom.path()));
}

#[test]
fn other_memory_is_found_out_about_anew() {
    let mut wizard = Wizard::new(host());
    wizard.choose(|choices| choices.installer = Some(Installer::Nothing));
    let offer =
        |memory_mib| Offer { cpus_max: 8, memory_mib, disks: vec!["VirtIO".into()], displays: vec!["VGA".into()], ..Offer::default() };
    let offer = |memory_mib| Offer { firmware: Some("bios-256k.bin".into()), networks: vec!["virtio-net-pci".into()], ..offer(memory_mib) };
    wizard.set_offer(Some(offer(4096)));
    assert!(wizard.choose(|choices| choices.memory_mib = Some(512)), "the offer was about other memory");
    assert!(wizard.order().is_ok(), "nothing is refused that has not been found out: {:?}", wizard.problems());
    assert!(!wizard.choose(|choices| choices.memory_mib = Some(512)));
    wizard.set_offer(Some(offer(256)));
    assert_eq!(wizard.order().unwrap_err()[0].field, "memory", "the board takes less");
}

#[test]
fn a_name_that_is_taken_is_told_until_it_is_another() {
    let mut wizard = Wizard::new(host());
    wizard.choose(|choices| (choices.installer, choices.name) = (Some(Installer::Nothing), "Debian".into()));
    assert!(wizard.order().is_ok());
    let taken = library::Error::new(library::ErrorKind::Exists, "There is already a machine \"Debian\"").with_hint("Choose another name");
    wizard.set_name_checked("Debian", Some(&taken));
    let problems = wizard.order().unwrap_err();
    assert_eq!((problems[0].step, problems[0].field.as_str()), (Step::Summary, "name"));
    wizard.choose(|choices| choices.name = "Debian 2".into());
    assert!(wizard.order().is_ok());
    wizard.choose(|choices| choices.name = "a\nb".into());
    assert!(wizard.order().is_err());
}

#[test]
fn another_processor_forgets_what_only_the_first_could_have() {
    let mut wizard = Wizard::new(host());
    wizard.choose(|choices| (choices.machine, choices.virtualize) = (Some("q35".into()), Some(true)));
    assert!(wizard.choose(|choices| choices.architecture = Some(Architecture::S390x)), "another machine type is asked about");
    assert_eq!((wizard.choices().machine.as_deref(), wizard.choices().virtualize), (None, None));
    assert!(!wizard.choose(|choices| choices.name = "x".into()));
}

fn choice() -> impl Strategy<Value = fn(&mut Choices)> {
    prop::sample::select(vec![
        (|choices: &mut Choices| choices.os = Os::Windows) as fn(&mut Choices),
        |choices| choices.os = Os::Linux,
        |choices| choices.os = Os::Other,
        |choices| choices.os = Os::MacOs,
        |choices| choices.architecture = Some(Architecture::Aarch64),
        |choices| choices.architecture = Some(Architecture::M68k),
        |choices| choices.architecture = None,
        |choices| choices.machine = Some("q800".into()),
        |choices| choices.virtualize = Some(true),
        |choices| choices.virtualize = Some(false),
        |choices| choices.installer = Some(Installer::Nothing),
        |choices| choices.installer = Some(Installer::Iso("/nowhere".into())),
        |choices| choices.installer = Some(Installer::Kernel { kernel: PathBuf::new(), initrd: None, append: "a \"b".into() }),
        |choices| choices.memory_mib = Some(0),
        |choices| choices.memory_mib = Some(u64::MAX),
        |choices| choices.cores = Some(0),
        |choices| choices.cores = Some(u32::MAX),
        |choices| choices.memory_mib = None,
        |choices| choices.cores = None,
        |choices| choices.disks = Some(vec![Disk::New(0)]),
        |choices| choices.disks = Some(vec![Disk::New(u64::MAX), Disk::New(1 << 30)]),
        |choices| choices.disks = Some(vec![Disk::New(1 << 30), Disk::Copy(PathBuf::new())]),
        |choices| choices.disks = Some(Vec::new()),
        |choices| choices.disks = None,
        |choices| choices.more_isos = vec!["/nowhere/drivers.iso".into()],
        |choices| choices.more_isos = Vec::new(),
        |choices| choices.rom = Some("/nowhere.rom".into()),
        |choices| choices.rom = None,
        |choices| choices.display = Some(false),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whichever way somebody goes: whoever comes to the summary by "Continue" alone can order, an order has no problem that the library would
    /// find, and nothing that is shown is empty.
    #[test]
    fn continuing_leads_to_an_order(steps in prop::collection::vec((choice(), any::<bool>()), 0..25)) {
        let mut wizard = Wizard::new(host());
        for (choice, forward) in steps {
            wizard.choose(choice);
            if forward { wizard.advance(); } else { wizard.back(); }
        }
        while wizard.back() {}
        let continued = (0..Step::ALL.len() - 1).all(|_| wizard.advance());
        let order = wizard.order();
        prop_assert_eq!(continued && wizard.problems_here().iter().all(|problem| problem.is_warning), order.is_ok());
        match order {
            Ok(order) => {
                prop_assert!(order.create.problems(None).is_empty());
                prop_assert!(wizard.summary().iter().all(|line| !line.value.to_string().is_empty()));
            }
            Err(problems) => prop_assert!(problems.iter().all(|problem| !problem.message.to_string().is_empty() && !problem.is_warning)),
        }
        let steps = wizard.limits().memory_steps();
        prop_assert!(steps.windows(2).all(|pair| pair[0] < pair[1]) && !steps.is_empty());
    }
}
