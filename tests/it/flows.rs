//! Check paths and the schemes that follow them: closed forms, eq. (22), exact cases, and twins that must fail.

use crate::common;

use common::{FAR, worst, z_of};
use jarzynski::kernel::{Arrival, Escorted, FlowKernel, Kernel, Langevin, Map, Move, Ode, Split, zeta};
use jarzynski::model::{Coupling, Gaussian, GaussianPath, Interpolant, Interpolation};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{At, Base, Evaluation, Flow, Noise, Outcome, Path, Rng, Run, Transport, Ula, transport};

fn max(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

fn mixture(d: usize, along: Interpolation) -> Interpolant {
    let at = |a: f64| (0..d).map(|i| a * (1.0 - 0.4 * i as f64)).collect::<Vec<_>>();
    Interpolant::new(&[at(-1.2), at(0.9), at(0.1)], &[0.3, 0.5, 0.2], &[0.5, 0.8, 1.1]).unwrap().along(along).unwrap()
}

/// The 2-D example of the text: E x₀² = 4.418 exactly.
fn example() -> Interpolant {
    Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap()
}

const ALL: [Interpolation; 4] = [
    Interpolation::Linear,
    Interpolation::Trigonometric,
    Interpolation::Preserving,
    Interpolation::Diffusion { beta_min: 0.1, beta_max: 8.0 },
];

/// Holds a path's U, ∇U, b, J_b and ∂_tU to differences and to the transport equation.
fn holds<P: Flow>(name: &str, path: &P, d: i64) {
    let x = Rng::new(1).normal(&[40, d], Kind::Double, jarzynski::tch::Device::Cpu) * 1.5;
    let trace = |j: &Tensor| j.diagonal(0, 1, 2).sum_dim_intlist(-1, false, Kind::Double);
    for t in [0.0, 0.2, 0.55, 0.9, 1.0] {
        let at = path.arrive(t, &x);
        let (b, j) = path.linearise(t, &x);
        let drift = at.drift().unwrap();
        assert!(max(&(&b - drift)) < 1e-12 && max(&(path.velocity(t, &x) - drift)) < 1e-12, "{name}, t = {t}: b");
        assert!(max(&(&at.u - path.energy(t, &x))) < 1e-12, "{name}, t = {t}: U");
        let auto = Evaluation::autograd(&At::new(path, t), &x);
        assert!(max(&(auto.grad() - at.grad())) < 1e-11, "{name}, t = {t}: ∇U");
        for i in 0..d {
            let shift = Tensor::zeros_like(&x);
            let _ = shift.select(1, i).fill_(1e-5);
            let (up, down) = (path.velocity(t, &(&x + &shift)), path.velocity(t, &(&x - &shift)));
            assert!(max(&((up - down) / 2e-5 - j.select(2, i))) < 1e-6, "{name}, t = {t}: J_b column {i}");
        }
        // A product with tangents is the product with the Jacobian.
        let v = Rng::new(2).normal(&[40, d, 3], Kind::Double, jarzynski::tch::Device::Cpu);
        assert!(max(&(path.push(t, &x, &v).1 - j.matmul(&v))) < 1e-11, "{name}, t = {t}: J_b v");
        if t > 0.0 && t < 1.0 {
            let slope = (path.energy(t + 1e-5, &x) - path.energy(t - 1e-5, &x)) / 2e-5;
            assert!(max(&(slope - path.rate(t, &x))) < 1e-6, "{name}, t = {t}: ∂_tU");
        }
        // ∂_t log ρ + ∇·b + b·s = 0, with log ρ = −U because all these U are normalised.
        let flux = (drift * at.grad()).sum_dim_intlist(-1, false, Kind::Double);
        assert!(max(&(trace(&j) - flux - path.rate(t, &x))) < 1e-6, "{name}, t = {t}: ∂_tρ + ∇·(bρ) ≠ 0");
    }
}

#[test]
fn closed_forms_solve_the_transport_equation() {
    for along in ALL {
        for d in [1, 2, 5] {
            holds(&format!("mixture, {along:?}, d = {d}"), &mixture(d, along), d as i64);
        }
    }
    let ends = || ((&[0.0, 0.3][..], &[1.0, 0.7][..]), (&[1.0, -2.0][..], &[0.4, 1.5][..]));
    for coupling in [Coupling::Straight, Coupling::Independent(Interpolation::Trigonometric)] {
        let (from, to) = ends();
        // ȧ of the trigonometric coupling is not finite at its very end only where m_0 ≠ 0 divides by a = 0
        let path = GaussianPath::new(from, to, coupling).unwrap();
        if coupling == Coupling::Straight {
            holds("straight", &path, 2);
        }
    }
    for along in ALL {
        let path =
            GaussianPath::new((&[0.0, 0.0], &[1.0, 0.7]), (&[1.0, -2.0], &[0.4, 1.5]), Coupling::Independent(along));
        holds(&format!("Gaussian, {along:?}"), &path.unwrap(), 2);
    }
}

#[test]
fn a_gaussian_path_in_another_kind_is_the_same_path() {
    let (wide, x) = (
        gaussian_path(Coupling::Independent(Interpolation::Linear)),
        Rng::new(1).normal(&[50, 2], Kind::Double, Device::Cpu),
    );
    let narrow = gaussian_path(Coupling::Independent(Interpolation::Linear)).on(Kind::Float, Device::Cpu).unwrap();
    assert_eq!(narrow.base().sample(5, &mut Rng::new(2)).kind(), Kind::Float);
    let (at, same) = (wide.evaluate(0.4, &x), narrow.evaluate(0.4, &x.to_kind(Kind::Float)));
    let near = |a: &Tensor, b: &Tensor| b.kind() == Kind::Float && (a - b).abs().max().double_value(&[]) < 1e-4;
    assert!(near(&at.u, &same.u) && near(at.grad(), same.grad()));
    assert!(near(&wide.velocity(0.4, &x), &narrow.velocity(0.4, &x.to_kind(Kind::Float))));
}

#[test]
fn every_law_on_the_way_is_normalised() {
    let x = Tensor::linspace(-12.0, 12.0, 4001, (Kind::Double, jarzynski::tch::Device::Cpu)).unsqueeze(-1);
    for along in ALL {
        let path = mixture(1, along);
        for t in [0.0, 0.3, 1.0] {
            let total = (-path.energy(t, &x)).exp().sum(Kind::Double).double_value(&[]) * 24.0 / 4000.0;
            assert!((total - 1.0).abs() < 1e-10, "{along:?}, t = {t}: {total}");
        }
    }
}

#[test]
fn rows_and_tensors_agree() {
    for kind in [Kind::Float, Kind::Double] {
        let path = mixture(5, Interpolation::Trigonometric).on(kind, jarzynski::tch::Device::Cpu).unwrap();
        let x = Rng::new(3).normal(&[1300, 5], kind, jarzynski::tch::Device::Cpu);
        // A transposed copy of the same numbers is not contiguous and takes the tensor path.
        let strided = x.tr().contiguous().tr();
        let (a, b) = (path.arrive(0.6, &x), path.arrive(0.6, &strided));
        let ((_, j), (_, k)) = (path.linearise(0.6, &x), path.linearise(0.6, &strided));
        let tolerance = if kind == Kind::Float { 2e-4 } else { 1e-11 };
        let gaps = [&a.u - &b.u, a.grad() - b.grad(), a.drift().unwrap() - b.drift().unwrap(), j - k];
        assert!(gaps.iter().all(|g| max(g) < tolerance), "{kind:?}: {:?}", gaps.map(|g| max(&g)));
    }
}

/// The Jacobian by d vector products, for comparison with closed forms.
struct ByProducts(Interpolant);

impl jarzynski::Differentiable for ByProducts {}

impl Path for ByProducts {
    fn base(&self) -> &dyn Base {
        self.0.base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.0.energy(t, x)
    }
}

impl Flow for ByProducts {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        self.0.velocity(t, x)
    }
}

