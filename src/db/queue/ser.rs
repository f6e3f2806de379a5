//! A flat struct as the field–value pairs of an entry.
//!
//! | kind | value |
//! |---|---|
//! | string, character, unit variant | its text |
//! | bytes | as they are |
//! | number | its decimal text |
//! | boolean | `true` or `false` |
//! | `Some(x)`, newtype | as `x` |
//! | `None` | the pair is left out |
//!
//! Everything else has no place in a value and is refused.

use crate::error::Error;
use serde::ser::{self, Impossible, Serialize, SerializeMap, SerializeStruct, Serializer};
use std::fmt;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The pairs of a struct or a map.
///
/// # Errors
/// [`Error::Entry`] if there are none, or a value is of a kind without a place.
pub(super) fn to_fields<T: Serialize + ?Sized>(value: &T) -> Result<Pairs, Error> {
    let pairs = value.serialize(Outer).map_err(|Refused(text)| Error::Entry(text))?;
    if pairs.is_empty() {
        return Err(Error::Entry("an entry has at least one field".into()));
    }
    Ok(pairs)
}

/// Why a value is refused.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Box<str>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Refused(text.to_string().into())
    }
}

fn refuse<T>(kind: &str) -> Result<T, Refused> {
    Err(Refused(format!("{kind} cannot be the value of a field").into()))
}

fn refuse_outer<T>() -> Result<T, Refused> {
    Err(Refused("only a struct or a map can be an entry".into()))
}

/// Pairs that are being written.
#[derive(Default)]
pub(super) struct Writing {
    pairs: Pairs,
    field: Vec<u8>,
}

impl Writing {
    fn put<T: Serialize + ?Sized>(&mut self, field: Vec<u8>, value: &T) -> Result<(), Refused> {
        if let Some(value) = value.serialize(Value)? {
            self.pairs.push((field, value));
        }
        Ok(())
    }
}

impl SerializeStruct for Writing {
    type Ok = Pairs;
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        field: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.put(field.as_bytes().to_vec(), value)
    }

    fn end(self) -> Result<Pairs, Refused> {
        Ok(self.pairs)
    }
}

impl SerializeMap for Writing {
    type Ok = Pairs;
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, field: &T) -> Result<(), Refused> {
        match field.serialize(Value)? {
            Some(field) => self.field = field,
            None => return refuse("nothing"),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let field = std::mem::take(&mut self.field);
        self.put(field, value)
    }

    fn end(self) -> Result<Pairs, Refused> {
        Ok(self.pairs)
    }
}

/// The value itself.
struct Outer;

/// The value of a field: its bytes, if it has any.
struct Value;

macro_rules! refused {
    ($($name:ident($type:ty))*) => {
        $(fn $name(self, _: $type) -> Result<Pairs, Refused> {
            refuse_outer()
        })*
    };
}

macro_rules! as_text {
    ($($name:ident($type:ty))*) => {
        $(fn $name(self, value: $type) -> Result<Option<Vec<u8>>, Refused> {
            Ok(Some(value.to_string().into_bytes()))
        })*
    };
}

impl Serializer for Outer {
    type Ok = Pairs;
    type Error = Refused;
    type SerializeSeq = Impossible<Pairs, Refused>;
    type SerializeTuple = Impossible<Pairs, Refused>;
    type SerializeTupleStruct = Impossible<Pairs, Refused>;
    type SerializeTupleVariant = Impossible<Pairs, Refused>;
    type SerializeMap = Writing;
    type SerializeStruct = Writing;
    type SerializeStructVariant = Impossible<Pairs, Refused>;

    refused! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32)
        serialize_i64(i64) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32)
        serialize_u64(u64) serialize_f32(f32) serialize_f64(f64) serialize_char(char)
        serialize_str(&str) serialize_bytes(&[u8]) serialize_unit_struct(&'static str)
    }

    fn serialize_none(self) -> Result<Pairs, Refused> {
        refuse_outer()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Pairs, Refused> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Pairs, Refused> {
        refuse_outer()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<Pairs, Refused> {
        refuse_outer()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Pairs, Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Pairs, Refused> {
        refuse_outer()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Refused> {
        refuse_outer()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Refused> {
        refuse_outer()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Refused> {
        refuse_outer()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        refuse_outer()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Writing, Refused> {
        Ok(Writing::default())
    }

    fn serialize_struct(self, _: &'static str, fields: usize) -> Result<Writing, Refused> {
        Ok(Writing { pairs: Vec::with_capacity(fields), field: Vec::new() })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        refuse_outer()
    }
}

type Bytes = Option<Vec<u8>>;

impl Serializer for Value {
    type Ok = Bytes;
    type Error = Refused;
    type SerializeSeq = Impossible<Bytes, Refused>;
    type SerializeTuple = Impossible<Bytes, Refused>;
    type SerializeTupleStruct = Impossible<Bytes, Refused>;
    type SerializeTupleVariant = Impossible<Bytes, Refused>;
    type SerializeMap = Impossible<Bytes, Refused>;
    type SerializeStruct = Impossible<Bytes, Refused>;
    type SerializeStructVariant = Impossible<Bytes, Refused>;

    as_text! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32)
        serialize_i64(i64) serialize_i128(i128) serialize_u8(u8) serialize_u16(u16)
        serialize_u32(u32) serialize_u64(u64) serialize_u128(u128) serialize_f32(f32)
        serialize_f64(f64) serialize_char(char) serialize_str(&str)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Bytes, Refused> {
        Ok(Some(value.to_vec()))
    }

    fn serialize_none(self) -> Result<Bytes, Refused> {
        Ok(None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, Refused> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Bytes, Refused> {
        Ok(None)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Bytes, Refused> {
        Ok(None)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Bytes, Refused> {
        Ok(Some(variant.as_bytes().to_vec()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Bytes, Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Bytes, Refused> {
        refuse("a variant with a value")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Refused> {
        refuse("a list")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Refused> {
        refuse("a tuple")
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Refused> {
        refuse("a tuple")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        refuse("a variant with values")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Refused> {
        refuse("a map")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Refused> {
        refuse("a struct")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        refuse("a variant with fields")
    }
}
