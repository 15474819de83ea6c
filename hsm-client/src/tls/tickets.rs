//! [`Tickets`]: session tickets under keys that the HSM derives, the same for all servers that share it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hsm_core::key::typed::Kdk256;
use hsm_core::{Clock, Error, ErrorKind, Result, SecretBytes};
use rustls::server::ProducesTickets;

use super::wait::wait;
use super::{HSM_WAIT_MAX, TICKET_KEY_RETRY, TICKET_PERIOD};
use crate::clock::SystemClock;
use crate::key::Key;

/// Session tickets (RFC 8446 section 4.6.1, RFC 5077), for [`ServerConfig::ticketer`](rustls::ServerConfig::ticketer).
///
/// For each hour ([`TICKET_PERIOD`]) the HSM derives one key from the key that is given, with HKDF, and the server encrypts
/// tickets under it with AES-256-GCM. All servers that use the same key of the HSM for the same service have the same
/// ticket keys, so a client resumes on any of them, also after a restart. A ticket is good in the hour that it was made in
/// and in the next; then its key is wiped from memory. A handshake never waits: the next hour's key is fetched by a thread
/// of its own an hour ahead, and while there is none, full handshakes are what there is.
///
/// ```
/// use hsm_client::kinds::Kdk256;
/// use hsm_client::tls::{Tickets, rustls::ServerConfig};
/// use hsm_client::{Result, Session};
///
/// async fn resume(session: &Session, config: &mut ServerConfig) -> Result<()> {
///     let key = session.key::<Kdk256>("www-tickets").await?;
///     config.ticketer = Tickets::new(&key, "www").await?;
///     Ok(())
/// }
/// ```
///
/// # What it does not do
///
/// - Who resumes does not show a certificate again, and neither does the server: a key that was disabled, or a client
///   certificate that was revoked, counts at the next full handshake. To end all tickets at once, rotate the key and have
///   each server [`forget`](Self::forget), or restart them.
/// - Servers that ask different things of their clients (a certificate, for one) must not take each other's tickets: give
///   them different service names.
/// - Who may derive from the key can make the ticket key of any hour again, and read sessions of TLS 1.2 that were resumed,
///   if they were recorded. TLS 1.3 agrees on new keys when it resumes. Rotating the key once in a while, and disabling the
///   old version, puts an end to that.
pub struct Tickets {
    key: Key<Kdk256>,
    service: Box<str>,
    clock: Arc<dyn Clock>,
    keys: ArcSwap<Keys>,
    fetching: Mutex<Fetching>,
    me: Weak<Self>,
}

/// The keys that there are, and how often they were forgotten: what was derived before that is not put back after it.
#[derive(Clone, Default)]
struct Keys {
    forgotten: u64,
    held: Vec<Arc<TicketKey>>,
}

/// The key of one period.
struct TicketKey {
    period: u64,
    name: [u8; NAME_LEN],
    cipher: RandomizedNonceKey,
    made: AtomicU64,
}

#[derive(Debug, Default)]
struct Fetching {
    under_way: bool,
    failure: Option<Error>,
    /// Not before this, on the clock that nobody sets.
    not_before: Duration,
}

impl Tickets {
    /// Tickets of a service under keys derived from `key`. Fetches the first ones.
    ///
    /// # Errors
    ///
    /// [`KeyState`](ErrorKind::KeyState) if the key is not active, [`Denied`](ErrorKind::Denied) for who may not derive
    /// from it.
    pub async fn new(key: &Key<Kdk256>, service: &str) -> Result<Arc<Self>> {
        Self::with_clock(key, service, Arc::new(SystemClock)).await
    }

