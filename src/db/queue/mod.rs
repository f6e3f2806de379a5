//! The embedded face: handles of streams, groups and consumers.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`Stream`]: add, read, range, trim; [`Follower`], which waits for new entries |
//! | `group.rs` | [`Group`] and [`Consumer`] |
//! | `delivery.rs` | [`Delivery`]: an entry that must be acknowledged, and goes back if it is not |
//! | `ser.rs`, `de.rs` | a struct as the field–value pairs of an entry, with serde |
//!
//! A handle is a name and a way to the database: it costs nothing to make and to clone, holds no
//! lock, and may be used from any thread. What it names may exist or not. Handles do not keep the
//! database open: after [`crate::Db`] is closed or dropped, they answer [`Error::Stopped`].
//!
//! Every method gives an [`Answer`]: await it on any executor, or call [`Answer::wait`].

mod delivery;
mod group;

#[cfg(feature = "serde")]
mod de;
#[cfg(feature = "serde")]
mod ser;

pub use delivery::Delivery;
pub use group::{Consumer, Group};

use super::ask::{Answer, read_as};
use super::{Database, Db};
use crate::command::typed::{GroupInfo, XGroupCreate};
use crate::command::typed::{
    Start, Trim, XDel, XInfoGroups, XLen, XRange, XRead, XRevRange, XTrim,
};
use crate::command::{Call, Entry, Requests, ToFields};
use crate::error::{CommandError, Error};
use crate::stream::EntryId;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

impl Database {
    /// A stream of this database, by its key.
    pub fn stream(&self, key: impl Into<Bytes>) -> Stream {
        Stream { database: self.clone(), key: key.into(), max_len: None }
    }
}

impl Db {
    /// A stream of database 0, by its key; of another one by [`Db::select`].
    pub fn stream(&self, key: impl Into<Bytes>) -> Stream {
        self.zero().stream(key)
    }
}

