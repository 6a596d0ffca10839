//! What a person does to a machine.

use keymap::Key;

/// Something that a person did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// A key went down or up.
    Key {
        /// Which one.
        key: Key,
        /// Whether it went down.
        down: bool,
    },
    /// The mouse moved by so many pixels, to the right and down.
    Motion {
        /// To the right.
        x: i32,
        /// Down.
        y: i32,
    },
    /// The pointer is at this pixel of the head.
    Position {
        /// Columns to its left.
        x: u32,
        /// Rows above it.
        y: u32,
    },
    /// A button went down or up.
    Button {
        /// Which one.
        button: Button,
        /// Whether it went down.
        down: bool,
    },
    /// A finger on a touch screen.
    Touch {
        /// What it does.
        kind: TouchKind,
        /// Which finger.
        slot: u64,
        /// Where, in pixels from the left.
        x: f64,
        /// Where, in pixels from above.
        y: f64,
    },
}

/// A button of a mouse. A wheel is two of them: each notch presses one and releases it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// The left one.
    Left,
    /// The middle one.
    Middle,
    /// The right one.
    Right,
    /// The wheel, away from the person.
    WheelUp,
    /// The wheel, towards the person.
    WheelDown,
    /// The one on the side, "back".
    Side,
    /// The other one on the side, "forward".
    Extra,
}

/// What a finger does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchKind {
    /// It touches the screen.
    Begin,
    /// It moves.
    Update,
    /// It leaves.
    End,
    /// What it did was no touch.
    Cancel,
}

/// The lights on a keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leds {
    /// Scroll lock.
    pub scroll: bool,
    /// Num lock.
    pub num: bool,
    /// Caps lock.
    pub caps: bool,
}

/// How large a viewer would like a head to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRequest {
    /// In pixels.
    pub size: super::Size,
    /// In millimetres, where known: guests tell the density of pixels from it.
    pub millimetres: Option<(u16, u16)>,
    /// Where the head is among the others, in pixels.
    pub position: (i32, i32),
}

impl SizeRequest {
    /// This size, wherever, and however dense.
    pub const fn pixels(size: super::Size) -> Self {
        Self { size, millimetres: None, position: (0, 0) }
    }
}
