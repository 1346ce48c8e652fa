//! Compare kernels on densities whose log Z is known: the error of log Ẑ at equal numbers of evaluations, the pilot's included.

mod learned;
mod show;
mod target;

use crate::{Context, Experiment, Output};
use jarzynski::density::WithMomenta;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::{
    Barker, Hmc, Jumps, Kernel, Mala, RandomWalk, Reversed, Scales, StepSize, Stepped, Ula, Underdamped,
};
use jarzynski::model::Gaussian;
use jarzynski::run::Run;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::transport::{Pilot, Piloted, Transport};
use jarzynski::walkers::Estimate;
use jarzynski::{At, Error, Geometric, Path, Result, Rng};
use serde::{Deserialize, Serialize};
use std::time::Instant;
use target::{TARGETS, Target};

/// Targets from a Gaussian start N(0, σ² I) along U_t = (1 − t)U_base + tU, with times and steps from a pilot run of its own seed and
/// walkers, resampled below ESS/N = ½: 25 and 40 modes in the plane (σ = 8, 25), the funnel in 10 dimensions (3), a banana (10), the
/// many-wells MW-54 (2) and of 32 dimensions (1.5).
///
/// "scales" is HMC with twelve leapfrog steps and four step sizes in turn, 1 to .03 of the one that the pilot adapts; "jumps" is Barker's proposal followed by jumps
/// along single coordinates.
///
/// Table `errors`: `target, package, method, evaluations, seed, log_z, se, exact, ess, pareto_k, log_z_upper, log_z_upper_se,
/// coverage_modes, seconds`: evaluations of U, with its gradient or without, over all walkers of run and pilot; the lowest ESS/N and the
/// largest k̂ of the run; the upper end of the bracket by as many walkers, which go the same way back from exact draws of the target,
/// without resampling, and do not count as evaluations; the share of modes to which the weighted walkers give at least half of their
/// exact mass (NaN where there is one mode). Table `calibration`: `target, method, runs, known, covered, undoubted,
/// covered_undoubted`, how often the 95 % interval of log Ẑ holds the exact one, over all budgets, of the runs with an error bar, and of
/// those with k̂ below .7 whose log Ẑ is not below the upper end by more than three standard errors.
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

const METHODS: [&str; 8] = ["ula", "mala", "hmc", "underdamped", "barker", "random walk", "scales", "jumps"];
const COLUMNS: [&str; 14] = [
    "target",
    "package",
    "method",
    "evaluations",
    "seed",
    "log_z",
    "se",
    "exact",
    "ess",
    "pareto_k",
    "log_z_upper",
    "log_z_upper_se",
    "coverage_modes",
    "seconds",
];
/// Factors of the step in "scales", which has that many trajectories a move.
const FACTORS: [f64; 4] = [1.0, 0.3, 0.1, 0.03];
/// Leapfrog steps of a trajectory in "scales".
const LONG: usize = 12;
/// Jumps after each of Barker's moves: in the plane, and along single coordinates of more dimensions.
const JUMPS: [usize; 2] = [1, 10];
/// Powers of ten that they span: the modes of the plane have several distances, the wells one.
const DECADES: [f64; 2] = [0.5, 0.1];
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

type Annealing = Geometric<Gaussian, Target>;

/// What one run gave.
struct Found {
    evaluations: u64,
    log_z: Estimate,
    ess: f64,
    pareto_k: f64,
    upper: Estimate,
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
        let d = annealing.target.dim();
        let x = run.walkers.x().narrow(1, 0, d);
        let mut rng = Rng::new(seed).split(0x0b_ac);
        let mut draws = annealing.target.known().sample(self.walkers, &mut rng);
        if run.walkers.x().size()[1] > d {
            draws = Tensor::cat(&[&draws, &rng.normal(&draws.size(), Kind::Double, Device::Cpu)], 1);
        }
        let back = transport.ess_min(0.0).reverse(path, &draws)?.walkers.log_z();
        Ok(Found {
            evaluations: spent + run.column("forward")?.iter().sum::<f64>() as u64,
            log_z: run.walkers.log_z(),
            ess: lowest,
            pareto_k: run.walkers.worst_pareto_k(),
            upper: Estimate::new(path.base().log_z() - back.value, back.se),
            coverage: annealing.target.coverage(&x, &run.walkers.weights())?,
        })
    }

    /// Kernels that do not reject have the knots of a pilot of the one that does, with a step that [`lowered`] makes for K.
    fn measure(&self, method: &str, (annealing, jump): (&Annealing, f64), budget: usize, seed: u64) -> Result<Found> {
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
            "scales" => {
                let kernel = Scales::new(Hmc::new(0.5, LONG), &FACTORS);
                let found = self.pilot(Reversed::new(kernel), 0.6, annealing, seed)?;
                self.run((fixed(&found), 1 + FACTORS.len() * LONG), found, plain, at)
            }
            "jumps" => {
                let wells = usize::from(annealing.target.dim() > 2);
                let (jumps, decades) = (JUMPS[wells], DECADES[wells]);
                let far = Scales::new(Jumps::new(jump, decades).coordinates(1), &vec![1.0; jumps]);
                let found = self.pilot(Reversed::new((Barker::new(1.0), far)), 0.57, annealing, seed)?;
                self.run((fixed(&found), 2 + jumps), found, plain, at)
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
            let (target, sigma, jump) = Target::named(name)?;
            let d = target.dim();
            let base = Gaussian::isotropic(d, sigma, Kind::Double, Device::Cpu)?;
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
                        let found = self.measure(method, (&annealing, jump), budget, own)?;
                        let Found { evaluations, log_z, ess, pareto_k, upper, coverage } = found;
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
                            pareto_k,
                            upper.value,
                            upper.se,
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
