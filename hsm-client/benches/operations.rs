//! Every operation through `Key<A>`, with roles, lifecycle and audit on, beside the raw aws-lc-rs call in the same run.
//! Prints a table of ratios at the end.
//!
//! `cargo bench -p hsm-client --bench operations`; add `-- sign` to run only what has `sign` in its name.

use std::future::Future;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey,
};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hkdf, hmac};
use criterion::{BenchmarkId, Criterion};
use hsm_client::kinds::{
    Aes256Gcm, Aes256Kwp, EcdhP256, EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, HmacSha256, Kdk256,
    KeyKind, RsaOaep2048, RsaPkcs1v15Sign2048, RsaPss2048, RsaPss3072, RsaPss4096, X25519,
};
use hsm_client::{BuiltInRole, Hsm, Key, Scope, Session, Setup};
use pollster::block_on;

/// Runs an operation of the HSM in one task and times the whole.
fn time<F: Future>(iterations: u64, mut operation: impl FnMut() -> F) -> Duration {
    block_on(async {
        let start = Instant::now();
        for _ in 0..iterations {
            black_box(operation().await);
        }
        start.elapsed()
    })
}

/// Measures one operation through the HSM and raw, one after the other, and the same with two threads.
struct Bench<'c> {
    criterion: &'c mut Criterion,
    names: Vec<String>,
}

impl Bench<'_> {
    fn pair<F: Future, R>(
        &mut self,
        name: &str,
        hsm: impl Fn() -> F + Sync,
        raw: impl Fn() -> R + Sync,
    ) {
        self.names.push(name.to_owned());
        let mut group = self.criterion.benchmark_group(name);
        group.bench_function(BenchmarkId::from_parameter("raw"), |bencher| {
            bencher.iter(&raw);
        });
        group.bench_function(BenchmarkId::from_parameter("hsm"), |bencher| {
            bencher.iter_custom(|iterations| time(iterations, &hsm));
        });
        group.bench_function(BenchmarkId::from_parameter("hsm-2-threads"), |bencher| {
            bencher.iter_custom(|iterations| {
                let each = iterations.div_ceil(2);
                let barrier = Barrier::new(2);
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| {
                        barrier.wait();
                        time(each, &hsm)
                    });
                    barrier.wait();
                    let mine = time(each, &hsm);
                    mine.max(other.join().expect("the other thread does not panic"))
                })
            });
        });
        group.finish();
    }

    /// Reads what criterion has measured since `start` and prints the ratios.
    fn print(&self, folder: &std::path::Path, start: SystemTime) {
        println!(
            "\n| operation | raw/s | HSM/s | HSM / raw | 2 threads / 1 |\n|---|---:|---:|---:|---:|"
        );
        for name in &self.names {
            let median = |what: &str| {
                let path = folder
                    .join(name.replace('/', "_"))
                    .join(what)
                    .join("new/estimates.json");
                // A name that was left out this time has the figures of an earlier run.
                if std::fs::metadata(&path).ok()?.modified().ok()? < start {
                    return None;
                }
                let json: serde_json::Value =
                    serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
                json["median"]["point_estimate"].as_f64()
            };
            let (Some(raw), Some(hsm), Some(two)) =
                (median("raw"), median("hsm"), median("hsm-2-threads"))
            else {
                continue;
            };
            println!(
                "| {name} | {:.0} | {:.0} | {:.3} | {:.2} |",
                1e9 / raw,
                1e9 / hsm,
                raw / hsm,
                hsm / two
            );
        }
    }
}

async fn key<A: KeyKind>(session: &Session, name: &str) -> Key<A> {
    session.create::<A>(name).await.expect("the key is made")
}

fn main() {
    let start = SystemTime::now();
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let url = format!("soft:{}", folder.path().join("bench.hsm").display());
    let (_hsm, app) = block_on(async {
        let hsm = Hsm::create(&url, Setup::new("admin", "administrator")).await?;
        let admin = hsm.login("admin", "administrator").await?;
        admin.create_user("app", "application").await?;
        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .await?;
        let app = hsm.login("app", "application").await?;
        Ok::<_, hsm_client::Error>((hsm, app))
    })
    .expect("the HSM is made");

    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    let mut bench = Bench {
        criterion: &mut criterion,
        names: Vec::new(),
    };
    signatures(&mut bench, &app);
    encryption(&mut bench, &app);
    the_rest(&mut bench, &app);
    let names = std::mem::take(&mut bench.names);
    let output = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(
            || concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into(),
            std::path::PathBuf::from,
        )
        .join("criterion");
    Bench {
        criterion: &mut criterion,
        names,
    }
    .print(&output, start);
    criterion.final_summary();
}

