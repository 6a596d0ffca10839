//! The client against display servers that behave, and others.

mod display;
mod hostile;
mod relay;
mod server;
