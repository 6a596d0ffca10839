//! Disk image files: formats, headers, backing chains, and qemu-img for what changes them.
//!
//! What is written in an image is not to be trusted: a guest, or whoever made the image, may name any file of the person as its backing
//! file. So [`probe`] looks once at what an image is, [`Chain::resolve`] follows every name that it holds with bounds and refuses what leads
//! out of a directory, and [`QemuImg`] takes a [`Chain`], never a path with a guess, and is confined to its files.
//!
//! The parsers are ours, from the published formats, so that looking at an image runs no other program: [`header()`] for a file,
//! [`parse`] for bytes.

mod chain;
mod content;
pub mod copy;
mod durable;
mod format;
mod header;
mod qemu_img;

pub use chain::{Chain, ChainError, DataFile, Layer, MAXIMUM_LAYERS, Part, Refusal, RefusalReason};
pub use content::{Doubt, doubt_as_disc, doubt_as_disk};
pub use durable::{SaveError, create_raw};
pub use format::{Format, UnknownFormat, probe};
pub use header::{Header, HeaderError, header, parse};
pub use qemu_img::{
    Backing, CheckReport, Convert, Create, Info, Preallocation, QEMU_IMG_VARIABLE, QemuImg, QemuImgError, Repair, Snapshot,
};
