//! Define what a kernel needs of an energy: U, ∇U, and a start that can be drawn exactly.

use crate::density::Evaluation;
use crate::numeric::Rng;
use crate::numeric::fit::power_iteration;
use tch::{Kind, Tensor};

/// An energy U, batched: ρ(x) = e^{−U(x)} / Z, eq. (1).
///
/// The one required method is [`energy`](Energy::energy); the gradient comes from one autograd pass unless a closed
/// form overrides [`evaluate`](Energy::evaluate). Kernels with a drift ask for [`Differentiable`] besides, one line.
///
/// ```
/// use jarzynski::{Energy, tch::{Kind, Tensor}};
/// struct Quartic;
/// impl Energy for Quartic {
///     fn energy(&self, x: &Tensor) -> Tensor {
///         x.pow_tensor_scalar(4).sum_dim_intlist(-1, false, Kind::Double)
///     }
/// }
/// let at = Quartic.evaluate(&Tensor::from_slice(&[1.0, 2.0]).view([2, 1]));
/// assert_eq!(Vec::<f64>::try_from(at.grad().view(-1)).unwrap(), [4.0, 32.0]);
/// ```
pub trait Energy {
    /// Numbers that an evaluation holds for each row, for [`Memory`](crate::run::Memory); `None` where only x and ∇U are known.
    fn row_numbers(&self) -> Option<RowNumbers> {
        None
    }

    /// U at each row: x `[n, d]` → `[n]`, differentiable in x (and in θ for a model).
    fn energy(&self, x: &Tensor) -> Tensor;

    /// U and ∇U at x, kept together: one forward and one backward pass over n rows.
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        Evaluation::autograd(self, x)
    }
}

/// Numbers that an evaluation holds for each row, from which the memory of a run is estimated from below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowNumbers {
    /// Those that stay with the walkers between updates: x, ∇U, inputs of hidden units.
    pub kept: usize,
    /// Activations of all layers, which a graph through θ holds: from one move to the next in a training, and while a gradient in x
    /// is computed.
    pub graph: usize,
}

impl<E: Energy + ?Sized> Energy for &E {
    fn row_numbers(&self) -> Option<RowNumbers> {
        (**self).row_numbers()
    }
    fn energy(&self, x: &Tensor) -> Tensor {
        (**self).energy(x)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        (**self).evaluate(x)
    }
}

impl<E: Energy + ?Sized> Energy for Box<E> {
    fn row_numbers(&self) -> Option<RowNumbers> {
        (**self).row_numbers()
    }
    fn energy(&self, x: &Tensor) -> Tensor {
        (**self).energy(x)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        (**self).evaluate(x)
    }
}

/// The promise that U is differentiable in x: what kernels with a drift (ULA, MALA) require of an energy, or of a path of them.
///
/// One line beside the energy: `impl Differentiable for Quartic {}`. A model of discrete states has no such line, so that
/// gradient steps on it do not compile:
///
/// ```compile_fail,E0277
/// use jarzynski::{Method, Trainer, Ula, model::{Rbm, RbmShape}, tch::{Kind, Tensor}};
/// let data = Tensor::ones([4, 3], (Kind::Float, jarzynski::tch::Device::Cpu));
/// let mut rbm = Rbm::bernoulli(&data, &RbmShape::default()).unwrap();
/// let run = Trainer::new(Ula::new(0.1), Method::Pcd).train(&mut rbm, &data);
/// ```
///
/// For a path it says that U_t is differentiable at every t; [`At`](crate::At) that path is then too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not marked as differentiable in x",
    label = "a kernel with a drift needs ∇U",
    note = "for an energy or a path of your own that is differentiable: `impl Differentiable for {Self} {{}}`",
    note = "a model of discrete states moves by `Gibbs`"
)]
pub trait Differentiable {}

impl<E: Differentiable + ?Sized> Differentiable for &E {}

impl<E: Differentiable + ?Sized> Differentiable for Box<E> {}

/// A distribution that can be sampled exactly and whose log Z is known: where walkers start with A_0 = 0.
pub trait Base: Energy {
    /// n exact, independent draws, `[n, d]`.
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor;

    /// As [`sample`](Base::sample), with less variance where the distribution allows (modes in proportion); unbiased too.
    fn sample_stratified(&self, n: usize, rng: &mut Rng) -> Tensor {
        self.sample(n, rng)
    }

    /// log ∫ e^{−U}, nats.
    fn log_z(&self) -> f64;
}

impl<B: Base + ?Sized> Base for &B {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        (**self).sample(n, rng)
    }
    fn sample_stratified(&self, n: usize, rng: &mut Rng) -> Tensor {
        (**self).sample_stratified(n, rng)
    }
    fn log_z(&self) -> f64 {
        (**self).log_z()
    }
}

/// The largest curvature of U among rows x `[n, d]`: the largest eigenvalue in magnitude of each row's Hessian by a power
/// iteration on differences of ∇U, where it is positive. Costs `CURVATURE_PASSES` evaluations.
pub(crate) fn curvature<E: Energy + ?Sized>(u: &E, x: &Tensor) -> f64 {
    let scale = x.square().mean(Kind::Double).double_value(&[]).sqrt().max(1e-3);
    let step = scale * if x.kind() == Kind::Double { 1e-5 } else { 1e-2 };
    let here = u.evaluate(x);
    let product = |v: &Tensor| (u.evaluate(&(x + v * step)).grad() - here.grad()) / step;
    let start = Rng::new(0xc0).normal(&x.size(), x.kind(), x.device());
    let (v, turned) = power_iteration(product, start, CURVATURE_PASSES - 1);
    (v * turned).sum_dim_intlist(-1, false, Kind::Double).max().double_value(&[])
}

/// Evaluations of [`curvature`].
pub(crate) const CURVATURE_PASSES: usize = 7;
