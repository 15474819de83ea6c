//! Whatever is asked in whatever order, by two processes in turn: a key works exactly when an obvious model says so, and
//! nothing that has ended comes back.
#![no_main]

use std::time::Duration;

use hsm_core::lifecycle::{Event, State};
use hsm_core::{
    Algorithm, AttributesUpdate, ErrorKind, KeyName, KeyRef, KeyType, NewKeyParameters, Request,
    Response, Result, SignInput, VersionId,
};
use hsm_fuzz::{Bytes, Hsm, spec};
use libfuzzer_sys::fuzz_target;
use pollster::block_on;

const REQUESTS_MAX: usize = 64;

/// What a name stands for.
#[derive(Clone, Debug, Default)]
enum Model {
    #[default]
    Free,
    Live(Key),
    Deleted(Key),
}

#[derive(Clone, Debug)]
struct Key {
    key_type: KeyType,
    /// The current one last.
    versions: Vec<(VersionId, State)>,
}

fuzz_target!(|data: &[u8]| {
    let mut data = Bytes(data);
    let one = Hsm::fresh();
    let two = one.open_again().expect("the same store");
    let mut processes = [one, two];
    let names = ["a", "b", "c"].map(|name| name.parse::<KeyName>().expect("a name"));
    let mut models = [const { Model::Free }; 3];

    for _ in 0..REQUESTS_MAX {
        if data.is_empty() {
            break;
        }
        let which = usize::from(data.byte());
        let (at, process) = (which % names.len(), which / names.len() % 2);
        let (name, model) = (&names[at], &mut models[at]);
        match data.byte() % 9 {
            0 => create(&processes[process], name, model, &mut data),
            1 => rotate(&processes[process], name, model),
            2 => update(&processes[process], name, model, &mut data),
            3 => delete(&processes[process], name, model),
            4 => recover(&processes[process], name, model),
            5 => purge(&processes[process], name, model),
            6 => {
                processes[0]
                    .clock
                    .go_back(Duration::from_secs(data.byte().into()));
            }
            7 => {
                let days = u64::from(data.byte() % 40);
                processes[0]
                    .clock
                    .advance(Duration::from_secs(days * 86_400));
                for process in &mut processes {
                    process.login_again().expect("a new session");
                }
                let done = block_on(processes[process].engine.maintain()).expect("maintenance");
                for purged in done.purged {
                    let at = names.iter().position(|name| *name == purged);
                    // `gone` of the HSM that inputs start from goes too.
                    let Some(at) = at else { continue };
                    assert!(
                        matches!(models[at], Model::Deleted(_)),
                        "{purged} was purged"
                    );
                    models[at] = Model::Free;
                }
            }
            _ => use_key(&processes[process], name, model, &mut data),
        }
    }
    for (name, model) in names.iter().zip(&models) {
        for process in &processes {
            use_key(process, name, model, &mut Bytes(&[]));
        }
    }
});

fn create(hsm: &Hsm, name: &KeyName, model: &mut Model, data: &mut Bytes<'_>) {
    let key_type = data.choose(&[KeyType::EcP256, KeyType::Ed25519, KeyType::Aes256]);
    let mut new = NewKeyParameters::new(spec(key_type));
    new.pre_activation = data.byte() % 4 == 0;
    let state = if new.pre_activation {
        State::PreActivation
    } else {
        State::Active
    };
    let answer = hsm.call(Request::CreateKey {
        name: name.clone(),
        new,
    });
    match model {
        Model::Free => {
            let versions = vec![(version(answer), state)];
            *model = Model::Live(Key { key_type, versions });
        }
        Model::Live(_) | Model::Deleted(_) => refused(answer, ErrorKind::Conflict),
    }
}

fn rotate(hsm: &Hsm, name: &KeyName, model: &mut Model) {
    let answer = hsm.call(Request::RotateKey { name: name.clone() });
    match model {
        Model::Live(key) => match key.versions.last() {
            Some((_, State::PreActivation | State::Suspended)) => {
                refused(answer, ErrorKind::KeyState)
            }
            _ => key.versions.push((version(answer), State::Active)),
        },
        _ => refused(answer, ErrorKind::NotFound),
    }
}

