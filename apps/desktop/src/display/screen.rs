//! The window of one display head.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use library::SharedFolder;
use machine::Event;
use machine::display::{Control, Cursor, HeadInfo, Input, Rect, Shown, SizeRequest, Surface, Update};
use slint::winit_030::WinitWindowAccessor as _;
use slint::{CloseRequestResponse, ComponentHandle as _, Image, SharedString, Timer};
use tokio::sync::{mpsc, watch};
use view_model::preferences::{Preferences, RELEASE, SCALING, SEND_KEYS};
use view_model::window::{Connection, Overlay, captured, overlay, words};
use view_model::{Command, preferences};
use viewport::{Canvas, Placement, Policy, ReleaseChord, Resizer, Scaling, Seat};

use super::MachineWindows;
use super::direct::{Direct, Drawn, Refused, is_drawable};
use super::feed::{Feed, Seen, feed};
use super::grab::Keyboard;
use super::menus::{Orders, list};
use super::picture::Picture;
use crate::MachineWindow;
use crate::follow::Told;
use crate::machine_window::{OfMachine as _, Said};
use crate::session::Session;
use crate::standing::Standing;

/// The window of one display head.
pub struct MachineScreen {
    pub(super) window: MachineWindow,
    pub(super) windows: Weak<MachineWindows>,
    pub(super) path: PathBuf,
    pub(super) head: usize,
    pub(super) inner: RefCell<Inner>,
    pub(super) orders: RefCell<Orders>,
    pub(super) session: Rc<Session>,
    /// The file that the window's foot tells of, and the one of which a person has heard enough.
    pub(super) told_file: Cell<Option<u64>>,
    pub(super) seen_file: Cell<Option<u64>>,
    /// Where the word goes that a picture was drawn.
    drawn: mpsc::Sender<()>,
    /// Whether a picture waits to be drawn.
    waits: Cell<bool>,
    pub(super) again: watch::Sender<()>,
    resize_timer: Timer,
}

/// What the window knows.
pub(super) struct Inner {
    pub standing: Standing,
    shown: Shown,
    share: Option<SharedFolder>,
    heads: Vec<HeadInfo>,
    pub control: Option<Arc<dyn Control>>,
    pub input: Option<mpsc::UnboundedSender<Input>>,
    pub seat: Seat,
    pub keyboard: Option<Keyboard>,
    pub placement: Option<Placement>,
    pub canvas: Option<Canvas>,
    pub scrolled: (u32, u32),
    pub scaling: Scaling,
    pub resizer: Resizer,
    picture: Picture,
    /// Where the window system lets a picture be drawn without the toolkit; not known before the first.
    direct: Option<Option<Direct>>,
    chords: Vec<String>,
    pub full_screen: bool,
    cursor: Option<Arc<Cursor>>,
    pointer: Option<(u32, u32)>,
    pointer_visible: bool,
}

impl MachineScreen {
    /// Opens it, and follows its machine until it is closed.
    pub(super) fn open(windows: &Rc<MachineWindows>, path: &Path, head: usize) -> Result<Rc<Self>, slint::PlatformError> {
        let preferences = windows.preferences();
        let (Feed { told, drawn, again }, follower) = feed(windows.engine().library().clone(), path, head);
        let inner = Inner {
            standing: Standing::new(path),
            shown: Shown::Off,
            share: None,
            heads: Vec::new(),
            control: None,
            input: None,
            seat: Seat::new(policy(&preferences)),
            keyboard: None,
            placement: None,
            canvas: None,
            scrolled: (0, 0),
            scaling: scaling(&preferences),
            resizer: Resizer::new(scaling(&preferences) == Scaling::Fit),
            picture: Picture::default(),
            direct: None,
            chords: preferences.words(SEND_KEYS),
            full_screen: false,
            cursor: None,
            pointer: None,
            pointer_visible: true,
        };
        let screen = Rc::new(Self {
            window: MachineWindow::new()?,
            windows: Rc::downgrade(windows),
            path: path.to_path_buf(),
            head,
            inner: RefCell::new(inner),
            orders: RefCell::default(),
            session: windows.session(path),
            told_file: Cell::default(),
            seen_file: Cell::default(),
            drawn,
            waits: Cell::new(false),
            again,
            resize_timer: Timer::default(),
        });
        screen.connect();
        screen.say_how_to_release();
        screen.refresh();
        screen.window.show()?;
        windows.engine().spawn(follower.run());
        screen.listen(told);
        Ok(screen)
    }

