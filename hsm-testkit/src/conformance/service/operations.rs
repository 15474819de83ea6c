//! Encryption, wrapping, agreement, derivation, random bytes; and what does not fit.

use hsm_core::{
    Algorithm, AttributesUpdate, ErrorKind, KeyFamily, KeyType, Operation, Request, Usage,
};

use super::super::{fails, ok};
use super::*;

const MISFIT: &str = "an algorithm that does not fit the key is InvalidInput";

/// Three blocks, as CBC without padding asks for.
const BLOCKS: &[u8; 48] = &[0x5a; 48];

/// Every encryption algorithm decrypts what it encrypted, with the key that encrypted it only.
pub async fn ciphertexts_decrypt(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    for key_type in types_for(Operation::Encrypt) {
        let made = caller.create_if_supported(key_type.name(), key_type, ENCRYPT);
        let Some(info) = made.await else {
            continue;
        };
        let other = caller.create("other", key_type, ENCRYPT).await;
        for algorithm in offered(caller, key_type, Operation::Encrypt) {
            let aad: &[u8] = if algorithm.info().tag_len > 0 {
                b"aad"
            } else {
                b""
            };
            let sealed = caller.encrypt(info.key(), algorithm, BLOCKS, aad).await;
            let mut sealed = ok(sealed, algorithm);
            assert_ne!(sealed.ciphertext, BLOCKS, "{algorithm}");
            let opened = caller.decrypt(info.key(), algorithm, &sealed, aad).await;
            assert_eq!(ok(opened, algorithm).expose(), BLOCKS, "{algorithm}");
            if let Ok(opened) = caller.decrypt(other.key(), algorithm, &sealed, aad).await {
                assert_ne!(opened.expose(), BLOCKS, "{algorithm} under another key");
            }
            if algorithm.info().tag_len == 0 {
                continue;
            }
            let kinds = &[ErrorKind::CryptoFailed];
            let decrypted = caller.decrypt(info.key(), algorithm, &sealed, b"").await;
            fails(decrypted, kinds, "other associated data");
            sealed.ciphertext[0] ^= 1;
            let decrypted = caller.decrypt(info.key(), algorithm, &sealed, aad).await;
            fails(decrypted, kinds, "an edited ciphertext");
        }
        for key in [key_type.name(), "other"] {
            ok(caller.delete(key).await, "delete");
            ok(caller.purge(key).await, "purge");
        }
    }
}

/// Every wrapping algorithm unwraps what it wrapped, and nothing else.
pub async fn wrapped_bytes_unwrap(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let data_key = [7; 32];
    for key_type in types_for(Operation::Wrap) {
        let made = caller.create_if_supported(key_type.name(), key_type, WRAP);
        let Some(info) = made.await else {
            continue;
        };
        for algorithm in offered(caller, key_type, Operation::Wrap) {
            let wrapped = caller.wrap(info.key(), algorithm, &data_key).await;
            let mut wrapped = ok(wrapped, algorithm);
            let unwrapped = caller.unwrap(info.key(), algorithm, &wrapped).await;
            assert_eq!(ok(unwrapped, algorithm).expose(), data_key, "{algorithm}");
            wrapped[8] ^= 1;
            let unwrapped = caller.unwrap(info.key(), algorithm, &wrapped).await;
            let clause = format!("an edited {algorithm}");
            fails(unwrapped, &[ErrorKind::CryptoFailed], clause);
        }
    }
}

