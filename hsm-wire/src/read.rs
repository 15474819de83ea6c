//! Reading JSON bodies: who wrote something wrong is told which member it was, and never sees what was in it.

use std::borrow::Cow;
use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_core::{Error, ErrorKind, Result, SecretBytes, Tags};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::Bytes;

/// Longest member name that an error repeats.
const SHOWN_LEN_MAX: usize = 32;

/// Most parts of the path to a member that an error shows.
const SHOWN_DEPTH_MAX: usize = 8;

/// Levels of nesting whose names are remembered for an error. The parser reads no deeper.
const NESTING_MAX: usize = 128;

/// Reads a JSON object.
pub(crate) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(invalid("the body is a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| explain(body, &error))
}

/// As [`object`], for a value inside a body.
pub(crate) fn raw<'a, T: Deserialize<'a>>(member: &str, value: &'a RawValue) -> Result<T> {
    object(value.get().as_bytes())
        .map_err(|error| Error::new(error.kind(), format!("in `{member}`: {}", error.message())))
}

pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// A member that must be there.
pub(crate) fn required<T>(member: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| invalid(format!("the member `{member}` is missing")))
}

/// Says what is wrong in our words: those of the parser would quote the body.
fn explain(body: &[u8], error: &serde_json::Error) -> Error {
    if error.classify() != serde_json::error::Category::Data {
        return invalid(format!(
            "the body is not JSON: line {}, column {}",
            error.line(),
            error.column()
        ));
    }
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(text, _)| text);
    if text.starts_with("missing field") || text.starts_with("duplicate field") {
        let text = text.replacen("field", "member", 1);
        return match path_to(body, error).rsplit_once('.') {
            Some((parent, _)) => invalid(format!("{text} of `{parent}`")),
            None => invalid(text),
        };
    }
    let path = path_to(body, error);
    match text.rsplit_once(", expected ") {
        Some((_, expected)) => invalid(format!("`{path}` is {}", in_words(expected))),
        None => {
            let text = text.strip_prefix("invalid input: ").unwrap_or(text);
            invalid(format!("`{path}`: {text}"))
        }
    }
}

/// What the parser expected, without the names of our types.
fn in_words(expected: &str) -> &str {
    match expected {
        "a string" | "a borrowed string" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "u16" | "u32" | "u64" | "usize" => "a whole number, not negative and not too large",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    }
}

/// The names that lead to the place of an error, as `attributes.exp`.
fn path_to(body: &[u8], error: &serde_json::Error) -> String {
    let line_start = body
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    let end = (line_start + error.column()).min(body.len());
    let mut path: Vec<Option<&[u8]>> = Vec::new();
    let mut depth = 0_usize; // may be that of millions of brackets in a member that nobody reads
    let mut text_start = None;
    let mut last_text: &[u8] = b"";
    let mut escaped = false;
    for (at, byte) in body[..end].iter().enumerate() {
        match (text_start, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(start), b'"') => {
                last_text = &body[start..at];
                text_start = None;
            }
            (Some(_), _) => {}
            (None, b'"') => text_start = Some(at + 1),
            (None, b'{' | b'[') => {
                depth += 1;
                if depth <= NESTING_MAX {
                    path.push(None);
                }
            }
            // The end of what is wrong may be included: it does not lead out.
            (None, b'}' | b']') if at + 1 < end => {
                depth = depth.saturating_sub(1);
                path.truncate(depth);
            }
            (None, b':') if depth <= NESTING_MAX => {
                if let Some(name) = path.last_mut() {
                    *name = Some(last_text);
                }
            }
            _ => {}
        }
    }
    let names = path.iter().flatten().take(SHOWN_DEPTH_MAX).map(|name| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_$".contains(byte);
        if name.len() <= SHOWN_LEN_MAX && name.iter().all(plain) {
            String::from_utf8_lossy(name)
        } else {
            "…".into()
        }
    });
    names.collect::<Vec<_>>().join(".")
}

