//! What the device asks of the TPM, one function a command or a few that belong together.

use std::sync::Arc;

use hsm_core::{Error, Hash, KeySpec, PublicKey, Result, SecretBytes};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmRh};
use zeroize::Zeroizing;

use crate::boot_state;
use crate::command::{Command, Entity};
use crate::failure::{Failure, damaged, failed};
use crate::import;
use crate::kdf::DIGEST_LEN;
use crate::limits::INPUT_LEN_MAX;
use crate::sealed::{Auth, Blob};
use crate::template::{self, Origin, pad_into};
use crate::tpm::{Tpm, no_ticket};
use crate::wire::Writer;

/// A key that callers may use: loaded now, or again when it is needed.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its number, which no other key of the device ever has.
    pub(crate) number: u64,
    pub(crate) blob: Blob,
}

/// A signature scheme or an encryption scheme, with its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheme {
    pub(crate) algorithm: TpmAlgId,
    pub(crate) hash: TpmAlgId,
}

/// Makes a key under the root key.
pub(crate) fn create(tpm: &mut Tpm, spec: &KeySpec, auth: Auth) -> Result<Blob, Failure> {
    let unique = |out: &mut Writer| template::empty_unique(spec.key_type, out);
    let policy = policy(tpm, spec)?;
    let template = template::public(spec, Origin::Tpm, &policy, unique);
    let template = template.ok_or_else(|| failed("no TPM has keys of this type"))?;
    let command = Command::new(TpmCc::Create)
        .authorized(tpm.root_entity()?, &[])
        .parameters(|out| {
            out.sized_with(|sensitive| {
                sensitive.sized(auth.as_bytes()).sized(&[]);
            });
            out.sized(template.as_slice());
            out.sized(&[]).u32(0); // no outside information, no PCRs
        })
        .secret_in();
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    let (private, public) = (reader.sized()?, reader.sized()?);
    Ok(Blob {
        spec: *spec,
        public: public.to_vec(),
        private: private.to_vec(),
        auth,
    })
}

/// Brings a key in from outside.
pub(crate) fn import(
    tpm: &mut Tpm,
    material: &SecretBytes,
    spec: &KeySpec,
    auth: Auth,
) -> Result<Blob, Failure> {
    let policy = policy(tpm, spec)?;
    let duplicate = import::wrap(material, spec, &auth, &policy, tpm.root_public()?)?;
    let command = Command::new(TpmCc::Import)
        .authorized(tpm.root_entity()?, &[])
        .parameters(|out| {
            out.sized(&[]) // no inner wrapping: the outer one is for the root key only
                .sized(&duplicate.public)
                .sized(&duplicate.private)
                .sized(&duplicate.seed)
                .u16(TpmAlgId::Null.value());
        });
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    let private = reader.sized()?.to_vec();
    reader.end()?;
    Ok(Blob {
        spec: *spec,
        public: duplicate.public,
        private,
        auth,
    })
}

/// The policy of a key; empty if it has none.
fn policy(tpm: &mut Tpm, spec: &KeySpec) -> Result<Vec<u8>, Failure> {
    match spec.boot_state {
        Some(registers) => boot_state::policy(tpm, registers),
        None => Ok(Vec::new()),
    }
}

/// Loads a key, and lets the TPM check that it was sealed with this spec under this binding.
pub(crate) fn check(tpm: &mut Tpm, key: &Key) -> Result<(), Failure> {
    let entity = loaded(tpm, key)?;
    let auth = key.blob.auth.as_bytes();
    let command = match key.blob.spec.boot_state {
        // It authorizes nothing, but the TPM compares the value.
        None => Command::new(TpmCc::PolicySecret)
            .authorized(entity, auth)
            .handle(Entity::permanent(tpm.trial()?))
            .parameters(|out| {
                out.sized(&[]).sized(&[]).sized(&[]).u32(0); // this session, any command, no reference, no expiry
            }),
        // In any boot state, as it is no use of the key. What comes out is what went in.
        Some(_) => change(entity, tpm.root_entity()?, auth, auth),
    };
    match tpm.call(&command) {
        Err(failure) if failure.is_unauthorized() || failure.is_unavailable() => Err(damaged(
            "the sealed key belongs to another record, or its record was edited",
        )
        .into()),
        result => result.map(drop),
    }
}

