#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
//! Every operation on every level of this machine against its scalar meaning.

use super::*;
use crate::codegen::link::Linker;

#[cfg(target_arch = "x86_64")]
type TileFn = extern "sysv64" fn(i64, i64, i64, i64, i64, i64);
#[cfg(not(target_arch = "x86_64"))]
type TileFn = extern "C" fn(i64, i64, i64, i64, i64, i64);

/// A tile linked for calling: six integer arguments, the surplus ignored.
fn call(target: &Target, args: usize, body: &dyn Fn(&mut dyn Asm), values: &[i64]) {
    let mut linker = Linker::new(target);
    let id = linker.tile("test", args, body).unwrap();
    let linked = linker.finish().unwrap();
    let address = linked.tile_address(id).unwrap();
    // SAFETY: the address is a tile's; six integers are passed in registers, and the tile reads its own only.
    let tile = unsafe { std::mem::transmute::<*const (), TileFn>(address) };
    let value = |index: usize| values.get(index).copied().unwrap_or(0);
    tile(value(0), value(1), value(2), value(3), value(4), value(5));
}

fn targets() -> Vec<Target> {
    Target::all().unwrap()
}

fn pointer(data: &[f32]) -> i64 {
    data.as_ptr() as i64
}

fn pointer_mut(data: &mut [f32]) -> i64 {
    data.as_mut_ptr() as i64
}

const SPECIAL: [f32; 16] = [
    1.0,
    -2.5,
    0.0,
    -0.0,
    f32::NAN,
    3.5,
    f32::INFINITY,
    -7.25,
    0.5,
    1.5,
    2.5,
    -0.5,
    f32::NEG_INFINITY,
    1e-3,
    100.0,
    -1.0,
];
const OTHER: [f32; 16] =
    [2.0, -2.5, -0.0, 0.0, 1.0, f32::NAN, 4.0, 0.25, -8.0, 1.5, -3.0, 16.0, 1.0, 0.125, -9.0, f32::NAN];

fn same(a: f32, b: f32) -> bool {
    (a.is_nan() && b.is_nan()) || a.to_bits() == b.to_bits()
}

type Body<'a> = &'a dyn Fn(&mut dyn Asm);

/// Runs `emit(dst, a, b)` on the special values and compares each lane with `expect(a, b)`.
fn check(name: &str, emit: &dyn Fn(&mut dyn Asm, V, V, V), expect: &dyn Fn(f32, f32) -> f32) {
    for target in targets() {
        // In the lowest and in the highest registers: their encodings differ.
        for (alias, low) in [(false, true), (true, true), (false, false)] {
            for start in (0..16).step_by(target.lanes()) {
                let mut out = [f32::MIN; 16];
                let body = |a: &mut dyn Asm| {
                    let (p, q, to) = (a.arg(0), a.arg(1), a.arg(2));
                    let spare = if low { 0 } else { a.registers() - 7 };
                    (0..spare).for_each(|_| _ = a.vec());
                    let (x, y) = (a.vec(), a.vec());
                    let dst = if alias { x } else { a.vec() };
                    a.load(x, Addr::new(p));
                    a.load(y, Addr::new(q));
                    emit(a, dst, x, y);
                    a.store(Addr::new(to), dst);
                };
                call(&target, 3, &body, &[pointer(&SPECIAL[start..]), pointer(&OTHER[start..]), pointer_mut(&mut out)]);
                for lane in 0..target.lanes() {
                    let (x, y) = (SPECIAL[start + lane], OTHER[start + lane]);
                    let want = expect(x, y);
                    assert!(same(out[lane], want), "{name} on {target:?}: {x} {y} gave {} not {want}", out[lane]);
                }
            }
        }
    }
}

