//! `Transaction`: commands of the program that run together, as EXEC runs them.

use super::ask::{Answer, Ask, read_as};
use super::queue::{Delivery, Stream};
use super::{Database, Db};
use crate::command::value::Reader;
use crate::command::{Call, Reply, Requests, ToFields};
use crate::error::{CommandError, Error};
use std::fmt;

impl Db {
    /// Commands that run together, in database 0.
    pub fn transaction(&self) -> Transaction {
        self.zero().transaction()
    }
}

impl Database {
    /// Commands that run together, in this database.
    pub fn transaction(&self) -> Transaction {
        Transaction {
            database: self.clone(),
            requests: Requests::new(),
            deliveries: Vec::new(),
            refused: None,
        }
    }
}

/// Commands that run together: in their order, with no other between them, and all or none of
/// what they change survives a crash. From [`Db::transaction`].
///
/// A command that fails by itself (a key of another type) has its error as its answer, and the
/// others run nevertheless, as with EXEC. A reader that would wait finds nothing instead.
///
/// **Cost**: one trip to the shards, one write. Over several shards, which each wait for the last.
///
/// # Examples
/// Work that is acknowledged in the same instant in which its result appears:
/// ```
/// use millstream::{Db, Start};
///
/// # async fn example() -> Result<(), millstream::Error> {
/// let db = Db::builder().memory().open()?;
/// let (orders, bills) = (db.stream("orders"), db.stream("bills"));
/// let worker = orders.group("billing", Start::First).await?.consumer("w");
/// orders.add([("item", "tea")]).await?;
///
/// let order = worker.next().await?;
/// let answers = db
///     .transaction()
///     .add(&bills, [("for", order.text("item").unwrap_or_default())])
///     .command(["INCR", "billed"])
///     .ack(order)
///     .run()
///     .await?;
/// assert_eq!(answers[1].as_ref().unwrap().as_integer(), Some(1));
/// assert_eq!(bills.len().await?, 1);
/// # Ok(())
/// # }
/// # millstream::block_on(example()).unwrap();
/// ```
#[must_use = "nothing is asked before `run`"]
pub struct Transaction {
    database: Database,
    requests: Requests,
    /// What is acknowledged, and by which of the requests.
    deliveries: Vec<(usize, Delivery)>,
    refused: Option<Error>,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transaction { database, requests, .. } = self;
        let mut shown = f.debug_struct("Transaction");
        shown.field("database", database).field("commands", &requests.len());
        shown.finish_non_exhaustive()
    }
}

impl Transaction {
    /// Adds any command of the wire, by its words.
    pub fn command<A: AsRef<[u8]>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.requests.args(args);
        self.requests.end();
        self
    }

    /// Adds a typed command.
    pub fn call<C: Call>(mut self, call: C) -> Self {
        call.write(&mut self.requests);
        self.requests.end();
        self
    }

    /// Adds an entry to a stream of this database, as [`Stream::add`] does.
    pub fn add(mut self, stream: &Stream, fields: impl ToFields) -> Self {
        self.expect(stream.database());
        stream.write_add(&fields, &mut self.requests);
        self
    }

    /// Acknowledges an entry of this database. If it cannot be, the entry goes back to its group.
    pub fn ack(mut self, delivery: Delivery) -> Self {
        self.expect(delivery.database());
        delivery.write_ack(&mut self.requests);
        self.deliveries.push((self.requests.len() - 1, delivery));
        self
    }

    /// Runs the commands. Answers what each of them does, in their order.
    ///
    /// # Errors
    /// None has run then, but after [`Error::Storage`] or [`Error::Stopped`], which leave it
    /// unknown. [`Error::Command`] for the first that cannot be run: it is unknown or has too many
    /// or too few words, is for connections or not for transactions; the memory limit is reached
    /// or the disk is full ([`CommandError::Misconfigured`]); a stream or an entry is of another
    /// database.
    pub fn run(self) -> Answer<Vec<Result<Reply, CommandError>>> {
        let Transaction { database, requests, deliveries, refused } = self;
        if let Some(error) = refused {
            return Answer::failed(error);
        }
        let ask = Ask { is_transaction: true, ..database.ask_of(requests) };
        Answer::new(ask, move |reader| {
            if let Some(error) = reader.take_error() {
                return Err(error.into());
            }
            let n = read_as(reader, Reader::array).unwrap_or_default();
            let answers: Vec<_> = (0..n)
                .map(|_| match reader.take_error() {
                    Some(error) => Err(error),
                    None => Ok(read_as(reader, Reader::reply)),
                })
                .collect();
            for (command, delivery) in deliveries {
                if answers[command].is_ok() {
                    drop(delivery.keep());
                }
            }
            Ok(answers)
        })
    }

    /// Refuses the transaction if a handle is of another database.
    fn expect(&mut self, database: &Database) {
        if *database != self.database {
            let text = "ERR a transaction is of one database";
            self.refused.get_or_insert_with(|| CommandError::Fixed(text).into());
        }
    }
}
