//! Key reports: the attestation key, what it certifies and quotes, and the certificates that the TPM's maker left in it
//! (`docs/key_report.md`).

use std::collections::BTreeMap;

use hsm_core::attestation::{
    AttestRequest, AttestationKeyId, Claims, Evidence, Pcrs, Proof, Quote, Signed, TpmProof,
};
use hsm_core::limits::REPORT_CERTIFICATES_MAX;
use hsm_core::{Binding, Error, ErrorKind, KeyType, PublicKey, Result};
use sha2::{Digest, Sha256};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmEccCurve, TpmRh, TpmaObject};

use crate::command::{Command, Entity};
use crate::failure::Failure;
use crate::limits::INPUT_LEN_MAX;
use crate::operations::{self, Key};
use crate::root::object_name;
use crate::template::pad_into;
use crate::tpm::Tpm;
use crate::wire::{Reader, Writer};

/// Makes the report of a key that was checked against its binding.
pub(crate) fn attest(
    tpm: &mut Tpm,
    key: &Key,
    binding: &Binding,
    request: &AttestRequest,
) -> Result<Evidence, Failure> {
    let attester = AttestationKey::create(tpm)?;
    let report = report(tpm, key, binding, request, &attester);
    let flushed = tpm.flush(attester.entity.handle);
    let report = report?;
    flushed?;
    Ok(report)
}

fn report(
    tpm: &mut Tpm,
    key: &Key,
    binding: &Binding,
    request: &AttestRequest,
    attester: &AttestationKey,
) -> Result<Evidence, Failure> {
    let claims = Claims::new(
        request,
        "tpm",
        AttestationKeyId::of(&attester.public),
        key.blob.spec,
        key.blob.public_key()?,
        binding,
    );
    let digest = claims.digest()?;
    let proof = Proof::Tpm(Box::new(TpmProof {
        attestation_public: attester.public.clone(),
        key_public: key.blob.public.clone(),
        certification: certify(tpm, key, attester, &digest)?,
        quote: match request.pcrs {
            Pcrs::NONE => None,
            pcrs => Some(quote(tpm, pcrs, attester, &digest)?),
        },
        certificates: certificates(tpm)?,
    }));
    let unsigned = claims.prove(&proof, &attester.key)?;
    let signature = sign(tpm, attester, &unsigned.to_be_signed())?;
    Ok(unsigned.sign(&signature)?)
}

/// The attestation key, where it is loaded: a key of the endorsement hierarchy, which signs nothing but what this TPM says
/// or has hashed itself. The TPM makes the same one each time.
struct AttestationKey {
    entity: Entity,
    /// The `TPMT_PUBLIC`.
    public: Vec<u8>,
    key: PublicKey,
}

impl AttestationKey {
    fn create(tpm: &mut Tpm) -> Result<Self, Failure> {
        let command = Command::new(TpmCc::CreatePrimary)
            .authorized(Entity::permanent(TpmRh::Endorsement.value()), &[])
            .parameters(|out| {
                out.sized_with(|sensitive| {
                    sensitive.sized(&[]).sized(&[]);
                });
                out.sized_with(|public| {
                    write_public(public, UNIQUE, &[]);
                });
                out.sized(&[]).u32(0); // no outside information, no PCRs
            })
            .handles_out(1);
        let response = match tpm.call(&command) {
            Err(failure) if failure.is_unauthorized() => {
                return Err(Error::new(
                    ErrorKind::Denied,
                    "the endorsement hierarchy of the TPM has a password, so it makes no attestation key",
                )
                .into());
            }
            result => result?,
        };
        let handle = response.handle()?;
        let public = response.reader().sized()?.to_vec();
        let loaded = public_key(&public);
        if loaded.is_err() {
            tpm.flush(handle)?;
        }
        Ok(Self {
            entity: Entity::object(handle, &object_name(&public)),
            key: loaded?,
            public,
        })
    }
}

fn write_public(out: &mut Writer, x: &[u8], y: &[u8]) {
    let attributes = TpmaObject::FIXED_TPM
        | TpmaObject::FIXED_PARENT
        | TpmaObject::SENSITIVE_DATA_ORIGIN
        | TpmaObject::USER_WITH_AUTH
        | TpmaObject::NO_DA
        | TpmaObject::RESTRICTED
        | TpmaObject::SIGN_ENCRYPT;
    out.u16(TpmAlgId::Ecc.value())
        .u16(TpmAlgId::Sha256.value())
        .u32(attributes.bits())
        .sized(&[]) // no policy
        .u16(TpmAlgId::Null.value()) // no cipher
        .u16(TpmAlgId::Ecdsa.value())
        .u16(TpmAlgId::Sha256.value())
        .u16(TpmEccCurve::NistP256.value())
        .u16(TpmAlgId::Null.value()) // no derivation
        .sized(x)
        .sized(y);
}

