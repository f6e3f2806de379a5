//! Many blocked readers: who is served, who is told, and when they are tried again.

use super::waiters::{WaitCell, Woken};
use super::{Blocker, Shard, Turn, WOKEN_AT_ONCE};
use crate::command::{Out, OwnedRequest, Protocol, Ran, table};
use crate::keyspace::{Rules, SLOTS};
use crate::stream::UnixMs;
use std::hash::RandomState;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A shard and its clock.
struct World {
    shard: Shard,
    now: UnixMs,
    clients: u64,
}

impl World {
    fn new() -> World {
        let rules = Arc::new(Rules::default());
        let shard = Shard::new(0..SLOTS, RandomState::new(), rules, false);
        World { shard, now: UnixMs(1000), clients: 0 }
    }

    /// Runs a command; where the end of its wait arrives, if it waits.
    fn run(&mut self, words: &str) -> Option<oneshot::Receiver<Woken>> {
        self.clients += 1;
        let request = OwnedRequest::new(words.split(' ').map(str::as_bytes));
        let request = request.request();
        let mut shards = [&mut self.shard];
        let mut turn = Turn::new(&mut shards, self.now);
        let (mut reply, protocol) = (Vec::new(), Protocol::Resp2);
        let mut out = Out::new(&mut reply, protocol);
        let ran = turn.run(table::lookup(&request).unwrap(), &request, 0, &mut out).unwrap();
        let Ran::WouldBlock(wait) = ran else {
            turn.serve();
            return None;
        };
        let (cell, woken) = WaitCell::new();
        turn.block(*wait, Blocker { client: self.clients, cell, db: 0, protocol });
        Some(woken)
    }

    /// Gives the shard a turn if it wants one by now.
    fn pass(&mut self, ms: u64) {
        self.now.0 += ms;
        if self.shard.next_due().is_some_and(|due| due <= self.now) {
            Turn::new(&mut [&mut self.shard], self.now).tend();
        }
        self.shard.end_turn(None, true).unwrap();
    }
}

/// What a reader was told, if it was.
fn told(woken: &mut oneshot::Receiver<Woken>) -> Option<String> {
    match woken.try_recv() {
        Ok(Woken::Served(served)) => Some(String::from_utf8(served.reply).unwrap()),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    }
}

#[test]
fn the_ends_of_turns_tell_many_readers_a_few_at_a_time_in_their_order() {
    let mut world = World::new();
    let mut readers: Vec<_> =
        (0..2 * WOKEN_AT_ONCE + 1).map(|_| world.run("XREAD BLOCK 0 STREAMS s $")).collect();
    world.run("XADD s 1-0 f v");
    let mut told_before = 0;
    for expected in [WOKEN_AT_ONCE, 2 * WOKEN_AT_ONCE, readers.len()] {
        world.pass(0);
        let replies = readers[told_before..].iter_mut();
        let told = replies.map_while(|reader| told(reader.as_mut().unwrap()));
        told_before += told.inspect(|reply| assert!(reply.contains("1-0"))).count();
        assert_eq!(told_before, expected);
        assert_eq!(world.shard.has_more_to_wake(), expected < readers.len());
    }
    assert_eq!(world.shard.figures().blocking_keys, 0);
}

#[test]
fn readers_that_ask_for_the_same_get_the_same_and_others_what_is_theirs() {
    let mut world = World::new();
    world.run("XADD s 1-0 f v");
    let asked = ["$", "1-0", "1-7", "$", "5-0", "2-0", "1-0"];
    let block = |id: &&str| world.run(&format!("XREAD BLOCK 0 STREAMS t s $ {id}"));
    let mut readers: Vec<_> = asked.iter().map(block).collect();
    world.run("XADD s 2-0 f v");
    world.pass(0);
    for (id, reader) in asked.iter().zip(&mut readers) {
        let told = told(reader.as_mut().unwrap());
        assert_eq!(told.is_some(), !["5-0", "2-0"].contains(id), "{id}");
        assert!(
            told.is_none_or(|reply| reply.ends_with("$3\r\n2-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"))
        );
    }
    assert_eq!(world.shard.figures().blocking_keys, 2);
    world.run("XADD t 1-0 f v");
    world.pass(0);
    assert_eq!(readers.iter_mut().filter_map(|reader| told(reader.as_mut()?)).count(), 2);
    assert_eq!(world.shard.figures().blocking_keys, 0);
}

#[test]
fn who_takes_pending_entries_is_tried_when_there_can_be_any() {
    let mut world = World::new();
    world.run("XGROUP CREATE s g $ MKSTREAM");
    let claim = |idle: u64| format!("XREADGROUP GROUP g c{idle} CLAIM {idle} BLOCK 0 STREAMS s >");
    // Each asks for less than the one before it.
    let idle: Vec<u64> = (0..100).map(|n| 10_000 - 100 * n).collect();
    let mut readers: Vec<_> = idle.iter().map(|idle| world.run(&claim(*idle)).unwrap()).collect();
    world.run("XADD s 1-0 f v");
    world.pass(0);
    assert!(told(&mut readers[0]).is_some(), "the first gets what is new");
    // Then the others, as soon as the entry has been idle for long enough; each takes it anew.
    let delivered = world.now;
    let mut served = 0;
    for _ in 0..100 {
        world.pass(1);
        served += readers[1..].iter_mut().filter_map(told).count();
    }
    assert_eq!(served, 1, "the last asks for 100 ms");
    assert_eq!(world.now.since(delivered), 100);
    for round in 2..=5_u64 {
        for _ in 0..100 * round {
            assert_eq!(readers[1..].iter_mut().filter_map(told).count(), 0, "{round}");
            world.pass(1);
        }
        let last = readers.len() - usize::try_from(round).unwrap();
        assert!(told(&mut readers[last]).is_some(), "{round}");
    }
}
