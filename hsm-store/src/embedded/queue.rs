//! The bounded queue between the tasks that ask for transactions and the thread that runs them.

use std::collections::VecDeque;

use futures_channel::oneshot;
use hsm_core::{Result, TransactBody};
use parking_lot::{Condvar, Mutex};

use super::limits::{BATCH_LEN_MAX, QUEUE_LEN_MAX};

/// A transaction that was asked for, and who waits for its outcome.
pub(crate) struct Job {
    pub(crate) body: TransactBody,
    pub(crate) answer: oneshot::Sender<Result<()>>,
}

#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Tasks that found the queue full. All are woken when there is room, so none depends on another still being there.
    waiting: Vec<oneshot::Sender<()>>,
    closed: bool,
}

impl Queue {
    /// Queues a job, waiting for room if there is none.
    pub(crate) async fn push(&self, job: Job) {
        let mut job = Some(job);
        while let Some(room) = self.try_push(&mut job) {
            // Dropped or sent, it means the same: try again.
            let _ = room.await;
        }
    }

    fn try_push(&self, job: &mut Option<Job>) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state.lock();
        if state.jobs.len() >= QUEUE_LEN_MAX {
            let (sender, receiver) = oneshot::channel();
            state.waiting.push(sender);
            return Some(receiver);
        }
        state.jobs.extend(job.take());
        self.arrived.notify_one();
        None
    }

    /// Waits for jobs and takes what is there. `None` when the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            self.arrived.wait(&mut state);
        }
        let count = state.jobs.len().min(BATCH_LEN_MAX);
        let jobs = state.jobs.drain(..count).collect();
        for waiting in state.waiting.drain(..) {
            // It may have given up.
            let _ = waiting.send(());
        }
        Some(jobs)
    }

    /// Lets [`take`](Self::take) end after the jobs that are queued.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_all();
    }
}
