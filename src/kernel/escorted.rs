//! Move by Langevin dynamics escorted by a velocity, Prop. 2, eqs (21)-(22), with Euler, midpoint or Heun drifts.

use super::flow::Order;
use super::{Arrival, EvalCounts, Kernel, Move, Reversal};
use crate::density::Noise;
use crate::density::{At, Evaluation, Flow};
use crate::error::{Error, Result};
use crate::numeric::{Rng, combine, gap_square};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// How the mean of a Gaussian step is found from the drift: one, or two evaluations of (b, s).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Integrator {
    /// v at the start: eq. (20).
    #[default]
    Euler,
    /// v in the middle, reached by half an Euler step.
    Midpoint,
    /// The mean of v at the start and at the end of an Euler step.
    Heun,
}

/// y = x + h(b_k + εs_k)(x) + √(2hε) ξ with the backward density N(x; y + h(−b_{k+1} + εs_{k+1})(y), 2hε I).
///
/// s = −∇U. The increment α − λ equals ζ_k(x, y) of eq. (22), whose t and θ arguments are read as t_k and X_k; the
/// normalisers of (27)-(28), which should read (4πhε)^{−d/2}, cancel because both halves use the same h_k and ε_k. With
/// b = 0 and ε = 1 this is [`Ula`](super::Ula) with step h.
///
/// A_T is O(√h), not O(h^{1/2}·h) as Lemma 2 has it: ξᵀJ_bξ is not ∇·b, it has variance 2‖sym J_b‖². A midpoint or Heun
/// drift does not change that; [`Matched`](super::Matched) and [`Split`](super::Split) do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escorted {
    /// The noise ε > 0, in units of x² per unit of t.
    pub eps: Noise,
    /// The drift's integrator, the same in both densities.
    #[serde(default)]
    pub integrator: Integrator,
}

impl Escorted {
    /// Prop. 2.
    pub fn new(eps: impl Into<Noise>) -> Self {
        Escorted { eps: eps.into(), integrator: Integrator::Euler }
    }

    /// With a midpoint drift.
    pub fn midpoint(eps: impl Into<Noise>) -> Self {
        Escorted { eps: eps.into(), integrator: Integrator::Midpoint }
    }

    /// With Heun's drift.
    pub fn heun(eps: impl Into<Noise>) -> Self {
        Escorted { eps: eps.into(), integrator: Integrator::Heun }
    }

    /// What is left of the weights as h → 0: only their means are of higher order.
    pub fn order(&self) -> Order {
        Order { increment: 1.0, total: 0.5 }
    }
}

/// Which way a step goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Direction {
    /// From t_k with b.
    Forward,
    /// From t_{k+1} with −b.
    Backward,
}

/// The mean displacement h·v from `from`, v = ±b + εs, and what it cost; `at.t` is the time at `from`.
pub(super) fn stride<P: Flow + ?Sized>(
    at: &At<P>,
    from: &Evaluation,
    eps: f64,
    way: Direction,
    integrator: Integrator,
) -> (Tensor, EvalCounts) {
    let (sign, h) = (if way == Direction::Forward { 1.0 } else { -1.0 }, at.h);
    let (mut cost, n) = (EvalCounts::default(), from.len());
    let step = |p: &Evaluation, b: &Tensor| combine(&[(sign * h, b), (-eps * h, p.grad())]);
    let first = match from.drift() {
        Some(b) => step(from, b),
        None => {
            cost.drift += n as u64;
            step(from, &crate::error::no_grad(|| at.path.velocity(at.t, &from.x)))
        }
    };
    let share = match integrator {
        Integrator::Euler => return (first, cost),
        Integrator::Midpoint => 0.5,
        Integrator::Heun => 1.0,
    };
    let there = at.path.arrive(at.t + sign * share * h, &combine(&[(1.0, &from.x), (share, &first)]));
    cost += EvalCounts::arrival(n);
    let second = there.drift().map_or_else(|| first.shallow_clone(), |b| step(&there, b));
    (if integrator == Integrator::Heun { combine(&[(0.5, &first), (0.5, &second)]) } else { second }, cost)
}

/// A Gaussian step forward with α = U_k(x) + |y − x − hv|²/4hε: what [`Escorted`] and `Matched` share.
pub(super) fn leave<P: Flow + ?Sized>(
    at: &At<P>,
    from: &Evaluation,
    eps: &Noise,
    i: Integrator,
    rng: &mut Rng,
) -> Move {
    let eps = eps.at(at.t + 0.5 * at.h);
    let (mean, cost) = stride(at, from, eps, Direction::Forward, i);
    let (y, exponent) = gaussian_step(&from.x, &mean, 2.0 * at.h * eps, rng);
    Move { y, alpha: from.u.to_kind(Kind::Double) + exponent, at_y: None, acceptance: None, cost, fault: None }
}

