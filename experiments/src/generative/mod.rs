//! Compare energy-based models with the other generative models of the guide's Table 1 on the same data.

mod data;
mod fit;
mod flow_energy;
mod gan;
mod measure;
mod methods;
mod show;
mod vae;

use crate::evaluate::on_threads;
use crate::{Context, Experiment, Output};
use data::{NAMES, Problem};
use jarzynski::io::frame::Rows;
use jarzynski::numeric::Threads;
use jarzynski::{Error, Result};
use measure::Fitted;
use methods::{Bench, METHODS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Every method on every data set, three seeds. All models learn the data with the same fresh noise, with networks of about as many
/// parameters, and are measured on the same rows held out.
///
/// Table `comparison`: `data, method, seed, log_lik_test, log_lik_se, kind, mass_distance, mmd, mmd_se, seconds, parameters`.
/// `log_lik_test` is the mean log-density of held-out rows in nats; `kind` says how it is known: `exact` (a formula, or log Z by
/// quadrature in two dimensions), `AIS` (log Z by weighted walkers), `bound` (a lower bound) or `none`. `mass_distance` is the total
/// variation distance between the masses of the modes, `mmd` the squared maximum mean discrepancy to the held-out rows, `seconds`
/// those of the training. Method `data` is a fresh sample of the distribution itself. Table `masses`: `data, method, seed, mode,
/// mass, share`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerativeComparison {
    /// Data sets: some of modes-8, moons, modes-20d, digits.
    pub data: Vec<String>,
    /// Methods: some of jarzynski, pcd, cd, denoising, score, sliced, nce, vae, gan, ladder, flow, stochastic-flow.
    pub methods: Vec<String>,
    /// Points to train on, of the synthetic data.
    pub points: usize,
    /// Draws per row in the bound of the VAE.
    pub importance: i64,
    /// Factor of all numbers of updates and of annealing steps.
    pub effort: f64,
    /// In the plane.
    pub plane: Setting,
    /// In 20 dimensions.
    pub modes_20d: Setting,
    /// On digits.
    pub digits: Setting,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

/// Sizes and rates on one kind of data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Hidden widths of an energy's network.
    pub widths: Vec<i64>,
    /// Hidden widths of each of the two networks of VAE and GAN.
    pub halves: Vec<i64>,
    /// Dimensions of the latent space of VAE and GAN.
    pub latent: i64,
    /// Couplings of the flow.
    pub couplings: usize,
    /// Hidden widths of each of them.
    pub flow_widths: Vec<i64>,
    /// Factor of the gradient penalty of the GAN.
    pub penalty: f64,
    /// Step of MALA in whitened coordinates.
    pub h: f64,
    /// Moves of it per update.
    pub moves: usize,
    /// Walkers of a training.
    pub walkers: usize,
    /// Least conditional ESS of one update by natural gradients.
    pub ess: f64,
    /// Rows per update.
    pub batch: usize,
    /// Steps of the annealing that measures a model.
    pub anneal: usize,
    /// Its walkers, and draws of models that have no walkers.
    pub draws: usize,
    /// Updates of each method.
    pub updates: BTreeMap<String, usize>,
    /// Learning rate of each method.
    pub lr: BTreeMap<String, f64>,
}

impl Setting {
    /// Updates and learning rate of a method.
    fn learning(&self, method: &str) -> (usize, f64) {
        (self.updates.get(method).copied().unwrap_or(0), self.lr.get(method).copied().unwrap_or(f64::NAN))
    }
}

/// (updates, learning rate) of the methods, in their order.
fn learning(of: [(usize, f64); METHODS.len()]) -> (BTreeMap<String, usize>, BTreeMap<String, f64>) {
    let named = || METHODS.iter().map(|m| m.to_string()).zip(of);
    (named().map(|(m, l)| (m, l.0)).collect(), named().map(|(m, l)| (m, l.1)).collect())
}

