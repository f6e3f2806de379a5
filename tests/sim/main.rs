//! The simulator: a seed picks commands, clock, faults and crash points; real shards and a naive
//! model run them side by side, and every reply and every state must be equal.
//!
//! `SIM_SEEDS` and `SIM_STEPS` make it longer, `SIM_FIRST` begins at another seed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod contention;
mod ledger;
mod model;
mod reply;
mod watch;
mod workload;
mod world;

use ledger::{Ledger, LogSetup};
use millstream::command::Protocol;
use millstream::persist::SyncPolicy;
use millstream::testing::{EIO, ENOSPC, Fault, Op, Rng};
use std::panic::{AssertUnwindSafe, catch_unwind};
use workload::{KEYS, Workload};
use world::{Figures, Setup, Step, World};

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a test varies.
#[derive(Debug, Clone, Copy)]
struct Plan {
    shards: u16,
    blocks: bool,
    malformed: usize,
    /// Whether the clock jumps.
    jumps: bool,
    /// Whether there is a log, and crashes.
    crashes: bool,
    /// Whether snapshots are taken.
    snapshots: bool,
    /// Whether also what no reply promises to keep must be kept.
    everything: bool,
    /// Whether the profile is Valkey's.
    valkey: bool,
    steps: usize,
}

fn setup_of(rng: &mut Rng, plan: Plan) -> Setup {
    Setup {
        shards: plan.shards,
        protocol: if rng.chance(1, 4) { Protocol::Resp3 } else { Protocol::Resp2 },
        block_entries: [0, 1, 2, 3, 5, 100][rng.below(6)],
        log: plan.crashes.then(|| LogSetup {
            seed: rng.next_u64(),
            policy: [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No][rng.below(3)],
            everything: plan.everything,
        }),
        valkey: plan.valkey,
    }
}

/// The next time: mostly a little later.
fn next_time(rng: &mut Rng, now: u64, jumps: bool) -> u64 {
    const HOUR: u64 = 3_600_000;
    const YEAR_9999: u64 = 253_402_300_799_000;
    /// Where seconds need more than 32 bits.
    const YEAR_2106: u64 = 4_294_967_296_000;
    if jumps && rng.chance(1, 60) {
        return match rng.below(7) {
            0 => now.saturating_sub(HOUR),
            1 | 2 => now + HOUR,
            3 => now.saturating_sub(1000),
            4 => 1,
            5 => YEAR_2106,
            _ => YEAR_9999,
        };
    }
    now + [0, 0, 1, 1, 2, 7][rng.below(6)]
}

/// What happens next.
fn next_step(world: &World, load: &mut Workload, plan: Plan) -> Step {
    let now = next_time(&mut load.rng, world.model.now, plan.jumps);
    let shard = load.rng.below(usize::from(plan.shards));
    if plan.crashes && load.rng.chance(1, 3) {
        return log_step(world, &mut load.rng, plan);
    }
    match load.rng.below(40) {
        0..=2 => Step::Tend { now, shard },
        3 if load.rng.chance(1, 2) => Step::Watch {
            db: [0, 0, 1, 2][load.rng.below(4)],
            key: KEYS[load.rng.below(KEYS.len())].into(),
        },
        3 => Step::Forget { now, shard },
        4..=7 => {
            let n = load.rng.below(4) + 1;
            Step::Run { now, batch: (0..n).map(|_| load.command(&world.model)).collect() }
        }
        _ => {
            load.blocks = plan.blocks && world.may_block();
            let command = load.command(&world.model);
            load.blocks = false;
            Step::Run { now, batch: vec![command] }
        }
    }
}

/// What happens next to the log.
fn log_step(world: &World, rng: &mut Rng, plan: Plan) -> Step {
    let crash = |rng: &mut Rng| Step::Crash {
        seed: rng.next_u64(),
        kill: rng.chance(1, 3),
        shards: match plan.snapshots {
            true => u16::try_from(1 + rng.below(usize::from(plan.shards))).unwrap(),
            false => [1, plan.shards][rng.below(2)],
        },
    };
    if world.ledger.as_ref().is_some_and(Ledger::is_broken) {
        return crash(rng);
    }
    if plan.snapshots && rng.chance(1, 3) {
        return match rng.below(8) {
            0 => Step::Save { cut: rng.chance(1, 6).then(|| rng.below(14) as u64) },
            _ => Step::Snapshot {
                shard: rng.below(usize::from(plan.shards)),
                budget: 1 + rng.below(3),
            },
        };
    }
    match rng.below(60) {
        0 => crash(rng),
        1 => {
            let ops = [Op::Any, Op::Write, Op::Sync, Op::SyncDir, Op::Rename, Op::Allocate];
            Step::Fault(Fault {
                op: ops[rng.below(ops.len())],
                after: rng.below(6) as u64,
                times: 1,
                errno: [EIO, ENOSPC][rng.below(2)],
            })
        }
        2..=11 => Step::Sync,
        12..=19 => Step::TendLog,
        _ => Step::EndTurn { shard: rng.below(usize::from(plan.shards)) },
    }
}

