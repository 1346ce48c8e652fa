//! Run the learning loop, one update as in the algorithm box.

mod record;
mod resume;

use crate::device::fetch;
use crate::energy::restore_parameters;
use crate::error::guard;
use crate::keep::Keeper;
use crate::kernel::Cost;
use crate::progress::Progress;
use crate::record::Recorder;
use crate::train::optimiser::Optimiser;
use crate::train::population::Population;
use crate::train::update::Segment;
use crate::train::{Method, Observer, Trainer, optim};
use crate::{Kernel, Model, Outcome, Result, Rng, Run, Walkers};
use serde::{Deserialize, Serialize};
use std::time::Instant;
use tch::{Kind, Tensor};

/// One run in progress.
pub(in crate::train) struct Session<'a, K, M> {
    trainer: &'a Trainer<K>,
    model: &'a mut M,
    data: Tensor,
    /// Rows of the data that are to come in this epoch, taken from the end.
    order: Tensor,
    optimiser: Optimiser,
    population: Population,
    monitor: Option<Population>,
    data_rng: Rng,
    recorder: Recorder,
    since: Since,
    /// The step that comes next.
    next: usize,
    keeper: Option<Keeper>,
    started: Instant,
    progress: Progress,
}

/// What is summed up between two recorded rows.
#[derive(Default, Serialize, Deserialize)]
struct Since {
    cost: Cost,
    resampled: u64,
    resampled_monitor: u64,
    updates: u64,
    trials: usize,
    legs: usize,
    // JSON has no NaN: a checkpoint holds these two apart
    #[serde(skip)]
    fraction: f64,
    #[serde(skip)]
    acceptance: Option<Tensor>,
}

impl<'a, K: Kernel<M>, M: Model> Session<'a, K, M> {
    pub fn start(trainer: &'a Trainer<K>, model: &'a mut M, data: &Tensor) -> Result<Self> {
        let s = &trainer.settings;
        let (kind, device) = model.options();
        let data = data.to_device(device).to_kind(kind);
        let kept = match &trainer.keep {
            None => None,
            Some(keep) => {
                let what = (trainer.method.name(), matches!(trainer.method, Method::Jarzynski { .. }));
                Some(Keeper::open(keep, what, s.seed, trainer.identity(model, &data)?)?)
            }
        };
        let (keeper, found) = kept.map_or((None, None), |(keeper, found)| (Some(keeper), found));
        let root = if s.host_noise { Rng::new(s.seed).on_host() } else { Rng::new(s.seed) };
        let watchers = match trainer.method {
            Method::Jarzynski { .. } => s.monitor.unwrap_or(s.walkers),
            _ => 0,
        };
        let optimiser = Optimiser::new(s.optim, model.vars());
        let (population, monitor) = match &found {
            // the model's own parameters come first: a graph is made again under them
            Some(found) => {
                restore_parameters(model.vars(), found)?;
                let monitor = (watchers > 0).then(|| Population::restore(model, found, "monitor")).transpose()?;
                (Population::restore(model, found, "walkers")?, monitor)
            }
            None => {
                let start = |n, label| Population::start(model, n, s.stratified, root.split(label));
                (start(s.walkers, 1)?, (watchers > 0).then(|| start(watchers, 2)).transpose()?)
            }
        };
        trainer.kernel.check(model, &population.walkers.point)?;
        let mut session = Session {
            optimiser,
            trainer,
            model,
            data,
            order: Tensor::zeros([0], (Kind::Int64, device)),
            population,
            monitor,
            data_rng: root.split(3),
            recorder: Recorder::default(),
            since: Since { cost: Cost::evaluation(s.walkers + watchers), ..Default::default() },
            next: 0,
            keeper,
            started: Instant::now(),
            progress: Progress::new(trainer.method.name(), s.progress, 0, s.steps),
        };
        if let Some(found) = &found {
            session.restore(found)?;
            session.progress = Progress::new(trainer.method.name(), s.progress, session.next, s.steps);
        }
        Ok(session)
    }

    /// Rows and a checkpoint to disk where they are due; how the run ends, if it should.
    fn visit(&mut self, k: usize) -> Result<Option<Outcome>> {
        let Some(mut keeper) = self.keeper.take() else { return Ok(None) };
        let said = keeper.visit(k, self.trainer.settings.steps, &self.recorder, |to| self.save(to));
        self.keeper = Some(keeper);
        said
    }

    pub fn run(&mut self, observe: &mut Observer<M>) -> Result<Outcome> {
        let (first, steps) = (self.next, self.trainer.settings.steps);
        for k in first..=steps {
            match self.visit(k)? {
                None => {}
                Some(outcome) => return Ok(outcome),
            }
            match guard(|| self.update(k, k == steps, observe)) {
                Ok(None) => {}
                Ok(Some(cause)) => return Ok(Outcome::Diverged { step: k, cause }),
                Err(e) => return Ok(Outcome::Diverged { step: k, cause: e.to_string() }),
            }
        }
        Ok(Outcome::Finished)
    }

