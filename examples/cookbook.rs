//! The recipes of `docs/cookbook.md`, and below them a `main` that runs every one.
//!
//! `cargo run -p hsm-examples --bin cookbook`

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hsm_client::attestation::{AttestationKeyId, Evidence, Nonce};
use hsm_client::cms::{DetachedSignature, DocumentSigner, Purpose, Trust};
use hsm_client::envelope::Envelope;
use hsm_client::jose::{Issuer, Validation};
use hsm_client::kinds::{Aes256Gcm, Aes256Kwp, EcdhP256, EcdsaP256, EcdsaP384, HmacSha256, Kdk256};
use hsm_client::lifecycle::Event;
use hsm_client::signature::p384;
use hsm_client::signature::traits::{AsyncSigner, Verifier};
use hsm_client::tls::rustls::pki_types::{CertificateDer, pem::PemObject};
use hsm_client::tls::rustls::server::WebPkiClientVerifier;
use hsm_client::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use hsm_client::tls::{Acceptor, Connector, Identity, Tickets};
use hsm_client::x509::{
    self, Certificate, CertificateAuthority, CertificateRequest, CrlReason, Profile,
};
use hsm_client::{
    Algorithm, AttributesUpdate, BuiltInRole, Credentials, ErrorKind, Hsm, Key, KeyMaterial,
    OpenOptions, PageRequest, PublicKey, RotationPolicy, Scope, Session, Setup, SignInput,
    Timestamp, attestation, audit, cms, jose,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha384};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const ADMIN_PASSWORD: &str = "an administrator's password";
const OFFICER_PASSWORD: &str = "the officer's password";
const APP_PASSWORD: &str = "the application's password";
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Make an HSM with its users: an administrator, an officer, and the application.
async fn set_up(url: &str) -> Outcome<(Hsm, PublicKey)> {
    let setup = Setup::new("admin", ADMIN_PASSWORD).passphrase("what the domain key rests under");
    let hsm = Hsm::create(url, setup).await?;
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    admin.create_user("officer", OFFICER_PASSWORD).await?;
    admin.create_user("app", APP_PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoOfficer, "officer", Scope::Global)
        .await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .await?;
    let audit_key = hsm.audit_key().ok_or("a local HSM has one")?.clone(); // keep it elsewhere
    Ok((hsm, audit_key))
}

/// Open it again, in another process or after a restart.
async fn open(url: &str) -> Outcome<Session> {
    let options = OpenOptions::new().passphrase("what the domain key rests under");
    let hsm = Hsm::open_with(url, options).await?;
    Ok(hsm.login("app", APP_PASSWORD).await?)
}

/// Sign.
async fn sign(app: &Session) -> Outcome<Vec<u8>> {
    let key = app.create::<EcdsaP384>("invoices").await?;
    let signature = key.sign(b"pay 100 to Alice").await?;
    Ok(signature.into_bytes())
}

/// Sign what is too large to send: its digest.
async fn sign_digest(app: &Session, parts: &[&[u8]]) -> Outcome<Vec<u8>> {
    let key: Key<EcdsaP384> = app.key("invoices").await?;
    let mut hash = Sha384::new();
    for part in parts {
        hash.update(part);
    }
    Ok(key.sign_digest(&hash.finalize()).await?.into_bytes())
}

/// Give a key to code that knows the traits of the crate `signature`.
async fn hand_over(app: &Session) -> Outcome {
    let key: Key<EcdsaP384> = app.key("invoices").await?;
    let signer = key.signer().await?; // `blocking()` has the sync traits
    let message = b"pay 100 to Alice";
    let signature = AsyncSigner::<p384::ecdsa::Signature>::sign_async(&signer, message).await?;
    signer.verify(message, &signature)?; // with the public half, here
    Ok(())
}

/// Sign a document, with the certificate that says whose key it is.
async fn sign_document(
    app: &Session,
    certificate: Certificate,
    document: &Path,
) -> Outcome<String> {
    let key = app.key::<EcdsaP256>("alice").await?;
    let signer = DocumentSigner::new(&key, certificate, []).await?; // `[]`: authorities between
    let signature = signer.sign(File::open(document)?).await?;
    Ok(signature.to_pem()?)
}

