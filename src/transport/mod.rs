//! Move walkers along a prescribed path of energies U_t, t from 0 to 1: annealing and, with a velocity, flows.

mod ais;
mod bracket;
mod check;
mod pilot;
mod procedure;
mod ranks;
mod waste_free;

pub use ais::{Ais, Route};
pub use bracket::{Bracket, ReverseStart};
pub use check::{Contract, Drifting, check_kernel};
pub use pilot::{Pilot, Piloted};
pub use ranks::OverRanks;
pub use waste_free::autocorrelation_time;

use crate::density::{Annealed, At, Grid, Path};
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::numeric::Rng;
use crate::run::memory::Sizes;
use crate::run::{Callback, Checkpointing, Driver, Memory, Outcome, Procedure, Run};
use crate::walkers::Scheme;
use procedure::Along;
use ranks::Spread;
use tch::Kind;

/// How walkers are moved along a path.
#[derive(Debug, Clone)]
#[must_use]
pub struct Transport<K> {
    /// The transition kernel.
    pub kernel: K,
    /// Steps K; t_k = k/K unless `times` says otherwise.
    pub steps: usize,
    /// Times 0 = t_0 < … < t_K = 1 of one's own; they replace `steps`.
    pub times: Option<Vec<f64>>,
    /// Walkers N.
    pub walkers: usize,
    /// Whether walkers carry weights; without, the run generates from a flow as one does without this library.
    pub weighted: bool,
    /// Resample when ESS/N is below this; 0 never, which keeps walkers independent and standard errors valid.
    pub ess_min: f64,
    /// Resampling scheme.
    pub scheme: Scheme,
    /// The length of the chains of [waste-free](Transport::waste_free) resampling; none for one move per step.
    pub chain: Option<usize>,
    /// Record every so many steps.
    pub every: usize,
    /// Seed of all randomness.
    pub seed: u64,
    /// Threads that libtorch splits one operation among; see [`Settings::threads`](crate::Settings::threads).
    pub threads: usize,
    /// Seconds between progress lines on standard output; 0 is silent. A run that takes less says nothing.
    pub progress: f64,
    /// Where rows and checkpoints are written, if anywhere.
    pub checkpointing: Option<Checkpointing>,
    /// The ranks that walkers are spread over, if any.
    pub over: Option<OverRanks>,
}

impl<K> Transport<K> {
    /// K steps with N walkers, never resampled.
    pub fn new(kernel: K, steps: usize, walkers: usize, seed: u64) -> Self {
        Transport {
            kernel,
            steps,
            times: None,
            walkers,
            weighted: true,
            ess_min: 0.0,
            scheme: Scheme::Systematic,
            chain: None,
            every: 1,
            seed,
            threads: 2,
            progress: 5.0,
            checkpointing: None,
            over: None,
        }
    }

    /// Over several ranks, each of which makes this call: it moves its share of the walkers, and all of them return the same run
    /// with all walkers in it. The numbers are the same to the last bit for any number of ranks, and others than without this
    /// call. Log-weights and energies of all walkers are gathered at every step; at a resampling those walkers move to another
    /// rank whose copies are there: near the borders of shares, since ancestors are in order.
    ///
    /// A callback sees the walkers' weights and energies, and rows without numbers for their positions. Not for runs without
    /// weights, reverse runs, or checkpoints.
    ///
    /// ```
    /// use jarzynski::{Escorted, Transport, World, model::Interpolant};
    /// # fn main() -> jarzynski::Result<()> {
    /// // with the feature `mpi`, in a program that mpirun starts: let world = World::from_env()?;
    /// let world = World::alone();
    /// let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7])?;
    /// let run = Transport::new(Escorted::new(0.5), 16, 1_000, 0).over(&world).quiet().run(&path)?;
    /// assert!((run.walkers.log_z().value / run.walkers.log_z().se).abs() < 5.0);
    /// # Ok(()) }
    /// ```
    pub fn over(mut self, ranks: impl Into<OverRanks>) -> Self {
        self.over = Some(ranks.into());
        self
    }

    /// No progress lines.
    pub fn quiet(mut self) -> Self {
        self.progress = 0.0;
        self
    }

    /// Writes rows and checkpoints to a folder; see [`Trainer::checkpointing`](crate::Trainer::checkpointing).
    pub fn checkpointing(mut self, checkpointing: impl Into<Checkpointing>) -> Self {
        self.checkpointing = Some(checkpointing.into());
        self
    }

    /// Continues the run of an earlier call in `dir`, or begins one there; see
    /// [`Trainer::resume_or_start`](crate::Trainer::resume_or_start).
    pub fn resume_or_start(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        self.checkpointing = Some(Checkpointing::resume_or_start(dir));
        self
    }

    /// With resampling below an ESS threshold.
    pub fn ess_min(mut self, ess_min: f64) -> Self {
        self.ess_min = ess_min;
        self
    }

