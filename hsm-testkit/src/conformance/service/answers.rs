//! Every request has its own answer.

use std::collections::BTreeSet;
use std::time::Duration;

use hsm_core::attestation::{Nonce, Pcrs};
use hsm_core::policy::{ActionSet, BuiltInRole, DataAction, RoleDefinition, RoleId};
use hsm_core::{
    Algorithm, AttributesUpdate, KeyType, PageRequest, Request, Response, SecretBytes,
    SettingsUpdate, SignInput, Tags, Usage, UserUpdate, WrappedFormat,
};

use super::super::ok;
use super::*;

/// Which response belongs to which request. The match is exhaustive: a new request does not compile until it stands
/// here, and the case fails until it is asked.
macro_rules! answers {
    ($($request:ident => $response:ident,)*) => {
        const REQUESTS: &[&str] = &[$(stringify!($request)),*];

        fn request_name(request: &Request<'_>) -> &'static str {
            match request { $(Request::$request { .. } => stringify!($request),)* }
        }

        fn is_answer(request: &str, response: &Response) -> bool {
            match request { $(stringify!($request) => matches!(response, Response::$response { .. }),)* _ => false }
        }
    };
}

answers! {
    CreateKey => Key,
    BackupKey => Backup,
    RestoreKey => Key,
    CreateToken => Token,
    ListTokens => Tokens,
    DeleteToken => Done,
    ImportKey => Key,
    ImportWrappedKey => Key,
    ExportKey => Wrapped,
    GetKey => Key,
    AttestKey => Evidence,
    ListKeys => Keys,
    ListVersions => Keys,
    UpdateKey => Key,
    RotateKey => Key,
    GetRotationPolicy => RotationPolicy,
    SetRotationPolicy => RotationPolicy,
    DeleteKey => Key,
    GetDeletedKey => Key,
    ListDeletedKeys => Keys,
    RecoverKey => Key,
    PurgeKey => Done,
    Sign => Signature,
    Verify => Done,
    Mac => Signature,
    VerifyMac => Done,
    Encrypt => Ciphertext,
    Decrypt => Secret,
    Wrap => Wrapped,
    Unwrap => Secret,
    Agree => Secret,
    Encapsulate => Encapsulated,
    Decapsulate => Secret,
    Derive => Secret,
    Random => Secret,
    ListRoleDefinitions => RoleDefinitions,
    PutRoleDefinition => RoleDefinition,
    DeleteRoleDefinition => RoleDefinition,
    ListRoleAssignments => RoleAssignments,
    CreateRoleAssignment => RoleAssignment,
    DeleteRoleAssignment => RoleAssignment,
    CreateUser => Done,
    ListUsers => Users,
    UpdateUser => Done,
    DeleteUser => Done,
    ChangePassword => Done,
    GetSettings => Partition,
    UpdateSettings => Partition,
    ListAuditStreams => AuditStreams,
    ReadAudit => AuditRecords,
    Zeroize => Done,
}

/// Asks, and remembers what was asked.
struct Asker<'a> {
    caller: &'a Caller,
    asked: BTreeSet<&'static str>,
}

impl Asker<'_> {
    async fn ask(&mut self, request: Request<'_>) -> Response {
        let name = request_name(&request);
        let response = ok(self.caller.call(request).await, name);
        assert!(
            is_answer(name, &response),
            "the answer to {name} is {response:?}"
        );
        self.asked.insert(name);
        response
    }
}

impl Asker<'_> {
    /// Whether the service can be asked `requests`, which need an algorithm that not every one has.
    fn can(
        &mut self,
        requests: [&'static str; 2],
        of: &[(KeyType, Algorithm)],
    ) -> Option<Algorithm> {
        let found = self.caller.first_of(of).map(|(_, algorithm)| algorithm);
        if found.is_none() {
            self.asked.extend(requests);
        }
        found
    }
}

async fn encapsulate(asker: &mut Asker<'_>) {
    let of = [(KeyType::MlKem768, Algorithm::MlKem768)];
    let Some(algorithm) = asker.can(["Encapsulate", "Decapsulate"], &of) else {
        return;
    };
    asker
        .ask(Request::CreateKey {
            name: name("kem"),
            new: new_key(KeyType::MlKem768, ENCAPSULATE),
        })
        .await;
    let encapsulate = Request::Encapsulate {
        key: key("kem"),
        algorithm,
    };
    let Response::Encapsulated { encapsulated, .. } = asker.ask(encapsulate).await else {
        unreachable!("checked by the asker")
    };
    let decapsulate = Request::Decapsulate {
        key: key("kem"),
        algorithm,
        ciphertext: &encapsulated.ciphertext,
    };
    asker.ask(decapsulate).await;
}

