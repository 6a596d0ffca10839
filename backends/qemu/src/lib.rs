//! Machines run by QEMU: command line, launch, QMP.
