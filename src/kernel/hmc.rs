//! Move by Hamiltonian Monte Carlo: leapfrog steps of a trajectory with fresh momenta, then a Metropolis test.

use super::ula::check_step;
use super::{EvalCounts, Invariant, reversed::Transition};
use crate::density::{Differentiable, Energy, Evaluation};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Momenta p ~ N(0, I), L leapfrog steps of size ε, and a Metropolis test of the end:
///
/// ```text
/// p ← p − ½ε∇U(x),   x ← x + εp,   p ← p − ½ε∇U(x)        accepted with probability min(1, e^{H(x, p) − H(x′, p′)}),
/// H(x, p) = U(x) + ½|p|²
/// ```
///
/// (Duane et al. 1987; Neal 2011). In detailed balance, because momenta are drawn anew at each sweep and forgotten after it: its own
/// time reversal. L evaluations of U and ∇U per sweep; with L = 1 it is [`Mala`](super::Mala) with h = ½ε². At a fixed
/// length εL the error of H, and the share that is rejected, fall as ε²; for one leapfrog step as ε³. Stable for ε < 2/√(largest
/// curvature of U). An acceptance near .65 is best in high dimension.
///
/// The mass matrix is that of the coordinates: inside [`Whitened`](super::Whitened), with x = m + Lz, it is (LLᵀ)⁻¹. An energy
/// without coordinates of its own gets them from [`Preconditioned`](crate::model::Preconditioned).
///
/// A trajectory whose length is a multiple of a period returns to where it began: for N(0, σ² I) at εL = πσ and 2πσ it mixes
/// nothing. Weights stay exact.
///
/// ```
/// use jarzynski::{Reversed, Transport, Geometric, kernel::Hmc, model::{Gaussian, targets::ManyWell}, Base};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Geometric { base: Gaussian::new(&[0.0; 2], &[2.0; 2])?, target: ManyWell::pairs(2)? };
/// let run = Transport::new(Reversed::new(Hmc::new(0.1, 5)), 20, 1_000, 0).quiet().run(&path)?;
/// let z = run.walkers.log_z();
/// assert!(((z.value - path.target.log_z()) / z.se).abs() < 5.0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hmc {
    /// The leapfrog step ε > 0, in units of x.
    pub step: f64,
    /// Leapfrog steps L of a trajectory, at least 1.
    pub leapfrogs: usize,
}

impl Hmc {
    /// Leapfrog step ε, L steps.
    pub fn new(step: f64, leapfrogs: usize) -> Self {
        Hmc { step, leapfrogs }
    }
}

/// ½|p|² of each row, `[n]`, f64.
pub(super) fn kinetic(p: &Tensor) -> Tensor {
    p.to_kind(Kind::Double).square().sum_dim_intlist(-1, false, Kind::Double) * 0.5
}

impl<E: Energy + Differentiable + ?Sized> Invariant<E> for Hmc {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let p = rng.normal(&at.x.size(), at.x.kind(), at.x.device());
        let before = at.u.to_kind(Kind::Double) + kinetic(&p);
        let mut p = p - at.grad() * (0.5 * self.step);
        let mut there = u.evaluate(&(&at.x + &p * self.step));
        for _ in 1..self.leapfrogs {
            p -= there.grad() * self.step;
            there = u.evaluate(&(&there.x + &p * self.step));
        }
        let p = p - there.grad() * (0.5 * self.step);
        let log_ratio = before - there.u.to_kind(Kind::Double) - kinetic(&p);
        let cost = EvalCounts::evaluation(self.leapfrogs * there.len());
        Transition { cost, ..Transition::metropolis(at, there, &log_ratio, rng) }
    }

    /// Detailed balance: the move itself.
    fn reverse_sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Result<Transition> {
        Ok(self.sweep(u, at, rng))
    }

    fn validate(&self) -> Result<()> {
        if self.leapfrogs == 0 {
            return Err(Error::param("leapfrogs", 0, "at least 1"));
        }
        check_step("step", self.step)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Hmc", self)
    }
}
