//! Whole RDB files: a reader that takes what Redis and Valkey write, and a writer of what both
//! read (`REDIS0011`).
//!
//! | part | bytes |
//! |---|---|
//! | magic | `REDIS` and four digits, 1 to 15; or `VALKEY080` |
//! | records | each led by an opcode, or by the type byte of a key |
//! | end | `FF`, from version 5 on u64 LE CRC-64 "Jones" of all before; 0: not computed |
//!
//! | opcode | before the next record |
//! |---|---|
//! | `FE`, `FB` | len database; len keys, len of them with an expiry (a hint) |
//! | `FD`, `FC` | u32 LE seconds, u64 LE milliseconds: the next key's expiry |
//! | `FA`, `F5` | string key, string value; string source of a function library |
//! | `F9`, `F8` | the next key's frequency, 1 byte; idle time, len |
//! | `F7` | module data: len ID, len 2, len when, then as a module value |
//! | `F4` | len slot, len keys, len of them with an expiry |
//! | `F3` of Redis | the next key's metadata: len n, n × (4 bytes, module value) |
//! | `F3` of Valkey | string job, len n, n × (len from, len to) |
//!
//! The checksum is verified before the first key is read, each key's value as it is read. Values
//! of other types are walked over and named, for the caller to refuse or to report.

use crate::codec::Corrupt;
use crate::rdb::wire::{Reader, put_len, put_string};
use crate::rdb::{Object, jones};
use crate::stream::UnixMs;
use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};

/// The bytes of the magic and its version.
const MAGIC: usize = 9;
/// The opcode of the end.
const END: u8 = 0xff;
/// Says that the value ends, in the values of modules.
const MODULE_END: u64 = 0;

/// Who wrote a file. The meaning of some numbers depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Redis,
    Valkey,
}

/// A string of a file: borrowed from it where it stands there plainly.
type Text<'a> = Cow<'a, [u8]>;

/// An RDB file that is being read. It stands in memory whole.
#[derive(Debug)]
pub struct File<'a> {
    reader: Reader<'a>,
    writer: Writer,
    checked: bool,
    database: u64,
    auxiliary: Vec<(Text<'a>, Text<'a>)>,
    names: HashSet<(u64, Text<'a>)>,
}

/// One key of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The number of its database.
    pub database: u64,
    /// Its name.
    pub name: Cow<'a, [u8]>,
    /// When it expires; this may be past.
    pub expires_at: Option<UnixMs>,
    /// Its value.
    pub value: Value,
}

/// The value of a key of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// One that we can hold.
    Object(Object),
    /// One of another type, skipped: its name as TYPE answers it.
    Other(&'static str),
}