/// A stream, by its key. It is created by the first [`Stream::add`] or [`Stream::group`].
///
/// # Examples
/// ```
/// use millstream::Db;
///
/// # async fn example() -> Result<(), millstream::Error> {
/// let db = Db::builder().memory().open()?;
/// let orders = db.stream("orders");
/// let id = orders.add([("item", "tea"), ("amount", "2")]).await?;
/// let entries = orders.range(id..).await?;
/// assert_eq!(entries[0].text("item"), Some("tea"));
/// # Ok(())
/// # }
/// # millstream::block_on(example()).unwrap();
/// ```
#[derive(Clone)]
pub struct Stream {
    database: Database,
    key: Bytes,
    max_len: Option<u64>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Stream {
    /// Its key.
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// The same stream, of which every [`Stream::add`] by this handle removes the oldest entries
    /// beyond about `entries`, acknowledged or not: a bound in whole blocks, at no cost.
    pub fn max_len(mut self, entries: u64) -> Self {
        self.max_len = Some(entries);
        self
    }

    /// Appends an entry: pairs, or plain bytes (see [`ToFields`]). Answers its ID.
    ///
    /// # Errors
    /// [`CommandError::Misconfigured`] if the disk is full or has failed; [`Error::Command`] for
    /// no pairs or a key of another type.
    pub fn add(&self, fields: impl ToFields) -> Answer<EntryId> {
        let mut requests = Requests::new();
        self.write_add(&fields, &mut requests);
        self.ask(requests, |reader| match reader.take_error() {
            Some(error) => Err(error.into()),
            None => Ok(read_as(reader, super::ask::read_id)),
        })
    }

    /// Appends entries, all or none of which a crash keeps, and without any other between them.
    /// Answers their IDs. **Cost**: one trip to the shard, one write.
    ///
    /// # Errors
    /// As [`Stream::add`], for the first that is refused; those before it have been added.
    pub fn add_many<F: ToFields>(
        &self,
        entries: impl IntoIterator<Item = F>,
    ) -> Answer<Vec<EntryId>> {
        let mut requests = Requests::new();
        for fields in entries {
            self.write_add(&fields, &mut requests);
        }
        let n = requests.len();
        self.ask(requests, move |reader| {
            let mut ids = Vec::with_capacity(n);
            for _ in 0..n {
                match reader.take_error() {
                    Some(error) => return Err(error.into()),
                    None => ids.push(read_as(reader, super::ask::read_id)),
                }
            }
            Ok(ids)
        })
    }

    /// Appends a struct, whose fields become the entry's pairs (feature `serde`): strings, bytes,
    /// numbers, booleans, unit variants; an `Option` that is `None` is left out.
    ///
    /// # Errors
    /// [`Error::Entry`] if the value is of another kind, and as [`Stream::add`].
    ///
    /// # Examples
    /// ```
    /// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    /// struct Order {
    ///     item: String,
    ///     amount: u32,
    ///     note: Option<String>,
    /// }
    ///
    /// # let db = millstream::Db::builder().memory().open()?;
    /// let orders = db.stream("orders");
    /// let order = Order { item: "tea".to_owned(), amount: 2, note: None };
    /// orders.add_struct(&order).wait()?;
    /// let entries = orders.range(..).wait()?;
    /// assert_eq!(entries[0].to::<Order>()?, order);
    /// # Ok::<(), millstream::Error>(())
    /// ```
    #[cfg(feature = "serde")]
    pub fn add_struct<T: serde::Serialize + ?Sized>(&self, value: &T) -> Answer<EntryId> {
        match ser::to_fields(value) {
            Ok(fields) => self.add(fields),
            Err(error) => Answer::failed(error),
        }
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn len(&self) -> Answer<u64> {
        self.call(&XLen { key: self.key.clone() })
    }

    /// The entries of a range of IDs, oldest first.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn range(&self, ids: impl RangeBounds<EntryId>) -> Answer<Vec<Entry>> {
        self.range_of(ids, None)
    }

    /// At most `count` entries of a range of IDs, oldest first. Those from a time on begin at
    /// [`EntryId::at`] it.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn range_of(
        &self,
        ids: impl RangeBounds<EntryId>,
        count: impl Into<Option<u64>>,
    ) -> Answer<Vec<Entry>> {
        let start = match ids.start_bound() {
            Bound::Unbounded => Some(EntryId::MIN),
            Bound::Included(id) => Some(*id),
            Bound::Excluded(id) => id.next(),
        };
        let end = match ids.end_bound() {
            Bound::Unbounded => Some(EntryId::MAX),
            Bound::Included(id) => Some(*id),
            Bound::Excluded(id) => id.previous(),
        };
        let (Some(start), Some(end)) = (start, end) else {
            // Nothing is beyond the ends.
            return self.range_of(EntryId::MAX..=EntryId::MIN, count);
        };
        self.call(&XRange { key: self.key.clone(), start, end, count: count.into() })
    }

