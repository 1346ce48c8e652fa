//! Predict the variance of a flow's log-weights as a function of h and ε from a short unweighted run.

use crate::density::{At, Flow, Noise};
use crate::error::{Error, Result, guard, no_grad};
use crate::kernel::{Kernel, Ula};
use crate::numeric::Rng;
use crate::numeric::fit::{power_iteration, row_norms, runge_kutta};
use tch::{Kind, Tensor};

/// The variance of the log-weights of [`Escorted`](crate::Escorted), predicted from a pilot:
///
/// ```text
/// Var A_T ≈ 2h I₂ + (h²/2ε) I_a + (1/h) ∫ v_t(hε) dt
/// I₂ = ∫E‖sym J_b‖² dt        I_a = ∫E|∂_t b + (b·∇)b|² dt        v_t(τ) = E Var(ULA's increment of step τ | x)
/// ```
///
/// The first two terms are those of the expansion in h at fixed ε; the third, which grows as h²ε³ and faster where ULA
/// becomes unstable, bounds ε from above. All are averages along b's own trajectories.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VarianceModel {
    /// Times of the pilot, the middles of equal intervals.
    pub t: Vec<f64>,
    /// E‖sym J_b‖² at each.
    pub stretch: Vec<f64>,
    /// E|∂_t b + (b·∇)b|² at each.
    pub acceleration: Vec<f64>,
    /// Largest curvature of U along the walkers' steepest direction, E λ_max(−J_s), at each.
    pub curvature: Vec<f64>,
    /// v_t(τ) for each time and each of `tau`.
    langevin: Vec<Vec<f64>>,
    /// Step sizes τ = hε at which v was measured, rising by factors.
    tau: Vec<f64>,
}

impl VarianceModel {
    /// Measures the averages at `times` times with `walkers` walkers that follow b alone.
    ///
    /// # Errors
    /// `Param` for no walkers or no times, `NonFinite` for a velocity, Jacobian or energy that is not finite there.
    pub fn pilot<P: Flow>(path: &P, times: usize, walkers: usize, seed: u64) -> Result<VarianceModel> {
        for (name, n) in [("times", times), ("walkers", walkers)] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        guard(|| Self::measure(path, times, walkers, &mut Rng::new(seed).split(0x006c_6177)))
    }

    fn measure<P: Flow>(path: &P, times: usize, walkers: usize, rng: &mut Rng) -> Result<VarianceModel> {
        let mean = |t: Tensor| t.mean(Kind::Double).double_value(&[]);
        let square = |t: &Tensor| t.square().sum_dim_intlist(-1, false, Kind::Double);
        let mut model = VarianceModel {
            t: (0..times).map(|i| (i as f64 + 0.5) / times as f64).collect(),
            stretch: vec![],
            acceleration: vec![],
            curvature: vec![],
            langevin: vec![],
            tau: vec![],
        };
        let (mut x, mut now) = (path.base().sample(walkers, rng), 0.0);
        for i in 0..times {
            let t = model.t[i];
            x = follow(path, &x, now, t);
            now = t;
            let (b, j) = path.linearise(t, &x);
            let s = (&j + j.transpose(1, 2)) * 0.5;
            model.stretch.push(mean(s.square().sum_dim_intlist([1, 2].as_slice(), false, Kind::Double)));
            // the material derivative, along b itself
            let d = 1e-3 / times as f64;
            let (after, before) =
                no_grad(|| (path.velocity(t + d, &(&x + &b * d)), path.velocity(t - d, &(&x - &b * d))));
            model.acceleration.push(mean(square(&((after - before) / (2.0 * d)))));
            model.curvature.push(mean(curvature(path, t, &x, rng)));
        }
        let stiff = model.curvature.iter().fold(1e-12, |a: f64, b| a.max(*b));
        model.tau = (0..12).map(|i| 4.0 / stiff * 2f64.powi(i - 11)).collect();
        // again along the way, now that the range of τ is known
        (x, now) = (path.base().sample(walkers, rng), 0.0);
        for t in model.t.clone() {
            x = follow(path, &x, now, t);
            now = t;
            let (u, at) = (At::new(path, t), path.evaluate(t, &x));
            let spread = |tau: &f64| {
                // half the squared difference of two steps from the same place is the variance given that place
                let step = |rng: &mut Rng| Ula::new(*tau).step(&u, &at, rng).increment;
                let half = (step(rng) - step(rng)).square() * 0.5;
                // a few walkers at the edge carry the mean: the bulk decides what ESS sees
                trimmed(&half)
            };
            model.langevin.push(model.tau.iter().map(spread).collect());
        }
        let finite = model.stretch.iter().chain(&model.acceleration).chain(&model.curvature).all(|v| v.is_finite());
        if !finite {
            return Err(Error::NonFinite {
                what: "velocity, its Jacobian or the energy",
                place: "along the pilot".into(),
            });
        }
        Ok(model)
    }

