//! Measure the order of every scheme for flows: how fast its weights vanish with the step, and what that costs.

use crate::evaluate::with_error;
use crate::{Context, Experiment, Output};
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::FlowKernel;
use jarzynski::model::Interpolant;
use jarzynski::numeric::fit::log_log;
use jarzynski::polars::prelude::DataFrame;
use jarzynski::run::StepView;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::transport::Transport;
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// Lemma 2 says A_{k+1} − A_k = O(h^{3/2}) for Prop. 2 and expects O(h^{l/2}) for better integrators. Measured here are the
/// exponents of h in the root mean squares of one increment and of A_T, in Var A_T and in 1 − ESS/N, at d = 1 and 5.
///
/// Targets: d = 1: w = (.4, .6), μ = ∓1.5, σ = (.6, .8); d = 5: μ = (−1.5, ½, ½, ½, ½) and its negative, same w and σ.
///
/// Table `order`: `scheme, d, quantity, exponent, exponent_se, expected`, fitted by least squares of logarithms for each
/// seed over the steps h ≤ `fit` whose value is above rounding; the error is that of the mean over seeds. Table `scaling`:
/// `scheme, d, seed, h, steps, rms_increment, rms_a, var_a, one_minus_ess, forward, backward, drift, jacobian, cost` with
/// the evaluations per walker and `cost` their sum, a Jacobian counted as 1 + d.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowOrder {
    /// Schemes by name.
    pub schemes: Vec<String>,
    /// Dimensions, each 1 or more.
    pub dims: Vec<usize>,
    /// log₂ of the numbers of steps K = 1/h.
    pub log_steps: Vec<u32>,
    /// Largest h that enters the fits.
    pub fit: f64,
    /// Noise ε.
    pub eps: f64,
    /// Walkers per seed.
    pub walkers: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for FlowOrder {
    fn default() -> Self {
        FlowOrder {
            schemes: FlowKernel::NAMES.map(String::from).to_vec(),
            dims: vec![1, 5],
            log_steps: (4..=10).collect(),
            fit: 1.0 / 32.0,
            eps: 1.0,
            walkers: 500,
            seed: 0,
            seeds: 3,
        }
    }
}

const QUANTITIES: [&str; 4] = ["rms_increment", "rms_a", "var_a", "one_minus_ess"];
/// Below these, rounding of A in f64 is seen instead: per increment and in squares.
const ROUNDING: [f64; 4] = [3e-14, 3e-13, 1e-25, 1e-25];

impl FlowOrder {
    /// The target in d dimensions.
    ///
    /// # Errors
    /// d = 0.
    pub fn path(d: usize) -> Result<Interpolant> {
        let mean: Vec<f64> = (0..d).map(|i| if i == 0 { -1.5 } else { 0.5 }).collect();
        let other = mean.iter().map(|m| -m).collect();
        Interpolant::new(&[mean, other], &[0.4, 0.6], &[0.6, 0.8])
    }

    fn validate(&self) -> Result<()> {
        for (name, n) in [("walkers", self.walkers), ("seeds", self.seeds)] {
            if n < 2 {
                return Err(Error::param(name, n, "at least 2: the errors come from them"));
            }
        }
        if let Some(d) = self.dims.iter().find(|d| **d == 0) {
            return Err(Error::param("dims", d, "at least 1"));
        }
        if let Some(k) = self.log_steps.iter().find(|k| **k > 16) {
            return Err(Error::param("log_steps", k, "at most 16"));
        }
        let fitted = self.log_steps.iter().filter(|k| 0.5f64.powi(**k as i32) <= self.fit).count();
        if fitted < 2 {
            return Err(Error::param("fit", self.fit, "a step with at least two of `log_steps` at or below it"));
        }
        self.schemes.iter().try_for_each(|s| FlowKernel::named(s, self.eps).map(|_| ()))
    }

