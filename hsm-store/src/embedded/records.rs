//! Reading and writing records over one connection: what [`Snapshot`] and [`Transaction`] come down to.

use std::cell::Cell;
use std::fmt;
use std::sync::LazyLock;

use hsm_core::limits::{RECORD_KEY_LEN_MAX, RECORD_LEN_MAX};
use hsm_core::{Error, ErrorKind, Result, Snapshot, Space, Transaction};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::failure::{record_error, store_error};

/// The number of the last committed transaction, as `connection` sees it.
pub(crate) fn change_number(connection: &Connection, store: &str) -> Result<u64> {
    connection
        .prepare_cached("SELECT change_number FROM store WHERE id = 1")
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)))
        .map(i64::cast_unsigned)
        .map_err(|error| store_error(store, error))
}

/// The records as one read transaction sees them.
pub(crate) struct SnapshotRecords<'c> {
    records: Records<'c>,
}

impl<'c> SnapshotRecords<'c> {
    pub(crate) const fn new(connection: &'c Connection, store: &'c str) -> Self {
        Self {
            records: Records { connection, store },
        }
    }
}

impl Snapshot for SnapshotRecords<'_> {
    fn version(&self) -> Result<u64> {
        change_number(self.records.connection, self.records.store)
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.records.read(space, key)
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.records.scan(space, prefix, after, limit)
    }

    fn last(&self, space: Space) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.records.last(space)
    }

    fn count(&self, space: Space, prefix: &[u8], limit: usize) -> Result<usize> {
        self.records.count(space, prefix, limit)
    }
}

/// The records as one write transaction sees and changes them.
///
/// Transactions that share a commit each have a number of their own, so what one of them has seen under a number is
/// never something else to the next.
pub(crate) struct TransactionRecords<'c> {
    records: Records<'c>,
    /// Number of the transaction before this one.
    before: u64,
    changed: Cell<bool>,
}

impl<'c> TransactionRecords<'c> {
    pub(crate) const fn new(connection: &'c Connection, store: &'c str, before: u64) -> Self {
        Self {
            records: Records { connection, store },
            before,
            changed: Cell::new(false),
        }
    }

    /// The number of the state that this transaction sees; a new one as soon as it has changed something.
    pub(crate) fn number(&self) -> u64 {
        self.before + u64::from(self.changed.get())
    }
}

impl Snapshot for TransactionRecords<'_> {
    fn version(&self) -> Result<u64> {
        Ok(self.number())
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.records.read(space, key)
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.records.scan(space, prefix, after, limit)
    }

    fn last(&self, space: Space) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.records.last(space)
    }

    fn count(&self, space: Space, prefix: &[u8], limit: usize) -> Result<usize> {
        self.records.count(space, prefix, limit)
    }
}

impl Transaction for TransactionRecords<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        within(
            "the length of a record's key",
            key.len(),
            RECORD_KEY_LEN_MAX,
        )?;
        within("the length of a record", value.len(), RECORD_LEN_MAX)?;
        self.changed.set(true);
        self.records
            .execute(space, &statements(space).put, key, &[key, value])
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<()> {
        self.changed.set(true);
        self.records
            .execute(space, &statements(space).remove, key, &[key])
    }
}

struct Records<'c> {
    connection: &'c Connection,
    store: &'c str,
}