fn signatures(bench: &mut Bench<'_>, app: &Session) {
    let random = SystemRandom::new();
    let message = [7; 64];

    let ecdsa = |algorithm| EcdsaKeyPair::generate(algorithm).expect("a key pair");
    let raw = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let p256 = block_on(key::<EcdsaP256>(app, "p256"));
    bench.pair(
        "P-256 sign",
        || p256.sign(&message),
        || raw.sign(&random, &message),
    );
    let signature = raw.sign(&random, &message).expect("a signature");
    let public = raw.public_key().as_ref().to_vec();
    let ours = block_on(p256.sign(&message)).expect("a signature");
    bench.pair(
        "P-256 verify",
        || p256.verify(&message, &ours),
        || {
            let public = signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public);
            black_box(public.verify(&message, signature.as_ref())).expect("it verifies");
        },
    );

    let raw = ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING);
    let p384 = block_on(key::<EcdsaP384>(app, "p384"));
    bench.pair(
        "P-384 sign",
        || p384.sign(&message),
        || raw.sign(&random, &message),
    );

    let raw = ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING);
    let p521 = block_on(key::<EcdsaP521>(app, "p521"));
    bench.pair(
        "P-521 sign",
        || p521.sign(&message),
        || raw.sign(&random, &message),
    );

    let raw = Ed25519KeyPair::generate().expect("a key pair");
    let ed25519 = block_on(key::<Ed25519>(app, "ed25519"));
    bench.pair(
        "Ed25519 sign",
        || ed25519.sign(&message),
        || raw.sign(&message),
    );

    let rsa = |size| RsaKeyPair::generate(size).expect("a key pair");
    let raw = rsa(KeySize::Rsa2048);
    let rsa2048 = block_on(key::<RsaPss2048>(app, "rsa2048"));
    let sign = |raw: &RsaKeyPair, encoding| {
        let mut signature = vec![0; raw.public_modulus_len()];
        raw.sign(encoding, &random, &message, &mut signature)
            .expect("a signature");
        black_box(signature);
    };
    bench.pair(
        "RSA-2048 sign PS256",
        || rsa2048.sign(&message),
        || sign(&raw, &RSA_PSS_SHA256),
    );
    let pkcs1 = block_on(key::<RsaPkcs1v15Sign2048>(app, "rsa2048-pkcs1"));
    bench.pair(
        "RSA-2048 sign RS256",
        || pkcs1.sign(&message),
        || sign(&raw, &RSA_PKCS1_SHA256),
    );
    let raw = rsa(KeySize::Rsa3072);
    let rsa3072 = block_on(key::<RsaPss3072>(app, "rsa3072"));
    bench.pair(
        "RSA-3072 sign PS256",
        || rsa3072.sign(&message),
        || sign(&raw, &RSA_PSS_SHA256),
    );
    let raw = rsa(KeySize::Rsa4096);
    let rsa4096 = block_on(key::<RsaPss4096>(app, "rsa4096"));
    bench.pair(
        "RSA-4096 sign PS512",
        || rsa4096.sign(&message),
        || sign(&raw, &signature::RSA_PSS_SHA512),
    );
}

