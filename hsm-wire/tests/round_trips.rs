//! Whatever one end writes, the other end reads back: every request and every answer, with every field.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use hsm_core::attestation::{Evidence, Nonce, Pcrs};
use hsm_core::audit::{Chain, Entry, Frame, StreamId, split_frame};
use hsm_core::key::Jwk;
use hsm_core::lifecycle::{Event, State};
use hsm_core::policy::{
    ActionSet, BuiltInRole, DataAction, RoleAssignment, RoleDefinition, RoleId, RotationPolicy,
    Scope,
};
use hsm_core::{
    Algorithm, Attributes, AttributesUpdate, Ciphertext, CiphertextRef, Deletion, Encapsulated,
    Error, ErrorKind, IfTaken, KeyInfo, KeyName, KeyRef, KeySpec, KeyType, NewKeyParameters,
    Operation, Origin, Page, PageRequest, PartitionInfo, Principal, PublicKey, Recovery, Request,
    Response, SecretBytes, Settings, SettingsUpdate, SignInput, Tags, Timestamp, TokenInfo,
    TokenName, Usages, UserInfo, UserUpdate, VersionId, WrappedFormat,
};
use hsm_testkit::strategies;
use hsm_wire::{Buffers, Outgoing, Reply, Route};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const BASE: &str = "https://localhost:8443";

/// What requests and answers are made of.
#[derive(Debug)]
struct Pool {
    name: KeyName,
    key: KeyRef,
    wrapping: KeyRef,
    version: VersionId,
    new: NewKeyParameters,
    update: AttributesUpdate,
    policy: Option<RotationPolicy>,
    any: Algorithm,
    signs: Algorithm,
    bytes: [Vec<u8>; 4],
    iv: bool,
    flag: bool,
    len: usize,
    from: u64,
    page: PageRequest,
    public: PublicKey,
    info: KeyInfo,
    infos: Vec<KeyInfo>,
    next: Option<String>,
    definition: RoleDefinition,
    id: RoleId,
    other_id: Option<RoleId>,
    principal: Principal,
    token: TokenName,
    scope: Scope,
    time: Timestamp,
    stream: StreamId,
    days: u16,
    choice: usize,
}

impl Pool {
    fn nonce(&self) -> Nonce {
        Nonce::new(self.version.to_string()).unwrap()
    }

    fn pcrs(&self) -> Pcrs {
        [Pcrs::NONE, Pcrs::of(&[0, 7, 23]).unwrap()][self.choice % 2]
    }

    fn input(&self) -> SignInput<'_> {
        match self.signs.hash() {
            Some(_) => SignInput::Digest(&self.bytes[0]),
            None => SignInput::Message(&self.bytes[0]),
        }
    }

    fn secret(&self, at: usize) -> SecretBytes {
        SecretBytes::copy_from(&self.bytes[at])
    }

    fn user_update(&self) -> UserUpdate {
        match self.choice % 4 {
            0 => UserUpdate::Disable,
            1 => UserUpdate::Enable,
            2 => UserUpdate::Unlock,
            _ => UserUpdate::Password(self.secret(0)),
        }
    }

    fn settings_update(&self) -> SettingsUpdate {
        SettingsUpdate {
            retention_days: self.flag.then_some(self.days),
            purge_protection: self.iv.then_some(self.flag),
            danger_rsa1_5_decrypt: self.choice.is_multiple_of(2).then_some(self.iv),
        }
    }

    fn key_info(&self) -> Response {
        let mut info = self.info.clone();
        info.deletion = None;
        Response::Key(Box::new(info))
    }

    /// With when it was deleted.
    fn deleted_info(&self) -> Response {
        Response::Key(Box::new(self.info.clone()))
    }

    fn page<T>(&self, items: Vec<T>) -> Page<T> {
        Page {
            items,
            next: self.next.clone(),
        }
    }

    fn signature(&self) -> Response {
        Response::Signature {
            bytes: self.bytes[1].clone(),
            version: self.version,
        }
    }

    fn wrapped(&self) -> Response {
        Response::Wrapped {
            bytes: self.bytes[1].clone(),
            version: self.version,
        }
    }

    fn definitions(&self) -> Vec<RoleDefinition> {
        let built_in = BuiltInRole::ALL
            .iter()
            .map(|role| RoleDefinition::from(*role));
        built_in.chain([self.definition.clone()]).collect()
    }

    fn assignment(&self) -> RoleAssignment {
        RoleAssignment::new(
            self.id,
            BuiltInRole::CryptoUser.id(),
            self.principal.clone(),
            self.scope.clone(),
            self.time,
        )
    }

    fn partition(&self) -> Response {
        let mut settings = Settings::default();
        settings.retention_days = self.days;
        settings.purge_protection = self.flag;
        settings.danger_rsa1_5_decrypt = self.iv;
        let public = self.public.clone();
        let info = PartitionInfo::new(self.stream, public, "a \"device\"\n".to_owned(), settings);
        Response::Partition(Box::new(info))
    }

    fn token_info(&self) -> TokenInfo {
        let (token, principal) = (self.token.clone(), self.principal.clone());
        TokenInfo::new(token, principal, self.time, self.info.attributes.created)
    }

    fn user_info(&self) -> UserInfo {
        let locked = self.flag.then_some(self.time);
        UserInfo::new(self.principal.clone(), self.iv, self.time, locked)
    }

    fn frames(&self) -> Vec<Frame> {
        let mut bytes = Vec::new();
        let mut chain = Chain::new(self.stream);
        for _ in 0..self.choice % 3 {
            chain
                .append(&Entry::Closed { time: self.time }, &mut bytes)
                .unwrap();
        }
        let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((frame, after)) = split_frame(rest).unwrap() {
            frames.push(frame);
            rest = after;
        }
        frames
    }
}

