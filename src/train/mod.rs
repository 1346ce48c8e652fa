//! Train any model with any kernel: the learning loop, once, for Jarzynski, PCD and CD.

mod flow;
mod optim;
mod optimiser;
mod population;
mod session;
mod settings;
mod update;

pub use flow::FlowTrainer;
pub use optim::{Optim, Schedule};
pub use settings::{FlowSettings, Method, Settings};
pub use update::Update;

use crate::energy::check_rows;
use crate::error::guard;
use crate::threads::Threads;
use crate::{Error, Keep, Kernel, Model, Result, Run, Walkers};
use session::Session;
use tch::Tensor;

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
pub struct Trainer<K> {
    /// The transition kernel.
    pub kernel: K,
    /// The method.
    pub method: Method,
    /// All other settings.
    pub settings: Settings,
    /// Where the run is kept on disk, if anywhere.
    pub keep: Option<Keep>,
}

/// Called at each recorded row: named numbers of one's own, the same names every time.
///
/// What the closure remembers is not part of a kept run: resumed, it sees the rows after the checkpoint only. Compute each
/// row from its [`View`] alone, and means over rows from [`Run::stats`].
pub type Observer<'a, M> = dyn FnMut(&View<M>) -> Vec<(String, f64)> + 'a;

/// What an observer sees at each recorded row.
#[derive(Debug)]
pub struct View<'a, M: ?Sized> {
    /// Updates so far.
    pub step: usize,
    /// The model at θ_step.
    pub model: &'a M,
    /// The training walkers under θ_step.
    pub walkers: &'a Walkers,
    /// The monitor population, if there is one.
    pub monitor: Option<&'a Walkers>,
}

impl<K> Trainer<K> {
    /// With default settings.
    pub fn new(kernel: K, method: Method) -> Self {
        Trainer { kernel, method, settings: Settings::default(), keep: None }
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
    pub fn update(mut self, update: Update) -> Self {
        self.settings.update = Some(update);
        self
    }

    /// Data points per update.
    pub fn batch(mut self, n: usize) -> Self {
        self.settings.batch = Some(n);
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

    /// Keeps the run on disk as it goes: rows, checkpoints, a stop file. A path, or a [`Keep`] with intervals and limits.
    pub fn keep(mut self, keep: impl Into<Keep>) -> Self {
        self.keep = Some(keep.into());
        self
    }

    /// Goes on with the run that is kept in `dir`, bit for bit as if it had never been interrupted; begins one where there is
    /// none. The model is to be made as it was then: its parameters come from the checkpoint. What an [`Observer`] remembers
    /// does not.
    pub fn resume(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        self.keep = Some(Keep::resume(dir));
        self
    }

    /// Method, kernel and settings.
    fn config(&self) -> serde_json::Value
    where
        K: std::fmt::Debug,
    {
        let kernel = format!("{:?}", self.kernel);
        serde_json::json!({ "method": self.method, "kernel": kernel, "settings": self.settings })
    }

    /// All that a continuation must agree with.
    fn identity<M: Model>(&self, model: &M, data: &Tensor) -> Result<serde_json::Value>
    where
        K: std::fmt::Debug,
    {
        let mut config = self.config();
        config["data"] = crate::keep::fingerprint(data)?.into();
        config["parameters"] = crate::keep::shapes(model.vars());
        if self.settings.schedule != Schedule::Constant {
            config["schedule over"] = self.settings.steps.into();
        }
        Ok(config)
    }

    fn validate(&self) -> Result<()> {
        let s = &self.settings;
        let at_least_one = |name, n: usize| if n == 0 { Err(Error::param(name, n, "at least 1")) } else { Ok(()) };
        at_least_one("walkers", s.walkers)?;
        at_least_one("moves", s.moves)?;
        at_least_one("every", s.every)?;
        at_least_one("threads", s.threads)?;
        at_least_one("batch", s.batch.unwrap_or(1))?;
        let non_negative = |name, v: f64| {
            if v >= 0.0 && v.is_finite() { Ok(()) } else { Err(Error::param(name, v, "a finite number ≥ 0")) }
        };
        non_negative("lr", s.lr)?;
        non_negative("regularisation", s.regularisation)?;
        non_negative("data_noise", s.data_noise)?;
        non_negative("progress", s.progress)?;
        s.group_lr.iter().try_for_each(|&v| non_negative("group_lr", v))?;
        if let Some(c) = s.clip.filter(|c| *c <= 0.0 || c.is_nan()) {
            return Err(Error::param("clip", c, "a positive gradient norm"));
        }
        match self.method {
            Method::Jarzynski { ess_min } if !(0.0..=1.0).contains(&ess_min) => {
                return Err(Error::param("ess_min", ess_min, "a fraction in [0, 1]"));
            }
            Method::Cd { k: 0 } => return Err(Error::param("k", 0, "at least 1 move from the data")),
            Method::Pcd | Method::Cd { .. } if s.update.is_some_and(|u| u.bound().is_some()) => {
                return Err(Error::param("update", self.method.name(), "Update::Free: only weights have an ESS"));
            }
            _ => {}
        }
        s.schedule.validate()?;
        s.optim.validate()?;
        self.limit().validate()
    }

    fn limit(&self) -> Update {
        let jarzynski = matches!(self.method, Method::Jarzynski { .. });
        self.settings.update.unwrap_or(if jarzynski { Update::Shrink { ess: 0.95 } } else { Update::Free })
    }

    /// Trains `model` in place on `data` `[n, d]` by descent along eq. (4).
    ///
    /// A run that diverges (NaN, infinite energy, a panic inside the model) comes back as `Ok` with the rows recorded so
    /// far and the cause in [`Run::outcome`]. Errors: settings out of range, data of the wrong shape or not finite, a
    /// model that cannot be evaluated at the start.
    pub fn train<M: Model>(&self, model: &mut M, data: &Tensor) -> Result<Run>
    where
        K: Kernel<M>,
    {
        self.train_observed(model, data, &mut |_| Vec::new())
    }

    /// As [`train`](Trainer::train); `observe` adds columns of one's own to every recorded row.
    pub fn train_observed<M: Model>(&self, model: &mut M, data: &Tensor, observe: &mut Observer<M>) -> Result<Run>
    where
        K: Kernel<M>,
    {
        self.validate()?;
        self.kernel.validate()?;
        guard(|| check_rows("data", data, model.dim()).and_then(|()| model.check_data(data)))?;
        let _threads = Threads::request(self.settings.threads);
        let mut session = guard(|| Session::start(self, model, data))?;
        let outcome = session.run(observe)?;
        session.finish(outcome)
    }
}
