//! Estimate log Z of a two-layer model of any size by annealed importance sampling from independent units.

use crate::density::log_prob;
use crate::density::{Bipartite, Layers, LayersPath, Model, check_rows};
use crate::error::{Error, Result};
use crate::kernel::Gibbs;
use crate::model::Units;
use crate::run::{Checkpointing, Outcome, Run};
use crate::transport::{Bracket, OverRanks, ReverseStart, Transport};
use crate::walkers::Estimate;
use tch::{Kind, Tensor};

/// Annealed importance sampling: walkers go from independent units to the model by collapsed Gibbs sweeps and carry
/// A += F_k(v′) − F_{k+1}(v′).
///
/// It is [`Transport`] along a [`LayersPath`]. Never resampled, so that Ẑ is unbiased and walkers are independent.
///
/// **The error bar accounts for visited mass only.** A mode that appears late on the path, and that no walker reaches, is missing
/// from log Ẑ without a trace in its standard error, the ESS or k̂: Ẑ is unbiased because one run in very many finds the mode,
/// with a large weight. With 60 binary units, one hidden unit and a mode of e² times the mass of the rest that no walker
/// enters, log Ẑ is 2.13 nats too low with an error bar of .0003.
///
/// So estimate along more than one path: from the data's means, from the uniform distribution ([`scaled`](Ais::scaled)), through
/// parameters saved along the training ([`through`](Ais::through)), and with more steps. Where the results differ by more than
/// their bars, too low is the likelier error. [`Tempering`](crate::Tempering) visits modes in another way, and
/// [`bracket`](Ais::bracket) bounds log Z from above.
///
/// ```
/// use jarzynski::{Ais, Rng, model::{Rbm, RbmShape}, tch::{Device, Kind}};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Rng::new(1).uniform_tensor(&[100, 8], Kind::Float, Device::Cpu).round();
/// let rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 6, scale: 0.5, ..Default::default() })?;
/// let ais = || Ais::new().steps(200).walkers(500);
/// let (z, other) = (ais().log_z(&rbm)?, ais().scaled().seed(1).log_z(&rbm)?);
/// assert!((z.value - rbm.exact_log_z()?).abs() < 5.0 * z.se);
/// assert!((z.value - other.value).abs() < 5.0 * (z.se + other.se));
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Ais<L = Units> {
    /// Temperatures, or places between saved parameters: steps K.
    pub steps: usize,
    /// Walkers N.
    pub walkers: usize,
    /// Sweeps per step.
    pub sweeps: usize,
    /// Steps of a pilot run that spaces the temperatures; 0 for equal spacing.
    pub pilot: usize,
    /// Between which parameters the walkers go.
    pub route: Route<L>,
    /// Seed.
    pub seed: u64,
    /// Seconds between progress lines on standard output; 0 is silent. A run that takes less says nothing.
    pub progress: f64,
    /// Where rows and checkpoints are written, if anywhere.
    pub checkpointing: Option<Checkpointing>,
    /// The ranks that walkers are spread over, if any.
    pub over: Option<OverRanks>,
}

/// The path of [`Ais`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Route<L> {
    /// From the model's [`start`](Bipartite::start), straight in θ.
    Start,
    /// From β = 0 to 1, all parameters scaled.
    Scaled,
    /// From the model's start through parameters saved along a training.
    Through(Vec<L>),
}

impl<L> Default for Ais<L> {
    fn default() -> Self {
        Ais::new()
    }
}

impl<L> Ais<L> {
    /// 1,000 steps of one sweep with 500 walkers and equal spacing along the straight path, seed 0.
    pub fn new() -> Self {
        Ais {
            steps: 1_000,
            walkers: 500,
            sweeps: 1,
            pilot: 0,
            route: Route::Start,
            seed: 0,
            progress: 5.0,
            checkpointing: None,
            over: None,
        }
    }

    /// Steps K.
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// Walkers N.
    pub fn walkers(mut self, walkers: usize) -> Self {
        self.walkers = walkers;
        self
    }

    /// Sweeps per step.
    pub fn sweeps(mut self, sweeps: usize) -> Self {
        self.sweeps = sweeps;
        self
    }

    /// Seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// With temperatures spaced by a pilot run of so many steps and a tenth of the walkers, at least 50.
    pub fn adaptive(mut self, pilot: usize) -> Self {
        self.pilot = pilot;
        self
    }

    /// Through parameters saved along a training: [`Rbm::units`](crate::model::Rbm::units) copied at intervals.
    pub fn through(mut self, saved: Vec<L>) -> Self {
        self.route = Route::Through(saved);
        self
    }

    /// From the uniform distribution of discrete units, by scaling all parameters.
    pub fn scaled(mut self) -> Self {
        self.route = Route::Scaled;
        self
    }

    /// Over several ranks, each of which makes this call; see [`Transport::over`]. A pilot is run by every rank.
    pub fn over(mut self, ranks: impl Into<OverRanks>) -> Self {
        self.over = Some(ranks.into());
        self
    }

