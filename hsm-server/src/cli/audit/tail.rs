//! `hsm audit tail`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use clap::Args;
use hsm_client::{Error, ErrorKind, Session, Timestamp};
use hsm_core::audit::{Entry, Event, Frame, RequestId, StreamId};
use hsm_core::{Request, Response};
use serde::Serialize;

use super::online::BATCH;
use crate::cli::Result;
use crate::cli::connect::Connect;
use crate::cli::key::unexpected;
use crate::cli::output::Out;

/// How often `--follow` looks for new records.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(super) struct Tail {
    /// How many records to begin with
    #[arg(long, short = 'n', default_value_t = 20, value_name = "NUMBER")]
    lines: usize,

    /// Go on with those that come, looking every second, until interrupted
    #[arg(long, short)]
    follow: bool,

    /// Of this stream only
    #[arg(long, value_name = "ID")]
    stream: Option<StreamId>,
}

/// A record as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordView<'a> {
    stream: String,
    number: u64,
    time: String,
    request: String,
    principal: &'a str,
    action: &'static str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<ErrorKind>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

/// A record that is to be printed: in the order of time.
struct Line {
    time: Timestamp,
    text: String,
}

/// What has been read so far.
struct Reader<'s> {
    session: &'s Session,
    /// The upper half of the ids of this reader's own requests, whose records it does not show.
    own: u64,
    requests: u64,
    places: BTreeMap<StreamId, u64>,
    json: bool,
}

impl Tail {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        connect
            .with(async |session| {
                let own = getrandom::u64().map_err(|_| {
                    Error::new(ErrorKind::DeviceFailed, "the system has no random numbers")
                })?;
                let mut reader = Reader {
                    session,
                    own,
                    requests: 0,
                    places: BTreeMap::new(),
                    json: out.is_json(),
                };
                for line in reader.read(self.stream, self.lines).await? {
                    out.line(&line.text)?;
                }
                if !self.follow {
                    return Ok(());
                }
                loop {
                    tokio::select! {
                        interrupted = tokio::signal::ctrl_c() => {
                            return interrupted.map_err(|source| {
                                crate::cli::failure::Failure::io("the signal", &source)
                            });
                        }
                        () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
                    }
                    for line in reader.read(self.stream, usize::MAX).await? {
                        out.line(&line.text)?;
                    }
                }
            })
            .await
    }
}

impl Reader<'_> {
    /// The last `most` of the records that were not read yet.
    async fn read(&mut self, only: Option<StreamId>, most: usize) -> Result<Vec<Line>> {
        let streams = match only {
            Some(stream) => vec![stream],
            None => match self.call(Request::ListAuditStreams).await? {
                Response::AuditStreams(streams) => streams,
                other => return Err(unexpected(&other)),
            },
        };
        let mut all = Vec::new();
        for stream in streams {
            let mut last = VecDeque::new();
            loop {
                let from = self.places.get(&stream).copied().unwrap_or_default();
                let request = Request::ReadAudit {
                    stream,
                    from,
                    limit: BATCH,
                };
                let frames = match self.call(request).await? {
                    Response::AuditRecords(frames) => frames,
                    other => return Err(unexpected(&other)),
                };
                for (number, frame) in (from..).zip(&frames) {
                    if let Some(line) = self.line(stream, number, frame)? {
                        last.push_back(line);
                        if last.len() > most {
                            last.pop_front();
                        }
                    }
                }
                let read = frames.len();
                let place = self.places.entry(stream).or_default();
                *place += u64::try_from(read).unwrap_or(u64::MAX);
                if read < BATCH {
                    break;
                }
            }
            all.extend(last);
        }
        all.sort_by_key(|line: &Line| line.time);
        all.drain(..all.len().saturating_sub(most));
        Ok(all)
    }

    async fn call(&mut self, request: Request<'_>) -> Result<Response> {
        self.requests += 1;
        let id = u128::from(self.own) << 64 | u128::from(self.requests);
        Ok(self
            .session
            .call_as(RequestId::from_u128(id), request)
            .await?)
    }

    fn line(&self, stream: StreamId, number: u64, frame: &Frame) -> Result<Option<Line>> {
        let Entry::Event(event) = frame.decode()? else {
            return Ok(None);
        };
        if event.request.as_u128() >> 64 == u128::from(self.own) {
            return Ok(None);
        }
        let text = match self.json {
            true => json(stream, number, &event),
            false => event.to_string(),
        };
        Ok(Some(Line {
            time: event.time,
            text,
        }))
    }
}

fn json(stream: StreamId, number: u64, event: &Event<'_>) -> String {
    let view = RecordView {
        stream: stream.to_string(),
        number,
        time: event.time.to_string(),
        request: event.request.to_string(),
        principal: &event.principal,
        action: event.action.name(),
        target: &event.target,
        version: event.version.map(|version| version.to_string()),
        algorithm: event.algorithm.map(|algorithm| algorithm.name()),
        ok: event.failure.is_none(),
        failure: event.failure,
        detail: &event.detail,
    };
    serde_json::json!(view).to_string()
}
