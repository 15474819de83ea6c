//! Promise: a version of a key is published before it signs and until its last token has expired; a token that is not this
//! issuer's, not now or not as it was is refused, and says why; what is encrypted to a key, only the key reads.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_client::jose::jsonwebtoken::crypto::{JwtSigner, JwtVerifier};
use hsm_client::jose::jsonwebtoken::{self, DecodingKey, EncodingKey, Header};
use hsm_client::jose::{
    self, Algorithm, CLOCK_SKEW, Compact, ENCRYPTED_LEN_MAX, Issuer, IssuerBuilder,
    PUBLICATION_LEAD_DEFAULT, Recipient, SIGNED_LEN_MAX, UNKNOWN_KEY_ID_DELAY, VERSIONS_LIFETIME,
    Validation, Verifier, VersionVerifier,
};
use hsm_client::kinds::{
    Aes128Gcm, Aes128Kw, Aes192Kw, Aes256Gcm, Aes256Kw, EcdhP256, EcdhP384, EcdhP521, EcdsaP256,
    EcdsaP384, EcdsaP521, Ed25519, KeyKind, RsaOaep2048, RsaPkcs1v15Sign2048, RsaPss2048, Signing,
    X25519,
};
use hsm_client::lifecycle::Event;
use hsm_client::{
    AttributesUpdate, BuiltInRole, Clock, Credentials, Error, ErrorKind, Hsm, Key, KeyMaterial,
    KeySpec, KeyType, Principal, Scope, SecretBytes, Session, Setup, Timestamp, Usage, Usages,
    VersionId,
};
use hsm_core::audit::RequestId;
use hsm_core::{Request, Response};
use hsm_testkit::ManualClock;
use pollster::block_on;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const PASSWORD: &str = "correct horse battery";
const LIFETIME: Duration = Duration::from_secs(5 * 60);
const SECOND: Duration = Duration::from_secs(1);

/// An HSM in memory with a crypto user, at the time of the machine, which `jsonwebtoken` goes by.
struct World {
    clock: Arc<ManualClock>,
    hsm: Hsm,
    session: Session,
}

impl World {
    fn new() -> Self {
        let now = hsm_client::SystemClock::default().now();
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
            now.unix_seconds(),
        )));
        let (hsm, session) = block_on(async {
            let setup = Setup::new("admin", PASSWORD).clock(clock.clone());
            let hsm = Hsm::create("memory:", setup).await?;
            let admin = hsm.login("admin", PASSWORD).await?;
            admin.create_user("app", PASSWORD).await?;
            admin
                .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
                .await?;
            let session = hsm.login("app", PASSWORD).await?;
            Ok::<_, Error>((hsm, session))
        })
        .unwrap();
        Self {
            clock,
            hsm,
            session,
        }
    }

    fn key<A: KeyKind>(&self, name: &str) -> Key<A> {
        block_on(async { self.session.create::<A>(name).await }).unwrap()
    }

    fn builder<A: Signing>(&self, key: Key<A>) -> IssuerBuilder<A> {
        Issuer::builder(key)
            .clock(self.clock.clone())
            .token_lifetime(LIFETIME)
    }

    fn issuer<A: Signing>(&self, name: &str) -> Issuer<A> {
        self.builder(self.key(name)).build().unwrap()
    }

    fn claims(&self) -> Value {
        let exp = (self.clock.now() + LIFETIME).unix_seconds();
        json!({ "sub": "alice", "aud": "shop", "exp": exp })
    }

    fn token<A: Signing>(&self, issuer: &Issuer<A>) -> String {
        block_on(issuer.sign(&self.claims())).unwrap()
    }

    fn recipient<A: KeyKind>(&self, name: &str) -> Recipient {
        self.key::<A>(name);
        Recipient::new(block_on(self.session.any_key(name)).unwrap())
    }
}

fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["shop"]);
    validation.leeway = 0;
    validation
}

fn kid(token: &str) -> String {
    Compact::parse(token).unwrap().key_id().unwrap().to_owned()
}

fn kids<A: Signing>(issuer: &Issuer<A>) -> Vec<String> {
    let set = block_on(issuer.jwks()).unwrap();
    let kids = set.keys.into_iter().map(|jwk| jwk.common.key_id.unwrap());
    kids.collect()
}

fn verify<A: Signing>(issuer: &Issuer<A>, token: &str) -> Result<Value, Error> {
    Ok(block_on(issuer.verify::<Value>(token, &validation()))?.claims)
}

