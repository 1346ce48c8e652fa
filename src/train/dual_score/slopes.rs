//! Hold the network's value and slopes at rows that have levels of their own, and what the losses compare.

use crate::density::{Known, NoisePath};
use crate::error::Result;
use crate::model::NoiseLadder;
use tch::{Kind, Tensor};

/// f and its slopes at rows z along the axes, each at its own time; differentiable in θ.
pub(super) struct Slopes<'a> {
    pub ladder: &'a NoiseLadder,
    /// Times, `[n, 1]` in f64.
    pub t: Tensor,
    /// Rows along the axes, `[n, d]`.
    pub z: Tensor,
    /// v + σ², `[n, d]`.
    spread: Tensor,
    /// z/√(v + σ²), `[n, d]`.
    u: Tensor,
    /// −log ρ, with its slopes: along the axes, `[n, d]`, and in log σ, `[n]`.
    well: [Tensor; 3],
    /// f, `[n]`.
    pub f: Tensor,
    /// ∂f/∂u, `[n, d]`, and ∂f/∂t, `[n]`.
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

impl<'a> Slopes<'a> {
    /// At rows z `[n, d]` and times t `[n, 1]` in f64.
    pub fn at(ladder: &'a NoiseLadder, t: &Tensor, z: &Tensor) -> Result<Self> {
        let spread = variances(ladder, t).to_kind(z.kind()) + ladder.axes().variances();
        let Known { energy, grad, rate, .. } = ladder.known().at(z, &variances(ladder, t));
        let u = z / spread.sqrt();
        let (u, time) = (u.detach().set_requires_grad(true), t.to_kind(z.kind()).detach().set_requires_grad(true));
        let f = tch::with_grad(|| ladder.residual(&u, &time));
        let mut slopes = Tensor::f_run_backward(&[f.sum(f.kind())], &[&u, &time], true, true)?;
        let in_t = slopes.swap_remove(1).squeeze_dim(-1);
        let in_u = slopes.swap_remove(0);
        let (t, z, u) = (t.shallow_clone(), z.shallow_clone(), u.detach());
        Ok(Slopes { ladder, t, z, spread, u, well: [energy, grad, rate], f, in_u, in_t })
    }

    /// Of `n` rows from `start`.
    pub fn rows(&self, start: i64, n: i64) -> Self {
        let of = |all: &Tensor| all.narrow(0, start, n);
        Slopes {
            ladder: self.ladder,
            t: of(&self.t),
            z: of(&self.z),
            spread: of(&self.spread),
            u: of(&self.u),
            well: self.well.each_ref().map(of),
            f: of(&self.f),
            in_u: of(&self.in_u),
            in_t: of(&self.in_t),
        }
    }

    /// σ², `[n, 1]` in the kind of the rows.
    pub fn noise(&self) -> Tensor {
        variances(self.ladder, &self.t).to_kind(self.z.kind())
    }

    /// U, `[n]` in f64.
    #[cfg(test)]
    pub fn energy(&self) -> Tensor {
        &self.well[0] + self.f.to_kind(Kind::Double)
    }

    /// ∂f along the axes, `[n, d]`.
    pub fn slope(&self) -> Tensor {
        &self.in_u / self.spread.sqrt()
    }

    /// σ∇U along the axes, `[n, d]`.
    pub fn score(&self) -> Tensor {
        (&self.well[1] + self.slope()) * self.noise().sqrt()
    }

    /// ∂U/∂log σ, `[n]`: of ρ at fixed z, and of f through u and through t.
    pub fn rate(&self) -> Tensor {
        let share = self.noise() / &self.spread;
        let through = sum(&(&self.in_u * &self.u * &share));
        &self.well[2] - through + &self.in_t / self.ladder.pace()
    }
}
