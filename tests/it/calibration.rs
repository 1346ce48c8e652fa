//! Check error bars: replicates of log Ẑ scatter as their standard errors say, and the ESS is the exact one.

use crate::common;

use common::{Drifting, FAR, walk, z_of};
use jarzynski::io::frame::mean_se;
use jarzynski::kernel::{Kernel, Mala, Reversed, Ula};
use jarzynski::{At, Walkers};

/// z-score of the variance of `v` against `exact`; its standard error from the sample's own fourth moment.
fn z_variance(v: &[f64], exact: f64) -> f64 {
    let (mean, _) = mean_se(v);
    let squares: Vec<f64> = v.iter().map(|x| (x - mean).powi(2) * v.len() as f64 / (v.len() - 1) as f64).collect();
    z_of(&squares, exact)
}

const REPLICATES: u64 = 300;
const WALKERS: usize = 2_000;

/// log Ẑ − log Z and its standard error, replicate by replicate, with the skewness terms that bias their ratio.
struct Replicates {
    error: Vec<f64>,
    pull: Vec<f64>,
    expected_pull: Vec<f64>,
}

fn replicates<K: for<'a> Kernel<At<'a, Drifting>>>(kernel: &K, first: u64) -> Replicates {
    let path = Drifting::new(2, 0.8, 0.75);
    let exact = 2.0 * (0.75 * (2.0 * std::f64::consts::PI).sqrt()).ln();
    let mut out = Replicates { error: vec![], pull: vec![], expected_pull: vec![] };
    for seed in first..first + REPLICATES {
        let w = walk(kernel, &path, 10, WALKERS, seed, |_, _| {});
        assert_eq!(w.resamplings(), 0);
        let e = w.log_z();
        out.error.push(e.value - exact);
        out.pull.push((e.value - exact) / e.se);
        out.expected_pull.push(expected_pull(&w));
    }
    out
}

/// E (log Ẑ − log Z)/se to order 1/√N. With v and γ, the relative variance and the skewness of e^A, the terms are, each
/// over √N: −√v/2, the bias −se²/2 of the logarithm; +√v, as a low Ẑ makes se = sd/Ẑ large; −γ/2, as a low Ẑ comes with
/// a low sample variance. For nearly log-normal weights γ ≈ 3√v, and the sum is −se.
fn expected_pull(w: &Walkers) -> f64 {
    let u: Vec<f64> = Vec::try_from(w.weights() * w.len() as f64).unwrap();
    let n = u.len() as f64;
    let moment = |p: i32| u.iter().map(|x| (x - 1.0).powi(p)).sum::<f64>() / n;
    let v = moment(2);
    (v.sqrt() - moment(3) / v.powf(1.5)) / (2.0 * n.sqrt())
}

#[test]
fn log_z_scatters_as_its_standard_error_says() {
    let rows = [
        ("ula", replicates(&Ula::new(0.1), 1_000)),
        ("ula, backward at θ_k", replicates(&Ula::new(0.1).reverse_at(jarzynski::ReverseAt::Old), 2_000)),
        ("mala reversed", replicates(&Reversed::new(Mala::new(0.2)), 3_000)),
    ];
    for (name, r) in rows {
        let ratio: Vec<f64> = r.error.iter().map(|e| e.exp()).collect();
        let (expected, _) = mean_se(&r.expected_pull);
        let (bias, bias_se) = mean_se(&r.error);
        let se2: Vec<f64> = r.error.iter().zip(&r.pull).map(|(e, p)| (e / p).powi(2)).collect();
        let half = 0.5 * mean_se(&se2).0;
        let ((pull, _), variance) = (mean_se(&r.pull), mean_se(&r.pull).1.powi(2) * r.pull.len() as f64);
        println!(
            "{name}: bias {bias:.5} ± {bias_se:.5} (−se²/2 = {:.5}), pull {pull:.3} (expected {expected:.3}), variance \
             {variance:.3}, z = {:.2} {:.2} {:.2} {:.2}",
            -half,
            z_of(&ratio, 1.0),
            z_of(&r.error, -half),
            z_of(&r.pull, expected),
            z_variance(&r.pull, 1.0)
        );
        assert!(z_of(&ratio, 1.0).abs() < FAR, "{name}: Ẑ/Z is unbiased, z = {}", z_of(&ratio, 1.0));
        assert!(
            z_of(&r.error, -half).abs() < FAR,
            "{name}: log Ẑ is low by half its variance, z = {}",
            z_of(&r.error, -half)
        );
        assert!(z_of(&r.pull, expected).abs() < FAR, "{name}: pulls, z = {}", z_of(&r.pull, expected));
        assert!(z_variance(&r.pull, 1.0).abs() < FAR, "{name}: variance of pulls, z = {}", z_variance(&r.pull, 1.0));
        // Reject twins: errors a third too small or too large, and an Ẑ that is 2 % off, must not pass.
        let scaled = |s: f64| z_variance(&r.pull.iter().map(|p| p * s).collect::<Vec<_>>(), 1.0);
        assert!(scaled(1.5) > FAR && scaled(1.0 / 1.5) < -FAR, "{name}: {} {}", scaled(1.5), scaled(1.0 / 1.5));
        assert!(z_of(&ratio, 1.02).abs() > FAR, "{name}: 2 % must show");
    }
}