fn refused<T>(result: Result<T, Error>, kind: ErrorKind, why: &str) {
    let Err(error) = result else {
        panic!("it was taken, and not refused with {why:?}");
    };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

fn parts(token: &str) -> Vec<String> {
    token.split('.').map(str::to_owned).collect()
}

// Signed tokens.

#[test]
fn a_version_is_published_before_it_signs_and_until_its_last_token_has_expired() {
    let world = World::new();
    let issuer = world.issuer::<EcdsaP256>("tokens");
    let elsewhere = world
        .builder(block_on(world.session.key::<EcdsaP256>("tokens")).unwrap())
        .build()
        .unwrap();
    let token = world.token(&issuer);
    let old = kid(&token);
    assert_eq!(kids(&issuer), from_ref(&old));
    assert_eq!(kids(&elsewhere), from_ref(&old));

    let new = block_on(issuer.rotate()).unwrap().to_string();
    assert_eq!(kids(&issuer), [old.clone(), new.clone()]);
    assert_eq!(kid(&world.token(&issuer)), old, "nobody knows the new one");
    world.clock.advance(VERSIONS_LIFETIME);
    assert_eq!(kids(&elsewhere), [old.clone(), new.clone()]);

    world
        .clock
        .advance(PUBLICATION_LEAD_DEFAULT - VERSIONS_LIFETIME - SECOND);
    let last = world.token(&issuer);
    assert_eq!(kid(&last), old);
    assert_eq!(kid(&world.token(&elsewhere)), old);
    world.clock.advance(SECOND);
    assert_eq!(kid(&world.token(&issuer)), new);
    assert_eq!(kid(&world.token(&elsewhere)), new, "both without a word");

    verify(&issuer, &last).unwrap();
    let stays = VERSIONS_LIFETIME + LIFETIME + CLOCK_SKEW;
    world.clock.advance(stays - SECOND);
    assert_eq!(kids(&issuer), [old, new.clone()]);
    world.clock.advance(SECOND);
    assert_eq!(kids(&issuer), [new]);
    refused(verify(&issuer, &last), ErrorKind::NotFound, "`kid`");
}

#[test]
fn a_version_that_is_suspended_or_compromised_leaves_at_once() {
    let world = World::new();
    let issuer = world.issuer::<EcdsaP256>("tokens");
    let token = world.token(&issuer);
    let first: VersionId = kid(&token).parse().unwrap();
    let second = block_on(issuer.rotate()).unwrap();
    let key = block_on(world.session.key::<EcdsaP256>("tokens")).unwrap();
    let event = |version, event| {
        block_on(key.at(version).update(AttributesUpdate::new().event(event))).unwrap();
    };
    // The issuer believes what it knows, until the HSM refuses.
    assert_eq!(kid(&world.token(&issuer)), first.to_string());
    event(first, Event::Compromise);
    assert_eq!(kid(&world.token(&issuer)), second.to_string());
    assert_eq!(kids(&issuer), [second.to_string()]);
    refused(verify(&issuer, &token), ErrorKind::NotFound, "`kid`");

    event(second, Event::Suspend);
    let claims = world.claims();
    refused(
        block_on(issuer.sign(&claims)),
        ErrorKind::KeyState,
        "no version of key tokens may sign with ES256 now",
    );
    assert!(kids(&issuer).is_empty());
    event(second, Event::Resume);
    world.clock.advance(VERSIONS_LIFETIME);
    verify(&issuer, &world.token(&issuer)).unwrap();
}

/// The new version was taken back before it signed: the old one goes on, and verifiers must know it.
#[test]
fn a_version_that_goes_on_signing_stays_published() {
    let world = World::new();
    let issuer = world.issuer::<EcdsaP256>("tokens");
    let first = kid(&world.token(&issuer));
    let second = block_on(issuer.rotate()).unwrap();
    let key = block_on(world.session.key::<EcdsaP256>("tokens")).unwrap();
    let update = AttributesUpdate::new().event(Event::Deactivate);
    block_on(key.at(second).update(update)).unwrap();
    // A session that is used lasts.
    world.clock.advance(PUBLICATION_LEAD_DEFAULT);
    assert_eq!(kid(&world.token(&issuer)), first);
    world
        .clock
        .advance(VERSIONS_LIFETIME + LIFETIME + CLOCK_SKEW);
    let token = world.token(&issuer);
    assert_eq!(kid(&token), first);
    assert!(kids(&issuer).contains(&first), "{:?}", kids(&issuer));
    verify(&issuer, &token).unwrap();
}

#[test]
fn made_up_key_ids_do_not_reach_the_hsm_again_and_again() {
    let world = World::new();
    let issuer = world.issuer::<EcdsaP256>("tokens");
    world.token(&issuer);
    // Somebody else rotates, and signs with the new version at once.
    let key = block_on(world.session.key::<EcdsaP256>("tokens")).unwrap();
    let version = block_on(key.rotate()).unwrap();
    let header = json!({ "alg": "ES256", "kid": version.to_string() });
    let input = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(world.claims().to_string())
    );
    let signature = block_on(key.at(version).sign(input.as_bytes())).unwrap();
    let token = format!("{input}.{}", encode(signature.bytes()));
    refused(verify(&issuer, &token), ErrorKind::NotFound, "`kid`");
    world.clock.advance(UNKNOWN_KEY_ID_DELAY - SECOND);
    refused(verify(&issuer, &token), ErrorKind::NotFound, "`kid`");
    world.clock.advance(SECOND);
    verify(&issuer, &token).unwrap();
}

