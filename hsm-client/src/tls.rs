//! Keys of the HSM for TLS: what [`rustls`] asks for, and what a server needs around it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use hsm_client::kinds::{EcdsaP256, Kdk256};
//! use hsm_client::tls::rustls::ServerConfig;
//! use hsm_client::tls::rustls::pki_types::CertificateDer;
//! use hsm_client::tls::{Acceptor, Identity, Tickets};
//! use hsm_client::{Result, Session};
//!
//! async fn acceptor(session: &Session, chain: Vec<CertificateDer<'static>>) -> Result<Acceptor> {
//!     let key = session.key::<EcdsaP256>("www").await?;
//!     let identity = Arc::new(Identity::new(&key, chain).await?);
//!     let mut config = ServerConfig::builder()
//!         .with_no_client_auth()
//!         .with_cert_resolver(identity.clone()); // `identity.renew(…)` later, while the server runs
//!     let tickets = session.key::<Kdk256>("www-tickets").await?;
//!     config.ticketer = Tickets::new(&tickets, "www").await?;
//!     Ok(Acceptor::new(config))
//! }
//! ```
//!
//! `acceptor.accept(tcp).await?` is a TLS stream then, as that of [`tokio_rustls`].
//!
//! # Map
//!
//! | to | see |
//! |---|---|
//! | have a certificate and its key, for a server or a client, and renew it | [`Identity`] |
//! | choose among several by the name that the client asks for | [`ByName`] |
//! | accept connections without ever blocking the executor | [`Acceptor`] |
//! | connect with a client certificate, likewise | [`Connector`] |
//! | resume sessions, on all servers that share the HSM | [`Tickets`] |
//! | put a key where a [`rustls::sign::SigningKey`] goes | [`SigningKey`] |
//! | stay logged in for longer than a session lasts | [`Hsm::stay_logged_in`](crate::Hsm::stay_logged_in) |
//!
//! # Which keys
//!
//! | key | signature scheme | TLS |
//! |---|---|---|
//! | [`EcdsaP256`](crate::kinds::EcdsaP256) | `ecdsa_secp256r1_sha256` | 1.3, 1.2 |
//! | [`EcdsaP384`](crate::kinds::EcdsaP384) | `ecdsa_secp384r1_sha384` | 1.3, 1.2 |
//! | [`EcdsaP521`](crate::kinds::EcdsaP521) | `ecdsa_secp521r1_sha512` | 1.3, 1.2 |
//! | [`Ed25519`](crate::kinds::Ed25519) | `ed25519` | 1.3, 1.2 |
//! | [`RsaPss2048`](crate::kinds::RsaPss2048), [`RsaPss3072`](crate::kinds::RsaPss3072) | `rsa_pss_rsae_sha256` | 1.3, 1.2 |
//! | [`RsaPss4096`](crate::kinds::RsaPss4096) | `rsa_pss_rsae_sha512` | 1.3, 1.2 |
//! | [`RsaPkcs1v15Sign2048`](crate::kinds::RsaPkcs1v15Sign2048) and its sisters | `rsa_pkcs1_sha256`, `rsa_pkcs1_sha512` | 1.2 |
//!
//! An RSA key that is not bound to one algorithm, as an [`AnyKey`](crate::AnyKey), has all six RSA schemes. Keys of other
//! kinds do not compile:
//!
//! ```compile_fail,E0277
//! use hsm_client::tls::Identity;
//! use hsm_client::{Key, kinds::EcdsaP256K};
//!
//! async fn serve(key: &Key<EcdsaP256K>) -> hsm_client::Result<Identity> {
//!     Identity::new(key, Vec::new()).await
//! }
//! ```
//!
//! # When the HSM does not sign
//!
//! A key that has expired, was disabled or deleted, a grant that was taken away, an HSM that is away: the handshake fails,
//! and what `accept` returns names the reason, for the server's log; [`cause`] finds it for programs. The other side is told
//! nothing: rustls sends no alert for a signature that failed, and the connection is closed. Connections that are established
//! do not need the key any more. Resumption does not need it either, so [`Tickets`] live for an hour or two only.
//!
//! A handshake waits for the HSM for [`HSM_WAIT_MAX`] at most. Where it waits is what [`Acceptor`] is about.

mod acceptor;
mod identity;
mod signing_key;
mod tickets;
mod wait;

use std::time::Duration;

pub use rustls;
pub use tokio_rustls;

pub use acceptor::{Acceptor, Connector};
pub use identity::{ByName, Identity};
pub use signing_key::{SigningKey, TlsKey, TlsKind, cause};
pub use tickets::Tickets;

/// How long one signature waits for the HSM.
pub const HSM_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a handshake may take altogether, over [`Acceptor`] and [`Connector`].
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(30);

/// How many threads the handshakes of one [`Acceptor`] or [`Connector`] take at a time; others wait for one of them.
pub const HANDSHAKE_THREADS_MAX: usize = 64;

/// How long a key for tickets makes them. They are accepted in the period they were made in, and in the next.
pub const TICKET_PERIOD: Duration = Duration::from_secs(60 * 60);

/// How long [`Tickets`] leave an HSM alone that did not give them a key.
pub const TICKET_KEY_RETRY: Duration = Duration::from_secs(10);
