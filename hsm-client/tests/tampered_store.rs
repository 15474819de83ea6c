//! Promise: whoever edits, swaps, removes, plants or puts back records of the store makes keys unusable, never more
//! powerful; the error names what was damaged, and the other keys stay usable.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use std::time::Duration;

use home::{Home, PASSWORD, admin, app};
use hsm_client::blocking::{Hsm, Key, Session};
use hsm_client::kinds::EcdsaP256;
use hsm_client::lifecycle::Event;
use hsm_client::{
    AttributesUpdate, BuiltInRole, Clock, Credentials, Error, ErrorKind, PageRequest,
    RotationPolicy, Scope, audit,
};
use rusqlite::{Connection, params};

/// Someone at the database, with a connection of their own.
struct Intruder(Connection);

type Row = (Vec<u8>, Vec<u8>);

impl Intruder {
    fn at(home: &Home) -> Self {
        let connection = Connection::open(home.path().join("store.sqlite")).unwrap();
        connection
            .pragma_update(None, "synchronous", "OFF")
            .unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        Self(connection)
    }

    fn rows(&self, space: &str) -> Vec<Row> {
        let sql = format!("SELECT key, value FROM space_{space} ORDER BY key");
        let mut statement = self.0.prepare(&sql).unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// The rows whose keys start with `prefix`.
    fn rows_of(&self, space: &str, prefix: &str) -> Vec<Row> {
        let mut rows = self.rows(space);
        rows.retain(|(key, _)| key.starts_with(prefix.as_bytes()));
        assert!(!rows.is_empty(), "nothing of {prefix} in {space}");
        rows
    }

    fn put(&self, space: &str, key: &[u8], value: &[u8]) {
        let sql = format!("INSERT OR REPLACE INTO space_{space} (key, value) VALUES (?1, ?2)");
        self.0.execute(&sql, params![key, value]).unwrap();
    }

    fn remove(&self, space: &str, key: &[u8]) {
        let sql = format!("DELETE FROM space_{space} WHERE key = ?1");
        assert_eq!(self.0.execute(&sql, params![key]).unwrap(), 1);
    }
}

/// The keys `alpha`, of two versions, and `beta`.
fn with_keys() -> (Home, Hsm, Session) {
    let (home, hsm) = Home::new();
    let app = app(&hsm);
    let alpha = app.create::<EcdsaP256>("alpha").make().unwrap();
    alpha.rotate().unwrap();
    app.create::<EcdsaP256>("beta").make().unwrap();
    (home, hsm, app)
}

fn key(session: &Session, name: &str) -> Key<EcdsaP256> {
    session.key(name).unwrap()
}

#[track_caller]
fn assert_damaged(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.message().contains(what), "{error}");
}

/// The one key is damaged, and says so by its name; the other works.
#[track_caller]
fn assert_only_alpha_is_damaged(session: &Session) {
    let error = session.any_key("alpha").unwrap_err();
    assert_damaged(&error, "alpha");
    assert_works(session, "beta");
}

#[track_caller]
fn assert_works(session: &Session, name: &str) {
    let key = key(session, name);
    let signature = key.sign(b"message").unwrap();
    key.verify(b"message", &signature).unwrap();
}

/// Every bit of every record of a key, while the HSM is open. The key is never used in between, so nothing of it is cached.
#[test]
fn every_bit_flip_in_the_records_of_a_key_is_found() {
    let (home, hsm, _) = with_keys();
    hsm.close().unwrap();
    let hsm = home.open();
    let app = app(&hsm);
    let beta = key(&app, "beta");
    let intruder = Intruder::at(&home);
    let records = [
        ("keys", intruder.rows_of("keys", "alpha")),
        ("versions", intruder.rows_of("versions", "alpha")),
    ];
    let current = current_version(&intruder);
    let mut flips = 0;
    for (space, rows) in &records {
        for (key, value) in rows {
            // The current version is what `alpha` reads; the old one is asked for by its number.
            let name = match *space {
                "versions" => format!("alpha/{}", hex(&key[6..])),
                _ => "alpha".to_owned(),
            };
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                intruder.put(space, key, &flipped);
                let error = app.any_key(&name).unwrap_err();
                assert_damaged(&error, &name);
                if *key == current {
                    assert_damaged(&app.any_key("alpha").unwrap_err(), &name);
                }
                flips += 1;
            }
            beta.sign(b"message").unwrap();
            intruder.put(space, key, value);
        }
    }
    assert!(flips > 3000, "only {flips} bits");
    assert_works(&app, "alpha");
}

