//! One process per running machine: owns the backend, serves its API.

fn main() {}
