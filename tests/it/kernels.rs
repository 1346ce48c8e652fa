//! Hold every kernel to one contract: exact log Z and moments under a moving target, and twins that must fail.

use crate::common;

use common::{Drifting, FAR, walk, worst, z_of, z_scores};
use jarzynski::io::frame::mean_se;
use jarzynski::kernel::{
    Arrival, Barker, Escorted, EvalCounts, FlowKernel, Hmc, Integrator, Invariant, Jumps, Kernel, Langevin, Mala, Map,
    Mapped, Matched, Move, RandomWalk, Reversal, Reversed, Scales, Split, Stepped, Transition, Ula,
};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::walkers::bar;
use jarzynski::{At, Base, Energy, Evaluation, Flow, Noise, Path, Rng, Scheme, Transport};
use std::cell::Cell;

const N: usize = 40_000;

fn path() -> Drifting {
    Drifting::new(2, 0.8, 0.75)
}

/// One row per kernel; add yours here.
fn contract<R>(mut row: impl FnMut(&str, &dyn for<'a> Kernel<At<'a, Drifting>>) -> R) -> Vec<R> {
    let flows = FlowKernel::NAMES.map(|name| row(name, &FlowKernel::named(name, 0.7).unwrap()));
    let knots = Noise::Knots(vec![[0.0, 0.3], [0.5, 2.0], [1.0, 0.5]]);
    let others = [
        row("escorted, ε of t", &Escorted::new(knots.clone())),
        row("matched, ε of t, Euler drift", &Matched { eps: knots.clone(), integrator: Integrator::Euler }),
        row("split, ε of t", &Split::new(Map::Rk4, Langevin::Ula, knots)),
        row("ula", &Ula::new(0.1)),
        row("ula, coarse", &Ula::new(0.4)),
        row("ula, backward at θ_k", &Ula::new(0.1).reverse_at(jarzynski::ReverseAt::Old)),
        row("ula, backward at θ_k, coarse", &Ula::new(0.4).reverse_at(jarzynski::ReverseAt::Old)),
        row("mala reversed", &Reversed::new(Mala::new(0.2))),
        row("mala reversed, 3 sweeps", &Reversed::sweeps(Mala::new(0.2), 3)),
        row("hmc, 1 leapfrog", &Reversed::new(Hmc::new(0.6, 1))),
        row("hmc, 4 leapfrogs, 2 sweeps", &Reversed::sweeps(Hmc::new(0.4, 4), 2)),
        row("random walk", &Reversed::sweeps(RandomWalk::new(1.0), 3)),
        row("mapped, mala", &Mapped::new(Reversed::new(Mala::new(0.2)))),
        row("mapped, ula", &Mapped::new(Ula::new(0.1))),
        row("barker", &Reversed::sweeps(Barker::new(1.2), 2)),
        row("jumps", &Reversed::sweeps(Jumps::new(1.5, 1.0), 4)),
        row("jumps along one coordinate", &Reversed::sweeps(Jumps::new(1.5, 0.5).coordinates(1), 6)),
        row("mala, scales", &Reversed::new(Scales::new(Mala::new(0.3), &[1.0, 0.2]))),
        row("hmc and jumps", &Reversed::new((Hmc::new(0.6, 2), Jumps::new(1.5, 0.5).coordinates(1)))),
        row("ula, h of t", &Stepped::new(Ula::new(1.0), &[[0.0, 0.3], [0.5, 0.05], [1.0, 0.2]])),
        row("hmc, step of t", &Stepped::new(Reversed::new(Hmc::new(1.0, 3)), &[[0.2, 0.8], [0.9, 0.3]])),
    ];
    flows.into_iter().chain(others).collect()
}

