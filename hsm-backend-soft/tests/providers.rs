//! Promise: providers are one to their users. What a device over one makes, a device over the other takes; what has no
//! randomness in it comes out equal; what is wrong, both refuse with the same kind of error.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::fmt::Debug;
use std::sync::{Arc, LazyLock};

use aes_kw::KwpAes256;
use aes_kw::cipher::KeyInit;
use futures_executor::block_on;
use hsm_backend_soft::{CryptoProvider, Protector, SoftDevice};
use hsm_core::{
    Algorithm, Binding, CiphertextRef, DeriveParameters, Device, ErrorKind, Hash, KeyFamily,
    KeySpec, KeyType, LoadedKey, NewKey, Operation, PublicKey, Result, SecretBytes, SignInput,
    Usage, Usages, WrappedFormat,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use sha2::{Digest, Sha256, Sha384, Sha512};

#[test]
fn a_key_of_one_is_the_same_key_on_the_other() {
    for pair in pairs() {
        assert_eq!(pair.keys[0].spec(), pair.keys[1].spec());
        for key in &pair.keys {
            assert_eq!(key.public(), pair.new.public.as_ref(), "{pair:?}");
        }
    }
}

#[test]
fn signatures_verify_on_both() {
    for_each(Operation::Sign, |pair, algorithm| {
        let inputs = (vec(any::<u8>(), 0..300), any::<Index>(), 1_u8..);
        property(pair, inputs, |(message, at, flip)| {
            let digest = algorithm.hash().map(|hash| digest(hash, &message));
            let digest = digest.as_deref().map(SignInput::Digest);
            let message = SignInput::Message(&message);
            for input in [Some(message), digest].into_iter().flatten() {
                let signatures = pair.each(|key| block_on(key.sign(algorithm, input)).unwrap());
                if is_deterministic(algorithm) {
                    assert_eq!(signatures[0], signatures[1]);
                }
                for signature in signatures {
                    pair.each(|key| block_on(key.verify(algorithm, message, &signature)).unwrap());
                    let mut altered = signature;
                    let at = at.index(altered.len());
                    altered[at] ^= flip;
                    let verdict = pair.same(|key| block_on(key.verify(algorithm, input, &altered)));
                    assert_eq!(verdict.unwrap_err(), ErrorKind::CryptoFailed);
                }
            }
        });
        let inputs = vec(any::<u8>(), 0..600);
        property(pair, inputs, |noise| {
            let message = SignInput::Message(b"m");
            pair.same(|key| block_on(key.verify(algorithm, message, &noise)))
                .unwrap_err();
            let as_digest = SignInput::Digest(&noise);
            pair.same(|key| block_on(key.verify(algorithm, as_digest, &noise)))
                .unwrap_err();
        });
    });
}

#[test]
fn macs_are_equal() {
    for_each(Operation::Mac, |pair, algorithm| {
        let inputs = (vec(any::<u8>(), 0..300), vec(any::<u8>(), 0..70));
        property(pair, inputs, |(message, noise)| {
            let tag = pair.same(|key| block_on(key.mac(algorithm, &message)));
            let tag = tag.unwrap();
            pair.same(|key| block_on(key.verify_mac(algorithm, &message, &tag)))
                .unwrap();
            for wrong in [&noise, &tag[..tag.len() - 1], &[]] {
                let verdict = pair.same(|key| block_on(key.verify_mac(algorithm, &message, wrong)));
                assert_eq!(verdict.unwrap_err(), ErrorKind::CryptoFailed);
            }
        });
    });
}

#[test]
fn ciphertexts_decrypt_on_both() {
    for_each(Operation::Encrypt, |pair, algorithm| {
        let info = algorithm.info();
        // The largest counters wrap around.
        let iv = prop_oneof![vec(any::<u8>(), info.iv_len), Just(vec![0xff; info.iv_len])];
        let inputs = (vec(any::<u8>(), 0..260), iv, vec(any::<u8>(), 0..40));
        property(pair, inputs, |(plaintext, iv, aad)| {
            let aad = if info.tag_len > 0 { &aad[..] } else { &[] };
            let made = if info.iv_len > 0 && info.tag_len == 0 {
                let iv = Some(iv.as_slice());
                let made = pair.same(|key| block_on(key.encrypt(algorithm, &plaintext, iv, aad)));
                Vec::from_iter(made.ok())
            } else {
                let made = pair.each(|key| block_on(key.encrypt(algorithm, &plaintext, None, aad)));
                agree(&made);
                Vec::from_iter(made.into_iter().flatten())
            };
            for ciphertext in made {
                let ciphertext = ciphertext.as_ref();
                let back = pair.same(|key| decrypt(key, algorithm, ciphertext, aad));
                assert_eq!(back.unwrap(), plaintext);
            }
        });
    });
}

#[test]
fn noise_decrypts_alike() {
    for_each(Operation::Encrypt, |pair, algorithm| {
        let info = algorithm.info();
        let bytes = |len| vec(any::<u8>(), len);
        let noise = prop_oneof![
            vec(any::<u8>(), 0..70),
            bytes(32),
            bytes(pair.key_type().byte_len()),
        ];
        let inputs = (noise, bytes(info.iv_len), bytes(info.tag_len));
        property(pair, inputs, |(noise, iv, tag)| {
            let ciphertext = CiphertextRef {
                ciphertext: &noise,
                iv: &iv,
                tag: &tag,
            };
            let _ = pair.same(|key| decrypt(key, algorithm, ciphertext, &[]));
        });
    });
}

#[test]
fn wrapped_bytes_unwrap_on_both() {
    for_each(Operation::Wrap, |pair, algorithm| {
        let inputs = (vec(any::<u8>(), 0..260), any::<Index>(), 1_u8..);
        property(pair, inputs, |(secret, at, flip)| {
            // Only multiples of 8 bytes go into KW.
            for secret in [&secret[..], &secret[..secret.len() / 8 * 8]] {
                let made = pair.each(|key| block_on(key.wrap(algorithm, secret)));
                agree(&made);
                if is_deterministic(algorithm)
                    && let [Ok(one), Ok(other)] = &made
                {
                    assert_eq!(one, other);
                }
                for mut wrapped in made.into_iter().flatten() {
                    let back = pair.same(|key| unwrap(key, algorithm, &wrapped));
                    assert_eq!(back.unwrap(), secret);
                    let at = at.index(wrapped.len());
                    wrapped[at] ^= flip;
                    let altered = pair.same(|key| unwrap(key, algorithm, &wrapped));
                    assert_eq!(altered.unwrap_err(), ErrorKind::CryptoFailed);
                }
            }
        });
        property(pair, vec(any::<u8>(), 0..520), |noise| {
            let noise = pair.same(|key| unwrap(key, algorithm, &noise));
            assert_eq!(noise.unwrap_err(), ErrorKind::CryptoFailed);
        });
    });
}

#[test]
fn shared_secrets_are_equal() {
    for_each(Operation::Agree, |pair, algorithm| {
        for peer in pairs().filter(|peer| peer.key_type() == pair.key_type()) {
            let theirs = peer.keys[0].public().unwrap();
            let secret = pair.same(|key| agree_with(key, algorithm, theirs)).unwrap();
            let mine = pair.keys[0].public().unwrap();
            let other = peer.same(|key| agree_with(key, algorithm, mine)).unwrap();
            assert_eq!(secret, other);
        }
        if pair.key_type() != KeyType::X25519 {
            return;
        }
        // Every 32 bytes are a public key; those of small order are of no use (RFC 7748 section 6.1).
        property(pair, any::<[u8; 32]>(), |raw| {
            let peer = PublicKey::from_raw(KeyType::X25519, raw).unwrap();
            pair.same(|key| agree_with(key, algorithm, &peer)).unwrap();
        });
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        let one = core::array::from_fn(|at| u8::from(at == 0));
        for raw in [[0; 32], one, minus_one] {
            let peer = PublicKey::from_raw(KeyType::X25519, raw).unwrap();
            let refused = pair.same(|key| agree_with(key, algorithm, &peer));
            assert_eq!(refused.unwrap_err(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn encapsulated_secrets_are_equal() {
    for_each(Operation::Encapsulate, |pair, algorithm| {
        property(pair, (any::<Index>(), 1_u8..), |(at, flip)| {
            for sent in pair.each(|key| block_on(key.encapsulate(algorithm)).unwrap()) {
                let received = pair.same(|key| decapsulate(key, algorithm, &sent.ciphertext));
                assert_eq!(received.unwrap(), sent.secret.expose());
                let mut altered = sent.ciphertext;
                let at = at.index(altered.len());
                altered[at] ^= flip;
                // Implicit rejection has no randomness in it either.
                let rejected = pair.same(|key| decapsulate(key, algorithm, &altered));
                assert_ne!(rejected.unwrap(), sent.secret.expose());
            }
        });
    });
}

#[test]
fn derived_secrets_are_equal() {
    for_each(Operation::Derive, |pair, algorithm| {
        let bytes = || vec(any::<u8>(), 0..150);
        property(pair, (bytes(), bytes(), 0..1100_usize), |inputs| {
            let parameters = DeriveParameters {
                salt_or_label: &inputs.0,
                info_or_context: &inputs.1,
            };
            let derived =
                pair.same(|key| block_on(key.derive(algorithm, parameters, inputs.2)).map(expose));
            assert_eq!(derived.is_ok(), (1..=1024).contains(&inputs.2));
        });
    });
}

#[test]
fn exports_of_one_are_imports_of_the_other() {
    for (algorithm, transport) in [
        (Algorithm::A128Kwp, KeyType::Aes128),
        (Algorithm::A192Kwp, KeyType::Aes192),
        (Algorithm::A256Kwp, KeyType::Aes256),
        (Algorithm::RsaAesKwp, KeyType::Rsa2048),
    ] {
        let spec = KeySpec::new(transport, TRANSPORT).unwrap();
        let wrapping = load(make(&HOME.devices[0], &spec));
        for pair in pairs() {
            let (spec, target) = (*pair.keys[0].spec(), &pair.new.sealed);
            let blobs = wrapping.each(|key| block_on(key.export(algorithm, target, &binding())));
            agree(&blobs);
            if algorithm != Algorithm::RsaAesKwp {
                assert_eq!(blobs[0].as_ref().unwrap(), blobs[1].as_ref().unwrap());
            }
            for blob in blobs.into_iter().flatten() {
                let format = WrappedFormat::Bound;
                let arrived = wrapping
                    .each(|key| block_on(key.import(algorithm, &blob, format, &spec, &binding())));
                for new in arrived {
                    assert_eq!(new.unwrap().public, pair.new.public, "{pair:?}");
                }
            }
        }
    }
}

/// Every bit of an encoded key is turned, of an RSA key every so many; both providers take the outcome for the same key, or
/// neither takes it.
#[test]
fn altered_encodings_are_taken_or_refused_alike() {
    for pair in pairs() {
        let encoded = encoded(pair);
        import_alike(pair, &encoded).unwrap();
        let step = match pair.key_type().info().family {
            KeyFamily::Rsa => encoded.len() * 8 / 60,
            _ => 1,
        };
        for bit in (0..encoded.len() * 8).step_by(step) {
            let mut altered = encoded.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let _ = import_alike(pair, &altered);
        }
        let edits = (any::<Index>(), vec(any::<u8>(), 0..4), 0..4_usize);
        property(pair, edits, |(at, insert, remove)| {
            let mut altered = encoded.clone();
            let at = at.index(altered.len());
            let end = altered.len().min(at + remove);
            altered.splice(at..end, insert);
            let _ = import_alike(pair, &altered);
        });
        property(pair, vec(any::<u8>(), 0..200), |noise| {
            let _ = import_alike(pair, &noise);
        });
    }
}

/// Imports into both devices: equal public keys, or the same kind of error.
fn import_alike(pair: &Pair, encoded: &[u8]) -> Result<Option<PublicKey>, ErrorKind> {
    let made = HOME.devices.each_ref().map(|device| {
        let key = SecretBytes::copy_from(encoded);
        block_on(device.import(key, pair.keys[0].spec(), &binding())).map(|new| new.public)
    });
    let [one, other] = made.map(|made| made.map_err(|error| error.kind()));
    assert!(
        one == other,
        "{pair:?}: {one:?} and {other:?} of {encoded:02x?}"
    );
    one
}

/// The encoding of a key, exported under a key that is known here.
fn encoded(pair: &Pair) -> Vec<u8> {
    let secret = [7; 32];
    let spec = KeySpec::new(KeyType::Aes256, TRANSPORT).unwrap();
    let key = SecretBytes::copy_from(&secret);
    let new = block_on(HOME.devices[0].import(key, &spec, &binding())).unwrap();
    let wrapping = load(new);
    let algorithm = Algorithm::A256Kwp;
    let blob = block_on(wrapping.keys[0].export(algorithm, &pair.new.sealed, &binding())).unwrap();
    let mut plaintext = vec![0; blob.len()];
    let plaintext = KwpAes256::new(&secret.into())
        .unwrap_key(&blob, &mut plaintext)
        .unwrap();
    // The header of `docs/sealed_key.md` stands in front.
    plaintext[6..].to_vec()
}

/// One key, loaded by a device over each provider.
struct Pair {
    new: NewKey,
    keys: [Arc<dyn LoadedKey>; 2],
}

impl Pair {
    fn key_type(&self) -> KeyType {
        self.keys[0].spec().key_type
    }

    fn each<R>(&self, run: impl Fn(&dyn LoadedKey) -> R) -> [R; 2] {
        self.keys.each_ref().map(|key| run(&**key))
    }

    /// Does the same with both, which must give the same.
    fn same<R: Debug + PartialEq>(
        &self,
        run: impl Fn(&dyn LoadedKey) -> Result<R>,
    ) -> Result<R, ErrorKind> {
        same(self.each(run))
    }
}

impl Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a key of type {}", self.key_type())
    }
}

fn same<R: Debug + PartialEq>(results: [Result<R>; 2]) -> Result<R, ErrorKind> {
    let [one, other] = results.map(|result| result.map_err(|error| error.kind()));
    assert_eq!(one, other);
    one
}

/// Both succeeded, or both failed with the same kind of error.
fn agree<R>(results: &[Result<R>; 2]) {
    let [one, other] = results
        .each_ref()
        .map(|result| result.as_ref().err().map(hsm_core::Error::kind));
    assert_eq!(one, other);
}

/// Two devices over one root, with all their keys.
struct Home {
    devices: [SoftDevice; 2],
    _folder: tempfile::TempDir,
}

static HOME: LazyLock<Home> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let protector = Protector::KeyFile(folder.path().join("key"));
    let made = SoftDevice::options(CryptoProvider::RustCrypto).create(&root, &protector);
    made.unwrap();
    let devices = [CryptoProvider::AwsLc, CryptoProvider::RustCrypto];
    Home {
        devices: devices.map(|provider| {
            let opened = SoftDevice::options(provider).open(&root, &protector);
            opened.unwrap()
        }),
        _folder: folder,
    }
});

/// A key of every type that both have, made by each.
static KEYS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let common = KeyType::all().filter(|key_type| {
        let mut devices = HOME.devices.iter();
        devices.all(|device| device.capabilities().supports_key_type(*key_type))
    });
    let specs = common.map(|key_type| {
        let usages = key_type.info().usages.without(TRANSPORT);
        KeySpec::new(key_type, usages).unwrap().exportable()
    });
    specs
        .flat_map(|spec| {
            HOME.devices
                .each_ref()
                .map(|device| load(make(device, &spec)))
        })
        .collect()
});

fn pairs() -> impl Iterator<Item = &'static Pair> {
    KEYS.iter()
}

