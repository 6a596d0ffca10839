//! What only a backend can tell, as JSON on standard output: the command line of a bundle, the state of the installation.

use crate::run;
use backend_qemu::command_line::Options;
use backend_qemu::facts::{self, AudioServer, Host, KvmDevice};
use backend_qemu::machine::shown;
use backend_qemu::offer;
use bundle::Architecture;
use machine::{CommandLine, Error, ErrorKind, Result};
use sandbox::Requirement;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use supervisor_api::wire::{Failure, Finding, FindingLevel};
use supervisor_api::{Places, Settings};

fn answer<T: Serialize>(result: Result<T>) -> ExitCode {
    let (text, code) = match result {
        Ok(value) => (serde_json::to_string(&value), ExitCode::SUCCESS),
        Err(error) => (serde_json::to_string(&Failure::from(&error)), ExitCode::FAILURE),
    };
    println!("{}", text.unwrap_or_default());
    code
}

/// The command line that would run a bundle.
pub async fn command(bundle: &Path) -> ExitCode {
    answer(command_line(bundle).await)
}

async fn command_line(bundle: &Path) -> Result<CommandLine> {
    let failed =
        |error: std::io::Error| Error::new(ErrorKind::File, format!("Cannot find the bundle {}", bundle.display())).with_source(error);
    let bundle = bundle.canonicalize().map_err(failed)?;
    let places = places()?;
    let id = bundle::bundle_id(&bundle).map_err(failed)?;
    let setup =
        run::setup(&bundle, run::open(&bundle)?.configuration, &id, &places, &places.runtime_of(&id), &Settings::read(&places.state))?;
    let plan = setup.plan(Options::default(), false, &|_| {}).await?;
    Ok(shown(&plan))
}

/// What a machine type offers to a new machine.
pub async fn offer(architecture: Architecture, target: &str, cpu: Option<&str>, memory: u64) -> ExitCode {
    let offered = async {
        let (directories, cache) = (run::qemu_directories(), places()?.cache);
        offer::offer(&offer::Question { architecture, target, cpu, memory, directories: &directories, cache: &cache }).await
    };
    answer(offered.await)
}

/// The machine types and processors of an architecture.
pub async fn catalog(architecture: Architecture) -> ExitCode {
    let listed = async { offer::catalog(architecture, &run::qemu_directories(), &places()?.cache).await };
    answer(listed.await)
}

fn places() -> Result<Places> {
    Places::from_environment().map_err(|error| Error::new(ErrorKind::File, error.to_string()))
}

/// How the installation is.
pub async fn doctor() -> ExitCode {
    answer(findings().await)
}

fn finding(subject: &str, level: FindingLevel, message: impl Into<String>, fix: Option<&str>) -> Finding {
    Finding { subject: subject.into(), level, message: message.into(), fix: fix.map(Into::into) }
}

async fn findings() -> Result<Vec<Finding>> {
    let places = places()?;
    let host = Host::gather(&[]);
    let settings = Settings::read(&places.state);
    let mut findings = vec![launcher(), landlock(&settings), kvm(host.kvm)];
    findings.extend(emulators(&host, &places.cache).await);
    findings.push(tool(
        "qemu-img",
        which("qemu-img").is_some(),
        "disks cannot be made, converted or checked",
        "sudo apt install qemu-utils",
        true,
    ));
    findings.push(tool(
        "passt",
        host.passt.is_some(),
        "networks are QEMU's own, which do not follow the host's VPN and DNS",
        "sudo apt install passt",
        false,
    ));
    findings.push(tool("swtpm", host.swtpm.is_some(), "machines with a TPM (Windows 11) do not start", "sudo apt install swtpm", false));
    findings.push(tool(
        "qemu-bridge-helper",
        host.bridge_helper.is_some(),
        "bridged networks are not possible",
        "sudo apt install qemu-system-common",
        false,
    ));
    findings.push(sound(&settings, &host.audio));
    Ok(findings)
}

fn launcher() -> Finding {
    match sandbox::find_launcher() {
        Ok(path) => finding("launcher", FindingLevel::Good, path.display().to_string(), None),
        Err(error) => finding("launcher", FindingLevel::Error, error.to_string(), Some("reinstall Vivarium")),
    }
}

