//! Pair a kernel that leaves ρ_k invariant with its exact time reversal: the AIS weight, free at fixed θ.

use super::{Arrival, EvalCounts, Kernel, Move, Step};
use crate::density::{Energy, Evaluation};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Kind, Tensor};

/// One move of a kernel that leaves ρ ∝ e^{−U} invariant.
#[derive(Debug)]
pub struct Transition {
    /// Where the walkers are, with U and ∇U under the same θ.
    pub evaluation: Evaluation,
    /// Mean acceptance probability: one number, left where the walkers are.
    pub acceptance: Tensor,
    /// Passes spent.
    pub cost: EvalCounts,
}

/// The promise that a move leaves e^{−U}/Z invariant (MALA, Gibbs, HMC; **not** ULA): only such kernels have a time
/// reversal whose density cancels in the weight, and only they can be wrapped in [`Reversed`].
pub trait Invariant<E: Energy + ?Sized>: std::fmt::Debug {
    /// One move at fixed θ.
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition;

    /// As [`Kernel::validate`].
    ///
    /// # Errors
    /// Parameters out of range; by default none.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// As [`Kernel::identity`].
    ///
    /// # Errors
    /// By default: a kernel that does not implement this has no identity.
    fn identity(&self) -> Result<Value> {
        Err(super::unidentified(&format!("{self:?}")))
    }
}

/// Forward: `sweeps` moves of an invariant kernel at θ_k. Backward: their exact reversal at θ_k. The densities cancel and
/// A += U_k(y) − U_{k+1}(y), the weight of annealed importance sampling, which is 0 at fixed θ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reversed<K> {
    /// The invariant kernel.
    pub kernel: K,
    /// Moves of it per step, at least 1.
    pub sweeps: usize,
}

impl<K> Reversed<K> {
    /// One move per step.
    pub fn new(kernel: K) -> Self {
        Reversed { kernel, sweeps: 1 }
    }

    /// `sweeps` moves per step.
    pub fn sweeps(kernel: K, sweeps: usize) -> Self {
        Reversed { kernel, sweeps }
    }

    fn moves<E: Energy + ?Sized>(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition
    where
        K: Invariant<E>,
    {
        let mut all = self.kernel.sweep(u, at, rng);
        for _ in 1..self.sweeps {
            let next = self.kernel.sweep(u, &all.evaluation, rng);
            all.cost += next.cost;
            // a new tensor: the first may belong to the kernel
            all.acceptance = &all.acceptance + next.acceptance;
            all.evaluation = next.evaluation;
        }
        if self.sweeps > 1 {
            all.acceptance = &all.acceptance / self.sweeps as f64;
        }
        all
    }
}

impl<E: Energy + ?Sized, K: Invariant<E>> Kernel<E> for Reversed<K> {
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let moved = self.moves(u, at, rng);
        Move {
            y: moved.evaluation.x.shallow_clone(),
            alpha: moved.evaluation.u.to_kind(Kind::Double),
            at_y: Some(moved.evaluation),
            acceptance: Some(moved.acceptance),
            cost: moved.cost,
            fault: None,
        }
    }

    fn backward(&self, u: &E, _at: &Evaluation, mv: Move, _rng: &mut Rng) -> Arrival {
        let point = u.evaluate(&mv.y);
        Arrival {
            lambda: point.u.to_kind(Kind::Double),
            acceptance: None,
            cost: EvalCounts::evaluation(point.len()),
            evaluation: point,
        }
    }

    fn step(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Step {
        let moved = self.moves(u, at, rng);
        let increment = moved.evaluation.u.zeros_like().to_kind(Kind::Double);
        Step { evaluation: moved.evaluation, increment, acceptance: Some(moved.acceptance), cost: moved.cost }
    }

    fn validate(&self) -> Result<()> {
        if self.sweeps == 0 {
            return Err(Error::param("sweeps", 0, "at least 1"));
        }
        self.kernel.validate()
    }

    fn identity(&self) -> Result<Value> {
        super::identify("Reversed", &serde_json::json!({ "kernel": self.kernel.identity()?, "sweeps": self.sweeps }))
    }
}
