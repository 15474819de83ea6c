//! [`Issuer`]: signs tokens with a key of the HSM, and publishes its versions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hsm_core::key::typed::Signing;
use hsm_core::{Clock, Error, ErrorKind, KeyInfo, Result, Timestamp, VersionId};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Header, TokenData, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::compact::{Compact, encode};
use super::signer::{VersionSigner, VersionVerifier, token_algorithm};
use super::verifier::{key_id, unknown_key, verify};
use super::versions::Schedule;
use super::{
    PUBLICATION_LEAD_DEFAULT, SIGNATURE, SIGNED_LEN_MAX, TOKEN_LIFETIME_DEFAULT,
    UNKNOWN_KEY_ID_DELAY, VERSIONS_LIFETIME, check_len, invalid, published,
};
use crate::flight::Flight;
use crate::{Key, SystemClock, versions};

/// Signs tokens with a key of the HSM, and publishes the keys to verify them with: see [the module](super).
///
/// Share one behind a reference; it asks the HSM for the versions once a minute, and for a signature each time.
///
/// ```
/// use std::time::Duration;
///
/// use hsm_client::jose::Issuer;
/// use hsm_client::kinds::Ed25519;
/// use hsm_client::{Key, Result};
///
/// # fn with(key: Key<Ed25519>) -> Result<Issuer<Ed25519>> {
/// let issuer = Issuer::builder(key)
///     .token_lifetime(Duration::from_secs(5 * 60))
///     .publication_lead(Duration::from_secs(15 * 60))
///     .build()?;
/// assert_eq!(issuer.jwks_max_age(), Duration::from_secs(14 * 60));
/// # Ok(issuer)
/// # }
/// ```
#[derive(Debug)]
pub struct Issuer<A> {
    key: Key<A>,
    schedule: Schedule,
    algorithm: jsonwebtoken::Algorithm,
    typ: String,
    clock: Arc<dyn Clock>,
    /// What the HSM said last.
    view: Mutex<Known>,
    asking: Flight,
}

/// What is known of the versions, and how often that was forgotten: what was asked before is not kept after it.
#[derive(Debug, Default)]
struct Known {
    view: Option<Arc<View>>,
    forgotten: u64,
}

/// An issuer that is about to be made.
///
/// Made by [`Issuer::builder`]; the [module](super) has an example.
#[derive(Debug)]
#[must_use]
pub struct IssuerBuilder<A> {
    key: Key<A>,
    lead: Duration,
    lifetime: Duration,
    typ: String,
    clock: Arc<dyn Clock>,
}

/// The versions of the key, the oldest first, and when the HSM said so.
#[derive(Debug)]
struct View {
    /// On the clock that nobody sets.
    taken: Duration,
    versions: Vec<KeyInfo>,
}

