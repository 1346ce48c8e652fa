//! Check fits of Gaussians and nets that start from them: exact densities, gradients, log Z, and kernels that move in z.

use crate::common::{FAR, worst, z_of};
use jarzynski::kernel::{Barker, Hmc, RandomWalk, Whitened};
use jarzynski::model::{Cnn, CnnShape, Gaussian, Mlp, MlpShape};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::transport::ReverseStart;
use jarzynski::{
    Base, Differentiable, Energy, Evaluation, Geometric, Kernel, Mala, Method, Model, Outcome, ReverseAt, Reversed,
    Rng, Trainer, Transport, Ula, Walkers, density::Whiten, density::Whitening, log_prob,
};

/// Correlated rows on scales from 1,000 to .01, in f64.
fn rows(n: i64, d: i64, seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let z = rng.normal(&[n, d], Kind::Double, Device::Cpu);
    let mix = rng.normal(&[d, d], Kind::Double, Device::Cpu) + Tensor::eye(d, (Kind::Double, Device::Cpu)) * 2.0;
    let scales =
        Tensor::from_slice(&(0..d).map(|j| 10f64.powi(3 - 5 * j as i32 / d.max(1) as i32)).collect::<Vec<_>>());
    z.matmul(&mix) * scales + 7.0
}

fn most(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

/// log N(x; m, C) from the definition, by an eigenvalue decomposition.
fn log_normal(x: &Tensor, mean: &Tensor, covariance: &Tensor) -> Tensor {
    let (values, vectors) = covariance.linalg_eigh("L");
    let along = (x - mean).matmul(&vectors);
    let square = (along.square() / &values).sum_dim_intlist(-1, false, None::<Kind>);
    let d = mean.size()[0] as f64;
    (square + values.log().sum(Kind::Double) + d * (2.0 * std::f64::consts::PI).ln()) * -0.5
}

fn moments(x: &Tensor, noise: f64) -> (Tensor, Tensor) {
    let (n, d) = (x.size()[0], x.size()[1]);
    let mean = x.mean_dim(0, false, Kind::Double);
    let away = x - &mean;
    (mean, away.tr().matmul(&away) / n as f64 + Tensor::eye(d, (Kind::Double, Device::Cpu)) * (noise * noise))
}

#[test]
fn a_fit_is_the_normalised_gaussian_of_the_data_with_their_noise() {
    for (d, noise) in [(1, 0.0), (3, 0.7), (6, 0.0), (6, 0.3)] {
        let x = rows(5_000, d, 1);
        let fit = Gaussian::fit(&x, noise).unwrap();
        let (mean, covariance) = moments(&x, noise);
        let at = rows(50, d, 2);
        let (got, exact) = (fit.log_prob(&at).unwrap(), log_normal(&at, &mean, &covariance));
        assert!(most(&(&got - &exact)) < 1e-8 * most(&exact).max(1.0), "d = {d}, noise {noise}");
        let other = Gaussian::with_covariance(&mean, &covariance).unwrap();
        assert!(most(&(other.log_prob(&at).unwrap() - &got)) < 1e-9 * most(&exact).max(1.0));
        // the twin: without the noise it is another density
        if noise > 0.0 {
            let bare = log_normal(&at, &mean, &moments(&x, 0.0).1);
            assert!(most(&(&got - &bare)) > 1e-6, "d = {d}");
        }
        // z is what it says, and back
        let map = fit.whitening();
        let z = map.whiten(&at);
        assert!(most(&((map.colour(&z) - &at) / &at)) < 1e-9);
        let quadratic = z.square().sum_dim_intlist(-1, false, None::<Kind>) * -0.5 - map.log_det();
        let constant = 0.5 * d as f64 * (2.0 * std::f64::consts::PI).ln();
        assert!(most(&(quadratic - constant - &got)) < 1e-9 * most(&exact).max(1.0));
    }
}

#[test]
fn the_gradient_of_a_fit_is_that_of_finite_differences() {
    let fit = Gaussian::fit(&rows(200, 4, 3), 0.5).unwrap();
    let x = rows(9, 4, 4);
    let grad = fit.evaluate(&x).grad().copy();
    for j in 0..4 {
        let scale = fit.whitening().factor().double_value(&[j, j]) * 1e-4;
        let step = Tensor::zeros([4], (Kind::Double, Device::Cpu));
        let _ = step.select(0, j).fill_(scale);
        let difference = (fit.energy(&(&x + &step)) - fit.energy(&(&x - &step))) / (2.0 * scale);
        let own = grad.select(1, j);
        assert!(most(&(difference - &own)) < 1e-6 * most(&own).max(1.0), "coordinate {j}");
    }
}

#[test]
fn draws_have_the_mean_and_covariance_of_the_fit() {
    let fit = Gaussian::fit(&rows(300, 3, 5), 0.2).unwrap();
    let n = 40_000;
    let z = fit.whitening().whiten(&fit.sample(n, &mut Rng::new(6)));
    for i in 0..3 {
        assert!(z_of(&z.select(1, i), 0.0).abs() < FAR);
        for j in 0..=i {
            let product = z.select(1, i) * z.select(1, j);
            assert!(z_of(&product, if i == j { 1.0 } else { 0.0 }).abs() < FAR, "{i}, {j}");
        }
    }
    // the twin: without L the draws are far off
    let plain = Rng::new(6).normal(&[n as i64, 3], Kind::Double, Device::Cpu);
    assert!(z_of(&fit.whitening().whiten(&plain).select(1, 2), 0.0).abs() > FAR);
}

#[test]
fn degenerate_data_are_fitted_with_noise_and_refused_without() {
    let x = rows(100, 3, 7);
    let constant = Tensor::full([100, 1], 4.0, (Kind::Double, Device::Cpu));
    let says = |data: &Tensor, noise: f64, words: &[&str]| {
        let text = Gaussian::fit(data, noise).unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    };
    let with_constant = Tensor::cat(&[&x, &constant], 1);
    let with_copy = Tensor::cat(&[&x, &x.select(1, 0).unsqueeze(-1)], 1);
    says(&with_constant, 0.0, &["noise = 0", "column 3", "singular"]);
    says(&with_copy, 0.0, &["noise = 0", "column 3", "singular"]);
    says(&x.narrow(0, 0, 3), 0.0, &["noise = 0", "singular"]);
    says(&x, -0.1, &["noise = -0.1"]);
    says(&x, f64::NAN, &["noise = NaN"]);
    says(&x.select(1, 0), 0.1, &["data has shape [100]"]);
    says(&(&x * f64::NAN), 0.1, &["data is not finite"]);
    for data in [&with_constant, &with_copy, &x.narrow(0, 0, 2)] {
        // down to noise that f64 cannot tell from none beside columns of 1,000
        for noise in [0.3, 1e-3, 1e-12] {
            let fit = Gaussian::fit(data, noise).unwrap();
            assert!(fit.log_z().is_finite());
            let z = fit.whitening().whiten(data);
            // (n - 1)/n of the identity, or less where a direction has noise alone
            let (_, covariance) = moments(&z, 0.0);
            assert!(most(&covariance.diagonal(0, 0, 1)) < 1.0 + 1e-5, "{noise}: {covariance}");
        }
    }
    // the constant column has the noise alone
    let fit = Gaussian::fit(&with_constant, 0.3).unwrap();
    assert!((fit.whitening().factor().double_value(&[3, 3]) - 0.3).abs() < 1e-12);
    let bad = Tensor::from_slice(&[1.0, 2.0, 2.0, 1.0]).view([2, 2]);
    let text = Gaussian::with_covariance(&Tensor::zeros([2], (Kind::Double, Device::Cpu)), &bad).unwrap_err();
    assert!(text.to_string().contains("positive definite"), "{text}");
}

#[test]
fn fits_are_written_and_read_and_so_are_nets_that_start_from_them() {
    let dir = tempfile::tempdir().unwrap();
    let x = rows(60, 4, 8);
    let (fit, other) = (Gaussian::fit(&x, 0.3).unwrap(), Gaussian::fit(&x, 0.4).unwrap());
    let path = dir.path().join("fit.safetensors");
    fit.save(&path).unwrap();
    let read = Gaussian::load(&path).unwrap();
    assert!(read.log_prob(&x).unwrap().equal(&fit.log_prob(&x).unwrap()));
    let diagonal = Gaussian::new(&[1.0, 2.0], &[3.0, 4.0]).unwrap();
    diagonal.save(&path).unwrap();
    assert_eq!(Gaussian::load(&path).unwrap().log_z(), diagonal.log_z());

    let net = |start: &Gaussian, seed| {
        let shape = MlpShape { widths: vec![5], seed, ..Default::default() };
        Mlp::new(4, &shape, Kind::Double, Device::Cpu).unwrap().with_start(start).unwrap()
    };
    let mut trained = net(&fit, 1);
    Trainer::new(Whitened::new(Ula::new(0.05)), Method::Pcd)
        .walkers(20)
        .steps(3)
        .lr(0.1)
        .quiet()
        .train(&mut trained, &x)
        .unwrap();
    let path = dir.path().join("net.safetensors");
    trained.save(&path).unwrap();
    let mut again = net(&Gaussian::load(&path).unwrap(), 2);
    assert!(!again.energy(&x).equal(&trained.energy(&x)));
    again.load(&path).unwrap();
    assert!(again.energy(&x).equal(&trained.energy(&x)));
    let text = net(&other, 1).load(&path).unwrap_err().to_string();
    assert!(text.contains("start"), "{text}");
    let mut plain =
        Mlp::new(4, &MlpShape { widths: vec![5], ..Default::default() }, Kind::Double, Device::Cpu).unwrap();
    assert!(plain.load(&path).is_err());
    plain.save(&path).unwrap();
    assert!(Gaussian::load(&path).is_err(), "a net without a fitted start holds none");
}

#[test]
fn a_net_that_computes_nothing_is_its_start() {
    let start = Gaussian::fit(&rows(500, 64, 9), 0.3).unwrap();
    let x = rows(30, 64, 10);
    let exact = start.log_prob(&x).unwrap();
    let mlp = Mlp::new(64, &MlpShape { widths: vec![7], ..Default::default() }, Kind::Double, Device::Cpu).unwrap();
    let cnn = Cnn::new(8, &CnnShape { channels: vec![2; 4], ..Default::default() }, Kind::Double, Device::Cpu).unwrap();
    let (mlp, cnn) = (mlp.with_start(&start).unwrap(), cnn.with_start(&start).unwrap());
    for (own, z) in [
        (log_prob(&mlp, &x, mlp.base().unwrap().log_z()), mlp.base()),
        (log_prob(&cnn, &x, cnn.base().unwrap().log_z()), cnn.base()),
    ] {
        assert!(most(&((own.unwrap() - &exact) / &exact)) < 1e-10);
        assert!((z.unwrap().log_z() - start.log_z()).abs() < 1e-10);
    }
    // walkers start with the weights of an exact start
    let walkers = Walkers::start(&mlp, 100, false, &mut Rng::new(1)).unwrap();
    assert!(most(walkers.log_weights()) < 1e-9);
    let wrong = Mlp::new(3, &MlpShape::default(), Kind::Double, Device::Cpu).unwrap().with_start(&start);
    assert!(wrong.unwrap_err().to_string().contains("64"));
    let wide = MlpShape { sigma: 2.0, ..Default::default() };
    let wide = Mlp::new(64, &wide, Kind::Double, Device::Cpu).unwrap().with_start(&start);
    assert!(wide.unwrap_err().to_string().contains("sigma = 2"));
}

/// A net with weights other than 0 everywhere.
fn trained<M: Model>(net: M) -> M {
    let rng = Rng::new(11);
    jarzynski::tch::no_grad(|| {
        for (i, mut v) in net.vars().trainable_variables().into_iter().enumerate() {
            v.copy_(&(rng.split(i as u64).normal(&v.size(), v.kind(), Device::Cpu) * 0.3));
        }
    });
    net
}

#[test]
fn nets_with_a_fitted_start_have_the_gradient_of_finite_differences() {
    let start = Gaussian::fit(&rows(500, 64, 12), 0.3).unwrap();
    let x = start.sample(5, &mut Rng::new(2));
    let mlp = Mlp::new(64, &MlpShape { widths: vec![7], ..Default::default() }, Kind::Double, Device::Cpu).unwrap();
    let cnn = Cnn::new(8, &CnnShape { channels: vec![2; 4], ..Default::default() }, Kind::Double, Device::Cpu).unwrap();
    let nets: [(Box<dyn Energy>, &str); 2] = [
        (Box::new(trained(mlp.with_start(&start).unwrap())), "mlp"),
        (Box::new(trained(cnn.with_start(&start).unwrap())), "cnn"),
    ];
    for (net, name) in nets {
        let grad = net.evaluate(&x).grad().copy();
        for j in [0, 17, 63] {
            let scale = start.whitening().factor().double_value(&[j, j]) * 1e-4;
            let step = Tensor::zeros([64], (Kind::Double, Device::Cpu));
            let _ = step.select(0, j).fill_(scale);
            let difference = (net.energy(&(&x + &step)) - net.energy(&(&x - &step))) / (2.0 * scale);
            let own = grad.select(1, j);
            assert!(most(&(difference - &own)) < 1e-5 * most(&own).max(1e-3), "{name}, pixel {j}");
        }
    }
}

#[test]
fn a_start_n_0_1_trains_as_the_plain_net_does() {
    let x = rows(100, 2, 13) * 1e-3;
    let shape = MlpShape { widths: vec![8], seed: 3, ..Default::default() };
    let unit = Gaussian::with_covariance(
        &Tensor::zeros([2], (Kind::Double, Device::Cpu)),
        &Tensor::eye(2, (Kind::Double, Device::Cpu)),
    )
    .unwrap();
    let mut plain = Mlp::new(2, &shape, Kind::Double, Device::Cpu).unwrap();
    let mut fitted = Mlp::new(2, &shape, Kind::Double, Device::Cpu).unwrap().with_start(&unit).unwrap();
    let method = Method::Jarzynski { ess_min: 0.5 };
    let a = Trainer::new(Reversed::new(Mala::new(0.1)), method).walkers(100).steps(20).lr(0.05).quiet();
    let b = Trainer::new(Whitened::new(Reversed::new(Mala::new(0.1))), method).walkers(100).steps(20).lr(0.05).quiet();
    let a = a.train(&mut plain, &x).unwrap();
    let b = b.train(&mut fitted, &x).unwrap();
    let at = rows(20, 2, 14) * 1e-3;
    let log_rho = |net: &Mlp, run: &jarzynski::Run| run.log_prob(net, &at).unwrap().0;
    assert!(most(&(log_rho(&plain, &a) - log_rho(&fitted, &b))) < 1e-9);
    assert!(most(&(a.walkers.x() - b.walkers.x())) < 1e-9, "walkers are in x");
    // the twin: another map, other walkers
    let other = Gaussian::fit(&x, 0.3).unwrap();
    let mut moved = Mlp::new(2, &shape, Kind::Double, Device::Cpu).unwrap().with_start(&other).unwrap();
    let c = Trainer::new(Whitened::new(Reversed::new(Mala::new(0.1))), method).walkers(100).steps(20).lr(0.05).quiet();
    let c = c.train(&mut moved, &x).unwrap();
    assert!(most(&(log_rho(&plain, &a) - log_rho(&moved, &c))) > 1e-3);
}

/// log Z of a 2-D energy by the trapezoidal rule in z, with log det L: exponentially accurate for smooth densities.
fn quadrature(net: &Mlp) -> f64 {
    let (n, reach) = (400i64, 9.0);
    let axis = Tensor::linspace(-reach, reach, n, (Kind::Double, Device::Cpu));
    let grid = Tensor::stack(&Tensor::meshgrid_indexing(&[axis.shallow_clone(), axis], "ij"), -1).view([-1, 2]);
    let map = net.whitening();
    let u = jarzynski::tch::no_grad(|| net.energy(&map.colour(&grid)));
    let cell = 2.0 * (2.0 * reach / (n - 1) as f64).ln();
    (-u).logsumexp(0, false).double_value(&[]) + cell + map.log_det()
}

#[test]
fn log_z_of_a_trained_net_is_that_of_quadrature_from_both_sides() {
    let x = rows(400, 2, 15);
    let start = Gaussian::fit(&x, 0.0).unwrap();
    let shape = MlpShape { widths: vec![8], seed: 4, ..Default::default() };
    let mut net = Mlp::new(2, &shape, Kind::Double, Device::Cpu).unwrap().with_start(&start).unwrap();
    let two = Tensor::cat(
        &[&x + start.whitening().factor().select(1, 0) * 2.0, &x - start.whitening().factor().select(1, 0) * 2.0],
        0,
    );
    let trainer = Trainer::new(Whitened::new(Reversed::sweeps(Mala::new(0.3), 2)), Method::Jarzynski { ess_min: 0.5 });
    let run = trainer.walkers(4_000).steps(60).lr(0.1).quiet().train(&mut net, &two).unwrap();
    assert!(run.finished());
    let exact = quadrature(&net);
    assert!((exact - start.log_z()).abs() > 0.1, "the net has learned something");
    let z = run.log_z().unwrap();
    assert!(z_of(&z, exact).abs() < FAR, "monitor {z}, exact {exact}");

    // forward along the path: a lower bound in expectation; backward, from the net to its start: an upper one
    let kernel = Whitened::new(Reversed::new(Mala::new(0.3)));
    let path = Geometric { base: net.base().unwrap(), target: &net };
    let there = Transport::new(kernel, 40, 4_000, 5).quiet().run::<Geometric<Box<dyn Base>, &Mlp>>(&path).unwrap();
    assert_eq!(there.outcome, Outcome::Finished);
    assert!(z_of(&there.walkers.log_z(), exact).abs() < FAR, "{} {exact}", there.walkers.log_z());
    // exact draws of the net, by rejection from a Gaussian that is wider than it
    let draws = exact_draws(&net, 4_000);
    let mut back = Walkers::new(jarzynski::At::new(&path, 1.0).evaluate(&draws), exact);
    let mut rng = Rng::new(6);
    for k in (0..40).rev() {
        let (from, to) = jarzynski::At::step(&path, (k + 1) as f64 / 40.0, k as f64 / 40.0);
        kernel.advance(&from, &to, &mut back, &mut rng);
    }
    assert!(z_of(&back.log_z(), start.log_z()).abs() < FAR, "{} {}", back.log_z(), start.log_z());
    let start_of = ReverseStart::exact(&draws);
    let transport = Transport::new(kernel, 40, 4_000, 8).quiet();
    let found = transport.bracket::<Geometric<Box<dyn Base>, &Mlp>>(&path, &start_of).unwrap();
    assert!(z_of(&found.bar, exact).abs() < FAR && z_of(&found.upper, exact).abs() < FAR, "{found}, exact {exact}");
    let (lower, upper) = (there.walkers.log_z().value, exact + start.log_z() - back.log_z().value);
    assert!((upper - lower).abs() < 0.1, "bracket [{lower}, {upper}]");
    // the twin: log det L left out, or counted twice
    let off = start.whitening().log_det();
    assert!(z_of(&there.walkers.log_z(), exact - off).abs() > FAR && off.abs() > 1.0);
}

/// Draws of e^{−U}/Z by rejection from the start with twice its standard deviations.
fn exact_draws(net: &Mlp, n: i64) -> Tensor {
    let map = net.whitening();
    let mut rng = Rng::new(7);
    let z = rng.normal(&[400_000, 2], Kind::Double, Device::Cpu) * 2.0;
    let x = map.colour(&z);
    let log_ratio =
        jarzynski::tch::no_grad(|| z.square().sum_dim_intlist(-1, false, None::<Kind>) / 8.0 - net.energy(&x));
    let keep =
        rng.uniform_tensor(&[400_000], Kind::Double, Device::Cpu).log().lt_tensor(&(&log_ratio - log_ratio.max()));
    let kept = x.index_select(0, &keep.nonzero().squeeze_dim(-1));
    assert!(kept.size()[0] >= n, "{}", kept.size()[0]);
    kept.narrow(0, 0, n)
}

/// A correlated Gaussian on scales of 100 and .1 whose mean moves and whose width shrinks, U not normalised, with fixed coordinates.
struct Moving {
    map: Gaussian,
}

struct MovingAt<'a> {
    of: &'a Moving,
    t: f64,
}

