//! Text to graph. One statement at a time, without recursion; every error says where and what was expected.

use rustc_hash::FxHashMap;

use super::lex::{Lexer, Token};
use super::literal::{push_nan, push_number, seeded};
use crate::graph::{Graph, GraphError, Provenance, Stage};
use crate::ids::{NodeId, ValueId};
use crate::ops::{Attribute, Attributes, Constant, Op};
use crate::tensor::{Tensor, byte_length};
use crate::types::{DType, Dim, MAX_RANK, Shape, TensorType};

/// The longest text that is parsed, in bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 29;

/// The most constant elements that one text may hold or make.
pub const MAX_CONSTANT_ELEMENTS: usize = 1 << 28;

/// Where a text is no graph, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// The graph of a text in the form of [`super`], verified.
///
/// # Errors
/// Where the text has another form, an op refuses its inputs or attributes, a type is not the one inferred, the graph
/// breaks an invariant of [`crate::graph::verify`], or a limit ([`MAX_TEXT_BYTES`], [`MAX_CONSTANT_ELEMENTS`],
/// [`crate::graph::MAX_NODES`]) is exceeded.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut lexer = Lexer::new(text);
    if text.len() > MAX_TEXT_BYTES {
        return Err(lexer.error(0, format!("the text has {} bytes; at most {MAX_TEXT_BYTES} are read", text.len())));
    }
    let token = lexer.token()?;
    let graph = Graph::new("");
    Parser { lexer, token, graph, values: FxHashMap::default(), elements: 0 }.file()
}

