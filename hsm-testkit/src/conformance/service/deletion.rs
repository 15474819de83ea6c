//! Deleted keys do nothing, come back when recovered, and are gone when purged.

use hsm_core::{Algorithm, AttributesUpdate, ErrorKind, KeyType, Recovery, Request};

use super::super::{fails, ok};
use super::*;

const DEAD: &str = "a deleted key does nothing";

/// A deleted key is as good as gone, but for those who look among the deleted.
pub async fn deleted_keys_do_nothing(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let created = caller.create("k", KeyType::EcP256, SIGN).await;
    let (bytes, _) = ok(
        caller.sign(key("k"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    let deleted = ok(caller.delete("k").await, "delete");
    let Some(deletion) = deleted.deletion else {
        panic!("a deleted key says when it was deleted");
    };
    assert!(deletion.purge_at > deletion.deleted);

    let kinds = &[ErrorKind::NotFound];
    for key in [key("k"), created.key()] {
        fails(caller.get(&key).await, kinds, DEAD);
        let signed = caller.sign(&key, Algorithm::Es256, MESSAGE).await;
        fails(signed, kinds, DEAD);
        let verified = caller.verify(&key, Algorithm::Es256, MESSAGE, &bytes);
        fails(verified.await, kinds, DEAD);
        let updated = caller.update(&key, AttributesUpdate::new()).await;
        fails(updated, kinds, DEAD);
    }
    fails(caller.rotate("k").await, kinds, DEAD);
    fails(caller.delete("k").await, kinds, "a key is deleted once");
    let listed = ok(caller.keys(PageRequest::default()).await, "list");
    assert_eq!(listed.items, [], "a deleted key is not among the living");
    let found = caller.call(Request::GetDeletedKey { name: name("k") });
    let found = key_info(ok(found.await, "read a deleted key"));
    assert_eq!(found.version, created.version);
    assert_eq!(found.deletion, Some(deletion));
}

/// A recovered key is the key that was deleted, with all its versions.
pub async fn recovered_keys_are_the_same(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    caller.create("k", KeyType::EcP256, SIGN).await;
    let (bytes, first) = ok(
        caller.sign(key("k"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    let current = ok(caller.rotate("k").await, "rotate");
    ok(caller.delete("k").await, "delete");
    let recovered = ok(caller.recover("k").await, "recover");
    assert_eq!(recovered, current, "a recovered key is the same key");
    let old = KeyRef::version(name("k"), first);
    let verified = caller.verify(&old, Algorithm::Es256, MESSAGE, &bytes);
    ok(verified.await, "old versions come back as well");
    let (_, version) = ok(
        caller.sign(key("k"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    assert_eq!(version, current.version);
    let again = caller.recover("k").await;
    fails(again, &[ErrorKind::NotFound], "a key is recovered once");
}

/// The name of a deleted key is taken until it is purged; then it is free, and the old key is gone.
pub async fn purged_names_are_free(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let old = caller.create("k", KeyType::EcP256, SIGN).await;
    let (bytes, _) = ok(
        caller.sign(key("k"), Algorithm::Es256, MESSAGE).await,
        "sign",
    );
    let clause = "only what is deleted can be purged";
    fails(caller.purge("k").await, &[ErrorKind::NotFound], clause);
    ok(caller.delete("k").await, "delete");
    let create = || caller.try_create("k", new_key(KeyType::EcP256, SIGN));
    let clause = "a deleted key keeps its name";
    fails(create().await, &[ErrorKind::Conflict], clause);
    ok(caller.purge("k").await, "purge");
    let clause = "a purged key is gone";
    fails(caller.recover("k").await, &[ErrorKind::NotFound], clause);

    let new = ok(create().await, "a purged name is free");
    assert_ne!(new.version, old.version);
    fails(caller.get(old.key()).await, &[ErrorKind::NotFound], clause);
    let verified = caller.verify(key("k"), Algorithm::Es256, MESSAGE, &bytes);
    let clause = "the new key is not the old one";
    fails(verified.await, &[ErrorKind::CryptoFailed], clause);
    assert_eq!(caller.versions("k").await.len(), 1, "{clause}");
}

/// Every key says what its deletion would mean, as the settings are.
pub async fn keys_say_what_their_deletion_means(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let created = caller.create("k", KeyType::EcP256, SIGN).await;
    let recovery = async || {
        let settings = caller.partition().await.settings;
        Some(Recovery {
            retention_days: settings.retention_days,
            purge_protection: settings.purge_protection,
        })
    };
    assert_eq!(created.recovery, recovery().await);
    let update = SettingsUpdate {
        retention_days: Some(12),
        ..SettingsUpdate::default()
    };
    ok(caller.set(update).await, "another retention");
    let found = ok(caller.get(key("k")).await, "read");
    assert_eq!(found.recovery, recovery().await);
    assert_ne!(found.recovery, created.recovery);
    let listed = ok(caller.keys(PageRequest::default()).await, "list");
    assert_eq!(listed.items, std::slice::from_ref(&found));
    let deleted = ok(caller.delete("k").await, "delete");
    assert_eq!(deleted.recovery, found.recovery);
}
