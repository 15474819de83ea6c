//! JSON Web Tokens with keys of the HSM: an [`Issuer`] that signs them, the key set that it publishes, a [`Verifier`], and
//! a [`Recipient`] of encrypted ones.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use hsm_client::jose::{Algorithm, Issuer, Validation};
//! use hsm_client::kinds::EcdsaP256;
//! use hsm_client::{BuiltInRole, Hsm, Scope, Setup};
//! use serde_json::{Value, json};
//!
//! # pollster::block_on(async {
//! # let hsm = Hsm::create("memory:", Setup::new("admin", "a long password")).await?;
//! # let admin = hsm.login("admin", "a long password").await?;
//! # admin.create_user("app", "another password").await?;
//! # admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys).await?;
//! # let session = hsm.login("app", "another password").await?;
//! let issuer = Issuer::builder(session.create::<EcdsaP256>("tokens").await?).build()?;
//!
//! let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
//! let exp = (now + Duration::from_secs(15 * 60)).as_secs();
//! let token = issuer.sign(&json!({ "sub": "alice", "aud": "shop", "exp": exp })).await?;
//!
//! let published = serde_json::to_string(&issuer.jwks().await?).expect("a key set is JSON"); // for /.well-known/jwks.json
//!
//! let mut validation = Validation::new(Algorithm::ES256);
//! validation.set_audience(&["shop"]);
//! let verified = issuer.verify::<Value>(&token, &validation).await?;
//! assert_eq!(verified.claims["sub"], "alice");
//! # assert!(published.contains("ES256"));
//! # Ok::<(), hsm_client::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Rotation that publishes before it signs
//!
//! The `kid` of a token is the version of the key that signed it. A new version is in the key set at once, and signs only when
//! it has been there for the [lead time](IssuerBuilder::publication_lead), so that every verifier has fetched it by then. An
//! old one leaves the set when the last token that it signed has expired. All this follows from what the HSM knows of the
//! versions: several issuers over one key agree without talking to each other, and versions that a
//! [rotation policy](crate::RotationPolicy) makes are treated alike. A version that is suspended or marked compromised leaves
//! when the issuer asks the HSM the next time, a minute later at most ([`VERSIONS_LIFETIME`]).
//!
//! # Encrypted tokens
//!
//! ```
//! use hsm_client::jose::{self, Recipient};
//! use hsm_client::kinds::EcdhP256;
//! # use hsm_client::{BuiltInRole, Hsm, Scope, Setup};
//!
//! # pollster::block_on(async {
//! # let hsm = Hsm::create("memory:", Setup::new("admin", "a long password")).await?;
//! # let admin = hsm.login("admin", "a long password").await?;
//! # admin.create_user("app", "another password").await?;
//! # admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys).await?;
//! # let session = hsm.login("app", "another password").await?;
//! session.create::<EcdhP256>("letters").await?;
//! let recipient = Recipient::new(session.any_key("letters").await?);
//!
//! let published = recipient.jwks().await?;                              // to those who write
//! let token = jose::encrypt(&published.keys[0], b"attack at dawn")?;    // they need no HSM
//! let text = recipient.decrypt(&token).await?;
//! assert_eq!(text.expose(), b"attack at dawn");
//! # Ok::<(), hsm_client::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What there is
//!
//! - Signed (RFC 7515), in the compact serialization: ES256, ES384, EdDSA, RS256 to RS512, PS256 to PS512, which is what
//!   [`jsonwebtoken`] knows. Its types are re-used and re-exported, and [`VersionSigner`] is one of its signers.
//! - Encrypted (RFC 7516), in the compact serialization: RSA-OAEP-256, RSA-OAEP (to read only), ECDH-ES, ECDH-ES+A128KW and
//!   +A256KW with P-256, P-384, P-521 and X25519, A128KW, A192KW, A256KW, and `dir`; the content with A128GCM, A192GCM and
//!   A256GCM. What is written here has A256GCM, but for `dir`, which has the key's own.
//! - Key sets (RFC 7517), and thumbprints (RFC 7638) with [`PublicKey::thumbprint`](crate::PublicKey::thumbprint).
//!
//! Left out on purpose: `none`, RSA1_5 (it tells too much of what is wrong with the padding), PBES2 (a password is no key),
//! `zip` (a compressed text tells its length), A…CBC-HS…, and tokens with a `crit`, of which none is understood.

