//! Finding what is wrong: the first layer that departs, and the rewrite of a planted wrong pass.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use incept::compare::{Culprit, Difference, Tolerance, bisect, layers, run_compiled, run_interpreted};
use incept::compiler::pass::{Pass, Rewriter};
use incept::compiler::pipeline::PASSES;
use incept::inputs::noise_tensor;
use incept::ir::graph::{Graph, GraphError, NewValue};
use incept::ir::ids::NodeId;
use incept::ir::ops::{Clip, Gemm, Op};
use incept::ir::tensor::Tensor;
use incept::{CompileOptions, Error, Model};

/// Adds a value to itself where two values should be added.
const DOUBLES: Pass = Pass {
    name: "doubles",
    description: "wrong: adds the first value of an Add to itself",
    rule: |rewriter: &mut Rewriter<'_>, id: NodeId| -> Result<(), GraphError> {
        let graph = rewriter.graph();
        let node = graph.node(id)?;
        let (Op::Add(_), inputs) = (&node.op, graph.node_inputs(id)) else { return Ok(()) };
        if inputs[0] == inputs[1] {
            return Ok(());
        }
        let old = graph.output(id, 0)?;
        let (op, name, provenance) = (node.op.clone(), node.name.clone(), node.provenance.clone());
        let mut patch = rewriter.patch("added to itself");
        let new = patch.node(op, &name, vec![NewValue::Old(inputs[0]); 2], provenance);
        patch.replace(old, new);
        rewriter.apply(patch, &[id])
    },
};

/// Lowers the upper bound of every Clip.
const CLIPS: Pass = Pass {
    name: "clips",
    description: "wrong: lowers the bound of a Clip",
    rule: |rewriter: &mut Rewriter<'_>, id: NodeId| -> Result<(), GraphError> {
        let graph = rewriter.graph();
        let node = graph.node(id)?;
        let (Op::Clip(clip), inputs) = (&node.op, graph.node_inputs(id)) else { return Ok(()) };
        if clip.max < 6.0 {
            return Ok(());
        }
        let old = graph.output(id, 0)?;
        let (name, provenance) = (node.name.clone(), node.provenance.clone());
        let mut patch = rewriter.patch("clipped at 0.25");
        let new = patch.node(Clip { min: 0.0, max: 0.25 }, &name, vec![NewValue::Old(inputs[0])], provenance);
        patch.replace(old, new);
        rewriter.apply(patch, &[id])
    },
};

/// Halves every Gemm.
const HALVES: Pass = Pass {
    name: "halves",
    description: "wrong: halves what a Gemm multiplies",
    rule: |rewriter: &mut Rewriter<'_>, id: NodeId| -> Result<(), GraphError> {
        let graph = rewriter.graph();
        let node = graph.node(id)?;
        let Op::Gemm(gemm) = &node.op else { return Ok(()) };
        if gemm.alpha < 1.0 {
            return Ok(());
        }
        let old = graph.output(id, 0)?;
        let (name, provenance) = (node.name.clone(), node.provenance.clone());
        let inputs = graph.node_inputs(id).into_iter().map(NewValue::Old).collect();
        let op = Gemm { alpha: 0.5, ..gemm.clone() };
        let mut patch = rewriter.patch("halved");
        let new = patch.node(op, &name, inputs, provenance);
        patch.replace(old, new);
        rewriter.apply(patch, &[id])
    },
};

fn inputs(model: &Model) -> Vec<Tensor> {
    let graph = model.graph().unwrap();
    let ports = graph.inputs().iter().zip(0..);
    ports
        .map(|(id, seed)| {
            let ty = graph.ty(graph.output(*id, 0).unwrap()).unwrap();
            noise_tensor(&ty.shape.with_batch(1).unwrap().sizes().unwrap(), seed).unwrap()
        })
        .collect()
}

/// Whether a graph's outputs, interpreted, are not those of the model.
fn departs<'a>(model: &'a Model, inputs: &'a [Tensor]) -> impl FnMut(&Graph) -> Result<bool, Error> + 'a {
    let reference = run_interpreted(model.graph().unwrap(), inputs).unwrap();
    move |graph| {
        let values = run_interpreted(graph, inputs)?;
        let near = |(value, reference): (&Tensor, &Tensor)| {
            Difference::of(&value.as_f32().unwrap(), &reference.to_f64()).within(&Tolerance::default())
        };
        Ok(!values.iter().zip(&reference).all(near))
    }
}

