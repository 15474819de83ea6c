//! `hsm report`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use hsm_client::attestation::{AttestationKeyId, Nonce, VerifiedKey, Verifier, VerifyError};
use hsm_client::{Error, ErrorKind, KeyRef, PublicKey, limits};
use hsm_core::Jwk;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use super::Result;
use super::failure::Failure;
use super::hexadecimal::Octets;
use super::output::{Out, Place, Show};

/// Longest file of certificates that is read, in bytes.
const CERTIFICATES_LEN_MAX: usize = 1 << 20;

/// Verifies key reports
#[derive(Args, Debug)]
pub(crate) struct Report {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verifies a key report, without an HSM, a TPM or a network
    Verify(Verify),
}

/// Verifies a key report, without an HSM, a TPM or a network
///
/// The report is believed if its nonce is the given one, the attestation key that signed it is one of those given, and the key
/// was made in a TPM that does not let it go. Each further option expects one thing more. What is not as expected is an error
/// that names it, with exit code 9.
#[derive(Args, Debug)]
struct Verify {
    /// What `hsm key attest` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Place,

    /// The nonce that the report was asked for with
    #[arg(long, value_name = "HEX")]
    nonce: Octets,

    /// Trust the device with this attestation key; may be given several times
    #[arg(
        long = "attestation-key",
        value_name = "ID",
        required_unless_present = "danger_any_attestation_key"
    )]
    attestation_keys: Vec<AttestationKeyId>,

    /// Take any attestation key, to learn its id when a machine is enrolled; such a report proves nothing
    #[arg(long, conflicts_with = "attestation_keys")]
    danger_any_attestation_key: bool,

    /// Take the word of software too, which can state anything
    #[arg(long)]
    accept_software: bool,

    /// Expect a TPM whose endorsement certificate leads to one in this PEM file; may be given several times
    #[arg(long = "root", value_name = "FILE")]
    roots: Vec<PathBuf>,

    /// Certificates that may stand between, as PEM; may be given several times
    #[arg(long = "intermediate", value_name = "FILE")]
    intermediates: Vec<PathBuf>,

    /// Expect this value of a platform configuration register, in the bank of SHA-256; may be given several times
    #[arg(long = "pcr", value_name = "NUMBER=HEX")]
    pcrs: Vec<PcrValue>,

    /// Expect the key with the public half in this PEM file
    #[arg(long, value_name = "FILE")]
    public_key: Option<Place>,

    /// Expect a key that the HSM calls so: NAME or NAME/VERSION
    #[arg(long, value_name = "NAME")]
    key: Option<KeyRef>,
}

/// A register, and what it shall hold.
#[derive(Clone, Debug)]
struct PcrValue {
    register: u8,
    value: [u8; 32],
}

impl FromStr for PcrValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (register, value) = text.split_once('=').ok_or("not NUMBER=HEX")?;
        let Octets(value) = value.parse()?;
        Ok(Self {
            register: register.parse().map_err(|_| "not NUMBER=HEX")?,
            value: value.try_into().map_err(|_| "not a value of 32 bytes")?,
        })
    }
}

/// A report that is as it was expected.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    verified: bool,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    r#type: &'static str,
    usages: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    exportable: bool,
    attestation_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<Jwk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tpm: Option<TpmVerdict>,
}

/// What a TPM said of itself and the key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TpmVerdict {
    key_name: String,
    pcrs: BTreeMap<u8, String>,
    reset_count: u32,
    restart_count: u32,
    firmware_version: u64,
}

impl Verdict {
    fn new(verified: &VerifiedKey) -> Result<Self> {
        let spec = verified.spec();
        let octets = |bytes: &[u8]| Octets(bytes.to_vec()).to_string();
        let tpm = verified.tpm().map(|tpm| TpmVerdict {
            key_name: octets(tpm.key_name()),
            pcrs: tpm
                .pcrs()
                .iter()
                .map(|(register, value)| (*register, octets(value)))
                .collect(),
            reset_count: tpm.state().reset_count,
            restart_count: tpm.state().restart_count,
            firmware_version: tpm.state().firmware_version,
        });
        Ok(Self {
            verified: true,
            level: if tpm.is_some() { "tpm" } else { "software" },
            key: verified.label().map(KeyRef::to_string),
            r#type: spec.key_type.name(),
            usages: spec.usages.iter().map(|usage| usage.name()).collect(),
            algorithm: spec.algorithm.map(|algorithm| algorithm.name()),
            exportable: spec.exportable,
            attestation_key: verified.attestation_key().to_string(),
            public_key: verified.public_key().map(PublicKey::to_jwk).transpose()?,
            tpm,
        })
    }
}

