//! A two-dimensional transform on vector registers: one program down the columns of a grid, another along its rows.
//!
//! The whole is one straight line of operations. Registers are given out as it is emitted: a value that finds no room
//! takes the register whose value is needed last (Belady's rule); inputs and constants are simply read again when they
//! are, results go to a spill area. So one piece of code serves 16 and 32 registers and all sizes.

#![allow(clippy::type_complexity, reason = "the closures are the two halves of one loop")]

use rustc_hash::FxHashMap;

use super::program::{Op, Program, Value};
use super::rational::Rational;
use crate::codegen::vector::{Addr, Asm, P, V, splat};

/// A two-dimensional transform.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Rows and columns of the input.
    inputs: [usize; 2],
    /// All operations; the values below `inputs[0] * inputs[1]` are the inputs, by rows.
    ops: Vec<Op>,
    /// After how many operations each row of results is complete, and the row.
    rows: Vec<(usize, Vec<Value>)>,
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
        let rows = (0..vertical.outputs.len()).map(|row| append(horizontal, &|column| columns[column][row])).collect();
        Self { inputs, ops, rows }
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

/// A value or a constant (by the bits of its absolute value) that may be in a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Item {
    Value(Value),
    Constant(u32),
}

/// A factor's absolute value as f32 bits, and whether it is negative.
fn factor(value: Rational) -> (u32, bool) {
    ((value.abs().to_f64() as f32).to_bits(), value.is_negative())
}

struct Registers<'a> {
    grid: &'a Grid,
    ends: &'a Ends<'a>,
    /// For each item, the times at which it is read, last first; those that have passed are taken off.
    uses: FxHashMap<Item, Vec<usize>>,
    /// What is in registers.
    held: Vec<(Item, V)>,
    /// Registers that hold nothing.
    spare: Vec<V>,
    /// Slots of the spill area that hold values.
    slots: FxHashMap<Value, usize>,
    free_slots: Vec<usize>,
    vector: i64,
}

impl<'a> Registers<'a> {
    fn new(grid: &'a Grid, a: &mut dyn Asm, ends: &'a Ends<'a>) -> Self {
        let mut uses: FxHashMap<Item, Vec<usize>> = FxHashMap::default();
        for (row, (end, values)) in grid.rows.iter().enumerate().rev() {
            let begin = if row == 0 { 0 } else { grid.rows[row - 1].0 };
            // A row is stored after its last operation and before the next row's first.
            for &value in values {
                uses.entry(Item::Value(value)).or_default().push(2 * end);
            }
            for at in (begin..*end).rev() {
                let op = &grid.ops[at];
                let constant = match *op {
                    Op::Scale(f, _) | Op::MulAdd(_, f, _) => Some(Item::Constant(factor(f).0)),
                    Op::Add(..) | Op::Sub(..) => None,
                };
                for item in op.reads().into_iter().flatten().map(Item::Value).chain(constant) {
                    uses.entry(item).or_default().push(2 * at + 1);
                }
            }
        }
        let spare = (0..ends.registers).map(|_| a.vec()).collect();
        let vector = 4 * a.lanes() as i64;
        let slots = FxHashMap::default();
        Self {
            grid,
            ends,
            uses,
            held: Vec::new(),
            spare,
            slots,
            free_slots: (0..grid.spills()).rev().collect(),
            vector,
        }
    }

    fn next_use(&self, item: Item) -> usize {
        self.uses.get(&item).and_then(|uses| uses.last()).copied().unwrap_or(usize::MAX)
    }

    /// A register for something new; `pinned` stays where it is.
    fn take(&mut self, a: &mut dyn Asm, pinned: &[Item]) -> V {
        if let Some(register) = self.spare.pop() {
            return register;
        }
        let last = self
            .held
            .iter()
            .enumerate()
            .filter(|(_, (item, _))| !pinned.contains(item))
            .max_by_key(|(_, (item, _))| self.next_use(*item))
            .map(|(index, _)| index);
        // With too few registers for one operation this asks for one more, which the assembler refuses.
        let Some(last) = last else { return a.vec() };
        let (item, register) = self.held.swap_remove(last);
        if let Item::Value(value) = item
            && value >= self.grid.inputs()
            && !self.slots.contains_key(&value)
            && let Some(slot) = self.free_slots.pop()
        {
            a.store(Addr::at(self.ends.spill, slot as i64 * self.vector), register);
            self.slots.insert(value, slot);
        }
        register
    }

    /// The register of an item, loaded if it is not in one.
    fn fetch(&mut self, a: &mut dyn Asm, item: Item, pinned: &[Item]) -> V {
        if let Some((_, register)) = self.held.iter().find(|(known, _)| *known == item) {
            return *register;
        }
        let register = self.take(a, pinned);
        match item {
            Item::Constant(bits) => splat(a, register, f32::from_bits(bits)),
            Item::Value(value) => match self.slots.get(&value) {
                Some(slot) => a.load(register, Addr::at(self.ends.spill, *slot as i64 * self.vector)),
                None => {
                    let columns = self.grid.inputs[1];
                    (self.ends.load)(a, register, [value / columns, value % columns]);
                }
            },
        }
        self.held.push((item, register));
        register
    }

    /// Marks a use as past; whoever is not read again gives its register and slot back.
    fn used(&mut self, items: &[Item]) {
        for item in items {
            let Some(uses) = self.uses.get_mut(item) else { continue };
            uses.pop();
            if !uses.is_empty() {
                continue;
            }
            if let Some(index) = self.held.iter().position(|(known, _)| known == item) {
                self.spare.push(self.held.swap_remove(index).1);
            }
            if let Item::Value(value) = item
                && let Some(slot) = self.slots.remove(value)
            {
                self.free_slots.push(slot);
            }
        }
    }

    fn op(&mut self, a: &mut dyn Asm, at: usize, op: &Op) {
        let result = Item::Value(self.grid.inputs() + at);
        let dst = match *op {
            Op::Add(x, y) | Op::Sub(x, y) => {
                let items = [Item::Value(x), Item::Value(y)];
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
            Op::Scale(by, x) => {
                let (bits, negative) = factor(by);
                let items = [Item::Value(x), Item::Constant(bits)];
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
                let (bits, negative) = factor(by);
                let items = [Item::Value(acc), Item::Value(x), Item::Constant(bits)];
                let [sum, x, by] = items.map(|item| self.fetch(a, item, &items));
                let dies = self.uses.get(&items[0]).is_none_or(|uses| uses.len() <= 1);
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
        };
        self.held.push((result, dst));
    }

    fn store(&mut self, a: &mut dyn Asm, row: usize, values: &[Value]) {
        let items: Vec<Item> = values.iter().map(|&value| Item::Value(value)).collect();
        let registers: Vec<V> = items.iter().map(|&item| self.fetch(a, item, &items)).collect();
        (self.ends.store)(a, row, &registers);
        self.used(&items);
    }

    fn free(self, a: &mut dyn Asm) {
        for register in self.held.into_iter().map(|(_, register)| register).chain(self.spare) {
            a.free(register);
        }
    }
}
