//! Who reads whom in a description, by position, and which layers the outputs need.

use rustc_hash::{FxHashMap, FxHashSet};

use super::BuildOptions;
use super::error::{DescribeError, Line, Place, Suggestion};
use super::schema::{Description, Layer, OutputDescription};

/// A layer for errors.
pub fn layer_place(index: usize, layer: &Layer) -> Place {
    Place::Layer { index, name: Some(layer.name.clone()) }
}

/// Who reads whom, by position: inputs first, then layers.
pub struct Wiring<'a> {
    /// What each position reads.
    pub sources: Vec<Vec<usize>>,
    /// Whether the outputs that are built need it.
    pub needed: Vec<bool>,
    /// The outputs that are built: their names and what they show.
    pub outputs: Vec<(&'a str, usize)>,
}

impl<'a> Wiring<'a> {
    /// Resolves all names.
    pub fn new(description: &'a Description, options: &BuildOptions) -> Result<Self, DescribeError> {
        let mut positions: FxHashMap<&str, usize> = FxHashMap::default();
        let mut sources: Vec<Vec<usize>> = Vec::new();
        for (index, input) in description.inputs.iter().enumerate() {
            let place = || Place::Input { index, name: Some(input.name.clone()) };
            define(&mut positions, &input.name, place, Line::default())?;
            sources.push(Vec::new());
        }
        for (index, layer) in description.layers.iter().enumerate() {
            let place = || layer_place(index, layer);
            let from = if layer.from.is_empty() {
                if index == 0 && description.inputs.len() != 1 {
                    let reason = "there is no layer before it and more than one input: say which with `from`".into();
                    return Err(DescribeError::Layer { place: place(), line: layer.line, reason });
                }
                vec![(description.inputs.len() + index).saturating_sub(1)]
            } else {
                layer.from.iter().map(|name| find(&positions, name, place, layer.line)).collect::<Result<_, _>>()?
            };
            define(&mut positions, &layer.name, place, layer.line)?;
            sources.push(from);
        }
        let always: Vec<(&str, usize)> = match description.layers.last() {
            Some(last) if description.outputs.is_empty() => vec![(last.name.as_str(), sources.len() - 1)],
            _ => outputs(&positions, &description.outputs)?,
        };
        let training = outputs(&positions, &description.training_outputs)?;
        let all: Vec<(&str, usize)> = always.iter().chain(&training).copied().collect();
        let mut seen = FxHashSet::default();
        if let Some((index, (name, _))) = all.iter().enumerate().find(|(_, (name, _))| !seen.insert(*name)) {
            let (place, line, name) = (Place::Output { index }, Line::default(), (*name).to_owned());
            return Err(DescribeError::DuplicateName { place, line, name });
        }
        let read = needed(&sources, &all);
        let unread = description.layers.iter().enumerate().find(|(index, _)| !read[description.inputs.len() + index]);
        if let Some((index, layer)) = unread {
            return Err(DescribeError::Unused { place: layer_place(index, layer), line: layer.line });
        }
        let outputs = if options.training { all } else { always };
        Ok(Self { needed: needed(&sources, &outputs), sources, outputs })
    }
}

/// Which positions the outputs need: a walk backwards, for every layer comes after what it reads.
fn needed(sources: &[Vec<usize>], outputs: &[(&str, usize)]) -> Vec<bool> {
    let mut needed = vec![false; sources.len()];
    for (_, at) in outputs {
        needed[*at] = true;
    }
    for at in (0..sources.len()).rev() {
        if needed[at] {
            for source in &sources[at] {
                needed[*source] = true;
            }
        }
    }
    needed
}

fn define<'a>(
    positions: &mut FxHashMap<&'a str, usize>,
    name: &'a str,
    place: impl Fn() -> Place,
    line: Line,
) -> Result<(), DescribeError> {
    let at = positions.len();
    match positions.insert(name, at) {
        None => Ok(()),
        Some(_) => Err(DescribeError::DuplicateName { place: place(), line, name: name.to_owned() }),
    }
}

fn find(
    positions: &FxHashMap<&str, usize>,
    name: &str,
    place: impl Fn() -> Place,
    line: Line,
) -> Result<usize, DescribeError> {
    positions.get(name).copied().ok_or_else(|| {
        let mut known: Vec<&str> = positions.keys().copied().collect();
        known.sort_unstable();
        let suggestion = Suggestion::nearest(name, known);
        DescribeError::UnknownSource { place: place(), line, from: name.to_owned(), suggestion }
    })
}

fn outputs<'a>(
    positions: &FxHashMap<&str, usize>,
    wanted: &'a [OutputDescription],
) -> Result<Vec<(&'a str, usize)>, DescribeError> {
    let find = |(index, output): (usize, &'a OutputDescription)| {
        let at = find(positions, &output.from, || Place::Output { index }, Line::default())?;
        Ok((output.name.as_str(), at))
    };
    wanted.iter().enumerate().map(find).collect()
}
