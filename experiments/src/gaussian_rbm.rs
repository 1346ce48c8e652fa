//! Train Gaussian-Bernoulli RBMs by the three methods where the likelihood is exact: a mixture, and real grey digits.

use crate::evaluate::{signed_with_error, stack, with_error};
use crate::images::pixels;
use crate::rbm_exact::{self, COLUMNS, named};
use crate::{Context, Experiment, Output};
use jarzynski::data;
use jarzynski::density::Model;
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::Gibbs;
use jarzynski::model::{Mixture, Rbm, RbmShape};
use jarzynski::numeric::{Rng, Threads, side_by_side};
use jarzynski::run::Run;
use jarzynski::run::StepView;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::train::{Optim, Schedule, Settings, Trainer};
use jarzynski::transport::Ais;
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// `jarzynski` with Adam and with natural gradients, PCD and CD with Adam.
const METHODS: [&str; 4] = [rbm_exact::METHODS[0], NATURAL, rbm_exact::METHODS[1], rbm_exact::METHODS[2]];
const NATURAL: &str = "jarzynski-natural";

/// Visible units are real, (46), with learned variances; hidden units are few, so that log Z is a sum over them.
///
/// Tables: `likelihood` along training (exact; `log_lik` on test data, not trained on: fresh points of the mixture, the last 397
/// digits; `log_lik_train` on the training data with noise as fresh); `masses` of the mixture's modes under the final
/// models, by weighted annealed walkers; `summary`. `exact` of a likelihood is that of the distribution the data come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianRbm {
    /// Data sets: `mixture`, `digits`.
    pub sets: Vec<String>,
    /// Hidden units for each data set.
    pub hidden: Vec<usize>,
    /// Masses of the mixture's modes.
    pub weights: Vec<f64>,
    /// Standard deviation of each of its modes.
    pub spread: f64,
    /// Points drawn from the mixture for training, and as many to evaluate by.
    pub points: usize,
    /// Fresh Gaussian noise on every batch of digits, in units of pixels scaled to [−1, 1].
    pub noise: f64,
    /// Walkers N; the monitor has as many.
    pub walkers: usize,
    /// Standard deviation of the initial W.
    pub scale: f64,
    /// Updates.
    pub steps: usize,
    /// Images per update.
    pub batch: usize,
    /// Adam's learning rates of `jarzynski`, `pcd-1` and `cd-1` for each data set: the best of .0005, .001, .002, .005 and
    /// .01 there, the smaller of two that do not differ by their error.
    pub rates: Vec<Vec<f64>>,
    /// Damping of the natural gradients of `jarzynski-natural`, whose step is as long as the ESS limit allows.
    pub damping: f64,
    /// Least conditional ESS of one update of the Jarzynski method.
    pub ess: f64,
    /// Resample below this ESS/N.
    pub ess_min: f64,
    /// Steps between recorded rows.
    pub every: usize,
    /// Steps and walkers of the annealing that evaluates the final models' modes.
    pub anneal: (usize, usize),
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for GaussianRbm {
    fn default() -> Self {
        GaussianRbm {
            sets: vec!["mixture".into(), "digits".into()],
            hidden: vec![8, 12],
            weights: vec![0.5, 0.3, 0.2],
            spread: 0.5,
            points: 5_000,
            noise: 0.3,
            walkers: 500,
            scale: 0.1,
            steps: 1_500,
            batch: 500,
            rates: vec![vec![0.01, 0.005, 0.01], vec![0.005, 0.0005, 0.005]],
            damping: 0.01,
            ess: 0.95,
            ess_min: 0.5,
            every: 75,
            anneal: (1_000, 2_000),
            seed: 0,
            seeds: 3,
        }
    }
}

/// Data to train on, data to evaluate by, and the mean log-density of the latter where it is known.
struct Case {
    train: Tensor,
    /// The training data with noise, to evaluate by.
    seen: Tensor,
    test: Tensor,
    noise: f64,
    known: f64,
}

/// A trained model with its run.
struct Trained {
    seed: u64,
    rbm: Rbm,
    run: Run,
}

impl GaussianRbm {
    fn validate(&self) -> Result<()> {
        if let Some(unknown) = self.sets.iter().find(|s| !["mixture", "digits"].contains(&s.as_str())) {
            return Err(Error::param("sets", unknown, "mixture, digits"));
        }
        if self.hidden.len() != self.sets.len() {
            let expected = format!("one number for each of the {} data sets", self.sets.len());
            return Err(Error::param("hidden", format!("{:?}", self.hidden), expected));
        }
        if self.rates.len() != self.sets.len() || self.rates.iter().any(|r| r.len() != rbm_exact::METHODS.len()) {
            let expected = "for each data set one for each of jarzynski, pcd-1, cd-1";
            return Err(Error::param("rates", format!("{:?}", self.rates), expected));
        }
        let counts = [("sets", self.sets.len()), ("seeds", self.seeds), ("points", self.points)];
        match counts.iter().find(|(_, n)| *n == 0) {
            Some((name, n)) => Err(Error::param(name, n, "at least 1")),
            None => Ok(()),
        }
    }

