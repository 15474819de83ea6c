//! The encoding: one for each report, and nothing else is taken.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};

use super::*;
use crate::key::{Binding, KeySpec, Usage, Usages};

fn signer() -> (SigningKey, PublicKey) {
    let key = SigningKey::from_bytes(&[5; 32]);
    let public = key.verifying_key().to_bytes();
    let public = PublicKey::from_raw(KeyType::Ed25519, public).unwrap();
    (key, public)
}

fn claims() -> Claims {
    let (_, public) = signer();
    let spec = KeySpec::new(KeyType::Ed25519, Usages::of(&[Usage::Sign, Usage::Verify]));
    let request =
        AttestRequest::new(Nonce::new([9; 16]).unwrap()).with_label("payments".parse().unwrap());
    let id = AttestationKeyId::of(&public.to_spki_der().unwrap());
    let binding = Binding::new("test", b"");
    Claims::new(&request, "test", id, spec.unwrap(), Some(public), &binding)
}

fn sign(proof: &Proof) -> Evidence {
    let (key, public) = signer();
    let unsigned = claims().prove(proof, &public).unwrap();
    let signature = key.sign(&unsigned.to_be_signed());
    unsigned.sign(&signature.to_bytes()).unwrap()
}

fn proofs() -> [Proof; 3] {
    let signed = |byte| Signed {
        attested: vec![byte; 100],
        signature: vec![byte; 64],
    };
    let tpm = |quote| {
        Proof::Tpm(Box::new(TpmProof {
            attestation_public: vec![1; 88],
            key_public: vec![2; 88],
            certification: signed(3),
            quote,
            certificates: vec![vec![4; 300]],
        }))
    };
    let quote = Quote {
        signed: signed(5),
        pcrs: BTreeMap::from([(0, [6; 32]), (23, [7; 32])]),
    };
    [Proof::Software(signer().1), tpm(None), tpm(Some(quote))]
}

#[test]
fn what_is_written_is_read() {
    for proof in proofs() {
        let report = sign(&proof).decode().unwrap();
        assert_eq!(*report.claims(), claims());
        assert_eq!(*report.proof(), proof);
        report.verify_signature(&signer().1).unwrap();
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for proof in proofs() {
        let evidence = sign(&proof);
        for bit in 0..evidence.as_bytes().len() * 8 {
            let mut bytes = evidence.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let report = Evidence::from_bytes(bytes).unwrap().decode();
            let verified = report.and_then(|report| report.verify_signature(&signer().1));
            assert!(verified.is_err(), "bit {bit}");
        }
    }
}

#[test]
fn every_truncation_is_malformed() {
    let evidence = sign(&proofs()[2]);
    for len in 0..evidence.as_bytes().len() {
        let cut = Evidence::from_bytes(&evidence.as_bytes()[..len]).unwrap();
        assert!(cut.decode().is_err(), "{len} bytes");
    }
    let longer = [evidence.as_bytes(), &[0]].concat();
    assert!(Evidence::from_bytes(longer).unwrap().decode().is_err());
}

#[test]
fn the_digest_covers_the_claims_and_not_the_proof() {
    let digest = claims().digest().unwrap();
    let mut other = claims();
    other.label = None;
    assert_ne!(other.digest().unwrap(), digest);
    for proof in proofs() {
        assert_eq!(
            sign(&proof).decode().unwrap().claims().digest().unwrap(),
            digest
        );
    }
}

#[test]
fn selections_are_as_a_tpm_has_them() {
    let pcrs = Pcrs::of(&[0, 7, 8, 23]).unwrap();
    assert_eq!(pcrs.to_select(), [0x81, 0x01, 0x80]);
    assert_eq!(pcrs.iter().collect::<Vec<_>>(), [0, 7, 8, 23]);
    assert!(Pcrs::of(&[24]).is_err());
    assert_eq!("".parse::<Pcrs>().unwrap(), Pcrs::NONE);
    assert!("0,,1".parse::<Pcrs>().is_err());
}

#[test]
fn nonces_have_limits() {
    assert!(Nonce::new([0; 7]).is_err());
    assert!(Nonce::new([0; 8]).is_ok());
    assert!(Nonce::new([0; 64]).is_ok());
    let error = Nonce::new([0; 65]).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::LimitExceeded);
}

/// The example of `docs/key_report.md`, which another implementation made.
#[test]
fn the_documented_example_is_what_is_written() {
    let page = include_str!("../../docs/key_report.md");
    let evidence = sign(&proofs()[0]);
    let hexadecimal =
        |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let digest = hexadecimal(&claims().digest().unwrap());
    assert!(
        page.contains(&digest),
        "the digest of the claims is {digest}"
    );
    let dump: String = page.rsplit("```").nth(1).unwrap().lines().skip(1).collect();
    assert_eq!(dump, hexadecimal(evidence.as_bytes()));
}