#[test]
fn every_kernel_is_exact_along_a_moving_target() {
    let path = path();
    for (name, ess, z) in contract(|name, k| {
        let w = walk(k, &path, 20, N, 11, |_, _| {});
        (name.to_string(), w.ess(), z_scores(&w, &path))
    }) {
        assert!(ess > 0.1, "{name}: the protocol is meant to be mild, ESS/N = {ess}");
        assert!(worst(&z) < FAR, "{name}: z = {z:?}");
    }
}

#[test]
fn every_kernel_stays_exact_when_resampled_at_every_step() {
    let path = path();
    for (name, z) in contract(|name, k| {
        // After resampling, positions are dependent: judge log Ẑ over replicates instead of the walkers' own error.
        let exact = 2.0 * (0.75 * (2.0 * std::f64::consts::PI).sqrt()).ln();
        let e: Vec<f64> = (0..40)
            .map(|seed| {
                let w = walk(k, &path, 10, 2_000, 100 + seed, |w, rng| w.resample(Scheme::Systematic, rng));
                (w.log_z().value - exact).exp()
            })
            .collect();
        (name.to_string(), z_of(&e, 1.0))
    }) {
        assert!(z.abs() < FAR, "{name}: z = {z}");
    }
}

/// A on forward and on reverse paths of one protocol, log Z_1/Z_0, and the z-score of E|x|² under the walkers that arrived.
fn both_ways<K: for<'a> Kernel<At<'a, Drifting>> + ?Sized>(kernel: &K) -> (Vec<f64>, Vec<f64>, f64, f64) {
    let path = path();
    let transport = Transport::new(kernel, 20, N, 17).quiet();
    let draws = Rng::new(18).normal(&[N as i64, 2], Kind::Double, jarzynski::tch::Device::Cpu) * path.s1 + path.m1;
    let weights = |t: &Tensor| Vec::<f64>::try_from(t).unwrap();
    let up = transport.run(&path).unwrap();
    let down = transport.reverse(&path, &draws).unwrap();
    assert!(up.finished() && down.finished(), "{:?} {:?}", up.outcome, down.outcome);
    // E_R e^{−A} g(x_0) = (Z_0/Z_1) E_{ρ_0} g: the walkers that arrive are weighted draws of the start
    let r2 = down.walkers.x().square().sum_dim_intlist(-1, false, None::<Kind>);
    let moments = z_of(&down.walkers.mean(&r2).unwrap(), 2.0);
    (weights(up.walkers.log_weights()), weights(&-down.walkers.log_weights()), 2.0 * path.s1.ln(), moments)
}

/// The farthest of z-scores: E_R e^{C − A} = 1, and Crooks' p_F(A) e^{A − C} = p_R(A) in four bounded moments.
fn crooks(forward: &[f64], reverse: &[f64], c: f64) -> (f64, f64) {
    let scores = |v: Vec<f64>, exact: f64| z_of(&v, exact);
    let exponential = scores(reverse.iter().map(|a| (c - a).exp()).collect(), 1.0);
    let p = |a: &f64| 1.0 / (1.0 + (a - c).exp());
    let tests: [fn(f64) -> f64; 4] = [|_| 1.0, |x| x.signum(), f64::tanh, |x| (2.0 * x).cos()];
    let worst = tests.iter().fold(0.0f64, |worst, g| {
        let (f, f_se) = mean_se(&forward.iter().map(|a| (1.0 - p(a)) * g(a - c)).collect::<Vec<_>>());
        let (r, r_se) = mean_se(&reverse.iter().map(|a| p(a) * g(a - c)).collect::<Vec<_>>());
        worst.max(((f - r) / f_se.hypot(r_se).max(1e-12)).abs())
    });
    (exponential.abs(), worst)
}

