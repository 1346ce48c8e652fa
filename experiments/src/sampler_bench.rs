//! Compare kernels on densities whose log Z is known: the error of log Ẑ at equal numbers of evaluations, the pilot's included.

mod learned;

use crate::evaluate::signed_with_error;
use crate::{Context, Experiment, Output};
use jarzynski::density::WithMomenta;
use jarzynski::io::frame::{self, Rows};
use jarzynski::kernel::{Barker, Hmc, Kernel, Mala, RandomWalk, Reversed, StepSize, Stepped, Ula, Underdamped};
use jarzynski::model::targets::{Banana, DoubleWell, Funnel, ManyWell, modes_25, modes_40};
use jarzynski::model::{Gaussian, Mixture};
use jarzynski::polars::prelude::DataFrame;
use jarzynski::run::Run;
use jarzynski::tch::{Kind, Tensor};
use jarzynski::transport::{Pilot, Piloted, Transport};
use jarzynski::walkers::Estimate;
use jarzynski::{At, Base, Differentiable, Energy, Error, Evaluation, Geometric, Path, Result, Rng};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Targets from a Gaussian start N(0, σ² I) along U_t = (1 − t)U_base + tU, with times and steps from a pilot run of its own seed and
/// walkers, resampled below ESS/N = ½: 25 and 40 modes in the plane (σ = 8, 25), the funnel in 10 dimensions (3), a banana (10), the
/// many-wells MW-54 (2) and of 32 dimensions (1.5).
///
/// Table `errors`: `target, package, method, evaluations, seed, log_z, se, exact, ess, coverage_modes, seconds`: evaluations of U,
/// with its gradient or without, over all walkers of run and pilot; the lowest ESS/N of the run; the share of modes to which the
/// weighted walkers give at least half of their exact mass (NaN where there is one mode). Table `calibration`: `target, method, runs,
/// known, covered`, how often the 95 % interval of log Ẑ holds the exact one, over all budgets, of the runs with an error bar.
///
/// Table `drifts`, where `drift_updates` is above 0: 128 steps without resampling, from a pilot's steps with times uniform in t
/// (plain) or its own (adapted), and by drifts learned for the retimed path, by the continuity residual (then a split step with MALA) or by
/// the variance of the weights (then escorted). `training_evaluations` and `training_jacobians` are rows through U and through J_b of
/// pilot and training, `evaluations` and `jacobians` those of the run; ess is the run's, ess_by_draws, elbo and eubo are those of the
/// bracket by as many exact draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerBench {
    /// Targets by name.
    pub targets: Vec<String>,
    /// Methods by name.
    pub methods: Vec<String>,
    /// Evaluations per walker of the run, rising; the pilot's are taken off.
    pub budgets: Vec<usize>,
    /// Walkers of a run.
    pub walkers: usize,
    /// Walkers of a pilot.
    pub pilot: usize,
    /// Leapfrog steps of HMC.
    pub leapfrogs: usize,
    /// Friction of underdamped Langevin.
    pub friction: f64,
    /// Updates of learned drifts; 0 for none, and no table `drifts`.
    pub drift_updates: usize,
    /// Walkers of their trainings.
    pub drift_walkers: usize,
    /// Number of seeds of the table `drifts`.
    pub drift_seeds: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

const TARGETS: [&str; 6] = ["modes-25", "modes-40", "funnel-10", "banana", "many-well-54", "many-well-32"];
const METHODS: [&str; 6] = ["ula", "mala", "hmc", "underdamped", "barker", "random walk"];
const COLUMNS: [&str; 11] =
    ["target", "package", "method", "evaluations", "seed", "log_z", "se", "exact", "ess", "coverage_modes", "seconds"];
/// Conditional ESS of the pilots: few times, which the run then refines.
const SHARE: f64 = 0.5;

impl Default for SamplerBench {
    fn default() -> Self {
        SamplerBench {
            targets: TARGETS.map(String::from).to_vec(),
            methods: METHODS.map(String::from).to_vec(),
            budgets: vec![100, 400, 1_600],
            walkers: 500,
            pilot: 50,
            leapfrogs: 4,
            friction: 1.0,
            drift_updates: 0,
            drift_walkers: 256,
            drift_seeds: 1,
            seed: 0,
            seeds: 4,
        }
    }
}

/// A density with what is known of it.
#[derive(Debug)]
enum Target {
    Modes(Mixture),
    Funnel(Funnel),
    Banana(Banana),
    Wells(ManyWell),
}

