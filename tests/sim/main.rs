//! The simulator: a seed picks commands, clock, faults and crash points; real shards and a naive
//! model run them side by side, and every reply and every state must be equal.
//!
//! `SIM_SEEDS` and `SIM_STEPS` make it longer, `SIM_FIRST` begins at another seed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod model;
mod reply;
mod workload;
mod world;

use millstream::command::Protocol;
use millstream::testing::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use workload::Workload;
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
    steps: usize,
}

fn setup_of(rng: &mut Rng, plan: Plan) -> Setup {
    Setup {
        shards: plan.shards,
        protocol: if rng.chance(1, 4) { Protocol::Resp3 } else { Protocol::Resp2 },
        block_entries: [0, 1, 2, 3, 5, 100][rng.below(6)],
    }
}

/// The next time: mostly a little later.
fn next_time(rng: &mut Rng, now: u64, jumps: bool) -> u64 {
    const HOUR: u64 = 3_600_000;
    const YEAR_9999: u64 = 253_402_300_799_000;
    if jumps && rng.chance(1, 60) {
        return match rng.below(6) {
            0 => now.saturating_sub(HOUR),
            1 | 2 => now + HOUR,
            3 => now.saturating_sub(1000),
            4 => 1,
            _ => YEAR_9999,
        };
    }
    now + [0, 0, 1, 1, 2, 7][rng.below(6)]
}

/// What happens next.
fn next_step(world: &World, load: &mut Workload, plan: Plan) -> Step {
    let now = next_time(&mut load.rng, world.model.now, plan.jumps);
    let shard = load.rng.below(usize::from(plan.shards));
    match load.rng.below(40) {
        0..=2 => Step::Tend { now, shard },
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

/// Runs one seed; on a difference gives the steps that lead to it.
fn run_seed(seed: u64, plan: Plan) -> Result<(Vec<u8>, Figures), (String, Setup, Vec<Step>)> {
    let mut rng = Rng::new(seed);
    let setup = setup_of(&mut rng, plan);
    let mut load = Workload { rng, blocks: false, malformed: plan.malformed };
    let mut world = World::new(&setup);
    world.model.now = 1_000_000;
    let mut steps = Vec::new();
    for n in 0..plan.steps {
        steps.push(next_step(&world, &mut load, plan));
        let compare = n % 20 == 0 || n + 1 == plan.steps;
        if let Err(error) = guarded(&mut world, steps.last().unwrap(), compare) {
            return Err((error, setup, steps));
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
    match step {
        Step::Run { now, batch } => {
            let text = |word: &Vec<u8>| match word.is_empty() {
                true => "\"\"".to_owned(),
                false => String::from_utf8_lossy(word).into_owned(),
            };
            let line = |words: &Vec<Vec<u8>>| words.iter().map(text).collect::<Vec<_>>().join(" ");
            format!("{now}: {}", batch.iter().map(line).collect::<Vec<_>>().join(" ; "))
        }
        other => format!("{other:?}"),
    }
}

/// Runs seeds, and panics with the shortest list of steps that shows a difference.
fn run_seeds(name: &str, plan: Plan, seeds: usize) -> Figures {
    let first = setting("SIM_FIRST", 1) as u64;
    let plan = Plan { steps: setting("SIM_STEPS", plan.steps), ..plan };
    let mut all = Figures::default();
    for seed in first..first + setting("SIM_SEEDS", seeds) as u64 {
        match run_seed(seed, plan) {
            Ok((_, figures)) => all.add(figures),
            Err((error, setup, steps)) => {
                let steps = shrink(&setup, steps);
                let error = play(&setup, &steps).unwrap_or(error);
                let steps: Vec<String> = steps.iter().map(describe).collect();
                panic!("{name}, seed {seed}, {setup:?}:\n{}\n{error}", steps.join("\n"));
            }
        }
    }
    all
}

const PLAIN: Plan = Plan { shards: 1, blocks: false, malformed: 40, jumps: false, steps: 400 };

#[test]
fn one_shard_answers_as_the_model() {
    let figures = run_seeds("one shard", PLAIN, 40);
    assert!(figures.refused * 2 < figures.commands, "{figures:?}");
}

#[test]
fn malformed_commands_are_refused_as_by_the_model() {
    run_seeds("malformed", Plan { malformed: 2, ..PLAIN }, 20);
}

#[test]
fn clock_steps_change_no_rule() {
    run_seeds("clock steps", Plan { jumps: true, ..PLAIN }, 20);
}

#[test]
fn four_shards_answer_as_one() {
    let figures = run_seeds("four shards", Plan { shards: 4, ..PLAIN }, 20);
    assert!(figures.crossing * 2 > figures.several_keys, "{figures:?}");
}

#[test]
fn blocked_readers_are_served_in_arrival_order() {
    let figures = run_seeds("blocked, one shard", Plan { blocks: true, ..PLAIN }, 20);
    assert!(figures.served > 0 && figures.timed_out > 0, "{figures:?}");
    let figures = run_seeds("blocked, four shards", Plan { blocks: true, shards: 4, ..PLAIN }, 20);
    assert!(figures.served > 0 && figures.timed_out > 0, "{figures:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let plan = Plan { blocks: true, jumps: true, shards: 4, ..PLAIN };
    for seed in 1..6 {
        let runs = [run_seed(seed, plan), run_seed(seed, plan)];
        let [Ok((first, _)), Ok((second, _))] = runs else { continue };
        assert!(first == second, "seed {seed}");
    }
}
