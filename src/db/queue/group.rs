//! `Group` and `Consumer`: entries shared out among consumers, each to be acknowledged.

use super::Delivery;
use crate::command::Requests;
use crate::command::entry::Entry;
use crate::command::typed::{
    Call, Deleted, Delivered, Mode, PendingSummary, Start, XAutoClaim, XGroupDestroy, XGroupSetId,
    XNack, XPending, XReadGroup,
};
use crate::command::value::{Reader, Unexpected};
use crate::db::Database;
use crate::db::ask::{Answer, Ask, read_as};
use crate::error::Error;
use crate::stream::EntryId;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// After so long without acknowledgement an entry is handed to another consumer, unless
/// [`Group::lease`] says otherwise; chosen.
const LEASE: Duration = Duration::from_secs(30);

/// A consumer group: each entry goes to one of its consumers, and stays pending until it is
/// acknowledged. What is not comes again: at once if it was given back, else after the lease.
#[derive(Clone)]
pub struct Group {
    place: Arc<Place>,
}

/// A group of a stream of a database, and how it is used.
#[derive(Clone)]
pub(super) struct Place {
    database: Database,
    key: Bytes,
    group: Bytes,
    lease: Duration,
    deletes: bool,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("key", &self.key)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.place).finish()
    }
}

impl Place {
    /// Acknowledges entries; answers what is made of how many were pending.
    pub(super) fn ack<T>(
        &self,
        ids: &[EntryId],
        then: impl FnOnce(u64) -> T + Send + 'static,
    ) -> Answer<T> {
        let mut requests = Requests::new();
        self.write_ack(ids, &mut requests);
        let read = if self.deletes { Deleted::read_found } else { Reader::count };
        Answer::new(self.database.ask_of(requests), move |reader| match reader.take_error() {
            Some(error) => Err(error.into()),
            None => Ok(then(read_as(reader, read))),
        })
    }

    /// Writes the request of [`Place::ack`].
    pub(super) fn write_ack(&self, ids: &[EntryId], requests: &mut Requests) {
        let word = if self.deletes { "XACKDEL" } else { "XACK" };
        requests.arg(word).arg(&self.key).arg(&self.group);
        if self.deletes {
            requests.arg("ACKED").arg("IDS").number(ids.len() as u64);
        }
        requests.ids(ids).end();
    }

    /// The database that it is in.
    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Gives entries back; answers how many were pending.
    pub(super) fn nack(&self, ids: Vec<EntryId>, mode: Mode) -> Answer<u64> {
        self.database.call_by_ref(&self.xnack(ids, mode))
    }

    /// Gives entries back, and waits for nothing.
    pub(super) fn nack_soon(&self, ids: Vec<EntryId>, mode: Mode) {
        let mut requests = Requests::new();
        self.xnack(ids, mode).write(&mut requests);
        requests.end();
        self.database.ask_of(requests).send_off();
    }

    fn xnack(&self, ids: Vec<EntryId>, mode: Mode) -> XNack {
        let (key, group) = (self.key.clone(), self.group.clone());
        XNack { key, group, mode, ids, retry_count: None, force: false }
    }

    /// Begins the lease of an entry anew.
    pub(super) fn extend(&self, consumer: &Bytes, id: EntryId) -> Answer<()> {
        let claim = crate::command::typed::XClaim {
            key: self.key.clone(),
            group: self.group.clone(),
            consumer: consumer.clone(),
            ids: vec![id],
            just_id: true,
            ..Default::default()
        };
        self.database.call_by_ref(&claim).map(drop)
    }
}

impl Group {
    pub(super) fn new(database: Database, key: Bytes, group: Bytes) -> Self {
        Group { place: Arc::new(Place { database, key, group, lease: LEASE, deletes: false }) }
    }

    /// Its name.
    pub fn name(&self) -> &Bytes {
        &self.place.group
    }

    /// The same group, whose entries are handed to another consumer when they have not been
    /// acknowledged for so long: after a crash of the consumer, or because it takes too long
    /// ([`Delivery::extend`]). 30 seconds unless set.
    pub fn lease(mut self, lease: Duration) -> Self {
        Arc::make_mut(&mut self.place).lease = lease;
        self
    }

    /// The same group, whose entries are deleted when this group and all others of the stream have
    /// acknowledged them: a work queue, which is as long as the work that is left.
    pub fn delete_acknowledged(mut self) -> Self {
        Arc::make_mut(&mut self.place).deletes = true;
        self
    }

