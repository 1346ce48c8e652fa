//! Take replicas of two-layer models through rounds of Gibbs sweeps and swaps of neighbours, and count what that tells of log Z.

use crate::density::Layers;
use crate::error::Result;
use crate::numeric::Rng;
use crate::walkers::{Chained, Estimate, bar_of_chains};
use tch::{Device, Kind, Tensor};

/// Where a walker was last, of the two ends.
const HOT: i64 = 1;
const COLD: i64 = 2;

/// Replicas in a row, the first with independent layers, each with one row v per chain. Chains never act on each other.
#[derive(Debug)]
pub(super) struct Ladder<L> {
    replicas: Vec<L>,
    v: Vec<Tensor>,
    /// The end that each walker visited last, 0 for none yet.
    origin: Vec<Tensor>,
    /// Walkers that went from the first replica to the last and back, by chain.
    trips: Tensor,
    still: Tensor,
    pairs: Vec<Pair>,
}

/// What the swaps between two neighbours have seen.
#[derive(Debug, Default)]
struct Pair {
    accepted: f64,
    rounds: f64,
    /// F_i − F_{i+1} at walkers of i, one tensor `[chains]` per round, and at walkers of i + 1.
    up: Vec<Tensor>,
    down: Vec<Tensor>,
}

/// What a run of a ladder leaves.
#[derive(Debug)]
pub(super) struct Climbed {
    /// For each pair of neighbours: share of accepted swaps, log Z_{i+1}/Z_i, overlap.
    pub pairs: Vec<(f64, Estimate, f64)>,
    /// log Z of the last replica.
    pub log_z: Estimate,
    /// log Z by the later rounds less that by the first.
    pub drift: Estimate,
    /// Round trips per chain.
    pub round_trips: f64,
}

impl<L: Layers> Ladder<L> {
    /// All replicas at draws of the first.
    pub fn new(replicas: Vec<L>, chains: usize, rng: &mut Rng) -> Self {
        let still = replicas[0].hidden_zeros(chains as i64);
        let v: Vec<Tensor> = replicas.iter().map(|_| replicas[0].draw_visible(&still, rng)).collect();
        let none = Tensor::zeros([chains as i64], (Kind::Int64, v[0].device()));
        let origin = replicas.iter().map(|_| none.copy()).collect();
        let pairs = replicas.iter().skip(1).map(|_| Pair::default()).collect();
        Ladder { replicas, v, origin, trips: none, still, pairs }
    }

    /// Walkers of the last replica.
    pub fn top(&self) -> &Tensor {
        &self.v[self.v.len() - 1]
    }

    /// Walkers of every replica.
    pub fn all(&self) -> Vec<Tensor> {
        self.v.iter().map(Tensor::shallow_clone).collect()
    }

    /// The mean acceptance of a swap between two replicas with walkers `a` and `b`.
    pub fn acceptance(&self, (i, a): (usize, &Tensor), (j, b): (usize, &Tensor)) -> f64 {
        let gain = self.free(i, a) + self.free(j, b) - self.free(i, b) - self.free(j, a);
        gain.exp().clamp_max(1.0).mean(Kind::Double).double_value(&[])
    }

    fn free(&self, replica: usize, v: &Tensor) -> Tensor {
        let layers = &self.replicas[replica];
        layers.free_energy(v, &layers.hidden_input(v))
    }

    /// Draws the first replica afresh, moves the others by `sweeps` sweeps, and swaps. `count`: keeps the energy differences.
    pub fn round(&mut self, sweeps: usize, count: bool, rng: &mut Rng) {
        let last = self.replicas.len() - 1;
        self.trips += self.origin[0].eq(COLD);
        self.origin[0] = self.origin[0].full_like(HOT);
        self.v[0] = self.replicas[0].draw_visible(&self.still, rng);
        for (v, u) in self.v.iter_mut().zip(&self.replicas).skip(1) {
            for _ in 0..sweeps {
                *v = u.draw_visible(&u.draw_hidden(&u.hidden_input(v), rng), rng);
            }
        }
        // from the first to the last, so that a fresh draw may be swapped all the way in one round
        for i in 0..last {
            let (a, b) = (&self.v[i], &self.v[i + 1]);
            let up = self.free(i, a) - self.free(i + 1, a);
            let down = self.free(i, b) - self.free(i + 1, b);
            let uniform = rng.uniform_tensor(&[a.size()[0]], Kind::Double, a.device());
            let swap: Tensor = uniform.log().lt_tensor(&(&up - &down));
            let wide = swap.unsqueeze(-1);
            let (low, high) = (b.where_self(&wide, a), a.where_self(&wide, b));
            let (from, to) = (&self.origin[i], &self.origin[i + 1]);
            let (below, above) = (to.where_self(&swap, from), from.where_self(&swap, to));
            (self.v[i], self.v[i + 1]) = (low, high);
            (self.origin[i], self.origin[i + 1]) = (below, above);
            let pair = &mut self.pairs[i];
            pair.accepted += swap.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
            pair.rounds += 1.0;
            if count {
                pair.up.push(up.to_kind(Kind::Double));
                pair.down.push(down.to_kind(Kind::Double));
            }
        }
        let top = &self.origin[last];
        self.origin[last] = top.masked_fill(&top.eq(HOT), COLD);
    }

    /// What the counted rounds after the first few tell, and how the first differ from them.
    ///
    /// # Errors
    /// Free energies that are not finite.
    pub fn finish(&self, first: usize) -> Result<Climbed> {
        let chains = self.trips.size()[0] as usize;
        let host = |t: &[Tensor]| -> Result<Vec<f64>> {
            if t.is_empty() {
                return Ok(Vec::new());
            }
            Ok(Vec::try_from(Tensor::cat(t, 0).to_device(Device::Cpu))?)
        };
        let data: Vec<(Vec<f64>, Vec<f64>)> =
            self.pairs.iter().map(|p| Ok((host(&p.up)?, host(&p.down)?))).collect::<Result<_>>()?;
        let rounds = self.pairs[0].up.len();
        let between = |from: usize, to: usize| -> Result<Chained> {
            let part: Vec<(&[f64], &[f64])> =
                data.iter().map(|(u, d)| (&u[from * chains..to * chains], &d[from * chains..to * chains])).collect();
            bar_of_chains(&part, chains)
        };
        let all = between(first, rounds)?;
        let drift = match first {
            0 => Estimate::new(f64::NAN, f64::NAN),
            _ => {
                let early = between(0, first)?.total;
                Estimate::new(all.total.value - early.value, early.se.hypot(all.total.se))
            }
        };
        let pairs = self.pairs.iter().zip(&all.pairs);
        let start = self.replicas[0].log_z_independent();
        Ok(Climbed {
            pairs: pairs.map(|(p, bar)| (p.accepted / p.rounds, bar.log_ratio, bar.overlap)).collect(),
            log_z: Estimate { value: start + all.total.value, ..all.total },
            drift,
            round_trips: self.trips.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]),
        })
    }
}