#[test]
fn defaults_by_autograd_agree_with_closed_forms() {
    let (closed, auto) = (mixture(3, Interpolation::Linear), ByProducts(mixture(3, Interpolation::Linear)));
    let x = Rng::new(5).normal(&[50, 3], Kind::Double, jarzynski::tch::Device::Cpu);
    let ((_, j), (_, k)) = (closed.linearise(0.4, &x), auto.linearise(0.4, &x));
    assert!(max(&(j - k)) < 1e-11);
    assert!(max(&(closed.rate(0.4, &x) - auto.rate(0.4, &x))) < 1e-6);
    let (a, b) = (closed.arrive(0.4, &x), auto.arrive(0.4, &x));
    assert!(max(&(a.grad() - b.grad())) < 1e-11 && max(&(a.drift().unwrap() - b.drift().unwrap())) < 1e-12);
}

// ---- eq. (22)

#[test]
fn zeta_is_the_log_ratio_of_the_two_densities() {
    let path = mixture(3, Interpolation::Linear);
    for (h, eps) in [(0.1, 0.5), (0.02, 2.0), (0.25, 0.05)] {
        let (now, next) = At::step(&path, 0.3, 0.3 + h);
        let mut rng = Rng::new(7);
        let x = path.arrive(now.t, &rng.normal(&[200, 3], Kind::Double, jarzynski::tch::Device::Cpu));
        let mv = Escorted::new(eps).forward(&now, &x, &mut rng);
        let (alpha, y) = (mv.alpha.shallow_clone(), path.arrive(next.t, &mv.y));
        let kernel = alpha - Escorted::new(eps).backward(&next, &x, mv, &mut rng).lambda;
        // Prop. 1 with (27) and (28), normaliser (4πhε)^{−d/2}, written out.
        let log_normal = |to: &Tensor, mean: &Tensor| {
            let square = (to - mean).square().sum_dim_intlist(-1, false, Kind::Double);
            square / (-4.0 * h * eps) - 1.5 * (4.0 * std::f64::consts::PI * h * eps).ln()
        };
        let forward = log_normal(&y.x, &(&x.x + (x.drift().unwrap() - x.grad() * eps) * h));
        let backward = log_normal(&x.x, &(&y.x + (-y.drift().unwrap() - y.grad() * eps) * h));
        let direct = &x.u - &y.u + backward - &forward;
        let scale = 1.0 + max(&direct);
        let printed = zeta(&x, &y, h, eps).unwrap();
        assert!(max(&(&printed - &direct)) < 1e-12 * scale / (h * eps).min(1.0), "h = {h}, ε = {eps}");
        assert!(max(&(&kernel - &direct)) < 1e-12 * scale / (h * eps).min(1.0), "h = {h}, ε = {eps}");
        // The twin: the printed text's sign, +b in the backward density.
        let wrong = &x.u - &y.u + log_normal(&x.x, &(&y.x + (y.drift().unwrap() - y.grad() * eps) * h)) - forward;
        assert!(max(&(printed - wrong)) > 0.1);
    }
    let bare = path.evaluate(0.3, &Tensor::zeros([2, 3], (Kind::Double, jarzynski::tch::Device::Cpu)));
    let without = Evaluation::new(bare.x.copy(), bare.u.copy(), bare.grad().copy());
    assert!(zeta(&without, &bare, 0.1, 0.5).unwrap_err().to_string().contains("drift"));
}

