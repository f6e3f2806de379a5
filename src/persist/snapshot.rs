//! A snapshot file: the state through one position of the log, in sections of opaque bytes.
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `MILLSNAP` |
//! | 8 | 4 | format version |
//! | 12 | 4 | zero |
//! | 16 | 8 | position of the log that the state is complete through |
//! | 24 | 8 | CRC-64 of the 24 bytes before |
//! | 32 | | sections without gaps, then the trailer, then nothing |
//!
//! | section, at | size | what |
//! |---|---|---|
//! | 0 | 8 | bytes of payload |
//! | 8 | 4 | number of the section, from 0 |
//! | 12 | 1 | kind; 0 is the trailer |
//! | 13 | 1 | database |
//! | 14 | 2 | shard |
//! | 16 | 8 | CRC-64 of the payload, begun with the position |
//! | 24 | 8 | CRC-64 of the 24 bytes before, begun with the position |
//! | 32 | | payload |
//!
//! The trailer is a section without payload, whose number is therefore the count of the sections.
//! Equal sections give equal bytes. A file is written under a temporary name, synced, read back
//! from the disk, and only then gets its name: a snapshot that has one was whole.

use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::{Crc64, Cursor, crc64, put_u32, put_u64};
use crate::error::StorageError;
use crate::persist::disk::{Access, DiskFile};
use crate::persist::{Directory, FORMAT_VERSION, Position};

const MAGIC: &[u8; 8] = b"MILLSNAP";
/// The bytes of the file's header, and of a section's.
const HEADER_BYTES: usize = 32;
/// How much is gathered for one write; any value works.
const WRITE_BYTES: usize = 1 << 20;
/// How much is written between syncs, chosen: a single sync at the end would hold up the syncs of
/// the log meanwhile.
const SYNC_BYTES: u64 = 32 << 20;
/// The kind of the trailer.
const TRAILER: u8 = 0;

/// What a section is about; means nothing to this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionTag {
    /// What the payload is; not 0.
    pub kind: u8,
    /// The database it belongs to.
    pub database: u8,
    /// The shard that wrote it.
    pub shard: u16,
}

/// A section of an open snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// What it is about.
    pub tag: SectionTag,
    /// The bytes of its payload.
    pub payload_bytes: u64,
    /// Where the payload begins in the file.
    offset: u64,
    payload_crc: u64,
}

/// What was written, or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The position that the state is complete through.
    pub position: Position,
    /// The size of the file.
    pub bytes: u64,
    /// The number of sections.
    pub sections: u32,
}

/// A snapshot being written. Dropped before [`SnapshotWriter::finish`], it leaves nothing.
pub struct SnapshotWriter {
    directory: Arc<Directory>,
    position: Position,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    sections: u32,
    finished: bool,
}