/// Verify a signed document, without an HSM.
fn verify_document(signature: &str, document: &Path, root: Certificate) -> Outcome {
    let signature = DetachedSignature::from_pem(signature)?;
    let trust = Trust::new(Purpose::DocumentSigning, [root])?;
    for signer in cms::verify(&signature, File::open(document)?, &trust)? {
        let certificate = signer.certificate().tbs_certificate();
        println!("{} signed it", certificate.subject());
    }
    Ok(())
}

/// Verify in the HSM.
async fn verify(app: &Session, signature: &[u8]) -> Outcome {
    let key: Key<EcdsaP384> = app.key("invoices").await?;
    let signature = hsm_client::Signature::new(signature);
    key.verify(b"pay 100 to Alice", &signature).await?;
    Ok(())
}

/// Verify without an HSM.
fn verify_anywhere(pem: &str, signature: &[u8]) -> Outcome {
    let key = PublicKey::from_pem(pem)?;
    let message = SignInput::Message(b"pay 100 to Alice");
    key.verify(Algorithm::Es384, message, signature)?;
    Ok(())
}

/// Authenticate a message with a secret key.
async fn authenticate(app: &Session) -> Outcome {
    let key = app.create::<HmacSha256>("webhooks").await?;
    let tag = key.mac(b"event 7: paid").await?;
    key.verify_mac(b"event 7: paid", &tag).await?;
    Ok(())
}

/// Encrypt a value.
async fn encrypt(app: &Session) -> Outcome {
    let key = app.create::<Aes256Gcm>("cards").await?;
    let row = b"customers/17"; // authenticated along with it, so that rows cannot be swapped
    let encrypted = key.encrypt_with_aad(b"4111 1111 1111 1111", row).await?;
    let stored = encrypted.to_bytes();

    let encrypted = hsm_client::Encrypted::from_bytes(&stored)?;
    let card = key.decrypt_with_aad(&encrypted, row).await?;
    assert_eq!(card.expose(), b"4111 1111 1111 1111");
    Ok(())
}

/// Encrypt a file of any size.
async fn encrypt_file(app: &Session, file: &Path, encrypted: &Path) -> Outcome {
    let kek = app.create::<Aes256Kwp>("archive").await?; // wraps the key of each file
    let envelope = Envelope::new(app, &kek);
    let output = File::create(encrypted)?;
    let mut encryptor = envelope.encrypt_to(output, b"archive").await?;
    encryptor.copy_from(&mut File::open(file)?)?;
    encryptor.finish()?;

    let input = File::open(encrypted)?;
    let decryptor = envelope.decrypt_from(input, b"archive").await?;
    decryptor.into_file(file)?; // the whole file, or nothing
    Ok(())
}

/// Wrap a key.
async fn wrap(app: &Session) -> Outcome {
    let wrapping = app.create::<Aes256Kwp>("wrapping").await?;
    let data_key = app.random(32).await?; // wiped when it is dropped
    let wrapped = wrapping.wrap(data_key.expose()).await?;
    let stored = wrapped.to_bytes();

    let wrapped = hsm_client::Wrapped::from_bytes(&stored)?;
    let again = wrapping.unwrap(&wrapped).await?;
    assert_eq!(again.expose(), data_key.expose());
    Ok(())
}

/// Agree on a key.
async fn agree(app: &Session, theirs: &PublicKey) -> Outcome {
    let ours = app.create::<EcdhP256>("handshake").await?;
    let shared = ours.agree(theirs).await?; // put it through a KDF before use
    assert_eq!(shared.len(), 32);
    println!("give them {}", ours.public_key().await?.to_pem()?);
    Ok(())
}

/// Derive keys from a key.
async fn derive(app: &Session) -> Outcome {
    let key = app.create::<Kdk256>("tenants").await?;
    let tenant = key.hkdf(b"", b"tenant 17", 32).await?;
    assert_eq!(tenant.len(), 32); // the same each time, and another for each tenant
    Ok(())
}

