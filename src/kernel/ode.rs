//! Move walkers by the flow alone, without noise; the weight holds the exact log-determinant of the map, as in a normalizing
//! flow.

use super::escorted::check_velocity;
use super::flow::Order;
use super::{Arrival, EvalCounts, Kernel, Move, Reversal};
use crate::density::{At, Evaluation, Flow};
use crate::error::{Result, no_grad};
use crate::numeric::blocks::read;
use crate::numeric::{Fresh, Real, Rng, combine, for_blocks, on_host};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// One step of an integrator of ẋ = b(t, x), as a map with a known Jacobian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Map {
    /// x + h b(t, x): one (b, J_b).
    Euler,
    /// The classical Runge-Kutta map of order 4: four (b, J_b).
    #[default]
    Rk4,
}

/// y = T_h(x), α = U_k(x) + log det ∂T_h(x), λ = U_{k+1}(y): exact at every h for which the map is one-to-one (h times
/// the Lipschitz constant of b below 1 suffices), whatever its error as an integrator. h∇·b instead is not exact.
///
/// A step at which the determinant is not positive ends the run, naming the number of walkers it happened to.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ode {
    /// The map.
    pub map: Map,
}

impl Ode {
    /// With this map.
    pub fn new(map: Map) -> Self {
        Ode { map }
    }

    /// How the weights vanish as h → 0: one order less in total than in an increment, because the errors add up.
    pub fn order(&self) -> Order {
        self.map.order()
    }
}

impl Map {
    pub(super) fn order(self) -> Order {
        match self {
            Map::Euler => Order { increment: 2.0, total: 1.0 },
            Map::Rk4 => Order { increment: 5.0, total: 4.0 },
        }
    }

    /// T_h(x) `[n, d]`, and the terms c_i J_i whose sum is ∂T_h(x) − I.
    fn apply<P: Flow + ?Sized>(self, at: &At<P>, x: &Tensor) -> (Tensor, Vec<(f64, Tensor)>) {
        let (t, h) = (at.t, at.h);
        let (k1, j1) = at.path.linearise(t, x);
        if self == Map::Euler {
            return (combine(&[(1.0, x), (h, &k1)]), vec![(h, j1)]);
        }
        // Each stage's Jacobian in the start x: J(stage) · ∂stage/∂x.
        let stage = |share: f64, k: &Tensor, j: &Tensor| {
            let place = combine(&[(1.0, x), (share * h, k)]);
            at.path.push(t + share * h, &place, &one_plus(share * h, j))
        };
        let (k2, j2) = stage(0.5, &k1, &j1);
        let (k3, j3) = stage(0.5, &k2, &j2);
        let (k4, j4) = stage(1.0, &k3, &j3);
        let (end, mid) = (h / 6.0, h / 3.0);
        let y = combine(&[(1.0, x), (end, &k1), (mid, &k2), (mid, &k3), (end, &k4)]);
        (y, vec![(end, j1), (mid, j2), (mid, j3), (end, j4)])
    }

    /// T_h(x) alone.
    fn image<P: Flow + ?Sized>(self, at: &At<P>, x: &Tensor) -> Tensor {
        let (t, h) = (at.t, at.h);
        let b = |share: f64, x: &Tensor| no_grad(|| at.path.velocity(t + share * h, x));
        let k1 = b(0.0, x);
        if self == Map::Euler {
            return combine(&[(1.0, x), (h, &k1)]);
        }
        let stage = |share: f64, k: &Tensor| b(share, &combine(&[(1.0, x), (share * h, k)]));
        let k2 = stage(0.5, &k1);
        let k3 = stage(0.5, &k2);
        let k4 = stage(1.0, &k3);
        let (end, mid) = (h / 6.0, h / 3.0);
        combine(&[(1.0, x), (end, &k1), (mid, &k2), (mid, &k3), (end, &k4)])
    }

    fn stages(self) -> u64 {
        if self == Map::Euler { 1 } else { 4 }
    }

    /// log det of the map's Jacobian at each walker, and why it cannot be used, if it cannot.
    fn log_det<P: Flow + ?Sized>(at: &At<P>, terms: &[(f64, Tensor)]) -> (Tensor, Option<String>) {
        let log_det = log_det(&terms.iter().map(|(c, j)| (*c, j)).collect::<Vec<_>>());
        let folded = log_det.isnan().sum(Kind::Int64).int64_value(&[]);
        let fault = (folded > 0).then(|| {
            let (n, h) = (log_det.size()[0], at.h);
            format!(
                "the map folds: its determinant is not positive at {folded} of {n} walkers at t = {:.4}. \
                 A smaller step than h = {h} is needed",
                at.t
            )
        });
        (log_det, fault)
    }

