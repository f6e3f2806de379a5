//! What children printed, and what must be found after it.
//!
//! | line | what was printed, when |
//! |---|---|
//! | `add? a b c` | before jobs are added, together |
//! | `add a b c` | when that was answered |
//! | `got a` | a job was delivered |
//! | `ack? a` | before it is acknowledged |
//! | `ack a` | when that was answered |

use std::collections::{BTreeMap, BTreeSet};

/// All of it, over all lives.
#[derive(Default)]
pub(crate) struct Ledger {
    /// What was tried together.
    batches: Vec<Vec<String>>,
    tried: BTreeSet<String>,
    added: BTreeSet<String>,
    tried_to_ack: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

/// What a directory holds.
pub(crate) struct Found {
    /// The jobs that are in the stream, in its order.
    pub(crate) jobs: Vec<String>,
    /// Those that the group would still hand out; `None` if there is no group.
    pub(crate) left: Option<Vec<String>>,
    /// How many of the last must be there, if older ones are trimmed.
    pub(crate) kept: Option<usize>,
}

impl Ledger {
    /// Reads a line.
    pub(crate) fn note(&mut self, line: &str) {
        let mut words = line.split(' ').map(str::to_owned);
        let what = words.next().unwrap();
        let jobs: Vec<String> = words.collect();
        match what.as_str() {
            "add?" => {
                self.tried.extend(jobs.iter().cloned());
                self.batches.push(jobs);
            }
            "add" => self.added.extend(jobs),
            "got" => {
                for job in jobs {
                    assert!(self.tried.contains(&job), "{job} came from nowhere");
                    assert!(!self.acknowledged.contains(&job), "{job} comes after its ack");
                }
            }
            "ack?" => self.tried_to_ack.extend(jobs),
            "ack" => self.acknowledged.extend(jobs),
            _ => panic!("a child printed {line}"),
        }
    }

    /// Nothing that was acknowledged is lost, or there twice.
    pub(crate) fn compare(&self, found: &Found, what: &str) {
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for job in &found.jobs {
            assert!(self.tried.contains(job), "{what}: {job} came from nowhere");
            *counts.entry(job).or_default() += 1;
        }
        for (job, count) in &counts {
            assert_eq!(*count, 1, "{what}: {job} is there more than once");
        }
        if let Some(kept) = found.kept {
            // It was added by one, in the order of its numbers.
            let tried: Vec<&String> = self.batches.iter().flatten().collect();
            let last = &tried[tried.len().saturating_sub(kept)..];
            for job in last.iter().filter(|job| self.added.contains(**job)) {
                assert!(counts.contains_key(job), "{what}: {job} was added and is lost");
            }
            return;
        }
        let left: BTreeSet<&String> = found.left.iter().flatten().collect();
        if let Some(list) = &found.left {
            assert_eq!(left.len(), list.len(), "{what}: a job would come twice");
            for job in &self.acknowledged {
                assert!(!left.contains(job), "{what}: {job} would come after its ack");
            }
        }
        let is_there = |job: &String| match found.left {
            Some(_) => left.contains(job) || self.tried_to_ack.contains(job),
            None => counts.contains_key(job),
        };
        for job in &self.added {
            assert!(is_there(job), "{what}: {job} was added and is lost");
        }
        for batch in &self.batches {
            let count = batch.iter().filter(|job| is_there(job)).count();
            assert!(count == 0 || count == batch.len(), "{what}: {batch:?} is there in part");
        }
    }
}
