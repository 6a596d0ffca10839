//! What the desktop app shows and what can be done there, without the toolkit that draws it.
//!
//! - [`home`]: the list of machines with search and selection, a machine's facts, work in progress.
//! - [`wizard`]: making a machine, step by step; ends in what `library` is asked to create.
//! - [`editor`]: a machine's settings: every key of both kinds of configuration, with label, help, control and problems.
//! - [`preferences`]: what a person prefers, whichever machine it is.
//! - [`window`]: what a machine's window says over the picture, and what closing it does.
//! - [`Command`]: everything that can be asked for: one list behind menu, toolbar, context menu and shortcuts.
//! - [`Text`] and [`Message`]: every word for people, with a stable id to translate it by, in the [`Language`] that is [`spoken`].
//!
//! All of it is plain state: events go in, changes to draw come out. Nothing here waits, reads a clock or changes a machine; what has to be
//! done is handed to whoever has the library and a runtime.

pub mod catalog;
pub mod editor;
pub mod home;
pub mod preferences;
pub mod window;
pub mod wizard;

mod command;
mod failure;
mod fold;
mod language;
mod message;
mod shortcut;
mod size;
mod texts;

pub use command::{Command, Place, Question, Refusal, Subject};
pub use failure::Failure;
pub use language::{Language, speak, spoken};
pub use message::{Message, Text, all_texts};
pub use shortcut::{Platform, Shortcut};
pub use size::{bytes, mebibytes, read_bytes};
