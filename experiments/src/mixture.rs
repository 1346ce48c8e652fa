//! Learn the masses of two distant modes in 50 dimensions by Jarzynski, PCD and CD: the setting of the 2023 paper.

use crate::evaluate::{signed_with_error, stack};
use crate::{Context, Experiment, Output};
use jarzynski::Result;
use jarzynski::density::Model;
use jarzynski::io::frame;
use jarzynski::kernel::Ula;
use jarzynski::model::Mixture;
use jarzynski::numeric::Rng;
use jarzynski::run::Run;
use jarzynski::run::StepView;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::train::{Method, Settings, Trainer, TrustRegion};
use serde::{Deserialize, Serialize};

/// Teacher: modes at −10e₁ and +6e₁, masses .25 and .75. Student: the same family from ∓`start`·e₁ and equal masses.
///
/// The default halves the published length and doubles the rates, so that the same training time Σ lr passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixtureModes {
    /// Dimension d.
    pub dim: usize,
    /// Walkers N.
    pub walkers: usize,
    /// Walkers of the monitor population.
    pub monitor: usize,
    /// Data points.
    pub data: usize,
    /// Where the student's modes start, ∓ on the first axis.
    pub start: f64,
    /// ULA step.
    pub h: f64,
    /// Updates (of one ULA step each) for Jarzynski and PCD; CD makes `steps / cd_k` updates.
    pub steps: usize,
    /// Learning rate of the means.
    pub lr: f64,
    /// Learning rate of the log-mass z.
    pub lr_z: f64,
    /// CD: ULA steps from the data before each update.
    pub cd_k: usize,
    /// CD: factor on the learning rates.
    pub cd_lr: f64,
    /// Resample below this ESS/N.
    pub ess_min: f64,
    /// Steps between recorded rows.
    pub every: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for MixtureModes {
    fn default() -> Self {
        MixtureModes {
            dim: 50,
            walkers: 10_000,
            monitor: 5_000,
            data: 10_000,
            start: 2.0,
            h: 0.1,
            steps: 4_000,
            lr: 0.005,
            lr_z: 0.025,
            cd_k: 4,
            cd_lr: 10.0,
            ess_min: 0.5,
            every: 20,
            seed: 0,
            seeds: 3,
        }
    }
}

impl MixtureModes {
    fn modes(&self, a: f64, b: f64, masses: &[f64], device: Device) -> Result<Mixture> {
        let at = |v: f64| {
            let mut mean = vec![0.0; self.dim.max(1)];
            mean[0] = v;
            mean
        };
        Mixture::with_sigma(&[at(a), at(b)], masses, &[1.0; 2], Kind::Double, device)
    }

    /// The distribution that made the data, on the CPU.
    ///
    /// # Errors
    /// As [`Mixture::with_sigma`].
    pub fn teacher(&self) -> Result<Mixture> {
        self.teacher_on(Device::Cpu)
    }

    fn teacher_on(&self, device: Device) -> Result<Mixture> {
        self.modes(-10.0, 6.0, &[0.25, 0.75], device)
    }

    /// As many fresh points of the teacher as there are data, held out.
    fn fresh(&self, seed: u64, context: &Context) -> Result<Tensor> {
        Ok(self.teacher_on(context.device)?.sample(self.data, &mut Rng::new(seed).split(98)))
    }

    /// One training run; the frame has, besides the trainer's columns, the first mode's mass by the model (`mass`), by
    /// the walkers and by the monitor, and the exact cross-entropy on fresh points.
    ///
    /// # Errors
    /// As [`Trainer::train`].
    pub fn train(&self, method: Method, seed: u64) -> Result<(Mixture, Run)> {
        self.train_in(method, seed, &Context::default())
    }

