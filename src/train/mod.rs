//! Train any model with any kernel: the learning loop, once, for Jarzynski, PCD and CD.

mod batches;
mod binary_matching;
mod contrastive;
mod descent;
mod dual_score;
mod flow_matching;
mod gradient;
mod learner;
mod likelihood;
mod maximum_likelihood;
mod minimise;
mod monitoring;
mod natural;
mod noise_contrastive;
mod optim;
mod optimiser;
mod score_matching;
mod settings;
mod trajectory;
mod trust_region;

pub use batches::DataNoise;
pub use binary_matching::{BinaryMatching, BinaryObjective};
pub use dual_score::{Balance, DualScoreMatching};
pub use flow_matching::FlowTrainer;
pub use maximum_likelihood::MaximumLikelihood;
pub use monitoring::Validation;
pub use noise_contrastive::NoiseContrastive;
pub use optim::{Optim, Schedule};
pub use score_matching::{ScoreMatching, ScoreObjective};
pub use settings::{DescentSettings, FlowSettings, Method, Settings};
pub use trust_region::TrustRegion;

use crate::density::{Model, distance_from, rows_for};
use crate::error::{Error, Result, guard};
use crate::io::fingerprint;
use crate::kernel::Kernel;
use crate::run::{Callback, Checkpointing, Driver, Procedure, Run};
use crate::walkers::Scheme;
use contrastive::Contrastive;
use descent::{at_least_one, non_negative, rows_within};
use likelihood::Likelihood;
use std::borrow::Borrow;
use tch::Tensor;
use trajectory::Trajectory;

/// A kernel, a method and settings: `train` turns a model and data into a [`Run`].
///
/// ```
/// use jarzynski::{Method, Rng, Trainer, Ula, model::Mixture};
/// # fn main() -> jarzynski::Result<()> {
/// let teacher = Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7])?;
/// let data = teacher.sample(500, &mut Rng::new(1));
/// let mut model = Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.0]], &[0.5, 0.5])?;
/// let run = Trainer::new(Ula::new(0.1), Method::Jarzynski { ess_min: 0.5 })
///     .walkers(500).steps(50).lr(0.05).seed(0).quiet().train(&mut model, &data)?;
/// assert_eq!(run.stats.height(), 51);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Trainer<K> {
    /// The transition kernel.
    pub kernel: K,
    /// The method.
    pub method: Method,
    /// All other settings.
    pub settings: Settings,
    /// Where rows and checkpoints are written, if anywhere.
    pub checkpointing: Option<Checkpointing>,
    /// Held-out data that are evaluated as the run goes.
    pub validation: Option<Validation>,
    /// Whether the model is left with the parameters of lowest cross-entropy of the held-out data.
    pub keep_best: bool,
}

impl<K> Trainer<K> {
    /// With default settings.
    pub fn new(kernel: K, method: Method) -> Self {
        Trainer {
            kernel,
            method,
            settings: Settings::default(),
            checkpointing: None,
            validation: None,
            keep_best: false,
        }
    }

    /// Number of walkers N.
    pub fn walkers(mut self, n: usize) -> Self {
        self.settings.walkers = n;
        self
    }

    /// Number of walkers of the monitor population; 0 for none.
    pub fn monitor(mut self, n: usize) -> Self {
        self.settings.monitor = Some(n);
        self
    }

    /// Number of updates.
    pub fn steps(mut self, steps: usize) -> Self {
        self.settings.steps = steps;
        self
    }

    /// Kernel moves per update.
    pub fn moves(mut self, moves: usize) -> Self {
        self.settings.moves = moves;
        self
    }

    /// Learning rate.
    pub fn lr(mut self, lr: f64) -> Self {
        self.settings.lr = lr;
        self
    }

    /// Optimiser.
    pub fn optim(mut self, optim: Optim) -> Self {
        self.settings.optim = optim;
        self
    }

    /// The ESS limit on an update.
    pub fn trust_region(mut self, trust_region: TrustRegion) -> Self {
        self.settings.trust_region = Some(trust_region);
        self
    }

    /// Data points per update.
    pub fn batch(mut self, n: usize) -> Self {
        self.settings.batch = Some(n);
        self
    }

    /// What is drawn anew whenever rows of the data are visited: a standard deviation of Gaussian noise, or
    /// [`DataNoise::Bits`].
    pub fn data_noise(mut self, noise: impl Into<DataNoise>) -> Self {
        self.settings.data_noise = noise.into();
        self
    }

    /// Seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Threads that libtorch splits one operation among.
    pub fn threads(mut self, threads: usize) -> Self {
        self.settings.threads = threads;
        self
    }