impl Moving {
    fn new() -> Self {
        let covariance = Tensor::from_slice(&[1e4, 6.0, 6.0, 0.01]).view([2, 2]);
        Moving { map: Gaussian::with_covariance(&Tensor::from_slice(&[3.0, -1.0]), &covariance).unwrap() }
    }

    fn at(&self, t: f64) -> MovingAt<'_> {
        MovingAt { of: self, t }
    }
}

impl Differentiable for MovingAt<'_> {}

impl Energy for MovingAt<'_> {
    fn energy(&self, x: &Tensor) -> Tensor {
        let width = 1.0 - 0.25 * self.t;
        let z = (self.of.map.whitening().whiten(x) - 0.8 * self.t) / width;
        z.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5
    }
}

impl Whiten for MovingAt<'_> {
    fn whitening(&self) -> &Whitening {
        self.of.map.whitening()
    }
}

fn z_scores<'a, K: Kernel<MovingAt<'a>>>(kernel: &K, moving: &'a Moving, spoil: f64) -> (f64, [f64; 3]) {
    let (steps, mut rng) = (20, Rng::new(21));
    let mut walkers = Walkers::start_from(&moving.map, &moving.at(0.0), 40_000, false, &mut rng).unwrap();
    for k in 0..steps {
        let t = |k: usize| k as f64 / steps as f64;
        kernel.advance(&moving.at(t(k)), &moving.at(t(k + 1) - spoil), &mut walkers, &mut rng);
        if spoil > 0.0 {
            walkers.relocate(moving.at(t(k + 1)).evaluate(walkers.x()));
        }
    }
    let exact = moving.map.log_z() + 2.0 * 0.75f64.ln();
    let z = moving.map.whitening().whiten(walkers.x()) - 0.8;
    let mean = |g: &Tensor| walkers.mean(g).unwrap();
    let square = mean(&z.square().sum_dim_intlist(-1, false, None::<Kind>));
    (
        walkers.ess(),
        [z_of(&walkers.log_z(), exact), z_of(&square, 2.0 * 0.75 * 0.75), z_of(&mean(&z.select(1, 1)), 0.0)],
    )
}

