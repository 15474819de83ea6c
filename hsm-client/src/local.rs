//! An engine in this process, and the thread that keeps its house: rotation, retention, audit checkpoints.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hsm_core::limits::{AUDIT_NOTE_INTERVAL, AUDIT_SYNC_INTERVAL};
use hsm_core::{Engine, Error, ErrorKind, Result};
use pollster::block_on;

use crate::hsm::Maintain;

/// An engine in this process.
#[derive(Debug)]
pub(crate) struct Local {
    engine: Engine,
    house: Arc<House>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Closed with the engine: others may wait for it.
    #[cfg(feature = "tpm")]
    tpm: Option<Arc<hsm_backend_tpm::TpmDevice>>,
    /// The device, if it is one in software.
    pub(crate) soft: Option<Arc<hsm_backend_soft::SoftDevice>>,
    /// The TPM that its domain key rests in, or that counts.
    #[cfg(feature = "tpm")]
    pub(crate) seal: Option<crate::seal::Connected>,
}

/// What the handles and the thread share.
#[derive(Debug, Default)]
struct House {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closing: bool,
    failure: Option<String>,
    /// When the thread last did all that was due.
    kept: Option<Instant>,
}

impl Local {
    pub(crate) fn start(engine: Engine, maintenance: Maintain) -> Result<Self> {
        let house = Arc::new(House::default());
        let thread = match maintenance {
            Maintain::OnDemand => None,
            Maintain::InBackground => {
                let (engine, house) = (engine.clone(), house.clone());
                let thread = std::thread::Builder::new()
                    .name("hsm-maintenance".to_owned())
                    .spawn(move || house.keep(&engine))
                    .map_err(|source| {
                        Error::new(
                            ErrorKind::DeviceFailed,
                            "the maintenance thread cannot be started",
                        )
                        .with_source(source)
                    })?;
                Some(thread)
            }
        };
        Ok(Self {
            engine,
            house,
            thread: Mutex::new(thread),
            #[cfg(feature = "tpm")]
            tpm: None,
            soft: None,
            #[cfg(feature = "tpm")]
            seal: None,
        })
    }

    /// The same engine, whose device is `tpm`.
    #[cfg(feature = "tpm")]
    pub(crate) fn with_tpm(mut self, tpm: Arc<hsm_backend_tpm::TpmDevice>) -> Self {
        self.tpm = Some(tpm);
        self
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.house.lock().failure.clone()
    }

    /// How long ago the thread last did all that was due.
    pub(crate) fn kept_ago(&self) -> Option<Duration> {
        self.house.lock().kept.map(|kept| kept.elapsed())
    }

    /// Closes once; later calls do nothing.
    pub(crate) async fn close(&self) -> Result<()> {
        if std::mem::replace(&mut self.house.lock().closing, true) {
            return Ok(());
        }
        self.house.changed.notify_all();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic there was the maintenance's; the streams are closed all the same.
            drop(thread.join());
        }
        let closed = self.engine.close().await;
        #[cfg(feature = "tpm")]
        if let Some(tpm) = &self.tpm {
            // One that was zeroized is closed already.
            drop(tpm.close().await);
        }
        #[cfg(feature = "tpm")]
        if let Some(seal) = &self.seal {
            // Nothing is asked of it any more.
            drop(seal.close().await);
        }
        closed
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // There is nobody to tell of a failure; the next process to open the HSM notes it.
        drop(block_on(self.close()));
    }
}

impl House {
    fn keep(&self, engine: &Engine) {
        let mut noted = Instant::now();
        while self.sleep(AUDIT_SYNC_INTERVAL) {
            let mut result = block_on(engine.maintain()).map(drop);
            if result.is_ok() && noted.elapsed() >= AUDIT_NOTE_INTERVAL {
                result = block_on(engine.note_audit());
                noted = Instant::now();
            }
            let mut state = self.lock();
            if result.is_ok() {
                state.kept = Some(Instant::now());
            }
            state.failure = result.err().map(|error| error.to_string());
        }
    }

    /// Waits; `false` if the HSM is being closed.
    fn sleep(&self, time: Duration) -> bool {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, time, |state| !state.closing)
            .unwrap_or_else(PoisonError::into_inner);
        !state.closing
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
