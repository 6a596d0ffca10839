//! What a person has decided for this computer: `settings.json` in the state folder, and the environment over it.
//!
//! ```json
//! { "landlock": "require", "screenshots": false, "sound": "host" }
//! ```
//!
//! `landlock` (or `VIVARIUM_LANDLOCK`): `require` refuses to start machines, and qemu-img, where the kernel has no Landlock, `best-effort` (the
//! default) starts them and says so in `viv status` and `viv doctor`, `off` does without for debugging.
//! `screenshots`: `false` keeps no picture of a machine in its bundle, and removes the one that is there at the next start.
//! `sound`: `viewer` (the default) leaves a machine's sound to whoever shows its screen; `host` lets QEMU connect to the host's sound server by
//! itself. Its sandbox is then incomplete, as `viv status` and `viv doctor` say: it could connect to other programs' sockets as well.

use sandbox::Requirement;
use serde::Deserialize;
use std::path::Path;

/// The settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What to do where the kernel has no Landlock.
    pub landlock: Requirement,
    /// Whether bundles hold a picture of what their machine last showed.
    pub screenshots: bool,
    /// Whether QEMU may connect to the host's sound server by itself.
    pub sound_by_host: bool,
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    landlock: Option<String>,
    #[serde(default)]
    screenshots: Option<bool>,
    #[serde(default)]
    sound: Option<String>,
}

impl Settings {
    /// Reads them. What cannot be understood is said and taken as the default.
    pub fn read(state: &Path) -> Self {
        let path = state.join("settings.json");
        let file = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %path.display(), "The settings cannot be understood");
                // The safe side of what somebody meant to set.
                File { landlock: Some("require".into()), screenshots: None, sound: None }
            }),
            Err(_) => File::default(),
        };
        let word = std::env::var("VIVARIUM_LANDLOCK").ok().filter(|word| !word.is_empty()).or(file.landlock);
        Self {
            landlock: requirement(word.as_deref()),
            screenshots: file.screenshots.unwrap_or(true),
            sound_by_host: sound_by_host(file.sound.as_deref()),
        }
    }
}

fn sound_by_host(word: Option<&str>) -> bool {
    match word {
        Some("host") => true,
        Some("viewer") | None => false,
        Some(other) => {
            // The safe side again.
            tracing::warn!("The setting sound is {other:?}; viewer and host are known. Taken as viewer");
            false
        }
    }
}

fn requirement(word: Option<&str>) -> Requirement {
    match word {
        Some("require") => Requirement::Require,
        Some("off") => Requirement::Off,
        Some("best-effort") | None => Requirement::BestEffort,
        Some(other) => {
            // The safe side of what somebody meant to set.
            tracing::warn!("The setting landlock is {other:?}; require, best-effort and off are known. Taken as require");
            Requirement::Require
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_strict() {
        assert_eq!(requirement(None), Requirement::BestEffort);
        assert_eq!(requirement(Some("require")), Requirement::Require);
        assert_eq!(requirement(Some("offf")), Requirement::Require);
        assert!(sound_by_host(Some("host")));
        assert!(!sound_by_host(Some("Host")) && !sound_by_host(None));
    }
}
