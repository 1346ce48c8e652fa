//! Move by the Metropolis-adjusted Langevin algorithm, guide eq. (78) with its normaliser corrected to (4πh)^{−d/2}.

use super::langevin::{propose, reverse_lambda};
use super::{EvalCounts, Invariant, reversed::Transition, ula::check_step};
use crate::density::{Differentiable, Energy, Evaluation};
use crate::error::Result;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// A ULA proposal, accepted with probability min(1, ρ(y) q(y→x) / ρ(x) q(x→y)): leaves ρ invariant and is reversible.
///
/// Acceptance near .57 is best in high dimension; .8-.9 is a safe choice while θ moves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mala {
    /// Step size h > 0, in units of x².
    pub h: f64,
}

impl Mala {
    /// Step h.
    pub fn new(h: f64) -> Self {
        Mala { h }
    }
}

impl<E: Energy + Differentiable + ?Sized> Invariant<E> for Mala {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let (y, alpha) = propose(at, self.h, rng);
        let there = u.evaluate(&y);
        let log_ratio = alpha - reverse_lambda(&at.x, &there, self.h);
        let uniform = rng.uniform_tensor(&[there.len() as i64], Kind::Double, at.x.device());
        // A NaN ratio compares false: the proposal is rejected, the walker stays where its energy is finite.
        let accept: Tensor = uniform.log().lt_tensor(&log_ratio);
        let acceptance = log_ratio.exp().clamp_max(1.0).nan_to_num(0.0, None, None).mean(Kind::Double);
        let cost = EvalCounts::evaluation(there.len());
        Transition { evaluation: there.mix(&accept, at), acceptance, cost }
    }

    /// Detailed balance: the move itself.
    fn reverse_sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Result<Transition> {
        Ok(self.sweep(u, at, rng))
    }

    fn validate(&self) -> Result<()> {
        check_step(self.h)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Mala", self)
    }
}
