//! Promise: whatever was acknowledged survives `kill -9`, whatever was not is there whole or not at all, and the audit
//! log knows every acknowledged use.
//!
//! `HSM_CRASH_LOOPS` sets how often a process is killed: 60 times if it is not set.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hsm_client::blocking::{Hsm, Session};
use hsm_client::kinds::EcdsaP256;
use hsm_client::lifecycle::{Event, State};
use hsm_client::{
    AttributesUpdate, BuiltInRole, DataAction, ErrorKind, KeyInfo, Page, PageRequest, PublicKey,
    Result, Scope, Setup, Signature, audit,
};
use hsm_testkit::process::{self, Child};

const PASSWORD: &str = "correct horse battery staple";

/// A new HSM after so many kills, so that reading the whole log each time stays cheap.
const KILLS_OF_ONE_HSM: usize = 25;

/// Keys that the child keeps at the most.
const KEYS_MAX: usize = 8;

#[test]
fn what_was_acknowledged_survives_and_nothing_is_half_made() {
    let mut dice = Dice::new();
    let (mut acts, mut signatures, mut in_flight) = (0, 0, 0);
    let loops = loops();
    for at in (0..loops).step_by(KILLS_OF_ONE_HSM) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.hsm");
        let mut truth = Truth::new(&path);
        let mut abandoned = 0;
        for _ in 0..KILLS_OF_ONE_HSM.min(loops - at) {
            let reports = run_and_kill(&path, &mut dice);
            acts += reports.iter().filter(|line| line.starts_with('!')).count();
            in_flight += usize::from(reports.last().is_some_and(|line| line.starts_with('?')));
            signatures += truth.follow(&reports);
            abandoned = truth.check();
        }
        assert!(
            abandoned > 0,
            "the log does not say that processes were killed"
        );
    }
    println!(
        "{loops} kills: {acts} acts acknowledged, of them {signatures} signatures; {in_flight} acts cut off"
    );
    assert!(acts > loops, "the children did next to nothing");
    assert!(in_flight > 0, "nothing was ever cut off");
}

