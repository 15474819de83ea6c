//! Tells in nanoseconds whether any process has committed since we last looked.
//!
//! The truth is the change number in the database: it grows with every committed transaction. Reading it costs
//! microseconds, too much for every signature. So a word that all processes share ([`SharedWord`]) holds the number of
//! the last transaction that was *about to be* committed, `pending`, and each process remembers the last number that it
//! has *seen committed*, `known`. If they are equal, nothing has changed since; otherwise the database is asked.
//!
//! **Writers** change the word only while they hold the database's write lock, so their stores have one order:
//!
//! 1. they read the committed number `n` from the database;
//! 2. before `COMMIT`, they write `n + k` into the transaction and store `pending = n + k`;
//! 3. if they roll back instead, they store `pending = n` before they let go of the lock;
//! 4. after `COMMIT` they store nothing.
//!
//! **Why equal means unchanged.** Let `known = m`, so transaction `m` is committed, and suppose that `m' > m` was
//! committed before the call began. Its writer stored `pending = m'` before, by 2. Every store after that was made by
//! somebody who held the lock after the commit of `m'` and wrote a number that is at least the committed one, by 1 to 3:
//! at least `m'`. So the call loads at least `m'`, which is not `m`, and asks the database. The load sees the store
//! because both are sequentially consistent accesses to the same memory, and because whoever told us of the commit
//! came after it.
//!
//! **Why a dead writer does no harm.** One that dies between 2 and its commit leaves `pending` ahead of the database.
//! No process knows that number, as `known` comes from committed state only, so all of them ask the database: right,
//! but slower, until the next commit or the next opening of the store sets the word again. The same holds for a commit
//! that failed in a way that let go of the lock, and for a word that was lost or reset with the machine: opening the
//! store sets it, under the lock, before the first call.
//!
//! `known` only grows: a thread that read an old number and was delayed must not take back what another has seen.

use std::sync::atomic::{AtomicU64, Ordering};

use hsm_core::Result;

use crate::mapped::SharedWord;

/// Where `pending` lies, and what this process knows.
#[derive(Debug)]
pub(crate) struct Versions {
    pending: Pending,
    known: AtomicU64,
}

/// The shared word; a store in memory has it to itself.
#[derive(Debug)]
enum Pending {
    Private(AtomicU64),
    Shared(SharedWord),
}

impl Versions {
    pub(crate) const fn shared(word: SharedWord) -> Self {
        Self {
            pending: Pending::Shared(word),
            known: AtomicU64::new(0),
        }
    }

    pub(crate) const fn private() -> Self {
        Self {
            pending: Pending::Private(AtomicU64::new(0)),
            known: AtomicU64::new(0),
        }
    }

    /// The number of the last committed transaction; `read` fetches it from the database if something may have changed.
    #[inline]
    pub(crate) fn current(&self, read: impl FnOnce() -> Result<u64>) -> Result<u64> {
        let pending = self.pending();
        if pending == self.known.load(Ordering::SeqCst) {
            return Ok(pending);
        }
        let committed = read()?;
        self.known.fetch_max(committed, Ordering::SeqCst);
        Ok(committed)
    }

    #[inline]
    pub(crate) fn pending(&self) -> u64 {
        match &self.pending {
            Pending::Private(word) => word.load(Ordering::SeqCst),
            Pending::Shared(word) => word.load(),
        }
    }

    /// Says which number is about to be committed, or is and stays. Only for who holds the write lock.
    pub(crate) fn announce(&self, number: u64) {
        match &self.pending {
            Pending::Private(word) => word.store(number, Ordering::SeqCst),
            Pending::Shared(word) => word.store(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_asked_only_when_something_may_have_changed() {
        let versions = Versions::private();
        versions.announce(5);
        assert_eq!(versions.current(|| Ok(5)).unwrap(), 5);
        let unchanged = versions.current(|| panic!("nothing changed"));
        assert_eq!(unchanged.unwrap(), 5);

        versions.announce(6);
        assert_eq!(versions.current(|| Ok(5)).unwrap(), 5, "not yet committed");
        assert_eq!(versions.current(|| Ok(6)).unwrap(), 6);
        assert_eq!(versions.current(|| panic!("nothing changed")).unwrap(), 6);
    }

    #[test]
    fn a_writer_that_died_leaves_it_slow_but_right() {
        let versions = Versions::private();
        versions.announce(5);
        versions.current(|| Ok(5)).unwrap();
        versions.announce(9);
        for _ in 0..3 {
            assert_eq!(versions.current(|| Ok(5)).unwrap(), 5);
        }
        versions.announce(6);
        assert_eq!(versions.current(|| Ok(6)).unwrap(), 6);
    }

    #[test]
    fn a_late_reader_takes_nothing_back() {
        let versions = Versions::private();
        versions.announce(6);
        versions
            .current(|| {
                versions.current(|| Ok(6)).unwrap();
                Ok(5)
            })
            .unwrap();
        assert_eq!(versions.current(|| panic!("6 is known")).unwrap(), 6);
    }
}
