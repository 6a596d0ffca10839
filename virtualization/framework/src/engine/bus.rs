//! Which device an address belongs to.

use std::sync::mpsc::Sender;

use boot::layout;
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
}

/// Devices by address, for the vCPUs of one board.
pub struct MachineBus {
    /// The board that this is the bus of, so that what an old one said late is known as such.
    pub board: u64,
    pub control: Sender<Message>,
    pub uart: Option<Uart>,
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
    fn read(&self, _address: u64, _data: &mut [u8]) {}

    fn write(&self, _address: u64, _data: &[u8]) {}

    fn port_read(&self, port: u16, data: &mut [u8]) {
        match (port, data) {
            (layout::PANIC_PORT, [byte]) => *byte = PANICKED,
            // Sleep control and status: awake.
            (layout::SLEEP_PORT | SLEEP_STATUS, data) => data.fill(0),
            (port, data) => {
                if let (Some(uart), Some(register)) = (&self.uart, uart_register(port)) {
                    uart.read(register, data);
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
                }
            }
        }
    }
}

const SLEEP_STATUS: u16 = layout::SLEEP_PORT + 1;

fn uart_register(port: u16) -> Option<u8> {
    port.checked_sub(layout::UART).and_then(|register| u8::try_from(register).ok()).filter(|register| *register < 8)
}
