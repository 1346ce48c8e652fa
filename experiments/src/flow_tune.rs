//! Choose ε, h and the scheme by the variance model, and hold the choice against a grid.

use crate::flow_exact::FlowExact;
use crate::flow_order::FlowOrder;
use crate::{Context, Experiment, Output};
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::FlowKernel;
use jarzynski::model::Interpolant;
use jarzynski::polars::prelude::DataFrame;
use jarzynski::tch::Kind;
use jarzynski::transport::Transport;
use jarzynski::tune::{CostModel, Tune, VarianceModel};
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// Open questions 1 and 2: which kernel makes the weights vary least, and what better integrators buy.
///
/// Table `noise`: `path, steps, eps, seed, ess, predicted`: Prop. 2 at fixed cost against ε, with the model's ESS. Table
/// `grid`: `path, scheme, eps, steps, ess, cost`: for each scheme and noise the fewest steps that reach `ess`. Table
/// `choice`: `path, among, scheme, steps, eps, ess, cost, grid_scheme, grid_cost, ratio`: what `tune` takes among the
/// schemes without a Jacobian and among all, and the cheapest of the grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowTune {
    /// Noises of the grid.
    pub eps: Vec<f64>,
    /// Steps at which ESS is shown against ε.
    pub steps: Vec<usize>,
    /// Wanted ESS/N.
    pub ess: f64,
    /// Schemes of the grid; those without a Jacobian first.
    pub schemes: Vec<String>,
    /// Walkers of a run.
    pub walkers: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for FlowTune {
    fn default() -> Self {
        let schemes = [
            "escorted",
            "midpoint",
            "matched",
            "euler-ula",
            "euler-mala",
            "rk4-ula",
            "rk4-mala",
            "ode-euler",
            "ode-rk4",
        ];
        FlowTune {
            eps: vec![0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.2, 2.0, 4.0],
            steps: vec![16, 64],
            ess: 0.9,
            schemes: schemes.map(String::from).to_vec(),
            walkers: 2_000,
            seed: 0,
            seeds: 4,
        }
    }
}

/// Schemes that need no Jacobian.
const BARE: [&str; 3] = ["escorted", "midpoint", "heun"];

impl FlowTune {
    fn validate(&self) -> Result<()> {
        for (name, n) in [("walkers", self.walkers), ("seeds", self.seeds), ("eps", self.eps.len())] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        if self.walkers < 100 {
            return Err(Error::param("walkers", self.walkers, "at least 100"));
        }
        if let Some(k) = self.steps.iter().find(|k| **k == 0) {
            return Err(Error::param("steps", k, "at least 1"));
        }
        self.schemes.iter().try_for_each(|s| FlowKernel::named(s, 1.0).map(|_| ()))
    }

    fn ess_of(&self, path: &Interpolant, scheme: &str, eps: f64, steps: usize, seed: u64) -> Result<(f64, f64)> {
        let kernel = FlowKernel::named(scheme, eps)?;
        let run = Transport::new(kernel, steps, self.walkers, seed).every(steps).run(path)?;
        let cost = CostModel::counted(path.dim()).of(&run)?;
        Ok((if run.finished() { run.walkers.ess() } else { 0.0 }, cost))
    }

    /// The fewest steps up to 512 that reach the wanted ESS, by bisection, with ESS and cost there.
    fn fewest(&self, path: &Interpolant, scheme: &str, eps: f64) -> Result<Option<(usize, f64, f64)>> {
        let at = |steps| self.ess_of(path, scheme, eps, steps, self.seed);
        let (mut low, mut high) = (0, 1);
        let mut found = at(high)?;
        while found.0 < self.ess {
            (low, high) = (high, high * 2);
            if high > 512 {
                return Ok(None);
            }
            found = at(high)?;
        }
        while high - low > 1 {
            let middle = (low + high) / 2;
            let there = at(middle)?;
            if there.0 >= self.ess { (high, found) = (middle, there) } else { low = middle }
        }
        Ok(Some((high, found.0, found.1)))
    }

