//! Sample an RBM by parallel tempering: replicas at several inverse temperatures that swap places, with measured rates.

use crate::density::Model;
use crate::error::{Error, Result};
use crate::io::frame::Rows;
use crate::model::{Rbm, Units};
use crate::numeric::Rng;
use polars::prelude::DataFrame;
use tch::{Kind, Tensor};

/// Replicas at inverse temperatures β from 0 to 1: βU for binary units; for Gaussian ones β scales W and c, so that v keeps
/// its mean and variance at β = 0. There the units are independent and drawn afresh in every round.
///
/// A swap of neighbours is accepted with probability min(1, e^{F_i(v_i) + F_j(v_j) − F_i(v_j) − F_j(v_i)}), chain by chain:
/// the product of the laws is left invariant, and modes of the model are crossed at small β.
#[derive(Debug, Clone, PartialEq)]
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
pub struct Tempered {
    /// The chains of the model, β = 1: `[chains, d_v]`.
    pub v: Tensor,
    /// `beta, next, rate`: the share of accepted swaps between neighbours.
    pub swaps: DataFrame,
    /// Mean free energy of the model's chains after each round.
    pub free_energy: Vec<f64>,
}

impl Tempering {
    /// `replicas` equally spaced inverse temperatures.
    pub fn new(replicas: usize, chains: usize, rounds: usize, seed: u64) -> Self {
        let last = replicas.max(2) - 1;
        Tempering { betas: (0..=last).map(|i| i as f64 / last as f64).collect(), sweeps: 1, chains, rounds, seed }
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

    /// Runs all rounds. Errors: temperatures that do not rise from 0 to 1, numbers that are 0, walkers that are joint.
    pub fn run(&self, rbm: &Rbm) -> Result<Tempered> {
        self.validate()?;
        if rbm.joint() {
            return Err(Error::param("model", "joint", "an RBM whose walkers are v alone"));
        }
        crate::error::guard(|| crate::error::no_grad(|| self.sample(rbm)))
    }

    fn sample(&self, rbm: &Rbm) -> Result<Tempered> {
        let mut rng = Rng::new(self.seed).split(0x7465_6d70);
        let laws: Vec<Units> = self.betas.iter().map(|b| rbm.units().tempered(*b)).collect();
        let still = Tensor::zeros([self.chains as i64, rbm.dims().1], rbm.options());
        let fresh = |rng: &mut Rng| laws[0].draw_visible(&still, rng);
        let mut v: Vec<Tensor> = laws.iter().map(|_| fresh(&mut rng)).collect();
        let last = laws.len() - 1;
        let (mut accepted, mut free_energy) = (vec![0.0; last], Vec::with_capacity(self.rounds));
        let free = |u: &Units, v: &Tensor| u.free_energy(v, &u.hidden_input(v));
        for _ in 0..self.rounds {
            v[0] = fresh(&mut rng);
            for (v, u) in v.iter_mut().zip(&laws).skip(1) {
                for _ in 0..self.sweeps {
                    *v = u.draw_visible(&u.draw_hidden(&u.hidden_input(v), &mut rng), &mut rng);
                }
            }
            // from hot to cold, so that a fresh draw may travel all the way in one round
            for i in 0..last {
                let (a, b) = (&v[i], &v[i + 1]);
                let gain = free(&laws[i], a) + free(&laws[i + 1], b) - free(&laws[i], b) - free(&laws[i + 1], a);
                let uniform = rng.uniform_tensor(&[self.chains as i64], Kind::Double, a.device());
                let swap: Tensor = uniform.log().lt_tensor(&gain);
                accepted[i] += swap.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
                let wide = swap.unsqueeze(-1);
                (v[i], v[i + 1]) = (b.where_self(&wide, a), a.where_self(&wide, b));
            }
            free_energy.push(free(&laws[last], &v[last]).mean(Kind::Double).double_value(&[]));
        }
        let mut swaps = Rows::new(&["beta", "next", "rate"]);
        for (pair, a) in self.betas.windows(2).zip(&accepted) {
            swaps.push((pair[0], pair[1], a / self.rounds as f64));
        }
        Ok(Tempered { v: v.swap_remove(last), swaps: swaps.finish()?, free_energy })
    }
}
