//! Promise: every request leaves one record of who asked for what, and how it ended, and never data or secrets; what
//! cannot be recorded is not done; and an edit, a cut or a loss is found and named.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[expect(
    dead_code,
    reason = "the administrators of this file have engines of their own"
)]
#[path = "support/home.rs"]
mod home;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use home::{Home, PASSWORD, app};
use hsm_backend_soft::SoftDevice;
use hsm_client::kinds::{Aes256Gcm, Aes256Kwp, EcdsaP256, HmacSha256};
use hsm_client::{
    ActionSet, Algorithm, AttributesUpdate, BuiltInRole, DataAction, Error, ErrorKind, KeySpec,
    KeyType, PageRequest, Principal, PublicKey, Result, RoleDefinition, RoleId, Scope, SecretBytes,
    Settings, SettingsUpdate, SignInput, Timestamp, Usage, Usages, UserUpdate, audit,
};
use hsm_core::attestation::{Nonce, Pcrs};
use hsm_core::audit::{Entry, OwnedEvent, RequestId};
use hsm_core::{
    CiphertextRef, Credentials, Engine, EngineSession, NewKeyParameters, Parts, Request, Response,
    Service, Session, Setup, WrappedFormat,
};
use hsm_testkit::{Fault, Faults, FaultyAudit, FaultyStore, ManualClock, MemoryAudit, MemoryStore};
use pollster::block_on;

/// An engine over memory, whose store and audit sink fail when they are told to. `boss` may do everything.
struct Partition {
    engine: Engine,
    sink: MemoryAudit,
    sink_faults: Faults,
    store_faults: Faults,
    boss: Arc<EngineSession>,
}

impl Partition {
    fn new() -> Self {
        let (sink, sink_faults, store_faults) =
            (MemoryAudit::new(), Faults::none(), Faults::none());
        let parts = Parts {
            device: Arc::new(SoftDevice::in_memory().unwrap()),
            store: Arc::new(FaultyStore::new(
                MemoryStore::new(),
                store_faults.clone(),
                Faults::none(),
            )),
            audit: Arc::new(FaultyAudit::new(sink.clone(), sink_faults.clone())),
            clock: Arc::new(ManualClock::default()),
        };
        let setup = Setup {
            administrator: principal("admin"),
            password: SecretBytes::copy_from(PASSWORD.as_bytes()),
            settings: Settings::default(),
        };
        let engine = block_on(Engine::create(parts, setup)).unwrap();
        let admin = block_on(engine.session_for(principal("admin"))).unwrap();
        let all: ActionSet = DataAction::all().collect();
        let definition = RoleDefinition::new(RoleId::from_u128(1), "everything", "", all).unwrap();
        call(&admin, 0, Request::PutRoleDefinition { definition }).unwrap();
        let assign = Request::CreateRoleAssignment {
            id: None,
            role: RoleId::from_u128(1),
            principal: principal("boss"),
            scope: Scope::Global,
        };
        call(&admin, 0, assign).unwrap();
        let boss = block_on(engine.session_for(principal("boss"))).unwrap();
        Self {
            engine,
            sink,
            sink_faults,
            store_faults,
            boss,
        }
    }

    fn session(&self, who: &str) -> Arc<EngineSession> {
        block_on(self.engine.session_for(principal(who))).unwrap()
    }

    /// Every event, of the journal and of the stream.
    fn events(&self) -> Vec<OwnedEvent> {
        let mut events = self.sink.events();
        let read = Request::ReadAudit {
            stream: self.engine.id(),
            from: 0,
            limit: 1000,
        };
        let Response::AuditRecords(frames) = call(&self.boss, 0, read).unwrap() else {
            panic!()
        };
        for frame in &frames {
            if let Entry::Event(event) = frame.decode().unwrap() {
                events.push(event.into_owned());
            }
        }
        events
    }

    fn sign(&self) -> Result<Response> {
        call(
            &self.boss,
            0,
            Request::Sign {
                key: "k".parse().unwrap(),
                algorithm: Algorithm::Es256,
                input: SignInput::Message(b"m"),
            },
        )
    }
}

fn call(session: &EngineSession, id: u128, request: Request<'_>) -> Result<Response> {
    block_on(session.call(RequestId::from_u128(id), request))
}

fn principal(name: &str) -> Principal {
    name.parse().unwrap()
}

