//! Check drifts learned without data: the residual on exact flows, exact weights for any drift, what training gains, and twins that
//! must fail.

use crate::common;

use common::{FAR, worst, z_of};
use jarzynski::density::Retimed;
use jarzynski::kernel::{Arrival, EvalCounts, Kernel, Move};
use jarzynski::model::{DriftShape, Gaussian, Mixture, WithDrift, continuity_residual};
use jarzynski::tch::{Device, Kind, Tensor, no_grad};
use jarzynski::train::{Divergence, DriftSettings, DriftTrainer};
use jarzynski::{
    At, Base, Checkpointing, Differentiable, Escorted, Evaluation, Flow, FlowKernel, Geometric, Mala, Path, Reversed,
    Rng, Run, Schedule, Transport,
};

/// (1 − t)|x − m₀|²/2s₀² + t|x − m₁|²/2s₁² in each of two coordinates, with the b that carries ρ_t along; `off` times it.
#[derive(Debug)]
struct Exact {
    path: Geometric<Gaussian, Gaussian>,
    off: f64,
}

const ENDS: [[(f64, f64); 2]; 2] = [[(0.0, 1.0), (0.5, 0.8)], [(1.5, 0.5), (-0.7, 1.3)]];

/// p_t, ṗ, m_t, ṁ of one coordinate.
fn moments(t: f64, i: usize) -> [f64; 4] {
    let ((m0, s0), (m1, s1)) = (ENDS[0][i], ENDS[1][i]);
    let (p0, p1) = (1.0 / (s0 * s0), 1.0 / (s1 * s1));
    let (p, pp) = ((1.0 - t) * p0 + t * p1, p1 - p0);
    let (q, qq) = ((1.0 - t) * p0 * m0 + t * p1 * m1, p1 * m1 - p0 * m0);
    [p, pp, q / p, (qq - q / p * pp) / p]
}

/// d log Z_t/dt.
fn log_z_rate(t: f64) -> f64 {
    (0..2)
        .map(|i| {
            let ((m0, s0), (m1, s1)) = (ENDS[0][i], ENDS[1][i]);
            let [p, pp, m, mm] = moments(t, i);
            let least = 0.5 * (m1 * m1 / (s1 * s1) - m0 * m0 / (s0 * s0) - pp * m * m - 2.0 * p * m * mm);
            -0.5 * pp / p - least
        })
        .sum()
}

impl Exact {
    fn new(off: f64) -> Self {
        let end = |e: usize| Gaussian::new(&ENDS[e].map(|v| v.0), &ENDS[e].map(|v| v.1)).unwrap();
        Exact { path: Geometric { base: end(0), target: end(1) }, off }
    }
}

impl Differentiable for Exact {}

impl Path for Exact {
    fn base(&self) -> &dyn Base {
        self.path.base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.path.energy(t, x)
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        self.path.evaluate(t, x)
    }
    fn rate(&self, t: f64, x: &Tensor) -> Tensor {
        self.path.rate(t, x)
    }
}

impl Flow for Exact {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        let each = (0..2).map(|i| {
            let [p, pp, m, mm] = moments(t, i);
            (x.select(1, i as i64) - m) * (-0.5 * pp / p) + mm
        });
        Tensor::stack(&each.collect::<Vec<_>>(), 1) * self.off
    }
}

fn spread(v: &Tensor) -> f64 {
    (v.max() - v.min()).double_value(&[])
}

fn normal(n: i64, d: i64, seed: u64) -> Tensor {
    Rng::new(seed).normal(&[n, d], Kind::Double, Device::Cpu)
}

#[test]
fn the_residual_is_constant_exactly_where_the_drift_is_exact() {
    let x = normal(50, 2, 1) * 2.0;
    for t in [0.0, 0.3, 0.8, 1.0] {
        let residual = continuity_residual(&Exact::new(1.0), t, &x);
        assert!((residual - log_z_rate(t)).abs().max().double_value(&[]) < 1e-10, "t = {t}");
        assert!(spread(&continuity_residual(&Exact::new(0.99), t, &x)) > 1e-2, "a drift that is one percent off");
    }
    let slow = Retimed::new(Exact::new(1.0), &[0.0, 0.01, 0.1, 0.4, 1.0]).unwrap();
    for s in [0.05, 0.3, 0.9] {
        assert!(spread(&continuity_residual(&slow, s, &x)) < 1e-10, "s = {s}");
    }
}

