//! Promise: a key does in each state what SP 800-57 lets it do and nothing else; deletion can be undone until the key is
//! purged; versions are made by policy, and old ones keep verifying and decrypting.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use std::time::Duration;

use home::{Home, PASSWORD, admin, app};
use hsm_client::blocking::{Hsm, Session};
use hsm_client::kinds::{Aes256Gcm, EcdsaP256};
use hsm_client::lifecycle::{Event, State};
use hsm_client::limits::ROTATION_RETRY;
use hsm_client::{
    Algorithm, AttributesUpdate, BuiltInRole, ErrorKind, KeyRef, KeySpec, KeyType, PageRequest,
    PublicKey, Result, RotationPolicy, Scope, SettingsUpdate, SignInput, Usage, Usages,
};
use hsm_core::{Ciphertext, Clock, NewKeyParameters, Request, Response, WrappedFormat};

const DAY: Duration = Duration::from_secs(86_400);

/// How a key comes into a state.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By an event.
    Event(Event),
    /// Made so.
    Made,
    /// By its validity period.
    Time,
}

const WAYS: [(State, Way); 7] = [
    (State::PreActivation, Way::Made),
    (State::PreActivation, Way::Time),
    (State::Active, Way::Made),
    (State::Suspended, Way::Event(Event::Suspend)),
    (State::Deactivated, Way::Event(Event::Deactivate)),
    (State::Deactivated, Way::Time),
    (State::Compromised, Way::Event(Event::Compromise)),
];

/// One key of each kind that the operations need, and what they made while they were active.
struct Keys {
    signing: KeyRef,
    authenticating: KeyRef,
    encrypting: KeyRef,
    agreeing: KeyRef,
    deriving: KeyRef,
    encapsulating: KeyRef,
    transport: KeyRef,
    signature: Vec<u8>,
    tag: Vec<u8>,
    ciphertext: Ciphertext,
    wrapped: Vec<u8>,
    encapsulation: Vec<u8>,
    exported: Vec<u8>,
    peer: PublicKey,
}

#[test]
fn every_state_allows_what_the_standard_says() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    create(
        &session,
        "payload",
        KeyType::EcP256,
        &[Usage::Sign],
        |new| {
            new.spec = new.spec.exportable();
        },
    );
    for (at, (state, way)) in WAYS.into_iter().enumerate() {
        let keys = Keys::new(&home, &session, at, way);
        // The period is over, or has not begun.
        if let (State::Deactivated, Way::Time) = (state, way) {
            home.clock.advance(Duration::from_secs(60));
        }
        let mut seen = Vec::new();
        for (usage, outcome) in keys.use_all(&session, at) {
            match outcome {
                Ok(_) => assert!(
                    state.allows(usage),
                    "a key that is {state} by {way:?} could {usage:?}"
                ),
                Err(error) => {
                    assert!(
                        !state.allows(usage),
                        "a key that is {state} by {way:?} could not {usage:?}: {error}"
                    );
                    assert_eq!(error.kind(), ErrorKind::KeyState, "{usage:?}: {error}");
                    assert!(error.message().contains(state.name()), "{error}");
                }
            }
            seen.push(usage);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 12, "a usage was left out: {seen:?}");
    }
}

