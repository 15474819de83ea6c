//! What time does: rotation policies, validity periods, sessions that time out.

use std::time::Duration;

use hsm_core::limits::{SESSION_IDLE_MAX, SESSION_LIFETIME_MAX};
use hsm_core::policy::RotationPolicy;
use hsm_core::{Algorithm, AttributesUpdate, Clock, ErrorKind, KeyType, Request, Response};

use super::super::{fails, ok};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A policy is what was set, until another is set or it is removed.
pub async fn rotation_policies_are_kept(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let first = ok(RotationPolicy::rotate_after("P90D"), "a policy");
    let second = ok(
        RotationPolicy::rotate_before_expiry("P30D", "P1Y"),
        "a policy",
    );
    let mut new = new_key(KeyType::EcP256, SIGN);
    new.rotation = Some(first.clone());
    ok(caller.try_create("k", new).await, "create");
    let get = async || {
        let request = Request::GetRotationPolicy { name: name("k") };
        match ok(caller.call(request).await, "read a policy") {
            Response::RotationPolicy(policy) => policy,
            other => unexpected("a policy", &other),
        }
    };
    assert_eq!(get().await, Some(first), "the policy of creation");
    for policy in [Some(second), None] {
        let request = Request::SetRotationPolicy {
            name: name("k"),
            policy: policy.clone(),
        };
        ok(caller.call(request).await, "set a policy");
        assert_eq!(get().await, policy);
    }
}

/// New versions live as long as the policy says, and an update cannot have them live longer.
pub async fn policies_limit_the_life_of_versions(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let policy = ok(
        RotationPolicy::rotate_before_expiry("P30D", "P1Y"),
        "a policy",
    );
    let mut new = new_key(KeyType::EcP256, SIGN);
    new.rotation = Some(policy.clone());
    let created = ok(caller.try_create("k", new).await, "create");
    let rotated = ok(caller.rotate("k").await, "rotate");
    for info in [&created, &rotated] {
        let expires = policy.expiry(info.attributes.created);
        assert_eq!(info.attributes.expires, expires, "the policy says when");
    }
    let Some(expires) = created.attributes.expires else {
        unreachable!("just compared")
    };
    for later in [None, Some(expires + HOUR)] {
        let update = AttributesUpdate::new().expires(later);
        let updated = caller.update(created.key(), update).await;
        fails(
            updated,
            &[ErrorKind::KeyState],
            "a later expiry past policy",
        );
    }
}

/// A key that has expired verifies and decrypts, and protects nothing new.
pub async fn expired_keys_protect_nothing_new(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let Some(clock) = opened.clock() else {
        return;
    };
    let caller = &opened.all;
    let Some(cipher) = caller.cipher() else {
        return;
    };
    let mut new = new_key(KeyType::EcP256, SIGN);
    new.expires = Some(clock.now() + HOUR);
    ok(caller.try_create("sign", new).await, "create");
    let mut new = new_key(KeyType::Aes256, ENCRYPT);
    new.expires = Some(clock.now() + HOUR);
    ok(caller.try_create("aes", new).await, "create");
    clock.advance(Duration::from_secs(600));
    let sign = || caller.sign(key("sign"), Algorithm::Es256, MESSAGE);
    let (bytes, _) = ok(sign().await, "sign before the end");
    let encrypt = || caller.encrypt(key("aes"), cipher, MESSAGE, b"");
    let sealed = ok(encrypt().await, "encrypt before the end");

    for _ in 0..5 {
        clock.advance(Duration::from_secs(600));
        ok(caller.random(1).await, "the session stays awake");
    }
    let kinds = &[ErrorKind::KeyState];
    fails(sign().await, kinds, "an expired key does not sign");
    fails(encrypt().await, kinds, "an expired key does not encrypt");
    let verified = caller.verify(key("sign"), Algorithm::Es256, MESSAGE, &bytes);
    ok(verified.await, "an expired key verifies");
    let decrypted = caller.decrypt(key("aes"), cipher, &sealed, b"").await;
    assert_eq!(ok(decrypted, "an expired key decrypts").expose(), MESSAGE);
    clock.go_back(HOUR);
    fails(
        sign().await,
        kinds,
        "a clock that goes back brings no key back",
    );
}

/// A key is of no use before its time.
pub async fn keys_wait_for_their_time(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let Some(clock) = opened.clock() else {
        return;
    };
    let caller = &opened.all;
    let mut new = new_key(KeyType::EcP256, SIGN);
    new.not_before = Some(clock.now() + Duration::from_secs(60));
    ok(caller.try_create("k", new).await, "create");
    let sign = || caller.sign(key("k"), Algorithm::Es256, MESSAGE);
    clock.advance(Duration::from_secs(60) - MILLISECOND);
    fails(
        sign().await,
        &[ErrorKind::KeyState],
        "a key before its time",
    );
    clock.advance(MILLISECOND);
    ok(sign().await, "a key at its time");
}

/// A session ends when it is not used for too long, and in any case in the end.
pub async fn sessions_time_out(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let Some(clock) = opened.clock() else {
        return;
    };
    let kinds = &[ErrorKind::Unauthenticated];
    let idle = ok(opened.login(ADMINISTRATOR, PASSWORD).await, "log in");
    ok(idle.random(1).await, "a new session");
    clock.advance(SESSION_IDLE_MAX + MILLISECOND);
    fails(idle.random(1).await, kinds, "a session that was not used");
    let busy = ok(opened.login(ADMINISTRATOR, PASSWORD).await, "log in");
    let mut passed = Duration::ZERO;
    while passed + SESSION_IDLE_MAX <= SESSION_LIFETIME_MAX {
        clock.advance(SESSION_IDLE_MAX);
        passed += SESSION_IDLE_MAX;
        ok(busy.random(1).await, "a session that is used");
    }
    clock.advance(SESSION_LIFETIME_MAX - passed + MILLISECOND);
    fails(busy.random(1).await, kinds, "a session that is too old");
}
