//! `millstream check`: what a data directory holds, file by file, and whether a start would
//! succeed; and what can be saved of one that does not start. Nothing in the directory is changed.
//!
//! Saved is what can be proven: the newest snapshot that is whole with the log behind it, up to
//! the first damage. Without a whole snapshot it is the sections of the newest one that are, and
//! then only keys that no change behind it contradicts. What is missing is said: by name, where a
//! frame or a section that is whole still has the name.

use super::checkpoint::{self, Slice};
use super::recovery::{self, LoadProgress};
use crate::codec::Corrupt;
use crate::error::StorageError;
use crate::keyspace::{Action, Change, DATABASES, Frozen, Keyspace, SLOTS, Spaces};
use crate::persist::aof::{self, Cut, Recovered};
use crate::persist::{Directory, Position};
use crate::stream::{Effect, EntryId};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::path::PathBuf;
use std::sync::Arc;

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub file: String,
    /// What it holds, or what is wrong with it.
    pub verdict: Result<String, String>,
}

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Each file, by name.
    pub files: Vec<Finding>,
    /// What a start would find, or why it is refused.
    pub start: Result<String, String>,
}

impl Report {
    /// Whether a start succeeds and no file is damaged.
    pub fn is_good(&self) -> bool {
        self.start.is_ok() && self.files.iter().all(|file| file.verdict.is_ok())
    }
}

/// Looks at every file of a directory. **Cost**: as a start, once for each snapshot more.
///
/// # Errors
/// [`StorageError::Io`] if the directory cannot be listed.
pub fn check(directory: &Directory) -> Result<Report, StorageError> {
    let mut verdicts = BTreeMap::new();
    for position in directory.snapshots()? {
        let loaded =
            recovery::load(directory, position, &mut [&mut keyspace()], &LoadProgress::default());
        let verdict = loaded.map(|loaded| format!("whole, {} keys", loaded.keys));
        verdicts.insert(directory.snapshot_path(position), verdict.map_err(|e| e.to_string()));
    }
    check_log(directory, &mut verdicts)?;
    let start = try_start(directory).map_err(|error| error.to_string());
    let finding = |file: String| {
        let found = verdicts.remove(&directory.path().join(&file));
        let verdict = found.unwrap_or_else(|| Ok(of_other_file(&file).to_owned()));
        Finding { file, verdict }
    };
    Ok(Report { files: directory.files()?.into_iter().map(finding).collect(), start })
}

fn of_other_file(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        _ if name == "LOCK" => "the lock",
        Some("tmp") => "unfinished, goes at the next start",
        Some("aside") => "was cut off by a recovery, is not read",
        _ => "none of ours",
    }
}

/// Reads the whole log, and finds a verdict on each segment.
fn check_log(
    directory: &Directory,
    verdicts: &mut BTreeMap<PathBuf, Result<String, String>>,
) -> Result<(), StorageError> {
    let segments = directory.segments()?;
    let Some(&first) = segments.first() else { return Ok(()) };
    let mut frames = vec![(0_u64, 0_u64); segments.len()];
    let read = aof::inspect(directory, first, true, &mut |position, payload| {
        let at = segments.partition_point(|start| *start < position).saturating_sub(1);
        let mut changes = 0;
        Change::decode_all(payload, &mut |_| {
            changes += 1;
            Ok(())
        })
        .map_err(|error| StorageError::Damaged {
            path: directory.segment_path(segments[at]),
            offset: position.0,
            reason: format!("the frame before position {position} is no change: {error}"),
        })?;
        frames[at] = (frames[at].0 + 1, frames[at].1 + changes);
        Ok(())
    });
    for (&start, (frames, changes)) in segments.iter().zip(frames) {
        let path = directory.segment_path(start);
        let damage = match &read {
            Err(StorageError::Damaged { path: damaged, .. }) => *damaged == path,
            Ok(_) | Err(_) => false,
        };
        let verdict = match &read {
            Err(error) if damage => Err(format!("{error}; {frames} frames before it are whole")),
            Ok(Recovered { cut: Some(cut), .. }) if cut.path == path => Ok(format!(
                "{frames} frames, {changes} changes; what is behind byte {} was never promised",
                cut.offset
            )),
            Ok(_) | Err(_) => Ok(format!("{frames} frames, {changes} changes")),
        };
        verdicts.insert(path, verdict);
    }
    Ok(())
}