/// A field as text that has all of it.
trait Say {
    fn say(&self) -> String;
}

macro_rules! say_debug {
    ($($type:ty),*) => {
        $(impl Say for $type {
            fn say(&self) -> String { format!("{self:?}") }
        })*
    };
}

say_debug!(
    KeyName,
    KeyRef,
    NewKeyParameters,
    AttributesUpdate,
    Option<RotationPolicy>,
    Algorithm,
    PageRequest,
    &[u8],
    Option<&[u8]>,
    CiphertextRef<'_>,
    usize,
    u64,
    RoleDefinition,
    RoleId,
    Option<RoleId>,
    Principal,
    TokenName,
    Scope,
    Option<Scope>,
    Timestamp,
    StreamId,
    SettingsUpdate,
    WrappedFormat,
    Nonce,
    Pcrs
);

impl Say for SecretBytes {
    fn say(&self) -> String {
        format!("{:?}", self.expose())
    }
}

impl Say for SignInput<'_> {
    fn say(&self) -> String {
        format!("{self:?} {:?}", self.as_bytes())
    }
}

impl Say for UserUpdate {
    fn say(&self) -> String {
        match self {
            Self::Password(password) => password.say(),
            other => format!("{other:?}"),
        }
    }
}

impl Say for &PublicKey {
    fn say(&self) -> String {
        format!("{self:?} {:?}", self.as_raw())
    }
}

/// Every request with every field, and an answer to each: this does not compile until a new one is here.
macro_rules! requests {
    ($p:ident; $($variant:ident { $($field:ident: $value:expr),* } => $answer:expr;)*) => {
        const NAMES: &[&str] = &[$(stringify!($variant)),*];

        fn requests($p: &Pool) -> Vec<Request<'_>> {
            vec![$(Request::$variant { $($field: $value),* }),*]
        }

        fn answers($p: &Pool) -> Vec<Response> {
            vec![$($answer),*]
        }

        fn say(request: &Request<'_>) -> String {
            match request {
                $(Request::$variant { $($field),* } => {
                    let fields: &[String] = &[$(format!("{}: {}", stringify!($field), $field.say())),*];
                    format!("{} {fields:#?}", stringify!($variant))
                })*
            }
        }
    };
}