#[test]
fn jsonwebtoken_verifies_every_algorithm_from_the_key_set() {
    fn check<A: Signing>(world: &World, algorithm: Algorithm) {
        let name = format!("{algorithm:?}");
        let issuer = world.issuer::<A>(&name);
        let token = world.token(&issuer);
        let set = block_on(issuer.jwks()).unwrap();
        let set: jose::JwkSet =
            serde_json::from_str(&serde_json::to_string(&set).unwrap()).unwrap();
        let jwk = set.find(&kid(&token)).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["shop"]);
        let key = DecodingKey::from_jwk(jwk).unwrap();
        let data = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        assert_eq!(data.claims, world.claims(), "{name}");
        assert_eq!(data.header.typ.as_deref(), Some("JWT"));
        // And so does who has the set only.
        let verifier = Verifier::new(&set).unwrap().clock(world.clock.clone());
        let data = verifier.verify::<Value>(&token, &validation).unwrap();
        assert_eq!(data.claims, world.claims(), "{name}");
    }
    let world = World::new();
    check::<EcdsaP256>(&world, Algorithm::ES256);
    check::<EcdsaP384>(&world, Algorithm::ES384);
    check::<Ed25519>(&world, Algorithm::EdDSA);
    check::<RsaPkcs1v15Sign2048>(&world, Algorithm::RS256);
    check::<RsaPss2048>(&world, Algorithm::PS256);
}

