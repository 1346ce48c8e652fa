//! Say how to train: the method, and everything else with a default.

use super::descent::{Rates, at_least_one};
use super::minimise;
use super::{DataNoise, Optim, Schedule, TrustRegion};
use crate::error::Result;
use crate::run::Pace;
use crate::walkers::Scheme;
use serde::{Deserialize, Serialize};
use tch::{Device, nn};

/// How the model's expectation in eq. (4) is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Method {
    /// Walkers with Jarzynski weights: exact for every kernel and protocol; resampled when ESS/N < `ess_min`.
    Jarzynski {
        /// Threshold in [0, 1]; 0 never resamples.
        ess_min: f64,
    },
    /// Persistent contrastive divergence: the same walkers without weights.
    Pcd,
    /// Parallel trajectory tempering (arXiv 2405.15376): unweighted walkers that also swap with those of replicas, which are the
    /// model at parameters that the training has passed. Persistent chains in equilibrium also where those of PCD are shut in by
    /// modes, at the cost of moving all replicas at every update. For models that give copies of themselves
    /// ([`Model::copy`](crate::Model::copy)).
    Ptt {
        /// Where neighbours swap less often than this, in (0, 1), the present parameters become a replica; .25 in the paper.
        rate: f64,
    },
    /// Contrastive divergence: before each update, `k` moves from fresh data points.
    Cd {
        /// Moves from the data, at least 1.
        k: usize,
    },
}

impl Method {
    /// `jarzynski`, `pcd`, `ptt` or `cd`.
    pub fn name(self) -> &'static str {
        match self {
            Method::Jarzynski { .. } => "jarzynski",
            Method::Pcd => "pcd",
            Method::Ptt { .. } => "ptt",
            Method::Cd { .. } => "cd",
        }
    }
}

/// Everything about a training run but the kernel, the model and the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Walkers N.
    pub walkers: usize,
    /// Walkers of the monitor population; `None`: as many as there are walkers, for Jarzynski.
    pub monitor: Option<usize>,
    /// Updates of θ.
    pub steps: usize,
    /// Kernel moves per update (all but the last at fixed θ).
    pub moves: usize,
    /// Learning rate.
    pub lr: f64,
    /// Factors of the learning rate for parameter groups 0, 1, … of the `VarStore`; missing ones are 1.
    pub group_lr: Vec<f64>,
    /// Its schedule. An ESS limit allows this part of the length that it allows at factor 1.
    pub schedule: Schedule,
    /// The optimiser.
    pub optim: Optim,
    /// The ESS limit on an update; `None`: shrink to conditional ESS .95 for Jarzynski, free for PCD and CD.
    pub trust_region: Option<TrustRegion>,
    /// Largest gradient norm.
    pub clip: Option<f64>,
    /// Coefficient of mean U² over data and walkers, added to the loss.
    pub regularisation: f64,
    /// Data points per update; `None`: all.
    pub batch: Option<usize>,
    /// What is drawn anew whenever rows of the data are visited: Gaussian noise added to them, or bits. A number is the noise's
    /// standard deviation, in the data's units.
    pub data_noise: DataNoise,
    /// Resampling scheme.
    pub scheme: Scheme,
    /// Start with walkers in proportion to the modes, where the base can.
    pub stratified: bool,
    /// Steps between recorded rows.
    pub every: usize,
    /// Seed of all randomness.
    pub seed: u64,
    /// Draw noise on the CPU for walkers on a GPU too: the run then agrees with one on the CPU within rounding, but sends all
    /// noise over. [`Rng::on_host`](crate::Rng::on_host).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_noise: bool,
    /// Threads that libtorch splits one operation among. Part of the configuration because a net's sums round differently
    /// for different counts: same seed and same `threads`, same bits, on any machine. More cores: raise it.
    pub threads: usize,
    /// Seconds between progress lines on standard output; 0 is silent.
    pub progress: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            walkers: 1_000,
            monitor: None,
            steps: 1_000,
            moves: 1,
            lr: 1e-3,
            group_lr: Vec::new(),
            schedule: Schedule::Constant,
            optim: Optim::Sgd { momentum: 0.0 },
            trust_region: None,
            clip: None,
            regularisation: 0.0,
            batch: None,
            data_noise: DataNoise::default(),
            scheme: Scheme::Systematic,
            stratified: false,
            every: 1,
            seed: 0,
            host_noise: false,
            threads: 2,
            progress: 5.0,
        }
    }
}

impl Settings {
    pub(super) fn rates(&self) -> Rates<'_> {
        Rates {
            optim: self.optim,
            lr: self.lr,
            schedule: self.schedule,
            group_lr: &self.group_lr,
            clip: self.clip,
            steps: self.steps,
        }
    }

    pub(super) fn pace(&self, device: Device) -> Pace {
        Pace { every: self.every, seed: self.seed, threads: self.threads, progress: self.progress, device }
    }
}

