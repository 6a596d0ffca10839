//! The machines a person has: found, watched, created, imported, cloned, deleted.
//!
//! [`Library`] is the one source of truth that frontends share, and it holds none itself: a machine's existence is its bundle on disk, its
//! running a lock that the kernel drops. Every call looks anew; [`Library::watch`] says when looking again is worth it.
//!
//! What changes a bundle takes its lock for the whole operation, so that it cannot start meanwhile, and refuses with
//! [`ErrorKind::WrongState`] where somebody else holds it. What makes a bundle works in a hidden folder beside its destination and renames it
//! at the end: a power cut leaves nothing half made in sight, and the next [`Library::open`] clears it away.

mod archive;
mod arguments;
mod clone;
mod create;
mod create_check;
mod create_devices;
mod create_plan;
mod delete;
mod drive;
mod drive_new;
mod edit;
mod error;
mod export;
mod files;
mod find;
mod holder;
mod host;
mod images;
mod import;
mod job;
mod library;
mod list_cache;
mod machine;
mod media;
mod move_to;
mod offer;
mod plan;
mod register;
mod registered;
mod rename;
mod running;
mod scan;
mod share;
mod specs;
mod staging;
mod stop;
mod stopped;
mod transfer;
mod unfinished;
mod watch;

pub use error::{Error, ErrorKind, Result};
pub use find::FindError;
pub use host::Host;
pub use job::{Cancel, Job, Progress};
pub use library::{Library, check_name_text};
pub use machine::{Activity, Condition, Machine, Summary};
pub use offer::Offered;
pub use plan::Plan;
pub use share::{ShareChange, SharedFolder};
pub use specs::{
    BackendChoice, BootFileKind, CheckReport, CreateSpec, Deletion, DiskFormat, DiskSpec, DriveInfo, DriveSpec, ExportFormat, Firmware,
    ImageFate, ImportOptions, Made, NetworkSpec, Os, RemovableKind, StopPlan, Stopped,
};
pub use watch::{LibraryEvent, Watch};
