//! Reports of a TPM that is none: software that signs whatever it is told to, under a key that the verifier trusts. So each
//! thing that can be wrong is wrong alone, and has its own error.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/authority.rs"]
mod authority;

use std::collections::BTreeMap;

use authority::Authority;
use hsm_attestation::{
    AttestationKeyId, KeyAttribute, Nonce, Pcrs, Statement, Verifier, VerifyError,
};
use hsm_core::attestation::{AttestRequest, Claims, Evidence, Proof, Quote, Signed, TpmProof};
use hsm_core::{Binding, KeySpec, KeyType, PublicKey, Usage, Usages};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

/// Where a forgery differs from what a TPM makes. The default is as a TPM does it.
struct Forgery {
    magic: u32,
    certify_type: u16,
    quote_type: u16,
    signer: Option<Vec<u8>>,
    extra: Option<Vec<u8>>,
    certified_name: Option<Vec<u8>>,
    attestation_attributes: u32,
    key_attributes: u32,
    /// The scalar of the key that the public area is of.
    key: u8,
    /// The scalar of the key that signs the statements.
    statement_signer: u8,
    /// The scalar of the key that signs the report.
    report_signer: u8,
    id: Option<AttestationKeyId>,
    device: &'static str,
    pcr_digest: Option<Vec<u8>>,
    select: [u8; 3],
    tail: &'static [u8],
    certificates: Vec<Vec<u8>>,
}

const AK: u8 = 1;
const KEY: u8 = 2;
const AK_ATTRIBUTES: u32 = 0x0005_0472;
const KEY_ATTRIBUTES: u32 = 0x0004_0472;
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;

impl Default for Forgery {
    fn default() -> Self {
        Self {
            magic: 0xff54_4347,
            certify_type: 0x8017,
            quote_type: 0x8018,
            signer: None,
            extra: None,
            certified_name: None,
            attestation_attributes: AK_ATTRIBUTES,
            key_attributes: KEY_ATTRIBUTES,
            key: KEY,
            statement_signer: AK,
            report_signer: AK,
            id: None,
            device: "tpm",
            pcr_digest: None,
            select: [0x81, 0, 0],
            tail: &[],
            certificates: Vec::new(),
        }
    }
}

fn scalar(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 32]).unwrap()
}

fn public(byte: u8) -> PublicKey {
    let point = scalar(byte).verifying_key().to_sec1_point(false);
    PublicKey::from_raw(KeyType::EcP256, point.as_bytes()).unwrap()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_be_bytes(), bytes].concat()
}

/// A `TPMT_PUBLIC` of a P-256 key.
fn area(byte: u8, attributes: u32, scheme: &[u16]) -> Vec<u8> {
    let mut area = vec![0x00, 0x23, 0x00, 0x0b];
    area.extend(attributes.to_be_bytes());
    area.extend([0, 0, 0x00, 0x10]);
    area.extend(scheme.iter().flat_map(|word| word.to_be_bytes()));
    area.extend([0x00, 0x03, 0x00, 0x10]);
    let public = public(byte);
    let (x, y) = public.as_raw()[1..].split_at(32);
    area.extend([sized(x), sized(y)].concat());
    area
}

fn name(area: &[u8]) -> Vec<u8> {
    [&[0x00, 0x0b][..], &Sha256::digest(area)].concat()
}

fn nonce() -> Nonce {
    Nonce::new([7; 32]).unwrap()
}

fn pcrs() -> BTreeMap<u8, [u8; 32]> {
    BTreeMap::from([(0, [1; 32]), (7, [2; 32])])
}

