//! Compute log-weights of escorted walkers at fixed positions as a function of the drift's parameters, and their variance.

use crate::density::{Differentiable, Noise, Path};
use crate::kernel::EvalCounts;
use crate::model::WithDrift;
use tch::{Kind, Tensor};

/// Where walkers were at t_0 … t_reach: positions, energies and their gradients, `[N, d]`, `[N]`, `[N, d]` each.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub x: Vec<Tensor>,
    pub u: Vec<Tensor>,
    pub grad: Vec<Tensor>,
}

impl Trail {
    /// A − A_0 of each walker for steps of size h, `[N]`, with its graph through θ: Σ_k α_k − λ_k of
    /// [`Escorted`](crate::Escorted).
    pub fn log_weights<P: Path + Differentiable>(
        &self,
        flow: &WithDrift<P>,
        (h, eps): (f64, &Noise),
        cost: &mut EvalCounts,
    ) -> Tensor {
        let steps = self.x.len() - 1;
        let (n, d) = (self.x[0].size()[0], self.x[0].size()[1]);
        let like = &self.x[0];
        let clock: Vec<f64> = (0..=steps).flat_map(|k| std::iter::repeat_n(k as f64 * h, n as usize)).collect();
        let clock = Tensor::from_slice(&clock).to_kind(like.kind()).to_device(like.device()).unsqueeze(-1);
        let (x, grad) = (Tensor::stack(&self.x, 0), Tensor::stack(&self.grad, 0));
        let flat = |t: &Tensor| t.reshape([-1, d]);
        let b = flow.drift.at(&clock, &flat(&x), &flat(&grad)).view([steps as i64 + 1, n, d]);
        cost.drift += (steps as u64 + 1) * n as u64;
        let noise: Vec<f64> = (0..steps).map(|k| eps.at((k as f64 + 0.5) * h)).collect();
        let noise = Tensor::from_slice(&noise).to_kind(like.kind()).to_device(like.device()).view([-1, 1, 1]);
        let (from, to) = (|t: &Tensor| t.narrow(0, 0, steps as i64), |t: &Tensor| t.narrow(0, 1, steps as i64));
        let moved = to(&x) - from(&x);
        let ahead = &moved - (from(&b) - from(&grad) * &noise) * h;
        let back = moved - (to(&b) + to(&grad) * &noise) * h;
        let gain = (ahead.square() - back.square()) / (&noise * (4.0 * h));
        let gain = gain.to_kind(Kind::Double).sum_dim_intlist([0, 2].as_slice(), false, Kind::Double);
        (&self.u[0] - &self.u[steps]).to_kind(Kind::Double) + gain
    }

    /// The variance over walkers of A, A_0 `start` included, 0-dimensional.
    pub fn variance<P: Path + Differentiable>(
        &self,
        flow: &WithDrift<P>,
        start: &Tensor,
        scheme: (f64, &Noise),
        cost: &mut EvalCounts,
    ) -> Tensor {
        (self.log_weights(flow, scheme, cost) + start).var(true)
    }
}