impl<'a> File<'a> {
    /// Begins to read `bytes`, once their checksum is found to be right.
    ///
    /// # Errors
    /// [`Corrupt`] if magic, version or checksum are wrong.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let (writer, version) = magic(bytes)?;
        let (records, checked) = if version < 5 {
            (bytes, false)
        } else {
            let Some((records, checksum)) = bytes.split_last_chunk::<8>() else {
                return Err(Corrupt("the file has no checksum"));
            };
            let checksum = u64::from_le_bytes(*checksum);
            if checksum != 0 && checksum != jones(records) {
                return Err(Corrupt("the checksum is wrong"));
            }
            (records, checksum != 0)
        };
        let mut reader = Reader::new(records);
        reader.take(MAGIC)?;
        Ok(File {
            reader,
            writer,
            checked,
            database: 0,
            auxiliary: Vec::new(),
            names: HashSet::new(),
        })
    }

    /// Whether the file has a checksum, which then is right.
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    /// How far the file is read, in bytes: after an error, near what is wrong.
    pub fn offset(&self) -> usize {
        self.reader.offset()
    }

    /// The last value of an auxiliary field that stood before what has been read.
    pub fn auxiliary(&self, field: &[u8]) -> Option<&[u8]> {
        let of_field = self.auxiliary.iter().rfind(|(name, _)| **name == *field);
        of_field.map(|(_, value)| &**value)
    }

    /// The next key; `None` at the end of the file. Not to be called again after either end.
    ///
    /// # Errors
    /// [`Corrupt`] says what is wrong.
    pub fn next_key(&mut self) -> Result<Option<Key<'a>>, Corrupt> {
        let mut expires_at = None;
        let kind = loop {
            match self.reader.u8()? {
                END => {
                    self.reader.end()?;
                    return Ok(None);
                }
                0xfd => expires_at = Some(UnixMs(u64::from(self.reader.u32()?) * 1000)),
                0xfc => expires_at = Some(UnixMs(u64::try_from(self.reader.i64()?).unwrap_or(0))),
                opcode @ 0xf2.. => self.record(opcode)?,
                kind => break kind,
            }
        };
        let name = self.reader.string()?;
        if !self.names.insert((self.database, name.clone())) {
            return Err(Corrupt("a key appears twice"));
        }
        // Valkey gives the numbers from 22 on meanings of its own.
        let object = match self.writer {
            Writer::Valkey if kind >= 22 => None,
            Writer::Redis | Writer::Valkey => Object::read_value(kind, &mut self.reader)?,
        };
        let value = match object {
            Some(object) => Value::Object(object),
            None => Value::Other(skip_value(kind, self.writer, &mut self.reader)?),
        };
        Ok(Some(Key { database: self.database, name, expires_at, value }))
    }

    /// Reads the record of an opcode that is neither the end nor an expiry.
    fn record(&mut self, opcode: u8) -> Result<(), Corrupt> {
        let reader = &mut self.reader;
        match (opcode, self.writer) {
            (0xfe, _) => self.database = reader.len()?,
            (0xfb, _) => skip_lens(2, reader)?,
            (0xfa, _) => {
                let field = (reader.string()?, reader.string()?);
                self.auxiliary.push(field);
            }
            (0xf9, _) => drop(reader.take(1)?),
            (0xf8, _) => skip_lens(1, reader)?,
            (0xf7, _) => {
                skip_lens(3, reader)?;
                skip_module(reader)?;
            }
            (0xf5, _) => skip_strings(1, reader)?,
            (0xf4, _) => skip_lens(3, reader)?,
            (0xf3, Writer::Redis) => {
                for _ in 0..reader.count(5)? {
                    reader.take(4)?;
                    skip_module(reader)?;
                }
            }
            (0xf3, Writer::Valkey) => {
                skip_strings(1, reader)?;
                for _ in 0..reader.count(2)? {
                    skip_lens(2, reader)?;
                }
            }
            _ => return Err(Corrupt("a record of an unknown kind")),
        }
        Ok(())
    }
}

/// Reads magic and version.
fn magic(bytes: &[u8]) -> Result<(Writer, u32), Corrupt> {
    let magic = bytes.get(..MAGIC).ok_or(Corrupt("the file is too short"))?;
    let number = |digits: &[u8]| {
        digits
            .iter()
            .try_fold(0, |number, digit| Some(number * 10 + char::from(*digit).to_digit(10)?))
    };
    if let Some(digits) = magic.strip_prefix(b"REDIS") {
        match number(digits) {
            Some(version @ 1..=15) => Ok((Writer::Redis, version)),
            _ => Err(Corrupt("the version of the file is not supported")),
        }
    } else if let Some(digits) = magic.strip_prefix(b"VALKEY") {
        match number(digits) {
            Some(80) => Ok((Writer::Valkey, 80)),
            _ => Err(Corrupt("the version of the file is not supported")),
        }
    } else {
        Err(Corrupt("the file is not an RDB file"))
    }
}

