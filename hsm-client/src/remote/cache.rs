//! Public keys that were fetched, for verifying here instead of asking each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hsm_core::limits::DATA_LEN_MAX;
use hsm_core::{
    Algorithm, Clock, KeyInfo, KeyName, KeyRef, Operation, Request, Result, SignInput, Usage,
    VersionId,
};

use super::retry::Repeat;

/// What was fetched of a key version is believed for this long. A key that is suspended, or whose usages are taken away,
/// by somebody else still verifies here until then.
pub const PUBLIC_KEY_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Most key versions of which a session remembers the public key.
pub const PUBLIC_KEYS_MAX: usize = 1024;

/// The public keys that one session may read. It ends with the session.
#[derive(Debug)]
pub(super) struct Cache {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every change that this session asks for. What was fetched before one is not kept after it.
    changes: u64,
    keys: HashMap<(KeyName, VersionId), Entry>,
}

#[derive(Debug)]
struct Entry {
    /// `None`: the session may not read it, or there is nothing to read.
    info: Option<Arc<KeyInfo>>,
    until: Duration,
}

/// What the cache says of a key version.
#[derive(Debug)]
pub(super) enum Found {
    Key(Arc<KeyInfo>),
    /// The server has to verify.
    NotHere,
    /// To be fetched; the ticket is for [`Cache::keep`].
    Unknown(Ticket),
}

/// How many changes there were when a fetch began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u64);

impl Cache {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::default(),
            clock,
        }
    }

    pub(super) fn find(&self, name: &KeyName, version: VersionId) -> Found {
        let now = self.clock.monotonic();
        let state = self.lock();
        match state.keys.get(&(name.clone(), version)) {
            Some(entry) if now < entry.until => {
                entry.info.clone().map_or(Found::NotHere, Found::Key)
            }
            _ => Found::Unknown(Ticket(state.changes)),
        }
    }

    /// Keeps what was fetched, unless the session changed something meanwhile.
    pub(super) fn keep(
        &self,
        ticket: Ticket,
        name: KeyName,
        version: VersionId,
        info: Option<Arc<KeyInfo>>,
    ) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if state.changes != ticket.0 {
            return;
        }
        if state.keys.len() >= PUBLIC_KEYS_MAX {
            state.keys.retain(|_, entry| now < entry.until);
        }
        if state.keys.len() >= PUBLIC_KEYS_MAX {
            state.keys.clear();
        }
        let until = now + PUBLIC_KEY_LIFETIME;
        state.keys.insert((name, version), Entry { info, until });
    }

    /// Forgets what a request may change: now, and once more when the guard is dropped, done or not.
    pub(super) fn changing(self: &Arc<Self>, request: &Request<'_>) -> Option<Changing> {
        (Repeat::of(request) == Repeat::ByKey).then(|| {
            let changing = Changing {
                cache: self.clone(),
                name: request.key_name().cloned(),
            };
            changing.forget();
            changing
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a signature is right, as far as that can be said here: `None` means that the server has to say. It does
    /// where it would refuse, so that the refusal is its own and is in its audit log.
    pub(super) fn verify(
        &self,
        info: &KeyInfo,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Option<Result<()>> {
        let public = info.public.as_ref()?;
        let attributes = &info.attributes;
        let allowed = attributes.state_at(self.clock.now()).allows(Usage::Verify)
            && attributes.spec.usages.contains(Usage::Verify)
            && attributes.spec.check(Operation::Sign, algorithm).is_ok()
            && input.as_bytes().len() <= DATA_LEN_MAX;
        let fits = match input {
            SignInput::Digest(digest) => algorithm
                .hash()
                .is_some_and(|hash| hash.output_len() == digest.len()),
            SignInput::Message(_) => true,
        };
        (allowed && fits).then(|| public.verify(algorithm, input, signature))
    }
}

/// A change is under way.
#[derive(Debug)]
pub(super) struct Changing {
    cache: Arc<Cache>,
    name: Option<KeyName>,
}

impl Changing {
    fn forget(&self) {
        let mut state = self.cache.lock();
        state.changes += 1;
        match &self.name {
            Some(changed) => state.keys.retain(|(name, _), _| name != changed),
            None => state.keys.clear(),
        }
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The verification that a request asks for, of one version: which version is the current one may change at any time.
pub(super) fn of_one_version<'r>(
    request: &'r Request<'_>,
) -> Option<(&'r KeyRef, VersionId, Algorithm, SignInput<'r>, &'r [u8])> {
    let Request::Verify {
        key,
        algorithm,
        input,
        signature,
    } = request
    else {
        return None;
    };
    Some((key, key.version?, *algorithm, *input, signature))
}
