//! Train a ladder of noise levels by dual score matching (arXiv 2506.05310): the energy's slopes in x and in the noise level.

mod balance;
mod slopes;

pub use balance::Balance;

use super::batches::Batches;
use super::descent::{Rates, at_least_one, non_negative};
use super::minimise::{self, About, Measured, Minimise, Objective, Update};
use super::{Optim, Schedule};
use crate::density::{NoisePath, rows_as};
use crate::error::{Error, Result, guard, no_grad};
use crate::io::{Checkpoint, fingerprint};
use crate::model::NoiseLadder;
use crate::numeric::Rng;
use crate::run::{Callback, Checkpointing, Driver, Outcome, Pace, Parts, Run, Tally};
use crate::walkers::Walkers;
use balance::Descending;
use serde::{Deserialize, Serialize};
use serde_json::json;
use slopes::{Slopes, sum, variances};
use std::borrow::Borrow;
use tch::{Device, Kind, Tensor, nn};

/// Fits U_θ(t, ·) of a [`NoiseLadder`] at all levels at once. With a point of the data x_1, ε ~ N(0, I) and x = x_1 + σε,
///
/// ```text
/// ½ |σ∇U − ε|² + w ½ (∂_{log σ}U − (d − |ε|²))²/d
/// ```
///
/// both from one graph. The first term is denoising at each level; it leaves the constant of each level free and sees nothing of
/// the masses of modes that are far apart. The second is the score in log σ: it ties the levels together, down from one where the
/// model is known. What is left of the error in the normaliser, weights along the ladder measure; with [`Balance`] there is a third
/// term that makes them small.
///
/// ```
/// use jarzynski::{Rng, Transport, kernel::Denoise, train::DualScoreMatching, model::{LadderShape, Mixture, NoiseLadder}};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7])?.sample(2_000, &mut Rng::new(1));
/// let mut ladder = NoiseLadder::new(&data, 0.2, &LadderShape { widths: vec![32, 32], ..Default::default() })?;
/// let run = DualScoreMatching::new().steps(50).batch(256).progress(0.0).train(&mut ladder, &data)?;
/// let weighted = Transport::new(Denoise::new(), 50, 500, 0).ess_min(0.5).quiet().run(&ladder)?;
/// assert!(run.finished() && weighted.log_z().unwrap().se > 0.0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DualScoreMatching {
    /// Updates of θ.
    pub steps: usize,
    /// Data points per update, each at a noise level of its own.
    pub batch: usize,
    /// Learning rate.
    pub lr: f64,
    /// Its schedule.
    pub schedule: Schedule,
    /// The optimiser.
    pub optim: Optim,
    /// Largest gradient norm.
    pub clip: Option<f64>,
    /// The weight w ≥ 0 of the second term.
    pub time_score: f64,
    /// The third term, if any: that steps down the ladder balance.
    pub balance: Option<Balance>,
    /// The ladder is left with a running average of θ, of which this share is kept at every update, in [0, 1); 0: the last θ.
    pub average: f64,
    /// Updates between recorded rows.
    pub every: usize,
    /// Seed of all randomness.
    pub seed: u64,
    /// Threads that libtorch splits one operation among; see [`Settings::threads`](crate::Settings::threads).
    pub threads: usize,
    /// Seconds between progress lines; 0 is silent.
    pub progress: f64,
    /// Where rows and checkpoints are written, if anywhere.
    #[serde(skip)]
    pub checkpointing: Option<Checkpointing>,
}

impl Default for DualScoreMatching {
    fn default() -> Self {
        DualScoreMatching {
            steps: 2_000,
            batch: 256,
            lr: 1e-3,
            schedule: Schedule::Cosine { end: 0.0 },
            optim: Optim::Adam,
            clip: None,
            time_score: 1.0,
            balance: None,
            average: 0.995,
            every: 10,
            seed: 0,
            threads: 2,
            progress: 5.0,
            checkpointing: None,
        }
    }
}

macro_rules! setters {
    ($($name:ident: $t:ty, $doc:literal);* $(;)?) => { $(
        #[doc = $doc]
        #[must_use]
        pub fn $name(self, $name: $t) -> Self {
            DualScoreMatching { $name: $name.into(), ..self }
        }
    )* };
}

impl DualScoreMatching {
    /// With all settings at their defaults.
    pub fn new() -> Self {
        DualScoreMatching::default()
    }

