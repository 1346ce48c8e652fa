//! Train RBMs small enough to enumerate by the three methods: exact likelihood, exact gradient error, online log Z.

use crate::evaluate::gradient_bias::{GradientBias, flat};
use crate::evaluate::{signed_with_error, stack, with_error};
use crate::{Context, Experiment, Output};
use jarzynski::data;
use jarzynski::data::Dataset;
use jarzynski::density::Model;
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::Gibbs;
use jarzynski::model::{Rbm, RbmShape, Units};
use jarzynski::numeric::{Threads, side_by_side};
use jarzynski::polars::prelude::DataFrame;
use jarzynski::run::Run;
use jarzynski::run::StepView;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::train::{Method, Optim, Schedule, Settings, Trainer, TrustRegion};
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// Bars and stripes, and patches of real digits, 4×4 binary pixels each.
///
/// Tables: `likelihood` along training (`log_lik`, of the training data, `log_lik_test` and `log_z_exact` by enumeration; the test
/// patches are those of the last 397 digits, which are not trained on; bars and stripes are the whole distribution); `gradient`, the error of E_θ[∂_θU] of each
/// method along one and the same path of parameters, bias and standard deviation apart, from replicated populations that
/// do not drive it; `summary` with the online log Ẑ of every run against the exact one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RbmExact {
    /// Data sets: `bars`, `patches`.
    pub sets: Vec<String>,
    /// Hidden units.
    pub hidden: usize,
    /// Walkers N; the monitor has as many.
    pub walkers: usize,
    /// Updates.
    pub steps: usize,
    /// Learning rate of plain gradient descent, for PCD and CD.
    pub lr: f64,
    /// Damping of the natural gradients of the Jarzynski method; 0: plain gradients for it too.
    pub damping: f64,
    /// Data points per update.
    pub batch: usize,
    /// Least conditional ESS of one update of the Jarzynski method.
    pub ess: f64,
    /// Resample below this ESS/N.
    pub ess_min: f64,
    /// Steps between recorded rows.
    pub every: usize,
    /// Replicated populations for the error of the gradient.
    pub replicates: usize,
    /// How often along training it is measured.
    pub checks: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for RbmExact {
    fn default() -> Self {
        RbmExact {
            sets: vec!["bars".into(), "patches".into()],
            hidden: 10,
            walkers: 500,
            steps: 3_000,
            lr: 0.1,
            damping: 0.01,
            batch: 500,
            ess: 0.95,
            ess_min: 0.5,
            every: 30,
            replicates: 16,
            checks: 12,
            seed: 0,
            seeds: 5,
        }
    }
}

pub(super) const METHODS: [&str; 3] = ["jarzynski", "pcd-1", "cd-1"];

/// One of [`METHODS`] with the limit on its updates.
pub(super) fn named(method: &str, ess: f64, ess_min: f64) -> (Method, Option<TrustRegion>) {
    match method {
        "jarzynski" => (Method::Jarzynski { ess_min }, Some(TrustRegion::Shrink { ess })),
        "pcd-1" => (Method::Pcd, None),
        _ => (Method::Cd { k: 1 }, None),
    }
}

pub(super) const COLUMNS: &[&str] = &[
    "step",
    "log_lik",
    "log_lik_train",
    "log_lik_test",
    "log_z_exact",
    "log_z",
    "log_z_se",
    "log_z_monitor",
    "log_z_monitor_se",
    "ess",
    "ess_monitor",
    "resampled",
    "resampled_monitor",
    "step_fraction",
    "grad_norm",
    "seconds",
];

/// The four quarters of 8×8 digits as binary 4×4 images: of the first 1,400 digits to train on, of the others to test.
fn patches() -> Result<[Dataset; 2]> {
    let digits = data::digits()?.binarise(data::Binarisation::Threshold(0.5))?;
    let quarters = |digits: Dataset| {
        let x = digits.x.view([-1, 2, 4, 2, 4]).permute([0, 1, 3, 2, 4]).reshape([-1, 16]);
        Dataset::new("patches of digits", x)?.with_shape(&[4, 4])?.with_range(0.0, 1.0)
    };
    let (train, test) = digits.split_in_order(1_400)?;
    Ok([quarters(train)?, quarters(test)?])
}

/// Mean log-probability of the data under their own frequencies: no model has a higher likelihood.
fn ceiling(x: &Tensor) -> f64 {
    let (_, _, counts) = x.unique_dim(0, false, false, true);
    let p = counts.to_kind(Kind::Double) / x.size()[0] as f64;
    (&p * p.log()).sum(Kind::Double).double_value(&[])
}