impl Default for GenerativeComparison {
    fn default() -> Self {
        let (updates, lr) = learning([
            (200, 1.0),
            (200, 1.0),
            (500, 1e-2),
            (1_500, 5e-3),
            (1_000, 5e-3),
            (1_000, 5e-3),
            (2_000, 5e-3),
            (2_000, 3e-3),
            (1_500, 1e-3),
            (1_500, 5e-3),
            (1_500, 5e-3),
            (800, 5e-3),
        ]);
        let plane = Setting {
            widths: vec![64, 64],
            halves: vec![44, 44],
            latent: 2,
            couplings: 8,
            flow_widths: vec![20, 20],
            penalty: 0.1,
            h: 0.01,
            moves: 4,
            walkers: 1_000,
            ess: 0.95,
            batch: 256,
            anneal: 150,
            draws: 1_500,
            updates,
            lr,
        };
        let (updates, lr) = learning([
            (120, 1.0),
            (120, 1.0),
            (300, 5e-3),
            (800, 3e-3),
            (800, 3e-3),
            (800, 3e-3),
            (1_000, 3e-3),
            (1_500, 3e-3),
            (1_500, 1e-3),
            (800, 3e-3),
            (800, 3e-3),
            (400, 3e-3),
        ]);
        let modes_20d = Setting {
            widths: vec![128, 128],
            halves: vec![90, 90],
            latent: 4,
            flow_widths: vec![32, 32],
            h: 0.02,
            walkers: 800,
            draws: 1_000,
            updates,
            lr,
            ..plane.clone()
        };
        let (updates, lr) = learning([
            (130, 1.0),
            (130, 1.0),
            (260, 1e-3),
            (300, 1e-3),
            (300, 1e-3),
            (300, 1e-3),
            (500, 1e-3),
            (800, 1e-3),
            (1_000, 5e-4),
            (500, 1e-3),
            (300, 1e-3),
            (200, 1e-3),
        ]);
        let digits = Setting {
            widths: vec![256, 256],
            halves: vec![160, 160],
            latent: 10,
            flow_widths: vec![64, 64],
            penalty: 1.0,
            h: 0.1,
            moves: 3,
            walkers: 512,
            batch: 245,
            draws: 512,
            updates,
            lr,
            ..plane.clone()
        };
        GenerativeComparison {
            data: NAMES.map(String::from).to_vec(),
            methods: METHODS.map(String::from).to_vec(),
            points: 2_000,
            importance: 200,
            effort: 1.0,
            plane,
            modes_20d,
            digits,
            seed: 0,
            seeds: 3,
        }
    }
}

/// A method's result on a data set with a seed.
#[derive(Debug)]
struct Cell {
    data: &'static str,
    method: String,
    seed: u64,
    fitted: std::result::Result<Found, String>,
}

/// What the tables and figures need of it.
#[derive(Debug)]
struct Found {
    fitted: Fitted,
    shares: Vec<f64>,
    mass_distance: f64,
    mmd: jarzynski::Estimate,
    /// Names and masses of the modes.
    modes: Vec<(String, f64)>,
}

impl GenerativeComparison {
    fn validate(&self) -> Result<()> {
        for (name, list, known) in [("data", &self.data, &NAMES[..]), ("methods", &self.methods, &METHODS[..])] {
            if let Some(bad) = list.iter().find(|n| !known.contains(&n.as_str())) {
                return Err(Error::param(name, bad, format!("some of {}", known.join(", "))));
            }
            if list.is_empty() {
                return Err(Error::param(name, "[]", format!("some of {}", known.join(", "))));
            }
        }
        for (name, n, least) in [("points", self.points, 100), ("seeds", self.seeds, 1)] {
            if n < least {
                return Err(Error::param(name, n, format!("at least {least}")));
            }
        }
        if self.importance < 1 {
            return Err(Error::param("importance", self.importance, "at least 1"));
        }
        if !(self.effort > 0.0 && self.effort.is_finite()) {
            return Err(Error::param("effort", self.effort, "a positive, finite factor"));
        }
        for (place, setting) in [("plane", &self.plane), ("modes_20d", &self.modes_20d), ("digits", &self.digits)] {
            for (name, known) in
                [("updates", setting.updates.keys().collect::<Vec<_>>()), ("lr", setting.lr.keys().collect())]
            {
                if let Some(missing) = METHODS.iter().find(|m| !known.iter().any(|k| k == *m)) {
                    return Err(Error::param(
                        name,
                        format!("none for {missing} in {place}"),
                        "a number for each method",
                    ));
                }
            }
        }
        Ok(())
    }