impl Forgery {
    fn forge(&self) -> (Evidence, AttestationKeyId) {
        let attestation_public = area(AK, self.attestation_attributes, &[0x18, 0x0b]);
        let key_public = area(self.key, self.key_attributes, &[0x10]);
        let id = self
            .id
            .unwrap_or_else(|| AttestationKeyId::of(&attestation_public));
        let usages = Usages::of(&[Usage::Sign]);
        let spec = KeySpec::new(KeyType::EcP256, usages).unwrap();
        let request = AttestRequest::new(nonce()).with_pcrs(Pcrs::of(&[0, 7]).unwrap());
        let binding = Binding::new("test", b"");
        let claims = Claims::new(&request, self.device, id, spec, Some(public(KEY)), &binding);
        let qualified = [
            &0x4000_000b_u32.to_be_bytes()[..],
            &name(&attestation_public),
        ]
        .concat();
        let qualified = name(&qualified);
        let signer = self.signer.clone().unwrap_or(qualified);
        let extra = self.extra.clone();
        let extra = extra.unwrap_or_else(|| claims.digest().unwrap().to_vec());
        let statement = |kind: u16, about: &[u8]| {
            let mut attested = self.magic.to_be_bytes().to_vec();
            attested.extend(kind.to_be_bytes());
            attested.extend([sized(&signer), sized(&extra)].concat());
            attested.extend([0; 25]);
            attested.extend(about);
            attested.extend(self.tail);
            let signature: Signature = scalar(self.statement_signer).sign(&attested);
            let (r, s) = signature.split_bytes();
            let signature = [&[0x00, 0x18, 0x00, 0x0b][..], &sized(&r), &sized(&s)].concat();
            Signed {
                attested,
                signature,
            }
        };
        let certified = self.certified_name.clone();
        let certified = certified.unwrap_or_else(|| name(&key_public));
        let certification = statement(
            self.certify_type,
            &[sized(&certified), sized(&[0; 34])].concat(),
        );
        let values = pcrs().into_values().flatten().collect::<Vec<_>>();
        let digest = self.pcr_digest.clone();
        let digest = digest.unwrap_or_else(|| Sha256::digest(values).to_vec());
        let selection = [&[0, 0, 0, 1, 0x00, 0x0b, 3][..], &self.select].concat();
        let quote = Quote {
            signed: statement(self.quote_type, &[selection, sized(&digest)].concat()),
            pcrs: pcrs(),
        };
        let proof = Proof::Tpm(Box::new(TpmProof {
            attestation_public,
            key_public,
            certification,
            quote: Some(quote),
            certificates: self.certificates.clone(),
        }));
        let unsigned = claims.prove(&proof, &public(AK)).unwrap();
        let signature: Signature = scalar(self.report_signer).sign(&unsigned.to_be_signed());
        (unsigned.sign(&signature.to_bytes()).unwrap(), id)
    }

    fn verdict(&self) -> String {
        let (evidence, id) = self.forge();
        let verifier = Verifier::new(nonce()).trust_attestation_key(id);
        match verifier.verify(evidence.as_bytes()) {
            Ok(_) => "fine".to_owned(),
            Err(error) => format!("{error:?}"),
        }
    }
}

macro_rules! forgeries {
    ($($name:ident: { $($field:ident: $value:expr),* } is $expected:expr;)*) => {$(
        #[test]
        fn $name() {
            let forgery = Forgery { $($field: $value,)* ..Forgery::default() };
            let expected: VerifyError = $expected;
            assert_eq!(forgery.verdict(), format!("{expected:?}"));
        }
    )*};
}

