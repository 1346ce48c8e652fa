//! Train by contrastive divergence: before each update, walkers start from data and make k moves.

use super::Trainer;
use super::batches::Batches;
use super::descent::Descent;
use super::gradient::Gradient;
use super::monitoring::{self, Curvature, ExactLogZ, HeldOut};
use crate::density::{Model, restore_parameters, save_parameters};
use crate::error::Result;
use crate::io::Checkpoint;
use crate::kernel::{EvalCounts, Kernel};
use crate::numeric::Rng;
use crate::run::diagnose::FAR;
use crate::run::{Health, Outcome, Pace, Parts, Population, Procedure, Recorder, Row, Tally};
use crate::walkers::Walkers;
use serde_json::Value;

/// The procedure of [`Method::Cd`](super::Method::Cd).
#[derive(Debug)]
pub(super) struct Contrastive<K> {
    trainer: Trainer<K>,
    identity: Value,
    /// From the data to the walkers' start, in its standard deviations.
    distance: f64,
    moves: usize,
    batches: Batches,
    descent: Descent,
    walkers: Population,
    gradient: Gradient,
    curvature: Curvature,
    exact: ExactLogZ,
    held_out: HeldOut,
}

impl<K> Contrastive<K> {
    /// `moves` moves from rows of `data` `[n, d]`, as the model takes it.
    pub fn new<M: Model>(
        trainer: Trainer<K>,
        moves: usize,
        (identity, distance): (Value, f64),
        model: &M,
        data: tch::Tensor,
    ) -> Self
    where
        K: Kernel<M>,
    {
        let s = &trainer.settings;
        let root = if s.host_noise { Rng::new(s.seed).on_host() } else { Rng::new(s.seed) };
        Contrastive {
            moves,
            batches: Batches::new(data, s.batch, s.data_noise, root.split(3)),
            descent: Descent::new(&s.rates(), model.vars()),
            walkers: Population::new(root.split(1)),
            gradient: Gradient::default(),
            curvature: Curvature::default(),
            exact: ExactLogZ::default(),
            held_out: HeldOut::new(trainer.validation.clone(), trainer.keep_best),
            identity,
            distance,
            trainer,
        }
    }
}

impl<K: Kernel<M>, M: Model> Procedure<M> for Contrastive<K> {
    fn name(&self) -> &'static str {
        self.trainer.method.name()
    }

    fn steps(&self) -> usize {
        self.trainer.settings.steps
    }

    fn schedule(&self) -> Pace {
        self.trainer.settings.pace(self.walkers.walkers.x().device())
    }

    fn config(&self) -> Value {
        self.trainer.config::<M>()
    }

    fn identity(&self, _model: &M) -> Result<Value> {
        Ok(self.identity.clone())
    }

    fn weighted(&self) -> bool {
        false
    }

    fn begin(&mut self, model: &M, tally: &mut Tally) -> Result<()> {
        let s = &self.trainer.settings;
        self.walkers.start(model, s.walkers, false)?;
        self.walkers.walkers.drop_weights();
        tally.cost += EvalCounts::evaluation(s.walkers);
        self.descent.check(model, self.walkers.walkers.evaluation())?;
        self.trainer.kernel.check(model, self.walkers.walkers.evaluation())
    }

    /// Walkers from fresh data and `moves` moves, then eq. (4) with them in place of the model's expectation.
    fn measure(&mut self, model: &M, k: usize, last: bool, tally: &mut Tally) -> Result<Health> {
        let s = &self.trainer.settings;
        let (x, rng) = self.batches.draw(s.walkers);
        let x = model.with_hidden(&x, rng);
        self.walkers.walkers.relocate(model.evaluate(&x));
        tally.cost += EvalCounts::evaluation(s.walkers);
        for _ in 0..self.moves {
            tally.add(self.walkers.step(&self.trainer.kernel, model, false));
        }
        let w = self.walkers.walkers.log_weights().full_like(1.0 / s.walkers as f64);
        let (batch, descent) = (self.batches.next(), (!last).then_some(&mut self.descent));
        let walkers = (&mut self.walkers.walkers, &w);
        self.gradient = Gradient::measure(model, batch, walkers, s.regularisation, descent, tally);
        let health = self.gradient.health(last);
        if !matches!(health, Health::Lost(_)) {
            self.curvature.watch(k, self.trainer.kernel.bounded_step(), model, &self.walkers.walkers, tally);
        }
        Ok(health)
    }

    fn row(&mut self, model: &M, k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        let last = k == self.trainer.settings.steps;
        let exact = self.exact.at(model, k, last, spent);
        self.gradient.row(self.descent.rate(k), exact, row);
        if self.distance > FAR {
            row.put("data_distance", self.distance);
        }
        row.extend([
            ("h_curvature", self.curvature.take()),
            ("forward", spent.cost.forward as f64),
            ("backward", spent.cost.backward as f64),
        ]);
        self.held_out.row(model, k, last, exact, row);
        Ok(())
    }

    fn step(&mut self, _model: &M, k: usize, tally: &mut Tally) -> Result<Health> {
        self.descent.step(&self.gradient.grads, k);
        tally.updates += 1;
        Ok(Health::Fine)
    }

    fn save(&self, model: &M, to: &mut Checkpoint) -> Result<()> {
        save_parameters(model.vars(), to)?;
        self.descent.save(to)?;
        self.walkers.save(to, "walkers")?;
        self.curvature.save(to);
        self.exact.save(to)?;
        self.held_out.save(to)?;
        self.batches.save(to, "data")
    }

    fn load(&mut self, model: &M, _k: usize, from: &Checkpoint) -> Result<()> {
        restore_parameters(model.vars(), from)?;
        self.walkers.load(model, from, "walkers")?;
        self.trainer.kernel.check(model, self.walkers.walkers.evaluation())?;
        self.descent.load(from, model.options().1)?;
        self.curvature.load(from)?;
        self.exact.load(from)?;
        self.held_out.load(from, model.options().1)?;
        self.batches.load(from, "data")
    }

    fn walkers(&self) -> &Walkers {
        &self.walkers.walkers
    }

    fn details(&self, _k: usize, rows: &Recorder) -> String {
        monitoring::details(rows)
    }

    fn finish(self: Box<Self>, model: &M, _outcome: &Outcome) -> Result<Parts> {
        if self.held_out.restore_best(model) {
            return Ok(Parts { walkers: Walkers::none(), monitor: None });
        }
        Ok(Parts { walkers: self.walkers.walkers, monitor: None })
    }
}