    /// The window.
    pub(super) const fn window(&self) -> &MachineWindow {
        &self.window
    }

    /// What is asked for in the window, and what happens to it.
    fn connect(self: &Rc<Self>) {
        on!(self, on_ordered, |screen, number| screen.ordered(number));
        on!(self, on_stage_changed, |screen| screen.stage_changed());
        on!(self, on_moved, |screen, x, y| screen.moved(x, y));
        on!(self, on_left_stage, |screen| screen.left_stage());
        on!(self, on_button, |screen, button, down| screen.button(button, down));
        on!(self, on_wheel, |screen, by| screen.wheel(by));
        on!(self, on_stage_focus, |screen, has| screen.stage_focus(has));
        on!(self, on_cover_changed, |screen| {
            screen.choose_painter();
            screen.place_pointer();
        });
        on!(self, on_usb_menu_opened, |screen| screen.session.look_at_usb());
        let screen = Rc::downgrade(self);
        self.window.window().on_winit_window_event(move |_, event| match screen.upgrade() {
            Some(screen) => screen.window_event(event),
            None => slint::winit_030::EventResult::Propagate,
        });
        let screen = Rc::downgrade(self);
        self.window.window().on_close_requested(move || match screen.upgrade() {
            Some(screen) => screen.close_requested(),
            None => CloseRequestResponse::HideWindow,
        });
    }

    /// Hears what is told, until the window has closed.
    fn listen(self: &Rc<Self>, mut told: mpsc::Receiver<Told<Seen>>) {
        let screen = Rc::downgrade(self);
        let listening = slint::spawn_local(async move {
            while let Some(told) = told.recv().await {
                let Some(screen) = screen.upgrade() else { return };
                screen.hear(told);
            }
        });
        debug_assert!(listening.is_ok());
    }

    fn hear(self: &Rc<Self>, told: Told<Seen>) {
        match told {
            Told::Seen(Seen::Update(update)) => return self.show(update),
            Told::Event(Event::MediumChanged { .. }) => return self.look_at_drives(),
            Told::Event(Event::Warning { message }) => return self.note(message.into(), false, &[]),
            Told::Status(status) => {
                self.inner.borrow_mut().standing.stands(status);
                self.look_at_share();
            }
            Told::Event(event) => self.inner.borrow_mut().standing.happened(event),
            Told::Connection(connection) => self.inner.borrow_mut().connected(connection),
            Told::Seen(Seen::Head(opened)) => {
                self.inner.borrow_mut().heads = opened.heads;
                self.touch(opened.control);
            }
            Told::Failed(failure) => self.inner.borrow_mut().standing.failed = Some(failure),
            Told::Gone => self.inner.borrow_mut().standing.gone = true,
        }
        self.refresh();
    }

    /// Sends what a person does to this head from now on.
    fn touch(self: &Rc<Self>, control: Arc<dyn Control>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        {
            let mut inner = self.inner.borrow_mut();
            inner.control = Some(control.clone());
            inner.input = Some(sender);
            inner.resizer.ask_again(Instant::now());
        }
        if let Some(windows) = self.windows.upgrade() {
            windows.engine().spawn(super::input::send(control, receiver));
        }
        self.ask_for_positions();
        self.resize_guest();
    }