impl Show for Verdict {
    const COLUMNS: &'static [&'static str] = &["key", "type", "level", "attestation key"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("level", self.level.to_owned()),
            ("key", self.key.clone().unwrap_or_default()),
            ("type", self.r#type.to_owned()),
            ("usages", self.usages.join(" ")),
            ("algorithm", self.algorithm.unwrap_or_default().to_owned()),
            (
                "exportable",
                if self.exportable { "yes" } else { "no" }.to_owned(),
            ),
            ("attestation key", self.attestation_key.clone()),
        ];
        if let Some(tpm) = &self.tpm {
            let pcrs: Vec<_> = tpm
                .pcrs
                .iter()
                .map(|(register, value)| format!("{register}={value}"))
                .collect();
            fields.push(("key name", tpm.key_name.clone()));
            fields.push(("pcrs", pcrs.join("\n")));
            fields.push(("reset count", tpm.reset_count.to_string()));
            fields.push(("restart count", tpm.restart_count.to_string()));
            fields.push(("firmware version", format!("{:#x}", tpm.firmware_version)));
        }
        fields
    }
}

impl Report {
    pub(crate) fn run(self, out: &Out) -> Result<()> {
        match self.command {
            Command::Verify(verify) => verify.run(out),
        }
    }
}

impl Verify {
    fn run(self, out: &Out) -> Result<()> {
        let report = self.file.read(limits::KEY_REPORT_LEN_MAX)?;
        let verified = self.verifier()?.verify(report.expose());
        let verified = verified.map_err(refused)?;
        // Without a version, any of the key's.
        if let Some(key) = &self.key
            && verified.label().map(|label| &label.name) != Some(&key.name)
        {
            return Err(refused(VerifyError::Label));
        }
        out.one(&Verdict::new(&verified)?)?;
        if self.danger_any_attestation_key {
            out.note("Any attestation key was taken. Trust this one if you know over another way that it is the machine's:");
            out.note(&format!(
                "  --attestation-key {}",
                verified.attestation_key()
            ));
        }
        Ok(())
    }

    fn verifier(&self) -> Result<Verifier> {
        let mut verifier = Verifier::new(Nonce::new(&self.nonce.0)?);
        for id in &self.attestation_keys {
            verifier = verifier.trust_attestation_key(*id);
        }
        if self.danger_any_attestation_key {
            verifier = verifier.danger_any_attestation_key();
        }
        if self.accept_software {
            verifier = verifier.accept_software();
        }
        for path in &self.roots {
            for certificate in certificates(path)? {
                verifier = verifier.trust_root(certificate);
            }
        }
        for path in &self.intermediates {
            for certificate in certificates(path)? {
                verifier = verifier.intermediate(certificate);
            }
        }
        for pcr in &self.pcrs {
            verifier = verifier.expect_pcr(pcr.register, pcr.value);
        }
        if let Some(place) = &self.public_key {
            verifier = verifier.expect_public_key(public_key(place)?);
        }
        if let Some(key) = self.key.as_ref().filter(|key| key.version.is_some()) {
            verifier = verifier.expect_label(key.clone());
        }
        Ok(verifier)
    }
}

/// A report that is not believed.
fn refused(error: VerifyError) -> Failure {
    let hint = match error {
        VerifyError::SoftwareNotAccepted => Some("add --accept-software if its word is enough"),
        VerifyError::AttestationKeyNotTrusted(_) => {
            Some("if the machine was enrolled with it, add --attestation-key with this id")
        }
        VerifyError::QuoteMissing => Some("ask for the report with --pcrs"),
        _ => None,
    };
    let failure = Error::new(ErrorKind::CryptoFailed, "the key report is not believed");
    let failure = Failure::from(failure.with_source(error));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The public key in a PEM file, as `hsm key public` writes it.
fn public_key(place: &Place) -> Result<PublicKey> {
    let pem = place.read(limits::RECORD_LEN_MAX)?;
    Ok(PublicKey::from_pem(&String::from_utf8_lossy(pem.expose()))?)
}

/// The certificates in a PEM file, in DER: one at least.
fn certificates(path: &Path) -> Result<Vec<Vec<u8>>> {
    let pem = Place::File(path.to_owned()).read(CERTIFICATES_LEN_MAX)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose())
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Failure::usage(format!(
            "{} is no PEM file of certificates",
            path.display()
        ))),
    }
}