// The exact distribution of the weights: for Gaussian targets and ULA every factor is the exponential of a quadratic form.

/// Coefficients of x, y and 1.
type Linear = [f64; 3];

/// xx·x² + xy·xy + yy·y² + x·x + y·y + one.
#[derive(Default, Clone, Copy)]
struct Quadratic {
    xx: f64,
    xy: f64,
    yy: f64,
    x: f64,
    y: f64,
    one: f64,
}

impl Quadratic {
    /// Adds c·l·m.
    fn add(&mut self, c: f64, l: Linear, m: Linear) {
        self.xx += c * l[0] * m[0];
        self.xy += c * (l[0] * m[1] + l[1] * m[0]);
        self.yy += c * l[1] * m[1];
        self.x += c * (l[0] * m[2] + l[2] * m[0]);
        self.y += c * (l[1] * m[2] + l[2] * m[1]);
        self.one += c * l[2] * m[2];
    }

    /// log ∫ exp(·) dy as a quadratic p x² + q x + r; None where the integral diverges.
    fn integrate_y(self) -> Option<[f64; 3]> {
        (self.yy < 0.0).then(|| {
            let a = -4.0 * self.yy;
            [
                self.xx + self.xy * self.xy / a,
                self.x + 2.0 * self.xy * self.y / a,
                self.one + self.y * self.y / a + 0.5 * (std::f64::consts::PI / -self.yy).ln(),
            ]
        })
    }
}

/// The protocol of MATHS 3.1: U_k = (x − m_k)²/2s_k², m: 0 → 2, s: 1 → ½ in 10 linear steps.
const STEPS: usize = 10;

fn target(k: usize) -> (f64, f64) {
    let t = k as f64 / STEPS as f64;
    (2.0 * t, 1.0 - 0.5 * t)
}