fn create(name: &str, key_type: KeyType, usages: &[Usage]) -> Request<'static> {
    let spec = KeySpec::new(key_type, Usages::of(usages)).unwrap();
    let spec = if name == "payload" {
        spec.exportable()
    } else {
        spec
    };
    Request::CreateKey {
        name: name.parse().unwrap(),
        new: NewKeyParameters::new(spec),
    }
}

#[test]
fn every_request_leaves_one_record_of_its_own() {
    let hsm = Partition::new();
    let key = |name: &str| name.parse::<hsm_client::KeyRef>().unwrap();
    let name = |name: &str| name.parse::<hsm_client::KeyName>().unwrap();
    let peer = hsm.engine.audit_key().clone();
    let page = PageRequest::default;
    let ec = &[Usage::Sign, Usage::Verify];
    let new = || {
        NewKeyParameters::new(KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign])).unwrap())
    };
    let requests: Vec<Request<'_>> = vec![
        create("k", KeyType::EcP256, ec),
        create("mac", KeyType::HmacSha256, ec),
        create(
            "aes",
            KeyType::Aes256,
            &[
                Usage::Encrypt,
                Usage::Decrypt,
                Usage::WrapKey,
                Usage::UnwrapKey,
            ],
        ),
        create("agree", KeyType::EcP256, &[Usage::DeriveBits]),
        create(
            "kem",
            KeyType::MlKem768,
            &[Usage::Encapsulate, Usage::Decapsulate],
        ),
        create("kdk", KeyType::Kdk256, &[Usage::DeriveKey]),
        create(
            "transport",
            KeyType::Aes256,
            &[Usage::Import, Usage::Export],
        ),
        create("payload", KeyType::EcP256, &[Usage::Sign]),
        // Refused: the name is taken.
        create("k", KeyType::EcP256, ec),
        Request::ImportKey {
            name: name("imported"),
            new: NewKeyParameters::new(
                KeySpec::new(KeyType::HmacSha256, Usages::of(&[Usage::Sign])).unwrap(),
            ),
            material: SecretBytes::copy_from(&[7; 32]),
        },
        Request::ExportKey {
            key: key("payload"),
            wrapping: key("transport"),
            algorithm: Algorithm::A256Kwp,
        },
        // Refused: not what was wrapped.
        Request::ImportWrappedKey {
            name: name("wrapped"),
            new: new(),
            wrapping: key("transport"),
            algorithm: Algorithm::A256Kwp,
            wrapped: &[0; 48],
            format: WrappedFormat::Bound,
        },
        Request::GetKey { key: key("k") },
        Request::GetKey { key: key("ghost") },
        Request::AttestKey {
            key: key("k"),
            nonce: Nonce::new([7; 16]).unwrap(),
            pcrs: Pcrs::NONE,
        },
        Request::ListKeys { page: page() },
        Request::ListVersions {
            name: name("k"),
            page: page(),
        },
        Request::UpdateKey {
            key: key("k"),
            update: AttributesUpdate::new(),
        },
        Request::RotateKey { name: name("k") },
        Request::GetRotationPolicy { name: name("k") },
        Request::SetRotationPolicy {
            name: name("k"),
            policy: None,
        },
        Request::Sign {
            key: key("k"),
            algorithm: Algorithm::Es256,
            input: SignInput::Message(b"m"),
        },
        Request::Sign {
            key: key("k"),
            algorithm: Algorithm::Es384,
            input: SignInput::Message(b"m"),
        },
        Request::Verify {
            key: key("k"),
            algorithm: Algorithm::Es256,
            input: SignInput::Message(b"m"),
            signature: &[0; 64],
        },
        Request::Mac {
            key: key("mac"),
            algorithm: Algorithm::Hs256,
            message: b"m",
        },
        Request::VerifyMac {
            key: key("mac"),
            algorithm: Algorithm::Hs256,
            message: b"m",
            tag: &[0; 32],
        },
        Request::Encrypt {
            key: key("aes"),
            algorithm: Algorithm::A256Gcm,
            plaintext: b"m",
            iv: None,
            aad: b"",
        },
        Request::Decrypt {
            key: key("aes"),
            algorithm: Algorithm::A256Gcm,
            ciphertext: CiphertextRef {
                ciphertext: b"m",
                iv: &[0; 12],
                tag: &[0; 16],
            },
            aad: b"",
        },
        Request::Wrap {
            key: key("aes"),
            algorithm: Algorithm::A256Kw,
            plaintext: &[7; 32],
        },
        Request::Unwrap {
            key: key("aes"),
            algorithm: Algorithm::A256Kw,
            wrapped: &[7; 40],
        },
        Request::Agree {
            key: key("agree"),
            algorithm: Algorithm::EcdhEs,
            peer: &peer,
        },
        Request::Encapsulate {
            key: key("kem"),
            algorithm: Algorithm::MlKem768,
        },
        Request::Decapsulate {
            key: key("kem"),
            algorithm: Algorithm::MlKem768,
            ciphertext: &[7; 1088],
        },
        Request::Derive {
            key: key("kdk"),
            algorithm: Algorithm::HkdfSha256,
            salt_or_label: b"",
            info_or_context: b"",
            len: 32,
        },
        Request::Random { len: 8 },
        Request::BackupKey { name: name("k") },
        Request::BackupKey {
            name: name("ghost"),
        },
        Request::RestoreKey {
            backup: b"no backup",
        },
        Request::DeleteKey { name: name("k") },
        Request::GetDeletedKey { name: name("k") },
        Request::ListDeletedKeys { page: page() },
        Request::RecoverKey { name: name("k") },
        Request::DeleteKey { name: name("k") },
        Request::PurgeKey { name: name("k") },
        Request::PurgeKey { name: name("k") },
        Request::ListRoleDefinitions,
        Request::PutRoleDefinition {
            definition: RoleDefinition::new(
                RoleId::from_u128(2),
                "signer",
                "",
                ActionSet::of(&[DataAction::KeySign]),
            )
            .unwrap(),
        },
        Request::DeleteRoleDefinition {
            id: RoleId::from_u128(2),
        },
        Request::ListRoleAssignments { scope: None },
        Request::CreateRoleAssignment {
            id: Some(RoleId::from_u128(3)),
            role: BuiltInRole::Backup.id(),
            principal: principal("app"),
            scope: Scope::Keys,
        },
        Request::DeleteRoleAssignment {
            id: RoleId::from_u128(3),
        },
        Request::CreateUser {
            name: principal("app"),
            password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        },
        Request::CreateToken {
            name: "night".parse().unwrap(),
            principal: principal("app"),
            expires: Timestamp::from_unix_seconds(0),
        },
        Request::ListTokens { page: page() },
        Request::DeleteToken {
            name: "night".parse().unwrap(),
        },
        Request::ListUsers { page: page() },
        Request::UpdateUser {
            name: principal("app"),
            update: UserUpdate::Disable,
        },
        Request::DeleteUser {
            name: principal("app"),
        },
        Request::ChangePassword {
            old: SecretBytes::copy_from(b"old password"),
            new: SecretBytes::copy_from(b"new password"),
        },
        Request::GetSettings,
        Request::UpdateSettings {
            update: SettingsUpdate {
                retention_days: Some(7),
                ..SettingsUpdate::default()
            },
        },
        Request::ListAuditStreams,
        Request::ReadAudit {
            stream: hsm.engine.id(),
            from: 0,
            limit: 1,
        },
        Request::Zeroize {
            confirm: hsm_core::audit::StreamId::from_bytes([7; 16]),
        },
    ];
    let stranger = hsm.session("stranger");
    let mut expected = Vec::new();
    for (at, request) in requests.into_iter().enumerate() {
        let id = 100 + at as u128;
        let (action, algorithm) = (request.action(), request.algorithm());
        let key = request.key_name().cloned();
        let result = call(&hsm.boss, id, request);
        let version = result.as_ref().ok().and_then(|response| match response {
            Response::Signature { version, .. } | Response::Ciphertext { version, .. } => {
                Some(*version)
            }
            _ => None,
        });
        expected.push((
            id,
            action,
            algorithm,
            key,
            version,
            result.err().map(|error| error.kind()),
        ));
    }
    // Refusals of who may not count as well, once each.
    let refused = call(&stranger, 99, create("k", KeyType::EcP256, ec)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    let failures = expected
        .iter()
        .filter(|expected| expected.5.is_some())
        .count();
    assert!(
        failures >= 9 && expected.len() - failures >= 40,
        "{failures} of {}",
        expected.len()
    );

    let events = hsm.events();
    let of = |id| {
        let found: Vec<_> = events
            .iter()
            .filter(|event| event.request == RequestId::from_u128(id))
            .collect();
        let [event] = found[..] else {
            panic!("request {id} has {} records: {found:?}", found.len())
        };
        event
    };
    for (id, action, algorithm, key, version, failure) in expected {
        let event = of(id);
        let what = format!("{event}");
        assert_eq!(event.principal, "boss", "{what}");
        assert_eq!(event.action, action, "{what}");
        assert_eq!(event.failure, failure, "{what}");
        assert_eq!(event.algorithm, algorithm, "{what}");
        if let Some(key) = key {
            assert_eq!(event.target, format!("/keys/{key}"), "{what}");
        }
        if version.is_some() {
            assert_eq!(event.version, version, "{what}");
        }
    }
    let event = of(99);
    assert_eq!(
        (&*event.principal, event.action, event.failure),
        ("stranger", DataAction::KeyCreate, Some(ErrorKind::Denied))
    );
    assert_eq!(event.target, "/keys/k");
}

