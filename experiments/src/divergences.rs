//! Compare Kullback-Leibler and Fisher divergence on two modes of unequal mass: \[G\], Figs 1 and 4.

use crate::pair::Pair;
use crate::{Context, Experiment, Output};
use jarzynski::io::frame::Rows;
use jarzynski::numeric::Rng;
use jarzynski::numeric::fit::simpson;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// ρ₁ = ½N(−5, 1) + ½N(5, 1) against ρ₂ = σ(z)N(−5, 1) + (1 − σ(z))N(5, 1), \[G\](47), for z from 0 to `z_max`.
///
/// Both divergences are estimated from N draws of ρ₁ as in \[G\](48), *with* the factor 1/N that is missing in print (the
/// sums there grow with N and estimate N times \[G\](6) and \[G\](46)), and computed exactly by Simpson's rule:
///
/// ```text
/// KL = ∫ρ₁ log(ρ₁/ρ₂),    Fisher = ∫ρ₁ |∇log ρ₁ − ∇log ρ₂|²
/// ```
///
/// What \[G\] says of the Fisher divergence, measured at z = 10 with 20 samples: it is smaller by 3.5 orders of magnitude
/// (4.6 at z = 1), and its estimates from N = 100 and 1,000 are flat indeed, below 1e-6 of the exact value in the median.
/// But N = 10,000 does not suffice either: the median is 2 % of the exact value, 2 samples in 20 are within a factor 2,
/// and an error of 10 % takes 5·10⁶ draws (KL: 135). All that counts lies between the modes, where hardly a draw falls.
///
/// The other figure is \[G\] Fig. 1: a mixture with p = .7, μ = (0, 5), σ = (1, .5), a sampled histogram, and its energy
/// U = −log Σ_j p_j N(x; μ_j, σ_j²). (\[G\](4) lacks the minus sign, the normalisers and a ½.)
///
/// Tables: `divergences` (`z, n, seed, kl, fisher`), one row per sample; `summary` (`case, method, quantity, value, se,
/// exact`), seeds pooled, se from the samples' own scatter; `histogram` (`left, right, density, se, exact`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divergences {
    /// Largest z.
    pub z_max: f64,
    /// Values of z, equally spaced from 0, at least 2.
    pub points: usize,
    /// Sample sizes N.
    pub n: Vec<usize>,
    /// Draws in the histogram.
    pub draws: usize,
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: usize,
}

impl Default for Divergences {
    fn default() -> Self {
        Divergences { z_max: 10.0, points: 41, n: vec![100, 1_000, 10_000], draws: 10_000, seed: 0, seeds: 20 }
    }
}

impl Experiment for Divergences {
    const NAME: &'static str = "divergences";
    const ABOUT: &'static str = "KL sees the mass of a mode, the Fisher divergence hardly: estimates against exact";
    const SMALL: &'static str = "points = 3\nn = [100]\nseeds = 2\ndraws = 500";

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let mut out = Output::default();
        self.density(&mut out, context.device)?;
        self.compare(&mut out, context.device)?;
        Ok(out)
    }
}

/// \[G\], example 2.1.
const EXAMPLE: Pair = Pair { mass: [0.7, 0.3], mean: [0.0, 5.0], sigma: [1.0, 0.5] };

