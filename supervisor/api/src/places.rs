//! Where things are on this computer.
//!
//! `VIVARIUM_HOME` overrides where bundles and state live; otherwise the XDG base directories do. Socket paths must fit `sockaddr_un`:
//! [`MAX_SOCKET_PATH`].

use rustix::fs::{Mode, OFlags};
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The socket for viewers, beside the API's.
pub(crate) const DISPLAY_SOCKET: &str = "display.sock";
/// Longest socket path that we make, in bytes: macOS has room for 103, Linux for 107.
pub const MAX_SOCKET_PATH: usize = 100;

/// Why the places cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// Neither `VIVARIUM_HOME` nor `HOME` is set.
    #[error("Cannot tell where machines are kept: neither VIVARIUM_HOME nor HOME is set")]
    NoHome,
    /// A variable holds a relative path.
    #[error("{variable} must be an absolute path, not {value:?}")]
    Relative {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        value: OsString,
    },
    /// The runtime directory cannot be made or used.
    #[error("Cannot use the runtime directory {path}")]
    Runtime {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could reach into the runtime directory.
    #[error("The runtime directory belongs to somebody else or is open to others (it must be yours, mode 0700): {path}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
    },
}

/// The folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Bundles of one's own.
    pub machines: PathBuf,
    /// Registry, last-run records and logs.
    pub state: PathBuf,
    /// What can be made again.
    pub cache: PathBuf,
    /// Sockets of running machines, one folder each.
    pub runtime: PathBuf,
}

impl Places {
    /// The folders that the environment says. Nothing is created.
    ///
    /// # Errors
    /// See [`PlacesError`].
    pub fn from_environment() -> Result<Self, PlacesError> {
        Self::from_variables(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, PlacesError> {
        let absolute = |name: &'static str| -> Result<Option<PathBuf>, PlacesError> {
            match variable(name) {
                Some(value) if Path::new(&value).is_absolute() => Ok(Some(value.into())),
                Some(value) => Err(PlacesError::Relative { variable: name, value }),
                None => Ok(None),
            }
        };
        let home = absolute("HOME")?;
        let xdg = |name: &'static str, below: &str| -> Result<PathBuf, PlacesError> {
            // The specification says to ignore relative values.
            match absolute(name).ok().flatten() {
                Some(path) => Ok(path.join("vivarium")),
                None => home.as_ref().map(|home| home.join(below).join("vivarium")).ok_or(PlacesError::NoHome),
            }
        };
        let (machines, state) = match absolute("VIVARIUM_HOME")? {
            Some(own) => (own.clone(), own.join(".state")),
            None => (xdg("XDG_DATA_HOME", ".local/share")?, xdg("XDG_STATE_HOME", ".local/state")?),
        };
        let cache = xdg("XDG_CACHE_HOME", ".cache").or_else(|error| match absolute("VIVARIUM_HOME")? {
            Some(own) => Ok(own.join(".cache")),
            None => Err(error),
        })?;
        let runtime = runtime_root(&state);
        Ok(Self { machines, state, cache, runtime })
    }

    /// The folder of one running machine. Nothing is created.
    pub fn runtime_of(&self, id: &str) -> Runtime {
        Runtime { path: self.runtime.join(id) }
    }

    /// Logs of one machine: the backend's, the supervisor's, the serial ports'.
    pub fn logs_of(&self, id: &str) -> PathBuf {
        self.state.join("logs").join(id)
    }

    /// What disposable runs write to, one folder for each machine.
    pub fn disposable(&self) -> PathBuf {
        self.cache.join("disposable")
    }

    /// How a machine's last run ended.
    pub fn last_run_of(&self, id: &str) -> PathBuf {
        self.state.join("runs").join(format!("{id}.json"))
    }

    /// Per-host registry: one file per machine.
    pub fn registry(&self) -> PathBuf {
        self.state.join("registry")
    }
}

/// The longest socket path below [`Places::runtime`].
const LONGEST_SOCKET: &str = "0123456789abcdef/backend/serial-00.sock";

/// File systems without sockets, or that several computers may share, by their number in `statfs(2)`: FUSE, NFS, CIFS, SMB 2, 9P, FAT, exFAT,
/// AFS, and VirtualBox's.
const WITHOUT_SOCKETS: &[u32] =
    &[0x6573_5546, 0x6969, 0xFF53_4D42, 0xFE53_4D42, 0x0102_1997, 0x4D44, 0x2011_BAB0, 0x5346_414F, 0x786F_4256];

/// Beside the rest of the state, or a private folder in `/tmp` where the path is too long there or its file system has no sockets. Not in
/// `$XDG_RUNTIME_DIR`: that goes when its owner logs out, and machines run on. Nothing that comes and goes has a say, so that every process
/// finds the same place.
fn runtime_root(state: &Path) -> PathBuf {
    let own = state.join("run");
    if own.join(LONGEST_SOCKET).as_os_str().len() <= MAX_SOCKET_PATH && can_hold_sockets(state) {
        return own;
    }
    PathBuf::from(format!("/tmp/vivarium-{}", rustix::process::getuid().as_raw()))
}

fn can_hold_sockets(path: &Path) -> bool {
    let system = path.ancestors().find_map(|ancestor| rustix::fs::statfs(ancestor).ok());
    system.is_none_or(|system| has_sockets(system.f_type))
}

