//! A persistent radix tree from byte keys to values: O(1) clone, copy on write, and a summary of
//! every subtree.
//!
//! Keys are read four bits at a time. A key that has ended reads as digit 0, a nibble `n` as
//! digit `n + 1`, so a key sorts before those it is a prefix of and digits sort as bytes do:
//!
//! ```text
//!  root ── Branch at 3 ─┬─ digit 0 ── Leaf (key, value)     a branch tells the digit number at
//!                       ├─ digit 5 ── Branch at 9 ── …      which its keys first differ; what they
//!                       └─ digit 16 ─ Leaf (key, value)     share stands in the leaves alone
//! ```
//!
//! A branch has a bitmap of its digits and one link per bit, in order. A link is a leaf itself
//! (keys of up to 22 bytes stand in it) or points to a shared branch, and holds the summary of
//! what is below it. A tree of one key has no branch and so allocates nothing for a short key.
//!
//! Invariants (`check`): a branch has two links or more; branch numbers grow downwards; all keys
//! below a branch agree before its digit number and have their link's digit there; summaries and
//! counts are those of the leaves.
//!
//! Nothing recurses: a client that sends `a`, `aa`, `aaa`, … makes a tree as deep as it likes,
//! and no stack overflows. Branches are copied only while another clone shares them.

mod iter;
#[cfg(test)]
mod tests;
mod trail;

pub use iter::{Iter, IterBack, Ranked};

use std::fmt;
use std::mem::size_of;
use std::slice;
use std::sync::Arc;
use trail::change_along;

/// What is known of a set of values without looking at them: a monoid, kept for each subtree.
///
/// `default()` is the summary of no value, and `plus` is associative.
pub trait Summary: Copy + Default + PartialEq + fmt::Debug {
    /// The summary of the values of `self` followed by those of `other`.
    #[must_use]
    fn plus(self, other: Self) -> Self;

    /// The summary of the values of `self` after a part of them has changed from `old` to `new`,
    /// if that can be told without looking at the others.
    fn replaced(self, old: Self, new: Self) -> Option<Self> {
        (old == new).then_some(self)
    }
}

impl Summary for () {
    fn plus(self, (): ()) -> Self {}
}

/// A value of a [`Rax`].
pub trait Measure: Clone {
    /// What the tree knows of its subtrees.
    type Summary: Summary;

    /// What this value contributes. It may change only through the tree's own methods.
    fn measure(&self) -> Self::Summary;
}

/// A persistent radix tree. `clone` is O(1) (for one key it clones the value).
///
/// **Cost**: every method is O(depth) unless it says otherwise; the depth for 16-byte keys is
/// about log₁₆ of their number, 33 at most. In memory a key costs its link (32 bytes and the
/// value and the summary) and its part of a branch (64 bytes for 2 to 17 links).
#[derive(Clone)]
pub struct Rax<V: Measure> {
    root: Option<Link<V>>,
}

/// One child: its summary, and a leaf or a branch.
#[derive(Clone)]
struct Link<V: Measure> {
    summary: V::Summary,
    child: Child<V>,
}

#[derive(Clone)]
enum Child<V: Measure> {
    Leaf(Key, V),
    Branch(Arc<Branch<V>>),
}

#[derive(Clone)]
struct Branch<V: Measure> {
    /// The number of the digit at which the keys below differ.
    at: usize,
    /// Keys below.
    len: usize,
    /// Bit `d` is set if there is a link for digit `d`.
    bitmap: u32,
    links: Vec<Link<V>>,
}

/// The most bytes of a key that stands in its link.
const SHORT_KEY: usize = 22;

/// A key's bytes. Copying one never copies a long key.
#[derive(Clone)]
enum Key {
    Short(u8, [u8; SHORT_KEY]),
    Long(Arc<[u8]>),
}

/// The number of digits in common of two equal keys.
const SAME: usize = usize::MAX;

impl<V: Measure> Rax<V> {
    /// An empty tree, which allocates nothing.
    pub const fn new() -> Self {
        Rax { root: None }
    }

