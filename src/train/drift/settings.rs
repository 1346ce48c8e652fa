//! Hold the settings of a drift's training.

use crate::error::{Error, Result};
use crate::train::descent::{Rates, non_negative};
use crate::train::{Optim, Schedule};
use serde::{Deserialize, Serialize};

/// How ∇·b is computed in a [residual](super::DriftTrainer::residual).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Divergence {
    /// The trace of the Jacobian, by d tangents beside each row.
    #[default]
    Exact,
    /// vᵀJ_b v, averaged over so many random vectors of signs (Hutchinson), twice: the square of the residual is estimated by the
    /// product of two independent estimates, which has no bias.
    Hutchinson {
        /// Vectors of each of the two, at least 1.
        probes: usize,
    },
}

/// How [`DriftTrainer`](super::DriftTrainer) trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftSettings {
    /// Updates of θ.
    pub steps: usize,
    /// Steps K of the transports that give the walkers, t_k = k/K.
    pub grid: usize,
    /// Walkers N of a transport.
    pub walkers: usize,
    /// The part of the updates in which the horizon, where transports end, rises from t = 1/K to 1; in [0, 1].
    pub horizon: f64,
    /// Updates for which the walkers of one transport serve; a loss of the variance takes new ones for each.
    pub refresh: usize,
    /// Times of an update, spread evenly up to the horizon; for the residual.
    pub times: usize,
    /// Walkers at each of them, at least 2; for the residual.
    pub batch: usize,
    /// The divergence; for the residual.
    pub divergence: Divergence,
    /// Resample the training's walkers below this ESS/N; for the residual.
    pub ess_min: f64,
    /// Learning rate.
    pub lr: f64,
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
}

impl Default for DriftSettings {
    fn default() -> Self {
        DriftSettings {
            steps: 1_000,
            grid: 64,
            walkers: 256,
            horizon: 0.5,
            refresh: 20,
            times: 16,
            batch: 64,
            divergence: Divergence::Exact,
            ess_min: 0.5,
            lr: 2e-3,
            schedule: Schedule::Cosine { end: 0.0 },
            optim: Optim::Adam,
            clip: Some(10.0),
            every: 10,
            seed: 0,
            threads: 1,
            progress: 5.0,
        }
    }
}

impl DriftSettings {
    pub(super) fn rates(&self) -> Rates<'_> {
        let (optim, lr, schedule, clip, steps) = (self.optim, self.lr, self.schedule, self.clip, self.steps);
        Rates { optim, lr, schedule, group_lr: &[], clip, steps }
    }

    /// # Errors
    /// Settings out of range.
    pub(super) fn validate(&self) -> Result<()> {
        let probes = match self.divergence {
            Divergence::Exact => 1,
            Divergence::Hutchinson { probes } => probes,
        };
        for (name, n, least) in [
            ("grid", self.grid, 1),
            ("walkers", self.walkers, 2),
            ("refresh", self.refresh, 1),
            ("times", self.times, 1),
            ("batch", self.batch, 2),
            ("probes", probes, 1),
            ("every", self.every, 1),
            ("threads", self.threads, 1),
        ] {
            if n < least {
                return Err(Error::param(name, n, format!("at least {least}")));
            }
        }
        for (name, share) in [("horizon", self.horizon), ("ess_min", self.ess_min)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::param(name, share, "a fraction in [0, 1]"));
            }
        }
        non_negative("progress", self.progress)?;
        self.rates().without_walkers()?;
        self.rates().validate(None)
    }

    /// Steps of the transport for update k.
    pub(super) fn reach(&self, k: usize) -> usize {
        let rising = self.horizon * self.steps as f64;
        let share = if rising > 0.0 { ((k + 1) as f64 / rising).min(1.0) } else { 1.0 };
        ((share * self.grid as f64).ceil() as usize).clamp(1, self.grid)
    }
}
