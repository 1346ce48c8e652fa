//! Train an RBM on binarised MNIST by CD, PCD and Jarzynski: test likelihood at equal updates, equal sweeps, equal seconds.

mod evaluate;
mod recipe;
mod show;

use crate::evaluate::stack;
use crate::{Context, Experiment, Output};
use evaluate::Evaluator;
use jarzynski::data;
use jarzynski::data::{Binarisation, Dataset, Split};
use jarzynski::density::RowNumbers;
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::Gibbs;
use jarzynski::model::{Rbm, RbmShape, Units};
use jarzynski::run::Run;
use jarzynski::run::memory::{Memory, Sizes};
use jarzynski::tch::Kind;
use jarzynski::train::{DataNoise, Method, Settings, Trainer};
use jarzynski::{Error, Result};
use recipe::Recipe;
use serde::{Deserialize, Serialize};

/// 784×128 by default (`--hidden 500` for the larger one); the data are all digits, an unbalanced part of them, or offline
/// the 8×8 digits.
///
/// Every method runs at its own rate of plain gradient descent, the best of a search that `--search "[0.02, 0.05]"` repeats.
/// Every model is evaluated afterwards by annealed importance sampling of its own, which is not in `seconds`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RbmMnist {
    /// `all`; `01`: digits 0 and 1 at 9 : 1; `236`: digits 2, 3 and 6 at 4 : 2 : 1; `digits`: the 8×8 ones, offline.
    pub data: String,
    /// How pixels become zeros and ones: `T`, 1 above the middle of the range; `S`, sampled anew at every visit; `F`, sampled once
    /// with a fixed seed. Likelihoods under different ones do not compare; every table names it.
    pub binarisation: String,
    /// Hidden units.
    pub hidden: usize,
    /// `jarzynski`: natural gradients with steps limited by the ESS; `pcd-natural`: the same without weights; `ptt`: the same
    /// with walkers that swap along the trajectory; `pcd-k`, `cd-k`:
    /// plain gradients, k sweeps per update; `jarzynski-sgd`: plain gradients under the limit; `jarzynski-substeps`: whole plain
    /// steps in substeps of that ESS.
    pub methods: Vec<String>,
    /// Learning rate of each method at the first update; for natural gradients an upper bound, those of plain ones are the best
    /// of .05, .1, .2 and .4.
    pub rates: Vec<f64>,
    /// Updates of each method in multiples of `steps`: an update of plain PCD costs less than half of one with natural gradients.
    pub multiples: Vec<f64>,
    /// What the rate, and the length of a step that the ESS limit allows, are multiplied by at the last update; linear between.
    pub end: f64,
    /// Damping of natural gradients.
    pub damping: f64,
    /// Their momentum, without weights. With them it gains in short trainings and loses in long ones.
    pub momentum: f64,
    /// Walkers N; the monitor has as many.
    pub walkers: usize,
    /// Gradients of the centred parametrisation.
    pub centred: bool,
    /// Images per update.
    pub batch: usize,
    /// Updates.
    pub steps: usize,
    /// Least conditional ESS of an update, or of a substep.
    pub ess: f64,
    /// Most substeps of an update.
    pub substeps: usize,
    /// Resample below this ESS/N.
    pub ess_min: f64,
    /// Steps between recorded rows.
    pub every: usize,
    /// How many models along a training are evaluated, at geometric intervals.
    pub checkpoints: usize,
    /// Temperatures of annealed importance sampling, up and down.
    pub ais_steps: usize,
    /// Its walkers.
    pub ais_walkers: usize,
    /// Chains of the tempering from which the reverse run starts: few and long ones make more round trips.
    pub chains: usize,
    /// Rounds of that tempering.
    pub rounds: usize,
    /// Whether log Z is bracketed at every checkpoint, or only at the last: the others have AIS alone.
    pub brackets: bool,
    /// Training steps of the classifier that names samples.
    pub classifier_steps: usize,
    /// Learning rates to try for every method, one seed each; empty: no search.
    pub search: Vec<f64>,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for RbmMnist {
    fn default() -> Self {
        let methods = ["jarzynski", "pcd-natural", "pcd-1", "pcd-10", "cd-1"];
        RbmMnist {
            data: "all".into(),
            binarisation: "T".into(),
            hidden: 128,
            methods: methods.map(String::from).to_vec(),
            rates: vec![1.0, 1.0, 0.2, 0.1, 0.4],
            multiples: vec![1.0, 1.2, 2.5, 0.8, 2.5],
            end: 0.1,
            damping: 0.02,
            momentum: 0.5,
            walkers: 1_000,
            centred: true,
            batch: 1_000,
            steps: 500,
            ess: 0.8,
            substeps: 10,
            ess_min: 0.5,
            every: 5,
            checkpoints: 3,
            ais_steps: 1_000,
            ais_walkers: 100,
            chains: 20,
            rounds: 400,
            brackets: false,
            classifier_steps: 400,
            search: Vec::new(),
            seed: 0,
            seeds: 2,
        }
    }
}

