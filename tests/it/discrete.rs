//! Hold Gibbs with gradients to exact invariance by enumeration and to the contract of kernels on spins, bits and one-hot sites.

use crate::common::{FAR, z_of};
use jarzynski::kernel::{GibbsWithGradients, Invariant, Kernel, Reversed, States, Transition};
use jarzynski::model::targets::{FairSpins, Ising};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::walkers::bar;
use jarzynski::{At, Base, Energy, Evaluation, Geometric, Path, Rng, Scheme, Transport, Walkers};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

/// U = −xᵀWx − b·x − Σ softplus of hidden inputs: not linear in each coordinate, so that the expansion is rough.
struct Net {
    w: Tensor,
    hidden: Tensor,
    b: Tensor,
}

impl Net {
    fn new(d: i64) -> Self {
        let mut rng = Rng::new(4);
        let mut draw = |shape: &[i64], scale: f64| rng.normal(shape, Kind::Double, Device::Cpu) * scale;
        Net { w: draw(&[d, d], 0.3), hidden: draw(&[d, 3], 0.8), b: draw(&[d], 0.5) }
    }
}

impl Energy for Net {
    fn energy(&self, x: &Tensor) -> Tensor {
        let sum = |t: Tensor| t.sum_dim_intlist(-1, false, None::<Kind>);
        -sum(x.matmul(&self.w) * x) - x.mv(&self.b) - sum(x.matmul(&self.hidden).softplus())
    }
}

/// An energy that is evaluated without a gradient, as that of a machine of discrete units.
struct Ungraded<'a>(&'a Net);

impl Energy for Ungraded<'_> {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.0.energy(x)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        Evaluation::new(x.shallow_clone(), self.0.energy(x).detach(), Tensor::new())
    }
}

/// All states of d coordinates (or of d/q sites), `[m, d]`.
fn every(states: States, d: i64) -> Tensor {
    let (sites, q) = match states {
        States::OneHot { values } => (d / values, values),
        _ => (d, 2),
    };
    let rows = (0..q.pow(sites as u32)).flat_map(|m| {
        (0..sites).flat_map(move |s| {
            let value = m / q.pow(s as u32) % q;
            match states {
                States::Bits => vec![value as f64],
                States::Spins => vec![2.0 * value as f64 - 1.0],
                _ => (0..q).map(|k| f64::from(u8::from(k == value))).collect(),
            }
        })
    });
    Tensor::from_slice(&rows.collect::<Vec<f64>>()).view([-1, d])
}

/// π, and the matrix of one move by the formula: q(x → y) min(1, π(y) q(y → x)/π(x) q(x → y)) off the diagonal.
fn matrix(kernel: &GibbsWithGradients, u: &dyn Energy, all: &Tensor, corrected: bool) -> (Tensor, Tensor) {
    let at = Evaluation::autograd(u, all);
    let pi = (-&at.u).softmax(-1, Kind::Double);
    let q = kernel.log_proposals(all, at.grad()).exp();
    let (m, d) = (all.size()[0], all.size()[1]);
    // the coordinates in which two states differ, and what the move there is called: the one that becomes larger, or the only one
    let mut p = vec![0.0; (m * m) as usize];
    for x in 0..m {
        for y in (0..m).filter(|y| *y != x) {
            let change = Vec::<f64>::try_from(all.get(y) - all.get(x)).unwrap();
            let moved: Vec<usize> = (0..d as usize).filter(|i| change[*i] != 0.0).collect();
            let (there, back) = match (kernel.states, moved.as_slice()) {
                (States::OneHot { values }, [a, b]) if a / values as usize == b / values as usize => {
                    if change[*a] > 0.0 { (*a, *b) } else { (*b, *a) }
                }
                (States::OneHot { .. }, _) => continue,
                (_, [a]) => (*a, *a),
                _ => continue,
            };
            let (forth, home) = (q.double_value(&[x, there as i64]), q.double_value(&[y, back as i64]));
            let ratio = pi.double_value(&[y]) * if corrected { home } else { forth } / (pi.double_value(&[x]) * forth);
            p[(x * m + y) as usize] = forth * ratio.min(1.0);
        }
        let leaves: f64 = p[(x * m) as usize..((x + 1) * m) as usize].iter().sum();
        p[(x * m + x) as usize] = 1.0 - leaves;
    }
    (pi, Tensor::from_slice(&p).view([m, m]))
}

