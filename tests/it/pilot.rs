//! Check the times and steps that a pilot run chooses, and that log Ẑ along them is calibrated, which it is not without a pilot.

use crate::common::{Drifting, FAR, walk, worst, z_of, z_scores};
use jarzynski::io::frame::{column_f64, mean_se};
use jarzynski::kernel::{Arrival, Barker, Hmc, Kernel, Mala, Move, RandomWalk, StepSize, Stepped, Ula, Whitened};
use jarzynski::model::{Gaussian, Preconditioned, targets::ManyWell};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::transport::Pilot;
use jarzynski::{At, Base, Evaluation, Geometric, Path, Reversed, Rng, Scheme, Transport, Walkers};

const D: usize = 3;
const WIDTH: f64 = 0.1;

/// From N(0, I) to N(0, .1² I): the precision at t is 1 + 99t.
fn narrowing() -> Geometric<Gaussian, Gaussian> {
    let of = |s: f64| Gaussian::new(&[0.0; D], &[s; D]).unwrap();
    Geometric { base: of(1.0), target: of(WIDTH) }
}

/// 1/CESS − 1 of a step from t to t′ under ρ_t, in closed form.
fn exact_loss(t: f64, next: f64) -> f64 {
    let precision = |t: f64| 1.0 + t * (1.0 / (WIDTH * WIDTH) - 1.0);
    let (a, b) = (precision(t), precision(next));
    // E e^δ = (a/b)^{d/2} and E e^{2δ} = (a/(2b − a))^{d/2}
    (b * b / (a * (2.0 * b - a))).powf(0.5 * D as f64) - 1.0
}

#[test]
fn times_are_where_the_conditional_ess_is_the_share() {
    for share in [0.5, 0.9, 0.98] {
        let found =
            Pilot::new(4_000, 3).share(share).acceptance(0.8).run(Reversed::new(Hmc::new(1.0, 2)), &narrowing());
        let times = found.unwrap().times;
        let losses: Vec<f64> = times.windows(2).map(|w| exact_loss(w[0], w[1])).collect();
        let (last, others) = losses.split_last().unwrap();
        let wanted = 1.0 / share - 1.0;
        assert!(others.iter().all(|loss| (loss / wanted - 1.0).abs() < 0.3), "{share}: {losses:?}");
        assert!(*last < 1.3 * wanted, "{share}: {last}");
        // the twin: as many equal steps
        let equal: Vec<f64> = (0..times.len()).map(|k| k as f64 / (times.len() - 1) as f64).collect();
        assert!(equal.windows(2).any(|w| (exact_loss(w[0], w[1]) / wanted - 1.0).abs() > 0.9), "{share}");
    }
    let again = || Pilot::new(200, 3).acceptance(0.8).run(Reversed::new(Hmc::new(1.0, 2)), &narrowing()).unwrap();
    assert_eq!(again(), again());
    // in more steps and in fewer, as dense where they were dense
    let (found, k) = (again(), again().times.len() - 1);
    assert_eq!(found.clone().in_steps(k).unwrap().times, found.times);
    let twice = found.clone().in_steps(2 * k).unwrap().times;
    assert!(twice.iter().step_by(2).zip(&found.times).all(|(a, b)| (a - b).abs() < 1e-12) && twice.len() == 2 * k + 1);
    assert_eq!(found.clone().in_steps(1).unwrap().times, [0.0, 1.0]);
    assert!(found.in_steps(0).unwrap_err().to_string().contains("steps = 0"));
    assert_ne!(again().times, Pilot::new(200, 4).run(Reversed::new(Hmc::new(0.1, 2)), &narrowing()).unwrap().times);
}

