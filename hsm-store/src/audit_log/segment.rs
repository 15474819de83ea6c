//! The files of a stream: `STREAM-RECORD.log`, where RECORD is the sequence number of the first record in it, so that a
//! file that is missing shows.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hsm_core::audit::{Frame, StreamId, split_frame};
use hsm_core::limits::AUDIT_RECORD_LEN_MAX;
use hsm_core::{Error, ErrorKind, Result};

/// Where the segment of `stream` that begins with record `first` lies.
pub(crate) fn segment_path(folder: &Path, stream: StreamId, first: u64) -> PathBuf {
    folder.join(format!("{stream}-{first:012}.log"))
}

/// The files of one stream, for reading; they may be written meanwhile.
///
/// ```no_run
/// # let audit_key: hsm_core::PublicKey = unimplemented!();
/// for stream in hsm_store::read_stream_files("dev.hsm/audit")? {
///     let verifier = hsm_core::audit::StreamVerifier::new(stream.id(), &audit_key);
///     let verified = hsm_core::audit::verify_stream(verifier, stream.frames(), |number, entry| {
///         println!("{number} {entry:?}");
///     });
///     if let Err(flaw) = verified {
///         eprintln!("{flaw}");
///     }
/// }
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StreamFiles {
    id: StreamId,
    segments: BTreeMap<u64, PathBuf>,
}

/// The streams that have files in `folder`, by their ids.
///
/// # Errors
///
/// [`AuditFailed`](ErrorKind::AuditFailed) if the folder cannot be listed.
pub fn read_stream_files(folder: impl AsRef<Path>) -> Result<Vec<StreamFiles>> {
    let folder = folder.as_ref();
    list(folder).map_err(|error| {
        Error::new(
            ErrorKind::AuditFailed,
            format!("{} cannot be listed: {error}", folder.display()),
        )
        .with_source(error)
    })
}

impl StreamFiles {
    /// The stream.
    #[must_use]
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// The stream's records from the first on, as they were written. Holds one file in memory at a time; an `Err`
    /// names the file that is damaged or missing and is the last item.
    pub fn frames(&self) -> impl Iterator<Item = Result<Frame, String>> + '_ {
        self.frames_from(0)
    }

    /// As [`frames`](Self::frames), from record `from` on.
    pub(crate) fn frames_from(
        &self,
        from: u64,
    ) -> impl Iterator<Item = Result<Frame, String>> + '_ {
        let start = self
            .segments
            .range(..=from)
            .next_back()
            .map_or(0, |(first, _)| *first);
        let skip = usize::try_from(from - start).unwrap_or(usize::MAX);
        let frames = Frames {
            segments: self.segments.range(start..),
            path: Path::new(""),
            bytes: Vec::new(),
            at: 0,
            record: start,
            failed: false,
        };
        // What is skipped must be there: an error among it is the answer.
        let mut skipped = 0;
        frames.filter(move |frame| {
            skipped += 1;
            skipped > skip || frame.is_err()
        })
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = (u64, &Path)> {
        self.segments
            .iter()
            .map(|(first, path)| (*first, path.as_path()))
    }
}

fn list(folder: &Path) -> io::Result<Vec<StreamFiles>> {
    let mut streams: BTreeMap<StreamId, BTreeMap<u64, PathBuf>> = BTreeMap::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        if let Some((stream, first)) = file.file_name().to_str().and_then(parse_name) {
            streams
                .entry(stream)
                .or_default()
                .insert(first, file.path());
        }
    }
    Ok(streams
        .into_iter()
        .map(|(id, segments)| StreamFiles { id, segments })
        .collect())
}

fn parse_name(name: &str) -> Option<(StreamId, u64)> {
    let (stream, first) = name.strip_suffix(".log")?.split_once('-')?;
    Some((stream.parse().ok()?, first.parse().ok()?))
}

/// Walks through the segments of a stream.
struct Frames<'a> {
    segments: std::collections::btree_map::Range<'a, u64, PathBuf>,
    path: &'a Path,
    bytes: Vec<u8>,
    at: usize,
    record: u64,
    failed: bool,
}

impl Frames<'_> {
    /// Goes to the next segment; `None` after the last.
    fn open_next(&mut self) -> Option<Result<(), String>> {
        let (first, path) = self.segments.next()?;
        self.path = path;
        if *first != self.record {
            return Some(Err(format!(
                "{}: begins with record {first}, but record {} is missing",
                path.display(),
                self.record
            )));
        }
        self.at = 0;
        match read_segment(path) {
            Ok(bytes) => self.bytes = bytes,
            Err(error) => return Some(Err(format!("{}: {error}", path.display()))),
        }
        Some(Ok(()))
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, String>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let rest = &self.bytes[self.at..];
            match split_frame(rest) {
                Ok(Some((frame, after))) => {
                    self.at += rest.len() - after.len();
                    self.record += 1;
                    return Some(Ok(frame));
                }
                Ok(None) => match self.open_next()? {
                    Ok(()) => {}
                    Err(reason) => {
                        self.failed = true;
                        return Some(Err(reason));
                    }
                },
                Err(error) => {
                    self.failed = true;
                    return Some(Err(format!(
                        "{} at byte {}: {}",
                        self.path.display(),
                        self.at,
                        error.message()
                    )));
                }
            }
        }
        None
    }
}

/// The bytes of a segment that may be written meanwhile.
///
/// The length of a frame is published after its body, so what lies before the end that was found once is whole when it
/// is read after that.
fn read_segment(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = fs::read(path)?;
    let end = published_len(&bytes);
    if end < bytes.len() {
        file.read_exact_at(&mut bytes[..end], 0)?;
    }
    Ok(bytes)
}

/// Length of the part of `bytes` that holds frames, going by their lengths alone.
fn published_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = bytes[at..].first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let end = at + 4 + length + 32;
        if length == 0 || length > AUDIT_RECORD_LEN_MAX || end > bytes.len() {
            break;
        }
        at = end;
    }
    at
}
