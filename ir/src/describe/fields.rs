//! Reads the keys of one table, and refuses what it does not know.

use super::error::{DescribeError, Line, Place, Suggestion};
use super::suggest::nearest;
use super::tree::{Entry, Item, Value};

/// The keys of a table that have not been read yet, and those that were asked for.
///
/// Read with the methods here, then call [`Fields::finish`].
pub struct Fields {
    pub place: Place,
    pub line: Line,
    entries: Vec<Entry>,
    known: Vec<&'static str>,
}

impl Fields {
    /// The keys of `item`, which should be a table.
    pub fn new(place: Place, item: Item) -> Result<Self, DescribeError> {
        match item.value {
            Value::Table(entries) => Ok(Self { place, line: item.line, entries, known: Vec::new() }),
            other => {
                let key = place.to_string();
                Err(DescribeError::Value { place, line: item.line, key, wanted: "a table", found: other.describe() })
            }
        }
    }

    /// Takes a key's value out of the table.
    pub fn take(&mut self, key: &'static str) -> Option<Item> {
        self.known.push(key);
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at).item)
    }

    /// Takes a key's value with `read`, which says `None` for a value of another kind.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, DescribeError> {
        let Some(item) = self.take(key) else { return Ok(None) };
        match read(&item.value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(key, wanted, &item)),
        }
    }

    /// As [`Fields::read`], for a key that must be given.
    pub fn need<T>(
        &mut self,
        key: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, DescribeError> {
        self.read(key, wanted, read)?.ok_or_else(|| self.missing(key, wanted))
    }

    /// The error for a value of another kind or out of range.
    pub fn wrong(&self, key: &str, wanted: &'static str, item: &Item) -> DescribeError {
        let line = if item.line.0.is_some() { item.line } else { self.line };
        DescribeError::Value { place: self.place.clone(), line, key: key.into(), wanted, found: item.value.describe() }
    }

    /// The error for a missing key. Where an unread key looks like it, that one is the error: it is a slip of the pen.
    pub fn missing(&self, key: &'static str, wanted: &'static str) -> DescribeError {
        match self.entries.iter().find(|entry| nearest(&entry.key, [key]).is_some()) {
            Some(entry) => self.unknown(entry),
            None => DescribeError::MissingKey { place: self.place.clone(), line: self.line, key, wanted },
        }
    }

    fn unknown(&self, entry: &Entry) -> DescribeError {
        let suggestion = Suggestion::nearest(&entry.key, self.known.iter().copied());
        let line = if entry.line.0.is_some() { entry.line } else { self.line };
        DescribeError::UnknownKey {
            place: self.place.clone(),
            line,
            key: entry.key.clone(),
            suggestion,
            known: self.known.clone().into(),
        }
    }

    /// Refuses what is left.
    pub fn finish(self) -> Result<(), DescribeError> {
        match self.entries.first() {
            Some(entry) => Err(self.unknown(entry)),
            None => Ok(()),
        }
    }
}

/// A string.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// A name: a string that is not empty and has no control characters.
pub fn name(value: &Value) -> Option<String> {
    text(value).filter(|name| !name.is_empty() && !name.chars().any(char::is_control))
}

/// A name, or a list of names.
pub fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::List(items) if !items.is_empty() => items.iter().map(|item| name(&item.value)).collect(),
        other => Some(vec![name(other)?]),
    }
}

/// A truth value.
pub fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        _ => None,
    }
}

/// A number; finite, and not rounded to infinity in `f32`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "attributes are f32: rounding to the nearest is meant"
)]
pub fn float(value: &Value) -> Option<f32> {
    match value {
        Value::Float(value) => Some(*value as f32),
        Value::Int(value) => Some(*value as f32),
        _ => None,
    }
    .filter(|value| value.is_finite())
}

/// A number that is 0 or more.
pub fn non_negative(value: &Value) -> Option<f32> {
    float(value).filter(|value| *value >= 0.0)
}

/// A whole number, 0 or more.
pub fn size(value: &Value) -> Option<usize> {
    match value {
        Value::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    }
}

/// A whole number, 1 or more.
pub fn positive(value: &Value) -> Option<usize> {
    size(value).filter(|value| *value > 0)
}

/// Any whole number.
pub fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        _ => None,
    }
}

/// A list of what `read` reads.
pub fn list<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::List(items) => items.iter().map(|item| read(&item.value)).collect(),
        _ => None,
    }
}

/// A list of exactly two whole numbers, 1 or more.
pub fn two(value: &Value) -> Option<[usize; 2]> {
    list(value, positive)?.try_into().ok()
}

/// One positive number for both directions, or `[vertical, horizontal]`.
pub fn pair(value: &Value) -> Option<[usize; 2]> {
    positive(value).map(|both| [both, both]).or_else(|| two(value))
}

/// One number for all sides, `[vertical, horizontal]`, or `[top, left, bottom, right]`.
pub fn sides(value: &Value) -> Option<[usize; 4]> {
    if let Some(all) = size(value) {
        return Some([all; 4]);
    }
    match list(value, size)?.as_slice() {
        [vertical, horizontal] => Some([*vertical, *horizontal, *vertical, *horizontal]),
        [top, left, bottom, right] => Some([*top, *left, *bottom, *right]),
        _ => None,
    }
}
