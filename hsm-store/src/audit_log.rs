//! [`AuditLog`]: an [`AuditSink`] in files that are mapped into memory, so that a record costs no system call and yet
//! survives the death of the process.
//!
//! A folder holds the streams of all its openers, past and present:
//!
//! - `STREAM-RECORD.log`: records of a stream, beginning with that sequence number;
//! - `OPENER.lock`: lists the streams of an opener, which holds a lock on it while it lives;
//! - `….torn`: what followed the last good record of a stream whose writer died.

mod lane;
mod limits;
mod opener;
mod recovery;
mod segment;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hsm_core::audit::{AuditSink, ChainHead, Checkpoint, Entry, Event, Frame, StreamId};
use hsm_core::{Clock, Error, ErrorKind, Result};
use parking_lot::{Mutex, MutexGuard};

use self::lane::{Lane, LaneState, audit_failed};
use self::limits::LANES_MAX;
use self::opener::OpenerLock;
use self::recovery::recover;
pub use self::segment::{StreamFiles, read_stream_files};

/// An [`AuditSink`] in a folder.
///
/// Each opener writes streams of its own, one for each processor (eight at most), and each thread keeps to one of them
/// unless another thread is in it. A record is hashed, copied into the mapped file, and that is all; the disk sees it
/// at the next [`sync`](AuditSink::sync).
///
/// Dropping the log without [`close`](AuditSink::close) leaves its streams without an end, as `kill -9` does; the next
/// process that asks for [`abandoned`](AuditSink::abandoned) streams is told of them. An open log must not cross
/// `fork()`.
///
/// [`checkpoint`](AuditSink::checkpoint) fails with [`Conflict`](ErrorKind::Conflict) if the stream has moved on from
/// the head that the checkpoint names: sign the new head and try again.
pub struct AuditLog {
    lanes: Box<[Lane]>,
    clock: Arc<dyn Clock>,
    home: Option<Home>,
}

/// The folder, for a log that has one.
struct Home {
    folder: Arc<Path>,
    own: Mutex<Option<OpenerLock>>,
    /// Openers that died, whose streams this process has taken over.
    taken: Mutex<Vec<OpenerLock>>,
    /// Held by the one thread that syncs.
    syncing: Mutex<()>,
}

impl AuditLog {
    /// Opens new streams in `folder`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`AuditFailed`](ErrorKind::AuditFailed) if the folder cannot be written.
    pub fn open(folder: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self> {
        let folder = folder.as_ref();
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let what = format!("{} cannot be made", folder.display());
                return Err(audit_failed(&what, error));
            }
            _ => {}
        }
        // Files are made later as well, when the current folder may be another.
        let folder: Arc<Path> = folder
            .canonicalize()
            .map_err(|error| {
                audit_failed(&format!("{} cannot be opened", folder.display()), error)
            })?
            .into();
        let streams = random_ids(lane_count())?;
        let opener = random_ids(1)?[0];
        let own = OpenerLock::create(&folder, opener, &streams)?;
        let lanes = streams
            .into_iter()
            .map(|stream| Lane::in_folder(stream, Arc::clone(&folder)))
            .collect();
        let home = Home {
            folder,
            own: Mutex::new(Some(own)),
            taken: Mutex::new(Vec::new()),
            syncing: Mutex::new(()),
        };
        Ok(Self {
            lanes,
            clock,
            home: Some(home),
        })
    }

    /// A log that lives and grows in memory, for tests.
    ///
    /// # Errors
    ///
    /// [`AuditFailed`](ErrorKind::AuditFailed) if the system has no random numbers.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self> {
        let streams = random_ids(lane_count())?;
        Ok(Self {
            lanes: streams.into_iter().map(Lane::in_memory).collect(),
            clock,
            home: None,
        })
    }

    /// A lane that nobody is in, this thread's own if possible.
    fn free_lane(&self) -> MutexGuard<'_, LaneState> {
        let own = thread_number() % self.lanes.len();
        let (before, from) = self.lanes.split_at(own);
        from.iter()
            .chain(before)
            .find_map(Lane::try_lock)
            .unwrap_or_else(|| self.lanes[own].lock())
    }
}

impl AuditSink for AuditLog {
    fn append(&self, event: &Event<'_>) -> Result<()> {
        self.free_lane().append(&Entry::Event(borrowed(event)))
    }