    /// A consumer of this group. It is created by its first call. Two that have the same name are
    /// one.
    pub fn consumer(&self, name: impl Into<Bytes>) -> Consumer {
        Consumer { seat: Arc::new(Seat { place: self.place.clone(), name: name.into() }) }
    }

    /// Acknowledges entries by their IDs; answers how many were pending.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Storage`].
    pub fn ack(&self, ids: &[EntryId]) -> Answer<u64> {
        self.place.ack(ids, |acknowledged| acknowledged)
    }

    /// Acknowledges entries together: one trip to the shard, one write. If it fails, they go back.
    ///
    /// # Errors
    /// As [`Group::ack`].
    pub fn ack_all(&self, deliveries: Vec<Delivery>) -> Answer<u64> {
        let ids: Vec<EntryId> = deliveries.iter().map(Delivery::id).collect();
        self.place.ack(&ids, move |acknowledged| {
            deliveries.into_iter().for_each(|delivery| drop(delivery.keep()));
            acknowledged
        })
    }

    /// Gives entries back by their IDs; answers how many were pending.
    ///
    /// # Errors
    /// [`crate::CommandError::NoGroup`].
    pub fn nack(&self, ids: &[EntryId], mode: Mode) -> Answer<u64> {
        self.place.nack(ids.to_vec(), mode)
    }

    /// What is pending, in short.
    ///
    /// # Errors
    /// [`crate::CommandError::NoGroup`].
    pub fn pending(&self) -> Answer<PendingSummary> {
        let (key, group) = (self.place.key.clone(), self.place.group.clone());
        self.place.database.call_by_ref(&XPending { key, group })
    }

    /// Goes on elsewhere: replays from a place or a time ([`Start::at`]), or skips. What is
    /// pending stays so.
    ///
    /// # Errors
    /// [`crate::CommandError::NoGroup`].
    pub fn go_to(&self, start: Start) -> Answer<()> {
        let (key, group) = (self.place.key.clone(), self.place.group.clone());
        self.place.database.call_by_ref(&XGroupSetId { key, group, start, entries_read: None })
    }

    /// Deletes the group and what is pending in it; answers whether there was one.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Storage`].
    pub fn destroy(&self) -> Answer<bool> {
        let (key, group) = (self.place.key.clone(), self.place.group.clone());
        self.place.database.call_by_ref(&XGroupDestroy { key, group })
    }
}

/// A consumer of a group.
///
/// # Examples
/// ```
/// use millstream::{Db, Start};
///
/// # async fn example() -> Result<(), millstream::Error> {
/// let db = Db::builder().memory().open()?;
/// let jobs = db.stream("jobs");
/// let worker = jobs.group("workers", Start::First).await?.consumer("worker-1");
/// jobs.add([("url", "https://example.org")]).await?;
///
/// let job = worker.next().await?;
/// assert_eq!(job.text("url"), Some("https://example.org"));
/// job.ack().await?;
/// # Ok(())
/// # }
/// # millstream::block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Consumer {
    seat: Arc<Seat>,
}

