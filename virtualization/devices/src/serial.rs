//! The 16550 UART (National Semiconductor PC16550D), and how characters reach the host.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hv::{Event, Interrupt};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SendFlags;
use serde::{Deserialize, Serialize};
use vm_superio::serial::SerialEvents;
use vm_superio::{Serial, SerialState, Trigger};

use crate::{EventLoop, Handler, Interest, Registration, Watches};

/// How long a guest waits for someone who does not read, before what it writes is lost.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// Bytes that are written at once: what a pipe that can be written has room for (`PIPE_BUF`).
const CHUNK: usize = 4096;

/// Where characters go: a file, pipe, terminal or socket, which may stop taking them.
///
/// As [`Write`] it takes everything: the guest waits for a moment for whoever reads, and then what it writes is lost. `take` never
/// waits.
#[derive(Debug)]
pub struct Output {
    file: Option<Arc<File>>,
    may_be_socket: bool,
    /// Nobody reads: what comes is lost until somebody does.
    loses: bool,
    /// How much longer it is waited for who reads.
    patience: Duration,
}

impl Output {
    /// To this file; to nowhere without.
    pub fn new(file: Option<Arc<File>>) -> Self {
        Self { file, may_be_socket: true, loses: false, patience: PATIENCE }
    }

    /// What is written to.
    pub(crate) fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }

    /// Takes as many bytes as there is room for now, and says how many those were: all of them where they go nowhere, or get lost.
    pub(crate) fn take(&mut self, data: &[u8]) -> usize {
        let Some(file) = self.file.clone() else { return data.len() };
        let mut taken = 0;
        while let Some(part) = data.get(taken..).filter(|left| !left.is_empty()).map(|left| &left[..left.len().min(CHUNK)]) {
            match poll(&file, Duration::ZERO) {
                Ready::Room => {}
                Ready::Full => break,
                Ready::Gone => {
                    self.loses = true;
                    break;
                }
            }
            match self.write_now(&file, part) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(count) => {
                    self.loses = false;
                    taken += count;
                }
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.loses = true;
                    break;
                }
            }
        }
        if self.loses { data.len() } else { taken }
    }

    /// Whoever reads has been waited for long enough: what comes is lost until there is room again.
    pub(crate) fn give_up(&mut self) {
        self.loses = true;
    }

    /// Writes to what has room. Only a socket can be asked not to wait where there is less of it.
    fn write_now(&mut self, file: &File, part: &[u8]) -> Result<usize, Errno> {
        if self.may_be_socket {
            match rustix::net::send(file, part, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::NOTSOCK) => self.may_be_socket = false,
                other => return other,
            }
        }
        rustix::io::write(file, part)
    }

    /// Waits for room; false where there was none for long enough.
    fn wait(&mut self) -> bool {
        let Some(file) = self.file.clone() else { return true };
        let begun = Instant::now();
        let patience = self.patience;
        // The thread may be interrupted: it is waited on, but no longer in all.
        let ready = poll(&file, patience);
        // What says that it has room, and then takes nothing, is not asked for ever.
        self.patience = patience.saturating_sub(begun.elapsed().max(Duration::from_millis(1)));
        match ready {
            Ready::Room => true,
            Ready::Full => !self.patience.is_zero(),
            Ready::Gone => false,
        }
    }
}

/// What is to be said of something that is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Room,
    Full,
    Gone,
}

/// Whether there is room, or there is after at most this long; a signal makes it `Full` sooner.
fn poll(file: &File, patience: Duration) -> Ready {
    let patience = Timespec::try_from(patience).ok();
    let mut descriptors = [PollFd::new(file, PollFlags::OUT)];
    match rustix::event::poll(&mut descriptors, patience.as_ref()) {
        Ok(0) | Err(Errno::INTR) => Ready::Full,
        Ok(_) if !descriptors[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) => Ready::Room,
        _ => Ready::Gone,
    }
}

impl Write for Output {
    /// Takes everything; what cannot be written is lost.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut taken = self.take(data);
        if taken == data.len() && !self.loses {
            self.patience = PATIENCE;
        }
        // However much it is, and however often there is a little room, it is waited no longer than that.
        while taken < data.len() {
            if !self.wait() {
                self.loses = true;
            }
            taken += self.take(&data[taken..]);
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Line(Interrupt);

impl Trigger for Line {
    type E = std::convert::Infallible;

    fn trigger(&self) -> Result<(), Self::E> {
        self.0.trigger();
        Ok(())
    }
}

/// Tells the reader that the guest has taken everything.
struct Emptied(Event);

impl SerialEvents for Emptied {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        self.0.signal();
    }
}

type Registers = Serial<Line, Emptied, Output>;

/// A UART, to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UartState {
    /// Divisor, low and high; interrupt enable and identification; line control and status; modem control and status; scratch.
    registers: [u8; 9],
    /// What the guest has not taken yet.
    received: Vec<u8>,
}