#[test]
fn weights_are_constant_where_the_residual_is() {
    let run = |off: f64, steps| {
        let kernel = FlowKernel::named("ode-rk4", 1.0).unwrap();
        let run = Transport::new(kernel, steps, 200, 1).quiet().run(&Exact::new(off)).unwrap();
        spread(run.walkers.log_weights())
    };
    let (coarse, fine) = (run(1.0, 32), run(1.0, 64));
    assert!(fine < 1e-5 && (coarse / fine - 16.0).abs() < 4.0, "as the fourth power of the step: {coarse} {fine}");
    assert!(run(0.9, 64) > 1e-2);
}

#[test]
fn another_clock_leaves_ends_and_slopes_consistent() {
    let times = [0.0, 1e-3, 4e-3, 0.02, 0.1, 0.4, 1.0];
    let path = Retimed::new(Exact::new(1.0), &times).unwrap();
    for (k, t) in times.iter().enumerate() {
        assert!((path.time(k as f64 / 6.0).0 - t).abs() < 1e-12);
    }
    let x = normal(20, 2, 2);
    for s in [0.01, 0.21, 0.5, 0.77, 0.99] {
        let ((up, _), (down, _)) = (path.time(s + 1e-6), path.time(s - 1e-6));
        let (_, slope) = path.time(s);
        assert!(slope > 0.0 && ((up - down) / 2e-6 - slope).abs() < 1e-5, "s = {s}");
        let rate = (path.energy(s + 1e-6, &x) - path.energy(s - 1e-6, &x)) / 2e-6;
        assert!((rate - path.rate(s, &x)).abs().max().double_value(&[]) < 1e-4);
    }
    assert!(Retimed::new(Exact::new(1.0), &[0.0, 0.5, 0.5, 1.0]).is_err());
}

type Modes = Geometric<Gaussian, Mixture>;

fn modes() -> Modes {
    let means = [vec![-2.0, 0.0], vec![2.0, 1.0]];
    let target = Mixture::with_sigma(&means, &[0.3, 0.7], &[0.6, 0.8], Kind::Double, Device::Cpu).unwrap();
    Geometric { base: Gaussian::new(&[0.0; 2], &[2.0; 2]).unwrap(), target }
}

fn shape(gradient: bool) -> DriftShape {
    DriftShape { widths: vec![16, 16], gradient, ..Default::default() }
}

/// A drift that nobody has trained, with a last layer that is not zero.
fn at_random(gradient: bool, size: f64) -> WithDrift<Modes> {
    let flow = WithDrift::new(modes(), &shape(gradient)).unwrap();
    for (name, v) in flow.drift.vars().variables() {
        if name.contains("last") {
            no_grad(|| v.shallow_clone().copy_(&(Rng::new(7).normal(&v.size(), v.kind(), v.device()) * size)));
        }
    }
    flow
}

#[test]
fn the_jacobian_is_that_of_the_velocity() {
    let x = normal(30, 2, 3) * 2.0;
    for gradient in [false, true] {
        let flow = at_random(gradient, 0.3);
        let max = |t: &Tensor| t.abs().max().double_value(&[]);
        for t in [0.0, 0.37, 1.0] {
            let (b, j) = flow.linearise(t, &x);
            assert!(max(&b) > 0.1 && max(&(flow.velocity(t, &x) - &b)) < 1e-12);
            assert!(max(&(flow.arrive(t, &x).drift().unwrap() - &b)) < 1e-12);
            for i in 0..2 {
                let shift = Tensor::zeros_like(&x);
                let _ = shift.select(1, i).fill_(1e-5);
                let slope = (flow.velocity(t, &(&x + &shift)) - flow.velocity(t, &(&x - &shift))) / 2e-5;
                assert!(max(&(slope - j.select(2, i))) < 1e-6, "gradient {gradient}, t = {t}, column {i}");
            }
            let v = Rng::new(4).normal(&[30, 2, 3], Kind::Double, Device::Cpu);
            assert!(max(&(flow.push(t, &x, &v).1 - j.matmul(&v))) < 1e-11);
        }
    }
}

/// log Ẑ and two means of a run, in standard errors from exact.
fn z_scores(run: &Run, target: &Mixture) -> [f64; 3] {
    let x = run.walkers.x();
    let mean = |g: &Tensor| run.walkers.mean(g).unwrap();
    let square = 0.3 * (0.36 + 4.0) + 0.7 * (0.64 + 4.0);
    [
        z_of(&run.walkers.log_z(), target.log_z()),
        z_of(&mean(&x.select(1, 0)), 0.8),
        z_of(&mean(&x.select(1, 0).square()), square),
    ]
}

