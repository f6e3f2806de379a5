//! millstream: a Redis-protocol streams server, and the same engine as a library.
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
