//! The data directory: which files there are, what each is for, and the lock on it. Below it the
//! [`disk`], the append-only file ([`aof`]) and the snapshots ([`snapshot`]). Nothing here knows a
//! command or a stream: what is stored are bytes of somebody else.
//!
//! | file | what it is |
//! |---|---|
//! | `LOCK` | locked while open; `millstream <format version>`, line 2: the last holder |
//! | `snapshot-<position>.snap` | the state through that position of the log |
//! | `aof-<position>.log` | a segment: frames from that position on |
//! | `aof-<position>.<n>.aside` | a segment that recovery cut off: never promised, not read |
//! | `*.tmp` | unfinished; removed at the next opening |
//!
//! A position in a name has 20 decimal digits. There is no manifest: the names are all there is.
//!
//! Opening a new directory syncs nothing, since nothing in it is promised: its name, the lock's and
//! the first segment's become durable with the first thing that is, by `Directory::sync`. Until
//! then the version is missing in `LOCK`.

pub mod aof;
pub mod disk;
pub mod snapshot;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::StorageError;
use disk::{Access, Disk, DiskFile, parent_of};

/// The version of the formats in a directory. A change of any of them raises it.
pub const FORMAT_VERSION: u32 = 1;

/// The file whose lock is the directory's.
const LOCK: &str = "LOCK";
/// The length of the text in `LOCK`, so that rewriting it never changes the length.
const LOCK_BYTES: usize = 64;

/// A place in the log: bytes of frames since the beginning of the data directory, over all
/// segments. Segment headers do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When the log is made durable (`appendfsync`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before a reply leaves; one sync covers everything that was appended before it began.
    Always,
    /// Once a second, if anything was appended.
    EverySec,
    /// When the system pleases; the log itself only syncs when it changes or closes a file.
    No,
}

/// The first line of `LOCK`.
fn own_version() -> String {
    format!("millstream {FORMAT_VERSION}")
}

