//! Remote HSMs: `https://HOST` and `unix:PATH`, with the same [`Session`](crate::Session) and [`Key`](crate::Key) as for
//! local ones.
//!
//! ```no_run
//! use hsm_client::kinds::EcdsaP384;
//! use hsm_client::{Hsm, OpenOptions};
//!
//! # async fn example() -> hsm_client::Result<()> {
//! let options = OpenOptions::new().ca_file("ca.pem");
//! let hsm = Hsm::open_with("https://hsm.example:8443", options).await?;
//! let app = hsm.login("app", "correct horse battery").await?;
//! let key = app.key::<EcdsaP384>("invoices").await?;
//! let signature = key.sign(b"pay 100 to Alice").await?;      // by the server
//! key.verify(b"pay 100 to Alice", &signature).await?;        // here, after one fetch of the public key
//! # Ok(())
//! # }
//! ```
//!
//! The other end is an hsm server, or a service that speaks the API of Key Vault and Managed HSM; what it lacks is
//! [`Unsupported`](crate::ErrorKind::Unsupported). Opening connects to nothing; the first login does.
//!
//! # Who asks
//!
//! | [`Credentials`](crate::Credentials) | what is shown |
//! |---|---|
//! | `Password`, [`Hsm::login`](crate::Hsm::login) | the password, once; then the session's token |
//! | `Token` | this bearer token, each time |
//! | `Connection` | tokens of the [`TokenSource`] that it was [opened with](crate::OpenOptions::token_source); without one, what the connection proves: a [client certificate](crate::OpenOptions::client_certificate), the user at the end of a Unix socket |
//!
//! Sources that are built in: [`StaticToken`], [`ClientCredentials`], [`ManagedIdentity`].
//!
//! # What is tried again
//!
//! [`Unreachable`](crate::ErrorKind::Unreachable) means that there was no connection: always. An answer that did not come is
//! [`Unknown`](crate::ErrorKind::Unknown): reads and operations with keys are tried again. Changes are tried again only with
//! an hsm server, which knows a repetition by its key and does not carry it out twice; a server that was restarted meanwhile
//! says so, and the outcome stays `Unknown`. Every call ends by its [deadline](crate::OpenOptions::call_deadline).
//!
//! # Threads
//!
//! The connections of all remote HSMs live on one thread of the SDK, whatever executor the program has, or none. A process
//! that forks opens its HSMs again in the child.

mod auth;
mod cache;
mod options;
mod retry;
mod runtime;
mod session;
mod sources;
#[cfg(test)]
mod tests;
mod transport;

pub use auth::{AccessToken, Challenge, TOKEN_RENEWAL, TOKEN_RETRY, TokenSource};
pub use cache::{PUBLIC_KEY_LIFETIME, PUBLIC_KEYS_MAX};
pub use retry::{
    ATTEMPT_TIMEOUT_DEFAULT, ATTEMPTS_DEFAULT, BACKOFF_FIRST, BACKOFF_MAX, CALL_DEADLINE_DEFAULT,
    CONNECT_TIMEOUT_DEFAULT,
};
pub use sources::{ClientCredentials, ManagedIdentity, StaticToken};
pub use transport::{ANSWER_LEN_MAX, IDLE_CONNECTION_MAX, PING_INTERVAL, PING_TIMEOUT};

pub(crate) use options::RemoteOptions;
pub(crate) use session::RemoteService;
pub(crate) use transport::Peer;