/// Each kind of states with an energy on few coordinates.
fn machines() -> [(States, Net, i64); 3] {
    [(States::Bits, Net::new(5), 5), (States::Spins, Net::new(4), 4), (States::OneHot { values: 3 }, Net::new(6), 6)]
}

#[test]
fn the_matrix_of_a_move_leaves_the_distribution_invariant() {
    for (states, u, d) in machines() {
        let (kernel, all) = (GibbsWithGradients::new(states), every(states, d));
        let (pi, p) = matrix(&kernel, &u, &all, true);
        assert!(p.min().double_value(&[]) >= -1e-15, "{states:?}");
        let rows = (p.sum_dim_intlist(-1, false, Kind::Double) - 1.0).abs().max().double_value(&[]);
        let gap = (pi.unsqueeze(0).matmul(&p).squeeze() - &pi).abs().max().double_value(&[]);
        assert!(rows < 1e-12 && gap < 1e-10, "{states:?}: {rows} {gap}");
        // proposals add up to 1
        let q = kernel.log_proposals(&all, Evaluation::autograd(&u, &all).grad()).exp();
        assert!((q.sum_dim_intlist(-1, false, Kind::Double) - 1.0).abs().max().double_value(&[]) < 1e-12);
        let (_, wrong) = matrix(&kernel, &u, &all, false);
        let gap = (pi.unsqueeze(0).matmul(&wrong).squeeze() - &pi).abs().max().double_value(&[]);
        assert!(
            gap > 1e-4,
            "{states:?}: without q(y → x)/q(x → y) π is not invariant, and that must be noticed: {gap}"
        );
    }
}

/// The farthest z-score of the frequencies with which copies of every state arrive at every state.
fn frequencies(kernel: &dyn Fn(&Evaluation, &mut Rng) -> Transition, u: &dyn Energy, all: &Tensor, p: &Tensor) -> f64 {
    const COPIES: i64 = 4_000;
    let (m, mut rng, mut worst) = (all.size()[0], Rng::new(11), 0.0f64);
    // a state is named by a random projection
    let names = all.mv(&Rng::new(1).normal(&[all.size()[1]], Kind::Double, Device::Cpu));
    for x in 0..m {
        let start = all.get(x).unsqueeze(0).repeat([COPIES, 1]);
        let moved = kernel(&u.evaluate(&start), &mut rng).evaluation.x;
        let found = moved.mv(&Rng::new(1).normal(&[all.size()[1]], Kind::Double, Device::Cpu));
        for y in 0..m {
            let share = (&found - names.double_value(&[y])).abs().lt(1e-9).to_kind(Kind::Double).mean(Kind::Double);
            let (share, exact) = (share.double_value(&[]), p.double_value(&[x, y]).clamp(0.0, 1.0));
            let se = (exact * (1.0 - exact) / COPIES as f64).sqrt().max(1.0 / COPIES as f64);
            worst = worst.max(((share - exact) / se).abs());
        }
    }
    worst
}

