//! Let the step of a kernel depend on the time along a path: knots, as a pilot run finds them.

use super::{
    Arrival, Barker, Hmc, Kernel, Mala, Move, RandomWalk, Reversal, Reversed, Step, Ula, Underdamped, Whitened,
};
use crate::density::{At, Evaluation, Path, between_knots};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A kernel whose proposals have one size that can be changed.
pub trait StepSize {
    /// The step, in the kernel's own units.
    fn step_size(&self) -> f64;

    /// The same kernel with another step.
    #[must_use]
    fn with_step_size(&self, step: f64) -> Self;
}

macro_rules! step_size {
    ($($kernel:ident $field:ident),*) => {$(
        impl StepSize for $kernel {
            fn step_size(&self) -> f64 {
                self.$field
            }
            fn with_step_size(&self, $field: f64) -> Self {
                $kernel { $field, ..*self }
            }
        }
    )*};
}

step_size!(Ula h, Hmc step, Underdamped step);

impl StepSize for Mala {
    fn step_size(&self) -> f64 {
        self.h
    }
    fn with_step_size(&self, h: f64) -> Self {
        Mala { h }
    }
}

impl StepSize for Barker {
    fn step_size(&self) -> f64 {
        self.step
    }
    fn with_step_size(&self, step: f64) -> Self {
        Barker { step }
    }
}

impl StepSize for RandomWalk {
    fn step_size(&self) -> f64 {
        self.step
    }
    fn with_step_size(&self, step: f64) -> Self {
        RandomWalk { step }
    }
}

impl<K: StepSize> StepSize for Reversed<K> {
    fn step_size(&self) -> f64 {
        self.kernel.step_size()
    }
    fn with_step_size(&self, step: f64) -> Self {
        Reversed { kernel: self.kernel.with_step_size(step), sweeps: self.sweeps }
    }
}

impl<K: StepSize> StepSize for Whitened<K> {
    fn step_size(&self) -> f64 {
        self.kernel.step_size()
    }
    fn with_step_size(&self, step: f64) -> Self {
        Whitened { kernel: self.kernel.with_step_size(step) }
    }
}

/// A kernel with a step that depends on t: linear between knots `[t, step]`, constant before the first and after the last.
///
/// Both halves of a move from t_k to t_{k+1} have the step of t_k, and the move back too, so that weights are exact as they are
/// for the kernel itself. The knots must not be chosen by the walkers that are weighed: [`Pilot`](crate::transport::Pilot) has its
/// own.
///
/// ```
/// use jarzynski::{Geometric, Mala, Reversed, Transport, kernel::Stepped, model::Gaussian};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Geometric { base: Gaussian::new(&[0.0], &[1.0])?, target: Gaussian::new(&[0.0], &[0.01])? };
/// let kernel = Stepped::new(Reversed::new(Mala::new(0.5)), &[[0.0, 0.5], [0.01, 5e-3], [1.0, 5e-5]]);
/// assert_eq!(kernel.at(0.0), 0.5);
/// let run = Transport::new(kernel, 20, 100, 0).quiet().run(&path)?;
/// assert!(run.finished());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stepped<K> {
    /// The kernel; its own step is not used.
    pub kernel: K,
    /// Knots `[t, step]` with rising t.
    pub knots: Vec<[f64; 2]>,
}

impl<K: StepSize> Stepped<K> {
    /// With these knots `[t, step]`.
    pub fn new(kernel: K, knots: &[[f64; 2]]) -> Self {
        Stepped { kernel, knots: knots.to_vec() }
    }

    /// The step at time t.
    pub fn at(&self, t: f64) -> f64 {
        between_knots(&self.knots, t)
    }

    fn of(&self, t: f64) -> K {
        self.kernel.with_step_size(self.at(t))
    }
}

impl<P: Path + ?Sized, K> Kernel<At<'_, P>> for Stepped<K>
where
    K: for<'a> Kernel<At<'a, P>> + StepSize,
{
    fn forward(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Move {
        self.of(u.t).forward(u, at, rng)
    }

    fn backward(&self, u: &At<P>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        self.of(u.t - u.h).backward(u, at, mv, rng)
    }

    fn step(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Step {
        self.of(u.t).step(u, at, rng)
    }

    fn reverse(&self, from: &At<P>, to: &At<P>, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        self.of(from.t).reverse(from, to, at, rng)
    }

    fn validate(&self) -> Result<()> {
        let rising = self.knots.windows(2).all(|w| w[0][0] < w[1][0]);
        if self.knots.is_empty() || !rising {
            return Err(Error::param("knots", format!("{:?}", self.knots), "at least one [t, step], with rising t"));
        }
        self.knots.iter().try_for_each(|[_, step]| self.kernel.with_step_size(*step).validate())
    }

    fn check(&self, u: &At<P>, at: &Evaluation) -> Result<()> {
        self.of(u.t).check(u, at)
    }

    fn identity(&self) -> Result<Value> {
        Ok(serde_json::json!({ "Stepped": { "kernel": self.kernel.identity()?, "knots": self.knots } }))
    }
}
