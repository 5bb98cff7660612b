//! Layers that expand to a module of several branches, joined along the channels.

use super::build::Builder;
use super::error::DescribeError;
use super::schema::{ConvWindow, InceptionForm, InceptionLayer, InceptionV3Layer, InceptionV3Module};

use crate::ids::ValueId;
use crate::ops::{AvgPool, Concat, MaxPool, Pool};

type Built = Result<ValueId, DescribeError>;

/// A convolution of a branch: its name, and where its windows lie.
type Part<'a> = (&'a str, ConvWindow);

/// 1×1.
const fn point(channels: usize) -> ConvWindow {
    ConvWindow::square(channels, 1, 0)
}

/// A convolution that keeps height and width; `kernel` is odd.
const fn same(channels: usize, kernel: [usize; 2]) -> ConvWindow {
    let [vertical, horizontal] = [kernel[0] / 2, kernel[1] / 2];
    ConvWindow { kernel, pad: [vertical, horizontal, vertical, horizontal], ..ConvWindow::square(channels, 1, 0) }
}

/// 3×3 of stride 2 without padding: halves height and width.
const fn halving(channels: usize) -> ConvWindow {
    ConvWindow { stride: [2; 2], ..ConvWindow::square(channels, 3, 0) }
}

impl Builder {
    pub(super) fn inception(&mut self, name: &str, module: &InceptionLayer, x: ValueId) -> Built {
        let wide = match module.form {
            InceptionForm::BatchNorm => [3; 2],
            InceptionForm::Paper => [5; 2],
        };
        let unit = |builder: &mut Self, part: &str, window: &ConvWindow, x: ValueId| {
            let name = format!("{name}.{part}");
            match module.form {
                InceptionForm::BatchNorm => builder.conv_bn_relu(&name, window, module.epsilon, x),
                InceptionForm::Paper => builder.conv_relu(&name, window, true, x),
            }
        };
        let branch1 = unit(self, "branch1", &point(module.branch1), x)?;
        let reduced = unit(self, "branch2.0", &point(module.branch2[0]), x)?;
        let branch2 = unit(self, "branch2.1", &same(module.branch2[1], [3; 2]), reduced)?;
        let reduced = unit(self, "branch3.0", &point(module.branch3[0]), x)?;
        let branch3 = unit(self, "branch3.1", &same(module.branch3[1], wide), reduced)?;
        let pool = Pool { pads: [1; 4], ceil_mode: true, ..Pool::new([3; 2]) };
        let pooled = self.add(MaxPool { pool }, &format!("{name}.branch4.0"), &[x])?;
        let branch4 = unit(self, "branch4.1", &point(module.branch4), pooled)?;
        self.add(Concat { axis: 1 }, &format!("{name}.concat"), &[branch1, branch2, branch3, branch4])
    }

