//! Promise: bad input gets a clear error that says what to do, and nothing is lost or changed.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use home::{Home, PASSWORD, admin, app};
use hsm_client::blocking::Hsm;
use hsm_client::kinds::{Aes256Gcm, EcdsaP256, EcdsaP384, HmacSha256};
use hsm_client::lifecycle::Event;
use hsm_client::limits::{
    AAD_LEN_MAX, DATA_LEN_MAX, KEY_MATERIAL_LEN_MAX, KEY_VERSIONS_MAX, PAGE_LEN_MAX,
    RANDOM_LEN_MAX, TAG_LEN_MAX, TAGS_MAX, WRAP_LEN_MAX,
};
use hsm_client::{
    Algorithm, AttributesUpdate, BuiltInRole, Clock, Error, ErrorKind, KeySpec, KeyType,
    OpenOptions, PageRequest, PublicKey, RoleId, Scope, SecretBytes, SettingsUpdate, Setup,
    SignInput, Signature, Usage, Usages, VersionId, audit,
};

const PASSPHRASE: &str = "a long passphrase for the domain key";

#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, hint: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(
        error.to_string().contains(hint),
        "`{error}` does not say `{hint}`"
    );
}

// Opening and creating.

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let home = Home::empty();
    home_with(&home, home.setup().passphrase(PASSPHRASE));
    for options in [
        OpenOptions::new().passphrase("another passphrase altogether"),
        OpenOptions::new().passphrase(""),
        OpenOptions::new(),
    ] {
        let error = Hsm::open_with(&home.url(), options).unwrap_err();
        assert_error(&error, ErrorKind::Unauthenticated, "passphrase");
    }
    let options = OpenOptions::new()
        .passphrase(PASSPHRASE)
        .clock(home.clock.clone());
    let hsm = Hsm::open_with(&home.url(), options).unwrap();
    app(&hsm)
        .key::<EcdsaP256>("invoices")
        .unwrap()
        .sign(b"message")
        .unwrap();
}

fn home_with(home: &Home, setup: Setup) {
    let hsm = Hsm::create(&home.url(), setup).unwrap();
    let admin = admin(&hsm);
    admin.create_user("app", PASSWORD).unwrap();
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .unwrap();
    app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
}

#[test]
fn a_wrong_or_open_key_file_is_refused() {
    let (home, other) = (Home::empty(), Home::empty());
    let files = tempfile::tempdir().unwrap();
    let (right, wrong) = (
        files.path().join("right.key"),
        files.path().join("wrong.key"),
    );
    home_with(&home, home.setup().key_file(&right));
    home_with(&other, other.setup().key_file(&wrong));
    let open = |path: &std::path::Path| {
        Hsm::open_with(
            &home.url(),
            OpenOptions::new().key_file(path).clock(home.clock.clone()),
        )
    };
    assert_error(
        &open(&wrong).unwrap_err(),
        ErrorKind::Unauthenticated,
        "key file",
    );
    let error = open(&files.path().join("none.key")).unwrap_err();
    assert!(error.to_string().contains("none.key"), "{error}");
    assert_error(
        &Hsm::open(&home.url()).unwrap_err(),
        ErrorKind::Unauthenticated,
        "key",
    );

    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&right, fs::Permissions::from_mode(mode)).unwrap();
        let error = open(&right).unwrap_err();
        assert!(error.to_string().contains("right.key"), "{error}");
        assert!(error.to_string().contains("others"), "{error}");
    }
    fs::set_permissions(&right, fs::Permissions::from_mode(0o600)).unwrap();
    app(&open(&right).unwrap())
        .key::<EcdsaP256>("invoices")
        .unwrap()
        .sign(b"message")
        .unwrap();
}