/// The key in a `TPMT_PUBLIC` that is exactly of the template.
fn public_key(public: &[u8]) -> Result<PublicKey, Failure> {
    let mut template = Writer::new();
    write_public(&mut template, &[], &[]);
    let fixed = template.as_slice().len() - 4;
    let mut reader = Reader::new(public);
    if reader.take(fixed)? != &template.as_slice()[..fixed] {
        return Err(Failure::Altered);
    }
    let mut point = vec![4];
    for _ in 0..2 {
        pad_into(&mut point, reader.sized()?, KeyType::EcP256.byte_len())?;
    }
    reader.end()?;
    Ok(PublicKey::from_raw(KeyType::EcP256, point)?)
}

/// What the TPM says of the key (`TPM2_Certify`).
fn certify(
    tpm: &mut Tpm,
    key: &Key,
    attester: &AttestationKey,
    digest: &[u8],
) -> Result<Signed, Failure> {
    let command = Command::new(TpmCc::Certify)
        .authorized(operations::loaded(tpm, key)?, key.blob.auth.as_bytes())
        .with_empty_password(attester.entity.clone())
        .parameters(|out| {
            out.sized(digest).u16(TpmAlgId::Null.value()); // the scheme of the key
        });
    let response = tpm.call(&command)?;
    signed(response.reader())
}

/// What the TPM says of its PCRs (`TPM2_Quote`), and their values.
fn quote(
    tpm: &mut Tpm,
    pcrs: Pcrs,
    attester: &AttestationKey,
    digest: &[u8],
) -> Result<Quote, Failure> {
    for _ in 0..QUOTES_MAX {
        let values = read_pcrs(tpm, pcrs)?;
        let command = Command::new(TpmCc::Quote)
            .authorized(attester.entity.clone(), &[])
            .parameters(|out| {
                out.sized(digest).u16(TpmAlgId::Null.value());
                write_selection(out, pcrs);
            });
        let response = tpm.call(&command)?;
        let signed = signed(response.reader())?;
        let over = values
            .values()
            .fold(Sha256::new(), |hash, value| hash.chain_update(value));
        // The digest is the last of what is attested. Another one: a register was extended in between.
        if signed.attested.ends_with(&over.finalize()) {
            return Ok(Quote {
                signed,
                pcrs: values,
            });
        }
    }
    Err(Failure::Altered)
}

/// The values are not authenticated on their way; the quote is.
fn read_pcrs(tpm: &mut Tpm, pcrs: Pcrs) -> Result<BTreeMap<u8, [u8; 32]>, Failure> {
    let registers: Vec<_> = pcrs.iter().collect();
    let mut values = BTreeMap::new();
    for some in registers.chunks(PCRS_AT_ONCE) {
        let command = Command::new(TpmCc::PcrRead).parameters(|out| {
            write_selection(out, Pcrs::of(some).unwrap_or_default());
        });
        let response = tpm.call_plain(&command)?;
        let mut reader = response.reader();
        reader.u32()?; // how often they were extended
        for _ in 0..reader.u32()? {
            reader.u16()?;
            let len = reader.u8()?;
            reader.take(usize::from(len))?;
        }
        let count = reader.u32()?;
        if usize::try_from(count) != Ok(some.len()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the TPM has no SHA-256 bank of PCRs, or not all of them",
            )
            .into());
        }
        for register in some {
            let value = reader.sized()?.try_into();
            values.insert(*register, value.map_err(|_| Failure::Altered)?);
        }
        reader.end()?;
    }
    Ok(values)
}

fn write_selection(out: &mut Writer, pcrs: Pcrs) {
    let select = pcrs.to_select();
    out.u32(1).u16(TpmAlgId::Sha256.value());
    out.u8(u8::try_from(select.len()).unwrap_or_default())
        .bytes(&select);
}

fn signed(mut reader: Reader<'_>) -> Result<Signed, Failure> {
    Ok(Signed {
        attested: reader.sized()?.to_vec(),
        signature: reader.rest().to_vec(),
    })
}

/// Signs the report. A restricted key takes no digest from outside, so the TPM hashes the report, and says in a ticket that
/// it does not look like a statement of its own.
fn sign(tpm: &mut Tpm, attester: &AttestationKey, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let (digest, ticket) = hash(tpm, message)?;
    let command = Command::new(TpmCc::Sign)
        .authorized(attester.entity.clone(), &[])
        .parameters(|out| {
            out.sized(&digest)
                .u16(TpmAlgId::Null.value())
                .bytes(&ticket);
        });
    let response = tpm.call(&command)?;
    let mut reader = response.reader();
    let scheme = [reader.u16()?, reader.u16()?];
    if scheme != [TpmAlgId::Ecdsa.value(), TpmAlgId::Sha256.value()] {
        return Err(Failure::Altered);
    }
    let mut signature = Vec::new();
    for _ in 0..2 {
        pad_into(&mut signature, reader.sized()?, KeyType::EcP256.byte_len())?;
    }
    reader.end()?;
    Ok(signature)
}

