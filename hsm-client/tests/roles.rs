//! Promise: nobody does what no role of theirs allows at that scope; a refusal names what is missing and tells nothing
//! about keys; and somebody can always assign roles.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use hsm_backend_soft::SoftDevice;
use hsm_client::BuiltInRole::{
    self, Administrator, CryptoAuditor, CryptoOfficer, CryptoServiceEncryptionUser, CryptoUser,
    PolicyAdministrator,
};
use hsm_client::{
    ActionSet, Algorithm, AttributesUpdate, DataAction, ErrorKind, KeySpec, KeyType, PageRequest,
    Principal, PublicKey, Result, RoleAssignment, RoleDefinition, RoleId, Scope, SecretBytes,
    Settings, SettingsUpdate, SignInput, Timestamp, Usage, Usages, UserUpdate,
};
use hsm_core::attestation::{Nonce, Pcrs};
use hsm_core::audit::{RequestId, StreamId};
use hsm_core::policy::{Grants, authorize};
use hsm_core::{
    CiphertextRef, Engine, EngineSession, NewKeyParameters, Parts, Request, Response, Session,
    Setup, WrappedFormat,
};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore};
use pollster::block_on;
use proptest::prelude::*;
use proptest::sample::select;

/// A request about a key, and where and by whom it may be made.
struct Case {
    name: &'static str,
    needed_at: At,
    who: &'static [BuiltInRole],
    ask: fn(&Material, &str) -> Result<Response>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    /// `/keys/{name}`
    Key,
    /// `/keys`
    Keys,
    /// `/`
    Global,
    /// Wherever a role is assigned.
    Anywhere,
}

/// The session that asks, and what requests are made of.
struct Material {
    session: Arc<EngineSession>,
    peer: PublicKey,
}

impl Material {
    fn call(&self, request: Request<'_>) -> Result<Response> {
        call(&self.session, request)
    }
}

fn call(session: &EngineSession, request: Request<'_>) -> Result<Response> {
    block_on(session.call(RequestId::default(), request))
}

const EVERYBODY: &[BuiltInRole] = BuiltInRole::ALL;
/// A key that leaves the HSM is no built-in role's business: somebody must be given that right by name.
const NOBODY: &[BuiltInRole] = &[];
const USERS: &[BuiltInRole] = &[CryptoUser];
const READERS: &[BuiltInRole] = &[CryptoUser, CryptoAuditor, CryptoServiceEncryptionUser];
const WRAPPERS: &[BuiltInRole] = &[CryptoUser, CryptoServiceEncryptionUser];
const OFFICERS: &[BuiltInRole] = &[CryptoOfficer];
const GOVERNORS: &[BuiltInRole] = &[Administrator, CryptoOfficer, PolicyAdministrator];
const READERS_OF_ROLES: &[BuiltInRole] = &[
    Administrator,
    CryptoOfficer,
    PolicyAdministrator,
    CryptoUser,
    CryptoAuditor,
];
const ADMINISTRATORS: &[BuiltInRole] = &[Administrator];
const AUDITORS: &[BuiltInRole] = &[Administrator, CryptoAuditor];

macro_rules! cases {
    ($($name:ident, $at:ident, $who:expr, |$material:ident, $key:ident| $request:expr;)*) => {
        &[$(Case {
            name: stringify!($name),
            needed_at: At::$at,
            who: $who,
            ask: |$material, $key| $material.call($request),
        },)*]
    };
}

