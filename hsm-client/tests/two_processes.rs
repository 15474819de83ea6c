//! Promise: several processes may use one HSM at once; each sees what the others changed at its very next call, and their
//! changes exclude each other.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::{Path, PathBuf};

use hsm_client::blocking::{Hsm, Session};
use hsm_client::kinds::EcdsaP256;
use hsm_client::lifecycle::{Event, State};
use hsm_client::{
    AttributesUpdate, BuiltInRole, DataAction, Error, ErrorKind, OpenOptions, PageRequest, Result,
    Scope, Setup, Tags, UserUpdate, audit,
};
use hsm_testkit::process::{self, Child};

const PASSWORD: &str = "correct horse battery staple";

/// An HSM in a folder that goes with the test; `app` makes and uses keys, and recovers and purges them.
struct Home {
    _folder: tempfile::TempDir,
    path: PathBuf,
    hsm: Hsm,
    admin: Session,
    app: Session,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.hsm");
        Hsm::create(&url(&path), Setup::new("admin", PASSWORD))
            .unwrap()
            .close()
            .unwrap();
        let hsm = open(&path);
        let admin = hsm.login("admin", PASSWORD).unwrap();
        admin.create_user("app", PASSWORD).unwrap();
        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .unwrap();
        admin
            .assign_role(BuiltInRole::CryptoOfficer, "app", Scope::Global)
            .unwrap();
        let app = hsm.login("app", PASSWORD).unwrap();
        Self {
            _folder: folder,
            path,
            hsm,
            admin,
            app,
        }
    }

    /// Another process, where `user` is logged in.
    fn other(&self, user: &str) -> Child {
        let mut child = Child::start("serve", &[self.path.to_str().unwrap(), user]);
        assert_eq!(child.report().unwrap(), "ready");
        child
    }

    fn obey(&self, order: &str) -> String {
        obey(&self.app, order)
    }
}

fn url(path: &Path) -> String {
    format!("soft:{}", path.display())
}

/// Nothing happens in the background: what is seen is seen by the calls.
fn open(path: &Path) -> Hsm {
    Hsm::open_with(
        &url(path),
        OpenOptions::new().without_background_maintenance(),
    )
    .unwrap()
}

#[test]
fn what_one_changes_the_other_sees_at_its_next_call() {
    let home = Home::new();
    let mut other = home.other("app");
    let orders = [
        "create k",
        "suspend k",
        "resume k",
        "rotate k",
        "delete k",
        "recover k",
    ];
    for round in 0..12 {
        for order in orders {
            if order.starts_with("create") && round > 0 {
                continue;
            }
            // Both have the key in their caches before.
            let before = (home.obey("sign k"), other.ask("sign k"));
            assert_eq!(before.0, before.1);
            let (done, seen_by_other) = if round % 2 == 0 {
                (home.obey(order), other.ask("sign k"))
            } else {
                (other.ask(order), home.obey("sign k"))
            };
            assert!(done.starts_with("ok"), "{order}: {done}");
            let seen = home.obey("sign k");
            assert_eq!(seen_by_other, seen, "after {order}");
            assert_ne!(seen, before.0, "{order} changed nothing");
        }
    }
}

#[test]
fn rights_that_one_gives_and_takes_count_in_the_other_at_once() {
    let home = Home::new();
    assert!(home.obey("create k").starts_with("ok"));
    let mut other = home.other("app");
    for _ in 0..8 {
        assert!(other.ask("sign k").starts_with("ok"));
        let all = home.admin.role_assignments(Some(Scope::Keys)).unwrap();
        home.admin.unassign_role(all[0].id).unwrap();
        assert_eq!(other.ask("sign k"), "access denied");
        home.admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .unwrap();
    }
    home.admin.update_user("app", UserUpdate::Disable).unwrap();
    assert_eq!(other.ask("sign k"), "not authenticated");
}

