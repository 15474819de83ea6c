//! Histories: any sequence of requests, at any time, run by a service and by the [`Model`] side by side.
//!
//! Keys are made, used, changed, rotated, deleted, recovered and purged; users come and go, roles and settings change; time
//! passes, what is due is done, and the service is opened again. After every step both have answered the same, in words
//! of a [`Transcript`], and both show the same keys, users and roles. A history that ends otherwise is made as short as
//! it can be, and printed as a program that repeats it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use hsm_testkit::history::{Histories, check_histories};
//! use hsm_testkit::{ManualClock, Model};
//!
//! // In your tests: a new service each time, whose only user is `hsm_testkit::service::ADMINISTRATOR`.
//! let make = async |clock: Arc<ManualClock>| Model::new(clock);
//! if let Err(difference) = check_histories(make, Histories::of_keys().cases(4)) {
//!     panic!("{difference}");
//! }
//! ```
//!
//! [`history_conformance!`](crate::history_conformance) makes the two tests of it that a service should have.

mod program;
mod request;
mod run;
mod step;
#[cfg(test)]
mod tests;
mod transcript;

use std::cell::RefCell;
use std::env;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_executor::block_on;
use hsm_core::audit::RequestId;
use hsm_core::policy::{ActionSet, BuiltInRole, DataAction, RoleDefinition, RoleId, Scope};
use hsm_core::{Credentials, Error, ErrorKind, Request, Result, Service, Session};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

pub use self::transcript::Transcript;
use crate::service::{ADMINISTRATOR, PASSWORD, ServiceUnderTest};
use crate::{ManualClock, Model};

/// A service to be compared with the model, and what can be done to it from outside.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The service, as it is open now.
    fn service(&self) -> Arc<dyn Service>;

    /// Does what is due: rotation by policy, and purge. `false` if nobody but the service itself can have it done;
    /// then histories go on without.
    ///
    /// # Errors
    ///
    /// Whatever the service returns.
    async fn maintain(&self) -> Result<bool> {
        Ok(false)
    }

    /// Drops the service, and opens it again on what it kept. `false` if that cannot be done. Sessions were dropped
    /// before.
    ///
    /// # Errors
    ///
    /// Whatever opening returns.
    async fn restart(&mut self) -> Result<bool> {
        Ok(false)
    }
}

#[async_trait]
impl Subject for ServiceUnderTest {
    fn service(&self) -> Arc<dyn Service> {
        self.service.clone()
    }
}

#[async_trait]
impl Subject for Model {
    fn service(&self) -> Arc<dyn Service> {
        Arc::new(self.clone())
    }

    async fn maintain(&self) -> Result<bool> {
        Self::maintain(self);
        Ok(true)
    }

    async fn restart(&mut self) -> Result<bool> {
        Ok(true)
    }
}

/// What happened, step by step. Made by [`Histories`]; prints its steps.
#[derive(Clone)]
pub struct History(Vec<step::Step>);

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// Which histories, and how many of them.
#[derive(Clone, Debug)]
#[must_use]
pub struct Histories {
    cases: u32,
    steps: usize,
    people: bool,
}

impl Histories {
    /// The lives of keys: one caller, who may do everything.
    pub const fn of_keys() -> Self {
        Self {
            cases: 128,
            steps: 32,
            people: false,
        }
    }

    /// Users, roles and settings that change while keys are used. Slower, where logging in costs what it should.
    pub const fn of_people() -> Self {
        Self {
            cases: 48,
            steps: 32,
            people: true,
        }
    }

    /// So many histories. The variable `PROPTEST_CASES` says otherwise.
    pub const fn cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// At most so many steps in each; some are phrases of three.
    pub const fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// The histories, for tests of your own.
    pub fn strategy(&self) -> impl Strategy<Value = History> + use<> {
        let steps = match self.people {
            false => step::of_keys(self.steps).boxed(),
            true => step::of_people(self.steps).boxed(),
        };
        steps.prop_map(History)
    }
}

/// Where a service and the model part. Prints both answers, and the program that repeats them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Difference {
    /// What was asked last.
    pub step: String,
    /// What the model answers.
    pub expected: String,
    /// What the service answered.
    pub found: String,
    /// A program that ends in the same difference. Rust, to be pasted into a test.
    pub program: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the service does not do as the model at {}", self.step)?;
        writeln!(f, "the model:   {}", self.expected)?;
        writeln!(f, "the service: {}", self.found)?;
        write!(f, "this program repeats it:\n\n{}", self.program)
    }
}

impl std::error::Error for Difference {}

/// Runs `histories` on services that `make` makes and on the model. `make` is given the clock that its service goes by.
///
/// # Errors
///
/// The shortest history that was found on which the two differ.
///
/// # Panics
///
/// If the histories cannot be made at all.
pub fn check_histories<S: Subject>(
    make: impl AsyncFn(Arc<ManualClock>) -> S,
    histories: Histories,
) -> Result<(), Box<Difference>> {
    let mut config = Config {
        cases: histories.cases,
        failure_persistence: None,
        ..Config::default()
    };
    if env::var_os("PROPTEST_CASES").is_some() {
        config.cases = Config::default().cases;
    }
    let last = RefCell::new(None);
    let outcome = TestRunner::new(config).run(&histories.strategy(), |history| {
        block_on(check_history(&make, &history)).map_err(|difference| {
            *last.borrow_mut() = Some(difference);
            TestCaseError::fail("the service does not do as the model")
        })
    });
    match outcome {
        Ok(()) => Ok(()),
        // The last to fail is not always the shortest: run that one again.
        Err(TestError::Fail(_, shortest)) => {
            block_on(check_history(&make, &without_needless(&make, shortest)))?;
            Err(last
                .into_inner()
                .unwrap_or_else(|| unreachable!("a history failed, so that there is a difference")))
        }
        Err(TestError::Abort(reason)) => panic!("there are no histories: {reason}"),
    }
}

