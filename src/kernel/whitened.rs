//! Let any kernel move in whitened coordinates while walkers stay in those of the data.

use super::{Arrival, BoundedStep, Kernel, Move, Reversal, Step};
use crate::density::{Differentiable, Energy, Evaluation, Momenta, Whiten, Whitening, curvature};
use crate::error::Result;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::Tensor;

/// The moves of `kernel` in z = L⁻¹(x − m), the coordinates that the energy names ([`Whiten`]): a proposal x − hLLᵀ∇U + … of
/// ULA or MALA whose noise has the covariance 2hLLᵀ. Steps h are then in units of z², in which a fitted Gaussian is N(0, I):
/// one h suits all directions.
///
/// The densities of both halves are taken in z; in x each has the factor 1/|det L| besides, which cancels in A += α − λ. So
/// weights are exact for any map, and walkers, their energies and gradients, samples and log Z are in x as ever.
///
/// ```
/// use jarzynski::{Kernel, Mala, Reversed, Rng, Walkers, kernel::Whitened, model::Gaussian};
/// # fn main() -> jarzynski::Result<()> {
/// let narrow = Gaussian::new(&[5.0, 0.0], &[100.0, 0.01])?;
/// let mut rng = Rng::new(0);
/// let mut walkers = Walkers::start_from(&narrow, &narrow, 500, false, &mut rng)?;
/// let kernel = Whitened::new(Reversed::new(Mala::new(0.3)));      // an h of its own for neither direction
/// let step = kernel.step(&narrow, walkers.evaluation(), &mut rng);
/// assert!(step.acceptance.unwrap().double_value(&[]) > 0.8);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Whitened<K> {
    /// What moves in z.
    pub kernel: K,
}

impl<K> Whitened<K> {
    /// Around all of a kernel: `Whitened::new(Reversed::new(Mala::new(0.1)))`.
    pub fn new(kernel: K) -> Self {
        Whitened { kernel }
    }
}

/// An energy as a function of z. It takes and gives no positions in x but through [`Whitened`].
#[derive(Debug)]
pub struct InWhitened<'a, E: ?Sized> {
    of: &'a E,
    /// Rows z whose x is known: to convert them anew would change its last bits, and with them the energy there.
    known: Option<(Tensor, Tensor)>,
}

impl<'a, E: Energy + Whiten + ?Sized> InWhitened<'a, E> {
    fn new(of: &'a E) -> Self {
        InWhitened { of, known: None }
    }

    fn map(&self) -> &Whitening {
        self.of.whitening()
    }

    fn x_of(&self, z: &Tensor) -> Tensor {
        let same = |known: &Tensor| known.data_ptr() == z.data_ptr() && known.size() == z.size();
        match &self.known {
            Some((known, x)) if same(known) => x.shallow_clone(),
            _ => self.map().colour(z),
        }
    }

    /// In z, with the positions and gradients in x kept beside the rows: those that a kernel rejects return with their bits.
    fn enter(&self, at: &Evaluation) -> Evaluation {
        let map = self.map();
        let (z, grad) = (map.whiten(&at.x), map.gradient_in_z(at.grad()));
        let inside = Evaluation::new(z.shallow_clone(), at.u.shallow_clone(), Tensor::new());
        inside.replaced(z, grad, Some(outside(at)))
    }

    /// Back in x.
    fn leave(&self, at: Evaluation) -> Evaluation {
        let (d, map) = (self.map().dim(), self.map());
        let Some(kept) = at.kept().map(Tensor::shallow_clone) else {
            // made by the kernel itself, without an evaluation
            let (x, grad) = (map.colour(&at.x), map.gradient_in_x(at.grad()));
            return at.replaced(x, grad, None);
        };
        let part = |from: i64, width: i64| kept.narrow(1, from, width).contiguous();
        let rest = kept.size()[1] - 2 * d;
        at.replaced(part(0, d), part(d, d), (rest > 0).then(|| part(2 * d, rest)))
    }

    /// A move in z as one in x.
    fn moved(&self, mv: Move) -> Move {
        let at_y = mv.at_y.map(|at| self.leave(at));
        let y = at_y.as_ref().map_or_else(|| self.map().colour(&mv.y), |at| at.x.shallow_clone());
        Move { y, at_y, ..mv }
    }

    fn entered(of: &'a E, at: &Evaluation) -> (Self, Evaluation) {
        let inside = InWhitened::new(of);
        let at = inside.enter(at);
        (inside, at)
    }
}

