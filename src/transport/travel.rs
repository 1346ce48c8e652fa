//! Run a transport: step by step, with rows, checkpoints and progress, to the path's end or to a cause.

use super::{Transport, Watcher, wall};
use crate::checkpoint::Checkpoint;
use crate::device::fetch;
use crate::error::guard;
use crate::keep::Keeper;
use crate::kernel::Cost;
use crate::path::Grid;
use crate::progress::Progress;
use crate::record::Recorder;
use crate::walkers::check_shapes;
use crate::{At, Error, Kernel, Outcome, Passage, Path, Result, Rng, Run, Walkers};
use std::time::Instant;
use tch::{Kind, Tensor};

/// What is summed up between two recorded rows.
#[derive(Default)]
struct Since {
    cost: Cost,
    resampled: u64,
    acceptance: Option<Tensor>,
}

impl Since {
    fn save(&self, to: &mut Checkpoint) -> Result<()> {
        let acceptance = self.acceptance.as_ref().map_or(f64::NAN, |a| a.double_value(&[]));
        to.put_numbers("acceptance", &[acceptance]);
        to.put_json("since", &(self.cost, self.resampled))
    }

    fn restore(from: &Checkpoint) -> Result<Self> {
        let (cost, resampled) = from.json("since")?;
        let [acceptance] = from.numbers("acceptance")?;
        Ok(Since { cost, resampled, acceptance: Some(acceptance).filter(|a| !a.is_nan()).map(Tensor::from) })
    }
}

/// One transport in progress.
pub(super) struct Travel<'a, K, P> {
    of: &'a Transport<K>,
    path: &'a P,
    grid: Grid,
    label: &'static str,
    rng: Rng,
    walkers: Walkers,
    recorder: Recorder,
    since: Since,
    /// The step that comes next.
    next: usize,
    keeper: Option<Keeper>,
    started: Instant,
    progress: Progress,
}