    /// The number of keys. **Cost**: O(1).
    pub fn len(&self) -> usize {
        self.root.as_ref().map_or(0, Link::len)
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The summary of all values. **Cost**: O(1).
    pub fn summary(&self) -> V::Summary {
        self.root.as_ref().map_or_else(V::Summary::default, |root| root.summary)
    }

    /// Bytes on the heap for branches, links and long keys, without what values point to and
    /// without the allocator's own. **Cost**: O(branches).
    pub fn node_bytes(&self) -> usize {
        let mut bytes = self.root.as_ref().map_or(0, Link::heap_key_bytes);
        self.for_each_branch(|branch| {
            bytes += 2 * size_of::<usize>() + size_of::<Branch<V>>();
            bytes += branch.links.capacity() * size_of::<Link<V>>();
            bytes += branch.links.iter().map(Link::heap_key_bytes).sum::<usize>();
        });
        bytes
    }

    /// Bytes on the heap with what values point to, which is what `of_value` says. Of more than
    /// `samples` values it is estimated: each is taken to be as the first so many are, and the
    /// nodes to be as they mostly are. **Cost**: O(samples).
    pub fn memory_bytes(&self, samples: usize, of_value: impl Fn(&V) -> usize) -> usize {
        /// How many links a branch mostly has, in trees of IDs.
        const LINKS_USUAL: usize = 8;
        let sampled = self.iter().take(samples).map(|(_, value)| of_value(value)).sum::<usize>();
        if self.len() <= samples {
            return self.node_bytes() + sampled;
        }
        let branch_bytes = 2 * size_of::<usize>() + size_of::<Branch<V>>();
        let node_bytes = size_of::<Link<V>>() + branch_bytes / LINKS_USUAL;
        self.len() * (node_bytes + sampled.div_ceil(samples.max(1)))
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        let mut link = self.root.as_ref()?;
        loop {
            match &link.child {
                Child::Leaf(own, value) => return (own.bytes() == key).then_some(value),
                Child::Branch(branch) => link = branch.link(digit(key, branch.at))?,
            }
        }
    }

    /// Changes the value of `key` by `change`; `None` if there is no such key.
    pub fn update<R>(&mut self, key: &[u8], change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let root = self.root.as_mut()?;
        let passed = |branch: &Branch<V>| branch.has_key(key);
        change_along(root, key, passed, |link| {
            let Child::Leaf(own, value) = &mut link.child else { return (None, 0) };
            if own.bytes() != key {
                return (None, 0);
            }
            let result = change(value);
            link.summary = value.measure();
            (Some(result), 0)
        })
    }

    /// Sets the value of `key` and returns the one it had.
    pub fn insert(&mut self, key: &[u8], value: V) -> Option<V> {
        let (common, theirs) = self.compare(key);
        let ours = digit(key, common);
        let Some(root) = &mut self.root else {
            self.root = Some(Link::leaf(Key::new(key), value));
            return None;
        };
        let passed = |branch: &Branch<V>| branch.at < common;
        change_along(root, key, passed, |link| {
            if common != SAME && !matches!(&link.child, Child::Branch(b) if b.at == common) {
                link.fork(common, theirs);
            }
            let old = match &mut link.child {
                Child::Leaf(_, own) => Some(std::mem::replace(own, value)),
                Child::Branch(branch) => {
                    Arc::make_mut(branch).add(ours, Link::leaf(Key::new(key), value));
                    None
                }
            };
            link.summary = link.child.summary();
            let growth = isize::from(old.is_none());
            (old, growth)
        })
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.get(key)?;
        if matches!(&self.root, Some(Link { child: Child::Leaf(..), .. })) {
            return self.root.take().and_then(Link::into_value);
        }
        let root = self.root.as_mut()?;
        let passed = |branch: &Branch<V>| !branch.has_leaf(key);
        change_along(root, key, passed, |link| {
            let Child::Branch(branch) = &mut link.child else { return (None, 0) };
            let branch = Arc::make_mut(branch);
            let removed = branch.remove(digit(key, branch.at));
            if branch.links.len() == 1
                && let Some(only) = branch.links.pop()
            {
                *link = only;
            } else {
                link.summary = fold(&branch.links);
            }
            (removed.and_then(Link::into_value), -1)
        })
    }

    /// Removes all keys less than `key`, as whole subtrees, and returns them. Dropping them is
    /// what costs O(keys); that can be done elsewhere.
    #[must_use = "dropping the part that was cut off costs time: choose where"]
    pub fn cut_below(&mut self, key: &[u8]) -> Self {
        let (common, theirs) = self.compare(key);
        let mut path = Vec::new();
        let mut rest = self.root.take();
        loop {
            match rest {
                Some(Link { child: Child::Branch(mut branch), .. }) if branch.at <= common => {
                    let digit = digit(key, branch.at);
                    rest = Arc::make_mut(&mut branch).remove(digit);
                    path.push(branch);
                }
                _ => break,
            }
        }
        let (mut below, mut above) = (None, rest);
        if common != SAME && theirs < digit(key, common) {
            (below, above) = (above, None);
        }
        for mut branch in path.into_iter().rev() {
            (below, above) = Arc::make_mut(&mut branch).split(key, below, above);
        }
        self.root = above;
        Rax { root: below }
    }

    /// The least key and its value.
    pub fn first(&self) -> Option<(&[u8], &V)> {
        Some(self.root.as_ref()?.first())
    }

    /// The greatest key and its value.
    pub fn last(&self) -> Option<(&[u8], &V)> {
        Some(self.root.as_ref()?.last())
    }

    /// The greatest key that is `key` or less.
    pub fn floor(&self, key: &[u8]) -> Option<(&[u8], &V)> {
        let (mut link, mut below, mut agreed) = (self.root.as_ref()?, None, 0);
        let (near, value) = loop {
            let Child::Branch(branch) = &link.child else { break link.last() };
            let less = branch.links[..branch.rank(digit(key, branch.at))].last();
            below = less.or(below);
            let Some(next) = branch.link(digit(key, branch.at)) else {
                agreed = branch.at;
                break less.unwrap_or(&branch.links[0]).last();
            };
            (link, agreed) = (next, branch.at + 1);
        };
        let common = common_digits(near, key);
        if common < agreed {
            // The way of the key's digits has passed one that branches do not look at.
            return self.floor_apart(key);
        }
        let is_below = digit(near, common) <= digit(key, common);
        if is_below { Some((near, value)) } else { below.map(Link::last) }
    }

    /// [`Rax::floor`] of a key that differs from all others where they do not differ.
    fn floor_apart(&self, key: &[u8]) -> Option<(&[u8], &V)> {
        let mut below = None;
        let exact = self.split_at(key, |less, _| below = less.last().or(below));
        exact.or(below).map(Link::last)
    }

    /// The least key that is `key` or greater.
    pub fn ceil(&self, key: &[u8]) -> Option<(&[u8], &V)> {
        let mut above = None;
        let exact = self.split_at(key, |_, greater| above = greater.first().or(above));
        exact.or(above).map(Link::first)
    }

    /// The greatest key less than `key`.
    pub fn below(&self, key: &[u8]) -> Option<(&[u8], &V)> {
        let mut below = None;
        self.split_at(key, |less, _| below = less.last().or(below));
        below.map(Link::last)
    }

    /// The least key greater than `key`.
    pub fn above(&self, key: &[u8]) -> Option<(&[u8], &V)> {
        let mut above = None;
        self.split_at(key, |_, greater| above = greater.first().or(above));
        above.map(Link::first)
    }

    /// All keys and values, ascending.
    pub fn iter(&self) -> Iter<'_, V> {
        let mut iter = Iter::default();
        iter.push(self.root.as_slice());
        iter
    }

