//! Promise: keys of the HSM serve TLS as keys in memory do, and where they cannot, the handshake fails and says why.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "tls/executor.rs"]
mod executor;
#[path = "tls/handshakes.rs"]
mod handshakes;
#[path = "tls/in_service.rs"]
mod in_service;
#[path = "tls/refused.rs"]
mod refused;
#[path = "tls/resumption.rs"]
mod resumption;
#[path = "tls/standing.rs"]
mod standing;
#[path = "tls/world.rs"]
mod world;
