//! [`MemoryCounter`] and [`MemorySealer`]: hardware that is a few numbers in memory, and fails as it is told.

use std::sync::Arc;

use async_trait::async_trait;
use hsm_core::limits::{COUNTER_AHEAD_MAX, SEALED_SECRET_LEN};
use hsm_core::{Error, ErrorKind, MonotonicCounter, Result, RootSealer, SecretBytes};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// A [`MonotonicCounter`] in memory. Clones share it.
///
/// ```
/// use hsm_core::MonotonicCounter;
/// use hsm_testkit::MemoryCounter;
///
/// let counter = MemoryCounter::new(1);
/// # hsm_testkit::block_on(async {
/// counter.advance(3).await?;
/// assert_eq!(counter.read().await?, 3);
/// # Ok::<(), hsm_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct MemoryCounter {
    number: u64,
    state: Arc<Mutex<CounterState>>,
}

#[derive(Debug, Default)]
struct CounterState {
    value: u64,
    steps: u64,
    fault: Option<CounterFault>,
}

/// What a [`MemoryCounter`] does instead of its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CounterFault {
    /// It cannot be reached at all.
    Unreachable,
    /// It can be read and not moved: as when a process dies between its change and the count.
    Stuck,
}

impl MemoryCounter {
    /// A counter that has counted nothing. Those of different numbers are different counters.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self {
            number,
            state: Arc::default(),
        }
    }

    /// Fails so from now on; or works again.
    pub fn fail(&self, fault: Option<CounterFault>) {
        self.state.lock().fault = fault;
    }

    /// How many times it was moved by one.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state.lock().steps
    }
}

#[async_trait]
impl MonotonicCounter for MemoryCounter {
    fn identity(&self) -> [u8; 32] {
        Sha256::digest(self.number.to_be_bytes()).into()
    }

    async fn read(&self) -> Result<u64> {
        let state = self.state.lock();
        match state.fault {
            Some(CounterFault::Unreachable) => Err(unreachable()),
            _ => Ok(state.value),
        }
    }

    async fn advance(&self, to: u64) -> Result<()> {
        let mut state = self.state.lock();
        match state.fault {
            Some(CounterFault::Unreachable) => return Err(unreachable()),
            Some(CounterFault::Stuck) if to > state.value => {
                return Err(Error::new(
                    ErrorKind::DeviceFailed,
                    "the counter does not move",
                ));
            }
            _ => {}
        }
        let steps = to.saturating_sub(state.value);
        if steps > COUNTER_AHEAD_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "that is too far to count to",
            ));
        }
        state.value += steps;
        state.steps += steps;
        Ok(())
    }
}

fn unreachable() -> Error {
    Error::new(ErrorKind::Unreachable, "the counter cannot be reached")
}

/// A [`RootSealer`] in memory, with a boot state to change. Clones are the same hardware.
///
/// ```
/// use hsm_core::{ErrorKind, RootSealer, SecretBytes};
/// use hsm_testkit::MemorySealer;
///
/// let sealer = MemorySealer::new();
/// let sealed = sealer.seal(&SecretBytes::init_with(32, |bytes| bytes.fill(7)))?;
/// sealer.boot("other firmware");
/// assert_eq!(sealer.unseal(&sealed).unwrap_err().kind(), ErrorKind::Denied);
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemorySealer(Arc<Mutex<SealerState>>);

#[derive(Debug, Default)]
struct SealerState {
    booted: String,
    /// What was sealed: a digest to find it by, the state it was sealed to, the secret.
    sealed: Vec<(Vec<u8>, String, SecretBytes)>,
}

impl MemorySealer {
    /// New hardware.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts it in another state.
    pub fn boot(&self, state: &str) {
        state.clone_into(&mut self.0.lock().booted);
    }

    /// Forgets everything that was ever sealed.
    pub fn clear(&self) {
        self.0.lock().sealed.clear();
    }
}

impl RootSealer for MemorySealer {
    fn name(&self) -> &'static str {
        "the hardware"
    }

    fn seal(&self, secret: &SecretBytes) -> Result<Vec<u8>> {
        if secret.len() != SEALED_SECRET_LEN {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the hardware seals secrets of one length",
            ));
        }
        let mut state = self.0.lock();
        // Of where it is, and of how many there are: other hardware has it nowhere.
        let place = Sha256::new()
            .chain_update(format!("{:p} {}", Arc::as_ptr(&self.0), state.sealed.len()));
        let token = place.finalize().to_vec();
        let booted = state.booted.clone();
        let secret = SecretBytes::copy_from(secret.expose());
        state.sealed.push((token.clone(), booted, secret));
        Ok(token)
    }

    fn unseal(&self, sealed: &[u8]) -> Result<SecretBytes> {
        let state = self.0.lock();
        let found = state.sealed.iter().find(|(token, ..)| token == sealed);
        let Some((_, booted, secret)) = found else {
            return Err(Error::new(
                ErrorKind::DeviceFailed,
                "this is other hardware, or it was cleared",
            ));
        };
        if *booted != state.booted {
            return Err(Error::new(
                ErrorKind::Denied,
                "the hardware was started in another state",
            ));
        }
        Ok(SecretBytes::copy_from(secret.expose()))
    }
}
