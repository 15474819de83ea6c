//! The Key Vault and Managed HSM data plane as values: requests and responses to and from HTTP, for both ends.
//!
//! One table of [`Route`]s says which method and path stands for which [`Request`]. The server parses a route, reads the
//! body into a request and writes the response; the client writes the request and reads the response. Both halves of each
//! are side by side here, so that they cannot drift apart. What only this SDK has is under `/hsm/v1/`, in the same style.
//!
//! ```
//! use hsm_core::{Algorithm, Request, Response, SignInput};
//! use hsm_wire::{Buffers, Outgoing, Route};
//!
//! // The client writes a request …
//! let input = SignInput::Message(b"pay 100 to Alice");
//! let sign = Request::Sign { key: "payments".parse()?, algorithm: Algorithm::Es256, input };
//! let outgoing = Outgoing::new(&sign)?;
//! assert_eq!(outgoing.target, "/keys/payments//sign?api-version=7.6");
//!
//! // … the server reads it and writes what the engine answered …
//! let (path, query) = outgoing.target.split_once('?').unwrap();
//! let Ok(Route::Engine(route)) = Route::parse(&outgoing.method, path, Some(query)) else { unreachable!() };
//! let mut buffers = Buffers::default();
//! let Request::Sign { algorithm, .. } = route.request(outgoing.body.as_bytes(), &mut buffers)? else { unreachable!() };
//! assert_eq!(algorithm, Algorithm::Es256);
//! let version = "0123456789abcdef0123456789abcdef".parse()?;
//! let reply = route.reply(Ok(Response::Signature { bytes: vec![1; 64], version }), "https://localhost:8443");
//! assert_eq!(reply.status, 200);
//!
//! // … and the client reads that.
//! let response = outgoing.route.response(reply.status, reply.body.as_bytes())?;
//! assert!(matches!(response, Response::Signature { version: v, .. } if v == version));
//! # Ok::<(), hsm_core::Error>(())
//! ```
//!
//! # Map
//!
//! | to | see |
//! |---|---|
//! | find out what a request asks for | [`Route::parse`], [`EngineRoute::request`] |
//! | answer it | [`EngineRoute::reply`], [`Reply`] |
//! | ask, and read the answer | [`Outgoing`], [`EngineRoute::response`] |
//! | log in, and whatever else needs no engine | [`ServerRoute`], [`server`] |
//! | list all of it | [`endpoints`], [`openapi`] |
//!
//! # What our own clients see
//!
//! Keys carry a member `hsm`, which other clients ignore: the type, the lifecycle state, the algorithm that the key is bound
//! to, times in milliseconds. Where it is missing, because another service answered, everything is read from the members of
//! Key Vault as well as can be.
//!
//! No sockets, no async, no clock.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod buffer;
mod error;
mod json;
mod openapi;
mod outgoing;
mod read;
mod route;

use hsm_core::{Error, Request, Response, Result};
use http::StatusCode;

pub use self::body::server;
pub use self::buffer::{Body, Buffers};
pub use self::openapi::openapi;
pub use self::outgoing::Outgoing;
pub use self::route::{Endpoint, EngineRoute, Misrouted, Route, ServerRoute, endpoints};

pub(crate) use self::buffer::Bytes;

/// The versions of the API that are answered, all in the same way.
pub const API_VERSIONS: &[&str] = &[
    "7.0",
    "7.1",
    "7.2",
    "7.3",
    "7.4",
    "7.5",
    "7.6-preview.1",
    "7.6-preview.2",
    "7.6",
    "2025-06-01-preview",
    "2025-07-01",
    "2026-01-01-preview",
    "2026-04-01",
];

/// The version of the API that our client asks for.
pub const API_VERSION: &str = "7.6";

impl EngineRoute {
    /// Reads a body. Binary values are decoded into `buffers`, which the request borrows.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) that names the member,
    /// [`LimitExceeded`](hsm_core::ErrorKind::LimitExceeded) for what is too long,
    /// [`Unsupported`](hsm_core::ErrorKind::Unsupported) for what is not there yet.
    pub fn request<'b>(&self, body: &[u8], buffers: &'b mut Buffers) -> Result<Request<'b>> {
        body::request(self, body, buffers)
    }

    /// Writes what the engine answered. `base` is the server's own URL without a slash at the end, for the ids of keys.
    #[must_use]
    pub fn reply(&self, result: Result<Response>, base: &str) -> Reply {
        body::reply(self, result, base)
    }

    /// The client's half of [`reply`](Self::reply).
    ///
    /// # Errors
    ///
    /// The error that the server answered, or [`Unknown`](hsm_core::ErrorKind::Unknown) if the answer makes no sense.
    pub fn response(&self, status: StatusCode, body: &[u8]) -> Result<Response> {
        if !status.is_success() {
            return Err(error::read(status, body));
        }
        body::response(self, body)
    }
}

/// What a server answers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// JSON. Wiped on drop.
    pub body: Body,
    /// In whole seconds, for the header `Retry-After`.
    pub retry_after: Option<u64>,
}

impl Reply {
    /// An answer.
    #[must_use]
    pub fn new(status: StatusCode, body: Body) -> Self {
        Self {
            status,
            body,
            retry_after: None,
        }
    }

    /// The answer that an error is.
    #[must_use]
    pub fn error(error: &Error) -> Self {
        error::reply(error)
    }

    /// The answer to a request that no [`Route`] was found for.
    #[must_use]
    pub fn misrouted(misrouted: &Misrouted) -> Self {
        error::misrouted(misrouted)
    }

    /// The answer to [`Route::NotYet`].
    #[must_use]
    pub fn not_yet(what: &str) -> Self {
        error::not_yet(what)
    }
}

/// Reads the error in an answer that has no [`EngineRoute`], as those of [`ServerRoute`].
#[must_use]
pub fn read_error(status: StatusCode, body: &[u8]) -> Error {
    error::read(status, body)
}
