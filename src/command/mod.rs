//! Typed commands: each a struct with `parse` and `run`, in that order.

pub mod args;
pub mod reply;
pub mod table;

pub use args::Request;
pub use reply::{Out, Protocol};