    /// The fewest steps from `steps` on at which the mean over seeds reaches the wanted ESS: a single run's fluctuation is not a
    /// choice. The cost there.
    fn confirmed(&self, path: &Interpolant, scheme: &str, eps: f64, mut steps: usize) -> Result<f64> {
        loop {
            let runs: Result<Vec<(f64, f64)>> =
                (1..=self.seeds as u64).map(|s| self.ess_of(path, scheme, eps, steps, self.seed + s)).collect();
            let (ess, cost): (Vec<f64>, Vec<f64>) = runs?.into_iter().unzip();
            if frame::mean_se(&ess).0 >= self.ess || steps >= 1024 {
                return Ok(cost[0]);
            }
            steps += (steps / 40).max(1);
        }
    }

    fn noise(&self, name: &str, path: &Interpolant, model: &VarianceModel, rows: &mut Rows) -> Result<()> {
        for &steps in &self.steps {
            for &eps in &self.eps {
                for seed in (self.seed..).take(self.seeds) {
                    let (ess, _) = self.ess_of(path, "escorted", eps, steps, seed)?;
                    rows.push((name, steps, eps, seed, ess, model.ess(1.0 / steps as f64, eps)));
                }
            }
        }
        Ok(())
    }
}

impl Experiment for FlowTune {
    const NAME: &'static str = "flow-tune";
    const ABOUT: &'static str = "noise, steps and scheme of a flow chosen by the variance model, against a grid";
    const SMALL: &'static str =
        "eps = [0.5]\nsteps = [16]\ness = 0.5\nschemes = [\"escorted\", \"euler-mala\"]\nwalkers = 100\nseeds = 1";

