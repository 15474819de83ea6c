//! [`Verifier`]: signed tokens against a set of public keys, without the HSM.

use std::collections::BTreeMap;
use std::sync::Arc;

use hsm_core::{Algorithm, Clock, Error, ErrorKind, Jwk as CoreJwk, KeyFamily, PublicKey, Result};
use jsonwebtoken::jwk::{JwkSet, KeyOperations};
use jsonwebtoken::{TokenData, Validation};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::compact::{Body, Compact};
use super::signer::{VersionVerifier, token_algorithm};
use super::{KEY_SET_LEN_MAX, SIGNATURE, claims, invalid, read_jwk};
use crate::SystemClock;

/// Verifies signed tokens with the keys of a set, in this process.
///
/// The token says with its `kid` which key it wants, and nothing else: the algorithm is the key's. So `none` does not exist,
/// and a public key is never taken for the secret of an HMAC.
///
/// ```
/// use hsm_client::jose::{Algorithm, JwkSet, Validation, Verifier};
///
/// # fn with(fetched: &str, token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let verifier = Verifier::new(&serde_json::from_str::<JwkSet>(fetched)?)?;
/// let mut validation = Validation::new(Algorithm::ES256);
/// validation.set_audience(&["shop"]);
/// let token = verifier.verify::<serde_json::Value>(token, &validation)?;
/// println!("{} is here", token.claims["sub"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: BTreeMap<String, VersionVerifier>,
    clock: Arc<dyn Clock>,
}

impl Verifier {
    /// A verifier with the keys of `set`. Keys without `kid`, keys for another use (`use`, `key_ops`), and those of which it does not follow what
    /// they sign with are left out, as RFC 7517 section 5 asks; secret ones too.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) above [`KEY_SET_LEN_MAX`] keys,
    /// [`InvalidInput`](ErrorKind::InvalidInput) if two have the same `kid`.
    pub fn new(set: &JwkSet) -> Result<Self> {
        if set.keys.len() > KEY_SET_LEN_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the key set has {} keys, at most {KEY_SET_LEN_MAX} are allowed",
                    set.keys.len()
                ),
            ));
        }
        let mut keys = BTreeMap::new();
        for jwk in &set.keys {
            let operations = jwk.common.key_operations.as_deref();
            if operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
                continue;
            }
            let Ok((public, jwk)) = read_jwk(jwk) else {
                continue;
            };
            if let Some((kid, key)) = usable(public, jwk)
                && keys.insert(kid, key).is_some()
            {
                return Err(invalid("two keys of the set have the same `kid`"));
            }
        }
        Ok(Self {
            keys,
            clock: Arc::new(SystemClock),
        })
    }

    /// Takes the time from `clock`: for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Verifies a token and reads its claims. `validation` is honoured in full; beyond what `jsonwebtoken` does, a claim that
    /// it has an expectation of must be there.
    ///
    /// # Errors
    ///
    /// | kind | the token |
    /// |---|---|
    /// | [`LimitExceeded`](ErrorKind::LimitExceeded) | is longer than [`SIGNED_LEN_MAX`](super::SIGNED_LEN_MAX) |
    /// | [`InvalidInput`](ErrorKind::InvalidInput) | is none, or asks for an algorithm that is not its key's or not in `validation` |
    /// | [`NotFound`](ErrorKind::NotFound) | has no `kid`, or one that is not in the set |
    /// | [`CryptoFailed`](ErrorKind::CryptoFailed) | has a signature that is wrong |
    /// | [`Unauthenticated`](ErrorKind::Unauthenticated) | has expired, or is for somebody else |
    pub fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        validation: &Validation,
    ) -> Result<TokenData<C>> {
        let token = Compact::parse(token)?;
        let key = self.keys.get(key_id(&token)?).ok_or_else(unknown_key)?;
        verify(&token, key, validation, &*self.clock)
    }
}

/// Verifies a token with the key that its `kid` names.
pub(super) fn verify<C: DeserializeOwned>(
    token: &Compact<'_>,
    key: &VersionVerifier,
    validation: &Validation,
    clock: &dyn Clock,
) -> Result<TokenData<C>> {
    use jsonwebtoken::crypto::JwtVerifier;

    let Body::Signed { payload, signature } = &token.body else {
        return Err(invalid("the token is encrypted, not signed"));
    };
    let algorithm = key.algorithm();
    if token.algorithm() != format!("{algorithm:?}") {
        return Err(invalid(format!(
            "the token asks for another algorithm than {algorithm:?}, which is what its key is for"
        )));
    }
    if !validation.algorithms.contains(&algorithm) {
        return Err(invalid(format!(
            "the token is signed with {algorithm:?}, which the validation does not allow"
        )));
    }
    key.check(token.signing_input.as_bytes(), signature)?;
    let not_json = |source: serde_json::Error| {
        invalid("the token's claims are no JSON object, or not the expected one")
            .with_source(source)
    };
    let claims = serde_json::from_slice::<Map<String, Value>>(payload).map_err(not_json)?;
    claims::check(&claims, validation, clock.now())?;
    Ok(TokenData {
        header: serde_json::from_slice(token.raw_header()).map_err(not_json)?,
        claims: serde_json::from_value(Value::Object(claims)).map_err(not_json)?,
    })
}

/// The `kid` of a token that is not encrypted.
pub(super) fn key_id<'t>(token: &'t Compact<'_>) -> Result<&'t str> {
    token.key_id().ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "the token does not name its key (`kid`)",
        )
    })
}

/// The token's own name for the key is not repeated: it is a stranger's text.
pub(super) fn unknown_key() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "the token's `kid` is that of no key in the set",
    )
}

fn usable(key: PublicKey, jwk: CoreJwk) -> Option<(String, VersionVerifier)> {
    let key_use = jwk.public_key_use.as_deref();
    if key_use.is_some_and(|key_use| key_use != SIGNATURE) {
        return None;
    }
    let algorithm = match &jwk.alg {
        Some(name) => name.parse().ok()?,
        None => only_algorithm(&key)?,
    };
    token_algorithm(algorithm).ok()?;
    Some((jwk.kid?, VersionVerifier::new(key, algorithm).ok()?))
}

/// What a curve key signs with; an RSA key may mean several.
fn only_algorithm(key: &PublicKey) -> Option<Algorithm> {
    let key_type = key.key_type();
    if key_type.info().family == KeyFamily::Rsa {
        return None;
    }
    let mut signing = key_type
        .algorithms()
        .iter()
        .filter(|algorithm| algorithm.does(hsm_core::Operation::Sign));
    signing.next().copied()
}