#[test]
fn tokens_that_are_not_right_are_refused() {
    use ErrorKind::{CryptoFailed, InvalidInput, LimitExceeded, NotFound, Unauthenticated};

    let world = World::new();
    let issuer = world.issuer::<EcdsaP256>("tokens");
    let token = world.token(&issuer);
    assert_eq!(verify(&issuer, &token).unwrap(), world.claims());
    let [header, payload, signature] = &parts(&token)[..] else {
        panic!("three parts");
    };
    let headed = |header: Value| format!("{}.{payload}.{signature}", encode(header.to_string()));
    let kid = kid(&token);

    // Another key, under its own name and under this one's.
    let other = world.issuer::<EcdsaP256>("other");
    refused(verify(&issuer, &world.token(&other)), NotFound, "`kid`");
    let input = format!("{header}.{payload}");
    let key = block_on(world.session.key::<EcdsaP256>("other")).unwrap();
    let forged = block_on(key.sign(input.as_bytes())).unwrap();
    let forged = format!("{input}.{}", encode(forged.bytes()));
    refused(verify(&issuer, &forged), CryptoFailed, "");

    // No signature, or one that anybody can make.
    for none in ["none", "None", "NONE"] {
        let header = encode(json!({ "alg": none, "kid": kid }).to_string());
        for signature in ["", signature] {
            let token = format!("{header}.{payload}.{signature}");
            refused(verify(&issuer, &token), InvalidInput, "another algorithm");
        }
    }
    let set = block_on(issuer.jwks()).unwrap();
    let public = block_on(
        block_on(world.session.key::<EcdsaP256>("tokens"))
            .unwrap()
            .public_key(),
    );
    let public = public.unwrap();
    for secret in [
        public.to_pem().unwrap().into_bytes(),
        public.to_spki_der().unwrap(),
        public.as_raw().to_vec(),
    ] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(kid.clone());
        let secret = EncodingKey::from_secret(&secret);
        let token = jsonwebtoken::encode(&header, &world.claims(), &secret).unwrap();
        refused(verify(&issuer, &token), InvalidInput, "another algorithm");
        let verifier = Verifier::new(&set).unwrap();
        let mut lax = validation();
        lax.algorithms = vec![Algorithm::HS256, Algorithm::ES256];
        let result = verifier.verify::<Value>(&token, &lax);
        refused(result, InvalidInput, "another algorithm");
    }

    // A header that asks for something else.
    refused(
        verify(&issuer, &headed(json!({ "alg": "ES256" }))),
        NotFound,
        "does not name its key",
    );
    for unknown in ["", "../../etc/passwd", "00000000000000000000000000000000"] {
        let token = headed(json!({ "alg": "ES256", "kid": unknown }));
        refused(verify(&issuer, &token), NotFound, "`kid`");
    }
    let token_with = headed(json!({ "alg": "ES384", "kid": kid }));
    refused(
        verify(&issuer, &token_with),
        InvalidInput,
        "another algorithm",
    );
    let token_with = headed(json!({ "alg": "ES256", "kid": kid, "crit": ["exp"] }));
    refused(verify(&issuer, &token_with), InvalidInput, "`crit`");
    let own_key = set.keys[0].clone();
    let token_with = headed(json!({ "alg": "ES256", "kid": kid, "jwk": own_key }));
    refused(verify(&issuer, &token_with), CryptoFailed, "");

    // Altered, cut, extended.
    let claims = json!({ "sub": "mallory", "aud": "shop", "exp": world.claims()["exp"] });
    let altered = format!("{header}.{}.{signature}", encode(claims.to_string()));
    refused(verify(&issuer, &altered), CryptoFailed, "");
    for other in ["", "AAAA", &signature[..84], &format!("{signature}AAAA")] {
        let token = format!("{header}.{payload}.{other}");
        refused(verify(&issuer, &token), CryptoFailed, "");
    }
    refused(verify(&issuer, &input), InvalidInput, "three parts");
    let long = format!("{header}.{}.{signature}", "A".repeat(SIGNED_LEN_MAX));
    refused(verify(&issuer, &long), LimitExceeded, "at most 16384");

    // Right, and not for here and now.
    let wrong = |change: &dyn Fn(&mut Validation)| {
        let mut validation = validation();
        change(&mut validation);
        block_on(issuer.verify::<Value>(&token, &validation))
    };
    refused(
        wrong(&|validation| validation.set_audience(&["bank"])),
        Unauthenticated,
        "`aud`",
    );
    refused(
        wrong(&|validation| validation.set_issuer(&["https://issuer.example"])),
        Unauthenticated,
        "`iss`",
    );
    refused(
        wrong(&|validation| validation.algorithms = vec![Algorithm::EdDSA]),
        InvalidInput,
        "does not allow",
    );
    refused(
        wrong(&|validation| validation.algorithms.clear()),
        InvalidInput,
        "does not allow",
    );
    world.clock.advance(LIFETIME - SECOND);
    verify(&issuer, &token).unwrap();
    world.clock.advance(SECOND);
    refused(verify(&issuer, &token), Unauthenticated, "has expired");
}

#[test]
fn an_issuer_signs_nothing_that_outlives_its_key() {
    let world = World::new();
    let issuer = world.issuer::<EcdsaP256>("tokens");
    let now = world.clock.now().unix_seconds();
    let latest = now + LIFETIME.as_secs();
    block_on(issuer.sign(&json!({ "exp": latest }))).unwrap();
    for claims in [
        json!({}),
        json!({ "exp": null }),
        json!({ "exp": now }),
        json!({ "exp": now - 1 }),
        json!({ "exp": latest + 1 }),
        json!({ "exp": -1 }),
        json!({ "exp": latest.to_string() }),
        json!({ "exp": u64::MAX }),
    ] {
        refused(
            block_on(issuer.sign(&claims)),
            ErrorKind::InvalidInput,
            "`exp`",
        );
    }
    for claims in [json!("text"), json!([1]), json!(null)] {
        refused(
            block_on(issuer.sign(&claims)),
            ErrorKind::InvalidInput,
            "no JSON object",
        );
    }
    let long = json!({ "exp": latest, "text": "x".repeat(SIGNED_LEN_MAX) });
    refused(
        block_on(issuer.sign(&long)),
        ErrorKind::LimitExceeded,
        "at most",
    );
}

#[test]
fn an_issuer_that_could_not_work_is_not_made() {
    let world = World::new();
    let key = world.key::<EcdsaP521>("p521");
    refused(
        Issuer::builder(key).build(),
        ErrorKind::InvalidInput,
        "tokens are not signed with ES512 here",
    );
    let key = world.key::<EcdsaP256>("p256");
    let builder = Issuer::builder(key).publication_lead(VERSIONS_LIFETIME - SECOND);
    refused(
        builder.build(),
        ErrorKind::InvalidInput,
        "lead time is 59 s",
    );
}