/// A path at rest: b = 0.
struct Still(Gaussian);

impl jarzynski::Differentiable for Still {}

impl Path for Still {
    fn base(&self) -> &dyn Base {
        &self.0
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        ((x - t) * (1.0 + t)).square().sum_dim_intlist(-1, false, Kind::Double) * 0.5
    }
}

impl Flow for Still {
    fn velocity(&self, _t: f64, x: &Tensor) -> Tensor {
        x.zeros_like()
    }
}

#[test]
fn without_velocity_and_at_unit_noise_it_is_lemma_1() {
    let path = Still(Gaussian::new(&[0.0, 0.0], &[1.0, 1.0]).unwrap());
    let escorted = transport(Escorted::new(1.0), &path, 10, 300, 4).unwrap();
    let ula = transport(Ula::new(0.1), &path, 10, 300, 4).unwrap();
    assert!(max(&(escorted.walkers.x() - ula.walkers.x())) < 1e-12);
    assert!(max(&(escorted.walkers.log_weights() - ula.walkers.log_weights())) < 1e-12);
}

// ---- exact cases

fn gaussian_path(coupling: Coupling) -> GaussianPath {
    GaussianPath::new((&[0.0, 0.0], &[1.0, 0.7]), (&[1.0, -2.0], &[0.4, 1.5]), coupling).unwrap()
}