    /// All keys and values, descending.
    pub fn iter_back(&self) -> IterBack<'_, V> {
        let mut iter = IterBack::default();
        iter.push(self.root.as_slice());
        iter
    }

    /// The keys that are `key` or greater, ascending.
    pub fn iter_from(&self, key: &[u8]) -> Iter<'_, V> {
        let mut iter = Iter::default();
        let exact = self.split_at(key, |_, greater| iter.push(greater));
        iter.push(exact.map_or(&[], slice::from_ref));
        iter
    }

    /// The keys that are `key` or less, descending.
    pub fn iter_back_from(&self, key: &[u8]) -> IterBack<'_, V> {
        let mut iter = IterBack::default();
        let exact = self.split_at(key, |less, _| iter.push(less));
        iter.push(exact.map_or(&[], slice::from_ref));
        iter
    }

    /// The values whose summary's `rank` is at most `limit`, by ascending rank, among equals by
    /// ascending key. The rank of a subtree must be the least rank of its values.
    ///
    /// **Cost**: O(depth + log of what was visited) per value, lazily.
    pub fn ranked<K, F>(&self, limit: K, rank: F) -> Ranked<'_, V, K, F>
    where
        K: Ord,
        F: Fn(V::Summary) -> K,
    {
        Ranked::new(self.root.as_ref(), limit, rank)
    }

    /// The summary of the values whose keys are less than `key`.
    pub fn summary_below(&self, key: &[u8]) -> V::Summary {
        let mut sum = V::Summary::default();
        self.split_at(key, |less, _| sum = sum.plus(fold(less)));
        sum
    }

    /// The first key at which `pred` holds for the summary of all values up to and with it, the
    /// value, and the summary of the values before it. `pred` must go on to hold once it holds:
    /// this answers "the k-th entry".
    pub fn find_prefix(
        &self,
        pred: impl Fn(V::Summary) -> bool,
    ) -> Option<(&[u8], &V, V::Summary)> {
        let mut before = V::Summary::default();
        let mut links = self.root.as_slice();
        loop {
            let link = links.iter().find(|link| {
                let with = before.plus(link.summary);
                let found = pred(with);
                if !found {
                    before = with;
                }
                found
            })?;
            match &link.child {
                Child::Leaf(key, value) => return Some((key.bytes(), value, before)),
                Child::Branch(branch) => links = &branch.links,
            }
        }
    }

    /// The least key that is `from` or greater and for the summary of whose value `pred` holds.
    ///
    /// `pred` must hold for a subtree exactly if it holds for one of its values: for a least
    /// number "at most x" is such a `pred`.
    pub fn first_where(
        &self,
        from: &[u8],
        pred: impl Fn(V::Summary) -> bool,
    ) -> Option<(&[u8], &V)> {
        let mut above = None;
        let exact = self.split_at(from, |_, greater| {
            above = greater.iter().find(|link| pred(link.summary)).or(above);
        });
        let mut link = exact.filter(|link| pred(link.summary)).or(above)?;
        loop {
            match &link.child {
                Child::Leaf(key, value) => return Some((key.bytes(), value)),
                Child::Branch(branch) => {
                    link = branch.links.iter().find(|link| pred(link.summary))?;
                }
            }
        }
    }

    /// Asserts the invariants. **Cost**: O(keys · depth).
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        if let Some(root) = &self.root {
            assert_eq!(root.summary, root.child.summary(), "the summary is stale");
        }
        self.for_each_branch(Branch::check);
        let keys = self.iter().map(|(key, _)| key);
        assert!(keys.is_sorted_by(|a, b| a < b), "keys are not in order");
        assert_eq!(self.iter().count(), self.len(), "the count is wrong");
    }

    /// The digits that `key` shares with the key nearest to it ([`SAME`] if it is that key), and
    /// that key's next digit.
    fn compare(&self, key: &[u8]) -> (usize, u8) {
        let Some(mut link) = self.root.as_ref() else { return (0, 0) };
        loop {
            match &link.child {
                Child::Leaf(own, _) => {
                    let common = common_digits(own.bytes(), key);
                    return (common, digit(own.bytes(), common));
                }
                Child::Branch(branch) => {
                    // Where the key's digit is missing any link will do: the branch's own digit
                    // number bounds what is shared.
                    link = branch.link(digit(key, branch.at)).unwrap_or(&branch.links[0]);
                }
            }
        }
    }

    /// Tells `visit` from the root down which links are of lesser and which of greater keys than
    /// `key`; all keys are told of but `key` itself, whose leaf is returned. Lesser links come
    /// in ascending order, greater ones in descending order from call to call.
    fn split_at<'a>(
        &'a self,
        key: &[u8],
        mut visit: impl FnMut(&'a [Link<V>], &'a [Link<V>]),
    ) -> Option<&'a Link<V>> {
        let (common, theirs) = self.compare(key);
        let mut link = self.root.as_ref()?;
        loop {
            let links = slice::from_ref(link);
            match &link.child {
                Child::Branch(branch) if branch.at <= common => {
                    let digit = digit(key, branch.at);
                    let (less, rest) = branch.links.split_at(branch.rank(digit));
                    if branch.at == common {
                        visit(less, rest);
                        return None;
                    }
                    let (next, greater) = rest.split_first()?;
                    visit(less, greater);
                    link = next;
                }
                Child::Leaf(..) if common == SAME => return Some(link),
                Child::Branch(_) | Child::Leaf(..) if theirs < digit(key, common) => {
                    visit(links, &[]);
                    return None;
                }
                Child::Branch(_) | Child::Leaf(..) => {
                    visit(&[], links);
                    return None;
                }
            }
        }
    }

    /// Calls `visit` with each branch, a parent before its children.
    fn for_each_branch(&self, mut visit: impl FnMut(&Branch<V>)) {
        let mut open: Vec<&[Link<V>]> = vec![self.root.as_slice()];
        while let Some(links) = open.pop() {
            for link in links {
                if let Child::Branch(branch) = &link.child {
                    visit(branch);
                    open.push(&branch.links);
                }
            }
        }
    }
}

