//! [`Guesses`]: how often somebody at one address has shown a wrong token or password. Each one is in the audit log, and who
//! is nobody must not fill the disk with it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hsm_core::Clock;
use parking_lot::Mutex;

use super::{Peer, Reason, Refusal};

/// Most wrong tokens and passwords from one address in a minute.
pub(crate) const GUESSES_MAX: u32 = 600;

/// Most addresses that are remembered.
const ADDRESSES_MAX: usize = 10_000;

/// Whose guesses are counted together. Of IPv6 it is the network: each of its members has more addresses than can be counted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Origin {
    Address(u64),
    User(u32),
}

impl Origin {
    fn of(peer: &Peer) -> Self {
        match peer {
            Peer::Tcp { address, .. } => Self::Address(match address.ip().to_canonical() {
                IpAddr::V4(address) => u64::from(address.to_bits()),
                IpAddr::V6(address) => {
                    let [a, b, c, d, ..] = address.segments().map(u64::from);
                    a << 48 | b << 32 | c << 16 | d
                }
            }),
            Peer::Unix { uid, .. } => Self::User(*uid),
        }
    }
}

/// The guesses of this minute.
#[derive(Debug)]
pub(crate) struct Guesses {
    clock: Arc<dyn Clock>,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    minute: u64,
    by_origin: HashMap<Origin, u32>,
}

impl Guesses {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            counted: Mutex::default(),
        }
    }

    /// Whether somebody may guess once more.
    pub(crate) fn check(&self, peer: &Peer) -> Result<(), Refusal> {
        let (counted, left) = self.now();
        let count = counted.by_origin.get(&Origin::of(peer));
        if count.is_none_or(|count| *count < GUESSES_MAX) {
            return Ok(());
        }
        let mut refusal = Refusal::from(Reason::LockedOut);
        refusal.retry_after = Some(left);
        Err(refusal)
    }

    /// It was wrong.
    pub(crate) fn wrong(&self, peer: &Peer) {
        let (mut counted, _) = self.now();
        let origin = Origin::of(peer);
        if counted.by_origin.len() < ADDRESSES_MAX || counted.by_origin.contains_key(&origin) {
            let count = counted.by_origin.entry(origin).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// What was counted this minute, and how many seconds of it are left.
    fn now(&self) -> (parking_lot::MutexGuard<'_, Counted>, u64) {
        const MINUTE: u64 = Duration::from_secs(60).as_secs();
        let seconds = self.clock.monotonic().as_secs();
        let mut counted = self.counted.lock();
        if counted.minute != seconds / MINUTE {
            counted.minute = seconds / MINUTE;
            counted.by_origin = HashMap::new();
        }
        (counted, MINUTE - seconds % MINUTE)
    }
}
