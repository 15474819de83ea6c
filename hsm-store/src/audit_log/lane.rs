//! One stream that is being written. A log has several, so that threads do not wait for each other.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hsm_core::audit::{Chain, ChainHead, Entry, Frame, StreamId, split_frame};
use hsm_core::{Clock, Error, ErrorKind, Result};
use parking_lot::{Mutex, MutexGuard};

use super::limits::{FIRST_SEGMENT_LEN, ROLLED_SEGMENTS_MAX, SEGMENT_LEN};
use super::segment::segment_path;
use crate::mapped::AppendRegion;

/// A stream and what it takes to append to it. Aligned so that two lanes share no cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Lane {
    stream: StreamId,
    state: Mutex<LaneState>,
}

#[derive(Debug)]
pub(crate) struct LaneState {
    chain: Chain,
    buffer: Vec<u8>,
    storage: Storage,
    closed: bool,
    /// The disk refused to take records that were appended. It says so once: a later sync would pass as if they were there.
    lost: bool,
}

#[derive(Debug)]
enum Storage {
    Folder(Segments),
    Memory(Vec<u8>),
}

impl Lane {
    /// An empty stream in `folder`, which gets its first file with its first record.
    pub(crate) fn in_folder(stream: StreamId, folder: Arc<Path>) -> Self {
        let segments = Segments {
            folder,
            stream,
            current: None,
            rolled: Vec::new(),
            synced: 0,
            names_synced: true,
        };
        Self::new(stream, Storage::Folder(segments))
    }

    /// An empty stream in memory.
    pub(crate) fn in_memory(stream: StreamId) -> Self {
        Self::new(stream, Storage::Memory(Vec::new()))
    }

    fn new(stream: StreamId, storage: Storage) -> Self {
        Self {
            stream,
            state: Mutex::new(LaneState {
                chain: Chain::new(stream),
                buffer: Vec::new(),
                storage,
                closed: false,
                lost: false,
            }),
        }
    }

    pub(crate) const fn stream(&self) -> StreamId {
        self.stream
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock()
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, LaneState>> {
        self.state.try_lock()
    }

    /// Puts what was appended so far on disk. Appending goes on meanwhile; the caller lets only one sync at a time.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let Some(unsynced) = self.lock().unsynced() else {
            return Ok(());
        };
        if let Err(error) = unsynced.flush() {
            self.lock().lost = true;
            return Err(error);
        }
        self.lock().mark_synced(&unsynced);
        Ok(())
    }

    /// Ends the stream, unless it is empty: then there is nothing to end.
    pub(crate) fn close(&self, clock: &dyn Clock) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Ok(());
        }
        if state.chain.head().records > 0 {
            state.append(&Entry::Closed { time: clock.now() })?;
        }
        state.closed = true;
        drop(state);
        self.sync()
            .and_then(|()| self.lock().trim())
            .map_err(|error| audit_failed("the stream cannot be closed", error))
    }
}

impl LaneState {
    /// Where the stream stands.
    pub(crate) const fn head(&self) -> ChainHead {
        self.chain.head()
    }

    /// What cannot be audited is not done, so nothing follows records that may not be on disk.
    fn check_not_lost(&self) -> Result<()> {
        if self.lost {
            return Err(Error::new(
                ErrorKind::AuditFailed,
                "the disk did not take a part of the audit log; mend it and open the HSM again",
            ));
        }
        Ok(())
    }

    /// Appends one record. On an error, nothing has changed.
    pub(crate) fn append(&mut self, entry: &Entry<'_>) -> Result<()> {
        if self.closed {
            return Err(Error::new(
                ErrorKind::AuditFailed,
                "the audit log was closed",
            ));
        }
        self.check_not_lost()?;
        let before = self.chain.head();
        self.buffer.clear();
        self.chain
            .append(entry, &mut self.buffer)
            .map_err(|error| audit_failed("the record cannot be appended", error))?;
        let stored = match &mut self.storage {
            Storage::Folder(segments) => segments.append(before.records, &self.buffer),
            Storage::Memory(bytes) => {
                bytes.extend_from_slice(&self.buffer);
                Ok(())
            }
        };
        if let Err(error) = stored {
            self.chain = Chain::resume(before);
            return Err(audit_failed("the record cannot be appended", error));
        }
        Ok(())
    }

