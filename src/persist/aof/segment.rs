//! A segment's file while the log writes it: made under a temporary name, with space ahead.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::AofOptions;
use super::frame::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::error::StorageError;
use crate::persist::disk::{Access, DiskFile};
use crate::persist::{Directory, Position, SyncPolicy};

/// A segment's open file.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) header: SegmentHeader,
    /// The position up to which there is space. Who raises it holds `allocating`: zeros may be
    /// written there, and a frame must not be.
    pub(super) ahead: AtomicU64,
    pub(super) allocating: Mutex<()>,
}

impl Segment {
    /// The byte of the file for a position.
    pub(super) fn offset(&self, position: u64) -> u64 {
        SEGMENT_HEADER_BYTES + (position - self.header.start)
    }
}

/// Makes the file of a segment at `start`, with its header and first space, and gives it its name.
/// Neither is durable yet. A file that has the name is replaced: the caller knows it to be empty.
pub(super) fn create_segment(
    directory: &Directory,
    options: AofOptions,
    start: u64,
    durable: u64,
) -> Result<Segment, StorageError> {
    let path = directory.segment_path(Position(start));
    let temporary = path.with_extension("log.tmp");
    let header = SegmentHeader { seed: directory.disk().seed(), start, durable };
    let file = directory.open_file(&temporary, Access::Create)?;
    let allocating = Mutex::new(());
    let segment = Segment { path, file, header, ahead: AtomicU64::new(start), allocating };
    let ahead = start + options.reserve_bytes + options.space_step(options.policy);
    let filled = segment
        .file
        .write_at(&header.encode(), 0)
        .and_then(|()| allocate_space(&segment, options.policy, start, ahead));
    if let Err(error) = filled {
        // If this fails too, the next opening removes it.
        let _ = directory.remove(&temporary);
        return Err(StorageError::io(&segment.path, "allocate", &error));
    }
    segment.ahead.store(ahead, Ordering::Release);
    directory
        .disk()
        .rename(&temporary, &segment.path)
        .map_err(|e| StorageError::io(&segment.path, "rename", &e))?;
    Ok(segment)
}

/// Makes space for the positions `from .. to`. Under [`SyncPolicy::Always`] by writing zeros: a
/// sync of bytes in space that was only reserved has to change the file's extents too (200 µs
/// against 100–130 µs when this was designed).
pub(super) fn allocate_space(
    segment: &Segment,
    policy: SyncPolicy,
    from: u64,
    to: u64,
) -> io::Result<()> {
    if policy != SyncPolicy::Always {
        match segment.file.allocate(segment.offset(from), to - from) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            result => return result,
        }
    }
    const ZEROS: &[u8] = &[0; 64 << 10];
    let mut at = from;
    while at < to {
        let len = (to - at).min(ZEROS.len() as u64);
        segment.file.write_at(&ZEROS[..usize::try_from(len).unwrap_or(0)], segment.offset(at))?;
        at += len;
    }
    Ok(())
}