    /// Modes on the corners of a regular polygon.
    fn mixture(&self, device: Device) -> Result<Mixture> {
        let k = self.weights.len();
        let corner = |i: usize| {
            let angle = 2.0 * std::f64::consts::PI * i as f64 / k as f64;
            vec![2.5 * angle.cos(), 2.5 * angle.sin()]
        };
        let (means, sigma) = ((0..k).map(corner).collect::<Vec<_>>(), vec![self.spread; k]);
        Mixture::with_sigma(&means, &self.weights, &sigma, Kind::Double, device)
    }

    fn case(&self, set: &str, device: Device) -> Result<Case> {
        let mut rng = Rng::new(self.seed).split(0x6a55);
        if set == "mixture" {
            let truth = self.mixture(device)?;
            let (train, test) = (truth.sample(self.points, &mut rng), truth.sample(self.points, &mut rng));
            let log_z = truth.log_z_exact().unwrap_or(f64::NAN);
            let known = -truth.evaluate_data(&test).u.mean(Kind::Double).double_value(&[]) - log_z;
            return Ok(Case { seen: train.shallow_clone(), train, test, noise: 0.0, known });
        }
        let (train, test) = data::digits()?.scale(-1.0, 1.0)?.on(device).split_in_order(1_400)?;
        let noisy = rng.normal(&test.x.size(), Kind::Double, device) * self.noise;
        let (test, train) = (test.x.to_kind(Kind::Double) + noisy, train.x.to_kind(Kind::Double));
        let seen = &train + rng.normal(&train.size(), Kind::Double, device) * self.noise;
        Ok(Case { train, seen, test, noise: self.noise, known: f64::NAN })
    }

    /// One run for each seed, side by side: each of them is too small for two threads.
    fn train(&self, method: &str, lr: f64, set: &str, hidden: usize, context: &Context) -> Result<Vec<Trained>> {
        let _one = Threads::request(1);
        let seeds = (0..self.seeds as u64).map(|i| self.seed + i).collect();
        side_by_side(seeds, context.device, |seed| {
            let case = self.case(set, context.device)?;
            let mut rng = Rng::new(seed).split(0x90_15e);
            let noise = rng.normal(&case.train.size(), Kind::Double, context.device) * case.noise;
            let shape = RbmShape { hidden, seed, scale: self.scale, ..Default::default() };
            let mut rbm = Rbm::gaussian(&(&case.train + noise), &shape)?;
            let keep = context.checkpointing(&format!("{set}-{method}-{seed}"));
            let natural = Optim::Natural { damping: self.damping, decay: 0.95, every: 20, momentum: 0.0 };
            let (method, optim, schedule) = match method {
                // the noise of the last natural steps is the noise of the result
                NATURAL => (rbm_exact::METHODS[0], natural, Schedule::Linear { end: 0.1 }),
                plain => (plain, Optim::Adam, Schedule::Constant),
            };
            let (method, update) = named(method, self.ess, self.ess_min);
            let mut trainer = Trainer::new(Gibbs::new(), method).settings(Settings {
                walkers: self.walkers,
                steps: self.steps,
                lr,
                optim,
                schedule,
                trust_region: update,
                batch: Some(self.batch.min(case.train.size()[0] as usize)),
                data_noise: case.noise.into(),
                every: self.every.min(self.steps.max(1)),
                seed,
                threads: 1,
                ..Default::default()
            });
            trainer.checkpointing = keep;
            let mut watch = |at: &StepView<Rbm>| {
                let value = |x| at.model.exact_log_likelihood(x).unwrap_or(f64::NAN);
                vec![("log_lik".into(), value(&case.test)), ("log_lik_train".into(), value(&case.seen))]
            };
            let run = trainer.train_with(&mut rbm, &case.train, &mut watch)?;
            Ok(Trained { seed, rbm, run })
        })
    }

    /// Masses of the mixture's modes under a model, each with its standard error.
    fn masses(&self, t: &Trained) -> Result<Vec<(f64, f64)>> {
        let run = Ais::new().steps(self.anneal.0).walkers(self.anneal.1).seed(t.seed ^ 0xa15).run(&t.rbm)?;
        let x = run.walkers.x();
        let part = self.mixture(x.device())?.responsibilities(x)?.argmax(-1, false);
        let mass = |i| run.walkers.mean(&part.eq(i as i64).to_kind(Kind::Double)).map(|e| (e.value, e.se));
        (0..self.weights.len()).map(mass).collect()
    }
}

