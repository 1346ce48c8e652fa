//! Train by the likelihood's gradient with walkers that persist: with Jarzynski weights, or without (PCD).

use super::learner::Learner;
use super::trust_region::Advance;
use super::{Method, Trainer};
use crate::density::Model;
use crate::error::Result;
use crate::io::Checkpoint;
use crate::kernel::{EvalCounts, Kernel};
use crate::run::{Health, Memory, Outcome, Pace, Parts, Population, Procedure, Recorder, Row, Tally};
use crate::walkers::{Estimate, Walkers};
use serde_json::Value;
use tch::{Device, Tensor};

/// The procedure of [`Method::Jarzynski`] and [`Method::Pcd`].
#[derive(Debug)]
pub(super) struct Likelihood<K> {
    learner: Learner<K>,
    /// Resampling threshold; `None` without weights.
    ess_min: Option<f64>,
    walkers: Population,
    monitor: Option<Population>,
    /// The part of the optimiser's step that the ESS limit let through last.
    reach: f64,
}

impl<K> Likelihood<K> {
    /// On `data` `[n, d]`, as the model takes it.
    pub fn new<M: Model>(trainer: Trainer<K>, about: (Value, f64), model: &M, data: Tensor) -> Self {
        let ess_min = match trainer.method {
            Method::Jarzynski { ess_min } => Some(ess_min),
            _ => None,
        };
        let s = &trainer.settings;
        let monitor = if ess_min.is_some() { s.monitor.unwrap_or(s.walkers) } else { 0 };
        let learner = Learner::new(trainer, about, model, data);
        Likelihood {
            walkers: Population::new(learner.root.split(1)),
            monitor: (monitor > 0).then(|| Population::new(learner.root.split(2))),
            reach: 1.0,
            ess_min,
            learner,
        }
    }

    /// Runs `f` on the walkers and on the monitor and collects what it cost.
    fn each(&mut self, tally: &mut Tally, mut f: impl FnMut(&mut Population, &K) -> (EvalCounts, Option<Tensor>)) {
        tally.add(f(&mut self.walkers, &self.learner.trainer.kernel));
        if let Some(monitor) = &mut self.monitor {
            tally.cost += f(monitor, &self.learner.trainer.kernel).0;
        }
    }

    /// Resamples populations whose ESS is low, and says whose energies or weights are not finite, if any are.
    fn settle(&mut self, tally: &mut Tally) -> Option<&'static str> {
        let mut lost = self.lost();
        let Some(ess_min) = self.ess_min else { return lost };
        let scheme = self.learner.trainer.settings.scheme;
        let own = self.walkers.resample_below(ess_min, scheme) as u64;
        let watched = self.monitor.as_mut().map_or(0, |m| m.resample_below(ess_min, scheme) as u64);
        if own + watched > 0 {
            // walkers of weight zero may have had an infinite energy: they are gone
            lost = self.lost();
        }
        tally.resampled += own;
        tally.resampled_monitor += watched;
        lost
    }

    fn lost(&self) -> Option<&'static str> {
        let all: Vec<&Walkers> =
            [Some(&self.walkers), self.monitor.as_ref()].into_iter().flatten().map(|p| &p.walkers).collect();
        Walkers::all_finite(&all)
            .into_iter()
            .zip(["walkers", "monitor"])
            .find(|(finite, _)| !finite)
            .map(|(_, who)| who)
    }

    /// Weights of the walkers in eq. (4), `[n]`, f64.
    fn weights(&self) -> Tensor {
        let walkers = &self.walkers.walkers;
        match self.ess_min {
            Some(_) => walkers.weights(),
            None => walkers.log_weights().full_like(1.0 / walkers.len() as f64),
        }
    }
}

