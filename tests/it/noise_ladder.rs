//! Check the ladder of noise levels: constant weights for Gaussian data, exact ones for others, both directions, training, files.

use crate::common::{FAR, z_of};
use jarzynski::density::{At, DataMixture, Differentiable, NoisePath};
use jarzynski::kernel::{CrankNicolson, Denoise, Invariant, Map, Ode};
use jarzynski::model::{LadderNet, LadderShape, Mixture, NoiseLadder};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::train::{Balance, DualScoreMatching};
use jarzynski::transport::ReverseStart;
use jarzynski::{Base, Checkpointing, Evaluation, Flow, Path, Rng, Transport};

fn stretched(n: i64) -> Tensor {
    let mut rng = Rng::new(5);
    let mut normal = |size: &[i64]| rng.normal(size, Kind::Double, Device::Cpu);
    normal(&[n, 4]).matmul(&normal(&[4, 4])) + normal(&[4])
}

fn weights(run: &jarzynski::Run) -> Vec<f64> {
    Vec::try_from(run.walkers.log_weights()).unwrap()
}

/// The largest deviation of a log-weight from the first.
fn deviation(run: &jarzynski::Run) -> f64 {
    let a = weights(run);
    a.iter().fold(0.0, |largest: f64, b| largest.max((b - a[0]).abs()))
}

/// Another path's energies at noise levels that are not its own.
struct Misjudged<'a>(&'a NoiseLadder);

impl Path for Misjudged<'_> {
    fn base(&self) -> &dyn Base {
        self.0.base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.0.energy(t, x)
    }
}

impl Differentiable for Misjudged<'_> {}

impl NoisePath for Misjudged<'_> {
    fn known(&self) -> &DataMixture {
        self.0.known()
    }
    fn sigma(&self, t: f64) -> f64 {
        1.1 * self.0.sigma(t)
    }
}

#[test]
fn gaussian_data_have_constant_weights_for_any_number_of_steps() {
    let ladder = NoiseLadder::new(&stretched(300), 0.1, &LadderShape::default()).unwrap();
    let alone = [1, 2, 7, 40].map(|steps| (steps, Denoise::new()));
    for (steps, kernel) in alone.into_iter().chain([(1, Denoise::moves(1, 1.0)), (7, Denoise::moves(3, 0.4))]) {
        let run = Transport::new(kernel, steps, 50, 1).quiet().run(&ladder).unwrap();
        let largest = deviation(&run);
        assert!(run.log_z().unwrap().value.abs() < 1e-10 && largest < 1e-10, "K = {steps}: {largest:e}");
        // the walkers that arrive are draws of the Gaussian: |z|²/(v + σ²) has the mean of χ²
        let spread = ladder.axes().variances() + ladder.sigma(1.0).powi(2);
        let z = ladder.axes().to_axes(run.walkers.x()).square() / spread;
        assert!(z_of(&z.sum_dim_intlist(-1, false, Kind::Double), 4.0).abs() < FAR, "K = {steps}");
        // and every move is accepted
        for accepted in run.column("acceptance").into_iter().flatten().filter(|a| a.is_finite()) {
            assert!((accepted - 1.0).abs() < 1e-10, "{accepted}");
        }
    }
    // Twin: at levels that are not those of the energies, weights vary.
    let run = Transport::new(Denoise::new(), 7, 50, 1).quiet().run(&Misjudged(&ladder)).unwrap();
    assert!(deviation(&run) > 0.01);
}

