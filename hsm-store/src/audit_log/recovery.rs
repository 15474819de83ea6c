//! Finds the last good record of a stream whose writer died, and puts aside what comes after it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use hsm_core::audit::{Chain, ChainHead, Entry, StreamId, split_frame};

use super::segment::StreamFiles;

/// Where the stream stands; `None` if it was closed in good order.
///
/// What does not follow from the records before it was being written when the power failed, or somebody changed it: it
/// is moved to a file `….torn` beside, so that the stream verifies up to its end and nothing is lost that might be
/// evidence.
pub(crate) fn recover(
    stream: StreamId,
    files: Option<&StreamFiles>,
) -> io::Result<Option<ChainHead>> {
    let mut chain = Chain::new(stream);
    let mut whole = true;
    for (first, path) in files.into_iter().flat_map(StreamFiles::segments) {
        if !whole || first != chain.head().records {
            whole = false;
            fs::rename(path, torn(path))?;
            continue;
        }
        let bytes = fs::read(path)?;
        let read = follow(&mut chain, &bytes);
        if read.closed {
            return Ok(None);
        }
        whole = read.whole;
        cut(path, &bytes, read.used)?;
    }
    Ok(Some(chain.head()))
}

/// How far the records of a segment are good.
struct Read {
    used: usize,
    whole: bool,
    closed: bool,
}

fn follow(chain: &mut Chain, bytes: &[u8]) -> Read {
    let mut rest = bytes;
    loop {
        let used = bytes.len() - rest.len();
        let end = |whole, closed| Read {
            used,
            whole,
            closed,
        };
        match split_frame(rest) {
            Ok(Some((frame, after))) => match chain.follow(&frame) {
                Ok(Entry::Closed { .. }) => return end(true, true),
                Ok(_) => rest = after,
                Err(_) => return end(false, false),
            },
            Ok(None) => return end(true, false),
            Err(_) => return end(false, false),
        }
    }
}

/// Shortens the segment to its good part, having put aside what else is in it.
fn cut(path: &Path, bytes: &[u8], used: usize) -> io::Result<()> {
    let (_, rest) = bytes.split_at(used);
    if let Some(last) = rest.iter().rposition(|byte| *byte != 0) {
        fs::write(torn(path), &rest[..=last])?;
        File::open(torn(path))?.sync_all()?;
    }
    if used == 0 {
        return fs::remove_file(path);
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(used as u64)?;
    file.sync_all()
}

fn torn(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".torn");
    name.into()
}
