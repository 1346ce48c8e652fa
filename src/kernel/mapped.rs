//! Carry walkers by a path's map with its log-determinant, then let a kernel move them at the new time: a stochastic normalizing
//! flow.

use super::{Arrival, EvalCounts, Kernel, Move, Reversal};
use crate::density::{At, Evaluation, Maps};
use crate::error::{Result, no_grad};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::Kind;

/// y′ = T(x) along the path's [maps](Maps), then y′ → y by one step of `kernel` under U_{k+1}:
///
/// ```text
/// A += U_k(x) + log |det ∂T(x)| − U_{k+1}(y′) + (the second move's own increment, 0 for Reversed kernels)
/// ```
///
/// Each half is exact by itself, so that weighted averages and log Z are, for any maps and any kernel. With the layers of a learned
/// flow as maps this is the stochastic normalizing flow of Wu, Köhler, Noé (arXiv 2002.06707), and
/// [`FlowBridge`](crate::model::FlowBridge) is its path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mapped<K> {
    /// What moves the walkers after the map.
    pub kernel: K,
}

impl<K> Mapped<K> {
    /// The path's maps, each followed by a step of this kernel.
    pub fn new(kernel: K) -> Self {
        Mapped { kernel }
    }
}

impl<P: Maps + ?Sized, K> Kernel<At<'_, P>> for Mapped<K>
where
    K: for<'a> Kernel<At<'a, P>>,
{
    fn forward(&self, u: &At<P>, at: &Evaluation, _rng: &mut Rng) -> Move {
        let (y, log_det) = no_grad(|| u.path.carry(u.t, u.t + u.h, &at.x));
        Move::new(y, at.u.to_kind(Kind::Double) + log_det, EvalCounts::default())
    }

    fn backward(&self, u: &At<P>, _at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let carried = u.path.evaluate(u.t, &mv.y);
        let lambda = carried.u.to_kind(Kind::Double);
        let mut cost = EvalCounts::evaluation(carried.len());
        let moved = self.kernel.step(u, &carried, rng);
        cost += moved.cost;
        Arrival { lambda: lambda - moved.increment, evaluation: moved.evaluation, acceptance: moved.acceptance, cost }
    }

    /// First the reversal of the kernel's step at t_{k+1}, then the inverse map.
    fn reverse(&self, from: &At<P>, to: &At<P>, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let mut moved = self.kernel.reverse(to, to, at, rng)?;
        let carried = &moved.evaluation;
        let (x, log_det) = no_grad(|| to.path.carry(to.t, from.t, &carried.x));
        let point = from.path.evaluate(from.t, &x);
        moved.increment += point.u.to_kind(Kind::Double) - log_det - carried.u.to_kind(Kind::Double);
        moved.cost += EvalCounts::evaluation(point.len());
        Ok(Reversal { evaluation: point, ..moved })
    }

    fn validate(&self) -> Result<()> {
        Kernel::<At<P>>::validate(&self.kernel)
    }

    fn check(&self, u: &At<P>, at: &Evaluation) -> Result<()> {
        self.kernel.check(u, at)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Mapped", &serde_json::json!({ "kernel": Kernel::<At<P>>::identity(&self.kernel)? }))
    }
}
