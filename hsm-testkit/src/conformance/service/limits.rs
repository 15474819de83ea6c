//! Every input has a limit; what is beyond it is refused, what is at it works.

use hsm_core::limits::{
    AAD_LEN_MAX, DATA_LEN_MAX, DERIVE_PARAMETER_LEN_MAX, DERIVED_LEN_MAX, KEY_MATERIAL_LEN_MAX,
    PASSWORD_LEN_MAX, PASSWORD_LEN_MIN, RANDOM_LEN_MAX, TAG_LEN_MAX, TAGS_MAX, WRAP_LEN_MAX,
};
use hsm_core::{
    Algorithm, Ciphertext, ErrorKind, KeyType, Request, SecretBytes, SignInput, Tags, Usage,
};

use super::super::{fails, ok};
use super::*;

/// Beyond a limit is LimitExceeded, whatever is asked.
pub async fn inputs_beyond_the_limits_are_refused(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let offer = Offer::make_keys(caller).await;
    let data = vec![0; DATA_LEN_MAX + 1];
    let parameter = [0; DERIVE_PARAMETER_LEN_MAX + 1];
    let signature = [0; 64];
    let derive = |salt_or_label, info_or_context, len| Request::Derive {
        key: key("kdk"),
        algorithm: Algorithm::HkdfSha256,
        salt_or_label,
        info_or_context,
        len,
    };
    let (sign, mac) = (Algorithm::Es256, Algorithm::Hs256);
    let info = offer.cipher.info();
    let sealed = Ciphertext {
        ciphertext: data.clone(),
        iv: vec![0; info.iv_len],
        tag: vec![0; info.tag_len],
    };
    let requests = [
        Request::Sign {
            key: key("sign"),
            algorithm: sign,
            input: SignInput::Message(&data),
        },
        Request::Verify {
            key: key("sign"),
            algorithm: sign,
            input: SignInput::Message(&data),
            signature: &signature,
        },
        Request::Mac {
            key: key("mac"),
            algorithm: mac,
            message: &data,
        },
        Request::VerifyMac {
            key: key("mac"),
            algorithm: mac,
            message: &data,
            tag: &signature,
        },
        offer.encrypt(&data, b""),
        offer.encrypt(b"", &data[..=AAD_LEN_MAX]),
        Request::Decrypt {
            key: key("aes"),
            algorithm: offer.cipher,
            ciphertext: sealed.as_ref(),
            aad: b"",
        },
        wrap(&data[..=WRAP_LEN_MAX]),
        Request::Unwrap {
            key: key("kek"),
            algorithm: Algorithm::A256Kwp,
            wrapped: &data,
        },
        derive(&parameter, b"", 32),
        derive(b"", &parameter, 32),
        derive(b"", b"", DERIVED_LEN_MAX + 1),
        derive(b"", b"", usize::MAX),
        Request::Random {
            len: RANDOM_LEN_MAX + 1,
        },
        Request::Random { len: usize::MAX },
        Request::ImportKey {
            name: name("imported"),
            new: new_key(KeyType::Aes256, ENCRYPT),
            material: SecretBytes::copy_from(&data[..=KEY_MATERIAL_LEN_MAX]),
        },
        Request::CreateUser {
            name: principal("new"),
            password: SecretBytes::copy_from(&data[..=PASSWORD_LEN_MAX]),
        },
    ];
    for request in requests.into_iter().filter(|it| offer.has(it)) {
        let clause = format!("{request:?} with too much");
        let answer = caller.call(request).await;
        fails(answer, &[ErrorKind::LimitExceeded], clause);
    }
    let short = Request::CreateUser {
        name: principal("new"),
        password: SecretBytes::copy_from(&data[..PASSWORD_LEN_MIN - 1]),
    };
    let clause = "a password that is too short";
    fails(caller.call(short).await, &[ErrorKind::InvalidInput], clause);
}