impl<A: Signing> Issuer<A> {
    /// An issuer that signs with `key`.
    pub fn builder(key: Key<A>) -> IssuerBuilder<A> {
        IssuerBuilder {
            key,
            lead: PUBLICATION_LEAD_DEFAULT,
            lifetime: TOKEN_LIFETIME_DEFAULT,
            typ: "JWT".to_owned(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Signs claims: a JSON object with an `exp` within the [lifetime](IssuerBuilder::token_lifetime) of tokens.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for claims that are no object, or whose `exp` is missing, past or too far
    /// ahead, [`LimitExceeded`](ErrorKind::LimitExceeded) for a token above [`SIGNED_LEN_MAX`],
    /// [`KeyState`](ErrorKind::KeyState) if no version of the key may sign.
    pub async fn sign<C: Serialize>(&self, claims: &C) -> Result<String> {
        let payload = serde_json::to_vec(claims).map_err(|source| {
            invalid("the claims cannot be written as JSON").with_source(source)
        })?;
        self.check_expiry(&payload)?;
        let result = self.sign_payload(&payload).await;
        match result {
            // The version was suspended or taken away since the HSM was asked: ask again, and sign with what there is.
            Err(error) if matches!(error.kind(), ErrorKind::KeyState | ErrorKind::NotFound) => {
                self.forget();
                self.sign_payload(&payload).await
            }
            result => result,
        }
    }

    /// The key set: every version that may still verify, and those that will sign next. For
    /// `https://…/.well-known/jwks.json`, with [`jwks_max_age`](Self::jwks_max_age) as its `max-age`.
    ///
    /// Sets of several issuers go together in one: no two versions have the same `kid`.
    ///
    /// # Errors
    ///
    /// As [`Key::versions`].
    pub async fn jwks(&self) -> Result<JwkSet> {
        let view = self.view(VERSIONS_LIFETIME).await?;
        let mut keys = Vec::new();
        for version in self.schedule.published(&view.versions, self.clock.now()) {
            if let Some(key) = &version.public {
                let algorithm = A::ALGORITHM.name();
                keys.push(published(key, version.version, SIGNATURE, Some(algorithm))?);
            }
        }
        Ok(JwkSet { keys })
    }

    /// How long verifiers may keep the key set: the lead time less the minute that an issuer may take to learn of a version.
    #[must_use]
    pub fn jwks_max_age(&self) -> Duration {
        self.schedule.lead.saturating_sub(VERSIONS_LIFETIME)
    }

    /// Makes a new version. It is in the key set from now on, and signs when the lead time has passed.
    ///
    /// # Errors
    ///
    /// As [`Key::rotate`].
    pub async fn rotate(&self) -> Result<VersionId> {
        let version = self.key.rotate().await;
        self.forget();
        version
    }

    /// Verifies a token of this issuer in this process, and reads its claims, as [`Verifier::verify`](super::Verifier::verify)
    /// does. Other issuers' tokens have a `kid` that is unknown here.
    ///
    /// # Errors
    ///
    /// Those of [`Verifier::verify`](super::Verifier::verify), and those of [`Key::versions`].
    pub async fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        validation: &Validation,
    ) -> Result<TokenData<C>> {
        let token = Compact::parse(token)?;
        let kid = key_id(&token)?;
        let key = match self.published_key(kid, VERSIONS_LIFETIME).await? {
            Some(key) => key,
            // It may be new: ask the HSM, unless it was asked just now.
            None => self
                .published_key(kid, UNKNOWN_KEY_ID_DELAY)
                .await?
                .ok_or_else(unknown_key)?,
        };
        verify(&token, &key, validation, &*self.clock)
    }

    /// The version that signs at the moment, as a signer of [`jsonwebtoken`]. It does not follow rotation.
    ///
    /// # Errors
    ///
    /// [`KeyState`](ErrorKind::KeyState) if no version of the key may sign.
    pub async fn signer(&self) -> Result<VersionSigner<A>> {
        let view = self.view(VERSIONS_LIFETIME).await?;
        let version = self.signing(&view)?;
        Ok(VersionSigner::new(&self.key, version, self.algorithm))
    }

    async fn sign_payload(&self, payload: &[u8]) -> Result<String> {
        let view = self.view(VERSIONS_LIFETIME).await?;
        let version = self.signing(&view)?;
        let mut header = Header::new(self.algorithm);
        header.typ = Some(self.typ.clone());
        header.kid = Some(version.to_string());
        let header = serde_json::to_vec(&header)
            .map_err(|source| invalid("the header cannot be written").with_source(source))?;
        let input = format!("{}.{}", encode(&header), encode(payload));
        check_len(
            "the token",
            input.len() + SIGNATURE_TEXT_LEN_MAX,
            SIGNED_LEN_MAX,
        )?;
        let signature = self.key.at(version).sign(input.as_bytes()).await?;
        Ok(format!("{input}.{}", encode(signature.bytes())))
    }

    fn signing(&self, view: &View) -> Result<VersionId> {
        let version = self.schedule.signing(&view.versions, self.clock.now());
        version.map(|version| version.version).ok_or_else(|| {
            Error::new(
                ErrorKind::KeyState,
                format!(
                    "no version of key {} may sign with {} now; rotate it",
                    self.key.name(),
                    A::ALGORITHM
                ),
            )
        })
    }

    /// A token that lived longer than said would outlive its version in the key set.
    fn check_expiry(&self, payload: &[u8]) -> Result<()> {
        let claims: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|source| invalid("the claims are no JSON object").with_source(source))?;
        let now = self.clock.now();
        let expiry = claims.get("exp").and_then(Value::as_u64);
        let expiry = expiry.map(Timestamp::from_unix_seconds);
        match expiry {
            Some(expiry) if expiry > now && expiry <= now + self.schedule.lifetime => Ok(()),
            _ => Err(invalid(format!(
                "the claims need an `exp` in whole seconds since 1970, after {now} and at most {} s from then: tokens of \
                 this issuer live no longer",
                self.schedule.lifetime.as_secs()
            ))),
        }
    }

    async fn published_key(&self, kid: &str, age: Duration) -> Result<Option<VersionVerifier>> {
        let Ok(wanted) = kid.parse::<VersionId>() else {
            return Ok(None);
        };
        let view = self.view(age).await?;
        let found = self
            .schedule
            .published(&view.versions, self.clock.now())
            .find(|version| version.version == wanted)
            .and_then(|version| version.public.clone());
        found
            .map(|key| VersionVerifier::new(key, A::ALGORITHM))
            .transpose()
    }

    /// What the HSM says, at most `age` ago.
    async fn view(&self, age: Duration) -> Result<Arc<View>> {
        let known = || {
            let view = self.lock().view.clone()?;
            let now = self.clock.monotonic();
            (now.saturating_sub(view.taken) < age).then_some(view)
        };
        let ask = async {
            let (taken, forgotten) = (self.clock.monotonic(), self.lock().forgotten);
            let versions = versions::all(|page| self.key.versions(page)).await?;
            let view = Arc::new(View { taken, versions });
            let mut known = self.lock();
            if known.forgotten == forgotten {
                known.view = Some(view.clone());
            }
            Ok(view)
        };
        self.asking.one(known, ask).await
    }

    fn forget(&self) {
        let mut known = self.lock();
        known.view = None;
        known.forgotten += 1;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Signing> IssuerBuilder<A> {
    /// How long a new version is in the key set before it signs; [`PUBLICATION_LEAD_DEFAULT`] if not set. Verifiers must fetch
    /// the set more often than that.
    pub fn publication_lead(mut self, lead: Duration) -> Self {
        self.lead = lead;
        self
    }

    /// How long tokens may live; [`TOKEN_LIFETIME_DEFAULT`] if not set. An old version stays in the key set for so long.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The `typ` of the header instead of `JWT`: `at+jwt` for access tokens (RFC 9068).
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.typ = typ.into();
        self
    }

    /// Takes the time from `clock`: for tests. It should show what the HSM's clock does.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes the issuer. Nothing is asked of the HSM yet.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a key that signs with what tokens are not signed with here, and for a lead
    /// time below [`VERSIONS_LIFETIME`], for which verifiers could not see a version in time.
    pub fn build(self) -> Result<Issuer<A>> {
        if self.lead < VERSIONS_LIFETIME {
            return Err(invalid(format!(
                "the lead time is {} s, at least {} s are needed for every issuer to publish a new version",
                self.lead.as_secs(),
                VERSIONS_LIFETIME.as_secs()
            )));
        }
        Ok(Issuer {
            algorithm: token_algorithm(A::ALGORITHM)?,
            schedule: Schedule {
                algorithm: A::ALGORITHM,
                lead: self.lead,
                lifetime: self.lifetime,
            },
            key: self.key,
            typ: self.typ,
            clock: self.clock,
            view: Mutex::default(),
            asking: Flight::default(),
        })
    }
}

/// The longest signature in base64url, with its dot: RSA with 4096 bits.
const SIGNATURE_TEXT_LEN_MAX: usize = 684;
