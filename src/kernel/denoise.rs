//! Move down a ladder of noise levels: the exact reverse conditional of the Gaussian part, shifted by the rest of the score.

use super::{Arrival, CrankNicolson, EvalCounts, Kernel, Move, Reversal, Transition};
use crate::density::{At, Evaluation, NoisePath};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// One step from noise level σ_k to σ_{k+1} < σ_k on a [`NoisePath`]. With s_0 = σ_k², s_1 = σ_{k+1}² and, for each principal axis
/// of variance v, g = (v + s_1)/(v + s_0):
///
/// ```text
/// y = g z − (s_0 − s_1) √g ∂f(z) + √((s_0 − s_1) g) ξ           forward
/// z ~ N(y, s_0 − s_1)                                              backward: noise is added
/// ```
///
/// For data that are Gaussian, f = 0, the two are each other's exact reversal: the increments are 0 for any number of steps, and
/// weights pay only for what is not Gaussian. The backward density has no drift: its covariance costs no Jacobian. The levels are
/// the path's, at the times of the [`Transport`](crate::Transport).
///
/// Without [`moves`](Denoise::moves) the walkers carry every disagreement of the levels' energies to the end. Moves at each level
/// forget it, as in annealed importance sampling: the variance of the weights then falls with the number of steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denoise {
    moves: usize,
    step: f64,
}

impl Denoise {
    /// The step alone.
    pub fn new() -> Self {
        Denoise::default()
    }

    /// Followed by that many moves of [`CrankNicolson`] with that step at the new level: they leave its energy's distribution
    /// invariant and add nothing to the weights.
    pub fn moves(moves: usize, step: f64) -> Self {
        Denoise { moves, step }
    }

    /// The moves at a level.
    fn settle<P: NoisePath + ?Sized>(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Option<Transition> {
        let kernel = CrankNicolson::new(self.step);
        (self.moves > 0).then(|| Transition::of_sweeps(&kernel, self.moves, u, at, rng))
    }
}

/// The densities of a step between two variances of the noise, the same for all rows or one for each.
pub(crate) struct Fall {
    /// s_0 − s_1, `[1]` or `[n, 1]`.
    gap: Tensor,
    /// g, `[d]` or `[n, d]`.
    g: Tensor,
}

impl Fall {
    /// From s_0 to s_1, `[1]` or `[n, 1]` in f64, for variances v `[d]` along the axes.
    pub fn new(v: &Tensor, s0: &Tensor, s1: &Tensor) -> Self {
        let near = |s: &Tensor| s.to_kind(v.kind());
        Fall { gap: near(&(s0 - s1)), g: (v + near(s1)) / (v + near(s0)) }
    }

    fn between<P: NoisePath + ?Sized>(from: &At<P>, to: &At<P>) -> Self {
        let v = from.path.axes().variances();
        let of = |u: &At<P>| Tensor::from_slice(&[u.noise_variance()]).to_device(v.device());
        Fall::new(v, &of(from), &of(to))
    }

    /// From the time of a forward half to the end of its step.
    fn after<P: NoisePath + ?Sized>(u: &At<P>) -> Self {
        Fall::between(u, &At::new(u.path, (u.t + u.h).min(1.0)))
    }

    /// To the time of a backward half from the start of its step.
    fn before<P: NoisePath + ?Sized>(u: &At<P>) -> Self {
        Fall::between(&At::new(u.path, (u.t - u.h).max(0.0)), u)
    }

    /// Mean of y for z with the slope of f there, both along the axes.
    pub fn mean(&self, z: &Tensor, slope: &Tensor) -> Tensor {
        z * &self.g - slope * (self.g.sqrt() * &self.gap)
    }

    /// Standard deviations of y.
    pub fn spread(&self) -> Tensor {
        (&self.g * &self.gap).sqrt()
    }

    /// −log of the forward density without Σ ½ log 2π(s_0 − s_1), which the backward one shares; `away` = y − mean.
    pub fn forward(&self, away: &Tensor) -> Tensor {
        let norm = self.g.to_kind(Kind::Double).log().sum_dim_intlist(-1, false, Kind::Double);
        half_square(&(away / self.spread())) + norm * 0.5
    }