    /// Seconds of this call and of those that it continues.
    fn seconds(&self) -> f64 {
        self.keeper.as_ref().map_or_else(|| self.started.elapsed().as_secs_f64(), Keeper::seconds)
    }

    /// One update, as in the algorithm box; on the last call only the row is recorded. Returns the cause if it diverged.
    fn update(&mut self, k: usize, last: bool, observe: &mut Observer<M>) -> Result<Option<String>> {
        let trainer = self.trainer;
        let s = &trainer.settings;
        if let Method::Cd { k: moves } = trainer.method {
            self.restart_from_data(moves);
        }
        let batch = self.batch();
        let mut seen = self.model.observe(&batch);
        drop(batch);
        let rows = seen.len();
        self.since.cost.forward += rows as u64;
        let energy_data = seen.u.mean(Kind::Double);

        // eq. (4): ∂H = E_*[∂U] − E_θ[∂U], the second by weights.
        let w = trainer.method.weights(&self.population.walkers);
        let energy_walkers = self.population.walkers.point.u.to_kind(Kind::Double).dot(&w);
        let lr = s.lr * s.schedule.factor(k, s.steps);
        let mut grads = Vec::new();
        if !last {
            let mut on_data = seen.u.full_like(1.0 / rows as f64).to_kind(Kind::Double);
            let mut on_walkers = -&w;
            if s.regularisation > 0.0 {
                let twice = 2.0 * s.regularisation;
                on_data = &on_data * (seen.u.to_kind(Kind::Double) * twice + 1.0);
                on_walkers = &on_walkers + &w * self.population.walkers.point.u.to_kind(Kind::Double) * twice;
            }
            grads = self.model.param_grad(&mut seen, &on_data);
            // the batch's share of memory is free before the walkers ask for theirs
            drop(seen);
            if self.population.walkers.point.graph_is_gone() {
                self.since.cost.forward += self.population.walkers.len() as u64;
            }
            let from_walkers = self.model.param_grad(&mut self.population.walkers.point, &on_walkers);
            grads.iter_mut().zip(from_walkers).for_each(|(g, more)| *g = &*g + more);
            self.since.cost.backward += (rows + self.population.walkers.len()) as u64;
            grads = self.model.precondition(grads);
        }
        // all that this update decides by and records, in one transfer
        let mut numbers = vec![energy_data, energy_walkers];
        numbers.extend(self.since.acceptance.take());
        let known = numbers.len();
        numbers.extend(optim::squares(&grads));
        let read = fetch(&numbers);
        let (energy_data, energy_walkers, acceptance) = (read[0], read[1], read[2..known].first().copied());
        for (whose, energy) in [("data", energy_data), ("walkers", energy_walkers)] {
            // CD's walkers moved from the data just now
            if !energy.is_finite() {
                return Ok(Some(format!("mean energy of the {whose} is {energy}")));
            }
        }
        let grad_norm = if last { f64::NAN } else { read[known..].iter().sum::<f64>().sqrt() };
        if let Some(max) = s.clip.filter(|max| grad_norm > *max) {
            grads.iter_mut().for_each(|g| *g = &*g * (max / grad_norm));
        }
        self.since.acceptance = acceptance.map(Tensor::from);
        if k.is_multiple_of(s.every) || last || !grad_norm.is_finite() {
            self.record(k, lr, [energy_data, energy_walkers, acceptance.unwrap_or(f64::NAN), grad_norm], observe);
        }
        self.speak(k);
        if last {
            return Ok(None);
        }
        if !grad_norm.is_finite() {
            return Ok(Some(format!("gradient norm is {grad_norm}")));
        }
        let lost = self.walk(&grads, lr);
        Ok(lost.map(|who| format!("energy or log-weights of the {who} are not finite after update {}", k + 1)))
    }

