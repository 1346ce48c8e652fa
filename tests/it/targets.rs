//! Hold the benchmark targets to their own claims: gradients, log Z, moments and draws, with twins that must fail.

use crate::common::{FAR, z_of};
use jarzynski::kernel::{Hmc, Whitened};
use jarzynski::model::targets::{
    Banana, BrownianBridge, CoxField, CoxProcess, DoubleWell, Funnel, Logistic, ManyWell, PairPotential, Particles,
    Phi4, modes_25, modes_40,
};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Base, Energy, Evaluation, Geometric, Mala, Reversed, Rng, Transport};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

fn design() -> (Tensor, Tensor) {
    let mut rng = Rng::new(3);
    let x = rng.normal(&[30, 2], Kind::Double, Device::Cpu);
    let y = (x.select(1, 0) * 1.5 + rng.normal(&[30], Kind::Double, Device::Cpu)).gt(0.3);
    (x, y)
}

fn logistic() -> Logistic {
    let (x, y) = design();
    Logistic::new(&x, &y, 1.7).unwrap()
}

/// A process on 3 × 3 pixels of area 1/9, and its counts.
fn cox(range: f64) -> (CoxProcess, Vec<f64>) {
    let field = CoxField { mean: 2.0, variance: 1.5, range };
    let counts = CoxProcess::simulate(field, 3, 1.0 / 9.0, &mut Rng::new(12)).unwrap();
    let numbers = Vec::try_from(counts.view(-1)).unwrap();
    (CoxProcess::new(&counts, field, 1.0 / 9.0).unwrap(), numbers)
}

/// Every target with a closed gradient, and rows where it is compared.
fn each(mut check: impl FnMut(&str, &dyn Energy, Tensor)) {
    let rows = |d: i64, scale: f64| Rng::new(9).normal(&[40, d], Kind::Double, Device::Cpu) * scale;
    check("funnel", &Funnel::new(10).unwrap(), rows(10, 1.5));
    check("banana", &Banana::new(4, 10.0, 0.1).unwrap(), rows(4, 4.0));
    check("pairs", &ManyWell::pairs(6).unwrap(), rows(6, 1.5));
    check("wells", &ManyWell::separated(3, 4.0).unwrap().with_normals(2).unwrap(), rows(5, 1.5));
    check("φ⁴", &Phi4::new(4, -1.3, 0.7).unwrap(), rows(16, 1.0));
    check("φ⁴, one site", &Phi4::new(1, -1.3, 0.7).unwrap(), rows(1, 1.0));
    check("φ⁴, two sites", &Phi4::new(2, 1.3, 0.7).unwrap(), rows(4, 1.0));
    check("logistic", &logistic(), rows(2, 2.0));
    check("Cox", &cox(0.3).0, rows(9, 1.0));
    check("DW-4", &Particles::double_wells().unwrap(), rows(8, 2.0));
    check("LJ-13", &Particles::lennard_jones(13, 2.0).unwrap(), icosahedron(0.97) + rows(39, 0.05));
    check("bridge", &BrownianBridge::published(), rows(32, 0.7));
    check("25 modes", &modes_25().unwrap(), rows(2, 4.0));
    check("40 modes", &modes_40(5).unwrap(), rows(5, 20.0));
}

/// A particle in the middle of twelve on the vertices of an icosahedron of this radius, `[1, 39]`.
fn icosahedron(radius: f64) -> Tensor {
    let golden = 0.5 * (1.0 + 5f64.sqrt());
    let scale = radius / golden.hypot(1.0);
    let mut places = vec![0.0; 3];
    for (a, b) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
        for turn in 0..3 {
            let mut vertex = [0.0, a * scale, b * golden * scale];
            vertex.rotate_right(turn);
            places.extend(vertex);
        }
    }
    Tensor::from_slice(&places).view([1, 39])
}

/// A gradient that is right but for a share of 1e-6.
struct Tilted<'a>(&'a dyn Energy);

impl Energy for Tilted<'_> {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.0.energy(x)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        let at = self.0.evaluate(x);
        Evaluation::new(at.x.shallow_clone(), at.u.shallow_clone(), at.grad() * (1.0 + 1e-6))
    }
}

