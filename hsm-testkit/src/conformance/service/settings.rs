//! The partition's settings, and its end.

use hsm_core::audit::StreamId;
use hsm_core::limits::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};
use hsm_core::{Algorithm, Ciphertext, ErrorKind, KeyType, Request, SettingsUpdate};

use super::super::{fails, ok};
use super::*;

/// Purge protection stays on, and nobody purges.
pub async fn purge_protection_stays_on(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    caller.create("k", KeyType::Aes128, ENCRYPT).await;
    ok(caller.delete("k").await, "delete");
    let protection = |on| SettingsUpdate {
        purge_protection: Some(on),
        ..SettingsUpdate::default()
    };
    ok(caller.set(protection(false)).await, "it is off already");
    let set = ok(caller.set(protection(true)).await, "switch it on");
    assert!(set.settings.purge_protection);
    let off = caller.set(protection(false)).await;
    fails(off, &[ErrorKind::Conflict], "it cannot be switched off");
    assert!(caller.partition().await.settings.purge_protection);
    let purged = caller.purge("k").await;
    fails(
        purged,
        &[ErrorKind::KeyState],
        "a protected key is not purged",
    );
    ok(
        caller.recover("k").await,
        "it can be recovered all the same",
    );
}

/// Deleted keys are kept as long as the settings say, within the limits.
pub async fn retention_is_kept_within_its_limits(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let days = |days| SettingsUpdate {
        retention_days: Some(days),
        ..SettingsUpdate::default()
    };
    let before = caller.partition().await;
    for wrong in [0, RETENTION_DAYS_MIN - 1, RETENTION_DAYS_MAX + 1, u16::MAX] {
        let set = caller.set(days(wrong)).await;
        fails(set, &[ErrorKind::InvalidInput], format!("{wrong} days"));
    }
    assert_eq!(
        caller.partition().await,
        before,
        "a refusal changes nothing"
    );
    for right in [RETENTION_DAYS_MIN, RETENTION_DAYS_MAX] {
        let set = ok(caller.set(days(right)).await, format!("{right} days"));
        assert_eq!(set, caller.partition().await);
        caller.create("k", KeyType::Aes128, ENCRYPT).await;
        let deleted = ok(caller.delete("k").await, "delete");
        let kept = deleted.deletion.map_or(0, |deletion| {
            deletion
                .purge_at
                .since(deletion.deleted)
                .as_secs()
                .div_ceil(86_400)
        });
        assert_eq!(kept, u64::from(right), "days that a deleted key is kept");
        ok(caller.purge("k").await, "purge");
    }
}

/// RSA1_5 decrypts only where the setting says so, and never encrypts.
pub async fn rsa1_5_needs_its_setting(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let usages = data_usages(KeyType::Rsa2048);
    let made = caller.create_if_supported("rsa", KeyType::Rsa2048, &usages);
    if made.await.is_none() {
        return;
    }
    let algorithm = Algorithm::Rsa1_5;
    let sealed = Ciphertext {
        ciphertext: vec![1; 256],
        ..Ciphertext::default()
    };
    let decrypt = || caller.decrypt(key("rsa"), algorithm, &sealed, b"");
    let unwrap = || caller.unwrap(key("rsa"), algorithm, &sealed.ciphertext);
    let allow = |on| {
        caller.set(SettingsUpdate {
            danger_rsa1_5_decrypt: Some(on),
            ..SettingsUpdate::default()
        })
    };
    let denied =
        |result: Result<_>| matches!(result, Err(error) if error.kind() == ErrorKind::Denied);
    for on in [false, true, false] {
        ok(allow(on).await, "set");
        assert_eq!(denied(decrypt().await), !on, "decrypting while it is {on}");
        assert_eq!(denied(unwrap().await), !on, "unwrapping while it is {on}");
        let encrypted = caller.encrypt(key("rsa"), algorithm, MESSAGE, b"").await;
        fails(
            encrypted,
            &[ErrorKind::Unsupported],
            "RSA1_5 never encrypts",
        );
        let wrapped = caller.wrap(key("rsa"), algorithm, &[7; 16]).await;
        fails(wrapped, &[ErrorKind::Unsupported], "RSA1_5 never wraps");
    }
}

/// Zeroizing takes the partition's id, and is the end.
pub async fn nothing_works_after_zeroize(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    caller.create("k", KeyType::EcP256, SIGN).await;
    let confirm = StreamId::from_bytes([0; 16]);
    let wrong = caller.call(Request::Zeroize { confirm }).await;
    let clause = "zeroizing takes the partition's id";
    fails(wrong, &[ErrorKind::InvalidInput], clause);
    ok(
        caller.sign(key("k"), Algorithm::Es256, MESSAGE).await,
        "nothing happened",
    );
    let confirm = caller.partition().await.id;
    ok(caller.call(Request::Zeroize { confirm }).await, "zeroize");
    let kinds = &[ErrorKind::DeviceFailed];
    let signed = caller.sign(key("k"), Algorithm::Es256, MESSAGE).await;
    fails(signed, kinds, "no key is left");
    fails(caller.random(8).await, kinds, "after zeroize nothing works");
    let login = opened.login(ADMINISTRATOR, PASSWORD).await.map(drop);
    fails(login, kinds, "nobody gets in");
}
