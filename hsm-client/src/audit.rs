//! Checks the audit log: offline from the folder of an HSM, with nothing but the audit key, or online through a session.
//!
//! ```no_run
//! use hsm_client::{PublicKey, audit};
//!
//! let audit_key = PublicKey::from_pem(&std::fs::read_to_string("audit-key.pem")?)?;
//! let report = audit::verify("soft:./dev.hsm", &audit_key, |record| println!("{record}"))?;
//! println!("{} records in {} streams", report.records, report.streams);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use hsm_core::audit::{
    Entry, Event, Flaw, StreamEvent, StreamId, StreamMarks, StreamVerifier, Verified, split_frame,
    verify_stream,
};
use hsm_core::{Error, ErrorKind, PublicKey, Result, Space, Store};
use hsm_store::{EmbeddedStore, read_stream_files};
use pollster::block_on;

use crate::open::Folder;
use crate::url::Url;

/// Journal records read at once.
const BATCH: usize = 512;

/// A record of the log.
///
/// The [module](self) has an example.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The stream it is in.
    pub stream: StreamId,
    /// Its number in the stream, counted from 0.
    pub number: u64,
    /// What it says.
    pub event: &'a Event<'a>,
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.event)
    }
}

/// What a log that is right holds.
///
/// What [`verify`] found; the [module](self) has an example.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Number of streams, with the journal.
    pub streams: usize,
    /// Number of records in all streams.
    pub records: u64,
    /// Records that no signed checkpoint vouches for, as they came after the last one: whoever can write the files could
    /// have made these. There are none when every process has closed the HSM.
    pub unsigned: u64,
    /// Streams whose process ended without closing them.
    pub abandoned: Vec<StreamId>,
}

impl Report {
    fn add(&mut self, verified: &Verified, vouched: u64) {
        let signed = verified.signed.max(vouched);
        self.streams += 1;
        self.records += verified.head.records;
        self.unsigned += verified.head.records.saturating_sub(signed);
    }
}

/// What the journal says of the streams.
#[derive(Default)]
struct Journal {
    marks: StreamMarks,
    /// How far its signed part vouches for each stream.
    vouched: BTreeMap<StreamId, u64>,
}

/// Verifies the whole audit log of a local HSM without opening the HSM (so it needs no passphrase, and no TPM), and calls `visit` for each event: first those of
/// the journal, then stream by stream.
///
/// `audit_key` is the key that [`Hsm::audit_key`](crate::Hsm::audit_key) gave when the HSM was made. Keep it elsewhere: a
/// key that lies beside the log proves nothing.
///
/// # Errors
///
/// [`Damaged`](ErrorKind::Damaged) with the first [`Flaw`] as its source, naming stream and record;
/// [`NotFound`](ErrorKind::NotFound) if there is no HSM.
pub fn verify(
    url: &str,
    audit_key: &PublicKey,
    mut visit: impl FnMut(Record<'_>),
) -> Result<Report> {
    let path = match url.parse()? {
        Url::Soft(path) => path,
        Url::Tpm(tpm) => tpm.folder_or_default()?,
        Url::Https(_) | Url::Memory | Url::Unix(_) => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "only a HSM in a folder can be verified offline",
            ));
        }
    };
    let folder = Folder::new(path);
    let store = EmbeddedStore::open(folder.store())?;
    let mut report = Report::default();
    let journal = verify_journal(&store, audit_key, &mut report, &mut visit)?;
    let marks = &journal.marks;
    let files = read_stream_files(folder.audit())?;
    for stream in &files {
        let Some(places) = marks.of(stream.id()) else {
            // A process tells the journal of its streams before it writes to them, and may die before that.
            if stream.frames().next().is_none() {
                continue;
            }
            let verifier = StreamVerifier::new(stream.id(), audit_key);
            return Err(flawed(verifier.flaw("the journal knows of no such stream")));
        };
        let verifier = StreamVerifier::with_marks(stream.id(), audit_key, places.to_vec());
        let verified = verify_stream(verifier, stream.frames(), |number, entry| {
            show(stream.id(), number, entry, &mut visit);
        })
        .map_err(flawed)?;
        let vouched = journal.vouched.get(&stream.id()).copied();
        report.add(&verified, vouched.unwrap_or_default());
    }
    for (stream, places) in marks.streams() {
        if places.iter().any(|place| place.records > 0)
            && files.iter().all(|files| files.id() != stream)
        {
            return Err(flawed(
                StreamVerifier::new(stream, audit_key).flaw("the stream is missing"),
            ));
        }
    }
    Ok(report)
}

fn verify_journal(
    store: &EmbeddedStore,
    audit_key: &PublicKey,
    report: &mut Report,
    visit: &mut impl FnMut(Record<'_>),
) -> Result<Journal> {
    let mut marks = StreamMarks::default();
    let mut notes = Vec::new();
    let mut verifier: Option<(StreamId, StreamVerifier<'_>)> = None;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let mut rows = Vec::new();
        block_on(store.view(Box::new(|snapshot| {
            rows = snapshot.scan(Space::Journal, b"", after.as_deref(), BATCH)?;
            Ok(())
        })))?;
        for (key, bytes) in &rows {
            let Ok(Some((frame, []))) = split_frame(bytes) else {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    format!("record {} of the journal was changed", number_of(key)),
                ));
            };
            let (journal, verifier) = match &mut verifier {
                Some((journal, verifier)) => (*journal, verifier),
                empty => {
                    let journal = journal_id(store)?;
                    let (journal, verifier) =
                        empty.insert((journal, StreamVerifier::new(journal, audit_key)));
                    (*journal, verifier)
                }
            };
            let entry = verifier.push(&frame).map_err(flawed)?;
            marks.note(&entry);
            show(journal, number_of(key), &entry, visit);
            if let Entry::Stream { event, head, .. } = entry {
                notes.push((number_of(key), head));
                if event == StreamEvent::Abandoned {
                    report.abandoned.push(head.stream);
                }
            }
        }
        match rows.pop() {
            Some((last, _)) => after = Some(last),
            None => break,
        }
    }
    let Some((_, verifier)) = verifier else {
        return Err(Error::new(ErrorKind::NotFound, "the store holds no HSM"));
    };
    let verified = verifier.finish().map_err(flawed)?;
    report.add(&verified, 0);
    let signed = notes.iter().filter(|(number, _)| *number < verified.signed);
    let vouched = signed
        .map(|(_, head)| (head.stream, head.records))
        .collect();
    Ok(Journal { marks, vouched })
}

fn show(stream: StreamId, number: u64, entry: &Entry<'_>, visit: &mut impl FnMut(Record<'_>)) {
    if let Entry::Event(event) = entry {
        visit(Record {
            stream,
            number,
            event,
        });
    }
}

fn journal_id(store: &EmbeddedStore) -> Result<StreamId> {
    let mut id = None;
    block_on(store.view(Box::new(|snapshot| {
        id = hsm_core::partition_id(snapshot)?;
        Ok(())
    })))?;
    id.ok_or_else(|| Error::new(ErrorKind::NotFound, "the store holds no HSM"))
}

fn number_of(key: &[u8]) -> u64 {
    key.try_into().map_or(u64::MAX, u64::from_be_bytes)
}

fn flawed(flaw: Flaw) -> Error {
    Error::new(ErrorKind::Damaged, format!("the audit log: {flaw}")).with_source(flaw)
}
