//! What `docs/migration.md` and `docs/backends.md` call by a name is there under that name: the functions below are compiled,
//! and every name in code on the two pages stands in them.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hsm_client::kinds::{
    Aes256Gcm, Aes256Kwp, Aes256Transport, EcdhP256, EcdsaP256, Ed25519, HmacSha256, Kdk256,
    RsaPss3072, X25519,
};
use hsm_client::remote::ClientCredentials;
use hsm_client::{
    Algorithm, AttributesUpdate, BuiltInRole, Credentials, ErrorKind, Hsm, Key, KeyMaterial,
    OpenOptions, PublicKey, Result, RotationPolicy, Scope, Session, SignInput, Timestamp,
};
use hsm_core::Device;

/// This file. What stands above the first test counts.
const SOURCE: &str = include_str!("pages.rs");

async fn pem_files(app: &Session, pem: &str, message: &[u8]) -> Result<()> {
    let key = app
        .import::<EcdsaP256>("name", KeyMaterial::from_pem(pem)?)
        .await?;
    app.create::<EcdsaP256>("name").await?;
    app.key::<EcdsaP256>("name").await?;
    let made = key.sign(message).await?;
    let public = PublicKey::from_pem(pem)?;
    PublicKey::to_der_signature(&public, Algorithm::Es256, made.bytes())?;
    let signed = SignInput::Message(message);
    PublicKey::from_pem(pem)?.verify(Algorithm::EdDsa, signed, made.bytes())?;
    let _: hsm_client::signature::Signer<EcdsaP256> = key.signer().await?;
    let cipher: Key<Aes256Gcm> = app.key("name").await?;
    Key::<Aes256Gcm>::encrypt_with_aad(&cipher, b"", b"").await?;
    let kek: Key<Aes256Kwp> = app.key("name").await?;
    let _ = hsm_client::envelope::Envelope::new(app, &kek);
    let mac: Key<HmacSha256> = app.key("name").await?;
    Key::<HmacSha256>::mac(&mac, message).await?;
    let secret: Key<Kdk256> = app.key("name").await?;
    Key::<Kdk256>::hkdf(&secret, b"", b"", 32).await?;
    let ours: Key<EcdhP256> = app.key("name").await?;
    Key::<EcdhP256>::agree(&ours, &public).await?;
    let ours: Key<X25519> = app.key("name").await?;
    Key::<X25519>::agree(&ours, &public).await?;
    hsm_client::tls::Identity::new(&key, Vec::new()).await?;
    let _ = hsm_client::jose::Issuer::builder(key.clone()).build()?;
    let validity = hsm_client::x509::days(1)?;
    hsm_client::x509::CertificateAuthority::root(app, &key, "CN=name", validity).await?;
    let _: hsm_client::rcgen::RcgenKey<EcdsaP256> = key.rcgen_key().await?;
    Ok(())
}

async fn pkcs11(url: &str, user: &str, password: &str) -> Result<()> {
    let hsm = Hsm::open(url).await?;
    let app = hsm.login(user, password).await?;
    let key: Key<EcdsaP256> = app.key("name").await?;
    let digest = [0; 32];
    key.sign_digest(&digest).await?;
    let pss: Key<RsaPss3072> = app.key("name").await?;
    let transport: Key<Aes256Transport> = app.key("transport").await?;
    let wrapped = key.export(&transport).await?;
    Key::<RsaPss3072>::export(&pss, &transport).await?;
    Session::import_wrapped::<EcdsaP256, _>(&app, "name", &transport, &wrapped).await?;
    let imported = app.import_wrapped::<EcdsaP256, _>("name", &transport, &wrapped);
    let now = Timestamp::from_unix_seconds(0);
    imported.exportable().not_before(now).expires(now).await?;
    app.import_wrapped_bare::<EcdsaP256, _>("name", &transport, &wrapped)
        .await?;
    let len = 32;
    let failure = app.random(len).await.unwrap_err();
    assert_ne!(failure.kind(), ErrorKind::Unsupported);
    key.delete().await?;
    Ok(())
}

async fn yubihsm(app: &Session, nonce: &hsm_client::attestation::Nonce, data: &[u8]) -> Result<()> {
    let key: Key<Ed25519> = app.key("name").await?;
    Key::<Ed25519>::sign(&key, data).await?;
    key.attest(nonce).await?;
    Ok(())
}

async fn azure(url: &str, session: &Session, name: &str, principal: &str) -> Result<()> {
    let credentials = ClientCredentials::new("client", "secret");
    let options = OpenOptions::new();
    let hsm = Hsm::open_with(url, options.token_source(credentials)).await?;
    hsm.login_with(Credentials::Connection).await?;
    let key: Key<EcdsaP256> = session.key(name).await?;
    let version = key.info().await?.version;
    let _ = key.at(version);
    let key: Key<Aes256Kwp> = session.key(name).await?;
    let bytes = [0; 32];
    let wrapped = key.wrap(&bytes).await?;
    key.unwrap(&wrapped).await?;
    key.update(AttributesUpdate::new().enabled(false)).await?;
    key.rotate().await?;
    key.set_rotation_policy(RotationPolicy::rotate_after("P90D")?)
        .await?;
    session.recover_key(name).await?;
    session.purge_key(name).await?;
    let backup = session.backup_key(name).await?;
    session.restore_key(&backup).await?;
    session
        .assign_role(BuiltInRole::CryptoUser, principal, Scope::Keys)
        .await?;
    Ok(())
}

/// The rest: a trait, a handle of any kind, words of the text.
fn own<A>(_: &dyn Device, _: &Key<A>) {}

#[test]
fn every_name_on_the_pages_is_there() {
    // Named, so that they are compiled and in use.
    let _ = (pem_files, pkcs11, yubihsm, azure, own::<EcdsaP256>);
    let (compiled, _) = SOURCE.split_once("#[test]").unwrap();
    let compiled: BTreeSet<_> = words(compiled).collect();
    for page in ["migration.md", "backends.md"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let text = fs::read_to_string(folder.join(page)).unwrap();
        let mut names = 0;
        for span in text.lines().flat_map(ours).filter(|span| is_code(span)) {
            for name in words(span) {
                names += 1;
                assert!(
                    compiled.contains(name),
                    "docs/{page} has `{span}`, and {name} is not compiled"
                );
            }
        }
        assert!(names > 10, "docs/{page}: {names} names");
    }
}

/// The spans of code in a line. Headings, and the first column of a table, are about other libraries.
fn ours(line: &str) -> impl Iterator<Item = &str> {
    let line = match line.strip_prefix("| ") {
        Some(row) => row.split_once(" | ").map_or("", |(_, ours)| ours),
        None if line.starts_with('#') => "",
        None => line,
    };
    line.split('`').skip(1).step_by(2)
}

/// Not a URL, a path, a command, or the name of a crate.
fn is_code(span: &str) -> bool {
    let other = ["/", " -", "-", ": ", "\\"];
    !other.iter().any(|sign| span.contains(sign)) && !span.replace("::", "").contains(':')
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| {
            word.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        })
}