#[test]
fn of_two_that_create_the_same_name_one_wins() {
    let home = Home::new();
    let mut other = home.other("app");
    let mut here_won = 0;
    for number in 0..60 {
        let order = format!("create k-{number}");
        other.tell(&order);
        let here = home.obey(&order);
        let there = other.report().unwrap();
        let outcomes = [here.as_str(), there.as_str()];
        let winners = outcomes
            .iter()
            .filter(|outcome| outcome.starts_with("ok"))
            .count();
        assert_eq!(winners, 1, "{outcomes:?}");
        assert!(outcomes.contains(&"conflict"), "{outcomes:?}");
        here_won += usize::from(here.starts_with("ok"));
        assert_eq!(
            home.obey(&format!("sign k-{number}")),
            other.ask(&format!("sign k-{number}"))
        );
    }
    println!("won {here_won} of 60");
}

/// Nobody's change of a key is lost when another makes one at the same moment.
#[test]
fn changes_of_one_key_at_the_same_time_all_count() {
    let home = Home::new();
    assert!(home.obey("create k").starts_with("ok"));
    let mut other = home.other("app");
    for _ in 0..20 {
        other.tell("rotate k");
        assert!(home.obey("rotate k").starts_with("ok"));
        assert!(other.report().unwrap().starts_with("ok"));
    }
    let versions = home
        .app
        .any_key("k")
        .unwrap()
        .handle()
        .versions(PageRequest {
            after: None,
            limit: Some(100),
        })
        .unwrap();
    assert_eq!(versions.items.len(), 41);
    // Who lost a race tried again; the log knows of the versions that there are and of no others.
    let mut noted = Vec::new();
    let audit_key = home.hsm.as_async().audit_key().unwrap();
    audit::verify(&url(&home.path), audit_key, |record| {
        if record.event.action == DataAction::KeyRotate {
            noted.push(record.event.version.unwrap());
        }
    })
    .unwrap();
    let made: Vec<_> = versions.items[1..]
        .iter()
        .map(|info| info.version)
        .collect();
    assert_eq!(noted, made);
}

/// One suspends the key while the other labels it: a change must not carry the old state of the rest along.
#[test]
fn changes_of_different_attributes_at_the_same_time_both_hold() {
    let home = Home::new();
    assert!(home.obey("create k").starts_with("ok"));
    let key = home.app.any_key("k").unwrap().handle();
    let mut other = home.other("app");
    for round in 0..40 {
        let label = round.to_string();
        let tags = Tags::new([("round", label.as_str())]).unwrap();
        other.tell(if round % 2 == 0 {
            "suspend k"
        } else {
            "resume k"
        });
        key.update(AttributesUpdate::new().tags(tags.clone()))
            .unwrap();
        assert!(other.report().unwrap().starts_with("ok"));
        let attributes = key.info().unwrap().attributes;
        assert_eq!(attributes.tags, tags);
        assert_eq!(
            attributes.state == State::Suspended,
            round % 2 == 0,
            "{round}"
        );
    }
}
#[test]
fn both_sign_at_once_and_the_log_knows_it_all() {
    const EACH: u64 = 400;
    let home = Home::new();
    assert!(home.obey("create k").starts_with("ok"));
    let mut other = home.other("app");
    other.tell(&format!("sign-often k {EACH}"));
    for _ in 0..EACH {
        assert!(home.obey("sign k").starts_with("ok"));
    }
    assert_eq!(other.report().unwrap(), "ok");
    // While both have it open, and when one was killed and the other closed it.
    assert_eq!(signatures(&home), 2 * EACH);
    other.kill();
    home.hsm.clone().close().unwrap();
    assert_eq!(signatures(&home), 2 * EACH);
}

/// Counts the signatures in the log, which must be right.
fn signatures(home: &Home) -> u64 {
    let mut count = 0;
    let audit_key = home.hsm.as_async().audit_key().unwrap();
    audit::verify(&url(&home.path), audit_key, |record| {
        let event = record.event;
        count += u64::from(event.action == DataAction::KeySign && event.failure.is_none());
    })
    .unwrap();
    count
}

