//! Run any procedure: record rows, write checkpoints, diagnose, show progress, and return a `Run`.

pub mod diagnose;
mod driver;
pub mod memory;
mod population;
mod procedure;
mod progress;
pub mod record;
pub(crate) mod store;
mod tally;

pub use diagnose::Warning;
pub use driver::Driver;
pub use memory::Memory;
pub(crate) use population::Population;
pub use procedure::{Callback, Health, Pace, Parts, Procedure, Row, StepView};
pub(crate) use progress::Progress;
pub use record::Recorder;
pub(crate) use store::Store;
pub use store::{Checkpointing, RunInfo, Versions};
pub use tally::Tally;

use crate::density::{Evaluation, Model, log_prob};
use crate::error::Result;
use crate::numeric::Rng;
use crate::walkers::{Estimate, Walkers};
use polars::prelude::DataFrame;
use std::path::Path;
use tch::{Device, Tensor};

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// All steps were done.
    Finished,
    /// Something was not finite, or the model panicked: the rows recorded before `step` are there.
    Diverged {
        /// The step that could not be finished.
        step: usize,
        /// What was not finite.
        cause: String,
    },
    /// It was stopped or paused, or its folder could not be written any more: all rows so far are there, and where the run is
    /// checkpointed ([`Checkpointing`]) it can be continued.
    Paused {
        /// The step that comes next.
        step: usize,
        /// What stopped it.
        cause: String,
    },
}

/// The result of [`Trainer::train`](crate::Trainer::train), [`transport`](crate::transport()) and
/// [`anneal`](crate::anneal).
#[derive(Debug)]
#[non_exhaustive]
pub struct Run {
    /// One row per recorded step; the columns are explained in [`record::COLUMNS`].
    pub stats: DataFrame,
    /// The (training) walkers under the final parameters.
    pub walkers: Walkers,
    /// The monitor population, if there was one.
    pub monitor: Option<Walkers>,
    /// Whether the walkers carry weights (PCD's and CD's do not).
    pub weighted: bool,
    /// Whether the walkers drive the parameters under which they are weighed, as training walkers do: their own log Ẑ is then
    /// biased low, and only a monitor's is not.
    pub self_interacting: bool,
    /// `jarzynski`, `pcd`, `cd` or `transport`.
    pub label: String,
    /// Method, kernel and settings.
    pub config: serde_json::Value,
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Wall-clock duration.
    pub seconds: f64,
}

impl Run {
    /// What `dir` holds of a run that has ended, was killed or is still running: all rows on disk, and the walkers of the
    /// last checkpoint (none of a flow's training). Writes nothing, and disturbs no run.
    ///
    /// # Errors
    /// `dir` holds no run; files that are not what a run writes.
    pub fn open(dir: impl AsRef<Path>) -> Result<Run> {
        let dir = dir.as_ref();
        let info = RunInfo::read(dir)?;
        let checkpoint = store::found::last(dir)?;
        let population = |name: &str| {
            let known = checkpoint.find(&format!("{name}.x")).is_some();
            let still = |x: &Tensor| Evaluation::new(x.shallow_clone(), Tensor::new(), Tensor::new());
            known.then(|| Walkers::restore(&checkpoint, name, Device::Cpu, still)).transpose()
        };
        Ok(Run {
            stats: crate::run::store::rows::read_all(dir)?.stats()?,
            walkers: population("walkers")?.unwrap_or_else(Walkers::none),
            monitor: population("monitor")?,
            weighted: info.weighted,
            self_interacting: info.label == "jarzynski",
            outcome: info.outcome(dir),
            label: info.label,
            config: info.config,
            seed: info.seed,
            seconds: info.seconds,
        })
    }

    /// Whether all steps were done.
    pub fn finished(&self) -> bool {
        self.outcome == Outcome::Finished
    }

    /// The population to use: the monitor where there is one, else the walkers.
    ///
    /// Training walkers drive θ themselves, which biases their log Ẑ low by about γ Σ_k tr Cov(∂_θU)/N_eff. The monitor's Ẑ
    /// is unbiased, but mass that no walker visits any more is missing from nearly every run of it: on stiff energies in
    /// many dimensions check the final model by [`anneal`](crate::anneal).
    pub fn population(&self) -> &Walkers {
        self.monitor.as_ref().unwrap_or(&self.walkers)
    }

