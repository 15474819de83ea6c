//! The Key Vault and Managed HSM data plane as values: requests and responses to and from HTTP, for both ends.
//!
//! One table of [`Route`]s says which method and path stands for which [`Request`]. The server parses a route, reads the
//! body into a request and writes the response; the client writes the request and reads the response. Both halves of each
//! are side by side here, so that they cannot drift apart. What only this SDK has is under `/hsm/v1/`, in the same style.
//!
//! No sockets, no async, no clock.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

use hsm_core::{Error, Request, Response, Result};
use http::{Method, StatusCode};
use zeroize::Zeroize;

/// Where a request goes: the method and path, parsed. Routes that ask the engine for something carry what the path and
/// query say; [`Route::request`] adds the body.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Route {
    /// A request for the engine.
    Engine(EngineRoute),
    /// What the server answers by itself.
    Server(ServerRoute),
    /// An operation of the real services that is not there yet: 501.
    NotYet(&'static str),
}

/// What the server answers by itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ServerRoute {
    /// `POST /hsm/v1/sessions`: a user's name and password for a session token.
    Login,
    /// `GET /hsm/v1/sessions/current`: who the token or connection stands for.
    WhoAmI,
    /// `DELETE /hsm/v1/sessions/current`.
    Logout,
    /// `GET /hsm/v1/clock`.
    ReadClock,
    /// `POST /hsm/v1/clock`: moves the test clock ahead.
    AdvanceClock,
    /// `GET /healthz`: the process is there.
    Health,
    /// `GET /readyz`: requests can be served.
    Ready,
    /// `GET /hsm/v1/openapi.json`.
    OpenApi,
}

/// A route of the engine: one variant for each variant of [`Request`], with what path and query say of it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum EngineRoute {}

impl Route {
    /// Finds the route of a method, path and query.
    ///
    /// # Errors
    ///
    /// [`Misrouted`]: no such path, or not with this method, or a name in it that cannot be one.
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Misrouted> {
        _ = (method, path, query);
        unimplemented!()
    }

    /// The row of the table.
    #[must_use]
    pub fn endpoint(&self) -> &'static Endpoint {
        unimplemented!()
    }
}

impl EngineRoute {
    /// Reads a body. Binary values are decoded into `buffers`, which the request borrows.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) that names the field.
    pub fn request<'b>(&self, body: &[u8], buffers: &'b mut Buffers) -> Result<Request<'b>> {
        _ = (body, buffers);
        unimplemented!()
    }

    /// Writes what the engine answered. `base` is the server's own URL without a slash at the end, for the ids of keys.
    #[must_use]
    pub fn reply(&self, result: Result<Response>, base: &str) -> Reply {
        _ = (result, base);
        unimplemented!()
    }

    /// The client's half of [`reply`](Self::reply).
    ///
    /// # Errors
    ///
    /// The error that the server answered, or [`Unknown`](hsm_core::ErrorKind::Unknown) if the answer makes no sense.
    pub fn response(&self, status: StatusCode, body: &[u8]) -> Result<Response> {
        _ = (status, body);
        unimplemented!()
    }
}

/// A request on its way out.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outgoing {
    /// Where it goes.
    pub route: EngineRoute,
    /// The method.
    pub method: Method,
    /// Path and query, with the api-version.
    pub target: String,
    /// JSON; empty where there is nothing to say. Wiped on drop.
    pub body: Body,
}

impl Outgoing {
    /// Writes a request.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](hsm_core::ErrorKind::Unsupported) for what cannot be said over HTTP.
    pub fn new(request: &Request<'_>) -> Result<Self> {
        _ = request;
        unimplemented!()
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
    /// The answer that an error is.
    #[must_use]
    pub fn error(error: &Error) -> Self {
        _ = error;
        unimplemented!()
    }
}

/// A body that may hold secrets: wiped on drop, never printed.
#[derive(Default, Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Body(Vec<u8>);

impl Body {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// Room for the binary values of a request, used again for the next. Wiped on drop.
#[derive(Debug, Default)]
pub struct Buffers {}

/// Why there is no route.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Misrouted {
    /// No such path: 404.
    NotFound,
    /// The path is there, with other methods: 405 and `Allow`.
    Method(&'static str),
    /// A name, version, id or query parameter is malformed: 400, saying what was expected.
    BadParameter(String),
}

/// A row of the table of routes, for metrics and the OpenAPI document.
#[derive(Debug)]
#[non_exhaustive]
pub struct Endpoint {
    /// A name for metrics and logs: `sign`, `create_key`.
    pub operation: &'static str,
    /// The method.
    pub method: &'static str,
    /// The path with its parameters in braces.
    pub path: &'static str,
}

/// Every row of the table.
#[must_use]
pub fn endpoints() -> &'static [Endpoint] {
    unimplemented!()
}