/// A difference, and what leads to it.
struct Failure {
    error: String,
    setup: Setup,
    steps: Vec<Step>,
}

/// Runs one seed; on a difference gives the steps that lead to it.
fn run_seed(seed: u64, plan: Plan) -> Result<(Vec<u8>, Figures), Failure> {
    let mut rng = Rng::new(seed);
    let setup = setup_of(&mut rng, plan);
    let mut load = Workload { rng, blocks: false, malformed: plan.malformed };
    let mut world = World::new(&setup);
    world.model.now = 1_000_000;
    let mut steps = Vec::new();
    for n in 0..plan.steps {
        steps.push(next_step(&world, &mut load, plan));
        let compare = n % 20 == 0 || n + 1 == plan.steps || plan.crashes;
        if let Err(error) = guarded(&mut world, steps.last().unwrap(), compare) {
            return Err(Failure { error, setup, steps });
        }
    }
    Ok((world.trace, world.figures))
}

/// A step whose panic counts as a difference.
fn guarded(world: &mut World, step: &Step, compare: bool) -> Result<(), String> {
    let both = |world: &mut World| {
        world.step(step)?;
        if compare { world.compare_state() } else { Ok(()) }
    };
    catch_unwind(AssertUnwindSafe(|| both(world))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic".into()))
    })
}

/// Plays steps; the difference that they lead to, if they do.
fn play(setup: &Setup, steps: &[Step]) -> Option<String> {
    let mut world = World::new(setup);
    steps.iter().find_map(|step| guarded(&mut world, step, true).err())
}