/// As much as the limits allow works.
pub async fn inputs_at_the_limits_work(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let offer = Offer::make_keys(caller).await;
    let data = vec![0; DATA_LEN_MAX];
    let requests = [
        Request::Mac {
            key: key("mac"),
            algorithm: Algorithm::Hs256,
            message: &data,
        },
        offer.encrypt(&data, &data[..offer.aad_len_max()]),
        wrap(&data[..WRAP_LEN_MAX]),
        Request::Derive {
            key: key("kdk"),
            algorithm: Algorithm::HkdfSha256,
            salt_or_label: &data[..DERIVE_PARAMETER_LEN_MAX],
            info_or_context: &data[..DERIVE_PARAMETER_LEN_MAX],
            len: DERIVED_LEN_MAX,
        },
        Request::Random {
            len: RANDOM_LEN_MAX,
        },
    ];
    for request in requests.into_iter().filter(|it| offer.has(it)) {
        let clause = format!("{request:?} with as much as is allowed");
        ok(caller.call(request).await, clause);
    }
    let longest = |at| {
        let part = format!("{at:0TAG_LEN_MAX$}");
        (part.clone(), part)
    };
    let mut new = new_key(KeyType::HmacSha256, SIGN);
    new.tags = ok(Tags::new((0..TAGS_MAX).map(longest)), "the most tags");
    let tags = new.tags.clone();
    let longest_name = "n".repeat(hsm_core::limits::NAME_LEN_MAX);
    let created = caller.try_create(&longest_name, new).await;
    let created = ok(created, "the longest name and the most tags");
    assert_eq!(created.attributes.tags, tags);
    let read = ok(caller.get(key(&longest_name)).await, "read it back");
    assert_eq!(read, created);
}

/// What of the requests the service offers.
struct Offer {
    /// What encrypts with an AES-256 key.
    cipher: Algorithm,
    /// What it does not offer.
    missing: Vec<&'static str>,
}

impl Offer {
    async fn make_keys(caller: &Caller) -> Self {
        let cipher = caller.cipher();
        caller.create("sign", KeyType::EcP256, SIGN).await;
        caller.create("mac", KeyType::HmacSha256, SIGN).await;
        let mut offer = Self {
            cipher: cipher.unwrap_or(Algorithm::A256Gcm),
            missing: Vec::new(),
        };
        for (name, key_type, algorithm, usages) in [
            ("aes", KeyType::Aes256, offer.cipher, ENCRYPT),
            ("kek", KeyType::Aes256, Algorithm::A256Kwp, WRAP),
            (
                "kdk",
                KeyType::Kdk256,
                Algorithm::HkdfSha256,
                &[Usage::DeriveKey],
            ),
        ] {
            if caller.has(key_type, algorithm) {
                caller.create(name, key_type, usages).await;
            } else {
                offer.missing.push(name);
            }
        }
        offer
    }

    /// Whether a request can be asked.
    fn has(&self, request: &Request<'_>) -> bool {
        let key = match request {
            Request::Encrypt { aad, .. } if aad.len() > self.aad_len_max() => {
                return self.is_aead();
            }
            Request::Encrypt { .. } | Request::Decrypt { .. } => "aes",
            Request::Wrap { .. } | Request::Unwrap { .. } => "kek",
            Request::Derive { .. } => "kdk",
            Request::ImportKey { new, .. } if new.spec.key_type == KeyType::Aes256 => "aes",
            _ => return true,
        };
        !self.missing.contains(&key)
    }

    fn is_aead(&self) -> bool {
        self.cipher.info().tag_len > 0 && !self.missing.contains(&"aes")
    }

    /// The most associated data that the cipher takes.
    fn aad_len_max(&self) -> usize {
        if self.cipher.info().tag_len > 0 {
            AAD_LEN_MAX
        } else {
            0
        }
    }

    fn encrypt<'a>(&self, plaintext: &'a [u8], aad: &'a [u8]) -> Request<'a> {
        Request::Encrypt {
            key: key("aes"),
            algorithm: self.cipher,
            plaintext,
            iv: None,
            aad,
        }
    }
}

fn wrap(plaintext: &[u8]) -> Request<'_> {
    Request::Wrap {
        key: key("kek"),
        algorithm: Algorithm::A256Kwp,
        plaintext,
    }
}