impl<'a, K, P: Path> Travel<'a, K, P>
where
    K: for<'b> Kernel<At<'b, P>>,
{
    pub fn start(of: &'a Transport<K>, path: &'a P, grid: Grid, label: &'static str) -> Result<Self> {
        let mut rng = Rng::new(of.seed).split(1);
        let started = Instant::now();
        let walkers = place(of, path, &grid, &mut rng)?;
        let kept = of.keep.as_ref().map(|keep| {
            let identity = of.identity(path, &grid)?;
            Keeper::open(keep, (label, of.weighted), of.seed, identity)
        });
        let (keeper, found) = kept.transpose()?.map_or((None, None), |(keeper, found)| (Some(keeper), found));
        let since = Since { cost: Cost::evaluation(of.walkers), resampled: 0, acceptance: None };
        let next = found.as_ref().map_or(Ok(0), |found| found.json("step"))?;
        let progress = Progress::new(label, of.progress, next, grid.steps()).counting("steps");
        let recorder = Recorder::default();
        let mut travel =
            Travel { of, path, grid, label, rng, walkers, recorder, since, next, keeper, started, progress };
        if let Some(found) = &found {
            travel.restore(found)?;
        }
        Ok(travel)
    }

    fn save(&self, to: &mut Checkpoint) -> Result<()> {
        self.walkers.save(to, "walkers")?;
        self.since.save(to)?;
        to.put_json("rng", &self.rng)
    }

    /// Takes up what [`save`](Travel::save) wrote.
    fn restore(&mut self, found: &Checkpoint) -> Result<()> {
        let (device, t) = (self.walkers.x().device(), self.grid.at(self.next));
        self.walkers = Walkers::restore(found, "walkers", device, |x| self.path.evaluate(t, x))?;
        self.rng = found.json("rng")?;
        self.since = Since::restore(found)?;
        if let Some(keeper) = &mut self.keeper {
            self.recorder = keeper.recorded(found)?;
        }
        Ok(())
    }

    /// Rows and a checkpoint to disk where they are due; how the run ends, if it should.
    fn visit(&mut self, k: usize) -> Result<Option<Outcome>> {
        let Some(mut keeper) = self.keeper.take() else { return Ok(None) };
        let said = keeper.visit(k, self.grid.steps(), &self.recorder, |to| self.save(to));
        self.keeper = Some(keeper);
        said
    }

    pub fn run(&mut self, watch: &mut Watcher) -> Result<Outcome> {
        let last = self.grid.steps();
        for k in self.next..=last {
            if let Some(outcome) = self.visit(k)? {
                return Ok(outcome);
            }
            let due = k.is_multiple_of(self.of.every) || k == last;
            if due && let Err(e) = guard(|| self.record(k, watch)) {
                return Ok(Outcome::Diverged { step: k, cause: e.to_string() });
            }
            self.speak(k);
            if k == last {
                break;
            }
            if let Some(cause) = self.step(k) {
                return Ok(Outcome::Diverged { step: k, cause });
            }
        }
        Ok(Outcome::Finished)
    }

    /// From t_k to t_{k+1}; the cause, where that cannot be done.
    fn step(&mut self, k: usize) -> Option<String> {
        let (of, walkers, rng, since) = (self.of, &mut self.walkers, &mut self.rng, &mut self.since);
        let (now, next) = At::step(self.path, self.grid.at(k), self.grid.at(k + 1));
        let moved = guard(|| {
            let mut mv = of.kernel.forward(&now, &walkers.point, rng);
            since.cost += mv.cost;
            since.acceptance = mv.acceptance.take().or(since.acceptance.take());
            let fault = mv.fault.clone().filter(|_| of.weighted);
            let alpha = mv.alpha.shallow_clone();
            let mut arrival = of.kernel.backward(&next, &walkers.point, mv, rng);
            since.cost += arrival.cost;
            since.acceptance = arrival.acceptance.take().or(since.acceptance.take());
            if of.weighted {
                let (alpha, lambda) = wall::increment(walkers, alpha, &arrival);
                walkers.commit(arrival.point, &alpha, &lambda);
            } else {
                walkers.relocate(arrival.point);
            }
            check_shapes(&walkers.point, of.walkers)?;
            Ok(fault)
        });
        match moved {
            Err(e) => Some(e.to_string()),
            Ok(Some(fault)) => Some(fault),
            Ok(None) if of.weighted => {
                let cause = wall::fault(walkers);
                if !walkers.resample_below(of.ess_min, of.scheme, rng) {
                    return cause;
                }
                since.resampled += 1;
                wall::fault(walkers)
            }
            Ok(None) => {
                let known = walkers.x().sum(Kind::Double).double_value(&[]).is_finite();
                (!known).then(|| "positions of the walkers are not finite".into())
            }
        }
    }

    /// The row of step k.
    fn record(&mut self, k: usize, watch: &mut Watcher) -> Result<()> {
        let (t, walkers) = (self.grid.at(k), &self.walkers);
        let spent = std::mem::take(&mut self.since);
        let mut row = vec![("step", k as f64), ("t", t)];
        let mut numbers: Vec<Tensor> = spent.acceptance.into_iter().collect();
        let known = numbers.len();
        if self.of.weighted {
            numbers.push(walkers.with_weight(&walkers.point.u).to_kind(Kind::Double).dot(&walkers.weights()));
        }
        let read = fetch(&numbers);
        let acceptance = read[..known].first().copied();
        self.since.acceptance = acceptance.map(Tensor::from);
        if self.of.weighted {
            let z = walkers.log_z();
            row.extend([
                ("energy_walkers", read[known]),
                ("log_z", z.value),
                ("log_z_se", z.se),
                ("ess", walkers.ess()),
            ]);
        }
        row.extend([
            ("resampled", spent.resampled as f64),
            ("acceptance", acceptance.unwrap_or(f64::NAN)),
            ("forward", spent.cost.forward as f64),
            ("backward", spent.cost.backward as f64),
            ("drift", spent.cost.drift as f64),
            ("jacobian", spent.cost.jacobian as f64),
            ("seconds", self.seconds()),
        ]);
        let own = watch(&Passage { step: k, t, walkers });
        self.recorder.push(row.into_iter().map(|(n, v)| (n.to_string(), v)).chain(own));
        Ok(())
    }

    fn speak(&mut self, k: usize) {
        let (t, walkers, weighted) = (self.grid.at(k), &self.walkers, self.of.weighted);
        self.progress.at(k, || match weighted {
            true => format!("t {t:.3}  ESS {:.3}", walkers.ess()),
            false => format!("t {t:.3}"),
        });
    }

    /// Seconds of this call and of those that it continues.
    fn seconds(&self) -> f64 {
        self.keeper.as_ref().map_or_else(|| self.started.elapsed().as_secs_f64(), Keeper::seconds)
    }

    pub fn finish(mut self, mut outcome: Outcome) -> Result<Run> {
        let seconds = self.seconds();
        if let Some(keeper) = self.keeper.take() {
            outcome = keeper.close(self.grid.steps(), &self.recorder, outcome);
        }
        let words = match &outcome {
            Outcome::Diverged { step, cause } | Outcome::Paused { step, cause } if self.progress.has_spoken() => {
                Some(format!("stopped at step {step}: {cause}"))
            }
            _ => None,
        };
        self.progress.end(words.as_deref());
        Ok(Run {
            stats: self.recorder.stats()?,
            walkers: self.walkers,
            monitor: None,
            weighted: self.of.weighted,
            label: self.label.into(),
            config: self.of.config(&self.grid),
            seed: self.of.seed,
            outcome,
            seconds,
        })
    }
}

/// Walkers at t = 0, after asking path and kernel for what they will need.
fn place<K, P: Path>(of: &Transport<K>, path: &P, grid: &Grid, rng: &mut Rng) -> Result<Walkers>
where
    K: for<'a> Kernel<At<'a, P>>,
{
    let (first, _) = At::step(path, 0.0, grid.at(1));
    let walkers = match of.weighted {
        true => {
            path.weighable()?;
            let walkers = guard(|| Walkers::start_from(path.base(), &first, of.walkers, false, rng))?;
            let few = walkers.x().narrow(0, 0, (of.walkers as i64).min(64));
            let last = guard(|| Ok(crate::no_grad(|| path.energy(1.0, &few)).to_kind(Kind::Double)))?;
            // Infinite at some points is a wall, infinite at all of them or NaN a path that does not arrive.
            if last.isnan().any().int64_value(&[]) != 0 || last.isfinite().any().int64_value(&[]) == 0 {
                return Err(Error::NonFinite { what: "energy", place: "at the path's end, t = 1".into() });
            }
            walkers
        }
        false => guard(|| {
            let x = path.base().sample(of.walkers, rng);
            Ok(Walkers::new(path.evaluate(0.0, &x), f64::NAN))
        })?,
    };
    check_shapes(&walkers.point, of.walkers)?;
    of.kernel.check(&first, &walkers.point)?;
    Ok(walkers)
}