mod claims;
mod compact;
mod issuer;
mod jwe;
mod recipient;
mod signer;
mod verifier;
mod versions;

use std::time::Duration;

use hsm_core::{Error, ErrorKind, Jwk as CoreJwk, PublicKey, VersionId};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use jsonwebtoken;
#[doc(no_inline)]
pub use jsonwebtoken::jwk::{Jwk, JwkSet};
#[doc(no_inline)]
pub use jsonwebtoken::{Algorithm, Header, TokenData, Validation};

pub use self::compact::Compact;
pub use self::issuer::{Issuer, IssuerBuilder};
pub use self::recipient::{Recipient, encrypt};
pub use self::signer::{VersionSigner, VersionVerifier};
pub use self::verifier::Verifier;

/// Longest signed token, in bytes: 16 KiB. Proxies seldom let longer headers through.
pub const SIGNED_LEN_MAX: usize = 16 << 10;

/// Longest encrypted token, in bytes: 1 MiB.
pub const ENCRYPTED_LEN_MAX: usize = 1 << 20;

/// Longest header of a token, in base64url, in bytes: 8 KiB.
pub const HEADER_LEN_MAX: usize = 8 << 10;

/// Most keys in a set that a [`Verifier`] takes.
pub const KEY_SET_LEN_MAX: usize = 1000;

/// How long a new version is in the key set before it signs, if nothing else is said.
pub const PUBLICATION_LEAD_DEFAULT: Duration = Duration::from_secs(10 * 60);

/// How long tokens may live, if nothing else is said.
pub const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_secs(60 * 60);

/// How long an issuer believes what the HSM said about the versions of the key, and the shortest lead time.
pub const VERSIONS_LIFETIME: Duration = Duration::from_secs(60);

/// How long an issuer waits before it asks the HSM again because of a `kid` that it does not know: whoever makes `kid`s up
/// does not reach the HSM.
pub const UNKNOWN_KEY_ID_DELAY: Duration = Duration::from_secs(10);

/// How far the clocks of verifiers may be behind: versions stay in the key set for so much longer.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What a key is for: `sig` or `enc`.
const SIGNATURE: &str = "sig";
const ENCRYPTION: &str = "enc";

/// A public key for a key set, named by its version.
fn published(
    key: &PublicKey,
    version: VersionId,
    key_use: &str,
    algorithm: Option<&str>,
) -> Result<Jwk, Error> {
    let mut jwk = key.to_jwk()?;
    jwk.kid = Some(version.to_string());
    jwk.public_key_use = Some(key_use.to_owned());
    jwk.alg = algorithm.map(str::to_owned);
    convert(&jwk)
}

/// The public key of a JSON Web Key of [`jsonwebtoken`], and what it says of it.
fn read_jwk(jwk: &Jwk) -> Result<(PublicKey, CoreJwk), Error> {
    let jwk = convert::<_, CoreJwk>(jwk)?;
    Ok((PublicKey::from_jwk(&jwk)?, jwk))
}

/// From one type of JSON Web Key to another: both are the same JSON.
fn convert<T: Serialize, U: DeserializeOwned>(jwk: &T) -> Result<U, Error> {
    serde_json::to_value(jwk)
        .and_then(serde_json::from_value)
        .map_err(|source| invalid("this is no JSON Web Key").with_source(source))
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn check_len(what: &str, len: usize, max: usize) -> Result<(), Error> {
    if len > max {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("{what} has {len} bytes, at most {max} are allowed"),
        ));
    }
    Ok(())
}
