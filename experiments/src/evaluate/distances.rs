//! Measure how far a weighted sample is from another: sliced Wasserstein distance and maximum mean discrepancy.

use jarzynski::numeric::Rng;
use jarzynski::tch::{Device, Kind, Tensor};

/// Sliced 2-Wasserstein distance between points x with weights w (summing to 1) and points y, along `slices` random
/// directions: √ of the mean over directions of ∫|F⁻¹(p) − G⁻¹(p)|² dp. x `[n, d]`, w `[n]` in f64, y `[m, d]`.
///
/// Between two samples of one distribution it is not 0 but of order (1/n + 1/m)^{1/2}: compare with that.
pub(crate) fn sliced_wasserstein(x: &Tensor, w: &Tensor, y: &Tensor, slices: i64, rng: &mut Rng) -> f64 {
    let wide = |t: &Tensor| t.to_kind(Kind::Double);
    let (x, w, y) = (wide(x), wide(w), wide(y));
    let directions = rng.normal(&[x.size()[1], slices], Kind::Double, x.device());
    let directions = &directions / directions.square().sum_dim_intlist(0, true, None::<Kind>).sqrt();
    let (px, order) = x.matmul(&directions).sort(0, false);
    let (py, _) = y.matmul(&directions).sort(0, false);
    if x.device() != Device::Cpu {
        let weights = w.unsqueeze(-1).expand_as(&order).gather(0, &order, false);
        return quantile_gaps(&px, &weights, &py).mean(Kind::Double).sqrt().double_value(&[]);
    }
    let list = |t: Tensor| Vec::<f64>::try_from(t.contiguous()).unwrap_or_default();
    let one = |s: i64| {
        let weights = list(w.index_select(0, &order.select(1, s)));
        quantile_gap(&list(px.select(1, s)), &weights, &list(py.select(1, s)))
    };
    ((0..slices).map(one).sum::<f64>() / slices as f64).sqrt()
}

/// ∫|F⁻¹ − G⁻¹|² dp for sorted x with weights and sorted y with equal ones.
fn quantile_gap(x: &[f64], w: &[f64], y: &[f64]) -> f64 {
    let (each, mut i, mut j) = (1.0 / y.len() as f64, 0, 0);
    let (mut left_x, mut left_y, mut total) = (w.first().copied().unwrap_or(0.0), each, 0.0);
    while i < x.len() && j < y.len() {
        let mass = left_x.min(left_y);
        total += mass * (x[i] - y[j]) * (x[i] - y[j]);
        left_x -= mass;
        left_y -= mass;
        if left_x <= 1e-15 {
            i += 1;
            left_x = w.get(i).copied().unwrap_or(0.0);
        }
        if left_y <= 1e-15 {
            j += 1;
            left_y = each;
        }
    }
    total
}

/// The same for each column by tensor operations: sorted x `[n, s]` with weights `[n, s]` and sorted y `[m, s]`, `[s]`.
fn quantile_gaps(x: &Tensor, w: &Tensor, y: &Tensor) -> Tensor {
    let rows = |t: &Tensor| t.tr().contiguous();
    let (x, y, on_x, m) = (rows(x), rows(y), rows(w).cumsum(-1, Kind::Double), y.size()[0]);
    let on_y = (Tensor::arange_start(1, m + 1, (Kind::Double, x.device())) / m as f64).expand_as(&y).contiguous();
    // between neighbouring steps of the two distribution functions both quantiles stand still
    let (steps, _) = Tensor::cat(&[&on_x, &on_y], -1).sort(-1, false);
    let before = Tensor::cat(&[&steps.narrow(-1, 0, 1).zeros_like(), &steps.narrow(-1, 0, steps.size()[1] - 1)], -1);
    let (mass, middle) = (&steps - &before, (&steps + &before) * 0.5);
    let quantile = |function: &Tensor, v: &Tensor| {
        let place = middle.searchsorted(function, false, false, "left", None::<Tensor>);
        v.gather(-1, &place.clamp_max(v.size()[1] - 1), false)
    };
    let gap = quantile(&on_x, &x) - quantile(&on_y, &y);
    (mass * gap.square()).sum_dim_intlist(-1, false, Kind::Double)
}

/// At most so many points of each side enter the discrepancy, which takes all pairs.
const PAIRED: i64 = 1_000;

/// Squared maximum mean discrepancy with the kernel e^{−|x − y|²/2σ²}, without the diagonal terms: unbiased for independent
/// equal weights, so that it may fall below 0. Arguments as above; of more than a thousand points the first are taken.
pub(crate) fn mmd_square(x: &Tensor, w: &Tensor, y: &Tensor, sigma: f64) -> f64 {
    let first = |t: &Tensor| t.narrow(0, 0, t.size()[0].min(PAIRED));
    let (x, y, w) = (&first(x), &first(y), &first(w));
    let w = w / w.sum(Kind::Double);
    let kernel = |a: &Tensor, b: &Tensor| {
        let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
        let norm = |t: &Tensor| t.square().sum_dim_intlist(-1, false, None::<Kind>);
        let square = norm(&a).unsqueeze(1) + norm(&b).unsqueeze(0) - a.matmul(&b.tr()) * 2.0;
        (square.clamp_min(0.0) / (-2.0 * sigma * sigma)).exp()
    };
    let m = y.size()[0] as f64;
    let squares = w.square().sum(Kind::Double).double_value(&[]);
    let own = w.dot(&kernel(x, x).mv(&w)).double_value(&[]);
    let other = kernel(y, y).sum(Kind::Double).double_value(&[]);
    let across = w.dot(&kernel(x, y).mean_dim(1, false, None::<Kind>)).double_value(&[]);
    (own - squares) / (1.0 - squares) + (other - m) / (m * (m - 1.0)) - 2.0 * across
}

