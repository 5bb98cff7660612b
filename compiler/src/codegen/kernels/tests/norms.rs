//! Normalisations: batch, local response, softmax.

use super::super::Spec;
use super::super::batch_norm::{self, BatchNormSpec, Statistics};
use super::super::lrn::LrnSpec;
use super::super::softmax::SoftmaxSpec;
use super::arrays::{COUNTS, Layout, Random, Tensor, four};
use super::{Case, Input};

pub fn batch_norm() -> Vec<Case> {
    let mut random = Random::new(11);
    let mut cases = Vec::new();
    for channels in COUNTS {
        for (layout, out_layout) in Layout::ALL.into_iter().flat_map(|a| [(a, a), (a, Layout::Slice)]) {
            let sizes = [1 + random.below(3), channels, 1 + random.below(6), 1 + random.below(6)];
            let x = Tensor::small(&sizes, layout.strides(&sizes), &mut random);
            // Variances whose root is a power of two keep everything exact.
            let variance: Vec<f32> = (0..channels).map(|_| random.pick(&[0.25, 1.0, 4.0, 16.0])).collect();
            let [scale, bias, mean] = [(); 3].map(|()| (0..channels).map(|_| random.small()).collect::<Vec<f32>>());
            let y = Tensor::output(&sizes, out_layout.strides(&sizes), |index| {
                let c = index[1];
                (x.at(index) - mean[c]) / variance[c].sqrt() * scale[c] + bias[c]
            });
            let pack = move || {
                let statistics =
                    Statistics { scale: &scale, bias: &bias, mean: &mean, variance: &variance, epsilon: 0.0 };
                let (mut scales, mut shifts) = (vec![0.0; channels], vec![0.0; channels]);
                batch_norm::pack(&statistics, &mut scales, &mut shifts).unwrap();
                (scales, shifts)
            };
            let (scales, shifts) = pack();
            let spec = BatchNormSpec { sizes: sizes.to_vec(), out: y.strides.clone(), input: x.strides.clone() };
            let inputs = vec![
                Input::Tensor(x),
                Input::Packed(Box::new(move |_| scales.clone())),
                Input::Packed(Box::new(move |_| shifts.clone())),
            ];
            cases.push(Case::new(Spec::BatchNorm(spec), y, inputs));
        }
    }
    cases
}

pub fn lrn() -> Vec<Case> {
    let mut random = Random::new(12);
    let mut cases = Vec::new();
    for channels in COUNTS {
        for beta in [0.75, 0.5, 1.0, 0.6, 2.5] {
            let size = random.pick(&[1, 2, 3, 5, 5, 8, 25, 200]);
            let sizes = [1 + random.below(2), channels, 1 + random.below(7), 1 + random.below(7)];
            let layouts = if random.chance(70) { &Layout::CHANNELS[..] } else { &Layout::ALL[..] };
            let x = Tensor::small(&sizes, random.pick(layouts).strides(&sizes), &mut random);
            let (alpha, bias) = (random.pick(&[1e-4, 0.5]), random.pick(&[1.0, 2.0]));
            let y = Tensor::output(&sizes, random.pick(layouts).strides(&sizes), |index| {
                let first = index[1].saturating_sub((size - 1) / 2);
                let sum: f64 = (first..(index[1] + size / 2 + 1).min(channels))
                    .map(|c| f64::from(x.at(&[index[0], c, index[2], index[3]])).powi(2))
                    .sum();
                let norm = f64::from(bias) + f64::from(alpha) / size as f64 * sum;
                (f64::from(x.at(index)) / norm.powf(f64::from(beta))) as f32
            });
            let spec = LrnSpec { size, alpha, beta, bias, sizes, out: four(&y.strides), input: four(&x.strides) };
            // The logarithm's error is multiplied by beta times its size.
            cases.push(Case::new(Spec::Lrn(spec), y, vec![Input::Tensor(x)]).within(1e-6));
        }
    }
    cases
}

pub fn softmax() -> Vec<Case> {
    let mut random = Random::new(13);
    let mut cases = Vec::new();
    let mut push = |sizes: &[usize], axis: usize, layouts: [Layout; 2], spread: f32, random: &mut Random| {
        let strides = layouts[0].strides(sizes);
        // Multiples of 1/64, so that the difference from the largest is exact.
        let x = Tensor::input(sizes, strides, || {
            ((random.below(1000) as f32 / 500.0 - 1.0) * spread * 64.0).round() / 64.0
        });
        let y = Tensor::output(sizes, layouts[1].strides(sizes), |index| {
            let row: Vec<f64> = (0..sizes[axis])
                .map(|place| {
                    let mut index = index.to_vec();
                    index[axis] = place;
                    f64::from(x.at(&index))
                })
                .collect();
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|x| (x - most).exp()).sum();
            let value = ((f64::from(x.at(index)) - most).exp() / sum) as f32;
            // Results that would be denormal are zeros.
            if f64::from(x.at(index)) - most < -87.3365 { 0.0 } else { value }
        });
        let spec = SoftmaxSpec { axis, sizes: sizes.to_vec(), out: y.strides.clone(), input: x.strides.clone() };
        // The error of a sum grows with its length.
        let bound = 8e-7 + 2e-9 * sizes[axis] as f32;
        cases.push(Case::new(Spec::Softmax(spec), y, vec![Input::Tensor(x)]).within(bound));
    };
    for count in COUNTS.into_iter().chain([1000, 1001]) {
        for (sizes, axis) in [(vec![1 + random.below(4), count], 1), (vec![count, 3], 0)] {
            push(&sizes, axis, [Layout::RowMajor; 2], 5.0, &mut random);
            push(&sizes, axis, [Layout::Loose, Layout::Spread], 20.0, &mut random);
        }
        let sizes = [2, count.min(80), 3, 1 + random.below(9)];
        for axis in 0..4 {
            let layouts = [random.pick(&Layout::ALL), random.pick(&Layout::ALL)];
            push(&sizes, axis, layouts, random.pick(&[1.0, 30.0, 200.0]), &mut random);
        }
    }
    push(&[3, 5000], 0, [Layout::RowMajor; 2], 9.0, &mut random);
    push(&[2, 3, 1024], 1, [Layout::RowMajor; 2], 9.0, &mut random);
    cases
}