fn try_start(directory: &Directory) -> Result<String, StorageError> {
    let mut space = keyspace();
    let (snapshot, _) =
        recovery::load_newest(directory, &mut [&mut space], &LoadProgress::default())?;
    let from = snapshot.map(|loaded| loaded.position).unwrap_or_default();
    let told = LoadProgress::default();
    let log = recovery::replay(directory.path(), from, &mut [&mut space], &told, |visit| {
        aof::inspect(directory, from, false, visit)
    })?;
    let keys: usize = (0..DATABASES).map(|db| space.database(db).len()).sum();
    let base = match snapshot {
        Some(loaded) => format!("the snapshot at {}", loaded.position),
        None => "nothing".to_owned(),
    };
    Ok(format!("from {base} and {} frames to position {}: {keys} keys", log.frames, log.end))
}

fn keyspace() -> Keyspace {
    Keyspace::new(0..SLOTS, RandomState::new())
}

/// What was saved of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// What the new snapshot is complete through, as far as it is.
    pub position: Position,
    /// How many keys it has.
    pub keys: u64,
    /// What is missing, in words.
    pub missing: Vec<String>,
}

/// Saves what can be proven of a directory, as a snapshot in another, which is empty.
///
/// # Errors
/// [`StorageError`] if the new directory holds data, or the disk fails; what is damaged is no
/// error.
pub fn salvage(directory: &Directory, new: &Arc<Directory>) -> Result<Salvaged, StorageError> {
    if !(new.snapshots()?.is_empty() && new.segments()?.is_empty()) {
        let holder = "data: what is saved goes into a new directory".to_owned();
        return Err(StorageError::InUse { path: new.path().to_owned(), holder });
    }
    let mut missing = Vec::new();
    let mut space = keyspace();
    let mut whole = None;
    for position in directory.snapshots()?.into_iter().rev() {
        match recovery::load(directory, position, &mut [&mut space], &LoadProgress::default()) {
            Ok(_) => {
                whole = Some(position);
                break;
            }
            Err(error) => missing.push(error.to_string()),
        }
        space.clear();
    }
    let begins = directory.segments()?.first().copied() == Some(Position::default());
    let from = match whole {
        Some(position) => position,
        None if begins => Position::default(),
        None => load_parts(directory, &mut space, &mut missing)?,
    };
    let position = replay_what_fits(directory, from, &mut space, &mut missing);
    space.begin_handover();
    let mut more = true;
    let taken = checkpoint::take(new, None, position, &mut || {
        let mut frozen: Vec<Frozen> = Vec::new();
        Ok(std::mem::take(&mut more).then(|| {
            more = space.hand_over(4096, &mut frozen);
            Slice { shard: 0, frozen }
        }))
    })?;
    Ok(Salvaged { position, keys: taken.keys, missing })
}

/// Loads the sections that are whole of the newest snapshot whose sections can be told apart.
fn load_parts(
    directory: &Directory,
    space: &mut Keyspace,
    missing: &mut Vec<String>,
) -> Result<Position, StorageError> {
    for position in directory.snapshots()?.into_iter().rev() {
        match recovery::load_whole_sections(directory, position, space) {
            Ok(lost) => {
                missing.extend(lost);
                return Ok(position);
            }
            Err(error) => missing.push(error.to_string()),
        }
    }
    Ok(directory.segments()?.first().copied().unwrap_or_default())
}