/// The pipeline with a pass before the one of this name.
fn with(pass: Pass, before: &str) -> Vec<Pass> {
    let at = PASSES.iter().position(|known| known.name == before).unwrap();
    let mut passes = PASSES.to_vec();
    passes.insert(at, pass);
    passes
}

#[test]
fn a_planted_pass_is_named_with_its_node() {
    let model = Model::load("tiny-residual").unwrap();
    let inputs = inputs(&model);
    let graph = model.graph().unwrap();
    // Early, in the middle, and last: with right rewrites before and after.
    let last = [PASSES, &[CLIPS]].concat();
    let cases: [(&str, Vec<Pass>, &str); 4] = [
        ("doubles", with(DOUBLES, "dead_code"), "sum"),
        ("doubles", with(DOUBLES, "fuse_residual_add"), "sum"),
        ("clips", with(CLIPS, "canonicalize"), "stem_clip"),
        ("halves", [last, vec![HALVES]].concat(), "fc"),
    ];
    for (wrong, passes, node) in cases {
        let found = bisect(graph, &passes, &[], &mut departs(&model, &inputs)).unwrap();
        let Culprit::Rewrite { number, of, rewrite } = found else { panic!("{wrong}: {found:?}") };
        assert_eq!(rewrite.pass, wrong);
        assert!(rewrite.nodes.iter().any(|name| name == node), "{rewrite:?}");
        assert!((1..=of).contains(&number));
        // With the wrong pass left out, or stopped just before it, nothing departs.
        let without = bisect(graph, &passes, &[wrong.to_owned()], &mut departs(&model, &inputs)).unwrap();
        assert_eq!(without, Culprit::Nobody, "{wrong}");
    }
}

#[test]
fn what_no_pass_did_is_told_from_what_one_did() {
    let model = Model::load("tiny-residual").unwrap();
    let inputs = inputs(&model);
    let graph = model.graph().unwrap();
    assert_eq!(bisect(graph, PASSES, &[], &mut departs(&model, &inputs)).unwrap(), Culprit::Nobody);
    let other = Model::load_with("tiny-residual", &incept::LoadOptions { seed: 1, ..Default::default() }).unwrap();
    assert_eq!(bisect(graph, PASSES, &[], &mut departs(&other, &inputs)).unwrap(), Culprit::NoPass);
}

#[test]
fn every_layer_of_the_small_models_agrees() {
    for name in ["tiny-inception", "tiny-residual"] {
        let model = Model::load(name).unwrap();
        let inputs = inputs(&model);
        for disabled in [&[][..], &["fold_batch_norm", "fuse_activation"][..]] {
            let disabled = disabled.iter().map(ToString::to_string).collect();
            let options = CompileOptions { disabled, ..CompileOptions::default() };
            let layers = layers(&model, &options, &inputs).unwrap();
            assert!(layers.len() >= 6, "{name}: {} layers", layers.len());
            let mut with_source = 0;
            for layer in &layers {
                assert!(layer.compiled.within(&Tolerance::default()), "{name}: {layer:?}");
                if let Some((source, difference)) = &layer.source {
                    assert!(layer.nodes.contains(source));
                    assert!(difference.within(&Tolerance::default()), "{name}: {layer:?}");
                    with_source += 1;
                }
            }
            assert!(with_source * 2 > layers.len(), "{name}: {with_source} of {} layers", layers.len());
        }
    }
}

#[test]
fn compiled_outputs_are_those_of_the_interpreter() {
    for name in ["tiny-inception", "tiny-residual"] {
        let model = Model::load(name).unwrap();
        let inputs = inputs(&model);
        let reference = run_interpreted(model.graph().unwrap(), &inputs).unwrap();
        let values = run_compiled(&model, &CompileOptions::default(), &inputs).unwrap();
        assert_eq!(values.len(), reference.len());
        for (values, reference) in values.iter().zip(&reference) {
            assert!(Difference::of(values, &reference.to_f64()).within(&Tolerance::default()));
        }
    }
}
