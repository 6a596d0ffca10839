//! Which device an address belongs to.

use std::sync::mpsc::Sender;

use boot::layout;
use devices::pci::PciBus;
use devices::serial::Uart;

use super::control::Message;

/// What the guest does to the whole machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestAction {
    /// It switches off.
    PowerOff,
    /// It resets.
    Reset,
    /// It says that it panicked.
    Panic,
    /// A program of it opened or closed a port of a console.
    Port {
        /// Which console device.
        device: usize,
        /// Its port.
        port: u32,
        /// Which of the two.
        is_open: bool,
    },
}

/// Devices by address, for the vCPUs of one board.
pub struct MachineBus {
    /// The board that this is the bus of, so that what an old one said late is known as such.
    pub board: u64,
    pub control: Sender<Message>,
    pub uart: Option<Uart>,
    pub pci: PciBus,
}

impl MachineBus {
    fn tell(&self, action: GuestAction) {
        // Without the control thread the board is about to go.
        let _ = self.control.send(Message::Guest { board: self.board, action });
    }
}

/// Events of the panic device that we understand: the guest panicked (bit 0).
const PANICKED: u8 = 1 << 0;

impl hv::Bus for MachineBus {
    fn read(&self, address: u64, data: &mut [u8]) {
        match place(address) {
            Place::Window => self.pci.read(address, data),
            Place::Configuration(offset) => self.pci.read_configuration(offset, data),
            Place::Nobody => {}
        }
    }

    fn write(&self, address: u64, data: &[u8]) {
        match place(address) {
            Place::Window => self.pci.write(address, data),
            Place::Configuration(offset) => self.pci.write_configuration(offset, data),
            Place::Nobody => {}
        }
    }

    fn port_read(&self, port: u16, data: &mut [u8]) {
        match (port, data) {
            (layout::PANIC_PORT, [byte]) => *byte = PANICKED,
            // Sleep control and status: awake.
            (layout::SLEEP_PORT | SLEEP_STATUS, data) => data.fill(0),
            (port, data) => {
                if let (Some(uart), Some(register)) = (&self.uart, uart_register(port)) {
                    uart.read(register, data);
                } else {
                    self.pci.port_read(port, data);
                }
            }
        }
    }

    fn port_write(&self, port: u16, data: &[u8]) {
        match (port, data) {
            (layout::SLEEP_PORT, [value]) => {
                if value & layout::SLEEP_ENABLE != 0 && value >> 2 & 7 == layout::SLEEP_TYPE_OFF {
                    self.tell(GuestAction::PowerOff);
                }
            }
            (layout::RESET_PORT, [layout::RESET_VALUE]) => self.tell(GuestAction::Reset),
            (layout::PANIC_PORT, [events]) if events & PANICKED != 0 => self.tell(GuestAction::Panic),
            (port, data) => {
                if let (Some(uart), Some(register)) = (&self.uart, uart_register(port)) {
                    uart.write(register, data);
                } else {
                    self.pci.port_write(port, data);
                }
            }
        }
    }
}

/// Where an address of memory space is, outside memory.
enum Place {
    Window,
    Configuration(u64),
    Nobody,
}

fn place(address: u64) -> Place {
    let within = |start: u64, size: u64| address.checked_sub(start).filter(|offset| *offset < size);
    if within(layout::PCI_WINDOW, layout::PCI_WINDOW_SIZE).is_some() {
        Place::Window
    } else if let Some(offset) = within(layout::PCI_CONFIGURATION, layout::PCI_CONFIGURATION_SIZE) {
        Place::Configuration(offset)
    } else {
        Place::Nobody
    }
}

const SLEEP_STATUS: u16 = layout::SLEEP_PORT + 1;

fn uart_register(port: u16) -> Option<u8> {
    port.checked_sub(layout::UART).and_then(|register| u8::try_from(register).ok()).filter(|register| *register < 8)
}
