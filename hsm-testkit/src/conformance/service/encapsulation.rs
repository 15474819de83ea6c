//! Encapsulation of shared secrets.

use hsm_core::lifecycle::Event;
use hsm_core::{
    Algorithm, AttributesUpdate, Encapsulated, ErrorKind, KeyType, Request, Usage, WrappedFormat,
};

use super::super::{fails, ok};
use super::*;

const KEMS: [(KeyType, Algorithm); 4] = [
    (KeyType::MlKem512, Algorithm::MlKem512),
    (KeyType::MlKem768, Algorithm::MlKem768),
    (KeyType::MlKem1024, Algorithm::MlKem1024),
    (KeyType::XWing, Algorithm::XWing),
];

/// What is encapsulated to a key decapsulates with the version that it was encapsulated to, also after a rotation.
pub async fn encapsulated_secrets_decapsulate(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    for (key_type, algorithm) in KEMS {
        let made = caller.create_if_supported(key_type.name(), key_type, ENCAPSULATE);
        let Some(info) = made.await else {
            continue;
        };
        if !caller.has(key_type, algorithm) {
            continue;
        }
        let (sent, version) = ok(caller.encapsulate(key_type.name(), algorithm).await, "sent");
        assert_eq!(version, info.version, "{algorithm}");
        assert_eq!(
            Some(sent.ciphertext.len()),
            algorithm.encapsulation_len(),
            "length of a ciphertext of {algorithm}"
        );
        ok(caller.rotate(key_type.name()).await, "rotate");
        let (again, next) = ok(caller.encapsulate(key_type.name(), algorithm).await, "sent");
        assert_ne!(next, version, "the new version encapsulates: {algorithm}");
        for (sent, key) in [(&sent, info.key()), (&again, key(key_type.name()))] {
            let received = caller.decapsulate(key, algorithm, &sent.ciphertext).await;
            let received = ok(received, algorithm);
            assert!(
                received.expose() == sent.secret.expose(),
                "both sides have one secret: {algorithm}"
            );
        }
        let other = caller.decapsulate(key(key_type.name()), algorithm, &sent.ciphertext);
        assert!(
            ok(other.await, algorithm).expose() != sent.secret.expose(),
            "another version gives another secret: {algorithm}"
        );
        for wrong in [&sent.ciphertext[1..], &[]] {
            let received = caller.decapsulate(info.key(), algorithm, wrong).await;
            let clause = format!("a ciphertext of the wrong length: {algorithm}");
            fails(received, &[ErrorKind::InvalidInput], clause);
        }
    }
}

/// A key encapsulates only if it may, and only while it is active; it decapsulates as long as it decrypts.
pub async fn encapsulation_follows_usages_and_states(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let algorithm = Algorithm::MlKem768;
    if !caller.has(KeyType::MlKem768, algorithm) {
        return;
    }
    let both = caller.create("both", KeyType::MlKem768, ENCAPSULATE).await;
    let (sent, _) = ok(caller.encapsulate("both", algorithm).await, "encapsulate");
    let decapsulate = async |name: &str| {
        caller
            .decapsulate(key(name), algorithm, &sent.ciphertext)
            .await
    };
    let kinds = &[ErrorKind::KeyState];
    let only = |usage| [usage];
    caller
        .create("sends", KeyType::MlKem768, &only(Usage::Encapsulate))
        .await;
    caller
        .create("receives", KeyType::MlKem768, &only(Usage::Decapsulate))
        .await;
    ok(caller.encapsulate("sends", algorithm).await, "encapsulate");
    fails(decapsulate("sends").await, kinds, "without decapsulate");
    ok(decapsulate("receives").await, "decapsulate");
    let sends = caller.encapsulate("receives", algorithm).await;
    fails(sends, kinds, "without encapsulate");

    let steps = [
        (Event::Suspend, false),
        (Event::Deactivate, true),
        (Event::Compromise, true),
    ];
    for (event, decapsulates) in steps {
        let update = AttributesUpdate::new().event(event);
        ok(caller.update(both.key(), update).await, "update");
        let clause = format!("a key that was {}", event.participle());
        let sends = caller.encapsulate("both", algorithm).await;
        fails(sends, kinds, &clause);
        let received = decapsulate("both").await;
        if decapsulates {
            let received = ok(received, &clause);
            assert!(received.expose() == sent.secret.expose(), "{clause}");
        } else {
            fails(received, kinds, &clause);
        }
    }
}

/// A post-quantum key leaves wrapped, comes back, and is the same.
pub async fn post_quantum_keys_come_back_the_same(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    opened.grant_export(ADMINISTRATOR, Scope::Keys).await;
    let caller = &opened.all;
    if !caller.has(KeyType::Aes256, Algorithm::A256Kwp) {
        return;
    }
    let transport = new_key(KeyType::Aes256, TRANSPORT);
    ok(
        caller.try_create("transport", transport).await,
        "a transport key",
    );
    for key_type in [KeyType::MlDsa65, KeyType::MlKem768, KeyType::XWing] {
        let usages = data_usages(key_type);
        let from = key_type.name();
        if !caller.has_type(key_type) {
            continue;
        }
        let made = caller
            .try_create(from, exportable_key(key_type, &usages))
            .await;
        let made = ok(made, key_type);
        let export = Request::ExportKey {
            key: made.key(),
            wrapping: key("transport"),
            algorithm: Algorithm::A256Kwp,
        };
        let blob = wrapped(ok(caller.call(export).await, "export"));
        let import = Request::ImportWrappedKey {
            name: name(&format!("{from}-copy")),
            new: new_key(key_type, &usages),
            wrapping: key("transport"),
            algorithm: Algorithm::A256Kwp,
            wrapped: &blob,
            format: WrappedFormat::Bound,
        };
        let copy = key_info(ok(caller.call(import).await, "import"));
        assert_eq!(public(&copy), public(&made), "{key_type}");
    }
}

impl Caller {
    async fn encapsulate(
        &self,
        name: &str,
        algorithm: Algorithm,
    ) -> Result<(Encapsulated, VersionId)> {
        let request = Request::Encapsulate {
            key: key(name),
            algorithm,
        };
        Ok(match self.call(request).await? {
            Response::Encapsulated {
                encapsulated,
                version,
            } => (encapsulated, version),
            other => unexpected("Encapsulated", &other),
        })
    }

    async fn decapsulate(
        &self,
        key: KeyRef,
        algorithm: Algorithm,
        ciphertext: &[u8],
    ) -> Result<SecretBytes> {
        let request = Request::Decapsulate {
            key,
            algorithm,
            ciphertext,
        };
        self.call(request).await.map(secret)
    }
}