#[test]
fn gradients_are_those_of_autograd() {
    let gap = |a: &Tensor, b: &Tensor| ((a - b).abs() / (b.abs() + 1.0)).max().double_value(&[]);
    let both = |u: &dyn Energy, x: &Tensor| {
        let (closed, auto) = (u.evaluate(x), Evaluation::autograd(u, x));
        (gap(&closed.u, &auto.u), gap(closed.grad(), auto.grad()))
    };
    each(|name, u, x| {
        let (energy, grad) = both(u, &x);
        assert!(energy < 1e-12 && grad < 1e-11, "{name}: {energy} {grad}");
        let (_, grad) = both(&Tilted(u), &x);
        assert!(grad > 1e-8, "{name}: a tilted gradient must be noticed, {grad}");
        // rows in f32 stay in f32
        let single = u.evaluate(&x.to_kind(Kind::Float));
        assert!(single.u.kind() == Kind::Float && single.grad().kind() == Kind::Float, "{name}");
        let exact = u.evaluate(&x.to_kind(Kind::Float).to_kind(Kind::Double));
        assert!(gap(&single.u.to_kind(Kind::Double), &exact.u) < 1e-4, "{name}");
    });
}

#[test]
fn gradients_are_those_of_differences() {
    each(|name, u, x| {
        let (grad, step) = (u.evaluate(&x).grad().copy(), 1e-5);
        for i in 0..x.size()[1] {
            let shift = Tensor::eye(x.size()[1], F64).get(i) * step;
            let slope = (u.energy(&(&x + &shift)) - u.energy(&(&x - &shift))) / (2.0 * step);
            let gap = ((slope - grad.select(1, i)).abs() / (grad.select(1, i).abs() + 1.0)).max().double_value(&[]);
            assert!(gap < 1e-4, "{name}, {i}: {gap}");
        }
    });
}

/// log ∫ e^{−u} over a rectangle by the trapezium rule.
fn log_integral_2d(u: &dyn Energy, [a, b]: [f64; 2], [c, d]: [f64; 2], nodes: [i64; 2]) -> f64 {
    let (x, y) = (Tensor::linspace(a, b, nodes[0], F64), Tensor::linspace(c, d, nodes[1], F64));
    let area = (b - a) / (nodes[0] - 1) as f64 * (d - c) / (nodes[1] - 1) as f64;
    let rows = |x: &Tensor| {
        let xy = Tensor::stack(&[x.expand([nodes[1]], true), y.shallow_clone()], 1);
        (-u.energy(&xy)).logsumexp(0, false).double_value(&[])
    };
    let each: Vec<f64> = (0..nodes[0]).map(|i| rows(&x.get(i))).collect();
    Tensor::from_slice(&each).logsumexp(0, false).double_value(&[]) + area.ln()
}

fn close(name: &str, a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() < tolerance, "{name}: {a}, {b}");
}

#[test]
fn log_z_is_that_of_quadrature() {
    let banana = Banana::new(2, 1.5, 0.4).unwrap();
    close("banana", log_integral_2d(&banana, [-14.0, 14.0], [-12.0, 90.0], [1_001, 3_001]), banana.log_z(), 1e-10);
    let modes = modes_25().unwrap();
    close("25 modes", log_integral_2d(&modes, [-15.0, 15.0], [-15.0, 15.0], [601, 601]), modes.log_z(), 1e-10);
    let modes = modes_40(2).unwrap();
    close("40 modes", log_integral_2d(&modes, [-55.0, 55.0], [-55.0, 55.0], [501, 501]), modes.log_z(), 1e-10);
    let pair = ManyWell::pairs(2).unwrap();
    close("pair", log_integral_2d(&pair, [-4.5, 4.5], [-9.0, 9.0], [801, 201]), pair.log_z(), 1e-12);
    // a funnel's width at x_0 is e^{x_0/2}: integrate x_1 = e^{x_0/2} v instead, whose Jacobian is that width
    struct Straight(Funnel);
    impl Energy for Straight {
        fn energy(&self, x: &Tensor) -> Tensor {
            let (first, v) = (x.narrow(1, 0, 1), x.narrow(1, 1, 1));
            let bent = Tensor::cat(&[&first, &(v * (&first * 0.5).exp())], 1);
            self.0.energy(&bent) - first.select(1, 0) * 0.5
        }
    }
    let funnel = Funnel::new(2).unwrap();
    close("funnel", log_integral_2d(&Straight(funnel), [-30.0, 30.0], [-10.0, 10.0], [301, 201]), 0.0, 1e-12);
    let one = Phi4::new(1, -4.0, 1.5).unwrap();
    let alone = DoubleWell::new([1.5, -4.0, 0.0, 0.0]).unwrap().log_z();
    let nodes = Tensor::linspace(-5.0, 5.0, 2_001, F64);
    let sum = (-one.energy(&nodes.view([-1, 1]))).logsumexp(0, false).double_value(&[]) + (10.0f64 / 2_000.0).ln();
    close("φ⁴ of one site", sum, alone, 1e-12);
}

