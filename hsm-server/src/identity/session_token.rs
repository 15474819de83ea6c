//! [`KeptSessions`]: the sessions behind session tokens (`POST /hsm/v1/sessions`) and API tokens. A token is known by its
//! hash alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_client::Session;
use hsm_core::limits::{SESSION_IDLE_MAX, SESSION_LIFETIME_MAX, SESSIONS_MAX};
use hsm_core::{Clock, Error, ErrorKind, Result};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::bearer::SESSION_PREFIX;

/// Most session tokens, and most sessions behind API tokens, of a server.
pub(crate) const SESSION_TOKENS_MAX: usize = SESSIONS_MAX;

/// The hash of a token, with the partition that it was shown to: a token of one partition is nothing in another.
pub(crate) type TokenHash = [u8; 32];

pub(crate) fn hash(partition: &str, token: &str) -> TokenHash {
    let mut hash = Sha256::new();
    // No host name has a zero byte.
    hash.update(partition.as_bytes());
    hash.update([0]);
    hash.update(token.as_bytes());
    hash.finalize().into()
}

/// Most sessions of one principal in one partition. Those used least leave first: a single user must not take up all that
/// there are.
pub(crate) const SESSION_TOKENS_OF_ONE_MAX: usize = 256;

/// Sessions that have ended are looked for this often at most.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// A session of an engine, and how long it can still be one.
#[derive(Debug)]
struct Kept {
    session: Session,
    partition: Box<str>,
    /// On the clock that nobody sets.
    opened: Duration,
    /// In milliseconds.
    last_used: AtomicU64,
}

impl Kept {
    fn new(partition: &str, session: Session, now: Duration) -> Self {
        Self {
            session,
            partition: partition.into(),
            opened: now,
            last_used: AtomicU64::new(millis(now)),
        }
    }

    /// Whether the engine would still take it: the same rule as there.
    fn is_alive(&self, now: Duration) -> bool {
        let last_used = Duration::from_millis(self.last_used.load(Ordering::Relaxed));
        now.saturating_sub(last_used) <= SESSION_IDLE_MAX
            && now.saturating_sub(self.opened) <= SESSION_LIFETIME_MAX
    }

    fn used(&self, now: Duration) -> Session {
        // Threads share it: write only what makes a difference.
        if millis(now).saturating_sub(self.last_used.load(Ordering::Relaxed)) >= 1000 {
            self.last_used.store(millis(now), Ordering::Relaxed);
        }
        self.session.clone()
    }
}

/// Sessions by the hash of what proves them.
#[derive(Debug)]
pub(crate) struct KeptSessions {
    clock: Arc<dyn Clock>,
    kept: RwLock<HashMap<TokenHash, Kept>>,
    max: usize,
    /// In milliseconds.
    swept: AtomicU64,
}

impl KeptSessions {
    pub(crate) fn new(clock: Arc<dyn Clock>, max: usize) -> Self {
        Self {
            clock,
            kept: RwLock::default(),
            max,
            swept: AtomicU64::new(0),
        }
    }

    /// The session of a token.
    pub(crate) fn find(&self, hash: &TokenHash) -> Option<Session> {
        let now = self.clock.monotonic();
        {
            let kept = self.kept.read();
            let found = kept.get(hash)?;
            if found.is_alive(now) {
                return Some(found.used(now));
            }
        }
        self.remove(hash);
        None
    }

    /// Gives the sessions that have ended back to the engine, which counts those that are open. To be called before another
    /// is opened.
    pub(crate) fn sweep(&self) {
        let now = self.clock.monotonic();
        let swept = self.swept.load(Ordering::Relaxed);
        if millis(now).saturating_sub(swept) < millis(SWEEP_INTERVAL) {
            return;
        }
        self.swept.store(millis(now), Ordering::Relaxed);
        self.kept.write().retain(|_, kept| kept.is_alive(now));
    }

    /// Keeps a session of a partition. Those that have ended make room, and the one that its principal used least if there
    /// are many of the same principal.
    pub(crate) fn keep(&self, partition: &str, hash: TokenHash, session: Session) -> Result<()> {
        let now = self.clock.monotonic();
        let mut kept = self.kept.write();
        let of_same = kept.iter().filter(|(_, kept)| {
            *kept.partition == *partition && kept.session.principal() == session.principal()
        });
        let mut of_same: Vec<_> = of_same
            .map(|(hash, kept)| (kept.last_used.load(Ordering::Relaxed), *hash))
            .collect();
        if of_same.len() >= SESSION_TOKENS_OF_ONE_MAX {
            of_same.sort_unstable();
            for (_, oldest) in &of_same[..=of_same.len() - SESSION_TOKENS_OF_ONE_MAX] {
                kept.remove(oldest);
            }
        }
        if kept.len() >= self.max {
            kept.retain(|_, kept| kept.is_alive(now));
        }
        if kept.len() >= self.max {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the server has {} sessions, at most that many are allowed",
                    self.max
                ),
            ));
        }
        kept.insert(hash, Kept::new(partition, session, now));
        Ok(())
    }

    /// Forgets a session.
    pub(crate) fn remove(&self, hash: &TokenHash) -> Option<Session> {
        self.kept.write().remove(hash).map(|kept| kept.session)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept.read().len()
    }
}

/// A new session token: 256 random bits.
pub(crate) fn new_token() -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut bytes[..])
        .map_err(|_| Error::new(ErrorKind::DeviceFailed, "the system has no random numbers"))?;
    let mut text = Zeroizing::new([0; 43]);
    let encoded = Base64UrlUnpadded::encode(&bytes[..], &mut text[..]).unwrap_or_default();
    let mut token = Zeroizing::new(String::with_capacity(SESSION_PREFIX.len() + 43));
    token.push_str(SESSION_PREFIX);
    token.push_str(encoded);
    Ok(token)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