impl SnapshotWriter {
    /// Begins the snapshot through `position`.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn create(directory: Arc<Directory>, position: Position) -> Result<Self, StorageError> {
        let temporary = directory.snapshot_path(position).with_extension("snap.tmp");
        let file = directory.open_file(&temporary, Access::Create)?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES + HEADER_BYTES);
        buffer.extend_from_slice(MAGIC);
        put_u32(&mut buffer, FORMAT_VERSION);
        put_u32(&mut buffer, 0);
        put_u64(&mut buffer, position.0);
        let crc = crc64(0, &[&buffer]);
        put_u64(&mut buffer, crc);
        Ok(SnapshotWriter {
            directory,
            position,
            temporary,
            file,
            buffer,
            written: 0,
            synced: 0,
            sections: 0,
            finished: false,
        })
    }

    /// Appends a section. A reader takes a section into memory as a whole: keep them to some MiB.
    ///
    /// # Errors
    /// [`StorageError::Io`]; the snapshot cannot be finished then.
    ///
    /// # Panics
    /// If the kind is 0, which is the trailer's.
    pub fn section(&mut self, tag: SectionTag, payload: &[u8]) -> Result<(), StorageError> {
        self.section_of(tag, &[payload])
    }

    /// [`SnapshotWriter::section`] with a payload in pieces.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn section_of(&mut self, tag: SectionTag, payload: &[&[u8]]) -> Result<(), StorageError> {
        assert!(tag.kind != TRAILER, "a section of kind 0 would end the snapshot");
        self.put_section(tag, payload)?;
        self.sections = self.sections.checked_add(1).expect("sections are not that small");
        Ok(())
    }

    /// Writes the trailer, makes the file durable, reads it back from the disk, and gives it
    /// its name, durably.
    ///
    /// # Errors
    /// [`StorageError::Io`]; [`StorageError::Damaged`] if the disk gives back other bytes. There is
    /// no snapshot then, or (if only the last step failed) a whole one that may not last.
    pub fn finish(mut self) -> Result<SnapshotSummary, StorageError> {
        let trailer = SectionTag { kind: TRAILER, database: 0, shard: 0 };
        self.put_section(trailer, &[])?;
        self.flush()?;
        self.sync()?;
        self.file.drop_cache();
        let reader = SnapshotReader::read_back(
            Arc::clone(&self.file),
            self.temporary.clone(),
            self.position,
        )?;
        let mut piece = std::mem::take(&mut self.buffer);
        for section in reader.sections() {
            reader.verify(section, &mut piece)?;
        }
        let summary = reader.summary();
        if (summary.bytes, summary.sections) != (self.written, self.sections) {
            return Err(reader.damaged(summary.bytes, "the disk gives back another file"));
        }
        let path = self.directory.snapshot_path(self.position);
        self.directory
            .disk()
            .rename(&self.temporary, &path)
            .map_err(|e| StorageError::io(&path, "rename", &e))?;
        self.finished = true;
        self.directory.sync()?;
        Ok(summary)
    }

    fn put_section(&mut self, tag: SectionTag, payload: &[&[u8]]) -> Result<(), StorageError> {
        let begin = self.buffer.len();
        let payload_bytes = payload.iter().map(|piece| piece.len()).sum::<usize>();
        put_u64(&mut self.buffer, payload_bytes as u64);
        put_u32(&mut self.buffer, self.sections);
        self.buffer.extend_from_slice(&[tag.kind, tag.database]);
        self.buffer.extend_from_slice(&tag.shard.to_le_bytes());
        put_u64(&mut self.buffer, crc64(self.position.0, payload));
        let crc = crc64(self.position.0, &[&self.buffer[begin..]]);
        put_u64(&mut self.buffer, crc);
        if self.buffer.len() + payload_bytes > WRITE_BYTES {
            self.flush()?;
        }
        if payload_bytes > WRITE_BYTES {
            payload.iter().try_for_each(|piece| self.write(piece))
        } else {
            payload.iter().for_each(|piece| self.buffer.extend_from_slice(piece));
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file
            .write_at(bytes, self.written)
            .map_err(|e| StorageError::io(&self.temporary, "write", &e))?;
        self.written += bytes.len() as u64;
        if self.written - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync().map_err(|e| StorageError::io(&self.temporary, "fdatasync", &e))?;
        self.synced = self.written;
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails, the next opening of the directory removes it.
            let _ = self.directory.remove(&self.temporary);
        }
    }
}

/// A snapshot being read. Threads may share it.
pub struct SnapshotReader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    position: Position,
    sections: Vec<Section>,
}

impl SnapshotReader {
    /// Opens the snapshot through `position`, and checks that it is complete: its header, the
    /// header of each section, the trailer, and that nothing follows it.
    /// **Cost**: one read per section; payloads are checked when they are read.
    ///
    /// # Errors
    /// [`StorageError::Damaged`], [`StorageError::Version`], [`StorageError::Io`].
    pub fn open(directory: &Directory, position: Position) -> Result<Self, StorageError> {
        let path = directory.snapshot_path(position);
        let file = directory.open_file(&path, Access::Read)?;
        Self::read_back(file, path, position)
    }

    /// The sections, in the order in which they were written.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Position, size, count.
    pub fn summary(&self) -> SnapshotSummary {
        let sections = u32::try_from(self.sections.len()).unwrap_or(u32::MAX);
        SnapshotSummary { position: self.position, bytes: self.bytes, sections }
    }

    /// Reads the payload of a section of this snapshot into `payload`, replacing what is there.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if it is not what was written, [`StorageError::Io`].
    pub fn read(&self, section: &Section, payload: &mut Vec<u8>) -> Result<(), StorageError> {
        let len = usize::try_from(section.payload_bytes)
            .map_err(|_| self.damaged(section.offset, "a section exceeds the memory"))?;
        payload.resize(len, 0);
        self.fill(payload, section.offset)?;
        self.compare(section, crc64(self.position.0, &[payload]))
    }

