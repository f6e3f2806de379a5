//! Commands over several shards: the borrower.
//!
//! There is one at a time: the thread where such a command is queued while there is none. It takes
//! all that any thread has queued, borrows the union of their shards, runs them one after the other
//! as one shard would, appends once, and sends the shards home; then it looks again. As nobody else
//! holds shards of others, nobody waits in a circle, and all are asked for at once.
//!
//! Threads that sleep are what this costs: each borrowing wakes every one once to lend, and once
//! to take its shard back with all answers for its connections. A borrower for each thread would
//! wait for the others' and wake all that often.

use super::hands;
use super::home::{Home, Message};
use crate::error::{Error, StorageError};
use crate::persist::Position;
use crate::shard::{Shard, Turn};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// How many commands share one borrowing, at most.
const JOBS_MAX: usize = 256;

type Work = Box<dyn FnOnce(&mut Turn<'_, '_>) -> Report + Send>;
/// Tells the one who asked, when the log has what the command changed.
type Report = Box<dyn FnOnce(Result<Position, StorageError>) + Send>;

/// A command that wants several shards.
struct Job {
    /// Whose command it is.
    thread: usize,
    shards: Vec<usize>,
    work: Work,
}

/// The commands that want several shards, of all threads.
#[derive(Default)]
pub(super) struct Jobs {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    /// Whether a thread is at it.
    is_served: bool,
}

impl Jobs {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a command; whether its thread is to serve the queue.
    fn push(&self, job: Job) -> bool {
        let mut queue = self.queue();
        queue.jobs.push(job);
        !std::mem::replace(&mut queue.is_served, true)
    }

    /// The next commands. If there are none, another thread may serve the queue.
    fn next(&self) -> Vec<Job> {
        let mut queue = self.queue();
        queue.is_served = !queue.jobs.is_empty();
        let n = queue.jobs.len().min(JOBS_MAX);
        queue.jobs.drain(..n).collect()
    }

    /// Forgets all that is queued, which tells those who asked that a thread has stopped.
    pub(super) fn clear(&self) {
        // Outside of the lock: what a job held may be anything.
        let jobs = std::mem::take(&mut self.queue().jobs);
        drop(jobs);
    }
}

/// A shard on loan; it goes home when this is dropped.
pub(crate) struct Loan {
    shard: Option<Box<Shard>>,
    home: Option<oneshot::Sender<Box<Shard>>>,
}

impl Loan {
    /// A loan, and where the shard comes back.
    pub(super) fn new(shard: Box<Shard>) -> (Loan, oneshot::Receiver<Box<Shard>>) {
        let (home, returned) = oneshot::channel();
        (Loan { shard: Some(shard), home: Some(home) }, returned)
    }
}

impl Deref for Loan {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        self.shard.as_deref().expect("a loan holds its shard until it is dropped")
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Shard {
        self.shard.as_deref_mut().expect("a loan holds its shard until it is dropped")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let (Some(shard), Some(home)) = (self.shard.take(), self.home.take()) {
            // The home is gone only when its thread has stopped.
            drop(home.send(shard));
        }
    }
}

impl Home {
    /// Runs `work` with these shards borrowed.
    pub(super) async fn borrow<R: Send + 'static>(
        self: &Rc<Self>,
        shards: &[usize],
        work: impl FnOnce(&mut Turn<'_, '_>) -> R + Send + 'static,
    ) -> Result<(R, Position), Error> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |turn| {
            let done = work(turn);
            Box::new(move |position: Result<Position, StorageError>| {
                // The client may be gone; then nobody needs to know.
                drop(answer.send(position.map(|position| (done, position))));
            })
        });
        if self.core().jobs.push(Job { thread: self.index(), shards: shards.to_vec(), work }) {
            self.job_wanted.notify_one();
        }
        Ok(answered.await.map_err(|_| Error::Stopped)??)
    }

    /// Serves jobs whenever it falls to this thread, as long as that lives.
    pub(super) async fn serve_borrowers(self: Rc<Self>) {
        loop {
            self.job_wanted.notified().await;
            loop {
                let jobs = self.core().jobs.next();
                if jobs.is_empty() {
                    break;
                }
                if self.serve_jobs(jobs).await.is_err() {
                    // Another thread has stopped: so will this one.
                    self.core().jobs.clear();
                    return;
                }
                // First those whose commands have waited for this thread's shard alone.
                tokio::task::yield_now().await;
            }
        }
    }

    async fn serve_jobs(self: &Rc<Self>, jobs: Vec<Job>) -> Result<(), Error> {
        let union: BTreeSet<usize> =
            jobs.iter().flat_map(|job| job.shards.iter().copied()).collect();
        let mut loans: Vec<Loan> = Vec::with_capacity(union.len());
        let mut own = None;
        let borrowed = self.borrow_all(union, &mut loans, &mut own).await;
        let done = borrowed.map(|()| {
            let done = self.run_jobs(&mut loans, jobs);
            loans.iter_mut().for_each(|loan| self.hand_on(loan));
            done
        });
        drop(loans);
        // Also when another thread has stopped: this one cannot stop without its shard.
        if let Some(mut own) = own
            && let Ok(shard) = own.try_recv()
        {
            self.return_shard(shard);
        }
        let (reports, position) = done?;
        for (thread, reports) in reports.into_iter().enumerate() {
            let position = position.clone();
            let tell = move || reports.into_iter().for_each(|report| report(position.clone()));
            if thread == self.index() {
                tell();
            } else {
                // A thread that has stopped has nobody to tell.
                drop(self.core().call(thread, move |_| tell()));
            }
        }
        Ok(())
    }

    /// Borrows these shards; `own` is where this thread's comes back.
    async fn borrow_all(
        &self,
        shards: BTreeSet<usize>,
        loans: &mut Vec<Loan>,
        own: &mut Option<oneshot::Receiver<Box<Shard>>>,
    ) -> Result<(), Error> {
        let mut promised = Vec::with_capacity(shards.len());
        for index in shards {
            let (lent, loan) = oneshot::channel();
            promised.push(loan);
            if index == self.index() {
                let (loan, returned) = Loan::new(self.take_shard().await);
                *own = Some(returned);
                drop(lent.send(loan));
            } else {
                self.core().send(index, Message::Lend(lent))?;
            }
        }
        for loan in promised {
            loans.push(loan.await.map_err(|_| Error::Stopped)?);
        }
        Ok(())
    }

    /// Runs the jobs as one turn; gives whom to tell, for each thread, and where the log is then.
    fn run_jobs(
        &self,
        loans: &mut [Loan],
        jobs: Vec<Job>,
    ) -> (Vec<Vec<Report>>, Result<Position, StorageError>) {
        let _in_hand = self.core().in_hand();
        if self.core().has_panicked() {
            return (Vec::new(), Err(hands::panicked()));
        }
        let mut shards: Vec<&mut Shard> = loans.iter_mut().map(|loan| &mut **loan).collect();
        let mut turn = Turn::new(&mut shards, self.core().now());
        let mut reports: Vec<Vec<Report>> = Vec::new();
        reports.resize_with(self.core().shards(), Vec::new);
        for job in jobs {
            reports[job.thread].push((job.work)(&mut turn));
        }
        let position = turn.end(self.core().aof());
        self.core().log_has_grown(&position);
        (reports, position)
    }
}
