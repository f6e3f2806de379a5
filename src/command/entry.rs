//! `Entry`: an entry as the program gets it, and `ToFields`: what it may add as one.

use super::Requests;
use super::value::{Reader, Unexpected};
use crate::stream::EntryId;
use bytes::Bytes;

/// The field of an entry that was added as plain bytes.
pub const BYTES_FIELD: &str = "data";

/// An entry: its ID, and its field–value pairs in their order. A field may occur twice.
///
/// Fields and values are slices of the reply that brought them, which stays in memory as long as
/// one of them does; copy what is kept for long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Entry {
    /// The ID.
    pub id: EntryId,
    /// The pairs.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl Entry {
    /// The value of the first pair with this field.
    pub fn get(&self, field: impl AsRef<[u8]>) -> Option<&[u8]> {
        let field = field.as_ref();
        self.fields.iter().find(|(name, _)| name == field).map(|(_, value)| &**value)
    }

    /// [`Entry::get`] for a value that is UTF-8.
    pub fn text(&self, field: impl AsRef<[u8]>) -> Option<&str> {
        self.get(field).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// What was added as plain bytes: the value of [`BYTES_FIELD`].
    pub fn bytes(&self) -> Option<&[u8]> {
        self.get(BYTES_FIELD)
    }

    /// An entry as XRANGE writes it; `None` if it is pending and gone.
    pub(crate) fn read(reader: &mut Reader) -> Result<Option<Entry>, Unexpected> {
        if reader.array()? != Some(2) {
            return Err(Unexpected);
        }
        Entry::read_parts(reader)
    }

    /// The ID and the fields of an entry.
    pub(crate) fn read_parts(reader: &mut Reader) -> Result<Option<Entry>, Unexpected> {
        let id = reader.id()?.ok_or(Unexpected)?;
        let Some(n) = reader.array()? else { return Ok(None) };
        let mut fields = Vec::with_capacity(n / 2);
        for _ in 0..n / 2 {
            fields.push((reader.bulk()?.ok_or(Unexpected)?, reader.bulk()?.ok_or(Unexpected)?));
        }
        Ok(Some(Entry { id, fields }))
    }

    /// A list of entries, without those that are gone; none for null.
    pub(crate) fn read_all(reader: &mut Reader) -> Result<Vec<Entry>, Unexpected> {
        let n = reader.array()?.unwrap_or_default();
        let entries = (0..n).map(|_| Entry::read(reader));
        entries.filter_map(Result::transpose).collect()
    }
}

/// What an entry can be made of: pairs in an array, a slice, a `Vec`; another entry's pairs; or
/// one value, which becomes the field [`BYTES_FIELD`].
pub trait ToFields {
    /// Writes field, value, field, value …; at least one pair.
    fn write(&self, requests: &mut Requests);
}

impl<F: AsRef<[u8]>, V: AsRef<[u8]>> ToFields for [(F, V)] {
    fn write(&self, requests: &mut Requests) {
        for (field, value) in self {
            requests.arg(field).arg(value);
        }
    }
}

impl<F: AsRef<[u8]>, V: AsRef<[u8]>, const N: usize> ToFields for [(F, V); N] {
    fn write(&self, requests: &mut Requests) {
        self[..].write(requests);
    }
}

impl<F: AsRef<[u8]>, V: AsRef<[u8]>> ToFields for Vec<(F, V)> {
    fn write(&self, requests: &mut Requests) {
        self[..].write(requests);
    }
}

impl ToFields for Entry {
    fn write(&self, requests: &mut Requests) {
        self.fields.write(requests);
    }
}

impl ToFields for [u8] {
    fn write(&self, requests: &mut Requests) {
        requests.arg(BYTES_FIELD).arg(self);
    }
}

impl ToFields for str {
    fn write(&self, requests: &mut Requests) {
        self.as_bytes().write(requests);
    }
}

impl ToFields for Vec<u8> {
    fn write(&self, requests: &mut Requests) {
        self[..].write(requests);
    }
}

impl ToFields for String {
    fn write(&self, requests: &mut Requests) {
        self.as_bytes().write(requests);
    }
}

impl ToFields for Bytes {
    fn write(&self, requests: &mut Requests) {
        self[..].write(requests);
    }
}

impl<const N: usize> ToFields for [u8; N] {
    fn write(&self, requests: &mut Requests) {
        self[..].write(requests);
    }
}

impl<T: ToFields + ?Sized> ToFields for &T {
    fn write(&self, requests: &mut Requests) {
        (**self).write(requests);
    }
}