#[test]
fn every_kernel_keeps_crooks_identity_on_reverse_paths() {
    for (name, ways) in contract(|name, k| (name.to_string(), both_ways(k))) {
        let (forward, reverse, c, moment) = ways;
        assert!(moment.abs() < FAR, "{name}: {moment}");
        let (exponential, histograms) = crooks(&forward, &reverse, c);
        assert!(exponential < FAR && histograms < FAR, "{name}: {exponential} {histograms}");
        let found = bar(&forward, &reverse).unwrap();
        assert!(((found.log_ratio.value - c) / found.log_ratio.se).abs() < FAR, "{name}: {found:?}, exact {c}");
        // the same A, but with its sign on one side: what a reverse run carries is −A
        let minus: Vec<f64> = reverse.iter().map(|a| -a).collect();
        assert!(crooks(&forward, &minus, c).1 > FAR, "{name}");
    }
}

/// Reverse runs that move by the forward density of the opposite direction instead of the backward density.
#[derive(Debug)]
struct Forwards<K>(K);

impl<'a, K: Kernel<At<'a, Drifting>>> Kernel<At<'a, Drifting>> for Forwards<K> {
    fn forward(&self, u: &At<'a, Drifting>, at: &Evaluation, rng: &mut Rng) -> Move {
        self.0.forward(u, at, rng)
    }
    fn backward(&self, u: &At<'a, Drifting>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        self.0.backward(u, at, mv, rng)
    }
    fn reverse(
        &self,
        from: &At<'a, Drifting>,
        to: &At<'a, Drifting>,
        at: &Evaluation,
        rng: &mut Rng,
    ) -> jarzynski::Result<Reversal> {
        let mv = self.0.forward(to, at, rng);
        let alpha = mv.alpha.copy();
        let arrival = self.0.backward(from, at, mv, rng);
        Ok(Reversal::new(arrival.evaluation, arrival.lambda - alpha, arrival.cost))
    }
}

/// Draws of the backward density that forget its drift −h∇U, under a weight that does not.
#[derive(Debug)]
struct Undrifted(Ula);

impl<'a> Kernel<At<'a, Drifting>> for Undrifted {
    fn forward(&self, u: &At<'a, Drifting>, at: &Evaluation, rng: &mut Rng) -> Move {
        self.0.forward(u, at, rng)
    }
    fn backward(&self, u: &At<'a, Drifting>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        self.0.backward(u, at, mv, rng)
    }
    fn reverse(
        &self,
        from: &At<'a, Drifting>,
        to: &At<'a, Drifting>,
        at: &Evaluation,
        rng: &mut Rng,
    ) -> jarzynski::Result<Reversal> {
        let right = self.0.reverse(from, to, at, rng)?;
        let x = &right.evaluation.x + at.grad() * self.0.h;
        Ok(Reversal::new(from.evaluate(&x), right.increment, right.cost))
    }
}

#[test]
fn reverse_twins_are_rejected() {
    let far = |kernel: &dyn for<'a> Kernel<At<'a, Drifting>>| {
        let (forward, reverse, c, _) = both_ways(kernel);
        crooks(&forward, &reverse, c)
    };
    // e^{−A} has the right mean: the opposite protocol is one that Prop. 1 holds for too. Crooks' identity tells the two apart.
    let (exponential, histograms) = far(&Forwards(Escorted::new(0.7)));
    assert!(exponential < FAR && histograms > FAR, "{exponential} {histograms}");
    let (_, histograms) = far(&Undrifted(Ula::new(0.1)));
    assert!(histograms > FAR, "{histograms}");
    // for ULA with r at θ_{k+1} the opposite protocol is the reverse run
    let (exponential, histograms) = far(&Forwards(Ula::new(0.1)));
    assert!(exponential < FAR && histograms < FAR, "{exponential} {histograms}");
}

