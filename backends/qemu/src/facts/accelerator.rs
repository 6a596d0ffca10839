//! KVM or emulation, decided by trying.
//!
//! `/dev/kvm` may be there and still be of no use to this QEMU: nested or para-virtualised implementations lack registers that QEMU insists
//! on, and then it aborts. So a machine with the real type and CPU model is started once under KVM and runs for a moment before a guest
//! depends on it.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conversation::Conversation;
use super::{Emulator, Error, Host, KvmDevice, cache};

const DEADLINE: Duration = Duration::from_secs(15);
/// Long enough for the first instructions: what KVM cannot do shows at once.
const RUNS_FOR: Duration = Duration::from_millis(150);

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// The processor, by KVM.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accelerator {
    /// What `-accel` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// An accelerator with the reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What executes the guest.
    pub accelerator: Accelerator,
    /// Why, in a sentence for people.
    pub why: String,
}

impl Decision {
    /// KVM.
    pub fn kvm(why: impl Into<String>) -> Self {
        Self { accelerator: Accelerator::Kvm, why: why.into() }
    }

    /// Emulation.
    pub fn tcg(why: impl Into<String>) -> Self {
        Self { accelerator: Accelerator::Tcg, why: why.into() }
    }
}

/// What a machine wants.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// `QEMU.Hypervisor`.
    pub hypervisor: bool,
    /// Architecture of the guest.
    pub architecture: bundle::Architecture,
    /// Value of `-machine`: type and overriding properties.
    pub machine: &'a str,
    /// CPU model; `default` and the empty name mean the host's.
    pub cpu: &'a str,
}

/// What one try of KVM found; the kernel is part of it because the answer changes with it.
#[derive(Debug, Serialize, Deserialize)]
struct Tried {
    kernel: String,
    failure: Option<String>,
}

/// Chooses. Never fails: what speaks against KVM is the reason in the decision.
pub async fn decide(emulator: &Emulator, host: &Host, wish: &Wish<'_>, cache_directory: Option<&Path>) -> Decision {
    if !wish.hypervisor {
        return Decision::tcg("The configuration does not ask for a hypervisor");
    }
    let native = host.architecture;
    if native != Some(wish.architecture) {
        let native = native.map_or("other", bundle::Architecture::as_str);
        return Decision::tcg(format!("A {} guest cannot run natively on this {native} computer", wish.architecture.as_str()));
    }
    if !emulator.kvm {
        return Decision::tcg("The installed QEMU is built without KVM");
    }
    match host.kvm {
        KvmDevice::Missing => {
            return Decision::tcg(
                "/dev/kvm is missing: switch virtualization on in the computer's firmware, or load the module kvm_intel or kvm_amd",
            );
        }
        KvmDevice::Denied => {
            return Decision::tcg(
                "/dev/kvm may not be opened: add yourself to the group kvm (sudo usermod -aG kvm $USER) and log in again",
            );
        }
        KvmDevice::Present => {}
    }
    let cpu = if wish.cpu.is_empty() || wish.cpu == "default" { "host" } else { wish.cpu };
    let question = format!("{}\0{cpu}\0{}", wish.machine, host.kernel);
    let place = cache_directory.map(|directory| cache::Place::new(directory, "kvm", &emulator.identity, &question));
    let kept = place.as_ref().and_then(cache::Place::load::<Tried>).filter(|tried| tried.kernel == host.kernel);
    let failure = match kept {
        Some(tried) => tried.failure,
        None => match attempt(emulator, wish.machine, cpu).await {
            Ok(()) => keep(place.as_ref(), host, None),
            // A busy computer is no property of KVM: said, not remembered.
            Err(error @ Error::Silent { .. }) => Some(error.to_string()),
            Err(Error::Ended { stderr, status, .. }) => {
                let said = first_complaint(&stderr).map_or(status, str::to_owned);
                keep(place.as_ref(), host, Some(format!("QEMU gave up: {said}")))
            }
            Err(error) => keep(place.as_ref(), host, Some(error.to_string())),
        },
    };
    match failure {
        None => Decision::kvm(format!("KVM was tried with the CPU model {cpu} and works")),
        Some(failure) => Decision::tcg(format!("KVM does not work here ({failure}); the guest is emulated, which is slower")),
    }
}

/// The first line of what QEMU said is the cause, without its name in front; what follows are consequences.
fn first_complaint(stderr: &str) -> Option<&str> {
    let line = stderr.lines().map(str::trim).find(|line| !line.is_empty() && !line.contains(": warning: "))?;
    Some(line.split_once(": ").filter(|(program, _)| program.starts_with("qemu-system")).map_or(line, |(_, words)| words))
}

fn keep(place: Option<&cache::Place>, host: &Host, failure: Option<String>) -> Option<String> {
    if let Some(place) = place {
        place.store(&Tried { kernel: host.kernel.clone(), failure: failure.clone() });
    }
    failure
}

/// Runs a bare machine under KVM for a moment.
async fn attempt(emulator: &Emulator, machine: &str, cpu: &str) -> Result<(), Error> {
    let arguments = ["-nodefaults", "-no-user-config", "-S", "-display", "none", "-accel", "kvm", "-machine", machine, "-cpu", cpu];
    let arguments: Vec<OsString> = arguments.map(Into::into).into();
    let program = &emulator.identity.path;
    let mut talk = Conversation::start(program, &arguments, DEADLINE).await?;
    let enabled = talk.ask("query-kvm").await?.get("enabled").and_then(Value::as_bool);
    if enabled != Some(true) {
        return Err(Error::Answer { program: program.clone(), command: "query-kvm".into(), reason: "KVM is not enabled".into() });
    }
    talk.ask("cont").await?;
    talk.stays_alive(RUNS_FOR).await?;
    let status = talk.ask("query-status").await?;
    match status.get("status").and_then(Value::as_str) {
        // A board without firmware may have shut itself down by now, which needs a working processor.
        Some("running" | "shutdown" | "guest-panicked" | "paused") => {}
        other => {
            let reason = format!("the machine is {}", other.unwrap_or("in an unknown state"));
            return Err(Error::Answer { program: program.clone(), command: "query-status".into(), reason });
        }
    }
    talk.quit().await;
    Ok(())
}