/// The private half again, under another authorization value.
pub(crate) fn change_auth(tpm: &mut Tpm, key: &Key, auth: &Auth) -> Result<Vec<u8>, Failure> {
    check(tpm, key)?;
    let old = key.blob.auth.as_bytes();
    let command = change(loaded(tpm, key)?, tpm.root_entity()?, old, auth.as_bytes());
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    let private = reader.sized()?.to_vec();
    reader.end()?;
    Ok(private)
}

fn change<'a>(key: Entity, root: Entity, old: &'a [u8], new: &[u8]) -> Command<'a> {
    Command::new(TpmCc::ObjectChangeAuth)
        .authorized(key, old)
        .handle(root)
        .parameters(|out| {
            out.sized(new);
        })
        .secret_in()
}

/// A command that uses a key, of which `entity` is the handle.
fn using<'a>(code: TpmCc, entity: Entity, key: &'a Key) -> Command<'a> {
    Command::new(code)
        .authorized(entity, key.blob.auth.as_bytes())
        .in_boot_state(key.blob.spec.boot_state)
}

/// The handle of a key, which is loaded if it must be.
pub(crate) fn loaded(tpm: &mut Tpm, key: &Key) -> Result<Entity, Failure> {
    let name = key.blob.name();
    if let Some(handle) = tpm.slots.find(key.number) {
        return Ok(Entity::object(handle, &name));
    }
    if tpm.slots.is_full() {
        tpm.make_room_if_any(&[])?;
    }
    let command = Command::new(TpmCc::Load)
        .authorized(tpm.root_entity()?, &[])
        .parameters(|out| {
            out.sized(&key.blob.private).sized(&key.blob.public);
        })
        .handles_out(1);
    let response = match tpm.call(&command) {
        Err(failure) if failure.is_refusal() => {
            return Err(damaged("the TPM does not know the sealed key, or it was edited").into());
        }
        result => result?,
    };
    let handle = response.handle()?;
    tpm.slots.insert(key.number, handle);
    if response.reader().sized()? != name {
        return Err(Failure::Altered);
    }
    Ok(Entity::object(handle, &name))
}

/// Signs a digest. The signature is as JOSE has it.
pub(crate) fn sign(
    tpm: &mut Tpm,
    key: &Key,
    scheme: Scheme,
    digest: &[u8],
) -> Result<Vec<u8>, Failure> {
    let command = using(TpmCc::Sign, loaded(tpm, key)?, key).parameters(|out| {
        out.sized(digest)
            .u16(scheme.algorithm.value())
            .u16(scheme.hash.value());
        no_ticket(out);
    });
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    if reader.u16()? != scheme.algorithm.value() || reader.u16()? != scheme.hash.value() {
        return Err(Failure::Altered);
    }
    let len = key.blob.spec.key_type.byte_len();
    let parts = match scheme.algorithm {
        TpmAlgId::Ecdsa => 2,
        _ => 1,
    };
    let mut signature = Vec::with_capacity(parts * len);
    for _ in 0..parts {
        pad_into(&mut signature, reader.sized()?, len)?;
    }
    reader.end()?;
    Ok(signature)
}

/// Encrypts to the public half of an RSA key.
pub(crate) fn rsa_encrypt(
    tpm: &mut Tpm,
    key: &Key,
    scheme: Scheme,
    plaintext: &[u8],
) -> Result<Vec<u8>, Failure> {
    let command = Command::new(TpmCc::RsaEncrypt)
        .handle(loaded(tpm, key)?)
        .parameters(|out| {
            out.sized(plaintext)
                .u16(scheme.algorithm.value())
                .u16(scheme.hash.value())
                .sized(&[]); // no label
        })
        .secret_in();
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    let ciphertext = reader.sized()?.to_vec();
    reader.end()?;
    Ok(ciphertext)
}

