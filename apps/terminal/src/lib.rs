//! A terminal for a serial port, without a toolkit: what a guest says becomes rows, rows become pixels, and what a person types, pastes and
//! points at becomes bytes.
//!
//! - [`Terminal`]: the emulator, which is `alacritty_terminal`'s behind a guard: what a guest says is neither trusted nor kept without bounds.
//! - [`Row`] and [`Run`]: what is to be seen, with the colours of a [`Palette`].
//! - [`Painter`]: rows as pixels, drawn on a grid of whole ones.
//! - [`Key`], [`Pointed`]: what a person does.
//!
//! Nothing here waits, reads a clock or draws by itself.

mod boxes;
mod commands;
mod emulator;
mod guard;
mod keys;
mod mouse;
mod painter;
mod palette;
mod row;
mod selected;

pub use emulator::{At, Extent, Grain, HISTORY, Size, Terminal, Turned};
pub use keys::{Held, Key};
pub use mouse::{Button, Pointed};
pub use painter::{Cell, Painter};
pub use palette::{Palette, Rgb};
pub use row::{Cursor, Look, Row, Run, Shape, Underline};
