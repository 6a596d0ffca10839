//! Machines run by QEMU: command line, launch, QMP.

pub mod command_line;
pub mod facts;
pub mod firmware;
pub mod machine;
pub mod offer;