/// Text that is borrowed from the body unless it has escapes in it.
#[derive(Clone)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// Tags, each name once.
pub(crate) struct TagsIn(pub(crate) Tags);

impl<'de> Deserialize<'de> for TagsIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TagsVisitor;

        impl<'de> Visitor<'de> for TagsVisitor {
            type Value = TagsIn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with text in its members")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tags: Vec<(String, String)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if tags.len() > hsm_core::limits::TAGS_MAX {
                        break;
                    }
                    if tags.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom("a tag is there twice"));
                    }
                    tags.push((name, value));
                }
                Tags::new(tags).map(TagsIn).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_map(TagsVisitor)
    }
}

/// A member that may be `null`, which is not the same as not being there.
pub(crate) fn maybe_null<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Decodes base64url without padding into `out`, of which nothing is left that was in it before.
pub(crate) fn binary(member: &str, text: &str, len_max: usize, out: &mut Bytes) -> Result<()> {
    let len = decoded_len(text);
    check_len(member, len, len_max)?;
    let room = out.room(len);
    match Base64UrlUnpadded::decode(text, room) {
        Ok(_) => Ok(()),
        Err(_) => {
            out.wipe();
            Err(not_base64url(member, text))
        }
    }
}

/// Decodes base64url into a vector, for what is no secret.
pub(crate) fn octets(member: &str, text: &str, len_max: usize) -> Result<Vec<u8>> {
    check_len(member, decoded_len(text), len_max)?;
    Base64UrlUnpadded::decode_vec(text).map_err(|_| not_base64url(member, text))
}

/// Decodes base64url into a secret.
pub(crate) fn secret(member: &str, text: &str, len_max: usize) -> Result<SecretBytes> {
    let len = decoded_len(text);
    check_len(member, len, len_max)?;
    SecretBytes::try_init_with(len, |out| {
        Base64UrlUnpadded::decode(text, out)
            .map(drop)
            .map_err(|_| not_base64url(member, text))
    })
}

/// Takes a secret that is JSON text out of the body, without a copy that nobody wipes.
pub(crate) fn secret_text(member: &str, value: &RawValue, len_max: usize) -> Result<SecretBytes> {
    let raw = value.get().as_bytes();
    let [b'"', inner @ .., b'"'] = raw else {
        return Err(invalid(format!("`{member}` is text")));
    };
    check_len(member, inner.len() / 6, len_max)?;
    if !inner.contains(&b'\\') {
        check_len(member, inner.len(), len_max)?;
        return Ok(SecretBytes::copy_from(inner));
    }
    let text = unescape(inner).ok_or_else(|| invalid(format!("`{member}` is text")))?;
    check_len(member, text.len(), len_max)?;
    Ok(SecretBytes::copy_from(&text))
}

/// The text of a JSON string (RFC 8259 section 7). The parser has seen it: its escapes are well formed, but surrogates may
/// lack their other half.
fn unescape(inner: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(inner.len())); // it only gets shorter
    let mut rest = inner;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        let plain = match escape {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut unit = hex4(&mut rest)?;
                if (0xd800..0xdc00).contains(&unit) {
                    rest = rest.strip_prefix(b"\\u")?;
                    let low = hex4(&mut rest)?
                        .checked_sub(0xdc00)
                        .filter(|low| *low < 0x400)?;
                    unit = 0x10000 + ((unit - 0xd800) << 10 | low);
                }
                let mut utf8 = Zeroizing::new([0; 4]);
                let text = char::from_u32(unit)?.encode_utf8(&mut *utf8);
                out.extend_from_slice(text.as_bytes());
                continue;
            }
            other => other,
        };
        out.push(plain);
    }
    Some(out)
}

fn hex4(rest: &mut &[u8]) -> Option<u32> {
    let (digits, after) = rest.split_at_checked(4)?;
    *rest = after;
    digits.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}

fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 + (text.len() % 4).saturating_sub(1)
}

