//! A key that takes a word or a table.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

/// A word, or a table in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordOr<W, T> {
    /// One of the words of `W`.
    Word(W),
    /// A table.
    Table(T),
}

/// Words that may stand in place of a table.
pub trait Words {
    /// What may be written, words and table, for a hint.
    const FORMS: &'static str;
}

/// By hand, because a buffered value (as an untagged enum has it) has lost its places.
impl<'de, W: Words + Deserialize<'de>, T: Deserialize<'de>> Deserialize<'de> for WordOr<W, T> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(Reader(PhantomData))
    }
}

struct Reader<W, T>(PhantomData<(W, T)>);

impl<'de, W: Words + Deserialize<'de>, T: Deserialize<'de>> Visitor<'de> for Reader<W, T> {
    type Value = WordOr<W, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or a table")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
        let read: Result<W, E> = W::deserialize(word.to_owned().into_deserializer());
        read.map(WordOr::Word)
            .map_err(|_| E::custom(format!("unknown value \"{word}\"\n{}", W::FORMS)))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(table)).map(WordOr::Table)
    }
}

impl<W: JsonSchema, T: JsonSchema> JsonSchema for WordOr<W, T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{}Or{}", W::schema_name(), T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let any_of = [generator.subschema_for::<W>(), generator.subschema_for::<T>()];
        json_schema!({ "anyOf": any_of })
    }
}
