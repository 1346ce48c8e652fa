//! Show that ULA samples a distribution of its own, and that its weights give back the right one: \[G\], example 4.1.

use crate::evaluate::pool;
use crate::{Context, Experiment, Output};
use jarzynski::Rng;
use jarzynski::density::{Base, Differentiable, Energy, Evaluation};
use jarzynski::io::frame::Rows;
use jarzynski::kernel::{Kernel, Ula};
use jarzynski::polars::prelude::{Column, DataFrame};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::walkers::{Estimate, Walkers};
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// Walkers that start from N(0, Σ) exactly and make `steps` moves of ULA at fixed U = xᵀΣ⁻¹x/2.
///
/// By then they have ULA's stationary distribution, N(0, Σ(I − (h/2)Σ⁻¹)⁻¹), \[G\](73); their weights e^A undo it.
///
/// **How large a step the weights bear.** At a fixed quadratic U the log-weight telescopes to
/// A = (h/4)(|∇U(X_0)|² − |∇U(X_K)|²). In an eigendirection of Σ with variance λ and r = h/λ, X_0 ~ N(0, λ), so that
/// E e^{(h/2)|∇U(X_0)|²} = (1 − r)^{−1/2}, and X_K, by then independent of X_0, contributes (1 + r/(1 − r/2))^{−1/2}:
///
/// ```text
/// E e^A = 1,    E e^{2A} = Π_λ [(1 − r)(1 + r/2)/(1 − r/2)]^{−1/2},    ESS/N → 1/E e^{2A}
/// ```
///
/// The second moment is finite for h < λ_min(Σ) only, half of ULA's own limit of stability 2λ_min. Larger steps are
/// refused: the identity still holds, but no standard error does. The estimate of that error has itself a finite
/// variance for h < λ_min/2 only; the default goes to .8 λ_min, where over 40 repetitions the distances from the exact
/// values still had a standard deviation of 0.94 to 0.99 standard errors, but ESS/N is estimated too high: .71, not .675.
///
/// Table `moments`: `case, method, quantity, value, se, exact, biased, ess`. Quantities `cov_00`, `cov_01`, `cov_11` by
/// both methods and `log_z` by the reweighted one; `exact` is Σ and log Z, `biased` is \[G\](73) (null where reweighted),
/// `ess` is ESS/N, 1 for plain averages.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UlaBias {
    /// Eigenvalues of Σ, positive.
    pub eigenvalues: [f64; 2],
    /// Angle from the first axis to the first eigenvector, degrees.
    pub angle: f64,
    /// Step sizes, each in (0, λ_min).
    pub h: Vec<f64>,
    /// Moves per walker; enough to forget the start, |1 − h/λ|^{2K} ≤ 1e-4.
    pub steps: usize,
    /// Walkers per seed.
    pub walkers: usize,
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: usize,
}

impl Default for UlaBias {
    fn default() -> Self {
        UlaBias {
            eigenvalues: [1.0, 0.25],
            angle: 30.0,
            h: vec![0.02, 0.05, 0.1, 0.15, 0.2],
            steps: 300,
            walkers: 20_000,
            seed: 0,
            seeds: 5,
        }
    }
}

/// What part of the start may be left in the covariance: far below the standard errors.
const FORGOTTEN: f64 = 1e-4;

const QUANTITIES: [(&str, i64, i64); 3] = [("cov_00", 0, 0), ("cov_01", 0, 1), ("cov_11", 1, 1)];