    /// Checks the payload of a section, of which no more than `piece` is taken into memory.
    fn verify(&self, section: &Section, piece: &mut Vec<u8>) -> Result<(), StorageError> {
        let (mut crc, mut at) = (Crc64::new(self.position.0), section.offset);
        let end = section.offset + section.payload_bytes;
        while at < end {
            let len = (end - at).min(WRITE_BYTES as u64);
            piece.resize(usize::try_from(len).unwrap_or(WRITE_BYTES), 0);
            self.fill(piece, at)?;
            crc.write(piece);
            at += len;
        }
        self.compare(section, crc.sum())
    }

    fn compare(&self, section: &Section, payload_crc: u64) -> Result<(), StorageError> {
        if payload_crc == section.payload_crc {
            return Ok(());
        }
        Err(self.damaged(section.offset, "the payload of a section is damaged"))
    }

    /// The error that says that a section is not what it should be.
    pub fn damaged_section(&self, section: &Section, reason: &str) -> StorageError {
        self.damaged(section.offset, reason)
    }

    fn read_back(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        position: Position,
    ) -> Result<Self, StorageError> {
        let bytes = file.len().map_err(|e| StorageError::io(&path, "stat", &e))?;
        let mut reader = SnapshotReader { path, file, bytes, position, sections: Vec::new() };
        reader.check_header()?;
        let mut offset = HEADER_BYTES as u64;
        loop {
            let section = reader.section_header(offset)?;
            let end = section.offset.checked_add(section.payload_bytes);
            let Some(end) = end.filter(|&end| end <= bytes) else {
                return Err(reader.damaged(offset, "a section exceeds the file"));
            };
            if section.tag.kind == TRAILER {
                if end != bytes {
                    return Err(reader.damaged(end, "bytes follow the trailer"));
                }
                return Ok(reader);
            }
            reader.sections.push(section);
            offset = end;
        }
    }

