//! [`Answers`]: what was answered to requests that change something, so that a repetition gets the same answer and
//! nothing happens twice.
//!
//! A client that heard no answer repeats its request under the same `Idempotency-Key`. While the first is still worked
//! on, the repetition waits for it. The answers are in memory only: a server that was started again has another
//! `hsm-instance`, and a repetition that says `hsm-if-instance` is refused there.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use hsm_client::Principal;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::Outcome;

/// Whose request it is: in which partition, of which principal, under which key.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Slot {
    pub(crate) partition: Box<str>,
    pub(crate) principal: Principal,
    pub(crate) key: u128,
}

/// What is asked for: a hash of method, path, query and body.
pub(crate) type Fingerprint = [u8; 32];

/// The answers of the last minutes.
#[derive(Debug)]
pub(crate) struct Answers {
    max: usize,
    time: Duration,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_slot: HashMap<Slot, Entry>,
    /// The oldest first. An entry that is gone, or newer than this, is another's.
    by_age: VecDeque<(Instant, Slot)>,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    fingerprint: Fingerprint,
    /// `None` while it is worked on.
    answer: watch::Receiver<Option<Outcome>>,
}

/// A queue that is no longer than this is not looked through.
const QUEUE_LEN_MIN: usize = 64;

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Known {
    /// It is new: do it, and say what came of it.
    New(watch::Sender<Option<Outcome>>),
    /// It is a repetition: wait for this.
    Repeated(watch::Receiver<Option<Outcome>>),
    /// The key was used for another request.
    Other,
}

impl Answers {
    pub(crate) fn new(max: usize, time: Duration) -> Self {
        Self {
            max,
            time,
            kept: Mutex::default(),
        }
    }

    /// Looks a request up, and takes its place if it is new.
    pub(crate) fn look_up(&self, slot: &Slot, fingerprint: Fingerprint) -> Known {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        kept.forget_old(now, self.time, self.max);
        if let Some(entry) = kept.by_slot.get(slot) {
            if entry.fingerprint != fingerprint {
                return Known::Other;
            }
            return Known::Repeated(entry.answer.clone());
        }
        let (sender, answer) = watch::channel(None);
        let entry = Entry {
            since: now,
            fingerprint,
            answer,
        };
        kept.by_slot.insert(slot.clone(), entry);
        kept.by_age.push_back((now, slot.clone()));
        Known::New(sender)
    }

    /// Forgets a request that came to nothing, so that a repetition is carried out.
    pub(crate) fn forget(&self, slot: &Slot) {
        self.kept.lock().by_slot.remove(slot);
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.lock().by_slot.len()
    }
}

impl Kept {
    fn forget_old(&mut self, now: Instant, time: Duration, max: usize) {
        // What was forgotten meanwhile leaves the queue at its end only, unless there is more of it than of the rest.
        if self.by_age.len() > 2 * self.by_slot.len() + QUEUE_LEN_MIN {
            let by_slot = &self.by_slot;
            self.by_age.retain(|(since, slot)| {
                by_slot.get(slot).is_some_and(|entry| entry.since == *since)
            });
        }
        while let Some((since, slot)) = self.by_age.front() {
            let is_old = now.duration_since(*since) >= time;
            let gone = self
                .by_slot
                .get(slot)
                .is_none_or(|entry| entry.since != *since);
            if !(gone || is_old || self.by_slot.len() >= max) {
                return;
            }
            if !gone {
                self.by_slot.remove(slot);
            }
            self.by_age.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn slot(principal: &str, key: u128) -> Slot {
        Slot {
            partition: "dev.localhost".into(),
            principal: Principal::new(principal).unwrap(),
            key,
        }
    }

    fn new(known: Known) -> watch::Sender<Option<Outcome>> {
        match known {
            Known::New(sender) => sender,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_repetition_waits_for_the_answer_of_the_first() {
        let answers = Answers::new(10, Duration::from_secs(600));
        let first = new(answers.look_up(&slot("app", 1), [1; 32]));
        let Known::Repeated(mut repeated) = answers.look_up(&slot("app", 1), [1; 32]) else {
            panic!("it is no repetition");
        };
        let waiting = tokio::spawn(async move {
            let answer = repeated.wait_for(Option::is_some).await.unwrap();
            answer.as_ref().unwrap().status
        });
        first.send_replace(Some(Outcome::json(StatusCode::CREATED, "")));
        assert_eq!(waiting.await.unwrap(), StatusCode::CREATED);
    }

    #[test]
    fn another_body_another_principal_and_another_partition_are_other_requests() {
        let answers = Answers::new(10, Duration::from_secs(600));
        let _first = new(answers.look_up(&slot("app", 1), [1; 32]));
        assert!(matches!(
            answers.look_up(&slot("app", 1), [2; 32]),
            Known::Other
        ));
        new(answers.look_up(&slot("eve", 1), [1; 32]));
        let elsewhere = Slot {
            partition: "other.localhost".into(),
            ..slot("app", 1)
        };
        new(answers.look_up(&elsewhere, [1; 32]));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_forgotten_when_they_are_old_or_too_many() {
        let answers = Answers::new(2, Duration::from_secs(600));
        for key in 1..=3 {
            new(answers.look_up(&slot("app", key), [1; 32]));
        }
        assert_eq!(answers.len(), 2);
        new(answers.look_up(&slot("app", 1), [1; 32]));
        tokio::time::advance(Duration::from_secs(600)).await;
        new(answers.look_up(&slot("app", 1), [1; 32]));
        assert_eq!(answers.len(), 1);
    }

    #[test]
    fn what_came_to_nothing_takes_up_no_memory() {
        let answers = Answers::new(10, Duration::from_secs(600));
        let _first = new(answers.look_up(&slot("app", 0), [1; 32]));
        for key in 1..10_000 {
            new(answers.look_up(&slot("eve", key), [1; 32]));
            answers.forget(&slot("eve", key));
        }
        assert!(answers.kept.lock().by_age.len() <= 2 * QUEUE_LEN_MIN);
        assert!(matches!(
            answers.look_up(&slot("app", 0), [1; 32]),
            Known::Repeated(_)
        ));
    }

    #[test]
    fn what_came_to_nothing_is_done_again() {
        let answers = Answers::new(2, Duration::from_secs(600));
        new(answers.look_up(&slot("app", 1), [1; 32]));
        answers.forget(&slot("app", 1));
        new(answers.look_up(&slot("app", 1), [1; 32]));
        assert_eq!(answers.len(), 1);
    }
}