async fn transport(asker: &mut Asker<'_>, usages: &[Usage]) {
    let of = [(KeyType::Aes256, Algorithm::A256Kwp)];
    let Some(algorithm) = asker.can(["ExportKey", "ImportWrappedKey"], &of) else {
        return;
    };
    asker
        .caller
        .create("transport", KeyType::Aes256, TRANSPORT)
        .await;
    let export = Request::ExportKey {
        key: key("ec"),
        wrapping: key("transport"),
        algorithm,
    };
    let blob = wrapped(asker.ask(export).await);
    let import = Request::ImportWrappedKey {
        name: name("copy"),
        new: new_key(KeyType::EcP256, usages),
        wrapping: key("transport"),
        algorithm,
        wrapped: &blob,
        format: WrappedFormat::Bound,
    };
    asker.ask(import).await;
}

async fn encrypt(asker: &mut Asker<'_>) {
    let of = [
        (KeyType::Aes256, Algorithm::A256Gcm),
        (KeyType::Aes256, Algorithm::A256CbcPad),
    ];
    let Some(algorithm) = asker.can(["Encrypt", "Decrypt"], &of) else {
        return;
    };
    asker.caller.create("aes", KeyType::Aes256, ENCRYPT).await;
    let encrypt = Request::Encrypt {
        key: key("aes"),
        algorithm,
        plaintext: MESSAGE,
        iv: None,
        aad: b"",
    };
    let Response::Ciphertext { ciphertext, .. } = asker.ask(encrypt).await else {
        unreachable!("checked by the asker")
    };
    let decrypt = Request::Decrypt {
        key: key("aes"),
        algorithm,
        ciphertext: ciphertext.as_ref(),
        aad: b"",
    };
    asker.ask(decrypt).await;
}

async fn wrap(asker: &mut Asker<'_>) {
    let of = [
        (KeyType::Aes256, Algorithm::A256Kw),
        (KeyType::Rsa2048, Algorithm::RsaOaep256),
    ];
    let Some((key_type, algorithm)) = asker.caller.first_of(&of) else {
        asker.asked.extend(["Wrap", "Unwrap"]);
        return;
    };
    asker.caller.create("kek", key_type, WRAP).await;
    let wrap = Request::Wrap {
        key: key("kek"),
        algorithm,
        plaintext: &[7; 32],
    };
    let blob = wrapped(asker.ask(wrap).await);
    let unwrap = Request::Unwrap {
        key: key("kek"),
        algorithm,
        wrapped: &blob,
    };
    asker.ask(unwrap).await;
}

async fn derive(asker: &mut Asker<'_>) {
    let of = [
        (KeyType::Kdk256, Algorithm::HkdfSha256),
        (KeyType::Kdk256, Algorithm::KbkdfHmacSha256),
    ];
    let Some((key_type, algorithm)) = asker.caller.first_of(&of) else {
        asker.asked.insert("Derive");
        return;
    };
    asker
        .caller
        .create("kdk", key_type, &[Usage::DeriveKey])
        .await;
    let derive = Request::Derive {
        key: key("kdk"),
        algorithm,
        salt_or_label: b"salt",
        info_or_context: b"info",
        len: 32,
    };
    asker.ask(derive).await;
}

