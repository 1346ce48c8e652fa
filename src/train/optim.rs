//! Choose an optimiser and a learning-rate schedule.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The rule by which a gradient moves θ. Weight decay acts on θ only: the Jarzynski weights stay exact under all of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Optim {
    /// θ ← θ − lr·g, with momentum.
    Sgd {
        /// Share of the last step kept, 0 for none.
        momentum: f64,
    },
    /// Adam with β = (.9, .999).
    Adam,
    /// Adam with decoupled weight decay.
    AdamW {
        /// Decay of θ per unit of learning rate.
        weight_decay: f64,
    },
    /// RMSProp with α = .99.
    RmsProp,
    /// The natural gradient F⁻¹g, F the Fisher matrix in Kronecker factors under the walkers (K-FAC): of all steps that leave the
    /// same ESS, it lowers the cross-entropy most. With an ESS limit the learning rate is only an upper bound: 1 is usual.
    ///
    /// For models with [`Model::fisher`](crate::Model::fisher), by any method of [`Trainer`](crate::Trainer).
    Natural {
        /// λ, added to F: N walkers know N directions. More of it is slower and less noisy.
        damping: f64,
        /// Share of the factors that is kept at every update, in [0, 1).
        decay: f64,
        /// Updates between two inversions of the factors.
        every: usize,
        /// Share of the previous direction that is added to each, in [0, 1): some of it averages out the gradient's noise, and
        /// lets weights vary more over a long training.
        momentum: f64,
    },
}

impl Optim {
    /// Natural gradients with damping .02, decay .95, an inversion at every 20th update and no momentum.
    ///
    /// ```
    /// use jarzynski::{Gibbs, Method, Optim, Rng, Trainer, TrustRegion, model::{Rbm, RbmShape}, tch::{Device, Kind}};
    /// # fn main() -> jarzynski::Result<()> {
    /// let data = Rng::new(1).uniform_tensor(&[500, 6], Kind::Float, Device::Cpu).round();
    /// let mut rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 4, ..Default::default() })?;
    /// let run = Trainer::new(Gibbs::new(), Method::Jarzynski { ess_min: 0.5 })
    ///     .optim(Optim::natural()).trust_region(TrustRegion::Shrink { ess: 0.9 }).lr(1.0)
    ///     .walkers(500).steps(20).quiet().train(&mut rbm, &data)?;
    /// assert!(run.finished());
    /// # Ok(()) }
    /// ```
    pub fn natural() -> Self {
        Optim::Natural { damping: 0.02, decay: 0.95, every: 20, momentum: 0.0 }
    }

    /// Numbers per parameter that it remembers from update to update.
    pub(super) fn memory(self) -> u64 {
        match self {
            Optim::Sgd { momentum: 0.0 } => 0,
            Optim::Natural { momentum: 0.0, .. } => 0,
            Optim::Sgd { .. } | Optim::RmsProp | Optim::Natural { .. } => 1,
            Optim::Adam | Optim::AdamW { .. } => 2,
        }
    }

    pub(super) fn validate(self) -> Result<()> {
        let (name, v) = match self {
            Optim::Sgd { momentum } => ("optim.momentum", momentum),
            Optim::AdamW { weight_decay } => ("optim.weight_decay", weight_decay),
            Optim::Adam | Optim::RmsProp => return Ok(()),
            Optim::Natural { every: 0, .. } => return Err(Error::param("optim.every", 0, "at least 1 update")),
            Optim::Natural { decay, .. } if !(0.0..1.0).contains(&decay) => {
                return Err(Error::param("optim.decay", decay, "a share in [0, 1)"));
            }
            Optim::Natural { damping, .. } if !(damping > 0.0 && damping.is_finite()) => {
                return Err(Error::param("optim.damping", damping, "a positive, finite number"));
            }
            Optim::Natural { momentum, .. } if !(0.0..1.0).contains(&momentum) => {
                return Err(Error::param("optim.momentum", momentum, "a share in [0, 1)"));
            }
            Optim::Natural { .. } => return Ok(()),
        };
        if v.is_finite() { Ok(()) } else { Err(Error::param(name, v, "a finite number")) }
    }
}

/// The learning rate's factor over a run of K updates.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// 1 throughout.
    #[default]
    Constant,
    /// Linear from 1 to `end`.
    Linear {
        /// Factor at the last update.
        end: f64,
    },
    /// Half a cosine from 1 to `end`.
    Cosine {
        /// Factor at the last update.
        end: f64,
    },
    /// Multiplied by `factor` every `every` updates.
    Step {
        /// Updates between two steps.
        every: usize,
        /// What each step multiplies by.
        factor: f64,
    },
}

impl Schedule {
    /// The factor at update k of `steps`.
    ///
    /// ```
    /// use jarzynski::train::Schedule;
    /// assert_eq!(Schedule::Linear { end: 0.0 }.factor(5, 10), 0.5);
    /// assert_eq!(Schedule::Step { every: 3, factor: 0.1 }.factor(3, 10), 0.1);
    /// ```
    pub fn factor(self, k: usize, steps: usize) -> f64 {
        let s = k as f64 / steps.max(1) as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear { end } => 1.0 + s * (end - 1.0),
            Schedule::Cosine { end } => end + (1.0 - end) * 0.5 * (1.0 + (std::f64::consts::PI * s).cos()),
            Schedule::Step { every, factor } => factor.powi((k / every.max(1)) as i32),
        }
    }

    pub(super) fn validate(self) -> Result<()> {
        match self {
            Schedule::Step { every: 0, .. } => Err(Error::param("schedule.every", 0, "at least 1")),
            Schedule::Linear { end } | Schedule::Cosine { end } if !(0.0..=1e6).contains(&end) => {
                Err(Error::param("schedule.end", end, "a non-negative factor"))
            }
            Schedule::Step { factor, .. } if !(factor > 0.0 && factor.is_finite()) => {
                Err(Error::param("schedule.factor", factor, "a positive factor"))
            }
            _ => Ok(()),
        }
    }
}