#[test]
fn a_key_set_is_read_with_care() {
    let world = World::new();
    let mut set = block_on(world.issuer::<EcdsaP256>("tokens").jwks()).unwrap();
    let verifier =
        |keys: Value| Verifier::new(&serde_json::from_value(json!({ "keys": keys })).unwrap());
    // What it cannot use, it leaves out; a secret among them would make HMACs right.
    let odd = json!([{ "kty": "oct", "k": "AAAA", "kid": "a", "alg": "HS256" }, { "kty": "new" }]);
    let unknown = headless_token("a");
    let result = verifier(odd)
        .unwrap()
        .verify::<Value>(&unknown, &validation());
    refused(result, ErrorKind::NotFound, "`kid`");
    let twice = json!([set.keys[0], set.keys[0]]);
    refused(verifier(twice), ErrorKind::InvalidInput, "same `kid`");
    let many = vec![set.keys[0].clone(); 1001];
    set.keys = many;
    refused(
        Verifier::new(&set),
        ErrorKind::LimitExceeded,
        "at most 1000",
    );
}

/// RFC 7517 sections 4.2 and 4.3.
#[test]
fn a_key_for_another_use_verifies_nothing() {
    use jsonwebtoken::jwk::{KeyOperations, PublicKeyUse};

    let world = World::new();
    let issuer = world.issuer::<EcdsaP256>("tokens");
    let token = world.token(&issuer);
    let set = block_on(issuer.jwks()).unwrap();
    let verify = |key_use, operations| {
        let mut set = set.clone();
        set.keys[0].common.public_key_use = key_use;
        set.keys[0].common.key_operations = operations;
        let verifier = Verifier::new(&set).unwrap().clock(world.clock.clone());
        verifier.verify::<Value>(&token, &validation())
    };
    verify(Some(PublicKeyUse::Signature), None).unwrap();
    verify(None, None).unwrap();
    verify(None, Some(vec![KeyOperations::Verify])).unwrap();
    for key_use in [
        PublicKeyUse::Encryption,
        PublicKeyUse::Other("firmware".to_owned()),
    ] {
        refused(verify(Some(key_use), None), ErrorKind::NotFound, "`kid`");
    }
    for operations in [vec![], vec![KeyOperations::DeriveKey, KeyOperations::Sign]] {
        refused(verify(None, Some(operations)), ErrorKind::NotFound, "`kid`");
    }
}

fn headless_token(kid: &str) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(kid.to_owned());
    jsonwebtoken::encode(&header, &json!({}), &EncodingKey::from_secret(&[0; 3])).unwrap()
}

/// Knows `jsonwebtoken`, and nothing of this crate.
fn sign_with(signer: &impl JwtSigner, payload: &[u8]) -> (Algorithm, Vec<u8>) {
    (signer.algorithm(), signer.try_sign(payload).unwrap())
}

/// Knows `jsonwebtoken`, and nothing of this crate.
fn verify_with(verifier: &dyn JwtVerifier, payload: &[u8], signature: &Vec<u8>) -> bool {
    verifier.verify(payload, signature).is_ok()
}

#[test]
fn code_that_is_generic_over_the_signers_of_jsonwebtoken_takes_ours() {
    let world = World::new();
    let issuer = world.issuer::<Ed25519>("tokens");
    let signer = block_on(issuer.signer()).unwrap();
    let (algorithm, signature) = sign_with(&signer, b"payload");
    assert_eq!(algorithm, Algorithm::EdDSA);
    let key = block_on(world.session.key::<Ed25519>("tokens")).unwrap();
    let public = block_on(key.at(signer.version()).public_key()).unwrap();
    let verifier = VersionVerifier::new(public, hsm_client::Algorithm::EdDsa).unwrap();
    assert!(verify_with(&verifier, b"payload", &signature));
    assert!(!verify_with(&verifier, b"payloae", &signature));
    // The reason is the source, for the log of the server.
    block_on(key.update(AttributesUpdate::new().event(Event::Suspend))).unwrap();
    let error = jsonwebtoken::signature::Signer::try_sign(&signer, b"payload").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("suspended"), "{source}");
}

// Encrypted tokens.

const TEXT: &[u8] = b"attack at dawn";

