//! Hold walkers with momenta, and the underdamped kernel that moves them, to the contract of all kernels.

use crate::common::{Drifting, FAR, Measured, worst, z_of};
use jarzynski::density::{Momenta, WithMomenta};
use jarzynski::kernel::{Arrival, EvalCounts, Kernel, Move, Reversal, Underdamped, Whitened};
use jarzynski::model::{Gaussian, Preconditioned, targets::ManyWell};
use jarzynski::numeric::fit::log_log;
use jarzynski::tch::{Kind, Tensor};
use jarzynski::walkers::bar;
use jarzynski::{At, Base, Energy, Evaluation, Geometric, Path, Reversed, Rng, Transport};

const N: usize = 40_000;

fn path() -> WithMomenta<Drifting> {
    WithMomenta::new(Drifting::new(2, 0.8, 0.75))
}

/// log Z_1 and log Z_1/Z_0 of the moving target.
fn exact() -> (f64, f64) {
    (2.0 * (0.75 * (2.0 * std::f64::consts::PI).sqrt()).ln(), 2.0 * 0.75f64.ln())
}

/// ESS/N, and z-scores of log Ẑ, E|x − m|², E x_0, E|p|² and E x·p at the end.
fn scores<K: for<'a> Kernel<At<'a, WithMomenta<Drifting>>>>(kernel: K) -> (f64, Vec<f64>) {
    let path = path();
    let run = Transport::new(kernel, 20, N, 11).quiet().run(&path).unwrap();
    let (x, p) = (path.positions(run.walkers.x()), path.momenta(run.walkers.x()));
    let sum = |t: Tensor| t.sum_dim_intlist(-1, false, Kind::Double);
    let mean = |g: &Tensor| run.walkers.mean(g).unwrap();
    let z = vec![
        z_of(&run.walkers.log_z(), exact().0),
        z_of(&mean(&sum((&x - 0.8).square())), 2.0 * 0.75 * 0.75),
        z_of(&mean(&x.select(1, 0)), 0.8),
        z_of(&mean(&sum(p.square())), 2.0),
        z_of(&mean(&sum(&p * &x)), 0.0),
    ];
    let anew = At::new(&path, 1.0).evaluate(run.walkers.x());
    let gap = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
    assert!(
        gap(&anew.u, &run.walkers.evaluation().u) < 1e-12 && gap(anew.grad(), run.walkers.evaluation().grad()) < 1e-12
    );
    (run.walkers.ess(), z)
}

/// The kernel with an error of one kind.
#[derive(Debug, Clone, Copy)]
struct Spoilt {
    kernel: Underdamped,
    how: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// α with the momenta before the first O step.
    HeatCounted,
    /// λ with the momenta after the last O step.
    HeatCountedAtTheEnd,
    /// The new positions with the old energy in λ.
    Stale,
}

impl<E: Energy + jarzynski::Differentiable + Momenta> Kernel<E> for Spoilt {
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let mut mv = self.kernel.forward(u, at, rng);
        if self.how == Fault::HeatCounted {
            mv.alpha = at.u.shallow_clone();
        }
        mv
    }
    fn backward(&self, u: &E, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let mut arrival = self.kernel.backward(u, at, mv, rng);
        match self.how {
            Fault::HeatCountedAtTheEnd => arrival.lambda = arrival.evaluation.u.shallow_clone(),
            Fault::Stale => arrival.lambda = u.evaluate(&at.x).u,
            Fault::HeatCounted => {}
        }
        arrival
    }
}

#[test]
fn obabo_is_exact_along_a_moving_target() {
    for (step, friction) in [(0.1, 1.0), (0.4, 0.3), (0.7, 2.0), (0.4, 50.0), (0.4, 1e-6)] {
        let (ess, z) = scores(Underdamped::new(step, friction));
        assert!(ess > 0.1 && worst(&z) < FAR, "{step}, {friction}: ESS {ess}, z = {z:?}");
    }
    for how in [Fault::HeatCounted, Fault::HeatCountedAtTheEnd, Fault::Stale] {
        let (_, z) = scores(Spoilt { kernel: Underdamped::new(0.4, 0.3), how });
        assert!(worst(&z) > FAR, "{how:?} must be rejected: {z:?}");
    }
}

