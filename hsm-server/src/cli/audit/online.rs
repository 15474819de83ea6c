//! The verification of a log through a session, with the verifier that the offline one uses.

use std::collections::{BTreeMap, BTreeSet};

use hsm_client::{Error, ErrorKind, PublicKey, Session};
use hsm_core::audit::{Entry, Flaw, Frame, StreamEvent, StreamId, StreamMarks, StreamVerifier};

use super::Counted;
use crate::cli::Result;
use crate::cli::progress::Progress;

/// Records that one call reads.
pub(super) const BATCH: usize = 500;

/// Verifies every stream as far as it goes now.
pub(super) async fn verify(
    session: &Session,
    key: Option<PublicKey>,
    progress: &Progress,
) -> Result<Counted> {
    let info = session.settings().await?;
    let key = key.unwrap_or_else(|| info.audit_key.clone());
    let mut counted = Counted::default();

    // The list first: a stream that is in it is in the journal by the time that the journal is read.
    let listed = session.audit_streams().await?;
    let mut verifier = StreamVerifier::new(info.id, &key);
    let mut marks = StreamMarks::default();
    let mut notes = Vec::new();
    let mut at = 0;
    loop {
        let frames = session.read_audit(info.id, at, BATCH).await?;
        for frame in &frames {
            let entry = verifier.push(frame).map_err(flawed)?;
            marks.note(&entry);
            if let Entry::Stream { event, head, .. } = entry {
                notes.push((at, head));
                if event == StreamEvent::Abandoned {
                    counted.abandoned.push(head.stream);
                }
            }
            at += 1;
            progress.step();
        }
        if frames.len() < BATCH {
            break;
        }
    }
    let verified = verifier.finish().map_err(flawed)?;
    counted.add(verified.head.records, verified.signed);
    let vouched: BTreeMap<StreamId, u64> = notes
        .iter()
        .filter(|(number, _)| *number < verified.signed)
        .map(|(_, head)| (head.stream, head.records))
        .collect();

    let now: BTreeSet<StreamId> = session.audit_streams().await?.into_iter().collect();
    for (stream, places) in marks.streams() {
        if !now.contains(&stream) && places.iter().any(|place| place.records > 0) {
            let verifier = StreamVerifier::new(stream, &key);
            return Err(flawed(verifier.flaw("the stream is missing")).into());
        }
    }
    for stream in now.into_iter().filter(|stream| *stream != info.id) {
        let places = marks.of(stream);
        if places.is_none() && !listed.contains(&stream) {
            continue; // Opened after the journal was read.
        }
        let mut verifier =
            StreamVerifier::with_marks(stream, &key, places.unwrap_or_default().to_vec());
        let mut at = 0;
        loop {
            let frames: Vec<Frame> = session.read_audit(stream, at, BATCH).await?;
            if places.is_none() && !frames.is_empty() {
                return Err(flawed(verifier.flaw("the journal knows of no such stream")).into());
            }
            for frame in &frames {
                verifier.push(frame).map_err(flawed)?;
                at += 1;
                progress.step();
            }
            if frames.len() < BATCH {
                break;
            }
        }
        let verified = verifier.finish().map_err(flawed)?;
        let signed = vouched.get(&stream).copied().unwrap_or_default();
        if places.is_some() {
            counted.add(verified.head.records, verified.signed.max(signed));
        }
    }
    Ok(counted)
}

impl Counted {
    fn add(&mut self, records: u64, signed: u64) {
        self.streams += 1;
        self.records += records;
        self.unsigned += records.saturating_sub(signed);
    }
}

fn flawed(flaw: Flaw) -> Error {
    Error::new(ErrorKind::Damaged, format!("the audit log: {flaw}")).with_source(flaw)
}
