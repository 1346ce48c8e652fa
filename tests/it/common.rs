//! Share the protocol with a closed form that every kernel must get right, and the z-scores that judge it.
#![allow(dead_code)]

use jarzynski::density::Maps;
use jarzynski::io::frame::mean_se;
use jarzynski::model::Gaussian;
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{At, Base, Energy, Estimate, Evaluation, Flow, Kernel, Path, Rng, Scheme, Walkers};

/// N(m_t, s_t² I) in d dimensions, m: 0 → m1, s: 1 → s1 linearly, with U = |x − m_t|²/2s_t² (not normalised).
#[derive(Debug)]
pub struct Drifting {
    base: Gaussian,
    pub d: i64,
    pub m1: f64,
    pub s1: f64,
}

impl Drifting {
    pub fn new(d: i64, m1: f64, s1: f64) -> Self {
        let base = Gaussian::new(&vec![0.0; d as usize], &vec![1.0; d as usize]).unwrap();
        Drifting { base, d, m1, s1 }
    }

    fn at(&self, t: f64) -> (f64, f64) {
        (self.m1 * t, 1.0 + t * (self.s1 - 1.0))
    }
}

impl jarzynski::Differentiable for Drifting {}

impl Path for Drifting {
    fn base(&self) -> &dyn Base {
        &self.base
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let (m, s) = self.at(t);
        ((x - m) / s).square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let (m, s) = self.at(t);
        Evaluation::new(x.shallow_clone(), self.energy(t, x), (x - m) / (s * s))
    }
}

/// A velocity that is wrong in both its parts: any b leaves the weights exact.
impl Flow for Drifting {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        let (m, s) = self.at(t);
        (x - m) * (0.5 * (self.s1 - 1.0) / s) + 0.7 * self.m1
    }
}

/// A map that carries the mean too far and the spread not far enough: any map leaves the weights exact.
impl Maps for Drifting {
    fn carry(&self, from: f64, to: f64, x: &Tensor) -> (Tensor, Tensor) {
        let ((m0, s0), (m1, s1)) = (self.at(from), self.at(to));
        let stretch = (s1 / s0).sqrt();
        let log_det = Tensor::full([x.size()[0]], self.d as f64 * stretch.ln(), (Kind::Double, x.device()));
        ((x - 1.2 * m0) * stretch + 1.2 * m1, log_det)
    }
}

/// Runs `steps` of a kernel along the path and returns the walkers; `spoil` acts after each commit.
pub fn walk<K: for<'a> Kernel<At<'a, Drifting>> + ?Sized>(
    kernel: &K,
    path: &Drifting,
    steps: usize,
    n: usize,
    seed: u64,
    mut spoil: impl FnMut(&mut Walkers, &mut Rng),
) -> Walkers {
    let mut rng = Rng::new(seed);
    let mut walkers = Walkers::start_from(path.base(), &At::new(path, 0.0), n, false, &mut rng).unwrap();
    for k in 0..steps {
        let (now, next) = At::step(path, k as f64 / steps as f64, (k + 1) as f64 / steps as f64);
        let mv = kernel.forward(&now, walkers.evaluation(), &mut rng);
        let alpha = mv.alpha.shallow_clone();
        let arrival = kernel.backward(&next, walkers.evaluation(), mv, &mut rng);
        walkers.commit(arrival.evaluation, &alpha, &arrival.lambda);
        spoil(&mut walkers, &mut rng);
    }
    walkers
}

/// |z| of a standard normal passes this by chance with probability 5.7e-7. Seeds are fixed, so a test that passes once
/// always passes; the number says how surprising a failure after a change of the random stream would be.
pub const FAR: f64 = 5.0;

/// What has a value and a standard error.
pub trait Measured {
    fn value_and_se(&self) -> (f64, f64);
}

impl Measured for Estimate {
    fn value_and_se(&self) -> (f64, f64) {
        (self.value, self.se)
    }
}

impl Measured for (f64, f64) {
    fn value_and_se(&self) -> (f64, f64) {
        *self
    }
}

/// The mean of independent replicates.
impl Measured for Vec<f64> {
    fn value_and_se(&self) -> (f64, f64) {
        mean_se(self)
    }
}

/// The mean of independent numbers.
impl Measured for Tensor {
    fn value_and_se(&self) -> (f64, f64) {
        let n = self.numel() as f64;
        (self.mean(Kind::Double).double_value(&[]), (self.to_kind(Kind::Double).var(true).double_value(&[]) / n).sqrt())
    }
}

/// How many standard errors a measurement is above `exact`; NaN where its error is. Errors below 1e-12 count as 1e-12:
/// what has no variance is still rounded.
pub fn z_of(measured: &impl Measured, exact: f64) -> f64 {
    let (value, se) = measured.value_and_se();
    (value - exact) / if se < 1e-12 { 1e-12 } else { se }
}

/// z-scores of log Ẑ, E|x − m|² and E x_0 against the closed form, each with a standard error from the walkers.
pub fn z_scores(walkers: &Walkers, path: &Drifting) -> [f64; 3] {
    let d = path.d as f64;
    let exact = d * (path.s1 * (2.0 * std::f64::consts::PI).sqrt()).ln();
    let r2 = (walkers.x() - path.m1).square().sum_dim_intlist(-1, false, None::<Kind>);
    let mean = |g: &Tensor| walkers.mean(g).unwrap();
    [
        z_of(&walkers.log_z(), exact),
        z_of(&mean(&r2), d * path.s1 * path.s1),
        z_of(&mean(&walkers.x().select(1, 0)), path.m1),
    ]
}

/// The largest |z|; infinite where one is NaN.
pub fn worst(z: &[f64]) -> f64 {
    z.iter().fold(0.0, |w, z| if z.is_nan() { f64::INFINITY } else { w.max(z.abs()) })
}

/// A scheme-independent resampling that forgets to permute what is cached: the reject twin.
pub fn resample_positions_only(walkers: &mut Walkers, rng: &mut Rng) {
    let (u, g) = (walkers.evaluation().u.copy(), walkers.evaluation().grad().copy());
    walkers.resample(Scheme::Systematic, rng);
    let x = walkers.x().shallow_clone();
    walkers.relocate(Evaluation::new(x, u, g));
}

pub fn energy_at<E: Energy>(e: &E, x: f64) -> f64 {
    e.energy(&Tensor::from_slice(&[x]).view([1, 1])).double_value(&[0])
}