/// log E e^{cA} for ULA along that protocol by backward recursion; None where it is infinite.
fn log_moment(c: f64, h: f64, same: bool) -> Option<f64> {
    const X: Linear = [1.0, 0.0, 0.0];
    const Y: Linear = [0.0, 1.0, 0.0];
    let difference = |l: Linear, m: Linear| [l[0] - m[0], l[1] - m[1], l[2] - m[2]];
    let [mut p, mut q, mut r] = [0.0; 3];
    for k in (0..STEPS).rev() {
        let centred = |k: usize, v: Linear| (difference(v, [0.0, 0.0, target(k).0]), target(k).1.powi(-2));
        let mut e = Quadratic { yy: p, y: q, one: r, ..Default::default() };
        // α_k(x, y) with sign `c`: U_k(x) + ½(y − x)·∇U_k(x) + (h/4)|∇U_k(x)|².
        let mut alpha = |c: f64, k: usize, x: Linear, y: Linear| {
            let (v, w) = centred(k, x);
            e.add(0.5 * c * w, v, v);
            e.add(0.5 * c * w, difference(y, x), v);
            e.add(0.25 * c * h * w * w, v, v);
        };
        alpha(c, k, X, Y);
        if same {
            alpha(-c, k, Y, X);
            for (c, k) in [(c, k), (-c, k + 1)] {
                let (v, w) = centred(k, Y);
                e.add(0.5 * c * w, v, v);
            }
        } else {
            alpha(-c, k + 1, Y, X);
        }
        // The move itself, N(y; x − h∇U_k(x), 2h).
        let (v, w) = centred(k, X);
        let residual = difference(difference(Y, X), v.map(|a| -h * w * a));
        e.add(-0.25 / h, residual, residual);
        e.one -= 0.5 * (4.0 * std::f64::consts::PI * h).ln();
        [p, q, r] = e.integrate_y()?;
    }
    // X_0 ~ N(0, 1).
    let start = Quadratic { yy: p - 0.5, y: q, one: r - 0.5 * (2.0 * std::f64::consts::PI).ln(), ..Default::default() };
    start.integrate_y().map(|[_, _, value]| value)
}

/// lim ESS/N = (E e^A)²/E e^{2A}; 0 where the second moment is infinite.
fn exact_ess(h: f64, same: bool) -> f64 {
    log_moment(2.0, h, same).map_or(0.0, |two| (2.0 * log_moment(1.0, h, same).unwrap() - two).exp())
}

#[test]
fn the_recursion_gives_the_numbers_of_the_notes() {
    for (same, h, printed) in [
        (false, 0.02, "0.0722"),
        (false, 0.05, "0.0823"),
        (false, 0.1, "0.1018"),
        (false, 0.2, "0.1406"),
        (false, 0.4, "0.1559"),
        (false, 0.6, "0.0000"),
        (true, 0.1, "0.132"),
        (true, 0.4, "0.365"),
    ] {
        let mean = log_moment(1.0, h, same).unwrap();
        assert!((mean - 0.5f64.ln()).abs() < 1e-12, "E e^A = Z_K/Z_0 for every h: {mean} at {h}");
        let digits = printed.len() - 2;
        assert_eq!(format!("{:.digits$}", exact_ess(h, same)), printed, "h = {h}, same: {same}");
    }
}

#[test]
fn the_estimated_ess_is_the_exact_one() {
    let path = Drifting::new(1, 2.0, 0.5);
    let rows = [(false, 0.02), (false, 0.05), (false, 0.1), (false, 0.2), (false, 0.4), (true, 0.1), (true, 0.4)];
    for (same, h) in rows {
        // Above 32,768 elements libtorch shares each operation between threads, which is slow where tests run side by side.
        let kernel = if same { Ula::new(h).reverse_at(jarzynski::ReverseAt::Old) } else { Ula::new(h) };
        let ess: Vec<f64> = (0..24).map(|s| walk(&kernel, &path, STEPS, 32_000, 500 + s, |_, _| {}).ess()).collect();
        let (right, wrong) = (z_of(&ess, exact_ess(h, same)), z_of(&ess, exact_ess(h, !same)));
        println!(
            "h = {h}, same: {same}: ESS/N {:.5} ± {:.5}, exact {:.5}",
            mean_se(&ess).0,
            mean_se(&ess).1,
            exact_ess(h, same)
        );
        assert!(right.abs() < FAR, "h = {h}, same: {same}: z = {right}");
        // Reject twin: the other backward density's number.
        assert!(wrong.abs() > FAR, "h = {h}, same: {same}: z = {wrong} must be far");
    }
    // Beyond some h the fourth moment is infinite, so that the sample's own error of Ẑ² is not to be trusted, and then
    // the second: the identity still holds, no standard error does.
    let finite = |c: f64, h: f64| log_moment(c, h, false).is_some();
    assert!(finite(4.0, 0.2) && !finite(4.0, 0.4) && finite(2.0, 0.4) && !finite(2.0, 0.6) && finite(1.0, 0.6));
}