/// The digest of a message of any length, and the TPM's `TPMT_TK_HASHCHECK` for it.
fn hash(tpm: &mut Tpm, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    // It has no name: this tells it from one that somebody on the bus has put in its place.
    let auth = operations::sequence_auth()?;
    let start = Command::new(TpmCc::HashSequenceStart)
        .parameters(|out| {
            out.sized(auth.expose()).u16(TpmAlgId::Sha256.value());
        })
        .secret_in()
        .handles_out(1);
    let handle = tpm.call(&start)?.handle()?;
    let mut update = || -> Result<_, Failure> {
        let split = message.len().saturating_sub(1) / INPUT_LEN_MAX * INPUT_LEN_MAX;
        let (parts, last) = message.split_at(split);
        for part in parts.chunks(INPUT_LEN_MAX) {
            let command = Command::new(TpmCc::SequenceUpdate)
                .authorized(Entity::object(handle, &[]), auth.expose())
                .parameters(|out| {
                    out.sized(part);
                });
            tpm.call(&command)?;
        }
        let command = Command::new(TpmCc::SequenceComplete)
            .authorized(Entity::object(handle, &[]), auth.expose())
            .parameters(|out| {
                out.sized(last).u32(TpmRh::Endorsement.value());
            });
        let response = tpm.call(&command)?;
        let mut reader = response.reader();
        let digest = reader.sized()?.to_vec();
        Ok((digest, reader.rest().to_vec()))
    };
    let hashed = update();
    if hashed.is_err() {
        // It may be gone.
        _ = tpm.flush(handle);
    }
    hashed
}

/// The certificates of the endorsement keys that the TPM's maker left in it.
fn certificates(tpm: &mut Tpm) -> Result<Vec<Vec<u8>>, Failure> {
    let mut found = Vec::new();
    for index in ENDORSEMENT_CERTIFICATES {
        match read_certificate(tpm, index) {
            Ok(certificate) => found.extend(certificate),
            // It has none here, or none for us.
            Err(Failure::Code(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    found.truncate(REPORT_CERTIFICATES_MAX);
    Ok(found)
}

fn read_certificate(tpm: &mut Tpm, index: u32) -> Result<Option<Vec<u8>>, Failure> {
    let command = Command::new(TpmCc::NvReadPublic).handle(Entity::permanent(index));
    let response = tpm.call_plain(&command)?;
    let mut reader = response.reader();
    let public = reader.sized()?;
    let name = reader.sized()?;
    reader.end()?;
    let Some((_, len)) = public.split_last_chunk() else {
        return Err(Failure::Altered);
    };
    let len = usize::from(u16::from_be_bytes(*len));
    let entity = Entity::object(index, name);
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let some = (len - bytes.len()).min(NV_READ_LEN);
        let as_u16 = |number| u16::try_from(number).unwrap_or(u16::MAX);
        let command = Command::new(TpmCc::NvRead)
            .authorized(entity.clone(), &[])
            .handle(entity.clone())
            .parameters(|out| {
                out.u16(as_u16(some)).u16(as_u16(bytes.len()));
            });
        let response = tpm.call(&command)?;
        let mut reader = response.reader();
        let read = reader.sized()?;
        if read.len() != some {
            return Err(Failure::Altered);
        }
        bytes.extend_from_slice(read);
    }
    Ok(certificate(&bytes))
}

/// The certificate that `bytes` begin with; makers leave room behind it.
fn certificate(bytes: &[u8]) -> Option<Vec<u8>> {
    const HEADER_LEN: usize = 4;
    let [0x30, 0x82, high, low, ..] = *bytes else {
        return None;
    };
    let len = HEADER_LEN + usize::from(u16::from_be_bytes([high, low]));
    bytes.get(..len).map(<[u8]>::to_vec)
}

/// What makes the attestation key another one than those of other programs.
const UNIQUE: &[u8] = b"hsm key report v1";

/// A register that is extended all the time is not quoted.
const QUOTES_MAX: usize = 4;

/// A `TPML_DIGEST` holds no more.
const PCRS_AT_ONCE: usize = 8;

/// Every TPM reads this many bytes at once (`TPM_PT_NV_BUFFER_MAX`).
const NV_READ_LEN: usize = 512;

/// RSA-2048 and P-256 (TCG EK Credential Profile, section 2.2.1.4), then RSA-2048, P-256 and P-384 of its high range.
const ENDORSEMENT_CERTIFICATES: [u32; 5] = [
    0x01c0_0002,
    0x01c0_000a,
    0x01c0_0012,
    0x01c0_0014,
    0x01c0_0016,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ends_where_it_says() {
        let bytes = [0x30, 0x82, 0, 2, 1, 2, 0xff, 0xff];
        assert_eq!(certificate(&bytes), Some(bytes[..6].to_vec()));
        assert_eq!(certificate(&bytes[..5]), None);
        assert_eq!(certificate(&[0xff; 100]), None);
    }

    #[test]
    fn a_template_is_no_key() {
        let mut template = Writer::new();
        write_public(&mut template, UNIQUE, &[]);
        assert!(public_key(template.as_slice()).is_err());
    }
}