#[test]
fn there_is_nothing_to_open() {
    let home = Home::empty();
    for url in [home.url(), "soft:/nowhere/at/all".to_owned()] {
        assert_error(
            &Hsm::open(&url).unwrap_err(),
            ErrorKind::NotFound,
            "there is no HSM in",
        );
    }
    assert_error(
        &Hsm::open("memory:").unwrap_err(),
        ErrorKind::NotFound,
        "create it",
    );
    fs::create_dir(home.path()).unwrap();
    assert_error(
        &home.try_open().unwrap_err(),
        ErrorKind::NotFound,
        "create it with Hsm::create",
    );
    let key = PublicKey::from_pem(AUDIT_KEY).unwrap();
    let error = audit::verify(&home.url(), &key, |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// The base point of P-256, which nobody signs with.
const AUDIT_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
";

#[test]
fn an_hsm_is_made_only_where_nothing_is() {
    let (home, hsm) = Home::new();
    let key = app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    let error = Hsm::create(&home.url(), home.setup()).unwrap_err();
    assert_error(
        &error,
        ErrorKind::Conflict,
        "open it, or choose another place",
    );
    key.sign(b"message").unwrap();

    // A file where the folder should be, and a folder that is not there.
    let file = Home::empty();
    fs::write(file.path(), "a file").unwrap();
    let error = Hsm::create(&file.url(), file.setup()).unwrap_err();
    assert_error(&error, ErrorKind::Conflict, "there is something at");
    assert_eq!(fs::read(file.path()).unwrap(), b"a file");
    let below = format!("{}/below", file.url());
    let error = Hsm::create(&below, file.setup()).unwrap_err();
    assert_error(&error, ErrorKind::StoreFailed, "cannot be made");
    let error = Hsm::open(&below).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn a_setup_that_is_not_right_makes_nothing() {
    let home = Home::empty();
    for (setup, kind) in [
        (Setup::new("no name!", PASSWORD), ErrorKind::InvalidInput),
        (
            Setup::new("a".repeat(10_000), PASSWORD),
            ErrorKind::InvalidInput,
        ),
        (Setup::new("admin", "short"), ErrorKind::InvalidInput),
        (home.setup().retention_days(6), ErrorKind::InvalidInput),
        (home.setup().retention_days(91), ErrorKind::InvalidInput),
    ] {
        let error = Hsm::create(&home.url(), setup).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let left: Vec<_> = fs::read_dir(home.path().parent().unwrap())
            .unwrap()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn urls_are_checked() {
    for url in [
        "",
        "soft:",
        "dev.hsm",
        "ftp://example",
        "soft:a\0b",
        "memory:x",
    ] {
        for error in [
            Hsm::open(url).unwrap_err(),
            Hsm::create(url, Setup::new("admin", PASSWORD)).unwrap_err(),
        ] {
            assert_error(&error, ErrorKind::InvalidInput, "`soft:PATH`");
        }
    }
    let error = Hsm::open("http://example").unwrap_err();
    assert_error(&error, ErrorKind::InvalidInput, "`https://HOST`");
}

#[test]
fn a_store_of_a_newer_format_is_left_alone() {
    let (home, hsm) = Home::new();
    hsm.close().unwrap();
    let store = rusqlite::Connection::open(home.path().join("store.sqlite")).unwrap();
    store.pragma_update(None, "user_version", 99).unwrap();
    let error = home.try_open().unwrap_err();
    assert_error(&error, ErrorKind::Unsupported, "use a newer version");
    store.pragma_update(None, "user_version", 1).unwrap();
    app(&home.open());
}

#[test]
fn a_store_that_was_cut_off_is_a_clear_error() {
    let (home, hsm) = Home::new();
    app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    hsm.close().unwrap();
    let path = home.path().join("store.sqlite");
    let whole = fs::read(&path).unwrap();
    for len in [
        0,
        1,
        99,
        whole.len() / 2 + 1,
        (whole.len() / 2) & !4095,
        whole.len() - 4096,
        whole.len() - 1,
    ] {
        fs::write(&path, &whole[..len]).unwrap();
        let error = home.try_open().map(|_| ()).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Damaged,
            "{len} of {}: {error}",
            whole.len()
        );
        assert!(error.to_string().contains("store.sqlite"), "{error}");
    }
    fs::write(&path, vec![b'x'; 8192]).unwrap();
    assert_error(
        &home.try_open().unwrap_err(),
        ErrorKind::Damaged,
        "store.sqlite",
    );
    for beside in ["store.sqlite-wal", "store.sqlite-shm"] {
        let _ = fs::remove_file(home.path().join(beside));
    }
    fs::write(&path, &whole).unwrap();
    app(&home.open())
        .key::<EcdsaP256>("invoices")
        .unwrap()
        .sign(b"message")
        .unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_error() {
    let (home, hsm) = Home::new();
    hsm.close().unwrap();
    let (audit, aside) = (home.path().join("audit"), home.path().join("aside"));
    // Nothing can be written where a file is in the place of a folder, not even by root.
    fs::rename(&audit, &aside).unwrap();
    fs::write(&audit, "").unwrap();
    let error = home.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuditFailed, "{error}");
    fs::remove_file(&audit).unwrap();
    fs::rename(&aside, &audit).unwrap();
    home.open().close().unwrap();

    let mode = |mode| fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
    let files = ["store.sqlite", "store.sqlite-version"].map(|name| home.path().join(name));
    for file in &files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o400)).unwrap();
    }
    mode(0o500);
    if fs::write(home.path().join("probe"), "").is_ok() {
        println!("SKIPPED a read-only folder: this user may write anywhere");
    } else {
        let error = home.try_open().unwrap_err();
        assert!(
            matches!(
                error.kind(),
                ErrorKind::StoreFailed | ErrorKind::AuditFailed
            ),
            "{error}"
        );
    }
    mode(0o700);
}

// Names, sizes and counts.

#[test]
fn names_have_one_rule_and_are_taken_once() {
    let (_home, hsm) = Home::new();
    let app = app(&hsm);
    for bad in [
        "",
        "a b",
        "a/b",
        "ä",
        "..",
        "a\0",
        &"a".repeat(128),
        &"a".repeat(10_000),
    ] {
        for error in [
            app.create::<EcdsaP256>(bad).make().unwrap_err(),
            app.key::<EcdsaP256>(bad).unwrap_err(),
            app.recover_key(bad).unwrap_err(),
            app.purge_key(bad).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().len() < 200, "the input is not repeated");
        }
    }
    let longest = "a".repeat(127);
    let key = app.create::<EcdsaP256>(&longest).make().unwrap();
    let signature = key.sign(b"message").unwrap();
    let error = app.create::<EcdsaP384>(&longest).make().unwrap_err();
    assert_error(&error, ErrorKind::Conflict, "rotate it for a new version");
    let error = app
        .import::<HmacSha256>(&longest, SecretBytes::copy_from(&[7; 32]))
        .make()
        .unwrap_err();
    assert_error(&error, ErrorKind::Conflict, "choose another name");
    key.verify(b"message", &signature).unwrap();
}