    /// Carries walkers back from y = T_h(x) to x, found by Newton's method: x under U_k with α − λ, λ = `lambda`.
    pub(super) fn uncarry<P: Flow + ?Sized>(self, at: &At<P>, y: &Tensor, lambda: &Tensor) -> Reversal {
        let wide = |t: &Tensor| t.to_kind(Kind::Double);
        // rounding of positions in their own kind, and what is still a solution
        let (tight, loose) = if y.kind() == Kind::Double { (1e-14, 1e-10) } else { (1e-7, 1e-5) };
        let size = wide(y).abs().amax([-1], false) + 1.0;
        let (mut x, mut before, mut cost) = (y.shallow_clone(), f64::INFINITY, EvalCounts::default());
        let (terms, gap) = loop {
            let (image, terms) = self.apply(at, &x);
            cost.jacobian += self.stages() * y.size()[0] as u64;
            let miss = wide(&image) - wide(y);
            let gap = (miss.abs().amax([-1], false) / &size).max().double_value(&[]);
            if gap <= tight || !gap.is_finite() || gap > 0.5 * before {
                break (terms, gap);
            }
            before = gap;
            let parts: Vec<(f64, Tensor)> = terms.iter().map(|(c, j)| (*c, wide(j))).collect();
            let jacobian = one_plus(1.0, &combine(&parts.iter().map(|(c, j)| (*c, j)).collect::<Vec<_>>()));
            let (step, _) = Tensor::linalg_solve_ex(&jacobian, &miss.unsqueeze(-1), true, false);
            x = (wide(&x) - step.squeeze_dim(-1)).to_kind(y.kind());
        };
        let (log_det, folded) = Self::log_det(at, &terms);
        let point = at.path.evaluate(at.t, &x);
        cost += EvalCounts::evaluation(point.len());
        let increment = point.u.to_kind(Kind::Double) + log_det - lambda;
        let solved = gap <= loose;
        let lost = (!solved).then(|| {
            let h = at.h;
            format!("the map of step h = {h} at t = {:.4} could not be inverted: a smaller step is needed", at.t)
        });
        Reversal { fault: lost.or(folded), ..Reversal::new(point, increment, cost) }
    }

    /// Carries the walkers; α = U_k(x) + log det.
    pub(super) fn carry<P: Flow + ?Sized>(self, at: &At<P>, from: &Evaluation) -> Move {
        let (y, terms) = self.apply(at, &from.x);
        let (log_det, fault) = Self::log_det(at, &terms);
        let cost = EvalCounts { jacobian: self.stages() * from.len() as u64, ..Default::default() };
        Move { y, alpha: from.u.to_kind(Kind::Double) + log_det, at_y: None, acceptance: None, cost, fault }
    }
}

impl<P: Flow + ?Sized> Kernel<At<'_, P>> for Ode {
    fn forward(&self, u: &At<P>, at: &Evaluation, _rng: &mut Rng) -> Move {
        self.map.carry(u, at)
    }

    /// The map without its Jacobian, which in many dimensions costs far more than the map.
    fn forward_unweighted(&self, u: &At<P>, at: &Evaluation, _rng: &mut Rng) -> Move {
        let cost = EvalCounts { drift: self.map.stages() * at.len() as u64, ..Default::default() };
        Move::new(self.map.image(u, &at.x), at.u.to_kind(Kind::Double), cost)
    }

    fn backward(&self, u: &At<P>, _at: &Evaluation, mv: Move, _rng: &mut Rng) -> Arrival {
        let point = u.path.evaluate(u.t, &mv.y);
        Arrival {
            lambda: point.u.to_kind(Kind::Double),
            acceptance: None,
            cost: EvalCounts::evaluation(point.len()),
            evaluation: point,
        }
    }

    /// The inverse of the map of t_k.
    fn reverse(&self, from: &At<P>, _to: &At<P>, at: &Evaluation, _rng: &mut Rng) -> Result<Reversal> {
        Ok(self.map.uncarry(from, &at.x, &at.u.to_kind(Kind::Double)))
    }

    fn check(&self, u: &At<P>, at: &Evaluation) -> Result<()> {
        check_velocity(u, at)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Ode", self)
    }
}

