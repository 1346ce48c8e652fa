//! Take replicas of two-layer models through rounds of Gibbs sweeps and swaps of neighbours, and count what that tells of log Z.

use crate::density::Layers;
use crate::error::Result;
use crate::numeric::Rng;
use crate::walkers::{Chained, Estimate, bar_of_chains};
use tch::{Device, Kind, Tensor};

/// Where a walker was last, of the two ends.
const HOT: i64 = 1;
const COLD: i64 = 2;

/// Sweeps by which a replica's first walkers are moved from those of the replica before it.
const START: usize = 10;

/// Replicas in a row, the first with independent layers, each with one row v per chain. Chains never act on each other.
#[derive(Debug)]
pub(super) struct Ladder<L> {
    replicas: Vec<L>,
    v: Vec<Tensor>,
    /// What p(h | v) of each replica is a function of, at its v.
    input: Vec<Tensor>,
    /// The end that each walker visited last, 0 for none yet.
    origin: Vec<Tensor>,
    /// Walkers that went from the first replica to the last and back, by chain.
    trips: Tensor,
    still: Tensor,
    pairs: Vec<Pair>,
    rounds: usize,
}

/// What the swaps between two neighbours have seen.
#[derive(Debug)]
struct Pair {
    /// Sums of acceptance probabilities over chains, and their number.
    accepted: Tensor,
    tried: f64,
    /// F_i − F_{i+1} at walkers of i, one tensor `[chains]` per round, and at walkers of i + 1.
    up: Vec<Tensor>,
    down: Vec<Tensor>,
}

/// What a run of a ladder leaves.
#[derive(Debug)]
pub(super) struct Climbed {
    /// For each pair of neighbours: mean probability that a swap is accepted, log Z_{i+1}/Z_i, overlap.
    pub pairs: Vec<(f64, Estimate, f64)>,
    /// log Z of the last replica.
    pub log_z: Estimate,
    /// log Z by the later rounds less that by the first.
    pub drift: Estimate,
    /// Round trips per chain.
    pub round_trips: f64,
}

impl<L: Layers> Ladder<L> {
    /// Walkers of each replica are those of the one before it, moved by a few sweeps: unweighted annealing, chain by chain.
    pub fn new(replicas: Vec<L>, chains: usize, rng: &mut Rng) -> Self {
        let still = replicas[0].hidden_zeros(chains as i64);
        let (mut v, mut input) = (Vec::new(), Vec::new());
        let mut row = replicas[0].draw_visible(&still, rng);
        for (i, u) in replicas.iter().enumerate() {
            let mut a = u.hidden_input(&row);
            for _ in 0..if i == 0 { 0 } else { START } {
                (row, a) = sweep(u, &a, rng);
            }
            v.push(row.shallow_clone());
            input.push(a);
        }
        let none = Tensor::zeros([chains as i64], (Kind::Int64, still.device()));
        let origin = replicas.iter().map(|_| none.copy()).collect();
        let sum = || Tensor::zeros([], (Kind::Double, still.device()));
        let pair = |_| Pair { accepted: sum(), tried: 0.0, up: Vec::new(), down: Vec::new() };
        let pairs = (1..replicas.len()).map(pair).collect();
        Ladder { replicas, v, input, origin, trips: none, still, pairs, rounds: 0 }
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

    /// Draws the first replica afresh, moves the others by `sweeps` sweeps, and lets every other pair of neighbours swap, the
    /// even and the odd ones in turn: walkers then keep their direction from one round to the next until a swap is rejected, and,
    /// where they relax between two swaps, cross n replicas in a time that grows as n instead of n² (arXiv 1905.02939). `count`: keeps the energy
    /// differences of all pairs.
    pub fn round(&mut self, sweeps: usize, count: bool, rng: &mut Rng) {
        let last = self.replicas.len() - 1;
        self.trips += self.origin[0].eq(COLD);
        self.origin[0] = self.origin[0].full_like(HOT);
        self.v[0] = self.replicas[0].draw_visible(&self.still, rng);
        self.input[0] = self.replicas[0].hidden_input(&self.v[0]);
        for i in 1..=last {
            for _ in 0..sweeps {
                (self.v[i], self.input[i]) = sweep(&self.replicas[i], &self.input[i], rng);
            }
        }
        for i in 0..last {
            let turn = (i + self.rounds).is_multiple_of(2);
            if turn || count {
                self.meet(i, turn, count, rng);
            }
        }
        self.rounds += 1;
        let top = &self.origin[last];
        self.origin[last] = top.masked_fill(&top.eq(HOT), COLD);
    }

    /// Compares the energies of replicas i and i + 1 at the walkers of both, and swaps them where that is accepted.
    fn meet(&mut self, i: usize, turn: bool, count: bool, rng: &mut Rng) {
        let (u, w) = (&self.replicas[i], &self.replicas[i + 1]);
        let (a, b) = (&self.v[i], &self.v[i + 1]);
        // the inputs of each replica at the other's walkers become its own where they are swapped
        let (u_of_b, w_of_a) = (u.hidden_input(b), w.hidden_input(a));
        let up = u.free_energy(a, &self.input[i]) - w.free_energy(a, &w_of_a);
        let down = u.free_energy(b, &u_of_b) - w.free_energy(b, &self.input[i + 1]);
        let gain = &up - &down;
        let pair = &mut self.pairs[i];
        pair.accepted += gain.exp().clamp_max(1.0).mean(Kind::Double);
        pair.tried += 1.0;
        if count {
            pair.up.push(up.to_kind(Kind::Double));
            pair.down.push(down.to_kind(Kind::Double));
        }
        if turn {
            let uniform = rng.uniform_tensor(&[a.size()[0]], Kind::Double, a.device());
            let swap = uniform.log().lt_tensor(&gain);
            let exchanged =
                |kept: &[Tensor]| (choose(&swap, &kept[i + 1], &kept[i]), choose(&swap, &kept[i], &kept[i + 1]));
            let (v, origin) = (exchanged(&self.v), exchanged(&self.origin));
            self.input[i] = choose(&swap, &u_of_b, &self.input[i]);
            self.input[i + 1] = choose(&swap, &w_of_a, &self.input[i + 1]);
            (self.v[i], self.v[i + 1]) = v;
            (self.origin[i], self.origin[i + 1]) = origin;
        }
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
            pairs: pairs.map(|(p, bar)| (p.accepted.double_value(&[]) / p.tried, bar.log_ratio, bar.overlap)).collect(),
            log_z: Estimate { value: start + all.total.value, ..all.total },
            drift,
            round_trips: self.trips.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]),
        })
    }
}

/// v and its input after a sweep of both layers that begins at an input.
fn sweep<L: Layers>(u: &L, input: &Tensor, rng: &mut Rng) -> (Tensor, Tensor) {
    let v = u.draw_visible(&u.draw_hidden(input, rng), rng);
    let a = u.hidden_input(&v);
    (v, a)
}

/// Rows of `yes` where `which` is true, of `no` elsewhere.
fn choose(which: &Tensor, yes: &Tensor, no: &Tensor) -> Tensor {
    let mut shape = vec![1; no.dim()];
    shape[0] = -1;
    yes.where_self(&which.view(shape.as_slice()), no)
}
