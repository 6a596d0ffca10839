//! A client of the QEMU Machine Protocol and of the QEMU guest agent.
//!
//! [`Client`] speaks with a monitor, [`agent::Client`] with the agent in a guest. [`commands`], [`events`] and [`types`] are made from what
//! QEMU says about itself (`cargo xtask codegen qmp`) and hold what `surface.toml` names; the rest can be had by name.
//!
//! Peers change: unknown events, enumeration values and error classes arrive as `Other`, unknown members are ignored, and no message of a
//! peer ends a connection unless it is longer than the limit or one of many that are none.

pub mod agent;
mod client;
pub mod codec;
mod command;
mod connection;
mod error;
mod generated;
mod notice;
pub mod schema;
mod wire;

pub use client::{Client, Options};
pub use codec::{ErrorClass, Greeting, RawEvent, Timestamp};
pub use command::{Command, Nothing};
pub use error::{Closed, Error};
pub use events::Event;
pub use generated::{commands, events, types};
pub use notice::{Events, Notice};
