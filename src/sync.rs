//! What threads that speak to each other without a channel are made of: the standard library's
//! parts, or, in tests built with `--cfg interleave`, loom's, which try every order of steps.

#[cfg(all(test, interleave))]
pub(crate) use loom::sync::Mutex;
#[cfg(all(test, interleave))]
pub(crate) use loom::sync::atomic::AtomicBool;
#[cfg(all(test, interleave))]
pub(crate) use loom::sync::atomic::AtomicU8;
#[cfg(all(test, interleave))]
pub(crate) use loom::thread::yield_now;
#[cfg(not(all(test, interleave)))]
pub(crate) use std::sync::Mutex;
#[cfg(not(all(test, interleave)))]
pub(crate) use std::sync::atomic::AtomicBool;
#[cfg(not(all(test, interleave)))]
pub(crate) use std::sync::atomic::AtomicU8;
#[cfg(not(all(test, interleave)))]
pub(crate) use std::thread::yield_now;
