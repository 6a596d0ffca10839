//! New machines: good choices, refusals with every reason.

mod home;

use std::fs;

use bundle::qemu::{DriveInterface, ImageType, NetworkMode, SerialMode};
use bundle::{Architecture, Configuration, Images};
use home::{Home, has_qemu_img, run, spec};
use library::{BackendChoice, CreateSpec, DiskFormat, DiskSpec, ErrorKind, Firmware, Job, NetworkSpec, Os};

fn qemu(home: &Home, spec: CreateSpec) -> bundle::qemu::Configuration {
    let made = run(home.library.create(spec, &Job::silent())).unwrap();
    let Configuration::Qemu(qemu) = home.library.configuration(&made.machine).unwrap().configuration else { panic!() };
    assert!(Configuration::Qemu(qemu.clone()).validate().iter().all(|problem| !problem.is_fatal()));
    qemu
}

/// A file that is taken for the image of a CD.
fn write_disc(path: &std::path::Path) {
    let mut disc = vec![0; 40 << 10];
    disc[32769..32774].copy_from_slice(b"CD001");
    fs::write(path, disc).unwrap();
}

fn bare(name: &str) -> CreateSpec {
    CreateSpec { name: Some(name.to_owned()), disks: Some(Vec::new()), ..CreateSpec::default() }
}

#[test]
fn linux_gets_paravirtual_devices_and_a_console() {
    let home = Home::new();
    let qemu = qemu(&home, CreateSpec { architecture: Some(Architecture::X86_64), ..spec("L") });
    assert_eq!(qemu.drives[0].interface, DriveInterface::VirtIo);
    assert_eq!(qemu.networks[0].hardware, "virtio-net-pci");
    assert_eq!(qemu.networks[0].mode, NetworkMode::Emulated);
    assert_eq!(qemu.displays[0].hardware, "virtio-vga");
    assert!(qemu.qemu.uefi_boot && qemu.qemu.rng_device && !qemu.qemu.tpm_device);
    assert_eq!(qemu.serials.len(), 1);
    assert_eq!(qemu.serials[0].mode, SerialMode::Terminal);
    assert!(qemu.system.memory_size >= 512 && qemu.system.memory_size <= 4096 && qemu.system.cpu_count >= 1);
}

#[test]
fn windows_gets_what_its_installer_knows() {
    let home = Home::new();
    let disk = DiskSpec { format: Some(DiskFormat::Raw), ..DiskSpec::of_size(64 << 30) };
    let iso = home.folder.path().join("win.iso");
    write_disc(&iso);
    let spec = CreateSpec {
        os: Os::Windows,
        architecture: Some(Architecture::X86_64),
        disks: Some(vec![disk]),
        isos: vec![iso.clone()],
        ..CreateSpec::default()
    };
    let made = run(home.library.create(spec, &Job::silent())).unwrap();
    assert_eq!(made.machine.name, "Windows");
    let loaded = home.library.configuration(&made.machine).unwrap().configuration;
    let qemu = loaded.as_qemu().unwrap();
    assert!(qemu.qemu.tpm_device && qemu.qemu.uefi_boot && qemu.qemu.rtc_local_time);
    assert_eq!(qemu.networks[0].hardware, "e1000e");
    let kinds: Vec<_> = qemu.drives.iter().map(|drive| (drive.image_type, drive.interface)).collect();
    assert_eq!(kinds, [(ImageType::Cd, DriveInterface::Ide), (ImageType::Disk, DriveInterface::Nvme)]);
    let drives = home.library.drives(&made.machine).unwrap();
    assert_eq!(drives[0].path.as_deref(), Some(iso.canonicalize().unwrap().as_path()));
    assert!(drives[0].removable && drives[0].read_only);
    // 64 GiB that take no room.
    assert!(drives[1].allocated.unwrap() < 1 << 20);
    assert_eq!(drives[1].virtual_size, Some(64 << 30));
}

#[test]
fn every_architecture_can_be_made() {
    let home = Home::new();
    for &architecture in Architecture::ALL {
        let qemu = qemu(&home, CreateSpec { architecture: Some(architecture), ..bare(architecture.as_str()) });
        assert_eq!(qemu.system.architecture, architecture);
        let offered = bundle::tables::display_devices(architecture);
        assert!(qemu.displays.iter().all(|display| offered.contains(&display.hardware.as_str())));
        assert!(!qemu.displays.iter().any(|display| display.hardware == "virtio-ramfb"), "not in QEMU as it is: {architecture}");
    }
    assert_eq!(home.library.machines().len(), Architecture::ALL.len());
}

#[test]
fn a_kernel_is_copied_and_its_command_line_stays_whole() {
    let home = Home::new();
    let (kernel, initrd) = (home.folder.path().join("vmlinuz"), home.folder.path().join("initrd.img"));
    fs::write(&kernel, "kernel").unwrap();
    fs::write(&initrd, "initrd").unwrap();
    let spec = CreateSpec {
        kernel: Some(kernel),
        initrd: Some(initrd),
        append: Some("console=ttyS0 quiet".to_owned()),
        disks: None,
        display: Some(false),
        ..bare("K")
    };
    let qemu = qemu(&home, CreateSpec { architecture: Some(Architecture::X86_64), ..spec.clone() });
    assert_eq!(qemu.qemu.additional_arguments, ["-append", "\"console=ttyS0 quiet\""]);
    assert!(!qemu.qemu.uefi_boot && qemu.displays.is_empty() && qemu.sounds.is_empty());
    let kinds: Vec<_> = qemu.drives.iter().map(|drive| drive.image_type).collect();
    assert_eq!(kinds, [ImageType::LinuxKernel, ImageType::LinuxInitrd]);
    assert_eq!(fs::read(home.machines().join("K.utm/Data/vmlinuz")).unwrap(), b"kernel");

    let native =
        run(home.library.create(CreateSpec { backend: BackendChoice::Native, name: Some("N".into()), ..spec }, &Job::silent())).unwrap();
    let loaded = home.library.configuration(&native.machine).unwrap().configuration;
    let apple = loaded.as_apple().unwrap();
    assert_eq!(apple.system.boot.linux_kernel_path.as_ref().unwrap().as_str(), "vmlinuz");
    assert_eq!(apple.system.boot.linux_initial_ramdisk_path.as_ref().unwrap().as_str(), "initrd.img");
    assert_eq!(apple.system.boot.linux_command_line.as_deref(), Some("console=ttyS0 quiet"));
    assert!(apple.drives.is_empty() && apple.displays.is_empty() && apple.serials.len() == 1);
}

