//! Move down a ladder of noise levels: the exact reverse conditional of the known mixture, shifted by the rest of the score.

use super::{Arrival, CrankNicolson, EvalCounts, Kernel, Move, Reversal, Transition};
use crate::density::{At, DataMixture, Evaluation, Known, NoisePath};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// One step from noise level σ_k to σ_{k+1} < σ_k on a [`NoisePath`]. With s_0 = σ_k², s_1 = σ_{k+1}², q the exact reverse conditional
/// of the known mixture ρ, that is, q(ỹ | z) = ρ_{s_1}(ỹ) N(z; ỹ, s_0 − s_1)/ρ_{s_0}(z), and for each principal axis of variance v,
/// g = (v + s_1)/(v + s_0):
///
/// ```text
/// ỹ ~ q(· | z),  y = ỹ − (s_0 − s_1) √g ∂f(z)                      forward
/// z ~ N(y, s_0 − s_1)                                              backward: noise is added
/// ```
///
/// To draw ỹ, a component is drawn from its posterior at z; the density sums over all of them, and its increment needs ρ alone:
///
/// ```text
/// f_k(z) − f_{k+1}(y) + log ρ_{s_1}(y) − log ρ_{s_1}(ỹ) + (|z − ỹ|² − |z − y|²)/2(s_0 − s_1)
/// ```
///
/// For data that are such a mixture, f = 0, the two halves are each other's exact reversal: the increments are 0 for any number of
/// steps, and weights pay only for f. The backward density has no drift: its covariance costs no Jacobian. The levels are
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

/// A step between two variances of the noise.
struct Fall<'a> {
    known: &'a DataMixture,
    s0: Tensor,
    s1: Tensor,
    /// (s_0 − s_1) √g, `[d]`.
    pull: Tensor,
}

impl<'a> Fall<'a> {
    fn between<P: NoisePath + ?Sized>(from: &At<'a, P>, to: &At<'a, P>) -> Self {
        let (known, s0, s1) = (from.path.known(), from.noise_tensor(), to.noise_tensor());
        let pull = pull(known.axes().variances(), &s0, &s1);
        Fall { known, s0, s1, pull }
    }

    /// From the time of a forward half to the end of its step.
    fn after<P: NoisePath + ?Sized>(u: &At<'a, P>) -> Self {
        Fall::between(u, &At::new(u.path, (u.t + u.h).min(1.0)))
    }

    /// To the time of a backward half from the start of its step.
    fn before<P: NoisePath + ?Sized>(u: &At<'a, P>) -> Self {
        Fall::between(&At::new(u.path, (u.t - u.h).max(0.0)), u)
    }

    /// What is known at a state, and (s_0 − s_1) √g ∂f there.
    fn leave(&self, at: &Evaluation) -> (Known, Tensor) {
        let axes = self.known.axes();
        let known = self.known.at(&axes.to_axes(&at.x), &self.s0);
        let shift = (axes.turn(at.grad()) - &known.grad) * &self.pull;
        (known, shift)
    }

    /// U_k(z) less the log of the forward density of ỹ, and ½ d log 2π(s_0 − s_1), which λ lacks too.
    fn alpha(&self, at: &Evaluation, known: &Known, unshifted: &Tensor) -> Tensor {
        let f = at.u.to_kind(Kind::Double) - &known.energy;
        f + self.known.energy(unshifted, &self.s1) + self.noise(&(&known.z - unshifted))
    }

    /// |z − y|²/2(s_0 − s_1).
    fn noise(&self, away: &Tensor) -> Tensor {
        half_square(away) / (&self.s0 - &self.s1)
    }
}

/// (s_0 − s_1) √g along axes of these variances, `[d]` or `[n, d]`.
pub(crate) fn pull(v: &Tensor, s0: &Tensor, s1: &Tensor) -> Tensor {
    let near = |s: &Tensor| s.to_kind(v.kind());
    ((v + near(s1)) / (v + near(s0))).sqrt() * near(&(s0 - s1))
}

/// ½|·|² of rows, `[n]` in f64.
pub(super) fn half_square(rows: &Tensor) -> Tensor {
    rows.square().sum_dim_intlist(-1, false, Kind::Double) * 0.5
}

impl<P: NoisePath + ?Sized> Kernel<At<'_, P>> for Denoise {
    fn forward(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Move {
        let fall = Fall::after(u);
        let (known, shift) = fall.leave(at);
        let unshifted = fall.known.denoise(&known, &fall.s0, &fall.s1, rng);
        let alpha = fall.alpha(at, &known, &unshifted);
        Move::new(u.path.axes().from_axes(&(unshifted - shift)), alpha, EvalCounts::default())
    }

    fn backward(&self, u: &At<P>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let fall = Fall::before(u);
        let point = u.path.evaluate(u.t, &mv.y);
        let mut cost = EvalCounts::evaluation(point.len());
        let lambda = point.u.to_kind(Kind::Double) + fall.noise(&(&at.x - &mv.y));
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
        let fall = Fall::between(from, to);
        let noise =
            rng.normal(&at.x.size(), at.x.kind(), at.x.device()) * (&fall.s0 - &fall.s1).to_kind(at.x.kind()).sqrt();
        let point = from.path.evaluate(from.t, &(&at.x + &noise));
        let (known, shift) = fall.leave(&point);
        let unshifted = fall.known.axes().to_axes(&at.x) + shift;
        let alpha = fall.alpha(&point, &known, &unshifted);
        let lambda = at.u.to_kind(Kind::Double) + fall.noise(&noise);
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