/// Skips the value of another type; answers the type's name.
fn skip_value(kind: u8, writer: Writer, r: &mut Reader<'_>) -> Result<&'static str, Corrupt> {
    match (kind, writer) {
        (1 | 2, _) => {
            let strings = r.count(1)?;
            skip_strings(strings, r)?;
        }
        (3, _) => {
            for _ in 0..r.count(2)? {
                skip_strings(1, r)?;
                let length = r.u8()?;
                // Above: not a number, and both infinities.
                r.take(if length < 253 { usize::from(length) } else { 0 })?;
            }
        }
        (4, _) => {
            let pairs = r.count(2)?;
            skip_strings(pairs * 2, r)?;
        }
        (5, _) => {
            for _ in 0..r.count(9)? {
                skip_strings(1, r)?;
                r.take(8)?;
            }
        }
        (7, _) => {
            skip_lens(1, r)?;
            skip_module(r)?;
        }
        (9..=13 | 16 | 17 | 20, _) => skip_strings(1, r)?,
        (14, _) => {
            let nodes = r.count(1)?;
            skip_strings(nodes, r)?;
        }
        (18, _) => {
            for _ in 0..r.count(2)? {
                skip_lens(1, r)?;
                skip_strings(1, r)?;
            }
        }
        (22, Writer::Valkey) => {
            for _ in 0..r.count(10)? {
                skip_strings(2, r)?;
                r.take(8)?;
            }
        }
        (22 | 24, Writer::Redis) => {
            r.take(if kind == 24 { 8 } else { 0 })?;
            for _ in 0..r.count(3)? {
                skip_lens(1, r)?;
                skip_strings(2, r)?;
            }
        }
        (23 | 25, Writer::Redis) => {
            r.take(if kind == 25 { 8 } else { 0 })?;
            skip_strings(1, r)?;
        }
        _ => return Err(Corrupt("a value of an unknown type")),
    }
    Ok(match kind {
        1 | 10 | 14 | 18 => "list",
        2 | 11 | 20 => "set",
        3 | 5 | 12 | 17 => "zset",
        7 => "module",
        _ => "hash",
    })
}

/// Skips the value of a module.
fn skip_module(reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    loop {
        match reader.len()? {
            MODULE_END => return Ok(()),
            1 | 2 => skip_lens(1, reader)?,
            3 => drop(reader.take(4)?),
            4 => drop(reader.take(8)?),
            5 => skip_strings(1, reader)?,
            _ => return Err(Corrupt("a module's value has an unknown part")),
        }
    }
}

/// Skips strings.
fn skip_strings(count: usize, reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    (0..count).try_for_each(|_| reader.string().map(drop))
}

/// Skips lengths.
fn skip_lens(count: usize, reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    (0..count).try_for_each(|_| reader.len().map(drop))
}

/// Writes an RDB file that Redis from 7.2 on and every Valkey read; but streams with idempotent
/// producers need Redis 8.6, with unowned pending entries 8.8.
#[derive(Debug)]
pub struct FileWriter<W> {
    to: W,
    digest: crc_fast::Digest,
    database: Option<u64>,
    buffer: Vec<u8>,
}

impl<W: Write> FileWriter<W> {
    /// Writes the beginning. `auxiliary` fields are for whoever reads them.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn new(to: W, auxiliary: &[(&str, &str)]) -> io::Result<Self> {
        let digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Redis);
        let mut writer = FileWriter { to, digest, database: None, buffer: Vec::new() };
        writer.buffer.extend_from_slice(b"REDIS0011");
        for (field, value) in auxiliary {
            writer.buffer.push(0xfa);
            put_string(&mut writer.buffer, field.as_bytes());
            put_string(&mut writer.buffer, value.as_bytes());
        }
        writer.flush()?;
        Ok(writer)
    }

    /// Writes one key. Those of one database stand together, and none appears twice.
    ///
    /// # Errors
    /// Those of `to`; and of the kind `InvalidData` if the value is too large for the format.
    pub fn key(
        &mut self,
        database: u64,
        name: &[u8],
        expires_at: Option<UnixMs>,
        object: &Object,
    ) -> io::Result<()> {
        let out = &mut self.buffer;
        if self.database.replace(database) != Some(database) {
            out.push(0xfe);
            put_len(out, database);
        }
        if let Some(at) = expires_at {
            out.push(0xfc);
            out.extend(at.0.to_le_bytes());
        }
        out.push(object.type_byte());
        put_string(out, name);
        object.put_value(out).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.flush()
    }

    /// Writes end and checksum, and gives back what was written to.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn finish(mut self) -> io::Result<W> {
        self.buffer.push(END);
        self.flush()?;
        self.to.write_all(&self.digest.finalize().to_le_bytes())?;
        Ok(self.to)
    }

    /// Writes out the buffer.
    fn flush(&mut self) -> io::Result<()> {
        self.digest.update(&self.buffer);
        self.to.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::image::Image;

    fn keys(bytes: &[u8]) -> Result<Vec<Key<'_>>, Corrupt> {
        let mut file = File::open(bytes)?;
        let mut keys = Vec::new();
        while let Some(key) = file.next_key()? {
            keys.push(key);
        }
        Ok(keys)
    }

    /// A file of these records.
    fn file(magic: &str, records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [magic.as_bytes(), &records.concat(), &[END]].concat();
        bytes.extend(jones(&bytes).to_le_bytes());
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let objects = [Object::Stream(Image::default()), Object::Str(b"text".to_vec())];
        let mut writer = FileWriter::new(Vec::new(), &[("aof-base", "1")]).unwrap();
        writer.key(0, b"a", None, &objects[0]).unwrap();
        writer.key(3, b"a", Some(UnixMs(7)), &objects[1]).unwrap();
        let bytes = writer.finish().unwrap();
        let mut file = File::open(&bytes).unwrap();
        assert!(file.is_checked());
        let expected = [(0, None), (3, Some(UnixMs(7)))];
        for ((database, expires_at), object) in expected.into_iter().zip(objects) {
            let (name, value) = (Cow::from(&b"a"[..]), Value::Object(object));
            let key = Key { database, name, expires_at, value };
            assert_eq!(file.next_key(), Ok(Some(key)));
        }
        assert_eq!(file.next_key(), Ok(None));
        assert_eq!(file.auxiliary(b"aof-base"), Some(&b"1"[..]));
        for cut in 0..bytes.len() {
            assert!(keys(&bytes[..cut]).is_err());
        }
        for at in 0..bytes.len() - 8 {
            for flip in 1..=255 {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                assert!(keys(&damaged).is_err());
                // Without a checksum to tell, nothing panics.
                let end = damaged.len() - 8;
                damaged[end..].fill(0);
                drop(keys(&damaged));
            }
        }
    }

    #[test]
    fn only_known_versions_are_read() {
        for version in 0..=99 {
            let bytes = file(&format!("REDIS{version:04}"), &[]);
            assert_eq!(keys(&bytes).is_ok(), (5..=15).contains(&version), "{version}");
            let bytes = file(&format!("VALKEY{version:03}"), &[]);
            assert_eq!(keys(&bytes).is_ok(), version == 80, "{version}");
        }
        assert_eq!(keys(b"REDIS0004\xff"), Ok(vec![]), "too old for a checksum");
        for other in ["VALKEY11\0", "REDIS001x", "RADIS0011", "REDIS-011"] {
            assert!(keys(&file(other, &[])).is_err());
        }
        let mut longer = file("REDIS0011", &[]);
        longer.push(0);
        assert!(keys(&longer).is_err());
    }

    #[test]
    fn records_and_other_types_are_skipped() {
        let blob = &b"\x03abc"[..];
        let redis: [(&[u8], &str); 14] = [
            (b"\x01\x01k\x02\x01a\xc0\x01", "list"),
            (b"\x02\x01k\x01\x01a", "set"),
            (b"\x03\x01k\x02\x01a\x01\x35\x01b\xfe", "zset"),
            (b"\x04\x01k\x01\x01a\x01b", "hash"),
            (b"\x05\x01k\x01\x01a12345678", "zset"),
            (b"\x07\x01k\x81\0\0\0\0\0\0\0\x01\x02\x05\x034444\x0488888888\x05\x01a\0", "module"),
            (b"\x0e\x01k\x01\x01a", "list"),
            (b"\x12\x01k\x01\x02\x01a", "list"),
            (b"\x16\x01k\x01\0\x01a\x01b", "hash"),
            (b"\x18\x01k88888888\x01\0\x01a\x01b", "hash"),
            (b"\x17\x01k\x01a", "hash"),
            (b"\x19\x01k88888888\x01a", "hash"),
            (b"\xf3\x01clas\x02\x05\0\x0b\x01k\x01a", "set"),
            (b"\xf9\x01\xf8\x05\xfd\x01\0\0\0\xfa\x01a\x01b\x0d\x01k\x01a", "hash"),
        ];
        let string =
            &b"\xfb\x01\0\xf4\x01\x02\x03\xf7\x05\x02\x01\x02\x07\0\xf5\x01f\0\x01z\x01z"[..];
        for (record, name) in redis {
            let bytes = file("REDIS0012", &[record, string]);
            let keys = keys(&bytes).unwrap();
            assert_eq!(keys.len(), 2, "{name}");
            assert_eq!((&keys[0].value, &*keys[1].name), (&Value::Other(name), &b"z"[..]));
            let seconds = record.contains(&0xfd);
            assert_eq!(keys[0].expires_at, seconds.then_some(UnixMs(1000)));
            assert_eq!(keys[1].expires_at, None);
        }
        let bytes = file(
            "VALKEY080",
            &[b"\xf3\x01j\x01\x02\x03", b"\x16\x01k\x01\x01a\x01b88888888", &[13, 1, b'h'], blob],
        );
        assert_eq!(keys(&bytes).unwrap().len(), 2);
        let stream = |kind, more: &[u8]| [&[kind, 1, b's'][..], &[0; 10], more].concat();
        assert!(keys(&file("VALKEY080", &[&stream(21, b"")])).is_ok());
        assert!(keys(&file("REDIS0012", &[&stream(27, b"\x01\x01\0\0\0")])).is_ok());
        assert!(keys(&file("VALKEY080", &[&stream(27, b"\x01\x01\0\0\0")])).is_err());
        for refused in [6, 8, 19, 28, 33, 100, 0xf2, 0xf6] {
            assert!(keys(&file("REDIS0012", &[&[refused, 1, b'k', 1, b'v']])).is_err());
        }
        assert!(keys(&file("REDIS0012", &[b"\0\x01k\x01a\0\x01k\x01a"])).is_err(), "twice");
        assert!(keys(&file("REDIS0012", &[b"\0\x01k\x01a\xfe\x01\0\x01k\x01a"])).is_ok());
    }
}