/// A process that had the HSM open did one more operation after the end, and one far behind did any number.
#[test]
fn zeroization_by_one_is_the_end_for_the_other() {
    for changes in [0, 1100] {
        let home = Home::new();
        assert!(home.obey("create k").starts_with("ok"));
        assert!(home.obey("sign k").starts_with("ok"));
        let mut other = home.other("admin");
        if changes > 0 {
            let mut busy = home.other("app");
            assert_eq!(busy.ask(&format!("change-often k {changes}")), "ok");
        }
        assert_eq!(other.ask("zeroize"), "ok");
        for order in ["sign k", "sign k", "create new"] {
            assert_eq!(
                home.obey(order),
                "device failed",
                "{order} after {changes} changes"
            );
        }
        assert_eq!(
            home.hsm.login("app", PASSWORD).unwrap_err().kind(),
            ErrorKind::DeviceFailed
        );
        assert_eq!(
            home.hsm.maintain().unwrap_err().kind(),
            ErrorKind::DeviceFailed
        );
        home.hsm.clone().close().unwrap();
        let error = Hsm::open(&url(&home.path)).unwrap_err();
        assert!(error.to_string().contains("zeroized"), "{error}");
        // What was done with it can still be proved.
        assert_eq!(signatures(&home), 1);
    }
}

/// A process that does what it is told and reports what came of it.
#[test]
#[ignore = "a role"]
fn serve() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let hsm = open(Path::new(&arguments[0]));
    let session = hsm.login(&arguments[1], PASSWORD).unwrap();
    process::report("ready");
    loop {
        process::report(obey(&session, &process::told()));
    }
}

/// Does what it says; returns `ok` and what there is to say, or the kind of the error.
fn obey(session: &Session, order: &str) -> String {
    let words: Vec<&str> = order.split(' ').collect();
    let outcome = match words[..] {
        [what, name] => act(session, what, name),
        [what, name, times] => (0..times.parse::<u32>().unwrap())
            .try_for_each(|_| act(session, what.trim_end_matches("-often"), name).map(drop))
            .map(|()| String::new()),
        _ => zeroize(session).map(|()| String::new()),
    };
    match outcome {
        Ok(said) => format!("ok {said}").trim_end().to_owned(),
        Err(error) => error.kind().to_string(),
    }
}

fn act(session: &Session, what: &str, name: &str) -> Result<String, Error> {
    let event = |event| {
        session
            .any_key(name)?
            .handle()
            .update(AttributesUpdate::new().event(event))
    };
    Ok(match what {
        "create" => session
            .create::<EcdsaP256>(name)
            .make()?
            .info()?
            .version
            .to_string(),
        "sign" => session.call(sign(name)).map(version_of)?,
        "suspend" => event(Event::Suspend)?.version.to_string(),
        "resume" => event(Event::Resume)?.version.to_string(),
        "rotate" => session.any_key(name)?.handle().rotate()?.to_string(),
        "delete" => session
            .any_key(name)?
            .handle()
            .delete()?
            .version
            .to_string(),
        "recover" => session.recover_key(name)?.version.to_string(),
        "change" => session
            .any_key(name)?
            .handle()
            .set_rotation_policy(None)
            .map(|_| String::new())?,
        _ => panic!("unknown order {what}"),
    })
}

/// A signature by a request of its own: one call, with nothing before it that would look at the store.
fn sign(name: &str) -> hsm_core::Request<'static> {
    hsm_core::Request::Sign {
        key: name.parse().unwrap(),
        algorithm: hsm_client::Algorithm::Es256,
        input: hsm_client::SignInput::Message(b"message"),
    }
}

/// The version that signed.
fn version_of(response: hsm_core::Response) -> String {
    match response {
        hsm_core::Response::Signature { version, .. } => version.to_string(),
        other => panic!("{other:?} is no signature"),
    }
}

fn zeroize(session: &Session) -> Result<()> {
    let id = session.settings()?.id;
    session.zeroize(id)
}
