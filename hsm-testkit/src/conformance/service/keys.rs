//! Keys are created, imported, read, changed and rotated.

use std::time::Duration;

use hsm_core::lifecycle::{Event, State};
use hsm_core::limits::KEY_VERSIONS_MAX;
use hsm_core::policy::RotationPolicy;
use hsm_core::{
    Algorithm, AttributesUpdate, ErrorKind, IfTaken, KeyRef, KeyType, Origin, Request, Tags, Usage,
};

use super::super::{fails, ok};
use super::*;

const NOT_FOUND: &str = "what does not exist is NotFound";
const TAKEN: &str = "a name that is taken is a Conflict";
const OLD_VERSIONS: &str = "old versions keep verifying and decrypting";

/// What was asked for is what there is, and reading shows the same.
pub async fn created_keys_are_what_was_asked_for(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let tags = ok(Tags::new([("team", "payments")]), "tags");
    let mut new = exportable_key(KeyType::EcP384, SIGN);
    new.tags = tags.clone();
    let spec = new.spec;
    let created = ok(caller.try_create("new", new).await, "create");
    assert_eq!(created.name, name("new"));
    assert_eq!(created.attributes.spec, spec);
    assert_eq!(created.attributes.tags, tags);
    assert_eq!(created.attributes.state, State::Active);
    assert_eq!(created.attributes.origin, Origin::Generated);
    assert_eq!(public(&created).key_type(), KeyType::EcP384);
    assert_eq!(created.deletion, None);
    let read = ok(caller.get(key("new")).await, "read");
    assert_eq!(read, created, "what is read is what was created");
    let read = ok(caller.get(created.key()).await, "read the version");
    assert_eq!(read, created);

    let symmetric = caller.create("mac", KeyType::HmacSha256, SIGN).await;
    assert_eq!(symmetric.public, None, "a symmetric key has no public half");
}

/// A clear key that is imported gives the published answers, and says that it was outside.
pub async fn imported_keys_are_the_published_ones(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    // With `openssl dgst -sha256 -mac HMAC`.
    let new = new_key(KeyType::HmacSha256, SIGN);
    let material: Vec<u8> = (0..0x20).collect();
    let info = ok(caller.import("mac", new, &material).await, "import");
    assert_eq!(info.attributes.origin, Origin::Imported);
    let tag = caller.mac(key("mac"), Algorithm::Hs256, b"message").await;
    let expected = [
        0x62, 0x97, 0xb7, 0x75, 0x08, 0xa1, 0xa3, 0x0e, 0xa4, 0xdf, 0xad, 0xd8, 0xf8, 0x47, 0xc3,
        0x1b, 0x49, 0xab, 0xa4, 0x5d, 0xe1, 0x0a, 0x79, 0xda, 0xf7, 0x21, 0xd3, 0xf7, 0xec, 0x11,
        0x2a, 0x24,
    ];
    assert_eq!(ok(tag, "mac"), expected, "HMAC-SHA-256 of OpenSSL");
    if !caller.has(KeyType::Aes256, Algorithm::A256Kw) {
        return;
    }
    // RFC 3394 section 4.6.
    let wrapping: Vec<u8> = (0..0x20).collect();
    let mut data: Vec<u8> = (0..0x10).map(|byte| byte * 0x11).collect();
    data.extend(0..0x10);
    let expected = [
        0x28, 0xc9, 0xf4, 0x04, 0xc4, 0xb8, 0x10, 0xf4, 0xcb, 0xcc, 0xb3, 0x5c, 0xfb, 0x87, 0xf8,
        0x26, 0x3f, 0x57, 0x86, 0xe2, 0xd8, 0x0e, 0xd3, 0x26, 0xcb, 0xc7, 0xf0, 0xe7, 0x1a, 0x99,
        0xf4, 0x3b, 0xfb, 0x98, 0x8b, 0x9b, 0x7a, 0x02, 0xdd, 0x21,
    ];
    let new = new_key(KeyType::Aes256, WRAP);
    let info = ok(caller.import("kek", new, &wrapping).await, "import");
    assert_eq!(info.attributes.origin, Origin::Imported);
    let wrapped = caller.wrap(key("kek"), Algorithm::A256Kw, &data).await;
    assert_eq!(ok(wrapped, "wrap"), expected, "RFC 3394 section 4.6");
    let unwrapped = caller.unwrap(key("kek"), Algorithm::A256Kw, &expected);
    assert_eq!(ok(unwrapped.await, "unwrap").expose(), data);
}

/// Material of the wrong length or shape does not come in, and leaves no key behind.
pub async fn material_that_is_no_key_is_refused(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let symmetric = new_key(KeyType::Aes256, ENCRYPT);
    let pair = new_key(KeyType::EcP256, SIGN);
    for (new, material) in [
        (&symmetric, &[7; 31][..]),
        (&symmetric, b""),
        (&pair, &[7; 32]),
    ] {
        if !caller.has_type(new.spec.key_type) {
            continue;
        }
        let imported = caller.import("none", new.clone(), material).await;
        let clause = "what is no key is InvalidInput";
        fails(imported, &[ErrorKind::InvalidInput], clause);
    }
    fails(
        caller.get(key("none")).await,
        &[ErrorKind::NotFound],
        "a refused import leaves nothing behind",
    );
}

