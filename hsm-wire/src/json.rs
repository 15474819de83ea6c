//! [`Json`]: writes JSON into one buffer that never leaves copies behind.

use std::io::Write as _;

use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_core::Timestamp;
use serde::Serialize;
use zeroize::Zeroize as _;

use crate::Body;

/// Writes one JSON value. Commas take care of themselves. When it needs more room, the old place is wiped.
pub(crate) struct Json {
    out: Vec<u8>,
}

impl Json {
    pub(crate) fn with_capacity(len: usize) -> Self {
        Self {
            out: Vec::with_capacity(len),
        }
    }

    /// An object, written by `members`.
    pub(crate) fn object_of(len: usize, members: impl FnOnce(&mut Self)) -> Body {
        let mut json = Self::with_capacity(len);
        json.object(members);
        json.finish()
    }

    pub(crate) fn finish(mut self) -> Body {
        Body::from(std::mem::take(&mut self.out))
    }

    pub(crate) fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.value_starts();
        self.push(b"{");
        members(self);
        self.push(b"}");
    }

    pub(crate) fn array<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.value_starts();
        self.push(b"[");
        for value in items {
            item(self, value);
        }
        self.push(b"]");
    }

    /// The name of a member; its value comes next.
    pub(crate) fn name(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.push(b":");
        self
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.value_starts();
        self.push(b"\"");
        self.escaped(text);
        self.push(b"\"");
    }

    /// Several pieces as one text.
    pub(crate) fn pieces(&mut self, pieces: &[&str]) {
        self.value_starts();
        self.push(b"\"");
        for piece in pieces {
            self.escaped(piece);
        }
        self.push(b"\"");
    }

    /// What prints, as text.
    pub(crate) fn shown(&mut self, value: impl std::fmt::Display) {
        self.text(&value.to_string());
    }

    /// Bytes in base64url without padding.
    pub(crate) fn binary(&mut self, bytes: &[u8]) {
        self.value_starts();
        let len = Base64UrlUnpadded::encoded_len(bytes);
        self.reserve(len + 2);
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + len, 0);
        // The room is exactly what it needs.
        _ = Base64UrlUnpadded::encode(bytes, &mut self.out[start..]);
        self.out.push(b'"');
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.value_starts();
        self.reserve(20);
        _ = write!(self.out, "{number}");
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.value_starts();
        self.push(if value { b"true" } else { b"false" });
    }

    pub(crate) fn null(&mut self) {
        self.value_starts();
        self.push(b"null");
    }

    /// Whole seconds since 1970, as Key Vault writes times.
    pub(crate) fn seconds(&mut self, time: Timestamp) {
        self.number(time.unix_seconds());
    }

    /// Milliseconds since 1970, as we keep them.
    pub(crate) fn millis(&mut self, time: Timestamp) {
        self.number(time.unix_millis());
    }

    /// A value that has a JSON form of its own and no secrets.
    pub(crate) fn serialized(&mut self, value: &impl Serialize) {
        match serde_json::to_vec(value) {
            Ok(bytes) => {
                self.value_starts();
                self.push(&bytes);
            }
            // Numbers and text in maps with text for names: there is nothing that could fail.
            Err(_) => self.null(),
        }
    }

    fn value_starts(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.push(b",");
        }
    }

    fn escaped(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            let (plain, special) = rest.split_at(at);
            self.push(plain.as_bytes());
            let byte = special.as_bytes()[0];
            match byte {
                b'"' => self.push(b"\\\""),
                b'\\' => self.push(b"\\\\"),
                _ => {
                    self.reserve(6);
                    _ = write!(self.out, "\\u{byte:04x}");
                }
            }
            rest = &special[1..];
        }
        self.push(rest.as_bytes());
    }

    fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// Makes room; what was written moves, and its old place is wiped.
    fn reserve(&mut self, len: usize) {
        if self.out.capacity() - self.out.len() < len {
            let mut grown = Vec::with_capacity((self.out.len() + len).max(2 * self.out.capacity()));
            grown.extend_from_slice(&self.out);
            self.out.zeroize();
            self.out = grown;
        }
    }
}

impl Drop for Json {
    fn drop(&mut self) {
        self.out.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let body = Json::object_of(1, |json| {
            json.name("text").text("a\"b\\c\n\u{1}ä");
            json.name("list").array([1, 2], |json, n| json.number(n));
            json.name("empty").object(|_| {});
            json.name("yes").bool(true);
            json.name("none").null();
            json.name("bytes").binary(&[0xfb, 0xff]);
            json.name("pieces").pieces(&["a", "/", "b"]);
        });
        let value: serde_json::Value = serde_json::from_slice(body.as_bytes()).unwrap();
        let expected = serde_json::json!({
            "text": "a\"b\\c\n\u{1}ä", "list": [1, 2], "empty": {}, "yes": true, "none": null, "bytes": "-_8", "pieces": "a/b",
        });
        assert_eq!(value, expected);
    }
}
