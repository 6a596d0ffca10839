//! How to find a machine's supervisor, start one, and speak with it.
//!
//! - [`places`]: where bundles, state, caches and sockets are; [`settings`]: what a person has decided for this computer.
//! - [`wire`]: the JSON types of the API; [`OPENAPI`] describes it as a document.
//! - [`Client`]: HTTP over the machine's Unix socket.
//! - [`helper`]: what a supervisor and its process for the exchange with the guest tell each other.
//! - [`launch`]: starts the supervisor program, detached, and asks it what only it can tell.

pub mod helper;
pub mod launch;
pub mod places;
pub mod settings;
pub mod wire;

mod client;
mod exchange;

pub use client::{Client, ClientError, Events};
pub use places::{Places, PlacesError, Runtime};
pub use settings::Settings;

/// The OpenAPI description of what a supervisor serves, as JSON. Made from the server's code; a test there holds the two together.
pub const OPENAPI: &str = include_str!("../openapi.json");
