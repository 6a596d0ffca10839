//! A running guest's computer: memory, vCPUs, devices.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, sync_channel};

use boot::{Begin, Linux, acpi, generation, layout, smbios};
use confinement::{Confinement, Thread};
use devices::EventLoop;
use devices::serial::{Output, Uart, UartState};
use devices::virtio::SavedVirtioPci;
use hv::{Entry, GuestMemory, Interrupt, SavedState, Topology};
use serde::{Deserialize, Serialize};

use super::bus::MachineBus;
use super::control::Message;
use super::debugger::{Debugged, Debuggee};
use super::kernel_cache;
use super::outside::Outside;
use super::peripherals::Peripherals;
use super::resources::Resources;
use super::surroundings::Surroundings;
use super::vcpu::Vcpus;
use crate::configuration::{BootLoader, LinuxBootLoader, Platform, SerialPort, VirtualMachineConfiguration};
use crate::error::{Error, ErrorKind, Result};
use crate::saved_state::SavedMachineState;

/// The computer. The order of the fields is the order of their end: vCPUs before what they call.
pub struct Board {
    /// Its number, different from that of every other board of the machine.
    pub number: u64,
    debugged: Debugged,
    vcpus: Vcpus,
    button: Interrupt,
    bus: Arc<MachineBus>,
    peripherals: Peripherals,
    events: Arc<EventLoop>,
    memory: GuestMemory,
    vm: Arc<dyn hv::Vm>,
}

/// How a guest begins.
pub enum Origin<'a> {
    /// By its boot loader.
    Boot,
    /// Where a saved one stood: its memory, and everything else.
    Saved(&'a SavedMachineState, &'a BoardState),
}

/// Everything of a board but its memory, to be kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct BoardState {
    vcpus: Vec<SavedState>,
    machine: SavedState,
    uart: Option<UartState>,
    bus_address: u32,
    functions: Vec<SavedVirtioPci>,
}

pub(super) fn host(attempt: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::because(ErrorKind::Host, attempt, error)
}

pub(super) fn below(error: hv::Error) -> Error {
    Error::because(ErrorKind::Host, "The host does not give the machine what it needs", error)
}

