//! Measure how heavy the tail of the weights is: whether an ESS and its error bars can be relied on.

/// Shape k̂ of a generalised Pareto distribution fitted to the largest weights: the fit of Zhang and Stephens (2009) with the
/// prior of Pareto-smoothed importance sampling (Vehtari et al. 2024). Below ½ the weights have a finite variance, and the
/// central limit theorem holds; above .7 no practical number of walkers compensates for it.
///
/// `log_weights` in any order; NaN for fewer than 25 of them or where the largest do not differ.
pub(crate) fn pareto_shape(log_weights: &[f64]) -> f64 {
    let n = log_weights.len();
    let kept = ((0.2 * n as f64).min(3.0 * (n as f64).sqrt())).floor() as usize;
    if kept < 5 {
        return f64::NAN;
    }
    let mut a = log_weights.to_vec();
    // the tail alone is sorted
    a.select_nth_unstable_by(n - kept - 1, f64::total_cmp);
    a[n - kept..].sort_by(f64::total_cmp);
    let top = a[n - 1];
    let threshold = (a[n - kept - 1] - top).exp();
    // exceedances, rising
    let x: Vec<f64> = a[n - kept..].iter().map(|a| (a - top).exp() - threshold).collect();
    let largest = x[kept - 1];
    if !(largest > 1e-12 && largest.is_finite()) {
        return f64::NAN;
    }
    let quartile = x[((kept as f64 / 4.0 + 0.5).floor() as usize).saturating_sub(1)].max(1e-300);
    let (count, size) = (30 + (kept as f64).sqrt() as usize, kept as f64);
    let shape = |b: f64| x.iter().map(|x| (-b * x).ln_1p()).sum::<f64>() / size;
    let candidates: Vec<(f64, f64)> = (1..=count)
        .map(|j| {
            let b = 1.0 / largest + (1.0 - (count as f64 / (j as f64 - 0.5)).sqrt()) / (3.0 * quartile);
            let k = shape(b);
            (b, size * ((-b / k).ln() - k - 1.0))
        })
        .filter(|(_, likelihood)| likelihood.is_finite())
        .collect();
    let best = candidates.iter().map(|c| c.1).fold(f64::NEG_INFINITY, f64::max);
    let (mass, mean) = candidates.iter().fold((0.0, 0.0), |(m, s), (b, l)| {
        let w = (l - best).exp();
        (m + w, s + w * b)
    });
    // ten imaginary observations of ½
    (shape(mean / mass) * size + 5.0) / (size + 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;

    #[test]
    fn pareto_tails_are_recognised() {
        for shape in [0.2, 0.5, 1.0] {
            let u = Rng::new(3).uniforms(100_000);
            // w = u^{−k} has P(w > x) = x^{−1/k}
            let log: Vec<f64> = u.iter().map(|u| -shape * (1.0 - u).ln()).collect();
            let found = pareto_shape(&log);
            // the standard deviation of the estimate is (1 + k)/√M with M = 3√N = 948 exceedances
            let z = (found - shape) / ((1.0 + shape) / 948f64.sqrt());
            assert!(z.abs() < 5.0, "{shape}: {found}");
        }
        assert!(pareto_shape(&[0.0; 1000]).is_nan() && pareto_shape(&[1.0, 2.0]).is_nan());
    }
}
