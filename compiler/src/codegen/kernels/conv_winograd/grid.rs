//! A two-dimensional transform on vector registers: one program down the columns of a grid, another along its rows.
//!
//! The whole is one straight line of operations. Registers are given out as it is emitted: a value that finds no room
//! takes the register whose value is needed last (Belady's rule); inputs and constants are simply read again when they
//! are, results go to a spill area. So one piece of code serves 16 and 32 registers and all sizes.

#![allow(clippy::type_complexity, reason = "the closures are the two halves of one loop")]

use super::program::{Op, Program, Value};
use super::rational::Rational;
use crate::codegen::vector::{Addr, Asm, P, V, splat};
use incept_ir::tensor::narrow;

/// A two-dimensional transform.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Rows and columns of the input.
    inputs: [usize; 2],
    /// All operations; the values below `inputs[0] * inputs[1]` are the inputs, by rows.
    ops: Vec<Op>,
    /// After how many operations each row of results is complete, and the row.
    rows: Vec<(usize, Vec<Value>)>,
    /// When what is read.
    uses: Uses,
}

/// What a grid reads and writes, as code.
pub struct Ends<'a> {
    /// Loads the input in row `.0`, column `.1`; may be called more than once for one input.
    pub load: &'a dyn Fn(&mut dyn Asm, V, [usize; 2]),
    /// Stores a row of results, which it may change.
    pub store: &'a dyn Fn(&mut dyn Asm, usize, &[V]),
    /// Where results may be spilled: room for [`Grid::spills`] vectors.
    pub spill: P,
    /// How many vector registers may be used.
    pub registers: usize,
}

impl Grid {
    /// `vertical * x * horizontalᵀ`.
    #[must_use]
    pub fn new(vertical: &Program, horizontal: &Program) -> Self {
        let inputs = [vertical.inputs, horizontal.inputs];
        let count = inputs[0] * inputs[1];
        let mut ops: Vec<Op> = Vec::new();
        let mut append = |program: &Program, given: &dyn Fn(usize) -> Value| -> (usize, Vec<Value>) {
            let base = count + ops.len();
            let name = |value: Value| if value < program.inputs { given(value) } else { base + value - program.inputs };
            ops.extend(program.ops.iter().map(|op| op.renamed(name)));
            (ops.len(), program.outputs.iter().map(|&value| name(value)).collect())
        };
        let columns: Vec<Vec<Value>> =
            (0..inputs[1]).map(|column| append(vertical, &|row| row * inputs[1] + column).1).collect();
        let rows: Vec<_> =
            (0..vertical.outputs.len()).map(|row| append(horizontal, &|column| columns[column][row])).collect();
        let uses = Uses::new(count, &ops, &rows);
        Self { inputs, ops, rows, uses }
    }

    /// The operations in order; the values below [`Grid::inputs`] are the inputs, by rows.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// How many inputs.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs[0] * self.inputs[1]
    }

    /// The results, by rows.
    pub fn results(&self) -> impl Iterator<Item = Value> {
        self.rows.iter().flat_map(|(_, values)| values.iter().copied())
    }

    /// Operations of one vector.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether the grid only hands its inputs on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Vectors that the spill area has room for: every result could be there at once.
    #[must_use]
    pub fn spills(&self) -> usize {
        self.ops.len()
    }

    /// Emits the transform for one vector of channels. All registers that it takes are free again afterwards.
    pub fn emit(&self, a: &mut dyn Asm, ends: &Ends<'_>) {
        let mut registers = Registers::new(self, a, ends);
        let mut done = 0;
        for (row, (end, values)) in self.rows.iter().enumerate() {
            for (at, op) in self.ops.iter().enumerate().take(*end).skip(done) {
                registers.op(a, at, op);
            }
            done = *end;
            registers.store(a, row, values);
        }
        registers.free(a);
    }
}

/// A value, or behind the last value a constant: the position in [`Uses::first`].
type Item = usize;

/// Where there is nothing.
const NONE: u32 = u32::MAX;

