//! Who sends a request: every way to prove an identity ends in a principal of the partition's engine.
//!
//! | what a request brings | who it stands for |
//! |---|---|
//! | `Authorization: Bearer hsm_s_…` | the user who logged in at `POST /hsm/v1/sessions` |
//! | `Authorization: Bearer hsm_t_…` | the principal of the API token |
//! | `Authorization: Bearer` and a JWT | the principal that a claim names, if the issuer is one that the configuration has |
//! | a client certificate | the principal that the configuration gives it |
//! | a Unix socket | the principal that the configuration gives the user at the other end |
//!
//! A token decides: with one, certificate and socket are not looked at, and a wrong one is refused however good they are.
//!
//! **Invariant:** nothing here knows of roles. What a principal may do is the engine's to say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hsm_client::{Session, SystemClock};
use hsm_core::{
    Algorithm, Clock, Credentials, Error, ErrorKind, Principal, Result, SecretBytes, limits,
};
use hsm_wire::Body;
use hsm_wire::server::{LoginBody, SessionBody, WhoAmIBody};
use http::{HeaderMap, HeaderValue};
use quick_cache::sync::Cache;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::partition::Partition;

mod bearer;
mod certificate;
mod challenge;
mod config;
mod jwt;
mod oidc;
mod refusal;
mod session_token;
#[cfg(test)]
mod tests;
mod unix;

use bearer::Bearer;
use certificate::Certificates;
use challenge::Challenge;
use jwt::{ALGORITHMS, Jwt, Names};
use oidc::{Issuer, Keys, Verified};
use session_token::{KeptSessions, SESSION_TOKENS_MAX, TokenHash, hash};
use unix::UnixPeers;

pub use config::{CertificateConfig, IdentityConfig, IssuerConfig, UnixConfig};
pub(crate) use oidc::KeySet;
pub(crate) use refusal::{Reason, Refusal};

/// Most tokens of issuers of which it is remembered that they are right.
const VERIFIED_MAX: usize = 10_000;

/// Clocks of an issuer and of the server differ by this at most, in seconds.
const CLOCK_SKEW_MAX: u64 = 300;

/// Who is at the other end of a connection, as far as the connection tells.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// TLS over TCP.
    Tcp {
        /// From where.
        address: SocketAddr,
        /// The client's certificate, if it showed one that was verified.
        certificate: Option<CertificateDer<'static>>,
    },
    /// A Unix socket: what the kernel says of the process at the other end.
    Unix {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// The process, where it is known.
        pid: Option<u32>,
    },
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The principal's session.
    pub(crate) session: Session,
    proof: Proof,
}

/// What proved it.
#[derive(Clone, Copy)]
enum Proof {
    SessionToken(TokenHash),
    ApiToken(TokenHash),
    Issuer,
    Certificate,
    Unix,
}

impl Caller {
    /// The principal.
    pub(crate) fn principal(&self) -> &Principal {
        self.session.principal()
    }

    /// Whether there was a login, whose session cannot be had again without a password.
    pub(crate) fn has_logged_in(&self) -> bool {
        matches!(self.proof, Proof::SessionToken(_))
    }

    /// How the principal was proved, for logs and metrics.
    pub(crate) fn method(&self) -> &'static str {
        self.proof.label()
    }
}

impl Proof {
    const fn label(self) -> &'static str {
        match self {
            Self::SessionToken(_) => "session_token",
            Self::ApiToken(_) => "api_token",
            Self::Issuer => "issuer",
            Self::Certificate => "certificate",
            Self::Unix => "unix",
        }
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// Everybody whom a server knows, in all its partitions.
///
/// ```
/// use std::sync::Arc;
///
/// use hsm_client::SystemClock;
/// use hsm_server::{Identities, IdentityConfig};
///
/// let identities = Identities::new(&IdentityConfig::default(), Arc::new(SystemClock::default()))?;
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Identities {
    clock: Arc<dyn Clock>,
    issuers: Vec<Issuer>,
    /// One for each issuer.
    challenges: Vec<Challenge>,
    /// The challenge of partitions without an issuer.
    own: Challenge,
    certificates: Certificates,
    unix: UnixPeers,
    session_tokens: KeptSessions,
    api_tokens: KeptSessions,
    verified: Cache<TokenHash, Verified>,
}

/// Nobody but the users and API tokens of the partitions, by the system's clock.
impl Default for Identities {
    fn default() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        Self {
            issuers: Vec::new(),
            challenges: Vec::new(),
            own: Challenge::own(None),
            certificates: Certificates::default(),
            unix: UnixPeers::default(),
            session_tokens: KeptSessions::new(clock.clone(), SESSION_TOKENS_MAX),
            api_tokens: KeptSessions::new(clock.clone(), SESSION_TOKENS_MAX),
            verified: Cache::new(VERIFIED_MAX),
            clock,
        }
    }
}

