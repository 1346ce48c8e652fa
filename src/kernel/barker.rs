//! Move by Barker's proposal: noise whose sign the gradient biases, coordinate by coordinate.

use super::ula::check_step;
use super::{Invariant, reversed::Transition};
use crate::density::{Differentiable, Energy, Evaluation};
use crate::error::Result;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// z ~ N(0, σ² I); in each coordinate y_i = x_i + z_i with probability 1/(1 + e^{z_i ∂_iU(x)}), else x_i − z_i; accepted with
/// probability
///
/// ```text
/// min(1, e^{U(x) − U(y)} Π_i (1 + e^{(y_i − x_i) ∂_iU(x)}) / (1 + e^{(x_i − y_i) ∂_iU(y)}))
/// ```
///
/// (Livingstone & Zanella 2022, JRSS B 84, 496). Leaves ρ invariant and is reversible. A gradient of any size moves a coordinate by no
/// more than its noise, so that a step that is too large for [`Mala`](super::Mala) lowers the acceptance slowly instead of making
/// it vanish: for densities whose scale varies, and while the step is still unknown. An acceptance near .57 is best in high
/// dimension.
///
/// ```
/// use jarzynski::{Kernel, Reversed, Rng, Walkers, kernel::Barker, model::Gaussian};
/// # fn main() -> jarzynski::Result<()> {
/// let u = Gaussian::new(&[0.0, 0.0], &[1.0, 1.0])?;
/// let mut rng = Rng::new(0);
/// let walkers = Walkers::start_from(&u, &u, 1_000, false, &mut rng)?;
/// let step = Reversed::new(Barker::new(1.0)).step(&u, walkers.evaluation(), &mut rng);
/// assert!(step.acceptance.unwrap().double_value(&[]) > 0.6);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Barker {
    /// The standard deviation σ > 0 of the noise, in units of x.
    pub step: f64,
}

impl Barker {
    /// Noise with standard deviation σ.
    pub fn new(step: f64) -> Self {
        Barker { step }
    }
}

/// Σ_i log 1/(1 + e^{−v_i}) of each row, `[n]`, f64.
fn log_chance(v: &Tensor) -> Tensor {
    v.to_kind(Kind::Double).log_sigmoid().sum_dim_intlist(-1, false, Kind::Double)
}

impl<E: Energy + Differentiable + ?Sized> Invariant<E> for Barker {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let (x, g) = (&at.x, at.grad());
        let z = rng.normal(&x.size(), x.kind(), x.device()) * self.step;
        let uniform = rng.uniform_tensor(&x.size(), x.kind(), x.device());
        let along = (-(&z * g)).sigmoid();
        let there = u.evaluate(&(x + z.where_self(&uniform.lt_tensor(&along), &-&z)));
        let moved = &there.x - x;
        let chances = log_chance(&(&moved * there.grad())) - log_chance(&(-(&moved * g)));
        let log_ratio = at.u.to_kind(Kind::Double) - there.u.to_kind(Kind::Double) + chances;
        Transition::metropolis(at, there, &log_ratio, rng)
    }

    /// Detailed balance: the move itself.
    fn reverse_sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Result<Transition> {
        Ok(self.sweep(u, at, rng))
    }

    fn validate(&self) -> Result<()> {
        check_step("step", self.step)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Barker", self)
    }
}