/// Every request that there is. Whoever may make one of them gets another error at the most: there are no such keys, users
/// and roles, so that nothing changes.
const CASES: &[Case] = cases! {
    CreateKey, Key, USERS, |_m, key| Request::CreateKey { name: name(key), new: parameters() };
    ImportKey, Key, USERS, |_m, key| Request::ImportKey { name: name(key), new: parameters(), material: SecretBytes::copy_from(b"no key") };
    ImportWrappedKey, Key, USERS, |_m, key| Request::ImportWrappedKey {
        name: name(key), new: parameters(), wrapping: reference(key), algorithm: Algorithm::A256Kwp, wrapped: &[0; 40], format: WrappedFormat::Bound,
    };
    ExportKey, Key, NOBODY, |_m, key| Request::ExportKey { key: reference(key), wrapping: reference(key), algorithm: Algorithm::A256Kwp };
    GetKey, Key, READERS, |_m, key| Request::GetKey { key: reference(key) };
    AttestKey, Key, READERS, |_m, key| Request::AttestKey { key: reference(key), nonce: Nonce::new([7; 8]).unwrap(), pcrs: Pcrs::NONE };
    ListKeys, Keys, READERS, |_m, _key| Request::ListKeys { page: PageRequest::default() };
    ListVersions, Key, READERS, |_m, key| Request::ListVersions { name: name(key), page: PageRequest::default() };
    UpdateKey, Key, USERS, |_m, key| Request::UpdateKey { key: reference(key), update: AttributesUpdate::new() };
    RotateKey, Key, USERS, |_m, key| Request::RotateKey { name: name(key) };
    GetRotationPolicy, Key, READERS, |_m, key| Request::GetRotationPolicy { name: name(key) };
    SetRotationPolicy, Key, USERS, |_m, key| Request::SetRotationPolicy { name: name(key), policy: None };
    DeleteKey, Key, USERS, |_m, key| Request::DeleteKey { name: name(key) };
    GetDeletedKey, Key, OFFICERS, |_m, key| Request::GetDeletedKey { name: name(key) };
    ListDeletedKeys, Keys, OFFICERS, |_m, _key| Request::ListDeletedKeys { page: PageRequest::default() };
    RecoverKey, Key, OFFICERS, |_m, key| Request::RecoverKey { name: name(key) };
    PurgeKey, Key, OFFICERS, |_m, key| Request::PurgeKey { name: name(key) };
    BackupKey, Key, &[CryptoUser, BuiltInRole::Backup], |_m, key| Request::BackupKey { name: name(key) };
    RestoreKey, Keys, &[CryptoUser, BuiltInRole::Restore], |_m, _key| Request::RestoreKey { backup: b"no backup" };
    Sign, Key, USERS, |_m, key| Request::Sign { key: reference(key), algorithm: Algorithm::Es256, input: SignInput::Message(b"") };
    Verify, Key, USERS, |_m, key| Request::Verify { key: reference(key), algorithm: Algorithm::Es256, input: SignInput::Message(b""), signature: b"" };
    Mac, Key, USERS, |_m, key| Request::Mac { key: reference(key), algorithm: Algorithm::Hs256, message: b"" };
    VerifyMac, Key, USERS, |_m, key| Request::VerifyMac { key: reference(key), algorithm: Algorithm::Hs256, message: b"", tag: b"" };
    Encrypt, Key, USERS, |_m, key| Request::Encrypt { key: reference(key), algorithm: Algorithm::A256Gcm, plaintext: b"", iv: None, aad: b"" };
    Decrypt, Key, USERS, |_m, key| Request::Decrypt {
        key: reference(key), algorithm: Algorithm::A256Gcm, ciphertext: CiphertextRef { ciphertext: b"", iv: b"", tag: b"" }, aad: b"",
    };
    Wrap, Key, WRAPPERS, |_m, key| Request::Wrap { key: reference(key), algorithm: Algorithm::A256Kw, plaintext: b"" };
    Unwrap, Key, WRAPPERS, |_m, key| Request::Unwrap { key: reference(key), algorithm: Algorithm::A256Kw, wrapped: b"" };
    Agree, Key, USERS, |m, key| Request::Agree { key: reference(key), algorithm: Algorithm::EcdhEs, peer: &m.peer };
    Encapsulate, Key, USERS, |_m, key| Request::Encapsulate { key: reference(key), algorithm: Algorithm::MlKem768 };
    Decapsulate, Key, USERS, |_m, key| Request::Decapsulate { key: reference(key), algorithm: Algorithm::MlKem768, ciphertext: b"" };
    Derive, Key, USERS, |_m, key| Request::Derive {
        key: reference(key), algorithm: Algorithm::HkdfSha256, salt_or_label: b"", info_or_context: b"", len: 32,
    };
    Random, Anywhere, USERS, |_m, _key| Request::Random { len: 1 };
    ListRoleDefinitions, Global, READERS_OF_ROLES, |_m, _key| Request::ListRoleDefinitions;
    PutRoleDefinition, Global, GOVERNORS, |_m, _key| Request::PutRoleDefinition {
        definition: custom_role(9, "the one", &[DataAction::KeyRead]),
    };
    DeleteRoleDefinition, Global, GOVERNORS, |_m, _key| Request::DeleteRoleDefinition { id: RoleId::from_u128(7) };
    ListRoleAssignments, Global, READERS_OF_ROLES, |_m, _key| Request::ListRoleAssignments { scope: None };
    CreateRoleAssignment, Global, GOVERNORS, |_m, _key| Request::CreateRoleAssignment {
        id: None, role: RoleId::from_u128(7), principal: principal("nobody"), scope: Scope::Keys,
    };
    DeleteRoleAssignment, Global, GOVERNORS, |_m, _key| Request::DeleteRoleAssignment { id: RoleId::from_u128(7) };
    CreateUser, Global, ADMINISTRATORS, |_m, _key| Request::CreateUser { name: principal("nobody"), password: SecretBytes::copy_from(b"short") };
    ListUsers, Global, ADMINISTRATORS, |_m, _key| Request::ListUsers { page: PageRequest::default() };
    UpdateUser, Global, ADMINISTRATORS, |_m, _key| Request::UpdateUser { name: principal("nobody"), update: UserUpdate::Unlock };
    DeleteUser, Global, ADMINISTRATORS, |_m, _key| Request::DeleteUser { name: principal("nobody") };
    CreateToken, Global, ADMINISTRATORS, |_m, _key| Request::CreateToken {
        name: "night".parse().unwrap(), principal: principal("nobody"), expires: Timestamp::from_unix_seconds(0),
    };
    ListTokens, Global, ADMINISTRATORS, |_m, _key| Request::ListTokens { page: PageRequest::default() };
    DeleteToken, Global, ADMINISTRATORS, |_m, _key| Request::DeleteToken { name: "night".parse().unwrap() };
    ChangePassword, Anywhere, EVERYBODY, |_m, _key| Request::ChangePassword {
        old: SecretBytes::copy_from(b"old"), new: SecretBytes::copy_from(b"short"),
    };
    GetSettings, Anywhere, EVERYBODY, |_m, _key| Request::GetSettings;
    UpdateSettings, Global, ADMINISTRATORS, |_m, _key| Request::UpdateSettings {
        update: SettingsUpdate { retention_days: Some(1), ..SettingsUpdate::default() },
    };
    ListAuditStreams, Global, AUDITORS, |_m, _key| Request::ListAuditStreams;
    ReadAudit, Global, AUDITORS, |_m, _key| Request::ReadAudit { stream: StreamId::from_bytes([7; 16]), from: 0, limit: 1 };
    Zeroize, Global, ADMINISTRATORS, |_m, _key| Request::Zeroize { confirm: StreamId::from_bytes([7; 16]) };
};

