//! The disk as the log and the snapshots see it: a trait, and the operating system's files behind
//! it. `testing::FaultDisk` is the other implementation; it loses power and fails on request.
//!
//! What a caller may rely on after a crash is what POSIX promises and no more: the bytes of a file
//! after [`DiskFile::sync`], a name after [`Disk::sync_dir`]. Everything else may be there or not,
//! in any order, in pieces of 512 bytes.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
#[cfg(target_os = "linux")]
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::retry_on_intr;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An existing file, to read (and to sync).
    Read,
    /// A new file, or an old one emptied, to read and write.
    Create,
    /// An old file as it is, or a new one, to read and write.
    Update,
}

/// Names and files. All paths are below one data directory.
pub trait Disk: Send + Sync + 'static {
    /// Creates a directory, if it is missing: durable after [`Disk::sync_dir`] of its parent.
    /// Parents that are missing, too, are durable at once.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing what has the new name.
    ///
    /// # Errors
    /// What the system says; which name the file has is then unknown.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says; no name created since the last success may then be relied on.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// How many bytes more the disk of a directory takes, roughly; `None` if that is not known.
    fn free_bytes(&self, dir: &Path) -> Option<u64>;

    /// A number that hardly any other call returns: the seed of a file's checksums.
    fn seed(&self) -> u64;
}

/// An open file. Reads and writes name their place, so that threads may share it.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads into `buffer` from `offset` on; fewer bytes only at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`: one system call unless the system takes only a part.
    ///
    /// # Errors
    /// What the system says; how much was written is then unknown.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reserves space for the bytes `offset .. offset + len`, which read as zero until written.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where the file system cannot; otherwise what the system says.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the system says. What was not durable before may then never become so, even if a
    /// later call succeeds.
    fn sync(&self) -> io::Result<()>;

    /// Asks the system to forget its copy in memory of what is durable, so that the next read
    /// comes from the disk.
    fn drop_cache(&self);

    /// The length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether the file still has a name. What has none goes when it is closed, durable or not.
    ///
    /// # Errors
    /// What the system says.
    fn has_name(&self) -> io::Result<bool>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Locks the file against other openings of it until it is closed; false if one has it.
    ///
    /// # Errors
    /// What the system says.
    fn try_lock(&self) -> io::Result<bool>;
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parents = dir.ancestors().skip(1);
        let missing = parents.take_while(|path| !path.as_os_str().is_empty() && !path.is_dir());
        let missing: Vec<&Path> = missing.collect();
        std::fs::create_dir_all(dir)?;
        missing.into_iter().try_for_each(|made| self.sync_dir(parent_of(made)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match access {
            Access::Read => &mut options,
            Access::Create => options.write(true).create(true).truncate(true),
            Access::Update => options.write(true).create(true).truncate(false),
        };
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        let found = rustix::fs::statvfs(dir).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn seed(&self) -> u64 {
        // Each `RandomState` has other keys, which the system's randomness begins.
        RandomState::new().build_hasher().finish()
    }
}

/// The directory that a path is in.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// A file of the operating system.
#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| fallocate(&self.0, FallocateFlags::empty(), offset, len))?)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn drop_cache(&self) {
        // Advice: where it is not taken, reads come from memory as they would have anyway.
        let _ = fadvise(&self.0, 0, None, Advice::DontNeed);
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn has_name(&self) -> io::Result<bool> {
        // Not all of the metadata: who has looked at a file's times makes Linux tell the next
        // write's from them, and the next sync writes the inode, too (128 µs for 85).
        #[cfg(target_os = "linux")]
        if let Ok(found) = statx(&self.0, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK) {
            return Ok(found.stx_nlink > 0);
        }
        Ok(self.0.metadata()?.nlink() > 0)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
