//! Promise: a program that is generic over the traits of the crate `signature` takes our keys unchanged, other crates verify
//! what they sign, and it learns why a key would not sign.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/document_signer.rs"]
mod document_signer;
#[path = "support/home.rs"]
mod home;

use std::error::Error as _;
use std::time::Duration;

use home::{Home, PASSWORD, admin, app};
use hsm_client::blocking::{Key, Session};
use hsm_client::kinds::{
    EcdsaP256, EcdsaP256K, EcdsaP384, EcdsaP521, Ed25519, MlDsa44, MlDsa65, MlDsa87,
    RsaPkcs1v15Sign2048, RsaPkcs1v15Sign3072, RsaPkcs1v15Sign4096, RsaPss2048, RsaPss3072,
    RsaPss4096,
};
use hsm_client::signature::ecdsa::der;
use hsm_client::signature::sha2::{Digest, Sha256, Sha384, Sha512};
use hsm_client::signature::spki::DynSignatureAlgorithmIdentifier;
use hsm_client::signature::traits::hazmat::{AsyncPrehashSigner, PrehashSigner};
use hsm_client::signature::traits::{
    AsyncDigestSigner, AsyncSigner, DigestSigner, DigestVerifier, Keypair, MultipartSigner, Signer,
    Verifier,
};
use hsm_client::signature::{
    BlockingSigner, SignatureKind, ecdsa, ed25519_dalek, k256, ml_dsa, p256, p384, p521, rsa,
    traits,
};
use hsm_client::{AttributesUpdate, Clock, Error, ErrorKind, SignInput};
use pollster::block_on;

const DOCUMENT: &[u8] = b"pay 100 to Alice";

/// Signs with both faces of the key's signer and verifies with the other crate's key alone.
macro_rules! kinds {
    ($($name:ident: $kind:ty, $signature:ty, $verifying_key:ty;)*) => {
        $(
            #[test]
            fn $name() {
                let (_home, hsm) = Home::new();
                let key = app(&hsm).create::<$kind>("key").make().unwrap();
                let signer = key.signer().unwrap();

                let signed = document_signer::sign::<_, $signature>(&signer, DOCUMENT).unwrap();
                document_signer::verify::<$verifying_key, $signature>(&signed).unwrap();
                assert_eq!(signed.public_key, key.public_key().unwrap().to_spki_der().unwrap());

                let async_signer = signer.as_async();
                let mut signed =
                    block_on(document_signer::sign_async::<_, $signature>(async_signer, DOCUMENT)).unwrap();
                document_signer::verify::<$verifying_key, $signature>(&signed).unwrap();
                signed.document[0] ^= 1;
                assert!(document_signer::verify::<$verifying_key, $signature>(&signed).is_err());
            }
        )*
    };
}