/// Runs `test` with every key and every algorithm of both devices that does `operation` with it.
fn for_each(operation: Operation, test: impl Fn(&Pair, Algorithm)) {
    let mut tested = 0;
    for pair in pairs() {
        for algorithm in pair.key_type().algorithms() {
            let common = HOME
                .devices
                .iter()
                .all(|device| device.capabilities().supports_algorithm(*algorithm));
            if common && algorithm.does(operation) {
                test(pair, *algorithm);
                tested += 1;
            }
        }
    }
    assert!(tested > 0);
}

/// Runs `test` with some inputs; RSA is slow, so with fewer.
fn property<S: Strategy>(pair: &Pair, inputs: S, test: impl Fn(S::Value)) {
    let cases = match pair.key_type() {
        KeyType::Rsa2048 => 4,
        KeyType::Rsa3072 | KeyType::Rsa4096 => 1,
        _ => 48,
    };
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(cases)
    };
    let run = TestRunner::new(config).run(&inputs, |inputs| {
        test(inputs);
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{pair:?}: {failure}");
    }
}

fn make(device: &SoftDevice, spec: &KeySpec) -> NewKey {
    block_on(device.generate(spec, &binding())).unwrap()
}

fn load(new: NewKey) -> Pair {
    let keys = HOME
        .devices
        .each_ref()
        .map(|device| block_on(device.load(&new.sealed, &binding())).unwrap());
    Pair { new, keys }
}