#[test]
fn data_of_a_mixture_have_constant_weights_and_arrive_as_its_draws() {
    let means = [vec![-2.0, 0.0, 1.0], vec![2.0, 1.0, 0.0], vec![0.0, -1.5, -1.0]];
    let teacher = Mixture::with_sigma(&means, &[0.2, 0.3, 0.5], &[0.3, 0.6, 0.2], Kind::Double, Device::Cpu).unwrap();
    let data = teacher.sample(900, &mut Rng::new(2));
    let shape = LadderShape { components: 3, mixture_axes: Some(2), ..Default::default() };
    let ladder = NoiseLadder::new(&data, 0.1, &shape).unwrap();
    assert!((ladder.known().shares().iter().sum::<f64>() - 1.0).abs() < 1e-12 && ladder.known().count() == 3);
    // what U says of data is what draws of e^{−U} have: the fit's own entropy, by one step from the base, which is exact
    let energies = |x: &Tensor| jarzynski::tch::no_grad(|| ladder.energy(1.0, x));
    let by_one = Transport::new(Denoise::new(), 1, 20_000, 4).quiet().run(&ladder).unwrap();
    let exact = energies(by_one.walkers.x());
    for steps in [1, 2, 7, 40] {
        let run = Transport::new(Denoise::new(), steps, 4_000, 1).quiet().run(&ladder).unwrap();
        let largest = deviation(&run);
        assert!(run.log_z().unwrap().value.abs() < 1e-10 && largest < 1e-10, "K = {steps}: {largest:e}");
        let mine = energies(run.walkers.x());
        let z = (mine.mean(Kind::Double) - exact.mean(Kind::Double)).double_value(&[])
            / (mine.var(true) / 4_000 + exact.var(true) / 20_000).sqrt().double_value(&[]);
        assert!(z.abs() < FAR, "K = {steps}: {z}");
        // backwards from them too
        let back = ReverseStart::exact(run.walkers.x());
        let bracket = Transport::new(Denoise::new(), steps, 4_000, 2).quiet().bracket(&ladder, &back).unwrap();
        assert!(bracket.lower.value.abs() < 1e-10 && bracket.upper.value.abs() < 1e-10, "{bracket}");
    }
    // a better fit of fresh points than the one Gaussian
    let alone = NoiseLadder::new(&data, 0.1, &LadderShape::default()).unwrap();
    let fresh =
        teacher.sample(4_000, &mut Rng::new(3)) + Rng::new(4).normal(&[4_000, 3], Kind::Double, Device::Cpu) * 0.1;
    assert!(z_of(&(energies(&fresh) - alone.energy(1.0, &fresh)), 0.0) < -FAR);
    // Twin: at levels that are not those of the energies, weights vary.
    let run = Transport::new(Denoise::new(), 7, 50, 1).quiet().run(&Misjudged(&ladder)).unwrap();
    assert!(deviation(&run) > 0.01);
}

/// Another path's velocity times a factor.
struct Faster<'a>(&'a NoiseLadder, f64);

impl Path for Faster<'_> {
    fn base(&self) -> &dyn Base {
        self.0.base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.0.energy(t, x)
    }
}

impl Differentiable for Faster<'_> {}

impl Flow for Faster<'_> {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        self.0.velocity(t, x) * self.1
    }
}

#[test]
fn the_probability_flow_carries_an_untrained_ladder() {
    for components in [1, 3] {
        let shape = LadderShape { components, ..Default::default() };
        let ladder = NoiseLadder::new(&stretched(300), 0.5, &shape).unwrap();
        let paid = |factor: f64, steps| {
            let path = Faster(&ladder, factor);
            let run = Transport::new(Ode::new(Map::Rk4), steps, 100, 1).quiet().run(&path).unwrap();
            assert!(factor != 1.0 || run.finished(), "{:?}", run.outcome);
            run.walkers.log_weights().square().mean(Kind::Double).double_value(&[]).sqrt()
        };
        // fourth order
        let (coarse, fine) = (paid(1.0, 40), paid(1.0, 80));
        assert!(fine < coarse / 10.0 && fine < 1e-2, "{components}: {coarse:e}, {fine:e}");
        // Twin: a tenth too fast.
        assert!(paid(1.1, 80) > 10.0 * fine);
        // without weights the walkers go the same way
        let transport = || Transport::new(Ode::new(Map::Rk4), 10, 20, 1).quiet();
        let (with, without) = (transport().run(&ladder).unwrap(), transport().plain().run(&ladder).unwrap());
        let gap = (with.walkers.x() - without.walkers.x()).abs().max().double_value(&[]);
        assert!(gap < 1e-10, "{gap:e}");
        // and need no Jacobian
        let total = |run: &jarzynski::Run, name: &str| run.column(name).unwrap().iter().sum::<f64>();
        assert_eq!([total(&with, "jacobian"), total(&without, "jacobian")], [800.0, 0.0]);
        assert!(total(&without, "drift") >= 800.0);
    }
}

