//! Promise: post-quantum keys are keys as any other: typed, kept across restarts, rotated, moved, verified offline, and used
//! by those whose role allows it.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use home::{Home, PASSWORD, admin, app};
use hsm_client::blocking::{Hsm, Key, Session};
use hsm_client::kinds::{
    Aes256Transport, Encapsulating, MlDsa44, MlDsa65, MlDsa87, MlKem512, MlKem768, MlKem1024,
    Signing, XWing,
};
use hsm_client::{
    ActionSet, Algorithm, DataAction, Encapsulation, ErrorKind, KeyMaterial, KeyType, RoleId,
    Scope, SecretBytes, SignInput, Signature, Wrapped,
};

const MESSAGE: &[u8] = b"still true after the quantum computer";

#[test]
fn ml_dsa_keys_sign_before_and_after_a_restart() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    let signatures = [
        sign::<MlDsa44>(&session, "ML-DSA-44"),
        sign::<MlDsa65>(&session, "ML-DSA-65"),
        sign::<MlDsa87>(&session, "ML-DSA-87"),
    ];
    hsm.close().unwrap();
    let hsm = home.open();
    let session = app(&hsm);
    verify::<MlDsa44>(&session, "ML-DSA-44", &signatures[0]);
    verify::<MlDsa65>(&session, "ML-DSA-65", &signatures[1]);
    verify::<MlDsa87>(&session, "ML-DSA-87", &signatures[2]);
}

fn sign<A: Signing>(session: &Session, name: &str) -> Signature {
    let key = session.create::<A>(name).make().unwrap();
    let jwk = key.public_key().unwrap().to_jwk().unwrap();
    assert_eq!((&*jwk.kty, jwk.alg.as_deref()), ("AKP", Some(name)));
    let (one, two) = (key.sign(MESSAGE).unwrap(), key.sign(MESSAGE).unwrap());
    assert_ne!(one, two, "{name} is hedged");
    key.verify(MESSAGE, &two).unwrap();
    one
}

fn verify<A: Signing>(session: &Session, name: &str, signature: &Signature) {
    let key: Key<A> = session.key(name).unwrap();
    let public = key.public_key().unwrap();
    let offline =
        |message, bytes: &[u8]| public.verify(A::ALGORITHM, SignInput::Message(message), bytes);
    key.verify(MESSAGE, signature).unwrap();
    offline(MESSAGE, signature.bytes()).unwrap();
    let error = key.verify(b"something else", signature).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CryptoFailed, "{name}");
    let error = offline(b"something else", signature.bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CryptoFailed, "{name}");
    // The old version goes on verifying.
    key.rotate().unwrap();
    key.verify(MESSAGE, signature).unwrap();
    let any = session.any_key(name).unwrap();
    let digest = any.sign(A::ALGORITHM, SignInput::Digest(&[7; 64]));
    assert_eq!(
        digest.unwrap_err().kind(),
        ErrorKind::InvalidInput,
        "{name}"
    );
}

#[test]
fn kem_keys_decapsulate_before_and_after_a_restart() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    let sent = [
        encapsulate::<MlKem512>(&session, "ML-KEM-512"),
        encapsulate::<MlKem768>(&session, "ML-KEM-768"),
        encapsulate::<MlKem1024>(&session, "ML-KEM-1024"),
        encapsulate::<XWing>(&session, "X-Wing"),
    ];
    hsm.close().unwrap();
    let hsm = home.open();
    let session = app(&hsm);
    decapsulate::<MlKem512>(&session, "ML-KEM-512", &sent[0]);
    decapsulate::<MlKem768>(&session, "ML-KEM-768", &sent[1]);
    decapsulate::<MlKem1024>(&session, "ML-KEM-1024", &sent[2]);
    decapsulate::<XWing>(&session, "X-Wing", &sent[3]);
}

type Sent = (Encapsulation, Vec<u8>);

fn encapsulate<A: Encapsulating>(session: &Session, name: &str) -> Sent {
    let key = session.create::<A>(name).make().unwrap();
    let (ciphertext, secret) = key.encapsulate().unwrap();
    (ciphertext, secret.expose().to_vec())
}

