//! Estimate the density of weighted values: as a histogram, and as a curve of Gaussian kernels.

use super::axis::range;
use crate::error::{Error, Result};

/// Points of a curve.
const POINTS: usize = 200;
/// What lies further out has less than a ten-thousandth of the weight, and must not stretch the curve.
const TAIL: f64 = 5e-5;

/// Weights that can be normalised, and a sensible number of bins.
pub(super) fn check(label: &str, values: &[f64], weights: &[f64], bins: usize) -> Result<()> {
    check_weights(label, values.len(), weights)?;
    if (1..=1000).contains(&bins) { Ok(()) } else { Err(Error::param("bins", bins, format!("1 to 1000 ({label:?})"))) }
}

/// As many weights as values, or none for equal ones; not negative, not all zero.
pub(super) fn check_weights(label: &str, values: usize, weights: &[f64]) -> Result<()> {
    if weights.is_empty() {
        return Ok(());
    }
    if weights.len() != values {
        let expected = format!("[{values}] (as many as values of layer \"{label}\")");
        return Err(Error::Shape { name: "weights", got: vec![weights.len() as i64], expected });
    }
    if let Some((i, w)) = weights.iter().enumerate().find(|(_, w)| !(**w >= 0.0 && w.is_finite())) {
        let expected = format!("finite and not negative (weight {i} of layer \"{label}\")");
        return Err(Error::param("weights", w, expected));
    }
    if weights.iter().all(|w| *w == 0.0) {
        return Err(Error::param("weights", "0 everywhere", format!("a positive sum (layer \"{label}\")")));
    }
    Ok(())
}

/// The finite values that have weight, rising, each with its share of the sum.
fn shares(values: &[f64], weights: &[f64]) -> Vec<(f64, f64)> {
    // Weights near the largest float would overflow in a sum.
    let largest = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let weight = |i: usize| weights.get(i).map_or(1.0, |w| w / largest);
    let mut out: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, v)| (*v, weight(i))).collect();
    out.retain(|(v, w)| v.is_finite() && *w > 0.0);
    let sum: f64 = out.iter().map(|p| p.1).sum();
    out.iter_mut().for_each(|p| p.1 /= sum);
    out.sort_by(|a, b| a.0.total_cmp(&b.0));
    out
}

/// Edges and heights of a histogram of area 1 in `bins` equal bins over all values; empty without values.
pub(super) fn histogram(values: &[f64], weights: &[f64], bins: usize) -> (Vec<f64>, Vec<f64>) {
    let shares = shares(values, weights);
    let Some((lo, hi)) = range(shares.iter().map(|p| p.0), false, 0.0) else { return (vec![], vec![]) };
    let edges: Vec<f64> = (0..=bins).map(|i| lo + (hi - lo) * (i as f64 / bins as f64)).collect();
    let mut heights = vec![0.0; bins];
    for (v, w) in shares {
        // An edge belongs to the bin on its right, the last one to the last bin.
        heights[edges.partition_point(|e| *e <= v).clamp(1, bins) - 1] += w;
    }
    heights.iter_mut().zip(edges.windows(2)).for_each(|(h, e)| *h /= e[1] - e[0]);
    (edges, heights)
}

/// The kernel density at 200 points; empty where all weight is on one value.
pub(super) fn curve(values: &[f64], weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let shares = shares(values, weights);
    let (lo, hi) = (quantile(&shares, TAIL), quantile(&shares, 1.0 - TAIL));
    // Points further apart than a bandwidth would miss peaks.
    let h = bandwidth(&shares).max((hi - lo) / (POINTS - 9) as f64);
    if !(h > 0.0 && h.is_finite() && (hi - lo).is_finite()) {
        return (vec![], vec![]);
    }
    let (from, to) = (lo - 4.0 * h, hi + 4.0 * h);
    let xs: Vec<f64> = (0..POINTS).map(|i| from + (to - from) * (i as f64 / (POINTS - 1) as f64)).collect();
    let norm = h * std::f64::consts::TAU.sqrt();
    let at = |x: &f64| {
        // Beyond nine bandwidths a kernel is below the rounding of the sum.
        let first = shares.partition_point(|p| p.0 < x - 9.0 * h);
        let near = shares[first..].iter().take_while(|p| p.0 <= x + 9.0 * h);
        near.map(|(v, w)| w * (-0.5 * ((x - v) / h).powi(2)).exp()).sum::<f64>() / norm
    };
    let ys = xs.iter().map(at).collect();
    (xs, ys)
}

/// Silverman's rule 0.9 min(σ, IQR / 1.34) n^(−1/5) with the effective sample size n = 1 / Σw² (for Σw = 1).
fn bandwidth(shares: &[(f64, f64)]) -> f64 {
    let mean: f64 = shares.iter().map(|(v, w)| v * w).sum();
    let sigma = shares.iter().map(|(v, w)| w * (v - mean).powi(2)).sum::<f64>().sqrt();
    let n = 1.0 / shares.iter().map(|(_, w)| w * w).sum::<f64>();
    let spread = (quantile(shares, 0.75) - quantile(shares, 0.25)) / 1.34;
    // Where half of the weight is on one value, only σ tells a width.
    0.9 * if spread > 0.0 { sigma.min(spread) } else { sigma } * n.powf(-0.2)
}

/// The smallest value up to which the weight is at least `p`; NaN without values.
fn quantile(shares: &[(f64, f64)], p: f64) -> f64 {
    let mut sum = 0.0;
    let found = shares.iter().find(|(_, w)| {
        sum += w;
        sum >= p - 1e-12
    });
    found.or(shares.last()).map_or(f64::NAN, |s| s.0)
}
