//! The offline verifier: reads the bytes of a stream and names the first record that is not right.

use std::collections::BTreeMap;
use std::fmt;

use super::chain::{Chain, ChainHead, Frame, StreamId};
use super::record::{Checkpoint, Entry};
use crate::algorithm::Algorithm;
use crate::device::SignInput;
use crate::key::PublicKey;

/// What is wrong with a stream, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Flaw {
    /// The stream.
    pub stream: StreamId,
    /// Sequence number of the first record that is not right (counted from 0); everything before it stands.
    pub record: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stream {}, record {}: {}",
            self.stream, self.record, self.reason
        )
    }
}

impl std::error::Error for Flaw {}

/// What a verified stream holds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Verified {
    /// Where the stream ends.
    pub head: ChainHead,
    /// Number of records that a signed checkpoint vouches for, itself included. Someone who can rewrite the files could have made the
    /// ones after it.
    pub signed: u64,
    /// Whether the stream was closed in good order.
    pub closed: bool,
}

/// Verifies a stream, record by record: every record follows from the one before, every checkpoint is signed by the audit
/// key and speaks of this very place, nothing follows the end, and the stream passes through every place that the
/// journal has noted of it.
#[derive(Debug)]
pub struct StreamVerifier<'k> {
    chain: Chain,
    audit_key: &'k PublicKey,
    marks: Vec<ChainHead>,
    signed: u64,
    closed: bool,
}

impl<'k> StreamVerifier<'k> {
    /// Starts at the first record of a stream.
    #[must_use]
    pub fn new(stream: StreamId, audit_key: &'k PublicKey) -> Self {
        Self::with_marks(stream, audit_key, Vec::new())
    }

    /// Starts at the first record of a stream that must pass through `marks`.
    #[must_use]
    pub fn with_marks(
        stream: StreamId,
        audit_key: &'k PublicKey,
        mut marks: Vec<ChainHead>,
    ) -> Self {
        // The next one last.
        marks.sort_by_key(|mark| std::cmp::Reverse(mark.records));
        Self {
            chain: Chain::new(stream),
            audit_key,
            marks,
            signed: 0,
            closed: false,
        }
    }

    /// Verifies the next record and says what it is.
    ///
    /// # Errors
    ///
    /// The [`Flaw`]. The verifier stays where it was.
    pub fn push<'f>(&mut self, frame: &'f Frame) -> Result<Entry<'f>, Flaw> {
        let before = self.chain.head();
        self.pass_marks()?;
        if self.closed {
            return Err(self.flaw("follows the end of the stream"));
        }
        let entry = self
            .chain
            .follow(frame)
            .map_err(|error| self.flaw(error.message()))?;
        match &entry {
            Entry::Checkpoint(checkpoint) => {
                if let Err(reason) = verify_checkpoint(checkpoint, &before, self.audit_key) {
                    self.chain = Chain::resume(before);
                    return Err(self.flaw(reason));
                }
                self.signed = before.records + 1;
            }
            Entry::Closed { .. } => self.closed = true,
            Entry::Event(_) | Entry::Stream { .. } => {}
        }
        Ok(entry)
    }

    /// Says what the stream holds, after its last record.
    ///
    /// # Errors
    ///
    /// The [`Flaw`] that the stream ends before a place that the journal has noted.
    pub fn finish(mut self) -> Result<Verified, Flaw> {
        self.pass_marks()?;
        if let Some(mark) = self.marks.last() {
            return Err(self.flaw(&format!(
                "is missing: the journal says that there were {} records",
                mark.records
            )));
        }
        Ok(Verified {
            head: self.chain.head(),
            signed: self.signed,
            closed: self.closed,
        })
    }

    /// A flaw of the next record.
    #[must_use]
    pub fn flaw(&self, reason: &str) -> Flaw {
        Flaw {
            stream: self.chain.head().stream,
            record: self.chain.head().records,
            reason: reason.to_owned(),
        }
    }

    fn pass_marks(&mut self) -> Result<(), Flaw> {
        let head = self.chain.head();
        while let Some(mark) = self.marks.pop_if(|mark| mark.records == head.records) {
            if mark.hash != head.hash {
                return Err(self.flaw("does not follow from what the journal has noted"));
            }
        }
        Ok(())
    }
}

/// What the journal says of all streams: which there are, and the places that they passed through.
#[derive(Clone, Debug, Default)]
pub struct StreamMarks(BTreeMap<StreamId, Vec<ChainHead>>);

impl StreamMarks {
    /// Takes note of an entry of the journal.
    pub fn note(&mut self, entry: &Entry<'_>) {
        if let Entry::Stream { head, .. } = entry {
            self.0.entry(head.stream).or_default().push(*head);
        }
    }

