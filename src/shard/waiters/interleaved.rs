//! The wait cell in every order of the steps of those who may end it.

use super::{WaitCell, Waiter, Woken};
use crate::command::{OwnedRequest, Protocol};
use loom::thread;
use std::sync::Arc;
use tokio::sync::oneshot;

fn blocked() -> (Arc<Waiter>, oneshot::Receiver<Woken>) {
    let (cell, woken) = WaitCell::new();
    let waiter = Waiter {
        client: 1,
        cell,
        db: 0,
        protocol: Protocol::Resp2,
        keys: Vec::new(),
        foreign: Box::default(),
        group: None,
        claim_idle_ms: None,
        request: OwnedRequest::default(),
    };
    (Arc::new(waiter), woken)
}

/// A shard that has entries; whether it served.
fn serve(waiter: &Waiter) -> bool {
    let Some(taken) = waiter.take() else { return false };
    let wake = taken.end().expect("who takes it has the only right to wake");
    wake.send(Woken::TimedOut).is_ok()
}

#[test]
fn m01_a_shard_that_found_nothing_gives_the_wait_back() {
    loom::model(|| {
        let (waiter, mut woken) = blocked();
        let other = waiter.clone();
        let thread = thread::spawn(move || {
            drop(other.take());
            serve(&other)
        });
        let unblocked = waiter.cell.wake(Woken::Unblocked);
        let served = thread.join().expect("it does not panic");
        assert_ne!(unblocked, served);
        match woken.try_recv().expect("somebody woke it") {
            Woken::Unblocked => assert!(unblocked),
            Woken::TimedOut | Woken::Served(_) => assert!(served),
        }
    });
}

#[test]
fn m01_two_shards_serve_once() {
    loom::model(|| {
        let (waiter, mut woken) = blocked();
        let other = waiter.clone();
        let thread = thread::spawn(move || serve(&other));
        let served = [serve(&waiter), thread.join().expect("it does not panic")];
        assert_ne!(served[0], served[1]);
        assert!(woken.try_recv().is_ok());
    });
}

#[test]
fn m01_a_reader_that_gives_up_is_not_served() {
    loom::model(|| {
        let (waiter, mut woken) = blocked();
        let other = waiter.clone();
        let thread = thread::spawn(move || serve(&other));
        let gave_up = waiter.cell.end();
        let served = thread.join().expect("it does not panic");
        assert_ne!(gave_up, served);
        assert_eq!(served, woken.try_recv().is_ok());
    });
}
