//! Integrate and sample one double well: the factor of a many-well.

use super::{finite, positive};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};

/// u(x) = a x⁴ + b x² + c x + e on the line, a > 0; with b < 0 two wells near ±√(−b/2a).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DoubleWell {
    /// a > 0.
    pub quartic: f64,
    /// b.
    pub quadratic: f64,
    /// c.
    pub linear: f64,
    /// e.
    pub constant: f64,
}

/// Nodes of the quadrature and cells of the draws.
const NODES: usize = 8_192;

/// Where u is so far above its minimum, e^{−u} is below the smallest positive f64 times the largest e^{−u}.
const DEEP: f64 = 760.0;

impl DoubleWell {
    /// a, b, c, e in this order.
    ///
    /// # Errors
    /// A coefficient that is not finite, a ≤ 0, coefficients so large that u overflows.
    pub fn new([quartic, quadratic, linear, constant]: [f64; 4]) -> Result<Self> {
        let well = DoubleWell {
            quartic: positive("quartic", quartic)?,
            quadratic: finite("quadratic", quadratic)?,
            linear: finite("linear", linear)?,
            constant: finite("constant", constant)?,
        };
        if well.reach().is_finite() && well.log_z().is_finite() {
            return Ok(well);
        }
        Err(Error::param(
            "double well",
            format!("{well:?}"),
            "coefficients for which ∫ e^{−u} is a finite, positive f64",
        ))
    }

    /// u(x).
    pub fn energy(&self, x: f64) -> f64 {
        let s = x * x;
        (self.quartic * s + self.quadratic) * s + self.linear * x + self.constant
    }

    /// R with u(±x) above the minimum by `DEEP` for all x ≥ R.
    fn reach(&self) -> f64 {
        let (a, b, c) = (self.quartic, self.quadratic, self.linear.abs());
        // u(0) − e = 0 is above the minimum, so a x⁴ + b x² − c x > DEEP is enough
        let enough = |r: f64| ((a * r * r + b) * r - c) * r > DEEP && (4.0 * a * r * r + 2.0 * b) * r - c > 0.0;
        let mut r = 1e-3;
        while !enough(r) && r < 1e100 {
            r *= 1.1;
        }
        if enough(r) { r } else { f64::INFINITY }
    }

    /// Nodes −R … R, and the least u on them.
    fn nodes(&self) -> (Vec<f64>, f64, f64) {
        let r = self.reach();
        let step = 2.0 * r / NODES as f64;
        let x: Vec<f64> = (0..=NODES).map(|i| -r + i as f64 * step).collect();
        let least = x.iter().fold(f64::INFINITY, |least, x| least.min(self.energy(*x)));
        (x, step, least)
    }

    /// log ∫ e^{−u}, nats, by the trapezium rule, which converges faster than any power of the step for an integrand that is
    /// analytic and vanishes at both ends: to rounding with the nodes used here.
    pub fn log_z(&self) -> f64 {
        let (x, step, least) = self.nodes();
        (step * x.iter().map(|x| (least - self.energy(*x)).exp()).sum::<f64>()).ln() - least
    }

    /// E x^p under e^{−u}, by the same rule.
    pub fn moment(&self, p: i32) -> f64 {
        let (x, _, least) = self.nodes();
        let (mut total, mut sum) = (0.0, 0.0);
        for x in x {
            let w = (least - self.energy(x)).exp();
            total += w;
            sum += w * x.powi(p);
        }
        sum / total
    }

    /// n independent exact draws, by rejection from a function that is constant on cells and nowhere below e^{−u}.
    pub fn draws(&self, n: usize, rng: &mut Rng) -> Vec<f64> {
        let (x, step, least) = self.nodes();
        // on a cell u ≥ the lesser of its ends − half the width times the largest |u′|, which a sum of absolute values bounds
        let floors: Vec<f64> = x
            .windows(2)
            .map(|ends| {
                let far = ends[0].abs().max(ends[1].abs());
                let slope = 4.0 * self.quartic * far.powi(3) + 2.0 * self.quadratic.abs() * far + self.linear.abs();
                self.energy(ends[0]).min(self.energy(ends[1])) - 0.5 * step * slope
            })
            .collect();
        let mut cumulated = Vec::with_capacity(floors.len());
        let total = floors.iter().fold(0.0, |sum, floor| {
            cumulated.push(sum + (least - floor).exp());
            sum + (least - floor).exp()
        });
        let mut out = Vec::with_capacity(n);
        while out.len() < n {
            for u in rng.uniforms(3 * (n - out.len())).chunks_exact(3) {
                let cell = cumulated.partition_point(|c| *c <= u[0] * total).min(floors.len() - 1);
                let here = x[cell] + u[1] * step;
                if u[2] < (floors[cell] - self.energy(here)).exp() {
                    out.push(here);
                }
            }
        }
        out
    }
}