    /// Shows what has changed of the picture.
    fn show(&self, update: Update) {
        let mut inner = self.inner.borrow_mut();
        let before = (inner.shown.surface().map(|surface| surface.size()), inner.resizer.standing());
        let replaced = update.replaced || inner.placement.is_none();
        inner.shown = update.shown;
        if let Some(surface) = inner.shown.surface().cloned() {
            if replaced {
                inner.resizer.shows(surface.size());
            }
            if !replaced && inner.is_direct() {
                inner.direct(|direct| direct.draw(update.damage.rects()));
            }
            if !inner.is_direct() && (replaced || inner.picture.differs(&surface, update.damage.rects())) {
                self.paint(&mut inner, &surface, update.damage.rects());
            }
        }
        let pointer_changed = update.cursor.is_some() || update.pointer.is_some();
        if let Some(cursor) = update.cursor {
            self.set_pointer(&cursor);
            inner.cursor = Some(cursor);
        }
        if let Some(pointer) = update.pointer {
            inner.pointer_visible = pointer.visible;
            inner.pointer = u32::try_from(pointer.x).ok().zip(u32::try_from(pointer.y).ok());
        }
        let now = (inner.shown.surface().map(|surface| surface.size()), inner.resizer.standing());
        let is_other = before != now || (replaced && now.0.is_none());
        drop(inner);
        if replaced {
            self.place();
        } else if pointer_changed {
            self.place_pointer();
        }
        // A guest that shows one memory after the other does so with every picture.
        if is_other {
            self.refresh();
        }
        // Hidden windows are not drawn; what is not drawn waits for nothing.
        if !self.waits.get() || !self.window.window().has_winit_window() {
            self.was_drawn();
        }
    }

    /// Has the toolkit draw what was damaged.
    fn paint(&self, inner: &mut Inner, surface: &Surface, damage: &[Rect]) {
        // The buffer is ours alone while nobody draws from it: then it is changed where it is.
        self.window.set_frame(Image::default());
        inner.picture.paint(surface, damage);
        self.window.set_frame(inner.picture.image());
        self.waits.set(true);
    }

    /// Draws the picture without the toolkit where that can be, and with it where not.
    pub(super) fn choose_painter(&self) {
        let mut inner = self.inner.borrow_mut();
        let was = inner.is_direct();
        let inner = &mut *inner;
        let place = inner.exact_place().filter(|_| !self.window.get_stage_covered());
        let surface = inner.shown.surface().cloned().filter(|surface| is_drawable(surface));
        match surface.zip(place) {
            Some((surface, (x, y))) => {
                let pointer = inner.drawn_pointer();
                if inner.direct.is_none() {
                    inner.direct = self.window.window().with_winit_window(Direct::new);
                }
                inner.direct(|direct| direct.show(&surface, x, y, pointer));
            }
            None => inner.direct(Direct::hide),
        }
        let (is, surface) = (inner.is_direct(), inner.shown.surface().cloned());
        if let (true, false, Some(surface)) = (was, is, surface) {
            self.paint(inner, &surface, &[surface.size().whole()]);
        }
        if is && !was {
            // What the toolkit drew last is under it; it would only be drawn again.
            self.window.set_frame(Image::default());
            self.waits.set(false);
        }
    }

    /// The picture is being drawn: the next may come.
    pub(super) fn was_drawn(&self) {
        self.waits.set(false);
        // At most one is on its way; nobody hears where the display has gone.
        let _ = self.drawn.try_send(());
    }

    /// Whether a picture waits to be drawn.
    pub(super) const fn waits(&self) -> bool {
        self.waits.get()
    }

    fn set_pointer(&self, cursor: &Cursor) {
        let mut buffer = slint::SharedPixelBuffer::<slint::Rgba8Pixel>::new(cursor.width, cursor.height);
        let (pixels, _) = cursor.bgra.as_chunks::<4>();
        for (target, &[b, g, r, a]) in buffer.make_mut_slice().iter_mut().zip(pixels) {
            *target = slint::Rgba8Pixel { r, g, b, a };
        }
        let fits = cursor.width > 0 && cursor.height > 0;
        self.window.set_pointer_known(fits);
        self.window.set_pointer(if fits { Image::from_rgba8(buffer) } else { Image::default() });
    }

