//! What a key report says, and its encoding to the byte: `docs/key_report.md`.

use std::collections::BTreeMap;

use minicbor::Encoder;
use minicbor::data::Tag;
use sha2::{Digest, Sha256};

use super::cbor::{Reader, Written, encoded, malformed};
use super::{AttestRequest, AttestationKeyId, Evidence, Nonce, signature_algorithm};
use crate::algorithm::Algorithm;
use crate::device::SignInput;
use crate::error::{Result, invalid};
use crate::key::{Binding, KeyRef, KeySpec, PublicKey, Usage, Usages};
use crate::limits::{KEY_REPORT_LEN_MAX, PCRS_MAX, REPORT_CERTIFICATES_MAX};

/// What a device states about a key.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Claims {
    /// The nonce of whoever asked.
    pub nonce: Nonce,
    /// Which key signs.
    pub attestation_key: AttestationKeyId,
    /// The kind of device, as in [`Capabilities::device`](crate::Capabilities::device).
    pub device: String,
    /// What the key is and may do.
    pub spec: KeySpec,
    /// The public half; `None` for symmetric keys.
    pub public: Option<PublicKey>,
    /// What the sealed key is tied to: a digest over its attributes.
    pub binding: [u8; 32],
    /// What the caller of the device calls the key.
    pub label: Option<KeyRef>,
}

impl Claims {
    /// What `device` states in answer to `request`.
    #[must_use]
    pub fn new(
        request: &AttestRequest,
        device: &str,
        attestation_key: AttestationKeyId,
        spec: KeySpec,
        public: Option<PublicKey>,
        binding: &Binding,
    ) -> Self {
        Self {
            nonce: request.nonce.clone(),
            attestation_key,
            device: device.to_owned(),
            spec,
            public,
            binding: *binding.as_bytes(),
            label: request.label.clone(),
        }
    }

    /// SHA-256 over the claims without the proof: the `qualifyingData` of everything that a TPM attests for this report.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the public key cannot be encoded, which does not happen.
    pub fn digest(&self) -> Result<[u8; 32]> {
        let encoded = self.encode(None)?;
        Ok(Sha256::digest(encoded).into())
    }

    /// Adds the proof. What is left is to sign it with `attestation_key`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the key signs no reports.
    pub fn prove(&self, proof: &Proof, attestation_key: &PublicKey) -> Result<Unsigned> {
        let algorithm = signature_algorithm(attestation_key)?;
        Ok(Unsigned {
            protected: protected(algorithm)?,
            payload: self.encode(Some(proof))?,
        })
    }

    fn encode(&self, proof: Option<&Proof>) -> Result<Vec<u8>> {
        let public = self.public.as_ref().map(PublicKey::to_spki_der);
        let public = public.transpose()?;
        let proof = proof.map(Proof::encoded).transpose()?;
        let pairs = 5 + u64::from(proof.is_some());
        Ok(encoded(|out| {
            out.map(pairs)?;
            out.i64(NONCE)?.bytes(self.nonce.as_bytes())?;
            let mut ueid = vec![UEID_RANDOM];
            ueid.extend(self.attestation_key.as_bytes());
            out.i64(UEID)?.bytes(&ueid)?;
            out.i64(PROFILE)?.str(PROFILE_1)?;
            out.i64(DEVICE)?.str(&self.device)?;
            out.i64(KEY)?;
            self.write_key(public.as_deref(), out)?;
            if let Some((label, proof)) = proof {
                out.i64(label)?.writer_mut().extend(proof);
            }
            Ok(())
        }))
    }

    fn write_key(&self, public: Option<&[u8]>, out: &mut Encoder<Vec<u8>>) -> Written {
        let spec = &self.spec;
        let optional = [
            spec.algorithm.is_some(),
            public.is_some(),
            self.label.is_some(),
        ];
        out.map(4 + optional.map(u64::from).iter().sum::<u64>())?;
        out.i64(KEY_TYPE)?.str(spec.key_type.name())?;
        out.i64(KEY_USAGES)?;
        out.array(spec.usages.iter().map(|_| 1).sum())?;
        for usage in spec.usages.iter() {
            out.str(usage.name())?;
        }
        out.i64(KEY_EXPORTABLE)?.bool(spec.exportable)?;
        out.i64(KEY_BINDING)?.bytes(&self.binding)?;
        if let Some(algorithm) = spec.algorithm {
            out.i64(KEY_ALGORITHM)?.str(algorithm.name())?;
        }
        if let Some(public) = public {
            out.i64(KEY_PUBLIC)?.bytes(public)?;
        }
        if let Some(label) = &self.label {
            out.i64(KEY_LABEL)?.str(&label.to_string())?;
        }
        Ok(())
    }
}

