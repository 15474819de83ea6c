//! The audit log: streams, and records as they were written.

use hsm_core::audit::{Frame, StreamId, split_frame};
use hsm_core::limits::AUDIT_RECORD_LEN_MAX;
use hsm_core::{Response, Result};
use serde::Deserialize;

use crate::Body;
use crate::json::Json;
use crate::read::{self, Text, invalid};

pub(crate) fn streams(streams: &[StreamId]) -> Body {
    Json::object_of(64 + 40 * streams.len(), |json| {
        json.name("value")
            .array(streams, |json, stream| json.shown(stream));
    })
}

#[derive(Deserialize)]
struct ListIn<'a> {
    #[serde(borrow)]
    value: Vec<Text<'a>>,
}

pub(crate) fn read_streams(body: &[u8]) -> Result<Response> {
    let list: ListIn<'_> = read::object(body)?;
    let streams = list.value.iter().map(|stream| stream.as_str().parse());
    Ok(Response::AuditStreams(streams.collect::<Result<_>>()?))
}

pub(crate) fn records(frames: &[Frame]) -> Body {
    Json::object_of(64 + 512 * frames.len(), |json| {
        json.name("value")
            .array(frames, |json, frame| json.binary(&frame.to_bytes()));
    })
}

pub(crate) fn read_records(body: &[u8]) -> Result<Response> {
    let list: ListIn<'_> = read::object(body)?;
    let frame = |text: &Text<'_>| {
        let bytes = read::octets("value", text.as_str(), AUDIT_RECORD_LEN_MAX + 64)?;
        match split_frame(&bytes)? {
            Some((frame, [])) => Ok(frame),
            _ => Err(invalid("an audit record is one frame")),
        }
    };
    let frames = list.value.iter().map(frame);
    Ok(Response::AuditRecords(frames.collect::<Result<_>>()?))
}