#[test]
fn obabo_stays_exact_when_resampled_at_every_step() {
    let path = path();
    let e: Vec<f64> = (0..40)
        .map(|seed| {
            let transport = Transport::new(Underdamped::new(0.4, 0.5), 10, 2_000, 100 + seed).ess_min(1.0).quiet();
            let run = transport.run(&path).unwrap();
            assert!(run.walkers.resamplings() > 8);
            (run.walkers.log_z().value - exact().0).exp()
        })
        .collect();
    assert!(z_of(&e, 1.0).abs() < FAR, "{:?}", e.value_and_se());
}

#[test]
fn obabo_keeps_crooks_identity_on_reverse_paths() {
    let (path, kernel) = (path(), Underdamped::new(0.4, 0.5));
    let draws = Rng::new(18).normal(&[N as i64, 2], Kind::Double, jarzynski::tch::Device::Cpu) * 0.75 + 0.8;
    let top = path.draw_momenta(&draws, &mut Rng::new(19));
    let transport = Transport::new(kernel, 20, N, 17).quiet();
    let (up, down) = (transport.run(&path).unwrap(), transport.reverse(&path, &top).unwrap());
    let numbers = |t: &Tensor| Vec::<f64>::try_from(t).unwrap();
    let (forward, reverse) = (numbers(up.walkers.log_weights()), numbers(&-down.walkers.log_weights()));
    let c = exact().1;
    let exponential: Vec<f64> = reverse.iter().map(|a| (c - a).exp()).collect();
    assert!(z_of(&exponential, 1.0).abs() < FAR, "{}", z_of(&exponential, 1.0));
    let found = bar(&forward, &reverse).unwrap();
    assert!(z_of(&found.log_ratio, c).abs() < FAR, "{found:?}, {c}");
    // the walkers that arrive are weighted draws of the start, momenta among them
    for (part, wanted) in [(path.positions(down.walkers.x()), 2.0), (path.momenta(down.walkers.x()), 2.0)] {
        let square = down.walkers.mean(&part.square().sum_dim_intlist(-1, false, Kind::Double)).unwrap();
        assert!(z_of(&square, wanted).abs() < FAR, "{square:?}");
    }
    // Crooks: p_F(A) e^{A − C} = p_R(A) in bounded moments; with the sign of A changed on one side it fails
    let moments = |reverse: &[f64]| {
        let p = |a: f64| 1.0 / (1.0 + (a - c).exp());
        let each: [fn(f64) -> f64; 3] = [|_| 1.0, f64::tanh, |x| (2.0 * x).cos()];
        each.iter().fold(0.0f64, |worst, g| {
            let f: Vec<f64> = forward.iter().map(|a| (1.0 - p(*a)) * g(a - c)).collect();
            let r: Vec<f64> = reverse.iter().map(|a| p(*a) * g(a - c)).collect();
            let ((f, f_se), (r, r_se)) = (f.value_and_se(), r.value_and_se());
            worst.max(((f - r) / f_se.hypot(r_se)).abs())
        })
    };
    let minus: Vec<f64> = reverse.iter().map(|a| -a).collect();
    assert!(moments(&reverse) < FAR && moments(&minus) > FAR, "{} {}", moments(&reverse), moments(&minus));
    // and each step backward undoes one forward: at a fixed energy A is the same number with the other sign
    let back = Kernel::<At<WithMomenta<Drifting>>>::reverse(
        &kernel,
        &At::new(&path, 0.5),
        &At::new(&path, 0.5),
        &At::new(&path, 0.5).evaluate(&top.narrow(0, 0, 5)),
        &mut Rng::new(3),
    );
    let back: Reversal = back.unwrap();
    assert_eq!(back.cost, EvalCounts::evaluation(5));
}

