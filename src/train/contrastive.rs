//! Train by contrastive divergence: before each update, walkers start from data and make k moves.

use super::learner::Learner;
use super::{Trainer, monitoring};
use crate::density::Model;
use crate::error::Result;
use crate::io::Checkpoint;
use crate::kernel::{EvalCounts, Kernel};
use crate::run::{Health, Memory, Outcome, Pace, Parts, Population, Procedure, Recorder, Row, Tally};
use crate::walkers::Walkers;
use serde_json::Value;
use tch::Device;

/// The procedure of [`Method::Cd`](super::Method::Cd).
#[derive(Debug)]
pub(super) struct Contrastive<K> {
    learner: Learner<K>,
    moves: usize,
    walkers: Population,
}

impl<K> Contrastive<K> {
    /// `moves` moves from rows of `data` `[n, d]`, as the model takes it.
    pub fn new<M: Model>(trainer: Trainer<K>, moves: usize, about: (Value, f64), model: &M, data: tch::Tensor) -> Self {
        let learner = Learner::new(trainer, about, model, data);
        Contrastive { moves, walkers: Population::new(learner.root.split(1)), learner }
    }
}

impl<K: Kernel<M>, M: Model> Procedure<M> for Contrastive<K> {
    fn name(&self) -> &'static str {
        self.learner.trainer.method.name()
    }

    fn steps(&self) -> usize {
        self.learner.trainer.settings.steps
    }

    fn schedule(&self) -> Pace {
        self.learner.pace(&self.walkers.walkers)
    }

    fn config(&self) -> Value {
        self.learner.trainer.config::<M>()
    }

    fn identity(&self, _model: &M) -> Result<Value> {
        Ok(self.learner.identity.clone())
    }

    fn weighted(&self) -> bool {
        false
    }

    fn memory(&self, model: &M) -> Option<(Memory, Device)> {
        Some((self.learner.trainer.memory(model), model.options().1))
    }

    fn begin(&mut self, model: &M, tally: &mut Tally) -> Result<()> {
        let n = self.learner.trainer.settings.walkers;
        self.walkers.start(model, n, false)?;
        self.walkers.walkers.drop_weights();
        tally.cost += EvalCounts::evaluation(n);
        self.learner.check(model, &self.walkers.walkers)
    }

    /// Walkers from fresh data and `moves` moves, then eq. (4) with them in place of the model's expectation.
    fn measure(&mut self, model: &M, k: usize, last: bool, tally: &mut Tally) -> Result<Health> {
        let n = self.learner.trainer.settings.walkers;
        let (x, rng) = self.learner.batches.draw(n);
        let x = model.with_hidden(&x, rng);
        self.walkers.walkers.relocate(model.evaluate(&x));
        tally.cost += EvalCounts::evaluation(n);
        for _ in 0..self.moves {
            tally.add(self.walkers.step(&self.learner.trainer.kernel, model, false));
        }
        let w = self.walkers.walkers.log_weights().full_like(1.0 / n as f64);
        Ok(self.learner.measure(model, (&mut self.walkers.walkers, &w), (k, last), tally))
    }

    fn row(&mut self, model: &M, k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        let exact = self.learner.begin_row(model, k, spent, row);
        self.learner.end_row(model, k, spent, exact, row);
        Ok(())
    }

    fn step(&mut self, _model: &M, k: usize, tally: &mut Tally) -> Result<Health> {
        self.learner.descend(k, tally);
        Ok(Health::Fine)
    }

    fn save(&self, model: &M, to: &mut Checkpoint) -> Result<()> {
        self.learner.save(model, to)?;
        self.walkers.save(to, "walkers")
    }

    fn load(&mut self, model: &M, _k: usize, from: &Checkpoint) -> Result<()> {
        self.learner.load(model, from)?;
        self.walkers.load(model, from, "walkers")?;
        self.learner.trainer.kernel.check(model, self.walkers.walkers.evaluation())
    }

    fn walkers(&self) -> &Walkers {
        &self.walkers.walkers
    }

    fn details(&self, _k: usize, rows: &Recorder) -> String {
        monitoring::details(rows)
    }

    fn finish(self: Box<Self>, model: &M, _outcome: &Outcome) -> Result<Parts> {
        if self.learner.restore_best(model) {
            return Ok(Parts { walkers: Walkers::none(), monitor: None });
        }
        Ok(Parts { walkers: self.walkers.walkers, monitor: None })
    }
}
