//! What a TPM says: the public areas, and the statements that it signs (TPM 2.0 Library part 2, sections 10.12 and 12.2).

use std::collections::BTreeMap;

use hsm_core::attestation::{AttestationKeyId, Claims, Pcrs, Quote, Signed, TpmProof};
use hsm_core::{Algorithm, KeyFamily, KeyType, PublicKey, SignInput};
use rsa::pkcs1::der::Encode;
use rsa::pkcs1::{RsaPublicKeyRef, UintRef};
use sha2::{Digest, Sha256};

use crate::error::{KeyAttribute, Statement, VerifyError};
use crate::verifier::TPM;

/// What a TPM said of a key and of itself, verified.
///
/// What [`VerifiedKey::tpm`](crate::VerifiedKey::tpm) gives.
#[derive(Clone, Debug)]
pub struct VerifiedTpm {
    key_name: Vec<u8>,
    state: TpmState,
    pcrs: BTreeMap<u8, [u8; 32]>,
}

impl VerifiedTpm {
    /// The name of the key's object, as `tpm2_readpublic` shows it.
    #[must_use]
    pub fn key_name(&self) -> &[u8] {
        &self.key_name
    }

    /// What the TPM says of itself.
    #[must_use]
    pub const fn state(&self) -> TpmState {
        self.state
    }

    /// The quoted values of the SHA-256 bank; empty if there was no quote.
    #[must_use]
    pub const fn pcrs(&self) -> &BTreeMap<u8, [u8; 32]> {
        &self.pcrs
    }
}

/// What a TPM says of itself with each statement.
///
/// What [`VerifiedTpm::state`] gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TpmState {
    /// Milliseconds of running since it was cleared.
    pub clock_ms: u64,
    /// How often it was reset, or the machine started, since then.
    pub reset_count: u32,
    /// How often it was resumed since the last reset.
    pub restart_count: u32,
    /// The vendor's version of its firmware.
    pub firmware_version: u64,
}

/// The attestation key of a TPM.
pub(crate) struct Attester {
    key: PublicKey,
    qualified_name: Vec<u8>,
}

impl Attester {
    /// Takes the key that signs, if it is of the right kind and the one that the claims name.
    pub(crate) fn new(proof: &TpmProof, claims: &Claims) -> Result<Self, VerifyError> {
        let public = &proof.attestation_public;
        if AttestationKeyId::of(public) != claims.attestation_key {
            return Err(VerifyError::AttestationKeyName);
        }
        let key = attestation_key(public).ok_or(VerifyError::AttestationKeyKind)?;
        // Part 1, section 16: the name of what it rests under, the hierarchy, and its own.
        let digest = Sha256::new()
            .chain_update(RH_ENDORSEMENT.to_be_bytes())
            .chain_update(name(public));
        let mut qualified_name = ALG_SHA256.to_be_bytes().to_vec();
        qualified_name.extend(digest.finalize());
        Ok(Self {
            key,
            qualified_name,
        })
    }

    pub(crate) const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Verifies what the TPM says of the key, and of its PCRs.
    pub(crate) fn verify(
        &self,
        proof: &TpmProof,
        claims: &Claims,
        expected: &BTreeMap<u8, [u8; 32]>,
    ) -> Result<VerifiedTpm, VerifyError> {
        if claims.device != TPM {
            return Err(VerifyError::DeviceKind);
        }
        let digest = claims.digest().map_err(VerifyError::Malformed)?;
        let (state, certified) =
            self.statement(Statement::Certification, &proof.certification, &digest)?;
        let malformed = |Short| VerifyError::StatementMalformed(Statement::Certification);
        let mut reader = Reader(certified);
        let certified_name = reader.sized().map_err(malformed)?;
        reader.sized().map_err(malformed)?; // the qualified name: what it rests under
        reader.end().map_err(malformed)?;
        let key_name = name(&proof.key_public);
        if certified_name != key_name {
            return Err(VerifyError::KeyName);
        }
        check_key(&proof.key_public, claims)?;
        let pcrs = match &proof.quote {
            Some(quote) => self.quote(quote, &digest)?,
            None if expected.is_empty() => BTreeMap::new(),
            None => return Err(VerifyError::QuoteMissing),
        };
        for (register, value) in expected {
            match pcrs.get(register) {
                Some(found) if found == value => {}
                Some(_) => return Err(VerifyError::PcrValue(*register)),
                None => return Err(VerifyError::PcrSelection),
            }
        }
        Ok(VerifiedTpm {
            key_name,
            state,
            pcrs,
        })
    }