    /// With a row every so many steps.
    pub fn every(mut self, every: usize) -> Self {
        self.every = every;
        self
    }

    /// Along times of one's own instead of equal steps.
    pub fn times(mut self, times: &[f64]) -> Self {
        self.times = Some(times.to_vec());
        self
    }

    /// With times chosen by a pilot run of `pilot_steps` equal steps and `pilot_walkers` walkers: equal parts of the
    /// thermodynamic length ∫ √Var_t(∂_tU) dt, at which each step costs the weights the same.
    ///
    /// # Errors
    /// As [`run`](Transport::run); a pilot that does not reach t = 1.
    pub fn adapted<P: Path>(mut self, path: &P, pilot_steps: usize, pilot_walkers: usize) -> Result<Self>
    where
        K: for<'a> Kernel<At<'a, P>> + Clone,
    {
        Grid::uniform(self.steps)?;
        let seed = Rng::new(self.seed).split(0x7011).seed();
        let mut pilot = Transport::new(self.kernel.clone(), pilot_steps, pilot_walkers, seed).ess_min(0.5);
        pilot.progress = self.progress;
        let (mut t, mut speed) = (Vec::new(), Vec::new());
        let run = pilot.run_as("pilot", path, &mut |at| {
            let rate = path.rate(at.t, at.walkers.x());
            let w = at.walkers.weights();
            let rate = at.walkers.with_weight(&rate).to_kind(Kind::Double);
            let variance = (&rate - rate.dot(&w)).square().dot(&w).double_value(&[]);
            t.push(at.t);
            speed.push(variance.max(0.0).sqrt());
            Vec::new()
        })?;
        if let Outcome::Diverged { step, cause } = run.outcome {
            return Err(Error::param(
                "pilot_steps",
                pilot_steps,
                format!("a pilot that arrives; step {step}: {cause}"),
            ));
        }
        self.times = Some(equal_lengths(&t, &speed, self.steps));
        Ok(self)
    }

    /// Without weights: plain generation, with the discretisation's bias. The only way along a score without an energy.
    pub fn plain(mut self) -> Self {
        self.weighted = false;
        self
    }

    /// What a run along `path` needs of memory at least. A run that cannot fit is refused before it starts.
    pub fn memory<P: Path>(&self, path: &P) -> Memory {
        let one = path.base().sample(1, &mut Rng::new(0));
        let sizes = Sizes::of(one.kind(), one.size().get(1).map_or(0, |d| *d as usize), self.walkers);
        Memory::of(&Sizes { row: path.row_numbers().unwrap_or(sizes.row), ..sizes })
    }

    fn grid(&self) -> Result<Grid> {
        for (name, n) in [("walkers", self.walkers), ("every", self.every), ("threads", self.threads)] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        if !(0.0..=1.0).contains(&self.ess_min) {
            return Err(Error::param("ess_min", self.ess_min, "a fraction in [0, 1]"));
        }
        if !(self.progress >= 0.0 && self.progress.is_finite()) {
            return Err(Error::param("progress", self.progress, "a finite number of seconds ≥ 0"));
        }
        self.chains_fit()?;
        self.times.as_ref().map_or_else(|| Grid::uniform(self.steps), |t| Grid::new(t))
    }

