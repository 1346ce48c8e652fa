//! Hold walkers of a transport with what the residual needs of the path there, and compute the loss on some of them.

use super::settings::{Divergence, DriftSettings};
use crate::density::{Differentiable, Path};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::kernel::EvalCounts;
use crate::model::WithDrift;
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor};

/// Positions of all walkers at t_0 … t_reach with ∇U, ∂_tU, and H∘vᵀ… of the directions v in which divergences are taken.
#[derive(Debug)]
pub(super) struct Pool {
    /// `[reach + 1, N, d]`.
    x: Tensor,
    grad: Tensor,
    /// ∂_tU, `[reach + 1, N]`.
    rate: Tensor,
    /// Σ_m v_m ∘ (H v_m) of each half, `[halves, reach + 1, N, d]`, where the drift has gates.
    hessian: Option<Tensor>,
    /// Vectors of signs of each half, `[halves, reach + 1, N, d, probes]`; none for an exact divergence.
    signs: Option<Tensor>,
}

const PARTS: [&str; 3] = ["pool.x", "pool.grad", "pool.rate"];

impl Pool {
    /// From positions and gradients at t_k = k/K, k = 0 … reach.
    pub fn new<P: Path + Differentiable>(
        flow: &WithDrift<P>,
        (x, grad): (&[Tensor], &[Tensor]),
        s: &DriftSettings,
        rng: &mut Rng,
        cost: &mut EvalCounts,
    ) -> Result<Self> {
        let (mut rates, mut curved, mut signs) = (Vec::new(), Vec::new(), Vec::new());
        for (k, x) in x.iter().enumerate() {
            let t = k as f64 / s.grid as f64;
            let rate = flow.path.rate(t, x);
            if !rate.sum(Kind::Double).double_value(&[]).is_finite() {
                return Err(Error::NonFinite {
                    what: "∂_tU",
                    place: format!("at a walker of the training at t = {t}"),
                });
            }
            rates.push(rate.to_kind(x.kind()));
            let (n, d) = (x.size()[0], x.size()[1]);
            cost.forward += n as u64;
            let directions = match s.divergence {
                Divergence::Exact => Tensor::eye(d, (x.kind(), x.device())).expand([1, n, d, d], false),
                Divergence::Hutchinson { probes } => {
                    let size = [2, n, d, probes as i64];
                    let v = rng.uniform_tensor(&size, x.kind(), x.device()).gt(0.5).to_kind(x.kind()) * 2.0 - 1.0;
                    signs.push(v.shallow_clone());
                    v
                }
            };
            if flow.drift.shape().gradient {
                let (halves, probes) = (directions.size()[0], directions.size()[3]);
                let share = if s.divergence == Divergence::Exact { 1.0 } else { 1.0 / probes as f64 };
                let half = |i: i64| {
                    let each = (0..probes).map(|m| {
                        let v = directions.get(i).select(2, m);
                        flow.hessian_times(t, x, &v) * v * share
                    });
                    each.reduce(|a, b| a + b).unwrap_or_else(|| x.zeros_like())
                };
                curved.push(Tensor::stack(&(0..halves).map(half).collect::<Vec<_>>(), 0));
                let products = (halves * probes * n) as u64;
                cost.forward += products;
                cost.backward += 2 * products;
            }
        }
        let beside = |all: &[Tensor]| (!all.is_empty()).then(|| Tensor::stack(all, 1));
        Ok(Pool {
            x: Tensor::stack(x, 0),
            grad: Tensor::stack(grad, 0),
            rate: Tensor::stack(&rates, 0),
            hessian: beside(&curved),
            signs: beside(&signs),
        })
    }