#[test]
fn a_fitted_mixture_is_normalised() {
    let mut rng = Rng::new(1);
    let mut random = |n: i64| rng.normal(&[n, 2], Kind::Double, Device::Cpu);
    let data = Tensor::cat(&[random(300) * 0.5 - 2.0, random(100) * 0.3 + 2.0], 0);
    for (components, mixture_axes) in [(1, None), (2, Some(1)), (3, None)] {
        // a small network: there are many points
        let shape = LadderShape { net: LadderNet::mlp(&[8]), components, mixture_axes, ..Default::default() };
        let ladder = NoiseLadder::new(&data, 0.2, &shape).unwrap();
        let axis = Tensor::linspace(-20.0, 20.0, 500, (Kind::Double, Device::Cpu));
        let grid = Tensor::cartesian_prod(&[&axis, &axis]);
        let energy = ladder.energy(1.0, &grid);
        let total = |energy: &Tensor| (-energy).exp().sum(Kind::Double).double_value(&[]) * (40.0f64 / 499.0).powi(2);
        assert!((total(&energy) - 1.0).abs() < 1e-10, "{components}: {}", total(&energy));
        // Twin: without one component's norm.
        assert!((total(&(&energy + 0.1)) - 1.0).abs() > 0.05);
        // mean energy of what arrives, and of the start, against the same integral
        for (t, x) in [
            (
                1.0,
                Transport::new(Denoise::new(), 3, 4_000, 3).quiet().run(&ladder).unwrap().walkers.x().shallow_clone(),
            ),
            (0.0, ladder.base().sample(4_000, &mut Rng::new(5))),
        ] {
            let wide = &grid * (ladder.sigma(t) / ladder.sigma(1.0)).clamp(1.0, 2.0);
            let cell = (40.0f64 / 499.0 * (wide.get(0).get(0) / grid.get(0).get(0)).double_value(&[])).powi(2);
            let energy = ladder.energy(t, &wide);
            let entropy = (&energy * (-&energy).exp()).sum(Kind::Double).double_value(&[]) * cell;
            let z = z_of(&ladder.energy(t, &x), entropy);
            assert!(z.abs() < FAR, "{components} at {t}: {z}");
            assert!(z_of(&(ladder.energy(t, &x) + 0.1), entropy).abs() > FAR);
        }
        // gradients by autograd through the energy
        let rows = grid.narrow(0, 120_000, 200).set_requires_grad(true);
        let slope = Tensor::run_backward(&[ladder.energy(0.6, &rows).sum(Kind::Double)], &[&rows], false, false);
        let off = (ladder.evaluate(0.6, &rows.detach()).grad() - &slope[0]).abs().max().double_value(&[]);
        assert!(off < 1e-10, "{off:e}");
    }
}

/// Two modes under noise, in closed form and normalised at every level.
struct Noisy {
    axes: NoiseLadder,
    masses: [f64; 2],
}

const SPREAD: f64 = 0.5;

impl Noisy {
    fn at(&self, t: f64) -> Mixture {
        let sigma = (SPREAD.powi(2) + self.sigma(t).powi(2)).sqrt();
        let modes = [vec![-2.0, 0.0], vec![2.0, 1.0]];
        Mixture::with_sigma(&modes, &self.masses, &[sigma; 2], Kind::Double, Device::Cpu).unwrap()
    }

