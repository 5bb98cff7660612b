//! Every kind of concatenation, compiled for each instruction set of this machine: what is written in place, what is copied
//! and why, and that both give what the interpreter gives. All data are small whole numbers: no difference is allowed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use incept::compiler::codegen::target::Target;
use incept::ir::graph::Graph;
use incept::ir::ids::ValueId;
use incept::ir::interp;
use incept::ir::ops::{Concat, Conv};
use incept::ir::tensor::Tensor;
use incept::ir::types::{DType, Shape, TensorType};
use incept::{CompileOptions, Model};

const SIZE: usize = 6;

fn whole_numbers(sizes: &[usize], seed: usize) -> Tensor {
    let values = (0..sizes.iter().product()).map(|at: usize| ((at * 7 + seed * 3) % 5) as f32 - 2.0).collect();
    Tensor::from_f32(sizes, values).unwrap()
}

struct Net {
    graph: Graph,
    x: ValueId,
    batch: usize,
}

impl Net {
    fn new(batch: usize, channels: usize) -> Self {
        let mut graph = Graph::new("concatenations");
        let ty = TensorType::new(DType::F32, Shape::fixed(&[batch, channels, SIZE, SIZE]));
        let x = graph.add_input("x", ty).unwrap();
        Self { graph, x, batch }
    }

    /// A convolution of the input.
    fn conv(&mut self, name: &str, outputs: usize) -> ValueId {
        self.conv_of(self.x, name, outputs)
    }

    fn conv_of(&mut self, x: ValueId, name: &str, outputs: usize) -> ValueId {
        let channels = self.graph.ty(x).unwrap().shape.sizes().unwrap()[1];
        let weights = whole_numbers(&[outputs, channels, 1, 1], name.len());
        let weights = self.graph.add_constant(&format!("{name}/weights"), weights).unwrap();
        self.graph.add(Conv::default(), name, &[x, weights]).unwrap()
    }

    /// Reads a value, for an output of one channel: one of several would be copied into the caller's order of axes.
    fn read(&mut self, name: &str, value: ValueId) {
        let y = self.conv_of(value, name, 1);
        self.output(name, y);
    }

    fn concat(&mut self, name: &str, axis: usize, parts: &[ValueId]) -> ValueId {
        self.graph.add(Concat { axis }, name, parts).unwrap()
    }

    fn output(&mut self, name: &str, value: ValueId) {
        self.graph.add_output(name, value).unwrap();
    }
}

/// Builds a network for several batches and channels, and checks it: values on every level with the passes, without them and
/// without aliasing; the bytes that are copied (a function of batch and input channels); and what the report says of it.
fn check(build: impl Fn(&mut Net), copied: impl Fn(usize, usize) -> usize, reason: Option<&str>) {
    for (batch, channels) in [(1, 16), (3, 16), (2, 5)] {
        let mut net = Net::new(batch, channels);
        build(&mut net);
        net.graph.verify().unwrap();
        let input = whole_numbers(&[net.batch, channels, SIZE, SIZE], 11);
        let expected = interp::run(&net.graph, std::slice::from_ref(&input)).unwrap();
        let passes: Vec<String> = ["merge_sibling_convs", "common_subexpressions"].map(str::to_owned).into();
        let unaliased = [passes.clone(), vec!["alias_concat".to_owned()]].concat();
        let model = Model::from_graph(net.graph);
        for target in Target::all().unwrap() {
            let level = target.level().name();
            for disabled in [Vec::new(), passes.clone(), unaliased.clone()] {
                let options =
                    CompileOptions { target: level.into(), disabled, exact: true, ..CompileOptions::default() };
                let compiled = model.compile(&options).unwrap();
                if options.disabled == passes {
                    assert_eq!(compiled.plan().copied_bytes(), copied(batch, channels), "batch {batch} of {channels}");
                    let refusals = &compiled.planned.lowering.as_ref().unwrap().refusals;
                    let texts: Vec<&str> = refusals.iter().map(|note| note.text.as_str()).collect();
                    assert!(reason.is_none_or(|reason| texts.iter().any(|text| text.contains(reason))), "{texts:?}");
                    assert!(reason.is_some() || texts.is_empty(), "{texts:?}");
                }
                let mut session = compiled.session().unwrap();
                session.poison_arena();
                session.run(&[&input.as_f32().unwrap()]).unwrap();
                for (index, expected) in expected.iter().enumerate() {
                    let (found, expected) = (session.output(index), expected.as_f32().unwrap());
                    assert_eq!(
                        found, &*expected,
                        "{level} without {:?}, batch {batch} of {channels}",
                        options.disabled
                    );
                }
            }
        }
    }
}