impl Experiment for GaussianRbm {
    const NAME: &'static str = "gaussian-rbm";
    const ABOUT: &'static str = "Gaussian-Bernoulli RBMs on a mixture and on grey digits, with exact likelihoods";
    const SMALL: &'static str =
        "hidden = [3, 3]\nsteps = 10\nwalkers = 50\nseeds = 1\nevery = 5\npoints = 100\nanneal = [10, 50]";

    fn full() -> Self {
        GaussianRbm { steps: 10_000, walkers: 2_000, every: 200, seeds: 5, ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let mut masses = Rows::new(&["data", "method", "seed", "part", "value", "se", "exact"]);
        let mut summary = Rows::new(&["case", "method", "quantity", "value", "se", "exact"]);
        let (mut tables, mut notes, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for ((set, &hidden), rates) in self.sets.iter().zip(&self.hidden).zip(&self.rates) {
            let known = self.case(set, context.device)?.known;
            let mut runs = Vec::new();
            let rates = [rates[0], 1.0, rates[1], rates[2]];
            for (method, lr) in METHODS.into_iter().zip(rates) {
                let (mut finals, mut seen) = (Vec::new(), Vec::new());
                for t in self.train(method, lr, set, hidden, context)? {
                    for (column, of) in [("log_lik", &mut finals), ("log_lik_train", &mut seen)] {
                        of.push(t.run.column(column)?.last().copied().unwrap_or(f64::NAN));
                    }
                    if let Some(monitor) = &t.run.monitor {
                        let exact = t.rbm.exact_log_z()?;
                        for (who, z) in [("log_z_monitor", monitor.log_z()), ("log_z_walkers", t.run.walkers.log_z())] {
                            summary.push((format!("{set}, seed {}", t.seed), method, who, z.value, z.se, exact));
                        }
                    }
                    if set == "mixture" {
                        for (i, (value, se)) in self.masses(&t)?.into_iter().enumerate() {
                            masses.push((set, method, t.seed, i, value, se, self.weights[i]));
                        }
                    } else if t.seed == self.seed {
                        let run =
                            Ais::new().steps(self.anneal.0).walkers(self.anneal.1).seed(t.seed ^ 0xa15).run(&t.rbm)?;
                        // the visible means, without the noise that the model has learned
                        let v = run.samples(48, &mut Rng::new(t.seed).split(0x5a3));
                        samples.push((method, pixels(&t.rbm.reconstruct(&v)?, 48)));
                    }
                    runs.push((method.to_string(), t.seed, t.run));
                }
                let (mean, se) = frame::mean_se(&finals);
                let (train, train_se) = frame::mean_se(&seen);
                summary.push((set, method, "log_lik", mean, se, known));
                summary.push((set, method, "log_lik_train", train, train_se, f64::NAN));
                notes.push(format!(
                    "{set:<8} {method:<17} test log-likelihood {} nats, training {}, exact",
                    with_error(mean, se, 3),
                    with_error(train, train_se, 3)
                ));
            }
            if known.is_finite() {
                notes.push(format!("{set:<8} the true distribution {known:.3}"));
            }
            tables.push(frame::label(&stack(&runs, COLUMNS)?, "data", set)?);
        }
        let mut out = Output { notes, ..Default::default() };
        out.table("likelihood", frame::concat(&tables)?);
        out.table("masses", masses.finish()?);
        out.table("summary", summary.finish()?);
        self.say(&mut out)?;
        #[cfg(feature = "plot")]
        {
            let figure = self.figure(&out, context.device)?;
            out.figure("gaussian-rbm", figure);
            if !samples.is_empty() {
                out.figure("samples", self.samples(&samples)?);
            }
        }
        Ok(out)
    }
}

impl GaussianRbm {
    fn say(&self, out: &mut Output) -> Result<()> {
        for who in ["log_z_monitor", "log_z_walkers"] {
            let rows = frame::filter(out.get("summary")?, "quantity", who)?;
            let read = |c: &str| frame::column_f64(&rows, c);
            let (value, exact, se) = (read("value")?, read("exact")?, read("se")?);
            let (case, by) = (frame::column_str(&rows, "case")?, frame::column_str(&rows, "method")?);
            let pairs = self.sets.iter().flat_map(|set| [METHODS[0], NATURAL].map(|method| (set, method)));
            for (set, method) in pairs {
                let mine = |i: &usize| case[*i].starts_with(set.as_str()) && by[*i] == method;
                let of: Vec<usize> = (0..value.len()).filter(mine).collect();
                let (mean, error) = frame::mean_se(&of.iter().map(|&i| value[i] - exact[i]).collect::<Vec<_>>());
                let square: f64 = of.iter().map(|&i| ((value[i] - exact[i]) / se[i]).powi(2)).sum();
                let rms = (square / of.len() as f64).sqrt();
                out.note(format!(
                    "{set:<8} {method:<17} {who}: mean error {} nats, rms z {rms:.2}",
                    signed_with_error(mean, error, 3)
                ));
            }
        }
        let all = frame::bands(out.get("masses")?, &["method", "part"], "seed", &["value", "exact"])?;
        for method in METHODS.iter().filter(|_| all.height() > 0) {
            let rows = frame::filter(&all, "method", method)?;
            let (v, se) = (frame::column_f64(&rows, "value")?, frame::column_f64(&rows, "value_se")?);
            let text: Vec<String> = v.iter().zip(se).map(|(v, s)| with_error(*v, s, 3)).collect();
            out.note(format!("masses   {method:<17} {} of {:?}", text.join("  "), self.weights));
        }
        Ok(())
    }

    #[cfg(feature = "plot")]
    fn figure(&self, out: &Output, device: Device) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let likelihood = out.get("likelihood")?;
        let mut figure = Figure::new(1100, 370 * self.sets.len() as u32).columns(3);
        figure = figure.title("Gaussian-Bernoulli RBMs that can be enumerated");
        for (set, hidden) in self.sets.iter().zip(&self.hidden) {
            let all = frame::filter(likelihood, "data", set)?;
            let bands = frame::bands(&all, &["method", "step"], "seed", &["log_lik"])?;
            let name = if set == "mixture" { "2-D mixture" } else { "8×8 grey digits" };
            let mut panel = Panel::new(&format!("{name}, {hidden} hidden")).x("updates").y("exact test log-lik / nats");
            let known = self.case(set, device)?.known;
            if known.is_finite() {
                panel = panel.hline("exact", known);
            }
            figure = figure.panel(panel.frame(&bands, "method", "step", "log_lik")?);
            let rows = frame::filter(&all, "method", "jarzynski")?;
            let read = |c: &str| frame::column_f64(&rows, c);
            let (seed, step, exact) = (read("seed")?, read("step")?, read("log_z_exact")?);
            let mut off = Rows::new(&["method", "seed", "step", "error"]);
            for (who, column) in [("monitor", "log_z_monitor"), ("jarzynski-walkers", "log_z")] {
                for (i, z) in read(column)?.iter().enumerate() {
                    off.push((who, seed[i], step[i], z - exact[i]));
                }
            }
            let off = frame::bands(&off.finish()?, &["method", "step"], "seed", &["error"])?;
            let panel = Panel::new("online log Ẑ against exact").x("updates").y("log Ẑ − log Z / nats");
            figure = figure.panel(panel.hline("", 0.0).frame(&off, "method", "step", "error")?);
            if set == "mixture" {
                let masses = frame::bands(out.get("masses")?, &["method", "part"], "seed", &["value"])?;
                let names: Vec<String> = (1..=self.weights.len()).map(|i| format!("mode {i}")).collect();
                let mut bars = Panel::new("masses of the models' modes").y("mass").categories(&names);
                bars = bars.bars("data", &self.weights, &[]);
                for method in METHODS {
                    let part = frame::filter(&masses, "method", method)?;
                    let read = |c: &str| frame::column_f64(&part, c);
                    bars = bars.bars(method, &read("value")?, &read("value_se")?);
                }
                figure = figure.panel(bars);
            } else {
                let ess = frame::bands(&rows, &["method", "step"], "seed", &["ess"])?;
                let panel = Panel::new("effective sample size").x("updates").y("ESS / N").ylim(0.0, 1.0);
                figure = figure.panel(panel.frame(&ess, "method", "step", "ess")?);
            }
        }
        Ok(figure)
    }

    #[cfg(feature = "plot")]
    fn samples(&self, samples: &[(&str, Vec<Vec<f32>>)]) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let grid = |title: &str, images: &[Vec<f32>]| Panel::images(title, images, (8, 8), 12, (-1.0, 1.0));
        let mut figure =
            Figure::new(980, 640).columns(2).title("Grey digits: data and visible means of weighted samples");
        figure = figure.panel(grid("data", &pixels(&self.case("digits", Device::Cpu)?.train, 48)));
        for (method, images) in samples {
            figure = figure.panel(grid(method, images));
        }
        Ok(figure)
    }
}
