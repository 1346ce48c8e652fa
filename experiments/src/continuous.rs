//! Let the step go to zero: the discrete weights of Lemma 1 converge to those of continuous time, appendix A.

use crate::evaluate::pool;
use crate::{Context, Experiment, Output};
use jarzynski::density::{Evaluation, Path};
use jarzynski::io::frame;
use jarzynski::io::frame::Rows;
use jarzynski::kernel::zeta;
use jarzynski::model::Interpolant;
use jarzynski::numeric::Rng;
use jarzynski::tch::{Kind, Tensor};
use jarzynski::walkers::{Estimate, Walkers};
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// Prop. 3: dX = −α∇U_t dt + √(2α) dW, Ȧ = −∂_tU_t(X), along U_t from N(0, 1) to a two-mode mixture in one dimension.
///
/// One Brownian path per walker drives all steps h = 1/K, coarse ones by sums of fine increments. `jarzynski` is the weight
/// (15)-(16) with step αh, exact in mean at every h; `naive` sums −h ∂_tU along the same walkers, Prop. 3 taken literally.
///
/// Table `convergence`: `alpha, h, method, quantity, value, se, exact`: `rms_gap`, the root mean square of A − A_ref with
/// A_ref Prop. 3 at the finest step (whose own gap to itself is left out), and `log_z`, exact 0. `log_z_gap` is log Ẑ of
/// `naive` less that of `jarzynski` on the same walkers, seed by seed: since the latter is exact in mean, the bias of the former.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Continuous {
    /// Speeds α of the walkers against that of the protocol.
    pub alpha: Vec<f64>,
    /// log₂ of the numbers of steps K = 1/h.
    pub log_steps: Vec<u32>,
    /// log₂ of the steps of the reference, above all of these.
    pub log_reference: u32,
    /// Walkers per seed.
    pub walkers: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for Continuous {
    fn default() -> Self {
        Continuous {
            alpha: vec![1.0, 2.0],
            log_steps: (3..=8).collect(),
            log_reference: 10,
            walkers: 2_000,
            seed: 0,
            seeds: 8,
        }
    }
}

/// One step size in progress: walkers, both log-weights, and the noise of fine steps summed up so far.
struct Level {
    fine: usize,
    at: Evaluation,
    noise: Tensor,
    jarzynski: Tensor,
    naive: Tensor,
}

const METHODS: [&str; 2] = ["jarzynski", "naive"];

impl Continuous {
    /// From N(0, 1) to .4 N(−1.5, .6²) + .6 N(1.5, .8²), linear.
    ///
    /// # Errors
    /// As [`Interpolant::new`].
    pub fn path() -> Result<Interpolant> {
        Interpolant::new(&[vec![-1.5], vec![1.5]], &[0.4, 0.6], &[0.6, 0.8])
    }

    fn validate(&self) -> Result<()> {
        for (name, n) in [("walkers", self.walkers), ("seeds", self.seeds)] {
            if n < 2 {
                return Err(Error::param(name, n, "at least 2: the errors come from them"));
            }
        }
        if let Some(a) = self.alpha.iter().find(|a| !(**a > 0.0 && a.is_finite())) {
            return Err(Error::param("alpha", a, "positive, finite speeds"));
        }
        if self.log_reference > 16 || self.log_steps.iter().any(|k| *k >= self.log_reference) {
            let expected = format!("numbers below log_reference = {} ≤ 16", self.log_reference);
            return Err(Error::param("log_steps", format!("{:?}", self.log_steps), expected));
        }
        Ok(())
    }

    /// For each step size, A by both methods, and the reference: all `[N]`.
    fn follow(&self, path: &Interpolant, alpha: f64, rng: &mut Rng) -> Result<(Vec<Level>, Tensor)> {
        let finest = 1usize << self.log_reference;
        let n = self.walkers as i64;
        let start = path.base().sample(self.walkers, rng);
        let level = |log: &u32| {
            let zero = || Tensor::zeros([n], (Kind::Double, start.device()));
            let (fine, noise) = (1usize << (self.log_reference - log), Tensor::zeros_like(&start));
            Level { fine, at: still(path, 0.0, &start), noise, jarzynski: zero(), naive: zero() }
        };
        let mut levels: Vec<Level> = self.log_steps.iter().chain([&self.log_reference]).map(level).collect();
        for k in 1..=finest {
            let noise = rng.normal(&[n, 1], Kind::Double, start.device());
            for l in &mut levels {
                l.noise = &l.noise + &noise;
                if k % l.fine == 0 {
                    l.step(path, alpha, k, finest)?;
                }
            }
        }
        let reference = levels.pop().map(|l| l.naive).unwrap_or_default();
        Ok((levels, reference))
    }
}

/// U and ∇U with b = 0: plain Langevin dynamics.
fn still(path: &Interpolant, t: f64, x: &Tensor) -> Evaluation {
    let at = path.evaluate(t, x);
    Evaluation::new(x.shallow_clone(), at.u.shallow_clone(), at.grad().shallow_clone()).with_drift(x.zeros_like())
}

impl Level {
    /// One Euler step ending at the fine time `k`, with both weights.
    fn step(&mut self, path: &Interpolant, alpha: f64, k: usize, finest: usize) -> Result<()> {
        let (h, t) = (self.fine as f64 / finest as f64, (k - self.fine) as f64 / finest as f64);
        let unit = &self.noise / (self.fine as f64).sqrt();
        let y = &self.at.x - self.at.grad() * (alpha * h) + unit * (2.0 * alpha * h).sqrt();
        let there = still(path, k as f64 / finest as f64, &y);
        self.naive = &self.naive - path.rate(t, &self.at.x) * h;
        self.jarzynski = &self.jarzynski + zeta(&self.at, &there, h, alpha)?;
        (self.at, self.noise) = (there, self.noise.zeros_like());
        Ok(())
    }
}