#[test]
fn kernels_in_z_keep_the_contract() {
    let moving = Moving::new();
    type Any = dyn for<'a> Kernel<MovingAt<'a>>;
    let table: [(&str, &Any); 7] = [
        ("ula", &Whitened::new(Ula::new(0.1))),
        ("ula, backward at θ_k", &Whitened::new(Ula::new(0.1).reverse_at(ReverseAt::Old))),
        ("mala", &Whitened::new(Reversed::new(Mala::new(0.2)))),
        ("mala, 3 sweeps", &Whitened::new(Reversed::sweeps(Mala::new(0.2), 3))),
        ("hmc", &Whitened::new(Reversed::new(Hmc::new(0.4, 4)))),
        ("random walk", &Whitened::new(Reversed::sweeps(RandomWalk::new(1.0), 3))),
        ("barker", &Whitened::new(Reversed::sweeps(Barker::new(1.2), 2))),
    ];
    for (name, kernel) in table {
        let (ess, z) = z_scores(&kernel, &moving, 0.0);
        assert!(ess > 0.1 && worst(&z) < FAR, "{name}: ESS {ess}, z = {z:?}");
        // the twin: λ at θ_k
        let (_, z) = z_scores(&kernel, &moving, 0.05);
        assert!(worst(&z) > FAR, "{name}: z = {z:?}");
    }
}

