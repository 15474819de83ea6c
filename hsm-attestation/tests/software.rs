//! A report of software is never taken for one of a TPM, and only if one says so; and it is COSE as others read it.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use coset::{CborSerializable, CoseSign1, TaggedCborSerializable};
use futures_executor::block_on;
use hsm_attestation::{Level, Nonce, Verifier, VerifyError};
use hsm_backend_soft::SoftDevice;
use hsm_core::attestation::{AttestRequest, Evidence, Pcrs, Proof};
use hsm_core::{Algorithm, Binding, Device, KeySpec, KeyType, PublicKey, SignInput, Usage, Usages};

struct Report {
    evidence: Evidence,
    public: PublicKey,
}

fn nonce() -> Nonce {
    Nonce::new([7; 32]).unwrap()
}

fn report() -> Report {
    let device = SoftDevice::in_memory().unwrap();
    let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign])).unwrap();
    let binding = Binding::new("test", b"a key");
    let key = block_on(device.generate(&spec, &binding)).unwrap();
    let request = AttestRequest::new(nonce())
        .with_pcrs(Pcrs::of(&[7]).unwrap())
        .with_label("payments".parse().unwrap());
    Report {
        evidence: block_on(device.attest(&key.sealed, &binding, &request)).unwrap(),
        public: key.public.unwrap(),
    }
}

impl Report {
    fn enrolled(&self) -> Verifier {
        let report = self.evidence.decode().unwrap();
        Verifier::new(nonce()).trust_attestation_key(report.claims().attestation_key)
    }

    fn verdict(&self, verifier: Verifier) -> String {
        match verifier.verify(self.evidence.as_bytes()) {
            Ok(verified) => format!("{}", verified.level()),
            Err(error) => format!("{error:?}"),
        }
    }
}

#[test]
fn software_is_believed_only_if_one_says_so() {
    let report = report();
    assert_eq!(report.verdict(report.enrolled()), "SoftwareNotAccepted");
    let accepting = || report.enrolled().accept_software();
    assert_eq!(report.verdict(accepting()), "software");
    assert_eq!(
        report.verdict(accepting().expect_pcr(7, [0; 32])),
        "QuoteMissing"
    );
    assert_eq!(
        report.verdict(accepting().trust_root([0; 4])),
        "CertificateMissing"
    );
    assert_eq!(
        report.verdict(accepting().expect_label("payroll".parse().unwrap())),
        "Label"
    );
    let expected = accepting()
        .expect_label("payments".parse().unwrap())
        .expect_public_key(report.public.clone());
    let verified = expected.verify(report.evidence.as_bytes()).unwrap();
    assert_eq!(verified.level(), Level::Software);
    assert!(verified.tpm().is_none());
}

#[test]
fn another_device_is_not_trusted() {
    let (report, other) = (report(), report());
    let verifier = other.enrolled().accept_software();
    let verdict = verifier.verify(report.evidence.as_bytes());
    assert!(matches!(
        verdict,
        Err(VerifyError::AttestationKeyNotTrusted(_))
    ));
    let another = Nonce::new([8; 32]).unwrap();
    let verifier = Verifier::new(another).danger_any_attestation_key();
    assert_eq!(report.verdict(verifier.accept_software()), "Nonce");
}

#[test]
fn no_bit_can_be_flipped() {
    let report = report();
    let verifier = report.enrolled().accept_software();
    let bytes = report.evidence.as_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verifier.verify(&flipped).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        let cut = verifier.verify(&bytes[..len]);
        assert!(matches!(cut, Err(VerifyError::Malformed(_))), "{len} bytes");
    }
}

/// Another implementation of COSE reads the report, and finds the same bytes signed.
#[test]
fn it_is_a_cose_sign1() {
    let report = report();
    let cose = CoseSign1::from_tagged_slice(report.evidence.as_bytes()).unwrap();
    assert!(cose.unprotected.is_empty());
    let decoded = report.evidence.decode().unwrap();
    let Proof::Software(key) = decoded.proof() else {
        panic!("software: {decoded:?}");
    };
    cose.verify_signature(b"", |signature, message| {
        key.verify(Algorithm::EdDsa, SignInput::Message(message), signature)
    })
    .unwrap();
    assert!(CoseSign1::from_slice(report.evidence.as_bytes()).is_err());
}