    /// Draws the guest's pointer where it is: under the host's own where the guest takes positions, where the guest says otherwise.
    pub(super) fn place_pointer(&self) {
        let mut inner = self.inner.borrow_mut();
        let pointer = inner.drawn_pointer();
        if inner.is_direct() {
            inner.direct(|direct| direct.point(pointer));
            self.window.set_pointer_shown(false);
            return;
        }
        let position = inner.pointer_position();
        let placed = inner.placement.zip(inner.canvas).zip(inner.cursor.as_ref()).zip(position);
        self.window.set_pointer_shown(placed.is_some() && inner.pointer_visible);
        let Some((((placement, canvas), cursor), (x, y))) = placed else { return };
        let (_, _, wide, high) = placement.picture();
        let Some(size) = inner.shown.surface().map(|surface| surface.size()) else { return };
        let scale = |length: u32, shown: u32, guest: u32| f64::from(length) * f64::from(shown) / f64::from(guest) / canvas.ratio();
        let across = |length: u32| scale(length, wide, size.width);
        let down = |length: u32| scale(length, high, size.height);
        let (middle_x, middle_y) = placement.middle_of(x, y);
        let (left, top) = canvas.logical(middle_x, middle_y);
        let (left, top) = (left - f64::from(self.window.get_stage_x()), top - f64::from(self.window.get_stage_y()));
        self.window.set_pointer_x((left - across(cursor.hot_x)) as f32);
        self.window.set_pointer_y((top - down(cursor.hot_y)) as f32);
        self.window.set_pointer_width(across(cursor.width) as f32);
        self.window.set_pointer_height(down(cursor.height) as f32);
    }

    /// The stage has another size, or is elsewhere.
    pub(super) fn stage_changed(self: &Rc<Self>) {
        self.place();
        self.resize_guest();
    }

    /// Puts the picture where it belongs.
    pub(super) fn place(&self) {
        let window = &self.window;
        let ratio = f64::from(window.window().scale_factor());
        let [x, y, width, height] =
            [window.get_stage_x(), window.get_stage_y(), window.get_stage_width(), window.get_stage_height()].map(f64::from);
        let canvas = Canvas::new(x, y, width, height, ratio);
        let mut inner = self.inner.borrow_mut();
        inner.canvas = Some(canvas);
        inner.resizer.canvas(canvas.width(), canvas.height(), Instant::now());
        inner.placement = inner.shown.surface().map(|surface| Placement::new(surface.size(), canvas, inner.scaling, inner.scrolled));
        let Some(placement) = inner.placement else { return };
        let (left, top, wide, high) = placement.picture();
        let (x, y) = canvas.logical(left as f64, top as f64);
        window.set_frame_x((x - f64::from(window.get_stage_x())) as f32);
        window.set_frame_y((y - f64::from(window.get_stage_y())) as f32);
        window.set_frame_width((f64::from(wide) / ratio) as f32);
        window.set_frame_height((f64::from(high) / ratio) as f32);
        window.set_frame_exact(placement.is_exact());
        drop(inner);
        self.choose_painter();
        self.place_pointer();
    }

