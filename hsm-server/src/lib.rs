//! An HSM over HTTPS. It speaks the Key Vault and Managed HSM API, so that existing clients just work, and has what only
//! this SDK has beside it, under `/hsm/v1/`.
//!
//! A request travels one line: listener, partition by host name, route, identity, limits, body, engine, reply.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod authority;
mod dev;
mod identity;
mod partition;

pub use authority::Authority;
pub use dev::Dev;
pub use identity::{CertificateConfig, Identities, IdentityConfig, IssuerConfig, UnixConfig};
pub use partition::Partition;