/// Acceptances of a run along what a pilot found, row by row.
fn acceptances<K>(kernel: K, target: f64) -> Vec<f64>
where
    K: for<'a> Kernel<At<'a, Geometric<Gaussian, Gaussian>>> + StepSize + Clone,
{
    let found = Pilot::new(1_000, 5).acceptance(target).run(kernel, &narrowing()).unwrap();
    assert!(found.acceptance.iter().all(|a| (a - target).abs() < 0.1), "{:?}", found.acceptance);
    let run = found.transport(2_000, 6).quiet().run(&narrowing()).unwrap();
    column_f64(&run.stats, "acceptance").unwrap().split_off(1)
}

#[test]
fn steps_are_adapted_to_the_acceptance_from_any_first_guess() {
    let near = |name: &str, target: f64, found: Vec<f64>| {
        // a run's walkers have moved less often at each time than the pilot's: they lag behind ρ_t, and their acceptance is that of the lag
        let (mean, _) = mean_se(&found);
        assert!((mean - target).abs() < 0.1 && found.iter().all(|a| (a - target).abs() < 0.2), "{name}: {found:?}");
    };
    near("mala", 0.57, acceptances(Reversed::new(Mala::new(1e-3)), 0.57));
    near("hmc", 0.7, acceptances(Reversed::new(Hmc::new(30.0, 3)), 0.7));
    near("barker", 0.5, acceptances(Reversed::new(Barker::new(1.0)), 0.5));
    near("random walk", 0.3, acceptances(Reversed::new(RandomWalk::new(1.0)), 0.3));
    // the twin: one step for all times
    let run = Transport::new(Reversed::new(Mala::new(0.5)), 20, 500, 6).quiet().run(&narrowing()).unwrap();
    let fixed = column_f64(&run.stats, "acceptance").unwrap();
    assert!(fixed[1] > 0.5 && fixed[20] < 0.01, "{fixed:?}");
}

/// A double well beside a normal from a wide Gaussian.
fn well() -> Geometric<Gaussian, ManyWell> {
    Geometric { base: Gaussian::new(&[0.0; 2], &[1.5, 1.0]).unwrap(), target: ManyWell::pairs(2).unwrap() }
}

#[test]
fn log_z_is_calibrated_along_a_pilots_times() {
    let path = well();
    let exact = path.target.log_z();
    let (mut ratio, mut pull) = (vec![], vec![]);
    for seed in 0..300 {
        let pilot = Pilot::new(100, seed).share(0.8).acceptance(0.7);
        let found = pilot.run(Reversed::new(Hmc::new(0.5, 3)), &path).unwrap();
        let z = found.transport(500, seed).quiet().run(&path).unwrap().walkers.log_z();
        ratio.push((z.value - exact).exp());
        pull.push((z.value - exact) / z.se);
    }
    let covered = pull.iter().filter(|p| p.abs() < 1.96).count();
    println!("Ẑ/Z {:?}, pull {:?}, covered {covered} of 300", mean_se(&ratio), mean_se(&pull));
    assert!(z_of(&ratio, 1.0).abs() < FAR, "{:?}", mean_se(&ratio));
    // 95 % of 300, five standard deviations of a binomial
    assert!((265..=300).contains(&covered), "{covered}");
    let wide = pull.iter().filter(|p| p.abs() > 1.96 / 1.6).count();
    assert!(wide > 35, "bars 1.6 times as wide must be noticed: {wide}");
}

