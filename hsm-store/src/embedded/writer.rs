//! The thread that runs transactions: it takes all that wait, gives each its own savepoint, and commits them together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hsm_core::{Error, ErrorKind, Result, TransactBody};
use parking_lot::Mutex;
use rusqlite::Connection;

use super::failure::{commit_error, store_error};
use super::queue::{Job, Queue};
use super::records::{TransactionRecords, change_number};
use super::version::Versions;

/// Owns the connection that writes.
pub(crate) struct Writer {
    pub(crate) name: Arc<str>,
    pub(crate) connection: Arc<Mutex<Connection>>,
    pub(crate) versions: Arc<Versions>,
}

impl Writer {
    /// Runs jobs until the queue is closed.
    pub(crate) fn run(&self, queue: &Queue) {
        while let Some(mut jobs) = queue.take() {
            let outcomes = self.commit(&mut jobs);
            for (job, outcome) in jobs.into_iter().zip(outcomes) {
                // Whoever asked may be gone; what was asked is done.
                let _ = job.answer.send(outcome);
            }
        }
    }

    /// Sets the shared word right, should a process have died while it was ahead.
    pub(crate) fn settle(&self) -> Result<()> {
        let connection = self.connection.lock();
        if change_number(&connection, &self.name)? == self.versions.pending() {
            return Ok(());
        }
        let lock = WriteLock::take(&connection, &self.name)?;
        self.versions
            .announce(change_number(&connection, &self.name)?);
        drop(lock);
        Ok(())
    }

    /// One outcome for each job. Jobs that could not be committed together are tried one by one, so that one which is
    /// too large for the disk takes no other with it.
    fn commit(&self, jobs: &mut [Job]) -> Vec<Result<()>> {
        match self.commit_together(jobs) {
            Ok(outcomes) => outcomes,
            Err(lost) if lost.again && jobs.len() > 1 => jobs
                .chunks_mut(1)
                .flat_map(|job| self.commit(job))
                .collect(),
            Err(lost) => same_for_all(lost.error, jobs.len()),
        }
    }

    fn commit_together(&self, jobs: &mut [Job]) -> Result<Vec<Result<()>>, Lost> {
        let connection = self.connection.lock();
        let transaction = WriteLock::take(&connection, &self.name).map_err(|error| Lost {
            error,
            again: false,
        })?;
        let before = change_number(&connection, &self.name).map_err(Lost::again)?;
        let mut number = before;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let outcome = self.run_body(&connection, &mut number, &mut job.body);
            if connection.is_autocommit() {
                // SQLite gave up the whole transaction (a full disk, mostly) and with it the bodies before.
                return Err(Lost::again(outcome.err().unwrap_or_else(rolled_back)));
            }
            outcomes.push(outcome);
        }
        if number == before {
            return Ok(outcomes);
        }
        set_change_number(&connection, number)
            .map_err(|error| Lost::again(store_error(&self.name, error)))?;
        self.versions.announce(number);
        match transaction.commit() {
            Ok(()) => Ok(outcomes),
            Err(error) => {
                if !connection.is_autocommit() {
                    self.versions.announce(before);
                }
                let error = commit_error(&self.name, error);
                let again = error.kind() != ErrorKind::Unknown;
                Err(Lost { error, again })
            }
        }
    }

    /// Runs one body; on any failure nothing of it is left.
    fn run_body(
        &self,
        connection: &Connection,
        number: &mut u64,
        body: &mut TransactBody,
    ) -> Result<()> {
        let sql = |sql| execute(connection, sql).map_err(|error| store_error(&self.name, error));
        sql("SAVEPOINT body")?;
        let mut records = TransactionRecords::new(connection, &self.name, *number);
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&mut records))).unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::StoreFailed,
                "the body of a transaction panicked",
            ))
        });
        if connection.is_autocommit() {
            return Err(outcome.err().unwrap_or_else(rolled_back));
        }
        match outcome {
            Ok(()) => {
                sql("RELEASE body")?;
                *number = records.number();
                Ok(())
            }
            Err(error) => {
                let undone = sql("ROLLBACK TO body").and_then(|()| sql("RELEASE body"));
                if undone.is_err() {
                    // Without the savepoint, only all of it can be undone.
                    drop(execute(connection, "ROLLBACK"));
                }
                Err(error)
            }
        }
    }
}

/// The database's write lock, held by a transaction that is rolled back unless it is committed.
struct WriteLock<'c>(&'c Connection);

impl<'c> WriteLock<'c> {
    fn take(connection: &'c Connection, name: &str) -> Result<Self> {
        execute(connection, "BEGIN IMMEDIATE").map_err(|error| store_error(name, error))?;
        Ok(Self(connection))
    }

    fn commit(&self) -> rusqlite::Result<()> {
        execute(self.0, "COMMIT")
    }
}

impl Drop for WriteLock<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // If even this fails, the connection goes on failing and says so.
            let _ = execute(self.0, "ROLLBACK");
        }
    }
}

/// A transaction that came to nothing as a whole, and whether its parts may be tried again.
struct Lost {
    error: Error,
    again: bool,
}