#[test]
fn a_kernel_in_z_makes_the_moves_of_the_kernel_on_the_energy_of_z() {
    let moving = Moving::new();
    let (u, map) = (moving.at(0.4), moving.map.whitening());
    // the same energy as a function of z, by hand
    struct OfZ<'a>(MovingAt<'a>);
    impl Differentiable for OfZ<'_> {}
    impl Energy for OfZ<'_> {
        fn energy(&self, z: &Tensor) -> Tensor {
            self.0.energy(&self.0.of.map.whitening().colour(z))
        }
    }
    let of_z = OfZ(moving.at(0.4));
    let x = moving.map.sample(500, &mut Rng::new(3));
    let (at, at_z) = (u.evaluate(&x), of_z.evaluate(&map.whiten(&x)));
    let close = |x: &Tensor, z: &Tensor| most(&(map.whiten(x) - z)) < 1e-9;
    fn both<'a, K>(
        kernel: K,
        rng: u64,
        u: &MovingAt<'a>,
        at: &Evaluation,
        of_z: &OfZ<'a>,
        at_z: &Evaluation,
    ) -> [jarzynski::kernel::Step; 2]
    where
        K: Kernel<OfZ<'a>>,
        Whitened<K>: Kernel<MovingAt<'a>>,
    {
        let inner = kernel.step(of_z, at_z, &mut Rng::new(rng));
        [Whitened::new(kernel).step(u, at, &mut Rng::new(rng)), inner]
    }
    for [outer, inner] in [
        both(Ula::new(0.2), 4, &u, &at, &of_z, &at_z),
        both(Ula::new(0.2).reverse_at(ReverseAt::Old), 5, &u, &at, &of_z, &at_z),
        both(Reversed::sweeps(Mala::new(0.8), 2), 6, &u, &at, &of_z, &at_z),
        both(Reversed::new(Hmc::new(0.9, 3)), 8, &u, &at, &of_z, &at_z),
        both(Reversed::new(Barker::new(1.5)), 9, &u, &at, &of_z, &at_z),
        both(Reversed::new(RandomWalk::new(1.5)), 10, &u, &at, &of_z, &at_z),
    ] {
        assert!(close(&outer.evaluation.x, &inner.evaluation.x));
        assert!(most(&(&outer.increment - &inner.increment)) < 1e-9);
        let anew = u.evaluate(&outer.evaluation.x);
        assert!(most(&(&anew.u - &outer.evaluation.u)) < 1e-9, "the energy is that of the position");
        assert!(most(&((anew.grad() - outer.evaluation.grad()) / anew.grad())) < 1e-6);
        assert_eq!(outer.cost, inner.cost);
    }
    // what MALA rejects stays where it is, to the bit
    let step = Whitened::new(Reversed::new(Mala::new(1.2))).step(&u, &at, &mut Rng::new(7));
    let stayed = step.evaluation.x.eq_tensor(&x).all_dim(-1, false);
    let moved = (map.whiten(&step.evaluation.x) - map.whiten(&x)).abs().amax([-1], false).gt(1e-6);
    assert!(stayed.logical_not().equal(&moved) && stayed.any().double_value(&[]) == 1.0);
    assert!(
        step.evaluation
            .grad()
            .index_select(0, &stayed.nonzero().view(-1))
            .equal(&at.grad().index_select(0, &stayed.nonzero().view(-1)))
    );
}

