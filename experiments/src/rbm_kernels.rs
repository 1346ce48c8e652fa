//! Measure what the backward density of a Gibbs sweep does to the weights: the four choices, and (48) as printed.

use crate::evaluate::{pool, signed_with_error};
use crate::{Context, Experiment, Output};
use jarzynski::density::{At, Bipartite, Evaluation, Layers, LayersPath};
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::{Arrival, EvalCounts, Gibbs, GibbsReverse, Kernel, Move};
use jarzynski::model::{Rbm, Units};
use jarzynski::numeric::Rng;
use jarzynski::polars::prelude::DataFrame;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::transport::Transport;
use jarzynski::walkers::Estimate;
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// RBMs scaled from independent units (β = 0) to all of θ (β = 1) in K steps of one sweep.
///
/// Table `variance`: `model, backward, steps, log_z, se, exact, var_a, ess`, means over seeds. The backward densities are those
/// of [`GibbsReverse`]; `collapsed (48)` draws v with the mean b + Wh that the paper prints, for Gaussian units of σ ≠ 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RbmKernels {
    /// Visible units.
    pub visible: usize,
    /// Hidden units.
    pub hidden: usize,
    /// Standard deviation of W with binary visible units; b and c have half of it.
    pub scale: f64,
    /// The same with Gaussian visible units; their σ are spread from ½ to 2.
    pub scale_gaussian: f64,
    /// Steps K.
    pub steps: Vec<usize>,
    /// Walkers per seed.
    pub walkers: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for RbmKernels {
    fn default() -> Self {
        RbmKernels {
            visible: 12,
            hidden: 8,
            scale: 1.0,
            scale_gaussian: 0.5,
            steps: vec![10, 30, 100, 300],
            walkers: 10_000,
            seed: 0,
            seeds: 2,
        }
    }
}

const NAMED: [(GibbsReverse, &str); 4] = [
    (GibbsReverse::SameScan, "same scan"),
    (GibbsReverse::ReversedScan, "reversed scan"),
    (GibbsReverse::Exact, "exact"),
    (GibbsReverse::Collapsed, "collapsed"),
];
const PRINTED: &str = "collapsed (48)";

/// Gibbs sampling of Gaussian units with the mean b + Wh, as (48) prints it, under weights that take it to be right.
#[derive(Debug, Clone, Copy)]
struct AsPrinted;

impl<E: Bipartite<Layers = Units> + ?Sized> Kernel<E> for AsPrinted {
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let units = u.layers();
        let h = units.draw_hidden(&units.hidden_input(&at.x), rng);
        let sigma = units.visible.parameter().map_or_else(|| units.b.ones_like(), |(_, log_var)| (log_var * 0.5).exp());
        let y = units.b.addmm(&h, &units.w.tr()) + rng.normal(&at.x.size(), at.x.kind(), at.x.device()) * sigma;
        let alpha = u.energy(&y);
        Move::new(y, alpha, EvalCounts::default())
    }

    fn backward(&self, u: &E, _at: &Evaluation, mv: Move, _rng: &mut Rng) -> Arrival {
        let point = u.evaluate(&mv.y);
        Arrival::new(point.u.shallow_clone(), point, EvalCounts::default())
    }
}

impl RbmKernels {
    fn validate(&self) -> Result<()> {
        for (name, n) in [
            ("visible", self.visible),
            ("hidden", self.hidden),
            ("walkers", self.walkers),
            ("seeds", self.seeds),
            ("steps", self.steps.iter().copied().min().unwrap_or(0)),
        ] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        Ok(())
    }

    /// The RBM of this configuration, with (v | h) or with v as walkers, on the CPU.
    ///
    /// # Errors
    /// As [`Rbm::with_parameters`].
    pub fn rbm(&self, gaussian: bool, joint: bool) -> Result<Rbm> {
        self.rbm_on(gaussian, joint, Device::Cpu)
    }

    fn rbm_on(&self, gaussian: bool, joint: bool, device: Device) -> Result<Rbm> {
        let (dv, dh) = (self.visible as i64, self.hidden as i64);
        // the same machine on every device
        let mut rng = Rng::new(self.seed).split(0x12b8).on_host();
        let scale = if gaussian { self.scale_gaussian } else { self.scale };
        let mut draw = |size: &[i64]| rng.normal(size, Kind::Double, device) * scale;
        let (w, b, c) = (draw(&[dv, dh]), draw(&[dv]) * 0.5, draw(&[dh]) * 0.5);
        let sigma = (Tensor::linspace(-1.0, 1.0, dv, (Kind::Double, device)) * 2f64.ln()).exp();
        Rbm::with_parameters(&w, &b, &c, gaussian.then_some(&sigma), joint)
    }

