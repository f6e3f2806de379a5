//! The field–value pairs of an entry as a flat struct: the other way of `ser.rs`.

use super::ser::Refused;
use crate::error::Error;
use bytes::Bytes;
use serde::de::value::{BorrowedBytesDeserializer, MapDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, EnumAccess, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use std::fmt;
use std::str::FromStr;

/// A struct of these pairs.
///
/// # Errors
/// [`Error::Entry`] naming what is missing or not of its type.
pub(super) fn from_fields<T: DeserializeOwned>(fields: &[(Bytes, Bytes)]) -> Result<T, Error> {
    let pairs = fields.iter().map(|(field, value)| (Field(field), Value { field, value }));
    T::deserialize(MapDeserializer::new(pairs)).map_err(|Refused(text)| Error::Entry(text))
}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Refused(text.to_string().into())
    }
}

/// The name of a field.
#[derive(Clone, Copy)]
struct Field<'a>(&'a [u8]);

impl<'de> IntoDeserializer<'de, Refused> for Field<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Field<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match std::str::from_utf8(self.0) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => visitor.visit_borrowed_bytes(self.0),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// The value of a field.
#[derive(Clone, Copy)]
struct Value<'a> {
    field: &'a [u8],
    value: &'a [u8],
}

impl<'de> IntoDeserializer<'de, Refused> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Value<'de> {
    fn refuse<T>(self, wanted: &str) -> Result<T, Refused> {
        let (field, value) =
            (String::from_utf8_lossy(self.field), String::from_utf8_lossy(self.value));
        Err(Refused(format!("field '{field}' is '{value}', which is not {wanted}").into()))
    }

    fn text(self) -> Result<&'de str, Refused> {
        std::str::from_utf8(self.value).or_else(|_| self.refuse("text"))
    }

    fn parse<T: FromStr>(self, wanted: &str) -> Result<T, Refused> {
        self.text()?.parse().or_else(|_| self.refuse(wanted))
    }
}

macro_rules! parsed {
    ($($name:ident $visit:ident $wanted:literal)*) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            visitor.$visit(self.parse($wanted)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        Field(self.value).deserialize_any(visitor)
    }

    parsed! {
        deserialize_bool visit_bool "true or false"
        deserialize_i8 visit_i8 "a number of 8 bits"
        deserialize_i16 visit_i16 "a number of 16 bits"
        deserialize_i32 visit_i32 "a number of 32 bits"
        deserialize_i64 visit_i64 "a number of 64 bits"
        deserialize_i128 visit_i128 "a number of 128 bits"
        deserialize_u8 visit_u8 "a number of 8 bits that is not negative"
        deserialize_u16 visit_u16 "a number of 16 bits that is not negative"
        deserialize_u32 visit_u32 "a number of 32 bits that is not negative"
        deserialize_u64 visit_u64 "a number of 64 bits that is not negative"
        deserialize_u128 visit_u128 "a number of 128 bits that is not negative"
        deserialize_f32 visit_f32 "a number"
        deserialize_f64 visit_f64 "a number"
        deserialize_char visit_char "one character"
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        BorrowedBytesDeserializer::new(self.value).deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_enum(Variant(self.text()?))
    }

    forward_to_deserialize_any! {
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A unit variant by its name.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Refused;
    type Variant = OnlyUnit;

    fn variant_seed<V: de::DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, OnlyUnit), Refused> {
        let name: StrDeserializer<'_, Refused> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, OnlyUnit))
    }
}

struct OnlyUnit;

impl<'de> de::VariantAccess<'de> for OnlyUnit {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        Ok(())
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Refused> {
        Err(de::Error::custom("a variant with a value cannot be a field"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Refused> {
        Err(de::Error::custom("a variant with values cannot be a field"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Refused> {
        Err(de::Error::custom("a variant with fields cannot be a field"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ser::to_fields;
    use super::*;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Small,
        Large,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Meters(f64);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row<'a> {
        name: String,
        count: i64,
        big: u128,
        ratio: Meters,
        yes: bool,
        letter: char,
        kind: Kind,
        note: Option<&'a str>,
        tag: Option<u8>,
    }

    fn pairs(value: &impl Serialize) -> Vec<(Bytes, Bytes)> {
        let pairs = to_fields(value).unwrap();
        pairs.into_iter().map(|(field, value)| (field.into(), value.into())).collect()
    }

    #[test]
    fn a_struct_comes_back() {
        let row = Row {
            name: "tea".to_owned(),
            count: -3,
            big: u128::MAX,
            ratio: Meters(1.5),
            yes: true,
            letter: 'ß',
            kind: Kind::Large,
            note: None,
            tag: Some(7),
        };
        let fields = pairs(&row);
        assert_eq!(fields.len(), 8);
        assert_eq!(fields[1], ("count".into(), "-3".into()));
        let back: Row<'static> = from_fields_owned(&fields);
        assert_eq!(back, row);
        let map: BTreeMap<String, String> = from_fields(&fields).unwrap();
        assert_eq!(map["kind"], "Large");
        assert_eq!(pairs(&map).len(), 8);
    }

    fn from_fields_owned(fields: &[(Bytes, Bytes)]) -> Row<'static> {
        #[derive(Deserialize)]
        struct Owned {
            name: String,
            count: i64,
            big: u128,
            ratio: Meters,
            yes: bool,
            letter: char,
            kind: Kind,
            note: Option<String>,
            tag: Option<u8>,
        }
        let row: Owned = from_fields(fields).unwrap();
        let Owned { name, count, big, ratio, yes, letter, kind, note, tag } = row;
        assert_eq!(note, None);
        Row { name, count, big, ratio, yes, letter, kind, note: None, tag }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let text = |error: Error| error.to_string();
        #[derive(Debug, Deserialize)]
        struct Amount {
            #[expect(dead_code, reason = "it is never read")]
            amount: u8,
        }
        let fields = [("amount".into(), "300".into())];
        let error = text(from_fields::<Amount>(&fields).unwrap_err());
        assert_eq!(
            error,
            "field 'amount' is '300', which is not a number of 8 bits that is not negative"
        );
        let error = text(from_fields::<Amount>(&[]).unwrap_err());
        assert_eq!(error, "missing field `amount`");
        assert_eq!(text(to_fields(&3).unwrap_err()), "only a struct or a map can be an entry");
        let nested = BTreeMap::from([("list", vec![1])]);
        assert_eq!(text(to_fields(&nested).unwrap_err()), "a list cannot be the value of a field");
        let empty = BTreeMap::<String, String>::new();
        assert_eq!(text(to_fields(&empty).unwrap_err()), "an entry has at least one field");
    }
}
