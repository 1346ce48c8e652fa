//! Check that intervals of 95 % cover 95 % after resampling, in each scheme, and that where none can no bar is given.

use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Estimate, Evaluation, Rng, Scheme, Walkers};
use std::f64::consts::TAU;

const ALL: [Scheme; 4] = [Scheme::Systematic, Scheme::Stratified, Scheme::Residual, Scheme::Multinomial];
const N: i64 = 1_000;
const REPLICATES: u64 = 500;

/// A Gaussian of width 1 whose mean m swings between −1.5 and 1.5, under moves that keep it and leave a share ρ of a walker's distance from m.
#[derive(Clone, Copy)]
struct Swing {
    steps: usize,
    /// Radians of the swing per step.
    pace: f64,
    rho: f64,
    /// Resampling threshold.
    ess_min: f64,
}

impl Swing {
    fn mean(self, k: usize) -> f64 {
        1.5 * (self.pace * k as f64).sin()
    }

    fn at(x: Tensor, m: f64) -> Evaluation {
        let away = &x - m;
        Evaluation::new(x, away.square().view([-1]) * 0.5, away)
    }

    fn run(self, scheme: Scheme, seed: u64) -> Replicate {
        let mut rng = Rng::new(seed);
        let mut draw = || rng.normal(&[N, 1], Kind::Double, Device::Cpu);
        let mut walkers = Walkers::new(Self::at(draw(), 0.0), 0.5 * TAU.ln());
        let mut resampler = Rng::new(seed).split(1);
        // what counting walkers as independent would say: the delta method in each epoch
        let mut plain = 0.0;
        for k in 0..self.steps {
            let m = self.mean(k + 1);
            let lambda = (walkers.x() - m).square().view([-1]) * 0.5;
            let alpha = walkers.evaluation().u.copy();
            let y = (walkers.x() - m) * self.rho + draw() * (1.0 - self.rho * self.rho).sqrt() + m;
            walkers.commit(Self::at(y, m), &alpha, &lambda);
            let before = (1.0 / walkers.ess() - 1.0) / N as f64;
            if walkers.resample_below(self.ess_min, scheme, &mut resampler) {
                plain += before;
            }
        }
        plain += (1.0 / walkers.ess() - 1.0) / N as f64;
        let (w, x) = (walkers.weights(), walkers.x().view([-1]));
        let mean = walkers.mean(&x).unwrap();
        let naive = (w * (x - mean.value)).square().sum(Kind::Double).double_value(&[]).sqrt();
        Replicate {
            log_z: (walkers.log_z(), 0.5 * TAU.ln(), plain.sqrt()),
            mean: (mean, self.mean(self.steps), naive),
            resamplings: walkers.resamplings(),
        }
    }
}

/// Estimates with the exact value and the standard error that takes walkers for independent.
struct Replicate {
    log_z: (Estimate, f64, f64),
    mean: (Estimate, f64, f64),
    resamplings: u64,
}

/// How many intervals there are, how many cover, and how many would with the other error.
#[derive(Debug, Default)]
struct Count {
    told: u64,
    covers: u64,
    plain: u64,
}

impl Count {
    fn add(&mut self, (e, exact, plain): &(Estimate, f64, f64)) {
        let off = (e.value - exact).abs();
        self.told += u64::from(!e.se.is_nan());
        self.covers += u64::from(off < 1.96 * e.se);
        self.plain += u64::from(off < 1.96 * plain);
        // where there is no bar there is a word, and nothing that looks like one
        assert_eq!(e.warning, e.se.is_nan().then_some("lineages"));
        assert_eq!(e.to_string().contains('±'), !e.se.is_nan());
    }

    /// 92 to 98 % of those told.
    fn sound(&self) -> bool {
        within(self.covers, self.told)
    }
}

fn within(covers: u64, of: u64) -> bool {
    let share = covers as f64 / of as f64;
    (0.92..=0.98).contains(&share)
}

fn counts(swing: Swing, scheme: Scheme, replicates: u64) -> ([Count; 2], u64) {
    let (mut log_z, mut mean, mut resamplings) = (Count::default(), Count::default(), 0);
    for seed in 0..replicates {
        let r = swing.run(scheme, 1_000 * scheme as u64 + seed);
        log_z.add(&r.log_z);
        mean.add(&r.mean);
        resamplings += r.resamplings;
    }
    println!("{scheme:?}: log Z {log_z:?}, mean {mean:?}, {:.1} resamplings", resamplings as f64 / replicates as f64);
    ([log_z, mean], resamplings)
}

