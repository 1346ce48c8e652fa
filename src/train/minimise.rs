//! Minimise a loss by gradient descent: the life of every training that has no walkers, once.

use super::descent::{self, Descent, Rates, at_least_one, non_negative};
use super::{DescentSettings, Schedule};
use crate::density::{restore_parameters, save_parameters};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::run::{Health, Outcome, Pace, Parts, Procedure, Recorder, Row, Tally};
use crate::walkers::Walkers;
use serde::Serialize;
use serde_json::{Value, json};
use tch::{Device, Tensor, nn};

/// Refuses what no descent without walkers can have.
///
/// # Errors
/// The setting and what it should be.
pub(super) fn validate(rates: &Rates, pace: &Pace, vs: &nn::VarStore) -> Result<()> {
    at_least_one("every", pace.every)?;
    at_least_one("threads", pace.threads)?;
    non_negative("progress", pace.progress)?;
    descent::rows_within(pace.every, rates.steps)?;
    rates.without_walkers()?;
    rates.validate(Some(vs))
}

/// Setters of a struct with `descent: DescentSettings` and `checkpointing: Option<Checkpointing>`.
macro_rules! descent_setters {
    ($procedure:ident: $($name:ident: $t:ty, $doc:literal);* $(;)?) => {
        impl $procedure {
            $(
                #[doc = $doc]
                pub fn $name(mut self, $name: $t) -> Self {
                    self.descent.$name = $name.into();
                    self
                }
            )*

            /// No progress lines.
            pub fn quiet(self) -> Self {
                self.progress(0.0)
            }

            /// All that is common to trainings by descent at once.
            pub fn descent(self, descent: $crate::train::DescentSettings) -> Self {
                $procedure { descent, ..self }
            }

            /// Writes rows and checkpoints to a folder as the run goes: a path, or a [`Checkpointing`](crate::Checkpointing) with
            /// intervals and limits.
            pub fn checkpointing(self, checkpointing: impl Into<$crate::run::Checkpointing>) -> Self {
                $procedure { checkpointing: Some(checkpointing.into()), ..self }
            }

            /// Continues the run of an earlier call in `dir` bit for bit, or begins one there; see
            /// [`Trainer::resume_or_start`](crate::Trainer::resume_or_start).
            pub fn resume_or_start(self, dir: impl Into<std::path::PathBuf>) -> Self {
                self.checkpointing($crate::run::Checkpointing::resume_or_start(dir))
            }
        }
    };
    ($procedure:ident) => {
        $crate::train::minimise::descent_setters! { $procedure:
            steps: usize, "Number of updates.";
            batch: usize, "Data points per update.";
            data_noise: impl Into<$crate::train::DataNoise>, "What is drawn anew whenever rows of the data are visited: a standard deviation of Gaussian noise, or [`DataNoise::Bits`](crate::DataNoise::Bits).";
            lr: f64, "Learning rate.";
            group_lr: impl Into<Vec<f64>>, "Factors of the learning rate for parameter groups 0, 1, ….";
            schedule: $crate::train::Schedule, "Schedule of the learning rate.";
            optim: $crate::train::Optim, "The optimiser.";
            clip: f64, "Largest gradient norm.";
            every: usize, "Updates between recorded rows.";
            seed: u64, "Seed of all randomness.";
            threads: usize, "Threads that libtorch splits one operation among.";
            progress: f64, "Seconds between progress lines; 0 is silent.";
        }
    };
}
pub(super) use descent_setters;

/// What one kind of training minimises, on a subject `S` that holds parameters θ.
pub(super) trait Objective<S>: std::fmt::Debug {
    /// What the run is called.
    fn name(&self) -> &'static str;

    /// The store of θ.
    fn vars<'a>(&self, on: &'a S) -> &'a nn::VarStore;

    /// The columns of the losses, which [`measure`](Objective::measure) adds to the tally's sums.
    fn columns(&self) -> &[&'static str];

    /// Draws what the first update starts from; not called where a run is continued.
    ///
    /// # Errors
    /// What cannot be trained.
    fn begin(&mut self, _on: &S, _tally: &mut Tally) -> Result<()> {
        Ok(())
    }

    /// The loss of update k on a batch with its gradient.
    ///
    /// # Errors
    /// As a divergence: the cause ends the run.
    fn measure(&mut self, on: &S, at: Update, tally: &mut Tally) -> Result<Measured>;

    /// Takes the step of what is learned beside θ, and whatever follows a step.
    fn moved(&mut self, _k: usize) {}

    /// Columns of its own.
    fn row(&mut self, _row: &mut Row) {}

    /// Writes all that the next update depends on but θ and the optimiser.
    ///
    /// # Errors
    /// What cannot be written.
    fn save(&self, to: &mut Checkpoint) -> Result<()>;

    /// Takes up what [`save`](Objective::save) wrote.
    ///
    /// # Errors
    /// A checkpoint of something else.
    fn load(&mut self, from: &Checkpoint) -> Result<()>;

    /// Whether the walkers that [`finish`](Objective::finish) leaves carry weights.
    fn weighted(&self) -> bool {
        false
    }

    /// What the run leaves.
    ///
    /// # Errors
    /// Walkers that cannot be evaluated after a run that finished.
    fn finish(&mut self, _on: &S, _outcome: &Outcome) -> Result<Parts> {
        Ok(Parts { walkers: Walkers::none(), monitor: None })
    }
}

/// Which update is measured.
#[derive(Debug)]
pub(super) struct Update<'a> {
    /// Updates so far.
    pub k: usize,
    /// Whether none follows, so that no gradient is needed.
    pub last: bool,
    /// θ, as tensors of a graph.
    pub params: &'a [Tensor],
}

