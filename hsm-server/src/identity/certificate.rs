//! Client certificates: which principal one stands for. That it is signed by a CA that the server trusts, and still valid, was
//! checked in the handshake.

use hsm_core::{Error, ErrorKind, Principal, Result};
use quick_cache::sync::Cache;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::config::CertificateConfig;

/// Most certificates of which it is remembered whom they stand for.
const REMEMBERED_MAX: usize = 4096;

/// Which certificate stands for whom.
#[derive(Debug)]
pub(crate) struct Certificates {
    rules: Vec<Rule>,
    /// By the hash of partition and certificate.
    remembered: Cache<[u8; 32], Option<Principal>>,
}

#[derive(Debug)]
struct Rule {
    criterion: Criterion,
    principal: Principal,
    partitions: Vec<String>,
}

#[derive(Debug)]
enum Criterion {
    Fingerprint([u8; 32]),
    Uri(String),
    Dns(String),
    Email(String),
    CommonName(String),
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            remembered: Cache::new(REMEMBERED_MAX),
        }
    }
}

impl Certificates {
    pub(crate) fn new(configs: &[CertificateConfig]) -> Result<Self> {
        Ok(Self {
            rules: configs.iter().map(Rule::new).collect::<Result<_>>()?,
            ..Self::default()
        })
    }

    /// Whom the certificate stands for in the partition: the first rule that fits says it.
    pub(crate) fn principal(
        &self,
        partition: &str,
        certificate: &CertificateDer<'_>,
    ) -> Option<Principal> {
        if self.rules.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        hash.update(partition.as_bytes());
        hash.update([0]);
        hash.update(certificate);
        let hash: [u8; 32] = hash.finalize().into();
        if let Some(known) = self.remembered.get(&hash) {
            return known;
        }
        let found = self.look(partition, certificate);
        self.remembered.insert(hash, found.clone());
        found
    }

    fn look(&self, partition: &str, certificate: &CertificateDer<'_>) -> Option<Principal> {
        let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let fingerprint: [u8; 32] = Sha256::digest(certificate).into();
        self.rules
            .iter()
            .find(|rule| {
                serves(&rule.partitions, partition) && rule.criterion.fits(&fingerprint, &parsed)
            })
            .map(|rule| rule.principal.clone())
    }
}

impl Rule {
    fn new(config: &CertificateConfig) -> Result<Self> {
        let mut criteria = Vec::new();
        if let Some(text) = &config.fingerprint {
            criteria.push(Criterion::Fingerprint(fingerprint(text)?));
        }
        criteria.extend(config.uri.clone().map(Criterion::Uri));
        criteria.extend(config.dns.clone().map(Criterion::Dns));
        criteria.extend(config.email.clone().map(Criterion::Email));
        criteria.extend(config.common_name.clone().map(Criterion::CommonName));
        let principal = Principal::new(&config.principal)?;
        let count = criteria.len();
        match (criteria.pop(), count) {
            (Some(criterion), 1) => Ok(Self {
                criterion,
                principal,
                partitions: config.partitions.clone(),
            }),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the certificate of {principal} has {count} criteria; set one of fingerprint, uri, dns, email, common-name"
                ),
            )),
        }
    }
}

impl Criterion {
    fn fits(&self, fingerprint: &[u8; 32], certificate: &X509Certificate<'_>) -> bool {
        match self {
            Self::Fingerprint(expected) => expected == fingerprint,
            Self::CommonName(expected) => {
                let mut names = certificate.subject().iter_common_name();
                // A second one could be what somebody else looks at.
                matches!((names.next(), names.next()), (Some(name), None) if name.as_str() == Ok(expected))
            }
            Self::Uri(expected) => has_name(
                certificate,
                |name| matches!(name, GeneralName::URI(uri) if uri == expected),
            ),
            Self::Dns(expected) => has_name(
                certificate,
                |name| matches!(name, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(expected)),
            ),
            Self::Email(expected) => has_name(
                certificate,
                |name| matches!(name, GeneralName::RFC822Name(email) if email == expected),
            ),
        }
    }
}

fn has_name(certificate: &X509Certificate<'_>, is_it: impl Fn(&GeneralName<'_>) -> bool) -> bool {
    // None if there are two such extensions, which no certificate may have.
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(is_it)
}

/// 64 hex digits, with or without colons.
fn fingerprint(text: &str) -> Result<[u8; 32]> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|sign| *sign != ':')
        .map(|sign| sign.to_digit(16).ok_or(()))
        .collect::<Result<_, ()>>()
        .unwrap_or_default();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the fingerprint of a certificate is its SHA-256: 64 hex digits, with or without colons",
        ));
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(pair[0] << 4 | pair[1]).unwrap_or_default();
    }
    Ok(bytes)
}

/// Whether a rule for these partitions, or for all, holds in this one.
pub(crate) fn serves(partitions: &[String], partition: &str) -> bool {
    partitions.is_empty()
        || partitions
            .iter()
            .any(|name| name.eq_ignore_ascii_case(partition))
}