requests! { p;
    CreateKey { name: p.name.clone(), new: p.new.clone() } => p.key_info();
    ImportKey { name: p.name.clone(), new: p.new.clone(), material: p.secret(0) } => p.key_info();
    ImportWrappedKey {
        name: p.name.clone(), new: p.new.clone(), wrapping: p.wrapping.clone(), algorithm: p.any, wrapped: &p.bytes[0],
        format: if p.flag { WrappedFormat::Bare } else { WrappedFormat::Bound }
    } => p.key_info();
    ExportKey { key: p.key.clone(), wrapping: p.wrapping.clone(), algorithm: p.any } => p.wrapped();
    GetKey { key: p.key.clone() } => p.key_info();
    AttestKey { key: p.key.clone(), nonce: p.nonce(), pcrs: p.pcrs() } => Response::Evidence {
        evidence: Evidence::from_bytes(p.bytes[0].clone()).unwrap(), version: p.version
    };
    ListKeys { page: p.page.clone() } => Response::Keys(p.page(p.infos.clone()));
    ListVersions { name: p.name.clone(), page: p.page.clone() } => {
        // All of one key.
        let mut infos = p.infos.clone();
        for info in &mut infos {
            info.name = p.name.clone();
        }
        Response::Keys(p.page(infos))
    };
    UpdateKey { key: p.key.clone(), update: p.update.clone() } => p.key_info();
    RotateKey { name: p.name.clone() } => p.key_info();
    GetRotationPolicy { name: p.name.clone() } => Response::RotationPolicy(p.policy.clone());
    SetRotationPolicy { name: p.name.clone(), policy: p.policy.clone() } => Response::RotationPolicy(p.policy.clone());
    DeleteKey { name: p.name.clone() } => p.deleted_info();
    GetDeletedKey { name: p.name.clone() } => p.deleted_info();
    ListDeletedKeys { page: p.page.clone() } => Response::Keys(p.page(p.infos.clone()));
    RecoverKey { name: p.name.clone() } => p.key_info();
    PurgeKey { name: p.name.clone() } => Response::Done;
    BackupKey { name: p.name.clone() } => Response::Backup(p.bytes[0].clone());
    RestoreKey { backup: &p.bytes[0] } => p.key_info();
    Sign { key: p.key.clone(), algorithm: p.signs, input: p.input() } => p.signature();
    Verify { key: p.key.clone(), algorithm: p.signs, input: p.input(), signature: &p.bytes[1] } => Response::Done;
    Mac { key: p.key.clone(), algorithm: p.any, message: &p.bytes[0] } => p.signature();
    VerifyMac { key: p.key.clone(), algorithm: p.any, message: &p.bytes[0], tag: &p.bytes[1] } => Response::Done;
    Encrypt {
        key: p.key.clone(), algorithm: p.any, plaintext: &p.bytes[0], iv: p.iv.then_some(&p.bytes[1][..]), aad: &p.bytes[2]
    } => Response::Ciphertext {
        ciphertext: Ciphertext { ciphertext: p.bytes[0].clone(), iv: p.bytes[1].clone(), tag: p.bytes[2].clone() },
        version: p.version
    };
    Decrypt {
        key: p.key.clone(), algorithm: p.any, aad: &p.bytes[3],
        ciphertext: CiphertextRef { ciphertext: &p.bytes[0], iv: &p.bytes[1], tag: &p.bytes[2] }
    } => Response::Secret(p.secret(0));
    Wrap { key: p.key.clone(), algorithm: p.any, plaintext: &p.bytes[0] } => p.wrapped();
    Unwrap { key: p.key.clone(), algorithm: p.any, wrapped: &p.bytes[0] } => Response::Secret(p.secret(0));
    Agree { key: p.key.clone(), algorithm: p.any, peer: &p.public } => Response::Secret(p.secret(0));
    Encapsulate { key: p.key.clone(), algorithm: p.any } => Response::Encapsulated {
        encapsulated: Encapsulated { ciphertext: p.bytes[1].clone(), secret: p.secret(0) }, version: p.version
    };
    Decapsulate { key: p.key.clone(), algorithm: p.any, ciphertext: &p.bytes[0] } => Response::Secret(p.secret(0));
    Derive {
        key: p.key.clone(), algorithm: p.any, salt_or_label: &p.bytes[0], info_or_context: &p.bytes[1], len: p.len
    } => Response::Secret(p.secret(0));
    Random { len: p.len } => Response::Secret(p.secret(0));
    ListRoleDefinitions {} => Response::RoleDefinitions(p.definitions());
    PutRoleDefinition { definition: p.definition.clone() } => Response::RoleDefinition(Box::new(p.definition.clone()));
    DeleteRoleDefinition { id: p.id } => Response::RoleDefinition(Box::new(p.definition.clone()));
    ListRoleAssignments { scope: p.flag.then(|| p.scope.clone()) } => Response::RoleAssignments(vec![p.assignment(); p.choice % 3]);
    CreateRoleAssignment {
        id: p.other_id, role: p.id, principal: p.principal.clone(), scope: p.scope.clone()
    } => Response::RoleAssignment(Box::new(p.assignment()));
    DeleteRoleAssignment { id: p.id } => Response::RoleAssignment(Box::new(p.assignment()));
    CreateUser { name: p.principal.clone(), password: p.secret(0) } => Response::Done;
    ListUsers { page: p.page.clone() } => Response::Users(p.page(vec![p.user_info(); p.choice % 3]));
    UpdateUser { name: p.principal.clone(), update: p.user_update() } => Response::Done;
    DeleteUser { name: p.principal.clone() } => Response::Done;
    CreateToken { name: p.token.clone(), principal: p.principal.clone(), expires: p.time } => Response::Token {
        token: p.secret(0), info: p.token_info()
    };
    ListTokens { page: p.page.clone() } => Response::Tokens(p.page(vec![p.token_info(); p.choice % 3]));
    DeleteToken { name: p.token.clone() } => Response::Done;
    ChangePassword { old: p.secret(0), new: p.secret(1) } => Response::Done;
    GetSettings {} => p.partition();
    UpdateSettings { update: p.settings_update() } => p.partition();
    ListAuditStreams {} => Response::AuditStreams(vec![p.stream; p.choice % 3]);
    ReadAudit { stream: p.stream, from: p.from, limit: p.len } => Response::AuditRecords(p.frames());
    Zeroize { confirm: p.stream } => Response::Done;
}

