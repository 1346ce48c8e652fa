//! Sample a two-layer model by parallel tempering: replicas at several inverse temperatures that swap places, with measured
//! rates.

use crate::density::{Bipartite, Layers};
use crate::error::{Error, Result};
use crate::io::frame::Rows;
use crate::numeric::Rng;
use polars::prelude::DataFrame;
use tch::{Kind, Tensor};

/// Replicas at inverse temperatures β from 0 to 1 ([`Layers::tempered`]): βU for discrete units; for Gaussian ones β scales W
/// and c, so that v keeps its mean and variance at β = 0. There the units are independent and drawn afresh in every round.
///
/// A swap of neighbours is accepted with probability min(1, e^{F_i(v_i) + F_j(v_j) − F_i(v_j) − F_j(v_i)}), chain by chain:
/// the product of the replicas' distributions is left invariant, and modes of the model are crossed at small β.
///
/// ```
/// use jarzynski::{Rng, Tempering, model::{Rbm, RbmShape}, tch::{Device, Kind}};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Rng::new(1).uniform_tensor(&[100, 8], Kind::Float, Device::Cpu).round();
/// let rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 6, scale: 0.5, ..Default::default() })?;
/// let drawn = Tempering::new().replicas(5).chains(20).rounds(10).seed(3).run(&rbm)?;
/// assert_eq!(drawn.v.size(), [20, 8]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Tempering {
    /// Inverse temperatures, rising from 0 to 1.
    pub betas: Vec<f64>,
    /// Gibbs sweeps of every replica between swaps.
    pub sweeps: usize,
    /// Chains of each replica.
    pub chains: usize,
    /// Rounds of sweeps and swaps.
    pub rounds: usize,
    /// Seed.
    pub seed: u64,
}

/// What [`Tempering::run`] leaves.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tempered {
    /// The chains of the model, β = 1: `[chains, d_v]`.
    pub v: Tensor,
    /// `beta, next, rate`: the share of accepted swaps between neighbours.
    pub swaps: DataFrame,
    /// Mean free energy of the model's chains after each round.
    pub free_energy: Vec<f64>,
}

impl Default for Tempering {
    fn default() -> Self {
        Tempering::new()
    }
}

impl Tempering {
    /// Ten equally spaced inverse temperatures, 100 chains each, 1,000 rounds of one sweep, seed 0.
    pub fn new() -> Self {
        Tempering { betas: Vec::new(), sweeps: 1, chains: 100, rounds: 1_000, seed: 0 }.replicas(10)
    }

    /// So many equally spaced inverse temperatures, at least two.
    pub fn replicas(mut self, replicas: usize) -> Self {
        let last = replicas.saturating_sub(1) as f64;
        self.betas = (0..replicas).map(|i| i as f64 / last).collect();
        self
    }

    /// These inverse temperatures, rising from 0 to 1.
    pub fn betas(mut self, betas: &[f64]) -> Self {
        self.betas = betas.to_vec();
        self
    }

    /// Gibbs sweeps of every replica between swaps.
    pub fn sweeps(mut self, sweeps: usize) -> Self {
        self.sweeps = sweeps;
        self
    }

    /// Chains of each replica.
    pub fn chains(mut self, chains: usize) -> Self {
        self.chains = chains;
        self
    }

    /// Rounds of sweeps and swaps.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds;
        self
    }

    /// Seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn validate(&self) -> Result<()> {
        let rising = self.betas.windows(2).all(|w| w[0] < w[1]);
        if self.betas.len() < 2 || !rising || self.betas[0] != 0.0 || self.betas[self.betas.len() - 1] != 1.0 {
            return Err(Error::param("betas", format!("{:?}", self.betas), "rising numbers from 0 to 1, at least two"));
        }
        for (name, n) in [("sweeps", self.sweeps), ("chains", self.chains), ("rounds", self.rounds)] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        Ok(())
    }

    /// Runs all rounds, with chains v also where the model's own walkers are (v | h).
    ///
    /// # Errors
    /// Temperatures that do not rise from 0 to 1, numbers that are 0.
    pub fn run<M: Bipartite>(&self, model: &M) -> Result<Tempered> {
        self.validate()?;
        crate::error::guard(|| crate::error::no_grad(|| self.sample(&model.layers())))
    }

    fn sample<L: Layers>(&self, layers: &L) -> Result<Tempered> {
        let mut rng = Rng::new(self.seed).split(0x7465_6d70);
        let replicas: Vec<L> = self.betas.iter().map(|b| layers.tempered(*b)).collect();
        let still = layers.hidden_zeros(self.chains as i64);
        let fresh = |rng: &mut Rng| replicas[0].draw_visible(&still, rng);
        let mut v: Vec<Tensor> = replicas.iter().map(|_| fresh(&mut rng)).collect();
        let last = replicas.len() - 1;
        let (mut accepted, mut free_energy) = (vec![0.0; last], Vec::with_capacity(self.rounds));
        let free = |u: &L, v: &Tensor| u.free_energy(v, &u.hidden_input(v));
        for _ in 0..self.rounds {
            v[0] = fresh(&mut rng);
            for (v, u) in v.iter_mut().zip(&replicas).skip(1) {
                for _ in 0..self.sweeps {
                    *v = u.draw_visible(&u.draw_hidden(&u.hidden_input(v), &mut rng), &mut rng);
                }
            }
            // from hot to cold, so that a fresh draw may be swapped up to β = 1 in one round
            for i in 0..last {
                let (a, b) = (&v[i], &v[i + 1]);
                let gain = free(&replicas[i], a) + free(&replicas[i + 1], b)
                    - free(&replicas[i], b)
                    - free(&replicas[i + 1], a);
                let uniform = rng.uniform_tensor(&[self.chains as i64], Kind::Double, a.device());
                let swap: Tensor = uniform.log().lt_tensor(&gain);
                accepted[i] += swap.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
                let wide = swap.unsqueeze(-1);
                (v[i], v[i + 1]) = (b.where_self(&wide, a), a.where_self(&wide, b));
            }
            free_energy.push(free(&replicas[last], &v[last]).mean(Kind::Double).double_value(&[]));
        }
        let mut swaps = Rows::new(&["beta", "next", "rate"]);
        for (pair, a) in self.betas.windows(2).zip(&accepted) {
            swaps.push((pair[0], pair[1], a / self.rounds as f64));
        }
        Ok(Tempered { v: v.swap_remove(last), swaps: swaps.finish()?, free_energy })
    }
}
