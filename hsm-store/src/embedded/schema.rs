//! The tables, the format they are in, and the steps from one format to the next.
//!
//! `PRAGMA application_id` marks the file as ours, `PRAGMA user_version` is its format. Format `n` is what the first
//! `n` steps of [`STEPS`] make of an empty database; opening an older one runs the steps that it lacks in one
//! transaction.

use hsm_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, TransactionBehavior};

use super::failure::{commit_error, store_error};

/// Changes the tables from one format to the next.
pub(crate) type Step = &'static str;

/// The steps; there are as many as the number of the format that this version writes. Never edit one, add one.
pub(crate) const STEPS: &[Step] = &[FORMAT_1];

/// One row with the change number, and one table for each space.
const FORMAT_1: Step = "
    CREATE TABLE store (id INTEGER PRIMARY KEY CHECK (id = 1), change_number INTEGER NOT NULL);
    INSERT INTO store (id, change_number) VALUES (1, 1);
    CREATE TABLE space_meta (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE space_keys (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE space_deleted_keys (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE space_versions (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE space_role_definitions (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE space_role_assignments (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE space_users (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE space_tree (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE space_journal (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE space_schedule (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
";

/// Makes an empty database a store.
pub(crate) fn initialize(connection: &mut Connection, name: &str) -> Result<()> {
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(|error| store_error(name, error))?;
    upgrade(connection, name, STEPS)
}

/// Checks that the database is a store, in a format that we know, and brings it up to date.
pub(crate) fn upgrade_store(connection: &mut Connection, name: &str) -> Result<()> {
    let application_id = pragma(connection, name, "application_id")?;
    if application_id != i64::from(APPLICATION_ID) {
        return Err(Error::new(
            ErrorKind::Damaged,
            format!("{name} is no store of ours: it lacks the mark"),
        ));
    }
    upgrade(connection, name, STEPS)
}

fn upgrade(connection: &mut Connection, name: &str, steps: &[Step]) -> Result<()> {
    if missing_steps(connection, name, steps)?.is_empty() {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| store_error(name, error))?;
    // Again, now that nobody else can do it.
    for step in missing_steps(&transaction, name, steps)? {
        transaction
            .execute_batch(step)
            .map_err(|error| store_error(name, error))?;
    }
    transaction
        .execute_batch(&format!("PRAGMA user_version = {}", steps.len()))
        .map_err(|error| store_error(name, error))?;
    transaction
        .commit()
        .map_err(|error| commit_error(name, error))
}

fn missing_steps<'a>(connection: &Connection, name: &str, steps: &'a [Step]) -> Result<&'a [Step]> {
    let format = pragma(connection, name, "user_version")?;
    usize::try_from(format)
        .ok()
        .and_then(|done| steps.get(done..))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{name} has format {format}, this program knows formats up to {}: use a newer version",
                    steps.len()
                ),
            )
        })
}

fn pragma(connection: &Connection, name: &str, pragma: &str) -> Result<i64> {
    connection
        .pragma_query_value(None, pragma, |row| row.get(0))
        .map_err(|error| store_error(name, error))
}

/// "HSMS", in the header of the file.
const APPLICATION_ID: i32 = 0x4853_4d53;

#[cfg(test)]
mod tests {
    use super::*;

    const ADD_COLUMN: Step = "ALTER TABLE store ADD COLUMN note TEXT";
    const FAIL: Step = "CREATE TABLE half (x); CREATE TABLE half (x)";

    fn store() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        initialize(&mut connection, "it").unwrap();
        connection
    }

    fn format(connection: &Connection) -> i64 {
        pragma(connection, "it", "user_version").unwrap()
    }

    #[test]
    fn every_space_has_a_table() {
        let connection = store();
        for space in hsm_core::Space::ALL {
            let sql = format!("SELECT count(*) FROM space_{}", space.name());
            let count: i64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(count, 0, "{space:?}");
        }
    }

    #[test]
    fn an_older_format_is_brought_up_to_date_once() {
        let mut connection = store();
        let steps = &[FORMAT_1, ADD_COLUMN];
        for _ in 0..2 {
            upgrade(&mut connection, "it", steps).unwrap();
            assert_eq!(format(&connection), 2);
        }
        connection
            .execute("UPDATE store SET note = 'kept'", [])
            .unwrap();
    }

    #[test]
    fn a_step_that_fails_leaves_the_old_format() {
        let mut connection = store();
        upgrade(&mut connection, "it", &[FORMAT_1, ADD_COLUMN, FAIL]).unwrap_err();
        assert_eq!(format(&connection), 1);
        upgrade(&mut connection, "it", &[FORMAT_1, ADD_COLUMN]).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut connection = store();
        upgrade(&mut connection, "it", &[FORMAT_1, ADD_COLUMN]).unwrap();
        let error = upgrade_store(&mut connection, "it").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error
                .message()
                .contains("format 2, this program knows formats up to 1")
        );
    }
}