    /// The newest entries, newest first.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn last(&self, count: u64) -> Answer<Vec<Entry>> {
        let (start, end) = (EntryId::MIN, EntryId::MAX);
        self.call(&XRevRange { key: self.key.clone(), end, start, count: Some(count) })
    }

    /// A reader of its own position, which gets every entry and acknowledges none: any number of
    /// them follow the same stream.
    pub fn follow(&self, start: Start) -> Follower {
        Follower { stream: self.clone(), after: start, found: VecDeque::new() }
    }

    /// Deletes entries. Answers how many there were.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn delete(&self, ids: &[EntryId]) -> Answer<u64> {
        self.call(&XDel { key: self.key.clone(), ids: ids.to_vec() })
    }

    /// Removes the oldest entries. Answers how many went.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn trim(&self, trim: Trim) -> Answer<u64> {
        let references = crate::command::typed::References::Keep;
        self.call(&XTrim { key: self.key.clone(), trim, limit: None, references })
    }

    /// A consumer group, which is created at `start` if it is missing: one that exists goes on
    /// where it is.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn group(&self, name: impl Into<Bytes>, start: Start) -> Answer<Group> {
        let group = Group::new(self.database.clone(), self.key.clone(), name.into());
        let (key, name) = (self.key.clone(), group.name().clone());
        let create = XGroupCreate { key, group: name, start, create: true, entries_read: None };
        let mut requests = Requests::new();
        create.write(&mut requests);
        requests.end();
        self.ask(requests, |reader| match reader.take_error() {
            None | Some(CommandError::BusyGroup) => Ok(group),
            Some(error) => Err(error.into()),
        })
    }

    /// What is known of each group.
    ///
    /// # Errors
    /// [`CommandError::NoSuchKey`], [`CommandError::WrongType`].
    pub fn groups(&self) -> Answer<Vec<GroupInfo>> {
        self.call(&XInfoGroups { key: self.key.clone() })
    }

    /// The database that it is in.
    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Writes the request of [`Stream::add`].
    pub(super) fn write_add(&self, fields: &impl ToFields, requests: &mut Requests) {
        requests.arg("XADD").arg(&self.key);
        if let Some(max_len) = self.max_len {
            requests.arg("MAXLEN").arg("~").number(max_len);
        }
        requests.arg("*");
        fields.write(requests);
        requests.end();
    }

    fn call<C: Call>(&self, call: &C) -> Answer<C::Output> {
        self.database.call_by_ref(call)
    }

    fn ask<T>(
        &self,
        requests: Requests,
        read: impl FnOnce(&mut crate::command::value::Reader) -> Result<T, Error> + Send + 'static,
    ) -> Answer<T> {
        Answer::new(self.database.ask_of(requests), read)
    }
}

#[cfg(feature = "serde")]
impl Entry {
    /// The entry as a struct (feature `serde`): its fields by name, of which an `Option` may be
    /// missing. Pairs that the struct has no field for are passed over.
    ///
    /// # Errors
    /// [`Error::Entry`] naming what is missing or not of its type.
    pub fn to<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        de::from_fields(&self.fields)
    }
}

/// How many entries a follower gets at once; chosen.
const FOLLOW_ENTRIES: u64 = 128;

/// A reader of a stream with its own position. Nothing is acknowledged: what is to be remembered
/// beyond the process is the ID of the last entry that was used, for [`Start::After`].
#[derive(Debug, Clone)]
pub struct Follower {
    stream: Stream,
    after: Start,
    found: VecDeque<Entry>,
}

impl Follower {
    /// The next entry; waits until there is one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`CommandError::WrongType`].
    pub async fn next(&mut self) -> Result<Entry, Error> {
        loop {
            if let Some(entry) = self.read(Duration::ZERO).await? {
                return Ok(entry);
            }
        }
    }

    /// The next entry; `None` if there is none for so long.
    ///
    /// # Errors
    /// As [`Follower::next`].
    pub async fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Entry>, Error> {
        // No time at all is not forever.
        self.read(timeout.max(Duration::from_millis(1))).await
    }

    /// [`Follower::next`] for programs without async: blocks this thread.
    ///
    /// # Errors
    /// As [`Follower::next`].
    pub fn next_wait(&mut self) -> Result<Entry, Error> {
        super::block_on(self.next())
    }

    async fn read(&mut self, block: Duration) -> Result<Option<Entry>, Error> {
        if self.found.is_empty() {
            if self.after == Start::New {
                // `$` would mean another place each time.
                let last = self.stream.last(1).await?;
                self.after = Start::After(last.first().map_or(EntryId::MIN, |entry| entry.id));
            }
            let streams = vec![(self.stream.key.clone(), self.after)];
            let read = XRead { streams, count: Some(FOLLOW_ENTRIES), block: Some(block) };
            let found = self.stream.call(&read).await?;
            self.found = found.into_iter().flat_map(|(_, entries)| entries).collect();
        }
        let next = self.found.pop_front();
        if let Some(entry) = &next {
            self.after = Start::After(entry.id);
        }
        Ok(next)
    }
}
