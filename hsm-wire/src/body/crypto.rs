//! Uses of keys: the hot path. What is read is borrowed, what is decoded goes into the caller's buffers.

use hsm_core::attestation::Evidence;
use hsm_core::key::Jwk;
use hsm_core::limits::{AAD_LEN_MAX, DATA_LEN_MAX, DERIVE_PARAMETER_LEN_MAX};
use hsm_core::{
    Algorithm, Ciphertext, CiphertextRef, Encapsulated, KeyRef, Operation, PublicKey, Request,
    Response, Result, SignInput, VersionId,
};
use serde::Deserialize;

use super::SHORT_LEN;
use crate::json::Json;
use crate::read::{self, Text, invalid, required};
use crate::{Body, Buffers, Bytes, EngineRoute};

/// Longest initialization vector that is read.
const IV_LEN_MAX: usize = 64;

/// Longest authentication tag that is read.
const TAG_LEN_MAX: usize = 64;

/// Longest backup that is read.
pub(crate) const BACKUP_LEN_MAX: usize = hsm_core::limits::KEY_BACKUP_LEN_MAX;

/// The members of every operation; each reads those that it knows.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    alg: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    digest: Option<Text<'a>>,
    #[serde(borrow)]
    iv: Option<Text<'a>>,
    #[serde(borrow)]
    aad: Option<Text<'a>>,
    #[serde(borrow)]
    tag: Option<Text<'a>>,
}

impl Members<'_> {
    fn algorithm(&self) -> Result<Algorithm> {
        algorithm(self.alg.as_ref())
    }

    fn value(&self, out: &mut Bytes) -> Result<()> {
        needed("value", self.value.as_ref(), DATA_LEN_MAX, out)
    }

    fn digest(&self, out: &mut Bytes) -> Result<()> {
        needed("digest", self.digest.as_ref(), DATA_LEN_MAX, out)
    }
}

pub(crate) fn algorithm(name: Option<&Text<'_>>) -> Result<Algorithm> {
    match required("alg", name)?.as_str() {
        // PKCS#11's names do not say the size; Key Vault's keys for them have 256 bits.
        "CKM_AES_KEY_WRAP" => Ok(Algorithm::A256Kw),
        "CKM_AES_KEY_WRAP_PAD" => Ok(Algorithm::A256Kwp),
        name => name
            .parse()
            .map_err(|error: hsm_core::Error| invalid(format!("`alg`: {}", error.message()))),
    }
}

fn needed(member: &str, text: Option<&Text<'_>>, len_max: usize, out: &mut Bytes) -> Result<()> {
    read::binary(member, required(member, text)?.as_str(), len_max, out)
}

/// A member that may be missing; then `out` is empty.
fn optional(member: &str, text: Option<&Text<'_>>, len_max: usize, out: &mut Bytes) -> Result<()> {
    match text {
        Some(text) => read::binary(member, text.as_str(), len_max, out),
        None => {
            out.wipe();
            Ok(())
        }
    }
}

/// What is signed: a digest, where the algorithm has a hash function.
fn input(algorithm: Algorithm, bytes: &[u8]) -> SignInput<'_> {
    match algorithm.hash() {
        Some(_) => SignInput::Digest(bytes),
        None => SignInput::Message(bytes),
    }
}

pub(crate) fn read_sign<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: Members<'_> = read::object(body)?;
    let algorithm = members.algorithm()?;
    members.value(&mut buffers.value)?;
    let (key, bytes) = (key.clone(), buffers.value.as_slice());
    Ok(if algorithm.does(Operation::Mac) {
        Request::Mac {
            key,
            algorithm,
            message: bytes,
        }
    } else {
        Request::Sign {
            key,
            algorithm,
            input: input(algorithm, bytes),
        }
    })
}

pub(crate) fn read_verify<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: Members<'_> = read::object(body)?;
    let algorithm = members.algorithm()?;
    members.digest(&mut buffers.value)?;
    members.value(&mut buffers.second)?;
    let (key, bytes) = (key.clone(), buffers.value.as_slice());
    Ok(if algorithm.does(Operation::Mac) {
        Request::VerifyMac {
            key,
            algorithm,
            message: bytes,
            tag: buffers.second.as_slice(),
        }
    } else {
        Request::Verify {
            key,
            algorithm,
            input: input(algorithm, bytes),
            signature: buffers.second.as_slice(),
        }
    })
}

pub(crate) fn read_mac<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: Members<'_> = read::object(body)?;
    let algorithm = members.algorithm()?;
    members.value(&mut buffers.value)?;
    Ok(Request::Mac {
        key: key.clone(),
        algorithm,
        message: buffers.value.as_slice(),
    })
}