/// Decrypts with an RSA key. Says nothing of why it failed.
pub(crate) fn rsa_decrypt(
    tpm: &mut Tpm,
    key: &Key,
    scheme: Scheme,
    ciphertext: &[u8],
) -> Result<SecretBytes, Failure> {
    let command = using(TpmCc::RsaDecrypt, loaded(tpm, key)?, key)
        .parameters(|out| {
            out.sized(ciphertext)
                .u16(scheme.algorithm.value())
                .u16(scheme.hash.value())
                .sized(&[]);
        })
        .secret_out();
    let response = match tpm.call(&command) {
        Err(failure) if failure.is_refusal() => return Err(Error::crypto().into()),
        Err(failure) if failure.is_failure() => {
            // Some TPMs say so of wrong padding. One that has failed itself refuses this as well.
            random(tpm, 1)?;
            return Err(Error::crypto().into());
        }
        result => result?,
    };
    let mut reader = response.reader();
    let plaintext = SecretBytes::copy_from(reader.sized()?);
    reader.end()?;
    Ok(plaintext)
}

/// The x-coordinate of the point that an EC key and `peer`, on the same curve, agree on.
pub(crate) fn agree(tpm: &mut Tpm, key: &Key, peer: &PublicKey) -> Result<SecretBytes, Failure> {
    let len = peer.key_type().byte_len();
    let (x, y) = peer.as_raw()[1..].split_at(len);
    let command = using(TpmCc::EcdhZGen, loaded(tpm, key)?, key)
        .parameters(|out| {
            out.sized_with(|point| {
                point.sized(x).sized(y);
            });
        })
        .secret_out();
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    let mut point = crate::wire::Reader::new(reader.sized()?);
    reader.end()?;
    let (x, _) = (point.sized()?, point.sized()?);
    point.end()?;
    let at = len.checked_sub(x.len()).ok_or(Failure::Altered)?;
    Ok(SecretBytes::init_with(len, |out| {
        out[at..].copy_from_slice(x);
    }))
}

/// Computes an HMAC over a message of at most [`INPUT_LEN_MAX`] bytes.
pub(crate) fn mac(
    tpm: &mut Tpm,
    key: &Key,
    hash: TpmAlgId,
    message: &[u8],
) -> Result<SecretBytes, Failure> {
    let command = using(TpmCc::Hmac, loaded(tpm, key)?, key)
        .parameters(|out| {
            out.sized(message).u16(hash.value());
        })
        .secret_in()
        .secret_out();
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    let tag = SecretBytes::copy_from(reader.sized()?);
    reader.end()?;
    Ok(tag)
}

/// Which part of a message a piece is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    pub(crate) is_first: bool,
    pub(crate) is_last: bool,
}

/// What became of a piece.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The next one, please.
    More,
    /// That was the last one.
    Tag(SecretBytes),
    /// The TPM was reset and has forgotten the pieces before.
    Lost,
}

/// A MAC in pieces: a sequence object, which has a number among the loaded keys, and a place of its own.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) number: u64,
    /// Its authorization value, which only the TPM learns. A sequence object has no name, so nothing else tells it from
    /// one that somebody on the bus has put in its place.
    pub(crate) auth: SecretBytes,
}

/// The authorization value of a new sequence object.
pub(crate) fn sequence_auth() -> Result<SecretBytes> {
    SecretBytes::try_init_with(DIGEST_LEN, |auth| {
        getrandom::fill(auth).map_err(|_| failed("the system has no random numbers"))
    })
}

/// Adds a piece to an HMAC. Whoever does not come to the last piece releases the sequence.
pub(crate) fn mac_piece(
    tpm: &mut Tpm,
    key: &Key,
    hash: TpmAlgId,
    sequence: &Sequence,
    at: Piece,
    message: &[u8],
) -> Result<Progress, Failure> {
    let auth = sequence.auth.expose();
    let handle = match (tpm.slots.find(sequence.number), at.is_first) {
        (Some(handle), false) => handle,
        (None, false) => return Ok(Progress::Lost),
        (_, true) => start_mac(tpm, key, hash, sequence)?,
    };
    let sequence_object = || Entity::object(handle, &[]);
    let kept = match at.is_last {
        true => message.len().saturating_sub(1) / INPUT_LEN_MAX * INPUT_LEN_MAX,
        false => message.len(),
    };
    let (parts, last) = message.split_at(kept);
    for part in parts.chunks(INPUT_LEN_MAX) {
        let command = Command::new(TpmCc::SequenceUpdate)
            .authorized(sequence_object(), auth)
            .parameters(|out| {
                out.sized(part);
            })
            .secret_in();
        tpm.call(&command)?;
    }
    if !at.is_last {
        return Ok(Progress::More);
    }
    let command = Command::new(TpmCc::SequenceComplete)
        .authorized(sequence_object(), auth)
        .parameters(|out| {
            out.sized(last).u32(TpmRh::Null.value());
        })
        .secret_in()
        .secret_out();
    let response = tpm.call(&command)?;
    tpm.slots.remove(sequence.number); // the TPM has freed it
    let mut reader = response.reader();
    Ok(Progress::Tag(SecretBytes::copy_from(reader.sized()?)))
}