    /// One run: the four quantities and the evaluations per walker.
    fn measure(&self, path: &Interpolant, scheme: &str, steps: usize, seed: u64) -> Result<([f64; 4], [f64; 4])> {
        let (mut before, mut squares): (Option<Tensor>, Option<Tensor>) = (None, None);
        let mut watch = |at: &StepView<_>| {
            let a = at.walkers.log_weights();
            if let Some(before) = &before {
                let square = (a - before).square().mean(Kind::Double);
                squares = Some(squares.take().map_or(square.shallow_clone(), |sum| sum + square));
            }
            before = Some(a.copy());
            Vec::new()
        };
        let kernel = FlowKernel::named(scheme, self.eps)?;
        let run = Transport::new(kernel, steps, self.walkers, seed).run_with(path, &mut watch)?;
        let n = self.walkers as f64;
        let spent = |name: &str| run.column(name).map(|v| v.iter().sum::<f64>() / n);
        let cost = [spent("forward")?, spent("backward")?, spent("drift")?, spent("jacobian")?];
        if !run.finished() {
            // too coarse for this scheme: no number
            return Ok(([f64::NAN; 4], cost));
        }
        // U_base − U_0, the constant that every walker's A starts from; what is left is exactly 0 for an exact scheme
        let start = -0.5 * path.dim() as f64 * (2.0 * std::f64::consts::PI).ln();
        let a = run.walkers.log_weights() - start;
        let (w, mean) = (run.walkers.weights(), a.mean(Kind::Double).double_value(&[]));
        let var = (&a - mean).square().mean(Kind::Double).double_value(&[]) * n / (n - 1.0);
        // 1 − ESS/N = Σ(w − 1/N)²/Σw², without the cancellation
        let away = (&w - 1.0 / n).square().sum(Kind::Double) / w.square().sum(Kind::Double);
        let rms = a.square().mean(Kind::Double).double_value(&[]).sqrt();
        let squares = squares.map_or(0.0, |sum| sum.double_value(&[]));
        Ok(([(squares / steps as f64).sqrt(), rms, var, away.double_value(&[])], cost))
    }

    fn scaling(&self, device: Device) -> Result<DataFrame> {
        let mut names = vec!["scheme", "d", "seed", "h", "steps"];
        names.extend(QUANTITIES);
        names.extend(["forward", "backward", "drift", "jacobian", "cost"]);
        let mut rows = Rows::new(&names);
        for &d in &self.dims {
            let path = Self::path(d)?.on(Kind::Double, device)?;
            for scheme in &self.schemes {
                for &log in &self.log_steps {
                    for seed in (self.seed..).take(self.seeds) {
                        let steps = 1usize << log;
                        let (q, c) = self.measure(&path, scheme, steps, seed)?;
                        let mut row: Vec<frame::Cell> =
                            vec![scheme.into(), d.into(), seed.into(), (1.0 / steps as f64).into(), steps.into()];
                        row.extend(q.map(frame::Cell::from));
                        row.extend(c.map(frame::Cell::from));
                        row.push((c[0] + c[1] + c[2] + (1.0 + d as f64) * c[3]).into());
                        rows.push(row);
                    }
                }
            }
        }
        rows.finish()
    }

    /// Slopes by seed, then their mean and its error.
    fn order(&self, scaling: &DataFrame) -> Result<DataFrame> {
        let mut rows = Rows::new(&["scheme", "d", "quantity", "exponent", "exponent_se", "expected"]);
        for &d in &self.dims {
            let of_dim = frame::filter(scaling, "d", &d.to_string())?;
            for scheme in &self.schemes {
                let declared = FlowKernel::named(scheme, self.eps)?.order();
                let expected = [declared.increment, declared.total, 2.0 * declared.total, 2.0 * declared.total];
                let own = frame::filter(&of_dim, "scheme", scheme)?;
                for (q, name) in QUANTITIES.iter().enumerate() {
                    let mut slopes = Vec::new();
                    for seed in (self.seed..).take(self.seeds) {
                        let part = frame::filter(&own, "seed", &seed.to_string())?;
                        let (h, v) = (frame::column_f64(&part, "h")?, frame::column_f64(&part, name)?);
                        let usable = h.into_iter().zip(v).filter(|(h, v)| *h <= self.fit && *v > ROUNDING[q]);
                        let (h, v): (Vec<f64>, Vec<f64>) = usable.unzip();
                        slopes.extend(log_log(&h, &v).map(|fit| fit.slope));
                    }
                    let (exponent, se) = frame::mean_se(&slopes);
                    rows.push((scheme, d, *name, exponent, se, expected[q]));
                }
            }
        }
        rows.finish()
    }
}