kinds! {
    ecdsa_p256: EcdsaP256, ecdsa::Signature<p256::NistP256>, p256::ecdsa::VerifyingKey;
    ecdsa_p256_der: EcdsaP256, der::Signature<p256::NistP256>, p256::ecdsa::VerifyingKey;
    ecdsa_p384: EcdsaP384, ecdsa::Signature<p384::NistP384>, p384::ecdsa::VerifyingKey;
    ecdsa_p384_der: EcdsaP384, der::Signature<p384::NistP384>, p384::ecdsa::VerifyingKey;
    ecdsa_p521: EcdsaP521, ecdsa::Signature<p521::NistP521>, p521::ecdsa::VerifyingKey;
    ecdsa_p521_der: EcdsaP521, der::Signature<p521::NistP521>, p521::ecdsa::VerifyingKey;
    ecdsa_secp256k1: EcdsaP256K, ecdsa::Signature<k256::Secp256k1>, k256::ecdsa::VerifyingKey;
    ecdsa_secp256k1_der: EcdsaP256K, der::Signature<k256::Secp256k1>, k256::ecdsa::VerifyingKey;
    ed25519: Ed25519, ed25519_dalek::Signature, ed25519_dalek::VerifyingKey;
    ml_dsa_44: MlDsa44, ml_dsa::Signature<ml_dsa::MlDsa44>, ml_dsa::VerifyingKey<ml_dsa::MlDsa44>;
    ml_dsa_65: MlDsa65, ml_dsa::Signature<ml_dsa::MlDsa65>, ml_dsa::VerifyingKey<ml_dsa::MlDsa65>;
    ml_dsa_87: MlDsa87, ml_dsa::Signature<ml_dsa::MlDsa87>, ml_dsa::VerifyingKey<ml_dsa::MlDsa87>;
    rsa_pkcs1_2048: RsaPkcs1v15Sign2048, rsa::pkcs1v15::Signature, rsa::pkcs1v15::VerifyingKey<Sha256>;
    rsa_pkcs1_3072: RsaPkcs1v15Sign3072, rsa::pkcs1v15::Signature, rsa::pkcs1v15::VerifyingKey<Sha256>;
    rsa_pkcs1_4096: RsaPkcs1v15Sign4096, rsa::pkcs1v15::Signature, rsa::pkcs1v15::VerifyingKey<Sha512>;
    rsa_pss_2048: RsaPss2048, rsa::pss::Signature, rsa::pss::VerifyingKey<Sha256>;
    rsa_pss_3072: RsaPss3072, rsa::pss::Signature, rsa::pss::VerifyingKey<Sha256>;
    rsa_pss_4096: RsaPss4096, rsa::pss::Signature, rsa::pss::VerifyingKey<Sha512>;
}

/// The program is no stranger to keys in memory: what it makes with one of the HSM is of the same form.
#[test]
fn what_the_program_makes_looks_as_with_a_key_in_memory() {
    let (_home, hsm) = Home::new();
    let key = app(&hsm).create::<EcdsaP256>("key").make().unwrap();
    let in_memory = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let with_hsm =
        document_signer::sign::<_, p256::ecdsa::Signature>(&key.signer().unwrap(), DOCUMENT)
            .unwrap();
    let with_memory =
        document_signer::sign::<_, p256::ecdsa::Signature>(&in_memory, DOCUMENT).unwrap();
    assert_eq!(with_hsm.algorithm, with_memory.algorithm);
    assert_eq!(with_hsm.public_key.len(), with_memory.public_key.len());
    assert_eq!(with_hsm.signature.len(), with_memory.signature.len());
    assert_ne!(with_hsm.public_key, with_memory.public_key);
}

/// RFC 5758 section 3.2, RFC 8410 section 3, RFC 4055 sections 3.1 and 5, RFC 9881 section 2.
#[test]
fn every_kind_names_its_algorithm_as_x509_does() {
    fn named<A: SignatureKind>() -> (String, Option<Vec<u8>>) {
        let identifier = A::algorithm_identifier().unwrap();
        let parameters = identifier.parameters;
        (
            identifier.oid.to_string(),
            parameters.map(|any| any.value().to_vec()),
        )
    }
    let plain = |oid: &str| (oid.to_owned(), None);
    let null = |oid: &str| (oid.to_owned(), Some(Vec::new()));
    assert_eq!(named::<EcdsaP256>(), plain("1.2.840.10045.4.3.2"));
    assert_eq!(named::<EcdsaP256K>(), plain("1.2.840.10045.4.3.2"));
    assert_eq!(named::<EcdsaP384>(), plain("1.2.840.10045.4.3.3"));
    assert_eq!(named::<EcdsaP521>(), plain("1.2.840.10045.4.3.4"));
    assert_eq!(named::<Ed25519>(), plain("1.3.101.112"));
    assert_eq!(named::<MlDsa44>(), plain("2.16.840.1.101.3.4.3.17"));
    assert_eq!(named::<MlDsa65>(), plain("2.16.840.1.101.3.4.3.18"));
    assert_eq!(named::<MlDsa87>(), plain("2.16.840.1.101.3.4.3.19"));
    assert_eq!(
        named::<RsaPkcs1v15Sign2048>(),
        null("1.2.840.113549.1.1.11")
    );
    assert_eq!(
        named::<RsaPkcs1v15Sign3072>(),
        null("1.2.840.113549.1.1.11")
    );
    assert_eq!(
        named::<RsaPkcs1v15Sign4096>(),
        null("1.2.840.113549.1.1.13")
    );
    for (pss, salt) in [
        (named::<RsaPss2048>(), 32),
        (named::<RsaPss3072>(), 32),
        (named::<RsaPss4096>(), 64),
    ] {
        assert_eq!(pss.0, "1.2.840.113549.1.1.10");
        assert_eq!(pss.1.unwrap().last(), Some(&salt));
    }
}

