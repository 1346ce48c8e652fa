//! Hold the network's value and slopes at rows that have levels of their own, and what the losses compare.

use crate::density::{Known, NoisePath};
use crate::error::{Result, no_grad};
use crate::model::NoiseLadder;
use tch::{Kind, Tensor};

/// f and its slopes at rows z along the axes, each at its own time; differentiable in θ. θ matters along the m leading axes alone
/// ([`NoiseLadder::width`]).
pub(super) struct Slopes<'a> {
    pub ladder: &'a NoiseLadder,
    /// Times, `[n, 1]` in f64.
    pub t: Tensor,
    /// Along the other axes, `[n, d − m]`.
    pub others: Tensor,
    /// −log ρ along the leading axes, with its slopes.
    pub known: Known,
    /// v + σ² there, `[n, m]`.
    spread: Tensor,
    /// z/√(v + σ²) there, `[n, m]`.
    u: Tensor,
    /// f, `[n]`.
    pub f: Tensor,
    /// ∂f/∂u, `[n, m]`, and ∂f/∂t, `[n]`.
    in_u: Tensor,
    in_t: Tensor,
}

/// The sums of rows.
pub(super) fn sum(rows: &Tensor) -> Tensor {
    rows.sum_dim_intlist(-1, false, None::<Kind>)
}

/// σ² at times t `[n, 1]`, in their kind.
pub(super) fn variances(ladder: &NoiseLadder, t: &Tensor) -> Tensor {
    (t * (2.0 * ladder.pace())).exp() * ladder.levels()[0].powi(2)
}

/// Along the leading axes, of rows along all of them.
pub(super) fn leading(ladder: &NoiseLadder, rows: &Tensor) -> Tensor {
    rows.narrow(-1, ladder.dim() - ladder.width(), ladder.width())
}

/// Along the others.
fn others(ladder: &NoiseLadder, rows: &Tensor) -> Tensor {
    rows.narrow(-1, 0, ladder.dim() - ladder.width())
}

impl<'a> Slopes<'a> {
    /// At rows z `[n, d]` and times t `[n, 1]` in f64.
    pub fn at(ladder: &'a NoiseLadder, t: &Tensor, z: &Tensor) -> Result<Self> {
        let (others, z) = (others(ladder, z), leading(ladder, z));
        let spread = variances(ladder, t).to_kind(z.kind()) + leading(ladder, ladder.axes().variances());
        let known = ladder.known().at(&z, &variances(ladder, t));
        let u = z / spread.sqrt();
        let (u, time) = (u.detach().set_requires_grad(true), t.to_kind(u.kind()).detach().set_requires_grad(true));
        let f = tch::with_grad(|| ladder.residual(&u, &time));
        let mut slopes = Tensor::f_run_backward(&[f.sum(f.kind())], &[&u, &time], true, true)?;
        let in_t = slopes.swap_remove(1).squeeze_dim(-1);
        let in_u = slopes.swap_remove(0);
        Ok(Slopes { ladder, t: t.shallow_clone(), others, known, spread, u: u.detach(), f, in_u, in_t })
    }

    /// Of `n` rows from `start`.
    pub fn rows(&self, start: i64, n: i64) -> Self {
        let of = |all: &Tensor| all.narrow(0, start, n);
        Slopes {
            ladder: self.ladder,
            t: of(&self.t),
            others: of(&self.others),
            known: self.known.rows(start, n),
            spread: of(&self.spread),
            u: of(&self.u),
            f: of(&self.f),
            in_u: of(&self.in_u),
            in_t: of(&self.in_t),
        }
    }

    /// Along the leading axes, `[n, m]`.
    pub fn z(&self) -> &Tensor {
        &self.known.z
    }

    /// σ², `[n, 1]` in the kind of the rows.
    pub fn noise(&self) -> Tensor {
        variances(self.ladder, &self.t).to_kind(self.z().kind())
    }

    /// v + σ² along the other axes.
    fn other_spread(&self) -> Tensor {
        self.noise() + others(self.ladder, self.ladder.axes().variances())
    }

    /// ∂f along the leading axes, `[n, m]`.
    pub fn slope(&self) -> Tensor {
        &self.in_u / self.spread.sqrt()
    }

    /// ½|σ∇U − ε|² for the noise ε `[n, d]` along the axes: `[n]`.
    pub fn denoising(&self, noise: &Tensor) -> Tensor {
        let sigma = self.noise().sqrt();
        let constant =
            no_grad(|| sum(&(&self.others / self.other_spread() * &sigma - others(self.ladder, noise)).square()));
        let off = (&self.known.grad + self.slope()) * sigma - leading(self.ladder, noise);
        (sum(&off.square()) + constant) * 0.5
    }

    /// ∂U/∂log σ, `[n]`: of ρ at fixed z, and of f through u and through t.
    pub fn rate(&self) -> Tensor {
        let share = self.noise() / &self.spread;
        let through = sum(&(&self.in_u * &self.u * &share));
        let constant = no_grad(|| {
            let w = self.other_spread();
            sum(&((1.0 - self.others.square() / &w) * (self.noise() / &w)))
        });
        &self.known.rate + constant - through + &self.in_t / self.ladder.pace()
    }
}

#[cfg(test)]
impl Slopes<'_> {
    /// U, `[n]` in f64.
    pub fn energy(&self) -> Tensor {
        let z = Tensor::cat(&[&self.others, self.z()], 1);
        self.ladder.known().energy(&z, &variances(self.ladder, &self.t)) + self.f.to_kind(Kind::Double)
    }

    /// σ∇U along the axes, `[n, d]`.
    pub fn score(&self) -> Tensor {
        let score = Tensor::cat(&[&self.others / self.other_spread(), &self.known.grad + self.slope()], 1);
        score * self.noise().sqrt()
    }
}
