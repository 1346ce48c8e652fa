//! Move by random jumps of many sizes along few coordinates: what carries walkers from mode to mode.

use super::ula::check_step;
use super::{Invariant, StepSize, reversed::Transition};
use crate::density::{Differentiable, Energy, Evaluation};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// y = x + s ξ along k coordinates chosen anew for each walker, s = σ 10^{−Du} with u uniform in [0, 1), accepted with probability
/// min(1, ρ(y)/ρ(x)): leaves ρ invariant and is reversible, because coordinates and size do not depend on x.
///
/// Gradient moves stay in the well where they are; a jump along one coordinate by the distance of two wells crosses whatever is
/// between, and is accepted as often as it lands in one. So σ is the distance of modes (that of the start is a good guess), D the decades
/// below it that are tried, k = 1 where coordinates have wells of their own. Most jumps are rejected: pair them with local moves,
/// `(Hmc::new(..), Jumps::new(..))`. One evaluation a jump.
///
/// ```
/// use jarzynski::{Kernel, Reversed, Rng, Walkers, kernel::Jumps, model::targets::modes_25};
/// # fn main() -> jarzynski::Result<()> {
/// let (u, mut rng) = (modes_25()?, Rng::new(0));
/// let walkers = Walkers::start_from(&u, &u, 1_000, false, &mut rng)?;
/// let step = Reversed::new(Jumps::new(5.0, 0.3).coordinates(1)).step(&u, walkers.evaluation(), &mut rng);
/// assert!(step.acceptance.unwrap().double_value(&[]) > 0.1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jumps {
    /// The largest standard deviation σ > 0 of a jump, in units of x.
    pub step: f64,
    /// D ≥ 0: how many powers of ten below σ the smallest is.
    pub decades: f64,
    /// Coordinates k that a jump changes, at least 1; all where none is given.
    pub coordinates: Option<usize>,
}

impl Jumps {
    /// From σ down to σ 10^{−D}, along all coordinates.
    pub fn new(step: f64, decades: f64) -> Self {
        Jumps { step, decades, coordinates: None }
    }

    /// Along so many coordinates at a time.
    #[must_use]
    pub fn coordinates(self, coordinates: usize) -> Self {
        Jumps { coordinates: Some(coordinates), ..self }
    }
}

impl StepSize for Jumps {
    fn step_size(&self) -> f64 {
        self.step
    }
    fn with_step_size(&self, step: f64) -> Self {
        Jumps { step, ..*self }
    }
}

/// For densities of continuous states, as [`RandomWalk`](super::RandomWalk).
impl<E: Energy + Differentiable + ?Sized> Invariant<E> for Jumps {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let (x, device) = (&at.x, at.x.device());
        let (n, d) = (x.size()[0], x.size()[1]);
        let size = (rng.uniform_tensor(&[n, 1], x.kind(), device) * (-self.decades * 10f64.ln())).exp() * self.step;
        let mut jump = rng.normal(&[n, d], x.kind(), device) * size;
        let moved = self.coordinates.map_or(d, |k| k as i64);
        if moved < d {
            let chosen = rng.uniform_tensor(&[n, d], Kind::Float, device).topk(moved, -1, true, false).1;
            let mask = Tensor::zeros([n, d], (x.kind(), device)).scatter_value(-1, &chosen, 1.0);
            jump *= mask;
        }
        let there = u.evaluate(&(x + jump));
        let log_ratio = at.u.to_kind(Kind::Double) - there.u.to_kind(Kind::Double);
        Transition::metropolis(at, there, &log_ratio, rng)
    }

    /// Detailed balance: the move itself.
    fn reverse_sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Result<Transition> {
        Ok(self.sweep(u, at, rng))
    }

    fn validate(&self) -> Result<()> {
        check_step("step", self.step)?;
        if !(self.decades >= 0.0 && self.decades.is_finite()) {
            return Err(Error::param("decades", self.decades, "a finite number ≥ 0"));
        }
        match self.coordinates {
            Some(0) => Err(Error::param("coordinates", 0, "at least 1")),
            _ => Ok(()),
        }
    }

    fn check(&self, _u: &E, at: &Evaluation) -> Result<()> {
        let d = at.x.size()[1];
        match self.coordinates {
            Some(k) if k as i64 > d => Err(Error::param("coordinates", k, format!("at most the dimension, {d}"))),
            _ => Ok(()),
        }
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Jumps", self)
    }
}