#[test]
fn a_creation_that_is_killed_leaves_nothing_or_a_complete_hsm() {
    let mut dice = Dice::new();
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let whole = folder.path().join("whole.hsm");
    let mut child = Child::start("create", &[whole.to_str().unwrap()]);
    assert_eq!(child.report().unwrap(), "begin");
    assert_eq!(child.report().unwrap(), "created");
    let whole = start.elapsed();
    drop(child);
    let (mut complete, mut nothing) = (0, 0);
    for at in 0..loops() / 2 {
        let path = folder.path().join(format!("{at}.hsm"));
        let mut child = Child::start("create", &[path.to_str().unwrap()]);
        assert_eq!(child.report().unwrap(), "begin");
        dice.pass_some_time(whole * 5 / 4);
        let acknowledged = child.kill().iter().any(|line| line == "created");
        if path.exists() {
            let hsm = open(&path);
            hsm.login("admin", PASSWORD).unwrap();
            complete += 1;
        } else {
            assert!(!acknowledged, "an HSM that was acknowledged is gone");
            let error = Hsm::open(&url(&path)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            nothing += 1;
        }
    }
    println!("{complete} complete, {nothing} not there");
}

/// Starts a child, reads a random number of its reports and kills it a random moment later.
fn run_and_kill(path: &Path, dice: &mut Dice) -> Vec<String> {
    let mut child = Child::start(
        "act",
        &[path.to_str().unwrap(), &dice.roll(u64::MAX).to_string()],
    );
    let mut reports = Vec::new();
    // Now and then it does not get as far as having the HSM open.
    if dice.roll(10) == 0 {
        dice.pass_some_time(Duration::from_millis(60));
    } else {
        for _ in 0..1 + dice.roll(60) {
            reports.push(child.report().unwrap());
        }
        dice.pass_some_time(Duration::from_millis(3));
    }
    reports.extend(child.kill());
    if let Some(failure) = reports.iter().find(|line| !line.starts_with(['?', '!'])) {
        // The last line may be cut off; anything else is a failure of the child.
        assert!(
            reports.last() == Some(failure) && failure.len() < 2,
            "{reports:#?}"
        );
    }
    reports
}

/// What must be in the HSM, from what its users were told.
struct Truth {
    path: std::path::PathBuf,
    audit_key: PublicKey,
    keys: BTreeMap<String, Key>,
    /// An act that was begun and not acknowledged: both is right.
    in_flight: Option<Act>,
    /// Signatures acknowledged, by key and version.
    signatures: BTreeMap<(String, String), u64>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Key {
    versions: Vec<String>,
    suspended: bool,
    deleted: bool,
    signature: Option<(String, Vec<u8>)>,
}

#[derive(Clone, Debug)]
struct Act {
    what: String,
    name: String,
}

impl Truth {
    fn new(path: &Path) -> Self {
        let hsm = Hsm::create(&url(path), Setup::new("admin", PASSWORD)).unwrap();
        let admin = hsm.login("admin", PASSWORD).unwrap();
        admin.create_user("app", PASSWORD).unwrap();
        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .unwrap();
        admin
            .assign_role(BuiltInRole::CryptoOfficer, "app", Scope::Global)
            .unwrap();
        Self {
            path: path.to_owned(),
            audit_key: hsm.as_async().audit_key().unwrap().clone(),
            keys: BTreeMap::new(),
            in_flight: None,
            signatures: BTreeMap::new(),
        }
    }

    /// Learns from the reports of a child; returns the number of signatures.
    fn follow(&mut self, reports: &[String]) -> usize {
        let mut signatures = 0;
        self.in_flight = None;
        for line in reports {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["?", what, name] => {
                    self.in_flight = Some(Act {
                        what: what.to_owned(),
                        name: name.to_owned(),
                    });
                }
                ["!", "sign", name, version, signature] if signature.ends_with('.') => {
                    let key = self.keys.get_mut(name).unwrap();
                    key.signature = Some((
                        version.to_owned(),
                        from_hex(signature.trim_end_matches('.')),
                    ));
                    let place = (format!("/keys/{name}"), version.to_owned());
                    *self.signatures.entry(place).or_default() += 1;
                    signatures += 1;
                    self.in_flight = None;
                }
                ["!", what, name, version, "."] => {
                    self.apply(what, name, version);
                    self.in_flight = None;
                }
                // Cut off by the kill: not acknowledged.
                _ => {}
            }
        }
        signatures
    }

    fn apply(&mut self, what: &str, name: &str, version: &str) {
        if what == "purge" {
            self.keys.remove(name);
            return;
        }
        let key = self.keys.entry(name.to_owned()).or_default();
        match what {
            "create" | "rotate" => key.versions.push(version.to_owned()),
            "suspend" => key.suspended = true,
            "resume" => key.suspended = false,
            "delete" => key.deleted = true,
            "recover" => key.deleted = false,
            _ => panic!("unknown act {what}"),
        }
    }

    /// Reopens the HSM and compares it with the truth; returns how many audit streams have lost their processes.
    fn check(&mut self) -> usize {
        // As an auditor finds it who comes before anybody else.
        audit::verify(&url(&self.path), &self.audit_key, |_| ()).unwrap();
        let hsm = open(&self.path);
        let app = hsm.login("app", PASSWORD).unwrap();
        let mut found = BTreeMap::new();
        for info in all(|page| app.list_keys(page)) {
            let name = info.name.to_string();
            found.insert(name.clone(), self.check_key(&app, &info));
        }
        for info in all(|page| app.list_deleted_keys(page)) {
            let name = info.name.to_string();
            let recovered = app.recover_key(&name).unwrap();
            let mut key = self.check_key(&app, &recovered);
            key.deleted = true;
            app.any_key(&name).unwrap().handle().delete().unwrap();
            found.insert(name, key);
        }
        let uncertain = self.in_flight.take();
        for name in self.keys.keys().chain(found.keys()) {
            let (known, is) = (self.keys.get(name), found.get(name));
            match &uncertain {
                Some(act) if act.name == *name => assert_may_be(act, known, is),
                _ => assert_eq!(is, known, "{name}; in flight: {uncertain:?}"),
            }
        }
        self.keys = found;
        hsm.close().unwrap();
        self.check_audit(uncertain.as_ref())
    }

    /// Every version of the key verifies or signs; what it signed before verifies.
    fn check_key(&mut self, app: &Session, info: &KeyInfo) -> Key {
        let name = info.name.to_string();
        let key = app.key::<EcdsaP256>(&name).unwrap();
        let versions = all(|page| key.versions(page));
        let suspended = info.attributes.state == State::Suspended;
        assert!(suspended || info.attributes.state == State::Active);
        let versions: Vec<String> = versions
            .iter()
            .map(|info| info.version.to_string())
            .collect();
        for version in &versions {
            let key = key.at(version.parse().unwrap());
            match key.sign(b"message") {
                Ok(signature) => {
                    key.verify(b"message", &signature).unwrap();
                    let place = (format!("/keys/{name}"), version.clone());
                    *self.signatures.entry(place).or_default() += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::KeyState, "{name}: {error}");
                    assert_eq!(key.info().unwrap().attributes.state, State::Suspended);
                }
            }
        }
        let signature = self.keys.get(&name).and_then(|key| key.signature.clone());
        if let Some((version, signature)) = &signature {
            let version = key.at(version.parse().unwrap());
            version
                .public_key()
                .unwrap()
                .verify(
                    hsm_client::Algorithm::Es256,
                    hsm_client::SignInput::Message(b"message"),
                    signature,
                )
                .unwrap();
            match version.verify(b"message", &Signature::new(signature.clone())) {
                Err(error) if error.kind() == ErrorKind::KeyState => {}
                outcome => outcome.unwrap(),
            }
        }
        Key {
            versions,
            suspended,
            deleted: false,
            signature,
        }
    }

    /// The log is whole and knows every acknowledged signature, and no more than one besides.
    fn check_audit(&self, uncertain: Option<&Act>) -> usize {
        let mut audited: BTreeMap<(String, String), u64> = BTreeMap::new();
        let report = audit::verify(&url(&self.path), &self.audit_key, |record| {
            let event = record.event;
            if event.action == DataAction::KeySign && event.failure.is_none() {
                let place = (event.target.to_string(), event.version.unwrap().to_string());
                *audited.entry(place).or_default() += 1;
            }
        })
        .unwrap();
        for (place, acknowledged) in &self.signatures {
            let found = audited.get(place).copied().unwrap_or_default();
            assert!(
                found >= *acknowledged,
                "{place:?}: {acknowledged} signatures, {found} records; in flight: {uncertain:?}"
            );
        }
        report.abandoned.len()
    }
}

