//! Every lifecycle state and every operation: NIST SP 800-57 part 1, section 7.

use hsm_core::lifecycle::{Event, State};
use hsm_core::{
    Algorithm, AttributesUpdate, ErrorKind, KeyType, Request, Timestamp, WrappedFormat,
};

use super::super::{fails, ok};
use super::*;

/// States that a key can be found in, in the order of the columns below. What is destroyed is not found.
const STATES: [State; 5] = [
    State::PreActivation,
    State::Active,
    State::Suspended,
    State::Deactivated,
    State::Compromised,
];

/// What each state allows. `x` is allowed, `.` is KeyState.
const TABLE: [(&str, &str); 15] = [
    ("sign", ".x..."),
    ("verify", ".x.x."),
    ("mac", ".x..."),
    ("verify a mac", ".x.x."),
    ("encrypt", ".x..."),
    ("decrypt", ".x.xx"),
    ("wrap", ".x..."),
    ("unwrap", ".x.xx"),
    ("agree", ".x..."),
    ("derive", ".x..."),
    ("export another key", ".x..."),
    ("be exported", ".x..."),
    ("import a key", ".x.x."),
    ("rotate", ".x.xx"),
    ("be read", "xxxxx"),
];

/// The keys of one state, and what they protected while they were active.
struct Row<'a> {
    caller: &'a Caller,
    state: State,
    offer: &'a Offer,
    signature: Vec<u8>,
    tag: Vec<u8>,
    sealed: Ciphertext,
    wrapped: Vec<u8>,
    blob: Vec<u8>,
    peer: PublicKey,
}

/// What is tried of the table.
struct Offer {
    operations: Vec<(&'static str, &'static str)>,
    cipher: Algorithm,
}

impl Offer {
    fn of(caller: &Caller) -> Self {
        let cipher = caller.cipher().unwrap_or(Algorithm::A256Gcm);
        let has = |operation| {
            let (key_type, algorithm) = match operation {
                "encrypt" | "decrypt" => (KeyType::Aes256, cipher),
                "wrap" | "unwrap" => (KeyType::Aes256, Algorithm::A256Kw),
                "agree" => (KeyType::EcP256, Algorithm::EcdhEs),
                "derive" => (KeyType::Kdk256, Algorithm::HkdfSha256),
                "export another key" | "be exported" | "import a key" => {
                    (KeyType::Aes256, Algorithm::A256Kwp)
                }
                _ => return true,
            };
            caller.has(key_type, algorithm)
        };
        let operations = TABLE.into_iter().filter(|(operation, _)| has(operation));
        Self {
            operations: operations.collect(),
            cipher,
        }
    }

    fn has(&self, operation: &str) -> bool {
        self.operations.iter().any(|(known, _)| *known == operation)
    }
}

impl Row<'_> {
    fn name(&self, kind: &str) -> KeyName {
        name(&format!("{kind}-{}", self.state.name()))
    }

    fn key(&self, kind: &str) -> KeyRef {
        self.name(kind).into()
    }

    async fn attempt(&self, operation: &str) -> Result<()> {
        let (caller, cipher) = (self.caller, self.offer.cipher);
        let answer = match operation {
            "sign" => {
                let signed = caller.sign(self.key("ec"), Algorithm::Es256, MESSAGE).await;
                return signed.map(drop);
            }
            "verify" => {
                let verified =
                    caller.verify(self.key("ec"), Algorithm::Es256, MESSAGE, &self.signature);
                return verified.await.map(drop);
            }
            "mac" => {
                let mac = caller
                    .mac(self.key("hmac"), Algorithm::Hs256, MESSAGE)
                    .await;
                return mac.map(drop);
            }
            "verify a mac" => Request::VerifyMac {
                key: self.key("hmac"),
                algorithm: Algorithm::Hs256,
                message: MESSAGE,
                tag: &self.tag,
            },
            "encrypt" => {
                let sealed = caller.encrypt(self.key("aes"), cipher, MESSAGE, b"").await;
                return sealed.map(drop);
            }
            "decrypt" => {
                let opened = caller
                    .decrypt(self.key("aes"), cipher, &self.sealed, b"")
                    .await;
                return opened.map(drop);
            }
            "wrap" => {
                let wrapped = caller
                    .wrap(self.key("aes"), Algorithm::A256Kw, &[7; 32])
                    .await;
                return wrapped.map(drop);
            }
            "unwrap" => {
                let unwrapped = caller.unwrap(self.key("aes"), Algorithm::A256Kw, &self.wrapped);
                return unwrapped.await.map(drop);
            }
            "agree" => Request::Agree {
                key: self.key("ec"),
                algorithm: Algorithm::EcdhEs,
                peer: &self.peer,
            },
            "derive" => Request::Derive {
                key: self.key("kdk"),
                algorithm: Algorithm::HkdfSha256,
                salt_or_label: b"",
                info_or_context: b"",
                len: 32,
            },
            "export another key" => Request::ExportKey {
                key: key("target"),
                wrapping: self.key("transport"),
                algorithm: Algorithm::A256Kwp,
            },
            "be exported" => Request::ExportKey {
                key: self.key("ec"),
                wrapping: key("carrier"),
                algorithm: Algorithm::A256Kwp,
            },
            "import a key" => Request::ImportWrappedKey {
                name: self.name("copy"),
                new: exportable_key(KeyType::EcP256, SIGN),
                wrapping: self.key("transport"),
                algorithm: Algorithm::A256Kwp,
                wrapped: &self.blob,
                format: WrappedFormat::Bound,
            },
            "rotate" => Request::RotateKey {
                name: self.name("ec"),
            },
            "be read" => Request::GetKey {
                key: self.key("ec"),
            },
            other => unreachable!("no operation {other}"),
        };
        caller.call(answer).await.map(drop)
    }
}

