//! Give the Brownian bridge with unknown scales: a random walk observed at both of its ends, with an exact log Z.

use super::{LOG_2PI, finite};
use crate::density::{Differentiable, Energy, Evaluation, floats};
use crate::error::{Error, Result};
use tch::{Kind, Tensor};

/// A random walk of T steps with unknown noise, seen at some of them (`brownian_motion_unknown_scales_missing_middle_observations` of the
/// inference gym, Sountsov, Radul et al. 2020):
///
/// ```text
/// σ_x, σ_y ~ LogNormal(0, 2),   l_1 ~ N(0, σ_x²),   l_t ~ N(l_{t−1}, σ_x²),   y_t ~ N(l_t, σ_y²) where it was observed
/// x = (softplus⁻¹ σ_x, softplus⁻¹ σ_y, l_1, …, l_T)
/// ```
///
/// U is −log of the joint density of x and y, the Jacobian of softplus included, so that Z = p(y) does not depend on the coordinates of the
/// scales. Given both scales all is Gaussian: [`log_evidence`](BrownianBridge::log_evidence) integrates the filter's likelihood over them
/// by quadrature, which no table of this target does.
///
/// ```
/// use jarzynski::model::targets::BrownianBridge;
/// let target = BrownianBridge::published();
/// assert_eq!(target.dim(), 32);
/// println!("log Z = {:.6}", target.log_evidence());
/// ```
#[derive(Debug)]
pub struct BrownianBridge {
    /// NaN where nothing was observed.
    seen: Vec<f64>,
    /// `[T]`, 0 where nothing was observed, and which were.
    values: Tensor,
    observed: Tensor,
}

/// The observations of the inference gym (Apache-2.0), drawn with σ_x = .1, σ_y = .15; steps 11 to 20 are missing.
const PUBLISHED: [f64; 20] = [
    0.21592641,
    0.118771404,
    -0.07945447,
    0.037677474,
    -0.27885845,
    -0.1484156,
    -0.3250906,
    -0.22957903,
    -0.44110894,
    -0.09830782,
    -0.8786016,
    -0.83736074,
    -0.7384849,
    -0.8939254,
    -0.7774566,
    -0.70238715,
    -0.87771565,
    -0.51853573,
    -0.6948214,
    -0.6202789,
];
/// Standard deviation of log σ_x and log σ_y.
const SPREAD: f64 = 2.0;
/// log σ from −24 to 16, twelve and eight standard deviations, in steps of .05, a quarter of the width of the posterior.
const LOG_SCALES: (f64, f64, usize) = (-24.0, 16.0, 800);

impl BrownianBridge {
    /// With observations y_1 … y_T, NaN where there is none.
    ///
    /// # Errors
    /// No observation at all, infinite ones.
    pub fn new(observations: &[f64]) -> Result<Self> {
        if !observations.iter().any(|y| !y.is_nan()) {
            return Err(Error::param(
                "observations",
                format!("{observations:?}"),
                "at least one number that is not NaN",
            ));
        }
        observations.iter().filter(|y| !y.is_nan()).try_for_each(|y| finite("observations", *y).map(|_| ()))?;
        Ok(Self::of(observations.to_vec()))
    }

    /// T = 30 with the first ten and the last ten observed: d = 32.
    pub fn published() -> Self {
        Self::of([&PUBLISHED[..10], &[f64::NAN; 10], &PUBLISHED[10..]].concat())
    }

    fn of(seen: Vec<f64>) -> Self {
        let values: Vec<f64> = seen.iter().map(|y| if y.is_nan() { 0.0 } else { *y }).collect();
        let observed: Vec<f64> = seen.iter().map(|y| f64::from(u8::from(!y.is_nan()))).collect();
        BrownianBridge { seen, values: Tensor::from_slice(&values), observed: Tensor::from_slice(&observed) }
    }

    /// Dimension T + 2.
    pub fn dim(&self) -> i64 {
        self.seen.len() as i64 + 2
    }

    fn observations(&self) -> f64 {
        self.seen.iter().filter(|y| !y.is_nan()).count() as f64
    }

    /// log p(y | σ_x, σ_y) by the Kalman filter.
    pub fn log_likelihood(&self, innovation: f64, noise: f64) -> f64 {
        let (mut mean, mut variance, mut total) = (0.0, 0.0, 0.0);
        for y in &self.seen {
            variance += innovation * innovation;
            if !y.is_nan() {
                let (all, off) = (variance + noise * noise, y - mean);
                total -= 0.5 * (LOG_2PI + all.ln() + off * off / all);
                mean += variance / all * off;
                variance *= noise * noise / all;
            }
        }
        total
    }