/// The times at which values and constants are read.
#[derive(Debug, Clone)]
struct Uses {
    /// Of each item, the first of its reads.
    first: Vec<u32>,
    /// When a read is, and the next one of the same item.
    reads: Vec<(u32, u32)>,
    /// How many values there are. The constants stand behind them.
    values: usize,
    /// The absolute values of factors.
    constants: Vec<Rational>,
}

impl Uses {
    fn new(inputs: usize, ops: &[Op], rows: &[(usize, Vec<Value>)]) -> Self {
        let mut constants: Vec<Rational> = Vec::new();
        for op in ops {
            if let Op::Scale(by, _) | Op::MulAdd(_, by, _) = op
                && !constants.contains(&by.abs())
            {
                constants.push(by.abs());
            }
        }
        let values = inputs + ops.len();
        let mut uses = Self { first: vec![NONE; values + constants.len()], reads: Vec::new(), values, constants };
        for (row, (end, results)) in rows.iter().enumerate().rev() {
            let begin = if row == 0 { 0 } else { rows[row - 1].0 };
            // A row is stored after its last operation and before the next row's first.
            results.iter().for_each(|&value| uses.read_before(value, 2 * end));
            for at in (begin..*end).rev() {
                let constant = match ops[at] {
                    Op::Scale(by, _) | Op::MulAdd(_, by, _) => Some(uses.constant(by)),
                    Op::Add(..) | Op::Sub(..) => None,
                };
                for item in ops[at].reads().into_iter().flatten().chain(constant) {
                    uses.read_before(item, 2 * at + 1);
                }
            }
        }
        uses
    }

    /// A factor's absolute value.
    fn constant(&self, factor: Rational) -> Item {
        self.values + self.constants.iter().take_while(|known| **known != factor.abs()).count()
    }

    /// Another read of an item, before those that are known.
    fn read_before(&mut self, item: Item, time: usize) {
        let next = std::mem::replace(&mut self.first[item], self.reads.len() as u32);
        self.reads.push((time as u32, next));
    }
}

/// Something that may be in a register and in the spill area.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The next of its reads; [`NONE`] once they are past.
    next: u32,
    register: Option<V>,
    slot: Option<u32>,
}

struct Registers<'a> {
    grid: &'a Grid,
    ends: &'a Ends<'a>,
    /// Of each item.
    places: Vec<Place>,
    /// What is in registers.
    held: Vec<Item>,
    /// Registers that hold nothing.
    spare: Vec<V>,
    /// Slots of the spill area that hold nothing: these, and all from `slots` on.
    free_slots: Vec<u32>,
    slots: u32,
    vector: i64,
}

impl<'a> Registers<'a> {
    fn new(grid: &'a Grid, a: &mut dyn Asm, ends: &'a Ends<'a>) -> Self {
        let place = |&next: &u32| Place { next, register: None, slot: None };
        let places = grid.uses.first.iter().map(place).collect();
        let spare = (0..ends.registers).map(|_| a.vec()).collect();
        let vector = 4 * a.lanes() as i64;
        Self { grid, ends, places, held: Vec::new(), spare, free_slots: Vec::new(), slots: 0, vector }
    }

    /// When an item is read next; items that are not, last.
    fn next_use(&self, item: Item) -> u32 {
        self.grid.uses.reads.get(self.places[item].next as usize).map_or(u32::MAX, |(time, _)| *time)
    }

    fn slot(&self, slot: u32) -> Addr {
        Addr::at(self.ends.spill, i64::from(slot) * self.vector)
    }

    /// A register for something new; `pinned` stays where it is.
    fn take(&mut self, a: &mut dyn Asm, pinned: &[Item]) -> V {
        if let Some(register) = self.spare.pop() {
            return register;
        }
        let movable = self.held.iter().enumerate().filter(|(_, item)| !pinned.contains(item));
        let last = movable.max_by_key(|(_, item)| self.next_use(**item)).map(|(index, _)| index);
        // With too few registers for one operation this asks for one more, which the assembler refuses.
        let Some(last) = last else { return a.vec() };
        let item = self.held.swap_remove(last);
        let Some(register) = self.places[item].register.take() else { return a.vec() };
        let result = (self.grid.inputs()..self.grid.uses.values).contains(&item);
        if result && self.places[item].slot.is_none() {
            let slot = self.free_slots.pop().unwrap_or_else(|| {
                self.slots += 1;
                self.slots - 1
            });
            a.store(self.slot(slot), register);
            self.places[item].slot = Some(slot);
        }
        register
    }

