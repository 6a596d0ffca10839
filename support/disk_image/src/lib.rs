//! Disk image files: formats, headers, backing chains, and qemu-img for what changes them.
