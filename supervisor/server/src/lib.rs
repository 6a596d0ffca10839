//! One process per running machine: owns the backend, serves its API.
//!
//! The program `vivarium-supervisor` has four uses: `run` and `adopt` supervise a machine until it ends; `command` and `doctor` answer, as
//! JSON, what only a backend can tell.
//!
//! - [`session`]: what the API shows and does with one machine.
//! - [`api`]: HTTP with JSON over the machine's Unix socket.
//! - [`exchange`]: what is exchanged with the guest, and the process that does it; [`exchange_api`]: its part of the API.
//! - [`console`]: serial ports as sockets, with replay.
//! - [`pictures`]: what the machine last showed, in its bundle.
//! - [`debug_log`]: of a run, in the bundle, where the configuration asks for it.
//! - [`logs`]: kept over runs, bounded while running.
//! - [`viewers`]: the socket where viewers of the displays connect.
//! - [`run`]: the life of a supervisor, from taking the locks to recording how it ended.

pub mod answers;
pub mod api;
pub mod console;
pub mod debug_log;
pub mod exchange;
pub mod exchange_api;
pub mod logs;
pub mod pictures;
pub mod run;
pub mod session;
pub mod viewers;