impl Experiment for UlaBias {
    const NAME: &'static str = "ula-bias";
    const ABOUT: &'static str = "the covariance of a Gaussian under ULA, plain and reweighted, against the step size";
    const SMALL: &'static str = "h = [0.1]\nsteps = 60\nwalkers = 500\nseeds = 1";

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let (exact, log_z) = (self.covariance(|v| v), Tilted::on(context.device, self).log_z);
        let mut rows = Rows::new(&["case", "method", "quantity", "value", "se", "exact", "ess"]);
        let mut biased: Vec<Option<f64>> = vec![];
        let mut out = Output::default();
        for (i, &h) in self.h.iter().enumerate() {
            let runs: Result<Vec<Measured>> = (0..self.seeds as u64)
                .map(|s| self.measure(h, context.device, &mut Rng::new(self.seed.wrapping_add(s)).split(i as u64)))
                .collect();
            let (runs, biased_exact, case) = (runs?, self.biased(h), format!("h={h}"));
            let ess = runs.iter().map(|m| m.ess).sum::<f64>() / runs.len() as f64;
            let pooled = |pick: &dyn Fn(&Measured) -> Estimate| pool(&runs.iter().map(pick).collect::<Vec<_>>());
            for (q, (name, ..)) in QUANTITIES.iter().enumerate() {
                let e = pooled(&|m| m.plain[q]);
                rows.push((&case[..], "plain", *name, e.value, e.se, exact[q], 1.0));
                biased.push(Some(biased_exact[q]));
            }
            for (q, (name, ..)) in QUANTITIES.iter().enumerate() {
                let e = pooled(&|m| m.reweighted[q]);
                rows.push((&case[..], "reweighted", *name, e.value, e.se, exact[q], ess));
                biased.push(None);
            }
            let z = pooled(&|m| m.log_z);
            rows.push((&case[..], "reweighted", "log_z", z.value, z.se, log_z, ess));
            biased.push(None);
            let (p, r) = (pooled(&|m| m.plain[2]), pooled(&|m| m.reweighted[2]));
            out.note(format!(
                "{case}: cov_11 plain {p} (ULA's own {:.5}), reweighted {r} (exact {:.5}); ESS/N {ess:.3} (exact {:.3})",
                biased_exact[2],
                exact[2],
                self.ess(h)
            ));
        }
        let mut moments = rows.finish()?;
        moments.insert_column(6, Column::new("biased".into(), biased))?;
        out.note(worst(&moments)?);
        #[cfg(feature = "plot")]
        out.figure("covariance", self.figure(&moments)?);
        out.table("moments", moments);
        Ok(out)
    }
}

/// What one population measures.
struct Measured {
    plain: [Estimate; 3],
    reweighted: [Estimate; 3],
    log_z: Estimate,
    ess: f64,
}

impl UlaBias {
    fn validate(&self) -> Result<()> {
        for v in self.eigenvalues {
            if !(v > 0.0 && v.is_finite()) {
                return Err(Error::param("eigenvalues", v, "positive, finite variances"));
            }
        }
        if !self.angle.is_finite() {
            return Err(Error::param("angle", self.angle, "a finite angle in degrees"));
        }
        for (name, n) in [("walkers", self.walkers), ("seeds", self.seeds), ("h", self.h.len())] {
            if n == 0 {
                return Err(Error::param(name, "none", "at least one"));
            }
        }
        let least = self.eigenvalues[0].min(self.eigenvalues[1]);
        for &h in &self.h {
            if !(h > 0.0 && h < least) {
                let expected = format!("0 < h < λ_min(Σ) = {least}: beyond it the weights have infinite variance");
                return Err(Error::param("h", h, expected));
            }
            let slowest = self.eigenvalues.iter().map(|v| (1.0 - h / v).abs()).fold(0.0, f64::max);
            let needed = (FORGOTTEN.ln() / (2.0 * slowest.ln())).ceil().max(1.0);
            if (self.steps as f64) < needed {
                let expected =
                    format!("at least {needed}, for the walkers to reach ULA's stationary distribution at h = {h}");
                return Err(Error::param("steps", self.steps, expected));
            }
        }
        Ok(())
    }

    /// Starts exactly, moves `steps` times, measures with and without the weights.
    fn measure(&self, h: f64, device: Device, rng: &mut Rng) -> Result<Measured> {
        let (target, kernel) = (Tilted::on(device, self), Ula::new(h));
        let mut walkers = Walkers::start_from(&target, &target, self.walkers, false, rng)?;
        for _ in 0..self.steps {
            kernel.advance(&target, &target, &mut walkers, rng);
        }
        let (reweighted, log_z, ess) = (second_moments(&walkers)?, walkers.log_z(), walkers.ess());
        let plain = second_moments(&Walkers::new(walkers.into_evaluation(), 0.0))?;
        Ok(Measured { plain, reweighted, log_z, ess })
    }

