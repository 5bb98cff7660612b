//! The models of `cases/`, each with its input and with the output that another engine gave (see `cases.py`).

use std::path::PathBuf;
use std::{collections::BTreeMap, fs};

use bytes::Bytes;
use incept_compiler::frontend::onnx;
use incept_compiler::frontend::onnx::proto::ModelProto;
use incept_ir::interp;
use incept_ir::tensor::Tensor;
use prost::Message;

pub fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "onnx", "cases"].iter().collect()
}

/// `2x3|0.5,1.0,…` as a tensor.
fn read(text: &str) -> Tensor {
    let (dims, values) = text.split_once('|').unwrap();
    let sizes: Vec<usize> = dims.split('x').filter(|word| !word.is_empty()).map(|word| word.parse().unwrap()).collect();
    Tensor::from_f32(&sizes, values.split(',').map(|word| word.parse().unwrap()).collect()).unwrap()
}

#[test]
#[allow(clippy::float_cmp, reason = "equal infinities have no difference")]
fn every_case_computes_what_another_engine_computes() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = Bytes::from(fs::read(&path).unwrap());
        let facts: BTreeMap<String, String> = ModelProto::decode(bytes.clone())
            .unwrap()
            .metadata_props
            .into_iter()
            .map(|entry| (entry.key.unwrap(), entry.value.unwrap()))
            .collect();
        let tensors = |prefix: &str| -> Vec<Tensor> {
            facts.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, text)| read(text)).collect()
        };
        let graph = match onnx::import(bytes, &name) {
            Ok(graph) => graph,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        graph.verify().unwrap();
        let results = interp::run(&graph, &tensors("input.")).unwrap();
        for (result, expected) in results.iter().zip(tensors("output.")) {
            let (found, wanted) = (result.to_f64(), expected.to_f64());
            let close = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= 1e-5 * b.abs().max(1.0);
            if result.sizes() != expected.sizes() || !found.iter().zip(&wanted).all(close) {
                wrong.push(format!("{name}: {:?} {found:?}, not {:?} {wanted:?}", result.sizes(), expected.sizes()));
            }
        }
        assert_eq!(results.len(), tensors("output.").len(), "{name}");
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 150, "only {count} cases were found");
}