impl RbmExact {
    fn validate(&self) -> Result<()> {
        if let Some(unknown) = self.sets.iter().find(|s| !["bars", "patches"].contains(&s.as_str())) {
            return Err(Error::param("sets", unknown, "bars, patches"));
        }
        for (name, n, least) in
            [("sets", self.sets.len(), 1), ("seeds", self.seeds, 1), ("replicates", self.replicates, 2)]
        {
            if n < least {
                return Err(Error::param(name, n, format!("at least {least}")));
            }
        }
        Ok(())
    }

    fn data(&self, set: &str, device: Device) -> Result<Tensor> {
        let data = if set == "bars" {
            data::bars_and_stripes(4)?
        } else {
            let [train, _] = patches()?;
            train
        };
        Ok(data.x.to_kind(Kind::Double).to_device(device))
    }

    /// Data that are not trained on, where the training data are not all there is.
    fn test(&self, set: &str, device: Device) -> Result<Option<Tensor>> {
        if set == "bars" {
            return Ok(None);
        }
        let [_, test] = patches()?;
        Ok(Some(test.x.to_kind(Kind::Double).to_device(device)))
    }

    fn rbm(&self, data: &Tensor, seed: u64) -> Result<Rbm> {
        Rbm::bernoulli(data, &RbmShape { hidden: self.hidden, seed, ..Default::default() })
    }

    fn trainer(&self, method: &str, data: &Tensor, seed: u64) -> Trainer<Gibbs> {
        let (method, update) = named(method, self.ess, self.ess_min);
        let natural = self.damping > 0.0 && matches!(method, Method::Jarzynski { .. });
        let damping = Optim::Natural { damping: self.damping, decay: 0.95, every: 20, momentum: 0.0 };
        let plain = (Optim::Sgd { momentum: 0.0 }, self.lr, Schedule::Constant);
        // the noise of the last natural steps is the noise of the result
        let (optim, lr, schedule) = if natural { (damping, 1.0, Schedule::Linear { end: 0.1 }) } else { plain };
        Trainer::new(Gibbs::new(), method).settings(Settings {
            walkers: self.walkers,
            steps: self.steps,
            lr,
            optim,
            schedule,
            trust_region: update,
            batch: Some(self.batch.min(data.size()[0] as usize)),
            every: self.every.min(self.steps.max(1)),
            seed,
            threads: 1,
            ..Default::default()
        })
    }

    /// One run for each seed, side by side: each of them is too small for two threads.
    fn train(&self, method: &str, set: &str, context: &Context) -> Result<Vec<(u64, Run, Rbm)>> {
        let _one = Threads::request(1);
        let seeds = (0..self.seeds as u64).map(|i| self.seed + i).collect();
        side_by_side(seeds, context.device, |seed| {
            let data = self.data(set, context.device)?;
            let mut rbm = self.rbm(&data, seed)?;
            let test = self.test(set, context.device)?;
            let mut watch = |at: &StepView<Rbm>| {
                let value = |x| at.model.exact_log_likelihood(x).unwrap_or(f64::NAN);
                vec![("log_lik".into(), value(&data)), ("log_lik_test".into(), test.as_ref().map_or(f64::NAN, value))]
            };
            let mut trainer = self.trainer(method, &data, seed);
            trainer.checkpointing = context.checkpointing(&format!("{set}-{method}-{seed}"));
            let run = trainer.train_with(&mut rbm, &data, &mut watch)?;
            Ok((seed, run, rbm))
        })
    }

    /// The parameters at every update of one run of the Jarzynski method.
    fn path(&self, data: &Tensor) -> Result<Vec<Units>> {
        let (mut path, mut rbm) = (Vec::new(), self.rbm(data, self.seed)?);
        let mut trainer = self.trainer("jarzynski", data, self.seed);
        trainer.settings.every = 1;
        trainer.train_with(&mut rbm, data, &mut |at: &StepView<Rbm>| {
            path.push(at.model.units().copy());
            Vec::new()
        })?;
        Ok(path)
    }

