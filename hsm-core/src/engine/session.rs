//! [`EngineSession`]: the line that every request travels, from authorization to the audit record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use async_trait::async_trait;

use super::Engine;
use super::cache::CachedKey;
use super::time::millis;
use super::tokens::UsedToken;
use crate::audit::{Event, RequestId};
use crate::error::{Error, ErrorKind, Result, limit};
use crate::key::VersionId;
use crate::limits::{
    AAD_LEN_MAX, DATA_LEN_MAX, SESSION_IDLE_MAX, SESSION_LIFETIME_MAX, SESSIONS_MAX,
};
use crate::policy::{Grants, Permit, Scope, authorize};
use crate::request::{Request, Response};
use crate::service::{Principal, Session};

/// A principal's session with an [`Engine`].
#[derive(Debug)]
pub struct EngineSession {
    engine: Engine,
    principal: Principal,
    proof: Proof,
    /// On the clock that nobody sets, as is the next.
    opened: Duration,
    /// In milliseconds.
    last_used: AtomicU64,
    ended: AtomicBool,
    /// What the principal may do, as of an epoch of the policy.
    grants: ArcSwap<(u32, Grants)>,
}

/// What a session was opened with, and lasts as long as.
#[derive(Debug)]
pub(super) enum Proof {
    /// The word of a caller in this process.
    Caller,
    /// A user's password, when the user's record was of this epoch.
    Password { epoch: u32 },
    /// An API token.
    Token(UsedToken),
}

/// Who asks for what, on the way to a change.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) id: RequestId,
    pub(super) principal: &'a Principal,
    pub(super) permit: &'a Permit,
}

/// What an operation did.
pub(super) struct Done {
    pub(super) response: Response,
    /// The key version that was used.
    pub(super) version: Option<VersionId>,
    /// The key that was used, for the name in the audit record.
    key: Option<Arc<CachedKey>>,
    /// The journal has the record already.
    journaled: bool,
}

impl Done {
    /// A change: the journal has its record.
    pub(super) fn change(response: Response) -> Self {
        Self {
            response,
            version: None,
            key: None,
            journaled: true,
        }
    }

    /// Something was read.
    pub(super) fn read(response: Response) -> Self {
        Self {
            response,
            version: None,
            key: None,
            journaled: false,
        }
    }

    /// A key was used.
    pub(super) fn used(response: Response, key: Arc<CachedKey>, version: VersionId) -> Self {
        Self {
            response,
            version: Some(version),
            key: Some(key),
            journaled: false,
        }
    }
}

impl EngineSession {
    pub(super) fn open(engine: Engine, principal: Principal, proof: Proof) -> Result<Self> {
        let open = engine.0.sessions.fetch_add(1, Ordering::Relaxed);
        let now = engine.0.time.monotonic();
        // Of another epoch, so that the first call looks at user and grants: either may have changed during login.
        let stale = engine
            .0
            .policy_epoch
            .load(Ordering::Acquire)
            .wrapping_sub(1);
        let session = Self {
            engine,
            principal,
            proof,
            opened: now,
            last_used: AtomicU64::new(millis(now)),
            ended: AtomicBool::new(false),
            grants: ArcSwap::from_pointee((stale, Grants::default())),
        };
        // Dropping the session gives the place back.
        if open >= SESSIONS_MAX {
            return Err(limit("the number of open sessions", open + 1, SESSIONS_MAX));
        }
        Ok(session)
    }

    /// Who is logged in.
    pub(super) fn who(&self) -> &Principal {
        &self.principal
    }

    async fn run(&self, id: RequestId, request: Request<'_>) -> Result<Done> {
        self.engine.refresh().await?;
        self.check_alive()?;
        let grants = self.grants().await?;
        let permit = authorize(
            &self.principal,
            &grants.1,
            request.action(),
            &request.scope(),
        )?;
        if let Some(wrapping) = request.wrapping_key() {
            let scope = Scope::Key(wrapping.clone());
            authorize(&self.principal, &grants.1, request.action(), &scope)?;
        }
        check_lengths(&request)?;
        let asked = Asked {
            id,
            principal: &self.principal,
            permit: &permit,
        };
        self.engine.dispatch(asked, request).await
    }