/// BAB with the whole kick before the move: preserves volume too, but is of first order.
#[derive(Debug)]
struct Lopsided(f64);

impl<E: Energy + jarzynski::Differentiable + Momenta> Kernel<E> for Lopsided {
    fn forward(&self, _u: &E, at: &Evaluation, _rng: &mut Rng) -> Move {
        let d = at.x.size()[1] / 2;
        let p = at.x.narrow(1, d, d) - at.grad().narrow(1, 0, d) * self.0;
        let y = at.x.narrow(1, 0, d) + &p * self.0;
        Move::new(Tensor::cat(&[y, p], 1), at.u.shallow_clone(), EvalCounts::default())
    }
    fn backward(&self, u: &E, _at: &Evaluation, mv: Move, _rng: &mut Rng) -> Arrival {
        let there = u.evaluate(&mv.y);
        Arrival::new(there.u.shallow_clone(), there, EvalCounts::default())
    }
}

/// A path that stands still, from exact draws.
fn still() -> WithMomenta<Geometric<ManyWell, ManyWell>> {
    let pair = || ManyWell::pairs(2).unwrap();
    WithMomenta::new(Geometric { base: pair(), target: pair() })
}

/// The exponent of ε in Var A_T at a fixed time T = .96 and a fixed energy.
fn order<K: for<'a> Kernel<At<'a, WithMomenta<Geometric<ManyWell, ManyWell>>>>>(kernel: impl Fn(f64) -> K) -> f64 {
    let path = still();
    let steps = [16usize, 32, 64];
    let variances: Vec<f64> = steps
        .iter()
        .map(|steps| {
            let run =
                Transport::new(kernel(0.96 / *steps as f64), *steps, N, 5).every(*steps).quiet().run(&path).unwrap();
            let z = z_of(&run.walkers.log_z(), path.path().base.log_z());
            assert!(z.abs() < FAR, "{z}");
            run.walkers.log_weights().var(true).double_value(&[])
        })
        .collect();
    log_log(&steps.map(|s| 1.0 / s as f64), &variances).unwrap().slope
}

#[test]
fn shadow_work_falls_at_the_declared_order() {
    let obabo = order(|step| Underdamped::new(step, 1.0));
    assert!((obabo - 4.0).abs() < 0.3, "{obabo}");
    let lopsided = order(Lopsided);
    assert!((lopsided - 2.0).abs() < 0.3, "{lopsided}");
}

#[test]
fn momenta_leave_log_z_and_the_start_as_they_are() {
    let path = still();
    let base = path.base();
    assert_eq!(base.log_z(), path.path().base.log_z());
    let rows = base.sample(N, &mut Rng::new(2));
    assert_eq!(rows.size(), [N as i64, 4]);
    let p = path.momenta(&rows);
    assert!(z_of(&p.square().sum_dim_intlist(-1, false, Kind::Double), 2.0).abs() < FAR);
    // ∫ e^{−U − ½|p|² − …} over a grid of p at one x is e^{−U}
    let x = Tensor::from_slice(&[0.7, -0.3]).view([1, 2]);
    let line = Tensor::linspace(-8.0, 8.0, 161, (Kind::Double, jarzynski::tch::Device::Cpu));
    let grid = Tensor::stack(&[line.repeat_interleave_self_int(161, 0, None), line.repeat([161])], 1);
    let rows = Tensor::cat(&[x.expand([161 * 161, 2], true), grid], 1);
    let sum = (-path.energy(0.3, &rows)).logsumexp(0, false).double_value(&[]) + 2.0 * 0.1f64.ln();
    assert!((sum + path.path().energy(0.3, &x).double_value(&[0])).abs() < 1e-12);
    let auto = Evaluation::autograd(&At::new(&path, 0.3), &rows.narrow(0, 0, 50));
    let closed = path.evaluate(0.3, &rows.narrow(0, 0, 50));
    assert!((auto.grad() - closed.grad()).abs().max().double_value(&[]) < 1e-10);
    assert!(
        (path.rate(0.3, &rows) - path.path().rate(0.3, &path.positions(&rows))).abs().max().double_value(&[]) == 0.0
    );
}

