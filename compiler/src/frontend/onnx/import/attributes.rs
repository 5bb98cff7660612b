//! The attributes of one node, taken one by one, so that what nobody took can be reported.

use incept_ir::tensor::Tensor;

use super::error::NodeError;
use super::tensor;
use crate::frontend::onnx::proto::AttributeProto;
use crate::frontend::onnx::proto::attribute_proto::AttributeType;

/// A node's attributes. See the module's documentation.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    all: &'a [AttributeProto],
    taken: Vec<bool>,
}

fn wrong(name: &str, problem: impl Into<String>) -> NodeError {
    NodeError::Attribute { name: name.to_owned(), problem: problem.into() }
}

impl<'a> Attributes<'a> {
    pub(super) fn new(all: &'a [AttributeProto]) -> Self {
        Self { all, taken: vec![false; all.len()] }
    }

    /// Takes the attribute of this name, which must be of this type.
    ///
    /// A file from a proto3 writer leaves zeros out, and the oldest files leave the type out: so the type counts where it
    /// is given, and the values where it is not.
    fn take(&mut self, name: &str, wanted: AttributeType) -> Result<Option<&'a AttributeProto>, NodeError> {
        let mut found = None;
        for (attribute, taken) in self.all.iter().zip(&mut self.taken) {
            if attribute.name.as_deref() != Some(name) {
                continue;
            }
            if found.is_some() {
                return Err(wrong(name, "is given twice"));
            }
            *taken = true;
            found = Some(attribute);
        }
        let Some(attribute) = found else { return Ok(None) };
        if attribute.ref_attr_name.as_deref().is_some_and(|name| !name.is_empty()) {
            return Err(wrong(name, "refers to a function's attribute, outside a function"));
        }
        let kind =
            AttributeType::try_from(attribute.r#type.unwrap_or(0)).map_err(|_| wrong(name, "has no known type"))?;
        if kind != wanted && kind != AttributeType::Undefined {
            let [wanted, kind] = [wanted, kind].map(|kind| kind.as_str_name().to_lowercase());
            return Err(wrong(name, format!("must be of type {wanted}, but is of type {kind}")));
        }
        Ok(Some(attribute))
    }

    pub(super) fn int(&mut self, name: &str) -> Result<Option<i64>, NodeError> {
        Ok(self.take(name, AttributeType::Int)?.map(|attribute| attribute.i.unwrap_or(0)))
    }

    /// An integer that is 0 or 1; 0 where it is left out.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, NodeError> {
        match self.int(name)? {
            None | Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(wrong(name, format!("must be 0 or 1, but is {other}"))),
        }
    }

    pub(super) fn float(&mut self, name: &str) -> Result<Option<f32>, NodeError> {
        Ok(self.take(name, AttributeType::Float)?.map(|attribute| attribute.f.unwrap_or(0.0)))
    }

    pub(super) fn ints(&mut self, name: &str) -> Result<Option<&'a [i64]>, NodeError> {
        Ok(self.take(name, AttributeType::Ints)?.map(|attribute| attribute.ints.as_slice()))
    }

    pub(super) fn floats(&mut self, name: &str) -> Result<Option<&'a [f32]>, NodeError> {
        Ok(self.take(name, AttributeType::Floats)?.map(|attribute| attribute.floats.as_slice()))
    }

    pub(super) fn string(&mut self, name: &str) -> Result<Option<&'a str>, NodeError> {
        let Some(attribute) = self.take(name, AttributeType::String)? else { return Ok(None) };
        let text = std::str::from_utf8(attribute.s.as_deref().unwrap_or_default());
        text.map(Some).map_err(|_| wrong(name, "is no text"))
    }

    pub(super) fn tensor(&mut self, name: &str) -> Result<Option<Tensor>, NodeError> {
        let Some(attribute) = self.take(name, AttributeType::Tensor)? else { return Ok(None) };
        let Some(proto) = &attribute.t else { return Err(wrong(name, "holds no tensor")) };
        let value = tensor::read(proto.clone());
        value.map(Some).map_err(|problem| NodeError::Tensor { name: name.to_owned(), problem })
    }

    /// Two sizes of at least 1 (vertical, horizontal), or the default.
    pub(super) fn pair(&mut self, name: &str, default: [usize; 2]) -> Result<[usize; 2], NodeError> {
        let Some(values) = self.ints(name)? else { return Ok(default) };
        match *values {
            [height, width] if height >= 1 && width >= 1 => Ok([size(name, height)?, size(name, width)?]),
            _ => Err(wrong(name, format!("must be two integers of at least 1, but is {}", short(values)))),
        }
    }

    /// Whether the node has an attribute of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|attribute| attribute.name.as_deref() == Some(name))
    }

    /// Checks that every attribute was taken.
    pub(super) fn finish(&self, opset: i64) -> Result<(), NodeError> {
        match self.all.iter().zip(&self.taken).find(|(_, taken)| !**taken) {
            None => Ok(()),
            Some((attribute, _)) => {
                Err(NodeError::UnknownAttribute { name: attribute.name.clone().unwrap_or_default(), opset })
            }
        }
    }
}

/// A size out of an attribute or a shape.
pub(super) fn size(name: &str, value: i64) -> Result<usize, NodeError> {
    usize::try_from(value).map_err(|_| wrong(name, format!("holds {value}, which is no size")))
}

/// A list for people, cut where it is long.
pub(super) fn short(values: &[i64]) -> String {
    let head: Vec<String> = values.iter().take(8).map(ToString::to_string).collect();
    format!("[{}{}]", head.join(","), if values.len() > 8 { ",…" } else { "" })
}