    /// −log of the backward density without the same; `away` = z − y.
    pub fn backward(&self, away: &Tensor) -> Tensor {
        half_square(away) / self.gap.to_kind(Kind::Double).squeeze_dim(-1)
    }
}

/// ½|·|² of rows, `[n]` in f64.
pub(super) fn half_square(rows: &Tensor) -> Tensor {
    rows.square().sum_dim_intlist(-1, false, Kind::Double) * 0.5
}

/// z and ∂f of a state along the axes: ∇U less that of the Gaussian part.
pub(super) fn along<P: NoisePath + ?Sized>(u: &At<P>, at: &Evaluation) -> (Tensor, Tensor) {
    let axes = u.path.axes();
    let z = axes.to_axes(&at.x);
    let slope = axes.turn(at.grad()) - &z / (axes.variances() + u.noise_variance());
    (z, slope)
}

impl<P: NoisePath + ?Sized> Kernel<At<'_, P>> for Denoise {
    fn forward(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Move {
        let (fall, (z, slope)) = (Fall::after(u), along(u, at));
        let xi = rng.normal(&z.size(), z.kind(), z.device());
        let away = xi * fall.spread();
        let y = fall.mean(&z, &slope) + &away;
        let alpha = at.u.to_kind(Kind::Double) + fall.forward(&away);
        Move::new(u.path.axes().from_axes(&y), alpha, EvalCounts::default())
    }

    fn backward(&self, u: &At<P>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let fall = Fall::before(u);
        let point = u.path.evaluate(u.t, &mv.y);
        let mut cost = EvalCounts::evaluation(point.len());
        let lambda = point.u.to_kind(Kind::Double) + fall.backward(&(&at.x - &mv.y));
        match self.settle(u, &point, rng) {
            None => Arrival::new(lambda, point, cost),
            Some(moved) => {
                cost += moved.cost;
                Arrival::new(lambda, moved.evaluation, cost).accepted(moved.acceptance)
            }
        }
    }

    /// First the moves at the new level, each of which is its own reversal, then noise.
    fn reverse(&self, from: &At<P>, to: &At<P>, at: &Evaluation, rng: &mut Rng) -> Result<Reversal> {
        let moved = self.settle(to, at, rng);
        let at = moved.as_ref().map_or(at, |moved| &moved.evaluation);
        let (fall, axes) = (Fall::between(from, to), to.path.axes());
        let noise = rng.normal(&at.x.size(), at.x.kind(), at.x.device()) * fall.gap.sqrt();
        let point = from.path.evaluate(from.t, &(&at.x + &noise));
        let (z, slope) = along(from, &point);
        let away = axes.to_axes(&at.x) - fall.mean(&z, &slope);
        let alpha = point.u.to_kind(Kind::Double) + fall.forward(&away);
        let lambda = at.u.to_kind(Kind::Double) + fall.backward(&noise);
        let mut cost = EvalCounts::evaluation(point.len());
        let Some(moved) = &moved else { return Ok(Reversal::new(point, alpha - lambda, cost)) };
        cost += moved.cost;
        Ok(Reversal::new(point, alpha - lambda, cost).accepted(moved.acceptance.shallow_clone()))
    }

    fn validate(&self) -> Result<()> {
        if self.moves == 0 { Ok(()) } else { CrankNicolson::in_range(self.step) }
    }

    fn check(&self, u: &At<P>, at: &Evaluation) -> Result<()> {
        let (now, end) = (u.path.sigma(0.0), u.path.sigma(1.0));
        if !(end > 0.0 && end < now) {
            return Err(Error::param(
                "sigma",
                end,
                format!("a noise level between 0 and {now}, where the path starts"),
            ));
        }
        let d = u.path.axes().dim();
        if at.x.size().last() != Some(&d) {
            return Err(Error::Shape { name: "walkers", got: at.x.size(), expected: format!("[n, {d}], as the axes") });
        }
        Ok(())
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("Denoise", self)
    }
}
