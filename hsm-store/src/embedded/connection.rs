//! Opens connections, all with the same settings.

use std::path::Path;

use hsm_core::Result;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::store_error;
use super::limits::{
    LOG_PAGES_MAX, PAGE_CACHE_KIB, PAGE_LEN, STATEMENTS_MAX, WRITE_LOCK_PAUSE, WRITE_LOCK_WAIT_MAX,
};

/// Opens the database file at `path`, which must be there.
pub(crate) fn open_file(path: &Path, name: &str) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    Connection::open_with_flags(path, flags)
        .and_then(configured)
        .map_err(|error| store_error(name, error))
}

/// Opens a database that lives as long as the connection.
pub(crate) fn open_in_memory(name: &str) -> Result<Connection> {
    Connection::open_in_memory()
        .and_then(configured)
        .map_err(|error| store_error(name, error))
}

fn configured(mut connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_handler(Some(|tries: i32| {
        let waited = WRITE_LOCK_PAUSE * u32::try_from(tries).unwrap_or(0);
        let go_on = waited < WRITE_LOCK_WAIT_MAX;
        if go_on {
            std::thread::sleep(WRITE_LOCK_PAUSE);
        }
        go_on
    }))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cell_size_check = ON;
         PRAGMA cache_size = -{PAGE_CACHE_KIB};"
    ))?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", LOG_PAGES_MAX, |_| Ok(()))?;
    // A log that one large transaction made longer is shortened when it begins anew.
    let log_len_max = i64::from(LOG_PAGES_MAX) * i64::from(PAGE_LEN);
    connection.pragma_update_and_check(None, "journal_size_limit", log_len_max, |_| Ok(()))?;
    Ok(connection)
}
