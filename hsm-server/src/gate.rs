//! [`Gate`]: how many are inside, and whether one more may enter.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts what is going on: connections, requests. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    inside: AtomicUsize,
    left: Notify,
}

/// One that is inside. Dropping it is leaving.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Inner>);

impl Gate {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Inner {
            max,
            inside: AtomicUsize::new(0),
            left: Notify::new(),
        }))
    }

    /// Enters, unless it is full.
    pub(crate) fn enter(&self) -> Option<Pass> {
        let pass = self.enter_anyway();
        (self.inside() <= self.0.max).then_some(pass)
    }

    /// Enters, full or not: for the rest of what has entered already.
    pub(crate) fn enter_anyway(&self) -> Pass {
        self.0.inside.fetch_add(1, Ordering::AcqRel);
        Pass(self.0.clone())
    }

    pub(crate) fn inside(&self) -> usize {
        self.0.inside.load(Ordering::Acquire)
    }

    /// Waits until nobody is inside.
    pub(crate) async fn empty(&self) {
        loop {
            let left = self.0.left.notified();
            let mut left = std::pin::pin!(left);
            left.as_mut().enable();
            if self.inside() == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.0.inside.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_gate_takes_nobody_until_one_leaves() {
        let gate = Gate::new(1);
        let first = gate.enter().unwrap();
        assert!(gate.enter().is_none());
        assert_eq!(gate.inside(), 1);
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.empty().await }
        });
        drop(first);
        waiting.await.unwrap();
        assert!(gate.enter().is_some());
    }
}
