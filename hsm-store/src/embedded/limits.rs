//! What the embedded store allows itself.

use std::time::Duration;

/// Longest wait for another process to finish its transaction.
pub(crate) const WRITE_LOCK_WAIT_MAX: Duration = Duration::from_secs(10);

/// Pause between two tries to get the write lock. A commit takes about as long.
pub(crate) const WRITE_LOCK_PAUSE: Duration = Duration::from_micros(500);

/// What a caller is told to wait when the write lock could not be had.
pub(crate) const WRITE_LOCK_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Most transactions that wait for the writer; more wait to be queued.
pub(crate) const QUEUE_LEN_MAX: usize = 1024;

/// Most transactions that share a commit.
pub(crate) const BATCH_LEN_MAX: usize = 256;

/// Most idle connections kept for reading.
pub(crate) const IDLE_READERS_MAX: usize = 16;

/// Bytes of a page of the database.
pub(crate) const PAGE_LEN: u32 = 4096;

/// Memory for pages, of each connection, in KiB.
pub(crate) const PAGE_CACHE_KIB: u32 = 2048;

/// Pages of log after which a commit moves them into the database.
pub(crate) const LOG_PAGES_MAX: u32 = 4000;

/// Prepared statements kept by each connection: five for each space, and a few of our own.
pub(crate) const STATEMENTS_MAX: usize = 96;