impl Experiment for Continuous {
    const NAME: &'static str = "continuous";
    const ABOUT: &'static str = "discrete weights against continuous time as the step goes to zero, appendix A";
    const SMALL: &'static str = "alpha = [1.0]\nlog_steps = [3, 4]\nlog_reference = 5\nwalkers = 50\nseeds = 2";

    fn full() -> Self {
        Continuous { walkers: 40_000, log_reference: 13, log_steps: (4..=10).collect(), ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let path = Self::path()?.on(Kind::Double, context.device)?;
        let mut rows = Rows::new(&["alpha", "h", "method", "quantity", "value", "se", "exact"]);
        let mut out = Output::default();
        for &alpha in &self.alpha {
            // [level][method] → one value per seed
            let mut gaps = vec![[vec![], vec![]]; self.log_steps.len()];
            let mut log_z: Vec<[Vec<Estimate>; 2]> = vec![Default::default(); self.log_steps.len()];
            for seed in (self.seed..).take(self.seeds) {
                let (levels, reference) = self.follow(&path, alpha, &mut Rng::new(seed).split(0xc0))?;
                for (i, level) in levels.into_iter().enumerate() {
                    for (m, a) in [&level.jarzynski, &level.naive].into_iter().enumerate() {
                        gaps[i][m].push((a - &reference).square().mean(Kind::Double).double_value(&[]).sqrt());
                        log_z[i][m].push(log_mean(a));
                    }
                }
            }
            let mut shifts = Vec::new();
            for (i, log) in self.log_steps.iter().enumerate() {
                let h = 0.5f64.powi(*log as i32);
                let [own, naive] = &log_z[i];
                let paired: Vec<f64> = own.iter().zip(naive).map(|(a, b)| b.value - a.value).collect();
                let (shift, se) = frame::mean_se(&paired);
                rows.push((alpha, h, "naive", "log_z_gap", shift, se, 0.0));
                shifts.push((shift, se));
                for (m, method) in METHODS.iter().enumerate() {
                    let (gap, se) = frame::mean_se(&gaps[i][m]);
                    rows.push((alpha, h, *method, "rms_gap", gap, se, 0.0));
                    let z = pool(&log_z[i][m]);
                    rows.push((alpha, h, *method, "log_z", z.value, z.se, 0.0));
                }
            }
            let bias = Estimate::new(shifts[0].0, shifts[0].1);
            out.note(format!(
                "α = {alpha}, h = 1/{}: log Ẑ = {} by the weights of Lemma 1; Prop. 3 taken literally adds {bias} (exact 0, 0)",
                1u64 << self.log_steps[0],
                pool(&log_z[0][0])
            ));
            for (m, method) in METHODS.iter().enumerate() {
                let v: Vec<f64> = gaps.iter().map(|g| frame::mean_se(&g[m]).0).collect();
                let half = v.len() / 2;
                let order = (v[half] / v[v.len() - 1]).log2() / (v.len() - 1 - half).max(1) as f64;
                out.note(format!("α = {alpha}: root mean square of A − A_ref by {method} goes as h^{order:.2}"));
            }
        }
        let table = rows.finish()?;
        #[cfg(feature = "plot")]
        out.figure("continuous", self.figure(&table)?);
        out.table("convergence", table);
        Ok(out)
    }
}

/// log mean e^A with its delta-method error.
fn log_mean(a: &Tensor) -> Estimate {
    let place = || Evaluation::new(a.unsqueeze(-1), a.shallow_clone(), Tensor::new());
    let mut walkers = Walkers::new(place(), 0.0);
    walkers.commit(place(), a, &a.zeros_like());
    walkers.log_z()
}

#[cfg(feature = "plot")]
impl Continuous {
    fn figure(&self, table: &jarzynski::polars::prelude::DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let mut figure = Figure::new(980, 400 * self.alpha.len() as u32).columns(2);
        figure = figure.title("Continuous time is the limit, not the algorithm");
        for alpha in &self.alpha {
            let mut gap = Panel::new(&format!("gap to continuous time, α = {alpha}")).x("step h").log_x().log_y();
            gap = gap.y("root mean square of A − A_ref / nats");
            let mut bias = Panel::new(&format!("bias of Prop. 3 taken literally, α = {alpha}")).x("step h").log_x();
            bias = bias.y("log Ẑ, naive − jarzynski / nats");
            let of = |method: &str, quantity: &str| -> Result<[Vec<f64>; 3]> {
                let part = frame::filter(&frame::filter(table, "method", method)?, "quantity", quantity)?;
                let (a, h) = (frame::column_f64(&part, "alpha")?, frame::column_f64(&part, "h")?);
                let (v, se) = (frame::column_f64(&part, "value")?, frame::column_f64(&part, "se")?);
                let keep = |v: &[f64]| a.iter().zip(v).filter(|(a, _)| **a == *alpha).map(|(_, v)| *v).collect();
                Ok([keep(&h), keep(&v), keep(&se)])
            };
            for method in METHODS {
                let [h, v, se] = of(method, "rms_gap")?;
                gap = gap.line(method, &h, &v).errorbars(method, &h, &v, &se);
            }
            let [h, v, se] = of("naive", "log_z_gap")?;
            bias = bias.line("naive", &h, &v).errorbars("naive", &h, &v, &se);
            let [h, v, _] = of("naive", "rms_gap")?;
            let line: Vec<f64> = h.iter().map(|x| 0.6 * v[v.len() - 1] * x / h[h.len() - 1]).collect();
            figure = figure.panel(gap.dashed("theory: h", &h, &line)).panel(bias.hline("exact", 0.0));
        }
        Ok(figure)
    }
}
