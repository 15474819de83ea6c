//! An engine whose parts fail as planned, and what is asked of it.

use std::sync::{Arc, LazyLock};

use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_core::attestation::{Nonce, Pcrs};
use hsm_core::audit::RequestId;
use hsm_core::lifecycle::{Event, State};
use hsm_core::policy::{ActionSet, BuiltInRole, DataAction, RoleDefinition, RoleId, Scope};
use hsm_core::{
    Algorithm, AttributesUpdate, CiphertextRef, Credentials, Engine, ErrorKind, KeyInfo, KeyName,
    KeyRef, KeySpec, KeyType, NewKeyParameters, PageRequest, Parts, PublicKey, Request, Response,
    Result, SecretBytes, Service, Session, Settings, SettingsUpdate, Setup, SignInput, Snapshot,
    Space, Store, Timestamp, Usage, Usages, UserUpdate, WrappedFormat,
};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD};
use hsm_testkit::{
    Faults, FaultyAudit, FaultyDevice, FaultyStore, ManualClock, MemoryAudit, MemoryStore,
};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) const ROLE: RoleId = RoleId::from_u128(42);

/// An engine whose device, store and audit sink fail as planned, and a second one over the same store that does not.
pub(crate) struct House {
    /// The device that is right, under the one that fails.
    pub(crate) device: Arc<SoftDevice>,
    pub(crate) memory: MemoryStore,
    pub(crate) audited: MemoryAudit,
    pub(crate) clock: Arc<ManualClock>,
    /// Of the device.
    pub(crate) calls: Faults,
    /// Of the keys that it loaded.
    pub(crate) keys: Faults,
    pub(crate) writes: Faults,
    pub(crate) reads: Faults,
    pub(crate) audit: Faults,
    pub(crate) engine: Engine,
    pub(crate) session: Arc<dyn Session>,
}

impl House {
    pub(crate) fn new() -> Self {
        let device = Arc::new(SoftDevice::in_memory().unwrap());
        let (memory, audited) = (MemoryStore::new(), MemoryAudit::new());
        let clock = Arc::new(ManualClock::default());
        let (writes, reads, audit) = (Faults::none(), Faults::none(), Faults::none());
        let (calls, keys) = (Faults::none(), Faults::none());
        let parts = Parts {
            device: Arc::new(FaultyDevice::new(
                device.clone(),
                calls.clone(),
                keys.clone(),
            )),
            store: Arc::new(FaultyStore::new(
                memory.clone(),
                writes.clone(),
                reads.clone(),
            )),
            audit: Arc::new(FaultyAudit::new(audited.clone(), audit.clone())),
            clock: clock.clone(),
        };
        let engine = block_on(Engine::create(parts, setup())).unwrap();
        let session = block_on(engine.login(credentials())).unwrap();
        let house = Self {
            device,
            memory,
            audited,
            clock,
            calls,
            keys,
            writes,
            reads,
            audit,
            engine,
            session,
        };
        for role in [BuiltInRole::CryptoUser, BuiltInRole::CryptoOfficer] {
            let request = Request::CreateRoleAssignment {
                id: None,
                role: role.id(),
                principal: ADMINISTRATOR.parse().unwrap(),
                scope: Scope::Global,
            };
            house.ask(request).unwrap();
        }
        house
    }

    /// The keys that [`operations`] use, and the role to export them.
    pub(crate) fn furnish(&self) {
        let id = RoleId::from_u128(43);
        let actions = ActionSet::of(&[DataAction::KeyExport]);
        let definition = RoleDefinition::new(id, "Exporter", "", actions).unwrap();
        self.ask(Request::PutRoleDefinition { definition }).unwrap();
        let request = Request::CreateRoleAssignment {
            id: None,
            role: id,
            principal: ADMINISTRATOR.parse().unwrap(),
            scope: Scope::Keys,
        };
        self.ask(request).unwrap();
        let data = [
            Usage::Encrypt,
            Usage::Decrypt,
            Usage::WrapKey,
            Usage::UnwrapKey,
        ];
        for (name, key_type, usages) in [
            (
                "ec",
                KeyType::EcP256,
                &[Usage::Sign, Usage::Verify, Usage::DeriveBits][..],
            ),
            ("sym", KeyType::Aes256, &data),
            ("hmac", KeyType::HmacSha256, &[Usage::Sign, Usage::Verify]),
            ("kdk", KeyType::Kdk256, &[Usage::DeriveKey]),
            (
                "transport",
                KeyType::Aes256,
                &[Usage::Import, Usage::Export],
            ),
            ("other", KeyType::EcP256, &[Usage::Sign, Usage::Verify]),
        ] {
            let mut new = new_key(key_type, usages);
            new.spec = new.spec.exportable();
            let name = name.parse().unwrap();
            self.ask(Request::CreateKey { name, new }).unwrap();
        }
    }

