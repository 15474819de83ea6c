//! What is not right is refused before a server starts with it, and the message says what it is.

use hsm_client::kinds::{EcdsaP256, Ed25519};
use hsm_client::tls::rustls::pki_types::CertificateDer;
use hsm_client::tls::{Identity, SigningKey};
use hsm_client::{
    AttributesUpdate, BuiltInRole, ErrorKind, KeySpec, KeyType, Scope, Usage, Usages,
};
use rcgen::date_time_ymd;

use crate::world::{PASSWORD, World};

async fn refusal(
    key: &impl hsm_client::tls::TlsKey,
    chain: Vec<CertificateDer<'static>>,
) -> (ErrorKind, String) {
    let error = Identity::new(key, chain).await.unwrap_err();
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn a_certificate_of_another_key() {
    let world = World::new().await;
    let session = world.app().await;
    let key = session.create::<EcdsaP256>("www").await.unwrap();
    let other = session.create::<EcdsaP256>("other").await.unwrap();
    let of_other = world
        .ca
        .issue(&other.public_key().await.unwrap(), "localhost");
    let (kind, message) = refusal(&key, of_other.clone()).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(message.contains("is for another key"), "{message}");
    assert!(message.contains("any version of key www"), "{message}");

    // The right one does not come first.
    let own = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let (kind, _) = refusal(&key, [of_other.clone(), own.clone()].concat()).await;
    assert_eq!(kind, ErrorKind::InvalidInput);

    // Of another type.
    let edwards = session.create::<Ed25519>("edwards").await.unwrap();
    assert_eq!(
        refusal(&edwards, own.clone()).await.0,
        ErrorKind::InvalidInput
    );

    // An identity that is not renewed stays what it was.
    let identity = Identity::new(&key, own.clone()).await.unwrap();
    identity.renew(&key, of_other).await.unwrap_err();
    assert_eq!(identity.certified_key().cert, own);
}

#[tokio::test]
async fn a_certificate_of_another_version() {
    let world = World::new().await;
    let session = world.app().await;
    let key = session.create::<EcdsaP256>("www").await.unwrap();
    let old = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let new = key.rotate().await.unwrap();
    // The handle that follows rotation finds it, the one of the new version is not for it.
    Identity::new(&key, old.clone()).await.unwrap();
    let (kind, message) = refusal(&key.at(new), old).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(message.contains(&new.to_string()), "{message}");
}

#[tokio::test]
async fn a_certificate_out_of_its_time() {
    let world = World::new().await;
    let key = world.app().await;
    let key = key.create::<EcdsaP256>("www").await.unwrap();
    let public = key.public_key().await.unwrap();
    let past = world.ca.issue_with(&public, "localhost", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let (kind, message) = refusal(&key, past).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(
        message.contains("has expired at 2002-01-01T00:00:00Z"),
        "{message}"
    );
    let future = world.ca.issue_with(&public, "localhost", |params| {
        params.not_before = date_time_ymd(3001, 1, 1);
        params.not_after = date_time_ymd(3002, 1, 1);
    });
    let (kind, message) = refusal(&key, future).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(
        message.contains("not valid before 3001-01-01T00:00:00Z"),
        "{message}"
    );
}

#[tokio::test]
async fn no_certificate() {
    let world = World::new().await;
    let key = world.app().await;
    let key = key.create::<EcdsaP256>("www").await.unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let whole = chain[0].as_ref();
    let cut = whole[..whole.len() - 1].to_vec();
    let longer = [whole, &[0]].concat();
    for chain in [
        vec![],
        vec![vec![]],
        vec![vec![0x30; 99]],
        vec![cut],
        vec![longer],
    ] {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let (kind, message) = refusal(&key, chain).await;
        assert_eq!(kind, ErrorKind::InvalidInput);
        assert!(message.contains("certificate"), "{message}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_sign() {
    let world = World::new().await;
    let session = world.app().await;
    let key = session.create::<EcdsaP256>("www").await.unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    key.update(AttributesUpdate::new().enabled(false))
        .await
        .unwrap();
    assert_eq!(refusal(&key, chain.clone()).await.0, ErrorKind::KeyState);
    key.update(AttributesUpdate::new().enabled(true))
        .await
        .unwrap();

    // One who may read keys and not use them.
    let admin = world.admin().await;
    admin.create_user("auditor", PASSWORD).await.unwrap();
    let role = BuiltInRole::CryptoAuditor;
    admin
        .assign_role(role, "auditor", Scope::Keys)
        .await
        .unwrap();
    let auditor = world.hsm.login("auditor", PASSWORD).await.unwrap();
    let seen = auditor.key::<EcdsaP256>("www").await.unwrap();
    assert_eq!(refusal(&seen, chain).await.0, ErrorKind::Denied);

    // One that TLS does not know, and one that is no signing key at all.
    let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
    let spec = KeySpec::new(KeyType::EcP256K, usages).unwrap();
    let koblitz = session.create_any("koblitz", spec).await.unwrap();
    let error = SigningKey::new(&koblitz).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("no signature scheme"), "{error}");
    let spec = KeySpec::new(KeyType::HmacSha256, usages).unwrap();
    let hmac = session.create_any("hmac", spec).await.unwrap();
    let error = SigningKey::new(&hmac).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
