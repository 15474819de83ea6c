//! A run of one history: the service and the model side by side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hsm_core::audit::RequestId;
use hsm_core::limits::CLOCK_SETTLE_TIME;
use hsm_core::{
    Clock, Credentials, ErrorKind, KeyType, Request, Response, Result, Service, Session, SignInput,
    Timestamp, Usage,
};

use super::program::Program;
use super::request::{Made, Ready};
use super::step::{Act, KEYS, Paging, Step, Use, Which};
use super::{Difference, Subject, Transcript};
use crate::model::Presence;
use crate::service::{ADMINISTRATOR, PASSWORD};
use crate::{ManualClock, Model};

/// Where two answers part ends the run.
type Outcome<T = ()> = Result<T, Box<Difference>>;

pub(super) struct Run<S> {
    subject: S,
    model: Model,
    clock: Arc<ManualClock>,
    /// The latest time that the clock has shown.
    latest: Timestamp,
    tested: Side,
    expected: Side,
    passwords: BTreeMap<&'static str, &'static str>,
    /// How each product was made, in the order of both transcripts.
    made: Vec<Made>,
    program: Program,
    /// The time of the administrator's last call that stands in the program.
    shown: Timestamp,
}

/// One of the two.
#[derive(Default)]
struct Side {
    sessions: BTreeMap<&'static str, Arc<dyn Session>>,
    seen: Transcript,
    calls: u128,
}

impl Side {
    fn begin(&mut self, (session, seen): (Arc<dyn Session>, Transcript)) {
        self.sessions.insert(ADMINISTRATOR, session);
        self.seen = seen;
    }

    async fn login(
        &mut self,
        service: Arc<dyn Service>,
        user: &'static str,
        password: &str,
    ) -> Result<Arc<dyn Session>> {
        service.login(Credentials::password(user, password)?).await
    }

    async fn ask(&mut self, user: &str, ready: &Ready) -> Result<Response> {
        self.calls += 1;
        let parts = ready.parts(&self.seen)?;
        let request = ready.request(&self.seen, &parts)?;
        let session = self.sessions.get(user).ok_or_else(super::impossible)?;
        session
            .call(RequestId::from_u128(self.calls), request)
            .await
    }
}

impl<S: Subject> Run<S> {
    pub(super) fn new(subject: S, clock: Arc<ManualClock>) -> Self {
        Self {
            subject,
            model: Model::new(clock.clone()),
            latest: clock.now(),
            shown: clock.now(),
            clock,
            tested: Side::default(),
            expected: Side::default(),
            passwords: BTreeMap::from([(ADMINISTRATOR, PASSWORD)]),
            made: Vec::new(),
            program: Program::default(),
        }
    }

    pub(super) async fn run(mut self, steps: &[Step]) -> Outcome {
        self.prepare().await?;
        for step in steps {
            self.step(step).await?;
        }
        self.compare(&observations_of_keys(KEYS)).await?;
        self.compare(&observations_of_people()).await
    }

    /// Begins both services.
    async fn prepare(&mut self) -> Outcome {
        let begun = [
            super::begin(&self.subject).await,
            super::begin(&self.model).await,
        ];
        match begun {
            [Ok(tested), Ok(expected)] => {
                self.tested.begin(tested);
                self.expected.begin(expected);
                Ok(())
            }
            [tested, expected] => {
                let text = |begun: Result<_>| match begun {
                    Ok(_) => "done".to_owned(),
                    Err(error) => error.to_string(),
                };
                self.differ("the beginning", &text(expected), &text(tested))
            }
        }
    }