    /// Kernel moves at fixed θ, then forward at θ_k, the optimiser's step (limited by ESS), backward at θ_{k+1}. Returns whose
    /// energies or weights are not finite, if any are.
    fn walk(&mut self, grads: &[Tensor], lr: f64) -> Option<&'static str> {
        let trainer = self.trainer;
        let rate = |group: usize| lr * trainer.settings.group_lr.get(group).unwrap_or(&1.0);
        let (kernel, limit) = (&trainer.kernel, trainer.limit());
        if let Method::Cd { .. } = trainer.method {
            self.optimiser.step(grads, rate);
            self.since.updates += 1;
            self.since.fraction += 1.0;
            return None;
        }
        let weighted = matches!(trainer.method, Method::Jarzynski { .. });
        for _ in 1..trainer.settings.moves {
            self.each(|p, model| p.step(kernel, model, weighted));
        }
        let mut segment: Option<Segment> = None;
        let mut lost = None;
        for _ in 0..limit.legs() {
            self.each(|p, model| p.leave(kernel, model, weighted));
            match limit.bound() {
                None => self.optimiser.step(grads, rate),
                Some(bound) => {
                    let segment = segment.get_or_insert_with(|| {
                        let from = Segment::begin(self.model);
                        self.optimiser.step(grads, rate);
                        Segment::new(self.model, from)
                    });
                    let (walkers, known) = (&self.population.walkers, self.population.known());
                    let trials = segment.advance(self.model, walkers, known, bound);
                    self.since.trials += trials;
                    self.since.cost.forward += (trials * walkers.len()) as u64;
                }
            }
            self.each(|p, model| p.arrive(kernel, model, weighted));
            self.since.legs += 1;
            lost = self.lost();
            if let Method::Jarzynski { ess_min } = trainer.method {
                let before = self.since.resampled + self.since.resampled_monitor;
                self.since.resampled += self.population.resample_below(ess_min, trainer.settings.scheme) as u64;
                if let Some(m) = &mut self.monitor {
                    self.since.resampled_monitor += m.resample_below(ess_min, trainer.settings.scheme) as u64;
                }
                if before != self.since.resampled + self.since.resampled_monitor {
                    // walkers of weight zero may have had an infinite energy: they are gone
                    lost = self.lost();
                }
            }
            if lost.is_some() || segment.as_ref().is_none_or(|s| s.at == 1.0) {
                break;
            }
        }
        self.since.updates += 1;
        self.since.fraction += segment.map_or(1.0, |s| s.at);
        lost
    }

    /// Whose energies or weights are not finite, if any are.
    fn lost(&self) -> Option<&'static str> {
        let all: Vec<&Walkers> =
            [Some(&self.population), self.monitor.as_ref()].into_iter().flatten().map(|p| &p.walkers).collect();
        Walkers::look(&all).into_iter().zip(["walkers", "monitor"]).find(|(finite, _)| !finite).map(|(_, who)| who)
    }

    /// Runs `f` on the walkers and on the monitor and collects what it cost.
    fn each(&mut self, f: impl Fn(&mut Population, &M) -> (Cost, Option<Tensor>)) {
        let (cost, acceptance) = f(&mut self.population, self.model);
        self.since.cost += cost;
        self.since.acceptance = acceptance.or(self.since.acceptance.take());
        if let Some(m) = &mut self.monitor {
            self.since.cost += f(m, self.model).0;
        }
    }

    fn restart_from_data(&mut self, moves: usize) {
        let n = self.trainer.settings.walkers;
        let rows = self.data_rng.index_tensor(self.data.size()[0] as usize, n, self.data.device());
        let mut x = self.data.index_select(0, &rows);
        x = self.with_noise(x);
        x = self.model.lift(&x, &mut self.data_rng);
        self.population.walkers.relocate(self.model.evaluate(&x));
        self.since.cost += Cost::evaluation(n);
        for _ in 0..moves {
            self.each(|p, model| p.step(&self.trainer.kernel, model, false));
        }
    }

    fn with_noise(&mut self, x: Tensor) -> Tensor {
        match self.trainer.settings.data_noise {
            0.0 => x,
            sigma => &x + self.data_rng.normal(&x.size(), x.kind(), x.device()) * sigma,
        }
    }

    /// The next batch: every data point once per epoch, in a fresh order.
    fn batch(&mut self) -> Tensor {
        let n = self.data.size()[0] as usize;
        let size = self.trainer.settings.batch.unwrap_or(n).min(n);
        if size == n {
            let all = self.data.shallow_clone();
            return self.with_noise(all);
        }
        if self.order.numel() < size {
            self.order = Tensor::from_slice(&self.data_rng.permutation(n)).to_device(self.data.device());
        }
        let rest = (self.order.numel() - size) as i64;
        let rows = self.order.narrow(0, rest, size as i64);
        self.order = self.order.narrow(0, 0, rest);
        let x = self.data.index_select(0, &rows);
        self.with_noise(x)
    }

    pub fn finish(mut self, mut outcome: Outcome) -> Result<Run> {
        let seconds = self.seconds();
        if let Some(keeper) = self.keeper.take() {
            outcome = keeper.close(self.trainer.settings.steps, &self.recorder, outcome);
        }
        match &outcome {
            Outcome::Finished => self.progress.end(None),
            Outcome::Diverged { step, cause } | Outcome::Paused { step, cause } => {
                self.progress.end(Some(&format!("stopped at update {step}: {cause}")));
            }
        }
        Ok(Run {
            stats: self.recorder.stats()?,
            walkers: self.population.walkers,
            monitor: self.monitor.map(|m| m.walkers),
            weighted: matches!(self.trainer.method, Method::Jarzynski { .. }),
            label: self.trainer.method.name().to_string(),
            config: self.trainer.config(),
            seed: self.trainer.settings.seed,
            outcome,
            seconds,
        })
    }
}