/// Largest distance of a log-weight from their mean: U_base and U_0 differ by a constant, which log Z_0 makes up for.
fn spread(run: &Run) -> f64 {
    let a = run.walkers.log_weights();
    max(&(a - a.mean(Kind::Double)))
}

#[test]
fn a_straight_path_with_its_exact_map_and_mala_has_zero_weights() {
    let straight = gaussian_path(Coupling::Straight);
    for steps in [1, 3, 10] {
        for kernel in ["euler-mala", "ode-euler"] {
            let run = transport(FlowKernel::named(kernel, 0.3).unwrap(), &straight, steps, 500, 1).unwrap();
            assert!(run.finished() && spread(&run) < 1e-12, "{kernel}, K = {steps}");
            assert!(run.walkers.log_z().value.abs() < 1e-12);
        }
    }
    // Twins: a path whose points turn, and noise that meets J_b, have weights.
    let bent = gaussian_path(Coupling::Independent(Interpolation::Linear));
    let run = transport(FlowKernel::named("euler-mala", 0.3).unwrap(), &bent, 10, 500, 1).unwrap();
    assert!(spread(&run) > 0.01);
    let run = transport(Escorted::new(0.3), &straight, 10, 500, 1).unwrap();
    assert!(spread(&run) > 0.1);
}

// ---- unbiased whatever b, s, h and ε

/// z-scores of log Z = 0, E x₀, E x₀² and P(x₀ < 0) of the example.
fn z_example(run: &Run) -> [f64; 4] {
    assert!(run.finished(), "{:?}", run.outcome);
    let (w, x) = (&run.walkers, run.walkers.x().select(1, 0));
    // .3 Φ(4) + .7 Φ(−2/.7)
    let normal = |z: f64| 0.5 * Tensor::from(z / 2f64.sqrt()).erf().double_value(&[]) + 0.5;
    let left = 0.3 * normal(4.0) + 0.7 * normal(-2.0 / 0.7);
    let z = |g: &Tensor, exact: f64| z_of(&w.mean(g).unwrap(), exact);
    [z_of(&w.log_z(), 0.0), z(&x, 0.8), z(&x.square(), 4.418), z(&x.lt(0.0).to_kind(Kind::Double), left)]
}

/// The example with b and s that are wrong by a factor each.
struct Bent {
    inner: Interpolant,
    b: f64,
    s: f64,
}

impl jarzynski::Differentiable for Bent {}

impl Path for Bent {
    fn base(&self) -> &dyn Base {
        self.inner.base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.inner.energy(t, x)
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let p = self.inner.evaluate(t, x);
        Evaluation::new(x.shallow_clone(), p.u.copy(), p.grad() * self.s)
    }
}

impl Flow for Bent {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        self.inner.velocity(t, x) * self.b
    }
}

#[test]
fn every_scheme_meets_the_exact_answers_with_few_steps_and_wrong_fields() {
    for name in FlowKernel::NAMES {
        let kernel = FlowKernel::named(name, 0.5).unwrap();
        let run = transport(kernel.clone(), &example(), 16, 20_000, 3).unwrap();
        assert!(run.walkers.ess() > 0.1, "{name}: ESS/N = {}", run.walkers.ess());
        assert!(worst(&z_example(&run)) < FAR, "{name}: {:?}", z_example(&run));
        if name.starts_with("ode") {
            continue; // no noise: a wrong b leaves the mass where nobody goes, and no error bar can tell
        }
        let bent = Bent { inner: example(), b: 0.9, s: 0.8 };
        let run = transport(kernel, &bent, 16, 20_000, 3).unwrap();
        assert!(run.walkers.ess() > 0.02, "{name}: ESS/N = {}", run.walkers.ess());
        assert!(worst(&z_example(&run)) < FAR, "{name}, b and s wrong: {:?}", z_example(&run));
    }
    // The twin: the same walkers without their weights.
    let run = Transport::new(Escorted::new(0.5), 16, 20_000, 3).run(&example()).unwrap();
    let plain = run.walkers.x().select(1, 0).square();
    assert!(z_of(&plain, 4.418).abs() > FAR);
}

