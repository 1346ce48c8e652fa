//! Draw points on the way between two distributions, with what a velocity and a score learn from: stochastic interpolants, guide
//! (111).

use super::{Coefficients, Interpolation};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// X_t = a(t) X_0 + c(t) X_1 + γ(t) z, guide (111), with γ² = `gamma`·t(1 − t) + `smoothing`²·(share of the data ends).
///
/// The guide lets γ vanish at both ends. Where an end is a set of points its score would then be infinite and its distribution
/// without a density; here every *data* end is smoothed by noise of standard deviation `smoothing` > 0: what is learned at
/// t = 1 is the distribution of the data plus that noise. From noise, X_0 ~ N(0, I) and z are merged into one Gaussian of
/// variance N² = a² + γ², so that a learned score is as good as it can be at every t.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bridge {
    /// a and c.
    pub interpolation: Interpolation,
    /// Factor of t(1 − t) in γ²: 0 for a path of noise and data alone.
    pub gamma: f64,
    /// Standard deviation of the noise added to data, in the data's units; above 0.
    pub smoothing: f64,
}

impl Default for Bridge {
    fn default() -> Self {
        Bridge { interpolation: Interpolation::Linear, gamma: 0.0, smoothing: 0.1 }
    }
}

/// What X_0 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// N(0, I).
    Noise,
    /// A data set.
    Data,
}

/// The coefficients of X_t given its ends: mean a X_0 + c X_1 (the first only between data), standard deviation N.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// a, ȧ of a data start; 0 from noise.
    pub a: (f64, f64),
    /// c, ċ.
    pub c: (f64, f64),
    /// N, Ṅ.
    pub n: (f64, f64),
}

/// A batch on the way: times `[n, 1]`, points, what b and s learn.
#[derive(Debug)]
pub(crate) struct Drawn {
    /// Times, on the host.
    pub times: Vec<f64>,
    /// t, `[n, 1]`.
    pub t: Tensor,
    /// X_t, `[n, d]`.
    pub x: Tensor,
    /// ∂_tI + Ṅζ, whose conditional mean is b, guide (115), `[n, d]`.
    pub velocity: Tensor,
    /// ζ, whose conditional mean is −N s, `[n, d]`.
    pub noise: Tensor,
    /// N, `[n, 1]`.
    pub width: Tensor,
    /// ∂_t log p(X_t | ends) = ζ·∂_tI/N + (|ζ|² − d)Ṅ/N, whose conditional mean is −∂_tU, `[n]`.
    pub rate: Tensor,
}

impl Bridge {
    /// Positive smoothing, γ ≥ 0, and an interpolation that can start from data?
    pub(crate) fn validate(&self, start: Start) -> Result<()> {
        self.interpolation.validate()?;
        if !(self.smoothing > 0.0 && self.smoothing.is_finite()) {
            let expected =
                "a positive, finite standard deviation: without noise on the data e^{−U} at t = 1 is no density";
            return Err(Error::param("smoothing", self.smoothing, expected));
        }
        if !(self.gamma >= 0.0 && self.gamma.is_finite()) {
            return Err(Error::param("gamma", self.gamma, "a finite number ≥ 0"));
        }
        if start == Start::Data && self.a(0.5).is_none() {
            let expected = "linear or trigonometric: between two data sets a must begin at 1 and have a finite slope";
            return Err(Error::param("interpolation", format!("{:?}", self.interpolation), expected));
        }
        Ok(())
    }

    /// a and ȧ themselves, where ȧ is finite.
    fn a(&self, t: f64) -> Option<(f64, f64)> {
        use std::f64::consts::FRAC_PI_2;
        match self.interpolation {
            Interpolation::Linear => Some((1.0 - t, -1.0)),
            Interpolation::Trigonometric => Some(((FRAC_PI_2 * t).cos(), -FRAC_PI_2 * (FRAC_PI_2 * t).sin())),
            Interpolation::Preserving | Interpolation::Diffusion { .. } => None,
        }
    }

