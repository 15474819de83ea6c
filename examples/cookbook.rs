//! The recipes of `docs/cookbook.md`, in the order of that page. Run without arguments, it runs every one of them.

use std::error::Error;
use std::time::{Duration, SystemTime};

use hsm_client::kinds::{Aes256Gcm, Aes256Kwp, EcdhP256, EcdsaP256, EcdsaP384, HmacSha256};
use hsm_client::lifecycle::Event;
use hsm_client::{
    Algorithm, AttributesUpdate, BuiltInRole, Credentials, ErrorKind, Hsm, Key, KeyMaterial,
    OpenOptions, PageRequest, PublicKey, RotationPolicy, Scope, Session, Setup, SignInput,
    Timestamp, audit,
};
use sha2::{Digest, Sha384};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const ADMIN_PASSWORD: &str = "an administrator's password";
const OFFICER_PASSWORD: &str = "the officer's password";
const APP_PASSWORD: &str = "the application's password";
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
    let refusal = key.sign(b"too late").await.unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::KeyState);
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
    verify(&app, &signature).await?;
    let public = app.key::<EcdsaP384>("invoices").await?.public_key().await?;
    verify_anywhere(&public.to_pem()?, &signature)?;
    authenticate(&app).await?;
    encrypt(&app).await?;
    wrap(&app).await?;
    let theirs = app.create::<EcdhP256>("theirs").await?.public_key().await?;
    agree(&app, &theirs).await?;
    let pem = rcgen::KeyPair::generate()?.serialize_pem();
    import(&app, pem.as_bytes()).await?;
    rotate(&app).await?;
    expire(&app).await?;
    disable(&app).await?;
    delete_and_recover(&app, &officer).await?;
    grant_and_revoke(&admin).await?;
    token(&hsm, &admin).await?;
    back_up(&app, &officer).await?;
    list(&app).await?;
    open(&url).await?;

    drop((admin, officer, app));
    hsm.close().await?;
    verify_audit(&url, &audit_key)?;
    Ok(())
}
