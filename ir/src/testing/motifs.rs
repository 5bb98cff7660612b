//! The motifs with traps of several nodes: concatenations, siblings, sums, scales as exporters write them.

use super::{Builder, Built};
use crate::graph::GraphError;
use crate::ids::ValueId;
use crate::ops::{Add, Clip, Concat, Conv, Div, GlobalAvgPool, MaxPool, Mul, Pool, Relu, Slice, Sub};

impl Builder {
    /// Concatenations that are nested, share parts, repeat one, or hold a graph input, a constant or a graph output.
    pub(super) fn joins(&mut self, x: ValueId) -> Built {
        let a = self.conv_like(x, 3, true)?;
        let b = self.conv_like(x, 2, false)?;
        let inner = self.node(Concat { axis: 1 }, &[a, b])?;
        self.watch(inner)?;
        match self.random.below(7) {
            0 => self.node(Concat { axis: 1 }, &[inner, x]),
            1 => self.node(Concat { axis: 1 }, &[b, inner, inner]),
            2 => {
                // The same parts in other places of another concatenation.
                let turned = self.node(Concat { axis: 1 }, &[b, x, a])?;
                self.images.push(inner);
                Ok(turned)
            }
            3 => {
                let read = self.conv_like(inner, 2, false)?;
                let outer = self.node(Concat { axis: 1 }, &[read, inner])?;
                self.node(Concat { axis: 1 }, &[a, outer])
            }
            4 => {
                let first = self.graph.inputs().first().copied();
                let input = first.map_or(Ok(x), |id| self.graph.output(id, 0))?;
                let (wide, high) = (self.sizes(input), self.sizes(inner));
                let part = if wide[1..] == high[1..] { input } else { x };
                self.node(Concat { axis: 1 }, &[part, inner])
            }
            5 => {
                // A part that is written over where it lies, if nobody forbids it.
                let relu = self.node(Relu, &[a])?;
                self.node(Concat { axis: 1 }, &[a, relu, b])
            }
            _ => {
                let lower = self.node(Concat { axis: 2 }, &[inner, inner])?;
                self.node(MaxPool { pool: Pool { strides: [2, 1], ..Pool::new([2, 1]) } }, &[lower])
            }
        }
    }

    /// A 1×1 convolution of stride 1, maybe followed by an activation: keeps height and width.
    fn conv_like(&mut self, x: ValueId, outputs: usize, activated: bool) -> Built {
        let weights = self.weight(&[outputs, self.sizes(x)[0], 1, 1])?;
        let conv = self.node(Conv::default(), &[x, weights])?;
        if activated && self.random.chance(50) { self.node(Relu, &[conv]) } else { Ok(conv) }
    }

    /// Convolutions of one kernel on one value: some with bias, with different activations, shared weights, second
    /// readers, and now and then one whose sum needs another.
    pub(super) fn siblings(&mut self, x: ValueId) -> Built {
        let [channels, height, width] = self.sizes(x);
        let kernel = self.random.pick([[1, 1], [1, 1], [3, 3], [1, 3]]);
        let strides = if self.random.chance(20) { [2, 2] } else { [1, 1] };
        let pads = [kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2];
        let op = Conv { pads, strides, ..Conv::default() };
        let mut parts: Vec<ValueId> = Vec::new();
        for index in 0..2 + self.random.below(3) {
            let outputs = 1 + self.random.below(6);
            let weights = self.weight(&[outputs, channels, kernel[0], kernel[1]])?;
            let mut inputs = vec![x, weights];
            if self.random.chance(40) {
                inputs.push(self.constant(&[outputs], 0.5, 0.0)?);
            }
            let odd = Conv { dilations: [1, 2], pads: [0; 4], ..Conv::default() };
            let unlike = index == 1 && kernel == [1, 3] && strides == [1, 1] && width > 4 && self.random.chance(10);
            let conv = self.node(if unlike { odd } else { op.clone() }, &inputs)?;
            if unlike {
                self.images.push(conv);
                continue;
            }
            self.watch(conv)?;
            let normed = if self.random.chance(40) { self.batch_norm(conv)? } else { conv };
            let kind = self.random.below(5);
            parts.push(match kind {
                0 => normed,
                1 => self.clip(normed)?,
                2 if parts.last().is_some_and(|last| self.sizes(*last) == self.sizes(normed)) => {
                    // Reads x like its sibling, and its sibling as well: together they would wait for themselves.
                    let last = parts.last().copied().unwrap_or(x);
                    self.node(Add, &[normed, last])?
                }
                _ => self.node(Relu, &[normed])?,
            });
        }
        if kernel == [1, 1] && strides == [1, 1] && height.min(width) > 0 && self.random.chance(50) {
            let pooled = self.node(MaxPool { pool: Pool { pads: [1; 4], ..Pool::new([3, 3]) } }, &[x])?;
            parts.push(self.conv_like(pooled, 2, true)?);
        }
        self.node(Concat { axis: 1 }, &parts)
    }