#[test]
fn the_native_backend_gets_raw_disks() {
    let home = Home::new();
    let spec = CreateSpec { backend: BackendChoice::Native, disks: Some(vec![DiskSpec::of_size(1 << 30)]), ..bare("N") };
    let made = run(home.library.create(spec, &Job::silent())).unwrap();
    assert_eq!(made.machine.summary().unwrap().backend, machine::BackendKind::Native);
    let drives = home.library.drives(&made.machine).unwrap();
    assert_eq!(drives[0].format.as_deref(), Some("raw"));
    assert_eq!(drives[0].virtual_size, Some(1 << 30));
}

#[test]
fn a_new_disk_is_qcow2_and_its_format_is_recorded() {
    if !has_qemu_img() {
        return;
    }
    let home = Home::new();
    let qemu = qemu(&home, CreateSpec { disks: Some(vec![DiskSpec::of_size(5 << 30)]), ..bare("Q") });
    let name = qemu.drives[0].image_name.clone().unwrap();
    assert_eq!(name.as_str(), format!("{}.qcow2", qemu.drives[0].identifier));
    assert_eq!(Images::read(&home.machines().join("Q.utm")).unwrap().format(&name), Some("qcow2"));
    let drive = home.library.drives(&home.library.find("Q").unwrap()).unwrap().remove(0);
    assert_eq!((drive.format.as_deref(), drive.virtual_size), (Some("qcow2"), Some(5 << 30)));
}

#[test]
fn every_reason_is_given_at_once_and_nothing_is_made() {
    let home = Home::new();
    let spec = CreateSpec {
        memory_mib: Some(0),
        cpus: Some(0),
        architecture: Some(Architecture::Avr),
        firmware: Some(Firmware::Uefi),
        initrd: Some("/nowhere/initrd".into()),
        append: Some("x".into()),
        machine: Some("q35".into()),
        isos: vec!["/nowhere/a.iso".into()],
        disks: Some(vec![DiskSpec::of_size(0), DiskSpec::default(), DiskSpec::of_size(1000)]),
        network: Some(NetworkSpec::Bridged(String::new())),
        ..CreateSpec::default()
    };
    let refused = run(home.library.create(spec, &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let about: Vec<&str> = refused.problems().iter().map(|problem| problem.key_path.as_str()).collect();
    for what in ["memory", "cpus", "firmware", "initrd", "append", "machine", "iso", "disk", "network"] {
        assert!(about.contains(&what), "{what} in {about:?}");
    }
    assert_eq!(about.iter().filter(|what| **what == "disk").count(), 3);
    assert!(home.entries().is_empty());
}

#[test]
fn a_name_that_is_taken_is_refused_and_a_free_one_suggested() {
    let home = Home::new();
    run(home.library.create(bare("Debian"), &Job::silent())).unwrap();
    let refused = run(home.library.create(bare("Debian"), &Job::silent())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exists);
    assert!(refused.hint().unwrap().contains("Debian 2"));
    // Another name, but the same file.
    run(home.library.create(bare("a/b"), &Job::silent())).unwrap();
    assert_eq!(run(home.library.create(bare("a:b"), &Job::silent())).unwrap_err().kind(), ErrorKind::Exists);
    // Without a name, a free one is chosen.
    let spec = || CreateSpec { name: None, ..bare("") };
    let made: Vec<String> = (0..3).map(|_| run(home.library.create(spec(), &Job::silent())).unwrap().machine.name).collect();
    assert_eq!(made, ["Linux", "Linux 2", "Linux 3"]);
}

#[test]
fn what_an_earlier_machine_of_the_same_inode_left_is_forgotten() {
    let home = Home::new();
    let made = run(home.library.create(bare("A"), &Job::silent())).unwrap();
    let record = home.library.places().last_run_of(&made.machine.id);
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    fs::write(&record, "{}").unwrap();
    run(home.library.delete(&made.machine, library::Deletion::Permanent)).unwrap();
    assert!(!record.exists());
}

/// Who asks what a request comes to is told what is then made.
#[test]
fn a_plan_is_what_is_made() {
    let home = Home::new();
    let spec = CreateSpec { architecture: Some(Architecture::X86_64), virtualize: Some(false), memory_mib: Some(777), ..bare("P") };
    let plan = spec.plan(None).unwrap();
    let planned = plan.configuration.as_qemu().unwrap();
    let made = qemu(&home, spec);
    assert!(!made.qemu.hypervisor && made.system.memory_size == 777);
    assert_eq!((&planned.system, &planned.qemu, &planned.input), (&made.system, &made.qemu, &made.input));
    let foreign = CreateSpec { architecture: Some(Architecture::M68k), virtualize: Some(true), ..bare("Q") };
    assert_eq!(foreign.problems(None).iter().map(|problem| problem.key_path.as_str()).collect::<Vec<_>>(), ["virtualize"]);
}
