//! Wizard, editor and preferences by their labels, over a real library in a temporary folder, without a display.
//!
//! Each test has an event loop of its own, of which a process can have one: they are run with nextest, a process each.

mod editor;
mod loops;
mod pictures;
mod preferences;
mod wizard;