/// Import a key that is in a file.
async fn import(app: &Session, pem: &[u8]) -> Outcome<Key<EcdsaP256>> {
    let material = KeyMaterial::from_pem(pem)?; // PKCS#8, SEC 1 or PKCS#1
    Ok(app.import::<EcdsaP256>("from-a-file", material).await?)
}

/// Rotate, now and every 90 days.
async fn rotate(app: &Session) -> Outcome {
    let key: Key<EcdsaP384> = app.key("invoices").await?;
    let old = key.sign(b"pay 100 to Alice").await?;
    key.rotate().await?; // new signatures come from a new version
    key.verify(b"pay 100 to Alice", &old).await?; // old ones still verify
    let policy = RotationPolicy::rotate_after("P90D")?;
    key.set_rotation_policy(policy).await?;
    Ok(())
}

/// Expire: from that time on the key verifies and decrypts, and no longer signs or encrypts.
async fn expire(app: &Session) -> Outcome {
    let tomorrow = Timestamp::from(SystemTime::now() + DAY);
    let key = app.create::<EcdsaP256>("campaign");
    let key = key.expires(tomorrow).await?;
    let now = AttributesUpdate::new().event(Event::Deactivate); // or at once
    key.update(now).await?;
    let refusal = key.sign(b"too late").await.err();
    assert_eq!(refusal.map(|error| error.kind()), Some(ErrorKind::KeyState));
    Ok(())
}

/// Disable for a while.
async fn disable(app: &Session) -> Outcome {
    let key: Key<EcdsaP384> = app.key("invoices").await?;
    key.update(AttributesUpdate::new().enabled(false)).await?;
    key.update(AttributesUpdate::new().enabled(true)).await?;
    Ok(())
}

/// Delete and recover.
async fn delete_and_recover(app: &Session, officer: &Session) -> Outcome {
    let key: Key<EcdsaP384> = app.key("invoices").await?;
    let deleted = key.delete().await?; // of no use to anybody from now on
    println!("{} can be recovered", deleted.name);
    officer.recover_key("invoices").await?; // purge_key would destroy it for good
    Ok(())
}

/// Grant and revoke.
async fn grant_and_revoke(admin: &Session) -> Outcome {
    admin
        .create_user("audit-team", "a password of theirs")
        .await?;
    let grant = admin
        .assign_role(BuiltInRole::CryptoAuditor, "audit-team", Scope::Keys)
        .await?;
    admin.unassign_role(grant.id).await?; // holds from the next call on, in every process
    Ok(())
}

/// Let a program in without a password.
async fn token(hsm: &Hsm, admin: &Session) -> Outcome {
    let role = BuiltInRole::CryptoUser;
    admin
        .assign_role(role, "nightly-build", Scope::Keys)
        .await?;
    let tomorrow = Timestamp::from(SystemTime::now() + DAY);
    let (token, _) = admin
        .create_token("build-token", "nightly-build", tomorrow)
        .await?; // shown this once
    let build = hsm.login_with(Credentials::token(token.expose())).await?;
    assert_eq!(build.principal().as_str(), "nightly-build");
    Ok(())
}

/// Audit: the whole log, verified offline with nothing but the key that was kept elsewhere.
fn verify_audit(url: &str, audit_key: &PublicKey) -> Outcome {
    let mut refused = 0;
    let report = audit::verify(url, audit_key, |record| {
        refused += u32::from(record.event.failure.is_some());
    })?;
    println!("{} records, {refused} refusals", report.records);
    Ok(())
}

/// Prove where a key lives.
async fn key_report(app: &Session, nonce: &Nonce) -> Outcome<Evidence> {
    let key: Key<EcdsaP384> = app.key("invoices").await?;
    Ok(key.attest(nonce).await?) // the nonce is the asker's: random, and never the same
}

/// Verify a key report, without an HSM.
fn verify_key_report(report: &[u8], nonce: Nonce, enrolled: AttestationKeyId) -> Outcome {
    let verifier = attestation::Verifier::new(nonce)
        .trust_attestation_key(enrolled) // of this machine, as it was when you set it up
        .accept_software(); // without this line, only a key in a TPM will do
    let key = verifier.verify(report)?;
    println!("it is in {}, and may {}", key.level(), key.spec().usages);
    Ok(())
}

