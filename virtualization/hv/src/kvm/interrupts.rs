//! Interrupts: which of KVM's numbers ("GSI") is which, and the table of routes, which the kernel takes only as a whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi,
};
use kvm_ioctls::VmFd;

use super::refused;
use super::vm::with_event;
use crate::{Error, Event, Interrupt, MessageInterrupt, MsiMessage, Result};

/// Inputs of the I/O APIC; the numbers from here on are free for messages.
const INPUTS: u32 = 24;
/// `KVM_MAX_IRQ_ROUTES` of x86.
const ROUTES_MAXIMUM: u32 = 4096;

/// The table.
#[derive(Debug)]
pub struct Routes {
    fd: Arc<VmFd>,
    /// The messages by number; `None` for one that the guest has not set yet.
    messages: Mutex<BTreeMap<u32, Option<MsiMessage>>>,
}

impl Routes {
    /// A table with the inputs of the I/O APIC.
    pub fn new(fd: Arc<VmFd>) -> Result<Self> {
        let routes = Self { fd, messages: Mutex::default() };
        routes.write(&routes.lock())?;
        Ok(routes)
    }

    /// The interrupt of an input.
    pub fn line(&self, input: u32) -> Result<Interrupt> {
        let event = event()?;
        with_event(&event, |event| self.fd.register_irqfd(event, input)).map_err(refused("attach an interrupt"))?;
        Ok(Interrupt::new(event))
    }

    /// A message with a number of its own.
    pub fn message(routes: &Arc<Self>) -> Result<Arc<dyn MessageInterrupt>> {
        let mut messages = routes.lock();
        let number = (INPUTS..ROUTES_MAXIMUM).find(|number| !messages.contains_key(number)).ok_or(Error::OutOfInterrupts)?;
        let interrupt = Interrupt::new(event()?);
        messages.insert(number, None);
        Ok(Arc::new(Message { routes: Arc::clone(routes), number, interrupt, attached: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Option<MsiMessage>>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, messages: &BTreeMap<u32, Option<MsiMessage>>) -> Result<()> {
        let inputs = (0..INPUTS).map(|input| {
            let mut entry = kvm_irq_routing_entry { gsi: input, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
            entry.u.irqchip = kvm_irq_routing_irqchip { irqchip: KVM_IRQCHIP_IOAPIC, pin: input };
            entry
        });
        let messages = messages.iter().filter_map(|(number, message)| {
            let message = message.as_ref()?;
            let mut entry = kvm_irq_routing_entry { gsi: *number, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
            // The kernel takes the address in halves.
            let (low, high) = (message.address as u32, (message.address >> 32) as u32);
            entry.u.msi = kvm_irq_routing_msi { address_lo: low, address_hi: high, data: message.data, ..Default::default() };
            Some(entry)
        });
        let entries: Vec<_> = inputs.chain(messages).collect();
        let table = KvmIrqRouting::from_entries(&entries).map_err(|_| Error::OutOfInterrupts)?;
        self.fd.set_gsi_routing(&table).map_err(refused("route interrupts"))
    }
}

fn event() -> Result<Event> {
    Event::new().map_err(|source| Error::Refused { attempt: "make an event", source })
}

#[derive(Debug)]
struct Message {
    routes: Arc<Routes>,
    number: u32,
    interrupt: Interrupt,
    /// Whether KVM takes the event; one that is masked keeps what happens, until it does.
    attached: Mutex<bool>,
}

impl Message {
    fn attached(&self) -> MutexGuard<'_, bool> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MessageInterrupt for Message {
    fn set_message(&self, message: MsiMessage) -> Result<()> {
        let mut messages = self.routes.lock();
        if messages.insert(self.number, Some(message)) != Some(Some(message)) {
            self.routes.write(&messages)?;
        }
        drop(messages);
        let mut attached = self.attached();
        if !*attached {
            let attach = |event: &_| self.routes.fd.register_irqfd(event, self.number);
            with_event(self.interrupt.event(), attach).map_err(refused("attach an interrupt"))?;
            *attached = true;
        }
        Ok(())
    }

    fn mask(&self) {
        let mut attached = self.attached();
        if *attached {
            // It was attached; nothing else can be wrong.
            let _ = with_event(self.interrupt.event(), |event| self.routes.fd.unregister_irqfd(event, self.number));
            *attached = false;
        }
    }

    fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.mask();
        let mut messages = self.routes.lock();
        // What fails here concerns an interrupt that nobody will trigger again.
        if messages.remove(&self.number).flatten().is_some() {
            let _ = self.routes.write(&messages);
        }
    }
}
