//! The offline verifier: reads the bytes of a stream and names the first record that is not right.

use std::fmt;

use super::chain::{Chain, ChainHead, Frame, StreamId};
use super::record::{Checkpoint, Entry, OwnedEvent};
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
    /// Number of records that a signed checkpoint vouches for. Someone who can rewrite the files could have made the
    /// ones after it.
    pub signed: u64,
    /// Whether the stream was closed in good order.
    pub closed: bool,
}

/// Verifies a stream: every record follows from the one before, every checkpoint is signed by `audit_key` and speaks of
/// this very place, nothing follows the end. Calls `visit` for each event, in order.
///
/// `frames` are the stream's records from the first on; an `Err` in it is why reading failed there.
///
/// # Errors
///
/// The first [`Flaw`].
pub fn verify_stream(
    stream: StreamId,
    frames: impl IntoIterator<Item = Result<Frame, String>>,
    audit_key: &PublicKey,
    mut visit: impl FnMut(u64, OwnedEvent),
) -> Result<Verified, Flaw> {
    let mut chain = Chain::new(stream);
    let mut signed = 0;
    let mut closed = false;
    for frame in frames {
        let before = chain.head();
        let flaw = |reason: String| Flaw {
            stream,
            record: before.records,
            reason,
        };
        let frame = frame.map_err(flaw)?;
        if closed {
            return Err(flaw("follows the end of the stream".to_owned()));
        }
        let entry = chain
            .follow(&frame)
            .map_err(|error| flaw(error.message().to_owned()))?;
        match entry {
            Entry::Event(event) => visit(before.records, event.into_owned()),
            Entry::Checkpoint(checkpoint) => {
                verify_checkpoint(&checkpoint, &before, audit_key)
                    .map_err(|reason| flaw(reason.to_owned()))?;
                signed = before.records;
            }
            Entry::Stream { .. } => {}
            Entry::Closed { .. } => closed = true,
        }
    }
    Ok(Verified {
        head: chain.head(),
        signed,
        closed,
    })
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
        let verified = verify_stream(id, frames(&bytes), &key(), |_, _| seen += 1).unwrap();
        assert_eq!(
            (seen, verified.head.records, verified.closed),
            (5, 5, false)
        );
    }

    #[test]
    fn every_bit_flip_is_found_and_named() {
        let (id, bytes) = stream();
        let whole = verify_stream(id, frames(&bytes), &key(), |_, _| ()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            match verify_stream(id, frames(&broken), &key(), |_, _| ()) {
                Err(flaw) => assert!(flaw.record <= 4, "{flaw}"),
                Ok(verified) => assert_ne!(verified.head, whole.head, "bit {bit} went unnoticed"),
            }
        }
    }

    #[test]
    fn a_dropped_and_a_swapped_record_are_named() {
        let (id, bytes) = stream();
        let mut dropped = frames(&bytes);
        dropped.remove(2);
        assert_eq!(
            verify_stream(id, dropped, &key(), |_, _| ())
                .unwrap_err()
                .record,
            2
        );
        let mut swapped = frames(&bytes);
        swapped.swap(1, 2);
        assert_eq!(
            verify_stream(id, swapped, &key(), |_, _| ())
                .unwrap_err()
                .record,
            1
        );
    }
}
