//! Correct coarse steps of a generative SDE on paths with known answers: plain and reweighted moments against exact ones.

use crate::evaluate::pool;
use crate::{Context, Experiment, Output};
use jarzynski::density::Flow;
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::Escorted;
use jarzynski::model::{Coupling, GaussianPath, Interpolant};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::transport::Transport;
use jarzynski::walkers::{Estimate, Walkers};
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// Prop. 2, eqs (21)-(22), on a Gaussian path and on the 2-D mixture whose moments the text gives.
///
/// Table `moments`: `case, method, quantity, value, se, exact, ess, tail, stiffness` with case `PATH K=… ε=…`; quantities `x0`,
/// `x0²`, `P(x0<0)` by both methods and `log_z` by the reweighted one. Values are means over
/// seeds, `tail` is k̂ of [`Walkers::pareto_k`], `stiffness` is hε times the largest curvature of U. Near 1 the weights' variance
/// is infinite; 10⁴ walkers do not show it, neither in the ESS nor in an error bar (10⁶ do: .003 where 10⁴ say .29).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowExact {
    /// Steps K.
    pub steps: Vec<usize>,
    /// Noises ε.
    pub eps: Vec<f64>,
    /// Walkers per seed.
    pub walkers: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for FlowExact {
    fn default() -> Self {
        FlowExact {
            steps: vec![4, 8, 16, 32, 64, 128],
            eps: vec![0.02, 0.1, 0.5, 1.0, 2.0],
            walkers: 10_000,
            seed: 0,
            seeds: 3,
        }
    }
}

/// Names and exact values of what is measured.
const QUANTITIES: [&str; 4] = ["x0", "x0²", "P(x0<0)", "log_z"];

impl FlowExact {
    /// The 2-D mixture: w = (.3, .7), μ = (−2, 0), (2, 1), σ = (.5, .7).
    ///
    /// # Errors
    /// As [`Interpolant::new`].
    pub fn mixture() -> Result<Interpolant> {
        Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7])
    }

    /// From N(0, I) to N((1.5, −1), diag(.4², 1.3²)) by independent coupling: points turn, so that Euler steps are not exact.
    ///
    /// # Errors
    /// As [`GaussianPath::new`].
    pub fn gaussian() -> Result<GaussianPath> {
        let coupling = Coupling::Independent(jarzynski::model::Interpolation::Linear);
        GaussianPath::new((&[0.0, 0.0], &[1.0, 1.0]), (&[1.5, -1.0], &[0.4, 1.3]), coupling)
    }

    /// `sigma`: the narrowest width of the target. Along the way the narrowest variance is σ²/(1 + σ²).
    fn cases<P: Flow>(&self, name: &str, path: &P, sigma: f64, exact: [f64; 4], rows: &mut Rows) -> Result<()> {
        for &steps in &self.steps {
            for &eps in &self.eps {
                let mut plain: [Vec<Estimate>; 3] = Default::default();
                let mut weighted: [Vec<Estimate>; 4] = Default::default();
                let (mut ess, mut tail) = (Vec::new(), Vec::new());
                for seed in (self.seed..).take(self.seeds) {
                    let transport = Transport::new(Escorted::new(eps), steps, self.walkers, seed).every(steps);
                    let run = transport.run(path)?;
                    if !run.finished() {
                        return Err(Error::param(
                            "eps",
                            eps,
                            format!("a noise that is stable at K = {steps}: {:?}", run.outcome),
                        ));
                    }
                    ess.push(run.walkers.ess());
                    tail.push(run.walkers.pareto_k());
                    let functions = functions(run.walkers.x());
                    for (q, g) in functions.iter().enumerate() {
                        weighted[q].push(run.walkers.mean(g)?);
                    }
                    weighted[3].push(run.walkers.log_z());
                    let even = Walkers::new(run.walkers.into_evaluation(), 0.0);
                    for (q, g) in functions.iter().enumerate() {
                        plain[q].push(even.mean(g)?);
                    }
                }
                let case = format!("{name} K={steps} ε={eps}");
                let (ess, tail) = (frame::mean_se(&ess).0, frame::mean_se(&tail).0);
                let stiffness = eps / steps as f64 * (1.0 + sigma.powi(-2));
                for (q, e) in plain.iter().enumerate() {
                    let e = pool(e);
                    rows.push((&case, "plain", QUANTITIES[q], e.value, e.se, exact[q], 1.0, f64::NAN, stiffness));
                }
                for (q, e) in weighted.iter().enumerate() {
                    let e = pool(e);
                    rows.push((&case, "reweighted", QUANTITIES[q], e.value, e.se, exact[q], ess, tail, stiffness));
                }
            }
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        for (name, n) in [("walkers", self.walkers), ("seeds", self.seeds)] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        if self.steps.contains(&0) {
            return Err(Error::param("steps", 0, "at least 1"));
        }
        if self.steps.is_empty() || self.eps.is_empty() {
            let name = if self.steps.is_empty() { "steps" } else { "eps" };
            return Err(Error::param(name, "[]", "at least one"));
        }
        Ok(())
    }
}

/// x₀, x₀² and the indicator of x₀ < 0 at each walker.
fn functions(x: &Tensor) -> [Tensor; 3] {
    let first = x.select(1, 0);
    [first.copy(), first.square(), first.lt(0.0).to_kind(Kind::Double)]
}