#[test]
fn steps_and_noise_may_vary_as_long_as_both_densities_agree() {
    let times: Vec<f64> = (0..=12).map(|k| (k as f64 / 12.0).powf(1.5)).collect();
    let eps = Noise::Knots(vec![[0.0, 2.0], [0.5, 0.3], [1.0, 1.0]]);
    for name in ["escorted", "matched", "euler-ula", "rk4-mala"] {
        let kernel = FlowKernel::named(name, eps.clone()).unwrap();
        let run = Transport::new(kernel, 0, 20_000, 5).times(&times).run(&example()).unwrap();
        assert_eq!(run.stats.height(), 13);
        assert!(worst(&z_example(&run)) < FAR, "{name}: {:?}", z_example(&run));
    }
    let run = Transport::new(Unshared(eps), 0, 20_000, 5).times(&times).run(&example()).unwrap();
    assert!(worst(&z_example(&run)) > FAR, "ε_k forward and ε_{{k+1}} backward lack (d/2) log ε_{{k+1}}/ε_k");
}

/// Escorted with ε(t_k) in the forward and ε(t_{k+1}) in the backward density, and no ratio of normalisers.
#[derive(Debug)]
struct Unshared(Noise);

impl<P: Flow> Kernel<At<'_, P>> for Unshared {
    fn forward(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Move {
        Escorted::new(self.0.at(u.t)).forward(u, at, rng)
    }
    fn backward(&self, u: &At<P>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        Escorted::new(self.0.at(u.t)).backward(u, at, mv, rng)
    }
}

/// h∇·b where the log-determinant of the Euler map belongs.
#[derive(Debug)]
struct Divergence(Split);

impl<P: Flow> Kernel<At<'_, P>> for Divergence {
    fn forward(&self, u: &At<P>, at: &Evaluation, rng: &mut Rng) -> Move {
        let mut mv = self.0.forward(u, at, rng);
        let (_, j) = u.path.linearise(u.t, &at.x);
        mv.alpha = &at.u + j.diagonal(0, 1, 2).sum_dim_intlist(-1, false, Kind::Double) * u.h;
        mv
    }
    fn backward(&self, u: &At<P>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        self.0.backward(u, at, mv, rng)
    }
}

#[test]
fn a_divergence_in_place_of_the_determinant_is_rejected() {
    let split = Split::new(Map::Euler, Langevin::Mala, 0.5);
    let right = transport(split.clone(), &example(), 16, 20_000, 3).unwrap();
    assert!(worst(&z_example(&right)) < FAR);
    let wrong = transport(Divergence(split), &example(), 16, 20_000, 3).unwrap();
    assert!(worst(&z_example(&wrong)) > FAR, "{:?}", z_example(&wrong));
}

#[test]
fn resampling_permutes_the_velocity_too() {
    let moments: Vec<[f64; 4]> = (0..20)
        .map(|seed| {
            let run = Transport::new(Escorted::new(0.5), 16, 2_000, 100 + seed).ess_min(1.0).run(&example()).unwrap();
            assert_eq!(run.walkers.resamplings(), 16);
            let x = run.walkers.x().select(1, 0);
            let mean = |g: &Tensor| g.mean(Kind::Double).double_value(&[]);
            [mean(&x) - 0.8, mean(&x.square()) - 4.418, run.walkers.log_z().value.exp() - 1.0, 0.0]
        })
        .collect();
    for q in 0..3 {
        let v: Vec<f64> = moments.iter().map(|m| m[q]).collect();
        assert!(z_of(&v, 0.0).abs() < FAR, "quantity {q}: z = {}", z_of(&v, 0.0));
    }
    let at = example().arrive(0.5, &Tensor::from_slice(&[0.0, 1.0, 2.0, 3.0]).view([2, 2]));
    let swapped = at.select(&Tensor::from_slice(&[1i64, 0]));
    assert_eq!(swapped.drift().unwrap().get(0), at.drift().unwrap().get(1));
}