fn round_trip<A: KeyKind>(world: &World, name: &str, alg: &str) {
    let recipient = world.recipient::<A>(name);
    let mut tokens = vec![block_on(recipient.encrypt(TEXT)).unwrap()];
    if let Ok(set) = block_on(recipient.jwks()) {
        let set = serde_json::to_string(&set).unwrap();
        let set: jose::JwkSet = serde_json::from_str(&set).unwrap();
        tokens.push(jose::encrypt(&set.keys[0], TEXT).unwrap());
    }
    let key = block_on(world.session.any_key(name)).unwrap();
    block_on(key.handle().rotate()).unwrap();
    tokens.push(block_on(recipient.encrypt(TEXT)).unwrap());
    assert_ne!(kid(&tokens[0]), kid(tokens.last().unwrap()));
    for token in &tokens {
        assert_eq!(Compact::parse(token).unwrap().algorithm(), alg);
        let text = block_on(recipient.decrypt(token)).unwrap();
        assert_eq!(text.expose().to_vec(), TEXT, "{name}");
    }
    // Every part is authenticated.
    let right = parts(&tokens[0]);
    for place in 0..5 {
        let mut altered = right.clone();
        let bytes = Base64UrlUnpadded::decode_vec(&right[place]).unwrap();
        let Some(last) = bytes.len().checked_sub(2) else {
            continue; // `dir` has no key
        };
        let mut bytes = bytes;
        bytes[last] ^= 1;
        altered[place] = encode(&bytes);
        let error = block_on(recipient.decrypt(&altered.join("."))).unwrap_err();
        if place > 0 {
            assert_eq!(error.kind(), ErrorKind::CryptoFailed, "{name} {place}");
            assert_eq!(error.message(), "", "{name} {place}");
        }
    }
    let mut short = right.clone();
    short[4].truncate(16);
    let result = block_on(recipient.decrypt(&short.join(".")));
    refused(result, ErrorKind::InvalidInput, "tag has a wrong length");
}

#[test]
fn what_is_encrypted_to_a_key_the_key_reads() {
    let world = World::new();
    round_trip::<RsaOaep2048>(&world, "rsa", "RSA-OAEP-256");
    round_trip::<EcdhP256>(&world, "p256", "ECDH-ES+A256KW");
    round_trip::<EcdhP384>(&world, "p384", "ECDH-ES+A256KW");
    round_trip::<EcdhP521>(&world, "p521", "ECDH-ES+A256KW");
    round_trip::<X25519>(&world, "x25519", "ECDH-ES+A256KW");
    round_trip::<Aes128Kw>(&world, "a128kw", "A128KW");
    round_trip::<Aes192Kw>(&world, "a192kw", "A192KW");
    round_trip::<Aes256Kw>(&world, "a256kw", "A256KW");
    round_trip::<Aes128Gcm>(&world, "a128gcm", "dir");
    round_trip::<Aes256Gcm>(&world, "a256gcm", "dir");
}

/// RFC 7520 sections 5.4, 5.6 and 5.8. Their text is the same; its hash will do.
#[test]
fn published_tokens_are_read_with_imported_keys() {
    let world = World::new();
    let octets = |text: &str| SecretBytes::from(Base64UrlUnpadded::decode_vec(text).unwrap());
    block_on(async {
        let p384 = KeyMaterial::from_jwk(vectors::P384_KEY.as_bytes())?;
        world.session.import::<EcdhP384>("p384", p384).await?;
        let wraps = octets(vectors::A128KW_KEY);
        world.session.import::<Aes128Kw>("a128kw", wraps).await?;
        let direct = octets(vectors::DIRECT_KEY);
        world.session.import::<Aes128Gcm>("a128gcm", direct).await?;
        Ok::<_, Error>(())
    })
    .unwrap();
    for (name, token) in [
        ("p384", vectors::ECDH_ES_A128KW),
        ("a128kw", vectors::A128KW),
        ("a128gcm", vectors::DIRECT),
    ] {
        let recipient = Recipient::new(block_on(world.session.any_key(name)).unwrap());
        // The world calls the key otherwise.
        refused(
            block_on(recipient.decrypt(token)),
            ErrorKind::NotFound,
            "`kid` is that of another key",
        );
        let text = block_on(recipient.known_as(kid(token)).decrypt(token)).unwrap();
        let hash = format!("{:x}", base16(&Sha256::digest(text.expose())));
        assert_eq!(hash, vectors::TEXT_SHA256, "{name}");
    }
}

