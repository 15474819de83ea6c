//! Waiting in a function that is not async, for a named time at most.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use hsm_core::{Error, ErrorKind, Result};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// The result of `work`, which runs in this thread.
///
/// What a local HSM does is done when it was polled once. Where there is something to wait for, a worker of a tokio runtime
/// hands its other tasks on first, if the runtime has more than one thread.
pub(super) fn wait<T>(work: impl Future<Output = Result<T>>, limit: Duration) -> Result<T> {
    let mut work = pin!(work);
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut context = Context::from_waker(&waker);
    if let Poll::Ready(result) = work.as_mut().poll(&mut context) {
        return result;
    }
    let started = Instant::now();
    let mut to_the_end = || {
        loop {
            let Some(left) = limit
                .checked_sub(started.elapsed())
                .filter(|left| !left.is_zero())
            else {
                return Err(Error::new(
                    ErrorKind::Unknown,
                    format!("the HSM has not answered within {limit:?}"),
                ));
            };
            thread::park_timeout(left);
            if let Poll::Ready(result) = work.as_mut().poll(&mut context) {
                return result;
            }
        }
    };
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(to_the_end),
        _ => to_the_end(),
    }
}

/// A thread that waits.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_ready_is_not_waited_for() {
        assert_eq!(wait(ready(Ok(7)), Duration::ZERO).unwrap(), 7);
    }

    #[test]
    fn a_wait_has_an_end() {
        let error = wait(pending::<Result<()>>(), Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown);
        assert!(
            error.message().contains("has not answered within 1ms"),
            "{error}"
        );
    }

    /// The wakers go to a thread that wakes them, so nothing is waited for but that.
    #[test]
    fn another_thread_wakes_who_waits() {
        let (give, wakers) = mpsc::channel::<Waker>();
        let waking = thread::spawn(move || wakers.into_iter().for_each(Waker::wake));
        let mut polls = 0;
        let work = poll_fn(|context| {
            polls += 1;
            if polls == 4 {
                return Poll::Ready(Ok(()));
            }
            give.send(context.waker().clone()).unwrap();
            Poll::Pending
        });
        wait(work, Duration::MAX).unwrap();
        drop(give);
        waking.join().unwrap();
    }

    /// Each runtime in its own way, also where there is no other thread to hand tasks to.
    #[test]
    fn a_runtime_goes_on_afterwards() {
        for mut runtime in [
            tokio::runtime::Builder::new_current_thread(),
            tokio::runtime::Builder::new_multi_thread(),
        ] {
            let runtime = runtime.worker_threads(1).build().unwrap();
            runtime.block_on(async {
                let (give, given) = futures_channel::oneshot::channel();
                // On the one worker, if there is one.
                let waits = tokio::spawn(async move {
                    let work = async { given.await.map_err(|_| Error::crypto()) };
                    wait(work, HSM_WAIT)
                });
                let gives = thread::spawn(move || give.send(7).unwrap());
                assert_eq!(waits.await.unwrap().unwrap(), 7);
                gives.join().unwrap();
            });
        }
    }

    const HSM_WAIT: Duration = crate::tls::HSM_WAIT_MAX;
}
