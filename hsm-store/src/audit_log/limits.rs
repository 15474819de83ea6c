//! What the audit log allows itself.

/// Most streams of one opener.
pub(crate) const LANES_MAX: usize = 8;

/// Length of a stream's first file: many programs make few records.
pub(crate) const FIRST_SEGMENT_LEN: usize = 64 << 10;

/// Length of a stream's other files.
pub(crate) const SEGMENT_LEN: usize = 4 << 20;

/// Most full files of a stream that wait for a sync; the next one is put on disk when the stream goes on.
pub(crate) const ROLLED_SEGMENTS_MAX: usize = 16;