#[test]
fn digests_are_signed_with_the_hash_of_the_algorithm() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let p384 = session.create::<EcdsaP384>("p384").make().unwrap();
    let rsa = session.create::<RsaPss2048>("rsa").make().unwrap();
    let (p384, rsa) = (p384.signer().unwrap(), rsa.signer().unwrap());

    let signature: p384::ecdsa::Signature = p384.sign_digest(|digest: &mut Sha384| {
        digest.update(&DOCUMENT[..3]);
        digest.update(&DOCUMENT[3..]);
    });
    p384.verifying_key().verify(DOCUMENT, &signature).unwrap();
    let whole = |digest: &mut Sha384| {
        digest.update(DOCUMENT);
        Ok(())
    };
    p384.verify_digest(whole, &signature).unwrap();
    let signature: p384::ecdsa::DerSignature = block_on(
        p384.as_async()
            .sign_digest_async(async |digest: &mut Sha384| whole(digest)),
    )
    .unwrap();
    p384.as_async().verify(DOCUMENT, &signature).unwrap();
    let signature: p384::ecdsa::Signature = p384.sign_prehash(&Sha384::digest(DOCUMENT)).unwrap();
    p384.verify(DOCUMENT, &signature).unwrap();
    let signature: rsa::pss::Signature =
        block_on(rsa.as_async().sign_prehash_async(&Sha256::digest(DOCUMENT))).unwrap();
    rsa.verify(DOCUMENT, &signature).unwrap();
    let signature: rsa::pss::Signature = rsa.multipart_sign(&[b"pay 100", b" to ", b"Alice"]);
    rsa.verify(DOCUMENT, &signature).unwrap();

    let result: traits::Result<rsa::pss::Signature> = rsa.sign_prehash(&Sha384::digest(DOCUMENT));
    assert_eq!(cause(&result.unwrap_err()).kind(), ErrorKind::InvalidInput);
}

/// Half of the signatures that are made on secp256k1 have the greater s, which `k256` refuses.
#[test]
fn signatures_on_secp256k1_are_such_as_its_crate_takes() {
    let (_home, hsm) = Home::new();
    let key = app(&hsm).create::<EcdsaP256K>("key").make().unwrap();
    let signer = key.signer().unwrap();
    for number in 0..64_u8 {
        let signature: k256::ecdsa::Signature = signer.sign(&[number]);
        signer
            .verifying_key()
            .verify(&[number], &signature)
            .unwrap();
        key.verify(
            &[number],
            &hsm_client::Signature::new(signature.to_bytes().to_vec()),
        )
        .unwrap();
    }
}

