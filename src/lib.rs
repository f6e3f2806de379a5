//! millstream: a Redis-protocol streams server, and the same engine as a library.
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
#[doc(hidden)]
pub mod testing;

pub use command::typed::{Mode, Start, Trim};
pub use command::{Call, Entry, Reply, ToFields};
pub use config::{Config, Fsync};
pub use db::queue::{Consumer, Delivery, Follower, Group, Stream};
pub use db::{Answer, Builder, Db, block_on};
pub use error::{CommandError, Error, StorageError};
#[cfg(feature = "server")]
pub use server::Listening;
pub use stream::EntryId;
