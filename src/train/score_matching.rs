//! Learn an energy by denoising score matching: regress ∇U on noise that was added to the data; nothing is sampled.

use super::batches::Batches;
use super::descent::{self, Descent, Rates};
use super::{Optim, Schedule};
use crate::density::{Model, restore_parameters, rows_for, save_parameters};
use crate::error::{Error, Result, guard};
use crate::io::Checkpoint;
use crate::io::fingerprint;
use crate::numeric::Rng;
use crate::run::{Callback, Checkpointing, Driver, Health, Outcome, Pace, Parts, Procedure, Recorder, Row, Run, Tally};
use crate::walkers::Walkers;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Borrow;
use tch::{Kind, Tensor};

/// Trains any [`Model`] on data with noise of standard deviation `sigma`: guide, section 6.2,
///
/// ```text
/// ½ E|σ∇U_θ(x + σξ) − ξ|²,  ξ ~ N(0, I)
/// ```
///
/// whose minimiser is the energy of the data's distribution convolved with N(0, σ²I). The loss sees ∇U alone: masses of
/// separated modes are invisible to it (guide, Fig. 4), and log Z is not learned. [`anneal`](crate::anneal) measures it.
///
/// ```
/// use jarzynski::{Rng, ScoreMatching, model::Mixture};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.5, 0.5])?.sample(500, &mut Rng::new(1));
/// let mut model = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5])?;
/// let run = ScoreMatching::new(0.5).steps(50).lr(0.1).progress(0.0).train(&mut model, &data)?;
/// let loss = run.column("loss_denoising")?;
/// assert!(run.finished() && loss[50] < loss[0]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct ScoreMatching {
    /// Standard deviation of the noise, in the data's units; above 0.
    pub sigma: f64,
    /// Updates of θ.
    pub steps: usize,
    /// Data points per update; `None`: all. A batch larger than the data goes through it several times, with other noise.
    pub batch: Option<usize>,
    /// Learning rate.
    pub lr: f64,
    /// Factors of the learning rate for parameter groups 0, 1, …; missing ones are 1.
    pub group_lr: Vec<f64>,
    /// Its schedule.
    pub schedule: Schedule,
    /// The optimiser.
    pub optim: Optim,
    /// Largest gradient norm.
    pub clip: Option<f64>,
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

impl Default for ScoreMatching {
    fn default() -> Self {
        ScoreMatching {
            sigma: 0.1,
            steps: 1_000,
            batch: None,
            lr: 1e-3,
            group_lr: Vec::new(),
            schedule: Schedule::Constant,
            optim: Optim::Adam,
            clip: None,
            every: 1,
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
        pub fn $name(self, $name: $t) -> Self {
            ScoreMatching { $name: $name.into(), ..self }
        }
    )* };
}

impl ScoreMatching {
    /// With noise of standard deviation `sigma`, all else by default.
    pub fn new(sigma: f64) -> Self {
        ScoreMatching { sigma, ..Default::default() }
    }

    setters! {
        steps: usize, "Number of updates.";
        batch: usize, "Data points per update.";
        lr: f64, "Learning rate.";
        schedule: Schedule, "Schedule of the learning rate.";
        optim: Optim, "The optimiser.";
        clip: f64, "Largest gradient norm.";
        every: usize, "Updates between recorded rows.";
        seed: u64, "Seed of all randomness.";
        progress: f64, "Seconds between progress lines; 0 is silent.";
        checkpointing: Checkpointing, "Writes rows and checkpoints to a folder as the run goes.";
    }

    /// Trains `model` in place on `data` `[n, d]`. The run has no walkers.
    ///
    /// # Errors
    /// Settings out of range; data of the wrong shape or not finite; a model whose ∇U is not differentiable in θ.
    pub fn train<M: Model>(&self, model: &mut M, data: &Tensor) -> Result<Run> {
        self.train_with(model, data, &mut |_| Vec::new())
    }

    /// As [`train`](ScoreMatching::train); `callback` adds columns of its own to every recorded row.
    ///
    /// # Errors
    /// As [`train`](ScoreMatching::train).
    pub fn train_with<M: Model>(&self, model: &mut M, data: &Tensor, callback: &mut Callback<M>) -> Result<Run> {
        self.open(&*model, data)?.complete(callback)
    }

    /// An owned run that the caller takes step by step: see [`Driver`].
    ///
    /// # Errors
    /// As [`train`](ScoreMatching::train).
    pub fn start<M: Model>(&self, model: M, data: &Tensor) -> Result<Driver<'static, M>> {
        self.open(model, data)
    }

    fn open<M: Model, H: Borrow<M>>(&self, model: H, data: &Tensor) -> Result<Driver<'static, M, H>> {
        let procedure = guard(|| Denoising::new(self.clone(), model.borrow(), data))?;
        Driver::open(Box::new(procedure), model, self.checkpointing.as_ref())
    }

    fn rates(&self) -> Rates<'_> {
        let (optim, lr, schedule, clip, steps) = (self.optim, self.lr, self.schedule, self.clip, self.steps);
        Rates { optim, lr, schedule, group_lr: &self.group_lr, clip, steps }
    }
}