impl Identities {
    /// Those whom a configuration names. `clock` is the one of the partitions' engines.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a configuration that contradicts itself, naming the entry.
    pub fn new(config: &IdentityConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self {
            issuers: config.issuer.iter().map(issuer).collect::<Result<_>>()?,
            challenges: config.issuer.iter().map(challenge_of).collect(),
            certificates: Certificates::new(&config.certificate)?,
            unix: UnixPeers::new(&config.unix)?,
            session_tokens: KeptSessions::new(clock.clone(), SESSION_TOKENS_MAX),
            api_tokens: KeptSessions::new(clock.clone(), SESSION_TOKENS_MAX),
            clock,
            ..Self::default()
        })
    }

    /// Takes the tokens of the authority in this process as well. They name users.
    pub(crate) fn trust(
        mut self,
        issuer: String,
        tenant: String,
        audiences: Vec<String>,
        keys: KeySet,
    ) -> Self {
        self.issuers.push(Issuer {
            url: issuer,
            audiences,
            algorithms: vec![Algorithm::Rs256],
            skew: 0,
            claim: "oid".to_owned(),
            names: Names::Local,
            partitions: Vec::new(),
            keys: Arc::new(Keys::fixed(keys)),
        });
        let own = Challenge::own(Some(tenant));
        self.challenges.push(own.clone());
        self.own = own;
        self
    }

    /// Who sends this request. `base` is the server's URL as the client knows it.
    pub(crate) async fn caller(
        &self,
        partition: &Partition,
        peer: &Peer,
        headers: &HeaderMap,
        base: &str,
    ) -> Result<Caller, Refusal> {
        let found = match Bearer::of(headers) {
            Ok(Some(bearer)) => self.of_token(partition, bearer).await,
            Ok(None) => self.of_connection(partition, peer).await,
            Err(reason) => Err(reason.into()),
        };
        found.map_err(|refusal| {
            tracing::info!(
                reason = refusal.reason.label(),
                partition = partition.host(),
                peer = ?Origin(peer),
                message = refusal.message,
                "not authenticated"
            );
            refusal.with_challenge(|reason| self.header(partition, base, reason))
        })
    }

    /// `WWW-Authenticate` for a request without a token.
    pub(crate) fn challenge(&self, partition: &Partition, base: &str) -> HeaderValue {
        self.header(partition, base, Reason::Missing)
    }

    /// `POST /hsm/v1/sessions`: a user's name and password for a session token. The answer's body, for 201.
    pub(crate) async fn login(
        &self,
        partition: &Partition,
        body: &[u8],
        base: &str,
    ) -> Result<Body, Refusal> {
        let refuse = |refusal: Refusal| {
            tracing::info!(
                reason = refusal.reason.label(),
                partition = partition.host(),
                "login refused"
            );
            refusal.with_challenge(|reason| self.header(partition, base, reason))
        };
        let LoginBody { user, password } = LoginBody::read(body)
            .map_err(|error| refuse(Refusal::engine(&error, Reason::Password)))?;
        self.sweep();
        let session = partition
            .hsm()
            .login_with(Credentials::Password { user, password })
            .await
            .map_err(|error| refuse(Refusal::engine(&error, Reason::Password)))?;
        let kept = session_token::new_token().and_then(|token| {
            let hash = hash(partition.host(), &token);
            self.session_tokens
                .keep(partition.host(), hash, session.clone())?;
            Ok(token)
        });
        let token = match kept {
            Ok(token) => token,
            Err(error) => {
                session.logout().await;
                return Err(refuse(Refusal::engine(&error, Reason::Ended)));
            }
        };
        let answer = SessionBody {
            token: SecretBytes::copy_from(token.as_bytes()),
            principal: session.principal().clone(),
            expires: self.clock.now() + limits::SESSION_LIFETIME_MAX,
        };
        Ok(answer.write())
    }

    /// `GET /hsm/v1/sessions/current`: the answer's body.
    pub(crate) fn who_am_i(caller: &Caller) -> Body {
        let answer = WhoAmIBody {
            principal: caller.principal().clone(),
            method: caller.method().to_owned(),
        };
        answer.write()
    }

    /// `DELETE /hsm/v1/sessions/current`. Ends the session of a session token; other proofs are not the server's to end,
    /// and stay.
    pub(crate) async fn logout(&self, caller: &Caller) {
        if let Proof::SessionToken(hash) = caller.proof {
            self.session_tokens.remove(&hash);
            caller.session.logout().await;
        }
    }

    /// Forgets a session that the engine says has ended. To be called when it answers
    /// [`Unauthenticated`](ErrorKind::Unauthenticated).
    pub(crate) fn ended(&self, caller: &Caller) {
        match caller.proof {
            Proof::SessionToken(hash) => drop(self.session_tokens.remove(&hash)),
            Proof::ApiToken(hash) => drop(self.api_tokens.remove(&hash)),
            Proof::Issuer | Proof::Certificate | Proof::Unix => {}
        }
    }

    /// Lets go of sessions that nobody will use again: the engine has room for a number of them, and does not know which.
    fn sweep(&self) {
        self.session_tokens.sweep();
        self.api_tokens.sweep();
    }

    async fn of_token(&self, partition: &Partition, bearer: Bearer<'_>) -> Result<Caller, Refusal> {
        match bearer {
            Bearer::Session(token) => {
                let hash = hash(partition.host(), token);
                let session = self.session_tokens.find(&hash).ok_or(Reason::Ended)?;
                Ok(Caller {
                    session,
                    proof: Proof::SessionToken(hash),
                })
            }
            Bearer::Api(token) => self.of_api_token(partition, token).await,
            Bearer::Jwt(token) => {
                let principal = self.of_jwt(partition, token).await?;
                self.of_principal(partition, &principal, Proof::Issuer)
                    .await
            }
        }
    }

    async fn of_api_token(&self, partition: &Partition, token: &str) -> Result<Caller, Refusal> {
        let hash = hash(partition.host(), token);
        let proof = Proof::ApiToken(hash);
        if let Some(session) = self.api_tokens.find(&hash) {
            return Ok(Caller { session, proof });
        }
        self.sweep();
        let session = partition
            .hsm()
            .login_with(Credentials::token(token))
            .await
            .map_err(|error| Refusal::engine(&error, Reason::Ended))?;
        self.api_tokens
            .keep(partition.host(), hash, session.clone())
            .map_err(|error| Refusal::engine(&error, Reason::Ended))?;
        Ok(Caller { session, proof })
    }

    /// The principal of a JWT: one hash if it was verified before.
    async fn of_jwt(&self, partition: &Partition, token: &str) -> Result<Principal, Reason> {
        let hash = hash(partition.host(), token);
        if let Some(verified) = self.verified.get(&hash) {
            let keys = &self.issuers[verified.issuer].keys;
            if verified.generation == keys.generation()
                && keys.are_good(&self.clock)
                && self.clock.now().unix_seconds() < verified.expires
            {
                return Ok(verified.principal);
            }
            self.verified.remove(&hash);
        }
        let jwt = Jwt::parse(token)?;
        let (number, issuer) = self
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| issuer.serves(partition.host()) && issuer.url == jwt.issuer())
            .ok_or(Reason::Issuer)?;
        let verified = issuer.verify(number, &jwt, &self.clock).await?;
        self.verified.insert(hash, verified.clone());
        Ok(verified.principal)
    }

    async fn of_connection(&self, partition: &Partition, peer: &Peer) -> Result<Caller, Refusal> {
        let (principal, proof) = match peer {
            Peer::Tcp { certificate, .. } => (
                certificate
                    .as_ref()
                    .and_then(|shown| self.certificates.principal(partition.host(), shown)),
                Proof::Certificate,
            ),
            Peer::Unix { uid, gid, .. } => (
                self.unix.principal(partition.host(), *uid, *gid),
                Proof::Unix,
            ),
        };
        let principal = principal.ok_or(Reason::Missing)?;
        self.of_principal(partition, &principal, proof).await
    }

    async fn of_principal(
        &self,
        partition: &Partition,
        principal: &Principal,
        proof: Proof,
    ) -> Result<Caller, Refusal> {
        self.sweep();
        let session = partition
            .session_of(principal)
            .await
            .map_err(|error| Refusal::engine(&error, Reason::Principal))?;
        Ok(Caller { session, proof })
    }

    fn header(&self, partition: &Partition, base: &str, reason: Reason) -> HeaderValue {
        let issuers = self.issuers.iter().zip(&self.challenges);
        issuers
            .filter(|(issuer, _)| issuer.serves(partition.host()))
            .map(|(_, challenge)| challenge)
            .next()
            .unwrap_or(&self.own)
            .header(base, reason)
    }
}