impl Target {
    /// The target and the standard deviation of its start.
    fn named(name: &str) -> Result<(Self, f64)> {
        Ok(match name {
            "modes-25" => (Target::Modes(modes_25()?), 8.0),
            "modes-40" => (Target::Modes(modes_40(2)?), 25.0),
            "funnel-10" => (Target::Funnel(Funnel::new(10)?), 3.0),
            "banana" => (Target::Banana(Banana::new(2, 10.0, 0.03)?), 10.0),
            "many-well-54" => (Target::Wells(ManyWell::separated(5, 4.0)?), 2.0),
            "many-well-32" => (Target::Wells(ManyWell::pairs(32)?), 1.5),
            _ => return Err(Error::param("targets", name, format!("some of {}", TARGETS.join(", ")))),
        })
    }

    fn known(&self) -> &dyn Base {
        match self {
            Target::Modes(u) => u,
            Target::Funnel(u) => u,
            Target::Banana(u) => u,
            Target::Wells(u) => u,
        }
    }

    fn dim(&self) -> i64 {
        match self {
            Target::Modes(u) => u.means().size()[1],
            Target::Funnel(u) => u.dim(),
            Target::Banana(u) => u.dim(),
            Target::Wells(u) => u.dim(),
        }
    }

    /// The share of modes with at least half of their exact mass under weights w at x; of the modes of each well, since all are more
    /// than walkers.
    fn coverage(&self, x: &Tensor, w: &Tensor) -> Result<f64> {
        match self {
            Target::Modes(u) => {
                let found = u.responsibilities(x)?.to_kind(Kind::Double).tr().mv(w);
                let held = found.ge_tensor(&(u.masses() * 0.5));
                Ok(held.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]))
            }
            Target::Wells(u) => {
                let right = x.gt(0.0).to_kind(Kind::Double).tr().mv(w);
                let (mass, wells) = (mass_right(u.well()), u.wells());
                let half =
                    |found: Tensor, exact: f64| found.ge(0.5 * exact).masked_select(&wells).to_kind(Kind::Double);
                let both = Tensor::cat(&[half(right.shallow_clone(), mass), half(1.0 - right, 1.0 - mass)], 0);
                Ok(both.mean(Kind::Double).double_value(&[]))
            }
            Target::Funnel(_) | Target::Banana(_) => Ok(f64::NAN),
        }
    }
}

/// The probability of x > 0 under e^{−u}.
fn mass_right(well: &DoubleWell) -> f64 {
    let simpson = |a, b| jarzynski::numeric::fit::simpson(|x| (-well.energy(x)).exp(), a, b, 20_000);
    let (left, right) = (simpson(-8.0, 0.0), simpson(0.0, 8.0));
    right / (left + right)
}

impl Differentiable for Target {}

impl Energy for Target {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.known().energy(x)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.known().evaluate(x)
    }
}

type Annealing = Geometric<Gaussian, Target>;

/// What one run gave.
struct Found {
    evaluations: u64,
    log_z: Estimate,
    ess: f64,
    coverage: f64,
}

/// The kernel as the pilot left it, for any K.
fn fixed<K: Clone>(found: &Piloted<K>) -> impl Fn(usize) -> Stepped<K> + use<K> {
    let kernel = found.kernel.clone();
    move |_| kernel.clone()
}

/// The acceptance at which kernels that do not reject are piloted, and the standard deviation of one increment there: for a normal
/// one, 1 − acceptance = 2Φ(σ/2) − 1.
const PILOTED: f64 = 0.9;
const DEVIATION: f64 = 0.251;
/// The variance that all increments of a run may have together.
const VARIANCE: f64 = 0.3;

/// Knots of steps at which K increments have the variance `VARIANCE` in all, where one is of this order in the step.
fn lowered(knots: &[[f64; 2]], k: usize, order: f64) -> Vec<[f64; 2]> {
    let factor = ((VARIANCE / k as f64).sqrt() / DEVIATION).min(1.0).powf(1.0 / order);
    knots.iter().map(|[t, step]| [*t, step * factor]).collect()
}

impl SamplerBench {
    fn validate(&self) -> Result<()> {
        let budget = self.budgets.iter().copied().min().unwrap_or(0);
        for (name, n, least) in [
            ("budgets", budget, 1),
            ("walkers", self.walkers, 2),
            ("pilot", self.pilot, 2),
            ("leapfrogs", self.leapfrogs, 1),
            ("seeds", self.seeds, 1),
            ("drift_walkers", self.drift_walkers, 4),
        ] {
            if n < least {
                return Err(Error::param(name, n, format!("at least {least}")));
            }
        }
        if let Some(bad) = self.methods.iter().find(|m| !METHODS.contains(&m.as_str())) {
            return Err(Error::param("methods", bad, format!("some of {}", METHODS.join(", "))));
        }
        self.targets.iter().try_for_each(|name| Target::named(name).map(|_| ()))
    }

    /// A pilot with this kernel, adapted to this acceptance.
    fn pilot<K>(&self, kernel: K, acceptance: f64, path: &Annealing, seed: u64) -> Result<Piloted<K>>
    where
        K: for<'a> Kernel<At<'a, Annealing>> + StepSize,
    {
        Pilot::new(self.pilot, seed).share(SHARE).acceptance(acceptance).run(kernel, path)
    }