pub(crate) fn read_verify_mac<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: Members<'_> = read::object(body)?;
    let algorithm = members.algorithm()?;
    members.value(&mut buffers.value)?;
    needed(
        "tag",
        members.tag.as_ref(),
        DATA_LEN_MAX,
        &mut buffers.second,
    )?;
    Ok(Request::VerifyMac {
        key: key.clone(),
        algorithm,
        message: buffers.value.as_slice(),
        tag: buffers.second.as_slice(),
    })
}

pub(crate) fn read_encrypt<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: Members<'_> = read::object(body)?;
    let algorithm = members.algorithm()?;
    members.value(&mut buffers.value)?;
    optional("iv", members.iv.as_ref(), IV_LEN_MAX, &mut buffers.iv)?;
    optional("aad", members.aad.as_ref(), AAD_LEN_MAX, &mut buffers.aad)?;
    Ok(Request::Encrypt {
        key: key.clone(),
        algorithm,
        plaintext: buffers.value.as_slice(),
        iv: members.iv.is_some().then_some(buffers.iv.as_slice()),
        aad: buffers.aad.as_slice(),
    })
}

pub(crate) fn read_decrypt<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: Members<'_> = read::object(body)?;
    let algorithm = members.algorithm()?;
    members.value(&mut buffers.value)?;
    optional("iv", members.iv.as_ref(), IV_LEN_MAX, &mut buffers.iv)?;
    optional("aad", members.aad.as_ref(), AAD_LEN_MAX, &mut buffers.aad)?;
    optional(
        "tag",
        members.tag.as_ref(),
        TAG_LEN_MAX,
        &mut buffers.second,
    )?;
    Ok(Request::Decrypt {
        key: key.clone(),
        algorithm,
        ciphertext: CiphertextRef {
            ciphertext: buffers.value.as_slice(),
            iv: buffers.iv.as_slice(),
            tag: buffers.second.as_slice(),
        },
        aad: buffers.aad.as_slice(),
    })
}

pub(crate) fn read_wrap<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: Members<'_> = read::object(body)?;
    let algorithm = members.algorithm()?;
    members.value(&mut buffers.value)?;
    Ok(Request::Wrap {
        key: key.clone(),
        algorithm,
        plaintext: buffers.value.as_slice(),
    })
}

pub(crate) fn read_unwrap<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: Members<'_> = read::object(body)?;
    let algorithm = members.algorithm()?;
    members.value(&mut buffers.value)?;
    Ok(Request::Unwrap {
        key: key.clone(),
        algorithm,
        wrapped: buffers.value.as_slice(),
    })
}

pub(crate) fn read_decapsulate<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: Members<'_> = read::object(body)?;
    let algorithm = members.algorithm()?;
    members.value(&mut buffers.value)?;
    Ok(Request::Decapsulate {
        key: key.clone(),
        algorithm,
        ciphertext: buffers.value.as_slice(),
    })
}

pub(crate) fn read_encapsulate(key: &KeyRef, body: &[u8]) -> Result<Request<'static>> {
    let members: Members<'_> = read::object(body)?;
    Ok(Request::Encapsulate {
        key: key.clone(),
        algorithm: members.algorithm()?,
    })
}

#[derive(Deserialize)]
struct AgreeMembers<'a> {
    #[serde(borrow)]
    alg: Option<Text<'a>>,
    peer: Option<Jwk>,
}

pub(crate) fn read_agree<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: AgreeMembers<'_> = read::object(body)?;
    let algorithm = algorithm(members.alg.as_ref())?;
    let peer = PublicKey::from_jwk(&required("peer", members.peer)?)?;
    Ok(Request::Agree {
        key: key.clone(),
        algorithm,
        peer: buffers.public.insert(peer),
    })
}

#[derive(Deserialize)]
struct DeriveMembers<'a> {
    #[serde(borrow)]
    alg: Option<Text<'a>>,
    #[serde(borrow)]
    salt: Option<Text<'a>>,
    #[serde(borrow)]
    label: Option<Text<'a>>,
    #[serde(borrow)]
    info: Option<Text<'a>>,
    #[serde(borrow)]
    context: Option<Text<'a>>,
    length: Option<usize>,
}

pub(crate) fn read_derive<'b>(
    key: &KeyRef,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let members: DeriveMembers<'_> = read::object(body)?;
    let algorithm = algorithm(members.alg.as_ref())?;
    if members.salt.is_some() && members.label.is_some()
        || members.info.is_some() && members.context.is_some()
    {
        return Err(invalid(
            "HKDF has `salt` and `info`, the KDF of SP 800-108 has `label` and `context`",
        ));
    }
    let first = members.salt.or(members.label);
    let second = members.info.or(members.context);
    let len_max = DERIVE_PARAMETER_LEN_MAX;
    optional("salt", first.as_ref(), len_max, &mut buffers.value)?;
    optional("info", second.as_ref(), len_max, &mut buffers.second)?;
    Ok(Request::Derive {
        key: key.clone(),
        algorithm,
        salt_or_label: buffers.value.as_slice(),
        info_or_context: buffers.second.as_slice(),
        len: required("length", members.length)?,
    })
}