/// The Euler map without its determinant: what is left of a flow when the divergence is forgotten.
#[derive(Debug)]
struct Folded;

impl<P: Flow> Kernel<At<'_, P>> for Folded {
    fn forward(&self, u: &At<P>, at: &Evaluation, _rng: &mut Rng) -> Move {
        let y = &at.x + u.path.velocity(u.t, &at.x) * u.h;
        Move::new(y, at.u.to_kind(Kind::Double), EvalCounts::default())
    }
    fn backward(&self, u: &At<P>, _at: &Evaluation, mv: Move, _rng: &mut Rng) -> Arrival {
        let point = u.path.evaluate(u.t, &mv.y);
        Arrival::new(point.u.to_kind(Kind::Double), point, EvalCounts::default())
    }
}

#[test]
fn weights_are_exact_for_any_drift() {
    for gradient in [false, true] {
        let flow = at_random(gradient, 0.1);
        for name in ["escorted", "euler-mala", "rk4-mala", "ode-rk4"] {
            let kernel = FlowKernel::named(name, 0.4).unwrap();
            let run = Transport::new(kernel, 24, 8_000, 5).quiet().run(&flow).unwrap();
            let z = z_scores(&run, &flow.path.target);
            assert!(run.walkers.ess() > 0.05 && worst(&z) < FAR, "{name}: ESS {}, {z:?}", run.walkers.ess());
        }
        let flow = at_random(gradient, 0.4);
        let run = Transport::new(Folded, 24, 20_000, 5).quiet().run(&flow).unwrap();
        let z = z_scores(&run, &flow.path.target);
        assert!(worst(&z) > FAR, "without the determinant, gradient {gradient}: {z:?}");
    }
}

fn settings(steps: usize) -> DriftSettings {
    DriftSettings { steps, grid: 16, walkers: 128, every: 1, progress: 0.0, ..Default::default() }
}

/// The variance of A over fresh walkers.
fn variance(flow: &WithDrift<Modes>, kernel: &str) -> f64 {
    let run = Transport::new(FlowKernel::named(kernel, 0.4).unwrap(), 32, 2_000, 9).quiet().run(flow).unwrap();
    let z = z_scores(&run, &flow.path.target);
    assert!(worst(&z) < FAR, "{z:?}");
    run.walkers.log_weights().var(true).double_value(&[])
}

#[test]
fn training_makes_weights_even() {
    let untrained = || WithDrift::new(modes(), &shape(true)).unwrap();
    let (split, euler) = (variance(&untrained(), "euler-mala"), variance(&untrained(), "escorted"));
    let mut flow = untrained();
    let kernel = Reversed::new(Mala::new(0.3));
    let run = DriftTrainer::residual(kernel).settings(settings(150)).train(&mut flow).unwrap();
    let loss = run.column("loss_residual").unwrap();
    assert!(run.finished() && loss[150] < 0.2 * loss[0], "{} → {}", loss[0], loss[150]);
    let after = variance(&flow, "euler-mala");
    assert!(after < 0.5 * split, "by the residual: {split} → {after}");
    // the table of ∂_tF_t integrates to log Z_1/Z_0, up to what walkers that are not in equilibrium say
    let exact = flow.path.target.log_z() - flow.path.base.log_z();
    assert!((flow.drift.log_z_ratio() - exact).abs() < 0.2, "{} for {exact}", flow.drift.log_z_ratio());

    let mut flow = untrained();
    let run = DriftTrainer::variance(Escorted::new(0.4)).unwrap().settings(settings(100)).train(&mut flow).unwrap();
    assert!(run.finished(), "{:?}", run.outcome);
    let after = variance(&flow, "escorted");
    assert!(after < 0.6 * euler, "by the variance: {euler} → {after}");
}

#[test]
fn the_variance_that_is_made_small_is_that_of_the_kernels_weights() {
    let mut flow = at_random(true, 0.05);
    let training = DriftTrainer::variance(Escorted::new(0.4)).unwrap().settings(settings(3));
    let run = training.train(&mut flow).unwrap();
    // the last loss is that of the walkers which the run leaves
    let (told, exact) =
        (run.column("loss_variance").unwrap()[3], run.walkers.log_weights().var(true).double_value(&[]));
    assert!((told / exact - 1.0).abs() < 1e-10 && exact > 0.0, "{told} {exact}");
    assert!(DriftTrainer::variance(Escorted::heun(0.4)).is_err());
}