#[test]
fn a_kernel_without_a_way_back_is_named_and_refused() {
    let path = path();
    let start = path.base().sample(10, &mut Rng::new(0));
    let refused = |kernel: &dyn for<'a> Kernel<At<'a, Drifting>>| {
        Transport::new(kernel, 3, 10, 0).quiet().reverse(&path, &start).unwrap_err().to_string()
    };
    let e = refused(&Aliased(Ula::new(0.1)));
    assert!(e.contains("Aliased") && e.contains("Kernel::reverse"), "{e}");
    let e = refused(&Reversed::new(Pretender(Ula::new(0.1))));
    assert!(e.contains("Pretender") && e.contains("Invariant::reverse_sweep"), "{e}");
    let e = Transport::new(Ula::new(0.1), 3, 10, 0).ess_min(0.5).reverse(&path, &start).unwrap_err().to_string();
    assert!(e.contains("ess_min = 0.5"), "{e}");
    let e = Transport::new(Escorted::new(0.5), 3, 10, 0).plain().reverse(&path, &start).unwrap_err().to_string();
    assert!(e.contains("weighted"), "{e}");
    for wrong in [start.narrow(1, 0, 1), start.narrow(0, 0, 0), &start * f64::NAN] {
        let e = Transport::new(Ula::new(0.1), 3, 10, 0).reverse(&path, &wrong).unwrap_err().to_string();
        assert!(e.contains("reverse start"), "{e}");
    }
}

/// Counts the rows that really pass through an energy.
struct Counted<'a> {
    inner: At<'a, Drifting>,
    forward: Cell<u64>,
    backward: Cell<u64>,
}

impl jarzynski::Differentiable for Counted<'_> {}

impl Energy for Counted<'_> {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.forward.set(self.forward.get() + x.size()[0] as u64);
        self.inner.energy(x)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        let n = x.size()[0] as u64;
        self.forward.set(self.forward.get() + n);
        self.backward.set(self.backward.get() + n);
        self.inner.evaluate(x)
    }
}

fn pays<'a, K: Kernel<Counted<'a>>>(kernel: &K, path: &'a Drifting) -> (EvalCounts, EvalCounts) {
    let u = Counted { inner: At::new(path, 0.0), forward: Cell::new(0), backward: Cell::new(0) };
    let mut rng = Rng::new(3);
    let at = u.inner.evaluate(&path.base().sample(64, &mut rng));
    let mv = kernel.forward(&u, &at, &mut rng);
    let mut declared = mv.cost;
    declared += kernel.backward(&u, &at, mv, &mut rng).cost;
    let before = (u.forward.get(), u.backward.get());
    let back = kernel.reverse(&u, &u, &at, &mut rng).unwrap().cost;
    assert_eq!((back.forward, back.backward), (u.forward.get() - before.0, u.backward.get() - before.1));
    u.forward.set(before.0);
    u.backward.set(before.1);
    (declared, EvalCounts { forward: u.forward.get(), backward: u.backward.get(), ..Default::default() })
}

#[test]
fn kernels_declare_what_they_cost() {
    let path = path();
    let one = EvalCounts::evaluation(64);
    let mut two = one;
    two += one;
    assert_eq!(pays(&Ula::new(0.1), &path), (one, one));
    assert_eq!(pays(&Ula::new(0.1).reverse_at(jarzynski::ReverseAt::Old), &path), (two, two));
    assert_eq!(pays(&Reversed::new(Mala::new(0.1)), &path), (two, two));
    assert_eq!(pays(&Reversed::new(Jumps::new(1.0, 0.5)), &path), (two, two));
    let times = |n: usize| EvalCounts::evaluation(64 * n);
    assert_eq!(pays(&Reversed::new(Scales::new(Hmc::new(0.1, 3), &[1.0, 0.3])), &path), (times(7), times(7)));
    assert_eq!(pays(&Reversed::new((Hmc::new(0.1, 3), Jumps::new(1.0, 0.5))), &path), (times(5), times(5)));
}

/// Counts the rows at which a flow is evaluated.
struct CountedFlow<'a> {
    inner: &'a Drifting,
    spent: Cell<EvalCounts>,
}

impl CountedFlow<'_> {
    fn add(&self, more: EvalCounts) {
        let mut spent = self.spent.get();
        spent += more;
        self.spent.set(spent);
    }
}

impl jarzynski::Differentiable for CountedFlow<'_> {}

