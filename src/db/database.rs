//! `Database`: one of the numbered databases, and what a program may ask of it.

use super::ask::{Answer, Ask, read_as};
use super::{Core, Db, database_count};
use crate::command::keys::check_database;
use crate::command::value::{Reader, Unexpected};
use crate::command::{Call, Reply, Requests};
use crate::error::Error;
use std::fmt;
use std::sync::Arc;

/// One of the numbered databases of a [`Db`], each with keys of its own: from [`Db::select`].
///
/// A handle, as [`crate::Stream`] is: free to make and to clone, for any thread. It does not keep
/// the database open.
///
/// # Examples
/// ```
/// # let db = millstream::Db::builder().memory().open()?;
/// let tests = db.select(1)?;
/// tests.stream("orders").add([("item", "tea")]).wait()?;
/// assert_eq!(tests.stream("orders").len().wait()?, 1);
/// assert_eq!(db.stream("orders").len().wait()?, 0);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Clone)]
pub struct Database {
    core: Arc<Core>,
    number: u8,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("number", &self.number).finish_non_exhaustive()
    }
}

impl PartialEq for Database {
    /// Whether both are the same database of the same [`Db`].
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.core, &other.core)
    }
}

impl Eq for Database {}

impl Db {
    /// A database by its number; the handle itself speaks of number 0.
    ///
    /// # Errors
    /// [`Error::Command`] if the setting `databases` (16 unless set) allows no such number.
    pub fn select(&self, number: u8) -> Result<Database, Error> {
        let number = check_database(number, database_count(&self.core.config()))?;
        Ok(Database { core: self.core.clone(), number })
    }

    /// Database 0, which is always there.
    pub(super) fn zero(&self) -> Database {
        Database { core: self.core.clone(), number: 0 }
    }
}

impl Database {
    /// Its number.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Runs a typed command, as [`Db::call`] does.
    ///
    /// # Errors
    /// As [`Db::call`].
    pub fn call<C: Call>(&self, call: C) -> Answer<C::Output> {
        self.call_by_ref(&call)
    }

    /// Runs any command of the wire, as [`Db::command`] does.
    ///
    /// # Errors
    /// As [`Db::command`].
    pub fn command<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Answer<Reply> {
        let mut requests = Requests::new();
        requests.args(args);
        self.ask(requests, Reader::reply)
    }

    /// [`Database::call`] of a command that is kept.
    pub(super) fn call_by_ref<C: Call>(&self, call: &C) -> Answer<C::Output> {
        let mut requests = Requests::new();
        call.write(&mut requests);
        self.ask(requests, C::read)
    }

    /// Asks one thing, which has been written.
    fn ask<T: 'static>(
        &self,
        mut requests: Requests,
        read: fn(&mut Reader) -> Result<T, Unexpected>,
    ) -> Answer<T> {
        requests.end();
        Answer::new(self.ask_of(requests), move |reader| match reader.take_error() {
            Some(error) => Err(error.into()),
            None => Ok(read_as(reader, read)),
        })
    }

    /// These requests, for this database.
    pub(super) fn ask_of(&self, requests: Requests) -> Ask {
        let (core, db) = (self.core.clone(), self.number);
        Ask { core, db, requests, is_transaction: false, lost: None }
    }
}
