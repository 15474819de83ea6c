//! [`Worker`]: a client that works, remembers what it was told, and compares that with what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hsm_client::kinds::EcdsaP256;
use hsm_client::{
    AttributesUpdate, Clock, DataAction, ErrorKind, Hsm, KeyInfo, OpenOptions, Page, PageRequest,
    Result, Session, SystemClock, Tags, audit,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::served::{Place, credentials};

/// Keys that a worker keeps at the most.
const KEYS_MAX: usize = 6;

/// What is known of a key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Key {
    /// `None` for one that its maker was not told.
    versions: Vec<Option<String>>,
    tag: Option<String>,
    deleted: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Create,
    Rotate,
    Tag,
    Delete,
    Recover,
    Purge,
    Sign,
    MakeToken,
    DeleteToken,
}

/// How an act ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) acknowledged: usize,
    pub(crate) changes: usize,
    /// Refused, so that it has not happened.
    pub(crate) refused: usize,
    /// Nobody knows.
    pub(crate) unknown: usize,
}

/// A client.
pub(crate) struct Worker {
    number: usize,
    place: Place,
    options: OpenOptions,
    token: Option<String>,
    keys: BTreeMap<String, Key>,
    tokens: BTreeSet<String>,
    /// Acts whose outcome is not known, by the name of what they concern.
    unknown: BTreeMap<String, (Act, String)>,
    /// Signatures acknowledged, by key.
    pub(crate) signatures: BTreeMap<String, usize>,
    pub(crate) outcomes: Outcomes,
    /// Errors other than those of a server that is gone.
    pub(crate) errors: BTreeMap<ErrorKind, usize>,
    dice: Dice,
    made: usize,
}

impl Worker {
    /// With an API token, which a server that was started again takes as well; or else with a password.
    pub(crate) fn new(number: usize, place: &Place, token: Option<String>) -> Self {
        Self {
            number,
            place: place.clone(),
            options: place.options(),
            token,
            keys: BTreeMap::new(),
            tokens: BTreeSet::new(),
            unknown: BTreeMap::new(),
            signatures: BTreeMap::new(),
            outcomes: Outcomes::default(),
            errors: BTreeMap::new(),
            dice: Dice::new(),
            made: 0,
        }
    }

    pub(crate) fn trying_once(mut self) -> Self {
        self.options = self.options.attempts(1);
        self
    }