impl Path for CountedFlow<'_> {
    fn base(&self) -> &dyn Base {
        self.inner.base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.add(EvalCounts { forward: x.size()[0] as u64, ..Default::default() });
        self.inner.energy(t, x)
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        self.add(EvalCounts::evaluation(x.size()[0] as usize));
        self.inner.evaluate(t, x)
    }
}

impl Flow for CountedFlow<'_> {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        self.add(EvalCounts { drift: x.size()[0] as u64, ..Default::default() });
        self.inner.velocity(t, x)
    }
    fn linearise(&self, t: f64, x: &Tensor) -> (Tensor, Tensor) {
        self.add(EvalCounts { jacobian: x.size()[0] as u64, ..Default::default() });
        self.inner.linearise(t, x)
    }
}

#[test]
fn flow_kernels_declare_what_they_cost() {
    let path = path();
    let flow = CountedFlow { inner: &path, spent: Cell::default() };
    let table = [
        ("escorted", 1, 1, 0),
        ("midpoint", 3, 3, 0),
        ("heun", 3, 3, 0),
        ("matched", 3, 2, 1),
        ("euler-ula", 2, 0, 1),
        ("euler-mala", 2, 0, 1),
        ("rk4-ula", 2, 0, 4),
        ("rk4-mala", 2, 0, 4),
        ("ode-euler", 1, 0, 1),
        ("ode-rk4", 1, 0, 4),
    ];
    assert_eq!(table.map(|row| row.0), FlowKernel::NAMES);
    for (name, energies, drifts, jacobians) in table {
        let kernel = FlowKernel::named(name, 0.7).unwrap();
        let mut rng = Rng::new(3);
        let at = path.arrive(0.0, &path.base().sample(64, &mut rng));
        let (now, next) = At::step(&flow, 0.0, 0.1);
        flow.spent.set(EvalCounts::default());
        let mv = kernel.forward(&now, &at, &mut rng);
        let mut declared = mv.cost;
        declared += kernel.backward(&next, &at, mv, &mut rng).cost;
        assert_eq!(declared, flow.spent.get(), "{name}");
        let expected = EvalCounts {
            forward: 64 * energies,
            backward: 64 * energies,
            drift: 64 * drifts,
            jacobian: 64 * jacobians,
        };
        assert_eq!(declared, expected, "{name}");
        flow.spent.set(EvalCounts::default());
        let back = kernel.reverse(&now, &next, &path.arrive(0.1, &at.x), &mut rng).unwrap();
        assert_eq!(back.cost, flow.spent.get(), "{name}, reverse");
    }
}

#[test]
fn same_seed_same_bits_other_seed_other_bits() {
    let path = path();
    contract(|name, k| {
        let run = |seed| walk(k, &path, 5, 500, seed, |_, _| {});
        let (a, b, c) = (run(1), run(1), run(2));
        assert!(a.x().equal(b.x()) && a.log_weights().equal(b.log_weights()), "{name}");
        assert!(!a.x().equal(c.x()), "{name}");
    });
}

#[test]
fn invariant_kernels_pay_nothing_at_fixed_parameters() {
    let path = path();
    let u = At::new(&path, 0.3);
    let mut rng = Rng::new(5);
    let kernel = Reversed::sweeps(Mala::new(0.3), 2);
    let at = u.evaluate(&path.base().sample(200, &mut rng));
    let mv = kernel.forward(&u, &at, &mut rng);
    let alpha = mv.alpha.shallow_clone();
    let arrival = kernel.backward(&u, &at, mv, &mut rng);
    assert!((alpha - arrival.lambda).abs().max().double_value(&[]) < 1e-12);
    let step = kernel.step(&u, &at, &mut rng);
    assert_eq!(step.increment.abs().max().double_value(&[]), 0.0);
}