const STEPS: &[&str] = &[
    "step",
    "sweeps",
    "log_z",
    "log_z_se",
    "log_z_monitor",
    "log_z_monitor_se",
    "ess",
    "ess_monitor",
    "resampled",
    "resampled_monitor",
    "step_fraction",
    "ess_step",
    "backtracks",
    "substeps",
    "grad_norm",
    "forward",
    "seconds",
];

/// Draws of the bits of every image by which likelihoods are estimated under S: with seeds 0 to 2·DRAWS − 1, even ones for
/// training images and odd ones for test images.
const DRAWS: u64 = 4;

/// The data of one run.
struct Images {
    /// Probabilities that every batch is drawn from; `None`: batches are rows of the first of `bits`.
    visited: Option<Dataset>,
    /// Training and test images as zeros and ones.
    bits: Vec<(Dataset, Dataset)>,
}

/// A trained model with the parameters saved along its training.
struct Trained {
    method: String,
    seed: u64,
    /// Updates.
    steps: usize,
    rbm: Rbm,
    /// Parameters at the checkpoints, by update.
    saved: Vec<(usize, Units)>,
    run: Run,
}

impl RbmMnist {
    fn validate(&self) -> Result<()> {
        self.methods.iter().try_for_each(|m| Recipe::named(m, self).map(|_| ()))?;
        if !["T", "S", "F"].contains(&self.binarisation.as_str()) {
            return Err(Error::param("binarisation", &self.binarisation, "T, S, F"));
        }
        if self.rates.len() != self.methods.len() {
            let expected = format!("one rate for each of the {} methods", self.methods.len());
            return Err(Error::param("rates", format!("{:?}", self.rates), expected));
        }
        if self.multiples.len() != self.methods.len() || self.multiples.iter().any(|m| !(*m > 0.0 && *m <= 1e3)) {
            let expected = format!("a positive number for each of the {} methods", self.methods.len());
            return Err(Error::param("multiples", format!("{:?}", self.multiples), expected));
        }
        for (name, n) in [
            ("methods", self.methods.len()),
            ("seeds", self.seeds),
            ("every", self.every),
            ("checkpoints", self.checkpoints),
            ("ais_walkers", self.ais_walkers),
            ("ais_steps", self.ais_steps),
            ("chains", self.chains),
            ("rounds", self.rounds),
        ] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        Ok(())
    }

