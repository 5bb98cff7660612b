//! Attributes in the form that dumps print and parse.

use super::{Activation, OpError};

/// The value of one attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// An integer; booleans are the words `true` and `false`.
    Int(i64),
    /// A float, printed so that it parses back to the same bits.
    Float(f32),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A word, possibly with arguments: `relu`, `clip(0,6)`, `f32[N,3]`.
    Word(String),
}

impl Attribute {
    /// A size. Saturates above 2⁶³ − 1, which no inference accepts.
    #[must_use]
    pub fn size(value: usize) -> Self {
        Self::Int(saturated(value))
    }

    /// A list of sizes; each saturates as in [`Attribute::size`].
    #[must_use]
    pub fn sizes(values: &[usize]) -> Self {
        Self::Ints(values.iter().copied().map(saturated).collect())
    }

    /// The word `true` or `false`.
    #[must_use]
    pub fn flag(value: bool) -> Self {
        Self::Word(value.to_string())
    }
}

fn saturated(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Attributes in the order in which they are printed.
pub type Attributes = Vec<(String, Attribute)>;

/// Takes attributes one by one, so that what nobody took can be reported.
#[derive(Debug)]
pub struct AttributeReader {
    left: Attributes,
}

impl AttributeReader {
    /// A reader of these attributes.
    #[must_use]
    pub fn new(attributes: Attributes) -> Self {
        Self { left: attributes }
    }

    /// Takes the attribute of this name, if it is there.
    pub fn take(&mut self, name: &str) -> Option<Attribute> {
        let at = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.remove(at).1)
    }

    /// Takes an integer that is not negative, or `default` where there is none.
    ///
    /// # Errors
    /// Where it is another kind of value, or it is missing and there is no default.
    pub fn size(&mut self, name: &str, default: Option<usize>) -> Result<usize, OpError> {
        match (self.take(name), default) {
            (Some(Attribute::Int(value)), _) => usize::try_from(value).map_err(|_| wrong(name, "an integer ≥ 0")),
            (None, Some(default)) => Ok(default),
            _ => Err(wrong(name, "an integer")),
        }
    }

    /// Takes a float (an integer counts as one), or `default` where there is none.
    ///
    /// # Errors
    /// Where it is another kind of value, or it is missing and there is no default.
    pub fn float(&mut self, name: &str, default: Option<f32>) -> Result<f32, OpError> {
        match (self.take(name), default) {
            (Some(Attribute::Float(value)), _) => Ok(value),
            #[allow(clippy::cast_precision_loss, reason = "a float written without a point")]
            (Some(Attribute::Int(value)), _) => Ok(value as f32),
            (Some(Attribute::Word(word)), _) => word.parse().map_err(|_| wrong(name, "a number")),
            (None, Some(default)) => Ok(default),
            _ => Err(wrong(name, "a number")),
        }
    }

    /// Takes `true` or `false`; missing is `false`.
    ///
    /// # Errors
    /// Where it is another kind of value.
    pub fn flag(&mut self, name: &str) -> Result<bool, OpError> {
        match self.take(name) {
            None => Ok(false),
            Some(Attribute::Word(word)) if word == "true" => Ok(true),
            Some(Attribute::Word(word)) if word == "false" => Ok(false),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    /// Takes a list of integers; `None` where there is none.
    ///
    /// # Errors
    /// Where it is another kind of value.
    pub fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values)),
            Some(_) => Err(wrong(name, "a list of integers")),
        }
    }

    /// Takes a list of sizes; `None` where there is none.
    ///
    /// # Errors
    /// Where it is another kind of value or one is negative.
    pub fn sizes(&mut self, name: &str) -> Result<Option<Vec<usize>>, OpError> {
        let Some(values) = self.ints(name)? else { return Ok(None) };
        let sizes: Result<Vec<usize>, _> = values.into_iter().map(usize::try_from).collect();
        sizes.map(Some).map_err(|_| wrong(name, "a list of integers ≥ 0"))
    }

    /// Takes exactly `COUNT` sizes, or `default` where there are none.
    ///
    /// # Errors
    /// Where it is another kind of value or has another length, or it is missing and there is no default.
    pub fn size_array<const COUNT: usize>(
        &mut self,
        name: &str,
        default: Option<[usize; COUNT]>,
    ) -> Result<[usize; COUNT], OpError> {
        match (self.sizes(name)?, default) {
            (Some(values), _) => values.try_into().map_err(|_| wrong(name, &format!("{COUNT} integers"))),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(wrong(name, &format!("{COUNT} integers"))),
        }
    }

    /// Takes a word; `None` where there is none.
    ///
    /// # Errors
    /// Where it is another kind of value.
    pub fn word(&mut self, name: &str) -> Result<Option<String>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Word(word)) => Ok(Some(word)),
            Some(_) => Err(wrong(name, "a word")),
        }
    }

    /// Takes an activation; `None` where there is none.
    ///
    /// # Errors
    /// Where it is no activation.
    pub fn activation(&mut self, name: &str) -> Result<Option<Activation>, OpError> {
        self.word(name)?.as_deref().map(Activation::parse).transpose()
    }

    /// Checks that every attribute was taken.
    ///
    /// # Errors
    /// Names the first that was not.
    pub fn finish(self) -> Result<(), OpError> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(OpError::Attribute(format!("has no attribute `{name}`"))),
        }
    }
}

fn wrong(name: &str, wanted: &str) -> OpError {
    OpError::Attribute(format!("attribute `{name}` must be {wanted}"))
}