/// The whole table: a key in each state does what the state allows and nothing else.
pub async fn states_allow_what_the_standard_says(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    opened.grant_export(ADMINISTRATOR, Scope::Keys).await;
    let offer = Offer::of(caller);
    let target = exportable_key(KeyType::EcP256, SIGN);
    let target = ok(caller.try_create("target", target).await, "create");
    if offer.has("be exported") {
        caller.create("carrier", KeyType::Aes256, TRANSPORT).await;
    }
    for (column, state) in STATES.into_iter().enumerate() {
        let row = row(caller, &offer, state, public(&target).clone()).await;
        for (operation, allowed) in &offer.operations {
            let clause = format!("a key that is {state}: {operation}");
            let end = row.attempt(operation).await;
            if allowed.as_bytes()[column] == b'x' {
                ok(end, clause);
            } else {
                fails(end, &[ErrorKind::KeyState], clause);
            }
        }
    }
}

/// Makes the keys of a state, has them protect something while they may, and moves them there.
async fn row<'a>(caller: &'a Caller, offer: &'a Offer, state: State, peer: PublicKey) -> Row<'a> {
    let mut row = Row {
        caller,
        state,
        offer,
        signature: vec![7; 64],
        tag: vec![7; 32],
        sealed: Ciphertext {
            ciphertext: vec![7; 48],
            iv: vec![7; offer.cipher.info().iv_len],
            tag: vec![7; offer.cipher.info().tag_len],
        },
        wrapped: vec![7; 40],
        blob: vec![7; 48],
        peer,
    };
    let kinds = [
        ("ec", KeyType::EcP256, true),
        ("hmac", KeyType::HmacSha256, true),
        (
            "aes",
            KeyType::Aes256,
            offer.has("encrypt") || offer.has("wrap"),
        ),
        ("kdk", KeyType::Kdk256, offer.has("derive")),
        (
            "transport",
            KeyType::Aes256,
            offer.has("export another key"),
        ),
    ];
    let kinds = kinds.into_iter().filter(|(.., is_offered)| *is_offered);
    for (kind, key_type, _) in kinds.clone() {
        let usages = match kind {
            "transport" => TRANSPORT.to_vec(),
            _ => data_usages(key_type),
        };
        let mut new = exportable_key(key_type, &usages);
        if state == State::PreActivation {
            new.not_before = Some(Timestamp::from_unix_seconds(4_000_000_000));
        }
        let created = caller.try_create(row.name(kind).as_str(), new).await;
        ok(created, format!("create a key of type {key_type}"));
    }
    if state == State::PreActivation {
        return row;
    }
    let signed = caller.sign(row.key("ec"), Algorithm::Es256, MESSAGE).await;
    row.signature = ok(signed, "sign").0;
    let tag = caller.mac(row.key("hmac"), Algorithm::Hs256, MESSAGE).await;
    row.tag = ok(tag, "mac");
    if offer.has("decrypt") {
        let sealed = caller.encrypt(row.key("aes"), offer.cipher, MESSAGE, b"");
        row.sealed = ok(sealed.await, "encrypt");
    }
    if offer.has("unwrap") {
        let wrapped = caller.wrap(row.key("aes"), Algorithm::A256Kw, &[7; 32]);
        row.wrapped = ok(wrapped.await, "wrap");
    }
    if offer.has("import a key") {
        let export = Request::ExportKey {
            key: key("target"),
            wrapping: row.key("transport"),
            algorithm: Algorithm::A256Kwp,
        };
        row.blob = wrapped(ok(caller.call(export).await, "export"));
    }
    let event = match state {
        State::Suspended => Event::Suspend,
        State::Deactivated => Event::Deactivate,
        State::Compromised => Event::Compromise,
        _ => return row,
    };
    for (kind, ..) in kinds {
        let moved = caller
            .update(row.key(kind), AttributesUpdate::new().event(event))
            .await;
        let moved = ok(moved, format!("a key can be {}", event.participle()));
        assert_eq!(moved.attributes.state, state, "what an update says");
    }
    row
}

