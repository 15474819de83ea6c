//! Linearizability: whatever several callers do to one key at once, there is an order in which they could have done it
//! one after another.
//!
//! Calls are recorded with the moments at which they began and ended. A call that ended before another began comes before
//! it in the order; calls that overlap may come either way (Herlihy and Wing, 1990). The search is Wing and Gong's (1993),
//! with the memory of Lowe (2017): what was tried from the same place is not tried again.
//!
//! ```
//! use std::sync::Arc;
//!
//! use hsm_testkit::linear::check_linearizable;
//! use hsm_testkit::service::ServiceUnderTest;
//! use hsm_testkit::{ManualClock, Model};
//!
//! let service = ServiceUnderTest::new(Model::new(Arc::new(ManualClock::default())));
//! if let Err(violation) = check_linearizable(&[service], 8) {
//!     panic!("{violation}");
//! }
//! ```

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use futures_executor::block_on;
use hsm_core::audit::RequestId;
use hsm_core::lifecycle::{Event, State};
use hsm_core::{
    Algorithm, AttributesUpdate, Error, ErrorKind, KeyName, KeyRef, KeySpec, KeyType,
    NewKeyParameters, Request, Response, Result, Session, SignInput, Usage, Usages, VersionId,
};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::history::begin;
use crate::service::ServiceUnderTest;

/// Something that is done to a key, or to its current version.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Call {
    /// Soft-deletes the key.
    Delete,
    /// Reads the current version.
    Get,
    /// Brings the key back.
    Recover,
    /// Takes the current version back into use.
    Resume,
    /// Makes a new version.
    Rotate,
    /// Signs with the current version.
    Sign,
    /// Puts the current version aside.
    Suspend,
}

/// What came of a [`Call`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// This version is, or was made, the current one, and is suspended or not.
    Key {
        /// The version.
        version: VersionId,
        /// Whether it is suspended.
        suspended: bool,
    },
    /// This version signed.
    Signed(VersionId),
    /// It was refused.
    Refused(ErrorKind),
}

/// A call with its answer, and when both were.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "histories of other services are made of these"
)]
pub struct Operation {
    /// Who called.
    pub caller: usize,
    /// What was asked.
    pub call: Call,
    /// What was answered.
    pub answer: Answer,
    /// The moment before the call. No two moments of a history are the same.
    pub began: u64,
    /// The moment after the answer.
    pub ended: u64,
}

/// Most operations of one history that is checked.
pub const OPERATIONS_MAX: usize = 128;

/// The callers of a round, and how many calls each makes at most: few enough to be searched, and enough to meet.
const CALLERS: usize = 4;
const CALLS_MAX: usize = 10;