/// The key of the record of the current version of `alpha`.
fn current_version(intruder: &Intruder) -> Vec<u8> {
    let (_, record) = &intruder.rows_of("keys", "alpha")[0];
    let versions = intruder.rows_of("versions", "alpha");
    let place = |key: &[u8]| {
        record
            .windows(16)
            .position(|bytes| bytes == &key[6..])
            .unwrap()
    };
    let (key, _) = versions.iter().max_by_key(|(key, _)| place(key)).unwrap();
    key.clone()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bit_flips_while_the_hsm_is_closed_are_found_when_it_is_used() {
    let (home, hsm, _) = with_keys();
    hsm.close().unwrap();
    let intruder = Intruder::at(&home);
    for (space, rows) in [
        ("keys", intruder.rows_of("keys", "alpha")),
        ("versions", intruder.rows_of("versions", "alpha")),
    ] {
        for (key, value) in rows {
            for bit in (0..value.len() * 8).step_by(1009) {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                intruder.put(space, &key, &flipped);
                let hsm = home.open();
                let app = app(&hsm);
                let error = app
                    .any_key(&match space {
                        "versions" => format!("alpha/{}", hex(&key[6..])),
                        _ => "alpha".to_owned(),
                    })
                    .unwrap_err();
                assert_damaged(&error, "alpha");
                assert_works(&app, "beta");
                hsm.close().unwrap();
            }
            intruder.put(space, &key, &value);
        }
    }
    assert_works(&app(&home.open()), "alpha");
}

#[test]
fn sealed_keys_cannot_be_swapped_between_keys() {
    let (home, _hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    let alpha = current_version(&intruder);
    let records = intruder.rows_of("versions", "");
    let value = |key: &[u8]| &records.iter().find(|row| row.0 == key).unwrap().1;
    let (beta, of_beta) = &intruder.rows_of("versions", "beta")[0];
    intruder.put("versions", beta, value(&alpha));
    intruder.put("versions", &alpha, of_beta);
    assert_damaged(&app.any_key("alpha").unwrap_err(), "alpha");
    assert_damaged(&app.any_key("beta").unwrap_err(), "beta");
    intruder.put("versions", beta, of_beta);
    assert_only_alpha_is_damaged(&app);
}

#[test]
fn a_version_cannot_take_the_place_of_another() {
    let (home, _hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    let current = current_version(&intruder);
    let versions = intruder.rows_of("versions", "alpha");
    let (_, old) = versions.iter().find(|(key, _)| *key != current).unwrap();
    intruder.put("versions", &current, old);
    assert_only_alpha_is_damaged(&app);
}

/// A suspended key must not come back into use with an older copy of its records, whether the tree comes along or not.
#[test]
fn an_older_copy_of_one_record_is_found_while_the_rest_moved_on() {
    let (home, hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    let spaces = ["keys", "versions", "tree"];
    let before = spaces.map(|space| intruder.rows(space));
    key(&app, "alpha")
        .update(AttributesUpdate::new().event(Event::Suspend))
        .unwrap();
    let after = spaces.map(|space| intruder.rows(space));
    let current = current_version(&intruder);
    let old = |at: usize, key: &[u8]| {
        before[at]
            .iter()
            .find(|row| row.0 == key)
            .unwrap()
            .1
            .clone()
    };

    intruder.put("versions", &current, &old(1, &current));
    assert_only_alpha_is_damaged(&app);
    intruder.put("keys", b"alpha", &old(0, b"alpha"));
    assert_only_alpha_is_damaged(&app);

    // With the leaves and nodes that go with them, only the anchor still knows better.
    for (key, value) in &before[2] {
        intruder.put("tree", key, value);
    }
    let error = app.any_key("alpha").unwrap_err();
    assert_damaged(&error, "of the record tree was changed");
    drop(app);
    hsm.close().unwrap_or_default();

    for (space, rows) in spaces.iter().zip(&after) {
        for (key, value) in rows {
            intruder.put(space, key, value);
        }
    }
}

#[test]
fn a_removed_record_is_damage_and_not_absence() {
    let (home, hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    let (name, record) = intruder.rows_of("keys", "alpha").remove(0);
    intruder.remove("keys", &name);
    assert_only_alpha_is_damaged(&app);
    let error = app.create::<EcdsaP256>("alpha").make().unwrap_err();
    assert_damaged(&error, "was removed");
    intruder.put("keys", &name, &record);
    assert_works(&app, "alpha");

    // It is in the cache of this process now; one that opens the HSM later reads it again.
    let current = current_version(&intruder);
    intruder.remove("versions", &current);
    hsm.close().unwrap();
    let hsm = home.open();
    let app = home::app(&hsm);
    assert_only_alpha_is_damaged(&app);
    assert_damaged(&app.any_key("alpha").unwrap_err(), "was removed");
}

#[test]
fn a_planted_record_is_no_key() {
    let (home, _hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    let (_, record) = intruder.rows_of("keys", "beta").remove(0);
    let (version, sealed) = intruder.rows_of("versions", "beta").remove(0);
    intruder.put("keys", b"ghost", &record);
    intruder.put("versions", &[b"ghost", &version[4..]].concat(), &sealed);
    assert_damaged(
        &app.any_key("ghost").unwrap_err(),
        "ghost` in keys was planted",
    );
    let error = app.list_keys(PageRequest::default()).unwrap_err();
    assert_damaged(&error, "ghost");
    let error = app.create::<EcdsaP256>("ghost").make().unwrap_err();
    assert_damaged(&error, "ghost");
    assert_works(&app, "alpha");
    assert_works(&app, "beta");
}

#[test]
fn a_deleted_key_does_not_come_back_by_its_old_records() {
    let (home, _hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    let (name, record) = intruder.rows_of("keys", "alpha").remove(0);
    key(&app, "alpha").delete().unwrap();
    intruder.put("keys", &name, &record);
    assert_only_alpha_is_damaged(&app);
}

#[test]
fn edited_tokens_log_nobody_in() {
    let (home, hsm, _) = with_keys();
    let admin = admin(&hsm);
    let tomorrow = home.clock.now() + Duration::from_secs(24 * 60 * 60);
    let (token, _) = admin.create_token("night", "app", tomorrow).unwrap();
    let show = || hsm.login_with(Credentials::token(token.expose()));
    show().unwrap();
    let intruder = Intruder::at(&home);
    let (name, record) = intruder.rows_of("meta", "token/night").remove(0);
    let (id, by_id) = intruder.rows_of("meta", "token-id/").remove(0);
    // For somebody else.
    let edited = replace(&record, b"\x03app", b"\x05admin");
    intruder.put("meta", &name, &edited);
    assert_damaged(&show().unwrap_err(), "token/night` in meta was edited");
    // Put back, it logs in as ever; deleted and put back, it does not.
    intruder.put("meta", &name, &record);
    show().unwrap();
    admin.delete_token("night").unwrap();
    intruder.put("meta", &name, &record);
    intruder.put("meta", &id, &by_id);
    assert_damaged(&show().unwrap_err(), "was planted");

    intruder.remove("meta", &name);
    intruder.remove("meta", &id);

    // Hidden while its user is deleted, it is nobody's.
    let (token, _) = admin.create_token("noon", "app", tomorrow).unwrap();
    let show = || hsm.login_with(Credentials::token(token.expose()));
    let (name, record) = intruder.rows_of("meta", "token/noon").remove(0);
    intruder.remove("meta", &name);
    admin.delete_user("app").unwrap();
    intruder.put("meta", &name, &record);
    let error = show().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    home.clock.advance(Duration::from_secs(1));
    admin.create_user("app", PASSWORD).unwrap();
    let error = show().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}

#[test]
fn edited_role_assignments_give_nobody_rights() {
    let (home, hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    let assignments = intruder.rows("role_assignments");
    let administrator = assignments
        .iter()
        .find(|(_, value)| value.windows(5).any(|bytes| bytes == b"admin"))
        .unwrap();
    let crypto_user = assignments
        .iter()
        .find(|(_, value)| {
            let role = BuiltInRole::CryptoUser.id().to_bytes();
            value.windows(role.len()).any(|bytes| bytes == role)
        })
        .unwrap();

    // Planted: the administrator's record under another id and with another principal in it.
    let mut planted = administrator.clone();
    planted.0[0] ^= 1;
    planted.1 = replace(&planted.1, b"\x05admin", b"\x03app");
    intruder.put("role_assignments", &planted.0, &planted.1);
    let error = app.list_users(PageRequest::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    // A change makes the process read the roles again: it says what it found and works with those that it had.
    let admin = admin(&hsm);
    let error = admin
        .assign_role(BuiltInRole::Backup, "app", Scope::Keys)
        .unwrap_err();
    assert_damaged(&error, "in role_assignments was planted");
    let error = app.list_users(PageRequest::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    hsm.close().unwrap();
    assert_damaged(
        &home.try_open().unwrap_err(),
        "in role_assignments was planted",
    );
    intruder.remove("role_assignments", &planted.0);

    let edited = replace(&crypto_user.1, b"/keys", b"/");
    intruder.put("role_assignments", &crypto_user.0, &edited);
    assert_damaged(
        &home.try_open().unwrap_err(),
        "in role_assignments was edited",
    );
    intruder.remove("role_assignments", &crypto_user.0);
    // A record that is not there is not found by looking at those that are.
    let hsm = home.open();
    let app = home::app(&hsm);
    let error = app.any_key("alpha").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

/// Replaces a length-prefixed or plain text in a record.
fn replace(record: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = record
        .windows(from.len())
        .position(|bytes| bytes == from)
        .unwrap();
    [&record[..at], to, &record[at + from.len()..]].concat()
}

/// An old password must not work again, nor a lock-out end, with an older copy of the user's record.
#[test]
fn an_older_copy_of_a_user_lets_nobody_in() {
    let (home, hsm, _) = with_keys();
    let intruder = Intruder::at(&home);
    let (name, old) = intruder.rows_of("users", "app").remove(0);
    app(&hsm)
        .change_password(PASSWORD, "another password")
        .unwrap();
    intruder.put("users", &name, &old);
    for password in [PASSWORD, "another password"] {
        assert_damaged(&hsm.login("app", password).unwrap_err(), "`app` in users");
    }
    admin(&hsm);
}

#[test]
fn damage_to_the_anchor_is_a_clear_error() {
    let (home, hsm, app) = with_keys();
    hsm.close().unwrap();
    drop(app);
    let intruder = Intruder::at(&home);
    let (name, anchor) = intruder.rows_of("meta", "anchor").remove(0);
    for bit in (0..anchor.len() * 8).step_by(487) {
        let mut flipped = anchor.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        intruder.put("meta", &name, &flipped);
        assert_damaged(&home.try_open().unwrap_err(), "anchor");
    }
    intruder.put("meta", &name, &[]);
    assert_damaged(&home.try_open().unwrap_err(), "anchor");
    intruder.remove("meta", &name);
    assert_damaged(&home.try_open().unwrap_err(), "anchor");
    intruder.put("meta", &name, &anchor);
    assert_works(&home::app(&home.open()), "alpha");
}

#[test]
fn damage_to_the_record_of_the_partition_is_a_clear_error() {
    let (home, hsm, app) = with_keys();
    hsm.close().unwrap();
    drop(app);
    let intruder = Intruder::at(&home);
    let (name, partition) = intruder.rows_of("meta", "partition").remove(0);
    for bit in (0..partition.len() * 8).step_by(31) {
        let mut flipped = partition.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        intruder.put("meta", &name, &flipped);
        match home.try_open() {
            // The time of creation is information only.
            Ok(hsm) => hsm.close().unwrap(),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Damaged | ErrorKind::InvalidInput),
                "bit {bit}: {error}"
            ),
        }
    }
    intruder.put("meta", &name, &partition);
    assert_works(&home::app(&home.open()), "alpha");
}

#[test]
fn damage_to_the_tree_is_named_and_leaves_the_keys_of_other_leaves_usable() {
    let (home, _hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    let tree = intruder.rows("tree");
    assert!(tree.len() > 4);
    for (key, value) in &tree {
        for broken in [None, Some(Vec::new()), Some(flip_last(value))] {
            match broken {
                None => intruder.remove("tree", key),
                Some(value) => intruder.put("tree", key, &value),
            }
            let outcomes = ["alpha", "beta"].map(|name| app.any_key(name));
            for error in outcomes.into_iter().filter_map(Result::err) {
                assert_damaged(&error, "of the record tree was changed");
            }
            intruder.put("tree", key, value);
        }
    }
    assert_works(&app, "alpha");
}

fn flip_last(value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    *value.last_mut().unwrap() ^= 1;
    value
}

/// Only a counter outside the store can tell an older copy of all of it, but a process that has seen more is one.
#[test]
fn an_older_copy_of_the_whole_store_is_found_by_a_process_that_is_running() {
    let (home, hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    let copy = home.path().join("copy.sqlite");
    intruder
        .0
        .execute("VACUUM INTO ?1", params![copy.to_str().unwrap()])
        .unwrap();
    key(&app, "alpha")
        .update(AttributesUpdate::new().event(Event::Suspend))
        .unwrap();
    let error = key(&app, "alpha").sign(b"message").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyState);

    put_back(&intruder, &copy);
    let old = "somebody put an old copy back";
    assert_damaged(&app.any_key("beta").unwrap_err(), old);
    let error = app.create::<EcdsaP256>("gamma").make().unwrap_err();
    assert_damaged(&error, old);
    assert_damaged(&hsm.login("admin", PASSWORD).unwrap_err(), old);
    assert_damaged(&hsm.maintain().unwrap_err(), old);
    // What it has at hand is right: it is newer than the copy.
    assert!(app.call(sign_request("alpha")).is_err());
}

fn sign_request(name: &str) -> hsm_core::Request<'static> {
    hsm_core::Request::Sign {
        key: name.parse().unwrap(),
        algorithm: hsm_client::Algorithm::Es256,
        input: hsm_client::SignInput::Message(b"message"),
    }
}

/// Puts all records back, as somebody with a copy of the file would.
fn put_back(intruder: &Intruder, copy: &std::path::Path) {
    let connection = &intruder.0;
    connection
        .execute("ATTACH ?1 AS old", params![copy.to_str().unwrap()])
        .unwrap();
    let mut statement = connection
        .prepare("SELECT name FROM old.sqlite_master WHERE type = 'table'")
        .unwrap();
    let tables: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    drop(statement);
    let mut batch = "BEGIN;".to_owned();
    for table in tables {
        batch += &format!(
            "DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM old.{table};"
        );
    }
    connection
        .execute_batch(&(batch + "COMMIT; DETACH old;"))
        .unwrap();
}

#[test]
fn an_edited_record_of_the_journal_is_named_by_the_verifier() {
    let (home, hsm, app) = with_keys();
    drop(app);
    let audit_key = hsm.as_async().audit_key().unwrap().clone();
    hsm.close().unwrap();
    let intruder = Intruder::at(&home);
    let journal = intruder.rows("journal");
    let verify = || audit::verify(&home.url(), &audit_key, |_| ());
    verify().unwrap();
    for at in [0, 3, journal.len() - 2] {
        let (key, value) = &journal[at];
        for bit in (0..value.len() * 8).step_by(149) {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            intruder.put("journal", key, &flipped);
            let error = verify().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
            let text = full_text(&error);
            assert!(text.contains(&format!("record {at}")), "{at}: {text}");
        }
        intruder.remove("journal", key);
        let text = full_text(&verify().unwrap_err());
        assert!(text.contains(&format!("record {at}")), "{at}: {text}");
        intruder.put("journal", key, value);
    }
    verify().unwrap();
}

fn full_text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Before the maintenance went on after a damaged key, nothing else was rotated and the audit log stayed unsigned.
#[test]
fn a_damaged_key_does_not_keep_the_others_from_rotating() {
    let (home, hsm, app) = with_keys();
    let policy = RotationPolicy::rotate_after("P30D").unwrap();
    for name in ["alpha", "beta"] {
        key(&app, name).set_rotation_policy(policy.clone()).unwrap();
    }
    let intruder = Intruder::at(&home);
    let (name, record) = intruder.rows_of("keys", "alpha").remove(0);
    intruder.put("keys", &name, &flip_last(&record));
    home.clock.advance(Duration::from_secs(31 * 86_400));
    let done = hsm.maintain().unwrap();
    assert_eq!(done.rotated, ["beta".parse().unwrap()]);
    let [(refused, reason)] = &done.refused[..] else {
        panic!("{done:?}");
    };
    assert_eq!(refused.as_str(), "alpha");
    assert!(reason.contains("alpha"), "{reason}");
}

/// The schedule is not what lets a key be used: a damaged one stops what it names and not the audit log.
#[test]
fn a_planted_entry_of_the_schedule_is_named() {
    let (home, hsm, app) = with_keys();
    let intruder = Intruder::at(&home);
    intruder.put("schedule", &[&[0; 8][..], b"alpha"].concat(), b"");
    assert_damaged(&hsm.maintain().unwrap_err(), "in schedule was planted");
    assert_works(&app, "alpha");
}