/// What stands behind the claims.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Proof {
    /// Nothing but the word of software, with the key that signs.
    Software(PublicKey),
    /// What a TPM 2.0 says.
    Tpm(Box<TpmProof>),
}

/// What a TPM 2.0 says of a key, and of itself. The bytes are the TPM's.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "devices of other crates make these"
)]
pub struct TpmProof {
    /// The `TPMT_PUBLIC` of the attestation key.
    pub attestation_public: Vec<u8>,
    /// The `TPMT_PUBLIC` of the key.
    pub key_public: Vec<u8>,
    /// What `TPM2_Certify` gave.
    pub certification: Signed,
    /// What `TPM2_Quote` gave, if PCRs were asked for.
    pub quote: Option<Quote>,
    /// Certificates of the TPM's endorsement keys, in DER.
    pub certificates: Vec<Vec<u8>>,
}

/// A statement of a TPM, and its signature.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the two things that a TPM answers"
)]
pub struct Signed {
    /// The `TPMS_ATTEST`.
    pub attested: Vec<u8>,
    /// The `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
}

/// A quote, and the values that it is over.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a quote is over the values of registers"
)]
pub struct Quote {
    /// What the TPM signed.
    pub signed: Signed,
    /// The values of the SHA-256 bank.
    pub pcrs: BTreeMap<u8, [u8; 32]>,
}

impl Proof {
    fn encoded(&self) -> Result<(i64, Vec<u8>)> {
        Ok(match self {
            Self::Software(public) => {
                let public = public.to_spki_der()?;
                (SOFTWARE, encoded(|out| out.bytes(&public)?.ok()))
            }
            Self::Tpm(proof) => (TPM, encoded(|out| proof.write(out))),
        })
    }
}

impl TpmProof {
    fn write(&self, out: &mut Encoder<Vec<u8>>) -> Written {
        let quoted = self.quote.is_some();
        out.map(5 + 3 * u64::from(quoted))?;
        out.i64(TPM_AK)?.bytes(&self.attestation_public)?;
        out.i64(TPM_KEY)?.bytes(&self.key_public)?;
        out.i64(TPM_CERTIFY)?.bytes(&self.certification.attested)?;
        out.i64(TPM_CERTIFY_SIGNATURE)?
            .bytes(&self.certification.signature)?;
        out.i64(TPM_CERTIFICATES)?
            .array(len(self.certificates.len()))?;
        for certificate in &self.certificates {
            out.bytes(certificate)?;
        }
        if let Some(quote) = &self.quote {
            out.i64(TPM_QUOTE)?.bytes(&quote.signed.attested)?;
            out.i64(TPM_QUOTE_SIGNATURE)?
                .bytes(&quote.signed.signature)?;
            out.i64(TPM_PCRS)?.map(len(quote.pcrs.len()))?;
            for (register, value) in &quote.pcrs {
                out.u8(*register)?.bytes(value)?;
            }
        }
        Ok(())
    }
}

/// A report that lacks nothing but its signature.
#[derive(Debug)]
pub struct Unsigned {
    protected: Vec<u8>,
    payload: Vec<u8>,
}

impl Unsigned {
    /// What the attestation key signs: the `Sig_structure` of RFC 9052 section 4.4.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        to_be_signed(&self.protected, &self.payload)
    }

    /// The report. `signature` is as COSE has it: r‖s, or 64 bytes of EdDSA.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) if it is longer than a report may be.
    pub fn sign(self, signature: &[u8]) -> Result<Evidence> {
        Evidence::from_bytes(envelope(&self.protected, &self.payload, signature))
    }
}

