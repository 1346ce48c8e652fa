//! Give an energy of the user's coordinates of its own, so that kernels can move in them.

use crate::density::{Differentiable, Energy, Evaluation, Whiten, Whitening};
use crate::model::Gaussian;
use tch::Tensor;

/// An energy with a Gaussian that says in which coordinates it is near N(0, I): any kernel inside
/// [`Whitened`](crate::kernel::Whitened) then moves in these, which for [`Hmc`](crate::kernel::Hmc) and
/// [`Underdamped`](crate::kernel::Underdamped) is a mass matrix, the inverse of the Gaussian's covariance. The energy itself, log Z
/// and all walkers stay as they are.
///
/// The Gaussian comes from what is known, or from [`Gaussian::fit`] to the walkers of a pilot run. It must not be fitted to the
/// walkers that it then moves and weighs: their weights would depend on it.
///
/// ```
/// use jarzynski::kernel::{Hmc, Whitened};
/// use jarzynski::model::{Gaussian, Preconditioned, targets::Banana};
/// use jarzynski::{Geometric, Reversed, Rng, Transport};
/// # fn main() -> jarzynski::Result<()> {
/// let pilot = Transport::new(Reversed::new(Hmc::new(0.5, 3)), 50, 500, 7).quiet().ess_min(0.5);
/// let path = Geometric { base: Gaussian::new(&[0.0; 2], &[10.0; 2])?, target: Banana::new(2, 10.0, 0.01)? };
/// let found = pilot.run(&path)?.walkers.samples(500, &mut Rng::new(8));
/// let target = Preconditioned { energy: path.target, gaussian: Gaussian::fit(&found, 0.0)? };
/// let path = Geometric { base: path.base, target };
/// let run = Transport::new(Whitened::new(Reversed::new(Hmc::new(0.3, 4))), 20, 1_000, 0).quiet().run(&path)?;
/// let z = run.walkers.log_z();
/// assert!((z.value / z.se).abs() < 5.0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Preconditioned<E> {
    /// The energy.
    pub energy: E,
    /// Whose coordinates are used, of the kind and on the device of the rows.
    pub gaussian: Gaussian,
}

impl<E: Energy> Energy for Preconditioned<E> {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.energy.energy(x)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.energy.evaluate(x)
    }
}

impl<E: Differentiable> Differentiable for Preconditioned<E> {}

impl<E> Whiten for Preconditioned<E> {
    fn whitening(&self) -> &Whitening {
        self.gaussian.whitening()
    }
}
