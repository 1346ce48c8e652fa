//! Move at one level of a ladder of noise by the Crank-Nicolson Langevin proposal, exact for a Gaussian, with a Metropolis test.

use super::denoise::half_square;
use super::{Invariant, reversed::Transition};
use crate::density::{At, Evaluation, NoisePath};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// A move that leaves e^{−U_t} of a [`NoisePath`] invariant. With u = z/√(v + σ²) along the data's principal axes,
/// U = ½|u|² + f, so that f is what the Gaussian with the data's covariance lacks, and s the step:
///
/// ```text
/// u' = (1 − s) u − s ∂f(u) + √(1 − (1 − s)²) ξ,    accepted with probability min(1, ρ(u') q(u' → u) / ρ(u) q(u → u'))
/// ```
///
/// For f = 0 the proposal is reversible and every one is accepted, in any dimension (Cotter, Roberts, Stuart, White 2013): what is
/// rejected is paid for f alone. s = 1 forgets where the walker was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrankNicolson {
    /// The step s, in (0, 1].
    pub step: f64,
}

impl CrankNicolson {
    /// With step s.
    pub fn new(step: f64) -> Self {
        CrankNicolson { step }
    }

    pub(super) fn in_range(step: f64) -> Result<()> {
        if step > 0.0 && step <= 1.0 { Ok(()) } else { Err(Error::param("step", step, "a number in (0, 1]")) }
    }
}

/// z and ∂f of a state along the axes: ∇U less that of the Gaussian.
fn along<P: NoisePath + ?Sized>(u: &At<P>, at: &Evaluation) -> (Tensor, Tensor) {
    let axes = u.path.axes();
    let z = axes.to_axes(&at.x);
    let slope = axes.turn(at.grad()) - &z / (axes.variances() + u.noise_variance());
    (z, slope)
}

impl<P: NoisePath + ?Sized> Invariant<At<'_, P>> for CrankNicolson {
    fn sweep(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Transition {
        let (keep, s) = (1.0 - self.step, self.step);
        let wide = (1.0 - keep * keep).sqrt();
        let axes = u.path.axes();
        let root = (axes.variances() + u.noise_variance()).sqrt();
        let scaled = |point: &Evaluation| {
            let (z, slope) = along(u, point);
            (z / &root, slope * &root)
        };
        let (here, slope) = scaled(at);
        let xi = rng.normal(&here.size(), here.kind(), here.device());
        let proposed = &here * keep - slope * s + &xi * wide;
        let there = u.path.evaluate(u.t, &axes.from_axes(&(proposed * &root)));
        let (far, slope) = scaled(&there);
        let back = (here - far * keep + slope * s) / wide;
        let energy = |point: &Evaluation| point.u.to_kind(Kind::Double);
        let log_ratio: Tensor = energy(at) - energy(&there) + half_square(&xi) - half_square(&back);
        Transition::metropolis(at, there, &log_ratio, rng)
    }

    /// Detailed balance: the move itself.
    fn reverse_sweep(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Result<Transition> {
        Ok(self.sweep(u, at, rng))
    }

    fn validate(&self) -> Result<()> {
        CrankNicolson::in_range(self.step)
    }

    fn identity(&self) -> Result<serde_json::Value> {
        super::identify("CrankNicolson", self)
    }
}