#[derive(Deserialize)]
struct RandomMembers {
    count: Option<usize>,
}

pub(crate) fn read_random(body: &[u8]) -> Result<Request<'static>> {
    let members: RandomMembers = read::object(body)?;
    Ok(Request::Random {
        len: required("count", members.count)?,
    })
}

/// The client's half of all of these: members with bytes in them.
pub(crate) fn operation(algorithm: Algorithm, members: &[(&str, &[u8])]) -> Body {
    let len = members
        .iter()
        .map(|(name, bytes)| name.len() + bytes.len() / 3 * 4 + 10);
    Json::object_of(len.sum::<usize>() + 64, |json| {
        json.name("alg").text(algorithm.name());
        for (name, bytes) in members {
            json.name(name).binary(bytes);
        }
    })
}

pub(crate) fn agree(algorithm: Algorithm, peer: &PublicKey) -> Result<Body> {
    let peer = peer.to_jwk()?;
    Ok(Json::object_of(SHORT_LEN, |json| {
        json.name("alg").text(algorithm.name());
        json.name("peer").serialized(&peer);
    }))
}

pub(crate) fn derive(algorithm: Algorithm, first: &[u8], second: &[u8], len: usize) -> Body {
    let names = match algorithm {
        Algorithm::HkdfSha256 | Algorithm::HkdfSha384 | Algorithm::HkdfSha512 => ["salt", "info"],
        _ => ["label", "context"],
    };
    Json::object_of(SHORT_LEN, |json| {
        json.name("alg").text(algorithm.name());
        json.name(names[0]).binary(first);
        json.name(names[1]).binary(second);
        json.name("length").number(len as u64);
    })
}

pub(crate) fn random(len: usize) -> Body {
    Json::object_of(32, |json| json.name("count").number(len as u64))
}

/// The address of a key version.
pub(crate) fn key_id(json: &mut Json, base: &str, key: &KeyRef, version: Option<VersionId>) {
    let json = json.name("kid");
    match version.or(key.version) {
        None => json.pieces(&[base, "/keys/", key.name.as_str()]),
        Some(version) => {
            let mut digits = [0; 32];
            let version = hex(version, &mut digits);
            json.pieces(&[base, "/keys/", key.name.as_str(), "/", version]);
        }
    }
}

/// The version in hex, without allocating.
fn hex(version: VersionId, out: &mut [u8; 32]) -> &str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(version.to_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    std::str::from_utf8(out).unwrap_or_default()
}

/// The key that a route is about.
fn key_of(route: &EngineRoute) -> Option<&KeyRef> {
    use EngineRoute as R;
    match route {
        R::Sign { key }
        | R::Verify { key }
        | R::Mac { key }
        | R::VerifyMac { key }
        | R::Encrypt { key }
        | R::Decrypt { key }
        | R::Wrap { key }
        | R::Unwrap { key }
        | R::Agree { key }
        | R::Derive { key }
        | R::Encapsulate { key }
        | R::Decapsulate { key }
        | R::AttestKey { key, .. }
        | R::ExportKey { key } => Some(key),
        _ => None,
    }
}

pub(crate) fn result(
    route: &EngineRoute,
    version: Option<VersionId>,
    bytes: &[u8],
    base: &str,
) -> Body {
    Json::object_of(SHORT_LEN + bytes.len() / 3 * 4, |json| {
        if let Some(key) = key_of(route) {
            // An export says which version wrapped, not which was wrapped.
            match route {
                EngineRoute::ExportKey { .. } => {
                    if let Some(version) = version {
                        json.name("version").shown(version);
                    }
                }
                _ => key_id(json, base, key, version),
            }
        }
        json.name("value").binary(bytes);
    })
}

pub(crate) fn encrypted(
    route: &EngineRoute,
    version: VersionId,
    ciphertext: &Ciphertext,
    base: &str,
) -> Body {
    Json::object_of(SHORT_LEN + ciphertext.ciphertext.len() / 3 * 4, |json| {
        if let Some(key) = key_of(route) {
            key_id(json, base, key, Some(version));
        }
        json.name("value").binary(&ciphertext.ciphertext);
        for (name, bytes) in [("iv", &ciphertext.iv), ("tag", &ciphertext.tag)] {
            if !bytes.is_empty() {
                json.name(name).binary(bytes);
            }
        }
    })
}