    /// A number of updates or steps at this effort, at least 1.
    fn scaled(&self, n: usize) -> usize {
        ((n as f64 * self.effort).round() as usize).max(1)
    }

    fn setting(&self, data: &str) -> &Setting {
        match data {
            "modes-20d" => &self.modes_20d,
            "digits" => &self.digits,
            _ => &self.plane,
        }
    }

    /// All methods on one data set with one seed.
    fn cells(&self, data: &str, seed: u64, context: &Context) -> Result<Vec<Cell>> {
        let problem = Problem::new(data, self.points, seed, context.device)?;
        let setting = self.setting(data);
        let mut bench = Bench { of: self, setting, problem: &problem, context, seed, flow: None };
        let found = |fitted: Fitted| -> Result<Found> {
            let shares = problem.shares(&fitted.x, &fitted.w)?;
            let mass_distance = problem.mass_distance(&shares);
            let mmd = problem.mmd(&fitted.samples);
            let modes = problem.modes.iter().cloned().zip(problem.masses.iter().copied()).collect();
            Ok(Found { shares, mass_distance, mmd, modes, fitted })
        };
        let of = |method: &str, fitted| Cell { data: problem.name, method: method.into(), seed, fitted };
        let mut cells = vec![of("data", Ok(found(bench.data()?)?))];
        for method in METHODS.iter().filter(|m| self.methods.iter().any(|own| own == *m)) {
            let fitted = match bench.run(method)? {
                Ok(fitted) => Ok(found(fitted)?),
                Err(why) => Err(why),
            };
            cells.push(of(method, fitted));
        }
        Ok(cells)
    }
}

impl Experiment for GenerativeComparison {
    const NAME: &'static str = "generative-comparison";
    const ABOUT: &'static str =
        "energy-based models beside VAE, GAN, diffusion and flows: likelihood, masses of modes, discrepancy, seconds";
    const SMALL: &'static str = "points = 200\nimportance = 5\neffort = 0.01\nseeds = 1\n\
         [plane]\nwalkers = 50\nbatch = 50\ndraws = 80\n[modes_20d]\nwalkers = 50\nbatch = 50\ndraws = 80\n[digits]\nwalkers = 50\nbatch = 50\ndraws = 80";

    fn full() -> Self {
        let d = GenerativeComparison::default();
        GenerativeComparison { effort: 4.0, points: 10_000, importance: 1_000, seeds: 5, ..d }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let jobs: Vec<(&str, u64)> = (self.data.iter())
            .flat_map(|data| (self.seed..).take(self.seeds).map(move |seed| (data.as_str(), seed)))
            .collect();
        let one = Threads::request(1);
        let cells = on_threads(&jobs, context.device, |(data, seed)| self.cells(data, *seed, context))?;
        let cells: Vec<Cell> = cells.into_iter().flatten().collect();
        drop(one);
        let mut table = Rows::new(&[
            "data",
            "method",
            "seed",
            "log_lik_test",
            "log_lik_se",
            "kind",
            "mass_distance",
            "mmd",
            "mmd_se",
            "seconds",
            "parameters",
        ]);
        let mut masses = Rows::new(&["data", "method", "seed", "mode", "mass", "share"]);
        let mut out = Output::default();
        for c in &cells {
            match &c.fitted {
                Ok(Found { fitted: f, shares, mass_distance, mmd, modes }) => {
                    let (l, p) = (f.log_lik, f.parameters);
                    table.push((
                        c.data,
                        &c.method,
                        c.seed,
                        l.value,
                        l.se,
                        f.kind,
                        *mass_distance,
                        mmd.value,
                        mmd.se,
                        f.seconds,
                        p,
                    ));
                    for ((mode, mass), share) in modes.iter().zip(shares) {
                        masses.push((c.data, &c.method, c.seed, mode, *mass, *share));
                    }
                }
                Err(why) => {
                    out.note(format!("{} by {}, seed {}: {why}", c.data, c.method, c.seed));
                }
            }
        }
        let table = table.finish()?;
        self.say(&table, &cells, &mut out)?;
        #[cfg(feature = "plot")]
        self.figures(&table, &cells, &mut out)?;
        out.table("comparison", table).table("masses", masses.finish()?);
        Ok(out)
    }
}
