//! Commands over several shards: the borrower.
//!
//! Each thread has one. It takes all such commands that its connections have queued, borrows the
//! union of their shards once, in ascending order, runs them one after the other as one shard
//! would, appends once, and sends the shards home. Ascending order makes a cycle impossible: who
//! holds shards waits only for greater ones.

use super::hands;
use super::home::{Home, Message};
use crate::error::{Error, StorageError};
use crate::persist::Position;
use crate::shard::{Shard, Turn};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use tokio::sync::oneshot;

/// How many commands share one borrowing, at most.
const JOBS_MAX: usize = 256;

type Work = Box<dyn FnOnce(&mut Turn<'_, '_>) -> Report>;
/// Tells the one who asked, when the log has what the command changed.
type Report = Box<dyn FnOnce(Result<Position, StorageError>)>;

/// A command that wants several shards.
pub(super) struct Job {
    shards: Vec<usize>,
    work: Work,
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
    pub(super) async fn borrow<R: 'static>(
        self: &Rc<Self>,
        shards: &[usize],
        work: impl FnOnce(&mut Turn<'_, '_>) -> R + 'static,
    ) -> Result<(R, Position), Error> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |turn| {
            let done = work(turn);
            Box::new(move |position: Result<Position, StorageError>| {
                // The client may be gone; then nobody needs to know.
                drop(answer.send(position.map(|position| (done, position))));
            })
        });
        self.jobs.borrow_mut().push_back(Job { shards: shards.to_vec(), work });
        self.job_wanted.notify_one();
        Ok(answered.await.map_err(|_| Error::Stopped)??)
    }

    /// Serves the thread's jobs as long as it lives.
    pub(super) async fn serve_borrowers(self: Rc<Self>) {
        loop {
            if self.jobs.borrow().is_empty() {
                self.job_wanted.notified().await;
                continue;
            }
            let jobs: Vec<Job> = {
                let mut queue = self.jobs.borrow_mut();
                let n = queue.len().min(JOBS_MAX);
                queue.drain(..n).collect()
            };
            if self.serve_jobs(jobs).await.is_err() {
                // Another thread has stopped: so will this one.
                return;
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
        for report in reports {
            report(position.clone());
        }
        Ok(())
    }

    /// Borrows these shards in ascending order; `own` is where this thread's comes back.
    async fn borrow_all(
        &self,
        shards: BTreeSet<usize>,
        loans: &mut Vec<Loan>,
        own: &mut Option<oneshot::Receiver<Box<Shard>>>,
    ) -> Result<(), Error> {
        for index in shards {
            if index == self.index() {
                let (loan, returned) = Loan::new(self.take_shard().await);
                *own = Some(returned);
                loans.push(loan);
            } else {
                let (lent, loan) = oneshot::channel();
                self.core().send(index, Message::Lend(lent))?;
                loans.push(loan.await.map_err(|_| Error::Stopped)?);
            }
        }
        Ok(())
    }

    /// Runs the jobs as one turn; gives whom to tell, and where the log is then.
    fn run_jobs(
        &self,
        loans: &mut [Loan],
        jobs: Vec<Job>,
    ) -> (Vec<Report>, Result<Position, StorageError>) {
        let _in_hand = self.core().in_hand();
        if self.core().has_panicked() {
            return (Vec::new(), Err(hands::panicked()));
        }
        let mut shards: Vec<&mut Shard> = loans.iter_mut().map(|loan| &mut **loan).collect();
        let mut turn = Turn::new(&mut shards, self.core().now());
        let reports = jobs.into_iter().map(|job| (job.work)(&mut turn)).collect();
        (reports, turn.end(self.core().aof()))
    }
}
