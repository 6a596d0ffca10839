//! The window of one serial port.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Instant;

use machine::Event;
use slint::{CloseRequestResponse, ComponentHandle as _, Global as _, Model as _, SharedString};
use terminal::{At, Palette, Rgb, Size, Terminal};
use tokio::sync::{mpsc, watch};
use view_model::Command;
use view_model::window::{Connection, terminal_overlay, words};

use super::feed::{Changed, Feed, Shared, feed};
use super::lines::Lines;
use crate::display::MachineWindows;
use crate::display::menus::{Orders, list};
use crate::follow::Told;
use crate::machine_window::{OfMachine as _, Said};
use crate::standing::Standing;
use crate::{TerminalWindow, Tokens};

/// Logical pixels around the rows, and beside them where the slider is.
const MARGIN: f32 = 10.0;
const SLIDER: f32 = 14.0;

/// The window of one serial port.
pub struct TerminalScreen {
    pub(super) window: TerminalWindow,
    pub(super) windows: Weak<MachineWindows>,
    pub(super) path: PathBuf,
    pub(super) port: usize,
    pub(super) terminal: Shared,
    pub(super) inner: RefCell<Inner>,
    pub(super) orders: RefCell<Orders>,
    drawn: mpsc::Sender<()>,
    pub(super) typed: mpsc::UnboundedSender<Vec<u8>>,
    pub(super) again: watch::Sender<()>,
}

/// What the window knows.
pub(super) struct Inner {
    pub standing: Standing,
    pub lines: Lines,
    /// Whether a button is down that selects, or that the guest has been told of.
    pub held: Option<terminal::Button>,
    pub selecting: bool,
    /// When, where, and how many times in a row a button went down.
    pub clicked: Option<(Instant, At, u32)>,
    /// The cell that the guest was last told of.
    pub told_at: Option<At>,
}

impl TerminalScreen {
    /// Opens it, and follows its machine until it is closed.
    pub(crate) fn open(windows: &Rc<MachineWindows>, path: &Path, port: usize) -> Result<Rc<Self>, slint::PlatformError> {
        let terminal = Shared::new(Terminal::new(Size::new(80, 24)));
        let (Feed { told, drawn, typed, again }, follower) = feed(windows.engine().library().clone(), path, port, terminal.clone());
        let lines = Lines::new().ok_or_else(|| slint::PlatformError::from("The terminal's font cannot be read"))?;
        let inner = Inner { standing: Standing::new(path), lines, held: None, selecting: false, clicked: None, told_at: None };
        let screen = Rc::new(Self {
            window: TerminalWindow::new()?,
            windows: Rc::downgrade(windows),
            path: path.to_path_buf(),
            port,
            terminal,
            inner: RefCell::new(inner),
            orders: RefCell::default(),
            drawn,
            typed,
            again,
        });
        screen.window.set_lines(screen.inner.borrow().lines.model());
        screen.connect();
        screen.dress();
        screen.refresh();
        screen.window.show()?;
        screen.stage_changed();
        windows.engine().spawn(follower.run());
        screen.listen(told);
        Ok(screen)
    }

    /// The window.
    pub const fn window(&self) -> &TerminalWindow {
        &self.window
    }

    /// What is to be read in it, row by row.
    pub fn text(&self) -> Vec<String> {
        self.window.get_lines().iter().map(|line| line.text.into()).collect()
    }

    /// What is asked for in the window, and what happens to it.
    fn connect(self: &Rc<Self>) {
        on!(self, on_ordered, |screen, number| screen.ordered(number));
        on!(self, on_stage_changed, |screen| screen.stage_changed());
        on!(self, on_look_changed, |screen| screen.dress());
        on!(self, on_focus_changed, |screen, _has| screen.draw());
        on!(self, on_scrolled_to, |screen, from| screen.scrolled_to(from));
        on!(self, on_pointed, |screen, what, button, x, y, ctrl, alt, shift| screen.pointed(what, button, (x, y), (ctrl, alt, shift)));
        on!(self, on_wheel, |screen, by, x, y, ctrl, alt, shift| screen.wheel(by, (x, y), (ctrl, alt, shift)));
        let screen = Rc::downgrade(self);
        self.window
            .on_key(move |text, ctrl, alt, shift, meta| screen.upgrade().is_some_and(|screen| screen.key(&text, (ctrl, alt, shift, meta))));
        let screen = Rc::downgrade(self);
        self.window.window().on_close_requested(move || match screen.upgrade() {
            Some(screen) => screen.close_requested(),
            None => CloseRequestResponse::HideWindow,
        });
    }

    /// Hears what is told, until the window has closed.
    fn listen(self: &Rc<Self>, mut told: mpsc::Receiver<Told<Changed>>) {
        let screen = Rc::downgrade(self);
        let listening = slint::spawn_local(async move {
            while let Some(told) = told.recv().await {
                let Some(screen) = screen.upgrade() else { return };
                screen.hear(told);
            }
        });
        debug_assert!(listening.is_ok());
    }

