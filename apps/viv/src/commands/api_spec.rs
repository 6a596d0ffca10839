//! `viv api-spec`.

use crate::error::Result;
use crate::output::Output;

/// Print the OpenAPI description of what a running machine's supervisor serves
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viv api-spec > vivarium-openapi.json

The API is HTTP with JSON over a Unix socket, one per running machine: ~/.local/state/vivarium/run/ID/api.sock
(`viv doctor` says where, under sockets).
`viv list --json` shows each machine's ID.")]
pub struct Args {}

pub fn run(_: &Args, output: Output) -> Result {
    output.line(supervisor_api::OPENAPI.trim_end())
}
