//! [`Verifier`]: what is expected of a key report, and the verdict.

use std::collections::BTreeMap;
use std::fmt;

use hsm_core::attestation::{AttestationKeyId, Claims, Evidence, KeyReport, Nonce, Proof};
use hsm_core::{KeyRef, KeySpec, PublicKey};

use crate::certificate;
use crate::error::VerifyError;
use crate::tpm::{self, VerifiedTpm};

/// What is expected of a key report.
///
/// A verifier is for one nonce, so it is good for one report.
///
/// The [front page](crate) has an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct Verifier {
    nonce: Nonce,
    trusted: Vec<AttestationKeyId>,
    any_key: bool,
    software: bool,
    public: Option<PublicKey>,
    label: Option<KeyRef>,
    pcrs: BTreeMap<u8, [u8; 32]>,
    roots: Vec<Vec<u8>>,
    intermediates: Vec<Vec<u8>>,
    at: Option<u64>,
}

impl Verifier {
    /// Expects a report that was made for `nonce`: signed by a key that is trusted, of a key that a TPM made.
    pub fn new(nonce: Nonce) -> Self {
        Self {
            nonce,
            trusted: Vec::new(),
            any_key: false,
            software: false,
            public: None,
            label: None,
            pcrs: BTreeMap::new(),
            roots: Vec::new(),
            intermediates: Vec::new(),
            at: None,
        }
    }

    /// Trusts an attestation key, and so the device that has it.
    pub fn trust_attestation_key(mut self, id: AttestationKeyId) -> Self {
        self.trusted.push(id);
        self
    }

    /// Takes a report of any attestation key: to learn its id when a machine is enrolled. Anybody can make a key that looks
    /// like one of a TPM, so such a report proves nothing.
    pub fn danger_any_attestation_key(mut self) -> Self {
        self.any_key = true;
        self
    }

    /// Takes reports of software devices as well. They prove that whoever has the attestation key says so, and nothing else.
    pub fn accept_software(mut self) -> Self {
        self.software = true;
        self
    }

    /// Expects this key.
    pub fn expect_public_key(mut self, public: PublicKey) -> Self {
        self.public = Some(public);
        self
    }

    /// Expects a key that the HSM calls this.
    pub fn expect_label(mut self, label: KeyRef) -> Self {
        self.label = Some(label);
        self
    }

    /// Expects a value of a register of the SHA-256 bank, in a quote.
    pub fn expect_pcr(mut self, register: u8, value: [u8; 32]) -> Self {
        self.pcrs.insert(register, value);
        self
    }

    /// Expects a TPM whose endorsement certificate leads to this root, a certificate in DER. With several, to one of them.
    pub fn trust_root(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.push(der.into());
        self
    }

    /// Adds a certificate, in DER, that may stand between the endorsement certificate and a root.
    pub fn intermediate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.intermediates.push(der.into());
        self
    }

    /// Judges certificates at this time, in seconds since 1970, instead of now.
    pub const fn at(mut self, unix_seconds: u64) -> Self {
        self.at = Some(unix_seconds);
        self
    }

    /// Verifies a report.
    ///
    /// # Errors
    ///
    /// [`VerifyError`], with one variant for each thing that can be wrong.
    pub fn verify(&self, evidence: &[u8]) -> Result<VerifiedKey, VerifyError> {
        let report = Evidence::from_bytes(evidence)
            .and_then(|evidence| evidence.decode())
            .map_err(VerifyError::Malformed)?;
        let claims = report.claims();
        let tpm = match report.proof() {
            Proof::Software(key) => {
                self.check_software(&report, key)?;
                None
            }
            Proof::Tpm(proof) => {
                let attester = tpm::Attester::new(proof, claims)?;
                check_signature(&report, attester.key())?;
                self.check_claims(claims)?;
                let verified = attester.verify(proof, claims, &self.pcrs)?;
                if !self.roots.is_empty() {
                    certificate::verify(
                        &proof.certificates,
                        &self.intermediates,
                        &self.roots,
                        self.at,
                    )?;
                }
                Some(verified)
            }
            _ => return Err(VerifyError::DeviceKind),
        };
        Ok(VerifiedKey {
            claims: claims.clone(),
            tpm,
        })
    }

    fn check_software(&self, report: &KeyReport, key: &PublicKey) -> Result<(), VerifyError> {
        let claims = report.claims();
        let encoded = key.to_spki_der().map_err(VerifyError::Malformed)?;
        if AttestationKeyId::of(&encoded) != claims.attestation_key {
            return Err(VerifyError::AttestationKeyName);
        }
        check_signature(report, key)?;
        if claims.device == TPM {
            return Err(VerifyError::DeviceKind);
        }
        if !self.software {
            return Err(VerifyError::SoftwareNotAccepted);
        }
        self.check_claims(claims)?;
        // Software has neither.
        if !self.pcrs.is_empty() {
            return Err(VerifyError::QuoteMissing);
        }
        if !self.roots.is_empty() {
            return Err(VerifyError::CertificateMissing);
        }
        Ok(())
    }

    /// What does not depend on the kind of device.
    fn check_claims(&self, claims: &Claims) -> Result<(), VerifyError> {
        if claims.nonce != self.nonce {
            return Err(VerifyError::Nonce);
        }
        let id = claims.attestation_key;
        if !self.any_key && !self.trusted.contains(&id) {
            return Err(VerifyError::AttestationKeyNotTrusted(id));
        }
        if self.public.is_some() && self.public != claims.public {
            return Err(VerifyError::PublicKey);
        }
        if self.label.is_some() && self.label != claims.label {
            return Err(VerifyError::Label);
        }
        Ok(())
    }
}

fn check_signature(report: &KeyReport, key: &PublicKey) -> Result<(), VerifyError> {
    report
        .verify_signature(key)
        .map_err(|_| VerifyError::Signature)
}

/// What stands behind a report.
///
/// What [`VerifiedKey::level`] says.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Level {
    /// The word of software.
    Software,
    /// A TPM 2.0.
    Tpm,
}

/// In words, as in a log.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "software",
            Self::Tpm => "TPM 2.0",
        })
    }
}

/// A key whose report is as it was expected.
///
/// What [`Verifier::verify`] gives; the [front page](crate) has an example.
#[derive(Clone, Debug)]
pub struct VerifiedKey {
    claims: Claims,
    tpm: Option<VerifiedTpm>,
}

impl VerifiedKey {
    /// What stands behind the report.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self.tpm {
            Some(_) => Level::Tpm,
            None => Level::Software,
        }
    }

    /// The public half; `None` for symmetric keys.
    #[must_use]
    pub const fn public_key(&self) -> Option<&PublicKey> {
        self.claims.public.as_ref()
    }

    /// What the key is and may do. The type is the TPM's word. The usages, and whether it may leave wrapped, are the word of the
    /// software that has the TPM; they are not compared with what the TPM lets the key do. A boot state that the key is tied to
    /// is not in a report.
    #[must_use]
    pub const fn spec(&self) -> &KeySpec {
        &self.claims.spec
    }

    /// What the HSM calls the key.
    #[must_use]
    pub const fn label(&self) -> Option<&KeyRef> {
        self.claims.label.as_ref()
    }

    /// Which key signed the report. Keep it when a machine is enrolled.
    #[must_use]
    pub const fn attestation_key(&self) -> AttestationKeyId {
        self.claims.attestation_key
    }

    /// What the TPM said of itself and the key, if it is one.
    #[must_use]
    pub const fn tpm(&self) -> Option<&VerifiedTpm> {
        self.tpm.as_ref()
    }
}

/// As the device calls itself.
pub(crate) const TPM: &str = "tpm";