/// A report that was taken apart. Whether it is true, nobody has looked yet, but for its encoding: it is the one that the
/// same claims, proof and signature always have.
#[derive(Clone, Debug)]
pub struct KeyReport {
    claims: Claims,
    proof: Proof,
    algorithm: Algorithm,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl KeyReport {
    /// What the device states.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What stands behind it.
    #[must_use]
    pub const fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The algorithm of the signature.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Verifies the signature of the report as a whole under `attestation_key`, and nothing else.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](crate::ErrorKind::CryptoFailed) if it is not right,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the key signs no reports, or none with this algorithm.
    pub fn verify_signature(&self, attestation_key: &PublicKey) -> Result<()> {
        let algorithm = signature_algorithm(attestation_key)?;
        if algorithm != self.algorithm {
            return Err(invalid(format!(
                "the report says that it is signed with {}, which is not what its key does",
                self.algorithm
            )));
        }
        let message = to_be_signed(&protected(algorithm)?, &self.payload);
        attestation_key.verify(algorithm, SignInput::Message(&message), &self.signature)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > KEY_REPORT_LEN_MAX {
            return Err(malformed("it is too long"));
        }
        let mut reader = Reader::new(bytes);
        reader.tag(COSE_SIGN1, "it is no tagged COSE_Sign1")?;
        if reader.array("a COSE_Sign1 is an array")? != 4 {
            return Err(malformed("a COSE_Sign1 has four items"));
        }
        let header = reader.bytes("the protected header is a byte string")?;
        if reader.map("the unprotected header is a map")? != 0 {
            return Err(malformed("the unprotected header is empty"));
        }
        let payload = reader.bytes("the payload is a byte string")?;
        let signature = reader.bytes("the signature is a byte string")?;
        reader.end("something follows it")?;
        let algorithm = ALGORITHMS
            .iter()
            .map(|(algorithm, _)| *algorithm)
            .find(|algorithm| protected(*algorithm).is_ok_and(|expected| expected == header))
            .ok_or_else(|| malformed("the protected header is not one of a key report"))?;
        let (claims, proof) = decode_payload(payload)?;
        // One report, one encoding: what could have been written otherwise is refused.
        if claims.encode(Some(&proof))? != payload || envelope(header, payload, signature) != bytes
        {
            return Err(malformed("it is not in its deterministic encoding"));
        }
        Ok(Self {
            claims,
            proof,
            algorithm,
            payload: payload.to_vec(),
            signature: signature.to_vec(),
        })
    }
}

fn decode_payload(payload: &[u8]) -> Result<(Claims, Proof)> {
    const CLAIMS: &str = "the claims are a map with integer labels";
    let mut reader = Reader::new(payload);
    let (mut nonce, mut ueid, mut profile, mut device, mut key, mut proof) =
        (None, None, None, None, None, None);
    for _ in 0..reader.map(CLAIMS)? {
        match reader.int(CLAIMS)? {
            NONCE => nonce = Some(Nonce::new(reader.bytes("eat_nonce is a byte string")?)?),
            UEID => ueid = Some(reader.bytes("ueid is a byte string")?),
            PROFILE => profile = Some(reader.text("eat_profile is a text")?),
            DEVICE => device = Some(reader.text("the device is a text")?),
            KEY => key = Some(decode_key(&mut reader)?),
            SOFTWARE => {
                let public = reader.bytes("the key of software is a byte string")?;
                proof = Some(Proof::Software(PublicKey::from_spki_der(public)?));
            }
            TPM => proof = Some(Proof::Tpm(Box::new(decode_tpm(&mut reader)?))),
            _ => return Err(malformed("there is a claim that it does not have")),
        }
    }
    reader.end("something follows the claims")?;
    let missing = || malformed("a claim is missing");
    if profile.ok_or_else(missing)? != PROFILE_1 {
        return Err(malformed("it is of another profile"));
    }
    let ueid = ueid.ok_or_else(missing)?;
    let Some((&UEID_RANDOM, id)) = ueid.split_first() else {
        return Err(malformed("the ueid is of another type"));
    };
    let id = id
        .try_into()
        .map_err(|_| malformed("the ueid is of another length"))?;
    let key = key.ok_or_else(missing)?;
    let claims = Claims {
        nonce: nonce.ok_or_else(missing)?,
        attestation_key: AttestationKeyId::from_digest(id),
        device: device.ok_or_else(missing)?.to_owned(),
        spec: key.spec,
        public: key.public,
        binding: key.binding,
        label: key.label,
    };
    Ok((claims, proof.ok_or_else(missing)?))
}