/// Whether a line is the whole first line of a `LOCK` with a version, of any format. The end of an
/// older text behind a torn one never makes a number longer: it is padded.
fn is_version(line: &str) -> bool {
    let digits = line.strip_prefix("millstream ").unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// What stands in `LOCK`, with this process as the holder.
fn lock_text(version: &str) -> Vec<u8> {
    let text = format!("{version}\nprocess {}", std::process::id());
    format!("{text:<width$}\n", width = LOCK_BYTES - 1).into_bytes()
}

/// Whether an error of this kind heals when there is space again.
fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An error if a file was removed while it is open: what is written to it would be found by nobody.
fn check_named(file: &dyn DiskFile, path: &Path) -> Result<(), StorageError> {
    match file.has_name() {
        Ok(true) => Ok(()),
        Ok(false) => {
            let error = io::Error::new(io::ErrorKind::NotFound, "the file was removed");
            Err(StorageError::io(path, "fsync", &error))
        }
        Err(error) => Err(StorageError::io(path, "stat", &error)),
    }
}

/// An open data directory, locked until [`Directory::release`] or its end.
pub struct Directory {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Holds the lock; closing it gives the directory free. `None`: only looked at, or released.
    lock: Mutex<Option<Arc<dyn DiskFile>>>,
    /// Whether its own name may not be durable.
    is_new: AtomicBool,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Directory {
    /// Opens the directory, creating it if it is missing: takes the lock, checks the format
    /// version (or writes it, in a new directory), removes unfinished files.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if another opening holds the lock, [`StorageError::Version`] if
    /// another version wrote the directory, [`StorageError::Io`].
    pub fn open(path: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Result<Arc<Self>, StorageError> {
        let path = path.into();
        disk.create_dir(&path).map_err(|e| StorageError::io(&path, "create directory", &e))?;
        let lock_path = path.join(LOCK);
        let lock = disk
            .open(&lock_path, Access::Update)
            .map_err(|e| StorageError::io(&lock_path, "open", &e))?;
        let mut text = [0; LOCK_BYTES];
        let len =
            lock.read_at(&mut text, 0).map_err(|e| StorageError::io(&lock_path, "read", &e))?;
        let text = String::from_utf8_lossy(&text[..len]);
        let (first, holder) = text.split_once('\n').unwrap_or(("", "another process"));
        // A crash, or a write that failed, may leave the text of a new directory unwritten, torn,
        // or without a version. Each file has its version too.
        let version = if is_version(first) { first } else { "" };
        if !lock.try_lock().map_err(|e| StorageError::io(&lock_path, "lock", &e))? {
            return Err(StorageError::InUse { path, holder: holder.trim().to_owned() });
        }
        if !version.is_empty() && version != own_version() {
            return Err(StorageError::Version { path, found: version.to_owned() });
        }
        let is_new = AtomicBool::new(version.is_empty());
        match lock.write_at(&lock_text(version), 0) {
            // It only names the holder.
            Err(error) if is_full(error.kind()) => {}
            written => written.map_err(|e| StorageError::io(&lock_path, "write", &e))?,
        }
        let directory = Directory { path, disk, lock: Mutex::new(Some(lock)), is_new };
        for name in directory.names()? {
            if name.ends_with(".tmp") {
                directory.remove(&directory.path.join(name))?;
            }
        }
        Ok(Arc::new(directory))
    }

    /// A directory to look at: takes no lock and changes nothing.
    pub fn look_at(path: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Directory {
        Directory {
            path: path.into(),
            disk,
            lock: Mutex::new(None),
            is_new: AtomicBool::new(false),
        }
    }

    /// The names of all files in it, in order.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn files(&self) -> Result<Vec<String>, StorageError> {
        let mut names = self.names()?;
        names.sort_unstable();
        Ok(names)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the segments begin, in ascending order.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn segments(&self) -> Result<Vec<Position>, StorageError> {
        self.positions("aof-", ".log")
    }

    /// The positions of the snapshots, in ascending order.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn snapshots(&self) -> Result<Vec<Position>, StorageError> {
        self.positions("snapshot-", ".snap")
    }

    /// The file of the segment that begins at `start`.
    pub fn segment_path(&self, start: Position) -> PathBuf {
        self.path.join(format!("aof-{:020}.log", start.0))
    }

    /// The file of the snapshot through `position`.
    pub fn snapshot_path(&self, position: Position) -> PathBuf {
        self.path.join(format!("snapshot-{:020}.snap", position.0))
    }

    /// How many bytes more its disk takes, roughly; `None` if that is not known.
    pub fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes(&self.path)
    }

    /// The size of the segments that hold positions from `position` on, space kept ahead included.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn log_bytes_from(&self, position: Position) -> Result<u64, StorageError> {
        let segments = self.segments()?;
        let first = segments.partition_point(|start| *start <= position).saturating_sub(1);
        let mut bytes = 0;
        for &start in &segments[first..] {
            let path = self.segment_path(start);
            let file = self.open_file(&path, Access::Read)?;
            bytes += file.len().map_err(|e| StorageError::io(&path, "stat", &e))?;
        }
        Ok(bytes)
    }

    /// Removes the snapshots below `position`.
    ///
    /// # Errors
    /// [`StorageError::Io`]; what could not be removed is tried again by the next call.
    pub fn remove_snapshots_below(&self, position: Position) -> Result<(), StorageError> {
        for old in self.snapshots()?.into_iter().filter(|&old| old < position) {
            self.remove(&self.snapshot_path(old))?;
        }
        self.sync()
    }

    /// Gives the directory free for another opening. Nothing may be written in it after that.
    pub fn release(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn DiskFile>>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk it is on.
    fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Opens a file in it.
    fn open_file(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>, StorageError> {
        self.disk.open(path, access).map_err(|e| StorageError::io(path, "open", &e))
    }

    /// Removes a file in it; the removal is durable after [`Directory::sync`].
    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.disk.remove(path).map_err(|e| StorageError::io(path, "remove", &e))
    }

    /// Makes its names durable, and its own.
    fn sync(&self) -> Result<(), StorageError> {
        let lock = self.lock();
        if let Some(lock) = &*lock {
            // Without it another process could take the directory, or one of the same name.
            check_named(&**lock, &self.path.join(LOCK))?;
        }
        let sync =
            |path: &Path| self.disk.sync_dir(path).map_err(|e| StorageError::io(path, "fsync", &e));
        sync(&self.path)?;
        if self.is_new.load(Ordering::Acquire) {
            sync(parent_of(&self.path))?;
            self.is_new.store(false, Ordering::Release);
            if let Some(lock) = &*lock {
                // If this is lost, the next opening syncs once more.
                let _ = lock.write_at(&lock_text(&own_version()), 0);
            }
        }
        Ok(())
    }

    /// Gives a segment a name under which it is never read again; returns that name.
    fn set_aside(&self, start: Position) -> Result<PathBuf, StorageError> {
        let from = self.segment_path(start);
        let taken = self.names()?;
        let name = (1..)
            .map(|n: u64| format!("aof-{:020}.{n}.aside", start.0))
            .find(|name| !taken.contains(name))
            .expect("fewer than 2^64 files are in a directory");
        let to = self.path.join(name);
        self.disk.rename(&from, &to).map_err(|e| StorageError::io(&from, "rename", &e))?;
        Ok(to)
    }

    /// Removes what was set aside at positions below `position`.
    fn remove_aside_below(&self, position: Position) -> Result<(), StorageError> {
        for name in self.names()? {
            let digits = name.strip_prefix("aof-").and_then(|rest| rest.get(..20));
            let start = digits.and_then(|digits| digits.parse().ok()).map(Position);
            if name.ends_with(".aside") && start.is_some_and(|start| start < position) {
                self.remove(&self.path.join(name))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        self.disk.list(&self.path).map_err(|e| StorageError::io(&self.path, "list", &e))
    }

    fn positions(&self, prefix: &str, suffix: &str) -> Result<Vec<Position>, StorageError> {
        let mut positions: Vec<Position> = self
            .names()?
            .iter()
            .filter_map(|name| name.strip_prefix(prefix)?.strip_suffix(suffix))
            .filter(|digits| digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
            .filter_map(|digits| digits.parse().ok().map(Position))
            .collect();
        positions.sort_unstable();
        Ok(positions)
    }
}