/// RFC 7516 appendix A.1: RSA-OAEP, which is read and not written, and no `kid`.
#[test]
fn the_published_token_with_rsa_oaep_is_read() {
    let world = World::new();
    let spec = KeySpec::new(KeyType::Rsa2048, Usages::of(&[Usage::UnwrapKey])).unwrap();
    let key = KeyMaterial::from_jwk(vectors::RSA_KEY.as_bytes()).unwrap();
    let key = block_on(async { world.session.import_any("rsa", spec, key).await });
    let recipient = Recipient::new(key.unwrap());
    let text = block_on(recipient.decrypt(vectors::RSA_OAEP)).unwrap();
    assert_eq!(text.expose(), vectors::RSA_OAEP_TEXT.as_bytes());
    // A key that is bound to RSA-OAEP-256 does not do it.
    let bound = world.recipient::<RsaOaep2048>("bound");
    let result = block_on(bound.decrypt(vectors::RSA_OAEP));
    refused(result, ErrorKind::InvalidInput, "is not for");
}

#[test]
fn nobody_writes_to_a_version_that_is_not_valid_yet() {
    let world = World::new();
    let recipient = world.recipient::<EcdhP256>("letters");
    let key = block_on(world.session.key::<EcdhP256>("letters")).unwrap();
    let first = block_on(key.info()).unwrap().version;
    let second = block_on(key.rotate()).unwrap();
    let tomorrow = world.clock.now() + Duration::from_secs(86_400);
    let update = AttributesUpdate::new().not_before(tomorrow);
    block_on(key.at(second).update(update)).unwrap();
    let published = block_on(recipient.jwks()).unwrap();
    assert_eq!(
        published.keys[0].common.key_id,
        Some(first.to_string()),
        "the second is {second}"
    );
    let token = block_on(recipient.encrypt(TEXT)).unwrap();
    assert_eq!(block_on(recipient.decrypt(&token)).unwrap().expose(), TEXT);
}

/// Hexadecimal digits.
fn base16(bytes: &[u8]) -> Hex<'_> {
    Hex(bytes)
}