struct Key {
    spec: KeySpec,
    public: Option<PublicKey>,
    binding: [u8; 32],
    label: Option<KeyRef>,
}

fn decode_key(reader: &mut Reader<'_>) -> Result<Key> {
    const KEYS: &str = "the key is a map with integer labels";
    let (mut key_type, mut usages, mut exportable, mut binding) = (None, None, None, None);
    let (mut algorithm, mut public, mut label) = (None, None, None);
    for _ in 0..reader.map(KEYS)? {
        match reader.int(KEYS)? {
            KEY_TYPE => key_type = Some(reader.text("the type of the key is a text")?.parse()?),
            KEY_USAGES => {
                let mut found = Vec::new();
                for _ in 0..reader.array("the usages are an array")? {
                    found.push(reader.text("a usage is a text")?.parse::<Usage>()?);
                }
                usages = Some(found.into_iter().collect::<Usages>());
            }
            KEY_EXPORTABLE => exportable = Some(reader.bool("exportable is true or false")?),
            KEY_BINDING => {
                let bytes = reader.bytes("the binding is a byte string")?;
                let bytes = bytes.try_into();
                binding = Some(bytes.map_err(|_| malformed("the binding has 32 bytes"))?);
            }
            KEY_ALGORITHM => {
                let name = reader.text("the algorithm of the key is a text")?;
                algorithm = Some(name.parse::<Algorithm>()?);
            }
            KEY_PUBLIC => {
                let der = reader.bytes("the public key is a byte string")?;
                public = Some(PublicKey::from_spki_der(der)?);
            }
            KEY_LABEL => label = Some(reader.text("the label is a text")?.parse()?),
            _ => {
                return Err(malformed(
                    "there is something in the key that it does not have",
                ));
            }
        }
    }
    let missing = || malformed("something of the key is missing");
    let mut spec = KeySpec::new(key_type.ok_or_else(missing)?, usages.ok_or_else(missing)?)?;
    if exportable.ok_or_else(missing)? {
        spec = spec.exportable();
    }
    if let Some(algorithm) = algorithm {
        spec = spec.only(algorithm)?;
    }
    if let Some(public) = &public
        && PublicKey::key_type(public) != spec.key_type
    {
        return Err(malformed("the public key is not of the key's type"));
    }
    if public.is_some() != spec.key_type.is_asymmetric() {
        return Err(malformed("asymmetric keys have a public half, others none"));
    }
    Ok(Key {
        spec,
        public,
        binding: binding.ok_or_else(missing)?,
        label,
    })
}

fn decode_tpm(reader: &mut Reader<'_>) -> Result<TpmProof> {
    const PARTS: &str = "the proof of a TPM is a map with integer labels";
    let (mut attestation_public, mut key_public) = (None, None);
    let (mut certify, mut certify_signature, mut certificates) = (None, None, Vec::new());
    let (mut quote, mut quote_signature, mut pcrs) = (None, None, None);
    for _ in 0..reader.map(PARTS)? {
        let label = reader.int(PARTS)?;
        match label {
            TPM_CERTIFICATES => {
                let count = reader.array("the certificates are an array")?;
                if count > len(REPORT_CERTIFICATES_MAX) {
                    return Err(malformed("there are too many certificates"));
                }
                for _ in 0..count {
                    certificates.push(reader.bytes("a certificate is a byte string")?.to_vec());
                }
                continue;
            }
            TPM_PCRS => {
                pcrs = Some(decode_pcrs(reader)?);
                continue;
            }
            _ => {}
        }
        let bytes = reader.bytes("what a TPM said is a byte string")?.to_vec();
        let place = match label {
            TPM_AK => &mut attestation_public,
            TPM_KEY => &mut key_public,
            TPM_CERTIFY => &mut certify,
            TPM_CERTIFY_SIGNATURE => &mut certify_signature,
            TPM_QUOTE => &mut quote,
            TPM_QUOTE_SIGNATURE => &mut quote_signature,
            _ => {
                return Err(malformed(
                    "there is something in the proof that it does not have",
                ));
            }
        };
        *place = Some(bytes);
    }
    let missing = || malformed("something of the proof is missing");
    let quote = match (quote, quote_signature, pcrs) {
        (None, None, None) => None,
        (Some(attested), Some(signature), Some(pcrs)) => Some(Quote {
            signed: Signed {
                attested,
                signature,
            },
            pcrs,
        }),
        _ => return Err(missing()),
    };
    Ok(TpmProof {
        attestation_public: attestation_public.ok_or_else(missing)?,
        key_public: key_public.ok_or_else(missing)?,
        certification: Signed {
            attested: certify.ok_or_else(missing)?,
            signature: certify_signature.ok_or_else(missing)?,
        },
        quote,
        certificates,
    })
}

