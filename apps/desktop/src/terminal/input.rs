//! What a person does in a terminal: keys, the mouse, the clipboard.

use std::time::{Duration, Instant};

use terminal::{At, Button, Grain, Held, Key, Pointed, Turned};
use view_model::Platform;

use super::screen::TerminalScreen;
use crate::display::menus::Deed;

/// How long two clicks are one double click.
const DOUBLE: Duration = Duration::from_millis(400);
/// Logical pixels that Slint makes of a wheel's notch, and the rows that are scrolled by it.
const NOTCH: f64 = 60.0;
const ROWS: f64 = 3.0;

/// What is held: Ctrl, Alt, Shift; with keys also the Windows key.
type Modifiers = (bool, bool, bool);

impl TerminalScreen {
    /// A key; whether it was taken.
    pub(super) fn key(&self, text: &str, (ctrl, alt, shift, meta): (bool, bool, bool, bool)) -> bool {
        // On a Mac, Slint has ⌘ where others have Ctrl.
        let (ctrl, command) = match Platform::of_this_computer() {
            Platform::Mac => (meta, ctrl),
            Platform::Linux => (ctrl, ctrl && shift),
        };
        let held = Held { shift, alt, ctrl };
        let Some(key) = key_of(text) else { return false };
        if let Some(deed) = shortcut(key, held, command) {
            self.carry_out_here(deed);
            return true;
        }
        match key {
            // The only way out for who has no mouse.
            Key::Tab if ctrl => {
                self.window.invoke_leave_keys();
                return true;
            }
            Key::PageUp | Key::PageDown | Key::Home | Key::End if shift && !ctrl && !alt => {
                self.scroll_by(key);
                return true;
            }
            _ => {}
        }
        if command || (meta && Platform::of_this_computer() == Platform::Linux) {
            // Keys of the desktop's.
            return false;
        }
        if self.is_open() {
            let bytes = self.terminal.lock().key(key, held);
            self.send(bytes);
        }
        true
    }

    fn scroll_by(&self, key: Key) {
        {
            let mut terminal = self.terminal.lock();
            let page = i32::try_from(terminal.size().rows.saturating_sub(1)).unwrap_or(1).max(1);
            match key {
                Key::PageUp => terminal.scroll(page),
                Key::PageDown => terminal.scroll(-page),
                Key::Home => terminal.scroll_to(0),
                _ => terminal.scroll_to_end(),
            }
        }
        self.draw();
    }

    /// Sends something that was typed; whoever types wants to see where.
    pub(super) fn send(&self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let changed = {
            let mut terminal = self.terminal.lock();
            let changed = terminal.extent().below > 0 || terminal.has_selection();
            terminal.scroll_to_end();
            terminal.select_none();
            changed
        };
        // Nobody takes it where the port has gone.
        let _ = self.typed.send(bytes);
        if changed {
            self.draw();
        }
    }

    /// The slider was moved, to this share of all rows.
    pub(super) fn scrolled_to(&self, from: f32) {
        {
            let mut terminal = self.terminal.lock();
            let extent = terminal.extent();
            let all = extent.above + extent.seen + extent.below;
            terminal.scroll_to((f64::from(from) * all as f64).round().max(0.0) as usize);
        }
        self.draw();
    }

    /// The wheel was turned over a point of the stage.
    pub(super) fn wheel(&self, by: f32, place: (f32, f32), (ctrl, alt, shift): Modifiers) {
        if ctrl {
            return self.zoom(if by > 0.0 { 1 } else { -1 });
        }
        let at = self.at(place);
        let turned = self.terminal.lock().turn(f64::from(by) / NOTCH * ROWS, at, Held { shift, alt, ctrl });
        match turned {
            Turned::Scrolled => self.draw(),
            Turned::Send(bytes) if self.is_open() => drop(self.typed.send(bytes)),
            Turned::Send(_) => {}
        }
    }

    /// A button went down (0) or up (1), or the pointer moved (2).
    pub(super) fn pointed(&self, what: i32, button: i32, place: (f32, f32), (ctrl, alt, shift): Modifiers) {
        let (at, held) = (self.at(place), Held { shift, alt, ctrl });
        let button = match button {
            0 => Some(Button::Left),
            1 => Some(Button::Middle),
            2 => Some(Button::Right),
            _ => None,
        };
        match (what, button) {
            (0, Some(button)) => self.pressed(button, at, held),
            (1, Some(button)) => self.released(button, at, held),
            (2, _) => self.moved(at, place, held),
            _ => {}
        }
    }

    fn pressed(&self, button: Button, at: At, held: Held) {
        let reported = self.terminal.lock().point(Pointed::Down(button), at, held);
        {
            let mut inner = self.inner.borrow_mut();
            inner.held = Some(button);
            inner.told_at = Some(at);
            inner.selecting = reported.is_none() && button == Button::Left;
        }
        match (reported, button) {
            (Some(bytes), _) => self.tell(bytes),
            (None, Button::Left) => {
                let clicks = self.clicks(at);
                let grain = match clicks {
                    1 if held.ctrl || held.alt => Grain::Block,
                    1 => Grain::Letter,
                    2 => Grain::Word,
                    _ => Grain::Line,
                };
                {
                    let mut terminal = self.terminal.lock();
                    if held.shift && clicks == 1 && terminal.has_selection() {
                        terminal.select_to(at);
                    } else {
                        terminal.select(grain, at);
                    }
                }
                self.draw();
            }
            (None, Button::Middle) => self.carry_out_here(Deed::Paste),
            (None, Button::Right) => {}
        }
    }

