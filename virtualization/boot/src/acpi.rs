//! The ACPI tables (ACPI 6.5) of a computer with the hardware-reduced profile: no legacy timers, no fixed events.

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Arg, Device, EISAName, Equal, IO, If, Interrupt, Memory32Fixed, Method, Name, Notify, ONE,
    Package, Path, ResourceTemplate, ZERO,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace as Space, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::layout;
use crate::linux::{Error, Result};

const OEM: [u8; 6] = *b"VIVARI";
const TABLE: [u8; 8] = *b"VIRTUALZ";
const REVISION: u32 = 1;

/// "CMOS RTC Not Present", "VGA Not Present" (ACPI 6.5, table 5.11): without these Linux waits for devices that are not there.
const NO_LEGACY: u16 = 1 << 5 | 1 << 2;

/// What there is in the computer.
#[derive(Debug, Clone, Copy)]
pub struct Hardware {
    /// vCPUs; their local APICs are numbered from 0.
    pub processors: u8,
    /// Whether there is a 16550.
    pub uart: bool,
}

/// Writes the tables to where the layout has them.
///
/// # Errors
/// Where memory is too small.
pub fn write(hardware: Hardware, memory: &impl GuestMemoryBackend) -> Result<()> {
    let mut place = Place { next: layout::ACPI + Rsdp::len() as u64, memory };
    let dsdt = place.put(&bytes(&described(hardware)))?;
    let tables = [fixed(dsdt), interrupt_controllers(hardware), configuration_space()];
    let mut root = XSDT::new(OEM, TABLE, REVISION);
    for table in &tables {
        root.add_entry(place.put(table)?);
    }
    let root = place.put(&bytes(&root))?;
    memory.write_slice(&bytes(&Rsdp::new(OEM, root)), GuestAddress(layout::ACPI))?;
    Ok(())
}

struct Place<'a, M> {
    next: u64,
    memory: &'a M,
}

impl<M: GuestMemoryBackend> Place<'_, M> {
    fn put(&mut self, table: &[u8]) -> Result<u64> {
        let address = self.next.next_multiple_of(16);
        self.next = address + table.len() as u64;
        if self.next > layout::ACPI + layout::ACPI_SIZE {
            return Err(Error::TooLittleMemory { needed: self.next });
        }
        self.memory.write_slice(table, GuestAddress(address))?;
        Ok(address)
    }
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// FADT: how to switch off and reset, and what is not there.
fn fixed(dsdt: u64) -> Vec<u8> {
    let port = |address: u16| GAS::new(Space::SystemIo, 8, 0, AccessSize::ByteAccess, address.into());
    let mut table = FADTBuilder::new(OEM, TABLE, REVISION).dsdt_64(dsdt);
    for flag in [Flags::HwReducedAcpi, Flags::ResetRegSup, Flags::PwrButton, Flags::SlpButton] {
        table = table.flag(flag);
    }
    table.iapc_boot_arch = NO_LEGACY.into();
    table.reset_reg = port(layout::RESET_PORT);
    table.reset_value = layout::RESET_VALUE;
    table.sleep_control_reg = port(layout::SLEEP_PORT);
    table.sleep_status_reg = port(layout::SLEEP_PORT + 1);
    bytes(&table.finalize())
}

/// MADT: the processors and the I/O APIC.
fn interrupt_controllers(hardware: Hardware) -> Vec<u8> {
    let mut table = MADT::new(OEM, TABLE, REVISION, LocalInterruptController::Address(layout::LOCAL_APIC));
    for number in 0..hardware.processors {
        table.add_structure(ProcessorLocalApic::new(number, number, EnabledStatus::Enabled));
    }
    table.add_structure(IoApic::new(hardware.processors, layout::IO_APIC, 0));
    bytes(&table)
}

/// MCFG: where PCI configuration space is.
fn configuration_space() -> Vec<u8> {
    let mut table = MCFG::new(OEM, TABLE, REVISION);
    table.add_ecam(layout::PCI_CONFIGURATION, 0, 0, 0);
    bytes(&table)
}

/// DSDT: the devices that cannot be found by looking.
fn described(hardware: Hardware) -> Sdt {
    let mut table = Sdt::new(*b"DSDT", 36, 6, OEM, TABLE, REVISION);
    let mut add = |object: &dyn Aml| table.append_slice(&bytes(object));
    add(&Name::new(Path::new("_S5_"), &Package::new(vec![&layout::SLEEP_TYPE_OFF])));
    add(&bus());
    add(&configuration_registers());
    add(&button());
    add(&generation());
    add(&events());
    add(&panic());
    if hardware.uart {
        add(&uart());
    }
    table.update_checksum();
    table
}