    /// Works until it is told to stop, or the server is gone for good. Says when something was acknowledged.
    pub(crate) async fn work(
        mut self,
        stop: Arc<AtomicBool>,
        gone_for_good: Arc<AtomicBool>,
        acknowledged: UnboundedSender<()>,
    ) -> Self {
        let hsm = self.place.remote(self.options.clone()).await;
        let mut session = None;
        while !stop.load(Ordering::Relaxed) {
            let here = match &session {
                Some(here) => here,
                None => match self.log_in(&hsm).await {
                    Ok(new) => session.insert(new),
                    Err(error) => {
                        let may_be =
                            matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Unknown);
                        assert!(may_be, "a login failed: {error:?}");
                        if gone_for_good.load(Ordering::Relaxed) {
                            return self;
                        }
                        continue;
                    }
                },
            };
            let Some((act, name, value)) = self.choose() else {
                return self;
            };
            match perform(here, self.place.user(), act, &name, &value).await {
                Ok(version) => {
                    self.outcomes.acknowledged += 1;
                    if act == Act::Sign {
                        *self.signatures.entry(name).or_default() += 1;
                    } else {
                        self.outcomes.changes += 1;
                        self.apply(act, &name, &value, version);
                    }
                    // Whoever counts has counted enough.
                    drop(acknowledged.send(()));
                }
                Err(error) => match error.kind() {
                    ErrorKind::Unreachable => {
                        self.outcomes.refused += 1;
                        if gone_for_good.load(Ordering::Relaxed) {
                            return self;
                        }
                    }
                    ErrorKind::Unauthenticated => {
                        self.outcomes.refused += 1;
                        session = None;
                    }
                    ErrorKind::Unknown => {
                        self.outcomes.unknown += 1;
                        if act != Act::Sign {
                            self.unknown.insert(name, (act, value));
                        }
                        session = None;
                        if gone_for_good.load(Ordering::Relaxed) {
                            return self;
                        }
                    }
                    kind @ (ErrorKind::StoreFailed | ErrorKind::AuditFailed) => {
                        self.outcomes.refused += 1;
                        *self.errors.entry(kind).or_default() += 1;
                        drop(acknowledged.send(()));
                    }
                    _ => panic!("{act:?} {name}: {error:?}"),
                },
            }
        }
        self
    }

    async fn log_in(&self, hsm: &Hsm) -> Result<Session> {
        match &self.token {
            Some(token) => hsm.login_with(credentials(token)).await,
            None => self.place.log_in(hsm).await,
        }
    }

    /// An act, what it concerns, and what it writes. Nothing is done to that of which nobody knows how it is.
    fn choose(&mut self) -> Option<(Act, String, String)> {
        for _ in 0..1000 {
            let known: Vec<_> = self
                .keys
                .iter()
                .filter(|(name, _)| !self.unknown.contains_key(*name))
                .collect();
            let any = |deleted: bool, dice: &mut Dice| {
                let some: Vec<_> = known
                    .iter()
                    .filter(|(_, key)| key.deleted == deleted)
                    .collect();
                (!some.is_empty()).then(|| some[dice.below(some.len())].0.clone())
            };
            self.made += 1;
            let new = format!("c{}-{}", self.number, self.made);
            let roll = self.dice.below(14);
            let (act, name) = match roll {
                0 | 1 if self.keys.len() < KEYS_MAX => (Act::Create, Some(new.clone())),
                2 | 3 => (Act::Rotate, any(false, &mut self.dice)),
                4 | 5 => (Act::Tag, any(false, &mut self.dice)),
                6 => (Act::Delete, any(false, &mut self.dice)),
                7 | 8 => (Act::Recover, any(true, &mut self.dice)),
                9 => (Act::Purge, any(true, &mut self.dice)),
                10 if self.tokens.len() < KEYS_MAX => (Act::MakeToken, Some(format!("t{new}"))),
                11 => {
                    let known = |name: &&String| !self.unknown.contains_key(*name);
                    (Act::DeleteToken, self.tokens.iter().find(known).cloned())
                }
                _ => (Act::Sign, any(false, &mut self.dice)),
            };
            if let Some(name) = name {
                return Some((act, name, new));
            }
        }
        None
    }

    fn apply(&mut self, act: Act, name: &str, value: &str, version: Option<String>) {
        match act {
            Act::MakeToken => drop(self.tokens.insert(name.to_owned())),
            Act::DeleteToken => drop(self.tokens.remove(name)),
            Act::Purge => drop(self.keys.remove(name)),
            _ => {
                let before = self.keys.get(name);
                let after = done(before, act, value, version);
                self.keys.insert(name.to_owned(), after.unwrap());
            }
        }
    }

    /// Compares what was told with what is there, and takes that for what happened to what is not known.
    pub(crate) fn compare(&mut self, found: &Found) {
        let mine = format!("c{}-", self.number);
        let there: BTreeMap<_, _> = found
            .keys
            .iter()
            .filter(|(name, _)| name.starts_with(&mine))
            .collect();
        let names: BTreeSet<String> = self
            .keys
            .keys()
            .chain(there.keys().copied())
            .cloned()
            .collect();
        for name in names {
            let before = self.keys.get(&name);
            let is = there.get(&name).copied();
            let may_be = match self.unknown.get(&name) {
                None => agrees(before, is),
                Some((act, value)) => {
                    agrees(before, is) || agrees(done(before, *act, value, None).as_ref(), is)
                }
            };
            assert!(
                may_be,
                "{name}: told {before:?}, there is {is:?}; not known: {:?}",
                self.unknown.get(&name)
            );
            match is {
                Some(is) => {
                    let mut is = is.clone();
                    if let (true, Some(before)) = (is.deleted, before) {
                        is.versions.clone_from(&before.versions);
                    }
                    self.keys.insert(name, is);
                }
                None => drop(self.keys.remove(&name)),
            }
        }
        let mine = format!("tc{}-", self.number);
        let there: BTreeSet<String> = found
            .tokens
            .iter()
            .filter(|name| name.starts_with(&mine))
            .cloned()
            .collect();
        for name in there.symmetric_difference(&self.tokens) {
            assert!(
                self.unknown.contains_key(name),
                "the token {name}: {there:?}"
            );
        }
        self.tokens = there;
        self.unknown.clear();
    }
}

async fn perform(
    session: &Session,
    user: &str,
    act: Act,
    name: &str,
    value: &str,
) -> Result<Option<String>> {
    match act {
        Act::Create => {
            session.create::<EcdsaP256>(name).await?;
        }
        Act::MakeToken => {
            let tomorrow = SystemClock::default().now() + std::time::Duration::from_secs(86_400);
            session.create_token(name, user, tomorrow).await?;
        }
        Act::DeleteToken => session.delete_token(name).await?,
        Act::Recover => {
            session.recover_key(name).await?;
        }
        Act::Purge => session.purge_key(name).await?,
        Act::Rotate | Act::Tag | Act::Delete | Act::Sign => {
            let key = session.key::<EcdsaP256>(name).await?;
            match act {
                Act::Rotate => return Ok(Some(key.rotate().await?.to_string())),
                Act::Tag => {
                    let mut tags = Tags::new();
                    tags.insert("last", value)?;
                    key.update(AttributesUpdate::new().tags(tags)).await?;
                }
                Act::Delete => {
                    key.delete().await?;
                }
                _ => {
                    let signature = key.sign(name.as_bytes()).await?;
                    match key.verify(name.as_bytes(), &signature).await {
                        Err(error) if error.kind() == ErrorKind::CryptoFailed => {
                            panic!("{name}: a signature does not verify")
                        }
                        // Whoever cannot ask for the public key cannot tell.
                        _ => {}
                    }
                }
            }
        }
    }
    Ok(None)
}