    /// log Ẑ of the final model, nats; `None` where no walkers estimate it: PCD and CD have no weights, and training walkers
    /// without a monitor are biased by more than any error bar. [`anneal`](crate::anneal) estimates log Z of any model.
    pub fn log_z(&self) -> Option<Estimate> {
        let told = self.weighted && !self.population().is_empty() && (self.monitor.is_some() || !self.self_interacting);
        told.then(|| {
            let z = self.population().log_z();
            // what leaves no error bar comes first
            z.doubted(z.warning.or_else(|| self.doubt()))
        })
    }

    /// log Z as [`NoiseContrastive`](crate::train::NoiseContrastive) learned it beside θ, at the last row, nats; `None` for other
    /// runs. It has no error bar, and is log Z of the model only as far as the model is the data's distribution.
    pub fn log_z_learned(&self) -> Option<f64> {
        self.column("log_z_learned").ok()?.last().copied()
    }

    /// The first warning that concerns the error of log Ẑ.
    fn doubt(&self) -> Option<&'static str> {
        const OF_LOG_Z: [&str; 5] = ["tail", "ess", "ess_monitor", "lineages", "log_z_se"];
        // with a monitor, the training walkers' own ESS says nothing of its log Ẑ
        let concerns = |code: &str| OF_LOG_Z.contains(&code) && !(code == "ess" && self.monitor.is_some());
        self.warnings().into_iter().map(|w| w.code).find(|code| concerns(code))
    }

    /// log ρ_θ(x) = −U_θ(x) − log Ẑ at rows x `[m, d]`, nats, f64, and the standard error that log Ẑ gives to all of them.
    ///
    /// # Errors
    /// x of the wrong width, not finite, or outside the model's support; a run without weights (PCD, CD).
    pub fn log_prob<M: Model>(&self, model: &M, x: &Tensor) -> Result<(Tensor, f64)> {
        let Some(z) = self.log_z() else {
            return Err(crate::error::Error::param(
                "run",
                &self.label,
                "a run whose walkers know log Z: weighted, and with a monitor if it was a training; `anneal` estimates log Z \
                 of any model",
            ));
        };
        Ok((log_prob(model, x, z.value)?, z.se))
    }

    /// [`Walkers::write_arviz`] of the [`population`](Run::population) to use: the monitor where there is one.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn write_arviz(&self, path: impl AsRef<Path>) -> Result<()> {
        self.population().write_arviz(path)
    }

    /// n equally weighted draws from the final model, `[n, d]`, resampled from [`population`](Run::population).
    pub fn samples(&self, n: usize, rng: &mut Rng) -> Tensor {
        self.population().samples(n, rng)
    }

    /// Values of a column of `stats`, NaN where null.
    ///
    /// # Errors
    /// No such column.
    pub fn column(&self, name: &str) -> Result<Vec<f64>> {
        crate::io::frame::column_f64(&self.stats, name)
    }

    /// Unit, meaning and source of every column of `stats`.
    ///
    /// # Errors
    /// `Table` where polars refuses the columns.
    pub fn describe(&self) -> Result<DataFrame> {
        crate::run::record::describe(&self.stats)
    }

    /// A summary in a few lines of text.
    pub fn summary(&self) -> String {
        let how = match &self.outcome {
            Outcome::Finished => "finished".to_string(),
            Outcome::Diverged { step, cause } => format!("diverged at step {step}: {cause}"),
            Outcome::Paused { step, cause } => format!("paused before step {step}: {cause}"),
        };
        let mut text = format!("{}: {how}, {} rows, {:.1} s", self.label, self.stats.height(), self.seconds);
        if let Some(z) = self.log_z() {
            let who = match (&self.monitor, self.label.as_str()) {
                (Some(_), _) => "monitor",
                (None, "flow") => "of the learned start, t = 0; `transport` along the flow gives that of t = 1",
                (None, "reverse") => "of the path's start, t = 0, less that of its end",
                (None, _) => "walkers",
            };
            text += &format!("\nlog Z = {z} ({who}), {}", spread(self.population()));
        } else if self.weighted && !self.walkers.is_empty() {
            text += &format!("\nlog Z is not known without a monitor, {}", spread(&self.walkers));
        }
        self.warnings().iter().for_each(|w| text += &format!("\nwarning, {w}"));
        text
    }
}

/// `ESS/N = .5, 1 resampling`.
fn spread(walkers: &Walkers) -> String {
    let (n, plural) = (walkers.resamplings(), if walkers.resamplings() == 1 { "" } else { "s" });
    format!("ESS/N = {:.3}, {n} resampling{plural}", walkers.ess())
}
