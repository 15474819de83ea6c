//! Streams and checkpoints: what ties the records of operations to the journal, and both to the audit key.

use std::sync::atomic::Ordering;

use super::Engine;
use super::ledger::append;
use super::session::Done;
use super::tree::{Records, damaged};
use crate::algorithm::Algorithm;
use crate::audit::{ChainHead, Checkpoint, Entry, Frame, StreamEvent, StreamId, split_frame};
use crate::device::SignInput;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::PAGE_LEN_MAX;
use crate::policy::Permit;
use crate::request::Response;
use crate::store::Space;

/// A stream that is written while it is being signed is signed again, so many times.
const RACES_MAX: usize = 64;

impl Engine {
    /// Tells the journal of the streams of this process, and of those that others left behind.
    pub(super) async fn open_streams(&self) -> Result<()> {
        let abandoned = self.0.audit.abandoned()?;
        self.note_streams(StreamEvent::Abandoned, abandoned).await?;
        self.note_streams(StreamEvent::Opened, self.0.audit.heads())
            .await
    }

    /// Tells the journal how far the streams of this process have come.
    pub(super) async fn note_heads(&self) -> Result<()> {
        self.note_streams(StreamEvent::Reached, self.0.audit.heads())
            .await
    }

    async fn note_streams(&self, event: StreamEvent, heads: Vec<ChainHead>) -> Result<()> {
        if heads.is_empty() {
            return Ok(());
        }
        self.transact(move |journal, changes, time| {
            for head in &heads {
                append(
                    journal,
                    changes,
                    &Entry::Stream {
                        time,
                        event,
                        head: *head,
                    },
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Signs the heads of the streams that have moved.
    pub(super) async fn checkpoint_streams(&self) -> Result<()> {
        for at in 0..self.0.audit.heads().len() {
            for _ in 0..RACES_MAX {
                let heads = self.0.audit.heads();
                let Some(head) = heads.get(at).copied() else {
                    break;
                };
                if self.0.known.lock().signed.get(&head.stream) == Some(&head.records)
                    || head.records == 0
                {
                    break;
                }
                let checkpoint = self.sign_head(head).await?;
                match self.0.audit.checkpoint(&checkpoint) {
                    Ok(()) => {
                        // The checkpoint itself is a record.
                        self.0
                            .known
                            .lock()
                            .signed
                            .insert(head.stream, head.records + 1);
                        break;
                    }
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Signs the head of the journal, if it has moved since it was last signed.
    pub(super) async fn checkpoint_journal(&self) -> Result<()> {
        for _ in 0..RACES_MAX {
            let head = self.view(|view| Ok(view.anchor().journal)).await?;
            if self.0.known.lock().signed.get(&head.stream) == Some(&head.records) {
                return Ok(());
            }
            let checkpoint = self.sign_head(head).await?;
            let signed = self
                .transact(move |journal, changes, _| {
                    if journal.head() != head {
                        return Ok(false);
                    }
                    append(journal, changes, &Entry::Checkpoint(checkpoint.clone()))?;
                    Ok(true)
                })
                .await?;
            if signed {
                self.0
                    .known
                    .lock()
                    .signed
                    .insert(head.stream, head.records + 1);
                return Ok(());
            }
        }
        // Others change the journal all the time; the next round signs it.
        Ok(())
    }

    async fn sign_head(&self, head: ChainHead) -> Result<Checkpoint> {
        let time = self.now();
        let message = Checkpoint::message(&head, time);
        let signature = self
            .0
            .audit_key
            .sign(Algorithm::Es256, SignInput::Message(&message))
            .await?;
        Ok(Checkpoint {
            head,
            time,
            signature,
        })
    }

    pub(super) fn list_audit_streams(&self, _permit: &Permit) -> Result<Done> {
        let mut streams = vec![self.0.id];
        streams.extend(self.0.audit.streams()?);
        Ok(Done::read(Response::AuditStreams(streams)))
    }

    pub(super) async fn read_audit(
        &self,
        _permit: &Permit,
        stream: StreamId,
        from: u64,
        limit: usize,
    ) -> Result<Done> {
        let limit = limit.clamp(1, PAGE_LEN_MAX);
        let frames = if stream == self.0.id {
            self.journal_frames(from, limit).await?
        } else {
            self.0.audit.read(stream, from, limit)?
        };
        Ok(Done::read(Response::AuditRecords(frames)))
    }

    /// Frames of the journal from `from` on. They chain up to the anchor, which the engine follows; auditors verify them.
    async fn journal_frames(&self, from: u64, limit: usize) -> Result<Vec<Frame>> {
        self.view(|view| {
            let Some(before) = from.checked_sub(1) else {
                return frames(view.rows().scan(Space::Journal, b"", None, limit)?);
            };
            frames(
                view.rows()
                    .scan(Space::Journal, b"", Some(&before.to_be_bytes()), limit)?,
            )
        })
        .await
    }

    /// Ends this process's streams: signed, noted in the journal, on disk. Sessions that are still open end.
    ///
    /// # Errors
    ///
    /// [`AuditFailed`](ErrorKind::AuditFailed) or [`StoreFailed`](ErrorKind::StoreFailed); the next process to open the
    /// HSM then reports the streams as abandoned.
    pub async fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::Relaxed);
        self.0.keys.clear();
        if self.is_zeroized() {
            // Nobody can sign any more; the last checkpoint was made before the end.
            return self.0.audit.close();
        }
        self.checkpoint_streams().await?;
        self.0.audit.close()?;
        self.note_streams(StreamEvent::Closed, self.0.audit.heads())
            .await?;
        self.checkpoint_journal().await
    }
}

fn frames(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Vec<Frame>> {
    rows.into_iter()
        .map(|(_, bytes)| match split_frame(&bytes) {
            Ok(Some((frame, []))) => Ok(frame),
            Ok(_) => Err(damaged("a record of the journal was changed")),
            Err(error) => Err(Error::new(
                ErrorKind::Damaged,
                "a record of the journal was changed",
            )
            .with_source(error)),
        })
        .collect()
}