/// An act that was cut off happened whole or not at all.
fn assert_may_be(act: &Act, known: Option<&Key>, is: Option<&Key>) {
    if is == known {
        return;
    }
    let mut expected = known.cloned().unwrap_or_default();
    match act.what.as_str() {
        "create" | "rotate" => {
            let is = is.unwrap();
            assert_eq!(is.versions.len(), expected.versions.len() + 1, "{act:?}");
            expected.versions.clone_from(&is.versions);
            expected.suspended = false;
        }
        "suspend" => expected.suspended = true,
        "resume" => expected.suspended = false,
        "delete" => expected.deleted = true,
        "recover" => expected.deleted = false,
        "purge" => return assert_eq!(is, None, "{act:?}"),
        _ => panic!("{act:?} changed the key from {known:?} to {is:?}"),
    }
    assert_eq!(is, Some(&expected), "{act:?}");
}

#[test]
#[ignore = "a role"]
fn act() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let mut dice = Dice(arguments[1].parse().unwrap());
    let hsm = open(Path::new(&arguments[0]));
    let app = hsm.login("app", PASSWORD).unwrap();
    let mut live: BTreeMap<String, bool> = all(|page| app.list_keys(page))
        .into_iter()
        .map(|info| {
            (
                info.name.to_string(),
                info.attributes.state == State::Suspended,
            )
        })
        .collect();
    let mut deleted: Vec<String> = all(|page| app.list_deleted_keys(page))
        .into_iter()
        .map(|info| info.name.to_string())
        .collect();
    loop {
        let names: Vec<&String> = live.keys().collect();
        let known = (!names.is_empty()).then(|| names[dice.below(names.len())].clone());
        let (what, name) = match (dice.roll(12), known) {
            (0 | 1, _) | (_, None) if live.len() < KEYS_MAX => {
                ("create", format!("k{:016x}", dice.roll(u64::MAX)))
            }
            (2, Some(name)) if !live[&name] => ("rotate", name),
            (3 | 4, Some(name)) => (if live[&name] { "resume" } else { "suspend" }, name),
            (5, Some(name)) => ("delete", name),
            (6 | 7, _) if !deleted.is_empty() => {
                let name = deleted[dice.below(deleted.len())].clone();
                (
                    if dice.roll(2) == 0 {
                        "recover"
                    } else {
                        "purge"
                    },
                    name,
                )
            }
            (_, Some(name)) if !live[&name] => ("sign", name),
            _ => continue,
        };
        process::report(format!("? {what} {name}"));
        let result =
            do_one(&app, what, &name).unwrap_or_else(|error| panic!("{what} {name}: {error:?}"));
        process::report(format!("! {what} {name} {result}"));
        match what {
            "create" => drop(live.insert(name, false)),
            "suspend" | "resume" => drop(live.insert(name, what == "suspend")),
            "delete" => {
                live.remove(&name);
                deleted.push(name);
            }
            "recover" => {
                let info = app.any_key(&name).unwrap().handle().info().unwrap();
                live.insert(name.clone(), info.attributes.state == State::Suspended);
                deleted.retain(|other| *other != name);
            }
            "purge" => deleted.retain(|other| *other != name),
            _ => {}
        }
    }
}