/// The procedure.
#[derive(Debug)]
struct Denoising {
    settings: ScoreMatching,
    identity: Value,
    batches: Batches,
    rng: Rng,
    descent: Descent,
    params: Vec<Tensor>,
    grads: Vec<Tensor>,
    norm: f64,
    nobody: Walkers,
}

impl Denoising {
    fn new<M: Model>(s: ScoreMatching, model: &M, data: &Tensor) -> Result<Self> {
        if !(s.sigma > 0.0 && s.sigma.is_finite()) {
            return Err(Error::param("sigma", s.sigma, "a positive, finite standard deviation"));
        }
        for (name, n) in [("batch", s.batch.unwrap_or(1)), ("every", s.every), ("threads", s.threads)] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        super::descent::non_negative("progress", s.progress)?;
        s.rates().without_walkers()?;
        s.rates().validate(Some(model.vars()))?;
        let data = rows_for(model, "data", data)?;
        let found = if s.checkpointing.is_some() { fingerprint(&data)? } else { String::new() };
        let over = (s.schedule != Schedule::Constant).then_some(s.steps);
        let root = Rng::new(s.seed);
        Ok(Denoising {
            identity: json!({ "settings": s, "data": found, "model": model.describe(), "schedule over": over }),
            batches: Batches::new(data, s.batch, 0.0, root.split(1)),
            rng: root.split(2),
            descent: Descent::new(&s.rates(), model.vars()),
            params: model.vars().trainable_variables(),
            grads: Vec::new(),
            norm: f64::NAN,
            nobody: Walkers::none(),
            settings: s,
        })
    }
}

impl<M: Model> Procedure<M> for Denoising {
    fn name(&self) -> &'static str {
        "score matching"
    }

    fn steps(&self) -> usize {
        self.settings.steps
    }

    fn schedule(&self) -> Pace {
        let (s, device) = (&self.settings, self.params.first().map_or(tch::Device::Cpu, Tensor::device));
        Pace { every: s.every, seed: s.seed, threads: s.threads, progress: s.progress, device }
    }

    fn config(&self) -> Value {
        json!({ "settings": self.settings })
    }

    fn identity(&self, _model: &M) -> Result<Value> {
        Ok(self.identity.clone())
    }

    fn weighted(&self) -> bool {
        false
    }

    fn begin(&mut self, _model: &M, _tally: &mut Tally) -> Result<()> {
        Ok(())
    }

    /// ½|σ∇U(x + σξ) − ξ|², averaged over a batch, and its gradient in θ.
    fn measure(&mut self, model: &M, _k: usize, last: bool, tally: &mut Tally) -> Result<Health> {
        let (x, sigma) = (self.batches.next(), self.settings.sigma);
        let noise = self.rng.normal(&x.size(), x.kind(), x.device());
        let noisy = (&x + &noise * sigma).set_requires_grad(true);
        let u = tch::with_grad(|| model.energy(&noisy));
        let slope = Tensor::f_run_backward(&[u.sum(u.kind())], &[&noisy], true, !last)?.swap_remove(0);
        let gap = (slope * sigma - noise).square().sum_dim_intlist(-1, false, None::<Kind>);
        let loss = gap.mean(None::<Kind>) * 0.5;
        self.grads = if last { Vec::new() } else { Tensor::f_run_backward(&[&loss], &self.params, false, false)? };
        tally.sum("loss_denoising", &loss);
        tally.updates += 1;
        tally.cost.forward += x.size()[0] as u64;
        tally.cost.backward += if last { 1 } else { 2 } * x.size()[0] as u64;
        let (read, norm) = self.descent.read(&[loss.detach()], &mut self.grads);
        self.norm = norm;
        Ok(descent::health(read[0], norm, last))
    }

    fn row(&mut self, _model: &M, k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        let [loss] = spent.means(["loss_denoising"]);
        row.extend([("lr", self.descent.rate(k)), ("loss_denoising", loss), ("grad_norm", self.norm)]);
        row.extend([("forward", spent.cost.forward as f64), ("backward", spent.cost.backward as f64)]);
        Ok(())
    }

    fn step(&mut self, _model: &M, k: usize, _tally: &mut Tally) -> Result<Health> {
        self.descent.step(&self.grads, k);
        Ok(Health::Fine)
    }

    fn save(&self, model: &M, to: &mut Checkpoint) -> Result<()> {
        save_parameters(model.vars(), to)?;
        self.descent.save(to)?;
        self.batches.save(to, "data")?;
        to.put_json("rng", &self.rng)
    }

    fn load(&mut self, model: &M, _k: usize, from: &Checkpoint) -> Result<()> {
        restore_parameters(model.vars(), from)?;
        self.descent.load(from, model.vars().device())?;
        self.batches.load(from, "data")?;
        self.rng = from.json("rng")?;
        Ok(())
    }

    fn walkers(&self) -> &Walkers {
        &self.nobody
    }

    fn details(&self, _k: usize, rows: &Recorder) -> String {
        rows.last("loss_denoising").map_or(String::new(), |loss| format!("loss {loss:.3}"))
    }

    fn finish(self: Box<Self>, _model: &M, _outcome: &Outcome) -> Result<Parts> {
        Ok(Parts { walkers: self.nobody, monitor: None })
    }
}
