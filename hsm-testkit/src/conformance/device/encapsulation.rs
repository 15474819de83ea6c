//! Encapsulation of shared secrets.

use hsm_core::{Algorithm, Device, ErrorKind, KeyType, Operation};
use subtle::ConstantTimeEq;

use super::super::{fails, ok};
use super::{TestKey, data_usages, has, hex, supported};

const LENGTH: &str = "a ciphertext of the wrong length is InvalidInput";
const REJECTED: &str =
    "a ciphertext that was not made for the key gives another secret and no error";

/// Length of a shared secret (FIPS 203 table 3).
const SECRET_LEN: usize = 32;

/// What is encapsulated to a key decapsulates with it, and no two secrets are the same.
pub async fn encapsulated_secrets_decapsulate<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Encapsulate) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms {
            let sent = ok(key.loaded.encapsulate(algorithm).await, algorithm);
            assert_eq!(
                Some(sent.ciphertext.len()),
                algorithm.encapsulation_len(),
                "length of a ciphertext of {algorithm}"
            );
            assert_eq!(sent.secret.len(), SECRET_LEN, "length of a shared secret");
            for _ in 0..2 {
                let received = key.loaded.decapsulate(algorithm, &sent.ciphertext).await;
                let same = ok(received, algorithm).ct_eq(&sent.secret);
                assert!(bool::from(same), "both sides have one secret: {algorithm}");
            }
            let again = ok(key.loaded.encapsulate(algorithm).await, algorithm);
            assert_ne!(sent.ciphertext, again.ciphertext, "{algorithm}");
            assert!(
                !bool::from(sent.secret.ct_eq(&again.secret)),
                "two encapsulations have two secrets: {algorithm}"
            );
        }
    }
}

/// Altered and foreign ciphertexts give other secrets, always the same one for the same ciphertext (implicit rejection).
pub async fn wrong_encapsulations_give_other_secrets<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Encapsulate) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let other = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms {
            let clause = format!("{REJECTED}: {algorithm}");
            let sent = ok(key.loaded.encapsulate(algorithm).await, &clause);
            let foreign = other.loaded.decapsulate(algorithm, &sent.ciphertext);
            let foreign = ok(foreign.await, &clause);
            assert!(!bool::from(foreign.ct_eq(&sent.secret)), "{clause}");
            let len = sent.ciphertext.len();
            for at in [0, len / 2, len - 1] {
                let mut altered = sent.ciphertext.clone();
                altered[at] ^= 1;
                let one = ok(key.loaded.decapsulate(algorithm, &altered).await, &clause);
                let two = ok(key.loaded.decapsulate(algorithm, &altered).await, &clause);
                assert!(!bool::from(one.ct_eq(&sent.secret)), "{clause}");
                assert!(bool::from(one.ct_eq(&two)), "{clause}, the same each time");
            }
        }
    }
}

/// Ciphertexts have one length.
pub async fn encapsulations_of_the_wrong_length_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Encapsulate) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms {
            let sent = ok(key.loaded.encapsulate(algorithm).await, algorithm);
            let long = [&sent.ciphertext[..], &[0]].concat();
            for wrong in [&sent.ciphertext[1..], &long, &[]] {
                let result = key.loaded.decapsulate(algorithm, wrong).await;
                let clause = format!("{LENGTH}: {} for {algorithm}", wrong.len());
                fails(result, &[ErrorKind::InvalidInput], clause);
            }
        }
    }
}

/// draft-connolly-cfrg-xwing-kem-10 appendix C, the first vector.
pub async fn x_wing_secrets_are_the_published_ones<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let (key_type, algorithm) = (KeyType::XWing, Algorithm::XWing);
    if !has(&device, key_type, algorithm) {
        return;
    }
    let seed = "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26";
    let pkcs8 = format!("3034020100300d060b2b0601040183e62d81c87a0420{seed}");
    let key = TestKey::import(&device, key_type, data_usages(key_type), &hex(&pkcs8)).await;
    let public = include_bytes!("../vectors/x_wing.pub");
    assert_eq!(key.public().as_raw(), public, "the public half");
    let ciphertext = include_bytes!("../vectors/x_wing.ciphertext");
    let received = ok(
        key.loaded.decapsulate(algorithm, ciphertext).await,
        algorithm,
    );
    let secret = "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384";
    assert!(received.expose() == hex(secret), "appendix C: {algorithm}");
}

/// Secrets of Wycheproof, `mlkem_*_test.json`, test 2.
pub async fn ml_kem_secrets_are_the_published_ones<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let vectors: [(KeyType, Algorithm, u8, &[u8], &str); 3] = [
        (
            KeyType::MlKem512,
            Algorithm::MlKem512,
            1,
            include_bytes!("../vectors/ml_kem_512.ciphertext"),
            "319839e82ab6b222de7b619e80da8391522bbb37677018494a4742c53f9abfdf",
        ),
        (
            KeyType::MlKem768,
            Algorithm::MlKem768,
            2,
            include_bytes!("../vectors/ml_kem_768.ciphertext"),
            "e7184a0975ee3470878d2d159ec83129c8aec253d4ee17b4810311d198cd0368",
        ),
        (
            KeyType::MlKem1024,
            Algorithm::MlKem1024,
            3,
            include_bytes!("../vectors/ml_kem_1024.ciphertext"),
            "489dd1e9c2be4af3482bdb35bb26ce760e6e414da6ecbe489985748a825f1cd6",
        ),
    ];
    let seed = "7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f";
    for (key_type, algorithm, arc, ciphertext, secret) in vectors {
        if !has(&device, key_type, algorithm) {
            continue;
        }
        let pkcs8 = format!("3054020100300b060960864801650304040{arc}04428040{seed}");
        let usages = data_usages(key_type);
        let key = TestKey::import(&device, key_type, usages, &hex(&pkcs8)).await;
        let received = key.loaded.decapsulate(algorithm, ciphertext).await;
        let received = ok(received, algorithm);
        assert!(received.expose() == hex(secret), "Wycheproof: {algorithm}");
    }
}
