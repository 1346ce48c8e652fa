//! Train by the likelihood's gradient with tempered walkers: replicas at parameters that the training passed, and swaps.

use super::learner::Learner;
use super::trust_region::Advance;
use super::{Trainer, monitoring};
use crate::density::{Evaluation, Model, put_parameters, take_parameters};
use crate::error::{Error, Result, no_grad};
use crate::io::Checkpoint;
use crate::kernel::{EvalCounts, Kernel};
use crate::numeric::Rng;
use crate::run::{Health, Memory, Outcome, Pace, Parts, Population, Procedure, Recorder, Row, Tally};
use crate::walkers::Walkers;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

/// The procedure of [`Method::Ptt`](super::Method::Ptt).
#[derive(Debug)]
pub(super) struct Trajectory<K, M> {
    learner: Learner<K>,
    /// Swap rate with the last replica below which the present parameters become another one.
    rate: f64,
    /// From θ_0 on, in the order of the training; the model itself comes after the last.
    replicas: Vec<Replica<M>>,
    /// Walkers of the model itself.
    walkers: Population,
    /// What decides on swaps.
    rng: Rng,
    /// The part of the optimiser's step that the ESS limit let through last.
    reach: f64,
}

/// A model of the past with walkers of its own.
#[derive(Debug)]
struct Replica<M> {
    model: M,
    walkers: Population,
}

impl<M: Model> Replica<M> {
    fn of(model: &M, walkers: Population) -> Result<Self> {
        let expected = "a model that gives copies of itself: `Model::copy`";
        let model = model.copy().ok_or_else(|| Error::param("method", "ptt", expected))?;
        Ok(Replica { model, walkers })
    }
}

impl<K, M: Model> Trajectory<K, M> {
    /// On `data` `[n, d]`, as the model takes it.
    pub fn new(trainer: Trainer<K>, rate: f64, about: (Value, f64), model: &M, data: Tensor) -> Self {
        let learner = Learner::new(trainer, about, model, data);
        let (walkers, rng) = (Population::new(learner.root.split(1)), learner.root.split(4));
        Trajectory { walkers, rng, rate, replicas: Vec::new(), reach: 1.0, learner }
    }

    fn stream(&self, replica: usize) -> Rng {
        self.learner.root.split(5).split(replica as u64)
    }

    /// Swaps of the walkers of neighbours, the even and the odd pairs in turn. Returns the mean acceptance probability of each
    /// pair that had its turn.
    fn swap(&mut self, model: &M, k: usize, tally: &mut Tally) -> Vec<Tensor> {
        let mut rates = Vec::new();
        for i in (k % 2..self.replicas.len()).step_by(2) {
            let (low, high) = self.replicas.split_at_mut(i + 1);
            let below = &mut low[i];
            let (upper, above) = match high.first_mut() {
                Some(r) => (&r.model, &mut r.walkers.walkers),
                None => (model, &mut self.walkers.walkers),
            };
            let here = &mut below.walkers.walkers;
            let (a, b) = (here.evaluation(), above.evaluation());
            let (a_above, b_below) = no_grad(|| (upper.evaluate(&a.x), below.model.evaluate(&b.x)));
            tally.cost += EvalCounts::evaluation(a.len() + b.len());
            let sum = |p: &Evaluation, q: &Evaluation| p.u.to_kind(Kind::Double) + q.u.to_kind(Kind::Double);
            let gain = sum(a, b) - sum(&a_above, &b_below);
            let uniform = self.rng.uniform_tensor(&gain.size(), Kind::Double, gain.device());
            let swapped = uniform.log().lt_tensor(&gain);
            rates.push(gain.exp().clamp_max(1.0).mean(Kind::Double));
            let (down, up) = (b_below.mix(&swapped, a), a_above.mix(&swapped, b));
            here.relocate(down);
            above.relocate(up);
        }
        rates
    }

    /// Makes the present parameters a replica, with the walkers where they are, if those of the last one hardly swap any more.
    fn grow(&mut self, model: &M, swap_rate: &Tensor, tally: &mut Tally) -> Result<()> {
        if swap_rate.double_value(&[]) >= self.rate {
            return Ok(());
        }
        let mut replica = Replica::of(model, Population::new(self.stream(self.replicas.len())))?;
        let at = replica.model.evaluate(self.walkers.walkers.x());
        tally.cost += EvalCounts::evaluation(at.len());
        replica.walkers.walkers = Walkers::new(at, 0.0);
        replica.walkers.walkers.drop_weights();
        self.replicas.push(replica);
        Ok(())
    }
}