/// The names after `from`; where they are missing, the node's own.
fn as_provenance(name: &str, given: Option<Vec<String>>) -> Provenance {
    match given {
        Some(names) => names.into_iter().map(Into::into).collect(),
        None => [name.into()].into(),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that is looked at.
    token: Token<'a>,
    graph: Graph,
    /// The graph's value for each number of the text.
    values: FxHashMap<u32, ValueId>,
    /// How many constant elements were made.
    elements: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn file(mut self) -> Parsed<Graph> {
        self.keyword("graph")?;
        self.graph = Graph::new(&self.name("the graph's name in quotes")?);
        if matches!(self.token, Token::Word("stage")) {
            self.advance()?;
            let stage = match self.token {
                Token::Word(word) => Stage::parse(word),
                _ => None,
            };
            let Some(stage) = stage else { return Err(self.expected("a stage: imported, optimized")) };
            self.graph.set_stage(stage);
            self.advance()?;
        }
        self.mark('{')?;
        loop {
            match self.token {
                Token::Mark('}') => break,
                Token::Word("input") => self.input()?,
                Token::Word("constant") => self.constant()?,
                Token::Word("output") => self.output()?,
                Token::Value(_) => self.node()?,
                _ => return Err(self.expected("`input`, `constant`, `output`, a node `%N \"name\" = op(…)`, or `}`")),
            }
        }
        let end = self.lexer.start();
        self.advance()?;
        if self.token != Token::End {
            return Err(self.expected("the end of the text"));
        }
        self.graph.verify().map_err(|error| self.lexer.error(end, error.to_string()))?;
        Ok(self.graph)
    }

    fn input(&mut self) -> Parsed<()> {
        let at = self.advance()?;
        let number = self.new_value()?;
        let name = self.name("the input's name in quotes")?;
        self.mark(':')?;
        let ty = self.ty()?;
        let provenance = self.provenance(&name)?;
        let provenance = as_provenance(&name, provenance);
        let added = self.graph.add_input_node(ty, &name, provenance);
        let node = added.map_err(|error| self.refused(at, error))?;
        self.define(at, &[number], node)
    }

    fn constant(&mut self) -> Parsed<()> {
        let at = self.advance()?;
        let number = self.new_value()?;
        let name = self.name("the constant's name in quotes")?;
        self.mark(':')?;
        let ty_at = self.lexer.start();
        let ty = self.ty()?;
        let Some(sizes) = ty.shape.sizes() else {
            return Err(self.lexer.error(ty_at, "a constant's sizes do not depend on the batch"));
        };
        let elements = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        self.elements = elements
            .and_then(|count| self.elements.checked_add(count))
            .filter(|count| *count <= MAX_CONSTANT_ELEMENTS && byte_length(ty.dtype, &sizes).is_ok())
            .ok_or_else(|| {
                let limit = format!("the constants of a text hold at most {MAX_CONSTANT_ELEMENTS} elements");
                self.lexer.error(ty_at, limit)
            })?;
        self.mark('=')?;
        let tensor = self.tensor(ty.dtype, &sizes)?;
        let provenance = self.provenance(&name)?;
        let node = self.add(at, Constant { tensor }.into(), &name, &[], provenance)?;
        self.define(at, &[number], node)
    }

    fn output(&mut self) -> Parsed<()> {
        self.advance()?;
        let name = self.name("the output's name in quotes")?;
        self.mark('=')?;
        let at = self.lexer.start();
        let value = self.value()?;
        self.graph.add_output(&name, value).map_err(|error| self.lexer.error(at, error.to_string()))
    }

    fn node(&mut self) -> Parsed<()> {
        let at = self.lexer.start();
        let mut numbers = vec![self.new_value()?];
        while self.eat(',')? {
            numbers.push(self.new_value()?);
        }
        let name = self.name("the node's name in quotes")?;
        self.mark('=')?;
        let op_at = self.lexer.start();
        let Token::Word(op_name) = self.token else { return Err(self.expected("the name of an op")) };
        self.advance()?;
        self.mark('(')?;
        let mut inputs = Vec::new();
        if !self.eat(')')? {
            inputs.push(self.value()?);
            while self.eat(',')? {
                inputs.push(self.value()?);
            }
            self.mark(')')?;
        }
        let attributes = self.attributes()?;
        let op = match Op::parse(op_name, attributes) {
            Some(Ok(op)) => op,
            Some(Err(error)) => return Err(self.lexer.error(op_at, format!("{op_name} {error}"))),
            None => {
                let known = Op::NAMES.join(", ");
                return Err(self.lexer.error(op_at, format!("there is no op `{op_name}`; there are: {known}")));
            }
        };
        let mut types = Vec::new();
        if self.eat(':')? {
            types.push((self.lexer.start(), self.ty()?));
            while self.eat(',')? {
                types.push((self.lexer.start(), self.ty()?));
            }
        }
        let provenance = self.provenance(&name)?;
        let node = self.add(op_at, op, &name, &inputs, provenance)?;
        self.define(at, &numbers, node)?;
        if !types.is_empty() && types.len() != numbers.len() {
            return Err(self.lexer.error(at, format!("{} values but {} types", numbers.len(), types.len())));
        }
        for (number, (at, given)) in numbers.iter().zip(types) {
            let inferred = self.values.get(number).and_then(|value| self.graph.ty(*value).ok());
            match inferred {
                Some(inferred) if *inferred != given => {
                    let message = format!("%{number} is given as {given} but {op_name} makes {inferred}");
                    return Err(self.lexer.error(at, message));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        at: usize,
        op: Op,
        name: &str,
        inputs: &[ValueId],
        provenance: Option<Vec<String>>,
    ) -> Parsed<NodeId> {
        let added = self.graph.add_node(op, name, inputs, as_provenance(name, provenance));
        added.map_err(|error| self.refused(at, error))
    }

    fn refused(&self, at: usize, error: GraphError) -> ParseError {
        let message = match error {
            GraphError::Op { op, source, .. } => format!("{op} {source}"),
            error => error.to_string(),
        };
        self.lexer.error(at, message)
    }

    /// Gives the outputs of a node their numbers.
    fn define(&mut self, at: usize, numbers: &[u32], node: NodeId) -> Parsed<()> {
        let outputs = match self.graph.node(node) {
            Ok(node) => node.outputs.clone(),
            Err(error) => return Err(self.lexer.error(at, error.to_string())),
        };
        if outputs.len() != numbers.len() {
            let message = format!("the op makes {} values but {} are named", outputs.len(), numbers.len());
            return Err(self.lexer.error(at, message));
        }
        for (number, value) in numbers.iter().zip(outputs) {
            if self.values.insert(*number, value).is_some() {
                return Err(self.lexer.error(at, format!("%{number} is defined twice")));
            }
        }
        Ok(())
    }

    fn provenance(&mut self, name: &str) -> Parsed<Option<Vec<String>>> {
        if !matches!(self.token, Token::Word("from")) {
            return Ok(None);
        }
        self.advance()?;
        if matches!(self.token, Token::Word("nothing")) {
            self.advance()?;
            return Ok(Some(Vec::new()));
        }
        let mut names = vec![self.name(&format!("`nothing`, or the name of a source node of \"{name}\" in quotes"))?];
        while self.eat(',')? {
            names.push(self.name("the name of a source node in quotes")?);
        }
        Ok(Some(names))
    }

    fn attributes(&mut self) -> Parsed<Attributes> {
        let mut attributes: Attributes = Vec::new();
        if !self.eat('{')? || self.eat('}')? {
            return Ok(attributes);
        }
        loop {
            let Token::Word(name) = self.token else { return Err(self.expected("the name of an attribute")) };
            if attributes.iter().any(|(given, _)| given == name) {
                return Err(self.lexer.error(self.lexer.start(), format!("attribute `{name}` is given twice")));
            }
            self.advance()?;
            self.mark('=')?;
            attributes.push((name.into(), self.attribute()?));
            if !self.eat(',')? {
                return self.mark('}').map(|()| attributes);
            }
        }
    }

    fn attribute(&mut self) -> Parsed<Attribute> {
        match self.token {
            Token::Number(number) => {
                let value = match number.parse() {
                    Ok(value) => Some(Attribute::Int(value)),
                    Err(_) => number.parse().ok().map(Attribute::Float),
                };
                let value = value.ok_or_else(|| self.expected("a number"))?;
                self.advance()?;
                Ok(value)
            }
            Token::Word("inf") => self.advance().map(|_| Attribute::Float(f32::INFINITY)),
            Token::Word("nan") => {
                let mut bytes = Vec::new();
                self.number(DType::F32, &mut bytes)?;
                let bytes = bytes.try_into().unwrap_or_default();
                Ok(Attribute::Float(f32::from_le_bytes(bytes)))
            }
            Token::Word(_) => {
                let word = self.lexer.word_with_arguments()?;
                self.advance()?;
                Ok(Attribute::Word(word.into()))
            }
            Token::Mark('[') => {
                self.advance()?;
                let mut values = Vec::new();
                while !self.eat(']')? {
                    let value = match self.token {
                        Token::Number(number) => number.parse().ok(),
                        _ => None,
                    };
                    values.push(value.ok_or_else(|| self.expected("an integer or `]`"))?);
                    self.advance()?;
                    if !self.eat(',')? {
                        self.mark(']')?;
                        break;
                    }
                }
                Ok(Attribute::Ints(values))
            }
            _ => Err(self.expected("a number, a word, or a list of integers")),
        }
    }

    /// `f32[N,3,224,224]`
    fn ty(&mut self) -> Parsed<TensorType> {
        let dtype = match self.token {
            Token::Word(word) => DType::parse(word),
            _ => None,
        };
        let Some(dtype) = dtype else {
            let known = DType::ALL.map(DType::name).join(", ");
            return Err(self.expected(&format!("a type such as f32[N,3,224,224]; its element type is one of {known}")));
        };
        let at = self.advance()?;
        self.mark('[')?;
        let mut dims = Vec::new();
        while !self.eat(']')? {
            let dim = match self.token {
                Token::Word("N") => Some(Dim::Batch(1)),
                Token::Number(text) => match text.strip_suffix('N') {
                    Some(factor) => factor.parse().ok().filter(|factor| *factor > 0).map(Dim::Batch),
                    None => text.parse().ok().map(Dim::Fixed),
                },
                _ => None,
            };
            dims.push(dim.ok_or_else(|| self.expected("a size, `N` (the batch), a multiple such as `2N`, or `]`"))?);
            self.advance()?;
            if dims.len() > MAX_RANK {
                return Err(self.lexer.error(at, format!("a type has at most {MAX_RANK} dimensions")));
            }
            if !self.eat(',')? {
                self.mark(']')?;
                break;
            }
        }
        let shape = Shape::new(&dims);
        if shape.elements().is_none() {
            return Err(self.lexer.error(at, "the type is too large or holds the batch twice"));
        }
        Ok(TensorType::new(dtype, shape))
    }

    /// The value of a constant, whose size was checked.
    fn tensor(&mut self, dtype: DType, sizes: &[usize]) -> Parsed<Tensor> {
        let at = self.lexer.start();
        let elements: usize = sizes.iter().product();
        let tensor = match self.token {
            Token::Mark('[') => {
                self.advance()?;
                let mut bytes = Vec::new();
                let mut count = 0usize;
                while !self.eat(']')? {
                    if count == elements {
                        return Err(self.expected(&format!("`]` after {elements} values")));
                    }
                    self.number(dtype, &mut bytes)?;
                    count += 1;
                    if !self.eat(',')? {
                        self.mark(']')?;
                        break;
                    }
                }
                if count != elements {
                    return Err(self.lexer.error(at, format!("expected {elements} values, found {count}")));
                }
                Tensor::from_bytes(dtype, sizes, bytes.into())
            }
            Token::Word("splat") => {
                self.advance()?;
                self.mark('(')?;
                let mut value = Vec::new();
                self.number(dtype, &mut value)?;
                self.mark(')')?;
                Tensor::from_bytes(dtype, sizes, value.repeat(elements).into())
            }
            Token::Word(word @ ("seeded" | "positive")) => {
                self.advance()?;
                self.mark('(')?;
                let seed = match self.token {
                    Token::Number(number) => number.parse().ok(),
                    _ => None,
                };
                let seed = seed.ok_or_else(|| self.expected("a seed: an integer ≥ 0"))?;
                self.advance()?;
                self.mark(')')?;
                seeded(dtype, sizes, seed, word == "positive")
            }
            Token::Word("elided") => {
                let message = "the constant's value was elided when this text was printed, so the graph cannot be made \
                               from it: print it with full constants, or write `seeded(7)` or `splat(1)` here";
                return Err(self.lexer.error(at, message));
            }
            _ => return Err(self.expected("a constant's value: `[…]`, `splat(…)`, `seeded(…)`, `positive(…)`")),
        };
        tensor.map_err(|error| self.lexer.error(at, error.to_string()))
    }

    /// One value of a constant.
    fn number(&mut self, dtype: DType, bytes: &mut Vec<u8>) -> Parsed<()> {
        let at = self.lexer.start();
        let pushed = match self.token {
            Token::Number(text) => push_number(bytes, dtype, text),
            Token::Word("inf") => push_number(bytes, dtype, "inf"),
            Token::Word("nan") if self.lexer.adjacent_bracket() == Some(b'(') => {
                let word = self.lexer.word_with_arguments()?;
                let bits = word.strip_prefix("nan(").and_then(|rest| rest.strip_suffix(')'));
                push_nan(bytes, dtype, bits)
            }
            Token::Word("nan") => push_nan(bytes, dtype, None),
            _ => None,
        };
        match pushed {
            Some(()) => self.advance().map(|_| ()),
            None => {
                let found = self.token.describe();
                Err(self.lexer.error(at, format!("expected a value of type {dtype}, found {found}")))
            }
        }
    }

    /// A value that is defined already.
    fn value(&mut self) -> Parsed<ValueId> {
        let Token::Value(number) = self.token else { return Err(self.expected("a value such as `%3`")) };
        let Some(value) = self.values.get(&number).copied() else {
            return Err(self.lexer.error(self.lexer.start(), format!("%{number} is not defined before it is read")));
        };
        self.advance()?;
        Ok(value)
    }

    /// The number of a value that is being defined.
    fn new_value(&mut self) -> Parsed<u32> {
        let Token::Value(number) = self.token else { return Err(self.expected("a new value such as `%3`")) };
        self.advance()?;
        Ok(number)
    }

    fn name(&mut self, what: &str) -> Parsed<String> {
        match std::mem::replace(&mut self.token, Token::End) {
            Token::Text(text) => self.advance().map(|_| text),
            other => {
                self.token = other;
                Err(self.expected(what))
            }
        }
    }

    fn keyword(&mut self, word: &str) -> Parsed<()> {
        match self.token {
            Token::Word(found) if found == word => self.advance().map(|_| ()),
            _ => Err(self.expected(&format!("`{word}`"))),
        }
    }

    fn mark(&mut self, mark: char) -> Parsed<()> {
        if self.eat(mark)? { Ok(()) } else { Err(self.expected(&format!("`{mark}`"))) }
    }

    fn eat(&mut self, mark: char) -> Parsed<bool> {
        let found = self.token == Token::Mark(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Moves to the next token; gives where the one before started.
    fn advance(&mut self) -> Parsed<usize> {
        let at = self.lexer.start();
        self.token = self.lexer.token()?;
        Ok(at)
    }

    fn expected(&self, what: &str) -> ParseError {
        self.lexer.error(self.lexer.start(), format!("expected {what}, found {}", self.token.describe()))
    }
}