// ---- diffusion

#[test]
fn a_diffusion_is_an_interpolant_and_its_truncated_start_is_corrected() {
    let along = Interpolation::Diffusion { beta_min: 0.1, beta_max: 3.0 };
    let path = example().along(along).unwrap();
    let eps = along.backward_noise().unwrap();
    let x = Rng::new(2).normal(&[30, 2], Kind::Double, jarzynski::tch::Device::Cpu);
    for t in [0.0, 0.4, 1.0] {
        // guide (50)-(51): f = −½βx, g² = β; the probability-flow velocity in generation time is −f + ½g²s.
        let beta = 0.1 + (1.0 - t) * 2.9;
        let at = path.arrive(t, &x);
        assert!((eps.at(t) - 0.5 * beta).abs() < 1e-14);
        assert!(max(&(at.drift().unwrap() - (&x * (0.5 * beta) - at.grad() * (0.5 * beta)))) < 1e-12);
    }
    // Forward noising from the data: m = exp(−½∫β) of the mean is left, the variance is mixed with 1.
    let at = along.at(0.3);
    let integral = 0.7 * 0.1 + 0.5 * 0.49 * 2.9;
    assert!((at.c - (-0.5f64 * integral).exp()).abs() < 1e-14 && (at.a2 + at.c * at.c - 1.0).abs() < 1e-14);

    for kernel in [FlowKernel::named("escorted", eps).unwrap(), FlowKernel::Ode(Ode::new(Map::Rk4))] {
        let run = transport(kernel, &path, 60, 20_000, 3).unwrap();
        assert!(run.walkers.ess() > 0.05 && worst(&z_example(&run)) < FAR, "{:?}", z_example(&run));
    }
    // The twin: walkers drawn from N(0, I) as if it were ρ_0.
    let mut rng = Rng::new(3);
    let mut walkers = jarzynski::Walkers::new(path.arrive(0.0, &path.base().sample(20_000, &mut rng)), 0.0);
    for k in 0..60 {
        let (now, next) = At::step(&path, k as f64 / 60.0, (k + 1) as f64 / 60.0);
        let step = Ode::new(Map::Rk4);
        let mv = step.forward(&now, walkers.evaluation(), &mut rng);
        let alpha = mv.alpha.shallow_clone();
        let arrival = step.backward(&next, walkers.evaluation(), mv, &mut rng);
        walkers.commit(arrival.evaluation, &alpha, &arrival.lambda);
    }
    let mean = walkers.mean(&walkers.x().select(1, 0)).unwrap();
    assert!(z_of(&mean, 0.8).abs() > FAR, "a start that is not ρ_0 must show: {mean}");
}

// ---- what is refused

fn refusal<T: std::fmt::Debug>(r: jarzynski::Result<T>, words: &[&str]) {
    let text = r.unwrap_err().to_string();
    assert!(words.iter().all(|w| text.contains(w)), "{text}");
}

