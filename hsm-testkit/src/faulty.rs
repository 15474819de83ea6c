//! Implementors that fail as they are told to: [`Faults`] is the plan, [`FaultyDevice`], [`FaultyStore`] and
//! [`FaultyAudit`] follow it.

mod audit;
mod device;
mod store;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use hsm_core::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};

pub use audit::FaultyAudit;
pub use device::FaultyDevice;
pub use store::FaultyStore;

/// How a call fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The call takes effect and the reply is lost. What may have changed something is [`ErrorKind::Unknown`], what only
    /// reads fails as its contract says.
    After,
    /// The call does not arrive: nothing happens, and it fails as its contract says.
    Before,
    /// The call succeeds with a wrong bit: in byte `at` of what a device returns (from the start again if that is
    /// shorter), in the record that a body reads after `at` others. An audit log is not read: there it is a
    /// [`Before`](Self::Before).
    Garbage {
        /// Which one.
        at: usize,
    },
    /// There is room for so many writes of a transaction, and it fails at the next one. For devices and audit sinks, who
    /// write one thing at a time, it is a [`Before`](Self::Before).
    NoSpace {
        /// Writes that there is room for.
        writes: usize,
    },
    /// The call is held up before its effect until [`Faults::release`]. If it is dropped before, it never happens.
    Stall,
    /// The call takes effect, and its reply is held up until [`Faults::release`].
    StallReply,
    /// The power goes in the middle of a transaction of a store that is wrong: so many writes reach the disk, the others
    /// do not, and the outcome is [`ErrorKind::Unknown`]. No contract allows this. Devices and audit sinks cannot be torn
    /// through their traits: there it is a [`Before`](Self::Before).
    Torn {
        /// Writes that reach the disk.
        writes: usize,
    },
}

/// Which calls fail. Clones share the plan, so a test keeps one and gives one away.
///
/// ```
/// use futures_executor::block_on;
/// use hsm_core::{ErrorKind, Space, Store};
/// use hsm_testkit::{Fault, Faults, FaultyStore, MemoryStore};
///
/// let faults = Faults::none();
/// let store = FaultyStore::new(MemoryStore::new(), faults.clone(), Faults::none());
/// faults.plan([None, Some(Fault::After)]);
/// let put = || block_on(store.transact(Box::new(|tx| tx.put(Space::Keys, b"name", b"record"))));
/// assert!(put().is_ok());
/// assert_eq!(put().unwrap_err().kind(), ErrorKind::Unknown);
/// assert!(put().is_ok());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    plan: VecDeque<Option<Fault>>,
    /// Times that those who stalled were let go.
    releases: u64,
    stalled: usize,
    wakers: Vec<Waker>,
}

impl Faults {
    /// No call fails, for now.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// What becomes of the next calls, one by one, in place of an earlier plan. Those beyond succeed.
    pub fn plan(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.0.state.lock().plan = faults.into_iter().collect();
    }

    /// Makes the next call fail.
    pub fn strike(&self, fault: Fault) {
        self.strike_later(0, fault);
    }

    /// Makes a call fail after `calls` others.
    pub fn strike_later(&self, calls: usize, fault: Fault) {
        let others = std::iter::repeat_n(None, calls);
        self.plan(others.chain([Some(fault)]));
    }

    /// Forgets what is planned. Whether there was a fault left that has struck nobody.
    #[must_use = "a fault that has not struck proves nothing"]
    pub fn clear(&self) -> bool {
        let plan = std::mem::take(&mut self.0.state.lock().plan);
        plan.into_iter().flatten().next().is_some()
    }

    /// How many calls are held up now.
    #[must_use]
    pub fn stalled(&self) -> usize {
        self.0.state.lock().stalled
    }

    /// Lets every call go on that is held up.
    pub fn release(&self) {
        let mut state = self.0.state.lock();
        state.releases += 1;
        for waker in state.wakers.drain(..) {
            waker.wake();
        }
        self.0.released.notify_all();
    }

    fn next(&self) -> Option<Fault> {
        self.0.state.lock().plan.pop_front().flatten()
    }

    /// Waits for [`release`](Self::release).
    async fn wait(&self) {
        let stalled = Stalled::new(&self.0);
        poll_fn(|context| {
            let mut state = self.0.state.lock();
            if state.releases > stalled.since {
                return Poll::Ready(());
            }
            state.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// As [`wait`](Self::wait), for traits that are not async.
    fn block(&self) {
        let stalled = Stalled::new(&self.0);
        let mut state = self.0.state.lock();
        while state.releases == stalled.since {
            self.0.released.wait(&mut state);
        }
        // Before it counts itself out, which takes the lock.
        drop(state);
    }

    /// What a planned fault does before the call.
    async fn before(&self, fault: Option<Fault>, kind: ErrorKind) -> Result<()> {
        if fault == Some(Fault::Stall) {
            self.wait().await;
        }
        refuse(fault, kind)
    }

    /// What a planned fault does after the call, which `lost` says when nobody hears of it.
    async fn after(&self, fault: Option<Fault>, lost: ErrorKind) -> Result<()> {
        if fault == Some(Fault::StallReply) {
            self.wait().await;
        }
        lose(fault, lost)
    }

    /// Runs a call that is not async, unless it is to fail.
    fn run<T>(&self, kind: ErrorKind, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let fault = self.next();
        if fault == Some(Fault::Stall) {
            self.block();
        }
        refuse(fault, kind)?;
        let result = call()?;
        if fault == Some(Fault::StallReply) {
            self.block();
        }
        lose(fault, kind)?;
        Ok(result)
    }
}

/// A call that is held up, counted while it is.
struct Stalled<'a> {
    shared: &'a Shared,
    since: u64,
}

impl<'a> Stalled<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut state = shared.state.lock();
        state.stalled += 1;
        let since = state.releases;
        drop(state);
        Self { shared, since }
    }
}

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.shared.state.lock().stalled -= 1;
    }
}

/// Refuses the call; of what only some wrappers can do, those leave what they cannot.
fn refuse(fault: Option<Fault>, kind: ErrorKind) -> Result<()> {
    let message = match fault {
        Some(Fault::Before) => "a fault was planned before this call",
        Some(Fault::NoSpace { .. }) => "there is no space left, as planned",
        Some(Fault::Garbage { .. } | Fault::Torn { .. }) => {
            "a fault was planned that this call cannot have, so it does not happen"
        }
        _ => return Ok(()),
    };
    Err(Error::new(kind, message))
}

fn lose(fault: Option<Fault>, kind: ErrorKind) -> Result<()> {
    if fault == Some(Fault::After) {
        return Err(Error::new(kind, "a fault was planned after this call"));
    }
    Ok(())
}