    /// From X_0 ~ base with A_0 = U_base − U_{t=0} to t = 1; the run's walkers are exact for U_1.
    ///
    /// Where U = +∞ the density is 0: a walker there has weight 0 from then on, exactly, until it is resampled; the run
    /// diverges where a walker that has weight has no finite energy, or where none has weight. All averages stay exact if
    /// the backward kernel has zero density at such x, as [`Reversed`](crate::Reversed) kernels have, Gibbs among them. The
    /// backward kernels of ULA and of escorted moves reach a width of √(2h) into the region in which U was +∞ before the
    /// step too: the mass that they put there is missing from Ẑ.
    ///
    /// # Errors
    /// K = 0, N = 0, `every` = 0, a threshold outside [0, 1], times that do not rise from 0 to 1, kernel parameters out of
    /// range, a path that cannot be weighed, energies or velocities of the wrong shape or not finite at an end of the path. A
    /// run that diverges on the way comes back with its rows and the cause.
    pub fn run<P: Path>(&self, path: &P) -> Result<Run>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        self.run_with(path, &mut |_| Vec::new())
    }

    /// As [`run`](Transport::run); `callback` adds columns of its own to every recorded row. If it panics the run ends there,
    /// with the rows before and the cause.
    ///
    /// # Errors
    /// As [`run`](Transport::run).
    pub fn run_with<P: Path>(&self, path: &P, callback: &mut Callback<P>) -> Result<Run>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        self.run_as("transport", path, callback)
    }

    /// An owned run that the caller takes step by step. Its type does not name the kernel.
    ///
    /// ```
    /// use jarzynski::{Escorted, Transport, model::Interpolant};
    /// # fn main() -> jarzynski::Result<()> {
    /// let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7])?;
    /// let mut run = Transport::new(Escorted::new(0.5), 16, 500, 0).quiet().start(path)?;
    /// run.advance(8)?;
    /// assert_eq!(run.view().t, 0.5);
    /// while let Some(step) = run.step()? {
    ///     println!("t = {:.3}, ESS/N = {:.3}", step.t, step.walkers.ess());
    /// }
    /// let (run, _path) = run.finish()?;
    /// assert!(run.finished());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Transport::run).
    pub fn start<P: Path>(&self, path: P) -> Result<Driver<'static, P>>
    where
        K: for<'a> Kernel<At<'a, P>> + Clone + 'static,
    {
        self.kernel.validate()?;
        let procedure: Box<dyn Procedure<P>> = match &self.over {
            Some(over) => Box::new(Spread::new(self.clone(), over.clone(), "transport")?),
            None => Box::new(Along::new(self.clone(), "transport")?),
        };
        Driver::open(procedure, path, self.checkpointing.as_ref())
    }

    /// As [`run_with`](Transport::run_with), under the name that progress lines and files give it.
    pub(crate) fn run_as<P: Path>(&self, label: &'static str, path: &P, callback: &mut Callback<P>) -> Result<Run>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        self.kernel.validate()?;
        let procedure: Box<dyn Procedure<P> + '_> = match &self.over {
            Some(over) => Box::new(Spread::new(self.by_ref(), over.clone(), label)?),
            None => Box::new(Along::new(self.by_ref(), label)?),
        };
        Driver::open(procedure, path, self.checkpointing.as_ref())?.complete(callback)
    }

    /// The same settings with a borrowed kernel, which need not be `Clone`.
    fn by_ref(&self) -> Transport<&K> {
        Transport {
            kernel: &self.kernel,
            steps: self.steps,
            times: self.times.clone(),
            walkers: self.walkers,
            weighted: self.weighted,
            ess_min: self.ess_min,
            scheme: self.scheme,
            chain: self.chain,
            every: self.every,
            seed: self.seed,
            threads: self.threads,
            progress: self.progress,
            checkpointing: self.checkpointing.clone(),
            over: self.over.clone(),
        }
    }
}

/// Times that cut ∫ speed dt (trapezia between `t`) into `steps` equal parts.
fn equal_lengths(t: &[f64], speed: &[f64], steps: usize) -> Vec<f64> {
    // where nothing changes, time passes all the same
    let least = 1e-3 * speed.iter().sum::<f64>() / speed.len().max(1) as f64 + 1e-12;
    let mut length = vec![0.0];
    for i in 1..t.len() {
        let mean = 0.5 * (speed[i - 1] + speed[i]).max(2.0 * least);
        length.push(length[i - 1] + mean * (t[i] - t[i - 1]));
    }
    let total = length[length.len() - 1];
    let mut times: Vec<f64> = (0..=steps)
        .map(|k| {
            let wanted = total * k as f64 / steps as f64;
            let i = length.partition_point(|l| *l < wanted).clamp(1, length.len() - 1);
            t[i - 1] + (t[i] - t[i - 1]) * (wanted - length[i - 1]) / (length[i] - length[i - 1])
        })
        .collect();
    (times[0], times[steps]) = (0.0, 1.0);
    times
}

/// [`Transport`] in one call: K `steps`, `walkers` N.
///
/// ```
/// use jarzynski::{Escorted, model::Interpolant, transport};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7])?;
/// let run = transport(Escorted::new(0.5), &path, 16, 1_000, 0)?;
/// let mean = run.walkers.mean(&run.walkers.x().select(1, 0))?;
/// assert!((mean.value - 0.8).abs() < 5.0 * mean.se);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Transport::run`].
pub fn transport<P: Path, K: for<'a> Kernel<At<'a, P>>>(
    kernel: K,
    path: &P,
    steps: usize,
    walkers: usize,
    seed: u64,
) -> Result<Run> {
    Transport::new(kernel, steps, walkers, seed).run(path)
}

/// Anneals an independent population from the model's exact start to the model, along the model's own path
/// ([`Annealed`]): (1 − t)U_base + tU_θ, or the parameters' straight line for an RBM, with Gibbs kernels.
///
/// The same for every training method: this is how *models* are compared, not walkers. Resamples below ESS/N = .5.
///
/// # Errors
/// As [`Transport::run`], and a model that has no such path.
pub fn anneal<'m, M: Annealed, K>(kernel: K, model: &'m M, steps: usize, walkers: usize, seed: u64) -> Result<Run>
where
    K: for<'a> Kernel<At<'a, M::Path<'m>>>,
{
    let path = model.path()?;
    let transport = Transport::new(kernel, steps, walkers, seed).ess_min(0.5).every(steps.div_ceil(100).max(1));
    transport.run_as("anneal", &path, &mut |_| Vec::new())
}
