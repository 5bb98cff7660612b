//! Generates `compiler/src/frontend/onnx/proto.rs` from `onnx.proto`. From anywhere in the repository:
//!
//! ```text
//! cargo run --manifest-path compiler/tools/onnx_proto/Cargo.toml            # writes the file
//! cargo run --manifest-path compiler/tools/onnx_proto/Cargo.toml -- --check # fails where it is out of date
//! ```
//!
//! Needs no `protoc`: protox parses the schema and prost-build writes the types.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const HEADER: &str = "\
// Generated from compiler/tools/onnx_proto/onnx.proto (Apache-2.0, the ONNX Project Contributors) by
//     cargo run --manifest-path compiler/tools/onnx_proto/Cargo.toml
// Do not edit.
";

fn main() -> Result<(), Box<dyn Error>> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = tool.join("../../src/frontend/onnx/proto.rs");
    let scratch = env::temp_dir().join(format!("onnx-proto-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;

    let schema = protox::compile([tool.join("onnx.proto")], [tool])?;
    prost_build::Config::new()
        // Every bytes field becomes a slice of the file that is decoded: weights are not copied.
        .bytes(["."])
        .out_dir(&scratch)
        .compile_fds(schema)?;
    let generated = HEADER.to_owned() + &fs::read_to_string(scratch.join("onnx.rs"))?;
    fs::remove_dir_all(&scratch)?;

    if env::args().any(|argument| argument == "--check") {
        if fs::read_to_string(&target)? != generated {
            return Err("proto.rs is out of date: run the tool without --check".into());
        }
        return Ok(());
    }
    fs::write(&target, generated)?;
    println!("wrote {}", target.canonicalize()?.display());
    Ok(())
}