fn decrypt(
    key: &dyn LoadedKey,
    algorithm: Algorithm,
    ciphertext: CiphertextRef<'_>,
    aad: &[u8],
) -> Result<Vec<u8>> {
    block_on(key.decrypt(algorithm, ciphertext, aad)).map(expose)
}

fn unwrap(key: &dyn LoadedKey, algorithm: Algorithm, wrapped: &[u8]) -> Result<Vec<u8>> {
    block_on(key.unwrap(algorithm, wrapped)).map(expose)
}

fn agree_with(key: &dyn LoadedKey, algorithm: Algorithm, peer: &PublicKey) -> Result<Vec<u8>> {
    block_on(key.agree(algorithm, peer)).map(expose)
}

fn decapsulate(key: &dyn LoadedKey, algorithm: Algorithm, sent: &[u8]) -> Result<Vec<u8>> {
    block_on(key.decapsulate(algorithm, sent)).map(expose)
}

#[expect(clippy::needless_pass_by_value, reason = "it ends a chain of calls")]
fn expose(secret: SecretBytes) -> Vec<u8> {
    secret.expose().to_vec()
}

fn is_deterministic(algorithm: Algorithm) -> bool {
    use Algorithm as A;
    let random = [A::Ps256, A::Ps384, A::Ps512, A::RsaOaep, A::RsaOaep256];
    !random.contains(&algorithm)
        && !["ES", "ML-DSA"]
            .iter()
            .any(|family| algorithm.name().starts_with(family))
}

fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => Sha256::digest(message).to_vec(),
        Hash::Sha384 => Sha384::digest(message).to_vec(),
        _ => Sha512::digest(message).to_vec(),
    }
}

fn binding() -> Binding {
    Binding::new("test", b"providers")
}

const TRANSPORT: Usages = Usages::of(&[Usage::Import, Usage::Export]);