    setters! {
        steps: usize, "Number of updates.";
        batch: usize, "Data points per update.";
        lr: f64, "Learning rate.";
        schedule: Schedule, "Schedule of the learning rate.";
        optim: Optim, "The optimiser.";
        clip: f64, "Largest gradient norm.";
        time_score: f64, "The weight w of the second term.";
        balance: Balance, "The third term: that steps down the ladder balance.";
        average: f64, "Share of the running average of θ that is kept at every update.";
        every: usize, "Updates between recorded rows.";
        seed: u64, "Seed of all randomness.";
        threads: usize, "Threads that libtorch splits one operation among.";
        progress: f64, "Seconds between progress lines; 0 is silent.";
        checkpointing: Checkpointing, "Writes rows and checkpoints to a folder as the run goes.";
    }

    /// Trains `ladder` in place on `data` `[n, d]`. The run has no walkers.
    ///
    /// # Errors
    /// Settings out of range; data of the wrong shape or not finite.
    pub fn train(&self, ladder: &mut NoiseLadder, data: &Tensor) -> Result<Run> {
        self.train_with(ladder, data, &mut |_| Vec::new())
    }

    /// As [`train`](DualScoreMatching::train); `callback` adds columns of its own to every recorded row.
    ///
    /// # Errors
    /// As [`train`](DualScoreMatching::train).
    pub fn train_with(
        &self,
        ladder: &mut NoiseLadder,
        data: &Tensor,
        callback: &mut Callback<NoiseLadder>,
    ) -> Result<Run> {
        self.open(&*ladder, data)?.complete(callback)
    }

    /// An owned run that the caller takes step by step: see [`Driver`].
    ///
    /// # Errors
    /// As [`train`](DualScoreMatching::train).
    pub fn start(&self, ladder: NoiseLadder, data: &Tensor) -> Result<Driver<'static, NoiseLadder>> {
        self.open(ladder, data)
    }

    fn open<H: Borrow<NoiseLadder>>(&self, ladder: H, data: &Tensor) -> Result<Driver<'static, NoiseLadder, H>> {
        let procedure = guard(|| self.procedure(ladder.borrow(), data))?;
        Driver::open(Box::new(procedure), ladder, self.checkpointing.as_ref())
    }

    fn rates(&self) -> Rates<'_> {
        let (optim, lr, schedule, clip, steps) = (self.optim, self.lr, self.schedule, self.clip, self.steps);
        Rates { optim, lr, schedule, group_lr: &[], clip, steps }
    }

    fn pace(&self, device: Device) -> Pace {
        Pace { every: self.every, seed: self.seed, threads: self.threads, progress: self.progress, device }
    }

    fn validate(&self, ladder: &NoiseLadder) -> Result<()> {
        at_least_one("batch", self.batch)?;
        non_negative("time_score", self.time_score)?;
        self.balance.iter().try_for_each(Balance::validate)?;
        if !(0.0..1.0).contains(&self.average) {
            return Err(Error::param("average", self.average, "a share in [0, 1)"));
        }
        minimise::validate(&self.rates(), &self.pace(Device::Cpu), ladder.vars())
    }

    fn procedure(&self, ladder: &NoiseLadder, data: &Tensor) -> Result<Minimise<DualScore>> {
        self.validate(ladder)?;
        let device = ladder.vars().device();
        let data = rows_as("data", data, ladder.dim(), (ladder.kind(), device))?;
        let found = self.checkpointing.as_ref().map(|_| fingerprint(&data)).transpose()?;
        let rising = self.balance.is_some_and(|b| b.rise > 1.0);
        let scheduled = (rising || self.schedule != Schedule::Constant, self.steps);
        let parts = [("data", found.into()), ("model", ladder.describe())];
        let about = About::new(self.pace(device), json!({ "settings": self }), parts, scheduled);
        let root = Rng::new(self.seed);
        let along = no_grad(|| ladder.axes().to_axes(&data));
        let params = ladder.vars().trainable_variables();
        let score = DualScore {
            batches: Batches::new(along, Some(self.batch), 0.0, root.split(1)),
            descending: self.balance.map(|balance| Descending::new(balance, ladder, root.split(3))),
            rng: root.split(2),
            averaged: params.iter().map(|p| p.detach().zeros_like()).collect(),
            params,
            settings: self.clone(),
        };
        Ok(Minimise::new(score, ladder, &self.rates(), about))
    }
}

/// The objective on batches of data, each point at a level of its own.
#[derive(Debug)]
struct DualScore {
    settings: DualScoreMatching,
    /// Data along the principal axes.
    batches: Batches,
    descending: Option<Descending>,
    rng: Rng,
    params: Vec<Tensor>,
    /// Sum of parameters weighted by average^age.
    averaged: Vec<Tensor>,
}

