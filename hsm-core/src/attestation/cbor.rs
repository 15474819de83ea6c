//! Reading and writing CBOR (RFC 8949) in its one deterministic encoding (section 4.2.1). What reads leaves it to
//! [`KeyReport::decode`](super::KeyReport::decode) to compare with what would have been written.

use std::convert::Infallible;

use minicbor::data::Tag;
use minicbor::{Decoder, Encoder, encode};

use crate::error::{Error, invalid};

pub(super) type Written = Result<(), encode::Error<Infallible>>;

/// What `write` writes.
pub(super) fn encoded(write: impl FnOnce(&mut Encoder<Vec<u8>>) -> Written) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    let written = write(&mut encoder);
    debug_assert!(written.is_ok(), "memory takes everything");
    encoder.into_writer()
}

pub(super) fn malformed(what: &'static str) -> Error {
    invalid(format!("not a key report: {what}"))
}

/// Reads items of definite length.
pub(super) struct Reader<'a>(Decoder<'a>);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    pub(super) fn tag(&mut self, expected: u64, what: &'static str) -> Result<(), Error> {
        match self.0.tag() {
            Ok(tag) if tag == Tag::new(expected) => Ok(()),
            _ => Err(malformed(what)),
        }
    }

    /// The number of items of an array.
    pub(super) fn array(&mut self, what: &'static str) -> Result<u64, Error> {
        let len = self.0.array().map_err(|_| malformed(what))?;
        len.ok_or_else(|| malformed(what))
    }

    /// The number of pairs of a map.
    pub(super) fn map(&mut self, what: &'static str) -> Result<u64, Error> {
        let len = self.0.map().map_err(|_| malformed(what))?;
        len.ok_or_else(|| malformed(what))
    }

    pub(super) fn int(&mut self, what: &'static str) -> Result<i64, Error> {
        self.0.i64().map_err(|_| malformed(what))
    }

    pub(super) fn bool(&mut self, what: &'static str) -> Result<bool, Error> {
        self.0.bool().map_err(|_| malformed(what))
    }

    pub(super) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Error> {
        self.0.bytes().map_err(|_| malformed(what))
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, Error> {
        self.0.str().map_err(|_| malformed(what))
    }

    pub(super) fn end(self, what: &'static str) -> Result<(), Error> {
        match self.0.position() == self.0.input().len() {
            true => Ok(()),
            false => Err(malformed(what)),
        }
    }
}