/// Every step between states is the standard's, and no other is taken; nobody destroys a key by an update.
pub async fn states_change_as_the_standard_says(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    for state in STATES {
        for event in Event::ALL {
            let text = format!("{}-{}", state.name(), event.participle()).replace(' ', "-");
            let mut new = new_key(KeyType::EcP256, SIGN);
            if state == State::PreActivation {
                new.not_before = Some(Timestamp::from_unix_seconds(4_000_000_000));
            }
            ok(caller.try_create(&text, new).await, "create");
            let step = |event| caller.update(key(&text), AttributesUpdate::new().event(event));
            let there = match state {
                State::Suspended => Some(Event::Suspend),
                State::Deactivated => Some(Event::Deactivate),
                State::Compromised => Some(Event::Compromise),
                _ => None,
            };
            if let Some(there) = there {
                ok(step(there).await, "a step of the standard");
            }
            let clause = format!("a key that is {state} is {}", event.participle());
            let before = ok(caller.get(key(&text)).await, "read");
            let stepped = step(event).await;
            let after = state
                .after(event)
                .filter(|after| *after != State::Destroyed);
            let Some(after) = after else {
                fails(stepped, &[ErrorKind::KeyState], clause);
                let kept = ok(caller.get(key(&text)).await, "read");
                assert_eq!(kept, before, "a step that is refused changes nothing");
                continue;
            };
            assert_eq!(ok(stepped, &clause).attributes.state, after, "{clause}");
        }
    }
}

/// A key is switched off and on again, as often as it is asked for. One that has ended is not switched on.
pub async fn keys_are_switched_off_and_on(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let created = caller.create("k", KeyType::EcP256, SIGN).await;
    let switch = async |enabled| {
        let update = AttributesUpdate::new().enabled(enabled);
        caller.update(created.key(), update).await
    };
    let off = &[ErrorKind::KeyState];
    for (enabled, state) in [
        (true, State::Active),
        (false, State::Suspended),
        (false, State::Suspended),
        (true, State::Active),
        (true, State::Active),
    ] {
        let info = ok(switch(enabled).await, "switch a key");
        assert_eq!(info.attributes.state, state);
        let signed = caller.sign(key("k"), Algorithm::Es256, MESSAGE).await;
        match enabled {
            true => drop(ok(signed, "a key that is on")),
            false => fails(signed, off, "a key that is off"),
        }
    }
    let both = AttributesUpdate::new().enabled(false).event(Event::Suspend);
    let both = caller.update(created.key(), both).await;
    fails(both, &[ErrorKind::InvalidInput], "one way, not both");
    for (event, state) in [
        (Event::Deactivate, State::Deactivated),
        (Event::Compromise, State::Compromised),
    ] {
        let update = AttributesUpdate::new().event(event);
        ok(caller.update(created.key(), update).await, "end a key");
        fails(switch(true).await, off, "what has ended stays so");
        let info = ok(switch(false).await, "nothing to switch off");
        assert_eq!(info.attributes.state, state);
    }

    let mut new = new_key(KeyType::EcP256, SIGN);
    new.pre_activation = true;
    let waiting = ok(caller.try_create("waiting", new).await, "a key in waiting");
    let switch = async |enabled| {
        let update = AttributesUpdate::new().enabled(enabled);
        let info = caller.update(waiting.key(), update).await;
        ok(info, "switch a key").attributes.state
    };
    assert_eq!(switch(false).await, State::Suspended);
    assert_eq!(switch(true).await, State::Active);

    // Key Vault's clients make a key that is not enabled, and enable it when its time has come.
    let mut new = new_key(KeyType::EcP256, SIGN);
    new.pre_activation = true;
    let waiting = ok(
        caller.try_create("waiting-too", new).await,
        "a key in waiting",
    );
    let update = AttributesUpdate::new().enabled(true);
    let info = ok(caller.update(waiting.key(), update).await, "enable it");
    assert_eq!(info.attributes.state, State::Active);
}
