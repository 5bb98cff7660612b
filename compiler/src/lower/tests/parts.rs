//! Which batches are split, and which are not.

use super::*;

/// Of a batch of four, as small as can be; nothing runs in place, so that the arena is not empty.
fn in_parts(net: &Net) -> Lowered {
    let options = LowerOptions { batch: 4, part_bytes: 0, ..options(&["in_place"]) };
    lower_with_report(&net.graph, &options).unwrap()
}

fn splits(net: &Net) {
    let Lowered { plan, report } = in_parts(net);
    assert_eq!((plan.batch, plan.parts.get()), (4, 4), "{:?}", report.refusals);
    assert!(report.rewrites.iter().any(|note| note.pass == crate::lower::parts::NAME), "{:?}", report.rewrites);
    for port in plan.inputs.iter().chain(&plan.outputs) {
        assert_eq!(plan.view(port.view).unwrap().sizes[0], 1);
        assert_eq!(plan.port_sizes(port).unwrap()[0], 4);
    }
    // The part computes what the graph of one image does.
    check_plan(&net.graph.with_first_size(1).unwrap(), &Plan { batch: 1, parts: NonZeroUsize::MIN, ..plan });
}

fn refuses(net: &Net, reason: &str) {
    let Lowered { plan, report } = in_parts(net);
    assert_eq!(plan.parts.get(), 1);
    let refusals: Vec<&str> = report.refusals.iter().map(|note| &note.text[..]).collect();
    assert!(refusals.iter().any(|text| text.contains(reason)), "{refusals:?} instead of {reason}");
}

/// A net on an input of these sizes, with something in the arena.
fn net(sizes: &[usize], build: impl FnOnce(&mut Net, ValueId) -> ValueId) -> Net {
    let mut net = Net::new();
    let x = net.input(sizes);
    let x = net.add(Relu, &[x]);
    let y = build(&mut net, x);
    net.output(y);
    net
}

/// A net whose input has four images.
fn images(build: impl FnOnce(&mut Net, ValueId) -> ValueId) -> Net {
    net(&[4, 3, 6, 6], build)
}

/// A net whose input has four rows.
fn rows(build: impl FnOnce(&mut Net, ValueId) -> ValueId) -> Net {
    net(&[4, 6], build)
}

#[test]
fn networks_of_images_run_in_parts() {
    splits(&images(|net, x| {
        let (a, b) = (net.conv(x, 8, 3), net.conv(x, 4, 1));
        let joined = net.add(Concat { axis: 1 }, &[a, b]);
        let pooled = net.add(GlobalAvgPool, &[joined]);
        let flat = net.add(Flatten { axis: 1 }, &[pooled]);
        let w = net.constant(&[12, 5]);
        let scores = net.add(Gemm::default(), &[flat, w]);
        net.add(Softmax { axis: 1, flatten: false }, &[scores])
    }));
    splits(&images(|net, x| {
        let c = net.constant(&[3, 1, 1]);
        let y = net.add(Add, &[c, x]);
        let y = net.add(Transpose { perm: vec![0, 2, 3, 1] }, &[y]);
        net.add(Reshape { dims: vec![-1, 36, 3], allow_zero: false }, &[y])
    }));
    splits(&rows(|net, x| {
        let w = net.constant(&[6, 4]);
        let c = net.constant(&[4]);
        net.add(Gemm::default(), &[x, w, c])
    }));
}

#[test]
fn what_joins_images_does_not() {
    let joins = "may join images";
    refuses(&images(|net, x| net.add(Concat { axis: 0 }, &[x, x])), joins);
    refuses(&rows(|net, x| net.add(Softmax { axis: 0, flatten: false }, &[x])), joins);
    refuses(&images(|net, x| net.add(Pad { pads: vec![[1, 0], [0; 2], [0; 2], [0; 2]], value: 0.0 }, &[x])), joins);
    // Each image has a constant of its own.
    refuses(
        &images(|net, x| {
            let c = net.constant(&[4, 1, 1, 1]);
            net.add(Mul, &[x, c])
        }),
        "mul",
    );
    // A number for each image is added along the columns.
    refuses(
        &net(&[4, 4], |net, rows| {
            let numbers = net.input(&[4]);
            let y = net.add(Add, &[numbers, rows]);
            net.add(Softmax { axis: 1, flatten: false }, &[y])
        }),
        joins,
    );
    // An input of one number is of no image.
    refuses(
        &images(|net, x| {
            let number = net.input(&[]);
            let y = net.add(Mul, &[x, number]);
            net.add(Softmax { axis: 1, flatten: false }, &[y])
        }),
        "has no first size",
    );
    // The images become the terms of a sum.
    refuses(
        &rows(|net, x| {
            let y = net.add(Relu, &[x]);
            net.add(Gemm { trans_a: true, ..Gemm::default() }, &[x, y])
        }),
        joins,
    );
    // Rows of one image are mixed with those of others, though there are four before and after.
    refuses(&net(&[4, 4], |net, x| net.add(Transpose { perm: vec![1, 0] }, &[x])), joins);
    // A size that says how many images there are.
    refuses(
        &images(|net, x| {
            let y = net.add(Reshape { dims: vec![4, 108], allow_zero: false }, &[x]);
            net.add(Softmax { axis: 1, flatten: false }, &[y])
        }),
        "reshape",
    );
}

#[test]
fn outputs_of_constants_and_single_images_are_left() {
    let mut net = images(|net, x| net.add(Softmax { axis: 1, flatten: false }, &[x]));
    let c = net.constant(&[4, 2]);
    let y = net.add(Relu, &[c]);
    net.output(y);
    refuses(&net, "the output \"y1\" does not depend on the inputs");
    let mut net = Net::new();
    let x = net.input(&[1, 3, 6, 6]);
    let y = net.conv(x, 4, 3);
    net.output(y);
    let one = lower_with_report(&net.graph, &LowerOptions { part_bytes: 0, ..options(&[]) }).unwrap();
    assert_eq!((one.plan.parts.get(), one.report.refusals.len()), (1, 0));
}

#[test]
fn parts_are_as_few_as_fit() {
    let net = {
        let mut net = Net::new();
        let x = net.input(&[12, 3, 8, 8]);
        let y = net.conv(x, 16, 3);
        let y = net.conv(y, 16, 3);
        net.output(y);
        net
    };
    let whole = lower(&net.graph, &LowerOptions { batch: 12, ..options(&[]) }).unwrap();
    assert_eq!(whole.parts.get(), 1);
    let bytes = whole.memory.arena_bytes;
    for (most, parts) in [(bytes, 1), (bytes - 1, 2), (bytes / 2, 2), (bytes / 2 - 1, 3), (bytes / 5, 6), (0, 12)] {
        let plan = lower(&net.graph, &LowerOptions { batch: 12, part_bytes: most, ..options(&[]) }).unwrap();
        assert_eq!(plan.parts.get(), parts, "at most {most} of {bytes} bytes");
        assert_eq!(plan.memory.arena_bytes, bytes / parts);
    }
    let disabled = LowerOptions { batch: 12, part_bytes: 0, ..options(&[crate::lower::parts::NAME]) };
    assert_eq!(lower(&net.graph, &disabled).unwrap().parts.get(), 1);
}