    pub(super) fn inception_v3(&mut self, name: &str, layer: &InceptionV3Layer, x: ValueId) -> Built {
        let module = Module { name, epsilon: layer.epsilon };
        let branches = match layer.module {
            InceptionV3Module::A { pool } => vec![
                module.branch(self, x, &[("branch1x1", point(64))])?,
                module.branch(self, x, &[("branch5x5_1", point(48)), ("branch5x5_2", same(64, [5; 2]))])?,
                module.branch(
                    self,
                    x,
                    &[
                        ("branch3x3dbl_1", point(64)),
                        ("branch3x3dbl_2", same(96, [3; 2])),
                        ("branch3x3dbl_3", same(96, [3; 2])),
                    ],
                )?,
                module.average(self, x, pool)?,
            ],
            InceptionV3Module::B => vec![
                module.branch(self, x, &[("branch3x3", halving(384))])?,
                module.branch(
                    self,
                    x,
                    &[
                        ("branch3x3dbl_1", point(64)),
                        ("branch3x3dbl_2", same(96, [3; 2])),
                        ("branch3x3dbl_3", halving(96)),
                    ],
                )?,
                module.largest(self, x)?,
            ],
            InceptionV3Module::C { inner } => vec![
                module.branch(self, x, &[("branch1x1", point(192))])?,
                module.branch(
                    self,
                    x,
                    &[
                        ("branch7x7_1", point(inner)),
                        ("branch7x7_2", same(inner, [1, 7])),
                        ("branch7x7_3", same(192, [7, 1])),
                    ],
                )?,
                module.branch(
                    self,
                    x,
                    &[
                        ("branch7x7dbl_1", point(inner)),
                        ("branch7x7dbl_2", same(inner, [7, 1])),
                        ("branch7x7dbl_3", same(inner, [1, 7])),
                        ("branch7x7dbl_4", same(inner, [7, 1])),
                        ("branch7x7dbl_5", same(192, [1, 7])),
                    ],
                )?,
                module.average(self, x, 192)?,
            ],
            InceptionV3Module::D => vec![
                module.branch(self, x, &[("branch3x3_1", point(192)), ("branch3x3_2", halving(320))])?,
                module.branch(
                    self,
                    x,
                    &[
                        ("branch7x7x3_1", point(192)),
                        ("branch7x7x3_2", same(192, [1, 7])),
                        ("branch7x7x3_3", same(192, [7, 1])),
                        ("branch7x7x3_4", halving(192)),
                    ],
                )?,
                module.largest(self, x)?,
            ],
            InceptionV3Module::E => {
                let whole = module.branch(self, x, &[("branch1x1", point(320))])?;
                let reduced = module.branch(self, x, &[("branch3x3_1", point(384))])?;
                let single = module.fork(self, reduced, "branch3x3", ["2a", "2b"])?;
                let reduced =
                    module.branch(self, x, &[("branch3x3dbl_1", point(448)), ("branch3x3dbl_2", same(384, [3; 2]))])?;
                let double = module.fork(self, reduced, "branch3x3dbl", ["3a", "3b"])?;
                vec![whole, single, double, module.average(self, x, 192)?]
            }
        };
        self.add(Concat { axis: 1 }, &format!("{name}.concat"), &branches)
    }
}

/// A module of Inception v3 that is being built.
struct Module<'a> {
    name: &'a str,
    epsilon: Option<f32>,
}

impl Module<'_> {
    /// Convolutions one after another.
    fn branch(&self, builder: &mut Builder, x: ValueId, parts: &[Part]) -> Built {
        parts.iter().try_fold(x, |x, (part, window)| {
            builder.conv_bn_relu(&format!("{}.{part}", self.name), window, self.epsilon, x)
        })
    }

    /// A 1×3 beside a 3×1 convolution of 384 channels each, joined.
    fn fork(&self, builder: &mut Builder, x: ValueId, branch: &str, [wide, high]: [&str; 2]) -> Built {
        let wide = self.branch(builder, x, &[(&format!("{branch}_{wide}"), same(384, [1, 3]))])?;
        let high = self.branch(builder, x, &[(&format!("{branch}_{high}"), same(384, [3, 1]))])?;
        builder.add(Concat { axis: 1 }, &format!("{}.{branch}.concat", self.name), &[wide, high])
    }

    /// The 3×3 average pool and its projection.
    fn average(&self, builder: &mut Builder, x: ValueId, channels: usize) -> Built {
        let pool = Pool { pads: [1; 4], ..Pool::new([3; 2]) };
        let op = AvgPool { pool, count_include_pad: true };
        let pooled = builder.add(op, &format!("{}.avg_pool", self.name), &[x])?;
        self.branch(builder, pooled, &[("branch_pool", point(channels))])
    }

    /// The 3×3 max-pool that halves height and width.
    fn largest(&self, builder: &mut Builder, x: ValueId) -> Built {
        let pool = Pool { strides: [2; 2], ..Pool::new([3; 2]) };
        builder.add(MaxPool { pool }, &format!("{}.max_pool", self.name), &[x])
    }
}