    /// No progress lines.
    pub fn quiet(mut self) -> Self {
        self.progress = 0.0;
        self
    }

    /// Continues the run of an earlier call in `dir`, or begins one there; see
    /// [`Trainer::resume_or_start`](crate::Trainer::resume_or_start). A pilot is run again.
    pub fn resume_or_start(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        self.checkpointing = Some(Checkpointing::resume_or_start(dir));
        self
    }
}

impl<L: Layers> Ais<L> {
    /// The run; its walkers v are exact for the model, also where the model's own walkers are (v | h).
    ///
    /// # Errors
    /// K = 0, N = 0, no sweeps, saved parameters of another shape.
    pub fn run<M: Bipartite<Layers = L>>(&self, model: &M) -> Result<Run> {
        let (transport, path) = self.transport(model)?;
        transport.run_as("ais", &path, &mut |_| Vec::new())
    }

    /// The settings of the run, and its path.
    fn transport<M: Bipartite<Layers = L>>(&self, model: &M) -> Result<(Transport<Gibbs>, LayersPath<L>)> {
        let path = match &self.route {
            Route::Start => LayersPath::to(model)?,
            Route::Scaled => LayersPath::scaled(model),
            Route::Through(saved) => LayersPath::through(model, saved)?,
        };
        let path = path.collapsed();
        let mut transport = Transport::new(Gibbs::sweeps(self.sweeps), self.steps, self.walkers, self.seed);
        transport.every = self.steps.div_ceil(100).max(1);
        transport.progress = self.progress;
        if self.pilot > 0 {
            transport = transport.adapted(&path, self.pilot, (self.walkers / 10).max(50))?;
        }
        transport.checkpointing = self.checkpointing.clone();
        transport.over = self.over.clone();
        Ok((transport, path))
    }

    /// AIS up and reverse AIS down the same path: log Z from below, from above, and by Bennett's acceptance ratio. `start` holds
    /// draws v of the model, of [`Tempering`](crate::Tempering) or exact ones; the reverse run has one walker for each.
    ///
    /// The lower end misses modes that no walker enters on the way up; reverse walkers start in those that the start has visited.
    /// With the machine of 60 units [above](Ais) and exact draws the lower end is 2.13 nats low, BAR and the upper end are right
    /// within their errors.
    ///
    /// ```
    /// use jarzynski::{Ais, Rng, Tempering, model::{Rbm, RbmShape}, tch::{Device, Kind}};
    /// # fn main() -> jarzynski::Result<()> {
    /// let data = Rng::new(1).uniform_tensor(&[100, 8], Kind::Float, Device::Cpu).round();
    /// let rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 6, scale: 0.5, ..Default::default() })?;
    /// let drawn = Tempering::new().replicas(5).chains(500).rounds(100).run(&rbm)?;
    /// let found = Ais::new().steps(200).bracket(&rbm, &(&drawn).into())?;
    /// assert!(((found.bar.value - rbm.exact_log_z()?) / found.bar.se).abs() < 5.0, "{found}");
    /// println!("test log-likelihood {}", found.log_likelihood(&rbm, &data)?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Ais::run); a run that diverges; draws of the wrong width, not finite, or that are no states of the visible
    /// units.
    pub fn bracket<M: Bipartite<Layers = L>>(&self, model: &M, start: &ReverseStart) -> Result<Bracket> {
        let (transport, path) = self.transport(model)?;
        for v in start.all() {
            check_rows("reverse start", v, model.layers().dims().0)?;
            model.layers().check_visible(v)?;
        }
        transport.bracket_as(["ais", "reverse ais", "reverse ais, halfway"], &path, start)
    }

    /// log Ẑ with its standard error, nats, and with the run's warning where the error is not to be trusted.
    ///
    /// # Errors
    /// As [`run`](Ais::run); a run that diverges.
    pub fn log_z<M: Bipartite<Layers = L>>(&self, model: &M) -> Result<Estimate> {
        let run = self.run(model)?;
        match &run.outcome {
            Outcome::Finished => run.log_z().ok_or_else(|| Error::param("walkers", 0, "walkers with weights")),
            Outcome::Diverged { step, cause } | Outcome::Paused { step, cause } => {
                Err(Error::NonFinite { what: "energy", place: format!("in AIS at step {step}: {cause}") })
            }
        }
    }

    /// Mean log-likelihood of rows v with the standard error that log Ẑ gives it, nats.
    ///
    /// # Errors
    /// As [`log_z`](Ais::log_z); rows of the wrong width, not finite, or that are no states of the visible units. The rows are
    /// looked at first.
    pub fn log_likelihood<M: Model + Bipartite<Layers = L>>(&self, model: &M, v: &Tensor) -> Result<Estimate> {
        let minus_u = log_prob(model, v, 0.0)?.mean(Kind::Double).double_value(&[]);
        let z = self.log_z(model)?;
        Ok(Estimate::new(minus_u - z.value, z.se).doubted(z.warning))
    }
}
