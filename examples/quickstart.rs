//! Signs and encrypts a file with keys that live in a software HSM.

fn main() {}
