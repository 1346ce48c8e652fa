//! Estimate log Z of an RBM of any size by annealed importance sampling from independent units.

use crate::error::{Error, Result};
use crate::kernel::Gibbs;
use crate::model::{Rbm, RbmPath, Units};
use crate::run::{Checkpointing, Run};
use crate::transport::Transport;
use crate::walkers::Estimate;
use tch::{Kind, Tensor};

/// Annealed importance sampling: walkers go from the base (W = 0) to the model by collapsed Gibbs sweeps and carry
/// A += F_k(v′) − F_{k+1}(v′).
///
/// It is [`Transport`] along an [`RbmPath`]. Never resampled, so that the error of log Ẑ holds; Ẑ is unbiased.
///
/// ```
/// use jarzynski::{Ais, Rng, model::{Rbm, RbmShape}, tch::{Device, Kind}};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Rng::new(1).uniform_tensor(&[100, 8], Kind::Float, Device::Cpu).round();
/// let rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 6, scale: 0.5, ..Default::default() })?;
/// let z = Ais::new(200, 500, 0).log_z(&rbm)?;
/// assert!((z.value - rbm.exact_log_z()?).abs() < 5.0 * z.se);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Ais {
    /// Temperatures, or places between saved parameters: steps K.
    pub steps: usize,
    /// Walkers N.
    pub walkers: usize,
    /// Sweeps per step.
    pub sweeps: usize,
    /// Steps of a pilot run that spaces the temperatures; 0 for equal spacing.
    pub pilot: usize,
    /// Parameters saved along a training, as intermediate models; empty for the straight path in θ.
    pub saved: Vec<Units>,
    /// Seed.
    pub seed: u64,
    /// Seconds between progress lines on standard output; 0 is silent. A run that takes less says nothing.
    pub progress: f64,
    /// Where the run is kept on disk, if anywhere.
    pub checkpointing: Option<Checkpointing>,
}

impl Ais {
    /// K steps, N walkers, equal spacing along the straight path.
    pub fn new(steps: usize, walkers: usize, seed: u64) -> Self {
        Ais { steps, walkers, sweeps: 1, pilot: 0, saved: Vec::new(), seed, progress: 5.0, checkpointing: None }
    }

    /// With temperatures spaced by a pilot run of so many steps and a tenth of the walkers, at least 50.
    pub fn adaptive(mut self, pilot: usize) -> Self {
        self.pilot = pilot;
        self
    }

    /// Through parameters saved along a training: [`Rbm::units`] copied at intervals.
    pub fn through(mut self, saved: Vec<Units>) -> Self {
        self.saved = saved;
        self
    }

    /// No progress lines.
    pub fn quiet(mut self) -> Self {
        self.progress = 0.0;
        self
    }

    /// Goes on with the run that is kept in `dir`; see [`Trainer::resume_or_start`](crate::Trainer::resume_or_start). A pilot is run again.
    pub fn resume_or_start(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        self.checkpointing = Some(Checkpointing::resume_or_start(dir));
        self
    }

    /// The run; its walkers are exact for the model. Errors: K = 0, N = 0, saved parameters of another shape.
    pub fn run(&self, rbm: &Rbm) -> Result<Run> {
        let path = RbmPath::through(rbm, &self.saved)?;
        let mut transport = Transport::new(Gibbs::sweeps(self.sweeps), self.steps, self.walkers, self.seed);
        transport.every = self.steps.div_ceil(100).max(1);
        transport.progress = self.progress;
        if self.pilot > 0 {
            transport = transport.adapted(&path, self.pilot, (self.walkers / 10).max(50))?;
        }
        transport.checkpointing = self.checkpointing.clone();
        transport.run_as("ais", &path, &mut |_| Vec::new())
    }

    /// log Ẑ with its standard error, nats. Errors: as [`run`](Ais::run), a run that diverges.
    pub fn log_z(&self, rbm: &Rbm) -> Result<Estimate> {
        let run = self.run(rbm)?;
        match &run.outcome {
            crate::run::Outcome::Finished => Ok(run.walkers.log_z()),
            crate::run::Outcome::Diverged { step, cause } | crate::run::Outcome::Paused { step, cause } => {
                Err(Error::NonFinite { what: "energy", place: format!("in AIS at step {step}: {cause}") })
            }
        }
    }

    /// Mean log-likelihood of rows v with the standard error that log Ẑ gives it, nats. Errors: as above, rows of the wrong
    /// width.
    pub fn log_likelihood(&self, rbm: &Rbm, v: &Tensor) -> Result<Estimate> {
        let z = self.log_z(rbm)?;
        let value = rbm.log_likelihood(v, z.value)?.mean(Kind::Double).double_value(&[]);
        Ok(Estimate { value, se: z.se })
    }
}