    /// No progress lines.
    pub fn quiet(mut self) -> Self {
        self.settings.progress = 0.0;
        self
    }

    /// All settings at once.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Writes rows and checkpoints to a folder as the run goes: a path, or a [`Checkpointing`] with intervals and limits.
    pub fn checkpointing(mut self, checkpointing: impl Into<Checkpointing>) -> Self {
        self.checkpointing = Some(checkpointing.into());
        self
    }

    /// Continues the run of an earlier call in `dir` bit for bit, as if it had never been interrupted, or begins one there. The
    /// model is to be made as it was then: its parameters come from the checkpoint. What a [`Callback`] remembers does not.
    pub fn resume_or_start(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        self.checkpointing = Some(Checkpointing::resume_or_start(dir));
        self
    }

    /// Evaluates held-out `data` `[m, d]` every so many updates, at recorded rows: columns `energy_validation` and
    /// `cross_entropy_validation`. They are taken as they are, without fresh noise; bits must be drawn already
    /// ([`Binarisation::Sampled`](crate::data::Binarisation::Sampled)).
    pub fn validation(mut self, data: &Tensor, every: usize) -> Self {
        self.validation = Some(Validation::new(data, every));
        self
    }

    /// Leaves the model with the parameters of lowest `cross_entropy_validation`, which [`validation`](Trainer::validation) must
    /// measure and a monitor (or exact log Z) must know. The run that comes back has no walkers then: they belong to the last
    /// parameters.
    pub fn keep_best(mut self) -> Self {
        self.keep_best = true;
        self
    }

    /// Method, kernel and settings; of a kernel that does not say what it is, the `Debug` text.
    fn config<M: Model>(&self) -> serde_json::Value
    where
        K: Kernel<M>,
    {
        let kernel = self.kernel.identity().unwrap_or_else(|_| format!("{:?}", self.kernel).into());
        serde_json::json!({ "method": self.method, "kernel": kernel, "settings": self.settings })
    }

    /// All that a continuation must agree with.
    fn identity<M: Model>(&self, model: &M, data: &Tensor) -> Result<serde_json::Value>
    where
        K: Kernel<M>,
    {
        let mut config = self.config::<M>();
        config["kernel"] = self.kernel.identity()?;
        config["data"] = fingerprint(data)?.into();
        if let Some(v) = &self.validation {
            config["validation"] = serde_json::json!([fingerprint(&v.data())?, v.every, self.keep_best]);
        }
        config["model"] = model.describe();
        if self.settings.schedule != Schedule::Constant {
            config["schedule over"] = self.settings.steps.into();
        }
        Ok(config)
    }

    fn validate(&self) -> Result<()> {
        let s = &self.settings;
        at_least_one("walkers", s.walkers)?;
        at_least_one("moves", s.moves)?;
        at_least_one("every", s.every)?;
        at_least_one("threads", s.threads)?;
        at_least_one("batch", s.batch.unwrap_or(1))?;
        non_negative("regularisation", s.regularisation)?;
        s.data_noise.validate()?;
        non_negative("progress", s.progress)?;
        match self.method {
            Method::Jarzynski { ess_min } if !(0.0..=1.0).contains(&ess_min) => {
                return Err(Error::param("ess_min", ess_min, "a fraction in [0, 1]"));
            }
            Method::Ptt { rate } if !(rate > 0.0 && rate < 1.0) => {
                return Err(Error::param("rate", rate, "a swap rate between 0 and 1"));
            }
            Method::Cd { k: 0 } => return Err(Error::param("k", 0, "at least 1 move from the data")),
            _ => {}
        }
        self.refuse_what_does_not_apply()?;
        s.rates().validate(None)?;
        self.limit().validate()
    }

    /// A setting without effect is a mistake of whoever made it.
    fn refuse_what_does_not_apply(&self) -> Result<()> {
        let (s, method) = (&self.settings, self.method.name());
        let weighted = matches!(self.method, Method::Jarzynski { .. });
        let contrastive = matches!(self.method, Method::Cd { .. });
        let refused =
            |name, value: String, expected: &str| Err(Error::param(name, format!("{value} for {method}"), expected));
        if let Some(region) = s.trust_region.filter(|r| contrastive && r.bound().is_some()) {
            let expected = "TrustRegion::Unlimited: walkers from data are no sample of the model";
            return refused("trust_region", format!("{region:?}"), expected);
        }
        if let Some(region) = s.trust_region.filter(|r| !weighted && matches!(r, TrustRegion::Substeps { .. })) {
            let expected = "TrustRegion::Shrink or Unlimited: substeps are for weights";
            return refused("trust_region", format!("{region:?}"), expected);
        }
        if let Some(n) = s.monitor.filter(|n| !weighted && *n > 0) {
            return refused("monitor", n.to_string(), "none: without weights there is no log Z to monitor");
        }
        if !weighted && s.scheme != Scheme::default() {
            return refused(
                "scheme",
                format!("{:?}", s.scheme),
                "the default: walkers without weights are not resampled",
            );
        }
        if contrastive && s.moves != 1 {
            return refused(
                "moves",
                s.moves.to_string(),
                "the default: `Method::Cd { k }` says how many moves are made",
            );
        }
        if contrastive && s.stratified {
            return refused("stratified", "true".into(), "false: walkers start from the data");
        }
        rows_within(s.every, s.steps)
    }

