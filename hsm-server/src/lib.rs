//! An HSM over HTTPS. It speaks the Key Vault and Managed HSM API, so that existing clients just work, and has what only
//! this SDK has beside it, under `/hsm/v1/`.
//!
//! A request travels one line: listener, partition by host name, route, identity, limits, body, engine, reply.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod authority;
mod clock;
mod dev;
mod gate;
mod http;
mod idempotency;
mod identity;
pub mod limits;
mod listener;
mod metrics;
mod partition;
mod rate;
mod server;
mod tls;
mod trace;

pub use authority::Authority;
pub use clock::TestClock;
pub use dev::Dev;
pub use identity::{CertificateConfig, Identities, IdentityConfig, IssuerConfig, UnixConfig};
pub use limits::Limits;
pub use listener::Listener;
pub use partition::Partition;
pub use rate::Rates;
pub use server::{Server, ServerBuilder};
pub use tls::{Tls, TlsFiles};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
