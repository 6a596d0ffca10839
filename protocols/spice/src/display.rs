//! Displays where nothing better shows them: pictures, pointers, keyboard and mouse. A channel of the server is a head here.

use crate::{Error, Result, ffi};
use machine::display::{Button, Cursor, Format, HeadInfo, Input, Leds, MAX_SIDE, Pointer, Rect, Size, Source, Surface};
use spice::prelude::*;
use spice_client_glib as spice;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Most heads that are shown.
const MAX_HEADS: i32 = 16;
/// Viewers of one head.
const MAX_VIEWERS: usize = 16;
/// Longest side of a pointer's picture.
const MAX_CURSOR: i32 = 512;

#[derive(Default)]
struct Head {
    display: Option<spice::DisplayChannel>,
    viewers: Vec<Source>,
}

/// All heads, with what a person does to them.
#[derive(Default)]
pub struct Displays {
    heads: RefCell<BTreeMap<i32, Head>>,
    inputs: RefCell<Option<spice::InputsChannel>>,
    /// Buttons that are down, as the protocol counts them.
    buttons: Cell<i32>,
}

impl Displays {
    /// Whether the channel is one of ours.
    pub fn watch(self: Rc<Self>, channel: &spice::Channel) -> bool {
        if let Some(inputs) = channel.downcast_ref::<spice::InputsChannel>() {
            self.inputs.replace(Some(inputs.clone()));
            return true;
        }
        let number = channel.channel_id();
        if !(0..MAX_HEADS).contains(&number) {
            return false;
        }
        if let Some(cursor) = channel.downcast_ref::<spice::CursorChannel>() {
            self.watch_cursor(cursor, number);
            return true;
        }
        let Some(display) = channel.downcast_ref::<spice::DisplayChannel>() else { return false };
        let ours = Rc::downgrade(&self);
        display.connect_display_primary_create(move |display| {
            if let Some(displays) = ours.upgrade() {
                displays.each(number, |source| show(display, source));
            }
        });
        let ours = Rc::downgrade(&self);
        display.connect_display_primary_destroy(move |_| {
            if let Some(displays) = ours.upgrade() {
                displays.each(number, Source::off);
            }
        });
        let ours = Rc::downgrade(&self);
        display.connect_display_invalidate(move |display, x, y, width, height| {
            if let Some(displays) = ours.upgrade() {
                displays.each(number, |source| update(display, source, [x, y, width, height]));
            }
        });
        self.heads.borrow_mut().entry(number).or_default().display = Some(display.clone());
        true
    }

    fn watch_cursor(self: &Rc<Self>, cursor: &spice::CursorChannel, number: i32) {
        let place = Rc::new(Cell::new(Pointer { x: 0, y: 0, visible: true }));
        let tell = move |ours: &std::rc::Weak<Self>, pointer: Pointer| {
            if let Some(displays) = ours.upgrade() {
                displays.each(number, |source| source.pointer(pointer));
            }
        };
        let (ours, at) = (Rc::downgrade(self), place.clone());
        cursor.connect_cursor_move(move |_, x, y| {
            at.set(Pointer { x, y, visible: true });
            tell(&ours, at.get());
        });
        let (ours, at) = (Rc::downgrade(self), place);
        cursor.connect_cursor_hide(move |_| {
            at.set(Pointer { visible: false, ..at.get() });
            tell(&ours, at.get());
        });
        let ours = Rc::downgrade(self);
        cursor.connect_cursor_notify(move |channel| {
            let shape = channel.cursor().and_then(|shape| picture(&shape));
            if let (Some(displays), Some(shape)) = (ours.upgrade(), shape) {
                displays.each(number, |source| source.cursor(shape.clone()));
            }
        });
    }

    fn each(&self, number: i32, draw: impl Fn(&Source)) {
        if let Some(head) = self.heads.borrow_mut().get_mut(&number) {
            head.viewers.retain(Source::is_watched);
            head.viewers.iter().for_each(draw);
        }
    }

    pub fn heads(&self) -> Vec<HeadInfo> {
        let heads = self.heads.borrow();
        heads.iter().filter_map(|(number, head)| Some(info(*number, head.display.as_ref()?))).collect()
    }

    /// Shows a head to another viewer.
    pub fn show(&self, wanted: usize, source: Source) -> Result<HeadInfo> {
        let mut heads = self.heads.borrow_mut();
        let none = || Error::NotFound { what: "display", name: wanted.to_string() };
        let number = i32::try_from(wanted).map_err(|_| none())?;
        let head = heads.get_mut(&number).ok_or_else(none)?;
        let display = head.display.clone().ok_or_else(none)?;
        head.viewers.retain(Source::is_watched);
        if head.viewers.len() >= MAX_VIEWERS {
            return Err(Error::Refused { what: "watch the display", said: format!("{MAX_VIEWERS} others do") });
        }
        show(&display, &source);
        head.viewers.push(source);
        Ok(info(number, &display))
    }

    pub fn leds(&self) -> Leds {
        // spice-protocol, `SPICE_KEYBOARD_MODIFIER_FLAGS`.
        let lit = self.inputs.borrow().as_ref().map_or(0, |inputs| inputs.key_modifiers());
        Leds { scroll: lit & 1 != 0, num: lit & 2 != 0, caps: lit & 4 != 0 }
    }