/// Takes steps away, alone and in pairs, until each that is left is needed: shrinking tries each only once, some before
/// others were gone.
fn without_needless<S: Subject>(
    make: &impl AsyncFn(Arc<ManualClock>) -> S,
    mut history: History,
) -> History {
    let shorter = |history: &History| {
        let len = history.0.len();
        let pairs = (0..len).flat_map(|one| (one..len).map(move |other| (one, other)));
        pairs
            .map(|(one, other)| {
                let mut shorter = history.clone();
                shorter.0.remove(other);
                if one != other {
                    shorter.0.remove(one);
                }
                shorter
            })
            .find(|shorter| block_on(check_history(make, shorter)).is_err())
    };
    while let Some(found) = shorter(&history) {
        history = found;
    }
    history
}

/// Runs one history on a service that `make` makes and on the model.
///
/// # Errors
///
/// The first difference.
pub async fn check_history<S: Subject>(
    make: impl AsyncFn(Arc<ManualClock>) -> S,
    history: &History,
) -> Result<(), Box<Difference>> {
    let clock = Arc::new(ManualClock::default());
    let subject = make(clock.clone()).await;
    run::Run::new(subject, clock).run(&history.0).await
}

/// Begins a history: the administrator logs in, and gets the roles that there are for keys, and one to export them.
///
/// # Errors
///
/// Whatever the service returns.
pub async fn begin(subject: &impl Subject) -> Result<(Arc<dyn Session>, Transcript)> {
    let session = log_in(subject).await?;
    let mut seen = Transcript::default();
    let export = ActionSet::of(&[DataAction::KeyExport]);
    let exporter = RoleDefinition::new(RoleId::from_u128(0xe), "Exporter", "", export)?;
    let role = exporter.id;
    let requests = [
        Request::ListRoleAssignments { scope: None },
        Request::PutRoleDefinition {
            definition: exporter,
        },
        assign_to_administrator(BuiltInRole::CryptoUser.id())?,
        assign_to_administrator(BuiltInRole::CryptoOfficer.id())?,
        assign_to_administrator(role)?,
    ];
    for request in requests {
        let answer = session.call(RequestId::default(), request).await?;
        seen.write(&Ok(answer));
    }
    Ok((session, seen))
}

/// The administrator's session.
pub(crate) async fn log_in(subject: &impl Subject) -> Result<Arc<dyn Session>> {
    let credentials = Credentials::password(ADMINISTRATOR, PASSWORD)?;
    subject.service().login(credentials).await
}

fn assign_to_administrator(role: RoleId) -> Result<Request<'static>> {
    Ok(Request::CreateRoleAssignment {
        id: None,
        role,
        principal: ADMINISTRATOR.parse()?,
        scope: Scope::Global,
    })
}

/// The bytes with one bit changed: what no service takes for its own.
#[must_use]
pub fn edited(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(last) = bytes.last_mut() {
        *last ^= 0x80;
    }
    bytes
}

/// Makes two `#[test]`s, with histories of keys and of people. The expression is an async closure from the clock to a
/// [`Subject`].
///
/// ```
/// use std::sync::Arc;
/// use hsm_testkit::{ManualClock, Model};
///
/// hsm_testkit::history_conformance!(async |clock: Arc<ManualClock>| Model::new(clock));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! history_conformance {
    ($make:expr) => {
        #[cfg(test)]
        #[test]
        fn keys_live_as_in_the_model() {
            let checked =
                $crate::history::check_histories($make, $crate::history::Histories::of_keys());
            if let Err(difference) = checked {
                panic!("{difference}");
            }
        }

        #[cfg(test)]
        #[test]
        fn people_may_what_they_may_in_the_model() {
            let checked =
                $crate::history::check_histories($make, $crate::history::Histories::of_people());
            if let Err(difference) = checked {
                panic!("{difference}");
            }
        }
    };
}

/// Everything that a printed program uses.
pub mod prelude {
    pub use std::time::Duration;

    pub use hsm_core::audit::RequestId;
    pub use hsm_core::lifecycle::Event;
    pub use hsm_core::policy::{ActionSet, DataAction, RoleDefinition, RotationPolicy, Scope};
    pub use hsm_core::{
        Algorithm, AttributesUpdate, CiphertextRef, Credentials, ErrorKind, IfTaken, KeyRef,
        KeySpec, KeyType, NewKeyParameters, PageRequest, PublicKey, Request, Result, SecretBytes,
        Service, Session, SettingsUpdate, SignInput, Tags, Timestamp, Usage, Usages, UserUpdate,
        WrappedFormat,
    };

    pub use super::{Subject, Transcript, begin, edited};
    pub use crate::ManualClock;
}

fn impossible() -> Error {
    Error::new(ErrorKind::InvalidInput, "a step of a history is impossible")
}
