//! Two providers of cryptography over the same keys: whatever is asked of them, they answer the same, and each takes what the other
//! made.
#![no_main]

use std::fmt::Debug;
use std::sync::{Arc, LazyLock};

use hsm_backend_soft::{CryptoProvider, Protector, SoftDevice};
use hsm_core::{
    Algorithm, CiphertextRef, DeriveParameters, Device, ErrorKind, KeyType, LoadedKey, Operation,
    PublicKey, SecretBytes, SignInput,
};
use hsm_fuzz::{Bytes, binding, spec};
use libfuzzer_sys::fuzz_target;
use pollster::block_on;

/// A key, loaded by each.
struct Pair {
    key_type: KeyType,
    keys: [Arc<dyn LoadedKey>; 2],
    algorithms: Vec<Algorithm>,
}

/// One key of each type that both have; of RSA the fastest.
static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("hsm-fuzz-providers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a place for the domain key");
    let (path, protector) = (
        folder.join("domain"),
        Protector::KeyFile(folder.join("key")),
    );
    let one = SoftDevice::create(&path, &protector).expect("the self-tests pass");
    let two = SoftDevice::options(CryptoProvider::RustCrypto).open(&path, &protector);
    let two = two.expect("the self-tests pass");
    std::fs::remove_dir_all(&folder).expect("nobody else is there");
    let has = |key_type: &KeyType| {
        two.capabilities().supports_key_type(*key_type)
            && !matches!(key_type, KeyType::Rsa3072 | KeyType::Rsa4096)
    };
    let pair = |key_type: KeyType| {
        let made = block_on(one.generate(&spec(key_type), &binding())).expect("it has the type");
        let load = |device: &SoftDevice| block_on(device.load(&made.sealed, &binding()));
        let algorithms = key_type.algorithms().iter().copied();
        Pair {
            key_type,
            keys: [
                load(&one).expect("its own"),
                load(&two).expect("the other's"),
            ],
            algorithms: algorithms
                .filter(|algorithm| two.capabilities().supports_algorithm(*algorithm))
                .collect(),
        }
    };
    KeyType::all().filter(has).map(pair).collect()
});

fuzz_target!(|data: &[u8]| {
    let mut data = Bytes(data);
    let pair = &PAIRS[usize::from(data.byte()) % PAIRS.len()];
    let algorithm = data.choose(&pair.algorithms);
    let there = data.byte() % 2 == 0;
    for operation in algorithm.info().operations {
        run(pair, *operation, algorithm, there, data.clone());
    }
});

fn run(pair: &Pair, operation: Operation, algorithm: Algorithm, there: bool, mut data: Bytes<'_>) {
    let [one, two] = &pair.keys;
    let (from, to) = if there { (one, two) } else { (two, one) };
    match operation {
        Operation::Sign => {
            let len = data.number();
            let message = SignInput::Message(data.take(len));
            let signature = data.0;
            same(
                block_on(one.verify(algorithm, message, signature)),
                block_on(two.verify(algorithm, message, signature)),
            );
            let signature = block_on(from.sign(algorithm, message)).expect("it signs");
            block_on(to.verify(algorithm, message, &signature)).expect("the other's signature");
        }
        Operation::Mac => {
            let len = data.number();
            let (message, tag) = (data.take(len), data.0);
            same(
                block_on(one.verify_mac(algorithm, message, tag)),
                block_on(two.verify_mac(algorithm, message, tag)),
            );
            same(
                block_on(one.mac(algorithm, message)),
                block_on(two.mac(algorithm, message)),
            );
        }
        Operation::Encrypt => {
            let iv_len = usize::from(data.byte()) % 32;
            let iv = data.take(iv_len);
            let tag_len = usize::from(data.byte()) % 32;
            let tag = data.take(tag_len);
            let aad_len = usize::from(data.byte());
            let aad = data.take(aad_len);
            let ciphertext = CiphertextRef {
                ciphertext: data.0,
                iv,
                tag,
            };
            same(
                block_on(one.decrypt(algorithm, ciphertext, aad)).map(Shown),
                block_on(two.decrypt(algorithm, ciphertext, aad)).map(Shown),
            );
            let plaintext = data.0;
            let encrypted = block_on(from.encrypt(algorithm, plaintext, None, aad));
            let other = block_on(to.encrypt(algorithm, plaintext, None, aad));
            same(encrypted.as_ref().map(drop), other.as_ref().map(drop));
            if let Ok(encrypted) = encrypted {
                let back = block_on(to.decrypt(algorithm, encrypted.as_ref(), aad));
                assert_eq!(back.expect("the other's").expose(), plaintext);
            }
        }
        Operation::Wrap => {
            same(
                block_on(one.unwrap(algorithm, data.0)).map(Shown),
                block_on(two.unwrap(algorithm, data.0)).map(Shown),
            );
            let wrapped = block_on(from.wrap(algorithm, data.0));
            let other = block_on(to.wrap(algorithm, data.0));
            same(wrapped.as_ref().map(drop), other.as_ref().map(drop));
            if let Ok(wrapped) = wrapped {
                let back = block_on(to.unwrap(algorithm, &wrapped));
                assert_eq!(back.expect("the other's").expose(), data.0);
            }
        }
        Operation::Agree => {
            if let Ok(peer) = PublicKey::from_raw(pair.key_type, data.0) {
                same(
                    block_on(one.agree(algorithm, &peer)).map(Shown),
                    block_on(two.agree(algorithm, &peer)).map(Shown),
                );
            }
        }
        Operation::Encapsulate => {
            same(
                block_on(one.decapsulate(algorithm, data.0)).map(Shown),
                block_on(two.decapsulate(algorithm, data.0)).map(Shown),
            );
            let made = block_on(from.encapsulate(algorithm)).expect("it encapsulates");
            let back = block_on(to.decapsulate(algorithm, &made.ciphertext));
            assert_eq!(back.expect("the other's").expose(), made.secret.expose());
        }
        Operation::Derive => {
            let len = data.number();
            let salt_len = usize::from(data.byte());
            let parameters = DeriveParameters {
                salt_or_label: data.take(salt_len),
                info_or_context: data.0,
            };
            same(
                block_on(one.derive(algorithm, parameters, len)).map(Shown),
                block_on(two.derive(algorithm, parameters, len)).map(Shown),
            );
        }
        other => panic!("what are {other:?} held to?"),
    }
}

/// A secret of a fuzz target, which is none.
struct Shown(SecretBytes);

impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose() == other.0.expose()
    }
}

impl Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", self.0.expose())
    }
}

/// The same answer, or the same kind of refusal.
fn same<T: PartialEq + Debug, E: std::borrow::Borrow<hsm_core::Error>>(
    one: std::result::Result<T, E>,
    two: std::result::Result<T, E>,
) {
    let kind = |error: E| -> ErrorKind { error.borrow().kind() };
    assert_eq!(one.map_err(kind), two.map_err(kind));
}