pub(crate) fn check_len(member: &str, len: usize, len_max: usize) -> Result<()> {
    if len > len_max {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("the length of `{member}` is {len}, at most {len_max} is allowed"),
        ));
    }
    Ok(())
}

fn not_base64url(member: &str, text: &str) -> Error {
    invalid(if text.ends_with('=') {
        format!("`{member}` is base64url without padding: leave the `=` out")
    } else {
        format!("`{member}` is base64url without padding (RFC 4648 section 5)")
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Outer {
        name: String,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Inner {
        number: u64,
        list: Option<Vec<u64>>,
    }

    #[test]
    fn an_error_names_the_member_and_quotes_nothing() {
        let cases: [(&str, &str); 9] = [
            ("", "the body is a JSON object"),
            ("[]", "the body is a JSON object"),
            ("{", "the body is not JSON: line 1, column 1"),
            (r#"{"name":1}"#, "`name` is text"),
            (
                r#"{"inner":{"number":"secret"}}"#,
                "`inner.number` is a whole number",
            ),
            (
                "{\"name\":\"a\",\n\"inner\":{\"number\":1,\"list\":[1,\"secret\"]}}",
                "`inner.list` is a whole number",
            ),
            (r#"{"inner":{"number":1}}"#, "missing member `name`"),
            (r#"{"name":"a","inner":{}}"#, "missing member `number`"),
            (r#"{"name":"a","name":"b"}"#, "duplicate member `name`"),
        ];
        for (body, expected) in cases {
            let error = object::<Outer>(body.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.message().starts_with(expected), "{body}: {error}");
            assert!(!error.message().contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_error_behind_deep_nesting_is_named_as_any_other() {
        const DEPTH: usize = 1_000_000;
        let (open, close) = ("[".repeat(DEPTH), "]".repeat(DEPTH));
        for (body, expected) in [
            (
                format!(r#"{{"x":{open}{close},"name":1}}"#),
                "`name` is text",
            ),
            (
                format!(r#"{{"x":{open}{{"y":1}}{close},"inner":{{"number":"a"}}}}"#),
                "`inner.number` is a whole number",
            ),
        ] {
            let error = object::<Outer>(body.as_bytes()).unwrap_err();
            assert!(error.message().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn secret_text_is_read_as_the_parser_reads_it() {
        for text in ["", "plain", "qu\"o\\te", "\u{1}\n\t", "ä€😀"] {
            for json in [
                serde_json::to_string(text).unwrap(),
                text.encode_utf16()
                    .map(|unit| format!("\\u{unit:04X}"))
                    .collect::<String>(),
            ] {
                let json = if json.starts_with('"') {
                    json
                } else {
                    format!("\"{json}\"")
                };
                let value: &RawValue = serde_json::from_str(&json).unwrap();
                assert_eq!(
                    secret_text("password", value, 100).unwrap().expose(),
                    text.as_bytes()
                );
            }
        }
        let half: &RawValue = serde_json::from_str(r#""\ud800x""#).unwrap();
        assert!(secret_text("password", half, 100).is_err());
        let number: &RawValue = serde_json::from_str("17").unwrap();
        assert_eq!(
            secret_text("password", number, 100).unwrap_err().message(),
            "`password` is text"
        );
        let long: &RawValue = serde_json::from_str(r#""12345""#).unwrap();
        assert_eq!(
            secret_text("password", long, 4).unwrap_err().kind(),
            ErrorKind::LimitExceeded
        );
    }

    #[test]
    fn padding_is_refused_and_said_to_be_padding() {
        let error = octets("value", "YQ==", 10).unwrap_err();
        assert!(error.message().contains("leave the `=` out"), "{error}");
        assert!(octets("value", "Y+/=", 10).is_err());
        assert_eq!(octets("value", "YQ", 10).unwrap(), b"a");
        assert_eq!(
            octets("value", "YWFhYQ", 3).unwrap_err().kind(),
            ErrorKind::LimitExceeded
        );
    }
}