#[test]
fn published_log_z_of_many_wells_are_met() {
    // Midgley et al. 2023 give 164.69568 for d = 32; the others by Simpson's rule on 40,000 panels
    let pairs = ManyWell::pairs(32).unwrap();
    assert!((pairs.log_z() - 164.695_68).abs() < 1e-4, "{}", pairs.log_z());
    let separated = ManyWell::separated(5, 4.0).unwrap();
    assert!((separated.log_z() - 5.0 * WELL_4).abs() < 1e-11, "{}", separated.log_z());
    let well = DoubleWell::new([1.0, -6.0, -0.5, 0.0]).unwrap();
    assert!((well.log_z() - WELL_PAIR).abs() < 1e-12 && (well.moment(1) - WELL_PAIR_MEAN).abs() < 1e-12);
    assert!((well.moment(2) - WELL_PAIR_SQUARE).abs() < 1e-12, "{}", well.moment(2));
    // narrow and wide
    for c in [[1e6f64, 0.0, 0.0, 3.0], [1e-8, 0.0, 0.0, -2.0]] {
        // ∫ e^{−a x⁴} = 2Γ(5/4) a^{−1/4}
        let exact = 2.0f64.ln() - 0.098_271_836_421_813_1 - 0.25 * c[0].ln() - c[3];
        let found = DoubleWell::new(c).unwrap().log_z();
        assert!((found - exact).abs() < 1e-12, "{c:?}: {found}, {exact}");
    }
}

/// log ∫ exp(−(x² − 4)²) dx, and of exp(−x⁴ + 6x² + x/2): log ∫, mean and mean square.
const WELL_4: f64 = -0.1082111025758907;
const WELL_PAIR: f64 = 9.374541173869193;
const WELL_PAIR_MEAN: f64 = 1.1879609833761462;
const WELL_PAIR_SQUARE: f64 = 2.9598060904889394;