/// A history for which there is no order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// The operations, in the order in which they began.
    pub operations: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "there is no order in which this could have happened:")?;
        for one in &self.operations {
            let (began, ended, caller) = (one.began, one.ended, one.caller);
            let (call, answer) = (one.call, one.answer);
            writeln!(
                f,
                "{began:4} to {ended:4}: caller {caller}: {call:?} -> {answer:?}"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// Has several callers work on one key at once, and again on another key, `rounds` times, and looks for an order each
/// time. With several services, which must be the same HSM, callers are spread over them.
///
/// # Errors
///
/// The first history for which there is no order.
///
/// # Panics
///
/// If the services do not let the administrator in, or make no keys.
pub fn check_linearizable(
    services: &[ServiceUnderTest],
    rounds: u32,
) -> Result<(), Box<Violation>> {
    let sessions = sessions(services);
    let calls = [
        (1, Call::Delete),
        (4, Call::Get),
        (2, Call::Recover),
        (3, Call::Resume),
        (2, Call::Rotate),
        (6, Call::Sign),
        (3, Call::Suspend),
    ];
    let calls: Vec<_> = calls
        .into_iter()
        .flat_map(|(weight, call)| vec![call; weight])
        .collect();
    let scripts = vec_of(vec_of(select(calls), 1..=CALLS_MAX), CALLERS);
    let mut runner = TestRunner::default();
    for round in 0..rounds {
        let scripts = scripts.new_tree(&mut runner);
        let scripts = scripts.unwrap_or_else(|reason| panic!("there are no scripts: {reason}"));
        check_scripts(&sessions, &format!("key-{round}"), &scripts.current())?;
    }
    Ok(())
}

/// Has each script run by a caller of its own, at once, on a new key, and looks for an order.
fn check_scripts(
    sessions: &[Arc<dyn Session>],
    key: &str,
    scripts: &[Vec<Call>],
) -> Result<(), Box<Violation>> {
    let (first, operations) = record(sessions, key, scripts)
        .unwrap_or_else(|error| panic!("a key cannot be made: {error}"));
    match is_linearizable(first, &operations) {
        true => Ok(()),
        false => Err(Box::new(Violation { operations })),
    }
}

/// Makes a key and runs the scripts on it, each in a thread of its own. Returns the first version, and what happened.
///
/// # Errors
///
/// Whatever making the key returns.
///
/// # Panics
///
/// If there is no session.
pub fn record(
    sessions: &[Arc<dyn Session>],
    key: &str,
    scripts: &[Vec<Call>],
) -> Result<(VersionId, Vec<Operation>)> {
    let name = KeyName::new(key)?;
    let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign]))?;
    let create = Request::CreateKey {
        name: name.clone(),
        new: NewKeyParameters::new(spec),
    };
    let made = block_on(sessions[0].call(RequestId::default(), create))?;
    let Response::Key(made) = made else {
        return Err(strange("a key that was made"));
    };
    let clock = AtomicU64::new(0);
    let start = Barrier::new(scripts.len());
    let run = |caller: usize, script: &[Call]| {
        let session = &sessions[caller % sessions.len()];
        start.wait();
        let operations = script.iter().map(|call| {
            let began = clock.fetch_add(1, Ordering::SeqCst);
            let answer = block_on(answer(&**session, &name, *call));
            let ended = clock.fetch_add(1, Ordering::SeqCst);
            Operation {
                caller,
                call: *call,
                answer,
                began,
                ended,
            }
        });
        operations.collect::<Vec<_>>()
    };
    let run = &run;
    let mut operations = thread::scope(|scope| {
        let threads = scripts
            .iter()
            .enumerate()
            .map(|(caller, script)| scope.spawn(move || run(caller, script)));
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect::<Vec<_>>()
    });
    operations.sort_by_key(|operation| operation.began);
    Ok((made.version, operations))
}

/// Whether a key whose first version is `first` could have been through all of this in some order, given that what ended
/// before something else began came before it.
///
/// # Panics
///
/// With more than [`OPERATIONS_MAX`] operations.
#[must_use]
pub fn is_linearizable(first: VersionId, operations: &[Operation]) -> bool {
    assert!(
        operations.len() <= OPERATIONS_MAX,
        "a history of {} operations is too long to be searched",
        operations.len()
    );
    let search = Search { operations };
    let key = Key {
        current: first,
        suspended: false,
        deleted: false,
    };
    search.finish(0, key, &mut HashSet::new())
}

/// The key as one caller alone would see it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    current: VersionId,
    suspended: bool,
    deleted: bool,
}

