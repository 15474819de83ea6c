//! The program `hsm`.

mod cli;

fn main() {}