    fn check_header(&self) -> Result<(), StorageError> {
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header, 0)?;
        let fields = || {
            let mut cursor = Cursor::new(&header);
            let magic = cursor.take(MAGIC.len())?;
            let (version, _zero) = (cursor.u32()?, cursor.u32()?);
            Ok((magic, version, cursor.u64()?, cursor.u64()?))
        };
        let (magic, version, position, crc) = fields().map_err(|e| self.corrupt(0, e))?;
        if magic != MAGIC {
            return Err(self.damaged(0, "this is no snapshot"));
        }
        if crc != crc64(0, &[&header[..24]]) {
            return Err(self.damaged(0, "the header is damaged"));
        }
        if version != FORMAT_VERSION {
            let path = self.path.clone();
            return Err(StorageError::Version { path, found: version.to_string() });
        }
        if position != self.position.0 {
            return Err(self.damaged(16, "the header has another position than the name"));
        }
        Ok(())
    }

    fn section_header(&self, offset: u64) -> Result<Section, StorageError> {
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header, offset)?;
        let fields = || {
            let mut cursor = Cursor::new(&header);
            let (payload_bytes, number) = (cursor.u64()?, cursor.u32()?);
            let (kind, database) = (cursor.u8()?, cursor.u8()?);
            let shard = u16::from_le_bytes([cursor.u8()?, cursor.u8()?]);
            let tag = SectionTag { kind, database, shard };
            let (payload_crc, crc) = (cursor.u64()?, cursor.u64()?);
            let offset = offset + HEADER_BYTES as u64;
            Ok((Section { tag, payload_bytes, offset, payload_crc }, number, crc))
        };
        let (section, number, crc) = fields().map_err(|e| self.corrupt(offset, e))?;
        if crc != crc64(self.position.0, &[&header[..24]]) {
            return Err(self.damaged(offset, "the header of a section is damaged"));
        }
        if u64::from(number) != self.sections.len() as u64 {
            return Err(self.damaged(offset, "a section is missing or stands twice"));
        }
        Ok(section)
    }

    /// Reads exactly `buffer`.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let read = self.file.read_at(buffer, offset);
        let read = read.map_err(|e| StorageError::io(&self.path, "read", &e))?;
        if read < buffer.len() {
            return Err(self.damaged(offset + read as u64, "the file ends before its trailer"));
        }
        Ok(())
    }

    fn corrupt(&self, offset: u64, error: crate::codec::Corrupt) -> StorageError {
        self.damaged(offset, error.0)
    }

    fn damaged(&self, offset: u64, reason: &str) -> StorageError {
        StorageError::Damaged { path: self.path.clone(), offset, reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::persist::disk::{Disk, OsDisk};
    use crate::testing::{EIO, Fault, FaultDisk, Op, Rng};

    type Sections = Vec<(SectionTag, Vec<u8>)>;

    const POSITION: Position = Position(4711);

    fn directory(disk: &FaultDisk) -> Arc<Directory> {
        Directory::open("/data", Arc::new(disk.clone())).unwrap()
    }

    fn sample(sizes: &[usize]) -> Sections {
        let mut rng = Rng::new(1);
        let tag = |i: usize| SectionTag { kind: 1 + u8::from(i % 2 == 1), database: 3, shard: 258 };
        sizes.iter().enumerate().map(|(i, &size)| (tag(i), rng.bytes(size))).collect()
    }

    fn write(
        directory: &Arc<Directory>,
        sections: &Sections,
    ) -> Result<SnapshotSummary, StorageError> {
        let mut writer = SnapshotWriter::create(Arc::clone(directory), POSITION)?;
        for (tag, payload) in sections {
            writer.section(*tag, payload)?;
        }
        writer.finish()
    }

    fn read(directory: &Directory) -> Result<Sections, StorageError> {
        let reader = SnapshotReader::open(directory, POSITION)?;
        let mut sections = Vec::new();
        for section in reader.sections() {
            let mut payload = Vec::new();
            reader.read(section, &mut payload)?;
            sections.push((section.tag, payload));
        }
        Ok(sections)
    }

    #[test]
    fn sections_of_all_sizes_come_back_and_survive_a_power_cut() {
        let disk = FaultDisk::new(1);
        let sections = sample(&[0, 1, 1000, 0, WRITE_BYTES - 32, WRITE_BYTES + 1, 5]);
        let summary = write(&directory(&disk), &sections).unwrap();
        assert_eq!((summary.position, summary.sections), (POSITION, 7));
        for seed in 0..20 {
            let directory = directory(&disk.crash(seed));
            assert_eq!(directory.snapshots(), Ok(vec![POSITION]));
            assert_eq!(read(&directory).as_ref(), Ok(&sections));
        }
        let dir = tempfile::tempdir().unwrap();
        let real = Directory::open(dir.path(), Arc::new(OsDisk)).unwrap();
        assert_eq!(write(&real, &sections), Ok(summary));
        assert_eq!(read(&real), Ok(sections));
    }

    #[test]
    fn d05_every_truncation_extension_and_flipped_bit_of_a_snapshot_is_an_error() {
        let disk = FaultDisk::new(1);
        let directory = directory(&disk);
        let sections = sample(&[40, 0, 300]);
        write(&directory, &sections).unwrap();
        let path = directory.snapshot_path(POSITION);
        let bytes = disk.bytes(&path).unwrap();
        let refused = |bytes: &[u8]| {
            disk.set_bytes(&path, bytes);
            let error = read(&directory).unwrap_err();
            let ok = matches!(error, StorageError::Damaged { .. });
            assert!(ok, "{error}");
        };
        for len in 0..bytes.len() {
            refused(&bytes[..len]);
        }
        refused(&[&bytes[..], &[0]].concat());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                refused(&bytes);
            }
        }
        disk.set_bytes(&path, &bytes);
        assert_eq!(read(&directory), Ok(sections));
    }

    #[test]
    fn a_snapshot_has_its_name_only_when_it_is_whole() {
        let sections = sample(&[700, 20]);
        for after in 0.. {
            let disk = FaultDisk::new(after);
            let directory = directory(&disk);
            // Else it is with the snapshot that it becomes durable, and says so in `LOCK`.
            directory.sync().unwrap();
            disk.fail(Fault { op: Op::Any, after, times: 1, errno: EIO });
            let before = disk.operations();
            let written = write(&directory, &sections);
            let reached = disk.operations() - before > after;
            assert_eq!(written.is_err(), reached, "operation {after}");
            for disk in [disk.kill(), disk.crash(after)] {
                let directory = self::directory(&disk);
                let found = directory.snapshots().unwrap();
                assert!(written.is_err() || found == [POSITION]);
                for _ in found {
                    assert_eq!(read(&directory).as_ref(), Ok(&sections));
                }
                let left = disk.list(Path::new("/data")).unwrap();
                assert!(left.iter().all(|name| !name.ends_with(".tmp")));
            }
            if !reached {
                break;
            }
        }
    }
}