impl Keys {
    fn new(home: &Home, session: &Session, at: usize, way: Way) -> Self {
        let name = |kind: &str| format!("{kind}-{at}");
        let now = home.clock.now();
        let make = |kind: &str, key_type: KeyType, usages: &[Usage]| {
            create(session, &name(kind), key_type, usages, |new| {
                match (way, WAYS[at].0) {
                    (Way::Made, State::PreActivation) => new.pre_activation = true,
                    (Way::Time, State::PreActivation) => {
                        new.not_before = Some(now + Duration::from_secs(3600));
                    }
                    (Way::Time, _) => new.expires = Some(now + Duration::from_secs(30)),
                    _ => {}
                }
            })
        };
        let mut keys = Self {
            signing: make("sign", KeyType::EcP256, &[Usage::Sign, Usage::Verify]),
            authenticating: make("mac", KeyType::HmacSha256, &[Usage::Sign, Usage::Verify]),
            encrypting: make(
                "aes",
                KeyType::Aes256,
                &[
                    Usage::Encrypt,
                    Usage::Decrypt,
                    Usage::WrapKey,
                    Usage::UnwrapKey,
                ],
            ),
            agreeing: make("agree", KeyType::EcP256, &[Usage::DeriveBits]),
            deriving: make("derive", KeyType::Kdk256, &[Usage::DeriveKey]),
            encapsulating: make(
                "kem",
                KeyType::MlKem768,
                &[Usage::Encapsulate, Usage::Decapsulate],
            ),
            transport: make(
                "transport",
                KeyType::Aes256,
                &[Usage::Import, Usage::Export],
            ),
            signature: vec![1; 64],
            tag: vec![1; 32],
            encapsulation: vec![1; 1088],
            ciphertext: Ciphertext {
                ciphertext: vec![1; 8],
                iv: vec![1; 12],
                tag: vec![1; 16],
            },
            wrapped: vec![1; 40],
            exported: vec![1; 200],
            peer: session
                .any_key("payload")
                .unwrap()
                .handle()
                .public_key()
                .unwrap(),
        };
        let early = WAYS[at].0 == State::PreActivation;
        if !early {
            for (usage, outcome) in keys.use_all(session, 1000 + at) {
                match (usage, outcome) {
                    (Usage::Sign, Ok(Response::Signature { bytes, .. })) if bytes.len() == 64 => {
                        keys.signature = bytes;
                    }
                    (Usage::Sign, Ok(Response::Signature { bytes, .. })) => keys.tag = bytes,
                    (Usage::Encrypt, Ok(Response::Ciphertext { ciphertext, .. })) => {
                        keys.ciphertext = ciphertext;
                    }
                    (Usage::WrapKey, Ok(Response::Wrapped { bytes, .. })) => keys.wrapped = bytes,
                    (Usage::Export, Ok(Response::Wrapped { bytes, .. })) => keys.exported = bytes,
                    (Usage::Encapsulate, Ok(Response::Encapsulated { encapsulated, .. })) => {
                        keys.encapsulation = encapsulated.ciphertext;
                    }
                    // Of these the input was made up.
                    (
                        Usage::Verify | Usage::Decrypt | Usage::UnwrapKey | Usage::Import,
                        Err(error),
                    ) => {
                        assert_ne!(error.kind(), ErrorKind::KeyState, "{usage:?}: {error}");
                    }
                    (_, outcome) => drop(outcome.unwrap()),
                }
            }
        }
        if let Way::Event(event) = way {
            for kind in ["sign", "mac", "aes", "agree", "derive", "kem", "transport"] {
                let key = session.any_key(&name(kind)).unwrap().handle();
                key.update(AttributesUpdate::new().event(event)).unwrap();
            }
        }
        keys
    }