impl Board {
    /// Builds the computer and brings the guest into it; nothing runs yet.
    pub fn new(
        number: u64,
        configuration: &VirtualMachineConfiguration,
        resources: &Resources,
        surroundings: &Surroundings,
        control: Sender<Message>,
        origin: &Origin<'_>,
    ) -> Result<Self> {
        let surroundings = {
            let control = control.clone();
            &surroundings.telling(move |thread| {
                let why = format!("The thread {thread} panicked, which is a bug in a device or in the engine");
                // Without the control thread the board is about to go.
                let _ = control.send(Message::Failed { board: number, why });
            })
        };
        let Surroundings { hypervisor, outside, confinement } = surroundings;
        let count = u8::try_from(configuration.cpu_count).unwrap_or(u8::MAX);
        if usize::from(count) > hypervisor.maximum_vcpus() {
            let most = hypervisor.maximum_vcpus();
            return Err(Error::new(ErrorKind::Host, format!("The host's hypervisor allows {most} vCPUs, and the machine has {count}")));
        }
        let Platform::Generic(platform) = &configuration.platform;
        let is_nested = platform.nested_virtualization_enabled;
        let ranges = layout::memory(configuration.memory_size);
        let memory = match origin {
            Origin::Boot => hv::allocate(&ranges).map_err(below)?,
            Origin::Saved(saved, _) => saved.memory(&ranges, outside)?,
        };
        // Meanwhile: the kernel below waits for other processors, and what is read is tens of megabytes.
        let loading = match (origin, &configuration.boot_loader) {
            (Origin::Boot, Some(BootLoader::Linux(loader))) => Some(begin_loading(loader, &memory, outside, confinement)?),
            (Origin::Boot, None) => return Err(Error::new(ErrorKind::InvalidConfiguration, "The machine has nothing to boot")),
            (Origin::Saved(..), _) => None,
        };
        let vm = hypervisor.create_vm(&memory).map_err(below)?;

        let uart = configuration.serial_ports.iter().find_map(|port| match port {
            SerialPort::Uart16550(uart) => Some(uart),
            SerialPort::VirtioConsole(_) => None,
        });
        let mut vcpus = Vec::new();
        for index in 0..count {
            vcpus.push(vm.create_vcpu(Topology { index, count, is_nested }).map_err(below)?);
        }
        let state = match origin {
            Origin::Boot => {
                acpi::write(acpi::Hardware { processors: count, uart: uart.is_some() }, &memory).map_err(boot_error)?;
                // What is no UUID is no identifier of this engine's.
                let identifier = platform.machine_identifier.data_representation().try_into().unwrap_or_default();
                smbios::write(identifier, &memory).map_err(boot_error)?;
                None
            }
            Origin::Saved(saved, state) => {
                if state.vcpus.len() != vcpus.len() || state.uart.is_some() != uart.is_some() {
                    return Err(saved.refuse("It is not all there"));
                }
                for (vcpu, state) in vcpus.iter_mut().zip(&state.vcpus) {
                    vcpu.restore(state).map_err(|error| saved.refuse(error))?;
                }
                // Before any device interrupts the guest, or that would be forgotten.
                vm.restore(&state.machine).map_err(|error| saved.refuse(error))?;
                Some((saved, state))
            }
        };

        let events =
            Arc::new(EventLoop::new("vm-events", Thread::Events, confinement).map_err(host("Could not start the machine's event loop"))?);
        if state.is_some() {
            events.pause();
        }
        let uart = uart.map(|uart| {
            let line = vm.line(layout::UART_INPUT).map_err(below)?;
            let output = Output::new(uart.attachment.output.clone());
            let saved = state.and_then(|(_, state)| state.uart.as_ref());
            Uart::new(line, uart.attachment.input.clone(), output, &events, saved).map_err(host("Could not set up the serial port"))
        });
        let (peripherals, pci) =
            Peripherals::new(configuration, resources, surroundings, &vm, &memory, &events, &(number, control.clone(), state.is_none()))?;
        let bus = Arc::new(MachineBus { board: number, control, uart: uart.transpose()?, pci });
        if let Some((saved, state)) = state {
            bus.pci.set_address(state.bus_address);
            peripherals.pause();
            peripherals.restore(&state.functions).map_err(|error| saved.refuse(error))?;
        }
        if let Some(loaded) = loading {
            let loaded = loaded.recv().map_err(|_| Error::new(ErrorKind::Internal, "The thread that loads the kernel has ended"))?;
            let Begin { instruction, parameters, page_table, segments } = loaded?;
            if let Some(first) = vcpus.first_mut() {
                first.enter_at(&Entry { instruction, parameters, page_table, segments }).map_err(below)?;
            }
        }
        let button = vm.line(layout::BUTTON_INPUT).map_err(below)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| host("The host gives no random numbers")(std::io::Error::other(error.to_string())))?;
        generation::write(random, &memory).map_err(boot_error)?;
        if state.is_some() {
            // It runs on in another place or time than it knows.
            vm.line(layout::GENERATION_INPUT).map_err(below)?.trigger();
        }
        let vcpus = Vcpus::new(vcpus, &bus, confinement).map_err(host("Could not start the machine's vCPUs"))?;
        resources.debugged.set(Some(Debuggee { vcpus: vcpus.debug_port(), memory: memory.clone() }));
        Ok(Self { debugged: resources.debugged.clone(), number, vcpus, button, bus, peripherals, events, memory, vm })
    }

    /// Lets the guest run.
    pub fn resume(&self) {
        self.events.resume();
        self.peripherals.resume();
        self.vcpus.resume();
    }

    /// Makes vCPUs and devices stand still.
    pub fn pause(&self) {
        self.vcpus.pause();
        self.peripherals.pause();
        self.events.pause();
    }

    /// Everything but memory, while the guest stands still. What it was told is done has been done when this returns.
    pub fn save(&self) -> Result<BoardState> {
        let below = |error: hv::Error| Error::because(ErrorKind::Save, "The hypervisor does not give the guest's state away", error);
        let vcpus = self.vcpus.save().map_err(below)?;
        if vcpus.len() != self.vcpus.count() {
            return Err(Error::new(ErrorKind::Save, "A vCPU of the guest has failed"));
        }
        Ok(BoardState {
            vcpus,
            machine: self.vm.save().map_err(below)?,
            uart: self.bus.uart.as_ref().map(Uart::save),
            bus_address: self.bus.pci.address(),
            functions: self.peripherals.save()?,
        })
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Presses the power button.
    pub fn press_power_button(&self) {
        self.button.trigger();
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.debugged.set(None);
        // A vCPU may wait for a disk's thread, and that for a server: nobody is to wait for that.
        self.peripherals.give_up();
    }
}

/// Brings the guest into memory on a thread of its own; who receives what comes of it waits for that.
fn begin_loading(
    loader: &LinuxBootLoader,
    memory: &GuestMemory,
    outside: &Outside,
    confinement: &Confinement,
) -> Result<Receiver<Result<Begin>>> {
    let (sender, loaded) = sync_channel(1);
    let (loader, memory, outside) = (loader.clone(), memory.clone(), outside.clone());
    // Who waits for it may have failed meanwhile.
    let load = move || drop(sender.send(load_linux(&loader, &memory, &outside)));
    let started = confinement.spawn(Thread::Loader, "vm-loader".to_owned(), load);
    started.map_err(host("Could not start the thread that loads the kernel"))?;
    Ok(loaded)
}

fn load_linux(loader: &LinuxBootLoader, memory: &GuestMemory, outside: &Outside) -> Result<Begin> {
    let open = |what: &str, path: &std::path::Path| {
        let file = path.to_owned();
        let opened = outside.run(move || File::open(file))?;
        opened.map_err(|error| Error::because(ErrorKind::Host, format!("Could not open the {what} {}", path.display()), error))
    };
    let mut kernel = open("kernel", &loader.kernel)?;
    if loader.unpacked_by_host
        && let Some(unpacked) = kernel_cache::unpacked(&mut kernel, outside)
    {
        kernel = unpacked;
    }
    let mut initrd = loader.initial_ramdisk.as_deref().map(|path| open("initial RAM disk", path)).transpose()?;
    let linux = Linux { initrd: initrd.as_mut(), command_line: &loader.command_line };
    linux.load(&mut kernel, memory).map_err(|error| {
        Error::because(ErrorKind::InvalidConfiguration, format!("Could not load the kernel {}", loader.kernel.display()), error)
    })
}

fn boot_error(error: boot::Error) -> Error {
    Error::because(ErrorKind::Internal, "Could not describe the computer to the guest", error)
}