impl<K: Kernel<M>, M: Model> Procedure<M> for Trajectory<K, M> {
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
        let s = &self.learner.trainer.settings;
        let (n, stratified) = (s.walkers, s.stratified);
        let mut first = Population::new(self.stream(0));
        for population in [&mut self.walkers, &mut first] {
            population.start(model, n, stratified)?;
            population.walkers.drop_weights();
            tally.cost += EvalCounts::evaluation(n);
        }
        self.replicas = vec![Replica::of(model, first)?];
        self.learner.check(model, &self.walkers.walkers)
    }

    fn measure(&mut self, model: &M, k: usize, last: bool, tally: &mut Tally) -> Result<Health> {
        let walkers = &mut self.walkers.walkers;
        let w = walkers.log_weights().full_like(1.0 / walkers.len() as f64);
        Ok(self.learner.measure(model, (walkers, &w), (k, last), tally))
    }

    fn row(&mut self, model: &M, k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        let exact = self.learner.begin_row(model, k, spent, row);
        let [rate] = spent.means(["swap_rate"]);
        row.extend([
            ("replicas", self.replicas.len() as f64 + 1.0),
            ("swap_rate", rate),
            ("step_fraction", spent.per_update(spent.step_fraction)),
            ("ess_step", spent.ess_step),
            ("backtracks", spent.backtracks as f64),
        ]);
        self.learner.end_row(model, k, spent, exact, row);
        Ok(())
    }

    /// One update: the model's walkers move from θ_k to θ_{k+1} as those of PCD do, those of the replicas at their own
    /// parameters, and neighbours swap.
    fn step(&mut self, model: &M, k: usize, tally: &mut Tally) -> Result<Health> {
        let kernel = &self.learner.trainer.kernel;
        for replica in &mut self.replicas {
            let moves = self.learner.trainer.settings.moves;
            for _ in 0..moves {
                tally.add(replica.walkers.step(kernel, &replica.model, false));
            }
        }
        for _ in 1..self.learner.trainer.settings.moves {
            tally.add(self.walkers.step(kernel, model, false));
        }
        tally.add(self.walkers.depart(kernel, model, false));
        let mut update = Advance::new(self.learner.trainer.limit(), self.reach, self.learner.descent.factor(k));
        let (descent, grads) = (&mut self.learner.descent, &self.learner.gradient.grads);
        update.advance(model, &self.walkers, tally, || descent.step(grads, k));
        tally.add(self.walkers.arrive(kernel, model, false));
        tally.updates += 1;
        tally.step_fraction += update.at();
        tally.ess_step = tally.ess_step.min(update.lowest);
        self.reach = update.reach();
        let last_pair = self.replicas.len() - 1;
        let rates = self.swap(model, k, tally);
        if let Some(of_last) = rates.last().filter(|_| last_pair % 2 == k % 2) {
            self.grow(model, of_last, tally)?;
        }
        if let Some(lowest) = rates.into_iter().reduce(|a, b| a.minimum(&b)) {
            tally.sum("swap_rate", &lowest);
        }
        Ok(Health::Fine)
    }

    fn save(&self, model: &M, to: &mut Checkpoint) -> Result<()> {
        self.learner.save(model, to)?;
        self.walkers.save(to, "walkers")?;
        for (i, replica) in self.replicas.iter().enumerate() {
            put_parameters(replica.model.vars(), &format!("replica.{i}."), to)?;
            replica.walkers.save(to, &format!("replica.{i}"))?;
        }
        to.put_json("replicas", &self.replicas.len())?;
        to.put_json("swaps.rng", &self.rng)?;
        to.put_numbers("reach", &[self.reach]);
        Ok(())
    }

    fn load(&mut self, model: &M, _k: usize, from: &Checkpoint) -> Result<()> {
        self.learner.load(model, from)?;
        self.walkers.load(model, from, "walkers")?;
        let count: usize = from.json("replicas")?;
        self.replicas = (0..count)
            .map(|i| {
                let mut replica = Replica::of(model, Population::new(self.stream(i)))?;
                take_parameters(replica.model.vars(), &format!("replica.{i}."), from)?;
                replica.walkers.load(&replica.model, from, &format!("replica.{i}"))?;
                Ok(replica)
            })
            .collect::<Result<_>>()?;
        self.rng = from.json("swaps.rng")?;
        [self.reach] = from.numbers("reach")?;
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