impl From<SerialState> for UartState {
    fn from(state: SerialState) -> Self {
        let registers = [
            state.baud_divisor_low,
            state.baud_divisor_high,
            state.interrupt_enable,
            state.interrupt_identification,
            state.line_control,
            state.line_status,
            state.modem_control,
            state.modem_status,
            state.scratch,
        ];
        Self { registers, received: state.in_buffer }
    }
}

impl From<&UartState> for SerialState {
    fn from(state: &UartState) -> Self {
        let [divisor_low, divisor_high, enable, identification, line_control, line_status, modem_control, modem_status, scratch] =
            state.registers;
        Self {
            baud_divisor_low: divisor_low,
            baud_divisor_high: divisor_high,
            interrupt_enable: enable,
            interrupt_identification: identification,
            line_control,
            line_status,
            modem_control,
            modem_status,
            scratch,
            in_buffer: state.received.clone(),
        }
    }
}

/// The UART.
pub struct Uart {
    registers: Arc<Mutex<Registers>>,
    _reader: Option<Registration>,
}

fn lock(registers: &Mutex<Registers>) -> MutexGuard<'_, Registers> {
    registers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Uart {
    /// A UART with this interrupt, as it was when it was saved or else as after power-on; what `input` gives is read on the loop.
    ///
    /// # Errors
    /// Where there are no descriptors left, or what was saved makes no sense.
    pub fn new(
        interrupt: Interrupt,
        input: Option<Arc<File>>,
        output: Output,
        events: &EventLoop,
        saved: Option<&UartState>,
    ) -> io::Result<Self> {
        let emptied = Event::new()?;
        let state = saved.map_or_else(SerialState::default, SerialState::from);
        let registers = Serial::from_state(&state, Line(interrupt), Emptied(emptied.clone()), output);
        let registers = registers.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the serial port holds more than it can"))?;
        let registers = Arc::new(Mutex::new(registers));
        let reader = input.map(|file| {
            let reader = Reader { file, emptied, registers: Arc::clone(&registers), is_watched: true };
            events.add(reader, |reader, watches| reader.begin(watches))
        });
        Ok(Self { registers, _reader: reader.transpose()? })
    }

    /// The UART as it is, while nobody reads or writes.
    pub fn save(&self) -> UartState {
        lock(&self.registers).state().into()
    }

    /// A read of one of its eight ports.
    pub fn read(&self, port: u8, data: &mut [u8]) {
        if let [byte] = data {
            *byte = lock(&self.registers).read(port);
        }
    }

    /// A write to one of its eight ports.
    pub fn write(&self, port: u8, data: &[u8]) {
        if let [byte] = data {
            // Nothing can fail: the interrupt cannot, and the output takes everything.
            let _ = lock(&self.registers).write(port, *byte);
        }
    }
}

impl std::fmt::Debug for Uart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Uart")
    }
}

/// Reads characters for the guest when it has room for them.
struct Reader {
    file: Arc<File>,
    emptied: Event,
    registers: Arc<Mutex<Registers>>,
    is_watched: bool,
}

impl Reader {
    const INPUT: u32 = 0;
    const EMPTIED: u32 = 1;

    fn begin(&mut self, watches: &mut Watches) -> io::Result<()> {
        watches.add(Self::EMPTIED, &self.emptied, Interest::Read)?;
        match watches.add(Self::INPUT, &self.file, Interest::Read) {
            // A file is always ready.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                self.is_watched = false;
                self.emptied.signal();
                Ok(())
            }
            other => other,
        }
    }

    fn read(&mut self, watches: &mut Watches) {
        let mut registers = lock(&self.registers);
        let mut bytes = [0; 64];
        let room = registers.fifo_capacity().min(bytes.len());
        if room == 0 {
            // Until the guest has taken what it has.
            drop(registers);
            if std::mem::take(&mut self.is_watched) {
                watches.remove(Self::INPUT);
            }
            return;
        }
        match rustix::io::read(&self.file, &mut bytes[..room]) {
            Ok(0) => {
                watches.remove(Self::INPUT);
                watches.remove(Self::EMPTIED);
            }
            Ok(count) => {
                // It takes no more than it has room for, and that was looked at.
                let _ = registers.enqueue_raw_bytes(&bytes[..count]);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                tracing::warn!(%error, "the serial port's input cannot be read any longer");
                watches.remove(Self::INPUT);
                watches.remove(Self::EMPTIED);
            }
        }
    }
}

impl Handler for Reader {
    fn ready(&mut self, token: u32, watches: &mut Watches) {
        if token == Self::EMPTIED {
            self.emptied.take();
            if !self.is_watched {
                // A file cannot be watched, and is read each time that there is room.
                self.is_watched = watches.add(Self::INPUT, &self.file, Interest::Read).is_ok();
                if !self.is_watched {
                    self.read(watches);
                }
            }
        } else {
            self.read(watches);
        }
    }
}

#[cfg(test)]
// One of them interrupts a thread.
#[allow(unsafe_code)]
mod tests {
    use std::io::{Read, Seek};
    use std::os::fd::OwnedFd;
    use std::os::unix::thread::JoinHandleExt;