fn name(key: &str) -> hsm_client::KeyName {
    key.parse().unwrap()
}

fn reference(key: &str) -> hsm_client::KeyRef {
    key.parse().unwrap()
}

fn principal(name: &str) -> Principal {
    name.parse().unwrap()
}

/// What no device makes: creating it fails after the authorization.
fn parameters() -> NewKeyParameters {
    let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign])).unwrap();
    let mut new = NewKeyParameters::new(spec);
    new.not_before = Some(Timestamp::from_unix_seconds(2));
    new.expires = Some(Timestamp::from_unix_seconds(1));
    new
}

fn custom_role(id: u128, name: &str, actions: &[DataAction]) -> RoleDefinition {
    RoleDefinition::new(RoleId::from_u128(id), name, "", ActionSet::of(actions)).unwrap()
}

#[test]
fn every_role_may_make_the_requests_that_it_is_for_at_its_scope_and_no_others() {
    let hsm = Partition::new();
    let scopes = ["/", "/keys", "/keys/one"];
    for (number, role) in BuiltInRole::ALL.iter().enumerate() {
        for (at, scope) in scopes.into_iter().enumerate() {
            let who = format!("p-{number}-{at}");
            hsm.assign(role.id(), &who, scope);
            let material = hsm.material(&who);
            for case in CASES {
                for key in ["one", "two"] {
                    let expected = case.who.contains(role) && covers(scope, case.needed_at, key);
                    let what = format!("{role:?} at {scope}: {} of {key}", case.name);
                    let outcome = (case.ask)(&material, key);
                    assert_eq!(!is_denied(&outcome), expected, "{what}: {outcome:?}");
                    if let (false, Err(error)) = (expected, &outcome) {
                        let refusal = format!("{who} has no role that allows ");
                        assert!(error.message().starts_with(&refusal), "{what}: {error}");
                    }
                }
            }
        }
    }
}