    /// Bias and spread of each method's model expectation along one path.
    fn gradients(&self, set: &str, data: &Tensor, rows: &mut Rows) -> Result<()> {
        let path = self.path(data)?;
        let last = path.len() - 1;
        let ratio = (last as f64 / 10.0).max(1.0).powf(1.0 / self.checks.saturating_sub(1).max(1) as f64);
        let mut at: Vec<usize> =
            (0..self.checks).map(|i| (10.0 * ratio.powi(i as i32)).round() as usize).filter(|k| *k <= last).collect();
        at.dedup();
        let start = self.rbm(data, self.seed)?;
        // each method gets data of its own: tensors are not shared between threads
        let jobs = METHODS.iter().map(|method| {
            let populations = GradientBias::start(method, &start, self.replicates, self.walkers, self.seed)?;
            Ok((populations, path.iter().map(Units::copy).collect::<Vec<_>>(), data.copy()))
        });
        let jobs = jobs.collect::<Result<Vec<_>>>()?;
        let _one = Threads::request(1);
        let measured = side_by_side(jobs, data.device(), |(mut populations, path, data)| {
            let mut out: Vec<[f64; 5]> = Vec::new();
            for k in 0..=last {
                if at.contains(&k) {
                    out.push(self.error(&mut populations, &path[k], k, &data)?);
                }
                if k < last {
                    populations.follow(&path[k], &path[k + 1], self.ess_min);
                }
            }
            Ok(out)
        })?;
        for (method, measured) in METHODS.iter().zip(measured) {
            for [k, gradient, off, noise, sd] in measured {
                rows.push((set, *method, k as usize, gradient, off, noise, sd));
            }
        }
        Ok(())
    }

    /// Update, norm of the exact gradient, distance of the populations' mean from it, that of noise alone, spread of one.
    fn error(&self, populations: &mut GradientBias, u: &Units, k: usize, data: &Tensor) -> Result<[f64; 5]> {
        let rbm = Rbm::with_parameters(&u.w, &u.b, &u.c, None, false)?;
        let mut seen = rbm.evaluate_data(data);
        let even = seen.u.full_like(1.0 / seen.len() as f64);
        let exact = flat(&rbm.exact_gradient(data)?);
        let model = &exact - flat(&rbm.param_grad(&mut seen, &even));
        let g = populations.gradients(&rbm, data);
        let spread = g.var_dim(Some(&[0i64][..]), true, false).sum(Kind::Double).double_value(&[]);
        let off = (g.mean_dim(0, false, Kind::Double) - &model).norm().double_value(&[]);
        Ok([k as f64, exact.norm().double_value(&[]), off, (spread / self.replicates as f64).sqrt(), spread.sqrt()])
    }
}

impl Experiment for RbmExact {
    const NAME: &'static str = "rbm-exact";
    const ABOUT: &'static str =
        "enumerable RBMs by CD, PCD and Jarzynski: exact likelihood, gradient error, online log Z";
    const SMALL: &'static str =
        "steps = 30\nwalkers = 50\nseeds = 1\nevery = 10\nchecks = 2\nreplicates = 2\nhidden = 4";

    fn full() -> Self {
        RbmExact { walkers: 2_000, steps: 20_000, every: 200, replicates: 32, seeds: 10, ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let mut gradient = Rows::new(&["data", "method", "update", "gradient", "bias", "bias_noise", "sd"]);
        let mut summary = Rows::new(&["case", "method", "quantity", "value", "se", "exact"]);
        let (mut tables, mut notes) = (Vec::new(), Vec::new());
        for set in &self.sets {
            let (data, test) = (self.data(set, context.device)?, self.test(set, context.device)?);
            let mut runs = Vec::new();
            for method in METHODS {
                let (mut finals, mut unseen) = (Vec::new(), Vec::new());
                for (seed, run, rbm) in self.train(method, set, context)? {
                    finals.push(rbm.exact_log_likelihood(&data)?);
                    unseen.extend(test.as_ref().map(|x| rbm.exact_log_likelihood(x)).transpose()?);
                    if let Some(monitor) = &run.monitor {
                        let exact = rbm.exact_log_z()?;
                        for (who, z) in [("log_z_monitor", monitor.log_z()), ("log_z_walkers", run.walkers.log_z())] {
                            summary.push((format!("{set}, seed {seed}"), method, who, z.value, z.se, exact));
                        }
                    }
                    runs.push((method.to_string(), seed, run));
                }
                let (mean, se) = frame::mean_se(&finals);
                summary.push((set, method, "log_lik", mean, se, f64::NAN));
                let mut beside = String::from("the whole distribution");
                if !unseen.is_empty() {
                    let (value, error) = frame::mean_se(&unseen);
                    summary.push((set, method, "log_lik_test", value, error, f64::NAN));
                    beside = format!("training data; {} of test data", with_error(value, error, 4));
                }
                notes.push(format!(
                    "{set:<8} {method:<9} log-likelihood {} nats of the {beside}, exact, over seeds",
                    with_error(mean, se, 4)
                ));
            }
            notes.push(format!("{set:<8} no model exceeds {:.4} on the training data", ceiling(&data)));
            summary.push((set, "data", "log_lik", ceiling(&data), f64::NAN, f64::NAN));
            tables.push(frame::label(&stack(&runs, COLUMNS)?, "data", set)?);
            self.gradients(set, &data, &mut gradient)?;
        }
        let mut out = Output { notes, ..Default::default() };
        out.table("likelihood", frame::concat(&tables)?);
        out.table("gradient", gradient.finish()?);
        out.table("summary", summary.finish()?);
        self.say(&mut out)?;
        #[cfg(feature = "plot")]
        {
            let figure = self.figure(&out)?;
            out.figure("rbm-exact", figure);
        }
        Ok(out)
    }
}

fn part(table: &DataFrame, set: &str, method: &str) -> Result<DataFrame> {
    frame::filter(&frame::filter(table, "data", set)?, "method", method)
}

impl RbmExact {
    fn say(&self, out: &mut Output) -> Result<()> {
        for who in ["log_z_monitor", "log_z_walkers"] {
            let rows = frame::filter(out.get("summary")?, "quantity", who)?;
            let read = |c: &str| frame::column_f64(&rows, c);
            let (value, exact, se) = (read("value")?, read("exact")?, read("se")?);
            let z: Vec<f64> = (0..value.len()).map(|i| (value[i] - exact[i]) / se[i]).collect();
            let off: Vec<f64> = value.iter().zip(&exact).map(|(v, e)| v - e).collect();
            let rms = (z.iter().map(|z| z * z).sum::<f64>() / z.len() as f64).sqrt();
            let (mean, error) = frame::mean_se(&off);
            out.note(format!(
                "{who}: mean error {} nats, rms z {rms:.2} over {} runs",
                signed_with_error(mean, error, 4),
                z.len()
            ));
        }
        for set in &self.sets {
            for method in METHODS {
                let rows = part(out.get("gradient")?, set, method)?;
                let last = |c: &str| Ok::<_, Error>(frame::column_f64(&rows, c)?.last().copied().unwrap_or(f64::NAN));
                let (bias, noise, sd) = (last("bias")?, last("bias_noise")?, last("sd")?);
                out.note(format!(
                    "{set:<8} {method:<9} gradient at the end: bias {bias:.4} (noise alone {noise:.4}), sd {sd:.4}"
                ));
            }
        }
        Ok(())
    }

