//! The agent in the guest, over the main channel: the clipboard and where screens stand.

use crate::client::Reply;
use crate::news::Teller;
use crate::{Error, Result};
use machine::display::SizeRequest;
use machine::exchange::{ClipboardFormat, ClipboardPolicy, MAX_CLIPBOARD, Monitor};
use spice_client_glib as spice;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The selection that people mean by the clipboard (the others are X11's).
const CLIPBOARD: u32 = 0;
/// The agent's capability bits (spice-protocol, `vd_agent.h`): it ends lines with carriage return and line feed.
const CAP_CRLF: u32 = 9;
/// It takes offers, and asks for what it wants of them.
const CAP_BY_DEMAND: u32 = 5;
/// Fetches that may wait for the guest.
const MAX_FETCHES: usize = 16;

/// The agent.
pub struct Agent {
    main: RefCell<Option<spice::MainChannel>>,
    policy: Cell<ClipboardPolicy>,
    /// What the guest was given to paste.
    given: RefCell<Option<(ClipboardFormat, Vec<u8>)>>,
    offered: RefCell<Vec<ClipboardFormat>>,
    fetches: RefCell<Vec<(ClipboardFormat, Reply<Vec<u8>>)>>,
    present: Cell<bool>,
    teller: Teller,
}

fn number(format: ClipboardFormat) -> u32 {
    let known = match format {
        ClipboardFormat::Text => spice::ClipboardFormat::Utf8,
        ClipboardFormat::Png => spice::ClipboardFormat::Png,
        ClipboardFormat::Bmp => spice::ClipboardFormat::Bmp,
        ClipboardFormat::Tiff => spice::ClipboardFormat::Tiff,
        ClipboardFormat::Jpeg => spice::ClipboardFormat::Jpg,
    };
    known as u32
}

fn of_number(wanted: u32) -> Option<ClipboardFormat> {
    ClipboardFormat::ALL.into_iter().find(|format| number(*format) == wanted)
}

impl Agent {
    pub fn new(policy: ClipboardPolicy, teller: Teller) -> Self {
        Self {
            main: RefCell::default(),
            policy: Cell::new(policy),
            given: RefCell::default(),
            offered: RefCell::default(),
            fetches: RefCell::default(),
            present: Cell::new(false),
            teller,
        }
    }

    /// The main channel is there.
    pub fn watch(self: Rc<Self>, main: &spice::MainChannel) {
        main.set_max_clipboard(i32::try_from(MAX_CLIPBOARD).unwrap_or(i32::MAX));
        let agent = Rc::downgrade(&self);
        main.connect_agent_connected_notify(move |main| {
            if let Some(agent) = agent.upgrade() {
                agent.came_or_went(main.is_agent_connected());
            }
        });
        // It is connected before it has said what it can.
        let agent = Rc::downgrade(&self);
        main.connect_main_agent_update(move |_| {
            if let Some(agent) = agent.upgrade() {
                agent.offer();
            }
        });
        let agent = Rc::downgrade(&self);
        main.connect_main_clipboard_selection_grab(move |_, selection, formats| {
            if let Some(agent) = agent.upgrade().filter(|_| selection == CLIPBOARD) {
                agent.guest_copied(formats);
            }
        });
        let agent = Rc::downgrade(&self);
        main.connect_main_clipboard_selection_release(move |_, selection| {
            if let Some(agent) = agent.upgrade().filter(|_| selection == CLIPBOARD) {
                agent.guest_copied(&[]);
            }
        });
        let agent = Rc::downgrade(&self);
        main.connect_main_clipboard_selection_request(move |main, selection, format| {
            agent.upgrade().is_some_and(|agent| selection == CLIPBOARD && agent.guest_pastes(main, format))
        });
        let agent = Rc::downgrade(&self);
        main.connect_main_clipboard_selection(move |main, selection, format, data| {
            if let Some(agent) = agent.upgrade().filter(|_| selection == CLIPBOARD) {
                agent.guest_gives(main, format, data);
            }
        });
        self.main.replace(Some(main.clone()));
    }

    /// The main channel, where an agent answers.
    pub fn main(&self) -> Result<spice::MainChannel> {
        self.main.borrow().clone().filter(spice::MainChannel::is_agent_connected).ok_or(Error::NoAgent)
    }

    fn came_or_went(&self, present: bool) {
        if self.present.replace(present) == present {
            return;
        }
        self.teller.agent(present);
        if !present {
            self.forget();
        }
    }

    /// The session is at its end.
    pub fn gone(&self) {
        self.forget();
        self.main.replace(None);
    }

    fn forget(&self) {
        if !self.offered.take().is_empty() {
            self.teller.offered(Vec::new());
        }
        for (_, reply) in self.fetches.take() {
            let _ = reply.send(Err(Error::NoAgent));
        }
    }

    pub fn set_policy(&self, policy: ClipboardPolicy) {
        self.policy.set(policy);
        if !policy.to_guest() {
            self.take_back();
        }
        if !policy.to_host() {
            self.forget();
        }
    }

    fn guest_copied(&self, numbers: &[u32]) {
        let mut formats: Vec<ClipboardFormat> = numbers.iter().take(64).filter_map(|number| of_number(*number)).collect();
        formats.sort_unstable();
        formats.dedup();
        // What was given is no longer what the guest would paste.
        if !numbers.is_empty() {
            self.given.replace(None);
        }
        if self.policy.get().to_host() && *self.offered.borrow() != formats {
            self.offered.replace(formats.clone());
            self.teller.offered(formats);
        } else if self.policy.get().to_host() && !formats.is_empty() {
            // The same kinds of something else.
            self.teller.offered(formats);
        }
    }

    /// Asks the guest for what it has copied.
    pub fn fetch(&self, format: ClipboardFormat, reply: Reply<Vec<u8>>) {
        let checked = self.main().and_then(|main| {
            if !self.policy.get().to_host() {
                return Err(Error::Policy);
            }
            if !self.offered.borrow().contains(&format) {
                return Err(Error::NotOffered);
            }
            let mut fetches = self.fetches.borrow_mut();
            fetches.retain(|(_, waiting)| !waiting.is_closed());
            if fetches.len() >= MAX_FETCHES {
                return Err(Error::Refused { what: "fetch the clipboard", said: "the guest has not answered earlier ones".into() });
            }
            Ok(main)
        });
        match checked {
            Ok(main) => {
                self.fetches.borrow_mut().push((format, reply));
                main.clipboard_selection_request(CLIPBOARD, number(format));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn guest_gives(&self, main: &spice::MainChannel, wire: u32, data: &[u8]) {
        let format = of_number(wire);
        let (answered, waiting) = self.fetches.take().into_iter().partition(|(wanted, _)| format.is_none_or(|format| *wanted == format));
        self.fetches.replace(waiting);
        let answered: Vec<(ClipboardFormat, Reply<Vec<u8>>)> = answered;
        for (wanted, reply) in answered {
            let _ = reply.send(match format {
                None => Err(Error::NotOffered),
                Some(_) if data.len() > MAX_CLIPBOARD => Err(Error::TooLarge { what: "A clipboard", bytes: data.len() }),
                Some(_) if wanted == ClipboardFormat::Text => Ok(text_of_guest(data, main.agent_test_capability(CAP_CRLF))),
                Some(_) => Ok(data.to_vec()),
            });
        }
    }

    pub fn give(&self, format: ClipboardFormat, data: Vec<u8>) -> Result<()> {
        if !self.policy.get().to_guest() {
            return Err(Error::Policy);
        }
        self.main()?;
        self.given.replace(Some((format, data)));
        self.offer();
        Ok(())
    }

    /// Tells the agent what there is to paste, also one that came after it was given.
    fn offer(&self) {
        let format = self.given.borrow().as_ref().map(|(format, _)| *format);
        let able = |main: &spice::MainChannel| main.agent_test_capability(CAP_BY_DEMAND);
        if let (Some(format), Ok(main)) = (format, self.main())
            && able(&main)
        {
            main.clipboard_selection_grab(CLIPBOARD, &[number(format)]);
        }
    }

    pub fn take_back(&self) {
        if self.given.take().is_some()
            && let Ok(main) = self.main()
        {
            main.clipboard_selection_release(CLIPBOARD);
        }
    }

    /// Whether the guest got it.
    fn guest_pastes(&self, main: &spice::MainChannel, wire: u32) -> bool {
        let given = self.given.borrow();
        let wanted = given.as_ref().filter(|(format, _)| self.policy.get().to_guest() && number(*format) == wire);
        match wanted {
            Some((ClipboardFormat::Text, data)) if main.agent_test_capability(CAP_CRLF) => {
                main.clipboard_selection_notify(CLIPBOARD, wire, &with_crlf(data));
            }
            Some((_, data)) => main.clipboard_selection_notify(CLIPBOARD, wire, data),
            // Without an answer it would wait.
            None => main.clipboard_selection_notify(CLIPBOARD, spice::ClipboardFormat::None as u32, &[]),
        }
        wanted.is_some()
    }

    pub fn arrange(&self, monitors: &[Monitor]) -> Result<()> {
        let main = self.main()?;
        let invalid = |monitor: &Monitor| Error::Refused { what: "arrange screens", said: format!("{monitor:?} is none") };
        for monitor in monitors {
            let number = |value: u32| i32::try_from(value).ok().filter(|value| *value <= 1 << 16).ok_or_else(|| invalid(monitor));
            let (id, x, y) = (number(monitor.display)?, number(monitor.x)?, number(monitor.y)?);
            let (width, height) = (number(monitor.width)?, number(monitor.height)?);
            main.update_display_enabled(id, width > 0 && height > 0, false);
            main.update_display(id, x, y, width, height, false);
        }
        if main.send_monitor_config() { Ok(()) } else { Err(Error::NoAgent) }
    }

    pub fn resize(&self, head: usize, request: SizeRequest) -> Result<()> {
        let place = |value: i32| u32::try_from(value).unwrap_or(0);
        let (x, y) = (place(request.position.0), place(request.position.1));
        let display = u32::try_from(head).unwrap_or(u32::MAX);
        self.arrange(&[Monitor { display, x, y, width: request.size.width, height: request.size.height }])
    }

    /// Whether the pointer is where the client says, and not moved by the server.
    pub fn takes_positions(&self) -> bool {
        let main = self.main.borrow();
        main.as_ref().is_some_and(|main| main.mouse_mode() & spice::MouseMode::CLIENT.bits() != 0)
    }
}

/// Text as it is here: UTF-8, lines ended by a line feed, and without the zero that some agents end it with.
fn text_of_guest(data: &[u8], crlf: bool) -> Vec<u8> {
    let data = data.strip_suffix(b"\0").unwrap_or(data);
    let text = String::from_utf8_lossy(data);
    if crlf { text.replace("\r\n", "\n").into_bytes() } else { text.into_owned().into_bytes() }
}

/// Text as Windows has it.
fn with_crlf(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(data.len());
    let mut before = 0;
    for &byte in data {
        if byte == b'\n' && before != b'\r' {
            text.push(b'\r');
        }
        text.push(byte);
        before = byte;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_ends_of_lines_that_are_usual_where_it_goes() {
        assert_eq!(text_of_guest(b"a\r\nb\r\n\0", true), b"a\nb\n");
        assert_eq!(text_of_guest(b"a\r\nb", false), b"a\r\nb");
        assert_eq!(text_of_guest(b"\xff", false), "\u{fffd}".as_bytes());
        assert_eq!(with_crlf(b"a\nb\r\n\n"), b"a\r\nb\r\n\r\n");
    }

    #[test]
    fn formats_have_their_numbers() {
        for format in ClipboardFormat::ALL {
            assert_eq!(of_number(number(format)), Some(format));
        }
        assert_eq!(of_number(0), None);
        assert_eq!(of_number(u32::MAX), None);
    }
}