/// An answer as text that has all of it.
fn say_answer(response: &Response) -> String {
    let info = |info: &KeyInfo| {
        format!(
            "{info:?} {:?}",
            info.public.as_ref().map(|key| key.as_raw().to_vec())
        )
    };
    match response {
        Response::Key(key) => info(key),
        Response::Keys(page) => {
            format!(
                "{:?} {:?}",
                page.items.iter().map(info).collect::<Vec<_>>(),
                page.next
            )
        }
        Response::Secret(secret) => secret.say(),
        Response::Token { token, info } => format!("{} {info:?}", token.say()),
        Response::Encapsulated {
            encapsulated,
            version,
        } => format!(
            "{} {:?} {version}",
            encapsulated.secret.say(),
            encapsulated.ciphertext
        ),
        Response::Evidence { evidence, version } => format!("{:?} {version}", evidence.as_bytes()),
        Response::Partition(info) => format!("{info:?} {:?}", info.audit_key.as_raw()),
        other => format!("{other:?}"),
    }
}

/// Through the wire and back.
fn travel(request: &Request<'_>) -> (Outgoing, Route, String) {
    let outgoing = Outgoing::new(request).unwrap();
    let (path, query) = outgoing
        .target
        .split_once('?')
        .unwrap_or((&outgoing.target, ""));
    let route = Route::parse(&outgoing.method, path, Some(query)).unwrap();
    let Route::Engine(engine) = &route else {
        panic!("{route:?} for {request:?}");
    };
    let mut buffers = Buffers::default();
    let arrived = engine
        .request(outgoing.body.as_bytes(), &mut buffers)
        .unwrap();
    let said = say(&arrived);
    (outgoing, route, said)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_arrives_as_it_was_sent(pool in pool()) {
        for (request, name) in requests(&pool).iter().zip(NAMES) {
            let (outgoing, route, arrived) = travel(request);
            prop_assert_eq!(&arrived, &say(request));
            prop_assert!(arrived.starts_with(name));
            prop_assert_eq!(route, Route::Engine(outgoing.route));
        }
    }

    #[test]
    fn every_answer_arrives_as_it_was_given(pool in pool()) {
        for (request, answer) in requests(&pool).iter().zip(answers(&pool)) {
            let (outgoing, route, _) = travel(request);
            let said = say_answer(&answer);
            let Route::Engine(route) = route else { unreachable!() };
            let reply = route.reply(Ok(answer), BASE);
            prop_assert!(reply.status.is_success());
            let arrived = outgoing.route.response(reply.status, reply.body.as_bytes()).unwrap();
            prop_assert_eq!(say_answer(&arrived), said, "{:?}", request);
        }
    }

    #[test]
    fn every_error_arrives_as_it_was_given(pool in pool(), message in "\\PC{0,40}", wait in proptest::option::of(any::<u32>())) {
        for request in requests(&pool) {
            let (outgoing, route, _) = travel(&request);
            let Route::Engine(route) = route else { unreachable!() };
            for kind in KINDS {
                let mut error = Error::new(kind, message.clone());
                if let Some(wait) = wait {
                    error = error.with_retry_after(std::time::Duration::from_millis(wait.into()));
                }
                let reply = route.reply(Err(error), BASE);
                let arrived = outgoing.route.response(reply.status, reply.body.as_bytes()).unwrap_err();
                prop_assert_eq!(arrived.kind(), kind);
                if kind == ErrorKind::CryptoFailed {
                    continue; // which has neither message nor anything else
                }
                prop_assert_eq!(arrived.retry_after().map(|wait| wait.as_millis()), wait.map(u128::from));
                prop_assert!(arrived.message().contains(&message));
            }
        }
    }
}

