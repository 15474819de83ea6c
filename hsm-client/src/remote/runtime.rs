//! The runtime that the remote HSMs of a process share: one thread, started on first use.
//!
//! Callers await the result under whatever executor they have, or none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use hsm_core::{Error, ErrorKind, Result};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

/// A runtime, and the process that its thread is in: a fork has the memory, but not the thread.
#[derive(Debug)]
pub(super) struct Runtime {
    inner: Option<tokio::runtime::Runtime>,
    process: u32,
}

/// Without a lock, so that a child that was forked in the middle of something does not wait for it.
static SHARED: ArcSwapOption<Runtime> = ArcSwapOption::const_empty();

impl Runtime {
    /// The runtime of this process.
    pub(super) fn shared() -> Result<Arc<Self>> {
        let current = SHARED.load_full();
        if let Some(runtime) = current.as_ref().filter(|runtime| runtime.is_here()) {
            return Ok(runtime.clone());
        }
        let started = Arc::new(Self::start()?);
        let before = SHARED.compare_and_swap(&current, Some(started.clone()));
        // Another thread may have been first; two runtimes do no harm.
        Ok(before
            .as_ref()
            .filter(|runtime| runtime.is_here())
            .map_or(started, Arc::clone))
    }

    fn start() -> Result<Self> {
        let inner = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("hsm-remote")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|source| {
                Error::new(ErrorKind::DeviceFailed, "a thread cannot be started")
                    .with_source(source)
            })?;
        Ok(Self {
            inner: Some(inner),
            process: std::process::id(),
        })
    }

    /// Runs `work` on the runtime's thread. Dropping what comes back ends the work.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Running<T> {
        Running(self.here().map(|runtime| runtime.spawn(work)))
    }

    /// Runs `work` to its end, whoever waits.
    pub(super) fn detach(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = self.here() {
            drop(runtime.spawn(work));
        }
    }

    fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    fn here(&self) -> Option<&tokio::runtime::Runtime> {
        self.inner.as_ref().filter(|_| self.is_here())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.inner.take() {
            if self.is_here() {
                runtime.shutdown_background();
            } else {
                // Its thread is in another process: there is nothing to wait for, and its locks may be taken for ever.
                std::mem::forget(runtime);
            }
        }
    }
}

/// Work on the runtime's thread.
pub(super) struct Running<T>(Option<JoinHandle<Result<T>>>);

impl<T> Future for Running<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = &mut self.0 else {
            return Poll::Ready(Err(Error::new(
                ErrorKind::Unreachable,
                "the HSM was opened before this process was forked; open it again in the child",
            )));
        };
        Pin::new(handle).poll(context).map(|done| {
            done.unwrap_or_else(|source| {
                Err(Error::new(
                    ErrorKind::Unknown,
                    "the client stopped in the middle of a call",
                )
                .with_source(source))
            })
        })
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use pollster::block_on;

    use super::*;

    #[test]
    fn a_forked_child_is_told_instead_of_waiting() {
        let mut runtime = Runtime::start().unwrap();
        assert_eq!(block_on(runtime.run(async { Ok(7) })).unwrap(), 7);
        // As the memory of this process looks in a child: the runtime is there, its thread is not.
        runtime.process += 1;
        let error = block_on(runtime.run(async { Ok(7) })).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        runtime.detach(async {});
    }

    #[test]
    fn a_runtime_that_stops_leaves_the_outcome_unknown() {
        let mut runtime = Runtime::start().unwrap();
        let running = runtime.run::<()>(std::future::pending());
        runtime.inner.take().unwrap().shutdown_background();
        assert_eq!(block_on(running).unwrap_err().kind(), ErrorKind::Unknown);
    }

    #[test]
    fn the_remote_hsms_of_a_process_share_a_runtime() {
        let (one, other) = (Runtime::shared().unwrap(), Runtime::shared().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
    }
}