/// Both sides agree on one secret, on every curve; another curve is refused.
pub async fn agreement_works_both_ways(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let mut strangers = Vec::new();
    for (name, key_type) in [
        ("stranger", KeyType::Ed25519),
        ("stranger-384", KeyType::EcP384),
        ("stranger-256", KeyType::EcP256),
    ] {
        strangers.extend(caller.create_if_supported(name, key_type, SIGN).await);
    }
    let agree = |key: &KeyInfo, peer: &KeyInfo| {
        let (key, peer) = (key.key(), public(peer).clone());
        async move {
            let request = Request::Agree {
                key,
                algorithm: Algorithm::EcdhEs,
                peer: &peer,
            };
            caller.call(request).await.map(secret)
        }
    };
    for key_type in types_for(Operation::Agree) {
        let usages = &[Usage::DeriveBits];
        let ours = format!("{}-ours", key_type.name());
        let Some(ours) = caller.create_if_supported(&ours, key_type, usages).await else {
            continue;
        };
        if !caller.has(key_type, Algorithm::EcdhEs) {
            continue;
        }
        let theirs = format!("{}-theirs", key_type.name());
        let theirs = caller.create(&theirs, key_type, usages).await;
        let (one, two) = (agree(&ours, &theirs).await, agree(&theirs, &ours).await);
        let one = ok(one, key_type);
        assert_eq!(one.expose(), ok(two, key_type).expose(), "{key_type}");
        assert_eq!(one.len(), key_type.byte_len(), "{key_type}");
        let own = ok(agree(&ours, &ours).await, key_type);
        assert_ne!(own.expose(), one.expose(), "another peer, another secret");
        let is_other = |stranger: &&KeyInfo| public(stranger).key_type() != key_type;
        for stranger in strangers.iter().filter(is_other) {
            let clause = "a peer on another curve is InvalidInput";
            let agreed = agree(&ours, stranger).await;
            fails(agreed, &[ErrorKind::InvalidInput], clause);
        }
    }
}

/// The same parameters derive the same secret, others another.
pub async fn derivations_repeat_and_differ(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    for key_type in types_for(Operation::Derive) {
        let made = caller.create_if_supported(key_type.name(), key_type, &[Usage::DeriveKey]);
        let Some(info) = made.await else {
            continue;
        };
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for algorithm in offered(caller, key_type, Operation::Derive) {
            for (salt, context) in [("a", "b"), ("a", "c"), ("c", "b")] {
                let derive = async |len| {
                    let request = Request::Derive {
                        key: info.key(),
                        algorithm,
                        salt_or_label: salt.as_bytes(),
                        info_or_context: context.as_bytes(),
                        len,
                    };
                    caller.call(request).await.map(secret)
                };
                let secret = ok(derive(32).await, algorithm).expose().to_vec();
                let again = ok(derive(32).await, algorithm);
                assert_eq!(again.expose(), secret, "{algorithm} repeats");
                assert!(!seen.contains(&secret), "{algorithm}: {salt}, {context}");
                seen.push(secret);
                assert_eq!(ok(derive(77).await, algorithm).len(), 77);
                fails(derive(0).await, &[ErrorKind::InvalidInput], "no bytes");
            }
        }
    }
}

/// Random bytes are as many as were asked for, and others each time.
pub async fn random_bytes_differ(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    for len in [1, 16, 32, 1000] {
        let bytes = ok(opened.all.random(len).await, "random bytes");
        assert_eq!(bytes.len(), len);
        let others = ok(opened.all.random(len).await, "random bytes");
        assert!(len < 16 || bytes.expose() != others.expose());
    }
}

/// Whatever does not go together is refused, by name of what would do.
pub async fn misfit_algorithms_are_refused(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    for (key_type, operation) in [
        (KeyType::EcP256, Operation::Sign),
        (KeyType::HmacSha256, Operation::Mac),
        (KeyType::Aes256, Operation::Encrypt),
        (KeyType::Kdk256, Operation::Derive),
    ] {
        let usages = data_usages(key_type);
        let made = caller.create_if_supported(key_type.name(), key_type, &usages);
        let Some(info) = made.await else {
            continue;
        };
        for algorithm in Algorithm::all() {
            if algorithm.fits(key_type) && algorithm.does(operation) {
                continue;
            }
            let key = info.key();
            let request = match operation {
                Operation::Sign => Request::Sign {
                    key,
                    algorithm,
                    input: SignInput::Message(MESSAGE),
                },
                Operation::Mac => Request::Mac {
                    key,
                    algorithm,
                    message: MESSAGE,
                },
                Operation::Encrypt => Request::Encrypt {
                    key,
                    algorithm,
                    plaintext: BLOCKS,
                    iv: None,
                    aad: b"",
                },
                _ => Request::Derive {
                    key,
                    algorithm,
                    salt_or_label: b"",
                    info_or_context: b"",
                    len: 32,
                },
            };
            let clause = format!("{MISFIT}: {algorithm} with {key_type}");
            let answer = caller.call(request).await;
            fails(answer, &[ErrorKind::InvalidInput], clause);
        }
    }
}