    /// The mean square of the residual over times and walkers of one update, 0-dimensional, with the ∂_tF_t that makes it least at
    /// each time: (t, ∂_tF_t).
    pub fn loss<P: Path + Differentiable>(
        &self,
        flow: &WithDrift<P>,
        s: &DriftSettings,
        rng: &mut Rng,
        cost: &mut EvalCounts,
    ) -> (Tensor, Vec<(f64, Tensor)>) {
        let (reached, n, d) = (self.x.size()[0], self.x.size()[1], self.x.size()[2]);
        let (times, batch) = (s.times, s.batch);
        // one uniform shifts equally spaced times; each walker of the pool is a row of one table
        let shift = rng.uniform();
        let steps: Vec<i64> = (0..times)
            .map(|j| (((j as f64 + shift) / times as f64 * reached as f64) as i64).min(reached - 1))
            .collect();
        let places: Vec<i64> =
            steps.iter().flat_map(|k| rng.indices(n as usize, batch).into_iter().map(move |i| k * n + i)).collect();
        let rows = Tensor::from_slice(&places).to_device(self.x.device());
        let pick = |t: &Tensor, shape: &[i64]| t.reshape(shape).index_select(0, &rows);
        let (x, grad) = (pick(&self.x, &[-1, d]), pick(&self.grad, &[-1, d]));
        let clock: Vec<f64> =
            steps.iter().flat_map(|k| std::iter::repeat_n(*k as f64 / s.grid as f64, batch)).collect();
        let clock = Tensor::from_slice(&clock).to_kind(x.kind()).to_device(x.device()).unsqueeze(-1);
        let rate = pick(&self.rate, &[-1]);
        let halves = self.signs.as_ref().map_or(1, |v| v.size()[0]);
        let residual = |half: i64| {
            let signs = self.signs.as_ref().map(|v| {
                let v = v.get(half);
                let probes = v.size()[3];
                v.reshape([-1, d, probes]).index_select(0, &rows)
            });
            let (b, j, gate) = flow.drift.push(&clock, &x, &grad, signs.as_ref());
            let mut divergence = match &signs {
                Some(v) => (j * v).mean_dim(-1, false, None::<Kind>).sum_dim_intlist(-1, false, None::<Kind>),
                None => j.diagonal(0, 1, 2).sum_dim_intlist(-1, false, None::<Kind>),
            };
            if let (Some(gate), Some(h)) = (gate, &self.hessian) {
                divergence -= (gate * pick(&h.get(half), &[-1, d])).sum_dim_intlist(-1, false, None::<Kind>);
            }
            divergence - (b * &grad).sum_dim_intlist(-1, false, None::<Kind>) - &rate
        };
        cost.jacobian += (halves as usize * times * batch) as u64;
        let by_time = |r: Tensor| r.view([times as i64, batch as i64]);
        let parts: Vec<Tensor> = (0..halves).map(|half| by_time(residual(half))).collect();
        let centred = |r: &Tensor| r - r.mean_dim(1, true, None::<Kind>);
        let (first, second) = (&parts[0], &parts[parts.len() - 1]);
        // n − 1: the mean over walkers has taken up a part of the variance
        let loss = (centred(first) * centred(second)).mean(None::<Kind>) * (batch as f64 / (batch as f64 - 1.0));
        let least = ((first + second) * -0.5).detach().mean_dim(1, false, None::<Kind>);
        let rates = steps.iter().enumerate().map(|(j, k)| (*k as f64 / s.grid as f64, least.get(j as i64)));
        (loss, rates.collect())
    }

    pub fn save(&self, to: &mut Checkpoint) {
        for (name, t) in PARTS.iter().zip([&self.x, &self.grad, &self.rate]) {
            to.put(*name, t);
        }
        for (name, t) in [("pool.hessian", &self.hessian), ("pool.signs", &self.signs)] {
            if let Some(t) = t {
                to.put(name, t);
            }
        }
    }

    /// What `save` wrote, if there was a pool.
    pub fn load(from: &Checkpoint, device: Device) -> Option<Self> {
        let find = |name: &str| from.find(name).map(|t| t.to_device(device));
        let [x, grad, rate] = PARTS.map(find);
        Some(Pool { x: x?, grad: grad?, rate: rate?, hessian: find("pool.hessian"), signs: find("pool.signs") })
    }
}