#[test]
fn ula_at_a_fixed_quadratic_telescopes() {
    // MATHS: A_K = (h/4)(|∇U(X_0)|² − |∇U(X_K)|²) exactly, for any number of steps.
    let path = Drifting::new(3, 0.0, 1.0);
    let (h, u) = (0.3, At::new(&path, 0.0));
    let mut rng = Rng::new(8);
    let start = u.evaluate(&path.base().sample(300, &mut rng));
    let g0 = start.grad().square().sum_dim_intlist(-1, false, None::<Kind>);
    for kernel in [Ula::new(h), Ula::new(h).reverse_at(jarzynski::ReverseAt::Old)] {
        let (mut at, mut a) =
            (Evaluation::new(start.x.copy(), start.u.copy(), start.grad().copy()), Tensor::zeros_like(&g0));
        for _ in 0..7 {
            let step = kernel.step(&u, &at, &mut rng);
            a += step.increment;
            at = step.evaluation;
        }
        let exact = (&g0 - at.grad().square().sum_dim_intlist(-1, false, None::<Kind>)) * (h / 4.0);
        assert!((a - exact).abs().max().double_value(&[]) < 1e-12);
    }
}

#[test]
fn bad_steps_are_refused_by_name() {
    let path = path();
    for (kernel, wanted) in [(Ula::new(0.0), "h = 0"), (Ula::new(f64::NAN), "h = NaN"), (Ula::new(-1.0), "h = -1")] {
        let e = jarzynski::transport(kernel, &path, 3, 10, 0).unwrap_err().to_string();
        assert!(e.contains(wanted) && e.contains("positive"), "{e}");
    }
    let refused = |kernel: &dyn for<'a> Kernel<At<'a, Drifting>>| {
        jarzynski::transport(kernel, &path, 3, 10, 0).unwrap_err().to_string()
    };
    for (e, wanted) in [
        (refused(&Reversed::new(Hmc::new(0.0, 3))), "step = 0"),
        (refused(&Reversed::new(Hmc::new(f64::INFINITY, 3))), "step = inf"),
        (refused(&Reversed::new(Hmc::new(0.1, 0))), "leapfrogs = 0"),
        (refused(&Reversed::new(RandomWalk::new(-1.0))), "step = -1"),
        (refused(&Reversed::new(Barker::new(f64::NAN))), "step = NaN"),
        (refused(&Reversed::new(Jumps::new(0.0, 1.0))), "step = 0"),
        (refused(&Reversed::new(Jumps::new(1.0, -1.0))), "decades = -1"),
        (refused(&Reversed::new(Jumps::new(1.0, 1.0).coordinates(0))), "coordinates = 0"),
        (refused(&Reversed::new(Jumps::new(1.0, 1.0).coordinates(3))), "coordinates = 3"),
        (refused(&Reversed::new(Scales::new(Mala::new(0.1), &[]))), "factors = []"),
        (refused(&Reversed::new(Scales::new(Mala::new(0.1), &[1.0, -1.0]))), "h = -0.1"),
        (refused(&Reversed::new((Mala::new(0.1), Jumps::new(1.0, f64::INFINITY)))), "decades = inf"),
    ] {
        assert!(e.contains(wanted), "{e}");
    }
    let e = jarzynski::transport(Reversed::sweeps(Mala::new(0.1), 0), &path, 3, 10, 0).unwrap_err().to_string();
    assert!(e.contains("sweeps = 0"), "{e}");
}

// Reject twins: the same judgement must fail on kernels that are wrong in ways that have been published.

fn rejects<K: for<'a> Kernel<At<'a, Drifting>>>(name: &str, kernel: &K) {
    let path = path();
    let z = z_scores(&walk(kernel, &path, 20, N, 11, |_, _| {}), &path);
    assert!(worst(&z) > FAR, "{name} must be rejected: z = {z:?}");
}

/// The 2023 script's aliasing: the old point has become the new one when the weight is computed.
#[derive(Debug)]
struct Aliased(Ula);