    fn train_in(&self, method: Method, seed: u64, context: &Context) -> Result<(Mixture, Run)> {
        let data = self.teacher_on(context.device)?.sample(self.data, &mut Rng::new(seed).split(99));
        let mut model = self.modes(-self.start, self.start, &[0.5, 0.5], context.device)?;
        let (steps, factor) = match method {
            Method::Cd { k } => (self.steps / k.max(1), self.cd_lr),
            _ => (self.steps, 1.0),
        };
        let settings = Settings {
            walkers: self.walkers,
            monitor: matches!(method, Method::Jarzynski { .. }).then_some(self.monitor),
            steps,
            lr: self.lr * factor,
            group_lr: vec![1.0, self.lr_z / self.lr],
            trust_region: Some(TrustRegion::Unlimited),
            every: (self.every / (self.steps / steps.max(1)).max(1)).max(1),
            seed,
            ..Default::default()
        };
        let mut trainer = Trainer::new(Ula::new(self.h), method).settings(settings);
        trainer.checkpointing = context.checkpointing(&format!("{}-{seed}", method.name()));
        let fresh = self.fresh(seed, context)?;
        let run = trainer.train_with(&mut model, &data, &mut |v: &StepView<Mixture>| {
            // Which side of the saddle: the modes' own labels mean nothing while they overlap.
            let side = |w: &jarzynski::walkers::Walkers| {
                let left = w.x().select(1, 0).lt(-2.0).to_kind(Kind::Double);
                let weights = match method {
                    Method::Jarzynski { .. } => w.weights(),
                    _ => Tensor::full_like(w.log_weights(), 1.0 / w.len() as f64),
                };
                left.dot(&weights).double_value(&[])
            };
            vec![
                ("moves".into(), (v.step * self.steps / steps.max(1)) as f64),
                ("mass".into(), v.model.masses().double_value(&[0])),
                ("cross_entropy_test".into(), cross_entropy(v.model, &fresh)),
                ("mass_walkers".into(), side(v.walkers)),
                ("mass_monitor".into(), v.monitor.map_or(f64::NAN, side)),
            ]
        })?;
        Ok((model, run))
    }
}

/// Exact, of points x under a mixture.
fn cross_entropy(model: &Mixture, x: &Tensor) -> f64 {
    model.evaluate_data(x).u.mean(Kind::Double).double_value(&[]) + model.log_z_exact().unwrap_or(f64::NAN)
}

const STEPS: &[&str] = &[
    "step",
    "moves",
    "mass",
    "mass_walkers",
    "mass_monitor",
    "cross_entropy",
    "cross_entropy_monitor",
    "cross_entropy_exact",
    "cross_entropy_test",
    "log_z",
    "log_z_se",
    "log_z_monitor",
    "log_z_monitor_se",
    "log_z_exact",
    "ess",
    "ess_monitor",
    "resampled",
    "grad_norm",
    "forward",
    "backward",
    "seconds",
];

impl Experiment for MixtureModes {
    const NAME: &'static str = "mixture";
    const ABOUT: &'static str = "mode masses of a 50-D mixture by Jarzynski, PCD and CD";
    const SMALL: &'static str = "dim = 3\nwalkers = 100\nmonitor = 100\ndata = 100\nsteps = 20\nevery = 10\nseeds = 1";

    fn full() -> Self {
        MixtureModes { steps: 8_000, lr: 0.0025, lr_z: 0.0125, monitor: 10_000, ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        let methods = [Method::Jarzynski { ess_min: self.ess_min }, Method::Pcd, Method::Cd { k: self.cd_k }];
        let mut runs = Vec::new();
        let mut finals = frame::Rows::new(&["method", "seed", "quantity", "value"]);
        for method in methods {
            for seed in (self.seed..).take(self.seeds.max(1)) {
                let (model, run) = self.train_in(method, seed, context)?;
                let name = method.name();
                // The points' own cross-entropy under the teacher: on held-out points no model is lower but by chance, on the
                // training points a model that fits them is.
                let teacher = self.teacher_on(context.device)?;
                let data = teacher.sample(self.data, &mut Rng::new(seed).split(99));
                let fresh = self.fresh(seed, context)?;
                let last = |c: &str| run.column(c).ok().and_then(|v| v.last().copied()).unwrap_or(f64::NAN);
                finals.push((name, seed, "mass", model.masses().double_value(&[0])));
                for (quantity, x) in [("gap_train", &data), ("gap_test", &fresh)] {
                    let gap = cross_entropy(&model, x) - cross_entropy(&teacher, x);
                    finals.push((name, seed, format!("cross_entropy_{quantity}"), gap));
                }
                finals.push((name, seed, "log_z_error", last("log_z") - last("log_z_exact")));
                finals.push((name, seed, "log_z_error_monitor", last("log_z_monitor") - last("log_z_exact")));
                runs.push((name.to_string(), seed, run));
            }
        }
        let mut out = Output::default();
        out.table("steps", stack(&runs, STEPS)?);
        out.table("summary", self.summary(&finals, &mut Vec::new())?);
        let mut notes = Vec::new();
        self.summary(&finals, &mut notes)?;
        notes.into_iter().for_each(|n| {
            out.note(n);
        });
        for (name, seed, run) in runs.iter().filter(|r| !r.2.finished()) {
            out.note(format!("{name}, seed {seed}: {:?}", run.outcome));
        }
        #[cfg(feature = "plot")]
        {
            let figure = self.figure(out.get("steps")?)?;
            out.figure("mixture", figure);
        }
        Ok(out)
    }
}

impl MixtureModes {
    fn summary(&self, finals: &frame::Rows, notes: &mut Vec<String>) -> Result<jarzynski::polars::prelude::DataFrame> {
        let bands = frame::bands(&finals.finish()?, &["quantity", "method"], "seed", &["value"])?;
        let (quantity, method) = (frame::column_str(&bands, "quantity")?, frame::column_str(&bands, "method")?);
        let (value, se) = (frame::column_f64(&bands, "value")?, frame::column_f64(&bands, "value_se")?);
        let mut rows = frame::Rows::new(&["case", "method", "quantity", "value", "se", "exact"]);
        for i in 0..value.len() {
            if value[i].is_nan() {
                continue;
            }
            let exact = if quantity[i] == "mass" { 0.25 } else { 0.0 };
            let case = format!("d={} N={}", self.dim, self.walkers);
            rows.push((case, &method[i], &quantity[i], value[i], se[i], exact));
            notes.push(format!(
                "{:<10} {:<26} {}  (exact {exact})",
                method[i],
                quantity[i],
                signed_with_error(value[i], se[i], 4)
            ));
        }
        rows.finish()
    }