/// The kernel's numbers have 32 bits, whatever they are carried in.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only the low 32 bits count")]
fn has_sockets(system: impl Into<i64>) -> bool {
    !WITHOUT_SOCKETS.contains(&(system.into() as u32))
}

/// The folder of one running machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    path: PathBuf,
}

impl Runtime {
    /// The folder. Locked while a supervisor lives, which also keeps systemd-tmpfiles(8) from ageing what is in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the supervisor serves its API.
    pub fn api_socket(&self) -> PathBuf {
        self.path.join("api.sock")
    }

    /// Where a serial port can be reached. Sends the recent output first.
    pub fn console_socket(&self, index: usize) -> PathBuf {
        self.path.join(format!("console-{index}.sock"))
    }

    /// Where viewers of the displays connect; they speak `org.qemu.Display1` there, peer to peer.
    pub fn display_socket(&self) -> PathBuf {
        self.path.join(DISPLAY_SOCKET)
    }

    /// The only folder outside its bundle that the backend may write to.
    pub fn backend(&self) -> PathBuf {
        self.path.join("backend")
    }

    /// What a new supervisor needs to know to take over from one that died.
    pub fn backend_record(&self) -> PathBuf {
        self.path.join("backend.json")
    }

    /// Makes the folder, private to the user, and checks that it is.
    ///
    /// # Errors
    /// [`PlacesError::Unsafe`] or [`PlacesError::Runtime`].
    pub fn create(&self) -> Result<(), PlacesError> {
        let root = self.path.parent().unwrap_or(&self.path);
        if let Some(above) = root.parent() {
            std::fs::create_dir_all(above).map_err(|source| PlacesError::Runtime { path: above.to_path_buf(), source })?;
        }
        for folder in [root, &self.path, &self.backend()] {
            let failed = |source| PlacesError::Runtime { path: folder.to_path_buf(), source };
            match std::fs::DirBuilder::new().mode(0o700).create(folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
            // In /tmp anybody may have been here first: what counts is what the name leads to, without following links.
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
            let stat = rustix::fs::fstat(&opened).map_err(|error| failed(error.into()))?;
            if stat.st_uid != rustix::process::getuid().as_raw() || stat.st_mode & 0o077 != 0 {
                return Err(PlacesError::Unsafe { path: folder.to_path_buf() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Result<Places, PlacesError> {
        Places::from_variables(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn xdg_defaults_follow_home() {
        let places = places(&[("HOME", "/home/ada")]).unwrap();
        assert_eq!(places.machines, Path::new("/home/ada/.local/share/vivarium"));
        assert_eq!(places.state, Path::new("/home/ada/.local/state/vivarium"));
        assert_eq!(places.cache, Path::new("/home/ada/.cache/vivarium"));
    }

    #[test]
    fn vivarium_home_overrides_machines_and_state() {
        let places = places(&[("HOME", "/home/ada"), ("VIVARIUM_HOME", "/vm")]).unwrap();
        assert_eq!(places.machines, Path::new("/vm"));
        assert_eq!(places.state, Path::new("/vm/.state"));
        assert_eq!(places.cache, Path::new("/home/ada/.cache/vivarium"));
    }

    #[test]
    fn a_relative_home_is_refused_and_a_missing_one_named() {
        assert!(matches!(places(&[("VIVARIUM_HOME", "vm"), ("HOME", "/h")]), Err(PlacesError::Relative { .. })));
        assert!(matches!(places(&[]), Err(PlacesError::NoHome)));
    }

    #[test]
    fn sockets_are_where_no_logout_takes_them_and_their_paths_fit() {
        let login = ("XDG_RUNTIME_DIR", "/run/user/1000");
        assert_eq!(places(&[("HOME", "/home/ada"), login]).unwrap().runtime, Path::new("/home/ada/.local/state/vivarium/run"));
        let short = format!("/{}", "v".repeat(MAX_SOCKET_PATH - "//.state/run/".len() - LONGEST_SOCKET.len()));
        let fits = places(&[("VIVARIUM_HOME", &short), ("HOME", "/h"), login]).unwrap();
        assert_eq!(fits.runtime_of("0123456789abcdef").backend().join("serial-00.sock").as_os_str().len(), MAX_SOCKET_PATH);
        assert!(fits.runtime.starts_with(&short));
        let long = places(&[("VIVARIUM_HOME", &format!("{short}v")), ("HOME", "/h"), login]).unwrap();
        assert_eq!(long.runtime, PathBuf::from(format!("/tmp/vivarium-{}", rustix::process::getuid().as_raw())));
    }

    #[test]
    fn file_systems_without_sockets_are_known() {
        let ext4 = 0xEF53_i64;
        assert!(has_sockets(ext4) && !has_sockets(0x6969_i64));
        // As a 32-bit kernel tells it.
        assert!(!has_sockets(0xFF53_4D42_u32.cast_signed()));
    }

    #[test]
    fn a_runtime_folder_that_others_can_enter_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = env::temp_dir().join(format!("viv-places-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Runtime { path: folder.join("id") }.create();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let made = Runtime { path: folder.join("id") }.create();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(refused, Err(PlacesError::Unsafe { .. })), "{refused:?}");
        made.unwrap();
    }
}