/// Back up a key, for this HSM only.
async fn back_up(app: &Session, officer: &Session) -> Outcome {
    let backup = app.backup_key("invoices").await?; // nobody can read it or change it
    app.key::<EcdsaP384>("invoices").await?.delete().await?;
    officer.purge_key("invoices").await?; // gone for good
    app.restore_key(&backup).await?;
    Ok(())
}

/// List keys, page by page.
async fn list(app: &Session) -> Outcome {
    let mut page = PageRequest::default();
    loop {
        let keys = app.list_keys(page).await?;
        for key in &keys.items {
            println!("{} {}", key.name, key.attributes.spec.key_type);
        }
        let Some(next) = keys.next else { break };
        page = PageRequest::after(next);
    }
    Ok(())
}

/// Be a certificate authority.
async fn authority(app: &Session) -> Outcome<CertificateAuthority<EcdsaP384>> {
    let key = app.create::<EcdsaP384>("root").await?;
    let years = x509::days(3650)?;
    let root = CertificateAuthority::root(app, &key, "CN=Example Root", years).await?;
    println!("{}", x509::to_pem(root.certificate())?); // later: `CertificateAuthority::open`
    Ok(root)
}

/// Ask for a certificate.
async fn request_certificate(app: &Session, name: &str) -> Outcome<String> {
    let key = app.create::<EcdsaP256>(name).await?;
    let host = format!("{name}.example.com");
    let request = CertificateRequest::new(&key, &format!("CN={host}"), [host]).await?;
    Ok(request.to_pem()?)
}

/// Issue a certificate.
async fn issue(
    authority: &CertificateAuthority<EcdsaP384>,
    request: &str,
    profile: Profile,
) -> Outcome<Certificate> {
    let request = CertificateRequest::from_pem(request)?; // signed by the key in it, or refused
    println!("{} asks", request.subject()); // whether it may have that name, you decide
    let validity = x509::days(90)?;
    Ok(authority.issue(&request, profile, validity).await?)
}

/// Revoke a certificate.
async fn revoke(
    authority: &CertificateAuthority<EcdsaP384>,
    lost: &Certificate,
    number: u64,
) -> Outcome<String> {
    let serial = lost.tbs_certificate().serial_number();
    let revoked = x509::revoked_now(serial, CrlReason::KeyCompromise)?;
    let all = [revoked]; // with those of the lists before
    let list = authority.revocation_list(number, 7 * DAY, all).await?;
    Ok(x509::to_pem(&list)?)
}

/// Serve TLS.
async fn tls_server(app: &Session, chain: &str, clients: RootCertStore) -> Outcome<Acceptor> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
    let key = app.key::<EcdsaP256>("www").await?;
    let identity = Arc::new(Identity::new(&key, chain).await?); // keep it, to `renew` it
    let clients = WebPkiClientVerifier::builder(clients.into()).build()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(clients) // or `with_no_client_auth()`
        .with_cert_resolver(identity);
    let tickets = app.create::<Kdk256>("www-tickets").await?;
    config.ticketer = Tickets::new(&tickets, "www").await?;
    Ok(Acceptor::new(config)) // `accept(tcp)` gives the stream
}

/// Show a client certificate.
async fn tls_client(app: &Session, chain: &str, servers: RootCertStore) -> Outcome<Connector> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
    let key = app.key::<EcdsaP256>("client").await?;
    let identity = Arc::new(Identity::new(&key, chain).await?);
    let config = ClientConfig::builder()
        .with_root_certificates(servers)
        .with_client_cert_resolver(identity);
    Ok(Connector::new(config)) // `connect(name, tcp)` gives the stream
}

