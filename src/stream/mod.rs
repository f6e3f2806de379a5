//! The stream.
pub mod block;
pub mod fields;
pub mod id;
pub mod image;
pub use block::{Block, BlockLimits, EntryRef};
pub use fields::{Fields, Span};
pub use id::{EntryId, UnixMs};
