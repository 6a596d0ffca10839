//! Terminal windows: one for each serial port.
//!
//! - `feed`: the port, followed in the engine: what the guest says goes into the emulator there, and what is typed goes out.
//! - `screen`: the window; `lines` are its rows as pictures, `input` is what a person does in it, `act` what becomes of what was asked for.
//!
//! A serial line has no size: a guest believes what it was told (`stty rows 40 cols 120`), or 80 columns and 24 rows. The window's menu types
//! that for it.

mod act;
mod feed;
mod input;
mod lines;
mod screen;

pub use screen::TerminalScreen;