/// y = x + mean + √variance ξ, with |y − x − mean|²/2variance.
fn gaussian_step(x: &Tensor, mean: &Tensor, variance: f64, rng: &mut Rng) -> (Tensor, Tensor) {
    let noise = rng.normal(&x.size(), x.kind(), x.device());
    let y = combine(&[(1.0, x), (1.0, mean), (variance.sqrt(), &noise)]);
    // from the rounded y: the weight must belong to the move that was made
    let exponent = gap_square(&y, x, mean) / (2.0 * variance);
    (y, exponent)
}

/// The end of a reverse step at x, and α of the forward move from there to y: what [`Escorted`] and `Matched` share.
pub(super) fn regain<P: Flow + ?Sized>(
    at: &At<P>,
    x: &Tensor,
    y: &Tensor,
    eps: f64,
    i: Integrator,
) -> (Evaluation, Tensor, EvalCounts) {
    let there = at.path.arrive(at.t, x);
    let (mean, mut cost) = stride(at, &there, eps, Direction::Forward, i);
    cost += EvalCounts::arrival(there.len());
    let alpha = there.u.to_kind(Kind::Double) + gap_square(y, x, &mean) / (4.0 * at.h * eps);
    (there, alpha, cost)
}

/// b in the shape of x, and finite?
pub(super) fn check_velocity<P: Flow + ?Sized>(at: &At<P>, from: &Evaluation) -> Result<()> {
    let b = crate::error::guard(|| Ok(crate::error::no_grad(|| at.path.velocity(at.t, &from.x))))?;
    if b.size() != from.x.size() {
        let expected = format!("{:?}, the shape of the walkers", from.x.size());
        return Err(Error::Shape { name: "velocity", got: b.size(), expected });
    }
    if !b.sum(Kind::Double).double_value(&[]).is_finite() {
        return Err(Error::NonFinite { what: "velocity", place: format!("at t = {}", at.t) });
    }
    Ok(())
}

impl<P: Flow + ?Sized> Kernel<At<'_, P>> for Escorted {
    fn forward(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Move {
        leave(u, at, &self.eps, self.integrator, rng)
    }

    fn backward(&self, u: &At<P>, at: &Evaluation, mv: Move, _rng: &mut Rng) -> Arrival {
        let eps = self.eps.at(u.t - 0.5 * u.h);
        let point = u.path.arrive(u.t, &mv.y);
        let (mean, mut cost) = stride(u, &point, eps, Direction::Backward, self.integrator);
        cost += EvalCounts::arrival(point.len());
        let lambda = point.u.to_kind(Kind::Double) + gap_square(&at.x, &point.x, &mean) / (4.0 * u.h * eps);
        Arrival { lambda, evaluation: point, acceptance: None, cost }
    }

    /// x is an escorted move from y at t_{k+1} with −b.
    fn reverse(&self, from: &At<P>, to: &At<P>, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let eps = self.eps.at(to.t - 0.5 * to.h);
        let (mean, mut cost) = stride(to, at, eps, Direction::Backward, self.integrator);
        let (x, exponent) = gaussian_step(&at.x, &mean, 2.0 * to.h * eps, rng);
        let (there, alpha, more) = regain(from, &x, &at.x, eps, self.integrator);
        cost += more;
        Ok(Reversal::new(there, alpha - (at.u.to_kind(Kind::Double) + exponent), cost))
    }

    fn validate(&self) -> Result<()> {
        self.eps.validate()
    }

    fn check(&self, u: &At<P>, at: &Evaluation) -> Result<()> {
        check_velocity(u, at)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Escorted", self)
    }
}

/// ζ_k(x, y) of eq. (22) as it is printed, for points with their velocities: `x` at t_k, `y` at t_{k+1}. `[n]`, f64.
///
/// The kernel computes the same number as α − λ; this is for paths whose noise comes from elsewhere.
///
/// # Errors
/// A point without a velocity.
pub fn zeta(x: &Evaluation, y: &Evaluation, h: f64, eps: f64) -> Result<Tensor> {
    let drift = |p: &Evaluation| {
        let missing = || Error::param("drift", "none", "points with a velocity: see `Evaluation::with_drift`");
        p.drift().map(|b| b.to_kind(Kind::Double)).ok_or_else(missing)
    };
    let wide = |t: &Tensor| t.to_kind(Kind::Double);
    let (b, b1, s, s1) = (drift(x)?, drift(y)?, -wide(x.grad()), -wide(y.grad()));
    let dot = |a: &Tensor, b: &Tensor| (a * b).sum_dim_intlist(-1, false, Kind::Double);
    let step = wide(&x.x) - wide(&y.x);
    Ok(wide(&x.u) - wide(&y.u)
        + dot(&step, &((&b - &b1) / eps + (&s + &s1))) * 0.5
        + ((dot(&b, &b) - dot(&b1, &b1)) / eps + (dot(&s, &s) - dot(&s1, &s1)) * eps) * (0.25 * h)
        + (dot(&b, &s) + dot(&b1, &s1)) * (0.5 * h))
}