/// Whatever is done to a key that does not exist is NotFound.
pub async fn missing_keys_are_not_found(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    caller.create("there", KeyType::EcP256, SIGN).await;
    let version = caller.create("other", KeyType::EcP256, SIGN).await.version;
    let missing = [
        key("missing"),
        KeyRef::version(name("missing"), version),
        // A version of another key.
        KeyRef::version(name("there"), version),
    ];
    for key in &missing {
        let kinds = &[ErrorKind::NotFound];
        fails(caller.get(key).await, kinds, NOT_FOUND);
        let signed = caller.sign(key, Algorithm::Es256, MESSAGE).await;
        fails(signed, kinds, NOT_FOUND);
        let update = AttributesUpdate::new().event(Event::Suspend);
        fails(caller.update(key, update).await, kinds, NOT_FOUND);
    }
    let missing = || name("missing");
    let requests = [
        Request::RotateKey { name: missing() },
        Request::DeleteKey { name: missing() },
        Request::RecoverKey { name: missing() },
        Request::PurgeKey { name: missing() },
        Request::GetDeletedKey { name: missing() },
        Request::GetRotationPolicy { name: missing() },
        Request::SetRotationPolicy {
            name: missing(),
            policy: None,
        },
        Request::ListVersions {
            name: missing(),
            page: PageRequest::default(),
        },
    ];
    for request in requests {
        let clause = format!("{NOT_FOUND}: {request:?}");
        fails(caller.call(request).await, &[ErrorKind::NotFound], clause);
    }
}

/// A name belongs to one key, however it is asked for.
pub async fn names_are_taken_once(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let first = caller.create("taken", KeyType::EcP256, SIGN).await;
    let again = caller.try_create("taken", new_key(KeyType::HmacSha256, SIGN));
    fails(again.await, &[ErrorKind::Conflict], TAKEN);
    let imported = caller.import("taken", new_key(KeyType::HmacSha256, SIGN), &[7; 32]);
    fails(imported.await, &[ErrorKind::Conflict], TAKEN);
    let read = ok(caller.get(key("taken")).await, "the first key stays");
    assert_eq!(read, first);
}

