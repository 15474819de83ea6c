//! [`Reopen`]: what [`store_durability!`](crate::store_durability) and [`audit_durability!`](crate::audit_durability) are
//! given.

use std::fmt;

use hsm_core::Store;
use hsm_core::audit::AuditSink;

/// A place that outlives what is opened in it: a way to open the same store, or the same log, again and again.
///
/// ```
/// use hsm_testkit::{MemoryStore, Reopen};
///
/// let shared = MemoryStore::new();
/// let place = Reopen::store(move || shared.clone());
/// let one = place.open();
/// let other = place.open();
/// assert_eq!(one.version()?, other.version()?);
/// # Ok::<(), hsm_core::Error>(())
/// ```
pub struct Reopen<T: ?Sized>(Box<dyn Fn() -> Box<T> + Send + Sync>);

impl<T: ?Sized> Reopen<T> {
    /// Opens it once more. What was opened before may still be open, as in another process.
    #[must_use]
    pub fn open(&self) -> Box<T> {
        (self.0)()
    }
}

impl Reopen<dyn Store> {
    /// A place for one store. What `open` opens first is empty.
    pub fn store<S: Store + 'static>(open: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self(Box::new(move || Box::new(open())))
    }
}

impl Reopen<dyn AuditSink> {
    /// A place for one log. What `open` opens first has no streams but its own.
    pub fn audit<A: AuditSink + 'static>(open: impl Fn() -> A + Send + Sync + 'static) -> Self {
        Self(Box::new(move || Box::new(open())))
    }
}

impl<T: ?Sized> fmt::Debug for Reopen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reopen").finish_non_exhaustive()
    }
}
