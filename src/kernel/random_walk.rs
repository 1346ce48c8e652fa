//! Move by the random-walk Metropolis algorithm, which needs no gradient.

use super::ula::check_step;
use super::{Invariant, reversed::Transition};
use crate::density::{Differentiable, Energy, Evaluation};
use crate::error::Result;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::Kind;

/// y = x + σξ, accepted with probability min(1, ρ(y)/ρ(x)) (Metropolis et al. 1953): leaves ρ invariant and is reversible.
///
/// The yardstick for what a gradient is worth. An acceptance near .234 is best in high dimension, where σ must fall as 1/√d.
/// The move uses U alone, but energies of this library are evaluated with their gradient, and that is what is counted.
///
/// ```
/// use jarzynski::{Kernel, Reversed, Rng, Walkers, kernel::RandomWalk, model::Gaussian};
/// # fn main() -> jarzynski::Result<()> {
/// let u = Gaussian::new(&[1.0], &[2.0])?;
/// let mut rng = Rng::new(0);
/// let walkers = Walkers::start_from(&u, &u, 1_000, false, &mut rng)?;
/// let step = Reversed::new(RandomWalk::new(2.0)).step(&u, walkers.evaluation(), &mut rng);
/// assert!(step.acceptance.unwrap().double_value(&[]) > 0.5);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomWalk {
    /// The standard deviation σ > 0 of the proposal in each coordinate, in units of x.
    pub step: f64,
}

impl RandomWalk {
    /// Proposals with standard deviation σ.
    pub fn new(step: f64) -> Self {
        RandomWalk { step }
    }
}

/// For densities of continuous states: what [`Differentiable`] says besides is not used.
impl<E: Energy + Differentiable + ?Sized> Invariant<E> for RandomWalk {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let noise = rng.normal(&at.x.size(), at.x.kind(), at.x.device());
        let there = u.evaluate(&(&at.x + noise * self.step));
        let log_ratio = at.u.to_kind(Kind::Double) - there.u.to_kind(Kind::Double);
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
        super::identify("RandomWalk", self)
    }
}