/// What a key is after an act.
fn done(before: Option<&Key>, act: Act, value: &str, version: Option<String>) -> Option<Key> {
    let mut key = before.cloned().unwrap_or_default();
    match act {
        Act::Create | Act::Rotate => key.versions.push(version),
        Act::Tag => key.tag = Some(value.to_owned()),
        Act::Delete => key.deleted = true,
        Act::Recover => key.deleted = false,
        Act::Purge => return None,
        Act::Sign | Act::MakeToken | Act::DeleteToken => {}
    }
    Some(key)
}

fn agrees(told: Option<&Key>, is: Option<&Key>) -> bool {
    let (told, is) = match (told, is) {
        (None, None) => return true,
        (Some(told), Some(is)) => (told, is),
        _ => return false,
    };
    let same_versions = || {
        told.versions.len() == is.versions.len()
            && told
                .versions
                .iter()
                .zip(&is.versions)
                .all(|(told, is)| told.is_none() || told == is)
    };
    // The versions of a deleted key are seen when it is recovered.
    told.deleted == is.deleted && told.tag == is.tag && (is.deleted || same_versions())
}

/// What is in an HSM.
#[derive(Debug)]
pub(crate) struct Found {
    keys: BTreeMap<String, Key>,
    tokens: BTreeSet<String>,
    signatures: BTreeMap<String, usize>,
    pub(crate) records: u64,
}

impl Found {
    /// Verifies the audit log as an auditor who comes first, and looks into the HSM in this process.
    pub(crate) async fn look(place: &Place, audit_key: &hsm_client::PublicKey) -> Self {
        let mut signatures = BTreeMap::new();
        let report = audit::verify(&place.local_url(), audit_key, |record| {
            let event = record.event;
            if event.action == DataAction::KeySign && event.failure.is_none() {
                let target = event.target.to_string();
                let name = target.trim_start_matches("/keys/").to_owned();
                *signatures.entry(name).or_default() += 1;
            }
        })
        .unwrap();
        let hsm = place.local().await;
        let admin = place.log_in(&hsm).await.unwrap();
        let mut keys = BTreeMap::new();
        for info in all(async |page| admin.list_keys(page).await).await {
            let key = admin.any_key(info.name.as_str()).await.unwrap();
            let versions = all(async |page| key.handle().versions(page).await).await;
            let versions = versions.iter().map(|info| Some(info.version.to_string()));
            keys.insert(
                info.name.to_string(),
                Key {
                    versions: versions.collect(),
                    tag: tag(&info),
                    deleted: false,
                },
            );
        }
        for info in all(async |page| admin.list_deleted_keys(page).await).await {
            keys.insert(
                info.name.to_string(),
                Key {
                    versions: Vec::new(),
                    tag: tag(&info),
                    deleted: true,
                },
            );
        }
        let tokens = all(async |page| admin.list_tokens(page).await).await;
        let tokens = tokens.iter().map(|info| info.name.to_string()).collect();
        admin.logout().await;
        hsm.close().await.unwrap();
        Self {
            keys,
            tokens,
            signatures,
            records: report.records,
        }
    }

    /// Every signature that was acknowledged is in the log.
    pub(crate) fn has_signatures_of(&self, worker: &Worker) {
        for (name, acknowledged) in &worker.signatures {
            let audited = self.signatures.get(name).copied().unwrap_or_default();
            assert!(
                audited >= *acknowledged,
                "{name}: {acknowledged} signatures, {audited} records"
            );
        }
    }
}

fn tag(info: &KeyInfo) -> Option<String> {
    let tags = &info.attributes.tags;
    tags.get("last").map(ToString::to_string)
}

async fn all<T>(mut list: impl AsyncFnMut(PageRequest) -> Result<Page<T>>) -> Vec<T> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = list(PageRequest { after, limit: None }).await.unwrap();
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return items,
        }
    }
}

/// Random numbers.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(getrandom::u64().unwrap())
    }

    pub(crate) fn below(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap()
    }
}
