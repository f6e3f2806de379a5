//! The stream.
pub mod id;
pub use id::{EntryId, UnixMs};