/// λ with the parameters of θ_k.
#[derive(Debug)]
struct Shifted(Ula);

/// 1 % of the noise that the weight assumes.
#[derive(Debug)]
struct Quiet(Ula);

/// ULA as if it left ρ invariant.
#[derive(Debug)]
struct Pretender(Ula);

/// Jumps whose size depends on where the walker is, without a correction for it.
#[derive(Debug)]
struct Local;

impl<E: Energy + ?Sized> Invariant<E> for Local {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let noise = rng.normal(&at.x.size(), Kind::Double, jarzynski::tch::Device::Cpu);
        let there = u.evaluate(&(&at.x + noise * (at.x.abs() + 0.1)));
        let uniform = rng.uniform_tensor(&[at.len() as i64], Kind::Double, jarzynski::tch::Device::Cpu);
        let accept: Tensor = uniform.log().lt_tensor(&(&at.u - &there.u));
        let x = there.x.where_self(&accept.unsqueeze(-1), &at.x);
        Transition { evaluation: u.evaluate(&x), acceptance: Tensor::from(0.5), cost: EvalCounts::default() }
    }
}

impl<'a> Kernel<At<'a, Drifting>> for Aliased {
    fn forward(&self, u: &At<'a, Drifting>, at: &Evaluation, rng: &mut Rng) -> Move {
        let mut mv = self.0.forward(u, at, rng);
        let there = u.evaluate(&mv.y);
        let g2 = there.grad().square().sum_dim_intlist(-1, false, None::<Kind>);
        mv.alpha = &there.u + g2 * (0.25 * self.0.h);
        mv
    }
    fn backward(&self, u: &At<'a, Drifting>, _at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let here = u.evaluate(&mv.y);
        self.0.backward(u, &here, mv, rng)
    }
}

impl<'a> Kernel<At<'a, Drifting>> for Shifted {
    fn forward(&self, u: &At<'a, Drifting>, at: &Evaluation, rng: &mut Rng) -> Move {
        self.0.forward(u, at, rng)
    }
    fn backward(&self, u: &At<'a, Drifting>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let before = At::new(u.path, u.t - 1.0 / 20.0);
        let y = mv.y.copy();
        let wrong = self.0.backward(&before, at, mv, rng);
        Arrival::new(wrong.lambda, u.evaluate(&y), wrong.cost)
    }
}

impl<'a> Kernel<At<'a, Drifting>> for Quiet {
    fn forward(&self, u: &At<'a, Drifting>, at: &Evaluation, rng: &mut Rng) -> Move {
        let mut mv = self.0.forward(u, at, rng);
        let drift = &at.x - at.grad() * self.0.h;
        let step = (&mv.y - &drift) * 0.01;
        mv.y = drift + step;
        let step = &mv.y - &at.x;
        let g = at.grad();
        mv.alpha = &at.u + ((&step + g * (0.5 * self.0.h)) * g).sum_dim_intlist(-1, false, None::<Kind>) * 0.5;
        mv
    }
    fn backward(&self, u: &At<'a, Drifting>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        self.0.backward(u, at, mv, rng)
    }
}

impl<E: Energy + jarzynski::Differentiable + ?Sized> Invariant<E> for Pretender {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let moved = self.0.step(u, at, rng);
        Transition { evaluation: moved.evaluation, acceptance: Tensor::from(1.0), cost: moved.cost }
    }
}

#[test]
fn twins_are_rejected() {
    rejects("aliased points", &Aliased(Ula::new(0.1)));
    rejects("θ index shifted", &Shifted(Ula::new(0.1)));
    rejects("noise at 1 %", &Quiet(Ula::new(0.1)));
    rejects("ULA wrapped as reversible", &Reversed::new(Pretender(Ula::new(0.4))));
    rejects("jumps by a size that depends on x", &Reversed::new(Local));
}