fn update(hsm: &Hsm, name: &KeyName, model: &mut Model, data: &mut Bytes<'_>) {
    let event = data.choose(&[
        Event::Activate,
        Event::Suspend,
        Event::Resume,
        Event::Deactivate,
        Event::Compromise,
    ]);
    let index = usize::from(data.byte());
    let update = AttributesUpdate::new().event(event);
    let Model::Live(key) = model else {
        let answer = hsm.call(Request::UpdateKey {
            key: name.clone().into(),
            update,
        });
        return refused(answer, ErrorKind::NotFound);
    };
    let index = index % key.versions.len();
    let (version, state) = &mut key.versions[index];
    let key = KeyRef::version(name.clone(), *version);
    let answer = hsm.call(Request::UpdateKey { key, update });
    match state.after(event) {
        Some(after) => {
            answer.expect("the lifecycle has this step");
            *state = after;
        }
        None => refused(answer, ErrorKind::KeyState),
    }
}

fn delete(hsm: &Hsm, name: &KeyName, model: &mut Model) {
    let answer = hsm.call(Request::DeleteKey { name: name.clone() });
    match std::mem::take(model) {
        Model::Live(key) => {
            answer.expect("it is there");
            *model = Model::Deleted(key);
        }
        other => {
            refused(answer, ErrorKind::NotFound);
            *model = other;
        }
    }
}

fn recover(hsm: &Hsm, name: &KeyName, model: &mut Model) {
    let answer = hsm.call(Request::RecoverKey { name: name.clone() });
    match std::mem::take(model) {
        Model::Deleted(key) => {
            answer.expect("it is there");
            *model = Model::Live(key);
        }
        other => {
            refused(answer, ErrorKind::NotFound);
            *model = other;
        }
    }
}

fn purge(hsm: &Hsm, name: &KeyName, model: &mut Model) {
    let answer = hsm.call(Request::PurgeKey { name: name.clone() });
    match model {
        Model::Deleted(_) => {
            answer.expect("it is there");
            *model = Model::Free;
        }
        _ => refused(answer, ErrorKind::NotFound),
    }
}

/// Signs or encrypts, with the current version or another.
fn use_key(hsm: &Hsm, name: &KeyName, model: &Model, data: &mut Bytes<'_>) {
    let (Model::Live(key) | Model::Deleted(key)) = model else {
        return refused(
            sign(hsm, name.clone().into(), KeyType::EcP256),
            ErrorKind::NotFound,
        );
    };
    let index = usize::from(data.byte());
    let (reference, state) = match index.checked_sub(1) {
        None => (name.clone().into(), key.versions[key.versions.len() - 1].1),
        Some(index) => {
            let (version, state) = key.versions[index % key.versions.len()];
            (KeyRef::version(name.clone(), version), state)
        }
    };
    let answer = sign(hsm, reference, key.key_type);
    match (model, state) {
        (Model::Live(_), State::Active) => drop(answer.expect("an active key")),
        (Model::Live(_), _) => refused(answer, ErrorKind::KeyState),
        _ => refused(answer, ErrorKind::NotFound),
    }
}

fn sign(hsm: &Hsm, key: KeyRef, key_type: KeyType) -> Result<Response> {
    let algorithm = match key_type {
        KeyType::EcP256 => Algorithm::Es256,
        KeyType::Ed25519 => Algorithm::EdDsa,
        _ => {
            return hsm.call(Request::Encrypt {
                key,
                algorithm: Algorithm::A256Gcm,
                plaintext: b"message",
                iv: None,
                aad: b"",
            });
        }
    };
    hsm.call(Request::Sign {
        key,
        algorithm,
        input: SignInput::Message(b"message"),
    })
}

fn version(answer: Result<Response>) -> VersionId {
    match answer.expect("nothing stands against it") {
        Response::Key(info) => info.version,
        other => panic!("{other:?}"),
    }
}

fn refused(answer: Result<Response>, kind: ErrorKind) {
    let error = answer.expect_err("this should have been refused");
    assert_eq!(error.kind(), kind, "{error}");
}
