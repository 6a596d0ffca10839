//! A machine's settings.
//!
//! [`Editor`] holds the configuration as it is on disk, and a draft. What a person types goes to the draft as soon as it makes sense there;
//! until then it stays as typed, with what is wrong beside it. Which keys there are, what they hold and what is refused is `bundle`'s to say
//! ([`bundle::key_path`], the table behind `viv config`); here is only what people call them, where they find them, and with what they change
//! them ([`fields_of`]).

mod advice;
mod apple;
mod devices;
mod draft;
mod field;
mod page;
mod qemu;
mod save;
mod sheet;

pub use devices::Device;
pub use draft::Editor;
pub use field::{Applies, Control, Field, Group, Look, field_of, fields_of};
pub use page::{Page, Setting};
pub use save::{NotSaved, Save};

#[cfg(test)]
mod tests;