    fn limit(&self) -> TrustRegion {
        let weighted = matches!(self.method, Method::Jarzynski { .. });
        let usual = if weighted { TrustRegion::Shrink { ess: 0.95 } } else { TrustRegion::Unlimited };
        self.settings.trust_region.unwrap_or(usual)
    }

    /// Trains `model` in place on `data` `[n, d]`, of any kind on any device, by descent along eq. (4).
    ///
    /// A run that diverges (NaN, infinite energy, a panic inside the model) comes back as `Ok` with the rows recorded so
    /// far and the cause in [`Run::outcome`].
    ///
    /// # Errors
    /// Settings out of range, or that do not apply to the method; data of the wrong shape or not finite; a model that cannot be
    /// evaluated at the start.
    pub fn train<M: Model>(&self, model: &mut M, data: &Tensor) -> Result<Run>
    where
        K: Kernel<M>,
    {
        self.train_with(model, data, &mut |_| Vec::new())
    }

    /// As [`train`](Trainer::train); `callback` adds columns of its own to every recorded row.
    ///
    /// # Errors
    /// As [`train`](Trainer::train).
    pub fn train_with<M: Model>(&self, model: &mut M, data: &Tensor, callback: &mut Callback<M>) -> Result<Run>
    where
        K: Kernel<M>,
    {
        let trainer = Trainer {
            kernel: &self.kernel,
            method: self.method,
            settings: self.settings.clone(),
            checkpointing: self.checkpointing.clone(),
            validation: self.validation.clone(),
            keep_best: self.keep_best,
        };
        trainer.open(&*model, data)?.complete(callback)
    }

    /// An owned run that the caller takes step by step: see [`Driver`]. Its type does not name the kernel.
    ///
    /// # Errors
    /// As [`train`](Trainer::train).
    pub fn start<M: Model + 'static>(&self, model: M, data: &Tensor) -> Result<Driver<'static, M>>
    where
        K: Kernel<M> + Clone + 'static,
    {
        self.clone().open(model, data)
    }

    fn open<'a, M: Model + 'a, H: Borrow<M>>(mut self, model: H, data: &Tensor) -> Result<Driver<'a, M, H>>
    where
        K: Kernel<M> + 'a,
    {
        self.validate()?;
        self.kernel.validate()?;
        let (procedure, checkpointing) = {
            let model: &M = model.borrow();
            let data = self.settings.data_noise.rows(model, data)?;
            let n = data.size()[0] as usize;
            if let Some(batch) = self.settings.batch.filter(|batch| *batch > n) {
                return Err(Error::param("batch", batch, format!("at most the {n} rows of the data")));
            }
            self.settings.rates().validate(Some(model.vars()))?;
            if let Some(validation) = &mut self.validation {
                at_least_one("validation.every", validation.every)?;
                *validation = Validation::new(&rows_for(model, "validation", &validation.data())?, validation.every);
            }
            let known = matches!(self.method, Method::Jarzynski { .. }) && self.settings.monitor != Some(0);
            if self.keep_best && (self.validation.is_none() || (!known && model.log_z_exact().is_none())) {
                let expected =
                    "`validation` data, and a run that knows log Z: Jarzynski with a monitor, or exact log Z";
                return Err(Error::param("keep_best", self.method.name(), expected));
            }
            let distance = guard(|| Ok(distance_from(model.base()?.as_ref(), &data)))?;
            let checkpointing = self.checkpointing.clone();
            let identity = match checkpointing {
                Some(_) => guard(|| self.identity(model, &data))?,
                None => serde_json::Value::Null,
            };
            let procedure: Box<dyn Procedure<M> + 'a> = match self.method {
                Method::Cd { k } => Box::new(Contrastive::new(self, k, (identity, distance), model, data)),
                Method::Ptt { rate } => Box::new(Trajectory::new(self, rate, (identity, distance), model, data)),
                _ => Box::new(Likelihood::new(self, (identity, distance), model, data)),
            };
            (procedure, checkpointing)
        };
        Driver::open(procedure, model, checkpointing.as_ref())
    }
}
