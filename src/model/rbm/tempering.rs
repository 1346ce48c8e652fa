//! Sample a two-layer model by replicas that swap places: at inverse temperatures, or at parameters saved along a training.

use super::ladder::{Climbed, Ladder};
use crate::density::{Bipartite, Layers};
use crate::error::{Error, Result, guard, no_grad};
use crate::io::frame::Rows;
use crate::numeric::Rng;
use crate::walkers::Estimate;
use polars::prelude::DataFrame;
use tch::Tensor;

/// Replicas in a row from independent units to the model, moved by Gibbs sweeps, neighbours swapping places: parallel tempering
/// over inverse temperatures ([`replicas`](Tempering::replicas), [`betas`](Tempering::betas)), over a straight line of parameters
/// ([`straight`](Tempering::straight)), or over parameters saved along a training ([`through`](Tempering::through)), which is
/// parallel trajectory tempering (arXiv 2405.15376).
///
/// The first replica is drawn afresh in every round, exactly. A swap of neighbours is accepted with probability
/// min(1, e^{F_i(v_i) + F_j(v_j) − F_i(v_j) − F_j(v_i)}), chain by chain, even and odd pairs in turn, so that walkers keep their
/// direction until a swap is rejected (arXiv 1905.02939): the product of the replicas' distributions is left
/// invariant, and modes of the model are crossed among the first replicas. Chains never act on each other.
///
/// A mode that appears by a jump at some temperature or some update is crossed only where neighbours on either side of it swap:
/// look at the rates, at [`Tempered::round_trips`] and at [`Tempered::drift`].
///
/// ```
/// use jarzynski::{Rng, Tempering, model::{Rbm, RbmShape}, tch::{Device, Kind}};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Rng::new(1).uniform_tensor(&[100, 8], Kind::Float, Device::Cpu).round();
/// let rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 6, scale: 0.5, ..Default::default() })?;
/// let drawn = Tempering::new().replicas(5).chains(200).rounds(50).seed(3).run(&rbm)?;
/// assert_eq!(drawn.v.size(), [200, 8]);
/// assert!(((drawn.log_z.value - rbm.exact_log_z()?) / drawn.log_z.se).abs() < 5.0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Tempering<L = super::Units> {
    /// Which replicas.
    pub ladder: Replicas<L>,
    /// Gibbs sweeps of every replica between swaps.
    pub sweeps: usize,
    /// Chains of each replica.
    pub chains: usize,
    /// Rounds of sweeps and swaps.
    pub rounds: usize,
    /// Seed.
    pub seed: u64,
}

/// The replicas of [`Tempering`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Replicas<L> {
    /// At inverse temperatures β from 0 to 1 ([`Layers::tempered`]): βU for discrete units; for Gaussian ones β scales W and c, so
    /// that v keeps its mean and variance at β = 0.
    Betas(Vec<f64>),
    /// So many, parameters equally spaced from the model's [`start`](Bipartite::start) to the model.
    Straight(usize),
    /// The model's [`start`](Bipartite::start), these parameters in their order, and the model.
    Through(Vec<L>),
}

/// What [`Tempering::run`] leaves.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tempered {
    /// The chains of the model: `[chains, d_v]`. Chains are independent of each other.
    pub v: Tensor,
    /// The same after half of the rounds: where the two differ, the first was not in equilibrium.
    pub halfway: Tensor,
    /// The chains over the second half of the rounds, at up to 32 times equally far apart, the last of which is `v`:
    /// `[times, chains, d_v]`. A chain's mean over the times is one draw of a mean.
    pub visited: Tensor,
    /// `place, next, rate, log_ratio, log_ratio_se, overlap`: for each pair of neighbours their inverse temperatures (or places
    /// from 0 to 1), the mean probability that a swap is
    /// accepted, and log of the ratio of their Z by Bennett's acceptance ratio.
    pub swaps: DataFrame,
    /// Mean free energy of the model's chains after each round.
    pub free_energy: Vec<f64>,
    /// log Z of the model, nats: that of the first replica, known exactly, and the sum of the log-ratios over the second half of
    /// the rounds. Its error is that between chains (blocks of chains, where there are few), so that it accounts for
    /// autocorrelation. Its warning is `overlap` where neighbours hardly overlap, `equilibration` where the drift is above three
    /// standard errors or there is less than one round trip per chain.
    pub log_z: Estimate,
    /// log Z by the second half of the rounds less that by the quarter before, nats: 0 within its error in equilibrium.
    pub drift: Estimate,
    /// Walkers that went from the first replica to the last and back, per chain.
    pub round_trips: f64,
}

