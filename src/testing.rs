//! What tests share: seeded randomness, and a disk that fails and loses power on request.
//!
//! [`FaultDisk`] keeps for each file what is durable and what is not, in sectors of 512 bytes, and
//! for each name the changes that are not durable. [`FaultDisk::crash`] chooses what survives:
//! any subset of the unsynced sectors, any subset of the unsynced changes of names, any length
//! between the old and the new, a new directory or nothing in it. Everything follows from the
//! seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::persist::disk::{Access, Disk, DiskFile, parent_of};

/// The unit in which a power cut keeps or loses bytes.
const SECTOR: usize = 512;

/// Seeded random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next_u64() % n as u64).expect("it is below a usize")
    }

    /// True in `numerator` of `denominator` cases.
    pub fn chance(&mut self, numerator: usize, denominator: usize) -> bool {
        self.below(denominator) < numerator
    }

    /// Random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next_u64().to_le_bytes()[0]).collect()
    }
}

/// How many rounds a test has: `MILLSTREAM_ROUNDS` times as many as it has in every run.
///
/// # Panics
/// If that is set and no number.
pub fn rounds(usual: u64) -> u64 {
    let times = std::env::var("MILLSTREAM_ROUNDS").map_or(Ok(1), |text| text.parse::<u64>());
    usual * times.expect("MILLSTREAM_ROUNDS is a number")
}

/// What a [`Fault`] makes fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Any operation.
    Any,
    /// Opening a file.
    Open,
    /// Reading.
    Read,
    /// Writing; a part of the bytes is written.
    Write,
    /// Allocating.
    Allocate,
    /// `fdatasync`; what was not durable stays readable and never becomes durable.
    Sync,
    /// Making names durable.
    SyncDir,
    /// Changing a length.
    SetLen,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Listing names.
    List,
    /// Locking.
    Lock,
    /// Asking for a length.
    Len,
    /// Making a directory.
    CreateDir,
}

/// Makes operations fail.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Which operations.
    pub op: Op,
    /// How many of them succeed first.
    pub after: u64,
    /// How many of them fail then.
    pub times: u64,
    /// With which error number, for example 5 (EIO) or 28 (ENOSPC).
    pub errno: i32,
}

/// EIO.
pub const EIO: i32 = 5;
/// ENOSPC.
pub const ENOSPC: i32 = 28;

/// A disk in memory; clones are the same disk.
#[derive(Debug, Clone)]
pub struct FaultDisk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told when syncs are held no more.
    let_go: Condvar,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since the last `sync_dir`, in order.
    pending_names: Vec<NameChange>,
    /// Directories that were created, and whether their names are durable.
    dirs: BTreeMap<PathBuf, bool>,
    faults: Vec<Fault>,
    operations: u64,
    power_off_at: Option<u64>,
    capacity: u64,
    /// Whether syncs of files wait.
    holds_syncs: bool,
}

#[derive(Debug, Clone)]
enum NameChange {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf, u64),
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            NameChange::Create(path, _) | NameChange::Remove(path, _) => path,
            NameChange::Rename(_, to, _) => to,
        }
    }
}

/// A file: what reads see, and what a crash keeps for sure.
#[derive(Debug, Clone, Default)]
struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: BTreeSet<usize>,
    locked: bool,
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.current.len() {
            self.current.resize(end, 0);
        }
        self.current[offset..end].copy_from_slice(bytes);
        self.unsynced.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.durable.resize(self.current.len(), 0);
        for sector in std::mem::take(&mut self.unsynced) {
            copy_sector(&self.current, &mut self.durable, sector);
        }
    }

    /// What a read from the disk finds: only unsynced sectors are in memory alone.
    fn drop_cache(&mut self) {
        let mut bytes = self.durable.clone();
        bytes.resize(self.current.len(), 0);
        for &sector in &self.unsynced {
            copy_sector(&self.current, &mut bytes, sector);
        }
        self.current = bytes;
    }

    fn crash(&self, rng: &mut Rng) -> Vec<u8> {
        let (old, new) = (self.durable.len(), self.current.len());
        let (least, most) = (old.min(new), old.max(new));
        let len = match rng.below(4) {
            0 => old,
            1 => least + rng.below(most - least + 1),
            _ => new,
        };
        let mut bytes = self.durable.clone();
        bytes.resize(len, 0);
        let keep = rng.below(5);
        for &sector in &self.unsynced {
            if rng.below(4) < keep {
                copy_sector(&self.current, &mut bytes, sector);
            }
        }
        bytes
    }
}

/// Copies the part of a sector that both have.
fn copy_sector(from: &[u8], to: &mut [u8], sector: usize) {
    let begin = (sector * SECTOR).min(from.len()).min(to.len());
    let end = (begin + SECTOR).min(from.len()).min(to.len());
    to[begin..end].copy_from_slice(&from[begin..end]);
}