    /// Every operation that there is, with the usage that it needs.
    fn use_all(&self, session: &Session, at: usize) -> Vec<(Usage, Result<Response>)> {
        let message = b"message";
        let requests = [
            (
                Usage::Sign,
                Request::Sign {
                    key: self.signing.clone(),
                    algorithm: Algorithm::Es256,
                    input: SignInput::Message(message),
                },
            ),
            (
                Usage::Verify,
                Request::Verify {
                    key: self.signing.clone(),
                    algorithm: Algorithm::Es256,
                    input: SignInput::Message(message),
                    signature: &self.signature,
                },
            ),
            (
                Usage::Sign,
                Request::Mac {
                    key: self.authenticating.clone(),
                    algorithm: Algorithm::Hs256,
                    message,
                },
            ),
            (
                Usage::Verify,
                Request::VerifyMac {
                    key: self.authenticating.clone(),
                    algorithm: Algorithm::Hs256,
                    message,
                    tag: &self.tag,
                },
            ),
            (
                Usage::Encrypt,
                Request::Encrypt {
                    key: self.encrypting.clone(),
                    algorithm: Algorithm::A256Gcm,
                    plaintext: message,
                    iv: None,
                    aad: b"",
                },
            ),
            (
                Usage::Decrypt,
                Request::Decrypt {
                    key: self.encrypting.clone(),
                    algorithm: Algorithm::A256Gcm,
                    ciphertext: self.ciphertext.as_ref(),
                    aad: b"",
                },
            ),
            (
                Usage::WrapKey,
                Request::Wrap {
                    key: self.encrypting.clone(),
                    algorithm: Algorithm::A256Kwp,
                    plaintext: &[7; 32],
                },
            ),
            (
                Usage::UnwrapKey,
                Request::Unwrap {
                    key: self.encrypting.clone(),
                    algorithm: Algorithm::A256Kwp,
                    wrapped: &self.wrapped,
                },
            ),
            (
                Usage::DeriveBits,
                Request::Agree {
                    key: self.agreeing.clone(),
                    algorithm: Algorithm::EcdhEs,
                    peer: &self.peer,
                },
            ),
            (
                Usage::DeriveKey,
                Request::Derive {
                    key: self.deriving.clone(),
                    algorithm: Algorithm::HkdfSha256,
                    salt_or_label: b"salt",
                    info_or_context: b"info",
                    len: 32,
                },
            ),
            (
                Usage::Encapsulate,
                Request::Encapsulate {
                    key: self.encapsulating.clone(),
                    algorithm: Algorithm::MlKem768,
                },
            ),
            (
                Usage::Decapsulate,
                Request::Decapsulate {
                    key: self.encapsulating.clone(),
                    algorithm: Algorithm::MlKem768,
                    ciphertext: &self.encapsulation,
                },
            ),
            (
                Usage::Export,
                Request::ExportKey {
                    key: "payload".parse().unwrap(),
                    wrapping: self.transport.clone(),
                    algorithm: Algorithm::A256Kwp,
                },
            ),
            (
                Usage::Import,
                Request::ImportWrappedKey {
                    name: format!("imported-{at}").parse().unwrap(),
                    new: parameters(KeyType::EcP256, &[Usage::Sign]),
                    wrapping: self.transport.clone(),
                    algorithm: Algorithm::A256Kwp,
                    wrapped: &self.exported,
                    format: WrappedFormat::Bound,
                },
            ),
        ];
        requests
            .into_iter()
            .map(|(usage, request)| (usage, session.call(request)))
            .collect()
    }
}

fn parameters(key_type: KeyType, usages: &[Usage]) -> NewKeyParameters {
    NewKeyParameters::new(KeySpec::new(key_type, Usages::of(usages)).unwrap())
}

fn create(
    session: &Session,
    name: &str,
    key_type: KeyType,
    usages: &[Usage],
    change: impl FnOnce(&mut NewKeyParameters),
) -> KeyRef {
    let mut new = parameters(key_type, usages);
    change(&mut new);
    let request = Request::CreateKey {
        name: name.parse().unwrap(),
        new,
    };
    assert!(matches!(session.call(request).unwrap(), Response::Key(_)));
    name.parse().unwrap()
}

#[test]
fn only_active_keys_are_exported() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    let transport = create(
        &session,
        "transport",
        KeyType::Aes256,
        &[Usage::Import, Usage::Export],
        |_| {},
    );
    for (at, (state, way)) in WAYS.into_iter().enumerate() {
        let now = home.clock.now();
        let key = create(
            &session,
            &format!("payload-{at}"),
            KeyType::EcP256,
            &[Usage::Sign],
            |new| {
                new.spec = new.spec.exportable();
                match (way, state) {
                    (Way::Made, State::PreActivation) => new.pre_activation = true,
                    (Way::Time, State::PreActivation) => new.not_before = Some(now + DAY),
                    (Way::Time, _) => new.expires = Some(now),
                    _ => {}
                }
            },
        );
        if let Way::Event(event) = way {
            let update = AttributesUpdate::new().event(event);
            session
                .any_key(key.name.as_str())
                .unwrap()
                .handle()
                .update(update)
                .unwrap();
        }
        let outcome = session.call(Request::ExportKey {
            key,
            wrapping: transport.clone(),
            algorithm: Algorithm::A256Kwp,
        });
        match outcome {
            Ok(_) => assert_eq!(state, State::Active, "{way:?}"),
            Err(error) => {
                assert_ne!(state, State::Active, "{error}");
                assert_eq!(error.kind(), ErrorKind::KeyState, "{error}");
            }
        }
    }
}

