//! Move by underdamped Langevin dynamics, integrated as OBABO and weighed exactly instead of corrected by rejections.

use super::hmc::kinetic;
use super::ula::check_step;
use super::{Arrival, EvalCounts, Kernel, Move, Reversal};
use crate::density::{Differentiable, Energy, Evaluation, Momenta, halves};
use crate::error::Result;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// One step of OBABO (Bussi & Parrinello 2007) with step ε and friction γ, of walkers [x, p] along
/// [`WithMomenta`](crate::density::WithMomenta). With c = e^{−γε/2}:
///
/// ```text
/// O  p₁ = c p + √(1 − c²) ξ
/// B  p₂ = p₁ − ½ε∇U_k(x)
/// A  y  = x + εp₂
/// B  p₃ = p₂ − ½ε∇U_{k+1}(y)
/// O  p′ = c p₃ + √(1 − c²) ξ′
///
/// A += U_k(x) + ½|p₁|² − U_{k+1}(y) − ½|p₃|²
/// ```
///
/// The O steps are in detailed balance with N(0, I) and cost nothing; BAB preserves volume, and its inverse from p₃ to p₁ is the
/// backward move: the weight is minus the work of BAB, at fixed θ its shadow work (Sivak, Chodera, Crooks 2014), exact for every ε.
/// At fixed θ and a fixed time the shadow work has standard deviation O(ε²), so that the weights' variance is O(ε⁴), against O(h)
/// for [`Ula`](super::Ula). One evaluation of U and ∇U per step; stable for ε < 2/√(largest curvature of U).
///
/// Inside [`Whitened`](super::Whitened) the mass matrix is that of the coordinates, as for [`Hmc`](super::Hmc).
///
/// ```
/// use jarzynski::{Base, Geometric, Transport, density::WithMomenta, kernel::Underdamped};
/// use jarzynski::model::{Gaussian, targets::ManyWell};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Geometric { base: Gaussian::new(&[0.0; 2], &[2.0; 2])?, target: ManyWell::pairs(2)? };
/// let path = WithMomenta::new(path);
/// let run = Transport::new(Underdamped::new(0.1, 1.0), 100, 1_000, 0).quiet().run(&path)?;
/// let z = run.walkers.log_z();                                   // of U alone: the density of p is normalised
/// assert!(((z.value - path.path().target.log_z()) / z.se).abs() < 5.0);
/// let x = path.positions(run.walkers.x());
/// assert_eq!(x.size(), [1_000, 2]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Underdamped {
    /// The step ε > 0, in units of x: momenta have variance 1.
    pub step: f64,
    /// The friction γ > 0, per unit of time; momenta are forgotten in a time 1/γ.
    pub friction: f64,
}

impl Underdamped {
    /// Step ε, friction γ.
    pub fn new(step: f64, friction: f64) -> Self {
        Underdamped { step, friction }
    }

    /// c p + √(1 − c²) ξ.
    fn refresh(&self, p: &Tensor, rng: &mut Rng) -> Tensor {
        // 1 − c² by expm1: for little friction c is near 1
        let (keep, noise) = ((-0.5 * self.friction * self.step).exp(), (-(-self.friction * self.step).exp_m1()).sqrt());
        p * keep + rng.normal(&p.size(), p.kind(), p.device()) * noise
    }

    /// ½ε∇U.
    fn kick(&self, at: &Evaluation) -> Tensor {
        halves(at.grad()).0 * (0.5 * self.step)
    }
}

/// U(x) + ½|`p`|² where `at` has momenta of its own, `[n]`, f64, up to the constant of the momenta.
fn energy_with(at: &Evaluation, p: &Tensor) -> Tensor {
    at.u.to_kind(Kind::Double) - kinetic(&halves(&at.x).1) + kinetic(p)
}

impl<E: Energy + Differentiable + Momenta + ?Sized> Kernel<E> for Underdamped {
    fn forward(&self, _u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let (x, p) = halves(&at.x);
        let p1 = self.refresh(&p, rng);
        let p2 = &p1 - self.kick(at);
        let y = x + &p2 * self.step;
        Move::new(Tensor::cat(&[y, p2], 1), energy_with(at, &p1), EvalCounts::default())
    }

    fn backward(&self, u: &E, _at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let there = u.evaluate(&mv.y);
        let p3 = halves(&mv.y).1 - self.kick(&there);
        let lambda = energy_with(&there, &p3);
        let cost = EvalCounts::evaluation(there.len());
        let p = self.refresh(&p3, rng);
        Arrival::new(lambda, u.with_momenta(there, &p), cost)
    }

    /// The same steps in the other order, with the signs of time: each O step is its own reversal.
    fn reverse(&self, from: &E, _to: &E, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let (y, p) = halves(&at.x);
        let p3 = self.refresh(&p, rng);
        let p2 = &p3 + self.kick(at);
        let there = from.evaluate(&Tensor::cat(&[y - &p2 * self.step, p2.shallow_clone()], 1));
        let p1 = p2 + self.kick(&there);
        let increment = energy_with(&there, &p1) - energy_with(at, &p3);
        let cost = EvalCounts::evaluation(there.len());
        let p = self.refresh(&p1, rng);
        Ok(Reversal::new(from.with_momenta(there, &p), increment, cost))
    }

    fn validate(&self) -> Result<()> {
        check_step("step", self.step)?;
        check_step("friction", self.friction)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Underdamped", self)
    }
}