    /// Asks the guest for another size, now or when the window has come to rest.
    fn resize_guest(self: &Rc<Self>) {
        let (size, due, control) = {
            let mut inner = self.inner.borrow_mut();
            let Some(control) = inner.control.clone() else { return };
            (inner.resizer.poll(Instant::now()), inner.resizer.due(), control)
        };
        if let Some((size, windows)) = size.zip(self.windows.upgrade()) {
            let screen = Rc::downgrade(self);
            let asking = async move { control.request_size(SizeRequest::pixels(size)).await };
            windows.engine().ask(asking, move |answer| {
                if let (Err(error), Some(screen)) = (answer, screen.upgrade()) {
                    tracing::debug!(%error, "the guest keeps its size");
                    screen.inner.borrow_mut().resizer.refused();
                    screen.refresh();
                }
            });
        }
        if let Some(due) = due {
            let screen = Rc::downgrade(self);
            let wait = due.saturating_duration_since(Instant::now());
            self.resize_timer.start(slint::TimerMode::SingleShot, wait, move || {
                if let Some(screen) = screen.upgrade() {
                    screen.resize_guest();
                }
            });
        }
    }

    /// Says what the machine shares.
    pub(super) fn look_at_share(self: &Rc<Self>) {
        let Some(windows) = self.windows.upgrade() else { return };
        let path = self.path.clone();
        let looking = windows.engine().spawn_blocking(move |library| library.machine_at(&path).and_then(|it| library.shared_folder(&it)));
        let screen = Rc::downgrade(self);
        windows.engine().ask(looking, move |share| {
            if let (Ok(Ok(share)), Some(screen)) = (share, screen.upgrade()) {
                screen.inner.borrow_mut().share = Some(share);
                screen.refresh();
            }
        });
    }

    /// Says what is in the drives.
    pub(super) fn look_at_drives(self: &Rc<Self>) {
        let Some(windows) = self.windows.upgrade() else { return };
        let (library, path) = (windows.engine().library().clone(), self.path.clone());
        let looking = async move { library.status(&library.machine_at(&path)?).await };
        let screen = Rc::downgrade(self);
        windows.engine().ask(looking, move |status| {
            if let (Ok(status), Some(screen)) = (status, screen.upgrade()) {
                screen.inner.borrow_mut().standing.status = Some(Box::new(status));
                screen.refresh();
            }
        });
    }

    fn say_how_to_release(&self) {
        let inner = self.inner.borrow();
        let caps = inner.seat.policy().release.caps();
        let said = captured(&["\u{1}".to_owned()]).to_string();
        let (before, after) = said.split_once('\u{1}').unwrap_or((&said, ""));
        self.window.set_pill_before(before.trim().into());
        self.window.set_pill_after(after.trim().into());
        self.window.set_pill_caps(list(caps.into_iter().map(SharedString::from).collect()));
    }

    /// Brings toolbar, menus and what is said over the picture up to date.
    pub(super) fn bring_up_to_date(&self) {
        let inner = self.inner.borrow();
        let (window, orders) = (&self.window, &mut *self.orders.borrow_mut());
        let standing = &inner.standing;
        let status = standing.status.as_deref();
        let subject = standing.subject();
        let can = |command: Command| command.available(Some(&subject)).is_ok();
        let live = standing.state.is_live();
        let several = inner.heads.len() > 1;
        let name =
            if several { format!("{} · {}", standing.name, words::DISPLAY.with([&(self.head + 1)])) } else { standing.name.clone() };
        window.set_name(name.into());
        window.set_is_paused(can(Command::Resume));
        window.set_can_pause(can(Command::Pause) || can(Command::Resume));
        window.set_can_restart(can(Command::Restart));
        window.set_can_type(live && inner.control.is_some());
        window.set_can_photograph(live && can(Command::Screenshot));
        window.set_can_power(!standing.gone);
        window.set_captured(inner.seat.is_captured());
        window.set_power_menu(list(orders.power(&subject)));
        window.set_key_menu(list(orders.keys(inner.seat.is_captured(), &inner.chords)));
        window.set_drive_menu(list(status.map(|status| orders.drives(&status.drives, &subject)).unwrap_or_default()));
        let share = inner.share.as_ref().map(|share| {
            let folder = share.folder.as_ref().map(|folder| folder.display().to_string());
            orders.share(folder.as_deref(), !live || share.mode == bundle::qemu::DirectoryShareMode::WebDav)
        });
        let exchange = self.session.status();
        let mut shared = share.unwrap_or_default();
        shared.extend(orders.agent(&exchange));
        window.set_share_menu(list(shared));
        window.set_usb_menu(list(orders.usb(&exchange, &self.session.usb())));
        window.set_display_menu(list(orders.display(
            inner.scaling,
            inner.resizer.standing(),
            self.head,
            &inner.heads,
            status.map_or(&[], |status| &status.consoles),
        )));
        let said = inner.said();
        window.set_said(said.is_some());
        window.set_waits(said.is_some() && standing.is_on_its_way());
        let said = Said::new(said.as_ref(), orders);
        window.set_said_title(said.title);
        window.set_said_help(said.help);
        window.set_said_log(said.log);
        window.set_said_buttons(said.buttons);
    }
}

