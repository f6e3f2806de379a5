//! The model's blocked readers: on each key first come, first served.

use super::{Bytes, Model, Value, WRONG_TYPE};
use crate::reply::{Reply, Wait};
use crate::workload::in_db;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub(super) struct Waiter {
    client: u64,
    db: u8,
    wait: Wait,
    /// Keys that are known to hold what is no stream.
    foreign: BTreeSet<Bytes>,
}

impl Model {
    /// Whether a blocked call that runs again may see the key.
    pub(super) fn is_in_hand(&self, key: &[u8]) -> bool {
        self.in_hand.as_ref().is_none_or(|hand| hand.holds(key))
    }

    /// Registers a reader.
    pub(crate) fn block(&mut self, client: u64, db: u8, wait: Wait) {
        for key in &wait.keys {
            self.retries.extend(wait.retry_at.map(|at| (at, db, key.clone())));
        }
        self.waiters.push(Waiter { client, db, wait, foreign: BTreeSet::new() });
    }

    /// Takes a reader's wait back.
    pub(crate) fn unblock(&mut self, client: u64) {
        self.waiters.retain(|waiter| waiter.client != client);
    }

    /// Forgets all who wait, as a crash does.
    pub(crate) fn forget_waits(&mut self) {
        self.waiters.clear();
        self.retries.clear();
        self.signals.clear();
    }

    /// Serves those who wait on signalled keys. `note` hears of each command that was run again.
    pub(crate) fn serve(&mut self, note: &mut dyn FnMut(&[Bytes])) -> Vec<(u64, Reply)> {
        let mut served = Vec::new();
        while !self.signals.is_empty() {
            for (db, key) in std::mem::take(&mut self.signals) {
                self.serve_key(db, &key, &mut served, note);
            }
        }
        served
    }

    /// Looks again at keys whose time for that has come, among those in hand.
    pub(crate) fn retry(&mut self, note: &mut dyn FnMut(&[Bytes])) -> Vec<(u64, Reply)> {
        let mut served = Vec::new();
        loop {
            let mine = |key: &Bytes| self.is_in_hand(key);
            let is_due = |(at, _, key): &&(u64, u8, Bytes)| *at <= self.now && mine(key);
            let due = self.retries.iter().find(is_due).cloned();
            let Some(due) = due else { return served };
            self.retries.remove(&due);
            self.serve_key(due.1, &due.2, &mut served, note);
        }
    }

    fn serve_key(
        &mut self,
        db: u8,
        key: &Bytes,
        served: &mut Vec<(u64, Reply)>,
        note: &mut dyn FnMut(&[Bytes]),
    ) {
        self.select(db);
        let is_string =
            matches!(self.keys.get(key).map(|held| &held.value), Some(Value::String(_)));
        let waits = |waiter: &Waiter| waiter.db == db && waiter.wait.keys.contains(key);
        for waiter in self.waiters.iter_mut().filter(|waiter| waits(waiter)) {
            if is_string {
                waiter.foreign.insert(key.clone());
            } else {
                waiter.foreign.remove(key);
            }
        }
        let on_key = self.waiters.iter().filter(|waiter| waits(waiter));
        let mut on_key: Vec<Waiter> = on_key.cloned().collect();
        // Groups go by themselves; the order among them changes nothing that can be seen.
        on_key.sort_by_key(|waiter| waiter.wait.group.clone());
        // Who found nothing, and for which idle time of CLAIM: `u64::MAX` without.
        let mut nothing_left: Option<(Option<Bytes>, u64)> = None;
        for waiter in on_key {
            let group = &waiter.wait.group;
            let is_stream =
                matches!(self.keys.get(key).map(|held| &held.value), Some(Value::Stream(_)));
            // Behind one who found nothing only those may find something that ask for less.
            let below = nothing_left.as_ref().filter(|(other, _)| other == group);
            let vain =
                below.is_some_and(|(_, below)| waiter.wait.claim.is_none_or(|ms| ms >= *below));
            if (group.is_none() && !is_stream) || (group.is_some() && vain) {
                continue;
            }
            let words = in_db(db, waiter.wait.words.clone());
            note(&words);
            let reply = self.run(&words);
            if let Reply::Waits(wait) = reply {
                self.retries.extend(wait.retry_at.map(|at| (at, db, key.clone())));
                let below = waiter.wait.claim.unwrap_or(u64::MAX);
                nothing_left = Some((group.clone(), below));
            } else {
                self.unblock(waiter.client);
                let unseen = |key: &Bytes| !self.is_in_hand(key);
                let refused = group.is_none() && waiter.foreign.iter().any(unseen);
                let wrong_type = Reply::Error(WRONG_TYPE.to_owned());
                served.push((waiter.client, if refused { wrong_type } else { reply }));
            }
        }
    }
}