    fn hold(&mut self, item: Item, register: V) {
        self.places[item].register = Some(register);
        self.held.push(item);
    }

    /// The register of an item, loaded if it is not in one.
    fn fetch(&mut self, a: &mut dyn Asm, item: Item, pinned: &[Item]) -> V {
        if let Some(register) = self.places[item].register {
            return register;
        }
        let register = self.take(a, pinned);
        let uses = &self.grid.uses;
        match (item.checked_sub(uses.values), self.places[item].slot) {
            (Some(constant), _) => splat(a, register, narrow(uses.constants[constant].to_f64())),
            (None, Some(slot)) => a.load(register, self.slot(slot)),
            (None, None) => {
                let columns = self.grid.inputs[1];
                (self.ends.load)(a, register, [item / columns, item % columns]);
            }
        }
        self.hold(item, register);
        register
    }

    /// Marks a use as past; whoever is not read again gives its register and slot back.
    fn used(&mut self, items: &[Item]) {
        for &item in items {
            let place = &mut self.places[item];
            let Some((_, next)) = self.grid.uses.reads.get(place.next as usize) else { continue };
            place.next = *next;
            if place.next != NONE {
                continue;
            }
            self.free_slots.extend(place.slot.take());
            if let Some(register) = place.register.take() {
                if let Some(held) = self.held.iter().position(|held| *held == item) {
                    self.held.swap_remove(held);
                }
                self.spare.push(register);
            }
        }
    }

    fn op(&mut self, a: &mut dyn Asm, at: usize, op: &Op) {
        let dst = match *op {
            Op::Scale(by, x) => {
                let (items, negative) = ([x, self.grid.uses.constant(by)], by.is_negative());
                let [x, by] = items.map(|item| self.fetch(a, item, &items));
                let dst = self.take(a, &items);
                if negative {
                    a.zero(dst);
                    a.fnma(dst, x, by);
                } else {
                    a.mul(dst, x, by);
                }
                self.used(&items);
                dst
            }
            Op::MulAdd(acc, by, x) => {
                let (items, negative) = ([acc, x, self.grid.uses.constant(by)], by.is_negative());
                let [sum, x, by] = items.map(|item| self.fetch(a, item, &items));
                let dies = self.grid.uses.reads.get(self.places[acc].next as usize).is_none_or(|read| read.1 == NONE);
                let dst = if dies {
                    sum
                } else {
                    let dst = self.take(a, &items);
                    a.copy(dst, sum);
                    dst
                };
                if negative {
                    a.fnma(dst, x, by)
                } else {
                    a.fma(dst, x, by)
                }
                self.used(&items);
                // The sum's register came back as a spare one, but it is the result's now.
                self.spare.retain(|spare| *spare != dst);
                dst
            }
            Op::Add(x, y) | Op::Sub(x, y) => {
                let items = [x, y];
                let [x, y] = items.map(|item| self.fetch(a, item, &items));
                self.used(&items);
                let dst = self.take(a, &[]);
                if matches!(op, Op::Add(..)) {
                    a.add(dst, x, y)
                } else {
                    a.sub(dst, x, y)
                }
                dst
            }
        };
        self.hold(self.grid.inputs() + at, dst);
    }

    fn store(&mut self, a: &mut dyn Asm, row: usize, values: &[Value]) {
        let registers: Vec<V> = values.iter().map(|&value| self.fetch(a, value, values)).collect();
        (self.ends.store)(a, row, &registers);
        self.used(values);
    }

    fn free(self, a: &mut dyn Asm) {
        for register in self.places.iter().filter_map(|place| place.register).chain(self.spare) {
            a.free(register);
        }
    }
}
