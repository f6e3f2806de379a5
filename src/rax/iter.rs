//! Walks over a [`Rax`](super::Rax): ascending, descending, and by rank of the summaries.

use super::{Child, Link, Measure};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::slice;

/// Keys and values, ascending.
#[derive(Clone)]
pub struct Iter<'a, V: Measure> {
    open: Vec<slice::Iter<'a, Link<V>>>,
}

/// Keys and values, descending.
#[derive(Clone)]
pub struct IterBack<'a, V: Measure> {
    open: Vec<slice::Iter<'a, Link<V>>>,
}

impl<'a, V: Measure> Iter<'a, V> {
    /// Lets `links` come before all that is still to come.
    pub(super) fn push(&mut self, links: &'a [Link<V>]) {
        if !links.is_empty() {
            self.open.push(links.iter());
        }
    }
}

impl<'a, V: Measure> IterBack<'a, V> {
    /// Lets `links`, from the last to the first, come before all that is still to come.
    pub(super) fn push(&mut self, links: &'a [Link<V>]) {
        if !links.is_empty() {
            self.open.push(links.iter());
        }
    }
}

impl<V: Measure> Default for Iter<'_, V> {
    fn default() -> Self {
        Iter { open: Vec::new() }
    }
}

impl<V: Measure> Default for IterBack<'_, V> {
    fn default() -> Self {
        IterBack { open: Vec::new() }
    }
}

impl<'a, V: Measure> Iterator for Iter<'a, V> {
    type Item = (&'a [u8], &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(links) = self.open.last_mut() {
            match links.next().map(|link| &link.child) {
                None => drop(self.open.pop()),
                Some(Child::Leaf(key, value)) => return Some((key.bytes(), value)),
                Some(Child::Branch(branch)) => self.open.push(branch.links.iter()),
            }
        }
        None
    }
}

impl<'a, V: Measure> Iterator for IterBack<'a, V> {
    type Item = (&'a [u8], &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(links) = self.open.last_mut() {
            match links.next_back().map(|link| &link.child) {
                None => drop(self.open.pop()),
                Some(Child::Leaf(key, value)) => return Some((key.bytes(), value)),
                Some(Child::Branch(branch)) => self.open.push(branch.links.iter()),
            }
        }
        None
    }
}

/// Values by ascending rank: see [`Rax::ranked`](super::Rax::ranked).
pub struct Ranked<'a, V: Measure, K, F> {
    open: BinaryHeap<Candidate<'a, V, K>>,
    limit: K,
    rank: F,
}

/// A subtree whose values are still to come. The greatest in the heap is the one of least rank.
struct Candidate<'a, V: Measure, K> {
    rank: K,
    link: &'a Link<V>,
}

impl<'a, V: Measure, K: Ord, F: Fn(V::Summary) -> K> Ranked<'a, V, K, F> {
    pub(super) fn new(root: Option<&'a Link<V>>, limit: K, rank: F) -> Self {
        let mut ranked = Ranked { open: BinaryHeap::new(), limit, rank };
        ranked.extend(root.map_or(&[], slice::from_ref));
        ranked
    }

    /// Whether a value may be still to come whose rank and key are before these.
    pub fn may_precede(&self, rank: &K, key: &[u8]) -> bool {
        self.open.peek().is_some_and(|next| match next.rank.cmp(rank) {
            Ordering::Less => true,
            Ordering::Equal => next.link.first().0 < key,
            Ordering::Greater => false,
        })
    }

    fn extend(&mut self, links: &'a [Link<V>]) {
        for link in links {
            let rank = (self.rank)(link.summary);
            if rank <= self.limit {
                self.open.push(Candidate { rank, link });
            }
        }
    }
}

impl<'a, V: Measure, K: Ord, F: Fn(V::Summary) -> K> Iterator for Ranked<'a, V, K, F> {
    type Item = (&'a [u8], &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match &self.open.pop()?.link.child {
                Child::Leaf(key, value) => return Some((key.bytes(), value)),
                Child::Branch(branch) => self.extend(&branch.links),
            }
        }
    }
}

impl<V: Measure, K: Ord> Ord for Candidate<'_, V, K> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Subtrees in the heap are disjoint, so their first keys order them.
        let by_rank = other.rank.cmp(&self.rank);
        by_rank.then_with(|| other.link.first().0.cmp(self.link.first().0))
    }
}

impl<V: Measure, K: Ord> PartialOrd for Candidate<'_, V, K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<V: Measure, K: Ord> PartialEq for Candidate<'_, V, K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<V: Measure, K: Ord> Eq for Candidate<'_, V, K> {}
