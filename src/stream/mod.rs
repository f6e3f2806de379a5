//! The stream.
pub mod fields;
pub mod id;
pub mod image;
pub use fields::{Fields, Span};
pub use id::{EntryId, UnixMs};