impl<V: Measure> Default for Rax<V> {
    fn default() -> Self {
        Rax::new()
    }
}

impl<V: Measure + fmt::Debug> fmt::Debug for Rax<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V: Measure> Drop for Rax<V> {
    /// Frees the branches that no clone shares, without recursion.
    fn drop(&mut self) {
        let Some(Link { child: Child::Branch(root), .. }) = self.root.take() else { return };
        let mut open = vec![root];
        while let Some(branch) = open.pop() {
            let Some(branch) = Arc::into_inner(branch) else { continue };
            open.extend(branch.links.into_iter().filter_map(|link| match link.child {
                Child::Branch(branch) => Some(branch),
                Child::Leaf(..) => None,
            }));
        }
    }
}

impl<V: Measure> Child<V> {
    fn summary(&self) -> V::Summary {
        match self {
            Child::Leaf(_, value) => value.measure(),
            Child::Branch(branch) => fold(&branch.links),
        }
    }
}

impl<V: Measure> Link<V> {
    fn leaf(key: Key, value: V) -> Self {
        Link { summary: value.measure(), child: Child::Leaf(key, value) }
    }

    /// Puts a branch in the place of this link, which becomes its only one for now.
    fn fork(&mut self, at: usize, digit: u8) {
        let fork = Child::Branch(Arc::new(Branch::new(at, 0, Vec::with_capacity(2))));
        let child = std::mem::replace(&mut self.child, fork);
        if let Child::Branch(fork) = &mut self.child {
            Arc::make_mut(fork).add(digit, Link { summary: self.summary, child });
        }
    }

