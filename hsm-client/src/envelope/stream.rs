//! [`Encryptor`] and [`Decryptor`]: data of any length, a segment at a time.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use aead::Buffer;
use aead_stream::StreamPrimitive;
use hsm_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use super::cipher::{Stream, TAG_LEN};
use super::error::{failed_io, io_error};
use super::file::folder;
use super::header::Header;

/// Encrypts what is written to it, and writes header and segments to `W`.
///
/// [`finish`](Self::finish) writes the last segment. Without it what was written lacks its end, and is refused when it is
/// decrypted.
///
/// It has one segment in memory, however much passes through. It works on the thread that writes: in an async program,
/// make it with `await` and move it to a thread that may block.
#[must_use = "without `finish` the data has no end and will be refused"]
pub struct Encryptor<W> {
    output: W,
    /// Written before the first segment.
    header: Vec<u8>,
    stream: Positioned,
    segment_len: usize,
    buffer: Segment,
    broken: bool,
}

impl<W: Write> Encryptor<W> {
    pub(super) fn new(header: &Header, stream: Stream, output: W) -> Self {
        Self::for_at_most(usize::MAX, header, stream, output)
    }

    /// For plaintext of at most `len` bytes, with a buffer no larger than they need.
    pub(super) fn for_at_most(len: usize, header: &Header, stream: Stream, output: W) -> Self {
        let segment_len = header.segment_len();
        Self {
            output,
            header: header.to_bytes(),
            stream: Positioned::new(stream),
            segment_len,
            buffer: Segment::new(segment_len.min(len) + TAG_LEN + 1),
            broken: false,
        }
    }

    /// Encrypts everything that `input` has, and says how many bytes these were. It is faster than [`io::copy`], as it
    /// reads where it encrypts.
    ///
    /// # Errors
    ///
    /// Those of `input` and of the output; and [`LimitExceeded`](ErrorKind::LimitExceeded) after 2³² segments.
    pub fn copy_from(&mut self, input: &mut (impl Read + ?Sized)) -> io::Result<u64> {
        let mut total = 0;
        self.check()?;
        loop {
            let read = match input.read(self.space()) {
                Ok(0) => return Ok(total),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            total += read as u64;
            self.took(read)?;
        }
    }

    /// Writes the last segment and returns the output, flushed.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_segment(Place::Last)?;
        self.output.flush()?;
        Ok(self.output)
    }

    /// Room for the rest of the segment and one byte more, which says that this segment is not the last.
    fn space(&mut self) -> &mut [u8] {
        let end = self.buffer.bytes.len().min(self.segment_len + 1);
        &mut self.buffer.bytes[self.buffer.len..end]
    }

    fn took(&mut self, read: usize) -> io::Result<()> {
        self.buffer.len += read;
        if self.buffer.len > self.segment_len {
            let next = self.buffer.bytes[self.segment_len];
            self.buffer.len = self.segment_len;
            self.write_segment(Place::Middle)?;
            self.buffer.bytes[0] = next;
            self.buffer.len = 1;
        }
        Ok(())
    }

    /// What was half written cannot be continued.
    fn check(&self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other(
                "writing the encrypted data failed before, and cannot go on",
            ));
        }
        Ok(())
    }

    fn write_segment(&mut self, place: Place) -> io::Result<()> {
        self.check()?;
        self.broken = true;
        self.stream
            .encrypt(place, &mut self.buffer)
            .map_err(io_error)?;
        self.output.write_all(&self.header)?;
        self.header.clear();
        self.output.write_all(self.buffer.as_ref())?;
        self.buffer.len = 0;
        self.broken = false;
        Ok(())
    }
}

impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check()?;
        let space = self.space();
        let len = space.len().min(data.len());
        space[..len].copy_from_slice(&data[..len]);
        self.took(len)?;
        Ok(len)
    }

    /// Flushes the output. A segment that is not full yet stays here.
    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl<W> fmt::Debug for Encryptor<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor")
            .field("segment_len", &self.segment_len)
            .field("segment", &self.stream.position)
            .finish_non_exhaustive()
    }
}

