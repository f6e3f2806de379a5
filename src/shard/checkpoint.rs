//! Snapshots of the shards: their bytes, when one is due, which files go after it.
//!
//! A snapshot is complete through the position of its *barrier*, at which all shards are in hand.
//! It gets its name only when the log is durable that far, so it never is ahead of the log. The
//! newest two are kept, and the log behind the older one: a damaged newest snapshot costs time
//! and no data.
//!
//! | section | payload |
//! |---|---|
//! | kind 1 | whole keys, one after the other, or the beginning of one large stream |
//! | kind 2 | the stream goes on that the section before ends in |
//!
//! | key, in `codec.rs`'s terms | |
//! |---|---|
//! | bytes | the key |
//! | varint | 0, or when it expires, in Unix ms + 1 |
//! | 1 byte | 0: a string, 1: a stream |
//! | bytes, or parts | the string; the stream as in `stream/parts.rs` |

use crate::codec::{put_bytes, put_varint};
use crate::error::StorageError;
use crate::keyspace::{Frozen, FrozenKey, Value};
use crate::persist::aof::Aof;
use crate::persist::snapshot::{SectionTag, SnapshotSummary, SnapshotWriter};
use crate::persist::{Directory, Position};
use std::sync::Arc;

/// The kind of a section that begins with a key.
pub(super) const KEYS: u8 = 1;
/// The kind of a section that goes on with a stream.
pub(super) const MORE: u8 = 2;
/// The type of a string.
pub(super) const STRING: u8 = 0;
/// The type of a stream.
pub(super) const STREAM: u8 = 1;

/// A section ends after so many bytes, as soon as a part ends; chosen.
const SECTION_BYTES: usize = 1 << 20;
/// How many keys are taken at once out of a database that is a snapshot's alone; any value works.
const REST_KEYS: usize = 256;

/// Some keys of one shard, on their way into a snapshot.
#[derive(Debug)]
pub struct Slice {
    /// The number of the shard.
    pub shard: u16,
    /// The keys.
    pub frozen: Vec<Frozen>,
}

/// A snapshot that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The file.
    pub summary: SnapshotSummary,
    /// How many keys are in it.
    pub keys: u64,
}

/// Takes the snapshot through `position`: writes what `next` gives until there is no more, waits
/// until the log is durable that far, reads the file back, gives it its name. `aof` is `None` if
/// the log has failed and the snapshot is to take its place.
///
/// # Errors
/// [`StorageError`], also from `next`; then there is no new snapshot.
pub fn take(
    directory: &Arc<Directory>,
    aof: Option<&Aof>,
    position: Position,
    next: &mut dyn FnMut() -> Result<Option<Slice>, StorageError>,
) -> Result<Taken, StorageError> {
    let mut encoder = Encoder::create(directory, position)?;
    while let Some(slice) = next()? {
        for frozen in slice.frozen {
            encoder.put(slice.shard, frozen)?;
        }
    }
    encoder.flush()?;
    if let Some(aof) = aof
        && aof.durable() < position
    {
        let durable = aof.sync()?;
        if durable < position {
            let reason = format!("the log is durable through {durable} only");
            return Err(StorageError::Stopped(reason));
        }
    }
    let Encoder { writer, keys, .. } = encoder;
    Ok(Taken { summary: writer.finish()?, keys })
}

/// Removes what is not needed any more once the snapshots `kept` are whole (ascending, the newest
/// last): all files below the last but one. Returns the snapshots that are left in `kept`.
///
/// # Errors
/// [`StorageError::Io`]; the next call tries again.
pub fn retire(
    directory: &Directory,
    aof: &Aof,
    kept: &mut Vec<Position>,
) -> Result<(), StorageError> {
    let Some(&[older, _]) = kept.last_chunk() else { return Ok(()) };
    kept.retain(|&position| position >= older);
    directory.remove_snapshots_below(older)?;
    aof.remove_below(older)
}

/// Puts keys into sections.
struct Encoder {
    writer: SnapshotWriter,
    buffer: Vec<u8>,
    tag: SectionTag,
    keys: u64,
}

impl Encoder {
    fn create(directory: &Arc<Directory>, position: Position) -> Result<Self, StorageError> {
        Ok(Encoder {
            writer: SnapshotWriter::create(Arc::clone(directory), position)?,
            buffer: Vec::with_capacity(SECTION_BYTES + SECTION_BYTES / 8),
            tag: SectionTag { kind: KEYS, database: 0, shard: 0 },
            keys: 0,
        })
    }

    fn put(&mut self, shard: u16, frozen: Frozen) -> Result<(), StorageError> {
        match frozen {
            Frozen::Key(key) => self.put_key(shard, &key),
            Frozen::Rest(mut rest) => loop {
                let keys = rest.take(REST_KEYS);
                if keys.is_empty() {
                    return Ok(());
                }
                for key in keys {
                    self.put(shard, key)?;
                }
            },
        }
    }

    fn put_key(&mut self, shard: u16, frozen: &FrozenKey) -> Result<(), StorageError> {
        if (self.tag.shard, self.tag.database) != (shard, frozen.db) {
            self.flush()?;
            self.tag = SectionTag { kind: KEYS, database: frozen.db, shard };
        }
        self.keys += 1;
        let Encoder { writer, buffer, tag, .. } = self;
        put_bytes(buffer, &frozen.key);
        put_varint(buffer, frozen.expire_at.map_or(0, |at| at.0.saturating_add(1)));
        match &frozen.value {
            Value::String(string) => {
                buffer.push(STRING);
                put_varint(buffer, string.len() as u64);
                if string.len() >= SECTION_BYTES {
                    // It is not copied.
                    writer.section_of(*tag, &[buffer, string])?;
                    buffer.clear();
                } else {
                    buffer.extend_from_slice(string);
                }
            }
            Value::Stream(stream) => {
                buffer.push(STREAM);
                stream.encode_parts(buffer, |buffer| {
                    if buffer.len() >= SECTION_BYTES {
                        writer.section(*tag, buffer)?;
                        buffer.clear();
                        tag.kind = MORE;
                    }
                    Ok(())
                })?;
            }
        }
        if self.tag.kind == MORE || self.buffer.len() >= SECTION_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the section; the next one begins with a key.
    fn flush(&mut self) -> Result<(), StorageError> {
        if !self.buffer.is_empty() {
            self.writer.section(self.tag, &self.buffer)?;
            self.buffer.clear();
        }
        self.tag.kind = KEYS;
        Ok(())
    }
}

/// Whether a snapshot is due: one of `points`, each (seconds, changes), is reached by both.
pub fn is_due(points: impl IntoIterator<Item = (u64, u64)>, seconds: u64, changes: u64) -> bool {
    points.into_iter().any(|point| seconds > point.0 && changes >= point.1)
}

/// Whether a log has grown so far beyond the snapshot before it that a new one is due. Redis:
/// `auto-aof-rewrite-percentage` and `-min-size`, where the snapshot is the base.
pub fn is_grown(percentage: u64, min_bytes: u64, base_bytes: u64, log_bytes: u64) -> bool {
    let growth = u128::from(log_bytes) * 100 / u128::from(base_bytes.max(1));
    percentage > 0
        && base_bytes.saturating_add(log_bytes) > min_bytes
        && growth >= u128::from(percentage)
}