#[test]
fn intervals_cover_before_resampling() {
    for rho in [0.5, 0.98] {
        let swing = Swing { steps: 4, pace: 0.15, rho, ess_min: 0.0 };
        let ([log_z, mean], resamplings) = counts(swing, Scheme::Systematic, REPLICATES);
        assert!(resamplings == 0 && log_z.told == REPLICATES && mean.told == REPLICATES);
        assert!(log_z.sound() && mean.sound(), "{rho}: {log_z:?} {mean:?}");
        // nothing has changed there: both errors are those of the delta method
        let one = swing.run(Scheme::Systematic, 0);
        for (e, _, plain) in [one.log_z, one.mean] {
            assert!((e.se / plain - 1.0).abs() < 1e-12, "{e} {plain}");
        }
    }
}

#[test]
fn intervals_cover_with_fast_mixing() {
    for scheme in ALL {
        let swing = Swing { steps: 40, pace: 0.5, rho: 0.1, ess_min: 0.7 };
        let ([log_z, mean], resamplings) = counts(swing, scheme, REPLICATES);
        assert!(resamplings > 10 * REPLICATES, "so many that ancestors are taken from later times");
        for c in [&log_z, &mean] {
            assert!(c.told > REPLICATES * 9 / 10 && c.sound(), "{scheme:?}: {c:?}");
        }
        // reject twin: walkers counted as independent
        assert!(!within(log_z.plain, REPLICATES), "{scheme:?}: {log_z:?}");
    }
}

#[test]
fn intervals_cover_with_slow_mixing_while_lineages_last() {
    for scheme in ALL {
        let swing = Swing { steps: 20, pace: 0.15, rho: 0.98, ess_min: 0.5 };
        let ([log_z, mean], resamplings) = counts(swing, scheme, REPLICATES);
        assert!(resamplings > REPLICATES);
        for c in [&log_z, &mean] {
            assert!(c.told > REPLICATES * 9 / 10 && c.sound(), "{scheme:?}: {c:?}");
        }
        assert!(!within(mean.plain, REPLICATES), "{scheme:?}: {mean:?}");
    }
}

#[test]
fn with_slow_mixing_over_many_resamplings_there_is_no_bar() {
    const FEW: u64 = 100;
    for scheme in ALL {
        let swing = Swing { steps: 100, pace: 0.15, rho: 0.98, ess_min: 0.5 };
        let ([log_z, mean], resamplings) = counts(swing, scheme, FEW);
        assert!(resamplings > 5 * FEW);
        for c in [&log_z, &mean] {
            assert!(c.told - c.covers <= FEW * 8 / 100, "{scheme:?}: {c:?}");
        }
        assert!(mean.plain < FEW / 2, "{scheme:?}: {mean:?}");
    }
}

/// The estimator of Lee and Whiteley (2018) after one multinomial resampling, from ancestors, weights and values alone.
#[test]
fn after_one_resampling_it_is_the_formula_of_the_literature() {
    let mut rng = Rng::new(3);
    let x = rng.normal(&[N, 1], Kind::Double, Device::Cpu);
    let mut walkers = Walkers::new(Swing::at(x, 0.0), 0.0);
    let tilt = |walkers: &mut Walkers, by: f64| {
        let at = Swing::at(walkers.x().copy(), 0.0);
        let alpha = walkers.x().view([-1]) * by;
        walkers.commit(at, &alpha, &alpha.zeros_like());
    };
    tilt(&mut walkers, 0.6);
    walkers.resample(Scheme::Multinomial, &mut rng);
    tilt(&mut walkers, -0.4);
    let numbers = |t: Tensor| Vec::<f64>::try_from(t).unwrap();
    let (w, x) = (numbers(walkers.weights()), numbers(walkers.x().view([-1])));
    let mean: f64 = w.iter().zip(&x).map(|(w, x)| w * x).sum();
    let (n, mut mass, mut part) = (N as f64, vec![0.0; N as usize], vec![0.0; N as usize]);
    for ((e, w), x) in walkers.ancestors().iter().zip(&w).zip(&x) {
        mass[*e as usize] += w;
        part[*e as usize] += w * (x - mean);
    }
    let squares = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>();
    let c = n / (n - 1.0);
    let expected = [1.0 - 1.0 / n - c * (1.0 - squares(&mass)), c * squares(&part)];
    let told = [walkers.log_z().se, walkers.mean(&walkers.x().view([-1])).unwrap().se];
    for (told, expected) in told.into_iter().zip(expected) {
        assert!((told * told / expected - 1.0).abs() < 1e-10, "{told} {expected}");
    }
    // an indicator that all meet: three over the effective number of ancestors
    let all = walkers.mean(&walkers.x().view([-1]).gt(-100.0)).unwrap();
    assert!((all.se / (3.0 * squares(&mass)) - 1.0).abs() < 1e-10 && all.value == 1.0);
}
