//! Pair a kernel that leaves ρ_k invariant with its exact time reversal: the AIS weight, free at fixed θ.

use super::{Arrival, EvalCounts, Kernel, Move, Reversal, Step, reversal};
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

    /// One move of the time reversal of [`sweep`](Invariant::sweep) at the same θ: r(y → x) = ρ(x) f(x → y)/ρ(y). A kernel in
    /// detailed balance, such as MALA, is its own and returns `sweep`. Reverse runs move by it.
    ///
    /// # Errors
    /// By default: a kernel that does not say what its reversal is is named and refused.
    fn reverse_sweep(&self, _u: &E, _at: &Evaluation, _rng: &mut Rng) -> Result<Transition> {
        Err(reversal::irreversible(&format!("{self:?}"), "Invariant::reverse_sweep"))
    }

    /// As [`Kernel::validate`].
    ///
    /// # Errors
    /// Parameters out of range; by default none.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// As [`Kernel::check`].
    ///
    /// # Errors
    /// What is missing or of the wrong shape; by default none.
    fn check(&self, _u: &E, _at: &Evaluation) -> Result<()> {
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
        Transition::of_sweeps(&self.kernel, self.sweeps, u, at, rng)
    }
}

impl Transition {
    /// `sweeps` ≥ 1 moves of a kernel, one after the other, with their mean acceptance.
    pub(super) fn of_sweeps<E: Energy + ?Sized>(
        kernel: &impl Invariant<E>,
        sweeps: usize,
        u: &E,
        at: &Evaluation,
        rng: &mut Rng,
    ) -> Self {
        let mut all = kernel.sweep(u, at, rng);
        for _ in 1..sweeps {
            let next = kernel.sweep(u, &all.evaluation, rng);
            all.then(next);
        }
        all.mean_of(sweeps)
    }

    /// To `there` with probability min(1, e^`log_ratio`), `[n]` in f64.
    pub(super) fn metropolis(at: &Evaluation, there: Evaluation, log_ratio: &Tensor, rng: &mut Rng) -> Self {
        let uniform = rng.uniform_tensor(&[there.len() as i64], Kind::Double, at.x.device());
        // A NaN ratio compares false: the proposal is rejected, the walker stays where its energy is finite.
        let accept: Tensor = uniform.log().lt_tensor(log_ratio);
        let acceptance = log_ratio.exp().clamp_max(1.0).nan_to_num(0.0, None, None).mean(Kind::Double);
        let cost = EvalCounts::evaluation(there.len());
        Transition { evaluation: there.mix(&accept, at), acceptance, cost }
    }

    /// Goes on with another move; the acceptances are added up.
    fn then(&mut self, next: Transition) {
        self.cost += next.cost;
        // a new tensor: the first may belong to the kernel
        self.acceptance = &self.acceptance + next.acceptance;
        self.evaluation = next.evaluation;
    }

    /// Then another move, of another kernel; the acceptance stays that of the first.
    pub(super) fn followed_by(mut self, next: Transition) -> Self {
        self.cost += next.cost;
        Transition { evaluation: next.evaluation, ..self }
    }

    /// One move for each of `settings`, one after the other, with their mean acceptance; none leaves walkers where they are.
    pub(super) fn in_turn<S, E>(
        settings: impl ExactSizeIterator<Item = S>,
        at: &Evaluation,
        mut sweep: impl FnMut(S, &Evaluation) -> std::result::Result<Transition, E>,
    ) -> std::result::Result<Self, E> {
        let moves = settings.len();
        let mut all: Option<Transition> = None;
        for setting in settings {
            match &mut all {
                None => all = Some(sweep(setting, at)?),
                Some(all) => {
                    let next = sweep(setting, &all.evaluation)?;
                    all.then(next);
                }
            }
        }
        Ok(all.map_or_else(|| Transition::stay(at), |all| all.mean_of(moves)))
    }

    fn stay(at: &Evaluation) -> Self {
        let rows = Tensor::arange(at.len() as i64, (Kind::Int64, at.x.device()));
        let acceptance = Tensor::ones([], (Kind::Double, at.x.device()));
        Transition { evaluation: at.select(&rows), acceptance, cost: EvalCounts::default() }
    }

    /// With the mean acceptance of so many moves.
    fn mean_of(mut self, moves: usize) -> Self {
        if moves > 1 {
            self.acceptance = &self.acceptance / moves as f64;
        }
        self
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

    /// The time reversal of all moves at θ_k, from y; α − λ = U_k(y) − U_{k+1}(y).
    fn reverse(&self, from: &E, _to: &E, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let start = from.evaluate(&at.x);
        let increment = start.u.to_kind(Kind::Double) - at.u.to_kind(Kind::Double);
        let mut all = self.kernel.reverse_sweep(from, &start, rng)?;
        for _ in 1..self.sweeps {
            let next = self.kernel.reverse_sweep(from, &all.evaluation, rng)?;
            all.then(next);
        }
        let mut all = all.mean_of(self.sweeps);
        all.cost += EvalCounts::evaluation(at.len());
        Ok(Reversal::new(all.evaluation, increment, all.cost).accepted(all.acceptance))
    }

    fn validate(&self) -> Result<()> {
        if self.sweeps == 0 {
            return Err(Error::param("sweeps", 0, "at least 1"));
        }
        self.kernel.validate()
    }

    fn check(&self, u: &E, at: &Evaluation) -> Result<()> {
        self.kernel.check(u, at)
    }

    fn identity(&self) -> Result<Value> {
        super::identify("Reversed", &serde_json::json!({ "kernel": self.kernel.identity()?, "sweeps": self.sweeps }))
    }
}