impl Experiment for FlowOrder {
    const NAME: &'static str = "flow-order";
    const ABOUT: &'static str = "how fast the weights of each flow scheme vanish with the step: Lemma 2 measured";
    const SMALL: &'static str = "dims = [1, 2]\nlog_steps = [3, 4]\nfit = 0.2\nwalkers = 50\nseeds = 2";

    fn full() -> Self {
        FlowOrder { walkers: 10_000, seeds: 8, ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let scaling = self.scaling(context.device)?;
        let order = self.order(&scaling)?;
        let mut out = Output::default();
        let (scheme, quantity) = (frame::column_str(&order, "scheme")?, frame::column_str(&order, "quantity")?);
        let (d, e) = (frame::column_f64(&order, "d")?, frame::column_f64(&order, "exponent")?);
        let (se, expected) = (frame::column_f64(&order, "exponent_se")?, frame::column_f64(&order, "expected")?);
        for i in (0..e.len()).filter(|i| ["rms_increment", "rms_a"].contains(&&quantity[*i][..])) {
            let text = format!("{:<11} d = {} {:<13} h^{}", scheme[i], d[i], quantity[i], with_error(e[i], se[i], 2));
            out.note(format!("{text}  (declared {})", expected[i]));
        }
        #[cfg(feature = "plot")]
        {
            out.figure("orders", self.slopes(&scaling)?);
            out.figure("cost", self.costs(&scaling)?);
        }
        out.table("order", order);
        out.table("scaling", scaling);
        Ok(out)
    }
}

#[cfg(feature = "plot")]
impl FlowOrder {
    /// A scheme's mean over seeds of two columns.
    fn curve(&self, scaling: &DataFrame, d: usize, scheme: &str, x: &str, y: &str) -> Result<(Vec<f64>, Vec<f64>)> {
        let part = frame::filter(&frame::filter(scaling, "d", &d.to_string())?, "scheme", scheme)?;
        let bands = frame::bands(&part, &["steps"], "seed", &[x, y])?;
        Ok((frame::column_f64(&bands, x)?, frame::column_f64(&bands, y)?))
    }

    /// Root mean squares against h, with Lemma 2 as it is printed and as it is.
    fn slopes(&self, scaling: &DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let mut figure = Figure::new(980, 340 * self.dims.len() as u32 + 60).columns(2);
        figure = figure.title("Lemma 2 measured: root mean square of the weights against the step");
        for &d in &self.dims {
            for (quantity, what) in [("rms_increment", "one increment Aₖ₊₁ − Aₖ"), ("rms_a", "A_T")] {
                let title = format!("{what}, d = {d}");
                let mut panel = Panel::new(&title).x("step h").y("root mean square / nats").log_x().log_y();
                panel = panel.ylim(1e-9, 10.0);
                for scheme in &self.schemes {
                    let (h, v) = self.curve(scaling, d, scheme, "h", quantity)?;
                    panel = panel.line(scheme, &h, &v).points(scheme, &h, &v);
                }
                let h: Vec<f64> = self.log_steps.iter().map(|k| 0.5f64.powi(*k as i32)).collect();
                let printed: Vec<f64> =
                    h.iter().map(|h| if quantity == "rms_a" { 2.0 * h.sqrt() } else { 8.0 * h.powf(1.5) }).collect();
                let label = if quantity == "rms_a" {
                    "theory: h^(1/2), Prop. 2 as it is"
                } else {
                    "theory: h^(3/2), Lemma 2 as printed"
                };
                figure = figure.panel(panel.dashed(label, &h, &printed));
            }
        }
        Ok(figure)
    }

    /// Var A_T against evaluations per walker.
    fn costs(&self, scaling: &DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let mut figure = Figure::new(980, 420).columns(2).title("What a small variance costs");
        for &d in &self.dims {
            let x = format!("evaluations per walker (a Jacobian counts {})", d + 1);
            let mut panel = Panel::new(&format!("d = {d}")).x(&x).y("Var A_T / nats²").log_x().log_y().ylim(1e-12, 2.0);
            for scheme in &self.schemes {
                let (cost, v) = self.curve(scaling, d, scheme, "cost", "var_a")?;
                panel = panel.line(scheme, &cost, &v).points(scheme, &cost, &v);
            }
            figure = figure.panel(panel);
        }
        Ok(figure)
    }
}