#[test]
fn digests_have_the_length_of_their_hash() {
    let (_home, hsm) = Home::new();
    let key = app(&hsm).create::<EcdsaP384>("invoices").make().unwrap();
    let signature = key.sign_digest(&[7; 48]).unwrap();
    for len in [0, 1, 32, 47, 49, 64, 10_000] {
        let digest = vec![7; len];
        for error in [
            key.sign_digest(&digest).unwrap_err(),
            key.verify_digest(&digest, &signature).unwrap_err(),
        ] {
            assert_error(
                &error,
                ErrorKind::InvalidInput,
                &format!("has 48 bytes, this one has {len}"),
            );
        }
    }
    for len in [0, 1, 95, 97, 10_000] {
        let error = key
            .verify_digest(&[7; 48], &Signature::new(vec![7; len]))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CryptoFailed, "{len}: {error}");
    }
}

/// The memory is mapped and never touched: had anybody copied it, this process would need twice as much.
#[test]
fn a_gibibyte_is_refused_and_not_copied() {
    let (_home, hsm) = Home::new();
    let app = app(&hsm);
    let signing = app.create::<EcdsaP256>("signing").make().unwrap();
    let data = app.create::<Aes256Gcm>("data").make().unwrap();
    let mac = app.create::<HmacSha256>("mac").make().unwrap();
    let huge = vec![0; 1 << 30];
    let before = resident_kib();
    let signature = Signature::new(vec![0; 64]);
    for error in [
        signing.sign(&huge).unwrap_err(),
        signing.verify(&huge, &signature).unwrap_err(),
        signing
            .verify(b"", &Signature::new(vec![0; DATA_LEN_MAX + 1]))
            .unwrap_err(),
        data.encrypt(&huge).unwrap_err(),
        mac.mac(&huge).unwrap_err(),
        mac.verify_mac(&huge, &signature).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    }
    let error = signing.sign(&huge).unwrap_err();
    assert_error(
        &error,
        ErrorKind::LimitExceeded,
        "sign a digest of it, or encrypt it under a data key",
    );
    let error = data.encrypt_with_aad(b"", &huge).unwrap_err();
    assert_error(&error, ErrorKind::LimitExceeded, "associated data");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 1 << 18, "{grown} KiB more are in use");

    // Up to the limit it works.
    let most = &huge[..DATA_LEN_MAX];
    let signature = signing.sign(most).unwrap();
    signing.verify(most, &signature).unwrap();
    let encrypted = data
        .encrypt_with_aad(b"data", &huge[..AAD_LEN_MAX])
        .unwrap();
    assert_eq!(
        data.decrypt_with_aad(&encrypted, &huge[..AAD_LEN_MAX])
            .unwrap()
            .expose(),
        b"data"
    );
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn algorithms_must_fit_their_keys() {
    let (_home, hsm) = Home::new();
    let app = app(&hsm);
    let spec = |key_type, usages: &[Usage]| KeySpec::new(key_type, Usages::of(usages)).unwrap();
    let ec = app
        .create_any("ec", spec(KeyType::EcP256, &[Usage::Sign, Usage::Verify]))
        .make()
        .unwrap();
    let aes = app
        .create_any(
            "aes",
            spec(KeyType::Aes256, &[Usage::Encrypt, Usage::Decrypt]),
        )
        .make()
        .unwrap();
    let message = SignInput::Message(b"message");
    for algorithm in Algorithm::all().filter(|algorithm| *algorithm != Algorithm::Es256) {
        let error = ec.sign(algorithm, message).unwrap_err();
        assert_error(&error, ErrorKind::InvalidInput, algorithm.name());
    }
    for algorithm in [
        Algorithm::Es256,
        Algorithm::A128Gcm,
        Algorithm::RsaOaep256,
        Algorithm::Hs256,
    ] {
        let error = aes.encrypt(algorithm, b"data", b"").unwrap_err();
        assert_error(&error, ErrorKind::InvalidInput, algorithm.name());
    }
    // Fitting, but not for this.
    let error = aes.wrap(Algorithm::A256Kw, &[7; 32]).unwrap_err();
    assert_error(
        &error,
        ErrorKind::KeyState,
        "may not wrapKey; it may: encrypt decrypt",
    );
    let error = app.key::<EcdsaP384>("ec").unwrap_err();
    assert_error(
        &error,
        ErrorKind::InvalidInput,
        "is of type EC-P256, not EC-P384",
    );
}