forgeries! {
    another_signature: { report_signer: 3 } is VerifyError::Signature;
    a_name_of_another_key: { id: Some(AttestationKeyId::of(b"another")) } is VerifyError::AttestationKeyName;
    an_attestation_key_that_signs_anything: { attestation_attributes: AK_ATTRIBUTES & !RESTRICTED } is VerifyError::AttestationKeyKind;
    an_attestation_key_that_decrypts: { attestation_attributes: AK_ATTRIBUTES | DECRYPT } is VerifyError::AttestationKeyKind;
    an_attestation_key_that_was_imported: { attestation_attributes: AK_ATTRIBUTES & !SENSITIVE_DATA_ORIGIN } is VerifyError::AttestationKeyKind;
    software_with_the_proof_of_a_tpm: { device: "software" } is VerifyError::DeviceKind;
    statements_that_nobody_generated: { magic: 0xff54_4348 } is VerifyError::NotGenerated(Statement::Certification);
    a_quote_as_a_certification: { certify_type: 0x8018 } is VerifyError::StatementType(Statement::Certification);
    a_certification_as_a_quote: { quote_type: 0x8017 } is VerifyError::StatementType(Statement::Quote);
    statements_signed_by_another: { statement_signer: 3 } is VerifyError::StatementSignature(Statement::Certification);
    statements_for_another_report: { extra: Some(vec![0; 32]) } is VerifyError::StatementNonce(Statement::Certification);
    statements_of_another_hierarchy: { signer: Some(vec![0; 34]) } is VerifyError::StatementSigner(Statement::Certification);
    statements_with_a_tail: { tail: &[0] } is VerifyError::StatementMalformed(Statement::Certification);
    the_name_of_another_object: { certified_name: Some(vec![0; 34]) } is VerifyError::KeyName;
    another_public_half: { key: 3 } is VerifyError::ClaimedPublicKey;
    a_key_that_moves_to_another_tpm: { key_attributes: KEY_ATTRIBUTES & !FIXED_TPM } is VerifyError::KeyAttribute(KeyAttribute::FixedTpm);
    a_key_that_moves_to_another_parent: { key_attributes: KEY_ATTRIBUTES & !FIXED_PARENT } is VerifyError::KeyAttribute(KeyAttribute::FixedParent);
    a_key_that_was_imported: { key_attributes: KEY_ATTRIBUTES & !SENSITIVE_DATA_ORIGIN } is VerifyError::KeyAttribute(KeyAttribute::SensitiveDataOrigin);
    a_quote_of_other_registers: { select: [0x01, 0, 0] } is VerifyError::PcrSelection;
    a_quote_of_other_values: { pcr_digest: Some(vec![0; 32]) } is VerifyError::PcrDigest;
}

#[test]
fn what_is_as_a_tpm_makes_it_is_verified() {
    assert_eq!(Forgery::default().verdict(), "fine");
}

/// As the names of the fields of a certificate chain: `expected` is the error, or "fine".
#[test]
fn certificates_have_to_lead_to_a_root() {
    if let Some(reason) = authority::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let (authority, other) = (Authority::new("Maker"), Authority::new("Another"));
    let judge = |certificate: Vec<u8>, at: Option<u64>| {
        let forgery = Forgery {
            certificates: vec![certificate],
            ..Forgery::default()
        };
        let (evidence, id) = forgery.forge();
        let verifier = Verifier::new(nonce()).trust_attestation_key(id);
        let mut verifier = verifier.trust_root(authority.certificate());
        if let Some(at) = at {
            verifier = verifier.at(at);
        }
        match verifier.verify(evidence.as_bytes()) {
            Ok(_) => "fine".to_owned(),
            Err(error) => format!("{error:?}"),
        }
    };
    let right = authority.endorsement();
    assert_eq!(judge(right.clone(), None), "fine");
    assert_eq!(
        judge(right.clone(), Some(authority::BEFORE)),
        "CertificateNotYetValid"
    );
    assert_eq!(
        judge(right.clone(), Some(authority::AFTER)),
        "CertificateExpired"
    );
    assert_eq!(judge(other.endorsement(), None), "UnknownRoot");
    assert_eq!(judge(authority.for_tls(), None), "NotEndorsement");
    assert_eq!(judge(authority.without_purpose(), None), "NotEndorsement");
    assert_eq!(
        judge(authority.certificate(), None),
        "AuthorityAsEndorsement"
    );
    let mut edited = right.clone();
    *edited.last_mut().unwrap() ^= 1;
    assert_eq!(judge(edited, None), "CertificateSignature");
    assert!(judge(right[..40].to_vec(), None).starts_with("CertificateMalformed"));
}