#[test]
fn arithmetic() {
    check("add", &|a, d, x, y| a.add(d, x, y), &|x, y| x + y);
    check("sub", &|a, d, x, y| a.sub(d, x, y), &|x, y| x - y);
    check("mul", &|a, d, x, y| a.mul(d, x, y), &|x, y| x * y);
    check("div", &|a, d, x, y| a.div(d, x, y), &|x, y| x / y);
    check("sqrt", &|a, d, x, _| a.sqrt(d, x), &|x, _| x.sqrt());
    check("floor", &|a, d, x, _| a.floor(d, x), &|x, _| x.floor());
    check("nearest", &|a, d, x, _| a.nearest(d, x), &|x, _| x.round_ties_even());
    check("copy", &|a, d, x, _| a.copy(d, x), &|x, _| x);
    check("zero", &|a, d, _, _| a.zero(d), &|_, _| 0.0);
    check("splat", &|a, d, _, _| splat(a, d, -1.75), &|_, _| -1.75);
    check("splat of minus zero", &|a, d, _, _| splat(a, d, -0.0), &|_, _| -0.0);
}

#[test]
fn max_and_min_return_the_second_operand_where_either_is_nan() {
    check("max", &|a, d, x, y| a.max(d, x, y), &|x, y| if x > y { x } else { y });
    check("min", &|a, d, x, y| a.min(d, x, y), &|x, y| if x < y { x } else { y });
    let relu = |a: &mut dyn Asm, d: V, x: V, _: V| {
        let zero = a.vec();
        a.zero(zero);
        a.max(d, zero, x);
        a.free(zero);
    };
    check("relu", &relu, &|x, _| if x.is_nan() || x == 0.0 { x } else { x.max(0.0) });
}

#[test]
fn comparison_selects() {
    let select = |a: &mut dyn Asm, d: V, x: V, y: V| {
        let (one, two) = (a.vec(), a.vec());
        splat(a, one, 1.0);
        splat(a, two, 2.0);
        a.select_gt(d, x, y, one, two);
        a.free(one);
        a.free(two);
    };
    check("select", &select, &|x, y| if x > y { 1.0 } else { 2.0 });
}

#[test]
fn multiply_add_rounds_once() {
    for fold in [false, true] {
        let emit = |a: &mut dyn Asm, d: V, x: V, y: V| {
            let acc = a.vec();
            splat(a, acc, 0.1);
            if fold {
                a.fnma(acc, x, y)
            } else {
                a.fma(acc, x, y)
            }
            a.copy(d, acc);
            a.free(acc);
        };
        let sign = if fold { -1.0 } else { 1.0 };
        if targets().iter().all(Target::fused) {
            check("fma", &emit, &|x, y| (sign * x).mul_add(y, 0.1));
        }
    }
}

#[test]
fn integer_lanes() {
    let bits = |f: fn(u32, u32) -> u32| move |x: f32, y: f32| f32::from_bits(f(x.to_bits(), y.to_bits()));
    check("and", &|a, d, x, y| a.and(d, x, y), &bits(|x, y| x & y));
    check("or", &|a, d, x, y| a.or(d, x, y), &bits(|x, y| x | y));
    check("xor", &|a, d, x, y| a.xor(d, x, y), &bits(|x, y| x ^ y));
    check("int_add", &|a, d, x, y| a.int_add(d, x, y), &bits(u32::wrapping_add));
    check("int_sub", &|a, d, x, y| a.int_sub(d, x, y), &bits(u32::wrapping_sub));
    check("shift_left", &|a, d, x, _| a.shift_left(d, x, 23), &bits(|x, _| x << 23));
    check("shift_right", &|a, d, x, _| a.shift_right(d, x, 23), &bits(|x, _| x >> 23));
    check("shift_right_signed", &|a, d, x, _| a.shift_right_signed(d, x, 7), &bits(|x, _| ((x as i32) >> 7) as u32));
    // In range only: the masked values are small.
    let convert = |a: &mut dyn Asm, d: V, x: V, _: V| {
        let (lo, hi) = (a.vec(), a.vec());
        splat(a, lo, -50.0);
        splat(a, hi, 50.5);
        a.min(d, x, hi);
        a.max(d, d, lo);
        a.float_to_int(d, d);
        a.int_to_float(d, d);
        a.free(lo);
        a.free(hi);
    };
    let expect = |x: f32, _: f32| {
        let small = if x < 50.5 { x } else { 50.5 };
        (if small > -50.0 { small } else { -50.0 }).round_ties_even() + 0.0
    };
    check("float_to_int and back", &convert, &expect);
}