#[test]
fn a_signer_stays_at_its_version() {
    let (_home, hsm) = Home::new();
    let key = app(&hsm).create::<Ed25519>("key").make().unwrap();
    let old = key.signer().unwrap();
    let version = key.rotate().unwrap();
    let new = key.signer().unwrap();
    assert_eq!(new.version(), version);
    assert_ne!(old.version(), version);
    assert_eq!(
        key.at(old.version()).signer().unwrap().verifying_key(),
        old.verifying_key()
    );

    let signature = old.sign(DOCUMENT);
    old.verify(DOCUMENT, &signature).unwrap();
    new.verify(DOCUMENT, &signature).unwrap_err();
    old.public_key()
        .verify(
            hsm_client::Algorithm::EdDsa,
            SignInput::Message(DOCUMENT),
            &signature.to_bytes(),
        )
        .unwrap();
    assert!(old.signature_algorithm_identifier().is_ok());
    let printed = format!("{:?} {:?}", old, new.clone().as_async());
    assert!(printed.starts_with("BlockingSigner(Key(key/"), "{printed}");
}

/// An expired key, a disabled one, a deleted one, a session that has ended, a role that was taken away, a message that is
/// too long: each says why.
#[test]
fn the_cause_of_a_refusal_is_its_source() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    let expired = signer(&session, "expired");
    expired
        .0
        .update(AttributesUpdate::new().expires(home.clock.now() + Duration::from_secs(60)))
        .unwrap();
    let disabled = signer(&session, "disabled");
    let deleted = signer(&session, "deleted");
    assert!(expired.1.try_sign(DOCUMENT).is_ok());

    home.clock.advance(Duration::from_secs(61));
    refused(&expired.1, ErrorKind::KeyState, "expired");
    disabled
        .0
        .update(AttributesUpdate::new().enabled(false))
        .unwrap();
    refused(&disabled.1, ErrorKind::KeyState, "disabled");
    disabled
        .0
        .update(AttributesUpdate::new().enabled(true))
        .unwrap();
    assert!(disabled.1.try_sign(DOCUMENT).is_ok());
    deleted.0.delete().unwrap();
    refused(&deleted.1, ErrorKind::NotFound, "deleted");
    assert_eq!(deleted.0.signer().unwrap_err().kind(), ErrorKind::NotFound);
    let error = disabled.1.try_sign(&vec![0; (16 << 20) + 1]).unwrap_err();
    assert_eq!(cause(&error).kind(), ErrorKind::LimitExceeded);

    let other = hsm.login("app", PASSWORD).unwrap();
    let ended = other.key::<Ed25519>("disabled").unwrap().signer().unwrap();
    other.logout();
    refused(&ended, ErrorKind::Unauthenticated, "session");

    let admin = admin(&hsm);
    for assignment in admin.role_assignments(None).unwrap() {
        if assignment.principal.as_str() == "app" {
            admin.unassign_role(assignment.id).unwrap();
        }
    }
    refused(&disabled.1, ErrorKind::Denied, "sign");
}

fn signer(session: &Session, name: &str) -> (Key<Ed25519>, BlockingSigner<Ed25519>) {
    let key = session.create::<Ed25519>(name).make().unwrap();
    let signer = key.signer().unwrap();
    (key, signer)
}

fn refused(signer: &BlockingSigner<Ed25519>, kind: ErrorKind, word: &str) {
    let sync = signer.try_sign(DOCUMENT).unwrap_err();
    let asynchronous = block_on(signer.as_async().sign_async(DOCUMENT)).unwrap_err();
    for error in [sync, asynchronous] {
        let cause = cause(&error);
        assert_eq!(cause.kind(), kind, "{cause}");
        assert!(cause.to_string().contains(word), "{cause}");
    }
}

fn cause(error: &traits::Error) -> &Error {
    error.source().unwrap().downcast_ref().unwrap()
}

/// Executors with several threads move what they run.
#[test]
fn what_a_signer_awaits_may_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (_home, hsm) = Home::new();
    let key = app(&hsm).create::<Ed25519>("key").make().unwrap();
    let made = is_send(key.as_async().signer());
    let signer = block_on(made).unwrap();
    let signature = std::thread::scope(|scope| {
        let signing = is_send(signer.sign_async(DOCUMENT));
        scope.spawn(move || block_on(signing)).join().unwrap()
    });
    signer.verify(DOCUMENT, &signature.unwrap()).unwrap();
}
