//! Hold what every training along eq. (4) has, wherever its walkers come from: batches, gradient, optimiser, what is watched.

use super::Trainer;
use super::batches::Batches;
use super::descent::Descent;
use super::gradient::Gradient;
use super::monitoring::{Curvature, ExactLogZ, HeldOut};
use crate::density::{Model, restore_parameters, save_parameters};
use crate::error::Result;
use crate::io::Checkpoint;
use crate::kernel::Kernel;
use crate::numeric::Rng;
use crate::run::diagnose::FAR;
use crate::run::{Health, Pace, Row, Tally};
use crate::walkers::Walkers;
use serde_json::Value;
use tch::Tensor;

#[derive(Debug)]
pub(super) struct Learner<K> {
    pub trainer: Trainer<K>,
    pub identity: Value,
    /// From the data to the walkers' start, in its standard deviations.
    distance: f64,
    pub batches: Batches,
    pub descent: Descent,
    pub gradient: Gradient,
    curvature: Curvature,
    exact: ExactLogZ,
    held_out: HeldOut,
    /// Where other random numbers are split from: 1 and 2 for walkers, 3 is taken.
    pub root: Rng,
}

impl<K> Learner<K> {
    /// On `data` `[n, d]`, as the model takes it.
    pub fn new<M: Model>(trainer: Trainer<K>, (identity, distance): (Value, f64), model: &M, data: Tensor) -> Self {
        let s = &trainer.settings;
        let root = if s.host_noise { Rng::new(s.seed).on_host() } else { Rng::new(s.seed) };
        Learner {
            batches: Batches::new(data, s.batch, s.data_noise, root.split(3)),
            descent: Descent::new(&s.rates(), model.vars()),
            gradient: Gradient::default(),
            curvature: Curvature::default(),
            exact: ExactLogZ::default(),
            held_out: HeldOut::new(trainer.validation.clone(), trainer.keep_best),
            identity,
            distance,
            trainer,
            root,
        }
    }

    pub fn pace(&self, walkers: &Walkers) -> Pace {
        self.trainer.settings.pace(walkers.x().device())
    }

    /// Whether the optimiser and the kernel take the model, at its first walkers.
    pub fn check<M: Model>(&self, model: &M, walkers: &Walkers) -> Result<()>
    where
        K: Kernel<M>,
    {
        self.descent.check(model, walkers.evaluation())?;
        self.trainer.kernel.check(model, walkers.evaluation())
    }

    /// The gradient of update k, from a batch and walkers with weights `w` `[n]` (f64, summing to 1). `last`: no step follows.
    pub fn measure<M: Model>(
        &mut self,
        model: &M,
        (walkers, w): (&mut Walkers, &Tensor),
        (k, last): (usize, bool),
        tally: &mut Tally,
    ) -> Health
    where
        K: Kernel<M>,
    {
        let (batch, descent) = (self.batches.next(), (!last).then_some(&mut self.descent));
        let regularisation = self.trainer.settings.regularisation;
        self.gradient = Gradient::measure(model, batch, (&mut *walkers, w), regularisation, descent, tally);
        let health = self.gradient.health(last);
        if !matches!(health, Health::Lost(_)) {
            self.curvature.watch(k, self.trainer.kernel.bounded_step(), model, walkers, tally);
        }
        health
    }

    /// θ_k → θ_{k+1}, by the whole of the optimiser's step.
    pub fn descend(&mut self, k: usize, tally: &mut Tally) {
        self.descent.step(&self.gradient.grads, k);
        tally.updates += 1;
    }

    /// The first columns of a row. Returns exact log Z, NaN where it is not known or not due.
    pub fn begin_row<M: Model>(&mut self, model: &M, k: usize, spent: &Tally, row: &mut Row) -> f64 {
        let exact = self.exact.at(model, k, k == self.trainer.settings.steps, spent);
        self.gradient.row(self.descent.rate(k), exact, row);
        if self.distance > FAR {
            row.put("data_distance", self.distance);
        }
        exact
    }

    /// The last ones. `log_z`: the best there is, NaN where it is not known.
    pub fn end_row<M: Model>(&mut self, model: &M, k: usize, spent: &Tally, log_z: f64, row: &mut Row) {
        row.extend([
            ("h_curvature", self.curvature.take()),
            ("forward", spent.cost.forward as f64),
            ("backward", spent.cost.backward as f64),
        ]);
        self.held_out.row(model, k, k == self.trainer.settings.steps, log_z, row);
    }

    /// Puts the best parameters into the model, if these are to be returned; the walkers then belong to others.
    pub fn restore_best<M: Model>(&self, model: &M) -> bool {
        self.held_out.restore_best(model)
    }

    pub fn save<M: Model>(&self, model: &M, to: &mut Checkpoint) -> Result<()> {
        save_parameters(model.vars(), to)?;
        self.descent.save(to)?;
        self.curvature.save(to);
        self.exact.save(to)?;
        self.held_out.save(to)?;
        self.batches.save(to, "data")
    }

    /// Comes before walkers are loaded: a graph is made again under the parameters.
    pub fn load<M: Model>(&mut self, model: &M, from: &Checkpoint) -> Result<()> {
        restore_parameters(model.vars(), from)?;
        let device = model.options().1;
        self.descent.load(from, device)?;
        self.curvature.load(from)?;
        self.exact.load(from)?;
        self.held_out.load(from, device)?;
        self.batches.load(from, "data")
    }
}