    use confinement::{Confinement, Thread};
    use hv::Interrupts;
    use hv::fake::FakeVm;

    use super::*;

    fn uart(input: Option<Arc<File>>, output: Option<Arc<File>>, events: &EventLoop) -> Uart {
        Uart::new(FakeVm::default().line(4).unwrap(), input, Output::new(output), events, None).unwrap()
    }

    fn file(descriptor: OwnedFd) -> Arc<File> {
        Arc::new(descriptor.into())
    }

    /// What the guest reads, waiting for each character.
    fn guest_reads(uart: &Uart, count: usize) -> Vec<u8> {
        let until = Instant::now() + Duration::from_secs(10);
        let mut read = Vec::new();
        while read.len() < count {
            let mut status = [0];
            uart.read(5, &mut status);
            if status[0] & 1 != 0 {
                let mut byte = [0];
                uart.read(0, &mut byte);
                read.extend(byte);
            } else {
                assert!(Instant::now() < until, "only {} characters arrived", read.len());
                std::thread::yield_now();
            }
        }
        read
    }

    #[test]
    fn more_than_its_buffer_arrives_in_order() {
        let events = EventLoop::new("test", Thread::Events, &Confinement::new().unwrap()).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let uart = uart(Some(file(reader)), None, &events);
        let sent: Vec<u8> = (0..1000_u32).map(|index| index as u8).collect();
        File::from(writer).write_all(&sent).unwrap();
        assert_eq!(guest_reads(&uart, sent.len()), sent);
    }

    #[test]
    fn what_was_received_survives_being_saved() {
        let events = EventLoop::new("test", Thread::Events, &Confinement::new().unwrap()).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let one = uart(Some(file(reader)), None, &events);
        // Interrupts for received characters, and a divisor.
        for (port, value) in [(1, 1), (3, 0x83), (0, 12), (3, 3), (7, 0x5a)] {
            one.write(port, &[value]);
        }
        File::from(writer).write_all(b"typed").unwrap();
        let mut status = [0];
        while status[0] & 1 == 0 {
            one.read(5, &mut status);
            std::thread::yield_now();
        }
        events.pause();
        let state: UartState = serde_json::from_value(serde_json::json!(one.save())).unwrap();

        let line = FakeVm::default().line(4).unwrap();
        let restored = Uart::new(line.clone(), None, Output::new(None), &events, Some(&state)).unwrap();
        assert!(line.event().take(), "the interrupt that the guest has not seen");
        assert_eq!(restored.save(), state);
        assert_eq!(guest_reads(&restored, 5), b"typed");
        let more = UartState { received: vec![0; 65], ..state };
        assert!(Uart::new(line, None, Output::new(None), &events, Some(&more)).is_err());
    }

    #[test]
    fn a_file_is_read_too() {
        let events = EventLoop::new("test", Thread::Events, &Confinement::new().unwrap()).unwrap();
        let mut input = tempfile::tempfile().unwrap();
        let sent = [b'x'; 300];
        input.write_all(&sent).unwrap();
        input.rewind().unwrap();
        let uart = uart(Some(Arc::new(input)), None, &events);
        assert_eq!(guest_reads(&uart, sent.len()), sent);
    }

    extern "C" fn nothing(_: libc::c_int) {}

    #[test]
    fn who_is_interrupted_while_it_waits_loses_nothing() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut output = Output::new(Some(file(writer)));
        let full = std::iter::from_fn(|| Some(output.take(&[b'x'; CHUNK])).filter(|count| *count > 0)).sum::<usize>();
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGUSR2, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        let writing = std::thread::spawn(move || output.write(b"!").map(|_| output.loses));
        for _ in 0..100 {
            // SAFETY: the thread has not been joined, and the signal has a handler.
            unsafe { libc::pthread_kill(writing.as_pthread_t(), libc::SIGUSR2) };
            std::thread::yield_now();
        }
        let mut written = vec![0; full + 1];
        File::from(reader).read_exact(&mut written).unwrap();
        assert_eq!(written.last(), Some(&b'!'));
        assert!(!writing.join().unwrap().unwrap());
    }

    #[test]
    fn what_nobody_reads_is_lost_and_what_somebody_reads_is_not() {
        let events = EventLoop::new("test", Thread::Events, &Confinement::new().unwrap()).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let uart = uart(None, Some(file(writer)), &events);
        // More than a pipe holds: this ends although nobody reads.
        for _ in 0..70_000 {
            uart.write(0, b"x");
        }
        let mut reader = File::from(reader);
        let mut held = vec![0; usize::try_from(rustix::io::ioctl_fionread(&reader).unwrap()).unwrap()];
        assert!((1..70_000).contains(&held.len()));
        reader.read_exact(&mut held).unwrap();
        uart.write(0, b"!");
        let mut last = [0];
        reader.read_exact(&mut last).unwrap();
        assert_eq!(&last, b"!");
    }
}