    /// I₂.
    pub fn i2(&self) -> f64 {
        average(&self.stretch)
    }

    /// I_a.
    pub fn ia(&self) -> f64 {
        average(&self.acceleration)
    }

    /// Var A_T of Prop. 2 with K = 1/h equal steps and noise ε, constant or of t.
    pub fn variance(&self, h: f64, eps: impl Into<Noise>) -> f64 {
        let eps = eps.into();
        let each = |i: usize| 2.0 * h * self.stretch[i] + self.noise_cost(i, h, eps.at(self.t[i]));
        average(&(0..self.t.len()).map(each).collect::<Vec<_>>())
    }

    /// What depends on ε, at the i-th time.
    fn noise_cost(&self, i: usize, h: f64, eps: f64) -> f64 {
        h * h / (2.0 * eps) * self.acceleration[i] + self.langevin_at(i, h * eps) / h
    }

    /// The predicted ESS/N: e^{−Var}, that of log-normal weights.
    pub fn ess(&self, h: f64, eps: impl Into<Noise>) -> f64 {
        (-self.variance(h, eps)).exp()
    }

    /// The constant ε with the least predicted variance at step h.
    pub fn best_noise(&self, h: f64) -> f64 {
        self.minimise(h, |eps| self.variance(h, eps))
    }

    /// ε(t) with the least predicted variance at step h, time by time.
    pub fn best_schedule(&self, h: f64) -> Noise {
        let best = |i: usize| self.minimise(h, |eps| self.noise_cost(i, h, eps));
        Noise::Knots((0..self.t.len()).map(|i| [self.t[i], best(i)]).collect())
    }

    /// The least of `f` over the noises at which v was measured, on a fine logarithmic grid.
    fn minimise(&self, h: f64, f: impl Fn(f64) -> f64) -> f64 {
        let (lo, hi) = (self.tau[0] / h, self.tau[self.tau.len() - 1] / h);
        let grid = (0..=200).map(|i| lo * (hi / lo).powf(i as f64 / 200.0));
        grid.map(|eps| (f(eps), eps)).fold((f64::INFINITY, lo), |a, b| if b.0 < a.0 { b } else { a }).1
    }

    /// v at the i-th time by logarithmic interpolation; below the measured range as τ³.
    fn langevin_at(&self, i: usize, tau: f64) -> f64 {
        let (v, n) = (&self.langevin[i], self.tau.len());
        let log = |v: f64| v.max(1e-300).ln();
        if tau <= self.tau[0] {
            return v[0] * (tau / self.tau[0]).powi(3);
        }
        let k = self.tau.partition_point(|s| *s < tau).clamp(1, n - 1);
        let share = (tau / self.tau[k - 1]).ln() / (self.tau[k] / self.tau[k - 1]).ln();
        (log(v[k - 1]) + share * (log(v[k]) - log(v[k - 1]))).exp()
    }
}

pub(super) fn average(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len().max(1) as f64
}

/// The mean without the largest hundredth.
fn trimmed(v: &Tensor) -> f64 {
    let n = v.size()[0];
    let kept = (n - n / 100).max(1);
    let (low, _) = v.to_kind(Kind::Double).nan_to_num(f64::MAX, f64::MAX, None).sort(0, false);
    low.narrow(0, 0, kept).mean(Kind::Double).double_value(&[])
}

/// Positions that move with b from one time to another.
fn follow<P: Flow>(path: &P, x: &Tensor, from: f64, to: f64) -> Tensor {
    no_grad(|| runge_kutta(|t, x| path.velocity(t, x), x, (from, to), 4))
}

/// λ_max(−J_s) at each row by a few power iterations on differences of ∇U, `[n]`.
fn curvature<P: Flow>(path: &P, t: f64, x: &Tensor, rng: &mut Rng) -> Tensor {
    let reach = if x.kind() == Kind::Double { 1e-5 } else { 1e-2 };
    let grad = |x: &Tensor| path.evaluate(t, x).grad().copy();
    let product = |v: &Tensor| (grad(&(x + v * reach)) - grad(&(x + v * -reach))) / (2.0 * reach);
    let (_, turned) = power_iteration(product, rng.normal(&x.size(), x.kind(), x.device()), 8);
    row_norms(&turned).squeeze_dim(-1)
}