/// Ẑ/Z of a run whose walkers choose their own times, N of them with exact draws at each time in place of moves: all that is left is
/// the rule.
fn self_adapted(n: usize, share: f64, seed: u64) -> f64 {
    let path = narrowing();
    let mut rng = Rng::new(seed);
    let (mut t, mut log_ratio) = (0.0, 0.0);
    while t < 1.0 {
        let precision = 1.0 + t * (1.0 / (WIDTH * WIDTH) - 1.0);
        let x = path.base.sample(n, &mut rng) / f64::sqrt(precision);
        // U_t is linear in t
        let rates = Vec::<f64>::try_from(path.rate(t, &x)).unwrap();
        let ratios = |next: f64| rates.iter().map(|r| (-(next - t) * r).exp()).collect::<Vec<f64>>();
        let ess = |next: f64| {
            let w = ratios(next);
            w.iter().sum::<f64>().powi(2) / (n as f64 * w.iter().map(|w| w * w).sum::<f64>())
        };
        let (mut low, mut high) = (t, 1.0);
        if ess(1.0) >= share {
            low = 1.0;
        } else {
            for _ in 0..40 {
                let middle = 0.5 * (low + high);
                if ess(middle) >= share { low = middle } else { high = middle }
            }
        }
        log_ratio += mean_se(&ratios(low)).0.ln();
        t = low;
    }
    (log_ratio - D as f64 * WIDTH.ln()).exp()
}

/// The same walkers along times that were chosen before.
fn along(times: &[f64], n: usize, seed: u64) -> f64 {
    let path = narrowing();
    let mut rng = Rng::new(seed);
    let log_ratio: f64 = times
        .windows(2)
        .map(|w| {
            let x = path.base.sample(n, &mut rng) / (1.0 + w[0] * (1.0 / (WIDTH * WIDTH) - 1.0)).sqrt();
            let rates = Vec::<f64>::try_from(path.rate(w[0], &x)).unwrap();
            mean_se(&rates.iter().map(|r| (-(w[1] - w[0]) * r).exp()).collect::<Vec<_>>()).0.ln()
        })
        .sum();
    (log_ratio - D as f64 * WIDTH.ln()).exp()
}

#[test]
fn walkers_that_choose_their_own_times_are_biased() {
    let (n, share) = (10, 0.7);
    let own: Vec<f64> = (0..4_000).map(|seed| self_adapted(n, share, seed)).collect();
    let found =
        Pilot::new(100, 1).share(share).acceptance(0.8).run(Reversed::new(Hmc::new(1.0, 2)), &narrowing()).unwrap();
    let fixed: Vec<f64> = (0..4_000).map(|seed| along(&found.times, n, seed)).collect();
    println!("Ẑ/Z: own times {:?}, a pilot's {:?}", mean_se(&own), mean_se(&fixed));
    assert!(z_of(&fixed, 1.0).abs() < FAR, "{:?}", mean_se(&fixed));
    assert!(z_of(&own, 1.0).abs() > FAR, "the bias must show: {:?}", mean_se(&own));
}

/// The step of t_{k+1} in the backward half.
#[derive(Debug)]
struct Late(Stepped<Ula>);

impl<'a> Kernel<At<'a, Drifting>> for Late {
    fn forward(&self, u: &At<'a, Drifting>, at: &Evaluation, rng: &mut Rng) -> Move {
        self.0.forward(u, at, rng)
    }
    fn backward(&self, u: &At<'a, Drifting>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        self.0.kernel.with_step_size(self.0.at(u.t)).backward(u, at, mv, rng)
    }
}

#[test]
fn both_halves_have_one_step() {
    let path = Drifting::new(2, 0.8, 0.75);
    let kernel = Stepped::new(Ula::new(1.0), &[[0.0, 0.3], [1.0, 0.05]]);
    assert_eq!((kernel.at(0.0), kernel.at(0.5), kernel.at(2.0)), (0.3, 0.175, 0.05));
    let z = z_scores(&walk(&kernel, &path, 20, 40_000, 11, |_, _| {}), &path);
    assert!(worst(&z) < FAR, "{z:?}");
    let z = z_scores(&walk(&Late(kernel), &path, 20, 40_000, 11, |_, _| {}), &path);
    assert!(worst(&z) > FAR, "{z:?}");
}