/// The steps without those that the difference does not need.
fn shrink(setup: &Setup, mut steps: Vec<Step>) -> Vec<Step> {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            if play(setup, &fewer).is_some() {
                steps = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    steps
}

fn describe(step: &Step) -> String {
    let Step::Run { now, batch } = step else { return format!("{step:?}") };
    let text = |word: &Vec<u8>| match word.is_empty() {
        true => "\"\"".to_owned(),
        false => String::from_utf8_lossy(word).into_owned(),
    };
    let line = |words: &Vec<Vec<u8>>| words.iter().map(text).collect::<Vec<_>>().join(" ");
    format!("{now}: {}", batch.iter().map(line).collect::<Vec<_>>().join(" ; "))
}

/// Runs seeds, and panics with the shortest list of steps that shows a difference.
fn run_seeds(name: &str, plan: Plan, seeds: usize) -> Figures {
    let first = setting("SIM_FIRST", 1) as u64;
    let plan = Plan { steps: setting("SIM_STEPS", plan.steps), ..plan };
    let mut all = Figures::default();
    for seed in first..first + setting("SIM_SEEDS", seeds) as u64 {
        match run_seed(seed, plan) {
            Ok((_, figures)) => all.add(figures),
            Err(Failure { error, setup, steps }) => {
                let steps = shrink(&setup, steps);
                let error = play(&setup, &steps).unwrap_or(error);
                let steps: Vec<String> = steps.iter().map(describe).collect();
                panic!("{name}, seed {seed}, {setup:?}:\n{}\n{error}", steps.join("\n"));
            }
        }
    }
    all
}

const PLAIN: Plan = Plan {
    shards: 1,
    blocks: false,
    malformed: 40,
    jumps: false,
    crashes: false,
    snapshots: false,
    everything: true,
    valkey: false,
    steps: 400,
};

#[test]
fn one_shard_answers_as_the_model() {
    let figures = run_seeds("one shard", PLAIN, 60);
    assert!(figures.refused * 2 < figures.commands, "{figures:?}");
}

#[test]
fn malformed_commands_are_refused_as_by_the_model() {
    run_seeds("malformed", Plan { malformed: 2, ..PLAIN }, 40);
}

#[test]
fn the_profile_of_valkey_is_the_models() {
    run_seeds("valkey", Plan { malformed: 20, valkey: true, blocks: true, ..PLAIN }, 40);
}

#[test]
fn t01_clock_steps_change_no_rule() {
    run_seeds("clock steps", Plan { jumps: true, ..PLAIN }, 40);
}

#[test]
fn four_shards_answer_as_one() {
    let figures = run_seeds("four shards", Plan { shards: 4, ..PLAIN }, 40);
    assert!(figures.crossing * 2 > figures.several_keys, "{figures:?}");
}

#[test]
fn blocked_readers_are_served_in_arrival_order() {
    let figures = run_seeds("blocked, one shard", Plan { blocks: true, ..PLAIN }, 40);
    assert!(figures.served > 0 && figures.timed_out > 0, "{figures:?}");
    let figures = run_seeds("blocked, four shards", Plan { blocks: true, shards: 4, ..PLAIN }, 40);
    assert!(figures.served > 0 && figures.timed_out > 0, "{figures:?}");
}

#[test]
fn a_crash_keeps_a_prefix_with_all_that_was_acknowledged() {
    let plan = Plan { blocks: true, shards: 4, crashes: true, jumps: true, ..PLAIN };
    let figures = run_seeds("crashes", plan, 60);
    assert!(figures.crashes > 0, "{figures:?}");
}

#[test]
fn a_crash_may_take_only_what_no_reply_promised() {
    let plan = Plan { blocks: true, shards: 4, crashes: true, everything: false, ..PLAIN };
    run_seeds("crashes with lazy changes", plan, 60);
}

#[test]
fn d07_snapshots_at_random_come_back_after_crashes_with_any_number_of_shards() {
    let plan = Plan { shards: 4, blocks: true, crashes: true, snapshots: true, ..PLAIN };
    let figures = run_seeds("snapshots", plan, 25);
    assert!(figures.snapshots > 40 && figures.from_snapshots > 20, "{figures:?}");
    let figures = run_seeds("lazy snapshots", Plan { everything: false, ..plan }, 25);
    assert!(figures.snapshots > 40 && figures.from_snapshots > 20, "{figures:?}");
}

#[test]
fn m02_the_same_seed_gives_the_same_bytes() {
    let plan = Plan { blocks: true, jumps: true, shards: 4, ..PLAIN };
    let crashes = Plan { crashes: true, ..plan };
    let plans = [plan, crashes, Plan { snapshots: true, ..crashes }];
    for (seed, plan) in (1..6).flat_map(|seed| plans.map(|plan| (seed, plan))) {
        let runs = [run_seed(seed, plan), run_seed(seed, plan)];
        let [Ok((first, _)), Ok((second, _))] = runs else { panic!("seed {seed} fails") };
        assert!(first == second, "seed {seed}");
    }
}

#[test]
fn a_look_at_several_shards_leaves_nothing_behind_in_the_first() {
    let log = LogSetup { seed: 1, policy: SyncPolicy::Always, everything: false };
    let setup = Setup {
        shards: 4,
        protocol: Protocol::Resp2,
        block_entries: 0,
        log: Some(log),
        valkey: false,
    };
    let run = |now, line: &str| {
        let words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        Step::Run { now, batch: vec![words] }
    };
    let end_turns = (0..4).map(|shard| Step::EndTurn { shard });
    // `s` is the first shard's, `t` the last one's.
    let mut steps = vec![
        run(1, "XGROUP CREATE s g 0 MKSTREAM"),
        run(2, "XGROUP CREATE t g 0 MKSTREAM"),
        run(3, "XREADGROUP GROUP g c STREAMS s t > >"),
        run(4, "XREADGROUP GROUP g c STREAMS s t > >"),
        run(5, "DEL t"),
    ];
    steps.extend(end_turns.clone());
    steps.push(run(6, "XADD s 1-1 f v"));
    steps.extend(end_turns);
    steps.push(Step::Crash { seed: 1, kill: true, shards: 4 });
    assert_eq!(play(&setup, &steps), None);
}

#[test]
fn a_restore_that_the_log_did_not_take_leaves_the_blocks_as_they_were() {
    let log = LogSetup { seed: 1, policy: SyncPolicy::No, everything: true };
    let setup = Setup {
        shards: 1,
        protocol: Protocol::Resp2,
        block_entries: 3,
        log: Some(log),
        valkey: false,
    };
    let run = |line: &str| {
        let words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        Step::Run { now: 1, batch: vec![words] }
    };
    // The entries are the same before and after RESTORE, which puts three into one block.
    let steps = [
        run("XADD s 1-1 f v"),
        run("XADD s 1-2 f v"),
        run("XADD s 1-3 f v"),
        run("XADD s 1-4 f v"),
        run("XDEL s 1-1"),
        Step::EndTurn { shard: 0 },
        Step::Fault(Fault { op: Op::Write, after: 0, times: 1, errno: ENOSPC }),
        run("RESTORE-DUMP-OF s s"),
        Step::EndTurn { shard: 0 },
        Step::Crash { seed: 1, kill: true, shards: 1 },
        run("XTRIM s MINID ~ 1-4"),
    ];
    assert_eq!(play(&setup, &steps), None);
}

#[test]
fn keys_of_several_shards_are_served_in_the_order_of_their_signals() {
    let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let run = |now, line| Step::Run { now, batch: vec![words(line)] };
    // `s` is the first shard's, `t` the last one's: the second reader is served first, whole.
    let steps = [
        run(1, "XGROUP CREATE s g 0 MKSTREAM"),
        run(2, "XGROUP CREATE t g 0 MKSTREAM"),
        run(3, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >"),
        run(4, "XREADGROUP GROUP g d BLOCK 0 STREAMS s t > >"),
        Step::Run { now: 5, batch: vec![words("XADD t 1-1 f v"), words("XADD s 1-1 f v")] },
    ];
    for shards in [1, 4] {
        let setup =
            Setup { shards, protocol: Protocol::Resp2, block_entries: 0, log: None, valkey: false };
        assert_eq!(play(&setup, &steps), None);
    }
}