#[test]
fn the_kernel_moves_by_that_matrix() {
    for (states, u, d) in machines() {
        let (kernel, all) = (GibbsWithGradients::new(states), every(states, d));
        let (_, p) = matrix(&kernel, &u, &all, true);
        let far = frequencies(&|at, rng| kernel.sweep(&u, at, rng), &u, &all, &p);
        assert!(far < 5.5, "{states:?}: {far}");
        let (_, wrong) = matrix(&kernel, &u, &all, false);
        let far = frequencies(&|at, rng| kernel.sweep(&u, at, rng), &u, &all, &wrong);
        assert!(far > 5.5, "{states:?}: another matrix must be noticed, {far}");
        // the same moves and bits where an energy has no gradient of its own; the second evaluation is counted
        let bare = Ungraded(&u);
        let (a, b) = (
            kernel.sweep(&u, &u.evaluate(&all), &mut Rng::new(2)),
            kernel.sweep(&bare, &bare.evaluate(&all), &mut Rng::new(2)),
        );
        assert!(a.evaluation.x.equal(&b.evaluation.x));
        assert_eq!((a.cost.forward, b.cost.forward), (all.size()[0] as u64, 2 * all.size()[0] as u64));
    }
}

type Lattice = Geometric<FairSpins, Ising>;

fn lattice() -> Lattice {
    Geometric { base: FairSpins::new(9).unwrap(), target: Ising::new(3, 0.35).unwrap() }
}

fn kernel() -> Reversed<GibbsWithGradients> {
    Reversed::sweeps(GibbsWithGradients::new(States::Spins), 3)
}

#[test]
fn kaufmans_formula_is_the_sum_over_all_states() {
    for (side, coupling) in [(2, 0.3), (3, 0.2), (3, 0.5), (3, 1.3), (4, 0.440_686_8), (4, 0.7)] {
        let target = Ising::new(side, coupling).unwrap();
        let all = every(States::Spins, side * side);
        let sum = (-target.energy(&all)).logsumexp(0, false).double_value(&[]);
        assert!((target.log_z_exact() - sum).abs() < 1e-10, "{side}, {coupling}: {} {sum}", target.log_z_exact());
        assert!((Ising::new(side, coupling * 1.001).unwrap().log_z_exact() - sum).abs() > 1e-5);
        let (closed, auto) = (target.evaluate(&all), Evaluation::autograd(&target, &all));
        assert!((closed.grad() - auto.grad()).abs().max().double_value(&[]) < 1e-12);
        assert!((&closed.u - &auto.u).abs().max().double_value(&[]) < 1e-12);
        // U does not change when all spins flip, nor under translation
        assert!((target.energy(&-&all) - &closed.u).abs().max().double_value(&[]) < 1e-12);
        let moved = all.view([-1, side, side]).roll([1], [2]).reshape([-1, side * side]);
        assert!((target.energy(&moved) - &closed.u).abs().max().double_value(&[]) < 1e-12);
    }
}

/// E U under the target, by enumeration.
fn mean_energy(target: &Ising) -> f64 {
    let u = target.energy(&every(States::Spins, target.dim()));
    ((-&u).softmax(-1, Kind::Double) * &u).sum(Kind::Double).double_value(&[])
}

#[test]
fn an_annealed_lattice_is_exact_from_both_sides() {
    let path = lattice();
    let (c, exact) = (path.target.log_z_exact() - path.base.log_z(), mean_energy(&path.target));
    let transport = Transport::new(kernel(), 20, 20_000, 3).quiet();
    let up = transport.run(&path).unwrap();
    let z = z_of(&up.walkers.log_z(), path.target.log_z_exact());
    let u = z_of(&up.walkers.mean(&up.walkers.evaluation().u).unwrap(), exact);
    assert!(up.walkers.ess() > 0.2 && z.abs() < FAR && u.abs() < FAR, "{z} {u}");
    // exact draws of the target, by enumeration
    let all = every(States::Spins, 9);
    let cumulated = (-path.target.energy(&all)).softmax(-1, Kind::Double).cumsum(0, Kind::Double);
    let uniform = Rng::new(5).uniform_tensor(&[20_000], Kind::Double, Device::Cpu);
    let draws =
        all.index_select(0, &uniform.searchsorted(&cumulated, false, false, "left", None::<Tensor>).clamp_max(511));
    let down = transport.reverse(&path, &draws).unwrap();
    let read = |t: &Tensor| Vec::<f64>::try_from(t).unwrap();
    let (forward, reverse) = (read(up.walkers.log_weights()), read(&-down.walkers.log_weights()));
    let found = bar(&forward, &reverse).unwrap().log_ratio;
    assert!(z_of(&found, c).abs() < FAR, "{found:?} {c}");
    let exponential: Vec<f64> = reverse.iter().map(|a| (c - a).exp()).collect();
    assert!(z_of(&exponential, 1.0).abs() < FAR);
    // Ẑ stays unbiased when resampled at every step
    let ratios: Vec<f64> = (0..40)
        .map(|seed| {
            let mut rng = Rng::new(100 + seed);
            let mut w = Walkers::start_from(path.base(), &At::new(&path, 0.0), 500, false, &mut rng).unwrap();
            for k in 0..10 {
                let (now, next) = At::step(&path, f64::from(k) / 10.0, f64::from(k + 1) / 10.0);
                let _ = kernel().advance(&now, &next, &mut w, &mut rng);
                w.resample(Scheme::Systematic, &mut rng);
            }
            (w.log_z().value - path.target.log_z_exact()).exp()
        })
        .collect();
    assert!(z_of(&ratios, 1.0).abs() < FAR, "{}", z_of(&ratios, 1.0));
}