#[test]
fn a_version_that_does_not_exist_is_not_found() {
    let (_home, hsm) = Home::new();
    let app = app(&hsm);
    let key = app.create::<EcdsaP256>("invoices").make().unwrap();
    let other = app.create::<EcdsaP256>("other").make().unwrap();
    let signature = key.sign(b"message").unwrap();
    let versions = [
        VersionId::from_bytes([7; 16]),
        other.info().unwrap().version,
    ];
    for version in versions {
        let ghost = key.at(version);
        for error in [
            ghost.sign(b"message").unwrap_err(),
            ghost.info().unwrap_err(),
            ghost
                .update(AttributesUpdate::new().event(Event::Suspend))
                .unwrap_err(),
            key.verify(b"message", &Signature::made_by(version, signature.bytes()))
                .unwrap_err(),
            app.any_key(&format!("invoices/{version}")).unwrap_err(),
        ] {
            assert_error(
                &error,
                ErrorKind::NotFound,
                &format!("there is no key invoices/{version}"),
            );
        }
    }
    let error = app.any_key("invoices/1").unwrap_err();
    assert_error(&error, ErrorKind::InvalidInput, "32 lower-case hex digits");
}

#[test]
fn a_key_has_so_many_versions_and_no_more() {
    let (_home, hsm) = Home::new();
    let key = app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    let first = key.sign(b"message").unwrap();
    for _ in 1..KEY_VERSIONS_MAX {
        key.rotate().unwrap();
    }
    assert_error(
        &key.rotate().unwrap_err(),
        ErrorKind::LimitExceeded,
        "the number of versions of a key",
    );
    key.verify(b"message", &first).unwrap();
    key.sign(b"message").unwrap();
    let mut seen = 0;
    let mut after = None;
    loop {
        let page = key
            .versions(PageRequest {
                after,
                limit: Some(33),
            })
            .unwrap();
        assert!(page.items.len() <= 33);
        seen += page.items.len();
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, KEY_VERSIONS_MAX);
}