    /// A convolution and the sums that may or may not become part of it.
    pub(super) fn sums(&mut self, x: ValueId) -> Built {
        let channels = self.sizes(x)[0];
        let conv = self.conv_like(x, channels, false)?;
        let sum = match self.random.below(6) {
            // Of two convolutions; either could take the other.
            0 => {
                let other = self.conv_like(x, channels, true)?;
                self.node(Add, &[conv, other])?
            }
            1 => self.node(Add, &[conv, conv])?,
            // The convolution's own result is read once more, later.
            2 => {
                let sum = self.node(Add, &[conv, x])?;
                let relu = self.node(Relu, &[conv])?;
                self.node(Mul, &[sum, relu])?
            }
            // A sum that repeats along height and width.
            3 => {
                let gate = self.node(GlobalAvgPool, &[x])?;
                self.node(Add, &[gate, conv])?
            }
            // A chain of two sums.
            4 => {
                let sum = self.node(Add, &[x, conv])?;
                let again = self.conv_like(sum, channels, true)?;
                self.node(Add, &[again, sum])?
            }
            // The other part is a graph output too.
            _ => {
                let other = self.node(Relu, &[x])?;
                self.watch(other)?;
                self.node(Add, &[other, conv])?
            }
        };
        self.watch(sum)?;
        match self.random.below(3) {
            0 => Ok(sum),
            1 => self.node(Clip { min: 0.0, max: 6.0 }, &[sum]),
            _ => self.node(Relu, &[sum]),
        }
    }

    /// A scale and a shift of each channel after, or before, a convolution: a batch normalisation as exporters write it.
    pub(super) fn scaled(&mut self, x: ValueId) -> Built {
        let before = self.random.chance(40);
        let outputs = 1 + self.random.below(5);
        let base = if before { x } else { self.conv(x, outputs)? };
        let channels = self.sizes(base)[0];
        let scale = self.broadcast_constant(channels, 1.0, 0.0)?;
        let shift = self.broadcast_constant(channels, 1.0, 0.0)?;
        let operands = if self.random.chance(50) { [base, scale] } else { [scale, base] };
        let scaled = self.node(Mul, &operands)?;
        self.watch(scaled)?;
        let shifted = self.node(Add, &[scaled, shift])?;
        if before {
            return self.conv(shifted, outputs);
        }
        if self.random.chance(50) { self.node(Relu, &[shifted]) } else { Ok(shifted) }
    }

    /// A Relu that two convolutions read, and one that reads what it rectifies.
    pub(super) fn shared_relu(&mut self, x: ValueId) -> Built {
        let conv = self.conv_like(x, 4, false)?;
        let relu = self.node(Relu, &[conv])?;
        let (a, b) = (self.conv_like(relu, 2, true)?, self.conv_like(relu, 3, false)?);
        let mut parts = vec![a, b];
        if self.random.chance(50) {
            parts.push(self.conv_like(conv, 1, true)?);
        }
        if self.random.chance(30) {
            parts.push(relu);
        }
        self.node(Concat { axis: 1 }, &parts)
    }

