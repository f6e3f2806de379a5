//! RESP over TCP.

pub mod resp;
