//! Move by the Metropolis-adjusted Langevin algorithm, guide eq. (78) with its normaliser corrected to (4πh)^{−d/2}.

use super::langevin::{propose, reverse_lambda};
use super::{Invariant, reversed::Transition, ula::check_step};
use crate::density::{Differentiable, Energy, Evaluation};
use crate::error::Result;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};

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
        Transition::metropolis(at, there, &log_ratio, rng)
    }

    /// Detailed balance: the move itself.
    fn reverse_sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Result<Transition> {
        Ok(self.sweep(u, at, rng))
    }

    fn validate(&self) -> Result<()> {
        check_step("h", self.h)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Mala", self)
    }
}
