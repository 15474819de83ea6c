//! [`Store`]: what remembers sealed keys, roles, users and the journal of changes. Implement it to keep them elsewhere.
//!
//! A store is a set of ordered maps from bytes to bytes, one for each [`Space`], changed in transactions. It needs no
//! trust: private keys in it are sealed, and the engine authenticates every record against a root that only the
//! device's keys can make, so that a store that edits, swaps or replays records is found out.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;

/// One of the ordered maps of a store.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Space {
    /// What concerns the whole partition: identity, settings, system keys, the root of the record tree.
    Meta,
    /// Keys by name.
    Keys,
    /// Soft-deleted keys by name.
    DeletedKeys,
    /// Key versions by name and version.
    Versions,
    /// Custom role definitions by id.
    RoleDefinitions,
    /// Role assignments by id.
    RoleAssignments,
    /// Users by name.
    Users,
    /// The nodes of the tree that authenticates all other records.
    Tree,
    /// Audit records of changes, by sequence number.
    Journal,
    /// What is due when (rotation, purge), by time.
    Schedule,
}

impl Space {
    /// Every space.
    pub const ALL: [Self; 10] = [
        Self::Meta,
        Self::Keys,
        Self::DeletedKeys,
        Self::Versions,
        Self::RoleDefinitions,
        Self::RoleAssignments,
        Self::Users,
        Self::Tree,
        Self::Journal,
        Self::Schedule,
    ];

    /// Name of the space in messages and in stores that name their tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Keys => "keys",
            Self::DeletedKeys => "deleted_keys",
            Self::Versions => "versions",
            Self::RoleDefinitions => "role_definitions",
            Self::RoleAssignments => "role_assignments",
            Self::Users => "users",
            Self::Tree => "tree",
            Self::Journal => "journal",
            Self::Schedule => "schedule",
        }
    }
}

/// What a store must do. Most callers want `Hsm::open` of `hsm-client` instead.
///
/// # Contract
///
/// - A transaction happens whole or not at all. When [`transact`](Store::transact) returns `Ok` it survives `kill -9`
///   and power loss.
/// - Transactions are serializable, also among processes: the body sees the latest committed state and nobody commits
///   between its reads and its commit.
/// - [`version`](Store::version) changes with every committed transaction of any process, is equal only if nothing
///   changed, and costs nanoseconds when nothing did: it is on the path of every signature.
/// - What a [`view`](Store::view) reads is one snapshot.
/// - A record that the store knows to be broken is [`Damaged`](crate::ErrorKind::Damaged), naming space and key; the
///   others stay readable.
/// - Any other failure is [`StoreFailed`](crate::ErrorKind::StoreFailed) and changed nothing; a commit whose outcome
///   is not known is [`Unknown`](crate::ErrorKind::Unknown).
/// - Records may be up to [`RECORD_LEN_MAX`](crate::limits::RECORD_LEN_MAX) bytes, their keys up to
///   [`RECORD_KEY_LEN_MAX`](crate::limits::RECORD_KEY_LEN_MAX): longer ones are refused.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// A number that changes with every committed transaction of any process.
    ///
    /// # Errors
    ///
    /// As the contract says.
    fn version(&self) -> Result<u64>;

    /// Runs `body` on a snapshot. It may run more than once.
    async fn view<'a>(&'a self, body: ViewBody<'a>) -> Result<()>;

    /// Runs `body` in a transaction and commits it, or changes nothing if `body` fails.
    ///
    /// `body` may run more than once and must have no effect that matters but through its argument. It goes on, and is
    /// committed, even if the returned future is dropped.
    async fn transact(&self, body: TransactBody) -> Result<()>;
}

macro_rules! implement_through {
    ($pointer:ident) => {
        /// For those who share a store, or choose it while the program runs.
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<S: Store + ?Sized> Store for $pointer<S> {
            fn version(&self) -> Result<u64> {
                (**self).version()
            }

            async fn view<'a>(&'a self, body: ViewBody<'a>) -> Result<()> {
                (**self).view(body).await
            }

            async fn transact(&self, body: TransactBody) -> Result<()> {
                (**self).transact(body).await
            }
        }
    };
}

implement_through!(Arc);
implement_through!(Box);

/// What [`Store::view`] runs.
pub type ViewBody<'a> = Box<dyn FnMut(&dyn Snapshot) -> Result<()> + Send + 'a>;

/// What [`Store::transact`] runs.
pub type TransactBody = Box<dyn FnMut(&mut dyn Transaction) -> Result<()> + Send + 'static>;

/// A consistent view of all spaces.
///
/// What [`Store`] gives to read.
pub trait Snapshot {
    /// The [`Store::version`] that this snapshot shows.
    ///
    /// # Errors
    ///
    /// As [`Store`]'s contract says.
    fn version(&self) -> Result<u64>;

    /// The record of `key`, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Store`]'s contract says.
    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Up to `limit` records with keys that start with `prefix` and come after `after`, in the order of the bytes.
    ///
    /// # Errors
    ///
    /// As [`Store`]'s contract says.
    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// The last record of a space, in the order of the bytes.
    ///
    /// # Errors
    ///
    /// As [`Store`]'s contract says.
    fn last(&self, space: Space) -> Result<Option<(Vec<u8>, Vec<u8>)>>;

    /// Number of records in a space with keys that start with `prefix`, counting no further than `limit`.
    ///
    /// # Errors
    ///
    /// As [`Store`]'s contract says.
    fn count(&self, space: Space, prefix: &[u8], limit: usize) -> Result<usize>;
}

/// A transaction: a snapshot that can be changed and sees its own changes.
///
/// What [`Store`] gives to change.
pub trait Transaction: Snapshot {
    /// Writes a record, in place of one that may be there.
    ///
    /// # Errors
    ///
    /// As [`Store`]'s contract says.
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes a record. It is no error if there is none.
    ///
    /// # Errors
    ///
    /// As [`Store`]'s contract says.
    fn remove(&mut self, space: Space, key: &[u8]) -> Result<()>;
}
