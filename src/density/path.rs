//! Name the families that walkers follow from t = 0 to t = 1: energies U_t, and flows that also have a velocity b.

use crate::density::{Base, Differentiable, Energy, Evaluation, RowNumbers};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use tch::{Kind, Tensor};

/// A family of energies U_t, t from 0 to 1, with a distribution that walkers can be drawn from exactly.
pub trait Path {
    /// The distribution that X_0 is drawn from: ρ_0 itself, or one near it; walkers start with A_0 = U_base − U_0.
    fn base(&self) -> &dyn Base;

    /// U_t at rows x `[n, d]` → `[n]`.
    fn energy(&self, t: f64, x: &Tensor) -> Tensor;

    /// U_t and ∇U_t; by autograd unless a closed form overrides it.
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        Evaluation::autograd(&At::new(self, t), x)
    }

    /// ∂_tU at rows x `[n, d]` → `[n]`, f64; by a central difference (one-sided at the ends) unless overridden.
    fn rate(&self, t: f64, x: &Tensor) -> Tensor {
        // where rounding and the third derivative are both small
        let reach = if x.kind() == Kind::Double { 1e-5 } else { 1e-2 };
        let (a, b) = ((t - reach).max(0.0), (t + reach).min(1.0));
        let u = |t| crate::error::no_grad(|| self.energy(t, x)).to_kind(Kind::Double);
        (u(b) - u(a)) / (b - a)
    }

    /// As [`Energy::row_numbers`].
    fn row_numbers(&self) -> Option<RowNumbers> {
        None
    }

    /// Whether walkers can be weighed along this path.
    ///
    /// # Errors
    /// A path without an energy, such as a learned score; by default none.
    fn weighable(&self) -> Result<()> {
        Ok(())
    }
}

impl<P: Path + ?Sized> Path for &P {
    fn base(&self) -> &dyn Base {
        (**self).base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        (**self).energy(t, x)
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        (**self).evaluate(t, x)
    }
    fn rate(&self, t: f64, x: &Tensor) -> Tensor {
        (**self).rate(t, x)
    }
    fn row_numbers(&self) -> Option<RowNumbers> {
        (**self).row_numbers()
    }
    fn weighable(&self) -> Result<()> {
        (**self).weighable()
    }
}

/// A path with a velocity b that would carry ρ_t along by itself: ∂_tρ + ∇·(bρ) = 0 (Prop. 2 prints the wrong sign).
///
/// The weights are exact for *any* b; the nearer it is to solving that equation, the less they vary.
pub trait Flow: Path + Differentiable {
    /// b(t, x) of eq. (17): x `[n, d]` → `[n, d]`, differentiable in x.
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor;

    /// b and its Jacobian at x: `[n, d]` and `[n, d, d]` with entry `[i, j]` = ∂b_i/∂x_j.
    ///
    /// The default takes one forward pass and d vector products; closed forms and networks that can push tangents
    /// forward override it.
    fn linearise(&self, t: f64, x: &Tensor) -> (Tensor, Tensor) {
        vector_products(x, |x| self.velocity(t, x))
    }

    /// b at x and J_b applied to `tangents` `[n, d, m]`, in forward mode where the flow can: `[n, d]` and `[n, d, m]`.
    fn push(&self, t: f64, x: &Tensor, tangents: &Tensor) -> (Tensor, Tensor) {
        let (b, j) = self.linearise(t, x);
        (b, j.matmul(tangents))
    }

    /// U, ∇U and b at x in one [`Evaluation`], for flows that share work between them.
    fn arrive(&self, t: f64, x: &Tensor) -> Evaluation {
        let point = self.evaluate(t, x);
        point.with_drift(crate::error::no_grad(|| self.velocity(t, x)))
    }
}

/// The value and the Jacobian of f at each row, by one forward pass and d vector-Jacobian products.
pub(crate) fn vector_products(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> (Tensor, Tensor) {
    let leaf = x.detach().set_requires_grad(true);
    let value = tch::with_grad(|| f(&leaf));
    let d = x.size()[1];
    let row = |i: i64| {
        if !value.requires_grad() {
            return x.zeros_like();
        }
        let part = tch::with_grad(|| value.select(1, i).sum(value.kind()));
        let g = Tensor::run_backward(&[part], &[&leaf], i + 1 < d, false).swap_remove(0);
        if g.defined() { g } else { x.zeros_like() }
    };
    let rows: Vec<Tensor> = (0..d).map(row).collect();
    (value.detach(), Tensor::stack(&rows, 1))
}

/// The energy of a path at one time, and the step in time being made: what a kernel sees.
#[derive(Debug)]
pub struct At<'a, P: ?Sized> {
    /// The path.
    pub path: &'a P,
    /// The time in [0, 1]: t_k in the forward half of a step, t_{k+1} in the backward half.
    pub t: f64,
    /// h_k = t_{k+1} − t_k, the same number in both halves; 0 where no step is being made.
    pub h: f64,
}

