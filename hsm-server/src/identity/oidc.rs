//! [`Issuer`]: an OpenID Connect issuer whose tokens a partition takes, and [`Keys`], its keys as they were last read.
//!
//! Keys are read when they are first needed, again when a token names one that is not known, and once an hour. They go when
//! the issuer's document drops them, and with them every token that they signed. While the issuer cannot be reached, the last
//! ones serve on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hsm_core::key::Jwk;
use hsm_core::{Algorithm, Clock, Error, ErrorKind, PublicKey, Result};
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::jwt::{Jwt, Names};
use super::refusal::Reason;

/// Keys are read again after this long.
pub(crate) const KEYS_REFRESH: Duration = Duration::from_secs(60 * 60);
/// A document is asked for this long at most.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest document of an issuer, in bytes.
const DOCUMENT_LEN_MAX: usize = 256 << 10;
/// Most keys of an issuer that are looked at.
const KEYS_MAX: usize = 64;

const NEVER: u64 = u64::MAX;

/// Whose tokens a partition takes, and what they must say.
#[derive(Debug)]
pub(crate) struct Issuer {
    /// `iss`, to the letter.
    pub(crate) url: String,
    /// `aud`: one of these.
    pub(crate) audiences: Vec<String>,
    /// `alg`: one of these.
    pub(crate) algorithms: Vec<Algorithm>,
    /// How far clocks may differ, in seconds.
    pub(crate) skew: u64,
    /// The claim that names the principal.
    pub(crate) claim: String,
    /// How it does.
    pub(crate) names: Names,
    /// The partitions that take its tokens, by host name. None: all.
    pub(crate) partitions: Vec<String>,
    /// Its keys.
    pub(crate) keys: Arc<Keys>,
}

/// A token that was found right.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// Whom it stands for.
    pub(crate) principal: hsm_core::Principal,
    /// Until when, in Unix seconds.
    pub(crate) expires: u64,
    /// The issuer's number among all.
    pub(crate) issuer: usize,
    /// [`Keys::generation`] when it was verified.
    pub(crate) generation: u64,
}

impl Issuer {
    /// Whether the partition takes its tokens.
    pub(crate) fn serves(&self, host: &str) -> bool {
        self.partitions.is_empty()
            || self
                .partitions
                .iter()
                .any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Verifies everything but who the issuer is.
    pub(crate) async fn verify(
        &self,
        number: usize,
        jwt: &Jwt<'_>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Verified, Reason> {
        jwt.check_type()?;
        let algorithm = jwt.algorithm(&self.algorithms)?;
        // Before the key is looked for: if keys change meanwhile, the token is verified once more.
        let generation = self.keys.generation();
        let key = self.keys.find(jwt.key_id(), clock).await?;
        if key.algorithm.is_some_and(|only| only != algorithm) {
            return Err(Reason::Algorithm);
        }
        jwt.check_signature(algorithm, &key.public)?;
        let expires = jwt.check_times(clock.now().unix_seconds(), self.skew)?;
        jwt.check_audience(&self.audiences)?;
        Ok(Verified {
            principal: jwt.principal(&self.claim, &self.names)?,
            expires,
            issuer: number,
            generation,
        })
    }
}

/// A key of an issuer.
#[derive(Debug)]
pub(crate) struct Key {
    public: PublicKey,
    /// The one algorithm that the issuer uses it for, if it says.
    algorithm: Option<Algorithm>,
}

/// Keys by `kid`.
#[derive(Debug, Default)]
pub(crate) struct KeySet(HashMap<Option<String>, Arc<Key>>);

impl KeySet {
    /// Reads a JWK set (RFC 7517 section 5). Keys of types that we do not know, and those that are not for signatures, are
    /// left out, as the RFC asks. Secret keys are of no known type.
    pub(crate) fn parse(document: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(document)?;
        let mut keys = HashMap::new();
        for jwk in document.keys.into_iter().take(KEYS_MAX) {
            let Ok(jwk) = Jwk::deserialize(jwk) else {
                continue;
            };
            if jwk
                .public_key_use
                .as_deref()
                .is_some_and(|only| only != "sig")
            {
                continue;
            }
            let algorithm = match &jwk.alg {
                None => None,
                Some(name) => match super::jwt::ALGORITHMS
                    .iter()
                    .find(|known| known.name() == name)
                {
                    Some(algorithm) => Some(*algorithm),
                    None => continue,
                },
            };
            let Ok(public) = PublicKey::from_jwk(&jwk) else {
                continue;
            };
            keys.insert(jwk.kid.clone(), Arc::new(Key { public, algorithm }));
        }
        Ok(Self(keys))
    }

    /// The key of this id. A token that names none means the only one.
    fn find(&self, id: Option<&str>) -> Option<Arc<Key>> {
        match id {
            Some(id) => self.0.get(&Some(id.to_owned())).cloned(),
            None if self.0.len() == 1 => self.0.values().next().cloned(),
            None => None,
        }
    }

    /// Whether every key of `older` is here, unchanged.
    fn has_all_of(&self, older: &Self) -> bool {
        older.0.iter().all(|(id, key)| {
            self.0
                .get(id)
                .is_some_and(|newer| newer.public == key.public && newer.algorithm == key.algorithm)
        })
    }
}

/// Where keys come from.
#[derive(Debug)]
enum Source {
    /// They are those of the authority in this process.
    Fixed,
    /// They are read over HTTPS.
    Remote {
        client: reqwest::Client,
        /// `…/.well-known/openid-configuration`.
        discovery: String,
        /// What the document must say of itself.
        issuer: String,
    },
}

/// An issuer's keys.
#[derive(Debug)]
pub(crate) struct Keys {
    source: Source,
    /// A key that is not known is looked for this often at most.
    refetch: Duration,
    /// Keys that could not be read again serve this long.
    keep: Duration,
    set: RwLock<Arc<KeySet>>,
    /// Grows when a key went or changed.
    generation: AtomicU64,
    /// On the clock that nobody sets, in milliseconds: when they were read, and when that was last tried.
    read: AtomicU64,
    tried: AtomicU64,
    turn: Mutex<()>,
}

impl Keys {
    /// Keys that do not change.
    pub(crate) fn fixed(set: KeySet) -> Self {
        Self::new(Source::Fixed, set, Duration::ZERO, Duration::ZERO)
    }