#[test]
fn every_event_in_every_state_is_a_step_of_the_table_or_refused() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    for (at, (state, way)) in WAYS.into_iter().enumerate() {
        for (number, event) in Event::ALL.into_iter().enumerate() {
            let now = home.clock.now();
            let key = create(
                &session,
                &format!("k-{at}-{number}"),
                KeyType::EcP256,
                &[Usage::Sign],
                |new| match (way, state) {
                    (Way::Made, State::PreActivation) => new.pre_activation = true,
                    (Way::Time, State::PreActivation) => new.not_before = Some(now + DAY),
                    (Way::Time, _) => new.expires = Some(now),
                    _ => {}
                },
            );
            let key = session.any_key(key.name.as_str()).unwrap().handle();
            if let Way::Event(event) = way {
                key.update(AttributesUpdate::new().event(event)).unwrap();
            }
            let before = key.info().unwrap().attributes;
            assert_eq!(before.state_at(now), state);
            let outcome = key.update(AttributesUpdate::new().event(event));
            let after = key.info().unwrap().attributes;
            // A key is destroyed by purging it, which takes another role.
            match state
                .after(event)
                .filter(|after| *after != State::Destroyed)
            {
                Some(next) => {
                    outcome
                        .unwrap_or_else(|error| panic!("{state} by {way:?}, {event:?}: {error}"));
                    assert_eq!(after.state, next, "{state} by {way:?}, {event:?}");
                }
                None => {
                    let error = outcome.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::KeyState, "{error}");
                    assert_eq!(after, before);
                }
            }
        }
    }
}