/// Each request is answered with the response that belongs to it.
#[expect(clippy::too_many_lines, reason = "one step for each request")]
pub async fn every_request_has_its_own_answer(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    opened.grant_export(ADMINISTRATOR, Scope::Keys).await;
    let mut asker = Asker {
        caller: &opened.all,
        asked: BTreeSet::new(),
    };

    let create = |to: &str, new| Request::CreateKey {
        name: name(to),
        new,
    };
    let usages = [Usage::Sign, Usage::Verify, Usage::DeriveBits];
    asker
        .ask(create("ec", exportable_key(KeyType::EcP256, &usages)))
        .await;
    let import = Request::ImportKey {
        name: name("hmac"),
        new: new_key(KeyType::HmacSha256, SIGN),
        material: SecretBytes::copy_from(&[7; 32]),
    };
    asker.ask(import).await;
    transport(&mut asker, &usages).await;
    let peer = key_info(
        asker
            .ask(create("peer", new_key(KeyType::EcP256, &usages)))
            .await,
    );

    let input = SignInput::Message(MESSAGE);
    let algorithm = Algorithm::Es256;
    let sign = Request::Sign {
        key: key("ec"),
        algorithm,
        input,
    };
    let (bytes, _) = signature(asker.ask(sign).await);
    let verify = Request::Verify {
        key: key("ec"),
        algorithm,
        input,
        signature: &bytes,
    };
    asker.ask(verify).await;
    let algorithm = Algorithm::Hs256;
    let mac = Request::Mac {
        key: key("hmac"),
        algorithm,
        message: MESSAGE,
    };
    let (tag, _) = signature(asker.ask(mac).await);
    let verify = Request::VerifyMac {
        key: key("hmac"),
        algorithm,
        message: MESSAGE,
        tag: &tag,
    };
    asker.ask(verify).await;
    encrypt(&mut asker).await;
    wrap(&mut asker).await;
    let agree = Request::Agree {
        key: key("ec"),
        algorithm: Algorithm::EcdhEs,
        peer: public(&peer),
    };
    asker.ask(agree).await;
    encapsulate(&mut asker).await;
    derive(&mut asker).await;
    asker.ask(Request::Random { len: 16 }).await;

    let page = PageRequest::default;
    asker.ask(Request::GetKey { key: key("ec") }).await;
    let attest = Request::AttestKey {
        key: key("ec"),
        nonce: ok(Nonce::new([7; 16]), "a nonce"),
        pcrs: Pcrs::NONE,
    };
    asker.ask(attest).await;
    asker.ask(Request::ListKeys { page: page() }).await;
    let versions = Request::ListVersions {
        name: name("ec"),
        page: page(),
    };
    asker.ask(versions).await;
    let tags = ok(Tags::new([("owner", "test")]), "tags");
    let update = Request::UpdateKey {
        key: key("ec"),
        update: AttributesUpdate::new().tags(tags),
    };
    asker.ask(update).await;
    asker.ask(Request::RotateKey { name: name("ec") }).await;
    let policy = Request::SetRotationPolicy {
        name: name("ec"),
        policy: None,
    };
    asker.ask(policy).await;
    asker
        .ask(Request::GetRotationPolicy { name: name("ec") })
        .await;
    asker.ask(Request::DeleteKey { name: name("ec") }).await;
    asker.ask(Request::GetDeletedKey { name: name("ec") }).await;
    asker.ask(Request::ListDeletedKeys { page: page() }).await;
    asker.ask(Request::RecoverKey { name: name("ec") }).await;
    let backup = Request::BackupKey { name: name("ec") };
    let Response::Backup(backup) = asker.ask(backup).await else {
        unreachable!("checked by the asker")
    };
    asker.ask(Request::DeleteKey { name: name("ec") }).await;
    asker.ask(Request::PurgeKey { name: name("ec") }).await;
    asker.ask(Request::RestoreKey { backup: &backup }).await;

    let id = RoleId::from_u128(7);
    let actions = ActionSet::of(&[DataAction::KeySign]);
    let definition = ok(RoleDefinition::new(id, "Signer", "", actions), "a role");
    asker.ask(Request::PutRoleDefinition { definition }).await;
    asker.ask(Request::ListRoleDefinitions).await;
    asker.ask(Request::DeleteRoleDefinition { id }).await;
    let user = || principal("somebody");
    let assign = Request::CreateRoleAssignment {
        id: Some(id),
        role: BuiltInRole::CryptoAuditor.id(),
        principal: user(),
        scope: Scope::Keys,
    };
    asker.ask(assign).await;
    asker
        .ask(Request::ListRoleAssignments { scope: None })
        .await;
    asker.ask(Request::DeleteRoleAssignment { id }).await;
    let password = || SecretBytes::copy_from(PASSWORD.as_bytes());
    let create = Request::CreateUser {
        name: user(),
        password: password(),
    };
    asker.ask(create).await;
    let Response::Users(users) = asker.ask(Request::ListUsers { page: page() }).await else {
        unreachable!("checked by the asker")
    };
    let created = users.items.iter().map(|user| user.created).max();
    let token = || ok("nightly".parse(), "the name of a token");
    let create = Request::CreateToken {
        name: token(),
        principal: user(),
        expires: created.unwrap_or_default() + Duration::from_secs(24 * 60 * 60),
    };
    asker.ask(create).await;
    asker.ask(Request::ListTokens { page: page() }).await;
    asker.ask(Request::DeleteToken { name: token() }).await;
    let update = Request::UpdateUser {
        name: user(),
        update: UserUpdate::Disable,
    };
    asker.ask(update).await;
    asker.ask(Request::DeleteUser { name: user() }).await;

    let update = SettingsUpdate::default();
    asker.ask(Request::UpdateSettings { update }).await;
    let confirm = partition(asker.ask(Request::GetSettings).await).id;
    asker.ask(Request::ListAuditStreams).await;
    let read = Request::ReadAudit {
        stream: confirm,
        from: 0,
        limit: 10,
    };
    asker.ask(read).await;
    let change = Request::ChangePassword {
        old: password(),
        new: SecretBytes::copy_from(b"another password"),
    };
    asker.ask(change).await;
    let mut asked = asker.asked;

    // That ended the session.
    let again = opened.login(ADMINISTRATOR, "another password").await;
    let mut asker = Asker {
        caller: &ok(again, "the new password lets in"),
        asked: BTreeSet::new(),
    };
    asker.ask(Request::Zeroize { confirm }).await;
    asked.append(&mut asker.asked);
    for request in REQUESTS {
        assert!(asked.contains(request), "nobody asked {request}");
    }
}