    async fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Ask { by, act } => {
                let Some(ready) = self.ready(by, act) else {
                    return Ok(());
                };
                self.ask_ready(by, &ready).await?;
                match ready.act.changes() {
                    Changes::Nothing => {}
                    Changes::Key(name) => self.compare(&observations_of_keys([name])).await?,
                    Changes::Keys => self.compare(&observations_of_keys(KEYS)).await?,
                    Changes::People => self.compare(&observations_of_people()).await?,
                }
            }
            Step::Login { user, right } => {
                let password = match right {
                    true => self.password(user),
                    false => "not the password",
                };
                self.drop_session(user);
                self.login(user, password).await?;
            }
            Step::Logout { user } => {
                if let (Some(tested), Some(expected)) = (
                    self.tested.sessions.get(user),
                    self.expected.sessions.get(user),
                ) {
                    self.program.logout(user);
                    tested.logout().await;
                    expected.logout().await;
                    self.ask(user, &Act::GetSettings).await?;
                }
            }
            Step::ShowToken { token } => self.show_token(token).await?,
            Step::Advance(by) => {
                self.put_clock_right();
                self.advance(*by);
            }
            Step::GoBack(by) => {
                // Only who has seen a time can tell that it was later.
                self.look(&Act::GetSettings).await?;
                self.program.go_back(*by);
                self.clock.go_back(*by);
            }
            Step::Maintain => self.maintain().await?,
            Step::Restart => self.restart().await?,
        }
        Ok(())
    }

    /// Shows a token to both, if there is or was one of that name.
    async fn show_token(&mut self, token: &str) -> Outcome {
        let services: [Arc<dyn Service>; 2] =
            [self.subject.service(), Arc::new(self.model.clone())];
        let mut answers = Vec::new();
        for (service, side) in services.iter().zip([&mut self.tested, &mut self.expected]) {
            let Ok(text) = side.seen.token(token) else {
                return Ok(());
            };
            let answer = match service.login(Credentials::token(text)).await {
                Ok(session) => {
                    let id = RequestId::from_u128(answers.len() as u128);
                    session.call(id, Request::GetSettings).await
                }
                Err(error) => Err(error),
            };
            answers.push(side.seen.write(&answer));
        }
        if answers[0] != answers[1] {
            return self.differ(&format!("the token {token}"), &answers[1], &answers[0]);
        }
        self.program.show_token(token, &answers[1]);
        Ok(())
    }

    fn advance(&mut self, by: Duration) {
        self.program.advance(by);
        self.clock.advance(by);
        self.latest = self.clock.now();
    }

    /// What a service makes of time that passes while its clock is wrong is not for the model to say.
    fn put_clock_right(&mut self) {
        if self.clock.now() < self.latest {
            self.clock.set(self.latest);
            self.program.set_clock(self.latest);
        }
    }

    async fn maintain(&mut self) -> Outcome {
        match self.subject.maintain().await {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => return self.differ("maintenance", "done", &error.to_string()),
        }
        self.model.maintain();
        self.program.maintain();
        self.compare(&observations_of_keys(KEYS)).await
    }

    async fn restart(&mut self) -> Outcome {
        self.put_clock_right();
        let users: Vec<_> = self.tested.sessions.keys().copied().collect();
        for user in users {
            self.drop_session(user);
        }
        match self.subject.restart().await {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => return self.differ("a restart", "done", &error.to_string()),
        }
        self.program.restart();
        // Who opens may want to see the clock run steadily for a while before it believes it.
        self.advance(CLOCK_SETTLE_TIME);
        self.compare(&observations_of_keys(KEYS)).await?;
        self.compare(&observations_of_people()).await
    }

    /// Asks both. Whose session has ended logs in and asks again.
    async fn ask(&mut self, user: &'static str, act: &Act) -> Outcome {
        match self.ready(user, act) {
            Some(ready) => self.ask_ready(user, &ready).await,
            None => Ok(()),
        }
    }

    async fn ask_ready(&mut self, user: &'static str, ready: &Ready) -> Outcome {
        if !self.has_session(user).await? {
            return Ok(());
        }
        let ended = self.ask_once(user, ready).await?;
        if ended && !matches!(ready.act, Act::ChangePassword { .. }) {
            self.drop_session(user);
            if self.has_session(user).await? {
                self.ask_once(user, ready).await?;
            }
        }
        Ok(())
    }

    /// Asks both once, and says whether the session had ended.
    async fn ask_once(&mut self, user: &'static str, ready: &Ready) -> Outcome<bool> {
        let found = self.tested.ask(user, ready).await;
        let kind = found.as_ref().err().map(|error| error.kind());
        if kind == Some(ErrorKind::Unsupported) && ready.act.needs_a_key_type() {
            return Ok(false); // not everybody has every type of key
        }
        let expected = self.expected.ask(user, ready).await;
        let broken = self.broken_promise(ready, &found);
        let (found_text, expected_text) = (
            broken.unwrap_or_else(|| self.tested.seen.write(&found)),
            self.expected.seen.write(&expected),
        );
        if found_text != expected_text {
            return Err(self.difference(user, ready, expected_text, found_text));
        }
        self.program.ask(user, ready, &expected_text);
        if expected.is_ok() {
            self.note(user, &ready.act);
        }
        Ok(kind == Some(ErrorKind::Unauthenticated))
    }

    /// What both must have in mind for later steps.
    fn note(&mut self, user: &'static str, act: &Act) {
        match act {
            Act::Use {
                key,
                operation,
                text,
            } => self.made.push(Made {
                by: *operation,
                key: *key,
                text,
            }),
            Act::Export { wrapping, .. } => self.made.push(Made {
                by: Use::Wrap,
                key: *wrapping,
                text: "",
            }),
            Act::CreateUser { user, password } => {
                self.passwords.insert(user, password);
            }
            Act::UpdateUser {
                user,
                how: super::step::How::Password(password),
            } => {
                self.passwords.insert(user, password);
            }
            Act::ChangePassword { new, .. } => {
                self.passwords.insert(user, new);
            }
            _ => {}
        }
        // Derived secrets are compared, not kept.
        self.made.truncate(self.expected.seen.products());
        // The current version may be another tomorrow.
        if let Some(last) = self.made.last_mut()
            && last.key.version.is_none()
        {
            let versions = self.expected.seen.versions_of(last.key.name);
            last.key.version = Some(versions);
        }
    }

    /// What the model cannot know: public halves stay, and signatures verify under them.
    fn broken_promise(&mut self, ready: &Ready, answer: &Result<Response>) -> Option<String> {
        match answer {
            Ok(Response::Key(info)) if self.tested.seen.public(info) != info.public.as_ref() => {
                Some("another public half than before".to_owned())
            }
            Ok(Response::Signature { bytes, version }) => {
                let Act::Use {
                    operation, text, ..
                } = &ready.act
                else {
                    return None;
                };
                let public = self.tested.seen.public_of(*version)?;
                let message = SignInput::Message(text.as_bytes());
                let verified = public.verify(operation.algorithm(), message, bytes);
                let broken = "a signature that its public half does not verify";
                verified.is_err().then(|| broken.to_owned())
            }
            _ => None,
        }
    }

    /// The act with everything that it refers to; `None` if that is not there.
    fn ready(&self, user: &str, act: &Act) -> Option<Ready> {
        let seen = &self.expected.seen;
        let which = |which: Which| match which.version {
            None => Some(which),
            Some(at) => {
                let version = number(at, seen.versions_of(which.name))?;
                Some(Which {
                    version: Some(version),
                    ..which
                })
            }
        };
        let mut act = act.clone();
        self.aim(&mut act);
        let mut made = None;
        match &mut act {
            Act::Get { key } | Act::Update { key, .. } => *key = which(*key)?,
            Act::Use { key, operation, .. } => {
                *key = which(*key)?;
                if *operation == Use::Natural {
                    *operation = self.natural(key.name);
                }
            }
            Act::Export { key, wrapping } => {
                *key = which(*key)?;
                *wrapping = which(*wrapping)?;
            }
            Act::Import { kind, .. } => *kind = kind.symmetric(),
            Act::ImportWrapped {
                wrapping, product, ..
            } => {
                *wrapping = which(*wrapping)?;
                let wrapped = |at: &usize| self.made[*at].by == Use::Wrap;
                let all: Vec<_> = (0..self.made.len()).filter(wrapped).collect();
                *product = all[all.len() - number(*product, all.len())?];
            }
            Act::ListVersions {
                key,
                after: Some(after),
                ..
            } => *after = number(*after, seen.versions_of(key))?,
            Act::Restore { backup, .. } => {
                *backup = seen.backups() - number(*backup, seen.backups())?;
            }
            Act::Check { product, key, .. } => {
                *product = self.made.len() - number(*product, self.made.len())?;
                made = Some(self.made[*product]);
                if let Some(key) = key {
                    *key = which(*key)?;
                }
            }
            _ => {}
        }
        let password = match act {
            Act::ChangePassword { right: false, .. } => "not the password",
            _ => self.password(user),
        };
        Some(Ready {
            act,
            now: self.clock.now(),
            password: password.to_owned(),
            made,
        })
    }

    /// Most steps are about a key that is there, or a name that is free: the others teach little. The first name of all
    /// stays what it is.
    fn aim(&self, act: &mut Act) {
        let (wanted, name) = match act {
            Act::Create { key, life, .. } if life.or_add_version => (Presence::Live, key),
            Act::Create { key, .. } | Act::Import { key, .. } | Act::ImportWrapped { key, .. } => {
                (Presence::Free, key)
            }
            Act::GetDeleted { key } | Act::Recover { key } | Act::Purge { key } => {
                (Presence::Deleted, key)
            }
            Act::ListVersions { key, .. }
            | Act::Rotate { key }
            | Act::GetPolicy { key }
            | Act::SetPolicy { key, .. }
            | Act::Backup { key }
            | Act::Delete { key } => (Presence::Live, key),
            Act::Get { key } | Act::Update { key, .. } | Act::Use { key, .. } => {
                (Presence::Live, &mut key.name)
            }
            Act::Export { key, wrapping } => {
                let transports = |name: &&str| {
                    let spec = self.expected.seen.spec(name);
                    spec.is_some_and(|spec| spec.usages.contains(Usage::Export))
                };
                wrapping.name = KEYS.into_iter().find(transports).unwrap_or(wrapping.name);
                (Presence::Live, &mut key.name)
            }
            _ => return,
        };
        if *name != KEYS[0] && self.model.presence(name) != wanted {
            let mut others = KEYS.into_iter().rev();
            let found = others.find(|other| self.model.presence(other) == wanted);
            *name = found.unwrap_or(name);
        }
    }

    /// What a key of its type does.
    fn natural(&self, name: &str) -> Use {
        let Some(spec) = self.expected.seen.spec(name) else {
            return Use::Sign;
        };
        match spec.key_type {
            KeyType::Aes256 if spec.usages.contains(Usage::Export) => Use::Wrap,
            KeyType::Aes256 => Use::Encrypt,
            KeyType::HmacSha256 => Use::Mac,
            KeyType::Kdk256 => Use::Derive,
            KeyType::X25519 => Use::Agree,
            KeyType::XWing => Use::Encapsulate,
            _ => Use::Sign,
        }
    }

    async fn compare(&mut self, observations: &[Act]) -> Outcome {
        for act in observations {
            let (before, versions) = (self.program.clone(), self.expected.seen.versions_seen());
            self.look(act).await?;
            // A program need not look where there is nothing new, unless the look keeps a session awake.
            let awake = self.shown == self.clock.now();
            let logged_in = self.program.logins() != before.logins();
            if awake && !logged_in && self.expected.seen.versions_seen() == versions {
                self.program = before;
            }
            self.shown = self.clock.now();
        }
        Ok(())
    }

    /// Asks as the administrator, exactly so.
    async fn look(&mut self, act: &Act) -> Outcome {
        let ready = Ready {
            act: act.clone(),
            now: self.clock.now(),
            password: String::new(),
            made: None,
        };
        self.ask_ready(ADMINISTRATOR, &ready).await
    }

    async fn has_session(&mut self, user: &'static str) -> Outcome<bool> {
        if self.tested.sessions.contains_key(user) {
            return Ok(true);
        }
        self.login(user, self.password(user)).await
    }

    async fn login(&mut self, user: &'static str, password: &str) -> Outcome<bool> {
        let service = self.subject.service();
        let tested = self.tested.login(service, user, password).await;
        let model = Arc::new(self.model.clone());
        let expected = self.expected.login(model, user, password).await;
        match (tested, expected) {
            (Ok(tested), Ok(expected)) => {
                self.program.login(user, password, None);
                self.tested.sessions.insert(user, tested);
                self.expected.sessions.insert(user, expected);
                Ok(true)
            }
            (tested, expected) => {
                let kind = |login: Result<_>| login.err().map(|error| error.kind());
                let (found, expected) = (kind(tested), kind(expected));
                self.program.login(user, password, expected);
                match found == expected {
                    true => Ok(false),
                    false => {
                        let (expected, found) = (login_text(expected), login_text(found));
                        self.differ(&format!("the login of {user}"), &expected, &found)?;
                        Ok(false)
                    }
                }
            }
        }
    }

    fn drop_session(&mut self, user: &str) {
        if self.tested.sessions.remove(user).is_some() {
            self.program.drop(user);
        }
        self.expected.sessions.remove(user);
    }

    fn password(&self, user: &str) -> &'static str {
        let known = self.passwords.get(user).copied();
        known.unwrap_or("the password of nobody")
    }

    fn difference(
        &self,
        user: &str,
        ready: &Ready,
        expected: String,
        found: String,
    ) -> Box<Difference> {
        let mut program = self.program.clone();
        program.remark(&format!("The model's answer. The service's was: {found}"));
        program.ask(user, ready, &expected);
        Box::new(Difference {
            step: format!("{:?} of {user}", ready.act),
            expected,
            found,
            program: program.finish(),
        })
    }

    fn differ(&self, step: &str, expected: &str, found: &str) -> Outcome {
        let mut program = self.program.clone();
        program.remark(&format!("At {step}, the service's answer was: {found}"));
        Err(Box::new(Difference {
            step: step.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
            program: program.finish(),
        }))
    }
}

