//! Fit lines, integrate functions and ordinary differential equations, and find largest eigenvalues.

use tch::{Kind, Tensor};

/// A straight line y = intercept + slope · x fitted to points by least squares.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Line {
    /// The slope.
    pub slope: f64,
    /// The standard error of the slope, which takes the scatter about the line as the noise of every point; NaN for two
    /// points.
    pub se: f64,
    /// y at x = 0.
    pub intercept: f64,
}

/// The least-squares line through the points (`xs[i]`, `ys[i]`).
///
/// None where fewer than two different x are given, or where `xs` and `ys` differ in length.
///
/// ```
/// let line = jarzynski::numeric::fit::line(&[0.0, 1.0, 2.0], &[1.0, 3.0, 5.0]).unwrap();
/// assert_eq!((line.slope, line.intercept, line.se), (2.0, 1.0, 0.0));
/// ```
pub fn line(xs: &[f64], ys: &[f64]) -> Option<Line> {
    let first = xs.first()?;
    if xs.len() != ys.len() || xs.iter().all(|x| x == first) {
        return None;
    }
    let n = xs.len() as f64;
    let (mx, my) = (xs.iter().sum::<f64>() / n, ys.iter().sum::<f64>() / n);
    let sxx: f64 = xs.iter().map(|x| (x - mx).powi(2)).sum();
    let slope = xs.iter().zip(ys).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / sxx;
    let residual: f64 = xs.iter().zip(ys).map(|(x, y)| (y - my - slope * (x - mx)).powi(2)).sum();
    let se = if xs.len() > 2 { (residual / (n - 2.0) / sxx).sqrt() } else { f64::NAN };
    Some(Line { slope, se, intercept: my - slope * mx })
}

/// The line through (ln x, ln y): its slope is the exponent p of y = c x^p, its intercept ln c.
///
/// Points that are not positive and finite are left out. None as in [`line()`].
///
/// ```
/// let x = [1.0, 2.0, 4.0];
/// let fit = jarzynski::numeric::fit::log_log(&x, &x.map(|x: f64| 3.0 * x * x)).unwrap();
/// assert!((fit.slope - 2.0).abs() < 1e-14 && (fit.intercept.exp() - 3.0).abs() < 1e-14);
/// ```
pub fn log_log(xs: &[f64], ys: &[f64]) -> Option<Line> {
    if xs.len() != ys.len() {
        return None;
    }
    let usable = |v: f64| v > 0.0 && v.is_finite();
    let points = xs.iter().zip(ys).filter(|(x, y)| usable(**x) && usable(**y));
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.map(|(x, y)| (x.ln(), y.ln())).unzip();
    line(&xs, &ys)
}