impl<'a, P: ?Sized> At<'a, P> {
    /// Standing at time t.
    pub fn new(path: &'a P, t: f64) -> Self {
        At { path, t, h: 0.0 }
    }

    /// The two ends of a step from t to `next`, for the forward and the backward half.
    pub fn step(path: &'a P, t: f64, next: f64) -> (Self, Self) {
        let h = next - t;
        (At { path, t, h }, At { path, t: next, h })
    }
}

impl<P: ?Sized> Clone for At<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: ?Sized> Copy for At<'_, P> {}

impl<P: Path + ?Sized> Energy for At<'_, P> {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.path.energy(self.t, x)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.path.evaluate(self.t, x)
    }
}

impl<P: Path + Differentiable + ?Sized> Differentiable for At<'_, P> {}

/// The geometric path U_t = (1 − t) U_base + t U from an exactly sampled distribution to an energy.
#[derive(Debug)]
pub struct Geometric<B, E> {
    /// The distribution at t = 0.
    pub base: B,
    /// The energy at t = 1.
    pub target: E,
}

/// The base of a differentiable target is one too: their states are the same.
impl<B: Base, E: Differentiable> Differentiable for Geometric<B, E> {}

/// s v, and 0 for s = 0, also where v = +∞: there the target has no density, but the path still has one at t = 0.
fn share(v: &Tensor, s: f64) -> Tensor {
    if s == 0.0 { v.zeros_like() } else { v * s }
}

impl<B: Base, E: Energy> Path for Geometric<B, E> {
    fn base(&self) -> &dyn Base {
        &self.base
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        share(&self.base.energy(x), 1.0 - t) + share(&self.target.energy(x), t)
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let (a, b) = (self.base.evaluate(x), self.target.evaluate(x));
        let between = |a: &Tensor, b: &Tensor| share(a, 1.0 - t) + share(b, t);
        Evaluation::new(x.shallow_clone(), between(&a.u, &b.u), between(a.grad(), b.grad()))
    }

    fn row_numbers(&self) -> Option<RowNumbers> {
        self.target.row_numbers()
    }

    fn rate(&self, _t: f64, x: &Tensor) -> Tensor {
        crate::error::no_grad(|| {
            self.target.energy(x).to_kind(Kind::Double) - self.base.energy(x).to_kind(Kind::Double)
        })
    }
}

impl Base for Box<dyn Base> {
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

/// Where walkers stop along a path: 0 = t_0 < t_1 < … < t_K = 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grid(Vec<f64>);

impl Grid {
    /// t_k = k/K.
    ///
    /// # Errors
    /// K = 0.
    pub fn uniform(steps: usize) -> Result<Self> {
        if steps == 0 {
            return Err(Error::param("steps", 0, "at least 1"));
        }
        Ok(Grid((0..=steps).map(|k| k as f64 / steps as f64).collect()))
    }

    /// The given times.
    ///
    /// # Errors
    /// Fewer than two, not rising, not from 0 to 1.
    pub fn new(times: &[f64]) -> Result<Self> {
        let rising = times.windows(2).all(|w| w[0] < w[1]);
        if times.len() < 2 || !rising || times[0] != 0.0 || times[times.len() - 1] != 1.0 {
            let shown: Vec<String> = times.iter().take(6).map(f64::to_string).collect();
            let more = if times.len() > 6 { ", …" } else { "" };
            let expected = "at least two rising times, the first 0 and the last 1";
            return Err(Error::param("times", format!("[{}{more}]", shown.join(", ")), expected));
        }
        Ok(Grid(times.to_vec()))
    }

    /// Steps K.
    pub fn steps(&self) -> usize {
        self.0.len() - 1
    }

    /// t_k; t_K beyond the end.
    pub fn at(&self, k: usize) -> f64 {
        self.0[k.min(self.0.len() - 1)]
    }
}
