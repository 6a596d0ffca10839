//! The suite that every backend passes, with real guests under QEMU. Needs QEMU and the guest that `cargo xtask guests x86_64` assembles.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backend_qemu::machine::{QemuMachine, Setup, Supervision};
use bundle::qemu::{Configuration, Drive, DriveInterface, ImageType, Serial};
use bundle::registry::Entry;
use bundle::{Architecture, FileName};
use machine::VirtualMachine;
use machine::conformance::{self, Harness};
use sandbox::Requirement;
use uuid::Uuid;

/// Bundles and sockets of this run, and the guest.
struct Qemu {
    folder: tempfile::TempDir,
    kernel: PathBuf,
    initrd: PathBuf,
    /// Where each machine's logs are.
    logs: Mutex<HashMap<Uuid, PathBuf>>,
}

impl Qemu {
    /// What is needed, or why it is not there.
    fn find() -> Result<Self, String> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let guests = variable("VIVARIUM_GUESTS").or_else(|| Some(cache?.join("vivarium-guests"))).ok_or("HOME is not set")?;
        let (kernel, initrd) = (guests.join("x86_64/kernel"), guests.join("x86_64/initrd.gz"));
        if !kernel.is_file() || !initrd.is_file() {
            return Err(format!("there is no x86_64 guest in {}; `cargo xtask guests x86_64` assembles it", guests.display()));
        }
        backend_qemu::facts::find(Architecture::X86_64, &[]).map_err(|error| error.to_string())?;
        sandbox::find_launcher().map_err(|error| format!("{error}; `cargo build --package sandbox` makes it"))?;
        // Short, because the paths of sockets must be.
        let folder = tempfile::Builder::new().prefix("viv-conformance-").tempdir_in("/tmp").map_err(|error| error.to_string())?;
        Ok(Self { folder, kernel, initrd, logs: Mutex::default() })
    }

    fn configuration(&self) -> Configuration {
        let mut configuration = bundle::tables::default_configuration(Architecture::X86_64, "q35", Some(Architecture::X86_64));
        configuration.information.uuid = Uuid::new_v4();
        configuration.system.memory_size = 512;
        configuration.system.cpu_count = 1;
        configuration.qemu.uefi_boot = false;
        configuration.qemu.additional_arguments = vec!["-append".into(), "\"console=tty0 console=ttyS0 quiet\"".into()];
        configuration.networks.clear();
        configuration.sounds.clear();
        configuration.serials = vec![Serial::default()];
        let drive = |identifier: &str, image_type, name: Option<&str>| Drive {
            identifier: identifier.into(),
            image_type,
            interface: if image_type == ImageType::Cd { DriveInterface::Ide } else { DriveInterface::None },
            image_name: name.map(|name| FileName::new(name).unwrap()),
            ..Drive::default()
        };
        configuration.drives = vec![
            drive("cd", ImageType::Cd, None),
            drive("kernel", ImageType::LinuxKernel, Some("kernel")),
            drive("initrd", ImageType::LinuxInitrd, Some("initrd.gz")),
            Drive { interface: DriveInterface::VirtIo, ..drive("disk", ImageType::Disk, Some("disk.raw")) },
        ];
        configuration
    }
}

#[async_trait]
impl Harness for Qemu {
    async fn machine(&self) -> Arc<dyn VirtualMachine> {
        let configuration = self.configuration();
        let uuid = configuration.information.uuid;
        let place = self.folder.path().join(&uuid.simple().to_string()[..8]);
        let bundle = place.join("Guest.utm");
        let runtime = place.join("run");
        std::fs::create_dir_all(bundle.join("Data")).unwrap();
        std::fs::create_dir(&runtime).unwrap();
        for (from, to) in [(&self.kernel, "kernel"), (&self.initrd, "initrd.gz")] {
            std::fs::copy(from, bundle.join("Data").join(to)).unwrap();
        }
        std::fs::File::create(bundle.join("Data/disk.raw")).unwrap().set_len(1 << 20).unwrap();
        let setup = Setup {
            bundle: bundle.clone(),
            configuration,
            entry: Entry::default(),
            runtime,
            logs: place.join("logs"),
            scratch: place.join("scratch"),
            cache: self.folder.path().join("cache"),
            directories: Vec::new(),
            sound_by_host: false,
        };
        self.logs.lock().unwrap().insert(uuid, setup.logs.clone());
        let supervision = Supervision {
            launcher: sandbox::find_launcher().unwrap(),
            landlock: Requirement::BestEffort,
            record: place.join("backend.json"),
            lock: std::fs::File::open(&bundle).unwrap().into(),
        };
        Arc::new(QemuMachine::new(setup, supervision, Box::new(|_| {})))
    }

    async fn guest_is_up(&self, machine: &dyn VirtualMachine) {
        let logs = self.logs.lock().unwrap()[&machine.identity().uuid].clone();
        // The power button is heeded before the shell is there. Whoever waits for this too long is ended by the suite.
        while !said(&logs).contains("guest# ") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn medium(&self) -> PathBuf {
        let path = self.folder.path().join("medium.iso");
        std::fs::write(&path, vec![7; 64 << 10]).unwrap();
        path
    }

    fn console_exchange(&self) -> (Vec<u8>, Vec<u8>) {
        (b"echo $((6 * 7))-is-it\n".to_vec(), b"42-is-it".to_vec())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(240)
    }
}

/// All that the guest has said on its serial ports.
fn said(logs: &Path) -> String {
    let files = std::fs::read_dir(logs).into_iter().flatten().flatten();
    let serial = files.filter(|file| file.file_name().to_string_lossy().starts_with("serial"));
    serial.map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default()).into_owned()).collect()
}

#[test]
fn qemu_keeps_the_promises() {
    let harness = match Qemu::find() {
        Ok(harness) => harness,
        Err(reason) => {
            let strict = ["CI", "VIVARIUM_REQUIRE_GUESTS"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
            assert!(!strict, "nothing may be skipped here, and {reason}");
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(conformance::run(&harness));
}