    /// The coefficients at t.
    pub(crate) fn at(&self, t: f64, start: Start) -> Way {
        let Coefficients { a2, c, aa, cc } = self.interpolation.at(t);
        let (s2, g) = (self.smoothing * self.smoothing, self.gamma);
        // N² and NṄ
        let (mut n2, mut nn) = (g * t * (1.0 - t) + s2 * c * c, 0.5 * g * (1.0 - 2.0 * t) + s2 * c * cc);
        let a = match start {
            Start::Noise => {
                n2 += a2;
                nn += aa;
                (0.0, 0.0)
            }
            Start::Data => {
                n2 += s2 * a2;
                nn += s2 * aa;
                self.a(t).unwrap_or((0.0, 0.0))
            }
        };
        let n = n2.sqrt();
        Way { a, c: (c, cc), n: (n, nn / n) }
    }

    /// One point per row of `x1` (and `x0`), at stratified uniform times.
    pub(crate) fn draw(&self, x0: Option<&Tensor>, x1: &Tensor, rng: &mut Rng) -> Drawn {
        let (n, start) = (x1.size()[0], if x0.is_some() { Start::Data } else { Start::Noise });
        // One uniform in each of n equal intervals: less noise in the loss than n independent times.
        let times: Vec<f64> =
            rng.uniforms(n as usize).iter().enumerate().map(|(i, u)| (i as f64 + u) / n as f64).collect();
        let ways: Vec<Way> = times.iter().map(|t| self.at(*t, start)).collect();
        let [width, grows, c, cc, a, aa] =
            columns(&ways, [|w| w.n.0, |w| w.n.1, |w| w.c.0, |w| w.c.1, |w| w.a.0, |w| w.a.1], x1);
        let noise = rng.normal(&x1.size(), x1.kind(), x1.device());
        let (mut mean, mut moves) = (x1 * c, x1 * cc);
        if let Some(x0) = x0 {
            mean = &mean + x0 * a;
            moves = &moves + x0 * aa;
        }
        let dot = |a: &Tensor, b: &Tensor| (a * b).sum_dim_intlist(-1, true, None::<Kind>);
        let rate = (dot(&noise, &moves) + (dot(&noise, &noise) - x1.size()[1] as f64) * &grows) / &width;
        Drawn {
            t: rows(&times, x1),
            x: mean + &noise * &width,
            velocity: moves + &noise * grows,
            noise,
            width,
            rate: rate.squeeze_dim(-1),
            times,
        }
    }
}

/// Numbers as a column `[n, 1]` of the kind and device of `like`.
pub(crate) fn rows(v: &[f64], like: &Tensor) -> Tensor {
    Tensor::from_slice(v).to_kind(like.kind()).to_device(like.device()).unsqueeze(-1)
}

