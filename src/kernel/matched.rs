//! Move as `Escorted` does, and let the backward density have the covariance that the flow gives the noise.

use super::escorted::{Direction, check_velocity, leave, regain, stride};
use super::flow::Order;
use super::{Arrival, EvalCounts, Integrator, Kernel, Move, Reversal};
use crate::density::Noise;
use crate::density::{At, Evaluation, Flow};
use crate::error::Result;
use crate::numeric::blocks::read;
use crate::numeric::{Fresh, Real, Rng, combine, for_blocks, on_host};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The forward step of [`Escorted`](super::Escorted) with the backward density N(x; m(y), 2hε e^{−2hS}),
/// S = sym J_b(t_{k+1}, y) and m(y) the same integrator's step with −b.
///
/// The escorted kernel's leading fluctuation is that of ξᵀSξ around its mean tr S = ∇·b; a covariance that shrinks
/// where the flow stretches cancels it: A_T is O(h) instead of O(√h), with one Jacobian per step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matched {
    /// The noise ε > 0, in units of x² per unit of t.
    pub eps: Noise,
    /// The drift's integrator, the same in both densities.
    #[serde(default = "midpoint")]
    pub integrator: Integrator,
}

fn midpoint() -> Integrator {
    Integrator::Midpoint
}

impl Matched {
    /// With a midpoint drift.
    pub fn new(eps: impl Into<Noise>) -> Self {
        Matched { eps: eps.into(), integrator: Integrator::Midpoint }
    }

    /// How the weights vanish as h → 0.
    pub fn order(&self) -> Order {
        Order { increment: 1.5, total: 1.0 }
    }
}

impl<P: Flow + ?Sized> Kernel<At<'_, P>> for Matched {
    fn forward(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Move {
        leave(u, at, &self.eps, self.integrator, rng)
    }

    fn backward(&self, u: &At<P>, at: &Evaluation, mv: Move, _rng: &mut Rng) -> Arrival {
        let (eps, n) = (self.eps.at(u.t - 0.5 * u.h), mv.y.size()[0]);
        let (b, j) = u.path.linearise(u.t, &mv.y);
        let point = u.path.evaluate(u.t, &mv.y).with_drift(b);
        let (mean, mut cost) = stride(u, &point, eps, Direction::Backward, self.integrator);
        cost += EvalCounts { jacobian: n as u64, ..EvalCounts::evaluation(n as usize) };
        let lambda = lambda(&point, &mean, &j, &at.x, u.h, eps);
        Arrival { lambda, evaluation: point, acceptance: None, cost }
    }

    /// x is Gaussian around m(y) with the covariance 2hε e^{−2hS}.
    fn reverse(&self, from: &At<P>, to: &At<P>, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let (eps, n) = (self.eps.at(to.t - 0.5 * to.h), at.len());
        let (b, j) = to.path.linearise(to.t, &at.x);
        let point =
            Evaluation::new(at.x.shallow_clone(), at.u.shallow_clone(), at.grad().shallow_clone()).with_drift(b);
        let (mean, mut cost) = stride(to, &point, eps, Direction::Backward, self.integrator);
        cost.jacobian += n as u64;
        let noise = rng.normal(&at.x.size(), Kind::Double, at.x.device());
        let wide = j.to_kind(Kind::Double);
        // e^{−hS} is a square root of the covariance's shape
        let shrink = ((&wide + wide.transpose(1, 2)) * (-0.5 * to.h)).matrix_exp();
        let noise = shrink.matmul(&noise.unsqueeze(-1)).squeeze_dim(-1).to_kind(at.x.kind());
        let x = combine(&[(1.0, &at.x), (1.0, &mean), ((2.0 * to.h * eps).sqrt(), &noise)]);
        let lambda = lambda(&point, &mean, &j, &x, to.h, eps);
        let (there, alpha, more) = regain(from, &x, &at.x, eps, self.integrator);
        cost += more;
        Ok(Reversal::new(there, alpha - lambda, cost))
    }

    fn validate(&self) -> Result<()> {
        self.eps.validate()
    }

    fn check(&self, u: &At<P>, at: &Evaluation) -> Result<()> {
        check_velocity(u, at)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Matched", self)
    }
}