/// A consumer's name, and its group.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) place: Arc<Place>,
    pub(super) name: Bytes,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &Bytes {
        &self.seat.name
    }

    /// The next entry: one that was given back, or whose lease is over, else a new one. Waits
    /// until there is one; consumers that wait are served in the order in which they came.
    ///
    /// Dropping the future loses nothing: what it may have got goes back.
    ///
    /// # Errors
    /// [`crate::CommandError::NoGroup`] if the group goes, [`Error::Stopped`], [`Error::Storage`].
    pub async fn next(&self) -> Result<Delivery, Error> {
        loop {
            if let Some(delivery) = self.deliver(1, Some(Duration::ZERO)).await?.pop() {
                return Ok(delivery);
            }
        }
    }

    /// [`Consumer::next`]; `None` if there is nothing for so long.
    ///
    /// # Errors
    /// As [`Consumer::next`].
    pub async fn next_timeout(&self, timeout: Duration) -> Result<Option<Delivery>, Error> {
        // No time at all is not forever.
        let block = timeout.max(Duration::from_millis(1));
        Ok(self.deliver(1, Some(block)).await?.pop())
    }

    /// As many entries as are there, at most `count`; waits for so long until there is one.
    ///
    /// # Errors
    /// As [`Consumer::next`].
    pub async fn next_many(&self, count: u64, timeout: Duration) -> Result<Vec<Delivery>, Error> {
        let block = timeout.max(Duration::from_millis(1));
        self.deliver(count, Some(block)).await
    }

    /// As many entries as are there now, at most `count`; does not wait.
    ///
    /// # Errors
    /// As [`Consumer::next`].
    pub fn take(&self, count: u64) -> Answer<Vec<Delivery>> {
        self.deliver(count, None)
    }

    /// [`Consumer::next`] for programs without async: blocks this thread.
    ///
    /// # Errors
    /// As [`Consumer::next`].
    pub fn next_wait(&self) -> Result<Delivery, Error> {
        loop {
            if let Some(delivery) = self.deliver(1, Some(Duration::ZERO)).wait()?.pop() {
                return Ok(delivery);
            }
        }
    }

    /// [`Consumer::next_timeout`] for programs without async: blocks this thread.
    ///
    /// # Errors
    /// As [`Consumer::next`].
    pub fn next_wait_timeout(&self, timeout: Duration) -> Result<Option<Delivery>, Error> {
        let block = timeout.max(Duration::from_millis(1));
        Ok(self.deliver(1, Some(block)).wait()?.pop())
    }

    /// What this consumer was given and has not acknowledged, oldest first, at most `count`: after
    /// a restart under the same name, before the leases are over.
    ///
    /// # Errors
    /// [`crate::CommandError::NoGroup`].
    pub fn pending(&self, count: u64) -> Answer<Vec<Delivery>> {
        self.read(count, None, Some(EntryId::MIN), None)
    }

    /// Takes over what any consumer has held for so long, at most `count`, by XAUTOCLAIM.
    ///
    /// # Errors
    /// [`crate::CommandError::NoGroup`].
    pub fn claim(&self, min_idle: Duration, count: u64) -> Answer<Vec<Delivery>> {
        let Seat { place, name } = &*self.seat;
        let claim = XAutoClaim {
            key: place.key.clone(),
            group: place.group.clone(),
            consumer: name.clone(),
            min_idle,
            start: EntryId::MIN,
            count: Some(count),
        };
        let mut requests = Requests::new();
        claim.write(&mut requests);
        self.ask(requests, |reader| {
            let claimed = XAutoClaim::read(reader)?.entries.into_iter();
            Ok(claimed.map(|entry| Delivered { entry, before: None }).collect())
        })
    }

    fn deliver(&self, count: u64, block: Option<Duration>) -> Answer<Vec<Delivery>> {
        self.read(count, block, None, Some(self.seat.place.lease))
    }

    fn read(
        &self,
        count: u64,
        block: Option<Duration>,
        after: Option<EntryId>,
        claim: Option<Duration>,
    ) -> Answer<Vec<Delivery>> {
        let Seat { place, name } = &*self.seat;
        let read = XReadGroup {
            group: place.group.clone(),
            consumer: name.clone(),
            count: Some(count),
            block,
            claim,
            ..XReadGroup::default()
        };
        let mut requests = Requests::new();
        read.write_for(std::iter::once((&place.key[..], after)), &mut requests);
        self.ask(requests, XReadGroup::read_one)
    }

    /// Asks one thing, which has been written, for deliveries; those that nobody takes go back.
    fn ask(
        &self,
        mut requests: Requests,
        read: fn(&mut Reader) -> Result<Vec<Delivered>, Unexpected>,
    ) -> Answer<Vec<Delivery>> {
        requests.end();
        let seat = self.seat.clone();
        let lost = Box::new(move |replies| {
            let mut reader = Reader::new(replies);
            if reader.take_error().is_none() {
                let found = read_as(&mut reader, read);
                let ids: Vec<EntryId> = found.iter().map(|one| one.entry.id).collect();
                if !ids.is_empty() {
                    // Nobody has seen them.
                    seat.place.nack_soon(ids, Mode::Silent);
                }
            }
        });
        let seat = self.seat.clone();
        let ask = Ask { lost: Some(lost), ..seat.place.database.ask_of(requests) };
        Answer::new(ask, move |reader| match reader.take_error() {
            Some(error) => Err(error.into()),
            None => {
                let found = read_as(reader, read).into_iter();
                Ok(found.map(|delivered| Delivery::new(seat.clone(), delivered)).collect())
            }
        })
    }
}

impl From<&Delivery> for Entry {
    fn from(delivery: &Delivery) -> Entry {
        delivery.entry().clone()
    }
}
