//! Fit a power law y = c x^p, the straight line of log-log axes.

use super::axis::decimal;
use crate::numeric::fit::log_log;

/// The fitted power law as `(exponent, standard error of the exponent, prefactor)`, see [`log_log`].
///
/// Points that are not positive and finite are left out. The standard error takes the scatter about the line as the
/// noise of every point; it is NaN for two points. None where fewer than two different x are left, or where `xs` and
/// `ys` differ in length.
pub fn power_law(xs: &[f64], ys: &[f64]) -> Option<(f64, f64, f64)> {
    log_log(xs, ys).map(|fit| (fit.slope, fit.se, fit.intercept.exp()))
}

/// What a log axis can show.
fn usable(v: f64) -> bool {
    v > 0.0 && v.is_finite()
}

/// The ends of the fitted line: at the smallest and largest x that it was fitted to.
pub(super) fn ends(xs: &[f64], ys: &[f64], (exponent, _, prefactor): (f64, f64, f64)) -> (Vec<f64>, Vec<f64>) {
    let used = xs.iter().zip(ys).filter(|(x, y)| usable(**x) && usable(**y)).map(|(x, _)| *x);
    let (lo, hi) = used.fold((f64::INFINITY, 0f64), |(lo, hi), x| (lo.min(x), hi.max(x)));
    let y = |x: f64| (prefactor.ln() + exponent * x.ln()).exp();
    (vec![lo, hi], vec![y(lo), y(hi)])
}

/// Between a name and its fitted exponent in a label.
const PROPORTIONAL: &str = " ∝ x^";

/// `name ∝ x^−0.50 ± 0.02`: as many digits as the standard error is sure of, at most three.
pub(super) fn fitted_label(name: &str, exponent: f64, se: f64) -> String {
    if !se.is_finite() {
        return format!("{name}{PROPORTIONAL}{}", decimal(exponent, 2));
    }
    let digits = if se > 0.0 { (-se.log10().floor()).clamp(0.0, 3.0) as usize } else { 3 };
    format!("{name}{PROPORTIONAL}{} ± {}", decimal(exponent, digits), decimal(se, digits))
}

/// A label without its fitted exponent: the fitted line has the colour of the points' name.
pub(super) fn name(label: &str) -> &str {
    label.split_once(PROPORTIONAL).map_or(label, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_the_digits_of_its_error() {
        assert_eq!(fitted_label("increments", 0.9834, 0.0213), "increments ∝ x^0.98 ± 0.02");
        assert_eq!(fitted_label("error", -0.51, 0.3), "error ∝ x^−0.5 ± 0.3");
        assert_eq!(fitted_label("exact", 2.0, 1e-16), "exact ∝ x^2.000 ± 0.000");
        assert_eq!(fitted_label("two points", 1.5, f64::NAN), "two points ∝ x^1.50");
        assert_eq!((name("error ∝ x^−0.5 ± 0.3"), name("error")), ("error", "error"));
    }
}