/// Fréchet distance |m − m'|² + tr(C + C' − 2 (C^{1/2} C' C^{1/2})^{1/2}) between the Gaussians with the means and covariances of x
/// with weights w (summing to 1) and of y with equal ones.
pub(crate) fn frechet(x: &Tensor, w: &Tensor, y: &Tensor) -> f64 {
    let moments = |x: &Tensor, w: &Tensor| {
        let (x, w) = (x.to_kind(Kind::Double), w.to_kind(Kind::Double).unsqueeze(-1));
        let mean = (&x * &w).sum_dim_intlist(0, false, Kind::Double);
        let away = &x - &mean;
        let covariance = away.tr().matmul(&(&away * w));
        (mean, covariance)
    };
    let root = |c: &Tensor| {
        let (values, axes) = c.linalg_eigh("L");
        (&axes * values.clamp_min(0.0).sqrt()).matmul(&axes.tr())
    };
    let m = y.size()[0];
    let (a, c) = moments(x, w);
    let (b, e) = moments(y, &Tensor::full([m], 1.0 / m as f64, (Kind::Double, y.device())));
    let half = root(&c);
    let product = half.matmul(&e).matmul(&half);
    let common =
        (&product + product.tr()).multiply_scalar(0.5).linalg_eigh("L").0.clamp_min(0.0).sqrt().sum(Kind::Double);
    let trace = |t: &Tensor| t.diagonal(0, 0, 1).sum(Kind::Double).double_value(&[]);
    (a - b).square().sum(Kind::Double).double_value(&[]) + trace(&c) + trace(&e) - 2.0 * common.double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frechet_distance_of_a_shift_and_a_stretch() {
        let x = Rng::new(4).normal(&[500, 3], Kind::Double, Device::Cpu);
        let flat = Tensor::full([500], 1.0 / 500.0, (Kind::Double, Device::Cpu));
        assert!(frechet(&x, &flat, &x).abs() < 1e-10);
        assert!((frechet(&(&x + 2.0), &flat, &x) - 12.0).abs() < 1e-10);
        // (2C)^{1/2}: tr(4C + C − 4C) = tr C
        let away = &x - x.mean_dim(0, true, Kind::Double);
        let trace = away.square().sum(Kind::Double).double_value(&[]) / 500.0;
        assert!((frechet(&(&away * 2.0), &flat, &away) - trace).abs() < 1e-10);
        // weights count: the second half alone
        let half = Tensor::cat(&[flat.narrow(0, 0, 250) * 0.0, flat.narrow(0, 250, 250) * 2.0], 0);
        assert!(frechet(&x, &half, &x.narrow(0, 250, 250)).abs() < 1e-10);
        assert!(frechet(&x, &flat, &x.narrow(0, 250, 250)) > 1e-4);
    }

    #[test]
    fn a_shift_is_found_and_weights_count() {
        let mut rng = Rng::new(1);
        let y = rng.normal(&[4_000, 1], Kind::Double, jarzynski::tch::Device::Cpu);
        let x = rng.normal(&[4_000, 1], Kind::Double, jarzynski::tch::Device::Cpu);
        let flat = Tensor::full([4_000], 1.0 / 4_000.0, (Kind::Double, jarzynski::tch::Device::Cpu));
        // In one dimension every direction is ±1 and the distance of a shift is the shift.
        let shifted = sliced_wasserstein(&(&y + 0.5), &flat, &y, 4, &mut rng);
        assert!((shifted - 0.5).abs() < 1e-12, "{shifted}");
        // Weights e^{x/2 − 1/8} turn N(0, 1) into N(½, 1).
        let tilt = (&x * 0.5).softmax(0, Kind::Double).squeeze_dim(-1);
        let near = |w: &Tensor| sliced_wasserstein(&x, w, &(&y + 0.5), 4, &mut Rng::new(2));
        assert!(near(&tilt) < 0.1 && near(&flat) > 0.4, "{} {}", near(&tilt), near(&flat));
        let mmd = |w: &Tensor| mmd_square(&x, w, &(&y + 0.5), 1.0);
        assert!(mmd(&tilt).abs() < 2e-3 && mmd(&flat) > 0.02, "{} {}", mmd(&tilt), mmd(&flat));
    }

    #[test]
    fn columns_by_tensors_are_columns_one_by_one() {
        let mut rng = Rng::new(3);
        for (n, m) in [(500, 300), (7, 7), (1, 40)] {
            let mut draw = |n: i64| rng.normal(&[n, 3], Kind::Double, Device::Cpu);
            let (x, w, y) = (draw(n).sort(0, false).0, draw(n).softmax(0, Kind::Double), draw(m).sort(0, false).0);
            let all = quantile_gaps(&x, &w, &y);
            for s in 0..3 {
                let list = |t: &Tensor| Vec::<f64>::try_from(t.select(1, s).contiguous()).unwrap();
                let one = quantile_gap(&list(&x), &list(&w), &list(&y));
                assert!((one - all.double_value(&[s])).abs() < 1e-12 * one, "{n}, {m}: {one} {all:?}");
            }
        }
    }
}