/// Whether a role assigned at `scope` counts for a request that needs it `at` there.
fn covers(scope: &str, at: At, key: &str) -> bool {
    match at {
        At::Anywhere => true,
        At::Global => scope == "/",
        At::Keys => scope == "/" || scope == "/keys",
        At::Key => scope == "/" || scope == "/keys" || scope == format!("/keys/{key}"),
    }
}

fn is_denied<T>(outcome: &Result<T>) -> bool {
    outcome
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::Denied)
}

/// [`CASES`] is every request: all data actions are needed by one, but for those that no request needs yet.
#[test]
fn no_request_was_left_out() {
    let without: BTreeSet<DataAction> = [
        DataAction::KeyRelease,
        DataAction::SecurityDomainDownload,
        DataAction::SecurityDomainDownloadRead,
        DataAction::SecurityDomainUpload,
        DataAction::SecurityDomainUploadRead,
        DataAction::SecurityDomainTransferKeyRead,
        DataAction::BackupStart,
        DataAction::BackupStatus,
        DataAction::RestoreStart,
        DataAction::RestoreStatus,
        DataAction::Login,
        DataAction::Maintain,
    ]
    .into();
    let hsm = Partition::new();
    let material = hsm.material("stranger");
    let mut needed = BTreeSet::new();
    for case in CASES {
        let error = (case.ask)(&material, "one").unwrap_err();
        let action = DataAction::all()
            .find(|action| error.message().contains(&format!(" {action} on ")))
            .unwrap();
        needed.insert(action);
        let scope = match case.needed_at {
            At::Key => "/keys/one",
            At::Keys => "/keys",
            At::Global | At::Anywhere => "/",
        };
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(
            error.message(),
            format!(
                "stranger has no role that allows {action} on {scope}; assign one at this scope or above"
            ),
            "{}",
            case.name
        );
    }
    let missing: BTreeSet<_> = DataAction::all()
        .filter(|action| !needed.contains(action))
        .collect();
    assert_eq!(missing, without);
}

#[test]
fn whoever_has_no_rights_cannot_tell_keys_that_exist_from_those_that_do_not() {
    let hsm = Partition::new();
    hsm.assign(CryptoUser.id(), "maker", "/keys");
    hsm.assign(CryptoUser.id(), "other", "/keys/third");
    hsm.create(&hsm.session("maker"), "known");
    let deleted = hsm.session("maker");
    hsm.create(&deleted, "trash");
    call(
        &deleted,
        Request::DeleteKey {
            name: name("trash"),
        },
    )
    .unwrap();
    for who in ["stranger", "other"] {
        let material = hsm.material(who);
        for case in CASES.iter().filter(|case| case.needed_at == At::Key) {
            let [known, trash, ghost] = ["known", "trash", "ghost"].map(|key| {
                let error = (case.ask)(&material, key).unwrap_err();
                (
                    error.kind(),
                    error.to_string().replace(key, "KEY"),
                    error.retry_after(),
                )
            });
            assert_eq!(known, ghost, "{}", case.name);
            assert_eq!(trash, ghost, "{}", case.name);
        }
    }
}