    /// Entries 00, 01, 11 of the matrix with the eigenvectors of Σ and its eigenvalues mapped by `f`.
    fn covariance(&self, f: impl Fn(f64) -> f64) -> [f64; 3] {
        let (s, c) = self.angle.to_radians().sin_cos();
        let [a, b] = self.eigenvalues.map(f);
        [c * c * a + s * s * b, s * c * (a - b), s * s * a + c * c * b]
    }

    /// The covariance of ULA's stationary distribution, \[G\](73).
    fn biased(&self, h: f64) -> [f64; 3] {
        self.covariance(|v| v / (1.0 - h / (2.0 * v)))
    }

    /// lim ESS/N for many walkers.
    fn ess(&self, h: f64) -> f64 {
        let one = |v: f64| ((1.0 - h / v) * (1.0 + h / (2.0 * v)) / (1.0 - h / (2.0 * v))).max(0.0).sqrt();
        self.eigenvalues.iter().map(|v| one(*v)).product()
    }
}

/// E x_i x_j about the known mean 0.
fn second_moments(walkers: &Walkers) -> Result<[Estimate; 3]> {
    let column = |i| walkers.x().select(1, i);
    let mut out = [Estimate::new(f64::NAN, f64::NAN); 3];
    for (to, (_, i, j)) in out.iter_mut().zip(QUANTITIES) {
        *to = walkers.mean(&(column(i) * column(j)))?;
    }
    Ok(out)
}

/// The largest distances from what should be, in standard errors.
fn worst(moments: &DataFrame) -> Result<String> {
    let read = |name| jarzynski::io::frame::column_f64(moments, name);
    let (value, se, exact, biased) = (read("value")?, read("se")?, read("exact")?, read("biased")?);
    let (mut reweighted, mut on_own, mut off) = (0.0_f64, 0.0_f64, 0.0_f64);
    for i in 0..value.len() {
        let z = |to: f64| ((value[i] - to) / se[i]).abs();
        if biased[i].is_nan() {
            reweighted = reweighted.max(z(exact[i]));
        } else {
            (on_own, off) = (on_own.max(z(biased[i])), off.max(z(exact[i])));
        }
    }
    Ok(format!(
        "largest distance in standard errors: reweighted from exact {reweighted:.1}, plain from ULA's own \
         {on_own:.1}, plain from exact {off:.0}"
    ))
}

/// N(0, Σ) with U = xᵀΣ⁻¹x/2 in closed form; symmetric 2 × 2 matrices as their entries 00, 01, 11.
#[derive(Debug)]
struct Tilted {
    precision: [f64; 3],
    root: [f64; 3],
    log_z: f64,
    device: Device,
}

impl Tilted {
    fn on(device: Device, config: &UlaBias) -> Self {
        let [a, b] = config.eigenvalues;
        Tilted {
            precision: config.covariance(f64::recip),
            root: config.covariance(f64::sqrt),
            log_z: (2.0 * std::f64::consts::PI).ln() + 0.5 * (a * b).ln(),
            device,
        }
    }
}

impl Differentiable for Tilted {}

impl Energy for Tilted {
    fn energy(&self, x: &Tensor) -> Tensor {
        let ([a, b, c], x0, x1) = (self.precision, x.select(1, 0), x.select(1, 1));
        (x0.square() * a + &x0 * &x1 * (2.0 * b) + x1.square() * c) * 0.5
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        let ([a, b, c], x0, x1) = (self.precision, x.select(1, 0), x.select(1, 1));
        let g = Tensor::stack(&[&x0 * a + &x1 * b, &x0 * b + &x1 * c], 1);
        Evaluation::new(x.shallow_clone(), (x * &g).sum_dim_intlist(-1, false, None::<Kind>) * 0.5, g)
    }
}

impl Base for Tilted {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let ([a, b, c], z) = (self.root, rng.normal(&[n as i64, 2], Kind::Double, self.device));
        let (z0, z1) = (z.select(1, 0), z.select(1, 1));
        Tensor::stack(&[&z0 * a + &z1 * b, &z0 * b + &z1 * c], 1)
    }

    fn log_z(&self) -> f64 {
        self.log_z
    }
}