#[test]
fn a_deleted_key_is_of_no_use_and_comes_back_whole() {
    let (_home, hsm) = with_officer();
    let (app, officer) = (app(&hsm), hsm.login("officer", PASSWORD).unwrap());
    let key = app
        .create::<EcdsaP256>("invoices")
        .tag("owner", "billing")
        .make()
        .unwrap();
    let first = key.sign(b"message").unwrap();
    key.rotate().unwrap();
    let second = key.sign(b"message").unwrap();
    let deleted = key.delete().unwrap();
    assert!(deleted.deletion.is_some());

    for error in [
        key.sign(b"message").unwrap_err(),
        key.verify(b"message", &first).unwrap_err(),
        key.info().unwrap_err(),
        key.rotate().unwrap_err(),
        key.delete().unwrap_err(),
        app.any_key("invoices").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let error = app.create::<EcdsaP256>("invoices").make().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("recover or purge it"), "{error}");
    assert_eq!(app.list_keys(PageRequest::default()).unwrap().items, []);
    let listed = officer
        .list_deleted_keys(PageRequest::default())
        .unwrap()
        .items;
    assert_eq!(listed, std::slice::from_ref(&deleted));
    assert_eq!(officer.deleted_key("invoices").unwrap(), deleted);

    let recovered = officer.recover_key("invoices").unwrap();
    assert_eq!(recovered.attributes, deleted.attributes);
    assert_eq!(recovered.deletion, None);
    key.verify(b"message", &first).unwrap();
    key.verify(b"message", &second).unwrap();
    assert_eq!(key.versions(PageRequest::default()).unwrap().items.len(), 2);
    assert_eq!(
        officer.recover_key("invoices").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        officer.purge_key("invoices").unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_purged_key_is_gone_and_its_name_is_free() {
    let (home, hsm) = with_officer();
    let (app, officer) = (app(&hsm), hsm.login("officer", PASSWORD).unwrap());
    let key = app.create::<EcdsaP256>("invoices").make().unwrap();
    let signature = key.sign(b"message").unwrap();
    key.delete().unwrap();
    officer.purge_key("invoices").unwrap();
    for error in [
        officer.recover_key("invoices").unwrap_err(),
        officer.deleted_key("invoices").unwrap_err(),
        key.sign(b"message").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let new = app.create::<EcdsaP256>("invoices").make().unwrap();
    assert_eq!(
        new.verify(b"message", &signature).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    home.clock.advance(DAY * 91);
    // The old schedule is gone with the old key.
    assert_eq!(hsm.maintain().unwrap().purged, []);
}

#[test]
fn the_retention_period_ends_in_a_purge() {
    let (home, hsm) = with_officer();
    admin(&hsm)
        .update_settings(SettingsUpdate {
            retention_days: Some(7),
            ..SettingsUpdate::default()
        })
        .unwrap();
    let key = app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    let deleted = key.delete().unwrap().deletion.unwrap();
    assert_eq!(deleted.purge_at, home.clock.now() + DAY * 7);
    home.clock.advance(DAY * 7 - Duration::from_secs(1));
    assert_eq!(hsm.maintain().unwrap().purged, []);
    hsm.login("officer", PASSWORD)
        .unwrap()
        .deleted_key("invoices")
        .unwrap();
    home.clock.advance(Duration::from_secs(1));
    assert_eq!(
        hsm.maintain().unwrap().purged,
        ["invoices".parse().unwrap()]
    );
    let error = hsm
        .login("officer", PASSWORD)
        .unwrap()
        .deleted_key("invoices")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
}

#[test]
fn a_recovered_key_is_not_purged() {
    let (home, hsm) = with_officer();
    let key = app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    key.delete().unwrap();
    hsm.login("officer", PASSWORD)
        .unwrap()
        .recover_key("invoices")
        .unwrap();
    home.clock.advance(DAY * 365);
    assert_eq!(hsm.maintain().unwrap(), hsm_core::Maintenance::default());
    app(&hsm).any_key("invoices").unwrap();
}

#[test]
fn versions_are_made_by_policy_and_old_ones_keep_working() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    let policy = RotationPolicy::rotate_after("P30D").unwrap();
    let signing = session
        .create::<EcdsaP256>("signing")
        .rotation(policy.clone())
        .make()
        .unwrap();
    let data = session.create::<Aes256Gcm>("data").make().unwrap();
    data.set_rotation_policy(policy.clone()).unwrap();
    assert_eq!(data.rotation_policy().unwrap(), Some(policy));
    let signature = signing.sign(b"message").unwrap();
    let encrypted = data.encrypt(b"secret").unwrap();

    home.clock.advance(DAY * 30 - Duration::from_secs(1));
    assert_eq!(hsm.maintain().unwrap().rotated, []);
    home.clock.advance(Duration::from_secs(1));
    let mut rotated = hsm.maintain().unwrap().rotated;
    rotated.sort();
    assert_eq!(
        rotated,
        ["data".parse().unwrap(), "signing".parse().unwrap()]
    );
    assert_eq!(
        hsm.maintain().unwrap().rotated,
        [],
        "rotated once, not for ever"
    );

    let session = app(&hsm);
    let (signing, data) = (
        session.key::<EcdsaP256>("signing").unwrap(),
        session.key::<Aes256Gcm>("data").unwrap(),
    );
    signing.verify(b"message", &signature).unwrap();
    assert_eq!(data.decrypt(&encrypted).unwrap().expose(), b"secret");
    let (new_signature, new_data) = (
        signing.sign(b"message").unwrap(),
        data.encrypt(b"secret").unwrap(),
    );
    assert_ne!(new_signature.version(), signature.version());
    assert_ne!(new_data.version(), encrypted.version());
    assert_eq!(
        signing
            .versions(PageRequest::default())
            .unwrap()
            .items
            .len(),
        2
    );

    // One rotation at a time, however long nobody looked.
    home.clock.advance(DAY * 300);
    assert_eq!(hsm.maintain().unwrap().rotated.len(), 2);
    assert_eq!(hsm.maintain().unwrap().rotated.len(), 0);
    let session = app(&hsm);
    session
        .key::<EcdsaP256>("signing")
        .unwrap()
        .verify(b"message", &signature)
        .unwrap();
    // Without its policy a key stays as it is.
    session
        .any_key("data")
        .unwrap()
        .handle()
        .set_rotation_policy(None)
        .unwrap();
    home.clock.advance(DAY * 30);
    assert_eq!(
        hsm.maintain().unwrap().rotated,
        ["signing".parse().unwrap()]
    );
}

#[test]
fn versions_expire_by_policy_and_are_rotated_before() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    let policy = RotationPolicy::rotate_before_expiry("P7D", "P90D").unwrap();
    let key = session
        .create::<EcdsaP256>("signing")
        .rotation(policy)
        .make()
        .unwrap();
    let expires = key.info().unwrap().attributes.expires.unwrap();
    assert_eq!(expires, home.clock.now() + DAY * 90);
    let error = key
        .update(AttributesUpdate::new().expires(None))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyState, "{error}");
    let signature = key.sign(b"message").unwrap();
    home.clock.advance(DAY * 83);
    assert_eq!(hsm.maintain().unwrap().rotated.len(), 1);
    let session = app(&hsm);
    let key = session.key::<EcdsaP256>("signing").unwrap();
    assert_eq!(
        key.info().unwrap().attributes.expires.unwrap(),
        home.clock.now() + DAY * 90
    );
    home.clock.advance(DAY * 7);
    let session = app(&hsm);
    let key = session.key::<EcdsaP256>("signing").unwrap();
    key.verify(b"message", &signature).unwrap();
    let old = key.at(signature.version().unwrap());
    assert_eq!(
        old.sign(b"message").unwrap_err().kind(),
        ErrorKind::KeyState
    );
    key.sign(b"message").unwrap();
}

#[test]
fn a_rotation_that_is_refused_is_tried_again_later_and_not_each_second() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    let policy = RotationPolicy::rotate_after("P30D").unwrap();
    let key = session
        .create::<EcdsaP256>("signing")
        .rotation(policy)
        .make()
        .unwrap();
    key.update(AttributesUpdate::new().event(Event::Suspend))
        .unwrap();
    home.clock.advance(DAY * 30);
    let done = hsm.maintain().unwrap();
    let [(name, reason)] = &done.refused[..] else {
        panic!("{done:?}")
    };
    assert_eq!(name.as_str(), "signing");
    assert!(reason.contains("suspended"), "{reason}");
    for _ in 0..3 {
        home.clock.advance(Duration::from_secs(1));
        assert_eq!(hsm.maintain().unwrap().refused, []);
    }
    home.clock.advance(ROTATION_RETRY);
    assert_eq!(hsm.maintain().unwrap().refused.len(), 1);

    // Resumed, it is rotated at once: it is overdue.
    let session = app(&hsm);
    let key = session.key::<EcdsaP256>("signing").unwrap();
    key.update(AttributesUpdate::new().event(Event::Resume))
        .unwrap();
    assert_eq!(
        hsm.maintain().unwrap().rotated,
        ["signing".parse().unwrap()]
    );
}