impl Inner {
    /// Where the guest's pointer is: under the host's own where the guest takes positions, where the guest says otherwise.
    fn pointer_position(&self) -> Option<(u32, u32)> {
        if self.seat.takes_positions() { self.seat.position() } else { self.pointer }
    }

    /// The pointer as it is drawn over a picture that the toolkit does not draw.
    fn drawn_pointer(&self) -> Option<Drawn> {
        let cursor = self.cursor.clone().filter(|cursor| self.pointer_visible && cursor.width > 0 && cursor.height > 0)?;
        let (x, y) = self.pointer_position()?;
        let corner = |at: u32, hot: u32| i64::from(at) - i64::from(hot);
        Some(Drawn { x: corner(x, cursor.hot_x), y: corner(y, cursor.hot_y), cursor })
    }

    /// Where the picture is in the window, in physical pixels, where each of the guest's is one of them and all are in sight.
    fn exact_place(&self) -> Option<(i16, i16)> {
        let (placement, canvas, size) = (self.placement?, self.canvas?, self.shown.surface()?.size());
        let (left, top, width, height) = placement.picture();
        let (x, y) = (canvas.left() + left, canvas.top() + top);
        let exact = (width, height) == (size.width, size.height) && !placement.is_scrolled();
        exact.then_some((i16::try_from(x).ok()?, i16::try_from(y).ok()?))
    }

    /// Whether the picture is drawn without the toolkit.
    fn is_direct(&self) -> bool {
        self.direct.as_ref().and_then(Option::as_ref).is_some_and(Direct::is_shown)
    }

    /// Does something there; where that fails, the toolkit draws from now on.
    fn direct(&mut self, work: impl FnOnce(&mut Direct) -> Result<(), Refused>) {
        let Some(Some(direct)) = &mut self.direct else { return };
        if let Err(error) = work(direct) {
            tracing::warn!(%error, "pictures go through the toolkit from now on");
            self.direct = Some(None);
        }
    }

    /// The display is connected like this.
    fn connected(&mut self, connection: Connection) {
        self.standing.connection = connection;
        if connection != Connection::Open {
            (self.control, self.input) = (None, None);
        }
    }

    /// What is said over the picture.
    fn said(&self) -> Option<Overlay> {
        let standing = &self.standing;
        standing.trouble().or_else(|| overlay(standing.state, standing.connection, &self.shown, standing.ending.as_ref()))
    }
}

/// What a person has decided about capture.
pub(super) fn policy(preferences: &Preferences) -> Policy {
    Policy {
        // The preferences hold only what can be pressed.
        release: ReleaseChord::parse(&preferences.word(RELEASE)).unwrap_or_default(),
        on_full_screen: preferences.is_on(preferences::CAPTURE_FULL_SCREEN),
        on_focus: preferences.is_on(preferences::CAPTURE_FOCUS),
        first_click: preferences.is_on(preferences::FIRST_CLICK),
    }
}

fn scaling(preferences: &Preferences) -> Scaling {
    match preferences.word(SCALING).as_str() {
        "integer" => Scaling::Integer,
        "actual" => Scaling::Actual,
        _ => Scaling::Fit,
    }
}