#[test]
fn the_step_that_training_watches_is_that_in_z() {
    // curvature 1 in z and 10^4 in x: only the plain kernel is unstable
    let start = Gaussian::new(&[0.0, 0.0], &[0.01, 100.0]).unwrap();
    let net = || {
        let shape = MlpShape { widths: vec![4], ..Default::default() };
        Mlp::new(2, &shape, Kind::Double, Device::Cpu).unwrap().with_start(&start).unwrap()
    };
    let data = start.sample(50, &mut Rng::new(1));
    fn watched(kernel: impl Kernel<Mlp>, mut net: Mlp, data: &Tensor) -> f64 {
        let run = Trainer::new(kernel, Method::Pcd).walkers(20).steps(1).lr(0.0).quiet().train(&mut net, data).unwrap();
        run.column("h_curvature").unwrap()[0]
    }
    let inside = watched(Whitened::new(Ula::new(0.1)), net(), &data);
    assert!((inside - 0.1).abs() < 1e-6, "{inside}");
    assert!(watched(Ula::new(0.1), net(), &data) > 100.0);
}

#[test]
fn a_kernel_in_z_says_what_it_is() {
    let id = |h| Kernel::<Mlp>::identity(&Whitened::new(Reversed::new(Mala::new(h)))).unwrap();
    assert_ne!(id(0.1), id(0.2));
    assert_ne!(id(0.1), Kernel::<Mlp>::identity(&Reversed::new(Mala::new(0.1))).unwrap());
    assert!(Kernel::<Mlp>::validate(&Whitened::new(Ula::new(-1.0))).is_err());
}