    /// The records of a stream in memory from `from` on; `None` for one in files.
    pub(crate) fn frames_in_memory(&self, from: u64, limit: usize) -> Option<Result<Vec<Frame>>> {
        let Storage::Memory(bytes) = &self.storage else {
            return None;
        };
        let mut rest = bytes.as_slice();
        let mut frames = Vec::new();
        let mut record = 0;
        loop {
            match split_frame(rest) {
                Ok(Some((frame, after))) if frames.len() < limit => {
                    rest = after;
                    if record >= from {
                        frames.push(frame);
                    }
                    record += 1;
                }
                Ok(_) => return Some(Ok(frames)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn unsynced(&mut self) -> Option<Unsynced> {
        match &self.storage {
            Storage::Folder(segments) => segments.unsynced(),
            Storage::Memory(_) => None,
        }
    }

    fn mark_synced(&mut self, done: &Unsynced) {
        if let Storage::Folder(segments) = &mut self.storage {
            segments.mark_synced(done);
        }
    }

    fn trim(&self) -> io::Result<()> {
        match &self.storage {
            Storage::Folder(Segments {
                current: Some(current),
                ..
            }) => {
                let file = current.region.file();
                file.set_len(current.used as u64)?;
                file.sync_all()
            }
            _ => Ok(()),
        }
    }
}

/// The files of a stream that is being written.
#[derive(Debug)]
struct Segments {
    folder: Arc<Path>,
    stream: StreamId,
    current: Option<Segment>,
    /// Full segments that are not known to be on disk.
    rolled: Vec<Segment>,
    /// How much of the current segment is on disk.
    synced: usize,
    /// Whether the names of all files are on disk.
    names_synced: bool,
}

#[derive(Clone, Debug)]
struct Segment {
    region: Arc<AppendRegion>,
    used: usize,
}

impl Segments {
    #[inline]
    fn append(&mut self, record: u64, frame: &[u8]) -> io::Result<()> {
        let current = match &mut self.current {
            Some(current) if frame.len() <= current.region.len() - current.used => current,
            _ => self.roll(record)?,
        };
        current.region.append(current.used, frame);
        current.used += frame.len();
        Ok(())
    }

    /// Goes on in a new file, whose first record is `record`. On an error, the old one stays.
    #[cold]
    fn roll(&mut self, record: u64) -> io::Result<&mut Segment> {
        if self.rolled.len() >= ROLLED_SEGMENTS_MAX {
            for segment in &self.rolled {
                segment.flush_all()?;
            }
            self.rolled.clear();
        }
        let len = match self.current {
            None => FIRST_SEGMENT_LEN,
            Some(_) => SEGMENT_LEN,
        };
        let path = segment_path(&self.folder, self.stream, record);
        let region = Arc::new(AppendRegion::create(&path, len)?);
        self.names_synced = false;
        self.synced = 0;
        if let Some(full) = self.current.take() {
            // Zeros that stay at the end do no harm.
            let _ = full.region.file().set_len(full.used as u64);
            self.rolled.push(full);
        }
        Ok(self.current.insert(Segment { region, used: 0 }))
    }

    fn unsynced(&self) -> Option<Unsynced> {
        let current = self.current.clone()?;
        if self.rolled.is_empty() && self.names_synced && self.synced == current.used {
            return None;
        }
        Some(Unsynced {
            rolled: self.rolled.clone(),
            current,
            from: self.synced,
            folder: (!self.names_synced).then(|| Arc::clone(&self.folder)),
        })
    }

    fn mark_synced(&mut self, done: &Unsynced) {
        let done_with = |segment: &Segment| {
            done.rolled
                .iter()
                .any(|other| Arc::ptr_eq(&other.region, &segment.region))
        };
        self.rolled.retain(|segment| !done_with(segment));
        let same_segment = self
            .current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(&current.region, &done.current.region));
        if same_segment {
            self.synced = done.current.used;
            self.names_synced = true;
        }
    }
}

impl Segment {
    fn flush_all(&self) -> io::Result<()> {
        self.region.flush(0, self.used)?;
        self.region.file().sync_all()
    }
}

/// What one sync has to do.
struct Unsynced {
    rolled: Vec<Segment>,
    current: Segment,
    from: usize,
    /// The folder, if a file's name in it is new.
    folder: Option<Arc<Path>>,
}

impl Unsynced {
    fn flush(&self) -> io::Result<()> {
        for segment in &self.rolled {
            segment.flush_all()?;
        }
        self.current.region.flush(self.from, self.current.used)?;
        if let Some(folder) = &self.folder {
            self.current.region.file().sync_all()?;
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// An error of the kind that makes the engine withhold the result.
pub(crate) fn audit_failed(
    what: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let source = source.into();
    Error::new(ErrorKind::AuditFailed, format!("{what}: {source}")).with_source(source)
}

#[cfg(test)]
mod tests {
    use hsm_core::Timestamp;

    use super::*;

    /// The kernel reports a failed write-back once; the sync after that would pass.
    #[test]
    fn nothing_is_appended_after_a_sync_that_failed() {
        let lane = Lane::in_memory(StreamId::from_bytes([1; 16]));
        let time = Timestamp::default();
        lane.lock().append(&Entry::Closed { time }).unwrap();
        lane.lock().lost = true;
        let head = lane.lock().head();
        let error = lane.lock().append(&Entry::Closed { time }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuditFailed);
        assert_eq!(lane.lock().head(), head);
    }
}