    /// Training and test images, each binarised in its own way, with the classes and their shares.
    fn images(&self, [of_train, of_test]: [Binarisation; 2]) -> Result<(Dataset, Dataset)> {
        if self.data == "digits" {
            let (train, test) = data::digits()?.with_kind(Kind::Float)?.split_in_order(1_400)?;
            return Ok((train.binarise(of_train)?, test.binarise(of_test)?));
        }
        let (labels, train, test): (&[i64], &[usize], &[usize]) = match self.data.as_str() {
            "all" => (&[], &[], &[]),
            "01" => (&[0, 1], &[5_400, 600], &[900, 100]),
            "236" => (&[2, 3, 6], &[5_600, 2_800, 1_400], &[1_000, 500, 250]),
            other => return Err(Error::param("data", other, "all, 01, 236, digits")),
        };
        let part = |split: Split, counts: &[usize], how: Binarisation| {
            let all = data::mnist(split)?.binarise(how)?.with_kind(Kind::Float)?;
            if labels.is_empty() { Ok(all) } else { all.select(labels, counts) }
        };
        Ok((part(Split::Train, train, of_train)?, part(Split::Test, test, of_test)?))
    }

    /// Binarisations of training and test images with different seeds, number `draw`.
    fn sampled(draw: u64) -> [Binarisation; 2] {
        [Binarisation::Sampled { seed: 2 * draw }, Binarisation::Sampled { seed: 2 * draw + 1 }]
    }

    /// What is trained on, and zeros and ones to evaluate by: under S several draws, over which likelihoods are averaged.
    fn data(&self) -> Result<Images> {
        let bits = match self.binarisation.as_str() {
            "T" => vec![self.images([Binarisation::Threshold(0.5); 2])?],
            "F" => vec![self.images(Self::sampled(0))?],
            _ => (0..DRAWS).map(|draw| self.images(Self::sampled(draw))).collect::<Result<_>>()?,
        };
        let every_visit = self.binarisation == "S";
        let visited = if every_visit { Some(self.images([Binarisation::EveryVisit; 2])?.0) } else { None };
        Ok(Images { visited, bits })
    }

    /// The updates after which models are evaluated: 0, and multiples of `every` at geometric intervals up to the last.
    fn checkpoints(&self, steps: usize) -> Vec<usize> {
        let (first, last) = (self.every.min(steps) as f64, steps as f64);
        let ratio = (last / first).powf(1.0 / self.checkpoints.saturating_sub(1).max(1) as f64);
        let place = |i: usize| (first * ratio.powi(i as i32) / self.every as f64).round() as usize * self.every;
        let mut at: Vec<usize> = (0..self.checkpoints).map(|i| place(i).min(steps)).collect();
        at.insert(0, 0);
        at.push(steps);
        at.dedup();
        at
    }

    /// The updates after which the parameters are saved: those of evaluations, and others between which replicas can swap.
    fn rungs(&self, steps: usize) -> Vec<usize> {
        const RUNGS: usize = 60;
        // the model moves fastest at first
        let place = |i: usize| i.max((steps as f64 * (i as f64 / RUNGS as f64).powf(2.5)).round() as usize).min(steps);
        let mut at: Vec<usize> = (0..=RUNGS).map(place).chain(self.checkpoints(steps)).collect();
        at.sort_unstable();
        at.dedup();
        at
    }