/// A function of draws and its exact mean.
type Claim = (&'static str, Tensor, f64);

/// The farthest z-score of the means of these functions of exact draws against their exact values.
fn farthest(draws: &Tensor, tests: &[Claim]) -> (String, f64) {
    let scores = tests.iter().map(|(name, g, exact)| (name.to_string(), z_of(g, *exact).abs()));
    assert!(draws.isfinite().all().int64_value(&[]) == 1);
    scores.fold((String::new(), 0.0), |worst, score| if score.1 > worst.1 { score } else { worst })
}

#[test]
fn exact_draws_have_the_exact_moments() {
    const N: usize = 200_000;
    let column = |x: &Tensor, i: i64| x.select(1, i);
    let examine = |name: &str, x: &Tensor, tests: &dyn Fn(&Tensor) -> Vec<Claim>| {
        let (which, z) = farthest(x, &tests(x));
        assert!(z < FAR, "{name}: {which} {z}");
        let (_, z) = farthest(x, &tests(&(x * 1.02)));
        assert!(z > FAR, "{name}: draws that are 2 % too wide must be noticed, {z}");
    };
    let funnel = Funnel::new(10).unwrap();
    examine("funnel", &funnel.sample(N, &mut Rng::new(1)), &|x| {
        let scaled = column(x, 9) * (column(x, 0) * -0.5).exp();
        vec![
            ("x_0", column(x, 0), 0.0),
            ("x_0²", column(x, 0).square(), 9.0),
            ("x_9² e^{−x_0}", scaled.square(), 1.0),
            ("x_9⁴ e^{−2x_0}", scaled.square().square(), 3.0),
        ]
    });
    let banana = Banana::new(3, 2.0, 0.3).unwrap();
    examine("banana", &banana.sample(N, &mut Rng::new(2)), &|x| {
        let v = banana.variances();
        let squares = (0..3).map(|i| ("x_i²", column(x, i).square(), v[i as usize]));
        squares.chain([("x_1", column(x, 1), 0.0)]).collect()
    });
    let pairs = ManyWell::pairs(4).unwrap();
    examine("pairs", &pairs.sample(N, &mut Rng::new(3)), &|x| {
        let moment = |p| pairs.well().moment(p);
        vec![
            ("x_0", column(x, 0), moment(1)),
            ("x_2²", column(x, 2).square(), moment(2)),
            ("x_2⁴", column(x, 2).square().square(), moment(4)),
            ("x_1²", column(x, 1).square(), 1.0),
            ("x_0 x_2", column(x, 0) * column(x, 2), moment(1) * moment(1)),
        ]
    });
    let modes = modes_25().unwrap();
    examine("25 modes", &modes.sample(N, &mut Rng::new(4)), &|x| {
        vec![("x_0²", column(x, 0).square(), 50.3), ("x_1²", column(x, 1).square(), 50.3)]
    });
}

#[test]
fn draws_follow_the_energy() {
    // E_ρ e^{−V + U} = Z_V/Z_U for any V that is covered: here V is U of draws that are moved
    const N: usize = 200_000;
    let examine = |name: &str, u: &dyn Base, shift: f64| {
        let x = u.sample(N, &mut Rng::new(6));
        let ratio = (u.energy(&x) - u.energy(&(&x + shift))).clamp_max(50.0).exp();
        let z = z_of(&ratio, 1.0);
        assert!(z.abs() < FAR, "{name}: {z}");
        let wrong = &x * 0.97;
        let ratio = (u.energy(&wrong) - u.energy(&(&wrong + shift))).exp();
        assert!(z_of(&ratio, 1.0).abs() > FAR, "{name}: {}", z_of(&ratio, 1.0));
    };
    examine("pairs", &ManyWell::pairs(2).unwrap(), 0.3);
    examine("wells", &ManyWell::separated(2, 2.0).unwrap(), 0.2);
    examine("banana", &Banana::new(2, 1.0, 0.5).unwrap(), 0.3);
}

#[test]
fn the_free_field_is_the_action_without_coupling() {
    for (side, mass2) in [(1, 0.7), (2, 0.3), (3, 1.0), (6, 0.2)] {
        let action = Phi4::new(side, mass2, 0.0).unwrap();
        let field = action.free_field(mass2).unwrap();
        let x = Rng::new(1).normal(&[20, side * side], Kind::Double, Device::Cpu);
        let gap = (action.energy(&x) - field.energy(&x)).abs().max().double_value(&[]);
        assert!(gap < 1e-10, "{side}: {gap}");
        assert!((action.log_z_exact().unwrap() - field.log_z()).abs() < 1e-10, "{side}");
        let other = action.free_field(1.1 * mass2).unwrap();
        assert!((action.energy(&x) - other.energy(&x)).abs().max().double_value(&[]) > 1e-3);
    }
    assert_eq!(Phi4::new(4, 1.0, 0.1).unwrap().log_z_exact(), None);
}

/// log Z of φ⁴ on 2 × 2 sites by the transfer matrix between its two rows, the field on a grid; and ⟨φ²⟩ of one site.
fn transfer(mass2: f64, coupling: f64) -> f64 {
    let (nodes, edge) = (41, 2.6);
    let line = Tensor::linspace(-edge, edge, nodes, F64);
    let step = 2.0 * edge / (nodes - 1) as f64;
    let local = line.square() * (line.square() * coupling + mass2);
    let apart = (line.unsqueeze(0) - line.unsqueeze(1)).square();
    // with two sites around, each bond counts twice
    let row = (local.unsqueeze(0) + local.unsqueeze(1) + &apart * 2.0).view([-1]);
    let between = apart.reshape([nodes, 1, nodes, 1]) + apart.reshape([1, nodes, 1, nodes]);
    let between = between.view([nodes * nodes, nodes * nodes]) * 2.0;
    (-(row.unsqueeze(0) + row.unsqueeze(1) + between)).exp().sum(Kind::Double).log().double_value(&[]) + 4.0 * step.ln()
}

#[test]
fn a_small_lattice_has_the_log_z_of_its_transfer_matrix_in_both_phases() {
    assert!((transfer(1.5, 0.0) - Phi4::new(2, 1.5, 0.0).unwrap().log_z_exact().unwrap()).abs() < 1e-8);
    for (mass2, coupling) in [(-0.5, 2.0), (-3.0, 1.0)] {
        let exact = transfer(mass2, coupling);
        let target = Phi4::new(2, mass2, coupling).unwrap();
        let path = Geometric { base: target.free_field(0.5).unwrap(), target };
        let run = Transport::new(Reversed::new(Mala::new(0.05)), 120, 10_000, 5).quiet().run(&path).unwrap();
        assert!(run.walkers.ess() > 0.2, "{}", run.walkers.ess());
        let z = z_of(&run.walkers.log_z(), exact);
        assert!(z.abs() < FAR, "{mass2}: {z}, {:?} {exact}", run.walkers.log_z());
        let of_other = z_of(&run.walkers.log_z(), transfer(mass2, 1.1 * coupling));
        assert!(of_other.abs() > FAR, "{of_other}");
        // ordered: the magnetisation stays near one of two values; disordered: around 0
        let m = run.walkers.x().mean_dim(1, false, None::<Kind>);
        let sign = z_of(&run.walkers.mean(&m).unwrap(), 0.0);
        assert!(sign.abs() < FAR, "⟨φ⟩ = 0 by symmetry: {sign}");
        let small = run.walkers.mean(&m.abs().lt(0.3)).unwrap().value;
        assert!(if mass2 < -1.0 { small < 0.1 } else { small > 0.3 }, "{mass2}: {small}");
    }
}

#[test]
fn the_evidence_of_a_logistic_regression_is_that_of_quadrature() {
    let target = logistic();
    let exact = log_integral_2d(&target, [-12.0, 14.0], [-12.0, 12.0], [521, 481]);
    let laplace = target.laplace().unwrap();
    let path = Geometric { base: laplace, target };
    let run = Transport::new(Reversed::new(Mala::new(0.1)), 10, 10_000, 2).quiet().run(&path).unwrap();
    let z = z_of(&run.walkers.log_z(), exact);
    assert!(z.abs() < FAR && run.walkers.ess() > 0.5, "{z} {}", run.walkers.ess());
    // without the prior's normaliser
    let wrong = z_of(&run.walkers.log_z(), exact + (2.0 * std::f64::consts::PI * 1.7f64.powi(2)).ln());
    assert!(wrong.abs() > FAR, "{wrong}");
    let mode = path.base.sample(1, &mut Rng::new(0)).zeros_like();
    let mean = {
        use jarzynski::density::Whiten;
        path.base.whitening().mean().view([1, 2])
    };
    let slope = |at: &Tensor| path.target.evaluate(at).grad().abs().max().double_value(&[]);
    assert!(slope(&mean) < 1e-9 && slope(&mode) > 1e-2, "{} {}", slope(&mean), slope(&mode));
    assert!((path.target.prior().unwrap().dim(), path.target.dim()) == (2, 2));
}

#[test]
fn a_cox_process_has_the_log_z_of_its_pixels_where_they_are_independent() {
    // a range at which e^{−1/(Mβ)} is 0
    let (target, counts) = cox(1e-4);
    let pixel = |y: f64, area: f64| {
        let log = |x: f64| y * x - area * x.exp() - (x - 2.0).powi(2) / 3.0 - 0.5 * (3.0 * std::f64::consts::PI).ln();
        jarzynski::numeric::fit::simpson(|x| log(x).exp(), -12.0, 14.0, 8_000).ln()
    };
    let exact = |area: f64| counts.iter().map(|y| pixel(*y, area)).sum::<f64>();
    let path = Geometric { base: target.prior().unwrap(), target };
    let kernel = Whitened::new(Reversed::new(Hmc::new(0.5, 3)));
    let run = Transport::new(kernel, 30, 10_000, 3).quiet().run(&path).unwrap();
    let z = z_of(&run.walkers.log_z(), exact(1.0 / 9.0));
    assert!(z.abs() < FAR && run.walkers.ess() > 0.2, "{z} {}", run.walkers.ess());
    let other = z_of(&run.walkers.log_z(), exact(1.0 / 8.0));
    assert!(other.abs() > FAR, "the pixel's area is part of log Z: {other}");
    // correlations are those of the formula: E (x_0 − μ)(x_5 − μ), pixels (0, 0) and (1, 2) of a 3 × 3 grid
    let field = CoxField { mean: 2.0, variance: 1.5, range: 0.5 };
    let x = field.on_grid(3).unwrap().sample(200_000, &mut Rng::new(1)) - 2.0;
    let covariance = 1.5 * (-(5f64.sqrt()) / 1.5).exp();
    assert!(z_of(&(x.select(1, 0) * x.select(1, 5)), covariance).abs() < FAR);
    assert!(
        z_of(&(x.select(1, 0) * x.select(1, 5)), 1.5 * (-3.0 / 1.5f64).exp()).abs() > FAR,
        "not by the sum of steps"
    );
    // counts have the mean of a log-normal rate
    let mut rng = Rng::new(2);
    let drawn: Vec<f64> = (0..4_000)
        .map(|_| CoxProcess::simulate(CoxField { range: 1e-4, ..field }, 2, 0.2, &mut rng).unwrap().mean(Kind::Double))
        .map(|mean| mean.double_value(&[]))
        .collect();
    assert!(z_of(&drawn, 0.2 * (2.0f64 + 0.75).exp()).abs() < FAR, "{:?}", z_of(&drawn, 0.2 * (2.0f64 + 0.75).exp()));
}

#[test]
fn clusters_of_particles_have_the_log_z_of_centred_configurations() {
    // two particles on a line: the centre of mass has mass 1, and x_1 − x_2 = r has the volume dr/√2
    let well = |r: f64| 0.9 * (r - 4.0).powi(4) - 4.0 * (r - 4.0).powi(2);
    let lennard = |r: f64| 1.5 * (r.powi(-12) - 2.0 * r.powi(-6)) + 0.25 * 0.7 * r * r;
    let double_well = PairPotential::DoubleWell { quartic: 0.9, quadratic: -4.0, distance: 4.0 };
    let line = |pair, trap| Particles::new((2, 1), pair, trap).unwrap();
    let integral = |v: &dyn Fn(f64) -> f64| {
        (2f64.sqrt() * jarzynski::numeric::fit::simpson(|r| (-v(r)).exp(), 0.05, 16.0, 40_000)).ln()
    };
    let wells = line(double_well, 0.0);
    close("wells", log_integral_2d(&wells, [-12.0, 12.0], [-12.0, 12.0], [2_001, 2_001]), integral(&well), 1e-9);
    let pair = line(PairPotential::LennardJones { depth: 1.5, distance: 1.0 }, 0.7);
    close("pair", log_integral_2d(&pair, [-12.0, 12.0], [-12.0, 12.0], [4_001, 4_001]), integral(&lennard), 1e-6);
    // neither translations of shapes nor rotations nor permutations change them
    let cluster = Particles::lennard_jones(13, 1.0).unwrap();
    let x = icosahedron(0.97) + Rng::new(3).normal(&[5, 39], Kind::Double, Device::Cpu) * 0.05;
    let gap = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
    let u = cluster.energy(&x);
    let places = x.view([-1, 13, 3]);
    let order = Tensor::from_slice(&Rng::new(8).permutation(13));
    assert!(gap(&u, &cluster.energy(&places.index_select(1, &order).reshape([-1, 39]))) < 1e-10);
    let turn = Tensor::from_slice(&[0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6]).view([3, 3]);
    assert!(gap(&u, &cluster.energy(&places.matmul(&turn).reshape([-1, 39]))) < 1e-10);
    let centre = |x: &Tensor| {
        x.view([-1, 13, 3]).mean_dim(1, false, Kind::Double).square().sum_dim_intlist(-1, false, Kind::Double)
    };
    let shifted = &x + 0.3;
    let by_centre = (centre(&shifted) - centre(&x)) * 6.5;
    assert!(gap(&(cluster.energy(&shifted) - &u), &by_centre) < 1e-10);
    assert!(gap(&cluster.energy(&shifted), &u) > 0.1, "the centre of mass has a density");
    // the least energy of 13 Lennard-Jones particles, −44.326801 ε (Wales & Doye 1997), on the icosahedron
    let bare = Particles::new((13, 3), PairPotential::LennardJones { depth: 1.0, distance: 1.0 }, 1e-14).unwrap();
    let least = (0..4_000).map(|i| bare.energy(&icosahedron(0.9 + 5e-5 * f64::from(i))).double_value(&[0]));
    let least = least.fold(f64::INFINITY, f64::min) - 1.5 * (2.0 * std::f64::consts::PI).ln();
    assert!((least + 44.326_801).abs() < 1e-5, "{least}");
}

#[test]
fn the_bridge_has_the_likelihood_of_the_filter_and_the_evidence_of_quadrature() {
    /// Two steps at given scales.
    struct Given<'a>(&'a BrownianBridge, [f64; 2]);
    impl Energy for Given<'_> {
        fn energy(&self, x: &Tensor) -> Tensor {
            let raw = Tensor::from_slice(&self.1).unsqueeze(0).expand([x.size()[0], 2], false);
            self.0.energy(&Tensor::cat(&[raw, x.shallow_clone()], 1))
        }
    }
    let raw = [0.3f64, -0.4];
    let log_prior = |u: f64| {
        let log = u.exp().ln_1p().ln();
        let jacobian = -(-u).exp().ln_1p();
        -log - log * log / 8.0 - 0.5 * (2.0 * std::f64::consts::PI).ln() - 2f64.ln() + jacobian
    };
    for seen in [[0.4, -0.7], [f64::NAN, 0.9], [1.1, f64::NAN]] {
        let bridge = BrownianBridge::new(&seen).unwrap();
        let [a, b] = raw.map(|u| u.exp().ln_1p());
        let exact = bridge.log_likelihood(a, b) + log_prior(raw[0]) + log_prior(raw[1]);
        let found = log_integral_2d(&Given(&bridge, raw), [-12.0, 12.0], [-16.0, 16.0], [601, 801]);
        close("bridge", found, exact, 1e-10);
        assert!((found - exact + bridge.log_likelihood(1.1 * a, b) - bridge.log_likelihood(a, b)).abs() > 1e-4);
    }
    let evidence = BrownianBridge::published().log_evidence();
    assert!((evidence - 1.187_749_10).abs() < 1e-7, "{evidence}");
}

