//! Make one move of two: a pair of invariant kernels, one after the other.

use super::{Invariant, StepSize, reversed::Transition};
use crate::density::{Energy, Evaluation};
use crate::error::Result;
use crate::numeric::Rng;

/// A sweep of the first, then one of the second: leaves ρ invariant as both do, though not in detailed balance. Its time reversal is the
/// reversal of the second, then that of the first.
///
/// The acceptance that is told is that of the first, whose step adapts ([`StepSize`]): local moves there, jumps second.
///
/// ```
/// use jarzynski::kernel::{Hmc, Jumps};
/// use jarzynski::{Geometric, Reversed, Transport, model::{Gaussian, targets::ManyWell}, Base};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Geometric { base: Gaussian::new(&[0.0; 4], &[2.0; 4])?, target: ManyWell::pairs(4)? };
/// let kernel = Reversed::new((Hmc::new(0.1, 3), Jumps::new(4.0, 0.5).coordinates(1)));
/// let run = Transport::new(kernel, 40, 1_000, 0).quiet().run(&path)?;
/// let z = run.walkers.log_z();
/// assert!(((z.value - path.target.log_z()) / z.se).abs() < 5.0);
/// # Ok(()) }
/// ```
impl<E: Energy + ?Sized, A: Invariant<E>, B: Invariant<E>> Invariant<E> for (A, B) {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let first = self.0.sweep(u, at, rng);
        let second = self.1.sweep(u, &first.evaluation, rng);
        first.followed_by(second)
    }

    fn reverse_sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Result<Transition> {
        let second = self.1.reverse_sweep(u, at, rng)?;
        let first = self.0.reverse_sweep(u, &second.evaluation, rng)?;
        let acceptance = first.acceptance.shallow_clone();
        Ok(Transition { acceptance, ..second.followed_by(first) })
    }

    fn validate(&self) -> Result<()> {
        self.0.validate()?;
        self.1.validate()
    }

    fn check(&self, u: &E, at: &Evaluation) -> Result<()> {
        self.0.check(u, at)?;
        self.1.check(u, at)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        Ok(serde_json::json!([self.0.identity()?, self.1.identity()?]))
    }
}

/// The step of the first; the second is left as it is.
impl<A: StepSize, B: Clone> StepSize for (A, B) {
    fn step_size(&self) -> f64 {
        self.0.step_size()
    }
    fn with_step_size(&self, step: f64) -> Self {
        (self.0.with_step_size(step), self.1.clone())
    }
}