impl<L> Default for Tempering<L> {
    fn default() -> Self {
        Tempering::new()
    }
}

impl<L> Tempering<L> {
    /// Ten equally spaced inverse temperatures, 100 chains each, 1,000 rounds of one sweep, seed 0.
    pub fn new() -> Self {
        Tempering { ladder: Replicas::Straight(0), sweeps: 1, chains: 100, rounds: 1_000, seed: 0 }.replicas(10)
    }

    /// So many equally spaced inverse temperatures, at least two.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.ladder = Replicas::Betas(places(replicas));
        self
    }

    /// These inverse temperatures, rising from 0 to 1.
    pub fn betas(mut self, betas: &[f64]) -> Self {
        self.ladder = Replicas::Betas(betas.to_vec());
        self
    }

    /// So many replicas, at least two, on the straight line of parameters from the model's start, such as independent units with
    /// the data's means, to the model.
    pub fn straight(mut self, replicas: usize) -> Self {
        self.ladder = Replicas::Straight(replicas);
        self
    }

    /// Through parameters saved along a training, in their order: [`Rbm::units`](crate::model::Rbm::units) copied at intervals.
    pub fn through(mut self, saved: Vec<L>) -> Self {
        self.ladder = Replicas::Through(saved);
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
        for (name, n) in [("sweeps", self.sweeps), ("chains", self.chains), ("rounds", self.rounds)] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        match &self.ladder {
            Replicas::Betas(betas) => {
                let rising = betas.windows(2).all(|w| w[0] < w[1]);
                if betas.len() < 2 || !rising || betas[0] != 0.0 || betas[betas.len() - 1] != 1.0 {
                    let expected = "rising numbers from 0 to 1, at least two";
                    return Err(Error::param("betas", format!("{betas:?}"), expected));
                }
            }
            Replicas::Straight(n) if *n < 2 => return Err(Error::param("replicas", n, "at least 2")),
            Replicas::Straight(_) | Replicas::Through(_) => {}
        }
        Ok(())
    }
}

/// So many numbers, equally spaced from 0 to 1.
fn places(n: usize) -> Vec<f64> {
    let last = n.saturating_sub(1) as f64;
    (0..n).map(|i| i as f64 / last).collect()
}

/// Rounds of a pilot whose walkers are kept, about.
const PICTURES: usize = 8;

/// Times at which the chains of the second half are kept, at most.
const KEPT: usize = 32;

/// Joint standard errors by which two parts of the rounds may differ.
const FAR: f64 = 3.0;

impl<L: Layers> Tempering<L> {
    /// The replicas of a model, and their places.
    fn layers<M: Bipartite<Layers = L>>(&self, model: &M) -> Result<(Vec<L>, Vec<f64>)> {
        let end = model.layers();
        Ok(match &self.ladder {
            Replicas::Betas(betas) => (betas.iter().map(|b| end.tempered(*b)).collect(), betas.clone()),
            Replicas::Straight(n) => {
                let start = model.start();
                (places(*n).iter().map(|t| start.between(&end, *t)).collect(), places(*n))
            }
            Replicas::Through(saved) => {
                if let Some(l) = saved.iter().find(|l| l.dims() != end.dims()) {
                    let (dv, dh) = l.dims();
                    let expected = format!("{:?}, as the model", end.dims());
                    return Err(Error::Shape { name: "saved parameters", got: vec![dv, dh], expected });
                }
                let all: Vec<L> = [model.start()].iter().chain(saved).chain([&end]).map(Layers::copy).collect();
                let places = places(all.len());
                (all, places)
            }
        })
    }

    /// With those of its replicas left out that are not needed for a swap rate of `rate` between neighbours: begin with many, a
    /// list of all parameters saved along a training or [`straight`](Tempering::straight) with a hundred. A pilot of `rounds`
    /// rounds over all of them draws walkers of each; from the first on, the farthest replica is kept whose swap rate with the
    /// one before is at least `rate`, and the next one where none is. Where walkers relax slowly at
    /// fixed parameters, as in machines trained on MNIST, .1 to .3 make most round trips per second.
    ///
    /// # Errors
    /// As [`run`](Tempering::run); a rate that is not between 0 and 1.
    pub fn thinned<M: Bipartite<Layers = L>>(self, model: &M, rate: f64, rounds: usize) -> Result<Self> {
        self.validate()?;
        if !(rate > 0.0 && rate < 1.0) {
            return Err(Error::param("rate", rate, "a swap rate between 0 and 1"));
        }
        if rounds == 0 {
            return Err(Error::param("rounds", rounds, "at least 1"));
        }
        guard(|| {
            no_grad(|| {
                let (replicas, places) = self.layers(model)?;
                let kept = self.spaced(replicas, rate, rounds);
                let (all, _) = self.layers(model)?;
                let inner = &kept[1..kept.len() - 1];
                let ladder = match &self.ladder {
                    Replicas::Betas(_) => Replicas::Betas(kept.iter().map(|i| places[*i]).collect()),
                    _ => Replicas::Through(inner.iter().map(|i| all[*i].copy()).collect()),
                };
                Ok(Tempering { ladder, ..self })
            })
        })
    }

