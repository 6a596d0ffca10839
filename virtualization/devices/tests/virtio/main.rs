//! Virtio devices, with the test playing the guest's driver: through configuration space, registers, queues and doorbells, without KVM.

mod balloon;
mod block;
mod console;
mod driver;
mod entropy;
mod file_system;
mod hostile;
mod nbd;
mod network;
mod network_backend;
mod qcow2;
mod saved;
mod socket;
mod transport;
