//! The examples themselves, killed with SIGKILL at random moments, each many times over the same
//! directory; what they printed is compared with what is there then.
//!
//! An example prints `added ID` and `done ID` when that was answered, and its next run goes on with
//! what the last has left. What it did in the moment before it was killed it could not print: of
//! each of its workers that may be one job.

use millstream::testing::Rng;
use millstream::{Db, EntryId, Start};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// More jobs than the lives of an example add.
const JOBS_MAX: u64 = 100_000;

/// What to run and how to look at what it leaves.
pub(crate) struct Example<'a> {
    /// The stream that it uses.
    pub(crate) stream: &'a str,
    /// The group that works it off, if one does.
    pub(crate) group: Option<&'a str>,
    /// How many jobs may be in work at once.
    pub(crate) workers: usize,
    /// How many lines it prints at most before it is killed.
    pub(crate) lines: usize,
    /// How many lives it has.
    pub(crate) lives: u64,
}

/// What all lives have printed.
#[derive(Default)]
struct Told {
    added: BTreeSet<EntryId>,
    done: BTreeSet<EntryId>,
}

impl Told {
    fn note(&mut self, line: &str) {
        // The test harness may have begun the line.
        let mut words = line.split(' ').skip_while(|word| !["added", "done"].contains(word));
        let what = words.next();
        let id = words.next().map(|word| word.trim_end_matches(':'));
        let Some(id) = id.and_then(|id| id.parse().ok()) else { return };
        match what {
            Some("added") => assert!(self.added.insert(id), "{id} was added twice"),
            Some("done") => assert!(self.done.insert(id), "{id} was done twice"),
            _ => {}
        }
    }
}

/// Runs a command over a directory, kills it, looks at what it left, and does so again.
pub(crate) fn kill_again_and_again(
    example: &Example<'_>,
    queue: &str,
    command: impl Fn(&Path) -> Command,
) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let dir = place.path().join("data");
    std::fs::create_dir(&dir).expect("a directory");
    let (mut told, mut rng) = (Told::default(), Rng::new(1));
    for life in 1..=example.lives {
        live(command(&dir), 1 + rng.below(example.lines), &mut told);
        let copy = place.path().join(format!("copy-{life}"));
        copy_files(&dir.join(queue), &copy);
        compare(example, &copy, life, &told);
    }
    assert!(!told.added.is_empty(), "no life came so far as to add anything");
}

/// Runs a command until it has printed so many lines, and kills it.
fn live(mut command: Command, lines: usize, told: &mut Told) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the example starts");
    let output = BufReader::new(child.stdout.take().expect("it was asked for"));
    let (printed, print) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        // The last line may be cut.
        for line in output.lines().map_while(Result::ok) {
            if printed.send(line).is_err() {
                return;
            }
        }
    });
    // One that has nothing left to do waits, and is killed while it does.
    let end = Instant::now() + Duration::from_secs(3);
    for _ in 0..lines {
        match print.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => told.note(&line),
            Err(_) => break,
        }
    }
    child.kill().expect("a process of ours");
    child.wait().expect("a process of ours");
    print.iter().for_each(|line| told.note(&line));
    reader.join().expect("it only reads");
}

/// Nothing that was told is lost, nothing is there twice.
fn compare(example: &Example<'_>, copy: &Path, life: u64, told: &Told) {
    if !copy.exists() {
        assert!(told.added.is_empty(), "life {life}: it was killed before anything was answered");
        return;
    }
    let db = Db::builder().dir(copy).open().expect("a killed process leaves what opens");
    let stream = db.stream(example.stream.to_owned());
    let left: Vec<EntryId> = match example.group {
        None => stream.range(..).wait().expect("it answers").iter().map(|entry| entry.id).collect(),
        Some(group) => {
            let group = stream.group(group.to_owned(), Start::First).wait().expect("it answers");
            let checker = group.consumer("checker");
            let pending = checker.claim(Duration::ZERO, JOBS_MAX).wait().expect("it answers");
            let new = checker.take(JOBS_MAX).wait().expect("it answers");
            // They are claimed by the first of these calls, and not given back before the second.
            let ids = pending.iter().chain(&new).map(|delivery| delivery.id()).collect();
            pending.into_iter().chain(new).for_each(|delivery| drop(delivery.keep()));
            ids
        }
    };
    let ids: BTreeSet<EntryId> = left.iter().copied().collect();
    assert_eq!(ids.len(), left.len(), "life {life}: something is there twice");
    let again: Vec<_> = ids.intersection(&told.done).collect();
    assert!(again.is_empty(), "life {life}: {again:?} would come after they were done");
    let there = |id: &&EntryId| ids.contains(*id) || told.done.contains(*id);
    let missing = told.added.iter().filter(|id| !there(id)).count();
    let in_work = example.workers * usize::try_from(life).expect("a few");
    assert!(
        missing <= in_work,
        "life {life}: {missing} of what was added are neither there nor done"
    );
}

fn copy_files(from: &Path, to: &Path) {
    let Ok(entries) = std::fs::read_dir(from) else { return };
    std::fs::create_dir(to).expect("a directory");
    for entry in entries.map(|entry| entry.expect("an entry")) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}