impl<K: Kernel<M>, M: Model> Procedure<M> for Likelihood<K> {
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
        self.ess_min.is_some()
    }

    fn self_interacting(&self) -> bool {
        true
    }

    fn memory(&self, model: &M) -> Option<(Memory, Device)> {
        Some((self.learner.trainer.memory(model), model.options().1))
    }

    /// X_0 ~ ρ_0 exactly, A_0 = U_base − U_θ; without weights A stays 0.
    fn begin(&mut self, model: &M, tally: &mut Tally) -> Result<()> {
        let s = &self.learner.trainer.settings;
        self.walkers.start(model, s.walkers, s.stratified)?;
        if let Some(monitor) = &mut self.monitor {
            monitor.start(model, s.monitor.unwrap_or(s.walkers), s.stratified)?;
        }
        match self.ess_min {
            Some(_) => self.walkers.walkers.drive_parameters(),
            None => self.walkers.walkers.drop_weights(),
        }
        tally.cost += EvalCounts::evaluation(s.walkers + self.monitor.as_ref().map_or(0, |m| m.walkers.len()));
        self.learner.check(model, &self.walkers.walkers)
    }

    fn measure(&mut self, model: &M, k: usize, last: bool, tally: &mut Tally) -> Result<Health> {
        let w = self.weights();
        Ok(self.learner.measure(model, (&mut self.walkers.walkers, &w), (k, last), tally))
    }

    fn row(&mut self, model: &M, k: usize, spent: &Tally, row: &mut Row) -> Result<()> {
        let exact = self.learner.begin_row(model, k, spent, row);
        let weighted = self.ess_min.is_some();
        let lowest = if weighted { self.walkers.walkers.take_lowest_ess() } else { f64::NAN };
        let lowest_monitor = self.monitor.as_mut().map_or(f64::NAN, |m| m.walkers.take_lowest_ess());
        let (walkers, monitor) = (&self.walkers.walkers, self.monitor.as_ref().map(|m| &m.walkers));
        let nan = Estimate::new(f64::NAN, f64::NAN);
        let energy_data = self.learner.gradient.energy_data;
        let (log_z, log_z_monitor) =
            (self.ess_min.map_or(nan, |_| walkers.log_z()), monitor.map_or(nan, Walkers::log_z));
        row.extend([
            ("cross_entropy", log_z.value + energy_data),
            ("cross_entropy_monitor", log_z_monitor.value + energy_data),
            ("log_z", log_z.value),
            ("log_z_monitor", log_z_monitor.value),
            ("log_z_monitor_se", log_z_monitor.se),
            ("ess", lowest),
            ("ess_monitor", lowest_monitor),
            ("lineages", self.ess_min.map_or(f64::NAN, |_| walkers.lineages() as f64)),
            ("lineages_monitor", monitor.map_or(f64::NAN, |m| m.lineages() as f64)),
            ("resampled", self.ess_min.map_or(f64::NAN, |_| spent.resampled as f64)),
            ("resampled_monitor", monitor.map_or(f64::NAN, |_| spent.resampled_monitor as f64)),
            ("step_fraction", spent.per_update(spent.step_fraction)),
            ("ess_step", spent.ess_step),
            ("backtracks", spent.backtracks as f64),
            ("substeps", spent.substeps as f64),
        ]);
        let log_z = if self.monitor.is_some() { log_z_monitor.value } else { exact };
        self.learner.end_row(model, k, spent, log_z, row);
        Ok(())
    }

    /// One update, as in the algorithm box.
    fn step(&mut self, model: &M, k: usize, tally: &mut Tally) -> Result<Health> {
        let weighted = self.ess_min.is_some();
        for _ in 1..self.learner.trainer.settings.moves {
            self.each(tally, |p, kernel| p.step(kernel, model, weighted)); // all moves but the last at fixed θ_k
        }
        let mut update = Advance::new(self.learner.trainer.limit(), self.reach, self.learner.descent.factor(k));
        let mut lost = None;
        while lost.is_none() && update.next() {
            self.each(tally, |p, kernel| p.depart(kernel, model, weighted)); // α = U_k(x) − log f_k(x→y)
            let (descent, grads) = (&mut self.learner.descent, &self.learner.gradient.grads);
            update.advance(model, &self.walkers, tally, || descent.step(grads, k)); // θ_k → θ_{k+1}, limited by the ESS
            self.each(tally, |p, kernel| p.arrive(kernel, model, weighted)); // A += α − U_{k+1}(y) + log r_{k+1}(y→x)
            lost = self.settle(tally); // resample where the ESS is low
        }
        tally.updates += 1;
        tally.step_fraction += update.at();
        tally.ess_step = tally.ess_step.min(update.lowest);
        self.reach = update.reach();
        Ok(match lost {
            Some(who) => {
                Health::Lost(format!("energy or log-weights of the {who} are not finite after update {}", k + 1))
            }
            None => Health::Fine,
        })
    }

    fn save(&self, model: &M, to: &mut Checkpoint) -> Result<()> {
        self.learner.save(model, to)?;
        self.walkers.save(to, "walkers")?;
        if let Some(monitor) = &self.monitor {
            monitor.save(to, "monitor")?;
        }
        to.put_numbers("reach", &[self.reach]);
        Ok(())
    }

    fn load(&mut self, model: &M, _k: usize, from: &Checkpoint) -> Result<()> {
        self.learner.load(model, from)?;
        self.walkers.load(model, from, "walkers")?;
        if let Some(monitor) = &mut self.monitor {
            monitor.load(model, from, "monitor")?;
        }
        [self.reach] = from.numbers("reach")?;
        self.learner.trainer.kernel.check(model, self.walkers.walkers.evaluation())
    }

    fn walkers(&self) -> &Walkers {
        &self.walkers.walkers
    }

    fn monitor(&self) -> Option<&Walkers> {
        self.monitor.as_ref().map(|m| &m.walkers)
    }

    fn details(&self, _k: usize, rows: &Recorder) -> String {
        super::monitoring::details(rows)
    }

    fn finish(self: Box<Self>, model: &M, _outcome: &Outcome) -> Result<Parts> {
        if self.learner.restore_best(model) {
            // the walkers belong to the last parameters, not to the best
            return Ok(Parts { walkers: Walkers::none(), monitor: None });
        }
        Ok(Parts { walkers: self.walkers.walkers, monitor: self.monitor.map(|m| m.walkers) })
    }
}