/// What an act may change.
enum Changes {
    Nothing,
    Key(&'static str),
    Keys,
    People,
}

impl Act {
    fn changes(&self) -> Changes {
        match self {
            // Their answers say all that they do.
            Self::Get { .. }
            | Self::List { .. }
            | Self::ListVersions { .. }
            | Self::GetDeleted { .. }
            | Self::GetPolicy { .. }
            | Self::Use { .. }
            | Self::Check { .. }
            | Self::Export { .. }
            | Self::ListRoles
            | Self::ListAssignments { .. }
            | Self::Backup { .. }
            | Self::ListTokens
            | Self::ListUsers
            | Self::GetSettings => Changes::Nothing,
            Self::Restore { .. } => Changes::Keys,
            Self::Create { key, .. }
            | Self::Import { key, .. }
            | Self::ImportWrapped { key, .. }
            | Self::Rotate { key }
            | Self::SetPolicy { key, .. }
            | Self::Delete { key }
            | Self::Recover { key }
            | Self::Purge { key } => Changes::Key(key),
            Self::Update { key, .. } => Changes::Key(key.name),
            _ => Changes::People,
        }
    }

    const fn needs_a_key_type(&self) -> bool {
        matches!(
            self,
            Self::Create { .. } | Self::Import { .. } | Self::ImportWrapped { .. }
        )
    }
}

fn observations_of_keys(keys: impl IntoIterator<Item = &'static str>) -> Vec<Act> {
    let mut all = Vec::new();
    for key in keys {
        all.push(Act::ListVersions {
            key,
            after: None,
            limit: Some(100),
        });
        all.push(Act::GetPolicy { key });
    }
    for deleted in [false, true] {
        let page = Paging::default();
        all.push(Act::List { deleted, page });
    }
    all
}

fn observations_of_people() -> Vec<Act> {
    vec![
        Act::ListUsers,
        Act::ListTokens,
        Act::ListRoles,
        Act::ListAssignments { at: None },
        Act::GetSettings,
    ]
}

/// The number of the `at`th of `count`, from 1, and from the beginning again.
fn number(at: usize, count: usize) -> Option<usize> {
    (count > 0).then(|| at % count + 1)
}

fn login_text(kind: Option<ErrorKind>) -> String {
    kind.map_or_else(|| "logged in".to_owned(), |kind| format!("error: {kind:?}"))
}