/// I + c·m, for m `[n, d, d]`.
fn one_plus(c: f64, m: &Tensor) -> Tensor {
    let scaled = m * c;
    // fresh, so that nobody else holds what changes here
    let _ = scaled.diagonal(0, 1, 2).g_add_scalar_(1.0);
    scaled
}

/// log det(I + Σ_i c_i m_i) for matrices m_i `[n, d, d]`, `[n]` in f64; NaN where the determinant is not positive.
fn log_det(terms: &[(f64, &Tensor)]) -> Tensor {
    let (n, d) = (terms[0].1.size()[0], terms[0].1.size()[1]);
    let held: Vec<(f64, Tensor)> = terms.iter().map(|(c, t)| (*c, t.contiguous())).collect();
    // Below this width LAPACK's overhead per matrix exceeds the arithmetic.
    if d <= 16 && held.iter().all(|(_, t)| on_host(t)) {
        let mut out = Fresh::<f64>::new(&[n]);
        match held[0].1.kind() {
            Kind::Float => eliminate::<f32>(&held, d as usize, out.elements()),
            _ => eliminate::<f64>(&held, d as usize, out.elements()),
        }
        return out.tensor();
    }
    let sum = combine(&held.iter().map(|(c, t)| (*c, t)).collect::<Vec<_>>());
    let (sign, log) = one_plus(1.0, &sum.to_kind(Kind::Double)).slogdet();
    log.where_self(&sign.gt(0.0), &log.full_like(f64::NAN))
}

fn eliminate<T: Real>(terms: &[(f64, Tensor)], d: usize, out: &mut [f64]) {
    let (square, n) = (d * d, out.len());
    let terms: Vec<(f64, &[T])> = terms.iter().map(|(c, t)| (*c, read::<T>(t))).collect();
    for_blocks(out, 1, &mut vec![(); n], 1, |first, out, _| {
        let mut a = vec![0.0; square];
        for (row, out) in out.iter_mut().enumerate() {
            let at = (first + row) * square;
            a.fill(0.0);
            a.iter_mut().step_by(d + 1).for_each(|a| *a = 1.0);
            for (c, m) in &terms {
                a.iter_mut().zip(&m[at..at + square]).for_each(|(a, m)| *a += c * m.f());
            }
            *out = log_det_row(&mut a, d);
        }
    });
}

/// log det by Gaussian elimination with row pivots, in place.
#[inline(always)]
fn log_det_row(a: &mut [f64], d: usize) -> f64 {
    let mut det = 1.0;
    let mut rest = a;
    for k in 0..d {
        // `rest` is the lower right square of side d − k, with its rows still d wide
        let mut pivot = 0;
        for i in 1..d - k {
            if rest[i * d + k].abs() > rest[pivot * d + k].abs() {
                pivot = i;
            }
        }
        let (top, below) = rest.split_at_mut(d);
        if pivot != 0 {
            top.swap_with_slice(&mut below[(pivot - 1) * d..pivot * d]);
            det = -det;
        }
        det *= top[k];
        for row in below.chunks_exact_mut(d) {
            let factor = row[k] / top[k];
            row[k + 1..].iter_mut().zip(&top[k + 1..]).for_each(|(r, t)| *r -= factor * t);
        }
        rest = below;
    }
    if det > 0.0 && det.is_finite() { det.ln() } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;
    use tch::Device;

    #[test]
    fn elimination_agrees_with_lapack_and_marks_what_folds() {
        let mut rng = Rng::new(4);
        for d in [1, 2, 3, 5, 16] {
            let m = rng.normal(&[700, d, d], Kind::Double, Device::Cpu);
            let (sign, log) = (&m * 0.5 + Tensor::eye(d, (Kind::Double, Device::Cpu))).slogdet();
            let ours = log_det(&[(0.2, &m), (0.3, &m)]);
            assert!(ours.isnan().logical_not().eq_tensor(&sign.gt(0.0)).all().int64_value(&[]) == 1, "d = {d}");
            let gap = (ours - log).nan_to_num(0.0, None, None).abs().max().double_value(&[]);
            assert!(gap < 1e-11, "d = {d}: {gap}");
        }
        let minus_one = -Tensor::eye(2, (Kind::Double, Device::Cpu)).unsqueeze(0);
        assert!(log_det(&[(1.0, &minus_one)]).double_value(&[0]).is_nan());
    }
}