/// An object that was made of parts that no longer exist.
struct Finished(Vec<u8>);

impl Aml for Finished {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

fn device(name: &str, children: Vec<&dyn Aml>) -> Finished {
    Finished(bytes(&Device::new(Path::new(name), children)))
}

/// The PCI host bridge.
fn bus() -> Finished {
    // The layout's addresses are below 4 GiB.
    let (first, last) = (layout::PCI_WINDOW as u32, (layout::PCI_WINDOW + layout::PCI_WINDOW_SIZE - 1) as u32);
    device(
        "_SB_.PCI0",
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0A08")),
            &Name::new(Path::new("_CID"), &EISAName::new("PNP0A03")),
            &Name::new(Path::new("_SEG"), &ZERO),
            &Name::new(Path::new("_BBN"), &ZERO),
            &Name::new(Path::new("_UID"), &ZERO),
            // Accesses are coherent with the processors' caches.
            &Name::new(Path::new("_CCA"), &ONE),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![
                    &AddressSpace::new_bus_number(0_u16, 0_u16),
                    &AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None),
                ]),
            ),
        ],
    )
}

/// Says whose the addresses of configuration space are; without that Linux does not use them.
fn configuration_registers() -> Finished {
    // The layout's addresses are below 4 GiB.
    let (start, size) = (layout::PCI_CONFIGURATION as u32, layout::PCI_CONFIGURATION_SIZE as u32);
    device(
        "_SB_.MCRS",
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0C02")),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&Memory32Fixed::new(true, start, size)])),
        ],
    )
}

/// The power button.
fn button() -> Finished {
    device("_SB_.PWRB", vec![&Name::new(Path::new("_HID"), &EISAName::new("PNP0C0C")), &Name::new(Path::new("_UID"), &ZERO)])
}

/// Where the generation ID is.
fn generation() -> Finished {
    // The layout has it below 4 GiB.
    let (low, high) = (layout::GENERATION as u32, 0_u32);
    device(
        "_SB_.VGEN",
        vec![
            &Name::new(Path::new("_HID"), &"VMGENCTR"),
            &Name::new(Path::new("_CID"), &"VM_Gen_Counter"),
            &Name::new(Path::new("_DDN"), &"VM_Gen_Counter"),
            &Name::new(Path::new("ADDR"), &Package::new(vec![&low, &high])),
        ],
    )
}

/// The generic event device (ACPI 6.5, 5.6.9), with the interrupts of the power button and of the generation ID.
fn events() -> Finished {
    let interrupt = |input| Interrupt::new(true, true, false, false, input);
    // 0x80: the button was pressed (ACPI 6.5, table 5.173); the generation ID is another.
    let (button, generation) = (Path::new("\\_SB_.PWRB"), Path::new("\\_SB_.VGEN"));
    let (pressed, changed) = (Notify::new(&button, &0x80_u8), Notify::new(&generation, &0x80_u8));
    let is_button = Equal::new(&Arg(0), &layout::BUTTON_INPUT);
    let is_generation = Equal::new(&Arg(0), &layout::GENERATION_INPUT);
    device(
        "_SB_.GED_",
        vec![
            &Name::new(Path::new("_HID"), &"ACPI0013"),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![&interrupt(layout::BUTTON_INPUT), &interrupt(layout::GENERATION_INPUT)]),
            ),
            &Method::new(Path::new("_EVT"), 1, true, vec![&If::new(&is_button, vec![&pressed]), &If::new(&is_generation, vec![&changed])]),
        ],
    )
}

/// Where a guest says that it panicked.
fn panic() -> Finished {
    device(
        "_SB_.PEVT",
        vec![
            &Name::new(Path::new("_HID"), &"QEMU0001"),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&IO::new(layout::PANIC_PORT, layout::PANIC_PORT, 1, 1)])),
        ],
    )
}

/// The 16550.
fn uart() -> Finished {
    device(
        "_SB_.COM1",
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0501")),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(Path::new("_DDN"), &"COM1"),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![
                    &Interrupt::new(true, true, false, false, layout::UART_INPUT),
                    &IO::new(layout::UART, layout::UART, 0, 8),
                ]),
            ),
        ],
    )
}