/// Does it; returns what is to be reported, with a full stop behind it.
fn do_one(app: &Session, what: &str, name: &str) -> Result<String> {
    let event = |event| AttributesUpdate::new().event(event);
    let version = match what {
        "create" => app
            .create::<EcdsaP256>(name)
            .make()?
            .info()?
            .version
            .to_string(),
        "rotate" => app.any_key(name)?.handle().rotate()?.to_string(),
        "suspend" => app
            .any_key(name)?
            .handle()
            .update(event(Event::Suspend))?
            .version
            .to_string(),
        "resume" => app
            .any_key(name)?
            .handle()
            .update(event(Event::Resume))?
            .version
            .to_string(),
        "delete" => app.any_key(name)?.handle().delete()?.version.to_string(),
        "recover" => app.recover_key(name)?.version.to_string(),
        "purge" => {
            app.purge_key(name)?;
            "-".to_owned()
        }
        _ => {
            let signature = app.key::<EcdsaP256>(name)?.sign(b"message")?;
            let version = signature.version().unwrap();
            return Ok(format!("{version} {}.", hex(signature.bytes())));
        }
    };
    Ok(format!("{version} ."))
}

#[test]
#[ignore = "a role"]
fn create() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    process::report("begin");
    Hsm::create(
        &url(Path::new(&arguments[0])),
        Setup::new("admin", PASSWORD),
    )
    .unwrap();
    process::report("created");
}

fn open(path: &Path) -> Hsm {
    Hsm::open(&url(path)).unwrap()
}

fn url(path: &Path) -> String {
    format!("soft:{}", path.display())
}

/// All pages of a listing.
fn all(mut list: impl FnMut(PageRequest) -> Result<Page<KeyInfo>>) -> Vec<KeyInfo> {
    let mut items = Vec::new();
    let mut after = None;
    loop {
        let page = list(PageRequest {
            after,
            limit: Some(5),
        })
        .unwrap();
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return items,
        }
    }
}

fn loops() -> usize {
    std::env::var("HSM_CRASH_LOOPS").map_or(60, |loops| loops.parse().unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// Chance (splitmix64), from the keys that the standard library makes for its hash maps.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(RandomState::new().hash_one(1))
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % sides
    }

    fn below(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(len as u64)).unwrap()
    }

    /// Spins for a random time up to `most`: a kill must hit any moment, not only those at which the child reports.
    fn pass_some_time(&mut self, most: Duration) {
        let most = u64::try_from(most.as_micros()).unwrap();
        let end = Instant::now() + Duration::from_micros(self.roll(most));
        while Instant::now() < end {
            std::thread::yield_now();
        }
    }
}