#[test]
fn bad_targets_are_refused_by_name() {
    let (x, y) = design();
    let said = |e: jarzynski::Error| e.to_string();
    let field = CoxField::of_points(9.0);
    for (e, wanted) in [
        (said(Funnel::new(1).unwrap_err()), "d = 1"),
        (said(Banana::new(1, 1.0, 1.0).unwrap_err()), "d = 1"),
        (said(Banana::new(2, 0.0, 1.0).unwrap_err()), "sigma = 0"),
        (said(Banana::new(2, 1.0, f64::NAN).unwrap_err()), "bend = NaN"),
        (said(ManyWell::pairs(5).unwrap_err()), "d = 5"),
        (said(ManyWell::pairs(0).unwrap_err()), "d = 0"),
        (said(ManyWell::separated(0, 4.0).unwrap_err()), "wells = 0"),
        (said(ManyWell::separated(2, -1.0).unwrap_err()), "delta = -1"),
        (said(ManyWell::separated(2, 4.0).unwrap().with_normals(-1).unwrap_err()), "normals = -1"),
        (said(DoubleWell::new([0.0, 1.0, 0.0, 0.0]).unwrap_err()), "quartic = 0"),
        (said(DoubleWell::new([1.0, -1e200, 0.0, 0.0]).unwrap_err()), "double well"),
        (said(Phi4::new(0, 1.0, 1.0).unwrap_err()), "side = 0"),
        (said(Phi4::new(65, 1.0, 1.0).unwrap_err()), "side = 65"),
        (said(Phi4::new(2, 1.0, -1.0).unwrap_err()), "coupling = -1"),
        (said(Phi4::new(2, 0.0, 0.0).unwrap_err()), "mass2 = 0"),
        (said(Phi4::new(2, 1.0, 1.0).unwrap().free_field(0.0).unwrap_err()), "mass2 = 0"),
        (said(modes_40(0).unwrap_err()), "d = 0"),
        (said(CoxProcess::new(&x, CoxField::of_points(9.0), 1.0).unwrap_err()), "counts has shape [30, 2]"),
        (said(CoxProcess::new(&(x.narrow(0, 0, 2) * 0.0 + 0.5), field, 1.0).unwrap_err()), "counts = 0.5 in pixel 0"),
        (said(CoxProcess::new(&(x.narrow(0, 0, 2) * 0.0), field, 0.0).unwrap_err()), "area = 0"),
        (said(CoxField { range: 0.0, ..field }.on_grid(2).unwrap_err()), "range = 0"),
        (said(field.on_grid(65).unwrap_err()), "side = 65"),
        (said(Particles::lennard_jones(1, 1.0).unwrap_err()), "count = 1"),
        (said(Particles::lennard_jones(257, 1.0).unwrap_err()), "count = 257"),
        (said(Particles::lennard_jones(3, 0.0).unwrap_err()), "depth = 0"),
        (
            said(Particles::new((3, 0), PairPotential::LennardJones { depth: 1.0, distance: 1.0 }, 1.0).unwrap_err()),
            "dimensions = 0",
        ),
        (
            said(Particles::new((3, 3), PairPotential::LennardJones { depth: 1.0, distance: 1.0 }, 0.0).unwrap_err()),
            "trap = 0",
        ),
        (said(BrownianBridge::new(&[f64::NAN]).unwrap_err()), "observations = [NaN]"),
        (said(BrownianBridge::new(&[f64::INFINITY]).unwrap_err()), "observations = inf"),
        (said(Logistic::new(&x, &y, 0.0).unwrap_err()), "sigma = 0"),
        (said(Logistic::new(&(&x * f64::NAN), &y, 1.0).unwrap_err()), "x is not finite in row 0"),
        (said(Logistic::new(&x, &y.narrow(0, 0, 7), 1.0).unwrap_err()), "y has shape [7]"),
        (said(Logistic::new(&x, &(&y + 1), 1.0).unwrap_err()), "y = 2 in row"),
        (said(Logistic::new(&x.view([-1]), &y, 1.0).unwrap_err()), "x has shape [60]"),
    ] {
        assert!(e.contains(wanted), "{wanted}: {e}");
    }
}

#[test]
fn four_particles_in_double_wells_have_the_log_z_of_the_reference() {
    let pilot = jarzynski::transport::Pilot::new(100, 3).share(0.5).acceptance(0.7);
    let run = |target: Particles| {
        let path = Geometric { base: jarzynski::model::Gaussian::new(&[0.0; 8], &[3.0; 8]).unwrap(), target };
        let found = pilot.run(Reversed::new(Hmc::new(0.3, 4)), &path).unwrap().in_steps(150).unwrap();
        let z = found.transport(1_000, 4).ess_min(0.5).quiet().run(&path).unwrap().walkers.log_z();
        // the reference has an error of its own
        z_of(&(z.value, z.se.hypot(0.007)), 29.673)
    };
    let z = run(Particles::double_wells().unwrap());
    assert!(z.abs() < FAR, "{z}");
    // each pair counted twice
    let twice = PairPotential::DoubleWell { quartic: 1.8, quadratic: -8.0, distance: 4.0 };
    let z = run(Particles::new((4, 2), twice, 0.0).unwrap());
    assert!(z.abs() > FAR, "{z}");
}
