//! Read transactions over connections that are kept for the next.

use std::path::PathBuf;

use hsm_core::{Result, Snapshot};
use parking_lot::Mutex;
use rusqlite::Connection;

use super::connection::open_file;
use super::failure::store_error;
use super::limits::IDLE_READERS_MAX;
use super::records::SnapshotRecords;

/// Idle connections to a database file.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Runs `read` on a connection of its own. One that a panic leaves in the middle of something is not used again.
    pub(crate) fn with<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_file(&self.path, name)?,
        };
        let outcome = read(&connection);
        if connection.is_autocommit() {
            let mut idle = self.idle.lock();
            if idle.len() < IDLE_READERS_MAX {
                idle.push(connection);
            }
        }
        outcome
    }
}

/// Runs `body` in a read transaction.
pub(crate) fn view(
    connection: &Connection,
    name: &str,
    body: &mut (dyn FnMut(&dyn Snapshot) -> Result<()> + Send),
) -> Result<()> {
    let _transaction = ReadTransaction::begin(connection, name)?;
    body(&SnapshotRecords::new(connection, name))
}

/// Ends when it is dropped, also by a panic.
struct ReadTransaction<'c>(&'c Connection);

impl<'c> ReadTransaction<'c> {
    fn begin(connection: &'c Connection, name: &str) -> Result<Self> {
        connection
            .prepare_cached("BEGIN")
            .and_then(|mut statement| statement.execute([]))
            .map_err(|error| store_error(name, error))?;
        Ok(Self(connection))
    }
}

impl Drop for ReadTransaction<'_> {
    fn drop(&mut self) {
        if self.0.is_autocommit() {
            return;
        }
        // Nothing was written, so nothing can be lost; a connection that does not end it is not used again.
        let _ = self
            .0
            .prepare_cached("COMMIT")
            .and_then(|mut statement| statement.execute([]));
    }
}