impl Key {
    /// The key after an operation; `None` if it cannot have been answered so.
    fn after(mut self, call: Call, answer: Answer) -> Option<Self> {
        let refused = match (call, self.deleted, self.suspended) {
            (Call::Recover, deleted, _) => (!deleted).then_some(ErrorKind::NotFound),
            (_, true, _) => Some(ErrorKind::NotFound),
            (Call::Sign | Call::Rotate | Call::Suspend, _, true) | (Call::Resume, _, false) => {
                Some(ErrorKind::KeyState)
            }
            _ => None,
        };
        let changes = matches!(call, Call::Resume | Call::Rotate | Call::Suspend);
        let version = match (refused, answer) {
            // Too many others were at it.
            (_, Answer::Refused(ErrorKind::Conflict)) if changes => return Some(self),
            (Some(kind), answer) => return (answer == Answer::Refused(kind)).then_some(self),
            (None, Answer::Refused(_)) => return None,
            (None, Answer::Signed(version)) => {
                let right = call == Call::Sign && version == self.current;
                return right.then_some(self);
            }
            (None, Answer::Key { version, .. }) => version,
        };
        match call {
            Call::Delete => self.deleted = true,
            Call::Get => {}
            Call::Recover => self.deleted = false,
            Call::Resume => self.suspended = false,
            Call::Rotate if version == self.current => return None,
            Call::Rotate => self.current = version,
            Call::Sign => return None,
            Call::Suspend => self.suspended = true,
        }
        let shown = Answer::Key {
            version: self.current,
            suspended: self.suspended,
        };
        (answer == shown).then_some(self)
    }
}

struct Search<'a> {
    operations: &'a [Operation],
}

impl Search<'_> {
    /// Whether what is not in `done` can follow on `key`. What failed is remembered.
    fn finish(&self, done: u128, key: Key, failed: &mut HashSet<(u128, Key)>) -> bool {
        let open = || {
            let all = self.operations.iter().enumerate();
            all.filter(move |(at, _)| done >> at & 1 == 0)
        };
        // Whatever began before the first of them ended may be next.
        let Some(first_end) = open().map(|(_, one)| one.ended).min() else {
            return true;
        };
        if failed.contains(&(done, key)) {
            return false;
        }
        let next = open().filter(|(_, one)| one.began < first_end);
        let mut next: Vec<_> = next
            .filter_map(|(at, one)| Some((done | 1 << at, key.after(one.call, one.answer)?)))
            .collect();
        // What changes nothing is in nobody's way: it comes at once, and there is no other order to try.
        if let Some(looked) = next.iter().find(|(_, after)| *after == key) {
            next = vec![*looked];
        }
        for (done, after) in next {
            if self.finish(done, after, failed) {
                return true;
            }
        }
        failed.insert((done, key));
        false
    }
}

async fn answer(session: &dyn Session, name: &KeyName, call: Call) -> Answer {
    let name = name.clone();
    let update = |name: KeyName, event| Request::UpdateKey {
        key: name.into(),
        update: AttributesUpdate::new().event(event),
    };
    let request = match call {
        Call::Delete => Request::DeleteKey { name },
        Call::Get => Request::GetKey { key: name.into() },
        Call::Recover => Request::RecoverKey { name },
        Call::Resume => update(name, Event::Resume),
        Call::Rotate => Request::RotateKey { name },
        Call::Sign => Request::Sign {
            key: KeyRef::from(name),
            algorithm: Algorithm::Es256,
            input: SignInput::Message(b"one after another"),
        },
        Call::Suspend => update(name, Event::Suspend),
    };
    match session.call(RequestId::default(), request).await {
        Ok(Response::Key(info)) => Answer::Key {
            version: info.version,
            suspended: info.attributes.state == State::Suspended,
        },
        Ok(Response::Signature { version, .. }) => Answer::Signed(version),
        Ok(_) => Answer::Refused(ErrorKind::Unsupported),
        Err(error) => Answer::Refused(error.kind()),
    }
}

/// The administrator's sessions with the services. The first gives the roles.
fn sessions(services: &[ServiceUnderTest]) -> Vec<Arc<dyn Session>> {
    let open = |(at, service): (usize, &ServiceUnderTest)| {
        let opened = match at {
            0 => block_on(begin(service)).map(|(session, _)| session),
            _ => block_on(crate::history::log_in(service)),
        };
        opened.unwrap_or_else(|error| panic!("the administrator is not let in: {error}"))
    };
    services.iter().enumerate().map(open).collect()
}