impl FaultDisk {
    /// An empty disk on which nothing fails.
    pub fn new(seed: u64) -> Self {
        Self::with(Rng::new(seed), BTreeMap::new(), BTreeMap::new())
    }

    fn with(rng: Rng, files: BTreeMap<u64, Content>, names: BTreeMap<PathBuf, u64>) -> Self {
        let state = State {
            rng,
            next_file: files.keys().last().map_or(0, |last| last + 1),
            files,
            durable_names: names.clone(),
            names,
            pending_names: Vec::new(),
            dirs: BTreeMap::new(),
            faults: Vec::new(),
            operations: 0,
            power_off_at: None,
            capacity: u64::MAX,
            holds_syncs: false,
        };
        FaultDisk(Arc::new(Shared { state: Mutex::new(state), let_go: Condvar::new() }))
    }

    /// The disk as it may be found after a power cut now: another disk, on which nothing fails.
    /// This one stays as it is.
    pub fn crash(&self, seed: u64) -> FaultDisk {
        let mut rng = Rng::new(seed);
        let state = self.state();
        let mut names = state.durable_names.clone();
        let keep = rng.below(5);
        for change in &state.pending_names {
            if rng.below(4) < keep {
                apply(&mut names, change);
            }
        }
        for (dir, is_durable) in &state.dirs {
            if !is_durable && rng.chance(1, 2) {
                names.retain(|path, _| !path.starts_with(dir));
            }
        }
        let mut files = BTreeMap::new();
        for &file in names.values() {
            let bytes = state.files[&file].crash(&mut rng);
            let content = Content { durable: bytes.clone(), current: bytes, ..Content::default() };
            files.insert(file, content);
        }
        FaultDisk::with(rng, files, names)
    }

    /// The disk after the process died and the system did not: nothing is lost, nothing is locked.
    pub fn kill(&self) -> FaultDisk {
        let state = self.state();
        let mut files = state.files.clone();
        for content in files.values_mut() {
            content.locked = false;
        }
        let disk = FaultDisk::with(state.rng.clone(), files, state.names.clone());
        disk.state().durable_names = state.durable_names.clone();
        disk.state().pending_names = state.pending_names.clone();
        disk.state().dirs = state.dirs.clone();
        disk
    }

    /// Adds a fault; each is counted alone, and forgotten when it is used up.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// How many faults are not used up.
    pub fn faults_left(&self) -> usize {
        self.state().faults.len()
    }

    /// From now on a sync of a file does not end before [`FaultDisk::heal`].
    pub fn hold_syncs(&self) {
        self.state().holds_syncs = true;
    }

    /// Removes all faults, the limit of space, and the end of power; lets go the syncs it held.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.capacity = u64::MAX;
        state.power_off_at = None;
        state.holds_syncs = false;
        self.0.let_go.notify_all();
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// From the operation with this number on, each fails and changes nothing.
    pub fn power_off_at(&self, operation: u64) {
        self.state().power_off_at = Some(operation);
    }

    /// Limits the bytes of all files; what goes beyond fails with ENOSPC.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// The bytes of all files that have a name.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// The bytes of a file as reads see them.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|file| state.files[file].current.clone())
    }

    /// Replaces the bytes of a file, durably.
    pub fn set_bytes(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let file = match state.names.get(path) {
            Some(&file) => file,
            None => state.create(path),
        };
        state.durable_names.insert(path.to_owned(), file);
        let content =
            Content { current: bytes.to_vec(), durable: bytes.to_vec(), ..Content::default() };
        state.files.insert(file, content);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Create(path, file) => {
            names.insert(path.clone(), *file);
        }
        NameChange::Rename(from, to, file) => {
            if names.get(from) == Some(file) {
                names.remove(from);
            }
            names.insert(to.clone(), *file);
        }
        NameChange::Remove(path, file) => {
            if names.get(path) == Some(file) {
                names.remove(path);
            }
        }
    }
}