    fn measure<K>(&self, kernel: K, name: (&str, &str), rbm: &Rbm, steps: usize, rows: &mut Rows) -> Result<()>
    where
        K: for<'a> Kernel<At<'a, LayersPath<Units>>> + Copy,
    {
        let (path, exact) = (LayersPath::scaled(rbm), rbm.exact_log_z()?);
        let (mut log_z, mut variance, mut ess): (Vec<Estimate>, Vec<f64>, Vec<f64>) = Default::default();
        for seed in (self.seed..).take(self.seeds) {
            let run = Transport::new(kernel, steps, self.walkers, seed).every(steps).run(&path)?;
            log_z.push(run.walkers.log_z());
            variance.push(run.walkers.log_weights().var(true).double_value(&[]));
            ess.push(run.walkers.ess());
        }
        let (z, mean) = (pool(&log_z), |v: &[f64]| frame::mean_se(v).0);
        rows.push((name.0, name.1, steps, z.value, z.se, exact, mean(&variance), mean(&ess)));
        Ok(())
    }
}

impl Experiment for RbmKernels {
    const NAME: &'static str = "rbm-kernels";
    const ABOUT: &'static str = "four backward densities for Gibbs sampling (Lemmas 3, 4), and (48) as printed";
    const SMALL: &'static str = "steps = [10]\nwalkers = 100\nseeds = 1\nvisible = 5\nhidden = 3";

    fn full() -> Self {
        RbmKernels { steps: vec![10, 30, 100, 300, 1_000], walkers: 100_000, seeds: 5, ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let mut rows = Rows::new(&["model", "backward", "steps", "log_z", "se", "exact", "var_a", "ess"]);
        for (model, gaussian) in [("bernoulli", false), ("gaussian", true)] {
            for (back, name) in NAMED {
                let rbm = self.rbm_on(gaussian, back != GibbsReverse::Collapsed, context.device)?;
                for &steps in &self.steps {
                    self.measure(Gibbs::with(back), (model, name), &rbm, steps, &mut rows)?;
                }
            }
            if gaussian {
                let rbm = self.rbm_on(true, false, context.device)?;
                for &steps in &self.steps {
                    self.measure(AsPrinted, (model, PRINTED), &rbm, steps, &mut rows)?;
                }
            }
        }
        let table = rows.finish()?;
        let mut out = Output::default();
        self.say(&table, &mut out)?;
        #[cfg(feature = "plot")]
        out.figure("rbm-kernels", self.figure(&table)?);
        out.table("variance", table);
        Ok(out)
    }
}

/// The rows of one model and backward density.
fn part(table: &DataFrame, model: &str, backward: &str) -> Result<DataFrame> {
    frame::filter(&frame::filter(table, "model", model)?, "backward", backward)
}

impl RbmKernels {
    fn say(&self, table: &DataFrame, out: &mut Output) -> Result<()> {
        let (read, text) = (|c: &str| frame::column_f64(table, c), |c: &str| frame::column_str(table, c));
        let (z, se, exact, var) = (read("log_z")?, read("se")?, read("exact")?, read("var_a")?);
        let (model, back, ess, steps) = (text("model")?, text("backward")?, read("ess")?, read("steps")?);
        let last = self.steps.last().copied().unwrap_or(0) as f64;
        for i in (0..z.len()).filter(|i| steps[*i] == last) {
            out.note(format!(
                "{:<9} {:<14} K={last}: log Ẑ − log Z {} ({:+.1} se), Var A {:.3}, ESS/N {:.4}",
                model[i],
                back[i],
                signed_with_error(z[i] - exact[i], se[i], 4),
                (z[i] - exact[i]) / se[i],
                var[i],
                ess[i]
            ));
        }
        Ok(())
    }

    #[cfg(feature = "plot")]
    fn figure(&self, table: &DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let mut figure = Figure::new(980, 1000).columns(2).title("The backward density of a Gibbs sweep");
        let models = ["bernoulli", "gaussian"];
        let names =
            |model: &str| NAMED.iter().map(|n| n.1).chain((model == "gaussian").then_some(PRINTED)).collect::<Vec<_>>();
        let (dv, dh) = (self.visible, self.hidden);
        for (column, title, label, log) in [
            ("var_a", "variance of the weights", "Var A / nats²", true),
            ("ess", "effective sample size", "ESS / N", false),
        ] {
            for model in models {
                let mut panel = Panel::new(&format!("{title}, {model} {dv}×{dh}")).x("steps K").y(label).log_x();
                panel = if log { panel.log_y() } else { panel.ylim(0.0, 1.0) };
                for name in names(model) {
                    let own = part(table, model, name)?;
                    let (k, v) = (frame::column_f64(&own, "steps")?, frame::column_f64(&own, column)?);
                    panel = panel.line(name, &k, &v).points(name, &k, &v);
                }
                figure = figure.panel(panel);
            }
        }
        for model in models {
            let mut panel =
                Panel::new(&format!("error of log Ẑ, {model} {dv}×{dh}")).x("steps K").y("|log Ẑ − log Z| / nats");
            panel = panel.log_x().log_y();
            for name in names(model) {
                let own = part(table, model, name)?;
                let read = |c: &str| frame::column_f64(&own, c);
                let (k, z, exact) = (read("steps")?, read("log_z")?, read("exact")?);
                let error: Vec<f64> = z.iter().zip(&exact).map(|(z, e)| (z - e).abs()).collect();
                panel = panel.line(name, &k, &error).points(name, &k, &error);
            }
            figure = figure.panel(panel);
        }
        Ok(figure)
    }
}