/// Bytes of an image of this many channels.
fn image(batch: usize, channels: usize) -> usize {
    4 * batch * channels * SIZE * SIZE
}

#[test]
fn parts_are_written_in_place() {
    let build = |net: &mut Net| {
        let parts = [net.conv("a", 3), net.conv("bb", 16), net.conv("ccc", 1)];
        let whole = net.concat("whole", 1, &parts);
        net.read("y", whole);
    };
    check(build, |_, _| 0, None);
}

#[test]
fn nested_concatenations_lie_in_the_outermost() {
    let build = |net: &mut Net| {
        let inner = [net.conv("a", 8), net.conv("bb", 5)];
        let inner = net.concat("inner", 1, &inner);
        let middle = [net.conv("ccc", 4), inner];
        let middle = net.concat("middle", 1, &middle);
        let outer = [middle, net.conv("dddd", 16)];
        let outer = net.concat("outer", 1, &outer);
        net.read("inside", inner);
        net.read("y", outer);
    };
    check(build, |_, _| 0, None);
}

#[test]
fn a_tensor_twice_is_copied_once() {
    let build = |net: &mut Net| {
        let a = net.conv("a", 8);
        let whole = net.concat("whole", 1, &[a, a]);
        net.read("y", whole);
    };
    check(build, |batch, _| image(batch, 8), Some("it already lies in"));
}

#[test]
fn a_graph_input_is_copied() {
    let build = |net: &mut Net| {
        let parts = [net.x, net.conv("a", 8)];
        let whole = net.concat("whole", 1, &parts);
        net.read("y", whole);
    };
    check(build, image, Some("it is an input of the graph"));
}

#[test]
fn a_constant_is_copied() {
    let build = |net: &mut Net| {
        let tensor = whole_numbers(&[net.batch, 4, SIZE, SIZE], 5);
        let constant = net.graph.add_constant("constant", tensor).unwrap();
        let parts = [constant, net.conv("a", 8)];
        let whole = net.concat("whole", 1, &parts);
        net.read("y", whole);
    };
    check(build, |batch, _| image(batch, 4), Some("it is constant"));
}

#[test]
fn a_part_that_is_an_output_too() {
    let build = |net: &mut Net| {
        let a = net.conv("a", 8);
        let parts = [a, net.conv("bb", 8)];
        let whole = net.concat("whole", 1, &parts);
        net.output("part", a);
        net.read("y", whole);
    };
    // The caller's order of axes is another than the arena's: this copy would be there without a concatenation too.
    check(build, |batch, _| image(batch, 8), None);
}

#[test]
fn a_concatenation_that_is_an_output() {
    let build = |net: &mut Net| {
        let parts = [net.conv("a", 8), net.conv("bb", 3)];
        let whole = net.concat("whole", 1, &parts);
        net.output("y", whole);
    };
    check(build, |batch, _| image(batch, 11), None);
}

#[test]
fn two_concatenations_share_a_part_in_different_places() {
    let build = |net: &mut Net| {
        let (shared, a, b) = (net.conv("shared", 8), net.conv("a", 4), net.conv("bb", 6));
        let first = net.concat("first", 1, &[shared, a]);
        let second = net.concat("second", 1, &[b, shared]);
        net.read("first", first);
        net.read("second", second);
    };
    check(build, |batch, _| image(batch, 8), Some("it already lies in"));
}

#[test]
fn two_concatenations_share_neighbours() {
    let build = |net: &mut Net| {
        let parts = [net.conv("a", 8), net.conv("bb", 4), net.conv("ccc", 2)];
        let few = net.concat("few", 1, &parts[..2]);
        let all = net.concat("all", 1, &parts);
        net.read("few", few);
        net.read("all", all);
    };
    check(build, |_, _| 0, None);
}

#[test]
fn other_axes() {
    for axis in [0, 2, 3] {
        let build = |net: &mut Net| {
            let parts = [net.conv("a", 8), net.conv("bb", 8), net.conv("ccc", 8)];
            let inner = net.concat("inner", axis, &parts[1..]);
            let whole = net.concat("whole", axis, &[parts[0], inner]);
            net.read("y", whole);
        };
        check(build, |_, _| 0, None);
    }
}

#[test]
fn axes_within_each_other() {
    let build = |net: &mut Net| {
        let rows = [net.conv("a", 8), net.conv("bb", 8)];
        let rows = net.concat("rows", 2, &rows);
        let wide = net.conv("ccc", 4);
        let wide = net.concat("again", 2, &[wide, wide]);
        let whole = net.concat("whole", 1, &[rows, wide]);
        net.read("y", whole);
    };
    check(build, |batch, _| image(batch, 4), Some("it already lies in"));
}