#[test]
fn pages_have_limits() {
    let (_home, hsm) = Home::new();
    let app = app(&hsm);
    for name in ["a", "b", "c"] {
        app.create::<EcdsaP256>(name).make().unwrap();
    }
    let list = |after: Option<&str>, limit| {
        app.list_keys(PageRequest {
            after: after.map(str::to_owned),
            limit,
        })
    };
    assert_error(
        &list(None, Some(0)).unwrap_err(),
        ErrorKind::InvalidInput,
        "at least one",
    );
    assert_error(
        &list(None, Some(PAGE_LEN_MAX + 1)).unwrap_err(),
        ErrorKind::LimitExceeded,
        "length of a page",
    );
    assert_eq!(list(None, Some(PAGE_LEN_MAX)).unwrap().items.len(), 3);
    let page = list(None, Some(2)).unwrap();
    assert_eq!((page.items.len(), page.next.as_deref()), (2, Some("b")));
    let page = list(Some("b"), Some(2)).unwrap();
    assert_eq!((page.items.len(), page.next), (1, None));
    // A page starts after a place, whether there is a key or not.
    assert_eq!(list(Some("bb"), None).unwrap().items.len(), 1);
    assert_eq!(list(Some("zzz"), None).unwrap().items.len(), 0);
    assert_eq!(
        list(Some(&"z".repeat(10_000)), None)
            .map(|page| page.items.len())
            .unwrap_or(0),
        0
    );
    let key = app.key::<EcdsaP256>("a").unwrap();
    let page = PageRequest {
        after: Some("no version".to_owned()),
        limit: None,
    };
    assert_eq!(
        key.versions(page).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn tags_periods_and_materials_have_limits() {
    let (home, hsm) = Home::new();
    let app = app(&hsm);
    let create = || app.create::<EcdsaP256>("invoices");
    let mut many = create();
    for number in 0..=TAGS_MAX {
        many = many.tag(format!("tag-{number}"), "value");
    }
    assert_error(
        &many.make().unwrap_err(),
        ErrorKind::LimitExceeded,
        "number of tags",
    );
    let long = "v".repeat(TAG_LEN_MAX + 1);
    assert_error(
        &create().tag("name", &long).make().unwrap_err(),
        ErrorKind::LimitExceeded,
        "length of a tag",
    );
    assert_error(
        &create().tag(&long, "value").make().unwrap_err(),
        ErrorKind::LimitExceeded,
        "length of a tag",
    );
    assert_error(
        &create().tag("", "value").make().unwrap_err(),
        ErrorKind::InvalidInput,
        "needs a name",
    );
    let now = home.clock.now();
    let error = create().not_before(now).expires(now).make().unwrap_err();
    assert_error(&error, ErrorKind::InvalidInput, "would expire");
    for (len, kind) in [
        (0, ErrorKind::InvalidInput),
        (KEY_MATERIAL_LEN_MAX + 1, ErrorKind::LimitExceeded),
    ] {
        let material = SecretBytes::copy_from(&vec![7; len]);
        assert_eq!(
            app.import::<EcdsaP256>("invoices", material)
                .make()
                .unwrap_err()
                .kind(),
            kind
        );
    }
    // The name is still free after all of these, and the largest of everything fits into a record.
    let mut full = create();
    for number in 0..TAGS_MAX {
        full = full.tag(
            format!("{number:0>width$}", width = TAG_LEN_MAX),
            "v".repeat(TAG_LEN_MAX),
        );
    }
    let key = full.make().unwrap();
    assert_eq!(key.info().unwrap().attributes.tags.as_map().len(), TAGS_MAX);

    let error = app.random(RANDOM_LEN_MAX + 1).unwrap_err();
    assert_error(&error, ErrorKind::LimitExceeded, "random bytes");
    assert_eq!(app.random(RANDOM_LEN_MAX).unwrap().len(), RANDOM_LEN_MAX);
    let wrapping = app
        .create::<hsm_client::kinds::Aes256Kwp>("wrapping")
        .make()
        .unwrap();
    let error = wrapping.wrap(&vec![7; WRAP_LEN_MAX + 1]).unwrap_err();
    assert_error(&error, ErrorKind::LimitExceeded, "key to wrap");
    let wrapped = wrapping.wrap(&vec![7; WRAP_LEN_MAX]).unwrap();
    assert_eq!(wrapping.unwrap(&wrapped).unwrap().len(), WRAP_LEN_MAX);
}

// Settings.

#[test]
fn purge_protection_stays_and_protects() {
    let home = Home::empty();
    let hsm = home.create(home.setup().purge_protection().retention_days(7));
    let admin = admin(&hsm);
    admin
        .assign_role(BuiltInRole::CryptoOfficer, "app", Scope::Global)
        .unwrap();
    let app = app(&hsm);
    app.create::<EcdsaP256>("invoices")
        .make()
        .unwrap()
        .delete()
        .unwrap();
    let error = app.purge_key("invoices").unwrap_err();
    assert_error(
        &error,
        ErrorKind::KeyState,
        "goes by itself at 2026-01-08T00:00:00Z",
    );
    let off = SettingsUpdate {
        purge_protection: Some(false),
        ..SettingsUpdate::default()
    };
    assert_error(
        &admin.update_settings(off).unwrap_err(),
        ErrorKind::Conflict,
        "cannot be switched off",
    );
    assert!(admin.settings().unwrap().settings.purge_protection);
    for days in [0, 6, 91, u16::MAX] {
        let update = SettingsUpdate {
            retention_days: Some(days),
            ..SettingsUpdate::default()
        };
        assert_error(
            &admin.update_settings(update).unwrap_err(),
            ErrorKind::InvalidInput,
            "7 to 90 days",
        );
    }
    home.clock.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(hsm.maintain().unwrap().purged.len(), 1);
}

#[test]
fn roles_and_assignments_must_make_sense() {
    let (_home, hsm) = Home::new();
    let admin = admin(&hsm);
    let ghost = RoleId::from_u128(7);
    assert_error(
        &admin.assign_role(ghost, "app", Scope::Keys).unwrap_err(),
        ErrorKind::NotFound,
        "there is no role",
    );
    assert_error(
        &admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .unwrap_err(),
        ErrorKind::Conflict,
        "has this role at /keys already",
    );
    assert_eq!(
        admin
            .assign_role(BuiltInRole::CryptoUser, "no name!", Scope::Keys)
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        admin.unassign_role(ghost).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let key = Scope::Key("invoices".parse().unwrap());
    for number in 0..10 {
        admin
            .assign_role(
                BuiltInRole::CryptoUser,
                &format!("user-{number}"),
                key.clone(),
            )
            .unwrap();
    }
    let error = admin
        .assign_role(BuiltInRole::CryptoUser, "user-10", key)
        .unwrap_err();
    assert_error(
        &error,
        ErrorKind::LimitExceeded,
        "role assignments at this scope",
    );
}

// Time and state.

#[test]
fn time_never_goes_back_not_even_after_a_restart() {
    let (home, hsm) = Home::new();
    let hour = Duration::from_secs(3600);
    let expires = home.clock.now() + hour;
    let key = app(&hsm)
        .create::<EcdsaP256>("invoices")
        .expires(expires)
        .make()
        .unwrap();
    key.sign(b"message").unwrap();
    home.clock.advance(hour);
    let session = app(&hsm);
    let key = session.key::<EcdsaP256>("invoices").unwrap();
    assert_error(
        &key.sign(b"message").unwrap_err(),
        ErrorKind::KeyState,
        "is deactivated",
    );
    home.clock.go_back(hour * 10);
    assert_error(
        &key.sign(b"message").unwrap_err(),
        ErrorKind::KeyState,
        "is deactivated",
    );
    let other = session.create::<EcdsaP256>("other").make().unwrap();
    assert!(other.info().unwrap().attributes.created >= expires);
    hsm.close().unwrap();

    let hsm = home.open();
    let session = app(&hsm);
    let key = session.key::<EcdsaP256>("invoices").unwrap();
    assert_error(
        &key.sign(b"message").unwrap_err(),
        ErrorKind::KeyState,
        "is deactivated",
    );
    let audit_key = hsm.as_async().audit_key().unwrap().clone();
    hsm.close().unwrap();
    let mut last = std::collections::BTreeMap::new();
    audit::verify(&home.url(), &audit_key, |record| {
        let before = last.insert(record.stream, record.event.time);
        assert!(before <= Some(record.event.time), "{record}");
    })
    .unwrap();
}

#[test]
fn refusals_say_what_state_a_key_is_in() {
    let (home, hsm) = Home::new();
    let app = app(&hsm);
    let now = home.clock.now();
    let key = |name: &str| app.create::<EcdsaP256>(name);
    key("early")
        .not_before(now + Duration::from_secs(60))
        .make()
        .unwrap();
    key("made").pre_activation().make().unwrap();
    key("expired").expires(now).make().unwrap();
    for (name, event) in [
        ("suspended", Event::Suspend),
        ("compromised", Event::Compromise),
        ("ended", Event::Deactivate),
    ] {
        key(name)
            .make()
            .unwrap()
            .update(AttributesUpdate::new().event(event))
            .unwrap();
    }
    for (name, hint) in [
        (
            "early",
            "key early is pre-activation, which does not allow to sign",
        ),
        (
            "made",
            "key made is pre-activation, which does not allow to sign",
        ),
        (
            "expired",
            "key expired is deactivated, which does not allow to sign",
        ),
        (
            "suspended",
            "key suspended is suspended, which does not allow to sign",
        ),
        (
            "compromised",
            "key compromised is compromised, which does not allow to sign",
        ),
        (
            "ended",
            "key ended is deactivated, which does not allow to sign",
        ),
    ] {
        let error = app
            .key::<EcdsaP256>(name)
            .unwrap()
            .sign(b"message")
            .unwrap_err();
        assert_error(&error, ErrorKind::KeyState, hint);
    }
    let expired = app.key::<EcdsaP256>("expired").unwrap();
    let later = AttributesUpdate::new().expires(now + Duration::from_secs(60));
    assert_error(
        &expired.update(later).unwrap_err(),
        ErrorKind::KeyState,
        "rotate it instead",
    );
    expired.rotate().unwrap();
    expired.sign(b"message").unwrap();
}