fn landlock(settings: &Settings) -> Finding {
    let support = sandbox::support();
    match (support.landlock_abi, settings.landlock) {
        (_, Requirement::Off) => finding(
            "sandbox",
            FindingLevel::Warning,
            "Landlock is switched off by a setting",
            Some("unset VIVARIUM_LANDLOCK, or set \"landlock\": \"require\" in settings.json"),
        ),
        (Some(abi), _) => finding("sandbox", FindingLevel::Good, format!("Landlock, version {abi}"), None),
        (None, Requirement::Require) => finding(
            "sandbox",
            FindingLevel::Error,
            "The kernel has no Landlock, and a setting requires it",
            Some("boot with lsm=landlock,… or set \"landlock\": \"best-effort\""),
        ),
        (None, Requirement::BestEffort) => finding(
            "sandbox",
            FindingLevel::Warning,
            "The kernel has no Landlock: a guest that breaks out of QEMU can read your files",
            Some("add landlock to lsm= on the kernel's command line"),
        ),
    }
}

fn kvm(device: KvmDevice) -> Finding {
    match device {
        KvmDevice::Present => {
            finding("kvm", FindingLevel::Good, "/dev/kvm can be opened; whether it works is tried for each machine", None)
        }
        KvmDevice::Denied => finding(
            "kvm",
            FindingLevel::Warning,
            "/dev/kvm may not be opened: machines are emulated, which is slow",
            Some("sudo usermod -aG kvm $USER, then log in again"),
        ),
        KvmDevice::Missing => finding(
            "kvm",
            FindingLevel::Warning,
            "There is no /dev/kvm: machines are emulated, which is slow",
            Some("switch virtualization on in the computer's firmware setup, then: sudo modprobe kvm_intel || sudo modprobe kvm_amd"),
        ),
    }
}

/// The emulator of this computer's own architecture must work; the others are welcome.
async fn emulators(host: &Host, cache: &Path) -> Vec<Finding> {
    let native = host.architecture.unwrap_or(Architecture::X86_64);
    let mut findings = Vec::new();
    let mut others = Vec::new();
    for architecture in Architecture::ALL.iter().copied() {
        match facts::find(architecture, &[]) {
            Err(error) if architecture == native => {
                let fix = format!("sudo apt install {}", facts::package(architecture));
                findings.push(finding("qemu", FindingLevel::Error, error.to_string(), Some(&fix)));
            }
            Err(_) => {}
            Ok(program) if architecture == native => findings.push(match facts::Emulator::find(&program, Some(cache)).await {
                Ok(emulator) => {
                    let modules = emulator.displays.contains("dbus") && emulator.has_option("spice");
                    if modules {
                        finding("qemu", FindingLevel::Good, format!("{} ({})", program.display(), emulator.version), None)
                    } else {
                        finding(
                            "qemu",
                            FindingLevel::Warning,
                            format!("{} has no D-Bus display or no SPICE", program.display()),
                            Some("sudo apt install qemu-system-gui qemu-system-modules-spice"),
                        )
                    }
                }
                Err(error) => finding(
                    "qemu",
                    FindingLevel::Error,
                    error.to_string(),
                    Some(&format!("sudo apt install --reinstall {}", facts::package(architecture))),
                ),
            }),
            Ok(_) => others.push(architecture.as_str()),
        }
    }
    findings.push(if others.is_empty() {
        finding("other processors", FindingLevel::Warning, "No other architecture can be emulated", Some("sudo apt install qemu-system"))
    } else {
        finding("other processors", FindingLevel::Good, others.join(", "), None)
    });
    findings
}

fn tool(name: &str, there: bool, without: &str, fix: &str, needed: bool) -> Finding {
    match (there, needed) {
        (true, _) => finding(name, FindingLevel::Good, "installed", None),
        (false, true) => finding(name, FindingLevel::Error, format!("missing: {without}"), Some(fix)),
        (false, false) => finding(name, FindingLevel::Warning, format!("missing: {without}"), Some(fix)),
    }
}

fn which(name: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn sound(settings: &Settings, servers: &[AudioServer]) -> Finding {
    if !settings.sound_by_host {
        let message =
            "goes to a machine's viewer; \"sound\": \"host\" in settings.json lets QEMU play it by itself, with an incomplete sandbox";
        return finding("sound", FindingLevel::Good, message, None);
    }
    match servers.first() {
        Some(server) if server.driver == "alsa" => finding("sound", FindingLevel::Good, "QEMU plays it by itself, over ALSA", None),
        Some(server) => finding(
            "sound",
            FindingLevel::Warning,
            format!(
                "QEMU connects to {} by itself, as a setting says: a guest that breaks out can reach other programs' sockets",
                server.driver
            ),
            Some("remove \"sound\": \"host\" from settings.json"),
        ),
        None => finding(
            "sound",
            FindingLevel::Warning,
            "No sound server was found: machines are silent",
            Some("sudo apt install pipewire-pulse"),
        ),
    }
}
