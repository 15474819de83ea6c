//! Key reports: what a device states about a key, signed for whoever asked with a fresh nonce. A key report is a COSE_Sign1
//! (RFC 9052) over the claims of an Entity Attestation Token (RFC 9711).
//!
//! Devices fill and sign [`Claims`]; the crate `hsm-attestation` verifies. Every byte is described in `docs/key_report.md`.

mod cbor;
mod report;
#[cfg(test)]
mod tests;

use std::fmt;

use sha2::{Digest, Sha256};

pub use self::report::{Claims, KeyReport, Proof, Quote, Signed, TpmProof, Unsigned};
use crate::algorithm::{Algorithm, KeyType};
use crate::error::{Result, invalid, limit};
use crate::key::{KeyRef, PublicKey};
use crate::limits::{
    ATTESTATION_NONCE_LEN_MAX, ATTESTATION_NONCE_LEN_MIN, KEY_REPORT_LEN_MAX, PCRS_MAX,
};

/// What makes a key report fresh: random bytes that its reader chose, and never uses again.
///
/// ```
/// use hsm_core::attestation::Nonce;
///
/// let nonce = Nonce::new([7; 32])?;
/// assert_eq!(nonce.as_bytes().len(), 32);
/// assert!(Nonce::new([7; 4]).is_err());
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Nonce(Box<[u8]>);

impl Nonce {
    /// Takes a nonce of [`ATTESTATION_NONCE_LEN_MIN`] to [`ATTESTATION_NONCE_LEN_MAX`] bytes (RFC 9711 section 4.1).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is shorter,
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) if it is longer.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self> {
        let bytes = bytes.as_ref();
        if bytes.len() < ATTESTATION_NONCE_LEN_MIN {
            return Err(invalid(format!(
                "the nonce of an attestation has {ATTESTATION_NONCE_LEN_MIN} bytes at least, not {}",
                bytes.len()
            )));
        }
        if bytes.len() > ATTESTATION_NONCE_LEN_MAX {
            return Err(limit(
                "the length of the nonce of an attestation",
                bytes.len(),
                ATTESTATION_NONCE_LEN_MAX,
            ));
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// In hexadecimal. A nonce is not secret.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(")?;
        hexadecimal(f, &self.0)?;
        f.write_str(")")
    }
}

/// A set of the platform configuration registers of a TPM, in its SHA-256 bank: [`PCRS_MAX`] of them, from 0.
///
/// ```
/// use hsm_core::attestation::Pcrs;
///
/// let boot = Pcrs::of(&[0, 2, 4, 7])?;
/// assert!(boot.contains(7) && !boot.contains(1));
/// assert_eq!(boot.to_string(), "0,2,4,7");
/// assert_eq!("0,2,4,7".parse::<Pcrs>()?, boot);
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct Pcrs(u32);

impl Pcrs {
    /// No register: no quote is asked for.
    pub const NONE: Self = Self(0);

    /// The set of `registers`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a register that there is not.
    pub fn of(registers: &[u8]) -> Result<Self> {
        let mut bits = 0;
        for register in registers {
            if usize::from(*register) >= PCRS_MAX {
                return Err(invalid(format!(
                    "there is no PCR {register}: they are 0 to {}",
                    PCRS_MAX - 1
                )));
            }
            bits |= 1 << register;
        }
        Ok(Self(bits))
    }

    /// Whether the register is in the set.
    #[must_use]
    pub fn contains(self, register: u8) -> bool {
        self.iter().any(|found| found == register)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The registers, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..PCRS_MAX)
            .filter_map(|register| u8::try_from(register).ok())
            .filter(move |register| self.0 & (1 << register) != 0)
    }

    /// The set as a TPM has it in a `TPMS_PCR_SELECTION`: three bytes, the first register in the lowest bit of the first.
    #[must_use]
    pub const fn to_select(self) -> [u8; 3] {
        let [first, second, third, _] = self.0.to_le_bytes();
        [first, second, third]
    }
}

/// Numbers, and commas between them.
impl fmt::Display for Pcrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, register) in self.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{register}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Pcrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pcrs({self})")
    }
}