/// λ of the move back from `point` to x, with its `mean` displacement and the Jacobian `j` of b at `point`, `[n]` in f64.
fn lambda(point: &Evaluation, mean: &Tensor, j: &Tensor, x: &Tensor, h: f64, eps: f64) -> Tensor {
    let wide = |t: &Tensor| t.to_kind(Kind::Double);
    let r = combine(&[(1.0, &wide(x)), (-1.0, &wide(&point.x)), (-1.0, &wide(mean))]);
    wide(&point.u) + stretched(j, &r, h, 4.0 * h * eps)
}

/// rᵀe^{2hS}r/`scale` − h tr S, what −log of the backward density is beyond a constant, `[n]` in f64: S the symmetric
/// part of `j` `[n, d, d]`, r `[n, d]` in f64. The determinant of e^{−2hS} is e^{−2h tr S}.
fn stretched(j: &Tensor, r: &Tensor, h: f64, scale: f64) -> Tensor {
    if on_host(j) {
        let d = r.size()[1] as usize;
        return match j.kind() {
            Kind::Float => stretched_rows::<f32>(j, r, d, h, scale),
            _ => stretched_rows::<f64>(j, r, d, h, scale),
        };
    }
    let j = j.to_kind(Kind::Double);
    let s2 = (&j + j.transpose(1, 2)) * h;
    let grown = s2.matrix_exp().matmul(&r.unsqueeze(-1)).squeeze_dim(-1);
    let trace = j.diagonal(0, 1, 2).sum_dim_intlist(-1, false, Kind::Double);
    (r * grown).sum_dim_intlist(-1, false, Kind::Double) / scale - trace * h
}

fn stretched_rows<T: Real>(j: &Tensor, r: &Tensor, d: usize, h: f64, scale: f64) -> Tensor {
    let (j, r, mut out) = (read::<T>(j), read::<f64>(r), Fresh::<f64>::new(&r.size()[..1]));
    let n = out.elements().len();
    for_blocks(out.elements(), 1, &mut vec![(); n], 1, |first, out, _| {
        let (mut s2, mut term, mut next) = (vec![0.0; d * d], vec![0.0; d], vec![0.0; d]);
        for ((out, j), r) in out.iter_mut().zip(j[first * d * d..].chunks(d * d)).zip(r[first * d..].chunks(d)) {
            let (mut trace, mut reach) = (0.0, 0.0f64);
            for a in 0..d {
                trace += j[a * d + a].f();
                for b in 0..d {
                    s2[a * d + b] = h * (j[a * d + b].f() + j[b * d + a].f());
                }
                reach = reach.max(s2[a * d..(a + 1) * d].iter().map(|v| v.abs()).sum());
            }
            // The exponential's action on one vector by its series, to rounding: Σ_m rᵀ(2hS)^m r/m!.
            term.copy_from_slice(r);
            let mut sum: f64 = r.iter().map(|r| r * r).sum();
            let (mut bound, mut m) = (1.0, 1.0);
            while bound > 1e-18 && m < 500.0 {
                for (next, row) in next.iter_mut().zip(s2.chunks(d)) {
                    *next = row.iter().zip(&term).map(|(s, t)| s * t).sum::<f64>() / m;
                }
                std::mem::swap(&mut term, &mut next);
                sum += term.iter().zip(r).map(|(t, r)| t * r).sum::<f64>();
                bound *= reach / m;
                m += 1.0;
            }
            *out = if reach.is_finite() { sum / scale - h * trace } else { f64::NAN };
        }
    });
    out.tensor()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn the_series_is_the_exponential() {
        let mut rng = Rng::new(3);
        for d in [1, 2, 5] {
            let j = rng.normal(&[600, d, d], Kind::Double, Device::Cpu);
            let r = rng.normal(&[600, d], Kind::Double, Device::Cpu);
            for h in [0.01, 0.3] {
                let s2 = (&j + j.transpose(1, 2)) * h;
                let grown = s2.matrix_exp().matmul(&r.unsqueeze(-1)).squeeze_dim(-1);
                let square = (&r * grown).sum_dim_intlist(-1, false, Kind::Double);
                let (_, log_det) = (-&s2).matrix_exp().slogdet();
                // −log of N(r; 0, Σ) without constants, Σ = (scale/2) e^{−2hS}
                let exact = square / 0.7 + log_det * 0.5;
                let gap = ((stretched(&j, &r, h, 0.7) - &exact) / (exact.abs() + 1.0)).abs().max().double_value(&[]);
                assert!(gap < 1e-11, "d = {d}, h = {h}: {gap}");
            }
        }
    }
}
