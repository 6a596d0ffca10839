//! Something is dragged from another window onto one of the app's, as X11's desktops do it (the XDND protocol, version 5).

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, SELECTION_NOTIFY_EVENT, SelectionNotifyEvent,
    WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const VERSION: u32 = 5;

struct Source {
    x: RustConnection,
    target: u32,
}

/// Drops a file on a window, as X numbers it, at the middle of the part of the screen that it covers.
///
/// # Errors
/// Where the window takes none.
pub fn drop_file(display: &str, target: u32, file: &Path) -> Result<()> {
    let (x, screen) = x11rb::connect(Some(display))?;
    let root = x.setup().roots.get(screen).context("no screen")?.root;
    let window = x.generate_id()?;
    x.create_window(0, window, root, 0, 0, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &CreateWindowAux::new())?.check()?;
    let source = Source { x, target };
    let (list, copy) = (source.atom("text/uri-list")?, source.atom("XdndActionCopy")?);
    source.x.set_selection_owner(window, source.atom("XdndSelection")?, x11rb::CURRENT_TIME)?.check()?;
    let size = source.x.get_geometry(target)?.reply()?;
    let middle = source.x.translate_coordinates(target, root, (size.width / 2) as i16, (size.height / 2) as i16)?.reply()?;
    let place = u32::from(middle.dst_x.cast_unsigned()) << 16 | u32::from(middle.dst_y.cast_unsigned());

    source.tell("XdndEnter", [window, VERSION << 24, list, 0, 0])?;
    source.tell("XdndPosition", [window, 0, place, x11rb::CURRENT_TIME, copy])?;
    let status = source.hear("XdndStatus", &format!("file://{}\r\n", file.display()))?;
    if status[1] & 1 == 0 {
        bail!("the window takes no files");
    }
    source.tell("XdndDrop", [window, 0, x11rb::CURRENT_TIME, 0, 0])?;
    source.hear("XdndFinished", &format!("file://{}\r\n", file.display()))?;
    Ok(())
}

impl Source {
    fn atom(&self, name: &str) -> Result<u32> {
        Ok(self.x.intern_atom(false, name.as_bytes())?.reply()?.atom)
    }

    fn tell(&self, what: &str, data: [u32; 5]) -> Result<()> {
        let message = ClientMessageEvent::new(32, self.target, self.atom(what)?, data);
        self.x.send_event(false, self.target, EventMask::NO_EVENT, message)?.check()?;
        Ok(())
    }

    /// Waits for a message, and gives what is dragged to whoever asks for it meanwhile.
    fn hear(&self, what: &str, list: &str) -> Result<[u32; 5]> {
        let wanted = self.atom(what)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.x.poll_for_event()? {
                Some(Event::ClientMessage(message)) if message.type_ == wanted => return Ok(message.data.as_data32()),
                Some(Event::SelectionRequest(request)) => {
                    self.x.change_property8(PropMode::REPLACE, request.requestor, request.property, request.target, list.as_bytes())?;
                    let answer = SelectionNotifyEvent {
                        response_type: SELECTION_NOTIFY_EVENT,
                        sequence: 0,
                        time: request.time,
                        requestor: request.requestor,
                        selection: request.selection,
                        target: request.target,
                        property: if request.property == u32::from(AtomEnum::NONE) { request.target } else { request.property },
                    };
                    self.x.send_event(false, request.requestor, EventMask::NO_EVENT, answer)?.check()?;
                }
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        bail!("the window does not answer with {what}");
    }
}