fn decapsulate<A: Encapsulating>(session: &Session, name: &str, (ciphertext, secret): &Sent) {
    let key: Key<A> = session.key(name).unwrap();
    let received = key.decapsulate(ciphertext).unwrap();
    assert_eq!(received.expose(), secret, "{name}");
    // Who only has the public key does not know the version.
    let unnamed = Encapsulation::new(ciphertext.bytes());
    assert_eq!(key.decapsulate(&unnamed).unwrap().expose(), secret);

    key.rotate().unwrap();
    assert_eq!(key.decapsulate(ciphertext).unwrap().expose(), secret);
    assert_ne!(key.decapsulate(&unnamed).unwrap().expose(), secret);

    let any = session.any_key(name).unwrap();
    let (again, sent) = any.encapsulate(A::ALGORITHM).unwrap();
    let received = any.decapsulate(A::ALGORITHM, &again).unwrap();
    assert_eq!(received.expose(), sent.expose(), "{name}");
    let error = any.encapsulate(Algorithm::EcdhEs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let short = Encapsulation::new(&ciphertext.bytes()[1..]);
    let error = key.decapsulate(&short).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[test]
fn a_post_quantum_key_moves_to_another_hsm() {
    let (here, there) = (Home::new(), Home::new());
    let transport = |hsm: &Hsm| {
        let session = app(hsm);
        let kek = SecretBytes::copy_from(&[7; 32]);
        let key = session.import::<Aes256Transport>("transport", kek);
        let key: Key<Aes256Transport> = key.make().unwrap();
        let version = key.info().unwrap().version;
        (session, key, version)
    };
    let (here, out, _) = transport(&here.1);
    let (there, into, version) = transport(&there.1);
    let key: Key<MlKem768> = here.create("k").exportable().make().unwrap();
    let (ciphertext, sent) = key.encapsulate().unwrap();
    let wrapped = Wrapped::new(version, key.export(&out).unwrap().bytes());
    let arrived = there.import_wrapped("k", &into, &wrapped).make();
    let arrived: Key<MlKem768> = arrived.unwrap();
    assert_eq!(arrived.public_key().unwrap(), key.public_key().unwrap());
    let received = arrived.decapsulate(&Encapsulation::new(ciphertext.bytes()));
    assert_eq!(received.unwrap().expose(), sent.expose());
    let spec = *there.any_key("k").unwrap().spec();
    assert_eq!(spec.key_type, KeyType::MlKem768);
    assert_eq!(spec.algorithm, Some(Algorithm::MlKem768));
}

/// RFC 9964: the seed in `priv`, the public key in `pub`. The seed of zeros is that of its appendix.
#[test]
fn keys_come_in_as_json_web_keys() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let pkcs8 = [
        &[0x30, 0x34, 0x02, 0x01, 0x00, 0x30, 0x0b, 0x06, 0x09][..],
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11],
        &[0x04, 0x22, 0x80, 0x20],
        &[0; 32],
    ]
    .concat();
    let key = session.import::<MlDsa44>("pkcs8", SecretBytes::copy_from(&pkcs8));
    let public = Key::public_key(&key.make().unwrap()).unwrap();
    let mut jwk = public.to_jwk().unwrap();
    let seed = "A".repeat(43);
    let with_seed = |jwk: &hsm_core::Jwk| {
        let json = serde_json::to_string(jwk).unwrap();
        json.replace('{', &format!("{{\"priv\":\"{seed}\","))
    };
    let material = KeyMaterial::from_jwk(with_seed(&jwk).as_bytes()).unwrap();
    assert_eq!(material.key_type(), Some(KeyType::MlDsa44));
    let key = session.import::<MlDsa44>("jwk", SecretBytes::from(material));
    assert_eq!(Key::public_key(&key.make().unwrap()).unwrap(), public);

    jwk.public = jwk.public.map(|public| public.replacen('u', "v", 1));
    let other = KeyMaterial::from_jwk(with_seed(&jwk).as_bytes()).unwrap();
    let other = session.import::<MlDsa44>("other", SecretBytes::from(other));
    let error = other.make().unwrap_err();
    assert!(error.message().contains("does not belong"), "{error}");
    jwk.alg = Some("ML-KEM-768".into());
    let error = KeyMaterial::from_jwk(with_seed(&jwk).as_bytes()).unwrap_err();
    assert!(error.message().contains("`priv`"), "{error}");
}

#[test]
fn who_may_encapsulate_may_not_decapsulate() {
    let (_home, hsm) = Home::new();
    let (admin, session) = (admin(&hsm), app(&hsm));
    let key: Key<MlKem768> = session.create("k").make().unwrap();
    let sender = RoleId::from_u128(7);
    let actions = ActionSet::of(&[DataAction::KeyEncapsulate, DataAction::KeyRead]);
    admin.define_role(sender, "Sender", "", actions).unwrap();
    admin.create_user("sender", PASSWORD).unwrap();
    admin.assign_role(sender, "sender", Scope::Keys).unwrap();
    let theirs: Key<MlKem768> = hsm.login("sender", PASSWORD).unwrap().key("k").unwrap();
    let (ciphertext, sent) = theirs.encapsulate().unwrap();
    let error = theirs.decapsulate(&ciphertext).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let action = DataAction::KeyDecapsulate.name();
    assert!(error.message().contains(action), "{error}");
    assert_eq!(
        key.decapsulate(&ciphertext).unwrap().expose(),
        sent.expose()
    );
}
