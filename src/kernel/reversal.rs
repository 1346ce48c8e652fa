//! Hold what one step of a reverse run gives: walkers drawn from the backward density, with the increment of the pair.

use super::EvalCounts;
use crate::density::Evaluation;
use crate::error::Error;
use tch::Tensor;

/// One step of a reverse run, from y at θ_{k+1} to x ~ r_{k+1}(y → ·) at θ_k: what [`Kernel::reverse`](super::Kernel::reverse)
/// returns.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub struct Reversal {
    /// Where the walkers are now, x, evaluated under θ_k.
    pub evaluation: Evaluation,
    /// α − λ of the pair (x, y), `[n]`, f64: what a forward step from x to y would have added to A.
    pub increment: Tensor,
    /// Mean acceptance probability, for kernels that reject.
    pub acceptance: Option<Tensor>,
    /// Passes spent.
    pub cost: EvalCounts,
    /// Why the step cannot be weighed, if it cannot: ends the run.
    pub fault: Option<String>,
}

impl Reversal {
    /// To `evaluation`, under θ_k, with the increment α − λ `[n]` (f64), after the evaluations that `cost` counts.
    pub fn new(evaluation: Evaluation, increment: Tensor, cost: EvalCounts) -> Self {
        Reversal { evaluation, increment, acceptance: None, cost, fault: None }
    }

    /// With the mean acceptance probability of a kernel that rejects, 0-dimensional.
    pub fn accepted(self, acceptance: Tensor) -> Self {
        Reversal { acceptance: Some(acceptance), ..self }
    }
}

/// What a kernel without a way back is refused with.
pub(super) fn irreversible(kernel: &str, method: &str) -> Error {
    let expected = format!(
        "a kernel that can draw from its backward density, which reverse runs move by: implement `{method}` for it"
    );
    Error::param("kernel", kernel, expected)
}