#[cfg(feature = "plot")]
impl UlaBias {
    /// One panel per entry of the covariance and one for the ESS.
    fn figure(&self, moments: &DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::io::frame::{column_f64, filter};
        use jarzynski::plot::{Figure, Panel};
        let most = self.h.iter().fold(0.0_f64, |m, h| m.max(*h)) * 1.06;
        let grid: Vec<f64> = (0..=200).map(|i| most * i as f64 / 200.0).collect();
        let exact = self.covariance(|v| v);
        let mut figure = Figure::new(900, 640).title(
            "ULA at a fixed Gaussian: plain averages follow ULA's own distribution, weighted ones the right one",
        );
        for (q, (name, i, j)) in QUANTITIES.iter().enumerate() {
            let part = filter(moments, "quantity", name)?;
            let theory: Vec<f64> = grid.iter().map(|h| self.biased(*h)[q]).collect();
            let below = |i: &i64| ['₀', '₁'][*i as usize];
            let mut panel = Panel::new(&format!("covariance of x{} and x{}", below(i), below(j)))
                .x("step size h")
                .y(&format!("E x{} x{}", below(i), below(j)))
                .xlim(0.0, most)
                .hline("exact", exact[q])
                .dashed("plain, theory [G](73)", &grid, &theory);
            for (method, label) in [("plain", "plain"), ("reweighted", "reweighted")] {
                let of = filter(&part, "method", method)?;
                panel = panel.errorbars(label, &self.h, &column_f64(&of, "value")?, &column_f64(&of, "se")?);
            }
            figure = figure.panel(panel);
        }
        let ess = column_f64(&filter(&filter(moments, "method", "reweighted")?, "quantity", "log_z")?, "ess")?;
        let least = self.eigenvalues[0].min(self.eigenvalues[1]);
        let wide: Vec<f64> = (0..=400).map(|i| least * i as f64 / 400.0).collect();
        let theory: Vec<f64> = wide.iter().map(|h| self.ess(*h)).collect();
        let panel = Panel::new("effective sample size")
            .x("step size h")
            .y("ESS/N")
            .xlim(0.0, least * 1.04)
            .ylim(0.0, 1.05)
            .dashed("reweighted, limit of many walkers", &wide, &theory)
            .points("reweighted", &self.h, &ess)
            .vline("λ_min(Σ)", least);
        Ok(figure.panel(panel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_is_a_gaussian() {
        let config = UlaBias::default();
        let target = Tilted::on(Device::Cpu, &config);
        // Σ^{1/2} Σ^{1/2} Σ⁻¹ = I.
        let apply = |m: [f64; 3], x: [f64; 2]| [m[0] * x[0] + m[1] * x[1], m[1] * x[0] + m[2] * x[1]];
        for x in [[1.0, 0.0], [0.0, 1.0]] {
            let y = apply(target.precision, apply(target.root, apply(target.root, x)));
            assert!((y[0] - x[0]).abs() < 1e-14 && (y[1] - x[1]).abs() < 1e-14, "{y:?}");
        }
        let x = target.sample(50, &mut Rng::new(1));
        let auto = Evaluation::autograd(&target, &x);
        let closed = target.evaluate(&x);
        assert!((closed.grad() - auto.grad()).abs().max().double_value(&[]) < 1e-13);
        assert!((closed.u - &auto.u).abs().max().double_value(&[]) < 1e-13);
    }

    #[test]
    fn the_weight_telescopes() {
        let config = UlaBias { walkers: 100, ..Default::default() };
        let (target, kernel, h) = (Tilted::on(Device::Cpu, &config), Ula::new(0.1), 0.1);
        let mut rng = Rng::new(2);
        let square = |p: &Evaluation| p.grad().square().sum_dim_intlist(-1, false, None::<Kind>);
        let mut at = target.evaluate(&target.sample(100, &mut rng));
        let (start, mut a) = (square(&at), Tensor::zeros([100], (Kind::Double, Device::Cpu)));
        for _ in 0..20 {
            let step = kernel.step(&target, &at, &mut rng);
            a += step.increment;
            at = step.evaluation;
        }
        let closed = (start - square(&at)) * (h / 4.0);
        assert!((a - closed).abs().max().double_value(&[]) < 1e-12);
    }
}