    fn train(
        &self,
        name: &str,
        (rate, multiple): (f64, f64),
        evaluator: &Evaluator,
        seed: u64,
        context: &Context,
    ) -> Result<Trained> {
        let recipe = Recipe::named(name, self)?;
        let steps = ((self.steps as f64 * multiple / self.every as f64).round() as usize).max(1) * self.every;
        let (data, data_noise) = match &evaluator.visited {
            Some(grey) => (grey, DataNoise::Bits),
            None => (&evaluator.train, DataNoise::default()),
        };
        let rbm = Rbm::bernoulli(
            &evaluator.train.x,
            &RbmShape { hidden: self.hidden, seed, centred: self.centred, ..Default::default() },
        )?;
        let (wanted, mut saved, mut sweeps, mut seen) = (self.rungs(steps), Vec::new(), 0.0, 0);
        let settings = recipe.settings(self, (steps, rate), data.len(), seed);
        let mut trainer = Trainer::new(Gibbs::new(), recipe.method).settings(Settings { data_noise, ..settings });
        let kept = context.checkpointing(&format!("{name}-{seed}"));
        let place = |step: usize| kept.as_ref().map(|k| k.dir.join(format!("units-{step}.safetensors")));
        trainer.checkpointing = kept.clone();
        let (moves, cd) = (recipe.moves, if let Method::Cd { k } = recipe.method { k } else { 0 });
        let mut training = trainer.start(rbm, &data.x)?;
        while let Some(at) = training.step()? {
            if wanted.contains(&at.step) {
                let units = at.model.units().copy();
                if let Some(path) = place(at.step) {
                    units.write(&path)?;
                }
                saved.push((at.step, units));
            }
        }
        let (mut run, rbm) = training.finish()?;
        // what an earlier call has seen
        let here: Vec<usize> = saved.iter().map(|(step, _)| *step).collect();
        for &step in wanted.iter().filter(|step| run.finished() && !here.contains(step)) {
            if let Some(path) = place(step) {
                saved.push((step, Units::read(&path)?));
            }
        }
        saved.sort_by_key(|(step, _)| *step);
        // sweeps of a chain: those at fixed θ, and one for each substep of an update
        let none = || vec![f64::NAN; run.stats.height()];
        let substeps = run.column("substeps").unwrap_or_else(|_| none());
        let column: Vec<f64> = run
            .column("step")?
            .iter()
            .zip(substeps)
            .map(|(step, substeps)| {
                let updates = *step as usize - seen;
                seen = *step as usize;
                sweeps += if cd > 0 { (cd * updates) as f64 } else { substeps + ((moves - 1) * updates) as f64 };
                sweeps
            })
            .collect();
        run.stats.with_column(jarzynski::polars::prelude::Column::new("sweeps".into(), column))?;
        Ok(Trained { method: name.into(), seed, steps, rbm, saved, run })
    }

    /// Every method at every rate of `search`, one seed, evaluated at the end.
    fn search(&self, evaluator: &Evaluator, out: &mut Output) -> Result<()> {
        let mut rows = Rows::new(&["method", "rate", "log_lik_test", "log_z_ais", "log_z_ais_se", "ess", "seconds"]);
        for (name, multiple) in self.methods.iter().zip(&self.multiples) {
            let mut best = (f64::NEG_INFINITY, f64::NAN);
            for &rate in &self.search {
                let t = self.train(name, (rate, *multiple), evaluator, self.seed, &Context::default())?;
                let (z, test) = evaluator.at(self, &t.rbm, t.seed)?;
                let ess = if t.run.weighted { t.run.walkers.ess() } else { f64::NAN };
                rows.push((name, rate, test, z.value, z.se, ess, t.run.seconds));
                println!("{name} at rate {rate}: test {test:.2} nats, {:.0} s", t.run.seconds);
                if test > best.0 {
                    best = (test, rate);
                }
            }
            out.note(format!("search: {name:<16} best rate {} of {:?}: test {:.2} nats", best.1, self.search, best.0));
        }
        out.table("search", rows.finish()?);
        Ok(())
    }
}

impl Experiment for RbmMnist {
    const NAME: &'static str = "rbm-mnist";
    const ABOUT: &'static str = "RBMs on binarised MNIST by CD, PCD and Jarzynski (needs `make datasets`)";
    const SMALL: &'static str = "data = \"digits\"\nhidden = 8\nsteps = 10\nbatch = 100\nwalkers = 50\nseeds = 1\nais_steps = 10\nevery = 5\n\
         rounds = 4\ncheckpoints = 2\nclassifier_steps = 4";
    const DATA: Option<&'static str> = Some("mnist");