impl State {
    /// Counts an operation; an error if it is to fail.
    fn operation(&mut self, op: Op) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.power_off_at.is_some_and(|at| number >= at) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let mut failed = None;
        for fault in &mut self.faults {
            if fault.op != op && fault.op != Op::Any {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                failed = Some(fault.errno);
            }
        }
        self.faults.retain(|fault| fault.times > 0);
        failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn powered(&self) -> bool {
        self.power_off_at.is_none_or(|at| self.operations <= at)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[file].current.len() as u64).sum()
    }

    /// An error if `file` cannot grow to `len`.
    fn check_space(&self, file: u64, len: usize) -> io::Result<()> {
        let more = len.saturating_sub(self.files[&file].current.len()) as u64;
        if more > 0 && self.used() + more > self.capacity {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }

    /// How many bytes fit into `file` from `offset` on.
    fn room(&self, file: u64, offset: usize) -> usize {
        let left = self.capacity.saturating_sub(self.used());
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        self.files[&file].current.len().saturating_add(left).saturating_sub(offset)
    }

    fn create(&mut self, path: &Path) -> u64 {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, Content::default());
        let change = NameChange::Create(path.to_owned(), file);
        apply(&mut self.names, &change);
        self.pending_names.push(change);
        file
    }

    fn content(&mut self, file: u64) -> &mut Content {
        self.files.get_mut(&file).expect("a file lives as long as its disk")
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FaultDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation(Op::CreateDir)?;
        if !state.names.keys().any(|path| path.starts_with(dir)) {
            state.dirs.entry(dir.to_owned()).or_insert(false);
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.operation(Op::List)?;
        let here = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.operation(Op::Open)?;
        let file = match (state.find(path), access) {
            (Ok(file), Access::Read | Access::Update) => file,
            (Err(error), Access::Read) => return Err(error),
            (Err(_), Access::Create | Access::Update) => state.create(path),
            (Ok(file), Access::Create) => {
                let content = state.content(file);
                content.current.clear();
                content.unsynced.clear();
                file
            }
        };
        Ok(Arc::new(FaultFile { disk: self.clone(), file, locks: Mutex::new(false) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation(Op::Rename)?;
        let file = state.find(from)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned(), file);
        apply(&mut state.names, &change);
        state.pending_names.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation(Op::Remove)?;
        let file = state.find(path)?;
        let change = NameChange::Remove(path.to_owned(), file);
        apply(&mut state.names, &change);
        state.pending_names.push(change);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation(Op::SyncDir)?;
        let is_here = |path: &Path| parent_of(path) == dir;
        let State { names, durable_names, pending_names, dirs, .. } = &mut *state;
        durable_names.retain(|path, _| !is_here(path));
        let here = names.iter().filter(|(path, _)| is_here(path));
        durable_names.extend(here.map(|(path, file)| (path.clone(), *file)));
        // A rename stays in its directory.
        pending_names.retain(|change| !is_here(change.path()));
        dirs.iter_mut().filter(|(path, _)| is_here(path)).for_each(|(_, durable)| *durable = true);
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> Option<u64> {
        let state = self.state();
        Some(state.capacity.saturating_sub(state.used()))
    }

    fn seed(&self) -> u64 {
        self.state().rng.next_u64()
    }
}

#[derive(Debug)]
struct FaultFile {
    disk: FaultDisk,
    file: u64,
    locks: Mutex<bool>,
}

impl DiskFile for FaultFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.operation(Op::Read)?;
        let current = &state.content(self.file).current;
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(current.len());
        let len = buffer.len().min(current.len() - begin);
        buffer[..len].copy_from_slice(&current[begin..begin + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.disk.state();
        let result = state
            .operation(Op::Write)
            .and_then(|()| state.check_space(self.file, offset + bytes.len()));
        if result.is_err() {
            if state.powered() {
                let part = state.rng.below(bytes.len() + 1).min(state.room(self.file, offset));
                state.content(self.file).write(&bytes[..part], offset);
            }
            return result;
        }
        state.content(self.file).write(bytes, offset);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = usize::try_from(offset + len).map_err(io::Error::other)?;
        let mut state = self.disk.state();
        state.operation(Op::Allocate)?;
        state.check_space(self.file, end)?;
        let content = state.content(self.file);
        if end > content.current.len() {
            content.current.resize(end, 0);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        while state.holds_syncs {
            let waited = self.disk.0.let_go.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let result = state.operation(Op::Sync);
        let powered = state.powered();
        let content = state.content(self.file);
        match result {
            Ok(()) => content.sync(),
            // As Linux does: the pages count as clean and are lost.
            Err(_) if powered => content.unsynced.clear(),
            Err(_) => {}
        }
        result
    }

    fn drop_cache(&self) {
        self.disk.state().content(self.file).drop_cache();
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.operation(Op::Len)?;
        Ok(state.content(self.file).current.len() as u64)
    }

    fn has_name(&self) -> io::Result<bool> {
        let state = self.disk.state();
        Ok(state.names.values().any(|file| *file == self.file))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut state = self.disk.state();
        state.operation(Op::SetLen)?;
        state.check_space(self.file, len)?;
        let content = state.content(self.file);
        if len < content.current.len() {
            content.current.truncate(len);
        } else {
            content.current.resize(len, 0);
        }
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.disk.state();
        state.operation(Op::Lock)?;
        let content = state.content(self.file);
        let free = !content.locked;
        content.locked = true;
        *self.locks.lock().unwrap_or_else(PoisonError::into_inner) |= free;
        Ok(free)
    }
}

impl Drop for FaultFile {
    fn drop(&mut self) {
        if *self.locks.lock().unwrap_or_else(PoisonError::into_inner) {
            self.disk.state().content(self.file).locked = false;
        }
    }
}
