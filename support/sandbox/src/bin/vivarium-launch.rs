//! Confines itself as its standard input says and becomes another program; see the `sandbox` library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::run_launcher()
}