impl Records<'_> {
    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.prepare(&statements(space).read)
            .and_then(|mut statement| {
                statement
                    .query_row([key], |row| {
                        row.get_ref(0)?
                            .as_blob()
                            .map(<[u8]>::to_vec)
                            .map_err(Into::into)
                    })
                    .optional()
            })
            .map_err(|error| record_error(self.store, space, &KeyText(key), error))
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (start, end) = (range_start(prefix, after), range_end(prefix));
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let read = |found: &mut Vec<_>| -> rusqlite::Result<()> {
            let mut statement = self.prepare(&statements(space).scan)?;
            let mut rows = statement.query(params![start, end, as_count(limit)])?;
            while let Some(row) = rows.next()? {
                found.push((
                    row.get_ref(0)?.as_blob()?.to_vec(),
                    row.get_ref(1)?.as_blob()?.to_vec(),
                ));
            }
            Ok(())
        };
        match read(&mut found) {
            Ok(()) => Ok(found),
            Err(error) => {
                let last = found.last().map_or(prefix, |(key, _)| key);
                let place = format!("after {}", KeyText(last));
                Err(record_error(self.store, space, &place, error))
            }
        }
    }

    fn last(&self, space: Space) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.prepare(&statements(space).last)
            .and_then(|mut statement| {
                statement
                    .query_row([], |row| {
                        let (key, value) = (row.get_ref(0)?, row.get_ref(1)?);
                        Ok((key.as_blob()?.to_vec(), value.as_blob()?.to_vec()))
                    })
                    .optional()
            })
            .map_err(|error| record_error(self.store, space, &"at the end", error))
    }

    fn count(&self, space: Space, prefix: &[u8], limit: usize) -> Result<usize> {
        let (start, end) = (range_start(prefix, None), range_end(prefix));
        self.prepare(&statements(space).count)
            .and_then(|mut statement| {
                statement.query_row(params![start, end, as_count(limit)], |row| row.get(0))
            })
            .map(|count: i64| usize::try_from(count).unwrap_or(usize::MAX))
            .map_err(|error| {
                let place = format!("after {}", KeyText(prefix));
                record_error(self.store, space, &place, error)
            })
    }

    fn execute(&self, space: Space, sql: &str, key: &[u8], values: &[&[u8]]) -> Result<()> {
        self.prepare(sql)
            .and_then(|mut statement| statement.execute(rusqlite::params_from_iter(values)))
            .map(|_| ())
            .map_err(|error| record_error(self.store, space, &KeyText(key), error))
    }

    /// The prepared statement, as long as there is a transaction for it to run in: some errors, a full disk above all,
    /// make SQLite roll all of it back, and what came after would be committed by itself.
    fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        if self.connection.is_autocommit() {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT),
                Some("an error before rolled back the transaction".to_owned()),
            ));
        }
        self.connection.prepare_cached(sql)
    }
}

/// The statements of one space.
struct Statements {
    count: String,
    last: String,
    put: String,
    read: String,
    remove: String,
    scan: String,
}

fn statements(space: Space) -> &'static Statements {
    static STATEMENTS: LazyLock<[Statements; Space::ALL.len()]> =
        LazyLock::new(|| Space::ALL.map(|space| Statements::of(space.name())));
    &STATEMENTS[space as usize]
}

impl Statements {
    fn of(space: &str) -> Self {
        let table = format!("space_{space}");
        Self {
            count: format!(
                "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE key >= ?1 AND key < ?2 LIMIT ?3)"
            ),
            last: format!("SELECT key, value FROM {table} ORDER BY key DESC LIMIT 1"),
            put: format!("INSERT OR REPLACE INTO {table} (key, value) VALUES (?1, ?2)"),
            read: format!("SELECT value FROM {table} WHERE key = ?1"),
            remove: format!("DELETE FROM {table} WHERE key = ?1"),
            scan: format!(
                "SELECT key, value FROM {table} WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3"
            ),
        }
    }
}

/// The least key that starts with `prefix` and comes after `after`.
fn range_start(prefix: &[u8], after: Option<&[u8]>) -> Vec<u8> {
    match after {
        Some(after) if after >= prefix => [after, &[0]].concat(),
        _ => prefix.to_vec(),
    }
}

/// The least key that comes after all that start with `prefix`.
fn range_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|byte| *byte != 0xff) {
        Some(at) => {
            let mut end = prefix[..=at].to_vec();
            end[at] += 1;
            end
        }
        // Longer than any key, and as high.
        None => vec![0xff; prefix.len().max(RECORD_KEY_LEN_MAX) + 1],
    }
}

fn as_count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn within(what: &str, found: usize, max: usize) -> Result<()> {
    if found <= max {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("{what} is {found}, at most {max} is allowed"),
    ))
}

/// A key in messages.
struct KeyText<'a>(&'a [u8]);

impl fmt::Display for KeyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_space_has_its_own_statements() {
        for space in Space::ALL {
            let table = format!("FROM space_{} ", space.name());
            assert!(statements(space).read.contains(&table), "{space:?}");
        }
    }

    #[test]
    fn a_range_holds_the_keys_of_its_prefix_and_no_others() {
        let keys: &[&[u8]] = &[
            b"",
            b"a",
            b"a\0",
            b"ab",
            b"a\xff",
            b"a\xff\xff",
            b"b",
            b"\xff",
            b"\xff\xff",
        ];
        for prefix in keys {
            for after in keys.iter().map(Some).chain([None]) {
                let after = after.copied();
                let (start, end) = (range_start(prefix, after), range_end(prefix));
                for key in keys {
                    let within = *key >= &start[..] && *key < &end[..];
                    let wanted = key.starts_with(prefix) && after.is_none_or(|after| *key > after);
                    assert_eq!(within, wanted, "{key:?} {prefix:?} {after:?}");
                }
            }
        }
    }
}