/// Issue JSON Web Tokens, and verify them.
async fn web_token(app: &Session) -> Outcome {
    let issuer = Issuer::builder(app.create::<EcdsaP256>("login").await?).build()?;
    let exp = Timestamp::from(SystemTime::now() + HOUR / 4).unix_seconds();
    let token = issuer
        .sign(&json!({ "sub": "alice", "aud": "shop", "exp": exp }))
        .await?;
    let published = issuer.jwks().await?; // for `/.well-known/jwks.json`

    let verifier = jose::Verifier::new(&published)?; // elsewhere, without an HSM
    let mut validation = Validation::new(jose::Algorithm::ES256);
    validation.set_audience(&["shop"]);
    let verified = verifier.verify::<Value>(&token, &validation)?;
    assert_eq!(verified.claims["sub"], "alice");
    Ok(())
}

/// Runs every recipe, with the users that they need.
#[tokio::main]
async fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let url = format!("soft:{}", folder.path().join("cookbook.hsm").display());
    let (hsm, audit_key) = set_up(&url).await?;
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    let officer = hsm.login("officer", OFFICER_PASSWORD).await?;
    let app = hsm.login("app", APP_PASSWORD).await?;

    let signature = sign(&app).await?;
    sign_digest(&app, &[b"a large", b" file"]).await?;
    hand_over(&app).await?;
    verify(&app, &signature).await?;
    let public = app.key::<EcdsaP384>("invoices").await?.public_key().await?;
    verify_anywhere(&public.to_pem()?, &signature)?;
    authenticate(&app).await?;
    encrypt(&app).await?;
    let file = folder.path().join("file");
    std::fs::write(&file, "what is worth keeping")?;
    encrypt_file(&app, &file, &folder.path().join("file.enc")).await?;
    wrap(&app).await?;
    let theirs = app.create::<EcdhP256>("theirs").await?.public_key().await?;
    agree(&app, &theirs).await?;
    derive(&app).await?;
    let pem = rcgen::KeyPair::generate()?.serialize_pem();
    import(&app, pem.as_bytes()).await?;
    rotate(&app).await?;
    expire(&app).await?;
    disable(&app).await?;
    delete_and_recover(&app, &officer).await?;
    grant_and_revoke(&admin).await?;
    token(&hsm, &admin).await?;
    let nonce = Nonce::new(app.random(32).await?.expose())?;
    let report = key_report(&app, &nonce).await?;
    let enrolled = report.decode()?.claims().attestation_key;
    verify_key_report(report.as_bytes(), nonce, enrolled)?;
    back_up(&app, &officer).await?;
    list(&app).await?;
    let authority = authority(&app).await?;
    let www = request_certificate(&app, "www").await?;
    let www = issue(&authority, &www, Profile::TlsServer).await?;
    let client = request_certificate(&app, "client").await?;
    let client = issue(&authority, &client, Profile::TlsClient).await?;
    shake_hands(&app, &authority, &www, &client).await?;
    revoke(&authority, &www, 1).await?;
    let alice = request_certificate(&app, "alice").await?;
    let alice = issue(&authority, &alice, Profile::DocumentSigning).await?;
    let signature = sign_document(&app, alice, &file).await?;
    verify_document(&signature, &file, authority.certificate().clone())?;
    web_token(&app).await?;
    open(&url).await?;

    drop((admin, officer, app, authority));
    hsm.close().await?;
    verify_audit(&url, &audit_key)?;
    Ok(())
}

/// A server and a client that show each other their certificates, over a pipe.
async fn shake_hands(
    app: &Session,
    authority: &CertificateAuthority<EcdsaP384>,
    www: &Certificate,
    client: &Certificate,
) -> Outcome {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let root = x509::to_pem(authority.certificate())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
    let acceptor = tls_server(app, &x509::to_pem(www)?, roots.clone()).await?;
    let connector = tls_client(app, &x509::to_pem(client)?, roots).await?;

    let (here, there) = tokio::io::duplex(16 << 10);
    let accepted = tokio::spawn(async move { acceptor.accept(there).await });
    let name = "www.example.com".try_into()?;
    let _connected = connector.connect(name, here).await?;
    let accepted = accepted.await??;
    let (_, session) = accepted.get_ref();
    assert_eq!(session.peer_certificates().map(<[_]>::len), Some(1));
    Ok(())
}
