//! A maker of TPMs: certificates for endorsement keys, right ones and wrong ones.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Before and after the certificates are valid, in seconds since 1970.
pub(crate) const BEFORE: u64 = 1_500_000_000;
pub(crate) const AFTER: u64 = 5_000_000_000;

/// `tcg-kp-EKCertificate`.
const ENDORSEMENT: &[u64] = &[2, 23, 133, 8, 1];

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params("Maker of TPMs");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// The root, in DER.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.certificate.clone()
    }

    /// A certificate for an endorsement key.
    pub(crate) fn endorsement(&self) -> Vec<u8> {
        let purpose = ExtendedKeyUsagePurpose::Other(ENDORSEMENT.to_vec());
        self.leaf(vec![purpose])
    }

    pub(crate) fn for_tls(&self) -> Vec<u8> {
        self.leaf(vec![ExtendedKeyUsagePurpose::ServerAuth])
    }

    pub(crate) fn without_purpose(&self) -> Vec<u8> {
        self.leaf(Vec::new())
    }

    fn leaf(&self, purposes: Vec<ExtendedKeyUsagePurpose>) -> Vec<u8> {
        let mut params = params("A TPM");
        params.extended_key_usages = purposes;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        certificate.der().to_vec()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}