    /// As [`new`](Self::new), with the time from `clock`: for tests.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub async fn with_clock(
        key: &Key<Kdk256>,
        service: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let tickets = Arc::new_cyclic(|me| Self {
            key: key.clone(),
            service: service.into(),
            clock,
            keys: ArcSwap::default(),
            fetching: Mutex::default(),
            me: me.clone(),
        });
        tickets.refresh().await?;
        Ok(tickets)
    }

    /// Wipes keys whose time is over and fetches those that are missing. Handshakes see to that by themselves; a server
    /// that has none for hours keeps old keys in memory until then, unless it calls this.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub async fn refresh(&self) -> Result<()> {
        let now = self.period();
        self.wipe(now);
        for period in wanted(now) {
            let forgotten = self.keys.load().forgotten;
            if self.held(period).is_none() {
                let key = Arc::new(self.derive(period).await?);
                self.keys.rcu(|keys| {
                    let mut keys = Keys::clone(keys);
                    if keys.forgotten == forgotten {
                        keys.held.retain(|other| other.period != key.period);
                        keys.held.push(key.clone());
                    }
                    keys
                });
            }
        }
        Ok(())
    }

    /// Forgets all ticket keys. They are derived again, from the key's version that is the current one then.
    pub fn forget(&self) {
        self.keys.rcu(|keys| Keys {
            forgotten: keys.forgotten + 1,
            held: Vec::new(),
        });
        self.state().not_before = Duration::ZERO;
    }

    /// Why there was no key the last time that one was fetched, if there was none.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.state().failure.as_ref().map(Error::to_string)
    }

    fn period(&self) -> u64 {
        self.clock.now().unix_seconds() / TICKET_PERIOD.as_secs()
    }

    fn held(&self, period: u64) -> Option<Arc<TicketKey>> {
        let keys = self.keys.load();
        keys.held.iter().find(|key| key.period == period).cloned()
    }

    fn wipe(&self, now: u64) {
        let over = |key: &Arc<TicketKey>| !wanted(now).contains(&key.period);
        if self.keys.load().held.iter().any(over) {
            self.keys.rcu(|keys| {
                let mut keys = Keys::clone(keys);
                keys.held.retain(|key| !over(key));
                keys
            });
        }
    }

    async fn derive(&self, period: u64) -> Result<TicketKey> {
        let len = u64::try_from(self.service.len()).unwrap_or(u64::MAX);
        let info = [
            LABEL,
            &len.to_be_bytes(),
            self.service.as_bytes(),
            &TICKET_PERIOD.as_secs().to_be_bytes(),
            &period.to_be_bytes(),
        ];
        let secret = self
            .key
            .hkdf(b"", &info.concat(), NAME_LEN + KEY_LEN)
            .await?;
        TicketKey::new(period, &secret)
    }

    /// Has a thread fetch what is missing, if something is.
    fn see_to_keys(&self, now: u64) {
        self.wipe(now);
        if wanted(now).all(|period| self.held(period).is_some()) {
            return;
        }
        let mut state = self.state();
        if state.under_way || self.clock.monotonic() < state.not_before {
            return;
        }
        let Some(tickets) = self.me.upgrade() else {
            return;
        };
        let started = std::thread::Builder::new()
            .name("hsm-tickets".to_owned())
            .spawn(move || {
                let failure = wait(tickets.refresh(), HSM_WAIT_MAX).err();
                let mut state = tickets.state();
                state.under_way = false;
                if failure.is_some() {
                    state.not_before = tickets.clock.monotonic() + TICKET_KEY_RETRY;
                }
                state.failure = failure;
            });
        match started {
            Ok(_) => state.under_way = true,
            Err(source) => {
                let error = Error::new(ErrorKind::DeviceFailed, "a thread cannot be started");
                state.failure = Some(error.with_source(source));
                state.not_before = self.clock.monotonic() + TICKET_KEY_RETRY;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, Fetching> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// What is left of this hour, and the next.
    fn lifetime(&self) -> u32 {
        let period = TICKET_PERIOD.as_secs();
        let left = 2 * period - self.clock.now().unix_seconds() % period;
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now = self.period();
        self.see_to_keys(now);
        self.held(now)?.encrypt(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = self.period();
        self.see_to_keys(now);
        let (name, _) = ticket.split_first_chunk::<NAME_LEN>()?;
        let keys = self.keys.load_full();
        let key = keys.held.iter().find(|key| key.name == *name)?;
        key.decrypt(ticket)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("key", &self.key)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl TicketKey {
    fn new(period: u64, secret: &SecretBytes) -> Result<Self> {
        let broken = || {
            Error::new(
                ErrorKind::DeviceFailed,
                "what was derived is of another length",
            )
        };
        let (name, key) = secret
            .expose()
            .split_first_chunk::<NAME_LEN>()
            .ok_or_else(broken)?;
        Ok(Self {
            period,
            name: *name,
            cipher: RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| broken())?,
            made: AtomicU64::new(0),
        })
    }

    /// The name of the key, a random nonce, the ciphertext and the tag. The name is authenticated.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if self.made.fetch_add(1, Ordering::Relaxed) >= TICKETS_PER_KEY_MAX {
            return None;
        }
        let mut text = plain.to_vec();
        let nonce = self
            .cipher
            .seal_in_place_append_tag(Aad::from(&self.name), &mut text)
            .ok()?;
        Some([&self.name[..], nonce.as_ref(), &text].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (_, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = self
            .cipher
            .open_in_place(nonce, Aad::from(&self.name), &mut text)
            .ok()?
            .len();
        text.truncate(len);
        Some(text)
    }
}

/// The period before, the current one and the next: a server whose clock is ahead makes tickets under the next.
fn wanted(now: u64) -> std::ops::RangeInclusive<u64> {
    now.saturating_sub(1)..=now + 1
}

const LABEL: &[u8] = b"hsm-client TLS tickets 1";
const NAME_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// Of one server, so that sixteen with the same key stay below the 2³² random nonces of NIST SP 800-38D section 8.3.
const TICKETS_PER_KEY_MAX: u64 = 1 << 28;