#[test]
fn reductions_fill_all_lanes() {
    for target in targets() {
        let lanes = target.lanes();
        let data: Vec<f32> = (0..lanes).map(|lane| ((lane * 7) % 11) as f32 - 3.0).collect();
        for max in [false, true] {
            let mut out = vec![0.0f32; lanes];
            let body = |a: &mut dyn Asm| {
                let (p, to) = (a.arg(0), a.arg(1));
                (0..a.registers() - 2).for_each(|_| _ = a.vec());
                let v = a.vec();
                a.load(v, Addr::new(p));
                if max {
                    a.reduce_max(v, v)
                } else {
                    a.reduce_add(v, v)
                }
                a.store(Addr::new(to), v);
            };
            call(&target, 2, &body, &[pointer(&data), pointer_mut(&mut out)]);
            let want = if max { data.iter().copied().fold(f32::MIN, f32::max) } else { data.iter().sum() };
            assert_eq!(out, vec![want; lanes], "{target:?} max {max}");
        }
    }
}

/// Two pages of which the second cannot be touched.
struct Guarded {
    map: *mut u8,
}

const PAGE: usize = 4096;

unsafe extern "C" {
    fn mmap(addr: *mut u8, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn mprotect(addr: *mut u8, len: usize, prot: i32) -> i32;
    fn munmap(addr: *mut u8, len: usize) -> i32;
}

impl Guarded {
    fn new() -> Self {
        // SAFETY: an anonymous private mapping of 32 pages, of which all but the first half become inaccessible.
        unsafe {
            let map = mmap(std::ptr::null_mut(), 32 * PAGE, 3, 0x22, -1, 0);
            assert!(map as isize != -1);
            assert_eq!(mprotect(map.add(16 * PAGE), 16 * PAGE, 0), 0);
            Self { map }
        }
    }

    /// The last `n` f32 before the inaccessible page.
    fn tail(&mut self, n: usize) -> &mut [f32] {
        // SAFETY: inside the accessible half, aligned, exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.map.add(16 * PAGE - 4 * n).cast(), n) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; nothing borrows it any more.
        unsafe { munmap(self.map, 32 * PAGE) };
    }
}

#[cfg(target_os = "linux")]
#[test]
fn partial_loads_and_stores_do_not_touch_what_follows() {
    for target in targets() {
        let lanes = target.lanes();
        for n in 0..=lanes {
            let (mut from, mut to) = (Guarded::new(), Guarded::new());
            for (index, value) in from.tail(n).iter_mut().enumerate() {
                *value = index as f32 + 1.0;
            }
            let mut whole = vec![f32::NAN; lanes];
            let body = |a: &mut dyn Asm| {
                let (p, q, w) = (a.arg(0), a.arg(1), a.arg(2));
                (0..n % 2 * (a.registers() - 2)).for_each(|_| _ = a.vec());
                let v = a.vec();
                splat(a, v, 9.0);
                a.load_first(v, Addr::new(p), n);
                a.store(Addr::new(w), v);
                a.store_first(Addr::new(q), v, n);
            };
            call(&target, 3, &body, &[pointer(from.tail(n)), pointer_mut(to.tail(n)), pointer_mut(&mut whole)]);
            let want: Vec<f32> = (0..lanes).map(|lane| if lane < n { lane as f32 + 1.0 } else { 0.0 }).collect();
            assert_eq!(whole, want, "{target:?} n {n}");
            assert_eq!(to.tail(n), &want[..n], "{target:?} n {n}");
        }
    }
}

#[test]
fn partial_stores_keep_what_follows_and_single_lanes_go_anywhere() {
    for target in targets() {
        let lanes = target.lanes();
        let data: Vec<f32> = (0..lanes).map(|lane| lane as f32).collect();
        for n in 0..lanes {
            let mut out = vec![-1.0f32; 2 * lanes];
            let body = |a: &mut dyn Asm| {
                let (p, q) = (a.arg(0), a.arg(1));
                (0..a.registers() - 2).for_each(|_| _ = a.vec());
                let v = a.vec();
                a.load(v, Addr::new(p));
                a.store_first(Addr::new(q), v, n);
                a.store_lane(Addr::at(q, 4 * lanes as i64), v, n);
            };
            call(&target, 2, &body, &[pointer(&data), pointer_mut(&mut out)]);
            let first: Vec<f32> = (0..lanes).map(|lane| if lane < n { lane as f32 } else { -1.0 }).collect();
            assert_eq!((&out[..lanes], out[lanes]), (&first[..], n as f32), "{target:?} n {n}");
            assert!(out[lanes + 1..].iter().all(|&value| value == -1.0));
        }
    }
}

/// More distinct lane counts than kept masks, in and after a loop that does not run.
#[test]
fn masks_survive_loops_that_do_not_run() {
    for target in targets() {
        let lanes = target.lanes();
        let data = vec![5.0f32; 16 * lanes];
        let mut out = vec![0.0f32; 16 * lanes];
        let body = |a: &mut dyn Asm| {
            let (p, q, n) = (a.arg(0), a.arg(1), a.arg(2));
            let v = a.vec();
            a.load(v, Addr::new(p));
            repeat(a, Count::Reg(n), |a| a.store_first(Addr::new(q), v, 3));
            repeat(a, Count::Times(0), |a| a.store_first(Addr::new(q), v, 3));
            for k in 1..a.lanes() {
                a.store_first(Addr::at(q, 4 * (k * lanes) as i64), v, k);
            }
        };
        call(&target, 3, &body, &[pointer(&data), pointer_mut(&mut out), 0]);
        for (index, value) in out.iter().enumerate() {
            let (row, lane) = (index / lanes, index % lanes);
            let want = if row < lanes && lane < row { 5.0 } else { 0.0 };
            assert_eq!(*value, want, "{target:?} row {row} lane {lane}");
        }
    }
}

#[test]
fn memory_operands_and_addresses() {
    for target in targets() {
        let lanes = target.lanes();
        let data: Vec<f32> = (0..8 * lanes).map(|index| index as f32).collect();
        let mut out = vec![0.0f32; 2 * lanes];
        let far = 1i64 << 33;
        let body = |a: &mut dyn Asm| {
            let (p, q, i) = (a.arg(0), a.arg(1), a.arg(2));
            let (acc, x) = (a.vec(), a.vec());
            splat(a, acc, 1.0);
            a.load(x, Addr::at(p, 4 * lanes as i64));
            a.fma_broadcast(acc, Addr::at(p, 8).index(i, 4), x);
            a.fma_mem(acc, x, Addr::new(p).index(i, 8));
            a.store(Addr::new(q), acc);
            let base = a.int();
            a.mov(base, p);
            a.add_imm(base, -far);
            a.prefetch(Addr::at(base, far));
            a.broadcast(x, Addr::at(base, far + 4));
            a.store(Addr::at(q, 4 * lanes as i64), x);
            a.free_int(base);
        };
        call(&target, 3, &body, &[pointer(&data), pointer_mut(&mut out), 3]);
        for lane in 0..lanes {
            let x = data[lanes + lane];
            assert_eq!(out[lane], 1.0 + data[5] * x + x * data[6 + lane], "{target:?}");
            assert_eq!(out[lanes + lane], 1.0, "{target:?}");
        }
    }
}

#[test]
fn integers_and_nested_loops() {
    for target in targets() {
        for (outer, inner) in [(0i64, 3i64), (1, 0), (3, 4)] {
            let mut out = [0i64; 3];
            let body = |a: &mut dyn Asm| {
                let (q, outer, inner) = (a.arg(0), a.arg(1), a.arg(2));
                let (sum, count, t) = (a.int(), a.int(), a.int());
                a.set(sum, 0);
                repeat(a, Count::Reg(outer), |a| {
                    a.mov(count, inner);
                    repeat(a, Count::Reg(count), |a| {
                        repeat(a, Count::Times(5), |a| repeat(a, Count::Times(1), |a| a.add_imm(sum, 2)));
                    });
                });
                a.store_int(Addr::new(q), sum);
                a.mul_imm(t, sum, 1 << 40);
                a.int_diff(t, t, sum);
                a.store_int(Addr::at(q, 8), t);
                a.load_int(t, Addr::new(q));
                a.int_sum(t, t, t);
                a.mul_imm(t, t, -3);
                a.store_int(Addr::at(q, 16), t);
                // All integer registers: the callee-saved ones must come back.
                let rest: Vec<P> = (0..9).map(|_| a.int()).collect();
                for (k, p) in rest.iter().enumerate() {
                    a.set(*p, k as i64);
                }
                for p in rest {
                    a.free_int(p);
                }
            };
            call(&target, 3, &body, &[out.as_mut_ptr() as i64, outer, inner]);
            let sum = outer * inner * 10;
            assert_eq!(out, [sum, (sum << 40) - sum, -6 * sum], "{target:?}");
        }
    }
}

#[test]
fn running_out_of_registers_is_an_error() {
    for target in targets() {
        let vectors = |a: &mut dyn Asm| {
            for _ in 0..=a.registers() {
                let v = a.vec();
                a.zero(v);
            }
        };
        let error = assemble(&target, 1, &vectors).unwrap_err();
        assert!(matches!(error, CodegenError::OutOfRegisters { kind: "vector", .. }), "{error}");
        let ints = |a: &mut dyn Asm| (0..20).for_each(|_| _ = a.int());
        let error = assemble(&target, 1, &ints).unwrap_err();
        assert!(matches!(error, CodegenError::OutOfRegisters { kind: "integer", .. }), "{error}");
    }
}

#[test]
fn misuse_is_an_error() {
    for target in targets() {
        let bodies: [(&str, Body); 6] = [
            ("argument", &|a| _ = a.arg(2)),
            ("freed twice", &|a| {
                let v = a.vec();
                a.free(v);
                a.free(v);
            }),
            ("open loop", &|a| a.loop_begin(Count::Times(2))),
            ("not open", &|a| a.loop_end()),
            ("more lanes", &|a| {
                let (v, p) = (a.vec(), a.arg(0));
                a.load_first(v, Addr::new(p), 99);
            }),
            ("scale", &|a| {
                let (v, p) = (a.vec(), a.arg(0));
                a.load(v, Addr::new(p).index(p, 3));
            }),
        ];
        for (expect, body) in bodies {
            let error = assemble(&target, 2, body).unwrap_err().to_string();
            assert!(error.contains(expect), "{target:?}: {error} should say {expect}");
        }
    }
}

#[test]
fn equal_tiles_are_shared_and_listings_name_instructions() {
    for target in targets() {
        let mut linker = Linker::new(&target);
        linker.keep_text(true);
        let body = |a: &mut dyn Asm| {
            let (v, p) = (a.vec(), a.arg(0));
            a.load(v, Addr::new(p));
            a.fma(v, v, v);
            a.store(Addr::new(p), v);
        };
        let first = linker.tile("one", 1, &body).unwrap();
        let second = linker.tile("two", 1, &body).unwrap();
        assert_eq!(first, second);
        let kernel = linker
            .kernel("k", |nest| {
                let p = nest.operand(0);
                nest.call(first, &[p]);
                Ok(())
            })
            .unwrap();
        let linked = linker.finish().unwrap();
        assert_eq!(linked.records().len(), 2);
        if cfg!(target_arch = "x86_64") {
            let listing = linked.disassemble(&linked.records()[0]).unwrap();
            assert!(listing.contains("vfmadd"), "{listing}");
            let listing = linked.disassemble(&linked.records()[1]).unwrap();
            assert!(listing.contains("; one"), "{listing}");
        }
        assert!(linked.records()[1].clif.as_ref().unwrap().contains("call fn0"));
        let mut data = vec![2.0f32; 16];
        let operands = [data.as_mut_ptr().cast::<u8>()];
        let args = incept_ir::abi::KernelArgs {
            operands: operands.as_ptr(),
            scratch: std::ptr::null_mut(),
            task_begin: 0,
            task_end: 1,
        };
        let kernel = linked.kernel(kernel).unwrap();
        // SAFETY: one operand of a whole vector; the module outlives the call.
        unsafe { kernel(&args) };
        assert_eq!(data[0], 6.0);
    }
}
