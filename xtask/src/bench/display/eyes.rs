//! What a window shows, seen as any client of the X server can: damage is told, and then the middle of the window is looked at.
//!
//! The guest gives the middle of its screen another colour with each repaint, so the number of repaints that were shown is the number of
//! colours that followed each other. Every viewer is counted alike, however it draws.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::damage::{ConnectionExt as _, Damage, ReportLevel};
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ConfigureWindowAux, ConnectionExt as _, EventMask, ImageFormat, InputFocus, KEY_PRESS_EVENT,
    KEY_RELEASE_EVENT, StackMode, Window,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

/// How long a window may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// The guest's middle, in pixels, as `guest_paint` has it.
const MIDDLE: usize = 256;

/// A connection to an X server.
pub struct Eyes {
    x: RustConnection,
    root: Window,
}

/// A window that is looked at.
pub struct Seen<'e> {
    eyes: &'e Eyes,
    window: Window,
    damage: Damage,
}

impl Eyes {
    /// Connects to the X server of this name.
    pub fn open(display: &str) -> Result<Self> {
        let (x, screen) = x11rb::connect(Some(display)).context("Could not reach the X server")?;
        let root = x.setup().roots.get(screen).context("The X server has no screen")?.root;
        x.damage_query_version(1, 1)?.reply().context("The X server does not tell of damage")?;
        Ok(Self { x, root })
    }

    /// Looks at a window.
    pub fn look(&self, window: Window) -> Result<Seen<'_>> {
        let damage = self.x.generate_id()?;
        self.x.damage_create(damage, window, ReportLevel::NON_EMPTY)?.check().context("The window is not there")?;
        Ok(Seen { eyes: self, window, damage })
    }

    /// Starts a program and waits until a window of it shows something: how long that took.
    pub fn first_frame(&self, command: &mut Command) -> Result<(Duration, Child, Window)> {
        let attributes = ChangeWindowAttributesAux::new().event_mask(EventMask::SUBSTRUCTURE_NOTIFY);
        self.x.change_window_attributes(self.root, &attributes)?.check()?;
        let began = Instant::now();
        let child = command.spawn().context("Could not start the program")?;
        let mut seen: Option<Seen<'_>> = None;
        loop {
            let event = self.event(began + PATIENCE)?.context("The program has shown no window")?;
            match event {
                Event::MapNotify(map) if !map.override_redirect => {
                    let geometry = self.x.get_geometry(map.window)?.reply()?;
                    if geometry.width > 200 && seen.is_none() {
                        seen = Some(self.look(map.window)?);
                    }
                }
                Event::DamageNotify(_) => {
                    let Some(seen) = &seen else { continue };
                    seen.listen()?;
                    if seen.is_drawn()? {
                        let took = began.elapsed();
                        let nothing = ChangeWindowAttributesAux::new().event_mask(EventMask::NO_EVENT);
                        self.x.change_window_attributes(self.root, &nothing)?.check()?;
                        return Ok((took, child, seen.window));
                    }
                }
                _ => {}
            }
        }
    }

    /// The next event, unless none has come until then.
    fn event(&self, until: Instant) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.x.poll_for_event()? {
                return Ok(Some(event));
            }
            self.x.flush()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let wait = Timespec::try_from(left).context("Too long a wait")?;
            poll(&mut [PollFd::new(self.x.stream(), PollFlags::IN)], Some(&wait)).context("Could not wait for the X server")?;
        }
    }
}

