//! The machine's addresses.
//!
//! ```text
//! 0x0_0000_0500  segments, boot parameters (0x7000), page tables (0x9000), command line (0x2_0000)
//! 0x0_000e_0000  ACPI tables; SMBIOS tables (0xf_0000), generation ID (0xf_1000); code at the reset vector (0xf_fff0)
//! 0x0_0010_0000  memory, up to 3 GiB
//! 0x0_c000_0000  window for PCI devices
//! 0x0_e000_0000  PCI configuration space (ECAM) of bus 0
//! 0x0_fec0_0000  interrupt controllers, and pages that KVM needs
//! 0x1_0000_0000  the rest of memory
//! ```

/// Segment descriptors.
pub const SEGMENTS: u64 = 0x500;
/// Boot parameters ("zero page").
pub const PARAMETERS: u64 = 0x7000;
/// The top-level page table; two more levels follow it.
pub const PAGE_TABLE: u64 = 0x9000;
/// The kernel's command line.
pub const COMMAND_LINE: u64 = 0x2_0000;
/// Where usable low memory ends.
pub const LOW_MEMORY_END: u64 = 0x9_fc00;
/// The ACPI tables, the root pointer first.
pub const ACPI: u64 = 0xe_0000;
/// Bytes for the ACPI tables.
pub const ACPI_SIZE: u64 = 0x1_0000;
/// The SMBIOS tables, their entry point first: where guests without EFI look for it.
pub const SMBIOS: u64 = 0xf_0000;
/// 16 bytes that are others after a restore: see [`crate::generation`].
pub const GENERATION: u64 = 0xf_1000;
/// Where the memory ends that the guest leaves to the tables and to that code.
pub const FIRMWARE_END: u64 = 0x10_0000;
/// Where memory for kernels begins.
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// Where the gap for devices begins.
pub const GAP: u64 = 0xc000_0000;
/// Where it ends.
pub const GAP_END: u64 = 1 << 32;
/// Where devices on the PCI bus are mapped.
pub const PCI_WINDOW: u64 = GAP;
/// Bytes of that window.
pub const PCI_WINDOW_SIZE: u64 = 0x2000_0000;
/// PCI configuration space: 4 KiB for each function of bus 0.
pub const PCI_CONFIGURATION: u64 = 0xe000_0000;
/// Bytes of configuration space of one bus.
pub const PCI_CONFIGURATION_SIZE: u64 = 0x10_0000;
/// The I/O APIC.
pub const IO_APIC: u32 = 0xfec0_0000;
/// The local APICs.
pub const LOCAL_APIC: u32 = 0xfee0_0000;

/// First port of the 16550.
pub const UART: u16 = 0x3f8;
/// Its input of the I/O APIC.
pub const UART_INPUT: u32 = 4;
/// The power button's input of the I/O APIC.
pub const BUTTON_INPUT: u32 = 5;
/// The input of the I/O APIC that says that the generation ID is another.
pub const GENERATION_INPUT: u32 = 6;
/// The port to switch off by (sleep control), and the one after it (sleep status).
pub const SLEEP_PORT: u16 = 0x600;
/// The port to reset by.
pub const RESET_PORT: u16 = 0x604;
/// What is written there.
pub const RESET_VALUE: u8 = 1;
/// Where a guest says that it panicked (QEMU, docs/specs/pvpanic.rst).
pub const PANIC_PORT: u16 = 0x505;

/// What a write to the sleep control register means (ACPI 6.5, 4.8.3.7): bit 5 enables, bits 2 to 4 are the type.
pub const SLEEP_ENABLE: u8 = 1 << 5;
/// The type of S5, soft off, as the tables say.
pub const SLEEP_TYPE_OFF: u8 = 5;

/// Where memory of this size is: start and bytes, ascending.
pub fn memory(size: u64) -> Vec<(u64, u64)> {
    if size <= GAP { vec![(0, size)] } else { vec![(0, GAP), (GAP_END, size - GAP)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_leaves_the_gap_free() {
        assert_eq!(memory(1 << 30), [(0, 1 << 30)]);
        assert_eq!(memory(GAP), [(0, GAP)]);
        assert_eq!(memory(4 << 30), [(0, GAP), (GAP_END, 1 << 30)]);
    }
}
