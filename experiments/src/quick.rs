//! Train a first energy in seconds: a mixture whose log Z and masses are known, by Jarzynski and PCD.

use crate::evaluate::{stack, with_error};
use crate::{Context, Experiment, Output};
use jarzynski::io::frame::Rows;
use jarzynski::model::Mixture;
use jarzynski::{Estimate, Method, Model, Result, Rng, Run, Trainer, Ula};
use serde::{Deserialize, Serialize};

/// A mixture of two separated Gaussians in the plane with masses .3 and .7, from equal masses and means that are too near.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quick {
    /// The modes are at (−distance, 0) and (distance, 0).
    pub distance: f64,
    /// Mass of the left mode.
    pub mass: f64,
    /// Points to train on.
    pub data: usize,
    /// Walkers.
    pub walkers: usize,
    /// Updates.
    pub steps: usize,
    /// Step of the kernel.
    pub h: f64,
    /// Learning rate.
    pub lr: f64,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: u64,
}

impl Default for Quick {
    fn default() -> Self {
        Quick {
            distance: 3.0,
            mass: 0.3,
            data: 10_000,
            walkers: 10_000,
            steps: 300,
            h: 0.1,
            lr: 0.05,
            seed: 0,
            seeds: 1,
        }
    }
}

/// One training: the model it ended with, and its run.
struct Trained {
    method: &'static str,
    seed: u64,
    model: Mixture,
    run: Run,
}

impl Quick {
    fn train(&self, method: Method, seed: u64, context: &Context) -> Result<Trained> {
        let two = |distance: f64, mass: f64| {
            let (means, sigma) = ([vec![-distance, 0.0], vec![distance, 0.0]], [1.0, 1.0]);
            Mixture::with_sigma(&means, &[mass, 1.0 - mass], &sigma, jarzynski::tch::Kind::Double, context.device)
        };
        let data = two(self.distance, self.mass)?.sample(self.data, &mut Rng::new(seed).split(99));
        let mut model = two(self.distance / 2.0, 0.5)?;
        let mut trainer =
            Trainer::new(Ula::new(self.h), method).walkers(self.walkers).steps(self.steps).lr(self.lr).seed(seed);
        trainer.checkpointing = context.checkpointing(&format!("{}-{seed}", method.name()));
        let run = trainer.train(&mut model, &data)?;
        Ok(Trained { method: method.name(), seed, model, run })
    }

    fn row(&self, rows: &mut Rows, of: &Trained, quantity: &str, value: Estimate, exact: f64) {
        rows.push(("two modes", of.method, of.seed as i64, quantity, value.value, value.se, exact));
    }
}

impl Experiment for Quick {
    const NAME: &'static str = "quick";
    const ABOUT: &'static str = "a first training in seconds: log Z with its error, and the masses of two modes";
    const SMALL: &'static str = "data = 200\nwalkers = 200\nsteps = 20";

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        let mut trained = Vec::new();
        for seed in (self.seed..).take(self.seeds.max(1) as usize) {
            for method in [Method::Jarzynski { ess_min: 0.5 }, Method::Pcd] {
                trained.push(self.train(method, seed, context)?);
            }
        }
        let mut out = Output::default();
        let mut rows = Rows::new(&["case", "method", "seed", "quantity", "value", "se", "exact"]);
        for t in &trained {
            let mass = t.model.masses().double_value(&[0]);
            self.row(&mut rows, t, "mass of the left mode", Estimate::new(mass, f64::NAN), self.mass);
            if let (Some(z), Some(exact)) = (t.run.log_z(), t.model.log_z_exact()) {
                self.row(&mut rows, t, "log Z", z, exact);
                out.note(format!("{:<10} log Z {} (exact {exact:.3})", t.method, with_error(z.value, z.se, 3)));
            }
            out.note(format!("{:<10} mass of the left mode {mass:.3} (data {:.3})", t.method, self.mass));
            if !t.run.finished() {
                out.note(format!("{}, seed {}: {:?}", t.method, t.seed, t.run.outcome));
            }
        }
        out.table("summary", rows.finish()?);
        let columns = ["step", "log_z_monitor", "log_z_monitor_se", "log_z_exact", "ess", "ess_monitor", "seconds"];
        let runs: Vec<_> = trained.into_iter().map(|t| (t.method.to_string(), t.seed, t.run)).collect();
        out.table("steps", stack(&runs, &columns)?);
        #[cfg(feature = "plot")]
        {
            let figure = self.figure(&runs, out.get("summary")?)?;
            out.figure("quick", figure);
        }
        Ok(out)
    }
}

#[cfg(feature = "plot")]
impl Quick {
    fn figure(
        &self,
        runs: &[(String, u64, Run)],
        summary: &jarzynski::polars::prelude::DataFrame,
    ) -> Result<jarzynski::plot::Figure> {
        use jarzynski::io::frame::{bands, column_f64, column_str, filter};
        use jarzynski::plot::{Figure, Panel};
        let mut log_z = Panel::new("log Z during the training, by the monitor").x("update").y("log Z / nats");
        let weighted = runs.iter().find(|(_, _, run)| run.weighted);
        if let Some((_, _, run)) = weighted {
            let [step, value, se, exact] =
                ["step", "log_z_monitor", "log_z_monitor_se", "log_z_exact"].map(|c| run.column(c));
            let (step, value, se, exact) = (step?, value?, se?, exact?);
            // an error bar that would be too short is not given, and no band is drawn there
            let se: Vec<f64> = se.iter().map(|s| if s.is_finite() { 2.0 * s } else { 0.0 }).collect();
            let edge = |sign: f64| value.iter().zip(&se).map(|(v, s)| v + sign * s).collect::<Vec<f64>>();
            log_z = log_z.band("jarzynski", &step, &edge(-1.0), &edge(1.0)).line("jarzynski", &step, &value);
            log_z = log_z.dashed("exact", &step, &exact);
        }
        let masses = bands(&filter(summary, "quantity", "mass of the left mode")?, &["method"], "seed", &["value"])?;
        let mut names = vec!["data".to_string()];
        names.extend(column_str(&masses, "method")?);
        let mass = Panel::new("mass of the left mode at the end").y("mass").ylim(0.0, 1.0).categories(&names);
        let values = [vec![self.mass], column_f64(&masses, "value")?].concat();
        let errors = [vec![0.0], column_f64(&masses, "value_se")?].concat();
        let errors: Vec<f64> = errors.iter().map(|e| if e.is_finite() { *e } else { 0.0 }).collect();
        let ess = weighted.map(|(_, _, run)| Ok::<_, jarzynski::Error>((run.column("step")?, run.column("ess")?)));
        let mut panel = Panel::new("effective sample size").x("update").y("ESS / N").ylim(0.0, 1.05);
        if let Some(curve) = ess {
            let (step, ess) = curve?;
            panel = panel.line("jarzynski", &step, &ess);
        }
        let title = format!("Two modes in the plane, {} walkers, {} updates", self.walkers, self.steps);
        let figure = Figure::new(1_050, 360).title(&title).columns(3);
        Ok(figure.panel(log_z).panel(mass.bars("mass", &values, &errors)).panel(panel))
    }
}
