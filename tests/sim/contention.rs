//! Threads that come at the same time for one wait: two shards with entries for it, and its
//! time-out. Whoever is first ends it, the others do nothing.

use crate::workload::shard_of;
use crate::world::{new_shards, run_on};
use millstream::command::Protocol;
use millstream::shard::waiters::{WaitCell, Woken};
use millstream::shard::{Blocker, Shard, Turn};
use millstream::stream::UnixMs;
use std::sync::Barrier;

fn run(shards: &mut [&mut Shard], line: &str) -> (Vec<u8>, Option<millstream::command::Wait>) {
    let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let mut reply = Vec::new();
    let mut turn = Turn::new(shards, UnixMs(1));
    let wait = run_on(&mut turn, &words, Protocol::Resp2, &mut reply);
    turn.serve();
    (reply, wait)
}

#[test]
fn a_wait_ends_once_whoever_comes_first() {
    const ROUNDS: usize = 300;
    assert_ne!(shard_of(b"s", 2), shard_of(b"t", 2));
    for _ in 0..ROUNDS {
        let mut shards = new_shards(2, (0, false), false);
        let [first, second] = &mut shards[..] else { panic!("there are two shards") };
        let mut hand = [&mut *first, &mut *second];
        for key in ["s", "t"] {
            run(&mut hand, &format!("XGROUP CREATE {key} g 0 MKSTREAM"));
        }
        let (_, wait) = run(&mut hand, "XREADGROUP GROUP g c BLOCK 0 STREAMS s t > >");
        let (cell, mut woken) = WaitCell::new();
        let blocker = Blocker { client: 1, cell: cell.clone(), db: 0, protocol: Protocol::Resp2 };
        Turn::new(&mut hand, UnixMs(1)).block(wait.unwrap(), blocker);

        let together = Barrier::new(3);
        let timed_out = std::thread::scope(|scope| {
            for (shard, key) in [(&mut *first, "s"), (&mut *second, "t")] {
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    run(&mut [&mut *shard], &format!("XADD {key} 1-1 f v"));
                    shard.end_turn(None, true).unwrap();
                });
            }
            together.wait();
            cell.wake(Woken::TimedOut)
        });
        let served = match woken.try_recv().unwrap() {
            Woken::Served(_) => 1,
            Woken::TimedOut => 0,
            Woken::Unblocked => panic!("nobody unblocked it"),
        };
        assert_eq!(served == 0, timed_out);
        let pending = |shard: &mut Shard, key: &str| {
            let (reply, _) = run(&mut [shard], &format!("XPENDING {key} g - + 9"));
            usize::from(reply.starts_with(b"*1"))
        };
        let (at_s, at_t) = match shard_of(b"s", 2) {
            0 => (pending(first, "s"), pending(second, "t")),
            _ => panic!("the key of the first shard is s"),
        };
        assert_eq!(at_s + at_t, served, "only the one that ended the wait delivered");
    }
}