impl std::str::FromStr for Pcrs {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Self> {
        let registers = text.split(',').filter(|_| !text.is_empty());
        let registers = registers.map(|register| {
            register
                .parse()
                .map_err(|_| invalid("PCRs are numbers with commas between, as in 0,2,7"))
        });
        Self::of(&registers.collect::<Result<Vec<u8>>>()?)
    }
}

/// What a key report is asked for with.
///
/// For [`Device::attest`](crate::Device::attest).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AttestRequest {
    /// The caller's nonce.
    pub nonce: Nonce,
    /// The registers that a TPM shall quote. Other devices have none and leave it out.
    pub pcrs: Pcrs,
    /// What the caller of the device calls the key.
    pub label: Option<KeyRef>,
}

impl AttestRequest {
    /// Asks for a report with `nonce`, without PCRs.
    #[must_use]
    pub const fn new(nonce: Nonce) -> Self {
        Self {
            nonce,
            pcrs: Pcrs::NONE,
            label: None,
        }
    }

    /// Asks for a quote of `pcrs` as well.
    #[must_use]
    pub const fn with_pcrs(mut self, pcrs: Pcrs) -> Self {
        self.pcrs = pcrs;
        self
    }

    /// Says what the key is called. The device repeats it in the report.
    #[must_use]
    pub fn with_label(mut self, label: KeyRef) -> Self {
        self.label = Some(label);
        self
    }
}

/// A signed key report, as it goes to whoever verifies it.
///
/// What [`Device::attest`](crate::Device::attest) gives.
#[derive(Clone, Eq, PartialEq)]
pub struct Evidence(Box<[u8]>);

impl Evidence {
    /// Takes bytes that may be a key report.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) above [`KEY_REPORT_LEN_MAX`].
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        if bytes.len() > KEY_REPORT_LEN_MAX {
            return Err(limit(
                "the length of a key report",
                bytes.len(),
                KEY_REPORT_LEN_MAX,
            ));
        }
        Ok(Self(bytes))
    }

    /// The bytes, a tagged COSE_Sign1: media type `application/eat+cwt`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes the report apart. Nothing in it is verified.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for what is not a key report in its one encoding.
    pub fn decode(&self) -> Result<KeyReport> {
        KeyReport::decode(&self.0)
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evidence({} bytes)", self.0.len())
    }
}

/// Which key signs the reports of a device: a digest of its public half. Relying parties keep it.
///
/// ```
/// use hsm_core::attestation::AttestationKeyId;
///
/// let text = "6c21a4f8c7e8c4f1b0c7a9dbb6b0a0a8d5f1c3e2d4b5a69788776655443322ff";
/// let id: AttestationKeyId = text.parse()?;
/// assert_eq!(id.to_string(), text);
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct AttestationKeyId([u8; 32]);

impl AttestationKeyId {
    /// The id of the attestation key with this public half: SHA-256 over the `TPMT_PUBLIC` of a TPM, whose name for the
    /// key is `000b` and this; over the SubjectPublicKeyInfo for others.
    #[must_use]
    pub fn of(public: &[u8]) -> Self {
        Self(Sha256::digest(public).into())
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

/// In hexadecimal.
impl fmt::Display for AttestationKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(f, &self.0)
    }
}

impl fmt::Debug for AttestationKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttestationKeyId({self})")
    }
}

impl std::str::FromStr for AttestationKeyId {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Self> {
        let rejected = || invalid("the id of an attestation key is 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(rejected());
        }
        let mut id = [0; 32];
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| rejected())?;
        }
        Ok(Self(id))
    }
}

/// The algorithm with which an attestation key signs key reports.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for keys that sign none: they are EC-P256 (ES256) or Ed25519 (EdDSA).
pub fn signature_algorithm(attestation_key: &PublicKey) -> Result<Algorithm> {
    match attestation_key.key_type() {
        KeyType::EcP256 => Ok(Algorithm::Es256),
        KeyType::Ed25519 => Ok(Algorithm::EdDsa),
        other => Err(invalid(format!(
            "a key of type {other} signs no key report"
        ))),
    }
}

fn hexadecimal(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
