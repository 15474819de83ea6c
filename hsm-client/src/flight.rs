//! [`Flight`]: one asks the HSM for what many want at the same moment.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use async_lock::Mutex;
use hsm_core::Result;

/// While one asks, others wait for what comes.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    turn: Mutex<()>,
    failures: AtomicU64,
}

impl Flight {
    /// What `found` gives, or else what `ask` comes to, which leaves it where `found` looks.
    ///
    /// Whoever waited for one that failed asks for itself, beside all others: nobody waits for more than that one.
    pub(crate) async fn one<T>(
        &self,
        found: impl Fn() -> Option<T>,
        ask: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if let Some(found) = found() {
            return Ok(found);
        }
        let failures = self.failures.load(Ordering::Relaxed);
        let turn = self.turn.lock().await;
        if let Some(found) = found() {
            return Ok(found);
        }
        let alone = self.failures.load(Ordering::Relaxed) == failures;
        let _turn = alone.then_some(turn);
        let asked = ask.await;
        if asked.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use hsm_core::{Error, ErrorKind};

    use super::*;

    /// Ends when it is polled for the second time.
    async fn a_while() {
        let mut first = true;
        poll_fn(|_| {
            if std::mem::take(&mut first) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    #[test]
    fn one_asks_for_all_and_a_failure_is_waited_for_once() {
        for fails in [false, true] {
            let flight = Flight::default();
            let (there, asked) = (Cell::new(None), Cell::new(0));
            let ask = || {
                let ask = async {
                    asked.set(asked.get() + 1);
                    a_while().await;
                    if fails {
                        return Err(Error::new(ErrorKind::Unreachable, ""));
                    }
                    there.set(Some(7));
                    Ok(7)
                };
                flight.one(|| there.get(), ask)
            };
            let (mut first, mut second, mut third) = (pin!(ask()), pin!(ask()), pin!(ask()));
            let mut context = Context::from_waker(Waker::noop());
            assert!(first.as_mut().poll(&mut context).is_pending());
            assert!(second.as_mut().poll(&mut context).is_pending());
            assert!(third.as_mut().poll(&mut context).is_pending());
            assert_eq!(asked.get(), 1);
            assert!(first.as_mut().poll(&mut context).is_ready());
            let (two, three) = (
                second.as_mut().poll(&mut context),
                third.as_mut().poll(&mut context),
            );
            assert_eq!(two.is_ready() && three.is_ready(), !fails);
            // Both at the same moment, neither behind the other.
            assert_eq!(asked.get(), if fails { 3 } else { 1 });
        }
    }
}
