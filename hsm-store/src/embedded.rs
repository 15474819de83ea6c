//! [`EmbeddedStore`]: a [`Store`] in one SQLite file that several processes share, any of which may be killed at any
//! moment.

mod connection;
mod failure;
mod limits;
mod queue;
mod reader;
mod records;
mod schema;
mod version;
mod writer;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use futures_channel::oneshot;
use hsm_core::{Error, ErrorKind, Result, Store, TransactBody, ViewBody};
use parking_lot::Mutex;
use rusqlite::Connection;

use self::connection::{open_file, open_in_memory};
use self::failure::store_error;
use self::limits::PAGE_LEN;
use self::queue::{Job, Queue};
use self::reader::{Readers, view};
use self::records::change_number;
use self::version::Versions;
use self::writer::Writer;
use crate::mapped::SharedWord;

/// A [`Store`] in one SQLite file.
///
/// Transactions run on one thread of the store, which commits all that wait together: sixty-four tasks that create
/// keys share one write to the disk. Views run where they are asked for, on connections of their own, and neither wait
/// for a transaction nor delay one.
///
/// Beside the file `NAME` lie `NAME-wal` and `NAME-shm`, which are SQLite's, and `NAME-version`, in which processes tell
/// each other of changes. They belong together: copy, move or remove them only while no process has the store open. The
/// store must be on a local disk, and an open store must not cross `fork()`.
///
/// ```
/// use hsm_core::{Space, Store};
/// use hsm_store::EmbeddedStore;
///
/// # futures_executor::block_on(async {
/// let folder = tempfile::tempdir().expect("a folder");
/// let store = EmbeddedStore::create(folder.path().join("store.db"))?;
/// let before = store.version()?;
/// store.transact(Box::new(|records| records.put(Space::Users, b"ada", b"admin"))).await?;
/// assert_ne!(store.version()?, before);
/// # Ok::<(), hsm_core::Error>(())
/// # }).unwrap();
/// ```
pub struct EmbeddedStore {
    name: Arc<str>,
    source: Source,
    versions: Arc<Versions>,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// Where views read from.
enum Source {
    File(Readers),
    /// A database in memory has one connection, which the writer holds while it commits.
    Memory(Arc<Mutex<Connection>>),
}

impl EmbeddedStore {
    /// Makes an empty store at `path`, readable by its owner only, and opens it. It appears whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if there is something at `path`, [`StoreFailed`](ErrorKind::StoreFailed) if
    /// it cannot be written, as when its folder does not exist.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = name_of(path);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| {
            Error::new(ErrorKind::StoreFailed, "the system has no random numbers")
                .with_source(error)
        })?;
        let draft = beside(path, &format!(".new-{:016x}", u64::from_be_bytes(random)));
        let outcome = draw_up(&draft, &name).and_then(|()| {
            fs::hard_link(&draft, path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    Error::new(ErrorKind::Conflict, format!("{name} already exists"))
                }
                _ => file_error(&name, "made", error),
            })
        });
        // Of no use any more, whatever came of it; the outcome counts.
        let _ = fs::remove_file(&draft);
        outcome?;
        sync_folder_of(path).map_err(|error| file_error(&name, "made", error))?;
        Self::open(path)
    }

    /// Opens the store at `path`, bringing it to the current format if it is older.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none, [`Damaged`](ErrorKind::Damaged) if the file is something
    /// else or was cut off, [`Unsupported`](ErrorKind::Unsupported) if a newer version wrote it,
    /// [`StoreFailed`](ErrorKind::StoreFailed) if it cannot be opened for writing.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = name_of(path);
        check_file(path, &name)?;
        // Connections are opened later as well, when the current folder may be another.
        let path = fs::canonicalize(path).map_err(|error| file_error(&name, "opened", error))?;
        let mut connection = open_file(&path, &name)?;
        let read_only = connection
            .is_readonly("main")
            .map_err(|error| store_error(&name, error))?;
        if read_only {
            return Err(Error::new(
                ErrorKind::StoreFailed,
                format!("{name} is read-only"),
            ));
        }
        schema::upgrade_store(&mut connection, &name)?;
        let word = SharedWord::open(&beside(&path, "-version"))
            .map_err(|error| file_error(&name, "shared", error))?;
        let source = Source::File(Readers::new(path));
        let connection = Arc::new(Mutex::new(connection));
        Self::start(name, source, connection, Versions::shared(word))
    }

    /// Makes a store that lives in memory, for tests.
    ///
    /// # Errors
    ///
    /// [`StoreFailed`](ErrorKind::StoreFailed) if there is not enough of it.
    pub fn in_memory() -> Result<Self> {
        let name: Arc<str> = "the store in memory".into();
        let mut connection = open_in_memory(&name)?;
        schema::initialize(&mut connection, &name)?;
        let connection = Arc::new(Mutex::new(connection));
        let source = Source::Memory(Arc::clone(&connection));
        Self::start(name, source, connection, Versions::private())
    }

    fn start(
        name: Arc<str>,
        source: Source,
        connection: Arc<Mutex<Connection>>,
        versions: Versions,
    ) -> Result<Self> {
        let versions = Arc::new(versions);
        let writer = Writer {
            name: Arc::clone(&name),
            connection,
            versions: Arc::clone(&versions),
        };
        writer.settle()?;
        let queue = Arc::new(Queue::default());
        let jobs = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("hsm-store".to_owned())
            .spawn(move || writer.run(&jobs))
            .map_err(|error| file_error(&name, "opened", error))?;
        Ok(Self {
            name,
            source,
            versions,
            queue,
            thread: Some(thread),
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match &self.source {
            Source::File(readers) => readers.with(&self.name, read),
            Source::Memory(connection) => read(&connection.lock()),
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    #[inline]
    fn version(&self) -> Result<u64> {
        self.versions
            .current(|| self.read(|connection| change_number(connection, &self.name)))
    }

    async fn view<'a>(&'a self, mut body: ViewBody<'a>) -> Result<()> {
        self.read(|connection| view(connection, &self.name, &mut *body))
    }

    async fn transact(&self, body: TransactBody) -> Result<()> {
        let (answer, outcome) = oneshot::channel();
        self.queue.push(Job { body, answer }).await;
        outcome.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unknown,
                format!("{}: the writer ended before it answered", self.name),
            ))
        })
    }
}