#[test]
fn in_coordinates_of_its_own_it_moves_as_on_the_energy_in_them() {
    // a target with widths that differ by a factor of 100, correlated
    let covariance = Tensor::from_slice(&[4.0, 0.03, 0.03, 0.0004]).view([2, 2]);
    let mean = Tensor::from_slice(&[1.0, -2.0]);
    let gaussian = || Gaussian::with_covariance(&mean, &covariance).unwrap();
    let base = Gaussian::with_covariance(&mean, &(&covariance * 1.5)).unwrap();
    let target = Preconditioned { energy: gaussian(), gaussian: gaussian() };
    let path = WithMomenta::new(Geometric { base, target });
    let kernel = Whitened::new(Underdamped::new(0.3, 0.7));
    let run = Transport::new(kernel, 20, N, 3).quiet().run(&path).unwrap();
    let x = path.positions(run.walkers.x());
    let second = run.walkers.mean(&(x.select(1, 1) + 2.0).square()).unwrap();
    let z = [z_of(&run.walkers.log_z(), gaussian().log_z()), z_of(&second, 0.0004)];
    assert!(run.walkers.ess() > 0.8 && worst(&z) < FAR, "{} {z:?}", run.walkers.ess());
    // the same step without the coordinates is far beyond the stable one
    let plain = Transport::new(Underdamped::new(0.3, 0.7), 20, 500, 3).quiet().run(&path).unwrap();
    assert!(!plain.finished() || plain.walkers.ess() < 0.05, "{}", plain.walkers.ess());
    // U and ∇U of the walkers are those of their positions
    let anew = At::new(&path, 1.0).evaluate(run.walkers.x());
    let scale = anew.grad().abs().max().double_value(&[]);
    assert!((&anew.u - &run.walkers.evaluation().u).abs().max().double_value(&[]) < 1e-8);
    assert!((anew.grad() - run.walkers.evaluation().grad()).abs().max().double_value(&[]) < 1e-8 * scale);
}

#[test]
fn it_is_bracketed_from_both_sides_and_refuses_bad_settings() {
    let path = path();
    for (kernel, wanted) in [
        (Underdamped::new(0.0, 1.0), "step = 0"),
        (Underdamped::new(f64::NAN, 1.0), "step = NaN"),
        (Underdamped::new(0.1, 0.0), "friction = 0"),
        (Underdamped::new(0.1, f64::INFINITY), "friction = inf"),
    ] {
        let e = jarzynski::transport(kernel, &path, 3, 10, 0).unwrap_err().to_string();
        assert!(e.contains(wanted), "{e}");
    }
    let identity =
        |k: &dyn Fn(f64, f64) -> Underdamped, a, b| Kernel::<At<WithMomenta<Drifting>>>::identity(&k(a, b)).unwrap();
    assert_ne!(identity(&Underdamped::new, 0.1, 1.0), identity(&Underdamped::new, 0.1, 2.0));
    // rows without momenta end the run with the cause
    let odd = Tensor::zeros([10, 3], (Kind::Double, jarzynski::tch::Device::Cpu));
    let e = Transport::new(Underdamped::new(0.1, 1.0), 3, 10, 0).quiet().reverse(&path, &odd).unwrap_err().to_string();
    assert!(e.contains("[10, 3]"), "{e}");
    // invariant kernels move rows with momenta too
    let both = Transport::new(Reversed::new(jarzynski::kernel::Hmc::new(0.3, 2)), 10, N, 4).quiet().run(&path).unwrap();
    assert!(z_of(&both.walkers.log_z(), exact().0).abs() < FAR);
}