/// ∫_a^b f by the composite Simpson rule on `n` intervals, made even and at least 2.
///
/// ```
/// let third = jarzynski::numeric::fit::simpson(|x| x * x, 0.0, 1.0, 2);
/// assert!((third - 1.0 / 3.0).abs() < 1e-15);
/// ```
pub fn simpson(f: impl Fn(f64) -> f64, a: f64, b: f64, n: usize) -> f64 {
    let n = n.max(2).next_multiple_of(2);
    let h = (b - a) / n as f64;
    let weight = |i: usize| if i == 0 || i == n { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
    (0..=n).map(|i| weight(i) * f(a + h * i as f64)).sum::<f64>() * h / 3.0
}

/// x(`to`) of dx/dt = `velocity`(t, x) with x(`from`) = `x`, by `steps` equal steps of the classical Runge-Kutta scheme
/// of fourth order.
pub fn runge_kutta(
    velocity: impl Fn(f64, &Tensor) -> Tensor,
    x: &Tensor,
    (from, to): (f64, f64),
    steps: usize,
) -> Tensor {
    let h = (to - from) / steps as f64;
    (0..steps).fold(x.shallow_clone(), |x, k| {
        let t = from + k as f64 * h;
        let k1 = velocity(t, &x);
        let k2 = velocity(t + 0.5 * h, &(&x + &k1 * (0.5 * h)));
        let k3 = velocity(t + 0.5 * h, &(&x + &k2 * (0.5 * h)));
        let k4 = velocity(t + h, &(&x + &k3 * h));
        x + (k1 + (k2 + k3) * 2.0 + k4) * (h / 6.0)
    })
}

/// `passes` power iterations of a symmetric matrix H for each row of `start` `[n, d]`: the last unit vectors v and Hv.
///
/// `product` gives Hv for unit vectors `[n, d]`. |Hv| and v·Hv tend to the eigenvalue of largest magnitude.
pub(crate) fn power_iteration(product: impl Fn(&Tensor) -> Tensor, start: Tensor, passes: usize) -> (Tensor, Tensor) {
    let (mut unit, mut image) = (start.shallow_clone(), start);
    for _ in 0..passes {
        unit = &image / row_norms(&image);
        image = product(&unit);
    }
    (unit, image)
}

/// |v| of each row, `[n, 1]`; never 0, so that it may divide.
pub(crate) fn row_norms(v: &Tensor) -> Tensor {
    v.square().sum_dim_intlist(-1, true, None::<Kind>).sqrt().clamp_min(1e-30)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order at which an error falls where steps are halved.
    fn order(error: impl Fn(usize) -> f64) -> f64 {
        let steps = [8, 16, 32];
        -log_log(&steps.map(|n| n as f64), &steps.map(|n| error(n).abs())).unwrap().slope
    }

    #[test]
    fn a_line_has_the_slope_and_error_of_the_closed_form() {
        // residuals −1/2, 1, −1/2 about slope 1/2: se² = 1.5 / 1 / 2
        let fit = line(&[0.0, 1.0, 2.0], &[0.0, 2.0, 1.0]).unwrap();
        assert_eq!((fit.slope, fit.intercept), (0.5, 0.5));
        assert!((fit.se - 0.75f64.sqrt()).abs() < 1e-15);
        assert!(line(&[1.0, 2.0], &[1.0, 2.0]).unwrap().se.is_nan());
        for (xs, ys) in [(&[1.0, 1.0][..], &[1.0, 2.0][..]), (&[1.0], &[1.0]), (&[], &[]), (&[1.0, 2.0], &[1.0])] {
            assert_eq!((line(xs, ys), log_log(xs, ys)), (None, None));
        }
        let some = log_log(&[0.0, 1.0, 2.0, f64::NAN, 4.0], &[1.0, 3.0, 6.0, 1.0, 12.0]).unwrap();
        assert!((some.slope - 1.0).abs() < 1e-14, "points without a logarithm are left out");
    }

    #[test]
    fn simpson_is_of_fourth_order() {
        assert!((simpson(|x| x * x * x - 2.0 * x * x, -1.0, 3.0, 2) - 4.0 / 3.0).abs() < 1e-13);
        let p = order(|n| simpson(f64::exp, 0.0, 1.0, n) - (1f64.exp() - 1.0));
        // halving the step divides the error by 2⁴ up to O(h²)
        assert!((p - 4.0).abs() < 8f64.powi(-2), "{p}");
    }

    #[test]
    fn runge_kutta_is_of_fourth_order() {
        // dx/dt = t x: x(1) = e^{1/2}; the middle stages weighted 1 instead of 2 would not even converge
        let x = Tensor::from_slice(&[1.0]).view([1, 1]);
        let end = |n| runge_kutta(|t, x| x * t, &x, (0.0, 1.0), n).double_value(&[0, 0]);
        let p = order(|n| end(n) - 0.5f64.exp());
        assert!((p - 4.0).abs() < 0.1, "{p}");
    }

    #[test]
    fn power_iteration_finds_the_eigenvalue_of_largest_magnitude() {
        let diagonal = Tensor::from_slice(&[1.0, -3.0, 0.5, 2.0, 7.0, -1.0]).view([2, 3]);
        let (unit, image) =
            power_iteration(|v| v * &diagonal, Tensor::ones([2, 3], (Kind::Double, tch::Device::Cpu)), 60);
        let quotient = (&unit * &image).sum_dim_intlist(-1, false, Kind::Double);
        for (row, exact) in [-3.0, 7.0].into_iter().enumerate() {
            assert!((quotient.double_value(&[row as i64]) - exact).abs() < 1e-10);
            assert!((row_norms(&image).double_value(&[row as i64, 0]) - f64::abs(exact)).abs() < 1e-10);
        }
    }
}
