//! A program that a history was printed as, pasted here to be run: `history/tests.rs` compares the two.

use hsm_testkit::history::prelude::*;

/// `subject` is a new service whose only user is `administrator`, and `clock` the clock that it goes by.
async fn repeat(subject: &mut impl Subject, clock: &ManualClock) -> Result<()> {
    let (administrator, mut seen) = begin(subject).await?;
    let answer = administrator
        .call(
            RequestId::from_u128(1),
            Request::CreateKey {
                name: "red".parse()?,
                new: {
                    let mut new = NewKeyParameters::new(KeySpec::new(
                        KeyType::Aes256,
                        Usages::of(&[
                            Usage::Encrypt,
                            Usage::Decrypt,
                            Usage::WrapKey,
                            Usage::UnwrapKey,
                        ]),
                    )?);
                    new.expires = Some(Timestamp::from_unix_seconds(1767315600));
                    new.tags = Tags::new([("tag", "old")])?;
                    new
                },
            },
        )
        .await;
    assert_eq!(
        seen.write(&answer),
        "red v1 Attributes { spec: KeySpec { key_type: Aes256, usages: Usages(encrypt decrypt wrapKey unwrapKey), exportable: false, algorithm: None, boot_state: None }, state: Active, origin: Generated, created: Timestamp(1767225600000), updated: Timestamp(1767225600000), not_before: None, expires: Some(Timestamp(1767315600000)), tags: Tags({\"tag\": \"old\"}) }"
    );
    let answer = administrator
        .call(
            RequestId::from_u128(2),
            Request::Encrypt {
                key: "red".parse()?,
                algorithm: Algorithm::A256Gcm,
                plaintext: b"to be or not to be",
                iv: None,
                aad: b"history",
            },
        )
        .await;
    assert_eq!(seen.write(&answer), "ciphertext by red v1");
    let answer = administrator
        .call(
            RequestId::from_u128(3),
            Request::SetRotationPolicy {
                name: "red".parse()?,
                policy: Some(RotationPolicy::rotate_after("P2D")?.expire_after("P5D")?),
            },
        )
        .await;
    assert_eq!(
        seen.write(&answer),
        "policy: Some(RotationPolicy { actions: [LifetimeAction { trigger: AfterCreate(Period { months: 0, days: 2, seconds: 0 }), action: Rotate }], expire_after: Some(Period { months: 0, days: 5, seconds: 0 }) })"
    );
    clock.advance(Duration::from_secs(259200));
    assert!(subject.maintain().await?);
    let answer = administrator
        .call(
            RequestId::from_u128(4),
            Request::ListVersions {
                name: "blue".parse()?,
                page: PageRequest {
                    after: None,
                    limit: Some(100),
                },
            },
        )
        .await;
    assert_eq!(seen.write(&answer), "error: Unauthenticated");
    drop(administrator);
    let administrator = subject
        .service()
        .login(Credentials::password(
            "administrator",
            "a password for tests, and for nothing else",
        )?)
        .await?;
    let answer = administrator
        .call(
            RequestId::from_u128(5),
            Request::ListVersions {
                name: "blue".parse()?,
                page: PageRequest {
                    after: None,
                    limit: Some(100),
                },
            },
        )
        .await;
    assert_eq!(seen.write(&answer), "error: NotFound");
    let answer = administrator
        .call(
            RequestId::from_u128(6),
            Request::ListVersions {
                name: "red".parse()?,
                page: PageRequest {
                    after: None,
                    limit: Some(100),
                },
            },
        )
        .await;
    assert_eq!(
        seen.write(&answer),
        "red v1 Attributes { spec: KeySpec { key_type: Aes256, usages: Usages(encrypt decrypt wrapKey unwrapKey), exportable: false, algorithm: None, boot_state: None }, state: Active, origin: Generated, created: Timestamp(1767225600000), updated: Timestamp(1767225600000), not_before: None, expires: Some(Timestamp(1767315600000)), tags: Tags({\"tag\": \"old\"}) }; red v2 Attributes { spec: KeySpec { key_type: Aes256, usages: Usages(encrypt decrypt wrapKey unwrapKey), exportable: false, algorithm: None, boot_state: None }, state: Active, origin: Generated, created: Timestamp(1767484800000), updated: Timestamp(1767484800000), not_before: None, expires: Some(Timestamp(1767916800000)), tags: Tags({\"tag\": \"old\"}) }"
    );
    drop(administrator);
    assert!(subject.restart().await?);
    clock.advance(Duration::from_secs(3600));
    let administrator = subject
        .service()
        .login(Credentials::password(
            "administrator",
            "a password for tests, and for nothing else",
        )?)
        .await?;
    let answer = administrator
        .call(
            RequestId::from_u128(7),
            Request::ListVersions {
                name: "blue".parse()?,
                page: PageRequest {
                    after: None,
                    limit: Some(100),
                },
            },
        )
        .await;
    assert_eq!(seen.write(&answer), "error: NotFound");
    let answer = administrator
        .call(
            RequestId::from_u128(8),
            Request::Decrypt {
                key: KeyRef::version("red".parse()?, seen.version("red", 1)?),
                algorithm: Algorithm::A256Gcm,
                ciphertext: seen.ciphertext(0)?.as_ref(),
                aad: b"history",
            },
        )
        .await;
    assert_eq!(seen.write(&answer), "secret: to be or not to be");
    let answer = administrator
        .call(
            RequestId::from_u128(9),
            Request::Decrypt {
                key: KeyRef::version("red".parse()?, seen.version("red", 1)?),
                algorithm: Algorithm::A256Gcm,
                ciphertext: CiphertextRef {
                    ciphertext: &edited(seen.ciphertext(0)?.ciphertext),
                    ..seen.ciphertext(0)?.as_ref()
                },
                aad: b"history",
            },
        )
        .await;
    assert_eq!(seen.write(&answer), "error: CryptoFailed");
    let answer = administrator
        .call(
            RequestId::from_u128(10),
            Request::CreateUser {
                name: "alice".parse()?,
                password: SecretBytes::copy_from(b"a first password"),
            },
        )
        .await;
    assert_eq!(seen.write(&answer), "done");
    let alice = subject
        .service()
        .login(Credentials::password("alice", "a first password")?)
        .await?;
    let answer = alice
        .call(
            RequestId::from_u128(11),
            Request::GetKey {
                key: "red".parse()?,
            },
        )
        .await;
    assert_eq!(seen.write(&answer), "error: Denied");
    // The model's answer. The service's was: red v2 Attributes { spec: KeySpec { key_type: Aes256, usages: Usages(encrypt decrypt wrapKey unwrapKey), exportable: false, algorithm: None, boot_state: None }, state: Active, origin: Generated, created: Timestamp(1767484800000), updated: Timestamp(1767484800000), not_before: None, expires: Some(Timestamp(1767916800000)), tags: Tags({"tag": "old"}) }
    let answer = administrator
        .call(
            RequestId::from_u128(12),
            Request::UpdateKey {
                key: "red".parse()?,
                update: AttributesUpdate::new().event(Event::Suspend),
            },
        )
        .await;
    assert_eq!(
        seen.write(&answer),
        "red v2 Attributes { spec: KeySpec { key_type: Aes256, usages: Usages(encrypt decrypt wrapKey unwrapKey), exportable: false, algorithm: None, boot_state: None }, state: Suspended, origin: Generated, created: Timestamp(1767484800000), updated: Timestamp(1767488400000), not_before: None, expires: Some(Timestamp(1767916800000)), tags: Tags({\"tag\": \"old\"}) }"
    );
    Ok(())
}

#[test]
fn the_program_runs() {
    let clock = std::sync::Arc::new(ManualClock::default());
    let mut subject = futures_executor::block_on(super::InMemory::make(clock.clone()));
    futures_executor::block_on(repeat(&mut subject, &clock)).unwrap();
}