/// P(N(m, s²) < 0).
fn below_zero(m: f64, s: f64) -> f64 {
    0.5 * Tensor::from(m / (s * 2f64.sqrt())).erfc().double_value(&[])
}

impl Experiment for FlowExact {
    const NAME: &'static str = "flow-exact";
    const ABOUT: &'static str = "a flow's coarse steps, plain and reweighted by Prop. 2, against exact moments";
    const SMALL: &'static str = "steps = [8]\neps = [0.5]\nwalkers = 500\nseeds = 1";

    fn full() -> Self {
        FlowExact { walkers: 100_000, seeds: 5, ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let mut rows = Rows::new(&["case", "method", "quantity", "value", "se", "exact", "ess", "tail", "stiffness"]);
        let left = 0.3 * below_zero(-2.0, 0.5) + 0.7 * below_zero(2.0, 0.7);
        let mixture = Self::mixture()?.on(Kind::Double, context.device)?;
        let gaussian = Self::gaussian()?.on(Kind::Double, context.device)?;
        self.cases("mixture", &mixture, 0.5, [0.8, 4.418, left, 0.0], &mut rows)?;
        self.cases("gaussian", &gaussian, 0.4, [1.5, 2.41, below_zero(1.5, 0.4), 0.0], &mut rows)?;
        let moments = rows.finish()?;
        let mut out = Output::default();
        self.say(&moments, &mut out)?;
        #[cfg(feature = "plot")]
        out.figure("flow-exact", self.figure(&moments)?);
        out.table("moments", moments);
        Ok(out)
    }
}

impl FlowExact {
    fn say(&self, moments: &jarzynski::polars::prelude::DataFrame, out: &mut Output) -> Result<()> {
        let read = |name| frame::column_f64(moments, name);
        let (value, se, exact, ess) = (read("value")?, read("se")?, read("exact")?, read("ess")?);
        let text = |name| frame::column_str(moments, name);
        let (method, case, quantity) = (text("method")?, text("case")?, text("quantity")?);
        let z = |i: usize| (value[i] - exact[i]) / se[i];
        let stiffness = read("stiffness")?;
        let mut worst = |who: &str, which: &dyn Fn(usize) -> bool| {
            let rows = (0..value.len()).filter(|i| se[*i] > 0.0 && which(*i));
            let (count, far) = (rows.clone().count(), rows.max_by(|a, b| z(*a).abs().total_cmp(&z(*b).abs())));
            if let Some(i) = far {
                out.note(format!(
                    "{who}: of {count} rows the farthest is {:+.1} se from exact ({}, {})",
                    z(i),
                    quantity[i],
                    case[i]
                ));
            }
        };
        let weighted = |i: usize| method[i] == "reweighted" && ess[i] > 0.05;
        worst("reweighted, ESS/N > .05", &weighted);
        worst("reweighted, ESS/N > .05 and hελ < ½", &|i| weighted(i) && stiffness[i] < 0.5);
        worst("plain", &|i| method[i] == "plain");
        let poor = (0..value.len()).filter(|i| method[*i] == "reweighted" && ess[*i] <= 0.05).count();
        out.note(format!("{poor} reweighted rows have ESS/N ≤ .05, where the error bars are not to be trusted"));
        Ok(())
    }

    #[cfg(feature = "plot")]
    fn figure(&self, moments: &jarzynski::polars::prelude::DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let mut figure = Figure::new(980, 660).columns(3).title("Prop. 2 on paths with known answers");
        let steps: Vec<f64> = self.steps.iter().map(|k| *k as f64).collect();
        let column = |path: &str, eps: f64, method: &str, quantity: &str, name: &str| -> Result<Vec<f64>> {
            let mut all = Vec::new();
            for k in &self.steps {
                let part = frame::filter(moments, "case", &format!("{path} K={k} ε={eps}"))?;
                let part = frame::filter(&frame::filter(&part, "method", method)?, "quantity", quantity)?;
                all.extend(frame::column_f64(&part, name)?);
            }
            Ok(all)
        };
        for (path, exact) in [("mixture", 4.418), ("gaussian", 2.41)] {
            let middle = self.eps[self.eps.len() / 2];
            let mut moment = Panel::new(&format!("{path}, ε = {middle}")).x("steps K").y("E x₀²").log_x();
            for method in ["plain", "reweighted"] {
                let (v, se) =
                    (column(path, middle, method, "x0²", "value")?, column(path, middle, method, "x0²", "se")?);
                moment = moment.line(method, &steps, &v).errorbars(method, &steps, &v, &se);
            }
            let mut far =
                Panel::new("plain: distance of E x₀² from exact").x("steps K").y("|error| / exact").log_x().log_y();
            let mut ess = Panel::new("effective sample size").x("steps K").y("ESS / N").log_x().ylim(0.0, 1.0);
            for &eps in &self.eps {
                let label = format!("ε = {eps}");
                let plain = column(path, eps, "plain", "x0²", "value")?;
                let error: Vec<f64> = plain.iter().map(|v| (v - exact).abs() / exact).collect();
                far = far.line(&label, &steps, &error).points(&label, &steps, &error);
                let e = column(path, eps, "reweighted", "x0²", "ess")?;
                ess = ess.line(&label, &steps, &e).points(&label, &steps, &e);
            }
            figure = figure.panel(moment.hline("exact", exact)).panel(far).panel(ess);
        }
        Ok(figure)
    }
}
