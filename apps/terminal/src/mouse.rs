//! The mouse, as the bytes that programs get which ask for it.

use alacritty_terminal::term::TermMode;

use crate::{At, Held};

/// A button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// The left one.
    Left,
    /// The middle one.
    Middle,
    /// The right one.
    Right,
}

/// What was done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointed {
    /// It went down.
    Down(Button),
    /// It went up.
    Up(Button),
    /// The pointer moved while it was down.
    Drag(Button),
}

/// A turn of the wheel by one row.
pub(crate) fn wheel(mode: TermMode, up: bool, at: At, held: Held) -> Vec<u8> {
    report(mode, if up { 64 } else { 65 }, at, held, true)
}

/// What a button did; nothing where the program does not want to know that.
pub(crate) fn button(mode: TermMode, what: Pointed, at: At, held: Held) -> Vec<u8> {
    let (button, down, dragged) = match what {
        Pointed::Down(button) => (button, true, false),
        Pointed::Up(button) => (button, false, false),
        Pointed::Drag(button) => (button, true, true),
    };
    if dragged && !mode.intersects(TermMode::MOUSE_DRAG | TermMode::MOUSE_MOTION) {
        return Vec::new();
    }
    let number = match button {
        Button::Left => 0,
        Button::Middle => 1,
        Button::Right => 2,
    };
    report(mode, number + if dragged { 32 } else { 0 }, at, held, down)
}

fn report(mode: TermMode, number: u8, at: At, held: Held, down: bool) -> Vec<u8> {
    let number = number + 8 * u8::from(held.alt) + 16 * u8::from(held.ctrl);
    let (column, row) = (at.column + 1, at.row + 1);
    if mode.contains(TermMode::SGR_MOUSE) {
        return format!("\x1b[<{number};{column};{row}{}", if down { 'M' } else { 'm' }).into_bytes();
    }
    // The first encoding has one byte for a place, and does not say which button went up.
    let number = if down { number } else { 3 + (number & !3) };
    match (u8::try_from(column + 32), u8::try_from(row + 32)) {
        (Ok(column), Ok(row)) => vec![0x1b, b'[', b'M', number + 32, column, row],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At = At { row: 4, column: 9, right: false };

    #[test]
    fn both_encodings_say_the_same() {
        let held = Held { ctrl: true, ..Held::default() };
        let sgr = TermMode::MOUSE_REPORT_CLICK | TermMode::SGR_MOUSE;
        assert_eq!(button(sgr, Pointed::Down(Button::Left), AT, Held::default()), b"\x1b[<0;10;5M");
        assert_eq!(button(sgr, Pointed::Up(Button::Right), AT, held), b"\x1b[<18;10;5m");
        assert_eq!(wheel(sgr, true, AT, Held::default()), b"\x1b[<64;10;5M");
        let first = TermMode::MOUSE_REPORT_CLICK;
        assert_eq!(button(first, Pointed::Down(Button::Middle), AT, Held::default()), b"\x1b[M!*%");
        assert_eq!(button(first, Pointed::Up(Button::Middle), AT, Held::default()), b"\x1b[M#*%");
        assert_eq!(button(first, Pointed::Down(Button::Left), At { column: 400, ..AT }, Held::default()), b"");
    }

    #[test]
    fn who_wants_clicks_gets_no_movements() {
        let drag = Pointed::Drag(Button::Left);
        assert_eq!(button(TermMode::MOUSE_REPORT_CLICK | TermMode::SGR_MOUSE, drag, AT, Held::default()), b"");
        assert_eq!(button(TermMode::MOUSE_DRAG | TermMode::SGR_MOUSE, drag, AT, Held::default()), b"\x1b[<32;10;5M");
    }
}