    /// The streams that the journal knows, with the places that they passed through.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, &[ChainHead])> {
        self.0
            .iter()
            .map(|(stream, marks)| (*stream, marks.as_slice()))
    }

    /// The places that a stream passed through; `None` if the journal does not know it.
    #[must_use]
    pub fn of(&self, stream: StreamId) -> Option<&[ChainHead]> {
        self.0.get(&stream).map(Vec::as_slice)
    }
}

/// Verifies a whole stream and calls `visit` for each entry, in order.
///
/// `frames` are the stream's records from the first on; an `Err` in it is why reading failed there.
///
/// # Errors
///
/// The first [`Flaw`].
pub fn verify_stream(
    mut verifier: StreamVerifier<'_>,
    frames: impl IntoIterator<Item = Result<Frame, String>>,
    mut visit: impl FnMut(u64, &Entry<'_>),
) -> Result<Verified, Flaw> {
    for frame in frames {
        let frame = frame.map_err(|reason| verifier.flaw(&reason))?;
        let at = verifier.chain.head().records;
        let entry = verifier.push(&frame)?;
        visit(at, &entry);
    }
    verifier.finish()
}

/// Checks a checkpoint against the head that it should speak of.
pub(crate) fn verify_checkpoint(
    checkpoint: &Checkpoint,
    head: &ChainHead,
    audit_key: &PublicKey,
) -> Result<(), &'static str> {
    if checkpoint.head != *head {
        return Err("a checkpoint speaks of another place");
    }
    let message = Checkpoint::message(head, checkpoint.time);
    audit_key
        .verify(
            Algorithm::Es256,
            SignInput::Message(&message),
            &checkpoint.signature,
        )
        .map_err(|_| "a checkpoint is not signed by the partition's audit key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    /// Any key: these streams have no checkpoints. The base point of P-256 is a valid public key.
    fn key() -> PublicKey {
        let mut point = vec![4];
        point.extend(p256_base_point());
        PublicKey::from_raw(crate::KeyType::EcP256, point).unwrap()
    }

    fn p256_base_point() -> [u8; 64] {
        let hex = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                   4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
        let mut bytes = [0; 64];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        }
        bytes
    }

    fn stream() -> (StreamId, Vec<u8>) {
        let id = StreamId::from_bytes([3; 16]);
        let mut chain = Chain::new(id);
        let mut bytes = Vec::new();
        for at in 0..5 {
            let event = super::super::Event {
                time: Timestamp::from_unix_seconds(at),
                request: super::super::RequestId::from_u128(at.into()),
                principal: "app".into(),
                action: crate::policy::DataAction::KeySign,
                target: "/keys/k".into(),
                version: None,
                algorithm: Some(Algorithm::Es256),
                failure: None,
                detail: "".into(),
            };
            chain.append(&Entry::Event(event), &mut bytes).unwrap();
        }
        (id, bytes)
    }

    fn frames(mut bytes: &[u8]) -> Vec<Result<Frame, String>> {
        let mut frames = Vec::new();
        loop {
            match super::super::split_frame(bytes) {
                Ok(Some((frame, rest))) => {
                    frames.push(Ok(frame));
                    bytes = rest;
                }
                Ok(None) => return frames,
                Err(error) => {
                    frames.push(Err(error.to_string()));
                    return frames;
                }
            }
        }
    }

    #[test]
    fn a_whole_stream_verifies() {
        let (id, bytes) = stream();
        let mut seen = 0;
        let verified = verify_stream(StreamVerifier::new(id, &key()), frames(&bytes), |_, _| {
            seen += 1;
        })
        .unwrap();
        assert_eq!(
            (seen, verified.head.records, verified.closed),
            (5, 5, false)
        );
    }

    #[test]
    fn every_bit_flip_is_found_and_named() {
        let (id, bytes) = stream();
        let whole =
            verify_stream(StreamVerifier::new(id, &key()), frames(&bytes), |_, _| ()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            match verify_stream(StreamVerifier::new(id, &key()), frames(&broken), |_, _| ()) {
                Err(flaw) => assert!(flaw.record <= 4, "{flaw}"),
                Ok(verified) => assert_ne!(verified.head, whole.head, "bit {bit} went unnoticed"),
            }
        }
    }

    #[test]
    fn a_dropped_and_a_swapped_record_are_named() {
        let (id, bytes) = stream();
        let mut dropped = frames(&bytes);
        assert!(dropped.remove(2).is_ok());
        assert_eq!(
            verify_stream(StreamVerifier::new(id, &key()), dropped, |_, _| ())
                .unwrap_err()
                .record,
            2
        );
        let mut swapped = frames(&bytes);
        swapped.swap(1, 2);
        assert_eq!(
            verify_stream(StreamVerifier::new(id, &key()), swapped, |_, _| ())
                .unwrap_err()
                .record,
            1
        );
    }
}
