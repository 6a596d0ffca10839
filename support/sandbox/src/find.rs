//! Finds the launcher.

use std::path::{Path, PathBuf};
use std::{env, io};

/// The launcher's file name.
pub const LAUNCHER: &str = "vivarium-launch";
/// The environment variable that names the launcher, for builds and tests.
pub const LAUNCHER_VARIABLE: &str = "VIVARIUM_LAUNCHER";

/// The launcher is in none of the places where it should be.
#[derive(Debug, thiserror::Error)]
#[error("Could not find {LAUNCHER}; install it, or name it in {LAUNCHER_VARIABLE}; looked at {}", list(looked_at))]
pub struct FindLauncherError {
    /// Every path that was tried.
    pub looked_at: Vec<PathBuf>,
    /// Why the current program's place is unknown, where it is.
    #[source]
    pub source: Option<io::Error>,
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Finds `vivarium-launch`: what `VIVARIUM_LAUNCHER` names (and then nothing else), else beside the current program, else in
/// `../libexec/vivarium` from there. A test program in `target/*/deps` looks one directory up too.
///
/// # Errors
///
/// When it is in none of these places; the error says where it looked.
pub fn find_launcher() -> Result<PathBuf, FindLauncherError> {
    if let Some(named) = env::var_os(LAUNCHER_VARIABLE).filter(|name| !name.is_empty()) {
        return first(vec![named.into()]);
    }
    let program = env::current_exe().map_err(|source| FindLauncherError { looked_at: Vec::new(), source: Some(source) })?;
    first(candidates(&program))
}

fn candidates(program: &Path) -> Vec<PathBuf> {
    let Some(directory) = program.parent() else { return Vec::new() };
    let mut candidates = vec![directory.join(LAUNCHER)];
    if let Some(parent) = directory.parent() {
        candidates.push(parent.join("libexec/vivarium").join(LAUNCHER));
        if directory.file_name().is_some_and(|name| name == "deps") {
            candidates.push(parent.join(LAUNCHER));
        }
    }
    candidates
}

fn first(candidates: Vec<PathBuf>) -> Result<PathBuf, FindLauncherError> {
    candidates.iter().find(|path| path.is_file()).cloned().ok_or(FindLauncherError { looked_at: candidates, source: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_programs_look_beside_themselves_and_in_libexec() {
        assert_eq!(
            candidates(Path::new("/usr/bin/viv")),
            [Path::new("/usr/bin/vivarium-launch"), Path::new("/usr/libexec/vivarium/vivarium-launch")]
        );
    }

    #[test]
    fn error_names_every_place() {
        let error = first(candidates(Path::new("/nowhere/deps/test"))).unwrap_err().to_string();
        for place in ["/nowhere/deps/vivarium-launch", "/nowhere/libexec/vivarium/vivarium-launch", "/nowhere/vivarium-launch"] {
            assert!(error.contains(place), "{error}");
        }
    }
}