#[test]
fn coordinates_and_hard_walls_are_no_obstacle() {
    let target = Gaussian::new(&[0.0, 0.0], &[100.0, 0.01]).unwrap();
    let around = Gaussian::new(&[0.0, 0.0], &[100.0, 0.01]).unwrap();
    let base = Gaussian::new(&[0.0, 0.0], &[150.0, 0.02]).unwrap();
    let path = Geometric { base, target: Preconditioned { energy: target, gaussian: around } };
    let found = Pilot::new(500, 1).acceptance(0.8).run(Whitened::new(Reversed::new(Hmc::new(5.0, 2))), &path).unwrap();
    assert!(found.kernel.knots.iter().all(|[_, step]| *step > 0.3 && *step < 3.0), "{:?}", found.kernel.knots);
    let run = found.transport(5_000, 2).quiet().run(&path).unwrap();
    assert!(z_of(&run.walkers.log_z(), path.target.energy.log_z()).abs() < FAR);
    // x > 0 only
    #[derive(Debug)]
    struct Half;
    impl jarzynski::Differentiable for Half {}
    impl jarzynski::Energy for Half {
        fn energy(&self, x: &Tensor) -> Tensor {
            let first = x.select(1, 0);
            (first.square() * 0.5).masked_fill(&first.lt(0.0), f64::INFINITY)
        }
    }
    let path = Geometric { base: Gaussian::new(&[0.5], &[1.5]).unwrap(), target: Half };
    let found = Pilot::new(500, 1).acceptance(0.7).run(Reversed::new(Mala::new(0.5)), &path).unwrap();
    let run = found.transport(20_000, 2).quiet().run(&path).unwrap();
    let exact = 0.5 * (0.5 * std::f64::consts::PI).ln();
    assert!(z_of(&run.walkers.log_z(), exact).abs() < FAR, "{:?} {exact} {:?}", run.walkers.log_z(), found.times);
}

#[test]
fn what_a_pilot_cannot_do_is_refused_by_name() {
    let path = narrowing();
    let pilot = || Pilot::new(50, 1);
    let said = |pilot: Pilot| pilot.run(Reversed::new(Mala::new(0.1)), &path).unwrap_err().to_string();
    for (pilot, wanted) in [
        (pilot().share(1.0), "share = 1"),
        (pilot().share(f64::NAN), "share = NaN"),
        (pilot().acceptance(0.0), "acceptance = 0"),
        (Pilot { walkers: 1, ..pilot() }, "walkers = 1"),
        (Pilot { most: 3, ..pilot().share(0.99) }, "most = 3"),
    ] {
        let e = said(pilot);
        assert!(e.contains(wanted), "{wanted}: {e}");
    }
    let e = pilot().run(Reversed::new(Mala::new(-1.0)), &path).unwrap_err().to_string();
    assert!(e.contains("h = -1"), "{e}");
    let e = pilot().acceptance(0.5).run(Ula::new(0.01), &path).unwrap_err().to_string();
    assert!(e.contains("acceptance = 0.5") && e.contains("does not reject"), "{e}");
    for (knots, wanted) in
        [(vec![], "knots = []"), (vec![[0.0, 1.0], [0.0, 1.0]], "rising"), (vec![[0.0, -1.0]], "h = -1")]
    {
        let e = jarzynski::transport(Stepped::new(Ula::new(0.1), &knots), &path, 3, 10, 0).unwrap_err().to_string();
        assert!(e.contains(wanted), "{wanted}: {e}");
    }
    // resampled on the way, and more walkers than the pilot: all of a transport's settings are there
    let found = pilot().run(Ula::new(1e-3), &path).unwrap();
    let mut transport = found.transport(200, 3).ess_min(0.5).quiet();
    transport.scheme = Scheme::Residual;
    assert!(transport.run(&path).unwrap().finished() && found.acceptance[0].is_nan());
    let u = At::new(&path, 0.0);
    let walkers: Walkers = Walkers::start_from(path.base(), &u, 10, false, &mut Rng::new(1)).unwrap();
    assert_eq!(found.kernel.step(&u, walkers.evaluation(), &mut Rng::new(2)).increment.kind(), Kind::Double);
}
