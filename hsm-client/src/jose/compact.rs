//! [`Compact`]: the compact serialization of RFC 7515 section 7.1 and RFC 7516 section 7.1, read within limits.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_core::{Jwk, Result};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{ENCRYPTED_LEN_MAX, HEADER_LEN_MAX, SIGNED_LEN_MAX, check_len, invalid};

/// A token that was taken apart, and nothing more: **nobody has verified it**. It says which key it asks for.
///
/// ```
/// use hsm_client::jose::Compact;
///
/// let token = Compact::parse("eyJhbGciOiJFUzI1NiIsImtpZCI6IjcifQ.e30.AAAA")?;
/// assert_eq!((token.algorithm(), token.key_id()), ("ES256", Some("7")));
/// assert!(!token.is_encrypted());
/// # Ok::<(), hsm_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Compact<'t> {
    pub(super) header: Header,
    /// The header as it is in the token, which is what is authenticated.
    pub(super) protected: &'t str,
    /// Of a signed token: what is signed.
    pub(super) signing_input: &'t str,
    pub(super) body: Body,
    raw_header: Vec<u8>,
}

/// What follows the header.
#[derive(Clone)]
pub(super) enum Body {
    Signed {
        payload: Vec<u8>,
        signature: Vec<u8>,
    },
    Encrypted {
        encrypted_key: Vec<u8>,
        iv: Vec<u8>,
        ciphertext: Vec<u8>,
        tag: Vec<u8>,
    },
}

/// What is understood of a header. Members that are not known are ignored (RFC 7515 section 4), unless `crit` has them.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) enc: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epk: Option<Jwk>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) apu: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) apv: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing)]
    pub(super) crit: Option<Value>,
    #[serde(default, deserialize_with = "present", skip_serializing)]
    pub(super) zip: Option<Value>,
}

/// `null` is a value too: what is there is there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl<'t> Compact<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) above [`SIGNED_LEN_MAX`], [`ENCRYPTED_LEN_MAX`] and
    /// [`HEADER_LEN_MAX`], [`InvalidInput`](crate::ErrorKind::InvalidInput) for what has neither three parts nor five, or is
    /// not base64url with a header in JSON, or has a `crit` or a `zip`.
    pub fn parse(token: &'t str) -> Result<Self> {
        check_len("the token", token.len(), ENCRYPTED_LEN_MAX)?;
        let parts = token.split('.').take(PARTS_MAX + 1).collect::<Vec<_>>();
        let (body, signing_input) = match parts[..] {
            [_, payload, signature] => {
                check_len("the token", token.len(), SIGNED_LEN_MAX)?;
                let body = Body::Signed {
                    payload: decode("payload", payload)?,
                    signature: decode("signature", signature)?,
                };
                (body, &token[..token.len() - signature.len() - 1])
            }
            [_, encrypted_key, iv, ciphertext, tag] => {
                let body = Body::Encrypted {
                    encrypted_key: decode("encrypted key", encrypted_key)?,
                    iv: decode("initialization vector", iv)?,
                    ciphertext: decode("ciphertext", ciphertext)?,
                    tag: decode("tag", tag)?,
                };
                (body, "")
            }
            _ => {
                return Err(invalid(
                    "a signed token has three parts between dots, and an encrypted one has five",
                ));
            }
        };
        let protected = parts[0];
        check_len("the token's header", protected.len(), HEADER_LEN_MAX)?;
        let raw_header = decode("header", protected)?;
        // A list of values would be taken for the members in their order.
        if raw_header.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid("the token's header is no JSON object"));
        }
        let header = serde_json::from_slice::<Header>(&raw_header).map_err(|source| {
            invalid("the token's header is no JSON object with an `alg`, or says something twice")
                .with_source(source)
        })?;
        if header.crit.is_some() {
            return Err(invalid(
                "the token has a `crit`, and asks for what is not understood here",
            ));
        }
        if header.zip.is_some() {
            return Err(invalid(
                "the token is compressed (`zip`), which is not taken: its length would tell of its text",
            ));
        }
        Ok(Self {
            header,
            protected,
            signing_input,
            body,
            raw_header,
        })
    }

    /// The `alg` that the token asks for.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.header.alg
    }

    /// The `kid` of the key that the token asks for.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub(super) fn raw_header(&self) -> &[u8] {
        &self.raw_header
    }

    /// Whether the token is encrypted, or else signed.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self.body, Body::Encrypted { .. })
    }
}

