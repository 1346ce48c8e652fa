//! Say what one kind of visible units is: what an RBM's formulas need of it beyond W, b and c.

use super::{Exact, Units};
use crate::density::first_row;
use crate::error::{Error, Result};
use crate::numeric::Rng;
use std::fmt::Debug;
use tch::{Kind, Tensor};

/// A kind of visible units, with energy U(v, h) = E(v) − c·h − u(v)ᵀWh: how they are drawn, weighed, summed and checked.
///
/// A kind is one file. [`Units`] does the rest for it: both conditionals, the backward densities of Gibbs, exact sums, AIS,
/// tempering, training. Rows v `[n, d_v]`, h `[n, d_h]`; energies and log-probabilities `[n]` in f64.
pub trait Visible: Debug + Send {
    /// Its name in files and messages.
    fn name(&self) -> &'static str;

    /// States of one unit; `None` for continuous ones.
    fn levels(&self) -> Option<i64>;

    /// Whether its states are 0 and 1.
    fn is_binary(&self) -> bool {
        false
    }

    /// Columns of a row that one unit takes.
    fn columns(&self) -> i64 {
        1
    }

    /// The one parameter of its own, `[d_v]`, with its name in files.
    fn parameter(&self) -> Option<(&'static str, &Tensor)> {
        None
    }

    /// The same kind with another tensor for its own parameter, where it has one.
    fn with_parameter(&self, parameter: Option<Tensor>) -> Box<dyn Visible>;

    /// u(v), which W couples to h: v itself unless the kind scales it.
    fn coupled(&self, v: &Tensor) -> Tensor {
        v.shallow_clone()
    }

    /// g of h: b + Wh unless the kind has another.
    fn input(&self, of: &Units, h: &Tensor) -> Tensor {
        of.b.addmm(h, &of.w.tr())
    }

    /// v ~ p(v | h).
    fn draw(&self, of: &Units, h: &Tensor, rng: &mut Rng) -> Tensor;

    /// E(v), the energy of the visible units alone: −b·v unless the kind has another.
    fn energy(&self, v: &Tensor, b: &Tensor) -> Tensor {
        -v.mv(b).to_kind(Kind::Double)
    }

    /// log p(v | h), with g of h.
    fn log_density(&self, v: &Tensor, g: &Tensor) -> Tensor;

    /// log Σ_v e^{−E(v) + u(v)ᵀWh}, an integral where v is continuous.
    fn log_sum(&self, of: &Units, h: &Tensor) -> Tensor;

    /// E(v | h), with g of h.
    fn mean(&self, g: &Tensor) -> Tensor;

    /// E(v² | h) of each column, with `mean` its E(v | h).
    fn mean_square(&self, mean: &Tensor) -> Tensor;

    /// b at inverse temperature β.
    fn tempered_bias(&self, b: &Tensor, beta: f64) -> Tensor {
        b * beta
    }

    /// States from the numbers of each unit's state, `[m, units]` → `[m, d_v]`; called for discrete kinds only.
    fn encode(&self, numbers: &Tensor) -> Tensor {
        numbers.shallow_clone()
    }

    /// Rows v with one unit per row, `unit` `[n, 1]`, in each of its other states; none for continuous kinds.
    fn alternatives(&self, _v: &Tensor, _unit: &Tensor) -> Vec<Tensor> {
        Vec::new()
    }

    /// Whether rows v are states.
    ///
    /// # Errors
    /// The first value that is none.
    fn check(&self, v: &Tensor) -> Result<()>;

    /// Σ_n w_n ∂E/∂b and the gradient of its own parameter, of both terms of U: `weight` w `[n]`, `coupled` Σ w u `[d_v]`,
    /// `product` Σ w u h̄ᵀ `[d_v, d_h]`.
    fn gradients(
        &self,
        _of: &Units,
        _v: &Tensor,
        _weight: &Tensor,
        coupled: &Tensor,
        _product: &Tensor,
    ) -> (Tensor, Option<Tensor>) {
        (-coupled, None)
    }

    /// What b is in multiples of, where u is v in other units: b = scale · β with ∂U/∂β = −u + const. `None`: 1.
    fn bias_scale(&self) -> Option<Tensor> {
        None
    }

    /// ∂F/∂(its own parameter) of each row, `[n, d_v]`, with p the means of h given v (or h itself): for natural gradients, which
    /// are refused for a kind that has a parameter and does not give this.
    fn parameter_gradient(&self, _of: &Units, _v: &Tensor, _p: &Tensor) -> Option<Tensor> {
        None
    }

    /// What [`gradients`](Visible::gradients) is under the model, from its exact expectations.
    fn expected_gradients(&self, _of: &Units, exact: &Exact) -> (Tensor, Option<Tensor>) {
        (-&exact.v, None)
    }
}

/// Refuses the first number of `v` that `wrong` marks.
pub(super) fn refuse(v: &Tensor, wrong: impl Fn(&Tensor) -> Tensor, expected: &str) -> Result<()> {
    let Some(row) = first_row(v, &wrong) else { return Ok(()) };
    let column = wrong(&v.narrow(0, row, 1)).nonzero().int64_value(&[0, 1]);
    let value = format!("{} at row {row}, column {column}", v.double_value(&[row, column]));
    Err(Error::param("data", value, expected))
}

/// Rows v with the column `unit` `[n, 1]` of each replaced by `f` of it.
pub(super) fn replaced(v: &Tensor, unit: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
    v.scatter(1, unit, &f(&v.gather(1, unit, false)))
}