    /// What networks do to their input before the first convolution: a scale and a shift of each channel.
    pub(super) fn normalised_input(&mut self, x: ValueId) -> Result<(), GraphError> {
        let channels = self.sizes(x)[0];
        let (scale, shift) =
            (self.broadcast_constant(channels, 1.0, 0.0)?, self.broadcast_constant(channels, 1.0, 0.0)?);
        let scaled = self.node(Mul, &[x, scale])?;
        let shifted = self.node(Add, &[scaled, shift])?;
        let made = self.conv(shifted, 4)?;
        self.images.push(made);
        Ok(())
    }

    /// A scale and a shift of each channel as exporters write a BatchNorm: some of Sub, Div, Mul and Add.
    pub(super) fn exported_norm(&mut self, x: ValueId) -> Built {
        let channels = self.sizes(x)[0];
        let mut value = x;
        if self.random.chance(50) {
            let mean = self.broadcast_constant(channels, 0.5, 0.0)?;
            value = self.node(Sub, &[value, mean])?;
        }
        // Constants of whole graphs may be 0.
        if !self.whole && self.random.chance(50) {
            let deviation = self.broadcast_constant(channels, 0.5, 1.0)?;
            value = self.node(Div, &[value, deviation])?;
        }
        let factor = self.broadcast_constant(channels, 0.5, 0.75)?;
        value =
            if self.random.chance(50) { self.node(Mul, &[value, factor])? } else { self.node(Mul, &[factor, value])? };
        if self.random.chance(20) {
            self.watch(value)?;
        }
        if self.random.chance(70) {
            let shift = self.broadcast_constant(channels, 0.5, 0.0)?;
            value = self.node(Add, &[value, shift])?;
        }
        Ok(value)
    }

    /// The same computed twice from one value, or nearly the same, and added up.
    pub(super) fn twins(&mut self, x: ValueId) -> Built {
        let channels = self.sizes(x)[0];
        let weights = self.constant(&[2, channels, 1, 1], 0.7, 0.0)?;
        let mut ends = Vec::new();
        for _ in 0..2 {
            let strides = if self.random.chance(15) { [2, 1] } else { [1, 1] };
            let conv = self.node(Conv { strides, ..Conv::default() }, &[x, weights])?;
            let max = self.random.pick([0.5, 0.5, 0.5, 0.25]);
            ends.push(self.node(Clip { min: -0.5, max }, &[conv])?);
        }
        let axis = self.random.pick([1, 2]);
        self.node(Concat { axis }, &ends)
    }

    /// A graph input, normalised as a whole or channel by channel, and the convolution that reads it.
    pub(super) fn normalised_graph_input(&mut self) -> Built {
        let input = self.graph.inputs()[0];
        let x = self.graph.output(input, 0)?;
        let channels = self.sizes(x)[0];
        let norm = match self.random.below(3) {
            0 => self.batch_norm(x)?,
            1 => self.exported_norm(x)?,
            _ => {
                let mut parts = Vec::new();
                for start in 0..channels {
                    let slice = self.node(Slice { axis: 1, start, length: 1 }, &[x])?;
                    let (factor, shift) = (self.constant(&[1], 0.5, 0.75)?, self.constant(&[1], 0.5, 0.0)?);
                    let scaled = self.node(Mul, &[slice, factor])?;
                    parts.push(self.node(Add, &[scaled, shift])?);
                }
                self.node(Concat { axis: 1 }, &parts)?
            }
        };
        if self.random.chance(10) {
            self.watch(norm)?;
        }
        self.conv(norm, 4)
    }

    /// The sum of two convolutions, as at the head of a residual stage.
    pub(super) fn residual_of_two(&mut self, x: ValueId) -> Built {
        let channels = self.sizes(x)[0];
        let mut ends = Vec::new();
        for kernel in [1, 3] {
            let weights = self.constant(&[4, channels, kernel, kernel], 0.4, 0.0)?;
            let pads = [kernel / 2; 4];
            let conv = self.node(Conv { pads, ..Conv::default() }, &[x, weights])?;
            self.watch(conv)?;
            ends.push(if self.random.chance(60) { self.batch_norm(conv)? } else { conv });
        }
        let sum = self.node(Add, &ends)?;
        self.node(Relu, &[sum])
    }
}