    #[cfg(feature = "plot")]
    fn figure(&self, steps: &jarzynski::polars::prelude::DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let columns = ["mass", "cross_entropy_exact", "cross_entropy_test", "ess", "ess_monitor"];
        let bands = frame::bands(steps, &["method", "moves"], "seed", &columns)?;
        let mass = Panel::new("mass of the mode at −10").x("ULA steps per walker").y("mass");
        let mass = mass.frame(&bands, "method", "moves", "mass")?.hline("exact", 0.25).ylim(0.0, 1.0);
        let entropy = Panel::new("exact cross-entropy, training batch and held-out points")
            .x("ULA steps per walker")
            .y("H / nats");
        let mut entropy = entropy.frame(&bands, "method", "moves", "cross_entropy_exact")?;
        for method in frame::distinct(&bands, "method")? {
            let part = frame::filter(&bands, "method", &method)?;
            let (x, y) = (frame::column_f64(&part, "moves")?, frame::column_f64(&part, "cross_entropy_test")?);
            entropy = entropy.dashed(&format!("{method}, held-out"), &x, &y);
        }
        let own = frame::filter(steps, "method", "jarzynski")?;
        let error = |column: &str| -> Result<Vec<f64>> {
            let (a, b) = (frame::column_f64(&own, column)?, frame::column_f64(&own, "log_z_exact")?);
            Ok(a.iter().zip(b).map(|(a, b)| a - b).collect())
        };
        let mut table = frame::Rows::new(&["who", "seed", "moves", "error"]);
        let (moves, seeds) = (frame::column_f64(&own, "moves")?, frame::column_f64(&own, "seed")?);
        for (who, column) in [("jarzynski", "log_z"), ("monitor", "log_z_monitor")] {
            for ((error, moves), seed) in error(column)?.into_iter().zip(&moves).zip(&seeds) {
                table.push((who, *seed as i64, *moves, error));
            }
        }
        let errors = frame::bands(&table.finish()?, &["who", "moves"], "seed", &["error"])?;
        let log_z =
            Panel::new("error of log Ẑ (± s.e. over seeds)").x("ULA steps per walker").y("log Ẑ − log Z / nats");
        let log_z = log_z.frame(&errors, "who", "moves", "error")?.hline("exact", 0.0);
        let (j, x) = (frame::filter(&bands, "method", "jarzynski")?, "moves");
        let ess = Panel::new("effective sample size").x("ULA steps per walker").y("ESS / N").ylim(0.0, 1.0);
        let ess = ess.line("jarzynski", &frame::column_f64(&j, x)?, &frame::column_f64(&j, "ess")?).line(
            "monitor",
            &frame::column_f64(&j, x)?,
            &frame::column_f64(&j, "ess_monitor")?,
        );
        let seeds = if self.seeds > 1 { format!("{} seeds", self.seeds) } else { "1 seed".into() };
        let title = format!("Two modes in {} dimensions, {} walkers, {seeds}", self.dim, self.walkers);
        Ok(Figure::new(960, 680).title(&title).columns(2).panel(mass).panel(entropy).panel(log_z).panel(ess))
    }
}