/// How [`FlowTrainer`](crate::FlowTrainer) trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowSettings {
    /// Updates of θ.
    pub steps: usize,
    /// Points on the way per update.
    pub batch: usize,
    /// Learning rate.
    pub lr: f64,
    /// Its schedule.
    pub schedule: Schedule,
    /// The optimiser.
    pub optim: Optim,
    /// Factors of the learning rate for parameter groups 0, 1, … of the `VarStore`; missing ones are 1.
    pub group_lr: Vec<f64>,
    /// Largest gradient norm.
    pub clip: Option<f64>,
    /// Weight of the time-score loss times the dimension d, 0 for (122) alone: the loss's own noise grows with d.
    pub time_score: f64,
    /// Walkers at t = 0 in the run that comes back.
    pub walkers: usize,
    /// Steps between recorded rows.
    pub every: usize,
    /// Seed of all randomness.
    pub seed: u64,
    /// Threads that libtorch splits one operation among; see [`Settings::threads`](crate::Settings::threads). On small nets
    /// two are slower than one.
    pub threads: usize,
    /// Seconds between progress lines on standard output; 0 is silent.
    pub progress: f64,
}

impl Default for FlowSettings {
    fn default() -> Self {
        FlowSettings {
            steps: 2_000,
            batch: 512,
            lr: 2e-3,
            schedule: Schedule::Cosine { end: 0.0 },
            optim: Optim::Adam,
            group_lr: Vec::new(),
            clip: None,
            time_score: 0.2,
            walkers: 1_000,
            every: 10,
            seed: 0,
            threads: 1,
            progress: 5.0,
        }
    }
}

impl FlowSettings {
    pub(super) fn rates(&self) -> Rates<'_> {
        Rates {
            optim: self.optim,
            lr: self.lr,
            schedule: self.schedule,
            group_lr: &self.group_lr,
            clip: self.clip,
            steps: self.steps,
        }
    }

    pub(super) fn pace(&self, device: Device) -> Pace {
        Pace { every: self.every, seed: self.seed, threads: self.threads, progress: self.progress, device }
    }
}

/// Everything about a descent on a loss but the loss: what [`ScoreMatching`](super::ScoreMatching),
/// [`NoiseContrastive`](super::NoiseContrastive) and [`BinaryMatching`](super::BinaryMatching) have in common. Their builders set
/// each of these.
///
/// ```
/// use jarzynski::train::{DescentSettings, ScoreMatching};
/// let descent = DescentSettings { steps: 500, lr: 0.01, every: 50, ..Default::default() };
/// assert_eq!(ScoreMatching::exact().descent(descent.clone()).descent, descent);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DescentSettings {
    /// Updates of θ.
    pub steps: usize,
    /// Data points per update; `None`: all. A batch larger than the data goes through it several times.
    pub batch: Option<usize>,
    /// What is drawn anew whenever rows of the data are visited: Gaussian noise added to them, or bits.
    pub data_noise: DataNoise,
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
    /// Updates between recorded rows; at most `steps`.
    pub every: usize,
    /// Seed of all randomness.
    pub seed: u64,
    /// Threads that libtorch splits one operation among; see [`Settings::threads`](crate::Settings::threads).
    pub threads: usize,
    /// Seconds between progress lines; 0 is silent.
    pub progress: f64,
}

impl Default for DescentSettings {
    fn default() -> Self {
        DescentSettings {
            steps: 1_000,
            batch: None,
            data_noise: DataNoise::default(),
            lr: 1e-3,
            group_lr: Vec::new(),
            schedule: Schedule::Constant,
            optim: Optim::Adam,
            clip: None,
            every: 1,
            seed: 0,
            threads: 2,
            progress: 5.0,
        }
    }
}

impl DescentSettings {
    pub(super) fn rates(&self) -> Rates<'_> {
        let (optim, lr, schedule, clip, steps) = (self.optim, self.lr, self.schedule, self.clip, self.steps);
        Rates { optim, lr, schedule, group_lr: &self.group_lr, clip, steps }
    }

    pub(super) fn pace(&self, device: Device) -> Pace {
        Pace { every: self.every, seed: self.seed, threads: self.threads, progress: self.progress, device }
    }

    /// # Errors
    /// A setting out of range.
    pub(super) fn validate(&self, vs: &nn::VarStore) -> Result<()> {
        at_least_one("batch", self.batch.unwrap_or(1))?;
        self.data_noise.validate()?;
        minimise::validate(&self.rates(), &self.pace(vs.device()), vs)
    }
}
