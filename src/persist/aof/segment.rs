//! A segment while the log writes it: its file is made under a temporary name, with space ahead.
//! On a full disk a log may begin with a segment that is only planned.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::frame::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::{AofOptions, reader};
use crate::error::StorageError;
use crate::persist::disk::{Access, DiskFile};
use crate::persist::{Directory, Position, SyncPolicy, check_named, is_full};

/// A segment's open file.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    /// Empty until it is made.
    file: OnceLock<Arc<dyn DiskFile>>,
    /// The position up to which there is space. Who raises it holds `allocating`: zeros may be
    /// written there, and a frame must not be.
    pub(super) ahead: AtomicU64,
    pub(super) allocating: Mutex<()>,
}

impl Segment {
    /// A segment at `start` that has no file yet.
    pub(super) fn planned(directory: &Directory, start: u64, durable: u64) -> Segment {
        Segment {
            path: directory.segment_path(Position(start)),
            header: SegmentHeader { seed: directory.disk().seed(), start, durable },
            file: OnceLock::new(),
            ahead: AtomicU64::new(start),
            allocating: Mutex::new(()),
        }
    }

    /// Makes the file, with its header and first space, and gives it its name. Neither is durable
    /// yet. A file that has the name is replaced: the caller knows it to be empty.
    ///
    /// # Errors
    /// Then there is none, but for one that may have got its name and holds nothing.
    pub(super) fn make(
        &self,
        directory: &Directory,
        options: AofOptions,
    ) -> Result<(), StorageError> {
        let temporary = self.path.with_extension("log.tmp");
        let file = directory.open_file(&temporary, Access::Create)?;
        let filled = self.fill(&*file, options);
        let ahead = match filled {
            Ok(ahead) => ahead,
            Err(error) => {
                // If this fails too, the next opening removes it.
                let _ = directory.remove(&temporary);
                return Err(StorageError::io(&self.path, "allocate", &error));
            }
        };
        directory
            .disk()
            .rename(&temporary, &self.path)
            .map_err(|e| StorageError::io(&self.path, "rename", &e))?;
        // It is made once: before it is the log's, or under the log's lock.
        let _ = self.file.set(file);
        self.ahead.store(ahead, Ordering::Release);
        Ok(())
    }

    /// Writes the header and makes space; returns up to which position. A disk that is almost full
    /// gives as much of the reserve as it has, or else nothing is begun.
    fn fill(&self, file: &dyn DiskFile, options: AofOptions) -> io::Result<u64> {
        file.write_at(&self.header.encode(), 0)?;
        let (start, reserve) = (self.header.start, options.reserve_bytes);
        let mut space = reserve + options.space_step(options.policy);
        loop {
            match allocate_space(self, file, options.policy, start, start + space) {
                Ok(()) => return Ok(start + space),
                Err(error) if is_full(error.kind()) && space > reserve / 4 => {
                    space = if space > reserve { reserve } else { space / 2 };
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The file; that there is none is the error of the full disk which has no room for it.
    pub(super) fn file(&self) -> io::Result<&dyn DiskFile> {
        self.file.get().map(|file| &**file).ok_or_else(|| io::ErrorKind::StorageFull.into())
    }

    /// Whether the file is made.
    pub(super) fn is_made(&self) -> bool {
        self.file.get().is_some()
    }

    /// Makes durable what was written to the file, if there is one.
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        let Some(file) = self.file.get() else { return Ok(()) };
        file.sync().map_err(|e| StorageError::io(&self.path, "fdatasync", &e))?;
        check_named(&**file, &self.path)
    }

    /// Frees the space ahead, of which nothing behind `end` is used any more.
    pub(super) fn trim(&self, end: u64) -> Result<(), StorageError> {
        let Some(file) = self.file.get() else { return Ok(()) };
        reader::trim(&**file, &self.path, self.header.start, end)
    }

    /// The byte of the file for a position.
    pub(super) fn offset(&self, position: u64) -> u64 {
        SEGMENT_HEADER_BYTES + (position - self.header.start)
    }
}

/// Makes space for the positions `from .. to`. Under [`SyncPolicy::Always`] by writing zeros: a
/// sync of bytes in space that was only reserved has to change the file's extents too (200 µs
/// against 100–130 µs when this was designed).
pub(super) fn allocate_space(
    segment: &Segment,
    file: &dyn DiskFile,
    policy: SyncPolicy,
    from: u64,
    to: u64,
) -> io::Result<()> {
    if policy != SyncPolicy::Always {
        match file.allocate(segment.offset(from), to - from) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            result => return result,
        }
    }
    const ZEROS: &[u8] = &[0; 64 << 10];
    let mut at = from;
    while at < to {
        let len = (to - at).min(ZEROS.len() as u64);
        file.write_at(&ZEROS[..usize::try_from(len).unwrap_or(0)], segment.offset(at))?;
        at += len;
    }
    Ok(())
}
