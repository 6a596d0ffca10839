//! The computer around the emulator.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bundle::Architecture;
use serde::Serialize;

use super::find::find_program;
use crate::firmware::Catalogue;

/// What this computer has, apart from QEMU. All fields are plain data, so that a test can describe any computer.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Its processor; `None` for one that UTM has no name for.
    pub architecture: Option<Architecture>,
    /// Processor cores.
    pub cores: u64,
    /// Hardware threads that this process may use.
    pub threads: u64,
    /// Memory in MiB.
    pub memory: u64,
    /// Kernel release, such as `6.12.9`.
    pub kernel: String,
    /// Whether `/dev/kvm` can be opened.
    pub kvm: KvmDevice,
    /// Sound servers that answer here, best first.
    pub audio: Vec<AudioServer>,
    /// DRM render node that can be opened, for 3D.
    pub render_node: Option<PathBuf>,
    /// `passt`: user NAT with the host's own routes and resolver.
    pub passt: Option<PathBuf>,
    /// `swtpm`: TPM 2.0.
    pub swtpm: Option<PathBuf>,
    /// `qemu-bridge-helper`: opens a tap on a bridge.
    pub bridge_helper: Option<PathBuf>,
    /// UEFI firmware that distribution packages describe.
    pub firmware: Catalogue,
}

/// State of `/dev/kvm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KvmDevice {
    /// It is not there.
    #[default]
    Missing,
    /// It is there and may not be opened.
    Denied,
    /// It can be opened. Whether it works is another question ([`super::accelerator`]).
    Present,
}

/// A way to be heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AudioServer {
    /// Driver of `-audiodev`: `pipewire`, `pa`, `alsa`.
    pub driver: String,
    /// Socket or device directory that QEMU must reach.
    pub path: PathBuf,
}

impl Host {
    /// Looks at this computer. Helpers are looked for in `directories`, on the PATH and where distributions hide them.
    pub fn gather(directories: &[PathBuf]) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let hidden: Vec<PathBuf> = ["/usr/lib/qemu", "/usr/libexec", "/usr/lib64/qemu", "/usr/libexec/qemu"].map(PathBuf::from).into();
        let with_hidden: Vec<PathBuf> = directories.iter().cloned().chain(hidden).collect();
        Self {
            architecture: match std::env::consts::ARCH {
                "x86" => Some(Architecture::I386),
                "powerpc" => Some(Architecture::Ppc),
                "powerpc64" => Some(Architecture::Ppc64),
                other => other.parse().ok(),
            },
            cores: physical_cores().unwrap_or(threads).min(threads).max(1),
            threads,
            memory: memory().unwrap_or(0),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            kvm: kvm_device(),
            audio: audio_servers(),
            render_node: render_node(),
            passt: find_program("passt", directories),
            swtpm: find_program("swtpm", directories),
            bridge_helper: find_program("qemu-bridge-helper", &with_hidden),
            firmware: Catalogue::read(),
        }
    }
}

fn kvm_device() -> KvmDevice {
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => KvmDevice::Present,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => KvmDevice::Denied,
        Err(_) => KvmDevice::Missing,
    }
}

/// Distinct sets of sibling threads.
fn physical_cores() -> Option<u64> {
    let mut siblings = BTreeSet::new();
    for entry in std::fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        if let Ok(list) = std::fs::read_to_string(entry.path().join("topology/thread_siblings_list")) {
            siblings.insert(list);
        }
    }
    u64::try_from(siblings.len()).ok().filter(|count| *count > 0)
}

fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}

fn audio_servers() -> Vec<AudioServer> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let pipewire = std::env::var_os("PIPEWIRE_RUNTIME_DIR").map(PathBuf::from).or_else(|| runtime.clone());
    let pulse = std::env::var("PULSE_SERVER").ok().and_then(|server| server.strip_prefix("unix:").map(PathBuf::from));
    let places = [
        ("pipewire", pipewire.map(|directory| directory.join("pipewire-0"))),
        ("pa", pulse.or_else(|| runtime.map(|directory| directory.join("pulse/native")))),
        ("alsa", has_playback(Path::new("/dev/snd")).then(|| PathBuf::from("/dev/snd"))),
    ];
    let found = places.into_iter().filter_map(|(driver, path)| Some((driver, path?)));
    found.filter(|(_, path)| path.exists()).map(|(driver, path)| AudioServer { driver: driver.to_owned(), path }).collect()
}

/// Whether a playback device (`pcmC0D0p`) is there and can be opened.
fn has_playback(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("pcm") && name.ends_with('p') && std::fs::OpenOptions::new().write(true).open(entry.path()).is_ok()
    })
}

fn render_node() -> Option<PathBuf> {
    let mut nodes: Vec<PathBuf> = std::fs::read_dir("/dev/dri").ok()?.flatten().map(|entry| entry.path()).collect();
    nodes.sort();
    nodes.into_iter().find(|node| {
        node.file_name().is_some_and(|name| name.to_string_lossy().starts_with("renderD"))
            && std::fs::OpenOptions::new().read(true).write(true).open(node).is_ok()
    })
}
