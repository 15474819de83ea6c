//! [`Worker`]: the thread that has the TPM to itself. Callers queue up, first come, first served, and never block.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use async_lock::Semaphore;
use futures_channel::oneshot;
use hsm_core::Result;

use crate::failure::failed;
use crate::limits::CALLS_MAX;
use crate::tpm::Tpm;

/// The way to the thread. It ends, and frees what it holds in the TPM, when this is dropped.
pub(crate) struct Worker {
    queue: Sender<Job>,
    waiting: Arc<Semaphore>,
}

enum Job {
    Call(Box<dyn FnOnce(&mut Tpm) + Send>),
    /// A key that nobody uses any more.
    Release(u64),
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn start(tpm: Tpm) -> Result<Self> {
        let (queue, jobs) = mpsc::channel();
        thread::Builder::new()
            .name("hsm tpm".to_owned())
            .spawn(move || work(tpm, &jobs))
            .map_err(|source| failed("the system starts no thread").with_source(source))?;
        Ok(Self {
            queue,
            waiting: Arc::new(Semaphore::new(CALLS_MAX)),
        })
    }

    /// Does `call` on the thread. It does not begin if nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Tpm) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // Goes with the call: one that was given up still takes its place in the queue.
        let permit = self.waiting.acquire_arc().await;
        let (answer, result) = oneshot::channel();
        let job = Job::Call(Box::new(move |tpm| {
            if !answer.is_canceled() {
                // Nobody may want it any more; a key is then freed as any other.
                drop(answer.send(call(tpm)));
            }
            drop(permit);
        }));
        let ended = || failed("the thread of the TPM device has ended");
        self.queue.send(job).map_err(|_| ended())?;
        result.await.map_err(|_| ended())?
    }

    /// Does `call` on the thread, and blocks until it is done.
    pub(crate) fn run_blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Tpm) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, result) = mpsc::sync_channel(1);
        let job = Job::Call(Box::new(move |tpm| {
            // There is room for the one answer, and the caller waits for it.
            _ = answer.send(call(tpm));
        }));
        let ended = || failed("the thread of the TPM device has ended");
        self.queue.send(job).map_err(|_| ended())?;
        result.recv().map_err(|_| ended())?
    }

    /// Frees the place of a key, when its turn comes. Takes no time.
    pub(crate) fn release(&self, key: u64) {
        // Without the thread nothing is loaded.
        _ = self.queue.send(Job::Release(key));
    }
}

fn work(mut tpm: Tpm, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Call(call) => call(&mut tpm),
            Job::Release(key) => {
                if let Some(handle) = tpm.slots.remove(key) {
                    // What fails was gone already, or the next call finds out what is wrong.
                    _ = tpm.flush(handle);
                }
            }
        }
    }
    tpm.end("the device is closed");
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}