/// A loss and its gradient.
#[derive(Debug)]
pub(super) struct Measured {
    /// 0-dimensional, without a graph.
    pub loss: Tensor,
    /// One tensor per parameter; empty where no step follows.
    pub grads: Vec<Tensor>,
}

impl Update<'_> {
    /// `loss`, 0-dimensional, with its gradient by one backward pass through its graph.
    ///
    /// # Errors
    /// A loss without a graph through θ.
    pub fn descend_from(&self, loss: &Tensor) -> Result<Measured> {
        let grads = if self.last { Vec::new() } else { Tensor::f_run_backward(&[loss], self.params, false, false)? };
        if !self.last && grads.iter().all(|g| !g.defined()) {
            let expected = "a loss that depends on the model's parameters by differentiable operations";
            return Err(lacking("no graph through θ", expected));
        }
        Ok(Measured { loss: loss.detach(), grads })
    }
}

/// What a run says of itself, and how it paces.
#[derive(Debug)]
pub(super) struct About {
    pub pace: Pace,
    /// The run's settings.
    pub config: Value,
    /// All that a continuation must agree with.
    pub identity: Value,
}

impl About {
    /// With the identity made of the settings and of `parts`; the number of steps counts where `scheduled`.
    pub fn new(
        pace: Pace,
        config: Value,
        parts: impl IntoIterator<Item = (&'static str, Value)>,
        (scheduled, steps): (bool, usize),
    ) -> Self {
        let mut identity = config.clone();
        parts.into_iter().for_each(|(key, value)| identity[key] = value);
        if scheduled {
            identity["schedule over"] = steps.into();
        }
        About { pace, config, identity }
    }

    /// Of settings that hold `descent`.
    pub fn of(
        settings: &impl Serialize,
        descent: &DescentSettings,
        device: Device,
        parts: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let scheduled = (descent.schedule != Schedule::Constant, descent.steps);
        Self::new(descent.pace(device), json!({ "settings": settings }), parts, scheduled)
    }
}

/// The procedure: descent on an objective.
#[derive(Debug)]
pub(super) struct Minimise<O> {
    objective: O,
    about: About,
    steps: usize,
    descent: Descent,
    params: Vec<Tensor>,
    grads: Vec<Tensor>,
    norm: f64,
    nobody: Walkers,
}

impl<O> Minimise<O> {
    pub fn new<S>(objective: O, on: &S, rates: &Rates, about: About) -> Self
    where
        O: Objective<S>,
    {
        let vs = objective.vars(on);
        Minimise {
            descent: Descent::new(rates, vs),
            params: vs.trainable_variables(),
            grads: Vec::new(),
            norm: f64::NAN,
            nobody: Walkers::none(),
            steps: rates.steps,
            objective,
            about,
        }
    }
}

impl<S, O: Objective<S>> Procedure<S> for Minimise<O> {
    fn name(&self) -> &'static str {
        self.objective.name()
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn schedule(&self) -> Pace {
        self.about.pace
    }

    fn config(&self) -> Value {
        self.about.config.clone()
    }

    fn identity(&self, _on: &S) -> Result<Value> {
        Ok(self.about.identity.clone())
    }

    fn weighted(&self) -> bool {
        self.objective.weighted()
    }

    fn begin(&mut self, on: &S, tally: &mut Tally) -> Result<()> {
        self.objective.begin(on, tally)
    }

    fn measure(&mut self, on: &S, k: usize, last: bool, tally: &mut Tally) -> Result<Health> {
        let Measured { loss, grads } = self.objective.measure(on, Update { k, last, params: &self.params }, tally)?;
        self.grads = grads;
        tally.updates += 1;
        let (read, norm) = self.descent.read(&[loss], &mut self.grads);
        self.norm = norm;
        Ok(descent::health(read[0], norm, last))
    }

    fn row(&mut self, _on: &S, k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        row.put("lr", self.descent.rate(k));
        let columns = self.objective.columns();
        row.extend(columns.iter().copied().zip(spent.mean_of(columns)));
        row.put("grad_norm", self.norm);
        row.extend([("forward", spent.cost.forward as f64), ("backward", spent.cost.backward as f64)]);
        self.objective.row(row);
        Ok(())
    }

    fn step(&mut self, _on: &S, k: usize, _tally: &mut Tally) -> Result<Health> {
        self.descent.step(&self.grads, k);
        self.objective.moved(k);
        Ok(Health::Fine)
    }

    fn save(&self, on: &S, to: &mut Checkpoint) -> Result<()> {
        save_parameters(self.objective.vars(on), to)?;
        self.descent.save(to)?;
        self.objective.save(to)
    }

    fn load(&mut self, on: &S, _k: usize, from: &Checkpoint) -> Result<()> {
        let vs = self.objective.vars(on);
        restore_parameters(vs, from)?;
        self.descent.load(from, vs.device())?;
        self.objective.load(from)
    }

    fn walkers(&self) -> &Walkers {
        &self.nobody
    }

    fn details(&self, _k: usize, rows: &Recorder) -> String {
        let known = |name: &&str| rows.last(name).filter(|v| v.is_finite()).map(|v| format!("{name} {v:.3}"));
        self.objective.columns().iter().filter_map(known).collect::<Vec<_>>().join("  ")
    }

    fn finish(mut self: Box<Self>, on: &S, outcome: &Outcome) -> Result<Parts> {
        self.objective.finish(on, outcome)
    }
}

/// The error of a model whose energy offers fewer derivatives than a loss takes.
pub(super) fn lacking(what: &str, expected: &str) -> Error {
    Error::param("model", what, expected)
}