pub(crate) fn encapsulated(
    route: &EngineRoute,
    version: VersionId,
    encapsulated: &Encapsulated,
    base: &str,
) -> Body {
    Json::object_of(SHORT_LEN + encapsulated.ciphertext.len() / 3 * 4, |json| {
        if let Some(key) = key_of(route) {
            key_id(json, base, key, Some(version));
        }
        json.name("value").binary(encapsulated.secret.expose());
        json.name("ciphertext").binary(&encapsulated.ciphertext);
    })
}

pub(crate) fn value(bytes: &[u8]) -> Body {
    Json::object_of(bytes.len() / 3 * 4 + 16, |json| {
        json.name("value").binary(bytes);
    })
}

pub(crate) fn verified(right: bool) -> Body {
    Json::object_of(16, |json| json.name("value").bool(right))
}

/// What the client reads.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    kid: Option<Text<'a>>,
    #[serde(borrow)]
    version: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    iv: Option<Text<'a>>,
    #[serde(borrow)]
    tag: Option<Text<'a>>,
    #[serde(borrow, rename = "authenticationTag")]
    authentication_tag: Option<Text<'a>>,
    #[serde(borrow)]
    ciphertext: Option<Text<'a>>,
}

/// Nothing is longer than the largest ciphertext with its padding.
const ANSWER_LEN_MAX: usize = DATA_LEN_MAX + 4096;

impl Answer<'_> {
    fn version(&self) -> Result<VersionId> {
        if let Some(version) = &self.version {
            return version.as_str().parse();
        }
        let kid = required("kid", self.kid.as_ref())?.as_str();
        let version = kid.rsplit('/').next().unwrap_or_default();
        version.parse()
    }

    fn value(&self) -> Result<Vec<u8>> {
        octets("value", self.value.as_ref())
    }
}

fn octets(member: &str, text: Option<&Text<'_>>) -> Result<Vec<u8>> {
    read::octets(member, required(member, text)?.as_str(), ANSWER_LEN_MAX)
}

fn octets_or_none(member: &str, text: Option<&Text<'_>>) -> Result<Vec<u8>> {
    text.map_or(Ok(Vec::new()), |text| octets(member, Some(text)))
}

pub(crate) fn read_signature(body: &[u8]) -> Result<Response> {
    let answer: Answer<'_> = read::object(body)?;
    Ok(Response::Signature {
        bytes: answer.value()?,
        version: answer.version()?,
    })
}

pub(crate) fn read_evidence(body: &[u8]) -> Result<Response> {
    let answer: Answer<'_> = read::object(body)?;
    Ok(Response::Evidence {
        evidence: Evidence::from_bytes(answer.value()?)?,
        version: answer.version()?,
    })
}

pub(crate) fn read_wrapped(body: &[u8]) -> Result<Response> {
    let answer: Answer<'_> = read::object(body)?;
    Ok(Response::Wrapped {
        bytes: answer.value()?,
        version: answer.version()?,
    })
}

pub(crate) fn read_encrypted(body: &[u8]) -> Result<Response> {
    let answer: Answer<'_> = read::object(body)?;
    let tag = answer.tag.as_ref().or(answer.authentication_tag.as_ref());
    Ok(Response::Ciphertext {
        ciphertext: Ciphertext {
            ciphertext: answer.value()?,
            iv: octets_or_none("iv", answer.iv.as_ref())?,
            tag: octets_or_none("tag", tag)?,
        },
        version: answer.version()?,
    })
}

pub(crate) fn read_secret(body: &[u8]) -> Result<Response> {
    let answer: Answer<'_> = read::object(body)?;
    let value = required("value", answer.value.as_ref())?.as_str();
    read::secret("value", value, ANSWER_LEN_MAX).map(Response::Secret)
}

pub(crate) fn read_encapsulated(body: &[u8]) -> Result<Response> {
    let answer: Answer<'_> = read::object(body)?;
    let secret = required("value", answer.value.as_ref())?.as_str();
    Ok(Response::Encapsulated {
        encapsulated: Encapsulated {
            ciphertext: octets("ciphertext", answer.ciphertext.as_ref())?,
            secret: read::secret("value", secret, ANSWER_LEN_MAX)?,
        },
        version: answer.version()?,
    })
}

pub(crate) fn read_backup(body: &[u8]) -> Result<Response> {
    let answer: Answer<'_> = read::object(body)?;
    let value = required("value", answer.value.as_ref())?.as_str();
    read::octets("value", value, BACKUP_LEN_MAX).map(Response::Backup)
}

#[derive(Deserialize)]
struct Verdict {
    value: Option<bool>,
}

pub(crate) fn read_verified(body: &[u8]) -> Result<Response> {
    let verdict: Verdict = read::object(body)?;
    match required("value", verdict.value)? {
        true => Ok(Response::Done),
        false => Err(hsm_core::Error::crypto()),
    }
}