    /// Has another process change a key, or a role if there is no such key, so that what was read before will not do.
    pub(crate) fn forget(&self, another: &dyn Session, name: Option<&KeyName>) {
        let call = |request| block_on(another.call(RequestId::default(), request));
        if let Some(name) = name {
            let request = Request::UpdateKey {
                key: name.as_str().parse().unwrap(),
                update: AttributesUpdate::new(),
            };
            if call(request).is_ok() {
                return;
            }
        }
        let actions = ActionSet::of(&[DataAction::KeySign]);
        let definition = RoleDefinition::new(RoleId::from_u128(44), "New", "", actions).unwrap();
        call(Request::PutRoleDefinition { definition }).unwrap();
    }

    /// The administrator's session with another process.
    pub(crate) fn another_session(&self) -> Arc<dyn Session> {
        block_on(self.another().session_for(ADMINISTRATOR.parse().unwrap())).unwrap()
    }

    /// Every record of the store.
    pub(crate) fn records(&self) -> Vec<(Space, Rows)> {
        let mut records = Vec::new();
        let read = |snapshot: &dyn Snapshot| {
            for space in Space::ALL {
                records.push((space, snapshot.scan(space, b"", None, usize::MAX)?));
            }
            Ok(())
        };
        block_on(self.memory.view(Box::new(read))).unwrap();
        records
    }

    pub(crate) fn ask(&self, request: Request<'_>) -> Result<Response> {
        block_on(self.session.call(RequestId::from_u128(1), request))
    }

    pub(crate) fn kind(&self, request: Request<'_>) -> Option<ErrorKind> {
        self.ask(request).err().map(|error| error.kind())
    }

    /// What another process that opens the HSM finds: everything that is on disk, checked.
    pub(crate) fn another(&self) -> Engine {
        let parts = Parts {
            device: self.device.clone(),
            store: Arc::new(self.memory.clone()),
            audit: Arc::new(MemoryAudit::new()),
            clock: self.clock.clone(),
        };
        block_on(Engine::open(parts)).unwrap()
    }

    /// Everything that changes change, as another process sees it.
    pub(crate) fn state(&self) -> Vec<String> {
        let another = self.another();
        let session = block_on(another.session_for(ADMINISTRATOR.parse().unwrap())).unwrap();
        let page = || PageRequest {
            after: None,
            limit: Some(1000),
        };
        let mut requests = vec![
            Request::ListKeys { page: page() },
            Request::ListDeletedKeys { page: page() },
            Request::ListRoleDefinitions,
            Request::ListRoleAssignments { scope: None },
            Request::ListUsers { page: page() },
            Request::ListTokens { page: page() },
            Request::GetSettings,
        ];
        for key in ["key", "aes"] {
            requests.push(Request::ListVersions {
                name: key.parse().unwrap(),
                page: page(),
            });
            requests.push(Request::GetRotationPolicy {
                name: key.parse().unwrap(),
            });
        }
        let mut state: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let answer = block_on(session.call(RequestId::default(), request));
                match answer {
                    Ok(answer) => format!("{answer:?}"),
                    Err(error) => format!("{:?}", error.kind()),
                }
            })
            .collect();
        // Whether the password was changed shows at login only; that is an attempt, in the journal as well.
        let login = block_on(another.login(Credentials::password("app", PASSWORD).unwrap()));
        let refused = login.err().map(|error| match error.kind() {
            // A user that is not there yet is asked for too often.
            ErrorKind::LockedOut => ErrorKind::Unauthenticated,
            kind => kind,
        });
        state.push(format!("{refused:?}"));
        state
    }

    /// Records of the journal with this outcome of the change.
    pub(crate) fn recorded(&self, action: DataAction) -> Vec<Option<ErrorKind>> {
        let events = self.audited.events().into_iter();
        events
            .filter(|event| event.action == action)
            .map(|event| event.failure)
            .collect()
    }

    /// Every key that is listed can be used, and verified by its public half.
    pub(crate) fn check_whole(&self) {
        let page = PageRequest::default();
        let Response::Keys(keys) = self.ask(Request::ListKeys { page }).unwrap() else {
            panic!("expected keys")
        };
        for info in keys.items {
            self.use_key(&info);
        }
    }

    pub(crate) fn use_key(&self, info: &KeyInfo) {
        let input = SignInput::Message(b"message");
        let usages = info.attributes.spec.usages;
        let used = [Usage::Sign, Usage::Encrypt].map(|usage| usages.contains(usage));
        if info.attributes.state != State::Active || used == [false, false] {
            return;
        }
        match &info.public {
            Some(public) => {
                let request = Request::Sign {
                    key: info.key(),
                    algorithm: Algorithm::Es256,
                    input,
                };
                let Response::Signature { bytes, .. } = self.ask(request).unwrap() else {
                    panic!("expected a signature")
                };
                public.verify(Algorithm::Es256, input, &bytes).unwrap();
            }
            None if used[0] => {
                let request = Request::Mac {
                    key: info.key(),
                    algorithm: Algorithm::Hs256,
                    message: b"message",
                };
                self.ask(request).unwrap();
            }
            None => {
                self.ask(encrypt(info.key())).unwrap();
            }
        }
    }
}