    fn hear(self: &Rc<Self>, told: Told<Changed>) {
        {
            let mut inner = self.inner.borrow_mut();
            match told {
                Told::Seen(Changed) => {
                    drop(inner);
                    self.draw();
                    // Nobody hears where the port has gone.
                    let _ = self.drawn.try_send(());
                    return;
                }
                Told::Event(Event::Warning { message }) => {
                    drop(inner);
                    return self.note(message.into(), false, &[]);
                }
                Told::Status(status) => inner.standing.stands(status),
                Told::Event(event) => inner.standing.happened(event),
                Told::Connection(connection) => inner.standing.connection = connection,
                Told::Failed(failure) => inner.standing.failed = Some(failure),
                Told::Gone => inner.standing.gone = true,
            }
        }
        self.refresh();
    }

    /// Whether the guest can be talked to.
    pub(super) fn is_open(&self) -> bool {
        let inner = self.inner.borrow();
        inner.standing.state.is_live() && inner.standing.connection == Connection::Open
    }

    /// Draws what has changed.
    pub(super) fn draw(&self) {
        let (rows, size, extent, has_selection, title) = {
            let terminal = self.terminal.lock();
            let title: SharedString = terminal.title().unwrap_or_default().into();
            (terminal.rows(self.window.get_has_keys()), terminal.size(), terminal.extent(), terminal.has_selection(), title)
        };
        self.inner.borrow_mut().lines.show(rows, size);
        let all = (extent.above + extent.seen + extent.below).max(1) as f32;
        self.window.set_seen_part(extent.seen as f32 / all);
        self.window.set_seen_from(extent.above as f32 / all);
        self.window.set_can_copy(has_selection);
        self.window.set_subject(title);
    }

    /// The colours of the appearance that a person prefers.
    fn dress(&self) {
        let tokens = Tokens::get(&self.window);
        let rgb = |colour: slint::Color| Rgb { r: colour.red(), g: colour.green(), b: colour.blue() };
        let mut palette = Palette {
            ground: rgb(tokens.get_terminal()),
            ink: rgb(tokens.get_terminal_ink()),
            cursor: rgb(tokens.get_terminal_cursor()),
            selection: rgb(tokens.get_terminal_selection()),
            ..Palette::default()
        };
        for (named, colour) in palette.named.iter_mut().zip(tokens.get_terminal_colours().iter()) {
            *named = rgb(colour);
        }
        self.inner.borrow_mut().lines.set_ground(palette.ground);
        self.terminal.lock().set_palette(palette);
        self.draw();
    }

    /// The stage has another size, or another number of pixels.
    pub(super) fn stage_changed(&self) {
        self.zoom(0);
    }

    /// Makes the letters as large as they usually are.
    pub(super) fn zoom_back(&self) {
        let zoom = self.inner.borrow().lines.zoom();
        self.zoom(zoom.saturating_neg());
    }

    /// Makes the letters larger by so much, and has as many cells as there is room for.
    pub(super) fn zoom(&self, by: i8) {
        let window = &self.window;
        let scale = window.window().scale_factor().max(0.1);
        let cell = {
            let mut inner = self.inner.borrow_mut();
            inner.lines.set_scale(scale, by);
            inner.lines.cell()
        };
        let margin = (MARGIN * scale).round();
        let room = |length: f32, margins: f32, cell: usize| ((length * scale - margins) / cell as f32).max(0.0) as usize;
        let columns = room(window.get_stage_width(), margin + (SLIDER * scale).round(), cell.width);
        let rows = room(window.get_stage_height(), margin * 1.5, cell.height);
        let size = Size::new(columns, rows);
        {
            let mut terminal = self.terminal.lock();
            if terminal.size() != size {
                terminal.resize(size);
            }
        }
        window.set_lines_x(margin / scale);
        window.set_lines_y((margin * 0.75).round() / scale);
        window.set_lines_width((size.columns * cell.width) as f32 / scale);
        window.set_line_height(cell.height as f32 / scale);
        self.draw();
    }

    /// Brings toolbar, menus and what is said over the terminal up to date.
    pub(super) fn bring_up_to_date(&self) {
        let inner = self.inner.borrow();
        let (window, orders, standing) = (&self.window, &mut *self.orders.borrow_mut(), &inner.standing);
        let subject = standing.subject();
        let can = |command: Command| command.available(Some(&subject)).is_ok();
        let status = standing.status.as_deref();
        let (displays, ports) = status.map_or((0, &[][..]), |status| (status.displays.len(), &status.consoles));
        let is_open = standing.state.is_live() && standing.connection == Connection::Open;
        let several = displays > 0 || ports.len() > 1;
        let name = if several { format!("{} · {}", standing.name, words::SERIAL.with([&(self.port + 1)])) } else { standing.name.clone() };
        window.set_name(name.into());
        window.set_is_paused(can(Command::Resume));
        window.set_can_pause(can(Command::Pause) || can(Command::Resume));
        window.set_can_restart(can(Command::Restart));
        window.set_can_power(!standing.gone);
        window.set_can_paste(is_open);
        window.set_power_menu(list(orders.power(&subject)));
        window.set_view_menu(list(orders.terminal(is_open, self.port, displays, ports)));
        let said = standing.trouble().or_else(|| terminal_overlay(standing.state, standing.connection, standing.ending.as_ref()));
        window.set_said(said.is_some());
        window.set_waits(said.is_some() && standing.is_on_its_way());
        let said = Said::new(said.as_ref(), orders);
        window.set_said_title(said.title);
        window.set_said_help(said.help);
        window.set_said_log(said.log);
        window.set_said_buttons(said.buttons);
    }
}