    /// The run that the evaluations left by the pilot pay for, each step costing `each`: K steps along the pilot's times with the
    /// kernel that `kernel` makes for K.
    fn run<P: Path, K, F>(
        &self,
        (kernel, each): (impl Fn(usize) -> Stepped<K>, usize),
        found: Piloted<F>,
        (path, annealing): (&P, &Annealing),
        (budget, seed): (usize, u64),
    ) -> Result<Found>
    where
        K: for<'a> Kernel<At<'a, P>> + StepSize + Clone,
    {
        let spent = found.cost.forward;
        let left = (budget * self.walkers) as u64;
        let steps = (left.saturating_sub(spent) / (self.walkers * each) as u64).max(1) as usize;
        let times = found.in_steps(steps)?.times;
        let transport = Transport::new(kernel(steps), steps, self.walkers, seed).times(&times).ess_min(0.5).quiet();
        let run: Run = transport.run(path)?;
        let lowest = run.column("ess")?.into_iter().fold(f64::INFINITY, f64::min);
        let x = run.walkers.x().narrow(1, 0, annealing.target.dim());
        Ok(Found {
            evaluations: spent + run.column("forward")?.iter().sum::<f64>() as u64,
            log_z: run.walkers.log_z(),
            ess: lowest,
            coverage: annealing.target.coverage(&x, &run.walkers.weights())?,
        })
    }

    /// Kernels that do not reject have the knots of a pilot of the one that does, with a step that [`lowered`] makes for K.
    fn measure(&self, method: &str, annealing: &Annealing, budget: usize, seed: u64) -> Result<Found> {
        let at = (budget, seed);
        let plain = (annealing, annealing);
        match method {
            "ula" => {
                let found = self.pilot(Reversed::new(Mala::new(0.1)), PILOTED, annealing, seed)?;
                let knots = found.kernel.knots.clone();
                self.run((|k| Stepped::new(Ula::new(1.0), &lowered(&knots, k, 1.5)), 1), found, plain, at)
            }
            "mala" => {
                let found = self.pilot(Reversed::new(Mala::new(0.1)), 0.7, annealing, seed)?;
                self.run((fixed(&found), 2), found, plain, at)
            }
            "hmc" => {
                let found = self.pilot(Reversed::new(Hmc::new(0.5, self.leapfrogs)), 0.8, annealing, seed)?;
                self.run((fixed(&found), 1 + self.leapfrogs), found, plain, at)
            }
            "underdamped" => {
                let found = self.pilot(Reversed::new(Hmc::new(0.5, 1)), PILOTED, annealing, seed)?;
                let knots = found.kernel.knots.clone();
                let kernel = |k| Stepped::new(Underdamped::new(1.0, self.friction), &lowered(&knots, k, 3.0));
                self.run((kernel, 1), found, (&WithMomenta::new(annealing), annealing), at)
            }
            "barker" => {
                let found = self.pilot(Reversed::new(Barker::new(1.0)), 0.57, annealing, seed)?;
                self.run((fixed(&found), 2), found, plain, at)
            }
            _ => {
                let found = self.pilot(Reversed::new(RandomWalk::new(1.0)), 0.3, annealing, seed)?;
                self.run((fixed(&found), 2), found, plain, at)
            }
        }
    }
}

impl Experiment for SamplerBench {
    const NAME: &'static str = "sampler-bench";
    const ABOUT: &'static str =
        "the error of log Z by kernel at equal numbers of evaluations, on densities whose log Z is known";
    const SMALL: &'static str =
        "budgets = [30, 60]\nwalkers = 50\npilot = 10\nseeds = 1\ndrift_updates = 3\ndrift_walkers = 16";
    const ON_REQUEST: bool = true;

