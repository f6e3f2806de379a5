//! `Ids`: the entry IDs that one effect names, borrowed from whoever decided it or from the log.
//!
//! Invariant: they ascend, each occurs once, and there is at least one.

use crate::codec::{Corrupt, Cursor};
use crate::stream::effect::DecodeContext;
use crate::stream::id::EntryId;
use std::borrow::Cow;
use std::fmt;

/// IDs in ascending order.
#[derive(Clone, Copy)]
pub enum Ids<'a> {
    /// As they are.
    List(&'a [EntryId]),
    /// As in the log, checked when it was read: each as the difference to the one before.
    Encoded {
        /// How many.
        count: usize,
        /// Exactly the IDs.
        bytes: &'a [u8],
        /// What the first is the difference to.
        before: DecodeContext<'a>,
    },
}

impl<'a> Ids<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Ids::List(ids) => ids.len(),
            Ids::Encoded { count, .. } => *count,
        }
    }

    /// Never: an effect without IDs is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The IDs as a slice, which costs an allocation if they come from the log.
    pub fn to_slice(&self) -> Cow<'a, [EntryId]> {
        match *self {
            Ids::List(ids) => Cow::Borrowed(ids),
            Ids::Encoded { count, bytes, mut before } => {
                let mut cursor = Cursor::new(bytes);
                let ids = (0..count).map_while(|_| before.id(&mut cursor).ok());
                Cow::Owned(ids.collect())
            }
        }
    }

    /// Reads a number of IDs and the IDs.
    ///
    /// # Errors
    /// [`Corrupt`] if there is none, or they do not ascend.
    pub(super) fn decode(
        cursor: &mut Cursor<'a>,
        context: &mut DecodeContext<'a>,
    ) -> Result<Self, Corrupt> {
        let count = cursor.count()?;
        let (rest, begin, before) = (cursor.rest(), cursor.offset(), *context);
        let mut last = None;
        for _ in 0..count {
            let id = context.id(cursor)?;
            if last >= Some(id) {
                return Err(Corrupt("the IDs of an effect do not ascend"));
            }
            last = Some(id);
        }
        if last.is_none() {
            return Err(Corrupt("an effect names no ID"));
        }
        Ok(Ids::Encoded { count, bytes: &rest[..cursor.offset() - begin], before })
    }
}

impl fmt::Debug for Ids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_slice().iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{put_varint, put_zigzag};

    #[test]
    fn ids_that_do_not_ascend_or_are_none_are_refused() {
        for (seqs, good) in
            [(&[1, 1, 5][..], true), (&[1, 0], false), (&[3, -1], false), (&[], false)]
        {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, seqs.len() as u64);
            for seq in seqs {
                put_zigzag(&mut bytes, 0);
                put_zigzag(&mut bytes, *seq);
            }
            let (mut cursor, mut context) = (Cursor::new(&bytes), DecodeContext::default());
            let ids = Ids::decode(&mut cursor, &mut context);
            assert_eq!(ids.is_ok(), good);
            if let Ok(ids) = ids {
                assert_eq!(format!("{ids:?}"), "[0-1, 0-2, 0-7]");
            }
            for cut in 0..bytes.len() {
                let mut context = DecodeContext::default();
                assert!(Ids::decode(&mut Cursor::new(&bytes[..cut]), &mut context).is_err());
            }
        }
    }
}