#[test]
fn logins_are_recorded_whether_they_succeed_or_not() {
    let hsm = Partition::new();
    let login = |user, password| {
        block_on(
            hsm.engine
                .login(Credentials::password(user, password).unwrap()),
        )
        .err()
        .map(|error| error.kind())
    };
    assert_eq!(login("admin", PASSWORD), None);
    assert_eq!(
        login("admin", "a wrong password"),
        Some(ErrorKind::Unauthenticated)
    );
    assert_eq!(login("nobody", PASSWORD), Some(ErrorKind::Unauthenticated));
    let events = hsm.events();
    let logins: Vec<_> = events
        .iter()
        .filter(|event| event.action == DataAction::Login)
        .map(|event| {
            (
                event.principal.to_string(),
                event.target.to_string(),
                event.failure,
            )
        })
        .collect();
    let (admin, nobody) = ("admin".to_owned(), "nobody".to_owned());
    let expected = [
        (
            admin.clone(),
            "/login/admin".to_owned(),
            Some(ErrorKind::Unauthenticated),
        ),
        (
            nobody,
            "/login/nobody".to_owned(),
            Some(ErrorKind::Unauthenticated),
        ),
        (admin, "/login/admin".to_owned(), None),
    ];
    assert_eq!(logins, expected, "the stream first, then the journal");
}