/// Applies the log up to the first damage. A key whose change does not fit is dropped: what it
/// would hold cannot be proven.
fn replay_what_fits(
    directory: &Directory,
    from: Position,
    space: &mut Keyspace,
    missing: &mut Vec<String>,
) -> Position {
    let (mut reached, mut unproven) = (from, BTreeSet::new());
    let read = aof::inspect(directory, from, false, &mut |position, payload| {
        let mut spaces = [&mut *space];
        let mut spaces = Spaces::new(&mut spaces);
        let decoded = Change::decode_all(payload, &mut |change| {
            apply(&mut spaces, &change, &mut unproven);
            Ok(())
        });
        reached = position;
        drop(spaces.at_mut(0).take_garbage());
        decoded.map_err(|error: Corrupt| StorageError::Stopped(format!("{position}: {error}")))
    });
    match read {
        Ok(Recovered { cut: Some(Cut { path, offset, .. }), .. }) => {
            missing.push(format!("{}: from byte {offset}, never promised", path.display()));
        }
        Ok(_) => return say_unproven(reached, unproven, missing),
        Err(error) => missing.push(format!("the log from position {reached} on: {error}")),
    }
    name_lost(directory, reached, missing);
    say_unproven(reached, unproven, missing)
}

fn say_unproven(
    reached: Position,
    unproven: BTreeSet<(u8, Box<[u8]>)>,
    missing: &mut Vec<String>,
) -> Position {
    let names = unproven.iter().map(|(db, key): &(u8, Box<[u8]>)| {
        format!("database {db}, key '{}': its content cannot be proven", key.escape_ascii())
    });
    missing.extend(names);
    reached
}

/// What frames that are whole tell of a key, though no log leads to them any more.
#[derive(Default)]
struct Lost {
    changes: u64,
    /// The least and the greatest entry that was added, and how many were.
    entries: Option<(EntryId, EntryId)>,
    added: u64,
    groups: BTreeSet<Box<[u8]>>,
}

/// Says which keys, entries and groups the log is about from `from` on.
fn name_lost(directory: &Directory, from: Position, missing: &mut Vec<String>) {
    let mut keys: BTreeMap<(u8, Box<[u8]>), Lost> = BTreeMap::new();
    let read = aof::inspect_scattered(directory, from, &mut |_, payload| {
        // A frame that is whole was written as a whole.
        let _: Result<(), Corrupt> = Change::decode_all(payload, &mut |change| {
            if matches!(change.action, Action::SwapDb { .. } | Action::FlushDb | Action::FlushAll) {
                // It names no key.
                return Ok(());
            }
            let lost = keys.entry((change.db, change.key.into())).or_default();
            lost.changes += 1;
            let Action::Effect(effect) = change.action else { return Ok(()) };
            if let Effect::Add { id, .. } = effect {
                let (first, last) = lost.entries.unwrap_or((id, id));
                lost.entries = Some((first.min(id), last.max(id)));
                lost.added += 1;
            }
            lost.groups.extend(effect.group().map(Box::from));
            Ok(())
        });
        Ok(())
    });
    for ((db, key), Lost { changes, entries, added, groups }) in &keys {
        let mut text = format!("database {db}, key '{}': {changes} changes", key.escape_ascii());
        if let Some((first, last)) = entries {
            text.push_str(&format!(", {added} entries added from {first} to {last}"));
        }
        for group in groups {
            text.push_str(&format!(", group '{}'", group.escape_ascii()));
        }
        missing.push(text);
    }
    if let Err(error) = read {
        missing.push(format!("what else the log tells: {error}"));
    }
}

/// Applies a change, or drops the keys that it names if it does not fit.
fn apply(
    spaces: &mut Spaces<'_, '_>,
    change: &Change<'_>,
    unproven: &mut BTreeSet<(u8, Box<[u8]>)>,
) {
    let mut names = vec![(change.db, change.key)];
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others name one key")]
    match change.action {
        Action::Move { db, key } | Action::Copy { db, key } => names.push((db, key)),
        _ => {}
    }
    let known = !unproven.contains(&(change.db, change.key.into()));
    let replaces = matches!(
        change.action,
        Action::SetString { .. } | Action::Put { .. } | Action::Create { .. }
    );
    if (known || replaces) && spaces.apply(change).is_ok() {
        for (db, key) in names {
            unproven.remove(&(db, key.into()));
        }
        return;
    }
    for (db, key) in names {
        if matches!(change.action, Action::Remove) {
            unproven.remove(&(db, key.into()));
        } else {
            unproven.insert((db, key.into()));
        }
        // It may not be there.
        let _ = spaces.apply(&Change { db, key, action: Action::Remove });
    }
}

#[cfg(test)]
mod tests;
