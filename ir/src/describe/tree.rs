//! A parsed document, TOML or JSON, before it is known to be a description: values with the lines they stand on.
//!
//! Depth is bounded by the two parsers' own limits.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{DescribeError, Line};

/// A value and its line.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where it begins.
    pub line: Line,
    /// What it is.
    pub value: Value,
}

/// One key of a table, its line, and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub line: Line,
    /// Its value.
    pub item: Item,
}

/// What both formats can hold.
#[derive(Debug, Clone)]
pub enum Value {
    /// JSON's `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Item>),
    /// A table (JSON: an object).
    Table(Vec<Entry>),
}

impl Value {
    /// The value for an error message.
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(value) => format!("{:?}", value.chars().take(60).collect::<String>()),
            Self::List(items) => match items.len() {
                1 => "a list of 1 item".into(),
                count => format!("a list of {count} items"),
            },
            Self::Table(_) => "a table".into(),
        }
    }
}

/// Parses TOML.
pub fn from_toml(text: &str) -> Result<Item, DescribeError> {
    let lines = Lines::new(text);
    let document = DeTable::parse(text).map_err(|error| {
        let (line, column) = error.span().map(|span| lines.position(text, span.start)).unzip();
        DescribeError::Syntax { format: "TOML", message: error.message().to_owned(), line, column }
    })?;
    let value = table_from_toml(document.into_inner(), &lines)?;
    Ok(Item { line: Line(None), value })
}

fn table_from_toml(table: DeTable<'_>, lines: &Lines) -> Result<Value, DescribeError> {
    let entry = |(key, value): (Spanned<std::borrow::Cow<'_, str>>, Spanned<DeValue<'_>>)| {
        let line = lines.line(key.span().start);
        Ok(Entry { key: key.into_inner().into_owned(), line, item: item_from_toml(value, lines)? })
    };
    table.into_iter().map(entry).collect::<Result<_, DescribeError>>().map(Value::Table)
}

fn item_from_toml(value: Spanned<DeValue<'_>>, lines: &Lines) -> Result<Item, DescribeError> {
    let line = lines.line(value.span().start);
    let invalid = |message: String| DescribeError::Syntax { format: "TOML", message, line: line.0, column: None };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => Value::Int(
            i64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| invalid(format!("the integer {number} is out of range")))?,
        ),
        DeValue::Float(number) => {
            Value::Float(number.as_str().parse().map_err(|_| invalid(format!("{number} is not a number")))?)
        }
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => {
            Value::List(items.into_iter().map(|item| item_from_toml(item, lines)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => table_from_toml(table, lines)?,
    };
    Ok(Item { line, value })
}

/// Parses JSON. Values carry no lines; errors of syntax do.
pub fn from_json(text: &str) -> Result<Item, DescribeError> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // serde_json appends the position to its message; it is given separately here.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before).to_owned();
        DescribeError::Syntax { format: "JSON", message, line: Some(error.line()), column: Some(error.column()) }
    })
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    /// The line of a byte offset, from 1.
    fn line(&self, offset: usize) -> Line {
        Line(Some(self.0.partition_point(|start| *start <= offset)))
    }

    /// The line and the column of a byte offset, from 1.
    fn position(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.0.partition_point(|start| *start <= offset);
        let start = self.0.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = text.get(start..offset).map_or(1, |before| before.chars().count() + 1);
        (line, column)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(ValueVisitor)?;
        Ok(Self { line: Line(None), value })
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of a model's description")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Int).map_err(|_| E::custom(format!("the integer {value} is out of range")))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some((key, item)) = map.next_entry::<String, Item>()? {
            if entries.iter().any(|entry| entry.key == key) {
                return Err(de::Error::custom(format!("the key `{key}` is given twice")));
            }
            if entries.len() == MAX_KEYS {
                return Err(de::Error::custom(format!("a table has more than {MAX_KEYS} keys")));
            }
            entries.push(Entry { key, line: Line(None), item });
        }
        Ok(Value::Table(entries))
    }
}

/// The most keys of one JSON object: no table of a description has twenty, and looking for duplicates takes the square.
const MAX_KEYS: usize = 256;