    #[cfg(feature = "plot")]
    fn figure(&self, out: &Output) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let (likelihood, gradient) = (out.get("likelihood")?, out.get("gradient")?);
        let columns = self.sets.len();
        let mut figure = Figure::new(490 * columns as u32, 1400).columns(columns);
        figure = figure.title(&format!("RBMs 16×{} that can be enumerated", self.hidden));
        let name = |set: &str| if set == "bars" { "bars and stripes" } else { "patches of digits" };
        for set in &self.sets {
            let all = frame::filter(likelihood, "data", set)?;
            let bands = frame::bands(&all, &["method", "step"], "seed", &["log_lik"])?;
            let panel = Panel::new(&format!("exact log-likelihood, {}", name(set))).x("updates").y("nats per image");
            let panel = panel.hline("data", ceiling(&self.data(set, Device::Cpu)?));
            figure = figure.panel(panel.frame(&bands, "method", "step", "log_lik")?);
        }
        for (column, title) in
            [("bias", "bias of the gradient (dashed: noise alone)"), ("sd", "its standard deviation")]
        {
            for set in &self.sets {
                let mut panel = Panel::new(title).x("updates").y("norm / nats").log_x().log_y();
                for method in METHODS {
                    let rows = part(gradient, set, method)?;
                    let (k, v) = (frame::column_f64(&rows, "update")?, frame::column_f64(&rows, column)?);
                    panel = panel.line(method, &k, &v).points(method, &k, &v);
                    if column == "bias" {
                        panel = panel.dashed(method, &k, &frame::column_f64(&rows, "bias_noise")?);
                    }
                }
                figure = figure.panel(panel);
            }
        }
        for set in &self.sets {
            let rows = part(likelihood, set, "jarzynski")?;
            let read = |c: &str| frame::column_f64(&rows, c);
            let (seed, exact) = (read("seed")?, read("log_z_exact")?);
            let mut off = Rows::new(&["method", "seed", "step", "error"]);
            for (who, column) in [("monitor", "log_z_monitor"), ("jarzynski-walkers", "log_z")] {
                for (i, (k, z)) in read("step")?.iter().zip(read(column)?).enumerate() {
                    off.push((who, seed[i], *k, z - exact[i]));
                }
            }
            let bands = frame::bands(&off.finish()?, &["method", "step"], "seed", &["error"])?;
            let panel = Panel::new("online log Ẑ of walkers and monitor").x("updates").y("log Ẑ − log Z / nats");
            figure = figure.panel(panel.hline("", 0.0).frame(&bands, "method", "step", "error")?);
        }
        Ok(figure)
    }
}
