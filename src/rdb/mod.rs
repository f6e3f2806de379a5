//! Redis's formats, for exchange with Redis and Valkey only; here the payload of DUMP and RESTORE,
//! in `file.rs` whole files.
//!
//! | part | bytes |
//! |---|---|
//! | type | 1; 0 is a string, 15, 19, 21, 26 and 27 are streams |
//! | value | as `wire.rs` (strings) and `stream.rs` say |
//! | version | u16 LE, of the format: 1 to 15 (Redis), 80 (Valkey 9) |
//! | checksum | u64 LE, CRC-64 "Jones" of all before |
//!
//! We write the lowest type that loses nothing, so that the oldest peer possible can read it.

pub mod file;
mod listpack;
mod lzf;
mod stream;
mod wire;

use crate::codec::Corrupt;
use crate::error::CommandError;
use crate::stream::image::Image;
use stream::Kind;
use wire::Reader;

/// The type byte of a string.
const STRING: u8 = 0;
/// The version of the format under which strings are written: that of type 21, which Redis from
/// 7.2 on and every Valkey read.
const STRING_VERSION: u16 = 11;

/// A value that we exchange with Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A stream.
    Stream(Image),
    /// A string.
    Str(Vec<u8>),
}

impl Object {
    /// The type byte.
    fn type_byte(&self) -> u8 {
        match self {
            Object::Stream(image) => Kind::of(image).byte(),
            Object::Str(_) => STRING,
        }
    }

    /// The first version of the format that has the type.
    fn version(&self) -> u16 {
        match self {
            Object::Stream(image) => Kind::of(image).version(),
            Object::Str(_) => STRING_VERSION,
        }
    }

    /// Appends the value, without its type byte.
    ///
    /// # Errors
    /// [`Corrupt`] if an entry is too large for the format.
    fn put_value(&self, out: &mut Vec<u8>) -> Result<(), Corrupt> {
        match self {
            Object::Stream(image) => stream::encode(image, out),
            Object::Str(text) => {
                wire::put_string(out, text);
                Ok(())
            }
        }
    }

    /// Reads the value after its type byte; `None` if the type is neither.
    ///
    /// # Errors
    /// [`Corrupt`] says what is wrong with it.
    fn read_value(byte: u8, reader: &mut Reader<'_>) -> Result<Option<Object>, Corrupt> {
        Ok(match Kind::from_byte(byte) {
            Some(kind) => Some(Object::Stream(stream::decode(kind, reader)?)),
            None if byte == STRING => Some(Object::Str(reader.string()?.into_owned())),
            None => None,
        })
    }
}

/// The payload that DUMP answers.
///
/// # Errors
/// If an entry is too large for the format, beyond 3 GiB.
pub fn dump(object: &Object) -> Result<Vec<u8>, CommandError> {
    let mut out = vec![object.type_byte()];
    object
        .put_value(&mut out)
        .map_err(|_| CommandError::Fixed("ERR the value is too large to be dumped"))?;
    out.extend(object.version().to_le_bytes());
    let checksum = jones(&out);
    out.extend(checksum.to_le_bytes());
    Ok(out)
}

/// The value of a payload that RESTORE gets, validated whole.
///
/// # Errors
/// `ERR DUMP payload version or checksum are wrong`, and `ERR Bad data format` for anything else
/// that is wrong, or not a string or a stream.
pub fn restore(payload: &[u8]) -> Result<Object, CommandError> {
    let Some(bytes) = checked_body(payload) else {
        return Err(CommandError::Fixed("ERR DUMP payload version or checksum are wrong"));
    };
    body(bytes).map_err(|_| CommandError::Fixed("ERR Bad data format"))
}

/// The payload without its footer; `None` if that does not fit. A checksum of 0, with which some
/// writers say that there is none, is like any other wrong one.
fn checked_body(payload: &[u8]) -> Option<&[u8]> {
    let (summed, checksum) = payload.split_last_chunk::<8>()?;
    let (bytes, version) = summed.split_last_chunk::<2>()?;
    let known = matches!(u16::from_le_bytes(*version), 1..=15 | 80);
    let right = jones(summed) == u64::from_le_bytes(*checksum);
    (known && right).then_some(bytes)
}

/// Reads type and value, and nothing else.
fn body(bytes: &[u8]) -> Result<Object, Corrupt> {
    let mut reader = Reader::new(bytes);
    let byte = reader.u8()?;
    let object = Object::read_value(byte, &mut reader)?;
    reader.end()?;
    object.ok_or(Corrupt("the value is neither a string nor a stream"))
}

/// The checksum of Redis's formats.
fn jones(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, bytes)
}

#[cfg(test)]
mod tests;
