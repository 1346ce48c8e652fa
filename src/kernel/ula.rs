//! Move by the unadjusted Langevin algorithm, eq. (13), with the paper's backward kernel or the lower-variance one.

use super::langevin::{propose, reverse_lambda};
use super::{Arrival, BoundedStep, EvalCounts, Kernel, Move, Reversal};
use crate::density::{Differentiable, Energy, Evaluation, curvature};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::Kind;

/// At which parameters the backward density of [`Ula`] is taken. Both are exact; they differ in variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReverseAt {
    /// r = ULA at θ_{k+1}: eqs (15)-(16), one evaluation per move.
    #[default]
    New,
    /// r = f_k, ULA at θ_k: a higher ESS when θ moves, by one more evaluation, ∇U_k(y).
    Old,
}

/// y = x − h∇U_k(x) + √(2h) ξ, eq. (15). Stable for h < 2/L, L the largest curvature of U.
///
/// With α_k(x,y) = U_k(x) + ½(y−x)·∇U_k(x) + (h/4)|∇U_k(x)|², eq. (16): A += α_k(x,y) − α_{k+1}(y,x).
///
/// Exact where U is finite everywhere. Where ρ vanishes (U = +∞) the backward density still puts mass on a margin of width
/// √(2h) in which no walker can be, and that mass is missing from Ẑ: use [`Mala`](super::Mala) in
/// [`Reversed`](super::Reversed) for such energies.
///
/// ULA leaves no ρ invariant, so it cannot be wrapped as if it did:
///
/// ```compile_fail,E0277
/// let wrong = jarzynski::kernel::Reversed::new(jarzynski::Ula::new(0.1));
/// let x: &dyn jarzynski::Kernel<jarzynski::model::Gaussian> = &wrong;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ula {
    /// Step size h > 0, in units of x².
    pub h: f64,
    /// The backward density.
    #[serde(default)]
    pub reverse_at: ReverseAt,
}

impl Ula {
    /// Step h, the paper's backward kernel.
    pub fn new(h: f64) -> Self {
        Ula { h, reverse_at: ReverseAt::New }
    }

    /// With the backward density at these parameters.
    #[must_use]
    pub fn reverse_at(self, reverse_at: ReverseAt) -> Self {
        Ula { reverse_at, ..self }
    }
}

impl<E: Energy + Differentiable + ?Sized> Kernel<E> for Ula {
    fn bounded_step(&self) -> Option<BoundedStep<E>> {
        Some(BoundedStep { h: self.h, curvature: curvature::<E> })
    }

    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let (y, mut alpha) = propose(at, self.h, rng);
        let (mut at_y, mut cost) = (None, EvalCounts::default());
        if self.reverse_at == ReverseAt::Old {
            // U_{k+1}(y) enters with λ: here only the part of the reverse density beyond U_k(y).
            let there = u.evaluate(&y);
            let reverse = reverse_lambda(&at.x, &there, self.h) - there.u.to_kind(Kind::Double);
            alpha = &alpha - reverse;
            cost = EvalCounts::evaluation(there.len());
            at_y = Some(there);
        }
        Move { y, alpha, at_y, acceptance: None, cost, fault: None }
    }

    fn backward(&self, u: &E, at: &Evaluation, mv: Move, _rng: &mut Rng) -> Arrival {
        drop(mv.at_y);
        let point = u.evaluate(&mv.y);
        let lambda = match self.reverse_at {
            ReverseAt::New => reverse_lambda(&at.x, &point, self.h),
            ReverseAt::Old => point.u.to_kind(Kind::Double),
        };
        Arrival { lambda, acceptance: None, cost: EvalCounts::evaluation(point.len()), evaluation: point }
    }

    /// x is a ULA move from y under θ_{k+1} (`New`) or θ_k (`Old`).
    fn reverse(&self, from: &E, _to: &E, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let (x, lambda, mut cost) = match self.reverse_at {
            ReverseAt::New => {
                let (x, lambda) = propose(at, self.h, rng);
                (x, lambda, EvalCounts::default())
            }
            ReverseAt::Old => {
                let before = from.evaluate(&at.x);
                let (x, reverse) = propose(&before, self.h, rng);
                let lambda = reverse - before.u.to_kind(Kind::Double) + at.u.to_kind(Kind::Double);
                (x, lambda, EvalCounts::evaluation(at.len()))
            }
        };
        let there = from.evaluate(&x);
        cost += EvalCounts::evaluation(there.len());
        let alpha = reverse_lambda(&at.x, &there, self.h);
        Ok(Reversal::new(there, alpha - lambda, cost))
    }

    fn validate(&self) -> Result<()> {
        check_step("h", self.h)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Ula", self)
    }
}

pub(super) fn check_step(name: &'static str, h: f64) -> Result<()> {
    if h > 0.0 && h.is_finite() {
        return Ok(());
    }
    let what = if name == "friction" { "friction" } else { "step size" };
    Err(Error::param(name, h, format!("a positive, finite {what}")))
}