impl Lost {
    const fn again(error: Error) -> Self {
        Self { error, again: true }
    }
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

fn set_change_number(connection: &Connection, number: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE store SET change_number = ?1 WHERE id = 1")?
        .execute([number.cast_signed()])
        .map(|_| ())
}

fn rolled_back() -> Error {
    Error::new(
        ErrorKind::StoreFailed,
        "the transaction was rolled back by an error that its body ignored",
    )
}

/// The same failure for everyone. Errors cannot be cloned, so the others get its words.
fn same_for_all(error: Error, count: usize) -> Vec<Result<()>> {
    let copy = |error: &Error| {
        let copy = Error::new(error.kind(), error.message().to_owned());
        match error.retry_after() {
            Some(wait) => copy.with_retry_after(wait),
            None => copy,
        }
    };
    let mut outcomes: Vec<_> = (1..count).map(|_| Err(copy(&error))).collect();
    outcomes.push(Err(error));
    outcomes
}

#[cfg(test)]
mod tests {
    use futures_channel::oneshot;
    use hsm_core::{Space, Transaction};

    use super::super::connection::open_in_memory;
    use super::super::schema::initialize;
    use super::*;

    /// A writer whose disk is full after a few pages more.
    fn cramped_writer() -> Writer {
        let name: Arc<str> = "it".into();
        let mut connection = open_in_memory(&name).unwrap();
        initialize(&mut connection, &name).unwrap();
        let pages: i64 = connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        connection
            .pragma_update_and_check(None, "max_page_count", pages + 30, |_| Ok(()))
            .unwrap();
        let writer = Writer {
            name,
            connection: Arc::new(Mutex::new(connection)),
            versions: Arc::new(Versions::private()),
        };
        writer.settle().unwrap();
        writer
    }

    fn job(body: impl FnMut(&mut dyn Transaction) -> Result<()> + Send + 'static) -> Job {
        Job {
            body: Box::new(body),
            answer: oneshot::channel().0,
        }
    }

    fn put(key: &'static [u8], len: usize) -> Job {
        job(move |records| records.put(Space::Keys, key, &vec![1; len]))
    }

    fn keys(writer: &Writer) -> Vec<Vec<u8>> {
        let connection = writer.connection.lock();
        let mut statement = connection
            .prepare("SELECT key FROM space_keys ORDER BY key")
            .unwrap();
        let keys = statement.query_map([], |row| row.get(0)).unwrap();
        keys.map(|key| key.unwrap()).collect()
    }

    fn assert_settled(writer: &Writer) {
        let connection = writer.connection.lock();
        assert!(connection.is_autocommit());
        let number = change_number(&connection, "it").unwrap();
        assert_eq!(writer.versions.pending(), number);
    }

    #[test]
    fn a_full_disk_fails_the_one_that_is_too_large_and_no_other() {
        let writer = cramped_writer();
        let too_large = || {
            job(|records| {
                (0..9_u8).try_for_each(|number| records.put(Space::Tree, &[number], &[1; 60_000]))
            })
        };
        let mut jobs = [
            put(b"a", 9),
            too_large(),
            put(b"b", 9),
            too_large(),
            put(b"c", 9),
        ];
        let outcomes = writer.commit(&mut jobs);
        for (number, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(()) => assert!(number % 2 == 0),
                Err(error) => {
                    assert!(number % 2 == 1, "{error}");
                    assert_eq!(error.kind(), ErrorKind::StoreFailed);
                    assert!(error.message().contains("disk is full"), "{error}");
                }
            }
        }
        assert_eq!(keys(&writer), [b"a", b"b", b"c"]);
        assert_settled(&writer);
        let connection = writer.connection.lock();
        let half = connection.query_row("SELECT count(*) FROM space_tree", [], |row| row.get(0));
        assert_eq!(half, Ok(0));
    }

    #[test]
    fn a_full_disk_that_a_body_ignores_is_a_failure() {
        let writer = cramped_writer();
        let mut jobs = [job(|records| {
            for number in 0..9_u8 {
                let _ = records.put(Space::Keys, &[number], &[1; 60_000]);
            }
            Ok(())
        })];
        let error = writer.commit(&mut jobs).remove(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreFailed);
        assert!(keys(&writer).is_empty());
        assert_settled(&writer);
    }

    #[test]
    fn what_is_rolled_back_leaves_the_word_as_it_was() {
        let writer = cramped_writer();
        writer.versions.announce(99);
        writer.settle().unwrap();
        assert_settled(&writer);
        let mut jobs = [
            job(|_| panic!("as the test wants")),
            job(|records| {
                records.put(Space::Keys, b"a", b"")?;
                Err(Error::new(ErrorKind::Denied, "no"))
            }),
        ];
        assert!(writer.commit(&mut jobs).iter().all(Result::is_err));
        assert!(keys(&writer).is_empty());
        assert_settled(&writer);
    }

    #[test]
    fn another_process_that_keeps_the_lock_makes_it_fail_with_a_time_to_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(crate::EmbeddedStore::create(&path).unwrap());
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let connection = super::super::connection::open_file(&path, "it").unwrap();
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
        let writer = Writer {
            name: "it".into(),
            connection: Arc::new(Mutex::new(connection)),
            versions: Arc::new(Versions::private()),
        };
        let outcomes = writer.commit(&mut [put(b"a", 1), put(b"b", 1)]);
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StoreFailed);
            assert!(error.retry_after().is_some());
        }
        other.execute_batch("ROLLBACK").unwrap();
        assert!(writer.commit(&mut [put(b"a", 1)])[0].is_ok());
        assert_settled(&writer);
    }
}