    fn full() -> Self {
        RbmMnist {
            hidden: 500,
            steps: 600,
            every: 10,
            checkpoints: 7,
            ais_steps: 4_000,
            rounds: 6_000,
            seeds: 3,
            ..Default::default()
        }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    /// The trainings, and the walkers of annealed importance sampling.
    fn memory(&self) -> Option<Memory> {
        let (dim, images) = if self.data == "digits" { (64, 1_797) } else { (28 * 28, 60_000) };
        let row = RowNumbers { kept: dim + self.hidden, graph: 0 };
        let training = Sizes {
            parameters: ((dim + 1) * (self.hidden + 1)) as u64,
            copies: 1,
            row,
            monitor: self.walkers as u64,
            batch: self.batch as u64,
            data: images,
            ..Sizes::of(Kind::Float, dim, self.walkers)
        };
        let annealing = Sizes { walkers: self.ais_walkers as u64, monitor: 0, batch: 0, copies: 0, ..training };
        Some(Memory::of(&training).or(Memory::of(&annealing)))
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let evaluator = Evaluator::new(self, self.data()?, context.device)?;
        let mut out = Output::default();
        if self.search.is_empty() {
            self.race(&evaluator, context, &mut out)?;
        } else {
            self.search(&evaluator, &mut out)?;
        }
        for (_, table) in &mut out.tables {
            *table = frame::label(table, "binarisation", &self.binarisation)?;
        }
        Ok(out)
    }
}

impl RbmMnist {
    fn race(&self, evaluator: &Evaluator, context: &Context, out: &mut Output) -> Result<()> {
        let mut trained = Vec::new();
        for seed in (self.seed..).take(self.seeds) {
            for (name, pace) in self.methods.iter().zip(self.rates.iter().copied().zip(self.multiples.iter().copied()))
            {
                trained.push(self.train(name, pace, evaluator, seed, context)?);
            }
        }
        let (mut likelihood, mut masses) = (evaluate::likelihood_rows(), evaluate::mass_rows());
        let mut pictures = Vec::new();
        for t in &mut trained {
            let drawn = evaluator.likelihood(self, t, &mut likelihood)?;
            pictures.push(evaluator.masses(self, t, &drawn, &mut masses)?);
        }
        out.table("likelihood", likelihood.finish()?);
        out.table("masses", masses.finish()?);
        let runs: Vec<(String, u64, Run)> = trained.into_iter().map(|t| (t.method, t.seed, t.run)).collect();
        out.table("steps", stack(&runs, STEPS)?);
        out.note(format!("classifier's accuracy on images it never saw: {:.3}", evaluator.classifier.accuracy));
        let of = "log_lik_test is of the test images, never trained on";
        out.note(match self.binarisation.as_str() {
            "S" => format!("binarisation S, sampled at every visit: {of}, as a mean over {DRAWS} draws of their bits, seeds 1, 3, …"),
            "F" => format!("binarisation F, sampled once, seed 0 for training images and 1 for test images: {of}"),
            _ => format!("binarisation T, above the middle of the range: {of}"),
        });
        self.say(&runs, out)?;
        let summary = self.summary(out)?;
        out.table("summary", summary);
        #[cfg(feature = "plot")]
        {
            let curves = self.curves(out)?;
            out.figure("curves", curves);
            out.figure("samples", self.samples(evaluator, &pictures));
        }
        Ok(())
    }
}

/// One number's mean and standard error over seeds at the last update of a method.
fn at_end(table: &jarzynski::polars::prelude::DataFrame, method: &str, column: &str) -> Result<(f64, f64)> {
    let rows = frame::filter(table, "method", method)?;
    let (update, value) = (frame::column_f64(&rows, "update")?, frame::column_f64(&rows, column)?);
    let last = update.iter().copied().fold(0.0, f64::max);
    let of: Vec<f64> = update.iter().zip(value).filter(|(u, _)| **u == last).map(|(_, v)| v).collect();
    Ok(frame::mean_se(&of))
}
