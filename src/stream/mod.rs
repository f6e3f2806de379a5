//! The stream.
pub mod block;
pub mod entries;
pub mod fields;
pub mod id;
pub mod image;
pub mod pel;
pub use block::{Block, BlockLimits, EntryRef};
pub use entries::Entries;
pub use fields::{Fields, Span};
pub use id::{EntryId, UnixMs};