    /// log Z = log p(y), nats: the filter's likelihood integrated over log σ_x and log σ_y by the trapezium rule, which is exact to
    /// rounding here (the same to 1e-10 with half as many nodes, tested).
    pub fn log_evidence(&self) -> f64 {
        self.evidence(LOG_SCALES.2)
    }

    fn evidence(&self, nodes: usize) -> f64 {
        let (low, high, _) = LOG_SCALES;
        let step = (high - low) / nodes as f64;
        let scales: Vec<f64> = (0..=nodes).map(|i| low + i as f64 * step).collect();
        let prior = |log: f64| -0.5 * (log / SPREAD).powi(2) - 0.5 * LOG_2PI - SPREAD.ln();
        let logs: Vec<f64> = scales
            .iter()
            .flat_map(|a| scales.iter().map(move |b| (*a, *b)))
            .map(|(a, b)| prior(a) + prior(b) + self.log_likelihood(a.exp(), b.exp()))
            .collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + (logs.iter().map(|l| (l - most).exp()).sum::<f64>() * step * step).ln()
    }

    /// What U is made of, for rows `x`.
    fn parts(&self, x: &Tensor) -> Parts {
        let x = floats(x, self.dim(), Kind::Double);
        let (raw, places) = (x.narrow(1, 0, 2), x.narrow(1, 2, self.dim() - 2));
        let ahead = Tensor::cat(&[&places.narrow(1, 0, 1), &places.diff(1, 1, None::<Tensor>, None::<Tensor>)], 1);
        let on = |t: &Tensor| t.to_kind(x.kind()).to_device(x.device());
        let off = (&places - on(&self.values)) * on(&self.observed);
        // softplus, and its logarithm where e^u is all that is left of it
        let scale = raw.exp().log1p().where_self(&raw.lt(30.0), &raw);
        let sums = Tensor::stack(&[&ahead, &off].map(|t| t.square().sum_dim_intlist(-1, false, None::<Kind>)), 1);
        let counts = on(&Tensor::from_slice(&[self.seen.len() as f64, self.observations()]));
        Parts { raw, scale, ahead, off, sums, counts }
    }
}

/// Raw scales `[n, 2]`, σ, steps `[n, T]`, residuals `[n, T]`, sums of their squares `[n, 2]`, how many there are `[2]`.
struct Parts {
    raw: Tensor,
    scale: Tensor,
    ahead: Tensor,
    off: Tensor,
    sums: Tensor,
    counts: Tensor,
}

impl Parts {
    fn energy(&self) -> Tensor {
        let log = self.scale.log();
        // of both scales: normal densities of steps or residuals, the prior and the Jacobian
        let normal = (&log * &self.counts) + &self.sums / self.scale.square() * 0.5 + &self.counts * (0.5 * LOG_2PI);
        let prior = log.square() * (0.5 / (SPREAD * SPREAD)) + &log + (0.5 * LOG_2PI + SPREAD.ln());
        (normal + prior - self.raw.log_sigmoid()).sum_dim_intlist(-1, false, None::<Kind>)
    }

    fn grad(&self) -> Tensor {
        let precision = self.scale.square().reciprocal();
        let by_scale =
            (&self.counts + 1.0 + self.scale.log() / (SPREAD * SPREAD) - &self.sums * &precision) / &self.scale;
        let by_raw = by_scale * self.raw.sigmoid() - (-&self.raw).sigmoid();
        let behind = self.ahead.narrow(1, 1, self.ahead.size()[1] - 1).constant_pad_nd([0, 1]);
        let by_place = (&self.ahead - behind) * precision.narrow(1, 0, 1) + &self.off * precision.narrow(1, 1, 1);
        Tensor::cat(&[by_raw, by_place], 1)
    }
}

impl Differentiable for BrownianBridge {}

impl Energy for BrownianBridge {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.parts(x).energy()
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        crate::error::no_grad(|| {
            let parts = self.parts(x);
            Evaluation::new(x.shallow_clone(), parts.energy(), parts.grad())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_as_many_nodes_give_the_same_evidence() {
        let target = BrownianBridge::published();
        let (fine, coarse) = (target.log_evidence(), target.evidence(LOG_SCALES.2 / 2));
        assert!((fine - coarse).abs() < 1e-10, "{fine} {coarse}");
        assert!((fine - target.evidence(10)).abs() > 1e-6, "nodes that are too few must be noticed");
    }
}