    /// The numbers of the replicas to keep.
    fn spaced(&self, replicas: Vec<L>, rate: f64, rounds: usize) -> Vec<usize> {
        let mut rng = Rng::new(self.seed).split(0x7468_696e);
        let last = replicas.len() - 1;
        let mut ladder = Ladder::new(replicas, self.chains, &mut rng);
        // walkers of a few rounds of the second half
        let every = (rounds / 2).div_ceil(PICTURES).max(1);
        let mut seen = Vec::new();
        for left in (0..rounds).rev() {
            ladder.round(self.sweeps, false, &mut rng);
            if left <= rounds / 2 && left % every == 0 {
                seen.push(ladder.all());
            }
        }
        let walkers = |i: usize| Tensor::cat(&seen.iter().map(|v| &v[i]).collect::<Vec<_>>(), 0);
        let mut kept = vec![0];
        while kept[kept.len() - 1] < last {
            let i = kept[kept.len() - 1];
            let a = walkers(i);
            let farther = (i + 2..=last).take_while(|j| ladder.acceptance((i, &a), (*j, &walkers(*j))) >= rate);
            kept.push(farther.last().unwrap_or(i + 1));
        }
        kept
    }

    /// Runs all rounds, with chains v also where the model's own walkers are (v | h).
    ///
    /// # Errors
    /// Temperatures that do not rise from 0 to 1, fewer than two replicas, numbers that are 0, saved parameters of another shape.
    pub fn run<M: Bipartite<Layers = L>>(&self, model: &M) -> Result<Tempered> {
        self.validate()?;
        guard(|| no_grad(|| self.sample(model)))
    }

    fn sample<M: Bipartite<Layers = L>>(&self, model: &M) -> Result<Tempered> {
        let mut rng = Rng::new(self.seed).split(0x7465_6d70);
        let (replicas, places) = self.layers(model)?;
        let end = model.layers();
        let mut ladder = Ladder::new(replicas, self.chains, &mut rng);
        let mut free_energy = Vec::with_capacity(self.rounds);
        let mut halfway = ladder.top().shallow_clone();
        let (mut visited, every) = (Vec::with_capacity(KEPT), (self.rounds / 2).div_ceil(KEPT).max(1));
        for round in 0..self.rounds {
            if round == self.rounds / 2 {
                halfway = ladder.top().shallow_clone();
            }
            ladder.round(self.sweeps, round >= self.rounds / 4, &mut rng);
            let top = ladder.top();
            free_energy.push(mean(&end.free_energy(top, &end.hidden_input(top))));
            let left = self.rounds - 1 - round;
            if left < self.rounds.div_ceil(2) && left.is_multiple_of(every) && visited.len() < KEPT {
                visited.push(top.shallow_clone());
            }
        }
        let Climbed { pairs, mut log_z, drift, round_trips } = ladder.finish(self.rounds / 2 - self.rounds / 4)?;
        let mut swaps = Rows::new(&["place", "next", "rate", "log_ratio", "log_ratio_se", "overlap"]);
        for (place, (rate, ratio, overlap)) in places.windows(2).zip(pairs) {
            swaps.push((place[0], place[1], rate, ratio.value, ratio.se, overlap));
        }
        if round_trips < 1.0 || (drift.value / drift.se).abs() > FAR {
            log_z = log_z.doubted(Some("equilibration"));
        }
        Ok(Tempered {
            v: ladder.top().shallow_clone(),
            halfway,
            visited: Tensor::stack(&visited, 0),
            swaps: swaps.finish()?,
            free_energy,
            log_z,
            drift,
            round_trips,
        })
    }
}

fn mean(t: &Tensor) -> f64 {
    t.mean(tch::Kind::Double).double_value(&[])
}