/// A key does what it was made for and nothing else.
pub async fn usages_are_enforced(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let pair = caller.create("sign", KeyType::EcP256, &[Usage::Sign]).await;
    let (bytes, _) = ok(
        caller.sign(key("sign"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    let kinds = &[ErrorKind::KeyState];
    let verified = caller.verify(key("sign"), Algorithm::Es256, MESSAGE, &bytes);
    fails(verified.await, kinds, "a key without the usage verify");
    let agree = Request::Agree {
        key: key("sign"),
        algorithm: Algorithm::EcdhEs,
        peer: public(&pair),
    };
    fails(caller.call(agree).await, kinds, "without deriveBits");
    let Some(cipher) = caller.cipher() else {
        return;
    };
    let aes = caller.create("aes", KeyType::Aes256, &[Usage::Encrypt]);
    aes.await;
    let sealed = caller.encrypt(key("aes"), cipher, BLOCKS, b"").await;
    let sealed = ok(sealed, "encrypt");
    let decrypted = caller.decrypt(key("aes"), cipher, &sealed, b"").await;
    fails(decrypted, kinds, "without decrypt");
    if !caller.has(KeyType::Aes256, Algorithm::A256Kw) {
        return;
    }
    let wrapped = caller.wrap(key("aes"), Algorithm::A256Kw, BLOCKS).await;
    fails(wrapped, kinds, "without wrapKey");
    let unwrapped = caller.unwrap(key("aes"), Algorithm::A256Kw, BLOCKS).await;
    fails(unwrapped, kinds, "without unwrapKey");
}

/// A key for one algorithm refuses the others that its type has, also after an update and a rotation.
pub async fn keys_for_one_algorithm_do_no_other(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let Some(cipher) = caller.cipher() else {
        return;
    };
    let mut new = new_key(KeyType::Aes256, ENCRYPT);
    new.spec = ok(new.spec.only(cipher), "a spec");
    ok(caller.try_create("aes", new).await, "create");
    let check = async |clause: &str| {
        let read = ok(caller.get(key("aes")).await, clause);
        let only = read.attributes.spec.algorithm;
        assert_eq!(only, Some(cipher), "{clause}");
        for algorithm in offered(caller, KeyType::Aes256, Operation::Encrypt) {
            let sealed = caller.encrypt(key("aes"), algorithm, BLOCKS, b"").await;
            if algorithm == cipher {
                ok(sealed, clause);
            } else {
                fails(
                    sealed,
                    &[ErrorKind::KeyState],
                    format!("{clause}: {algorithm}"),
                );
            }
        }
    };
    check("a new key").await;
    let update = AttributesUpdate::new().usages(Usages::of(&[Usage::Encrypt]));
    ok(caller.update(key("aes"), update).await, "update");
    check("an updated key").await;
    ok(caller.rotate("aes").await, "rotate");
    check("a rotated key").await;
}

/// Algorithms for `operation` with keys of `key_type`. RSA1_5 has a case of its own.
fn fitting(key_type: KeyType, operation: Operation) -> impl Iterator<Item = Algorithm> {
    let algorithms = key_type.algorithms().iter().copied();
    algorithms.filter(move |fit| fit.does(operation) && *fit != Algorithm::Rsa1_5)
}

/// As [`fitting`], without what the service does not offer.
fn offered(
    caller: &Caller,
    key_type: KeyType,
    operation: Operation,
) -> impl Iterator<Item = Algorithm> {
    fitting(key_type, operation).filter(move |algorithm| caller.has(key_type, *algorithm))
}

/// Key types that have an algorithm for `operation`; of RSA the smallest, as keys take long to make.
fn types_for(operation: Operation) -> impl Iterator<Item = KeyType> {
    KeyType::all().filter(move |key_type| {
        let large = key_type.info().family == KeyFamily::Rsa && *key_type != KeyType::Rsa2048;
        !large && fitting(*key_type, operation).next().is_some()
    })
}