/// Decrypts what it reads from `R`.
///
/// It gives out the plaintext of a segment only after it has authenticated the segment. But it gives out the first segments
/// before it has seen the last: **who acts on what was read before the end has come can be shown a beginning without its
/// end**. A read that returns 0 says that all was there. [`into_file`](Self::into_file) and
/// [`Envelope::open`](super::Envelope::open) give everything or nothing.
///
/// After an error it gives out nothing more. It has one segment in memory, however much passes through, and works on the
/// thread that reads: in an async program, make it with `await` and move it to a thread that may block.
pub struct Decryptor<R> {
    input: R,
    stream: Positioned,
    segment_len: usize,
    buffer: Segment,
    /// The first byte of the next segment.
    ahead: Option<u8>,
    /// How much of the buffer was given out.
    read: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    Whole,
    Failed,
}

impl<R: Read> Decryptor<R> {
    pub(super) fn new(header: &Header, stream: Stream, input: R) -> Self {
        Self::for_at_most(usize::MAX - TAG_LEN, header, stream, input)
    }

    /// For input of at most `len` bytes, with a buffer no larger than they need.
    pub(super) fn for_at_most(len: usize, header: &Header, stream: Stream, input: R) -> Self {
        let segment_len = header.segment_len();
        Self {
            input,
            stream: Positioned::new(stream),
            segment_len,
            buffer: Segment::new((segment_len + TAG_LEN).min(len) + 1),
            ahead: None,
            read: 0,
            state: State::Open,
        }
    }

    /// Decrypts everything into `output`, and says how many bytes these were. It is faster than [`io::copy`], as it writes
    /// from where it decrypted.
    ///
    /// On an error, `output` has got the segments before the one that failed.
    ///
    /// # Errors
    ///
    /// As reading, and those of `output`.
    pub fn copy_to(&mut self, output: &mut (impl Write + ?Sized)) -> io::Result<u64> {
        let mut total = 0;
        loop {
            let plaintext = self.fill_buf()?;
            if plaintext.is_empty() {
                return Ok(total);
            }
            output.write_all(plaintext)?;
            let len = plaintext.len();
            total += len as u64;
            self.consume(len);
        }
    }

    /// Decrypts everything into a file, which is there only when all of it is: it is written beside `path` under another
    /// name, synchronized, and renamed at the end, over a file that is there. Only its owner may read it. Says how many
    /// bytes these were.
    ///
    /// # Errors
    ///
    /// [`Damaged`](ErrorKind::Damaged) for data that was altered or cut off, [`StoreFailed`](ErrorKind::StoreFailed) if it
    /// cannot be read or the file not be written. There is no new file then.
    pub fn into_file(mut self, path: impl AsRef<Path>) -> Result<u64> {
        let path = path.as_ref();
        let failed = |error| failed_io("cannot write the decrypted file", error);
        let mut file = tempfile::NamedTempFile::new_in(folder(path)).map_err(failed)?;
        let len = self.copy_to(file.as_file_mut()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(len)
    }

    /// Reads and decrypts the next segment.
    fn next_segment(&mut self) -> Result<()> {
        let sealed_len = self.segment_len + TAG_LEN;
        self.read = 0;
        self.buffer.len = 0;
        if let Some(byte) = self.ahead.take() {
            self.buffer.bytes[0] = byte;
            self.buffer.len = 1;
        }
        // One byte more than a segment says that this one is not the last.
        while self.buffer.len < self.buffer.bytes.len() {
            match self.input.read(&mut self.buffer.bytes[self.buffer.len..]) {
                Ok(0) => break,
                Ok(read) => self.buffer.len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed_io("cannot read the encrypted data", error)),
            }
        }
        if self.buffer.len > sealed_len {
            self.ahead = Some(self.buffer.bytes[sealed_len]);
            self.buffer.len = sealed_len;
            return self.stream.decrypt(Place::Middle, &mut self.buffer);
        }
        let first = self.stream.position == Some(0);
        self.stream.decrypt(Place::Last, &mut self.buffer)?;
        if self.buffer.len == 0 && !first {
            return Err(damaged("the last segment is empty, which nobody writes"));
        }
        self.state = State::Whole;
        Ok(())
    }
}