struct Hex<'b>(&'b [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[test]
fn encrypted_tokens_that_are_not_right_are_refused() {
    use ErrorKind::{CryptoFailed, InvalidInput, LimitExceeded, NotFound};

    let world = World::new();
    let recipient = world.recipient::<EcdhP256>("letters");
    let token = block_on(recipient.encrypt(TEXT)).unwrap();
    let decrypt = |token: &str| block_on(recipient.decrypt(token));
    let right = parts(&token);
    let header = Base64UrlUnpadded::decode_vec(&right[0]).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let with = |member: &str, value: Value| {
        let mut header = header.clone();
        header[member] = value;
        let mut parts = right.clone();
        parts[0] = encode(header.to_string());
        parts.join(".")
    };

    // RFC 7520 sections 5.3 and 5.9: a password, and a text that is compressed.
    refused(decrypt(vectors::PBES2), InvalidInput, "`enc` is none of");
    refused(decrypt(vectors::ZIP), InvalidInput, "compressed");
    for alg in [
        "PBES2-HS512+A256KW",
        "RSA1_5",
        "none",
        "A256GCMKW",
        "EdDSA",
        "",
    ] {
        refused(
            decrypt(&with("alg", json!(alg))),
            InvalidInput,
            "`alg` is none of",
        );
    }
    for alg in ["RSA-OAEP-256", "RSA-OAEP", "A256KW", "dir"] {
        let result = decrypt(&with("alg", json!(alg)));
        let why = if alg == "dir" { "dir" } else { "is not for" };
        refused(result, InvalidInput, why);
    }
    for enc in [json!("A128CBC-HS256"), json!("none"), Value::Null] {
        refused(decrypt(&with("enc", enc)), InvalidInput, "`enc`");
    }
    refused(
        decrypt(&with("crit", json!(["exp"]))),
        InvalidInput,
        "`crit`",
    );
    refused(decrypt(&with("zip", json!("DEF"))), InvalidInput, "`zip`");
    refused(decrypt(&with("epk", Value::Null)), InvalidInput, "`epk`");

    // Keys to agree with that would tell of ours: off the curve, and of another one.
    let mut off = header["epk"].clone();
    off["x"] = off["y"].clone();
    refused(decrypt(&with("epk", off)), InvalidInput, "not on the curve");
    let other = world.recipient::<EcdhP384>("other");
    let other_token = block_on(other.encrypt(TEXT)).unwrap();
    let other_header = Base64UrlUnpadded::decode_vec(&parts(&other_token)[0]).unwrap();
    let other_header: Value = serde_json::from_slice(&other_header).unwrap();
    let epk = other_header["epk"].clone();
    refused(decrypt(&with("epk", epk)), InvalidInput, "another curve");

    // Another key's.
    refused(decrypt(&other_token), NotFound, "that of another key");
    let twin = world.recipient::<EcdhP256>("twin");
    let mut taken = parts(&block_on(twin.encrypt(TEXT)).unwrap());
    taken[0].clone_from(&right[0]);
    refused(decrypt(&taken.join(".")), CryptoFailed, "");

    // Two names for one text: the parties are authenticated too.
    refused(decrypt(&with("apu", json!("QQ"))), CryptoFailed, "");
    refused(
        decrypt(&with("alg", json!("ECDH-ES"))),
        InvalidInput,
        "no encrypted key",
    );

    let signed = world.token(&world.issuer::<EcdsaP256>("tokens"));
    refused(decrypt(&signed), InvalidInput, "signed, not encrypted");
    let long = format!("{token}{}", "A".repeat(ENCRYPTED_LEN_MAX));
    refused(decrypt(&long), LimitExceeded, "at most 1048576");
    let text = vec![0; ENCRYPTED_LEN_MAX];
    refused(
        block_on(recipient.encrypt(&text)),
        LimitExceeded,
        "the text has",
    );
    // And the largest goes through.
    let text = &text[..ENCRYPTED_LEN_MAX / 4 * 3 - 4096];
    let token = block_on(recipient.encrypt(text)).unwrap();
    assert_eq!(decrypt(&token).unwrap().len(), text.len());
}

#[test]
fn nothing_is_encrypted_to_a_key_that_is_not_for_it() {
    let world = World::new();
    let signing = block_on(world.issuer::<EcdsaP256>("tokens").jwks()).unwrap();
    refused(
        jose::encrypt(&signing.keys[0], TEXT),
        ErrorKind::InvalidInput,
        "`use`",
    );
    let mut letters = block_on(world.recipient::<EcdhP256>("letters").jwks()).unwrap();
    let jwk = &mut letters.keys[0];
    jwk.common.key_algorithm = Some(jsonwebtoken::jwk::KeyAlgorithm::RSA_OAEP);
    refused(jose::encrypt(jwk, TEXT), ErrorKind::InvalidInput, "`alg`");
    let symmetric = world.recipient::<Aes256Kw>("wraps");
    refused(
        block_on(symmetric.jwks()),
        ErrorKind::InvalidInput,
        "symmetric",
    );
}

// An HSM of others, whose pages are short.

#[derive(Debug)]
struct ShortPages(Hsm);

#[derive(Debug)]
struct ShortPagesSession(Session);

#[async_trait]
impl hsm_core::Service for ShortPages {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn hsm_core::Session>, Error> {
        let session = self.0.login_with(credentials).await?;
        Ok(Arc::new(ShortPagesSession(session)))
    }
}

#[async_trait]
impl hsm_core::Session for ShortPagesSession {
    fn principal(&self) -> &Principal {
        self.0.principal()
    }

    async fn call(&self, id: RequestId, mut request: Request<'_>) -> Result<Response, Error> {
        if let Request::ListVersions { page, .. } = &mut request {
            page.limit = Some(2);
        }
        self.0.call_as(id, request).await
    }

    async fn logout(&self) {
        self.0.logout().await;
    }
}

#[test]
fn versions_beyond_the_first_page_are_seen() {
    let mut world = World::new();
    world.session = block_on(async {
        let hsm = Hsm::over(Arc::new(ShortPages(world.hsm.clone())))?;
        hsm.login("app", PASSWORD).await
    })
    .unwrap();
    let issuer = world.issuer::<EcdsaP256>("tokens");
    for count in 1..=5 {
        assert_eq!(kids(&issuer).len(), count);
        block_on(issuer.rotate()).unwrap();
    }
    let newest = kids(&issuer).pop().unwrap();
    world.clock.advance(PUBLICATION_LEAD_DEFAULT);
    assert_eq!(kid(&world.token(&issuer)), newest);

    let recipient = world.recipient::<EcdhP256>("letters");
    let key = block_on(world.session.key::<EcdhP256>("letters")).unwrap();
    let mut rotated = Vec::new();
    rotated.extend((0..3).map(|_| block_on(key.rotate()).unwrap().to_string()));
    let token = block_on(recipient.encrypt(TEXT)).unwrap();
    assert_eq!(kid(&token), rotated[2]);
}

#[path = "keys/rfc7520.rs"]
mod vectors;