/// ρ₂ of \[G\](47); ρ₁ at z = 0.
fn tilted(z: f64) -> Pair {
    Pair { mass: [sigmoid(z), sigmoid(-z)], mean: [-5.0, 5.0], sigma: [1.0, 1.0] }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// log(ρ₁/ρ₂) and |∇log ρ₁ − ∇log ρ₂|² at x: what the two divergences average over ρ₁.
fn integrands(one: &Pair, two: &Pair, x: f64) -> [f64; 2] {
    let ((l1, s1), (l2, s2)) = (one.log_and_score(x), two.log_and_score(x));
    [l1 - l2, (s1 - s2) * (s1 - s2)]
}

/// KL and Fisher divergence by quadrature. The integrands are analytic in a strip of half-width π/10 around the axis
/// and ρ₁ is below 1e-90 outside the interval, so that steps of .01 leave rounding errors only.
fn exact(z: f64) -> [f64; 2] {
    let (one, two) = (tilted(0.0), tilted(z));
    [0, 1].map(|q| simpson(|x| one.density(x) * integrands(&one, &two, x)[q], -26.0, 26.0, 5200))
}

/// Mean and its standard error from the sample.
fn average(v: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = v.clone().count() as f64;
    let mean = v.clone().sum::<f64>() / n;
    let square: f64 = v.map(|x| (x - mean) * (x - mean)).sum();
    (mean, (square / (n * (n - 1.0))).sqrt())
}

/// Mean and standard error over draws x `[n]` of ρ₁ of what the divergences average.
fn averages(one: &Pair, two: &Pair, x: &Tensor) -> Result<[(f64, f64); 2]> {
    if x.device() == Device::Cpu {
        let at: Vec<[f64; 2]> = Vec::<f64>::try_from(x)?.iter().map(|x| integrands(one, two, *x)).collect();
        return Ok([0, 1].map(|q| average(at.iter().map(|v| v[q]))));
    }
    averages_by_tensors(one, two, x)
}

/// The same on any device.
fn averages_by_tensors(one: &Pair, two: &Pair, x: &Tensor) -> Result<[(f64, f64); 2]> {
    let ((l1, s1), (l2, s2)) = (one.log_and_score_at(x), two.log_and_score_at(x));
    let at = Tensor::stack(&[l1 - l2, (s1 - s2).square()], 0);
    let error = (at.var_dim(Some(&[1i64][..]), true, false) / x.size()[0] as f64).sqrt();
    // one transfer for all four
    let found = Vec::<f64>::try_from(Tensor::cat(&[at.mean_dim(1, false, Kind::Double), error], 0))?;
    Ok([(found[0], found[2]), (found[1], found[3])])
}

/// The quantile by linear interpolation.
fn quantile(v: &[f64], q: f64) -> f64 {
    let mut v = v.to_vec();
    v.sort_by(f64::total_cmp);
    let at = q * (v.len() - 1) as f64;
    let (lo, hi) = (v[at.floor() as usize], v[at.ceil() as usize]);
    lo + (hi - lo) * at.fract()
}

const NAMES: [&str; 2] = ["kl", "fisher"];

impl Divergences {
    fn validate(&self) -> Result<()> {
        if !(self.z_max > 0.0 && self.z_max <= 700.0) {
            return Err(Error::param("z_max", self.z_max, "a number in (0, 700]"));
        }
        for (name, n, least) in [("points", self.points, 2), ("seeds", self.seeds, 1), ("draws", self.draws, 1)] {
            if n < least {
                return Err(Error::param(name, n, format!("at least {least}")));
            }
        }
        match self.n.iter().find(|n| **n < 2) {
            Some(n) => Err(Error::param("n", n, "at least 2 draws, for a standard error")),
            None if self.n.is_empty() => Err(Error::param("n", "[]", "at least one sample size")),
            None => Ok(()),
        }
    }

    /// Fig. 1.
    fn density(&self, out: &mut Output, device: Device) -> Result<()> {
        const BINS: usize = 60;
        let (lo, hi) = (-4.0, 8.0);
        let draws = EXAMPLE.sample(self.draws, device, &mut Rng::new(self.seed).split(0));
        let width = (hi - lo) / BINS as f64;
        let edges: Vec<f64> = (0..=BINS).map(|i| lo + width * i as f64).collect();
        let seen = draws.masked_select(&draws.ge(lo).logical_and(&draws.lt(hi)));
        let bin = ((seen - lo) / width).to_kind(Kind::Int64).clamp_max(BINS as i64 - 1);
        let counts = Vec::<i64>::try_from(bin.bincount(None::<Tensor>, BINS as i64))?;
        let mut rows = Rows::new(&["left", "right", "density", "se", "exact"]);
        let n = self.draws as f64;
        let mut heights = vec![];
        for (i, &count) in counts.iter().enumerate() {
            // The error from the exact mass of the bin: an empty bin has one too.
            let mass = simpson(|x| EXAMPLE.density(x), edges[i], edges[i + 1], 20);
            heights.push(count as f64 / n / width);
            let se = (mass * (1.0 - mass) / n).sqrt() / width;
            rows.push([edges[i], edges[i + 1], heights[i], se, mass / width]);
        }
        out.table("histogram", rows.finish()?);
        #[cfg(feature = "plot")]
        {
            use jarzynski::plot::{Figure, Panel};
            let xs: Vec<f64> = (0..=600).map(|i| lo + (hi - lo) * i as f64 / 600.0).collect();
            let density: Vec<f64> = xs.iter().map(|x| EXAMPLE.density(*x)).collect();
            let energy: Vec<f64> = xs.iter().map(|x| -EXAMPLE.log_and_score(*x).0).collect();
            let low: Vec<usize> =
                (1..600).filter(|&i| energy[i] < energy[i - 1] && energy[i] < energy[i + 1]).collect();
            let at = |v: &[f64]| low.iter().map(|&i| v[i]).collect::<Vec<f64>>();
            let title = "A mixture of two Gaussians: masses .7 and .3, means 0 and 5, deviations 1 and .5";
            let left = Panel::new("density and sampled histogram")
                .x("x")
                .y("ρ(x)")
                .xlim(lo, hi)
                .histogram(&format!("data, {} draws", self.draws), &edges, &heights)
                .line("exact", &xs, &density)
                .points("modes", &at(&xs), &at(&density));
            let right = Panel::new("energy")
                .x("x")
                .y("U(x) = −log ρ(x)")
                .xlim(lo, hi)
                .line("exact", &xs, &energy)
                .points("modes", &at(&xs), &at(&energy));
            out.figure("density", Figure::new(900, 380).title(title).panel(left).panel(right));
        }
        Ok(())
    }

    /// Fig. 4.
    fn compare(&self, out: &mut Output, device: Device) -> Result<()> {
        let zs: Vec<f64> = (0..self.points).map(|i| self.z_max * i as f64 / (self.points - 1) as f64).collect();
        let truth: Vec<[f64; 2]> = zs.iter().map(|z| exact(*z)).collect();
        let mut rows = Rows::new(&["z", "n", "seed", "kl", "fisher"]);
        let mut summary = Rows::new(&["case", "method", "quantity", "value", "se", "exact"]);
        let one = tilted(0.0);
        let mut curves: Vec<Vec<[Vec<f64>; 2]>> = vec![];
        for (i, &n) in self.n.iter().enumerate() {
            let samples: Vec<(u64, Tensor)> = (0..self.seeds as u64)
                .map(|s| self.seed.wrapping_add(s))
                .map(|seed| (seed, one.sample(n, device, &mut Rng::new(seed).split(1 + i as u64))))
                .collect();
            let mut curve = vec![];
            for (&z, truth) in zs.iter().zip(&truth) {
                let two = tilted(z);
                let (mut values, mut squares) = ([vec![], vec![]], [0.0; 2]);
                for (seed, x) in &samples {
                    for (q, (mean, se)) in averages(&one, &two, x)?.into_iter().enumerate() {
                        values[q].push(mean);
                        squares[q] += se * se;
                    }
                    let last = |q: usize| values[q][values[q].len() - 1];
                    rows.push((z, n, *seed, last(0), last(1)));
                }
                for q in 0..2 {
                    let m = values[q].len() as f64;
                    let (value, se) = (values[q].iter().sum::<f64>() / m, squares[q].sqrt() / m);
                    summary.push((format!("z={z}, N={n}"), "plain", NAMES[q], value, se, truth[q]));
                }
                curve.push(values);
            }
            curves.push(curve);
        }
        self.describe(out, &zs, &truth, &curves);
        #[cfg(feature = "plot")]
        out.figure("divergences", self.figure(&zs, &truth, &curves));
        out.table("divergences", rows.finish()?);
        out.table("summary", summary.finish()?);
        Ok(())
    }

    /// What was measured, in words.
    fn describe(&self, out: &mut Output, zs: &[f64], truth: &[[f64; 2]], curves: &[Vec<[Vec<f64>; 2]>]) {
        let last = zs.len() - 1;
        let near = |z: f64| zs.iter().position(|v| *v >= z).unwrap_or(last);
        for i in [near(1.0), near(5.0), last] {
            let [kl, fisher] = truth[i];
            out.note(format!(
                "z = {}: exact KL {kl:.4}, Fisher {fisher:.3e}, {:.1} orders of magnitude smaller",
                zs[i],
                (kl / fisher).log10()
            ));
        }
        for (n, curve) in self.n.iter().zip(curves) {
            let share = |q: usize| {
                let v: Vec<f64> = curve[last][q].iter().map(|v| v / truth[last][q]).collect();
                format!(
                    "median {:.2e} of exact, mean {:.2e}, {} of {} within a factor 2",
                    quantile(&v, 0.5),
                    v.iter().sum::<f64>() / v.len() as f64,
                    v.iter().filter(|v| (0.5..2.0).contains(*v)).count(),
                    v.len()
                )
            };
            out.note(format!("N = {n}, z = {}: KL {}; Fisher {}", zs[last], share(0), share(1)));
        }
        let needed = |q: usize| {
            let (one, two) = (tilted(0.0), tilted(zs[last]));
            let square = simpson(|x| one.density(x) * integrands(&one, &two, x)[q].powi(2), -26.0, 26.0, 5200);
            100.0 * (square / truth[last][q].powi(2) - 1.0)
        };
        out.note(format!(
            "draws for a relative error of 10 % at z = {}: KL {:.0}, Fisher {:.2e}",
            zs[last],
            needed(0),
            needed(1)
        ));
        let [kl, fisher] = exact(100.0);
        out.note(format!(
            "the ratio is no matter of scale alone: at z = 100 KL is {kl:.2} and Fisher {fisher:.2} (its limit, half the squared distance)"
        ));
        out.note("[G](48) as printed lacks 1/N: its sums estimate N times the divergences; the tables hold the means");
    }

    #[cfg(feature = "plot")]
    fn figure(&self, zs: &[f64], truth: &[[f64; 2]], curves: &[Vec<[Vec<f64>; 2]>]) -> jarzynski::plot::Figure {
        use jarzynski::plot::{Figure, Panel};
        let exact = |q: usize| truth.iter().map(|t| t[q]).collect::<Vec<f64>>();
        let draw = |panel: Panel, q: usize| {
            let mut panel = panel.x("z, log-ratio of the masses in ρ₂");
            for (n, curve) in self.n.iter().zip(curves) {
                let at = |p: f64| curve.iter().map(|v| quantile(&v[q], p)).collect::<Vec<f64>>();
                let label = format!("N = {n}");
                panel = panel.band(&label, zs, &at(0.1), &at(0.9)).line(&label, zs, &at(0.5));
            }
            panel.dashed("exact", zs, &exact(q))
        };
        let top = exact(1).iter().fold(f64::MIN_POSITIVE, |m, v| m.max(*v));
        Figure::new(1200, 420)
            .title(&format!(
                "Two modes of unequal mass: median of {} samples of N draws, band from 10 to 90 %",
                self.seeds
            ))
            .panel(draw(Panel::new("KL divergence").y("KL(ρ₁‖ρ₂) / nats"), 0))
            .panel(draw(Panel::new("Fisher divergence, linear").y("Fisher(ρ₁‖ρ₂)"), 1))
            .panel(draw(
                Panel::new("Fisher divergence, logarithmic").y("Fisher(ρ₁‖ρ₂)").log_y().ylim(1e-18, top * 10.0),
                1,
            ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_are_normalised_and_scores_are_their_slopes() {
        for pair in [EXAMPLE, tilted(0.0), tilted(3.0)] {
            let total = simpson(|x| pair.density(x), -26.0, 26.0, 5200);
            assert!((total - 1.0).abs() < 1e-12, "{total}");
            for x in [-6.0, -0.3, 0.1, 2.0, 5.5] {
                let slope = |h: f64| (pair.log_and_score(x + h).0 - pair.log_and_score(x - h).0) / (2.0 * h);
                // Central differences err by h²: Richardson's estimate of it bounds what may differ.
                let (fine, coarse) = (slope(1e-3), slope(2e-3));
                assert!((pair.log_and_score(x).1 - fine).abs() <= (fine - coarse).abs() + 1e-10, "{x}");
            }
        }
    }

    #[test]
    fn averages_by_numbers_and_by_tensors_agree() {
        for z in [1.0, 10.0] {
            let (one, two) = (tilted(0.0), tilted(z));
            let x = Tensor::cat(
                &[
                    one.sample(500, Device::Cpu, &mut Rng::new(2)),
                    Tensor::linspace(-1.0, 1.0, 50, (Kind::Double, Device::Cpu)),
                ],
                0,
            );
            let (a, b) = (averages(&one, &two, &x).unwrap(), averages_by_tensors(&one, &two, &x).unwrap());
            for (a, b) in a.into_iter().zip(b) {
                assert!((a.0 / b.0 - 1.0).abs() < 1e-10 && (a.1 / b.1 - 1.0).abs() < 1e-10, "{z}: {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn quadrature_has_converged() {
        for z in [0.5, 3.0, 10.0] {
            let (one, two) = (tilted(0.0), tilted(z));
            for (q, fine) in exact(z).into_iter().enumerate() {
                let coarse = simpson(|x| one.density(x) * integrands(&one, &two, x)[q], -20.0, 20.0, 1600);
                assert!((coarse / fine - 1.0).abs() < 1e-9, "{z}: {coarse} {fine}");
            }
        }
    }
}