impl DualScore {
    /// The losses of a batch without their weights w, with the graph of θ.
    fn losses(&mut self, ladder: &NoiseLadder) -> Result<Vec<Tensor>> {
        let z1 = self.batches.next();
        let (n, d) = (z1.size()[0], z1.size()[1] as f64);
        let (kind, device) = (z1.kind(), z1.device());
        // one level in each of n equal parts of the ladder
        let place = (Kind::Double, device);
        let t = (Tensor::arange(n, place) + self.rng.uniform_tensor(&[n], place.0, place.1)) / n as f64;
        let t = t.view([n, 1]);
        let noise = self.rng.normal(&z1.size(), kind, device);
        let z = &z1 + &noise * variances(ladder, &t).sqrt().to_kind(kind);
        let all = match &self.descending {
            None => Slopes::at(ladder, &t, &z)?,
            Some(walkers) => {
                let (times, rows) = walkers.rows();
                Slopes::at(ladder, &Tensor::cat(&[&t, &times], 0), &Tensor::cat(&[&z, rows], 0))?
            }
        };
        let data = all.rows(0, n);
        let denoising = sum(&(data.score() - &noise).square()) * 0.5;
        let level = (data.rate() - (d - sum(&noise.square()))).square() * (0.5 / d);
        let mut losses = vec![denoising.mean(None::<Kind>), level.mean(None::<Kind>)];
        losses.extend(self.descending.as_mut().map(|walkers| walkers.loss(&all, &z1)));
        Ok(losses)
    }

    /// The running average of θ.
    fn average(&mut self) {
        let kept = self.settings.average;
        no_grad(|| {
            for (sum, p) in self.averaged.iter_mut().zip(&self.params) {
                *sum = &*sum * kept + p * (1.0 - kept);
            }
        });
    }
}

const LOSSES: [&str; 3] = ["loss_denoising", "loss_level", "loss_balance"];

impl Objective<NoiseLadder> for DualScore {
    fn name(&self) -> &'static str {
        "dual score matching"
    }

    fn vars<'a>(&self, ladder: &'a NoiseLadder) -> &'a nn::VarStore {
        ladder.vars()
    }

    fn columns(&self) -> &[&'static str] {
        if self.descending.is_some() { &LOSSES } else { &LOSSES[..2] }
    }

    fn measure(&mut self, ladder: &NoiseLadder, at: Update, tally: &mut Tally) -> Result<Measured> {
        let losses = self.losses(ladder)?;
        // a term of no weight costs no gradient
        let part = at.k as f64 / self.settings.steps.max(1) as f64;
        let weights = [1.0, self.settings.time_score, self.settings.balance.map_or(0.0, |b| b.share(part))];
        let counted = losses.iter().zip(weights).filter(|(_, w)| *w > 0.0);
        let loss: Tensor = counted.map(|(loss, w)| (loss * w).to_kind(Kind::Double)).sum();
        let measured = at.descend_from(&loss)?;
        LOSSES.iter().zip(&losses).for_each(|(name, loss)| tally.sum(name, loss));
        let n = (self.settings.batch + self.settings.balance.map_or(0, |b| b.count)) as u64;
        tally.cost.forward += n;
        tally.cost.backward += if at.last { n } else { 2 * n };
        Ok(measured)
    }

    fn moved(&mut self, _k: usize) {
        self.average();
    }

    fn save(&self, to: &mut Checkpoint) -> Result<()> {
        self.batches.save(to, "data")?;
        self.descending.iter().try_for_each(|walkers| walkers.save(to))?;
        self.averaged.iter().enumerate().for_each(|(i, t)| to.put(format!("average.{i}"), t));
        to.put_json("rng", &self.rng)
    }

    fn load(&mut self, from: &Checkpoint) -> Result<()> {
        self.batches.load(from, "data")?;
        self.descending.iter_mut().try_for_each(|walkers| walkers.load(from))?;
        for (i, sum) in self.averaged.iter_mut().enumerate() {
            *sum = from.get(&format!("average.{i}"))?.to_device(sum.device());
        }
        self.rng = from.json("rng")?;
        Ok(())
    }

    /// The ladder gets the average.
    fn finish(&mut self, _ladder: &NoiseLadder, outcome: &Outcome) -> Result<Parts> {
        let (kept, steps) = (self.settings.average, self.settings.steps as i32);
        if matches!(outcome, Outcome::Finished) && kept > 0.0 && steps > 0 {
            let norm = 1.0 - kept.powi(steps);
            no_grad(|| self.params.iter_mut().zip(&self.averaged).for_each(|(p, sum)| p.copy_(&(sum / norm))));
        }
        Ok(Parts { walkers: Walkers::none(), monitor: None })
    }
}

#[cfg(test)]
mod tests;
