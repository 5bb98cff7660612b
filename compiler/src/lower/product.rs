//! Matrix products: weights that are constant become a gemm step, everything else a product of two operands and what
//! is left of the formula as elementwise steps.

use incept_ir::graph::Node;
use incept_ir::ids::{ConstId, ValueId};
use incept_ir::ops::{Activation, Gemm};
use incept_ir::plan::{Binary, StepKind, View};
use incept_ir::tensor::Tensor;

use super::draft::{Draft, Home, Step, Stored, refuse};
use super::layout;

/// The addend of a gemm.
enum Addend {
    /// There is none.
    None,
    /// One value a column, constant: the gemm step adds it.
    Columns(ConstId),
    /// Anything else, with beta applied: a step of its own adds it.
    Operand(Stored),
}

impl Draft<'_> {
    pub(super) fn gemm(&mut self, node: &Node, op: &Gemm, inputs: &[ValueId]) -> Step<()> {
        let (Some(value), Some(b)) = (node.outputs.first().copied(), inputs.get(1).copied()) else {
            return refuse("internal: no output or no second input");
        };
        let mut a = self.input(inputs, 0)?;
        if op.trans_a {
            a.view = layout::permute(&a.view, &[1, 0]);
        }
        let sizes = self.sizes(value)?;
        let constant_b = self.sources.constant(b).is_some();
        let addend = self.addend(node, op, inputs.get(2).copied(), &sizes, constant_b)?;
        let separate = matches!(addend, Addend::Operand(_));
        let output = self.destination(value, &layout::row_order(2))?;
        let target = if separate { self.temporary(node, &sizes) } else { output.clone() };
        let last = |draft: &mut Self, stored: Stored| draft.store(value, stored);
        if constant_b {
            let mut constants = vec![self.weights("the weights tensor", b)?];
            if let Addend::Columns(id) = addend {
                constants.push(id);
            }
            let activation = op.activation.filter(|_| !separate);
            let kind = StepKind::Gemm { alpha: op.alpha, beta: op.beta, trans_b: op.trans_b, activation };
            let writer = self.step(node, kind, &[&a], vec![target.clone()], constants);
            let product = Stored { view: target, writers: vec![writer] };
            let result = match addend {
                Addend::Operand(c) => self.add(node, product, c, op.activation, output)?,
                Addend::None | Addend::Columns(_) => product,
            };
            last(self, result);
            return Ok(());
        }
        let mut b = self.input(inputs, 1)?;
        if op.trans_b {
            b.view = layout::permute(&b.view, &[1, 0]);
        }
        let b = self.innermost(node, &b, 1)?;
        // What follows the product: the factor, the addend, the activation.
        let scaled = op.alpha.to_bits() != 1f32.to_bits();
        let plain = !scaled && !separate && op.activation.is_none();
        let target = if plain { output.clone() } else { self.temporary(node, &sizes) };
        let writer = self.step(node, StepKind::MatMul, &[&a, &b], vec![target.clone()], Vec::new());
        let mut result = Stored { view: target, writers: vec![writer] };
        if scaled {
            let to = if separate { self.temporary(node, &sizes) } else { output.clone() };
            let activation = op.activation.filter(|_| !separate);
            result = self.scale(node, result, op.alpha, activation, to)?;
        }
        if let Addend::Operand(c) = addend {
            result = self.add(node, result, c, op.activation, output)?;
        } else if let (false, Some(activation)) = (scaled, op.activation) {
            result = self.combine(node, StepKind::Activate(activation), &[result], output)?;
        }
        last(self, result);
        Ok(())
    }

    /// The third input of a gemm: in the form that the gemm step takes where that is possible.
    fn addend(
        &mut self,
        node: &Node,
        op: &Gemm,
        c: Option<ValueId>,
        sizes: &[usize],
        constant_b: bool,
    ) -> Step<Addend> {
        let Some(c) = c else { return Ok(Addend::None) };
        let columns = sizes.get(1).copied().unwrap_or(1);
        let constant = self.sources.constant(c).cloned();
        if let (true, Some(tensor)) = (constant_b, &constant) {
            let alike = |tensor: Tensor| tensor.or_columns(columns);
            if let Some(tensor) = alike(tensor.clone()) {
                if tensor.sizes() == [columns] && tensor.sizes() == self.sizes(c)? {
                    return Ok(Addend::Columns(self.weights("the addend", c)?));
                }
                let name = self.name_of(self.sources.of(c));
                return Ok(Addend::Columns(self.plan_constant(&name, &tensor)));
            }
        }
        let scaled = op.beta.to_bits() != 1f32.to_bits();
        let c = self.read(c)?;
        if !scaled {
            return Ok(Addend::Operand(c));
        }
        let own = c.view.sizes.clone();
        let to = self.fresh(&format!("{}.scaled", node.name), &own, &layout::order_of(&c.view), Home::Arena);
        Ok(Addend::Operand(self.scale(node, c, op.beta, None, to)?))
    }

    fn temporary(&mut self, node: &Node, sizes: &[usize]) -> View {
        self.fresh(&format!("{}.product", node.name), sizes, &layout::row_order(sizes.len()), Home::Arena)
    }

    fn add(
        &mut self,
        node: &Node,
        product: Stored,
        c: Stored,
        activation: Option<Activation>,
        output: View,
    ) -> Step<Stored> {
        self.combine(node, StepKind::Binary { function: Binary::Add, activation }, &[product, c], output)
    }

    fn scale(
        &mut self,
        node: &Node,
        value: Stored,
        factor: f32,
        activation: Option<Activation>,
        output: View,
    ) -> Step<Stored> {
        let tensor = Tensor::from_f32(&[], vec![factor]).or_else(|error| refuse(error.to_string()))?;
        let factor = self.constant_operand(&format!("{}.factor", node.name), tensor);
        self.combine(node, StepKind::Binary { function: Binary::Mul, activation }, &[value, factor], output)
    }

    pub(super) fn matmul(&mut self, node: &Node, inputs: &[ValueId]) -> Step<()> {
        let (Some(value), Some(second)) = (node.outputs.first().copied(), inputs.get(1).copied()) else {
            return refuse("internal: no output or no second input");
        };
        let mut a = self.input(inputs, 0)?;
        let a_is_vector = a.view.sizes.len() == 1;
        if a_is_vector {
            a.view = layout::with_rank(&a.view, 2);
        }
        let sizes = self.sizes(value)?;
        let output = self.destination(value, &layout::row_order(sizes.len()))?;
        if let Some([inner, columns]) = self.constant_matrix(second) {
            let rows: usize = sizes.iter().product::<usize>() / columns;
            if let Some(target) = layout::reshape(&output, &[rows, columns]) {
                let a = self.reshaped(node, &a, &[rows, inner])?;
                let weights = self.weights("the weights tensor", second)?;
                let kind = StepKind::Gemm { alpha: 1.0, beta: 1.0, trans_b: false, activation: None };
                let writer = self.step(node, kind, &[&a], vec![target], vec![weights]);
                self.store(value, Stored { view: output, writers: vec![writer] });
                return Ok(());
            }
        }
        let mut b = self.read(second)?;
        let b_is_vector = b.view.sizes.len() == 1;
        if b_is_vector {
            b.view.sizes.push(1);
            b.view.strides.push(1);
        }
        let last = b.view.sizes.len() - 1;
        let b = self.innermost(node, &b, last)?;
        // The output with the axes that vectors lack.
        let split = sizes.len() - usize::from(!a_is_vector) - usize::from(!b_is_vector);
        let mut full = sizes.clone();
        if a_is_vector {
            full.insert(split, 1);
        }
        if b_is_vector {
            full.push(1);
        }
        let Some(target) = layout::reshape(&output, &full) else {
            return refuse(format!("internal: {sizes:?} does not reshape to {full:?}"));
        };
        let mut operands = Vec::with_capacity(2);
        for mut operand in [a, b] {
            operand.view = layout::with_rank(&operand.view, full.len());
            let mut wanted = full.clone();
            wanted[split..].copy_from_slice(&operand.view.sizes[split..]);
            let Some(view) = layout::broadcast(&operand.view, &wanted) else {
                return refuse(format!("internal: {:?} does not broadcast to {wanted:?}", operand.view.sizes));
            };
            operands.push(Stored { view, ..operand });
        }
        let inputs: Vec<&Stored> = operands.iter().collect();
        let writer = self.step(node, StepKind::MatMul, &inputs, vec![target], Vec::new());
        self.store(value, Stored { view: output, writers: vec![writer] });
        Ok(())
    }

    /// The sizes of a constant matrix.
    fn constant_matrix(&self, value: ValueId) -> Option<[usize; 2]> {
        self.sources.constant(value)?.sizes().try_into().ok()
    }
}

/// A constant addend as one value a column.
trait OrColumns {
    /// `[columns]` values that broadcast as the tensor does; `None` where it differs from row to row.
    fn or_columns(self, columns: usize) -> Option<Tensor>;
}

impl OrColumns for Tensor {
    fn or_columns(self, columns: usize) -> Option<Tensor> {
        match *self.sizes() {
            [count] | [1, count] if count == columns => self.reshaped(&[columns]).ok(),
            [] | [1] | [1, 1] => {
                let value = self.as_f32().ok()?.first().copied()?;
                Tensor::from_f32(&[columns], vec![value; columns]).ok()
            }
            _ => None,
        }
    }
}