impl<R: Read> BufRead for Decryptor<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.state == State::Failed {
            return Err(io_error(damaged(
                "the encrypted data could not be decrypted further, as was said before",
            )));
        }
        if self.read == self.buffer.len && self.state == State::Open {
            // Until it is authenticated, nothing of it is given out.
            self.state = State::Failed;
            let outcome = self.next_segment();
            if let Err(error) = outcome {
                self.buffer.wipe();
                return Err(io_error(error));
            }
            if self.state == State::Failed {
                self.state = State::Open;
            }
        }
        Ok(&self.buffer.as_ref()[self.read..])
    }

    fn consume(&mut self, len: usize) {
        self.read = self.buffer.len.min(self.read + len);
    }
}

impl<R: Read> Read for Decryptor<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let len = self.fill_buf()?.read(out)?;
        self.consume(len);
        Ok(len)
    }
}

impl<R> fmt::Debug for Decryptor<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryptor")
            .field("segment_len", &self.segment_len)
            .field("segment", &self.stream.position)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Place {
    Middle,
    Last,
}

/// A stream and the number of its next segment; none after the last.
struct Positioned {
    stream: Stream,
    position: Option<u32>,
}

impl Positioned {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            position: Some(0),
        }
    }

    fn encrypt(&mut self, place: Place, segment: &mut Segment) -> Result<()> {
        let position = self.next(place)?;
        let last = place == Place::Last;
        self.stream
            .encrypt_in_place(position, last, b"", segment)
            .map_err(|_| Error::new(ErrorKind::DeviceFailed, "a segment could not be encrypted"))
    }

    fn decrypt(&mut self, place: Place, segment: &mut Segment) -> Result<()> {
        let position = self.next(place)?;
        let last = place == Place::Last;
        self.stream
            .decrypt_in_place(position, last, b"", segment)
            .map_err(|_| match place {
                Place::Middle => damaged(format!(
                    "segment {position} is not as it was encrypted: it was altered or moved, something was added behind \
                     the end, or the context is another"
                )),
                Place::Last => damaged(format!(
                    "the data ends with segment {position}, which is not its last one as it was encrypted: the data was \
                     cut off or altered, or the context is another"
                )),
            })
    }

    /// As in `aead-stream`, the highest number is for a last segment only.
    fn next(&mut self, place: Place) -> Result<u32> {
        let position = self.position.take();
        self.position = position
            .filter(|_| place == Place::Middle)
            .and_then(|position| position.checked_add(1));
        match position {
            Some(position) if place == Place::Last || self.position.is_some() => Ok(position),
            _ => Err(Error::new(
                ErrorKind::LimitExceeded,
                "encrypted data has at most 2^32 segments: choose longer ones",
            )),
        }
    }
}

/// A segment in memory that never moves, and is wiped at the end.
struct Segment {
    bytes: Zeroizing<Box<[u8]>>,
    len: usize,
}

impl Segment {
    fn new(capacity: usize) -> Self {
        Self {
            bytes: Zeroizing::new(vec![0; capacity].into_boxed_slice()),
            len: 0,
        }
    }

    fn wipe(&mut self) {
        self.bytes.fill(0);
        self.len = 0;
    }
}

impl AsRef<[u8]> for Segment {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsMut<[u8]> for Segment {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Buffer for Segment {
    fn extend_from_slice(&mut self, other: &[u8]) -> aead::Result<()> {
        let end = self.len + other.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(aead::Error)?;
        room.copy_from_slice(other);
        self.len = end;
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

fn damaged(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Damaged, message)
}

#[cfg(test)]
mod tests {
    use super::super::cipher::StreamKeys;
    use super::*;

    #[test]
    fn segments_are_numbered_to_the_last_number_and_no_further() {
        let stream = || Positioned {
            stream: StreamKeys::new(&[1; 32], &[2; 16])
                .stream(b"", b"")
                .unwrap(),
            position: Some(u32::MAX),
        };
        let mut segment = Segment::new(TAG_LEN);
        stream().encrypt(Place::Last, &mut segment).unwrap();
        stream().decrypt(Place::Last, &mut segment).unwrap();
        let error = stream().encrypt(Place::Middle, &mut segment).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);

        let mut ended = stream();
        ended.position = Some(7);
        ended.encrypt(Place::Last, &mut segment).unwrap();
        let error = ended.encrypt(Place::Last, &mut segment).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
}