    fn check_alive(&self) -> Result<()> {
        let now = self.engine.0.time.monotonic();
        let last_used = Duration::from_millis(self.last_used.load(Ordering::Relaxed));
        let idle = now.saturating_sub(last_used);
        let over = if self.ended.load(Ordering::Relaxed) {
            "has ended"
        } else if let Proof::Token(token) = &self.proof
            && self.engine.now() >= token.expires
        {
            "was opened by a token that has expired"
        } else if idle > SESSION_IDLE_MAX {
            "was not used for too long"
        } else if now.saturating_sub(self.opened) > SESSION_LIFETIME_MAX {
            "has reached the end of its life"
        } else {
            // Threads share the session: write only what makes a difference.
            if idle.as_secs() > 0 {
                self.last_used.store(millis(now), Ordering::Relaxed);
            }
            return Ok(());
        };
        self.end();
        Err(Error::new(
            ErrorKind::Unauthenticated,
            format!("the session {over}; log in again"),
        ))
    }

    /// Ends the session, once, and gives its place back. With the last session the keys leave memory.
    fn end(&self) {
        if !self.ended.swap(true, Ordering::Relaxed)
            && self.engine.0.sessions.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.engine.0.keys.clear();
        }
    }

    /// What the principal may do now.
    async fn grants(&self) -> Result<Guard<Arc<(u32, Grants)>>> {
        let epoch = self.engine.0.policy_epoch.load(Ordering::Acquire);
        {
            let grants = self.grants.load();
            if grants.0 == epoch {
                return Ok(grants);
            }
        }
        let (current, reason) = match &self.proof {
            Proof::Caller => (
                self.engine.is_not_disabled(&self.principal).await?,
                "the user is disabled; let an administrator enable it",
            ),
            Proof::Password { epoch } => (
                self.engine.user_is_current(&self.principal, *epoch).await?,
                "the user was disabled, deleted or given a new password; log in again",
            ),
            Proof::Token(token) => (
                self.engine.token_is_current(&self.principal, token).await?,
                "the token was deleted, or its user was changed; log in again",
            ),
        };
        if !current {
            self.end();
            return Err(Error::new(ErrorKind::Unauthenticated, reason));
        }
        let grants = self.engine.0.policy.read().grants(&self.principal);
        let grants = Arc::new((epoch, grants));
        self.grants.store(grants.clone());
        // Not what lies there now: another task may have put older ones back.
        Ok(Guard::from_inner(grants))
    }
}

#[async_trait]
impl Session for EngineSession {
    fn principal(&self) -> &Principal {
        &self.principal
    }

    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        let action = request.action();
        let algorithm = request.algorithm();
        // Cheap to clone; the text is needed only where no key is at hand.
        let name = request.key_name().cloned();
        let result = self.run(id, request).await;
        let (version, key, failure) = match &result {
            Ok(done) if done.journaled => return result.map(|done| done.response),
            Ok(done) => (done.version, done.key.as_deref(), None),
            Err(error) => (None, None, Some(error.kind())),
        };
        let formatted;
        let target = match (key, &name) {
            (Some(key), _) => &*key.target,
            (None, Some(name)) => {
                formatted = format!("/keys/{name}");
                &formatted
            }
            (None, None) => "/",
        };
        let recorded = self.engine.0.audit.append(&Event {
            time: self.engine.now(),
            request: id,
            principal: self.principal.as_str().into(),
            action,
            target: target.into(),
            version,
            algorithm,
            failure,
            detail: "".into(),
        });
        match (result, recorded) {
            (Ok(done), Ok(())) => Ok(done.response),
            (Err(error), Ok(())) => Err(error),
            // There is no log any more, and nothing was done.
            (Err(error), Err(_)) if self.engine.is_closed() => Err(error),
            // It may have happened, and then the journal has a record of it.
            (Err(error), Err(_)) if error.kind() == ErrorKind::Unknown => Err(error),
            (_, Err(source)) => Err(not_audited(source)),
        }
    }

    async fn logout(&self) {
        self.end();
    }
}

impl Drop for EngineSession {
    fn drop(&mut self) {
        self.end();
    }
}

/// What cannot be audited is not done.
pub(super) fn not_audited(source: Error) -> Error {
    Error::new(
        ErrorKind::AuditFailed,
        "the audit log cannot be written, so nothing is done",
    )
    .with_source(source)
}

fn check_lengths(request: &Request<'_>) -> Result<()> {
    let len = request.data_len();
    if len > DATA_LEN_MAX {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "the input has {len} bytes, at most {DATA_LEN_MAX} are allowed; sign a digest of it, or encrypt it under a data key that the HSM wraps"
            ),
        ));
    }
    if let Request::Encrypt { aad, .. } | Request::Decrypt { aad, .. } = request
        && aad.len() > AAD_LEN_MAX
    {
        return Err(limit(
            "the length of the associated data",
            aad.len(),
            AAD_LEN_MAX,
        ));
    }
    Ok(())
}
