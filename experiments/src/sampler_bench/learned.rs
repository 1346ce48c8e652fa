//! Compare annealing with the path's drift learned and without, at a fixed number of steps, in both directions.

use super::{Annealing, SamplerBench};
use jarzynski::density::Retimed;
use jarzynski::io::frame::{Cell, Rows};
use jarzynski::kernel::{Escorted, FlowKernel, Kernel, Mala, Reversed};
use jarzynski::model::{DriftShape, WithDrift};
use jarzynski::train::{DriftSettings, DriftTrainer};
use jarzynski::transport::{Bracket, Pilot, ReverseStart, Transport};
use jarzynski::{At, Error, Noise, Path, Result, Rng};
use std::time::Instant;

/// The methods of the table `drifts`.
pub(super) const DRIFTS: [&str; 4] = ["plain", "adapted", "residual", "variance"];

pub(super) const COLUMNS: [&str; 19] = [
    "target",
    "method",
    "kernel",
    "steps",
    "training_evaluations",
    "training_jacobians",
    "training_seconds",
    "evaluations",
    "jacobians",
    "seed",
    "log_z",
    "se",
    "exact",
    "ess",
    "ess_by_draws",
    "elbo",
    "eubo",
    "coverage_modes",
    "seconds",
];

/// Steps of a run.
const STEPS: usize = 128;
/// Steps of the training's transports.
const GRID: usize = 64;
/// Conditional ESS and acceptance of the pilot, whose times the path is retimed by.
const PILOTED: [f64; 2] = [0.9, 0.6];
/// Share of the pilot's step that escorted walkers take.
const ESCORTED: f64 = 0.1;

/// What a training cost: rows through U, Jacobians, seconds.
type Trained = (f64, f64, f64);

impl SamplerBench {
    /// Rows of `drifts` for one target: uniform steps in t, times and steps of a pilot, drifts learned by the residual and by the
    /// variance.
    pub(super) fn learned(&self, name: &str, annealing: &Annealing, rows: &mut Rows) -> Result<()> {
        for seed in (self.seed..).take(self.drift_seeds) {
            let own = name.bytes().fold(Rng::new(seed).split(0x6472), |rng, b| rng.split(u64::from(b))).seed();
            let [share, acceptance] = PILOTED;
            let pilot = Pilot::new(4 * self.pilot, own).share(share).acceptance(acceptance);
            let found = pilot.run(Reversed::new(Mala::new(0.1)), annealing)?;
            let piloted = found.cost.forward as f64;
            let moves = found.kernel.clone();
            for method in DRIFTS {
                let clock = Instant::now();
                let cell = (name, method, own, seed);
                match method {
                    "plain" => {
                        let transport = self.fixed(moves.clone(), own);
                        self.both_ways(cell, "mala", (&transport, annealing, annealing), (piloted, 0.0, 0.0), rows)?;
                    }
                    "adapted" => {
                        let times = found.clone().in_steps(STEPS)?.times;
                        let transport = self.fixed(moves.clone(), own).times(&times);
                        self.both_ways(cell, "mala", (&transport, annealing, annealing), (piloted, 0.0, 0.0), rows)?;
                    }
                    _ => {
                        let path = Retimed::new(annealing, &found.times)?;
                        // the Langevin step of a kernel with noise ε is hε
                        let noise = |steps: usize, path: &Retimed<&Annealing>| {
                            let knot = |j: usize| {
                                let s = j as f64 / 32.0;
                                [s, moves.at(path.time(s).0) * steps as f64]
                            };
                            Noise::Knots((0..=32).map(knot).collect())
                        };
                        let (train, test) = (noise(GRID, &path), noise(STEPS, &path));
                        let mut flow = WithDrift::new(path, &DriftShape { seed: own, ..Default::default() })?;
                        let settings = self.training(own);
                        let (run, kernel) = match method {
                            "residual" => {
                                let walk = FlowKernel::named("euler-mala", train)?;
                                let settings = DriftSettings { times: 32, batch: 32, ..settings };
                                let run = DriftTrainer::residual(walk).settings(settings).train(&mut flow)?;
                                (run, FlowKernel::named("euler-mala", test)?)
                            }
                            _ => {
                                let walk = Escorted::new(train.scaled(ESCORTED));
                                let settings = DriftSettings { walkers: self.drift_walkers / 2, ..settings };
                                let run = DriftTrainer::variance(walk)?.settings(settings).train(&mut flow)?;
                                (run, FlowKernel::named("escorted", test.scaled(ESCORTED))?)
                            }
                        };
                        let sum = |c: &str| Ok::<_, Error>(run.column(c)?.iter().sum::<f64>());
                        let spent = (piloted + sum("forward")?, sum("jacobian")?, clock.elapsed().as_secs_f64());
                        let label = kernel.name();
                        let transport = self.fixed(kernel, own);
                        self.both_ways(cell, label, (&transport, &flow, annealing), spent, rows)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn training(&self, seed: u64) -> DriftSettings {
        DriftSettings {
            steps: self.drift_updates,
            grid: GRID,
            walkers: self.drift_walkers,
            lr: 3e-3,
            every: self.drift_updates.div_ceil(10).max(1),
            progress: 0.0,
            seed,
            ..Default::default()
        }
    }

    fn fixed<K>(&self, kernel: K, seed: u64) -> Transport<K> {
        Transport::new(kernel, STEPS, self.walkers, Rng::new(seed).split(1).seed()).quiet()
    }

    /// One run, and the bracket by as many exact draws; NaN where a run is lost.
    fn both_ways<P: Path, K>(
        &self,
        (name, method, own, seed): (&str, &str, u64, u64),
        kernel: &str,
        (transport, path, annealing): (&Transport<K>, &P, &Annealing),
        (evaluations, jacobians, seconds): Trained,
        rows: &mut Rows,
    ) -> Result<()>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        let clock = Instant::now();
        let run = transport.run(path)?;
        let took = clock.elapsed().as_secs_f64();
        let target = &annealing.target;
        let draws = target.known().sample(self.walkers, &mut Rng::new(own).split(2));
        let bracket: Option<Bracket> = match transport.bracket(path, &ReverseStart::exact(&draws)) {
            Ok(bracket) if run.finished() => Some(bracket),
            Ok(_) | Err(Error::NonFinite { .. }) => None,
            Err(e) => return Err(e),
        };
        let of = |f: &dyn Fn(&Bracket) -> f64| bracket.as_ref().map_or(f64::NAN, f);
        let z = run.walkers.log_z();
        let known = |v: f64| if run.finished() { v } else { f64::NAN };
        let sum = |c: &str| Ok::<_, Error>(run.column(c)?.iter().sum::<f64>());
        let mut row = [name, method, kernel].map(Cell::from).to_vec();
        row.push(STEPS.into());
        row.extend([evaluations, jacobians, seconds, sum("forward")?, sum("jacobian")?].map(Cell::from));
        row.push(seed.into());
        let numbers = [
            known(z.value),
            known(z.se),
            target.known().log_z(),
            known(run.walkers.ess()),
            of(&|b| b.ess_by_draws()),
            of(&|b| b.elbo().value),
            of(&|b| b.eubo().value),
            known(target.coverage(run.walkers.x(), &run.walkers.weights())?),
            took,
        ];
        row.extend(numbers.map(Cell::from));
        rows.push(row);
        Ok(())
    }
}
