//! `Delivery`: an entry that was delivered, and must be acknowledged. One that is dropped without
//! goes back to the group at once, so an early return or a panic loses nothing.

use super::group::Seat;
use crate::command::typed::{Delivered, Mode};
use crate::command::{Entry, Requests};
use crate::db::Database;
use crate::db::ask::Answer;
use crate::stream::EntryId;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// An entry in the hands of a consumer; an [`Entry`] by `Deref`.
///
/// Call [`Delivery::ack`] when its work is done. Dropped without, it is given back, as by
/// [`Delivery::nack`], and the next consumer that asks gets it.
#[derive(Debug)]
#[must_use = "an entry that is dropped goes back to the group"]
pub struct Delivery {
    /// Taken when nothing is left to do.
    entry: Option<Entry>,
    seat: Arc<Seat>,
    before: Option<(Duration, u64)>,
}

impl Delivery {
    pub(super) fn new(seat: Arc<Seat>, Delivered { entry, before }: Delivered) -> Self {
        Delivery { entry: Some(entry), seat, before }
    }

    /// The entry.
    ///
    /// # Panics
    /// Never: it is there until the delivery is used up.
    pub fn entry(&self) -> &Entry {
        self.entry.as_ref().expect("a delivery holds its entry until it is used up")
    }

    /// The entry's ID.
    pub fn id(&self) -> EntryId {
        self.entry().id
    }

    /// Which delivery of this entry this is, from 1; `None` if it came by claiming or listing what
    /// is pending, which does not tell.
    pub fn attempt(&self) -> Option<u64> {
        self.before.map(|(_, deliveries)| deliveries.saturating_add(1))
    }

    /// Acknowledges the entry: the group will never deliver it again. Answers whether it still was
    /// this group's to acknowledge; it was not if the lease had ended and another did.
    ///
    /// # Errors
    /// [`crate::Error::Stopped`], [`crate::Error::Storage`]: whether it is acknowledged is unknown.
    pub fn ack(self) -> Answer<bool> {
        let seat = self.seat.clone();
        seat.place.ack(&[self.id()], move |acknowledged| {
            self.keep();
            acknowledged > 0
        })
    }

    /// The database that it is in.
    pub(in crate::db) fn database(&self) -> &Database {
        self.seat.place.database()
    }

    /// Writes the request of [`Delivery::ack`].
    pub(in crate::db) fn write_ack(&self, requests: &mut Requests) {
        self.seat.place.write_ack(&[self.id()], requests);
    }

    /// Gives the entry back: the next consumer that asks gets it.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub fn nack(self) -> Answer<()> {
        self.nack_as(Mode::Fail)
    }

    /// [`Delivery::nack`], saying what it does to the delivery count.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub fn nack_as(self, mode: Mode) -> Answer<()> {
        let seat = self.seat.clone();
        seat.place.nack(vec![self.id()], mode).map(move |_| drop(self.keep()))
    }

    /// Begins the lease anew, for work that takes longer.
    ///
    /// # Errors
    /// [`crate::CommandError::NoGroup`].
    pub fn extend(&self) -> Answer<()> {
        self.seat.place.extend(&self.seat.name, self.id())
    }

    /// The entry alone. It stays pending: acknowledge it by [`super::Group::ack`].
    ///
    /// # Panics
    /// Never: the entry is there until the delivery is used up.
    pub fn keep(mut self) -> Entry {
        self.entry.take().expect("a delivery holds its entry until it is used up")
    }
}

impl Deref for Delivery {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        self.entry()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.seat.place.nack_soon(vec![entry.id], Mode::Fail);
        }
    }
}