/// Functions of each way as columns `[n, 1]` of the kind and device of `like`, all in one transfer.
pub(crate) fn columns<const N: usize>(ways: &[Way], of: [fn(&Way) -> f64; N], like: &Tensor) -> [Tensor; N] {
    let numbers: Vec<f64> = of.iter().flat_map(|f| ways.iter().map(f)).collect();
    let all = rows(&numbers, like).view([N as i64, -1, 1]);
    std::array::from_fn(|i| all.get(i as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::{Flow, Path};
    use crate::model::Interpolant;
    use tch::Device;

    /// Σ residual · feature over rows, as z-scores: 0 in mean if the residual has zero mean given x and t.
    fn worst_z(at: &Drawn, residual: &Tensor) -> f64 {
        let x = &at.x;
        let first = x.select(1, 0);
        let t = at.t.squeeze_dim(-1);
        let features =
            [first.ones_like(), first.copy(), first.square(), t.copy(), &first * &t, first.sin(), (t * 6.0).cos()];
        let mut worst: f64 = 0.0;
        for column in residual.unbind(1) {
            for f in &features {
                let v = &column * f;
                let n = v.size()[0] as f64;
                let z = v.mean(Kind::Double).double_value(&[]) / (v.var(true).double_value(&[]) / n).sqrt();
                worst = worst.max(z.abs());
            }
        }
        worst
    }

    #[test]
    fn targets_have_b_s_and_the_rate_as_conditional_means() {
        for interpolation in [Interpolation::Linear, Interpolation::Trigonometric, Interpolation::diffusion()] {
            let bridge = Bridge { interpolation, gamma: 0.0, smoothing: 0.4 };
            let sigma: Vec<f64> = [0.5f64, 0.3].iter().map(|s| (s * s + 0.16).sqrt()).collect();
            let (means, weights) = ([vec![-1.0, 0.5], vec![1.5, 0.0]], [0.4, 0.6]);
            let exact = Interpolant::new(&means, &weights, &sigma).unwrap().along(interpolation).unwrap();
            let data = Interpolant::new(&means, &weights, &[0.5, 0.3]).unwrap().target().unwrap();
            let mut rng = Rng::new(4);
            let at = bridge.draw(None, &data.sample(8_000, &mut rng), &mut rng);
            let each = |f: &dyn Fn(f64, &Tensor) -> Tensor| {
                let rows: Vec<Tensor> =
                    at.times.iter().enumerate().map(|(i, t)| f(*t, &at.x.narrow(0, i as i64, 1)).view(-1)).collect();
                Tensor::stack(&rows, 0)
            };
            let b = each(&|t, x| exact.velocity(t, x));
            let s = each(&|t, x| -exact.evaluate(t, x).grad().copy());
            let rate = each(&|t, x| exact.rate(t, x));
            assert!(worst_z(&at, &(&at.velocity - &b)) < 5.0, "{interpolation:?}: b");
            assert!(worst_z(&at, &(&at.noise + &s * &at.width)) < 5.0, "{interpolation:?}: s");
            let weighted = (at.rate.unsqueeze(-1) + &rate) * at.width.square();
            assert!(worst_z(&at, &weighted) < 5.0, "{interpolation:?}: ∂_tU");
            // Twins: without Ṅζ, and with the sign of the time score turned.
            assert!(worst_z(&at, &(&at.velocity - b - &at.noise * 0.2)) > 5.0);
            assert!(worst_z(&at, &((at.rate.unsqueeze(-1) - rate) * at.width.square())) > 5.0);
        }
    }

    #[test]
    fn between_two_data_sets_they_have_too() {
        let bridge = Bridge { interpolation: Interpolation::Trigonometric, gamma: 0.5, smoothing: 0.2 };
        let mut rng = Rng::new(5);
        let mut gauss = |m: f64, s: f64| rng.normal(&[20_000, 1], Kind::Double, Device::Cpu) * s + m;
        let (x0, x1) = (gauss(-1.0, 0.8), gauss(2.0, 0.4));
        let at = bridge.draw(Some(&x0), &x1, &mut rng);
        // X_t is Gaussian with m = a m₀ + c m₁, V = a²s₀² + c²s₁² + N².
        let column = |f: &dyn Fn(&Way) -> f64| {
            let v: Vec<f64> = at.times.iter().map(|t| f(&bridge.at(*t, Start::Data))).collect();
            rows(&v, &at.x)
        };
        let away = &at.x - column(&|w| -w.a.0 + 2.0 * w.c.0);
        let v = column(&|w| (0.8 * w.a.0).powi(2) + (0.4 * w.c.0).powi(2) + w.n.0 * w.n.0);
        let vv = column(&|w| 0.64 * w.a.0 * w.a.1 + 0.16 * w.c.0 * w.c.1 + w.n.0 * w.n.1);
        let b = column(&|w| -w.a.1 + 2.0 * w.c.1) + &away * &vv / &v;
        assert!(worst_z(&at, &(&at.velocity - b)) < 5.0);
        assert!(worst_z(&at, &(&at.noise - &at.width * &away / &v)) < 5.0);
        assert!(worst_z(&at, &(&at.noise + &at.width * away / v)) > 5.0, "the sign of the score");
    }

    #[test]
    fn coefficients_are_derivatives_of_each_other() {
        for start in [Start::Noise, Start::Data] {
            for interpolation in [Interpolation::Linear, Interpolation::Trigonometric] {
                let bridge = Bridge { interpolation, gamma: 0.3, smoothing: 0.2 };
                for t in [0.1, 0.5, 0.8] {
                    let (up, down, at) = (bridge.at(t + 1e-6, start), bridge.at(t - 1e-6, start), bridge.at(t, start));
                    for (u, d, slope) in [(up.a, down.a, at.a.1), (up.c, down.c, at.c.1), (up.n, down.n, at.n.1)] {
                        assert!(((u.0 - d.0) / 2e-6 - slope).abs() < 1e-8, "{interpolation:?} {start:?} {t}");
                    }
                }
            }
        }
    }
}