/// Where a request comes from, without the certificate's bytes.
struct Origin<'a>(&'a Peer);

impl std::fmt::Debug for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Peer::Tcp { address, .. } => write!(f, "{address}"),
            Peer::Unix { uid, pid, .. } => write!(f, "uid {uid}, pid {}", pid.unwrap_or_default()),
        }
    }
}

/// Checks an issuer's entry.
fn issuer(config: &IssuerConfig) -> Result<Issuer> {
    let wrong = |what: String| {
        let issuer = &config.issuer;
        Error::new(
            ErrorKind::InvalidInput,
            format!("the issuer {issuer}: {what}"),
        )
    };
    let discovery = config.discovery.clone().unwrap_or_else(|| {
        let issuer = config.issuer.trim_end_matches('/');
        format!("{issuer}/.well-known/openid-configuration")
    });
    if !discovery.starts_with("https://") {
        return Err(wrong("its documents are read over https only".to_owned()));
    }
    if config.audiences.is_empty() || config.audiences.iter().any(String::is_empty) {
        return Err(wrong(
            "say in `audiences` what its tokens must be for".to_owned(),
        ));
    }
    if config.clock_skew_seconds > CLOCK_SKEW_MAX {
        return Err(wrong(format!(
            "clocks may differ by {CLOCK_SKEW_MAX} s at most"
        )));
    }
    let algorithms = match &config.algorithms {
        None => ALGORITHMS.to_vec(),
        Some(names) => names
            .iter()
            .map(|name| {
                let known = ALGORITHMS.iter().find(|known| known.name() == name);
                known.copied().ok_or_else(|| {
                    wrong(format!(
                        "{name} is none of RS256, PS256, ES256, ES384, EdDSA"
                    ))
                })
            })
            .collect::<Result<_>>()?,
    };
    let names = match &config.prefix {
        None => Names::Uuid,
        Some(prefix) => {
            Principal::new(prefix).map_err(|error| {
                wrong("the prefix is the beginning of a principal's name".to_owned())
                    .with_source(error)
            })?;
            Names::Prefixed(prefix.clone())
        }
    };
    let client = https_client(config).map_err(|error| {
        wrong("no HTTPS client could be made for it".to_owned()).with_source(error)
    })?;
    Ok(Issuer {
        url: config.issuer.clone(),
        audiences: config.audiences.clone(),
        algorithms,
        skew: config.clock_skew_seconds,
        claim: config.claim.clone(),
        names,
        partitions: config.partitions.clone(),
        keys: Arc::new(Keys::remote(
            client,
            discovery,
            config.issuer.clone(),
            Duration::from_secs(config.refetch_seconds.max(1)),
            Duration::from_secs(config.keep_keys_seconds),
        )),
    })
}

/// A client that follows no redirect and speaks nothing but HTTPS.
fn https_client(
    config: &IssuerConfig,
) -> Result<reqwest::Client, Box<dyn std::error::Error + Send + Sync>> {
    // Whoever embeds the server may have installed another.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut builder = reqwest::Client::builder()
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(path) = &config.ca {
        let mut roots = Vec::new();
        for certificate in CertificateDer::pem_file_iter(path)? {
            roots.push(reqwest::Certificate::from_der(&certificate?)?);
        }
        builder = builder.tls_certs_only(roots);
    }
    Ok(builder.build()?)
}

fn challenge_of(config: &IssuerConfig) -> Challenge {
    let issuer = config.issuer.trim_end_matches('/');
    let authority = config
        .authority
        .clone()
        .unwrap_or_else(|| issuer.strip_suffix("/v2.0").unwrap_or(issuer).to_owned());
    let url = |audience: &&String| audience.starts_with("https://");
    Challenge {
        authority: Some(authority),
        tenant: None,
        resource: config
            .resource
            .clone()
            .or_else(|| config.audiences.iter().find(url).cloned()),
        scope: config.scope.clone(),
    }
}