/// Moves that are accepted whatever the proposal was: the reject twin.
#[derive(Debug)]
struct Unadjusted(GibbsWithGradients);

impl<E: Energy + ?Sized> Invariant<E> for Unadjusted {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let q = self.0.log_proposals(&at.x, at.grad()).exp();
        let chosen =
            q.cumsum(-1, Kind::Double).ge_tensor(&rng.uniform_tensor(&[at.len() as i64, 1], Kind::Double, Device::Cpu));
        let chosen = chosen.to_kind(Kind::Double).argmax(-1, true);
        let flipped = at.x.scatter(-1, &chosen, &-at.x.gather(-1, &chosen, false));
        Transition { evaluation: u.evaluate(&flipped), acceptance: Tensor::ones([], F64), cost: Default::default() }
    }
}

#[test]
fn a_twin_without_the_metropolis_test_is_rejected() {
    let path = lattice();
    let exact = mean_energy(&path.target);
    let of = |run: jarzynski::run::Run| z_of(&run.walkers.mean(&run.walkers.evaluation().u).unwrap(), exact).abs();
    let right = of(Transport::new(kernel(), 20, 20_000, 4).quiet().run(&path).unwrap());
    let twin = Reversed::sweeps(Unadjusted(GibbsWithGradients::new(States::Spins)), 3);
    let wrong = of(Transport::new(twin, 20, 20_000, 4).quiet().run(&path).unwrap());
    assert!(right < FAR && wrong > FAR, "{right} {wrong}");
}

#[test]
fn states_of_another_kind_are_refused_by_name() {
    let path = lattice();
    let refused = |states| {
        let kernel = Reversed::new(GibbsWithGradients::new(states));
        Transport::new(kernel, 3, 10, 0).quiet().run(&path).unwrap_err().to_string()
    };
    let e = refused(States::Bits);
    assert!(e.contains("walkers = -1") && e.contains("0 or 1"), "{e}");
    let e = refused(States::OneHot { values: 3 });
    assert!(e.contains("sites of 3 coordinates"), "{e}");
    let e = refused(States::OneHot { values: 2 });
    assert!(e.contains("[10, 9]") && e.contains("sites of 2"), "{e}");
    let e = refused(States::OneHot { values: 1 });
    assert!(e.contains("values = 1"), "{e}");
    for (e, wanted) in [
        (Ising::new(1, 0.1).unwrap_err().to_string(), "side = 1"),
        (Ising::new(2, -0.1).unwrap_err().to_string(), "coupling = -0.1"),
        (Ising::new(2, f64::NAN).unwrap_err().to_string(), "coupling = NaN"),
        (FairSpins::new(0).unwrap_err().to_string(), "d = 0"),
    ] {
        assert!(e.contains(wanted), "{e}");
    }
}