    /// What `links` become as one: nothing, the only one, or a branch.
    fn join(at: usize, bitmap: u32, mut links: Vec<Self>) -> Option<Self> {
        if links.len() <= 1 {
            return links.pop();
        }
        links.shrink_to_fit();
        let summary = fold(&links);
        let branch = Arc::new(Branch::new(at, bitmap, links));
        Some(Link { summary, child: Child::Branch(branch) })
    }

    fn into_value(self) -> Option<V> {
        match self.child {
            Child::Leaf(_, value) => Some(value),
            Child::Branch(_) => None,
        }
    }

    fn len(&self) -> usize {
        match &self.child {
            Child::Leaf(..) => 1,
            Child::Branch(branch) => branch.len,
        }
    }

    fn heap_key_bytes(&self) -> usize {
        match &self.child {
            Child::Leaf(Key::Long(bytes), _) => 2 * size_of::<usize>() + bytes.len(),
            Child::Leaf(Key::Short(..), _) | Child::Branch(_) => 0,
        }
    }

    fn first(&self) -> (&[u8], &V) {
        let mut link = self;
        loop {
            match &link.child {
                Child::Leaf(key, value) => return (key.bytes(), value),
                Child::Branch(branch) => link = &branch.links[0],
            }
        }
    }

    fn last(&self) -> (&[u8], &V) {
        let mut link = self;
        loop {
            match &link.child {
                Child::Leaf(key, value) => return (key.bytes(), value),
                Child::Branch(branch) => link = &branch.links[branch.links.len() - 1],
            }
        }
    }
}

impl<V: Measure> Branch<V> {
    fn new(at: usize, bitmap: u32, links: Vec<Link<V>>) -> Self {
        Branch { at, len: links.iter().map(Link::len).sum(), bitmap, links }
    }

    /// The number of links for digits less than `digit`.
    fn rank(&self, digit: u8) -> usize {
        (self.bitmap & (bit(digit) - 1)).count_ones() as usize
    }

    fn has(&self, digit: u8) -> bool {
        self.bitmap & bit(digit) != 0
    }

    fn link(&self, digit: u8) -> Option<&Link<V>> {
        self.has(digit).then(|| &self.links[self.rank(digit)])
    }

    /// Whether there is a link for the digit of `key`.
    fn has_key(&self, key: &[u8]) -> bool {
        self.has(digit(key, self.at))
    }

    /// Whether the link for the digit of `key` is a leaf.
    fn has_leaf(&self, key: &[u8]) -> bool {
        let link = self.link(digit(key, self.at));
        link.is_some_and(|link| matches!(link.child, Child::Leaf(..)))
    }