/// Changes that can each be made once in a new house, in this order.
pub(crate) fn changes() -> Vec<Request<'static>> {
    let name = || "key".parse().unwrap();
    let user = || "app".parse().unwrap();
    let password = || SecretBytes::copy_from(PASSWORD.as_bytes());
    let policy = hsm_core::policy::RotationPolicy::rotate_after("P90D").unwrap();
    let actions = ActionSet::of(&[DataAction::KeySign]);
    vec![
        Request::CreateKey {
            name: name(),
            new: new_key(KeyType::EcP256, &[Usage::Sign, Usage::Verify]),
        },
        Request::ImportKey {
            name: "aes".parse().unwrap(),
            new: new_key(KeyType::Aes256, &[Usage::Encrypt, Usage::Decrypt]),
            material: SecretBytes::copy_from(&[7; 32]),
        },
        Request::UpdateKey {
            key: key("key"),
            update: AttributesUpdate::new().event(Event::Suspend),
        },
        Request::UpdateKey {
            key: key("key"),
            update: AttributesUpdate::new().event(Event::Resume),
        },
        Request::SetRotationPolicy {
            name: name(),
            policy: Some(policy),
        },
        Request::RotateKey { name: name() },
        Request::DeleteKey { name: name() },
        Request::RecoverKey { name: name() },
        Request::DeleteKey { name: name() },
        Request::PurgeKey { name: name() },
        Request::PutRoleDefinition {
            definition: RoleDefinition::new(ROLE, "Signer", "", actions).unwrap(),
        },
        Request::CreateRoleAssignment {
            id: Some(ROLE),
            role: ROLE,
            principal: user(),
            scope: Scope::Keys,
        },
        Request::DeleteRoleAssignment { id: ROLE },
        Request::DeleteRoleDefinition { id: ROLE },
        Request::CreateUser {
            name: user(),
            password: password(),
        },
        Request::UpdateUser {
            name: user(),
            update: UserUpdate::Disable,
        },
        Request::UpdateUser {
            name: user(),
            update: UserUpdate::Enable,
        },
        Request::CreateToken {
            name: "night".parse().unwrap(),
            principal: user(),
            expires: Timestamp::from_unix_seconds(1_767_225_600 + 24 * 60 * 60),
        },
        Request::DeleteToken {
            name: "night".parse().unwrap(),
        },
        Request::DeleteUser { name: user() },
        Request::UpdateSettings {
            update: SettingsUpdate {
                retention_days: Some(7),
                ..SettingsUpdate::default()
            },
        },
    ]
}

/// What reads or uses keys and changes nothing.
pub(crate) fn uses() -> Vec<Request<'static>> {
    vec![
        Request::Sign {
            key: key("key"),
            algorithm: Algorithm::Es256,
            input: SignInput::Message(b"message"),
        },
        encrypt(key("aes")),
        Request::Random { len: 8 },
        Request::GetKey { key: key("key") },
        Request::ListKeys {
            page: PageRequest::default(),
        },
        Request::ListUsers {
            page: PageRequest::default(),
        },
        Request::ListRoleAssignments { scope: None },
        Request::GetSettings,
        Request::ListAuditStreams,
    ]
}