fn encryption(bench: &mut Bench<'_>, app: &Session) {
    let aes = block_on(key::<Aes256Gcm>(app, "aes"));
    let raw = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("a key"));
    for (name, len) in [("64 B", 64), ("1 KiB", 1 << 10), ("16 KiB", 16 << 10)] {
        let plaintext = vec![7; len];
        let seal = || {
            let mut nonce = [0; 12];
            fill(&mut nonce).expect("random bytes");
            let mut data = plaintext.clone();
            let tag = raw
                .seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::empty(),
                    &mut data,
                )
                .expect("a ciphertext");
            (nonce, data, tag)
        };
        bench.pair(
            &format!("AES-256-GCM encrypt {name}"),
            || aes.encrypt(&plaintext),
            seal,
        );
        let ours = block_on(aes.encrypt(&plaintext)).expect("a ciphertext");
        let (nonce, data, tag) = seal();
        bench.pair(
            &format!("AES-256-GCM decrypt {name}"),
            || aes.decrypt(&ours),
            || {
                let mut out = vec![0; data.len()];
                raw.open_separate_gather(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::empty(),
                    &data,
                    tag.as_ref(),
                    &mut out,
                )
                .expect("it decrypts");
                black_box(out);
            },
        );
    }
    let wrapping = block_on(key::<Aes256Kwp>(app, "kwp"));
    let data_key = [9; 32];
    bench.pair(
        "AES-256-KWP wrap 32 B",
        || wrapping.wrap(&data_key),
        || {
            let mut out = [0; 40];
            let kek = AesKek::new(&AES_256, &[7; 32]).expect("a key");
            black_box(kek.wrap_with_padding(&data_key, &mut out)).expect("a wrapped key");
        },
    );

    let oaep = block_on(key::<RsaOaep2048>(app, "oaep"));
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key pair");
    let public = OaepPublicEncryptingKey::new(private.public_key()).expect("a public key");
    let private = OaepPrivateDecryptingKey::new(private).expect("a private key");
    let mut wrapped = vec![0; 256];
    public
        .encrypt(&OAEP_SHA256_MGF1SHA256, &data_key, &mut wrapped, None)
        .expect("a ciphertext");
    let ours = block_on(oaep.wrap(&data_key)).expect("a ciphertext");
    bench.pair(
        "RSA-2048 OAEP-256 unwrap",
        || oaep.unwrap(&ours),
        || {
            let mut out = vec![0; 256];
            private
                .decrypt(&OAEP_SHA256_MGF1SHA256, &wrapped, &mut out, None)
                .expect("it decrypts");
            black_box(out);
        },
    );
}

fn the_rest(bench: &mut Bench<'_>, app: &Session) {
    let message = [7; 64];
    let mac = block_on(key::<HmacSha256>(app, "hmac"));
    let raw = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    bench.pair(
        "HMAC-SHA256 64 B",
        || mac.mac(&message),
        || hmac::sign(&raw, &message),
    );

    let agree = |algorithm: &'static agreement::Algorithm, peer: &[u8], raw: &PrivateKey| {
        let peer = UnparsedPublicKey::new(algorithm, peer);
        agreement::agree(raw, peer, (), |secret| Ok(secret.to_vec())).expect("a shared secret")
    };
    let raw = PrivateKey::generate(&agreement::ECDH_P256).expect("a key pair");
    let ours = block_on(key::<EcdhP256>(app, "ecdh"));
    let peer = block_on(ours.public_key()).expect("a public key");
    bench.pair(
        "ECDH P-256",
        || ours.agree(&peer),
        || {
            drop(black_box(agree(&agreement::ECDH_P256, peer.as_raw(), &raw)));
        },
    );
    let raw = PrivateKey::generate(&agreement::X25519).expect("a key pair");
    let ours = block_on(key::<X25519>(app, "x25519"));
    let peer = block_on(ours.public_key()).expect("a public key");
    bench.pair(
        "X25519",
        || ours.agree(&peer),
        || {
            drop(black_box(agree(&agreement::X25519, peer.as_raw(), &raw)));
        },
    );

    let kdk = block_on(key::<Kdk256>(app, "kdk"));
    bench.pair(
        "HKDF-SHA256 32 B",
        || kdk.hkdf(b"salt", b"info", 32),
        || {
            let mut out = [0; 32];
            hkdf::Salt::new(hkdf::HKDF_SHA256, b"salt")
                .extract(&[7; 32])
                .expand(&[b"info"], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(&mut out))
                .expect("derived bytes");
            black_box(out);
        },
    );

    bench.pair(
        "random 32 B",
        || app.random(32),
        || {
            let mut out = vec![0; 32];
            fill(&mut out).expect("random bytes");
            black_box(out);
        },
    );
}
