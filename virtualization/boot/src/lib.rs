//! How a guest begins: a kernel in its memory, what the kernel is told, and the tables that describe the computer.
//!
//! - [`layout`]: which address is what.
//! - [`Linux`]: puts a kernel, its initial RAM disk and its parameters into memory.
//! - [`acpi`]: the tables from which the guest learns of processors, buses and buttons.
//! - [`smbios`]: the tables from which it learns which computer this is.
//! - [`generation`]: by which it learns that it has been restored.
//!
//! No hypervisor and no device is known here; images come from people and are not trusted.

pub mod acpi;
pub mod generation;
mod kernel;
pub mod layout;
mod linux;
pub mod smbios;
mod start;

pub use kernel::{Compression, KernelImage, payload};
pub use linux::{Begin, Error, Linux, Result};