#[test]
fn of_several_who_keep_house_at_once_one_rotates_and_one_purges() {
    let (home, hsm) = with_officer();
    let session = app(&hsm);
    let policy = RotationPolicy::rotate_after("P30D").unwrap();
    for number in 0..4 {
        let name = format!("signing-{number}");
        let key = session.create::<EcdsaP256>(&name);
        key.rotation(policy.clone()).make().unwrap();
        let old = session.create::<EcdsaP256>(&format!("old-{number}"));
        old.make().unwrap().delete().unwrap();
    }
    let others = [home.open(), home.open()];
    home.clock.advance(DAY * 90);
    let done = std::thread::scope(|scope| {
        let keepers = others.iter().chain([&hsm]);
        let running: Vec<_> = keepers
            .map(|hsm| scope.spawn(|| hsm.maintain().unwrap()))
            .collect();
        let done = running.into_iter().map(|keeper| keeper.join().unwrap());
        done.collect::<Vec<_>>()
    });
    assert_eq!(
        done.iter().map(|done| done.rotated.len()).sum::<usize>(),
        4,
        "{done:?}"
    );
    assert_eq!(
        done.iter().map(|done| done.purged.len()).sum::<usize>(),
        4,
        "{done:?}"
    );
    assert!(done.iter().all(|done| done.refused.is_empty()), "{done:?}");
    for key in app(&hsm).list_keys(PageRequest::default()).unwrap().items {
        let key = app(&hsm).any_key(key.name.as_str()).unwrap().handle();
        assert_eq!(key.versions(PageRequest::default()).unwrap().items.len(), 2);
    }
}

#[test]
fn usages_are_taken_away_and_never_added() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    let key = session.create::<EcdsaP256>("signing").make().unwrap();
    let signature = key.sign(b"message").unwrap();
    key.update(AttributesUpdate::new().usages(Usages::of(&[Usage::Verify])))
        .unwrap();
    let error = key.sign(b"message").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyState);
    assert!(error.message().contains("may not sign"), "{error}");
    key.verify(b"message", &signature).unwrap();
    for usages in [
        [Usage::Sign].as_slice(),
        &[Usage::Sign, Usage::Verify],
        &[Usage::DeriveBits],
    ] {
        let error = key
            .update(AttributesUpdate::new().usages(Usages::of(usages)))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    assert_eq!(
        session.key::<EcdsaP256>("signing").unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

/// An HSM where `officer` recovers and purges.
fn with_officer() -> (Home, Hsm) {
    let (home, hsm) = Home::new();
    let admin = admin(&hsm);
    admin.create_user("officer", PASSWORD).unwrap();
    admin
        .assign_role(BuiltInRole::CryptoOfficer, "officer", Scope::Global)
        .unwrap();
    (home, hsm)
}
