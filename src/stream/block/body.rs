//! `Body`: the bytes of a block, and what its only entry may have outside of them. No larger than
//! the bytes alone.

use crate::stream::fields::Received;
use std::ops::{Deref, DerefMut};

/// The bytes of a block.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// All there is.
    Packed(Vec<u8>),
    /// Of a block with one large entry.
    Around(Box<Around>),
}

/// The bytes of a block with one entry, and its fields.
#[derive(Clone, Debug)]
pub(super) struct Around {
    bytes: Vec<u8>,
    outside: Received,
}

impl Body {
    pub(super) fn around(bytes: Vec<u8>, outside: Received) -> Self {
        Body::Around(Box::new(Around { bytes, outside }))
    }

    /// The bytes, and what lies outside.
    #[inline]
    pub(super) fn parts(&self) -> (&[u8], Option<&Received>) {
        match self {
            Body::Packed(bytes) => (bytes, None),
            Body::Around(around) => (&around.bytes, Some(&around.outside)),
        }
    }
}

impl Deref for Body {
    type Target = Vec<u8>;

    #[inline]
    fn deref(&self) -> &Vec<u8> {
        match self {
            Body::Packed(bytes) => bytes,
            Body::Around(around) => &around.bytes,
        }
    }
}

impl DerefMut for Body {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Body::Packed(bytes) => bytes,
            Body::Around(around) => &mut around.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_costs_the_others_nothing() {
        assert_eq!(size_of::<Body>(), size_of::<Vec<u8>>());
    }
}