#[test]
fn random_signs_estimate_the_same_loss() {
    let losses = |divergence| {
        let still = DriftSettings {
            lr: 0.0,
            schedule: Schedule::Constant,
            horizon: 0.0,
            refresh: 1,
            divergence,
            ..settings(60)
        };
        let mut flow = at_random(true, 0.1);
        let run = DriftTrainer::residual(Escorted::new(0.4)).settings(still).train(&mut flow).unwrap();
        run.column("loss_residual").unwrap()
    };
    let (exact, signs) = (losses(Divergence::Exact), losses(Divergence::Hutchinson { probes: 1 }));
    let ((a, a_se), (b, b_se)) = (jarzynski::io::frame::mean_se(&exact), jarzynski::io::frame::mean_se(&signs));
    assert!((a - b).abs() < FAR * a_se.hypot(b_se), "{a} ± {a_se}, {b} ± {b_se}");
    assert!(exact.iter().zip(&signs).any(|(a, b)| (a - b).abs() > 1e-3 * a), "the signs are used");
}

#[test]
fn it_goes_on_bit_for_bit() {
    let flow = || WithDrift::new(modes(), &shape(true)).unwrap();
    let bits = |run: &Run, name: &str| run.column(name).unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let residual =
        |seed| DriftTrainer::residual(Escorted::new(0.4)).settings(DriftSettings { refresh: 5, seed, ..settings(12) });
    let variance =
        |seed| DriftTrainer::variance(Escorted::new(0.4)).unwrap().settings(DriftSettings { seed, ..settings(6) });
    for (name, stop, of) in
        [("loss_residual", 7, &residual as &dyn Fn(u64) -> DriftTrainer<Escorted>), ("loss_variance", 3, &variance)]
    {
        let whole = of(0).train(&mut flow()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let part = Checkpointing::new(dir.path()).pause_after_steps(stop);
        assert!(!of(0).checkpointing(part).train(&mut flow()).unwrap().finished());
        let run = of(0).resume_or_start(dir.path()).train(&mut flow()).unwrap();
        assert!(run.finished() && bits(&run, name) == bits(&whole, name), "{name}");
        assert!(run.walkers.log_weights() == whole.walkers.log_weights());
        assert!(bits(&of(1).train(&mut flow()).unwrap(), name) != bits(&whole, name), "another seed");
        let other = of(1).checkpointing(Checkpointing::resume_or_start(dir.path())).train(&mut flow());
        assert!(other.is_err(), "another run is not continued");
    }
}

#[test]
fn a_drift_is_written_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let (flow, file) = (at_random(true, 0.3), dir.path().join("drift"));
    flow.drift.save(&file).unwrap();
    let mut other = WithDrift::new(modes(), &shape(true)).unwrap();
    other.drift.load(&file).unwrap();
    let x = normal(5, 2, 1);
    assert!(flow.velocity(0.3, &x) == other.velocity(0.3, &x));
    let e = WithDrift::new(modes(), &shape(false)).unwrap().drift.load(&file).unwrap_err().to_string();
    assert!(e.contains("gradient"), "{e}");
}

#[test]
fn bad_input_is_refused_by_name() {
    let mut flow = WithDrift::new(modes(), &shape(true)).unwrap();
    let mut refused = |s: DriftSettings| {
        DriftTrainer::residual(Escorted::new(0.4)).settings(s).train(&mut flow).unwrap_err().to_string()
    };
    assert!(refused(DriftSettings { grid: 0, ..settings(3) }).starts_with("grid = 0"));
    assert!(refused(DriftSettings { batch: 1, ..settings(3) }).starts_with("batch = 1"));
    assert!(refused(DriftSettings { horizon: 1.5, ..settings(3) }).starts_with("horizon = 1.5"));
    assert!(refused(DriftSettings { ess_min: -0.5, ..settings(3) }).starts_with("ess_min = -0.5"));
    let none = Divergence::Hutchinson { probes: 0 };
    assert!(refused(DriftSettings { divergence: none, ..settings(3) }).starts_with("probes = 0"));
    let idle = DriftTrainer::variance(Escorted::new(0.4)).unwrap().settings(DriftSettings { batch: 32, ..settings(3) });
    assert!(idle.train(&mut flow).unwrap_err().to_string().starts_with("batch = "));
    assert!(WithDrift::new(modes(), &DriftShape { widths: vec![], ..Default::default() }).is_err());
    let mut wild = WithDrift::new(modes(), &shape(true)).unwrap();
    let wild_run = DriftTrainer::residual(Escorted::new(0.4)).settings(DriftSettings { lr: 1e300, ..settings(20) });
    assert!(!wild_run.train(&mut wild).unwrap().finished());
}