    /// Keys of the issuer whose document is at `discovery`.
    pub(crate) fn remote(
        client: reqwest::Client,
        discovery: String,
        issuer: String,
        refetch: Duration,
        keep: Duration,
    ) -> Self {
        let source = Source::Remote {
            client,
            discovery,
            issuer,
        };
        Self::new(source, KeySet::default(), refetch, keep)
    }

    fn new(source: Source, set: KeySet, refetch: Duration, keep: Duration) -> Self {
        Self {
            source,
            refetch,
            keep,
            set: RwLock::new(Arc::new(set)),
            generation: AtomicU64::new(0),
            read: AtomicU64::new(NEVER),
            tried: AtomicU64::new(NEVER),
            turn: Mutex::new(()),
        }
    }

    /// What a verified token remembers: it is not good any more when this has grown.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether what was verified with these keys may still be believed. Has them read again when it is time.
    pub(crate) fn are_good(self: &Arc<Self>, clock: &Arc<dyn Clock>) -> bool {
        if matches!(self.source, Source::Fixed) {
            return true;
        }
        let Some(age) = self.age(&self.read, clock) else {
            return false;
        };
        if age >= KEYS_REFRESH && self.may_try(clock) {
            let (keys, clock) = (self.clone(), clock.clone());
            tokio::spawn(async move { keys.refresh(&clock).await });
        }
        age < self.keep.max(KEYS_REFRESH)
    }

    /// The key of this id.
    async fn find(
        self: &Arc<Self>,
        id: Option<&str>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Key>, Reason> {
        if self.are_good(clock) {
            if let Some(key) = self.known(id) {
                return Ok(key);
            }
            if matches!(self.source, Source::Fixed) {
                return Err(Reason::UnknownKey);
            }
        }
        if self.may_try(clock) {
            // A task of its own: with a request that is given up, the only attempt for a while would go as well.
            let (keys, clock) = (self.clone(), clock.clone());
            drop(tokio::spawn(async move { keys.refresh(&clock).await }).await);
        } else {
            // Somebody may be reading them now.
            drop(self.turn.lock().await);
        }
        if !self.are_good(clock) {
            return Err(Reason::IssuerUnreachable);
        }
        self.known(id).ok_or(Reason::UnknownKey)
    }

    fn known(&self, id: Option<&str>) -> Option<Arc<Key>> {
        self.set.read().find(id)
    }

    /// Reads the keys, unless somebody has tried just now.
    async fn refresh(&self, clock: &Arc<dyn Clock>) {
        let _turn = self.turn.lock().await;
        if !self.may_try(clock) {
            return;
        }
        self.tried
            .store(millis(clock.monotonic()), Ordering::Relaxed);
        match self.fetch().await {
            Ok(set) => {
                let mut known = self.set.write();
                let complete = set.has_all_of(&known);
                *known = Arc::new(set);
                drop(known);
                if !complete {
                    self.generation.fetch_add(1, Ordering::Release);
                }
                self.read
                    .store(millis(clock.monotonic()), Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "the keys of an issuer cannot be read");
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet> {
        #[derive(Deserialize)]
        struct Configuration {
            issuer: String,
            jwks_uri: String,
        }
        let Source::Remote {
            client,
            discovery,
            issuer,
        } = &self.source
        else {
            return Ok(KeySet::default());
        };
        let document = document(client, discovery).await?;
        let found: Configuration = serde_json::from_slice(&document)
            .map_err(|source| no_document(discovery).with_source(source))?;
        if found.issuer != *issuer {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{discovery} is of the issuer {:?}, not of {issuer:?}",
                    found.issuer
                ),
            ));
        }
        let keys = self::document(client, &found.jwks_uri).await?;
        let set = KeySet::parse(&keys)
            .map_err(|source| no_document(&found.jwks_uri).with_source(source))?;
        if set.0.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{} has no key that tokens could be signed with",
                    found.jwks_uri
                ),
            ));
        }
        Ok(set)
    }

    fn may_try(&self, clock: &Arc<dyn Clock>) -> bool {
        self.age(&self.tried, clock)
            .is_none_or(|age| age >= self.refetch)
    }

    fn age(&self, since: &AtomicU64, clock: &Arc<dyn Clock>) -> Option<Duration> {
        let since = since.load(Ordering::Relaxed);
        (since != NEVER)
            .then(|| Duration::from_millis(millis(clock.monotonic()).saturating_sub(since)))
    }
}

/// Reads a document, if it is not too long.
async fn document(client: &reqwest::Client, url: &str) -> Result<Vec<u8>> {
    let unreachable = |source: reqwest::Error| {
        Error::new(ErrorKind::Unreachable, format!("{url} cannot be read")).with_source(source)
    };
    let mut response = client
        .get(url)
        .timeout(FETCH_TIMEOUT)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(unreachable)?;
    // No redirect is followed, and what stands in its place is no document.
    if response.status() != http::StatusCode::OK {
        return Err(no_document(url));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > DOCUMENT_LEN_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("{url} is longer than {DOCUMENT_LEN_MAX} bytes"),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn no_document(url: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("{url} is not what OpenID Connect says it is"),
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}

/// An error with its causes, on one line.
struct Causes<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