    fn full() -> Self {
        FlowTune { walkers: 40_000, seeds: 8, ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let mut out = Output::default();
        let mut noise = Rows::new(&["path", "steps", "eps", "seed", "ess", "predicted"]);
        let mut grid = Rows::new(&["path", "scheme", "eps", "steps", "ess", "cost"]);
        let mut choice =
            Rows::new(&["path", "among", "scheme", "steps", "eps", "ess", "cost", "grid_scheme", "grid_cost", "ratio"]);
        let mut models = Vec::new();
        for (name, path) in [("mixture, d = 2", FlowExact::mixture()?), ("mixture, d = 5", FlowOrder::path(5)?)] {
            let path = path.on(Kind::Double, context.device)?;
            let model = VarianceModel::pilot(&path, 12, 2_000, self.seed)?;
            self.noise(name, &path, &model, &mut noise)?;
            let mut cheapest: Vec<(String, f64, usize, f64)> = Vec::new();
            for scheme in &self.schemes {
                let noiseless = FlowKernel::named(scheme, 1.0)?.noise().is_none();
                for &eps in if noiseless { &self.eps[..1] } else { &self.eps[..] } {
                    let found = self.fewest(&path, scheme, eps)?;
                    let (steps, ess, cost) = found.map_or((f64::NAN, f64::NAN, f64::NAN), |f| (f.0 as f64, f.1, f.2));
                    grid.push((name, scheme, if noiseless { f64::NAN } else { eps }, steps, ess, cost));
                    cheapest.extend(found.map(|f| (scheme.clone(), eps, f.0, f.2)));
                }
            }
            for among in ["no Jacobian", "all"] {
                let allowed = |s: &str| among == "all" || BARE.contains(&s);
                let names: Vec<&str> = self.schemes.iter().map(String::as_str).filter(|s| allowed(s)).collect();
                let best = cheapest.iter().filter(|c| allowed(&c.0)).min_by(|a, b| a.3.total_cmp(&b.3));
                let Some((grid_scheme, eps, steps, _)) = best.cloned() else { continue };
                let grid_cost = self.confirmed(&path, &grid_scheme, eps, steps)?;
                let tuned =
                    Tune::new(self.ess, self.seed).schemes(&names).walkers(self.walkers.min(2_000)).run(&path)?;
                let (scheme, ratio) = (tuned.kernel.name(), tuned.cost / grid_cost);
                let eps = tuned.kernel.noise().map_or(f64::NAN, |n| n.at(0.5));
                let shown = if eps.is_nan() { String::new() } else { format!(" with ε(½) = {eps:.2}") };
                out.note(format!(
                    "{name}, {among}: tune takes {scheme} in {} steps{shown}: ESS/N {:.3} at {:.0} evaluations per walker; \
                     the grid's cheapest is {grid_scheme} at {grid_cost:.0} (ratio {ratio:.2})",
                    tuned.steps, tuned.ess, tuned.cost
                ));
                let row: Vec<frame::Cell> = vec![
                    name.into(),
                    among.into(),
                    scheme.into(),
                    tuned.steps.into(),
                    eps.into(),
                    tuned.ess.into(),
                    tuned.cost.into(),
                    grid_scheme.into(),
                    grid_cost.into(),
                    ratio.into(),
                ];
                choice.push(row);
            }
            out.note(format!(
                "{name}: I₂ = {:.3}, I_a = {:.1}; the model's ε at h = 1/{} is {:.2}",
                model.i2(),
                model.ia(),
                self.steps[0],
                model.best_noise(1.0 / self.steps[0] as f64)
            ));
            models.push((name, model));
        }
        let (noise, grid) = (noise.finish()?, grid.finish()?);
        #[cfg(feature = "plot")]
        out.figure("flow-tune", self.figure(&noise, &grid, &choice.finish()?, &models)?);
        out.table("noise", noise);
        out.table("grid", grid);
        out.table("choice", choice.finish()?);
        Ok(out)
    }
}

#[cfg(feature = "plot")]
impl FlowTune {
    fn figure(
        &self,
        noise: &DataFrame,
        grid: &DataFrame,
        choice: &DataFrame,
        models: &[(&str, VarianceModel)],
    ) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let mut figure = Figure::new(980, 760).columns(2).title("The noise that the variance model chooses");
        let (lo, hi) = (self.eps[0], self.eps[self.eps.len() - 1]);
        let fine: Vec<f64> = (0..=120).map(|i| lo * (hi / lo).powf(i as f64 / 120.0)).collect();
        for (name, model) in models {
            let mut panel =
                Panel::new(&format!("Prop. 2 at K steps, dashed: the model; {name}")).x("noise ε").y("ESS / N").log_x();
            panel = panel.ylim(0.0, 1.0);
            let own = frame::filter(noise, "path", name)?;
            let bands = frame::bands(&own, &["steps", "eps"], "seed", &["ess"])?;
            for &steps in &self.steps {
                let part = frame::filter(&bands, "steps", &steps.to_string())?;
                let read = |c: &str| frame::column_f64(&part, c);
                let (label, h) = (format!("K = {steps}"), 1.0 / steps as f64);
                let predicted: Vec<f64> = fine.iter().map(|e| model.ess(h, *e)).collect();
                panel = panel.errorbars(&label, &read("eps")?, &read("ess")?, &read("ess_se")?);
                panel =
                    panel.dashed(&label, &fine, &predicted).vline("theory: the model's choice", model.best_noise(h));
            }
            figure = figure.panel(panel);
        }
        for (name, _) in models {
            let title = format!("cost of ESS/N = {}; {name}", self.ess);
            let mut panel = Panel::new(&title).x("noise ε").y("evaluations per walker").log_x().log_y();
            let own = frame::filter(grid, "path", name)?;
            for scheme in &self.schemes {
                let part = frame::filter(&own, "scheme", scheme)?;
                let (eps, cost) = (frame::column_f64(&part, "eps")?, frame::column_f64(&part, "cost")?);
                if let ([e], [c]) = (&eps[..], &cost[..]) {
                    if e.is_nan() && c.is_finite() {
                        panel = panel.dashed(scheme, &[lo, hi], &[*c, *c]);
                    }
                    continue;
                }
                panel = panel.line(scheme, &eps, &cost).points(scheme, &eps, &cost);
            }
            let own = frame::filter(choice, "path", name)?;
            for among in ["no Jacobian", "all"] {
                let part = frame::filter(&own, "among", among)?;
                let (eps, cost) = (frame::column_f64(&part, "eps")?, frame::column_f64(&part, "cost")?);
                // a scheme without noise is shown at the left edge
                let eps: Vec<f64> = eps.iter().map(|e| if e.is_nan() { lo } else { *e }).collect();
                panel = panel.points(&format!("tune, {among}"), &eps, &cost);
            }
            figure = figure.panel(panel);
        }
        Ok(figure)
    }
}