#[test]
fn bad_input_is_named() {
    for eps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for name in &FlowKernel::NAMES[..8] {
            refusal(transport(FlowKernel::named(name, eps).unwrap(), &example(), 4, 10, 0), &["eps = ", "positive"]);
        }
    }
    refusal(transport(Escorted::new(Noise::Knots(vec![])), &example(), 4, 10, 0), &["eps", "knot"]);
    refusal(transport(Escorted::new(Noise::Knots(vec![[0.5, 1.0], [0.5, 2.0]])), &example(), 4, 10, 0), &["rising"]);
    refusal(transport(Escorted::new(0.5), &example(), 0, 10, 0), &["steps = 0"]);
    refusal(transport(Escorted::new(0.5), &example(), 4, 0, 0), &["walkers = 0"]);
    for times in [&[0.0][..], &[0.0, 0.5], &[0.1, 1.0], &[0.0, 0.5, 0.5, 1.0], &[0.0, f64::NAN, 1.0]] {
        refusal(Transport::new(Escorted::new(0.5), 4, 10, 0).times(times).run(&example()), &["times", "rising"]);
    }
    refusal(Interpolant::new(&[vec![0.0], vec![1.0, 2.0]], &[0.5, 0.5], &[1.0, 1.0]), &["means"]);
    refusal(Interpolant::new(&[vec![0.0]], &[1.0], &[0.0]), &["sigma = 0"]);
    refusal(example().along(Interpolation::Diffusion { beta_min: 0.0, beta_max: 1.0 }), &["beta_min = 0", "positive"]);
    let ends = GaussianPath::new((&[0.0], &[1.0]), (&[1.0, 2.0], &[1.0, 1.0]), Coupling::Straight);
    refusal(ends, &["path's end", "1 coordinates"]);
    refusal(gaussian_path(Coupling::Straight).on(Kind::Half, Device::Cpu), &["kind = Half"]);
}

/// A flow whose parts can be broken one at a time.
struct Broken {
    base: Gaussian,
    velocity: i64,
    end: f64,
}

impl jarzynski::Differentiable for Broken {}

impl Path for Broken {
    fn base(&self) -> &dyn Base {
        &self.base
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        x.square().sum_dim_intlist(-1, false, Kind::Double) * 0.5 + if t == 1.0 { self.end } else { 0.0 }
    }
}

impl Flow for Broken {
    fn velocity(&self, _t: f64, x: &Tensor) -> Tensor {
        Tensor::ones([x.size()[0], self.velocity], (Kind::Double, jarzynski::tch::Device::Cpu))
    }
}

#[test]
fn paths_that_do_not_fit_or_do_not_arrive_are_named() {
    let broken = |velocity, end| Broken { base: Gaussian::new(&[0.0, 0.0], &[1.0, 1.0]).unwrap(), velocity, end };
    assert!(transport(Escorted::new(0.5), &broken(2, 0.0), 4, 10, 0).unwrap().finished());
    for name in FlowKernel::NAMES {
        let kernel = FlowKernel::named(name, 0.5).unwrap();
        refusal(transport(kernel.clone(), &broken(3, 0.0), 4, 10, 0), &["velocity has shape [10, 3]", "[10, 2]"]);
        refusal(transport(kernel.clone(), &broken(2, f64::NAN), 4, 10, 0), &["energy", "t = 1"]);
        refusal(transport(kernel, &broken(2, f64::INFINITY), 4, 10, 0), &["energy", "t = 1"]);
    }
}

#[test]
fn a_map_that_folds_ends_the_run_and_says_why() {
    // Five times too fast: one Euler step of h = ½ at t = 0, where J_b = −5 I, turns every line around.
    let fast = Bent { inner: example(), b: 5.0, s: 1.0 };
    let run = transport(Ode::new(Map::Euler), &fast, 2, 100, 0).unwrap();
    let Outcome::Diverged { cause, .. } = &run.outcome else { panic!("{:?}", run.outcome) };
    assert!(cause.contains("folds") && cause.contains("smaller step"), "{cause}");
    assert!(run.stats.height() > 0);
    let run = transport(Ode::new(Map::Euler), &fast, 100, 100, 0).unwrap();
    assert!(run.finished(), "{:?}", run.outcome);
}

#[test]
fn plain_generation_has_no_weights() {
    let run = Transport::new(Escorted::new(0.5), 8, 200, 1).plain().run(&example()).unwrap();
    assert!(run.finished() && run.log_z().is_none() && max(run.walkers.log_weights()) == 0.0);
    let weighted = Transport::new(Escorted::new(0.5), 8, 200, 1).run(&example()).unwrap();
    assert_eq!(run.walkers.x(), weighted.walkers.x());
    assert!(jarzynski::io::frame::column(&run.stats, "ess").is_err());
}