fn start_mac(
    tpm: &mut Tpm,
    key: &Key,
    hash: TpmAlgId,
    sequence: &Sequence,
) -> Result<u32, Failure> {
    let entity = loaded(tpm, key)?;
    if tpm.slots.is_full() {
        tpm.make_room_if_any(std::slice::from_ref(&entity))?;
    }
    let command = using(TpmCc::HmacStart, entity, key)
        .parameters(|out| {
            out.sized(sequence.auth.expose()).u16(hash.value());
        })
        .secret_in()
        .handles_out(1);
    let handle = tpm.call(&command)?.handle()?;
    tpm.slots.insert_fixed(sequence.number, handle);
    Ok(handle)
}

/// Which way a cipher goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Decrypt,
    Encrypt,
}

/// Encrypts or decrypts in place. Returns the IV to go on with.
pub(crate) fn cipher(
    tpm: &mut Tpm,
    key: &Key,
    mode: TpmAlgId,
    direction: Direction,
    iv: &[u8],
    data: &mut [u8],
) -> Result<Vec<u8>, Failure> {
    let mut iv = iv.to_vec();
    for part in data.chunks_mut(INPUT_LEN_MAX) {
        let command = using(TpmCc::EncryptDecrypt2, loaded(tpm, key)?, key)
            .parameters(|out| {
                out.sized(part)
                    .u8(u8::from(direction == Direction::Decrypt))
                    .u16(mode.value())
                    .sized(&iv);
            })
            .secret_in()
            .secret_out();
        let response = tpm.call(&command)?;
        let mut reader = response.reader();
        let out = reader.sized()?;
        let next = reader.sized()?.to_vec();
        reader.end()?;
        if out.len() != part.len() {
            return Err(Failure::Altered);
        }
        part.copy_from_slice(out);
        iv = next;
    }
    Ok(iv)
}

/// Random bytes.
pub(crate) fn random(tpm: &mut Tpm, len: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(len));
    while bytes.len() < len {
        let left = len - bytes.len();
        let command = Command::new(TpmCc::GetRandom)
            .parameters(|out| {
                out.u16(u16::try_from(left).unwrap_or(u16::MAX));
            })
            .secret_out();
        let response = tpm.call(&command)?;
        let mut reader = response.reader();
        let some = reader.sized()?;
        reader.end()?;
        if some.is_empty() || some.len() > left {
            return Err(Failure::Altered);
        }
        bytes.extend_from_slice(some);
    }
    Ok(bytes)
}

/// Lets the TPM test all its functions.
pub(crate) fn self_test(tpm: &mut Tpm) -> Result<(), Failure> {
    let command = Command::new(TpmCc::SelfTest).parameters(|out| {
        out.u8(1); // all, whether tested or not
    });
    tpm.call_plain(&command)?;
    // A response in the session: from this TPM, and made by what was tested.
    random(tpm, 1).map(drop)
}

/// Clears the TPM's storage hierarchy: the root key, and all that any user of the TPM has under it.
pub(crate) fn clear(tpm: &mut Tpm) -> Result<(), Failure> {
    let command =
        Command::new(TpmCc::Clear).authorized(Entity::permanent(TpmRh::Lockout.value()), &[]);
    match tpm.call(&command) {
        Err(failure) if failure.is_unauthorized() => Err(Error::new(
            hsm_core::ErrorKind::Denied,
            "the lockout hierarchy of the TPM has a password, so only its owner clears the TPM (tpm2_clear)",
        )
        .into()),
        result => result.map(drop),
    }
}

/// The identifier of a hash function, of which the TPM has said that it has it.
pub(crate) fn hash(hash: Option<Hash>) -> Result<TpmAlgId> {
    hash.and_then(template::hash)
        .ok_or_else(|| failed("the algorithm has no hash that a TPM knows"))
}

/// What a call to the device's thread takes along.
pub(crate) type SharedKey = Arc<Key>;
