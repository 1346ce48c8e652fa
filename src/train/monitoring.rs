//! Measure beside a training: the curvature against the kernel's bound, exact log Z where it can be had, a line of progress.

use crate::density::{CURVATURE_PASSES, Model};
use crate::error::{Result, no_grad};
use crate::io::Checkpoint;
use crate::kernel::{BoundedStep, EvalCounts};
use crate::run::{Recorder, Row, Tally};
use crate::walkers::Walkers;
use std::sync::{Arc, Mutex, PoisonError};
use tch::{Device, Kind, Tensor};

/// h λ_max for kernels with such a bound, at every 50th update and at few walkers: a thousandth of a run's passes.
#[derive(Debug)]
pub(super) struct Curvature {
    /// The largest since the previous row; NaN where none was measured.
    largest: f64,
}

impl Default for Curvature {
    fn default() -> Self {
        Curvature { largest: f64::NAN }
    }
}

impl Curvature {
    const EVERY: usize = 50;

    pub fn watch<M: Model>(
        &mut self,
        k: usize,
        step: Option<BoundedStep<M>>,
        model: &M,
        walkers: &Walkers,
        tally: &mut Tally,
    ) {
        let Some(BoundedStep { h, curvature }) = step.filter(|_| k.is_multiple_of(Self::EVERY)) else { return };
        let few = walkers.len().min(16);
        tally.cost += EvalCounts::evaluation(few * CURVATURE_PASSES);
        self.largest = (h * curvature(model, &walkers.x().narrow(0, 0, few as i64))).max(self.largest);
    }

    pub fn take(&mut self) -> f64 {
        std::mem::replace(&mut self.largest, f64::NAN)
    }

    pub fn save(&self, to: &mut Checkpoint) {
        to.put_numbers("curvature", &[self.largest]);
    }

    pub fn load(&mut self, from: &Checkpoint) -> Result<()> {
        [self.largest] = from.numbers("curvature")?;
        Ok(())
    }
}

/// Exact log Z at recorded rows, where a closed form is cheap; where it is a sum over states, as often as that stays below a
/// quarter of the run's own forward passes, and at both ends.
#[derive(Debug, Default)]
pub(super) struct ExactLogZ {
    /// Rows sent forward since it was computed.
    saved_up: u64,
}

impl ExactLogZ {
    /// log Z in nats; NaN where it is not known or not due.
    pub fn at<M: Model>(&mut self, model: &M, k: usize, last: bool, spent: &Tally) -> f64 {
        self.saved_up = self.saved_up.saturating_add(spent.cost.forward);
        if k > 0 && !last && self.saved_up < model.log_z_exact_cost().saturating_mul(4) {
            return f64::NAN;
        }
        self.saved_up = 0;
        model.log_z_exact().unwrap_or(f64::NAN)
    }

    pub fn save(&self, to: &mut Checkpoint) -> Result<()> {
        to.put_json("exact", &self.saved_up)
    }

    pub fn load(&mut self, from: &Checkpoint) -> Result<()> {
        self.saved_up = from.json("exact")?;
        Ok(())
    }
}

/// Held-out data: never trained on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Validation {
    // behind a lock, so that a trainer can be shared between the threads of a sweep
    data: Arc<Mutex<Tensor>>,
    /// Updates between two evaluations, at recorded rows.
    pub every: usize,
}

impl Validation {
    /// Rows `[m, d]`, evaluated every so many updates.
    pub fn new(data: &Tensor, every: usize) -> Self {
        Validation { data: Arc::new(Mutex::new(data.shallow_clone())), every }
    }

    /// The rows.
    pub fn data(&self) -> Tensor {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).shallow_clone()
    }
}

/// Evaluates held-out data, and holds the best parameters if these are to be returned.
#[derive(Debug, Default)]
pub(super) struct HeldOut {
    of: Option<Validation>,
    keep_best: bool,
    /// The update of the last evaluation.
    last: Option<usize>,
    best: f64,
    parameters: Vec<Tensor>,
}

impl HeldOut {
    /// `of`: data as the model takes them.
    pub fn new(of: Option<Validation>, keep_best: bool) -> Self {
        HeldOut { of, keep_best, last: None, best: f64::INFINITY, parameters: Vec::new() }
    }

    /// Columns, where they are due. `log_z`: the best there is, NaN where it is not known.
    pub fn row<M: Model>(&mut self, model: &M, k: usize, last: bool, log_z: f64, row: &mut Row) {
        let Some(of) = &self.of else { return };
        if !last && self.last.is_some_and(|then| k < then + of.every) {
            return;
        }
        self.last = Some(k);
        let energy = no_grad(|| model.energy(&of.data())).mean(Kind::Double).double_value(&[]);
        let cross_entropy = log_z + energy;
        row.extend([("energy_validation", energy), ("cross_entropy_validation", cross_entropy)]);
        if self.keep_best && cross_entropy < self.best {
            self.best = cross_entropy;
            self.parameters = model.vars().trainable_variables().iter().map(|p| p.detach().copy()).collect();
        }
    }

    /// Puts the best parameters into the model, if these are to be returned and known; returns whether it did.
    pub fn restore_best<M: Model>(&self, model: &M) -> bool {
        let mut params = model.vars().trainable_variables();
        no_grad(|| params.iter_mut().zip(&self.parameters).for_each(|(p, best)| p.copy_(best)));
        !self.parameters.is_empty()
    }

    pub fn save(&self, to: &mut Checkpoint) -> Result<()> {
        to.put_numbers("held out", &[self.best]);
        self.parameters.iter().enumerate().for_each(|(i, p)| to.put(format!("best.{i}"), p));
        to.put_json("held out", &self.last)
    }

    pub fn load(&mut self, from: &Checkpoint, device: Device) -> Result<()> {
        [self.best] = from.numbers("held out")?;
        self.last = from.json("held out")?;
        self.parameters = (0..).map_while(|i| from.find(&format!("best.{i}"))).map(|p| p.to_device(device)).collect();
        Ok(())
    }
}

/// Cross-entropy, mean energy of the data and ESS, as far as they are known.
pub(super) fn details(rows: &Recorder) -> String {
    let known = |(label, name): (&str, &str)| {
        let value = rows.last(name).filter(|v| v.is_finite());
        value.map(|v| format!("{label} {v:.3}"))
    };
    // where the cross-entropy is known the energy adds nothing
    let cross_entropy = known(("H", "cross_entropy_monitor"));
    let energy = cross_entropy.is_none().then(|| known(("U data", "energy_data"))).flatten();
    [cross_entropy, energy, known(("ESS", "ess"))].into_iter().flatten().collect::<Vec<_>>().join("  ")
}