    fn heads(&self) -> Vec<ChainHead> {
        self.lanes.iter().map(|lane| lane.lock().head()).collect()
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let lane = self
            .lanes
            .iter()
            .find(|lane| lane.stream() == checkpoint.head.stream)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::AuditFailed,
                    "the checkpoint is of a stream that this log does not write",
                )
            })?;
        let mut lane = lane.lock();
        if lane.head() != checkpoint.head {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the stream has moved on from the head that the checkpoint names",
            ));
        }
        lane.append(&Entry::Checkpoint(checkpoint.clone()))
    }

    fn sync(&self) -> Result<()> {
        let Some(home) = &self.home else {
            return Ok(());
        };
        let _syncing = home.syncing.lock();
        self.lanes
            .iter()
            .try_for_each(Lane::sync)
            .map_err(|error| audit_failed("the audit log cannot be put on disk", error))
    }

    fn abandoned(&self) -> Result<Vec<ChainHead>> {
        let Some(home) = &self.home else {
            return Ok(Vec::new());
        };
        // Until all is known, an error frees the locks again.
        let locks = OpenerLock::take_free(&home.folder)?;
        let files = read_stream_files(&home.folder)?;
        let mut heads = Vec::new();
        let mut taken = Vec::new();
        for lock in locks {
            let before = heads.len();
            for stream in lock.streams()? {
                let files = files.iter().find(|files| files.id() == stream);
                let head = recover(stream, files).map_err(|error| {
                    audit_failed(&format!("stream {stream} cannot be recovered"), error)
                })?;
                heads.extend(head);
            }
            if heads.len() == before {
                // All closed: it died on the last step.
                lock.remove()?;
            } else {
                taken.push(lock);
            }
        }
        home.taken.lock().extend(taken);
        Ok(heads)
    }

    fn close(&self) -> Result<()> {
        let syncing = self.home.as_ref().map(|home| home.syncing.lock());
        for lane in &self.lanes {
            lane.close(&*self.clock)?;
        }
        drop(syncing);
        let Some(home) = &self.home else {
            return Ok(());
        };
        let taken = std::mem::take(&mut *home.taken.lock());
        home.own
            .lock()
            .take()
            .into_iter()
            .chain(taken)
            .try_for_each(OpenerLock::remove)
    }

    fn streams(&self) -> Result<Vec<StreamId>> {
        match &self.home {
            Some(home) => Ok(read_stream_files(&home.folder)?
                .iter()
                .map(StreamFiles::id)
                .collect()),
            None => Ok(self
                .heads()
                .iter()
                .filter(|head| head.records > 0)
                .map(|head| head.stream)
                .collect()),
        }
    }

    fn read(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<Frame>> {
        let own = self.lanes.iter().find(|lane| lane.stream() == stream);
        if let Some(frames) = own.and_then(|lane| lane.lock().frames_in_memory(from, limit)) {
            return frames;
        }
        let files = match &self.home {
            Some(home) => read_stream_files(&home.folder)?,
            None => Vec::new(),
        };
        match files.iter().find(|files| files.id() == stream) {
            Some(files) => read_files(files, from, limit),
            None if own.is_some() => Ok(Vec::new()),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("stream {stream} does not exist"),
            )),
        }
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.home.as_ref().map(|home| &home.folder);
        f.debug_struct("AuditLog")
            .field("folder", &folder)
            .field("streams", &self.lanes.len())
            .finish_non_exhaustive()
    }
}

/// What can be read; the error of what cannot is for the caller who asks for it next.
fn read_files(files: &StreamFiles, from: u64, limit: usize) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    for frame in files.frames_from(from).take(limit) {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(_) if !frames.is_empty() => break,
            Err(reason) => return Err(Error::new(ErrorKind::AuditFailed, reason)),
        }
    }
    Ok(frames)
}

/// The event without copying its text.
fn borrowed<'a>(event: &'a Event<'_>) -> Event<'a> {
    Event {
        principal: Cow::Borrowed(&event.principal),
        target: Cow::Borrowed(&event.target),
        detail: Cow::Borrowed(&event.detail),
        ..*event
    }
}

fn lane_count() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(LANES_MAX))
}

fn random_ids(count: usize) -> Result<Vec<StreamId>> {
    (0..count)
        .map(|_| {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes)
                .map_err(|error| audit_failed("the system has no random numbers", error))?;
            Ok(StreamId::from_bytes(bytes))
        })
        .collect()
}

/// A number for each thread, counted up, so that threads spread over the lanes.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.get()
}