/// The token as it was read.
impl fmt::Display for Compact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.raw_header))?;
        let parts: &[&Vec<u8>] = match &self.body {
            Body::Signed { payload, signature } => &[payload, signature],
            Body::Encrypted {
                encrypted_key,
                iv,
                ciphertext,
                tag,
            } => &[encrypted_key, iv, ciphertext, tag],
        };
        for part in parts {
            write!(f, ".{}", encode(part))?;
        }
        Ok(())
    }
}

/// A signed token is a credential: it is not printed by the way.
impl fmt::Debug for Compact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compact")
            .field("alg", &self.header.alg)
            .field("kid", &self.header.kid)
            .finish_non_exhaustive()
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

pub(super) fn decode(what: &str, text: &str) -> Result<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).map_err(|source| {
        invalid(format!(
            "the token's {what} is not base64url without padding"
        ))
        .with_source(source)
    })
}

/// Of an encrypted token.
const PARTS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use hsm_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    fn refused(token: &str) -> hsm_core::Error {
        Compact::parse(token).unwrap_err()
    }

    fn with_header(json: &str) -> String {
        format!("{}.e30.AAAA", encode(json.as_bytes()))
    }

    #[test]
    fn what_is_no_token_is_refused_with_what_is_wrong() {
        for (token, why) in [
            ("", "three parts"),
            ("e30", "three parts"),
            ("e30.e30", "three parts"),
            ("e30.e30.e30.e30", "three parts"),
            ("a.b.c.d.e.f", "three parts"),
            ("....................................", "three parts"),
            ("e30.e30.e30", "`alg`"),
            ("!.e30.e30", "header is not base64url"),
            ("e30=.e30.e30", "header is not base64url"),
            ("e30.e3.e30", "payload is not base64url"), // a bit that belongs to no byte
            ("e30.e30.e30\n", "signature is not base64url"),
        ] {
            let error = refused(token);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{token}");
            assert!(error.to_string().contains(why), "{token}: {error}");
        }
    }

    #[test]
    fn headers_have_one_meaning() {
        for (json, why) in [
            (r#"{"alg":"ES256","alg":"none"}"#, "twice"),
            (r#"{"alg":"ES256","kid":"a","kid":"b"}"#, "twice"),
            (r#"["ES256"]"#, "no JSON object"),
            (r#"{"alg":7}"#, "`alg`"),
            (r#"{"alg":"ES256"} "#, ""),
            (r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, "`crit`"),
            (r#"{"alg":"ES256","crit":null}"#, "`crit`"),
            (r#"{"alg":"ES256","zip":"DEF"}"#, "`zip`"),
        ] {
            let token = with_header(json);
            if why.is_empty() {
                Compact::parse(&token).unwrap();
            } else {
                let error = refused(&token);
                assert!(error.to_string().contains(why), "{json}: {error}");
            }
        }
    }

    #[test]
    fn lengths_are_looked_at_first() {
        for token in [
            "a".repeat(ENCRYPTED_LEN_MAX + 1),
            format!("e30.{}.AAAA", "A".repeat(SIGNED_LEN_MAX)),
            format!("{}.AAAA.AAAA.AAAA.AAAA", "A".repeat(HEADER_LEN_MAX + 1)),
        ] {
            assert_eq!(refused(&token).kind(), ErrorKind::LimitExceeded);
        }
        // A header that nests as deep as it is long does not overflow the stack.
        let deep = format!(r#"{{"alg":"ES256","x":{}"#, "[".repeat(4000));
        assert_eq!(refused(&with_header(&deep)).kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_token_is_not_printed_by_the_way() {
        let token = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjcifQ.e30.AAAA";
        let compact = Compact::parse(token).unwrap();
        assert_eq!(
            format!("{compact:?}"),
            r#"Compact { alg: "ES256", kid: Some("7"), .. }"#
        );
        assert_eq!(compact.to_string(), token);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(
            parts in prop::collection::vec("[A-Za-z0-9_-]{0,12}", 2..=4),
            kid in "[a-z\"]{0,8}",
        ) {
            let header = serde_json::json!({ "alg": "ES256", "kid": kid }).to_string();
            let token = format!("{}.{}", encode(header.as_bytes()), parts.join("."));
            if let Ok(compact) = Compact::parse(&token) {
                prop_assert_eq!(compact.to_string(), token.as_str());
                prop_assert_eq!(compact.key_id(), Some(kid.as_str()));
            }
        }
    }
}
