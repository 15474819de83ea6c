//! Memory that is a file: the word in which processes tell each other of changes, and the segments of the audit log.
//!
//! The only unsafe code of the crate; `docs/decisions/0002-mapped-files.md` says why it is here. Both types map a file
//! that was fully allocated first, so that a full disk is an error when the file is made and never a signal when the
//! memory is written. What remains is somebody who truncates the file while it is mapped: the process then dies of
//! `SIGBUS`. Such a person can delete the store as well.
#![expect(
    unsafe_code,
    reason = "mapped memory has no safe interface; a system call per signature would cost more than it is allowed to"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// A number in a small file that every process that opens it shares.
#[derive(Debug)]
pub(crate) struct SharedWord {
    map: MmapRaw,
}

impl SharedWord {
    /// Maps the word in the file at `path`, which is made (with a word of zero) if it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        allocate(&file, WORD_FILE_LEN)?;
        let map = MmapOptions::new().len(WORD_FILE_LEN).map_raw(&file)?;
        Ok(Self { map })
    }

    /// The word.
    #[inline]
    pub(crate) fn load(&self) -> u64 {
        self.word().load(Ordering::SeqCst)
    }

    /// Sets the word.
    pub(crate) fn store(&self, value: u64) {
        self.word().store(value, Ordering::SeqCst);
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping begins on a page, so it is aligned, is WORD_FILE_LEN long, and lives as long as `self`.
        // All access to it, in every process, is through this atomic.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast()) }
    }
}

/// A file of fixed length into which frames are appended, each seen whole or not at all.
#[derive(Debug)]
pub(crate) struct AppendRegion {
    file: File,
    map: MmapRaw,
}

impl AppendRegion {
    /// Makes the file at `path` with room for `len` bytes, all zero. There must be none.
    pub(crate) fn create(path: &Path, len: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let map = allocate(&file, len).and_then(|()| MmapOptions::new().len(len).map_raw(&file));
        match map {
            Ok(map) => Ok(Self { file, map }),
            Err(error) => {
                // The error that counts is the one above; an empty file that stays behind holds no records.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Number of bytes there is room for.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// The file behind the memory.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Copies `frame` to offset `at`: its first four bytes, the length, come last, so that a process killed in between
    /// leaves a length of zero, which is the end of the stream.
    ///
    /// Only one thread may append at a time: the caller holds the lane's lock.
    ///
    /// # Panics
    ///
    /// If the frame does not fit, which the caller has checked.
    #[inline]
    pub(crate) fn append(&self, at: usize, frame: &[u8]) {
        let fits = at
            .checked_add(frame.len())
            .is_some_and(|end| end <= self.map.len());
        assert!(
            fits && frame.len() >= LENGTH_LEN,
            "the frame fits the segment"
        );
        let (length, rest) = frame.split_at(LENGTH_LEN);
        // SAFETY: `at + frame.len()` lies within the mapping, as just asserted, and the mapping does not overlap `frame`,
        // which the caller owns. Nobody in this process reads the mapping: readers use the file.
        unsafe {
            let target = self.map.as_mut_ptr().add(at);
            std::ptr::copy_nonoverlapping(rest.as_ptr(), target.add(LENGTH_LEN), rest.len());
            // Neither the compiler nor the processor moves the length before the body.
            fence(Ordering::Release);
            target
                .cast::<[u8; LENGTH_LEN]>()
                .write_volatile([length[0], length[1], length[2], length[3]]);
        }
    }

    /// Puts the bytes from `start` to `end` on disk.
    pub(crate) fn flush(&self, start: usize, end: usize) -> io::Result<()> {
        self.map.flush_range(start, end - start)
    }
}

/// Gives `file` at least `len` bytes of disk. New ones are zero, old ones stay.
fn allocate(file: &File, len: usize) -> io::Result<()> {
    let present = file.metadata()?.len();
    match fallocate(file, FallocateFlags::empty(), 0, len as u64) {
        // A file system that cannot reserve has the zeros below.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    // Also where it was reserved: to touch a page that the file's cache has costs a third of touching one that it lacks.
    let mut at = present;
    while at < len as u64 {
        let rest = &ZEROS[..ZEROS
            .len()
            .min(usize::try_from(len as u64 - at).unwrap_or(usize::MAX))];
        file.write_all_at(rest, at)?;
        at += rest.len() as u64;
    }
    Ok(())
}

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
const LENGTH_LEN: usize = 4;
const WORD_FILE_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_shared_by_all_who_map_it_and_stays_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("word");
        let one = SharedWord::open(&path).unwrap();
        one.store(7);
        let two = SharedWord::open(&path).unwrap();
        assert_eq!(two.load(), 7);
        two.store(8);
        assert_eq!(one.load(), 8);
    }

    #[test]
    fn a_frame_lands_where_it_should_and_nothing_else_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        let region = AppendRegion::create(&path, 64).unwrap();
        region.append(3, b"\x05\0\0\0hello");
        let mut expected = vec![0; 64];
        expected[3..12].copy_from_slice(b"\x05\0\0\0hello");
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        std::fs::write(&path, "precious").unwrap();
        AppendRegion::create(&path, 64).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