#[test]
fn an_unpermuted_cache_is_rejected() {
    let path = path();
    let exact = 2.0 * 0.75 * 0.75;
    let run = |spoil: fn(&mut jarzynski::Walkers, &mut Rng)| -> f64 {
        let spread: Vec<f64> = (0..40)
            .map(|seed| {
                let w = walk(&Ula::new(0.1), &path, 10, 4_000, 100 + seed, spoil);
                let r2 = (w.x() - path.m1).square().sum_dim_intlist(-1, false, None::<Kind>);
                w.mean(&r2).unwrap().value
            })
            .collect();
        z_of(&spread, exact)
    };
    // A self-normalised mean has a bias of order 1/N, here far below the replicates' error.
    let (right, wrong) = (run(|w, rng| w.resample(Scheme::Systematic, rng)), run(common::resample_positions_only));
    assert!(right.abs() < FAR, "z = {right}");
    assert!(wrong.abs() > FAR, "an unpermuted cache must be rejected: z = {wrong}");
}

#[test]
fn the_public_check_keeps_what_is_right_and_breaks_what_is_wrong() {
    use jarzynski::check_kernel;
    let kept = |name: &str, contract: jarzynski::Result<jarzynski::transport::Contract>| {
        let contract = contract.unwrap();
        assert!(contract.kept && contract.table.height() == 9, "{name}: {:?}", contract.broken);
    };
    kept("ula", check_kernel(Ula::new, 0.1));
    kept("ula, same", check_kernel(|h| Ula::new(h).reverse_at(jarzynski::ReverseAt::Old), 0.2));
    kept("mala", check_kernel(|h| Reversed::new(Mala::new(h)), 0.2));
    let broken = check_kernel(|h| HalfNoise(Ula::new(h)), 0.1).unwrap().broken;
    assert!(broken[0].contains("exact under a moving target"), "{broken:?}");
    let e = check_kernel(Ula::new, -1.0).unwrap_err().to_string();
    assert!(e.contains("h = -1"), "{e}");
    let broken = check_kernel(Blind, 0.1).unwrap().broken;
    assert!(broken[0].contains("exact under a moving target"), "{broken:?}");
    let short = check_kernel(Short, 0.1).unwrap_err().to_string();
    assert!(short.contains("alpha has shape [1]"), "{short}");
}

/// Half the noise that the weight assumes.
#[derive(Debug)]
struct HalfNoise(Ula);

impl<E: Energy + jarzynski::Differentiable + ?Sized> Kernel<E> for HalfNoise {
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let mut mv = Kernel::<E>::forward(&self.0, u, at, rng);
        let drift = &at.x - at.grad() * self.0.h;
        let y = &drift + (&mv.y - &drift) * 0.5;
        mv.y = y;
        mv
    }
    fn backward(&self, u: &E, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        Kernel::<E>::backward(&self.0, u, at, mv, rng)
    }
}

/// Weights that do not look at θ: all equal.
#[derive(Debug)]
struct Blind(f64);

impl<E: Energy + jarzynski::Differentiable + ?Sized> Kernel<E> for Blind {
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let mut mv = Kernel::<E>::forward(&Ula::new(self.0), u, at, rng);
        mv.alpha = mv.alpha.zeros_like();
        mv
    }
    fn backward(&self, u: &E, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let mut arrival = Kernel::<E>::backward(&Ula::new(self.0), u, at, mv, rng);
        arrival.lambda = arrival.lambda.zeros_like();
        arrival
    }
}

/// One weight for all walkers.
#[derive(Debug)]
struct Short(f64);

impl<E: Energy + jarzynski::Differentiable + ?Sized> Kernel<E> for Short {
    fn forward(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Move {
        let mut mv = Kernel::<E>::forward(&Ula::new(self.0), u, at, rng);
        mv.alpha = mv.alpha.mean(Kind::Double).view([1]);
        mv
    }
    fn backward(&self, u: &E, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        Kernel::<E>::backward(&Ula::new(self.0), u, at, mv, rng)
    }
}
