//! A QEMU Machine Protocol and guest agent client.