    fn quote(&self, quote: &Quote, digest: &[u8]) -> Result<BTreeMap<u8, [u8; 32]>, VerifyError> {
        let (_, quoted) = self.statement(Statement::Quote, &quote.signed, digest)?;
        let malformed = |Short| VerifyError::StatementMalformed(Statement::Quote);
        let registers: Vec<_> = quote.pcrs.keys().copied().collect();
        let select = Pcrs::of(&registers)
            .map_err(VerifyError::Malformed)?
            .to_select();
        let mut expected = vec![0, 0, 0, 1];
        expected.extend(ALG_SHA256.to_be_bytes());
        expected.push(3);
        expected.extend(select);
        let mut reader = Reader(quoted);
        if reader.take(expected.len()).map_err(malformed)? != expected {
            return Err(VerifyError::PcrSelection);
        }
        let over = reader.sized().map_err(malformed)?;
        reader.end().map_err(malformed)?;
        let values = quote
            .pcrs
            .values()
            .fold(Sha256::new(), |hash, value| hash.chain_update(value));
        if over != values.finalize().as_slice() {
            return Err(VerifyError::PcrDigest);
        }
        Ok(quote.pcrs.clone())
    }

    /// Verifies a statement, and returns what it is about.
    fn statement<'a>(
        &self,
        statement: Statement,
        signed: &'a Signed,
        digest: &[u8],
    ) -> Result<(TpmState, &'a [u8]), VerifyError> {
        let malformed = |Short| VerifyError::StatementMalformed(statement);
        let signature = signature(&signed.signature).map_err(malformed)?;
        let message = SignInput::Message(&signed.attested);
        self.key
            .verify(Algorithm::Es256, message, &signature)
            .map_err(|_| VerifyError::StatementSignature(statement))?;
        let mut reader = Reader(&signed.attested);
        if reader.u32().map_err(malformed)? != GENERATED {
            return Err(VerifyError::NotGenerated(statement));
        }
        let kind = match statement {
            Statement::Certification => ST_ATTEST_CERTIFY,
            Statement::Quote => ST_ATTEST_QUOTE,
        };
        if reader.u16().map_err(malformed)? != kind {
            return Err(VerifyError::StatementType(statement));
        }
        if reader.sized().map_err(malformed)? != self.qualified_name {
            return Err(VerifyError::StatementSigner(statement));
        }
        if reader.sized().map_err(malformed)? != digest {
            return Err(VerifyError::StatementNonce(statement));
        }
        let mut state = || -> Result<TpmState, Short> {
            let clock_ms = reader.u64()?;
            let (reset_count, restart_count) = (reader.u32()?, reader.u32()?);
            reader.take(1)?; // whether the clock was saved in order
            Ok(TpmState {
                clock_ms,
                reset_count,
                restart_count,
                firmware_version: reader.u64()?,
            })
        };
        let state = state().map_err(malformed)?;
        Ok((state, reader.0))
    }
}

/// The key in the public area of an attestation key.
fn attestation_key(public: &[u8]) -> Option<PublicKey> {
    const NEEDED: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN;
    let mut reader = Reader(public);
    let fixed = [reader.u16().ok()?, reader.u16().ok()?];
    let attributes = reader.u32().ok()?;
    reader.sized().ok()?;
    let mut parameters = [0; 5];
    for parameter in &mut parameters {
        *parameter = reader.u16().ok()?;
    }
    let right = fixed == [ALG_ECC, ALG_SHA256]
        && attributes & NEEDED == NEEDED
        && attributes & DECRYPT == 0
        && parameters == [ALG_NULL, ALG_ECDSA, ALG_SHA256, ECC_NIST_P256, ALG_NULL];
    let key = reader.point(KeyType::EcP256).ok()?;
    reader.end().ok()?;
    key.filter(|_| right)
}