#[test]
fn custom_roles_grant_what_they_name_until_they_are_changed() {
    let hsm = Partition::new();
    hsm.assign(CryptoUser.id(), "maker", "/keys");
    hsm.create(&hsm.session("maker"), "one");
    let put = |definition| call(&hsm.admin, Request::PutRoleDefinition { definition });
    put(custom_role(1, "signer", &[DataAction::KeySign])).unwrap();
    hsm.assign(RoleId::from_u128(1), "app", "/keys/one");
    let app = hsm.session("app");
    let sign = || {
        call(
            &app,
            Request::Sign {
                key: reference("one"),
                algorithm: Algorithm::Es256,
                input: SignInput::Message(b""),
            },
        )
    };
    let read = || {
        call(
            &app,
            Request::GetKey {
                key: reference("one"),
            },
        )
    };
    sign().unwrap();
    assert!(is_denied(&read()));

    // Another meaning counts at the next call of a session that is open.
    put(custom_role(1, "reader", &[DataAction::KeyRead])).unwrap();
    assert!(is_denied(&sign()));
    read().unwrap();

    let delete = |id| call(&hsm.admin, Request::DeleteRoleDefinition { id });
    assert_eq!(
        delete(RoleId::from_u128(1)).unwrap_err().kind(),
        ErrorKind::Conflict
    );
    let error = put(custom_role(2, "reader", &[DataAction::KeyRead])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    for assignment in hsm.assignments("app") {
        call(
            &hsm.admin,
            Request::DeleteRoleAssignment { id: assignment.id },
        )
        .unwrap();
    }
    assert!(is_denied(&read()));
    delete(RoleId::from_u128(1)).unwrap();
    assert_eq!(
        delete(RoleId::from_u128(1)).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        delete(Administrator.id()).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn built_in_roles_stay_as_they_are() {
    let hsm = Partition::new();
    let mut forged = custom_role(1, "forged", &[DataAction::KeySign]);
    forged.id = Administrator.id();
    let mut named = custom_role(1, "forged", &[DataAction::KeySign]);
    named.name = Administrator.name().to_owned();
    for definition in [forged, named] {
        let error = call(&hsm.admin, Request::PutRoleDefinition { definition }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn somebody_can_always_assign_roles() {
    let hsm = Partition::new();
    let own = &hsm.assignments("admin")[0];
    let unassign =
        |session: &EngineSession, id| call(session, Request::DeleteRoleAssignment { id });
    assert_eq!(
        unassign(&hsm.admin, own.id).unwrap_err().kind(),
        ErrorKind::Conflict
    );
    // Whoever may assign roles at one key only is no help.
    hsm.assign(PolicyAdministrator.id(), "deputy", "/keys/one");
    assert_eq!(
        unassign(&hsm.admin, own.id).unwrap_err().kind(),
        ErrorKind::Conflict
    );
    hsm.assign(PolicyAdministrator.id(), "deputy", "/");
    unassign(&hsm.admin, own.id).unwrap();
    let deputy = hsm.session("deputy");
    let last = hsm
        .assignments_seen_by(&deputy, "deputy")
        .into_iter()
        .find(|assignment| assignment.scope == Scope::Global)
        .unwrap();
    assert_eq!(
        unassign(&deputy, last.id).unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

/// The last role that governed could be redefined, and then nobody could assign roles.
#[test]
fn the_last_role_that_governs_cannot_lose_its_meaning() {
    let hsm = Partition::new();
    let governs = [
        DataAction::RoleAssignmentWrite,
        DataAction::RoleAssignmentDelete,
        DataAction::RoleDefinitionWrite,
    ];
    let put = |session: &EngineSession, actions: &[DataAction]| {
        call(
            session,
            Request::PutRoleDefinition {
                definition: custom_role(1, "boss", actions),
            },
        )
    };
    put(&hsm.admin, &governs).unwrap();
    hsm.assign(RoleId::from_u128(1), "boss", "/");
    let own = hsm.assignments("admin").remove(0);
    let boss = hsm.session("boss");
    call(&boss, Request::DeleteRoleAssignment { id: own.id }).unwrap();
    let error = put(&boss, &[DataAction::KeyRead]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    put(&boss, &governs[..2]).unwrap();
}

#[test]
fn a_key_leaves_only_for_who_may_export_the_wrapping_key_too() {
    let hsm = Partition::new();
    hsm.assign(CryptoUser.id(), "maker", "/keys");
    let maker = hsm.session("maker");
    let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign]))
        .unwrap()
        .exportable();
    call(
        &maker,
        Request::CreateKey {
            name: name("payload"),
            new: NewKeyParameters::new(spec),
        },
    )
    .unwrap();
    let transport =
        KeySpec::new(KeyType::Aes256, Usages::of(&[Usage::Import, Usage::Export])).unwrap();
    call(
        &maker,
        Request::CreateKey {
            name: name("transport"),
            new: NewKeyParameters::new(transport),
        },
    )
    .unwrap();
    let export = |session: &EngineSession| {
        call(
            session,
            Request::ExportKey {
                key: reference("payload"),
                wrapping: reference("transport"),
                algorithm: Algorithm::A256Kwp,
            },
        )
    };
    assert!(is_denied(&export(&maker)), "no built-in role may export");
    let definition = custom_role(8, "exporter", &[DataAction::KeyExport]);
    call(&hsm.admin, Request::PutRoleDefinition { definition }).unwrap();
    let exporter = RoleId::from_u128(8);
    hsm.assign(exporter, "app", "/keys/payload");
    let app = hsm.session("app");
    let error = export(&app).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error
            .message()
            .contains("keys/export/action on /keys/transport"),
        "{error}"
    );
    hsm.assign(exporter, "app", "/keys/transport");
    let Response::Wrapped { bytes, .. } = export(&app).unwrap() else {
        panic!()
    };

    hsm.assign(CryptoUser.id(), "importer", "/keys/copy");
    let import = |session: &EngineSession| {
        call(
            session,
            Request::ImportWrappedKey {
                name: name("copy"),
                new: NewKeyParameters::new(spec),
                wrapping: reference("transport"),
                algorithm: Algorithm::A256Kwp,
                wrapped: &bytes,
                format: WrappedFormat::Bound,
            },
        )
    };
    let importer = hsm.session("importer");
    let error = import(&importer).unwrap_err();
    assert!(
        error
            .message()
            .contains("keys/import/action on /keys/transport"),
        "{error}"
    );
    hsm.assign(CryptoUser.id(), "importer", "/keys/transport");
    import(&importer).unwrap();
}

/// A right that was given or taken counts at the next call of a session that is open.
#[test]
fn rights_are_looked_at_again_at_every_call() {
    let hsm = Partition::new();
    let app = hsm.session("app");
    let list = || {
        call(
            &app,
            Request::ListKeys {
                page: PageRequest::default(),
            },
        )
    };
    for _ in 0..3 {
        assert!(is_denied(&list()));
        hsm.assign(CryptoAuditor.id(), "app", "/keys");
        list().unwrap();
        let assignment = hsm.assignments("app").remove(0);
        call(
            &hsm.admin,
            Request::DeleteRoleAssignment { id: assignment.id },
        )
        .unwrap();
    }
}

/// An engine over memory. Its sessions are opened by name, as a server does that has authenticated its callers.
struct Partition {
    engine: Engine,
    admin: Arc<EngineSession>,
    peer: PublicKey,
}

impl Partition {
    fn new() -> Self {
        let parts = Parts {
            device: Arc::new(SoftDevice::in_memory().unwrap()),
            store: Arc::new(MemoryStore::new()),
            audit: Arc::new(MemoryAudit::new()),
            clock: Arc::new(ManualClock::default()),
        };
        let setup = Setup {
            administrator: principal("admin"),
            password: SecretBytes::copy_from(b"correct horse battery"),
            settings: Settings::default(),
        };
        let engine = block_on(Engine::create(parts, setup)).unwrap();
        let admin = block_on(engine.session_for(principal("admin"))).unwrap();
        let peer = engine.audit_key().clone();
        Self {
            engine,
            admin,
            peer,
        }
    }

    fn session(&self, who: &str) -> Arc<EngineSession> {
        block_on(self.engine.session_for(principal(who))).unwrap()
    }

    fn material(&self, who: &str) -> Material {
        Material {
            session: self.session(who),
            peer: self.peer.clone(),
        }
    }

    fn assign(&self, role: RoleId, who: &str, scope: &str) {
        let request = Request::CreateRoleAssignment {
            id: None,
            role,
            principal: principal(who),
            scope: scope.parse().unwrap(),
        };
        call(&self.admin, request).unwrap();
    }

    fn assignments(&self, who: &str) -> Vec<RoleAssignment> {
        self.assignments_seen_by(&self.admin, who)
    }

    fn assignments_seen_by(&self, session: &EngineSession, who: &str) -> Vec<RoleAssignment> {
        let Response::RoleAssignments(mut assignments) =
            call(session, Request::ListRoleAssignments { scope: None }).unwrap()
        else {
            panic!("another answer");
        };
        assignments.retain(|assignment| assignment.principal.as_str() == who);
        assignments
    }

    fn create(&self, session: &EngineSession, key: &str) {
        let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign])).unwrap();
        call(
            session,
            Request::CreateKey {
                name: name(key),
                new: NewKeyParameters::new(spec),
            },
        )
        .unwrap();
    }
}

/// What a role grants wherever it is assigned.
fn about_no_key(action: DataAction) -> bool {
    matches!(
        action,
        DataAction::OwnPasswordWrite | DataAction::RandomGenerate | DataAction::SettingsRead
    )
}

/// Who, which role (an index into [`roles`]), where.
type Assigned = (&'static str, usize, &'static str);

fn assigned() -> impl Strategy<Value = Assigned> {
    (
        select(vec!["p", "q"]),
        0..roles().len() + 1,
        select(vec!["/", "/keys", "/keys/a", "/keys/b"]),
    )
}

fn roles() -> Vec<RoleDefinition> {
    let mut roles: Vec<RoleDefinition> = BuiltInRole::ALL
        .iter()
        .map(|role| RoleDefinition::from(*role))
        .collect();
    roles.push(custom_role(1, "signer", &[DataAction::KeySign]));
    roles.push(custom_role(
        2,
        "everything",
        &DataAction::all().collect::<Vec<_>>(),
    ));
    roles
}

proptest! {
    /// Compares the one function that says yes with what its documentation says, for every action and scope.
    #[test]
    fn authorization_agrees_with_the_obvious_model(assigned in prop::collection::vec(assigned(), 0..8)) {
        let roles = roles();
        let undefined = RoleId::from_u128(99);
        let id = |role: usize| roles.get(role).map_or(undefined, |role| role.id);
        let assignments: Vec<RoleAssignment> = assigned
            .iter()
            .enumerate()
            .map(|(at, (who, role, scope))| {
                RoleAssignment::new(RoleId::from_u128(at as u128), id(*role), principal(who), scope.parse().unwrap(), Timestamp::default())
            })
            .collect();
        let who = principal("p");
        let grants = Grants::compile(&who, |id| roles.iter().find(|role| role.id == id), &assignments);
        for action in DataAction::all() {
            for (needed, above) in [
                ("/", &["/"][..]),
                ("/keys", &["/", "/keys"]),
                ("/keys/a", &["/", "/keys", "/keys/a"]),
                ("/keys/c", &["/", "/keys"]),
            ] {
                let expected = assigned.iter().any(|(who, role, scope)| {
                    let counts = above.contains(scope) || about_no_key(action);
                    *who == "p" && counts && roles.get(*role).is_some_and(|role| role.actions.contains(action))
                });
                let outcome = authorize(&who, &grants, action, &needed.parse().unwrap());
                prop_assert_eq!(outcome.is_ok(), expected, "{} on {}", action, needed);
            }
        }
    }
}