fn strange(what: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: VersionId = VersionId::from_bytes([1; 16]);
    const V2: VersionId = VersionId::from_bytes([2; 16]);
    const ACTIVE: Answer = key(V1, false);
    const SUSPENDED: Answer = key(V1, true);

    const fn key(version: VersionId, suspended: bool) -> Answer {
        Answer::Key { version, suspended }
    }

    fn holds(operations: &[(Call, Answer, u64, u64)]) -> bool {
        let operations: Vec<_> = operations
            .iter()
            .enumerate()
            .map(|(caller, (call, answer, began, ended))| Operation {
                caller,
                call: *call,
                answer: *answer,
                began: *began,
                ended: *ended,
            })
            .collect();
        is_linearizable(V1, &operations)
    }

    #[test]
    fn what_overlaps_may_come_either_way() {
        let signed = (Call::Sign, Answer::Signed(V1));
        let refused = (Call::Sign, Answer::Refused(ErrorKind::KeyState));
        for (call, answer) in [signed, refused] {
            assert!(holds(&[
                (Call::Suspend, SUSPENDED, 0, 3),
                (call, answer, 1, 2)
            ]));
        }
        // Of two that overlap with it, the one that began later may come first.
        assert!(holds(&[
            (Call::Rotate, key(V2, false), 0, 5),
            (Call::Sign, Answer::Signed(V2), 1, 4),
            (Call::Get, ACTIVE, 2, 3),
        ]));
    }

    #[test]
    fn what_ended_before_comes_before() {
        assert!(!holds(&[
            (Call::Suspend, SUSPENDED, 0, 1),
            (Call::Sign, Answer::Signed(V1), 2, 3),
        ]));
        assert!(!holds(&[
            (Call::Rotate, key(V2, false), 0, 1),
            (Call::Get, ACTIVE, 2, 3),
        ]));
        assert!(!holds(&[
            (Call::Delete, ACTIVE, 0, 1),
            (Call::Get, ACTIVE, 2, 3),
        ]));
        assert!(holds(&[
            (Call::Delete, ACTIVE, 0, 1),
            (Call::Recover, ACTIVE, 2, 3),
            (Call::Get, ACTIVE, 4, 5),
        ]));
    }

    /// Each could be, but not both: no single order has the new version seen and then the old one.
    #[test]
    fn everybody_sees_the_same_order() {
        assert!(!holds(&[
            (Call::Rotate, key(V2, false), 0, 9),
            (Call::Get, key(V2, false), 1, 2),
            (Call::Get, ACTIVE, 3, 4),
        ]));
    }

    #[test]
    fn nothing_is_done_twice() {
        assert!(!holds(&[
            (Call::Suspend, SUSPENDED, 0, 2),
            (Call::Suspend, SUSPENDED, 1, 3),
        ]));
        assert!(!holds(&[
            (Call::Delete, ACTIVE, 0, 2),
            (Call::Delete, ACTIVE, 1, 3),
        ]));
        assert!(!holds(&[(Call::Recover, ACTIVE, 0, 1)]));
    }

    #[test]
    fn a_failure_that_nothing_explains_is_no_answer() {
        assert!(!holds(&[(
            Call::Get,
            Answer::Refused(ErrorKind::Damaged),
            0,
            1
        )]));
        // Nor may a call that nobody can disturb say that it was disturbed.
        let conflict = Answer::Refused(ErrorKind::Conflict);
        assert!(!holds(&[(Call::Sign, conflict, 0, 1)]));
        assert!(holds(&[(Call::Rotate, conflict, 0, 1)]));
    }

    /// A hundred callers at once: the search does not try every order of those that change nothing.
    #[test]
    fn long_histories_are_searched() {
        let mut operations: Vec<_> = (0..100)
            .map(|at| (Call::Get, ACTIVE, at, 1000 + at))
            .collect();
        operations.push((Call::Suspend, SUSPENDED, 100, 2000));
        assert!(holds(&operations));
        operations.push((Call::Get, key(V2, false), 101, 2001));
        assert!(!holds(&operations));
    }
}
