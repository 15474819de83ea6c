//! [`Service`] and [`Session`]: the one seam between callers and HSMs. The engine, a remote HSM, a group of HSMs and every
//! wrapper around them are services.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::audit::RequestId;
use crate::error::{Error, Result, invalid};
use crate::key::check_name;
use crate::request::{Request, Response};
use crate::secret::SecretBytes;

/// Who asks: the name of a user, or of an identity that a server authenticated.
///
/// What [`Session::principal`] says.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Principal(SmolStr);

impl Principal {
    /// Checks and takes a name: the same rule as for keys.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput).
    pub fn new(name: &str) -> Result<Self> {
        check_name("the name of a principal", name)?;
        if name.eq_ignore_ascii_case("system") {
            return Err(invalid("the name `system` is the partition's own"));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Principal {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Principal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

/// The name of an API token: the same rule as for keys.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct TokenName(SmolStr);

impl TokenName {
    /// Checks and takes a name.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput).
    pub fn new(name: &str) -> Result<Self> {
        check_name("the name of a token", name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for TokenName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

/// What a caller shows to log in.
///
/// For [`Service::login`]; the [front page](crate) has an example.
#[derive(Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// A user of the partition and the password.
    Password {
        /// The user.
        user: Principal,
        /// The password.
        password: SecretBytes,
    },
    /// An API token of the partition, or, for a remote HSM, whatever bearer token its server takes.
    Token(SecretBytes),
    /// The identity that the connection to a remote HSM proves: the token source that it was opened with, a TLS client
    /// certificate, the user at the other end of a Unix socket.
    Connection,
    /// A principal that the caller has authenticated: how a server turns its identities into sessions. Only an engine in
    /// the same process takes it, from a caller who could read its memory as well.
    Authenticated(Principal),
}

impl Credentials {
    /// An API token.
    #[must_use]
    pub fn token(token: impl AsRef<[u8]>) -> Self {
        Self::Token(SecretBytes::copy_from(token.as_ref()))
    }

    /// A user's name and password.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the name cannot be one.
    pub fn password(user: &str, password: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self::Password {
            user: Principal::new(user)?,
            password: SecretBytes::copy_from(password.as_ref()),
        })
    }
}

/// An HSM that principals can log in to.
///
/// # Contract
///
/// - [`Unreachable`](crate::ErrorKind::Unreachable) means that nothing happened, [`Unknown`](crate::ErrorKind::Unknown)
///   that it may have.
/// - A refusal leaks nothing about keys that the caller may not see.
#[async_trait]
pub trait Service: fmt::Debug + Send + Sync {
    /// Opens a session for the principal that the credentials prove.
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn Session>>;
}

/// A principal's session. It is bound to the principal and cannot change it.
///
/// # Contract
///
/// - Any number of tasks may call at once.
/// - After [`logout`](Session::logout), or when it has timed out, every call is
///   [`Unauthenticated`](crate::ErrorKind::Unauthenticated).
#[async_trait]
pub trait Session: fmt::Debug + Send + Sync {
    /// Who is logged in.
    fn principal(&self) -> &Principal;

    /// Does what is asked, if the principal may.
    ///
    /// `id` goes into the audit record; a server passes its client's on.
    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response>;

    /// Ends the session.
    async fn logout(&self);
}