/// Every request that uses a key of [`House::furnish`], and how it ends if nothing fails. What needs an answer of another
/// one gets rubbish, which the device refuses.
pub(crate) fn operations() -> Vec<(Request<'static>, Option<ErrorKind>)> {
    // Generator of P-256, FIPS 186-5.
    static PEER: LazyLock<PublicKey> = LazyLock::new(|| {
        let point = [
            0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63,
            0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39,
            0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e,
            0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e,
            0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
        ];
        PublicKey::from_raw(KeyType::EcP256, point).unwrap()
    });
    let (message, rubbish) = (
        SignInput::Message(b"message"),
        Some(ErrorKind::CryptoFailed),
    );
    vec![
        (
            Request::Sign {
                key: key("ec"),
                algorithm: Algorithm::Es256,
                input: message,
            },
            None,
        ),
        (
            Request::Verify {
                key: key("ec"),
                algorithm: Algorithm::Es256,
                input: message,
                signature: &[7; 64],
            },
            rubbish,
        ),
        (
            Request::Mac {
                key: key("hmac"),
                algorithm: Algorithm::Hs256,
                message: b"message",
            },
            None,
        ),
        (
            Request::VerifyMac {
                key: key("hmac"),
                algorithm: Algorithm::Hs256,
                message: b"message",
                tag: &[7; 32],
            },
            rubbish,
        ),
        (encrypt(key("sym")), None),
        (
            Request::Decrypt {
                key: key("sym"),
                algorithm: Algorithm::A256Gcm,
                ciphertext: CiphertextRef {
                    ciphertext: b"rubbish",
                    iv: &[7; 12],
                    tag: &[7; 16],
                },
                aad: b"",
            },
            rubbish,
        ),
        (
            Request::Wrap {
                key: key("sym"),
                algorithm: Algorithm::A256Kw,
                plaintext: &[7; 32],
            },
            None,
        ),
        (
            Request::Unwrap {
                key: key("sym"),
                algorithm: Algorithm::A256Kw,
                wrapped: &[7; 40],
            },
            rubbish,
        ),
        (
            Request::Agree {
                key: key("ec"),
                algorithm: Algorithm::EcdhEs,
                peer: &PEER,
            },
            None,
        ),
        (
            Request::Derive {
                key: key("kdk"),
                algorithm: Algorithm::HkdfSha256,
                salt_or_label: b"",
                info_or_context: b"",
                len: 32,
            },
            None,
        ),
        (Request::Random { len: 8 }, None),
        (
            Request::ExportKey {
                key: key("ec"),
                wrapping: key("transport"),
                algorithm: Algorithm::A256Kwp,
            },
            None,
        ),
        (
            Request::ImportWrappedKey {
                name: "copy".parse().unwrap(),
                new: new_key(KeyType::Aes256, &[Usage::Encrypt]),
                wrapping: key("transport"),
                algorithm: Algorithm::A256Kwp,
                wrapped: &[7; 48],
                format: WrappedFormat::Bound,
            },
            rubbish,
        ),
        (
            Request::AttestKey {
                key: key("ec"),
                nonce: Nonce::new([7; 16]).unwrap(),
                pcrs: Pcrs::NONE,
            },
            None,
        ),
    ]
}

pub(crate) fn sign(key: KeyRef) -> Request<'static> {
    Request::Sign {
        key,
        algorithm: Algorithm::Es256,
        input: SignInput::Message(b"message"),
    }
}

pub(crate) fn encrypt(key: KeyRef) -> Request<'static> {
    Request::Encrypt {
        key,
        algorithm: Algorithm::A256Gcm,
        plaintext: b"plaintext",
        iv: None,
        aad: b"",
    }
}

pub(crate) fn key(name: &str) -> KeyRef {
    name.parse().unwrap()
}

pub(crate) fn new_key(key_type: KeyType, usages: &[Usage]) -> NewKeyParameters {
    NewKeyParameters::new(KeySpec::new(key_type, Usages::of(usages)).unwrap())
}

pub(crate) fn setup() -> Setup {
    Setup {
        administrator: ADMINISTRATOR.parse().unwrap(),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: Settings::default(),
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials::password(ADMINISTRATOR, PASSWORD).unwrap()
}