    pub fn input(&self, head: usize, input: Input, takes_positions: bool) -> Result<()> {
        let inputs = self.inputs.borrow();
        let unsupported = |why: &str| Error::Unsupported { what: "That input", why: why.into() };
        let inputs = inputs.as_ref().ok_or_else(|| unsupported("the server has no input channel"))?;
        match input {
            Input::Key { key, down } => {
                let code = scan_code(key.qnum());
                if down { inputs.key_press(code) } else { inputs.key_release(code) }
            }
            Input::Motion { x, y } => inputs.motion(x, y, self.buttons.get()),
            Input::Position { .. } if !takes_positions => return Err(unsupported("the guest's pointer only moves")),
            Input::Position { x, y } => {
                let place = |value: u32| i32::try_from(value.min(MAX_SIDE)).unwrap_or(0);
                inputs.position(place(x), place(y), i32::try_from(head).unwrap_or(0), self.buttons.get());
            }
            Input::Button { button, down } => {
                let (number, mask) = of_button(button);
                let held = if down { self.buttons.get() | mask } else { self.buttons.get() & !mask };
                self.buttons.set(held);
                if down { inputs.button_press(number, held) } else { inputs.button_release(number, held) }
            }
            Input::Touch { .. } => return Err(unsupported("the protocol has no touch screen")),
        }
        Ok(())
    }
}

fn info(number: i32, display: &spice::DisplayChannel) -> HeadInfo {
    let size = ffi::primary(display, |primary| Size::new(primary.width, primary.height)).flatten();
    HeadInfo { index: usize::try_from(number).unwrap_or(0), label: format!("Display {}", number + 1), head: 0, device: String::new(), size }
}

/// A number of QEMU's as the library wants it: keys that follow 0xE0 have bit 8 set.
fn scan_code(qnum: u8) -> u32 {
    let code = u32::from(qnum & 0x7f);
    if qnum & 0x80 == 0 { code } else { code | 0x100 }
}

fn of_button(button: Button) -> (i32, i32) {
    let (button, mask) = match button {
        Button::Left => (spice::MouseButton::Left, spice::MouseButtonMask::LEFT),
        Button::Middle => (spice::MouseButton::Middle, spice::MouseButtonMask::MIDDLE),
        Button::Right => (spice::MouseButton::Right, spice::MouseButtonMask::RIGHT),
        Button::WheelUp => (spice::MouseButton::Up, spice::MouseButtonMask::UP),
        Button::WheelDown => (spice::MouseButton::Down, spice::MouseButtonMask::DOWN),
        Button::Side => (spice::MouseButton::Side, spice::MouseButtonMask::SIDE),
        Button::Extra => (spice::MouseButton::Extra, spice::MouseButtonMask::EXTRA),
    };
    (button as i32, mask.bits())
}

fn format(primary: &ffi::Primary<'_>) -> Option<Format> {
    match primary.format.ok()? {
        spice::SurfaceFormat::_32XRGB | spice::SurfaceFormat::_32ARGB => Some(Format::Bgrx),
        spice::SurfaceFormat::_16_565 => Some(Format::Rgb565),
        spice::SurfaceFormat::_16_555 => Some(Format::Rgb555),
        _ => None,
    }
}

/// All of the picture, in memory of the viewer's own.
fn show(display: &spice::DisplayChannel, source: &Source) {
    let shown = ffi::primary(display, |primary| {
        let size = Size::new(primary.width, primary.height).ok_or("the server shows a picture of an impossible size")?;
        let format = format(primary).ok_or("the server shows pixels of an unknown format")?;
        Surface::bytes(primary.pixels.to_vec(), size, primary.stride, format).map_err(|_| "the server shows half a picture")
    });
    match shown {
        Some(Ok(surface)) => source.show(surface),
        Some(Err(why)) => source.unreadable(why),
        None => source.off(),
    }
}

/// Part of the picture has changed.
fn update(display: &spice::DisplayChannel, source: &Source, changed: [i32; 4]) {
    let Some(surface) = source.surface() else { return };
    let fits = ffi::primary(display, |primary| {
        let size =
            Size::new(primary.width, primary.height).filter(|size| *size == surface.size() && format(primary) == Some(surface.format()))?;
        let [x, y, width, height] = changed.map(i64::from);
        let Some(rect) = Rect::within(size, x, y, width, height) else { return Some(()) };
        let start = rect.y as usize * primary.stride as usize + rect.x as usize * surface.format().bytes();
        let pixels = primary.pixels.get(start..)?;
        let part = Size::new(rect.width, rect.height)?;
        surface.write(rect.x.into(), rect.y.into(), part, pixels, primary.stride).ok()?;
        source.damage(rect.x.into(), rect.y.into(), rect.width.into(), rect.height.into());
        Some(())
    });
    // Another picture than the one that was shown.
    if fits.flatten().is_none() {
        show(display, source);
    }
}

fn picture(shape: &spice::CursorShape) -> Option<Cursor> {
    let known = matches!(shape.cursor_type(), Ok(spice::CursorType::Alpha | spice::CursorType::Color32));
    let sides = [shape.width(), shape.height()];
    if !known || sides.iter().any(|side| !(1..=MAX_CURSOR).contains(side)) {
        return None;
    }
    let bgra = ffi::cursor_pixels(shape)?;
    let number = |value: i32| u32::try_from(value).unwrap_or(0);
    let (width, height) = (number(sides[0]), number(sides[1]));
    let (hot_x, hot_y) = (number(shape.hot_x()).min(width - 1), number(shape.hot_y()).min(height - 1));
    Some(Cursor { width, height, hot_x, hot_y, bgra })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_keys_have_bit_eight() {
        assert_eq!(scan_code(0x1e), 0x1e);
        assert_eq!(scan_code(0xc8), 0x148);
    }

    #[test]
    fn buttons_have_a_bit_each() {
        let all = [Button::Left, Button::Middle, Button::Right, Button::WheelUp, Button::WheelDown, Button::Side, Button::Extra];
        assert_eq!(all.map(|button| of_button(button).1).iter().fold(0, |all, bit| all | bit), 0x7f);
    }
}
