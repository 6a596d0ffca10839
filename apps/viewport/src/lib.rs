//! A head of a machine in a window, without the window: whatever toolkit draws asks here and does what it is told.
//!
//! - [`Canvas`] and [`Placement`]: where the guest's picture is in the window, which pixel of the guest is under a point, and which part of
//!   the window has to be drawn again after damage.
//! - [`Painter`]: the guest's pixels in a toolkit's buffer; only what was damaged is copied.
//! - [`Seat`]: who has the keyboard and the mouse, what is sent to the guest, and the chord that always gives both back.
//! - [`Resizer`]: when the guest is asked for another size, and when it is left alone.
//!
//! Nothing here reads a clock, opens a file or knows a toolkit: time and events come in as values, decisions go out as values.

mod canvas;
mod chord;
mod held;
mod motion;
mod painter;
mod placement;
mod resize;
mod seat;

pub use canvas::Canvas;
pub use chord::ReleaseChord;
pub use motion::{Motion, Wheel};
pub use painter::{Painter, Pixels};
pub use placement::{Area, Placement, Scaling};
pub use resize::{Resizer, Standing};
pub use seat::{Effect, Grab, Happening, Policy, Seat};
