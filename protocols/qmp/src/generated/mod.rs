//! Bindings made from what QEMU says about itself.
pub mod events;