/// x, ∇U in x and what the model keeps for each row, side by side.
fn outside(at: &Evaluation) -> Tensor {
    let parts: Vec<&Tensor> = [Some(&at.x), Some(at.grad()), at.kept()].into_iter().flatten().collect();
    Tensor::cat(&parts, 1)
}

impl<E: Energy + Whiten + ?Sized> Energy for InWhitened<'_, E> {
    fn energy(&self, z: &Tensor) -> Tensor {
        self.of.energy(&self.x_of(z))
    }

    fn evaluate(&self, z: &Tensor) -> Evaluation {
        let at = self.of.evaluate(&self.x_of(z));
        let (kept, grad) = (outside(&at), self.map().gradient_in_z(at.grad()));
        at.replaced(z.shallow_clone(), grad, Some(kept))
    }
}

impl<E: Differentiable + ?Sized> Differentiable for InWhitened<'_, E> {}

/// Coordinates that leave p as it is: what is known in x takes the same p.
impl<E: Momenta + Whiten + ?Sized> Momenta for InWhitened<'_, E> {
    fn with_momenta(&self, at: Evaluation, p: &Tensor) -> Evaluation {
        let (width, d) = (self.map().dim(), p.size()[1]);
        let kept = at.kept().map(|kept| {
            let beside = |from: i64| Tensor::cat(&[&kept.narrow(1, from, width - d), p], 1);
            let rest = kept.narrow(1, 2 * width, kept.size()[1] - 2 * width);
            Tensor::cat(&[beside(0), beside(width), rest], 1)
        });
        let at = at.with_momenta(p);
        let (z, grad) = (at.x.shallow_clone(), at.grad().shallow_clone());
        at.replaced(z, grad, kept)
    }
}

/// The largest curvature at rows x, in z.
fn curvature_in_z<E: Energy + Whiten + ?Sized>(u: &E, x: &Tensor) -> f64 {
    let inside = InWhitened::new(u);
    curvature(&inside, &inside.map().whiten(x))
}

impl<E: Energy + Whiten + ?Sized, K: for<'a> Kernel<InWhitened<'a, E>>> Kernel<E> for Whitened<K> {
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let (inside, at) = InWhitened::entered(u, at);
        inside.moved(self.kernel.forward(&inside, &at, rng))
    }

    fn forward_unweighted(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let (inside, at) = InWhitened::entered(u, at);
        inside.moved(self.kernel.forward_unweighted(&inside, &at, rng))
    }

    fn backward(&self, u: &E, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let (mut inside, at) = InWhitened::entered(u, at);
        let z = inside.map().whiten(&mv.y);
        inside.known = Some((z.shallow_clone(), mv.y.shallow_clone()));
        let at_y = mv.at_y.as_ref().map(|at| inside.enter(at));
        let arrival = self.kernel.backward(&inside, &at, Move { y: z, at_y, ..mv }, rng);
        Arrival { evaluation: inside.leave(arrival.evaluation), ..arrival }
    }

    fn step(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Step {
        let (inside, at) = InWhitened::entered(u, at);
        let step = self.kernel.step(&inside, &at, rng);
        Step { evaluation: inside.leave(step.evaluation), ..step }
    }

    fn reverse(&self, from: &E, to: &E, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let (to, inside) = InWhitened::entered(to, at);
        let mut from = InWhitened::new(from);
        from.known = Some((inside.x.shallow_clone(), at.x.shallow_clone()));
        let reversal = self.kernel.reverse(&from, &to, &inside, rng)?;
        Ok(Reversal { evaluation: from.leave(reversal.evaluation), ..reversal })
    }

    fn bounded_step(&self) -> Option<BoundedStep<E>> {
        let inner = Kernel::<InWhitened<'_, E>>::bounded_step(&self.kernel)?;
        Some(BoundedStep { h: inner.h, curvature: curvature_in_z::<E> })
    }

    fn validate(&self) -> Result<()> {
        Kernel::<InWhitened<'_, E>>::validate(&self.kernel)
    }

    fn check(&self, u: &E, at: &Evaluation) -> Result<()> {
        let (inside, at) = InWhitened::entered(u, at);
        self.kernel.check(&inside, &at)
    }

    fn identity(&self) -> Result<Value> {
        Ok(serde_json::json!({ "Whitened": Kernel::<InWhitened<'_, E>>::identity(&self.kernel)? }))
    }
}