    fn new() -> Self {
        let modes = [vec![-2.0, 0.0], vec![2.0, 1.0]];
        let clean = Mixture::with_sigma(&modes, &[0.3, 0.7], &[SPREAD; 2], Kind::Double, Device::Cpu).unwrap();
        let data = clean.sample(2_000, &mut Rng::new(2));
        Noisy { axes: NoiseLadder::new(&data, 0.1, &LadderShape::default()).unwrap(), masses: [0.3, 0.7] }
    }

    fn log_z(&self) -> f64 {
        self.at(1.0).log_z()
    }
}

impl Path for Noisy {
    fn base(&self) -> &dyn Base {
        self.axes.base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        jarzynski::Energy::energy(&self.at(t), x)
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        jarzynski::Energy::evaluate(&self.at(t), x)
    }
}

impl Differentiable for Noisy {}

impl NoisePath for Noisy {
    fn known(&self) -> &DataMixture {
        self.axes.known()
    }
    fn sigma(&self, t: f64) -> f64 {
        self.axes.sigma(t)
    }
}

#[test]
fn weights_are_exact_for_data_that_are_not_gaussian_in_both_directions() {
    let path = Noisy::new();
    let exact = path.log_z();
    let draws = path.at(1.0).sample(4_000, &mut Rng::new(7));
    let transport = Transport::new(Denoise::new(), 20, 4_000, 3).quiet();
    let run = transport.run(&path).unwrap();
    let z = run.log_z().unwrap();
    assert!(((z.value - exact) / z.se).abs() < FAR && run.walkers.ess() > 0.3, "{z}, {exact}");
    let right = run.walkers.mean(&run.walkers.x().select(1, 0).gt(0.0).to_kind(Kind::Double)).unwrap();
    let known = draws.select(1, 0).gt(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    let error = right.se.hypot((known * (1.0 - known) / 4_000.0).sqrt());
    assert!(((right.value - known) / error).abs() < FAR, "{right}, {known}");
    let bracket = transport.bracket(&path, &ReverseStart::exact(&draws)).unwrap();
    let off = |z: f64| (bracket.bar.value - z) / bracket.bar.se;
    assert!(off(exact).abs() < FAR && bracket.overlap > 0.3, "{bracket}, {exact}");
    assert!(bracket.lower.value < bracket.upper.value + FAR * bracket.lower.se.hypot(bracket.upper.se));
    // Twin: another normaliser, by what a step that forgets its determinant is off.
    assert!(off(exact + 0.2).abs() > FAR);
    // Without weights the same walkers have the discretisation's error in the masses.
    let plain = Transport::new(Denoise::new(), 2, 4_000, 3).plain().quiet().run(&path).unwrap();
    let weighted = Transport::new(Denoise::new(), 2, 4_000, 3).quiet().run(&path).unwrap();
    let far = |run: &jarzynski::Run| {
        let square = run.walkers.mean(&run.walkers.x().select(1, 0).square()).unwrap();
        let of_draws = draws.select(1, 0).square();
        let se = (of_draws.var(false).double_value(&[]) / 4_000.0).sqrt().hypot(square.se);
        (square.value - of_draws.mean(Kind::Double).double_value(&[])) / se
    };
    assert!(far(&weighted).abs() < FAR && far(&plain).abs() > FAR, "{} {}", far(&weighted), far(&plain));
}

#[test]
fn moves_at_a_level_leave_its_distribution_and_cost_no_weight() {
    let path = Noisy::new();
    let draws = path.at(1.0).sample(4_000, &mut Rng::new(7));
    let (right, up) = (draws.select(1, 0).gt(0.0).to_kind(Kind::Double), draws.select(1, 1).square());
    // by moves at time t of draws at time 1: z-scores of what they changed, and the share accepted
    let moved = |t: f64, step: f64| {
        let (at, mut rng) = (At::new(&path, t), Rng::new(8));
        let mut now = path.evaluate(t, &draws);
        let mut accepted = 0.0;
        for _ in 0..20 {
            let next = CrankNicolson::new(step).sweep(&at, &now, &mut rng);
            (now, accepted) = (next.evaluation, next.acceptance.double_value(&[]));
        }
        let change = |g: &Tensor, before: &Tensor| z_of(&(g - before), 0.0);
        let now_right = now.x.select(1, 0).gt(0.0).to_kind(Kind::Double);
        (change(&now_right, &right), change(&now.x.select(1, 1).square(), &up), accepted)
    };
    for step in [0.05, 0.5, 1.0] {
        let (right, up, accepted) = moved(1.0, step);
        assert!(
            right.abs() < FAR && up.abs() < FAR && accepted > 0.01 && accepted < 1.0,
            "{step}: {right} {up} {accepted}"
        );
    }
    // Twin: the moves of a level above.
    assert!(moved(0.5, 0.5).1.abs() > FAR);
    // along the ladder, in both directions
    let transport = Transport::new(Denoise::moves(2, 0.3), 20, 4_000, 3).quiet();
    let run = transport.run(&path).unwrap();
    let z = run.log_z().unwrap();
    assert!(((z.value - path.log_z()) / z.se).abs() < FAR && run.walkers.ess() > 0.3, "{z}, {}", path.log_z());
    let bracket = transport.bracket(&path, &ReverseStart::exact(&draws)).unwrap();
    let off = |z: f64| (bracket.bar.value - z) / bracket.bar.se;
    assert!(off(path.log_z()).abs() < FAR && bracket.overlap > 0.3, "{bracket}, {}", path.log_z());
    assert!(off(path.log_z() + 0.2).abs() > FAR);
}

#[test]
fn the_variance_of_the_weights_falls_with_the_steps() {
    let path = Noisy::new();
    let spread = |steps| {
        let a = weights(&Transport::new(Denoise::new(), steps, 4_000, 3).quiet().run(&path).unwrap());
        let mean = a.iter().sum::<f64>() / a.len() as f64;
        (a.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
    };
    let steps = [16.0, 32.0, 64.0, 128.0, 256.0];
    let all: Vec<f64> = steps.iter().map(|k| spread(*k as usize)).collect();
    assert!(all.windows(2).all(|w| w[1] < 0.85 * w[0]), "{all:?}");
}

#[test]
fn dual_score_matching_learns_masses_and_normaliser() {
    let teacher =
        Mixture::with_sigma(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[SPREAD; 2], Kind::Double, Device::Cpu)
            .unwrap();
    let data = teacher.sample(4_000, &mut Rng::new(2));
    let shape = LadderShape { net: LadderNet::mlp(&[48, 48]), ..Default::default() };
    let mut ladder = NoiseLadder::new(&data, 0.2, &shape).unwrap();
    let fit = DualScoreMatching::new().steps(1_500).batch(256).lr(5e-3).every(50).progress(0.0);
    let run = fit.train(&mut ladder, &data).unwrap();
    assert!(run.finished(), "{:?}", run.outcome);
    let (first, level) = (run.column("loss_denoising").unwrap(), run.column("loss_level").unwrap());
    assert!(first[first.len() - 1] < first[1] && level[level.len() - 1] < level[1], "{first:?} {level:?}");
    let weighted = Transport::new(Denoise::new(), 100, 2_000, 4).quiet().run(&ladder).unwrap();
    let z = weighted.log_z().unwrap();
    assert!(weighted.walkers.ess() > 0.8 && z.se < 0.02, "{z}, ESS {}", weighted.walkers.ess());
    // fresh points with fresh noise: within .05 nats of the distribution they come from
    let fresh =
        teacher.sample(4_000, &mut Rng::new(3)) + Rng::new(4).normal(&[4_000, 2], Kind::Double, Device::Cpu) * 0.2;
    let noisy = (SPREAD.powi(2) + 0.04f64).sqrt();
    let truth =
        Mixture::with_sigma(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[noisy; 2], Kind::Double, Device::Cpu)
            .unwrap();
    let mean = |u: Tensor| u.mean(Kind::Double).double_value(&[]);
    let entropy = mean(jarzynski::Energy::energy(&truth, &fresh)) + truth.log_z();
    let cross = mean(jarzynski::tch::no_grad(|| ladder.energy(1.0, &fresh))) + z.value;
    assert!(cross - entropy < 0.05 && cross - entropy > -FAR * 0.02, "{cross} where {entropy} is the best");
    let untrained = NoiseLadder::new(&data, 0.2, &shape).unwrap();
    // Twin: the Gaussian that it started from.
    assert!(mean(untrained.energy(1.0, &fresh)) - entropy > 0.3);
    // files
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ladder.safetensors");
    ladder.save(&path).unwrap();
    let mut other = NoiseLadder::new(&(&data * 2.0), 0.2, &shape).unwrap();
    other.load(&path).unwrap();
    assert_eq!(mean(other.energy(0.3, &fresh)), mean(ladder.energy(0.3, &fresh)));
    let two = LadderShape { components: 2, ..shape.clone() };
    let saved = dir.path().join("two.safetensors");
    let mixed = NoiseLadder::new(&data, 0.2, &two).unwrap();
    mixed.save(&saved).unwrap();
    let mut other = NoiseLadder::new(&(&data * 2.0), 0.2, &two).unwrap();
    other.load(&saved).unwrap();
    assert_eq!(mean(other.energy(0.3, &fresh)), mean(mixed.energy(0.3, &fresh)));
    assert!(other.load(&path).unwrap_err().to_string().contains("components"));
    let mut else_noise = NoiseLadder::new(&data, 0.3, &shape).unwrap();
    assert!(else_noise.load(&path).unwrap_err().to_string().contains("lowest"));
}

#[test]
fn balanced_levels_pay_less_in_weights() {
    let modes = [vec![-2.0, 0.0, 1.0], vec![2.0, 1.0, 0.0], vec![0.0, -1.5, -1.0]];
    let teacher = Mixture::with_sigma(&modes, &[0.2, 0.3, 0.5], &[SPREAD; 3], Kind::Double, Device::Cpu).unwrap();
    let data = teacher.sample(2_000, &mut Rng::new(2));
    let shape = LadderShape { net: LadderNet::mlp(&[32, 32]), ..Default::default() };
    // variance of log-weights and its standard error, from the fourth moment
    let paid = |fit: &DualScoreMatching| {
        let mut ladder = NoiseLadder::new(&data, 0.2, &shape).unwrap();
        fit.train(&mut ladder, &data).unwrap();
        let a = weights(&Transport::new(Denoise::new(), 100, 4_000, 3).quiet().run(&ladder).unwrap());
        let n = a.len() as f64;
        let mean = a.iter().sum::<f64>() / n;
        let squares: Vec<f64> = a.iter().map(|a| (a - mean).powi(2)).collect();
        let var = squares.iter().sum::<f64>() / n;
        (var, (squares.iter().map(|s| (s - var).powi(2)).sum::<f64>() / n / n).sqrt())
    };
    let fit = DualScoreMatching::new().steps(500).batch(128).lr(5e-3).every(100).progress(0.0);
    let (alone, se) = paid(&fit.clone());
    let (balanced, se2) = paid(&fit.balance(Balance::default()));
    assert!((0.7 * alone - balanced) / se.hypot(se2) > FAR, "{balanced} ± {se2} after {alone} ± {se}");
}

#[test]
fn a_run_that_is_continued_has_the_same_bits() {
    let data = stretched(60);
    let shape = LadderShape { net: LadderNet::mlp(&[6]), ..Default::default() };
    let new = || NoiseLadder::new(&data, 0.1, &shape).unwrap();
    let balance = Balance { count: 5, likelihood: 0.1, ..Default::default() };
    let fit = || DualScoreMatching::new().steps(20).batch(24).balance(balance).every(1).average(0.9).progress(0.0);
    let mut whole = new();
    let expected = fit().train(&mut whole, &data).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut calls = 0;
    let (part, run) = loop {
        calls += 1;
        let mut part = new();
        let keep = Checkpointing::resume_or_start(dir.path()).pause_after_steps(7).every_steps(2);
        let run = fit().checkpointing(keep).train(&mut part, &data).unwrap();
        if run.finished() {
            break (part, run);
        }
    };
    assert_eq!(calls, 3);
    for name in ["loss_denoising", "loss_level", "loss_balance", "grad_norm"] {
        let bits = |run: &jarzynski::Run| run.column(name).unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&run), bits(&expected), "{name}");
    }
    for (name, t) in whole.vars().variables() {
        assert!(t.equal(&part.vars().variables()[&name]), "{name}");
    }
    // Twin: another seed.
    let mut other = new();
    fit().seed(1).train(&mut other, &data).unwrap();
    assert!(whole.vars().variables().iter().any(|(name, t)| !t.equal(&other.vars().variables()[name])));
}

