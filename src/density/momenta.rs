//! Give walkers momenta: a path of U(x) + ½|p|² over rows [x, p], for kernels whose state they are part of.

use crate::density::{At, Base, Differentiable, Energy, Evaluation, Path, Whiten, Whitening};
use crate::error::Result;
use crate::numeric::Rng;
use std::cell::OnceCell;
use tch::{Kind, Tensor};

/// An energy U(x) + ½|p|² + constant over rows [x, p] `[n, 2d]`: what [`Underdamped`](crate::kernel::Underdamped) moves on.
///
/// Where it is one in other coordinates as well ([`Whiten`]), these must leave p as it is.
#[diagnostic::on_unimplemented(
    message = "rows of `{Self}` have no momenta",
    note = "wrap the path: `WithMomenta::new(path)`; its rows are [x, p]"
)]
pub trait Momenta: Energy {
    /// The same positions with momenta `p` `[n, d]` instead of those that `at` has, without another evaluation.
    fn with_momenta(&self, at: Evaluation, p: &Tensor) -> Evaluation {
        at.with_momenta(p)
    }
}

impl<E: Momenta + ?Sized> Momenta for &E {
    fn with_momenta(&self, at: Evaluation, p: &Tensor) -> Evaluation {
        (**self).with_momenta(at, p)
    }
}

/// A path whose walkers are rows [x, p] with the energy U_t(x) + ½|p|² + (d/2) log 2π. The density of p is normalised, so that log Z
/// is that of U_t at every t; x has the distribution that it has without p.
///
/// Draws of the base come with p ~ N(0, I). Averages of functions of x are taken of [`positions`](WithMomenta::positions).
///
/// ```
/// use jarzynski::{Base, Geometric, Path, Rng, density::WithMomenta, model::Gaussian};
/// # fn main() -> jarzynski::Result<()> {
/// let path = WithMomenta::new(Geometric { base: Gaussian::new(&[0.0], &[1.0])?, target: Gaussian::new(&[3.0], &[0.5])? });
/// let rows = path.base().sample(10, &mut Rng::new(0));
/// assert_eq!((rows.size(), path.positions(&rows).size()), (vec![10, 2], vec![10, 1]));
/// assert_eq!(path.base().log_z(), path.path().base.log_z());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct WithMomenta<P> {
    start: Start<P>,
    map: OnceCell<Whitening>,
}

/// The base of the path with momenta beside it.
#[derive(Debug)]
struct Start<P>(P);

impl<P> WithMomenta<P> {
    /// Around any path of continuous states.
    pub fn new(path: P) -> Self {
        WithMomenta { start: Start(path), map: OnceCell::new() }
    }

    /// The path without momenta.
    pub fn path(&self) -> &P {
        &self.start.0
    }

    /// x of rows [x, p]: `[n, 2d]` → `[n, d]`.
    pub fn positions(&self, rows: &Tensor) -> Tensor {
        halves(rows).0
    }

    /// p of rows [x, p]: `[n, 2d]` → `[n, d]`.
    pub fn momenta(&self, rows: &Tensor) -> Tensor {
        halves(rows).1
    }

    /// Rows [x, p] with p ~ N(0, I) beside `x` `[n, d]`: exact draws of x at t = 1 as the start of a reverse run.
    pub fn draw_momenta(&self, x: &Tensor, rng: &mut Rng) -> Tensor {
        Tensor::cat(&[x, &rng.normal(&x.size(), x.kind(), x.device())], 1)
    }
}

/// x and p of rows [x, p], `[n, d]` each.
///
/// # Panics
/// Rows of odd width, which a run reports as its cause.
pub(crate) fn halves(rows: &Tensor) -> (Tensor, Tensor) {
    let size = rows.size();
    let width = size.last().copied().unwrap_or(0);
    assert!(size.len() == 2 && width % 2 == 0, "rows have shape {size:?}: expected [n, 2d], positions and momenta");
    (rows.narrow(1, 0, width / 2).contiguous(), rows.narrow(1, width / 2, width / 2).contiguous())
}

/// ½|p|² + (d/2) log 2π, `[n]`.
fn kinetic(p: &Tensor) -> Tensor {
    let normaliser = 0.5 * p.size()[1] as f64 * (2.0 * std::f64::consts::PI).ln();
    p.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5 + normaliser
}

impl Evaluation {
    /// Rows [x, p] with other momenta, and the energy and gradient that belong to these.
    pub(crate) fn with_momenta(self, p: &Tensor) -> Self {
        let (x, before) = halves(&self.x);
        let (slope, _) = halves(self.grad());
        let u = &self.u + kinetic(p) - kinetic(&before);
        let beside = |t: &Tensor| Tensor::cat(&[t, p], 1);
        let kept = self.kept().map(Tensor::shallow_clone);
        self.replaced(beside(&x), beside(&slope), kept).with_energies(u)
    }
}

impl<P: Path> Energy for Start<P> {
    fn energy(&self, rows: &Tensor) -> Tensor {
        let (x, p) = halves(rows);
        self.0.base().energy(&x) + kinetic(&p)
    }
}

impl<P: Path> Base for Start<P> {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let x = self.0.base().sample(n, rng);
        Tensor::cat(&[&x, &rng.normal(&x.size(), x.kind(), x.device())], 1)
    }

    fn sample_stratified(&self, n: usize, rng: &mut Rng) -> Tensor {
        let x = self.0.base().sample_stratified(n, rng);
        Tensor::cat(&[&x, &rng.normal(&x.size(), x.kind(), x.device())], 1)
    }

    fn log_z(&self) -> f64 {
        self.0.base().log_z()
    }
}

impl<P: Path> Path for WithMomenta<P> {
    fn base(&self) -> &dyn Base {
        &self.start
    }

    fn energy(&self, t: f64, rows: &Tensor) -> Tensor {
        let (x, p) = halves(rows);
        self.path().energy(t, &x) + kinetic(&p)
    }

    fn evaluate(&self, t: f64, rows: &Tensor) -> Evaluation {
        let (x, p) = halves(rows);
        let at = self.path().evaluate(t, &x);
        Evaluation::new(rows.shallow_clone(), &at.u + kinetic(&p), Tensor::cat(&[at.grad(), &p], 1))
    }

    fn rate(&self, t: f64, rows: &Tensor) -> Tensor {
        self.path().rate(t, &halves(rows).0)
    }

    fn weighable(&self) -> Result<()> {
        self.path().weighable()
    }
}

impl<P: Differentiable> Differentiable for WithMomenta<P> {}

impl<P: Path> Momenta for At<'_, WithMomenta<P>> {}

/// Those of the path for x; p stays as it is.
impl<P: Whiten> Whiten for WithMomenta<P> {
    fn whitening(&self) -> &Whitening {
        self.map.get_or_init(|| self.path().whitening().beside_identity())
    }
}