/// Finishes the transactions that were asked for, and closes the files.
impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.queue.close();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The body of a transaction may hold the last handle to its store; the writer cannot wait for itself.
        if thread.thread().id() != thread::current().id() {
            // It catches the panics of bodies; there is nobody to tell of another.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Writes an empty store to `draft`, down to the disk.
fn draw_up(draft: &Path, name: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)
        .map_err(|error| file_error(name, "made", error))?;
    let mut connection = open_file(draft, name)?;
    connection
        .execute_batch(&format!("PRAGMA page_size = {PAGE_LEN}"))
        .map_err(|error| store_error(name, error))?;
    schema::initialize(&mut connection, name)?;
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .map_err(|error| store_error(name, error))?;
    connection
        .close()
        .map_err(|(_, error)| store_error(name, error))
}

/// Finds out what can be found out without opening the file: closing it again would drop the locks that this process
/// may hold on it (`fcntl(2)`).
fn check_file(path: &Path, name: &str) -> Result<()> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("{name} does not exist"))
        }
        _ => file_error(name, "opened", error),
    })?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Err(Error::new(
            ErrorKind::Damaged,
            format!("{name} is no store: it is empty or no file"),
        ));
    }
    // SQLite takes the rest of a page that was cut through for zeros. A page may be half-written while the log has it.
    let logged = fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    if !logged && metadata.len() % u64::from(PAGE_LEN) != 0 {
        return Err(Error::new(
            ErrorKind::Damaged,
            format!("{name} was cut off in the middle of a page"),
        ));
    }
    Ok(())
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn name_of(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

fn file_error(name: &str, done: &str, error: io::Error) -> Error {
    Error::new(
        ErrorKind::StoreFailed,
        format!("{name} cannot be {done}: {error}"),
    )
    .with_source(error)
}