    /// Adds a link for `digit`, which has none.
    fn add(&mut self, digit: u8, link: Link<V>) {
        // Exactly: most branches are never full.
        self.links.reserve_exact(1);
        self.len += link.len();
        self.links.insert(self.rank(digit), link);
        self.bitmap |= bit(digit);
    }

    /// Removes the link for `digit`, if there is one.
    fn remove(&mut self, digit: u8) -> Option<Link<V>> {
        let removed = self.has(digit).then(|| self.links.remove(self.rank(digit)))?;
        self.bitmap &= !bit(digit);
        self.len -= removed.len();
        if self.links.len() * 2 <= self.links.capacity() {
            self.links.shrink_to_fit();
        }
        Some(removed)
    }

    /// Splits at `key`, the link for whose digit has been removed and become `below` and `above`.
    fn split(
        &mut self,
        key: &[u8],
        below: Option<Link<V>>,
        above: Option<Link<V>>,
    ) -> (Option<Link<V>>, Option<Link<V>>) {
        let digit = digit(key, self.at);
        let lower_bits = bit(digit) - 1;
        let mut bits = (self.bitmap & lower_bits, self.bitmap & !lower_bits);
        let mut upper = self.links.split_off(self.rank(digit));
        let mut lower = std::mem::take(&mut self.links);
        if let Some(link) = below {
            lower.push(link);
            bits.0 |= bit(digit);
        }
        if let Some(link) = above {
            upper.insert(0, link);
            bits.1 |= bit(digit);
        }
        (Link::join(self.at, bits.0, lower), Link::join(self.at, bits.1, upper))
    }

    fn check(&self) {
        assert!(self.links.len() >= 2, "a branch of one link");
        assert_eq!(self.bitmap.count_ones() as usize, self.links.len(), "bitmap");
        assert_eq!(self.len, self.links.iter().map(Link::len).sum::<usize>(), "count");
        let first = self.links[0].first().0;
        let mut digits = (0..=16).filter(|&digit| self.has(digit));
        for link in &self.links {
            assert_eq!(link.summary, link.child.summary(), "a summary is stale");
            let key = link.first().0;
            assert_eq!(Some(digit(key, self.at)), digits.next(), "a link's digit");
            assert!(common_digits(first, key) >= self.at, "keys differ above their branch");
            if let Child::Branch(child) = &link.child {
                assert!(child.at > self.at, "branch numbers grow downwards");
            }
        }
    }
}

impl Key {
    fn new(key: &[u8]) -> Self {
        let mut bytes = [0; SHORT_KEY];
        match (u8::try_from(key.len()), bytes.get_mut(..key.len())) {
            (Ok(len), Some(place)) => {
                place.copy_from_slice(key);
                Key::Short(len, bytes)
            }
            _ => Key::Long(key.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Key::Short(len, bytes) => &bytes[..usize::from(*len)],
            Key::Long(bytes) => bytes,
        }
    }
}

/// The summary of `links` together.
fn fold<V: Measure>(links: &[Link<V>]) -> V::Summary {
    links.iter().fold(V::Summary::default(), |sum, link| sum.plus(link.summary))
}

fn bit(digit: u8) -> u32 {
    1 << digit
}

/// Digit number `at` of `key`: 0 after its end.
fn digit(key: &[u8], at: usize) -> u8 {
    match key.get(at / 2) {
        None => 0,
        Some(byte) if at.is_multiple_of(2) => 1 + (byte >> 4),
        Some(byte) => 1 + (byte & 15),
    }
}

/// The number of digits that `a` and `b` begin with in common; [`SAME`] if they are equal.
fn common_digits(a: &[u8], b: &[u8]) -> usize {
    let mut same = 0;
    // Eight bytes at a time: all but two comparisons of IDs end here.
    while let (Some(x), Some(y)) = (a[same..].first_chunk::<8>(), b[same..].first_chunk::<8>()) {
        let difference = u64::from_be_bytes(*x) ^ u64::from_be_bytes(*y);
        if difference != 0 {
            return same * 2 + (difference.leading_zeros() / 4) as usize;
        }
        same += 8;
    }
    let rest = a[same..].iter().zip(&b[same..]).position(|(x, y)| x != y);
    match rest {
        Some(at) if (a[same + at] ^ b[same + at]) & 0xf0 != 0 => (same + at) * 2,
        Some(at) => (same + at) * 2 + 1,
        None if a.len() == b.len() => SAME,
        None => a.len().min(b.len()) * 2,
    }
}
