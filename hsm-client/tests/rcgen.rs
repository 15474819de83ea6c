//! Promise: code that makes its certificates with the crate `rcgen` takes our keys, and what it makes verifies.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use home::{Home, admin, app};
use hsm_client::kinds::{
    EcdsaP256, EcdsaP256K, EcdsaP384, EcdsaP521, Ed25519, MlDsa65, RsaPkcs1v15Sign2048, RsaPss2048,
    Signing,
};
use hsm_client::rcgen::rcgen::{self, CertificateParams, SigningKey};
use hsm_client::x509::x509_cert::der::{DecodePem, Encode};
use hsm_client::x509::{self, Certificate, CertificateRequest};
use hsm_client::{AttributesUpdate, ErrorKind, SignInput};

/// Any code that knows `rcgen` only.
fn make(key: &impl SigningKey) -> Result<(String, String), rcgen::Error> {
    let params = CertificateParams::new(["www.example.com".to_owned()])?;
    let request = params.serialize_request(key)?.pem()?;
    Ok((params.self_signed(key)?.pem(), request))
}

#[test]
fn certificates_and_requests_are_for_the_key_and_verify() {
    fn check<A: Signing>(session: &hsm_client::blocking::Session, signature: fn(&[u8]) -> Vec<u8>) {
        let name = A::ALGORITHM.to_string();
        let key = session.create::<A>(&name).make().unwrap();
        let (certificate, request) = make(&key.rcgen_key().unwrap()).unwrap();
        let public = key.public_key().unwrap();

        let certificate = Certificate::from_pem(&certificate).unwrap();
        x509::check_key(&certificate, &public).unwrap();
        let message = certificate.tbs_certificate().to_der().unwrap();
        let bytes = signature(certificate.signature().as_bytes().unwrap());
        public
            .verify(A::ALGORITHM, SignInput::Message(&message), &bytes)
            .unwrap();
        let request = CertificateRequest::from_pem(&request).unwrap();
        assert_eq!(
            request.public_key().to_der().unwrap(),
            public.to_spki_der().unwrap()
        );
        assert_eq!(request.alternative_names().len(), 1);
    }
    use hsm_client::signature::{ecdsa, p256, p384, p521};
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    check::<EcdsaP256>(&session, |der| {
        let signature = ecdsa::der::Signature::<p256::NistP256>::from_bytes(der).unwrap();
        ecdsa::Signature::try_from(signature)
            .unwrap()
            .to_bytes()
            .to_vec()
    });
    check::<EcdsaP384>(&session, |der| {
        let signature = ecdsa::der::Signature::<p384::NistP384>::from_bytes(der).unwrap();
        ecdsa::Signature::try_from(signature)
            .unwrap()
            .to_bytes()
            .to_vec()
    });
    check::<EcdsaP521>(&session, |der| {
        let signature = ecdsa::der::Signature::<p521::NistP521>::from_bytes(der).unwrap();
        ecdsa::Signature::try_from(signature)
            .unwrap()
            .to_bytes()
            .to_vec()
    });
    check::<Ed25519>(&session, <[u8]>::to_vec);
    check::<MlDsa65>(&session, <[u8]>::to_vec);
    check::<RsaPkcs1v15Sign2048>(&session, <[u8]>::to_vec);
}

#[test]
fn what_rcgen_has_not_is_said_at_once() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let pss = session.create::<RsaPss2048>("pss").make().unwrap();
    let k256 = session.create::<EcdsaP256K>("k256").make().unwrap();
    for error in [pss.rcgen_key().unwrap_err(), k256.rcgen_key().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("x509"), "{error}");
    }
}

#[test]
fn the_cause_of_a_refusal_can_be_had() {
    let (_home, hsm) = Home::new();
    let key = app(&hsm).create::<Ed25519>("key").make().unwrap();
    let remote = key.rcgen_key().unwrap();
    make(&remote).unwrap();
    assert!(remote.take_error().is_none());
    key.update(AttributesUpdate::new().enabled(false)).unwrap();
    assert_eq!(make(&remote).unwrap_err(), rcgen::Error::RemoteKeyError);
    assert_eq!(remote.take_error().unwrap().kind(), ErrorKind::KeyState);
    assert!(remote.take_error().is_none());
    assert!(format!("{remote:?}").starts_with("RcgenKey(Key(key/"));
    admin(&hsm).delete_user("app").unwrap();
    make(&remote).unwrap_err();
    assert_eq!(
        remote.take_error().unwrap().kind(),
        ErrorKind::Unauthenticated
    );
}