fn decode_pcrs(reader: &mut Reader<'_>) -> Result<BTreeMap<u8, [u8; 32]>> {
    const PCRS: &str = "the PCRs are a map of their numbers and values";
    let mut pcrs = BTreeMap::new();
    for _ in 0..reader.map(PCRS)? {
        let register = u8::try_from(reader.int(PCRS)?).ok();
        let register = register.filter(|register| usize::from(*register) < PCRS_MAX);
        let value = reader.bytes(PCRS)?.try_into();
        let value = value.map_err(|_| malformed("the value of a PCR has 32 bytes"))?;
        pcrs.insert(register.ok_or_else(|| malformed(PCRS))?, value);
    }
    Ok(pcrs)
}

fn protected(algorithm: Algorithm) -> Result<Vec<u8>> {
    let (_, number) = ALGORITHMS
        .iter()
        .find(|(known, _)| *known == algorithm)
        .ok_or_else(|| invalid(format!("{algorithm} signs no key report")))?;
    Ok(encoded(|out| {
        out.map(2)?;
        out.i64(HEADER_ALGORITHM)?.i64(*number)?;
        out.i64(HEADER_CONTENT_TYPE)?.str(CONTENT_TYPE)?;
        Ok(())
    }))
}

fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    encoded(|out| {
        out.array(4)?.str("Signature1")?;
        out.bytes(protected)?.bytes(&[])?.bytes(payload)?;
        Ok(())
    })
}

fn envelope(protected: &[u8], payload: &[u8], signature: &[u8]) -> Vec<u8> {
    encoded(|out| {
        out.tag(Tag::new(COSE_SIGN1))?.array(4)?.bytes(protected)?;
        out.map(0)?.bytes(payload)?.bytes(signature)?;
        Ok(())
    })
}

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// RFC 9052 section 2.
const COSE_SIGN1: u64 = 18;
/// RFC 9052 section 3.1.
const HEADER_ALGORITHM: i64 = 1;
const HEADER_CONTENT_TYPE: i64 = 3;
/// RFC 9782.
const CONTENT_TYPE: &str = "application/eat+cwt";
/// RFC 9053 section 2.
const ALGORITHMS: [(Algorithm, i64); 2] = [(Algorithm::Es256, -7), (Algorithm::EdDsa, -8)];

/// RFC 9711 section 4.
const NONCE: i64 = 10;
const UEID: i64 = 256;
const PROFILE: i64 = 265;
/// The type of an identifier that nobody assigned (RFC 9711 section 4.2.1.1).
const UEID_RANDOM: u8 = 1;
/// This format. Another one gets another name.
const PROFILE_1: &str = "urn:uuid:2f0b6f9c-6a0e-4f7d-9c39-8d2b5f1c7a40";

/// Ours, for private use (RFC 8392 section 9.1).
const DEVICE: i64 = -70_001;
const KEY: i64 = -70_002;
const SOFTWARE: i64 = -70_003;
const TPM: i64 = -70_004;

const KEY_TYPE: i64 = 1;
const KEY_USAGES: i64 = 2;
const KEY_EXPORTABLE: i64 = 3;
const KEY_BINDING: i64 = 4;
const KEY_ALGORITHM: i64 = 5;
const KEY_PUBLIC: i64 = 6;
const KEY_LABEL: i64 = 7;

const TPM_AK: i64 = 1;
const TPM_KEY: i64 = 2;
const TPM_CERTIFY: i64 = 3;
const TPM_CERTIFY_SIGNATURE: i64 = 4;
const TPM_CERTIFICATES: i64 = 5;
const TPM_QUOTE: i64 = 6;
const TPM_QUOTE_SIGNATURE: i64 = 7;
const TPM_PCRS: i64 = 8;
