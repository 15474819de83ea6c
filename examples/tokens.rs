//! Issues tokens with two keys of an HSM, ES256 and EdDSA, and rotates them; `jsonwebtoken` verifies what it issued with
//! nothing but the published key set.
//!
//! `cargo run -p hsm-examples --bin tokens`
//!
//! It leaves `jwks.json` and `tokens.txt` in a folder that it names, for another program to verify.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hsm_client::jose::{Compact, Issuer, JwkSet, PUBLICATION_LEAD_DEFAULT};
use hsm_client::kinds::{EcdsaP256, Ed25519, Signing};
use hsm_client::{BuiltInRole, Clock, Hsm, Scope, Session, Setup, SystemClock, Timestamp};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

const ADMIN_PASSWORD: &str = "the administrator's password";
const APP_PASSWORD: &str = "the issuer's password";
const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "shop";
const LIFETIME: Duration = Duration::from_secs(15 * 60);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tokens: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    let clock = Arc::new(Ahead::default());
    let session = hsm_with_a_user(clock.clone()).await?;

    // Two issuers: clients that cannot do EdDSA yet get ES256.
    let es256 = issuer::<EcdsaP256>(&session, "login-es256", &clock).await?;
    let eddsa = issuer::<Ed25519>(&session, "login-eddsa", &clock).await?;
    println!("made the keys login-es256 and login-eddsa; they never leave the HSM");

    let first = [issue(&es256, &clock).await?, issue(&eddsa, &clock).await?];
    let published = key_set(&es256, &eddsa).await?;
    verify(&published, &first)?;
    println!(
        "a verifier that knows {} keys took both tokens",
        published.keys.len()
    );

    // Rotation: the new versions are published at once, and sign only when every verifier has fetched them.
    es256.rotate().await?;
    eddsa.rotate().await?;
    let fetched = key_set(&es256, &eddsa).await?;
    let during = [issue(&es256, &clock).await?, issue(&eddsa, &clock).await?];
    assert_eq!(key_ids(&during)?, key_ids(&first)?);
    verify(&published, &during)?;
    println!(
        "rotated: the set has {} keys (fetch it every {} s), and the old ones still sign",
        fetched.keys.len(),
        es256.jwks_max_age().as_secs()
    );

    // Ten minutes later. This program has a clock that it can put ahead; yours waits.
    clock.put_ahead(PUBLICATION_LEAD_DEFAULT);
    let after = [issue(&es256, &clock).await?, issue(&eddsa, &clock).await?];
    assert!(
        key_ids(&after)?
            .iter()
            .all(|kid| published.find(kid).is_none())
    );
    verify(&fetched, &after)?;
    verify(&fetched, &during)?;
    println!(
        "{} s later the new ones sign, and who fetched the set then verifies all",
        PUBLICATION_LEAD_DEFAULT.as_secs()
    );

    // What is not right is refused, with the reason.
    let mut validation = Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&["bank"]);
    let refusal = es256.verify::<Value>(&after[0], &validation).await;
    println!(
        "refused, as it should be: {}",
        refusal.err().ok_or("a token for a shop opened a bank")?
    );
    validation.set_audience(&[AUDIENCE]);
    let refusal = es256.verify::<Value>(&after[1], &validation).await;
    println!(
        "refused, as it should be: {}",
        refusal.err().ok_or("a token of another key was taken")?
    );

    let folder = results()?;
    fs::write(
        folder.join("jwks.json"),
        serde_json::to_string_pretty(&fetched)?,
    )?;
    fs::write(
        folder.join("tokens.txt"),
        [first, during, after].concat().join("\n"),
    )?;
    println!("\nnow verify the tokens without us, with PyJWT (pip install 'pyjwt[crypto]'):\n");
    println!("    python3 examples/verify_tokens.py {}", folder.display());
    Ok(())
}

/// An HSM with a user who may make and use keys.
async fn hsm_with_a_user(clock: Arc<Ahead>) -> Outcome<Session> {
    let hsm = Hsm::create("memory:", Setup::new("admin", ADMIN_PASSWORD).clock(clock)).await?;
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    admin.create_user("issuer", APP_PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "issuer", Scope::Keys)
        .await?;
    Ok(hsm.login("issuer", APP_PASSWORD).await?)
}

async fn issuer<A: Signing>(
    session: &Session,
    name: &str,
    clock: &Arc<Ahead>,
) -> Outcome<Issuer<A>> {
    let key = session.create::<A>(name).await?;
    let issuer = Issuer::builder(key)
        .token_lifetime(LIFETIME)
        .clock(clock.clone());
    Ok(issuer.build()?)
}

async fn issue<A: Signing>(issuer: &Issuer<A>, clock: &Ahead) -> Outcome<String> {
    let now = clock.now();
    let claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "iat": now.unix_seconds(),
        "exp": (now + LIFETIME).unix_seconds(),
    });
    Ok(issuer.sign(&claims).await?)
}

/// What a server answers at `/.well-known/jwks.json`: the keys of all issuers.
async fn key_set(es256: &Issuer<EcdsaP256>, eddsa: &Issuer<Ed25519>) -> Outcome<JwkSet> {
    let mut set = es256.jwks().await?;
    set.keys.extend(eddsa.jwks().await?.keys);
    Ok(set)
}

/// What a verifier elsewhere does, which has `jsonwebtoken` and the key set.
fn verify(set: &JwkSet, tokens: &[String]) -> Outcome {
    for token in tokens {
        let header = decode_header(token)?;
        let kid = header.kid.ok_or("the token does not name its key")?;
        let jwk = set.find(&kid).ok_or("the token's key is not published")?;
        let algorithm = jwk.common.key_algorithm.ok_or("a key without `alg`")?;
        let mut validation = Validation::new(algorithm.try_into()?);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        let token = decode::<Value>(token, &DecodingKey::from_jwk(jwk)?, &validation)?;
        assert_eq!(token.claims["sub"], "alice");
    }
    Ok(())
}

fn key_ids(tokens: &[String]) -> Outcome<Vec<String>> {
    let kid = |token: &String| {
        Ok(Compact::parse(token)?
            .key_id()
            .unwrap_or_default()
            .to_owned())
    };
    tokens.iter().map(kid).collect()
}

/// A folder that stays, for who wants to look.
fn results() -> Outcome<PathBuf> {
    let folder = tempfile::Builder::new().prefix("tokens-").tempdir()?;
    Ok(folder.keep())
}

/// The clock of the system, put ahead, so that nobody has to wait for ten minutes.
#[derive(Debug, Default)]
struct Ahead {
    millis: AtomicU64,
}

impl Ahead {
    fn put_ahead(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.millis.fetch_add(millis, Ordering::Relaxed);
    }

    fn by(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock::default().now() + self.by()
    }

    fn monotonic(&self) -> Duration {
        SystemClock::default().monotonic() + self.by()
    }
}
