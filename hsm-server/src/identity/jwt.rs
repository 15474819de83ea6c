//! JSON Web Tokens (RFC 7519) in compact form: read, and checked against what an issuer may say.

use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_core::{Algorithm, Principal, PublicKey, SignInput};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::refusal::Reason;

/// The algorithms that a configuration may name: signatures with a public key, and nothing else. `none` and the HMACs have
/// no place here, so no configuration can ask for them.
pub(crate) const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Rs256,
    Algorithm::Ps256,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
];

/// A token that was read. Nothing in it is to be believed before [`Jwt::check_signature`].
pub(crate) struct Jwt<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: Claims,
    /// All claims, for the one that names the principal.
    all: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood (RFC 7515 section 4.1.11). We understand none.
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// How the claim that names the principal becomes a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Names {
    /// It is a UUID, so that it is no user's name by chance or by design.
    Uuid,
    /// This goes in front of it.
    Prefixed(String),
    /// It is the name of a user: of the authority in this process only.
    Local,
}

impl<'a> Jwt<'a> {
    /// Reads a token.
    pub(crate) fn parse(token: &'a str) -> Result<Self, Reason> {
        let malformed = |_| Reason::Malformed;
        let (signed, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Reason::Malformed)?;
        let signature = decode(signature)?;
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(malformed)?;
        if header.crit.is_some() {
            return Err(Reason::Malformed);
        }
        let payload = decode(claims)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(malformed)?;
        let all = serde_json::from_slice(&payload).map_err(malformed)?;
        Ok(Self {
            signed,
            signature,
            header,
            claims,
            all,
        })
    }

    /// Who says to have made it.
    pub(crate) fn issuer(&self) -> &str {
        &self.claims.iss
    }

    /// Which of the issuer's keys it says to be signed with.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The algorithm, if the issuer uses it.
    pub(crate) fn algorithm(&self, allowed: &[Algorithm]) -> Result<Algorithm, Reason> {
        allowed
            .iter()
            .copied()
            .find(|algorithm| algorithm.name() == self.header.alg)
            .ok_or(Reason::Algorithm)
    }

    /// Whether `typ` is that of an access token (RFC 9068 section 2.1) or of any JWT.
    pub(crate) fn check_type(&self) -> Result<(), Reason> {
        let Some(typ) = &self.header.typ else {
            return Ok(());
        };
        let known = ["JWT", "at+jwt", "application/at+jwt"];
        if known.iter().any(|known| known.eq_ignore_ascii_case(typ)) {
            Ok(())
        } else {
            Err(Reason::Type)
        }
    }

    /// Whether the key's owner signed it.
    pub(crate) fn check_signature(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
    ) -> Result<(), Reason> {
        let input = SignInput::Message(self.signed.as_bytes());
        key.verify(algorithm, input, &self.signature)
            .map_err(|_| Reason::Signature)
    }

    /// Whether it is valid at `now`, with clocks that may differ by `skew`: all in seconds. Until when it is.
    pub(crate) fn check_times(&self, now: u64, skew: u64) -> Result<u64, Reason> {
        let expires = seconds(self.claims.exp)?.saturating_add(skew);
        if now >= expires {
            return Err(Reason::Expired);
        }
        let latest = now.saturating_add(skew);
        if let Some(not_before) = self.claims.nbf
            && seconds(not_before)? > latest
        {
            return Err(Reason::NotYetValid);
        }
        if let Some(issued) = self.claims.iat
            && seconds(issued)? > latest
        {
            return Err(Reason::IssuedInTheFuture);
        }
        Ok(expires)
    }

    /// Whether it is for one of `audiences`.
    pub(crate) fn check_audience(&self, audiences: &[String]) -> Result<(), Reason> {
        let is_ours = |audience: &String| audiences.contains(audience);
        let ours = match &self.claims.aud {
            Audience::One(audience) => is_ours(audience),
            Audience::Many(several) => several.iter().any(is_ours),
        };
        if ours { Ok(()) } else { Err(Reason::Audience) }
    }

    /// Whom it stands for.
    pub(crate) fn principal(&self, claim: &str, names: &Names) -> Result<Principal, Reason> {
        let name = self
            .all
            .get(claim)
            .and_then(Value::as_str)
            .ok_or(Reason::Principal)?;
        let name = match names {
            Names::Uuid if is_uuid(name) => name.to_ascii_lowercase(),
            Names::Uuid => return Err(Reason::Principal),
            Names::Prefixed(prefix) if !name.is_empty() => format!("{prefix}{name}"),
            Names::Prefixed(_) => return Err(Reason::Principal),
            Names::Local => name.to_owned(),
        };
        Principal::new(&name).map_err(|_| Reason::Principal)
    }
}

/// base64url without padding, and without spare bits: there is one spelling of each token.
fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_| Reason::Malformed)
}

/// A `NumericDate` (RFC 7519 section 2), which may have a fraction.
fn seconds(date: f64) -> Result<u64, Reason> {
    if !(0.0..=253_402_300_799.0).contains(&date) {
        return Err(Reason::Malformed);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range above"
    )]
    let seconds = date as u64;
    Ok(seconds)
}

/// 8-4-4-4-12 hex digits.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

impl std::fmt::Debug for Jwt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt").finish_non_exhaustive()
    }
}
