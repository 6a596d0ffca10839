//! Configurations of UTM before 4.0, brought into the present form.
//!
//! Three formats came before version 4: property lists of QEMU machines (`ConfigurationVersion` 0 to 2, nowhere a `Backend`), of machines for
//! Apple's Virtualization framework (`version` 1 to 3), and `view.plist`, which held what is in the registry now. The keys of the first were
//! never versioned: UTM repaired a configuration key by key, and so does this. Key paths of problems are those of the legacy file.
//!
//! Where this differs from UTM:
//!
//! - the host port of a port forward is its `HostPort` (UTM takes `GuestPort`);
//! - a machine version that no longer exists becomes the machine without a version, `pc-i440fx-2.0` a `pc` (UTM: the architecture's default);
//! - `UseHypervisor`, where absent, is on for the architectures of Macs (UTM asks the host; version 4 ignores the key on other hosts);
//! - identities that the file lacks follow from the file, so that they are the same each time it is read (UTM: random until saved);
//! - drives whose names would clash in version 4 get new identifiers;
//! - a custom icon of an Apple machine stays custom, and its displays are kept whatever the host is.

mod apple;
mod drives;
mod files;
pub(crate) mod identity;
mod networks;
mod qemu;
mod reader;
mod view_state;

use plist::{Dictionary, Value};

use crate::problem::{Findings, Problem};
use crate::{Configuration, Origin};
use identity::Identity;

pub use files::{move_files, retire_view_state};
pub use view_state::{ViewState, hand_over_view_state, read_view_state, view_state};

/// What UTM before 4.0 remembered about a machine's windows, media and folders.
const VIEW_STATE_FILE: &str = "view.plist";

/// Sections of a legacy QEMU configuration. One that has none of them is something else.
const QEMU_SECTIONS: [&str; 10] = ["System", "Display", "Input", "Networking", "Printing", "Sound", "Sharing", "Drives", "Debug", "Info"];

/// Brings a legacy configuration into the present form. `fallback_name` names the machine where the file does not: legacy QEMU machines
/// have the name of their bundle.
///
/// # Errors
/// Every problem, when one of them is fatal: the file is no legacy configuration, or one of a version that does not exist.
pub fn migrate(root: &Dictionary, fallback_name: &str) -> Result<(Configuration, Vec<Problem>, Origin), Vec<Problem>> {
    let mut findings = Findings::default();
    let identity = Identity::new(root, fallback_name);
    let migrated = match kind(root) {
        Ok(Kind::Apple(version)) => {
            let configuration = apple::migrate(root, fallback_name, identity, &mut findings);
            Some((Configuration::Apple(configuration), Origin::LegacyApple { version }))
        }
        Ok(Kind::Qemu(version)) => {
            let configuration = qemu::migrate(root, fallback_name, identity, &mut findings);
            Some((Configuration::Qemu(configuration), Origin::LegacyQemu { version }))
        }
        Err(problem) => {
            findings.push(problem);
            None
        }
    };
    let fatal = findings.has_fatal();
    let problems = findings.into_problems();
    match migrated {
        Some((configuration, origin)) if !fatal => Ok((configuration, problems, origin)),
        _ => Err(problems),
    }
}

/// Which legacy format a file has, and its version.
enum Kind {
    Apple(u64),
    Qemu(u64),
}

fn kind(root: &Dictionary) -> Result<Kind, Problem> {
    let newer = "a newer version of UTM may have saved it; open and save it there";
    if root.get("isAppleVirtualization").and_then(Value::as_boolean) == Some(true) {
        return match version(root, "version")? {
            Some(version @ 1..=3) => Ok(Kind::Apple(version)),
            Some(0) | None => Err(Problem::fatal("version", "Apple configuration has no version")),
            Some(version) => Err(Problem::fatal("version", format!("{version} is not a version of this format")).with_hint(newer)),
        };
    }
    if !QEMU_SECTIONS.iter().any(|section| root.contains_key(section)) {
        return Err(Problem::fatal("", "file has no `Backend` and none of the sections of an older configuration")
            .with_hint("the bundle may be damaged; restore its `config.plist` from a copy"));
    }
    match version(root, "ConfigurationVersion")?.unwrap_or(0) {
        version @ 0..=2 => Ok(Kind::Qemu(version)),
        version => {
            let message = format!("configuration of version {version} has no `Backend`");
            Err(Problem::fatal("ConfigurationVersion", message).with_hint(newer))
        }
    }
}

fn version(root: &Dictionary, key: &str) -> Result<Option<u64>, Problem> {
    match root.get(key) {
        None => Ok(None),
        Some(Value::Integer(number)) => match number.as_unsigned() {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::fatal(key, format!("{number} is not a version"))),
        },
        Some(other) => Err(Problem::fatal(key, format!("expected integer, found {}", crate::schema::type_name(other)))),
    }
}