/// Checks that the public area is of the claimed key, which this TPM made and keeps.
fn check_key(public: &[u8], claims: &Claims) -> Result<(), VerifyError> {
    let area = |Short| VerifyError::KeyArea;
    let key_type = claims.spec.key_type;
    let mut reader = Reader(public);
    let kind = reader.u16().map_err(area)?;
    if reader.u16().map_err(area)? != ALG_SHA256 {
        return Err(VerifyError::KeyArea);
    }
    let attributes = reader.u32().map_err(area)?;
    reader.sized().map_err(area)?; // the policy
    let bits = key_type.info().bits;
    let (expected, parameters) = match key_type {
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            (ALG_RSA, vec![ALG_NULL, ALG_NULL, bits, 0, 0])
        }
        KeyType::EcP256 => (ALG_ECC, vec![ALG_NULL, ALG_NULL, ECC_NIST_P256, ALG_NULL]),
        KeyType::EcP384 => (ALG_ECC, vec![ALG_NULL, ALG_NULL, ECC_NIST_P384, ALG_NULL]),
        KeyType::EcP521 => (ALG_ECC, vec![ALG_NULL, ALG_NULL, ECC_NIST_P521, ALG_NULL]),
        KeyType::HmacSha256 => (ALG_KEYEDHASH, vec![ALG_HMAC, ALG_SHA256]),
        KeyType::HmacSha384 => (ALG_KEYEDHASH, vec![ALG_HMAC, ALG_SHA384]),
        KeyType::HmacSha512 => (ALG_KEYEDHASH, vec![ALG_HMAC, ALG_SHA512]),
        KeyType::Kdk256 => (ALG_KEYEDHASH, vec![ALG_NULL]),
        KeyType::Aes128 | KeyType::Aes192 | KeyType::Aes256 => {
            (ALG_SYMCIPHER, vec![ALG_AES, bits, ALG_NULL])
        }
        _ => return Err(VerifyError::KeyArea),
    };
    if kind != expected {
        return Err(VerifyError::KeyArea);
    }
    for parameter in parameters {
        if reader.u16().map_err(area)? != parameter {
            return Err(VerifyError::KeyArea);
        }
    }
    let found = match key_type.info().family {
        KeyFamily::Ec => reader.point(key_type).map_err(area)?,
        KeyFamily::Rsa => rsa_key(key_type, reader.sized().map_err(area)?),
        _ => {
            reader.sized().map_err(area)?;
            None
        }
    };
    reader.end().map_err(area)?;
    if found != claims.public {
        return Err(VerifyError::ClaimedPublicKey);
    }
    for (bit, attribute) in [
        (SENSITIVE_DATA_ORIGIN, KeyAttribute::SensitiveDataOrigin),
        (FIXED_TPM, KeyAttribute::FixedTpm),
        (FIXED_PARENT, KeyAttribute::FixedParent),
    ] {
        if attributes & bit == 0 {
            return Err(VerifyError::KeyAttribute(attribute));
        }
    }
    Ok(())
}

fn rsa_key(key_type: KeyType, modulus: &[u8]) -> Option<PublicKey> {
    let key = RsaPublicKeyRef {
        modulus: UintRef::new(modulus).ok()?,
        public_exponent: UintRef::new(&EXPONENT).ok()?,
    };
    PublicKey::from_raw(key_type, key.to_der().ok()?).ok()
}

/// The name of an object (part 1, section 16).
fn name(public: &[u8]) -> Vec<u8> {
    let mut name = ALG_SHA256.to_be_bytes().to_vec();
    name.extend(Sha256::digest(public));
    name
}

/// A `TPMT_SIGNATURE` of ECDSA with SHA-256, as r‖s.
fn signature(bytes: &[u8]) -> Result<Vec<u8>, Short> {
    let mut reader = Reader(bytes);
    if [reader.u16()?, reader.u16()?] != [ALG_ECDSA, ALG_SHA256] {
        return Err(Short);
    }
    let mut signature = Vec::new();
    for _ in 0..2 {
        reader.number(KeyType::EcP256.byte_len(), &mut signature)?;
    }
    reader.end()?;
    Ok(signature)
}

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug)]
struct Short;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        self.take(N)?.try_into().map_err(|_| Short)
    }

    fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_be_bytes)
    }

    fn sized(&mut self) -> Result<&'a [u8], Short> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Appends a number as long as it should be: TPMs may leave out leading zeros.
    fn number(&mut self, len: usize, out: &mut Vec<u8>) -> Result<(), Short> {
        let number = self.sized()?;
        let missing = len.checked_sub(number.len()).ok_or(Short)?;
        out.resize(out.len() + missing, 0);
        out.extend_from_slice(number);
        Ok(())
    }

    /// A point; `None` if it is not on the curve.
    fn point(&mut self, key_type: KeyType) -> Result<Option<PublicKey>, Short> {
        let mut point = vec![4];
        for _ in 0..2 {
            self.number(key_type.byte_len(), &mut point)?;
        }
        Ok(PublicKey::from_raw(key_type, point).ok())
    }

    fn end(&self) -> Result<(), Short> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Short),
        }
    }
}

/// What the exponent 0 in a public area stands for.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Part 2, section 6.2: 0xff and `TCG`.
const GENERATED: u32 = 0xff54_4347;
/// Part 2, section 6.9.
const ST_ATTEST_CERTIFY: u16 = 0x8017;
const ST_ATTEST_QUOTE: u16 = 0x8018;
/// Part 2, section 7.4.
const RH_ENDORSEMENT: u32 = 0x4000_000b;

/// Part 2, section 6.3.
const ALG_RSA: u16 = 0x0001;
const ALG_HMAC: u16 = 0x0005;
const ALG_AES: u16 = 0x0006;
const ALG_KEYEDHASH: u16 = 0x0008;
const ALG_SHA256: u16 = 0x000b;
const ALG_SHA384: u16 = 0x000c;
const ALG_SHA512: u16 = 0x000d;
const ALG_NULL: u16 = 0x0010;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
const ALG_SYMCIPHER: u16 = 0x0025;
/// Part 2, section 6.4.
const ECC_NIST_P256: u16 = 0x0003;
const ECC_NIST_P384: u16 = 0x0004;
const ECC_NIST_P521: u16 = 0x0005;

/// Part 2, section 8.3.
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;