#[test]
fn what_the_sink_does_not_take_is_not_given_out() {
    let hsm = Partition::new();
    call(&hsm.boss, 0, create("k", KeyType::EcP256, &[Usage::Sign])).unwrap();
    for fault in [Fault::Before, Fault::After] {
        for request in [
            Request::Sign {
                key: "k".parse().unwrap(),
                algorithm: Algorithm::Es256,
                input: SignInput::Message(b"m"),
            },
            Request::GetKey {
                key: "k".parse().unwrap(),
            },
            Request::Random { len: 8 },
            // A refusal that cannot be recorded is no way to try things out unseen.
            Request::GetKey {
                key: "ghost".parse().unwrap(),
            },
        ] {
            hsm.sink_faults.strike(fault);
            let error = call(&hsm.boss, 0, request).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AuditFailed, "{error}");
            hsm.sign().unwrap();
        }
        hsm.sink_faults.strike(fault);
        let login = block_on(
            hsm.engine
                .login(Credentials::password("admin", "a wrong password").unwrap()),
        );
        assert!(matches!(
            login.unwrap_err().kind(),
            ErrorKind::AuditFailed | ErrorKind::Unknown
        ));
    }
}

/// A change and its record are one transaction: both or neither.
#[test]
fn a_change_whose_record_is_not_written_is_not_made() {
    let hsm = Partition::new();
    call(&hsm.boss, 0, create("k", KeyType::EcP256, &[Usage::Sign])).unwrap();
    let before = hsm.events().len();
    let changes: [fn() -> Request<'static>; 4] = [
        || create("new", KeyType::EcP256, &[Usage::Sign]),
        || Request::RotateKey {
            name: "k".parse().unwrap(),
        },
        || Request::UpdateKey {
            key: "k".parse().unwrap(),
            update: AttributesUpdate::new(),
        },
        || Request::DeleteKey {
            name: "k".parse().unwrap(),
        },
    ];
    let keys = || match call(
        &hsm.boss,
        0,
        Request::ListKeys {
            page: PageRequest::default(),
        },
    )
    .unwrap()
    {
        Response::Keys(page) => page.items,
        other => panic!("{other:?}"),
    };
    let known = keys();
    for change in changes {
        hsm.store_faults.strike(Fault::Before);
        assert_eq!(
            call(&hsm.boss, 1, change()).unwrap_err().kind(),
            ErrorKind::StoreFailed
        );
        // Neither the change nor its refusal can be written.
        hsm.store_faults.strike(Fault::Before);
        hsm.sink_faults.strike(Fault::Before);
        assert_eq!(
            call(&hsm.boss, 2, change()).unwrap_err().kind(),
            ErrorKind::AuditFailed
        );
        assert_eq!(keys(), known);
    }
    let events = hsm.events();
    let of = |id| {
        events
            .iter()
            .filter(|event| event.request == RequestId::from_u128(id))
            .count()
    };
    assert_eq!((of(1), of(2)), (4, 0));
    assert!(events.len() >= before + 4);

    // With the reply lost it may have happened, and says so: the journal knows.
    hsm.store_faults.strike(Fault::After);
    let error = call(&hsm.boss, 3, create("new", KeyType::EcP256, &[Usage::Sign])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert_eq!(keys().len(), 2);
    let events = hsm.events();
    let outcomes: Vec<_> = events
        .iter()
        .filter(|event| event.request == RequestId::from_u128(3))
        .map(|event| event.failure)
        .collect();
    assert_eq!(outcomes, [Some(ErrorKind::Unknown), None]);
}

/// Everything that must not be in the clear anywhere in the folder.
#[test]
fn no_file_holds_data_or_secrets() {
    const DATA: &[u8] = b"the plaintext that nobody may find";
    const KEY: &[u8; 32] = b"a key that was imported in clear";
    let (home, hsm) = Home::new();
    let app = app(&hsm);
    let signing = app.create::<EcdsaP256>("signing").make().unwrap();
    let signature = signing.sign(DATA).unwrap();
    signing.verify(DATA, &signature).unwrap();
    let data = app.create::<Aes256Gcm>("data").make().unwrap();
    let encrypted = data.encrypt_with_aad(DATA, DATA).unwrap();
    let decrypted = data.decrypt_with_aad(&encrypted, DATA).unwrap();
    assert_eq!(decrypted.expose(), DATA);
    let mac = app
        .import::<HmacSha256>("mac", SecretBytes::copy_from(KEY))
        .make()
        .unwrap();
    let tag = mac.mac(DATA).unwrap();
    let wrapping = app.create::<Aes256Kwp>("wrapping").make().unwrap();
    let wrapped = wrapping.wrap(KEY).unwrap();
    assert_eq!(wrapping.unwrap(&wrapped).unwrap().expose(), KEY);
    hsm.login("app", "a password that was mistyped")
        .unwrap_err();
    hsm.login("app", PASSWORD).unwrap();
    hsm.maintain().unwrap();
    let secrets = [
        DATA,
        KEY,
        PASSWORD.as_bytes(),
        b"a password that was mistyped",
        signature.bytes(),
        tag.bytes(),
        encrypted.ciphertext().ciphertext.as_slice(),
        wrapped.bytes(),
    ];
    let search = || {
        let mut bytes = 0;
        for file in files(&home.path()) {
            let content = fs::read(&file).unwrap();
            bytes += content.len();
            for secret in secrets {
                let found = content.windows(secret.len()).any(|window| window == secret);
                assert!(
                    !found,
                    "{} holds {}",
                    file.display(),
                    String::from_utf8_lossy(secret)
                );
            }
        }
        bytes
    };
    assert!(search() > 10_000);
    hsm.close().unwrap();
    assert!(search() > 10_000);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// An HSM that was used and closed, its audit key, and the longest of its streams.
fn used() -> (Home, PublicKey, PathBuf) {
    let (home, hsm) = Home::new();
    let key = app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    for _ in 0..20 {
        key.sign(b"message").unwrap();
    }
    let audit_key = hsm.as_async().audit_key().unwrap().clone();
    hsm.close().unwrap();
    let streams = files(&home.path().join("audit"));
    let longest = streams
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .max_by_key(|path| content_len(path))
        .unwrap();
    (home, audit_key, longest)
}

fn content_len(path: &Path) -> usize {
    let content = fs::read(path).unwrap();
    content.len() - content.iter().rev().take_while(|byte| **byte == 0).count()
}

fn verify(home: &Home, audit_key: &PublicKey) -> Result<audit::Report> {
    audit::verify(&home.url(), audit_key, |_| ())
}

#[track_caller]
fn assert_flaw(error: &Error, stream: &Path) {
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    let flaw =
        std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let name = stream.file_stem().unwrap().to_string_lossy();
    let (stream, _) = name.rsplit_once('-').unwrap();
    assert!(flaw.contains(stream), "{flaw} does not name {stream}");
    assert!(flaw.contains("record "), "{flaw}");
}

#[test]
fn a_whole_log_verifies_and_says_who_did_what() {
    let (home, audit_key, _) = used();
    let mut signatures = 0;
    let report = audit::verify(&home.url(), &audit_key, |record| {
        let event = record.event;
        if event.action == DataAction::KeySign {
            assert_eq!(
                (&*event.principal, &*event.target),
                ("app", "/keys/invoices")
            );
            assert_eq!(
                (event.algorithm, event.failure),
                (Some(Algorithm::Es256), None)
            );
            signatures += 1;
        }
    })
    .unwrap();
    assert_eq!(signatures, 20);
    assert_eq!(report.abandoned, []);
    assert!(report.records > 30 && report.streams > 1, "{report:?}");
}

#[test]
fn a_log_is_not_right_under_another_audit_key() {
    let (home, _, _) = used();
    let (_, other, _) = used();
    let error = verify(&home, &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let flaw = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        flaw.contains("not signed by the partition's audit key"),
        "{flaw}"
    );
}

#[test]
fn an_edited_record_of_a_stream_is_named() {
    let (home, audit_key, stream) = used();
    let whole = fs::read(&stream).unwrap();
    for bit in (0..content_len(&stream) * 8).step_by(257) {
        let mut edited = whole.clone();
        edited[bit / 8] ^= 1 << (bit % 8);
        fs::write(&stream, &edited).unwrap();
        assert_flaw(&verify(&home, &audit_key).unwrap_err(), &stream);
    }
    fs::write(&stream, &whole).unwrap();
    verify(&home, &audit_key).unwrap();
}

#[test]
fn a_stream_that_was_cut_off_is_named() {
    let (home, audit_key, stream) = used();
    let whole = fs::read(&stream).unwrap();
    let content = content_len(&stream);
    for len in [0, 1, content / 3, content / 2, content - 1] {
        let mut cut = whole[..len].to_vec();
        fs::write(&stream, &cut).unwrap();
        assert_flaw(&verify(&home, &audit_key).unwrap_err(), &stream);
        // Zeros look like room for records to come.
        cut.resize(whole.len(), 0);
        fs::write(&stream, &cut).unwrap();
        assert_flaw(&verify(&home, &audit_key).unwrap_err(), &stream);
    }
    fs::remove_file(&stream).unwrap();
    assert_flaw(&verify(&home, &audit_key).unwrap_err(), &stream);
    fs::write(&stream, &whole).unwrap();
    verify(&home, &audit_key).unwrap();
}

#[test]
fn a_stream_that_nobody_opened_is_named() {
    let (home, audit_key, stream) = used();
    let (_other, _, planted) = used();
    let at = stream.with_file_name(planted.file_name().unwrap());
    fs::copy(&planted, &at).unwrap();
    assert_flaw(&verify(&home, &audit_key).unwrap_err(), &at);
    fs::remove_file(&at).unwrap();
    verify(&home, &audit_key).unwrap();
}

/// The end of the journal hangs on the store's anchor: whoever opens the HSM next goes on behind the gap.
#[test]
fn a_journal_that_was_cut_off_is_found_after_the_next_opening_at_the_latest() {
    let (home, audit_key, _) = used();
    let store = rusqlite::Connection::open(home.path().join("store.sqlite")).unwrap();
    let cut = "DELETE FROM space_journal WHERE key IN (SELECT key FROM space_journal ORDER BY key DESC LIMIT 3)";
    store.execute(cut, []).unwrap();
    let outcome = home.try_open().and_then(hsm_client::blocking::Hsm::close);
    assert!(outcome.is_err() || verify(&home, &audit_key).is_err());
}

#[test]
fn a_log_that_is_being_written_is_right_as_far_as_it_goes() {
    let (home, hsm) = Home::new();
    let key = app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    key.sign(b"message").unwrap();
    let audit_key = hsm.as_async().audit_key().unwrap().clone();
    let report = verify(&home, &audit_key).unwrap();
    assert!(report.unsigned > 0, "{report:?}");
    hsm.maintain().unwrap();
    let signed = verify(&home, &audit_key).unwrap();
    assert!(
        signed.unsigned < report.unsigned,
        "{report:?}, then {signed:?}"
    );
    key.sign(b"message").unwrap();
    hsm.close().unwrap();
    let closed = verify(&home, &audit_key).unwrap();
    assert_eq!(closed.abandoned, []);
    assert!(
        closed.records > signed.records,
        "{signed:?}, then {closed:?}"
    );
}