#[test]
fn a_message_is_hashed_before_it_travels() {
    let request = Request::Sign {
        key: "a".parse().unwrap(),
        algorithm: Algorithm::Es384,
        input: SignInput::Message(b"message"),
    };
    let (.., arrived) = travel(&request);
    let digest = SignInput::Message(b"message")
        .digest(Algorithm::Es384)
        .unwrap();
    let expected = Request::Sign {
        key: "a".parse().unwrap(),
        algorithm: Algorithm::Es384,
        input: SignInput::Digest(&digest),
    };
    assert_eq!(arrived, say(&expected));
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_it_travels() {
    let key: KeyRef = "a".parse().unwrap();
    let digest = SignInput::Digest(&[0; 32]);
    let sign = |algorithm, input| Request::Sign {
        key: key.clone(),
        algorithm,
        input,
    };
    let long = vec![0; hsm_core::limits::DATA_LEN_MAX + 1];
    let cases = [
        (sign(Algorithm::EdDsa, digest), ErrorKind::InvalidInput),
        (sign(Algorithm::Hs256, digest), ErrorKind::InvalidInput),
        (
            sign(Algorithm::EdDsa, SignInput::Message(&long)),
            ErrorKind::LimitExceeded,
        ),
    ];
    for (request, kind) in cases {
        assert_eq!(
            Outgoing::new(&request).unwrap_err().kind(),
            kind,
            "{request:?}"
        );
    }
}

#[test]
fn an_answer_to_something_else_is_an_unknown_outcome() {
    let outgoing = Outgoing::new(&Request::RotateKey {
        name: "a".parse().unwrap(),
    })
    .unwrap();
    let reply = outgoing
        .route
        .reply(Ok(Response::AuditRecords(vec![])), BASE);
    // Whoever reads records as a key must not take it for one.
    let error = outgoing
        .route
        .response(reply.status, reply.body.as_bytes())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    for body in ["", "[]", "{}", "<html>", r#"{"key":{"kid":"x"}}"#] {
        let error = outgoing
            .route
            .response(http::StatusCode::OK, body.as_bytes())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{body}");
    }
    let reply = Reply::error(&Error::new(ErrorKind::LockedOut, "wait"));
    assert_eq!(reply.status, 429);
}

const KINDS: [ErrorKind; 16] = [
    ErrorKind::InvalidInput,
    ErrorKind::LimitExceeded,
    ErrorKind::Unsupported,
    ErrorKind::Unauthenticated,
    ErrorKind::Denied,
    ErrorKind::KeyState,
    ErrorKind::LockedOut,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::CryptoFailed,
    ErrorKind::Damaged,
    ErrorKind::DeviceFailed,
    ErrorKind::StoreFailed,
    ErrorKind::AuditFailed,
    ErrorKind::Unreachable,
    ErrorKind::Unknown,
];

fn pool() -> impl Strategy<Value = Pool> {
    let names = (strategies::key_name(), key_ref(), key_ref(), version());
    let keys = (
        new_key(),
        update(),
        policy(),
        strategies::algorithm(),
        signs(),
    );
    let numbers = (
        any::<bool>(),
        any::<bool>(),
        any::<usize>(),
        any::<u64>(),
        any::<u16>(),
        any::<usize>(),
    );
    let infos = (
        public(),
        info(),
        vec(info(), 0..3),
        proptest::option::of("\\PC{1,20}"),
        page(),
    );
    let people = (
        definition(),
        id(),
        proptest::option::of(id()),
        principal(),
        token(),
        scope(),
    );
    let rest = (
        time(),
        any::<[u8; 16]>(),
        proptest::array::uniform4(vec(any::<u8>(), 0..40)),
    );
    (names, keys, numbers, infos, people, rest).prop_map(
        |(
            (name, key, wrapping, version),
            (new, update, policy, any, signs),
            (iv, flag, len, from, days, choice),
            (public, info, infos, next, page),
            (definition, id, other_id, principal, token, scope),
            (time, stream, bytes),
        )| Pool {
            name,
            key,
            wrapping,
            version,
            new,
            update,
            policy,
            any,
            signs,
            bytes,
            iv,
            flag,
            len,
            from,
            page,
            public,
            info,
            infos,
            next,
            definition,
            id,
            other_id,
            principal,
            token,
            scope,
            time,
            stream: StreamId::from_bytes(stream),
            days,
            choice,
        },
    )
}

fn version() -> impl Strategy<Value = VersionId> {
    any::<[u8; 16]>().prop_map(VersionId::from_bytes)
}

fn key_ref() -> impl Strategy<Value = KeyRef> {
    (strategies::key_name(), proptest::option::of(version()))
        .prop_map(|(name, version)| KeyRef { name, version })
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(|time| Timestamp::from_unix_millis(time % 300_000_000_000_000))
}

fn tags() -> impl Strategy<Value = Tags> {
    vec(("\\PC{1,8}", "\\PC{0,8}"), 0..4).prop_map(|tags| Tags::new(tags).unwrap())
}

fn policy() -> impl Strategy<Value = Option<RotationPolicy>> {
    select(vec![
        None,
        Some(RotationPolicy::default()),
        Some(RotationPolicy::rotate_after("P90D").unwrap()),
        Some(RotationPolicy::rotate_before_expiry("P30D", "P1Y6M").unwrap()),
    ])
}

/// A spec, perhaps for one algorithm only.
fn spec() -> impl Strategy<Value = KeySpec> {
    (strategies::key_spec(), any::<usize>(), any::<bool>()).prop_map(|(spec, at, only)| {
        let algorithms = spec.key_type.algorithms();
        match only {
            true => spec.only(algorithms[at % algorithms.len()]).unwrap(),
            false => spec,
        }
    })
}

fn new_key() -> impl Strategy<Value = NewKeyParameters> {
    let times = (proptest::option::of(time()), proptest::option::of(time()));
    (
        spec(),
        times,
        any::<bool>(),
        tags(),
        policy(),
        any::<bool>(),
    )
        .prop_map(
            |(spec, (not_before, expires), pre_activation, tags, rotation, refuse)| {
                let mut new = NewKeyParameters::new(spec);
                new.not_before = not_before;
                new.expires = expires;
                new.pre_activation = pre_activation;
                new.tags = tags;
                new.rotation = rotation;
                new.if_taken = if refuse {
                    IfTaken::Refuse
                } else {
                    IfTaken::AddVersion
                };
                new
            },
        )
}

fn update() -> impl Strategy<Value = AttributesUpdate> {
    let change = || proptest::option::of(proptest::option::of(time()));
    let times = (change(), change());
    let event = proptest::option::of(select(Event::ALL.to_vec()));
    let usages = proptest::option::of(strategies::usages());
    let enabled = proptest::option::of(any::<bool>());
    (event, enabled, usages, times, proptest::option::of(tags())).prop_map(
        |(event, enabled, usages, (not_before, expires), tags)| {
            let mut update = AttributesUpdate::new();
            if let Some(event) = event {
                update = update.event(event);
            }
            if let Some(enabled) = enabled {
                update = update.enabled(enabled);
            }
            if let Some(usages) = usages {
                update = update.usages(usages);
            }
            if let Some(time) = not_before {
                update = update.not_before(time);
            }
            if let Some(time) = expires {
                update = update.expires(time);
            }
            if let Some(tags) = tags {
                update = update.tags(tags);
            }
            update
        },
    )
}

fn signs() -> impl Strategy<Value = Algorithm> {
    select(
        Algorithm::all()
            .filter(|algorithm| algorithm.does(Operation::Sign))
            .collect::<Vec<_>>(),
    )
}

fn page() -> impl Strategy<Value = PageRequest> {
    (
        proptest::option::of("\\PC{0,20}"),
        proptest::option::of(any::<usize>()),
    )
        .prop_map(|(after, limit)| PageRequest { after, limit })
}

/// RFC 7517 appendix A.1, RFC 8037 appendix A.2, and any X25519 key.
fn public() -> impl Strategy<Value = PublicKey> {
    let from = |json: &str| {
        let jwk: Jwk = serde_json::from_str(json).unwrap();
        PublicKey::from_jwk(&jwk).unwrap()
    };
    let known = [
        r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#,
        r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    ]
    .map(from);
    let x25519 =
        any::<[u8; 32]>().prop_map(|raw| PublicKey::from_raw(KeyType::X25519, raw).unwrap());
    prop_oneof![select(known.to_vec()), x25519]
}

/// A key with the public half that belongs to it, or without one.
fn info() -> impl Strategy<Value = KeyInfo> {
    let times = (
        time(),
        time(),
        proptest::option::of(time()),
        proptest::option::of(time()),
    );
    let deletion = proptest::option::of((time(), time()));
    let recovery = proptest::option::of((any::<u16>(), any::<bool>()));
    let state = (select(State::ALL.to_vec()), any::<bool>(), any::<bool>());
    let parts = (key_ref(), version(), spec(), public(), times, state, tags());
    (parts, deletion, recovery).prop_map(
        |(
            (key, version, spec, public, times, (state, generated, exportable), tags),
            deletion,
            recovery,
        )| {
            let symmetric = !spec.key_type.is_asymmetric();
            let (spec, public) = match symmetric {
                true => (spec, None),
                false => {
                    let key_type = public.key_type();
                    let usage: Usages = key_type.info().usages.iter().take(1).collect();
                    (KeySpec::new(key_type, usage).unwrap(), Some(public))
                }
            };
            let spec = if exportable { spec.exportable() } else { spec };
            let origin = if generated {
                Origin::Generated
            } else {
                Origin::Imported
            };
            let mut attributes = Attributes::new(spec, origin, times.0);
            (
                attributes.updated,
                attributes.not_before,
                attributes.expires,
            ) = (times.1, times.2, times.3);
            attributes.state = state;
            attributes.tags = tags;
            let mut info = KeyInfo::new(key.name, version, attributes, public);
            info.deletion = deletion.map(|(deleted, purge_at)| Deletion { deleted, purge_at });
            info.recovery = recovery.map(|(retention_days, purge_protection)| Recovery {
                retention_days,
                purge_protection,
            });
            info
        },
    )
}

fn id() -> impl Strategy<Value = RoleId> {
    any::<u128>().prop_map(RoleId::from_u128)
}

fn definition() -> impl Strategy<Value = RoleDefinition> {
    let actions = vec(select(DataAction::all().collect::<Vec<_>>()), 1..5);
    (id(), "[a-z\"\\\\äß]{1,20}", "\\PC{0,20}", actions).prop_map(
        |(id, name, description, actions)| {
            let actions: ActionSet = actions.into_iter().collect();
            RoleDefinition::new(id, name, description, actions).unwrap()
        },
    )
}

fn principal() -> impl Strategy<Value = Principal> {
    strategies::key_name().prop_filter_map("the partition's own", |name| {
        Principal::new(name.as_str()).ok()
    })
}

fn token() -> impl Strategy<Value = TokenName> {
    strategies::key_name().prop_map(|name| TokenName::new(name.as_str()).unwrap())
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::Global),
        Just(Scope::Keys),
        strategies::key_name().prop_map(Scope::Key)
    ]
}