impl Seen<'_> {
    /// Puts it before all others, gives it the keyboard, and the pointer into its middle.
    pub fn focus(&self) -> Result<()> {
        let x = &self.eyes.x;
        x.configure_window(self.window, &ConfigureWindowAux::new().stack_mode(StackMode::ABOVE))?;
        x.set_input_focus(InputFocus::PARENT, self.window, x11rb::CURRENT_TIME)?;
        let size = x.get_geometry(self.window)?.reply()?;
        x.warp_pointer(x11rb::NONE, self.window, 0, 0, 0, 0, (size.width / 2) as i16, (size.height / 2) as i16)?.check()?;
        Ok(())
    }

    /// Makes it so large, at the screen's corner.
    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        let size = ConfigureWindowAux::new().x(0).y(0).width(width).height(height);
        self.eyes.x.configure_window(self.window, &size)?.check()?;
        Ok(())
    }

    /// Wants to hear of the next damage.
    fn listen(&self) -> Result<()> {
        self.eyes.x.damage_subtract(self.damage, x11rb::NONE, x11rb::NONE)?;
        Ok(())
    }

    /// The colour of the middle.
    fn middle(&self) -> Result<u32> {
        let x = &self.eyes.x;
        let size = x.get_geometry(self.window)?.reply()?;
        let (column, row) = ((size.width / 2) as i16, (size.height / 2) as i16);
        let pixel = x
            .get_image(ImageFormat::Z_PIXMAP, self.window, column, row, 1, 1, u32::MAX)?
            .reply()
            .context("The window cannot be looked at")?;
        Ok(pixel.data.iter().take(3).fold(0, |color, part| color << 8 | u32::from(*part)))
    }

    /// How many pixels of the row through the middle have the middle's colour: whether the picture is as large as the guest's.
    pub fn middle_width(&self) -> Result<usize> {
        let x = &self.eyes.x;
        let size = x.get_geometry(self.window)?.reply()?;
        let row = x.get_image(ImageFormat::Z_PIXMAP, self.window, 0, (size.height / 2) as i16, size.width, 1, u32::MAX)?.reply()?.data;
        let pixels: Vec<&[u8]> = row.chunks_exact(4).map(|pixel| &pixel[..3]).collect();
        let Some(color) = pixels.get(pixels.len() / 2) else { return Ok(0) };
        let (left, right) = pixels.split_at(pixels.len() / 2);
        let same = |pixel: &&&[u8]| **pixel == *color;
        Ok(left.iter().rev().take_while(same).count() + right.iter().take_while(same).count())
    }

    /// Whether there is more than one colour in it.
    fn is_drawn(&self) -> Result<bool> {
        let x = &self.eyes.x;
        let size = x.get_geometry(self.window)?.reply()?;
        let pixels = x.get_image(ImageFormat::Z_PIXMAP, self.window, 0, 0, size.width, size.height, u32::MAX)?.reply()?.data;
        let mut colors = pixels.chunks_exact(4).map(|pixel| &pixel[..3]);
        let first = colors.next();
        Ok(colors.any(|color| Some(color) != first))
    }

    /// Waits until the middle has changed so often; how long after each other.
    pub fn changes(&self, wanted: u32) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let (mut color, mut changed) = (self.middle()?, 0);
        while changed < wanted {
            let now = self.next_color(until)?;
            changed += u32::from(now != color);
            color = now;
        }
        Ok(())
    }

    /// How often the middle changes within a while.
    pub fn count(&self, during: Duration) -> Result<u32> {
        let until = Instant::now() + during;
        let (mut color, mut changed) = (self.middle()?, 0);
        self.listen()?;
        while let Some(event) = self.eyes.event(until)? {
            if matches!(event, Event::DamageNotify(_)) {
                self.listen()?;
                let now = self.middle()?;
                changed += u32::from(now != color);
                color = now;
            }
        }
        Ok(changed)
    }

    /// Waits until the middle changes or the time is over; its colour then.
    fn next_color(&self, until: Instant) -> Result<u32> {
        self.listen()?;
        let before = self.middle()?;
        loop {
            match self.eyes.event(until)? {
                Some(Event::DamageNotify(_)) => {
                    self.listen()?;
                    let now = self.middle()?;
                    if now != before {
                        return Ok(now);
                    }
                }
                Some(_) => {}
                None => bail!("The window shows nothing new"),
            }
        }
    }

    /// Presses a key and waits until the middle changes: how long that took. The key is X's number.
    pub fn press_until_change(&self, key: u8) -> Result<Duration> {
        let x = &self.eyes.x;
        // What was on its way has come.
        while self.eyes.event(Instant::now())?.is_some() {}
        let before = self.middle()?;
        self.listen()?;
        x.xtest_fake_input(KEY_PRESS_EVENT, key, x11rb::CURRENT_TIME, self.eyes.root, 0, 0, 0)?;
        x.flush()?;
        let began = Instant::now();
        let took = loop {
            match self.eyes.event(began + PATIENCE)? {
                Some(Event::DamageNotify(_)) => {
                    self.listen()?;
                    if self.middle()? != before {
                        break began.elapsed();
                    }
                }
                Some(_) => {}
                None => bail!("The key does not reach the guest, or what it changes not the window"),
            }
        };
        x.xtest_fake_input(KEY_RELEASE_EVENT, key, x11rb::CURRENT_TIME, self.eyes.root, 0, 0, 0)?.check()?;
        Ok(took)
    }

    /// Presses a key and waits until anything in the window changes: how long that took.
    pub fn press_until_drawn(&self, key: u8) -> Result<Duration> {
        let x = &self.eyes.x;
        self.listen()?;
        while self.eyes.event(Instant::now())?.is_some() {}
        self.listen()?;
        let began = Instant::now();
        x.xtest_fake_input(KEY_PRESS_EVENT, key, x11rb::CURRENT_TIME, self.eyes.root, 0, 0, 0)?;
        x.xtest_fake_input(KEY_RELEASE_EVENT, key, x11rb::CURRENT_TIME, self.eyes.root, 0, 0, 0)?;
        loop {
            match self.eyes.event(began + PATIENCE)? {
                Some(Event::DamageNotify(_)) => return Ok(began.elapsed()),
                Some(_) => {}
                None => bail!("The window does not heed the key"),
            }
        }
    }

    /// Waits until nothing has been drawn for a while; when the last was.
    pub fn rest(&self, quiet: Duration) -> Result<Instant> {
        let began = Instant::now();
        let mut last = began;
        self.listen()?;
        while let Some(event) = self.eyes.event(last + quiet)? {
            if matches!(event, Event::DamageNotify(_)) {
                self.listen()?;
                last = Instant::now();
            }
            if began.elapsed() > PATIENCE {
                bail!("The window does not come to rest");
            }
        }
        Ok(last)
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        // The window may be gone.
        let _ = self.eyes.x.damage_destroy(self.damage);
        let _ = self.eyes.x.flush();
    }
}

/// As wide as the guest's own, but for a pixel that smoothing has touched.
pub fn is_one_to_one(width: usize) -> bool {
    width.abs_diff(MIDDLE) <= 2
}