#[test]
fn what_cannot_be_a_ladder_is_refused_by_name() {
    let data = stretched(30);
    let made = |noise, shape: &LadderShape| NoiseLadder::new(&data, noise, shape).unwrap_err().to_string();
    assert!(made(0.0, &LadderShape::default()).starts_with("noise = 0"));
    assert!(made(1e4, &LadderShape::default()).starts_with("noise = 10000"));
    assert!(made(0.1, &LadderShape { highest: -1.0, ..Default::default() }).starts_with("highest = -1"));
    assert!(
        made(0.1, &LadderShape { net: LadderNet::Mlp { widths: vec![8], axes: Some(0) }, ..Default::default() })
            .starts_with("axes = 0")
    );
    assert!(
        made(0.1, &LadderShape { net: LadderNet::Mlp { widths: vec![8], axes: Some(5) }, ..Default::default() })
            .contains("1 to 4")
    );
    assert!(
        made(
            0.1,
            &LadderShape { net: LadderNet::Mlp { widths: vec![8], axes: Some(usize::MAX) }, ..Default::default() }
        )
        .contains("1 to 4")
    );
    assert!(made(0.1, &LadderShape { components: 0, ..Default::default() }).starts_with("components = 0"));
    assert!(made(0.1, &LadderShape { components: 31, ..Default::default() }).contains("1 to 30"));
    assert!(made(0.1, &LadderShape { mixture_axes: Some(5), ..Default::default() }).starts_with("mixture_axes = 5"));
    let path = NoiseLadder::new(&data, 0.1, &LadderShape::default()).unwrap();
    for step in [0.0, 1.5, f64::NAN] {
        let e = Transport::new(Denoise::moves(1, step), 2, 4, 0).quiet().run(&path).unwrap_err().to_string();
        assert!(e.starts_with("step = "), "{e}");
    }
    let flat = data.view([-1]);
    assert!(NoiseLadder::new(&flat, 0.1, &LadderShape::default()).unwrap_err().to_string().contains("[n, d]"));
    let mut ladder = NoiseLadder::new(&data, 0.1, &LadderShape::default()).unwrap();
    let e = DualScoreMatching::new().average(1.0).train(&mut ladder, &data).unwrap_err().to_string();
    assert!(e.starts_with("average = 1"), "{e}");
    for (wrong, name) in [
        (Balance { data: -1.0, ..Default::default() }, "balance of the data = -1"),
        (Balance { walkers: f64::NAN, ..Default::default() }, "balance of the walkers = NaN"),
        (Balance { likelihood: -0.1, ..Default::default() }, "likelihood of the balance = -0.1"),
        (Balance { rise: 0.5, ..Default::default() }, "rise of the balance = 0.5"),
        (Balance { count: 0, ..Default::default() }, "walkers of the balance = 0"),
        (Balance { step: 0.0, ..Default::default() }, "step of the balance = 0"),
    ] {
        let e = DualScoreMatching::new().balance(wrong).train(&mut ladder, &data).unwrap_err().to_string();
        assert!(e.starts_with(name), "{e}");
    }
    let e = DualScoreMatching::new().train(&mut ladder, &data.narrow(1, 0, 2)).unwrap_err().to_string();
    assert!(e.contains("data"), "{e}");
}
