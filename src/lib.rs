//! millstream: a Redis-protocol streams server, and the same engine as a library.
//!
//! # A durable queue in your own program
//!
//! ```
//! use millstream::{Db, Start};
//!
//! # async fn example() -> Result<(), millstream::Error> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let dir = dir.path().join("queue");
//! let db = Db::builder().dir(&dir).open()?;
//! let jobs = db.stream("jobs");
//! let worker = jobs.group("workers", Start::First).await?.consumer("worker-1");
//!
//! jobs.add([("url", "https://example.org")]).await?;
//!
//! let job = worker.next().await?; // waits; dropped unacknowledged, it goes back
//! assert_eq!(job.text("url"), Some("https://example.org"));
//! job.ack().await?;
//! # Ok(())
//! # }
//! # millstream::block_on(example()).unwrap();
//! ```
//!
//! | to | use |
//! |---|---|
//! | open a directory, or memory only | [`Db::builder`] |
//! | add, read by ID or time, trim | [`Stream`] |
//! | let every reader see every entry | [`Follower`], by [`Stream::follow`] |
//! | share entries out, each to be acknowledged | [`Group`], [`Consumer`], [`Delivery`] |
#![cfg_attr(
    feature = "serde",
    doc = "| keep a struct in an entry | [`Stream::add_struct`], [`Entry::to`] (feature `serde`) |"
)]
//! | run a stream command as a type | [`Db::call`] with [`command::typed`] |
//! | run any command by its words | [`Db::command`] |
//! | run several as one | [`Db::transaction`] |
//! | use another database than 0 | [`Db::select`] |
#![cfg_attr(
    feature = "server",
    doc = "| let Redis clients in | [`Db::serve`] (feature `server`) |"
)]
//! | stop | [`Db::close`], or drop it |
//!
//! Calls give an [`Answer`]: awaited on any executor it never blocks that executor's thread;
//! [`Answer::wait`] blocks the caller's, for programs without async. What it means that a change
//! was answered is set by [`Builder::appendfsync`].
//!
//! A database belongs to the process that opened it. A child made by `fork` without `exec` has
//! none of its threads and must not use the handles it inherits: dropping them does nothing there.
//! A program that detaches itself does so before it opens.
//!
//! A program that wants no more than this turns the default features off: no network, no command
//! line. When to use it, when not, and what is guaranteed: see the README.
//!
//! # How it works
//!
//! The way of a request, from socket to structure and back:
//!
//! | step | where |
//! |---|---|
//! | bytes become a request | `server/resp.rs` |
//! | a request finds its row and its shards | [`command::table`], `server/connection.rs` |
//! | a turn runs it with its shards in hand | [`shard`], [`db::home`] |
//! | the command reads, decides, commits | [`command`] |
//! | a commit applies the change and encodes it | [`keyspace`], [`stream`] |
//! | the turn's end appends one frame | [`persist::aof`] |
//! | the reply leaves when the log has it | `server/output.rs` |
//!
//! Imports point down: `server` → `db` → `shard` → `command` → `keyspace` → `stream` → [`rax`],
//! [`codec`]. The state changes only in [`stream::Stream::apply`] and
//! [`keyspace::Spaces::apply`], live, on replay and embedded alike.
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod codec;
pub mod command;
pub mod config;
pub mod db;
pub mod error;
pub mod glob;
pub mod keyspace;
pub mod persist;
pub mod pubsub;
pub mod rax;
pub mod rdb;
#[cfg(feature = "server")]
pub mod server;
pub mod shard;
pub mod stream;
mod sync;
#[doc(hidden)]
pub mod testing;

pub use command::typed::{Mode, Start, Trim};
pub use command::{Call, Entry, Reply, ToFields};
pub use config::{Config, Fsync};
pub use db::queue::{Consumer, Delivery, Follower, Group, Stream};
pub use db::{Answer, Builder, Database, Db, Transaction, block_on};
pub use error::{CommandError, Error, StorageError};
#[cfg(feature = "server")]
pub use server::Listening;
pub use stream::EntryId;
