//! Say what one kind of run is: how a step is measured, recorded and taken. [`Driver`](super::Driver) says how any run lives.

use super::{Memory, Outcome, Recorder, Tally};
use crate::error::Result;
use crate::io::Checkpoint;
use crate::kernel::EvalCounts;
use crate::walkers::Walkers;
use serde_json::Value;
use tch::Device;

/// One kind of run on a subject `S`: a model that is trained, or a path that walkers follow.
///
/// The driver calls, for k = 0, 1, …, K: `measure(k)`, `row` where a row is due, `step(k)` except at k = K. A checkpoint is
/// written before `measure`, so that `save` need not hold what `measure` found.
///
/// Parameters of a model are changed through its `VarStore`, whose tensors are shared: `&S` is enough.
pub trait Procedure<S> {
    /// What the run is called in progress lines, plots and files.
    fn name(&self) -> &'static str;

    /// What a step is called, in the plural.
    fn unit(&self) -> &'static str {
        "updates"
    }

    /// Number of steps K.
    fn steps(&self) -> usize;

    /// The run's settings: rows, seed, threads, progress.
    fn schedule(&self) -> Pace;

    /// Method, kernel and settings, as the run will report them.
    fn config(&self) -> Value;

    /// All that a continuation must agree with: the configuration, the data, the shape of the parameters.
    ///
    /// # Errors
    /// Something that cannot be identified, so that no continuation could be trusted.
    fn identity(&self, on: &S) -> Result<Value>;

    /// Whether walkers carry weights.
    fn weighted(&self) -> bool;

    /// Whether the walkers drive the parameters under which they are weighed.
    fn self_interacting(&self) -> bool {
        false
    }

    /// What it needs of memory at least, and where; the driver refuses a run that cannot fit. `None` where nothing is known.
    fn memory(&self, _on: &S) -> Option<(Memory, Device)> {
        None
    }

    /// Draws the start. Evaluations are added to `tally`.
    ///
    /// # Errors
    /// What cannot be run.
    fn begin(&mut self, on: &S, tally: &mut Tally) -> Result<()>;

    /// Measures state k, and computes what the next step needs. `last`: no step follows.
    ///
    /// # Errors
    /// As a divergence: the cause ends the run.
    fn measure(&mut self, on: &S, k: usize, last: bool, tally: &mut Tally) -> Result<Health>;

    /// Columns of the row of state k, from what `measure` found and what was spent since the previous row.
    ///
    /// # Errors
    /// As a divergence.
    fn row(&mut self, on: &S, k: usize, spent: &Tally, row: &mut Row) -> Result<()>;

    /// From state k to k + 1.
    ///
    /// # Errors
    /// As a divergence.
    fn step(&mut self, on: &S, k: usize, tally: &mut Tally) -> Result<Health>;

    /// Writes all that the next step depends on.
    ///
    /// # Errors
    /// What cannot be written.
    fn save(&self, on: &S, to: &mut Checkpoint) -> Result<()>;

    /// Takes up what `save` wrote, at the state `k`.
    ///
    /// # Errors
    /// A checkpoint of something else.
    fn load(&mut self, on: &S, k: usize, from: &Checkpoint) -> Result<()>;

    /// The walkers; none where the procedure has none.
    fn walkers(&self) -> &Walkers;

    /// The monitor population, if there is one.
    fn monitor(&self) -> Option<&Walkers> {
        None
    }

    /// Place on a path in [0, 1]; NaN where there is no path.
    fn time(&self, _k: usize) -> f64 {
        f64::NAN
    }

    /// A few numbers for a progress line.
    fn details(&self, k: usize, rows: &Recorder) -> String;

    /// What the run leaves.
    ///
    /// # Errors
    /// Walkers that cannot be evaluated after a run that finished.
    fn finish(self: Box<Self>, on: &S, outcome: &Outcome) -> Result<Parts>;
}

/// The settings that every procedure has: rows, seed, threads, progress, device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Steps between recorded rows; the first and the last state have one.
    pub every: usize,
    /// Seed, as the run reports it.
    pub seed: u64,
    /// Threads of libtorch inside one operation.
    pub threads: usize,
    /// Seconds between progress lines; 0 is silent.
    pub progress: f64,
    /// Where tensors are.
    pub device: Device,
}

/// Whether a run can continue.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Health {
    /// It can.
    Fine,
    /// It cannot, for this cause; the present state has no row.
    Lost(String),
    /// It cannot, for this cause; the present state has a row that shows it.
    LostWithRow(String),
}

/// What a run leaves beside its rows.
#[derive(Debug)]
pub struct Parts {
    /// The walkers under the final parameters.
    pub walkers: Walkers,
    /// The monitor population, if there was one.
    pub monitor: Option<Walkers>,
}

/// One row under construction: numbers by column name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row(Vec<(String, f64)>);

impl Row {
    /// Adds a number; a name that is there already keeps its number.
    pub fn put(&mut self, name: impl Into<String>, value: f64) -> &mut Self {
        let name = name.into();
        if self.get(&name).is_none() {
            self.0.push((name, value));
        }
        self
    }

    /// Adds several numbers.
    pub fn extend<N: Into<String>>(&mut self, numbers: impl IntoIterator<Item = (N, f64)>) {
        numbers.into_iter().for_each(|(name, value)| {
            self.put(name, value);
        });
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// All numbers, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(n, v)| (n.as_str(), *v))
    }
}

/// What a callback and the caller of [`Driver::step`](super::Driver::step) see of a run in state `step`.
#[derive(Debug)]
#[non_exhaustive]
pub struct StepView<'a, S: ?Sized> {
    /// Steps so far, k.
    pub step: usize,
    /// Place on a path in [0, 1]; NaN in training.
    pub t: f64,
    /// The model at θ_k, or the path.
    pub model: &'a S,
    /// The walkers under θ_k or U_t; none where the procedure has none.
    pub walkers: &'a Walkers,
    /// The monitor population, if there is one.
    pub monitor: Option<&'a Walkers>,
    /// The row of this state; empty where none was due.
    pub row: &'a Row,
    /// Evaluations since the run began.
    pub cost: EvalCounts,
}

/// Called at each recorded row: named numbers of one's own, the same names every time.
///
/// What the closure remembers is not part of a checkpointed run: resumed, it sees the rows after the checkpoint only. Compute
/// each row from its [`StepView`] alone, and means over rows from [`Run::stats`](super::Run::stats).
pub type Callback<'a, S> = dyn FnMut(&StepView<S>) -> Vec<(String, f64)> + 'a;