/// An update changes what it names and nothing else.
pub async fn updates_change_what_they_name(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let before = caller.create("k", KeyType::EcP256, SIGN).await;
    let (bytes, _) = ok(
        caller.sign(key("k"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );

    let tags = ok(Tags::new([("a", "b")]), "tags");
    let tagged = caller.update(key("k"), AttributesUpdate::new().tags(tags.clone()));
    let mut expected = before.clone();
    let tagged = ok(tagged.await, "set tags");
    expected.attributes.tags = tags;
    expected.attributes.updated = tagged.attributes.updated;
    assert_eq!(tagged, expected, "an update of tags changes tags only");

    let step = |event| caller.update(before.key(), AttributesUpdate::new().event(event));
    let suspended = ok(step(Event::Suspend).await, "suspend");
    assert_eq!(suspended.attributes.state, State::Suspended);
    let signed = caller.sign(key("k"), Algorithm::Es256, MESSAGE).await;
    let clause = "a suspended key does not sign";
    fails(signed, &[ErrorKind::KeyState], clause);
    let twice = step(Event::Suspend).await;
    fails(twice, &[ErrorKind::KeyState], "there is no such step");
    ok(step(Event::Resume).await, "resume");
    let verified = caller.verify(key("k"), Algorithm::Es256, MESSAGE, &bytes);
    ok(verified.await, "a resumed key is the same key");
}

/// Usages can be taken away and never come back.
pub async fn usages_are_taken_and_never_added(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    caller.create("k", KeyType::EcP256, SIGN).await;
    let (bytes, _) = ok(
        caller.sign(key("k"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    let usages = |usages: &[Usage]| AttributesUpdate::new().usages(Usages::of(usages));
    let narrowed = caller.update(key("k"), usages(&[Usage::Verify])).await;
    let narrowed = ok(narrowed, "take a usage away");
    assert_eq!(
        narrowed.attributes.spec.usages,
        Usages::of(&[Usage::Verify])
    );
    let signed = caller.sign(key("k"), Algorithm::Es256, MESSAGE).await;
    fails(signed, &[ErrorKind::KeyState], "the usage is gone");
    let verified = caller.verify(key("k"), Algorithm::Es256, MESSAGE, &bytes);
    ok(verified.await, "the other usage is still there");
    for wider in [SIGN, &[Usage::Verify, Usage::DeriveBits], &[]] {
        let widened = caller.update(key("k"), usages(wider)).await;
        fails(
            widened,
            &[ErrorKind::InvalidInput],
            "usages are never added",
        );
    }
}

/// Rotation makes a new current version; the old one is still there for what it protected.
pub async fn rotation_keeps_old_versions_working(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let Some(cipher) = caller.cipher() else {
        return;
    };
    let first = caller.create("sign", KeyType::EcP256, SIGN).await;
    caller.create("aes", KeyType::Aes256, ENCRYPT).await;
    let (bytes, by) = ok(
        caller.sign(key("sign"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    assert_eq!(
        by, first.version,
        "the answer names the version that signed"
    );
    let old_aes = ok(caller.get(key("aes")).await, "read").key();
    let sealed = caller.encrypt(&old_aes, cipher, MESSAGE, b"").await;
    let sealed = ok(sealed, "encrypt");

    let second = ok(caller.rotate("sign").await, "rotate");
    ok(caller.rotate("aes").await, "rotate");
    assert_ne!(second.version, first.version);
    assert_ne!(second.public, first.public, "rotation makes a new key");
    assert_eq!(second.attributes.spec, first.attributes.spec);
    let current = ok(caller.get(key("sign")).await, "read");
    assert_eq!(current, second, "the new version is the current one");
    let (_, by) = ok(
        caller.sign(key("sign"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    assert_eq!(by, second.version);

    let verify = |key: KeyRef| {
        let bytes = &bytes;
        async move { caller.verify(&key, Algorithm::Es256, MESSAGE, bytes).await }
    };
    ok(verify(first.key()).await, OLD_VERSIONS);
    let clause = "another version is another key";
    fails(
        verify(second.key()).await,
        &[ErrorKind::CryptoFailed],
        clause,
    );
    let opened = caller.decrypt(&old_aes, cipher, &sealed, b"").await;
    assert_eq!(ok(opened, OLD_VERSIONS).expose(), MESSAGE);
    let versions: Vec<_> = caller.versions("sign").await;
    let versions: Vec<_> = versions.iter().map(|info| info.version).collect();
    assert_eq!(versions, [first.version, second.version], "oldest first");
}

/// A new key whose name is taken becomes the current version of that key where that is asked for, of whatever type. The
/// key keeps its policy, and the limit of versions holds.
pub async fn new_keys_become_versions(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let Some(cipher) = caller.cipher() else {
        return;
    };
    let add = |key_type, usages| {
        let mut new = new_key(key_type, usages);
        new.if_taken = IfTaken::AddVersion;
        new
    };
    let first = caller.try_create("k", add(KeyType::EcP256, SIGN)).await;
    let first = ok(first, "a free name is taken as ever");
    let policy = ok(RotationPolicy::rotate_after("P90D"), "a policy");
    let policy = ok(policy.expire_after("P180D"), "a policy with an end");
    let set = caller.call(Request::SetRotationPolicy {
        name: name("k"),
        policy: Some(policy.clone()),
    });
    ok(set.await, "set a policy");
    let second = caller.try_create("k", add(KeyType::Aes256, ENCRYPT)).await;
    let second = ok(second, "a new version");
    assert_eq!(second.attributes.spec.key_type, KeyType::Aes256);
    let end = policy.expiry(second.attributes.created);
    assert_eq!(second.attributes.expires, end, "as the key's policy says");
    assert_eq!(ok(caller.get(key("k")).await, "read"), second);
    let encrypted = caller.encrypt(key("k"), cipher, MESSAGE, b"");
    ok(encrypted.await, "the new version is the current one");
    let signed = caller.sign(first.key(), Algorithm::Es256, MESSAGE).await;
    ok(signed, "the old one works");
    let found = caller.call(Request::GetRotationPolicy { name: name("k") });
    match ok(found.await, "the policy") {
        Response::RotationPolicy(found) => assert_eq!(found, Some(policy)),
        other => unexpected("a policy", &other),
    }
    let mut late = add(KeyType::Aes256, ENCRYPT);
    late.expires = end.map(|end| end + Duration::from_secs(3600));
    let clause = "a version lives no longer than the key's policy says";
    fails(
        caller.try_create("k", late).await,
        &[ErrorKind::KeyState],
        clause,
    );
    let imported = caller.import("k", add(KeyType::HmacSha256, SIGN), &[7; 32]);
    ok(imported.await, "an imported version");
    let taken = caller
        .try_create("k", new_key(KeyType::Aes256, ENCRYPT))
        .await;
    let clause = "a name is taken where nothing else was asked for";
    fails(taken, &[ErrorKind::Conflict], clause);
    for _ in 3..KEY_VERSIONS_MAX {
        let more = caller.try_create("k", add(KeyType::Aes256, ENCRYPT)).await;
        ok(more, "one version more");
    }
    let beyond = caller.try_create("k", add(KeyType::Aes256, ENCRYPT)).await;
    let clause = "no key has more versions than the limit";
    fails(beyond, &[ErrorKind::LimitExceeded], clause);
    ok(caller.delete("k").await, "delete");
    let deleted = caller.try_create("k", add(KeyType::Aes256, ENCRYPT)).await;
    let clause = "a deleted key gets no versions";
    fails(deleted, &[ErrorKind::Conflict], clause);
}