    fn full() -> Self {
        SamplerBench {
            budgets: vec![100, 400, 1_600, 6_400],
            walkers: 2_000,
            pilot: 200,
            seeds: 10,
            drift_updates: 1_000,
            drift_walkers: 512,
            drift_seeds: 3,
            ..Default::default()
        }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, _context: &Context) -> Result<Output> {
        self.validate()?;
        let mut rows = Rows::new(&COLUMNS);
        let mut drifts = Rows::new(&learned::COLUMNS);
        for name in &self.targets {
            let (target, sigma) = Target::named(name)?;
            let d = target.dim();
            let base = Gaussian::isotropic(d, sigma, Kind::Double, jarzynski::tch::Device::Cpu)?;
            let annealing = Geometric { base, target };
            let exact = annealing.target.known().log_z();
            if self.drift_updates > 0 {
                self.learned(name, &annealing, &mut drifts)?;
            }
            for method in &self.methods {
                for &budget in &self.budgets {
                    for seed in (self.seed..).take(self.seeds) {
                        // a stream of its own for each cell: equal seeds would tie the errors of budgets and methods together
                        let label = format!("{name} {method} {budget} {seed}");
                        let own = label.bytes().fold(Rng::new(seed), |rng, b| rng.split(u64::from(b))).seed();
                        let clock = Instant::now();
                        let found = self.measure(method, &annealing, budget, own)?;
                        let Found { evaluations, log_z, ess, coverage } = found;
                        let seconds = clock.elapsed().as_secs_f64();
                        rows.push((
                            name.as_str(),
                            "jarzynski",
                            method.as_str(),
                            evaluations,
                            seed,
                            log_z.value,
                            log_z.se,
                            exact,
                            ess,
                            coverage,
                            seconds,
                        ));
                    }
                }
            }
        }
        let errors = rows.finish()?;
        let calibration = self.calibration(&errors)?;
        let mut out = Output::default();
        self.say(&errors, &mut out)?;
        #[cfg(feature = "plot")]
        out.figure("sampler-bench", self.figure(&errors)?);
        out.table("errors", errors).table("calibration", calibration);
        if self.drift_updates > 0 {
            out.table("drifts", drifts.finish()?);
        }
        Ok(out)
    }
}

/// Rows of one target and method.
fn of(errors: &DataFrame, target: &str, method: &str) -> Result<DataFrame> {
    frame::filter(&frame::filter(errors, "target", target)?, "method", method)
}

fn root_mean_square(v: &[f64]) -> f64 {
    (v.iter().map(|x| x * x).sum::<f64>() / v.len() as f64).sqrt()
}

fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len() as f64
}

impl SamplerBench {
    /// log Ẑ − log Z, evaluations and the other columns of the runs of one budget, in the order of `budgets`.
    fn by_budget(&self, own: &DataFrame, column: &str) -> Result<Vec<Vec<f64>>> {
        let read = |c: &str| frame::column_f64(own, c);
        let v = match column {
            "error" => read("log_z")?.iter().zip(read("exact")?).map(|(z, e)| z - e).collect(),
            column => read(column)?,
        };
        Ok(v.chunks(self.seeds).map(<[f64]>::to_vec).collect())
    }

    fn calibration(&self, errors: &DataFrame) -> Result<DataFrame> {
        let mut rows = Rows::new(&["target", "method", "runs", "known", "covered"]);
        for (target, method) in self.targets.iter().flat_map(|t| self.methods.iter().map(move |m| (t, m))) {
            let own = of(errors, target, method)?;
            let read = |c: &str| frame::column_f64(&own, c);
            let (z, se, exact) = (read("log_z")?, read("se")?, read("exact")?);
            let known: Vec<usize> = (0..z.len()).filter(|i| se[*i].is_finite()).collect();
            let covered = known.iter().filter(|i| (z[**i] - exact[**i]).abs() < 1.96 * se[**i]).count();
            rows.push((target.as_str(), method.as_str(), z.len(), known.len(), covered));
        }
        rows.finish()
    }

    fn say(&self, errors: &DataFrame, out: &mut Output) -> Result<()> {
        for (target, method) in self.targets.iter().flat_map(|t| self.methods.iter().map(move |m| (t, m))) {
            let own = of(errors, target, method)?;
            let last = |c: &str| Ok::<_, Error>(self.by_budget(&own, c)?.pop().unwrap_or_default());
            let (error, ess, modes, seconds) =
                (last("error")?, last("ess")?, last("coverage_modes")?, last("seconds")?);
            let (_, se) = frame::mean_se(&error);
            out.note(format!(
                "{target:<12} {method:<11} log Z off by {}, RMS {:.3}, lowest ESS {:.2}, modes {:.2}, {:.2} s",
                signed_with_error(mean(&error), se, 3),
                root_mean_square(&error),
                mean(&ess),
                mean(&modes),
                mean(&seconds)
            ));
        }
        Ok(())
    }

    #[cfg(feature = "plot")]
    fn figure(&self, errors: &DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let mut figure = Figure::new(1500, 900).columns(3).title("log Z at equal numbers of evaluations");
        for target in &self.targets {
            let mut panel =
                Panel::new(target).x("evaluations, those of the pilot included").y("RMS error of log Ẑ / nats");
            panel = panel.log_x().log_y();
            for method in &self.methods {
                let own = of(errors, target, method)?;
                let spent: Vec<f64> = self.by_budget(&own, "evaluations")?.iter().map(|v| mean(v)).collect();
                let error: Vec<f64> = self.by_budget(&own, "error")?.iter().map(|v| root_mean_square(v)).collect();
                panel = panel.line(method, &spent, &error).points(method, &spent, &error);
            }
            figure = figure.panel(panel);
        }
        Ok(figure)
    }
}
