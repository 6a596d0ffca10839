//! Tasks of this repository: setup, check, test, demo, guests, codegen, bench.

fn main() {}