    fn released(&self, button: Button, at: At, held: Held) {
        let (selecting, was_held) = {
            let mut inner = self.inner.borrow_mut();
            (std::mem::take(&mut inner.selecting), inner.held.take())
        };
        if !selecting
            && was_held == Some(button)
            && let Some(bytes) = self.terminal.lock().point(Pointed::Up(button), at, held)
        {
            self.tell(bytes);
        }
    }

    fn moved(&self, at: At, (_, y): (f32, f32), held: Held) {
        let (selecting, button, is_new) = {
            let mut inner = self.inner.borrow_mut();
            let cell = |at: At| (at.row, at.column);
            let is_new = inner.told_at.map(cell) != Some(cell(at));
            inner.told_at = Some(at);
            (inner.selecting, inner.held, is_new)
        };
        if selecting {
            {
                let mut terminal = self.terminal.lock();
                // Beyond the edges there is more.
                if y < 0.0 {
                    terminal.scroll(1);
                } else if y > self.window.get_stage_height() {
                    terminal.scroll(-1);
                }
                terminal.select_to(at);
            }
            self.draw();
        } else if let Some(button) = button.filter(|_| is_new)
            && let Some(bytes) = self.terminal.lock().point(Pointed::Drag(button), at, held)
        {
            self.tell(bytes);
        }
    }

    /// Sends what the mouse did, which types nothing.
    fn tell(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() && self.is_open() {
            let _ = self.typed.send(bytes);
        }
    }

    /// How many clicks in a row this one is.
    fn clicks(&self, at: At) -> u32 {
        let mut inner = self.inner.borrow_mut();
        let now = Instant::now();
        let count = match inner.clicked {
            Some((then, place, count)) if now - then < DOUBLE && (place.row, place.column) == (at.row, at.column) => count % 3 + 1,
            _ => 1,
        };
        inner.clicked = Some((now, at, count));
        count
    }

    /// The cell at a point of the stage, in logical pixels.
    fn at(&self, (x, y): (f32, f32)) -> At {
        let window = &self.window;
        let columns = self.terminal.lock().size().columns.max(1);
        let (wide, high) = (window.get_lines_width() / columns as f32, window.get_line_height());
        let column = ((x - window.get_lines_x()) / wide.max(0.1)).max(0.0);
        let row = ((y - window.get_lines_y()) / high.max(0.1)).max(0.0);
        At { row: row as usize, column: column as usize, right: column.fract() >= 0.5 || column as usize >= columns }
    }
}

/// What a key does here, instead of being the guest's.
fn shortcut(key: Key, held: Held, command: bool) -> Option<Deed> {
    let Key::Char(c) = key else { return None };
    match c.to_ascii_lowercase() {
        'c' if command => Some(Deed::Copy),
        'v' if command => Some(Deed::Paste),
        'a' if command => Some(Deed::SelectAll),
        'k' if command => Some(Deed::Clear),
        '+' | '=' if held.ctrl || command => Some(Deed::Zoom(1)),
        '-' if held.ctrl || command => Some(Deed::Zoom(-1)),
        '0' if held.ctrl || command => Some(Deed::Zoom(0)),
        _ => None,
    }
}

/// The key of what Slint says of it.
fn key_of(text: &str) -> Option<Key> {
    use slint::platform::Key as Named;
    let mut letters = text.chars();
    let c = letters.next()?;
    let named = [
        (Named::Return, Key::Return),
        (Named::Backspace, Key::Backspace),
        (Named::Tab, Key::Tab),
        (Named::Backtab, Key::Tab),
        (Named::Escape, Key::Escape),
        (Named::UpArrow, Key::Up),
        (Named::DownArrow, Key::Down),
        (Named::LeftArrow, Key::Left),
        (Named::RightArrow, Key::Right),
        (Named::Home, Key::Home),
        (Named::End, Key::End),
        (Named::PageUp, Key::PageUp),
        (Named::PageDown, Key::PageDown),
        (Named::Insert, Key::Insert),
        (Named::Delete, Key::Delete),
    ];
    if let Some((_, key)) = named.into_iter().find(|(named, _)| char::from(*named) == c) {
        return Some(key);
    }
    match c {
        // F1 to F12, as Slint has them.
        '\u{F704}'..='\u{F70F}' => u8::try_from(u32::from(c) - 0xF703).ok().map(Key::Function),
        // Other keys with names, and what is held while another is pressed.
        '\u{F700}'..='\u{F8FF}' => None,
        '\r' => Some(Key::Return),
        c if c.is_control() => None,
        c => Some(Key::Char(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slint::SharedString;
    use slint::platform::Key as Named;

    #[test]
    fn what_slint_calls_keys_are_keys() {
        let known = |named: Named| key_of(&SharedString::from(named));
        assert_eq!(known(Named::UpArrow), Some(Key::Up));
        assert_eq!(known(Named::Backspace), Some(Key::Backspace));
        assert_eq!(known(Named::F12), Some(Key::Function(12)));
        assert_eq!(known(Named::Backtab), Some(Key::Tab));
        assert_eq!((known(Named::Shift), known(Named::Control), known(Named::F13)), (None, None, None));
        assert_eq!((key_of("ß"), key_of("")), (Some(Key::Char('ß')), None));
    }

    #[test]
    fn what_the_guest_needs_is_the_guests() {
        let ctrl = Held { ctrl: true, ..Held::default() };
        assert_eq!(shortcut(Key::Char('c'), ctrl, false), None);
        assert_eq!(shortcut(Key::Char('C'), Held { shift: true, ..ctrl }, true), Some(Deed::Copy));
        assert_eq!(shortcut(Key::Char('v'), ctrl, false), None);
        assert_eq!(shortcut(Key::Char('-'), Held::default(), false), None);
    }
}
