//! The way from the root to a link that is being changed, along which summaries and counts are set
//! anew.

use super::{Branch, Child, Link, Measure, Summary, digit, fold};
use std::sync::Arc;

/// The steps that need no memory of their own: a tree of IDs that is deeper has millions.
const SHORT: usize = 5;

/// A link on the way: its summary, the count of its branch, and the other links there, before and
/// after the next one on the way.
struct Passed<'a, V: Measure> {
    summary: &'a mut V::Summary,
    len: &'a mut usize,
    before: &'a [Link<V>],
    after: &'a [Link<V>],
}

/// Goes down the links of `key`, beginning with `link`, as long as there is a branch with a link
/// for `key` that is `passed`. There `change` changes the link and tells how many keys it has
/// gained; then the summaries and counts on the way are set. The branches passed are no longer
/// shared afterwards.
pub(super) fn change_along<V: Measure, R>(
    mut link: &mut Link<V>,
    key: &[u8],
    passed: impl Fn(&Branch<V>) -> bool,
    change: impl FnOnce(&mut Link<V>) -> (R, isize),
) -> R {
    let (mut short, mut long) = ([const { None }; SHORT], Vec::new());
    let mut free = short.iter_mut();
    while matches!(&link.child, Child::Branch(branch) if passed(branch)) {
        let Link { summary, child: Child::Branch(branch) } = link else { unreachable!() };
        let branch = Arc::make_mut(branch);
        let slot = branch.rank(digit(key, branch.at));
        let (before, rest) = branch.links.split_at_mut(slot);
        let Some((next, after)) = rest.split_first_mut() else { unreachable!() };
        let step = Passed { summary, len: &mut branch.len, before, after };
        match free.next() {
            Some(place) => *place = Some(step),
            None => long.push(step),
        }
        link = next;
    }
    let mut old = link.summary;
    let (result, growth) = change(link);
    let mut summary = link.summary;
    if old != summary || growth != 0 {
        for step in short.iter_mut().flatten().chain(&mut long).rev() {
            let whole = step.summary.replaced(old, summary);
            let fold_all = || fold(step.before).plus(summary).plus(fold(step.after));
            summary = whole.unwrap_or_else(fold_all);
            old = std::mem::replace(step.summary, summary);
            *step.len = step.len.wrapping_add_signed(growth);
        }
    }
    result
}
